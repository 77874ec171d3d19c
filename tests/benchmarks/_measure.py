"""
Ratios within one run: both sides run in turn, so that a slowdown of the machine affects both.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """
    One measurement.

    Attributes:
        name: The measured operation or quantity.
        value: The value of dflag, in *unit*; NaN if it could not be measured.
        base: The value to compare with, in *unit*; None if there is no comparison.
        against: A description of the base.
        limit: The highest allowed ratio, or the highest allowed value if there is no base.
        unit: Seconds, bytes, or empty for a count.
        note: A remark about the value, or the reason why there is none.
        detail: The values that *value* summarizes, in *unit*.
    """

    name: str
    value: float
    base: float | None = None
    against: str = ""
    limit: float | None = None
    unit: Literal["s", "B", ""] = "s"
    note: str = ""
    detail: dict[str, float] = field(default_factory=dict)

    @property
    def score(self) -> float:
        """
        The ratio of value and base, or the value if there is no base.
        """
        return self.value if self.base is None else self.value / self.base

    @property
    def passed(self) -> bool:
        """
        Whether the limit is kept.
        """
        return self.limit is None or self.score <= self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """
    The data of a diagram.

    Attributes:
        name: The stem of the image's file name.
        title: The title of the diagram.
        x: The label of the horizontal axis; empty for bars.
        y: The label of the vertical axis.
        kind: ``bars``: one number for each name, on a log scale. ``lines``: points in order of *x*, both axes on log
            scales. ``distribution``: samples, shown as the share of samples that are at most *x*.
        lines: The points of each name; for bars and distributions only their *y* counts, and *x* is 0.
        ours: The names to emphasize; if empty, the names that begin with dflag.
    """

    name: str
    title: str
    x: str
    y: str
    kind: Literal["bars", "lines", "distribution"]
    lines: dict[str, list[tuple[float, float]]]
    ours: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """
    The measurements of one module.

    Attributes:
        results: The rows of the table.
        plots: The diagrams below the table.
        versions: The versions of the other libraries that were measured.
    """

    results: list[Result]
    plots: list[Plot] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)


def interleaved(*sides: Callable[[], object], rounds: int, warm_up: int = 2) -> list[float]:
    """
    Run each side once per round, and return the median seconds of each side.

    The order is reversed in every round, because a side finds the processor's caches as the previous side has left
    them.
    """
    times: list[list[float]] = [[] for _ in sides]
    for number in range(-warm_up, rounds):
        for index in range(len(sides)) if number % 2 else reversed(range(len(sides))):
            began = time.perf_counter()
            sides[index]()
            elapsed = time.perf_counter() - began
            if number >= 0:
                times[index].append(elapsed)
    return [statistics.median(taken) for taken in times]
