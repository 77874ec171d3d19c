"""
How long the updater rests between looks that events cause: by a clock that the tests turn.
"""

from __future__ import annotations

import pytest

from dflag import _pace
from dflag._pace import Pace


class Clock:
    """
    Time that passes only when a test lets it.
    """

    now = 1000.0

    def monotonic(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture(name="clock")
def _clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(_pace, "time", clock)
    return clock


def _looks(pace: Pace, clock: Clock, seconds: float, *, cost_seconds: float = 0.0, useful: bool = False) -> int:
    """
    Look as often as the pace allows, and count.
    """
    looks, until = 0, clock.now + seconds
    while clock.now < until and looks < 10_000:
        clock.now += max(pace.rest_seconds(cost_seconds=cost_seconds, useful=useful), 0.0)
        looks += 1
    return looks


def test_useless_looks_are_twenty_a_second_after_a_burst(clock: Clock) -> None:
    """
    The first twenty come at once, and then one each 50 ms.
    """
    assert _looks(Pace(), clock, 10.0) == pytest.approx(20 + 200, abs=2)


def test_useful_looks_are_a_hundred_a_second_after_a_burst(clock: Clock) -> None:
    """
    Values that change without rest are applied a hundred times a second.
    """
    assert _looks(Pace(), clock, 10.0, useful=True) == pytest.approx(100 + 1000, abs=2)


def test_costly_looks_take_a_bounded_share(clock: Clock) -> None:
    """
    Useless looks of 10 ms each are 4 a second, not 20.
    """
    assert _looks(Pace(), clock, 100.0, cost_seconds=0.01) == pytest.approx(4 + 400, abs=2)


def test_one_costly_look_brings_a_short_rest(clock: Clock) -> None:
    """
    However long a look took, the next is at most a second later.
    """
    assert Pace().rest_seconds(cost_seconds=60.0, useful=False) == pytest.approx(1.0)


def test_a_useful_look_clears_the_useless_ones(clock: Clock) -> None:
    """
    A publication of many events is shown without a rest each time.
    """
    pace = Pace()
    for _ in range(10):
        rests = [pace.rest_seconds(cost_seconds=0.0, useful=False) for _ in range(15)]
        rests.append(pace.rest_seconds(cost_seconds=0.0, useful=True))
        assert max(rests) <= 0
        clock.now += 0.1


def test_quiet_times_are_made_up_for(clock: Clock) -> None:
    """
    After a second without events there is room for a burst again.
    """
    pace = Pace()
    _looks(pace, clock, 5.0)
    clock.now += 1.0
    assert pace.rest_seconds(cost_seconds=0.0, useful=False) <= 0
