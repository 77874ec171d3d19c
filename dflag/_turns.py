"""
Which of several writers goes next, where each may find that another was first.
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
"""How often other writers may outdate what a writer has validated before they wait for it, so that none starves."""

_TURN_SECONDS: Final = 1.0
"""Other writers wait for a turn at most this long, and twice its longest attempt: no validator stops them for good."""


class _Turn(Once):
    """
    The right of one thread to commit next. It is no lock: others wait for it a while and then go on.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds: Final = seconds
        self._thread: Final = threading.get_ident()

    def pause(self) -> None:
        """
        Wait for the end of the turn, in any thread but the one that has it.
        """
        if threading.get_ident() != self._thread:  # else a parser that sets another flag would wait for itself
            self.wait(self._seconds)


class Turns:
    """
    The writers of one store: each works out a change, and works it out again when another was committed meanwhile.

    Thread safety: any thread.
    """

    def __init__(self) -> None:
        self._turn: _Turn | None = None

    def run(self, attempt: Callable[[], T | None]) -> T:
        """
        Call *attempt* until it returns something, and return that.

        An attempt that other commits have outdated again and again goes first: new ones wait for it, for a bounded
        time.

        Args:
            attempt: Works out a change and commits it; None says that another one was committed meanwhile.
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
        self._turn = None  # the thread whose turn it was may not live on
