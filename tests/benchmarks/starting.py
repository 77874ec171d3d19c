"""
What a program pays before its first request: the imports, and its declarations.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from typing import NamedTuple

import dflag

from ._measure import Report, Result, interleaved
from ._memory import traced

FLAGS = 1000
ROUNDS = 15
START_ROUNDS = 21
TIME_LIMIT = 1.3
MEMORY_LIMIT_BYTES = 3 * 2**20
FLAG_LIMIT_BYTES = 700

STANDARD = "import json, threading, logging, argparse"
IMPORT, NAMES = "import dflag", "from dflag import FlagRegistry, Updater"
REGISTRY = "import dflag; dflag.FlagRegistry()"
STARTS = (STANDARD, IMPORT, NAMES, REGISTRY)
"""
The names of the package resolve at first use. So the import alone, which has the limits, is less than the full cost for
a program.
"""
HEAVY = ("jsonschema", "yaml", "watchdog", "pydantic")

PROGRAM = """
import resource, sys, time
def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
before, began = resident_bytes(), time.perf_counter()
{statement}
elapsed, after = time.perf_counter() - began, resident_bytes()
heavy = [name for name in {heavy} if name in sys.modules]
import json
print(json.dumps([elapsed, after - before, heavy]))
"""


class Start(NamedTuple):
    """
    The cost of one start.
    """

    seconds: float
    resident_bytes: float
    heavy: list[str]


def run() -> Report:
    """
    Measure imports and declarations.
    """
    starts = _starts()
    seconds = {statement: statistics.median(start.seconds for start in taken) for statement, taken in starts.items()}
    held = {
        statement: statistics.median(start.resident_bytes for start in taken) for statement, taken in starts.items()
    }
    heavy = {name for taken in starts.values() for start in taken for name in start.heavy}
    (declared,) = interleaved(_declare, rounds=ROUNDS)
    flags, flags_bytes = traced(_declare)
    if len(flags) != FLAGS:
        raise AssertionError(f"{len(flags)} flags are declared, expected {FLAGS}")
    results = [
        Result(
            name=statement,
            value=seconds[statement],
            base=seconds[STANDARD],
            against=STANDARD,
            limit=TIME_LIMIT if statement == IMPORT else None,
        )
        for statement in (IMPORT, REGISTRY, NAMES)
    ]
    results += [
        Result(
            name=f"memory for `{statement}`, beyond that for `{STANDARD}`",
            value=held[statement] - held[STANDARD],
            limit=MEMORY_LIMIT_BYTES if statement == IMPORT else None,
            unit="B",
        )
        for statement in (IMPORT, REGISTRY, NAMES)
    ]
    results += [
        Result(name=f"modules among {', '.join(HEAVY)} loaded", value=len(heavy), limit=0, unit=""),
        Result(name=f"declaring {FLAGS:,} flags", value=declared),
        Result(name=f"a flag of {FLAGS:,}", value=flags_bytes / FLAGS, limit=FLAG_LIMIT_BYTES, unit="B"),
    ]
    return Report(results)


def _starts() -> dict[str, list[Start]]:
    """
    Run each statement in fresh interpreters; the statements run in turn.
    """
    starts: dict[str, list[Start]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as cache:
        for number in range(-1, START_ROUNDS):
            for statement in STARTS if number % 2 else reversed(STARTS):
                start = _start(statement, cache)
                if number >= 0:
                    starts[statement].append(start)
    return starts


def _start(statement: str, cache: str) -> Start:
    """
    Time a statement inside a fresh interpreter, without the start of the interpreter, which takes equally long.

    Compiled modules are kept in a cache of this run. Without it, if the environment forbids writing bytecode and the
    existing bytecode is out of date, this would measure the compiler.
    """
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", PROGRAM.format(statement=statement, heavy=HEAVY)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return Start(*json.loads(done.stdout))


def _declare() -> dflag.FlagRegistry:
    flags = dflag.FlagRegistry()
    for number in range(FLAGS):
        flags.dyn_int(f"flag{number}", number, "What it is good for")
    return flags
