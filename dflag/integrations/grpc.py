"""
One revision for a whole call of gRPC; the extra ``dflag[grpc]``.

Make the interceptor the server's first one, so that the handlers of the other interceptors are pinned as well:

>>> import dflag
>>> flags = dflag.FlagRegistry()
>>> interceptors = [PinInterceptor(flags)]  # for grpc.server(pool, interceptors=interceptors)

A server of ``grpc.aio`` takes an `AioPinInterceptor`.
"""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import grpc
import grpc.aio

from dflag.integrations._pins import (
    REVISION_HEADER,
    PinnedAsyncIterator,
    PinnedIterator,
    RequestPin,
    check_switch,
    store_to_pin,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from dflag._registry import RegistryLike

    Behavior: TypeAlias = Callable[[Any, Any], Any]
    """The function that answers a call. It receives the request, or an iterator over requests, and the context."""

__all__ = ["AioPinInterceptor", "PinInterceptor"]


def __dir__() -> list[str]:
    return __all__


_KEY: Final = REVISION_HEADER.lower()


class PinInterceptor(grpc.ServerInterceptor):  # type: ignore[misc]  # of type Any, as gRPC has no types
    """
    Pin each call of a server with threads to one revision, from its first request to its last response.

    All four kinds of calls are pinned, unary and streaming. Between two responses of a stream the server's own context
    has no pin. A stream that stays open for hours sees the revision that it began with.

    Args:
        registry: The registry, or a `dflag.Flags` class.
        revision_header: Whether the trailing metadata of a call contains the number of its revision, as
            ``x-config-revision``, in addition to the metadata that the method sets.

    Raises:
        ArgumentError: An argument has the wrong type.

    Thread safety: any thread.
    """

    def __init__(self, registry: RegistryLike, *, revision_header: bool = False) -> None:
        self._pinning: Final = _Pinning(registry, revision_header=revision_header)

    def intercept_service(self, continuation: Callable[[Any], Any], handler_call_details: Any) -> Any:
        """
        Return the handler of a call, wrapped so that it runs with a pin.
        """
        return _wrapped(continuation(handler_call_details), self._pinning.pinned)


class AioPinInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # as above
    """
    Pin each call of a ``grpc.aio`` server to one revision, from its first request to its last response.

    Like `PinInterceptor`, but for methods that are coroutines or asynchronous generators, and for plain functions,
    which the server runs on threads. Trailing metadata that a method passes to ``abort()``, or sets before ``abort()``,
    replaces the metadata of the revision. So does trailing metadata that a plain function sets.

    Args:
        registry: The registry, or a `dflag.Flags` class.
        revision_header: The same as for `PinInterceptor`.

    Raises:
        ArgumentError: An argument has the wrong type.

    Thread safety: any event loop.
    """

    def __init__(self, registry: RegistryLike, *, revision_header: bool = False) -> None:
        self._pinning: Final = _Pinning(registry, revision_header=revision_header)

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        """
        Return the handler of a call, wrapped so that it runs with a pin.
        """
        return _wrapped(await continuation(handler_call_details), self._pinning.pinned_by_kind)


def _wrapped(handler: Any, pinned: Callable[[Behavior, bool], Behavior]) -> Any:
    """
    Return a copy of a handler with its behavior pinned; None for None.
    """
    if handler is None:
        return None
    kind = f"{_word(handler.request_streaming)}_{_word(handler.response_streaming)}"
    make = getattr(grpc, f"{kind}_rpc_method_handler")
    return make(
        pinned(getattr(handler, kind), handler.response_streaming),
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )


def _word(streaming: object) -> str:
    return "stream" if streaming else "unary"


class _Pinning:
    """
    Wraps behaviors in functions of the same kind that run them with a pin.
    """

    def __init__(self, registry: RegistryLike, *, revision_header: bool) -> None:
        self._store: Final = store_to_pin(registry)
        check_switch("revision_header", revision_header)
        self._revision_header: Final = revision_header

    def pinned_by_kind(self, behavior: Behavior, streaming: bool) -> Behavior:  # noqa: FBT001 - as `_wrapped` calls it
        if inspect.isasyncgenfunction(behavior):
            return self._pinned_async_generator(behavior)
        if inspect.iscoroutinefunction(behavior):
            return self._pinned_coroutine(behavior)
        return self.pinned(behavior, streaming)

    def pinned(self, behavior: Behavior, streaming: bool) -> Behavior:  # noqa: FBT001 - as above
        return self._pinned_generator(behavior) if streaming else self._pinned_function(behavior)

    def _pinned_function(self, behavior: Behavior) -> Behavior:
        def answer(request: Any, context: Any) -> Any:
            with self._call(context) as pin:
                return pin.run(behavior, request, context)

        return answer

    def _pinned_generator(self, behavior: Behavior) -> Behavior:
        def answer(request: Any, context: Any) -> Iterator[Any]:
            with self._call(context) as pin:
                responses = pin.run(lambda: iter(behavior(request, context)))
                try:
                    yield from PinnedIterator(responses, pin)
                finally:
                    pin.run(getattr(responses, "close", _nothing))

        return answer

    def _pinned_coroutine(self, behavior: Behavior) -> Behavior:
        async def answer(request: Any, context: Any) -> Any:
            with self._call(context) as pin, pin:
                return await behavior(request, context)

        return answer

    def _pinned_async_generator(self, behavior: Behavior) -> Behavior:
        async def answer(request: Any, context: Any) -> AsyncIterator[Any]:
            with self._call(context) as pin:
                responses = behavior(request, context)
                try:
                    async for response in PinnedAsyncIterator(responses, pin):
                        yield response
                finally:
                    with pin:
                        await responses.aclose()

        return answer

    @contextmanager
    def _call(self, context: Any) -> Iterator[RequestPin]:
        """
        Yield the pin of a call, and close it when the call ends.
        """
        pin = RequestPin(self._store)
        self._say(pin, context)  # now, because some ways to end a call send the metadata from within the method
        try:
            yield pin
        finally:
            pin.close()
            if hasattr(context, "trailing_metadata"):
                self._say(pin, context)  # again, because the method may have set metadata of its own

    def _say(self, pin: RequestPin, context: Any) -> None:
        if self._revision_header:
            ours = (_KEY, str(pin.revision))
            # The context of a plain function of grpc.aio does not tell which metadata is set.
            others = tuple(getattr(context, "trailing_metadata", tuple)() or ())
            if ours not in others:
                context.set_trailing_metadata((*others, ours))


def _nothing() -> None:
    pass
