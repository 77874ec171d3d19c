"""
The common base of lists and sets of texts.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from dflag._formats import json_values
from dflag._formats.base import NotJSON
from dflag._formats.json import loads
from dflag._kinds._base import Kind, Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from dflag._kinds._declared import Demands, Schema, SchemaOptions
    from dflag._kinds.shapes import Shape

C = TypeVar("C", tuple[str, ...], frozenset[str])


class TextsKind(Kind[C]):
    """
    The grammar and the printed form of lists and sets of texts.
    """

    __slots__ = ()
    one_of = "items out of"
    out_of = "of items"

    _is_set: ClassVar[bool] = False

    def parse(self, text: str) -> C:
        if not text:
            return self._collect(())
        if text.startswith("["):
            return self._collect(self._texts(self._read_json(text)))
        return self._collect(item.strip() for item in text.split(","))

    def load(self, native: object, text: str) -> C:
        if isinstance(native, (list, tuple)):
            return self._collect(self._texts(native))
        if isinstance(native, dict):  # its text would be split at the commas
            raise Problem(f"{self.expected}, not a mapping")
        return self.parse(text)

    def portable(self, value: C) -> object:
        return json_values.freeze(self._ordered(value))

    def format(self, value: C) -> str:
        items = self._ordered(value)
        text = ",".join(items)
        return text if _reads_back(items, text) else json_values.dumps(items)

    def convert_choices(self, choices: Iterable[Any]) -> tuple[Any, ...]:
        return tuple(item for choice in choices for item in self.convert([choice]))

    def is_among(self, value: C, choices: Sequence[Any]) -> bool:
        return all(item in choices for item in value)

    def options(self, choices: Sequence[Any] | None) -> None:  # noqa: ARG002 - the choices are single items
        return None

    def native(self, value: C) -> list[str]:
        return self._ordered(value)

    def reads_json(self, text: str) -> bool:
        return text.startswith("[")

    def native_schemas(self, options: SchemaOptions) -> list[Schema]:
        from dflag._kinds.json_schema import arrays_of

        return arrays_of(options.limits.choices)

    def spellings(self, value: C) -> list[str]:
        return [self.format(value), json.dumps(list(value)), ", ".join(value)]

    def shape(self, demands: Demands, choices: Sequence[Any] | None = None) -> Shape:
        from dflag._kinds.shapes import Lists, Mapped, Sampled, Texts, sizes

        if "enum" in demands:
            return Sampled(demands["enum"])
        item = Texts() if choices is None else Sampled(choices)
        return Mapped(Lists(item, *sizes(demands, "Items", 5), unique=self._is_set), self._collect)

    def _collect(self, items: Iterable[str]) -> C:
        raise NotImplementedError

    def _ordered(self, value: C) -> list[str]:
        raise NotImplementedError

    def _texts(self, items: Iterable[object]) -> list[str]:
        items = list(items)
        texts = [str.__str__(item) for item in items if isinstance(item, str)]
        if len(texts) != len(items):
            raise Problem(f"{self.expected}, all items strings")
        return texts

    def _read_json(self, text: str) -> Collection[object]:
        try:
            items: Collection[object] = loads(text)  # JSON that begins with a bracket is an array
        except NotJSON as error:
            raise Problem(f"{self.expected}; a text that begins with [ must be a JSON array", str(error)) from None
        return items


def _reads_back(items: list[str], text: str) -> bool:
    """
    Return whether *text*, the items joined by commas, parses to the same items.
    """
    return (
        items != [""]
        # A leading byte order mark is dropped before any parser sees the text.
        and not text.startswith(("[", "\ufeff"))
        and not any("," in item or item != item.strip() for item in items)
    )
