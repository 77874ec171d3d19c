"""
Texts, numbers, truth values and bytes.
"""

from __future__ import annotations

import binascii
import math
import re
from typing import Final

from dflag._kinds._base import Kind, Problem

_MAX_NUMBER_CHARACTERS: Final = 1000
"""Longer texts are no number anybody wrote; reading one could take quadratic time."""

_INT: Final = re.compile(
    r"[+-]?(?:0|[1-9](?:_?[0-9])*|0[xX](?:_?[0-9a-fA-F])+|0[bB](?:_?[01])+|0[oO](?:_?[0-7])+)", re.ASCII
)
_LEADING_ZERO: Final = re.compile(r"[+-]?0[0-9_]+", re.ASCII)
_INT_MIN: Final = -(2**63)
_INT_MAX: Final = 2**63 - 1
_INT_RANGE: Final = f"an int of 64 bits, from {_INT_MIN} to {_INT_MAX}"

_DIGITS: Final = r"[0-9](?:_?[0-9])*"
_FLOAT: Final = re.compile(rf"[+-]?(?:{_DIGITS}(?:\.(?:{_DIGITS})?)?|\.{_DIGITS})(?:[eE][+-]?{_DIGITS})?", re.ASCII)
_INFINITIES: Final = {sign + word for sign in ("", "+", "-") for word in ("inf", "infinity")}
_NANS: Final = {"nan", "+nan", "-nan"}

_TRUTHS: Final = {
    **dict.fromkeys(("true", "t", "yes", "y", "on", "1"), True),
    **dict.fromkeys(("false", "f", "no", "n", "off", "0"), False),
}


class StringKind(Kind[str]):
    """
    Text as it is.
    """

    __slots__ = ()
    name = "string"
    expected = "a string"

    def parse(self, text: str) -> str:
        return text

    def convert(self, value: object) -> str:
        if not isinstance(value, str):
            raise Problem(self.expected)
        return str.__str__(value)

    def format(self, value: str) -> str:
        return value


class IntKind(Kind[int]):
    """
    Go's integer literals, within 64 bits.
    """

    __slots__ = ()
    name = "int"
    expected = "an int"

    def parse(self, text: str) -> int:
        if len(text) > _MAX_NUMBER_CHARACTERS:
            raise Problem(_INT_RANGE, f"{len(text)} characters")
        if _INT.fullmatch(text) is None:
            raise Problem(self.expected, _why_no_int(text))
        return self._in_range(int(text, 0))

    def convert(self, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise Problem(self.expected)
        return self._in_range(int(value))

    def format(self, value: int) -> str:
        return str(value)

    def _in_range(self, value: int) -> int:
        if not _INT_MIN <= value <= _INT_MAX:
            raise Problem(_INT_RANGE)
        return value


class FloatKind(Kind[float]):
    """
    Decimal numbers and the infinities.
    """

    __slots__ = ()
    name = "float"
    expected = "a float"

    def parse(self, text: str) -> float:
        if len(text) > _MAX_NUMBER_CHARACTERS:
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
            number = float(value)
        except OverflowError:
            raise Problem("a float of at most 1.8e308 in size") from None
        if math.isnan(number):
            raise Problem("a float other than NaN")
        return number

    def format(self, value: float) -> str:
        """
        Print as Go's ``%v``: the fewest digits that read the same, with an exponent below 1e-4 and from 1e6.
        """
        if math.isinf(value):
            return "+Inf" if value > 0 else "-Inf"
        text = repr(value)
        if value == 0 or 1e-4 <= abs(value) < 1e6:
            return text.removesuffix(".0")
        # Python begins at 1e16, with an exponent that looks like Go's.
        return text if "e" in text else _with_exponent(text)

    def _named(self, text: str) -> float:
        if text in _INFINITIES:
            return float(text)
        if text in _NANS:
            raise Problem("a float other than NaN")
        raise Problem(self.expected, "write it in decimal" if "0x" in text else "")


class BoolKind(Kind[bool]):
    """
    Words for true and false, in any case.
    """

    __slots__ = ()
    name = "bool"
    expected = "a bool"

    def parse(self, text: str) -> bool:
        value = _TRUTHS.get(text.lower())
        if value is None:
            raise Problem(self.expected, "one of true, t, yes, y, on, 1, false, f, no, n, off, 0")
        return value

    def convert(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise Problem(self.expected)
        return value

    def format(self, value: bool) -> str:  # noqa: FBT001 - the value itself, not a switch
        return "true" if value else "false"


class BytesKind(Kind[bytes]):
    """
    Bytes, in base64 where only text can be written.
    """

    __slots__ = ()
    name = "bytes"
    binary = True
    expected = "bytes"

    def parse(self, text: str) -> bytes:
        try:
            return binascii.a2b_base64(text, strict_mode=True)
        except ValueError as error:
            raise Problem("bytes in base64, padded", str(error)) from None

    def convert(self, value: object) -> bytes:
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise Problem(self.expected)
        return bytes(value)

    def format(self, value: bytes) -> str:
        return binascii.b2a_base64(value, newline=False).decode("ascii")


def _why_no_int(text: str) -> str:
    if not text:
        return "the text is empty"
    if _LEADING_ZERO.fullmatch(text):
        return "a leading zero means octal to Go and decimal to others: write 0o17 or 17 rather than 017"
    return ""


def _with_exponent(text: str) -> str:
    """
    Write a positional number of at least 1e6 with its exponent: ``123456789.0`` as ``1.23456789e+08``.
    """
    sign = "-" if text.startswith("-") else ""
    whole, _, fraction = text.removeprefix("-").partition(".")
    digits = (whole + fraction).rstrip("0")
    mantissa = digits if len(digits) == 1 else f"{digits[0]}.{digits[1:]}"
    return f"{sign}{mantissa}e+{len(whole) - 1:02d}"


STRING: Final = StringKind()
INT: Final = IntKind()
FLOAT: Final = FloatKind()
BOOL: Final = BoolKind()
BYTES: Final = BytesKind()
