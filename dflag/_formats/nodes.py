"""
The results of reading with places: nodes, lines, and the paths between nodes.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING, Final, TypeAlias

from dflag._formats.base import Place

if TYPE_CHECKING:
    from collections.abc import Callable

Step: TypeAlias = str | int
"""One step of a path: the key of an object, or the index of an array."""

START: Final = Place(1, 1)

_LINE_END: Final = re.compile(r"\r\n|\n|\r")
_STEP: Final = re.compile(r"\.(?P<key>\w+)|\[(?P<index>\d+)\]|\[(?P<quoted>\"(?:[^\"\\]|\\.)*\")\]")


class Node:
    """
    A value in a text.

    Attributes:
        start: The offset of its first character.
        end: The offset after its last character.
        text: The text that a scalar stands for; None for a collection.
        style: How a scalar is written: ``""`` if it is plain, or ``"``, ``'``, ``|`` or ``>``.
        tag: The full YAML tag before the value, or None.
        members: The keys and values of a mapping; None for other values.
        items: The items of a sequence; None for other values.
        size: The number of values in it, including itself and the values that aliases stand for.
        height: How deep it nests; 0 for a scalar.
        repeated: The offset of the first key, in it or in a part of it, that is repeated in its mapping, or None.
    """

    __slots__ = ("end", "height", "items", "members", "repeated", "size", "start", "style", "tag", "text")

    def __init__(self, start: int, end: int, text: str | None = None, style: str = "", tag: str | None = None) -> None:
        self.start: Final = start
        self.end = end
        self.text: Final = text
        self.style: Final = style
        self.tag: Final = tag
        self.members: dict[str, tuple[Node, Node]] | None = None
        self.items: list[Node] | None = None
        self.size = 1
        self.height = 0
        self.repeated: int | None = None

    def include(self, inner: Node) -> Node:
        """
        Count *inner* as a part of this collection, and return it.
        """
        self.size += inner.size
        self.height = max(self.height, inner.height + 1)
        self.repeated = inner.repeated if self.repeated is None else self.repeated
        return inner

    def get(self, key: str) -> Node | None:
        found = (self.members or {}).get(key)
        return None if found is None else found[1]

    def walk(self, path: list[Step]) -> Node:
        """
        Follow a path as far as it leads, and return the last node.
        """
        node = self
        for step in path:
            inner = node._step(step)
            if inner is None:
                break
            node = inner
        return node

    def _step(self, step: Step) -> Node | None:
        if isinstance(step, int):
            return self.items[step] if self.items is not None and step < len(self.items) else None
        return self.get(step)

    def offsets(self, source: str) -> Callable[[int], int]:
        """
        Return a function that maps each index in a scalar's text to its offset in *source*.
        """
        from dflag._formats import scalars  # takes 1 ms, and is needed only for block scalars and faults in texts

        found = None if self.text is None else scalars.offsets(source, self.start, self.end, self.style, self.text)
        return lambda index: self.start if found is None else found[min(index, len(found) - 1)]


class Lines:
    """
    Counts the lines of a text as editors do.
    """

    def __init__(self, text: str) -> None:
        self._starts: Final = [0, *(found.end() for found in _LINE_END.finditer(text))]

    def place(self, offset: int) -> Place:
        line = bisect_right(self._starts, offset)
        return Place(line, offset - self._starts[line - 1] + 1)

    def offset(self, place: Place) -> int:
        return self._starts[min(place.line, len(self._starts)) - 1] + place.column - 1


def steps_of(json_path: str) -> list[Step]:
    """
    Return the steps of a path such as ``$.limits[2]``.
    """
    import json  # only for keys in quotes

    steps: list[Step] = []
    for found in _STEP.finditer(json_path, 1):
        if found["index"] is not None:
            steps.append(int(found["index"]))
        else:
            steps.append(found["key"] or json.loads(found["quoted"]))
    return steps
