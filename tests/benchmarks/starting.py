"""
What a program pays before its first request: the import, and its declarations.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile

import dflag

from ._measure import Report, Result, interleaved

FLAGS = 1000
ROUNDS = 15
IMPORT_ROUNDS = 21
OURS, STANDARD = "import dflag", "import json, threading, logging, argparse"


def run() -> Report:
    """
    Measure starting up.
    """
    taken: dict[str, list[float]] = {OURS: [], STANDARD: []}
    with tempfile.TemporaryDirectory() as cache:
        for number in range(-1, IMPORT_ROUNDS):
            for statement, times in taken.items():
                seconds = _import_seconds(statement, cache)
                if number >= 0:
                    times.append(seconds)
    (declared,) = interleaved(_declare, rounds=ROUNDS)
    results = [
        Result(
            name=OURS,
            value=statistics.median(taken[OURS]),
            base=statistics.median(taken[STANDARD]),
            against=STANDARD,
            limit=1.3,
        ),
        Result(name=f"declaring {FLAGS} flags", value=declared),
    ]
    return Report(results)


def _import_seconds(statement: str, cache: str) -> float:
    """
    Time an import inside a fresh interpreter: starting that costs as much again.

    Compiled modules are kept in a cache of this run's own: one that is out of date, where the environment forbids to
    write a new one, would make this a measure of the compiler.
    """
    program = f"import time; began = time.perf_counter(); {statement}; print(time.perf_counter() - began)"
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", program]
    return float(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)


def _declare() -> None:
    flags = dflag.FlagRegistry()
    for number in range(FLAGS):
        flags.dyn_int(f"flag{number}", number, "What it is good for")
