"""
Random JSON values for a JSON Schema.

They follow the keywords that describe allowed values, not those that exclude values, such as ``not``. So the caller
checks the values against the schema itself.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from hypothesis import strategies as st

from dflag._formats.json_values import dumps, ratio_of, thaw

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import SearchStrategy

    Schema = Any

_IMPLIED: Final = {
    "object": ("properties", "required", "additionalProperties", "minProperties", "maxProperties"),
    "array": ("items", "prefixItems", "minItems", "maxItems", "uniqueItems"),
    "string": ("pattern", "format", "minLength", "maxLength"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
"""The keywords that imply each type, for schemas without ``type``."""

_FORMATS: Final[dict[str, Callable[[], SearchStrategy[str]]]] = {
    "date": lambda: st.dates().map(str),
    "date-time": lambda: st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat()),
    "email": st.emails,
    "hostname": lambda: st.from_regex(r"[a-z]([a-z0-9]{0,9}[a-z0-9])?(\.[a-z]{2,9})?", fullmatch=True),
    "ipv4": lambda: st.ip_addresses(v=4).map(str),
    "ipv6": lambda: st.ip_addresses(v=6).map(str),
    "uri": lambda: st.from_regex(r"https?://[a-z]{1,9}\.example(/[a-z0-9]{0,9}){0,3}", fullmatch=True),
    "uuid": lambda: st.uuids().map(str),
}

_COUNTS: Final = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
"""Keywords whose value is a count of items, characters or properties."""

_GREATEST: Final = sys.float_info.max
"""The greatest float that JSON can hold, as JSON has no infinity."""

_MORE_ITEMS: Final = 4
"""How many items or properties to add to the required ones."""


def any_json() -> SearchStrategy[Any]:
    """
    Return a strategy for JSON values of every type.
    """
    scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _floats(-_GREATEST, _GREATEST) | st.text()
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=_MORE_ITEMS) | st.dictionaries(st.text(), inner, max_size=_MORE_ITEMS),
        max_leaves=10,
    )


def json_values(schema: Schema) -> SearchStrategy[Any]:
    """
    Return a strategy for the values that a schema allows, as far as its keywords describe them.
    """
    return _Maker(thaw(schema)).make(thaw(schema))


class _Maker:
    """
    Makes strategies for the parts of one schema, which can refer to each other.
    """

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._referred: dict[str, SearchStrategy[Any]] = {}
        self._makers: dict[str, Callable[[Any, dict[str, Any]], SearchStrategy[Any]]] = {
            "const": lambda value, _: st.just(value),
            "enum": lambda values, _: st.sampled_from(values) if values else st.nothing(),
            "$ref": lambda reference, _: self._refer(reference),
            "anyOf": self._choose,
            "oneOf": self._choose,
            "allOf": self._combine,
        }

    def make(self, schema: Schema) -> SearchStrategy[Any]:
        if not isinstance(schema, dict):
            return st.nothing() if schema is False else any_json()
        for keyword, maker in self._makers.items():
            if keyword in schema:
                return maker(schema[keyword], {name: value for name, value in schema.items() if name != keyword})
        return self._typed(schema)

    def _choose(self, options: list[Schema], rest: dict[str, Any]) -> SearchStrategy[Any]:
        return st.one_of([self.make(_both(rest, option)) for option in options])

    def _combine(self, parts: list[Schema], rest: dict[str, Any]) -> SearchStrategy[Any]:
        whole: Schema = rest
        for part in parts:
            whole = _both(whole, part)
        return self.make(whole)

    def _refer(self, reference: str) -> SearchStrategy[Any]:
        if reference not in self._referred:
            self._referred[reference] = st.deferred(lambda: self.make(_find(self._root, reference)))
        return self._referred[reference]

    def _typed(self, schema: dict[str, Any]) -> SearchStrategy[Any]:
        # JSON Schema allows 2.0 as a count, and counts with any number of digits.
        schema = {**schema, **{name: min(int(schema[name]), sys.maxsize) for name in _COUNTS if name in schema}}
        types = schema.get("type") or [name for name, keywords in _IMPLIED.items() if schema.keys() & set(keywords)]
        if not types:
            return any_json()
        makers: dict[str, Callable[[dict[str, Any]], SearchStrategy[Any]]] = {
            "array": self._arrays,
            "boolean": lambda _: st.booleans(),
            "integer": _integers,
            "null": lambda _: st.none(),
            "number": lambda schema: _integers(schema) | _numbers(schema),
            "object": self._objects,
            "string": _strings,
        }
        return st.one_of([makers[name](schema) for name in ([types] if isinstance(types, str) else types)])

    def _arrays(self, schema: dict[str, Any]) -> SearchStrategy[Any]:
        first = [self.make(each) for each in schema.get("prefixItems", ())]
        least = max(schema.get("minItems", 0) - len(first), 0)
        most = max(min(schema.get("maxItems", len(first) + least + _MORE_ITEMS) - len(first), least + _MORE_ITEMS), 0)
        unique = dumps if schema.get("uniqueItems") else None
        more = _lists(self.make(schema.get("items", True)), least, most, unique)
        return st.tuples(st.tuples(*first), more).map(lambda parts: [*parts[0], *parts[1]])

    def _objects(self, schema: dict[str, Any]) -> SearchStrategy[Any]:
        properties = {name: self.make(each) for name, each in schema.get("properties", {}).items()}
        others = schema.get("additionalProperties", True)
        required = {name: properties.get(name, self.make(others)) for name in schema.get("required", ())}
        optional = {name: each for name, each in properties.items() if name not in required}
        named = st.fixed_dictionaries(required, optional=optional)
        least = max(schema.get("minProperties", 0) - len(required), 0)
        if others is False or (not least and "maxProperties" in schema):
            return named
        more = _lists(st.tuples(st.text(), self.make(others)), least, least + _MORE_ITEMS, _name_of)
        return st.tuples(more, named).map(
            lambda parts: {**{k: v for k, v in parts[0] if k not in properties}, **parts[1]}
        )


def _name_of(item: tuple[str, Any]) -> str:
    # A function, because for `itemgetter(0)` Hypothesis looks at the strategy of the first part alone.
    return item[0]


def _lists(
    items: SearchStrategy[Any], least: int, most: int, unique_by: Callable[[Any], Any] | None
) -> SearchStrategy[list[Any]]:
    """
    Return a strategy for lists of *least* to *most* items; for the empty list alone if no item is possible.
    """
    shortest: SearchStrategy[list[Any]] = st.nothing() if least else st.just([])
    if least > most or not most:
        return shortest
    # Whether an item is possible is known only after all references are resolved. `one_of` checks that then, and drops
    # the list strategy if it is empty. Without `one_of`, an empty list strategy raises.
    return st.one_of(shortest, st.lists(items, min_size=max(least, 1), max_size=most, unique_by=unique_by))


def _strings(schema: dict[str, Any]) -> SearchStrategy[str]:
    if "pattern" in schema:
        return st.from_regex(schema["pattern"])
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]()
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    return st.nothing() if most is not None and least > most else st.text(min_size=least, max_size=most)


def _integers(schema: dict[str, Any]) -> SearchStrategy[int]:
    low, high = _bounds(schema)
    # An integer is a multiple of p/q, in lowest terms, if and only if it is a multiple of p.
    step, _ = ratio_of(schema.get("multipleOf", 1))
    least = None if low is None else -(-math.ceil(low) // step)
    most = None if high is None else math.floor(high) // step
    if least is not None and most is not None and least > most:
        return st.nothing()
    return st.integers(least, most).map(lambda number: number * step)


def _numbers(schema: dict[str, Any]) -> SearchStrategy[float]:
    if "multipleOf" in schema:
        top, bottom = ratio_of(schema["multipleOf"])
        farthest = min(2**20, int(_GREATEST) * bottom // top)  # larger multiples may exceed the largest float
        return st.integers(-farthest, farthest).map(lambda count: count * top / bottom)
    low, high = _bounds(schema)
    least = -_GREATEST if low is None else max(to_float(low), -_GREATEST)
    most = _GREATEST if high is None else min(to_float(high), _GREATEST)
    return _floats(least, most) if least <= most else st.nothing()


def to_float(number: Any) -> float:
    """
    Return the float nearest to a number of any type; infinity for a number that is too large for a float.
    """
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _floats(low: float, high: float) -> SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False, allow_infinity=False)


def _bounds(schema: dict[str, Any]) -> tuple[Any, Any]:
    lows = [schema[name] for name in ("minimum", "exclusiveMinimum") if name in schema]
    highs = [schema[name] for name in ("maximum", "exclusiveMaximum") if name in schema]
    return max(lows, default=None), min(highs, default=None)


def _both(one: Schema, other: Schema) -> Schema:
    """
    Combine two schemas as far as that is simple. A keyword of *other* replaces the same keyword of *one*, except that
    properties, definitions and required names are joined.
    """
    if not isinstance(one, dict) or not isinstance(other, dict):
        return one if other is True else other
    return {
        **one,
        **other,
        **{name: {**one[name], **other[name]} for name in ("properties", "$defs") if name in one and name in other},
        **({"required": [*one["required"], *other["required"]]} if "required" in one and "required" in other else {}),
    }


def _find(root: Schema, reference: str) -> Schema:
    """
    Return the schema that a reference points to; True, which allows any value, if the reference is not followed.

    Anchors, URLs, and pointers into an embedded schema with its own ``$id`` are not followed.
    """
    if reference != "#" and not reference.startswith("#/"):
        return True
    try:
        return _at(root, unquote(reference).split("/")[1:])
    except (LookupError, TypeError, ValueError):
        return True


def _at(found: Any, parts: list[str]) -> Any:
    for part in parts:
        key = part.replace("~1", "/").replace("~0", "~")
        found = found[int(key) if isinstance(found, list) else key]
    return found
