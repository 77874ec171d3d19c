"""
The effect of rules for one process at one moment, and the moments at which anything changes.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dflag._clock import Clock
from dflag._rule_layers import RuleContext
from dflag._rules import all_moments
from dflag._rules_text import parse_time, percentage
from dflag._transaction import table_from
from dflag.cli._errors import CommandError
from dflag.errors import did_you_mean

if TYPE_CHECKING:
    import argparse
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from dflag._flags import Flag
    from dflag._registry import FlagRegistry
    from dflag._rules_text import Rule
    from dflag.cli._findings import Validation

_FIRST: Final = datetime.datetime.min.replace(tzinfo=datetime.UTC)

_MAX_MOMENTS: Final = 1_000
"""More than anybody reads. Each takes an evaluation of all rules."""


class _FixedClock(Clock):
    """
    A clock that stands still.
    """

    def __init__(self, moment: datetime.datetime) -> None:
        self._moment: Final = moment

    def now(self) -> datetime.datetime:
        return self._moment


def facts_of(options: argparse.Namespace) -> dict[str, str]:
    """
    Return the facts that are given for the process.

    Raises:
        CommandError: A fact is not written as ``NAME=TEXT``.
    """
    return dict(_pair("--fact", text) for text in options.fact)


class Process:
    """
    The process that a plan is for.

    Attributes:
        keys: The key to read flags for, by the ``by`` of the flags.
        documents: The keys of ConfigMaps that hold documents.
        at: The moment; None if none is given.

    Raises:
        CommandError: A fact, a key or the moment has the wrong form.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._facts: Final = facts_of(options)
        self.keys: Final = dict(_pair("--key", text) for text in options.key if "=" in text)
        self.documents: Final = [text for text in options.key if "=" not in text]
        self.at: Final = None if options.at is None else _moment(options.at)

    def check_keys(self, registry: FlagRegistry) -> None:
        """
        Raise CommandError for a key whose name is the ``by`` of no flag.
        """
        known = {flag.by for flag in registry if flag.by is not None}
        for by in self.keys:
            if by not in known:
                raise CommandError(f"no flag is keyed by {by[:80]!r}{did_you_mean(by[:253], known)}")

    def check_documents(self, keys: Collection[str]) -> None:
        """
        Raise CommandError for the key of a document that no input has.
        """
        for key in self.documents:
            if key not in keys:
                raise CommandError(f"no input has the key {key[:80]!r}{did_you_mean(key[:253], keys)}")

    def key_of(self, flag: Flag[Any]) -> str | None:
        """
        Return the key for which a keyed flag is read; None for a flag without ``by``, or if no key is given.
        """
        return None if flag.by is None else self.keys.get(flag.by)

    def context(self, moment: datetime.datetime | None = None) -> RuleContext:
        """
        Return the context that resolves rules at a moment; by default at `at`, or now if that is None.
        """
        return RuleContext(self._facts, _FixedClock(moment or self.at or datetime.datetime.now(datetime.UTC)))

    def reads(self, validation: Validation, flag: Flag[Any]) -> tuple[Any, str | None]:
        """
        Return the value that the process reads for a flag, and the rule that gives it, if one does.
        """
        states = {str(number): state for number, state in enumerate(validation.states)}
        ranking = [*reversed(states)]
        unkeyed = {layer: state.entries[flag.name] for layer, state in states.items() if flag.name in state.entries}
        rule = next((unkeyed[layer].rule for layer in ranking if layer in unkeyed), None)
        value, key = validation.values[flag], self.key_of(flag)
        if key is None:
            return value, rule
        keyed = {layer: state.rules.keyed.get(flag, ()) for layer, state in states.items()}
        table = table_from(flag, unkeyed, keyed, ranking, value)
        match = table.match(key)
        return table.value_for(key), rule if match is None else match.rule

    def moments(self, rules: Iterable[Rule]) -> list[datetime.datetime]:
        """
        Return the moments at which rules change anything, for this process or for others, in order.
        """
        found = {moment for rule in rules for moment in all_moments(rule, self._facts)}
        found.update(moment for rule in rules for moment, _ in events(rule))
        return sorted(moment for moment in found if self.at is None or moment > self.at)[:_MAX_MOMENTS]


def events(rule: Rule) -> Iterator[tuple[datetime.datetime, str]]:
    """
    Yield the events of a rule that do not depend on the process.
    """
    for moment, event in _stages(rule):
        if rule.until is None or moment < rule.until:
            yield moment, event
    if rule.until is not None:
        yield rule.until, "ends"


def _stages(rule: Rule) -> Iterator[tuple[datetime.datetime, str]]:
    try:
        if rule.start is not None and rule.steps:
            for number, threshold in enumerate(rule.steps):
                yield rule.start + (rule.every or datetime.timedelta()) * number, f"reaches {percentage(threshold)}"
        elif rule.start is not None:
            yield rule.start, "begins"
            if rule.over is not None:
                yield rule.start + rule.over, "reaches 100%"
    except OverflowError:  # beyond the year 9999
        pass


def just_before(moment: datetime.datetime) -> datetime.datetime:
    """
    Return the moment before another one; for the earliest possible moment that moment itself.
    """
    return moment if moment == _FIRST else moment - datetime.timedelta.resolution


def rules_of(validation: Validation) -> list[Rule]:
    """
    Return the accepted rules of all sources.
    """
    return [accepted.rule for state in validation.states for accepted in state.rules.usable or ()]


class Happening(NamedTuple):
    """
    What happens at one moment.

    Attributes:
        rules: The rules to which something happens, by name, each with what happens.
        refused: The rules that a process refuses then because they conflict with others, each with the reason.
        changes: The values that change for this process: flag, old and new text, rule.
    """

    at: datetime.datetime
    rules: Sequence[tuple[str, str]]
    refused: Sequence[tuple[str, str]]
    changes: Sequence[Mapping[str, str | None]]

    def as_json(self) -> dict[str, Any]:
        return {
            "at": written(self.at),
            "rules": [
                *({"name": name, "event": event} for name, event in self.rules),
                *({"name": name, "event": "is refused", "problem": problem} for name, problem in self.refused),
            ],
            "changes": [dict(change) for change in self.changes],
        }


def written(moment: datetime.datetime) -> str:
    """
    Return a moment as rules write it.
    """
    return moment.isoformat().replace("+00:00", "Z")


def _pair(option: str, text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise CommandError(f"expected {option} NAME=TEXT, got {text[:80]!r}")
    return name, value


def _moment(text: str) -> datetime.datetime:
    moment = parse_time(text)
    if moment is None:
        raise CommandError(f"expected --at as a time with Z or an offset: 2026-11-28T10:00:00Z, got {text[:80]!r}")
    return moment
