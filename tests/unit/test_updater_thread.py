"""
One run of an updater's thread.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, cast

import pytest

import dflag
from dflag import sources
from dflag._feed import Feed
from dflag._source_state import Results, empty_state
from dflag._updater_thread import Session
from dflag.sources import MemorySource, Watch

from ..integration._waiting import DEADLINE_SECONDS, eventually  # noqa: TID252 - tests is on no path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dflag.typing import Wake


class Looks:
    """The look that a session calls: counts the calls and calls `does`."""

    def __init__(self) -> None:
        self.count = 0
        self.does: Callable[[], object] = lambda: None

    def __call__(self, session: Session) -> None:
        self.count += 1
        for feed in session._feeds:
            feed.dirty = False
        self.does()


class Source(MemorySource):
    """A source whose watch and token a test sets."""

    made: Watch | None = None
    problem: Exception | None = None
    token: object = 5

    def watch(self, wake: Wake) -> Watch:
        if self.problem is not None:
            raise self.problem
        return self.made or super().watch(wake)

    def probe(self) -> object:
        if isinstance(self.token, Exception):
            raise self.token
        return self.token


@pytest.fixture(name="source")
def _source() -> Source:
    return Source({"rate": "1"})


@pytest.fixture(name="looks")
def _looks() -> Looks:
    return Looks()


@pytest.fixture(name="feed")
def _feed(source: Source) -> Feed:
    return Feed(source, partial(empty_state, source.name))


@pytest.fixture(name="session")
def _session(feed: Feed, looks: Looks) -> Iterator[Session]:
    session = Session([feed], looks, 60.0)
    yield session
    session.stop(DEADLINE_SECONDS)


def test_a_line_of_the_log_stays_one_line(looks: Looks, caplog: pytest.LogCaptureFixture) -> None:
    """A line end in a source's name or in its messages does not break a line of the log."""
    caplog.set_level("INFO", "dflag")
    source = Source({}, name="a\nb")
    source.problem = OSError("no\ndescriptors")
    feed = Feed(source, partial(empty_state, source.name))
    session = Session([feed], looks, 60.0)
    try:
        session.start_watching()
        feed.note_not_live("it is in\na subPath")
        feed.note_degraded(None, 0.25)
    finally:
        session.stop(DEADLINE_SECONDS)
    messages = [record.getMessage() for record in caplog.records]
    assert [message.split()[0] for message in messages] == ["the", "checking", "cannot", "watching"]
    assert not any("\n" in message for message in messages)


def test_a_wake_is_a_look(session: Session, looks: Looks, feed: Feed, source: Source) -> None:
    """The session looks at its sources when it starts, when a source wakes it, and when a thread calls `wake()`."""
    session.start_watching()
    session.start()
    assert eventually(lambda: looks.count >= 1 and not feed.dirty)
    before = looks.count
    source.update({"rate": "2"})
    assert eventually(lambda: looks.count > before)
    before = looks.count
    session.wake()
    assert eventually(lambda: looks.count > before)


def test_a_watch_is_woken_by_its_own_descriptor_before_the_look(session: Session, looks: Looks, source: Source) -> None:
    """`Watch.woken()` is called before the look when the watch's descriptor is readable, and not before other looks."""
    done: list[str] = []
    reading, writing = os.pipe()

    class Waking(Watch):
        def fileno(self) -> int:
            return reading

        def woken(self) -> None:
            done.append("woken")

        def drain(self) -> None:
            if "woken" in done:
                os.read(reading, 1)

    source.made = Waking()
    session.start_watching()
    session.start()
    assert eventually(lambda: looks.count >= 1)
    looks.does = lambda: done.append("look")
    session.wake()
    assert eventually(lambda: "look" in done)
    os.write(writing, b"x")
    assert eventually(lambda: "woken" in done and done[-1] == "look")
    session.stop(DEADLINE_SECONDS)
    os.close(reading)
    os.close(writing)
    assert done[0] == "look"
    assert done.count("woken") == 1


def test_a_look_that_raises_ends_nothing(
    session: Session, looks: Looks, feed: Feed, caplog: pytest.LogCaptureFixture
) -> None:
    """A look that keeps raising is logged and counted once, shown as the fault, and repeated until it succeeds."""

    def fail() -> None:
        raise OSError("broken")

    looks.does = fail
    session.start_watching()
    session.start()
    session.wake()
    assert eventually(lambda: looks.count >= 2 or session.wake())
    assert eventually(lambda: feed.fault == "an update failed with OSError: see the log")
    assert (feed.is_healthy(None), feed.failures) == (False, 1)
    looks.does = lambda: None
    before = looks.count
    assert eventually(lambda: looks.count > before or session.wake())
    assert eventually(lambda: feed.fault is None)
    session.stop(DEADLINE_SECONDS)
    assert caplog.text.count("an update failed with OSError; trying again") == 1


@pytest.mark.parametrize("started", [False, True])
def test_stopping_closes_the_watch_once(session: Session, feed: Feed, source: Source, started: bool) -> None:
    """`stop()` closes the watch once, with or without a thread, and a second `stop()` does nothing."""

    class Counting(Watch):
        closed = 0

        def close(self) -> None:
            self.closed += 1

    source.made = watch = Counting()
    session.start_watching()
    assert session.watches() == [watch]
    if started:
        session.start()
    session.stop(DEADLINE_SECONDS)
    assert watch.closed == 1
    if started:
        session.stop(DEADLINE_SECONDS)
        assert watch.closed == 1


def test_a_session_that_was_stopped_starts_no_thread(session: Session, looks: Looks) -> None:
    """`start()` of a session that was stopped, as a signal handler may do, starts no thread."""
    session.start_watching()
    session.stop(DEADLINE_SECONDS)
    session.start()
    assert looks.count == 0
    assert all(thread.name != "dflag-updater" for thread in threading.enumerate())


def test_a_look_that_hangs_does_not_hang_stop(session: Session, looks: Looks, caplog: pytest.LogCaptureFixture) -> None:
    """`stop()` logs and returns after its timeout when a look hangs; the thread ends without another look."""
    hanging, release = threading.Event(), threading.Event()

    def hang() -> None:
        hanging.set()
        release.wait(DEADLINE_SECONDS)

    looks.does = hang
    session.start_watching()
    session.start()
    assert hanging.wait(DEADLINE_SECONDS)
    session.stop(0.01)
    assert "a source or validator still keeps the updater's thread busy after 0.01 s" in caplog.text
    release.set()
    session.stop(DEADLINE_SECONDS)
    assert looks.count == 1


def test_a_source_that_cannot_be_watched_is_checked_instead(
    session: Session, looks: Looks, feed: Feed, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    """A source whose `watch()` raises is looked at repeatedly and shown as degraded, which the log says once."""
    source.problem = OSError("no descriptors")
    session.start_watching()
    session.start()
    assert eventually(lambda: looks.count >= 3)
    assert feed.degraded == "its watch() raised OSError: no descriptors"
    assert caplog.text.count("instead of watching it") == 1


@pytest.mark.parametrize("name", ["recheck_seconds", "fileno", "drain"])
def test_a_call_that_raises_stops_neither_the_look_nor_the_others(
    session: Session, looks: Looks, feed: Feed, source: Source, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A call of the source or its watch that raises degrades the source until it succeeds, and looks go on."""
    watch = source.made = Watch()
    broken = [True]

    def fail() -> None:
        if broken:
            raise OSError("broken")

    monkeypatch.setattr(source if name == "recheck_seconds" else watch, name, fail)
    session.start_watching()
    session.start()
    session.wake()
    assert eventually(lambda: looks.count > 1 and "broken" in str(feed.degraded))
    broken.clear()
    before = looks.count
    assert eventually(lambda: looks.count > before and feed.degraded is None)
    assert feed.fault is None


def test_a_source_without_a_probe_is_read_once_in_each_interval() -> None:
    """A source without `probe()` is read at most once in each resync interval."""
    times: list[float] = []

    class Asked(sources.Source):
        name = "asked"

        def read(self) -> dict[str, str]:
            times.append(time.monotonic())
            return {}

    with dflag.Updater.setup(dflag.FlagRegistry(), Asked(), resync_seconds=0.05):
        assert eventually(lambda: len(times) > 6)
    _at_initialize, *regular = times  # the first of the regular reads is that of start()
    assert min(later - earlier for earlier, later in itertools.pairwise(regular)) > 0.04


def test_what_a_watch_says_of_itself_may_raise(session: Session, looks: Looks, feed: Feed, source: Source) -> None:
    """A watch whose properties raise degrades its source, which is still looked at; the status leaves them out."""
    names = ("mode", "problem", "last_contact", "reconnects")
    fail = property(lambda _: 1 / 0)
    watch = source.made = type("Broken", (Watch,), dict.fromkeys(names, fail))()
    feed.read()
    session.start_watching()
    session.start()
    assert eventually(lambda: looks.count > 1)
    assert feed.degraded == "its problem() raised ZeroDivisionError: division by zero"
    status = feed.status(Results(), None, watch)
    assert (status.watched, status.reconnects, status.healthy, feed.fault) == ("not watched", 0, True, None)
    assert status.seconds_since_contact is not None
    assert feed.fingerprint(60, None, watch) == feed.fingerprint(60, None, watch)


def test_a_watch_that_is_none_is_a_fault_of_the_source(
    session: Session, looks: Looks, feed: Feed, source: Source
) -> None:
    """A `watch()` that returns something other than a `Watch` degrades the source, which is checked instead."""
    source.made = cast("Watch", object())
    session.start_watching()
    session.start()
    assert eventually(lambda: looks.count >= 3)
    assert "expected a Watch, got a value of type object" in str(feed.degraded)


def test_a_source_that_cannot_say_whether_it_is_live_is_watched_all_the_same(
    session: Session, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source whose `why_not_live()` raises is still watched, and `stop()` closes the watch."""
    closed: list[bool] = []
    watch = source.made = Watch()
    monkeypatch.setattr(source, "why_not_live", lambda: 1 / 0)
    monkeypatch.setattr(watch, "close", lambda: closed.append(True))
    session.start_watching()
    assert session.watches() == [watch]
    session.stop(DEADLINE_SECONDS)
    assert closed == [True]


@pytest.mark.parametrize("number", ["x", 2.5, -1, 10**30])
def test_what_is_no_descriptor_counts_as_a_call_that_raised(
    session: Session, looks: Looks, feed: Feed, source: Source, monkeypatch: pytest.MonkeyPatch, number: object
) -> None:
    """A `fileno()` that is not a descriptor degrades the source, and looks go on."""
    watch = source.made = Watch()
    monkeypatch.setattr(watch, "fileno", lambda: number)
    session.start_watching()
    session.start()
    assert eventually(lambda: looks.count >= 3)
    assert str(feed.degraded).startswith("its fileno() raised ")


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("recheck_seconds", lambda: 1 / 0),
        ("fileno", lambda: 1 / 0),
        ("fileno", lambda: 10**30),
        ("drain", lambda: 1 / 0),
    ],
)
def test_a_fault_of_one_source_leaves_the_others_watched(
    feed: Feed, looks: Looks, source: Source, monkeypatch: pytest.MonkeyPatch, name: str, call: Callable[[], object]
) -> None:
    """When a call of one source or its watch fails, the session still wakes and drains the watch of the next source."""
    reading, writing = os.pipe()
    done: list[str] = []

    class Waking(Watch):
        def fileno(self) -> int:
            return reading

        def woken(self) -> None:
            os.read(reading, 1)
            done.append("woken")

        def drain(self) -> None:
            done.append("drained")

    watch = source.made = Watch()
    monkeypatch.setattr(source if name == "recheck_seconds" else watch, name, call)
    other = Source({}, name="other")
    other.made = Waking()
    other_feed = Feed(other, partial(empty_state, other.name))
    session = Session([feed, other_feed], looks, 60.0)
    try:
        session.start_watching()
        session.start()
        os.write(writing, b"x")
        assert eventually(lambda: {"woken", "drained"} <= set(done) and feed.degraded is not None)
    finally:
        session.stop(DEADLINE_SECONDS)
        os.close(reading)
        os.close(writing)
    assert str(feed.degraded).startswith(f"its {name}() raised ")
    assert (feed.fault, other_feed.degraded, other_feed.fault) == (None, None, None)
