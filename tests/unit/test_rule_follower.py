"""
What an updater does for the rules of its sources.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import pytest

import dflag
from dflag._clock import CLOCK
from dflag.sources import MemorySource

from ..integration._waiting import eventually  # noqa: TID252 - tests is on no path

if TYPE_CHECKING:
    from dflag._rule_follower import RuleFollower

RULES = "- {name: europe, when: {zone: eu}, set: {rate: 80}}"


class Program:
    """A program whose zone a test sets, and its updater."""

    def __init__(self, flags: dflag.FlagRegistry) -> None:
        self.rate = flags.dyn_int("rate", 1)
        self.zone = "us"
        source = MemorySource({"rate": "50", "_rules.yaml": RULES})
        self.updater = dflag.Updater(flags, source, facts=lambda: {"zone": self.zone})
        self.updater.initialize()
        self.updater.refresh()  # the first facts count as changed


def _look(rules: RuleFollower, *, is_read: bool = False) -> list[str]:
    return rules.look(1, lambda: None, is_read=is_read)


@pytest.fixture(name="program")
def _program(flags: dflag.FlagRegistry) -> Program:
    return Program(flags)


def test_rules_are_resolved_anew_for_other_facts_alone(program: Program) -> None:
    """Rules are resolved again only if the facts, which are asked for after a source was read, have changed."""
    rules = program.updater._rules
    assert _look(rules, is_read=True) == []
    program.zone = "eu"
    assert _look(rules) == []
    assert _look(rules, is_read=True) == ["memory"]
    assert _look(rules, is_read=True) == []
    rules.mark_unresolved(["memory"])
    program.updater.refresh()
    assert program.rate.get() == 80


def test_rules_that_are_due_stay_due_when_a_signal_handler_raises(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rules that are due stay due when a signal handler raises, and the next refresh resolves them."""
    updater = program.updater
    for place, method in (
        (updater._feeds[0], "is_in_force"),
        (updater, "_accept"),
    ):
        program.zone = "us" if program.zone == "eu" else "eu"

        def interrupted(*_: object, **__: object) -> None:
            raise InterruptedError

        with monkeypatch.context() as patched:
            patched.setattr(place, method, interrupted)
            with pytest.raises(InterruptedError):
                updater.refresh()
        updater.refresh()
        assert program.rate.get() == (80 if program.zone == "eu" else 50)


def test_a_forked_child_resolves_all_rules(program: Program) -> None:
    """A forked child resolves all rules again at once, because the fork may have interrupted a thread that did so."""
    rules = program.updater._rules
    assert rules.due_seconds() is None
    rules.after_fork_in_child()
    assert rules.due_seconds() == 0.0
    assert _look(rules) == ["memory"]


NOON = datetime.datetime(2026, 11, 28, 12, tzinfo=datetime.UTC)


@pytest.fixture(name="ordered")
def _ordered(flags: dflag.FlagRegistry) -> dflag.FlagRegistry:
    """Return a registry whose validator refuses low=20."""
    flags.dyn_int("rate", 5)
    low = flags.dyn_int("low", 1)

    @flags.validator
    def ordered(snap: dflag.Snapshot) -> None:
        if snap[low] > 10:
            raise ValueError("low is above 10")

    return flags


def test_a_rule_goes_on_to_prove_itself_beside_a_reading_that_is_refused(ordered: dflag.FlagRegistry) -> None:
    """A rule goes on baking, and is reverted if the program is unhealthy, while a reading is refused."""
    well = True
    source = MemorySource({"_rules.yaml": "- {name: new, from: 2020-01-01T00:00:00Z, bake: 1h, set: {rate: 9}}"})
    updater = dflag.Updater(ordered, source, healthy=lambda: well)
    updater.initialize()
    source.update({**source.read(), "low": "20"})
    updater.refresh()
    assert [rule.state for rule in updater.status().rules] == ["baking"]
    well = False
    assert eventually(lambda: updater.refresh() and ordered.lookup("rate").get() == 5)
    assert [rule.state for rule in updater.status().rules] == ["reverted"]


def test_a_coroutine_is_no_answer_of_health(flags: dflag.FlagRegistry) -> None:
    """A `healthy` function that returns a coroutine counts as failed, and the rule is reverted."""

    async def well() -> bool:
        raise AssertionError  # pragma: no cover - never begun

    flags.dyn_int("rate", 5)
    source = MemorySource({"_rules.yaml": "- {name: new, from: 2020-01-01T00:00:00Z, bake: 1h, set: {rate: 9}}"})
    updater = dflag.Updater(flags, source, healthy=lambda: well())  # noqa: PLW0108 - on purpose
    updater.initialize()
    assert eventually(lambda: updater.refresh() and flags.lookup("rate").get() == 5)
    assert "healthy() returned <coroutine" in (updater.status().rules[0].problem or "")


def test_a_rule_ends_in_time_beside_a_reading_that_is_refused(
    ordered: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rule in force ends at its `until` while a later reading with other rules is refused."""
    now = NOON
    monkeypatch.setattr(CLOCK, "now", lambda: now)
    source = MemorySource({"_rules.yaml": "- {until: 2026-11-28T13:00:00Z, set: {rate: 9}}"})
    updater = dflag.Updater(ordered, source)
    updater.initialize()
    source.update({"_rules.yaml": "- {set: {rate: 7}}", "low": "20"})
    updater.refresh()
    assert ordered.lookup("rate").get() == 9
    now += datetime.timedelta(hours=2)
    assert updater._rules.due_seconds() == 0.0
    updater._cycle()
    assert ordered.lookup("rate").get() == 5
