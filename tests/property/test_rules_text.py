from __future__ import annotations

import dataclasses
import json

from hypothesis import assume, given
from hypothesis import strategies as st

from dflag._formats import documents
from dflag._formats.base import NotJSON
from dflag._rules_text import RULE_KEYS, Rule, RuleList, parse_rules

WORDS = st.sampled_from(
    [
        *RULE_KEYS,
        "- ",
        "\n",
        "\n  ",
        "\n- ",
        ": ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "&a ",
        "*a",
        "!t ",
        "<<",
        "'",
        '"',
        "|\n ",
        ">-\n ",
        "#",
        "10%",
        "30m",
        "2026-11-28T10:00:00Z",
        "null",
        "~",
        "a",
        "---\n",
        "%YAML 1.1\n",
        "\t",
        "\u2028",
        "\\ud800",
        "? ",
        "\ufeff",
    ]
)
NODES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["10%", "200%", "30m", "-1s", "2026-11-28T10:00:00Z", "2026-11-28"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
RULES = st.lists(st.dictionaries(st.sampled_from(RULE_KEYS), NODES, max_size=6) | NODES, max_size=4)


def check(read: RuleList, lines: int) -> None:
    assert all(1 <= fault.line <= lines and fault.column >= 1 for fault in read.faults)
    assert read.is_readable == all(fault.rule is not None for fault in read.faults)
    assert not {rule.number for rule in read.rules} & {fault.number for fault in read.faults}
    assert len({rule.name for rule in read.rules}) == len(read.rules)


def _a_line_lower(read: RuleList) -> tuple[Rule, ...]:
    """Return the rules as if they were one line lower in their text."""
    return tuple(dataclasses.replace(rule, place=rule.place._replace(line=rule.place.line + 1)) for rule in read.rules)


@given(st.lists(WORDS).map("".join) | st.text())
def test_any_text_is_rules_or_faults(text: str) -> None:
    """Parsing any text raises nothing, and each fault has a place in the text."""
    check(parse_rules(text), text.count("\n") + text.count("\r") + 1)


@given(st.binary())
def test_any_bytes_are_rules_or_faults(data: bytes) -> None:
    """Parsing any bytes raises nothing, and each fault has a place in the bytes."""
    check(parse_rules(data), data.count(b"\n") + data.count(b"\r") + 1)


@given(RULES)
def test_json_and_yaml_are_read_alike(rules: object) -> None:
    """A list reads as the same rules and faults, whether it is parsed as JSON or as YAML."""
    text = json.dumps(rules, ensure_ascii=False)
    assume(not set(text) & set("\x85\u2028\u2029"))  # line breaks in YAML, but not in JSON
    one, other = parse_rules(text), parse_rules("# no JSON\n" + text)
    check(one, 1)
    assert one.is_readable
    if other.is_readable:  # the parser of YAML refuses some characters that JSON may hold
        assert _a_line_lower(one) == other.rules
        assert [(each.message, each.line + 1, each.column) for each in one.faults] == [
            (each.message, each.line, each.column) for each in other.faults
        ]


@given(RULES, st.integers(0, 3))
def test_rules_in_a_document_are_those_of_its_text(rules: object, indent: int) -> None:
    """Rules in a document are the same as rules in a file of their own, except for their line numbers."""
    text = json.dumps(rules, indent=indent)
    data = f'{{"a": 1,\n"_rules": {text},\n"b": 2}}'.encode()
    try:
        values = documents.read(data, yaml=True, unread=("_rules",)).values
    except NotJSON:  # the other keys are valid, so no reader could read this text
        raise AssertionError(data) from None
    alone, inside = parse_rules(text), parse_rules(values["_rules"])
    assert _a_line_lower(alone) == inside.rules
    assert [(each.message, each.line + 1) for each in alone.faults] == [
        (each.message, each.line) for each in inside.faults
    ]


@given(RULES)
def test_equal_rules_have_equal_content(rules: object) -> None:
    """Rules have the same content whatever the order of their keys."""

    def turned(node: object) -> object:
        if isinstance(node, dict):
            return {key: turned(value) for key, value in reversed(node.items())}
        return [turned(item) for item in node] if isinstance(node, list) else node

    one, other = parse_rules(json.dumps(rules)), parse_rules(json.dumps(turned(rules)))
    assert [rule.content for rule in one.rules] == [rule.content for rule in other.rules]
