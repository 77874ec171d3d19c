"""
The library's one logger.

A module of its own, since importing logging takes a third of the time in which the command prints its help.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

from dflag._faults import is_interrupt
from dflag._fork import ForkFollower, follow_forks
from dflag.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    ExceptionInfo: TypeAlias = BaseException | bool | None

_FORK_SECONDS: Final = 0.5
"""How long a fork and a message wait for each other: longer than a line takes, and short where a handler hangs."""

_POLL_SECONDS: Final = 5e-4

_CALLER: Final = 3
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


class Log(ForkFollower):
    """
    The logger ``dflag``. A handler or filter that raises harms nobody who logs.

    It is foreign code: it may take long, or call dflag. So nothing is logged while a lock of dflag's is held.

    A fork waits a moment for messages that other threads are writing: the lock of a buffered stream is copied into the
    child as it is, and where dflag's own thread held it, the child's first line to that stream would never return.

    Attributes:
        enables: Tells for a level whether its messages are logged, so that a costly one need not be made.

    Thread safety: any thread.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger: Final = logger
        self.enables: Final = logger.isEnabledFor
        self._writing: Final[set[int]] = set()  # the threads that are writing a message
        self._forker: int | None = None
        follow_forks(self, first=True)

    def debug(self, message: str, *arguments: object) -> None:
        self._log(logging.DEBUG, message, arguments)

    def info(self, message: str, *arguments: object) -> None:
        self._log(logging.INFO, message, arguments)

    def warning(self, message: str, *arguments: object) -> None:
        self._log(logging.WARNING, message, arguments)

    def error(self, message: str, *arguments: object, exc_info: ExceptionInfo = None) -> None:
        self._log(logging.ERROR, message, arguments, exc_info)

    def exception(self, message: str, *arguments: object) -> None:
        self._log(logging.ERROR, message, arguments, exc_info=True)

    def _log(self, level: int, message: str, arguments: tuple[object, ...], exc_info: ExceptionInfo = None) -> None:
        if not self._logger.isEnabledFor(level):
            return
        me = threading.get_ident()
        nested = me in self._writing  # a handler that calls dflag
        if not nested:
            self._enter(me)
        try:
            self._logger.log(level, message, *arguments, exc_info=exc_info, stacklevel=_CALLER)
        except BaseException as error:
            if is_interrupt(error):
                raise
            if logging.raiseExceptions and sys.stderr is not None:  # as logging does itself for a handler that fails
                with contextlib.suppress(Exception):
                    sys.stderr.write(f"dflag: a message could not be logged: {type(error).__name__}\n")
        finally:
            if not nested:
                self._writing.discard(me)

    def _enter(self, me: int) -> None:
        self._writing.add(me)
        # Looked at after that, so that either the fork waits for this thread or this thread for the fork.
        if self._forker not in (None, me):
            self._writing.discard(me)
            self._wait(lambda: self._forker is None)
            self._writing.add(me)

    def _wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _FORK_SECONDS
        while not condition() and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)  # no lock, so that nothing here can stay locked

    # --- forking

    def before_fork(self) -> None:
        me = self._forker = threading.get_ident()
        self._wait(lambda: not self._writing - {me})

    def after_fork_in_parent(self) -> None:
        self._forker = None

    def after_fork_in_child(self) -> None:
        self._writing.intersection_update({threading.get_ident()})
        self._forker = None


logger: Final = Log(logging.getLogger("dflag"))

# Quiet in a program that does not configure logging, which would otherwise print every warning of ours.
logging.getLogger("dflag").addHandler(_UnseenHandler())
