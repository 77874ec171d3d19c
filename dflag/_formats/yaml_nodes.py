"""
YAML streams with the place of every token, as ``kubectl`` reads them: with tags and merge keys. Imports PyYAML.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import yaml

from dflag._formats.base import MAX_DEPTH, NotJSON
from dflag._formats.nodes import Node
from dflag._formats.yaml_events import EventReader

if TYPE_CHECKING:
    from collections.abc import Iterator

_MERGE: Final = "<<"
_PROPERTIES: Final = re.compile(r"(?:[&!]\S*\s+)*")


def read_stream(text: str, *, repeats: bool = False) -> list[Node]:
    """
    Read a YAML stream, and return a node for each document that is not empty.

    Args:
        text: The stream.
        repeats: Whether a key may be repeated in one mapping. Then the last one counts.

    Raises:
        NotJSON: The text is not YAML, nests too deeply, repeats a key, or has a key that is not a text. The
            `NotJSON.offset` is set.
    """
    reader = _NodeReader(text, repeats=repeats)
    return reader.run(lambda: list(reader.documents()))


class _NodeReader(EventReader[Node]):
    def __init__(self, text: str, *, repeats: bool) -> None:
        super().__init__(text)
        self._text: Final = text
        self._repeats: Final = repeats

    def documents(self) -> Iterator[Node]:
        while self.begins():
            node = self.node(self.next(), 0)
            if node.text or node.style or node.text is None:
                yield node

    def alias(self, event: Any, depth: int) -> Node:
        node = super().alias(event, depth)
        if depth + node.height > MAX_DEPTH:
            raise NotJSON(f"JSON nested at most {MAX_DEPTH} levels deep")
        return node

    def scalar(self, event: Any) -> Node:
        style = "" if event.implicit[0] else event.style or ""
        return Node(self._start(event), event.end_mark.index, event.value, style, event.tag)

    def sequence(self, event: Any, depth: int) -> Node:
        node = Node(self._start(event), event.start_mark.index)
        node.items = []
        for each in self.until(yaml.SequenceEndEvent):
            node.items.append(node.include(self.node(each, depth)))
        node.end = self.last.end_mark.index
        return node

    def mapping(self, event: Any, depth: int) -> Node:
        """
        Read a mapping. As in kubectl, merged keys count at the place of the merge key.

        So a key before the merge key loses against a merged one. In YAML 1.1, every key of the mapping itself wins.
        """
        node = Node(self._start(event), event.start_mark.index)
        node.members = {}
        written: set[str] = set()
        for each in self.until(yaml.MappingEndEvent):
            key = node.include(self.node(each, depth))
            value = node.include(self.node(self.next(), depth))
            at = each.start_mark.index
            if key.text is None:
                raise NotJSON("YAML whose keys are texts", offset=at)
            if key.text == _MERGE and not key.style and key.tag is None:
                _merge(node.members, value)
                continue
            if key.text in written:
                if not self._repeats:
                    raise NotJSON("JSON or YAML: a key occurs twice in one mapping", offset=at)
                node.repeated = at if node.repeated is None else node.repeated
            written.add(key.text)
            node.members[key.text] = key, value
        node.end = self.last.end_mark.index
        return node

    def _start(self, event: Any) -> int:
        """
        Return the offset at which a node begins, after its anchor and tag.
        """
        start: int = event.start_mark.index
        found = _PROPERTIES.match(self._text, start) if event.anchor or event.tag else None
        return found.end() if found else start


def _merge(members: dict[str, tuple[Node, Node]], value: Node) -> None:
    """
    Merge a mapping, or several of which the first counts most, into the members, and replace those with the same key.
    """
    for each in reversed([value] if value.items is None else value.items):
        if each.members is None:
            problem = f"JSON or YAML: expected a mapping, or a list of mappings, behind {_MERGE}"
            raise NotJSON(problem, offset=each.start)
        members.update(each.members)
