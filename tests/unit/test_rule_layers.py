"""
The rules of a source: checked against the flags, resolved by facts and time, and committed with the plain values.
"""

from __future__ import annotations

import datetime
import logging
import threading
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

import pytest

import dflag
from dflag import _health
from dflag._clock import CLOCK
from dflag._keyed import EVERYBODY, draw
from dflag._registry import sources_of
from dflag.sources import MemorySource
from dflag.testing import SteppedUpdater

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dflag import DynamicFlag, FlagRegistry, RuleStatus

TEN = datetime.datetime(2026, 11, 28, 10, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
KEY = "_rules.yaml"


class FakeClock:
    """
    A clock that stands still until a test sets it.
    """

    def __init__(self) -> None:
        self.time = TEN

    def now(self) -> datetime.datetime:
        return self.time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """Return a clock that replaces the clock of the process."""
    fake = FakeClock()
    monkeypatch.setattr(CLOCK, "now", fake.now)
    return fake


@pytest.fixture
def rate(registry: FlagRegistry) -> DynamicFlag[int]:
    return registry.dyn_int("rate", 50, by="tenant", min=1, max=1_000)


class Steps:
    """
    A stepped updater whose rules are written as YAML, next to a plain rate of 60.
    """

    def __init__(self, registry: FlagRegistry, rules: str, **options: Any) -> None:
        self.plain: dict[str, str] = {"rate": "60"}
        values = {**self.plain, **({KEY: rules} if rules else {})}
        self.steps = SteppedUpdater(registry, values, **options)

    def rules(self, text: str) -> dflag.Revision:
        return self.steps.write({**self.plain, KEY: text})

    def look(self) -> dflag.Revision:
        return self.steps._updater.refresh()  # as the timer does

    def states(self) -> dict[str, str]:
        return {each.name: each.state for each in self.steps.status().rules}

    def status(self, name: str) -> RuleStatus:
        return next(each for each in self.steps.status().rules if each.name == name)


@pytest.fixture
def make(registry: FlagRegistry, rate: DynamicFlag[int], clock: FakeClock) -> Iterator[Callable[..., Steps]]:
    """Yield a function that makes an updater with rules; the updaters are closed after the test."""
    made: list[Steps] = []

    def make(rules: str = "", **options: Any) -> Steps:
        made.append(Steps(registry, rules, **options))
        return made[-1]

    yield make
    for each in made:
        each.steps.close()


def test_a_rule_for_this_process_is_an_ordinary_value(
    registry: FlagRegistry, rate: DynamicFlag[int], make: Callable[..., Steps]
) -> None:
    """
    A rule for this process wins over the plain value, and `explain()`, the history and the revision name the rule.
    """
    steps = make(facts={"zone": "eu-1"})
    revision = steps.rules("- name: europe\n  when: {zone: eu-*}\n  set: {rate: 80}")
    assert (rate.get(), rate.origin, registry.snapshot()[rate]) == (80, "test", 80)
    assert revision.rules == ("europe",)
    assert revision.changed == ("rate",)
    assert [(layer.origin, layer.value, layer.rule) for layer in registry.explain("rate")] == [
        ("test", 80, "europe"),
        ("default", 50, None),
    ]
    assert registry.history()[-1].reason == "europe"
    assert steps.states() == {"europe": "in force"}


def test_elsewhere_the_plain_value_holds(rate: DynamicFlag[int], make: Callable[..., Steps]) -> None:
    """
    A rule that is not for this process leaves the plain value in force.
    """
    steps = make("- when: {zone: us-1}\n  set: {rate: 80}", facts={"zone": "eu-1"})
    assert rate.get() == 60
    assert steps.states() == {"rule 1": "elsewhere"}


def test_a_later_rule_wins(rate: DynamicFlag[int], make: Callable[..., Steps]) -> None:
    """
    Of two rules for one flag the later one wins; keyed values beat unkeyed ones whatever the order.
    """
    make("- {by: tenant, is: acme, set: {rate: 500}}\n- set: {rate: 70}\n- set: {rate: 71}")
    assert (rate.get(), rate.for_("acme"), rate.for_("other")) == (71, 500, 71)


def test_taking_rules_away_is_one_commit(
    registry: FlagRegistry, rate: DynamicFlag[int], make: Callable[..., Steps]
) -> None:
    """
    When the key of the rules is removed, or its text has no rules, one revision brings back the plain values.
    """
    other = registry.dyn_string("other", "a")
    rules = "- set: {rate: 80, other: b}\n- {by: tenant, is: acme, set: {rate: 500}}"
    steps = make(rules)
    for none in ("", "# nothing", "null", "[]", " \n", None):
        assert (rate.get(), rate.for_("acme"), other.get()) == (80, 500, "b")
        before = registry.snapshot().revision
        revision = steps.steps.remove(KEY) if none is None else steps.rules(none)
        assert (rate.get(), rate.for_("acme"), other.get()) == (60, 60, "a")
        assert (revision.number, revision.changed, revision.rules) == (before + 1, ("other", "rate"), ())
        assert steps.steps.status().rules == ()
        steps.rules(rules)


def test_a_look_after_rules_are_taken_away_makes_no_commit(make: Callable[..., Steps]) -> None:
    """
    The look after the rules were removed makes no new revision.
    """
    steps = make("- set: {rate: 80}")
    revision = steps.steps.write({"rate": "70"})
    assert revision.changed == ("rate",)
    assert steps.look() is revision


def test_the_checksum_is_that_of_the_raw_object(registry: FlagRegistry, make: Callable[..., Steps]) -> None:
    """
    Two processes with different facts have the same checksum of one object, and different values.
    """
    rules = "- when: {zone: a}\n  set: {rate: 80}"
    here = make(rules, facts={"zone": "a"}).look()
    other = dflag.FlagRegistry()
    rate = other.dyn_int("rate", 50)
    with SteppedUpdater(other, {"rate": "60", KEY: rules}, facts={"zone": "b"}) as there:
        assert there.status().sources[0].checksum == here.checksum
        assert rate.get() == 60
    assert registry["rate"].get() == 80


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("- name: bad\n  set: {rate: x}", "expected an int"),
        ("- name: bad\n  set: {rate: 2000}", "from 1 to 1000"),
        ("- name: bad\n  set: {rat: 5}", "did you mean 'rate'"),
        ("- name: bad\n  from: 2026-11-28T10:00:00Z\n  set: {workers: 5}", "static"),
        ("- name: bad\n  by: user\n  is: a\n  set: {rate: 5}", "by='tenant'"),
        ("- name: bad\n  by: tenant\n  is: a\n  set: {plain: 5}", "without by="),
        ("- name: bad\n  set: {rate: 80, plain: x}", "plain"),
        ("- name: bad\n  when: {zone: a}\n  set: {rate: x}", "expected an int"),
        ("- name: bad\n  from: 2030-01-01T00:00:00Z\n  set: {rate: x}", "expected an int"),
        ("- name: bad\n  over: 5m\n  set: {rate: 5}", "from"),
    ],
)
def test_a_bad_rule_is_refused_whole(
    registry: FlagRegistry, rate: DynamicFlag[int], make: Callable[..., Steps], rule: str, message: str
) -> None:
    """
    A rule with any fault is refused whole, in force or not, and reported under its name; the others apply.
    """
    registry.dyn_int("plain", 1)
    registry.int("workers", 1)
    steps = make()
    steps.plain["rate"] = "61"
    revision = steps.rules(rule + "\n- set: {plain: 7}")
    assert list(revision.rejected) == ["rule:bad"]
    assert message in str(revision.rejected["rule:bad"])
    assert str(revision.rejected["rule:bad"]).count("rule 'bad': ") == 1
    assert (rate.get(), registry["plain"].get()) == (61, 7)
    assert steps.states() == {"bad": "refused", "rule 2": "in force"}
    status = steps.steps.status()
    assert status.rejected.keys() == {"rule:bad"}
    assert steps.status("bad").problem == str(status.rejected["rule:bad"])


def test_what_lasts_is_told_once(make: Callable[..., Steps], caplog: pytest.LogCaptureFixture) -> None:
    """
    A rule that stays bad is logged once and counted once while plain values change.
    """
    steps = make()
    with caplog.at_level(logging.WARNING, "dflag"):
        for number in range(3):
            steps.plain["rate"] = str(61 + number)
            steps.rules("- name: bad\n  set: {rate: x}")
    assert sum("rule 'bad'" in record.getMessage() for record in caplog.records) == 1
    assert steps.steps.status().errors == 1


def test_a_named_rule_keeps_its_last_good_text(rate: DynamicFlag[int], make: Callable[..., Steps]) -> None:
    """
    A named rule that is edited into a bad one stays in force with its last good text, at its place in the order.
    """
    good = "- set: {rate: 70}\n- name: mine\n  set: {rate: 80}\n"
    last = "- when: {zone: a}\n  set: {rate: 90}"
    steps = make(good + last)
    for bad in ("- name: mine\n  set: {rate: x}\n", "- name: mine\n  sets: {rate: 81}\n"):
        revision = steps.rules(good.replace("- name: mine\n  set: {rate: 80}\n", bad) + last)
        assert rate.get() == 80
        assert list(revision.rejected) == ["rule:mine"]
        assert "mine" in revision.rules
        assert steps.states()["mine"] == "refused"
    assert steps.rules(last).rules == ()
    assert rate.get() == 60


@pytest.mark.parametrize("bad", ["rate: 0", "rate: 80, nosuch: 1", "rate: null"])
def test_a_refused_rule_says_when_its_last_good_text_changes(
    rate: DynamicFlag[int], make: Callable[..., Steps], clock: FakeClock, bad: str
) -> None:
    """
    `next_change` of a refused rule is the next change of its last good text, and None when that has ended.
    """
    text = "- {name: go, from: '2026-11-28T10:10:00Z', until: '2026-11-28T10:20:00Z', set: {%s}}"
    steps = make(text % "rate: 70")
    steps.rules(text % bad)
    for minutes, value, change in ((0, 60, 10), (10, 70, 20), (20, 60, None)):
        clock.time = TEN + minutes * MINUTE
        steps.look()
        assert (rate.get(), steps.status("go").state) == (value, "refused")
        assert steps.status("go").next_change == (None if change is None else TEN + change * MINUTE)


def test_a_refused_rule_without_a_last_good_text_changes_never(make: Callable[..., Steps]) -> None:
    """
    A rule that was never good, and a second rule with the same name, have no `next_change`.
    """
    waiting = "- {name: %s, from: '2026-11-28T11:00:00Z', set: {rate: %s}}\n"
    steps = make()
    steps.rules(waiting % ("a", 0) + waiting % ("b", 70) + waiting % ("b", 80))
    assert [(each.name, each.state, each.next_change) for each in steps.steps.status().rules] == [
        ("a", "refused", None),
        ("b", "waiting", TEN + 60 * MINUTE),
        ("b", "refused", None),
    ]


def test_an_unnamed_rule_that_goes_bad_is_gone(rate: DynamicFlag[int], make: Callable[..., Steps]) -> None:
    """
    An unnamed rule that becomes bad has no last good text: the plain value is in force.
    """
    steps = make("- set: {rate: 80}")
    revision = steps.rules("- set: {rate: x}")
    assert (rate.get(), list(revision.rejected)) == (60, ["rule:rule 1"])


def test_a_list_that_cannot_be_read_keeps_the_last_good_rules(
    registry: FlagRegistry, rate: DynamicFlag[int], make: Callable[..., Steps]
) -> None:
    """
    While the list cannot be read, its last good rules stay in force, plain values are applied, and the error is
    reported under its key.
    """
    other = registry.dyn_int("other", 1)
    steps = make("- set: {rate: 80}\n- {by: tenant, is: acme, set: {rate: 500}}")
    steps.plain["rate"] = "61"
    for number, bad in enumerate(("- set: {rate: 80", "rate: 5", "just text"), 2):
        steps.plain["other"] = str(number)
        revision = steps.rules(bad)
        assert (rate.get(), rate.for_("acme"), other.get()) == (80, 500, number)
        assert list(revision.rejected) == [KEY]
        assert len(revision.rules) == 2
    steps.rules("[]")
    assert rate.get() == 61


def test_a_list_that_cannot_be_read_keeps_what_is_wrong_with_its_rules(
    rate: DynamicFlag[int], make: Callable[..., Steps]
) -> None:
    """
    While the list cannot be read, refused rules keep their errors from the last list and their last good texts.
    """
    good = "- {name: a, set: {rate: %s}}\n- {name: b, by: tenant, is: acme, set: {rate: %s}}"
    steps = make(good % (70, 500))
    refused = steps.rules(good % ("null", 0))
    errors = {key: str(error) for key, error in refused.rejected.items()}
    assert sorted(errors) == ["rule:a", "rule:b"]
    for bad in ("- set: {rate: 80", "just text"):
        steps.plain["rate"] = "61"
        revision = steps.rules(bad)
        assert {key: str(error) for key, error in revision.rejected.items() if key != KEY} == errors
        assert KEY in revision.rejected
        assert (rate.get(), rate.for_("acme")) == (70, 500)
        assert steps.states() == {"a": "refused", "b": "refused"}
    assert not steps.rules(good % (80, 600)).rejected
    assert (rate.get(), rate.for_("acme")) == (80, 600)


def test_the_second_key_for_rules_is_bad_while_it_is_there(rate: DynamicFlag[int], make: Callable[..., Steps]) -> None:
    """
    A source with rules under both keys has an error, which ends when either of the two equal texts is removed.
    """
    steps = make()
    text = "- {set: {rate: 70}}"
    for left in (KEY, "_rules"):
        assert list(steps.steps.write({KEY: text, "_rules": text}).rejected) == ["_rules"]
        assert not steps.steps.write({left: text}).rejected
        assert rate.get() == 70


def test_of_two_rules_with_one_name_the_later_is_refused(rate: DynamicFlag[int], make: Callable[..., Steps]) -> None:
    """
    Of two rules with one name the first is in force and the later is refused; the status shows both.
    """
    steps = make(on_bad_start="skip")
    revision = steps.rules("- name: one\n  set: {rate: 80}\n- name: one\n  set: {rate: 90}")
    assert rate.get() == 80
    assert list(revision.rejected) == ["rule:one"]
    assert [(each.name, each.state) for each in steps.steps.status().rules] == [
        ("one", "in force"),
        ("one", "refused"),
    ]


def test_an_unknown_name_in_a_rule_heals(
    registry: FlagRegistry, rate: DynamicFlag[int], make: Callable[..., Steps]
) -> None:
    """
    When a rule sets a name that no flag has, the name is in ``unknown``; the rule applies once a flag has the name.
    """
    steps = make()
    revision = steps.rules("- name: new\n  set: {rate: 80, fresh: 5}")
    assert revision.unknown == ("fresh",)
    assert rate.get() == 60
    fresh = registry.dyn_int("fresh", 1)
    assert (rate.get(), fresh.get()) == (80, 5)
    assert steps.states() == {"new": "in force"}
    assert steps.steps.status().unknown == ()


def test_rules_of_an_earlier_text_meet_flags_that_are_declared_since(
    registry: FlagRegistry, rate: DynamicFlag[int], make: Callable[..., Steps]
) -> None:
    """
    While the list cannot be read, the last rules are checked against new flags, and an error names their place.
    """
    steps = make("\n- set: {late: x, rate: 80}", on_bad_start="skip")
    steps.rules("- set: {")
    registry.dyn_int("late", 1)
    assert rate.get() == 60
    assert str(steps.steps.status().rejected["rule:rule 1"]) == (
        "rule 1: flag 'late': expected an int, got 'x' (test:2:3)"
    )


def test_rules_are_tried_against_registry_validators(
    registry: FlagRegistry, rate: DynamicFlag[int], make: Callable[..., Steps]
) -> None:
    """
    A rule that breaks a registry validator on top of the plain values is refused, even before it is in force.
    """
    burst = registry.dyn_int("burst", 100)

    @registry.validator
    def check(snap: dflag.Snapshot) -> None:
        if snap[rate] > snap[burst]:
            raise ValueError("rate above burst")

    steps = make()
    revision = steps.rules("- name: bad\n  from: 2030-01-01T00:00:00Z\n  set: {rate: 200}")
    assert "rate above burst" in str(revision.rejected["rule:bad"])
    revision = steps.rules("- name: bad\n  set: {rate: 200, burst: 300}")
    assert (revision.rejected, rate.get(), burst.get()) == ({}, 200, 300)
    revision = steps.rules("- name: bad\n  by: tenant\n  is: acme\n  set: {rate: 200}")
    assert list(revision.rejected) == ["rule:bad"]
    assert rate.for_("acme") == 200, "the last good text, without a key"


def test_plain_values_of_the_same_commit_count(registry: FlagRegistry, rate: DynamicFlag[int]) -> None:
    """
    At the start a rule is checked on top of the plain values of all sources that are applied with it.
    """
    burst = registry.dyn_int("burst", 100)

    @registry.validator
    def check(snap: dflag.Snapshot) -> None:
        if snap[rate] > snap[burst]:
            raise ValueError("rate above burst")

    rules = MemorySource({KEY: "- set: {rate: 200}"}, name="rules")
    plain = MemorySource({"burst": "500"}, name="plain")
    with dflag.Updater.setup(registry, [rules, plain]):
        assert (rate.get(), burst.get()) == (200, 500)


def test_good_rules_that_break_a_check_together_lose_the_last(
    registry: FlagRegistry, rate: DynamicFlag[int], make: Callable[..., Steps], clock: FakeClock
) -> None:
    """
    When rules break a registry validator only together, the last whose removal fixes it is refused; others apply.
    """
    other = registry.dyn_int("other", 1)

    @registry.validator
    def check(snap: dflag.Snapshot) -> None:
        if snap[rate] + snap[other] > 150:
            raise ValueError("too much together")

    steps = make(
        "- name: first\n  from: 2026-11-28T10:10:00Z\n  set: {rate: 100}\n"
        "- name: second\n  from: 2026-11-28T10:20:00Z\n  until: 2026-11-28T10:40:00Z\n  set: {other: 80}\n"
    )
    clock.time += 15 * MINUTE
    assert steps.look().rules == ("first",)
    clock.time += 15 * MINUTE
    revision = steps.look()
    assert (rate.get(), other.get(), revision.rules) == (100, 1, ("first",))
    assert "too much together" in str(revision.rejected["rule:second"])
    assert steps.states() == {"first": "in force", "second": "refused"}
    number = registry.snapshot().revision
    steps.look()
    assert registry.snapshot().revision == number, "nothing new"
    clock.time += 15 * MINUTE
    assert steps.look().rejected == {}
    assert steps.states() == {"first": "in force", "second": "ended"}


def test_atomic_counts_a_bad_rule(rate: DynamicFlag[int], make: Callable[..., Steps]) -> None:
    """
    With ``atomic=True`` no value of a source applies while one of its rules is bad.
    """
    steps = make(atomic=True)
    steps.plain["rate"] = "61"
    revision = steps.rules("- name: bad\n  set: {rate: x}")
    assert list(revision.rejected) == ["rule:bad"]
    assert rate.get() == 60
    assert "rule 'bad'" in (steps.steps.status().sources[0].last_error or "")


def test_time_goes_on_while_a_reading_is_refused_whole(
    rate: DynamicFlag[int], make: Callable[..., Steps], clock: FakeClock
) -> None:
    """
    With ``atomic=True``, while a bad value refuses the reading, the rules in force stay and end at their `until`.
    """
    rules = "- until: 2026-11-28T10:30:00Z\n  set: {rate: 80}"
    steps = make(rules, atomic=True)
    steps.plain["rate"] = "x"
    steps.rules(rules)
    assert rate.get() == 80
    clock.time += 31 * MINUTE
    steps.steps._updater._cycle()  # as the timer does, which reads nothing
    assert rate.get() == 60
    assert "rate" in steps.steps.status().rejected


def test_a_bad_rule_at_the_start(registry: FlagRegistry, rate: DynamicFlag[int]) -> None:
    """
    `initialize()` raises for a bad rule and changes nothing, or skips the rule with ``on_bad_start="skip"``.
    """
    values = {"rate": "60", KEY: "- name: bad\n  set: {rate: x}"}
    with pytest.raises(dflag.UpdateError, match="rule 'bad'"):
        SteppedUpdater(registry, values)
    assert rate.get() == 50
    with SteppedUpdater(registry, values, name="again", on_bad_start="skip") as steps:
        assert rate.get() == 60
        assert list(steps.status().rejected) == ["rule:bad"]


@pytest.mark.parametrize("atomic", [False, True])
def test_rules_that_break_a_check_together_at_the_start_are_named(
    registry: FlagRegistry, rate: DynamicFlag[int], atomic: bool
) -> None:
    """
    The start fails if rules break a check together: the error names the last whose removal fixes it, nothing applies.
    """
    other = registry.dyn_int("other", 1)

    @registry.validator
    def check(snap: dflag.Snapshot) -> None:
        if snap[rate] + snap[other] > 150:
            raise ValueError("too much together")

    source = MemorySource({"rate": "60", KEY: "- set: {rate: 100}\n- set: {other: 80}\n- set: {other: 90}"})
    updater = dflag.Updater(registry, [source], atomic=atomic)
    with pytest.raises(dflag.UpdateError) as caught:
        updater.initialize()
    assert [getattr(error, "flag_name", None) for error in caught.value.errors] == ["rule:rule 1"]
    assert "does not go together with others: refused by the registry validator" in str(caught.value)
    assert str(caught.value).endswith("too much together (memory:1:3)")
    assert (rate.get(), other.get(), registry.snapshot().revision) == (50, 1, 0)
    assert (updater.status().updates, updater.status().errors) == (0, 0)


def test_plain_values_that_break_a_check_at_the_start_blame_no_rule(
    registry: FlagRegistry, rate: DynamicFlag[int]
) -> None:
    """
    If plain values break a registry validator at the start, the error is the validator's and names no rule.
    """

    @registry.validator
    def check(snap: dflag.Snapshot) -> None:
        if snap[rate] > 150:
            raise ValueError("too much")

    with pytest.raises(dflag.UpdateError, match=r"^refused by the registry validator .*: too much$") as caught:
        SteppedUpdater(registry, {"rate": "160", KEY: "- {by: tenant, is: acme, set: {rate: 100}}"})
    assert [type(error) for error in caught.value.errors] == [dflag.errors.RegistryValidationError]


def test_a_source_that_is_gone_keeps_or_drops_its_rules(registry: FlagRegistry, rate: DynamicFlag[int]) -> None:
    """
    When a source has lost its last key, ``on_missing`` decides whether its rules stay, as it does for plain values.
    """
    values = {"rate": "60", KEY: "- set: {rate: 80}"}
    with SteppedUpdater(registry, values) as steps:
        steps.write({})
        assert rate.get() == 80
    with SteppedUpdater(registry, values, on_missing="reset") as steps:
        steps.write({})
        assert rate.get() == 50


def test_a_name_in_ignore_switches_rules_off(
    rate: DynamicFlag[int], make: Callable[..., Steps], caplog: pytest.LogCaptureFixture
) -> None:
    """
    The exact name of the rules' key in ``ignore`` switches the rules off, and this is logged once.
    """
    with caplog.at_level(logging.WARNING, "dflag"):
        steps = make("- set: {rate: 80}", ignore=("_example", KEY))
        steps.look()
    assert rate.get() == 60
    assert sum("switched off" in record.getMessage() for record in caplog.records) == 1


def test_a_glob_in_ignore_leaves_rules_on(rate: DynamicFlag[int], make: Callable[..., Steps]) -> None:
    """
    A glob in ``ignore`` that fits the rules' key leaves the rules on, because it is meant for flags.
    """
    make("- set: {rate: 80}", ignore=("_*", "*.yaml"))
    assert rate.get() == 80


def test_the_names_of_rules_are_reserved(registry: FlagRegistry, make: Callable[..., Steps]) -> None:
    """
    Declaring or binding a flag under a key for rules raises, and no map contains such a key.
    """
    for name in (KEY, "_rules"):
        with pytest.raises(dflag.DefinitionError, match="reserved"):
            registry.dyn_int(name, 1)
        with pytest.raises(dflag.DefinitionError, match="reserved"):
            registry.bind(name, dflag.dyn_int(1))
    everything = registry.dyn_map("everything", {}, keys="*", of="string")
    make("- set: {rate: 80}")
    assert dict(everything.get()) == {}


def test_apply_leaves_rules_alone(
    registry: FlagRegistry, rate: DynamicFlag[int], caplog: pytest.LogCaptureFixture
) -> None:
    """
    `FlagRegistry.apply()` ignores rules, logs that once, and does not count their key as unknown.
    """
    with caplog.at_level(logging.WARNING, "dflag"):
        for number in (60, 61):
            revision = registry.apply({"rate": str(number), KEY: "- set: {rate: 80}"}, source="config")
            assert (revision.unknown, dict(revision.rejected), rate.get()) == ((), {}, number)
    assert sum("ignoring the rules" in record.getMessage() for record in caplog.records) == 1


def test_rules_that_were_left_alone_are_followed_again(registry: FlagRegistry, rate: DynamicFlag[int]) -> None:
    """
    A new updater follows rules although `apply()` has ignored the same text before.
    """
    values = {"rate": "60", KEY: "- set: {rate: 80}"}
    for _ in range(2):
        updater = dflag.Updater(registry, MemorySource(values, name="config"))
        updater.initialize()
        assert rate.get() == 80
        updater.stop()
        registry.apply(values, source="config")
        assert rate.get() == 60


def test_a_later_source_hides_rules(registry: FlagRegistry, rate: DynamicFlag[int]) -> None:
    """
    A value or a rule of a later source, and an override, hide the rules of an earlier source, keyed values too.
    """
    low = MemorySource({KEY: "- set: {rate: 80}\n- {by: tenant, is: acme, set: {rate: 500}}"}, name="low")
    high = MemorySource({}, name="high")
    with dflag.Updater(registry, [low, high]) as updater:
        assert (rate.get(), rate.for_("acme")) == (80, 500)
        high.update({"rate": "60"})
        updater.refresh()
        assert (rate.get(), rate.for_("acme")) == (60, 60)
        high.update({KEY: "- {by: tenant, is: acme, set: {rate: 600}}"})
        updater.refresh()
        assert (rate.get(), rate.for_("acme")) == (80, 600)
        with registry.override({rate: 9}):
            assert (rate.get(), rate.for_("acme")) == (9, 9)


def test_a_staged_rule_switches_at_its_moment_and_never_back(
    registry: FlagRegistry, rate: DynamicFlag[int], make: Callable[..., Steps], clock: FakeClock
) -> None:
    """
    A staged rule switches at its drawn moment; a clock that is set back neither reverts it nor begins an ended rule
    again.
    """
    other = registry.dyn_int("other", 1)
    moment = TEN + timedelta(seconds=1800 * draw("go", "p") / EVERYBODY)
    steps = make(
        "- name: go\n  from: 2026-11-28T10:00:00Z\n  over: 30m\n  set: {rate: 80}\n"
        "- name: end\n  until: 2026-11-28T10:31:00Z\n  set: {other: 2}\n",
        facts={"pod": "p"},
    )
    assert steps.status("go").next_change is not None
    assert abs(steps.status("go").next_change - moment) < timedelta(milliseconds=1)  # type: ignore[operator]  # see above
    assert rate.get() == 60
    clock.time = moment + timedelta(milliseconds=1)
    steps.look()
    assert rate.get() == 80
    clock.time = TEN - 60 * MINUTE
    steps.look()
    assert rate.get() == 80
    assert steps.states() == {"go": "in force", "end": "in force"}
    assert other.get() == 2
    clock.time = TEN + 40 * MINUTE
    for _ in range(2):
        steps.look()
        assert (rate.get(), other.get()) == (80, 1)
        assert steps.states() == {"go": "done", "end": "ended"}
        clock.time = TEN - 60 * MINUTE


def test_a_new_rule_goes_by_the_clock_that_was_set_back(
    rate: DynamicFlag[int], make: Callable[..., Steps], clock: FakeClock
) -> None:
    """
    After the clock was set back, a rule that has switched stays in force, and a new rule does not begin early.
    """
    old = "- name: old\n  from: 2026-11-28T10:10:00Z\n  set: {rate: 80}\n"
    steps = make(old)
    clock.time += 30 * MINUTE
    steps.look()
    clock.time = TEN
    steps.rules(old + "- name: new\n  from: 2026-11-28T10:20:00Z\n  set: {rate: 90}")
    assert rate.get() == 80
    assert steps.states() == {"old": "in force", "new": "waiting"}


def test_facts_are_asked_at_each_read(
    rate: DynamicFlag[int], make: Callable[..., Steps], caplog: pytest.LogCaptureFixture
) -> None:
    """
    A changed fact is followed at the next read; if the function raises or returns no texts, the last facts stay.

    The failure is logged once until the function succeeds, whatever it raises meanwhile.
    """
    facts: list[Any] = [{"zone": "a"}]

    def ask() -> Any:
        if isinstance(facts[0], Exception):
            raise facts[0]
        return facts[0]

    steps = make("- when: {zone: a}\n  set: {rate: 80}", facts=ask)
    assert rate.get() == 80
    facts[0] = {"zone": "b"}
    steps.look()
    assert rate.get() == 60
    facts[0] = {"zone": "a"}
    steps.look()
    with caplog.at_level(logging.WARNING, "dflag"):
        for bad in (
            OSError("gone"),
            OSError("gone after 2 attempts"),
            {"zone": 5},
            None,
            {"zone": "a"},
            OSError("gone"),
        ):
            facts[0] = bad
            steps.look()
            assert rate.get() == 80
    assert [record.getMessage() for record in caplog.records] == [
        "cannot read the facts: OSError: gone; keeping the last ones"
    ] * 2


@pytest.mark.parametrize("facts", [{"zone": 5}, {5: "a"}, "zone", 5, ["a"]])
def test_facts_are_texts(registry: FlagRegistry, facts: Any) -> None:
    """
    `Updater()` raises `DefinitionError` for ``facts`` that are neither callable nor a mapping of texts to texts.
    """
    with pytest.raises(dflag.DefinitionError, match="facts"):
        dflag.Updater(registry, MemorySource({}), facts=facts)


def test_what_cannot_be_called_is_no_health(registry: FlagRegistry) -> None:
    """
    `Updater()` raises `DefinitionError` if ``healthy`` is not a plain function; a coroutine function is not one.
    """

    async def healthy() -> bool:
        return True

    for bad in (5, True, healthy):
        with pytest.raises(dflag.DefinitionError, match="healthy"):
            dflag.Updater(registry, MemorySource({}), healthy=bad)  # type: ignore[arg-type]  # wrong on purpose


def test_rules_that_need_facts_say_so_once(
    rate: DynamicFlag[int], make: Callable[..., Steps], caplog: pytest.LogCaptureFixture
) -> None:
    """
    A rule that needs unknown facts is elsewhere, is logged once, and its status lists the facts.
    """
    with caplog.at_level(logging.WARNING, "dflag"):
        steps = make("- name: z\n  when: {zone: a, node: b}\n  set: {rate: 80}")
        steps.look()
    assert steps.status("z").needs == ("node", "zone")
    assert steps.states() == {"z": "elsewhere"}
    assert sum("'node', 'zone'" in record.getMessage() for record in caplog.records) == 1


def test_a_thread_that_cannot_be_started_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """
    While no thread can be started for ``healthy()``, there is no verdict and the log says so once; afterwards there is
    one again.
    """

    def fail(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_health, "INTERVAL_SECONDS", 0.0)
    health = _health.Health(lambda: False)
    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING, "dflag"):
        patched.setattr(_health.OwnThread, "start", fail)
        assert [health.verdict({"rule"}, lambda: None) for _ in range(3)] == [None] * 3
    assert [record.getMessage() for record in caplog.records] == [
        "cannot call healthy(), no thread could be started for it: can't start new thread"
    ]
    assert health.verdict({"rule"}, lambda: None) is None
    assert health.wait()
    assert health.verdict({"rule"}, lambda: None) == ("healthy() returned False", {"rule"})


def test_a_rule_is_taken_back_while_it_bakes(
    registry: FlagRegistry, rate: DynamicFlag[int], make: Callable[..., Steps], clock: FakeClock
) -> None:
    """
    A baking rule is reverted when the program is unhealthy, and stays so until the rule's content changes.
    """
    well: list[object] = [True]
    rules = "- name: go\n  from: 2026-11-28T10:00:00Z\n  over: 30m\n  bake: 15m\n  set: {rate: 80}\n"
    steps = make(rules, facts={"pod": "p"}, healthy=lambda: well[0])
    clock.time += 31 * MINUTE
    steps.look()
    assert rate.get() == 80
    assert steps.states() == {"go": "baking"}
    assert steps.status("go").next_change == clock.time + 15 * MINUTE
    well[0] = False
    steps.rules(rules + "# asked anew")
    threading.Event().wait(1.0)  # until healthy() may be called again
    steps.look()
    assert rate.get() == 60
    assert steps.states() == {"go": "reverted"}
    assert "healthy() returned False" in (steps.status("go").problem or "")
    well[0] = True
    steps.rules("# the same\n" + rules.replace("over: 30m", "over: '30m'"))
    assert rate.get() == 60
    assert registry.history()[-1].new == "60"
    steps.rules(rules.replace("80", "81"))
    assert rate.get() == 81
    steps.rules(rules)
    assert (rate.get(), steps.states()) == (80, {"go": "baking"})


def test_a_rule_that_is_published_again_proves_itself_again(
    rate: DynamicFlag[int], make: Callable[..., Steps], clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Removing a reverted rule ends its revert; a bad text of the rule, or a list that cannot be read, does not.
    """
    monkeypatch.setattr("dflag._health.INTERVAL_SECONDS", 0.0)
    well = False
    rules = "- {name: go, from: 2026-11-28T09:59:00Z, bake: 1h, set: {rate: 80}}\n"
    steps = make(rules, healthy=lambda: well)
    steps.look()
    well = True
    for kept in (rules + "# again", rules.replace("80", "many"), "- {", rules):
        steps.rules(kept)
        assert rate.get() == 60
    assert steps.states() == {"go": "reverted"}
    steps.rules("[]")
    steps.rules(rules)
    assert (rate.get(), steps.states()) == (80, {"go": "baking"})


def test_memories_of_rules_are_bounded(
    registry: FlagRegistry, rate: DynamicFlag[int], make: Callable[..., Steps], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    What is remembered of removed rules is dropped when it exceeds a limit.
    """
    monkeypatch.setattr("dflag._rule_layers._MAX_REMEMBERED", 5)
    steps = make("[]")
    for value in range(1, 20):
        steps.rules(f"- {{name: go, set: {{rate: {value}}}}}")
        assert rate.get() == value
    assert len(sources_of(registry).context_for("test").keep().latest) <= 6


def test_health_counts_for_the_rules_that_it_was_asked_for(
    rate: DynamicFlag[int], make: Callable[..., Steps], clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    An answer of ``healthy()`` reverts only the rules that were already baking when it was called.
    """
    monkeypatch.setattr("dflag._health.INTERVAL_SECONDS", 0.0)
    well = True
    one = "- {name: one, from: 2026-11-28T09:59:00Z, bake: 1h, set: {rate: 80}}\n"
    two = "- {name: two, from: 2026-11-28T09:59:00Z, bake: 1h, set: {rate: 90}}\n"
    steps = make(one, healthy=lambda: well)
    well = False
    steps.rules("[]")  # calls healthy() for the rule that this removes
    well = True
    steps.rules(one)
    steps.look()
    assert steps.states() == {"one": "baking"}
    well = False
    steps.rules(one + two)
    assert (steps.states(), rate.get()) == ({"one": "reverted", "two": "baking"}, 90)
    steps.look()
    assert (steps.states(), rate.get()) == ({"one": "reverted", "two": "reverted"}, 60)


def test_status_says_how_far_a_rule_has_come_and_whom_it_is_for(make: Callable[..., Steps], clock: FakeClock) -> None:
    """
    The status has each rule's audience and share, which does not go back with the clock; an unreadable rule has none.
    """
    steps = make(
        "- {name: go, from: 2026-11-28T10:00:00Z, over: 100m, set: {rate: 80}}\n"
        "- {by: tenant, is: acme, set: {rate: 500}}\n"
        "- {when: {zone: a}, set: {rate: x}}\n"
        "- {when: {zone: a}}\n",
        facts={"pod": "p"},
        on_bad_start="skip",
    )
    clock.time += 42.5 * MINUTE
    steps.look()
    clock.time -= 40 * MINUTE
    assert [(each.share_percent, each.audience) for each in steps.steps.status().rules] == [
        (42.0, "pod is drawn by share"),
        (None, "tenant is acme"),
        (None, "zone is a"),
        (None, ""),
    ]


def test_after_the_bake_nobody_asks(rate: DynamicFlag[int], make: Callable[..., Steps], clock: FakeClock) -> None:
    """
    After its bake a rule stays in force, and ``healthy()`` is not called again.
    """
    asked = []

    def healthy() -> bool:
        asked.append(clock.time)
        return len(asked) < 3

    steps = make("- name: go\n  from: 2026-11-28T09:00:00Z\n  bake: 15m\n  set: {rate: 80}", healthy=healthy)
    steps.look()
    clock.time += 16 * MINUTE
    for _ in range(5):
        steps.look()
    assert rate.get() == 80
    assert len(asked) == 1
    assert steps.states() == {"go": "in force"}


def test_a_bake_that_is_over_stays_over_when_the_clock_is_set_back(
    rate: DynamicFlag[int], make: Callable[..., Steps], clock: FakeClock
) -> None:
    """
    A rule whose bake is over stays in force when the clock is set back and ``healthy()`` would return False.
    """
    answers = [True]
    rule = "- {name: go, from: 2026-11-28T10:00:00Z, bake: 15m, set: {rate: 80}}"
    steps = make(rule, healthy=lambda: answers[0])
    assert steps.states() == {"go": "baking"}
    clock.time += 20 * MINUTE
    steps.look()
    answers[0] = False
    clock.time -= 15 * MINUTE
    assert steps.states() == {"go": "in force"}
    steps.look()
    steps.look()
    assert (rate.get(), steps.states()) == (80, {"go": "in force"})


def test_a_second_rule_of_a_name_is_left_out(
    rate: DynamicFlag[int], make: Callable[..., Steps], caplog: pytest.LogCaptureFixture
) -> None:
    """
    The log says that a second rule of a name is left out, not that a last good text is kept: the first is in force.
    """
    steps = make()
    steps.rules("- {name: a, set: {rate: 70}}\n- {name: a, set: {rate: 80}}")
    assert rate.get() == 70
    (message,) = caplog.messages
    assert message.endswith("(test:2:10); the rule is left out")
    steps.rules("- {name: a, set: {rate: x}}")
    assert rate.get() == 70
    assert caplog.messages[-1].endswith("; keeping its last good text")


def test_a_refused_rule_says_for_which_keys(
    registry: FlagRegistry, rate: DynamicFlag[int], make: Callable[..., Steps]
) -> None:
    """
    The error of a refused keyed rule names its keys, unless the rule sets a secret flag.
    """
    token = registry.dyn_string("token", "", by="tenant", secret=True)

    @registry.validator
    def few(values: dflag.Snapshot) -> None:
        if values[rate] > 100 or values[token]:
            raise ValueError("too many")

    steps = make(on_bad_start="skip")
    rules = ("is: [acme, initech], set: {rate: 500}", "is: acme, set: {token: x}")
    errors = steps.rules("\n".join(f"- {{by: tenant, {rule}}}" for rule in rules)).rejected
    shown = "rule 1: where tenant is acme or initech: refused by the registry validator"
    assert str(errors["rule:rule 1"]).startswith(shown)
    assert "acme" not in str(errors["rule:rule 2"])


def test_static_flags_may_stand_in_rules(
    registry: FlagRegistry, rate: DynamicFlag[int], make: Callable[..., Steps]
) -> None:
    """
    A rule without a time sets a static flag at the start; a change after the freeze waits for a restart.
    """
    workers = registry.int("workers", 4)
    steps = make("- when: {zone: a}\n  set: {workers: 8}", facts={"zone": "a"})
    assert workers.get() == 8
    revision = steps.rules("- when: {zone: a}\n  set: {workers: 9}")
    assert (workers.get(), revision.pending_restart) == (8, ("workers",))
    assert steps.rules("- when: {zone: a}\n  set: {workers: 8}").pending_restart == ()
    assert steps.rules("[]").pending_restart == ("workers",)


def test_a_bad_plain_value_under_a_rule_keeps_the_last_good_plain_one(
    rate: DynamicFlag[int], make: Callable[..., Steps]
) -> None:
    """
    While a rule is in force, plain values are still validated, and the last good one shows when the rule is gone.
    """
    steps = make("- set: {rate: 80}")
    steps.plain["rate"] = "x"
    assert list(steps.rules("- set: {rate: 80}").rejected) == ["rate"]
    steps.plain["rate"] = "61"
    steps.rules("- set: {rate: 80}")
    assert rate.get() == 80
    steps.plain["rate"] = "y"
    steps.rules("[]")
    assert rate.get() == 61


def test_keys_of_a_map_may_stand_in_rules(
    registry: FlagRegistry, rate: DynamicFlag[int], make: Callable[..., Steps]
) -> None:
    """
    A rule sets single keys of a map on top of the plain keys, or the whole map in their place; when it is gone, the
    plain keys show again.
    """
    limits = registry.dyn_map("limits", {}, keys="limit.*", of="int")
    steps = make()
    steps.plain |= {"limit.a": "1", "limit.b": "2"}
    steps.rules("- set: {limit.b: 20, limit.c: 30}\n")
    assert dict(limits.get()) == {"limit.a": 1, "limit.b": 20, "limit.c": 30}
    steps.rules("- set: {limits: {limit.c: 30}}\n")
    assert dict(limits.get()) == {"limit.c": 30}
    assert list(steps.rules("- set: {limit.b: x}").rejected) == ["rule:rule 1"]
    steps.rules("[]")
    assert dict(limits.get()) == {"limit.a": 1, "limit.b": 2}


def test_a_map_that_a_rule_makes_too_large_refuses_the_rule_alone(
    registry: FlagRegistry, rate: DynamicFlag[int], make: Callable[..., Steps]
) -> None:
    """
    A rule that makes a map too large is refused, also when no plain key has changed, and the plain keys stay.
    """

    def few(value: Mapping[str, int]) -> None:
        if len(value) > 2:
            raise ValueError("expected two at most")

    limits = registry.dyn_map("limits", {}, keys="limit.*", of="int", validator=few)
    steps = make()
    steps.plain |= {"limit.a": "1", "limit.b": "2"}
    steps.rules("- {from: 2026-11-28T11:00:00Z, set: {limit.c: 3}}")  # not yet in force
    assert steps.states() == {"rule 1": "refused"}
    errors = steps.rules("- {from: 2026-11-28T12:00:00Z, set: {limit.c: 3}}").rejected
    assert "two at most" in str(errors["rule:rule 1"])
    assert "(test)" not in str(errors["rule:rule 1"])
    assert dict(limits.get()) == {"limit.a": 1, "limit.b": 2}


def test_values_of_a_secret_source_are_never_shown(
    registry: FlagRegistry, rate: DynamicFlag[int], caplog: pytest.LogCaptureFixture
) -> None:
    """
    Rules of a secret source make the flags that they set secret, and neither errors nor the log quote them.
    """
    source = MemorySource({KEY: "- unless: {zone: hunter2}\n  set: {rate: 80}"}, name="secret", secret=True)
    with caplog.at_level(logging.DEBUG, "dflag"), dflag.Updater(registry, source) as updater:
        assert rate.get() == 80
        assert updater.status().rules[0].audience == "******"
        assert registry.explain("rate")[0].text == "******"
        for text in (
            "- set: {rate: hunter2}",
            "- name: a\n  over: hunter2\n  set: {rate: 5}",
            "- {by: hunter2, set: {rate: 5}}",
            "hunter2",
        ):
            source.update({KEY: text})
            errors = updater.refresh().rejected
            assert errors
            assert "hunter2" not in "".join(map(repr, errors.values()))
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize("text", ["{nosuch: hunter0, burst: hunter1}", "{rate: hunter0, burst: hunter1}"])
def test_a_refused_rule_of_a_secret_source_conceals_all_its_flags(
    registry: FlagRegistry, rate: DynamicFlag[int], text: str
) -> None:
    """
    A refused rule of a secret source makes all flags in it secret, also those whose values are not read.
    """
    burst = registry.dyn_int("burst", 1)
    source = MemorySource({KEY: f"- set: {text}"}, secret=True)
    with dflag.Updater(registry, source, on_bad_start="skip"):
        assert burst.secret
    assert rate.get() == 50


def test_a_source_that_becomes_secret_keeps_the_last_good_texts_of_its_rules(
    registry: FlagRegistry, rate: DynamicFlag[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    When a source becomes secret, its rules keep their last good texts, and earlier errors no longer quote them.
    """
    source = MemorySource({KEY: "- {name: a, set: {rate: 80}}"})
    with dflag.Updater(registry, source) as updater:
        source.update({KEY: "- {name: a, from: hunter2, set: {rate: 80}}"})
        assert "hunter2" in str(updater.refresh().rejected["rule:a"])
        monkeypatch.setattr(MemorySource, "secret", True)
        source.update({KEY: "- {name: a"})
        errors = updater.refresh().rejected
        assert sorted(errors) == [KEY, "rule:a"]
        assert "hunter2" not in repr(errors)
        assert rate.get() == 80


@pytest.mark.parametrize("text", ["- {name: a, set: {rate: 80}}", "- {name: a"], ids=["unchanged", "unreadable"])
def test_a_source_that_becomes_secret_conceals_the_flags_of_its_rules(
    registry: FlagRegistry, rate: DynamicFlag[int], monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """
    When a source becomes secret, the flags that its rules set are secret too, although no rule is validated again.
    """
    source = MemorySource({KEY: "- {name: a, set: {rate: 80}}"})
    with dflag.Updater(registry, source) as updater:
        monkeypatch.setattr(MemorySource, "secret", True)
        source.update({KEY: text})
        updater.refresh()
        assert (rate.get(), rate.secret) == (80, True)


def test_native_values_of_documents_reach_their_kinds(registry: FlagRegistry, make: Callable[..., Steps]) -> None:
    """
    A mapping or a list in ``set`` is used as the value itself, and a scalar by its text.
    """
    policy, hosts, text = (
        registry.dyn_json("policy", {}),
        registry.dyn_string_list("hosts", ()),
        registry.dyn_string("text", ""),
    )
    make("- set:\n    policy: {mode: deny}\n    hosts: [a, 'b,c']\n    text: 012")
    assert (policy.get(), hosts.get(), text.get()) == ({"mode": "deny"}, ("a", "b,c"), "012")


def test_updates_that_change_no_rule_do_not_parse_them_again(
    registry: FlagRegistry, make: Callable[..., Steps]
) -> None:
    """
    A rule whose content has not changed is not parsed and validated again.
    """
    seen: list[int] = []
    registry.dyn_int("seen", 1, validator=seen.append)
    rules = "- name: a\n  set: {seen: 7}\n"
    steps = make(rules)
    steps.plain["rate"] = "61"
    steps.rules("# comment\n" + rules + "- set: {rate: 5}")
    assert seen == [1, 7]


def test_rules_that_are_bad_in_ever_new_ways_keep_no_readings(flags: dflag.FlagRegistry) -> None:
    """The error of a refused rule has no traceback, whose frames would keep earlier readings alive."""
    flags.dyn_int("rate", 1)
    source = MemorySource({})
    updater = dflag.Updater(flags, source)
    updater.initialize()
    for number in range(20):
        source.update({KEY: f"[{{name: a, set: {{rate: bad{number}}}}}]"})
        updater.refresh()
    error = updater.status().rejected["rule:a"]
    assert "bad19" in str(error)
    link: BaseException | None = error
    while link is not None:
        assert link.__traceback__ is None
        link = link.__cause__
