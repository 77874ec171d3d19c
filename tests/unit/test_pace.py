"""
How long the updater rests between looks that events cause, by a clock that the tests advance.
"""

from __future__ import annotations

import pytest

from dflag import _pace
from dflag._pace import Pace


class Clock:
    """
    A clock that only the tests advance.
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
    Return how many looks the pace allows in some seconds.
    """
    looks, until = 0, clock.now + seconds
    while clock.now < until and looks < 10_000:
        clock.now += max(pace.rest_seconds(cost_seconds=cost_seconds, useful=useful), 0.0)
        looks += 1
    return looks


def test_useless_looks_are_twenty_a_second_after_a_burst(clock: Clock) -> None:
    """
    The first twenty useless looks come at once, and the later ones are 50 ms apart.
    """
    assert _looks(Pace(), clock, 10.0) == pytest.approx(20 + 200, abs=2)


def test_useful_looks_are_a_hundred_a_second_after_a_burst(clock: Clock) -> None:
    """
    The first hundred useful looks come at once, and the later ones are 10 ms apart.
    """
    assert _looks(Pace(), clock, 10.0, useful=True) == pytest.approx(100 + 1000, abs=2)


def test_costly_looks_take_a_bounded_share(clock: Clock) -> None:
    """
    Useless looks that cost 10 ms each are limited to 4 a second, not 20.
    """
    assert _looks(Pace(), clock, 100.0, cost_seconds=0.01) == pytest.approx(4 + 400, abs=2)


def test_one_costly_look_brings_a_short_rest(clock: Clock) -> None:
    """
    The rest after a single look is one second, even if the look took a minute.
    """
    assert Pace().rest_seconds(cost_seconds=60.0, useful=False) == pytest.approx(1.0)


def test_a_useful_look_clears_the_useless_ones(clock: Clock) -> None:
    """
    A useful look clears the useless looks before it, so that publications of many events need no rest.
    """
    pace = Pace()
    for _ in range(10):
        rests = [pace.rest_seconds(cost_seconds=0.0, useful=False) for _ in range(15)]
        rests.append(pace.rest_seconds(cost_seconds=0.0, useful=True))
        assert max(rests) <= 0
        clock.now += 0.1


def test_quiet_times_are_made_up_for(clock: Clock) -> None:
    """
    After a second without looks the next look is allowed at once.
    """
    pace = Pace()
    _looks(pace, clock, 5.0)
    clock.now += 1.0
    assert pace.rest_seconds(cost_seconds=0.0, useful=False) <= 0
