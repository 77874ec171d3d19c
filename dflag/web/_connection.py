"""
One HTTP connection of `dflag.web.start_http_server`: it reads requests and sends responses, each within a deadline.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import selectors
import socket
import time
from email.utils import formatdate
from http import HTTPStatus
from socketserver import BaseRequestHandler
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import unquote

from dflag._log import logger
from dflag._once import Once
from dflag.errors import printable
from dflag.web._head import Head, RequestRefused, read_head, skip_trailers
from dflag.web._http import (
    JSON_TYPE,
    LOOK_SECONDS,
    SECURITY_HEADERS,
    NeedsBody,
    Request,
    Response,
    Stream,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dflag._sockets import OwnSocket

T = TypeVar("T")
R = TypeVar("R")

REQUEST_SECONDS: Final = 10.0
"""How long a request may take to arrive, and how long the client may take to receive the answer."""

IDLE_SECONDS: Final = 5.0
"""How long a connection may wait for its next request."""

AGE_SECONDS: Final = 60.0
"""The maximum age of a connection. A client that sends more requests connects again and waits like the others."""

MAX_REQUESTS: Final = 100
"""How many requests a connection may send, for the same reason. The page sends about 60 in a minute."""

_SHARE_SECONDS: Final = 1.0
"""If others wait for a place, a connection of this age or more ends after its answer."""

_DRAIN_SECONDS: Final = 1.0
"""How long a refused body is read and discarded, so that the client receives the answer instead of a reset."""

_MAX_CHUNK_LINE_BYTES: Final = 1_024
_PIECE_BYTES: Final = 65_536

_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[\t\x20-\x7e\x80-\xff]*)?\r\n")


class _Input(io.RawIOBase):
    """
    Reads a socket until a deadline, which also holds if the client sends few bytes at a time.
    """

    def __init__(self, connection: OwnSocket) -> None:
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
        received = self._connection.receive(len(buffer), remaining)
        buffer[: len(received)] = received
        return len(received)


class Connection(BaseRequestHandler):
    """
    The requests of one connection, answered one after the other.
    """

    server: Any  # the _Server, which cannot be imported here
    request: OwnSocket

    def setup(self) -> None:
        self.request.set_option(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._input = _Input(self.request)
        self._reader = io.BufferedReader(self._input)
        self._head: Head | None = None
        self._closing = self._unread = False
        self._began = time.monotonic()

    def handle(self) -> None:
        for number in range(1, MAX_REQUESTS + 1):
            self._closing = number == MAX_REQUESTS
            try:
                self._wait_for_request()
                self._serve_request()
            except TimeoutError:
                return
            if self._closing:
                return

    def _wait_for_request(self) -> None:
        self.server.note_waiting(self.request)
        self._input.allow(IDLE_SECONDS)
        self._reader.peek(1)  # also returns at the end of the connection
        self.server.note_waiting(self.request)
        self._input.allow(REQUEST_SECONDS)

    def _serve_request(self) -> None:
        self._head, self._unread = None, False
        try:
            self._head = head = read_head(self._reader.readline)
            if head is None:
                self._closing = True
                return
            self._closing = self._closing or head.is_last
            response: Response | Stream = self._answer(head)
        except RequestRefused as refusal:
            # It is unclear where the next request would begin, so the connection ends here.
            self._unread = True
            response = _refusal(refusal)
        if isinstance(response, Stream):
            self._closing = True
            self._send_stream(response)
            return
        self._send(response)
        if self._unread:
            self._drain()  # the answer has said "Connection: close", so the rest must not be read as another request

    def _answer(self, head: Head) -> Response | Stream:
        length = head.body_length()
        self._unread = length != 0
        head = self._for_this_host(head)
        path, _, query = head.target.partition("?")
        request = Request(method=head.method, path=unquote(path), query=query, headers=head.headers)
        answer: Response | NeedsBody | Stream = self._work(self.server.handler.handle, request)
        if not isinstance(answer, NeedsBody):
            return answer
        if length is not None and length > answer.limit_bytes:
            return self._work(answer.finish, None)
        if head.expects_continue:
            self.request.send_all(b"HTTP/1.1 100 Continue\r\n\r\n", REQUEST_SECONDS)
        try:
            body = self._read_chunks(answer.limit_bytes) if length is None else self._read(length)
        except TimeoutError:
            raise RequestRefused(HTTPStatus.REQUEST_TIMEOUT, "the body took too long") from None
        self._unread = body is None
        return self._work(answer.finish, body)

    def _work(self, function: Callable[[T], R], given: T) -> R:
        """
        Call a function that may take long, and do not count its time as waiting for the client.
        """
        self.server.note_working(self.request)
        result = function(given)
        self.server.note_waiting(self.request)
        return result

    def _for_this_host(self, head: Head) -> Head:
        """
        Return the request with a path as its target, after checking that it is for this host.

        Raises:
            RequestRefused: It is not clear which host the request is for, or the request is for another host.
        """
        hosts = head.fields.get("host", [])
        if len(hosts) > 1 or (not hosts and not head.is_old):
            raise RequestRefused(HTTPStatus.BAD_REQUEST, "expected one Host")
        head = head.in_origin_form()
        if not all(map(self.server.is_host, head.fields.get("host", []))):
            raise RequestRefused(
                HTTPStatus.MISDIRECTED_REQUEST, "this server does not answer for that Host; see allowed_hosts"
            )
        return head

    def _read(self, length: int) -> bytes:
        body = self._reader.read(length)
        if len(body) < length:
            raise RequestRefused(HTTPStatus.BAD_REQUEST, "the body ended early")
        return body

    def _read_chunks(self, limit_bytes: int) -> bytes | None:
        """
        Read a body in chunks (RFC 9112, section 7.1); return None as soon as it is longer than the limit.
        """
        parts: list[bytes] = []
        size = 0
        while True:
            line = _CHUNK_LINE.fullmatch(self._reader.readline(_MAX_CHUNK_LINE_BYTES))
            if line is None:
                raise RequestRefused(HTTPStatus.BAD_REQUEST, "expected a chunk of the body to begin with its size")
            length = int(line[1], 16)
            if length == 0:
                break
            size += length
            if size > limit_bytes:
                return None
            parts.append(self._read(length))
            if self._reader.read(2) != b"\r\n":
                raise RequestRefused(HTTPStatus.BAD_REQUEST, "expected a chunk of the body to end after its size")
        skip_trailers(self._reader.readline)
        return b"".join(parts)

    def _send(self, response: Response) -> None:
        age = time.monotonic() - self._began
        is_over = age >= AGE_SECONDS or (self.server.is_crowded and age >= _SHARE_SECONDS)
        self._closing = self._closing or self._unread or is_over
        status = HTTPStatus(response.status)
        has_body = self._head is None or self._head.method != "HEAD"
        body = response.body if has_body else b""
        self.request.send_all(self._head_of(status, response.headers) + body, REQUEST_SECONDS)
        if logger.enables(logging.DEBUG):
            what = "a request" if self._head is None else f"{self._head.method} {self._head.target}"
            logger.debug("web: %s answered %d", printable(what), status.value)

    def _head_of(self, status: HTTPStatus, fields: Mapping[str, str]) -> bytes:
        headers = {"Server": "dflag", "Date": formatdate(usegmt=True), **fields}
        if self._closing:
            headers["Connection"] = "close"
        lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join((*lines, "", "")).encode("latin-1")

    def _send_stream(self, stream: Stream) -> None:
        """
        Send the events of a subscription, until it is closed or the client disconnects.
        """
        subscription = stream.subscription
        changed = Once()
        subscription.on_wake(lambda: changed.set())  # noqa: PLW0108 - looks up the latest `changed` at each call
        self.server.note_working(self.request)  # a stream is usually idle, and the number of streams is limited
        try:
            self.request.send_all(self._head_of(HTTPStatus.OK, stream.headers), REQUEST_SECONDS)
            while subscription.is_open:
                changed = Once()
                part = subscription.due()
                if part:
                    self.request.send_all(part, REQUEST_SECONDS)
                changed.wait(LOOK_SECONDS)
                if self.request.is_ready(selectors.EVENT_READ, 0.0) and not self.request.receive(_PIECE_BYTES, 0.0):
                    return  # the client has gone; any bytes that it sends are discarded
        finally:
            subscription.close()

    def _drain(self) -> None:
        with contextlib.suppress(OSError):
            self.request.shut_down(socket.SHUT_WR)
            self._input.allow(_DRAIN_SECONDS)
            while self._reader.read1(_PIECE_BYTES):
                pass


def _refusal(refusal: RequestRefused) -> Response:
    body = json.dumps({"error": str(refusal)}).encode() + b"\n"
    headers = {"Content-Type": JSON_TYPE, "Content-Length": str(len(body)), **SECURITY_HEADERS}
    return Response(status=refusal.status, headers=headers, body=body)
