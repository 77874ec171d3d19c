"""
The sources of one registry: their ranks, their states in force, and the application of their values.

Batches are committed together: all of them or none (`SourceLayers.apply_all`), or the good values of each
(`SourceLayers.apply_each`).
"""

from __future__ import annotations

import contextlib
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from dflag._batch import declared_since, keys_of, parse, resolve_all, without_some_rules
from dflag._cells import Cell, set_value, value_of
from dflag._flags import layers_of
from dflag._layers import COMMAND_LINE, ENVIRONMENT, OVERRIDE, OWN_LAYERS, RULES_KEYS
from dflag._short_waits import yield_interpreter
from dflag._snapshot import as_of
from dflag._source_reports import SourceReports
from dflag._source_state import (
    ApplyOptions,
    Deferred,
    Reading,
    Results,
    empty_state,
    load_late_modules,
    outcome_of_commit,
    outcome_without_commit,
)
from dflag._transaction import Transaction, same, winner
from dflag.errors import DefinitionError, RegistryValidationError, drop_frames, unknown_keys

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from dflag._flags import Flag
    from dflag._records import Revision
    from dflag._rule_layers import RuleContext, RuleMemory, RuleState
    from dflag._snapshot import Snapshot
    from dflag._source_reports import ReportedKeys
    from dflag._source_state import Batch, Outcome, SourceState
    from dflag._store import Store
    from dflag._transaction import Edit, KeyedEdit, Token
    from dflag.errors import DflagError
    from dflag.typing import Raw

_USUAL: Final = ApplyOptions()
_BY_PROGRAM: Final = ApplyOptions(rules=False)


class Counting(Protocol):
    """
    An object for which the results of a source's readings are counted.

    Attributes:
        counted: The results up to the moment when another object took over the source; None while results are counted
            for this one.
    """

    counted: Results | None


class SourceLayers:
    """
    The sources of one registry: their ranks, their states in force, and the application of their values.

    Attributes:
        reports: The record of what was logged about the sources.

    Thread safety: any thread.
    """

    def __init__(self, store: Store) -> None:
        self._store: Final = store
        self._states: Final[dict[str, Cell]] = {}  # in the order in which the sources were added, see `_rank_all`
        self._below_arguments: Final[set[str]] = set()  # the sources that rank below environment and command line
        self._claims: Final[dict[str, weakref.ref[object]]] = {}
        self._counting: Final[dict[str, weakref.ref[Counting]]] = {}  # for whom the results of a source are counted
        self._contexts: Final[dict[str, RuleContext]] = {}  # for the sources that updaters have followed
        self.reports: Final = SourceReports(store)

    # --- naming

    def state(self, name: str) -> SourceState:
        """
        Return the state of a source; an empty state for an unknown name.
        """
        cell = self._states.get(name)
        return empty_state(name) if cell is None else _state_of(value_of(cell))

    def state_at(self, name: str, snapshot: Snapshot) -> SourceState:
        """
        Return the state of a source at the time of a snapshot; an empty state for an unknown name.
        """
        cell = self._states.get(name)
        return empty_state(name) if cell is None else _state_of(as_of(snapshot, cell, value_of))

    def states(self) -> dict[str, SourceState]:
        """
        Return the states of all sources, in the order in which the sources were added.
        """
        with self._store.own_lock:  # not `lock`: a forked child calls this while it renews its locks
            return {name: _state_of(value_of(cell)) for name, cell in self._states.items()}

    def claim(self, name: str, owner: object, *, below_arguments: bool) -> None:
        """
        Reserve a source for *owner*, until it releases the claim or is freed.

        Args:
            name: The name of the source.
            owner: The updater that feeds the source.
            below_arguments: Whether environment and command line rank above the source.

        Raises:
            DefinitionError: Another updater feeds a source of this name, one of dflag's own layers has the name, or the
                source already has values at another rank.
        """
        with self._store.lock:
            holder = self._claims.get(name)
            if holder is not None and holder() is not None and holder() is not owner:
                raise DefinitionError(f"source {name!r} is already followed by another updater: stop() that one first")
            self.add(name)
            self._rank(name, below_arguments=below_arguments)
            self._claims[name] = weakref.ref(owner)

    def context_for(self, name: str) -> RuleContext:
        """
        Return the context of a source's rules. The first call makes it, and from then on the rules are followed.
        """
        context = self._contexts.get(name)
        if context is None:
            from dflag._rule_layers import RuleContext  # imports datetime

            context = self._contexts.setdefault(name, RuleContext())
        return context

    def rule_states(self, name: str) -> list[RuleState]:
        """
        Return the current state of each rule of a source.
        """
        from dflag._rule_layers import states

        return states(self.state(name).rules, self._contexts[name])

    def start_results(self, name: str, feed: Counting) -> None:
        """
        Count the results of a source's readings for *feed* from now on. The previous feed keeps its own counts.
        """
        cell = self._states[name]
        with self._store.lock:
            holder, results = self._counting.get(name), self.state(name).results
            before = None if holder is None else holder()
            if before is feed:
                return
            if before is not None:
                before.counted = results
            # An updater that starts again continues its own counts; a new updater starts with empty results.
            own = Results() if feed.counted is None else results.counting(feed.counted)
            self._counting[name], feed.counted = weakref.ref(feed), None
            if own != results:
                set_value(cell, self.state(name)._replace(results=own))
                self._store.outdate()

    def release(self, name: str, owner: object) -> None:
        with self._store.lock:
            holder = self._claims.get(name)
            if holder is not None and holder() is owner:
                self._claims.pop(name, None)  # a default, because a signal handler may have removed it just now

    def add(self, name: str) -> None:
        """
        Add a source, which ranks above the sources that were added before. Do nothing if it was added already.

        Raises:
            DefinitionError: The name is empty, or is the name of one of dflag's own layers.
        """
        if name in self._states:
            return
        load_late_modules()
        with self._store.lock:
            if name in self._states:
                return
            if name in OWN_LAYERS or not name:
                raise DefinitionError(f"expected a name of a source that differs from dflag's own layers, got {name!r}")
            self._states[name] = Cell(empty_state(name))
            self._rank_all()

    def _rank(self, name: str, *, below_arguments: bool) -> None:
        if below_arguments is (name in self._below_arguments):
            return
        if any(name in layers_of(flag) for flag in list(self._store.flags.values())):
            # Another rank would change values, also of frozen flags, without a revision.
            raise DefinitionError(
                f"source {name!r} already has values {'above' if below_arguments else 'below'} the command line; "
                f"use below_arguments={not below_arguments}, or empty it first with apply({{}}, source={name!r})"
            )
        (self._below_arguments.add if below_arguments else self._below_arguments.discard)(name)
        self._rank_all()

    def _rank_all(self) -> None:
        ranked: tuple[str, ...] | None = None
        while ranked != tuple(self._states):  # again if a signal handler has added another source meanwhile
            ranked = tuple(self._states)
            above = [name for name in reversed(ranked) if name not in self._below_arguments]
            below = [name for name in reversed(ranked) if name in self._below_arguments]
            self._store.rank((OVERRIDE, *above, COMMAND_LINE, ENVIRONMENT, *below))

    def owners(self) -> list[object]:
        """
        Return the objects that feed sources now, each once for every source that it feeds.

        An updater feeds its sources from its creation, and from each start, until it is stopped.
        """
        with self._store.lock:
            owners = [claim() for claim in list(self._claims.values())]  # a copy: a signal handler may add more
        return [owner for owner in owners if owner is not None]

    # --- going back, after a test

    def keep(self) -> Kept:
        """
        Return the state of all sources. The caller holds the store's lock.
        """
        return Kept(
            self.states(),
            frozenset(self._below_arguments),
            self.reports.unknown.copy(),
            {name: context.keep() for name, context in self._contexts.items()},
        )

    def restore(self, kept: Kept) -> None:
        """
        Restore the sources and their ranks, the record of reported keys, and the memories of rules.

        The caller holds the store's lock.

        Sources that were added since are forgotten. If an updater feeds such a source, it is kept as the last one.
        """
        fed = {name for name, claim in self._claims.items() if claim() is not None}
        cells = {name: self._states.get(name, Cell(state)) for name, state in kept.states.items()}
        cells |= {name: cell for name, cell in self._states.items() if name not in cells and name in fed}
        self._states.clear()
        self._states.update(cells)
        self._below_arguments.clear()
        self._below_arguments.update(kept.below_arguments)
        self.reports.unknown = kept.reported.copy()
        for name, context in self._contexts.items():  # all, because an updater may hold a context that was made since
            context.restore(kept.memories.get(name))
        self._rank_all()

    def cells_of(self, kept: Kept) -> list[tuple[Cell, SourceState]]:
        """
        Return the cell of each source with its state in *kept*; an empty state if the source was added since.

        An updater that feeds such a source applies the differences again at its next look.
        """
        return [(cell, kept.states.get(name, empty_state(name))) for name, cell in self._states.items()]

    # --- applying

    def apply(self, values: Mapping[str, Raw], source: str, *, atomic: bool) -> Revision:
        """
        Replace the layer of a source with values from the program itself; see `FlagRegistry.apply`.
        """
        reading = Reading(values, lambda _: source)
        return self.apply_each({source: reading}, _BY_PROGRAM, atomic=atomic)[source].revision.get()

    def apply_all(
        self, readings: Mapping[str, Reading], options: ApplyOptions = _USUAL, *, known_only: bool = False
    ) -> tuple[dict[str, Outcome], list[DflagError]]:
        """
        Replace the layers of all sources in one commit; if anything is bad, change, report and count nothing.

        Args:
            readings: The complete values of each source.
            options: The options for applying them.
            known_only: Whether a key that no flag has counts as bad.

        Returns:
            The outcome of each source, and the errors. If there is an error, nothing was committed.
        """
        attempt = partial(self._try_to_apply_all, readings, options, known_only=known_only)
        batches, outcomes, errors = self._store.turns.run(attempt)
        return ({}, errors) if errors else (self._conclude(batches, outcomes, {}, options), [])

    def _try_to_apply_all(
        self, readings: Mapping[str, Reading], options: ApplyOptions, *, known_only: bool
    ) -> tuple[list[Batch], dict[str, Outcome], list[DflagError]] | None:
        """
        Commit all sources; return the batches, their outcomes, and the errors; None if another commit came first.
        """
        token = self._store.token
        batches = self._parse(readings, options)
        errors: list[DflagError] = []
        for batch in batches:  # also batches with nothing new: an earlier reading may have skipped their bad values
            errors += batch.state.rejected.values()
            if known_only:
                errors += unknown_keys(sorted(batch.state.unknown), self._store.flags, batch.name)
        if errors:
            return batches, {}, errors
        try:
            outcomes = self._commit([batch for batch in batches if batch.is_new], token, options)
        except RegistryValidationError as refusal:
            return batches, {}, self._errors_of_rules(batches, refusal) or [drop_frames(refusal)]
        return None if outcomes is None else (batches, outcomes, [])

    def _errors_of_rules(self, batches: Sequence[Batch], refusal: RegistryValidationError) -> list[DflagError]:
        """
        Return the errors of the rules without which the values would be accepted; empty if no rule is to blame.
        """
        for mended in without_some_rules(self._store, batches, self._contexts, refusal):
            edits, keyed = _edits_of(mended)
            if self._store.refusal(self._store.plan(edits, keyed=keyed)) is None:
                return [error for batch in mended for error in batch.state.rejected.values()]
        return []

    def apply_each(
        self,
        readings: Mapping[str, Reading],
        options: ApplyOptions = _USUAL,
        *,
        atomic: bool = False,
        fresh: Collection[Flag[Any]] = (),
    ) -> dict[str, Outcome]:
        """
        Replace the layers of the sources in one commit, as far as their values are good.

        A bad value is refused, and the last good value of its source stays. If a registry validator refuses the sources
        together, they are applied without some rules, or without one source. If that fails too, each source is applied
        in a commit of its own.

        Args:
            readings: The complete values of each source.
            options: The options for applying them.
            atomic: Leave a source unchanged if any of its values is bad.
            fresh: Flags that were declared just now.

        Returns:
            The outcome of each source; empty if the values are no longer wanted.
        """
        attempt = partial(self._try_to_apply_each, readings, options, atomic=atomic, fresh=fresh)
        try:
            batches, outcomes, errors = self._store.turns.run(attempt)
        except _UnwantedError:
            return {}
        if len(errors) > 1 and not outcomes:
            # A source that a registry validator accepts alone must not wait for the others.
            return {
                source: outcome
                for name, reading in readings.items()
                for source, outcome in self.apply_each({name: reading}, options, atomic=atomic, fresh=fresh).items()
            }
        return self._conclude(batches, outcomes, errors, options)

    def _try_to_apply_each(
        self, readings: Mapping[str, Reading], options: ApplyOptions, *, atomic: bool, fresh: Collection[Flag[Any]]
    ) -> tuple[list[Batch], dict[str, Outcome], dict[str, RegistryValidationError]] | None:
        """
        Commit as much of the sources as possible, if nothing else is committed meanwhile.

        Returns:
            The batches, the outcomes of those that were committed, and, by source, the error that refused all of them
            together. None if another commit came first.
        """
        token = self._store.token
        batches = self._parse(readings, options, fresh)
        good = [batch for batch in batches if batch.is_new and not (atomic and batch.has_rejected)]
        errors: dict[str, RegistryValidationError] = {}
        outcomes: dict[str, Outcome] | None = {}
        try:
            outcomes = self._commit(good, token, options)
        except RegistryValidationError as error:
            errors = {batch.name: drop_frames(error) for batch in good}
            for mended, some in self._alternatives(batches, good, error, with_rules=not atomic):
                with contextlib.suppress(RegistryValidationError):
                    outcomes = self._commit(some, token, options)
                    batches = mended
                    break
        return None if outcomes is None else (batches, outcomes, errors)

    def catch_up(self, flags: Collection[Flag[Any]]) -> None:
        """
        Apply the values that the sources hold for newly declared flags, in one commit.
        """
        if not self._states:  # the usual case
            return
        readings = {
            name: state.reading
            for name, state in self.states().items()
            if keys_of(self._store, flags, state.reading.values)
            or any(keys_of(self._store, flags, rule.values) for rule in state.rules.listing)
        }
        if readings:
            self.apply_each(readings, fresh=flags)

    def _parse(
        self, readings: Mapping[str, Reading], options: ApplyOptions, fresh: Collection[Flag[Any]] = ()
    ) -> list[Batch]:
        followed = self._contexts if options.rules else ()
        parsed = []
        for name, reading in readings.items():
            if name not in self._states:
                self.add(name)
            if name not in followed and not reading.values.keys().isdisjoint(RULES_KEYS):
                self.reports.log_ignored_rules(name, reading.values)
            base = self.state(name)
            parsed.append(parse(self._store, name, base, reading, with_rules=name in followed, fresh=fresh))
        return resolve_all(self._store, parsed, self._contexts)

    def _commit(self, batches: Sequence[Batch], token: Token, options: ApplyOptions) -> dict[str, Outcome] | None:
        """
        Commit batches in one step; return None if another commit came first.

        Args:
            batches: The batches.
            token: The token of the store from before the batches were parsed.
            options: The options for applying them.

        Raises:
            RegistryValidationError: The values are refused together.
            _UnwantedError: The values are no longer wanted.
        """
        if not batches:
            return {}
        base = self._store.base()
        if base.token is not token and not self._are_current(batches):
            return None
        edits, keyed = _edits_of(batches)
        transaction = Transaction(base, edits, keyed=keyed)
        self._store.check(transaction)
        unknowns = self._newly_unknown(batches, options)
        cells = self._cells_after(batches, transaction, unknowns, options)
        if cells is None:
            return None
        if options.wanted is not None and not options.wanted():
            raise _UnwantedError
        if not self._store.commit(transaction, cells, partial(self._are_current, batches)):
            return None
        self._note_unknowns(unknowns, batches)
        if options.background:
            yield_interpreter()  # the readers of the new values go first: the rest of this method can wait
        self._store.report(transaction, [*edits, *keyed])
        return {batch.name: self._finish(*each) for batch, each in zip(batches, cells, strict=True)}

    def _cells_after(
        self,
        batches: Iterable[Batch],
        transaction: Transaction,
        unknowns: Mapping[str, Sequence[str]],
        options: ApplyOptions,
    ) -> list[tuple[Cell, Deferred[tuple[Outcome, SourceState]]]] | None:
        """
        Return the cell of each source with its content after the commit; None if a source is gone.

        The end of a test's block may have removed a source meanwhile.
        """
        pending_restart = self.pending_restart(batches)  # now, because the values of other sources may change later
        cells = []
        for batch in batches:
            cell = self._states.get(batch.name)
            if cell is None:
                return None
            unknown = unknowns.get(batch.name, ())
            made = outcome_of_commit(batch, transaction, pending_restart, unknown, is_interim=options.is_interim)
            cells.append((cell, made))
        return cells

    def _finish(self, cell: Cell, made: Deferred[tuple[Outcome, SourceState]]) -> Outcome:
        """
        Compute the outcome of a commit, and put the computed state into the cell, so that its readers need no call.
        """
        outcome, state = made.get()
        with self._store.own_lock:
            if value_of(cell) is made:  # otherwise another thread has applied a newer reading
                set_value(cell, state)
        return outcome

    def _are_current(self, batches: Iterable[Batch]) -> bool:
        """
        Return whether each batch is still valid.

        A batch is valid if it was parsed against the state in force, the current maps and the current freeze, and if no
        flag that was declared since takes one of its keys.
        """
        for batch in batches:
            if (
                self.state(batch.name) is not batch.base
                or batch.parsed.maps is not self._store.maps
                or batch.parsed.frozen != self._store.frozen
                or declared_since(self._store, batch.state)
            ):
                return False
        return True

    def _alternatives(
        self, batches: list[Batch], good: Sequence[Batch], error: RegistryValidationError, *, with_rules: bool
    ) -> Iterator[tuple[list[Batch], Sequence[Batch]]]:
        """
        Yield the alternatives if the batches in *good* are refused: all batches, and those of them to commit.

        First leave out some of the rules. Then leave out one source, the last one first. The others are tried together,
        because one source may need the values of another.
        """
        for mended in without_some_rules(self._store, batches, self._contexts, error) if with_rules else ():
            yield mended, [batch for batch in mended if batch.is_new]
        for left_out in reversed(good) if len(good) > 1 else ():
            yield batches, [batch for batch in good if batch is not left_out]

    def _conclude(
        self,
        batches: Sequence[Batch],
        committed: Mapping[str, Outcome],
        errors: Mapping[str, RegistryValidationError],
        options: ApplyOptions,
    ) -> dict[str, Outcome]:
        """
        Add and record the outcomes of the batches that were not committed, log all outcomes, and return them.
        """
        outcomes = dict(committed)
        left = [batch for batch in batches if batch.name not in committed]
        for batch in left:
            unknowns = self._newly_unknown([batch], options)
            outcome = outcomes[batch.name] = outcome_without_commit(
                batch,
                self._store.number,
                self.pending_restart(),
                newly_unknown=unknowns.get(batch.name, ()),
                error=errors.get(batch.name),
                is_interim=options.is_interim,
            )
            self._note_unknowns(unknowns, [batch])
            self._keep_results(batch, outcome)
        states = self.states()
        self.reports.log(outcomes, states, self._after_restart(states))
        return outcomes

    def _newly_unknown(self, batches: Iterable[Batch], options: ApplyOptions) -> dict[str, list[str]]:
        """
        Return for each source the unknown keys that were never reported. Each key counts for only one source.
        """
        unknowns: dict[str, list[str]] = {}
        for batch in batches if options.report_unknown else ():
            if batch.state.unknown or batch.base.unknown:
                elsewhere = unknowns.values()
                unknowns[batch.name] = self.reports.unknown.new(batch.name, batch.state.unknown.difference(*elsewhere))
        return unknowns

    def _note_unknowns(self, unknowns: Mapping[str, Iterable[str]], batches: Iterable[Batch]) -> None:
        """
        Record which unknown keys are reported. Call this after the commit: an outdated attempt reports nothing.
        """
        for batch in batches:
            if batch.name in unknowns:
                self.reports.unknown.note(batch.name, batch.state.unknown, unknowns[batch.name])

    def _keep_results(self, batch: Batch, outcome: Outcome) -> None:
        """
        Record the outcome of a batch that was not committed, if it is new.
        """
        cell, base = self._states.get(batch.name), batch.base
        results = base.results
        # A source without values has a first revision without a commit; the results of a new updater have none yet.
        is_other_revision = outcome.in_force and results.last_applied is not outcome.revision
        is_news = (
            batch.restated or outcome.refusal != results.refusal or outcome.newly_rejected or outcome.newly_unknown
        )
        if cell is None or not (is_other_revision or is_news):
            return
        state = (batch.restated or base)._replace(results=results.after(outcome))

        def attempt() -> bool | None:
            token = self._store.base().token
            if self.state(batch.name) is not base:
                return True  # another thread has applied a newer reading, with results of its own
            return self._store.set_cells(token, [(cell, state)]) or None

        self._store.turns.run(attempt)

    # --- waiting for a restart

    def pending_restart(self, batches: Iterable[Batch] = ()) -> tuple[str, ...]:
        """
        Return the static flags whose value would differ after a restart, with all layers taken into account.

        Args:
            batches: The batches to treat as applied.
        """
        states = self.states()
        for batch in batches:
            states[batch.name] = batch.state
        for state in states.values():  # a fast path for the usual case that none deviates: readers wait for the values
            if state.deviating:
                return tuple([flag.name for flag, _ in self._after_restart(states)])
        return ()

    def after_restart(self) -> list[tuple[Flag[Any], Any]]:
        """
        Return the static flags that wait for a restart, each with the value it would have then.
        """
        return self._after_restart(self.states())

    def _after_restart(self, states: Mapping[str, SourceState]) -> list[tuple[Flag[Any], Any]]:
        """
        Like `after_restart`, but for the given states. It compares a user's values, so do not call it under a lock.
        """
        names: set[str] = set()
        for state in states.values():
            names |= state.deviating
        expected = [(flag, self._expected(flag, states)) for flag in map(self._store.find, sorted(names))]
        return [(flag, value) for flag, value in expected if not same(flag, value, value_of(flag))]

    def _expected(self, flag: Flag[Any], states: Mapping[str, SourceState]) -> Any:
        layers = {origin: entry for origin, entry in layers_of(flag).items() if origin not in states}
        for origin, state in states.items():
            if flag.name in state.entries:
                layers[origin] = state.entries[flag.name]
        return winner(flag, layers, self._store.ranking, self._store.maps)[0]


def _state_of(held: SourceState | Deferred[tuple[Outcome, SourceState]]) -> SourceState:
    """
    Return the state that the cell of a source holds. After a commit, the first call computes it.

    No code of a user runs, so this may be called under a lock.
    """
    return held.get()[1] if isinstance(held, Deferred) else held


def _edits_of(batches: Sequence[Batch]) -> tuple[list[Edit], list[KeyedEdit]]:
    edits: list[Edit] = []
    keyed: list[KeyedEdit] = []
    for batch in batches:
        edits += batch.edits
        keyed += batch.keyed
    return edits, keyed


class _UnwantedError(Exception):
    """
    A commit is no longer wanted, because the updater was stopped meanwhile.
    """


class Kept(NamedTuple):
    """
    The state of all sources at one moment.

    Attributes:
        states: The state of each source, in the order in which the sources were added.
        below_arguments: The sources that rank below environment and command line.
        reported: The unknown keys that were reported.
        memories: The memory of the rules of each source.
    """

    states: Mapping[str, SourceState]
    below_arguments: frozenset[str]
    reported: ReportedKeys
    memories: Mapping[str, RuleMemory]
