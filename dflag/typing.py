"""
Types for annotations: protocols and aliases of what dflag's functions take and return.
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
"""A function that a watch calls, from any thread, to have its source looked at again."""


class Validator(Protocol[T_contra]):
    """
    A check of one value: raise `ValueError` to refuse it.
    """

    def __call__(self, value: T_contra, /) -> object: ...


class Callback(Protocol[T_contra]):
    """
    A function, or a coroutine function, that is called after a value has changed.
    """

    def __call__(self, old: T_contra, new: T_contra, /) -> object | Coroutine[Any, Any, object]: ...


class Parser(Protocol[T_co]):
    """
    A function that turns a text into a value: raise `ValueError` to refuse the text.
    """

    def __call__(self, text: str, /) -> T_co: ...


class Formatter(Protocol[T_contra]):
    """
    A function that turns a value into a text.
    """

    def __call__(self, value: T_contra, /) -> str: ...


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
