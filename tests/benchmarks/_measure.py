"""
Ratios within one run: both sides by turns, so that what slows the machine slows both.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """
    One measure.

    Attributes:
        name: What was measured.
        value: Our side, in seconds.
        base: What it is compared with, in seconds; None where the time itself counts.
        against: What that is.
        limit: The highest ratio, or the longest time in seconds where there is no base.
    """

    name: str
    value: float
    base: float | None
    against: str
    limit: float | None

    @property
    def score(self) -> float:
        """
        The ratio, or the time where nothing is compared.
        """
        return self.value if self.base is None else self.value / self.base

    @property
    def passed(self) -> bool:
        """
        Whether the limit is kept.
        """
        return self.limit is None or self.score <= self.limit


def interleaved(*sides: Callable[[], object], rounds: int, warm_up: int = 2) -> list[float]:
    """
    Run each side once a round, and give the median seconds of each.

    The order turns round by round: whoever comes second finds the caches as the first has left them.
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
