"""
One thread at a time reads the sources; other calls wait for that thread, or only ask it to read again.
"""

from __future__ import annotations

import threading

import pytest

from dflag._look_right import LookRight

DEADLINE_SECONDS = 5.0


@pytest.fixture(name="right")
def _right() -> LookRight:
    return LookRight()


def test_who_asks_meanwhile_is_served_by_the_one_that_reads(right: LookRight) -> None:
    """A call within a reading of the same thread, such as a signal handler's, makes that reading look once more."""
    looks: list[int] = []

    def look() -> None:
        looks.append(len(looks))
        if len(looks) < 3:
            assert right.run(lambda: pytest.fail("a reading within a reading"), None, threading.RLock())

    assert right.run(look, None, threading.RLock())
    assert (looks, right.looks) == ([0, 1, 2], 3)


def test_a_look_that_always_asks_for_another_one_ends(right: LookRight) -> None:
    """A call whose looks always ask for another one, as ``facts=`` with a `refresh()` does, ends after 100 looks."""

    def look() -> None:
        right.run(look, None, threading.RLock())

    for _ in range(2):
        before = right.looks
        assert right.run(look, None, threading.RLock())
        assert right.looks == before + 100


def test_a_look_that_raises_leaves_the_right_to_others(right: LookRight) -> None:
    """The exception of a look reaches the caller, and the next call can read."""
    with pytest.raises(OSError, match="broken"):
        right.run(lambda: (_ for _ in ()).throw(OSError("broken")), None, threading.RLock())
    done = threading.Event()
    assert right.run(done.set, None, threading.RLock())
    assert done.is_set()


@pytest.mark.parametrize("why", ["it is not wanted any more", "the one that reads may wait for this thread"])
def test_who_must_not_wait_leaves_it_to_the_one_that_reads(right: LookRight, why: str) -> None:
    """A call that must not wait for the thread that reads returns False, and that thread reads once more."""
    inside, gate, looks = threading.Event(), threading.Event(), list[int]()
    needed = threading.RLock()

    def look() -> None:
        looks.append(1)
        inside.set()
        gate.wait(DEADLINE_SECONDS)

    reading = threading.Thread(target=right.run, args=(look, None, threading.RLock()))
    reading.start()
    assert inside.wait(DEADLINE_SECONDS)
    with needed:
        wanted = (lambda: False) if why == "it is not wanted any more" else None
        assert not right.run(lambda: pytest.fail("two readings at once"), wanted, needed)
    gate.set()
    reading.join(DEADLINE_SECONDS)
    assert len(looks) == 2
