"""
The state of a source: the values in force, the last reading, and the results of applying readings.
"""

from __future__ import annotations

import time
from collections.abc import Callable  # noqa: TC003 - a NamedTuple's annotation, which tools may evaluate
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, NamedTuple, TypeAlias, TypeVar

from dflag._layers import RULE_PREFIX, Entry
from dflag._rule_sets import NO_RULES, RuleSet

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from dflag._flags import Flag
    from dflag._kinds.maps import MapKind
    from dflag._records import Revision
    from dflag._transaction import Edit, KeyedEdit, Transaction
    from dflag.errors import FlagValueError, RegistryValidationError
    from dflag.typing import Raw

T = TypeVar("T")

ReloadResult: TypeAlias = Literal["applied", "partial", "refused", "failed"]
"""
The result of a reading with something new: all of it was applied, all except the bad values was applied, nothing was
applied because something is bad, or the source could not be read.
"""


class Deferred(Generic[T]):
    """
    A value that is computed on first use, so that readers of a new flag value do not wait for it.

    Thread safety: any thread. Two threads at once may both compute it, but both get the same object.
    """

    __slots__ = ("_made", "_make")

    def __init__(self, make: Callable[[], T]) -> None:
        self._make: Callable[[], T] | None = make
        self._made: Final[list[T]] = []

    def get(self) -> T:
        """
        Return the value, the same object at each call.
        """
        make = self._make
        if make is not None:
            self._made.append(make())
            self._make = None  # also frees the objects that the value was computed from
        return self._made[0]


class Reading(NamedTuple):
    """
    The values that were read from one source at one time.

    Attributes:
        values: The complete raw values, by key.
        locate: Returns the place of a key, for messages.
        secret: Whether all values are secret.
    """

    values: Mapping[str, Raw]
    locate: Callable[[str], str]
    secret: bool = False


class Results(NamedTuple):
    """
    The results of the readings of a source since it was claimed. A problem that lasts is counted once.

    Attributes:
        shown: The revision whose bad values `status` shows. This is the last revision; but if a registry validator
            refuses a reading while the revision in force is shown, that revision stays.
        last_applied: The last revision in force.
        refusal: The reason why nothing of the current reading is applied, otherwise None.
        reloads: How many readings were applied, applied in part, and refused.
        errors: How many bad values and refusals were reported.
        warnings: How many unknown keys were reported.
        rejected_texts: The texts of the bad values that were reported, by key.
        rejected: The errors of the values that *shown* has rejected, with their places in the last reading.
    """

    shown: DeferredRevision | None = None
    last_applied: DeferredRevision | None = None
    refusal: str | None = None
    reloads: Mapping[ReloadResult, int] = MappingProxyType({"applied": 0, "partial": 0, "refused": 0})
    errors: int = 0
    warnings: int = 0
    rejected_texts: Mapping[str, Raw | str] = MappingProxyType({})
    rejected: Mapping[str, FlagValueError] = MappingProxyType({})

    def counting(self, counted: Results) -> Results:
        """
        Return these results with the counts of *counted*.
        """
        return self._replace(reloads=counted.reloads, errors=counted.errors, warnings=counted.warnings)

    @property
    def updates(self) -> int:
        return self.reloads["applied"] + self.reloads["partial"]

    def after(self, outcome: Outcome) -> Results:
        """
        Return the results after one more outcome.
        """
        result: ReloadResult | None = None
        if outcome.applied:
            result = "partial" if outcome.rejected else "applied"
        elif outcome.newly_refused or outcome.newly_rejected:
            result = "refused"
        shows_in_force = self.shown is self.last_applied
        if outcome.is_interim:  # the rules of the reading in force were resolved again: a refused reading stays shown
            keeps_shown = not shows_in_force
        else:  # a reading that a registry validator refuses does not replace the revision in force
            keeps_shown = shows_in_force and self.shown is not None and outcome.error is not None
        return Results(
            shown=self.shown if keeps_shown else outcome.revision,
            last_applied=outcome.revision if outcome.in_force else self.last_applied,
            refusal=outcome.refusal,
            reloads=self.reloads if result is None else {**self.reloads, result: self.reloads[result] + 1},
            errors=self.errors + len(outcome.newly_rejected) + outcome.newly_refused,
            warnings=self.warnings + len(outcome.newly_unknown),
            rejected_texts=outcome.rejected_texts,
            rejected=self.rejected if keeps_shown else outcome.rejected,
        )


class Plain(NamedTuple):
    """
    The values of the plain keys of a source, which its rules can replace.

    Attributes:
        entries: The last good value of each flag, static ones too.
        rejected: The errors of bad values, by key.
        unknown: The keys that no flag has.
    """

    entries: Mapping[str, Entry] = MappingProxyType({})
    rejected: Mapping[str, FlagValueError] = MappingProxyType({})
    unknown: frozenset[str] = frozenset()


class SourceState(NamedTuple):
    """
    The values of a source in force, and the results of its readings. The step that sets the values replaces it whole.

    Attributes:
        reading: The reading in force.
        entries: The value of each flag, static ones too: from a rule in force, otherwise the last good plain value.
        rejected: The errors of the reading: of bad values by key, of bad rules by ``rule:NAME``.
        unknown: The keys, and the names in rules, that no flag has.
        members: For each map the last good values of its keys.
        deviating: The frozen static flags whose live value differs from the value in this source.
        revision: The last revision that was applied; None before the first.
        results: The results of the readings.
        plain: The values of the plain keys.
        rules: The rules.
    """

    reading: Reading
    entries: Mapping[str, Entry] = MappingProxyType({})
    rejected: Mapping[str, FlagValueError] = MappingProxyType({})
    unknown: frozenset[str] = frozenset()
    members: Mapping[Flag[Any], Mapping[str, Any]] = MappingProxyType({})
    deviating: frozenset[str] = frozenset()
    revision: DeferredRevision | None = None
    results: Results = Results()
    plain: Plain = Plain()
    rules: RuleSet = NO_RULES


class Parsed(NamedTuple):
    """
    The plain values and the rules of one reading of one source, each checked against the flags by itself.

    Attributes:
        name: The name of the source.
        base: The state that the reading was compared with.
        state: The state after applying only the plain values; *base* itself if nothing is new.
        flags: The flags whose plain value is new.
        maps: The maps of the store when the reading was parsed.
        frozen: Whether static flags were frozen then.
        fresh: Flags that were declared just now.
        is_restated: Whether every text is unchanged, and only lines in the document or the secrecy have changed.
    """

    name: str
    base: SourceState
    state: SourceState
    flags: Collection[Flag[Any]]
    maps: Mapping[Flag[Any], MapKind]
    frozen: bool
    fresh: Collection[Flag[Any]] = ()
    is_restated: bool = False


class Batch:
    """
    One reading of one source, parsed, with its rules resolved.

    No value has changed yet, but flags of a secret source are already secret, and the memory of rules is updated.

    Attributes:
        parsed: The parsed reading.
        name: The name of the source.
        base: The state that the reading was compared with.
        state: The state after applying the batch, still with the results of *base*; *base* itself if nothing is new.
        edits: The changes of layers.
        keyed: The changes of values for keys.
        is_new: Whether anything is new.
        restated: The state to keep without a revision, if only the lines that errors name, or the secrecy, are new;
            otherwise None.
    """

    __slots__ = ("base", "edits", "is_new", "keyed", "name", "parsed", "restated", "state")

    def __init__(
        self,
        parsed: Parsed,
        state: SourceState | None = None,
        edits: Sequence[Edit] = (),
        keyed: Sequence[KeyedEdit] = (),
        *,
        restated: SourceState | None = None,
    ) -> None:
        """
        Set the attributes from the arguments of the same name; *state* is None if nothing is new.
        """
        self.parsed: Final = parsed
        self.name: Final = parsed.name
        self.base: Final = parsed.base
        self.state: Final = parsed.base if state is None else state
        self.edits: Final = edits
        self.keyed: Final = keyed
        self.is_new: Final = state is not None
        self.restated: Final = restated

    @property
    def has_rejected(self) -> bool:
        """
        Whether any of the values is refused.
        """
        return bool(self.state.rejected)


class ApplyOptions(NamedTuple):
    """
    Options for applying readings.

    Attributes:
        report_unknown: Whether unknown keys are reported.
        wanted: Called after the values were validated, before the commit. If it returns False, nothing is applied.
            None: always apply.
        background: Whether no caller waits, so that other threads go first once the values are in force.
        rules: Whether rules are followed, which needs facts and a clock.
        is_interim: Whether a newer reading of the same sources follows at once. Then the errors of this reading are not
            reported.
    """

    report_unknown: bool = True
    wanted: Callable[[], bool] | None = None
    background: bool = False
    rules: bool = True
    is_interim: bool = False


class Outcome(NamedTuple):
    """
    The outcome of applying one reading.

    Attributes:
        revision: The new revision; the last one if nothing is new.
        values: The raw values of the source that are in force now.
        rejected: The errors of bad values, by key.
        newly_rejected: Those of the errors that were not reported before.
        newly_unknown: The unknown keys that were not reported before.
        error: The error of the registry validator that refused the whole reading, or None.
        applied: Whether something was committed.
        in_force: Whether the reading is in force now.
        changed: The flags whose value changed, in order.
        changed_keyed: The flags whose values for keys changed, in order.
        healed: The keys that were reported as bad and are good now, in the order of the reports.
        is_accepted_again: Whether the whole reading was refused before, and is not refused now.
        rejected_texts: The texts of all bad values, by key.
        refusal: The reason why nothing was applied, otherwise None: a registry validator refuses the reading, or a
            value is bad and the updater is atomic.
        newly_refused: Whether a registry validator refused the reading, and not for the same reason as before.
        is_interim: As in `ApplyOptions`.
    """

    revision: DeferredRevision
    values: Mapping[str, Raw]
    rejected: Mapping[str, FlagValueError]
    newly_rejected: Mapping[str, FlagValueError]
    newly_unknown: Sequence[str]
    error: RegistryValidationError | None
    applied: bool
    in_force: bool
    changed: tuple[str, ...]
    changed_keyed: tuple[str, ...]
    healed: tuple[str, ...]
    is_accepted_again: bool
    rejected_texts: Mapping[str, Raw | str]
    refusal: str | None
    newly_refused: bool
    is_interim: bool


def load_late_modules() -> None:
    """
    Import the modules that a revision needs and that ``import dflag`` does not import.

    Call this before anything is applied: a child that is forked during a late import could never import the module.
    """
    import datetime  # noqa: F401

    import dflag._formats.json_values
    import dflag._records  # noqa: F401


class DeferredRevision:
    """
    A `Revision` that is made on first use.
    """

    __slots__ = ("_revision", "changed", "error", "number", "pending_restart")

    def __init__(
        self,
        batch: Batch,
        number: int,
        pending_restart: tuple[str, ...],
        *,
        seconds: float,
        changed: tuple[str, ...] = (),
        error: RegistryValidationError | None = None,
        is_applied: bool = False,
    ) -> None:
        self.number: Final = number
        self.error: Final = error
        self.changed: Final = changed
        self.pending_restart: Final = pending_restart
        # Not the states themselves: each refers to the previous revision, so all revisions would stay in memory.
        state, rules = batch.state, (batch.state if is_applied else batch.base).rules
        given = batch.name, seconds, state.reading.values, state.rejected, state.unknown, rules
        self._revision: Final = Deferred(partial(self._make, *given))

    def get(self) -> Revision:
        """
        Return the revision, the same object at each call.
        """
        return self._revision.get()

    def _make(
        self,
        source: str,
        seconds: float,
        values: Mapping[str, Raw],
        rejected: Mapping[str, FlagValueError],
        unknown: frozenset[str],
        rules: RuleSet,
    ) -> Revision:
        # Imported here, so that importing dflag takes less time.
        import datetime

        from dflag._formats.json_values import seal
        from dflag._records import Contents, Revision

        return Revision(
            number=self.number,
            source=source,
            applied_at=datetime.datetime.fromtimestamp(seconds, datetime.UTC),
            changed=self.changed,
            rejected=seal(dict(rejected)),
            unknown=tuple(sorted(unknown)),
            pending_restart=self.pending_restart,
            error=self.error,
            rules=rules.names,
            _contents=Contents(values),
        )


def outcome_of_commit(
    batch: Batch,
    transaction: Transaction,
    pending_restart: tuple[str, ...],
    newly_unknown: Sequence[str],
    *,
    is_interim: bool = False,
) -> Deferred[tuple[Outcome, SourceState]]:
    """
    Return the outcome of a batch that is about to be committed, and the state of its source after that.

    Both are computed on first use, and never if the commit fails. Until then they keep the transaction alive.

    Args:
        batch: The batch.
        transaction: The transaction to be committed, with this batch and possibly others.
        pending_restart: The static flags that wait for a restart.
        newly_unknown: The unknown keys that were not reported before.
        is_interim: As in `ApplyOptions`.
    """
    seconds = time.time()  # the time of the commit, and not of the first use
    make = partial(_make_outcome, batch, transaction, pending_restart, newly_unknown, seconds, is_interim=is_interim)
    return Deferred(make)


def _make_outcome(
    batch: Batch,
    transaction: Transaction,
    pending_restart: tuple[str, ...],
    newly_unknown: Sequence[str],
    seconds: float,
    *,
    is_interim: bool,
) -> tuple[Outcome, SourceState]:
    changed = {flag for flag, _, _, _, _ in transaction.differences}
    changed_keyed = transaction.changed_keyed if batch.keyed else ()
    revision = DeferredRevision(
        batch,
        transaction.snapshot.revision,
        pending_restart,
        seconds=seconds,
        changed=tuple([flag.name for flag, _, _ in batch.edits if flag in changed]),
        is_applied=True,
    )
    outcome = _outcome(
        batch,
        revision,
        newly_unknown,
        changed_keyed=tuple([flag.name for flag, _, _ in batch.keyed if flag in changed_keyed]),
        is_applied=True,
        is_interim=is_interim,
    )
    return outcome, batch.state._replace(revision=revision, results=batch.base.results.after(outcome))


def outcome_without_commit(
    batch: Batch,
    number: int,
    pending_restart: tuple[str, ...],
    *,
    newly_unknown: Sequence[str],
    error: RegistryValidationError | None = None,
    is_interim: bool = False,
) -> Outcome:
    """
    Return the outcome of a batch that was not committed: nothing in it is new, or it was refused.

    Args:
        batch: The batch.
        number: The number of the last commit.
        pending_restart: The static flags that wait for a restart.
        newly_unknown: The unknown keys that were not reported before.
        error: The error of the registry validator that refuses the batch, or None.
        is_interim: As in `ApplyOptions`.
    """
    revision = None if batch.is_new else batch.base.revision
    if revision is None:
        revision = DeferredRevision(batch, number, pending_restart, seconds=time.time(), error=error)
    return _outcome(batch, revision, newly_unknown, error=error, is_interim=is_interim)


def _outcome(
    batch: Batch,
    revision: DeferredRevision,
    newly_unknown: Sequence[str],
    *,
    changed_keyed: tuple[str, ...] = (),
    error: RegistryValidationError | None = None,
    is_applied: bool = False,
    is_interim: bool,
) -> Outcome:
    state, before = batch.restated or batch.state, batch.base.results
    rejected, reported = state.rejected, before.rejected_texts
    texts: Mapping[str, Raw | str] = reported
    if not is_interim:
        texts = {key: _text_of(state, key, fault) for key, fault in rejected.items()} if rejected else {}
    in_force = is_applied or not batch.is_new
    refusal = before.refusal
    if not is_interim:
        refusal = None if in_force else _refusal(rejected, error)
    return Outcome(
        revision=revision,
        values=(state if is_applied or batch.restated else batch.base).reading.values,
        rejected=rejected,
        newly_rejected={key: rejected[key] for key, raw in texts.items() if reported.get(key, ...) != raw},
        newly_unknown=newly_unknown,
        error=error,
        applied=is_applied,
        in_force=in_force,
        changed=revision.changed if is_applied else (),
        changed_keyed=changed_keyed,
        healed=tuple([key for key in reported if key not in texts]) if in_force and reported else (),
        is_accepted_again=refusal is None is not before.refusal,
        rejected_texts=texts,
        refusal=refusal,
        newly_refused=error is not None and refusal is not None and refusal != before.refusal,
        is_interim=is_interim,
    )


def _text_of(state: SourceState, key: str, fault: FlagValueError) -> Raw | str:
    """
    Return the text that identifies a bad value across readings: the raw text; for a rule the problem without the place.
    """
    if key.startswith(RULE_PREFIX):
        return fault.problem
    return state.reading.values.get(key, str(fault))  # a map that is refused as a whole has no text of its own


def _refusal(rejected: Mapping[str, FlagValueError], error: RegistryValidationError | None) -> str:
    if error is not None or not rejected:
        return str(error)
    first, *others = rejected.values()
    more = f" (and {len(others)} more)" if others else ""
    return f"nothing was applied (atomic=True): {first}{more}"


def empty_state(name: str) -> SourceState:
    """
    Return the state of a source that was never read.
    """
    return SourceState(Reading({}, lambda _: name))
