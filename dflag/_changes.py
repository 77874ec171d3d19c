"""
The changes of one flag as an asynchronous iterator.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import weakref
from typing import TYPE_CHECKING, Generic, TypeVar

from dflag._notifier import Listener
from dflag.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self


T = TypeVar("T")


class Changes(Generic[T]):
    """
    Yields ``(old, new)`` for every change since the iterator was made.

    Close it with ``await changes.aclose()``. An iterator that is no longer referenced closes itself.
    """

    def __init__(
        self, flag_name: str, listen: Callable[[Listener], None], unlisten: Callable[[Listener], None]
    ) -> None:
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError as error:
            raise DefinitionError(f"flag {flag_name!r}: changes() needs a running event loop") from error
        self._queue: asyncio.Queue[tuple[T, T] | None] = asyncio.Queue()
        listener = Listener(_feeder(self._loop, weakref.ref(self._queue)), flag_name)
        listen(listener)
        self._close = weakref.finalize(self, unlisten, listener)
        self._close.atexit = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[T, T]:
        if not self._close.alive:
            raise StopAsyncIteration
        change = await self._queue.get()
        if change is None:
            self._queue.put_nowait(None)  # for the next consumer that is waiting
            raise StopAsyncIteration
        return change

    async def aclose(self) -> None:
        """
        End the iteration, also for a consumer that is waiting. Idempotent.
        """
        self._close()
        self._queue.put_nowait(None)


def _feeder(
    loop: asyncio.AbstractEventLoop, queue: weakref.ref[asyncio.Queue[tuple[T, T] | None]]
) -> Callable[[T, T], None]:
    """
    Make a callback that keeps neither the iterator nor its queue alive.
    """
    pid = os.getpid()

    def feed(old: T, new: T) -> None:
        target = queue()
        if target is not None and os.getpid() == pid:  # a forked child would wake its parent's loop
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(target.put_nowait, (old, new))

    return feed
