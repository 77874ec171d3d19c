"""
Of which random values are made, as plain data: `dflag.testing` makes strategies of them, and needs Hypothesis for it.
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
    One of some values.
    """

    values: Sequence[Any]


class Texts(NamedTuple):
    """
    Texts in which a pattern is found, or of a length.
    """

    pattern: str | re.Pattern[str] | None = None
    least: int = 0
    most: int | None = None


class Binary(NamedTuple):
    """
    Bytes of a length.
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
    Lists of so many values.
    """

    of: Shape
    least: int
    most: int | None
    unique: bool = False


class Mappings(NamedTuple):
    """
    Mappings of so many keys, each of which is a pattern's, to values.
    """

    keys: re.Pattern[str]
    of: Shape
    least: int
    most: int | None


class JSONValues(NamedTuple):
    """
    JSON values that fit a schema, if there is one.
    """

    schema: JSONValue | None


class Mapped(NamedTuple):
    """
    What a function makes of values.
    """

    of: Shape
    function: Callable[[Any], Any]


Shape: TypeAlias = Sampled | Texts | Binary | Integers | Floats | Lists | Mappings | JSONValues | Mapped


def sizes(demands: Demands, noun: str, more: int | None = None) -> tuple[int, int | None]:
    """
    Return the least and the greatest size that is demanded.

    Args:
        demands: What is demanded, in the keywords of JSON Schema.
        noun: What the keywords end with: ``"Items"``.
        more: How much above the least to go where there is no greatest.
    """
    least = demands.get(f"min{noun}", 0)
    most = demands.get(f"max{noun}")
    return least, least + more if most is None and more is not None else most
