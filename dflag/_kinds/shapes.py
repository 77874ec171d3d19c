"""
Descriptions of random values, as plain data. `dflag.testing` makes strategies of Hypothesis from them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Sequence

    from dflag._kinds._declared import Demands
    from dflag.typing import JSONValue


class Sampled(NamedTuple):
    """
    One of the given values.
    """

    values: Sequence[Any]


class Texts(NamedTuple):
    """
    Texts that contain a match of a pattern. Without a pattern, texts with a length within limits.
    """

    pattern: str | re.Pattern[str] | None = None
    least: int = 0
    most: int | None = None


class Binary(NamedTuple):
    """
    Bytes with a length within limits.
    """

    least: int = 0
    most: int | None = None


class Integers(NamedTuple):
    """
    Whole numbers, limits included.
    """

    low: int
    high: int


class Floats(NamedTuple):
    """
    Numbers other than NaN, limits included.
    """

    low: float | None
    high: float | None


class Lists(NamedTuple):
    """
    Lists with a number of values within limits.
    """

    of: Shape
    least: int
    most: int | None
    unique: bool = False


class Mappings(NamedTuple):
    """
    Mappings with a number of keys within limits. Each key matches the pattern.
    """

    keys: re.Pattern[str]
    of: Shape
    least: int
    most: int | None


class JSONValues(NamedTuple):
    """
    JSON values that match the schema, if there is one.
    """

    schema: JSONValue | None


class Mapped(NamedTuple):
    """
    The results of a function for the values of another shape.
    """

    of: Shape
    function: Callable[[Any], Any]


Shape: TypeAlias = Sampled | Texts | Binary | Integers | Floats | Lists | Mappings | JSONValues | Mapped


def sizes(demands: Demands, noun: str, more: int | None = None) -> tuple[int, int | None]:
    """
    Return the least and the greatest size that are demanded; None if there is no greatest size.

    Args:
        demands: The demands, as keywords of JSON Schema.
        noun: The end of the keywords: ``"Items"``.
        more: How far above the least size the greatest is if none is demanded; None for no greatest size.
    """
    least = demands.get(f"min{noun}", 0)
    most = demands.get(f"max{noun}")
    return least, least + more if most is None and more is not None else most
