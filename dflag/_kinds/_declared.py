"""
What a declaration says about a value in addition to its kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

Schema: TypeAlias = dict[str, Any]
"""A JSON Schema."""

Demands: TypeAlias = Mapping[str, Any]
"""The demands of limits and validators on a value, as keywords of JSON Schema."""

WHITE_SPACE: Final = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
"""The characters that Go's ``strings.TrimSpace`` removes. Python's ``strip`` also removes U+001C to U+001F."""


class Limits:
    """
    The limits that a declaration sets for its values. None means no limit.
    """

    __slots__ = ("choices", "maximum", "minimum")

    def __init__(self, minimum: Any = None, maximum: Any = None, choices: Sequence[Any] | None = None) -> None:
        self.minimum: Final = minimum
        self.maximum: Final = maximum
        self.choices: Final = choices


NO_LIMITS: Final = Limits()


class SchemaOptions:
    """
    What a JSON Schema of a flag depends on in addition to the kind.

    Attributes:
        name: The name of the flag.
        strip: Whether white space around a text is ignored.
        limits: The limits on values.
        secret: Whether the schema must not contain any value of the flag.
    """

    __slots__ = ("limits", "name", "secret", "strip")

    def __init__(self, name: str, limits: Limits, *, strip: bool, secret: bool = False) -> None:
        self.name: Final = name
        self.limits: Final = limits
        self.strip: Final = strip
        self.secret: Final = secret
