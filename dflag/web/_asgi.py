"""
The face for ASGI 3 servers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dflag.web._http import NeedsBody, Request, Response, declared_length

if TYPE_CHECKING:
    from dflag.web._handler import Handler

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


class ASGIApp:
    """
    What `dflag.web.make_asgi_app` makes.

    What takes microseconds is answered on the event loop. Validators, ``authorize`` and the rendering of a new listing
    run on a thread, so that other requests do not wait for them.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler: Final = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})
        elif scope["type"] == "http":
            response = await self._respond(_request(scope), receive)
            if response is not None:
                await _send(response, send)
        else:
            raise ValueError(f"expected a scope of HTTP, got {scope['type']!r}")

    async def _respond(self, request: Request, receive: Receive) -> Response | None:
        """
        Return the response, or None when the client has gone.
        """
        from asyncio import to_thread  # the package serves programs without an event loop too

        answer: Response | NeedsBody | None = self._handler.handle_at_once(request)
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
    if path == mount or path.startswith(mount.rstrip("/") + "/"):  # with a server that does as the standard says
        path = path[len(mount.rstrip("/")) :]
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    query = scope.get("query_string", b"").decode("latin-1")
    return Request(method=scope["method"], path=path, mount=mount.rstrip("/"), query=query, headers=headers)


async def _body(request: Request, receive: Receive, limit_bytes: int) -> bytes | None:
    """
    Receive the body; None for one over the limit, of which no more is received than it takes to see that.

    Raises:
        ConnectionError: The client has gone.
    """
    with contextlib.suppress(ValueError):  # the server has framed the body, so that the header is a hint alone
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


async def _send(response: Response, send: Send) -> None:
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers.items()]
    await send({"type": "http.response.start", "status": int(response.status), "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
