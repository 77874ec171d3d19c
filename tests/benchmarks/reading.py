"""
What a request pays: ``get()``, a pin, a snapshot.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import enum
import itertools
import statistics
import timeit
from typing import TYPE_CHECKING

import dflag
from dflag.integrations.asgi import PinMiddleware

from ._measure import Report, Result, interleaved
from ._reads import AGAINST, Plain, calls, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dflag.integrations.asgi import App, Message, Receive, Scope, Send

CALLS = 5_000
ROUNDS = 201
FEW, MANY = 10, 10_000
REGISTRIES = 10
"""Enough registries that the cost of the clock is small compared with one snapshot of each."""
GET_LIMIT, PINNED_LIMIT, SNAPSHOT_LIMIT = 1.25, 1.9, 10.0
REQUEST_SECONDS = 6e-6
"""How many seconds the pin may add to a request."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """
    The value of a JSON flag with a model.
    """

    depth: int = 50


class Colour(enum.Enum):
    """
    The value of an enum flag.
    """

    RED = 1


DECLARED: dict[str, tuple[str, object, dict[str, object]]] = {
    "bool": ("bool", True, {}),
    "int": ("int", 50, {}),
    "float": ("float", 0.5, {}),
    "string": ("string", "text", {}),
    "duration": ("duration", datetime.timedelta(seconds=2), {}),
    "bytes": ("bytes", b"bytes", {}),
    "enum": ("enum", Colour.RED, {}),
    "list": ("string_list", ("a", "b"), {}),
    "set": ("string_set", frozenset({"a", "b"}), {}),
    "json": ("json", {"mode": "allow"}, {}),
    "model": ("json", Limits(), {"type": Limits}),
    "map": ("map", {}, {"keys": r"queue\.(.+)\.depth", "of": "int"}),
}
"""
For each kind its method, with a default and options.
"""


def run() -> Report:
    """
    Measure the calls that readers make.
    """
    return Report([_kinds(), *_pins(), *_snapshots(), _request()])


def _kinds() -> Result:
    """
    Read a flag of each kind, static and dynamic; the slowest one counts.
    """
    flags = declare()
    # A baseline for each: otherwise a short slowdown of the machine would be attributed to one kind.
    sides = [(calls("flag.get()", {"flag": flag}, CALLS), plain(CALLS)) for flag in flags.values()]
    medians = _medians([side for pair in sides for side in pair])
    seconds = dict(zip(flags, zip(medians[::2], medians[1::2], strict=True), strict=True))
    slowest = max(seconds, key=lambda name: seconds[name][0] / seconds[name][1])
    value, base = seconds[slowest]
    return Result(
        name="get(), the slowest kind",
        value=value,
        base=base,
        against=AGAINST,
        limit=GET_LIMIT,
        note=f"{slowest}, of {len(flags)}",
        detail={name: taken for name, (taken, _) in seconds.items()},
    )


def declare() -> dict[str, dflag.Flag[object]]:
    """
    Declare a flag of each kind, static and dynamic.
    """
    registry = dflag.FlagRegistry()
    return {
        f"{prefix}{kind}": getattr(registry, f"{prefix}{method}")(f"{prefix}{kind}", default, **options)
        for kind, (method, default, options) in DECLARED.items()
        for prefix in ("", "dyn_")
    }


def _pins() -> list[Result]:
    flags = _registry(1000)
    sides = [calls("flag.get()", {"flag": flags["flag0"]}, CALLS), plain(CALLS)]
    got, base = _medians(sides)
    with flags.pinned():
        pinned, pinned_base = _medians(sides)
    after, after_base = _medians(sides)
    return [
        Result(name="get()", value=got, base=base, against=AGAINST, limit=GET_LIMIT),
        Result(name="get() inside pinned()", value=pinned, base=pinned_base, against=AGAINST, limit=PINNED_LIMIT),
        Result(name="get() after a pin", value=after, base=after_base, against=AGAINST, limit=GET_LIMIT),
    ]


def _request() -> Result:
    """
    Run an ASGI app that does nothing, with and without a pin; the difference counts.
    """

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        pass

    async def receive() -> Message:
        return {}

    async def send(_message: Message) -> None:
        pass

    def requests(app: App) -> Callable[[], None]:
        def run() -> None:
            for _ in range(CALLS):
                with contextlib.suppress(StopIteration):  # an event loop would cost more than the request
                    app({"type": "http"}, receive, send).__await__().send(None)

        return run

    flags = _registry(1000)
    pinned, plain_request = _medians([requests(PinMiddleware(app, flags)), requests(app)])
    return Result(name="what a pin adds to a request under ASGI", value=pinned - plain_request, limit=REQUEST_SECONDS)


def _snapshots() -> list[Result]:
    """
    Take snapshots of few flags and of many flags, which should cost the same.
    """
    few, many = _registries(FEW), _registries(MANY)
    sides = [calls("take()", {"take": flags[0].snapshot}, CALLS) for flags in (few, many)]
    *repeated, base = _medians([*sides, plain(CALLS)])
    first = [_after_a_change(flags) for flags in (few, many)]
    results = [
        Result(name=f"snapshot() of {count:,} flags", value=taken, base=base, against=AGAINST, limit=SNAPSHOT_LIMIT)
        for count, taken in zip((FEW, MANY), repeated, strict=True)
    ]
    results += [
        Result(
            name=f"snapshot() of {count:,} flags, the first after a change",
            value=taken,
            base=first_base,
            against=AGAINST,
            limit=SNAPSHOT_LIMIT,
        )
        for count, (taken, first_base) in zip((FEW, MANY), first, strict=True)
    ]
    return results


def _after_a_change(registries: Sequence[dflag.FlagRegistry]) -> list[float]:
    """
    Return the seconds of the first snapshot after a change, and of the baseline with equally cold caches.
    """
    takes = [flags.snapshot for flags in registries]
    timers = [
        timeit.Timer("for take in takes: take()", globals={"takes": side})
        for side in (takes, [Plain(50).get for _ in registries])
    ]
    values = itertools.count(1)
    times: list[list[float]] = [[], []]
    for number in range(-2, ROUNDS):
        for index in (0, 1) if number % 2 else (1, 0):
            for flags in registries:
                flags["flag0"].set(next(values))
            seconds = timers[index].timeit(1)
            if number >= 0:
                times[index].append(seconds / len(registries))
    return [statistics.median(taken) for taken in times]


def _registries(count: int) -> list[dflag.FlagRegistry]:
    return [_registry(count) for _ in range(REGISTRIES)]


def _registry(count: int) -> dflag.FlagRegistry:
    flags = dflag.FlagRegistry()
    for number in range(count):
        flags.dyn_int(f"flag{number}", number)
    return flags


def _medians(sides: Sequence[Callable[[], object]]) -> list[float]:
    """
    Return the median seconds of one call of each side; the sides run in turn.
    """
    return [seconds / CALLS for seconds in interleaved(*sides, rounds=ROUNDS)]
