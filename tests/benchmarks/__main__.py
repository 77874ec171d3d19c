"""
Measure dflag against the plainest Python that does the same: ``python -m tests.benchmarks [--json FILE]``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import sys
from typing import TYPE_CHECKING

from . import command, reading, starting, volumes, web

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._measure import Result

SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (0.0, "ns"))


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run all benchmarks, print a table in Markdown, and give 1 when a limit is not kept.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="also write the results there")
    options = parser.parse_args(argv)
    results = [result for module in (reading, volumes, starting, web, command) for result in module.run().results]
    print(_table(results))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(_document(results), file, indent=2)
    return 0 if all(result.passed for result in results) else 1


def _table(results: Sequence[Result]) -> str:
    rows = ["| measure | time | against | ratio | limit | |", "|---|---|---|---|---|---|"]
    for result in results:
        against = f"{result.against}: {_amount(result.base, result.unit)}" if result.base is not None else ""
        ratio = f"{result.score:.2f}" if result.base is not None else ""
        verdict = "" if result.limit is None else "kept" if result.passed else "**exceeded**"
        cells = (result.name, _amount(result.value, result.unit), against, ratio, _limit(result), verdict)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _limit(result: Result) -> str:
    if result.limit is None:
        return ""
    return _amount(result.limit, result.unit) if result.base is None else str(result.limit)


def _amount(value: float, unit: str) -> str:
    """
    Print a value in the unit that suits its size.
    """
    if unit == "s":
        scale, unit = next((scale, unit) for scale, unit in SECONDS if value >= scale)
        return f"{value / (scale or 1e-9):.3g} {unit}"
    return f"{value:,.0f} {unit}".rstrip()


def _document(results: Sequence[Result]) -> dict[str, object]:
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "results": [
            {**dataclasses.asdict(result), "score": result.score, "passed": result.passed} for result in results
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
