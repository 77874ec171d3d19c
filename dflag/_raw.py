"""
What a source gives for a key, before it is parsed.
"""

from __future__ import annotations

from typing import Any, Final, Self, TypeAlias


class Text(str):
    """
    The text of a value in a document, together with the document's native value.

    Flags that read texts take the text, so that ``no`` stays ``"no"`` for a string flag.
    JSON and list flags take `native`.

    Attributes:
        native: The value as the document's format defines it.
    """

    __slots__ = ("native",)

    native: Any

    def __new__(cls, text: str, native: Any) -> Self:
        self = super().__new__(cls, text)
        self.native = native
        return self


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


Raw: TypeAlias = str | bytes | Text | Unreadable
"""A value as a source returns it, before it is parsed."""
