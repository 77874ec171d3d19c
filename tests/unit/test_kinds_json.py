from __future__ import annotations

import datetime
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from typing_extensions import TypedDict

from dflag._formats import yaml_events
from dflag._kinds import Problem, json_kind

if TYPE_CHECKING:
    from collections.abc import Callable

DRAFT_2020 = "https://json-schema.org/draft/2020-12/schema"
DRAFT_2019 = "https://json-schema.org/draft/2019-09/schema"
DRAFT_7, DRAFT_4, DRAFT_3 = (f"http://json-schema.org/draft-0{number}/schema#" for number in (7, 4, 3))

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["mode"],
    "properties": {
        "limits": {"type": "array", "items": {"type": "integer"}},
        "since": {"type": "string", "format": "date-time"},
    },
}


@dataclass(frozen=True)
class Policy:
    """
    A dataclass as the type of a flag.
    """

    mode: str
    since: datetime.date | None = None


class Shape(TypedDict):
    """
    A typed dict as the type of a flag.
    """

    sides: list[int]


def test_a_schema_failure_names_the_place_and_the_demand() -> None:
    """
    The error of a schema has the path to the bad part and what was expected there, and does not quote the value.
    """
    with pytest.raises(Problem) as caught:
        json_kind(SCHEMA).parse('{"mode": "a", "limits": [1, 2, "hunter2"]}')
    assert caught.value.json_path == "$.limits[2]"
    assert caught.value.expected == "an integer"


@pytest.mark.parametrize("text", ["{}", "[]", '{"mode": 1, "since": "yesterday"}'])
def test_values_outside_of_the_schema_are_refused(text: str) -> None:
    """
    A value without a required property, or with a part of a wrong type or format, is refused.
    """
    with pytest.raises(Problem):
        json_kind(SCHEMA).parse(text)


@pytest.mark.parametrize(
    ("name", "bad", "good"),
    [
        ("date", "2024-13-01", "2024-12-01"),
        ("time", "25:00:00Z", "23:00:00Z"),
        ("date-time", "2024-01-01", "2024-01-01T00:00:00Z"),
        ("email", "me", "me@example.com"),
        ("ipv4", "1.2.3", "1.2.3.4"),
        ("ipv6", "::g", "::1"),
        ("uuid", "1", "123e4567-e89b-12d3-a456-426614174000"),
        ("regex", "[", "[a]"),
        ("uri", "no scheme", "https://example.com/a"),
    ],
)
def test_formats_are_asserted(name: str, bad: str, good: str) -> None:
    """
    A text that is not of the format that the schema names is refused.
    """
    kind = json_kind({"format": name})
    assert kind.convert(good) == good
    with pytest.raises(Problem):
        kind.convert(bad)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "no such type"},
        {"$ref": "https://example.com/never-fetched"},
        {"properties": {"a": {"$ref": "#/$defs/missing"}}},
        {"$schema": "https://example.com/unknown"},
        {"pattern": "["},
        [],
        5,
    ],
)
def test_a_bad_schema_is_refused_at_once(schema: Any) -> None:
    """
    A schema that can never work raises ValueError before any value is seen.
    """
    with pytest.raises(ValueError, match="bad schema"):
        json_kind(schema)


@pytest.mark.parametrize(
    ("draft", "schema"),
    [
        (DRAFT_2020, {"properties": {"a": {"$dynamicRef": "#nope"}}}),
        (DRAFT_2020, {"properties": {"a": {"$dynamicRef": "http://localhost:9/schema"}}}),
        (DRAFT_2020, {"properties": {"a": {"$dynamicRef": "file:///etc/hostname"}}}),
        (DRAFT_2020, {"$ref": "#/x", "x": {"$dynamicRef": "#nope"}}),
        (DRAFT_2020, {"$dynamicRef": "#/x", "x": {"$ref": "#nope"}}),
        (DRAFT_2020, {"$ref": "#/default", "default": 5}),
        (DRAFT_2020, {"$ref": "#/x", "x": {"type": "no such type"}}),
        (DRAFT_2019, {"properties": {"a": {"$recursiveRef": "#nope"}}}),
        (DRAFT_7, {"properties": {"a": {"$schema": DRAFT_2020, "$dynamicRef": "#nope"}}}),
        (DRAFT_7, {"dependencies": {"a": ["b"], "c": {"$ref": "#nope"}}}),
        (DRAFT_4, {"properties": {"a": {"$ref": 5}}}),
        (DRAFT_3, {"extends": {"$ref": "#nope"}}),
        (DRAFT_3, {"type": ["string", {"$ref": "#nope"}]}),
        (DRAFT_3, {"disallow": [{"$ref": "#nope"}]}),
    ],
)
def test_a_reference_that_leads_to_no_schema_is_refused_at_once(draft: str, schema: Any) -> None:
    """
    A keyword that refers to a schema in its draft, and leads to none, raises ValueError before any value is seen.
    """
    with pytest.raises(ValueError, match="bad schema"):
        json_kind({"$schema": draft, **schema})


@pytest.mark.parametrize(
    ("draft", "schema"),
    [
        (DRAFT_2020, {"properties": {"$dynamicRef": {"type": "integer"}}}),
        (DRAFT_2020, {"$recursiveRef": "#nope"}),
        (DRAFT_2019, {"$dynamicRef": "#nope"}),
        (DRAFT_7, {"$dynamicRef": "#nope"}),
        (DRAFT_7, {"dependencies": {"a": {"type": "object"}, "b": ["c"]}}),
        (DRAFT_3, {"extends": {"type": "object"}}),
    ],
)
def test_what_is_no_reference_in_a_draft_leads_nowhere(draft: str, schema: Any) -> None:
    """
    A keyword of another draft, a property and a list of names are not taken for a reference or a schema.
    """
    assert json_kind({"$schema": draft, **schema}).parse('{"a": 1}') == {"a": 1}


@pytest.mark.parametrize(
    ("step", "multiples", "others"),
    [
        (0.01, [0, 0.07, -0.29, 4.35, 19.99, 100.0, 1e308, 10**639], [0.001, 0.075, 1e-308]),
        (0.1, [0.3, 0.7, 1.1], [0.25, 0.30000000000000004]),
        (2, [4, 8.0, 1e308, True, "x"], [7, 7.0, 0.5, 10**639 + 1]),
        (1.5, [3, 4.5], [4, 35]),
        (5e-324, [5e-324, 0.01, 1.7e308, 10**639], []),
        (1.7e308, [0, 1.7e308], [5e-324, 1]),
    ],
)
@pytest.mark.parametrize("keyword", ["multipleOf", "divisibleBy"])
def test_a_multiple_is_one_in_decimal(keyword: str, step: float, multiples: list[Any], others: list[Any]) -> None:
    """
    Whether a number is a multiple is decided on the decimal numbers as they are written, not by dividing floats.
    """
    kind = json_kind({"$schema": DRAFT_3 if keyword == "divisibleBy" else DRAFT_2020, keyword: step})
    for value in multiples:
        assert kind.convert(value) == value
    for value in others:
        with pytest.raises(Problem, match="expected a multiple of"):
            kind.convert(value)


def test_a_dynamic_reference_leads_to_its_anchor() -> None:
    """
    A schema that refers to itself with ``$dynamicRef`` is applied at each level of the value.
    """
    children = {"type": "array", "items": {"$dynamicRef": "#node"}}
    kind = json_kind({"$dynamicAnchor": "node", "type": "object", "properties": {"children": children}})
    assert kind.parse('{"children": [{"children": []}]}') == {"children": [{"children": []}]}
    with pytest.raises(Problem) as caught:
        kind.parse('{"children": [1]}')
    assert caught.value.json_path == "$.children[0]"


def test_a_schema_may_refer_within_itself_and_to_its_draft() -> None:
    """
    A schema may refer to its own parts and to the published schema of a draft.
    """
    local = json_kind({"$defs": {"n": {"type": "integer"}}, "items": {"$ref": "#/$defs/n"}})
    assert local.parse("[1]") == [1]
    assert json_kind({"$ref": "https://json-schema.org/draft/2020-12/schema"}).parse("{}") == {}


@pytest.mark.parametrize("outer", [DRAFT_2020, DRAFT_7])
def test_a_part_that_names_its_draft_is_checked_as_the_whole(outer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Decimal multiples and the limit of steps also hold for a part of a schema that names its own draft.
    """
    price = {"$id": "https://example.com/price", "$schema": DRAFT_2020, "multipleOf": 0.01}
    kind = json_kind({"$schema": outer, "items": price})
    assert kind.parse("[0.07]") == [0.07]
    with pytest.raises(Problem, match="expected a multiple of"):
        kind.parse("[0.075]")
    monkeypatch.setattr("dflag._kinds._schema._MAX_STEPS", 1_000)
    with pytest.raises(Problem, match="takes more than 1000 steps"):
        kind.convert([0.07] * 2_000)


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        ({"$schema": DRAFT_4, "minimum": 5, "exclusiveMinimum": True}, 5, "a number above 5 "),
        ({"$schema": DRAFT_3, "maximum": 5, "exclusiveMaximum": True}, 5, "a number below 5 "),
        ({"$schema": DRAFT_4, "minimum": 5, "exclusiveMinimum": False}, 4, "a number of at least 5 "),
        ({"$schema": DRAFT_3, "properties": {"a": {"required": True}}}, {}, "what the schema demands, required: true "),
        ({"$schema": DRAFT_3, "type": ["string", {"enum": [5]}]}, 5.5, "a value of a type that the schema allows "),
    ],
)
def test_the_demands_of_old_drafts_are_put_into_words(schema: Any, value: Any, expected: str) -> None:
    """
    The error puts what only drafts 3 and 4 have into words: exclusive limits as booleans, ``required`` in a property,
    and a schema as a type.
    """
    with pytest.raises(Problem, match=rf"^expected {expected}\(at "):
        json_kind(schema).convert(value)


def test_a_schema_that_goes_round_in_circles_is_a_problem() -> None:
    """
    A value is refused when its schema refers to itself without end.
    """
    with pytest.raises(Problem):
        json_kind({"$ref": "#"}).parse("1")


def test_a_panic_below_a_schema_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A panic of the Rust part of jsonschema refuses the value; a KeyboardInterrupt reaches the caller.
    """
    kind = json_kind({"type": "object"})
    panic = type("PanicException", (BaseException,), {})
    for raised, expected in ((panic, Problem), (KeyboardInterrupt, KeyboardInterrupt)):
        monkeypatch.setattr("dflag._kinds._schema.best_match", _raising(raised))
        with pytest.raises(expected):
            kind.parse("{}")


def _raising(error: type[BaseException]) -> Callable[..., None]:
    def best_match(_: object) -> None:
        raise error("__eq__ failed!")

    return best_match


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: no", {"a": "no"}),
        ("a: 012", {"a": 12}),
        ("a: 1:30", {"a": "1:30"}),
        ("a: 2024-01-01", {"a": "2024-01-01"}),
        ("- 0x10\n- 0o17\n- 1.5\n- ~\n- True\n- '5'", [16, 15, 1.5, None, True, "5"]),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ('{"a": 1}', {"a": 1}),
    ],
)
def test_yaml_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    """
    YAML scalars are read by the core schema of YAML 1.2, in which ``no``, ``1:30`` and dates are texts.
    """
    assert json_kind(yaml=True).parse(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing",
        "!!str 5",
        "!!python/name:os.system x",
        "a: 1\na: 2",
        "--- 1\n--- 2",
        "1: 2",
        "a: .nan",
        "a: *b",
        "a: &a [*a]",
        "a: &a {b: 1}\nc:\n  <<: *a",
        "9" * 641,
        "[" * 5000,
        "- " * 5000,
        "a: &a " + "x" * 5000 + "\nb: [" + ", ".join(["*a"] * 1000) + "]",
        '"\\UFFFFFFFF"',
        "x" * (2**20 + 1),
        "\x00",
    ],
)
def test_yaml_beyond_json_is_refused(text: str) -> None:
    """
    YAML with tags, duplicate keys, several documents, keys that are not texts, or too much to expand is refused.
    """
    with pytest.raises(Problem):
        json_kind(yaml=True).parse(text)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("null: 1", "put 'null' in quotes"),
        ("0x1F: 1", "put '0x1F' in quotes"),
        ("012: 1", "put '012' in quotes"),
        ("a: {&key 1.50: 1, b: {*key : 2}}", "put '1.50' in quotes"),
        ("? [a]\n: 1", "found a list"),
        ("? {a: 1}\n: 1", "found a mapping"),
    ],
)
def test_a_key_that_is_no_text_is_named_as_it_is_written(text: str, advice: str) -> None:
    """
    The error for a key that is not a text shows the key as it is written, or says that it is a list or a mapping.
    """
    with pytest.raises(Problem, match="YAML whose keys are texts") as caught:
        json_kind(yaml=True).parse(text)
    assert caught.value.detail == advice


def test_half_a_surrogate_pair_is_refused_whatever_the_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    An unpaired surrogate in YAML is refused with the parser in C and with the one in Python.
    """
    for loader in (yaml_events._LOADER, yaml.SafeLoader):
        monkeypatch.setattr(yaml_events, "_LOADER", loader)
        with pytest.raises(Problem):
            json_kind(yaml=True).parse('a: "\\ud800"')


def test_a_type_converts_and_prints() -> None:
    """
    A dataclass is read as pydantic reads JSON, and prints compactly with sorted keys.
    """
    kind = json_kind(type=Policy)
    value = kind.parse('{"since": "2024-01-01", "mode": "a"}')
    assert value == Policy("a", datetime.date(2024, 1, 1))
    assert kind.format(value) == '{"mode":"a","since":"2024-01-01"}'
    assert kind.convert(value) is value
    assert kind.convert({"mode": "b"}) == Policy("b")


def test_a_fault_in_a_type_has_its_path() -> None:
    """
    The error for a value that does not fit its type has the path to the bad part, and does not quote the value.
    """
    with pytest.raises(Problem) as caught:
        json_kind(type=Shape).parse('{"sides": [1, "x"]}')
    assert caught.value.json_path == "$.sides[1]"
    assert caught.value.expected == "JSON of a Shape"


def test_a_typed_dict_is_handed_out_read_only() -> None:
    """
    A list in the value of a TypedDict is read-only.
    """
    value = json_kind(type=Shape).parse('{"sides": [1]}')
    with pytest.raises(TypeError):
        value["sides"].append(2)


def test_a_type_and_a_schema_hold_together() -> None:
    """
    A flag with a type and a schema refuses a text and an object of the type that do not fit the schema.
    """
    kind = json_kind({"properties": {"mode": {"enum": ["a"]}}}, type=Policy)
    with pytest.raises(Problem, match="one of"):
        kind.parse('{"mode": "b"}')
    with pytest.raises(Problem, match="one of"):
        kind.convert(Policy("b"))


def test_a_type_unknown_to_pydantic_is_refused_at_once() -> None:
    """
    A type that pydantic cannot handle raises ValueError at declaration.
    """
    with pytest.raises(ValueError, match="bad type"):
        json_kind(type=object.__new__(type("Odd", (), {})))


def test_a_flag_that_takes_yaml_imports_it_for_the_first_yaml() -> None:
    """
    Neither a declaration with `yaml=True` nor a JSON text imports PyYAML; the first text that is YAML does.
    """
    program = (
        "import sys, dflag\n"
        "flag = dflag.FlagRegistry().dyn_json('policy', {}, yaml=True)\n"
        "for text in ('[1]', 'a: 1'):\n"
        "    flag.set_text(text); print('yaml' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.split() == ["False", "True"]
