"""
The price of a read, with that of the plainest one beside it.
"""

from __future__ import annotations

import timeit
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

AGAINST = "a method that returns a slot"


class Plain:
    """
    The floor: a method that returns a slot.
    """

    __slots__ = ("_value",)

    def __init__(self, value: int) -> None:
        self._value = value

    def get(self) -> int:
        return self._value


def calls(statement: str, names: Mapping[str, object], number: int) -> Callable[[], float]:
    """
    Return what runs *statement* that often, and says how many seconds one took.

    timeit's loop is compiled with the statement in it: a call through a lambda would cost as much again.
    """
    timer = timeit.Timer(statement, globals=dict(names))
    return lambda: timer.timeit(number) / number


def plain(number: int) -> Callable[[], float]:
    """
    Return the same for the floor.
    """
    return calls("get.get()", {"get": Plain(50)}, number)
