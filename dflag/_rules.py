"""
What a rule is in this process at a moment: pure functions of the rule, the facts and the time.
"""

from __future__ import annotations

import datetime
from bisect import bisect_right
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from dflag._keyed import EVERYBODY, draw

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dflag._rules_text import Rule

Facts: TypeAlias = "Mapping[str, str]"
"""What is known of this process: texts by name."""

Phase: TypeAlias = Literal["ended", "elsewhere", "waiting", "on"]

_NEVER: Final = datetime.datetime.max.replace(tzinfo=datetime.UTC)
"""A moment that no clock reaches."""

_ALWAYS: Final = datetime.datetime.min.replace(tzinfo=datetime.UTC)


_MICROSECOND: Final = datetime.timedelta(microseconds=1)


class Situation(NamedTuple):
    """
    What a rule is in this process at a moment.

    Attributes:
        phase: ``"on"`` while its values are in force.
        switch: When this process switches, or has: None for a rule without ``from``, and for one that is elsewhere.
        next_change: The next moment at which any of this, or whether everybody has switched, is another; None for none.
        threshold: Of the keys of a keyed rule, it is for those whose draw is below.
        is_done: Whether everybody has switched, so that its values can become the plain ones.
    """

    phase: Phase
    switch: datetime.datetime | None = None
    next_change: datetime.datetime | None = None
    threshold: int = EVERYBODY
    is_done: bool = False


def situation(rule: Rule, facts: Facts, now: datetime.datetime) -> Situation:
    """
    Return what a rule is at a moment for a process with these facts.

    Nothing else decides: a process that starts again with the same facts has the same values.
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
    Return the facts that a rule asks for and that are not known, in order.
    """
    asked = {*rule.when, *rule.unless}
    if rule.by is None and (rule.over is not None or rule.steps):
        asked.add(rule.of)
    return tuple(sorted(asked.difference(facts)))


def all_moments(rule: Rule, facts: Facts) -> list[datetime.datetime]:
    """
    Return every moment at which anything changes for a process with these facts, in order.
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
    Return whether all of the facts fit one of their globs each; one that is not known fits none.
    """
    return all(
        fact in facts and any(fnmatchcase(facts[fact], glob) for glob in globs) for fact, globs in globs_by_fact.items()
    )


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
        # In whole microseconds: a timedelta times 2**32 may be more than a timedelta can hold.
        passed = rule.over // _MICROSECOND * number // EVERYBODY
        return _later(rule.start, datetime.timedelta(microseconds=passed))
    step = bisect_right(rule.steps, number)
    return None if step == len(rule.steps) else _step(rule, rule.start, step)


def _steps_taken(rule: Rule, start: datetime.datetime, now: datetime.datetime) -> int:
    """
    Return which step a rule has reached, from 0.
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
    Return when a staged rule is in force in each process that it is for; None for never, or a rule that is not staged.
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
