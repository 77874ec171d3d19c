"""
One revision for a whole request, in any framework.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, Generic, ParamSpec, TypeVar, final

from dflag._flags import close_pin, renew_slow_reads
from dflag._fork import ForkFollower, follow_forks
from dflag._registry import make_pin, registry_of, store_of_registry
from dflag._snapshot import innermost_pin, open_pins, reset_pin, set_pin
from dflag.errors import check_argument

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from contextvars import Token

    from dflag._registry import RegistryLike
    from dflag._snapshot import Pin
    from dflag._store import Store

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

REVISION_HEADER: Final = "X-Config-Revision"
"""The response header with the number of the revision of this process that the request was pinned to."""


class _Requests(ForkFollower):
    """
    The open pins of requests. All of them end in a forked child, because the child answers none of the requests.

    Otherwise a process pool that a request starts would see the revision of that request for ever.
    """

    def __init__(self) -> None:
        self.pins: Final[set[Pin]] = set()
        follow_forks(self)

    def is_active(self) -> bool:
        return bool(self.pins)

    def after_fork_in_child(self) -> None:
        while self.pins:
            self.pins.pop().close()  # without the lock of `close_pin`, which is being renewed
        renew_slow_reads()


_requests: Final = _Requests()


@final
class RequestPin:
    """
    Pins one request to one revision, from the creation of this object until `close`.

    The code of a request may run in several calls, and the server does other work in the same context between them.
    So the pin is set only inside of a ``with`` block or of `run`, once for each call.

    A pin that is not closed ends when the object is deleted, so that a server that drops a response does not keep the
    revision for ever. The pin also ends in a child that is forked in the meantime.

    Args:
        store: The store that holds the values.
        within_request: Whether this request is part of the request whose pin the context sees. If False, the server
            has begun this request in the context of another request, and the pin of that request is ignored.

    Thread safety: one thread at a time; each call may be on another thread.
    """

    __slots__ = ("_pin", "_token", "revision")

    def __init__(self, store: Store, *, within_request: bool = True) -> None:
        pin = make_pin(store, nested=within_request or innermost_pin() not in _requests.pins)
        _requests.pins.add(pin)
        self._pin: Final = pin
        self._token: Token[Pin] | None = None
        self.revision: Final = pin.snapshot.revision

    def __enter__(self) -> None:
        self._token = set_pin(self._pin)

    def __exit__(self, *_: object) -> None:
        token, self._token = self._token, None
        if token is not None:
            # A dropped coroutine is closed in another context than the one in which it ran. No pin is set there.
            with contextlib.suppress(ValueError):
                reset_pin(token)

    def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """
        Call *function* with the pin set.
        """
        with self:
            return function(*args, **kwargs)

    def close(self) -> None:
        """
        End the pin. Code of the request that still runs sees live values from now on. Idempotent.
        """
        _requests.pins.discard(self._pin)
        if self._pin in open_pins:
            close_pin(self._pin)

    __del__ = close


class PinnedIterator(Generic[T]):
    """
    An iterator over an iterable. A pin is set while each item is made, and not set between two items.
    """

    def __init__(self, items: Iterable[T], pin: RequestPin) -> None:
        self._items: Final = items
        self._pin: Final = pin
        self._iterator: Iterator[T] | None = None

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._iterator is None:
            self._iterator = self._pin.run(iter, self._items)
        return self._pin.run(next, self._iterator)


class PinnedAsyncIterator(Generic[T]):
    """
    Like `PinnedIterator`, but for an asynchronous iterator.
    """

    def __init__(self, items: AsyncIterator[T], pin: RequestPin) -> None:
        self._items: Final = items
        self._pin: Final = pin

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        with self._pin:
            return await anext(self._items)


def store_to_pin(registry: RegistryLike) -> Store:
    """
    Return the store of the registry to whose revisions requests are pinned.

    Raises:
        ArgumentError: *registry* has the wrong type.
    """
    return store_of_registry(registry_of(registry))


def check_switch(name: str, given: object) -> None:
    """
    Raise `ArgumentError` unless an option is True or False.
    """
    check_argument(name, given, bool, "True or False")
