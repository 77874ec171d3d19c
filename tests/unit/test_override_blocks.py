"""
Which overrides each `override()` block brings back at its end.
"""

from __future__ import annotations

from dflag._layers import Entry
from dflag._override_blocks import OverrideBlocks

FIRST, SECOND = Entry(1), Entry(2)


def test_the_last_block_brings_back_what_its_flags_had_before() -> None:
    """The only open block brings back the override that each of its flags had before, also None for no override."""
    blocks = OverrideBlocks()
    before = {"rate": FIRST, "burst": None}
    blocks.enter(before)
    assert blocks.to_restore(before) == before


def test_a_block_that_ends_early_leaves_its_part_to_the_one_entered_after_it() -> None:
    """A block that ends early brings back only flags that no later block has; the later one brings back the rest."""
    blocks = OverrideBlocks()
    outer: dict[str, Entry | None] = {"rate": None, "burst": FIRST}
    inner: dict[str, Entry | None] = {"rate": SECOND}
    blocks.enter(outer)
    blocks.enter(inner)
    assert blocks.to_restore(outer) == {"burst": FIRST}
    blocks.leave(outer)
    assert blocks.to_restore(inner) == {"rate": None}


def test_blocks_that_are_equal_are_told_apart() -> None:
    """When one of two equal blocks is left, as of two threads that override one flag, the other one stays open."""
    blocks = OverrideBlocks()
    one: dict[str, Entry | None] = {"rate": FIRST}
    other = dict(one)
    blocks.enter(one)
    blocks.enter(other)
    blocks.leave(other)
    assert blocks.to_restore(one) == {"rate": FIRST}


def test_a_block_that_is_over_may_be_left_again() -> None:
    """A block may be left twice, as when a signal handler raises right after its end; other blocks are not changed."""
    blocks = OverrideBlocks()
    outer: dict[str, Entry | None] = {"rate": FIRST}
    inner: dict[str, Entry | None] = {"rate": SECOND}
    blocks.enter(outer)
    blocks.enter(inner)
    blocks.leave(inner)
    blocks.leave(inner)
    assert blocks.to_restore(outer) == {"rate": FIRST}
