"""
Sets of texts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from dflag._kinds._base import Problem
from dflag._kinds._texts import TextsKind


class StringSetKind(TextsKind[frozenset[str]]):
    """
    Texts without order or duplicates.
    """

    __slots__ = ()
    name = "string_set"
    expected = "a set of strings"

    _is_set = True

    def convert(self, value: object) -> frozenset[str]:
        if not isinstance(value, Iterable) or isinstance(value, (str, bytes)):
            raise Problem(self.expected)
        return self._collect(self._texts(value))

    def _collect(self, items: Iterable[str]) -> frozenset[str]:
        return frozenset(items)

    def _ordered(self, value: frozenset[str]) -> list[str]:
        return sorted(value)


STRING_SET: Final = StringSetKind()
