from __future__ import annotations

import pytest

from dflag.errors import printable
from dflag.web._http import is_cross_origin, is_json, matches, prefers_html

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("application/json, text/plain, */*", False),
        (BROWSER, True),
        ("text/html", True),
        ("TEXT/HTML", True),
        ("text/*", True),
        ("text/html;q=0", False),
        ("text/html;q=0, */*", False),
        ("text/html;q=0.5, application/json", False),
        ("text/html, application/json;q=0.9", True),
        ("text/html;q=0.4, application/json;q=0.3", True),
        ("application/json, text/html", True),
        ("application/json, text/html;q=0.9", False),
        ("text/html;q=0.5,*/*;q=0.8", False),
        ("text/*;q=0.9, application/json;q=0.8", True),
        ("text/html;q=0.2, text/*;q=0.9, application/json;q=0.5", False),
        ("text/html;level=1;q=0.5, application/json;q=0.4", True),
        ("text/html;q=2", False),
        ("text/html;q=nan", False),
        ("image/png", False),
        (",;,q=", False),
        ("a/b," * 1_000 + "text/html", False),
    ],
)
def test_negotiation(accept: str, expected: bool) -> None:
    """A client gets HTML if Accept names it with a weight not below that of JSON; the most specific range counts."""
    assert prefers_html(accept) is expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("", False),
        ('"a"', True),
        ('W/"a"', True),
        ('"b", W/"a" , "c"', True),
        ('"b","c"', False),
        ("*", True),
        (" * ", True),
        ("a", False),
        ('"b, "a', False),
        ('"', False),
    ],
)
def test_if_none_match(condition: str, expected: bool) -> None:
    """A list, a weak tag and a star in If-None-Match match as in RFC 9110."""
    assert matches(condition, '"a"') is expected


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/json", True),
        ("Application/JSON; charset=UTF-8", True),
        ('application/json; charset="utf-8"', True),
        ("application/json; charset=utf-16", False),
        ("application/json, text/plain", False),
        ("text/plain", False),
        ("application/x-www-form-urlencoded", False),
        ("", False),
    ],
)
def test_content_type(content_type: str, expected: bool) -> None:
    """Only JSON in UTF-8 is accepted as a content type, which an HTML form cannot send."""
    assert is_json(content_type) is expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, False),
        ({"sec-fetch-site": "same-origin"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"sec-fetch-site": "same-site"}, True),
        ({"sec-fetch-site": "cross-site"}, True),
        ({"sec-fetch-site": ""}, True),
        ({"sec-fetch-site": "cross-site", "origin": "http://here", "host": "here"}, True),
        ({"origin": "http://here", "host": "here"}, False),
        ({"origin": "https://HERE", "host": "here"}, False),
        ({"origin": "http://here:8080", "host": "here:8080"}, False),
        ({"origin": "https://here", "host": "here:443"}, False),
        ({"origin": "http://here:8080", "host": "here"}, True),
        ({"origin": "http://there", "host": "here"}, True),
        ({"origin": "http://there", "host": "here", "x-forwarded-host": "there"}, True),
        ({"origin": "null", "host": "here"}, True),
        ({"origin": "null", "host": ""}, True),
        ({"origin": "", "host": ""}, True),
        ({"origin": "http://[", "host": "["}, True),
        ({"origin": "http://here"}, True),
    ],
)
def test_other_origins(headers: dict[str, str], expected: bool) -> None:
    """Sec-Fetch-Site decides whether a request is cross-origin; without it the host and port of Origin decide."""
    assert is_cross_origin(headers) is expected


def test_printable() -> None:
    """Control characters, direction marks and lone surrogates are escaped; letters of any script are not."""
    assert printable("zoë \n\r\x1b[31m\u202e\x00\ud800") == r"zoë \n\r\x1b[31m\u202e\x00\ud800"
