"""
The situation of a rule in a process at one moment: facts, time and shares, without any thread.
"""

from __future__ import annotations

import datetime
from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any

import pytest

from dflag._keyed import EVERYBODY, draw
from dflag._rules import all_moments, audience, baked_at, fits, needs, share_percent, situation
from dflag._rules_text import Rule

NOON = datetime.datetime(2026, 11, 28, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)

PLAIN = Rule(
    name="limits",
    is_named=True,
    when={},
    unless={},
    start=None,
    until=None,
    of="pod",
    over=None,
    steps=(),
    every=None,
    bake=None,
    by=None,
    keys=None,
    share=None,
    values={"rate": "1"},
    content="limits",
)
STAGED = replace(PLAIN, start=NOON, over=HOUR)


def _percent(number: int) -> int:
    return -(-number * EVERYBODY // 100)


@pytest.mark.parametrize(
    ("name", "text", "number"),
    [
        ("limits-november", "web-7d9f-abcde", 2420781492),
        ("", "", 1848904604),
        ("ü", "\N{SNOWMAN}", 2305741986),
    ],
)
def test_the_draw_never_changes(name: str, text: str, number: int) -> None:
    """
    `draw()` returns the published number of a name and a text.
    """
    assert draw(name, text) == number


@pytest.mark.parametrize(
    ("when", "facts", "expected"),
    [
        ({}, {}, True),
        ({"zone": ("eu-1",)}, {"zone": "eu-1"}, True),
        ({"zone": ("eu-1",)}, {"zone": "eu-10"}, False),
        ({"zone": ("eu-1",)}, {"zone": "EU-1"}, False),
        ({"zone": ("eu-*", "us-1")}, {"zone": "us-1"}, True),
        ({"zone": ("eu-*",), "node": ("a",)}, {"zone": "eu-3", "node": "b"}, False),
        ({"zone": ("*",)}, {}, False),
        ({"zone": ("[!x]?",)}, {"zone": "ab"}, True),
        ({"zone": ()}, {"zone": "a"}, False),
    ],
)
def test_all_named_facts_have_to_fit(
    when: dict[str, tuple[str, ...]], facts: dict[str, str], *, expected: bool
) -> None:
    """
    `fits()` is true if each named fact fits one of its globs, by the whole text and case; an unknown fact fits none.
    """
    assert fits(when, facts) is expected


def test_a_text_without_wildcards_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A text without wildcards is compared and not compiled as a glob.

    A rule may name more pods than the number of compiled globs that Python keeps.
    """
    asked: list[str] = []
    monkeypatch.setattr("dflag._rules.fnmatchcase", lambda _, glob: asked.append(glob))
    assert fits({"pod": ["web-0", "web.1", "]", "web-*", "web-?", "[w]eb", "web-2"]}, {"pod": "web-2"})
    assert asked == ["web-*", "web-?", "[w]eb"]


def test_unless_needs_all_of_its_facts() -> None:
    """
    A rule is elsewhere where all facts in ``unless`` fit, and on where one does not fit or is unknown.
    """
    rule = replace(PLAIN, unless={"zone": ("eu-1",), "node": ("a",)})
    assert situation(rule, {"zone": "eu-1", "node": "a"}, NOON).phase == "elsewhere"
    assert situation(rule, {"zone": "eu-1", "node": "b"}, NOON).phase == "on"
    assert situation(rule, {"zone": "eu-1"}, NOON).phase == "on"
    assert needs(rule, {"zone": "eu-1"}) == ("node",)


def test_a_rule_is_in_force_from_its_beginning_and_before_its_end() -> None:
    """
    A rule is in force at ``from`` and no longer at ``until``; before each of them, `next_change` is that time.
    """
    rule = replace(PLAIN, start=NOON, until=NOON + HOUR)
    tick = timedelta(microseconds=1)
    before, first, last, after = (
        situation(rule, {}, moment) for moment in (NOON - tick, NOON, NOON + HOUR - tick, NOON + HOUR)
    )
    assert (before.phase, before.next_change) == ("waiting", NOON)
    assert (first.phase, first.next_change) == ("on", NOON + HOUR)
    assert last.phase == "on"
    assert (after.phase, after.next_change) == ("ended", None)


def test_a_process_switches_at_its_share_of_the_time() -> None:
    """
    A process switches at ``from`` + u / 2**32 x ``over``, and the rule is done at the end of ``over``.
    """
    facts = {"pod": "web-1"}
    moment = NOON + timedelta(microseconds=3_600_000_000 * draw("limits", "web-1") // EVERYBODY)
    waiting = situation(STAGED, facts, NOON)
    assert (waiting.phase, waiting.next_change, waiting.switch) == ("waiting", moment, moment)
    on = situation(STAGED, facts, moment)
    assert (on.phase, on.next_change, on.is_done) == ("on", NOON + HOUR, False)
    done = situation(STAGED, facts, NOON + HOUR)
    assert (done.phase, done.next_change, done.is_done) == ("on", None, True)


def test_a_rule_for_some_is_never_done() -> None:
    """
    A rule for some processes, for a time, for keys, or without a stage for all processes is never done.
    """
    late = NOON + 2 * HOUR
    for rule in (
        replace(STAGED, when={"pod": ("*",)}),
        replace(STAGED, unless={"zone": ("*",)}),
        replace(STAGED, until=NOON + 9 * HOUR),
        replace(PLAIN, start=NOON),
        replace(PLAIN, start=NOON, steps=(_percent(50),)),
        replace(PLAIN, start=NOON, steps=(_percent(50), EVERYBODY), every=HOUR, by="tenant"),
    ):
        found = situation(rule, {"pod": "a"} if not rule.steps else {"pod": _pod(rule.name, low=True)}, late)
        assert (found.phase, found.is_done) == ("on", False)


def _pod(name: str, *, low: bool) -> str:
    """
    Return the name of a pod that is drawn in the lower half, or in the upper half.
    """
    return next(str(number) for number in range(1_000) if (draw(name, str(number)) < EVERYBODY // 2) is low)


def test_steps_take_in_ever_more() -> None:
    """
    A process switches with the first step whose share includes it, and never if even the last one does not.
    """
    rule = replace(PLAIN, start=NOON, steps=(_percent(50), EVERYBODY), every=HOUR)
    low, high = ({"pod": _pod("limits", low=low)} for low in (True, False))
    assert situation(rule, low, NOON).phase == "on"
    assert situation(rule, high, NOON).next_change == NOON + HOUR
    assert situation(rule, high, NOON + HOUR).is_done
    half = replace(PLAIN, start=NOON, steps=(_percent(50),))
    assert situation(half, high, NOON + 99 * HOUR).phase == "elsewhere"
    assert situation(half, low, NOON).phase == "on"


def test_without_the_fact_that_draws_a_staged_rule_is_elsewhere() -> None:
    """
    A process that does not know the fact named by ``of`` never switches, and `needs()` returns the fact.
    """
    rule = replace(STAGED, of="node")
    assert situation(rule, {"pod": "web-1"}, NOON + 9 * HOUR).phase == "elsewhere"
    assert needs(rule, {"pod": "web-1"}) == ("node",)
    assert needs(PLAIN, {}) == ()


def test_a_rule_that_ends_before_it_switches_is_elsewhere() -> None:
    """
    A rule is elsewhere in a process that would switch only after the end of the rule.
    """
    facts = {"pod": _pod("limits", low=False)}
    assert situation(replace(STAGED, until=NOON + timedelta(minutes=5)), facts, NOON).phase == "elsewhere"


def test_the_share_of_keys_grows_by_steps() -> None:
    """
    The threshold of a keyed rule rises with each step, at moments that do not depend on facts.
    """
    rule = replace(PLAIN, start=NOON, by="tenant", steps=(_percent(5), _percent(25), EVERYBODY), every=HOUR)
    assert situation(rule, {}, NOON - HOUR).phase == "waiting"
    found = [situation(rule, {}, NOON + number * HOUR / 2) for number in range(6)]
    assert [each.threshold for each in found] == [
        _percent(5),
        _percent(5),
        _percent(25),
        _percent(25),
        EVERYBODY,
        EVERYBODY,
    ]
    assert all_moments(rule, {}) == [NOON, NOON + HOUR, NOON + 2 * HOUR]


@pytest.mark.parametrize(
    ("rule", "hours", "expected"),
    [
        (PLAIN, 0, None),
        (replace(PLAIN, start=NOON, by="tenant"), 0, None),
        (replace(PLAIN, by="tenant", share=_percent(10)), 0, 10.0),
        (STAGED, -1, 0.0),
        (STAGED, 0, 0.0),
        (STAGED, 0.126, 12.0),
        (STAGED, 1, 100.0),
        (STAGED, 900_000, 100.0),
        (replace(STAGED, until=NOON + 2 * HOUR), 2, 0.0),
        (replace(PLAIN, start=NOON, steps=(_percent(5), EVERYBODY), every=HOUR), -1, 0.0),
        (replace(PLAIN, start=NOON, steps=(_percent(5), EVERYBODY), every=HOUR), 0.9, 5.0),
        (replace(PLAIN, start=NOON, steps=(_percent(5), EVERYBODY), every=HOUR), 1, 100.0),
        (replace(PLAIN, start=NOON, by="tenant", steps=(_percent(25),)), 3, 25.0),
    ],
)
def test_the_share_so_far_goes_by_the_clock(rule: Rule, hours: float, expected: float | None) -> None:
    """
    `share_percent()` is the share of the current step, or grows with the time; it is None for a rule without a share.
    """
    assert share_percent(rule, NOON + hours * HOUR) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ""),
        ({"when": {"zone": ("eu-1", "eu-2"), "tier": ("web",)}}, "zone is eu-1 or eu-2 and tier is web"),
        ({"unless": {"node": ("spot-*",)}}, "unless node is spot-*"),
        ({"when": {"zone": ("a",)}, "by": "tenant", "keys": ("acme",)}, "zone is a; tenant is acme"),
        ({"by": "tenant", "keys": tuple("abcdefg")}, "tenant is a or b or c or d or e or 2 more"),
        (
            {"when": dict.fromkeys("abcdefg", ("x" * 100,))},
            " and ".join(f"{f} is {'x' * 79}…" for f in "abcde") + " and 2 more",
        ),
        ({"by": "tenant"}, "tenant is any"),
        ({"by": "tenant", "share": _percent(10)}, "tenant is drawn by share"),
        ({"over": HOUR, "of": "node"}, "node is drawn by share"),
    ],
)
def test_whom_a_rule_is_for_is_said_in_words(changes: dict[str, Any], expected: str) -> None:
    """
    `audience()` returns the facts and keys of a rule as a short text, however many the rule names.
    """
    assert audience(replace(PLAIN, **changes)) == expected


def test_times_beyond_the_calendar_are_never() -> None:
    """
    A stage or a bake that ends after the year 9999, and a very long stage, raise no error.
    """
    far = datetime.datetime(9999, 12, 31, tzinfo=UTC)
    century = timedelta(days=36_525)
    for rule in (
        replace(PLAIN, start=far, over=century),
        replace(PLAIN, start=far, steps=(1, EVERYBODY), every=century),
        replace(PLAIN, start=NOON, over=timedelta(days=106_751)),
    ):
        assert situation(rule, {"pod": "a"}, NOON).phase == "waiting"
    last = datetime.datetime.max.replace(tzinfo=UTC)
    assert baked_at(replace(PLAIN, bake=century), far) == last
    assert baked_at(PLAIN, far) is None


def test_ten_thousand_pods_follow_the_line() -> None:
    """
    At every minute the share of 10,000 pods is within 1.5 / sqrt(n) of the line, and no pod goes back; two rollouts at
    once have as many pods in common as is likely by chance.
    """
    count = 10_000
    pods = [f"web-7d9f8b6c5-{number:05x}" for number in range(count)]
    rules = [replace(PLAIN, name=name, content=name, start=NOON, over=HOUR) for name in ("one", "two")]
    switches = [[situation(rule, {"pod": pod}, NOON - HOUR).next_change for pod in pods] for rule in rules]
    for moments in switches:
        for minute in range(61):
            moment = NOON + timedelta(minutes=minute)
            share = sum(switch is not None and switch <= moment for switch in moments) / count
            assert abs(share - minute / 60) <= 1.5 / count**0.5
    for pod, switch in list(zip(pods, switches[0], strict=True))[:300]:
        assert switch is not None
        phases = [situation(rules[0], {"pod": pod}, NOON + timedelta(minutes=minute)).phase for minute in range(62)]
        assert phases == sorted(phases, reverse=True)  # "waiting" before "on"
    half = NOON + HOUR / 2
    cohorts = [{pod for pod, at in zip(pods, moments, strict=True) if at and at <= half} for moments in switches]
    expected = len(cohorts[0]) * len(cohorts[1]) / count
    assert abs(len(cohorts[0] & cohorts[1]) - expected) <= 3 * (count / 16) ** 0.5
