"""
`ConfigMapVolume` publishes as the kubelet does.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from dflag.testing import ConfigMapVolume

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(name="strict_umask")
def _strict_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def _names(path: Path) -> set[str]:
    return {entry.name for entry in path.iterdir()}


def test_layout_is_that_of_the_kubelet(tmp_path: Path) -> None:
    """
    Keys are links through ``..data``, which is a link to a directory named after the time.
    """
    assert ConfigMapVolume(tmp_path).write({"a": "1", "d/b": b"\xff"})

    target = os.readlink(tmp_path / "..data")
    assert re.fullmatch(r"\.\.\d{4}_\d\d_\d\d_\d\d_\d\d_\d\d\.\d+", target)
    assert {"..data", target, "a", "d"} == _names(tmp_path)
    assert os.readlink(tmp_path / "a") == "..data/a"
    assert os.readlink(tmp_path / "d") == "..data/d"
    assert (tmp_path / "d" / "b").read_bytes() == b"\xff"


@pytest.mark.usefixtures("strict_umask")
def test_modes_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    """
    Directories, also those made above the volume, have mode 0755 and files 0644, whatever the umask.
    """
    path = tmp_path / "x" / "y"
    ConfigMapVolume(path).write({"a": "1", "d/b": "2"})
    data = path / os.readlink(path / "..data")

    modes = {file: stat.S_IMODE(file.stat().st_mode) for file in (path.parent, path, data, data / "d")}
    assert {0o755} == set(modes.values())
    assert {0o644} == {stat.S_IMODE((data / name).stat().st_mode) for name in ("a", "d/b")}


def test_unchanged_contents_publish_nothing(tmp_path: Path) -> None:
    """
    `write()` of the bytes that are published returns False and publishes nothing, even if a file's mode differs.
    """
    volume = ConfigMapVolume(tmp_path)
    volume.write({"a": "1"})
    before = os.readlink(tmp_path / "..data")
    (tmp_path / "a").chmod(0o400)

    assert not volume.write({"a": b"1"})
    assert before == os.readlink(tmp_path / "..data")


def test_old_sets_and_links_are_removed(tmp_path: Path) -> None:
    """
    A write removes the old set and the links of removed keys.
    """
    volume = ConfigMapVolume(tmp_path)
    volume.write({"a": "1", "d/b": "2", "d/c": "3"})
    volume.write({"d/c": "3", "e": "4"})

    assert {"..data", os.readlink(tmp_path / "..data"), "d", "e"} == _names(tmp_path)
    assert volume.read() == {"d/c": b"3", "e": b"4"}


def test_update_and_remove_keep_the_rest(tmp_path: Path) -> None:
    """
    `update()` and `remove()` change only the keys given; removing a missing key raises `KeyError`.
    """
    volume = ConfigMapVolume(tmp_path)
    assert volume.read() == {}
    volume.write({"a": "1", "b": "2"})
    volume.update({"log-level": "debug"}, b="3")
    assert volume.remove("a")

    assert volume.read() == {"b": b"3", "log-level": b"debug"}
    with pytest.raises(KeyError):
        volume.remove("a")


def test_an_empty_set_is_an_empty_directory(tmp_path: Path) -> None:
    """
    Publishing nothing leaves ``..data`` at an empty directory, as an optional ConfigMap does.
    """
    volume = ConfigMapVolume(tmp_path)
    volume.write({"a": "1"})

    assert volume.write({})
    assert os.listdir(tmp_path / "..data") == []


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "/a",
        "..",
        "..data",
        "..a/b",
        "a/../b",
        "a/" + "x" * 256,
        "é" * 128,
        "a/" * 2100 + "b",
        "a\0b",
        "a\ud800",
    ],
)
def test_refuses_the_names_that_the_kubelet_refuses(tmp_path: Path, name: str) -> None:
    """
    A name that the kubelet refuses is refused before anything is written.
    """
    volume = ConfigMapVolume(tmp_path / "volume")

    with pytest.raises(ValueError, match="expected"):
        volume.write({"a": "1", name: "2"})
    assert not volume.path.exists()


@pytest.mark.parametrize(
    "values",
    [
        *({"b": value} for value in (5, True, 1.5, None, ["x"], bytearray(b"x"), memoryview(b"x"), {"x": "y"})),
        {5: "x"},
        {b"b": "x"},
        {None: "x"},
        [("b", "x")],
        ["b"],
        "b",
        "",
        0,
        5,
    ],
    ids=repr,
)
def test_refuses_what_is_no_text(tmp_path: Path, values: Any) -> None:
    """
    A value or a name that is not a text raises `TypeError` before `write()`, `update()` or `steps()` writes anything.
    """
    volume = ConfigMapVolume(tmp_path / "volume")
    with pytest.raises(TypeError, match="expected"):
        volume.write(values)
    assert not volume.path.exists()

    volume.write({"a": "1"})
    target = os.readlink(volume.path / "..data")
    with pytest.raises(TypeError):
        volume.update(values)
    if isinstance(values, dict) and isinstance(next(iter(values)), str):
        with pytest.raises(TypeError, match=r"^b: expected str or bytes, got \w+; write a number as its text$"):
            volume.update(**values)
    with pytest.raises(TypeError):
        next(volume.steps(values))
    assert (os.readlink(volume.path / "..data"), volume.read()) == (target, {"a": b"1"})


def test_refuses_what_utf_8_cannot_hold(tmp_path: Path) -> None:
    """
    A lone surrogate is refused with an error without the text and without a cause, because the text may be a secret.
    """
    with pytest.raises(ValueError, match="a: expected bytes, or a text that can be encoded") as caught:
        ConfigMapVolume(tmp_path / "volume").write({"a": "hunter2\ud800"})
    assert "hunter2" not in str(caught.value)
    assert (caught.value.__cause__, caught.value.__suppress_context__) == (None, True)
    assert not (tmp_path / "volume").exists()


def test_refuses_two_names_for_one_file(tmp_path: Path) -> None:
    """
    Two names of one file are refused in one set; in an update the new name replaces the published one.
    """
    volume = ConfigMapVolume(tmp_path)
    volume.write({"a": "1"})

    with pytest.raises(ValueError, match=r"'\./a': expected each file once"):
        volume.write({"a": "1", "./a": "2"})
    volume.update({"./a": "3"})
    assert volume.read() == {"a": b"3"}


def test_refuses_a_file_where_a_directory_must_be(tmp_path: Path) -> None:
    """
    A set is refused when one of its names is both a file and a directory.
    """
    with pytest.raises(ValueError, match="'a/b': expected a path whose directories are not files"):
        ConfigMapVolume(tmp_path).write({"a": "1", "a/b": "2"})


def test_cleans_names(tmp_path: Path) -> None:
    """
    Empty and ``.`` components of a name are dropped, and a dot-file is an ordinary key.
    """
    volume = ConfigMapVolume(tmp_path)
    volume.write({"a//b": "1", "./c": "2", ".x": "3"})

    assert volume.read() == {".x": b"3", "a/b": b"1", "c": b"2"}


def test_a_left_over_link_blocks_every_write(tmp_path: Path) -> None:
    """
    A link ``..data_tmp`` left by a writer that died makes every write fail, and failed writes leave nothing behind.
    """
    volume = ConfigMapVolume(tmp_path)
    volume.write({"a": "1"})
    next(step for step in volume.steps({"a": "2"}) if step == "make ..data_tmp")
    before = _names(tmp_path)

    for _ in range(2):
        with pytest.raises(FileExistsError):
            volume.write({"a": "3"})
    assert before == _names(tmp_path)
    assert volume.read() == {"a": b"1"}


@pytest.mark.parametrize("legacy", [False, True])
def test_steps_come_in_the_kubelets_order(tmp_path: Path, legacy: bool) -> None:
    """
    Links of new keys are made after the rename, or before it with older kubelets; links of old keys are removed after.
    """
    volume = ConfigMapVolume(tmp_path, legacy=legacy)
    volume.write({"a": "1", "b": "2"})
    steps = list(volume.steps({"b": "3", "c": "4"}))

    middle = ["make ..data_tmp", "rename ..data_tmp"]
    assert [
        *["validate", "find old", "find stale", "compare", "make directory", "write b", "write c", "set modes"],
        *(["link c", *middle] if legacy else [*middle, "link c"]),
        *["unlink a", "delete b", "delete a", "delete old"],
    ] == steps


def test_steps_name_what_is_deleted(tmp_path: Path) -> None:
    """
    Each file of an old set is deleted in a step of its own that has the file's key in its name.
    """
    volume = ConfigMapVolume(tmp_path)
    volume.write({"a": "1", "d/b": "2", "d/e/c": "3"})
    steps = list(volume.steps({"a": "2"}))

    assert {"delete a", "delete d/b", "delete d/e/c"} == {step for step in steps if step.startswith("delete ")} - {
        "delete old"
    }


@pytest.mark.parametrize(("legacy", "mended"), [(False, True), (True, False)])
def test_missing_links_are_made_again(tmp_path: Path, legacy: bool, mended: bool) -> None:
    """
    A write of unchanged contents makes a missing link again; older kubelets do not.
    """
    volume = ConfigMapVolume(tmp_path, legacy=legacy)
    volume.write({"a": "1"})
    (tmp_path / "a").unlink()

    assert not volume.write({"a": "1"})
    assert mended == (tmp_path / "a").exists()


def _tree(directory: Path) -> dict[str, object]:
    """Return everything below a directory: contents of files, targets of links, True for directories."""
    return {
        path.relative_to(directory).as_posix(): os.readlink(path)
        if path.is_symlink()
        else path.is_dir() or path.read_bytes()
        for path in sorted(directory.rglob("*"))
    }


TARGETS = {
    "absolute": "{directory}/outside",
    "upwards": "../outside",
    "the parent": "..",
    "the volume": ".",
    "itself": "..data",
    "through a link": "..link",
    "down and up": "..set/../../outside",
    "another directory": "plain",
    "a file": "..file",
    "an absolute path in the volume": "{directory}/volume/..set",
}
"""Targets of ``..data`` that the kubelet never makes."""


@pytest.fixture(name="strange")
def _strange(tmp_path: Path) -> ConfigMapVolume:
    """Return a volume without ``..data``, with a directory outside next to it, and in it possible targets of a link."""
    for directory in ("outside/deep", "volume/..set", "volume/plain"):
        (tmp_path / directory).mkdir(parents=True)
        (tmp_path / directory / "a").write_text("kept")
    (tmp_path / "volume" / "..file").write_text("kept")
    (tmp_path / "volume" / "..link").symlink_to("../outside")
    return ConfigMapVolume(tmp_path / "volume")


def _refused(volume: ConfigMapVolume, tree: Path) -> None:
    """Assert that writes to the volume are refused and change nothing below *tree*."""
    before = _tree(tree)
    for write in (volume.write, volume.update):
        with pytest.raises(ValueError, match="expected"):
            write({"b": "2"})
    assert before == _tree(tree)


@pytest.mark.parametrize("target", TARGETS)
def test_a_link_that_leads_elsewhere_is_refused(strange: ConfigMapVolume, tmp_path: Path, target: str) -> None:
    """
    A volume whose ``..data`` leads anywhere but to a set in the volume is refused, and nothing is changed.
    """
    (strange.path / "..data").symlink_to(TARGETS[target].format(directory=tmp_path))
    _refused(strange, tmp_path)


def test_data_that_is_no_link_is_refused(strange: ConfigMapVolume, tmp_path: Path) -> None:
    """
    A volume whose ``..data`` is a file or a directory is refused, and nothing is changed.
    """
    data = strange.path / "..data"
    data.write_text("kept")
    _refused(strange, tmp_path)
    data.unlink()
    data.mkdir()
    _refused(strange, tmp_path)


@pytest.mark.parametrize("target", ["outside", "volume", "nowhere"])
def test_a_volume_that_is_a_link_is_refused(strange: ConfigMapVolume, tmp_path: Path, target: str) -> None:
    """
    A volume whose own path is a link is refused, even when the link leads to another volume.
    """
    (tmp_path / "link").symlink_to(target)
    _refused(ConfigMapVolume(tmp_path / "link"), tmp_path)


@pytest.mark.parametrize("what", ["file", "directory", "link out", "link to another key"])
@pytest.mark.parametrize("name", ["b", "b/c"])
def test_what_stands_where_a_key_goes_is_kept(tmp_path: Path, what: str, name: str) -> None:
    """
    A key whose link cannot be made, because something else is there, is refused before anything is published.
    """
    volume = ConfigMapVolume(tmp_path / "volume")
    volume.write({"a": "1"})
    (tmp_path / "outside").write_text("outside")
    place = volume.path / "b"
    match what:
        case "file":
            place.write_text("mine")
        case "directory":
            place.mkdir()
        case "link out":
            place.symlink_to("../outside")
        case _:
            place.symlink_to("..data/a")
    before = _tree(tmp_path)

    with pytest.raises(ValueError, match=r"volume/b: expected nothing or the link \.\.data/b here; move it away"):
        volume.update({name: "2"})
    assert before == _tree(tmp_path)


def test_what_took_the_place_of_a_link_is_kept(tmp_path: Path) -> None:
    """
    A removed key leaves a file in place that somebody has put where its link was.
    """
    volume = ConfigMapVolume(tmp_path)
    volume.write({"a": "1", "b": "2"})
    (tmp_path / "a").unlink()
    (tmp_path / "a").write_text("mine")

    assert volume.write({"b": "2"})
    assert (tmp_path / "a").read_text() == "mine"
    assert volume.read() == {"b": b"2"}


def test_links_in_a_set_are_not_followed(tmp_path: Path) -> None:
    """
    A link in the published set makes `update()` fail, and is not followed when the set is deleted.
    """
    volume = ConfigMapVolume(tmp_path / "volume")
    volume.write({"a": "1", "d/b": "2"})
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("outside")
    data = volume.path / os.readlink(volume.path / "..data")
    (data / "d" / "leak").symlink_to(outside / "secret")
    (data / "e").symlink_to(outside)

    with pytest.raises(ValueError, match="expected a file of the published set, found a link"):
        volume.update({"a": "3"})
    assert volume.write({"a": "3"})
    assert (outside / "secret").read_text() == "outside"
    assert not data.exists()
    assert volume.read() == {"a": b"3"}


def test_a_set_that_is_gone_is_replaced(tmp_path: Path) -> None:
    """
    A volume whose ``..data`` leads to a deleted set reads as empty and can be written.
    """
    volume = ConfigMapVolume(tmp_path)
    volume.write({"a": "1"})
    data = tmp_path / os.readlink(tmp_path / "..data")
    (data / "a").unlink()
    data.rmdir()

    assert volume.read() == {}
    assert volume.write({"a": "1"})
    assert volume.read() == {"a": b"1"}


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A write that fails at a full disk or at a rename leaves the volume as it was, and the next write works.
    """
    volume = ConfigMapVolume(tmp_path)
    volume.write({"a": "1"})
    before = _tree(tmp_path)
    for name in ("write_bytes", "rename"):
        with monkeypatch.context() as patch:
            patch.setattr(type(tmp_path), name, _full)
            with pytest.raises(OSError, match="No space left"):
                volume.write({"a": "2"})
        assert before == _tree(tmp_path)
    assert volume.write({"a": "2"})


def _full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["is_dir", "exists", "rglob", "is_file", "read_bytes"])
def test_a_set_that_is_replaced_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """
    `read()` returns the new set when its own set is replaced and deleted at any of the calls that it makes.
    """
    volume, following = ConfigMapVolume(tmp_path), iter(["2"])
    volume.write({"a": "1", "b": "1"})
    original = getattr(type(tmp_path), call)

    def publish(path: Path, *arguments: Any) -> Any:
        for text in following:
            volume.write({"a": text, "b": text})
        return original(path, *arguments)

    monkeypatch.setattr(type(tmp_path), call, publish)
    assert volume.read() == {"a": b"2", "b": b"2"}


def test_a_set_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    `read()` raises an error that a new set did not cause.
    """
    volume = ConfigMapVolume(tmp_path)
    volume.write({"a": "1"})
    monkeypatch.setattr(type(tmp_path), "read_bytes", _full)
    with pytest.raises(OSError, match="No space left"):
        volume.read()


def test_writers_at_once_lose_no_key(tmp_path: Path) -> None:
    """
    Four writers that update one volume at once lose no key, also when the directory does not exist yet.
    """
    path, start = tmp_path / "x" / "volume", threading.Barrier(4)

    def add(writer: int) -> None:
        start.wait()
        for number in range(10):
            assert ConfigMapVolume(path).update({f"{writer}-{number}": "1"})
        assert ConfigMapVolume(path).remove(f"{writer}-0")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(4)))
    assert set(ConfigMapVolume(path).read()) == {f"{writer}-{number}" for writer in range(4) for number in range(1, 10)}


def test_a_write_that_is_refused_makes_no_directory(tmp_path: Path) -> None:
    """
    A refused write removes the directories that it made for its lock, and keeps those that were there before.
    """
    (tmp_path / "x").mkdir()
    with pytest.raises(KeyError):
        ConfigMapVolume(tmp_path / "x" / "y" / "volume").remove("a")
    assert os.listdir(tmp_path) == ["x"]
    assert os.listdir(tmp_path / "x") == []


def test_a_directory_that_is_removed_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A writer makes and locks the directory again when another writer removed it before the lock was taken.
    """
    fcntl = pytest.importorskip("fcntl")
    flock, volume, locked = fcntl.flock, ConfigMapVolume(tmp_path / "volume"), []
    removals = iter([volume.path.rmdir])

    def remove(descriptor: int, operation: int) -> None:
        for removal in removals:
            removal()
        locked.append(os.fstat(descriptor))
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", remove)
    assert volume.write({"a": "1"})
    assert os.path.samestat(locked[-1], volume.path.stat())
    assert volume.read() == {"a": b"1"}


@pytest.mark.parametrize("lacking", ["fcntl", "locks", "permission", "numbers"])
def test_a_volume_is_written_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: str) -> None:
    """
    A write works without ``fcntl``, without locks, in a directory that cannot be opened, and with changing inodes.
    """
    volume = ConfigMapVolume(tmp_path)
    match lacking:
        case "fcntl":
            monkeypatch.setitem(sys.modules, "fcntl", None)
        case "locks":
            monkeypatch.setattr("fcntl.flock", _full)
        case "numbers":
            monkeypatch.setattr("dflag.testing._volume_lock.identity", lambda _: ())
        case _:
            monkeypatch.setattr("dflag.testing._volume_lock.os.open", _denied)
    assert volume.write({"a": "1"})
    monkeypatch.undo()
    assert volume.read() == {"a": b"1"}


def _denied(*_: object) -> None:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
