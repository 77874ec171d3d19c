"""
The parts of HTTP that the request handler needs: records, content negotiation, entity tags, and the check of origins.

Nothing in this module does any input or output.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from dflag.web._streams import Subscription

Authorize: TypeAlias = Callable[[Mapping[str, str]], str | None]
"""
A function that takes the headers of a request, with names in lower case, and returns the caller's name, or None to
refuse the request.
"""

JSON_TYPE: Final = "application/json"
HTML_TYPE: Final = "text/html"

SECURITY_HEADERS: Final = {
    "Cache-Control": "no-cache",  # a client may keep the response, but must ask each time whether it is still current
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",  # for browsers that do not know frame-ancestors
}
"""The headers of every response, including errors."""

LOOK_SECONDS: Final = 1.0
"""How often a stream without events checks whether its client has gone or the server is stopping."""

_MAX_MEDIA_RANGES: Final = 64
"""How many parts of an ``Accept`` header are evaluated: browsers send about ten."""

_WEIGHT: Final = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
_ENTITY_TAG: Final = re.compile(r'"[^"]*"')
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """
    A request to the handler, without its body.

    Attributes:
        method: The method, in capitals.
        path: The decoded path below the mount; empty or ``/`` for the mount itself.
        mount: The path at which the app is mounted; empty for the root. WSGI calls it ``SCRIPT_NAME``, ASGI
            ``root_path``.
        query: The query, still encoded.
        headers: The headers by name in lower case, as `join_fields` returns them.
    """

    method: str
    path: str
    mount: str = ""
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """
    The handler's answer, ready to be sent: for ``HEAD`` the body is already empty.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class NeedsBody(NamedTuple):
    """
    The handler's answer to a request whose headers are accepted and whose body it needs.

    The body is read only then, so that a refused caller cannot keep a thread or memory busy with a body.

    Attributes:
        limit_bytes: How many bytes to read at most.
        finish: A function that takes the body, or None if it is longer than the limit, and returns the response.
    """

    limit_bytes: int
    finish: Callable[[bytes | None], Response]


class Stream(NamedTuple):
    """
    The handler's answer that starts a response which lasts while the subscription is open and the client is connected.

    Attributes:
        headers: The headers of the response; its status is 200.
        subscription: The events to send.
    """

    headers: Mapping[str, str]
    subscription: Subscription


def prefers_html(accept: str) -> bool:
    """
    Return whether an ``Accept`` header prefers HTML to JSON (RFC 9110, section 12.5.1).

    HTML is preferred only if the header names ``text/html`` or ``text/*``. If both types have the same weight, the
    more specific media range decides; if these are equally specific too, HTML wins.
    """
    html = json = (0.0, -1)
    for part in accept.split(",", _MAX_MEDIA_RANGES)[:_MAX_MEDIA_RANGES]:
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = _weight(parameters)
        if weight is None:
            continue
        html = _closer(html, name, HTML_TYPE, weight)
        json = _closer(json, name, JSON_TYPE, weight)
    return html[0] > 0 and html[1] > 0 and (html[0], html[1]) >= (json[0], json[1])


def _weight(parameters: list[str]) -> float | None:
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            return float(value) if _WEIGHT.fullmatch(value := value.strip()) else None
    return 1.0


def _closer(best: tuple[float, int], name: str, media_type: str, weight: float) -> tuple[float, int]:
    """
    Return the weight and the specificity of the media range that matches a type most precisely.
    """
    if name == media_type:
        specificity = 2
    elif name == media_type.partition("/")[0] + "/*":
        specificity = 1
    elif name == "*/*":
        specificity = 0
    else:
        return best
    return (weight, specificity) if specificity > best[1] else best


def matches(if_none_match: str, entity_tag: str) -> bool:
    """
    Return whether the client already has this representation, by weak comparison (RFC 9110, section 13.1.2).
    """
    return if_none_match.strip() == "*" or entity_tag in _ENTITY_TAG.findall(if_none_match)


def is_json(content_type: str) -> bool:
    """
    Return whether a body is declared as JSON, and as UTF-8 if the header declares an encoding.
    """
    media_type, *parameters = (piece.strip().lower() for piece in content_type.split(";"))
    charsets = [value.strip('" ') for key, _, value in (p.partition("=") for p in parameters) if key == "charset"]
    return media_type == JSON_TYPE and all(charset in ("utf-8", "utf8") for charset in charsets)


def join_fields(fields: Mapping[str, list[str]]) -> dict[str, str]:
    """
    Return one value for each header, and join the values of a repeated header with commas.

    Cookies are joined with semicolons, because HTTP/2 may split them into several headers (RFC 9113, section 8.2.3).
    """
    return {name: ("; " if name == "cookie" else ", ").join(values) for name, values in fields.items()}


def declared_length(text: str) -> int:
    """
    Parse a ``Content-Length``, which consists of digits only. From 10**19 on, a number counts as 10**20.

    Raises:
        ValueError: The text is not a number.
    """
    if not (text.isascii() and text.isdigit()):
        raise ValueError("Content-Length: expected digits")
    digits = text.lstrip("0")
    return int(digits or "0") if len(digits) < 20 else 10**20  # int() of thousands of digits is slow, and raises


def is_cross_origin(headers: Mapping[str, str]) -> bool:
    """
    Return whether a browser sends this request for a page of another origin.

    If there is a ``Sec-Fetch-Site``, it decides: the browser sets it, no page can change it, and it does not depend on
    a proxy that rewrites ``Host``. Otherwise ``Origin`` must have the host and port of ``Host``. The scheme is not
    compared, because a proxy may terminate TLS. ``X-Forwarded-Host`` is ignored: if some middleware allows other
    origins to send headers, a page could send it. A client that sends neither header is not a browser.
    """
    if (site := headers.get("sec-fetch-site")) is not None:
        return site.strip().lower() not in ("same-origin", "none")
    if (origin := headers.get("origin")) is None:
        return False
    try:
        parts = urlsplit(origin.strip().lower())
    except ValueError:
        return True
    port = _DEFAULT_PORTS.get(parts.scheme, "")
    host = headers.get("host", "").strip().lower()
    return not parts.netloc or parts.netloc.removesuffix(port) != host.removesuffix(port)
