"""
The adapter between the request handler and ASGI 3 servers.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dflag.web._http import LOOK_SECONDS, NeedsBody, Request, Response, Stream, declared_length, join_fields

if TYPE_CHECKING:
    from dflag.web._handler import Handler

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

_SEND_SECONDS: Final = 10.0
"""How long a client may take to receive an event."""


class ASGIApp:
    """
    The ASGI app of `dflag.web.make_asgi_app`.

    Requests that take microseconds are answered on the event loop. Validators, ``authorize`` and the rendering of a new
    listing run on a separate thread, so other requests do not wait for them.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler: Final = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            self._handler.close_streams()
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:
            raise ValueError(f"expected a scope of HTTP, got {scope['type']!r}")

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._respond(_request(scope), receive)
        if isinstance(response, Stream):
            await _stream(response, receive, send)
        elif response is not None:
            await _send(response, send)

    async def _respond(self, request: Request, receive: Receive) -> Response | Stream | None:
        """
        Return the response, or None when the client has gone.
        """
        from asyncio import to_thread  # imported here, because dflag.web also serves programs without an event loop

        answer: Response | NeedsBody | Stream | None = self._handler.handle_at_once(request)
        if answer is None:
            answer = await to_thread(self._handler.handle, request)
        if not isinstance(answer, NeedsBody):
            return answer
        try:
            body = await _body(request, receive, answer.limit_bytes)
        except ConnectionError:
            return None
        return await to_thread(answer.finish, body)


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _request(scope: Scope) -> Request:
    mount = scope.get("root_path", "")
    path = scope["path"]
    if path == mount or path.startswith(mount.rstrip("/") + "/"):  # as the ASGI standard demands; not all servers do it
        path = path[len(mount.rstrip("/")) :]
    fields: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        fields.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    query = scope.get("query_string", b"").decode("latin-1")
    headers = join_fields(fields)
    return Request(method=scope["method"], path=path, mount=mount.rstrip("/"), query=query, headers=headers)


async def _body(request: Request, receive: Receive, limit_bytes: int) -> bytes | None:
    """
    Receive the body; return None as soon as it is known to be longer than the limit.

    Raises:
        ConnectionError: The client has gone.
    """
    with contextlib.suppress(ValueError):  # the header is only a hint: the server knows where the body ends
        if declared_length(request.headers.get("content-length", "")) > limit_bytes:
            return None
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError
        part = message.get("body", b"")
        parts.append(part)
        size += len(part)
        if size > limit_bytes:
            return None
        if not message.get("more_body", False):
            return b"".join(parts)


async def _stream(stream: Stream, receive: Receive, send: Send) -> None:
    """
    Send the events of a subscription, until it is closed, the client disconnects, or the server stops.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    changed = asyncio.Event()
    subscription = stream.subscription
    subscription.on_wake(lambda: loop.call_soon_threadsafe(changed.set))
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        await _start(HTTPStatus.OK, stream.headers, send)
        while subscription.is_open and not gone.done() and not _is_stopping():
            changed.clear()
            part = subscription.due()
            if part:
                async with asyncio.timeout(_SEND_SECONDS):
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            waiting = asyncio.ensure_future(changed.wait())
            await asyncio.wait((waiting, gone), timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
        await send({"type": "http.response.body", "body": b""})
    except OSError:  # the client has gone, or receives nothing (TimeoutError is an OSError)
        pass
    finally:
        gone.cancel()
        subscription.close()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _is_stopping() -> bool:
    """
    Return whether uvicorn is stopping: it then waits for open responses and does not cancel them.

    The signal handler of uvicorn is a method of the server object, and this object has the state. Other servers cancel
    open responses.
    """
    return any(
        getattr(getattr(signal.getsignal(number), "__self__", None), "should_exit", False) is True
        for number in (signal.SIGINT, signal.SIGTERM)
    )


async def _start(status: int, fields: Mapping[str, str], send: Send) -> None:
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": int(status), "headers": headers})


async def _send(response: Response, send: Send) -> None:
    await _start(response.status, response.headers, send)
    await send({"type": "http.response.body", "body": response.body})
