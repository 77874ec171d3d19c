"""
A process that reloads many times and prints its remaining resources as JSON: ``python -m tests.benchmarks._reloading``.

It is a separate process, because memory left behind by other benchmarks would hide the memory that this one leaves.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import os
import tempfile
import threading
import time
import tracemalloc
from typing import TYPE_CHECKING

import dflag
from dflag.sources import MemorySource

from ._files import publish, rewrite
from ._memory import resident_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEYS = 10_000
RELOADS = {"memory": 900, "volume": 100}
CHANGED = 3
"""How many keys each reload changes."""
WARM_UP = 20
"""Reloads after the first one, which changes all keys: they fill the history, and all tables reach their size."""
REJECTED_EACH = 10
"""One reload in this many brings a bad value, which the next reload corrects."""
IDLE_SECONDS = 8.0


def main() -> None:
    """
    Reload from both kinds of source, idle, and print the measurements.
    """
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/volume"
        publish(path, _texts(100_000))
        _idle(path)  # a first time, because imports and objects made once are not leaks
        descriptors, threads = _descriptors(), _threads()
        measured = _idle(path, IDLE_SECONDS)
        # Started before the flags have values: otherwise a value that replaces an untraced one would count as growth.
        tracemalloc.start()
        for name, held in (("memory", _reload_memory()), ("volume", _reload_volume(path))):
            measured |= {f"{name}_{what}": amount for what, amount in held.items()}
    measured["descriptors"] = _descriptors() - descriptors
    measured["threads"] = _threads() - threads
    print(json.dumps(measured))


def _texts(first: int) -> dict[str, str]:
    # All texts have the same length, so that replacing one needs no more memory.
    return {f"flag{number}": str(first + number) for number in range(KEYS)}


def _declare() -> tuple[dflag.FlagRegistry, list[int]]:
    """
    Return a registry, and a list whose only item is the number of its callback calls.
    """
    flags = dflag.FlagRegistry()
    told = [0]

    def note(_old: int, _new: int) -> None:
        told[0] += 1

    for number in range(KEYS):
        flags.dyn_int(f"flag{number}", 0, on_change=note)
    return flags, told


def _reload_memory() -> dict[str, float]:
    flags, told = _declare()
    source = MemorySource(_texts(100_000))
    updater = dflag.Updater(flags, source)
    updater.initialize()
    values = dict(source.read())

    def change(edits: dict[str, str]) -> None:
        values.update(edits)
        source.update(values)

    return _reload(flags, updater, told, change, RELOADS["memory"])


def _reload_volume(path: str) -> dict[str, float]:
    flags, told = _declare()
    updater = dflag.Updater(flags, path)
    updater.initialize()

    def change(edits: dict[str, str]) -> None:
        for name, text in edits.items():
            rewrite(path, name, text)

    return _reload(flags, updater, told, change, RELOADS["volume"])


def _reload(
    flags: dflag.FlagRegistry,
    updater: dflag.Updater,
    told: list[int],
    change: Callable[[dict[str, str]], None],
    count: int,
) -> dict[str, float]:
    """
    Reload after each of many changes; return the growth of memory from the end of the warm-up to the end.
    """
    change(_texts(200_000))
    updater.refresh()
    flags.flush(60)
    before = told[0]
    edits = _edits()
    rejected = 0

    def reload(times: int) -> None:
        nonlocal rejected
        for _ in range(times):
            change(next(edits))
            rejected += len(updater.refresh().rejected)
        if not flags.flush(60):
            raise AssertionError("the callbacks were not called")

    reload(WARM_UP)
    with _growth() as held:
        reload(count)
    total = WARM_UP + count
    if told[0] - before != total * CHANGED or rejected != total // REJECTED_EACH:
        raise AssertionError(f"{total} reloads brought {told[0] - before} changes and rejected {rejected}")
    return held


def _edits() -> Iterator[dict[str, str]]:
    """
    Yield the keys to change, for ever: some get new numbers, and at times the first flag gets a bad value.
    """
    for number in itertools.count(1):
        others = ((CHANGED * number + step) % (KEYS - 1) + 1 for step in range(CHANGED))
        edits = {f"flag{other}": str(300_000 + number) for other in others}
        if number % REJECTED_EACH == 0:
            edits["flag0"] = f"bad {number:06}"
        elif number % REJECTED_EACH == 1:
            edits["flag0"] = "200000"
        yield edits


@contextlib.contextmanager
def _growth() -> Iterator[dict[str, float]]:
    """
    Yield a dictionary that, after the block, contains the growth of memory during the block.
    """
    held: dict[str, float] = {}
    gc.collect()
    traced, resident = tracemalloc.get_traced_memory()[0], resident_bytes()
    yield held
    gc.collect()
    held["traced"] = tracemalloc.get_traced_memory()[0] - traced
    held["resident"] = resident_bytes() - resident


def _idle(path: str, seconds: float = 0.0) -> dict[str, float]:
    """
    Measure an idle updater, and at the same time the simplest thread that makes the same check.
    """
    flags, _ = _declare()
    updater = dflag.Updater(flags, path)
    updater.initialize()
    flags.flush(60)
    before = _threads()
    with updater:
        threads = _threads() - before
        stopping = threading.Event()
        plain = threading.Thread(target=_check, args=(path, stopping))
        plain.start()
        clock = time.pthread_getcpuclockid(plain.ident or 0)
        began, began_plain = time.process_time(), time.clock_gettime(clock)
        time.sleep(seconds)
        used, used_plain = time.process_time() - began, time.clock_gettime(clock) - began_plain
        stopping.set()
        plain.join()
        if updater.status().state != "running" or updater.status().errors:
            raise AssertionError("the updater does not follow the volume")
    return {"running": threads, "idle": used - used_plain, "check": used_plain, "idle_seconds": seconds}


def _check(path: str, stopping: threading.Event) -> None:
    while not stopping.wait(1.0):
        os.readlink(f"{path}/..data")
        os.stat(path)


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _threads() -> int:
    """
    Count the threads of the system, so that threads made without `threading` count too.
    """
    for thread in threading.enumerate():
        # The notifier's thread ends by itself after the last callback.
        if thread.name == "dflag-notifier":
            thread.join(60)
    deadline = time.monotonic() + 1.0
    # A thread disappears from the system a little after `join` returns.
    while (count := len(os.listdir("/proc/self/task"))) > threading.active_count() and time.monotonic() < deadline:
        time.sleep(0.001)
    return count


if __name__ == "__main__":
    main()
