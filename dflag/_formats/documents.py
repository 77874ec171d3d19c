"""
Documents whose top-level keys are flags: YAML, or JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from dflag._formats import json as _json
from dflag._formats.json import Member, NotJSON, Place
from dflag.typing import Text, Unreadable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dflag.typing import Raw

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


def read(data: bytes, *, yaml: bool) -> Document:
    """
    Read a document; an empty one has no keys.

    Args:
        data: UTF-8; a byte order mark is dropped.
        yaml: Whether it may be YAML too.

    Raises:
        NotJSON: It is no such document; its `NotJSON.expected` and `NotJSON.place` may be shown to anybody.
    """
    text = _decode(data)
    found = _members(text, yaml=yaml) if text.strip(_WHITE_SPACE) else []
    values = {member.key: _as_raw(member.raw) for member in found}
    natives = {key: getattr(raw, "native", raw) for key, raw in values.items() if not isinstance(raw, Unreadable)}
    _json.refuse_lone_surrogates(text, natives)
    return Document(values, {member.key: member.place for member in found})


def _decode(data: bytes) -> str:
    try:
        return data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        place = Place(before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise NotJSON("a document in UTF-8", place=place) from None


def _members(text: str, *, yaml: bool) -> list[Member]:
    if not yaml:
        return _json.members(text)
    if text.lstrip(_WHITE_SPACE).startswith("{"):
        try:
            return _json.members(text)
        except NotJSON:
            pass  # it may be YAML that looks like JSON at first
    from dflag._formats.yaml import members  # PyYAML takes a hundredth of a second to import

    return members(text)


def _as_raw(found: Any) -> Raw:
    if isinstance(found, str):
        return found
    try:
        native = _json.freeze(found)
    except NotJSON as error:
        return Unreadable(f"expected {error.expected}")
    return Text(_json.dumps(native), native)
