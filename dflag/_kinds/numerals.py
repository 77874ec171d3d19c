"""
Regular expressions for the integers of a range, in every notation that an int flag reads.

CEL converts only plain decimals, but a flag also reads ``0x1F`` and ``1_000``. A regular expression covers them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Base(NamedTuple):
    number: int
    prefix: str
    zero: str  # a pattern of zero, after the prefix
    leading: str  # a pattern of what may precede the first digit other than zero


_BASES: Final = (
    _Base(10, "", "0", ""),
    _Base(16, "0[xX]", "(_?0)+", "(_?0)*_?"),
    _Base(8, "0[oO]", "(_?0)+", "(_?0)*_?"),
    _Base(2, "0[bB]", "(_?0)+", "(_?0)*_?"),
)


def ranges(spans: list[tuple[int, int]]) -> str:
    """
    Return an expression, not anchored, for the texts whose number lies in one of the inclusive spans.
    """
    return "|".join(dict.fromkeys(part for low, high in spans for part in _signed(low, high)))


def _signed(low: int, high: int) -> Iterator[str]:
    if high > 0:
        yield f"[+]?({_sizes(max(low, 1), high)})"
    if low <= 0 <= high:
        yield "[-+]?(" + "|".join(base.prefix + base.zero for base in _BASES) + ")"
    if low < 0:
        yield f"-({_sizes(max(-high, 1), -low)})"


def _sizes(low: int, high: int) -> str:
    """
    Return an expression for the numbers from *low*, which is at least 1, to *high*, in every base.
    """
    return "|".join(
        f"{base.prefix}{base.leading}({'|'.join(_between(_digits(low, base), _digits(high, base), base))})"
        for base in _BASES
    )


def _digits(number: int, base: _Base) -> list[int]:
    digits = []
    while number:
        number, digit = divmod(number, base.number)
        digits.append(digit)
    return digits[::-1]


def _between(low: list[int], high: list[int], base: _Base) -> Iterator[str]:
    top = base.number - 1
    if len(low) == len(high):
        yield from _same_length(low, high, base)
        return
    yield from _same_length(low, [top] * len(low), base)
    if len(high) - len(low) > 1:
        yield _class(1, top) + _repeat(base, len(low), len(high) - 2)
    yield from _same_length([1] + [0] * (len(high) - 1), high, base)


def _same_length(low: list[int], high: list[int], base: _Base) -> Iterator[str]:
    """
    Return expressions for the numbers between two of the same length, split by their first digit.
    """
    top, rest = base.number - 1, len(low) - 1
    if not low:
        yield ""
    elif low[1:] == [0] * rest and high[1:] == [top] * rest:
        yield _class(low[0], high[0]) + _repeat(base, rest, rest)
    elif low[0] == high[0]:
        yield from _after(low[0], _same_length(low[1:], high[1:], base))
    else:
        yield from _after(low[0], _same_length(low[1:], [top] * rest, base))
        if high[0] - low[0] > 1:
            yield _class(low[0] + 1, high[0] - 1) + _repeat(base, rest, rest)
        yield from _after(high[0], _same_length([0] * rest, high[1:], base))


def _after(first: int, rest: Iterator[str]) -> Iterator[str]:
    for each in rest:
        yield _class(first, first) + ("_?" if each else "") + each


def _repeat(base: _Base, least: int, most: int) -> str:
    if most == 0:
        return ""
    count = f"{{{least}}}" if least == most else f"{{{least},{most}}}"
    return f"(_?{_class(0, base.number - 1)}){count}"


def _class(low: int, high: int) -> str:
    """
    Return an expression for one digit from *low* to *high*, with letters in both cases.
    """
    digits = "0123456789abcdef"[low : high + 1]
    if len(digits) == 1 and digits.isdigit():
        return digits
    numbers, letters = [[each for each in digits if each.isdigit() is wanted] for wanted in (True, False)]
    spans = [_span(each) for each in (numbers, letters, [letter.upper() for letter in letters]) if each]
    return f"[{''.join(spans)}]"


def _span(digits: list[str]) -> str:
    return digits[0] if len(digits) == 1 else f"{digits[0]}-{digits[-1]}"
