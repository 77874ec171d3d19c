"""
The results in Markdown: a table for each part, and its images below.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ._document import parts
from ._pages import put

if TYPE_CHECKING:
    from ._document import Part
    from ._measure import Result

SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (0.0, "ns"))


def text(document: dict[str, Any]) -> str:
    """
    Return all tables and the legend, for a terminal.
    """
    sections = [f"### {part.title}\n\n{table(part)}" for part in parts(document)]
    return "\n\n".join([*sections, legend(document)])


def into(page: str, document: dict[str, Any], images: str | None) -> str:
    """
    Put each part between the markers of its name in *page*, with its images from the directory *images*.

    Raises:
        ValueError: The page lacks the markers of a part or of the legend.
    """
    for part in parts(document):
        page = put(page, f"bench-{part.name}", section(part, images))
    return put(page, "bench-legend", legend(document))


def section(part: Part, images: str | None) -> str:
    """
    Return the table of a part, and its images.
    """
    shown = part.report.plots if images is not None else []
    return "\n\n".join([table(part), *(f"![{plot.title}]({images}/{plot.name}.svg)" for plot in shown)])


def table(part: Part) -> str:
    """
    Return a table with one row for each result.
    """
    rows = ["| measure | measured | beside | ratio | limit | |", "|---|---|---|---|---|---|"]
    rows += [f"| {' | '.join(map(_escaped, _cells(result)))} |" for result in part.report.results]
    return "\n".join(rows)


def legend(document: dict[str, Any]) -> str:
    """
    Return the legend: the date, the versions and the machine.
    """
    machine = document["machine"]
    commit = f" ({document['commit']})" if document["commit"] else ""
    peers = ", ".join(f"{name} {version}" for name, version in document["peers"].items())
    return (
        f"Measured on {document['date']} with dflag {document['dflag']}{commit} and Python {document['python']}, on "
        f"{machine['cpu']}, {machine['cores']} cores, {machine['kernel']}." + (f" Peers: {peers}." if peers else "")
    )


def _cells(result: Result) -> tuple[str, ...]:
    if math.isnan(result.value):
        return (result.name, f"not measured: {result.note}", "", "", "", "")
    name = f"{result.name} ({result.note})" if result.note else result.name
    beside = f"{result.against}: {amount(result.base, result.unit)}" if result.base is not None else ""
    ratio = _ratio(result.score) if result.base is not None else ""
    verdict = "" if result.limit is None else "kept" if result.passed else "**exceeded**"
    return (name, amount(result.value, result.unit), beside, ratio, _limit(result), verdict)


def _escaped(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")


def _limit(result: Result) -> str:
    if result.limit is None:
        return ""
    return amount(result.limit, result.unit) if result.base is None else f"{result.limit:g}"


def _ratio(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def amount(value: float, unit: str) -> str:
    """
    Return a value as text, in a unit that suits its size.
    """
    if unit == "s":
        scale, unit = next((scale, unit) for scale, unit in SECONDS if value >= scale)
        return f"{_digits(value / (scale or 1e-9))} {unit}"
    return f"{_digits(value)} {unit}".rstrip()


def _digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
