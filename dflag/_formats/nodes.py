"""
YAML and JSON with the place of every token. Imports PyYAML.

`dflag._formats.documents` says what a document means; this says where in the text each part of it stands.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dflag._formats import scalars as _scalars
from dflag._formats.json import MAX_DEPTH, Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Step: TypeAlias = str | int
"""One step of a path: the key of an object, or the index of an array."""

START: Final = Place(1, 1)

_MAX_ALIASED: Final = 2**20
"""How many values aliases may add to a text, lest a few lines stand for more than anybody can read."""

_MERGE: Final = "<<"
_TOO_DEEP: Final = f"nested more than {MAX_DEPTH} levels deep"

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
        size: How many values it is made of, those that aliases stand for too.
        height: How deep it nests; 0 of a scalar.
        repeated: The offset of the first key in it, or in a part of it, that stands twice in one mapping.
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

    def take(self, inner: Node) -> Node:
        """
        Count a part of this collection, and return it.
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
        return self.offsets(source)(index)

    def offsets(self, source: str) -> Callable[[int], int]:
        """
        Return what says where in *source* each character of a scalar's text is written.
        """
        found = None if self.text is None else _scalars.offsets(source, self.start, self.end, self.style, self.text)
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
    node, *more = read_json_stream(text)
    if more:
        raise Stopped("extra data", more[0].start)
    return node


def read_json_stream(text: str, *, repeats: bool = False) -> list[Node]:
    """
    Read JSON texts that follow one another, as ``kubectl`` does.

    Args:
        text: The texts.
        repeats: Whether a key may stand twice in one object; then the last one counts.

    Raises:
        Stopped: One of them is not JSON, nests too deeply, or repeats a key; or there is none.
    """
    reader = _JSONReader(text, repeats=repeats)
    nodes = [reader.value(reader.skip(0), 0)]
    while (start := reader.skip(nodes[-1].end)) < len(text):
        if text[start] not in "{[":
            raise Stopped("extra data", start)
        nodes.append(reader.value(start, 0))
    return nodes


class _JSONReader:
    def __init__(self, text: str, *, repeats: bool) -> None:
        self._text: Final = text
        self._repeats: Final = repeats

    def skip(self, position: int) -> int:
        found = _SPACE.match(self._text, position)
        return found.end() if found else position

    def value(self, start: int, depth: int) -> Node:
        character = self._text[start : start + 1]
        if character and character in "{[":
            if depth >= MAX_DEPTH:
                raise Stopped(_TOO_DEEP, start)
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
                if not self._repeats:
                    raise Stopped("a key stands twice in one object", position)
                node.repeated = position if node.repeated is None else node.repeated
            position = self.skip(key.end)
            if not self._text.startswith(":", position):
                raise Stopped("expected ':'", position)
            value = node.take(self.value(self.skip(position + 1), depth))
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
            value = node.take(self.value(position, depth))
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


def read_yaml(text: str, *, repeats: bool = False) -> list[Node]:
    """
    Read a YAML stream: a node for each document that holds anything.

    Args:
        text: The stream.
        repeats: Whether a key may stand twice in one mapping; then the last one counts.

    Raises:
        Stopped: It is not YAML, nests too deeply, repeats a key, or has keys that are no texts.
    """
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return list(_YAMLReader(yaml, text, yaml.parse(text, Loader=loader), repeats=repeats).documents())
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
    def __init__(self, yaml: Any, text: str, events: Iterator[Any], *, repeats: bool) -> None:
        self._yaml: Final = yaml
        self._repeats: Final = repeats
        self._text: Final = text
        self._events: Final = events
        self._anchors: dict[Any, Node] = {}
        self._aliased = 0

    def documents(self) -> Iterator[Node]:
        for event in self._events:
            if isinstance(event, self._yaml.DocumentStartEvent):
                self._anchors = {}
                node = self._node(next(self._events), 0)
                if node.text or node.style or node.text is None:
                    yield node

    def _node(self, event: Any, depth: int) -> Node:
        if isinstance(event, self._yaml.AliasEvent):
            return self._alias(event, depth)
        if depth >= MAX_DEPTH:
            raise Stopped(_TOO_DEEP, event.start_mark.index)
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

    def _alias(self, event: Any, depth: int) -> Node:
        at = event.start_mark.index
        if event.anchor not in self._anchors:
            raise Stopped("an alias before its anchor", at)
        node = self._anchors[event.anchor]
        self._aliased += node.size
        if self._aliased > _MAX_ALIASED:
            raise Stopped(f"aliases that stand for more than {_MAX_ALIASED} values", at)
        if depth + node.height > MAX_DEPTH:
            raise Stopped(_TOO_DEEP, at)
        return node

    def _mapping(self, start: int, depth: int) -> Node:
        """
        Read a mapping; what is merged into it counts at the place where the merge key stands, as for kubectl.

        So a key that stands before the merge key loses, where YAML 1.1 lets every key of the mapping itself win.
        """
        node = Node(start, start)
        node.members = {}
        written: set[str] = set()
        while not isinstance(event := next(self._events), self._yaml.MappingEndEvent):
            key = node.take(self._node(event, depth))
            value = node.take(self._node(next(self._events), depth))
            if key.text is None:
                raise Stopped("a key that is no text", event.start_mark.index)
            if key.text == _MERGE and not key.style and key.tag is None:
                _merge(node.members, value)
                continue
            if key.text in written:
                if not self._repeats:
                    raise Stopped("a key stands twice in one mapping", event.start_mark.index)
                node.repeated = event.start_mark.index if node.repeated is None else node.repeated
            written.add(key.text)
            node.members[key.text] = key, value
        node.end = event.end_mark.index
        return node

    def _sequence(self, start: int, depth: int) -> Node:
        node = Node(start, start)
        node.items = []
        while not isinstance(event := next(self._events), self._yaml.SequenceEndEvent):
            node.items.append(node.take(self._node(event, depth)))
        node.end = event.end_mark.index
        return node


def _merge(members: dict[str, tuple[Node, Node]], value: Node) -> None:
    """
    Put a mapping, or several of which the first counts most, on top of the members.
    """
    for each in reversed([value] if value.items is None else value.items):
        if each.members is None:
            raise Stopped(f"expected a mapping, or a list of mappings, behind {_MERGE}", each.start)
        members.update(each.members)
