"""
The little of HTTP that the request handler needs: records, negotiation, entity tags, and who is asking.

Nothing here does any input or output.
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
Given a request's headers, names in lower case, it returns the caller's name, or None to refuse.
"""

JSON_TYPE: Final = "application/json"
HTML_TYPE: Final = "text/html"

SECURITY_HEADERS: Final = {
    "Cache-Control": "no-cache",  # a client may keep it, but must ask each time whether it is still current
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",  # for browsers that do not know frame-ancestors
}
"""On every response, errors too."""

LOOK_SECONDS: Final = 1.0
"""How often a stream that nothing wakes looks whether its client has gone or its server stops."""

_MAX_MEDIA_RANGES: Final = 64
"""How many parts of an ``Accept`` are looked at: browsers send about ten."""

_WEIGHT: Final = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
_ENTITY_TAG: Final = re.compile(r'"[^"]*"')
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """
    A request to the handler, without its body.

    Attributes:
        method: In capitals.
        path: The path below the place where the app is mounted, decoded; empty or ``/`` for that place itself.
        mount: The path of that place, empty for the root; WSGI's ``SCRIPT_NAME``, ASGI's ``root_path``.
        query: The query, still encoded.
        headers: By name in lower case, as `join_fields` returns them.
    """

    method: str
    path: str
    mount: str = ""
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """
    The handler's answer, as it is sent: for ``HEAD`` the body is already empty.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class NeedsBody(NamedTuple):
    """
    The handler's answer to a request that is accepted by its headers and needs its body.

    Bodies are read this late so that a refused caller cannot keep a thread or memory busy with one.

    Attributes:
        limit_bytes: How much to read at most.
        finish: Takes the body, or None when it is longer than that, and gives the response.
    """

    limit_bytes: int
    finish: Callable[[bytes | None], Response]


class Stream(NamedTuple):
    """
    The handler's answer for a response that goes on while the subscription is open and the client is connected.

    Attributes:
        headers: Those of the response, whose status is 200.
        subscription: What there is to send.
    """

    headers: Mapping[str, str]
    subscription: Subscription


def prefers_html(accept: str) -> bool:
    """
    Negotiate between JSON and HTML (RFC 9110, section 12.5.1): JSON unless HTML is asked for by name.

    With equal weights the more specific range decides, and HTML when both are named.
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
    Return weight and specificity of the media range that names a type most precisely.
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
    Return whether a conditional request already has this form, by weak comparison (RFC 9110, section 13.1.2).
    """
    return if_none_match.strip() == "*" or entity_tag in _ENTITY_TAG.findall(if_none_match)


def is_json(content_type: str) -> bool:
    """
    Return whether a body is declared as JSON, and in UTF-8 if it declares an encoding.
    """
    media_type, *parameters = (piece.strip().lower() for piece in content_type.split(";"))
    charsets = [value.strip('" ') for key, _, value in (p.partition("=") for p in parameters) if key == "charset"]
    return media_type == JSON_TYPE and all(charset in ("utf-8", "utf8") for charset in charsets)


def join_fields(fields: Mapping[str, list[str]]) -> dict[str, str]:
    """
    Return headers with the values of those that came several times joined: with commas, but cookies, which HTTP/2 may
    send one by one, with semicolons (RFC 9113, section 8.2.3).
    """
    return {name: ("; " if name == "cookie" else ", ").join(values) for name, values in fields.items()}


def declared_length(text: str) -> int:
    """
    Read a ``Content-Length``: digits alone. One of more digits than any body has counts as a very large number.

    Raises:
        ValueError: It is not a number.
    """
    if not (text.isascii() and text.isdigit()):
        raise ValueError("Content-Length: expected digits")
    digits = text.lstrip("0")
    return int(digits or "0") if len(digits) < 20 else 10**20  # int() of thousands of digits is slow, and raises


def is_cross_origin(headers: Mapping[str, str]) -> bool:
    """
    Return whether a browser sends this request for a page of another origin.

    ``Sec-Fetch-Site`` is the browser's own word, which no page can change, and does not depend on what a proxy made of
    ``Host``; so it decides where there is one. Else ``Origin`` must have the host and port of ``Host``; the scheme is
    left out, as a proxy may end TLS. ``X-Forwarded-Host`` is not looked at: where some middleware allows other
    origins to send headers, a page could send it. A client without either header is no browser.
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
