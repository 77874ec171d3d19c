"""
The library's one logger.

A module of its own, since importing logging takes a third of the time in which the command prints its help.
"""

from __future__ import annotations

import logging
import sys
import threading
from typing import Final

from dflag.errors import one_line


class _UnseenHandler(logging.NullHandler):
    """
    Prints nothing but one line, at the first warning of a program that does not configure logging.

    A library leaves printing to the program. But a program that never configures logging would not learn that a value
    was refused: so the first warning is printed, once in a process, with what to do.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._first: Final = threading.Lock()  # taken by the first warning and never released

    def handle(self, record: logging.LogRecord) -> bool:
        if not _is_configured(logging.getLogger(record.name), self) and self._first.acquire(blocking=False):
            self._print(record)
        return True

    def _print(self, record: logging.LogRecord) -> None:
        try:
            if sys.stderr is not None:
                sys.stderr.write(
                    f"dflag: {one_line(record.getMessage())} "
                    "[later warnings are not shown: logging is not configured, see logging.basicConfig()]\n"
                )
        except Exception:  # noqa: S110 - closed, full or not a stream at all: nobody is left to be told
            pass


def _is_configured(logger: logging.Logger | None, ours: logging.Handler) -> bool:
    """
    Return whether the program handles or silences the warnings of *logger* in any way.
    """
    while logger is not None:
        if any(handler is not ours for handler in logger.handlers):
            return True  # a NullHandler too: somebody has added it on purpose
        if not logger.propagate:
            return True
        logger = logger.parent
    return logging.lastResort is None  # how the documentation of logging says to silence it


logger: Final = logging.getLogger("dflag")

# Quiet in a program that does not configure logging, which would otherwise print every warning of ours.
logger.addHandler(_UnseenHandler())
