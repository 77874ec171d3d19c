"""
Members of an `enum.Enum` class.
"""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING, Final, TypeVar

from dflag._kinds._base import Kind, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dflag._kinds._declared import Demands, Limits, Schema, SchemaOptions
    from dflag._kinds.cel import CEL
    from dflag._kinds.shapes import Shape

E = TypeVar("E", bound=enum.Enum)


class EnumKind(Kind[E]):
    """
    The members of one `enum.Enum` class, written by name or by value.
    """

    __slots__ = ("_by_fold", "_by_name", "_by_value", "_cls", "expected")
    name = "enum"

    def __init__(self, cls: type[E]) -> None:
        self._cls: Final = cls
        self._by_name: Final = dict(cls.__members__)
        # Iterating over an enum.Flag skips the combined members and the member 0.
        members = [member for name, member in self._by_name.items() if member.name == name]
        self.expected = "one of " + ", ".join(member.name for member in members)
        self._by_value: Final = _unambiguous([(str(member.value), member) for member in members])
        self._by_fold: Final = _unambiguous(
            [(text.casefold(), member) for text, member in (*self._by_name.items(), *self._by_value.items())]
        )

    def parse(self, text: str) -> E:
        member = self._by_name.get(text)
        if member is None:
            member = self._by_value.get(text)
        if member is None:
            member = self._by_fold.get(text.casefold())
        if member is None:
            raise self._problem()
        return member

    def convert(self, value: object) -> E:
        if not isinstance(value, self._cls):
            raise self._problem(f"a member of {self._cls.__name__}")
        if value.name not in self._by_name:  # a combination of enum.Flag members, which no text can express
            raise self._problem()
        return value

    def _problem(self, detail: str = "") -> Problem:
        return Problem(self.expected, detail, masked="one of its members")  # one member is the secret

    def format(self, value: E) -> str:
        return value.name

    def portable(self, value: E) -> str:
        return str.__str__(value.value) if isinstance(value.value, str) else value.name

    def same(self, one: E, other: E) -> bool:
        return one is other

    def words(self) -> str:
        return f"{self.name} ({self.expected})"

    def members(self) -> str:
        return ", ".join(self._by_name)

    def options(self, choices: Sequence[E] | None) -> Sequence[E]:
        return [each for name, each in self._by_name.items() if each.name == name] if choices is None else choices

    def pattern(self, limits: Limits) -> str:  # noqa: ARG002 - a schema may accept more than the choices
        from dflag._kinds.json_schema import BEYOND_ASCII, any_case

        return "|".join([*map(any_case, self._texts()), BEYOND_ASCII])

    def native_schemas(self, options: SchemaOptions) -> list[Schema]:  # noqa: ARG002 - as above
        from dflag._kinds.json_schema import only_like

        return only_like(self._texts())

    def cel(self, limits: Limits) -> CEL:
        from dflag._kinds.cel import CEL, any_case, matches

        members = list(self._by_name.values()) if limits.choices is None else limits.choices
        exact = {**self._by_value, **self._by_name}
        words = [re.escape(text) for text, member in exact.items() if member in members]
        words += [any_case(text) for text, member in self._by_fold.items() if member in members]
        alternatives = "|".join(dict.fromkeys(words))
        # Many characters beyond ASCII fold to one ASCII character, and some to two.
        beyond_ascii = matches(r"[^\x00-\x7f]")
        condition = f"{beyond_ascii} || {matches(f'^({alternatives})$')}"
        return CEL([condition], ["names with other characters than those of ASCII"])

    def spellings(self, value: E) -> list[str]:
        return [value.name, str(value.value), value.name.swapcase(), value.name.lower()]

    def _texts(self) -> list[str]:
        # The folded texts too: a member TRUE may be written as true, which YAML reads as a bool.
        return sorted({*self._by_name, *self._by_value, *self._by_fold})

    def _shape(self, demands: Demands) -> Shape:  # noqa: ARG002 - nothing is demanded of a member
        from dflag._kinds.shapes import Sampled

        return Sampled(tuple(self._by_name.values()))


def _unambiguous(pairs: list[tuple[str, E]]) -> dict[str, E]:
    """
    Return the members by text, without the texts that stand for several members.
    """
    members: dict[str, list[E]] = {}
    for text, member in pairs:
        found = members.setdefault(text, [])
        if not any(member is other for other in found):
            found.append(member)
    return {text: found[0] for text, found in members.items() if len(found) == 1}
