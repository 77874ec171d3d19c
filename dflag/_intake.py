"""
What the sources last gave, and the applying of what they give now.
"""

from __future__ import annotations

import weakref
from logging import DEBUG
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dflag._drafting import Draft, Reading, SourceState, make_draft
from dflag._flags import same
from dflag._haste import give_way
from dflag._history import shown
from dflag._layers import OWN_LAYERS
from dflag._ledger import Outcome
from dflag._log import logger
from dflag._snapshot import unknown_keys
from dflag.errors import DefinitionError, RuleError, drop_frames, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from dflag._flags import Flag
    from dflag._ledger import Ledger
    from dflag._records import Revision
    from dflag._store import Store
    from dflag.errors import FlagValueError
    from dflag.typing import Raw

_MAX_REMEMBERED: Final = 10_000
"""How many unknown names that are gone again to remember as reported, since ever new ones must not fill the memory."""


_MAX_NAMED: Final = 10
"""How many changed flags a log line names."""


class _Step:
    """
    What one commit does to the sources, as its errand.

    Attributes:
        drafts: What is to be applied.
        outcomes: What came of each, once it is done.
    """

    def __init__(
        self,
        intake: Intake,
        drafts: Mapping[str, Draft],
        wanted: Callable[[], bool],
        *,
        report_unknown: bool,
        background: bool,
    ) -> None:
        self.drafts: Final = drafts
        self.outcomes: dict[str, Outcome] = {}
        self._intake: Final = intake
        self._wanted: Final = wanted
        self._report_unknown: Final = report_unknown
        self._background: Final = background
        self._pending_restart: Final = intake._pending_restart(drafts)
        self._replaced: list[object] = []  # what must not end under the lock, as an exception of a user may

    def without(self, name: str) -> _Step:
        """
        Return the same step without one of its sources.
        """
        return _Step(
            self._intake,
            {other: draft for other, draft in self.drafts.items() if other != name},
            self._wanted,
            report_unknown=self._report_unknown,
            background=self._background,
        )

    def is_current(self) -> bool:
        store, states = self._intake._store, self._intake._states
        return self._wanted() and all(
            states[name] is draft.base and not draft.is_outdated(store) for name, draft in self.drafts.items()
        )

    def give_way(self) -> None:
        if self._background:
            give_way()

    def conclude(self, changed: Collection[Flag[Any]]) -> None:
        intake = self._intake
        for name, draft in self.drafts.items():
            names = tuple(flag.name for flag, _, _ in draft.edits if flag in changed)
            revision = _revise(name, draft, intake._store.number, self._pending_restart, changed=names)
            rejections, unknowns = intake._news(name, draft.state, report_unknown=self._report_unknown)
            values = draft.state.reading.values
            intake._states[name] = draft.state._replace(revision=revision)
            self.outcomes[name] = Outcome(revision, values, rejections, unknowns, applied=True, in_force=True)
        self._replaced = intake._enter(self.outcomes)


class Sources(NamedTuple):
    """
    What an `Intake` keeps of its sources, at one moment: their states, their ranks, and what was reported of them.
    """

    states: Mapping[str, SourceState]
    below_arguments: frozenset[str]
    reported: Mapping[str, Mapping[str, Raw]]
    unknown: Mapping[str, frozenset[str]]
    reported_unknown: Mapping[int, None]
    reported_refusals: Mapping[str, str]


class Intake:
    """
    The sources of one store.

    Thread safety: any thread.
    """

    def __init__(self, store: Store) -> None:
        self._store: Final = store
        self._states: dict[str, SourceState] = {}  # in the order in which they were named, which is their rank
        self._below_arguments: set[str] = set()  # the sources that environment and command line hide
        self._claims: Final[dict[str, weakref.ref[object]]] = {}
        self._ledgers: Final[dict[str, Ledger]] = {}
        self._reported: dict[str, Mapping[str, Raw]] = {}  # the rejected texts of each source
        self._reported_refusals: dict[str, str] = {}  # why each source that is refused whole is
        self._unknown: dict[str, frozenset[str]] = {}  # the unknown names of each source's last reading
        self._reported_unknown: dict[int, None] = {}  # by hash, the earliest first: a name may be of megabytes
        self._waiting: dict[str, Any] = {}  # the values that wait for a restart, of those that were logged

    def claim(self, name: str, owner: object, ledger: Ledger, *, below_arguments: bool) -> None:
        """
        Name a source that *owner* alone will feed, until it releases the claim or is gone.

        Args:
            name: Of the source.
            owner: Who feeds it.
            ledger: Where to enter what comes of it, from now on.
            below_arguments: Whether environment and command line rank above it.

        Raises:
            DefinitionError: Another source has the name, or it is a layer's, or the source has values at another rank.
        """
        with self._store.lock:
            holder = self._claims.get(name)
            if holder is not None and holder() is not None and holder() is not owner:
                raise DefinitionError(f"source {name!r} is already followed by another updater: stop() that one first")
            self.name(name)
            self._rank(name, below_arguments=below_arguments)
            self._claims[name] = weakref.ref(owner)
            self._ledgers[name] = ledger

    def release(self, name: str, owner: object) -> None:
        with self._store.lock:
            holder = self._claims.get(name)
            if holder is not None and holder() is owner:
                del self._claims[name]

    def name(self, name: str) -> None:
        """
        Give a source its rank, above those named before.

        Raises:
            DefinitionError: It is the name of a layer of dflag's own.
        """
        with self._store.lock:
            if name in self._states:
                return
            if name in OWN_LAYERS or not name:
                raise DefinitionError(f"expected the name of a source, which no layer of dflag has, got {name!r}")
            self._states[name] = _empty(name)
            self._rank_all()

    def _rank(self, name: str, *, below_arguments: bool) -> None:
        """
        Rank a source above or below the arguments. The caller holds the lock.
        """
        if below_arguments is (name in self._below_arguments):
            return
        if any(name in flag._layers for flag in self._store.flags.values()):
            # Another rank would change values, of frozen flags too, and no revision would say so.
            raise DefinitionError(
                f"source {name!r} already has values {'above' if below_arguments else 'below'} the command line; "
                f"use below_arguments={not below_arguments}, or empty it first with apply({{}}, source={name!r})"
            )
        (self._below_arguments.add if below_arguments else self._below_arguments.discard)(name)
        self._rank_all()

    def _rank_all(self) -> None:
        above = [name for name in self._states if name not in self._below_arguments]
        self._store.rank_sources(above, [name for name in self._states if name in self._below_arguments])

    def owners(self) -> list[object]:
        """
        List who feeds sources now, each for as many times as it has sources.
        """
        with self._store.lock:
            owners = [claim() for claim in self._claims.values()]
        return [owner for owner in owners if owner is not None]

    def keep(self) -> Sources:
        """
        Return what is known of all sources now. The caller holds the lock.
        """
        return Sources(
            dict(self._states),
            frozenset(self._below_arguments),
            dict(self._reported),
            dict(self._unknown),
            dict(self._reported_unknown),
            dict(self._reported_refusals),
        )

    def bring_back(self, kept: Sources) -> object:
        """
        Know of all sources what was known then, and return what is replaced. The caller holds the lock.

        An updater that feeds one applies again what differs, as soon as it looks at its source.
        """
        replaced = self._states, self._reported
        fed = {name: _empty(name) for name, claim in self._claims.items() if claim() is not None}
        self._states = {**kept.states, **{name: state for name, state in fed.items() if name not in kept.states}}
        self._below_arguments = set(kept.below_arguments)
        self._reported = dict(kept.reported)
        self._unknown = dict(kept.unknown)
        self._reported_unknown = dict(kept.reported_unknown)
        self._reported_refusals = dict(kept.reported_refusals)
        self._rank_all()
        return replaced

    def holds(self, name: str, values: Mapping[str, Raw], *, secret: bool) -> bool:
        """
        Say whether these very values of the named source are in force, so that they need not be compared, each second.
        """
        held = self._states[name].reading
        return values is held.values and secret == held.secret

    def catch_up(self, flag: Flag[Any]) -> None:
        """
        Give a flag that was declared just now what the sources hold for it.
        """
        readings = {}
        with self._store.lock:
            for name, state in self._states.items():
                keys = self._keys_of(flag, state.reading.values)
                if keys:
                    readings[name] = state.reading
                    self._forget(name, keys)
        if readings:
            self.apply(readings, fresh=flag)

    def _keys_of(self, flag: Flag[Any], values: Iterable[str]) -> frozenset[str]:
        kind, flags = self._store.families.get(flag), self._store.flags
        return frozenset(
            key for key in values if key == flag.name or (kind is not None and key not in flags and kind.fits(key))
        )

    def _forget(self, source: str, keys: frozenset[str]) -> None:
        state = self._states[source]
        seen = state.reading._replace(values={k: raw for k, raw in state.reading.values.items() if k not in keys})
        self._states[source] = state._replace(reading=seen, unknown=state.unknown - keys)

    def pending_restart(self) -> tuple[str, ...]:
        """
        List the static flags whose value would differ after a restart, over all layers.
        """
        return self._pending_restart({})

    def _pending_restart(self, drafts: Mapping[str, Draft]) -> tuple[str, ...]:
        return tuple(flag.name for flag, _ in self._after_restart(drafts))

    def _after_restart(self, drafts: Mapping[str, Draft]) -> list[tuple[Flag[Any], Any]]:
        """
        List the static flags that wait for a restart, with the value they would have then, if the drafts were applied.

        Compares a user's values, so not to be called under the lock.
        """
        states = dict(self._states)
        for name, draft in drafts.items():
            states[name] = draft.state
        flags = [self._store.flags[name] for name in sorted({n for state in states.values() for n in state.deviating})]
        expected = [(flag, self._expected(flag, states)) for flag in flags]
        return [(flag, value) for flag, value in expected if not same(flag, value, flag._value)]

    def _expected(self, flag: Flag[Any], states: Mapping[str, SourceState]) -> Any:
        layers = {origin: entry for origin, entry in flag._layers.items() if origin not in states}
        for origin, state in states.items():
            if flag.name in state.entries:
                layers[origin] = state.entries[flag.name]
        return self._store.winner(flag, layers)[0]

    def apply(
        self,
        readings: Mapping[str, Reading],
        *,
        atomic: bool = False,
        together: bool = False,
        known_only: bool = False,
        fresh: Flag[Any] | None = None,
        report_unknown: bool = True,
        wanted: Callable[[], bool] = lambda: True,
        background: bool = False,
    ) -> dict[str, Outcome]:
        """
        Replace the whole layers of some sources in one commit; where that breaks a rule, each in one of its own.

        Args:
            readings: The complete values of each source.
            atomic: Leave a source as it is when any of its values is refused.
            together: With *atomic*, leave all of them as they are then, or when they break a rule, and report nothing:
                the caller will raise.
            known_only: With *atomic*, count names that no flag has as refused.
            fresh: A flag that was declared just now, so that the freeze does not concern it yet.
            report_unknown: Whether names that no flag has are worth a log line.
            wanted: Asked under the lock; when it has become false while values were validated, nothing is applied.
            background: Whether nobody waits for this thread, so that others go first once the values are there.
        """
        for name in readings:
            if name not in self._states:
                self.name(name)
        while True:
            drafts = {
                name: make_draft(self._store, name, self._states[name], reading, fresh)
                for name, reading in readings.items()
            }
            good = _good(drafts, atomic=atomic, together=together, known_only=known_only)
            step = _Step(self, good, wanted, report_unknown=report_unknown, background=background)
            error = self._try(step)
            if error is not None or len(step.outcomes) == len(good):
                break
            if not wanted():
                return {}
        if error is not None and len(good) > 1 and not together:
            fewer = self._without_one(step)
            if fewer is None:
                # Those that do not break the rule on their own shall not wait for the others.
                apart: dict[str, Outcome] = {}
                for name, reading in readings.items():
                    apart |= self.apply(
                        {name: reading},
                        atomic=atomic,
                        fresh=fresh,
                        report_unknown=report_unknown,
                        wanted=wanted,
                        background=background,
                    )
                return apart
            step = fewer
        errors = {} if error is None else dict.fromkeys(good, error)
        return self._conclude(step, drafts, errors, together=together, report_unknown=report_unknown)

    def _conclude(
        self,
        step: _Step,
        drafts: Mapping[str, Draft],
        errors: Mapping[str, RuleError],
        *,
        together: bool,
        report_unknown: bool,
    ) -> dict[str, Outcome]:
        """
        Put what came of a step beside what was left out of it, and log both.

        Args:
            step: What was committed, if anything.
            drafts: All that was to be.
            errors: Why those that the step lacks are refused, where they break a rule.
            together: As for `apply`.
            report_unknown: As for `apply`.
        """
        outcomes = step.outcomes
        left = {name: draft for name, draft in drafts.items() if name not in outcomes}
        silent = together and any(draft.is_new() for draft in left.values())
        if left:
            outcomes |= self._leave(left, errors, silent=silent, report_unknown=report_unknown)
        if not silent:
            self._log(outcomes)
        return outcomes

    def _without_one(self, step: _Step) -> _Step | None:
        """
        Commit a step without the one source that breaks a rule; None when it is not one alone.

        The others go together, for one may need what another sets. Of several that may be the one, it is the last.
        """
        for name in reversed(list(step.drafts)):
            others = step.without(name)
            if self._try(others) is None:
                return others if others.outcomes else None
        return None

    def _try(self, step: _Step) -> RuleError | None:
        """
        Commit a step, if it is still current; gives why it was refused.
        """
        if not step.drafts:
            return None
        edits = [edit for draft in step.drafts.values() for edit in draft.edits]
        try:
            self._store.commit(edits, errand=step)
        except RuleError as refusal:
            drop_frames(refusal)
            return refusal
        for flag, layer, entry in edits if step.outcomes else ():
            if entry is not None:
                self._store.report_deprecated(flag, layer)
        return None

    def _leave(
        self, drafts: Mapping[str, Draft], errors: Mapping[str, RuleError], *, silent: bool, report_unknown: bool
    ) -> dict[str, Outcome]:
        """
        Conclude what was not applied, because nothing in it is new, or because it was refused.
        """
        outcomes = {}
        pending_restart = self._pending_restart({})
        replaced: list[object] = []  # as in a step
        with self._store.lock, self._store.books:
            for name, draft in drafts.items():
                revision = None if draft.is_new() else draft.base.revision
                if revision is None:
                    revision = _revise(name, draft, self._store.number, pending_restart, error=errors.get(name))
                rejections, unknowns = (
                    ([], []) if silent else self._news(name, draft.state, report_unknown=report_unknown)
                )
                outcomes[name] = Outcome(
                    revision,
                    draft.base.reading.values,
                    rejections,
                    unknowns,
                    applied=False,
                    in_force=not draft.is_new(),
                )
            if not silent:
                replaced += self._enter(outcomes)
        return outcomes

    def _enter(self, outcomes: Mapping[str, Outcome]) -> list[object]:
        """
        Enter outcomes into the ledgers of those who keep any, and return what stood there. The caller holds the books.
        """
        ledgers = {name: self._ledgers[name] for name in outcomes if name in self._ledgers}
        replaced: list[object] = [ledger.standing for ledger in ledgers.values()]
        for name, ledger in ledgers.items():
            ledger.enter(outcomes[name])
        return replaced

    # --- reporting, once, what lasts

    def _news(self, name: str, state: SourceState, *, report_unknown: bool) -> tuple[list[FlagValueError], list[str]]:
        """
        Give the rejections and the unknown names that were never given before. The caller holds the lock.
        """
        rejections: list[FlagValueError] = []
        reported = self._reported.pop(name, {})
        if state.rejected:
            # What a family holds as a whole has no text of its own.
            texts = {key: state.reading.values.get(key, str(error)) for key, error in state.rejected.items()}
            rejections = [state.rejected[key] for key, raw in texts.items() if reported.get(key, ...) != raw]
            self._reported[name] = texts
        return rejections, self._news_of_unknown(name, state.unknown) if report_unknown else []

    def _news_of_unknown(self, name: str, unknown: frozenset[str]) -> list[str]:
        before, self._unknown[name] = self._unknown.get(name, frozenset()), unknown
        news = []
        for key in sorted(unknown - before):
            if hash(key) not in self._reported_unknown:
                news.append(key)
                self._reported_unknown[hash(key)] = None
        while len(self._reported_unknown) > _MAX_REMEMBERED:
            del self._reported_unknown[next(iter(self._reported_unknown))]
        return news

    def _log(self, outcomes: Mapping[str, Outcome]) -> None:
        for name, outcome in outcomes.items():
            for rejection in outcome.rejections:
                logger.warning("%s; %s", rejection, self._consequence(name, outcome, rejection.flag_name))
            for unknown in unknown_keys(outcome.unknowns, self._store.flags, name):
                logger.warning("%s", unknown)
            error = None if outcome.revision.error is None else str(outcome.revision.error)
            if error is None:
                self._reported_refusals.pop(name, None)
            elif error != self._reported_refusals.get(name):
                self._reported_refusals[name] = error
                logger.warning("nothing of %s was applied: %s", one_line(name), error)
            if outcome.applied:
                self._log_changes(one_line(name), outcome.revision)
        self._log_waiting()

    def _log_waiting(self) -> None:
        """
        Log each change that waits for a restart, once.
        """
        waiting = self._after_restart({})
        before, self._waiting = self._waiting, {flag.name: value for flag, value in waiting}
        for flag, value in waiting:
            if flag.name not in before or not same(flag, before[flag.name], value):
                logger.info("flag %r is static: its new value waits for a restart", flag.name)
                if logger.enables(DEBUG):
                    now, then = (one_line(shown(flag, each)) for each in (flag._value, value))
                    logger.debug("flag %r: %s until a restart, %s after it", flag.name, now, then)

    def _consequence(self, name: str, outcome: Outcome, flag_name: str) -> str:
        if not outcome.in_force:
            return f"nothing of {one_line(name)} was applied (atomic=True)"
        has_value = flag_name in self._states[name].entries
        return "keeping the last good value" if has_value else "using the value of the layer below"

    def _log_changes(self, name: str, revision: Revision) -> None:
        changed, number = revision.changed, revision.number
        if changed:
            more = f" and {len(changed) - _MAX_NAMED} more" if len(changed) > _MAX_NAMED else ""
            logger.info("revision %d of %s changed %s%s", number, name, ", ".join(changed[:_MAX_NAMED]), more)
        elif not revision.rejected and not revision.pending_restart:
            logger.debug("revision %d of %s changed no value", number, name)


def _empty(name: str) -> SourceState:
    """
    Make the state of a source that has given nothing yet.
    """
    return SourceState(Reading({}, lambda _: name), {}, {}, frozenset(), {}, frozenset(), None)


def _good(drafts: Mapping[str, Draft], *, atomic: bool, together: bool, known_only: bool) -> dict[str, Draft]:
    """
    Choose the drafts that have something new, and nothing bad where that matters.
    """
    new = {name: draft for name, draft in drafts.items() if draft.is_new()}
    if not atomic:
        return new
    good = {name: draft for name, draft in new.items() if not draft.is_bad(known_only=known_only)}
    return {} if together and len(good) < len(new) else good


def _revise(
    name: str,
    draft: Draft,
    number: int,
    pending_restart: tuple[str, ...],
    *,
    changed: tuple[str, ...] = (),
    error: RuleError | None = None,
) -> Revision:
    # Nothing that importing dflag should wait for.
    import datetime

    from dflag._records import Digest, Revision

    return Revision(
        number=number,
        source=name,
        applied_at=datetime.datetime.now(datetime.UTC),
        changed=changed,
        rejected=MappingProxyType(draft.state.rejected),
        unknown=tuple(sorted(draft.state.unknown)),
        pending_restart=pending_restart,
        error=error,
        _digest=Digest(draft.state.reading.values),
    )
