"""
What a request pays: ``get()``, a pin, a snapshot.
"""

from __future__ import annotations

import timeit
from typing import TYPE_CHECKING

import dflag

from ._measure import Report, Result, interleaved

if TYPE_CHECKING:
    from collections.abc import Callable

CALLS = 50_000
ROUNDS = 31
FLAGS = 1000


class Plain:
    """
    The floor: a method that returns a slot.
    """

    __slots__ = ("_value",)

    def __init__(self, value: int) -> None:
        self._value = value

    def get(self) -> int:
        return self._value


def _calls(statement: str, **names: object) -> Callable[[], float]:
    # timeit's loop is compiled with the statement in it: a call through a lambda would cost as much again.
    timer = timeit.Timer(statement, globals=names)
    return lambda: timer.timeit(CALLS)


def run() -> Report:
    """
    Measure what readers call.
    """
    flags = dflag.FlagRegistry()
    rate = flags.dyn_int("rate", 50)
    for number in range(FLAGS - 1):
        flags.dyn_int(f"flag{number}", number)
    plain = _calls("get.get()", get=Plain(50))
    ours = _calls("get.get()", get=rate)
    got, base = interleaved(ours, plain, rounds=ROUNDS)
    with flags.pinned():
        pinned, pinned_base = interleaved(ours, plain, rounds=ROUNDS)
    after, after_base = interleaved(ours, plain, rounds=ROUNDS)
    taken, snapshot_base = interleaved(_calls("take()", take=flags.snapshot), plain, rounds=ROUNDS)
    against = "a method that returns a slot"
    results = [
        Result(name="get()", value=got / CALLS, base=base / CALLS, against=against, limit=1.3),
        Result(
            name="get() inside pinned()", value=pinned / CALLS, base=pinned_base / CALLS, against=against, limit=1.9
        ),
        Result(name="get() after a pin", value=after / CALLS, base=after_base / CALLS, against=against, limit=1.3),
        Result(name="snapshot()", value=taken / CALLS, base=snapshot_base / CALLS, against=against),
    ]
    return Report(results)
