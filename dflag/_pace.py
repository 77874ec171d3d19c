"""
How often events may make the updater look, so that a storm of events takes a bounded share of a processor.
"""

from __future__ import annotations

import time
from typing import Final

_USELESS_SECONDS: Final = 0.05
"""
The shortest average interval of looks that find nothing new. A log file that grows in a watched directory causes 20
looks a second, however many lines it gets. A change next to it is then seen this much later, a fifth of its settling
time.
"""

_USEFUL_SECONDS: Final = 0.01
"""The same for looks that find new values. No publisher intends to make more than 100 revisions a second."""

_SHARE: Final = 0.04
"""The share of a processor that useless looks may take if each is costly, as in a directory of thousands of files."""

_BURST_SECONDS: Final = 1.0
"""The time that looks may use up before any rest is due: 20 useless looks, or 100 useful ones."""


class Pace:
    """
    The rest that is due after each look that an event has caused.

    A useful look clears the time that the useless looks before it have used up. One publication causes several events,
    and only the last of them brings the new values: it must not wait.

    Thread safety: one thread at a time.
    """

    def __init__(self) -> None:
        self._useless = self._useful = 0.0
        self._then = time.monotonic()

    def rest_seconds(self, *, cost_seconds: float, useful: bool) -> float:
        """
        Return for how many seconds the updater should not look again, whatever happens; 0 or less for no rest.

        Args:
            cost_seconds: The processor time that the look took.
            useful: Whether the look found new values.
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
        # Limited, because a single costly look must not cause a rest of many seconds.
        self._useless = min(self._useless, 2 * _BURST_SECONDS)
        return max(self._useless, self._useful) - _BURST_SECONDS
