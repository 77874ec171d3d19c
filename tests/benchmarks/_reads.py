"""
The cost of a read, and of the simplest possible read as its baseline.
"""

from __future__ import annotations

import timeit
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

AGAINST = "a method that returns a slot"


class Plain:
    """
    The baseline: a method that returns a slot.
    """

    __slots__ = ("_value",)

    def __init__(self, value: int) -> None:
        self._value = value

    def get(self) -> int:
        return self._value


def calls(statement: str, names: Mapping[str, object], number: int) -> Callable[[], float]:
    """
    Return a function that runs *statement* *number* times and returns the seconds of one run.

    timeit compiles the statement into its loop. A call through a lambda would double the measured time.
    """
    timer = timeit.Timer(statement, globals=dict(names))
    return lambda: timer.timeit(number) / number


def plain(number: int) -> Callable[[], float]:
    """
    Return the same function as `calls`, for the baseline.
    """
    return calls("get.get()", {"get": Plain(50)}, number)
