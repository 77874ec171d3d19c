from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest

from dflag._formats import json_values
from dflag._formats.base import NotJSON
from dflag._formats.json import loads, members
from dflag._formats.json_nodes import read_stream


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v["list"].append(1),
        lambda v: v["list"].sort(),
        lambda v: v["list"].reverse(),
        lambda v: v["list"].__init__([2]),
        lambda v: v["list"].__iadd__([1]),
        lambda v: v["list"].__imul__(2),
        lambda v: v["list"].__delitem__(0),
        lambda v: v.__setitem__("a", 1),
        lambda v: v.__delitem__("list"),
        lambda v: v.__ior__({"a": 1}),
        lambda v: v.update(a=1),
        lambda v: v.setdefault("a", 1),
        lambda v: v.pop("list"),
        lambda v: v.popitem(),
        lambda v: v.clear(),
        lambda v: v.__init__(a=1),
    ],
)
def test_no_method_changes_a_frozen_value(change: Any) -> None:
    """
    Every method that would change a frozen value raises a TypeError that points to ``deepcopy``.
    """
    value = loads('{"list": [1]}')
    with pytest.raises(TypeError, match="deepcopy"):
        change(value)
    assert value == {"list": [1]}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_gives_a_frozen_value(protocol: int) -> None:
    """
    A frozen value, with the lists in it, is still frozen after pickling.
    """
    value = pickle.loads(pickle.dumps(loads('{"a": [{}]}'), protocol))  # noqa: S301 - our own
    assert type(value) is json_values.FrozenDict
    assert type(value["a"]) is json_values.FrozenList


def test_a_deep_copy_is_plain_and_writable() -> None:
    """
    A deep copy of a frozen value has plain dicts and lists at every level.
    """
    value = copy.deepcopy(loads('{"a": [{}]}'))
    assert [dict, list, dict] == [type(value), type(value["a"]), type(value["a"][0])]


def test_json_prints_frozen_values() -> None:
    """
    ``json.dumps()`` prints frozen values as objects and lists.
    """
    assert json.dumps(loads('{"a": [1]}')) == '{"a": [1]}'


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"a": 1, "a": 2}',
        "NaN",
        "-Infinity",
        "1e400",
        "[" * 101 + "]" * 101,
        "[" * 100_000,
        '{"a":' * 100_000,
        "9" * 5000,
        "[1] x",
        "[" * 200 + '"' + '\\"' * 100_000,
    ],
)
def test_what_is_not_json_is_refused(text: str) -> None:
    """
    Duplicate keys, NaN, overflow and deep nesting are refused.
    """
    with pytest.raises(NotJSON):
        loads(text)


@pytest.mark.parametrize(("text", "problem"), [('["a', "Unterminated string"), ('["\t"]', "Invalid control character")])
def test_the_place_of_a_fault_reads_as_a_sentence(text: str, problem: str) -> None:
    """
    The error joins the problem and its place to a sentence, even if the message of ``json`` ends with "at".
    """
    with pytest.raises(NotJSON, match=rf"\({problem} at line 1 column [23]\)"):
        loads(text)
    for read in (read_stream, members):
        with pytest.raises(NotJSON, match=f": {problem}$"):
            read(text.replace("[", '{"a": ').replace("]", "}"))


def test_brackets_in_strings_do_not_nest() -> None:
    """
    Brackets in strings do not count towards the depth of nesting.
    """
    assert loads('["' + "[" * 500 + '\\""]') == ["[" * 500 + '"']
    assert loads("[" * 100 + "]" * 100)


def test_sameness_is_strict_about_types() -> None:
    """
    ``same()`` treats 1, 1.0 and True as different values.
    """
    assert not json_values.same(json_values.freeze([1]), json_values.freeze([True]))
    assert not json_values.same(json_values.freeze({"a": 1}), json_values.freeze({"a": 1.0}))
    assert json_values.same(json_values.freeze({"a": [1]}), json_values.freeze({"a": [1]}))


def test_cycles_and_foreign_types_are_refused() -> None:
    """
    ``freeze()`` refuses cycles, foreign types, infinity and huge integers.
    """
    cycle: list[Any] = []
    cycle.append(cycle)
    for value in (cycle, {1: 2}, {1}, float("inf"), 10**700):
        with pytest.raises(NotJSON):
            json_values.freeze(value)


def test_half_a_surrogate_pair_is_printed_escaped() -> None:
    """
    ``dumps()`` escapes half a surrogate pair, so that its output can be encoded.
    """
    text = json_values.dumps(json_values.freeze(["\ud800"]))
    assert text.encode() == b'["\\ud800"]'
