"""
What flags as a class cost: a value, ``current()``, a declaration, the first instance after a change.
"""

from __future__ import annotations

import gc
import itertools
import statistics
import sys
import threading
import time
from typing import TYPE_CHECKING

import dflag

from ._measure import Report, Result, interleaved
from ._reads import AGAINST, calls, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CALLS = 5_000
ROUNDS = 201
DECLARED, DECLARATIONS = 1_000, 31
COMMITTED, COMMITS = 10_000, 15
VALUE_LIMIT = 0.7 if sys.version_info < (3, 13) else 0.9
"""From 3.13 on, a plain method takes less time, but an attribute does not."""
CURRENT_LIMIT, PINNED_LIMIT, REQUEST_LIMIT, DECLARATION_LIMIT = 1.5, 4.0, 0.5, 1.2
FIRST_LIMIT_SECONDS = 0.002


class Settings(dflag.Flags):
    """The flags that a request reads."""

    rate = dflag.dyn_int(50)
    burst = dflag.dyn_int(5)
    ratio = dflag.dyn_float(0.5)
    mode = dflag.dyn_string("fast")
    port = dflag.int(8080)


def run() -> Report:
    """
    Measure the calls that programs with a class of flags make.
    """
    return Report([*_reads(), *_pins(), _request(), _declaring(), _first()])


def _reads() -> list[Result]:
    cfg, base = _medians([calls("cfg.rate", {"cfg": Settings.current()}, CALLS), plain(CALLS)])
    now, now_base = _medians([_current(), plain(CALLS)])
    return [
        Result(name="cfg.rate", value=cfg, base=base, against=AGAINST, limit=VALUE_LIMIT),
        Result(name="current()", value=now, base=now_base, against=AGAINST, limit=CURRENT_LIMIT),
    ]


def _pins() -> list[Result]:
    other = dflag.FlagRegistry()
    opened, over = threading.Event(), threading.Event()

    def hold() -> None:
        with Settings.registry.pinned():
            opened.set()
            over.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    opened.wait()
    sides = [_current(), plain(CALLS)]
    measured = {"current() beside the pin of another thread": _medians(sides)}
    over.set()
    thread.join()
    with Settings.registry.pinned():
        measured["current() inside pinned()"] = _medians(sides)
        with other.pinned():
            measured["current() inside pinned() of two registries"] = _medians(sides)
    return [
        Result(name=name, value=value, base=base, against=AGAINST, limit=PINNED_LIMIT)
        for name, (value, base) in measured.items()
    ]


def _request() -> Result:
    """
    Compare reading five values from one instance with reading them from the five flags.
    """
    names = list(Settings.current().registry)
    instance = "; ".join(["cfg = cls.current()", *(f"cfg.{flag.name}" for flag in names)])
    single = "; ".join(f"{flag.name}.get()" for flag in names)
    value, base = _medians(
        [
            calls(instance, {"cls": Settings}, CALLS),
            calls(single, {flag.name: flag for flag in names}, CALLS),
        ]
    )
    return Result(
        name="current() and five reads", value=value, base=base, against="five calls of get()", limit=REQUEST_LIMIT
    )


def _declaring() -> Result:
    """
    Compare declaring a class of many flags with declaring as many flags in a registry.
    """

    def by_class() -> object:
        return type("Many", (dflag.Flags,), {f"f{number}": dflag.dyn_int(number, "Help") for number in range(DECLARED)})

    def one_by_one() -> object:
        flags = dflag.FlagRegistry()
        return [flags.dyn_int(f"f{number}", number, "Help") for number in range(DECLARED)]

    times: list[list[float]] = [[], []]
    for number in range(DECLARATIONS):
        for index in (0, 1) if number % 2 else (1, 0):
            gc.collect()  # otherwise the garbage of one side would be collected during the other
            began = time.perf_counter()
            (by_class, one_by_one)[index]()
            times[index].append(time.perf_counter() - began)
    value, base = map(statistics.median, times)
    return Result(
        name=f"declaring a class of {DECLARED:,} flags",
        value=value,
        base=base,
        against="as many flags in a registry",
        limit=DECLARATION_LIMIT,
    )


def _first() -> Result:
    """
    Time the first instance after a commit that changes every flag.
    """
    flags = {f"f{number}": dflag.dyn_int(number) for number in range(COMMITTED)}
    names = list(flags)
    cls: type[dflag.Flags] = type("Many", (dflag.Flags,), flags)
    seconds = []
    for number in itertools.islice(itertools.count(1), COMMITS):
        cls.registry.apply({name: str(-index - number) for index, name in enumerate(names)}, source="benchmark")
        began = time.perf_counter()
        cls.current()
        seconds.append(time.perf_counter() - began)
    return Result(
        name=f"the first current() after a commit of {COMMITTED:,} flags",
        value=statistics.median(seconds),
        limit=FIRST_LIMIT_SECONDS,
    )


def _current() -> Callable[[], float]:
    return calls("cls.current()", {"cls": Settings}, CALLS)


def _medians(sides: Sequence[Callable[[], float]]) -> list[float]:
    """
    Return the median seconds of one call of each side; the sides run in turn.
    """
    return [seconds / CALLS for seconds in interleaved(*sides, rounds=ROUNDS)]
