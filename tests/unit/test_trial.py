"""
What readings would do, without a commit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dflag._registry import store_of_registry
from dflag._source_state import Reading, SourceState
from dflag._trial import try_readings

if TYPE_CHECKING:
    import dflag

NOTHING = SourceState(Reading({}, lambda _: ""))


def _reading(**values: str) -> Reading:
    return Reading(values, lambda key: f"place of {key}")


def test_a_trial_shows_the_values_over_the_defaults_and_changes_nothing(flags: dflag.FlagRegistry) -> None:
    """A later source ranks higher; what the program has set counts for nothing."""
    rate, burst = flags.dyn_int("rate", 1), flags.dyn_int("burst", 1)
    burst.set(9)
    readings = [("low", NOTHING, _reading(rate="2")), ("high", NOTHING, _reading(rate="3", burst="many"))]
    trial = try_readings(store_of_registry(flags), readings)
    assert trial.values == {rate: 3, burst: 1}
    assert [list(batch.state.rejected) for batch in trial.batches] == [[], ["burst"]]
    assert (rate.get(), burst.get(), flags.snapshot().revision) == (1, 9, 1)


def test_a_trial_says_why_a_registry_validator_refuses(flags: dflag.FlagRegistry) -> None:
    """As the commit would."""
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
