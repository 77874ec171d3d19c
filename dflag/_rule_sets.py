"""
The rules of one source, as the state of a source holds them.

`_rule_layers` makes them from texts, facts and time; a program without an updater does not import it.
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
    Where a rule stands, good or bad.

    Attributes:
        number: In the list, from 1.
        place: In the text.
    """

    number: int
    place: Place


class ValidRule:
    """
    A rule whose values the flags accept.

    Attributes:
        rule: The rule.
        values: What it sets, by flag.
        members: What it sets of single keys that belong to a map, by map.
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
        Return the same for a rule with the same content, which may stand at another place.
        """
        same = rule.number == self.rule.number and rule.place == self.rule.place
        return self if same else ValidRule(rule, self.values, self.members)

    def at(self, spot: Spot) -> ValidRule:
        """
        Return the same at another place of the list.
        """
        import dataclasses  # as heavy as the rest of this module; reading rules has loaded it

        return self.moved(dataclasses.replace(self.rule, number=spot.number, place=spot.place))


class Active(NamedTuple):
    """
    A rule that is in force in this process.

    Attributes:
        valid: The rule.
        threshold: The rule is in force for keys whose draw is below this.
        since: When it came into force.
    """

    valid: ValidRule
    threshold: int
    since: datetime.datetime


class RuleSet(NamedTuple):
    """
    The rules of a source, and what comes of them in this process. Never changes.

    Attributes:
        raw: What the source holds under the key for rules; None for nothing.
        listing: The rules in the last list that could be read, good or bad.
        bad_text: What is wrong with the text, by name of a rule or key.
        good: The rules whose values the flags accept, in order; a bad rule is here with its last good text.
        bad: The errors of the bad rules, by name, and of the key if the list is bad.
        unknown: The names that rules set and no flag has.
        usable: The good ones that the registry validators accept too; None while that was not tried.
        refused_alone: The good ones that the registry validators refuse, with the reason.
        last_usable: The last usable texts of rules in `refused_alone`, by name.
        refused_together: The rules that are left out because they do not go together with others.
        active: The usable ones that are in force.
        entries: What they set, by the name of the flag.
        keyed: What they set for keys.
        place: Where the list stands.
        spots: Where each rule stands, good or bad, by name.
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
        return {**refused_alone, **self.bad, **self.refused_together}  # `bad` is about the text that is there now

    @property
    def left_out(self) -> list[ValidRule]:
        """
        The rules that are left out because they do not go together with others.
        """
        return [valid for valid in self.usable or () if RULE_PREFIX + valid.name in self.refused_together]

    @property
    def is_to_be_tried(self) -> bool:
        """
        Whether to try rules against the registry validators: all of them, or again those that were refused.
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
        Return whether another set has the same rules in force, and the same ones refused.
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
