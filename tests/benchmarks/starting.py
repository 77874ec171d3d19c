"""
What a program pays before its first request: the import, and its declarations.
"""

from __future__ import annotations

import statistics
import subprocess
import sys

import dflag

from ._measure import Result, interleaved

FLAGS = 1000
ROUNDS = 15
IMPORT_ROUNDS = 21
OURS, STANDARD = "import dflag", "import json, threading, logging, argparse"


def run() -> list[Result]:
    """
    Measure starting up.
    """
    taken: dict[str, list[float]] = {OURS: [], STANDARD: []}
    for _ in range(IMPORT_ROUNDS):
        for statement, times in taken.items():
            times.append(_import_seconds(statement))
    (declared,) = interleaved(_declare, rounds=ROUNDS)
    return [
        Result(
            name=OURS,
            value=statistics.median(taken[OURS]),
            base=statistics.median(taken[STANDARD]),
            against=STANDARD,
            limit=1.3,
        ),
        Result(name=f"declaring {FLAGS} flags", value=declared, base=None, against="", limit=None),
    ]


def _import_seconds(statement: str) -> float:
    """
    Time an import inside a fresh interpreter: starting that costs as much again.
    """
    program = f"import time; began = time.perf_counter(); {statement}; print(time.perf_counter() - began)"
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    return float(output)


def _declare() -> None:
    flags = dflag.FlagRegistry()
    for number in range(FLAGS):
        flags.dyn_int(f"flag{number}", number, "What it is good for")
