"""
One revision for the whole of a request, whatever framework runs it.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, Generic, ParamSpec, TypeVar, final

from dflag._flags import close_pin, renew_slow_reads
from dflag._fork import ForkFollower, follow_forks
from dflag._registry import make_pin, registry_of, store_of_registry
from dflag._snapshot import innermost_pin, open_pins, reset_pin, set_pin
from dflag.errors import check_argument

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from contextvars import Token

    from dflag._registry import RegistryLike
    from dflag._snapshot import Pin
    from dflag._store import Store

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

REVISION_HEADER: Final = "X-Config-Revision"
"""The header of a response that says which revision of the process answered."""


class _Requests(ForkFollower):
    """
    The open pins of requests, all of which end in a forked child: it answers none of the requests.

    A pool of processes that a request starts would see the revision of that request for ever.
    """

    def __init__(self) -> None:
        self.pins: Final[set[Pin]] = set()
        follow_forks(self)

    def is_active(self) -> bool:
        return bool(self.pins)

    def after_fork_in_child(self) -> None:
        while self.pins:
            self.pins.pop().close()  # without the lock that `close_pin` takes, which is made anew here
        renew_slow_reads()


_requests: Final = _Requests()


@final
class RequestPin:
    """
    The revision that one request sees: made when it begins, and held until `close`.

    The code of a request may run in several calls, between which its server does other work in the same context.
    So the pin is set for the length of a ``with`` block or of `run`, as many times as there are calls.

    A pin that nobody closes ends with the object, so that a server that drops a response holds nothing for ever. It
    ends in a child that is forked meanwhile, too.

    Args:
        store: Holds the values.
        within_request: Whether a request whose pin this context sees is one that this one is part of. If not, its
            server has begun this one in the context of another, and the pin is not for it.

    Thread safety: one thread at a time, each call in any of them.
    """

    __slots__ = ("_pin", "_token", "revision")

    def __init__(self, store: Store, *, within_request: bool = True) -> None:
        pin = make_pin(store, nested=within_request or innermost_pin() not in _requests.pins)
        _requests.pins.add(pin)
        self._pin: Final = pin
        self._token: Token[Pin] | None = None
        self.revision: Final = pin.snapshot.revision

    def __enter__(self) -> None:
        self._token = set_pin(self._pin)

    def __exit__(self, *_: object) -> None:
        token, self._token = self._token, None
        if token is not None:
            # A coroutine that was dropped is closed in another context than it ran in, where no pin was set.
            with contextlib.suppress(ValueError):
                reset_pin(token)

    def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """
        Call *function* with the pin set.
        """
        with self:
            return function(*args, **kwargs)

    def close(self) -> None:
        """
        Let what still runs of the request see live values. Idempotent.
        """
        _requests.pins.discard(self._pin)
        if self._pin in open_pins:
            close_pin(self._pin)

    __del__ = close


class PinnedIterator(Generic[T]):
    """
    What an iterable gives, each item made with a pin set, which is not set between two items.
    """

    def __init__(self, items: Iterable[T], pin: RequestPin) -> None:
        self._items: Final = items
        self._pin: Final = pin
        self._iterator: Iterator[T] | None = None

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._iterator is None:
            self._iterator = self._pin.run(iter, self._items)
        return self._pin.run(next, self._iterator)


class PinnedAsyncIterator(Generic[T]):
    """
    What an asynchronous iterator gives, as `PinnedIterator` does.
    """

    def __init__(self, items: AsyncIterator[T], pin: RequestPin) -> None:
        self._items: Final = items
        self._pin: Final = pin

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        with self._pin:
            return await anext(self._items)


def store_to_pin(registry: RegistryLike) -> Store:
    """
    Return the store of which requests are to see one revision each.

    Raises:
        ArgumentError: *registry* is of another type.
    """
    return store_of_registry(registry_of(registry))


def check_switch(name: str, given: object) -> None:
    """
    Raise `ArgumentError` unless an option is True or False.
    """
    check_argument(name, given, bool, "True or False")
