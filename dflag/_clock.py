"""
The clock of the rules.
"""

from __future__ import annotations

import datetime
from typing import Final


class Clock:
    """
    The only source of time for rules. Tests replace `now`.

    Thread safety: any thread.
    """

    def now(self) -> datetime.datetime:
        """
        Return the date and time in UTC by the machine's clock, which can be set back.
        """
        return datetime.datetime.now(datetime.UTC)


CLOCK: Final = Clock()
"""The clock of the process."""
