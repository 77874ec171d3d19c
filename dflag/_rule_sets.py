"""
The rules of one source, as the state of a source holds them.

`_rule_layers` makes them from texts, facts and time. A program without an updater does not import that module.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - a NamedTuple's annotation, which tools may evaluate
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dflag._formats.base import Place  # noqa: TC001 - as above
from dflag._layers import RULE_PREFIX, Entry
from dflag.errors import FlagValueError  # noqa: TC001 - as above

if TYPE_CHECKING:
    import datetime

    from dflag._flags import Flag
    from dflag._keyed import KeyedValue
    from dflag._rules_text import Rule
    from dflag.typing import Raw


class Spot(NamedTuple):
    """
    The position of a rule, good or bad.

    Attributes:
        number: Its number in the list, from 1.
        place: Its place in the text.
    """

    number: int
    place: Place


class ValidRule:
    """
    A rule whose values the flags accept.

    Attributes:
        rule: The rule.
        values: The values that it sets, by flag.
        members: The values that it sets for single keys of maps, by map flag and key.
    """

    __slots__ = ("members", "rule", "values")

    def __init__(
        self, rule: Rule, values: Mapping[Flag[Any], Any], members: Mapping[Flag[Any], Mapping[str, Any]]
    ) -> None:
        self.rule: Final = rule
        self.values: Final = values
        self.members: Final = members

    @property
    def name(self) -> str:
        return self.rule.name

    def moved(self, rule: Rule) -> ValidRule:
        """
        Return this object for *rule*, which has the same content and may be at another place.
        """
        same = rule.number == self.rule.number and rule.place == self.rule.place
        return self if same else ValidRule(rule, self.values, self.members)

    def at(self, spot: Spot) -> ValidRule:
        """
        Return the same rule at another place of the list.
        """
        import dataclasses  # slow to import, but reading the rules has imported it already

        return self.moved(dataclasses.replace(self.rule, number=spot.number, place=spot.place))


class Active(NamedTuple):
    """
    A rule that is in force in this process.

    Attributes:
        valid: The rule.
        threshold: The rule is in force for the keys whose draw is below this number.
        since: When the rule came into force.
    """

    valid: ValidRule
    threshold: int
    since: datetime.datetime


class RuleSet(NamedTuple):
    """
    The rules of a source, and the values that they give in this process. It never changes.

    Attributes:
        raw: The raw value under the key for rules; None if the source has no rules.
        listing: The well-formed rules of the last list that could be read, whether or not the flags accept them.
        bad_text: The errors in the text itself, by ``rule:NAME``, or by the key if the whole list is bad.
        good: The rules whose values the flags accept, in order. A bad rule with a name is here with its last good text.
        bad: All errors of bad rules, by ``rule:NAME``, or by the key if the whole list is bad.
        unknown: The names that rules set and that no flag has.
        usable: The good rules that the registry validators accept too; None if that was not tried yet.
        refused_alone: The good rules that the registry validators refuse, with the errors.
        last_usable: The last usable texts of the rules in `refused_alone`, by name.
        refused_together: The errors of the rules that are left out because they conflict with others, by ``rule:NAME``.
        active: The usable rules that are in force.
        entries: The values that the active rules set, by the name of the flag.
        keyed: The values that the active rules set for keys, by flag.
        place: The place of the list, for messages.
        spots: The position of each rule, good or bad, by name.
    """

    raw: Raw | None = None
    listing: tuple[Rule, ...] = ()
    bad_text: Mapping[str, FlagValueError] = MappingProxyType({})
    good: tuple[ValidRule, ...] = ()
    bad: Mapping[str, FlagValueError] = MappingProxyType({})
    unknown: frozenset[str] = frozenset()
    usable: tuple[ValidRule, ...] | None = None
    refused_alone: Mapping[ValidRule, FlagValueError] = MappingProxyType({})
    last_usable: Mapping[str, ValidRule] = MappingProxyType({})
    refused_together: Mapping[str, FlagValueError] = MappingProxyType({})
    active: tuple[Active, ...] = ()
    entries: Mapping[str, Entry] = MappingProxyType({})
    keyed: Mapping[Flag[Any], tuple[KeyedValue, ...]] = MappingProxyType({})
    place: str = ""
    spots: Mapping[str, Spot] = MappingProxyType({})

    @property
    def names(self) -> tuple[str, ...]:
        """
        The names of the rules in force, in order.
        """
        return tuple(each.valid.name for each in self.active)

    @property
    def rejected(self) -> Mapping[str, FlagValueError]:
        refused_alone = {RULE_PREFIX + valid.name: error for valid, error in self.refused_alone.items()}
        return {**refused_alone, **self.bad, **self.refused_together}  # `bad` is about the current text

    @property
    def left_out(self) -> list[ValidRule]:
        """
        The rules that are left out because they conflict with others.
        """
        return [valid for valid in self.usable or () if RULE_PREFIX + valid.name in self.refused_together]

    @property
    def needs_trial(self) -> bool:
        """
        Whether rules must be tried against the registry validators: all of them, or again those that were refused.
        """
        return self.usable is None or bool(self.refused_alone)

    @property
    def is_opposed(self) -> bool:
        """
        Whether good rules are refused because of the values of other flags, which may change.
        """
        return bool(self.refused_alone or self.refused_together)

    def is_like(self, other: RuleSet) -> bool:
        """
        Return whether another set has the same rules in force, and the same errors.
        """
        return (
            len(self.active) == len(other.active)
            and all(
                one.valid is two.valid and one.threshold == two.threshold
                for one, two in zip(self.active, other.active, strict=True)
            )
            and _texts(self.rejected) == _texts(other.rejected)
        )


def _texts(errors: Mapping[str, FlagValueError]) -> dict[str, str]:
    return {key: str(error) for key, error in errors.items()}


NO_RULES: Final = RuleSet(usable=())
