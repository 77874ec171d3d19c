"""
The one logger of the library.

It has its own module because importing `logging` takes a third of the time in which the command prints its help.
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
"""How long a fork and a message wait for each other: longer than writing a line takes, but short if a handler hangs."""

_POLL_SECONDS: Final = 5e-4

_CALLER: Final = 3
"""The number of calls between a line that logs and the standard library, so that records name that line."""


class _UnseenHandler(logging.NullHandler):
    """
    A handler that prints one line: the first warning, if the program does not configure logging.

    A library leaves printing to the program. But the user of a program that never configures logging would not notice
    that a value was refused. So the first warning is printed, once in a process, with a hint on what to do.
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
        except Exception:  # noqa: S110 - closed, full or no stream at all: nowhere to report it
            pass


def _is_configured(logger: logging.Logger | None, ours: logging.Handler) -> bool:
    """
    Return whether the program handles or silences the warnings of *logger* in any way.
    """
    while logger is not None:
        if any(handler is not ours for handler in logger.handlers):
            return True  # also for a NullHandler, which was added on purpose
        if not logger.propagate:
            return True
        logger = logger.parent
    return logging.lastResort is None  # the documented way to silence logging


class Log(ForkFollower):
    """
    The logger ``dflag``. An exception in a handler or filter does not reach the code that logs.

    Handlers and filters are foreign code: they may take long, or call dflag. So dflag holds no lock while it logs.

    A fork waits a moment for messages that other threads are writing. The child gets a copy of the lock of a buffered
    stream in its current state. If a thread of dflag held that lock, the child's first write to that stream would never
    return.

    Attributes:
        enables: Returns whether messages of a level are logged, so that a costly message need not be made.

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
            if logging.raiseExceptions and sys.stderr is not None:  # as logging itself does if a handler fails
                with contextlib.suppress(Exception):
                    sys.stderr.write(f"dflag: a message could not be logged: {type(error).__name__}\n")
        finally:
            if not nested:
                self._writing.discard(me)

    def _enter(self, me: int) -> None:
        self._writing.add(me)
        # Checked only now, so that either the fork waits for this thread or this thread for the fork.
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

# Without this handler, a program that does not configure logging would print every warning of dflag.
logging.getLogger("dflag").addHandler(_UnseenHandler())
