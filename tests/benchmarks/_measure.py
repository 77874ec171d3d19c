"""
Ratios within one run: both sides by turns, so that what slows the machine slows both.
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
    One measure.

    Attributes:
        name: What was measured.
        value: Our side, in *unit*; not a number where it could not be measured.
        base: What it is compared with, in *unit*; None where the value itself counts.
        against: What that is.
        limit: The highest ratio, or the highest value where there is no base.
        unit: Seconds, bytes, or nothing for a count.
        note: What is to be said of this value, or why there is none.
        detail: The values that this one stands for, in *unit*.
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
        The ratio, or the value where nothing is compared.
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
    What is better seen than listed.

    Attributes:
        name: The stem of the image's file name.
        title: What it shows.
        x: What the horizontal axis holds, with its unit; empty for bars.
        y: What the vertical axis holds, with its unit.
        kind: ``bars``: one number for each name, on a log scale. ``lines``: points in order of *x*, both axes on log
            scales. ``distribution``: samples, shown as the share of them that is no greater than *x*.
        lines: The points of each name; for bars and distributions only their *y* counts, and *x* is 0.
        ours: The names to emphasise; without, those that begin with dflag.
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
    What one module has measured.

    Attributes:
        results: The rows of its table.
        plots: What is drawn below them.
        versions: The other libraries that took part.
    """

    results: list[Result]
    plots: list[Plot] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)


def interleaved(*sides: Callable[[], object], rounds: int, warm_up: int = 2) -> list[float]:
    """
    Run each side once a round, and give the median seconds of each.

    The order turns round by round: the one that comes second finds the caches as the first has left them.
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
