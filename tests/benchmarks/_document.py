"""
The results of a run as JSON, from which the table and the plots are made.

The keys are ``date``, ``dflag``, ``commit``, ``python``, ``machine`` (``cpu``, ``cores``, ``kernel``), ``peers`` (name
to version), and ``parts``: for each module its ``name``, ``title``, ``results`` and ``plots``, with the attributes of
`Result` and `Plot`. Numbers have four significant digits; null means that a value could not be measured.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import os
import platform
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dflag._version import __version__

from ._measure import Plot, Report, Result

if TYPE_CHECKING:
    from collections.abc import Iterable

CHECKOUT = Path(__file__).parents[2]
EXPANDED_DEPTH = 4
"""Down to this depth each item has its own line, so that a change of one result changes one line."""


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """
    The measurements of one module, with its title.
    """

    name: str
    title: str
    report: Report


def document(parts: Iterable[Part]) -> dict[str, Any]:
    """
    Return the document for a run that has just ended.
    """
    parts = list(parts)
    return {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "dflag": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "machine": {"cpu": _cpu(), "cores": os.cpu_count(), "kernel": f"{platform.system()} {platform.release()}"},
        "peers": {name: version for part in parts for name, version in _by_name(part.report.versions)},
        "parts": [
            {
                "name": part.name,
                "title": part.title,
                "results": [_numbers(dataclasses.asdict(result)) for result in part.report.results],
                "plots": [_numbers(dataclasses.asdict(plot)) for plot in part.report.plots],
            }
            for part in parts
        ],
    }


def parts(document: dict[str, Any]) -> list[Part]:
    """
    Return the parts of a document, as `Part` objects.
    """
    return [
        Part(
            part["name"],
            part["title"],
            Report(
                [Result(**{**result, "value": _value(result["value"])}) for result in part["results"]],
                [_plot(plot) for plot in part["plots"]],
            ),
        )
        for part in document["parts"]
    ]


def dumps(value: object, depth: int = 0) -> str:
    """
    Return a document as JSON text, with one line for each item of the upper levels.
    """
    if depth == EXPANDED_DEPTH or not isinstance(value, dict | list) or not value:
        return json.dumps(value, ensure_ascii=False)
    named = isinstance(value, dict)
    items = (
        [f"{json.dumps(name)}: {dumps(item, depth + 1)}" for name, item in value.items()]
        if isinstance(value, dict)
        else [dumps(item, depth + 1) for item in value]
    )
    indent = " " * (depth + 1)
    inner = ",\n".join(indent + item for item in items)
    return f"{'{' if named else '['}\n{inner}\n{' ' * depth}{'}' if named else ']'}"


def _by_name(versions: dict[str, str]) -> list[tuple[str, str]]:
    return sorted(versions.items(), key=lambda item: item[0].casefold())


def _plot(plot: dict[str, Any]) -> Plot:
    lines = {name: [(x, y) for x, y in points] for name, points in plot["lines"].items()}
    return Plot(**{**plot, "lines": lines, "ours": tuple(plot["ours"])})


def _value(value: float | None) -> float:
    return math.nan if value is None else value


def _numbers(value: Any) -> Any:
    """
    Shorten all floats to four significant digits; further digits are noise.
    """
    if isinstance(value, dict):
        return {name: _numbers(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_numbers(item) for item in value]
    if isinstance(value, float):
        return None if math.isnan(value) else float(f"{value:.4g}")
    return value


def _cpu() -> str:
    """
    Return the model of the processor, as Linux names it.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str:
    """
    Return the current commit of the checkout; empty if this is not a checkout.
    """
    command = ["git", "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()
