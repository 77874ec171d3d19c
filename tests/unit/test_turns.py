"""
`Turns` decides which of several writers goes next.
"""

from __future__ import annotations

import threading
import time

import pytest

from dflag import _turns
from dflag._turns import Turns

from ..integration._waiting import DEADLINE_SECONDS  # noqa: TID252 - tests is on no path


@pytest.fixture(name="turns")
def _turns_of(monkeypatch: pytest.MonkeyPatch) -> Turns:
    monkeypatch.setattr(_turns, "_TURN_SECONDS", 60.0)
    return Turns()


class Writer:
    """A writer in a thread of its own, whose first *failures* attempts fail."""

    def __init__(self, turns: Turns, failures: float = 0) -> None:
        self._failures = failures
        self.attempts = 0
        self.may_end = threading.Event()
        self.has_failed = threading.Event()
        self.thread = threading.Thread(target=turns.run, args=(self._attempt,), daemon=True)
        self.thread.start()

    def _attempt(self) -> bool | None:
        self.attempts += 1
        if self.attempts <= self._failures:
            return None
        self.has_failed.set()
        if self._failures and not self.may_end.wait(DEADLINE_SECONDS):
            return None
        return True

    def end(self) -> None:
        self.may_end.set()
        self.thread.join(DEADLINE_SECONDS)
        assert not self.thread.is_alive()


@pytest.fixture(name="waiting")
def _waiting(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Return an event that is set when a writer is about to wait for another."""
    waiting, pause = threading.Event(), _turns._Turn.pause

    def note_and_pause(turn: _turns._Turn) -> None:
        waiting.set()
        pause(turn)

    monkeypatch.setattr(_turns._Turn, "pause", note_and_pause)
    return waiting


def test_an_attempt_is_made_until_it_returns_something(turns: Turns) -> None:
    """`run()` repeats an attempt that returns None, and returns the first other result."""
    results = iter([None, None, 3, 4])
    assert turns.run(lambda: next(results)) == 3


def test_an_attempt_that_raises_ends_the_turn(turns: Turns) -> None:
    """An attempt that raises during its turn ends the turn, and the next writer is not blocked."""
    failures = iter([None] * _turns._ATTEMPTS_WITHOUT_TURN)

    def attempt() -> bool | None:
        if (failure := next(failures, True)) is not None:
            raise ValueError("refused")
        return failure

    with pytest.raises(ValueError, match="refused"):
        turns.run(attempt)
    Writer(turns).end()


def test_a_writer_that_failed_often_goes_first(turns: Turns, waiting: threading.Event) -> None:
    """A writer that has failed eight times goes first: new writers wait until it has ended."""
    unlucky = Writer(turns, failures=_turns._ATTEMPTS_WITHOUT_TURN)
    assert unlucky.has_failed.wait(DEADLINE_SECONDS)
    new = Writer(turns)
    assert waiting.wait(DEADLINE_SECONDS)
    assert new.attempts == 0
    unlucky.end()
    new.end()
    assert new.attempts == 1


def test_a_writer_that_failed_seldom_makes_nobody_wait(turns: Turns, waiting: threading.Event) -> None:
    """A writer that has failed seven times has no turn, so no other writer waits for it."""
    unlucky = Writer(turns, failures=_turns._ATTEMPTS_WITHOUT_TURN - 1)
    assert unlucky.has_failed.wait(DEADLINE_SECONDS)
    Writer(turns).end()
    assert not waiting.is_set()
    unlucky.end()


def test_a_writer_that_hangs_stops_no_other_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other writers continue after a time limit when the writer whose turn it is hangs."""
    monkeypatch.setattr(_turns, "_TURN_SECONDS", 0.01)
    turns = Turns()
    unlucky = Writer(turns, failures=_turns._ATTEMPTS_WITHOUT_TURN)
    assert unlucky.has_failed.wait(DEADLINE_SECONDS)
    Writer(turns).end()
    unlucky.end()


def test_a_writer_does_not_wait_for_its_own_turn(turns: Turns) -> None:
    """A `run()` inside an attempt, as when a parser sets another flag, does not wait for the turn of its own thread."""
    results = iter([None] * _turns._ATTEMPTS_WITHOUT_TURN)
    began = time.monotonic()
    assert turns.run(lambda: next(results, turns.run(lambda: True)))
    assert time.monotonic() - began < _turns._TURN_SECONDS / 2


def test_a_forked_child_waits_for_no_thread_of_its_parent(turns: Turns, waiting: threading.Event) -> None:
    """A forked child does not wait for the turn of a thread of its parent."""
    unlucky = Writer(turns, failures=_turns._ATTEMPTS_WITHOUT_TURN)
    assert unlucky.has_failed.wait(DEADLINE_SECONDS)
    turns.after_fork_in_child()
    assert turns.run(lambda: True)
    assert not waiting.is_set()
    unlucky.end()
