"""
Decimal numbers.
"""

from __future__ import annotations

import math
import re
import sys
from typing import TYPE_CHECKING, Final

from dflag._kinds._base import Kind, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dflag._kinds._declared import Demands, Limits, Schema, SchemaOptions
    from dflag._kinds.cel import CEL
    from dflag._kinds.shapes import Shape

_MAX_CHARACTERS: Final = 1000
"""The longest text that is parsed. Nobody writes a longer number, and parsing one could take quadratic time."""

_DIGITS: Final = "[0-9](?:_?[0-9])*"
_SIZE: Final = rf"(?:{_DIGITS}(?:\.(?:{_DIGITS})?)?|\.{_DIGITS})(?:[eE][+-]?{_DIGITS})?"
_GRAMMAR: Final = f"[+-]?{_SIZE}"
_FLOAT: Final = re.compile(_GRAMMAR, re.ASCII)
_INFINITIES: Final = {sign + word for sign in ("", "+", "-") for word in ("inf", "infinity")}
_NANS: Final = {"nan", "+nan", "-nan"}
_LARGEST: Final = sys.float_info.max


class FloatKind(Kind[float]):
    """
    Decimal numbers and the infinities.
    """

    __slots__ = ()
    name = "float"
    expected = "a float"
    step = 1.0
    increment = "any"

    def parse(self, text: str) -> float:
        if len(text) > _MAX_CHARACTERS:
            raise Problem(self.expected, f"{len(text)} characters")
        if _FLOAT.fullmatch(text) is None:
            return self._named(text.lower())
        value = float(text)
        if math.isinf(value):
            raise Problem("a float of at most 1.8e308 in size")
        return value

    def convert(self, value: object) -> float:
        if not isinstance(value, (float, int)) or isinstance(value, bool):
            raise Problem(self.expected)
        try:
            # A subclass may return anything from __float__.
            number = float.__float__(value) if isinstance(value, float) else float(int.__int__(value))
        except OverflowError:
            raise Problem("a float of at most 1.8e308 in size") from None
        if math.isnan(number):
            raise Problem("a float other than NaN")
        return number

    def portable(self, value: float) -> float:
        return value

    def format(self, value: float) -> str:
        """
        Return Go's ``%v`` of *value*: the fewest digits that parse to it, with an exponent below 1e-4 and from 1e6.
        """
        if math.isinf(value):
            return "+Inf" if value > 0 else "-Inf"
        text = repr(value)
        if value == 0 or 1e-4 <= abs(value) < 1e6:
            return text.removesuffix(".0")
        # Python writes an exponent only from 1e16, in the same form as Go.
        return text if "e" in text else _with_exponent(text)

    def native(self, value: float) -> float | str:
        return self.format(value) if math.isinf(value) else value

    def pattern(self, limits: Limits) -> str:  # noqa: ARG002 - there are too many ways to write a number
        return rf"[+-]?(?:{_SIZE}|[iI][nN][fF](?:[iI][nN][iI][tT][yY])?)"

    def native_schemas(self, options: SchemaOptions) -> list[Schema]:
        from dflag._kinds.json_schema import number

        return [number({"type": "number"}, options.limits)]

    def cel(self, limits: Limits) -> CEL:
        from dflag._kinds.cel import CEL, in_re2, matches

        # Always with both limits, because a text such as 1e400 might otherwise count as infinite.
        low, high = _double(limits.minimum, -_LARGEST), _double(limits.maximum, _LARGEST)
        finite = f"{matches(f'^{in_re2(_GRAMMAR)}$')} && double(t) >= {low} && double(t) <= {high}"
        if limits.choices is not None:
            choices = ", ".join(_double(each) for each in limits.choices if math.isfinite(each))
            finite += f" && double(t) in [{choices}]"
        return CEL([" || ".join([finite, *_infinite_conditions(limits)])], [])

    def spellings(self, value: float) -> list[str]:
        return [self.format(value), repr(value), f"{value:e}", f"+{value!r}"]

    def _shape(self, demands: Demands) -> Shape:
        from dflag._kinds.shapes import Floats

        return Floats(demands.get("minimum"), demands.get("maximum"))

    def _named(self, text: str) -> float:
        if text in _INFINITIES:
            return float(text)
        if text in _NANS:
            raise Problem("a float other than NaN")
        raise Problem(self.expected, "write it in decimal" if "0x" in text else "")


def _infinite_conditions(limits: Limits) -> Iterator[str]:
    """
    Return a CEL condition for each infinity that the limits allow.
    """
    from dflag._kinds.cel import matches

    low, high, choices = limits.minimum, limits.maximum, limits.choices
    for sign, value in (("[+]?", math.inf), ("-", -math.inf)):
        within = (low is None or low <= value) and (high is None or value <= high)
        if within and (choices is None or value in choices):
            yield matches(f"^{sign}([iI][nN][fF]|[iI][nN][fF][iI][nN][iI][tT][yY])$")


def _with_exponent(text: str) -> str:
    """
    Return the text of a number from 1e6 with an exponent: ``1.23456789e+08`` for ``123456789.0``.
    """
    sign = "-" if text.startswith("-") else ""
    whole, _, fraction = text.removeprefix("-").partition(".")
    digits = (whole + fraction).rstrip("0")
    mantissa = digits if len(digits) == 1 else f"{digits[0]}.{digits[1:]}"
    return f"{sign}{mantissa}e+{len(whole) - 1:02d}"


def _double(limit: float | None, otherwise: float = 0.0) -> str:
    """
    Return a limit as a number of CEL: *otherwise* for None, and its size with the limit's sign for infinity.
    """
    if limit is None or math.isinf(limit):
        return repr(otherwise if limit is None or limit * otherwise > 0 else -otherwise)
    return repr(float(limit))


FLOAT: Final = FloatKind()
