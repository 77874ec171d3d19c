"""
A list in YAML or JSON as texts and places, before the texts are interpreted. Imports PyYAML.

Aliases, tags, merge keys and repeated keys are not allowed. Each is a flaw of the list item that holds it, and of no
other item.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import yaml

from dflag._formats import json_nodes
from dflag._formats.base import MAX_DEPTH, NotJSON
from dflag._formats.json import MAX_VALUES, may_hold_surrogates
from dflag._formats.json_values import freeze
from dflag._formats.texts import json_or_yaml
from dflag._formats.yaml import plain_value
from dflag._formats.yaml_events import EventReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dflag._formats.nodes import Node
    from dflag.typing import JSONValue

_MAX_VALUES: Final = 2 * MAX_VALUES
"""Enough for more than a million keys with values. Each takes up to 170 bytes while its item is read."""

_MAX_FLAWS: Final = 10
"""The most flaws that one item reports. Of a million aliases, the first ones are enough."""

_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})


class Scalar(str):
    """
    A scalar's text.

    Attributes:
        at: Its offset.
        is_plain: Whether it is written without quotes, so that it may stand for something other than text.
    """

    __slots__ = ("at", "is_plain")

    at: int
    is_plain: bool

    @property
    def is_null(self) -> bool:
        return self.is_plain and self in _NULLS


class Items(list[Any]):
    """
    A sequence of nodes.
    """

    __slots__ = ("at",)

    at: int


class Members(dict[Scalar, Any]):
    """
    A mapping of texts to nodes.
    """

    __slots__ = ("at",)

    at: int


Outline: TypeAlias = "Scalar | Items | Members"


class Flaw(NamedTuple):
    """
    A part of the text that is not allowed in an outline.

    Attributes:
        expected: What would be right. Quotes nothing.
        given: What was found.
        at: Its offset.
    """

    expected: str
    given: str
    at: int


Take: TypeAlias = "Callable[[Outline, list[Flaw]], None]"
"""A function that is called with each item of the list, and with the flaws in it."""


def read_list(text: str, take: Take, *, at_most: int) -> None:
    """
    Read a list item by item. An empty text, a text with only comments, and null have no items.

    Args:
        text: The list, as YAML or JSON.
        take: Called with each item in turn, even if an error follows further on.
        at_most: How many items there may be.

    Raises:
        NotJSON: The text is not a list, cannot be read, nests too deeply or is too large. The `NotJSON.offset` is set.
    """
    # JSON first: tabs, and escaped characters beyond the first 65,536, are valid JSON and not valid YAML.
    json_or_yaml(lambda: _read_json(text, take, at_most), lambda: _read_yaml(text, take, at_most))


def as_json(outline: Outline) -> JSONValue:
    """
    Return the value of an outline by the core schema of YAML 1.2, read-only.

    Raises:
        NotJSON: It holds something that JSON cannot express: infinity, NaN, or an int that is too long to print.
    """
    return freeze(_meant(outline))


def number_texts(outline: Outline) -> dict[str, str]:
    """
    Return, by key, the texts of a mapping's scalars that stand for something other than text.
    """
    members = outline.items() if isinstance(outline, Members) else ()
    return {str(key): str(value) for key, value in members if isinstance(value, Scalar) and not _is_text(value)}


def _is_text(scalar: Scalar) -> bool:
    return isinstance(_meant(scalar), str)


def _meant(outline: Outline) -> Any:
    if isinstance(outline, Scalar):
        return plain_value(outline) if outline.is_plain else str(outline)
    if isinstance(outline, Members):
        return {str(key): _meant(value) for key, value in outline.items()}
    return [_meant(item) for item in outline]


def _read_json(text: str, take: Take, at_most: int) -> None:
    if not text.lstrip(" \t\r\n").startswith("["):
        raise NotJSON("a JSON array")
    if sum(map(text.count, "[{,")) > _MAX_VALUES:  # before the values take memory
        raise NotJSON(f"a list of at most {_MAX_VALUES} values", offset=0)
    may_be_broken = may_hold_surrogates(text)
    items = json_nodes.read(text).items or []
    if len(items) > at_most:
        raise _too_many(at_most, items[at_most].start)
    for item in items:
        outline = _outlined(item)
        take(outline, _lone_surrogates(outline) if may_be_broken else [])


def _read_yaml(text: str, take: Take, at_most: int) -> None:
    reader = _OutlineReader(text)
    reader.run(lambda: reader.pass_list(take, at_most))


def _too_many(at_most: int, offset: int) -> NotJSON:
    return NotJSON(f"a list of at most {at_most} items", offset=offset)


class _OutlineReader(EventReader[Any]):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._may_be_broken: Final = may_hold_surrogates(text)
        self._flaws: list[Flaw] = []

    def pass_list(self, take: Take, at_most: int) -> None:
        if not self.begins():
            return
        event = self.next()
        if getattr(event, "tag", None) is not None:
            raise NotJSON("a list without a tag")
        if isinstance(event, yaml.SequenceStartEvent):
            for count, each in enumerate(self.until(yaml.SequenceEndEvent)):
                if count == at_most:
                    raise _too_many(at_most, each.start_mark.index)
                self._flaws = []
                take(self.node(each, 1), self._flaws)
        elif not isinstance(event, yaml.ScalarEvent) or not self.scalar(event).is_null:
            raise NotJSON("a list")
        if self.begins():
            raise NotJSON("one YAML document", "found several")

    def node(self, event: Any, depth: int) -> Outline:
        kind = type(event)
        self.weight += 1
        if self.weight > _MAX_VALUES:
            raise NotJSON(f"a list of at most {_MAX_VALUES} values")
        if kind is yaml.AliasEvent:
            self._flaw("a value in full, without an alias", f"*{event.anchor[:80]}", event)
            return _scalar("", event.start_mark.index, is_plain=False)
        if event.tag is not None:
            self._flaw("a value without a tag", event.tag[:80], event)
        if kind is yaml.ScalarEvent:
            return self.scalar(event)
        if depth >= MAX_DEPTH:
            raise NotJSON(f"a list nested at most {MAX_DEPTH} levels deep")
        return self.sequence(event, depth + 1) if kind is yaml.SequenceStartEvent else self.mapping(event, depth + 1)

    def scalar(self, event: Any) -> Scalar:
        text = event.value
        if self._may_be_broken and not _is_encodable(text):
            self._flaw("whole Unicode characters", "an unpaired surrogate", event)
        return _scalar(text, event.start_mark.index, is_plain=event.implicit[0])

    def sequence(self, event: Any, depth: int) -> Items:
        items = Items()
        items.at = event.start_mark.index
        items.extend(self.node(each, depth) for each in self.until(yaml.SequenceEndEvent))
        return items

    def mapping(self, event: Any, depth: int) -> Members:
        members = Members()
        members.at = event.start_mark.index
        for each in self.until(yaml.MappingEndEvent):
            key = self.node(each, depth)
            value = self.node(self.next(), depth)
            if not isinstance(key, Scalar):
                self._flaw("a text as the key", "a list" if isinstance(key, Items) else "a mapping", each)
            elif key in members:
                self._flaw("each key once", key[:80], each)
            elif key.is_plain and key == "<<":
                self._flaw("every key in full, without a merge key", "<<", each)
            else:
                members[key] = value
        return members

    def _flaw(self, expected: str, given: str, event: Any) -> None:
        if len(self._flaws) < _MAX_FLAWS:
            self._flaws.append(Flaw(expected, given, event.start_mark.index))


def _scalar(text: str, at: int, *, is_plain: bool) -> Scalar:
    scalar = Scalar(text)
    scalar.at = at
    scalar.is_plain = is_plain
    return scalar


def _outlined(node: Node) -> Outline:
    """
    Return the outline of a node of JSON.
    """
    if node.text is not None:
        return _scalar(node.text, node.start, is_plain=not node.style)
    if node.members is not None:
        members = Members()
        members.at = node.start
        members.update((_outlined(key), _outlined(value)) for key, value in node.members.values())  # type: ignore[misc]  # a key is a scalar
        return members
    items = Items(map(_outlined, node.items or ()))
    items.at = node.start
    return items


def _lone_surrogates(outline: Outline) -> list[Flaw]:
    broken = (scalar for scalar in _scalars(outline) if not _is_encodable(scalar))
    return [Flaw("whole Unicode characters", "an unpaired surrogate", each.at) for each in islice(broken, _MAX_FLAWS)]


def _scalars(outline: Outline) -> Iterator[Scalar]:
    if isinstance(outline, Scalar):
        yield outline
        return
    if isinstance(outline, Members):
        yield from outline
    for inner in outline.values() if isinstance(outline, Members) else outline:
        yield from _scalars(inner)


def _is_encodable(text: str) -> bool:
    """
    Return whether a text is free of unpaired surrogates, which no file, log or socket could take.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
