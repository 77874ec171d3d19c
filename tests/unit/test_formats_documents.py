"""
The value and the place of each key of a YAML or JSON document.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from dflag._formats import yaml as _yaml
from dflag._formats import yaml_events
from dflag._formats.base import NotJSON
from dflag._formats.documents import loads, read
from dflag._formats.texts import nodes
from dflag.typing import Text, Unreadable

YAML_SCALARS = [
    ("no", "no"),
    ("012", 12),
    ("1_000", "1_000"),
    ("0x1F", 31),
    ("1e3", 1000.0),
    ("2024-01-01", "2024-01-01"),
    ("1:30", "1:30"),
    ("~", None),
    ("null", None),
    ("", None),
    ("True", True),
    ("1.0", 1.0),
]
JSON_SCALARS = [
    ("1.0", 1.0),
    ("-0", 0),
    ("1e400", float("inf")),
    ("12345678901234567890", 12345678901234567890),
    ("true", True),
    ("null", None),
]


def _same(text: str, native: object, found: object) -> bool:
    return (
        isinstance(found, Text)
        and str(found) == text
        and type(found.native) is type(native)
        and bool(found.native == native)
    )


@pytest.mark.parametrize(("text", "native"), YAML_SCALARS)
def test_a_plain_scalar_keeps_its_text(text: str, native: Any) -> None:
    """
    A plain scalar keeps its text from the document, and has the native value of YAML 1.2.
    """
    assert _same(text, native, read(f"key: {text}  # why".encode(), yaml=True).values["key"])


@pytest.mark.parametrize(("text", "native"), JSON_SCALARS)
@pytest.mark.parametrize("yaml", [False, True])
def test_a_json_scalar_keeps_its_text(text: str, native: Any, *, yaml: bool) -> None:
    """
    A JSON scalar keeps its text as it is written, in JSON and in a document that may be YAML.
    """
    assert _same(text, native, read(f'{{"key" : {text} }}'.encode(), yaml=yaml).values["key"])


def test_a_quoted_scalar_is_its_content() -> None:
    """
    A quoted scalar is its content without quotes and escapes, and its native value is the same text.
    """
    values = read(b"a: \"x\\n\"\nb: 'it''s'\nc: 'no'\nd: '5'", yaml=True).values
    assert dict(values) == {"a": "x\n", "b": "it's", "c": "no", "d": "5"}
    assert all(isinstance(value, Text) and value.native == str(value) for value in values.values())
    assert dict(read(b'{"a": "x\\n\\ud83d\\ude00"}', yaml=False).values) == {"a": "x\n\U0001f600"}


def test_a_block_scalar_is_a_text_of_its_own() -> None:
    """
    A block scalar has no native value, so that every flag parses its text.
    """
    values = read(b'a: |\n  {"mode": "allow"}\nb: >-\n  one\n  two\n', yaml=True).values
    assert dict(values) == {"a": '{"mode": "allow"}\n', "b": "one two"}
    assert not any(isinstance(value, Text) for value in values.values())


def test_a_collection_is_compact_json_with_its_value() -> None:
    """
    The text of a collection is compact JSON, without its spaces, comments and order of members.
    """
    for data in (b"a: {y: [1, ~, no],  x: {}}", b"a:\n  x: {} # why\n  y:\n  - 1\n  - null\n  - 'no'"):
        found = read(data, yaml=True).values["a"]
        assert _same('{"x":{},"y":[1,null,"no"]}', {"x": {}, "y": [1, None, "no"]}, _plain(found))


def _plain(found: object) -> Text:
    """
    Return the same text with its native value as plain dicts and lists.
    """
    assert isinstance(found, Text)
    return Text(str(found), json.loads(json.dumps(found.native)))


def test_an_alias_is_what_it_stands_for() -> None:
    """
    An alias has the text of what it stands for: a scalar, a block scalar or a collection.
    """
    values = read(b"a: &a 012\nb: *a\nc: &c |\n  x\nd: *c\ne: &e [1]\nf: *e", yaml=True).values
    assert _same("012", 12, values["b"])
    assert type(values["d"]) is str
    assert values["f"] == values["e"] == "[1]"


def test_a_key_is_its_text_and_has_a_place() -> None:
    """
    A key that looks like a number or a bool is read as its text, and has the line at which it stands.
    """
    document = read(b"# top\n1: x\nyes: y\n\n'q' : z\n", yaml=True)
    assert dict(document.values) == {"1": "x", "yes": "y", "q": "z"}
    assert {key: place.line for key, place in document.places.items()} == {"1": 2, "yes": 3, "q": 5}


def test_json_members_have_places() -> None:
    """
    Lines and columns of JSON members are counted from 1, even if several members stand on one line.
    """
    document = read(b'{"a": "1",\n  "b": {\n"x": 1}, "c": 2\n}', yaml=False)
    assert {key: tuple(place) for key, place in document.places.items()} == {"a": (1, 2), "b": (2, 3), "c": (3, 10)}


@pytest.mark.parametrize("data", [b"", b" \n", b"\xef\xbb\xbf", b"# only\n# comments", b"---\n", b"{}"])
def test_a_document_may_have_no_keys(data: bytes) -> None:
    """
    A document that is empty, or has only comments, only a document start or an empty mapping, is read without keys.
    """
    assert read(data, yaml=True) == ({}, {})


@pytest.mark.parametrize("data", [b"", b" \n", b"\xef\xbb\xbf", b"\xef\xbb\xbf{}\n"])
def test_a_json_document_may_have_no_keys(data: bytes) -> None:
    """
    An empty JSON file, with or without a byte order mark, is read without keys, although it is not JSON.
    """
    assert read(data, yaml=False) == ({}, {})


@pytest.mark.parametrize(
    ("data", "place", "expected"),
    [
        (b"a: 1\nb: [hunter2", (3, 1), "JSON or YAML: did not find expected ',' or ']'"),
        (b"a: 1\nb: hunter2: x", (2, 11), "JSON or YAML: mapping values are not allowed in this context"),
        (b"- hunter2", (1, 1), "a mapping at the top level"),
        (b"hunter2", (1, 1), "a mapping at the top level"),
        (b"hunter2: 1\nhunter2: 2", (2, 1), "YAML without duplicate keys"),
        (b"1: 1\n'1': 2", (2, 1), "YAML without duplicate keys"),
        (b"a: {hunter2: 1,\n hunter2: 2}", (2, 2), "YAML without duplicate keys"),
        (b"a: !hunter2 x", (1, 4), "YAML without tags"),
        (b"--- !hunter2\na: x", (1, 5), "YAML without tags"),
        (b"a: 1\n---\nb: 2", (2, 1), "one YAML document"),
        (b"b: &b {x: 1}\n<<: *b", (2, 1), "YAML without merge keys"),
        (b"a: *hunter2", (1, 4), "YAML whose aliases stand after their anchors"),
        (b"? [hunter2]\n: 1", (1, 3), "YAML whose keys are texts"),
        (b"a: " + b"[" * 200, (1, 103), "JSON nested at most 100 levels deep"),
        (b"a: 1\nb: \xc3\xa4\xff", (2, 5), "a document in UTF-8"),
    ],
)
def test_a_bad_document_is_placed_and_not_quoted(data: bytes, place: tuple[int, int], expected: str) -> None:
    """
    The error of a bad document has the line and column of the fault, and quotes nothing of the document.
    """
    with pytest.raises(NotJSON) as caught:
        read(data, yaml=True)
    assert caught.value.place == place
    assert caught.value.expected == expected


@pytest.mark.parametrize(
    ("data", "place", "expected"),
    [
        (b'{"a": 1,\n}', (2, 1), "JSON: Expecting property name enclosed in double quotes"),
        (b'{"a" 1}', (1, 6), "JSON: Expecting ':'"),
        (b'{"a": 1 "b": 2}', (1, 9), "JSON: Expecting ',' or '}'"),
        (b'{"a": 1', (1, 8), "JSON: Expecting ',' or '}'"),
        (b'{"a": 1} x', (1, 10), "JSON: Extra data"),
        (b"[]", (1, 1), "JSON: Expecting an object"),
        (b"a: 1", (1, 1), "JSON: Expecting an object"),
        (b'{"a": hunter2}', (1, 7), "JSON: Expecting value"),
        (b'{"a": NaN}', (1, 7), "JSON, which has neither infinity nor NaN"),
        (b'{"a": 1,\n "a": 2}', (2, 2), "JSON without duplicate keys"),
        (b'{"a": {"b": 1, "b": 2}}', (1, 7), "JSON without duplicate keys"),
        (b'{"a": ' + b"[" * 200, None, "JSON nested at most 100 levels deep"),
        (b'{"a": 1,\n "\\ud800": 1}', (2, 2), "JSON with whole Unicode characters"),
    ],
)
def test_bad_json_is_placed_and_not_quoted(data: bytes, place: tuple[int, int] | None, expected: str) -> None:
    """
    A document that must be JSON is refused if it is not JSON, with the place of the fault and without a quotation.
    """
    with pytest.raises(NotJSON) as caught:
        read(data, yaml=False)
    assert caught.value.place == place
    assert caught.value.expected == expected


def test_yaml_that_looks_like_json_is_read() -> None:
    """
    A document that may be YAML can be a flow mapping that is not JSON.
    """
    assert dict(read(b" {a: no, b: 1,}", yaml=True).values) == {"a": "no", "b": "1"}


def test_a_number_that_json_lacks_spoils_its_key_alone() -> None:
    """
    A number that JSON lacks makes only its key unreadable if it is in a collection, and is a text as a scalar.
    """
    values = read(b"a: {x: .inf}\nb: .nan\nc: 1\nd: " + b"9" * 700, yaml=True).values
    assert isinstance(values["a"], Unreadable)
    assert (values["b"], values["c"], values["d"]) == (".nan", "1", "9" * 700)


def test_a_bomb_is_refused() -> None:
    """
    A document is refused if its aliases add too much to its size.
    """
    lines = ["a0: &a0 [" + "x, " * 100 + "x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 8)]
    with pytest.raises(NotJSON, match="aliases add"):
        read("\n".join(lines).encode(), yaml=True)


@pytest.mark.parametrize("value", ['"\\ud800"', '["a", "\\ud800"]', '{"\\ud800": 1}'])
def test_half_a_surrogate_pair_spoils_its_key_alone(value: str) -> None:
    """
    Half a surrogate pair makes only its key unreadable; a whole pair is one character.
    """
    values = read(f'{{"a": "\\ud83d\\ude00", "b": {value}, "c": [1]}}'.encode(), yaml=False).values
    assert (values["a"], values["c"]) == ("😀", "[1]")
    assert values["b"] == Unreadable("expected JSON with whole Unicode characters")


def test_aliases_that_nest_deeply_spoil_their_keys_alone() -> None:
    """
    A chain of aliases makes only the keys unreadable that nest too deeply, even if surrogates must be checked.
    """
    lines = ["# \\ud800", "a0: &a0 1"]
    lines += [f"a{n}: &a{n} {'[' * 90}*a{n - 1}{']' * 90}" for n in range(1, 60)]
    values = read("\n".join(lines).encode(), yaml=True).values
    assert (values["a0"], values["a1"]) == ("1", "[" * 90 + "1" + "]" * 90)
    assert all(isinstance(values[f"a{n}"], Unreadable) for n in range(2, 60))


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"a: 1\nb: !hunter2!x y", (2, 4)),
        (b"a: 1\nb: [hunter2", (2, 12)),
        (b'"\\ud800 hunter2": 1', (1, 1)),
        (b"a: \x00 hunter2", None),
    ],
)
def test_the_parser_in_python_quotes_nothing_either(
    monkeypatch: pytest.MonkeyPatch, data: bytes, place: tuple[int, int] | None
) -> None:
    """
    An error of PyYAML's parser in Python, whose messages quote the document, has the place without the quotation.
    """
    monkeypatch.setattr(yaml_events, "_LOADER", yaml.SafeLoader)
    monkeypatch.setattr(yaml_events, "_WORDS_QUOTE", True)
    with pytest.raises(NotJSON) as caught:
        read(data, yaml=True)
    assert caught.value.place == place
    assert "hunter2" not in caught.value.expected


@pytest.mark.parametrize(
    ("text", "offset", "expected"),
    [
        ('{"a": 1,, "b": 2}', 8, "JSON: Expecting property name enclosed in double quotes"),
        ("{a: 1, b: *c}", 10, "YAML whose aliases stand after their anchors"),
        ("a: [", 4, "JSON or YAML: did not find expected node content"),
    ],
)
def test_the_reader_that_came_further_says_why(text: str, offset: int, expected: str) -> None:
    """
    A text that is neither JSON nor YAML is refused with the error of the reader that came further.
    """
    with pytest.raises(NotJSON) as caught:
        nodes(text, yaml=True)
    assert (caught.value.offset, caught.value.expected) == (offset, expected)


@pytest.mark.parametrize("text", ["\t[1]", '"\\ud83d\\ude00"', f'{{"{"k" * 1025}": 1}}'])
def test_what_yaml_refuses_of_json_is_read(text: str) -> None:
    """
    JSON with a leading tab, surrogate escapes or long keys is read, although YAML refuses it.
    """
    with pytest.raises(NotJSON):
        _yaml.loads(text)
    assert loads(text) == json.loads(text)


def test_depth_is_counted_alike_with_places() -> None:
    """
    A text of 100 levels is read with and without places, in YAML and in JSON, and one of 101 levels is refused.
    """
    deepest = "[" * 100 + "1" + "]" * 100
    for may_be_yaml in (False, True):
        assert loads(deepest) == json.loads(deepest)
        assert len(nodes(deepest, yaml=may_be_yaml)) == 1
        with pytest.raises(NotJSON, match="nested at most 100 levels"):
            nodes(f"[{deepest}]", yaml=may_be_yaml)
