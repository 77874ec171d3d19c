"""
Asking a program whether it is well, while a rule has yet to prove itself.
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
"""How often to ask."""

PATIENCE_SECONDS: Final = 5.0
"""How long an answer may take before it counts as a no."""


class Verdict(NamedTuple):
    """
    An answer that the program is not well.

    Attributes:
        why: In words.
        about: What the question was asked for.
    """

    why: str
    about: Collection[object]


class Health:
    """
    The questions, each on a short-lived thread of its own: the program's function may hang.

    Args:
        healthy: The program's function: what it returns is its answer by its truth.

    Thread safety: `verdict` from one thread at a time, the updater's.
    """

    def __init__(self, healthy: Callable[[], object]) -> None:
        self._healthy: Final = healthy
        self._question: _Question | None = None
        self._next = 0.0  # of time.monotonic()
        self._is_reported = False  # that no thread could be started

    def verdict(self, about: Collection[object], wake: Callable[[], None]) -> Verdict | None:
        """
        Return why the program is not well; None while nothing is known against it.

        Asks when it is time to.

        Args:
            about: What it is asked for now; an answer counts for what it was asked for alone.
            wake: Called when the answer is there.
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
        Return in how many seconds `verdict` has something to do.
        """
        question = self._question
        moment = self._next if question is None else question.deadline
        return 0.0 if question is not None and question.is_answered else max(0.0, moment - time.monotonic())

    def wait(self) -> bool:
        """
        Wait until the open question is answered or its time is over; return whether there was one.
        """
        question = self._question
        if question is None:
            return False
        question.answered.wait(max(0.0, question.deadline - time.monotonic()))
        return True

    def forget(self) -> None:
        """
        Let go of a question that is open: nothing waits for the answer, or no thread gives it, as in a forked child.
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
        except RuntimeError as error:  # no thread is free: nothing is known against the program, and it is asked again
            self.unasked = text_of(error)
            self.answered.set()

    @property
    def is_answered(self) -> bool:
        return self.answered.is_set()

    def _ask(self) -> None:
        try:
            answer = self._healthy()
            if not answer or is_unawaited(answer):  # a coroutine is true, whatever its result would be
                self.problem = f"healthy() returned {answer!r:.80}"
        except BaseException as error:
            self.problem = f"healthy() raised {type(error).__name__}: {text_of(error)}"
            if not isinstance(error, Exception) and is_interrupt(error):
                raise
        finally:
            self.answered.set()
            self._wake()
