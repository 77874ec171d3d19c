"""
Hold the ratios of a quick run to committed limits: ``tox -e guard``, or ``python -m tests.benchmarks.guard [--renew]``.

It is for gross regressions, on machines that are noisy: a ratio over its limit is a warning, and only one over twice
its limit, in two runs, is a failure. Times are never compared.
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
"""By the names of modules and of measures; limits alike."""

MODULES = ("reading", "classes", "starting", "volumes", "rules")
"""Those that take seconds and compare."""
LIMITS = Path(__file__).with_name("limits.json")
GENEROUS = 4 / 3
"""A limit is what was measured, and a third more."""
GROSS = 2.0
"""So many times its limit is no noise."""


class LimitsError(Exception):
    """
    What is measured and what has a limit are not the same.
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
        What is to be said of it.
        """
        if self.ratio > GROSS * self.limit:
            return "failure"
        return "warning" if self.ratio > self.limit else "kept"


def main(argv: Sequence[str] | None = None) -> int:
    """
    Measure, and give 1 when a ratio fails, 2 when the limits are not those of what is measured.
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
    Print each ratio with its limit, and give the status of the program.

    What fails is measured once more by *again*, and the lower ratio counts.
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
    Put each ratio beside its limit, in the order of the limits.

    Raises:
        LimitsError: A measure has no limit or a limit no measure, so that one of them would be passed over.
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
    Return the rows in Markdown.
    """
    lines = ["| measure | ratio | limit | |", "|---|---|---|---|"]
    lines += [f"| {row.name} | {row.ratio:.2f} | {row.limit:g} | {row.verdict} |" for row in rows]
    return "\n".join(lines)


def _said(row: Row) -> str:
    """
    Return a warning or a failure as a line, which GitHub shows with the change.
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
    Run a module, and give its ratios.
    """
    report = importlib.import_module(f"{__package__}.{name}").run()
    return {result.name: result.score for result in report.results if result.base is not None}


def renewed(measured: Ratios) -> dict[str, dict[str, float]]:
    """
    Return generous limits for what was measured.
    """
    return {
        module: {name: float(f"{ratio * GENEROUS:.3g}") for name, ratio in found.items()}
        for module, found in measured.items()
    }


if __name__ == "__main__":
    sys.exit(main())
