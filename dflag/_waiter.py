"""
Waiting for any of several descriptors, for a word from another thread, or for time to pass.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable


class Waiter:
    """
    A selector, and a pair of sockets through which other threads end a wait.

    ``selectors.DefaultSelector`` is looked up at each use, because gevent and eventlet replace it.
    Where no descriptor can be had it waits for words from threads alone, so that the periodic check goes on, and tries
    again after each wait.

    Attributes:
        problem: Why no descriptor can be waited for, else None.

    Thread safety: `wake` from any thread, the rest from one thread at a time.
    """

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        self._called: Final = threading.Event()
        self._others: set[int] = set()
        self._selector: selectors.BaseSelector | None = None
        self._sockets: tuple[socket.socket, ...] = ()
        self.problem: str | None = None
        self._open()

    def wake(self) -> None:
        """
        End the wait that is going on, or the next one. Does nothing once closed.
        """
        self._called.set()
        with self._lock, contextlib.suppress(BlockingIOError):  # full: a wake-up is under way already
            if self._sockets:
                self._sockets[1].send(b"\0")

    def wait(self, descriptors: Iterable[int | None], timeout: float) -> bool:
        """
        Wait until one of the descriptors is readable or `wake` is called; False when *timeout* seconds pass first.
        """
        if self._selector is None:
            called = self._called.wait(timeout)
            self._called.clear()
            self._open()
        else:
            wanted = {descriptor for descriptor in descriptors if descriptor is not None}
            if wanted != self._others:
                self._register(wanted)
            ready = self._selector.select(timeout)
            called = bool(ready)
            for key, _ in ready:
                if key.fileobj is self._sockets[0]:
                    self._take_words()
        return called

    def close(self) -> None:
        """
        Release the descriptors. Idempotent.
        """
        with self._lock:
            sockets, self._sockets = self._sockets, ()
        selector, self._selector = self._selector, None
        if selector is not None:
            selector.close()
        for end in sockets:
            end.close()

    def _take_words(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._sockets[0].recv(4096):
                pass

    def _open(self) -> None:
        try:
            self._selector, self._others = selectors.DefaultSelector(), set()
            sockets = socket.socketpair()
            with self._lock:
                self._sockets = sockets
            for end in sockets:
                end.setblocking(False)  # noqa: FBT003 - the signature is the library's
            self._selector.register(sockets[0], selectors.EVENT_READ)
            self.problem = None
        except OSError as error:
            self.problem = f"no file descriptor is free: {(error.strerror or str(error)).lower()}"
            self.close()

    def _register(self, wanted: set[int]) -> None:
        if self._selector is None:
            return
        for descriptor in self._others - wanted:
            with contextlib.suppress(KeyError, OSError, ValueError):  # closed by its owner
                self._selector.unregister(descriptor)
        for descriptor in wanted - self._others:
            self._selector.register(descriptor, selectors.EVENT_READ)
        self._others = wanted
