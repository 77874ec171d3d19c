"""
The head of an HTTP/1 request, read strictly (RFC 9112).

If a proxy and this server can read one input as different requests, a client can hide one request in another
("request smuggling"). So input that does not clearly follow the grammar is refused, and never repaired.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple

from dflag.web._http import declared_length, join_fields

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_HEAD_BYTES: Final = 65_536
"""The limit for request line and headers together: common servers allow 8 to 64 KiB."""

_MAX_HEADERS: Final = 100
"""Browsers and proxies send about thirty headers."""

_TOKEN: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 - RFC 9110's word, no secret
_REQUEST_LINE: Final = re.compile(rf"({_TOKEN}) ([!-~\x80-\xff]+) HTTP/([0-9])\.([0-9])")
_ABSOLUTE: Final = re.compile(r"(?i:https?)://([^/?]+)(/[^?]*)?(\?.*)?")
_HEADER: Final = re.compile(rf"({_TOKEN}):[ \t]*((?:[^\x00-\x08\x0a-\x1f\x7f]*[^\x00-\x20\x7f])?)[ \t]*")
_CODINGS: Final = re.compile(rf"{_TOKEN}(?:[ \t]*,[ \t]*{_TOKEN})*")


class RequestRefused(Exception):  # noqa: N818 - an answer to the client, not an error of the program
    """
    A request that this server does not accept.
    """

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status: Final = status


class Head(NamedTuple):
    """
    A request without its body.

    Attributes:
        method: The method, as sent.
        target: The target, as sent and still encoded.
        is_old: Whether the request is HTTP/1.0, which has neither persistent connections nor chunks.
        fields: The values of each header in order, by name in lower case.
    """

    method: str
    target: str
    is_old: bool
    fields: dict[str, list[str]]

    @property
    def headers(self) -> dict[str, str]:
        return join_fields(self.fields)

    @property
    def is_last(self) -> bool:
        """
        Whether the client wants the connection closed after this request.
        """
        options = ",".join(self.fields.get("connection", ())).lower().split(",")
        return self.is_old or "close" in (option.strip(" \t") for option in options)

    @property
    def expects_continue(self) -> bool:
        return not self.is_old and [value.lower() for value in self.fields.get("expect", ())] == ["100-continue"]

    def in_origin_form(self) -> Head:
        """
        Return the request with a path as its target; a host in the target replaces ``Host`` (RFC 9112, section 3.2.2).
        """
        found = _ABSOLUTE.fullmatch(self.target)
        if found is None:
            return self
        host, path, query = found.groups()
        return self._replace(target=(path or "/") + (query or ""), fields={**self.fields, "host": [host]})

    def body_length(self) -> int | None:
        """
        Return the length of the body, or None for a body in chunks.

        Raises:
            RequestRefused: It is not clear where the body ends.
        """
        codings = self.fields.get("transfer-encoding")
        lengths = self.fields.get("content-length", [])
        if codings is None:
            if len(lengths) > 1:
                raise RequestRefused(HTTPStatus.BAD_REQUEST, "Content-Length: expected it once")
            try:
                return declared_length(lengths[0]) if lengths else 0
            except ValueError as error:
                raise RequestRefused(HTTPStatus.BAD_REQUEST, str(error)) from None
        if lengths or self.is_old or len(codings) > 1 or not _CODINGS.fullmatch(codings[0]):
            raise RequestRefused(
                HTTPStatus.BAD_REQUEST, "Transfer-Encoding: expected it once, in HTTP/1.1, and no Content-Length"
            )
        if codings[0].lower() != "chunked":
            raise RequestRefused(HTTPStatus.NOT_IMPLEMENTED, "Transfer-Encoding: expected chunked alone")
        return None


def read_head(read_line: Callable[[int], bytes]) -> Head | None:
    """
    Read the head of a request; return None if the connection ends before it.

    Args:
        read_line: A function that reads up to the next line feed, but at most as many bytes as its argument says. At
            the end of the connection it returns fewer bytes.

    Raises:
        RequestRefused: The head is not HTTP/1, or is too long.
    """
    lines = _Lines(read_line, MAX_HEAD_BYTES)
    line = lines.next(HTTPStatus.REQUEST_URI_TOO_LONG)
    if line == "":  # an empty line that an old client sends after a body (RFC 9112, section 2.2)
        line = lines.next(HTTPStatus.REQUEST_URI_TOO_LONG)
    if line is None:
        return None
    found = _REQUEST_LINE.fullmatch(line)
    if not found:
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "expected a request of HTTP/1.1")
    method, target, major, minor = found.groups()
    if major != "1":
        raise RequestRefused(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "expected a request of HTTP/1.1")
    fields: dict[str, list[str]] = {}
    for name, value in _fields(lines):
        fields.setdefault(name, []).append(value)
    return Head(method, target, minor == "0", fields)


def skip_trailers(read_line: Callable[[int], bytes]) -> None:
    """
    Read and discard the trailers that may follow the last chunk of a body.

    Raises:
        RequestRefused: The trailers do not follow the grammar of headers, or are too long.
    """
    _fields(_Lines(read_line, MAX_HEAD_BYTES))


def _fields(lines: _Lines) -> list[tuple[str, str]]:
    found = []
    while line := lines.next(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE):
        # A line that begins with white space was once a continuation of the previous line. Proxies disagree about it,
        # so the pattern does not match it.
        header = _HEADER.fullmatch(line)
        if header is None:
            raise RequestRefused(HTTPStatus.BAD_REQUEST, "expected headers of a name, a colon and a printable value")
        found.append((header[1].lower(), header[2]))
        if len(found) > _MAX_HEADERS:
            raise RequestRefused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"expected at most {_MAX_HEADERS} headers")
    if line is None:
        raise RequestRefused(HTTPStatus.BAD_REQUEST, "the request ended early")
    return found


class _Lines:
    """
    Lines that each end in CR LF, up to a total number of bytes. The patterns above check the content of the lines.
    """

    def __init__(self, read_line: Callable[[int], bytes], max_bytes: int) -> None:
        self._read_line: Final = read_line
        self._left = max_bytes

    def next(self, too_long: HTTPStatus) -> str | None:
        """
        Return the next line, or None at the end of the connection.
        """
        line = self._read_line(self._left + 1)
        self._left -= len(line)
        if self._left < 0:
            raise RequestRefused(too_long, f"expected at most {MAX_HEAD_BYTES} bytes of request line and headers")
        if not line:
            return None
        if not line.endswith(b"\r\n"):
            raise RequestRefused(HTTPStatus.BAD_REQUEST, "expected lines that end in CR LF")
        return line[:-2].decode("latin-1")
