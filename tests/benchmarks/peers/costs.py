"""
Compared with other libraries: a read, an import, a thousand flags.

Each library runs in a process of its own, which stays alive. The processes run one round at a time, in turn, so that a
slowdown of the machine affects all of them.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import statistics
import subprocess
import tempfile
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from tests.benchmarks._measure import Plot, Report, Result
from tests.benchmarks._reads import AGAINST

from .__main__ import CHECKOUT, install
from .faults import load
from .rounds import DECLARED, HELD, LOADED, MANY, READ

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from .drivers._base import Library

DRIVERS = (
    "dflag_",
    "locked",
    "pydantic_settings_",
    "dynamic_config_",
    "sentry_options_",
    "absl_",
    "dynaconf_",
    "growthbook_",
    "launchdarkly",
    "openfeature_",
    "flagd",
    "unleash",
)
ROUNDS = 41
IMPORT_ROUNDS = 11
TIMEOUT_SECONDS = 60.0
REASON_LETTERS = 120
STANDARD = "import json, threading, logging, argparse"
RAW = f"{MANY:,} files read raw"
IMPORT = "import time; began = time.perf_counter(); {}; print(time.perf_counter() - began)"


class LibraryError(Exception):
    """
    A library does not run here; the message says why.
    """


class Child:
    """
    The process of one library.

    Raises:
        LibraryError: The process did not start, or not in time.
    """

    def __init__(self, python: str, name: str) -> None:
        # A file, because a pipe that nothing reads could fill up and block the process.
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in close()
        self._process = subprocess.Popen(
            [python, "-m", f"{__package__}.rounds", name],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            bufsize=1,
        )
        try:
            self.version: str = self._answer()["version"]
        except LibraryError:
            self.close()
            raise

    def ask(self) -> dict[str, list[float | None]]:
        """
        Return the results of one round: for each row its value and its baseline.
        """
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write("\n")
        return self._answer()

    def close(self) -> None:
        """
        End the process.
        """
        self._process.kill()
        # Not `communicate()`, which would write to the process once more.
        self._process.wait()
        for file in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(BrokenPipeError):
                file.close()  # type: ignore[union-attr]

    def _answer(self) -> Any:
        # The process answers each line with one line, so the buffer is empty when `select` is called.
        ready, _, _ = select.select([self._process.stdout], [], [], TIMEOUT_SECONDS)
        assert self._process.stdout is not None
        line = self._process.stdout.readline() if ready else ""
        if not line:
            raise LibraryError(self._reason() if ready else "no answer in time")
        return json.loads(line)

    def _reason(self) -> str:
        self._errors.seek(0)
        return (self._errors.read().strip().splitlines() or ["it ended"])[-1][:REASON_LETTERS]


def run(directory: Path) -> Report:
    """
    Measure all libraries, in the environment at *directory*.
    """
    return measure(*install(directory))


def measure(
    python: str,
    missing: dict[str, str],
    drivers: Sequence[str] = DRIVERS,
    rounds: int = ROUNDS,
    import_rounds: int = IMPORT_ROUNDS,
) -> Report:
    """
    Measure *drivers* with *python*; a driver whose package is *missing* gets that as its result.
    """
    failed: dict[str, str] = {}
    children: dict[str, Child] = {}
    taken: dict[str, list[list[float | None]]] = defaultdict(list)
    with contextlib.ExitStack() as stack:
        for name in drivers:
            library = load(name)
            try:
                if library.package in missing:
                    raise LibraryError(missing[library.package])
                children[name] = Child(python, name)
            except LibraryError as error:
                failed[library.title] = str(error)
            else:
                stack.callback(children[name].close)
        running = dict(children)
        for number in range(-1, rounds):
            for name in list(running) if number % 2 else reversed(list(running)):
                try:
                    answer = running[name].ask()
                except LibraryError as error:
                    failed[load(name).title] = str(error)
                    del running[name]
                    continue
                if number >= 0:
                    for row, pair in answer.items():
                        taken[row].append(pair)
    results = _results(taken)
    imports = _imports(python, [load(name) for name in running], import_rounds)
    absent = [Result(name=title, value=math.nan, note=reason) for title, reason in failed.items()]
    versions = {load(name).package: child.version for name, child in children.items() if load(name).package}
    return Report([*results, *imports, *absent], [*_plots(results)], versions)


def _results(taken: dict[str, list[list[float | None]]]) -> list[Result]:
    """
    Return the medians: first the reads, then the rest, each group from the cheapest to the most expensive.
    """
    results = []
    for row, pairs in taken.items():
        value, base = (
            statistics.median(numbers) if None not in numbers else None
            for numbers in ([pair[index] for pair in pairs] for index in (0, 1))
        )
        # A read is compared with the baseline, loading with reading files raw; memory and declarations have no base.
        against = "" if base is None else RAW if row.endswith(LOADED) else AGAINST
        unit = "B" if row.endswith(HELD) else "s"
        results.append(Result(name=row, value=value, base=base, against=against, unit=unit))
    return sorted(results, key=lambda result: (_group(result), result.value))


def _group(result: Result) -> int:
    return next(index for index, end in enumerate((READ, DECLARED, HELD, LOADED)) if result.name.endswith(end))


def _imports(python: str, libraries: Sequence[Library], rounds: int) -> list[Result]:
    """
    Time the import of each library in fresh interpreters; the libraries run in turn.
    """
    statements = {library.title: library.imports for library in libraries if library.imports}
    taken: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as cache:
        for number in range(-1, rounds):
            sides = [(STANDARD, STANDARD), *statements.items()]
            for title, statement in sides if number % 2 else reversed(sides):
                seconds = _import_seconds(python, statement, cache)
                if number >= 0:
                    taken[title].append(seconds)
    base = statistics.median(taken.pop(STANDARD))
    medians = {title: statistics.median(times) for title, times in taken.items()}
    return [
        Result(name=f"{title}: import", value=medians[title], base=base, against=STANDARD)
        for title in sorted(medians, key=lambda title: medians[title])
    ]


def _import_seconds(python: str, statement: str, cache: str) -> float:
    """
    Time an import inside a fresh interpreter, which keeps compiled modules in a cache of this run.
    """
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [python, "-c", IMPORT.format(statement)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=CHECKOUT)
    return float(done.stdout)


def _plots(results: Sequence[Result]) -> Iterator[Plot]:
    reads = [result for result in results if result.name.endswith(READ)]
    if reads:
        floor = statistics.median(result.base for result in reads if result.base is not None)
        yield Plot(
            name="reads",
            title="What one read of a known flag costs",
            x="",
            y="time of one read",
            kind="bars",
            lines={
                AGAINST: [(0, floor)],
                **{result.name.removesuffix(f": {READ}"): [(0, result.value)] for result in reads},
            },
        )
