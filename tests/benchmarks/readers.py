"""
What a writer in a loop costs four threads that read: only its share of the interpreter.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
from typing import TYPE_CHECKING, Protocol, Self

import dflag

from ._measure import Report, Result, interleaved
from ._reads import Plain

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS = 4
CALLS = 100_000
"""How many reads each thread makes in one measurement."""
ROUNDS = 15
FLAGS = 100
SWITCH_SECONDS = 1e-5
"""The switch interval during the search for faults: a torn value is visible only in the middle of a commit."""
REVISIONS = 500
"""How many revisions the readers must see for the search to be meaningful."""
DEADLINE_SECONDS = 30.0
LIMIT = 1.3


class Readable(Protocol):
    """
    An object that the threads read.
    """

    def get(self) -> int: ...


class Guarded:
    """
    The same slot as in `Plain`, but behind a lock, for comparison.
    """

    __slots__ = ("_lock", "_value")

    def __init__(self, value: int) -> None:
        self._lock = threading.Lock()
        self._value = value

    def get(self) -> int:
        with self._lock:
            return self._value


class Writer:
    """
    A thread that applies revisions to a registry, one after the other, during the block.

    Attributes:
        done: The number of the last revision whose `apply` has returned.
    """

    def __init__(self, flags: dflag.FlagRegistry) -> None:
        self._flags = flags
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.done = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        names = [flag.name for flag in self._flags]
        for number in itertools.count(1):
            if self._stopping.is_set():
                return
            self._flags.apply(dict.fromkeys(names, str(number)), source="writer")
            self.done = number


def run() -> Report:
    """
    Measure four readers while a writer runs, and search for torn and stale values.
    """
    flags, elsewhere = _declare(FLAGS), _declare(FLAGS)
    rate = flags.lookup("flag0")
    sides: list[tuple[Readable, dflag.FlagRegistry]] = [
        (rate, flags),
        (Plain(0), elsewhere),
        (rate, elsewhere),
        (Guarded(0), elsewhere),
    ]
    times = interleaved(*(_reading(*side) for side in sides), rounds=ROUNDS)
    ours, plain, undisturbed, guarded = (seconds / (THREADS * CALLS) for seconds in times)
    title = f"get() in {THREADS} threads while a writer changes it{_interpreter()}"
    return Report(
        [
            Result(name=title, value=ours, base=plain, against="a plain method, the writer elsewhere", limit=LIMIT),
            Result(
                name=f"{title}, by what it costs while another is written",
                value=ours,
                base=undisturbed,
                against="get(), the writer elsewhere",
                limit=LIMIT,
            ),
            Result(name="a read behind a lock there", value=guarded, base=plain, against="a plain method"),
            Result(name="torn or stale values seen", value=_faults(), limit=0, unit=""),
        ]
    )


def _interpreter() -> str:
    enabled = getattr(sys, "_is_gil_enabled", lambda: True)
    return "" if enabled() else " (free-threaded)"


def _declare(count: int) -> dflag.FlagRegistry:
    flags = dflag.FlagRegistry()
    for number in range(count):
        flags.dyn_int(f"flag{number}", 0)
    return flags


def _reading(target: Readable, written: dflag.FlagRegistry) -> Callable[[], None]:
    def read() -> None:
        for _ in itertools.repeat(None, CALLS):
            target.get()

    def together() -> None:
        with Writer(written) as writer:
            _in_threads(read)
        if not writer.done:
            raise AssertionError("the writer did not come to write")

    return together


def _in_threads(work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _faults() -> int:
    """
    Count torn and stale values, which no reader must see. Every flag's value is the number of its revision.

    Torn: after a value of one revision, an older value of another flag, or two revisions in one snapshot. Stale: a
    value that is older than the one published when the reader began, or than one that it has already seen.
    """
    flags = _declare(2)  # few, so that much of the writer's time is commits
    first, last = flags
    deadline = time.monotonic() + DEADLINE_SECONDS
    faults: list[int] = []
    seen: set[int] = set()

    def look() -> None:
        wrong = newest = 0
        while len(seen) < REVISIONS and time.monotonic() < deadline:
            published = writer.done
            one = first.get()
            other = last.get()
            snapshot = flags.snapshot()
            wrong += one < max(published, newest) or other < one or snapshot[first] != snapshot[last]
            newest = other
            seen.add(one)
        faults.append(wrong)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        with Writer(flags) as writer:
            _in_threads(look)
    finally:
        sys.setswitchinterval(interval)
    if len(seen) < REVISIONS or len(faults) != THREADS:
        raise AssertionError(f"the readers saw {len(seen)} revisions, too few to tell")
    return sum(faults)
