"""
The time of day, which rules go by.
"""

from __future__ import annotations

import datetime
from typing import Final


class Clock:
    """
    The one place that time enters the rules by; tests replace `now`.

    Thread safety: any thread.
    """

    def now(self) -> datetime.datetime:
        """
        Return the time of day in UTC, as the machine's clock has it: it may be set back.
        """
        return datetime.datetime.now(datetime.UTC)


CLOCK: Final = Clock()
"""The clock of the process."""
