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
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, cast

from dflag._flags import Cell, Flag, same
from dflag._fork import follow_forks, no_fork
from dflag._intake import Intake
from dflag._layers import COMMAND_LINE, DEFAULT, ENVIRONMENT, OVERRIDE, OWN_LAYERS, Entry
from dflag._log import logger
from dflag._notifier import Deadlines, Delivery, Notifier
from dflag._snapshot import Snapshot, unknown_flag
from dflag._spec import FOREIGN_FAULTS
from dflag.errors import (
    MASK,
    DflagError,
    DuplicateFlagError,
    FlagValueError,
    RuleError,
    StaticFlagError,
    ValidationError,
    one_line,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from dflag._kinds.maps import MapKind
    from dflag._records import Change, Layer

HISTORY_LENGTH: Final = 100

_ATTEMPTS_WITHOUT_LOCK: Final = 8
"""
How often registry validators run against a candidate that other writers outdate meanwhile,
before they are run once under the lock instead, so that no writer starves.
"""

_set_value: Final = Cell.__dict__["_value"].__set__
"""
The slot's setter as a C callable: ``deque(map(_set_value, cells, values), 0)`` is one C loop, within which the GIL
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


class _Plan:
    """
    The effective values that some edits lead to, computed from what was current at the time.
    """

    __slots__ = ("cells", "layers", "merged", "new", "number", "old", "origins", "reason")

    def __init__(self, number: int) -> None:
        self.number = number
        self.reason: str | None = None  # where that of the layer that wins does not say it
        self.layers: dict[Flag[Any], dict[str, Entry]] = {}
        self.origins: dict[Flag[Any], str] = {}
        self.cells: list[Flag[Any]] = []  # the flags whose value changes
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
        self.number: int = 0
        self.rules: tuple[Rule, ...] = ()
        self.notifier: Final[Notifier] = Notifier(self.lock)
        self._deadlines = Deadlines(self.lock, self._expire)
        self._timed: set[Flag[Any]] = set()
        self._current = Cell()
        self._current._value = None
        self.ranking: tuple[str, ...] = (OVERRIDE, COMMAND_LINE, ENVIRONMENT)  # all but the default, highest first
        self.intake: Final[Intake] = Intake(self)
        self._committed = threading.Condition()
        self._waiting = 0  # threads, for the next commit
        self._history: deque[tuple[float, Flag[Any], Any, Any, str, str | None]] = deque(maxlen=HISTORY_LENGTH)
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
            other.number += 1  # whoever has planned there begins anew, here
            other._follow_deadlines([])
            self._follow_deadlines([flag])
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

    def freeze(self) -> None:
        with self.lock:
            self.frozen = True

    # --- reading

    def snapshot(self) -> Snapshot:
        current: Snapshot | None = self._current._value
        return current if current is not None else self._rebuild()

    def _rebuild(self) -> Snapshot:
        with self.lock:
            values = {flag: flag._value for flag in self.flags.values()}
            current = Snapshot(self.flags, values, self.number)
            self._current._value = current
            return current

    def find(self, name: str) -> Flag[Any]:
        try:
            return self.flags[name]
        except KeyError:
            raise unknown_flag(name, self.flags) from None

    def explain(self, name: str) -> tuple[Layer, ...]:
        flag = self.find(name)
        layers = flag._layers
        held = [(origin, layers[origin]) for origin in self.ranking if origin in layers]
        return tuple(_describe(flag, origin, entry) for origin, entry in (*held, (DEFAULT, Entry(flag.default))))

    def history(self) -> tuple[Change, ...]:
        import datetime

        from dflag._records import Change

        with self.lock:
            records = list(self._history)
        return tuple(
            Change(
                when=datetime.datetime.fromtimestamp(seconds, datetime.UTC),
                flag=flag.name,
                old=printed(flag, old),
                new=printed(flag, new),
                origin=origin,
                reason=why,
            )
            for seconds, flag, old, new, origin, why in records
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
        deadline = None if ttl_seconds is None else _deadline(flag, ttl_seconds)
        self.commit_checked([(flag, OVERRIDE, Entry(value, reason, deadline))])

    def reset(self, flag: Flag[Any], *, reason: str | None = None) -> None:
        if OVERRIDE not in flag._layers:
            return
        if not flag.dynamic and self.frozen:
            raise StaticFlagError(f"flag {flag.name!r} is static and cannot be reset: the registry is frozen")
        self.commit([(flag, OVERRIDE, None)], ruled=False, reason=reason)
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
        now = time.monotonic()
        with self.lock:
            edits: list[Edit] = []
            for flag in self._timed:
                entry = flag._layers.get(OVERRIDE)
                if entry is not None and entry.deadline is not None and entry.deadline <= now:
                    edits.append((flag, OVERRIDE, None))
            if edits:
                # Planned and published under one hold of the lock: an override set meanwhile is not lost.
                # Comparing values may run a user's __eq__ here, which is the price of that.
                self._publish(self._plan(edits))
                logger.info("override expired: %s", ", ".join(sorted(flag.name for flag, _, _ in edits)))
            self._follow_deadlines([])
            if edits and self.rules:
                # Not here: a validator that hangs must not hold up the next expiry.
                self.notifier.put([Delivery(self.audit, "the registry's validators")])

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
        attempt = 0
        while True:
            if edits and edits[0][0]._store is not self:
                return edits[0][0]._store.commit(edits, ruled=ruled, reason=reason)
            attempt += 1
            with self.lock if attempt > _ATTEMPTS_WITHOUT_LOCK else contextlib.nullcontext():
                plan = self._plan(edits)
                plan.reason = reason
                judged = ruled and bool(plan.cells) and bool(self.rules or plan.merged)
                if judged:
                    self._judge(plan, secret=any(flag.secret for flag, _, _ in edits))
                with self.lock:
                    if errand is not None and not errand.is_current():
                        return None
                    if plan.number != self.number:
                        continue
                    changed = frozenset(plan.cells)
                    with self.books:
                        self._publish(plan, errand)
                        if errand is not None:
                            errand.conclude(changed)
                    return changed

    def _plan(self, edits: Iterable[Edit]) -> _Plan:
        plan = _Plan(self.number)
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
            if value is not old and not same(flag, old, value):
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

    def _publish(self, plan: _Plan, errand: Errand | None = None) -> None:
        """
        Swap everything in. The caller holds the lock.
        """
        current = self.snapshot()
        for flag, layers in plan.layers.items():
            flag._layers = layers
            flag._origin = plan.origins[flag]
        number = self.number + 1
        values = dict(current._values)
        values.update(zip(plan.cells, plan.new, strict=True))
        snapshot = Snapshot(self.flags, values, number)
        # What goes is kept alive by *current* and *plan*, so that no __del__ runs in the middle.
        deque(map(_set_value, [*plan.cells, self._current], [*plan.new, snapshot]), 0)
        self.number = number  # not before: a plan that began after it finds all that the commit has changed
        if self._waiting:  # whoever comes later finds the number; to notify nobody would cost a tenth of the way
            with self._committed:
                self._committed.notify_all()
        deliveries = [
            Delivery(partial(listener, old, new), listener.label, flag.name, secret=flag.secret)
            for flag, old, new in zip(plan.cells, plan.old, plan.new, strict=True)
            for listener in flag._listeners
        ]
        if deliveries:
            self.notifier.put(deliveries)  # begins a thread, which lets others run too
        elif errand is not None:
            errand.give_way()
        self._remember(plan)
        self._follow_deadlines(plan.layers)

    def _remember(self, plan: _Plan) -> None:
        # Seconds, not a datetime: only those who look at the history pay for that import, 2 ms.
        seconds = time.time()
        last = slice(-HISTORY_LENGTH, None)
        for flag, old, new in zip(plan.cells[last], plan.old[last], plan.new[last], strict=True):
            origin = plan.origins[flag]
            entry = plan.layers[flag].get(origin)
            reason = plan.reason or (entry.reason if entry else None)
            self._history.append((seconds, flag, old, new, origin, reason))

    def _follow_deadlines(self, touched: Iterable[Flag[Any]]) -> None:
        self._timed = {flag for flag in self._timed if flag._store is self}
        for flag in touched:
            entry = flag._layers.get(OVERRIDE)
            if entry is not None and entry.deadline is not None:
                self._timed.add(flag)
            else:
                self._timed.discard(flag)
        entries = (flag._layers.get(OVERRIDE) for flag in self._timed)
        moments = [entry.deadline for entry in entries if entry is not None and entry.deadline is not None]
        self._deadlines.set_next(min(moments, default=None))

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
                    rule(candidate)
                except FOREIGN_FAULTS as error:
                    refusal = self._rule_error(rule, error, secret=secret)
                    break
        finally:
            self._threads_in_rules.discard(me)
        if refusal is not None:
            raise refusal  # outside of the handler, so that a secret does not hang on it as its context

    def _rule_error(self, rule: Rule, error: BaseException, *, secret: bool) -> RuleError:
        label = getattr(rule, "__qualname__", None) or repr(rule)
        verdict = isinstance(error, ValueError)
        if not verdict:
            logger.error(
                "registry validator %s should raise ValueError, not %s",
                label,
                type(error).__name__,
                exc_info=None if secret else error,
            )
        if secret:
            return RuleError(f"refused by the registry validator {label}")
        said = one_line(str(error) if verdict else f"{type(error).__name__}: {error}")
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
        with contextlib.suppress(DeprecationWarning):  # for developers; as an error it would leave a commit half told
            warnings.warn(message, DeprecationWarning, stacklevel=2)

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
        self.notifier.renew(self.lock)
        self._deadlines.renew(self.lock)
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


def printed(flag: Flag[Any], value: Any) -> str:
    """
    Print a flag's value; a secret's never.
    """
    return MASK if flag.secret else flag._spec.kind.format(value)


def _deadline(flag: Flag[Any], ttl_seconds: float) -> float:
    expected = f"flag {flag.name!r}: expected ttl_seconds above 0 and finite"
    if isinstance(ttl_seconds, bool) or not 0 < ttl_seconds < float("inf"):
        raise ValueError(f"{expected}, got {ttl_seconds!r}")
    try:
        return time.monotonic() + ttl_seconds
    except OverflowError:  # an int of more than 308 digits, which repr() may refuse to print
        raise ValueError(f"{expected}, got an int that no float holds") from None


def _describe(flag: Flag[Any], origin: str, entry: Entry) -> Layer:
    from dflag._records import Layer

    return Layer(
        origin=origin,
        value=MASK if flag.secret else entry.value,
        text=printed(flag, entry.value),
        reason=entry.reason,
        expires_in_seconds=None if entry.deadline is None else max(0.0, entry.deadline - time.monotonic()),
    )
