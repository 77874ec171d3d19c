"""
What a declaration says of a value beside its kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

Schema: TypeAlias = dict[str, Any]
"""A JSON Schema."""

Demands: TypeAlias = Mapping[str, Any]
"""What limits and validators demand of a value, in the keywords of JSON Schema."""

WHITE_SPACE: Final = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
"""What Go's ``strings.TrimSpace`` trims; Python's own ``strip`` would also take the separators U+001C to U+001F."""


class Limits:
    """
    What a declaration allows of a kind's values; None for all of them.
    """

    __slots__ = ("choices", "maximum", "minimum")

    def __init__(self, minimum: Any = None, maximum: Any = None, choices: Sequence[Any] | None = None) -> None:
        self.minimum: Final = minimum
        self.maximum: Final = maximum
        self.choices: Final = choices


NO_LIMITS: Final = Limits()


class SchemaOptions:
    """
    What a declaration says beside the kind.

    Attributes:
        name: The name of the flag.
        strip: Whether white space around a text does not count.
        limits: The limits of values.
        secret: Whether no value may stand in a schema.
    """

    __slots__ = ("limits", "name", "secret", "strip")

    def __init__(self, name: str, limits: Limits, *, strip: bool, secret: bool = False) -> None:
        self.name: Final = name
        self.limits: Final = limits
        self.strip: Final = strip
        self.secret: Final = secret
