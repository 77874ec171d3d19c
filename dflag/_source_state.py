"""
The state of a source: what is in force, what was read, and the results of applying it.
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
The result of a reading with something new: all of it was applied, all but the bad values were applied, or nothing was
applied because something is bad; or the source could not be read.
"""


class Deferred(Generic[T]):
    """
    Something that is worked out when it is first asked for, and not while a reader waits for values.

    Thread safety: any thread. If two ask at once, each may work it out, and both get the same object.
    """

    __slots__ = ("_made", "_make")

    def __init__(self, make: Callable[[], T]) -> None:
        self._make: Callable[[], T] | None = make
        self._made: Final[list[T]] = []

    def get(self) -> T:
        """
        Return it, the same object at each call.
        """
        make = self._make
        if make is not None:
            self._made.append(make())
            self._make = None  # and with it all that it was made of
        return self._made[0]


class Reading(NamedTuple):
    """
    What was read of one source at once.

    Attributes:
        values: The complete raw values, by key.
        locate: Returns the place of a key, for messages.
        secret: Whether all of it is secret.
    """

    values: Mapping[str, Raw]
    locate: Callable[[str], str]
    secret: bool = False


class Results(NamedTuple):
    """
    The results of the readings of a source since it was claimed. A problem that lasts is counted once.

    Attributes:
        shown: What `status` shows the bad values of: the last revision; the one in force, when a registry validator
            refuses the last reading and no value before it.
        last_applied: The last revision in force.
        refusal: Why nothing of the current reading is applied, else None.
        reloads: How many readings were applied, applied in part, and refused.
        errors: How many bad values and refusals were reported.
        warnings: How many unknown keys were reported.
        rejected_texts: The texts of the bad values that were reported, by key.
        rejected: What *shown* rejected, with the places of the last reading.
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
        Return these results with the counts of others.
        """
        return self._replace(reloads=counted.reloads, errors=counted.errors, warnings=counted.warnings)

    @property
    def updates(self) -> int:
        return self.reloads["applied"] + self.reloads["partial"]

    def after(self, outcome: Outcome) -> Results:
        """
        Return what came of the readings after one more outcome.
        """
        result: ReloadResult | None = None
        if outcome.applied:
            result = "partial" if outcome.rejected else "applied"
        elif outcome.refused_anew or outcome.newly_rejected:
            result = "refused"
        is_last_shown = self.shown is self.last_applied
        # A refused reading shows nothing of its own beside the values in force. What a reading that was refused before
        # shows stays, while the rules of the one in force are resolved again.
        is_kept = not is_last_shown if outcome.is_interim else is_last_shown and outcome.error is not None
        keep = self.shown if is_kept else None
        return Results(
            shown=outcome.revision if keep is None else keep,
            last_applied=outcome.revision if outcome.in_force else self.last_applied,
            refusal=outcome.refusal,
            reloads=self.reloads if result is None else {**self.reloads, result: self.reloads[result] + 1},
            errors=self.errors + len(outcome.newly_rejected) + outcome.refused_anew,
            warnings=self.warnings + len(outcome.newly_unknown),
            rejected_texts=outcome.rejected_texts,
            rejected=outcome.rejected if keep is None else self.rejected,
        )


class Plain(NamedTuple):
    """
    What the plain keys of a source hold, beneath its rules.

    Attributes:
        entries: The last good value of each flag, static ones too.
        rejected: What is bad, by key.
        unknown: The keys that no flag has.
    """

    entries: Mapping[str, Entry] = MappingProxyType({})
    rejected: Mapping[str, FlagValueError] = MappingProxyType({})
    unknown: frozenset[str] = frozenset()


class SourceState(NamedTuple):
    """
    What is in force of a source, and what came of its readings. Replaced whole in the step that sets the values.

    Attributes:
        entries: The value of each flag, static ones too: from a rule in force, else the last good plain value.
        rejected: The errors of the reading: of bad values by key, of bad rules by name.
        unknown: The keys, and the names in rules, that no flag has.
        members: For each map the last good values of the keys that belong to it.
        deviating: The frozen static flags whose live value is not the one that this source holds.
        revision: The last one that was applied; None before the first.
        results: What came of the readings.
        plain: What its plain keys hold.
        rules: Its rules.
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
        name: The source.
        base: The state that it was compared with.
        state: The state that the plain values alone lead to; *base* itself when nothing is new.
        flags: The flags whose plain value is new.
        maps: The maps of the store when it was parsed.
        frozen: Whether static flags were frozen then.
        fresh: Flags that were declared just now.
        is_restated: Whether every text is as before, and only its line in the document or its secrecy has changed.
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
        name: The source.
        base: The state that it was compared with.
        state: The state that applying it leads to, still with the results of *base*; *base* itself when nothing is new.
        edits: What applying it changes in the layers.
        keyed: What applying it changes in the values for keys.
        is_new: Whether anything is new.
        restated: The state to keep without a revision, if only the lines that errors name, or the secrecy, are new;
            else None.
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
        Take the arguments as the attributes; *state* is None when nothing is new.
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
    def is_bad(self) -> bool:
        """
        Whether any of its values is refused.
        """
        return bool(self.state.rejected)


class ApplyOptions(NamedTuple):
    """
    How readings are to be applied, and for whom.

    Attributes:
        report_unknown: Whether unknown keys are reported.
        wanted: Called after the values were validated, before the commit. If it returns False, nothing is applied.
            None: always apply.
        background: Whether no caller waits, so that other threads go first once the values are in force.
        rules: Whether rules are followed, which needs facts and a clock.
        is_interim: Whether a newer reading of the same sources follows at once, so that nothing bad is reported of this
            one.
    """

    report_unknown: bool = True
    wanted: Callable[[], bool] | None = None
    background: bool = False
    rules: bool = True
    is_interim: bool = False


class Outcome(NamedTuple):
    """
    What came of applying one reading.

    Attributes:
        revision: The new one; the last one when nothing is new.
        values: What the source has in force now.
        rejected: The bad values, by key.
        newly_rejected: Those of them that were not reported before.
        newly_unknown: The unknown keys that were not reported before.
        error: Why a registry validator refused it whole.
        applied: Whether something was committed.
        in_force: Whether what was read is in force now.
        changed: The flags whose value changed, in order.
        changed_keyed: The flags whose values by key changed, in order.
        healed: The keys that were reported as bad and are good now, in the order of the reports.
        is_accepted_again: Whether all was refused before, and is not now.
        rejected_texts: The texts of all bad values, by key.
        refusal: Why nothing was applied, else None: a registry validator refuses the reading, or a value is bad and
            the updater is atomic.
        refused_anew: Whether a registry validator refused it, and not for the same reason as before.
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
    refused_anew: bool
    is_interim: bool


def load_late_modules() -> None:
    """
    Import the modules that a revision needs and that ``import dflag`` leaves out.

    Call it before anything is applied: a child that is forked during a late import could never import the module.
    """
    import datetime  # noqa: F401

    import dflag._formats.json_values
    import dflag._records  # noqa: F401


class DeferredRevision:
    """
    A `Revision` that is made when it is first asked for.
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
        # Not the states themselves: each leads to the revision before it, so all revisions would be kept.
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
        # Imported here, so that importing dflag does not wait for it.
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

    Nothing is worked out yet, and never if the commit fails. Until somebody asks, it keeps the transaction alive.

    Args:
        batch: What is committed.
        transaction: The commit, of this batch and perhaps of others.
        pending_restart: The static flags that wait for a restart.
        newly_unknown: The unknown keys that were not reported before.
        is_interim: As in `ApplyOptions`.
    """
    seconds = time.time()  # of the commit, and not of the question
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
        error: Why a registry validator refuses it.
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
        refused_anew=error is not None and refusal is not None and refusal != before.refusal,
        is_interim=is_interim,
    )


def _text_of(state: SourceState, key: str, fault: FlagValueError) -> Raw | str:
    """
    Return what identifies a bad value across readings: its raw text, or for a rule the problem without the place.
    """
    if key.startswith(RULE_PREFIX):
        return fault.problem
    return state.reading.values.get(key, str(fault))  # a map that is bad as a whole has no text of its own


def _refusal(rejected: Mapping[str, FlagValueError], error: RegistryValidationError | None) -> str:
    if error is not None or not rejected:
        return str(error)
    first, *others = rejected.values()
    more = f" (and {len(others)} more)" if others else ""
    return f"nothing was applied (atomic=True): {first}{more}"


def empty_state(name: str) -> SourceState:
    """
    Return the state of a source that has given nothing.
    """
    return SourceState(Reading({}, lambda _: name))
