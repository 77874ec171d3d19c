"""
The shapes that dflag's functions take and give: protocols and aliases.

Import these for annotations; none of them does anything.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol, Self, TypeAlias, TypeVar

__all__ = ["Callback", "Formatter", "JSONValue", "Parser", "Raw", "Text", "Unreadable", "Validator", "Wake"]


def __dir__() -> list[str]:
    return __all__


T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)

JSONValue: TypeAlias = Any
"""A JSON value: None, bool, int, float, str, or a read-only list or dict of these."""

Wake: TypeAlias = Callable[[], None]
"""What a source calls, from any thread, to say "look again"."""


class Validator(Protocol[T_contra]):
    """
    A check of one value: raise `ValueError` to refuse it.
    """

    def __call__(self, value: T_contra, /) -> object: ...


class Callback(Protocol[T_contra]):
    """
    What runs after a value has changed: a function, or a coroutine function.
    """

    def __call__(self, old: T_contra, new: T_contra, /) -> object | Coroutine[Any, Any, object]: ...


class Parser(Protocol[T_co]):
    """
    What makes a value of a text: raise `ValueError` to refuse it.
    """

    def __call__(self, text: str, /) -> T_co: ...


class Formatter(Protocol[T_contra]):
    """
    What makes a text of a value.
    """

    def __call__(self, value: T_contra, /) -> str: ...


class Text(str):
    """
    The text of a scalar or a collection in a document, with the document's own value beside it.

    Kinds that read text take the text, so that ``no`` stays ``"no"`` for a string flag;
    JSON and list flags take `native`.
    """

    __slots__ = ("native",)

    native: Any

    def __new__(cls, text: str, native: Any) -> Self:
        self = super().__new__(cls, text)
        self.native = native
        return self


class Unreadable:
    """
    Stands in a source's values for an entry that is there and cannot be read as a value.

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
"""A value as a source gives it, before any parsing."""
