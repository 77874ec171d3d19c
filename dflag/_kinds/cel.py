"""
The conditions of a kind on a text, in the Common Expression Language (CEL) as Kubernetes supports it.

An expression never refuses a valid text. What the kind refuses in addition is listed in words.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple


class CEL(NamedTuple):
    """
    The conditions on a text.

    Attributes:
        conditions: Expressions over the stripped text ``t``. Each is false only for texts that are refused.
        left: The conditions that the expressions do not cover, in words.
    """

    conditions: list[str]
    left: list[str]


def quote(text: str) -> str:
    """
    Return a string literal of CEL, raw where that is easier to read.
    """
    if "\\" in text and text.isascii() and text.isprintable() and "'" not in text:
        return f"r'{text}'"
    return "'" + "".join(_ESCAPES.get(char) or _escape(char) for char in text) + "'"


def matches(pattern: str) -> str:
    return f"t.matches({quote(pattern)})"


def _escape(char: str) -> str:
    if char.isascii() and char.isprintable():
        return char
    return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"


_ESCAPES: Final = {"\\": "\\\\", "'": "\\'"}


def in_re2(pattern: str) -> str:
    """
    Return a pattern of `Kind.pattern` in the form that is easiest to read in RE2, the syntax of CEL.
    """
    return pattern.replace("(?:", "(").replace(r"\.", "[.]").replace("[+-]", "[-+]")


def any_case(text: str) -> str:
    """
    Return a pattern of a text whose ASCII letters may be in either case.
    """
    return "".join(
        f"[{char.lower()}{char.upper()}]" if char.isascii() and char.isalpha() else re.escape(char) for char in text
    )
