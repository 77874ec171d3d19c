"""
One library in a process of its own, one round for each line: ``python -m tests.benchmarks.peers.rounds DRIVER``.

The first answer, a line of JSON as all are, says which version runs; each other one holds, for each measure that the
driver has, its seconds and those of the floor, which runs beside it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
import timeit
from typing import TYPE_CHECKING, NamedTuple

from tests.benchmarks._files import publish, read_raw
from tests.benchmarks._memory import traced
from tests.benchmarks._reads import calls, plain

from .drivers._base import Driver
from .faults import Run, load, version

if TYPE_CHECKING:
    from collections.abc import Callable

    from .drivers._base import Library, Reading

MANY = 1000
SLICE_SECONDS = 0.005
"""How long each side of a reading runs in a round."""
READ = "a read"
DECLARED, HELD, LOADED = f"declaring {MANY:,} flags", f"a flag of {MANY:,}", f"loading {MANY:,} options"


class Pair(NamedTuple):
    """
    What a measure took, and its floor.
    """

    value: float
    base: float | None


class Reads:
    """
    One way to read, and as long of the floor.
    """

    def __init__(self, reading: Reading) -> None:
        if eval(reading.statement, dict(reading.names)) != reading.expected:  # noqa: S307 - a driver's own text
            raise RuntimeError(f"{reading.statement} does not give {reading.expected!r}")
        self._within = reading.within
        # Pinned or not, which makes no difference to how many fit.
        self._sides = [
            calls(reading.statement, reading.names, _fitting(reading)),
            plain(int(SLICE_SECONDS / 25e-9)),
        ]

    def __call__(self, number: int) -> Pair:
        with self._within():
            order = (0, 1) if number % 2 else (1, 0)
            taken = {index: self._sides[index]() for index in order}
        return Pair(taken[0], taken[1])


def _fitting(reading: Reading) -> int:
    tried = timeit.Timer(reading.statement, globals=dict(reading.names)).autorange()
    return max(1, int(SLICE_SECONDS / (tried[1] / tried[0])))


def measures(driver: Library, directory: str) -> dict[str, Callable[[int], Pair]]:
    """
    Return what is measured of *driver*, by the name of the row: a function of the number of the round.
    """
    given: dict[str, Callable[[int], Pair]] = {
        f"{name}: {READ}": Reads(reading) for name, reading in driver.readings().items()
    }
    if driver.declares:
        given[f"{driver.title}: {DECLARED}"] = lambda _: Pair(_timed(lambda: driver.declare(MANY)), None)
        given[f"{driver.title}: {HELD}"] = lambda _: Pair(traced(lambda: driver.declare(MANY))[1] / MANY, None)
    if driver.loads:
        given[f"{driver.title}: {LOADED}"] = _loading(driver, f"{directory}/many")
    return given


def _loading(driver: Library, path: str) -> Callable[[int], Pair]:
    """
    Load many options as the library has them in a volume, beside the raw reading of a file for each.
    """
    options = {f"flag{number}": number for number in range(MANY)}
    publish(f"{path}/raw", {name: str(value) for name, value in options.items()})
    publish(f"{path}/volume", driver.files(options))

    def load_and_read(_number: int) -> Pair:
        return Pair(_timed(driver.load(f"{path}/volume")), _timed(lambda: read_raw(f"{path}/raw")))

    return load_and_read


def _timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    kept = action()  # freeing it is not part of it
    elapsed = time.perf_counter() - began
    del kept
    return elapsed


def main(name: str) -> None:
    """
    Answer each line of the input with a round.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="ascii", buffering=1)
    # What a library prints is no answer.
    os.dup2(2, 1)
    driver = load(name)
    with tempfile.TemporaryDirectory() as directory:
        # sentry-options asks for a volume at values/<namespace>; the others take it anywhere.
        path = f"{directory}/values/app"
        if isinstance(driver, Driver):
            Run(driver, path)
        else:
            os.makedirs(path)
            driver.start(path)
        measured = measures(driver, directory)
        print(json.dumps({"version": version(driver)}), file=answers)
        with contextlib.suppress(BrokenPipeError):
            for number, _ in enumerate(sys.stdin):
                print(json.dumps({row: measure(number) for row, measure in measured.items()}), file=answers)
    # No library's threads may keep a finished process.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
