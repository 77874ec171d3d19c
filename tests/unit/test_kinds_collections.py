from __future__ import annotations

import pytest

from dflag._kinds import STRING_LIST, STRING_SET, Problem


@pytest.mark.parametrize(
    ("text", "items"),
    [("", ()), ("a, b", ("a", "b")), ("a,,b", ("a", "", "b")), ('["a,b", " c "]', ("a,b", " c ")), ("[]", ())],
)
def test_lists_read_commas_or_json(text: str, items: tuple[str, ...]) -> None:
    """
    Items are stripped between commas and verbatim in a JSON array.
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
    The comma form is used wherever it reads back.
    """
    assert printed == STRING_LIST.format(items)


@pytest.mark.parametrize("text", ["[", "[1]", '["a"] b', "[" * 5000])
def test_bad_json_arrays_are_refused(text: str) -> None:
    """
    What begins with a bracket must be a JSON array of strings.
    """
    with pytest.raises(Problem):
        STRING_LIST.parse(text)


def test_a_list_in_a_document_is_the_value() -> None:
    """
    Native lists are taken item by item, and only strings will do.
    """
    assert STRING_LIST.load(["a,b"], "x") == ("a,b",)
    with pytest.raises(Problem):
        STRING_LIST.load([80], "x")


def test_sets_drop_duplicates_and_print_sorted() -> None:
    """
    A set prints the same whatever the order of its text.
    """
    assert STRING_SET.format(STRING_SET.parse("b,a,b")) == "a,b"
