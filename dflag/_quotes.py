"""
Detecting whether a message quotes a secret value or a part of one.
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
"""A shorter value counts only if it is a whole word: most messages have some longer word that contains it."""

_MAX_CHARACTERS: Final = 10_000
"""The longest text that is searched for secrets."""

_MAX_LOOKED_AT: Final = 10_000
"""How many parts of values are examined at most."""


def may_quote(said: Iterable[str], values: Iterable[Any]) -> bool:
    """
    Return True if texts quote one of the values or a part of one, or if that cannot be decided.

    A part is an item of a collection, or an attribute of an object of any class, at any depth.

    Args:
        said: The texts.
        values: The values, which may be of a user's classes.
    """
    try:
        text = "\n".join(said)
        return len(text) > _MAX_CHARACTERS or any(_is_quoted(part, text) for part in _texts(list(values)))
    except BaseException as fault:  # raised by methods of the values, or of the exceptions that give the texts
        if is_interrupt(fault):
            raise
        return True


def _is_quoted(text: str, said: str) -> bool:
    if not text or text not in said:
        return False
    return len(text) >= _LEAST_CHARACTERS or re.search(rf"(?<!\w){re.escape(text)}(?!\w)", said) is not None


def _texts(values: list[Any]) -> Iterator[str]:
    """
    Yield every text with which a message may quote the values or their parts.

    Raises:
        ValueError: There are too many parts, or a value contains itself.
    """
    for number, value in enumerate(values):  # the list grows meanwhile
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
    Return the values of the attributes of an object, in its ``__dict__`` and in its slots, also of classes in C.
    """
    found = list(getattr(value, "__dict__", {}).values())
    slots = [
        each for cls in type(value).__mro__ for each in vars(cls).values() if isinstance(each, MemberDescriptorType)
    ]
    for slot in slots:
        with contextlib.suppress(AttributeError):  # the slot is not set
            found.append(slot.__get__(value))
    return found
