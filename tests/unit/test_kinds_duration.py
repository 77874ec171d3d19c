from __future__ import annotations

from datetime import timedelta

import pytest

from dflag._kinds import DURATION, Problem


@pytest.mark.parametrize(
    ("text", "seconds", "printed"),
    [
        ("1h30m", 5400, "1h30m"),
        ("250ms", 0.25, "250ms"),
        ("1.5h", 5400, "1h30m"),
        ("-2m", -120, "-2m"),
        ("1w2d", 777600, "1w2d"),
        ("1h 30m", 5400, "1h30m"),
        ("+1h", 3600, "1h"),
        ("0", 0, "0s"),
        ("36h", 129600, "1d12h"),
        ("1.5ms", 0.0015, "1.5ms"),
        ("1us", 0.000001, "1\u00b5s"),
        ("1\u03bcs", 0.000001, "1\u00b5s"),
        ("1500ns", 0.000002, "2\u00b5s"),
        ("90.5s", 90.5, "1m30.5s"),
        ("0ns", 0, "0s"),
    ],
)
def test_durations_read_and_print(text: str, seconds: float, printed: str) -> None:
    """
    Durations are read as in Go, and with days and weeks, and print in their shortest form.
    """
    value = DURATION.parse(text)
    assert timedelta(seconds=seconds) == value
    assert printed == DURATION.format(value)


@pytest.mark.parametrize(
    "text", ["", "90", "1h-30m", "1H", "1mo", "1e3s", "1ns", "20000w", "-", "h", "--1h", "9" * 2**20]
)
def test_durations_refuse_other_texts(text: str) -> None:
    """
    Bare numbers, other units, and lengths that a timedelta or a Go duration cannot hold are refused.
    """
    with pytest.raises(Problem, match="a duration"):
        DURATION.parse(text)


def test_a_bare_number_is_answered_with_a_suggestion() -> None:
    """
    The error for the text 90 suggests 90s.
    """
    with pytest.raises(Problem, match="90s"):
        DURATION.parse("90")
