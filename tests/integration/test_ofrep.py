"""
OpenFeature's remote protocol under WSGI, ASGI and the built-in server: its answers, and its streams of changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import http.client
import io
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode

import dflag
from dflag._keyed import EVERYBODY, KeyedValue
from dflag.web import bearer_token, make_asgi_app, make_wsgi_app, start_http_server

from ._waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

pytestmark = pytest.mark.once

BULK = "/ofrep/v1/evaluate/flags"
EVENTS = "/ofrep/v1/events"
DEADLINE_SECONDS = 10.0
CONFORMANCE = os.environ.get("DFLAG_CONFORMANCE", "")


class Answer:
    """
    A response with its status, headers and body.
    """

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = {name.lower(): value for name, value in headers.items()}
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def post(app: Any, path: str, body: object = ..., *, method: str = "POST", mount: str = "", **headers: str) -> Answer:
    """
    Send a request to a WSGI app, and return the response.
    """
    raw = body if isinstance(body, bytes) else json.dumps({} if body is ... else body).encode()
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": mount,
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "CONTENT_TYPE": headers.pop("content_type", "application/json"),
        "CONTENT_LENGTH": str(len(raw)),
        "wsgi.input": io.BytesIO(raw),
        **{f"HTTP_{name.upper()}": value for name, value in headers.items()},
    }
    started: list[Any] = []
    answered = b"".join(app(environ, lambda *args: started.append(args)))
    status, fields = started[0]
    return Answer(int(status.split()[0]), dict(fields), answered)


class Colour(enum.Enum):
    """An enumeration whose value is a text."""

    RED = "red"


@pytest.fixture(name="flags")
def _flags() -> dflag.FlagRegistry:
    """Return a registry with flags of each kind, one of them secret and one keyed."""
    flags = dflag.FlagRegistry("shop")
    flags.bool("static", True)
    flags.dyn_bool("bool", True)
    flags.dyn_string("string", "text")
    flags.dyn_int("int", 7, owner="platform")
    flags.dyn_float("float", 2.0)
    flags.dyn_float("infinite", math.inf)
    flags.dyn_duration("duration", timedelta(seconds=90))
    flags.dyn_enum("enum", Colour.RED)
    flags.dyn_string_list("list", ("b", "a"))
    flags.dyn_string_set("set", {"b", "a"})
    flags.dyn_json("json", {"mode": "allow"})
    flags.dyn_json("null", None)
    flags.dyn_bytes("bytes", b"raw")
    flags.dyn_custom("unprintable", 10**5000, parse=int, format=hex)
    flags.dyn_string("password", "hunter2", secret=True)
    rate = flags.dyn_int("rate", 50, by="tenant")
    flags.apply({}, source="rules")  # so that the source has a rank
    store = flags._store
    values = (
        KeyedValue("half", None, EVERYBODY - 1, 200, "rules"),
        KeyedValue("large-tenants", ("acme",), EVERYBODY, 500, "rules"),
    )
    assert store.commit(store.plan([], keyed=[(rate, "rules", values)]))
    return flags


VALUES = {
    "static": True,
    "bool": True,
    "string": "text",
    "int": 7,
    "float": 2.0,
    "duration": 90.0,
    "enum": "red",
    "list": ["b", "a"],
    "set": ["a", "b"],
    "json": {"mode": "allow"},
    "rate": 50,
}
WITHOUT_VALUE = {"infinite", "null", "bytes", "unprintable"}


@pytest.fixture(name="app")
def _app(flags: dflag.FlagRegistry) -> Any:
    """Return a WSGI app."""
    return make_wsgi_app(flags, ofrep=True)


def test_it_is_off_unless_asked_for(flags: dflag.FlagRegistry) -> None:
    """The path of the bulk answer gives 404 unless the app is made with ofrep=True."""
    assert post(make_wsgi_app(flags), BULK).status == 404


@pytest.mark.parametrize("name", VALUES)
def test_one_flag(name: str, app: Any) -> None:
    """A flag is answered with its value in JSON's types, a reason of the protocol, a variant and metadata."""
    answer = post(app, f"{BULK}/{name}", {"context": {"targetingKey": ""}})
    assert answer.status == 200
    found = answer.json
    assert (found["key"], found["value"], found["reason"], found["variant"]) == (
        name,
        VALUES[name],
        "STATIC",
        "default",
    )
    assert type(found["value"]) is type(VALUES[name])
    assert found["metadata"]["version"] == found["metadata"]["checksum"]


def test_a_float_is_written_as_one(app: Any) -> None:
    """A whole float is written with its point, so that typed clients read a float."""
    assert b'"value":2.0,' in post(app, f"{BULK}/float").body


@pytest.mark.parametrize("name", sorted(WITHOUT_VALUE))
def test_a_value_that_json_lacks(name: str, app: Any) -> None:
    """Infinity, null, bytes, and an int that Python does not print are answered with 400 and GENERAL."""
    answer = post(app, f"{BULK}/{name}")
    assert (answer.status, answer.json["key"], answer.json["errorCode"]) == (400, name, "GENERAL")


@pytest.mark.parametrize("name", ["nothing", "password", "", "a/b", "\u00e9"])
def test_a_flag_that_is_not_there(name: str, app: Any) -> None:
    """An unknown name and the name of a secret flag are both answered with 404 and FLAG_NOT_FOUND."""
    answer = post(app, f"{BULK}/{name.encode().decode('latin-1')}")
    assert (answer.status, answer.json["key"], answer.json["errorCode"]) == (404, name, "FLAG_NOT_FOUND")


def test_where_a_value_comes_from(flags: dflag.FlagRegistry, app: Any) -> None:
    """The variant is the layer of the value; metadata holds revision, origin, owner, checksum and version."""
    revision = flags.apply({"int": "8"}, source="config")
    found = post(app, f"{BULK}/int").json
    assert (found["value"], found["variant"], found["reason"]) == (8, "config", "STATIC")
    assert found["metadata"] == {
        "revision": revision.number,
        "origin": "config",
        "owner": "platform",
        "checksum": revision.checksum,
        "version": revision.checksum,
    }


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        (..., (50, "STATIC", "default")),
        ({"context": None}, (50, "STATIC", "default")),
        ({"context": {}}, (50, "STATIC", "default")),
        ({"context": {"targetingKey": "acme"}}, (500, "TARGETING_MATCH", "large-tenants")),
        ({"context": {"targetingKey": "user", "tenant": "acme"}}, (500, "TARGETING_MATCH", "large-tenants")),
        ({"context": {"targetingKey": "initech"}}, (200, "SPLIT", "half")),
    ],
)
def test_a_key_gets_its_value(context: object, expected: tuple[int, str, str], app: Any) -> None:
    """A keyed flag is answered for the attribute that by= names, else for the targeting key, singly and in bulk."""
    one = post(app, f"{BULK}/rate", context).json
    (row,) = (row for row in post(app, BULK, context).json["flags"] if row["key"] == "rate")
    assert one == row
    assert (row["value"], row["reason"], row["variant"]) == expected


def test_a_key_that_is_no_text(app: Any) -> None:
    """A key that is not a text is answered with INVALID_CONTEXT for the keyed flag alone, singly and in bulk."""
    context = {"context": {"targetingKey": "x", "tenant": 5}}
    one = post(app, f"{BULK}/rate", context)
    assert (one.status, one.json["errorCode"]) == (400, "INVALID_CONTEXT")
    codes = {row["key"]: row.get("errorCode") for row in post(app, BULK, context).json["flags"]}
    assert codes["rate"] == "INVALID_CONTEXT"
    assert codes["int"] is None


def test_all_flags_at_once(app: Any) -> None:
    """The bulk answer has every flag except secret ones, and names no event stream under WSGI."""
    answer = post(app, BULK)
    rows = {row["key"]: row for row in answer.json["flags"]}
    assert rows.keys() == VALUES.keys() | WITHOUT_VALUE
    assert {key: row["value"] for key, row in rows.items() if "value" in row} == VALUES
    assert b"hunter2" not in answer.body
    assert b"password" not in answer.body
    assert "eventStreams" not in answer.json  # a WSGI server can hold no stream open


def test_all_flags_are_of_one_revision() -> None:
    """The bulk answer has the values of one revision, although a flag changes while the answer is made."""
    flags = dflag.FlagRegistry()
    asked: list[int] = []

    def write(value: tuple[int]) -> str:
        if asked:
            last.set(2)
        return str(value[0])

    flags.dyn_custom("first", (1,), parse=lambda text: (int(text),), format=write)
    last = flags.dyn_int("last", 1)
    app = make_wsgi_app(flags, ofrep=True)
    before = flags.snapshot().revision
    asked.append(1)
    answer = post(app, BULK).json
    assert last.get() == 2
    assert [row["value"] for row in answer["flags"]] == ["1", 1]
    assert {row["metadata"]["revision"] for row in answer["flags"]} == {answer["metadata"]["revision"]} == {before}


def test_an_answer_that_did_not_change(flags: dflag.FlagRegistry, app: Any) -> None:
    """A request with the entity tag gives 304 and no body, unless the key differs or a commit has changed a flag."""
    first = post(app, BULK)
    tag = first.headers["etag"]
    again = post(app, BULK, if_none_match=tag)
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    assert post(app, BULK, {"context": {"targetingKey": "acme"}}, if_none_match=tag).status == 200
    flags.apply({"int": "8"}, source="config")
    changed = post(app, BULK, if_none_match=tag)
    assert changed.status == 200
    assert changed.headers["etag"] != tag


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b" ", "PARSE_ERROR"),
        (b"{", "PARSE_ERROR"),
        (b"\xff", "PARSE_ERROR"),
        (b'{"context": {}, "context": {}}', "PARSE_ERROR"),
        (b"[]", "PARSE_ERROR"),
        (b'{"context": []}', "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": 5}}', "INVALID_CONTEXT"),
    ],
)
def test_a_body_that_is_wrong(body: bytes, code: str, app: Any) -> None:
    """A body that is not a valid request gives 400 and the protocol's code, and for one flag the flag's name."""
    bulk, one = post(app, BULK, body), post(app, f"{BULK}/int", body)
    assert (bulk.status, bulk.json["errorCode"], one.status, one.json["errorCode"]) == (400, code, 400, code)
    assert one.json["key"] == "int"


def test_a_request_without_a_body_has_no_key(app: Any) -> None:
    """An empty body is treated as an empty object, for one flag and for all."""
    for path in (BULK, f"{BULK}/int"):
        empty, plain = post(app, path, b"", content_type=""), post(app, path, {})
        assert (empty.status, empty.body) == (200, plain.body)


def test_what_is_refused_before_the_body(app: Any) -> None:
    """A wrong method gives 405, a wrong content type 415, a long body 413 and a wrong path 404; no type gives 200."""
    assert post(app, BULK, method="GET").status == 405
    assert post(app, BULK, content_type="text/plain").status == 415
    assert post(app, BULK, b"x" * (2**18 + 1)).status == 413
    assert post(app, "/ofrep/v1/other").status == 404
    assert post(app, BULK, content_type="").status == 200


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
bodies = st.binary(max_size=64) | st.builds(
    lambda value: json.dumps(value).encode(),
    json_values
    | st.fixed_dictionaries({"context": json_values})
    | st.fixed_dictionaries({"context": st.fixed_dictionaries({"targetingKey": json_values, "tenant": json_values})}),
)


@settings(max_examples=200)
@given(body=bodies, name=st.text(max_size=8))
def test_no_body_is_a_fault_of_the_server(body: bytes, name: str) -> None:
    """Any body and any flag name are answered with 200, 400 or 404, never with 500."""
    flags = dflag.FlagRegistry()
    flags.dyn_int("rate", 50, by="tenant")
    app = make_wsgi_app(flags, ofrep=True)
    assert post(app, BULK, body).status in (200, 400)
    assert post(app, f"{BULK}/rate", body).status in (200, 400)
    assert post(app, f"{BULK}/{name.encode('utf-8', 'replace').decode('latin-1')}", body).status in (200, 400, 404)


# --- who may read


def test_readers_are_authorized(flags: dflag.FlagRegistry) -> None:
    """A request that `read_authorize` refuses, or for which it raises, gets 401; the page does not call it."""
    app = make_wsgi_app(flags, ofrep=True, read_authorize=bearer_token("s3cr3t", "web"))
    assert post(app, BULK).status == 401
    assert post(app, "/", method="GET").status == 200
    assert post(app, f"{BULK}/int", authorization="Bearer wrong").status == 401
    assert post(app, f"{BULK}/int", authorization="Bearer s3cr3t").json["value"] == 7

    def broken(headers: Mapping[str, str]) -> str | None:
        raise RuntimeError(headers["x-api-key"])

    assert post(make_wsgi_app(flags, ofrep=True, read_authorize=broken), BULK, x_api_key="key").status == 401


@pytest.mark.parametrize(
    "options",
    [
        {"ofrep": 1},
        {"origins": ("https://shop.example",)},
        {"read_authorize": bearer_token("s3cr3t", "web")},
        {"ofrep": True, "read_authorize": "token"},
        *(
            {"ofrep": True, "origins": origins}
            for origins in (
                "https://shop.example",
                5,
                [5],
                ["*"],
                ["null"],
                ["shop.example"],
                ["https://shop.example/"],
                ["https://shop.example/path"],
                ["https://user@shop.example"],
                ["https://*.example"],
                ["https://shop.example:99999"],
                ["https://shop.example\n"],
            )
        ),
    ],
)
def test_options_are_checked(options: dict[str, Any], flags: dflag.FlagRegistry) -> None:
    """A wrong origin, an option of a wrong type, and an option without ofrep=True raise DefinitionError."""
    with pytest.raises(dflag.DefinitionError):
        make_wsgi_app(flags, **options)


@pytest.mark.parametrize("origins", [[], (), set()])
def test_no_origins_need_no_protocol(origins: Any, flags: dflag.FlagRegistry) -> None:
    """An empty collection of origins, as from an empty setting, is accepted without ofrep=True."""
    make_wsgi_app(flags, origins=origins)
    make_asgi_app(flags, origins=origins)
    start_http_server(0, flags, origins=origins).close()


def test_pages_of_named_origins_may_read(flags: dflag.FlagRegistry) -> None:
    """A listed origin gets CORS headers in answers, 404s, 304s and preflights; any other origin gets none."""
    app = make_wsgi_app(flags, ofrep=True, origins=["https://shop.example", "http://127.0.0.1:8000"])
    for path, status in ((BULK, 200), (f"{BULK}/nothing", 404)):
        answer = post(app, path, origin="https://shop.example")
        assert answer.status == status
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        assert answer.headers["access-control-expose-headers"] == "ETag"
        assert answer.headers["vary"] == "Origin"
    tag = post(app, BULK).headers["etag"]
    assert "access-control-allow-origin" in post(app, BULK, origin="https://shop.example", if_none_match=tag).headers

    asked = {"access_control_request_method": "POST", "access_control_request_headers": "content-type,x-trace"}
    allowed = post(app, BULK, method="OPTIONS", origin="https://shop.example", **asked)
    assert (allowed.status, allowed.headers["access-control-allow-methods"]) == (204, "POST")
    assert {"content-type", "if-none-match", "x-trace"} <= set(
        allowed.headers["access-control-allow-headers"].replace(" ", "").split(",")
    )
    for origin in ("https://other.example", "https://shop.example:444", "null", "http://shop.example"):
        for method in ("POST", "OPTIONS"):
            refused = post(app, BULK, method=method, origin=origin, **asked)
            assert not [name for name in refused.headers if name.startswith("access-control")]


# --- event streams


class Events:
    """
    A client of an event stream, which reads line by line.
    """

    def __init__(self, port: int, path: str, **headers: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_SECONDS)
        self._connection.request("GET", path, headers={name.replace("_", "-"): text for name, text in headers.items()})
        self.response = self._connection.getresponse()
        self.last_id = ""

    def next(self) -> Any:
        """
        Return the data of the next event, or None at the end of the stream.
        """
        while line := self.response.readline():
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "id":
                self.last_id = value
            elif name == "data":
                return json.loads(value)
        return None

    def line(self) -> str:
        return self.response.readline().decode()

    def close(self) -> None:
        self.response.close()
        self._connection.close()


def stream_of(port: int, **headers: str) -> str:
    """
    Return the path of the event stream that the bulk answer names.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_SECONDS)
    with contextlib.closing(connection):
        connection.request("POST", BULK, b"{}", {"Content-Type": "application/json", **headers})
        (stream,) = json.loads(connection.getresponse().read())["eventStreams"]
    assert stream["type"] == "sse"
    return str(stream["endpoint"]["requestUri"])


UVICORN = """
import sys, threading
import dflag, uvicorn
from dflag.web import bearer_token, make_asgi_app
from starlette.applications import Starlette
from starlette.routing import Mount

flags = dflag.FlagRegistry()
rate = flags.dyn_int("rate", 50)
flags.dyn_string("password", "", secret=True)
threading.Thread(target=lambda: [flags.lookup(line.split()[0]).set_text(line.split()[1]) for line in sys.stdin]).start()
app = Starlette(routes=[Mount("/flags", make_asgi_app(flags, ofrep=True))])
config = uvicorn.Config(app, port=0, log_level="error")
server = uvicorn.Server(config)
started = server.startup

async def startup(*args, **kwargs):
    await started(*args, **kwargs)
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)

server.startup = startup
server.run()
"""


@pytest.fixture(name="uvicorn")
def _uvicorn() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Yield a process of uvicorn that serves the app under a mount, and its port."""
    pytest.importorskip("uvicorn")
    with subprocess.Popen(
        [sys.executable, "-c", UVICORN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.stdin.close()
            process.terminate()
            process.wait(DEADLINE_SECONDS)


def test_a_change_arrives_under_asgi(uvicorn: tuple[subprocess.Popen[str], int]) -> None:
    """Under uvicorn and below a mount, a stream sends one event when it opens and one after a commit."""
    process, port = uvicorn
    assert process.stdin is not None
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_SECONDS)
    with contextlib.closing(connection):
        connection.request("POST", f"/flags{BULK}", b"{}", {"Content-Type": "application/json"})
        (stream,) = json.loads(connection.getresponse().read())["eventStreams"]
    assert stream["endpoint"]["requestUri"] == f"/flags{EVENTS}"
    events = Events(port, f"/flags{EVENTS}")
    with contextlib.closing(events):
        assert events.response.headers["Content-Type"] == "text/event-stream"
        assert events.next()["type"] == "refetchEvaluation"
        process.stdin.write("rate 60\n")
        process.stdin.flush()
        event = events.next()
        assert (event["type"], event["etag"]) == ("refetchEvaluation", events.last_id)


def test_streams_do_not_hold_up_the_end_of_uvicorn(uvicorn: tuple[subprocess.Popen[str], int]) -> None:
    """An open stream ends when uvicorn gets SIGTERM, so that uvicorn does not wait for it."""
    process, port = uvicorn
    events = Events(port, f"/flags{EVENTS}")
    with contextlib.closing(events):
        assert events.next()["type"] == "refetchEvaluation"
        assert process.stdin is not None
        process.stdin.close()
        process.send_signal(signal.SIGTERM)
        assert events.next() is None
        process.wait(DEADLINE_SECONDS)


def test_an_asgi_client_that_goes_is_counted_out(flags: dflag.FlagRegistry) -> None:
    """When the server reports a disconnect, the stream ends and its listener is removed from the registry."""
    app = make_asgi_app(flags, ofrep=True)
    sent: list[Any] = []

    async def run() -> None:
        gone = asyncio.Event()
        first = asyncio.Event()

        async def receive() -> Any:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)
            if message["type"] == "http.response.body":
                first.set()

        scope = {"type": "http", "method": "GET", "path": EVENTS, "headers": [], "query_string": b""}
        task = asyncio.ensure_future(app(scope, receive, send))
        await asyncio.wait_for(first.wait(), DEADLINE_SECONDS)
        assert len(flags._store._commit_listeners) == 1
        gone.set()
        await asyncio.wait_for(task, DEADLINE_SECONDS)

    asyncio.run(run())
    assert sent[0]["status"] == 200
    assert flags._store._commit_listeners == ()


def test_a_request_for_a_stream_that_is_given_up_holds_no_place(flags: dflag.FlagRegistry) -> None:
    """A request for a stream that is cancelled before the app answers leaves no listener in the registry."""
    begun, end = threading.Event(), threading.Event()

    def slow(_headers: object) -> str:
        begun.set()
        end.wait(DEADLINE_SECONDS)
        return "ops"

    app = make_asgi_app(flags, ofrep=True, read_authorize=slow)

    async def run() -> None:
        scope = {"type": "http", "method": "GET", "path": EVENTS, "headers": [], "query_string": b""}
        task = asyncio.ensure_future(app(scope, never, never))
        await asyncio.to_thread(begun.wait, DEADLINE_SECONDS)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        end.set()
        await asyncio.get_running_loop().shutdown_default_executor()

    async def never(*_: object) -> Any:
        raise AssertionError("nothing is to be received or sent")

    asyncio.run(run())
    assert flags._store._commit_listeners == ()


def test_a_change_arrives_from_the_server(flags: dflag.FlagRegistry) -> None:
    """The built-in server sends an event when a flag changes, but none when only a secret flag changes."""
    with start_http_server(0, flags, ofrep=True) as server:
        events = Events(server.port, stream_of(server.port))
        with contextlib.closing(events):
            assert events.next()["type"] == "refetchEvaluation"
            before = events.last_id
            flags["password"].set_text("changed")
            flags.flush(DEADLINE_SECONDS)
            flags["int"].set_text("8")
            assert events.next() == {"type": "refetchEvaluation", "etag": events.last_id}
            assert events.last_id == f"{before.rpartition('-')[0]}-{flags.snapshot().revision}"


def test_a_client_that_comes_back_is_not_asked_twice(flags: dflag.FlagRegistry) -> None:
    """A client that reconnects gets a first event only if it has missed one since its Last-Event-ID."""
    with start_http_server(0, flags, ofrep=True) as server:
        with contextlib.closing(Events(server.port, EVENTS)) as events:
            events.next()
            seen = events.last_id
        with contextlib.closing(Events(server.port, EVENTS, Last_Event_ID=seen)) as back:
            assert back.line().startswith("retry: ")
            assert back.line() == ":\n"
            flags["int"].set_text("8")
            assert back.next()["type"] == "refetchEvaluation"
        with contextlib.closing(Events(server.port, EVENTS, Last_Event_ID=seen)) as late:
            assert late.next()["type"] == "refetchEvaluation"


def test_an_idle_stream_has_a_heartbeat(flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle stream sends a comment at each heartbeat, so that no proxy closes it."""
    monkeypatch.setattr("dflag.web._streams.HEARTBEAT_SECONDS", 0.01)
    with start_http_server(0, flags, ofrep=True) as server, contextlib.closing(Events(server.port, EVENTS)) as events:
        events.next()
        assert [events.line(), events.line(), events.line()] == ["\n", ":\n", "\n"]


def test_a_change_without_a_commit_is_found_by_the_heartbeat(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flag that is declared after a stream has opened causes an event at the next heartbeat."""
    monkeypatch.setattr("dflag.web._streams.HEARTBEAT_SECONDS", 0.01)
    with start_http_server(0, flags, ofrep=True) as server, contextlib.closing(Events(server.port, EVENTS)) as events:
        events.next()
        flags.dyn_int("late", 1)
        assert events.next()["type"] == "refetchEvaluation"


def test_streams_are_bounded(flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream over the limit is answered with 503, and accepted after another client has gone."""
    monkeypatch.setattr("dflag.web._MAX_SERVER_STREAMS", 1)

    def second(port: int) -> int:
        with contextlib.closing(Events(port, EVENTS)) as events:
            return events.response.status

    with start_http_server(0, flags, ofrep=True) as server:
        with contextlib.closing(Events(server.port, EVENTS)) as events:
            events.next()
            assert second(server.port) == 503
        assert eventually(lambda: second(server.port) == 200)


def test_a_client_that_has_sent_more_is_counted_out(flags: dflag.FlagRegistry) -> None:
    """The server ends the stream of a client that has gone, even if the client sent unread data after its request."""
    with start_http_server(0, flags, ofrep=True) as server:
        with socket.create_connection(("127.0.0.1", server.port), DEADLINE_SECONDS) as client:
            client.sendall(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % EVENTS.encode() + b"x" * 20_000)
            while b"refetchEvaluation" not in client.recv(65_536):
                pass
        assert eventually(lambda: flags._store._commit_listeners == ())


def test_streams_that_open_at_once_are_bounded(flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of streams holds when all clients connect at once, and each place is free again after its stream."""
    monkeypatch.setattr("dflag.web._MAX_ASGI_STREAMS", 2)
    app = make_asgi_app(flags, ofrep=True)
    statuses: list[int] = []

    async def client(answered: asyncio.Event) -> None:
        async def receive() -> Any:
            await answered.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
            if len(statuses) == 6:
                answered.set()

        await app({"type": "http", "method": "GET", "path": EVENTS, "headers": [], "query_string": b""}, receive, send)

    async def run() -> None:
        answered = asyncio.Event()
        await asyncio.wait_for(asyncio.gather(*(client(answered) for _ in range(6))), DEADLINE_SECONDS)

    for _ in range(2):
        asyncio.run(run())
        assert sorted(statuses) == [200, 200, 503, 503, 503, 503]
        statuses.clear()


def test_streams_end_with_the_server(flags: dflag.FlagRegistry) -> None:
    """`close()` of the server ends its streams at once, and leaves no thread and no listener in the registry."""
    server = start_http_server(0, flags, ofrep=True)
    with contextlib.closing(Events(server.port, EVENTS)) as events:
        events.next()
        began = time.monotonic()
        server.close()
        assert events.next() is None
        assert time.monotonic() - began < 2.0
    assert flags._store._commit_listeners == ()


def test_a_stream_is_for_readers(flags: dflag.FlagRegistry) -> None:
    """A stream opens with the ticket from the bulk answer or with a reader's headers; other requests get 401."""
    authorize = bearer_token("s3cr3t", "web")
    with start_http_server(0, flags, ofrep=True, read_authorize=authorize) as server:
        path = stream_of(server.port, Authorization="Bearer s3cr3t")
        statuses = []
        for wanted, headers in (
            (path, {}),
            (EVENTS, {"Authorization": "Bearer s3cr3t"}),
            (EVENTS, {}),
            (f"{EVENTS}?ticket=x", {}),
        ):
            with contextlib.closing(Events(server.port, wanted, **headers)) as events:
                statuses.append(events.response.status)
    assert statuses == [200, 200, 401, 401]


def test_a_stream_is_for_named_origins(flags: dflag.FlagRegistry) -> None:
    """An event stream sends the CORS header to a listed origin, and to no other origin."""
    with start_http_server(0, flags, ofrep=True, origins=["https://shop.example"]) as server:
        for origin, allowed in (("https://shop.example", "https://shop.example"), ("https://other.example", None)):
            with contextlib.closing(Events(server.port, EVENTS, Origin=origin)) as events:
                assert events.response.headers["Access-Control-Allow-Origin"] == allowed


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_no_streams(flags: dflag.FlagRegistry) -> None:
    """A child that is forked while a stream is open has no listener and can commit; the parent's stream goes on."""
    with start_http_server(0, flags, ofrep=True) as server, contextlib.closing(Events(server.port, EVENTS)) as events:
        events.next()
        child = os.fork()
        if child == 0:
            flags["int"].set_text("8")
            os._exit(0 if flags._store._commit_listeners == () and flags.flush(DEADLINE_SECONDS) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        flags["int"].set_text("9")
        assert events.next()["type"] == "refetchEvaluation"


# --- the published schema, and a client


def schema_of(name: str) -> Draft202012Validator:
    """
    Return a validator of a published schema, after mending it.

    Its ``oneOf`` refuses each value, because several alternatives match: an integer is a number too, and any value
    fits an object without requirements. Its objects do not include arrays.
    """
    document = yaml.safe_load((Path(CONFORMANCE) / "ofrep" / "openapi.yaml").read_text("utf-8"))

    def mend(node: Any) -> Any:
        if isinstance(node, dict):
            return {"anyOf" if key == "oneOf" else key: mend(value) for key, value in node.items()}
        return [mend(item) for item in node] if isinstance(node, list) else node

    schemas = mend(document["components"]["schemas"])
    schemas["objectFlag"]["properties"]["value"]["type"] = ["object", "array"]
    # Without this line the schema of a flag without a value accepts one with a value too.
    schemas["codeDefaultFlag"]["not"] = {"required": ["value"]}
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}})


@pytest.mark.skipif(not CONFORMANCE, reason="DFLAG_CONFORMANCE leads to no public suites")
def test_each_answer_is_as_published(flags: dflag.FlagRegistry) -> None:
    """Every kind of answer and event matches the published schema of the protocol."""
    app = make_wsgi_app(flags, ofrep=True)
    for context in ({}, {"context": {"targetingKey": "acme"}}, {"context": {"tenant": 5}}):
        schema_of("bulkEvaluationSuccess").validate(post(app, BULK, context).json)
        for flag in flags:
            answer = post(app, f"{BULK}/{flag.name}", context)
            named = {200: "serverEvaluationSuccess", 400: "evaluationFailure", 404: "flagNotFound"}
            schema_of(named[answer.status]).validate(answer.json)
    schema_of("bulkEvaluationFailure").validate(post(app, BULK, b"{").json)
    schema_of("generalErrorResponse").validate(post(app, "/ofrep/v1/nothing").json)
    with start_http_server(0, flags, ofrep=True) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE_SECONDS)
        with contextlib.closing(connection):
            connection.request("POST", BULK, b"{}", {"Content-Type": "application/json"})
            schema_of("bulkEvaluationSuccess").validate(json.loads(connection.getresponse().read()))
        with contextlib.closing(Events(server.port, EVENTS)) as events:
            schema_of("sseEventData").validate(events.next())


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the client leaves its connections to the garbage collector
def test_the_client_for_python(flags: dflag.FlagRegistry) -> None:
    """OFREP's provider for Python gets typed values, values for keys, and error codes from the built-in server."""
    with start_http_server(0, flags, ofrep=True, read_authorize=bearer_token("s3cr3t", "web")) as server:
        provider = OFREPProvider(
            f"http://127.0.0.1:{server.port}", headers_factory=lambda: {"Authorization": "Bearer s3cr3t"}
        )
        asked = EvaluationContext("acme")
        assert provider.resolve_boolean_details("bool", False, asked).value is True
        assert provider.resolve_float_details("float", 0.0, asked).value == 2.0
        assert provider.resolve_object_details("json", {}, asked).value == {"mode": "allow"}
        details = provider.resolve_integer_details("rate", 0, asked)
        assert (details.value, details.reason, details.variant) == (500, "TARGETING_MATCH", "large-tenants")
        api.set_provider_and_wait(provider, "remote")
        try:
            client = api.get_client("remote")
            assert client.get_string_details("password", "").error_code is ErrorCode.FLAG_NOT_FOUND
            assert client.get_string_details("int", "").error_code is ErrorCode.TYPE_MISMATCH
        finally:
            api.clear_providers()
        provider.session.close()
