"""
One revision for a whole request, under ASGI 3: Starlette, FastAPI, Litestar, Django and others.

>>> import asyncio, dflag
>>> flags = dflag.FlagRegistry()
>>> rate = flags.dyn_int("rate", 50)
>>> async def app(scope, receive, send):
...     before = rate.get()
...     rate.set(60)  # as an updater would, meanwhile
...     print(before, rate.get())
>>> asyncio.run(PinMiddleware(app, flags)({"type": "http"}, None, None))
50 50
>>> rate.get()
60
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dflag._log import logger
from dflag._once import Once
from dflag._updater import Updater
from dflag.errors import check_argument
from dflag.integrations._pins import REVISION_HEADER, RequestPin, check_switch, store_to_pin

if TYPE_CHECKING:
    from dflag._registry import RegistryLike

__all__ = ["PinMiddleware"]


def __dir__() -> list[str]:
    return __all__


Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_HEADER: Final = REVISION_HEADER.lower().encode()
_PINNED: Final = "dflag.pinned"
"""
The key that marks the scope of a request that is already pinned.

A server may begin a request in the context of an earlier request that still runs. uvicorn does so on a connection on
which it had to wait for a body, while a background task of the earlier request still runs.
"""

_WITH_HEADERS: Final = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})
"""The messages that begin a response."""


class PinMiddleware:
    """
    Pin each request of an ASGI app to one revision, from its beginning to the end of its response.

    The middleware pins HTTP requests, and WebSocket connections while they are open. Until a request ends, all code
    that it awaits, starts as a task or calls by ``asyncio.to_thread`` sees the same revision. So do handlers that the
    framework runs on threads. ``registry.snapshot()`` still returns the live values.

    Args:
        app: The app.
        registry: The registry, or a `dflag.Flags` class.
        updater: The updater to initialize and start when the server starts the app, before the app's own startup, and
            to stop after the app's shutdown. An updater that already runs is only stopped. None leaves the lifespan to
            the app.
        websockets: Whether WebSocket connections are pinned too. With False they see live values, which suits
            connections that stay open for hours.
        revision_header: Whether responses have the number of their revision in the header ``X-Config-Revision``.

    Raises:
        ArgumentError: An argument has the wrong type.

    Thread safety: any event loop. The updater is started and stopped on a worker thread.
    """

    def __init__(
        self,
        app: App,
        registry: RegistryLike,
        *,
        updater: Updater | None = None,
        websockets: bool = True,
        revision_header: bool = False,
    ) -> None:
        self._app: Final = app
        self._store: Final = store_to_pin(registry)
        check_switch("websockets", websockets)
        check_switch("revision_header", revision_header)
        if updater is not None:
            check_argument("updater", updater, Updater, "an Updater")
        self._updater: Final = updater
        self._pinned_types: Final = ("http", "websocket") if websockets else ("http",)
        self._revision_header: Final = revision_header

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in self._pinned_types:
            pin = RequestPin(self._store, within_request=_PINNED in scope)
            scope[_PINNED] = True
            if self._revision_header:
                send = _naming(send, pin.revision)
            with closing(pin), pin:
                await self._app(scope, receive, send)
        elif scope["type"] == "lifespan" and self._updater is not None:
            await _live(self._app, self._updater, scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _naming(send: Send, revision: int) -> Send:
    """
    Return a `send` that adds the revision to each message that begins a response.
    """

    async def send_with_revision(message: Message) -> None:
        if message["type"] in _WITH_HEADERS:
            headers = [*(message.get("headers") or ()), (_HEADER, str(revision).encode())]
            message = {**message, "headers": headers}
        await send(message)

    return send_with_revision


async def _live(app: App, updater: Updater, scope: Scope, receive: Receive, send: Send) -> None:
    """
    Start the updater before the app, and stop it after the app.
    """
    from asyncio import to_thread  # programs without an event loop do not need it

    startup, given_up = await receive(), Once()
    try:
        await to_thread(_start, updater, given_up)
    except Exception as error:
        logger.error("the app is not started: %s", error)
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        return
    except BaseException:  # cancelled, but the thread still runs
        given_up.set()
        await to_thread(updater.stop)
        raise
    lifespan = _Lifespan(startup, receive, send)
    try:
        await lifespan.run(app, scope)
    finally:
        await to_thread(updater.stop)
    await lifespan.end()


def _start(updater: Updater, given_up: Once) -> None:
    """
    Start the updater, and stop it again if the start of the app was cancelled in the meantime.
    """
    updater.__enter__()
    if given_up.is_set():
        updater.stop()


class _Lifespan:
    """
    The messages between a server and an app about one startup and one shutdown of the app.

    The standard allows an app not to support lifespans. This class then answers the server in place of the app.

    Args:
        startup: The first message of the server.
        receive: The function that receives from the server.
        send: The function that sends to the server.
    """

    def __init__(self, startup: Message, receive: Receive, send: Send) -> None:
        self._startup: Final = startup
        self._receive: Final = receive
        self._send: Final = send
        self._received = 0
        self._answers: set[str] = set()

    async def run(self, app: App, scope: Scope) -> None:
        """
        Run the app until the server shuts it down.
        """
        try:
            await app(scope, self._receive_next, self._send_on)
        except Exception as error:
            if self._answers:
                raise
            logger.info("the app has no lifespan of its own (%s: %s)", type(error).__name__, error)
        if not self._answers:
            await self._send_on({"type": "lifespan.startup.complete"})
        if "lifespan.startup.complete" in self._answers:
            while self._received < 2:
                await self._receive_next()

    async def end(self) -> None:
        """
        Report a completed shutdown, unless the app has reported a failure.
        """
        if not self._answers & {"lifespan.startup.failed", "lifespan.shutdown.failed"}:
            await self._send({"type": "lifespan.shutdown.complete"})

    async def _receive_next(self) -> Message:
        self._received += 1
        return self._startup if self._received == 1 else await self._receive()

    async def _send_on(self, message: Message) -> None:
        """
        Send a message of the app, except a completed shutdown. `end` sends that after the updater has stopped.
        """
        self._answers.add(message["type"])
        if message["type"] != "lifespan.shutdown.complete":
            await self._send(message)
