"""
Whether a message quotes a secret value, or a part of one.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
from typing import Any

import pydantic
import pytest

from dflag._quotes import may_quote

HIDDEN = "hunter2"


@dataclasses.dataclass(frozen=True)
class _Login:
    password: str = HIDDEN


@dataclasses.dataclass(frozen=True, slots=True)
class _Slots:
    login: _Login = dataclasses.field(default_factory=_Login)


class _HalfSet:
    __slots__ = ("password", "user")

    def __init__(self) -> None:
        self.password = HIDDEN


class _Model(pydantic.BaseModel):
    password: pydantic.SecretStr = pydantic.SecretStr(HIDDEN)


class _Mode(enum.Enum):
    ONLY = HIDDEN


class _Lazy:
    @property
    def __dict__(self) -> Any:  # type: ignore[override]  # as a proxy may
        raise ArithmeticError


def _endless() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


@pytest.mark.parametrize(
    "value",
    [
        HIDDEN,
        HIDDEN.encode(),
        [{"a": (HIDDEN,)}],
        {HIDDEN: 1},
        _Login(),
        _Slots(),
        _HalfSet(),
        _Model(),
        _Mode.ONLY,
        [collections.OrderedDict(a=frozenset({_Login()}))],
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_part_of_a_value_is_found_whatever_holds_it(value: object) -> None:
    """`may_quote()` finds a quoted part of a value, whether it is an item, a key or an attribute, at any depth."""
    assert may_quote([f"the password {HIDDEN!r} is too short"], [value])
    assert not may_quote(["the password is too short"], [value])


@pytest.mark.parametrize(("said", "expected"), [("pin 12", True), ("of 123 digits", False), ("", False)])
def test_a_short_value_counts_as_a_word_alone(said: str, expected: bool) -> None:
    """A short value counts as quoted only where it is a word of its own, not as a part of a longer word."""
    assert may_quote([said], ["12", ""]) is expected


@pytest.mark.parametrize("value", [_endless(), _Lazy(), [0] * 10_001], ids=["endless", "raises", "too many"])
def test_what_cannot_be_told_counts_as_quoted(value: object) -> None:
    """A value counts as quoted if it cannot be searched: it contains itself, raises, or has too many parts."""
    assert may_quote(["too short"], [value])


def test_a_long_text_is_not_searched() -> None:
    """A message of more than 10,000 characters is not searched, and counts as quoting the value."""
    assert may_quote(["x" * 10_001], [HIDDEN])
    assert not may_quote(["x" * 10_000], [HIDDEN])
