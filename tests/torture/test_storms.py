"""
Readers of all kinds see complete and ever newer sets while a writer in another process publishes without pause.

The periodic check never runs in most tests, so a change without an event would be missed and fail the test.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import itertools
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
import tracemalloc
from typing import TYPE_CHECKING, Self

import pytest

import dflag
from dflag import Updater
from dflag.testing import ConfigMapVolume

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

DEADLINE_SECONDS = 10.0
"""The time in which everything must be done once the writer rests, on the slowest machine."""

NO_RESYNC = 3600.0
"""The interval of a periodic check that never comes, so that every change must come by events."""

SWITCH_SECONDS = 1e-5
"""The switch interval of threads: as short as possible, or readers would seldom meet a half-done commit."""

STORM = 3
"""The least number of publications in a storm, however slow the machine."""

START_SECONDS = 0.001
"""Roughly the duration of a start, so that a random moment within it may be before, during or after."""

BYTES_PER_RELOAD = 12
"""
The average growth of memory per reload that is allowed: less than the smallest object, of 16 bytes.
Caches that fill once do not grow in proportion.
"""

DESCRIPTORS = "/proc/self/fd"
"""The directory in which Linux lists the open descriptors."""


def generation_set(generation: int, count: int) -> dict[str, str]:
    """
    Return the set of a generation: its number is every value, and decides which third of the inner keys is missing.
    """
    return {
        f"f{number:04}": str(generation)
        for number in range(count)
        if number in (0, count - 1) or (number + generation) % 3
    }


WRITER = f"""
import random, sys, time
from dflag.testing import ConfigMapVolume

{inspect.getsource(generation_set)}

volume, count = ConfigMapVolume(sys.argv[1]), int(sys.argv[2])
random.seed(sys.argv[3])
for line in sys.stdin:
    first, least, seconds, *gaps = map(float, line.split())
    deadline = time.monotonic() + seconds
    generation = int(first) - 1
    while generation - first + 1 < least or time.monotonic() < deadline:
        generation += 1
        time.sleep(random.choice(gaps))
        volume.write(generation_set(generation, count))
    print(generation, flush=True)
"""


class Writer:
    """
    A process that publishes one generation after another.
    """

    def __init__(self, path: Path, count: int, rng: random.Random) -> None:
        command = [sys.executable, "-c", WRITER, str(path), str(count), str(rng.random())]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def begin(self, first: int, least: int = 1, seconds: float = 0.0, gaps: Sequence[float] = (0.0,)) -> None:
        """
        Publish from generation *first* on, at least *least* sets and for *seconds*, each after one of the *gaps*.
        """
        assert self._process.stdin
        self._process.stdin.write(" ".join(map(str, (first, least, seconds, *gaps))) + "\n")
        self._process.stdin.flush()

    def end(self) -> int:
        """
        Wait until the writer rests, and return the generation that was published last.
        """
        assert self._process.stdout
        return int(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=DEADLINE_SECONDS)


class Readers:
    """
    Threads that read in every possible way, and record what they should not have seen.
    """

    def __init__(self, flags: dflag.FlagRegistry, handles: Sequence[dflag.Flag[int]]) -> None:
        self.faults: list[object] = []
        self.reads = [0, 0, 0, 0]
        self._flags = flags
        self._handles = handles
        self._done = threading.Event()
        ways = (self._take_snapshots, self._pin, self._get, self._hold_a_pin)
        self._threads = [threading.Thread(target=self._run, args=(number, way)) for number, way in enumerate(ways)]

    def _run(self, number: int, way: Callable[[], Iterator[None]]) -> None:
        try:
            for _ in way():
                self.reads[number] += 1
                if self._done.is_set() or self.faults:
                    return
        except BaseException as error:
            self.faults.append(error)

    def _take_snapshots(self) -> Iterator[None]:
        generation = revision = 0
        while True:
            snapshot = self._flags.snapshot()
            generation = self._check("snapshot", [snapshot[handle] for handle in self._handles], generation)
            if snapshot.revision < revision:
                self.faults.append(("revision", revision, snapshot.revision))
            revision = snapshot.revision
            yield

    def _pin(self) -> Iterator[None]:
        generation = 0
        while True:
            with self._flags.pinned():
                generation = self._check("pin", [handle.get() for handle in self._handles], generation)
                if self._handles[-1].get() != generation:
                    self.faults.append(("pin moved", generation))
            yield

    def _get(self) -> Iterator[None]:
        first, last = self._handles[0], self._handles[-1]
        latest = 0
        while True:
            for _ in range(10):
                # One commit holds both, so a thread that has read the first flag's new value reads the last flag's too.
                earlier, later = first.get(), last.get()
                if not latest <= earlier <= later:
                    self.faults.append(("get", latest, earlier, later))
                latest = later
            # The newest snapshot belongs to the same commit.
            if self._flags.snapshot()[last] > last.get():
                self.faults.append("get behind snapshot")
            yield

    def _hold_a_pin(self) -> Iterator[None]:
        with self._flags.pinned():
            held = [handle.get() for handle in self._handles]
            while True:
                if [handle.get() for handle in self._handles] != held:
                    self.faults.append(("held pin moved", held[0]))
                yield

    def _check(self, way: str, values: list[int], latest: int) -> int:
        generation = values[0]
        whole = generation_set(generation, len(values))
        if values != [int(whole.get(handle.name, "0")) for handle in self._handles]:
            self.faults.append((way, "torn", values))
        if generation < latest:
            self.faults.append((way, "backwards", latest, generation))
        return generation

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture(name="_busy_switching")
def _switching() -> Iterator[None]:
    """
    Let threads switch as often as possible.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("_busy_switching")
@pytest.mark.parametrize(
    ("count", "gaps"),
    [(2, (0.0,)), (30, (0.0,)), (1000, (0.0,)), (30, (0.0, 0.001, 0.01, 0.1))],
    ids=["2 keys", "30 keys", "1000 keys", "30 keys with rests"],
)
def test_a_storm_tears_nothing_and_ends_on_the_last_set(
    flags: dflag.FlagRegistry,
    volume: ConfigMapVolume,
    rng: random.Random,
    torture_seconds: float,
    count: int,
    gaps: Sequence[float],
) -> None:
    """
    No reader sees a mixed or older set, and callbacks get each change from the last value on, up to the final set.
    """
    handles = _declare(flags, count)
    told: dict[str, list[tuple[int, int]]] = {}
    for handle in (handles[0], handles[-1]):
        handle.on_change(_noting(told.setdefault(handle.name, [])))
    volume.write(generation_set(0, count))
    with (
        Updater.setup(flags, volume.path, resync_seconds=NO_RESYNC) as updater,
        Writer(volume.path, count, rng) as writer,
        Readers(flags, handles) as readers,
    ):
        writer.begin(1, STORM, torture_seconds, gaps)
        final = writer.end()
        assert _reaches(updater, final)
    assert flags.flush(DEADLINE_SECONDS)

    assert not readers.faults
    assert min(readers.reads) > 1
    assert final >= STORM
    for steps in told.values():
        assert [old for old, _ in steps] == [0, *(new for _, new in steps[:-1])]
        assert [new for _, new in steps] == sorted({new for _, new in steps})
        assert steps[-1][1] == final


def test_a_publication_at_any_moment_of_a_start_is_seen(
    flags: dflag.FlagRegistry, volume: ConfigMapVolume, rng: random.Random, torture_seconds: float
) -> None:
    """
    A publication before, during or after the start of an updater is applied without a periodic check.
    """
    _declare(flags, 2)
    volume.write(generation_set(0, 2))
    updater = Updater(flags, volume.path, resync_seconds=NO_RESYNC)
    updater.initialize()
    deadline = time.monotonic() + torture_seconds
    with Writer(volume.path, 2, rng) as writer:
        for generation in itertools.count(1):
            if time.monotonic() > deadline:
                break
            writer.begin(generation, gaps=[rng.uniform(0, START_SECONDS)])
            time.sleep(rng.uniform(0, START_SECONDS))
            updater.start()
            writer.end()
            assert _reaches(updater, generation)
            updater.stop()


def test_a_new_directory_at_any_moment_is_seen(
    flags: dflag.FlagRegistry, tmp_path: Path, rng: random.Random, torture_seconds: float
) -> None:
    """
    The last set of a directory that replaces the watched one is applied, at whatever moment it is published.
    """
    _declare(flags, 2)
    volume = ConfigMapVolume(tmp_path / "config")
    volume.write(generation_set(0, 2))
    deadline = time.monotonic() + torture_seconds
    with (
        Updater.setup(flags, volume.path, resync_seconds=NO_RESYNC) as updater,
        Writer(volume.path, 2, rng) as writer,
    ):
        for generation in itertools.count(1, 3):
            if time.monotonic() > deadline:
                break
            fresh = ConfigMapVolume(tmp_path / "fresh")
            fresh.write(generation_set(generation, 2))
            volume.path.rename(tmp_path / "away")
            fresh.path.rename(volume.path)
            writer.begin(generation + 1, gaps=[rng.uniform(0, START_SECONDS)])
            final = writer.end()
            shutil.rmtree(tmp_path / "away")
            assert _reaches(updater, final)


@pytest.mark.timeout(300)
def test_thousands_of_reloads_leave_nothing_behind(
    flags: dflag.FlagRegistry,
    volume: ConfigMapVolume,
    rng: random.Random,
    caplog: pytest.LogCaptureFixture,
    torture_long: bool,
) -> None:
    """
    After thousands of reloads with callbacks, pins and rejections, descriptors, threads and memory have not grown.
    """
    caplog.set_level(logging.CRITICAL, "dflag")  # otherwise pytest would keep every record, and memory would grow
    handles = _declare(flags, 4)
    handles[1].validator(_refuse_odd)
    told: list[int] = []
    handles[0].on_change(lambda _, new: told.__setitem__(slice(None), [new]))
    count = 10_000 if torture_long else 1_000
    with (
        Updater.setup(flags, _written(volume, 5).path) as updater,
        Writer(volume.path, 5, rng) as writer,
        _tracing(),
    ):
        for generation in range(1, 201 + count):
            writer.begin(generation)
            writer.end()
            with flags.pinned():
                updater.refresh()
            assert handles[0].get() == generation
            if generation == 200:  # everything bounded is full: the history, the caches, the logged messages
                before = _usage(flags)
        after = _usage(flags)

    assert after[:2] == before[:2]
    assert after[2] - before[2] < BYTES_PER_RELOAD * count
    assert told == [200 + count]
    assert updater.status().errors > count / 5


def test_replacing_the_directory_leaves_nothing_behind(
    flags: dflag.FlagRegistry, tmp_path: Path, torture_long: bool
) -> None:
    """
    Replacing the watched directory again and again leaves no open descriptor and no thread.
    """
    _declare(flags, 2)
    volume = ConfigMapVolume(tmp_path / "config")
    with Updater.setup(flags, _written(volume, 2).path, resync_seconds=0.01) as updater:
        before = _open_things()
        for generation in range(1, 1_000 if torture_long else 50):
            volume.path.rename(tmp_path / "away")
            shutil.rmtree(tmp_path / "away")
            volume.write(generation_set(generation, 2))
            assert _reaches(updater, generation)
        assert _eventually(lambda: _open_things() == before)


def _declare(flags: dflag.FlagRegistry, count: int) -> list[dflag.DynamicFlag[int]]:
    return [flags.dyn_int(f"f{number:04}", 0) for number in range(count)]


def _written(volume: ConfigMapVolume, count: int) -> ConfigMapVolume:
    volume.write(generation_set(0, count))
    return volume


def _refuse_odd(value: int) -> None:
    if value % 2:
        raise ValueError("odd")


def _noting(steps: list[tuple[int, int]]) -> Callable[[int, int], None]:
    return lambda old, new: steps.append((old, new))


def _reaches(updater: Updater, generation: int) -> bool:
    return updater.wait_for(lambda snapshot: snapshot["f0000"] == generation, DEADLINE_SECONDS)


def _eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.005)
    return True


def _open_things() -> tuple[int, int]:
    """
    Return the number of open descriptors, if they can be listed, and of threads.
    """
    descriptors = len(os.listdir(DESCRIPTORS)) if os.path.isdir(DESCRIPTORS) else 0
    return descriptors, threading.active_count()


def _usage(flags: dflag.FlagRegistry) -> tuple[int, int, int]:
    assert flags.flush(DEADLINE_SECONDS)
    gc.collect()
    return *_open_things(), tracemalloc.get_traced_memory()[0]


@contextlib.contextmanager
def _tracing() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()
