"""
The growth of a cost with the size of the input.
"""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def exponent(points: Iterable[tuple[float, float]]) -> float:
    """
    Return the *k* of the curve ``y = a * x**k`` that fits the points best, by their ratios to the curve.

    0 means constant, 1 linear, 2 quadratic.
    """
    xs, ys = zip(*((math.log(x), math.log(y)) for x, y in points), strict=True)
    return statistics.linear_regression(xs, ys).slope
