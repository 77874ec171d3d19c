"""
The updater: reads sources and applies them as revisions.

One daemon thread waits until a source says "look again", or until the resync interval has passed.
Then it compares, reads, and applies. Events are only hints: all values come from reading the source.
"""

from __future__ import annotations

import os
import time
import weakref
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, Self, Unpack

from dflag._cells import NeverCopied
from dflag._faults import is_interrupt, is_unawaited, text_of
from dflag._feed import Feed, Ignored, age, is_recent
from dflag._fork import ForkFollower, follow_forks, resume_soon, settle, spare_other_programs
from dflag._pipeline import check_plain_function
from dflag._read_gate import ReadGate
from dflag._registry import registry_of, sources_of, store_of_registry
from dflag._rule_follower import RuleFollower
from dflag._short_waits import short_waits
from dflag._source_state import ApplyOptions
from dflag._status import State, Status
from dflag._updater_thread import Session
from dflag._uwsgi import call_after_forks
from dflag.errors import (
    DefinitionError,
    SourceError,
    UpdateError,
    UpdaterStateError,
    check_argument,
    check_seconds,
    one_or_more_texts,
)
from dflag.sources._given import as_sources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType

    from dflag._options import UpdaterOptions
    from dflag._records import Revision
    from dflag._registry import FlagRegistry, RegistryLike
    from dflag._snapshot import Snapshot
    from dflag._source_state import Outcome, Reading
    from dflag.errors import FlagValueError
    from dflag.sources import Watch
    from dflag.sources._given import SourceLike

_running: Final[set[Updater]] = set()
"""The running updaters: each follows its sources until it is stopped, also if the program keeps no reference to it."""

_OVERDUE_SECONDS: Final = 10.0
"""
A look that takes this many seconds more than two intervals of the check makes the sources unhealthy.

A file system may hang for ever. A validator, or a machine under load, takes a few seconds.
"""

_IS_RUNNING: Final = "the updater is already running: call stop() before start()"

_CHOICES: Final = {
    "on_missing": ("keep", "reset"),
    "unknown": ("warn", "ignore", "error"),
    "on_bad_start": ("raise", "skip"),
}

_CHILD_REST_SECONDS: Final = 0.05
"""
The number of seconds that a forked child waits before it first reads its sources.

A daemon closes every descriptor right after its fork, and opens others. If a reading had a descriptor open at that
moment, the reading would later close the program's file that got the same number.
"""


class Updater(NeverCopied):
    """
    Reads every flag from its sources when the program starts, then follows the sources and updates the dynamic flags.

    A registry usually has one updater. It goes through `initialize`, `start` and `stop`; `setup` does the first two in
    one call. As a context manager it initializes and starts, unless that was done before, and stops at the end.

    Args:
        registry: The flags.
        source: A directory (a ConfigMap or Secret volume, or one plain file per flag), a document that ends in
            ``.yaml``, ``.yml`` or ``.json`` (its top-level keys are flags), a `dflag.sources.Source`,
            or several of these. A later source wins over an earlier one.
        atomic: Whether a single bad value prevents all values of its source from being applied. By default
            the other values are applied.
        on_missing: What happens to the values of a source that is gone or has no key left:
            ``"keep"`` keeps them, ``"reset"`` drops them, so that the layers below count.
        required: Whether a source that is absent or cannot be reached at the start is an error.
            If False, such a source is picked up when it appears. A source that exists but cannot be read is always an
            error. A source without keys is never an error.
        resync_seconds: The interval of the check behind the events, in seconds, above 0 and finite.
        unknown: What to do about names that no flag has: ``"warn"`` once for each, ``"ignore"`` them,
            or ``"error"``: then `initialize` fails, and later ones cause a warning.
        ignore: Patterns, as in `fnmatch`, for keys that are not flags.
        on_bad_start: The effect of a bad value in `initialize`: ``"raise"`` applies nothing and raises `UpdateError`;
            ``"skip"`` refuses only that value, as after `start`, so that the program starts with the layer below.
        below_arguments: Whether environment and command line rank above these sources, as they do above
            the configuration file of a command-line program.
        facts: The facts of this process, for rules: a mapping of names to texts, or a function that returns one, such
            as that of `dflag.facts.kubernetes`. The function is called at each read. None for no facts.
        healthy: A function that returns whether the program is healthy. During the ``bake`` of a rule it is called each
            second, on a thread of its own. A false result, an exception, or no answer within 5 seconds reverts the
            rule in this process. None: no rule is reverted.

    Raises:
        DefinitionError: Two sources have the same name, another updater follows a source of that name, an option is out
            of its range or of the wrong type, or a source already has values at another rank than *below_arguments*
            says.

    Thread safety: any thread may call any method. After `start`, sources are read and validators run on the updater's
    own thread; before that in the calling thread. Callbacks run on the registry's notifier thread.
    A forked child has a running updater of its own at once; the parent's updater is not affected.

    >>> import dflag.testing, tempfile
    >>> flags = dflag.FlagRegistry()
    >>> rate = flags.dyn_int("rate_limit", 50, min=1)
    >>> with tempfile.TemporaryDirectory() as path:
    ...     volume = dflag.testing.ConfigMapVolume(path)
    ...     _ = volume.write({"rate_limit": "60"})
    ...     with dflag.Updater(flags, path) as updater:
    ...         print(rate.get())
    ...         _ = volume.write({"rate_limit": "70"})
    ...         print(updater.wait_for(lambda snap: snap[rate] == 70, timeout=10))
    60
    True
    """

    _to_pickle = "make one in each process"

    def __init__(  # noqa: PLR0913 - one keyword for each option of the contract, typed one by one
        self,
        registry: RegistryLike,
        source: SourceLike | Sequence[SourceLike],
        *,
        atomic: bool = False,
        on_missing: Literal["keep", "reset"] = "keep",
        required: bool = True,
        resync_seconds: float = 1.0,
        unknown: Literal["warn", "ignore", "error"] = "warn",
        ignore: Iterable[str] = ("_example",),
        on_bad_start: Literal["raise", "skip"] = "raise",
        below_arguments: bool = False,
        facts: Mapping[str, str] | Callable[[], Mapping[str, str]] | None = None,
        healthy: Callable[[], object] | None = None,
    ) -> None:
        _check_choices(on_missing=on_missing, unknown=unknown, on_bad_start=on_bad_start)
        _check_bools(atomic=atomic, required=required, below_arguments=below_arguments)
        check_argument("resync_seconds", resync_seconds, (int, float), "a number of seconds")
        check_seconds("resync_seconds", resync_seconds, positive=True)
        home = registry_of(registry)
        # Not at the first use of a checksum: `status` must work even if no descriptor is free to load a module.
        import hashlib  # noqa: F401

        self._store: Final = store_of_registry(home)
        self._sources: Final = sources_of(home)
        self._atomic: Final = atomic
        self._required: Final = required
        self._resync_seconds: Final = resync_seconds
        self._unknown: Final = unknown
        self._skips_bad: Final = on_bad_start == "skip"
        self._below_arguments: Final = below_arguments
        ignored = Ignored(one_or_more_texts("ignore", ignore, "each pattern"))
        self._feeds: Final = tuple(
            Feed(made, partial(self._sources.state, made.name), ignored, resets=on_missing == "reset")
            for made in as_sources(source)
        )
        self._rules: Final = RuleFollower(self._sources, [feed.name for feed in self._feeds], facts, healthy)
        self._claim()
        self._idle_state: Literal["new", "initialized", "stopped"] = "new"  # while it does not run
        self._made_at: Final = time.time()
        self._success: float | None = None
        self._read_gate = ReadGate()  # one reading at a time, so that an older one is never applied after a newer one
        self._session: Session | None = None
        self._must_resume = False  # True in a forked child until it runs there too
        self._look_listeners: tuple[Callable[[], object], ...] = ()
        self._forks: Final = _Forks(self)

    @classmethod
    def setup(
        cls, registry: RegistryLike, source: SourceLike | Sequence[SourceLike], **options: Unpack[UpdaterOptions]
    ) -> Self:
        """
        Make an updater, `initialize` it and `start` it.

        Args:
            registry: See the class.
            source: See the class.
            **options: See the class.

        Returns:
            The running updater. As a context manager it stops at the end of the block.

        Raises:
            UpdateError: A value is bad; nothing was applied and nothing runs.
            SourceError: A required source cannot be read.
            DefinitionError: See the class.

        Thread safety: any thread; sources are read and validators run in this thread.

        >>> import dflag
        >>> from dflag.sources import MemorySource
        >>> flags = dflag.FlagRegistry()
        >>> rate = flags.dyn_int("rate_limit", 50)
        >>> with dflag.Updater.setup(flags, MemorySource({"rate_limit": "60"})):
        ...     rate.get()
        60
        """
        updater = cls(registry, source, **options)
        updater.initialize()
        updater.start()
        return updater

    def initialize(self) -> None:
        """
        Read every source and apply all static and dynamic flags in one commit, or apply nothing.

        Call this before the program uses its flags. With ``on_bad_start="skip"`` bad values are refused, as after
        `start`, and the others are applied.

        Raises:
            UpdateError: Some values are bad; the error names all of them. Not with ``on_bad_start="skip"``.
            SourceError: A required source cannot be read.
            UpdaterStateError: The updater was started before.
            DefinitionError: Another updater follows a source of the same name.

        Thread safety: any thread; sources are read and validators run in this thread.

        >>> import dflag
        >>> from dflag.sources import MemorySource
        >>> flags = dflag.FlagRegistry()
        >>> rate = flags.dyn_int("rate_limit", 50)
        >>> dflag.Updater(flags, MemorySource({"rate_limit": "many"})).initialize()
        Traceback (most recent call last):
        dflag.errors.UpdateError: flag 'rate_limit': expected an int, got 'many' (memory)
        """
        settle()
        gate = self._read_gate
        with gate.lock:
            with self._store.lock:
                if self._idle_state == "stopped":  # the updater was started
                    instead = "refresh() reads now" if self._state == "running" else "start() reads again"
                    raise UpdaterStateError(
                        f"initialize() comes before start(), but the updater is {self._state}: {instead}"
                    )
                self._claim()
            looks = gate.looks
            try:
                self._initialize()
            except BaseException:
                with self._store.lock:
                    if self._session is None:  # otherwise another thread has started the updater meanwhile
                        self._release()
                raise
            with self._store.lock:
                if self._idle_state == "new":
                    self._idle_state = "initialized"
            if gate.looks != looks or gate.again:  # a signal handler has looked meanwhile, or has asked for a look
                self._cycle(force=True)

    def start(self) -> None:
        """
        Freeze the static flags, and follow the sources.

        It reads once after the watch is armed, so that no change since `initialize` is missed. The content of a source
        never raises an exception here: a bad value is refused, logged and shown by `status`. The updater follows the
        sources until `stop` or the end of the process, also if the program keeps no reference to it. If another thread
        or a validator calls `stop` meanwhile, nothing runs when this returns.

        Raises:
            UpdaterStateError: The updater runs already.
            DefinitionError: Another updater follows a source of the same name.

        Thread safety: any thread. The first read is in this thread; the later ones are in the updater's own thread.

        >>> import dflag
        >>> updater = dflag.Updater(dflag.FlagRegistry(), dflag.sources.MemorySource({}))
        >>> updater.initialize()
        >>> updater.start()
        >>> updater.status().state
        'running'
        >>> updater.stop()
        """
        settle()
        spare_other_programs()
        call_after_forks(settle)
        session = self._new_session()
        try:
            self._begin(session)
            # Without the lock: a validator may take long or call stop(), and stop() must not wait for a validator.
            session.start_watching()
            self._cycle(wanted=lambda: session is self._session, force=True)
            session.start()
        except BaseException:
            self._end(session)
            raise

    def _begin(self, session: Session) -> None:
        """
        Make *session* the running session.
        """
        with self._store.lock:
            if self._session is not None:
                raise UpdaterStateError(_IS_RUNNING)
            self._claim()
            self._store.freeze()
            if self._idle_state == "stopped":
                self._read_gate = ReadGate()  # the stopped thread may still hold the old one, inside a validator
            # A signal handler may have started the updater meanwhile. No handler can run between test and assignment.
            if self._session is not None:
                raise UpdaterStateError(_IS_RUNNING)
            self._session = session
            self._idle_state = "stopped"  # the state once it no longer runs
            self._must_resume = False
            _running.add(self)

    def stop(self, timeout: float = 5.0) -> None:
        """
        Stop following the sources; the values stay as they are.

        It may be called repeatedly, and before `start`. A stopped updater can be started again.

        Args:
            timeout: How many seconds to wait for the thread, which may be inside a validator.
                If the thread takes longer, it ends by itself later and changes nothing more.

        Raises:
            DefinitionError: *timeout* is not a number of seconds.

        Thread safety: any thread, also in a callback or a validator.

        >>> import dflag
        >>> updater = dflag.Updater.setup(dflag.FlagRegistry(), dflag.sources.MemorySource({}))
        >>> updater.stop()
        >>> updater.stop()  # does nothing
        >>> updater.status().state
        'stopped'
        """
        limit = check_seconds("timeout", timeout)
        settle()
        session: Session | None = None
        try:
            with self._store.lock:
                session, self._session = self._session, None
                self._note_stopped()
        finally:
            if session is not None:  # also if a signal handler has raised
                session.stop(limit)

    def _end(self, session: Session) -> None:
        """
        End a session, even if it is not the running one.
        """
        with self._store.lock:
            if session is self._session:
                self._session = None
                self._note_stopped()
        session.stop(5.0)

    def _note_stopped(self) -> None:
        self._must_resume = False
        _running.discard(self)
        self._release()

    def refresh(self) -> Revision:
        """
        Read all sources now and apply their values.

        Use it in a program without a running updater, or after a test has changed a source. In the main thread, where
        signal handlers run, it waits at most 30 seconds for another thread that is reading. After that it leaves the
        reading to that thread and returns the previous revision.

        Returns:
            The new revision, also if a registry validator has refused it (`Revision.error`); the previous revision if
            nothing has changed. With several sources it is the revision with the highest number; among equal numbers,
            one with an error or a rejected value.

        Raises:
            SourceError: No source could ever be read.

        Thread safety: any thread; sources are read and validators run in this thread.

        >>> import dflag
        >>> from dflag.sources import MemorySource
        >>> flags = dflag.FlagRegistry()
        >>> rate, source = flags.dyn_int("rate_limit", 50), MemorySource({})
        >>> updater = dflag.Updater(flags, source)
        >>> updater.initialize()
        >>> source.update({"rate_limit": "60"})
        >>> updater.refresh().changed, rate.get()
        (('rate_limit',), 60)
        """
        settle()
        for feed in self._feeds:
            feed.must_invalidate = True
        self._cycle(force=True)
        self._wake_if_due()
        if self._session is None and self._rules.wait_for_health():
            self._cycle()  # no thread of the updater handles the answer about the health
        revisions = [feed.latest.get() for feed in self._feeds if feed.latest is not None]
        if not revisions:
            raise SourceError("; ".join(feed.problem or f"{feed.name} has no value" for feed in self._feeds))
        return max(revisions, key=lambda each: (each.number, each.error is not None, bool(each.rejected)))

    def wait_for(self, predicate: Callable[[Snapshot], object], timeout: float | None = None) -> bool:
        """
        Wait until a predicate of the current values is true.

        Args:
            predicate: A function of the current snapshot. It is called now and after commits, in this thread. Of
                several commits in quick succession it may see only the last.
            timeout: How many seconds to wait at most; None for no limit.

        Returns:
            Whether the predicate became true in time.

        Raises:
            DefinitionError: *predicate* is not a plain function, or *timeout* is not a number of seconds.

        Thread safety: any thread.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> rate = flags.dyn_int("rate_limit", 50)
        >>> updater = dflag.Updater(flags, dflag.sources.MemorySource({}))
        >>> updater.wait_for(lambda snap: snap[rate] > 50, timeout=0)
        False
        """
        check_plain_function(predicate, "predicate")
        timeout = check_seconds("timeout", timeout)
        settle()
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            snapshot = self._store.snapshot()
            answer = predicate(snapshot)
            if is_unawaited(answer):  # an awaitable is true, whatever its result would be
                raise DefinitionError(f"expected a plain function for predicate, got one that returned {answer!r:.80}")
            if answer:
                return True
            remaining = None if deadline is None else deadline - time.monotonic()
            if not self._store.wait_beyond(snapshot.revision, remaining):
                return False

    def status(self) -> Status:
        """
        Return the state of the updater, its sources and their rules.

        A thread that has read a new value sees the matching status.

        Thread safety: any thread; it returns at once, even while a validator or a callback hangs.

        >>> import dflag
        >>> from dflag.sources import MemorySource
        >>> flags = dflag.FlagRegistry()
        >>> rate, source = flags.dyn_int("rate_limit", 50), MemorySource({"rate_limit": "60"})
        >>> updater = dflag.Updater(flags, source)
        >>> updater.initialize()
        >>> source.update({"rate_limit": "0x"})
        >>> _ = updater.refresh()
        >>> status = updater.status()
        >>> status.errors, list(status.rejected), rate.get()
        (1, ['rate_limit'], 60)
        """
        settle()
        if self._must_resume:
            self._resume()
        return self._status()

    def _status(self) -> Status:
        with self._store.own_lock:  # a commit holds this lock while it sets the results of several sources
            found = [feed.results() for feed in self._feeds]
        longest = self._longest_seconds()
        rejected: dict[str, FlagValueError] = {}
        unknown: set[str] = set()
        for results in found:
            if results.shown is not None:
                rejected.update(results.rejected)
                unknown.update(results.shown.get().unknown)
        return Status(
            state=self._state,
            sources=tuple(
                feed.status(results, longest, watch)
                for feed, results, watch in zip(self._feeds, found, self._watches(), strict=True)
            ),
            updates=sum(results.updates for results in found),
            errors=sum(results.errors for results in found) + sum(feed.failures for feed in self._feeds),
            warnings=sum(results.warnings for results in found),
            rejected=dict(sorted(rejected.items())),
            unknown=tuple(sorted(unknown)),
            pending_restart=self._sources.pending_restart(),
            seconds_since_success=age(self._success),
            rules=self._rules.status(),
        )

    def _watches(self) -> list[Watch | None]:
        session = self._session
        return [None] * len(self._feeds) if session is None else session.watches()

    def _longest_seconds(self) -> float | None:
        """
        Return the maximum age in seconds of the last look at a healthy source; None while no thread looks.
        """
        return None if self._session is None else _OVERDUE_SECONDS + 2 * self._resync_seconds

    def _fingerprint(self, patience_seconds: float) -> tuple[object, ...]:
        """
        Return a cheap value that changes whenever `status` does. An age counts only as recent or not.
        """
        longest = self._longest_seconds()
        pairs = zip(self._feeds, self._watches(), strict=True)
        feeds = [feed.fingerprint(patience_seconds, longest, watch) for feed, watch in pairs]
        return (self._state, is_recent(self._success, patience_seconds), *feeds, *self._rules.states())

    def __enter__(self) -> Self:
        if self._session is None:
            if self._idle_state == "new":
                self.initialize()
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Updater {self._state}: {', '.join(feed.name for feed in self._feeds)}>"

    # --- reading and applying

    def _initialize(self) -> None:
        absent: list[tuple[Feed, SourceError]] = []
        for feed in self._feeds:
            try:
                feed.read()
            except SourceError as error:
                if self._required or not (error.missing or error.unreachable):
                    raise
                absent.append((feed, error))
        self._rules.ask_facts()
        options = ApplyOptions(report_unknown=self._unknown != "ignore")
        readings = _readings(self._feeds)
        if self._skips_bad:
            outcomes = self._sources.apply_each(readings, options, atomic=self._atomic)
        else:
            outcomes, errors = self._sources.apply_all(readings, options, known_only=self._unknown == "error")
            if errors:
                readings = {}  # a traceback may show the locals of this function: keep raw values out of it
                raise UpdateError(errors)
        self._rules.report()
        for feed, failure in absent:  # not earlier: an error above must change nothing, not even the counters
            feed.note_failure(failure)
        self._accept(outcomes, readings)
        self._note_success()

    def _follow(self, session: Session) -> None:
        """
        Look at every source, in the thread of a session. If the session has ended, apply nothing.
        """
        if session is not self._session:  # a signal handler has raised in the middle of start() or stop()
            session.stop(0.0)
            return
        self._cycle(wanted=lambda: session is self._session, background=True)

    def _cycle(
        self, *, wanted: Callable[[], bool] | None = None, background: bool = False, force: bool = False
    ) -> None:
        """
        Look at every source, read the sources that may have changed, and apply new values.

        Args:
            wanted: Called before values are applied. If it returns False, they are not applied. None: always apply.
            background: Whether other threads go first once the values are in force.
            force: Whether to read all sources.
        """
        for feed in self._feeds if force else ():
            feed.dirty = True
        while True:
            gate = self._read_gate
            options = ApplyOptions(
                report_unknown=self._unknown != "ignore",
                wanted=partial(self._is_wanted, gate, wanted),
                background=background,
            )
            if not gate.run(partial(self._look_and_apply, options), wanted, self._store.own_lock):
                self._wake()  # the thread that is reading, or the updater's thread, will read again
                return
            if gate is self._read_gate or wanted is not None:
                return  # otherwise start() has replaced the gate meanwhile, and nothing was applied

    def _is_wanted(self, gate: ReadGate, wanted: Callable[[], bool] | None) -> bool:
        return gate is self._read_gate and (wanted is None or wanted())

    def _look_and_apply(self, options: ApplyOptions) -> None:
        with short_waits:
            looks = [feed.look() for feed in self._feeds]  # not any() of a generator: look at every source
            due = self._rules.look(self._store.number, self._wake, is_read=any(looks))
        try:
            self._apply_news(due, options)
        except BaseException:
            self._rules.mark_unresolved(due)
            raise
        self._note_success()
        for listener in self._look_listeners:
            listener()

    def _apply_news(self, due: Sequence[str], options: ApplyOptions) -> None:
        """
        Apply the readings that are not in force, and those of the sources whose rules are *due*.
        """
        news = [feed for feed in self._feeds if not feed.is_in_force() or feed.name in due]
        if not news:
            return
        # The whole new reading may be refused. So first resolve the rules of the reading in force again.
        interim = [feed for feed in news if feed.name in due and not feed.is_in_force()] if due else ()
        if interim:
            held = {feed.name: feed.state().reading for feed in interim}
            self._sources.apply_each(held, options._replace(is_interim=True))
        readings = _readings(news)
        self._accept(self._sources.apply_each(readings, options, atomic=self._atomic), readings)
        self._rules.report()

    def _note_success(self) -> None:
        for feed in self._feeds:
            if feed.problem is not None or feed.state().results.refusal is not None:
                return
        self._success = time.monotonic()

    def _accept(self, outcomes: Mapping[str, Outcome], readings: Mapping[str, Reading]) -> None:
        for feed in self._feeds:
            if feed.name in outcomes:
                feed.accept(outcomes[feed.name], readings[feed.name])

    # --- running

    def _is_active(self) -> bool:
        return self._session is not None or self._must_resume

    @property
    def _state(self) -> State:
        return "running" if self._is_active() else self._idle_state

    def _new_session(self, rest_seconds: float = 0.0) -> Session:
        return Session(self._feeds, self._follow, self._resync_seconds, rest_seconds, self._rules.due_seconds)

    def _wake(self) -> None:
        session = self._session
        if session is not None:
            session.wake()

    def _wake_if_due(self) -> None:
        """
        Wake the updater's thread if a source or a rule must be checked soon.

        The thread may be in a longer wait, which it began before another thread read the sources.
        """
        if self._session is None:
            return
        rechecks = [feed.ask("recheck_seconds", feed.recheck_seconds, None) for feed in self._feeds]
        if self._rules.due_seconds() is not None or any(recheck is not None for recheck in rechecks):
            self._wake()

    # --- claiming sources

    def _claim(self) -> None:
        try:
            for feed in self._feeds:
                self._sources.claim(feed.name, self, below_arguments=self._below_arguments)
        except DefinitionError:
            self._release()
            raise
        for feed in self._feeds:
            self._sources.start_results(feed.name, feed)

    def _release(self) -> None:
        for feed in self._feeds:
            self._sources.release(feed.name, self)

    # --- forking

    def _renew(self) -> bool:
        """
        Release everything that belongs to the parent; return whether this process must follow the sources too.
        """
        self._read_gate = ReadGate()
        self._rules.after_fork_in_child()
        inherited, self._session = self._session, None
        if inherited is not None:
            inherited.abandon()
            self._must_resume = True
            for feed in self._feeds:
                feed.dirty = True  # the parent may have been in the middle of reading
        return self._must_resume

    def _resume(self) -> None:
        spare_other_programs()
        session = self._new_session(_CHILD_REST_SECONDS)
        with self._store.own_lock:
            if self._must_resume:  # otherwise it was stopped meanwhile, or another thread resumes it
                self._session, self._must_resume = session, False
        try:
            if session is self._session:
                session.start_watching()
                session.start()
        except BaseException as error:
            with self._store.own_lock:
                if session is self._session:
                    self._session, self._must_resume = None, True
            if is_interrupt(error):
                raise
            self._note_not_resumed(error)
        finally:
            if session is not self._session:
                session.stop(0.0)

    def _note_not_resumed(self, error: BaseException) -> None:
        """
        Record that this process does not follow the sources; the next call of `status` tries again.
        """
        problem = f"cannot be followed in the forked process {os.getpid()}: {type(error).__name__}: {text_of(error)}"
        for feed in self._feeds:
            feed.note_not_followed(problem)
        for listener in self._look_listeners:
            listener()


def _readings(feeds: Iterable[Feed]) -> dict[str, Reading]:
    """
    Return the last reading of each source that was ever read.
    """
    return {feed.name: feed.reading for feed in feeds if feed.reading is not None}


def check_updater_of(updater: Updater, registry: FlagRegistry) -> None:
    """
    Raise an error unless *updater* is an updater of *registry*.

    Raises:
        ArgumentError: *updater* is not an updater.
        DefinitionError: *updater* feeds another registry.
    """
    check_argument("updater", updater, Updater, "an Updater or None")
    if updater._store is not store_of_registry(registry):
        raise DefinitionError(f"{updater!r} feeds another registry than {registry!r}")


def unhealthy_sources(updater: Updater) -> tuple[str, ...]:
    """
    Return the names of the sources that `Updater.status` calls unhealthy.

    Thread safety: any thread, lock-free; 0.2 microseconds for one source.
    """
    longest = updater._longest_seconds()
    for feed in updater._feeds:
        if not feed.is_healthy(longest):
            return tuple(feed.name for feed in updater._feeds if not feed.is_healthy(longest))
    return ()


def refused_sources(updater: Updater) -> tuple[str, ...]:
    """
    Return the names of the sources whose whole new reading is refused: by a registry validator, or because a value is
    bad and the updater is atomic.
    """
    return tuple([feed.name for feed in updater._feeds if feed.results().refusal is not None])


def add_look_listener(updater: Updater, listener: Callable[[], object]) -> None:
    """
    Register a function that is called after each look, in the thread of the look. It must be quick and never raise.
    """
    with updater._store.lock:
        updater._look_listeners = (*updater._look_listeners, listener)


def remove_look_listener(updater: Updater, listener: Callable[[], object]) -> None:
    """
    Stop calling a function after each look. Idempotent.
    """
    with updater._store.lock:
        updater._look_listeners = tuple(each for each in updater._look_listeners if each != listener)


class _Forks(ForkFollower):
    """
    Follows forks for an updater. It is a class of its own, so that users of the updater do not see these methods.

    The updater keeps this object alive. Between a fork and the start of the child's thread, this object keeps the
    updater alive, because possibly nothing else does. Threads may hold the locks of an updater for a long time. So no
    lock is taken before a fork, and the child makes new locks.
    """

    def __init__(self, updater: Updater) -> None:
        self._updater: Final = weakref.ref(updater)
        self._kept: Updater | None = None
        follow_forks(self)

    def is_active(self) -> bool:
        updater = self._updater()
        return updater is not None and updater._is_active()

    def after_fork_in_child(self) -> None:
        updater = self._updater()
        if updater is not None and updater._renew():
            self._kept = updater
            resume_soon(self)

    def resume_in_child(self) -> None:
        updater, self._kept = self._kept, None
        if updater is not None:
            updater._resume()


def _check_choices(**given: str) -> None:
    for option, choice in given.items():
        if choice not in _CHOICES[option]:
            raise DefinitionError(
                f"expected {option} as one of {', '.join(map(repr, _CHOICES[option]))}, got {choice!r}"
            )


def _check_bools(**given: bool) -> None:
    for option, value in given.items():
        if not isinstance(value, bool):
            raise DefinitionError(f"expected {option} as True or False, got {value!r}")
