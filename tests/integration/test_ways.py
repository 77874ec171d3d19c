"""
Changes on the path to the values: links that are swapped, directories that are replaced, files that come and go.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import os
import shutil
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import dflag
from dflag import Updater
from dflag.sources import DirectorySource, FileSource
from dflag.testing import ConfigMapVolume

from ._waiting import DEADLINE_SECONDS, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from dflag.sources import Source

pytestmark = [pytest.mark.once, pytest.mark.untraced]

NO_RESYNC = 3600.0
"""So many seconds that only events, or a poll where there are none, can show a change in time."""

SWAP = "rename ..data_tmp"


@pytest.fixture(name="told")
def _told(flags: dflag.FlagRegistry) -> list[tuple[int, int]]:
    """
    Declare the flags ``a`` and ``b``, and return the list of all changes of ``a``.
    """
    told: list[tuple[int, int]] = []
    flags.dyn_int("a", 0).on_change(lambda old, new: told.append((old, new)))
    flags.dyn_int("b", 0)
    return told


def _shows(updater: Updater, **values: int) -> bool:
    return updater.wait_for(
        lambda snapshot: all(snapshot[name] == value for name, value in values.items()), DEADLINE_SECONDS
    )


def _degraded(updater: Updater) -> str | None:
    return updater.status().sources[0].degraded


def _healthy(updater: Updater) -> bool:
    return updater.status().sources[0].healthy


def _swap_link(link: Path, target: Path | str) -> None:
    """
    Give a link another target by a rename, as ``ln -sfn`` and git-sync do.
    """
    new = link.with_name(f"{link.name}.new")
    new.symlink_to(target)
    new.rename(link)


# --- below a volume


class Layout:
    """
    A place that is published to, and the path through which it is followed.
    """

    def __init__(self, root: Path) -> None:
        self.volume = ConfigMapVolume(root / "volume")
        self.path = root / "volume" / "prod"
        self.prefix = "prod/"

    def publish(self, number: int) -> None:
        """Publish a set whose two values are the same number."""
        self.volume.write({f"{self.prefix}{name}": str(number) for name in ("a", "b")} | {"other": str(number)})


class Nested(Layout):
    """The path is several levels below the volume."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.prefix = "conf/eu/prod/"
        self.path = root / "volume" / "conf" / "eu" / "prod"


class Linked(Layout):
    """A link elsewhere leads below the volume."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        (root / "app").mkdir()
        (root / "app" / "flags").symlink_to(root / "volume" / "prod")
        self.path = root / "app" / "flags"


class ThroughData(Layout):
    """The path names the volume's link itself."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.path = root / "volume" / "..data" / "prod"


class GitSync(Layout):
    """A link is swapped from one directory of plain files to the next, and the old one deleted."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.path = root / "current" / "flags"
        self.link = root / "current"
        self._root = root

    def publish(self, number: int) -> None:
        """Make a directory for the number, swap the link, and delete the previous directory."""
        old = os.readlink(self.link) if self.link.is_symlink() else None
        new = self._root / f"rev{number}"
        (new / "flags").mkdir(parents=True)
        for name in ("a", "b"):
            (new / "flags" / name).write_text(str(number))
        _swap_link(self.link, new.name)
        if old is not None:
            shutil.rmtree(self._root / old)


LAYOUTS = [Layout, Nested, Linked, ThroughData, GitSync]
every_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)


@every_layout
def test_a_swap_on_the_way_is_one_change_seen_by_events(
    flags: dflag.FlagRegistry, told: list[tuple[int, int]], tmp_path: Path, layout: type[Layout]
) -> None:
    """
    Events show each publication as one change of both values, without the periodic check or a default in between.
    """
    place = layout(tmp_path)
    place.publish(1)
    mixed: list[dict[str, object]] = []
    with Updater.setup(flags, place.path, resync_seconds=NO_RESYNC) as updater:
        flags["a"].on_change(lambda *_: _note_mix(flags, mixed))
        for number in range(2, 8):
            place.publish(number)
            assert _shows(updater, a=number), number
            assert flags.snapshot()["b"] == number
        assert flags.flush(DEADLINE_SECONDS)
        assert _degraded(updater) is None
        assert updater.status().errors == 0
    assert told == [(0, 1), *((number - 1, number) for number in range(2, 8))]
    assert not mixed


def _note_mix(flags: dflag.FlagRegistry, mixed: list[dict[str, object]]) -> None:
    snapshot = flags.snapshot()
    if snapshot["a"] != snapshot["b"]:
        mixed.append(dict(snapshot))


@pytest.mark.parametrize("layout", LAYOUTS[:-1], ids=lambda layout: layout.__name__)
@pytest.mark.parametrize("legacy", [False, True], ids=["current", "legacy"])
def test_a_writer_frozen_at_any_step_shows_one_set_below_its_volume(
    tmp_path: Path, layout: type[Layout], *, legacy: bool
) -> None:
    """
    At each step of a publication a source reads the old set until the rename, then the new one, as its token shows.
    """
    place = layout(tmp_path)
    place.publish(1)
    volume = ConfigMapVolume(place.volume.path, legacy=legacy)
    source = DirectorySource(place.path, settle_seconds=60)
    expected = {"a": b"1", "b": b"1"}
    assert source.read() == expected
    token = source.probe()
    for step in volume.steps({f"{place.prefix}a": "2", f"{place.prefix}c": "2"}):
        if step == SWAP:
            expected = {"a": b"2", "c": b"2"}
            assert token != source.probe()
            token = source.probe()
        assert source.read() == expected, step
        assert source.probe() == token, step
        assert source.recheck_seconds() is None


def test_a_check_below_a_volume_takes_two_system_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A check of a directory below a volume calls only readlink and stat, once each.
    """
    place = Layout(tmp_path)
    place.publish(1)
    source = DirectorySource(place.path)
    source.read()
    calls: list[str] = []
    for name in ("readlink", "stat", "lstat", "open", "scandir", "fstat"):
        monkeypatch.setattr(os, name, _counted(calls, name, getattr(os, name)))
    source.probe()
    monkeypatch.undo()
    assert calls == ["readlink", "stat"]


def _counted(calls: list[str], name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        calls.append(name)
        return real(*args, **options)

    return call


@every_layout
def test_a_storm_of_swaps_on_the_way_tears_no_set(tmp_path: Path, layout: type[Layout]) -> None:
    """
    While a publisher never pauses, each set that is read is one whole publication.
    """
    place = layout(tmp_path)
    place.publish(0)
    source = DirectorySource(place.path, settle_seconds=0)
    source.read()
    stopping = threading.Event()

    def publish() -> None:
        for number in itertools.count(1):
            if stopping.is_set():
                return
            place.publish(number)

    writer = threading.Thread(target=publish)
    writer.start()
    seen = set()
    deadline = time.monotonic() + 1.0
    try:
        while time.monotonic() < deadline:
            values = source.read()
            assert values.keys() == {"a", "b"}
            assert values["a"] == values["b"]
            seen.add(values["a"])
    finally:
        stopping.set()
        writer.join()
    place.publish(-1)
    assert eventually(lambda: source.read() == {"a": b"-1", "b": b"-1"})


def test_a_new_directory_in_a_volume_is_read_before_its_visible_link_is_there(tmp_path: Path) -> None:
    """
    A new directory is read after the rename, although a kubelet that dies then never makes its visible link.
    """
    volume = ConfigMapVolume(tmp_path / "volume")
    volume.write({"other": "1"})
    sources: list[Source] = [DirectorySource(volume.path / "prod"), FileSource(volume.path / "prod" / "app.yaml")]
    for step in volume.steps({"prod/a": "1", "prod/app.yaml": "a: 1"}):
        if step == SWAP:
            break
    assert not (volume.path / "prod").exists()
    assert "a" in sources[0].read()
    assert dict(sources[1].read()) == {"a": "1"}


@pytest.mark.parametrize("kind", ["directory", "document"])
def test_a_swap_shows_though_the_old_set_stays(
    flags: dflag.FlagRegistry, told: list[tuple[int, int]], tmp_path: Path, kind: str
) -> None:
    """
    A swap is seen by events although a kubelet that dies then never deletes the old set, where a watch would see it.
    """
    volume = ConfigMapVolume(tmp_path / "volume")
    volume.write({"prod/a": "1", "prod/app.yaml": "a: 1"})
    path = volume.path / "prod" / ("" if kind == "directory" else "app.yaml")
    with Updater.setup(flags, path, resync_seconds=NO_RESYNC, unknown="ignore") as updater:
        for step in volume.steps({"prod/a": "2", "prod/app.yaml": "a: 2"}):
            if step == SWAP:
                break
        assert _shows(updater, a=2)
        assert _degraded(updater) is None


@pytest.mark.parametrize("on_missing", ["keep", "reset"])
def test_a_directory_that_leaves_its_volume_is_gone_at_once(
    flags: dflag.FlagRegistry, told: list[tuple[int, int]], tmp_path: Path, on_missing: Any
) -> None:
    """
    When a new set lacks the directory, its source is missing at once, and healthy again with a later set that has it.
    """
    place = Layout(tmp_path)
    place.publish(1)
    with Updater.setup(flags, place.path, on_missing=on_missing) as updater:
        place.volume.write({"other": "1"})
        assert eventually(lambda: not _healthy(updater))
        assert _shows(updater, a=1 if on_missing == "keep" else 0)
        place.publish(3)
        assert _shows(updater, a=3)
        assert eventually(lambda: _healthy(updater))


# --- links and directories outside of a volume


@pytest.mark.parametrize("link", ["current", "current/flags"])
@pytest.mark.parametrize("kind", ["volume", "plain", "document"])
def test_a_link_led_elsewhere_is_followed_by_events(
    flags: dflag.FlagRegistry, told: list[tuple[int, int]], tmp_path: Path, kind: str, link: str
) -> None:
    """
    Events show when a link on the path is swapped by a rename, or is removed and made again.
    """
    for number in range(1, 5):
        place = tmp_path / f"rev{number}" / "real"
        place.mkdir(parents=True)
        (place.parent / "flags").symlink_to("real")
        (tmp_path / f"rev{number}" / f"real{number}").mkdir()
        if kind == "volume":
            ConfigMapVolume(place).write({"a": str(number), "b": str(number)})
        elif kind == "plain":
            (place / "a").write_text(str(number))
            (place / "b").write_text(str(number))
        else:
            (place / "app.yaml").write_text(f"a: {number}\nb: {number}")
    (tmp_path / "current").symlink_to("rev1")
    path = tmp_path / "current" / "flags" / ("app.yaml" if kind == "document" else "")
    with Updater.setup(flags, path, resync_seconds=NO_RESYNC) as updater:
        assert _degraded(updater) is None
        for number in range(2, 5):
            target = f"rev{number}" if link == "current" else tmp_path / f"rev{number}" / "real"
            if number == 3:
                (tmp_path / link).unlink()
                (tmp_path / link).symlink_to(target)
            else:
                _swap_link(tmp_path / link, target)
            assert _shows(updater, a=number, b=number), number
    assert flags.flush(DEADLINE_SECONDS)
    assert told == [(0, 1), (1, 2), (2, 3), (3, 4)]


@pytest.mark.parametrize("level", ["flags", "."])
@pytest.mark.parametrize("kind", ["volume", "plain", "document"])
def test_a_directory_on_the_way_that_is_replaced_is_followed_by_events(
    flags: dflag.FlagRegistry, told: list[tuple[int, int]], tmp_path: Path, kind: str, level: str
) -> None:
    """
    Events show when the directory, or one above it, is moved away and another one is moved to its place.
    """

    def make(root: Path, number: int) -> None:
        (root / "flags").mkdir(parents=True)
        if kind == "volume":
            ConfigMapVolume(root / "flags").write({"a": str(number)})
        elif kind == "plain":
            (root / "flags" / "a").write_text(str(number))
        else:
            (root / "flags" / "app.yaml").write_text(f"a: {number}")

    make(tmp_path / "root", 1)
    path = tmp_path / "root" / "flags" / ("app.yaml" if kind == "document" else "")
    with Updater.setup(flags, path, resync_seconds=NO_RESYNC) as updater:
        for number in (2, 3):
            make(tmp_path / f"new{number}", number)
            (tmp_path / "root" / level).resolve().rename(tmp_path / f"old{number}")
            (tmp_path / f"new{number}" / level).resolve().rename((tmp_path / "root" / level).resolve())
            assert _shows(updater, a=number), number
        assert eventually(lambda: _degraded(updater) is None)


# --- documents that come and go


def _write(path: Path, number: int) -> None:
    path.write_text(f"a: {number}\nb: {number}\n")


def _rename_over(path: Path, number: int) -> None:
    _write(path.with_name("tmp"), number)
    path.with_name("tmp").rename(path)


def _move_away_and_write(path: Path, number: int) -> None:
    path.rename(path.with_name("app.yaml~"))
    _write(path, number)


def _copy_and_truncate(path: Path, number: int) -> None:
    shutil.copy(path, path.with_name("app.yaml.bak"))
    _write(path, number)


def _remove_and_write(path: Path, number: int) -> None:
    path.unlink()
    _write(path, number)


def _link_anew(path: Path, number: int) -> None:
    target = path.with_name(f"app{number}.yaml")
    _write(target, number)
    _swap_link(path, target.name)


def _make_directory_anew(path: Path, number: int) -> None:
    shutil.rmtree(path.parent)
    path.parent.mkdir()
    _write(path, number)


def _replace_directory(path: Path, number: int) -> None:
    new = path.parent.with_name(f"new{number}")
    new.mkdir()
    _write(new / path.name, number)
    path.parent.rename(path.parent.with_name(f"old{number}"))
    new.rename(path.parent)


WAYS = [
    _write,
    _rename_over,
    _move_away_and_write,
    _copy_and_truncate,
    _remove_and_write,
    _link_anew,
    _make_directory_anew,
    _replace_directory,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__.strip("_"))
@pytest.mark.parametrize("on_missing", ["keep", "reset"])
def test_a_document_saved_in_any_way_is_read_and_never_seen_as_gone(
    flags: dflag.FlagRegistry,
    told: list[tuple[int, int]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    way: Callable[[Path, int], None],
    on_missing: Any,
) -> None:
    """
    In whatever way a document is saved, each text is applied once, without a default in between and without an error.
    """
    path = tmp_path / "etc" / "app.yaml"
    path.parent.mkdir()
    _write(path, 1)
    with Updater.setup(flags, path, resync_seconds=NO_RESYNC, on_missing=on_missing) as updater:
        for number in (2, 3):
            way(path, number)
            assert _shows(updater, a=number, b=number), number
        assert flags.flush(DEADLINE_SECONDS)
        assert updater.status().errors == 0
    assert told == [(0, 1), (1, 2), (2, 3)]
    assert not [record for record in caplog.records if "cannot be read" in record.getMessage()]


@pytest.mark.parametrize("way", [_write, _rename_over, _link_anew], ids=lambda way: way.__name__.strip("_"))
@pytest.mark.parametrize("missing", ["document", "directory", "directories"])
def test_a_document_that_appears_later_is_read(
    flags: dflag.FlagRegistry,
    told: list[tuple[int, int]],
    tmp_path: Path,
    way: Callable[[Path, int], None],
    missing: str,
) -> None:
    """
    A document that is absent at the start, with or without its directories, is read when it appears, and appears again.
    """
    path = tmp_path / "x" / "y" / "app.yaml"
    if missing == "document":
        path.parent.mkdir(parents=True)
    elif missing == "directory":
        path.parent.parent.mkdir()
    with Updater.setup(flags, path, required=False, resync_seconds=NO_RESYNC) as updater:
        for number in (1, 2):
            path.parent.mkdir(parents=True, exist_ok=True)
            way(path, number)
            assert _shows(updater, a=number), number
            assert eventually(lambda: _healthy(updater))
            if missing == "document":
                path.unlink()
            else:
                shutil.rmtree(path.parent if missing == "directory" else path.parent.parent)
            assert eventually(lambda: not _healthy(updater))


def test_a_document_is_read_once_it_has_settled_after_it_appeared(tmp_path: Path) -> None:
    """
    A document that appeared too recently to be read is due at the moment when it has settled, without another event.
    """
    source = FileSource(tmp_path / "app.yaml", settle_seconds=0.1)
    with pytest.raises(dflag.SourceError):
        source.read()
    assert source.recheck_seconds() is None
    _write(tmp_path / "app.yaml", 1)
    with pytest.raises(dflag.SourceError) as caught:
        source.read()
    assert caught.value.missing
    assert 0 < (source.recheck_seconds() or 0) <= 0.1
    before = source.probe()
    assert eventually(lambda: source.probe() != before)
    assert dict(source.read()) == {"a": "1", "b": "1"}


# --- plain files that come and go


@pytest.mark.parametrize("on_missing", ["keep", "reset"])
def test_a_file_removed_and_written_anew_shows_no_default(
    flags: dflag.FlagRegistry, told: list[tuple[int, int]], tmp_path: Path, on_missing: Any
) -> None:
    """
    ``rm a; echo 61 > a`` is one change from the old value to the new one, also when ``a`` is the only file.
    """
    (tmp_path / "a").write_text("60")
    with Updater.setup(flags, tmp_path, resync_seconds=NO_RESYNC, on_missing=on_missing) as updater:
        for number in (61, 62):
            (tmp_path / "a").unlink()
            assert eventually(lambda: updater._feeds[0].source.recheck_seconds() is not None)  # the removal was noticed
            (tmp_path / "a").write_text(str(number))
            assert _shows(updater, a=number)
        assert flags.flush(DEADLINE_SECONDS)
        assert told == [(0, 60), (60, 61), (61, 62)]
        assert updater.status().errors == 0
        (tmp_path / "b").write_text("1")
        assert _shows(updater, b=1)
        (tmp_path / "a").unlink()
        assert _shows(updater, a=0)


# --- storms of events


class Counting(DirectorySource):
    """
    A directory source that counts its checks.
    """

    looks = 0

    def probe(self) -> object:
        """Count the check."""
        self.looks += 1
        return super().probe()


@pytest.mark.parametrize("noise", ["a log file", "two log files", "other files", "modes", "beside a link on the way"])
def test_a_storm_of_events_makes_a_bounded_number_of_looks(
    flags: dflag.FlagRegistry, told: list[tuple[int, int]], tmp_path: Path, noise: str
) -> None:
    """
    Thousands of events a second make a few dozen looks, and a value that changes meanwhile is applied.
    """
    (tmp_path / "flags").mkdir()
    (tmp_path / "flags" / "a").write_text("1")
    (tmp_path / "link").symlink_to("flags")
    source = Counting(tmp_path / "link")
    stopping = threading.Event()

    def work() -> None:
        noisy = tmp_path if noise == "beside a link on the way" else tmp_path / "flags"
        for number in itertools.count():
            if stopping.wait(0.0005):
                return
            if noise == "modes":
                (noisy / "a").chmod(0o600 + number % 2)
            else:
                name = {"a log file": "x.log", "two log files": f"{number % 2}.log"}.get(noise, f"n{number}")
                with (noisy / name).open("a") as log:
                    log.write("line\n")

    with Updater.setup(flags, source, resync_seconds=NO_RESYNC, unknown="ignore") as updater:
        writer = threading.Thread(target=work)
        writer.start()
        try:
            began, before = time.monotonic(), source.looks
            threading.Event().wait(2.0)  # the time over which looks are counted
            looks, passed = source.looks - before, time.monotonic() - began
            if noise != "modes":
                (tmp_path / "flags" / "b").write_text("2")
                assert _shows(updater, b=2)
        finally:
            stopping.set()
            writer.join()
    # Each look that an event makes is two probes: before the events are taken, and after.
    assert looks <= 2 * (20 + 20 * passed) + 5


# --- nothing can be read any more


@pytest.fixture(name="readable")
def _readable(tmp_path: Path) -> ConfigMapVolume:
    volume = ConfigMapVolume(tmp_path / "volume")
    volume.write({"a": "1", "app.yaml": "a: 1", "prod/a": "1", "prod/app.yaml": "a: 1"})
    return volume


def _delete_set(path: Path) -> None:
    shutil.rmtree(path / os.readlink(path / "..data"))


def _empty_set(path: Path) -> None:
    shutil.rmtree(path / os.readlink(path / "..data"))
    (path / os.readlink(path / "..data")).mkdir()


def _dangle(path: Path) -> None:
    _swap_link(path / "..data", "..nowhere")


def _loop(path: Path) -> None:
    _swap_link(path / "..data", "..data")


def _put_file_for_set(path: Path) -> None:
    target = path / os.readlink(path / "..data")
    shutil.rmtree(target)
    target.write_text("x")


def _put_file_for_link(path: Path) -> None:
    (path / "..data").unlink()
    (path / "..data").write_text("x")


def _remove_volume(path: Path) -> None:
    path.rename(path.with_name("away"))


def _put_file_for_volume(path: Path) -> None:
    path.rename(path.with_name("away"))
    path.write_text("x")


def _put_loop_for_volume(path: Path) -> None:
    path.rename(path.with_name("away"))
    path.symlink_to(path)


def _unmount(path: Path) -> None:
    """Leave the empty directory that a volume was mounted on."""
    path.rename(path.with_name("away"))
    path.mkdir()


HARMS = [
    _delete_set,
    _empty_set,
    _dangle,
    _loop,
    _put_file_for_set,
    _put_file_for_link,
    _remove_volume,
    _put_file_for_volume,
    _put_loop_for_volume,
    _unmount,
]


@pytest.mark.parametrize("path", ["", "prod", "app.yaml", "prod/app.yaml"])
@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__.strip("_"))
def test_what_cannot_be_read_any_more_is_not_healthy(
    flags: dflag.FlagRegistry,
    told: list[tuple[int, int]],
    readable: ConfigMapVolume,
    harm: Callable[[Path], None],
    path: str,
) -> None:
    """
    When a volume cannot be read, its values stay, its source is unhealthy, and the next good set is applied.
    """
    with Updater.setup(flags, readable.path / path, resync_seconds=0.05, unknown="ignore") as updater:
        assert _healthy(updater)
        harm(readable.path)
        assert eventually(lambda: not _healthy(updater))
        assert updater.status().sources[0].last_error
        assert flags.snapshot()["a"] == 1

        if os.path.lexists(readable.path.with_name("away")):
            if readable.path.is_dir() and not readable.path.is_symlink():
                readable.path.rmdir()
            elif os.path.lexists(readable.path):
                readable.path.unlink()
            readable.path.with_name("away").rename(readable.path)
        elif not (readable.path / "..data").is_dir():
            (readable.path / "..data").unlink()
        readable.write({"a": "2", "app.yaml": "a: 2", "prod/a": "2", "prod/app.yaml": "a: 2"})
        assert _shows(updater, a=2)
        assert eventually(lambda: _healthy(updater))


@pytest.mark.parametrize("kind", ["volume", "below", "plain", "document", "document below"])
def test_a_directory_that_becomes_unreadable_is_not_healthy(
    flags: dflag.FlagRegistry,
    told: list[tuple[int, int]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    """
    A source that loses its read permission is unhealthy although no link has changed, and healthy when it has it again.
    """
    root = tmp_path / "flags"
    if kind in ("plain", "document"):
        root.mkdir()
        (root / "a").write_text("1")
        (root / "app.yaml").write_text("a: 1")
    else:
        ConfigMapVolume(root).write({"a": "1", "prod/a": "1", "prod/app.yaml": "a: 1"})
    path = root / "prod" if "below" in kind else root
    changed = root / "..data" if kind == "volume" else path
    if "document" in kind:
        path = changed = path / "app.yaml"
    with Updater.setup(flags, path, resync_seconds=0.05, unknown="ignore") as updater:
        with monkeypatch.context() as patch:
            _refuse(patch, "scandir")
            _refuse(patch, "open")
            changed.chmod(0)
            assert eventually(lambda: not _healthy(updater))
            assert "permission denied" in str(updater.status().sources[0].last_error)
            assert flags.snapshot()["a"] == 1
        changed.chmod(0o755)
        assert eventually(lambda: _healthy(updater))


def _refuse(patch: pytest.MonkeyPatch, call: str) -> None:
    """
    Make the call fail as it does for a user that is not root.
    """
    real = getattr(os, call)

    def refuse(path: Any, *args: Any, **options: Any) -> Any:
        if isinstance(path, str) and path.startswith("/proc"):
            return real(path, *args, **options)
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    patch.setattr(os, call, refuse)


# --- file systems whose inode numbers prove nothing


class Renumbering:
    """
    Give every file another inode number at each look, as some FUSE file systems do, except in the publishing thread.
    """

    def __init__(self, patch: pytest.MonkeyPatch, how: str) -> None:
        self._numbers = itertools.count(1)
        self._exempt: int | None = None
        if how != "by descriptor":
            real = os.scandir
            patch.setattr(os, "scandir", lambda path=".": self._listed(real(path)))
            patch.setattr(os, "stat", self._changing(os.stat))
        if how != "by path":
            patch.setattr(os, "fstat", self._changing(os.fstat))

    @contextlib.contextmanager
    def publishing(self) -> Iterator[None]:
        """Give this thread the real numbers within the block."""
        self._exempt = threading.get_ident()
        yield
        self._exempt = None

    def renumber(self, status: os.stat_result) -> os.stat_result:
        """Return the status with the next number, except in the publishing thread."""
        if threading.get_ident() == self._exempt:
            return status
        fields, named = status.__reduce__()[1]  # type: ignore[misc]  # object promises less than a structseq gives
        return os.stat_result((fields[0], next(self._numbers), *fields[2:]), named)

    def _changing(self, real: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        return lambda *args, **options: self.renumber(real(*args, **options))

    def _listed(self, entries: Any) -> Any:
        if threading.get_ident() == self._exempt:
            return entries
        return Listing(self, entries)


class Listing:
    """
    What ``os.scandir`` returns, with each entry renumbered.
    """

    def __init__(self, renumbering: Renumbering, entries: Any) -> None:
        self._renumbering = renumbering
        self._entries = entries

    def __enter__(self) -> Iterator[Any]:
        return (Entry(self._renumbering, entry) for entry in self._entries.__enter__())

    def __exit__(self, *error: object) -> None:
        self._entries.__exit__(*error)


class Entry:
    """
    An entry whose status is renumbered.
    """

    def __init__(self, renumbering: Renumbering, entry: Any) -> None:
        self._renumbering = renumbering
        self._entry = entry
        self.name, self.is_file = entry.name, entry.is_file

    def stat(self) -> os.stat_result:
        """Return the status with the next number."""
        return self._renumbering.renumber(self._entry.stat())


@pytest.fixture(name="renumbering", params=["by path", "by descriptor", "both"])
def _renumbering(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Renumbering:
    return Renumbering(monkeypatch, request.param)


@pytest.mark.parametrize("layout", ["volume", "below", "plain", "document", "plain document"])
def test_a_file_system_with_restless_inode_numbers_is_followed(
    flags: dflag.FlagRegistry,
    told: list[tuple[int, int]],
    tmp_path: Path,
    renumbering: Renumbering,
    layout: str,
) -> None:
    """
    An updater of a file system whose inode numbers change at each look starts, applies each change and is healthy.
    """
    root = tmp_path / "flags"
    volume = ConfigMapVolume(root)

    def publish(number: int) -> None:
        with renumbering.publishing():
            if layout in ("plain", "plain document"):
                root.mkdir(exist_ok=True)
                (root / "a").write_text(str(number))
                (root / "app.yaml").write_text(f"a: {number}")
            else:
                volume.write({f"{name}a": str(number) for name in ("", "prod/")} | {"app.yaml": f"a: {number}"})

    publish(1)
    path = root / {"below": "prod", "document": "app.yaml", "plain document": "app.yaml"}.get(layout, "")
    with Updater.setup(flags, path, unknown="ignore", resync_seconds=0.1) as updater:
        for number in range(2, 5):
            publish(number)
            assert _shows(updater, a=number), number
        assert _healthy(updater)
        assert updater.status().errors == 0


def test_a_set_is_one_set_where_inode_numbers_prove_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renumbering: Renumbering
) -> None:
    """
    When inode numbers prove nothing, the link shows that a set was swapped while it was read, and it is read again.
    """
    volume = ConfigMapVolume(tmp_path)
    with renumbering.publishing():
        volume.write({"a": "0", "b": "0"})
    source = DirectorySource(tmp_path)
    assert source.read() == {"a": b"0", "b": b"0"}
    numbers = iter(range(1, 4))
    real = os.open

    def publishing(path: Any, *args: Any, **options: Any) -> int:
        number = next(numbers, None) if path == "b" else None
        if number is not None:
            with monkeypatch.context() as patch, renumbering.publishing():
                patch.setattr(os, "open", real)
                volume.write({"a": str(number), "b": str(number)})
        return real(path, *args, **options)

    monkeypatch.setattr(os, "open", publishing)
    assert source.read() == {"a": b"3", "b": b"3"}


# --- entries that cannot be read as a value


def test_a_bad_entry_is_a_bad_value_of_its_flag_alone(
    flags: dflag.FlagRegistry, told: list[tuple[int, int]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """
    In each layout a FIFO, a device, a loop and a huge file are rejected with their paths; other entries are applied.
    """
    caplog.set_level(logging.WARNING, "dflag")
    names = ("fifo", "device", "loop", "huge")
    for name in names:
        flags.dyn_string(name, "")
    for layout in ("volume", "below", "plain"):
        root = tmp_path / layout
        volume = ConfigMapVolume(root)
        if layout == "plain":
            root.mkdir()
            (root / "a").write_text("1")
            where = path = root
        else:
            volume.write({"a": "1", "prod/a": "1"})
            path = root / "prod" if layout == "below" else root
            where = (root / os.readlink(root / "..data")) / ("prod" if layout == "below" else "")
        with Updater.setup(flags, path, unknown="ignore") as updater:
            os.mkfifo(where / "fifo")
            (where / "device").symlink_to("/dev/zero")
            (where / "loop").symlink_to("loop")
            (where / "directory").mkdir()
            (where / "dangling").symlink_to("nowhere")
            with (where / "huge").open("wb") as file:
                file.truncate(16 * 1024**2 + 1)
            (where / "b").write_text("7")
            assert _shows(updater, b=7)
            assert eventually(lambda: set(updater.status().rejected) == set(names))
            for name in names:
                assert os.fspath(path / name) in str(updater.status().rejected[name])
            assert _healthy(updater)
