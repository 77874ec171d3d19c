"""
The life cycle of an updater, and each promise of its contract.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import gc
import logging
import os
import queue
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

import dflag
from dflag import Updater, _batch, _updater
from dflag.sources import DirectorySource, MemorySource, Source, Watch
from dflag.testing import ConfigMapVolume

from ._waiting import DEADLINE_SECONDS, eventually

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dflag.typing import Raw, Wake


class Broken(Source):
    """
    A source that raises an unexpected error while `broken` is set.
    """

    def __init__(self) -> None:
        self.broken = False

    @property
    def name(self) -> str:
        return "broken"

    def read(self) -> Mapping[str, Raw]:
        if self.broken:
            raise ZeroDivisionError("no way to read")
        return {"rate": "7"}


@pytest.fixture(name="rate")
def _rate(flags: dflag.FlagRegistry) -> dflag.DynamicFlag[int]:
    return flags.dyn_int("rate", 50, min=1)


@pytest.fixture(name="port")
def _port(flags: dflag.FlagRegistry) -> dflag.StaticFlag[int]:
    return flags.int("port", 8080)


@pytest.fixture(name="source")
def _source() -> MemorySource:
    return MemorySource({"rate": "60", "port": "9090"})


def _wait(updater: Updater, flag: dflag.Flag[int], value: int) -> bool:
    return updater.wait_for(lambda snapshot: snapshot[flag] == value, DEADLINE_SECONDS)


# --- initialize


def test_initialize_sets_static_and_dynamic_flags(
    flags: dflag.FlagRegistry,
    rate: dflag.DynamicFlag[int],
    port: dflag.StaticFlag[int],
    volume: ConfigMapVolume,
) -> None:
    """
    initialize() sets static and dynamic flags to the values of the source in one commit.
    """
    volume.write({"rate": "60", "port": "9090"})
    before = flags.snapshot().revision
    Updater(flags, volume.path).initialize()

    assert (rate.get(), port.get()) == (60, 9090)
    assert rate.origin == port.origin == str(volume.path)
    assert flags.snapshot().revision == before + 1


def test_initialize_applies_several_sources_in_one_commit(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], port: dflag.StaticFlag[int]
) -> None:
    """
    initialize() applies the values of all sources in one commit.
    """
    before = flags.snapshot().revision
    Updater(flags, [MemorySource({"rate": "1"}, name="a"), MemorySource({"port": "2"}, name="b")]).initialize()

    assert (rate.get(), port.get()) == (1, 2)
    assert flags.snapshot().revision == before + 1


def test_initialize_names_every_bad_flag_and_changes_nothing(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], port: dflag.StaticFlag[int]
) -> None:
    """
    initialize() raises one error that names all bad values of all sources, and applies no value, not even a good one.
    """
    name = flags.dyn_string("name", "x")
    bad = [MemorySource({"rate": "0", "name": "good"}, name="a"), MemorySource({"port": "http"}, name="b")]
    before = flags.snapshot().revision
    with pytest.raises(dflag.UpdateError) as caught:
        Updater(flags, bad).initialize()

    assert [error.flag_name for error in caught.value.errors if isinstance(error, dflag.FlagValueError)] == [
        "port",
        "rate",
    ]
    assert "'port'" in str(caught.value)
    assert "'rate'" in str(caught.value)
    assert (rate.get(), port.get(), name.get()) == (50, 8080, "x")
    assert flags.snapshot().revision == before


def test_initialize_fails_where_a_required_source_is_missing(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], tmp_path: Path
) -> None:
    """
    initialize() raises an error with the path of a directory that is missing, and does not apply the other source.
    """
    with pytest.raises(dflag.SourceError, match="nowhere"):
        Updater(flags, [MemorySource({"rate": "60"}), tmp_path / "nowhere"]).initialize()

    assert rate.get() == 50


def test_initialize_turns_a_foreign_failure_into_a_source_error(flags: dflag.FlagRegistry) -> None:
    """
    initialize() turns any exception of a user's source into a SourceError that has it as its cause.
    """
    source = Broken()
    source.broken = True
    with pytest.raises(dflag.SourceError, match="ZeroDivisionError") as caught:
        Updater(flags, source).initialize()

    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_initialize_may_be_tried_again(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], volume: ConfigMapVolume
) -> None:
    """
    initialize() reads the source again when it is called again, after a failure or a success.
    """
    volume.write({"rate": "many"})
    updater = Updater(flags, volume.path)
    with pytest.raises(dflag.UpdateError):
        updater.initialize()
    for value in (60, 70):
        volume.write({"rate": str(value)})
        updater.initialize()
        assert rate.get() == value


def test_callbacks_run_at_initialize_when_a_value_changed(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], source: MemorySource
) -> None:
    """
    initialize() runs the callback of a flag whose value differs from the default, and not that of a flag that keeps it.
    """
    same = flags.dyn_int("same", 1)
    seen: list[tuple[str, int, int]] = []
    rate.on_change(lambda old, new: seen.append(("rate", old, new)))
    same.on_change(lambda old, new: seen.append(("same", old, new)))
    source.update({"rate": "60", "same": "1"})
    Updater(flags, source).initialize()

    assert flags.flush(DEADLINE_SECONDS)
    assert seen == [("rate", 50, 60)]


# --- start and stop


def test_start_freezes_static_flags(
    flags: dflag.FlagRegistry,
    rate: dflag.DynamicFlag[int],
    port: dflag.StaticFlag[int],
    volume: ConfigMapVolume,
) -> None:
    """
    After start() a swap changes dynamic flags only; `pending_restart` names the static flag while its value differs.
    """
    volume.write({"rate": "60", "port": "9090"})
    with Updater(flags, volume.path) as updater:
        volume.write({"rate": "70", "port": "9091"})
        assert _wait(updater, rate, 70)
        assert port.get() == 9090
        assert eventually(lambda: updater.status().pending_restart == ("port",))
        with pytest.raises(dflag.StaticFlagError):
            port.set(1)
        volume.write({"rate": "71", "port": "9090"})
        assert _wait(updater, rate, 71)
        assert eventually(lambda: updater.status().pending_restart == ())


@pytest.mark.parametrize("is_document", [False, True])
def test_whoever_reads_once_reads_what_was_written(
    flags: dflag.FlagRegistry, tmp_path: Path, *, is_document: bool
) -> None:
    """
    initialize(), refresh() and start() wait until a file that was just written can be read, and apply its value.
    """
    rate = flags.dyn_int("rate", 50)
    path = tmp_path / ("flags.yaml" if is_document else "rate")

    def write(value: str) -> None:
        path.write_text(f"rate: {value}" if is_document else value)

    write("many")
    updater = dflag.Updater(flags, path if is_document else tmp_path)
    with pytest.raises(dflag.UpdateError, match="many"):
        updater.initialize()
    write("60")
    updater.initialize()
    assert rate.get() == 60
    write("70")
    assert updater.refresh().changed == ("rate",)
    assert rate.get() == 70
    write("80")
    updater.start()
    assert rate.get() == 80
    updater.stop()
    write("90")
    updater.start()
    assert rate.get() == 90
    updater.stop()


def test_a_swap_between_initialize_and_start_is_seen(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], volume: ConfigMapVolume
) -> None:
    """
    start() reads the source again, so that a swap since initialize() is applied when start() returns.
    """
    volume.write({"rate": "60"})
    updater = Updater(flags, volume.path, resync_seconds=60)
    updater.initialize()
    volume.write({"rate": "70"})
    updater.start()
    try:
        assert rate.get() == 70
    finally:
        updater.stop()


def test_start_alone_raises_nothing_for_what_a_source_holds(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], tmp_path: Path
) -> None:
    """
    start() without initialize() raises nothing for a missing directory or a bad value, and follows later changes.
    """
    volume = ConfigMapVolume(tmp_path / "late")
    bad = MemorySource({"rate": "many"})
    updater = Updater(flags, [volume.path, bad])
    updater.start()
    try:
        status = updater.status()
        assert [source.healthy for source in status.sources] == [False, True]
        assert list(status.rejected) == ["rate"]
        volume.write({"rate": "60"})
        assert _wait(updater, rate, 60)
    finally:
        updater.stop()


def test_trouble_while_running_is_logged_once_counted_and_shown(
    flags: dflag.FlagRegistry,
    rate: dflag.DynamicFlag[int],
    source: MemorySource,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """
    While a value stays bad, the last good one stays in force, and there is one line in the log and one error counted.
    """
    with caplog.at_level(logging.WARNING, "dflag"), Updater.setup(flags, source) as updater:
        caplog.clear()
        for other in range(5):
            source.update({"rate": "many", "port": str(other)})
            updater.refresh()

        status = updater.status()
        assert rate.get() == 60
        assert status.errors == 1
        assert "many" in str(status.rejected["rate"])
        assert sum("many" in record.getMessage() for record in caplog.records) == 1
        source.update({"rate": "61"})
        updater.refresh()
        assert rate.get() == 61
        assert not updater.status().rejected


def test_a_failing_source_keeps_its_values_and_recovers(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], caplog: pytest.LogCaptureFixture
) -> None:
    """
    A source whose read() raises keeps its values, is unhealthy and logged once, and recovers when it can be read.
    """
    source = Broken()
    with Updater.setup(flags, source, resync_seconds=0.01) as updater:
        source.broken = True
        assert eventually(lambda: not updater.status().sources[0].healthy)
        errors = updater.status().errors
        threading.Event().wait(0.05)  # proves a negative: several more checks count nothing
        assert updater.status().errors == errors
        assert rate.get() == 7
        assert "ZeroDivisionError" in str(updater.status().sources[0].last_error)
        source.broken = False
        assert eventually(lambda: updater.status().sources[0].healthy)
        assert updater.status().sources[0].last_error is None

    assert sum("cannot read" in record.getMessage() for record in caplog.records) == 1


def test_stop_is_idempotent_and_comes_before_start_too(flags: dflag.FlagRegistry, source: MemorySource) -> None:
    """
    stop() does nothing when the updater does not run, whether it has been started before or not.
    """
    updater = Updater(flags, source)
    updater.stop()
    updater.initialize()
    updater.stop()
    updater.start()
    for _ in range(3):
        updater.stop()

    assert updater.status().state == "stopped"


def test_stop_gives_the_name_of_a_source_back_without_a_start_too(
    flags: dflag.FlagRegistry, source: MemorySource
) -> None:
    """
    stop() of an updater that was only initialized lets another updater follow its source.
    """
    first = Updater(flags, source)
    first.initialize()
    with pytest.raises(dflag.DefinitionError, match="already followed by another updater"):
        Updater(flags, source)
    first.stop()
    with (
        Updater.setup(flags, source),
        pytest.raises(dflag.DefinitionError, match="already followed by another updater"),
    ):
        first.start()


def test_nothing_changes_after_stop(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], volume: ConfigMapVolume
) -> None:
    """
    After stop() a change of the source does not change the values.
    """
    volume.write({"rate": "60"})
    with Updater.setup(flags, volume.path, resync_seconds=0.01):
        pass
    volume.write({"rate": "70"})
    threading.Event().wait(0.1)  # proves a negative

    assert rate.get() == 60


def test_a_stopped_updater_may_start_again(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], volume: ConfigMapVolume
) -> None:
    """
    A stopped updater that is started again applies the value it has missed, and follows the source again.
    """
    volume.write({"rate": "1"})
    updater = Updater.setup(flags, volume.path)
    for value in range(10, 60, 10):
        updater.stop()
        volume.write({"rate": str(value)})
        updater.start()
        assert rate.get() == value
        volume.write({"rate": str(value + 1)})
        assert _wait(updater, rate, value + 1)
    updater.stop()


def test_stop_waits_no_longer_than_told(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], source: MemorySource
) -> None:
    """
    stop() returns after its timeout while a validator hangs, and the validator's late result changes no value.
    """
    entered, leave = threading.Event(), threading.Event()

    @rate.validator
    def _hang(value: int) -> None:
        if value == 13:
            entered.set()
            leave.wait(DEADLINE_SECONDS)

    updater = Updater.setup(flags, source)
    source.update({"rate": "13"})
    assert entered.wait(DEADLINE_SECONDS)
    began = time.monotonic()
    updater.stop(timeout=0.05)
    assert time.monotonic() - began < 2.0
    leave.set()

    assert eventually(lambda: not any(thread.name.startswith("dflag") for thread in threading.enumerate()))
    assert rate.get() == 60


def test_stop_may_be_called_from_a_callback_and_from_a_validator(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], source: MemorySource
) -> None:
    """
    stop() returns at once when a callback or a validator calls it, because no thread waits for itself.
    """
    done: list[float] = []

    def stop(*_: int) -> None:
        began = time.monotonic()
        updater.stop()
        done.append(time.monotonic() - began)

    updater = Updater.setup(flags, source)
    rate.on_change(stop)
    source.update({"rate": "61"})
    assert eventually(lambda: done)
    rate.validator(lambda value: stop() if value == 62 else None)
    updater.start()
    source.update({"rate": "62"})
    assert eventually(lambda: len(done) > 1)

    assert max(done) < 2.0
    updater.stop()


def test_many_threads_may_stop_and_refresh_at_once(flags: dflag.FlagRegistry, source: MemorySource) -> None:
    """
    stop(), refresh() and status() in many threads at once all return, and the updater is stopped.
    """
    updater = Updater.setup(flags, source)
    threads = [threading.Thread(target=target) for target in (updater.stop, updater.refresh, updater.status) * 5]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_SECONDS)

    assert not any(thread.is_alive() for thread in threads)
    assert updater.status().state == "stopped"


def test_setup_is_initialize_and_start(flags: dflag.FlagRegistry, port: dflag.StaticFlag[int]) -> None:
    """
    setup() raises as initialize() does, with nothing left running, or returns a running updater with the given options.
    """
    with pytest.raises(dflag.UpdateError):
        Updater.setup(flags, MemorySource({"port": "x"}))
    updater = Updater.setup(flags, MemorySource({"port": "1", "other": ""}, name="second"), unknown="ignore")

    assert updater.status().state == "running"
    assert updater.status().warnings == 0
    assert port.get() == 1
    updater.stop()


def test_setup_twice_is_an_error(flags: dflag.FlagRegistry, volume: ConfigMapVolume) -> None:
    """
    setup() refuses a source that a running updater follows, and that updater goes on.
    """
    volume.write({"rate": "60"})
    rate = flags.dyn_int("rate", 1)
    with Updater.setup(flags, volume.path) as updater:
        with pytest.raises(dflag.DflagError):
            Updater.setup(flags, volume.path)
        volume.write({"rate": "61"})
        assert _wait(updater, rate, 61)


def test_with_initializes_starts_and_stops(flags: dflag.FlagRegistry, source: MemorySource) -> None:
    """
    A with block initializes, starts and stops a new updater, and only stops one that setup() has returned.
    """
    with Updater(flags, source) as updater:
        assert updater.status().state == "running"
    assert updater.status().state == "stopped"
    with Updater.setup(flags, MemorySource(name="other")) as other:
        assert other.status().state == "running"
    assert other.status().state == "stopped"


def test_with_passes_errors_on(flags: dflag.FlagRegistry, source: MemorySource) -> None:
    """
    An exception in a with block is passed on, and the updater is stopped.
    """
    updater = Updater(flags, source)
    with pytest.raises(KeyError), updater:
        raise KeyError

    assert updater.status().state == "stopped"


def test_calls_out_of_order_raise(flags: dflag.FlagRegistry, source: MemorySource) -> None:
    """
    A second start(), or initialize() after start(), raises, and the updater goes on running.
    """
    with Updater.setup(flags, source) as updater:
        with pytest.raises(dflag.UpdaterStateError):
            updater.start()
        with pytest.raises(dflag.UpdaterStateError):
            updater.initialize()
        assert updater.status().state == "running"


@pytest.mark.parametrize("keeps_flags", [True, False])
def test_an_updater_that_nobody_keeps_follows(
    flags: dflag.FlagRegistry, volume: ConfigMapVolume, keeps_flags: bool
) -> None:
    """
    A running updater applies values and runs callbacks although the program keeps neither it nor its registry.
    """
    volume.write({"rate": "60"})
    seen: queue.SimpleQueue[int] = queue.SimpleQueue()
    registry = flags if keeps_flags else dflag.FlagRegistry()
    registry.dyn_int("rate", 50, on_change=lambda _old, new: seen.put(new))
    # The weak reference is for the stop() below; it does not keep the updater alive.
    updater = weakref.ref(Updater.setup(registry, volume.path))
    del registry
    try:
        for value in (60, 61, 62):
            volume.write({"rate": str(value)})
            assert seen.get(timeout=DEADLINE_SECONDS) == value
            gc.collect()
    finally:
        running = updater()
        assert running is not None
        running.stop()


@pytest.mark.parametrize("life", ["new", "initialized", "stopped", "stopped twice", "never started"])
def test_an_updater_that_does_not_run_is_freed(source: MemorySource, life: str) -> None:
    """
    An updater that does not run, and its registry, are freed when the program drops them.
    """
    flags = dflag.FlagRegistry()
    flags.dyn_int("rate", 50)
    updater = Updater(flags, source)
    if life == "initialized":
        updater.initialize()
    elif life.startswith("stopped"):
        for _ in life.split():
            updater.start()
            updater.stop()
    elif life == "never started":
        with pytest.raises(dflag.UpdateError):
            Updater.setup(dflag.FlagRegistry(), MemorySource({"rate": "many"}), unknown="error")
    references = [weakref.ref(updater), weakref.ref(flags._store)]
    del updater, flags

    def freed() -> bool:
        gc.collect()
        return not any(reference() for reference in references)

    assert eventually(freed)


@pytest.mark.parametrize("caller", ["a validator", "a validator and start again", "another thread"])
def test_stop_amid_start_leaves_nothing_running(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], source: MemorySource, caller: str
) -> None:
    """
    stop() amid start() does not wait for a validator, and that start() returns with nothing applied and no thread.
    """
    updater = Updater(flags, source, resync_seconds=0.01)
    entered, stopped = threading.Event(), threading.Event()

    @rate.validator
    def _stop(value: int) -> None:
        if value != 60 or stopped.is_set():
            return
        if caller == "another thread":
            entered.set()
            assert stopped.wait(DEADLINE_SECONDS)
        else:
            updater.stop()
            stopped.set()
        if caller.endswith("again"):
            updater.start()

    starting = threading.Thread(target=updater.start)
    starting.start()
    if caller == "another thread":
        assert entered.wait(DEADLINE_SECONDS)
        began = time.monotonic()
        updater.stop()
        assert time.monotonic() - began < 2.0
        stopped.set()
    starting.join(DEADLINE_SECONDS)

    assert not starting.is_alive()
    if caller.endswith("again"):
        assert (updater.status().state, rate.get()) == ("running", 60)
        updater.stop()
    else:
        assert (updater.status().state, rate.get()) == ("stopped", 50)
    assert not any(thread.name == "dflag-updater" for thread in threading.enumerate())


def test_stop_waits_for_no_validator_of_initialize(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], source: MemorySource
) -> None:
    """
    stop() returns at once while a validator hangs in another thread's initialize().
    """
    entered, leave = threading.Event(), threading.Event()
    updater = Updater(flags, source)

    @rate.validator
    def _hang(value: int) -> None:
        if value == 60:
            entered.set()
            leave.wait(DEADLINE_SECONDS)

    initializing = threading.Thread(target=updater.initialize)
    initializing.start()
    assert entered.wait(DEADLINE_SECONDS)
    began = time.monotonic()
    updater.stop()
    assert time.monotonic() - began < 2.0
    leave.set()
    initializing.join(DEADLINE_SECONDS)
    assert not initializing.is_alive()


def test_a_source_that_is_stopped_amid_its_watching_is_closed(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int]
) -> None:
    """
    When stop() is called while a source begins its watch, that watch is closed and no later source is watched.
    """

    class Stopping(MemorySource):
        def watch(self, wake: Wake) -> Watch:
            watches.append(watch := Counted())
            updater.stop()
            return watch

    class Counted(Watch):
        closed = 0

        def close(self) -> None:
            self.closed += 1

    watches: list[Counted] = []
    updater = Updater(flags, [Stopping(name="a"), Stopping(name="b")])
    updater.start()

    assert [watch.closed for watch in watches] == [1]
    assert updater.status().state == "stopped"
    assert [source.watched for source in updater.status().sources] == ["not watched"] * 2


def test_another_updater_may_follow_what_was_stopped(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], volume: ConfigMapVolume
) -> None:
    """
    Another updater may follow a source once its updater is stopped; without a stop(), an error says to call it first.
    """
    for value in (60, 61, 62):
        volume.write({"rate": str(value)})
        with Updater.setup(flags, volume.path):
            assert rate.get() == value
    last = Updater.setup(flags, volume.path)
    with pytest.raises(dflag.DefinitionError, match=r"stop\(\) that one first"):
        Updater.setup(flags, volume.path)
    last.stop()


def _refuse(updater: Updater, source: MemorySource) -> None:
    """Run the updater until it has refused one more value of the source."""
    source.update({"rate": "60"})
    with updater:
        source.update({"rate": "bad"})
        updater.refresh()


@pytest.mark.usefixtures("rate")
def test_the_counts_of_an_updater_stay_its_own(flags: dflag.FlagRegistry, source: MemorySource) -> None:
    """
    The next updater of a source counts from zero, and the earlier one goes on from its own counts when it starts again.
    """
    earlier = Updater(flags, source, resync_seconds=60)
    _refuse(earlier, source)
    _refuse(earlier, source)
    later = Updater(flags, source, resync_seconds=60)
    assert (earlier.status().errors, later.status().errors) == (2, 0)
    _refuse(later, source)
    assert (earlier.status().errors, later.status().errors) == (2, 1)

    _refuse(earlier, source)
    assert (earlier.status().errors, later.status().errors) == (3, 1)


# --- refresh and wait_for


def test_refresh_reads_now_and_gives_the_revision(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], source: MemorySource
) -> None:
    """
    refresh() applies the values and returns their revision; when nothing is new, it returns the same revision again.
    """
    updater = Updater(flags, source, resync_seconds=60)
    updater.initialize()
    source.update({"rate": "61", "more": "?", "bad": ""})
    flags.dyn_int("bad", 1)
    revision = updater.refresh()

    assert rate.get() == 61
    assert revision.changed == ("rate",)
    assert revision.unknown == ("more",)
    assert list(revision.rejected) == ["bad"]
    assert revision.number == flags.snapshot().revision
    assert updater.refresh() is revision


def test_refresh_raises_nothing_for_a_source_that_went_away(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], volume: ConfigMapVolume
) -> None:
    """
    refresh() raises nothing and returns the last revision while the directory of the source is missing.
    """
    volume.write({"rate": "60"})
    with Updater.setup(flags, volume.path) as updater:
        revision = updater.refresh()
        volume.path.rename(f"{volume.path}-away")
        assert updater.refresh() == revision
        assert not updater.status().sources[0].healthy
        assert rate.get() == 60


def test_a_value_that_had_not_settled_at_a_refresh_is_read_as_soon_as_its_source_says(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int]
) -> None:
    """
    After refresh() a running updater checks as soon as `recheck_seconds()` of its source says, and not after a resync.
    """

    class Settling(MemorySource):
        settles_at: float | None = None

        def watch(self, wake: Wake) -> Watch:
            del wake
            return Watch()

        def probe(self) -> object:
            return self._left() == 0, super().probe()

        def recheck_seconds(self) -> float | None:
            return self._left()

        def read(self) -> Mapping[str, Raw]:
            return {"rate": "61"} if self._left() == 0 else super().read()

        def _left(self) -> float | None:
            return None if self.settles_at is None else max(self.settles_at - time.monotonic(), 0.0)

    source = Settling({"rate": "60"})
    with Updater.setup(flags, source, resync_seconds=60) as updater:
        source.settles_at = time.monotonic() + 0.5
        updater.refresh()
        assert _wait(updater, rate, 61)


def test_a_rule_that_a_refresh_has_read_switches_at_its_time(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A running updater switches a rule that refresh() has read at the rule's time, and not after a resync.
    """
    source = MemorySource({"rate": "60"})
    monkeypatch.setattr(source, "watch", lambda _: Watch())
    with Updater.setup(flags, source, resync_seconds=60) as updater:
        soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=0.5)
        source.update({"rate": "60", "_rules.yaml": f"- {{name: a, from: {soon.isoformat()}, set: {{rate: 61}}}}"})
        updater.refresh()
        assert _wait(updater, rate, 61)


def test_wait_for_tells_whether_it_became_true(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], source: MemorySource
) -> None:
    """
    wait_for() returns True at once if the condition holds or when a thread makes it hold, and False after the timeout.
    """
    with Updater.setup(flags, source) as updater:
        assert updater.wait_for(lambda snapshot: snapshot[rate] == 60, 0)
        began = time.monotonic()
        assert not updater.wait_for(lambda snapshot: snapshot["rate"] == 61, 0.05)
        assert 0.04 < time.monotonic() - began < 2.0
        setter = threading.Thread(target=rate.set, args=(61,))
        setter.start()
        assert _wait(updater, rate, 61)
        setter.join()


def test_wait_for_refuses_a_predicate_that_returns_a_coroutine(flags: dflag.FlagRegistry, source: MemorySource) -> None:
    """wait_for() refuses a predicate that returns a coroutine, because every coroutine object is true."""

    async def never(_: dflag.Snapshot) -> bool:
        raise AssertionError  # pragma: no cover - never begun

    with pytest.raises(dflag.DefinitionError, match="expected a plain function for predicate, got one that returned"):
        dflag.Updater(flags, source).wait_for(lambda snapshot: never(snapshot), 0)  # noqa: PLW0108 - what is tried


def test_wait_for_passes_on_what_the_predicate_raises(flags: dflag.FlagRegistry, source: MemorySource) -> None:
    """
    wait_for() raises what its predicate raises.
    """
    with Updater.setup(flags, source) as updater, pytest.raises(dflag.UnknownFlagError):
        updater.wait_for(lambda snapshot: snapshot["none"], 1)


# --- status


def test_status_tells_how_things_are(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], volume: ConfigMapVolume
) -> None:
    """
    status() shows the state, the sources, the counters and the ages in each state of an updater.
    """
    volume.write({"rate": "60", "what": ""})
    updater = Updater(flags, volume.path)
    new = updater.status()
    assert (new.state, new.updates, new.seconds_since_success) == ("new", 0, None)
    assert new.sources[0].checksum == ""
    updater.initialize()
    assert updater.status().state == "initialized"
    assert updater.status().unknown == ("what",)
    updater.start()
    running = updater.status()
    source = running.sources[0]
    updater.stop()

    assert (running.state, running.updates, running.errors, running.warnings) == ("running", 1, 0, 1)
    assert (source.name, source.healthy, source.last_error) == (str(volume.path), True, None)
    assert source.watched not in ("", "not watched")
    assert source.checksum == updater.refresh().checksum
    assert len(source.checksum) == 12
    assert source.seconds_since_contact is not None
    assert 0 <= source.seconds_since_contact < DEADLINE_SECONDS
    assert running.seconds_since_success is not None
    assert updater.status().state == "stopped"


def test_status_counts_the_readings_of_each_source_by_result(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int]
) -> None:
    """
    A reading that finds something new counts once in `reloads` of its source, under its result.
    """
    broken, source = Broken(), MemorySource({"rate": "60"})
    with Updater.setup(flags, [broken, source]) as updater:

        def reloads(index: int) -> dict[str, int]:
            updater.refresh()
            updater.refresh()  # nothing new
            return {result: count for result, count in updater.status().sources[index].reloads.items() if count}

        assert reloads(1) == reloads(0) == {"applied": 1}
        source.update({"rate": "0"})
        assert reloads(1) == {"applied": 1, "partial": 1}
        broken.broken = True
        assert reloads(0) == {"applied": 1, "failed": 1}

        @flags.validator
        def never_70(snapshot: dflag.Snapshot) -> None:
            if snapshot["rate"] == 70:
                raise ValueError("not 70")

        source.update({"rate": "70"})
        assert reloads(1) == {"applied": 1, "partial": 1, "refused": 1}


def test_status_shows_the_revision_in_force_not_one_that_was_refused(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int]
) -> None:
    """
    With atomic=True a reading with a bad value leaves checksum and time those of the last revision that was applied.
    """
    source = MemorySource({"rate": "60"})
    with Updater.setup(flags, source, atomic=True) as updater:
        (before,) = updater.status().sources
        assert before.checksum
        assert before.applied_at is not None
        source.update({"rate": "0"})
        updater.refresh()
        (after,) = updater.status().sources
        assert (after.checksum, after.applied_at) == (before.checksum, before.applied_at)
        assert after.reloads["refused"] == 1
        assert "rate" in updater.status().rejected


def test_status_is_frozen(flags: dflag.FlagRegistry, source: MemorySource) -> None:
    """
    The caller cannot change a status record or the records in it.
    """
    status = Updater(flags, source).status()
    with pytest.raises(dataclasses.FrozenInstanceError):
        status.errors = 1  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        status.sources[0].healthy = True  # type: ignore[misc]


def test_contact_and_success_advance_while_nothing_changes(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], volume: ConfigMapVolume
) -> None:
    """
    The ages of the last success and contact stay low while nothing changes, and grow while the source is missing.
    """
    volume.write({"rate": "60"})
    with Updater.setup(flags, volume.path, resync_seconds=0.05) as updater:
        threading.Event().wait(0.3)  # proves a negative: the ages do not grow with it
        assert updater.status().seconds_since_success is not None
        assert (updater.status().seconds_since_success or 0) < 0.25
        volume.path.rename(f"{volume.path}-away")
        assert eventually(lambda: (updater.status().seconds_since_success or 0) > 0.25)
        assert (updater.status().sources[0].seconds_since_contact or 0) > 0.25


def test_status_answers_while_a_validator_and_a_callback_hang(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], source: MemorySource
) -> None:
    """
    status(), get() and snapshot() return at once while a validator and a callback hang.
    """
    hanging, leave = threading.Semaphore(0), threading.Event()

    def hang(*_: int) -> None:
        hanging.release()
        leave.wait(DEADLINE_SECONDS)

    with Updater.setup(flags, source) as updater:
        rate.on_change(hang)
        rate.set(3)
        assert hanging.acquire(timeout=DEADLINE_SECONDS)
        rate.validator(lambda value: hang() if value == 62 else None)
        source.update({"rate": "62"})
        assert hanging.acquire(timeout=DEADLINE_SECONDS)
        began = time.monotonic()
        assert updater.status().state == "running"
        assert rate.get() == 3
        assert flags.snapshot()[rate] == 3
        assert time.monotonic() - began < 0.5
        leave.set()


def test_status_answers_while_a_rule_hangs_however_often_it_was_asked(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], source: MemorySource
) -> None:
    """
    status() returns at once while a registry validator hangs under the lock.
    It is called there after other writers have outdated its earlier calls.
    """
    entered, leave = threading.Event(), threading.Event()
    other = flags.dyn_int("other", 0)
    asked = 0

    @flags.validator
    def outdated(snapshot: dflag.Snapshot) -> None:
        nonlocal asked
        if snapshot[rate] == 62 and rate.get() != 62:
            asked += 1
            if asked <= 8:
                flags_of_others.apply({"other": str(asked)}, source="others")
                return
            entered.set()
            leave.wait(DEADLINE_SECONDS)

    class Others:
        """
        Write in another thread, because a validator must not write.
        """

        def apply(self, values: dict[str, str], *, source: str) -> None:
            thread = threading.Thread(target=flags.apply, args=(values,), kwargs={"source": source})
            thread.start()
            thread.join(DEADLINE_SECONDS)

    flags_of_others = Others()
    with Updater.setup(flags, source) as updater:
        source.update({"rate": "62"})
        assert entered.wait(DEADLINE_SECONDS)
        began = time.monotonic()
        status = updater.status()
        spent = time.monotonic() - began
        leave.set()
        assert _wait(updater, rate, 62)

    assert status.state == "running"
    assert spent < 0.5
    assert other.get() == 8


# --- sources


def test_a_later_source_wins_and_dropping_it_reveals_the_earlier(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], tmp_path: Path
) -> None:
    """
    A later source wins, whichever source changes last, and a key that it drops has the value of the earlier source.
    """
    lower, upper = ConfigMapVolume(tmp_path / "lower"), MemorySource({"rate": "2"}, name="upper")
    lower.write({"rate": "1"})
    with Updater.setup(flags, [lower.path, upper]) as updater:
        assert (rate.get(), rate.origin) == (2, "upper")
        lower.write({"rate": "3"})
        updater.refresh()
        assert rate.get() == 2
        assert [layer.origin for layer in flags.explain("rate")] == ["upper", str(lower.path), "default"]
        upper.update({"else": ""})
        assert _wait(updater, rate, 3)
        assert rate.origin == str(lower.path)


def test_an_updater_names_its_sources_when_it_is_made(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], source: MemorySource
) -> None:
    """
    An updater ranks its sources when it is created: a source that apply() names later ranks above them.
    """
    updater = Updater(flags, source)
    flags.apply({"rate": "70"}, source="second")
    updater.initialize()

    assert rate.get() == 70
    assert [layer.origin for layer in flags.explain("rate")] == ["second", "memory", "default"]


def test_no_two_sources_share_a_name(flags: dflag.FlagRegistry) -> None:
    """
    Updater() refuses two sources of one name, and an empty sequence of sources.
    """
    with pytest.raises(dflag.DefinitionError):
        Updater(flags, [MemorySource(), MemorySource()])
    with pytest.raises(dflag.DefinitionError):
        Updater(flags, [])


@pytest.mark.parametrize("convert", [str, lambda path: path, DirectorySource])
def test_a_source_may_be_given_in_several_forms(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], volume: ConfigMapVolume, convert: type[str]
) -> None:
    """
    Updater() accepts a source as a text path, a path object or a source object.
    """
    volume.write({"rate": "60"})
    updater = Updater(flags, convert(volume.path))
    updater.initialize()

    assert rate.get() == 60
    assert str(volume.path) in repr(updater)


def test_a_source_of_the_users_own_is_polled(flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int]) -> None:
    """
    A user's source that has only read() is read again at each check, and may return bytes.
    """

    class Counting(Broken):
        count = 0

        def read(self) -> Mapping[str, Raw]:
            self.count += 1
            return {"rate": str(self.count).encode()}

    with Updater.setup(flags, Counting(), resync_seconds=0.01) as updater:
        assert updater.wait_for(lambda snapshot: snapshot[rate] > 5, DEADLINE_SECONDS)


# --- options


@pytest.mark.parametrize(
    "options",
    [
        {"on_missing": "drop"},
        {"unknown": "raise"},
        {"resync_seconds": 0},
        {"resync_seconds": -1},
        {"resync_seconds": float("nan")},
    ],
)
def test_options_out_of_range_are_refused(flags: dflag.FlagRegistry, options: dict[str, object]) -> None:
    """
    Updater() raises a DefinitionError for an option that is out of range.
    """
    with pytest.raises(dflag.DefinitionError):
        Updater(flags, MemorySource(), **options)  # type: ignore[arg-type]


def test_atomic_applies_nothing_beside_a_bad_value(flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int]) -> None:
    """
    With atomic=True no value of a source is applied while one of them is bad; without it the good ones are.
    """
    other = flags.dyn_int("other", 0)
    source = MemorySource({"rate": "60"})
    for name, atomic, expected in (("memory", True, 0), ("second", False, 1)):
        source = MemorySource({"rate": "60"}, name=name)
        with Updater.setup(flags, source, atomic=atomic) as updater:
            source.update({"rate": "many", "other": "1"})
            revision = updater.refresh()
            assert list(revision.rejected) == ["rate"]
            assert list(updater.status().rejected) == ["rate"]
            assert (rate.get(), other.get()) == (60, expected)
            source.update({"rate": "61", "other": "2"})
            updater.refresh()
            assert (rate.get(), other.get()) == (61, 2)
            source.update({})
            flags.apply({}, source=name)


def test_an_absent_source_may_be_optional(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], tmp_path: Path
) -> None:
    """
    With required=False an absent directory is no error at start, and is followed when it appears.
    """
    volume = ConfigMapVolume(tmp_path / "a" / "b" / "late")
    with Updater.setup(flags, volume.path, required=False) as updater:
        assert rate.get() == 50
        assert not updater.status().sources[0].healthy
        volume.write({"rate": "60"})
        assert _wait(updater, rate, 60)
        assert eventually(lambda: updater.status().sources[0].healthy)


def test_required_false_does_not_excuse_bad_values(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], volume: ConfigMapVolume
) -> None:
    """
    With required=False a bad value in a source that exists still raises an UpdateError.
    """
    volume.write({"rate": "many"})
    with pytest.raises(dflag.UpdateError):
        Updater.setup(flags, volume.path, required=False)


@pytest.mark.parametrize(("on_missing", "expected"), [("keep", 60), ("reset", 50)])
@pytest.mark.parametrize("gone", ["emptied", "removed"])
def test_a_source_that_goes_keeps_or_resets(
    flags: dflag.FlagRegistry,
    rate: dflag.DynamicFlag[int],
    volume: ConfigMapVolume,
    on_missing: str,
    expected: int,
    gone: str,
) -> None:
    """
    A source that is removed or emptied keeps its values with on_missing="keep" and resets them with "reset".
    When it is back, it is followed again.
    """
    volume.write({"rate": "60"})
    with Updater.setup(flags, volume.path, on_missing=on_missing) as updater:
        if gone == "emptied":
            volume.write({})
        else:
            volume.path.rename(f"{volume.path}-away")
        updater.refresh()
        assert rate.get() == expected
        volume.write({"rate": "61"})
        assert _wait(updater, rate, 61)
        assert eventually(lambda: updater.status().sources[0].healthy)


def test_a_source_with_only_ignored_keys_left_is_not_gone(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], volume: ConfigMapVolume
) -> None:
    """
    A source that holds only an ignored key is not missing: it is healthy, and its flags have their defaults.
    """
    volume.write({"rate": "60", "_example": "text"})
    with Updater.setup(flags, volume.path) as updater:
        volume.write({"_example": "text"})
        updater.refresh()
        assert rate.get() == 50
        assert updater.status().sources[0].healthy


@pytest.mark.parametrize("on_missing", ["keep", "reset"])
def test_a_single_key_that_disappears_falls_to_the_layer_below(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], source: MemorySource, on_missing: str
) -> None:
    """
    A single key that a source drops has the value of the source below, whatever `on_missing` is.
    """
    with Updater.setup(flags, [MemorySource({"rate": "55"}, name="low"), source], on_missing=on_missing) as updater:
        source.update({"port": "9090"})
        updater.refresh()
        assert (rate.get(), rate.origin) == (55, "low")


def test_a_new_value_is_there_before_the_watch_is_seen_to(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int]
) -> None:
    """
    A new value is applied before the watch's drain() runs; a value that comes in drain() is applied by the next look.
    """
    drained: list[int] = []

    class Draining(Watch):
        def __init__(self, descriptor: int) -> None:
            self._descriptor = descriptor

        def fileno(self) -> int:
            return self._descriptor

        def drain(self) -> None:
            os.read(self._descriptor, 1)
            drained.append(rate.get())
            source.update({"rate": "62"})

    class Told(MemorySource):
        def watch(self, wake: object) -> Watch:
            return Draining(reading)

    reading, writing = os.pipe()
    source = Told({"rate": "60"})
    with Updater.setup(flags, source, resync_seconds=3600) as updater:
        source.update({"rate": "61"})
        os.write(writing, b"x")
        assert _wait(updater, rate, 62)
    os.close(reading)
    os.close(writing)

    assert drained == [61]


def test_the_status_changes_in_the_same_step_as_the_values(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A thread that sees a new value sees the counts, unknown and rejected keys of the same reading, and vice versa.
    """

    def values(number: int) -> dict[str, str]:
        return {"number": str(number), "bad": f"{number} or so", f"unknown-{number}": ""}

    number = flags.dyn_int("number", 0)
    flags.dyn_int("bad", 0)
    source = MemorySource(values(1))
    updater = Updater(flags, source, unknown="warn", resync_seconds=3600)
    monkeypatch.setattr(logging.getLogger("dflag"), "disabled", True)
    usual = sys.getswitchinterval()
    torn = []
    sys.setswitchinterval(1e-6)
    try:
        updater.start()
        for wanted in range(2, 200):
            source.update(values(wanted))
            before = 0
            while before < wanted:
                before, status, after = number.get(), updater.status(), number.get()
                told = {
                    status.updates,
                    status.errors,
                    status.warnings,
                    status.sources[0].reloads["partial"],
                    int(status.unknown[0].removeprefix("unknown-")),
                    int(str(status.rejected["bad"].raw).split()[0]),
                }
                if len(told) > 1 or not before <= min(told) <= after:
                    torn.append((before, told, after))
    finally:
        sys.setswitchinterval(usual)
        updater.stop()

    assert torn == []


def test_the_status_of_sources_that_change_together_changes_at_once(flags: dflag.FlagRegistry) -> None:
    """
    When sources change in one commit, status() never shows the new state of one and the old state of another.
    """
    sources = [MemorySource({"a": "0"}, name="low"), MemorySource({"b": "0"}, name="high")]
    for name in "ab":
        flags.dyn_int(name, 0)
    updater = Updater(flags, sources)
    updater.initialize()
    torn = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            applied = {source.reloads["applied"] for source in updater.status().sources}
            if len(applied) > 1:
                torn.append(applied)

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    looking = threading.Thread(target=look)
    looking.start()
    try:
        for number in range(1, 1000):
            sources[0].update({"a": str(number)})
            sources[1].update({"b": str(number)})
            updater.refresh()
    finally:
        sys.setswitchinterval(usual)
        done.set()
        looking.join()

    assert updater.status().updates == 2000
    assert torn == []


def test_others_go_on_once_the_values_are_there(
    flags: dflag.FlagRegistry,
    rate: dflag.DynamicFlag[int],
    source: MemorySource,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    The updater's own thread yields to others once values and status are committed; a thread in refresh() does not.
    """
    seen: list[tuple[int, int]] = []

    def yield_interpreter() -> None:
        seen.append((rate.get(), updater.status().updates))  # in the updater's own thread: no deadlock

    monkeypatch.setattr("dflag._source_layers.yield_interpreter", yield_interpreter)
    with Updater.setup(flags, source) as updater:
        updates = updater.status().updates
        source.update({"rate": "61"})
        assert _wait(updater, rate, 61)
        assert eventually(lambda: seen == [(61, updates + 1)])
    source.update({"rate": "62"})
    updater.refresh()

    assert rate.get() == 62
    assert len(seen) == 1


def test_the_status_tells_at_once_of_a_flag_that_is_declared_late(
    flags: dflag.FlagRegistry, source: MemorySource
) -> None:
    """
    When a flag is declared late and its source already holds a bad value for it, the status shows that at once.
    """
    with Updater.setup(flags, source) as updater:
        before = updater.status()
        flags.dyn_int("rate", 1, max=10)
        status = updater.status()

    assert before.unknown == ("port", "rate")
    assert (status.unknown, list(status.rejected)) == (("port",), ["rate"])
    assert status.errors == before.errors + 1


def test_a_value_refused_beside_a_broken_rule_counts_once(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], source: MemorySource
) -> None:
    """
    When a registry validator refuses sources together, each is applied alone, and a bad value of one counts once.
    """
    other = MemorySource({"rate": "61", "burst": "1"}, name="other")
    burst = flags.dyn_int("burst", 0)

    @flags.validator
    def below(snapshot: dflag.Snapshot) -> None:
        if snapshot["burst"] > 5:
            raise ValueError("too much")

    with Updater.setup(flags, [source, other]) as updater:
        errors = updater.status().errors
        source.update({"rate": "many"})
        other.update({"rate": "62", "burst": "9"})
        updater.refresh()
        updater.refresh()
        status = updater.status()

    assert (rate.get(), burst.get()) == (61, 1)
    assert list(status.rejected) == ["rate"]
    assert [bool(each.last_error) for each in status.sources] == [False, True]
    assert status.errors == errors + 2


def test_values_that_cannot_be_compared_hold_up_nothing(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], source: MemorySource
) -> None:
    """
    A static flag whose comparison raises, outside the lock, counts as pending restart, and the other flags are updated.
    """
    broken = False
    under_lock = set()

    class Odd:
        def __init__(self, text: str) -> None:
            self.text = text

        def __eq__(self, other: object) -> bool:
            if broken:
                under_lock.add(flags._store.lock._is_owned())
                raise ZeroDivisionError("cannot be compared")
            return isinstance(other, Odd) and other.text == self.text

        def __hash__(self) -> int:
            return hash(self.text)

    odd = flags.custom("odd", Odd("1"), parse=Odd)
    with Updater.setup(flags, source) as updater:
        broken = True
        source.update({"rate": "61", "odd": "2"})
        assert _wait(updater, rate, 61)
        assert updater.status().pending_restart == ("odd",)

    assert odd.get().text == "1"
    assert under_lock == {False}


def test_a_quiet_check_looks_at_no_value(
    flags: dflag.FlagRegistry, source: MemorySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A periodic check that reads nothing compares no value; refresh() does.
    """
    updater = Updater(flags, [MemorySource({"rate": "60"}, name="other"), source])
    updater.initialize()
    updater.refresh()  # reads the same once more
    compare = mock.Mock(side_effect=_batch._differ)
    monkeypatch.setattr(_batch, "_differ", compare)
    updater._cycle()
    compare.assert_not_called()
    updater.refresh()
    compare.assert_called()


def test_resync_finds_what_no_event_told(flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int]) -> None:
    """
    A source that never wakes the updater is followed by the periodic check alone.
    """

    class Silent(MemorySource):
        def watch(self, wake: object) -> dflag.sources.Watch:
            return dflag.sources.Watch()

    source = Silent({"rate": "60"})
    with Updater.setup(flags, source, resync_seconds=0.02) as updater:
        source.update({"rate": "61"})
        assert _wait(updater, rate, 61)


def test_unknown_names_are_warned_of_once(
    flags: dflag.FlagRegistry, source: MemorySource, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Each unknown name is counted and logged once, at initialize() or later, and the known keys are applied.
    """
    rate = flags.dyn_int("rate", 50)
    with Updater.setup(flags, source) as updater:
        assert (updater.status().warnings, updater.status().unknown) == (1, ("port",))
        source.update({"rate": "61", "port": "1", "new": ""})
        updater.refresh()
        source.update({"rate": "62", "port": "2", "new": ""})
        updater.refresh()
        status = updater.status()

    assert rate.get() == 62
    assert (status.warnings, status.errors, status.unknown) == (2, 0, ("new", "port"))
    assert sum("'port'" in record.getMessage() or " port" in record.getMessage() for record in caplog.records) == 1


def test_an_unknown_name_counts_once_however_often_it_is_met(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], caplog: pytest.LogCaptureFixture
) -> None:
    """
    An unknown name is one warning although two sources hold it, initialize() runs twice, and it goes and comes back.
    """
    first = MemorySource({"rate": "many", "nope": "1"}, name="first")
    second = MemorySource({"nope": "2"}, name="second")
    updater = Updater(flags, [first, second])
    with pytest.raises(dflag.UpdateError):
        updater.initialize()
    assert (updater.status().warnings, caplog.messages) == (0, [])
    first.update({"rate": "60", "nope": "1"})
    updater.initialize()
    with updater:
        for values in ({"rate": "61"}, {"rate": "62", "nope": "3"}):
            first.update(values)
            second.update(values)
            updater.refresh()
        assert updater.status().unknown == ("nope",)
        assert (updater.status().warnings, updater.status().errors) == (1, 0)

    assert rate.get() == 62
    assert [text for text in caplog.messages if "'nope'" in text] == ["unknown key 'nope' in first"]


def test_unknown_names_may_be_ignored(
    flags: dflag.FlagRegistry, source: MemorySource, caplog: pytest.LogCaptureFixture
) -> None:
    """
    With unknown="ignore" unknown names are neither logged nor counted.
    """
    with Updater.setup(flags, source, unknown="ignore") as updater:
        assert updater.status().warnings == 0

    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_unknown_names_may_be_errors(flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int]) -> None:
    """
    With unknown="error" initialize() lists each name as an UnknownFlagError, changing nothing; later ones are warnings.
    """
    source = MemorySource({"rate": "60", "rat": "1", "abc": ""})
    updater = Updater(flags, source, unknown="error")
    with pytest.raises(dflag.UpdateError) as caught:
        updater.initialize()
    assert [type(error) for error in caught.value.errors] == [dflag.UnknownFlagError] * 2
    assert "rat" in str(caught.value)
    assert rate.get() == 50
    source.update({"rate": "60"})
    with updater:
        source.update({"rate": "61", "late": ""})
        assert _wait(updater, rate, 61)
        assert eventually(lambda: updater.status().warnings == 1)


def test_keys_may_be_ignored_by_pattern(flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int]) -> None:
    """
    Keys that match a pattern of `ignore` set no flag, and are neither unknown nor part of the checksum.
    """
    ignored = flags.dyn_string("doc.a", "default")
    source = MemorySource({"rate": "60", "_example": "x", "doc.a": "", "doc.b": ""})
    with Updater.setup(flags, source, ignore=("_example", "doc.*")) as updater:
        assert (rate.get(), ignored.get()) == (60, "default")
        assert updater.status().unknown == ()
        checksum = updater.status().sources[0].checksum
        source.update({"rate": "60", "_example": "y"})
        updater.refresh()
        assert updater.status().sources[0].checksum == checksum
        source.update({"rate": "61"})
        updater.refresh()
        assert updater.status().sources[0].checksum != checksum


def test_the_example_key_is_ignored_by_default(flags: dflag.FlagRegistry) -> None:
    """
    The key ``_example``, which holds documentation, is not an unknown name by default.
    """
    updater = Updater(flags, MemorySource({"_example": "rate: 1"}))
    updater.initialize()

    assert updater.status().unknown == ()


# --- what the Go library's updater does


def test_a_binary_flag_takes_its_file_verbatim(flags: dflag.FlagRegistry, volume: ConfigMapVolume) -> None:
    """
    A bytes flag has the bytes of its file unchanged, white space included.
    """
    blob = flags.dyn_bytes("blob", b"")
    raw = bytes(range(256)) + b" \n"
    volume.write({"blob": raw})
    with Updater.setup(flags, volume.path) as updater:
        assert blob.get() == raw
        volume.write({"blob": b"\n\xff"})
        assert updater.wait_for(lambda snapshot: snapshot[blob] == b"\n\xff", DEADLINE_SECONDS)


def test_a_flag_declared_late_gets_its_value(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], source: MemorySource
) -> None:
    """
    A flag that is declared while the updater runs gets the value that its source already holds.
    """
    source.update({"rate": "60", "late": "5"})
    with Updater.setup(flags, source) as updater:
        late = flags.dyn_int("late", 1)
        assert _wait(updater, late, 5)


# --- resources


def test_many_lives_leave_no_descriptor(flags: dflag.FlagRegistry, volume: ConfigMapVolume) -> None:
    """
    Starting and stopping 20 times, with swaps in between, leaves as many descriptors and threads as before.
    """
    flags.dyn_int("rate", 0)
    volume.write({"rate": "0"})
    updater = Updater(flags, volume.path)
    with updater:
        pass
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    for number in range(20):
        with updater:
            volume.write({"rate": str(number)})
    assert eventually(lambda: (len(os.listdir("/proc/self/fd")), threading.active_count()) == before)


def test_a_file_system_that_hangs_is_not_healthy(
    flags: dflag.FlagRegistry, volume: ConfigMapVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    While a check of the source hangs, status() shows it as unhealthy with the reason; when the check ends, as healthy.
    """
    rate = flags.dyn_int("rate", 0)
    volume.write({"rate": "1"})
    monkeypatch.setattr(_updater, "_OVERDUE_SECONDS", 0.2)
    entered, leave = threading.Event(), threading.Event()
    real = DirectorySource.probe

    def probe(self: DirectorySource) -> object:
        if not leave.is_set() and threading.current_thread().name == "dflag-updater":
            entered.set()
            leave.wait(4 * DEADLINE_SECONDS)
        return real(self)

    with dflag.Updater(flags, volume.path, resync_seconds=0.05) as updater:
        assert updater.status().sources[0].healthy
        monkeypatch.setattr(DirectorySource, "probe", probe)
        assert entered.wait(DEADLINE_SECONDS)
        before = updater._fingerprint(3600.0)
        assert eventually(lambda: not updater.status().sources[0].healthy)
        assert updater._fingerprint(3600.0) != before
        assert "no look at it has ended for more than 0.3 s" in (updater.status().sources[0].last_error or "")
        volume.write({"rate": "2"})
        leave.set()
        assert updater.wait_for(lambda snapshot: snapshot[rate] == 2, DEADLINE_SECONDS)
        assert eventually(lambda: updater.status().sources[0].healthy)
        assert updater.status().sources[0].last_error is None
    assert updater.status().sources[0].healthy


def test_a_start_refuses_what_an_earlier_updater_passed_over(flags: dflag.FlagRegistry) -> None:
    """
    initialize() refuses a bad value that an earlier updater has skipped, and applies nothing of the other sources.
    """
    flags.dyn_int("rate", 1)
    burst = flags.dyn_int("burst", 1)
    one, two = MemorySource({"rate": "many"}, name="one"), MemorySource({"burst": "2"}, name="two")
    earlier = dflag.Updater(flags, one, on_bad_start="skip")
    earlier.initialize()
    earlier.stop()
    with pytest.raises(dflag.UpdateError) as refused:
        dflag.Updater(flags, [one, two]).initialize()
    assert [error.flag_name for error in refused.value.errors] == ["rate"]
    assert (burst.get(), burst.origin) == (1, "default")


def test_refresh_returns_what_a_registry_validator_has_refused(flags: dflag.FlagRegistry) -> None:
    """
    refresh() returns the registry validator's error, as apply() does, until the source has its old values again.
    """
    rate, limit = flags.dyn_int("rate", 1), flags.dyn_int("limit", 5)

    @flags.validator
    def _below_limit(snapshot: dflag.Snapshot) -> None:
        if snapshot[rate] > snapshot[limit]:
            raise ValueError("rate is above limit")

    source = MemorySource({"rate": "2"})
    updater = dflag.Updater(flags, source)
    updater.initialize()
    first = updater.refresh()
    source.update({"rate": "9"})
    for _ in range(2):
        refused = updater.refresh()
        assert "rate is above limit" in str(refused.error)
        assert (refused.changed, refused.number, rate.get()) == ((), first.number, 2)
    source.update({"rate": "2"})
    assert updater.refresh() is first


def test_of_two_revisions_of_one_number_refresh_returns_the_one_with_a_fault(flags: dflag.FlagRegistry) -> None:
    """
    When two sources are committed together, refresh() returns the revision with a rejected value, not the other one.
    """
    flags.dyn_int("rate", 1)
    flags.dyn_int("limit", 5)
    one, two = MemorySource({}, name="one"), MemorySource({}, name="two")
    updater = dflag.Updater(flags, [one, two])
    updater.initialize()
    one.update({"rate": "2"})
    two.update({"limit": "many"})
    assert list(updater.refresh().rejected) == ["limit"]


def test_what_a_refresh_has_read_before_a_restart_never_follows_what_was_read_since(
    flags: dflag.FlagRegistry, volume: ConfigMapVolume
) -> None:
    """
    A refresh() that a slow validator delays does not overwrite the newer value of an updater started meanwhile.
    """
    inside, gate = threading.Event(), threading.Event()

    def hang(value: int) -> None:
        if value == 2 and threading.current_thread().name == "refreshing":
            inside.set()
            gate.wait(DEADLINE_SECONDS)

    rate = flags.dyn_int("rate", 0, validator=hang)
    volume.write({"rate": "1"})
    with dflag.Updater.setup(flags, volume.path) as updater:
        updater.stop()
        volume.write({"rate": "2"})
        refreshing = threading.Thread(target=updater.refresh, name="refreshing")
        refreshing.start()
        assert inside.wait(DEADLINE_SECONDS)
        updater.start()
        volume.write({"rate": "3"})
        assert updater.wait_for(lambda snap: snap[rate] == 3, DEADLINE_SECONDS)
        gate.set()
        refreshing.join(DEADLINE_SECONDS)
        assert rate.get() == 3


def test_a_start_that_is_overtaken_leaves_the_watch_of_the_other_alone(
    flags: dflag.FlagRegistry, volume: ConfigMapVolume
) -> None:
    """
    When another thread stops and starts the updater amid a start(), the first start() leaves the new watch open.
    """
    inside, gate = threading.Event(), threading.Event()

    class Slow(DirectorySource):
        def why_not_live(self) -> str | None:
            if threading.current_thread().name == "overtaken":
                inside.set()
                gate.wait(DEADLINE_SECONDS)
            return super().why_not_live()

    rate = flags.dyn_int("rate", 0)
    volume.write({"rate": "1"})
    updater = dflag.Updater(flags, Slow(volume.path), resync_seconds=60)
    updater.initialize()
    overtaken = threading.Thread(target=updater.start, name="overtaken")
    overtaken.start()
    assert inside.wait(DEADLINE_SECONDS)
    updater.stop()
    updater.start()
    gate.set()
    overtaken.join(DEADLINE_SECONDS)
    with updater:
        assert updater.status().sources[0].watched != "not watched"
        volume.write({"rate": "2"})
        assert updater.wait_for(lambda snap: snap[rate] == 2, DEADLINE_SECONDS)


def test_stop_within_refresh_waits_for_nothing(flags: dflag.FlagRegistry, volume: ConfigMapVolume) -> None:
    """
    stop() in a validator amid refresh() returns soon: the updater's thread, which waits to read, ends instead.
    """
    stopped: list[float] = []

    def stop(value: int) -> None:
        if value == 2 and not stopped and threading.current_thread() is threading.main_thread():
            began = time.monotonic()
            updater.stop()
            stopped.append(time.monotonic() - began)

    flags.dyn_int("rate", 0, validator=stop)
    volume.write({"rate": "1"})
    updater = dflag.Updater.setup(flags, volume.path, resync_seconds=0.01)
    with updater._read_gate.lock:
        volume.write({"rate": "2"})
        updater.refresh()
    assert stopped[0] < 4
    assert not any(thread.name == "dflag-updater" for thread in threading.enumerate())


def test_an_updater_that_cannot_have_all_its_sources_has_none(flags: dflag.FlagRegistry) -> None:
    """
    When one source of an updater is already followed, Updater() raises and leaves the other sources free.
    """
    one, two = MemorySource({}, name="one"), MemorySource({}, name="two")
    with dflag.Updater.setup(flags, two):
        with pytest.raises(dflag.DefinitionError) as refused:
            dflag.Updater(flags, [one, two])
        dflag.Updater(flags, one).initialize()
        assert "already followed" in str(refused.value)


@pytest.mark.parametrize("seconds", [1e10, 10**400, float("inf")])
def test_the_longest_waits_end_when_there_is_nothing_to_wait_for_any_more(
    flags: dflag.FlagRegistry, seconds: float
) -> None:
    """
    wait_for(), flush() and stop() accept more seconds than a lock can wait, and return when the wait is over.
    """
    rate, called = flags.dyn_int("rate", 0), threading.Event()
    rate.on_change(lambda _old, _new: called.wait(DEADLINE_SECONDS) and None)
    source = MemorySource({"rate": "1"})
    updater = dflag.Updater.setup(flags, source, resync_seconds=min(seconds, 1e10))
    waiting = threading.Thread(target=lambda: [updater.wait_for(lambda snap: snap[rate] == 2, seconds), called.set()])
    waiting.start()
    source.update({"rate": "2"})
    assert flags.flush(seconds)
    waiting.join(DEADLINE_SECONDS)
    assert called.is_set()
    assert updater.status().sources[0].last_error is None
    updater.stop(seconds)


def test_what_a_revision_rejects_cannot_be_changed(flags: dflag.FlagRegistry) -> None:
    """
    A caller cannot change `rejected` of a revision, which later calls of refresh() return too.
    """
    flags.dyn_int("rate", 0)
    source = MemorySource({})
    updater = dflag.Updater(flags, source)
    updater.initialize()
    source.update({"rate": "many"})
    rejected: Any = updater.refresh().rejected
    with pytest.raises(TypeError):
        rejected.clear()
    assert list(updater.refresh().rejected) == ["rate"]


def test_the_name_of_a_source_is_a_plain_text(flags: dflag.FlagRegistry) -> None:
    """
    A source name that is a member of a ``str`` enumeration becomes a plain str in `origin` and in the status.
    """

    class Name(str, enum.Enum):  # noqa: UP042 - a StrEnum prints as the text that it is
        CONFIG = "config"

    class Named(MemorySource):
        name = Name.CONFIG

    rate = flags.dyn_int("rate", 0)
    with dflag.Updater.setup(flags, Named({"rate": "1"})) as updater:
        assert (type(rate.origin), rate.origin) == (str, "config")
        assert type(updater.status().sources[0].name) is str
