"""
Time limits of overrides, and the thread that ends overrides.
"""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from typing import Any

import pytest

import dflag
from dflag import _expiry, _faults
from dflag._expiry import Expiry

from ..integration._waiting import DEADLINE_SECONDS, eventually  # noqa: TID252 - tests is on no path


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "dflag-expiry"]


def test_a_registry_that_is_dropped_with_a_pending_override_is_freed() -> None:
    """
    If a registry is dropped while an override is pending, its store is freed and its expiry thread ends at once.
    """
    flags = dflag.FlagRegistry()
    rate = flags.dyn_int("rate", 1)
    rate.set(2, ttl_seconds=1_000)
    rate.set(3, ttl_seconds=2_000)
    (thread,) = _threads()
    store = weakref.ref(flags._store)
    del flags, rate
    gc.collect()
    assert store() is None
    thread.join(DEADLINE_SECONDS)
    assert not thread.is_alive()


def test_threads_that_two_writers_start_at_once_end_with_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    If two writers start expiry threads at once, all threads end when the registry is dropped.
    """
    flags = dflag.FlagRegistry()
    rate = flags.dyn_int("rate", 1)
    rate.set(2, ttl_seconds=0.01)
    assert eventually(lambda: not _threads())
    wake, others = _expiry._Timer.wake, [threading.Thread(target=rate.set, args=(3,), kwargs={"ttl_seconds": 1_000})]

    def wake_late(timer: _expiry._Timer) -> bool:
        woken = wake(timer)
        if others:  # the other writer comes just after this one has found that the thread has ended
            other = others.pop()
            other.start()
            other.join(DEADLINE_SECONDS)
        return woken

    monkeypatch.setattr(_expiry._Timer, "wake", wake_late)
    rate.set(4, ttl_seconds=1_000)
    assert _threads()
    store = weakref.ref(flags._store)
    del flags, rate
    assert eventually(lambda: gc.collect() >= 0 and store() is None)
    assert eventually(lambda: not _threads())


@pytest.mark.parametrize("writers", [1, 2])
def test_a_thread_ends_whose_override_goes_while_it_is_started(monkeypatch: pytest.MonkeyPatch, writers: int) -> None:
    """
    The expiry thread ends if its override is reset while the thread is being started.
    """
    flags = dflag.FlagRegistry()
    rate = flags.dyn_int("rate", 1)
    start, moment, asked = _expiry._Timer.start, _expiry._Timer._moment, threading.Event()
    others = [rate.reset, *[lambda: rate.set(3, ttl_seconds=1_000)] * (writers - 1)]

    def ask(timer: _expiry._Timer) -> float | None:
        found = moment(timer)
        asked.set()
        return found

    def start_slowly(timer: _expiry._Timer) -> None:
        start(timer)
        assert asked.wait(DEADLINE_SECONDS)
        while others:
            other = threading.Thread(target=others.pop())
            other.start()
            other.join(DEADLINE_SECONDS)

    monkeypatch.setattr(_expiry._Timer, "_moment", ask)
    monkeypatch.setattr(_expiry._Timer, "start", start_slowly)
    rate.set(2, ttl_seconds=1_000)
    rate.reset()
    assert eventually(lambda: not _threads())


def test_a_registry_is_freed_also_after_one_of_its_overrides_has_expired() -> None:
    """
    After one override has expired, the thread that waits for another one does not keep a dropped registry alive.
    """
    flags = dflag.FlagRegistry()
    soon, late = flags.dyn_int("soon", 1), flags.dyn_int("late", 1)
    late.set(2, ttl_seconds=1_000)
    soon.set(2, ttl_seconds=0.01)
    assert eventually(lambda: soon.get() == 1)
    assert flags.flush(DEADLINE_SECONDS)
    store = weakref.ref(flags._store)
    del flags, late
    soon = None  # type: ignore[assignment]  # a lambda knows the name
    assert eventually(lambda: gc.collect() >= 0 and store() is None)
    assert eventually(lambda: not _threads())


def test_an_unbound_flag_that_is_dropped_with_a_pending_override_is_freed() -> None:
    """
    The store of a dropped unbound flag, and that of a registry that bound one, are freed while overrides are pending.
    """
    unbound, bound = dflag.dyn_int(1), dflag.dyn_int(1)
    unbound.set(2, ttl_seconds=1_000)
    bound.set(2, ttl_seconds=1_000)
    flags = dflag.FlagRegistry()
    flags.bind("bound", bound)
    stores = [weakref.ref(each) for each in (unbound._store, flags._store)]
    del unbound, bound, flags
    gc.collect()
    assert [store() for store in stores] == [None, None]
    assert eventually(lambda: not _threads())


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_override_set_anew_while_it_expires_is_not_lost(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """
    An override that is set at the moment when the time limit of the previous one ends stays in force.
    """
    rate = flags.dyn_int("rate", 1)
    store = flags._store
    base, raced = store.base, threading.Event()

    def race() -> None:
        if threading.current_thread().name == "dflag-expiry" and not raced.is_set():
            setting = threading.Thread(target=lambda: rate.set(3))
            setting.start()
            setting.join(DEADLINE_SECONDS)
            raced.set()

    def base_late() -> Any:
        if when == "before":
            race()
        made = base()
        if when == "after":
            race()
        return made

    monkeypatch.setattr(store, "base", base_late)
    rate.set(2, ttl_seconds=0.01)
    assert raced.wait(DEADLINE_SECONDS)
    assert eventually(lambda: not _threads())
    assert (rate.get(), rate.origin) == (3, "override")


def test_a_thread_that_could_not_be_started_is_tried_again(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A failure to start the expiry thread is logged; the next commit starts the thread, which drops the overdue override.
    """
    rate, other = flags.dyn_int("rate", 1), flags.dyn_int("other", 1)
    with monkeypatch.context() as patch:
        patch.setattr(_faults.OwnThread, "start", _no_thread)
        rate.set(2, ttl_seconds=0.001)
    assert "time-limited overrides wait" in caplog.text
    other.set(2)
    assert eventually(lambda: rate.get() == 1)


def _no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # it says that threads are running
def test_a_forked_child_keeps_and_frees_its_own(flags: dflag.FlagRegistry) -> None:
    """
    An override expires in a forked child too, and a registry that is dropped there ends no thread of the parent.
    """
    from ..integration._children import Child  # noqa: TID252 - as above

    rate = flags.dyn_int("rate", 1)
    rate.set(2, ttl_seconds=1.5)
    dropped: list[Any] = [dflag.FlagRegistry()]
    dropped[0].dyn_int("rate", 1).set(2, ttl_seconds=1_000)

    def run() -> None:
        assert rate.get() == 2
        dropped.clear()
        gc.collect()
        assert eventually(lambda: len(_threads()) <= 1)
        assert eventually(lambda: rate.get() == 1)

    timer: Any = dropped[0]._store._expiry._running[0][0]
    children: list[Child] = []
    with timer._lock:  # as the thread of the timer may hold it at any moment
        forking = threading.Thread(target=lambda: children.append(Child(run)))
        forking.start()
        forking.join()
    children[0].check()
    assert len(_threads()) >= 1
    assert eventually(lambda: rate.get() == 1)
    dropped.clear()
    gc.collect()
    assert eventually(lambda: not _threads())


def test_the_thread_ends_that_frees_what_it_asks() -> None:
    """
    The expiry thread ends if its own call of ``next_moment()`` drops the last reference to the owner.
    """
    owners, leave = list[Any](), threading.Event()

    class _Owner:
        def __init__(self) -> None:
            self.expiry = Expiry(self.next_moment, self.expire)

        def next_moment(self) -> float:
            if leave.is_set():
                owners.clear()
            return time.monotonic() + 1_000

        def expire(self) -> None:
            raise AssertionError

    owners.append(_Owner())
    owners[0].expiry.resume()
    ((timer, _),) = owners[0].expiry._running
    leave.set()
    timer.wake()
    assert eventually(lambda: not owners and not _threads())
