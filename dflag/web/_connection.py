"""
One HTTP connection of `dflag.web.start_http_server`: deadlines, and bodies that are framed as they should be.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import socket
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from dflag._log import logger
from dflag.web._http import JSON_TYPE, SECURITY_HEADERS, NeedsBody, Request, Response, printable

if TYPE_CHECKING:
    from collections.abc import Callable

REQUEST_SECONDS: Final = 10.0
"""How long a request may take to arrive, and its answer to be taken."""

IDLE_SECONDS: Final = 5.0
"""How long a connection may wait for its next request."""

_DRAIN_SECONDS: Final = 1.0
"""How long a refused body is thrown away, so that the client gets to read the answer instead of a reset."""

_MAX_LINE_BYTES: Final = 65_536
_MAX_CHUNK_LINE_BYTES: Final = 1_024
_MAX_TRAILERS: Final = 100
_PIECE_BYTES: Final = 65_536


class _Refused(Exception):  # noqa: N818 - a verdict, told to the client
    """
    A request is not what this server takes.
    """

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status: Final = status


class _Input(io.RawIOBase):
    """
    Reads a socket until a deadline, however few bytes come at a time.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection: Final = connection
        self._deadline = 0.0

    def allow(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        self._connection.settimeout(remaining)
        return self._connection.recv_into(buffer)


class Connection(BaseHTTPRequestHandler):
    """
    Requests in, responses out, one after the other.
    """

    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # not 0.9, whose answers have no status
    disable_nagle_algorithm = True
    server: Any  # the _Server, which cannot be imported here

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self._input = _Input(self.connection)
        self._reader = self.rfile = io.BufferedReader(self._input)
        self._expects_continue = False
        self._unread = False

    def version_string(self) -> str:
        return "dflag"

    def log_message(self, format: str, *args: object) -> None:
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("web: %s", printable(format % args))

    def handle_expect_100(self) -> bool:
        self._expects_continue = True  # it is told to go on once the body is wanted
        return True

    def handle_one_request(self) -> None:
        self._expects_continue = self._unread = False
        try:
            self._input.allow(IDLE_SECONDS)
            if not self._reader.peek(1):
                self.close_connection = True
                return
            self._input.allow(REQUEST_SECONDS)
            if self._read_request_line() and self.parse_request():
                self._respond()
        except TimeoutError:
            self.close_connection = True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002 - http.server's words
        """
        Answer what is no request, and what cannot be understood: the connection ends with it.
        """
        text = message or HTTPStatus(code).phrase
        body = json.dumps({"error": text}).encode() + b"\n"
        self.close_connection = True
        headers = {"Content-Type": JSON_TYPE, "Content-Length": str(len(body)), **SECURITY_HEADERS}
        self._send(Response(status=code, headers=headers, body=body))

    def _read_request_line(self) -> bool:
        self.raw_requestline = self.rfile.readline(_MAX_LINE_BYTES + 1)
        if len(self.raw_requestline) <= _MAX_LINE_BYTES:
            return bool(self.raw_requestline)
        self.requestline, self.request_version, self.command = "", self.protocol_version, "GET"
        self.send_error(HTTPStatus.REQUEST_URI_TOO_LONG)
        return False

    def _respond(self) -> None:
        try:
            self._send(self._answer())
        except _Refused as refusal:
            self.send_error(refusal.status, str(refusal))
        if self._unread:
            self._drain()  # nothing of it may be taken for the next request: the answer has said that this was the last

    def _answer(self) -> Response:
        read_body = self._body_reader()
        self._check_host()
        headers: dict[str, str] = {}
        for key, value in self.headers.items():
            name = key.lower()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        path, _, query = self.path.partition("?")
        request = Request(method=self.command, path=unquote(path), query=query, headers=headers)
        answer: Response | NeedsBody = self.server.handler.handle(request)
        if not isinstance(answer, NeedsBody):
            return answer
        if self._expects_continue:
            self.send_response_only(HTTPStatus.CONTINUE)
            self.end_headers()
        try:
            body = read_body(answer.limit_bytes)
        except TimeoutError:
            raise _Refused(HTTPStatus.REQUEST_TIMEOUT, "the body took too long") from None
        self._unread = body is None
        return answer.finish(body)

    def _check_host(self) -> None:
        hosts = self.headers.get_all("host", [])
        if len(hosts) > 1 or (not hosts and self.request_version == "HTTP/1.1"):
            raise _Refused(HTTPStatus.BAD_REQUEST, "expected one Host")
        if hosts and not self.server.is_host(hosts[0]):
            raise _Refused(HTTPStatus.MISDIRECTED_REQUEST, "this server does not go by that name; see allowed_hosts")

    def _body_reader(self) -> Callable[[int], bytes | None]:
        """
        Judge how the body is framed, so that two readers of one connection could not see two different requests.
        """
        codings = self.headers.get_all("transfer-encoding", [])
        lengths = self.headers.get_all("content-length", [])
        self._unread = bool(codings)
        if self.headers.defects or len(lengths) > 1 or (codings and lengths):
            raise _Refused(HTTPStatus.BAD_REQUEST, "the headers contradict each other or cannot be read")
        if codings:
            if [coding.strip().lower() for coding in codings] != ["chunked"] or self.request_version != "HTTP/1.1":
                raise _Refused(HTTPStatus.NOT_IMPLEMENTED, "expected no transfer coding but chunked")
            return self._read_chunks
        declared = lengths[0].strip() if lengths else "0"
        if not (declared.isascii() and declared.isdigit() and len(declared) < 20):
            raise _Refused(HTTPStatus.BAD_REQUEST, "Content-Length: expected a number")
        length = int(declared)
        self._unread = length > 0
        return lambda limit_bytes: None if length > limit_bytes else self._read(length)

    def _read(self, length: int) -> bytes:
        body = self.rfile.read(length)
        if len(body) < length:
            raise _Refused(HTTPStatus.BAD_REQUEST, "the body ended early")
        return body

    def _read_chunks(self, limit_bytes: int) -> bytes | None:
        """
        Read a body in chunks (RFC 9112, section 7.1).
        """
        parts: list[bytes] = []
        size = 0
        while True:
            digits = self._read_line().partition(b";")[0].strip()
            if not digits or len(digits) > 16 or digits.strip(b"0123456789abcdefABCDEF"):
                raise _Refused(HTTPStatus.BAD_REQUEST, "a chunk of the body has no size")
            length = int(digits, 16)
            if length == 0:
                break
            size += length
            if size > limit_bytes:
                return None
            parts.append(self._read(length))
            if self._read_line().strip():
                raise _Refused(HTTPStatus.BAD_REQUEST, "a chunk of the body does not end where it should")
        for _ in range(_MAX_TRAILERS):
            if not self._read_line().strip():
                return b"".join(parts)
        raise _Refused(HTTPStatus.BAD_REQUEST, "the body has too many trailers")

    def _read_line(self) -> bytes:
        line = self.rfile.readline(_MAX_CHUNK_LINE_BYTES)
        if not line.endswith(b"\n"):
            raise _Refused(HTTPStatus.BAD_REQUEST, "the body ended early, or a line in it is too long")
        return line

    def _send(self, response: Response) -> None:
        closing = self.close_connection or self._unread
        self.connection.settimeout(REQUEST_SECONDS)  # for all of it
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if closing:
            self.send_header("Connection", "close")
        self.end_headers()
        if response.body and self.command != "HEAD":
            self.wfile.write(response.body)

    def _drain(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self._input.allow(_DRAIN_SECONDS)
            while self.rfile.read1(_PIECE_BYTES):
                pass
