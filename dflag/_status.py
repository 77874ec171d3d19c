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
        healthy: Whether the last read succeeded and the source existed. Also False while the updater runs and no check
            of the source has ended for 10 seconds plus twice ``resync_seconds``.
        watched: How changes are noticed: ``"inotify"``, ``"polling"``, ...; ``"not watched"`` while not running.
        degraded: The reason why only the periodic check notices changes, otherwise None.
        not_live: The reason why changes never become visible, as with a ``subPath`` mount, otherwise None.
        seconds_since_contact: Seconds since the source was last seen, changed or not; None for never.
        reconnects: How often the running watch lost its connection and opened another one; 0 if it uses no connection.
        checksum: The checksum of the last revision that was applied from the source; empty if there is none.
        applied_at: When that revision was applied, in UTC; None for never.
        reloads: The number of reads with something new, by their result: ``"applied"``, ``"partial"`` (all but the bad
            values), ``"refused"`` (the whole revision), ``"failed"`` (the source could not be read or checked). A
            problem that lasts counts once.
        last_error: The reason why the source is unhealthy now, or why its new values are not applied; otherwise None.
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
        source: The name of the rule's source.
        name: The name of the rule; for a rule without a name its place in the list, as in ``"rule 3"``.
        state: The first of these that applies: ``"refused"`` (it is bad; a rule with a name may go on with its last
            good text), ``"reverted"`` (this process was not healthy with it), ``"ended"``, ``"elsewhere"`` (it is not
            for this process), ``"waiting"`` (for its time), ``"baking"``, ``"done"`` (a staged rule for all processes
            that has reached 100 %: its values can be moved to the plain keys), ``"in force"``.
        next_change: When the state, or the values that the rule sets, change by the clock, in UTC; None for never. For
            a refused rule: when its last good text comes into force, goes on or ends.
        problem: The reason why the rule was refused or reverted, otherwise None.
        needs: The facts that the rule names and that are not known. An unknown fact in ``when`` or ``of`` keeps the
            rule from applying. In ``unless`` it excludes no process.
        share_percent: The percentage of processes, or of keys, for which the rule is in force by the clock; in whole
            percents with ``over``. None for a rule without a share, and for a refused rule. Processes that have
            reverted the rule still count, because other processes do not learn of that.
        audience: The processes or keys that the rule is for, in words, such as ``"zone is eu-1 or eu-2"`` or
            ``"tenant is acme"``; empty for all. For a secret source it is ``"******"``.
    """

    source: str
    name: str
    state: RulePhase
    next_change: datetime.datetime | None
    problem: str | None
    needs: tuple[str, ...]
    # Not compared: these fields only describe a rule.
    share_percent: float | None = field(default=None, compare=False)
    audience: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """
    The state of an updater at one moment.

    Attributes:
        state: ``"new"``, ``"initialized"``, ``"running"`` or ``"stopped"``.
        sources: One record per source, in the order given.
        updates: The number of revisions that were applied.
        errors: The number of refused values, refused revisions and failed reads. A problem that lasts counts once.
        warnings: The number of unknown names that were seen. Each name counts once.
        rejected: The errors of the values that are refused now, by flag name; by key for a key of a map, and by
            ``rule:NAME`` for a rule.
        unknown: The names in the sources that no flag has.
        pending_restart: The static flags that would have another value after a restart.
        seconds_since_success: Seconds since all sources were last healthy and their values in force; None for never.
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
