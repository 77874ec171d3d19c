from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any

import pytest

import dflag
from dflag._kinds import STRING_LIST, STRING_SET, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from dflag import DynamicFlag


@pytest.mark.parametrize(
    ("text", "items"),
    [("", ()), ("a, b", ("a", "b")), ("a,,b", ("a", "", "b")), ('["a,b", " c "]', ("a,b", " c ")), ("[]", ())],
)
def test_lists_read_commas_or_json(text: str, items: tuple[str, ...]) -> None:
    """
    The items of a list are stripped when they stand between commas, and verbatim in a JSON array.
    """
    assert items == STRING_LIST.parse(text)


@pytest.mark.parametrize(
    ("items", "printed"),
    [
        (("a", "b"), "a,b"),
        (("",), '[""]'),
        (("a,b",), '["a,b"]'),
        ((" a",), '[" a"]'),
        (("[x",), '["[x"]'),
        (("\ufeffa",), '["\ufeffa"]'),
    ],
)
def test_lists_print_as_json_where_commas_would_not_do(items: tuple[str, ...], printed: str) -> None:
    """
    A list prints with commas if that text reads back as the same list, and otherwise as a JSON array.
    """
    assert printed == STRING_LIST.format(items)


@pytest.mark.parametrize("text", ["[", "[1]", '["a"] b', "[" * 5000])
def test_bad_json_arrays_are_refused(text: str) -> None:
    """
    A text that begins with a bracket is refused if it is not a JSON array of strings.
    """
    with pytest.raises(Problem):
        STRING_LIST.parse(text)


def test_a_list_in_a_document_is_the_value() -> None:
    """
    A list in a document is taken item by item, and refused if an item is not a string.
    """
    assert STRING_LIST.load(["a,b"], "x") == ("a,b",)
    with pytest.raises(Problem):
        STRING_LIST.load([80], "x")


@pytest.mark.parametrize("written", ["{a.example, b.example}", "\n  a.example:\n  b.example:"])
@pytest.mark.parametrize("declare", [dflag.dyn_string_list, dflag.dyn_string_set])
def test_a_mapping_in_a_document_is_no_list(
    tmp_path: Path, declare: Callable[[list[str]], DynamicFlag[Any]], written: str
) -> None:
    """A mapping in a document, from braces or items without dashes, is refused as a list and not cut at its commas."""
    (tmp_path / "app.yaml").write_text(f"hosts: {written}\n", encoding="utf-8")
    flags = dflag.FlagRegistry()
    hosts = flags.bind("hosts", declare(["a.example"]))
    before = hosts.get()
    with pytest.raises(dflag.UpdateError, match=r"flag 'hosts': expected a .* of strings, not a mapping, got '{"):
        dflag.Updater(flags, tmp_path / "app.yaml").initialize()
    assert hosts.get() == before


def test_sets_drop_duplicates_and_print_sorted() -> None:
    """
    A set drops duplicates and prints its items in order.
    """
    assert STRING_SET.format(STRING_SET.parse("b,a,b")) == "a,b"


@pytest.mark.parametrize("given", [collections.deque(["a", "b"]), collections.UserList(["a", "b"]), ["a", "b"]])
def test_a_list_takes_every_sequence_of_texts(given: Sequence[str]) -> None:
    """A list flag takes any sequence of texts as its default, its choices and a new value."""
    hosts = dflag.dyn_string_list(given, choices=given)
    hosts.set(given)  # type: ignore[arg-type]  # typed as what get() returns
    assert hosts.default == hosts.get() == ("a", "b")


@pytest.mark.parametrize(
    "make",
    [{"a": 1, "b": 2}.keys, lambda: (item for item in "ab"), lambda: collections.deque("ab"), lambda: {"a", "b"}],
)
def test_a_set_takes_whatever_gives_texts(make: Callable[[], Iterable[str]]) -> None:
    """A set flag takes any iterable of texts, also an iterator, as its default, its choices and a new value."""
    zones = dflag.dyn_string_set(make(), choices=make())
    zones.set(make())  # type: ignore[arg-type]  # as above
    assert zones.default == zones.get() == {"a", "b"}


@pytest.mark.parametrize("given", ["ab", b"ab", 5, None, [5], range(2), {1: "a"}])
def test_anything_but_texts_is_refused(given: Any) -> None:
    """A default that is not a collection of texts is refused, also one text; for a list it must have an order."""
    with pytest.raises(dflag.DefinitionError, match="expected a set of strings"):
        dflag.string_set(given)
    with pytest.raises(dflag.DefinitionError, match="expected a list of strings"):
        dflag.string_list(given)
    with pytest.raises(dflag.DefinitionError, match="expected a list of strings"):
        dflag.string_list({"a": 1}.keys())  # type: ignore[arg-type]  # it has no order
