"""
Merge keys in YAML mean to the command what they mean to other readers of YAML.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from dflag._formats import yaml_nodes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dflag._formats.nodes import Node


class Mapping(NamedTuple):
    """
    A mapping as a user writes it.

    Attributes:
        entries: Its keys in order; the merge key has a mapping, an `Alias`, or a list of these.
        block: Whether it is written over several lines.
    """

    entries: Sequence[tuple[str, Any]]
    block: bool


class Alias(NamedTuple):
    """
    A reference to an earlier mapping of the document, by its number.
    """

    number: int


KEYS = st.sampled_from(["rate_limit", "burst", "name", "port"])
"""
Keys of several letters: PyYAML 6.0.4 compares keys by identity, and Python shares strings of one letter.
"""

TEXTS = st.text("xyz 01", max_size=3)


@st.composite
def mappings(draw: st.DrawFn, earlier: int, depth: int = 0, *, first: bool = True) -> Mapping:
    """Draw a mapping that may refer to earlier ones; its merge key is the first key unless *first* is false."""
    values = TEXTS if depth > 1 else TEXTS | mappings(earlier, depth + 1, first=first)
    if earlier:
        values = values | st.integers(0, earlier - 1).map(Alias)
    entries: list[tuple[str, Any]] = list(draw(st.dictionaries(KEYS, values, max_size=3)).items())
    if draw(st.booleans()):
        merged = mappings(earlier, 2, first=first)
        if earlier:
            merged = merged | st.integers(0, earlier - 1).map(Alias)
        # In a list the first mapping has precedence, but PyYAML 6.0.4 handles this wrongly.
        value = draw(merged | st.lists(merged, max_size=1 if first else 3))
        entries.insert(0 if first else draw(st.integers(0, len(entries))), ("<<", value))
    return Mapping(entries, draw(st.booleans()))


@st.composite
def documents(draw: st.DrawFn, *, first: bool = True) -> list[Mapping]:
    """Draw a document of mappings, each of which may refer to those before it."""
    return [draw(mappings(number, first=first)) for number in range(draw(st.integers(1, 4)))]


@given(documents())
@example([Mapping([("a", "1")], True), Mapping([("<<", Alias(0)), ("a", "2")], True)])
def test_merge_keys_that_come_first_are_those_of_yaml(document: list[Mapping]) -> None:
    """If the merge key is the first key, the command reads the same values as PyYAML."""
    source = _document(document)
    (tree,) = yaml_nodes.read_stream(source)
    assert _plain(tree) == yaml.safe_load(source)


@given(documents(first=False))
@example([Mapping([("a", "1"), ("<<", Mapping([("a", "2")], False))], False)])
def test_merge_keys_count_where_they_stand(document: list[Mapping]) -> None:
    """A merge key overrides the keys before it and is overridden by those after it, as in the YAML of kubectl."""
    source = _document(document)
    (tree,) = yaml_nodes.read_stream(source)
    assert _plain(tree) == _expected(document)


@given(documents(first=False))
def test_what_is_merged_keeps_its_place(document: list[Mapping]) -> None:
    """A value that is merged in has the place at which it is written."""
    source = _document(document)
    for node in _scalars(yaml_nodes.read_stream(source)[0]):
        assert source[node.start : node.end] == f"'{node.text}'"


def _document(document: Sequence[Mapping]) -> str:
    """Return a document with one key for each mapping."""
    return "".join(f"m{number}: &m{number}{_written(each, 1)}" for number, each in enumerate(document))


def _written(value: Any, indent: int) -> str:
    """Return a value as it is written after its key, with the end of its line."""
    if not isinstance(value, Mapping) or not value.block or not value.entries:
        return f" {_flow(value)}\n"
    return "\n" + "".join(f"{'  ' * indent}{key}:{_written(inner, indent + 1)}" for key, inner in value.entries)


def _flow(value: Any) -> str:
    """Return a value written in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(inner)}" for key, inner in value.entries) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return f"*m{value.number}" if isinstance(value, Alias) else f"'{value}'"


def _expected(document: Sequence[Mapping]) -> dict[str, Any]:
    """Return the values of a document, by the simplest reading of the rule."""
    found: dict[str, Any] = {}
    for number, each in enumerate(document):
        found[f"m{number}"] = _value(each, found)
    return found


def _value(value: Any, earlier: dict[str, Any]) -> Any:
    if isinstance(value, Alias):
        return earlier[f"m{value.number}"]
    if not isinstance(value, Mapping):
        return value
    found: dict[str, Any] = {}
    for key, inner in value.entries:
        if key == "<<":
            for merged in reversed(inner if isinstance(inner, list) else [inner]):
                found.update(_value(merged, earlier))
        else:
            found[key] = _value(inner, earlier)
    return found


def _plain(node: Node) -> Any:
    if node.members is not None:
        return {key: _plain(value) for key, (_, value) in node.members.items()}
    return node.text if node.items is None else [_plain(item) for item in node.items]


def _scalars(node: Node) -> list[Node]:
    if node.members is None:
        return [node]
    return [inner for _, value in node.members.values() for inner in _scalars(value)]
