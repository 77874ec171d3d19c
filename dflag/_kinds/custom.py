"""
Values that a program parses and prints with functions of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from dflag._faults import is_interrupt, is_unawaited
from dflag._kinds._base import Kind, Problem

if TYPE_CHECKING:
    from dflag.typing import Formatter, Parser

T = TypeVar("T")


class CustomKind(Kind[T]):
    """
    The values that a program's parser makes from texts.

    Each value is printed before it is accepted, so that a value that cannot be printed never reaches a report.
    """

    __slots__ = ("_format", "_parse")
    name = "custom"
    expected = "a value that its parser accepts"

    def __init__(self, parse: Parser[T], format: Formatter[T]) -> None:
        self._parse: Final = parse
        self._format: Final = format

    def parse(self, text: str) -> T:
        return self._printable(self._parse(text))

    def convert(self, value: Any) -> T:
        return self._printable(value)

    def format(self, value: T) -> str:
        try:
            return str.__str__(self._format(value))
        except BaseException as error:  # it has printed the value before, but a report must not fail
            if is_interrupt(error):
                raise
            return f"<{type(value).__name__}>"

    def portable(self, value: T) -> object:
        return value if type(value) in (bool, int, float, str) else self.format(value)

    def same(self, one: T, other: T) -> bool:
        return one is other or (type(one) is type(other) and bool(one == other))

    def _printable(self, value: T) -> T:
        if is_unawaited(value):
            raise TypeError("a parser should not be a coroutine function, which nobody awaits")
        text: object = self._format(value)
        if not isinstance(text, str):
            raise Problem(
                "a value that format= turns into a text", f"it returned a value of type {type(text).__name__}"
            )
        return value
