"""
Rules by key for maps: they add keys to what the map has without them, over all sources.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest

import dflag
from dflag._evaluation import Evaluations
from dflag._keyed import draw
from dflag._registry import store_of_registry
from dflag.sources import MemorySource

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Limits = dflag.DynamicFlag[Mapping[str, int]]

KEYS = ("acme", "initech", "umbrella", "zürich")
HALF = 2**31


@pytest.fixture(name="limits")
def _limits(flags: dflag.FlagRegistry) -> Limits:
    return flags.dyn_map("limits", {}, keys="*.rate", of="int", by="tenant")


def follow(flags: dflag.FlagRegistry, *sources: tuple[dict[str, str], Sequence[Mapping[str, Any]]]) -> dflag.Updater:
    """Return an initialized updater of sources, each of plain values and rules."""
    made = [
        MemorySource({**plain, "_rules.yaml": json.dumps(rules)}, name=f"source {number}")
        for number, (plain, rules) in enumerate(sources)
    ]
    updater = dflag.Updater(flags, made)
    updater.initialize()
    return updater


def keyed(values: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {"by": "tenant", "set": values} | ({"is": list(keys)} if keys else {})


B, C, D = {"b.rate": 5}, {"c.rate": 6}, {"d.rate": 7}
OWN = {"limits": {"z.rate": 8}}


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([{"set": C}, keyed(B, "acme")], {"a": 1, "b": 5, "c": 6}),
        ([keyed(B, "acme"), {"set": C}], {"a": 1, "b": 5, "c": 6}),
        ([keyed(B, "acme"), {"set": {"b.rate": 9}}], {"a": 1, "b": 5}),
        ([keyed(B, "acme"), keyed(D, "acme")], {"a": 1, "b": 5, "d": 7}),
        ([keyed(B, "acme"), keyed({"b.rate": 9}, "acme")], {"a": 1, "b": 9}),
        ([keyed(B), keyed(D, "acme", "other")], {"a": 1, "b": 5, "d": 7}),
        ([keyed(B, "other")], {"a": 1}),
        ([keyed(OWN, "acme"), {"set": D}], {"z": 8}),
        ([keyed(OWN, "acme"), keyed(D, "acme")], {"z": 8, "d": 7}),
        ([keyed(D, "acme"), keyed(OWN, "acme")], {"z": 8}),
        ([keyed({**OWN, **D}, "acme")], {"z": 8, "d": 7}),
    ],
)
def test_rules_for_a_key_add_to_the_map(
    flags: dflag.FlagRegistry, limits: Limits, rules: Sequence[Mapping[str, Any]], expected: Mapping[str, int]
) -> None:
    """Rules for a key add to the map, in any order; one that sets the map's own name replaces its source's values."""
    follow(flags, ({"a.rate": "1"}, rules))
    assert limits.for_("acme") == {f"{name}.rate": value for name, value in expected.items()}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (({"a.rate": "1"}, []), ({"e.rate": "9"}, [keyed(B, "acme")])),
        (({"a.rate": "1"}, [keyed(B, "acme")]), ({"e.rate": "9"}, [])),
        (({"a.rate": "1", "e.rate": "9"}, []), ({}, [keyed(B, "acme")])),
    ],
)
def test_what_other_sources_hold_stays(flags: dflag.FlagRegistry, limits: Limits, first: Any, second: Any) -> None:
    """A rule for a key keeps the keys that other sources hold, and changes the map for its own key only."""
    follow(flags, first, second)
    assert limits.for_("acme") == {"a.rate": 1, "e.rate": 9, "b.rate": 5}
    assert limits.get() == limits.for_("other") == {"a.rate": 1, "e.rate": 9}


def test_a_later_source_and_an_override_win(flags: dflag.FlagRegistry, limits: Limits) -> None:
    """A later source wins over a rule for a key, entry by entry; an override replaces the whole map for every key."""
    follow(flags, ({"a.rate": "1"}, [keyed({"b.rate": 5, "c.rate": 6}, "acme")]), ({"b.rate": "2"}, []))
    assert limits.for_("acme") == {"a.rate": 1, "b.rate": 2, "c.rate": 6}
    limits.set({"x.rate": 3})
    assert limits.for_("acme") == {"x.rate": 3}


def test_rules_for_a_key_add_to_the_default(flags: dflag.FlagRegistry) -> None:
    """A rule for a key adds to the default when no source holds the map."""
    limits = flags.dyn_map("limits", {"x.rate": 1}, keys="*.rate", of="int", by="tenant")
    follow(flags, ({}, [keyed(B, "acme")]))
    assert (limits.for_("acme"), limits.for_("other")) == ({"x.rate": 1, "b.rate": 5}, {"x.rate": 1})


def test_values_for_keys_follow_the_plain_ones(flags: dflag.FlagRegistry, limits: Limits) -> None:
    """The map for a key changes when the plain values of another source change, and when its rule is removed."""
    source = MemorySource({"a.rate": "1"}, name="plain")
    rules = MemorySource({"_rules.yaml": json.dumps([keyed(B, "acme")])}, name="rules")
    updater = dflag.Updater(flags, [rules, source])
    updater.initialize()
    assert limits.for_("acme") == {"a.rate": 1, "b.rate": 5}
    source.update({"e.rate": "9"})
    updater.refresh()
    assert limits.for_("acme") == {"e.rate": 9, "b.rate": 5}
    rules.update({"_rules.yaml": "[]"})
    updater.refresh()
    assert limits.for_("acme") == {"e.rate": 9}


def test_each_key_has_all_rules_that_are_for_it(flags: dflag.FlagRegistry, limits: Limits) -> None:
    """The map for a key equals a naive evaluation of random sources with named, shared and unkeyed rules."""
    chance = random.Random(5)
    sources: list[tuple[dict[str, str], list[dict[str, Any]]]] = []
    for number in range(3):
        members = [{f"{chance.choice('abcdef')}.rate": chance.randrange(100)} for _ in range(6)]
        shapes = [
            {"set": members[0]},
            keyed(members[1], *chance.sample(KEYS, 2)),
            {**keyed(members[2]), "share": "50%"},
            keyed(members[3]),
            keyed(members[4], "acme"),
        ]
        chance.shuffle(shapes)
        rules = [{"name": f"{number} {at}", **rule} for at, rule in enumerate(shapes[: number + 3])]
        sources.append(({name: str(value) for name, value in members[5].items()}, rules))
    follow(flags, *sources)
    for key in KEYS:
        assert limits.for_(key) == naive(sources, key), key
        assert limits.for_(key) is limits.for_(key)


def naive(sources: Sequence[tuple[dict[str, str], Sequence[Mapping[str, Any]]]], key: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for plain, rules in sources:
        found |= {name: int(value) for name, value in plain.items()}
        for rule in sorted(rules, key=lambda rule: "by" in rule):
            if key in rule.get("is", [key]) and ("share" not in rule or draw(rule["name"], key) < HALF):
                found |= rule["set"]
    return found


def test_evaluations_have_the_whole_map(flags: dflag.FlagRegistry, limits: Limits) -> None:
    """An evaluation has the whole map and the last rule as its variant; keys with the same rules share one match."""
    follow(flags, ({"a.rate": "1"}, [keyed(B, "acme", "initech"), {"name": "d", **keyed(D, "acme", "initech")}]))
    evaluations = Evaluations(flags, None, secrets=False).now()
    match = evaluations.match(limits, "acme")
    assert match is evaluations.match(limits, "initech")
    found = evaluations.evaluate(limits, match)
    assert (found.value, found.reason, found.variant) == (limits.for_("acme"), "TARGETING_MATCH", "d")
    assert evaluations.match(limits, "other") is None


def test_what_the_limits_of_a_map_refuse_is_left_out(flags: dflag.FlagRegistry) -> None:
    """A rule whose map a validator refuses is left out and listed as rejected; another rule for the key applies."""

    def few(value: Mapping[str, int]) -> None:
        if len(value) > 2:
            raise ValueError("expected two at most")

    limits = flags.dyn_map("limits", {}, keys="*.rate", of="int", by="tenant", validator=few)
    source = MemorySource({"a.rate": "1", "_rules.yaml": json.dumps([keyed(B | C, "acme"), keyed(D, "acme")])})
    updater = dflag.Updater(flags, source, on_bad_start="skip")
    updater.initialize()
    assert limits.for_("acme") == {"a.rate": 1, "d.rate": 7}
    assert "where tenant is acme: flag 'limits': expected two at most" in str(updater.status().rejected["rule:rule 1"])


def test_watchers_hear_of_what_lies_beneath_the_values_for_keys(flags: dflag.FlagRegistry) -> None:
    """
    Watchers hear of a map when a lower source changes only its values for keys, and neither rule nor plain value.
    """
    limits = flags.dyn_map("limits", {}, keys="*.limit", of="int", by="tenant")
    low, high = MemorySource({"x.limit": "1"}, name="low"), MemorySource({}, name="high")
    high.update({"x.limit": "2", "_rules.yaml": "- {by: tenant, is: acme, set: {limits: {y.limit: 1}}}"})
    updater = dflag.Updater(flags, [low, high])
    updater.initialize()
    heard: list[tuple[str, ...]] = []
    store_of_registry(flags).add_commit_listener(heard.append)
    before = limits.for_("acme")
    low.update({"x.limit": "3"})
    updater.refresh()
    assert flags.flush(5)
    assert limits.for_("acme") != before
    assert heard == [("limits",)]
