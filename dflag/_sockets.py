"""
dflag's own sockets, for a process whose program may close any descriptor at any time.

A method of Python's sockets first waits and then uses the number of the descriptor, which may belong to another file by
then. So these sockets never block inside a method. They wait separately, and check before each use that the number is
still their own.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

from dflag._descriptors import Descriptor, new_selector

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

LOOK_SECONDS: Final = 0.5
"""
How long a wait goes on at most without checking whether the socket was closed.

The kernel does not end a wait when a socket is closed. One check takes 20 µs.
"""


class OwnSocket:
    """
    A connected or connecting socket that is never read, written, shut down or closed once the program has closed it.

    Args:
        made: The socket, which belongs to this object from now on.

    Thread safety: `shut_down` from any thread; the rest from one thread at a time.
    """

    __slots__ = ("__weakref__", "_descriptor", "_socket")

    def __init__(self, made: socket.socket) -> None:
        self._descriptor: Final = Descriptor(made.fileno())
        self._socket = made
        made.setblocking(False)  # noqa: FBT003 - the signature is the library's

    def is_open(self) -> bool:
        """
        Return whether neither the program nor `close` has closed the socket.
        """
        return self._socket.fileno() >= 0 and self._descriptor.is_open()

    def is_ready(self, event: int, timeout: float | None) -> bool:
        """
        Wait until the socket is ready for *event*, reading or writing; return False when *timeout* seconds pass first.

        Raises:
            ConnectionAbortedError: The program has closed the socket.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = LOOK_SECONDS if deadline is None else max(deadline - time.monotonic(), 0.0)
            with new_selector() as selector:
                selector.register(self._own(), event)
                if selector.select(min(left, LOOK_SECONDS)):
                    self._own()  # checks again, because a closed descriptor is ready at once
                    return True
            if deadline is not None and left <= LOOK_SECONDS:
                return False

    def connect(self, address: Any) -> int:
        """
        Begin to connect, and return the error number. When the attempt has ended, the socket is ready for writing.
        """
        return self._own().connect_ex(address)

    def problem(self) -> int:
        """
        Return the error number of the connection; 0 if there is no error.
        """
        return self._own().getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def set_option(self, level: int, option: int, value: int) -> None:
        """
        Set an option, if possible: a sandbox may refuse any option, and nothing depends on one.
        """
        with contextlib.suppress(OSError):
            self._own().setsockopt(level, option, value)

    def receive(self, max_bytes: int, timeout: float | None) -> bytes:
        """
        Return the bytes that are available, at least one; no bytes at the end of the connection.

        Raises:
            TimeoutError: Nothing came within *timeout* seconds.
            OSError: The connection broke, or the program has closed the socket.
        """

        def use(own: socket.socket) -> bytes:
            return own.recv(max_bytes)

        return self._patiently(use, selectors.EVENT_READ, timeout)

    def send_all(self, data: bytes, timeout: float | None) -> None:
        """
        Write all of *data*.

        Raises:
            TimeoutError: The peer did not take all data within *timeout* seconds.
            OSError: The connection broke, or the program has closed the socket.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        rest = memoryview(data)

        def use(own: socket.socket) -> int:
            return own.send(rest)

        while rest:
            left = None if deadline is None else deadline - time.monotonic()
            rest = rest[self._patiently(use, selectors.EVENT_WRITE, left) :]

    def shut_down(self, how: int = socket.SHUT_RDWR) -> None:
        """
        End every wait for the socket, in all threads, and tell the peer. Idempotent.
        """
        if self.is_open():
            with contextlib.suppress(OSError):
                self._shut_down(self._socket, how)

    def close(self) -> None:
        """
        Close the socket; if its number belongs to another file by now, only forget it. Idempotent.
        """
        self._descriptor.close_socket(self._socket)

    def abandon(self) -> None:
        """
        Close the inherited descriptor in a forked child, and nothing else: the connection is the parent's.
        """
        self._descriptor.close()
        self._socket.detach()

    def _shut_down(self, own: socket.socket, how: int) -> None:
        own.shutdown(how)

    def _own(self) -> socket.socket:
        """
        Return the socket.

        Raises:
            ConnectionAbortedError: The socket is closed.
        """
        if not self.is_open():
            raise ConnectionAbortedError("the program has closed the connection")
        return self._socket

    def _patiently(self, use: Callable[[Any], T], event: int, timeout: float | None) -> T:
        """
        Call *use* with the socket, as often as needed until it does not have to wait, and return its result.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                return use(self._own())
            except OSError as error:
                wanted = self._wanted(error, event)
                if wanted is None:
                    raise
            left = None if deadline is None else deadline - time.monotonic()
            if (left is not None and left <= 0) or not self.is_ready(wanted, left):
                raise TimeoutError("the peer took too long")

    def _wanted(self, error: OSError, event: int) -> int | None:
        """
        Return the event to wait for after an error, or None if waiting does not help.
        """
        return event if isinstance(error, BlockingIOError) else None
