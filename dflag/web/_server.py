"""
A small HTTP server for the handler, on threads.

It stands for a debug page, not for the open internet. Still no client can hold it up for long:
connections are counted, every request has a deadline however its bytes drip, and bodies are bounded.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import threading
import time
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any, Final, Self

from dflag._fork import follow_forks
from dflag._log import logger
from dflag.web._connection import Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from types import TracebackType

    from dflag.web._handler import Handler

MAX_CONNECTIONS: Final = 64
"""How many are served at once; the others wait in the kernel's queue."""

_POLL_SECONDS: Final = 0.1
"""How long `FlagServer.close` may have to wait for the thread that accepts."""

_CLOSE_SECONDS: Final = 5.0
"""How long it waits for requests that are being answered."""


class FlagServer:
    """
    A running server, as `dflag.web.start_http_server` gives it.

    Attributes:
        port: The port it listens on.

    Thread safety: any thread.
    """

    def __init__(self, handler: Handler, addr: str, port: int, allowed_hosts: Collection[str] | None) -> None:
        self._server: Final = _Server(handler, addr, port, _host_check(addr, allowed_hosts))
        self.port: Final[int] = self._server.server_address[1]
        follow_forks(self._server)  # which lives on when nobody keeps this object
        loop = self._server.serve_forever
        threading.Thread(target=loop, args=(_POLL_SECONDS,), name="dflag-web", daemon=True).start()

    def close(self) -> None:
        """
        Stop serving, end all connections and free the port. Idempotent.

        A request whose validator is still running after 5 seconds ends by itself.
        """
        self._server.stop(_CLOSE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class _Server(TCPServer):
    """
    Accepts connections and gives each a thread; counts them, and can end them.
    """

    allow_reuse_address = os.name != "nt"  # on Windows it would let two servers have one port
    request_queue_size = 128

    def __init__(self, handler: Handler, addr: str, port: int, is_host: Callable[[str], bool]) -> None:
        self.handler: Final = handler
        self.is_host: Final = is_host
        self._free: Final = threading.Semaphore(MAX_CONNECTIONS)
        self._ending: Final = threading.Event()
        self._abandoned = False
        self._connections: Final[dict[Any, threading.Thread]] = {}
        self.address_family = socket.AF_INET6 if ":" in addr else socket.AF_INET
        super().__init__((addr, port), Connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        while not self._free.acquire(timeout=_POLL_SECONDS):
            if self._ending.is_set():
                self.shutdown_request(request)
                return
        thread = threading.Thread(target=self._serve, args=(request, client_address), name="dflag-web", daemon=True)
        self._connections[request] = thread
        try:
            thread.start()
        except BaseException:  # no thread is to be had now
            del self._connections[request]
            self._free.release()
            raise

    def _serve(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except Exception as error:  # as when a client goes away
            logger.debug("a connection ended: %s", type(error).__name__)
        finally:
            self._connections.pop(request, None)
            self.shutdown_request(request)
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - socketserver gives them
        logger.error("a connection could not be served", exc_info=True)

    def stop(self, timeout: float) -> None:
        if self._abandoned:
            return
        self._ending.set()
        self.shutdown()
        self.server_close()
        self._end_connections(time.monotonic() + timeout)

    def _end_connections(self, deadline: float) -> None:
        connections = list(self._connections.items())
        for connection, _ in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for _, thread in connections:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))

    # --- forking

    def before_fork(self) -> None:
        pass

    def after_fork_in_parent(self) -> None:
        pass

    def after_fork_in_child(self) -> None:
        """
        Close what the parent goes on serving: else clients would not see it end, nor would the port come free.
        """
        self._abandoned = True
        for inherited in (self.socket, *self._connections):
            with contextlib.suppress(OSError):
                os.close(inherited.detach())

    def resume_in_child(self) -> None:
        pass


def _host_check(addr: str, allowed_hosts: Collection[str] | None) -> Callable[[str], bool]:
    """
    Make the check of ``Host``.

    A web page can let its own name resolve to 127.0.0.1 and then count as of one origin with a server there
    ("DNS rebinding"). The name gives it away: who means this machine says so by address or as localhost.
    """
    if allowed_hosts is None:
        allowed_hosts = () if _is_loopback(addr) else ("*",)
    names = {name.lower().rstrip(".") for name in allowed_hosts}

    def is_host(host: str) -> bool:
        name = host.strip().lower()
        name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0].rstrip(".")
        return "*" in names or name in names or name == "localhost" or name.endswith(".localhost") or _is_address(name)

    return is_host


def _is_loopback(addr: str) -> bool:
    return addr == "localhost" or (_is_address(addr) and ipaddress.ip_address(addr).is_loopback)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
