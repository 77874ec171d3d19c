"""
Where in a text each token of YAML and JSON stands.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from dflag._formats import json_nodes, nodes, texts, yaml_nodes
from dflag._formats.base import NotJSON
from dflag._formats.json_values import path_of

if TYPE_CHECKING:
    from collections.abc import Iterator

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))

WRITTEN = {
    "plain": "key: before @ after\n",
    "plain over lines": "key: before\n  more @\n\n  after\n",
    "single": "key: 'it''s @ here'\n",
    "single over lines": "key: 'one\n\n  two @'\n",
    "double": 'key: "tab \\t \\u00e9 \\x41 @ end"\n',
    "double over lines": 'key: "one \\\n    two\n\n   three @"\n',
    "flow": "{other: [1, 2], key: 'a @'}\n",
    "literal": "key: |\n  {\n    @\n  }\n",
    "literal with comment": "key: |-  # why\n  one\n\n  @ two",
    "literal with indicator": "key: |2\n    deeper\n  @ here\n",
    "literal kept": "key: |+\n  one @\n\n\nother: 1\n",
    "literal, lines of spaces": "key: |\n   \n   one\n     \n   @\n",
    "folded, a line of spaces as deep": "key: >\n  one\n  \n  two\n  @ three\n",
    "literal, a line of spaces as deep": "key: |\n  one\n  \n  @ two\n",
    "double, spaces behind an escaped break": 'key: "one \\\n    \n\n   \t two @"\n',
    "folded": "key: >\n  one\n  two @\n\n  three\n",
    "folded, deeper lines": "key: >-\n  one\n    two\n    @\n  three\n  four\n",
    "folded with indicator": "key: >1\n   one\n  two\n   @\n",
    "anchor and comment": "# @ first\nkey: &a\n  'x @'\n",
    "nested": "outer:\n  key: |\n    one\n    @\n",
    "beyond 65536": "other: \U0001f600\nkey: '\U0001f600 @'\n",
}


@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("name", WRITTEN)
def test_character_of_a_scalar_is_found(name: str, line_end: str) -> None:
    """A character of a YAML scalar's text is found where it is written, whatever the style and the line ends."""
    source = WRITTEN[name].replace("\n", line_end)
    tree = yaml_nodes.read_stream(source)[0]
    tree = tree.get("outer") or tree
    node = tree.get("key")
    assert node is not None
    assert node.text is not None
    expected = source.rindex("@")
    assert expected == node.offsets(source)(node.text.index("@"))


@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_line_and_column_are_those_of_editors(line_end: str) -> None:
    """Lines end with LF or CRLF only, and a tab and a Unicode line separator each count as one column."""
    text = line_end.join(["a", "\t\u2028b", "c"])
    assert nodes.Lines(text).place(text.index("b")) == (2, 3)
    assert nodes.Lines(text).place(text.index("c")) == (3, 1)


@given(JSON_VALUES, st.sampled_from([None, 2]), st.booleans())
def test_json_is_read_with_places(value: object, indent: int | None, ascii_only: bool) -> None:
    """In every JSON text each node spans exactly the text of its value."""
    source = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    for node, expected in _pairs(json_nodes.read(source), value):
        assert expected == json.loads(source[node.start : node.end])


@given(JSON_VALUES, st.booleans())
@example("\x85 \u2028x", False)
def test_string_of_json_is_mapped(value: object, ascii_only: bool) -> None:
    """Each character of a JSON string, escaped or not, has an offset, and the offsets never decrease."""
    source = json.dumps(value, ensure_ascii=ascii_only)
    for node, expected in _pairs(json_nodes.read(source), value):
        if isinstance(expected, str):
            found = [node.offsets(source)(index) for index in range(len(expected) + 1)]
            assert sorted(found) == found
            assert node.end - 1 == found[-1]


@given(
    st.text(st.characters(blacklist_categories=["Cs"])), st.sampled_from([None, "'", '"', "|", ">"]), st.integers(1, 4)
)
def test_scalar_of_yaml_is_mapped(text: str, style: str | None, indent: int) -> None:
    """Each letter of a YAML text is found at the same letter or its escape in the source, in each style of PyYAML."""
    source = yaml.safe_dump({"key": {"inner": text}}, default_style=style, indent=indent, allow_unicode=True, width=20)
    outer = next(value for _, value in _members(yaml_nodes.read_stream(source)[0]))
    node = next(value for _, value in _members(outer))
    # PyYAML does not read everything as it wrote it: a next line character folds.
    assert yaml.safe_load(source)["key"]["inner"] == node.text
    for index, character in enumerate(node.text):
        if character.isalnum():
            written = source[node.offsets(source)(index)]
            assert written in (character, "\\")


@pytest.mark.parametrize(
    ("source", "stop"),
    [
        ('{"a": 1,, "b": 2}', 8),
        ('{"a": 1 "b"}', 8),
        ('{"a": 1, "a": 2}', 9),
        ("[1, NaN]", 4),
        ('["a', 1),
        ("[1,]", 3),
        ("{} x", 3),
        ("[" * 101 + "]" * 101, 100),
        ("", 0),
    ],
)
def test_json_stops_at_the_fault(source: str, stop: int) -> None:
    """The error about a text that is not JSON has the offset of the token at fault."""
    with pytest.raises(NotJSON) as caught:
        json_nodes.read(source)
    assert stop == caught.value.offset


def test_json_paths_read_back() -> None:
    """`steps_of()` returns the keys and indices from which `path_of()` has made a path."""
    steps: list[str | int] = ["limits", 2, "a b", 'quo"te', "x]", "\u00e9", 0]
    assert steps == nodes.steps_of(path_of(steps))


def _pairs(node: nodes.Node, value: object) -> Iterator[tuple[nodes.Node, object]]:
    yield node, value
    if isinstance(value, dict):
        for key, item in value.items():
            inner = node.get(key)
            assert inner is not None
            yield from _pairs(inner, item)
    if isinstance(value, list):
        assert node.items is not None
        for inner, item in zip(node.items, value, strict=True):
            yield from _pairs(inner, item)


def _members(node: nodes.Node) -> list[tuple[nodes.Node, nodes.Node]]:
    assert node.members is not None
    return list(node.members.values())


LONG = 2**19


@pytest.mark.parametrize(
    "source",
    [
        "'" + " " * LONG + "x'",
        '"' + " " * LONG + 'x"',
        "x" + " " * LONG + "x",
        "|1\n" + " " * LONG + "x",
        ">1\n" + " " * LONG + "x",
        "|\n" + " \n" * (LONG // 2) + " x",
        "'" + "\n" * LONG + "x'",
        '"' + "\\\n" * (LONG // 2) + 'x"',
        "|" + " " * LONG + "\n x",
    ],
    ids=["single", "double", "plain", "literal", "folded", "empty lines", "breaks", "escaped breaks", "header"],
)
@pytest.mark.timeout(20)
def test_a_long_scalar_is_mapped_in_linear_time(source: str) -> None:
    """A scalar with half a mebibyte of white space is mapped in time, as each character is read only once."""
    text = f"key: {source}\n"
    node = yaml_nodes.read_stream(text)[0].get("key")
    assert node is not None
    assert node.text is not None
    assert text.rindex("x") == node.offsets(text)(node.text.rindex("x"))


@pytest.mark.parametrize("text", ["a: 1\nb: 2\na: 3\n", "x: {a: 1, a: 2}\n"])
def test_a_key_that_stands_twice_is_refused_where_it_may_not(text: str) -> None:
    """
    A repeated key is refused with its offset; where repeats are allowed, the node has the offset and the last value.
    """
    with pytest.raises(NotJSON, match="occurs twice") as refusal:
        texts.nodes(text, yaml=True)
    assert refusal.value.offset == text.rindex("a:")
    (node,) = texts.nodes(text, yaml=True, repeats=True)
    assert node.repeated == text.rindex("a:")
    last = (node.get("x") or node).get("a")
    assert last is not None
    assert last.start == text.rindex("a:") + len("a: ")
