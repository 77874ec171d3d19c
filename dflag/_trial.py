"""
What readings would do, without a commit: for the command and for the checks of a framework.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from dflag._batch import parse, resolve_all, without_some_rules
from dflag._snapshot import values_of
from dflag._transaction import Transaction, trial_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dflag._flags import Flag
    from dflag._rule_layers import RuleContext
    from dflag._source_state import Batch, Reading, SourceState
    from dflag._store import Store
    from dflag._transaction import Edit
    from dflag.errors import RegistryValidationError


class TrialRun(NamedTuple):
    """
    What applying readings to the defaults would do.

    Attributes:
        batches: Each reading, parsed.
        values: The effective values, by flag.
        error: Why a registry validator refuses them, whichever rules are left out.
    """

    batches: Sequence[Batch]
    values: Mapping[Flag[Any], Any]
    error: RegistryValidationError | None


def try_readings(
    store: Store,
    readings: Sequence[tuple[str, SourceState, Reading]],
    contexts: Mapping[str, RuleContext] = MappingProxyType({}),
) -> TrialRun:
    """
    Parse, merge and check readings over the defaults, as `SourceLayers` does it, without a commit.

    Args:
        store: Holds the flags.
        readings: Of each source its name, what it gave before, and what it gives now; a later one ranks higher. A value
            that is refused leaves the last good one of its own.
        contexts: By what the rules of each source are resolved; those of others are never in force.
    """
    batches = resolve_all(store, [parse(store, *each) for each in readings], contexts)
    trial = _try_batches(store, batches)
    if trial.error is not None:
        for mended in without_some_rules(store, batches, contexts, trial.error):
            without = _try_batches(store, mended)
            if without.error is None:
                return without
    return trial


def _try_batches(store: Store, batches: Sequence[Batch]) -> TrialRun:
    layers = [f"{number}: {batch.name}" for number, batch in enumerate(batches)]
    edits: list[Edit] = [
        (store.find(name), layer, entry)
        for layer, batch in zip(layers, batches, strict=True)
        for name, entry in batch.state.entries.items()
    ]
    transaction = Transaction(trial_of(store.base(), layers[::-1]), edits)
    return TrialRun(batches, values_of(transaction.snapshot), store.refusal(transaction))
