"""
Texts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dflag._kinds._base import Kind, Problem

if TYPE_CHECKING:
    from dflag._kinds._declared import Demands, Limits, Schema, SchemaOptions
    from dflag._kinds.cel import CEL
    from dflag._kinds.shapes import Shape


class StringKind(Kind[str]):
    """
    Any text, unchanged.
    """

    __slots__ = ()
    name = "string"
    expected = "a string"
    is_text = True

    def parse(self, text: str) -> str:
        return text

    def convert(self, value: object) -> str:
        if not isinstance(value, str):
            raise Problem(self.expected)
        return str.__str__(value)

    def format(self, value: str) -> str:
        return value

    def pattern(self, limits: Limits) -> str | None:
        from dflag._kinds.json_schema import escaped

        return None if limits.choices is None else "|".join(map(escaped, limits.choices))

    def native_schemas(self, options: SchemaOptions) -> list[Schema]:
        from dflag._kinds.json_schema import only_like

        choices = options.limits.choices
        return [{}] if choices is None else only_like(choices)

    def cel(self, limits: Limits) -> CEL:
        from dflag._kinds.cel import CEL, quote

        return CEL([] if limits.choices is None else [f"t in [{', '.join(map(quote, limits.choices))}]"], [])

    def _shape(self, demands: Demands) -> Shape:
        from dflag._kinds.shapes import Texts, sizes

        return Texts(demands.get("pattern"), *sizes(demands, "Length"))


STRING: Final = StringKind()
