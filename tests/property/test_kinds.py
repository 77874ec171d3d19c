from __future__ import annotations

import enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dflag import _kinds
from dflag._kinds import Kind, Problem

from . import strategies


class Colour(enum.Enum):
    """
    A type for an enum flag.
    """

    RED = 1
    GREEN = "g"
    BLUE = "Blue"


ENUM = _kinds.EnumKind(Colour)
JSON = _kinds.json_kind()
YAML = _kinds.json_kind(yaml=True)

VALUES = st.one_of(
    st.tuples(st.just(_kinds.STRING), st.text()),
    st.tuples(st.just(_kinds.INT), strategies.ints),
    st.tuples(st.just(_kinds.FLOAT), strategies.floats),
    st.tuples(st.just(_kinds.BOOL), st.booleans()),
    st.tuples(st.just(_kinds.DURATION), strategies.durations),
    st.tuples(st.just(_kinds.STRING_LIST), strategies.string_lists),
    st.tuples(st.just(_kinds.STRING_SET), strategies.string_sets),
    st.tuples(st.just(_kinds.BYTES), st.binary()),
    st.tuples(st.just(ENUM), st.sampled_from(Colour)),
    st.tuples(st.just(JSON), strategies.json_values),
    st.tuples(st.just(YAML), strategies.json_values),
)
KINDS = [
    _kinds.INT,
    _kinds.FLOAT,
    _kinds.BOOL,
    _kinds.DURATION,
    _kinds.STRING_LIST,
    _kinds.STRING_SET,
    _kinds.BYTES,
    ENUM,
    JSON,
    YAML,
]


@given(VALUES)
def test_what_is_printed_reads_as_the_same_value(pair: tuple[Kind[Any], Any]) -> None:
    """
    Parsing the printed text of a value gives the same value.
    """
    kind, given_value = pair
    value = kind.convert(given_value)
    assert kind.same(value, kind.parse(kind.format(value)))


@given(VALUES)
def test_what_an_editor_begins_with_reads_as_the_same_value(pair: tuple[Kind[Any], Any]) -> None:
    """
    Parsing the draft for an editor gives the same value, with the keys in the same order.
    """
    kind, given_value = pair
    value = kind.convert(given_value)
    read = kind.parse(kind.draft(value))
    assert kind.same(value, read)
    if isinstance(value, dict):
        assert list(read) == list(value)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@given(text=strategies.texts)
def test_any_text_is_read_or_refused(kind: Kind[Any], text: str) -> None:
    """
    Parsing any text raises Problem or gives a value that can be printed and parsed again.
    """
    try:
        value = kind.parse(text)
    except Problem:
        return
    assert kind.same(value, kind.parse(kind.format(value)))
