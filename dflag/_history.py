"""
The last changes of a registry, printed once each.
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
"""The types of which no value is worth letting go of, so that a commit need not print it: a third of its cost."""

TEXT_MAX_CHARACTERS: Final = 2_000
"""How much of a text is kept: a value may have megabytes, and the history has two of each change."""

UNPRINTABLE: Final = "(cannot be printed)"


class Record:
    """
    One change. Once settled it holds no value but small ones, and prints each once.

    Attributes:
        seconds: When it was committed, of `time.time`.
        revision: The number of the commit.
        flag: What has changed.
        origin: The layer that holds the new value.
        reason: Why, cut as the values are.

    Thread safety: any thread; the values are printed without a lock, by the first thread that asks.
    """

    __slots__ = ("_texts", "_values", "flag", "origin", "reason", "revision", "seconds")

    def __init__(
        self, seconds: float, revision: int, flag: Flag[Any], old: Any, new: Any, origin: str, reason: str | None
    ) -> None:
        # Seconds, not a datetime: only a program that looks at the history pays for that import, 2 ms.
        self.seconds: Final = seconds
        self.revision: Final = revision
        self.flag: Final = flag
        self.origin: Final = origin
        self.reason: Final = None if reason is None else _cut(reason)
        self._values: tuple[Any, Any] | None = (old, new)
        self._texts: tuple[str, str] | None = None

    def settle(self) -> None:
        """
        Print the values and let go of them, unless they are small.
        """
        values = self._values
        small = values is not None and type(values[0]) in _SMALL and type(values[1]) in _SMALL
        if values is not None and (not small or pipeline_of(self.flag).secret):
            self._print(values)

    def _print(self, values: tuple[Any, Any]) -> None:
        # In this order: a thread that finds no values finds the texts.
        self._texts = brief_text(self.flag, values[0]), brief_text(self.flag, values[1])
        self._values = None

    def texts(self) -> tuple[str, str]:
        """
        Return the old value and the new one as texts, cut; a secret's masked.
        """
        values = self._values
        if values is not None:
            self._print(values)
        return (MASK, MASK) if self._texts is None or pipeline_of(self.flag).secret else self._texts


def records_of(changes: Iterable[tuple[Flag[Any], Any, Any, str, str | None]], revision: int) -> list[Record]:
    """
    Make records of changes at this moment: of each the flag, the old value, the new one, its origin and the reason.
    """
    seconds = time.time()
    return [Record(seconds, revision, *change) for change in changes]


def settle_records(records: Iterable[Record]) -> None:
    """
    Print what new records hold, and let go of it, as `Record.settle` does.

    Thread safety: any thread; values are printed in this one, so it is called without a lock.
    """
    for record in records:
        record.settle()


def printed(records: Iterable[Record]) -> list[tuple[Record, str, str]]:
    """
    Return records, each with the old value and the new one as `Record.texts` has them.
    """
    return [(record, *record.texts()) for record in records]


def brief_text(flag: Flag[Any], value: Any) -> str:
    """
    Print the beginning of a value, masked for a secret.
    """
    return MASK if pipeline_of(flag).secret else _brief(flag, value)


def _brief(flag: Flag[Any], value: Any) -> str:
    """
    Print the beginning of a value, which for models is a user's code.
    """
    try:
        text = pipeline_of(flag).kind.head(value, TEXT_MAX_CHARACTERS)
        return _cut(str.__str__(text))  # no subclass, which may do anything
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and is_interrupt(error):
            raise  # as Ctrl-C at any other moment; the value is committed, so that a SystemExit here refuses nothing
        # Without the traceback, whose message may quote a secret.
        logger.error("flag %r: cannot print its value: %s", flag.name, type(error).__name__)
        return UNPRINTABLE


def _cut(text: str) -> str:
    """
    Cut a text to what the history keeps of it.
    """
    return text if len(text) <= TEXT_MAX_CHARACTERS else text[: TEXT_MAX_CHARACTERS - 1] + "…"
