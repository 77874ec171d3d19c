"""
The layers that dflag itself has, and what any layer holds.
"""

from __future__ import annotations

from typing import Any, Final

OVERRIDE: Final = "override"
COMMAND_LINE: Final = "command line"
ENVIRONMENT: Final = "environment"
DEFAULT: Final = "default"
PINNED: Final = "pinned"
"""Where the values come from that a ``pinned()`` block puts on top. It ranks nowhere: no registry holds it."""
OWN_LAYERS: Final = frozenset({OVERRIDE, COMMAND_LINE, ENVIRONMENT, DEFAULT, PINNED})
"""The layers that are not a source's."""

RULES_KEYS: Final = ("_rules.yaml", "_rules")
"""The keys that hold a source's rules: of a volume, and of a document. No flag has such a name."""

RULE_PREFIX: Final = "rule:"
"""What the name of a rule begins with among the names of flags, none of which holds a colon."""


class Entry:
    """
    What one layer holds for one flag; never changes.

    Attributes:
        value: The value.
        reason: Why it was set.
        deadline: When it drops, of `time.monotonic`.
        rule: The name of the rule that gives it.
    """

    __slots__ = ("deadline", "reason", "rule", "value")  # no tuple: a start makes one for each flag, in half the time

    def __init__(
        self, value: Any, reason: str | None = None, deadline: float | None = None, rule: str | None = None
    ) -> None:
        self.value: Final = value
        self.reason: Final = reason
        self.deadline: Final = deadline
        self.rule: Final = rule

    def is_over(self, now: float) -> bool:
        """
        Return whether its time limit has passed at *now*, of `time.monotonic`.
        """
        return self.deadline is not None and self.deadline <= now
