"""
One library in its process, one round per line of input: ``python -m tests.benchmarks.peers.rounds DRIVER``.

Each answer is a line of JSON. The first one contains the version of the library. Each further one contains, for each
measurement of the driver, its value and the value of the baseline, which runs in the same round.
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
    A measured value and its baseline.
    """

    value: float
    base: float | None


class Reads:
    """
    Measures one way to read, and the baseline for equally long.
    """

    def __init__(self, reading: Reading) -> None:
        if eval(reading.statement, dict(reading.names)) != reading.expected:  # noqa: S307 - a driver's own text
            raise RuntimeError(f"{reading.statement} does not give {reading.expected!r}")
        self._within = reading.within
        # The number of calls is found without a pin, which makes no difference here.
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
    Return the measurements of *driver* by the name of the row, as functions of the number of the round.
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
    Return a function that loads many options from a volume, and as baseline reads as many files raw.
    """
    options = {f"flag{number}": number for number in range(MANY)}
    publish(f"{path}/raw", {name: str(value) for name, value in options.items()})
    publish(f"{path}/volume", driver.files(options))

    def load_and_read(_number: int) -> Pair:
        return Pair(_timed(driver.load(f"{path}/volume")), _timed(lambda: read_raw(f"{path}/raw")))

    return load_and_read


def _timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    kept = action()  # kept, because the time to free it does not count
    elapsed = time.perf_counter() - began
    del kept
    return elapsed


def main(name: str) -> None:
    """
    Answer each line of the input with the results of one round.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="ascii", buffering=1)
    # A library may print to standard output, which must not be taken for an answer.
    os.dup2(2, 1)
    driver = load(name)
    with tempfile.TemporaryDirectory() as directory:
        # sentry-options needs its volume at values/<namespace>; the others accept any path.
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
    # The threads of a library must not keep a finished process alive.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
