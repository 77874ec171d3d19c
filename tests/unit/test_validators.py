from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import pytest

import dflag
from dflag import validators

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("validator", "good", "bad", "words"),
    [
        (validators.in_range(min=1, max=10), 10, 11, "a value from 1 to 10"),
        (validators.in_range(min=1), 1, 0, "a value of at least 1"),
        (validators.in_range(max=1), 1, 2, "a value of at most 1"),
        (validators.matches("b+"), "abba", "aa", "a text that matches 'b+'"),
        (validators.matches(re.compile("^a")), "ab", "ba", "a text that matches '^a'"),
        (validators.min_items(1), ("a",), (), "at least 1 item"),
        (validators.max_items(2), ("a",), ("a", "b", "c"), "at most 2 items"),
        (validators.min_length(2), "ab", "a", "a length of at least 2"),
        (validators.max_length(2), "ab", "abc", "a length of at most 2"),
        (validators.not_empty(), "a", "", "a value that is not empty"),
        (validators.one_of("a", "b"), "a", "c", "one of 'a', 'b'"),
    ],
)
def test_validators_accept_and_refuse_in_words(validator: Any, good: object, bad: object, words: str) -> None:
    """
    A validator accepts a good value, and names its condition in its repr and in the error for a bad value.
    """
    validator(good)
    assert words in repr(validator)
    with pytest.raises(ValueError, match=re.escape(words)):
        validator(bad)


def test_limits_that_leave_nothing_are_refused() -> None:
    """
    `in_range()` without limits, with crossed limits or with NaN, and `one_of()` without choices, raise `ValueError`.
    """
    for limits in ({}, {"min": 2, "max": 1}, {"min": math.nan, "max": 1}, {"min": 1, "max": math.nan}):
        with pytest.raises(ValueError, match="min"):
            validators.in_range(**limits)
    with pytest.raises(ValueError, match="choice"):
        validators.one_of()


def test_all_is_sorted_and_importable() -> None:
    """
    `validators.__all__` is sorted, and the module has each name in it.
    """
    assert sorted(validators.__all__) == validators.__all__
    assert all(hasattr(validators, name) for name in validators.__all__)


@pytest.mark.parametrize(
    "make",
    [
        validators.in_range,
        lambda: validators.in_range(min=2, max=1),
        lambda: validators.in_range(min="a", max=1),
        lambda: validators.matches("("),
        lambda: validators.matches("a{99999999999}"),
        lambda: validators.matches("(" * 10_000 + ")" * 10_000),
        lambda: validators.matches(5),  # type: ignore[arg-type]
        lambda: validators.matches(b"x"),  # type: ignore[arg-type]
        lambda: validators.matches(re.compile(b"x")),  # type: ignore[arg-type]
        validators.one_of,
        *(
            lambda make=make, wrong=wrong: make(wrong)  # type: ignore[misc]
            for make in (validators.min_items, validators.max_items, validators.min_length, validators.max_length)
            for wrong in (-1, "3", 1.5, None, True)
        ),
    ],
)
def test_arguments_are_checked_when_a_validator_is_made(make: Callable[[], object]) -> None:
    """A wrong argument raises `DefinitionError` when the validator is made, before it is called."""
    with pytest.raises(dflag.DefinitionError):
        make()
