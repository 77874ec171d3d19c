"""
A page and its JSON that show all flags of a registry, and let those who may set them.

One request handler behind a WSGI and an ASGI face, on the standard library alone, mountable under any prefix.
Nothing of it is imported by ``import dflag``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dflag.web._asgi import ASGIApp
from dflag.web._handler import Handler
from dflag.web._http import Authorize
from dflag.web._setting import bearer_token
from dflag.web._wsgi import WSGIApp

if TYPE_CHECKING:
    from collections.abc import Collection

    from dflag._registry import RegistryLike
    from dflag._updater import Updater
    from dflag.web._server import FlagServer

__all__ = ["ASGIApp", "Authorize", "WSGIApp", "bearer_token", "make_asgi_app", "make_wsgi_app", "start_http_server"]


def __dir__() -> list[str]:
    return __all__


def make_wsgi_app(
    registry: RegistryLike,
    updater: Updater | None = None,
    *,
    authorize: Authorize | None = None,
    title: str | None = None,
) -> WSGIApp:
    """
    Make a WSGI app that shows the flags of a registry.

    Args:
        registry: The flags.
        updater: The updater whose status to show beside them; None for none.
        authorize: Given the headers of a request to set a flag, names in lower case,
            it returns the caller's name, or None to refuse, as any exception does; see `bearer_token`.
            None: setting is off.
        title: The page's; None for the registry's name.

    Raises:
        DefinitionError: *authorize* is not a plain function.

    Thread safety: any thread; validators of what is set run in the one that handles the request.
    """
    return WSGIApp(Handler(registry, updater, authorize=authorize, title=title, hosted=True))


def make_asgi_app(
    registry: RegistryLike,
    updater: Updater | None = None,
    *,
    authorize: Authorize | None = None,
    title: str | None = None,
) -> ASGIApp:
    """
    Make an ASGI app that shows the flags of a registry; for servers that run on asyncio.

    Args:
        registry: As for `make_wsgi_app`.
        updater: As for `make_wsgi_app`.
        authorize: As for `make_wsgi_app`: a plain function, which runs on a thread.
        title: As for `make_wsgi_app`.

    Raises:
        DefinitionError: *authorize* is not a plain function.

    Thread safety: any event loop; validators of what is set run on a thread.
    """
    return ASGIApp(Handler(registry, updater, authorize=authorize, title=title, hosted=True))


def start_http_server(
    port: int,
    registry: RegistryLike,
    updater: Updater | None = None,
    *,
    addr: str = "127.0.0.1",
    authorize: Authorize | None = None,
    title: str | None = None,
    allowed_hosts: Collection[str] | None = None,
) -> FlagServer:
    """
    Serve the flags of a registry over HTTP on daemon threads, for programs that are no web service themselves.

    Args:
        port: The port to listen on; 0 picks a free one, see the `port` of the result.
        registry: As for `make_wsgi_app`.
        updater: As for `make_wsgi_app`.
        addr: The address to listen on. The default is reachable only from this machine, or this pod.
        authorize: As for `make_wsgi_app`.
        title: As for `make_wsgi_app`.
        allowed_hosts: Names that a request's ``Host`` may have besides IP addresses and localhost;
            ``"*"`` for any. None: no other if the address that *addr* leads to is a loopback address, so that no web
            page can reach the server through a name of its own; any on other addresses.

    Returns:
        The running server: its `port`, and `close()`.

    Raises:
        OSError: The address cannot be used: it is taken, or not one of this machine.
        DefinitionError: *authorize* is not a plain function.

    Thread safety: any thread. A forked child does not serve: it closes what it inherited.

    >>> import dflag, urllib.request
    >>> server = start_http_server(0, dflag.FlagRegistry())
    >>> urllib.request.urlopen(f"http://127.0.0.1:{server.port}/").status
    200
    >>> server.close()
    """
    from dflag.web._server import FlagServer  # brings http.server, which an app in another server does not need

    handler = Handler(registry, updater, authorize=authorize, title=title)
    return FlagServer(handler, addr, port, allowed_hosts)
