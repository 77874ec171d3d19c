"""
Trial runs: the effect that readings would have, without a commit. For the command and for checks of a framework.
"""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from dflag._batch import parse, resolve_all, without_some_rules
from dflag._snapshot import values_of
from dflag._transaction import Transaction, trial_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dflag._flags import Flag
    from dflag._rule_layers import RuleContext
    from dflag._source_state import Batch, Parsed, Reading, SourceState
    from dflag._store import Store
    from dflag._transaction import Plan
    from dflag.errors import RegistryValidationError


class TrialRun:
    """
    The effect that readings would have if they were applied to the defaults.

    Attributes:
        batches: The parsed readings, in order.
        values: The effective values, by flag.
        error: The error of the registry validator that refuses the values, whichever rules are left out; or None.
    """

    __slots__ = ("batches", "error", "values")

    def __init__(
        self, batches: Sequence[Batch], values: Mapping[Flag[Any], Any], error: RegistryValidationError | None
    ) -> None:
        self.batches: Final = batches
        self.values: Final = values
        self.error: Final = error


def try_readings(
    store: Store,
    readings: Sequence[tuple[str, SourceState, Reading]],
    contexts: Mapping[str, RuleContext] = MappingProxyType({}),
) -> TrialRun:
    """
    Parse, merge and check readings on top of the defaults, as `SourceLayers` does, but without a commit.

    Each reading gets a layer of its own, even if two sources have the same name.

    Args:
        store: The store with the flags.
        readings: For each source its name, its state so far, and its new reading. A later source ranks higher. If a
            value is refused, the last good value in the state so far stays.
        contexts: The contexts that resolve the rules of each source, by name. The rules of other sources are never in
            force.
    """
    layers = {f"{number}: {reading[0]}": reading for number, reading in enumerate(readings)}
    parsed = [_parse(store, layer, reading) for layer, reading in layers.items()]
    contexts = {layer: contexts[name] for layer, (name, _, _) in layers.items() if name in contexts}
    plan = partial(Transaction, trial_of(store.base(), [*reversed(layers)]))
    trial = _try_batches(store, resolve_all(store, parsed, contexts, plan=plan), plan)
    if trial.error is not None:
        for mended in without_some_rules(store, trial.batches, contexts, trial.error, plan):
            without = _try_batches(store, mended, plan)
            if without.error is None:
                return without
    return trial


def _parse(store: Store, layer: str, reading: tuple[str, SourceState, Reading]) -> Parsed:
    """
    Parse a reading for a layer. Every plain value counts as new, because the trial begins with the defaults.
    """
    parsed = parse(store, *reading)
    return parsed._replace(name=layer, flags=[store.find(name) for name in parsed.state.plain.entries])


def _try_batches(store: Store, batches: Sequence[Batch], plan: Plan) -> TrialRun:
    transaction = plan(
        (store.find(name), batch.name, entry) for batch in batches for name, entry in batch.state.entries.items()
    )
    return TrialRun(batches, values_of(transaction.snapshot), store.refusal(transaction))
