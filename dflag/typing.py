"""
Types for annotations: protocols and aliases for the arguments and results of dflag's functions.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeAlias, TypeVar

from dflag._raw import Raw, Text, Unreadable

__all__ = ["Callback", "Formatter", "JSONValue", "Parser", "Raw", "Text", "Unreadable", "Validator", "Wake"]


def __dir__() -> list[str]:
    return __all__


T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)

JSONValue: TypeAlias = Any
"""A JSON value: None, bool, int, float, str, or a read-only list or dict of these."""

Wake: TypeAlias = Callable[[], None]
"""A function that a watch calls, from any thread, when its source should be looked at again."""


class Validator(Protocol[T_contra]):
    """
    A function that checks one value. It raises `ValueError` to refuse the value.
    """

    def __call__(self, value: T_contra, /) -> object: ...


class Callback(Protocol[T_contra]):
    """
    A function, or a coroutine function, that is called after a value has changed.
    """

    def __call__(self, old: T_contra, new: T_contra, /) -> object | Coroutine[Any, Any, object]: ...


class Parser(Protocol[T_co]):
    """
    A function that turns a text into a value. It raises `ValueError` to refuse the text.
    """

    def __call__(self, text: str, /) -> T_co: ...


class Formatter(Protocol[T_contra]):
    """
    A function that turns a value into a text.
    """

    def __call__(self, value: T_contra, /) -> str: ...
