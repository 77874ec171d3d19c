"""
A trial shows what readings would do, without a commit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import dflag
from dflag._registry import store_of_registry
from dflag._source_state import Reading, SourceState
from dflag._trial import try_readings
from dflag.sources import MemorySource

if TYPE_CHECKING:
    from collections.abc import Mapping

NOTHING = SourceState(Reading({}, lambda _: ""))


def _reading(**values: str) -> Reading:
    return Reading(values, lambda key: f"place of {key}")


def _declare_rate_and_burst(flags: dflag.FlagRegistry) -> None:
    flags.dyn_int("rate", 10)
    flags.dyn_int("burst", 5)

    @flags.validator
    def _fits(snapshot: dflag.Snapshot) -> None:
        if snapshot["burst"] > snapshot["rate"]:
            raise ValueError("burst is above rate")


def test_a_trial_shows_the_values_over_the_defaults_and_changes_nothing(flags: dflag.FlagRegistry) -> None:
    """A trial shows the values of the highest source over the defaults, ignores overrides and commits nothing."""
    rate, burst = flags.dyn_int("rate", 1), flags.dyn_int("burst", 1)
    burst.set(9)
    readings = [("low", NOTHING, _reading(rate="2")), ("high", NOTHING, _reading(rate="3", burst="many"))]
    trial = try_readings(store_of_registry(flags), readings)
    assert trial.values == {rate: 3, burst: 1}
    assert [list(batch.state.rejected) for batch in trial.batches] == [[], ["burst"]]
    assert (rate.get(), burst.get(), flags.snapshot().revision) == (1, 9, 1)


def test_a_trial_says_why_a_registry_validator_refuses(flags: dflag.FlagRegistry) -> None:
    """The error of a trial carries the message of the registry validator that refuses the values."""
    flags.dyn_int("rate", 1)

    @flags.validator
    def _small(snapshot: dflag.Snapshot) -> None:
        if snapshot["rate"] > 5:
            raise ValueError("too fast")

    store = store_of_registry(flags)
    assert try_readings(store, [("s", NOTHING, _reading(rate="5"))]).error is None
    error = try_readings(store, [("s", NOTHING, _reading(rate="6"))]).error
    assert error is not None
    assert "too fast" in str(error)


@pytest.mark.parametrize(
    ("low", "high", "rejected"),
    [
        ({"_rules.yaml": "- {when: {zone: a}, set: {rate: 90, burst: 80}}"}, {"rate": "20"}, ["rule:rule 1"]),
        ({"_rules.yaml": "- {set: {burst: 80}}"}, {"burst": "5"}, []),
        ({"rate": "90"}, {"_rules.yaml": "- {set: {burst: 80}}"}, []),
    ],
)
def test_rules_are_tried_beneath_the_sources_above_as_an_updater_does(
    flags: dflag.FlagRegistry, low: Mapping[str, str], high: Mapping[str, str], rejected: list[str]
) -> None:
    """A trial rejects the same rules as an updater, and keeps readings with the same name as separate layers."""
    _declare_rate_and_burst(flags)
    trial = try_readings(store_of_registry(flags), [("s", NOTHING, _reading(**each)) for each in (low, high)])
    assert [key for batch in trial.batches for key in batch.state.rejected] == rejected
    sources = MemorySource(low, name="low"), MemorySource(high, name="high")
    with dflag.Updater(flags, sources, on_bad_start="skip") as updater:
        assert list(updater.status().rejected) == rejected


def test_rules_are_tried_on_plain_values_that_were_there_before(flags: dflag.FlagRegistry) -> None:
    """A trial checks a rule against the plain values of the state before, which the registry does not hold."""
    _declare_rate_and_burst(flags)
    store = store_of_registry(flags)
    before = try_readings(store, [("s", NOTHING, _reading(rate="90", burst="80"))]).batches[0].state
    after = _reading(rate="90", burst="80", **{"_rules.yaml": "- {name: low, set: {rate: 70}}\n- {set: {burst: 85}}"})
    assert list(try_readings(store, [("s", before, after)]).batches[0].state.rejected) == ["rule:low"]
