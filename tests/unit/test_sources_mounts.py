"""
`why_not_live()` reports the mounts that never show a change, and `secret` recognizes the volume of a Secret.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from dflag.sources import DirectorySource, FileSource, _mounts
from dflag.testing import ConfigMapVolume

if TYPE_CHECKING:
    from pathlib import Path

SET = "/var/lib/kubelet/pods/5f/volumes/kubernetes.io~configmap/web/..2026_11_21_07_57_54.1234"


class Mounts:
    """
    A made-up list of mounts, in the kernel's form.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._file.write_text("22 27 0:21 / / rw,relatime - ext4 /dev/vda rw\n")

    def add(self, point: Path, root: str, *, options: str = "", kind: str = "ext4") -> None:
        """
        Add a line that mounts the directory or file *root* of a file system at *point*.
        """
        escaped = str(point).replace("\\", "\\134").replace(" ", "\\040")
        with self._file.open("a") as lines:
            lines.write(f"63 43 254:0 {root} {escaped} rw,relatime {options}- {kind} /dev/vda rw,discard\n")


@pytest.fixture(name="mounts")
def _made_up_mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mounts:
    monkeypatch.setattr(_mounts, "_MOUNTS", str(tmp_path / "mountinfo"))
    return Mounts(tmp_path / "mountinfo")


@pytest.fixture(name="directory")
def _directory(tmp_path: Path) -> Path:
    directory = tmp_path / "with space"
    directory.mkdir()
    for name in ("a", "b", "c", "d"):
        (directory / name).write_text("1")
    return directory


def test_an_ordinary_directory_is_live(mounts: Mounts, directory: Path) -> None:
    """
    `why_not_live()` returns None for a directory and a file that are not mounts.
    """
    assert _mounts.why_not_live(str(directory)) is None
    assert _mounts.why_not_live(str(directory / "a")) is None


@pytest.mark.parametrize("root", ["/", "/volumes/kubernetes.io~configmap/web"])
def test_a_volume_is_live(mounts: Mounts, directory: Path, root: str) -> None:
    """
    `why_not_live()` returns None for a mount of a whole file system or volume, and for a file in it.
    """
    mounts.add(directory, root)

    assert _mounts.why_not_live(str(directory)) is None
    assert _mounts.why_not_live(str(directory / "a")) is None


@pytest.mark.parametrize("end", ["/a", "/a//deleted"])
def test_a_file_of_a_volume_mounted_alone_is_not_live(mounts: Mounts, directory: Path, end: str) -> None:
    """
    A key mounted by subPath is reported for the file and for its directory, also after its set was deleted.
    """
    mounts.add(directory / "a", SET + end, options="shared:5 master:1 ")

    assert str(_mounts.why_not_live(str(directory / "a"))).startswith("it is mounted by subPath")
    assert str(_mounts.why_not_live(str(directory))).startswith("a in it is mounted by subPath")
    assert _mounts.why_not_live(str(directory / "b")) is None


def test_a_directory_of_a_volume_mounted_alone_is_not_live(mounts: Mounts, directory: Path) -> None:
    """
    A sub-directory of a set that is mounted by subPath is reported, for itself and for each file in it.
    """
    mounts.add(directory, SET + "/tls")

    assert str(_mounts.why_not_live(str(directory))).startswith("it is mounted by subPath")
    assert str(_mounts.why_not_live(str(directory / "a"))).startswith("it is mounted by subPath")


def test_the_mount_on_top_counts(mounts: Mounts, directory: Path) -> None:
    """
    Only the last of several mounts at one point counts, because it hides the others.
    """
    mounts.add(directory, SET + "/tls")
    mounts.add(directory, "/")

    assert _mounts.why_not_live(str(directory)) is None


def test_any_file_mounted_alone_is_told_of(mounts: Mounts, directory: Path) -> None:
    """
    A file that is a mount of its own is reported; for a directory that holds many of them, the first three are named.
    """
    for name in ("d", "c", "b", "a"):
        mounts.add(directory / name, f"/home/{name}")

    assert str(_mounts.why_not_live(str(directory / "b"))).startswith("it is mounted as a file")
    assert str(_mounts.why_not_live(str(directory))).startswith("a, b, c, ... in it are each mounted as a file")


def test_a_path_is_followed_to_its_mount(mounts: Mounts, directory: Path, tmp_path: Path) -> None:
    """
    A mount is also found when the path leads to it through a symbolic link.
    """
    mounts.add(directory / "a", SET + "/a")
    (tmp_path / "link").symlink_to(directory)

    assert DirectorySource(tmp_path / "link").why_not_live() == _mounts.why_not_live(str(directory))
    assert FileSource(tmp_path / "link" / "a").why_not_live() == _mounts.why_not_live(str(directory / "a"))
    assert _mounts.why_not_live(os.fspath(tmp_path / "link" / "a")) is not None


def test_without_a_list_of_mounts_nothing_is_said(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    `why_not_live()` returns None when there is no list of mounts, as on systems other than Linux.
    """
    monkeypatch.setattr(_mounts, "_MOUNTS", str(directory / "missing"))

    assert _mounts.why_not_live(str(directory)) is None


def test_a_volume_in_memory_is_a_secrets(mounts: Mounts, tmp_path: Path) -> None:
    """
    The directory of a Secret's volume and a document in it count as secret, unless `secret=False` is given.
    """
    volume = ConfigMapVolume(tmp_path / "volume")
    volume.write({"app.yaml": "a: 1"})
    mounts.add(volume.path, "/", kind="tmpfs")

    assert DirectorySource(volume.path).secret
    assert FileSource(volume.path / "app.yaml").secret
    assert not DirectorySource(volume.path, secret=False).secret


def test_other_directories_are_no_secrets(mounts: Mounts, directory: Path, tmp_path: Path) -> None:
    """
    A volume on disk is not secret, nor is one in a directory in memory such as ``/tmp``, nor a plain directory.
    """
    mounts.add(tmp_path, "/", kind="tmpfs")
    volume = ConfigMapVolume(tmp_path / "volume")
    volume.write({"a": "1"})
    assert not DirectorySource(volume.path).secret
    assert not DirectorySource(directory).secret
    assert not DirectorySource(tmp_path / "missing").secret
    assert DirectorySource(tmp_path / "missing", secret=True).secret

    mounts.add(volume.path, "/volumes/kubernetes.io~configmap/web")
    assert not DirectorySource(volume.path).secret
