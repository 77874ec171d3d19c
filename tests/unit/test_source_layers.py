"""
The sources of one registry: names, ranks, and what is in force of each.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

import dflag
from dflag._registry import sources_of
from dflag._source_state import Reading

if TYPE_CHECKING:
    from dflag._source_layers import SourceLayers


class Feeder:
    """Something that feeds a source."""


@pytest.fixture(name="sources")
def _sources(flags: dflag.FlagRegistry) -> SourceLayers:
    return sources_of(flags)


def _reading(**values: str) -> Reading:
    return Reading(values, lambda key: f"place of {key}")


def test_sources_rank_in_the_order_in_which_they_were_named(flags: dflag.FlagRegistry, sources: SourceLayers) -> None:
    """A source that was named early and has values late stays beneath."""
    rate = flags.dyn_int("rate", 1)
    sources.name("low")
    sources.name("high")
    sources.apply_each({"high": _reading(rate="3")})
    sources.apply_each({"low": _reading(rate="2")})
    assert (rate.get(), rate.origin) == (3, "high")
    sources.apply_each({"high": _reading()})
    assert (rate.get(), rate.origin) == (2, "low")


@pytest.mark.parametrize("name", ["", "override", "environment", "command line", "default"])
def test_no_source_has_the_name_of_another_layer(sources: SourceLayers, name: str) -> None:
    """Or nobody could tell where a value comes from."""
    with pytest.raises(dflag.DefinitionError, match="expected the name of a source"):
        sources.name(name)


def test_one_owner_feeds_a_source_until_it_is_gone(sources: SourceLayers) -> None:
    """It may claim it again; another may after a release, or when nobody keeps the owner."""
    one, other = Feeder(), Feeder()
    sources.claim("file", one, below_arguments=False)
    sources.claim("file", one, below_arguments=False)
    with pytest.raises(dflag.DefinitionError, match="source 'file' is already followed"):
        sources.claim("file", other, below_arguments=False)
    assert sources.owners() == [one]
    sources.release("file", other)
    assert sources.owners() == [one]
    sources.release("file", one)
    sources.claim("file", other, below_arguments=False)
    del other
    gc.collect()
    assert sources.owners() == []
    sources.claim("file", one, below_arguments=False)


def test_the_rank_beneath_the_command_line_is_settled_before_there_are_values(
    flags: dflag.FlagRegistry, sources: SourceLayers
) -> None:
    """Another rank afterwards would change values without a revision."""
    rate, owner = flags.dyn_int("rate", 1), Feeder()
    sources.claim("file", owner, below_arguments=True)
    sources.apply_each({"file": _reading(rate="2")})
    flags.parse_args(["--rate=3"])
    assert rate.get() == 3
    with pytest.raises(dflag.DefinitionError, match="use below_arguments=True, or empty it first"):
        sources.claim("file", owner, below_arguments=False)
    sources.apply_each({"file": _reading()})
    sources.claim("file", owner, below_arguments=False)
    sources.apply_each({"file": _reading(rate="2")})
    assert rate.get() == 2


def test_all_or_nothing_over_several_sources(flags: dflag.FlagRegistry, sources: SourceLayers) -> None:
    """One bad value keeps all sources out, and nothing is counted or kept; each by itself applies what is good."""
    rate, limit = flags.dyn_int("rate", 1), flags.dyn_int("limit", 1)
    readings = {"one": _reading(rate="2"), "two": _reading(limit="many")}
    outcomes = sources.apply_all(readings)
    assert (rate.get(), limit.get(), sources.state("one").reading.values) == (1, 1, {})
    assert list(outcomes["two"].revision.get().rejected) == ["limit"]

    outcomes = sources.apply_each(readings)
    assert (rate.get(), limit.get()) == (2, 1)
    assert outcomes["one"].revision.get().changed == ("rate",)
    assert "place of limit" in str(outcomes["two"].revision.get().rejected["limit"])


def test_the_values_in_force_are_known_by_their_identity(flags: dflag.FlagRegistry, sources: SourceLayers) -> None:
    """The check each second compares no texts; a source that has become secret is applied again."""
    flags.dyn_int("rate", 1)
    reading = _reading(rate="2")
    assert not sources.holds("file", reading.values, secret=False)
    sources.apply_each({"file": reading})
    assert sources.holds("file", reading.values, secret=False)
    assert not sources.holds("file", dict(reading.values), secret=False)
    assert not sources.holds("file", reading.values, secret=True)


def test_a_flag_that_is_declared_late_takes_what_the_sources_hold(flags: dflag.FlagRegistry) -> None:
    """From the last source that has its key; a bad value leaves the one below."""
    flags.apply({"rate": "2"}, source="low")
    flags.apply({"rate": "many"}, source="high")
    assert flags.dyn_int("rate", 1).get() == 2


def test_going_back_forgets_the_sources_that_were_named_since(sources: SourceLayers) -> None:
    """But for one that something feeds, which comes last."""
    owner = Feeder()
    sources.name("kept")
    kept = sources.keep()
    sources.name("gone")
    sources.claim("fed", owner, below_arguments=False)
    sources.rank_as(kept)
    assert list(sources.states()) == ["kept", "fed"]
