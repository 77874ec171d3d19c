"""
The adapter between the request handler and WSGI servers (PEP 3333).
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from dflag.web._http import NeedsBody, Request, Stream, declared_length

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

    from dflag.web._handler import Handler

_CHUNK_BYTES: Final = 2**16


class WSGIApp:
    """
    The WSGI app of `dflag.web.make_wsgi_app`.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler: Final = handler

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        answer = self._handler.handle(_request(environ))
        if isinstance(answer, Stream):
            raise TypeError("a WSGI server holds no stream open, so that none is offered")
        if isinstance(answer, NeedsBody):
            answer = answer.finish(read_body(environ, answer.limit_bytes))
        start_response(f"{int(answer.status)} {HTTPStatus(answer.status).phrase}", list(answer.headers.items()))
        return [answer.body] if answer.body else []


def _request(environ: WSGIEnvironment) -> Request:
    headers = {key[5:].replace("_", "-").lower(): value for key, value in environ.items() if key.startswith("HTTP_")}
    for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(key):
            headers[key.replace("_", "-").lower()] = environ[key]
    return Request(
        method=environ["REQUEST_METHOD"],
        path=_decoded(environ.get("PATH_INFO", "")),
        mount=_decoded(environ.get("SCRIPT_NAME", "")),
        query=environ.get("QUERY_STRING", ""),
        headers=headers,
    )


def _decoded(text: str) -> str:
    # PEP 3333 passes bytes as characters of Latin-1.
    return text.encode("latin-1", "replace").decode("utf-8", "replace")


def read_body(environ: WSGIEnvironment, limit_bytes: int) -> bytes | None:
    """
    Read the body; return None as soon as it is known to be longer than the limit.
    """
    declared = environ.get("CONTENT_LENGTH") or ""
    if declared:
        try:
            length = declared_length(declared)
        except ValueError:
            return b""
        if length > limit_bytes:
            return None
        body = _read(environ["wsgi.input"], length)
        return body if len(body) == length else b""  # the client has gone: a part of a body may look complete
    if not environ.get("wsgi.input_terminated"):
        return b""  # without a length, a read might wait for ever
    body = _read(environ["wsgi.input"], limit_bytes + 1)
    return body if len(body) <= limit_bytes else None


def _read(stream: Any, length: int) -> bytes:
    parts = []
    while length > 0:
        part = stream.read(min(length, _CHUNK_BYTES))
        if not part:
            break
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
