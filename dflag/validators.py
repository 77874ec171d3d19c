"""
Checks for ``validator=``.

Each function returns a validator: a callable that raises `ValueError` to refuse a value. Its repr says what it accepts.

>>> import dflag.validators
>>> dflag.validators.in_range(min=1, max=10)
<validator: a value from 1 to 10>
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, final

from dflag.errors import ArgumentError, DefinitionError, check_argument, shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sized

    from dflag.typing import Validator

__all__ = [
    "in_range",
    "matches",
    "max_items",
    "max_length",
    "min_items",
    "min_length",
    "not_empty",
    "one_of",
]


def __dir__() -> list[str]:
    return __all__


T = TypeVar("T")


@final
class _Check(Generic[T]):
    """
    A validator: a test of a value, and the words for the values that pass it.

    Attributes:
        keywords: The same test as keywords of JSON Schema, with Python values, if JSON Schema has keywords for it.
            They serve to translate the test into another language, or to find values that pass.
    """

    __slots__ = ("_passes", "_wanted", "keywords")

    def __init__(self, wanted: str, passes: Callable[[T], bool], **keywords: Any) -> None:
        self._wanted: Final = wanted
        self._passes: Final = passes
        self.keywords: Final[Mapping[str, Any]] = keywords

    def __call__(self, value: T, /) -> None:
        if not self._passes(value):
            raise ValueError(f"expected {self._wanted}")

    def __repr__(self) -> str:
        return f"<validator: {self._wanted}>"


def keywords_of(validator: object) -> Mapping[str, Any]:
    """
    Return the demands of a validator of this module as keywords of JSON Schema; an empty mapping for other validators.
    """
    # A user's callable may have an attribute "keywords" too: that of functools.partial holds arguments.
    return validator.keywords if isinstance(validator, _Check) else {}


def in_range(*, min: Any = None, max: Any = None) -> Validator[Any]:
    """
    Accept values between two limits, both inclusive.

    For int, float and duration flags ``min=`` and ``max=`` do the same. This validator works for all values that can be
    compared.

    Args:
        min: The least value allowed, or None for no lower limit.
        max: The greatest value allowed, or None for no upper limit.

    Raises:
        DefinitionError: Neither limit is given, no value is within both, or they cannot be compared.

    >>> import dflag
    >>> flags = dflag.FlagRegistry()
    >>> flag = flags.dyn_custom("size", 1, parse=int, validator=in_range(min=1, max=10))
    >>> flag.set(11)
    Traceback (most recent call last):
    dflag.errors.ValidationError: flag 'size': expected a value from 1 to 10, got 11 (override)
    """
    if min is None and max is None:
        raise DefinitionError("in_range needs min, max or both")
    if min is None:
        return _Check(f"a value of at most {max}", lambda value: bool(value <= max), maximum=max)
    if max is None:
        return _Check(f"a value of at least {min}", lambda value: bool(value >= min), minimum=min)
    try:
        crossed = not min <= max  # the same as min > max for numbers, but not for NaN
    except TypeError as error:
        raise ArgumentError(
            f"expected min and max that compare, got min={shorten(min)} and max={shorten(max)}"
        ) from error
    if crossed:
        raise DefinitionError(f"expected min <= max, got min={shorten(min)} and max={shorten(max)}")
    return _Check(f"a value from {min} to {max}", lambda value: bool(min <= value <= max), minimum=min, maximum=max)


def matches(pattern: str | re.Pattern[str]) -> Validator[str]:
    """
    Accept texts in which a regular expression matches, at any place unless it is anchored.

    Args:
        pattern: The expression, as text or compiled.

    Raises:
        DefinitionError: *pattern* is not a regular expression for texts.

    >>> import dflag
    >>> flags = dflag.FlagRegistry()
    >>> flag = flags.dyn_string("host", "a.example", validator=matches("[.]example$"))
    >>> flag.set("b.test")
    Traceback (most recent call last):
    dflag.errors.ValidationError: flag 'host': expected a text that matches '[.]example$', got 'b.test' (override)
    """
    check_argument("pattern", pattern, (str, re.Pattern), "a regular expression, as text or compiled")
    try:
        compiled: Any = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:  # too large a repetition, too many nested groups
        raise DefinitionError(f"expected pattern as a regular expression, got {shorten(pattern)}: {error}") from error
    if isinstance(compiled.pattern, bytes):
        raise ArgumentError(f"expected pattern as an expression of texts, got {shorten(pattern)}")
    return _Check(
        f"a text that matches {compiled.pattern!r}",
        lambda value: compiled.search(value) is not None,
        pattern=compiled,
    )


def min_items(n: int) -> Validator[Sized]:
    """
    Accept lists and sets of at least *n* items.

    Raises:
        DefinitionError: *n* is not an int of at least 0.

    >>> import dflag
    >>> flags = dflag.FlagRegistry()
    >>> flag = flags.dyn_string_list("hosts", ["a"], validator=min_items(1))
    >>> flag.set([])
    Traceback (most recent call last):
    dflag.errors.ValidationError: flag 'hosts': expected at least 1 item, got [] (override)
    """
    _check_count(n)
    return _Check(f"at least {_count(n, 'item')}", lambda value: len(value) >= n, minItems=n)


def max_items(n: int) -> Validator[Sized]:
    """
    Accept lists and sets of at most *n* items.

    Raises:
        DefinitionError: *n* is not an int of at least 0.

    >>> import dflag
    >>> flags = dflag.FlagRegistry()
    >>> flag = flags.dyn_string_list("hosts", [], validator=max_items(1))
    >>> flag.set(["a", "b"])
    Traceback (most recent call last):
    dflag.errors.ValidationError: flag 'hosts': expected at most 1 item, got ['a', 'b'] (override)
    """
    _check_count(n)
    return _Check(f"at most {_count(n, 'item')}", lambda value: len(value) <= n, maxItems=n)


def min_length(n: int) -> Validator[Sized]:
    """
    Accept texts of at least *n* characters, and bytes of at least *n* bytes.

    Raises:
        DefinitionError: *n* is not an int of at least 0.

    >>> import dflag
    >>> flags = dflag.FlagRegistry()
    >>> flag = flags.dyn_string("name", "shop", validator=min_length(3))
    >>> flag.set("x")
    Traceback (most recent call last):
    dflag.errors.ValidationError: flag 'name': expected a length of at least 3, got 'x' (override)
    """
    _check_count(n)
    return _Check(f"a length of at least {n}", lambda value: len(value) >= n, minLength=n)


def max_length(n: int) -> Validator[Sized]:
    """
    Accept texts of at most *n* characters, and bytes of at most *n* bytes.

    Raises:
        DefinitionError: *n* is not an int of at least 0.

    >>> import dflag
    >>> flags = dflag.FlagRegistry()
    >>> flag = flags.dyn_string("name", "", validator=max_length(3))
    >>> flag.set("shop")
    Traceback (most recent call last):
    dflag.errors.ValidationError: flag 'name': expected a length of at most 3, got 'shop' (override)
    """
    _check_count(n)
    return _Check(f"a length of at most {n}", lambda value: len(value) <= n, maxLength=n)


def not_empty() -> Validator[Sized]:
    """
    Accept texts, bytes, lists and sets that are not empty.

    >>> import dflag
    >>> flags = dflag.FlagRegistry()
    >>> flag = flags.dyn_string("banner", "Sale", validator=not_empty())
    >>> flag.set("")
    Traceback (most recent call last):
    dflag.errors.ValidationError: flag 'banner': expected a value that is not empty, got '' (override)
    """
    return _Check("a value that is not empty", lambda value: len(value) > 0, minLength=1, minItems=1)


def one_of(*choices: T) -> Validator[T]:
    """
    Accept the values that are equal to one of those given here.

    ``choices=`` also compares the types of the values, applies to each item of a list or set, and shows the choices on
    the page and in the help.

    Raises:
        DefinitionError: No choice is given.

    >>> import dflag
    >>> flags = dflag.FlagRegistry()
    >>> flag = flags.dyn_int("workers", 1, validator=one_of(1, 2, 4))
    >>> flag.set(3)
    Traceback (most recent call last):
    dflag.errors.ValidationError: flag 'workers': expected one of 1, 2, 4, got 3 (override)
    """
    if not choices:
        raise DefinitionError("one_of needs a choice")
    return _Check("one of " + ", ".join(map(repr, choices)), lambda value: value in choices, enum=choices)


def _check_count(n: object) -> None:
    check_argument("n", n, int, "an int of at least 0")
    if isinstance(n, int) and n < 0:
        raise DefinitionError(f"expected n as an int of at least 0, got {shorten(n)}")


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
