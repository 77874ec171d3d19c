"""
Signal handlers that call dflag while they interrupt another call of dflag in the same thread.

A handler runs between two bytecodes of the main thread. So does a trace function: here it takes the handler's place,
and interrupts an operation at each line of dflag that it executes, at one line in each run.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import dflag
from dflag import _registry
from dflag._registry import store_of_registry
from dflag._short_waits import short_waits
from dflag._source_layers import SourceLayers
from dflag.sources import MemorySource

from ._children import Child
from ._waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from dflag.testing import ConfigMapVolume

pytestmark = pytest.mark.untraced  # the tracer of coverage would be replaced

DEADLINE_SECONDS = 10.0
"""The time after which a test fails because a call hangs."""

PACKAGE = str(Path(dflag.__file__).parent)


def every_line(operation: Callable[[], object], handler: Callable[[], object], *, step: int = 1) -> Iterator[int]:
    """
    Run *operation* with *handler* at its first line within dflag, then at its second ...; yield after each run.

    With a *step*, interrupt only one in *step* lines, from a random line on: for operations of many lines.
    The long form of the torture tests still interrupts every line.
    """
    if os.environ.get("DFLAG_TORTURE_SECONDS"):
        step = 1
    number = random.randrange(1, step + 1)
    while _run_interrupted(operation, handler, number):
        yield number
        number += step
    yield number


def _run_interrupted(operation: Callable[[], object], handler: Callable[[], object], number: int) -> bool:
    left = number

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                sys.settrace(None)
                handler()
                return None
        return trace

    sys.settrace(trace)
    try:
        operation()
    finally:
        sys.settrace(None)
    return left <= 0


def every_call(operation: Callable[[], object], handler: Callable[[], object]) -> Iterator[int]:
    """
    Do as `every_line`, but interrupt at each place where CPython runs signal handlers: where a function begins and
    where a C function ends, in dflag and in `threading`.
    """
    for number in itertools.count(1):
        left = number

        def strike(frame: FrameType, event: str, _argument: object) -> None:
            nonlocal left
            name = frame.f_code.co_filename
            if event in ("call", "c_return") and (name.startswith(PACKAGE) or name == threading.__file__):
                left -= 1
                if left == 0:
                    sys.setprofile(None)
                    handler()

        sys.setprofile(strike)
        try:
            operation()
        finally:
            sys.setprofile(None)
        yield number
        if left > 0:
            return


def assert_coherent(flags: dflag.FlagRegistry) -> None:
    """
    Assert that every way of reading a flag gives the same value.
    """
    snap = flags.snapshot()
    for flag in flags:
        assert snap[flag] == flag.get() == flags.explain(flag.name)[0].value, flag
        assert flag.origin == flags.explain(flag.name)[0].origin


@pytest.mark.parametrize("reset", [False, True])
def test_set_amid_set_leaves_one_value_for_every_reader(flags: dflag.FlagRegistry, *, reset: bool) -> None:
    """
    After set() has interrupted set() or reset(), all readers agree, and callbacks and the history have every change.
    """
    rate, other = flags.dyn_int("rate", 0), flags.dyn_int("other", 0)
    changes: list[tuple[int, int]] = []
    rate.on_change(lambda old, new: changes.append((old, new)))

    def interrupt() -> None:
        rate.set(rate.get() + 100)
        other.set(rate.get())

    def operation() -> None:
        rate.set(1)
        if reset:
            rate.reset()

    for number in every_line(operation, interrupt):
        assert_coherent(flags)
        assert rate.get() in (0, 1, *range(100, 1000)), number
        rate.reset()
        other.reset()
    assert flags.flush(DEADLINE_SECONDS)
    assert [old for old, _ in changes] == [0, *(new for _, new in changes[:-1])]
    assert [change.old for change in flags.history() if change.flag == "rate"][1:] == [
        change.new for change in flags.history() if change.flag == "rate"
    ][:-1]


@pytest.mark.parametrize(("outer_seconds", "inner_seconds"), [(900, 0.001), (0.001, 900)])
def test_set_with_a_time_limit_amid_another(
    flags: dflag.FlagRegistry, outer_seconds: float, inner_seconds: float
) -> None:
    """
    When set() with a time limit interrupts set() with another, only the value with the shorter limit expires at once.
    """
    outer, inner = flags.dyn_int("outer", 0), flags.dyn_int("inner", 0)
    short, long = (inner, outer) if inner_seconds < outer_seconds else (outer, inner)
    kept = []
    for number in every_line(
        lambda: outer.set(1, ttl_seconds=outer_seconds), lambda: inner.set(1, ttl_seconds=inner_seconds)
    ):
        assert dflag.Updater(flags, MemorySource()).wait_for(lambda snap: snap[short] == 0, DEADLINE_SECONDS), number
        assert_coherent(flags)
        kept.append(long.get())
        long.reset()
    assert kept[:-1] == [1] * (len(kept) - 1)  # the last run is not interrupted


def test_apply_amid_apply_of_the_same_source(flags: dflag.FlagRegistry) -> None:
    """
    When apply() interrupts apply() of the same source, both are revisions, and one set of values is in force, whole.
    """
    rate, other = flags.dyn_int("rate", 0), flags.dyn_int("other", 0)
    numbers = []
    for _ in every_line(
        lambda: flags.apply({"rate": "1", "other": "1"}, source="s"),
        lambda: flags.apply({"rate": "2", "other": "2"}, source="s"),
    ):
        assert_coherent(flags)
        assert rate.get() == other.get()
        assert rate.get() in (1, 2)
        numbers.append(flags.apply({}, source="s").number)
    # Each run makes three revisions, with the one that empties the source; the last run is not interrupted.
    assert numbers == [*range(3, 3 * len(numbers), 3), 3 * len(numbers) - 1]


def test_declaring_amid_set_and_the_other_way_round(flags: dflag.FlagRegistry) -> None:
    """
    When a declaration interrupts set(), or set() a declaration, readers agree on the set value and on the new flag.
    """
    rate = flags.dyn_int("rate", 0)
    declared = iter(range(10_000))
    for number in every_line(lambda: rate.set(rate.get() + 1), lambda: flags.dyn_int(f"f{next(declared)}", 0)):
        assert_coherent(flags)
        assert rate.get() == number
    rate.set(0)
    values = []
    for _ in every_line(lambda: flags.dyn_int(f"g{next(declared)}", 0), lambda: rate.set(rate.get() + 1)):
        assert_coherent(flags)
        values.append(rate.get())
    assert values == [*range(1, len(values)), len(values) - 1]  # the last run is not interrupted


def test_refresh_amid_refresh_applies_what_is_there(flags: dflag.FlagRegistry, volume: ConfigMapVolume) -> None:
    """
    When refresh() interrupts refresh(), neither hangs or fails, and the newest values are in force afterwards.
    """
    rate, other = flags.dyn_int("rate", 0), flags.dyn_int("other", 0)
    volume.write({"rate": "1", "other": "1"})
    updater = dflag.Updater(flags, volume.path)
    updater.initialize()
    newest = 1

    def interrupt() -> None:
        nonlocal newest
        newest += 1
        volume.write({"rate": str(newest), "other": str(newest)})
        updater.refresh()

    for _ in every_line(updater.refresh, interrupt, step=3):
        assert rate.get() == other.get() == newest
        assert_coherent(flags)


def test_refresh_amid_start_and_stop(flags: dflag.FlagRegistry, volume: ConfigMapVolume) -> None:
    """
    When refresh() interrupts start() or stop(), neither hangs or fails, and the value in force stays.
    """
    rate = flags.dyn_int("rate", 0)
    volume.write({"rate": "1"})
    updater = dflag.Updater(flags, volume.path)
    updater.initialize()

    def operation() -> None:
        updater.start()
        updater.stop()

    for _ in every_line(operation, updater.refresh, step=11):
        assert rate.get() == 1


def test_update_of_a_memory_source_amid_itself(flags: dflag.FlagRegistry) -> None:
    """
    When update() interrupts update() of a memory source, both wake a watch, and the updater applies the last values.
    """
    rate = flags.dyn_int("rate", 0)
    source = MemorySource({"rate": "1"})
    wakes: list[str] = []
    watch = source.watch(lambda: wakes.append("wake"))
    with dflag.Updater.setup(flags, source) as updater:
        for number in every_line(lambda: source.update({"rate": "1"}), lambda: source.update({"rate": "2"})):
            stored = source.read()["rate"]
            assert stored in ("1", "2")
            assert updater.wait_for(lambda snap, stored=stored: str(snap[rate]) == stored, DEADLINE_SECONDS), number
    watch.close()
    assert len(wakes) == 2 * number - 1  # the last run is not interrupted


@pytest.mark.parametrize("initialized", [False, True])
def test_stop_amid_start_ends_what_was_started(
    flags: dflag.FlagRegistry, volume: ConfigMapVolume, *, initialized: bool
) -> None:
    """
    When stop() interrupts start(), start() returns or raises that it was stopped, and no thread is left running.
    """
    flags.dyn_int("rate", 0)
    volume.write({"rate": "1"})
    updaters: list[dflag.Updater] = []
    refusals: list[str] = []

    def operation() -> None:
        updaters.append(dflag.Updater(flags, volume.path))
        if initialized:
            updaters[-1].initialize()
        try:
            updaters[-1].start()
        except dflag.UpdaterStateError as error:
            refusals.append(str(error))

    def interrupt() -> None:
        if updaters:
            updaters[-1].stop()

    for number in every_line(operation, interrupt, step=11):
        updaters.pop().stop()
        assert [thread.name for thread in threading.enumerate() if "updater" in thread.name] == [], number
    assert all("stop" in refusal for refusal in refusals)


def test_short_waits_amid_themselves_leave_the_usual_interval() -> None:
    """
    When `short_waits` is entered amid another `short_waits`, the process has its usual switch interval afterwards.
    """
    usual = sys.getswitchinterval()

    def enter() -> None:
        with short_waits:
            assert sys.getswitchinterval() <= usual

    for number in every_line(enter, enter):
        assert sys.getswitchinterval() == usual, number


def test_pin_and_override_amid_themselves(flags: dflag.FlagRegistry) -> None:
    """
    A handler that pins or overrides leaves the interrupted block with its own values.
    """
    rate, seen = flags.dyn_int("rate", 1), []

    def operation() -> None:
        with flags.pinned({rate: 2}):
            seen.append(rate.get())
        with flags.override({rate: 3}):
            seen.append(rate.get())

    def interrupt() -> None:
        with flags.pinned({rate: 4}):
            assert rate.get() == 4
        with flags.override({rate: 5}):
            pass

    for number in every_line(operation, interrupt):
        assert seen == [2, 3], number
        seen.clear()
        assert rate.get() == 1
        assert flags.explain("rate")[0].origin == "default"


def test_sighup_to_refresh_as_operators_do(flags: dflag.FlagRegistry, tmp_path: Path) -> None:
    """
    A real SIGHUP handler that calls refresh(), as on the manual's page on signals, applies the new value.
    """
    rate = flags.dyn_int("rate", 0)
    path = tmp_path / "app.yaml"
    path.write_text("rate: 1\n")
    with dflag.Updater.setup(flags, path) as updater:
        before = signal.signal(signal.SIGHUP, lambda *_: updater.refresh())
        try:
            path.write_text("rate: 2\n")
            signal.raise_signal(signal.SIGHUP)
            assert updater.wait_for(lambda snap: snap[rate] == 2, DEADLINE_SECONDS)
        finally:
            signal.signal(signal.SIGHUP, before)


def test_refresh_amid_initialize_leaves_the_newer_values(flags: dflag.FlagRegistry, volume: ConfigMapVolume) -> None:
    """
    When refresh() interrupts initialize(), the newer values, those that the handler has read, are in force afterwards.
    """
    rate = flags.dyn_int("rate", 0)
    values = itertools.count(1)
    volume.write({"rate": "0"})
    made: list[dflag.Updater] = []

    def operation() -> None:
        made.append(dflag.Updater(flags, volume.path))
        made[-1].initialize()

    def handler() -> None:
        volume.write({"rate": str(next(values))})
        if made:
            with contextlib.suppress(dflag.SourceError):  # at the first lines nothing has been read yet
                made[-1].refresh()

    for _ in every_line(operation, handler, step=23):
        assert rate.get() == int(volume.read()["rate"])
        made.pop().stop()


def test_stop_amid_stop_leaves_no_thread(flags: dflag.FlagRegistry) -> None:
    """
    When stop() interrupts stop(), nothing is raised, no thread is left, and the updater can start again.
    """
    flags.dyn_int("rate", 0)
    updater = dflag.Updater.setup(flags, MemorySource({"rate": "1"}))
    for _ in every_line(updater.stop, updater.stop):
        assert not any(thread.name == "dflag-updater" for thread in threading.enumerate())
        updater.start()
    updater.stop()


def test_declaring_amid_snapshot() -> None:
    """
    When a declaration interrupts snapshot(), the next snapshot has all flags.
    """
    registries: list[dflag.FlagRegistry] = []

    def operation() -> None:
        registries.append(dflag.FlagRegistry())
        registries[-1].dyn_int("outer", 0)
        registries[-1].snapshot()

    def handler() -> None:
        if registries:
            registries[-1].dyn_int("inner", 0)

    for _ in every_line(operation, handler):
        flags = registries.pop()
        assert len(flags.snapshot()) == len(flags)


def test_refresh_waits_for_no_thread_that_waits_for_what_it_has_interrupted(flags: dflag.FlagRegistry) -> None:
    """
    refresh() in a handler that has interrupted set() does not wait for the updater's thread, which needs the lock of
    that set(); the thread reads once more.
    """
    rate = flags.dyn_int("rate", 0)
    source = MemorySource({"rate": "1"})
    with dflag.Updater.setup(flags, source) as updater:
        with store_of_registry(flags).lock:  # as where a handler interrupts a commit
            source.update({"rate": "2"})
            assert eventually(lambda: updater._read_gate.going_on)
            source.update({"rate": "3"})
            began = time.monotonic()
            updater.refresh()
            assert time.monotonic() - began < DEADLINE_SECONDS / 4
        assert updater.wait_for(lambda snap: snap[rate] == 3, DEADLINE_SECONDS)


def test_start_waits_for_no_thread_that_waits_for_what_it_has_interrupted(flags: dflag.FlagRegistry) -> None:
    """
    start() in a handler that has interrupted set() does not wait for a thread that reads and needs the lock of that
    set(); the new values are applied afterwards.
    """
    rate = flags.dyn_int("rate", 0)
    source = MemorySource({"rate": "1"})
    updater = dflag.Updater(flags, source)
    refreshing = threading.Thread(target=updater.refresh)
    with store_of_registry(flags).lock:  # as where a handler interrupts a commit
        refreshing.start()
        assert eventually(lambda: updater._read_gate.going_on)
        source.update({"rate": "2"})
        updater.start()
    refreshing.join()
    assert updater.wait_for(lambda snap: snap[rate] == 2, DEADLINE_SECONDS)
    updater.stop()


def test_stop_waits_for_no_thread_that_waits_for_what_it_has_interrupted(flags: dflag.FlagRegistry) -> None:
    """
    stop() in a handler that has interrupted set() does not wait for another thread that stops the updater and needs
    the lock of that set().
    """
    updater = dflag.Updater.setup(flags, MemorySource())
    stopping = threading.Thread(target=updater.stop)
    with store_of_registry(flags).lock:  # as where a handler interrupts a commit
        stopping.start()
        assert eventually(lambda: _function_of(stopping) in ("stop", "release"))
        updater.stop()
    stopping.join()
    assert not _updater_threads()


def test_refresh_amid_stop_waits_for_no_thread_that_initializes(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    refresh() in a handler that has interrupted stop() does not wait for a thread whose initialize() waits for stop().
    """
    updater = dflag.Updater(flags, MemorySource())
    updater.initialize()
    initializing = threading.Thread(target=updater.initialize)
    release, seconds = SourceLayers.release, []

    def interrupted(*arguments: Any) -> None:
        if not seconds:
            initializing.start()
            assert eventually(lambda: _function_of(initializing) == "initialize")
            began = time.monotonic()
            updater.refresh()
            seconds.append(time.monotonic() - began)
        release(*arguments)

    monkeypatch.setattr(SourceLayers, "release", interrupted)
    updater.stop()
    initializing.join()
    assert seconds[0] < DEADLINE_SECONDS / 4


def _function_of(thread: threading.Thread) -> str:
    """Return the name of the function that the thread is in, and so where it waits for a lock."""
    frame = sys._current_frames().get(thread.ident or 0)
    return "" if frame is None else frame.f_code.co_name


@pytest.mark.parametrize("act", ["update", "wake", "refresh"])
def test_a_source_may_be_updated_amid_its_update(flags: dflag.FlagRegistry, act: str) -> None:
    """
    update() and the handler's call never wait for each other's lock, wherever in update() the handler interrupts.
    """
    rate, source = flags.dyn_int("rate", 0), MemorySource()
    with dflag.Updater(flags, source) as updater:
        acts = {"update": lambda: source.update({"rate": "2"}), "wake": updater._wake, "refresh": updater.refresh}
        for _ in every_call(lambda: source.update({"rate": "1"}), acts[act]):
            pass
        source.update({"rate": "3"})
        assert updater.wait_for(lambda snap: snap[rate] == 3, DEADLINE_SECONDS)


def _updater_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "dflag-updater"]


def test_stop_amid_start_waits_for_nothing(flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture) -> None:
    """
    When stop() interrupts start(), the thread that it joins ends at once: it needs no lock that start() holds.
    """
    updater = dflag.Updater(flags, MemorySource())

    def operation() -> None:
        with contextlib.suppress(dflag.UpdaterStateError):
            updater.start()

    for _ in every_call(operation, lambda: updater.stop(DEADLINE_SECONDS)):
        updater.stop()
        assert eventually(lambda: not _updater_threads())
    assert "keeps the updater's thread busy" not in caplog.text


def test_start_amid_start_leaves_one_thread(flags: dflag.FlagRegistry) -> None:
    """
    When start() interrupts start(), one of them starts a thread and the other raises; stop() leaves no thread.
    """
    updater = dflag.Updater(flags, MemorySource())
    refused: list[dflag.UpdaterStateError] = []

    def start() -> None:
        try:
            updater.start()
        except dflag.UpdaterStateError as error:
            refused.append(error)

    for number in every_call(start, start):
        assert updater.status().state == "running"
        assert eventually(lambda: len(_updater_threads()) == 1)
        updater.stop()
        assert eventually(lambda: not _updater_threads())
        assert len(refused) in (number, number - 1)


class _Interruption(BaseException):
    """An exception that a signal handler raises, such as the time limit of a task."""


def test_what_an_override_block_has_set_goes_when_its_beginning_is_interrupted(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    When a handler raises after the commit that begins an override block, the override is undone without the block.
    """
    rate, store = flags.dyn_int("rate", 0), store_of_registry(flags)
    change = store.change

    def interrupted(*args: Any, **options: Any) -> None:
        monkeypatch.undo()
        change(*args, **options)
        raise _Interruption

    monkeypatch.setattr(store, "change", interrupted)
    with pytest.raises(_Interruption), flags.override({rate: 1}):
        pass
    assert (rate.get(), rate.origin) == (0, "default")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python warns of a fork while threads run
def test_a_parse_counts_after_one_that_was_interrupted(flags: dflag.FlagRegistry) -> None:
    """
    After a handler has raised at any line of a parse of the command line, the next parse sets its flags.
    """
    rate, parser = flags.dyn_int("rate", 0), argparse.ArgumentParser()
    flags.add_to_argparse(parser)

    def interrupt() -> None:
        raise KeyboardInterrupt

    def run() -> None:
        for number in itertools.count(1):
            with contextlib.suppress(KeyboardInterrupt):
                _run_interrupted(lambda: parser.parse_args(["--rate=0"]), interrupt, number)
                break
            parser.parse_args([f"--rate={number}"])
            assert rate.get() == number

    # In a child process: a trace function also raises at lines where no handler can, and the store's lock stays held.
    Child(run).check()


def test_a_pin_ends_though_its_end_is_interrupted(flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    When a handler raises while a pin ends, the thread still reads live values again.
    """
    rate, close, left = flags.dyn_int("rate", 0), _registry.close_pin, list[Any]()

    def interrupted(pin: Any) -> None:
        left.append(pin)
        raise _Interruption

    monkeypatch.setattr(_registry, "close_pin", interrupted)
    with pytest.raises(_Interruption), flags.pinned({rate: 1}):
        assert rate.get() == 1
    assert rate.get() == 0
    close(*left)


def test_callbacks_run_though_their_announcement_is_interrupted(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    When a handler raises after a commit, before its callbacks are announced, they still run without another commit.
    """
    heard = threading.Event()
    rate, notifier = (
        flags.dyn_int("rate", 0, on_change=lambda _old, _new: heard.set()),
        store_of_registry(flags).notifier,
    )

    def interrupted() -> None:
        monkeypatch.undo()
        raise _Interruption

    monkeypatch.setattr(notifier, "resume", interrupted)
    with pytest.raises(_Interruption):
        rate.set(1)
    assert heard.wait(DEADLINE_SECONDS)
