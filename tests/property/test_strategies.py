"""
The strategies for users' tests: what they generate is accepted or refused as promised, and varies.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import re
import subprocess
import sys
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

import dflag
from dflag import validators
from dflag._flags import pipeline_of
from dflag._kinds import json_kind
from dflag.testing import bad_texts, texts, values
from dflag.testing._json_values import json_values

if TYPE_CHECKING:
    from dflag import Flag


class Colour(enum.Enum):
    """
    A type for an enum flag.
    """

    RED = 1
    GREEN = "g"
    Blue = "b"


@dataclasses.dataclass
class Policy:
    """
    A type for a JSON flag.
    """

    mode: str
    limits: dict[str, int]


TREE = {
    "type": "object",
    "properties": {
        "mode": {"enum": ["allow", "deny"]},
        "weight": {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
        "count": {"type": "integer", "multipleOf": 5, "minimum": 3},
        "host": {"type": "string", "pattern": "^[a-z]{1,5}$"},
        "when": {"type": "string", "format": "date"},
        "tags": {"type": "array", "items": {"type": "string", "minLength": 2}, "uniqueItems": True, "minItems": 1},
        "either": {"anyOf": [{"type": "null"}, {"const": 3}]},
        "pair": {"prefixItems": [{"type": "boolean"}, {"type": "null"}], "maxItems": 2, "minItems": 2},
        "both": {"allOf": [{"required": ["a"]}, {"required": ["b"]}]},
        "children": {"type": "array", "items": {"$ref": "#"}, "maxItems": 2},
    },
    "required": ["mode"],
    "additionalProperties": False,
}


def _flags() -> list[Flag[Any]]:
    flags = dflag.FlagRegistry()
    check = validators
    return [
        flags.dyn_string("string", ""),
        flags.dyn_string("short", "ab", validator=[check.min_length(2), check.max_length(300)]),
        flags.dyn_string("matching", "a1", validator=check.matches(re.compile("^[a-f]+[0-9]$", re.IGNORECASE))),
        flags.dyn_string("chosen", "a", choices=["a", "b"]),
        flags.dyn_string("one_of", "a", validator=check.one_of("a", "b")),
        flags.dyn_string("even", "", validator=_even),
        flags.dyn_string("unstripped", " a", strip=False, validator=check.not_empty()),
        flags.dyn_int("int", 0),
        flags.dyn_int("few", 5, min=3, max=7),
        flags.dyn_int("checked", 5, validator=check.in_range(min=3.5, max=7.5)),
        flags.dyn_int("clamped", 5, mutator=lambda value: min(value, 9), max=9),
        flags.dyn_float("float", 0.0),
        flags.dyn_float("ratio", 0.5, min=0, max=1),
        flags.dyn_bool("bool", False),
        flags.dyn_duration("duration", timedelta()),
        flags.dyn_duration("timeout", timedelta(seconds=1), min=timedelta(milliseconds=1), max=timedelta(minutes=1)),
        flags.dyn_enum("enum", Colour.RED),
        flags.dyn_enum("warm", Colour.RED, choices=[Colour.RED, Colour.GREEN]),
        flags.dyn_string_list("list", ()),
        flags.dyn_string_list("some", ["a"], choices=["a", "b"], validator=check.not_empty()),
        flags.dyn_string_set("set", ()),
        flags.dyn_bytes("bytes", b""),
        flags.dyn_bytes("key", b"x" * 32, validator=[check.min_length(32), check.max_length(32)]),
        flags.dyn_json("json", None),
        flags.dyn_json("yaml", None, yaml=True),
        flags.dyn_json("tree", {"mode": "allow"}, schema=TREE),
        flags.dyn_json("typed", Policy("allow", {}), type=Policy),
        flags.dyn_map("map", {}, keys="*.endpoint", of="string"),
        flags.dyn_map("counts", {}, keys="count-*", of="int"),
        flags.dyn_string("token", "a", secret=True, choices=["a", "b"]),
    ]


def _even(text: str) -> None:
    if len(text) % 2:
        raise ValueError("odd")


EVERY = pytest.mark.parametrize("flag", _flags(), ids=lambda flag: flag.name)
ONCE = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])


@EVERY
def test_values_are_accepted(flag: Flag[Any]) -> None:
    """
    Every value that `values` generates can be set.
    """

    @ONCE
    @given(values(flag))
    def check(value: object) -> None:
        flag.set(value)

    check()
    flag.reset()


@EVERY
def test_texts_are_accepted(flag: Flag[Any]) -> None:
    """
    Every text that `texts` generates can be set.
    """

    @ONCE
    @given(texts(flag))
    def check(text: str) -> None:
        flag.set_text(text)

    check()
    flag.reset()


@EVERY
def test_bad_texts_are_refused(flag: Flag[Any]) -> None:
    """
    No text that `bad_texts` generates can be set; it raises for a flag that accepts every text.
    """
    if flag.name == "string":
        with pytest.raises(ValueError, match="'string' accepts every text"):
            bad_texts(flag)
        return

    @ONCE
    @given(bad_texts(flag))
    def check(text: str) -> None:
        with pytest.raises(dflag.FlagValueError):
            flag.set_text(text)

    check()


@EVERY
def test_values_differ(flag: Flag[Any]) -> None:
    """
    `values` generates values other than the default.
    """
    text = pipeline_of(flag).kind.format
    _find(values(flag), lambda value: text(value) != text(flag.default))


SPELLINGS = {
    "int": ["0x", "0b", "_", "+", "\n"],
    "bool": ["YES", "off", "1"],
    "timeout": ["us", "s"],
    "enum": ["RED", "red", "g", "1"],
    "list": ["[", ", "],
    "json": ["\n", '"'],
    "float": ["e", "inf"],
}


@pytest.mark.parametrize(("name", "part"), [(name, part) for name, parts in SPELLINGS.items() for part in parts])
def test_texts_are_spelt_in_many_ways(name: str, part: str) -> None:
    """
    `texts` generates the spellings that people use, not only the one that the flag prints.
    """
    (flag,) = (each for each in _flags() if each.name == name)
    _find(texts(flag), lambda text: part in text)


TREES: dict[str, Any] = {
    "mode": lambda value: value == "deny",
    "weight": lambda value: value > 0.5,
    "count": lambda value: value > 10,
    "host": lambda value: len(value) > 1,
    "when": lambda value: True,
    "tags": lambda value: len(value) > 1,
    "either": lambda value: value == 3,
    "pair": lambda value: value[0],
    "both": lambda value: {"a", "b"} <= value.keys(),
    "children": lambda value: len(value) > 1,
}


@pytest.mark.parametrize("name", TREES)
def test_every_keyword_of_a_schema_is_met(name: str) -> None:
    """
    `values` of a schema generates each property, with values other than the simplest one.
    """
    (flag,) = (each for each in _flags() if each.name == "tree")
    _find(values(flag), lambda value: name in value and TREES[name](value[name]))


@pytest.mark.parametrize("schema", [{"type": "number", "multipleOf": 0.01}, {"type": "integer", "multipleOf": 2.5}])
def test_multiples_are_those_of_the_schema(schema: Any) -> None:
    """
    Each number generated for a schema with ``multipleOf`` is an exact decimal multiple.
    """
    kind = json_kind(schema)

    @ONCE
    @given(json_values(schema))
    def check(number: float) -> None:
        assert kind.convert(number) == number

    check()


SELF = {"$ref": "#"}
NO_VALUE = {"type": "array", "items": False, "minItems": 1}
EMBEDDED = {
    "$id": "https://shop.example/item",
    "$defs": {"price": {"type": "integer"}},
    "type": "object",
    "properties": {"price": {"$ref": "#/$defs/price"}},
}

ODD: dict[str, tuple[Any, Any, bool]] = {
    "an optional self": ({"type": "object", "properties": {"next": SELF}}, {}, True),
    "an alternative to a self": (
        {"type": ["object", "null"], "properties": {"a": SELF}, "required": ["a"]},
        None,
        True,
    ),
    "a self without end": ({"properties": {"next": SELF}, "required": ["next"]}, 5, False),
    "lists of selves": ({"type": "array", "items": SELF}, [], True),
    "no items": ({"type": "array", "items": False}, [], False),
    "no more items": ({"prefixItems": [{"type": "integer"}], "items": False, "minItems": 1}, [1], True),
    "no item by reference": ({"type": "array", "items": {"$ref": "#/$defs/a"}, "$defs": {"a": NO_VALUE}}, [], False),
    "no property": ({"type": "object", "additionalProperties": NO_VALUE}, {}, False),
    "no property by reference": (
        {"type": "object", "additionalProperties": {"$ref": "#/$defs/a"}, "$defs": {"a": NO_VALUE}},
        {},
        False,
    ),
    "an impossible property": ({"type": "object", "properties": {"a": {"enum": []}, "b": False}}, {}, True),
    "counts as floats": ({"type": "array", "items": {"type": "null"}, "minItems": 1.0, "maxItems": 2.0}, [None], True),
    "lengths as floats": ({"type": "string", "minLength": 2.0, "maxLength": 1e300}, "ab", True),
    "a length without end": ({"type": "string", "maxLength": 10**400}, "", True),
    "crossed lengths": ({"type": ["string", "null"], "minLength": 3, "maxLength": 2}, None, False),
    "crossed limits": ({"type": ["number", "null"], "minimum": 5, "maximum": 3}, None, False),
    "limits beyond floats": ({"type": "number", "minimum": -(10**400), "maximum": 10**400}, 0, True),
    "ints beyond floats": ({"type": "number", "minimum": 10**400}, 10**400, True),
    "multiples beyond floats": ({"type": "number", "multipleOf": 10**400, "minimum": 0.5}, 10**400, True),
    "an escaped reference": ({"$ref": "#/$defs/a%20b", "$defs": {"a b": {"type": "integer"}}}, 1, True),
    "a reference in a schema with an address": ({"$ref": "#/$defs/item", "$defs": {"item": EMBEDDED}}, {}, True),
}
"""Schemas, a value for each, and whether other values exist."""


@pytest.mark.parametrize("name", ODD)
def test_odd_schemas_have_values(name: str) -> None:
    """
    The strategies work for a schema that refers to itself, allows almost nothing or has extreme numbers.
    """
    schema, default, is_varied = ODD[name]
    flag = dflag.FlagRegistry().dyn_json("odd", default, schema=schema)

    @ONCE
    @given(values(flag), texts(flag), bad_texts(flag))
    def check(value: Any, text: str, bad: str) -> None:
        flag.set(value)
        flag.set_text(text)
        with pytest.raises(dflag.FlagValueError):
            flag.set_text(bad)

    check()
    if is_varied:
        _find(values(flag), lambda value: value != default)


@dataclasses.dataclass
class Node:
    """
    An element of a linked list.
    """

    name: str = ""
    next: Node | None = None


def test_a_type_that_holds_itself_has_values() -> None:
    """
    `values` generates nested values for a dataclass with an optional field of its own type.
    """
    flag = dflag.FlagRegistry().dyn_json("node", Node(), type=Node)
    _find(values(flag), lambda value: value.next is not None and value.next.next is not None)


@pytest.mark.parametrize("make", [values, texts, bad_texts])
def test_a_schema_beyond_the_strategies_is_named(make: Any) -> None:
    """
    If Hypothesis cannot generate values for a schema, the error names the flag and the reason.
    """
    schema = {"type": ["array", "null"], "items": {"enum": [1, 2]}, "uniqueItems": True, "minItems": 3}
    flag = dflag.FlagRegistry().dyn_json("odd", None, schema=schema)

    @ONCE
    @given(make(flag))
    def check(_: object) -> None:
        pass

    with pytest.raises(ValueError, match=r"^flag 'odd': cannot make random values: .* 2 distinct elements"):
        check()


LIMITS: list[tuple[Any, Any]] = [
    (Fraction(1, 3), Fraction(2, 3)),
    (Decimal("0.1"), 1),
    (0, 10**400),
    (-(10**400), Decimal("0.7")),
]


@pytest.mark.parametrize(("low", "high"), LIMITS, ids=["fractions", "decimal", "beyond floats", "far below floats"])
def test_limits_need_not_be_floats(low: Any, high: Any) -> None:
    """
    A float flag has values between limits of other types, also if no float equals a limit.
    """
    flag = dflag.FlagRegistry().dyn_float("ratio", 0.5, validator=validators.in_range(min=low, max=high))

    @ONCE
    @given(values(flag))
    def check(value: float) -> None:
        assert low <= value <= high

    check()
    _find(values(flag), lambda value: value not in (0.5, low, high))


BAD = {
    "few": ["2", "8", "x", ""],
    "ratio": ["nan", "-1", "2", "+Inf"],
    "short": ["x", "x" * 301],
    "timeout": ["90", "0s"],
    "tree": ["{}", "["],
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in BAD.items() for text in texts])
def test_bad_texts_come_near(name: str, text: str) -> None:
    """
    `bad_texts` generates values just outside of the limits and common typing errors.
    """
    (flag,) = (each for each in _flags() if each.name == name)
    _find(bad_texts(flag), lambda bad: bad == text)


def test_a_flag_that_accepts_next_to_nothing_gives_its_default() -> None:
    """
    For a flag whose validator accepts only the default, `values` and `texts` generate the default.
    """

    def check(value: str) -> None:
        if value != "a password that nobody guesses":
            raise ValueError("wrong")

    flag = dflag.dyn_string("a password that nobody guesses", validator=check)

    @ONCE
    @given(values(flag), texts(flag))
    def test(value: str, text: str) -> None:
        assert value == text == flag.default

    test()


def _in_thousands(value: int, *, maximum: Any) -> None:
    if value > int(maximum.rstrip("k")) * 1_000:
        raise ValueError("too much")


class _Named:
    """
    A validator with an attribute that dflag must ignore.
    """

    keywords = ("a", "b")

    def __call__(self, value: int) -> None:
        """
        Accept the value.
        """


@pytest.mark.parametrize("validator", [functools.partial(_in_thousands, maximum="12k"), _Named()])
def test_keywords_of_a_validator_of_ones_own_are_not_followed(validator: Any) -> None:
    """
    The keyword arguments of a user's validator, or its attribute `keywords`, do not limit the values.
    """
    flag = dflag.FlagRegistry().dyn_int("n", 1, validator=validator)

    @ONCE
    @given(values(flag), texts(flag))
    def check(value: int, text: str) -> None:
        flag.set(value)
        flag.set_text(text)

    check()


def test_hypothesis_is_imported_at_need() -> None:
    """
    `dflag.testing` can be imported without Hypothesis.
    """
    code = "import sys; sys.modules['hypothesis'] = None; from dflag.testing import *"
    subprocess.run([sys.executable, "-c", code], check=True)


def _find(strategy: st.SearchStrategy[Any], condition: Any) -> None:
    quick = settings(max_examples=3_000, database=None, phases=[Phase.generate], derandomize=True)
    find(strategy, condition, settings=quick)
