"""
Documents whose top-level keys are flags.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from dflag._formats import json
from dflag._formats.base import NotJSON, Place
from dflag._formats.json_values import dumps, freeze
from dflag._formats.texts import WHITE_SPACE, decode, json_or_yaml, object_text
from dflag._raw import Text, Unreadable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from dflag._formats.json import Member
    from dflag.typing import JSONValue, Raw


class Document(NamedTuple):
    """
    The content of a document.

    Attributes:
        values: The value of each key.
        places: The place of each key.
    """

    values: Mapping[str, Raw]
    places: Mapping[str, Place]


def read(data: bytes, *, yaml: bool, unread: Collection[str] = ()) -> Document:
    """
    Read a document. An empty document has no keys.

    Args:
        data: The document in UTF-8. A byte order mark is dropped.
        yaml: Whether the document may also be YAML.
        unread: The keys whose values are returned as an `Excerpt`, to be read elsewhere, unless they are texts.

    Raises:
        NotJSON: The data is not such a document. `NotJSON.expected` and `NotJSON.place` may be shown to anybody.
    """
    text = decode(data)
    found = _members(text, yaml=yaml, unread=unread) if text.strip(WHITE_SPACE) else []
    is_suspect = json.may_hold_surrogates(text)
    for member in found if is_suspect else ():
        json.refuse_lone_surrogates(member.key, member.place)
    values = {member.key: _as_raw(member.raw, is_suspect=is_suspect) for member in found}
    return Document(values, {member.key: member.place for member in found})


def loads(text: str) -> JSONValue:
    """
    Read a JSON or YAML text as a frozen JSON value.

    Raises:
        NotJSON: The text is neither, or holds something that JSON cannot express.
    """

    def as_yaml() -> JSONValue:
        from dflag._formats.yaml import loads

        return loads(text)

    return json_or_yaml(lambda: json.loads(text), as_yaml)


def _members(text: str, *, yaml: bool, unread: Collection[str]) -> list[Member]:
    if not yaml:
        return json.members(text, unread)

    def as_yaml() -> list[Member]:
        from dflag._formats.yaml import members

        return members(text, unread)

    return json_or_yaml(lambda: json.members(object_text(text), unread), as_yaml)


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
