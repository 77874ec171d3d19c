"""
Readings of one source, parsed without a commit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dflag._batch import parse_all
from dflag._registry import store_of_registry
from dflag._source_state import Batch, Reading, SourceState, empty_state, outcome_of_commit

if TYPE_CHECKING:
    import dflag


def parse(flags: dflag.FlagRegistry, values: dict[str, str], base: SourceState | None = None) -> Batch:
    """Return what *values* are to the flags, after those of *base*."""
    base = empty_state("file") if base is None else base
    (batch,) = parse_all(store_of_registry(flags), [("file", base, Reading(values, lambda _: "file"))], {})
    return batch


def state_after(flags: dflag.FlagRegistry, values: dict[str, str], base: SourceState | None = None) -> SourceState:
    """Return the state that committing *values* would leave, without a commit."""
    return outcome_of_commit(parse(flags, values, base), 1, (), changed=(), newly_unknown=())[1]
