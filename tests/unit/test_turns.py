"""
Which of several writers goes next.
"""

from __future__ import annotations

import threading

import pytest

from dflag import _turns
from dflag._turns import Turns

from ..integration._waiting import DEADLINE_SECONDS  # noqa: TID252 - tests is on no path


@pytest.fixture(name="turns")
def _turns_of(monkeypatch: pytest.MonkeyPatch) -> Turns:
    monkeypatch.setattr(_turns, "_TURN_SECONDS", 60.0)
    return Turns()


def _start_new_writer(turns: Turns) -> tuple[threading.Thread, list[int]]:
    attempts: list[int] = []
    thread = threading.Thread(target=lambda: attempts.append(next(turns.attempts())), daemon=True)
    thread.start()
    return thread, attempts


def test_attempts_are_counted(turns: Turns) -> None:
    """From 1, each for itself."""
    one, other = turns.attempts(), turns.attempts()
    assert [next(one), next(one), next(other)] == [1, 2, 1]


def test_a_writer_that_failed_often_goes_first(turns: Turns, monkeypatch: pytest.MonkeyPatch) -> None:
    """New ones wait until it has ended; those before that do not."""
    waiting, pause = threading.Event(), _turns._Turn.pause

    def note_and_pause(turn: _turns._Turn) -> None:
        waiting.set()
        pause(turn)

    monkeypatch.setattr(_turns._Turn, "pause", note_and_pause)
    unlucky = turns.attempts()
    for _ in range(_turns._ATTEMPTS_WITHOUT_TURN):
        next(unlucky)
    early, attempts = _start_new_writer(turns)
    early.join(DEADLINE_SECONDS)
    assert (attempts, waiting.is_set()) == ([1], False)
    next(unlucky)
    thread, attempts = _start_new_writer(turns)
    assert waiting.wait(DEADLINE_SECONDS)
    assert attempts == []
    unlucky.close()
    thread.join(DEADLINE_SECONDS)
    assert attempts == [1]


def test_a_writer_that_hangs_stops_no_other_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no lock: the others go on after a while."""
    monkeypatch.setattr(_turns, "_TURN_SECONDS", 0.01)
    turns = Turns()
    unlucky = turns.attempts()
    for _ in range(_turns._ATTEMPTS_WITHOUT_TURN + 1):
        next(unlucky)
    thread, attempts = _start_new_writer(turns)
    thread.join(DEADLINE_SECONDS)
    assert attempts == [1]


def test_a_forked_child_waits_for_no_thread_of_its_parent(turns: Turns) -> None:
    """The one whose turn it was does not live there."""
    unlucky = turns.attempts()
    for _ in range(_turns._ATTEMPTS_WITHOUT_TURN + 1):
        next(unlucky)
    turns.after_fork_in_child()
    assert next(turns.attempts()) == 1
