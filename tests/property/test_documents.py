from __future__ import annotations

import json
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from dflag import _kinds
from dflag._formats.base import NotJSON
from dflag._formats.documents import read
from dflag._formats.nodes import Lines
from dflag._formats.texts import decode, nodes
from dflag.typing import Text, Unreadable

from . import strategies

JSON = _kinds.json_kind()

keys = st.text(st.characters(codec="utf-8"))
documents = st.dictionaries(keys, strategies.json_values, max_size=5)
scraps = st.sampled_from(
    [b"{", b"}", b"[", b"]", b":", b": ", b",", b"\n", b"- ", b"&a ", b"*a", b"!!", b"|\n", b'"', b"a", b"1", b"\xff"]
)
soups = st.binary() | st.lists(scraps, max_size=30).map(b"".join)


def _loaded(raw: Any) -> Any:
    """
    Return the value that a JSON flag reads from a raw value.
    """
    return JSON.load(raw.native, raw) if isinstance(raw, Text) else JSON.parse(raw)


@given(documents, st.booleans(), st.sampled_from([None, 2]))
def test_json_reads_back(values: dict[str, Any], ascii_only: bool, indent: int | None) -> None:
    """
    A mapping printed as JSON gives JSON flags the same values, whether it is read as JSON or as YAML.
    """
    data = json.dumps(values, ensure_ascii=ascii_only, indent=indent).encode()
    for may_be_yaml in (False, True):
        found = read(data, yaml=may_be_yaml).values
        assert found.keys() == values.keys()
        assert all(JSON.same(JSON.convert(values[key]), _loaded(found[key])) for key in values)


@given(st.dictionaries(strategies.printable, strategies.printable_json, max_size=5), st.booleans())
def test_yaml_reads_back(values: dict[str, Any], flow: bool) -> None:
    """
    A mapping printed as YAML with quoted strings gives JSON flags the same values.
    """
    data = yaml.dump(values, Dumper=_Dumper, default_flow_style=flow, allow_unicode=True).encode()
    found = read(data, yaml=True).values
    assert found.keys() == values.keys()
    assert all(JSON.same(JSON.convert(values[key]), _loaded(found[key])) for key in values)


class _Dumper(yaml.SafeDumper):
    """
    A dumper that quotes every string and writes no aliases.
    """

    def ignore_aliases(self, data: object) -> bool:
        return True


_Dumper.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


@given(st.from_regex(r"[-+.0-9a-zA-Z_~/]{1,20}", fullmatch=True))
def test_a_plain_scalar_arrives_verbatim(text: str) -> None:
    """
    A string flag gets a plain scalar of YAML exactly as it is written.
    """
    if text in ("-", "---", "..."):
        return
    found = read(f"key: {text}".encode(), yaml=True).values["key"]
    assert isinstance(found, Text)
    assert str(found) == text


@given(st.from_regex(r"-?(0|[1-9][0-9]{0,700})(\.[0-9]{1,30})?([eE][-+]?[0-9]{1,5})?", fullmatch=True))
def test_a_number_arrives_verbatim(text: str) -> None:
    """
    A string flag gets any JSON number exactly as it is written.
    """
    for may_be_yaml in (False, True):
        assert str(read(f'{{"key": {text}}}'.encode(), yaml=may_be_yaml).values["key"]) == text


@given(soups, st.booleans())
def test_any_bytes_are_read_or_refused(data: bytes, may_be_yaml: bool) -> None:
    """
    Reading any bytes raises NotJSON or gives values, each with a place, that can be encoded.
    """
    try:
        document = read(data, yaml=may_be_yaml)
    except NotJSON:
        return
    assert document.values.keys() == document.places.keys()
    for key, raw in document.values.items():
        key.encode()
        if not isinstance(raw, Unreadable):
            assert isinstance(raw, str)
            raw.encode()


@given(documents, st.booleans(), st.sampled_from([None, 2]), st.booleans())
def test_a_key_has_one_place(values: dict[str, Any], ascii_only: bool, indent: int | None, may_be_yaml: bool) -> None:
    """
    A document read with the places of all tokens has the same keys at the same places as one read without.
    """
    data = json.dumps(values, ensure_ascii=ascii_only, indent=indent).encode()
    text = decode(data)
    (tree,) = nodes(text, yaml=may_be_yaml)
    place = Lines(text).place
    assert {key: place(written.start) for key, (written, _) in (tree.members or {}).items()} == read(
        data, yaml=may_be_yaml
    ).places


@given(soups)
def test_what_is_a_document_has_places(data: bytes) -> None:
    """
    Bytes that are read as a document are also read with places, and give the same keys.
    """
    for may_be_yaml in (False, True):
        try:
            found = read(data, yaml=may_be_yaml).values
        except NotJSON:
            continue
        trees = nodes(decode(data), yaml=may_be_yaml)
        assert list(found) == [key for tree in trees for key in tree.members or ()]
