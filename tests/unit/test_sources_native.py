"""
The watch of a directory wakes for relevant events, follows its path to another directory, and never raises.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import shutil
import sys
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from dflag.sources import DirectorySource, _native
from dflag.sources._plan import Plan, make_plan
from dflag.testing import ConfigMapVolume

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dflag.sources import Watch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")

_DEADLINE_SECONDS = 1.5


@pytest.fixture(name="volume")
def _volume(tmp_path: Path) -> ConfigMapVolume:
    volume = ConfigMapVolume(tmp_path / "volume")
    volume.write({"a": "1"})
    return volume


class Listener:
    """
    A callback that counts its calls.
    """

    def __init__(self) -> None:
        self.heard = 0

    def __call__(self) -> None:
        """Count one more."""
        self.heard += 1


@pytest.fixture(name="heard")
def _heard() -> Listener:
    return Listener()


@pytest.fixture(name="watch")
def _watch(volume: ConfigMapVolume, heard: Listener) -> Iterator[Watch]:
    watch = _native.watch_path(str(volume.path), lambda: None, heard=heard)
    assert (watch.mode, watch.problem) == ("inotify", None)
    heard.heard = 0
    yield watch
    watch.close()


def _is_readable(watch: Watch, seconds: float = 0.0) -> bool:
    descriptor = watch.fileno()
    assert descriptor is not None
    return bool(select.select([descriptor], [], [], seconds)[0])


def _hears(watch: Watch, heard: Listener) -> bool:
    """
    Drain the watch and return whether it reported an event.
    """
    before = heard.heard
    watch.drain()
    return heard.heard > before


def test_a_swap_wakes_once(volume: ConfigMapVolume, watch: Watch, heard: Listener) -> None:
    """
    The descriptor is readable after a swap until the watch is drained once.
    """
    assert not _is_readable(watch)
    volume.write({"a": "2"})

    assert _is_readable(watch, _DEADLINE_SECONDS)
    assert _hears(watch, heard)
    assert not _is_readable(watch)
    assert not _hears(watch, heard)


def test_a_swap_wakes_when_it_is_prepared_and_when_it_is_done(
    volume: ConfigMapVolume, watch: Watch, heard: Listener
) -> None:
    """
    The watch wakes when the directory of the new set is made, which announces a swap, and when the link is renamed.
    """
    for step in volume.steps({"a": "2"}):
        if step in ("make directory", "rename ..data_tmp"):
            assert _is_readable(watch, _DEADLINE_SECONDS)
            assert _hears(watch, heard)
            assert not _is_readable(watch)


def test_a_source_is_told_that_it_was_woken(volume: ConfigMapVolume) -> None:
    """
    `Watch.woken()` calls the callback `woken` and leaves the events to be read.
    """
    woken = Listener()
    watch = _native.watch_path(str(volume.path), lambda: None, heard=lambda: None, woken=woken)
    volume.write({"a": "2"})
    watch.woken()

    assert woken.heard == 1
    assert _is_readable(watch)
    watch.close()


def test_the_way_is_not_followed_anew_for_a_swap(
    volume: ConfigMapVolume, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    `drain()` does not follow the path again after events of a swap, and does so after any other event.
    """
    followed: list[str] = []

    def follow(path: str, *, is_file: bool) -> Plan:
        followed.append(path)
        return make_plan(path, is_file=is_file)

    monkeypatch.setattr("dflag.sources._native.make_plan", follow)
    steps = volume.steps({"a": "2"})
    _until(steps, "write a")
    watch.drain()
    assert followed == []
    list(steps)
    watch.drain()
    assert followed == []
    (volume.path / "b").touch()
    watch.drain()
    assert followed == [str(volume.path)]


def _until(steps: Iterator[str], wanted: str) -> None:
    assert wanted in steps


def test_a_sibling_with_a_longer_name_is_another_directory(volume: ConfigMapVolume, watch: Watch) -> None:
    """
    Publishing to ``volume2``, next to the watched ``volume``, does not wake the watch.
    """
    ConfigMapVolume(f"{volume.path}2").write({"a": "2"})

    assert not _is_readable(watch)


def test_the_descriptor_is_neither_inherited_nor_blocking(watch: Watch) -> None:
    """
    The watch's descriptor is neither inherited by started programs nor blocking.
    """
    descriptor = watch.fileno()

    assert descriptor is not None
    assert not os.get_inheritable(descriptor)
    assert not os.get_blocking(descriptor)


@pytest.mark.parametrize(
    "change",
    [
        lambda path: (path / "b").write_text("2"),
        lambda path: (path / "a").write_text("2"),
        lambda path: (path / "a").unlink(),
        lambda path: (path / "a").rename(path / "b"),
        lambda path: (path / "a").chmod(0o600),
    ],
    ids=["create", "write", "remove", "rename", "chmod"],
)
def test_plain_files_wake_for_every_change(tmp_path: Path, heard: Listener, change: Any) -> None:
    """
    In a directory without ``..data`` the watch wakes when a file is created, written, removed, renamed or chmodded.
    """
    (tmp_path / "a").write_text("1")
    watch = _native.watch_path(str(tmp_path), lambda: None, heard=heard)
    change(tmp_path)

    assert _is_readable(watch, _DEADLINE_SECONDS)
    assert _hears(watch, heard)
    watch.close()


def test_a_volume_that_is_first_published_is_watched_as_one(tmp_path: Path, heard: Listener) -> None:
    """
    The watch ignores writes to plain files once ``..data`` appears, and wakes for them again once it is gone.
    """
    watch = _native.watch_path(str(tmp_path), lambda: None, heard=heard)
    volume = ConfigMapVolume(tmp_path)
    volume.write({"a": "1"})
    (tmp_path / "x").write_text("")
    watch.drain()
    watch.drain()
    (tmp_path / "x").write_text("1")

    assert not _is_readable(watch)

    (tmp_path / "..data").unlink()
    watch.drain()
    watch.drain()
    (tmp_path / "x").write_text("2")

    assert _is_readable(watch)
    watch.close()


@pytest.mark.parametrize("how", ["remove", "move", "exchange a link"])
def test_follows_the_path_to_another_directory(tmp_path: Path, heard: Listener, how: str) -> None:
    """
    When the directory is removed or moved, or its link exchanged, the directory now at the path is watched.
    """
    real = ConfigMapVolume(tmp_path / "real")
    real.write({"a": "1"})
    link = tmp_path / "link"
    link.symlink_to(real.path)
    watch = _native.watch_path(str(link if how == "exchange a link" else real.path), lambda: None, heard=heard)
    if how != "exchange a link":
        real.path.rename(tmp_path / "elsewhere")
    if how == "remove":
        shutil.rmtree(tmp_path / "elsewhere")
    if how == "exchange a link":
        new = ConfigMapVolume(tmp_path / "new")
        link.unlink()
        link.symlink_to(new.path)
    else:
        watch.drain()
        assert watch.mode == "polling"
        assert "no such directory" in str(watch.problem)
        new = real
    new.write({"a": "2"})

    assert _hears(watch, heard)
    assert (watch.mode, watch.problem) == ("inotify", None)
    watch.drain()
    assert not _is_readable(watch)
    new.write({"a": "3"})
    assert _is_readable(watch, _DEADLINE_SECONDS)
    watch.close()


def test_a_missing_directory_is_watched_when_it_appears(tmp_path: Path, heard: Listener) -> None:
    """
    A watch of a missing directory polls and says so in `problem`, and uses inotify once the directory appears.
    """
    watch = _native.watch_path(str(tmp_path / "later"), lambda: None, heard=heard)
    assert watch.mode == "polling"
    assert "no such directory yet" in str(watch.problem)
    (tmp_path / "later").mkdir()

    assert _hears(watch, heard)
    assert (watch.mode, watch.problem) == ("inotify", None)
    watch.close()


def test_a_file_in_the_place_of_a_directory_delays_no_watch(tmp_path: Path, heard: Listener) -> None:
    """
    When a file is at the path the watch polls, and it uses inotify at the first drain after a directory replaced it.
    """
    place = tmp_path / "later"
    place.write_text("")
    watch = _native.watch_path(str(place), lambda: None, heard=heard)
    assert (watch.mode, watch.problem) == ("polling", f"{place}: no such directory")
    place.unlink()
    place.mkdir()

    assert _hears(watch, heard)
    assert (watch.mode, watch.problem) == ("inotify", None)
    watch.close()


class Refusing:
    """
    Bindings whose function *function* fails with the error *number*.
    """

    def __init__(self, bindings: Any, function: str, number: int) -> None:
        self._bindings = bindings
        self.function: str | None = function
        self.calls = 0
        self._number = number

    def __getattr__(self, name: str) -> Any:
        return self._refuse if name == self.function else getattr(self._bindings, name)

    def _refuse(self, *_: object) -> int:
        self.calls += 1
        ctypes.set_errno(self._number)
        return -1


@pytest.mark.parametrize(
    ("function", "number"),
    [("inotify_init", errno.EMFILE), ("inotify_init", errno.ENOSYS), ("inotify_add_watch", errno.ENOSPC)],
)
def test_a_refused_watch_is_tried_again_later(
    volume: ConfigMapVolume, heard: Listener, monkeypatch: pytest.MonkeyPatch, function: str, number: int
) -> None:
    """
    When inotify is refused the watch polls, and `drain()` tries again only after half a minute.
    """
    import watchdog.observers.inotify_c as real

    now = 1_000.0
    monkeypatch.setattr(_native, "time", SimpleNamespace(monotonic=lambda: now))
    bindings = Refusing(real, function, number)
    watch = _native.InotifyWatch(str(volume.path), heard, bindings)
    watch.drain()
    now += 29
    watch.drain()

    assert (watch.mode, bindings.calls) == ("polling", 1)
    assert f"cannot be watched ({os.strerror(number)})" in str(watch.problem)

    bindings.function = None
    now += 1
    watch.drain()

    assert (watch.mode, watch.problem) == ("inotify", None)
    assert watch.fileno() is not None
    watch.close()


@pytest.mark.parametrize(("refused", "mode"), [(".", "inotify"), ("holder", "polling"), ("real", "polling")])
def test_only_what_is_needed_has_to_be_readable(tmp_path: Path, heard: Listener, refused: str, mode: str) -> None:
    """
    A directory above may be unreadable; the one that holds a link on the path, or the values, has to be readable.
    """
    import watchdog.observers.inotify_c as real

    class Unreadable(Refusing):
        def __getattr__(self, name: str) -> Any:
            if name != "inotify_add_watch":
                return super().__getattr__(name)
            return lambda number, path, mask: (
                self._refuse()
                if os.fsdecode(path) == os.path.normpath(tmp_path / refused)
                else real.inotify_add_watch(number, path, mask)
            )

    (tmp_path / "real").mkdir()
    (tmp_path / "holder").mkdir()
    (tmp_path / "holder" / "link").symlink_to(tmp_path / "real")
    bindings = Unreadable(real, "inotify_add_watch", errno.EACCES)
    watch = _native.InotifyWatch(str(tmp_path / "holder" / "link"), heard, bindings)

    assert bindings.calls == 1
    assert watch.mode == mode
    assert (watch.problem is None) == (mode == "inotify")
    watch.close()


def test_an_overflow_is_heard(volume: ConfigMapVolume, heard: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    An overflow of the kernel's event queue counts as an event.
    """
    watch = DirectorySource(volume.path).watch(lambda: None)
    monkeypatch.setattr(watch, "_pending", lambda: [(-1, 0x4000, b"")])
    monkeypatch.setattr(watch, "_heard", heard)

    assert _hears(watch, heard)
    watch.close()


def test_closing_is_idempotent_and_final(watch: Watch, volume: ConfigMapVolume, heard: Listener) -> None:
    """
    A watch may be closed twice; then it has no descriptor, and draining it does nothing.
    """
    watch.close()
    watch.close()
    volume.write({"a": "2"})

    assert watch.fileno() is None
    assert not _hears(watch, heard)


def test_a_forked_child_leaves_the_parents_watch_alone(volume: ConfigMapVolume, watch: Watch) -> None:
    """
    The parent's watch still wakes after a forked child has abandoned its copy.
    """
    child = os.fork()
    if child == 0:
        watch.abandon()
        os._exit(0 if watch.fileno() is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    volume.write({"a": "2"})

    assert _is_readable(watch, _DEADLINE_SECONDS)


def test_without_the_bindings_the_observer_wakes(volume: ConfigMapVolume, heard: Listener) -> None:
    """
    `ObserverWatch` has no descriptor and calls `wake` from watchdog's thread, also when the path is a link.
    """
    woken = threading.Event()
    link = volume.path.parent / "link"
    link.symlink_to(volume.path)
    watch = _native.ObserverWatch(str(link), woken.set, heard)
    assert watch.fileno() is None
    assert (watch.mode, watch.problem) == ("inotify", None)
    volume.write({"a": "2"})

    assert woken.wait(_DEADLINE_SECONDS)
    assert heard.heard
    watch.drain()
    watch.close()
    watch.close()


def test_an_observer_that_cannot_start_is_a_problem(
    volume: ConfigMapVolume, heard: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    When the observer cannot start, the watch polls and its problem quotes the error.
    """

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_native, "_start_observer", refuse)
    watch = _native.ObserverWatch(str(volume.path), lambda: None, heard)

    assert (watch.mode, watch.fileno()) == ("polling", None)
    assert "can't start new thread" in str(watch.problem)
    watch.abandon()


def test_the_observer_stands_in_when_the_bindings_are_missing(
    volume: ConfigMapVolume, heard: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Without the inotify bindings an `ObserverWatch` is made; without watchdog's observers it polls and says why.
    """
    monkeypatch.setitem(sys.modules, "watchdog.observers.inotify_c", None)
    monkeypatch.setitem(sys.modules, "watchdog.observers", None)
    watch = _native.watch_path(str(volume.path), lambda: None, heard=heard)

    assert isinstance(watch, _native.ObserverWatch)
    assert watch.mode == "polling"
    assert watch.problem
    watch.close()


def _swap_unheard(watch: Watch, volume: ConfigMapVolume, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(watch, "_pending", list)
        volume.write({"a": value})
        watch.drain()
    # The events of this swap belong to a kernel watch that was replaced: this drain discards them.
    watch.drain()


def test_a_watch_whose_events_do_not_come_says_so(
    watch: Watch, volume: ConfigMapVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The watch reports a problem after two swaps in a row without an event, and none after the next event.
    """
    _swap_unheard(watch, volume, "2", monkeypatch)
    assert (watch.mode, watch.problem) == ("inotify", None)
    _swap_unheard(watch, volume, "3", monkeypatch)
    assert watch.mode == "polling"
    assert "changes come without events" in str(watch.problem)

    volume.write({"a": "4"})
    assert _is_readable(watch, _DEADLINE_SECONDS)
    watch.drain()
    assert (watch.mode, watch.problem) == ("inotify", None)


def test_a_change_heard_in_between_clears_the_suspicion(
    watch: Watch, volume: ConfigMapVolume, heard: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A swap with an event between two swaps without one resets the count, so no problem is reported.
    """
    for value in ("2", "4", "6"):
        _swap_unheard(watch, volume, value, monkeypatch)
        assert (watch.mode, watch.problem) == ("inotify", None)
        volume.write({"a": value + "0"})
        assert _hears(watch, heard)


def test_a_link_that_leads_elsewhere_is_no_missed_event(
    volume: ConfigMapVolume, heard: Listener, tmp_path: Path
) -> None:
    """
    A link in the path that is exchanged for one to another volume does not count as a change without an event.
    """
    link = tmp_path / "link"
    link.symlink_to(volume.path)
    watch = _native.watch_path(str(link), lambda: None, heard=heard)
    for number in range(3):
        other = ConfigMapVolume(tmp_path / f"other{number}")
        other.write({"a": str(number)})
        link.unlink()
        link.symlink_to(other.path)
        watch.drain()

        assert (watch.mode, watch.problem) == ("inotify", None)
    watch.close()


def test_an_observer_whose_events_do_not_come_says_so(
    volume: ConfigMapVolume, heard: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    `ObserverWatch` reports a problem after two swaps without an event, and none after the next event.
    """
    woken = threading.Event()
    real = _native._start_observer
    monkeypatch.setattr(_native, "_start_observer", lambda path, _: real(path, lambda: None))
    watch = _native.ObserverWatch(str(volume.path), woken.set, heard)
    volume.write({"a": "2"})
    watch.drain()
    assert watch.problem is None
    monkeypatch.undo()
    volume.write({"a": "3"})
    watch.drain()
    assert "changes come without events" in str(watch.problem)

    volume.write({"a": "4"})
    assert woken.wait(_DEADLINE_SECONDS)
    watch.drain()
    assert (watch.mode, watch.problem) == ("inotify", None)
    watch.close()


def test_a_directory_that_cannot_be_looked_at_says_why(
    watch: Watch, volume: ConfigMapVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    When `os.stat()` fails with EIO the watch's problem quotes the error, and the next drain that succeeds clears it.
    """

    def fail(_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(_native.os, "stat", fail)
        watch.drain()
    assert f"cannot be looked at ({os.strerror(errno.EIO)})" in str(watch.problem)

    watch.drain()
    assert (watch.mode, watch.problem) == ("inotify", None)
