"""
Whether a message says a secret value, or a part of one.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from enum import Enum
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any, Final

from dflag._faults import is_interrupt, repr_of, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LEAST_CHARACTERS: Final = 4
"""A shorter value counts only as a word of its own: most messages hold some longer word with it."""

_MAX_CHARACTERS: Final = 10_000
"""The longest text that is searched for secrets."""

_MAX_LOOKED_AT: Final = 10_000
"""How many parts of values are looked at."""


def may_quote(said: Iterable[str], values: Iterable[Any]) -> bool:
    """
    Return whether texts quote one of some values, or a part of one, or that cannot be told.

    A part is an item of a collection, or an attribute of an object of any class, at any depth.

    Args:
        said: The texts.
        values: The values, which may be of a user's classes.
    """
    try:
        text = "\n".join(said)
        return len(text) > _MAX_CHARACTERS or any(_is_quoted(part, text) for part in _texts(list(values)))
    except BaseException as fault:  # of the classes of the values, or of exceptions that say the texts
        if is_interrupt(fault):
            raise
        return True


def _is_quoted(text: str, said: str) -> bool:
    if not text or text not in said:
        return False
    return len(text) >= _LEAST_CHARACTERS or re.search(rf"(?<!\w){re.escape(text)}(?!\w)", said) is not None


def _texts(values: list[Any]) -> Iterator[str]:
    """
    Iterate over the ways in which a message may quote values, and what they are made of.

    Raises:
        ValueError: There are too many, or they hold themselves.
    """
    for number, value in enumerate(values):  # which grows meanwhile
        if number > _MAX_LOOKED_AT:
            raise ValueError
        if isinstance(value, Mapping):
            values += [*value.keys(), *value.values()]
        elif isinstance(value, (list, tuple, frozenset)):
            values += value
        else:
            yield text_of(value).strip()
            if isinstance(value, (str, bytes)):
                yield repr_of(value).removeprefix("b")[1:-1]
            else:
                values += [value.value] if isinstance(value, Enum) else _attributes(value)


def _attributes(value: object) -> list[Any]:
    """
    Return what the attributes of an object hold: those in its ``__dict__``, and its slots, also of classes in C.
    """
    found = list(getattr(value, "__dict__", {}).values())
    slots = [
        each for cls in type(value).__mro__ for each in vars(cls).values() if isinstance(each, MemberDescriptorType)
    ]
    for slot in slots:
        with contextlib.suppress(AttributeError):  # it is not set
            found.append(slot.__get__(value))
    return found
