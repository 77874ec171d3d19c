"""
`short_waits` shortens the switch interval of the process and restores it.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING

import pytest

import dflag
from dflag._short_waits import short_waits
from dflag.errors import SourceError
from dflag.sources import MemorySource

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dflag.typing import Raw


@pytest.fixture(name="usual", autouse=True)
def _usual() -> Iterator[float]:
    """
    Yield the interval that a test begins with, and restore it afterwards.
    """
    usual = sys.getswitchinterval()
    yield usual
    sys.setswitchinterval(usual)


def test_the_interval_is_short_within_and_as_before_after(usual: float) -> None:
    """
    `short_waits` shortens the interval within its block and restores it at the end, also after an exception.
    """
    with short_waits:
        assert sys.getswitchinterval() < usual / 10
    assert sys.getswitchinterval() == usual

    with pytest.raises(ZeroDivisionError), short_waits:
        1 / 0  # noqa: B018 - raises
    assert sys.getswitchinterval() == usual


def test_blocks_overlap_and_nest(usual: float) -> None:
    """
    When blocks overlap or nest, the one that ends last restores the interval.
    """
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with short_waits, short_waits:
            entered.set()
            leave.wait()

    thread = threading.Thread(target=other, daemon=True)
    with short_waits:
        thread.start()
        entered.wait()
    assert sys.getswitchinterval() < usual
    leave.set()
    thread.join()

    assert sys.getswitchinterval() == usual


@pytest.mark.parametrize("seconds", [0.02, 5e-6])
def test_an_interval_that_the_program_sets_meanwhile_stays(seconds: float) -> None:
    """
    An interval that the program sets within the block stays after the block.
    """
    with short_waits:
        sys.setswitchinterval(seconds)

    assert sys.getswitchinterval() == pytest.approx(seconds)


def test_an_odd_interval_is_put_back_exactly(usual: float) -> None:
    """
    A block restores the interval without losing a microsecond, though the system cuts it to whole microseconds.
    """
    for microseconds in range(190, 5_001, 37):
        sys.setswitchinterval((microseconds + 0.5) / 1e6)
        found = sys.getswitchinterval()
        with short_waits:
            pass
        assert sys.getswitchinterval() == found


def test_an_interval_that_is_shorter_stays(usual: float) -> None:
    """
    `short_waits` keeps an interval of the program that is shorter than its own.
    """
    sys.setswitchinterval(5e-6)
    with short_waits:
        assert sys.getswitchinterval() == pytest.approx(5e-6)

    assert sys.getswitchinterval() == pytest.approx(5e-6) != usual


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_forked_within_has_the_usual_interval(usual: float) -> None:
    """
    A child forked within the block has the usual interval, and can end the block and enter another one.
    """
    with short_waits:
        child = os.fork()
        if child == 0:
            forked = sys.getswitchinterval()
            short_waits.__exit__()
            with short_waits:
                again = sys.getswitchinterval()
            os._exit(0 if again < forked == sys.getswitchinterval() == usual else 1)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("seconds", [None, 0.02])
def test_a_fork_within_changes_nothing_in_the_parent(usual: float, seconds: float | None) -> None:
    """
    A fork within the block changes the parent's interval neither within the block nor after it.
    """
    with short_waits:
        if seconds is not None:
            sys.setswitchinterval(seconds)
        within = sys.getswitchinterval()
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        assert sys.getswitchinterval() == within
    assert sys.getswitchinterval() == (usual if seconds is None else pytest.approx(seconds))


def test_an_updater_reads_in_haste_and_judges_at_leisure(flags: dflag.FlagRegistry, usual: float) -> None:
    """
    The updater reads sources with a short interval, and parses and validates with the usual one, also after a failure.
    """
    seen: dict[str, float] = {}

    class Noting(MemorySource):
        def read(self) -> Mapping[str, Raw]:
            seen["reading"] = sys.getswitchinterval()
            if not seen.get("judging"):
                return super().read()
            raise SourceError("no more")

    def parse(text: str) -> int:
        seen["parsing"] = sys.getswitchinterval()
        return int(text)

    def note(_: int) -> None:
        seen["judging"] = sys.getswitchinterval()

    flags.dyn_custom("rate", 0, parse=parse, validator=note)
    seen.clear()
    source = Noting({"rate": "1"})
    updater = dflag.Updater(flags, source)
    updater.refresh()
    assert seen["reading"] < usual / 10
    assert (seen["parsing"], seen["judging"]) == (usual, usual)

    updater.refresh()
    assert sys.getswitchinterval() == usual
