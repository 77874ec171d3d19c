"""
A network connection that another thread can cut, wherever its owner is blocked.

Closing a socket does not wake a thread that waits for it. ``shutdown`` does: in connect (on Linux), in the TLS
handshake and in a read. So the socket must be known from its first moment, which is why it is made here and not by the
HTTP client. The use of a socket that the program has closed, as daemons do, ends with an error.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import httpcore2 as httpcore

from dflag._descriptors import Descriptor
from dflag._fork import ForkFollower, follow_forks
from dflag._sockets import OwnSocket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

KEEPALIVE: Final = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""The kernel probes a silent peer, so that a dead peer is noticed within a minute, at no cost to the program."""

_UNDER_WAY: Final = frozenset({0, errno.EINPROGRESS, errno.EWOULDBLOCK})


class Link(ForkFollower, httpcore.NetworkBackend):
    """
    Makes the connections of one HTTP client, one at a time. It keeps the newest, so that a forked child can close it.

    Thread safety: `cut` from any thread; `abandon` in a forked child; the rest from one thread.
    """

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        self._socket: OwnSocket | None = None
        self._interrupt: Callable[[], None] | None = None
        self._pipes: list[Descriptor] = []
        self._deadline: float | None = None
        self._is_cut = False
        follow_forks(self)

    def cut(self) -> None:
        """
        End the call in which the owner is blocked, and every later attempt. Idempotent.
        """
        with self._lock:
            self._is_cut = True
            if self._socket is not None:
                self._socket.shut_down()
            if self._interrupt is not None:
                self._interrupt()

    def limit(self, seconds: float) -> None:
        """
        Limit the total time of the peer from now on. A peer that sends a byte now and then does not extend it.
        """
        self._deadline = time.monotonic() + seconds

    @contextlib.contextmanager
    def waiting(self, interrupt: Callable[[], None], *pipes: int) -> Iterator[None]:
        """
        Let `cut` call *interrupt* while the owner waits in the block for output from *pipes*.
        """
        with self._lock:
            self._interrupt = interrupt
            self._pipes = [Descriptor(pipe) for pipe in pipes]
            if self._is_cut:
                interrupt()
        try:
            yield
        finally:
            with self._lock:
                self._interrupt, self._pipes = None, []

    def abandon(self) -> None:
        """
        Close the inherited descriptors in a forked child, and do nothing else: the connection belongs to the parent.
        """
        self._interrupt = None
        pipes, self._pipes = self._pipes, []
        for pipe in pipes:
            pipe.close()
        held, self._socket = self._socket, None  # without the lock, which may be held by a thread of the parent
        if held is not None:
            held.abandon()

    def is_active(self) -> bool:
        return self._socket is not None or bool(self._pipes)

    def after_fork_in_child(self) -> None:
        self.abandon()

    def hold(self, held: OwnSocket) -> None:
        """
        Keep a socket as the one that `cut` shuts down.

        Raises:
            ConnectionAbortedError: The link was cut already.
        """
        with self._lock:
            self._take(held)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002 - the signature is the library's
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        """
        Connect to the first address of *host* that answers. An IPv6 address may be in brackets.

        Raises:
            OSError: No address answers.
        """
        began = time.monotonic()
        problem: OSError | None = None
        addresses = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        for number, (family, kind, protocol, _, address) in enumerate(addresses):
            try:
                connection = _TlsSocket(socket.socket(family, kind, protocol))
            except OSError as error:  # on a system without IPv6, for example
                problem = error
                continue
            try:
                # An address that never answers must leave the other addresses their share of the time.
                share = None if timeout is None else _left(began, timeout) / (len(addresses) - number)
                self._connect(connection, address, share)
            except OSError as error:
                connection.close()
                problem = error
            except BaseException:
                connection.close()
                raise
            else:
                _keep_alive(connection)
                if self._deadline is not None:
                    self._deadline += time.monotonic() - began
                return _Stream(self, connection)
        raise problem if problem is not None else OSError(f"{host}: no address")

    def patience(self, timeout: float | None) -> float | None:
        """
        Return how long the next read may take, at most *timeout*.

        Raises:
            TimeoutError: The peer has used up its total time.
        """
        if self._deadline is None:
            return timeout
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the peer took too long in all")
        return left if timeout is None else min(left, timeout)

    def _connect(self, connection: OwnSocket, address: Any, timeout: float | None) -> None:
        with self._lock:
            self._take(connection)
            # Start to connect before the socket can be cut: a socket that is not connecting cannot be shut down.
            problem = connection.connect(address)
        if problem not in _UNDER_WAY:
            raise OSError(problem, os.strerror(problem))
        if not connection.is_ready(selectors.EVENT_WRITE, timeout):
            raise TimeoutError("nobody answered")
        self.hold(connection)  # raises if the link was cut: the socket may look connected
        if problem := connection.problem():
            raise OSError(problem, os.strerror(problem))

    def _take(self, held: OwnSocket) -> None:
        if self._is_cut:
            raise ConnectionAbortedError("the connection is not wanted any more")
        self._socket = held


class _TlsSocket(OwnSocket):
    """
    A socket that can use TLS.
    """

    __slots__ = ()

    def secure(self, context: ssl.SSLContext, name: str | None) -> None:
        """
        Put TLS on top of the socket. A `shut_down` during this call may be lost, because an SSLSocket takes the
        descriptor from the plain socket.
        """
        self._socket = context.wrap_socket(self._own(), server_hostname=name, do_handshake_on_connect=False)

    def shake_hands(self, timeout: float | None) -> None:
        """
        Agree with the peer on the keys of TLS.

        Raises:
            TimeoutError: The handshake took longer than *timeout* seconds.
            OSError: The peer refused, or the connection broke.
        """
        self._patiently(lambda own: own.do_handshake(), selectors.EVENT_READ, timeout)

    def extra(self) -> socket.socket:
        """
        Return the socket. The HTTP client may only ask it about TLS.
        """
        return self._socket

    def _shut_down(self, own: socket.socket, how: int) -> None:
        if isinstance(own, ssl.SSLSocket):
            # Not SSLSocket.shutdown, which would also remove the TLS state that the reading thread uses. Not
            # socket.socket.shutdown either: eventlet replaces socket.socket by a class that lacks this method and is
            # not a base of its SSLSocket.
            socket.SocketType.shutdown(own, how)
        else:
            super()._shut_down(own, how)

    def _wanted(self, error: OSError, event: int) -> int | None:
        # TLS may have to write before it can read.
        if isinstance(error, ssl.SSLWantReadError):
            return selectors.EVENT_READ
        if isinstance(error, ssl.SSLWantWriteError):
            return selectors.EVENT_WRITE
        return super()._wanted(error, event)


class _Stream(httpcore.NetworkStream):
    """
    A connection of a link, with the interface that the HTTP client expects.
    """

    def __init__(self, link: Link, connection: _TlsSocket) -> None:
        self._link: Final = link
        self._socket: Final = connection

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._socket.receive(max_bytes, self._link.patience(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            self._socket.send_all(buffer, timeout)
        except TimeoutError:
            raise
        except OSError as error:
            # The client then reads what the peer sent before it closed the connection, such as a request for a
            # certificate.
            raise httpcore.WriteError(error.strerror or "the connection broke") from error

    def close(self) -> None:
        self._socket.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        try:
            self._socket.secure(ssl_context, server_hostname)
            self._link.hold(self._socket)  # raises if the link was cut meanwhile
            self._socket.shake_hands(timeout)
        except BaseException:
            self._socket.close()
            raise
        return self

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            # The client asks this about an idle connection, which is readable once the peer has ended it.
            return not self._socket.is_open() or self._socket.is_ready(selectors.EVENT_READ, 0.0)
        found = self._socket.extra()
        if info == "ssl_object":
            return found if isinstance(found, ssl.SSLSocket) else None
        return found if info == "socket" else None


def _left(began: float, seconds: float) -> float:
    return max(began + seconds - time.monotonic(), 0.0)


def _keep_alive(connection: OwnSocket) -> None:
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, value in KEEPALIVE.items():
        if hasattr(socket, name):  # without these options, the kernel's own time applies: two hours
            options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    for level, option, value in options:
        # The options only save time. The deadline of a watch reveals a silent peer too.
        connection.set_option(level, option, value)
