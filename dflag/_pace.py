"""
How often events may make the updater look, so that a storm of them costs a bounded share of a processor.
"""

from __future__ import annotations

import time
from typing import Final

_USELESS_SECONDS: Final = 0.05
"""
How far apart looks that bring nothing are in the long run: a log file that grows in a watched directory is 20 looks a
second, however many lines it is. A change beside it is then seen this much later, a fifth of its settling time.
"""

_USEFUL_SECONDS: Final = 0.01
"""The same for looks that bring new values: more revisions a second than any publisher means to make."""

_SHARE: Final = 0.04
"""The part of a processor that useless looks may take where each is costly, as in a directory of thousands of files."""

_BURST_SECONDS: Final = 1.0
"""What may be used up at once before any rest: 20 useless looks, or 100 useful ones."""


class Pace:
    """
    The rest that is due after each look that an event has caused.

    Useful looks clear what the useless ones before them have used up, because one publication is several events: only
    the last of them brings the new values, and it must not wait.

    Thread safety: one thread at a time.
    """

    def __init__(self) -> None:
        self._useless = self._useful = 0.0
        self._then = time.monotonic()

    def rest_seconds(self, *, cost_seconds: float, useful: bool) -> float:
        """
        Return how long not to look again whatever happens.

        Args:
            cost_seconds: The processor time that the look took.
            useful: Whether it brought new values.
        """
        now = time.monotonic()
        passed, self._then = now - self._then, now
        self._useless = max(self._useless - passed, 0.0)
        self._useful = max(self._useful - passed, 0.0)
        if useful:
            self._useless = 0.0
            self._useful += _USEFUL_SECONDS
        else:
            self._useless += max(_USELESS_SECONDS, cost_seconds / _SHARE)
        # Beyond a burst only what the last look has cost: a single costly one must not bring a rest of many seconds.
        self._useless = min(self._useless, 2 * _BURST_SECONDS)
        return max(self._useless, self._useful) - _BURST_SECONDS
