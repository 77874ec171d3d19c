"""
YAML as a way to write JSON: the core schema of YAML 1.2, without tags or merge keys. Imports PyYAML.

`dflag._formats.yaml_nodes` reads YAML with the place of every token.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final, TypeVar

import yaml

from dflag._formats.base import NotJSON, Place
from dflag._formats.json import Member, Written, excerpt, may_hold_surrogates, read_int, refuse_lone_surrogates
from dflag._formats.json_values import freeze
from dflag._formats.yaml_events import EventReader, place_of
from dflag._raw import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from dflag._raw import Excerpt
    from dflag.typing import JSONValue

_DEPTHS: Final = {
    yaml.SequenceStartEvent: 1,
    yaml.MappingStartEvent: 1,
    yaml.SequenceEndEvent: -1,
    yaml.MappingEndEvent: -1,
}
"""How much deeper the nesting is after each event."""

T = TypeVar("T")

_MAX_CHARACTERS: Final = 2**20
"""As many as a ConfigMap can hold. The parser is so slow that this limit matters."""

_CONSTANTS: Final[dict[str, Any]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT: Final = re.compile(r"[-+]?[0-9]+", re.ASCII)
_BASED: Final = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_NOT_FINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")

_MARKER: Final = re.compile(r"^(?:---|\.\.\.|%)", re.MULTILINE)
_LINE_END: Final = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")


def loads(text: str) -> JSONValue:
    """
    Read a YAML text as a frozen JSON value.

    Raises:
        NotJSON: The text is not YAML, or holds something that JSON cannot express.
    """
    value = freeze(_read(text, _ValueReader.document))
    if may_hold_surrogates(text):
        refuse_lone_surrogates(value)
    return value


def members(text: str, unread: Collection[str] = ()) -> list[Member]:
    """
    Read a YAML mapping entry by entry. A text with nothing but comments has no entries.

    A block scalar becomes a plain str, because it is text for every flag. The caller that freezes a value refuses
    numbers that are not finite, and aliases that nest too deeply. Surrogates are not checked.

    Raises:
        NotJSON: The text is not a mapping, or holds something that JSON cannot express.
    """
    return _read(text, lambda reader: reader.members(unread))


def _read(text: str, read: Callable[[_ValueReader], T]) -> T:
    if len(text) > _MAX_CHARACTERS:
        raise NotJSON("YAML of at most a mebibyte", f"{len(text)} characters")
    reader = _ValueReader(text)
    return reader.run(lambda: read(reader))


class _ValueReader(EventReader[Any]):
    """
    Reads YAML nodes as JSON values.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._text: Final = text

    def document(self) -> JSONValue:
        if not self.begins():
            raise NotJSON("JSON or YAML", "there is nothing but comments")
        value: JSONValue = self.node(self.next(), 0)
        self._end()
        return value

    def members(self, unread: Collection[str]) -> list[Member]:
        if not self.begins():
            return []
        event = self.next()
        found = [] if _is_nothing(event) else list(self._entries(event, unread))
        self._end()
        return found

    def _end(self) -> None:
        if self.begins():
            raise NotJSON("one YAML document", "found several")

    def _entries(self, event: Any, unread: Collection[str]) -> Iterator[Member]:
        if not isinstance(event, yaml.MappingStartEvent):
            raise NotJSON("a mapping at the top level")
        if event.tag is not None:
            self.tagged(event)
        keys: set[str] = set()
        for each in self.until(yaml.MappingEndEvent):
            if not isinstance(each, yaml.ScalarEvent):
                raise NotJSON("YAML whose keys are texts")
            self.node(each, 1)
            # A key is a name, even if it looks like a number or another value.
            _add_key(keys, each, each.value)
            event = self.next()
            is_unread = each.value in unread and _keeps_its_meaning(event)
            yield Member(each.value, place_of(each.start_mark), self._excerpt(event) if is_unread else self._raw(event))

    def _excerpt(self, event: Any) -> Excerpt:
        """
        Pass a node, and return it as it is written. For a literal block, return only the indented text in it.
        """
        start, end = event.start_mark, event.end_mark
        if isinstance(event, yaml.ScalarEvent) and event.style == "|":
            header = _LINE_END.search(self._text, start.index)
            begin = header.end() if header else len(self._text)
            return excerpt(self._text, begin, end.index, Place(start.line + 2, 1))
        if isinstance(event, yaml.ScalarEvent):
            return excerpt(self._text, start.index, end.index, place_of(start))
        depth = 0 if isinstance(event, yaml.AliasEvent) else 1
        while depth:
            depth += _DEPTHS.get(type(self.next()), 0)
        return excerpt(self._text, start.index, self.last.end_mark.index, place_of(start))

    def _raw(self, event: Any) -> Any:
        """
        Return a scalar as its text with its value, a block scalar as its text, and a collection as its value.
        """
        value = self.node(event, 1)
        written = self._written(event)
        if not isinstance(written, yaml.ScalarEvent):
            return value
        return written.value if written.style in ("|", ">") else Text(written.value, value)

    def _written(self, event: Any) -> Any:
        """
        Return the event, or for an alias the event of the node that it stands for.
        """
        return self.anchors[event.anchor].event if isinstance(event, yaml.AliasEvent) else event

    def tagged(self, event: Any) -> None:
        # The tag is quoted and cut: it may hold any character, such as %0A for a line end, and be as long as the text.
        raise NotJSON("YAML without tags", f"found {event.tag[:80]!r}")

    def scalar(self, event: Any) -> JSONValue:
        self.weight += len(event.value)
        return plain_value(event.value) if event.implicit[0] else event.value

    def sequence(self, event: Any, depth: int) -> JSONValue:  # noqa: ARG002 - a value keeps no place
        return [self.node(each, depth) for each in self.until(yaml.SequenceEndEvent)]

    def mapping(self, event: Any, depth: int) -> JSONValue:  # noqa: ARG002 - as above
        items = Written({}, {})
        keys: set[str] = set()
        for each in self.until(yaml.MappingEndEvent):
            key = self.node(each, depth)
            if not isinstance(key, str):
                raise NotJSON("YAML whose keys are texts", _advice(self._written(each)))
            _add_key(keys, each, key)
            begin = self.next()
            items[key] = value = self.node(begin, depth)
            if not isinstance(value, (str, dict, list)) and (text := self._written(begin).value) != repr(value):
                items.texts[key] = text
        return items


def _add_key(keys: set[str], event: Any, key: str) -> None:
    if key == "<<" and isinstance(event, yaml.ScalarEvent) and event.implicit[0]:
        # YAML 1.2 has no merge keys, and a normal key of that name would not do what its writer meant.
        raise NotJSON("YAML without merge keys")
    if key in keys:
        raise NotJSON("YAML without duplicate keys", f"{key[:80]!r} occurs twice in one mapping")
    keys.add(key)


def _advice(key: Any) -> str:
    """
    Return what to do about a key that is not a text, from its event.
    """
    if isinstance(key, yaml.ScalarEvent):
        return f"put {key.value[:80]!r} in quotes"
    return "found a list" if isinstance(key, yaml.SequenceStartEvent) else "found a mapping"


def plain_value(text: str) -> JSONValue:
    """
    Read an unquoted scalar by the core schema. What the schema does not know is text: ``no``, ``1:30``, ``2024-01-01``.
    """
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.fullmatch(text):
        return read_int(text)
    if _BASED.fullmatch(text):
        return read_int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    # Freezing refuses NaN, because JSON has no such number.
    return math.nan if _NOT_FINITE.fullmatch(text) else text


def _keeps_its_meaning(event: Any) -> bool:
    """
    Return whether a node means the same when it is cut out as it is written.

    A document marker in a literal block would become text, because the block stays indented when it is cut out. A
    scalar with quotes or folding is written differently from its value. An anchor may be on a line of its own.
    """
    if not isinstance(event, yaml.ScalarEvent):
        return True
    if event.anchor is not None:
        return False
    if event.style == "|":
        return event.tag is None and _MARKER.search(event.value) is None
    return bool(event.implicit[0])


def _is_nothing(event: Any) -> bool:
    """
    Return whether a document holds nothing, such as ``---`` alone.
    """
    return isinstance(event, yaml.ScalarEvent) and not event.value and event.implicit[0] and event.tag is None
