"""
The time from a swap of the volume until the value is visible, compared with the simplest inotify reader.

Every run is a separate process with one reader. This process makes the swaps and sleeps in between. The readers take
turns, so that a slowdown of the machine affects all of them.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from typing import NamedTuple

from dflag.testing import ConfigMapVolume

from . import _following
from ._measure import Plot, Report, Result

TURNS = 6
SWAPS = 50
"""How many swaps one turn has, after the warm-up."""
WARM_UP = 3
GAP_SECONDS = (0.02, 0.04)
"""Random pauses, so that the swaps do not synchronize with any period of a reader."""


class Case(NamedTuple):
    """
    A reader, and whether its process is quiet or busy.
    """

    reader: str
    mode: str
    title: str
    turns: int = TURNS


OURS = Case("dflag", "quiet", "dflag")
BARE = Case("bare", "quiet", "bare inotify reader")
OURS_BUSY = Case("dflag", "busy", "dflag, a CPU-bound thread beside it")
BARE_BUSY = Case("bare", "busy", "bare inotify reader, as busy")
CALLBACK = Case("callback", "quiet", "dflag, until the callback runs", 2)
STOCK = Case("stock", "quiet", "watchdog's Observer", 2)
"""The last two are only for comparison."""
CASES = (OURS, BARE, OURS_BUSY, BARE_BUSY, CALLBACK, STOCK)


class Latencies(NamedTuple):
    """
    The seconds until each swap, or a later one, was visible, and how many swaps were never seen themselves.
    """

    seconds: list[float]
    missed: int

    @property
    def p50(self) -> float:
        return statistics.median(self.seconds)

    @property
    def p99(self) -> float:
        return statistics.quantiles(self.seconds, n=100)[98]


def run() -> Report:
    """
    Measure the time from a swap to the visible value.
    """
    parts: dict[Case, list[Latencies]] = defaultdict(list)
    for turn in range(TURNS):
        for case in CASES if turn % 2 else reversed(CASES):
            if turn < case.turns:
                with tempfile.TemporaryDirectory() as path:
                    parts[case].append(_turn(case, path))
    taken = {
        case: Latencies([second for part in parts[case] for second in part.seconds], sum(p.missed for p in parts[case]))
        for case in CASES
    }
    plot = Plot(
        name="swaps",
        title="From a swap until the value is visible",
        x="seconds",
        y="share of swaps",
        kind="distribution",
        lines={
            case.title: [(0.0, second) for second in taken[case].seconds] for case in (OURS, BARE, OURS_BUSY, BARE_BUSY)
        },
    )
    return Report(_results(taken), [plot])


def _results(taken: dict[Case, Latencies]) -> list[Result]:
    ours, bare, busy, bare_busy = (taken[case] for case in (OURS, BARE, OURS_BUSY, BARE_BUSY))
    return [
        Result(name="swap until visible, p50", value=ours.p50, limit=0.001),
        Result(
            name="swap until visible, p50 by a bare reader",
            value=ours.p50,
            base=bare.p50,
            against=BARE.title,
            limit=3.0,
        ),
        Result(name="swap until visible, p99 by a bare reader", value=ours.p99, base=bare.p99, against=BARE.title),
        Result(name="swaps missed", value=ours.missed, limit=0, unit=""),
        Result(
            name="swap until visible, a CPU-bound thread beside it, p50",
            value=busy.p50,
            base=bare_busy.p50,
            against=BARE_BUSY.title,
            limit=1.5,
        ),
        Result(
            name="swap until visible, a CPU-bound thread beside it, p99",
            value=busy.p99,
            base=bare_busy.p99,
            against=BARE_BUSY.title,
        ),
        Result(name="swaps missed, a CPU-bound thread beside it", value=busy.missed, limit=0, unit=""),
        Result(name="swap until the callback runs, p50", value=taken[CALLBACK].p50),
        Result(name="swap until watchdog's Observer has read it, p50", value=taken[STOCK].p50),
    ]


def _turn(case: Case, path: str) -> Latencies:
    volume = ConfigMapVolume(path)
    volume.write(_values(0))
    last = WARM_UP + SWAPS
    command = [sys.executable, "-m", _following.__name__, case.reader, path, str(last), case.mode]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        if reader.stdout.readline() != "ready\n":
            raise RuntimeError(f"{case.title}: the reader did not start")
        with _following.staying_on(0):
            began = {number: _swap(volume, number) for number in range(1, last + 1)}
        seen = {int(number): moment for number, moment in json.loads(reader.stdout.read()).items()}
    return latencies({number: moment for number, moment in began.items() if number > WARM_UP}, seen)


def _swap(volume: ConfigMapVolume, number: int) -> float:
    """
    Publish a number after a pause; return the clock just before the rename.
    """
    time.sleep(random.uniform(*GAP_SECONDS))
    began = 0.0
    for step in volume.steps(_values(number)):
        if step == "make ..data_tmp":
            began = _following.clock()
    return began


def _values(number: int) -> dict[str, str]:
    return {_following.KEY: str(number), "other": "x"}


def latencies(began: dict[int, float], seen: dict[int, float]) -> Latencies:
    """
    Return how long each number took to become visible.

    If a later number was seen instead of a number, the time of the later one counts, and the number counts as missed.

    Raises:
        AssertionError: The last number was never seen, so the reader did not follow the volume.
    """
    if max(began) not in seen:
        raise AssertionError(f"the last of {len(began)} swaps was never seen")
    seconds = []
    upcoming = seen[max(began)]
    for number in sorted(began, reverse=True):
        upcoming = seen.get(number, upcoming)
        seconds.append(upcoming - began[number])
    return Latencies(seconds, len(began.keys() - seen.keys()))
