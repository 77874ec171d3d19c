from __future__ import annotations

import asyncio
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from dflag.web import bearer_token, make_asgi_app

if TYPE_CHECKING:
    from collections.abc import Mapping

    import dflag

LIMIT_BYTES = 2**20 + 2**12
TOKEN = [(b"authorization", b"Bearer t0ken"), (b"content-type", b"application/json")]


class Exchange:
    """
    One call of the app: the messages that it is given, and those that it sends.
    """

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.received = 0
        self.sent: list[Any] = []
        self._messages = messages

    async def receive(self) -> dict[str, Any]:
        self.received += 1
        return self._messages[self.received - 1]

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])


def call(registry: dflag.FlagRegistry, *messages: dict[str, Any], **scope: Any) -> Exchange:
    exchange = Exchange(*messages)
    app = make_asgi_app(registry, authorize=bearer_token("t0ken", "alice"))
    given = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": [], **scope}
    asyncio.run(app(given, exchange.receive, exchange.send))
    return exchange


def body(*pieces: bytes) -> list[dict[str, Any]]:
    return [
        {"type": "http.request", "body": piece, "more_body": number < len(pieces) - 1}
        for number, piece in enumerate(pieces)
    ]


def test_answers(flags: dflag.FlagRegistry) -> None:
    """Each answer is two messages: a listing, 304 if it is unchanged, no body for HEAD, 404 for an unknown path."""
    flags.dyn_int("rate", 50)
    got = call(flags)
    assert got.status == 200
    assert json.loads(got.body)["flags"][0]["name"] == "rate"
    assert all(name == name.lower() for name in got.headers)
    unchanged = call(flags, headers=[(b"If-None-Match", got.headers[b"etag"])])
    assert (unchanged.status, unchanged.body) == (304, b"")
    head = call(flags, method="HEAD")
    assert (head.headers, head.body) == (got.headers, b"")
    missing = call(flags, path="/nowhere")
    assert missing.status == 404
    for answer in (got, unchanged, head, missing):
        assert [message["type"] for message in answer.sent] == ["http.response.start", "http.response.body"]
    assert json.loads(call(flags, query_string=b"name=none").body)["flags"] == []


@pytest.mark.parametrize(
    ("root_path", "path", "status"),
    [
        ("", "/static/page.js", 200),
        ("/debug/flags", "/debug/flags/static/page.js", 200),
        ("/debug/flags", "/debug/flags", 200),
        ("/debug/flags/", "/debug/flags/static/page.js", 200),
        ("/debug/flags", "/static/page.js", 200),
        ("/debug/flags", "/debug/flags/nowhere", 404),
        ("/debug/flags", "/debug/flags2/static/page.js", 404),
    ],
)
def test_root_path(flags: dflag.FlagRegistry, root_path: str, path: str, status: int) -> None:
    """The app finds its pages whether a server leaves the prefix in the path or takes it away."""
    assert call(flags, root_path=root_path, path=path).status == status


def test_cookies_that_come_one_by_one(flags: dflag.FlagRegistry) -> None:
    """Repeated cookie headers, which HTTP/2 allows, are joined with semicolons, other repeated headers with commas."""
    seen: list[Mapping[str, str]] = []
    app = make_asgi_app(flags, authorize=seen.append)
    exchange = Exchange()
    headers = [(b"cookie", b"a=1"), (b"x-user", b"alice"), (b"cookie", b"b=2"), (b"x-user", b"bob")]
    scope = {"type": "http", "method": "POST", "path": "/set", "query_string": b"", "headers": headers}
    asyncio.run(app(scope, exchange.receive, exchange.send))
    assert seen == [{"cookie": "a=1; b=2", "x-user": "alice, bob"}]


def test_setting_in_pieces(flags: dflag.FlagRegistry) -> None:
    """A body in several messages sets a flag, and the flag's validator does not run on the event loop's thread."""
    threads = []
    rate = flags.dyn_int("rate", 50, validator=lambda value: threads.append(threading.current_thread()))
    threads.clear()
    got = call(flags, *body(b'{"name": "rate",', b"", b'"value": "60"}'), method="POST", path="/set", headers=TOKEN)
    assert (got.status, rate.get()) == (200, 60)
    assert threading.main_thread() not in threads
    assert len(threads) == 1


@pytest.mark.parametrize(
    ("declared", "pieces", "received"),
    [
        ([(b"content-length", b"%d" % (LIMIT_BYTES + 1))], [b"{}"], 0),
        ([(b"content-length", b"9" * 5_000)], [b"{}"], 0),
        ([(b"content-length", b"2")], [b" " * LIMIT_BYTES, b" ", b" "], 2),
        ([], [b" " * (LIMIT_BYTES + 1), b" "], 1),
    ],
)
def test_bodies_over_the_limit(
    flags: dflag.FlagRegistry, declared: list[tuple[bytes, bytes]], pieces: list[bytes], received: int
) -> None:
    """The app receives no more messages of a body than show that it is too long, whatever length was declared."""
    got = call(flags, *body(*pieces), method="POST", path="/set", headers=TOKEN + declared)
    assert (got.status, got.received) == (413, received)


def test_body_of_the_refused_is_not_received(flags: dflag.FlagRegistry) -> None:
    """The app does not receive the body of a request that it refuses, here for a credential that is sent twice."""
    got = call(flags, method="POST", path="/set", headers=[*TOKEN, TOKEN[0]])
    assert (got.status, got.received) == (401, 0)


def test_client_that_leaves(flags: dflag.FlagRegistry) -> None:
    """A client that leaves in the middle of its body gets no answer, and nothing is set."""
    rate = flags.dyn_int("rate", 50)
    first = {"type": "http.request", "body": b'{"name": "rate", "value": "60"}', "more_body": True}
    got = call(flags, first, {"type": "http.disconnect"}, method="POST", path="/set", headers=TOKEN)
    assert (got.sent, rate.get()) == ([], 50)


@pytest.mark.parametrize("fault", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_authorize_that_raises_ends_no_loop(flags: dflag.FlagRegistry, fault: type[BaseException]) -> None:
    """Any exception of `authorize` refuses the request, even KeyboardInterrupt, and the event loop goes on."""

    def authorize(headers: Mapping[str, str]) -> str | None:
        raise fault

    exchange = Exchange()
    scope = {"type": "http", "method": "POST", "path": "/set", "query_string": b"", "headers": TOKEN}
    asyncio.run(make_asgi_app(flags, authorize=authorize)(scope, exchange.receive, exchange.send))
    assert exchange.status == 401


def test_other_scopes(flags: dflag.FlagRegistry) -> None:
    """The app acknowledges a server's start and stop, closes web sockets, and raises ValueError for any other scope."""
    lifespan = call(flags, {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}, type="lifespan")
    assert [message["type"] for message in lifespan.sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    assert call(flags, {"type": "websocket.connect"}, type="websocket").sent[0]["type"] == "websocket.close"
    with pytest.raises(ValueError, match="expected a scope of HTTP"):
        call(flags, type="smoke")


def test_loop_goes_on_while_a_validator_thinks(flags: dflag.FlagRegistry) -> None:
    """The app answers a request while a validator of another request runs."""
    proceed = threading.Event()
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def think(value: int) -> None:
        if value == 60:
            loop, thinking = loops[0]
            loop.call_soon_threadsafe(thinking.set)
            assert proceed.wait(20)

    rate = flags.dyn_int("rate", 50, validator=think)
    app = make_asgi_app(flags, authorize=bearer_token("t0ken", "alice"))

    async def main() -> tuple[int, int]:
        thinking = asyncio.Event()
        loops.append((asyncio.get_running_loop(), thinking))
        post = Exchange(*body(b'{"name": "rate", "value": "60"}'))
        scope = {"type": "http", "method": "POST", "path": "/set", "query_string": b"", "headers": TOKEN}
        task = asyncio.create_task(app(scope, post.receive, post.send))
        await asyncio.wait_for(thinking.wait(), 20)
        get = Exchange()
        try:
            await app({**scope, "method": "GET", "path": "/"}, get.receive, get.send)
            during = rate.get()
        finally:
            proceed.set()
        await task
        assert (get.status, post.status) == (200, 200)
        return during, rate.get()

    assert asyncio.run(main()) == (50, 60)
