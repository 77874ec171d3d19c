"""
The last changes of a registry, each converted to text once.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from dflag._faults import is_interrupt
from dflag._flags import pipeline_of
from dflag._log import logger
from dflag.errors import MASK

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dflag._flags import Flag

HISTORY_LENGTH: Final = 100
"""How many changes are kept."""

_SMALL: Final = frozenset({int, float, bool})
"""Types of values that are small enough to keep. A commit need not print them, which would be a third of its cost."""

TEXT_MAX_CHARACTERS: Final = 2_000
"""How much of a text is kept: a value may have megabytes, and each change has two values."""

UNPRINTABLE: Final = "(cannot be printed)"


class Record:
    """
    One change. A settled record holds no values except small ones. Each value is printed once.

    Attributes:
        seconds: The time of the commit, by `time.time`.
        revision: The number of the commit.
        flag: The flag that changed.
        origin: The layer that holds the new value.
        reason: The reason for the change, cut like the values.

    Thread safety: any thread; the values are printed without a lock, by the first thread that asks.
    """

    __slots__ = ("_texts", "_values", "flag", "origin", "reason", "revision", "seconds")

    def __init__(
        self, seconds: float, revision: int, flag: Flag[Any], old: Any, new: Any, origin: str, reason: str | None
    ) -> None:
        # Seconds, not a datetime, so that only a program that reads the history pays for that import, 2 ms.
        self.seconds: Final = seconds
        self.revision: Final = revision
        self.flag: Final = flag
        self.origin: Final = origin
        self.reason: Final = None if reason is None else _cut(reason)
        self._values: tuple[Any, Any] | None = (old, new)
        self._texts: tuple[str, str] | None = None

    def settle(self) -> None:
        """
        Print the values and drop them, unless both are small and the flag is not secret.
        """
        values = self._values
        small = values is not None and type(values[0]) in _SMALL and type(values[1]) in _SMALL
        if values is not None and (not small or pipeline_of(self.flag).secret):
            self._print(values)

    def _print(self, values: tuple[Any, Any]) -> None:
        # In this order, so that a thread that finds no values finds the texts.
        self._texts = brief_text(self.flag, values[0]), brief_text(self.flag, values[1])
        self._values = None

    def texts(self) -> tuple[str, str]:
        """
        Return the old and the new value as cut texts, masked if the flag is secret.
        """
        values = self._values
        if values is not None:
            self._print(values)
        return (MASK, MASK) if self._texts is None or pipeline_of(self.flag).secret else self._texts


def records_of(changes: Iterable[tuple[Flag[Any], Any, Any, str, str | None]], revision: int) -> list[Record]:
    """
    Make records of changes at this moment. A change is the flag, the old value, the new one, its origin and the reason.
    """
    seconds = time.time()
    return [Record(seconds, revision, *change) for change in changes]


def settle_records(records: Iterable[Record]) -> None:
    """
    Settle new records, as `Record.settle` does.

    Thread safety: any thread. Call it without a lock, because it prints values in the calling thread.
    """
    for record in records:
        record.settle()


def printed(records: Iterable[Record]) -> list[tuple[Record, str, str]]:
    """
    Return each record with its old and new value, as `Record.texts` returns them.
    """
    return [(record, *record.texts()) for record in records]


def brief_text(flag: Flag[Any], value: Any) -> str:
    """
    Return the beginning of a value's text, or the mask if the flag is secret.
    """
    return MASK if pipeline_of(flag).secret else _brief(flag, value)


def _brief(flag: Flag[Any], value: Any) -> str:
    """
    Return the beginning of a value's text. For models this runs a user's code.
    """
    try:
        text = pipeline_of(flag).kind.head(value, TEXT_MAX_CHARACTERS)
        return _cut(str.__str__(text))  # a plain str: a subclass may do anything
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and is_interrupt(error):
            raise  # like Ctrl-C at any other moment; the value is committed, so a SystemExit here can refuse nothing
        # Without the traceback, whose message may quote a secret.
        logger.error("flag %r: cannot print its value: %s", flag.name, type(error).__name__)
        return UNPRINTABLE


def _cut(text: str) -> str:
    """
    Cut a text to the length that the history keeps.
    """
    return text if len(text) <= TEXT_MAX_CHARACTERS else text[: TEXT_MAX_CHARACTERS - 1] + "…"
