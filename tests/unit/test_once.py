"""
An event that signal handlers may use at any moment.
"""

from __future__ import annotations

import threading

import pytest

from dflag._once import Once

DEADLINE_SECONDS = 10.0


def test_it_is_set_once_and_stays_so() -> None:
    """Once the event is set it stays set, also when it is set again, and every `wait()` returns True at once."""
    event = Once()
    assert not event.is_set()
    assert not event.wait(0)
    assert not event.wait(0.001)
    for _ in range(2):
        event.set()
        assert event.is_set()
        assert event.wait(0)
        assert event.wait()


@pytest.mark.parametrize("timeout", [None, DEADLINE_SECONDS, 1e300])
def test_all_threads_that_wait_go_on(timeout: float | None) -> None:
    """All waiting threads go on when the event is set, also without a timeout or with one too large for the system."""
    event, through = Once(), threading.Semaphore(0)

    def wait() -> None:
        assert event.wait(timeout)
        through.release()

    threads = [threading.Thread(target=wait) for _ in range(5)]
    for thread in threads:
        thread.start()
    event.set()
    for thread in threads:
        assert through.acquire(timeout=DEADLINE_SECONDS)
        thread.join(DEADLINE_SECONDS)
