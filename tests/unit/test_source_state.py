"""
The results of applying a reading of a source.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from dflag._source_state import Deferred, outcome_without_commit
from dflag.errors import RegistryValidationError

from ._readings import apply_without_commit, parse

if TYPE_CHECKING:
    import dflag


def test_the_outcome_of_a_batch_counts_what_is_news(flags: dflag.FlagRegistry) -> None:
    """A bad value that was reported before is not newly rejected in the next reading, and is counted once."""
    flags.dyn_int("rate", 1)
    flags.dyn_int("other", 1).set(2)
    outcome, state = apply_without_commit(flags, {"rate": "many"}, newly_unknown=("x",))
    assert (outcome.revision.number, outcome.applied, outcome.refusal) == (2, True, None)
    assert len(outcome.newly_rejected) == 1
    assert (state.results.errors, state.results.warnings, state.results.reloads["partial"]) == (1, 1, 1)
    assert state.revision is outcome.revision
    flags.dyn_int("burst", 1)
    again, state = apply_without_commit(flags, {"rate": "many", "burst": "2"}, state)
    assert (again.newly_rejected, again.changed, state.results.errors) == ({}, ("burst",), 1)


def test_what_is_worked_out_deferred_is_the_same_for_all_who_ask() -> None:
    """All callers of `Deferred.get()` get the same object, even if one calls it while another is making the object."""
    asked = list[object]()

    def make() -> object:
        if not asked:
            asked.append(None)
            asked[0] = deferred.get()  # as another thread, or a signal handler, would at this moment
        return object()

    deferred = Deferred(make)
    assert deferred.get() is deferred.get() is asked[0]


def test_what_is_left_keeps_the_revision_only_where_nothing_is_new(flags: dflag.FlagRegistry) -> None:
    """A batch without changes keeps the revision; a refused one has its own, with the error and the old values."""
    flags.dyn_int("rate", 1)
    state = apply_without_commit(flags, {"rate": "2"})[1]
    same = outcome_without_commit(parse(flags, {"rate": "2"}, state), 5, (), newly_unknown=())
    assert (same.revision, same.in_force, same.refusal) == (state.revision, True, None)
    error = RegistryValidationError("too much")
    refused = outcome_without_commit(parse(flags, {"rate": "3"}, state), 5, (), newly_unknown=(), error=error)
    assert (refused.in_force, refused.refusal, refused.newly_refused) == (False, "too much", True)
    assert (refused.values, refused.revision.error) == ({"rate": "2"}, error)
    assert refused.revision is not state.revision


def test_revisions_do_not_keep_the_ones_before(flags: dflag.FlagRegistry) -> None:
    """However many readings are applied, at most two revisions of a source are kept in memory."""
    flags.dyn_int("rate", 1)
    revision = flags.apply({"rate": "1"}, source="kept revisions")
    for number in range(2, 12):
        revision = flags.apply({"rate": str(number)}, source="kept revisions")
    alive = [each for each in gc.get_objects() if type(each) is type(revision)]
    assert len([each for each in alive if each.source == revision.source]) <= 2
