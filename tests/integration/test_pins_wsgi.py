"""
Requests of Flask and of plain WSGI apps see one revision each, until the server closes the response.
"""

from __future__ import annotations

import contextlib
import contextvars
import gc
import importlib.util
import io
import os
import socket
import threading
import urllib.request
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import flask
import pytest
from werkzeug.test import Client

import dflag
from dflag._snapshot import open_pins
from dflag.integrations.wsgi import PinMiddleware

from ._children import Child
from ._pins import REQUESTS, Pair, Storm, check_storm, check_unpinned
from ._waiting import DEADLINE_SECONDS, run_python
from .test_gevent import PATCHES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


@pytest.fixture(name="pair")
def _pair() -> Iterator[Pair]:
    """Yield two flags that are equal in each revision, and fail if a pin is left open."""
    yield Pair()
    check_unpinned()


def make_flask(pair: Pair, *, pinned: bool = True, revision_header: bool = False) -> flask.Flask:
    """
    Return a Flask app that commits a revision in the middle of each request.
    """
    app = flask.Flask(__name__)

    @app.get("/function")
    def function() -> list[int]:
        before = pair.one.get()
        pair.swap()
        return [before, pair.two.get()]

    @app.get("/streamed")
    def streamed() -> flask.Response:
        def parts() -> Iterator[str]:
            yield f"[{pair.one.get()}, "
            pair.swap()
            yield f"{pair.two.get()}]"

        return flask.Response(flask.stream_with_context(parts()), mimetype="application/json")

    @app.get("/closed")
    def closed() -> flask.Response:
        before = pair.one.get()
        response = flask.jsonify([before, before])

        @response.call_on_close
        def check() -> None:
            pair.swap()
            assert pair.two.get() == before

        return response

    @app.get("/broken")
    def broken() -> flask.Response:
        def parts() -> Iterator[str]:
            yield "x"
            raise RuntimeError("broken")

        return flask.Response(parts())

    if pinned:
        app.wsgi_app = PinMiddleware(  # type: ignore[method-assign]  # as Flask's documentation has it
            app.wsgi_app, pair.flags, revision_header=revision_header
        )
    return app


@pytest.mark.parametrize("path", ["function", "streamed", "closed"])
def test_a_swap_is_seen_by_the_next_request(pair: Pair, path: str) -> None:
    """Only the next request sees a revision that a function, a stream or a close handler commits during a request."""
    client = make_flask(pair).test_client()
    for number in range(3):
        with client.get(f"/{path}") as answer:
            assert answer.get_json() == [number, number]
        assert pair.one.get() == number + 1


def test_without_the_middleware_a_swap_is_seen(pair: Pair) -> None:
    """Without the middleware, a request sees a revision that is committed in its middle; other tests rely on this."""
    assert make_flask(pair, pinned=False).test_client().get("/function").get_json() == [0, 1]


def environ() -> WSGIEnvironment:
    """
    Return the environment of a request.
    """
    made: WSGIEnvironment = {}
    setup_testing_defaults(made)
    return made


def start(_status: str, _headers: list[tuple[str, str]], _exc_info: Any = None, /) -> Any:
    """
    Accept the start of a response, and ignore it.
    """


def opened(app: WSGIApplication) -> Any:
    """
    Call an app, and return the body of its response.
    """
    return app(environ(), start)


def generating(pair: Pair) -> WSGIApplication:
    """
    Return a pinned app whose body is a generator that commits a revision after each part.
    """

    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        try:
            for _ in range(3):
                yield str(pair.one.get()).encode()
                pair.swap()
        finally:
            ends.append((pair.two.get(), pair.live()))

    ends: list[tuple[int, int]] = []
    return PinMiddleware(app, pair.flags)


def test_between_two_parts_the_server_is_not_pinned(pair: Pair) -> None:
    """The code that makes a body sees one revision to the end; the server, in the same context, sees the newest."""
    body = opened(generating(pair))
    seen = []
    for part in body:
        seen.append(part)
        assert pair.one.get() == pair.live()
    assert (seen, pair.one.get()) == ([b"0"] * 3, 3)
    body.close()
    assert list(opened(generating(pair))) == [b"3"] * 3


def test_the_pin_is_held_until_the_body_is_closed(pair: Pair) -> None:
    """The pin stays open until the server closes the body, whose `close()` still sees the request's revision."""
    seen: list[int] = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            seen.append(pair.one.get())
            return iter([b"x"])

        def close(self) -> None:
            seen.append(pair.one.get())

    body = opened(PinMiddleware(lambda _environ, _start: Body(), pair.flags))
    pair.swap()
    assert list(body) == [b"x"]
    assert len(open_pins) == 1
    body.close()
    check_unpinned()
    assert seen == [0, 0]


def test_a_body_that_fails_to_close_unpins(pair: Pair) -> None:
    """If the `close()` of a body raises, the server gets the exception and no pin is left."""

    class Body(list[bytes]):
        def close(self) -> None:
            raise RuntimeError("broken")

    body = opened(PinMiddleware(lambda _environ, _start: Body(), pair.flags))
    with pytest.raises(RuntimeError, match="broken"):
        body.close()
    check_unpinned()


def test_each_call_in_another_thread(pair: Pair) -> None:
    """A response keeps its revision when different threads make it, iterate over it and close it."""
    body = opened(generating(pair))
    seen: list[bytes] = []
    for call in (lambda: seen.append(next(body)),) * 3 + (body.close,):
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    assert seen == [b"0"] * 3


def test_interleaved_responses(pair: Pair) -> None:
    """Two responses that one thread serves by turns keep their own revisions."""
    first = opened(generating(pair))
    assert next(first) == b"0"
    pair.swap()
    second = opened(generating(pair))
    assert [next(second), next(first), next(second), next(first)] == [b"1", b"0", b"1", b"0"]
    second.close()
    assert list(first) == []
    first.close()


def test_an_exception_unpins(pair: Pair) -> None:
    """An app that raises, at once or in the middle of its body, leaves no pin."""

    def app(_environ: WSGIEnvironment, _start_response: StartResponse) -> Iterable[bytes]:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        opened(PinMiddleware(app, pair.flags))
    check_unpinned()
    with pytest.raises(RuntimeError, match="broken"):
        make_flask(pair).test_client().get("/broken").get_data()
    gc.collect()  # the test client drops the response that failed
    check_unpinned()
    assert pair.swap() == pair.one.get()


def test_a_dropped_response_unpins(pair: Pair) -> None:
    """A response that the server never closes leaves no pin once it is collected, even if another context read it."""
    body = opened(generating(pair))
    contextvars.copy_context().run(next, body)
    del body
    gc.collect()
    check_unpinned()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forks while threads run
def test_a_child_that_is_forked_in_a_request_has_live_values(pair: Pair) -> None:
    """A child that is forked in a request, as for a pool of processes, sees live values, not the request's revision."""

    def run() -> None:
        assert pair.one.get() == 1  # the value in force at the fork, not the pinned one
        assert pair.swap() == pair.one.get() == 2
        check_unpinned()

    def app(_environ: WSGIEnvironment, _start_response: StartResponse) -> Iterable[bytes]:
        pair.swap()
        Child(run).check()
        return [str(pair.one.get()).encode()]

    with contextlib.closing(opened(PinMiddleware(app, pair.flags))) as body:
        assert list(body) == [b"0"]


def test_other_context_variables_are_the_servers(pair: Pair) -> None:
    """A context variable that an app sets stays set after the request, as without the middleware."""
    variable = contextvars.ContextVar("variable", default="outside")

    def app(_environ: WSGIEnvironment, _start_response: StartResponse) -> Iterable[bytes]:
        variable.set("app")
        return [b"x"]

    opened(PinMiddleware(app, pair.flags)).close()
    assert variable.get() == "app"


def test_it_keeps_to_the_standard(pair: Pair) -> None:
    """The validator of the standard library finds no violation of WSGI on either side of the middleware."""
    made = environ()
    made["QUERY_STRING"] = ""
    statuses: list[str] = []

    def start_response(status: str, _headers: list[tuple[str, str]], _exc_info: Any = None, /) -> Any:
        statuses.append(status)
        return lambda _data: None

    app = PinMiddleware(validator(make_flask(pair, pinned=False)), pair.flags, revision_header=True)
    body: Any = validator(app)(made, start_response)
    assert b"".join(body)
    body.close()
    assert statuses == ["404 NOT FOUND"]


def test_the_header_says_the_revision(pair: Pair) -> None:
    """A response has X-Config-Revision next to its own headers with revision_header=True, and lacks it by default."""
    pair.swap()
    client = Client(make_flask(pair, revision_header=True))
    for path in ("/function", "/streamed", "/nowhere"):
        revision = pair.flags.snapshot().revision
        with client.get(path) as answer:
            assert answer.headers["X-Config-Revision"] == str(revision)
            assert "Content-Type" in answer.headers
            answer.get_data()
    assert "X-Config-Revision" not in make_flask(pair).test_client().get("/function").headers


# --- a real server


@contextlib.contextmanager
def served(app: WSGIApplication) -> Iterator[str]:
    """
    Serve an app with the standard library, and yield its address.
    """

    class Handler(WSGIRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class has it
            pass

    with make_server("127.0.0.1", 0, app, WSGIServer, Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def test_the_server_still_tells_the_length(pair: Pair) -> None:
    """A server that derives Content-Length from a body of one part still does so behind the middleware."""

    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [b"four"]

    with (
        served(PinMiddleware(app, pair.flags)) as url,
        urllib.request.urlopen(url, timeout=DEADLINE_SECONDS) as answer,  # noqa: S310 - its own url
    ):
        assert (answer.read(), answer.headers["Content-Length"]) == (b"four", "4")


def test_a_file_goes_to_the_server_as_it_is(pair: Pair) -> None:
    """A body made by the server's file wrapper reaches the server unchanged, so that the server can send the file."""
    wrappers: list[FileWrapper] = []

    def app(made: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        wrappers.append(made["wsgi.file_wrapper"](io.BytesIO(b"file")))
        return wrappers[0]

    made = {**environ(), "wsgi.file_wrapper": FileWrapper}
    body = PinMiddleware(app, pair.flags)(made, start)
    assert body is wrappers[0]
    check_unpinned()
    assert b"".join(body) == b"file"
    wrappers[0].close()


def test_a_client_that_leaves_unpins(pair: Pair) -> None:
    """A client that goes away in the middle of a streamed response ends the request and its pin."""
    seen: list[int] = []
    ended = threading.Event()

    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        try:
            while True:
                seen.append(pair.one.get())
                yield b"x" * 10_000
        finally:
            seen.append(pair.two.get())
            ended.set()

    with served(PinMiddleware(app, pair.flags)) as url:
        host, _, port = url.removeprefix("http://").rstrip("/").partition(":")
        with socket.create_connection((host, int(port)), DEADLINE_SECONDS) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert client.recv(100)
            pair.swap()
            assert client.recv(100_000)
        assert ended.wait(DEADLINE_SECONDS)
    assert set(seen) == {0}


# --- many requests


def test_a_thousand_responses_in_a_storm(pair: Pair) -> None:
    """Of 1,000 responses that are all under way while revisions are committed, none sees two revisions."""

    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        for _ in range(3):
            yield f"{pair.one.get()} ".encode()
            yield f"{pair.two.get()} ".encode()

    pinned = PinMiddleware(app, pair.flags)
    bodies: list[Any] = []
    answers: list[list[bytes]] = []
    with Storm(pair):
        for number in range(REQUESTS):
            if number % 10 == 0:
                pair.swap()  # in addition to the storm, whose thread may not run soon enough
            bodies.append(opened(pinned))
            answers.append([next(bodies[-1])])
        for _ in range(5):
            for body, answer in zip(bodies, answers, strict=True):
                answer.append(next(body))
        for body in bodies:
            body.close()
    check_storm([tuple(map(int, answer)) for answer in answers])


@pytest.mark.untraced
def test_a_thousand_requests_on_threads_in_a_storm(pair: Pair) -> None:
    """Of 1,000 requests to Flask, each on its own thread while revisions are committed, none sees two revisions."""
    barrier = threading.Barrier(REQUESTS)
    app = flask.Flask(__name__)

    @app.get("/")
    def handle() -> list[int]:
        seen = [pair.one.get()]
        barrier.wait(6 * DEADLINE_SECONDS)
        return [*seen, pair.two.get(), pair.one.get()]

    app.wsgi_app = PinMiddleware(app.wsgi_app, pair.flags)  # type: ignore[method-assign]  # as above
    answers: list[tuple[int, ...]] = []

    def ask() -> None:
        answers.append(tuple(app.test_client().get("/").get_json()))

    threads = [threading.Thread(target=ask) for _ in range(REQUESTS)]
    with Storm(pair):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    check_storm(answers)


GREEN = """
import dflag
from dflag._snapshot import open_pins
from dflag.integrations.wsgi import PinMiddleware

flags = dflag.FlagRegistry()
one, two = flags.dyn_int("one", 0), flags.dyn_int("two", 0)
seen = []

def app(environ, start_response):
    before = one.get()
    value = str(flags.snapshot()[one] + 1)
    flags.apply({"one": value, "two": value}, source="config")
    for _ in range(3):
        sleep(0.001)
        yield (before, two.get(), one.get())

def ask():
    body = pinned({}, lambda status, headers: None)
    seen.append({value for part in body for value in part})
    body.close()

pinned = PinMiddleware(app, flags)
for green in [spawn(ask) for _ in range(100)]:
    green.wait() if hasattr(green, "wait") else green.join()
assert len(seen) == 100 and all(len(values) == 1 for values in seen), seen
assert one.get() == 100 and len(set.union(*seen)) == 100
assert not open_pins
"""


@pytest.mark.parametrize("library", PATCHES)
def test_green_threads_have_their_own_revisions(library: str) -> None:
    """Each of 100 requests on green threads, which switch in the middle of requests, sees one revision of its own."""
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"needs {library}")
    result = run_python(f"{PATCHES[library]}\nfrom {library} import spawn\n{GREEN}", warnings="ignore")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("registry", "options", "message"),
    [(None, {}, "expected registry as"), (..., {"revision_header": 1}, "expected revision_header as True or False")],
)
def test_wrong_arguments(pair: Pair, registry: Any, options: dict[str, Any], message: str) -> None:
    """`PinMiddleware` raises DefinitionError for an argument of a wrong type."""
    with pytest.raises(dflag.DefinitionError, match=message):
        PinMiddleware(generating(pair), pair.flags if registry is ... else registry, **options)
