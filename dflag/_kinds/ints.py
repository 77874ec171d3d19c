"""
Whole numbers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from dflag._kinds._base import Kind, Problem

if TYPE_CHECKING:
    from dflag._kinds._declared import Demands, Limits, Schema, SchemaOptions
    from dflag._kinds.cel import CEL
    from dflag._kinds.shapes import Shape

_MAX_CHARACTERS: Final = 1000
"""The longest text that is parsed. Nobody writes a longer number, and parsing one could take quadratic time."""

_SAFE_DIGITS: Final = 18
"""The number of decimal digits that always fit into 64 bits."""

_GRAMMAR: Final = r"[+-]?(?:0|[1-9](?:_?[0-9])*|0[xX](?:_?[0-9a-fA-F])+|0[bB](?:_?[01])+|0[oO](?:_?[0-7])+)"
_LEADING_ZERO: Final = r"[+-]?0[0-9_]+"
_MIN: Final = -(2**63)
_MAX: Final = 2**63 - 1
_RANGE: Final = f"an int of 64 bits, from {_MIN} to {_MAX}"


class IntKind(Kind[int]):
    """
    Integers within 64 bits, written as Go's integer literals.
    """

    __slots__ = ()
    name = "int"
    expected = "an int"
    step = 1
    increment = "1"

    def parse(self, text: str) -> int:
        # Most texts are plain decimals, which int() alone parses in a third of the time.
        if len(text) <= _SAFE_DIGITS and text.isdecimal() and text.isascii() and text[0] != "0":
            return int(text)
        if len(text) > _MAX_CHARACTERS:
            raise Problem(_RANGE, f"{len(text)} characters")
        if re.fullmatch(_GRAMMAR, text, re.ASCII) is None:  # compiled at first use: most programs need no grammar
            raise Problem(self.expected, _why_no_int(text))
        return self._in_range(int(text, 0))

    def convert(self, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise Problem(self.expected)
        return self._in_range(int.__int__(value))  # a subclass may return anything from __int__

    def portable(self, value: int) -> int:
        return value

    def format(self, value: int) -> str:
        return str(value)

    def native(self, value: int) -> int:
        return value

    def pattern(self, limits: Limits) -> str:  # noqa: ARG002 - there are too many ways to write a number
        return _GRAMMAR

    def native_schemas(self, options: SchemaOptions) -> list[Schema]:
        from dflag._kinds.json_schema import number

        return [number({"type": "integer", "minimum": _MIN, "maximum": _MAX}, options.limits)]

    def cel(self, limits: Limits) -> CEL:
        from dflag._kinds.cel import CEL, matches
        from dflag._kinds.numerals import ranges

        low = _MIN if limits.minimum is None else limits.minimum
        high = _MAX if limits.maximum is None else limits.maximum
        choices = limits.choices
        spans = [(low, high)] if choices is None else [(each, each) for each in choices if low <= each <= high]
        return CEL([matches(f"^({ranges(spans)})$") if spans else "false"], [])

    def spellings(self, value: int) -> list[str]:
        return [f"{value}", f"{value:#x}", f"{value:#b}", f"{value:#o}", f"{value:_}", f"+{value}"]

    def _shape(self, demands: Demands) -> Shape:
        import math

        from dflag._kinds.shapes import Integers

        low, high = demands.get("minimum", _MIN), demands.get("maximum", _MAX)
        return Integers(math.ceil(max(low, _MIN)), math.floor(min(high, _MAX)))

    def _in_range(self, value: int) -> int:
        if not _MIN <= value <= _MAX:
            raise Problem(_RANGE)
        return value


def _why_no_int(text: str) -> str:
    if not text:
        return "the text is empty"
    if re.fullmatch(_LEADING_ZERO, text, re.ASCII):
        return "a leading zero means octal to Go and decimal to others: write 0o17 or 17 rather than 017"
    return ""


INT: Final = IntKind()
