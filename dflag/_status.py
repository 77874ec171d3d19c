"""
The state of an updater, its sources and its rules, as frozen records.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    import datetime
    from collections.abc import Mapping

    from dflag._records import RulePhase
    from dflag._source_state import ReloadResult
    from dflag.errors import FlagValueError

State: TypeAlias = Literal["new", "initialized", "running", "stopped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """
    The state of one source.

    Attributes:
        name: The source's name.
        healthy: Whether it could be read the last time and was not gone. Also False while the updater runs and no check
            of the source has ended for 10 seconds plus twice ``resync_seconds``.
        watched: How changes are noticed: ``"inotify"``, ``"polling"``, ...; ``"not watched"`` while not running.
        degraded: Why changes are noticed only by the periodic check, else None.
        not_live: Why changes will never show, as with a ``subPath`` mount, else None.
        seconds_since_contact: Seconds since it was last seen, changed or not; None for never.
        reconnects: How often the running watch lost its connection and opened another one; 0 for a watch without one.
        checksum: The checksum of the last revision that was applied from it; empty for none.
        applied_at: When that revision was applied, in UTC; None for never.
        reloads: The number of reads with something new by their result: ``"applied"``, ``"partial"`` (all but the bad
            values), ``"refused"`` (the whole revision), ``"failed"`` (it could not be read or looked at). What lasts
            counts once.
        last_error: Why the source is unhealthy, or nothing new of it is applied, while that is so; else None.
    """

    name: str
    healthy: bool
    watched: str
    degraded: str | None
    not_live: str | None
    seconds_since_contact: float | None
    reconnects: int
    checksum: str
    applied_at: datetime.datetime | None
    reloads: Mapping[ReloadResult, int] = field(hash=False)
    last_error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleStatus:
    """
    The state of one rule in this process.

    Attributes:
        source: The name of its source.
        name: Its name, or ``"rule 3"`` by its place in the list.
        state: The first that fits: ``"refused"`` (it is bad; a named one may go on with its last good text),
            ``"reverted"`` (this process was not healthy with it), ``"ended"``, ``"elsewhere"`` (it is not for this
            process), ``"waiting"`` (for its time), ``"baking"``, ``"done"`` (in stages, for all processes, and
            at 100 %: its values can be moved to the plain keys), ``"in force"``.
        next_change: When the state or what it sets changes by itself, in UTC; None for never. For a refused rule: when
            its last good text comes into force, goes on or ends.
        problem: Why the rule was refused or reverted, else None.
        needs: The facts that the rule names and that are not known. Unknown in ``when`` or ``of``, they keep the rule
            from applying; in ``unless`` they exclude nobody.
        share_percent: The percentage of processes, or of keys, that it is in force for by the clock, in whole percents
            with ``over``; None for a rule without a share, and for one that is refused. Which processes have taken it
            back, no other knows.
        audience: Whom it is for, in words, such as ``"zone is eu-1 or eu-2"`` or ``"tenant is acme"``; empty for
            everybody. That of a secret source is ``"******"``.
    """

    source: str
    name: str
    state: RulePhase
    next_change: datetime.datetime | None
    problem: str | None
    needs: tuple[str, ...]
    # Not compared: the other fields say what a rule is, and these describe it.
    share_percent: float | None = field(default=None, compare=False)
    audience: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """
    The state of an updater at one moment.

    Attributes:
        state: ``"new"``, ``"initialized"``, ``"running"`` or ``"stopped"``.
        sources: One record per source, in the order given.
        updates: How many revisions were applied.
        errors: How many values were refused, revisions were refused, and reads failed. What lasts counts once.
        warnings: How many unknown names were seen. Each counts once.
        rejected: The errors of values that are refused now, by flag name, or ``rule:NAME`` for a rule.
        unknown: The names in the sources that no flag has.
        pending_restart: The static flags that would have another value after a restart.
        seconds_since_success: Seconds since all sources were last healthy and in force; None for never.
        rules: The rules of the sources, one record per rule.
    """

    state: State
    sources: tuple[SourceStatus, ...]
    updates: int
    errors: int
    warnings: int
    rejected: Mapping[str, FlagValueError] = field(hash=False)
    unknown: tuple[str, ...]
    pending_restart: tuple[str, ...]
    seconds_since_success: float | None
    rules: tuple[RuleStatus, ...] = ()
