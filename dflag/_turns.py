"""
Decides which writer goes next when several compete, so that none of them starves.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final, TypeVar

from dflag._once import Once

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_ATTEMPTS_WITHOUT_TURN: Final = 8
"""How often other commits may outdate the work of a writer before the other writers wait for it."""

_TURN_SECONDS: Final = 1.0
"""Other writers wait for a turn at most this long plus twice its longest attempt: no validator stops them for ever."""


class _Turn(Once):
    """
    The right of one thread to commit next. It is not a lock: other threads wait for its end for a limited time.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds: Final = seconds
        self._thread: Final = threading.get_ident()

    def pause(self) -> None:
        """
        Wait for the end of the turn; in the thread that has the turn, return at once.
        """
        if threading.get_ident() != self._thread:  # otherwise a parser that sets another flag would wait for itself
            self.wait(self._seconds)


class Turns:
    """
    The writers of one store. Each works out a change, and repeats that if another change was committed meanwhile.

    Thread safety: any thread.
    """

    def __init__(self) -> None:
        self._turn: _Turn | None = None

    def run(self, attempt: Callable[[], T | None]) -> T:
        """
        Call *attempt* until its result is not None, and return that result.

        A writer whose attempts were outdated by other commits several times goes first: the attempts of others wait for
        it, for a limited time.

        Args:
            attempt: Works out a change and commits it. Returns None if another change was committed meanwhile.
        """
        turn: _Turn | None = None
        longest_seconds, attempts = 0.0, 0
        try:
            while True:
                other = self._turn
                if other is not None:
                    other.pause()
                if turn is None and attempts >= _ATTEMPTS_WITHOUT_TURN:
                    turn = self._turn = _Turn(_TURN_SECONDS + 2 * longest_seconds)
                began = time.monotonic()
                result = attempt()
                if result is not None:
                    return result
                longest_seconds = max(longest_seconds, time.monotonic() - began)
                attempts += 1
        finally:
            if turn is not None:
                turn.set()
                if self._turn is turn:
                    self._turn = None

    def after_fork_in_child(self) -> None:
        self._turn = None  # the thread that has the turn may not exist in the child
