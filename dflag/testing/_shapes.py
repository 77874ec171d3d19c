"""
Random values for the shapes that kinds publish. This module imports Hypothesis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hypothesis import strategies as st

from dflag._kinds import shapes
from dflag.testing._json_values import any_json, json_values, to_float

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import SearchStrategy

_NAME_CHARACTERS: Final = "-._abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def of_shape(shape: shapes.Shape) -> SearchStrategy[Any]:
    """
    Return a strategy for the values of a shape.
    """
    return _MAKERS[type(shape)](shape)


def _texts(shape: shapes.Texts) -> SearchStrategy[str]:
    if shape.pattern is not None:
        return st.from_regex(shape.pattern)
    return st.text(min_size=shape.least, max_size=shape.most)


def _floats(shape: shapes.Floats) -> SearchStrategy[float]:
    low, high = (None if limit is None else to_float(limit) for limit in shape)
    return st.floats(low, high, allow_nan=False)


def _lists(shape: shapes.Lists) -> SearchStrategy[list[Any]]:
    return st.lists(of_shape(shape.of), min_size=shape.least, max_size=shape.most, unique=shape.unique)


def _mappings(shape: shapes.Mappings) -> SearchStrategy[dict[str, Any]]:
    names = st.from_regex(shape.keys, fullmatch=True, alphabet=_NAME_CHARACTERS)
    return st.dictionaries(names, of_shape(shape.of), min_size=shape.least, max_size=shape.most)


_MAKERS: Final[dict[type, Callable[[Any], SearchStrategy[Any]]]] = {
    shapes.Binary: lambda shape: st.binary(min_size=shape.least, max_size=shape.most),
    shapes.Floats: _floats,
    shapes.Integers: lambda shape: st.integers(shape.low, shape.high),
    shapes.Lists: _lists,
    shapes.JSONValues: lambda shape: any_json() if shape.schema is None else json_values(shape.schema),
    shapes.Mapped: lambda shape: of_shape(shape.of).map(shape.function),
    shapes.Mappings: _mappings,
    shapes.Sampled: lambda shape: st.sampled_from(shape.values) if shape.values else st.nothing(),
    shapes.Texts: _texts,
}
