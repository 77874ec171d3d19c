"""
How an updater and its sources are doing, as frozen records.
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
    How one source is doing.

    Attributes:
        name: The source's name.
        healthy: Whether it could be read the last time, and was not gone; false also while the updater runs and no look
            at it has ended for 10 s and twice ``resync_seconds``.
        watched: How changes are noticed: ``"inotify"``, ``"polling"``, ...; ``"not watched"`` while not running.
        degraded: Why changes are only noticed by the periodic check, else None.
        not_live: Why changes will never show, as with a ``subPath`` mount, else None.
        seconds_since_contact: Since it was last seen to be there, changed or not; None for never.
        reconnects: How often the running watch lost its connection and made it again; 0 where there is none to lose.
        checksum: That of the last revision applied from it; empty for none.
        applied_at: When that was, in UTC; None for never.
        reloads: How many readings with something new in them ended how: ``"applied"``,
            ``"partial"`` (all but the values that are bad), ``"refused"`` (whole), ``"failed"`` (it could not be read).
            What lasts counts once.
        last_error: The last failure, in words, until it is read well again; else None.
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
    reloads: Mapping[ReloadResult, int]
    last_error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleStatus:
    """
    What one rule is in this process.

    Attributes:
        source: The source that holds it.
        name: Its name, or ``"rule 3"`` by its place in the list.
        state: The first that fits: ``"refused"`` (it is bad; a named one may go on with its last good text),
            ``"reverted"`` (this process was not healthy with it), ``"ended"``, ``"elsewhere"`` (it is not for this
            process), ``"waiting"`` (for its time), ``"baking"``, ``"done"`` (it is in force everywhere and can be
            folded into the plain keys), ``"in force"``.
        next_change: When the state or what it sets changes by itself, in UTC; None for never.
        problem: Why it was refused or reverted, else None.
        needs: The facts that it asks for and that are not known.
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
    How an updater is doing, at one moment.

    Attributes:
        state: ``"new"``, ``"initialized"``, ``"running"`` or ``"stopped"``.
        sources: One record a source, in the order given.
        updates: How many revisions were applied.
        errors: How many values, revisions or reads failed; a failure that lasts counts once.
        warnings: How many unknown names were seen; each counts once.
        rejected: The flags whose value in a source is refused now, with the reason.
        unknown: The names in the sources that no flag has.
        pending_restart: The static flags that would have another value after a restart.
        seconds_since_success: Since all sources were last seen to be well; None for never.
        rules: The rules of the sources, one record a rule.
    """

    state: State
    sources: tuple[SourceStatus, ...]
    updates: int
    errors: int
    warnings: int
    rejected: Mapping[str, FlagValueError]
    unknown: tuple[str, ...]
    pending_restart: tuple[str, ...]
    seconds_since_success: float | None
    rules: tuple[RuleStatus, ...] = ()
