"""
The open `override()` blocks of a registry, and the overrides that each restores at its end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from dflag._layers import Entry

    Before: TypeAlias = dict[Any, Entry | None]


class OverrideBlocks:
    """
    The open blocks of one registry, in the order in which they were entered. Threads may leave them in any order.

    A block is represented by the mapping that it restores: the previous override of each of its flags.

    Thread safety: one thread at a time; the caller holds the store's lock.
    """

    def __init__(self) -> None:
        self._blocks: Final[list[Before]] = []

    def enter(self, before: Before) -> None:
        self._blocks.append(before)

    def to_restore(self, before: Before) -> Before:
        """
        Return the overrides that an open block restores now, without the flags that a later block overrides too.
        """
        later = self._later(before)
        return {flag: entry for flag, entry in before.items() if not any(flag in block for block in later)}

    def leave(self, before: Before) -> None:
        """
        End a block. For a flag that a later block overrides too, that block restores the override. Idempotent.
        """
        for later in self._later(before):
            for flag in later.keys() & before.keys():
                later[flag] = before.pop(flag)
        # By identity, because two open blocks may be equal.
        self._blocks[:] = [block for block in self._blocks if block is not before]

    def _later(self, before: Before) -> list[Before]:
        places = [place for place, block in enumerate(self._blocks) if block is before]
        return self._blocks[places[0] + 1 :] if places else []
