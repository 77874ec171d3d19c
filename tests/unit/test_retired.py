"""
Names of flags that were removed on purpose.
"""

from __future__ import annotations

import datetime
import logging
from typing import Any

import pytest

import dflag
from dflag import DefinitionError
from dflag.sources import MemorySource

SINCE = datetime.date(2026, 10, 1)


def test_a_key_that_is_left_is_reported_once_and_not_unknown(
    flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A retired key that sources still hold is logged once, with its date and first source, and is not unknown.
    """
    rate = flags.dyn_int("rate", 1)
    flags.retired("old", since=SINCE)
    with caplog.at_level(logging.WARNING, "dflag"):
        revision = flags.apply({"old": "5", "rate": "2", "odd": "1"}, source="/etc/shop")
        flags.apply({"old": "6", "rate": "3", "odd": "1"}, source="/etc/shop")
        flags.apply({"old": "6"}, source="other")

    assert (revision.unknown, revision.changed, rate.get()) == (("odd",), ("rate",), 3)
    assert [each.getMessage() for each in caplog.records if "retired" in each.getMessage()] == [
        "key 'old' in /etc/shop has been retired since 2026-10-01: remove it"
    ]


def test_it_is_no_error_where_unknown_names_are(flags: dflag.FlagRegistry) -> None:
    """
    A retired key is not an error with `unknown="error"`.

    A ConfigMap may keep the key while an older version of the program runs next to this one.
    """
    flags.retired("old", since=SINCE)
    updater = dflag.Updater(flags, MemorySource({"old": "5"}), unknown="error")
    updater.initialize()

    assert updater.status().unknown == ()


def test_a_rule_that_sets_it_applies_the_rest(flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture) -> None:
    """
    A rule that sets a retired name applies its other values, and is logged once.
    """
    rate = flags.dyn_int("rate", 1)
    flags.retired("old", since=SINCE)
    source = MemorySource({"_rules.yaml": "- {name: more, set: {old: 5, rate: 3}}\n- {set: {old: 6}}"})
    updater = dflag.Updater(flags, source, unknown="error")
    updater.initialize()
    updater.refresh()

    assert (rate.get(), updater.status().unknown, updater.status().rejected) == (3, (), {})
    assert caplog.messages == ["rule 'more' in memory sets 'old', which has been retired since 2026-10-01: remove it"]


def test_a_map_does_not_take_its_key(flags: dflag.FlagRegistry) -> None:
    """
    A map does not contain a retired key that fits its pattern, neither from a source nor from a rule.
    """
    limits = flags.dyn_map("limits", {}, keys="*.limit", of="int")
    flags.retired("old.limit", since=SINCE)
    revision = flags.apply({"old.limit": "often", "new.limit": "6"}, source="/etc/shop")
    assert (limits.get(), revision.rejected, revision.unknown) == ({"new.limit": 6}, {}, ())

    source = MemorySource({"_rules.yaml": "- {name: more, set: {old.limit: often, new.limit: 7}}"})
    updater = dflag.Updater(flags, source)
    updater.initialize()
    assert (limits.get(), updater.status().rejected) == ({"new.limit": 7}, {})


def test_the_name_never_comes_back(flags: dflag.FlagRegistry) -> None:
    """
    Declaring or binding a flag with a retired name raises `DefinitionError` and leaves nothing behind.
    """
    flags.retired("old", since=SINCE)
    unbound = dflag.dyn_int(1)
    for attempt in (lambda: flags.dyn_int("old", 1), lambda: flags.bind("old", unbound)):
        with pytest.raises(DefinitionError, match="flag 'old': expected a new name, this one is retired"):
            attempt()
    assert "old" not in flags
    assert flags.bind("new", unbound).get() == 1


@pytest.mark.parametrize(
    ("name", "since", "message"),
    [
        ("rate", SINCE, "this flag is declared at"),
        ("old", SINCE, "it has been retired since 2026-10-01"),
        (".bad", SINCE, "name"),
        ("new", "2026-10-01", "expected since as a datetime.date"),
        ("new", datetime.datetime(2026, 10, 1, tzinfo=datetime.UTC), "expected since as a datetime.date"),
    ],
)
def test_what_cannot_be_retired(flags: dflag.FlagRegistry, name: str, since: Any, message: str) -> None:
    """
    `retired()` raises for a declared flag, a retired name, an invalid name, and a date that is not a `date`.
    """
    flags.dyn_int("rate", 1)
    flags.retired("old", since=SINCE)
    with pytest.raises(DefinitionError, match=message):
        flags.retired(name, since=since)
