"""
A small threaded HTTP server for the request handler.

It is made for a debug page, not for the open internet. Even so, no client can block it for long. The number of
connections is limited, and so are the age, the requests and the bytes of each one. While other clients wait for a
place, a connection ends after its answer, or when its client is slow.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
import threading
import time
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any, Final, Self

from dflag._descriptors import Descriptor
from dflag._faults import OwnThread
from dflag._fork import ForkFollower, follow_forks, settle
from dflag._log import logger
from dflag._once import Once
from dflag._sockets import OwnSocket
from dflag.errors import DefinitionError, check_argument, one_or_more_texts, shorten
from dflag.web._connection import Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from dflag.web._handler import Handler

MAX_CONNECTIONS: Final = 64
"""How many connections are served at once; the others wait in the kernel's queue."""

_PATIENCE_SECONDS: Final = 2.0
"""How long a connection may wait for its client while others wait for a place: one or two round trips on a bad line."""

_POLL_SECONDS: Final = 0.1
"""How long `FlagServer.close` may have to wait for the thread that accepts connections."""

_RETRY_SECONDS: Final = 0.1
"""How long to pause after a failure to accept: the connection stays in the queue, so the next wait ends at once."""

_CLOSE_SECONDS: Final = 5.0
"""How long `FlagServer.close` waits for requests that are being answered."""

_MAX_PORT: Final = 65_535

_NAME: Final = re.compile(r"[a-z0-9._-]+|\*", re.IGNORECASE)
_HOST: Final = re.compile(r"(?:\[([^\[\]]+)\]|([^:\[\]@/ ]*))(?::[0-9]*)?")


class FlagServer:
    """
    A running server, as returned by `dflag.web.start_http_server`.

    Attributes:
        port: The port on which the server listens.

    Thread safety: any thread.
    """

    def __init__(self, handler: Handler, addr: str, port: int, allowed_hosts: Collection[str] | None) -> None:
        _check_address(addr, port)
        if allowed_hosts is not None:
            allowed_hosts = one_or_more_texts("allowed_hosts", allowed_hosts, "each host")
            _check_hosts(allowed_hosts)
        self._server: Final = _Server(handler, addr, port, allowed_hosts)
        self.port: Final[int] = self._server.server_address[1]
        follow_forks(self._server)  # the inner server, which stays alive if the program does not keep this object
        try:
            OwnThread(target=self._server.run, name="dflag-web", daemon=True).start()
        except BaseException:  # no thread can be started now
            self._server.server_close()
            raise

    def close(self) -> None:
        """
        Stop serving, end all connections and free the port. Idempotent.

        It waits up to 5 seconds for requests that are being answered. A request whose validator takes longer ends by
        itself later.
        """
        self._server.stop(_CLOSE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _LostError(Exception):
    """
    The program has closed the socket that the server accepts on.
    """


class _StoppedError(Exception):
    """
    The server must stop.
    """


class _Server(ForkFollower, TCPServer):
    """
    Accepts connections, starts a thread for each, limits their number, and can end them.
    """

    allow_reuse_address = os.name != "nt"  # on Windows this would let two servers share one port
    request_queue_size = 128

    def __init__(self, handler: Handler, addr: str, port: int, allowed_hosts: Collection[str] | None) -> None:
        self.handler: Final = handler
        self.is_crowded = False
        self._free: Final = threading.Semaphore(MAX_CONNECTIONS)
        self._is_failing = False  # the last connection could not be accepted
        # Not `shutdown` of the base class: a signal handler that stops the server a second time could wait for ever.
        self._ending: Final = Once()
        self._ended: Final = Once()
        self._abandoned = False
        self._connections: Final[dict[OwnSocket, threading.Thread]] = {}
        self._waiting: Final[dict[OwnSocket, float]] = {}
        self.address_family = _family(addr)
        super().__init__((addr, port), Connection)
        # The bound address counts, not *addr*: "127.1", "::ffff:127.0.0.1" and names can all mean a loopback address.
        self.is_host: Final = _host_check(self.socket.getsockname()[0], allowed_hosts)

    def run(self) -> None:
        """
        Accept connections until `stop`, or until the program closes the socket, for example when it becomes a daemon.
        """
        try:
            self.serve_forever(_POLL_SECONDS)
        except _StoppedError:
            pass
        except _LostError:
            logger.error(
                "the page on port %d no longer answers: the program has closed its socket, as a daemon does when it "
                "starts; call start_http_server after that",
                self.server_address[1],
            )
        finally:
            self._ended.set()

    def server_bind(self) -> None:
        self._listener = Descriptor(self.socket.fileno())
        super().server_bind()

    def service_actions(self) -> None:
        # The base class calls this after each wait. A wait on a closed descriptor would end at once, again and again.
        if self._ending.is_set():
            raise _StoppedError
        if not self._listener.is_open():
            raise _LostError

    def get_request(self) -> tuple[Any, Any]:
        if not self._listener.is_open():
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        try:
            accepted, address = super().get_request()
        except OSError as error:
            self._rest_after(error)
            raise
        self._is_failing = False
        return OwnSocket(accepted), address

    def _rest_after(self, error: OSError) -> None:
        if not self._is_failing and self._listener.is_open():
            self._is_failing = True
            logger.warning(
                "the page on port %d cannot accept a connection: %s; trying again",
                self.server_address[1],
                (error.strerror or str(error)).lower(),
            )
        self._ending.wait(_RETRY_SECONDS)

    def shutdown_request(self, request: Any) -> None:
        request.shut_down(socket.SHUT_WR)
        request.close()

    def server_close(self) -> None:
        self._listener.close_socket(self.socket)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.is_crowded = True
            while not self._free.acquire(timeout=_POLL_SECONDS):
                if self._ending.is_set():
                    self.shutdown_request(request)
                    return
                self._end_longest_wait()
            self.is_crowded = False
        thread = OwnThread(target=self._serve, args=(request, client_address), name="dflag-web", daemon=True)
        self._connections[request] = thread
        try:
            thread.start()
        except BaseException:  # no thread can be started now
            del self._connections[request]
            self._free.release()
            raise

    def _serve(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except Exception as error:  # for example, because the client has gone
            logger.debug("a connection ended: %s", type(error).__name__)
        finally:
            self._connections.pop(request, None)
            self._waiting.pop(request, None)
            try:
                self.shutdown_request(request)
            finally:
                self._free.release()

    def note_waiting(self, request: Any) -> None:
        """
        Record that a connection starts to wait for its client: for a request, the rest of it, or to receive the answer.
        """
        self._waiting[request] = time.monotonic()

    def note_working(self, request: Any) -> None:
        """
        Record that a connection does not wait for its client.
        """
        self._waiting.pop(request, None)

    def _end_longest_wait(self) -> None:
        request, since = min(list(self._waiting.items()), key=lambda item: item[1], default=(None, 0.0))
        if request is not None and time.monotonic() - since > _PATIENCE_SECONDS:
            self._waiting.pop(request, None)
            request.shut_down()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - socketserver gives them
        logger.error("cannot serve a connection", exc_info=True)

    def stop(self, timeout: float) -> None:
        settle()
        if self._abandoned:
            return
        self._ending.set()
        self.handler.close_streams()
        self._ended.wait()
        self.server_close()
        self._end_connections(time.monotonic() + timeout)

    def _end_connections(self, deadline: float) -> None:
        connections = list(self._connections.items())
        for connection, _ in connections:
            connection.shut_down()
        for _, thread in connections:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))

    # --- forking

    def is_active(self) -> bool:
        return not self._abandoned

    def after_fork_in_child(self) -> None:
        """
        Close the inherited sockets, which the parent still serves. Otherwise clients would not notice when the parent
        ends their connections, and the port would stay in use.
        """
        self._abandoned = True
        self._listener.close()
        self.socket.detach()
        for inherited in self._connections:
            inherited.abandon()


def _check_address(addr: str, port: int) -> None:
    """
    Raise `DefinitionError` if an argument has the wrong type, or the port is out of range.
    """
    check_argument("addr", addr, str, "a text")
    check_argument("port", port, int, "a number")
    if not 0 <= port <= _MAX_PORT:
        raise DefinitionError(f"expected port from 0 to {_MAX_PORT}, got {port}")


def _check_hosts(hosts: Collection[str]) -> None:
    """
    Raise `DefinitionError` if a host could never be the name in a ``Host``.
    """
    for host in hosts:
        if not _NAME.fullmatch(host) and not _is_address(host):
            raise DefinitionError(
                f"expected each host of allowed_hosts as a name without scheme and port, or '*', got {shorten(host)}"
            )


def _family(addr: str) -> socket.AddressFamily:
    """
    Return the address family to listen with: IPv4 if a name has both, because clients of the name try IPv4 too.

    Raises:
        OSError: The address does not exist.
    """
    try:
        found = socket.getaddrinfo(addr or "0.0.0.0", None, type=socket.SOCK_STREAM)  # noqa: S104 - what the empty text means to bind()
    except ValueError as error:  # not a valid host name
        raise OSError(errno.EADDRNOTAVAIL, f"no such address: {addr!r}") from error
    families = {family for family, *_ in found}
    return socket.AF_INET if socket.AF_INET in families else socket.AF_INET6


def _host_check(bound: str, allowed_hosts: Collection[str] | None) -> Callable[[str], bool]:
    """
    Return the function that checks ``Host`` for a server that is bound to the address *bound*.

    The owner of a web page can let its domain name resolve to 127.0.0.1. Then the page has the same origin as a server
    there ("DNS rebinding"). ``Host`` reveals this, because it holds that name: a client that means this machine uses
    an IP address or localhost.
    """
    if allowed_hosts is None:
        allowed_hosts = () if _is_loopback(bound) else ("*",)
    names = {name.lower().rstrip(".") for name in allowed_hosts}

    def is_host(host: str) -> bool:
        found = _HOST.fullmatch(host.lower())
        if found is None:
            return False
        name = found[1] or found[2].rstrip(".")
        return "*" in names or name in names or name == "localhost" or name.endswith(".localhost") or _is_address(name)

    return is_host


def _is_loopback(bound: str) -> bool:
    address = ipaddress.ip_address(bound)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
