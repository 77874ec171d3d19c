"""
Which of several writers goes next, where each may find that another was first.
"""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_ATTEMPTS_WITHOUT_TURN: Final = 8
"""How often other writers may outdate what a writer has validated before they wait for it, so that none starves."""

_TURN_SECONDS: Final = 1.0
"""The least that other writers wait, once: no validator may stop them for good."""


class _Turn(threading.Event):
    """
    The right of one thread to commit next. It is no lock: others wait for it a while and then go on.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds: Final = seconds

    def pause(self) -> None:
        self.wait(self._seconds)


class Turns:
    """
    The writers of one store: each works out a change, and works it out again when another was committed meanwhile.

    Thread safety: any thread.
    """

    def __init__(self) -> None:
        self._turn: _Turn | None = None

    def attempts(self) -> Iterator[int]:
        """
        Count the attempts to commit something, from 1, until the iterator is dropped.

        What other commits have outdated again and again goes first once they have ended: new ones wait for it, for a
        bounded time.
        """
        turn: _Turn | None = None
        longest_seconds = 0.0
        try:
            for attempt in itertools.count(1):
                other = self._turn
                if other is not None and other is not turn:
                    other.pause()
                if turn is None and attempt > _ATTEMPTS_WITHOUT_TURN:
                    turn = self._turn = _Turn(_TURN_SECONDS + 2 * longest_seconds)
                began = time.monotonic()
                yield attempt
                longest_seconds = max(longest_seconds, time.monotonic() - began)
        finally:
            if turn is not None:
                turn.set()
                if self._turn is turn:
                    self._turn = None

    def after_fork_in_child(self) -> None:
        self._turn = None  # the thread whose turn it was may not live on
