"""
All values of a registry, and the one commit that changes them.

A change is worked out and validated without a lock, against the current values: the result is a `Transaction`.
Its commit is one loop in C. The loop first checks that nothing was committed in between. Then it sets everything:
values, layers, the snapshot and its number, the states of sources, the history, the callbacks to run. No code of a user
runs inside, no thread sees a half-made change, and a signal handler that changes flags runs before or after it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections import deque
from functools import partial
from logging import DEBUG
from operator import ior
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias, cast

from dflag._cells import VALUE, Cell, Step, set_value, value_of
from dflag._expiry import Expiry
from dflag._faults import is_interrupt, name_of, warn_caller
from dflag._flags import (
    KEYED,
    LAYERS,
    STORE,
    TABLE,
    UNBOUND,
    Flag,
    declared_at,
    layers_of,
    listeners_of,
    pipeline_of,
    renew_slow_reads,
    run_step,
    set_store,
    text_of_value,
)
from dflag._fork import follow_forks, no_fork, resume_soon, settle, settled
from dflag._history import HISTORY_LENGTH, printed, records_of, settle_records
from dflag._layers import COMMAND_LINE, DEFAULT, ENVIRONMENT, OVERRIDE, Entry
from dflag._log import logger
from dflag._notifier import Delivery, Notifier
from dflag._override_blocks import OverrideBlocks
from dflag._registry_validators import RegistryValidators
from dflag._snapshot import Snapshot, forget_between, replaced_of, store_of, table_of, tables_of, values_of
from dflag._transaction import Base, Token, Transaction, highest_layer
from dflag._turns import Turns
from dflag.errors import (
    MASK,
    DefinitionError,
    DuplicateFlagError,
    FlagValueError,
    RegistryValidationError,
    StaticFlagError,
    ValidationError,
    check_seconds,
    checked_text,
    one_line,
    unknown_flag,
)

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Protocol

    from dflag._cells import Call
    from dflag._flags import Owner
    from dflag._history import Record
    from dflag._keyed import Table
    from dflag._kinds.maps import MapKind
    from dflag._records import Change, Layer
    from dflag._registry_validators import RegistryValidator
    from dflag._snapshot import FlagLike, Replaced
    from dflag._transaction import Edit, KeyedEdit

    CommitListener: TypeAlias = Callable[[tuple[str, ...]], object]

    class Dependent(Protocol):
        """
        An object that is derived from a store's values. Every commit invalidates it.
        """

        def invalidations(self, number: int) -> Iterable[Call]:
            """
            Return the calls that invalidate this object in the step of commit *number*, if the step succeeds.
            """
            ...


class Store:
    """
    The state of one registry, or of one flag that is not bound yet.

    Attributes:
        lock: Held for a moment by each thread that changes something. No code of a user runs under it.
        flags: The flags by name.
        maps: The map flags, each with its kind. It is replaced by a new mapping, and never changed in place.
        checks: The registry validators.
        turns: Decides which writer goes next.

    Thread safety: any thread; `snapshot` is lock-free.
    """

    def __init__(self) -> None:
        self.own_lock = threading.RLock()  # the lock without the call of `settle()` that the property `lock` makes
        self.flags: Final[dict[str, Flag[Any]]] = {}
        self.maps: Mapping[Flag[Any], MapKind] = {}
        self.retired: Mapping[str, datetime.date] = {}
        self.frozen: bool = False
        self.checks: Final = RegistryValidators()
        self.turns: Final = Turns()
        self.notifier: Final = Notifier(self.own_lock)
        self.ranking: tuple[str, ...] = (OVERRIDE, COMMAND_LINE, ENVIRONMENT)  # all but the default, highest first
        self._tokens: Final = [Token(object())]  # one item: the token of the last change
        self._number: Final = Cell(0)
        self._snapshot: Final = Cell(None)  # None: the next call of `snapshot` makes a new one
        self._replaced: Final = Cell([])  # the list of the snapshot in force, see `replaced_of`
        self._snapshots: Final[set[weakref.ref[Snapshot]]] = set()  # the snapshots that may still be in use
        self._commit_listeners: tuple[CommitListener, ...] = ()
        self._timed: Final = Cell(frozenset())  # the flags that have an override with a time limit
        self._dependents: tuple[Dependent, ...] = ()
        self._blocks: Final = OverrideBlocks()
        self.changes: Final[deque[Record]] = deque(maxlen=HISTORY_LENGTH)
        self._expiry: Final = Expiry(self._next_deadline, self._expire)
        self._committed = threading.Condition()
        self._waiting = 0  # how many threads wait for the next commit
        follow_forks(self)

    @property
    def lock(self) -> threading.RLock:
        """The lock over the whole store. A forked child makes a new one."""
        if os.getpid() not in settled:
            settle()
        return self.own_lock

    @property
    def token(self) -> Token:
        """
        Identifies the current state. Every change gives the store a new token.
        """
        with self.lock:  # without the GIL a step of another thread may be between removing and appending the token
            return self._tokens[0]

    @property
    def number(self) -> int:
        """
        The number of the last commit.
        """
        number: int = value_of(self._number)
        return number

    # --- declaring

    def add(self, flag: Flag[Any]) -> None:
        """
        Add a flag under its name.

        Raises:
            DefinitionError: The name is retired.
            DuplicateFlagError: The name is taken.
        """
        with self.lock:
            self._check_free(flag.name)
            self.flags[flag.name] = flag
            self._note_declared((flag,))

    def retire(self, name: str, since: datetime.date) -> None:
        """
        Record that the flag of this name was removed on purpose.

        Raises:
            DefinitionError: A flag has the name, or it is retired already.
        """
        with self.lock:
            if name in self.flags:
                file, line = declared_at(self.flags[name])
                raise DefinitionError(
                    f"flag {name!r}: expected a name to retire, this flag is declared at {file}:{line}"
                )
            if name in self.retired:
                raise DefinitionError(f"flag {name!r}: it has been retired since {self.retired[name]}")
            self.retired = {**self.retired, name: since}

    def adopt(self, named: Mapping[str, Flag[Any]], changes: Iterable[Call] = ()) -> None:
        """
        Add flags that belong to no registry, with their overrides: all of the flags, or none.

        Args:
            named: The flags by their new names.
            changes: More calls for the same `Step`.

        Raises:
            DefinitionError: One of the flags belongs to a registry already, or a name is retired.
            DuplicateFlagError: A name is taken.
        """
        with no_fork(), contextlib.ExitStack() as locks:
            others = [other for other in map(store_of, named.values()) if isinstance(other, Store)]
            for store in (*others, self):
                locks.enter_context(store.lock)
            for name, flag in named.items():
                if flag.name != UNBOUND:
                    raise DefinitionError(f"flag {flag.name!r} is already bound and cannot be bound as {name!r}")
                if name in self.flags or name in self.retired:
                    self._check_free(name)
            names = [(setattr, flag, "name", name) for name, flag in named.items()]
            stores = [(setattr, flag, STORE, self) for flag in named.values()]
            Step([*names, *stores, *changes, (ior, self.flags, dict(named))]).run()
            self._note_declared(named.values())
            timed: frozenset[Flag[Any]] = frozenset().union(*(value_of(other._timed) for other in others))
            set_value(self._timed, value_of(self._timed) | timed)
            for other in others:
                set_value(other._timed, frozenset())
                other.flags.clear()
                other.outdate()
        for store in (*others, self) if timed else ():
            store._expiry.resume()
        overridden = [name for name, flag in named.items() if OVERRIDE in layers_of(flag)]
        if overridden:
            self.warn_if_refused(f"bound {', '.join(map(repr, overridden))} with an override")

    def store_for(self, flag: Flag[Any]) -> Self:  # noqa: ARG002 - the same for all flags
        return self

    def _check_free(self, name: str) -> None:
        if name in self.retired:
            raise DefinitionError(f"flag {name!r}: expected a new name, this one is retired")
        first = self.flags.get(name)
        if first is not None:
            file, line = declared_at(first)
            raise DuplicateFlagError(f"flag {name!r} is already declared at {file}:{line}")

    def _note_declared(self, flags: Iterable[Flag[Any]]) -> None:
        """
        Renew the attributes that depend on the set of flags. The caller holds the lock.
        """
        maps = {flag: cast("MapKind", pipeline_of(flag).kind) for flag in flags if pipeline_of(flag).kind.is_map}
        if maps:
            self.maps = {**self.maps, **maps}
        # The epoch stays: a transaction that is being validated stays valid, because the new flags have their defaults.
        self._tokens[0] = Token(self._tokens[0].epoch)
        set_value(self._snapshot, None)

    def base(self) -> Base:
        """
        Return the state in force, as the base of a transaction.
        """
        with self.lock:
            token = self._tokens[0]  # first: a commit of a signal handler before the next line then outdates the base
            return Base(token, self.snapshot(), self.ranking, self.maps, value_of(self._timed))

    def add_dependent(self, dependent: Dependent) -> None:
        """
        Let a dependent take part in every commit from now on.
        """
        with self.lock:
            self._dependents = (*self._dependents, dependent)
            self._tokens[0] = Token(self._tokens[0].epoch)  # the steps made so far do not invalidate it: outdate them

    def run_if_current(self, token: Token, changes: Iterable[Call]) -> bool:
        """
        Run calls in one step if nothing has changed since *token*; return whether they were run.

        Args:
            token: The token that the caller has read.
            changes: The calls for a `Step`. They only set objects that are derived from the values.
        """
        step = Step([(list.remove, self._tokens, token), (list.append, self._tokens, token), *changes])
        return self._run(step, token)

    def set_cells(self, token: Token, cells: Sequence[tuple[Cell, Any]]) -> bool:
        """
        Set cells, but no flags, if nothing was committed since *token*; return whether the cells were set.

        The revision number stays, but the next snapshot is a new object.
        """
        before = {cell: value_of(cell) for cell, _ in cells}
        step = Step(
            [
                (list.remove, self._tokens, token),
                (list.append, self._tokens, Token(object())),
                (setattr, self._snapshot, VALUE, None),
                *self._replacing(value_of(self._replaced), before, []),
                *((setattr, cell, VALUE, value) for cell, value in cells),
            ]
        )
        return self._run(step, token)

    def outdate(self) -> None:
        """
        Make every transaction under way start again, because something that it depends on has changed.

        As after a commit, the next snapshot is a new object.
        """
        with self.lock:
            self._tokens[0] = Token(object())
            set_value(self._snapshot, None)

    def rank(self, ranking: Iterable[str]) -> None:
        """
        Set the order of the layers, the highest first, without the default.

        Only layers without values may change their place. Then no transaction under way depends on the order.
        """
        self.ranking = tuple(ranking)

    def freeze(self) -> None:
        """
        Fix the values of static flags from now on.

        Raises:
            DflagError: A registry validator calls this. It would outdate the transaction that it checks, each time.
        """
        if self.frozen:
            return
        self.checks.refuse_changes()
        with self.lock:
            self.frozen = True
            self.outdate()

    def add_validator(self, validator: RegistryValidator) -> None:
        """
        Add a registry validator, which runs from now on.

        Raises:
            DflagError: As for `freeze`.
        """
        self.checks.refuse_changes()
        with self.lock:
            self.checks.validators = (*self.checks.validators, validator)
            self.outdate()

    # --- reading

    def snapshot(self) -> Snapshot:
        current: Snapshot | None = self._snapshot._value  # with `value_of` this would take a third longer
        return current if current is not None else self._make_snapshot()

    def _make_snapshot(self) -> Snapshot:
        with self.lock:
            while True:
                token = self._tokens[0]
                flags = list(self.flags.values())  # a copy, because a signal handler may declare more flags
                tables: dict[FlagLike[Any], Table] = {
                    flag: table for flag in flags if (table := table_of(flag)) is not None
                }
                values: dict[FlagLike[Any], Any] = {flag: value_of(flag) for flag in flags}
                snapshot = Snapshot(self.flags, values, self.number, tables, value_of(self._replaced))
                if self.run_if_current(token, [(setattr, self._snapshot, VALUE, snapshot)]):
                    self.register_snapshot(snapshot)
                    return snapshot  # otherwise a signal handler has committed meanwhile

    def register_snapshot(self, snapshot: Snapshot) -> None:
        """
        Remember a snapshot weakly, so that later commits can shorten the chain of the snapshots that are kept.
        """
        self._snapshots.add(weakref.ref(snapshot, self._snapshots.discard))

    def find(self, name: object) -> Flag[Any]:
        flag = self.flags.get(name) if isinstance(name, str) else None
        if flag is None:
            raise unknown_flag(name, list(self.flags))
        return flag

    def origin_of(self, flag: Flag[Any]) -> str:
        return highest_layer(layers_of(flag), self.ranking)

    def value_in_force(self, flag: Flag[Any]) -> Any:
        """
        Return a flag's value from the snapshot in force. A commit sets that snapshot before any flag.
        """
        values = values_of(self.snapshot())
        return values[flag] if flag in values else value_of(flag)  # the flag was bound after the snapshot

    def table_in_force(self, flag: Flag[Any]) -> Table | None:
        """
        Return the table of a keyed flag from the snapshot in force.
        """
        table = tables_of(self.snapshot()).get(flag)
        return table_of(flag) if table is None else table  # as above

    def wait_beyond(self, number: int, timeout: float | None) -> bool:
        """
        Wait until a commit later than *number* is visible; return False when *timeout* seconds pass first.
        """
        settle()
        with self._committed:
            self._waiting += 1
            try:
                return self._committed.wait_for(lambda: self.number > number, timeout)
            finally:
                self._waiting -= 1

    # --- checking

    def plan(self, edits: Iterable[Edit], *, keyed: Iterable[KeyedEdit] = ()) -> Transaction:
        """
        Return the transaction for edits of the state in force.
        """
        return Transaction(self.base(), edits, keyed=keyed)

    def check(self, transaction: Transaction) -> None:
        """
        Run the checks that concern several flags or sources: registry validators, and the limits of merged maps.

        No check runs if only values for keys change. These are checked when their rule is tried.

        Raises:
            RegistryValidationError: The transaction is refused. The message does not quote the validator if the
                transaction edits a secret flag.
        """
        if not transaction.differences:
            return
        for flag, _, value, origin, _ in transaction.merged() if transaction.base.maps else ():
            try:
                pipeline_of(flag).recheck(flag.name, value, origin)
            except FlagValueError as error:
                raise RegistryValidationError(
                    f"refused together with the values of the other sources: {error}"
                ) from error
        if self.checks.validators:
            self.checks.run(transaction.snapshot, secret=transaction.is_secret)

    def refusal(self, transaction: Transaction) -> RegistryValidationError | None:
        """
        Return the error with which `check` refuses a transaction, which is only tried; None if it is accepted.
        """
        try:
            self.check(transaction)
        except RegistryValidationError as error:
            return error
        return None

    # --- committing

    def commit(
        self,
        transaction: Transaction,
        cells: Sequence[tuple[Cell, Any]] = (),
        is_current: Callable[[], bool] = lambda: True,
    ) -> bool:
        """
        Put a transaction in force, if nothing except the declaration of flags has changed since it was worked out.

        Args:
            transaction: The transaction.
            cells: Cells to set in the same step, before any flag has its new value.
            is_current: Called if flags were declared meanwhile. Returns whether the transaction is still valid.

        Returns:
            Whether the transaction was committed. If not, nothing has changed, and it must be worked out again.
        """
        revision = transaction.snapshot.revision
        # Made here, because they hold the time of the change: validators may have taken long since the plan.
        transaction.records[:] = records_of(transaction.differences[-HISTORY_LENGTH:], revision)
        deliveries = [
            Delivery(
                partial(listener, old, new, origin, revision),
                listener.label,
                flag.name,
                secret=flag.secret,
                loop=listener.loop,
            )
            for flag, old, new, origin, _ in transaction.differences
            for listener in listeners_of(flag)
        ]
        if self._commit_listeners:
            deliveries += self._listener_deliveries(transaction)
        is_timed = bool(transaction.timed or value_of(self._timed))
        token = transaction.base.token
        step = self._step(transaction, token, cells, deliveries)
        try:
            while not self._run(step, token):
                token = self.token
                if token.epoch is not transaction.base.token.epoch or not is_current():
                    return False
                step = self._step(transaction, token, cells, deliveries)
        finally:
            if step.made:  # also if a signal handler has raised
                try:
                    self._announce(deliveries, is_timed=is_timed)
                except BaseException:  # raised by a signal handler, before all threads were woken
                    self._announce(deliveries, is_timed=is_timed)
                    raise
        self.register_snapshot(transaction.snapshot)
        return True

    def _run(self, step: Step, token: Token) -> bool:
        """
        Run a step that begins with the removal of a token; return whether the token was still in force.

        An exception that a signal handler raises is passed on to the caller, whatever its class.
        """
        with self.lock:
            before = list(self.changes)  # the step drops the oldest, which may hold the last reference to a value
            try:
                run_step(step)
            except ValueError:
                if step.made or self._tokens[0] is token:
                    raise
        del before  # not under the lock: freeing a value may run a user's code
        if len(self._snapshots) > 1:  # otherwise only the snapshot that was in force is alive
            forget_between([snapshot for each in list(self._snapshots) if (snapshot := each()) is not None])
        return bool(step.made)

    def _announce(self, deliveries: Sequence[Delivery], *, is_timed: bool) -> None:
        """
        Wake the threads that a commit concerns.
        """
        if self._waiting:  # a thread that begins to wait later finds the new number
            with self._committed:
                self._committed.notify_all()
        if deliveries:
            self.notifier.resume()
        if is_timed:
            self._expiry.resume()  # the earliest time limit may have changed

    def _step(
        self,
        transaction: Transaction,
        token: Token,
        cells: Sequence[tuple[Cell, Any]],
        deliveries: Sequence[Delivery],
    ) -> Step:
        # None if flags were declared meanwhile, which this snapshot lacks: the next reader makes a new one.
        snapshot = transaction.snapshot if token is transaction.base.token else None
        number = transaction.snapshot.revision
        before: dict[Any, object] = {**transaction.replaced}
        calls: list[Call] = [
            (list.remove, self._tokens, token),  # raises if the token has changed: then no later call runs
            (list.append, self._tokens, transaction.token),
        ]
        # Loops instead of comprehensions: each comprehension would be a call, and readers wait for the values.
        for dependent in self._dependents:  # before values and snapshot, which are visible at once without the GIL
            calls += dependent.invalidations(number)
        for cell, _ in cells:
            before[cell] = value_of(cell)
        # Before the contents that it replaces: `as_of` first reads a cell, and then looks for a replacement.
        calls += self._replacing(replaced_of(transaction.base.snapshot), before, replaced_of(transaction.snapshot))
        for cell, value in cells:
            calls.append((setattr, cell, VALUE, value))
        # Before the snapshot that they belong to, because a reader of the snapshot may ask for them.
        for flag, layers in transaction.layers.items():
            calls.append((setattr, flag, LAYERS, layers))
        for flag, tables in transaction.tables.items():
            calls.append((setattr, flag, KEYED, tables.keyed))
        calls += [(setattr, self._number, VALUE, number), (setattr, self._snapshot, VALUE, snapshot)]
        for flag, _, new, _, _ in transaction.differences:
            calls.append((setattr, flag, VALUE, new))
        for flag, value in transaction.equal_values:
            calls.append((setattr, flag, VALUE, value))
        for flag, tables in transaction.tables.items():
            calls.append((setattr, flag, TABLE, tables.table))
        calls += [
            (setattr, self._timed, VALUE, transaction.timed),
            (deque.extend, self.changes, iter(transaction.records)),
            (deque.extend, self.notifier.queue, iter(deliveries)),
        ]
        return Step(calls)

    def _replacing(self, current: Replaced, before: Mapping[Any, object], following: Replaced) -> tuple[Call, Call]:
        """
        Return the calls that save the old contents *before* of a step, for holders of the snapshot in force.
        """
        return (list.append, current, (before, following)), (setattr, self._replaced, VALUE, following)

    def _listener_deliveries(self, transaction: Transaction) -> list[Delivery]:
        names = {*transaction.changed, *(flag.name for flag in transaction.changed_keyed)}
        if not names:
            return []
        changed = tuple(sorted(names))
        return [Delivery(partial(listener, changed), name_of(listener)) for listener in self._commit_listeners]

    def add_commit_listener(self, listener: CommitListener) -> None:
        """
        Register a function that is called after each commit that changes flags, with their names.

        A flag also counts as changed if only values for keys have changed. The function runs on the notifier's thread,
        in order with the callbacks.
        """
        with self.lock:
            self._commit_listeners = (*self._commit_listeners, listener)

    def deliver(self, function: Callable[[], object], label: str) -> None:
        """
        Call a function on the notifier's thread, after the callbacks of all earlier commits.
        """
        self.notifier.queue.append(Delivery(function, label))
        self.notifier.resume()

    def remove_commit_listener(self, listener: CommitListener) -> None:
        """
        Stop calling a function, except for earlier commits. Idempotent.
        """
        with self.lock:
            self.forget_commit_listener(listener)

    def forget_commit_listener(self, listener: CommitListener) -> None:
        """
        Like `remove_commit_listener`, but without the lock, for a forked child that is renewing its locks.
        """
        self._commit_listeners = tuple(each for each in self._commit_listeners if each != listener)

    def change(self, edits: Sequence[Edit], *, checked: bool = True, reason: str | None = None) -> None:
        """
        Work out, check and commit edits, and report the changes.

        Raises:
            ValidationError: The change is refused, see `check`.
        """
        self.checks.refuse_changes()
        home, transaction = self.turns.run(partial(self._try_to_change, edits, checked=checked, reason=reason))
        if transaction is None:
            home.change(edits, checked=checked, reason=reason)
        else:
            self.report(transaction, edits)

    def _try_to_change(
        self, edits: Sequence[Edit], *, checked: bool, reason: str | None
    ) -> tuple[Store, Transaction | None] | None:
        """
        Commit edits, if nothing else is committed meanwhile.

        Returns:
            This store and the committed transaction. If the flags belong to another store by now, that store and None.
            None if another commit came first.
        """
        base = self.base()  # first: any later change outdates its token
        home = store_of(edits[0][0]) if edits else self
        if home is not self:  # the flag was bound to a registry meanwhile
            return home, None
        transaction = Transaction(base, edits, reason=reason)
        if checked:
            self.check_edits(transaction, edits)
        return (self, transaction) if self.commit(transaction) else None

    def check_edits(self, transaction: Transaction, edits: Sequence[Edit]) -> None:
        """
        Run the checks of `check`, and raise a refusal as an error of the first flag that is set.

        Raises:
            ValidationError: The transaction is refused.
        """
        try:
            self.check(transaction)
        except RegistryValidationError as error:
            (flag, layer, entry), *others = [each for each in edits if each[2] is not None] or edits
            beside = f"set together with {', '.join(repr(each.name) for each, _, _ in others)}, " if others else ""
            raise ValidationError(
                flag.name,
                f"{beside}{error}",
                raw=... if entry is None else entry.value,
                origin=layer,
                secret=transaction.is_secret,
                space=None,
            ) from error

    def report(self, transaction: Transaction, edits: Iterable[Edit | KeyedEdit]) -> None:
        """
        Print the changes of a commit, for the history and the log, and warn of deprecated flags that it has set.

        Thread safety: any thread. Values are printed and logged in the calling thread, without a lock.
        """
        settle_records(transaction.records)
        if logger.enables(DEBUG):
            for record, old, new in printed(records_of(transaction.differences, transaction.snapshot.revision)):
                texts = map(one_line, (old, new, record.origin))
                logger.debug("flag %r: %s -> %s (%s)%s", record.flag.name, *texts, _because(record.reason))
        for flag, layer, held in edits:
            if held and pipeline_of(flag).deprecated is not None:
                self._report_deprecated(flag, layer)
        self._report_problems()

    def _report_deprecated(self, flag: Flag[Any], layer: str) -> None:
        if not pipeline_of(flag).is_news("deprecated"):
            return
        message = f"flag {flag.name!r} is deprecated: {flag.deprecated} (set by {layer})"
        logger.warning("%s", message)  # for operators
        try:
            warn_caller(message, DeprecationWarning)  # for developers
        except BaseException as error:  # raised by a warnings filter or a hook: only the report has failed
            if is_interrupt(error):
                raise

    def _report_problems(self) -> None:
        for part in (self.notifier, self._expiry):
            problem, part.problem = part.problem, None
            if problem is not None:
                logger.warning("%s, no thread could be started for them: %s", part.waiting_text, problem)

    # --- overriding

    def set(self, flag: Flag[Any], value: Any, *, ttl_seconds: float | None = None, reason: str | None = None) -> None:
        self.check_settable(flag, ttl_seconds)
        subject = f"flag {flag.name!r}: "
        if ttl_seconds is not None:
            check_seconds("ttl_seconds", ttl_seconds, positive=True, subject=subject)
        if reason is not None:
            reason = checked_text("reason", reason, subject=subject)
        deadline = None if ttl_seconds is None else time.monotonic() + ttl_seconds
        self.change([(flag, OVERRIDE, Entry(value, reason, deadline))])
        if reason is not None or ttl_seconds is not None:
            limit = "" if ttl_seconds is None else f" for {ttl_seconds:g} s"
            logger.info("flag %r: overridden%s%s", flag.name, limit, _because(reason))

    def check_settable(self, flag: Flag[Any], ttl_seconds: float | None) -> None:
        """
        Raise an error if a flag cannot be overridden: a static flag after the freeze, or with a time limit.

        Raises:
            StaticFlagError: The flag is static, and the registry is frozen or *ttl_seconds* is given.
        """
        if not flag.dynamic and (self.frozen or ttl_seconds is not None):
            why = (
                "the registry is frozen" if self.frozen else "a time limit would change it later, leave ttl_seconds out"
            )
            raise StaticFlagError(f"flag {flag.name!r} is static and cannot be set: {why}")

    def reset(self, flag: Flag[Any], *, reason: str | None = None) -> None:
        if OVERRIDE not in layers_of(flag):
            return
        if not flag.dynamic and self.frozen:
            raise StaticFlagError(f"flag {flag.name!r} is static and cannot be reset: the registry is frozen")
        self.change([(flag, OVERRIDE, None)], checked=False, reason=reason)
        if reason is not None:
            logger.info("flag %r: override dropped%s", flag.name, _because(reason))
        self.warn_if_refused("an override was dropped")

    @contextlib.contextmanager
    def override(self, values: Mapping[Flag[Any], Any]) -> Iterator[None]:
        # Under one lock, so that blocks are registered in the order in which they have read the previous overrides.
        with self.lock:
            before = {flag: layers_of(flag).get(OVERRIDE) for flag in values}
            self._blocks.enter(before)
            self._tokens[0] = Token(object())  # outdates a block that is about to restore one of these flags
        try:
            self.change([(flag, OVERRIDE, Entry(value)) for flag, value in values.items()])
        except BaseException:  # a signal handler may raise also after the commit
            self._restore_overrides(before)
            raise
        try:
            yield
        finally:
            self._restore_overrides(before)

    def _restore_overrides(self, before: dict[Flag[Any], Entry | None]) -> None:
        """
        Restore the overrides from before a block, except for flags that a block entered later overrides.
        """
        is_changed = False
        try:
            self.checks.refuse_changes()
            while True:
                edits, transaction = self.turns.run(partial(self._try_to_end_block, before))
                if not edits:
                    break
                is_changed = True
                if transaction is not None:
                    self.report(transaction, edits)
                else:  # the flags were bound to a registry meanwhile
                    self.change(edits, checked=False)
        finally:
            self._end_block(before)
        if is_changed:
            self.warn_if_refused("an override was dropped")

    def _try_to_end_block(self, before: dict[Flag[Any], Entry | None]) -> tuple[list[Edit], Transaction | None] | None:
        """
        End a block if nothing is left to restore; otherwise restore the overrides and leave the block open.

        The caller then calls this again, because another thread may have set a flag meanwhile, or ended a block that
        encloses this one.
        """
        base, now = self.base(), time.monotonic()
        with self.lock:
            edits: list[Edit] = []
            for flag, entry in self._blocks.to_restore(before).items():
                wanted = None if entry is not None and entry.is_over(now) else entry
                if layers_of(flag).get(OVERRIDE) is not wanted:
                    edits.append((flag, OVERRIDE, wanted))
            if not edits:
                self._end_block(before)
                return edits, None
        if store_of(edits[0][0]) is not self:
            return edits, None
        transaction = Transaction(base, edits)
        return (edits, transaction) if self.commit(transaction) else None

    def _end_block(self, before: dict[Flag[Any], Entry | None]) -> None:
        with self.lock:
            self._blocks.leave(before)
            self._tokens[0] = Token(object())  # outdates a block that is about to restore these flags

    def _next_deadline(self) -> float | None:
        overrides = [layers_of(flag).get(OVERRIDE) for flag in value_of(self._timed)]
        return min((entry.deadline for entry in overrides if entry and entry.deadline is not None), default=None)

    def _expire(self) -> None:
        """
        Drop the overrides whose time limit has passed. Runs on the expiry thread.
        """
        transaction = self.turns.run(self._try_to_expire)
        if not transaction.layers:
            return
        # Not on this thread: a log handler or a validator that hangs must not delay the next expiry.
        names = ", ".join(sorted(flag.name for flag in transaction.layers))
        self.deliver(partial(self._report_expiry, transaction, names), "the report of overrides that have expired")

    def _try_to_expire(self) -> Transaction | None:
        base, now = self.base(), time.monotonic()  # the base first: any later change outdates its token
        held = [(flag, layers_of(flag).get(OVERRIDE)) for flag in base.timed]
        edits: list[Edit] = [(flag, OVERRIDE, None) for flag, entry in held if entry is not None and entry.is_over(now)]
        transaction = Transaction(base, edits)
        return transaction if not edits or self.commit(transaction) else None

    def _report_expiry(self, transaction: Transaction, names: str) -> None:
        self.report(transaction, ())
        logger.info("override expired: %s", names)
        self.warn_if_refused("an override was dropped")

    def warn_if_refused(self, what_happened: str) -> None:
        """
        Log a warning if the values in force do not pass the registry validators, after a change that none can refuse.
        """
        if not self.checks.validators:
            return
        try:
            self.checks.run(self.snapshot(), secret=False)
        except RegistryValidationError as error:
            logger.warning("%s, and the values in force do not pass: %s", what_happened, error)

    # --- looking back

    def explain(self, name: str) -> tuple[Layer, ...]:
        flag = self.find(name)
        layers = layers_of(flag)
        held = [(origin, layers[origin]) for origin in self.ranking if origin in layers]
        return tuple(_describe(flag, origin, entry) for origin, entry in (*held, (DEFAULT, Entry(flag.default))))

    def history(self) -> tuple[Change, ...]:
        import datetime  # even without a change: a later call in a signal handler must not be the first import

        from dflag._records import Change

        with self.lock:
            records = list(self.changes)
        return tuple(
            Change(
                when=datetime.datetime.fromtimestamp(record.seconds, datetime.UTC),
                flag=record.flag.name,
                old=old,
                new=new,
                origin=record.origin,
                reason=record.reason,
            )
            for record, old, new in printed(records)
        )

    # --- forking

    def before_fork(self) -> None:
        self.own_lock.acquire()

    def after_fork_in_parent(self) -> None:
        self.own_lock.release()

    def is_active(self) -> bool:
        return bool(value_of(self._timed)) or self.notifier.is_pending()

    def after_fork_in_child(self) -> None:
        renew_slow_reads()
        self.own_lock = threading.RLock()
        self._committed = threading.Condition()
        self._waiting = 0
        self.notifier.renew(self.own_lock)
        self._expiry.renew()
        self.checks.after_fork_in_child()
        self.turns.after_fork_in_child()
        if self.is_active():
            resume_soon(self)

    def resume_in_child(self) -> None:
        self.notifier.resume()
        self._expiry.resume()  # the parent's thread may have been in the middle of an expiry


class _NoStore:
    """
    The store of flags that belong to no registry yet. A flag gets a store of its own with its first override, validator
    or callback.

    A library may have many flags that no program sets or binds, and a store takes 7 kB.

    Attributes:
        lock: Held while a flag gets a store: its own, or that of a registry.

    Thread safety: any thread.
    """

    frozen = False

    @property
    def lock(self) -> threading.RLock:
        return cast("threading.RLock", no_fork())  # a forked child renews this lock without a fork follower

    def store_for(self, flag: Flag[Any]) -> Any:
        with self.lock:
            owner = store_of(flag)
            if owner is not self:  # another thread was faster
                return owner
            store = Store()
            store.add(flag)
            set_store(flag, store)
            return store

    def set(self, flag: Flag[Any], value: Any, *, ttl_seconds: float | None = None, reason: str | None = None) -> None:
        self.store_for(flag).set(flag, value, ttl_seconds=ttl_seconds, reason=reason)

    def check_settable(self, flag: Flag[Any], ttl_seconds: float | None) -> None:
        self.store_for(flag).check_settable(flag, ttl_seconds)

    def reset(self, flag: Flag[Any], *, reason: str | None = None) -> None:
        """
        Do nothing: there is no override.
        """

    def origin_of(self, flag: Flag[Any]) -> str:  # noqa: ARG002 - the same for all flags
        return DEFAULT

    def value_in_force(self, flag: Flag[Any]) -> Any:
        return flag.default

    def table_in_force(self, flag: Flag[Any]) -> Table | None:
        return table_of(flag)

    def outdate(self) -> None:
        """
        Do nothing: there is no transaction.
        """


NO_STORE: Final[Owner] = _NoStore()


def _because(reason: str | None) -> str:
    return "" if reason is None else f": {one_line(reason)}"


def _describe(flag: Flag[Any], origin: str, entry: Entry) -> Layer:
    from dflag._records import Layer

    return Layer(
        origin=origin,
        value=MASK if flag.secret else entry.value,
        text=text_of_value(flag, entry.value),
        reason=entry.reason,
        rule=entry.rule,
        expires_in_seconds=None if entry.deadline is None else max(0.0, entry.deadline - time.monotonic()),
    )
