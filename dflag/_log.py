"""
What dflag logs, and when.

Logging is imported with the first message that anybody could see: it takes a seventh of the time in which a program
imports dflag and makes its first flag, and a third of that in which the command prints its help.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Final

from dflag._fork import follow_forks

if TYPE_CHECKING:
    from collections.abc import Callable

    from dflag._logger import ExceptionInfo, Output

_FORK_SECONDS: Final = 0.5
"""How long a fork and a message wait for each other: longer than a line takes, and short where a handler hangs."""

_POLL_SECONDS: Final = 5e-4

_DEBUG, _INFO, _WARNING, _ERROR = 10, 20, 30, 40  # of logging


class Log:
    """
    The logger ``dflag``.

    Its handlers are foreign code: they may take long, or call dflag. So nothing is logged while a lock of dflag's is
    held.

    A fork waits a moment for messages that other threads are writing: the lock of a buffered stream is copied into the
    child as it is, and where dflag's own thread held it, the child's first line to that stream would never return.

    Thread safety: any thread.
    """

    def __init__(self) -> None:
        self._writing: Final[set[int]] = set()  # the threads that are writing a message
        self._forker: int | None = None
        self._hushed = False
        self._output: Output | None = None
        follow_forks(self, first=True)
        if "logging" in sys.modules:
            self.load()  # so that what configures the loggers there are configures this one too

    def hush(self) -> None:
        """
        Print nothing for a program that does not configure logging, not even its first warning.
        """
        self._hushed = True
        if self._output is not None:
            self._output.hush()

    def is_debugging(self) -> bool:
        """
        Return whether what is only for debugging is logged, so that a costly message need not be made.
        """
        return self._output_for(_DEBUG) is not None

    def debug(self, message: str, *arguments: object) -> None:
        self._log(_DEBUG, message, arguments)

    def info(self, message: str, *arguments: object) -> None:
        self._log(_INFO, message, arguments)

    def warning(self, message: str, *arguments: object) -> None:
        self._log(_WARNING, message, arguments)

    def error(self, message: str, *arguments: object, exc_info: ExceptionInfo = None) -> None:
        self._log(_ERROR, message, arguments, exc_info)

    def exception(self, message: str, *arguments: object) -> None:
        self._log(_ERROR, message, arguments, exc_info=True)

    def _log(self, level: int, message: str, arguments: tuple[object, ...], exc_info: ExceptionInfo = None) -> None:
        output = self._output_for(level)
        if output is None:
            return
        me = threading.get_ident()
        nested = me in self._writing  # a handler that calls dflag
        if not nested:
            self._enter(me)
        try:
            output.write(level, message, arguments, exc_info)
        finally:
            if not nested:
                self._writing.discard(me)

    def _output_for(self, level: int) -> Output | None:
        """
        Return what writes messages of a level; None where nobody would see them.
        """
        output = self._output
        if output is None and ("logging" in sys.modules or (level >= _WARNING and not self._hushed)):
            output = self.load()
        return output if output is not None and output.is_enabled(level) else None

    def load(self) -> Output | None:
        """
        Import logging, for what would have no descriptor left for that once it has something to log.
        """
        try:
            from dflag._logger import output
        except (AttributeError, ImportError, OSError):  # AttributeError in a signal handler amid this very import
            return None
        if self._hushed:
            output.hush()
        self._output = output
        return output

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

    def is_active(self) -> bool:
        return False

    def after_fork_in_child(self) -> None:
        self._writing.intersection_update({threading.get_ident()})
        self._forker = None


logger: Final = Log()
