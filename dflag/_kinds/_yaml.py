"""
YAML as a way to write JSON: the core schema of YAML 1.2, without tags. Imports PyYAML.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import yaml

from dflag import _json
from dflag._json import NotJSON

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dflag.typing import JSONValue

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


def loads(text: str) -> JSONValue:
    """
    Read a JSON or YAML text as a frozen JSON value.

    Raises:
        NotJSON: It is neither, or says what JSON cannot.
    """
    if text.startswith(("{", "[", '"')):
        try:
            return _json.loads(text)
        except NotJSON:
            pass  # it may be YAML that looks like JSON at first
    if len(text) > _MAX_CHARACTERS:
        raise NotJSON("YAML of at most a mebibyte", f"{len(text)} characters")
    try:
        return _json.freeze(_Builder(yaml.parse(text, Loader=_LOADER)).document())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" at line {mark.line + 1} column {mark.column + 1}" if mark else ""
        raise NotJSON("JSON or YAML", f"{error.problem}{where}") from None
    except yaml.reader.ReaderError as error:
        raise NotJSON("JSON or YAML", f"{error.reason} at character {error.position + 1}") from None
    except NotJSON:
        raise
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        # The parser lets through what chr() says of an impossible escape.
        raise NotJSON("JSON or YAML", str(error)) from None


class _Builder:
    """
    Makes JSON of parser events, as they come: a text that goes too far is left unread.
    """

    __slots__ = ("_aliased", "_anchors", "_events", "_size")

    def __init__(self, events: Iterator[Any]) -> None:
        self._events: Final = events
        self._anchors: Final[dict[str, tuple[JSONValue, int]]] = {}
        self._size = 0
        self._aliased = 0

    def document(self) -> JSONValue:
        next(self._events)  # the stream's start
        if not isinstance(next(self._events), yaml.DocumentStartEvent):
            raise NotJSON("JSON or YAML", "there is nothing but comments")
        value = self._node(next(self._events), 0)
        next(self._events)  # the document's end
        if isinstance(next(self._events), yaml.DocumentStartEvent):
            raise NotJSON("one YAML document", "found several")
        return value

    def _node(self, event: Any, depth: int) -> JSONValue:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event.anchor)
        if event.tag is not None:
            # A tag may hold any character, written %0A and the like, and be as long as the text.
            raise NotJSON("YAML without tags", f"found {event.tag[:80]!r}")
        before = self._size
        value = self._collection(event, depth) if not isinstance(event, yaml.ScalarEvent) else self._scalar(event)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, self._size - before)
        return value

    def _alias(self, anchor: Any) -> JSONValue:
        if anchor not in self._anchors:
            raise NotJSON("YAML whose aliases stand after their anchors", f"*{anchor[:80]}")
        value, size = self._anchors[anchor]
        self._size += size
        self._aliased += size
        if self._aliased > _MAX_ALIASED:
            raise NotJSON("YAML whose aliases add at most a mebibyte")
        return value

    def _collection(self, event: Any, depth: int) -> JSONValue:
        if depth >= _json.MAX_DEPTH:
            raise NotJSON(f"JSON nested at most {_json.MAX_DEPTH} levels deep")
        self._size += 1
        return self._sequence(depth + 1) if isinstance(event, yaml.SequenceStartEvent) else self._mapping(depth + 1)

    def _sequence(self, depth: int) -> JSONValue:
        items = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, depth))
        return items

    def _mapping(self, depth: int) -> JSONValue:
        items: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, depth)
            if not isinstance(key, str):
                raise NotJSON("YAML whose keys are texts", f"put {str(key)[:80]!r} in quotes")
            if key in items:
                raise NotJSON("YAML without duplicate keys", f"{key[:80]!r} stands twice in one mapping")
            items[key] = self._node(next(self._events), depth)
        return items

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
        return _int(text, 10)
    if _BASED.fullmatch(text):
        return _int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        raise NotJSON("JSON, which has neither infinity nor NaN", f"found {text}")
    return text


def _int(text: str, base: int) -> int:
    if len(text) > _json.MAX_INT_DIGITS:
        raise NotJSON(f"JSON with ints of at most {_json.MAX_INT_DIGITS} digits")
    return int(text, base)
