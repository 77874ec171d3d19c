"""
The names of dflag's own layers, and the entries of all layers.
"""

from __future__ import annotations

from typing import Any, Final

OVERRIDE: Final = "override"
COMMAND_LINE: Final = "command line"
ENVIRONMENT: Final = "environment"
DEFAULT: Final = "default"
PINNED: Final = "pinned"
"""The origin of the values that a ``pinned()`` block adds. It has no rank, and no registry has such a layer."""
OWN_LAYERS: Final = frozenset({OVERRIDE, COMMAND_LINE, ENVIRONMENT, DEFAULT, PINNED})
"""The layers that do not belong to a source."""

RULES_KEYS: Final = ("_rules.yaml", "_rules")
"""The keys that hold the rules of a source: in a volume, and in a document. No flag has such a name."""

RULE_PREFIX: Final = "rule:"
"""The prefix of a rule's name among names of flags, which contain no colon."""


class Entry:
    """
    The value of one flag in one layer. An entry never changes.

    Attributes:
        value: The value.
        reason: The reason for setting it, or None.
        deadline: When it is dropped, by `time.monotonic`, or None.
        rule: The name of the rule that gives the value, or None.
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
        Return whether the deadline has passed at *now*, by `time.monotonic`.
        """
        return self.deadline is not None and self.deadline <= now
