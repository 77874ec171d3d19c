"""
Changes that an operator makes to a volume, and what the flags of a running program do then.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import os
import shutil
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

import dflag
from dflag import Updater
from dflag.sources import DirectorySource, MemorySource
from dflag.testing import ConfigMapVolume

from ._waiting import DEADLINE_SECONDS, eventually, run_python

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dflag.sources import Watch
    from dflag.typing import Wake

Calls = list[tuple[str, object, object]]


@pytest.fixture(name="calls")
def _calls(flags: dflag.FlagRegistry) -> Calls:
    """
    Declare the flags of these tests and return the list of the calls of their callbacks.
    """
    calls: Calls = []

    def note(name: str) -> dflag.typing.Callback[object]:
        return lambda old, new: calls.append((name, old, new))

    for flag in (
        flags.dyn_int("a", 0),
        flags.dyn_int("b", 0),
        flags.dyn_string("text", "default"),
        flags.dyn_bool("on", default=False),
    ):
        flag.on_change(note(flag.name))
    flags.int("port", 8080)
    return calls


@pytest.fixture(name="updater")
def _updater(flags: dflag.FlagRegistry, calls: Calls, volume: ConfigMapVolume) -> Iterator[Updater]:
    """
    Yield an updater that follows a volume with two of the flags; the list of calls is cleared first.
    """
    volume.write({"a": "1", "text": "x"})
    with Updater.setup(flags, volume.path) as updater:
        assert flags.flush(DEADLINE_SECONDS)
        calls.clear()
        yield updater


def _shows(updater: Updater, **values: object) -> bool:
    return updater.wait_for(
        lambda snapshot: all(snapshot[name] == value for name, value in values.items()), DEADLINE_SECONDS
    )


def _told(flags: dflag.FlagRegistry, calls: Calls) -> Calls:
    assert flags.flush(DEADLINE_SECONDS)
    return calls


# --- V1 to V13: what a publication does; what a writer leaves at each step is in tests/torture


def test_one_key_updated_is_one_change(
    flags: dflag.FlagRegistry, calls: Calls, volume: ConfigMapVolume, updater: Updater
) -> None:
    """
    V1: a change of one key runs exactly one callback, with the old value and the new one.
    """
    volume.update(a="2")

    assert _shows(updater, a=2)
    assert _told(flags, calls) == [("a", 1, 2)]


def test_many_keys_updated_are_one_batch(flags: dflag.FlagRegistry, tmp_path: Path) -> None:
    """
    V2: under a busy writer no snapshot, no callback and no reader of two flags sees values of two publications.
    """
    names = [f"f{number}" for number in range(30)]
    handles = [flags.dyn_int(name, 0) for name in names]
    mixed: list[object] = []

    def check(_old: int, _new: int) -> None:
        with flags.pinned():
            if len({handle.get() for handle in handles}) != 1:
                mixed.append("callback")

    handles[0].on_change(check)
    volume = ConfigMapVolume(tmp_path)
    volume.write(dict.fromkeys(names, "0"))
    first, last = handles[0], handles[-1]
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            new, old = first.get(), last.get()
            if old < new:  # a new value was read, then an older one of another flag
                mixed.append((new, old))
            snapshot = flags.snapshot()
            if len({snapshot[handle] for handle in handles}) != 1:
                mixed.append("snapshot")

    reader = threading.Thread(target=read)
    # With the usual switch interval the writer would wait for the reader after each system call.
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    with Updater.setup(flags, volume.path) as updater:
        reader.start()
        try:
            for number in range(1, 60):
                volume.write(dict.fromkeys(names, str(number)))
            assert _shows(updater, f0=59, f29=59)
        finally:
            sys.setswitchinterval(interval)
            done.set()
            reader.join()
        assert flags.flush(DEADLINE_SECONDS)

    assert not mixed


def test_an_unchanged_rewrite_changes_nothing(
    flags: dflag.FlagRegistry, calls: Calls, volume: ConfigMapVolume, updater: Updater
) -> None:
    """
    V4, V35, V41: the same contents, with other modes or in a new directory, run no validator and no callback.
    """
    asked: list[object] = []
    flags["a"].validator(asked.append)
    asked.clear()
    before = updater.refresh()
    volume.write({"a": "1", "text": "x"})
    (volume.path / "a").chmod(0o600)
    data = volume.path / "..data"
    shutil.copytree(data, volume.path / "..copy")
    (volume.path / "..data_tmp").symlink_to("..copy")
    (volume.path / "..data_tmp").rename(data)

    assert updater.refresh() is before
    assert not _told(flags, calls)
    assert not asked


def test_a_key_added_is_picked_up_by_itself(calls: Calls, volume: ConfigMapVolume, updater: Updater) -> None:
    """
    V5: a key that a swap adds is applied.
    """
    volume.update(b="7")

    assert _shows(updater, b=7)


def test_a_key_removed_shows_the_default(
    flags: dflag.FlagRegistry, calls: Calls, volume: ConfigMapVolume, updater: Updater, caplog: pytest.LogCaptureFixture
) -> None:
    """
    V6: when its key is removed, the flag returns to its default with one callback, and the log names the flag.
    """
    with caplog.at_level(logging.INFO, "dflag"):
        volume.remove("text")
        assert _shows(updater, text="default")
        assert _told(flags, calls) == [("text", "x", "default")]
        assert eventually(lambda: any("text" in record.getMessage() for record in caplog.records))


def test_all_keys_removed_keeps_the_values(
    flags: dflag.FlagRegistry, calls: Calls, volume: ConfigMapVolume, updater: Updater
) -> None:
    """
    V7, V19: the values stay when all keys are removed, as when an optional ConfigMap is deleted, until new ones come.
    """
    volume.write({})
    assert eventually(lambda: not updater.status().sources[0].healthy)
    assert flags["a"].get() == 1
    volume.write({"a": "2", "text": "x"})

    assert _shows(updater, a=2)
    assert _told(flags, calls) == [("a", 1, 2)]
    assert eventually(lambda: updater.status().sources[0].healthy)


def test_a_key_deleted_and_added_again_ends_where_it_was(
    flags: dflag.FlagRegistry, calls: Calls, volume: ConfigMapVolume
) -> None:
    """
    V8: a key that is removed and added again between two looks runs no callback.
    """
    volume.write({"a": "1", "text": "x"})
    updater = Updater(flags, volume.path)
    updater.initialize()
    assert flags.flush(DEADLINE_SECONDS)
    calls.clear()
    volume.remove("text")
    volume.update(text="x")
    updater.refresh()

    assert not _told(flags, calls)


def test_keys_that_are_no_flags_change_nothing(volume: ConfigMapVolume, calls: Calls, updater: Updater) -> None:
    """
    V10, V11, V12: nested keys, dot files and stray directories are neither flags nor unknown names.
    """
    for number in range(3):
        (volume.path / f"..2020_01_01_00_00_0{number}.1").mkdir()
    (volume.path / "..2020_01_01_00_00_01.1" / "a").write_text("13")
    volume.update({"a": "2", "foo/a": "13", ".a": "13", ".hidden": ""})

    assert _shows(updater, a=2)
    assert updater.status().unknown == ()


def test_a_frozen_volume_keeps_its_values(volume: ConfigMapVolume, calls: Calls, updater: Updater) -> None:
    """
    V13: when a stale ``..data_tmp`` stops the kubelet, the values stay and the source is healthy.
    """
    (volume.path / "..data_tmp").symlink_to("..nowhere")
    with pytest.raises(FileExistsError):
        volume.update(a="2")
    updater.refresh()

    assert _shows(updater, a=1)
    assert updater.status().sources[0].healthy


# --- V16 to V23: a source in trouble


def test_a_lost_race_keeps_the_values_and_is_tried_again(
    volume: ConfigMapVolume, calls: Calls, updater: Updater, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    V16: a writer that always wins the race is one error and causes no busy loop; its values are applied once it stops.
    """
    fstat = os.fstat
    reads = 0

    def losing(descriptor: int) -> os.stat_result:
        nonlocal reads
        reads += 1
        return os.stat("/") if fstat(descriptor).st_mode & 0o40000 else fstat(descriptor)

    monkeypatch.setattr(os, "fstat", losing)
    volume.update(a="2")
    assert eventually(lambda: not updater.status().sources[0].healthy)
    began = reads
    threading.Event().wait(0.3)  # proves a negative: it does not spin
    assert reads - began < 100
    assert updater.status().errors == 1
    assert _shows(updater, a=1)
    monkeypatch.undo()

    assert _shows(updater, a=2)


@pytest.mark.parametrize("required", [True, False])
def test_a_directory_absent_at_start(
    flags: dflag.FlagRegistry, calls: Calls, tmp_path: Path, *, required: bool
) -> None:
    """
    V17, V18: an absent volume raises, or is followed when it appears if not required; an empty volume is followed too.
    """
    volume = ConfigMapVolume(tmp_path / "late")
    if required:
        with pytest.raises(dflag.SourceError):
            Updater.setup(flags, volume.path)
        volume.write({})
    with Updater.setup(flags, volume.path, required=required) as updater:
        volume.write({"a": "2"})
        assert _shows(updater, a=2)
        volume.write({"a": "3"})
        assert _shows(updater, a=3)


def test_a_directory_removed_and_made_again_is_followed(
    volume: ConfigMapVolume, calls: Calls, updater: Updater
) -> None:
    """
    V20: the values stay while the directory is removed, and each time that it is made again it is followed.
    """
    for number in range(2, 5):
        shutil.rmtree(volume.path)
        assert eventually(lambda: not updater.status().sources[0].healthy)
        assert _shows(updater, a=number - 1)
        volume.write({"a": str(number), "text": "x"})
        assert _shows(updater, a=number)


def test_a_directory_replaced_by_rename_is_followed(
    volume: ConfigMapVolume, calls: Calls, updater: Updater, tmp_path: Path
) -> None:
    """
    V20: a directory that is renamed to the path of the source is followed from then on.
    """
    other = ConfigMapVolume(tmp_path / "other")
    other.write({"a": "2"})
    volume.path.rename(tmp_path / "away")
    other.path.rename(volume.path)
    assert _shows(updater, a=2)
    volume.write({"a": "3"})

    assert _shows(updater, a=3)


def test_a_plain_directory_works_file_by_file(flags: dflag.FlagRegistry, calls: Calls, tmp_path: Path) -> None:
    """
    V21: files that are written, renamed over or removed are followed; files that editors leave are not unknown keys.
    """
    (tmp_path / "a").write_text("1\n")
    with Updater.setup(flags, DirectorySource(tmp_path, settle_seconds=0.03)) as updater:
        assert _shows(updater, a=1)
        (tmp_path / ".a.tmp").write_text("2\n")
        (tmp_path / ".a.tmp").rename(tmp_path / "a")
        for name in (".a.swp", ".#a", "a~", "#a#"):
            (tmp_path / name).write_text("13")
        assert _shows(updater, a=2)
        assert updater.status().unknown == ()
        (tmp_path / "b").write_text("3")
        assert _shows(updater, a=2, b=3)
        (tmp_path / "a").unlink()
        assert _shows(updater, a=0, b=3)


def test_a_plain_file_written_in_place_never_shows_a_half(
    flags: dflag.FlagRegistry, calls: Calls, tmp_path: Path
) -> None:
    """
    V22: a file truncated and written in pieces shows the old value, then the whole new one.
    """
    (tmp_path / "text").write_text("0" * 20)
    with Updater.setup(flags, DirectorySource(tmp_path, settle_seconds=0.15)) as updater:
        assert _shows(updater, text="0" * 20)
        assert flags.flush(DEADLINE_SECONDS)
        calls.clear()
        for digit in "123":
            with (tmp_path / "text").open("w") as file:
                for _ in range(20):
                    file.write(digit)
                    file.flush()
                    time.sleep(0.001)  # the pace of a slow writer
        assert _shows(updater, text="3" * 20)
        assert updater.status().errors == 0

    assert all(new in {"1" * 20, "2" * 20, "3" * 20} for _, _, new in _told(flags, calls))


# --- V24 to V35: values


def test_text_is_read_as_documented(flags: dflag.FlagRegistry, volume: ConfigMapVolume) -> None:
    """
    V25, V26: a byte order mark, outer white space and carriage returns are removed; inner white space stays.
    """
    number, text = flags.dyn_int("number", 0), flags.dyn_string("text", "")
    kept = flags.dyn_string("kept", "", strip=False)
    volume.write({"number": b"\xef\xbb\xbf 42 \r\n", "text": "\r\n two  words\tin\r\nlines \n", "kept": " x \n"})
    Updater(flags, volume.path).initialize()

    assert (number.get(), text.get(), kept.get()) == (42, "two  words\tin\r\nlines", " x \n")


def test_an_empty_file_is_an_empty_text(flags: dflag.FlagRegistry, calls: Calls, volume: ConfigMapVolume) -> None:
    """
    V27: an empty file is a value for a string flag, and is rejected for an int and a bool flag.
    """
    volume.write({"a": "1", "on": "yes", "text": "x"})
    with Updater.setup(flags, volume.path) as updater:
        volume.write({"a": "", "on": "\n", "text": ""})
        assert _shows(updater, text="", a=1, on=True)
        assert eventually(lambda: list(updater.status().rejected) == ["a", "on"])


@pytest.mark.untraced
def test_thousands_of_keys_and_a_large_one_take_bounded_time(flags: dflag.FlagRegistry, tmp_path: Path) -> None:
    """
    V28: five thousand flags and a text of a MiB are set up and changed in less than five seconds.
    """
    names = [f"f{number}" for number in range(5000)]
    for name in names:
        flags.dyn_int(name, 0)
    flags.dyn_string("large", "")
    volume = ConfigMapVolume(tmp_path / "volume")
    volume.write({**dict.fromkeys(names, "1"), "large": "x" * 2**20})
    began = time.monotonic()
    with Updater.setup(flags, volume.path) as updater:
        volume.write({**dict.fromkeys(names, "2"), "large": "y" * 2**20})
        assert _shows(updater, f4999=2)
    elapsed = time.monotonic() - began

    assert elapsed < 5.0


def test_unknown_keys_do_not_stop_the_watch(
    volume: ConfigMapVolume, calls: Calls, updater: Updater, caplog: pytest.LogCaptureFixture
) -> None:
    """
    V29: an unknown key is one warning, not one for each publication, and the other keys are applied.
    """
    for number in range(2, 5):
        volume.update({"a": str(number), "stranger": str(number)})
        assert _shows(updater, a=number)
    assert eventually(lambda: updater.status().warnings == 1)

    assert updater.status().errors == 0
    assert sum("stranger" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize("atomic", [False, True])
def test_a_bad_value_among_good_ones_follows_the_policy(
    flags: dflag.FlagRegistry, calls: Calls, volume: ConfigMapVolume, *, atomic: bool
) -> None:
    """
    V31: the good values next to bad ones are applied, or none with atomic=True; the next good set is applied whole.
    """
    volume.write({"a": "1", "b": "1", "text": "x"})
    with Updater.setup(flags, volume.path, atomic=atomic) as updater:
        volume.write({"a": "one", "b": "two", "text": "y"})
        assert eventually(lambda: list(updater.status().rejected) == ["a", "b"])
        assert _shows(updater, a=1, b=1, text="x" if atomic else "y")
        volume.write({"a": "2", "b": "3", "text": "z"})
        assert _shows(updater, a=2, b=3, text="z")
        assert eventually(lambda: not updater.status().rejected)


def test_a_rule_across_flags_refuses_the_whole_set(
    flags: dflag.FlagRegistry, calls: Calls, volume: ConfigMapVolume
) -> None:
    """
    V32, V33: a set that a registry validator refuses is refused whole: by an error at start, later in the status.
    """

    @flags.validator
    def _ordered(snapshot: dflag.Snapshot) -> None:
        if snapshot["a"] > snapshot["b"]:
            raise ValueError("a may not exceed b")

    volume.write({"a": "2", "b": "1"})
    with pytest.raises(dflag.UpdateError, match="may not exceed"):
        Updater.setup(flags, volume.path)
    volume.write({"a": "1", "b": "2"})
    with Updater.setup(flags, volume.path) as updater:
        volume.write({"a": "5", "b": "4", "text": "y"})
        assert eventually(lambda: "may not exceed" in str(updater.status().sources[0].last_error))
        assert _shows(updater, a=1, b=2, text="default")
        assert updater.status().errors == 1
        volume.write({"a": "5", "b": "6"})
        assert _shows(updater, a=5, b=6)
        assert eventually(lambda: updater.status().sources[0].last_error is None)


def test_an_applied_rollback_restores_the_values(
    flags: dflag.FlagRegistry, calls: Calls, volume: ConfigMapVolume, updater: Updater
) -> None:
    """
    L6: publishing the previous set again restores its values, its checksum and the checksum of the registry.
    """
    before = updater.refresh().checksum, flags.checksum()
    volume.write({"a": "2", "b": "3"})
    assert _shows(updater, a=2, b=3, text="default")
    assert updater.refresh().checksum != before[0]
    volume.write({"a": "1", "text": "x"})
    assert _shows(updater, a=1, b=0, text="x")

    assert (updater.refresh().checksum, flags.checksum()) == before


# --- V36 to V46: watching


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOSPC, errno.ENOSYS])
def test_without_events_the_check_is_enough(
    flags: dflag.FlagRegistry,
    calls: Calls,
    volume: ConfigMapVolume,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    number: int,
) -> None:
    """
    V36: when no watch works, the volume is polled, which is logged once and shown in the status.
    """
    import watchdog.observers.inotify_c

    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    for name in ("inotify_init", "inotify_add_watch"):
        if hasattr(watchdog.observers.inotify_c, name):
            monkeypatch.setattr(watchdog.observers.inotify_c, name, fail)
    volume.write({"a": "1"})
    with Updater.setup(flags, volume.path, resync_seconds=0.05) as updater:
        volume.write({"a": "2"})
        assert _shows(updater, a=2)
        assert updater.status().sources[0].degraded
        assert updater.status().sources[0].healthy

    assert sum(record.levelno >= logging.WARNING for record in caplog.records) == 1


def test_lost_events_are_made_up_for(flags: dflag.FlagRegistry, calls: Calls, volume: ConfigMapVolume) -> None:
    """
    V38: when every event is lost, the periodic check still applies each change.
    """

    class Deaf(DirectorySource):
        def watch(self, wake: Wake) -> Watch:
            return super(DirectorySource, self).watch(wake)

    volume.write({"a": "1"})
    with Updater.setup(flags, Deaf(volume.path), resync_seconds=0.05) as updater:
        for number in range(2, 5):
            volume.write({"a": str(number)})
            assert _shows(updater, a=number)


@pytest.mark.untraced
def test_a_storm_is_coalesced_and_the_last_write_wins(
    flags: dflag.FlagRegistry, calls: Calls, volume: ConfigMapVolume, updater: Updater
) -> None:
    """
    V39: hundreds of publications cost bounded work, run callbacks in order, and end on the last value.
    """
    busy = time.process_time()
    for number in range(2, 302):
        volume.write({"a": str(number), "text": "x"})
    assert _shows(updater, a=301)
    told = _told(flags, calls)

    assert time.process_time() - busy < 5.0
    assert len(told) <= 300
    assert [new for _, _, new in told] == sorted(new for _, _, new in told if isinstance(new, int))
    assert all(later[1] == earlier[2] for earlier, later in itertools.pairwise(told))
    assert updater.status().errors == 0


def test_an_idle_updater_costs_next_to_nothing(volume: ConfigMapVolume, calls: Calls, updater: Updater) -> None:
    """
    V39: while nothing changes, an updater uses next to no CPU time.
    """
    busy = time.process_time()
    threading.Event().wait(0.5)  # proves a negative

    assert time.process_time() - busy < 0.1


def test_two_volumes_have_a_fixed_precedence(flags: dflag.FlagRegistry, calls: Calls, tmp_path: Path) -> None:
    """
    V40, L5: the upper volume wins, whichever changed last; a key that it drops has the value of the lower volume.
    """
    lower, upper = ConfigMapVolume(tmp_path / "lower"), ConfigMapVolume(tmp_path / "upper")
    lower.write({"a": "1", "b": "1"})
    upper.write({"a": "2", "text": "x"})
    with Updater.setup(flags, [lower.path, upper.path], resync_seconds=0.05) as updater:
        assert _shows(updater, a=2, b=1)
        lower.write({"a": "3", "b": "3"})
        assert _shows(updater, a=2, b=3)
        upper.remove("a")
        assert _shows(updater, a=3, b=3, text="x")
        threading.Event().wait(0.12)  # proves a negative: a re-sync undoes nothing
        assert _shows(updater, a=3, b=3, text="x")


@pytest.mark.parametrize("times", [(0, 0), (2**33, 2**33), (-1, -1)])
def test_odd_times_are_irrelevant(
    volume: ConfigMapVolume, calls: Calls, updater: Updater, times: tuple[int, int]
) -> None:
    """
    V42: a swap is applied whatever the times of its directory and files are.
    """
    steps = volume.steps({"a": "2"})
    for step in steps:
        if step == "set modes":
            for directory in volume.path.glob("..2*"):
                os.utime(directory, times)
                for file in directory.iterdir():
                    os.utime(file, times)

    assert _shows(updater, a=2)


@pytest.mark.untraced
def test_thousands_of_reloads_leak_nothing(
    flags: dflag.FlagRegistry, calls: Calls, volume: ConfigMapVolume, updater: Updater
) -> None:
    """
    V43: thousands of reloads leave as many threads and open descriptors as before, and stop takes less than a second.
    """
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for number in range(500):
        volume.write({"a": str(number), "text": "x"})
        updater.refresh()
    for _ in range(1500):
        updater.refresh()
    assert flags.flush(DEADLINE_SECONDS)
    assert eventually(lambda: len(os.listdir("/proc/self/fd")) == descriptors)
    assert eventually(lambda: threading.active_count() <= threads)
    began = time.monotonic()
    updater.stop()

    assert time.monotonic() - began < 1.0


def test_the_right_directory_is_followed_after_chdir_through_links(
    flags: dflag.FlagRegistry, calls: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    V44: a relative path keeps its meaning after chdir, and a parent link that is swapped is followed to its new target.
    """
    one, two = ConfigMapVolume(tmp_path / "one" / "flags"), ConfigMapVolume(tmp_path / "two" / "flags")
    one.write({"a": "1"})
    two.write({"a": "2"})
    (tmp_path / "current").symlink_to("one")
    monkeypatch.chdir(tmp_path)
    with Updater.setup(flags, "current/flags", resync_seconds=0.05) as updater:
        monkeypatch.chdir("/")
        one.write({"a": "3"})
        assert _shows(updater, a=3)
        (tmp_path / "next").symlink_to("two")
        (tmp_path / "next").rename(tmp_path / "current")
        assert _shows(updater, a=2)
        two.write({"a": "4"})
        assert _shows(updater, a=4)


def test_a_sibling_with_the_same_beginning_is_no_concern(
    volume: ConfigMapVolume, calls: Calls, updater: Updater
) -> None:
    """
    V45: writing to ``config2`` or ``config_a`` does not change the flags of ``config``, and makes no error or warning.
    """
    ConfigMapVolume(f"{volume.path}2").write({"a": "13"})
    (volume.path.parent / f"{volume.path.name}_a").write_text("13")
    volume.update(b="1")

    assert _shows(updater, a=1, b=1)
    assert (updater.status().errors, updater.status().warnings) == (0, 0)


# --- the library


def test_callbacks_and_validators_that_raise_do_not_stop_the_rest(
    flags: dflag.FlagRegistry, calls: Calls, volume: ConfigMapVolume, updater: Updater
) -> None:
    """
    L1: a validator that raises rejects its flag alone, a callback that raises nothing, and updates go on.
    """

    @flags["a"].validator
    def _even(value: int) -> None:
        if value == 13:
            raise ZeroDivisionError("unlucky")

    @flags["a"].on_change
    def _fail(_old: int, _new: int) -> None:
        raise RuntimeError("no callback should")

    volume.write({"a": "13", "text": "y"})
    assert _shows(updater, a=1, text="y")
    volume.write({"a": "2", "text": "z"})
    assert _shows(updater, a=2, text="z")

    told = _told(flags, calls)
    assert told[0] == ("text", "x", "y")
    assert sorted(told[1:]) == [("a", 1, 2), ("text", "y", "z")]


def test_a_callback_may_use_everything(
    flags: dflag.FlagRegistry, calls: Calls, volume: ConfigMapVolume, updater: Updater
) -> None:
    """
    L2: a callback may set flags, refresh, pin and ask for the status without a deadlock.
    """
    done = threading.Event()

    @flags["a"].on_change
    def _use(_old: int, new: int) -> None:
        flags["b"].set(new * 10)
        updater.refresh()
        with flags.pinned():
            updater.status()
        done.set()

    volume.update(a="2")

    assert done.wait(DEADLINE_SECONDS)
    assert _shows(updater, a=2, b=20)


def test_a_callback_that_blocks_holds_up_no_value(
    flags: dflag.FlagRegistry, calls: Calls, volume: ConfigMapVolume, updater: Updater
) -> None:
    """
    L2: values go on changing while a callback hangs, and all of its calls are made once it returns.
    """
    leave = threading.Event()
    flags["a"].on_change(lambda _old, _new: leave.wait(DEADLINE_SECONDS))
    for number in range(2, 6):
        volume.update(a=str(number))
        assert _shows(updater, a=number)
    assert not flags.flush(0.01)
    leave.set()

    assert [new for _, _, new in _told(flags, calls)] == [2, 3, 4, 5]


def test_secrets_stand_nowhere(
    flags: dflag.FlagRegistry, volume: ConfigMapVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """
    L3: neither the old nor the new nor a refused secret is in the log, in status, in errors or in history.
    """
    flags.dyn_string("password", "hunter0", secret=True, validator=_refuse_long)
    volume.write({"password": "hunter1"})
    with caplog.at_level(logging.DEBUG), Updater.setup(flags, volume.path) as updater:
        volume.write({"password": "hunter2"})
        assert _shows(updater, password="hunter2")  # noqa: S106 - no secret
        volume.write({"password": "hunter3-too-long"})
        assert eventually(lambda: updater.status().rejected)
        status = updater.status()
        error = status.rejected["password"]
        texts = [repr(status), str(error), repr(error), repr(error.__cause__)]
        texts += [repr(flags.history()), repr(flags.explain("password")), repr(flags["password"]), repr(updater)]
        texts += [repr(updater.refresh())]

    assert "hunter" not in "".join(texts)
    assert "hunter" not in caplog.text


def _refuse_long(value: str) -> None:
    if len(value) > 10:
        raise ValueError(f"{value} is too long")


def test_status_shows_what_is_followed(
    flags: dflag.FlagRegistry, calls: Calls, volume: ConfigMapVolume, updater: Updater
) -> None:
    """
    L7: the status shows the source, its checksum, the rejected value, and the static flags that wait for a restart.
    """
    volume.update(port="1", a="x")
    assert eventually(lambda: updater.status().pending_restart == ("port",))
    revision = updater.refresh()  # waits for the reading that is under way
    status = updater.status()

    assert status.sources[0].name == str(volume.path)
    assert status.sources[0].checksum == revision.checksum
    assert str(volume.path / "a") in str(status.rejected["a"])


def test_coroutine_callbacks_run_on_their_loop(
    flags: dflag.FlagRegistry, calls: Calls, volume: ConfigMapVolume, updater: Updater
) -> None:
    """
    L8: a coroutine callback runs on its event loop; when that loop is closed, updates and other callbacks go on.
    """
    seen: list[object] = []

    async def follow() -> None:
        changed = asyncio.Event()
        loop = asyncio.get_running_loop()

        @flags["a"].on_change
        async def _note(old: int, new: int) -> None:
            seen.append((old, new, asyncio.get_running_loop() is loop))
            changed.set()

        volume.update(a="2")
        await asyncio.wait_for(changed.wait(), DEADLINE_SECONDS)

    asyncio.run(follow())
    volume.update(a="3", text="y")
    assert _shows(updater, a=3, text="y")

    assert sorted(_told(flags, calls)[-2:]) == [("a", 2, 3), ("text", "x", "y")]
    assert seen == [(1, 2, True)]


def test_importing_starts_nothing() -> None:
    """
    L10: importing dflag opens no descriptor, starts no thread, and imports none of the heavy packages.
    """
    result = run_python(
        "import os, sys, threading\n"
        "before = len(os.listdir('/proc/self/fd'))\n"
        "import dflag, dflag.sources\n"
        "heavy = {'watchdog', 'jsonschema', 'yaml', 'pydantic', 'asyncio', 'argparse', 'socket', 'http', 'dflag.web'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert len(os.listdir('/proc/self/fd')) == before\n"
        "assert threading.active_count() == 1\n"
    )

    assert result.returncode == 0, result.stderr


def test_memory_and_volume_agree_on_checksums(
    flags: dflag.FlagRegistry, calls: Calls, volume: ConfigMapVolume, updater: Updater
) -> None:
    """
    A volume and a memory source with the same contents have the same checksum; dot files do not count.
    """
    volume.update({".dot": "x"})
    checksum = updater.refresh().checksum
    other = dflag.FlagRegistry()
    memory = Updater(other, MemorySource({"a": b"1", "text": "x"}), unknown="ignore")
    memory.initialize()

    assert memory.status().sources[0].checksum == checksum
