"""
A page that shows all flags of a registry, as HTML and as JSON, and lets authorized callers set them.

It runs as a WSGI app, an ASGI app or a small server, and needs only the standard library. An app can be mounted under
any prefix. ``import dflag`` does not import this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dflag.web._asgi import ASGIApp
from dflag.web._handler import Handler
from dflag.web._http import Authorize
from dflag.web._setting import bearer_token
from dflag.web._wsgi import WSGIApp

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from dflag._registry import RegistryLike
    from dflag._updater import Updater
    from dflag.web._server import FlagServer

__all__ = ["ASGIApp", "Authorize", "WSGIApp", "bearer_token", "make_asgi_app", "make_wsgi_app", "start_http_server"]

_MAX_ASGI_STREAMS: Final = 256
"""How many event streams an ASGI app holds open. Each one checks once a second; together they take 1 % of a core."""

_MAX_SERVER_STREAMS: Final = 32
"""How many event streams the server holds open, each on its own thread: half of its connections."""


def __dir__() -> list[str]:
    return __all__


def make_wsgi_app(
    registry: RegistryLike,
    updater: Updater | None = None,
    *,
    authorize: Authorize | None = None,
    title: str | None = None,
    ofrep: bool = False,
    origins: Iterable[str] = (),
    read_authorize: Authorize | None = None,
) -> WSGIApp:
    """
    Make a WSGI app that shows the flags of a registry.

    Mount it in a web service, under any prefix. The app is read-only unless *authorize* is given. The web service
    decides who may read it.

    Args:
        registry: The registry, or a `dflag.Flags` class.
        updater: The updater whose status is shown; None for no status.
        authorize: A function that takes the headers of a request to set a flag, with names in lower case. It returns
            the caller's name, or None to refuse the request; an exception refuses it too. See `bearer_token`. None
            means that nobody can set flags.
        title: The title of the page; None for the registry's name.
        ofrep: Whether to serve OpenFeature's remote protocol below ``/ofrep/v1/``.
        origins: The origins, in addition to the app's own, whose pages may read the answers of this protocol, each as
            ``scheme://host`` or ``scheme://host:port``.
        read_authorize: Like *authorize*, for requests of this protocol. None means that every caller may read.

    Raises:
        DefinitionError: An argument has the wrong type, *authorize* or *read_authorize* is not a plain function, or an
            origin is not valid.

    Thread safety: any thread; validators run in the thread that handles the request.

    >>> import dflag
    >>> flags = dflag.FlagRegistry("shop")
    >>> app = make_wsgi_app(flags, authorize=bearer_token("a-long-random-text", "ops"))
    """
    handler = Handler(
        registry,
        updater,
        authorize=authorize,
        title=title,
        hosted=True,
        ofrep=ofrep,
        origins=origins,
        read_authorize=read_authorize,
    )
    return WSGIApp(handler)


def make_asgi_app(
    registry: RegistryLike,
    updater: Updater | None = None,
    *,
    authorize: Authorize | None = None,
    title: str | None = None,
    ofrep: bool = False,
    origins: Iterable[str] = (),
    read_authorize: Authorize | None = None,
) -> ASGIApp:
    """
    Make an ASGI app that shows the flags of a registry, for servers that run on asyncio.

    Args:
        registry: As for `make_wsgi_app`.
        updater: As for `make_wsgi_app`.
        authorize: As for `make_wsgi_app`: a plain function. It runs on a separate thread.
        title: As for `make_wsgi_app`.
        ofrep: As for `make_wsgi_app`, with an event stream for changes.
        origins: As for `make_wsgi_app`.
        read_authorize: As for `make_wsgi_app`: a plain function. It runs on a separate thread.

    Raises:
        DefinitionError: An argument has the wrong type, *authorize* or *read_authorize* is not a plain function, or an
            origin is not valid.

    Thread safety: any event loop; validators run on a separate thread.

    >>> import dflag
    >>> app = make_asgi_app(dflag.FlagRegistry("shop"))
    """
    handler = Handler(
        registry,
        updater,
        authorize=authorize,
        title=title,
        hosted=True,
        ofrep=ofrep,
        origins=origins,
        read_authorize=read_authorize,
        max_streams=_MAX_ASGI_STREAMS,
    )
    return ASGIApp(handler)


def start_http_server(  # noqa: PLR0913 - one keyword for each option of the contract
    port: int,
    registry: RegistryLike,
    updater: Updater | None = None,
    *,
    addr: str = "127.0.0.1",
    authorize: Authorize | None = None,
    title: str | None = None,
    ofrep: bool = False,
    origins: Iterable[str] = (),
    read_authorize: Authorize | None = None,
    allowed_hosts: Collection[str] | None = None,
) -> FlagServer:
    """
    Serve the flags of a registry over HTTP on daemon threads, for programs that are not web services.

    Args:
        port: The port to listen on; 0 picks a free one, which the attribute `port` of the result contains.
        registry: As for `make_wsgi_app`.
        updater: As for `make_wsgi_app`.
        addr: The address to listen on. The default can be reached only from this machine or this pod.
        authorize: As for `make_wsgi_app`.
        title: As for `make_wsgi_app`.
        ofrep: As for `make_wsgi_app`, with an event stream for changes.
        origins: As for `make_wsgi_app`.
        read_authorize: As for `make_wsgi_app`.
        allowed_hosts: The name or names, without scheme and port, that are accepted as the ``Host`` of a request, in
            addition to IP addresses and localhost; ``"*"`` for any name. None accepts any name, except on a loopback
            address, where it accepts no other name. So a web page cannot reach the server through a domain name of its
            own.

    Returns:
        The running server. It has `port` and `close()`.

    Raises:
        OSError: The address cannot be used, because it is taken or does not belong to this machine.
        DefinitionError: An argument has the wrong type, *port* is out of range, *authorize* or *read_authorize* is not
            a plain function, or an origin or an allowed host is not valid.

    Thread safety: any thread. A forked child does not serve: it closes the sockets that it inherited.

    >>> import dflag, urllib.request
    >>> server = start_http_server(0, dflag.FlagRegistry())
    >>> urllib.request.urlopen(f"http://127.0.0.1:{server.port}/").status
    200
    >>> server.close()
    """
    from dflag.web._server import FlagServer  # imports socketserver, which an app in another server does not need

    handler = Handler(
        registry,
        updater,
        authorize=authorize,
        title=title,
        ofrep=ofrep,
        origins=origins,
        read_authorize=read_authorize,
        max_streams=_MAX_SERVER_STREAMS,
    )
    return FlagServer(handler, addr, port, allowed_hosts)
