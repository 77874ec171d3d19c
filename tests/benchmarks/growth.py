"""
How time and memory grow with the number of flags.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import dflag

from ._files import publish, read_raw, rewrite
from ._fit import exponent
from ._measure import Plot, Report, Result, interleaved
from ._memory import traced
from ._reads import Plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROUNDS = {10: 41, 100: 31, 1000: 15, 10_000: 7, 100_000: 3}
"""How often each number of flags is measured."""
FITTED_FROM = 1000
"""With fewer flags, constant costs dominate a measurement."""
CALLS = 1000
"""How often one measurement calls an operation that takes microseconds."""

CONSTANT, LINEAR = 0.15, 1.2
"""
Limits of the exponents.

Sorting as part of the work raises the exponent from 1 to 1.11 for these sizes; the rest is for the processor's caches.
"""

LIMITS = {
    "declare": LINEAR,
    "initialize()": LINEAR,
    "refresh(), one changed": LINEAR,
    "refresh(), none changed": LINEAR,
    "set()": LINEAR,
    "checksum()": LINEAR,
    "status()": CONSTANT,
    "pinned()": CONSTANT,
    "snapshot()": CONSTANT,
    "get()": CONSTANT,
}
AFTER_SET, PLAIN = "snapshot() right after a set()", "a method that returns a slot"
"""
A set() with so many flags empties the processor's caches, so any call after it takes longer. Therefore this operation
is compared with a plain call there, and no exponent is fitted.
"""
SNAPSHOT_LIMIT = 10.0
RAW = "listdir, open, read and close"
RELOADS = ("initialize()", "refresh(), one changed", "refresh(), none changed", RAW)
DECLARED, INITIALIZED = "declared", "initialized from a volume"


class Measured(NamedTuple):
    """
    The measurements for one number of flags: seconds by operation, bytes by state.
    """

    seconds: dict[str, float]
    held: dict[str, float]


def run() -> Report:
    """
    Measure registries of 10 to 100,000 flags.
    """
    _measure(min(ROUNDS))  # loads the modules that are imported at first use, whose memory does not count
    times: dict[str, list[tuple[float, float]]] = defaultdict(list)
    sizes: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for count in ROUNDS:
        measured = _measure(count)
        for name, seconds in measured.seconds.items():
            times[name].append((count, seconds))
        for name, held in measured.held.items():
            sizes[name].append((count, held))
    return Report([*_results(times, sizes)], [*_plots(times, sizes)])


def _results(
    times: dict[str, list[tuple[float, float]]], sizes: dict[str, list[tuple[float, float]]]
) -> Iterator[Result]:
    most = max(ROUNDS)
    for name, limit in LIMITS.items():
        yield Result(name=f"{name} with {most:,} flags", value=times[name][-1][1])
        yield Result(name=f"{name}: exponent of growth", value=_growth(times[name]), limit=limit, unit="")
    yield Result(
        name=f"{AFTER_SET} with {most:,} flags",
        value=times[AFTER_SET][-1][1],
        base=times[PLAIN][-1][1],
        against=f"{PLAIN}, called there",
        limit=SNAPSHOT_LIMIT,
    )
    for name, points in sizes.items():
        yield Result(name=f"a flag of {most:,}, {name}", value=points[-1][1] / most, unit="B")
        yield Result(name=f"memory, {name}: exponent of growth", value=_growth(points), limit=LINEAR, unit="")


def _growth(points: list[tuple[float, float]]) -> float:
    return exponent(point for point in points if point[0] >= FITTED_FROM)


def _plots(times: dict[str, list[tuple[float, float]]], sizes: dict[str, list[tuple[float, float]]]) -> Iterator[Plot]:
    yield Plot(
        name="growth_time",
        title="Time against the number of flags",
        x="flags",
        y="seconds",
        kind="lines",
        lines={name: times[name] for name in (*LIMITS, AFTER_SET)},
    )
    yield Plot(
        name="growth_memory",
        title="Memory against the number of flags",
        x="flags",
        y="bytes",
        kind="lines",
        lines=dict(sizes),
    )
    yield Plot(
        name="reload",
        title="Reload time against the number of keys",
        x="keys",
        y="seconds",
        kind="lines",
        lines={name: times[name] for name in RELOADS},
    )


def _measure(count: int) -> Measured:
    names = [f"f{number}" for number in range(count)]
    directory = tempfile.mkdtemp()
    try:
        path = f"{directory}/volume"
        publish(path, {name: str(number) for number, name in enumerate(names)})
        held = _held(names, path)
        return Measured(_times(names, path), held)
    finally:
        shutil.rmtree(directory)


def _held(names: list[str], path: str) -> dict[str, float]:
    flags, declared = traced(lambda: _declare(names))
    (flags, updater), initialized = traced(lambda: _follow(names, path))
    _check(flags, updater)
    return {DECLARED: declared, INITIALIZED: initialized}


def _times(names: list[str], path: str) -> dict[str, float]:
    rounds = ROUNDS[len(names)]
    (declared,) = interleaved(lambda: _declare(names), rounds=rounds, warm_up=1)
    times = {"declare": declared, "initialize()": _initialize(names, path, rounds)}
    flags, updater = _follow(names, path)
    _check(flags, updater)
    times.update(_refreshes(flags, updater, path, rounds))
    times.update(_single(flags, updater, rounds))
    return times


def _declare(names: list[str]) -> dflag.FlagRegistry:
    flags = dflag.FlagRegistry()
    for name in names:
        flags.dyn_int(name, -1)
    return flags


def _follow(names: list[str], path: str) -> tuple[dflag.FlagRegistry, dflag.Updater]:
    flags = _declare(names)
    updater = dflag.Updater(flags, path)
    updater.initialize()
    return flags, updater


def _check(flags: dflag.FlagRegistry, updater: dflag.Updater) -> None:
    """
    Check that every flag has its number from the volume.
    """
    snapshot = flags.snapshot()
    if updater.status().rejected or any(snapshot[flag.name] != int(flag.name[1:]) for flag in flags):
        raise AssertionError("initialize() did not bring the values")


def _initialize(names: list[str], path: str, rounds: int) -> float:
    registries: list[dflag.FlagRegistry] = []

    def prepare() -> None:
        registries[:] = [_declare(names)]

    def initialize() -> None:
        dflag.Updater(registries[0], path).initialize()

    # `prepare` on both sides: the order is reversed in every round, and each start needs a new registry.
    _, taken, _ = interleaved(prepare, initialize, prepare, rounds=rounds, warm_up=1)
    return taken


def _refreshes(flags: dflag.FlagRegistry, updater: dflag.Updater, path: str, rounds: int) -> dict[str, float]:
    first = next(iter(flags))
    values = itertools.count(1)
    changes = 0

    def change() -> None:
        rewrite(path, first.name, str(next(values)))

    def refresh() -> None:
        nonlocal changes
        changes += updater.refresh().changed == (first.name,)

    before = flags.snapshot().revision
    _, changed, raw, _ = interleaved(change, refresh, lambda: read_raw(path), change, rounds=rounds, warm_up=1)
    updater.refresh()
    if changes != rounds + 1 or flags.snapshot().revision != before + changes + 1:
        raise AssertionError(f"{changes} of {rounds + 1} refreshes brought the one change")
    (unchanged,) = interleaved(updater.refresh, rounds=rounds, warm_up=1)
    if flags.snapshot().revision != before + changes + 1:
        raise AssertionError("a refresh brought a change that nobody made")
    return {"refresh(), one changed": changed, "refresh(), none changed": unchanged, RAW: raw}


def _single(flags: dflag.FlagRegistry, updater: dflag.Updater, rounds: int) -> dict[str, float]:
    """
    Time the operations on a single flag or on the whole registry.
    """
    flag = flags.lookup("f0")
    if not isinstance(flag, dflag.DynamicFlag):
        raise TypeError("expected a dynamic flag")
    values = itertools.count()

    def change() -> None:
        flag.set(next(values))

    def pin() -> None:
        with flags.pinned():
            pass

    set_, taken, _, plain, _ = interleaved(change, flags.snapshot, change, Plain(0).get, change, rounds=max(rounds, 11))
    if flag.get() != next(values) - 1:
        raise AssertionError("set() did not set")
    (checksum,) = interleaved(flags.checksum, rounds=rounds)
    repeated = {"status()": updater.status, "pinned()": pin, "snapshot()": flags.snapshot, "get()": flag.get}
    times = interleaved(*(_often(call) for call in repeated.values()), rounds=11)
    return {
        "set()": set_,
        "checksum()": checksum,
        AFTER_SET: taken,
        PLAIN: plain,
        **{name: seconds / CALLS for name, seconds in zip(repeated, times, strict=True)},
    }


def _often(call: Callable[[], object]) -> Callable[[], None]:
    def repeat() -> None:
        for _ in range(CALLS):
            call()

    return repeat
