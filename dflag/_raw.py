"""
Raw values: the texts and bytes that a source gives for a key, before they are parsed.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

_NONE: Final[Mapping[str, str]] = MappingProxyType({})


class Text(str):
    """
    The text of a value in a document, together with the document's native value.

    Flags that parse a text use the text, so that ``no`` stays ``"no"`` for a string flag.
    JSON and list flags use `native`.

    Attributes:
        native: The value as the document's format defines it.
        written: For a mapping, the texts of the scalars that JSON would print differently, by key. A map flag uses
            these texts, so that ``012`` stays ``"012"``.
    """

    __slots__ = ("native", "written")

    native: Any
    written: Mapping[str, str]

    def __new__(cls, text: str, native: Any, written: Mapping[str, str] = _NONE) -> Self:
        self = super().__new__(cls, text)
        self.native = native
        self.written = written
        return self

    def __reduce__(self) -> tuple[type[Self], tuple[str, Any, dict[str, str]]]:
        # The default would call the class with only the text.
        return type(self), (str(self), self.native, dict(self.written))


class Excerpt(str):
    """
    A part of a text, exactly as written. Its first line is indented, so that columns are those of the whole text.

    Attributes:
        line: The line of the whole text on which the part begins, from 1.
    """

    __slots__ = ("line",)

    line: int


class Unreadable:
    """
    The raw value of an entry of a source that exists but cannot be read as a value.

    Attributes:
        reason: The reason, in a few words: ``"permission denied"``, ``"a FIFO"``.
    """

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason: Final[str] = reason

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unreadable) and other.reason == self.reason

    def __hash__(self) -> int:
        return hash(self.reason)

    def __repr__(self) -> str:
        return f"Unreadable({self.reason!r})"


PLAIN_TYPES: Final = frozenset({str, bytes, Excerpt, Text, Unreadable})
"""The types of raw values whose comparison runs no code of a user."""


def plain(raw: Any) -> Any:
    """
    Return a value of a user's subclass of str or bytes as a plain str or bytes, and any other raw value unchanged.

    The comparison of a subclass may run any code, and values are compared under locks too.
    """
    if isinstance(raw, bytes):
        return memoryview(raw).tobytes()
    return str.__str__(raw) if isinstance(raw, str) and type(raw) not in PLAIN_TYPES else raw


Raw: TypeAlias = str | bytes | Text | Unreadable
"""A value as a source returns it, before it is parsed."""
