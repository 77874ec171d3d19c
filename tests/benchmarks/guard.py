"""
Check the ratios of a quick run against committed limits: ``tox -e guard`` or ``python -m tests.benchmarks.guard``.

It finds gross regressions, even on noisy machines. A ratio above its limit is a warning; only a ratio above twice its
limit, in two runs, is a failure. Times are never compared. ``--renew`` writes new limits.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Ratios: TypeAlias = "Mapping[str, Mapping[str, float]]"
"""Ratios by the name of the module and of the measurement; limits have the same form."""

MODULES = ("reading", "classes", "starting", "volumes", "rules")
"""The modules that take only seconds and compare with a baseline."""
LIMITS = Path(__file__).with_name("limits.json")
GENEROUS = 4 / 3
"""A limit is the measured ratio plus a third."""
GROSS = 2.0
"""A ratio above this multiple of its limit is not noise."""


class LimitsError(Exception):
    """
    The measurements do not match the limits: one lacks a limit, or a limit lacks a measurement.
    """


class Row(NamedTuple):
    """
    One ratio and its limit.
    """

    name: str
    ratio: float
    limit: float

    @property
    def verdict(self) -> str:
        """
        The verdict: failure, warning or kept.
        """
        if self.ratio > GROSS * self.limit:
            return "failure"
        return "warning" if self.ratio > self.limit else "kept"


def main(argv: Sequence[str] | None = None) -> int:
    """
    Measure, and return 1 if a ratio fails, or 2 if the limits do not match the measurements.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.guard", description=__doc__)
    parser.add_argument("--renew", action="store_true", help="measure, and write the limits anew")
    options = parser.parse_args(argv)
    measured = _measured()
    if options.renew:
        LIMITS.write_text(json.dumps(renewed(measured), indent=2) + "\n", encoding="utf-8")
    return judge(measured, json.loads(LIMITS.read_text(encoding="utf-8")))


def judge(measured: Ratios, limits: Ratios, again: Callable[[], Ratios] | None = None) -> int:
    """
    Print each ratio with its limit, and return the exit status of the program.

    If a ratio fails, *again* measures all ratios once more, and the lower ones count.
    """
    try:
        rows = compare(measured, limits)
        if any(row.verdict == "failure" for row in rows):
            repeated = compare((again or _measured)(), limits)
            rows = [min(pair, key=lambda row: row.ratio) for pair in zip(rows, repeated, strict=True)]
    except LimitsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table(rows))
    for row in rows:
        if row.verdict != "kept":
            print(_said(row))
    return 1 if any(row.verdict == "failure" for row in rows) else 0


def compare(measured: Ratios, limits: Ratios) -> list[Row]:
    """
    Return each ratio with its limit, in the order of the limits.

    Raises:
        LimitsError: A measurement has no limit, or a limit has no measurement, and would be ignored.
    """
    found, allowed = _flat(measured), _flat(limits)
    unlimited, unmeasured = sorted(found.keys() - allowed.keys()), sorted(allowed.keys() - found.keys())
    if unlimited or unmeasured:
        raise LimitsError(
            f"{LIMITS.name}: no limit for {unlimited}, no measure for {unmeasured}; --renew writes the limits anew"
        )
    return [Row(name, found[name], limit) for name, limit in allowed.items()]


def table(rows: Sequence[Row]) -> str:
    """
    Return the rows as a table in Markdown.
    """
    lines = ["| measure | ratio | limit | |", "|---|---|---|---|"]
    lines += [f"| {row.name} | {row.ratio:.2f} | {row.limit:g} | {row.verdict} |" for row in rows]
    return "\n".join(lines)


def _said(row: Row) -> str:
    """
    Return a warning or a failure as a line, in a form that GitHub shows with the change.
    """
    text = f"{row.name}: {row.ratio:.2f} floors, and the limit is {row.limit:g}"
    if "GITHUB_ACTIONS" in os.environ:
        return f"::{'error' if row.verdict == 'failure' else 'warning'}::{text}"
    return f"{row.verdict}: {text}"


def _flat(ratios: Ratios) -> dict[str, float]:
    return {f"{module}: {name}": ratio for module, found in ratios.items() for name, ratio in found.items()}


def _measured() -> dict[str, dict[str, float]]:
    return {name: ratios(name) for name in MODULES}


def ratios(name: str) -> dict[str, float]:
    """
    Run a module, and return its ratios.
    """
    report = importlib.import_module(f"{__package__}.{name}").run()
    return {result.name: result.score for result in report.results if result.base is not None}


def renewed(measured: Ratios) -> dict[str, dict[str, float]]:
    """
    Return generous limits for the measured ratios.
    """
    return {
        module: {name: float(f"{ratio * GENEROUS:.3g}") for name, ratio in found.items()}
        for module, found in measured.items()
    }


if __name__ == "__main__":
    sys.exit(main())
