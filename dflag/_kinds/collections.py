"""
Lists and sets of texts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from dflag._formats import json_values
from dflag._formats.json import loads
from dflag._kinds._base import Kind, Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

C = TypeVar("C", tuple[str, ...], frozenset[str])


class _TextsKind(Kind[C]):
    """
    What lists and sets share: the grammar and the way they are printed.
    """

    __slots__ = ()
    itemised = True

    def parse(self, text: str) -> C:
        if not text:
            return self._gather(())
        if text.startswith("["):
            return self._gather(self._texts(self._read_json(text)))
        return self._gather(item.strip() for item in text.split(","))

    def load(self, native: object, text: str) -> C:
        if isinstance(native, (list, tuple)):
            return self._gather(self._texts(native))
        return self.parse(text)

    def format(self, value: C) -> str:
        items = self._ordered(value)
        text = ",".join(items)
        return text if _reads_back(items, text) else json_values.dumps(items)

    def _gather(self, items: Iterable[str]) -> C:
        raise NotImplementedError

    def _ordered(self, value: C) -> list[str]:
        raise NotImplementedError

    def _texts(self, items: Collection[object]) -> list[str]:
        texts = [str.__str__(item) for item in items if isinstance(item, str)]
        if len(texts) != len(items):
            raise Problem(f"{self.expected}, all items strings")
        return texts

    def _read_json(self, text: str) -> Collection[object]:
        try:
            items: Collection[object] = loads(text)  # no JSON but an array begins with a bracket
        except json_values.NotJSON as error:
            raise Problem(f"{self.expected}; what begins with [ must be a JSON array", str(error)) from None
        return items


class StringListKind(_TextsKind[tuple[str, ...]]):
    """
    Texts in order.
    """

    __slots__ = ()
    name = "string_list"
    expected = "a list of strings"

    def convert(self, value: object) -> tuple[str, ...]:
        if not isinstance(value, (list, tuple)):
            raise Problem(self.expected)
        return self._gather(self._texts(value))

    def _gather(self, items: Iterable[str]) -> tuple[str, ...]:
        return tuple(items)

    def _ordered(self, value: tuple[str, ...]) -> list[str]:
        return list(value)


class StringSetKind(_TextsKind[frozenset[str]]):
    """
    Texts without order or duplicates.
    """

    __slots__ = ()
    name = "string_set"
    expected = "a set of strings"

    def convert(self, value: object) -> frozenset[str]:
        if not isinstance(value, (set, frozenset, list, tuple)):
            raise Problem(self.expected)
        return self._gather(self._texts(value))

    def _gather(self, items: Iterable[str]) -> frozenset[str]:
        return frozenset(items)

    def _ordered(self, value: frozenset[str]) -> list[str]:
        return sorted(value)


def _reads_back(items: list[str], text: str) -> bool:
    """
    Say whether the items joined by commas read as the same items.
    """
    return (
        items != [""]
        # A leading byte order mark is dropped before any parser sees the text.
        and not text.startswith(("[", "\ufeff"))
        and not any("," in item or item != item.strip() for item in items)
    )


STRING_LIST: Final = StringListKind()
STRING_SET: Final = StringSetKind()
