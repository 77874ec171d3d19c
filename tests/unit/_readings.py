"""
Readings of one source, parsed without a commit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dflag._batch import parse as parse_reading
from dflag._batch import resolve_all
from dflag._registry import store_of_registry
from dflag._source_state import Applied, Batch, Reading, SourceState, applied_later, empty_state

if TYPE_CHECKING:
    from collections.abc import Sequence

    import dflag


def parse(flags: dflag.FlagRegistry, values: dict[str, str], base: SourceState | None = None) -> Batch:
    """Return what *values* are to the flags, after those of *base*."""
    base = empty_state("file") if base is None else base
    store = store_of_registry(flags)
    (batch,) = resolve_all(store, [parse_reading(store, "file", base, Reading(values, lambda _: "file"))], {})
    return batch


def apply(
    flags: dflag.FlagRegistry,
    values: dict[str, str],
    base: SourceState | None = None,
    newly_unknown: Sequence[str] = (),
) -> Applied:
    """Return what would come of applying *values*, without a commit."""
    batch = parse(flags, values, base)
    transaction = store_of_registry(flags).plan(batch.edits)
    return applied_later(batch, transaction, (), newly_unknown).get()
