"""
What the sources last gave, and the applying of what they give now.
"""

from __future__ import annotations

import weakref
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dflag._drafting import Draft, Reading, SourceState, make_draft
from dflag._layers import OWN_LAYERS
from dflag._log import logger
from dflag._snapshot import unknown_flags
from dflag.errors import DefinitionError, RuleError, drop_frames, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from dflag._flags import Flag
    from dflag._records import Revision
    from dflag._store import Edit, Store
    from dflag.typing import Raw

_MAX_REPORTED: Final = 10_000
"""How many unknown names to remember as reported; whoever writes ever new ones must not fill the memory."""


class Outcome(NamedTuple):
    """
    What came of applying one source: the revision, and what had not been reported before.

    The revision is in force when it was applied now, or before and nothing is new.
    """

    revision: Revision
    applied: bool
    in_force: bool
    new_rejections: int = 0
    new_unknowns: int = 0


class _Drafts:
    """
    The drafts of one commit, as its errand.
    """

    def __init__(
        self,
        states: dict[str, SourceState],
        drafts: Mapping[str, Draft],
        store: Store,
        wanted: Callable[[], bool],
    ) -> None:
        self._wanted: Final = wanted
        self._states: Final = states
        self._drafts: Final = drafts
        self._store: Final = store

    def is_current(self) -> bool:
        return self._wanted() and all(
            self._states[name] is draft.base and self._store.frozen == draft.frozen
            for name, draft in self._drafts.items()
        )

    def carry_out(self) -> None:
        for name, draft in self._drafts.items():
            self._states[name] = draft.state


class Intake:
    """
    The sources of one store.

    Thread safety: any thread.
    """

    def __init__(self, store: Store) -> None:
        self._store: Final = store
        self._states: Final[dict[str, SourceState]] = {}  # in the order in which they were named, which is their rank
        self._claims: Final[dict[str, weakref.ref[object]]] = {}
        self._reported: Final[dict[tuple[str, str], Raw]] = {}  # rejected texts that were logged
        self._reported_unknown: Final[set[str]] = set()

    def claim(self, name: str, owner: object) -> None:
        """
        Name a source that *owner* alone will feed, until it releases the claim or is gone.

        Raises:
            DefinitionError: Another source has the name, or it is not to be had.
        """
        with self._store.lock:
            holder = self._claims.get(name)
            if holder is not None and holder() not in (None, owner):
                raise DefinitionError(f"two sources are named {name!r}")
            self.name(name)
            self._claims[name] = weakref.ref(owner)

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
                raise DefinitionError(f"a source cannot be named {name!r}: expected another name than a layer's")
            self._states[name] = SourceState(Reading({}, lambda _: name), {}, {}, frozenset(), {}, frozenset(), None)
            self._store.rank_sources(self._states)

    def state_of(self, name: str) -> SourceState:
        """
        Give what the named source has in force; it changes in the same step as the values.
        """
        return self._states[name]

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
        states = dict(self._states)
        names = frozenset[str]().union(*(state.deviating for state in states.values()))
        return tuple(name for name in sorted(names) if self._would_differ(self._store.flags[name], states))

    def _would_differ(self, flag: Flag[Any], states: Mapping[str, SourceState]) -> bool:
        layers = {origin: entry for origin, entry in flag._layers.items() if origin not in states}
        for origin, state in states.items():
            if flag.name in state.entries:
                layers[origin] = state.entries[flag.name]
        value, _ = self._store.winner(flag, layers)
        return not flag._spec.kind.same(value, flag._value)

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
    ) -> dict[str, Outcome]:
        """
        Replace the whole layers of some sources in one commit.

        Args:
            readings: The complete values of each source.
            atomic: Leave a source as it is when any of its values is refused.
            together: With *atomic*, leave all of them as they are then, and log nothing: the caller will raise.
            known_only: With *atomic*, count names that no flag has as refused.
            fresh: A flag that was declared just now, so that the freeze does not concern it yet.
            report_unknown: Whether names that no flag has are worth a log line.
            wanted: Asked under the lock; when it has become false while values were validated, nothing is applied.
        """
        for name in readings:
            self.name(name)
        drafts: dict[str, Draft] = {}
        active: dict[str, Draft] = {}
        changed: frozenset[Flag[Any]] | None = None
        error: RuleError | None = None
        while changed is None:
            drafts = {
                name: make_draft(self._store, name, self._states[name], reading, fresh)
                for name, reading in readings.items()
            }
            active = {name: draft for name, draft in drafts.items() if draft.state is not draft.base}
            if atomic:
                accepted = {name: draft for name, draft in active.items() if not draft.is_bad(known_only=known_only)}
                active = accepted if not together or len(accepted) == len(active) else {}
            edits = [edit for draft in active.values() for edit in draft.edits]
            try:
                changed = self._commit(active, edits, wanted)
            except RuleError as refusal:
                drop_frames(refusal)
                changed, error = frozenset(), refusal
            if changed is None and not wanted():
                return {}
        applied = frozenset() if error is not None else frozenset(active)
        silent = together and any(
            draft.state is not draft.base and name not in applied for name, draft in drafts.items()
        )
        return {
            name: Outcome(
                self._conclude(name, draft, changed if name in applied else None, error if name in active else None),
                name in applied,
                name in applied or draft.state is draft.base,
                *((0, 0) if silent else self._report(name, draft, report_unknown=report_unknown)),
            )
            for name, draft in drafts.items()
        }

    def _commit(
        self, active: Mapping[str, Draft], edits: Sequence[Edit], wanted: Callable[[], bool]
    ) -> frozenset[Flag[Any]] | None:
        if not active:
            return frozenset()
        return self._store.commit(edits, errand=_Drafts(self._states, active, self._store, wanted))

    def _conclude(
        self, name: str, draft: Draft, changed: frozenset[Flag[Any]] | None, error: RuleError | None
    ) -> Revision:
        """
        Give the revision of a draft: a new one, that of before when nothing is new, or that of a refusal.
        """
        if changed is not None:
            return self._finish(name, draft, changed)
        if draft.state is draft.base and draft.base.revision is not None:
            return draft.base.revision
        return self._revise(name, draft, error=error)

    def _finish(self, name: str, draft: Draft, changed: Iterable[Flag[Any]]) -> Revision:
        touched = {flag for flag, _, _ in draft.edits}
        names = tuple(sorted(flag.name for flag in changed if flag in touched))
        with self._store.lock:
            revision = self._revise(name, draft, changed=names)
            if self._states[name] is draft.state:
                self._states[name] = draft.state._replace(revision=revision)
        for flag, layer, entry in draft.edits:
            if entry is not None:
                self._store.report_deprecated(flag, layer)
        return revision

    def _revise(
        self, name: str, draft: Draft, *, changed: tuple[str, ...] = (), error: RuleError | None = None
    ) -> Revision:
        import datetime

        from dflag._records import Digest, Revision

        return Revision(
            number=self._store.number,
            source=name,
            applied_at=datetime.datetime.now(datetime.UTC),
            changed=changed,
            rejected=MappingProxyType(draft.state.rejected),
            unknown=tuple(sorted(draft.state.unknown)),
            pending_restart=self.pending_restart(),
            error=error,
            _digest=Digest(draft.state.reading.values),
        )

    def _report(self, name: str, draft: Draft, *, report_unknown: bool) -> tuple[int, int]:
        """
        Log what has not been logged before; count the rejections and the unknown names in it.
        """
        values = draft.state.reading.values
        rejections = unknowns = 0
        for key in [key for source, key in self._reported if source == name and key not in draft.state.rejected]:
            del self._reported[name, key]
        for key, error in draft.state.rejected.items():
            # What a family holds as a whole has no text of its own.
            raw = values.get(key, str(error))
            if self._reported.get((name, key), ...) != raw:
                self._reported[name, key] = raw
                rejections += 1
                logger.warning("rejected, the last good value stays: %s", error)
        if report_unknown:
            for unknown in unknown_flags(sorted(draft.state.unknown - self._reported_unknown), self._store.flags):
                if len(self._reported_unknown) >= _MAX_REPORTED:
                    self._reported_unknown.clear()
                self._reported_unknown.add(unknown.flag_name)
                unknowns += 1
                logger.warning("no flag is named as this key: %s (%s)", unknown, one_line(name))
        return rejections, unknowns
