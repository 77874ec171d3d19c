"""
The guard of the benchmarks passes, warns and fails at the right ratios.
"""

from __future__ import annotations

import json

import pytest

from tests.benchmarks import guard

LIMITS = {"reading": {"get()": 1.5, "snapshot()": 3.0}}


def _ratios(get: float) -> dict[str, dict[str, float]]:
    return {"reading": {"get()": get, "snapshot()": 2.0}}


@pytest.fixture(name="_local", autouse=True)
def _local_(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)


@pytest.mark.parametrize(
    ("ratio", "status", "verdict"),
    [(1.0, 0, "kept"), (1.5, 0, "kept"), (1.51, 0, "warning"), (3.0, 0, "warning"), (3.01, 1, "failure")],
)
def test_verdict(ratio: float, status: int, verdict: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A ratio up to its limit is kept, up to twice the limit a warning, beyond that a failure and status 1."""
    assert guard.judge(_ratios(ratio), LIMITS, again=lambda: _ratios(ratio)) == status
    output = capsys.readouterr().out
    assert f"| reading: get() | {ratio:.2f} | 1.5 | {verdict} |" in output
    assert "| reading: snapshot() | 2.00 | 3 | kept |" in output
    assert (f"{verdict}: reading: get()" in output) == (verdict != "kept")


def test_a_failure_is_measured_twice(capsys: pytest.CaptureFixture[str]) -> None:
    """A ratio that fails is measured again, and the lower of the two counts."""
    assert guard.judge(_ratios(9.0), LIMITS, again=lambda: _ratios(1.0)) == 0
    assert "| reading: get() | 1.00 | 1.5 | kept |" in capsys.readouterr().out


def test_only_a_failure_is_measured_twice() -> None:
    """A ratio that only warns is not measured again."""
    assert guard.judge(_ratios(2.0), LIMITS, again=lambda: pytest.fail("measured again")) == 0


@pytest.mark.parametrize(("ratio", "command"), [(2.0, "::warning::"), (9.0, "::error::")])
def test_github_is_told_in_its_form(
    ratio: float, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On GitHub Actions, a warning or a failure is printed as a workflow command that GitHub shows with the change."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    guard.judge(_ratios(ratio), LIMITS, again=lambda: _ratios(ratio))
    assert f"\n{command}reading: get(): {ratio:.2f} floors, and the limit is 1.5" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("measured", "limits", "named"),
    [
        (_ratios(1.0), {"reading": {"get()": 1.5}}, "no limit for ['reading: snapshot()']"),
        ({"reading": {"get()": 1.0}}, LIMITS, "no measure for ['reading: snapshot()']"),
        ({"reading": {"get()": 1.0}, "web": {"x": 1.0}}, LIMITS, "no limit for ['web: x']"),
    ],
)
def test_measures_and_limits_go_together(
    measured: guard.Ratios, limits: guard.Ratios, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A measure without a limit, or a limit without a measure, is an error with status 2 that names it."""
    assert guard.judge(measured, limits) == 2
    assert named in capsys.readouterr().err


def test_new_limits_are_generous_by_a_third() -> None:
    """`renewed()` sets each limit a third above its measured ratio."""
    assert guard.renewed({"reading": {"get()": 1.2}}) == {"reading": {"get()": 1.6}}


def test_limits_are_committed_for_each_module() -> None:
    """The file of limits has exactly the modules that the guard runs, and each limit is above a fifth of the floor."""
    limits = json.loads(guard.LIMITS.read_text(encoding="ascii"))
    assert list(limits) == list(guard.MODULES)
    assert all(limit > 0.2 for found in limits.values() for limit in found.values())
