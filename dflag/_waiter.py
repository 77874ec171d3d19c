"""
Waiting until one of several descriptors is readable, another thread calls, or time has passed.
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
"""The longest single wait. The limit of epoll is 24 days, because it counts milliseconds in 32 bits."""

_CLOSING_SECONDS: Final = 0.05
"""The time that a program gets to close every descriptor and to open the ones that it needs instead."""


class Waiter:
    """
    A selector, and a pair of sockets through which other threads end a wait.

    If the process has no free descriptor, the waiter waits only for threads, so that the periodic check goes on, and
    tries to open its descriptors after each wait. If the program has closed them, the waiter opens new ones.

    Attributes:
        problem: The reason why no descriptor can be waited for, otherwise None.
        readable: The descriptors that ended the last wait.

    Thread safety: `wake` from any thread, the rest from one thread at a time.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # reentrant: a signal handler may interrupt `wake`, and call it again
        self._called = Once()
        self._others: dict[int, Identity] = {}
        self._selector: selectors.BaseSelector | None = None
        self._ends: tuple[tuple[socket.socket, Descriptor], ...] = ()
        self.problem: str | None = None
        self.readable: Collection[int] = ()
        self._open()

    def wake(self) -> None:
        """
        End the current wait, or else the next one. After `close` this does nothing.
        """
        self._called.set()
        # OSError: the socket is full, so a wake-up is under way, or it was closed, which ends the wait as well.
        with self._lock, contextlib.suppress(OSError):
            if self._is_whole():
                self._ends[1][0].send(b"\0")

    def wait(self, descriptors: Iterable[int | None], timeout: float, begins: Once) -> bool:
        """
        Wait until a descriptor is readable or `wake` is called; return False when *timeout* seconds pass first.

        *begins* is set just before the wait.
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
            return True  # the old sockets may have held a wake-up, which is lost
        # Without closed descriptors, which would be ready at once, again and again.
        wanted = {number: found for number in descriptors if number is not None and (found := identity(number))}
        if wanted != self._others:
            self._register(wanted)
        if not begins.is_set():  # setting it again would take as long as everything else here
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
        Release the descriptors in a forked child, in which a thread of the parent may have left the lock taken.
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
        # The program may still be closing descriptors and opening others. A descriptor opened here meanwhile would be
        # closed as well, and its number given to a file of the program. The wait ends early when `wake` is called.
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
