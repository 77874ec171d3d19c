"""
Documents whose top-level keys are flags, and texts that may be YAML or JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from dflag._formats import json
from dflag._formats.json_values import NotJSON, Place, dumps, freeze
from dflag._raw import Text, Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from dflag._formats.json import Member
    from dflag._formats.nodes import Node
    from dflag.typing import JSONValue, Raw

T = TypeVar("T")

_WHITE_SPACE = " \t\r\n"
"""What may stand between the tokens of JSON."""


class Document(NamedTuple):
    """
    What a document holds.

    Attributes:
        values: A value for each key.
        places: Where each key stands.
    """

    values: Mapping[str, Raw]
    places: Mapping[str, Place]


def read(data: bytes, *, yaml: bool, unread: Collection[str] = ()) -> Document:
    """
    Read a document; an empty one has no keys.

    Args:
        data: UTF-8; a byte order mark is dropped.
        yaml: Whether it may be YAML too.
        unread: The keys whose values are given as an `Excerpt`, to be read elsewhere, unless they are texts.

    Raises:
        NotJSON: It is no such document; its `NotJSON.expected` and `NotJSON.place` may be shown to anybody.
    """
    text = decode(data)
    found = _members(text, yaml=yaml, unread=unread) if text.strip(_WHITE_SPACE) else []
    is_suspect = json.may_hold_surrogates(text)
    for member in found if is_suspect else ():
        json.refuse_lone_surrogates(member.key, member.place)
    values = {member.key: _as_raw(member.raw, is_suspect=is_suspect) for member in found}
    return Document(values, {member.key: member.place for member in found})


def loads(text: str) -> JSONValue:
    """
    Read a JSON or YAML text as a frozen JSON value.

    Raises:
        NotJSON: It is neither, or says what JSON cannot.
    """

    def as_yaml() -> JSONValue:
        from dflag._formats.yaml import loads

        return loads(text)

    return json_or_yaml(lambda: json.loads(text), as_yaml)


def nodes(text: str, *, yaml: bool, repeats: bool = False) -> list[Node]:
    """
    Read JSON texts that follow one another, or a stream of YAML, with the place of every token.

    Args:
        text: The text.
        yaml: Whether it may be YAML.
        repeats: Whether a key may stand twice in a mapping, as it may for ``kubectl``.

    Raises:
        NotJSON: The text is neither; of two reasons that of the reader which came further.
    """
    if not text.strip():
        return []

    def as_json(text: str) -> list[Node]:
        from dflag._formats.json_nodes import read_stream

        return read_stream(text, repeats=repeats)

    if not yaml:
        return as_json(text)

    def as_yaml() -> list[Node]:
        from dflag._formats.yaml_nodes import read_stream

        return read_stream(text, repeats=repeats)

    return json_or_yaml(lambda: as_json(_object(text)), as_yaml)


def decode(data: bytes) -> str:
    """
    Return the text of a document, without its byte order mark.

    Raises:
        NotJSON: It is not in UTF-8.
    """
    try:
        return data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        place = Place(before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise NotJSON("a document in UTF-8", place=place) from None


def json_or_yaml(as_json: Callable[[], T], as_yaml: Callable[[], T]) -> T:
    """
    Read JSON, or YAML, which takes a hundredth of a second to import and refuses some of JSON.

    A tab in front, some escapes and a long key are JSON and no YAML; and YAML may look like JSON at first.
    """
    try:
        return as_json()
    except NotJSON as error:
        problem = error
    try:
        return as_yaml()
    except NotJSON as error:
        further = problem.offset is not None and problem.offset >= (error.offset or 0)
        raise problem if further else error from None


def _members(text: str, *, yaml: bool, unread: Collection[str]) -> list[Member]:
    if not yaml:
        return json.members(text, unread)

    def as_yaml() -> list[Member]:
        from dflag._formats.yaml import members

        return members(text, unread)

    return json_or_yaml(lambda: json.members(_object(text), unread), as_yaml)


def _object(text: str) -> str:
    """
    Return a text that begins as a JSON object does, and refuse any other before all of it is looked at.
    """
    if not text.lstrip(_WHITE_SPACE).startswith("{"):
        raise NotJSON("a JSON object")
    return text


def _as_raw(found: Any, *, is_suspect: bool) -> Raw:
    try:
        native = getattr(found, "native", found) if isinstance(found, str) else freeze(found)
        if is_suspect:
            json.refuse_lone_surrogates(native)
    except NotJSON as error:
        return Unreadable(f"expected {error.expected}")
    if isinstance(found, str):
        return found
    return Text(dumps(native), native, found.texts if isinstance(found, json.Written) else {})
