"""
Texts that may be YAML or JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from dflag._formats.base import NotJSON, Place

if TYPE_CHECKING:
    from collections.abc import Callable

    from dflag._formats.nodes import Node

T = TypeVar("T")

WHITE_SPACE: Final = " \t\r\n"
"""What may stand between the tokens of JSON."""


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


def nodes(text: str, *, yaml: bool, repeats: bool = False) -> list[Node]:
    """
    Read JSON texts that follow one another, or a stream of YAML, with the place of every token.

    Args:
        text: The text.
        yaml: Whether it may be YAML.
        repeats: Whether a key may be repeated in one mapping, as ``kubectl`` allows.

    Raises:
        NotJSON: The text is neither. The error is that of the reader that got further.
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

    return json_or_yaml(lambda: as_json(object_text(text)), as_yaml)


def json_or_yaml(as_json: Callable[[], T], as_yaml: Callable[[], T]) -> T:
    """
    Read a text as JSON, or else as YAML. If both fail, raise the error of the reader that got further.

    JSON comes first, because PyYAML takes a hundredth of a second to import, and refuses some JSON: a tab in front,
    some escapes, and a long key. The text may also be YAML that looks like JSON at first.
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


def object_text(text: str) -> str:
    """
    Return a text that begins like a JSON object. Any other text is refused before the rest of it is looked at.
    """
    if not text.lstrip(WHITE_SPACE).startswith("{"):
        raise NotJSON("a JSON object")
    return text
