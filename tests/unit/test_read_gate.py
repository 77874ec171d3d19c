"""
One thread at a time reads the sources; other calls wait for that thread, or only ask it to read again.
"""

from __future__ import annotations

import threading

import pytest

from dflag._read_gate import ReadGate

DEADLINE_SECONDS = 5.0


@pytest.fixture(name="gate")
def _gate() -> ReadGate:
    return ReadGate()


def test_who_asks_meanwhile_is_served_by_the_one_that_reads(gate: ReadGate) -> None:
    """A call within a reading of the same thread, such as a signal handler's, makes that reading look once more."""
    looks: list[int] = []

    def look() -> None:
        looks.append(len(looks))
        if len(looks) < 3:
            assert gate.run(lambda: pytest.fail("a reading within a reading"), None, threading.RLock())

    assert gate.run(look, None, threading.RLock())
    assert (looks, gate.looks) == ([0, 1, 2], 3)


def test_a_look_that_always_asks_for_another_one_ends(gate: ReadGate) -> None:
    """A call whose looks always ask for another one, as ``facts=`` with a `refresh()` does, ends after 100 looks."""

    def look() -> None:
        gate.run(look, None, threading.RLock())

    for _ in range(2):
        before = gate.looks
        assert gate.run(look, None, threading.RLock())
        assert gate.looks == before + 100


def test_a_look_that_raises_leaves_the_gate_open(gate: ReadGate) -> None:
    """The exception of a look reaches the caller, and the next call can read, in the same thread or another."""
    with pytest.raises(OSError, match="broken"):
        gate.run(lambda: (_ for _ in ()).throw(OSError("broken")), None, threading.RLock())
    looks: list[int] = []

    def run() -> None:
        gate.run(lambda: looks.append(threading.get_ident()), lambda: False, threading.RLock())

    other = threading.Thread(target=run)
    other.start()
    other.join(DEADLINE_SECONDS)
    run()
    assert looks == [other.ident, threading.get_ident()]


@pytest.mark.parametrize("why", ["it is not wanted any more", "the one that reads may wait for this thread"])
def test_who_must_not_wait_leaves_it_to_the_one_that_reads(gate: ReadGate, why: str) -> None:
    """A call that must not wait for the thread that reads returns False, and that thread reads once more."""
    inside, released, looks = threading.Event(), threading.Event(), list[int]()
    needed = threading.RLock()

    def look() -> None:
        looks.append(1)
        inside.set()
        released.wait(DEADLINE_SECONDS)

    reading = threading.Thread(target=gate.run, args=(look, None, threading.RLock()))
    reading.start()
    assert inside.wait(DEADLINE_SECONDS)
    with needed:
        wanted = (lambda: False) if why == "it is not wanted any more" else None
        assert not gate.run(lambda: pytest.fail("two readings at once"), wanted, needed)
    released.set()
    reading.join(DEADLINE_SECONDS)
    assert len(looks) == 2
