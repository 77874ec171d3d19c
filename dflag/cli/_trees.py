"""
YAML and JSON with the place of every token. Imports PyYAML.

`dflag._documents` says what a document means; this says where in the text each part of it stands.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dflag._json import MAX_DEPTH, Place
from dflag.cli import _scalars

if TYPE_CHECKING:
    from collections.abc import Iterator

Step: TypeAlias = str | int
"""One step of a path: the key of an object, or the index of an array."""

START: Final = Place(1, 1)

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_ATOM: Final = re.compile(r"true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_STRING: Final = json.JSONDecoder()
_LINE_END: Final = re.compile(r"\r\n|\n|\r")
_STEP: Final = re.compile(r"\.(?P<key>\w+)|\[(?P<index>\d+)\]|\[(?P<quoted>\"(?:[^\"\\]|\\.)*\")\]")
_PROPERTIES: Final = re.compile(r"(?:[&!]\S*\s+)*")


class Stopped(ValueError):  # noqa: N818 - says what happened
    """
    A text could not be read any further than *offset*.
    """

    def __init__(self, problem: str, offset: int) -> None:
        super().__init__(problem)
        self.problem: Final = problem
        self.offset: Final = offset


class Node:
    """
    A value in a text.

    Attributes:
        start: The offset of its first character.
        end: The offset behind its last one.
        text: Of a scalar the text it stands for; None of a collection.
        style: How a scalar is written: ``""`` plain, else ``"``, ``'``, ``|`` or ``>``.
        tag: The tag that stands before it in YAML, in full; None without one.
        members: Of a mapping its keys and values.
        items: Of a sequence its items.
    """

    __slots__ = ("end", "items", "members", "start", "style", "tag", "text")

    def __init__(self, start: int, end: int, text: str | None = None, style: str = "", tag: str | None = None) -> None:
        self.start: Final = start
        self.end = end
        self.text: Final = text
        self.style: Final = style
        self.tag: Final = tag
        self.members: dict[str, tuple[Node, Node]] | None = None
        self.items: list[Node] | None = None

    def get(self, key: str) -> Node | None:
        found = (self.members or {}).get(key)
        return None if found is None else found[1]

    def walk(self, path: list[Step]) -> Node:
        """
        Follow a path as far as it leads.
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

    def offset_of(self, source: str, index: int) -> int:
        """
        Say where in *source* a character of a scalar's text is written.
        """
        offsets = None if self.text is None else _scalars.offsets(source, self.start, self.end, self.style, self.text)
        return self.start if offsets is None else offsets[min(index, len(offsets) - 1)]


class Lines:
    """
    Counts the lines of a text as editors do.
    """

    def __init__(self, text: str) -> None:
        self._starts: Final = [0, *(found.end() for found in _LINE_END.finditer(text))]

    def place(self, offset: int) -> Place:
        line = bisect_right(self._starts, offset)
        return Place(line, offset - self._starts[line - 1] + 1)


def path_of(json_path: str) -> list[Step]:
    """
    Read ``$.limits[2]`` as its steps.
    """
    steps: list[Step] = []
    for found in _STEP.finditer(json_path, 1):
        if found["index"] is not None:
            steps.append(int(found["index"]))
        else:
            steps.append(found["key"] or json.loads(found["quoted"]))
    return steps


def read_json(text: str) -> Node:
    """
    Read a JSON text.

    Raises:
        Stopped: It is not JSON, nests too deeply, or repeats a key.
    """
    reader = _JSONReader(text)
    node = reader.value(reader.skip(0), 0)
    end = reader.skip(node.end)
    if end < len(text):
        raise Stopped("extra data", end)
    return node


class _JSONReader:
    def __init__(self, text: str) -> None:
        self._text: Final = text

    def skip(self, position: int) -> int:
        found = _SPACE.match(self._text, position)
        return found.end() if found else position

    def value(self, start: int, depth: int) -> Node:
        character = self._text[start : start + 1]
        if character and character in "{[":
            if depth >= MAX_DEPTH:
                raise Stopped(f"nested more than {MAX_DEPTH} levels deep", start)
            return self._object(start, depth + 1) if character == "{" else self._array(start, depth + 1)
        if character == '"':
            return self._string(start)
        found = _ATOM.match(self._text, start)
        if found is None:
            raise Stopped("expected a value", start)
        return Node(start, found.end(), found[0])

    def _string(self, start: int) -> Node:
        try:
            text, end = _STRING.raw_decode(self._text, start)
        except json.JSONDecodeError as error:
            raise Stopped(error.msg, error.pos) from None
        return Node(start, end, text, '"')

    def _object(self, start: int, depth: int) -> Node:
        node = Node(start, start)
        node.members = {}
        position = self.skip(start + 1)
        while not self._text.startswith("}", position) or node.members:
            if not self._text.startswith('"', position):
                raise Stopped("expected a property name in double quotes", position)
            key = self._string(position)
            if key.text in node.members:
                raise Stopped("a key stands twice in one object", position)
            position = self.skip(key.end)
            if not self._text.startswith(":", position):
                raise Stopped("expected ':'", position)
            value = self.value(self.skip(position + 1), depth)
            node.members[key.text or ""] = key, value
            position = self.skip(value.end)
            if not self._text.startswith(",", position):
                break
            position = self.skip(position + 1)
        return self._close(node, position, "}")

    def _array(self, start: int, depth: int) -> Node:
        node = Node(start, start)
        node.items = []
        position = self.skip(start + 1)
        while not self._text.startswith("]", position) or node.items:
            value = self.value(position, depth)
            node.items.append(value)
            position = self.skip(value.end)
            if not self._text.startswith(",", position):
                break
            position = self.skip(position + 1)
        return self._close(node, position, "]")

    def _close(self, node: Node, position: int, bracket: str) -> Node:
        if not self._text.startswith(bracket, position):
            raise Stopped(f"expected ',' or {bracket!r}", position)
        node.end = position + 1
        return node


def read_yaml(text: str) -> list[Node]:
    """
    Read a YAML stream: a node for each document that holds anything.

    Raises:
        Stopped: It is not YAML, nests too deeply, repeats a key, or has keys that are no texts.
    """
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return list(_YAMLReader(yaml, text, yaml.parse(text, Loader=loader)).documents())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # The parser in Python quotes the text in its messages, which may be a secret's.
        words = str(error.problem) if loader is not yaml.SafeLoader else "syntax error"
        raise Stopped(words, mark.index if mark else 0) from None
    except yaml.reader.ReaderError as error:
        raise Stopped(error.reason, error.position) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        if isinstance(error, Stopped):
            raise
        raise Stopped("syntax error", 0) from None


class _YAMLReader:
    def __init__(self, yaml: Any, text: str, events: Iterator[Any]) -> None:
        self._yaml: Final = yaml
        self._text: Final = text
        self._events: Final = events
        self._anchors: dict[Any, Node] = {}

    def documents(self) -> Iterator[Node]:
        for event in self._events:
            if isinstance(event, self._yaml.DocumentStartEvent):
                self._anchors = {}
                node = self._node(next(self._events), 0)
                if node.text or node.style or node.text is None:
                    yield node

    def _node(self, event: Any, depth: int) -> Node:
        if isinstance(event, self._yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise Stopped("an alias before its anchor", event.start_mark.index)
            return self._anchors[event.anchor]
        if depth >= MAX_DEPTH:
            raise Stopped(f"nested more than {MAX_DEPTH} levels deep", event.start_mark.index)
        found = _PROPERTIES.match(self._text, event.start_mark.index)
        start = found.end() if found and (event.anchor or event.tag) else event.start_mark.index
        if isinstance(event, self._yaml.ScalarEvent):
            style = event.style or ""
            node = Node(start, event.end_mark.index, event.value, "" if event.implicit[0] else style, event.tag)
        elif isinstance(event, self._yaml.MappingStartEvent):
            node = self._mapping(start, depth + 1)
        else:
            node = self._sequence(start, depth + 1)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _mapping(self, start: int, depth: int) -> Node:
        node = Node(start, start)
        node.members = {}
        while not isinstance(event := next(self._events), self._yaml.MappingEndEvent):
            key = self._node(event, depth)
            if key.text is None:
                raise Stopped("a key that is no text", event.start_mark.index)
            if key.text in node.members:
                raise Stopped("a key stands twice in one mapping", event.start_mark.index)
            node.members[key.text] = key, self._node(next(self._events), depth)
        node.end = event.end_mark.index
        return node

    def _sequence(self, start: int, depth: int) -> Node:
        node = Node(start, start)
        node.items = []
        while not isinstance(event := next(self._events), self._yaml.SequenceEndEvent):
            node.items.append(self._node(event, depth))
        node.end = event.end_mark.index
        return node
