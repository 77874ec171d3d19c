"""
Requests of Starlette and FastAPI see one revision each, under the clients of their tests and under uvicorn.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import threading
from typing import TYPE_CHECKING, Any

import fastapi
import httpx
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient

import dflag
from dflag.integrations.asgi import PinMiddleware
from dflag.sources import MemorySource

from ._pins import REQUESTS, Pair, Storm, check_storm, check_unpinned
from ._waiting import DEADLINE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterator

    from starlette.requests import Request
    from starlette.websockets import WebSocket

    from dflag.integrations.asgi import App, Message, Receive, Scope, Send


@pytest.fixture(name="pair")
def _pair() -> Iterator[Pair]:
    """Yield two flags that are equal in each revision, and fail if a pin is left open."""
    yield Pair()
    check_unpinned()


def starlette(pair: Pair) -> App:
    """
    Return a Starlette app that commits a revision in the middle of each request.
    """

    async def coroutine(_request: Request) -> JSONResponse:
        before = pair.one.get()
        pair.swap()
        await asyncio.sleep(0)
        return JSONResponse([before, pair.two.get()])

    def on_a_thread(_request: Request) -> JSONResponse:
        before = pair.one.get()
        pair.swap()
        return JSONResponse([before, pair.two.get()])

    async def in_tasks(_request: Request) -> JSONResponse:
        before = pair.one.get()
        pair.swap()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(asyncio.to_thread(pair.two.get))
        return JSONResponse([before, task.result()])

    async def streamed(_request: Request) -> StreamingResponse:
        async def parts() -> AsyncIterator[str]:
            yield f"[{pair.one.get()}, "
            pair.swap()
            yield f"{pair.two.get()}]"

        return StreamingResponse(parts(), media_type="application/json")

    async def in_the_background(_request: Request) -> JSONResponse:
        def check() -> None:
            pair.swap()
            assert pair.two.get() == before

        before = pair.one.get()
        return JSONResponse([before, before], background=BackgroundTask(check))

    places = (coroutine, on_a_thread, in_tasks, streamed, in_the_background)
    return Starlette(routes=[Route(f"/{place.__name__}", place) for place in places])


def fast(pair: Pair) -> App:
    """
    Return a FastAPI app that commits a revision in the middle of each request.
    """
    app = fastapi.FastAPI()

    def swapped() -> Iterator[int]:
        before = pair.one.get()
        pair.swap()
        yield before
        assert pair.two.get() == before

    @app.get("/coroutine")
    async def coroutine(before: int = fastapi.Depends(swapped)) -> list[int]:  # noqa: FAST002 - without annotations
        return [before, pair.two.get()]

    @app.get("/on_a_thread")
    def on_a_thread(before: int = fastapi.Depends(swapped)) -> list[int]:  # noqa: FAST002 - as above
        return [before, pair.two.get()]

    return app


@contextlib.asynccontextmanager
async def client(app: App) -> AsyncIterator[httpx.AsyncClient]:
    """
    Yield a client that sends requests to an app on the running event loop.
    """
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as asking:
        yield asking


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (starlette, "coroutine"),
        (starlette, "on_a_thread"),
        (starlette, "in_tasks"),
        (starlette, "streamed"),
        (starlette, "in_the_background"),
        (fast, "coroutine"),
        (fast, "on_a_thread"),
    ],
)
def test_a_swap_is_seen_by_the_next_request(pair: Pair, make: Callable[[Pair], App], path: str) -> None:
    """A request keeps its revision when another is committed in its middle; the next request sees the new one."""

    async def ask() -> None:
        async with client(PinMiddleware(make(pair), pair.flags)) as asking:
            for number in range(3):
                assert (await asking.get(f"/{path}")).json() == [number, number]
                assert pair.one.get() == number + 1

    asyncio.run(ask())


def test_without_the_middleware_a_swap_is_seen(pair: Pair) -> None:
    """Without the middleware, a request sees a revision that is committed in its middle; other tests rely on this."""
    assert TestClient(starlette(pair)).get("/coroutine").json() == [0, 1]


def test_concurrent_requests_have_their_own_revisions(pair: Pair) -> None:
    """A request that waits keeps its revision while others see newer ones; code outside requests sees the newest."""
    seen: dict[str, list[int]] = {}

    async def main() -> None:
        entered = {name: asyncio.Event() for name in "abc"}
        released = {name: asyncio.Event() for name in "abc"}

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            name = scope["path"]
            seen[name] = [pair.one.get()]
            entered[name].set()
            await released[name].wait()
            seen[name].append(pair.two.get())

        pinned = PinMiddleware(app, pair.flags)
        tasks = {}
        for name in "abc":
            tasks[name] = asyncio.create_task(run(pinned, {"type": "http", "path": name}))
            await entered[name].wait()
            assert pair.swap() == pair.one.get()
        for name in "bca":
            released[name].set()
            await tasks[name]
            assert pair.one.get() == 3

    asyncio.run(main())
    assert seen == {"a": [0, 0], "b": [1, 1], "c": [2, 2]}


async def run(app: App, scope: Scope) -> list[Message]:
    """
    Run an app with a client that sends nothing, and return what the app sends.
    """
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


def test_an_exception_unpins(pair: Pair) -> None:
    """An app that raises leaves no pin in the task of its server."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("broken")

    async def main() -> None:
        with pytest.raises(RuntimeError, match="broken"):
            await run(PinMiddleware(app, pair.flags), {"type": "http"})
        assert pair.swap() == pair.one.get()
        check_unpinned()

    asyncio.run(main())


def test_a_cancelled_request_unpins(pair: Pair) -> None:
    """A request that is cancelled while it waits sees its own revision to the end, and leaves no pin."""
    seen: list[int] = []

    async def main() -> None:
        entered = asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            entered.set()
            try:
                await asyncio.Event().wait()
            finally:
                seen.append(pair.one.get())

        task = asyncio.create_task(run(PinMiddleware(app, pair.flags), {"type": "http"}))
        await entered.wait()
        pair.swap()
        task.cancel()
        await asyncio.wait([task])
        check_unpinned()

    asyncio.run(main())
    assert seen == [0]


def test_a_dropped_request_unpins(pair: Pair) -> None:
    """A request whose event loop has gone, and which is finalised in another context, leaves no pin and no warning."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    class Never:
        def __await__(self) -> Generator[None, None, None]:
            yield

    async def receive() -> Message:
        await Never()
        raise AssertionError("resumed")

    async def send(message: Message) -> None:
        raise AssertionError("sent")

    coroutine = PinMiddleware(app, pair.flags)({"type": "http"}, receive, send)
    contextvars.copy_context().run(coroutine.send, None)
    pair.swap()
    del coroutine
    gc.collect()
    check_unpinned()
    assert pair.one.get() == 1


def test_a_task_that_outlives_its_request_sees_live_values(pair: Pair) -> None:
    """A task that a request starts sees the request's revision until the request ends, and then the newest."""

    async def main() -> None:
        ended = asyncio.Event()
        seen: list[int] = []

        async def follow() -> None:
            seen.append(pair.one.get())
            await ended.wait()
            seen.append(pair.one.get())

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            pair.swap()
            scope["task"] = asyncio.create_task(follow())
            await asyncio.sleep(0)
            assert pair.flags.snapshot()[pair.one] == pair.live() == 1

        scope: Scope = {"type": "http"}
        await run(PinMiddleware(app, pair.flags), scope)
        ended.set()
        await scope["task"]
        assert seen == [0, 1]

    asyncio.run(main())


def test_a_request_that_begins_in_the_context_of_another_has_its_own_revision(pair: Pair) -> None:
    """
    A request that begins in the context of another has its own revision, but one within `pinned()` sees that pin.

    Under uvicorn, this happens on a connection where it waited for a body while a background task still ran.
    """
    seen: list[list[int]] = []

    async def answer(scope: Scope, _receive: Receive, _send: Send) -> None:
        before = pair.one.get()
        pair.swap()
        if scope["path"] == "/first":
            await asyncio.create_task(run(app, {"type": "http", "path": "/second"}))
        seen.append([before, pair.two.get()])

    async def between(scope: Scope, receive: Receive, send: Send) -> None:
        pair.swap()
        await PinMiddleware(answer, pair.flags)(scope, receive, send)

    app = PinMiddleware(between, pair.flags)
    asyncio.run(run(app, {"type": "http", "path": "/first"}))
    assert seen == [[2, 2], [0, 0]]
    with pair.flags.pinned({pair.one: -1, pair.two: -1}):
        asyncio.run(run(app, {"type": "http", "path": "/third"}))
    assert seen[2] == [-1, -1]


def test_pins_of_two_registries(pair: Pair) -> None:
    """Nested middlewares each pin their own registry."""
    other = Pair()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        pair.swap()
        other.swap()
        assert (pair.one.get(), other.one.get()) == (0, 0)

    asyncio.run(run(PinMiddleware(PinMiddleware(app, other.flags), pair.flags), {"type": "http"}))
    assert (pair.one.get(), other.one.get()) == (1, 1)


def test_a_class_of_flags(pair: Pair) -> None:
    """The middleware accepts a class of flags, whose `current()` is the same instance throughout a request."""

    class Settings(dflag.Flags):
        rate = dflag.dyn_int(50)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        before = Settings.current()
        Settings.rate.set(60)
        await asyncio.sleep(0)
        assert Settings.current() is before
        assert before.rate == 50

    asyncio.run(run(PinMiddleware(app, Settings), {"type": "http"}))
    assert Settings.current().rate == 60
    Settings.rate.reset()


@pytest.mark.untraced
def test_a_thousand_requests_in_a_storm(pair: Pair) -> None:
    """Of 1,000 requests that are all under way while revisions are committed, none sees two revisions."""

    async def main() -> list[tuple[int, ...]]:
        barrier = asyncio.Barrier(REQUESTS)

        async def handle(_request: Request) -> JSONResponse:
            seen = [pair.one.get()]
            await barrier.wait()
            for _ in range(3):
                seen.append(pair.two.get())
                await asyncio.sleep(0)
                seen.append(pair.one.get())
            return JSONResponse(seen)

        async with client(PinMiddleware(Starlette(routes=[Route("/", handle)]), pair.flags)) as asking:
            with Storm(pair):
                answers = await asyncio.gather(*(asking.get("/") for _ in range(REQUESTS)))
        return [tuple(answer.json()) for answer in answers]

    check_storm(asyncio.run(main()))


# --- WebSockets


@pytest.mark.parametrize("websockets", [True, False])
def test_a_websocket_connection(pair: Pair, websockets: bool) -> None:
    """A WebSocket connection sees one revision while it is open, but live values with websockets=False."""

    async def echo(websocket: WebSocket) -> None:
        await websocket.accept(headers=[(b"x-own", b"1")])
        for _ in range(2):
            await websocket.receive_text()
            await websocket.send_json([pair.one.get(), pair.two.get()])
        await websocket.close()

    app = Starlette(routes=[WebSocketRoute("/", echo)])
    pinned = PinMiddleware(app, pair.flags, websockets=websockets, revision_header=True)
    for connection in range(2):
        with TestClient(pinned).websocket_connect("/") as session:
            extra: Any = session.extra_headers
            headers = dict(extra)
            revision = pair.flags.snapshot().revision
            assert headers.get(b"x-config-revision") == (str(revision).encode() if websockets else None)
            assert headers[b"x-own"] == b"1"
            for step in range(2):
                pair.swap()
                session.send_text("?")
                now = 2 * connection + step + 1
                seen = 2 * connection if websockets else now
                assert session.receive_json() == [seen, seen]
            check = session.receive()
            assert check["type"] == "websocket.close"


# --- the header


@pytest.mark.parametrize("make", [starlette, fast])
def test_the_header_says_the_revision(pair: Pair, make: Callable[[Pair], App]) -> None:
    """A response has X-Config-Revision next to its own headers with revision_header=True, and lacks it by default."""
    pair.swap()
    pinned = TestClient(PinMiddleware(make(pair), pair.flags, revision_header=True))
    for _ in range(2):
        revision = pair.flags.snapshot().revision
        answer = pinned.get("/coroutine")
        assert answer.headers["X-Config-Revision"] == str(revision)
        assert answer.headers["Content-Type"] == "application/json"
    assert "X-Config-Revision" not in TestClient(PinMiddleware(make(pair), pair.flags)).get("/coroutine").headers


def test_the_header_where_the_app_sends_none(pair: Pair) -> None:
    """A start message without headers, which ASGI allows, gets the revision header; other messages stay the same."""
    body: Message = {"type": "http.response.body", "body": b""}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204})
        await send(body)

    start, rest = asyncio.run(run(PinMiddleware(app, pair.flags, revision_header=True), {"type": "http"}))
    assert start["headers"] == [(b"x-config-revision", str(pair.flags.snapshot().revision).encode())]
    assert rest is body


# --- the lifespan


def lifespan_app(pair: Pair, events: list[object]) -> App:
    """
    Return a Starlette app that adds to *events* the values that it sees when it starts and ends.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        pair.swap()
        events.append(("start", pair.two.get()))
        yield
        events.append(("end", pair.two.get()))

    return Starlette(lifespan=lifespan, routes=[Route("/", lambda _: JSONResponse(pair.one.get()))])


def test_the_lifespan_is_left_alone(pair: Pair) -> None:
    """Without an updater, the app's own startup and shutdown see live values."""
    events: list[object] = []
    with TestClient(PinMiddleware(lifespan_app(pair, events), pair.flags)) as asking:
        assert asking.get("/").json() == 1
        pair.swap()
    assert events == [("start", 1), ("end", 2)]


@pytest.mark.parametrize("own", ["with a lifespan", "raises", "returns"])
def test_the_updater_lives_as_long_as_the_app(pair: Pair, own: str) -> None:
    """An updater runs from before the app's startup to after its shutdown, at each start, also without a lifespan."""
    source = MemorySource({"one": "10"})
    updater = dflag.Updater(pair.flags, source)
    states: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        states.append(updater.status().state)
        yield
        states.append(updater.status().state)

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        if own == "returns" and scope["type"] == "lifespan":
            return
        assert scope["type"] == "http"
        await JSONResponse(pair.one.get())(scope, receive, send)

    with_lifespan = Starlette(lifespan=lifespan, routes=[Route("/", lambda _: JSONResponse(pair.one.get()))])
    app = PinMiddleware(with_lifespan if own == "with a lifespan" else inner, pair.flags, updater=updater)
    for start in range(2):
        with TestClient(app) as asking:
            assert updater.status().state == "running"
            assert asking.get("/").json() == 10 + start
            source.update({"one": str(11 + start)})
            assert updater.wait_for(lambda snap, now=11 + start: snap[pair.one] == now, DEADLINE_SECONDS)  # type: ignore[misc]  # mypy cannot infer lambdas with defaults
            assert asking.get("/").json() == 11 + start
        assert updater.status().state == "stopped"
    assert states == (["running"] * 4 if own == "with a lifespan" else [])


def test_an_updater_that_runs_already_is_stopped(pair: Pair) -> None:
    """An updater that already runs is accepted, and is stopped when the app ends."""
    updater = dflag.Updater.setup(pair.flags, MemorySource({"one": "1"}))
    with TestClient(PinMiddleware(starlette(pair), pair.flags, updater=updater)):
        assert updater.status().state == "running"
    assert updater.status().state == "stopped"


def test_a_start_that_is_given_up_leaves_no_updater_running(pair: Pair) -> None:
    """If the startup is cancelled while a thread still reads the sources, the updater is stopped in the end."""
    begun, end = threading.Event(), threading.Event()

    class Slow(MemorySource):
        def read(self) -> Any:
            begun.set()
            end.wait(DEADLINE_SECONDS)
            return super().read()

    updater = dflag.Updater(pair.flags, Slow({"one": "1"}))

    async def run() -> None:
        async def receive() -> Message:
            return {"type": "lifespan.startup"}

        app = PinMiddleware(lifespan_app(pair, []), pair.flags, updater=updater)
        task = asyncio.ensure_future(app({"type": "lifespan"}, receive, lambda _: asyncio.sleep(0)))
        await asyncio.to_thread(begun.wait, DEADLINE_SECONDS)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        end.set()
        await asyncio.get_running_loop().shutdown_default_executor()

    asyncio.run(run())
    assert updater.status().state == "stopped"


def messages(app: App) -> list[Message]:
    """
    Run the lifespan of an app, and return the messages that it sends to the server.
    """
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "lifespan.startup" if not sent else "lifespan.shutdown"}

    async def send(message: Message) -> None:
        sent.append(message)

    async def main() -> None:
        await app({"type": "lifespan"}, receive, send)

    asyncio.run(main())
    return sent


def test_bad_values_keep_the_app_from_starting(pair: Pair) -> None:
    """If the updater cannot start, the server gets startup.failed with the reason, and the app never starts."""
    updater = dflag.Updater(pair.flags, MemorySource({"one": "many"}))
    events: list[object] = []
    (failed,) = messages(PinMiddleware(lifespan_app(pair, events), pair.flags, updater=updater))
    assert failed["type"] == "lifespan.startup.failed"
    assert "flag 'one': expected an int, got 'many'" in failed["message"]
    assert not events
    assert updater.status().state == "new"


@pytest.mark.parametrize("when", ["startup", "shutdown"])
def test_an_app_that_fails_stops_the_updater(pair: Pair, when: str) -> None:
    """If the app's startup or shutdown fails, the server gets its message or exception, and the updater stops."""
    updater = dflag.Updater(pair.flags, MemorySource({}))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "lifespan.startup"
        if when == "shutdown":
            await send({"type": "lifespan.startup.complete"})
            assert (await receive())["type"] == "lifespan.shutdown"
        await send({"type": f"lifespan.{when}.failed", "message": "broken"})

    async def raising(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)
        raise RuntimeError("broken")

    sent = messages(PinMiddleware(app, pair.flags, updater=updater))
    assert sent[-1] == {"type": f"lifespan.{when}.failed", "message": "broken"}
    assert len(sent) == (1 if when == "startup" else 2)
    assert updater.status().state == "stopped"
    with pytest.raises(RuntimeError, match="broken"):
        messages(PinMiddleware(raising, pair.flags, updater=updater))
    assert updater.status().state == "stopped"


def test_the_server_hears_the_end_after_the_updater(pair: Pair) -> None:
    """The server gets shutdown.complete once, after the updater has stopped."""
    updater = dflag.Updater(pair.flags, MemorySource({}))
    sent: list[tuple[str, str]] = []

    async def receive() -> Message:
        return {"type": "lifespan.startup" if not sent else "lifespan.shutdown"}

    async def send(message: Message) -> None:
        sent.append((message["type"], updater.status().state))

    async def main() -> None:
        await PinMiddleware(Starlette(), pair.flags, updater=updater)({"type": "lifespan"}, receive, send)

    asyncio.run(main())
    assert sent == [("lifespan.startup.complete", "running"), ("lifespan.shutdown.complete", "stopped")]


# --- a real server


def test_a_client_that_leaves_unpins(pair: Pair) -> None:
    """Under uvicorn a client that goes away in the middle of a streamed response ends the request and its pin."""
    uvicorn: Any = pytest.importorskip("uvicorn")
    seen: list[int] = []

    class Server(uvicorn.Server):  # type: ignore[misc]  # of type Any, as it may not be installed
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.listening = asyncio.Event()

        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            self.listening.set()

    async def main() -> None:
        ended = asyncio.Event()

        async def handle(_request: Request) -> StreamingResponse:
            async def parts() -> AsyncIterator[str]:
                try:
                    while True:
                        seen.append(pair.one.get())
                        yield "x" * 1000
                        await asyncio.sleep(0)
                finally:
                    seen.append(pair.two.get())
                    ended.set()

            return StreamingResponse(parts())

        app = PinMiddleware(Starlette(routes=[Route("/", handle)]), pair.flags, revision_header=True)
        server = Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
        serving = asyncio.create_task(server.serve())
        await asyncio.wait_for(server.listening.wait(), DEADLINE_SECONDS)
        host, port = server.servers[0].sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert f"x-config-revision: {pair.flags.snapshot().revision}\r\n".encode() in head
        pair.swap()
        await reader.readexactly(5000)
        writer.transport.abort()
        await asyncio.wait_for(ended.wait(), DEADLINE_SECONDS)
        server.should_exit = True
        await serving

    thread = threading.Thread(target=lambda: asyncio.run(main()))  # a thread, where uvicorn handles no signals
    thread.start()
    thread.join(3 * DEADLINE_SECONDS)
    assert len(seen) > 2
    assert set(seen) == {0}


# --- arguments


@pytest.mark.parametrize(
    ("registry", "options", "message"),
    [
        (None, {}, "expected registry as"),
        ({}, {}, "expected registry as"),
        (..., {"websockets": 1}, "expected websockets as True or False, got 1"),
        (..., {"revision_header": "yes"}, "expected revision_header as True or False, got 'yes'"),
        (..., {"updater": "/etc/shop"}, "expected updater as an Updater, got '/etc/shop'"),
    ],
)
def test_wrong_arguments(pair: Pair, registry: Any, options: dict[str, Any], message: str) -> None:
    """`PinMiddleware` raises DefinitionError for an argument of a wrong type."""
    with pytest.raises(dflag.DefinitionError, match=message):
        PinMiddleware(starlette(pair), pair.flags if registry is ... else registry, **options)
