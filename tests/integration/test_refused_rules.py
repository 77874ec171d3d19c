"""
Rules that registry validators refuse: they are tried again after each commit that may make them acceptable.
"""

from __future__ import annotations

import itertools
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

import dflag
from dflag._clock import CLOCK
from dflag.sources import MemorySource
from dflag.testing import SteppedUpdater

from ._waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

RULE = "- {name: low, set: {hi: 5}}"


class Bounds:
    """Three flags and a validator of `lo` and `hi`, which counts its calls and gives each refusal another text."""

    def __init__(self, flags: dflag.FlagRegistry) -> None:
        self.flags = flags
        self.lo = flags.dyn_int("lo", 1)
        self.hi = flags.dyn_int("hi", 10, by="tenant")
        self.other = flags.dyn_int("other", 1)
        self.calls = itertools.count()
        self.number = 0
        flags.validator(self.check)

    def check(self, values: dflag.Snapshot) -> None:
        self.number = next(self.calls)
        if values[self.lo] > values[self.hi]:
            raise ValueError(f"refusal {self.number}: lo is above hi")

    def updater(self, *sources: MemorySource, **options: Any) -> dflag.Updater:
        return dflag.Updater(self.flags, sources, resync_seconds=0.05, on_bad_start="skip", **options)

    def waits_for(self, updater: dflag.Updater, hi: int) -> bool:
        return updater.wait_for(lambda values: values[self.hi] == hi, timeout=10)


@pytest.fixture(name="bounds")
def _bounds(flags: dflag.FlagRegistry) -> Bounds:
    return Bounds(flags)


def state(updater: dflag.Updater | SteppedUpdater, name: str = "low") -> str:
    return next(rule.state for rule in updater.status().rules if rule.name == name)


def test_a_rule_comes_into_force_when_another_source_allows_it(bounds: Bounds) -> None:
    """A refused rule comes into force, without a new text or a refresh(), when a value of another source allows it."""
    other = MemorySource({"lo": "7"}, name="other")
    with bounds.updater(MemorySource({"_rules.yaml": RULE}, name="rules"), other) as updater:
        assert (bounds.hi.get(), state(updater)) == (10, "refused")
        other.update({"lo": "1"})
        assert bounds.waits_for(updater, 5)
        assert (state(updater), updater.status().rejected) == ("in force", {})


def test_a_rule_comes_into_force_when_an_override_is_dropped(bounds: Bounds) -> None:
    """A refused rule comes into force when the override that it clashed with is reset."""
    bounds.lo.set(7)
    with bounds.updater(MemorySource({"hi": "10", "_rules.yaml": RULE})) as updater:
        assert (bounds.hi.get(), state(updater)) == (10, "refused")
        bounds.lo.reset()
        assert bounds.waits_for(updater, 5)


def test_an_explicit_refresh_tries_a_refused_rule_again(bounds: Bounds) -> None:
    """`refresh()` tries a refused rule again in an updater that has not been started."""
    bounds.lo.set(7)
    updater = bounds.updater(MemorySource({"_rules.yaml": RULE}))
    updater.initialize()
    assert updater.refresh().rules == ()
    bounds.lo.reset()
    assert updater.refresh().rules == ("low",)


@pytest.mark.parametrize("atomic", [False, True])
def test_a_rule_that_is_refused_at_its_switch_comes_into_force_later(
    bounds: Bounds, monkeypatch: pytest.MonkeyPatch, *, atomic: bool
) -> None:
    """A rule that is refused at its ``from`` comes into force when the clashing value is gone, with atomic=True too."""
    hours = [9]
    monkeypatch.setattr(CLOCK, "now", lambda: datetime(2026, 11, 28, hours[0], tzinfo=UTC))
    rules = "- {name: low, from: 2026-11-28T10:00:00Z, set: {hi: 5}}"
    with bounds.updater(MemorySource({"_rules.yaml": rules}), atomic=atomic) as updater:
        bounds.lo.set(7)
        hours[0] = 10
        updater.refresh()

        def is_refused() -> bool:
            return state(updater) == "refused" or updater.status().sources[0].last_error is not None

        assert eventually(is_refused)
        bounds.lo.reset()
        assert bounds.waits_for(updater, 5)


@pytest.mark.parametrize("rules", [RULE, f"- {{name: high, set: {{lo: 6}}}}\n{RULE}"])
def test_a_refused_rule_is_tried_once_for_each_other_commit(
    bounds: Bounds, caplog: pytest.LogCaptureFixture, rules: str
) -> None:
    """Each commit tries a refused rule once; a repeated refusal makes no revision, log or error, whatever its text."""
    if rules == RULE:
        bounds.lo.set(7)
    steps = SteppedUpdater(bounds.flags, {"_rules.yaml": rules}, on_bad_start="skip")
    look: Callable[[], object] = steps._updater._cycle  # as the thread does
    look()
    before = steps.status()
    first, errors = str(before.rejected["rule:low"]), before.errors
    number = bounds.flags.snapshot().revision
    caplog.clear()
    with caplog.at_level(logging.INFO, "dflag"):
        for value in (2, 3):
            tried = bounds.number
            bounds.other.set(value)
            look()
            assert bounds.number > tried + 1  # one call is for the set(), the others are for the rule
            tried = bounds.number
            look()
            assert bounds.number == tried
    assert bounds.flags.snapshot().revision == number + 2
    assert (str(steps.status().rejected["rule:low"]), steps.status().errors) == (first, errors)
    assert [record for record in caplog.records if "low" in record.message] == []


def test_a_rule_that_is_edited_again_says_what_is_wrong_now(bounds: Bounds) -> None:
    """The status says what is wrong with the newest text of a rule; the text before the refused one stays in force."""
    steps = SteppedUpdater(bounds.flags, {"_rules.yaml": "- {name: low, set: {hi: 9}}"})
    bounds.lo.set(7)
    steps.update({"_rules.yaml": RULE})
    rejected = steps.update({"_rules.yaml": "- {name: low, set: {hi: x}}"}).rejected
    assert "expected an int, got 'x'" in str(rejected["rule:low"])
    assert (bounds.hi.get(), state(steps)) == (9, "refused")


def test_a_last_good_text_comes_back(bounds: Bounds) -> None:
    """A rule's last good text comes into force when the validator accepts it, while the rule's new text is refused."""
    facts = {"zone": "a"}
    rule = "- {{name: low, when: {{zone: b}}, set: {{hi: {}}}}}"
    steps = SteppedUpdater(bounds.flags, {"_rules.yaml": rule.format(6)}, facts=lambda: facts)
    bounds.lo.set(7)
    steps.update({"_rules.yaml": rule.format(5)})
    bounds.lo.set(6)
    facts["zone"] = "b"
    steps._updater.refresh()
    assert (bounds.hi.get(), state(steps)) == (6, "refused")


def test_no_rule_is_tried_again_while_none_is_refused(bounds: Bounds) -> None:
    """When no rule is refused, the check after another commit calls no validator."""
    steps = SteppedUpdater(bounds.flags, {"_rules.yaml": RULE})
    steps._updater._cycle()
    bounds.other.set(2)
    tried = bounds.number
    steps._updater._cycle()
    assert (bounds.number, state(steps)) == (tried, "in force")


def test_rules_that_stay_refused_take_no_other_with_them(bounds: Bounds) -> None:
    """When refused rules of two sources are tried again, rules in force stay, and one accepted rule may join them."""
    up, down = bounds.flags.dyn_int("up", 1), bounds.flags.dyn_int("down", 1)

    @bounds.flags.validator
    def one_of_two(values: dflag.Snapshot) -> None:
        if values[up] + values[down] > 2 + values[bounds.other]:
            raise ValueError("too much")

    first, second = MemorySource({}, name="first"), MemorySource({}, name="second")
    updater = bounds.updater(first, second)
    updater.initialize()
    first.update({"_rules.yaml": f"{RULE}\n- {{name: high, set: {{lo: 6}}}}"})
    updater.refresh()
    second.update({"_rules.yaml": "- {name: up, set: {up: 2}}\n- {name: down, set: {down: 2}}"})
    updater.refresh()
    names = ("low", "high", "up", "down")
    expected = ["in force", "refused", "in force", "refused"]
    assert [state(updater, name) for name in names] == expected
    bounds.flags.dyn_int("unrelated", 1).set(2)
    updater.refresh()
    assert [state(updater, name) for name in names] == expected
    bounds.other.set(2)
    updater.refresh()
    assert [state(updater, name) for name in names] == ["in force", "refused", "in force", "in force"]


def test_a_value_that_stays_bad_is_logged_once_whatever_else_is_committed(
    flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """
    An atomic updater with rules logs and counts a bad value once, although each commit resolves the rules again.
    """
    caplog.set_level(logging.INFO, logger="dflag")
    rate, burst = flags.dyn_int("rate", 1), flags.dyn_int("burst", 1)
    source = MemorySource({"rate": "5", "_rules.yaml": "- set: {rate: 6}"})
    updater = dflag.Updater(flags, source, atomic=True)
    updater.initialize()
    source.update({"rate": "bad", "_rules.yaml": "- set: {rate: 6}"})
    for number in range(3):
        updater.refresh()
        burst.set(number)
    updater.refresh()
    status = updater.status()
    assert (rate.get(), list(status.rejected)) == (6, ["rate"])
    assert (status.errors, status.sources[0].reloads["refused"]) == (1, 1)
    assert caplog.text.count("got 'bad'") == 1
    assert "no longer refused" not in caplog.text


def test_the_status_shows_what_the_last_reading_rejects(flags: dflag.FlagRegistry) -> None:
    """
    After a reading that a registry validator refuses, `rejected` no longer lists the bad value of the reading before.
    """
    flags.dyn_int("rate", 1)
    flags.dyn_int("burst", 1)

    @flags.validator
    def _small(values: dflag.Snapshot) -> None:
        if values["rate"] > 90:
            raise ValueError("too fast")

    source = MemorySource({"rate": "5"})
    updater = dflag.Updater(flags, source, atomic=True)
    updater.initialize()
    source.update({"rate": "5", "burst": "bad"})
    updater.refresh()
    assert list(updater.status().rejected) == ["burst"]
    source.update({"rate": "95", "burst": "2"})
    assert updater.refresh().error is not None
    assert list(updater.status().rejected) == []
