"""
YAML as a way to write JSON: the core schema of YAML 1.2, without tags or merge keys. Imports PyYAML.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import yaml

from dflag._formats import json as _json
from dflag._formats.json import Member, NotJSON, Place
from dflag.typing import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dflag.typing import JSONValue

T = TypeVar("T")

_MAX_CHARACTERS: Final = 2**20
"""What a ConfigMap can hold; the parser is slow enough for this to matter."""

_MAX_ALIASED: Final = 2**20
"""How many characters aliases may add to a value, lest a few lines stand for gigabytes."""

_CONSTANTS: Final[dict[str, Any]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT: Final = re.compile(r"[-+]?[0-9]+", re.ASCII)
_BASED: Final = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_NOT_FINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")

_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The parser in C where PyYAML was built with it: ten times as fast, the same events."""

_WORDS_QUOTE: Final = _LOADER is yaml.SafeLoader
"""Whether the parser's messages may quote the text, as those of the one in Python do; those in C are fixed."""


def loads(text: str) -> JSONValue:
    """
    Read a JSON or YAML text as a frozen JSON value.

    Raises:
        NotJSON: It is neither, or says what JSON cannot.
    """
    try:
        return _json.loads(text)  # YAML would refuse some of it: a tab in front, an escape, a long key
    except NotJSON:
        pass
    value = _json.freeze(_build(text, _Builder.document))
    _json.refuse_lone_surrogates(text, value)
    return value


def members(text: str) -> list[Member]:
    """
    Read a YAML mapping entry by entry; a text with nothing but comments has none.

    A block scalar comes as a plain str, for it is a text of its own. What is not finite or, by aliases, nests too
    deeply is left to whoever freezes it, and surrogates are not looked for.

    Raises:
        NotJSON: It is no mapping, or says what JSON cannot.
    """
    return _build(text, _Builder.members)


def _build(text: str, build: Callable[[_Builder], T]) -> T:
    if len(text) > _MAX_CHARACTERS:
        raise NotJSON("YAML of at most a mebibyte", f"{len(text)} characters")
    builder = _Builder(yaml.parse(text, Loader=_LOADER))
    try:
        return build(builder)
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error) from None
    except yaml.reader.ReaderError as error:
        raise NotJSON("JSON or YAML", f"{error.reason} at character {error.position + 1}") from None
    except NotJSON as error:
        error.place = builder.place()
        raise
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        # The parser lets through what chr() says of an impossible escape.
        raise NotJSON("JSON or YAML", str(error), place=builder.place()) from None


def _syntax_error(error: Any) -> NotJSON:
    place = _place(error.problem_mark) if error.problem_mark else None
    where = f"at line {place.line} column {place.column}" if place else ""
    if _WORDS_QUOTE:
        return NotJSON("JSON or YAML", f"{error.problem} {where}", place=place)
    return NotJSON(f"JSON or YAML: {error.problem}", where, place=place)


def _place(mark: Any) -> Place:
    return Place(mark.line + 1, mark.column + 1)


class _Anchored(NamedTuple):
    """
    What an anchor stands for: its event, its value and the size of that.
    """

    event: Any
    value: JSONValue
    size: int


class _Builder:
    """
    Makes JSON of parser events, as they come: a text that goes too far is left unread.
    """

    __slots__ = ("_aliased", "_anchors", "_events", "_last", "_size")

    def __init__(self, events: Iterator[Any]) -> None:
        self._events: Final = events
        self._anchors: Final[dict[Any, _Anchored]] = {}
        self._last: Any = None
        self._size = 0
        self._aliased = 0

    def place(self) -> Place | None:
        """
        Give the place of the event last taken.
        """
        return None if self._last is None else _place(self._last.start_mark)

    def document(self) -> JSONValue:
        if not self._begins():
            raise NotJSON("JSON or YAML", "there is nothing but comments")
        value = self._node(self._next(), 0)
        self._end()
        return value

    def members(self) -> list[Member]:
        if not self._begins():
            return []
        event = self._next()
        found = [] if _is_nothing(event) else list(self._entries(event))
        self._end()
        return found

    def _begins(self) -> bool:
        self._next()  # the stream's start
        return isinstance(self._next(), yaml.DocumentStartEvent)

    def _end(self) -> None:
        self._next()  # the document's end
        if isinstance(self._next(), yaml.DocumentStartEvent):
            raise NotJSON("one YAML document", "found several")

    def _next(self) -> Any:
        self._last = next(self._events)
        return self._last

    def _entries(self, event: Any) -> Iterator[Member]:
        if not isinstance(event, yaml.MappingStartEvent):
            raise NotJSON("a mapping at the top level")
        _refuse_tag(event)
        keys: set[str] = set()
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise NotJSON("YAML whose keys are texts")
            self._node(event, 1)
            # A key is a name, whatever it looks like.
            self._add_key(keys, event, event.value)
            yield Member(event.value, _place(event.start_mark), self._raw(self._next()))

    def _raw(self, event: Any) -> Any:
        """
        Give a scalar's text with its value, and of a collection the value.
        """
        value = self._node(event, 1)
        written = self._anchors[event.anchor].event if isinstance(event, yaml.AliasEvent) else event
        if not isinstance(written, yaml.ScalarEvent):
            return value
        return written.value if written.style in ("|", ">") else Text(written.value, value)

    def _node(self, event: Any, depth: int) -> JSONValue:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event.anchor)
        _refuse_tag(event)
        before = self._size
        value = self._collection(event, depth) if not isinstance(event, yaml.ScalarEvent) else self._scalar(event)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchored(event, value, self._size - before)
        return value

    def _alias(self, anchor: Any) -> JSONValue:
        if anchor not in self._anchors:
            raise NotJSON("YAML whose aliases stand after their anchors", f"*{anchor[:80]}")
        anchored = self._anchors[anchor]
        self._size += anchored.size
        self._aliased += anchored.size
        if self._aliased > _MAX_ALIASED:
            raise NotJSON("YAML whose aliases add at most a mebibyte")
        return anchored.value

    def _collection(self, event: Any, depth: int) -> JSONValue:
        if depth >= _json.MAX_DEPTH:
            raise NotJSON(f"JSON nested at most {_json.MAX_DEPTH} levels deep")
        self._size += 1
        return self._sequence(depth + 1) if isinstance(event, yaml.SequenceStartEvent) else self._mapping(depth + 1)

    def _sequence(self, depth: int) -> JSONValue:
        items = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._node(event, depth))
        return items

    def _mapping(self, depth: int) -> JSONValue:
        items: dict[str, Any] = {}
        keys: set[str] = set()
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._node(event, depth)
            if not isinstance(key, str):
                raise NotJSON("YAML whose keys are texts", f"put {str(key)[:80]!r} in quotes")
            self._add_key(keys, event, key)
            items[key] = self._node(self._next(), depth)
        return items

    def _add_key(self, keys: set[str], event: Any, key: str) -> None:
        if key == "<<" and isinstance(event, yaml.ScalarEvent) and event.implicit[0]:
            # YAML 1.2 has none, and a key of that name would not do what its writer meant.
            raise NotJSON("YAML without merge keys")
        if key in keys:
            raise NotJSON("YAML without duplicate keys", f"{key[:80]!r} stands twice in one mapping")
        keys.add(key)

    def _scalar(self, event: Any) -> JSONValue:
        self._size += 1 + len(event.value)
        return _plain(event.value) if event.implicit[0] else event.value


def _plain(text: str) -> JSONValue:
    """
    Read an unquoted scalar by the core schema; what it does not know is text: ``no``, ``1:30``, ``2024-01-01``.
    """
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.fullmatch(text):
        return _json.read_int(text)
    if _BASED.fullmatch(text):
        return _json.read_int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    # Freezing refuses it, for JSON has no such number.
    return math.nan if _NOT_FINITE.fullmatch(text) else text


def _refuse_tag(event: Any) -> None:
    if event.tag is not None:
        # A tag may hold any character, written %0A and the like, and be as long as the text.
        raise NotJSON("YAML without tags", f"found {event.tag[:80]!r}")


def _is_nothing(event: Any) -> bool:
    """
    Tell the document that begins and holds nothing: ``---`` alone.
    """
    return isinstance(event, yaml.ScalarEvent) and not event.value and event.implicit[0] and event.tag is None
