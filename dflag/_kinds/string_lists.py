"""
Lists of texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from dflag._kinds._base import Problem
from dflag._kinds._texts import TextsKind

if TYPE_CHECKING:
    from collections.abc import Iterable


class StringListKind(TextsKind[tuple[str, ...]]):
    """
    Texts in a fixed order.
    """

    __slots__ = ()
    name = "string_list"
    expected = "a list of strings"

    def convert(self, value: object) -> tuple[str, ...]:
        if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
            raise Problem(self.expected)
        return self._collect(self._texts(value))

    def _collect(self, items: Iterable[str]) -> tuple[str, ...]:
        return tuple(items)

    def _ordered(self, value: tuple[str, ...]) -> list[str]:
        return list(value)


STRING_LIST: Final = StringListKind()
