"""
The logger of the standard library that dflag writes to.

Only `_log` imports it, with the first message of a program that has not imported logging itself.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from typing import TYPE_CHECKING, Final

from dflag._faults import is_interrupt
from dflag.errors import one_line

if TYPE_CHECKING:
    from typing import TypeAlias

    ExceptionInfo: TypeAlias = BaseException | bool | None

_CALLER: Final = 4
"""How many calls lie between a line that logs and the standard library: what a record shall name is that line."""


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

    def hush(self) -> None:
        self._first.acquire(blocking=False)

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


class Output:
    """
    The logger ``dflag``, with a handler for programs that do not configure logging.

    Attributes:
        is_enabled: Tells for a level whether its messages are logged.
        hush: Keeps the handler from printing anything. Idempotent.

    Thread safety: any thread.
    """

    def __init__(self) -> None:
        self._logger: Final = logging.getLogger("dflag")
        unseen = _UnseenHandler()
        # Quiet in a program that does not configure logging, which would otherwise print every warning of ours.
        self._logger.addHandler(unseen)
        self.is_enabled: Final = self._logger.isEnabledFor
        self.hush: Final = unseen.hush

    def write(self, level: int, message: str, arguments: tuple[object, ...], exc_info: ExceptionInfo) -> None:
        """
        Log one message. A handler or filter that raises harms nobody who logs.
        """
        try:
            self._logger.log(level, message, *arguments, exc_info=exc_info, stacklevel=_CALLER)
        except BaseException as error:
            if is_interrupt(error):
                raise
            if logging.raiseExceptions and sys.stderr is not None:  # as logging does itself for a handler that fails
                with contextlib.suppress(Exception):
                    sys.stderr.write(f"dflag: a message could not be logged: {type(error).__name__}\n")


output: Final = Output()
