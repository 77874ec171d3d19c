"""
What following a volume costs: a refresh and a start against reading the same files raw, and a swap until it is seen.
"""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time

import dflag
from dflag.testing import ConfigMapVolume

from ._measure import Report, Result, interleaved

KEYS = 1000
ROUNDS = 25
SWAPS = 60
GAP_SECONDS = 0.02

# Prints the clock just before each swap; it waits for a line before it begins.
WRITER = """
import sys, time
from dflag.testing import ConfigMapVolume

volume, count, gap = ConfigMapVolume(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
sys.stdin.readline()
for number in range(1, count + 1):
    for step in volume.steps({"swap": str(number), "other": "x"}):
        if step == "make ..data_tmp":
            began = time.clock_gettime(time.CLOCK_MONOTONIC)
    print(number, began, flush=True)
    time.sleep(gap)
"""


def run() -> Report:
    """
    Measure reading, and the way from a swap to a value.
    """
    with tempfile.TemporaryDirectory() as path:
        return Report([*_reads(f"{path}/reads"), *_swaps(f"{path}/swaps")])


def _reads(path: str) -> list[Result]:
    flags = _declare()
    volume = ConfigMapVolume(path)
    values = {f"flag{number}": str(number) for number in range(KEYS)}
    volume.write(values)
    updater = dflag.Updater(flags, path)
    updater.initialize()
    counter = itertools.count()
    changed = f"{path}/..data/flag0"

    def publish() -> None:
        # The bytes in place, not a publication: a thousand files written anew would drown what is measured.
        with open(changed, "w", encoding="ascii") as file:
            file.write(str(next(counter)))

    def refresh() -> None:
        updater.refresh()

    def raw() -> None:
        _read_raw(f"{path}/..data")

    times: dict[str, list[float]] = {"refresh": [], "raw": [], "quiet": []}
    for number in range(-2, ROUNDS):
        publish()
        order = [("refresh", refresh), ("raw", raw)]
        for name, side in [*(order if number % 2 else reversed(order)), ("quiet", refresh)]:
            began = time.perf_counter()
            side()
            if number >= 0:
                times[name].append(time.perf_counter() - began)
    refreshed, base, unchanged = (statistics.median(times[name]) for name in ("refresh", "raw", "quiet"))

    # The registries are made beforehand: declaring has a measure of its own.
    fresh = iter([dflag.Updater(_declare(), path) for _ in range(ROUNDS + 2)])
    initialized, initialize_base = interleaved(lambda: next(fresh).initialize(), raw, rounds=ROUNDS)
    against = "listdir, open, read and close"
    return [
        Result(name=f"refresh of {KEYS} keys, one changed", value=refreshed, base=base, against=against, limit=2.0),
        Result(name=f"refresh of {KEYS} keys, none changed", value=unchanged, base=base, against=against),
        Result(
            name=f"initialize() of {KEYS} keys", value=initialized, base=initialize_base, against=against, limit=2.5
        ),
    ]


def _declare() -> dflag.FlagRegistry:
    flags = dflag.FlagRegistry()
    for number in range(KEYS):
        flags.dyn_int(f"flag{number}", 0)
    return flags


def _read_raw(path: str) -> dict[str, bytes]:
    """
    Read all files of a directory as plainly as Python can.
    """
    values = {}
    directory = os.open(path, os.O_RDONLY)
    try:
        for name in os.listdir(directory):
            descriptor = os.open(name, os.O_RDONLY, dir_fd=directory)
            try:
                values[name] = os.read(descriptor, 1 << 16)
            finally:
                os.close(descriptor)
    finally:
        os.close(directory)
    return values


def _swaps(path: str) -> list[Result]:
    flags = dflag.FlagRegistry()
    flags.dyn_string("other", "")
    swap = flags.dyn_int("swap", 0)
    told: dict[int, float] = {}
    swap.on_change(lambda _old, new: told.setdefault(new, time.clock_gettime(time.CLOCK_MONOTONIC)))
    ConfigMapVolume(path).write({"swap": "0", "other": "x"})
    command = [sys.executable, "-c", WRITER, path, str(SWAPS), str(GAP_SECONDS)]
    with (
        dflag.Updater.setup(flags, path),
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer,
    ):
        assert writer.stdin is not None
        assert writer.stdout is not None
        writer.stdin.write("go\n")
        writer.stdin.close()
        seen = _poll(swap)
        output = writer.stdout.read()
        flags.flush(10)
    began = {int(number): float(clock) for number, clock in (line.split() for line in output.splitlines())}
    visible = statistics.median(seen[number] - began[number] for number in began if number in seen)
    called = statistics.median(told[number] - began[number] for number in began if number in told)
    return [
        Result(name="swap until get() shows it, p50", value=visible, limit=0.001),
        Result(name="swap until the callback runs, p50", value=called),
    ]


def _poll(swap: dflag.DynamicFlag[int]) -> dict[int, float]:
    """
    Note when ``get()`` first gives each value.

    The pause is what this measure may be late by: a loop without one would keep the updater from the interpreter.
    """
    seen: dict[int, float] = {}
    deadline = time.monotonic() + 60
    while SWAPS not in seen and time.monotonic() < deadline:
        seen.setdefault(swap.get(), time.clock_gettime(time.CLOCK_MONOTONIC))
        time.sleep(2e-5)
    return seen
