"""
Health checks of the program during the bake of a rule.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

from dflag._faults import OwnThread, is_interrupt, is_unawaited, text_of
from dflag._log import logger
from dflag._once import Once

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

INTERVAL_SECONDS: Final = 1.0
"""The interval between two questions."""

PATIENCE_SECONDS: Final = 5.0
"""How long an answer may take before the program counts as unhealthy."""


class Verdict(NamedTuple):
    """
    An answer that the program is unhealthy.

    Attributes:
        why: The reason, as a text.
        about: The subjects of the question, such as rules.
    """

    why: str
    about: Collection[object]


class Health:
    """
    Asks the program whether it is healthy, each time on a short-lived thread, because its function may hang.

    Args:
        healthy: The function of the program. A true result means that the program is healthy.

    Thread safety: `verdict` is for one thread at a time, the updater's.
    """

    def __init__(self, healthy: Callable[[], object]) -> None:
        self._healthy: Final = healthy
        self._question: _Question | None = None
        self._next = 0.0  # of time.monotonic()
        self._is_reported = False  # whether a failure to start a thread has been reported

    def verdict(self, about: Collection[object], wake: Callable[[], None]) -> Verdict | None:
        """
        Return why the program is unhealthy, or None if no new answer says so. Ask again when it is time.

        Args:
            about: The subjects of a question that is asked now. An answer only counts for the subjects of its question.
            wake: Called when the answer has arrived.
        """
        question, now = self._question, time.monotonic()
        if question is not None:
            if not question.is_answered and now < question.deadline:
                return None
            self._question = None
            self._next = question.began + INTERVAL_SECONDS
            if not question.is_answered:
                return Verdict(f"healthy() has not answered within {PATIENCE_SECONDS:g} s", question.about)
            if question.problem is not None:
                return Verdict(question.problem, question.about)
        if now >= self._next:
            question = self._question = _Question(self._healthy, about, wake)
            if question.unasked is not None and not self._is_reported:
                logger.warning("cannot call healthy(), no thread could be started for it: %s", question.unasked)
            self._is_reported = question.unasked is not None
        return None

    def due_seconds(self) -> float:
        """
        Return in how many seconds `verdict` should be called next.
        """
        question = self._question
        moment = self._next if question is None else question.deadline
        return 0.0 if question is not None and question.is_answered else max(0.0, moment - time.monotonic())

    def wait(self) -> bool:
        """
        Wait until the open question is answered or its time is over; return whether there was an open question.
        """
        question = self._question
        if question is None:
            return False
        question.answered.wait(max(0.0, question.deadline - time.monotonic()))
        return True

    def forget(self) -> None:
        """
        Forget an open question, because nothing needs the answer, or, in a forked child, because no thread gives it.
        """
        self._question = None


class _Question:
    def __init__(self, healthy: Callable[[], object], about: Collection[object], wake: Callable[[], None]) -> None:
        self.about: Final = about
        self.began: Final = time.monotonic()
        self.deadline: Final = self.began + PATIENCE_SECONDS
        self.answered: Final = Once()
        self.problem: str | None = None
        self.unasked: str | None = None
        self._healthy: Final = healthy
        self._wake: Final = wake
        try:
            OwnThread(target=self._ask, name="dflag-healthy", daemon=True).start()
        except RuntimeError as error:  # no thread is free: this is no verdict, and the program is asked again
            self.unasked = text_of(error)
            self.answered.set()

    @property
    def is_answered(self) -> bool:
        return self.answered.is_set()

    def _ask(self) -> None:
        try:
            answer = self._healthy()
            if not answer or is_unawaited(answer):  # a coroutine is true, regardless of its result
                self.problem = f"healthy() returned {answer!r:.80}"
        except BaseException as error:
            self.problem = f"healthy() raised {type(error).__name__}: {text_of(error)}"
            if not isinstance(error, Exception) and is_interrupt(error):
                raise
        finally:
            self.answered.set()
            self._wake()
