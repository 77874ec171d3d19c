"""
The `override()` blocks that are open, and what each is to bring back at its end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from dflag._layers import Entry

    Before: TypeAlias = dict[Any, Entry | None]


class OverrideBlocks:
    """
    The open blocks of one registry, in the order of entering. Threads may leave theirs in any order.

    A block is what it is to bring back: the override that each of its flags had before.

    Thread safety: one thread at a time; the caller holds the store's lock.
    """

    def __init__(self) -> None:
        self._blocks: Final[list[Before]] = []

    def enter(self, before: Before) -> None:
        self._blocks.append(before)

    def to_bring_back(self, before: Before) -> Before:
        """
        Return what an open block brings back. It leaves out a flag that a block entered later has too.
        """
        later = self._later(before)
        return {flag: entry for flag, entry in before.items() if not any(flag in block for block in later)}

    def leave(self, before: Before) -> None:
        """
        End a block, and leave what it is to bring back to one that was entered later, where there is one. Idempotent.
        """
        for later in self._later(before):
            for flag in later.keys() & before.keys():
                later[flag] = before.pop(flag)
        # By identity, as equal ones may be open.
        self._blocks[:] = [block for block in self._blocks if block is not before]

    def _later(self, before: Before) -> list[Before]:
        places = [place for place, block in enumerate(self._blocks) if block is before]
        return self._blocks[places[0] + 1 :] if places else []
