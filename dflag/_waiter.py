"""
Waiting for any of several descriptors, for a word from another thread, or for time to pass.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from typing import TYPE_CHECKING, Final

from dflag._descriptors import Descriptor, Identity, identity, new_selector
from dflag._once import Once

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

_LONGEST_SECONDS: Final = 86_400.0
"""The longest wait in one go: epoll counts milliseconds in 32 bits, 24 days."""

_CLOSING_SECONDS: Final = 0.05
"""How long a program may take to close every descriptor and to open those that it needs instead."""


class Waiter:
    """
    A selector, and a pair of sockets through which other threads end a wait.

    Where the process has no descriptor left, it waits for threads alone, so that the periodic check goes on, and tries
    again after each wait. Where the program has closed its descriptors it makes others.

    Attributes:
        problem: Why no descriptor can be waited for, else None.
        readable: The descriptors that ended the last wait.

    Thread safety: `wake` from any thread, the rest from one thread at a time.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal handler may interrupt `wake`, and call it again
        self._called = Once()
        self._others: dict[int, Identity] = {}
        self._selector: selectors.BaseSelector | None = None
        self._ends: tuple[tuple[socket.socket, Descriptor], ...] = ()
        self.problem: str | None = None
        self.readable: Collection[int] = ()
        self._open()

    def wake(self) -> None:
        """
        End the wait that is going on, or the next one. Does nothing once closed.
        """
        self._called.set()
        # Full: a wake-up is under way already. Otherwise the sockets were closed, which ends the wait as well.
        with self._lock, contextlib.suppress(OSError):
            if self._is_whole():
                self._ends[1][0].send(b"\0")

    def wait(self, descriptors: Iterable[int | None], timeout: float, begins: Once) -> bool:
        """
        Wait until one of the descriptors is readable or `wake` is called; False when *timeout* seconds pass first.

        *begins* is set just before.
        """
        self.readable = ()
        if self._selector is None:
            begins.set()
            called = self._called.wait(timeout)
            self._called = Once()
            self._open()
            return called
        if not self._is_whole():
            self._reopen()
            return True  # what was written to the sockets is lost
        # One that is closed would be ready at once, again and again.
        wanted = {number: found for number in descriptors if number is not None and (found := identity(number))}
        if wanted != self._others:
            self._register(wanted)
        if not begins.is_set():  # to open again what is open takes as long as all else here
            begins.set()
        self.readable = [key.fd for key, _ in self._selector.select(min(timeout, _LONGEST_SECONDS))]
        if self._ends[0][1].number in self.readable:
            self._take_words()
        return bool(self.readable)

    def close(self) -> None:
        """
        Release the descriptors. Idempotent.
        """
        with self._lock:
            ends, self._ends = self._ends, ()
        selector, self._selector = self._selector, None
        if selector is not None:
            selector.close()
        for end, descriptor in ends:
            descriptor.close_socket(end)

    def _is_whole(self) -> bool:
        return bool(self._ends) and all(descriptor.is_open() for _, descriptor in self._ends)

    def abandon(self) -> None:
        """
        Release the descriptors in a forked child, where a thread that is not there may hold the lock.
        """
        self._lock = threading.RLock()
        self.close()

    def _take_words(self) -> None:
        if not self._is_whole():
            self._reopen()
            return
        with contextlib.suppress(BlockingIOError):
            while self._ends[0][0].recv(4096):
                pass

    def _reopen(self) -> None:
        self.close()
        # The program may still be closing descriptors, and opening others: one opened here meanwhile would be closed as
        # well, and its number given to a file of the program. Ends early when `wake` is called.
        self._called = Once()
        self._called.wait(_CLOSING_SECONDS)
        self._open()

    def _open(self) -> None:
        try:
            self._selector, self._others = new_selector(), {}
            ends = socket.socketpair()
            with self._lock:
                self._ends = tuple((end, Descriptor(end.fileno())) for end in ends)
            for end in ends:
                end.setblocking(False)  # noqa: FBT003 - the signature is the library's
            self._selector.register(self._ends[0][1].number, selectors.EVENT_READ)
            self.problem = None
        except OSError as error:
            self.problem = f"no file descriptor is free: {(error.strerror or str(error)).lower()}"
            self.close()

    def _register(self, wanted: dict[int, Identity]) -> None:
        if self._selector is None:
            return
        for number, known in self._others.items():
            if wanted.get(number) != known:
                with contextlib.suppress(KeyError, OSError, ValueError):  # closed by its owner
                    self._selector.unregister(number)
        for number, found in wanted.items():
            if self._others.get(number) != found:
                self._selector.register(number, selectors.EVENT_READ)
        self._others = wanted
