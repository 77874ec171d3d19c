"""
Truth values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dflag._kinds._base import Kind, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dflag._kinds._declared import Demands, Limits, Schema, SchemaOptions
    from dflag._kinds.cel import CEL
    from dflag._kinds.shapes import Shape

_WORDS: Final = {True: ("true", "t", "yes", "y", "on", "1"), False: ("false", "f", "no", "n", "off", "0")}
_VALUES: Final = {word: value for value, words in _WORDS.items() for word in words}


class BoolKind(Kind[bool]):
    """
    Words for true and false, in upper, lower or mixed case.
    """

    __slots__ = ()
    name = "bool"
    expected = "a bool"
    is_switch = True

    def parse(self, text: str) -> bool:
        value = _VALUES.get(text.lower())
        if value is None:
            raise Problem(self.expected, f"one of {', '.join(_VALUES)}")
        return value

    def convert(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise Problem(self.expected)
        return value

    def portable(self, value: bool) -> bool:  # noqa: FBT001 - as below
        return value

    def format(self, value: bool) -> str:  # noqa: FBT001 - the value itself, not a switch
        return "true" if value else "false"

    def options(self, choices: Sequence[bool] | None) -> Sequence[bool]:
        return (True, False) if choices is None else choices

    def native(self, value: bool) -> bool:  # noqa: FBT001 - as above
        return value

    def pattern(self, limits: Limits) -> str:  # noqa: ARG002 - a schema may accept more than the choices
        from dflag._kinds.json_schema import any_case

        return "|".join(map(any_case, _VALUES))

    def native_schemas(self, options: SchemaOptions) -> list[Schema]:  # noqa: ARG002 - a bool has no limits
        return [{"type": "boolean"}, {"enum": [0, 1]}]

    def cel(self, limits: Limits) -> CEL:
        from dflag._kinds.cel import CEL, any_case, matches

        wanted = (True, False) if limits.choices is None else limits.choices
        words = [word for value, words in _WORDS.items() if value in wanted for word in words]
        return CEL([matches(f"^({'|'.join(map(any_case, words))})$") if words else "false"], [])

    def spellings(self, value: bool) -> list[str]:  # noqa: FBT001 - as above
        return [self.format(value), *(each for word in _WORDS[value] for each in (word, word.upper(), word.title()))]

    def _shape(self, demands: Demands) -> Shape:  # noqa: ARG002 - nothing is demanded of a bool
        from dflag._kinds.shapes import Sampled

        return Sampled((False, True))


BOOL: Final = BoolKind()
