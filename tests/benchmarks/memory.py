"""
What a thousand reloads leave behind, and what an idle updater costs.
"""

from __future__ import annotations

import json
import subprocess
import sys

from . import _reloading
from ._measure import Report, Result

TRACED_LIMIT_BYTES = 100_000
"""
A hundred bytes per reload for a thousand reloads. This is less than the smallest object that a reload could leak, and
more than the usual variation in the size of dictionaries.
"""
RESIDENT_LIMIT_BYTES = 2**20
"""The allocator returns memory in arenas of this size, not with each freed object."""
IDLE_LIMIT = 3.0
"""A wait for descriptors costs more than a wait for time; the rest is for recording the contact."""


def run() -> Report:
    """
    Measure in a separate process.
    """
    command = [sys.executable, "-m", _reloading.__name__]
    measured = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    results = []
    for name, count in _reloading.RELOADS.items():
        title = f"{count} reloads of {_reloading.KEYS:,} keys from a {name}"
        results += [
            Result(
                name=f"{title}: Python's memory kept",
                value=measured[f"{name}_traced"],
                limit=TRACED_LIMIT_BYTES,
                unit="B",
            ),
            Result(
                name=f"{title}: the process's memory kept",
                value=measured[f"{name}_resident"],
                limit=RESIDENT_LIMIT_BYTES,
                unit="B",
            ),
        ]
    minutes = measured["idle_seconds"] / 60
    results += [
        Result(name="descriptors left open", value=measured["descriptors"], limit=0, unit=""),
        Result(name="threads left", value=measured["threads"], limit=0, unit=""),
        Result(name="threads of a running updater", value=measured["running"], limit=2, unit=""),
        Result(
            name="a minute of nothing to do, processor time",
            value=measured["idle"] / minutes,
            base=measured["check"] / minutes,
            against="a thread that looks each second by two system calls",
            limit=IDLE_LIMIT,
        ),
    ]
    return Report(results)
