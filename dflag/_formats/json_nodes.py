"""
JSON texts with the place of every token.
"""

from __future__ import annotations

import json
import re
from typing import Final

from dflag._formats.base import MAX_DEPTH, NotJSON
from dflag._formats.json import DECODER, Cursor, problem_of
from dflag._formats.nodes import Node

_ATOM: Final = re.compile(r"true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")


def read(text: str) -> Node:
    """
    Read a JSON text.

    Raises:
        NotJSON: The text is not JSON, nests too deeply, or repeats a key. The `NotJSON.offset` is set.
    """
    node, *more = read_stream(text)
    if more:
        raise NotJSON("JSON: Extra data", offset=more[0].start)
    return node


def read_stream(text: str, *, repeats: bool = False) -> list[Node]:
    """
    Read JSON texts that follow one another, as ``kubectl`` does.

    Args:
        text: The texts.
        repeats: Whether a key may be repeated in one object. Then the last one counts.

    Raises:
        NotJSON: One of the texts is not JSON, nests too deeply, or repeats a key; or there is no text.
    """
    try:
        return _Reader(text, repeats=repeats).nodes()
    except json.JSONDecodeError as error:
        raise NotJSON(f"JSON: {problem_of(error)}", offset=error.pos) from None


class _Reader(Cursor):
    __slots__ = ("_repeats",)

    def __init__(self, text: str, *, repeats: bool) -> None:
        super().__init__(text)
        self._repeats: Final = repeats

    def nodes(self) -> list[Node]:
        found = [self._value(0)]
        while self.at < len(self.text):
            if self.text[self.at] not in "{[":
                raise self.error("Extra data")
            found.append(self._value(0))
        return found

    def _value(self, depth: int) -> Node:
        """
        Pass a value and the white space after it, and return its node.
        """
        start = self.at
        character = self.text[start : start + 1]
        if character and character in "{[":
            if depth >= MAX_DEPTH:
                raise NotJSON(f"JSON nested at most {MAX_DEPTH} levels deep", offset=start)
            return self._object(depth + 1) if character == "{" else self._array(depth + 1)
        if character == '"':
            text, end = DECODER.raw_decode(self.text, start)
            node = Node(start, end, text, '"')
        else:
            found = _ATOM.match(self.text, start)
            if found is None:
                raise self.error("Expecting value")
            node = Node(start, found.end(), found[0])
        self.skip(node.end)
        return node

    def _object(self, depth: int) -> Node:
        node = Node(self.at, self.at)
        node.members = {}
        for start, end, key in self.keys():
            if key in node.members:
                if not self._repeats:
                    raise NotJSON("JSON: a key occurs twice in one object", offset=start)
                node.repeated = start if node.repeated is None else node.repeated
            node.members[key] = Node(start, end, key, '"'), node.include(self._value(depth))
        node.end = self.end
        return node

    def _array(self, depth: int) -> Node:
        node = Node(self.at, self.at)
        node.items = []
        for _ in self.items():
            node.items.append(node.include(self._value(depth)))
        node.end = self.end
        return node
