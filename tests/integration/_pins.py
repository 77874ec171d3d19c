"""
Helpers for the tests of pinned requests: two flags that always change together, and a storm of changes.
"""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Final, Self

import dflag
from dflag._snapshot import open_pins

from ._waiting import DEADLINE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Collection
    from types import TracebackType

REQUESTS: Final = 1_000
"""How many requests run at the same time in a storm."""

PAUSE_SECONDS: Final = 0.0002
"""How long a storm pauses to let requests run: without a pause, each request waits 5 ms for the interpreter."""


class Pair:
    """
    A registry with two flags, which are equal in each revision.
    """

    def __init__(self) -> None:
        self.flags: Final = dflag.FlagRegistry("pair")
        self.one: Final = self.flags.dyn_int("one", 0)
        self.two: Final = self.flags.dyn_int("two", 0)
        self._numbers: Final = itertools.count(1)

    def swap(self) -> int:
        """
        Commit a new revision, and return its value.
        """
        number = next(self._numbers)
        self.flags.apply({"one": str(number), "two": str(number)}, source="config")
        return number

    def live(self) -> int:
        """
        Return the value in force, regardless of pins.
        """
        value: int = self.flags.snapshot()[self.one]
        return value


class Storm:
    """
    Commits one revision after another, on a separate thread, during a ``with`` block.
    """

    def __init__(self, pair: Pair) -> None:
        self._pair: Final = pair
        self._begun: Final = threading.Event()
        self._ended: Final = threading.Event()
        self._thread: Final = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._begun.wait(DEADLINE_SECONDS)
        return self

    def __exit__(
        self, cls: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(PAUSE_SECONDS):
            self._pair.swap()
            self._begun.set()


def check_storm(answers: Collection[tuple[int, ...]]) -> None:
    """
    Fail unless each request has seen only one revision, and the requests together more than one.
    """
    assert len(answers) == REQUESTS
    torn = [answer for answer in answers if len(set(answer)) != 1]
    assert not torn
    assert len({answer[0] for answer in answers}) > 1
    check_unpinned()


def check_unpinned() -> None:
    """
    Fail if a pin is still open in any context of the process.
    """
    assert not open_pins
