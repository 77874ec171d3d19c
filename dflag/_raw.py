"""
What a source gives for a key, before it is parsed.
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

    Flags that read texts take the text, so that ``no`` stays ``"no"`` for a string flag.
    JSON and list flags take `native`.

    Attributes:
        native: The value as the document's format defines it.
        written: Of a mapping the texts of those scalars, by key, that JSON prints otherwise. A map flag takes them,
            so that ``012`` stays ``"012"``.
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
        # The default would call the class with the text alone.
        return type(self), (str(self), self.native, dict(self.written))


class Excerpt(str):
    """
    A part of a text as it is written, unread. Its columns are those of the text, for its first line is indented so.

    Attributes:
        line: The line on which it begins, from 1.
    """

    __slots__ = ("line",)

    line: int


class Unreadable:
    """
    A value of a source for an entry that exists but cannot be read as a value.

    Attributes:
        reason: Why, in a few words: ``"permission denied"``, ``"a FIFO"``.
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
"""The types of raw values that do nothing of their own when they are compared."""


def plain(raw: Any) -> Any:
    """
    Return of a subclass of str or bytes the text or the bytes alone, and any other raw value as it is.

    A subclass may do anything when it is compared, which happens under locks too.
    """
    if isinstance(raw, bytes):
        return memoryview(raw).tobytes()
    return str.__str__(raw) if isinstance(raw, str) and type(raw) not in PLAIN_TYPES else raw


Raw: TypeAlias = str | bytes | Text | Unreadable
"""A value as a source returns it, before it is parsed."""
