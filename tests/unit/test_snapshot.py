"""
Snapshots and pins on their own.
"""

from __future__ import annotations

import copy

import pytest

import dflag
from dflag._snapshot import (
    Pin,
    as_of,
    current_pin,
    innermost_pin,
    open_pins,
    reset_pin,
    set_pin,
    with_values,
)
from dflag.errors import unknown_keys


def test_a_snapshot_stays_as_it_is(flags: dflag.FlagRegistry) -> None:
    """A commit does not change a snapshot, its attributes cannot be set, and a copy of it is the same object."""
    rate = flags.dyn_int("rate", 1)
    snapshot = flags.snapshot()
    rate.set(2)
    assert (snapshot[rate], flags.snapshot()[rate]) == (1, 2)
    with pytest.raises(AttributeError, match="a snapshot never changes"):
        snapshot.revision = 5  # type: ignore[misc]  # wrong on purpose
    with pytest.raises(AttributeError, match="a snapshot never changes"):
        del snapshot.revision
    assert copy.copy(snapshot) is copy.deepcopy(snapshot) is snapshot


def test_a_snapshot_is_a_mapping_in_name_order(flags: dflag.FlagRegistry) -> None:
    """A snapshot is a mapping in name order, by name and by flag; the error for an unknown name has a hint."""
    late, early = flags.dyn_int("b_rate", 2), flags.dyn_int("a_rate", 1)
    snapshot = flags.snapshot()
    assert list(snapshot.items()) == [("a_rate", 1), ("b_rate", 2)]
    assert (snapshot[late], snapshot.get(early), snapshot.get("c", 7), late in snapshot) == (2, 1, 7, True)
    with pytest.raises(dflag.UnknownFlagError, match="'b_rat'; did you mean 'b_rate'"):
        snapshot["b_rat"]


def test_a_snapshot_says_why_it_lacks_a_flag(flags: dflag.FlagRegistry) -> None:
    """The error for a flag that a snapshot lacks says whether it is of another registry, declared later, or unknown."""
    flags.dyn_int("rate", 1, by="tenant")
    snapshot = flags.snapshot()
    stranger, late = dflag.FlagRegistry().dyn_int("rate", 1, by="tenant"), flags.dyn_int("late", 1)
    for look_up in (snapshot.__getitem__, lambda flag: snapshot.for_(flag, "acme")):
        with pytest.raises(dflag.UnknownFlagError, match=r"^flag 'rate' does not belong to this registry$"):
            look_up(stranger)
        for key in (late, "late"):
            with pytest.raises(dflag.UnknownFlagError, match=r"^flag 'late' was declared after <Snapshot of 1 flags"):
                look_up(key)
        with pytest.raises(dflag.UnknownFlagError, match=r"^no flag named 'rat'; did you mean 'rate'"):
            look_up("rat")
        with pytest.raises(dflag.UnknownFlagError, match=r"^expected the name of a flag, got 5$"):
            look_up(5)


def test_snapshots_compare_by_identity(flags: dflag.FlagRegistry) -> None:
    """Two snapshots with equal values are not equal, and both may be keys of one dict."""
    rate = flags.dyn_int("rate", 1)
    one = flags.snapshot()
    rate.set(2)
    rate.reset()
    other = flags.snapshot()
    assert one is not other
    assert dict(one) == dict(other)
    assert one != other
    assert {one: 1, other: 2}[one] == 1


def test_other_values_on_top_leave_the_view_below_alone(flags: dflag.FlagRegistry) -> None:
    """`with_values()` returns a snapshot with other values and the same revision, and does not change the original."""
    rate, other = flags.dyn_int("rate", 1), flags.dyn_int("other", 1)
    snapshot = flags.snapshot()
    changed = with_values(snapshot, {rate: 5}, {rate: "layers"})
    assert (changed[rate], changed[other], changed.revision) == (5, 1, snapshot.revision)
    assert snapshot[rate] == 1
    assert as_of(changed, rate, lambda _: "now") == "layers"
    assert as_of(changed, other, lambda _: "now") == "now"


def test_pins_nest_and_a_closed_one_is_passed_over(flags: dflag.FlagRegistry) -> None:
    """`innermost_pin()` returns the innermost open pin, and None when all pins are closed."""
    flags.dyn_int("rate", 1)
    outer = Pin("one", flags.snapshot(), None)
    inner = Pin("other", flags.snapshot(), outer)
    token = set_pin(inner)
    open_pins.update((outer, inner))
    try:
        assert current_pin() is innermost_pin() is inner
        assert innermost_pin("one") is outer
        inner.close()
        assert innermost_pin() is outer
        assert inner.values == {}
        outer.close()
        assert innermost_pin() is None
    finally:
        reset_pin(token)
        open_pins.difference_update((outer, inner))


def test_only_the_first_unknown_keys_have_hints() -> None:
    """Only the first 20 unknown keys have hints: a hint takes time, and a source may hold thousands of such keys."""
    errors = unknown_keys([f"rat{number}" for number in range(30)], ["rate"], "/etc/shop")
    hinted = [error for error in errors if "did you mean 'rate'?" in str(error)]
    assert len(errors) == 30
    assert hinted == errors[:20]
    assert str(errors[-1]) == "unknown key 'rat29' in /etc/shop"
