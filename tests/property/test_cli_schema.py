"""
The schema from ``dflag schema`` accepts and refuses what ``dflag check`` does.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

import dflag
from dflag.cli import schema
from dflag.cli._checking import check_objects
from dflag.cli._findings import validate
from dflag.cli._inputs import read_text
from dflag.cli._reports import is_ok


class Colour(enum.Enum):
    """Names and values, one of which looks like a number."""

    RED = "rouge"
    GREEN = 2
    Blue = "AZUR"
    SKY = "strasse"


@dataclasses.dataclass(frozen=True)
class Limits:
    """A type for a JSON flag."""

    mode: str = "allow"
    x: int = 1


FLAGS = dflag.FlagRegistry("all kinds")
FLAGS.dyn_string("string", "")
FLAGS.dyn_string("raw", "", strip=False)
FLAGS.dyn_string("chosen", "a.b", choices=["a.b", "c|d", "5", "true"])
FLAGS.dyn_int("int", 0)
FLAGS.dyn_int("few", 1, choices=[1, 2, 3])
FLAGS.dyn_int("ranged", 5, min=1, max=10)
FLAGS.dyn_float("float", 0.5)
FLAGS.dyn_float("part", 0.5, min=0, max=1)
FLAGS.dyn_bool("bool", False)
FLAGS.dyn_duration("duration", datetime.timedelta(0))
FLAGS.dyn_string_list("list", [])
FLAGS.dyn_string_set("set", [], choices=["a", "b"])
FLAGS.dyn_enum("enum", Colour.RED)
FLAGS.dyn_bytes("bytes", b"")
FLAGS.dyn_json("json", None)
FLAGS.dyn_json(
    "policy",
    {"mode": "allow"},
    schema={
        "type": "object",
        "properties": {"mode": {"$ref": "#/$defs/mode"}},
        "$defs": {"mode": {"enum": ["allow", "deny"]}},
    },
)
FLAGS.dyn_json("yaml", None, yaml=True)
FLAGS.dyn_json("typed", Limits(), type=Limits)
FLAGS.int("static", 1, max=9)
FLAGS.dyn_map("ports", {}, keys="[!x]*.port", of="int")
FLAGS.dyn_string("own.port", "")
FLAGS.dyn_string("mutated", "", input_mutator=str.upper, validator=lambda value: None)
FLAGS.dyn_string("secret", "hunter2", "Secret", secret=True)

DOCUMENT = schema.of_document(FLAGS)
MANIFEST = schema.of_manifest(FLAGS)

TEXTS = st.one_of(
    st.text(max_size=5),
    st.from_regex(r"\s?[+-]?(0[xXbBoO]?)?[0-9a-fA-F_]{0,6}\s?", fullmatch=True),
    st.from_regex(r"[+-]?[0-9]{0,3}\.?[0-9]{0,3}([eE][+-]?[0-9])?", fullmatch=True),
    st.from_regex(r"[+-]?([0-9.]{1,3} ?(ms|s|m|h|d|w)){1,2}", fullmatch=True),
    st.sampled_from(["YES", "oN", "f", "1", "inf", "-INF", "nan", "rouge", "Red", "azur", "2", "a.b", "axb", "c|d"]),
    st.sampled_from(['["a"]', '{"mode": "deny"}', "[1]", "a,b", "+0.0", ".0", "\ufeff5", "\u20285\x85", "0"]),
)
NATIVES = st.recursive(
    st.none() | st.booleans() | st.integers(-12, 12) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["mode", "a.port", "x"]), inner),
    max_leaves=5,
)
NAMES = st.sampled_from([*(flag.name for flag in FLAGS), "a.port", "x.port"])

LOOSE_TEXTS = {"ranged", "part", "few", "json", "policy", "yaml", "typed", "static", "ports", "list", "set"}
"""The flags for whose texts a schema cannot express every restriction."""

SIZES = ("of 64 bits", "within 292 years", "of at least a microsecond", "of at most 1.8e308")


def _may_fold(name: str, value: object) -> bool:
    """Return whether a text has letters with more than two forms by case, which no pattern can list."""
    return name == "enum" and isinstance(value, str) and not value.isascii()


def _errors(document: dict[str, Any]) -> list[str]:
    """Return the errors that the strictest check finds in a document."""
    objects = read_text(json.dumps(document).encode(), "in.json").objects
    return [finding.message for finding in validate(FLAGS, objects, strict=True).findings if finding.level == "error"]


def _passes(document: dict[str, Any]) -> bool:
    """Return whether the strictest check finds no error; skip numbers whose size no pattern can express."""
    errors = _errors(document)
    assume(not any(size in message for message in errors for size in SIZES))
    return not errors


@given(NAMES, NATIVES)
@example("int", "-0x_f")
@example("duration", "0.0")
@example("set", ["a", "c"])
@example("policy", {"mode": "no"})
@example("x.port", 1)
@example("own.port", "text")
@example("typed", {"x": "5"})
def test_schema_of_a_document_agrees_with_check(name: str, value: Any) -> None:
    """
    The schema of a document accepts what the check accepts, and refuses the rest, except texts for `LOOSE_TEXTS`.

    For a mapping for a flag with a type, it may be stricter: pydantic also accepts what it can convert to the type.
    """
    # To JSON Schema 1.0 is an integer; a flag reads the number as it is written.
    assume(not _holds_whole_float(value))
    checked = _passes({name: value})
    allowed = Draft202012Validator(DOCUMENT).is_valid({name: value})
    if name == "typed" and isinstance(value, dict):
        assert checked or not allowed
        return
    assert allowed or not checked
    if (name == "set" and value is None) or _may_fold(name, value):
        return  # a key without a value is null as well as an empty set
    if name not in LOOSE_TEXTS or not isinstance(value, (str, dict, list)):
        assert checked == allowed


@given(NAMES, st.none() | TEXTS)
@example("enum", "\u017fky")
@example("enum", "STRA\u00dfE")
def test_schema_of_a_manifest_agrees_with_check(name: str, value: str | None) -> None:
    """The schema of a manifest accepts what the check accepts, and refuses the rest, except for `LOOSE_TEXTS`."""
    document = {"apiVersion": "v1", "kind": "ConfigMap", "data": {name: value}}
    checked = _passes(document)
    allowed = Draft202012Validator(MANIFEST).is_valid(document)
    assert allowed or not checked
    if name not in LOOSE_TEXTS and not _may_fold(name, value):
        assert checked == allowed


@pytest.mark.parametrize("field", ["metadata", "immutable", "data", "binaryData"])
def test_a_field_of_a_manifest_may_have_no_value(field: str) -> None:
    """Check and schema accept null for a field of a manifest, as the API server does."""
    document = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"string": None}, "binaryData": {"bytes": None}}
    for each in (document, {**document, field: None}):
        assert _errors(each) == []
        Draft202012Validator(MANIFEST).validate(each)


@pytest.mark.parametrize("key", ["_rules", "_rules.yaml"])
def test_a_document_has_its_rules_under_either_key(key: str) -> None:
    """Under either key, schema and check accept a valid rule and refuse one with a bad value."""
    for value, fits in ((1, True), ("many", False)):
        rules = {key: [{"set": {"int": value}}]}
        (given,) = read_text(json.dumps(rules).encode(), "in.json").objects
        assert is_ok(check_objects(FLAGS, [given], strict=True)) is fits
        assert Draft202012Validator(DOCUMENT).is_valid(rules) is fits


@pytest.mark.parametrize("found", [DOCUMENT, MANIFEST], ids=["document", "manifest"])
def test_schema_is_one(found: dict[str, Any]) -> None:
    """The schema is a valid JSON Schema of 2020-12, survives JSON, and does not contain the default of a secret."""
    Draft202012Validator.check_schema(found)
    assert "hunter2" not in json.dumps(found)
    assert json.loads(json.dumps(found)) == found


def test_schema_describes_each_flag() -> None:
    """Each flag is a property with a valid default; a secret has a description and no default."""
    assert {flag.name for flag in FLAGS} == set(DOCUMENT["properties"])
    defaults = {name: found["default"] for name, found in DOCUMENT["properties"].items() if "default" in found}
    assert {flag.name for flag in FLAGS} - set(defaults) == {"secret"}
    Draft202012Validator(DOCUMENT).validate(defaults)
    assert _errors(defaults) == []
    assert DOCUMENT["properties"]["secret"]["description"] == "Secret"


def _holds_whole_float(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_whole_float, value.values()))
    if isinstance(value, list):
        return any(map(_holds_whole_float, value))
    return isinstance(value, float) and value.is_integer()
