"""
The layers of every flag of a registry, and the one place that changes them.

Everything is parsed and validated outside the lock against what was current then;
the lock is taken only to see that nothing has changed since and to swap the new values in.
So no code of a user runs under the lock, and none can hold up another writer.
"""

from __future__ import annotations

import contextlib
import threading
import time
import warnings
from collections import deque
from functools import partial
from itertools import chain
from logging import DEBUG
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, cast

from dflag._expiry import Expiry
from dflag._faults import is_interrupt, name_of, text_of
from dflag._flags import Cell, Flag, same
from dflag._fork import follow_forks, no_fork
from dflag._history import LENGTH as HISTORY_LENGTH
from dflag._history import History, Record
from dflag._intake import Intake
from dflag._layers import COMMAND_LINE, DEFAULT, ENVIRONMENT, OVERRIDE, OWN_LAYERS, Entry
from dflag._log import logger
from dflag._notifier import Delivery, Notifier
from dflag._snapshot import Snapshot, unknown_flag
from dflag._spec import AuthorError, expect_no_verdict
from dflag.errors import (
    MASK,
    DflagError,
    DuplicateFlagError,
    FlagValueError,
    RuleError,
    StaticFlagError,
    ValidationError,
    check_argument,
    check_seconds,
    one_line,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from dflag._kinds.maps import MapKind
    from dflag._records import Change, Layer

_ATTEMPTS_WITHOUT_TURN: Final = 8
"""How often other writers may outdate what a writer has validated before they wait for it, so that none starves."""

_TURN_SECONDS: Final = 1.0
"""The least that other writers wait, once: no validator may stop them for good."""

_set_layers: Final = Flag.__dict__["_layers"].__set__
_set_origin: Final = Flag.__dict__["_origin"].__set__
_set_value: Final = Cell.__dict__["_value"].__set__
"""
The slots' setters as C callables: ``sink.extend(map(_set_value, cells, values))`` is one C loop, within which the GIL
is not given up, so readers see none or all of the values (0 of 17 million reads torn, 38,000 with a Python loop).
"""


Edit: TypeAlias = tuple[Flag[Any], str, Entry | None]
"""A flag, a layer, and what the layer shall hold: None for nothing."""

Rule: TypeAlias = "Callable[[Snapshot], object]"


class Errand(Protocol):
    """
    What is done under the lock together with a commit.
    """

    def is_current(self) -> bool:
        """
        Say whether the commit is still wanted.
        """
        ...

    def give_way(self) -> None:
        """
        Let other threads have the interpreter, if they are to: the values are there, and the rest can wait.
        """
        ...

    def conclude(self, changed: Collection[Flag[Any]]) -> None:
        """
        Enter into the books what the commit has done: nobody who goes by `Store.books` reads them before.

        Args:
            changed: The flags whose value is another one now.
        """
        ...


class _Turn(threading.Event):
    """
    The right of one thread to commit next. It is no lock: others wait for it a while and then go on.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds: Final = seconds

    def pause(self) -> None:
        self.wait(self._seconds)


class _Lapse:
    """
    The dropping of overrides whose time is over, as an errand: it is outdated when one of them was set anew.
    """

    def __init__(self, lapsed: Mapping[Flag[Any], Entry], done: Callable[[], None]) -> None:
        self._lapsed: Final = lapsed
        self._done: Final = done

    def is_current(self) -> bool:
        return all(flag._layers.get(OVERRIDE) is entry for flag, entry in self._lapsed.items())

    def give_way(self) -> None:
        pass

    def conclude(self, changed: Collection[Flag[Any]]) -> None:  # noqa: ARG002 - it ends where nothing changes too
        self._done()


class _Plan:
    """
    The effective values that some edits lead to, computed from what was current at the time.
    """

    __slots__ = (
        "adopted",
        "cells",
        "dropped",
        "layers",
        "merged",
        "new",
        "number",
        "old",
        "origins",
        "reason",
        "records",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.records: list[Record] = []  # of the changes, to be printed once the lock is released
        self.dropped: list[object] = []  # what the commit replaces: no __del__ of a user may run under the lock
        self.reason: str | None = None  # where that of the layer that wins does not say it
        self.layers: dict[Flag[Any], dict[str, Entry]] = {}
        self.origins: dict[Flag[Any], str] = {}
        self.cells: list[Flag[Any]] = []  # the flags whose value changes
        self.adopted: list[tuple[Flag[Any], Any]] = []  # those with another object for the same value, such as -0.0
        self.merged: list[tuple[Flag[Any], Any]] = []  # those of them that several sources make up together
        self.old: list[Any] = []
        self.new: list[Any] = []


class Store:
    """
    The state of one registry, or of one unbound flag.

    Attributes:
        lock: Held by whoever changes anything.
        books: Held beside it from before new values are there until what came of them is written down, so that who
            has seen the values and takes it finds the rest. No code of a user runs under it.

    Thread safety: any thread; `snapshot` is lock-free.
    """

    def __init__(self) -> None:
        self.lock: threading.RLock = threading.RLock()
        self.books: threading.RLock = threading.RLock()
        self.flags: dict[str, Flag[Any]] = {}
        self.families: dict[Flag[Any], MapKind] = {}  # the flags that gather keys; replaced whole, never changed
        self.frozen: bool = False
        self._number = Cell()  # of the last commit; a cell, to be set in the same step as the values
        self._number._value = 0
        self.rules: tuple[Rule, ...] = ()
        self.notifier: Final[Notifier] = Notifier(self.lock)
        self._expiry: Final = Expiry(self._expire)
        self._expiry_problem: str | None = None  # to be logged without the lock
        self._timed: set[Flag[Any]] = set()
        self._current = Cell()
        self._current._value = None
        self.ranking: tuple[str, ...] = (OVERRIDE, COMMAND_LINE, ENVIRONMENT)  # all but the default, highest first
        self.intake: Final[Intake] = Intake(self)
        self._committed = threading.Condition()
        self._waiting = 0  # threads, for the next commit
        self._turn: _Turn | None = None
        self.changes: Final[History] = History()
        self._reported_deprecated: set[str] = set()
        self._threads_in_rules: set[int] = set()
        follow_forks(self)

    # --- declaring

    def add(self, flag: Flag[Any]) -> None:
        """
        Take a flag in under its name; it takes up what the sources already hold for it.

        Raises:
            DuplicateFlagError: The name is taken.
        """
        self._insert(flag, flag.name)
        self.intake.catch_up(flag)

    def adopt(self, flag: Flag[Any], name: str) -> None:
        """
        Take in a flag that has lived in a store of its own, with the override it has.

        Raises:
            DuplicateFlagError: The name is taken.
        """
        other = flag._store
        with no_fork(), other.lock, self.lock:
            self._insert(flag, name)
            flag.name = name
            flag._store = self
            other.flags.clear()
            other._number._value += 1  # whoever has planned there begins anew, here
            other._follow_deadlines([])
            self._follow_deadlines([flag])
        self._report_problems()
        self.intake.catch_up(flag)

    def _insert(self, flag: Flag[Any], name: str) -> None:
        with self.lock:
            first = self.flags.get(name)
            if first is not None:
                file, line = first._declared_at
                raise DuplicateFlagError(f"flag {name!r} is already declared at {file}:{line}")
            self.flags[name] = flag
            if flag._spec.kind.gathers:
                self.families = {**self.families, flag: cast("MapKind", flag._spec.kind)}
            self.outdate_snapshot()

    def outdate_snapshot(self) -> None:
        """
        Make the next snapshot another object, for whoever goes by it: what flags are has changed, if not their values.

        The caller holds the lock.
        """
        self._current._value = None

    def rank_sources(self, above: Iterable[str], below: Iterable[str]) -> None:
        """
        Set the order of the sources above and below the arguments, the lowest first. The caller holds the lock.
        """
        self.ranking = (OVERRIDE, *reversed(list(above)), COMMAND_LINE, ENVIRONMENT, *reversed(list(below)))

    @property
    def number(self) -> int:
        """
        The number of the last commit.
        """
        return self._number._value  # type: ignore[no-any-return]  # a cell holds anything

    def freeze(self) -> None:
        with self.lock:
            self.frozen = True

    # --- reading

    def snapshot(self) -> Snapshot:
        current: Snapshot | None = self._current._value
        return current if current is not None else self._rebuild()

    def _rebuild(self) -> Snapshot:
        with self.lock:
            while True:
                number = self.number
                values = {flag: flag._value for flag in self.flags.values()}
                current = Snapshot(self.flags, values, number)
                if self._number._value == number:  # as in `_publish`
                    self._current._value = current
                    return current

    def find(self, name: object) -> Flag[Any]:
        flag = self.flags.get(name) if isinstance(name, str) else None
        if flag is None:
            raise unknown_flag(name, self.flags)
        return flag

    def explain(self, name: str) -> tuple[Layer, ...]:
        flag = self.find(name)
        layers = flag._layers
        held = [(origin, layers[origin]) for origin in self.ranking if origin in layers]
        return tuple(_describe(flag, origin, entry) for origin, entry in (*held, (DEFAULT, Entry(flag.default))))

    def history(self) -> tuple[Change, ...]:
        import datetime

        from dflag._records import Change

        with self.lock:
            records = self.changes.records()
        return tuple(
            Change(
                when=datetime.datetime.fromtimestamp(change.seconds, datetime.UTC),
                flag=change.flag,
                old=change.old,
                new=change.new,
                origin=change.origin,
                reason=change.reason,
            )
            for change in (record.printed() for record in records)
        )

    def wait_beyond(self, number: int, timeout: float | None) -> bool:
        """
        Wait until a commit after *number* is visible; False when *timeout* seconds did not suffice.
        """
        with self._committed:
            self._waiting += 1
            try:
                return self._committed.wait_for(lambda: self.number > number, timeout)
            finally:
                self._waiting -= 1

    # --- overriding

    def set(self, flag: Flag[Any], value: Any, *, ttl_seconds: float | None = None, reason: str | None = None) -> None:
        if not flag.dynamic and (self.frozen or ttl_seconds is not None):
            why = (
                "the registry is frozen" if self.frozen else "a time limit would change it later, leave ttl_seconds out"
            )
            raise StaticFlagError(f"flag {flag.name!r} is static and cannot be set: {why}")
        subject = f"flag {flag.name!r}: "
        check_seconds("ttl_seconds", ttl_seconds, positive=True, subject=subject)
        if reason is not None:
            check_argument("reason", reason, str, "a text", subject=subject)
            reason = str.__str__(reason)  # no subclass, which may do anything when it is printed
        deadline = None if ttl_seconds is None else time.monotonic() + ttl_seconds
        self.commit_checked([(flag, OVERRIDE, Entry(value, reason, deadline))])
        if reason is not None or ttl_seconds is not None:
            limit = "" if ttl_seconds is None else f" for {ttl_seconds:g} s"
            logger.info("flag %r: overridden%s%s", flag.name, limit, _because(reason))

    def reset(self, flag: Flag[Any], *, reason: str | None = None) -> None:
        if OVERRIDE not in flag._layers:
            return
        if not flag.dynamic and self.frozen:
            raise StaticFlagError(f"flag {flag.name!r} is static and cannot be reset: the registry is frozen")
        self.commit([(flag, OVERRIDE, None)], ruled=False, reason=reason)
        if reason is not None:
            logger.info("flag %r: override dropped%s", flag.name, _because(reason))
        self.audit()

    @contextlib.contextmanager
    def override(self, values: Mapping[Flag[Any], Any]) -> Iterator[None]:
        before = {flag: flag._layers.get(OVERRIDE) for flag in values}
        self.commit_checked([(flag, OVERRIDE, Entry(value)) for flag, value in values.items()])
        try:
            yield
        finally:
            now = time.monotonic()
            lapsed = {flag for flag, entry in before.items() if entry and entry.deadline and entry.deadline <= now}
            self.commit(
                [(flag, OVERRIDE, None if flag in lapsed else entry) for flag, entry in before.items()], ruled=False
            )
            self.audit()

    def _expire(self) -> None:
        """
        Drop the overrides whose time is over. Runs on the expiry thread.
        """
        done = False
        while not done:  # again when one of them was set anew meanwhile
            now = time.monotonic()
            with self.lock:
                held = [(flag, flag._layers.get(OVERRIDE)) for flag in tuple(self._timed)]
            lapsed = {flag: entry for flag, entry in held if entry and entry.deadline and entry.deadline <= now}
            edits: list[Edit] = [(flag, OVERRIDE, None) for flag in lapsed]
            # There: a log handler or a validator that hangs must not delay the next expiry.
            report = partial(self._report_expiry, ", ".join(sorted(flag.name for flag in lapsed)))
            after = partial(self.notifier.put, [Delivery(report, "the registry's validators")])
            done = not edits or self.commit(edits, ruled=False, errand=_Lapse(lapsed, after)) is not None
        with self.lock:
            self._follow_deadlines([])
        self._report_problems()

    def _report_expiry(self, names: str) -> None:
        logger.info("override expired: %s", names)
        self.audit()

    # --- committing

    def commit_checked(self, edits: Sequence[Edit]) -> None:
        """
        Commit, and raise `ValidationError` when a registry validator refuses.
        """
        with _refusals_as_errors(edits):
            self.commit(edits)
        for flag, layer, entry in edits:
            if entry is not None:
                self.report_deprecated(flag, layer)

    def check(self, edits: Sequence[Edit]) -> None:
        """
        Raise what `commit_checked` would, and change nothing: for what concerns several registries.
        """
        plan = self._plan(edits)
        if plan.cells:
            with _refusals_as_errors(edits):
                self._judge(plan, secret=any(flag.secret for flag, _, _ in edits))

    def commit(
        self, edits: Sequence[Edit], *, ruled: bool = True, errand: Errand | None = None, reason: str | None = None
    ) -> frozenset[Flag[Any]] | None:
        """
        Publish edits in one step.

        Args:
            edits: What to change.
            ruled: Whether registry validators have a say.
            errand: What else belongs to the same step.
            reason: For the history; None for that of the layer that wins.

        Returns:
            The flags whose value changed; None when the errand is outdated, and nothing was done.

        Raises:
            RuleError: A registry validator refuses.
        """
        if threading.get_ident() in self._threads_in_rules:
            raise DflagError("a registry validator cannot change flags: it only judges the snapshot that it is given")
        turn: _Turn | None = None
        attempt, outrun_at = 0, 0.0
        try:
            while True:
                if edits and edits[0][0]._store is not self:
                    return edits[0][0]._store.commit(edits, ruled=ruled, errand=errand, reason=reason)
                if attempt or self._turn is not None:
                    turn = self._take_turn(turn, attempt, outrun_at)
                plan = self._plan(edits)
                plan.reason = reason
                if ruled and plan.cells and (self.rules or plan.merged):
                    self._judge(plan, secret=any(flag.secret for flag, _, _ in edits))
                done = self._try_to_publish(plan, errand)
                if done is None:
                    return None
                if done:
                    break
                outrun_at = outrun_at or time.monotonic()
                attempt += 1
        finally:
            if turn is not None:
                self._end_turn(turn)
        self._report(plan)
        return frozenset(plan.cells)

    def _take_turn(self, mine: _Turn | None, attempt: int, outrun_at: float) -> _Turn | None:
        other = self._turn
        if other is not None and other is not mine:
            other.pause()
        if mine is None and attempt >= _ATTEMPTS_WITHOUT_TURN:
            mine = self._turn = _Turn(_TURN_SECONDS + time.monotonic() - outrun_at)  # time enough for several attempts
        return mine

    def _end_turn(self, mine: _Turn) -> None:
        mine.set()
        if self._turn is mine:
            self._turn = None

    def _try_to_publish(self, plan: _Plan, errand: Errand | None) -> bool | None:
        """
        Publish unless another commit came since *plan* was made, which is False; None when the errand is outdated.
        """
        with self.lock:
            if errand is not None and not errand.is_current():
                return None
            if plan.number != self._number._value:
                return False
            with self.books:
                if not self._publish(plan, errand):
                    return False
                if errand is not None:
                    errand.conclude(frozenset(plan.cells))
            return True

    def _plan(self, edits: Iterable[Edit]) -> _Plan:
        plan = _Plan(self._number._value)
        for flag, layer, entry in edits:
            layers = plan.layers.get(flag)
            if layers is None:
                layers = plan.layers[flag] = dict(flag._layers)
            if entry is None:
                layers.pop(layer, None)
            else:
                layers[layer] = entry
        for flag, layers in plan.layers.items():
            value, plan.origins[flag] = self.winner(flag, layers)
            old = flag._value
            if value is old:
                continue
            if same(flag, old, value):
                # What is printed of it may differ, and all who show it, in every process, shall show one text.
                plan.adopted.append((flag, value))
            else:
                plan.cells.append(flag)
                plan.old.append(old)
                plan.new.append(value)
                if flag._spec.kind.gathers and len(layers.keys() - OWN_LAYERS) > 1:
                    plan.merged.append((flag, value))
        return plan

    def winner(self, flag: Flag[Any], layers: Mapping[str, Entry]) -> tuple[Any, str]:
        if len(layers) == 1:  # the usual case, worth 0.3 microseconds a flag
            for origin, entry in layers.items():
                return entry.value, origin
        for origin in self.ranking:
            if origin in layers:
                if flag._spec.kind.gathers and origin not in OWN_LAYERS:
                    return self._gather(flag, layers, origin), origin
                return layers[origin].value, origin
        return flag.default, DEFAULT

    def _gather(self, flag: Flag[Any], layers: Mapping[str, Entry], highest: str) -> Any:
        """
        Merge what the sources hold for a flag that gathers keys: from the highest one down to the first layer of ours.
        """
        merged = []
        for origin in self.ranking[self.ranking.index(highest) :]:
            if origin in layers:
                if origin in OWN_LAYERS:
                    break  # the command line or the environment hides the sources beneath it
                merged.append(layers[origin].value)
        return flag._spec.kind.merge(merged[::-1])

    def _publish(self, plan: _Plan, errand: Errand | None) -> bool:
        """
        Swap everything in, in one step; False when somebody has committed on this thread since *plan* was made.

        So a signal handler or a finalizer may set flags at any moment. The caller holds the lock.
        """
        current = self.snapshot()
        values = dict(current._values)
        cells, new = plan.cells, plan.new
        if plan.adopted:
            cells = [*cells, *(flag for flag, _ in plan.adopted)]
            new = [*new, *(value for _, value in plan.adopted)]
        values.update(zip(cells, new, strict=True))
        snapshot = Snapshot(self.flags, values, plan.number + 1)
        deliveries = [
            Delivery(partial(listener, old, new), listener.label, flag.name, secret=flag.secret)
            for flag, old, new in zip(plan.cells, plan.old, plan.new, strict=True)
            for listener in flag._listeners
        ]
        plan.records = list(self._records(plan, slice(-HISTORY_LENGTH, None)))
        # What goes is kept alive by *plan*, so that no __del__ runs in the middle.
        plan.dropped = [flag._layers for flag in plan.layers]
        swap = chain(
            map(_set_layers, plan.layers, plan.layers.values()),
            map(_set_origin, plan.origins, plan.origins.values()),
            map(_set_value, [*cells, self._current, self._number], [*new, snapshot, plan.number + 1]),
            map(self.notifier.append, deliveries),
            map(self.changes.append, plan.records),
        )
        sink: deque[None] = deque(maxlen=0)
        # The lock keeps out other threads alone. From this look to the swap Python runs neither a signal handler, nor
        # the garbage collector with a finalizer of somebody's: it does so after calls.
        if self._number._value != plan.number:
            return False
        sink.extend(swap)
        if self._waiting:  # whoever comes later finds the number; to notify nobody would cost a tenth of the way
            with self._committed:
                self._committed.notify_all()
        if deliveries:
            self.notifier.resume()  # begins a thread, which lets others run too
        elif errand is not None:
            errand.give_way()
        self._follow_deadlines(plan.layers)
        return True

    def _records(self, plan: _Plan, part: slice) -> Iterator[Record]:
        seconds = time.time()
        for flag, old, new in zip(plan.cells[part], plan.old[part], plan.new[part], strict=True):
            origin = plan.origins[flag]
            entry = plan.layers[flag].get(origin)
            yield Record(seconds, flag, old, new, origin, plan.reason or (entry.reason if entry else None))

    def _report(self, plan: _Plan) -> None:
        """
        Print the changes, for the history and the log, and log what could not be logged under the lock.
        """
        for record in plan.records:
            record.settle()
        if plan.records and logger.enables(DEBUG):
            for record in (*self._records(plan, slice(-HISTORY_LENGTH)), *plan.records):
                change = record.printed()
                old, new, why = one_line(change.old), one_line(change.new), _because(change.reason)
                logger.debug("flag %r: %s -> %s (%s)%s", change.flag, old, new, one_line(change.origin), why)
        if self.notifier.problem is not None or self._expiry_problem is not None:
            self._report_problems()

    def _report_problems(self) -> None:
        problem, self.notifier.problem = self.notifier.problem, None
        if problem is not None:
            logger.warning("callbacks wait, no thread could be started for them: %s", problem)
        problem, self._expiry_problem = self._expiry_problem, None
        if problem is not None:
            logger.warning("time-limited overrides wait, no thread could be started for them: %s", problem)

    def _follow_deadlines(self, touched: Iterable[Flag[Any]]) -> None:
        for flag in (*self._timed, *touched):
            entry = flag._layers.get(OVERRIDE)
            if flag._store is self and entry is not None and entry.deadline is not None:
                self._timed.add(flag)
            else:
                self._timed.discard(flag)
        if not self._timed and not self._expiry.is_waiting:
            return
        number = None
        while number != self.number:  # again when a signal handler has committed meanwhile
            number = self.number
            entries = [flag._layers.get(OVERRIDE) for flag in tuple(self._timed)]
            moments = [entry.deadline for entry in entries if entry is not None and entry.deadline is not None]
            self._expiry_problem = self._expiry.set_next(min(moments, default=None)) or self._expiry_problem

    # --- registry validators

    def _judge(self, plan: _Plan, *, secret: bool) -> None:
        for flag, value in plan.merged:
            try:
                flag._spec.recheck(flag.name, value, plan.origins[flag])
            except FlagValueError as error:
                raise RuleError(f"refused together with the values of the other sources: {error}") from error
        if self.rules:
            self._run_rules(self._candidate(plan), secret=secret)

    def _candidate(self, plan: _Plan) -> Snapshot:
        values = dict(self.snapshot()._values)
        values.update(zip(plan.cells, plan.new, strict=True))
        return Snapshot(self.flags, values, self.number + 1)

    def _run_rules(self, candidate: Snapshot, *, secret: bool) -> None:
        me = threading.get_ident()
        self._threads_in_rules.add(me)
        refusal: RuleError | None = None
        try:
            for rule in self.rules:
                try:
                    expect_no_verdict(rule(candidate))
                except BaseException as error:
                    if is_interrupt(error):
                        raise
                    refusal = self._rule_error(rule, error, secret=secret)
                    break
        finally:
            self._threads_in_rules.discard(me)
        if refusal is not None:
            raise refusal  # outside of the handler, so that a secret does not hang on it as its context

    def _rule_error(self, rule: Rule, error: BaseException, *, secret: bool) -> RuleError:
        label = name_of(rule)
        verdict = isinstance(error, ValueError)
        if isinstance(error, AuthorError):
            logger.error("registry validator %s: %s", label, error)
        elif not verdict:
            logger.error(
                "registry validator %s should raise ValueError, not %s",
                label,
                type(error).__name__,
                exc_info=None if secret else error,
            )
        if secret:
            return RuleError(f"refused by the registry validator {label}")
        said = one_line(text_of(error) if verdict else f"{type(error).__name__}: {text_of(error)}")
        refusal = RuleError(f"refused by the registry validator {label}: {said}")
        refusal.__cause__ = error
        return refusal

    def audit(self) -> None:
        """
        Log it when the values now break a registry validator, as dropping an override may.
        """
        if not self.rules:
            return
        try:
            self._run_rules(self.snapshot(), secret=any(flag.secret for flag in self.flags.values()))
        except RuleError as error:
            logger.warning("an override was dropped, and the values left break a rule: %s", error)

    def report_deprecated(self, flag: Flag[Any], layer: str) -> None:
        if flag.deprecated is None or flag.name in self._reported_deprecated:
            return
        self._reported_deprecated.add(flag.name)
        message = f"flag {flag.name!r} is deprecated: {flag.deprecated} (set by {layer})"
        logger.warning("%s", message)  # for operators
        try:
            warnings.warn(message, DeprecationWarning, stacklevel=2)  # for developers
        except BaseException as error:  # as an error, or of a hook, it would leave a commit half reported
            if is_interrupt(error):
                raise

    # --- forking

    def before_fork(self) -> None:
        self.lock.acquire()

    def after_fork_in_parent(self) -> None:
        self.lock.release()

    def after_fork_in_child(self) -> None:
        self.lock = threading.RLock()
        self.books = threading.RLock()  # somebody may have been reading
        self._committed = threading.Condition()
        self._waiting = 0
        self._turn = None
        self.notifier.renew(self.lock)
        self._expiry.renew()
        self._threads_in_rules &= {threading.get_ident()}

    def resume_in_child(self) -> None:
        with self.lock:
            self.notifier.resume()
            self._follow_deadlines([])  # the parent's thread may have been in the middle of an expiry


@contextlib.contextmanager
def _refusals_as_errors(edits: Sequence[Edit]) -> Iterator[None]:
    try:
        yield
    except RuleError as error:
        flags = [flag for flag, _, entry in edits if entry is not None] or [flag for flag, _, _ in edits]
        names = ", ".join(flag.name for flag in flags)
        raise ValidationError(
            names,
            str(error),
            raw=edits[0][2].value if len(edits) == 1 and edits[0][2] else ...,
            origin=edits[0][1],
            secret=any(flag.secret for flag in flags),
        ) from error


def store_of(holder: object, name: str = "registry", expected: str = "a FlagRegistry") -> Store:
    """
    Return the store of a registry, or of an updater; raise `ArgumentError` for anything else.

    Args:
        holder: What was given.
        name: Of the argument.
        expected: What to call it in the message.
    """
    store = getattr(holder, "_store", None)
    if not isinstance(store, Store):
        check_argument(name, holder, (), expected)
    return cast("Store", store)


def printed(flag: Flag[Any], value: Any) -> str:
    """
    Print a flag's value; a secret's never.
    """
    return MASK if flag.secret else flag._spec.kind.format(value)


def _because(reason: str | None) -> str:
    return "" if reason is None else f": {one_line(reason)}"


def _describe(flag: Flag[Any], origin: str, entry: Entry) -> Layer:
    from dflag._records import Layer

    return Layer(
        origin=origin,
        value=MASK if flag.secret else entry.value,
        text=printed(flag, entry.value),
        reason=entry.reason,
        expires_in_seconds=None if entry.deadline is None else max(0.0, entry.deadline - time.monotonic()),
    )
