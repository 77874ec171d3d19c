"""
What a kind demands of a text, in the Common Expression Language as Kubernetes has it.

An expression never refuses a text that is a value. What a kind refuses beyond it is listed in words.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple


class CEL(NamedTuple):
    """
    What can be said of a text.

    Attributes:
        conditions: Expressions over the stripped text ``t`` that are false for what is refused.
        left: What is demanded beyond them, in words.
    """

    conditions: list[str]
    left: list[str]


def quote(text: str) -> str:
    """
    Write a string of CEL, raw where that is easier to read.
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
    Write a pattern of `Kind.pattern` as RE2 and people read it best, which CEL has.
    """
    return pattern.replace("(?:", "(").replace(r"\.", "[.]").replace("[+-]", "[-+]")


def any_case(text: str) -> str:
    """
    Write a pattern of a text whose letters may be in either case.
    """
    return "".join(
        f"[{char.lower()}{char.upper()}]" if char.isascii() and char.isalpha() else re.escape(char) for char in text
    )
