"""
gRPC calls of all four kinds see one revision each, on threads and on an event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio
import pytest

import dflag
from dflag._snapshot import open_pins
from dflag.integrations.grpc import AioPinInterceptor, PinInterceptor

from ._pins import REQUESTS, Pair, Storm, check_storm, check_unpinned
from ._waiting import DEADLINE_SECONDS, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

pytestmark = pytest.mark.once

KINDS: Final = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
SERVICE: Final = "test.Pair"
THREADS: Final = 20


@pytest.fixture(name="pair")
def _pair() -> Iterator[Pair]:
    """Yield two flags that are equal in each revision, and fail if a pin is left open."""
    pair = Pair()
    yield pair
    assert eventually(lambda: not open_pins)  # a call may be over for its client before it is for the server


@pytest.fixture(scope="module", autouse=True)
def _warmed_up() -> None:
    """Make the library open the resources that it never closes, so that they are not a leak of the first test."""
    with served(Pair(), {}) as channel:
        grpc.channel_ready_future(channel).result(DEADLINE_SECONDS)
    asyncio.run(_warm_up_aio())


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Disable the log of gRPC, whose records would keep the server of a call that raised alive."""
    caplog.set_level(logging.CRITICAL + 1, "grpc")


async def _warm_up_aio() -> None:
    async with aio_served(Pair(), {}) as channel:
        await channel.channel_ready()


def _handlers(methods: dict[str, Callable[..., Any]]) -> tuple[grpc.GenericRpcHandler, ...]:
    """
    Return the handlers of a service with these methods, whose names begin with their kinds; messages are bytes.
    """
    handlers = {
        name: getattr(grpc, f"{'_'.join(name.split('_')[:2])}_rpc_method_handler")(method)
        for name, method in methods.items()
    }
    return (grpc.method_handlers_generic_handler(SERVICE, handlers),)


@contextlib.contextmanager
def served(
    pair: Pair, methods: dict[str, Callable[..., Any]], *more: grpc.ServerInterceptor, **options: bool
) -> Iterator[grpc.Channel]:
    """
    Serve methods on threads, and yield a channel to them.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        server = grpc.server(pool, interceptors=[PinInterceptor(pair.flags, **options), *more])
        server.add_generic_rpc_handlers(_handlers(methods))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield channel
        finally:
            server.stop(None).wait(DEADLINE_SECONDS)


@contextlib.asynccontextmanager
async def aio_served(
    pair: Pair, methods: dict[str, Callable[..., Any]], **options: bool
) -> AsyncIterator[grpc.aio.Channel]:
    """
    Serve methods on the running event loop, and yield a channel to them.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        server = grpc.aio.server(pool, interceptors=[AioPinInterceptor(pair.flags, **options)])
        server.add_generic_rpc_handlers(_handlers(methods))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield channel
        finally:
            await server.stop(None)


def method(channel: Any, name: str) -> Any:
    """
    Return a callable that calls a method through a channel of either kind.
    """
    kind = "_".join(name.split("_")[:2])
    return getattr(channel, kind)(f"/{SERVICE}/{name}")


def numbers(*messages: bytes) -> list[int]:
    """
    Return the numbers in the responses of the methods of these tests.
    """
    return [int(number) for message in messages for number in message.split()]


def ask(channel: grpc.Channel, name: str) -> list[int]:
    """
    Call a method, and return all numbers that it answers.
    """
    answer = method(channel, name)(iter([b""] * 2) if name.startswith("stream") else b"", timeout=DEADLINE_SECONDS)
    return numbers(answer) if isinstance(answer, bytes) else numbers(*answer)


async def ask_aio(channel: grpc.aio.Channel, name: str) -> list[int]:
    """
    Call a method, and return all numbers that it answers.
    """
    call = method(channel, name)(iter([b""] * 2) if name.startswith("stream") else b"", timeout=DEADLINE_SECONDS)
    return numbers(*[message async for message in call]) if "_stream" in name else numbers(await call)


def swapping(pair: Pair) -> dict[str, Callable[..., Any]]:
    """
    Return methods of each kind for threads, each of which commits a revision in its middle.
    """

    def unary_unary(request: bytes, _context: Any) -> bytes:
        before = pair.one.get()
        pair.swap()
        return b"%d %d" % (before, pair.two.get())

    def unary_stream(request: bytes, _context: Any) -> Iterator[bytes]:
        yield b"%d" % pair.one.get()
        pair.swap()
        yield b"%d" % pair.two.get()

    def stream_unary(requests: Iterator[bytes], _context: Any) -> bytes:
        seen = [b"%d" % pair.one.get() for _ in requests]
        pair.swap()
        return b" ".join([*seen, b"%d" % pair.two.get()])

    def stream_stream(requests: Iterator[bytes], _context: Any) -> Iterator[bytes]:
        for _ in requests:
            yield b"%d" % pair.one.get()
        pair.swap()
        yield b"%d" % pair.two.get()

    def unary_stream_list(request: bytes, _context: Any) -> list[bytes]:
        before = b"%d" % pair.one.get()
        pair.swap()
        return [before, b"%d" % pair.two.get()]

    made = (unary_unary, unary_stream, stream_unary, stream_stream, unary_stream_list)
    return {each.__name__: each for each in made}


def aio_swapping(pair: Pair) -> dict[str, Callable[..., Any]]:
    """
    Return methods of each kind for an event loop, each of which commits a revision in its middle.
    """

    async def unary_unary(request: bytes, _context: Any) -> bytes:
        before = pair.one.get()
        pair.swap()
        await asyncio.sleep(0)
        return b"%d %d" % (before, pair.two.get())

    async def unary_stream(request: bytes, _context: Any) -> AsyncIterator[bytes]:
        yield b"%d" % pair.one.get()
        pair.swap()
        await asyncio.sleep(0)
        yield b"%d" % pair.two.get()

    async def stream_unary(requests: AsyncIterator[bytes], _context: Any) -> bytes:
        seen = [b"%d" % pair.one.get() async for _ in requests]
        pair.swap()
        return b" ".join([*seen, b"%d" % pair.two.get()])

    async def stream_stream(requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
        async for _ in requests:
            yield b"%d" % pair.one.get()
        pair.swap()
        yield b"%d" % pair.two.get()

    async def unary_stream_written(request: bytes, context: Any) -> None:
        await context.write(b"%d" % pair.one.get())
        pair.swap()
        await context.write(b"%d" % pair.two.get())

    on_threads = swapping(pair)
    made = (unary_unary, unary_stream, stream_unary, stream_stream, unary_stream_written)
    return {
        **{each.__name__: each for each in made},
        "unary_unary_on_a_thread": on_threads["unary_unary"],
        "unary_stream_on_a_thread": on_threads["unary_stream"],
    }


@pytest.mark.parametrize("name", [*KINDS, "unary_stream_list"])
def test_a_swap_is_seen_by_the_next_call(pair: Pair, name: str) -> None:
    """On threads, a call keeps its revision when another is committed; the next call sees the new one."""
    with served(pair, swapping(pair)) as channel:
        for number in range(3):
            assert set(ask(channel, name)) == {number}
            assert pair.one.get() == number + 1


@pytest.mark.parametrize(
    "name", [*KINDS, "unary_stream_written", "unary_unary_on_a_thread", "unary_stream_on_a_thread"]
)
def test_a_swap_is_seen_by_the_next_call_of_an_event_loop(pair: Pair, name: str) -> None:
    """On an event loop, a call keeps its revision when another is committed; the next call sees the new one."""

    async def main() -> None:
        async with aio_served(pair, aio_swapping(pair)) as channel:
            for number in range(3):
                assert set(await ask_aio(channel, name)) == {number}
                assert pair.one.get() == number + 1

    asyncio.run(main())


class Noting(grpc.ServerInterceptor):  # type: ignore[misc]  # of type Any, as gRPC has no types
    """
    An interceptor that notes the values that it reads between the responses of a stream.
    """

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.inside: list[int] = []
        self.outside: list[int] = []

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        behavior = continuation(details).unary_stream

        def inside(request: bytes, context: Any) -> Iterator[bytes]:
            for response in behavior(request, context):
                self.inside.append(self.pair.one.get())
                yield response

        return grpc.unary_stream_rpc_method_handler(inside)


def test_interceptors_behind_it_are_pinned(pair: Pair) -> None:
    """An interceptor after the pinning one sees the revision of the call, also between responses."""
    noting = Noting(pair)
    with served(pair, swapping(pair), noting) as channel:
        assert ask(channel, "unary_stream") == [0, 0]
    assert noting.inside == [0, 0]


def test_between_two_responses_the_server_is_not_pinned(pair: Pair) -> None:
    """Code that iterates over a stream of responses sees the newest revision between them, in the same context."""
    handler = grpc.unary_stream_rpc_method_handler(swapping(pair)["unary_stream"])
    pinned = PinInterceptor(pair.flags).intercept_service(lambda _details: handler, None).unary_stream
    responses = pinned(b"", None)
    assert next(responses) == b"0"
    pair.swap()
    assert pair.one.get() == 1
    assert [*responses] == [b"0"]
    assert pair.one.get() == 2

    async def main() -> None:
        aio_handler = grpc.unary_stream_rpc_method_handler(aio_swapping(pair)["unary_stream"])

        async def continuation(_details: object) -> Any:
            return aio_handler

        wrapped = await AioPinInterceptor(pair.flags).intercept_service(continuation, None)
        responses = wrapped.unary_stream(b"", None)
        assert await anext(responses) == b"2"
        pair.swap()
        assert pair.one.get() == 3
        assert [each async for each in responses] == [b"2"]
        assert pair.one.get() == 4
        dropped = wrapped.unary_stream(b"", None)
        await anext(dropped)
        await dropped.aclose()
        check_unpinned()

    asyncio.run(main())


def test_concurrent_calls_have_their_own_revisions(pair: Pair) -> None:
    """A call that waits keeps its revision while another begins, ends and sees a newer one."""
    entered, released = threading.Event(), threading.Event()

    def unary_unary(request: bytes, _context: Any) -> bytes:
        before = pair.one.get()
        if request:
            entered.set()
            assert released.wait(DEADLINE_SECONDS)
        return b"%d %d" % (before, pair.two.get())

    with served(pair, {"unary_unary": unary_unary}) as channel:
        waiting = method(channel, "unary_unary").future(b"wait", timeout=DEADLINE_SECONDS)
        assert entered.wait(DEADLINE_SECONDS)
        pair.swap()
        assert ask(channel, "unary_unary") == [1, 1]
        released.set()
        assert numbers(waiting.result()) == [0, 0]


# --- calls that end early


@pytest.mark.parametrize("way", ["raises", "aborts"])
@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream"])
def test_a_call_that_fails_unpins(pair: Pair, kind: str, way: str) -> None:
    """A call that raises or aborts leaves no pin, and still sends its revision, next to its own metadata."""

    def unary_unary(request: bytes, context: Any) -> bytes:
        context.set_trailing_metadata((("own", "1"),))
        pair.swap()
        if way == "raises":
            raise RuntimeError(str(pair.one.get()))
        context.abort(grpc.StatusCode.ABORTED, str(pair.one.get()))
        raise AssertionError("never reached")

    def unary_stream(request: bytes, context: Any) -> Iterator[bytes]:
        yield b""
        yield unary_unary(request, context)

    with served(pair, {each.__name__: each for each in (unary_unary, unary_stream)}, revision_header=True) as channel:
        revision = pair.flags.snapshot().revision
        with pytest.raises(grpc.RpcError, match="0") as caught:
            ask(channel, kind)
        metadata = dict(caught.value.trailing_metadata())
        assert (metadata["own"], metadata["x-config-revision"]) == ("1", str(revision))
    assert eventually(lambda: not open_pins)


@pytest.mark.parametrize("way", ["raises", "aborts"])
@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream"])
def test_a_call_of_an_event_loop_that_fails_unpins(pair: Pair, kind: str, way: str) -> None:
    """On an event loop, a call that raises or aborts leaves no pin, and still sends its revision."""

    async def unary_unary(request: bytes, context: Any) -> bytes:
        pair.swap()
        if way == "raises":
            raise RuntimeError(str(pair.one.get()))
        await context.abort(grpc.StatusCode.ABORTED, str(pair.one.get()))
        raise AssertionError("never reached")

    async def unary_stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b""
        yield await unary_unary(request, context)

    async def main() -> None:
        methods = {each.__name__: each for each in (unary_unary, unary_stream)}
        async with aio_served(pair, methods, revision_header=True) as channel:
            revision = pair.flags.snapshot().revision
            with pytest.raises(grpc.RpcError, match="0") as caught:
                await ask_aio(channel, kind)
            assert dict(caught.value.trailing_metadata())["x-config-revision"] == str(revision)

    asyncio.run(main())
    assert eventually(lambda: not open_pins)


def test_a_cancelled_call_unpins(pair: Pair) -> None:
    """A stream whose client cancels the call sees its revision to the end, and leaves no pin."""
    seen: list[int] = []
    ended = threading.Event()

    def unary_stream(request: bytes, context: Any) -> Iterator[bytes]:
        try:
            while True:
                seen.append(pair.one.get())
                yield b"x" * 1000
        finally:
            seen.append(pair.two.get())
            ended.set()

    with served(pair, {"unary_stream": unary_stream}) as channel:
        call = method(channel, "unary_stream")(b"", timeout=DEADLINE_SECONDS)
        next(call)
        pair.swap()
        next(call)
        call.cancel()
        assert ended.wait(DEADLINE_SECONDS)
        assert eventually(lambda: not open_pins)
    assert set(seen) == {0}


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream"])
def test_a_cancelled_call_of_an_event_loop_unpins(pair: Pair, kind: str) -> None:
    """A call that its client cancels while it waits sees its revision to the end, and leaves no pin."""
    seen: list[int] = []

    async def main() -> None:
        entered, ended = asyncio.Event(), asyncio.Event()

        async def unary_unary(request: bytes, _context: Any) -> bytes:
            entered.set()
            try:
                await asyncio.Event().wait()
            finally:
                seen.append(pair.one.get())
                ended.set()
            return b""

        async def unary_stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
            yield await unary_unary(request, context)

        async with aio_served(pair, {each.__name__: each for each in (unary_unary, unary_stream)}) as channel:
            call = method(channel, kind)(b"", timeout=DEADLINE_SECONDS)
            asking = asyncio.ensure_future(anext(aiter(call)) if kind == "unary_stream" else call)
            await asyncio.wait_for(entered.wait(), DEADLINE_SECONDS)
            pair.swap()
            call.cancel()
            await asyncio.wait_for(ended.wait(), DEADLINE_SECONDS)
            with pytest.raises(asyncio.CancelledError):
                await asking

    asyncio.run(main())
    assert seen == [0]


# --- the header


@pytest.mark.parametrize("kind", KINDS)
def test_the_trailing_metadata_say_the_revision(pair: Pair, kind: str) -> None:
    """With revision_header=True trailing metadata have the revision, on threads and on a loop; False leaves it out."""

    def said(metadata: Any) -> str | None:
        return dict(metadata or ()).get("x-config-revision")

    def arguments() -> Any:
        return iter([b""]) if kind.startswith("stream") else b""

    for switch in (True, False):
        with served(pair, swapping(pair), revision_header=switch) as channel:
            revision = pair.flags.snapshot().revision
            if kind.endswith("stream"):
                call = method(channel, kind)(arguments(), timeout=DEADLINE_SECONDS)
                list(call)
            else:
                _, call = method(channel, kind).with_call(arguments(), timeout=DEADLINE_SECONDS)
            assert said(call.trailing_metadata()) == (str(revision) if switch else None)

    async def main(switch: bool) -> None:
        async with aio_served(pair, aio_swapping(pair), revision_header=switch) as channel:
            revision = pair.flags.snapshot().revision
            call = method(channel, kind)(arguments(), timeout=DEADLINE_SECONDS)
            if kind.endswith("stream"):
                assert [each async for each in call]
            else:
                await call
            assert said(await call.trailing_metadata()) == (str(revision) if switch else None)

    for switch in (True, False):
        asyncio.run(main(switch))


@pytest.mark.parametrize("name", ["unary_unary_on_a_thread", "unary_stream_on_a_thread", "unary_unary_setting"])
def test_a_plain_function_of_an_event_loop_says_the_revision(pair: Pair, name: str) -> None:
    """A plain function on an event loop sends its revision, but only its own trailing metadata if it sets any."""

    def unary_unary_setting(request: bytes, context: Any) -> bytes:
        context.set_trailing_metadata((("mine", "1"),))
        return b"0"

    async def main() -> None:
        methods = {**aio_swapping(pair), "unary_unary_setting": unary_unary_setting}
        async with aio_served(pair, methods, revision_header=True) as channel:
            revision = pair.flags.snapshot().revision
            call = method(channel, name)(b"", timeout=DEADLINE_SECONDS)
            assert [each async for each in call] if "_stream" in name else await call
            own = name == "unary_unary_setting"
            said = {"mine": "1"} if own else {"x-config-revision": str(revision)}
            assert dict(await call.trailing_metadata()) == said

    asyncio.run(main())


def test_an_unknown_method_stays_unknown(pair: Pair) -> None:
    """A method that no service has is answered with UNIMPLEMENTED, as without the interceptors."""
    with served(pair, {}) as channel, pytest.raises(grpc.RpcError) as caught:
        ask(channel, "unary_unary")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED

    async def main() -> None:
        async with aio_served(pair, {}) as channel:
            with pytest.raises(grpc.RpcError) as caught:
                await ask_aio(channel, "unary_unary")
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED

    asyncio.run(main())


# --- many calls


@pytest.mark.untraced
def test_a_thousand_calls_in_a_storm(pair: Pair) -> None:
    """Of 1,000 calls that are all sent while revisions are committed, none sees two revisions."""

    def unary_stream(request: bytes, _context: Any) -> Iterator[bytes]:
        for _ in range(3):
            yield b"%d" % pair.one.get()
            yield b"%d" % pair.two.get()

    with served(pair, {"unary_stream": unary_stream}) as channel, Storm(pair):
        calls = [method(channel, "unary_stream")(b"", timeout=6 * DEADLINE_SECONDS) for _ in range(REQUESTS)]
        answers = [tuple(numbers(*call)) for call in calls]
    assert eventually(lambda: not open_pins)
    check_storm(answers)


@pytest.mark.untraced
def test_a_thousand_calls_of_an_event_loop_in_a_storm(pair: Pair) -> None:
    """On an event loop, none of 1,000 calls that are under way while revisions are committed sees two revisions."""

    async def main() -> list[tuple[int, ...]]:
        barrier = asyncio.Barrier(REQUESTS)

        async def unary_unary(request: bytes, _context: Any) -> bytes:
            seen = [pair.one.get()]
            await barrier.wait()
            seen.append(pair.two.get())
            await asyncio.sleep(0)
            return b"%d %d %d" % (*seen, pair.one.get())

        async def one_call(channel: grpc.aio.Channel) -> bytes:
            answering: Awaitable[bytes] = method(channel, "unary_unary")(b"", timeout=6 * DEADLINE_SECONDS)
            return await answering

        async with aio_served(pair, {"unary_unary": unary_unary}) as channel:
            with Storm(pair):
                answers = await asyncio.gather(*(one_call(channel) for _ in range(REQUESTS)))
        return [tuple(numbers(answer)) for answer in answers]

    check_storm(asyncio.run(main()))


@pytest.mark.parametrize("interceptor", [PinInterceptor, AioPinInterceptor])
@pytest.mark.parametrize(
    ("registry", "options", "message"),
    [(None, {}, "expected registry as"), (..., {"revision_header": 1}, "expected revision_header as True or False")],
)
def test_wrong_arguments(
    pair: Pair, interceptor: type[Any], registry: Any, options: dict[str, Any], message: str
) -> None:
    """Both interceptors raise DefinitionError for an argument of a wrong type."""
    with pytest.raises(dflag.DefinitionError, match=message):
        interceptor(pair.flags if registry is ... else registry, **options)
