"""
Readings of one source, parsed without a commit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dflag._batch import parse as parse_reading
from dflag._batch import resolve_all
from dflag._registry import store_of_registry
from dflag._source_state import Batch, Outcome, Reading, SourceState, empty_state, outcome_of_commit

if TYPE_CHECKING:
    from collections.abc import Sequence

    import dflag


def parse(flags: dflag.FlagRegistry, values: dict[str, str], base: SourceState | None = None) -> Batch:
    """Return the batch that the flags make of *values*, after the values of *base*."""
    base = empty_state("file") if base is None else base
    store = store_of_registry(flags)
    (batch,) = resolve_all(store, [parse_reading(store, "file", base, Reading(values, lambda _: "file"))], {})
    return batch


def apply_without_commit(
    flags: dflag.FlagRegistry,
    values: dict[str, str],
    base: SourceState | None = None,
    newly_unknown: Sequence[str] = (),
) -> tuple[Outcome, SourceState]:
    """Return the outcome of *values* and the resulting source state, as if *values* were committed."""
    batch = parse(flags, values, base)
    transaction = store_of_registry(flags).plan(batch.edits)
    return outcome_of_commit(batch, transaction, (), newly_unknown).get()
