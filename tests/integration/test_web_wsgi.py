from __future__ import annotations

import io
import json
import threading
import warnings
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from dflag.web import bearer_token, make_wsgi_app

if TYPE_CHECKING:
    from collections.abc import Mapping

    import dflag

LIMIT_BYTES = 2**20 + 2**12
TOKEN = {"HTTP_AUTHORIZATION": "Bearer t0ken", "CONTENT_TYPE": "application/json"}


class Input(io.BytesIO):
    """
    A body that counts the bytes that are read from it.
    """

    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        piece = super().read(size)
        self.taken += len(piece)
        return piece


def call(registry: dflag.FlagRegistry, method: str = "GET", **environ: Any) -> tuple[str, dict[str, str], bytes]:
    """
    Return the status, headers and body that the app gives through the validator of the standard library.
    """
    app = validator(make_wsgi_app(registry, authorize=bearer_token("t0ken", "alice")))
    environ = {"REQUEST_METHOD": method, "SCRIPT_NAME": "", "PATH_INFO": "/", "QUERY_STRING": "", **environ}
    setup_testing_defaults(environ)
    started: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        started[:] = [status, dict(headers)]
        return lambda piece: None

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = app(environ, start_response)
        try:
            body = b"".join(result)
        finally:
            result.close()  # type: ignore[attr-defined]  # the validator's has one
    return (*started, body)


def test_follows_the_standard(flags: dflag.FlagRegistry) -> None:
    """Each kind of answer passes the WSGI validator: a listing, a page, no body, an unchanged listing, an error."""
    flags.dyn_int("rate", 50)
    status, headers, body = call(flags)
    assert (status, headers["Content-Length"]) == ("200 OK", str(len(body)))
    assert json.loads(body)["flags"][0]["name"] == "rate"
    assert call(flags, "HEAD") == (status, headers, b"")
    assert call(flags, HTTP_IF_NONE_MATCH=headers["ETag"])[::2] == ("304 Not Modified", b"")
    assert call(flags, HTTP_ACCEPT="text/html")[1]["Content-Type"] == "text/html; charset=utf-8"
    assert call(flags, PATH_INFO="/static/page.js")[0] == "200 OK"
    assert call(flags, PATH_INFO="/nowhere")[0] == "404 Not Found"
    assert call(flags, "PUT")[1]["Allow"] == "GET, HEAD"


def test_path_and_query_are_decoded(flags: dflag.FlagRegistry) -> None:
    """The app decodes its mount and the query, and a path or a query that is not UTF-8 is not a server error."""
    flags.dyn_int("rate", 50)
    assert json.loads(call(flags, QUERY_STRING="name=r%61te")[2])["flags"] != []
    mount = "/café".encode().decode("latin-1")  # as PEP 3333 passes it
    assert b'href="caf%C3%A9/static/' in call(flags, SCRIPT_NAME=mount, PATH_INFO="", HTTP_ACCEPT="text/html")[2]
    assert call(flags, QUERY_STRING="name=%FF")[0] == "200 OK"
    assert call(flags, PATH_INFO="/\xff")[0] == "404 Not Found"


def test_setting(flags: dflag.FlagRegistry) -> None:
    """A body of the declared length sets a flag, although more bytes follow it."""
    rate = flags.dyn_int("rate", 50)
    sent = b'{"name": "rate", "value": "60"}'
    more = {"wsgi.input": io.BytesIO(sent + b"of the next request"), "CONTENT_LENGTH": str(len(sent))}
    assert call(flags, "POST", PATH_INFO="/set", **TOKEN, **more)[0] == "200 OK"
    assert rate.get() == 60


@pytest.mark.parametrize(
    ("environ", "size", "status", "taken"),
    [
        ({"CONTENT_LENGTH": str(LIMIT_BYTES + 1)}, 0, "413", 0),
        ({"CONTENT_LENGTH": str(LIMIT_BYTES)}, LIMIT_BYTES + 10, "400", LIMIT_BYTES),
        ({}, 50, "400", 0),
        ({"wsgi.input_terminated": True}, LIMIT_BYTES, "400", LIMIT_BYTES),
        ({"wsgi.input_terminated": True}, LIMIT_BYTES + 10, "413", LIMIT_BYTES + 1),
    ],
)
def test_lengths_of_bodies(
    flags: dflag.FlagRegistry, environ: dict[str, Any], size: int, status: str, taken: int
) -> None:
    """The app reads no more of a body than was declared, or than one byte over the limit if the server ends it."""
    body = Input(b" " * size)
    answer = call(flags, "POST", PATH_INFO="/set", **TOKEN, **environ, **{"wsgi.input": body})
    assert (answer[0][:3], body.taken) == (status, taken)


def test_body_that_ends_early(flags: dflag.FlagRegistry) -> None:
    """A body shorter than declared sets nothing, even if what came is whole JSON."""
    rate = flags.dyn_int("rate", 50)
    more = {"wsgi.input": io.BytesIO(b'{"name": "rate", "value": "60"}'), "CONTENT_LENGTH": "100"}
    assert call(flags, "POST", PATH_INFO="/set", **TOKEN, **more)[0] == "400 Bad Request"
    assert rate.get() == 50


@pytest.mark.parametrize(("length", "expected"), [("-1", "400"), ("+5", "400"), ("1_0", "400"), ("9" * 5_000, "413")])
def test_length_that_is_no_number(flags: dflag.FlagRegistry, length: str, expected: str) -> None:
    """A declared length that is not a number is a bad request; one of thousands of digits is refused as too long."""
    app = make_wsgi_app(flags, authorize=bearer_token("t0ken", "alice"))
    environ: dict[str, Any] = {**TOKEN, "REQUEST_METHOD": "POST", "PATH_INFO": "/set", "CONTENT_LENGTH": length}
    setup_testing_defaults(environ)
    started: list[str] = []
    list(app(environ, lambda status, headers, exc_info=None: started.append(status)))  # type: ignore[arg-type]  # none writes
    assert started[0][:3] == expected


@pytest.mark.parametrize("fault", [KeyboardInterrupt, SystemExit])
def test_interrupts_go_on_to_the_host(flags: dflag.FlagRegistry, fault: type[BaseException]) -> None:
    """KeyboardInterrupt and SystemExit of `authorize` reach the host on the main thread, and refuse elsewhere."""

    def authorize(headers: Mapping[str, str]) -> str | None:
        raise kind

    app = make_wsgi_app(flags, authorize=authorize)
    environ: dict[str, Any] = {"REQUEST_METHOD": "POST", "PATH_INFO": "/set", **TOKEN}
    setup_testing_defaults(environ)
    started: list[str] = []

    def ask() -> None:
        list(app(environ, lambda status, headers, exc_info=None: started.append(status)))  # type: ignore[arg-type]  # none writes

    kind = fault
    with pytest.raises(fault):
        ask()
    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    kind = GeneratorExit
    ask()
    assert [status[:3] for status in started] == ["401", "401"]


def test_body_of_the_refused_is_not_read(flags: dflag.FlagRegistry) -> None:
    """The app does not read the body of a request that is not authorized."""
    body = Input(b" " * 1_000)
    environ = {"PATH_INFO": "/set", "CONTENT_LENGTH": "1000", "wsgi.input": body}
    assert call(flags, "POST", **environ)[0] == "401 Unauthorized"
    assert body.taken == 0
