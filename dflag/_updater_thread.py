"""
One run of an updater: its thread, and the events that the thread waits for.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from functools import partial
from operator import index
from typing import TYPE_CHECKING, Final

from dflag._faults import OwnThread, is_interrupt, text_of
from dflag._log import logger
from dflag._once import Once
from dflag._pace import Pace
from dflag.errors import one_line
from dflag.sources import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dflag._feed import Feed

_FALLBACK_SECONDS: Final = 0.25
"""The average interval of looks without events. It costs under 0.05 % of a processor and 125 ms of delay on average."""

_SHORTEST_REGULAR_SECONDS: Final = _FALLBACK_SECONDS / 2
"""Shorter than any interval of a check without events, jitter included."""

_CALLS: Final = ("recheck_seconds", "fileno", "drain", "problem")
"""The members of a source and its watch that tell the thread when to look. If one raises, each round tries it again."""

_MAX_DESCRIPTOR: Final = 2**31 - 1
"""The largest descriptor: the system takes a C int."""

_START_SECONDS: Final = 0.5
"""The longest that `Session.start` waits for the thread to reach its first wait."""


class Session:
    """
    One run of an updater from start to stop: its thread, and the descriptors that the thread waits on.

    Args:
        feeds: The sources.
        look: A function that looks at the sources for a session.
        resync_seconds: The interval of the check behind the events.
        rest_seconds: How long the thread waits before it reads for the first time.
        due_seconds: Returns in how many seconds something changes by the clock; None for never.
    """

    def __init__(
        self,
        feeds: Iterable[Feed],
        look: Callable[[Session], None],
        resync_seconds: float,
        rest_seconds: float = 0.0,
        due_seconds: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._look: Final = look
        self._resync_seconds: Final = resync_seconds
        self._due_seconds: Final = due_seconds
        self._rest_seconds: Final = rest_seconds
        self._feeds: Final = tuple(feeds)
        from dflag._waiter import Waiter  # imports socket and selectors, which only a running updater needs

        self._waiter: Final = Waiter()
        self._lock: Final = threading.RLock()  # held to decide whether a thread is started, and who closes the watches
        self._stopping = Once()
        self._is_waiting: Final = Once()  # set once the thread has begun its first wait, or has ended
        self._abandoned = False
        self._pace: Final = Pace()
        self._thread = OwnThread(target=self._run, name="dflag-updater", daemon=True)
        self._watches: list[Watch] = []  # one for each feed, in the same order, after `start_watching`

    def start_watching(self) -> None:
        """
        Begin to watch every source. Call this before `start`.
        """
        for feed in self._feeds:
            watch = self._watch(feed)  # without the lock: it calls the source, which may be a user's code
            with self._lock:
                self._watches.append(watch)
            if self._stopping.is_set():  # tested after the append, because a signal handler may stop it at any line
                _end(watch)
                return
            self._note(feed, watch)
            feed.note_not_live(feed.ask("why_not_live", feed.source.why_not_live, None))

    def watches(self) -> list[Watch | None]:
        """
        Return the watch of each source; None for one that is not watched yet.
        """
        watches = list(self._watches)
        return [*watches, *[None] * (len(self._feeds) - len(watches))]

    def start(self) -> None:
        """
        Start the thread, unless the session was stopped before.
        """
        with self._lock:
            if self._stopping.is_set():
                return
            self._thread.start()
        # A fork in C copies the interpreter's lock in its current state, and the child cannot repair it. Programs often
        # fork right after they have started the updater. So return only when the thread waits and needs no lock.
        self._is_waiting.wait(_START_SECONDS)

    def stop(self, timeout: float | None) -> None:
        with self._lock:
            self._stopping.set()
            started = self._thread.ident is not None
        self._waiter.wake()
        if not started:
            self._close()
        elif self._thread is not threading.current_thread() and not sys.is_finalizing():  # then no thread runs any more
            self._thread.join(timeout)
            if self._thread.is_alive():
                logger.warning(
                    "a source or validator still keeps the updater's thread busy after %s s; it stops after that",
                    timeout,
                )

    def wake(self) -> None:
        """
        Make the thread look again now, from any thread.
        """
        self._waiter.wake()

    def abandon(self) -> None:
        """
        Release, in a forked child, the inherited objects that the parent still uses.
        """
        self._abandoned = True
        self._stopping = Once()  # new, because a thread of the parent may have been inside a method of the old one
        self._stopping.set()
        for watch in self._watches:
            try:
                watch.abandon()
            except BaseException as error:
                if is_interrupt(error):
                    raise
        self._waiter.abandon()

    def _watch(self, feed: Feed) -> Watch:
        def wake() -> None:
            feed.dirty = True
            self._waiter.wake()

        try:
            return _checked(feed.source.watch(wake))
        except BaseException as error:
            if is_interrupt(error):
                raise
            logger.exception("the watch() of source %s raised %s", one_line(feed.name), type(error).__name__)
            watch = Watch()
            watch.problem = f"its watch() raised {type(error).__name__}: {text_of(error)}"
            return watch

    def _run(self) -> None:
        try:
            if self._rest_seconds:
                self._is_waiting.set()
                self._stopping.wait(self._rest_seconds)
            while not self._stopping.is_set():
                try:
                    self._wait_and_look()
                    for feed in self._feeds:
                        feed.note_fault(None)
                except BaseException as error:
                    # No error of a source may end the following of changes.
                    self._report_fault(error)
        finally:
            self._is_waiting.set()
            if not self._abandoned:
                self._close()

    def _wait_and_look(self) -> None:
        descriptors = [_descriptor(feed, watch) for feed, watch in zip(self._feeds, self._watches, strict=True)]
        due, timeout = self._due_seconds(), self._timeout(descriptors)
        is_timed = due is not None and due < timeout
        if due is not None:
            timeout = min(due, timeout)
        called = self._waiter.wait(descriptors, timeout, self._is_waiting)
        if self._stopping.is_set():
            return
        before, began = [feed.changes for feed in self._feeds], time.thread_time()
        for feed, watch, descriptor in zip(self._feeds, self._watches, descriptors, strict=True):
            if descriptor in self._waiter.readable:
                feed.ask("woken", watch.woken, None)
        # Look before draining: a swap is visible without its event. Next to a busy thread this takes 7 ms, not 12.
        self._look(self)
        # Look again: an event may belong to a change that came meanwhile, or to a file that only its event reveals.
        if self._drain(called=called):
            self._look(self)
        # Regular checks are never too frequent, but looks between them may be.
        if called or timeout < min(self._resync_seconds, _SHORTEST_REGULAR_SECONDS):
            useful = is_timed or before != [feed.changes for feed in self._feeds]  # a look due by the clock is useful
            rest = self._pace.rest_seconds(cost_seconds=time.thread_time() - began, useful=useful)
            if rest > 0:
                self._stopping.wait(rest)

    def _drain(self, *, called: bool) -> bool:
        """
        Let the watches take their events and re-arm themselves, if there is a reason; return whether any of them did.

        A watch without a `drain` of its own does not count.
        """
        drained = False
        for feed, watch in zip(self._feeds, self._watches, strict=True):
            # A check that finds nothing costs only the source's probe, two system calls for a volume.
            if called or feed.degraded is not None or feed.is_changed_since_drained():
                drained = drained or type(watch).drain is not Watch.drain  # else a source without a probe is read twice
                feed.drain(watch)
                self._note(feed, watch)
        return drained

    def _report_fault(self, error: BaseException) -> None:
        if self._stopping.is_set():
            return
        name = type(error).__name__
        news = [feed.note_fault(f"an update failed with {name}: see the log") for feed in self._feeds]
        if any(news):
            logger.error("an update failed with %s; trying again", name, exc_info=error)
        # Do not wait a long interval, because the failed update may have had a new value.
        self._stopping.wait(min(self._resync_seconds, _FALLBACK_SECONDS))

    def _note(self, feed: Feed, watch: Watch) -> None:
        feed.note_degraded(self._problem(feed, watch, _descriptor(feed, watch)), _FALLBACK_SECONDS)

    def _problem(self, feed: Feed, watch: Watch, descriptor: int | None) -> str | None:
        problem = feed.ask_watch(watch, "problem", None)
        if feed.unanswered:
            call = next((each for each in _CALLS if each in feed.unanswered), None)
            if call is not None:
                return feed.unanswered[call]
        return self._waiter.problem if problem is None and descriptor is not None else problem

    def _timeout(self, descriptors: Iterable[int | None]) -> float:
        if any(feed.dirty for feed in self._feeds):
            return 0.0  # as in a forked child, which has not looked yet
        seconds = self._resync_seconds
        for feed, watch, descriptor in zip(self._feeds, self._watches, descriptors, strict=True):
            recheck = feed.ask("recheck_seconds", feed.recheck_seconds, None)
            problem = self._problem(feed, watch, descriptor)
            if (problem is None) is not (feed.degraded is None):
                self._note(feed, watch)
                return 0.0  # the problem is new, and draining the watch may solve it; or the problem is gone
            if problem is not None:
                # With jitter. Otherwise the processes that a node starts together would look together for ever.
                seconds = min(seconds, _FALLBACK_SECONDS * random.uniform(0.75, 1.25))  # noqa: S311 - no secret
            if recheck is not None:
                seconds = min(seconds, recheck)
        return seconds

    def _close(self) -> None:
        for watch in self._watches:
            _end(watch)
        self._waiter.close()


def _checked(watch: object) -> Watch:
    if not isinstance(watch, Watch):
        raise TypeError(f"expected a Watch, got a value of type {type(watch).__name__}")
    return watch


def _descriptor(feed: Feed, watch: Watch) -> int | None:
    return feed.ask("fileno", partial(_number_of, watch), None)


def _number_of(watch: Watch) -> int | None:
    number = watch.fileno()
    if number is not None and not 0 <= index(number) <= _MAX_DESCRIPTOR:
        raise ValueError(f"{number} is no descriptor")
    return number


def _end(watch: Watch) -> None:
    try:
        watch.close()
    except BaseException as error:
        if is_interrupt(error):
            raise
