"""
Durations, written as in Go, with days and weeks in addition.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from dflag._kinds._base import Kind, Problem

if TYPE_CHECKING:
    from dflag._kinds._declared import Demands, Limits, Schema, SchemaOptions
    from dflag._kinds.cel import CEL
    from dflag._kinds.shapes import Shape

_MICROSECOND: Final = timedelta(microseconds=1)

_UNITS: Final = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,  # the micro sign
    "\u03bcs": 1_000,  # the Greek letter, which looks the same
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
    "w": 604_800_000_000_000,
}
"""Nanoseconds in each unit."""

_PRINTED: Final = (("w", 604_800_000_000), ("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000))

_NUMBER: Final = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_NAMES: Final = "|".join(_UNITS)
_TERM: Final = re.compile(rf"[ \t]*({_NUMBER})[ \t]*({_NAMES})")
_DURATION: Final = re.compile(rf"([+-]?)((?:{_TERM.pattern})+)")
_BARE: Final = re.compile(rf"[+-]?{_NUMBER}")

_ZERO: Final = r"0+(?:\.0*)?|\.0+"

_MAX_CHARACTERS: Final = 1000
"""The longest text that is parsed. Nobody writes a longer duration."""

_LIMIT: Final = (2**63 - 1) // 1000
"""The limit in microseconds: Go counts nanoseconds in 64 bits, which is a little more than 292 years."""


class DurationKind(Kind[timedelta]):
    """
    Signed durations with a precision of a microsecond, within the range of Go.
    """

    __slots__ = ()
    name = "duration"
    speaks_text = True
    expected = "a duration"
    step = _MICROSECOND

    def parse(self, text: str) -> timedelta:
        found = _DURATION.fullmatch(text) if len(text) <= _MAX_CHARACTERS else None
        if found is None:
            return self._bare(text)
        from fractions import Fraction  # imports decimal, 3 ms that a program without durations saves

        nanoseconds = sum(Fraction(number) * _UNITS[unit] for number, unit in _TERM.findall(found[2]))
        if 0 < nanoseconds < 1_000:
            raise Problem("a duration of at least a microsecond, or 0")
        microseconds = round(Fraction(nanoseconds, 1_000))
        if microseconds > _LIMIT:
            raise Problem("a duration within 292 years")
        return timedelta(microseconds=-microseconds if found[1] == "-" else microseconds)

    def convert(self, value: object) -> timedelta:
        if not isinstance(value, timedelta):
            raise Problem("a datetime.timedelta")
        plain = timedelta.__add__(value, timedelta())  # a subclass may print and compare differently
        if abs(plain // _MICROSECOND) > _LIMIT:
            raise Problem("a duration within 292 years")
        return plain

    def portable(self, value: timedelta) -> float:
        return value.total_seconds()

    def format(self, value: timedelta) -> str:
        microseconds = value // _MICROSECOND
        if microseconds == 0:
            return "0s"
        sign = "-" if microseconds < 0 else ""
        return sign + _format_size(abs(microseconds))

    def pattern(self, limits: Limits) -> str:  # noqa: ARG002 - there are too many ways to write a duration
        return rf"[+-]?(?:(?:[ \t]*{_NUMBER}[ \t]*(?:{_NAMES}))+|{_ZERO})"

    def native_schemas(self, options: SchemaOptions) -> list[Schema]:  # noqa: ARG002 - 0 is the only native value
        return [{"const": 0}]

    def cel(self, limits: Limits) -> CEL:
        from dflag._kinds.cel import CEL, in_re2, matches

        number, micro = in_re2(_NUMBER), "\u00b5\u03bc"  # the sign and the Greek letter
        zero = matches(f"^[-+]?({in_re2(_ZERO)})$")
        go = matches(f"^[-+]?({number}([um{micro}]?s|[mh]))+$")
        grammar = matches(rf"^[-+]?([ \t]*{number}[ \t]*([num{micro}]?s|[mhdw]))+$")
        conditions = [f"{grammar} || {zero}"]
        left = ["durations below a microsecond or beyond 292 years"]
        for limit, sign in ((limits.minimum, ">="), (limits.maximum, "<=")):
            if limit is not None:
                # Half a microsecond beyond the limit, because the flag rounds to microseconds.
                edge = limit // _MICROSECOND * 1000 + (500 if sign == "<=" else -500)
                conditions.append(f"!{go} || duration(t) {sign} duration('{edge}ns')")
                if limit < timedelta() if sign == "<=" else limit > timedelta():
                    conditions.append(f"!{zero}")
        if limits.minimum is not None or limits.maximum is not None:
            left.append("the limits of durations with days, weeks, nanoseconds or spaces")
        if limits.choices is not None:
            left.append("its choices")
        return CEL(conditions, left)

    def spellings(self, value: timedelta) -> list[str]:
        printed = self.format(value)
        return [printed, f"{value // _MICROSECOND}us", f"+{printed}"]

    def _shape(self, demands: Demands) -> Shape:
        from dflag._kinds.shapes import Integers, Mapped

        low, high = (
            demands[name] // _MICROSECOND if name in demands else limit
            for name, limit in (("minimum", -_LIMIT), ("maximum", _LIMIT))
        )
        return Mapped(Integers(low, high), _MICROSECOND.__mul__)

    def _bare(self, text: str) -> timedelta:
        if len(text) > _MAX_CHARACTERS or not _BARE.fullmatch(text):
            raise Problem(f"{self.expected} such as 1h30m", "" if text else "the text is empty")
        if not text.strip("+-0."):
            return timedelta()
        raise Problem(f"{self.expected} with its unit, such as 90s", f"{text}s for seconds?")


def _format_size(rest: int) -> str:
    if rest < 1_000:
        return f"{rest}\u00b5s"
    if rest < 1_000_000:
        return _decimal(rest, 1_000) + "ms"
    parts = []
    for unit, size in _PRINTED:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    if rest:
        parts.append(_decimal(rest, 1_000_000) + "s")
    return "".join(parts)


def _decimal(count: int, size: int) -> str:
    """
    Return *count* / *size* as an exact decimal. The size is a power of ten.
    """
    whole, rest = divmod(count, size)
    digits = str(rest).zfill(len(str(size)) - 1).rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)


DURATION: Final = DurationKind()
