"""
The situation of a rule in a process at a moment: pure functions of the rule, the facts and the time.
"""

from __future__ import annotations

import datetime
import re
from bisect import bisect_right
from fnmatch import fnmatchcase
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from dflag._keyed import EVERYBODY, draw
from dflag._rules_text import percentage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dflag._rules_text import Rule

Facts: TypeAlias = "Mapping[str, str]"
"""The facts of a process: texts by name."""

Phase: TypeAlias = Literal["ended", "elsewhere", "waiting", "on"]

_NEVER: Final = datetime.datetime.max.replace(tzinfo=datetime.UTC)
"""A moment that no clock reaches."""

_ALWAYS: Final = datetime.datetime.min.replace(tzinfo=datetime.UTC)


_MICROSECOND: Final = datetime.timedelta(microseconds=1)

_MAX_LISTED: Final = 5
"""How many facts, globs of a fact or keys `audience` lists at most: a rule may name a million."""

_WILDCARD: Final = re.compile(r"[*?[]")

_MAX_CHARACTERS: Final = 80
"""How many characters of a fact, glob or key are shown: as many as of a flag's value."""


class Situation(NamedTuple):
    """
    The situation of a rule in this process at a moment.

    Attributes:
        phase: ``"on"`` if facts and time let the rule apply.
        switch: When this process switches or has switched; None for a rule without ``from`` or one that is elsewhere.
        next_change: The next moment at which any attribute changes, or all processes have switched; None for never.
        threshold: A keyed rule is for those of its keys whose draw is below this number.
        is_done: Whether all processes have switched, so that the values of the rule can become the plain values.
    """

    phase: Phase
    switch: datetime.datetime | None = None
    next_change: datetime.datetime | None = None
    threshold: int = EVERYBODY
    is_done: bool = False


def situation(rule: Rule, facts: Facts, now: datetime.datetime) -> Situation:
    """
    Return the situation of a rule at a moment, for a process with these facts.

    Nothing else decides, so a process that starts again with the same facts has the same values.
    """
    if rule.until is not None and now >= rule.until:
        return Situation("ended")
    switch = _switch(rule, facts) if _fits(rule, facts) else None
    if switch is None or (rule.until is not None and switch >= rule.until):
        return Situation("elsewhere")
    start = None if rule.start is None else switch
    if now < switch:
        return Situation("waiting", start, switch)
    done = _all_switched(rule)
    moments = [rule.until, done if rule.by is None else None]
    threshold = EVERYBODY if rule.share is None else rule.share
    if rule.by is not None and rule.steps and rule.start is not None:
        step = _steps_taken(rule, rule.start, now)
        threshold = min(threshold, rule.steps[step])
        if step + 1 < len(rule.steps):
            moments.append(_step(rule, rule.start, step + 1))
    return Situation(
        "on",
        start,
        min((moment for moment in moments if moment is not None and moment > now), default=None),
        threshold,
        done is not None and now >= done and not (rule.when or rule.unless or rule.until or rule.by),
    )


def needs(rule: Rule, facts: Facts) -> tuple[str, ...]:
    """
    Return the unknown facts that a rule needs, in order.
    """
    asked = {*rule.when, *rule.unless}
    if rule.by is None and (rule.over is not None or rule.steps):
        asked.add(rule.of)
    return tuple(sorted(asked.difference(facts)))


def share_percent(rule: Rule, now: datetime.datetime) -> float | None:
    """
    Return the percentage of processes, or of keys, for which a rule is in force by the clock; None without a share.

    With ``over`` it is in whole percents, so that it does not change at each look.
    """
    if rule.over is None and not rule.steps:
        return None if rule.share is None else percent(rule.share)
    if rule.start is None or now < rule.start or (rule.until is not None and now >= rule.until):
        return 0.0
    if rule.over is not None:
        return float(min(100, (now - rule.start) * 100 // rule.over))
    return percent(rule.steps[_steps_taken(rule, rule.start, now)])


def percent(threshold: int) -> float:
    """
    Return a threshold as a percentage, to the millionth of a percent.
    """
    return float(percentage(threshold).removesuffix("%"))


def threshold(percent: float) -> int:
    """
    Return the threshold for a percentage. This is the inverse of the function `percent`.

    >>> threshold(12.5) == EVERYBODY // 8
    True
    """
    return -(-round(percent * 1_000_000) * EVERYBODY // 100_000_000)


def audience(rule: Rule) -> str:
    """
    Return the processes and keys that a rule is for, in words; empty for all.

    >>> from dflag._rules_text import parse_rules
    >>> audience(parse_rules("- {when: {zone: [a, b]}, by: tenant, is: acme, set: {rate: 1}}").rules[0])
    'zone is a or b; tenant is acme'
    """
    parts = []
    if rule.when:
        parts.append(_conditions(rule.when))
    if rule.unless:
        parts.append(f"unless {_conditions(rule.unless)}")
    if rule.by is not None:
        parts.append(key_audience(rule))
    elif rule.over is not None or rule.steps:
        parts.append(f"{_cut(rule.of)} is drawn by share")
    return "; ".join(parts)


def key_audience(rule: Rule) -> str:
    """
    Return the keys that a rule is for, in words; empty for a rule without ``by``.
    """
    if rule.by is None:
        return ""
    drawn = rule.share is not None or rule.steps
    keys = "drawn by share" if drawn else "any" if rule.keys is None else _several(rule.keys)
    return f"{_cut(rule.by)} is {keys}"


def _conditions(globs_by_fact: Mapping[str, Sequence[str]]) -> str:
    listed = islice(globs_by_fact.items(), _MAX_LISTED)
    return _joined([f"{_cut(fact)} is {_several(globs)}" for fact, globs in listed], len(globs_by_fact), " and ")


def _several(texts: Sequence[str]) -> str:
    return _joined([_cut(text) for text in texts[:_MAX_LISTED]], len(texts), " or ")


def _joined(listed: Sequence[str], count: int, word: str) -> str:
    more = [f"{count - len(listed)} more"] if count > len(listed) else []
    return word.join([*listed, *more])


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 1] + "…"


def baked_at(rule: Rule, since: datetime.datetime) -> datetime.datetime | None:
    """
    Return the end of the bake of a rule that came into force at *since*; None for a rule without a bake.
    """
    return None if rule.bake is None else _later(since, rule.bake)


def all_moments(rule: Rule, facts: Facts) -> list[datetime.datetime]:
    """
    Return every moment at which the situation of a rule changes for a process with these facts, in order.
    """
    moments = []
    moment: datetime.datetime | None = _ALWAYS
    while moment is not None:
        moment = situation(rule, facts, moment).next_change
        if moment is not None:
            moments.append(moment)
    return moments


def fits(globs_by_fact: Mapping[str, Iterable[str]], facts: Facts) -> bool:
    """
    Return whether each fact matches one of its globs; an unknown fact matches none.
    """
    return all(
        fact in facts and any(_matches(facts[fact], glob) for glob in globs) for fact, globs in globs_by_fact.items()
    )


def _matches(text: str, glob: str) -> bool:
    # Python compiles each glob and caches 32,768 of them. A rule may name more globs, and most are plain texts.
    return fnmatchcase(text, glob) if _WILDCARD.search(glob) else text == glob


def _fits(rule: Rule, facts: Facts) -> bool:
    return fits(rule.when, facts) and not (rule.unless and fits(rule.unless, facts))


def _switch(rule: Rule, facts: Facts) -> datetime.datetime | None:
    """
    Return when a process with these facts switches; None for never.
    """
    if rule.start is None:
        return _ALWAYS
    if rule.by is not None or (rule.over is None and not rule.steps):
        return rule.start
    text = facts.get(rule.of)
    if text is None:
        return None
    number = draw(rule.name, text)
    if rule.over is not None:
        # In whole microseconds, because a timedelta times 2**32 may be more than a timedelta can hold.
        passed = rule.over // _MICROSECOND * number // EVERYBODY
        return _later(rule.start, datetime.timedelta(microseconds=passed))
    step = bisect_right(rule.steps, number)
    return None if step == len(rule.steps) else _step(rule, rule.start, step)


def _steps_taken(rule: Rule, start: datetime.datetime, now: datetime.datetime) -> int:
    """
    Return the number of the step that a rule has reached, from 0.
    """
    last = len(rule.steps) - 1
    return last if not rule.every else min(last, (now - start) // rule.every)


def _step(rule: Rule, start: datetime.datetime, step: int) -> datetime.datetime:
    if rule.every is None or not step:
        return start
    try:
        return _later(start, rule.every * step)
    except OverflowError:
        return _NEVER


def _all_switched(rule: Rule) -> datetime.datetime | None:
    """
    Return when a staged rule is in force in every process that it is for; None for never, or for a rule without stages.
    """
    if rule.start is None:
        return None
    if rule.over is not None:
        return _later(rule.start, rule.over)
    if rule.steps and rule.steps[-1] >= EVERYBODY:
        return _step(rule, rule.start, len(rule.steps) - 1)
    return None


def _later(moment: datetime.datetime, delay: datetime.timedelta) -> datetime.datetime:
    try:
        return moment + delay
    except OverflowError:
        return _NEVER
