"""
What is logged about the values of sources, and how often.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import pytest

import dflag
from dflag import _source_reports
from dflag._registry import sources_of
from dflag.sources import MemorySource

if TYPE_CHECKING:
    from collections.abc import Callable

MANY = 10_001


@pytest.fixture(name="said")
def _said(caplog: pytest.LogCaptureFixture) -> Callable[..., list[str]]:
    """Return a function that returns the messages that were logged since its last call."""
    caplog.set_level(logging.DEBUG, logger="dflag")

    def take(*levels: int) -> list[str]:
        found = [record.getMessage() for record in caplog.records if record.levelno in levels or not levels]
        caplog.clear()
        return found

    return take


def _unknown(lines: list[str]) -> list[str]:
    return [line for line in lines if "unknown key" in line]


@pytest.mark.parametrize("atomic", [False, True])
def test_more_unknown_names_than_are_remembered_are_reported_once(
    flags: dflag.FlagRegistry, said: Callable[..., list[str]], atomic: bool
) -> None:
    """
    Unknown keys are logged once, however many a source holds, and a later revision logs only a new one.
    This holds whether or not the values of the source are applied.
    """
    flags.dyn_int("rate", 0)
    values = {f"x{number}": "1" for number in range(MANY)} | ({"rate": "bad"} if atomic else {})
    flags.apply(values, source="s", atomic=atomic)
    assert len(_unknown(said())) == MANY
    for number in range(3):
        flags.apply(values | {"x0": str(number), "y": "1"}, source="s", atomic=atomic)
    assert len(_unknown(said())) == 1
    flags.apply({}, source="s", atomic=atomic)
    flags.apply(values, source="s", atomic=atomic)
    assert len(_unknown(said())) <= MANY - 9_000  # the last of the names that are gone are remembered


def test_names_that_come_and_go_take_bounded_memory(
    flags: dflag.FlagRegistry, said: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Unknown keys that come and go take bounded memory, and the last ones are not logged again when they return.
    """
    monkeypatch.setattr(_source_reports, "_MAX_REMEMBERED", 100)
    for number in range(300):
        flags.apply({f"{number}{'x' * 1000}": "1"}, source="s")
    flags.apply({}, source="s")
    unreported, state = sources_of(flags).reports.unknown, sources_of(flags).state("s")
    remembered = (unreported._reported, unreported._seen, state.results.rejected_texts)
    assert sum(sys.getsizeof(part) + sum(map(sys.getsizeof, part)) for part in remembered) < 20_000
    said()
    flags.apply({f"{number}{'x' * 1000}": "1" for number in range(150, 300)}, source="s")
    assert len(_unknown(said())) == 50


def test_a_static_change_that_waits_is_logged_once_with_its_value(
    flags: dflag.FlagRegistry, said: Callable[..., list[str]]
) -> None:
    """
    A change of a static flag is logged once per value: its name at INFO, both texts at DEBUG, never a secret.
    """
    flags.int("port", 8080)
    flags.string("token", "hunter1", secret=True)
    flags.dyn_int("rate", 1)
    flags.freeze()
    flags.apply({"port": "9090", "token": "hunter2"}, source="s")
    assert said() == [
        "flag 'port' is static: its new value waits for a restart",
        "flag 'port': 8080 until a restart, 9090 after it",
        "flag 'token' is static: its new value waits for a restart",
        "flag 'token': ****** until a restart, ****** after it",
    ]
    flags.apply({"port": "9090", "token": "hunter2", "rate": "2"}, source="s")
    assert said() == ["flag 'rate': 1 -> 2 (s)", "revision 2 of s changed rate"]
    flags.apply({"port": "9091", "token": "hunter2", "rate": "2"}, source="s")
    assert said(logging.DEBUG) == ["flag 'port': 8080 until a restart, 9091 after it"]
    flags.apply({}, source="s")
    said()
    flags.apply({"port": "9091"}, source="s")
    assert said(logging.DEBUG) == ["flag 'port': 8080 until a restart, 9091 after it"]


def test_a_refused_revision_does_not_say_that_it_changed_nothing(
    flags: dflag.FlagRegistry, said: Callable[..., list[str]]
) -> None:
    """
    The log says that a revision changed no value only if it refused nothing and nothing waits for a restart.
    """
    flags.int("port", 8080)
    flags.dyn_int("rate", 1)
    flags.freeze()
    flags.apply({"rate": "2"}, source="s")
    for values, count in (({"rate": "x"}, 0), ({"rate": "0x2"}, 1), ({"rate": "2", "port": "1"}, 0)):
        said()
        flags.apply(values, source="s")
        lines = said()
        assert sum("changed no value" in line for line in lines) == count
        assert not any("nothing" in line for line in lines)


def test_a_value_that_is_good_again_is_logged_once(flags: dflag.FlagRegistry, said: Callable[..., list[str]]) -> None:
    """When a value is no longer refused, or its key is gone, the log says so once."""
    flags.dyn_int("rate", 1)
    healed = "flag 'rate' in s: no longer refused"
    for values in ({"rate": "2"}, {"rate": "3"}, {}):
        flags.apply({"rate": "2"}, source="s")
        flags.apply({"rate": "many"}, source="s")
        said()
        flags.apply(values, source="s")
        assert said(logging.INFO).count(healed) == 1
        flags.apply({**values, "other": "x"}, source="s")
        assert healed not in said()


def test_values_that_are_refused_no_more_are_logged_once(
    flags: dflag.FlagRegistry, said: Callable[..., list[str]]
) -> None:
    """When a registry validator no longer refuses a source, the log says so once, even if no value changes."""
    rate, most = flags.dyn_int("rate", 1), flags.dyn_int("most", 5)

    @flags.validator
    def fits(snap: dflag.Snapshot) -> bool:
        return snap[rate] <= snap[most]

    accepted = "the values of s are no longer refused"
    for values in ({"rate": "2"}, {"rate": "3"}):
        flags.apply({"rate": "2"}, source="s")
        flags.apply({"rate": "9"}, source="s")
        assert accepted not in said()
        flags.apply(values, source="s")
        assert said(logging.INFO).count(accepted) == 1
        flags.apply(values, source="s")
        assert accepted not in said()


def test_a_bad_value_says_which_value_is_in_force(flags: dflag.FlagRegistry, said: Callable[..., list[str]]) -> None:
    """The log of a bad value says which value is in force: the layer below, or the last one of a frozen static flag."""
    rate, port = flags.dyn_int("rate", 1), flags.int("port", 1)
    flags.apply({"rate": "2", "port": "2"}, source="s")
    flags.freeze()
    flags.apply({}, source="s")
    said()
    flags.apply({"rate": "many", "port": "many"}, source="s")
    assert (rate.get(), port.get()) == (1, 2)
    assert [line.partition("; ")[2] for line in said(logging.WARNING)] == [
        "keeping the last good value",
        "using the value of the layer below",
    ]


def test_the_key_of_a_map_is_named(flags: dflag.FlagRegistry, said: Callable[..., list[str]]) -> None:
    """The log names the key of a bad map value, and whether its last good value is kept or the key is left out."""
    flags.dyn_map("limits", {}, keys="*.limit", of="int")
    flags.apply({"a.limit": "1", "b.limit": "1"}, source="s")
    said()
    flags.apply({"a.limit": "1", "b.limit": "x", "c.limit": "y"}, source="s")
    lines = [
        "flag 'limits': at 'b.limit': expected an int, got 'x' (s); keeping the last good value",
        "flag 'limits': at 'c.limit': expected an int, got 'y' (s); the key is left out",
    ]
    assert said() == lines
    flags.apply({"a.limit": "1", "b.limit": "1"}, source="s")
    assert said(logging.INFO)[:2] == [f"key '{key}.limit' in s: no longer refused" for key in "bc"]


def test_a_change_for_one_key_is_logged(flags: dflag.FlagRegistry, said: Callable[..., list[str]]) -> None:
    """A revision that changes only values by key is logged as such, and not as one that changed no value."""
    rate, source = flags.dyn_int("rate", 1, by="tenant"), MemorySource({})
    updater = dflag.Updater(flags, source)
    updater.initialize()
    for value in (500, 600):
        source.update({"_rules.yaml": f"[{{name: acme, by: tenant, is: acme, set: {{rate: {value}}}}}]"})
        said()
        number = updater.refresh().number
        assert rate.for_("acme") == value
        lines = said()
        assert f"revision {number} of memory changed values by key of rate" in lines
        assert not any("changed no value" in line for line in lines)
    said()
    source.update({"_rules.yaml": "[{name: acme, by: tenant, is: acme, set: {rate: 600}}]  # as before"})
    updater.refresh()
    assert not any("by key" in line for line in said())


def test_a_rule_that_is_good_again_is_named(flags: dflag.FlagRegistry, said: Callable[..., list[str]]) -> None:
    """When a rule or a list of rules is no longer refused, the log names the rule, or the key of the list."""
    flags.dyn_int("rate", 1)
    source = MemorySource({})
    updater = dflag.Updater(flags, source)
    updater.initialize()
    good = "[{name: a, set: {rate: 5}}]"
    for bad, line in (
        ("[{name: a, set: {rate: x}}]", "rule 'a' in memory: no longer refused"),
        ("[{", "key '_rules.yaml' in memory: no longer refused"),
    ):
        for text in (bad, good):
            source.update({"_rules.yaml": text})
            said()
            updater.refresh()
        assert said(logging.INFO).count(line) == 1
