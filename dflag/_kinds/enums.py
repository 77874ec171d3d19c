"""
Members of an `enum.Enum` class.
"""

from __future__ import annotations

import enum
from typing import Final, TypeVar

from dflag._kinds._base import Kind, Problem

E = TypeVar("E", bound=enum.Enum)


class EnumKind(Kind[E]):
    """
    The members of one class, written by name or by value.
    """

    __slots__ = ("_by_fold", "_by_name", "_by_value", "_cls", "expected")
    name = "enum"

    def __init__(self, cls: type[E]) -> None:
        self._cls: Final = cls
        self.expected = "one of " + ", ".join(member.name for member in cls)
        self._by_name: Final = dict(cls.__members__)
        self._by_value: Final = _unambiguous([(str(member.value), member) for member in cls])
        self._by_fold: Final = _unambiguous(
            [(text.casefold(), member) for text, member in (*self._by_name.items(), *self._by_value.items())]
        )

    @property
    def cls(self) -> type[E]:
        """
        The class of the members.
        """
        return self._cls

    def parse(self, text: str) -> E:
        member = self._by_name.get(text)
        if member is None:
            member = self._by_value.get(text)
        if member is None:
            member = self._by_fold.get(text.casefold())
        if member is None:
            raise Problem(self.expected)
        return member

    def convert(self, value: object) -> E:
        if not isinstance(value, self._cls):
            raise Problem(self.expected, f"a member of {self._cls.__name__}")
        if value.name not in self._by_name:  # a combination of enum.Flag members, which no text could say
            raise Problem(self.expected)
        return value

    def format(self, value: E) -> str:
        return value.name

    def same(self, one: E, other: E) -> bool:
        return one is other


def enum_kind(cls: type[E]) -> EnumKind[E]:
    """
    Give the kind of flags whose values are the members of *cls*.
    """
    return EnumKind(cls)


def _unambiguous(pairs: list[tuple[str, E]]) -> dict[str, E]:
    """
    Keep the texts that stand for one member only.
    """
    members: dict[str, list[E]] = {}
    for text, member in pairs:
        found = members.setdefault(text, [])
        if not any(member is other for other in found):
            found.append(member)
    return {text: found[0] for text, found in members.items() if len(found) == 1}
