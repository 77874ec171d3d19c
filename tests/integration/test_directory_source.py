"""
Reading a directory next to a writer that is frozen, dead or busy at any step.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from dflag.errors import SourceError
from dflag.sources import DirectorySource, Unreadable
from dflag.testing import ConfigMapVolume

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dflag.typing import Raw

pytestmark = pytest.mark.once

OLD = {"kept": "same", "changed": "old", "removed": "1"}
NEW = {"kept": "same", "changed": "new", "added": "2"}


@pytest.fixture(name="volume", params=[False, True], ids=["current", "legacy"])
def _volume(tmp_path: Path, request: pytest.FixtureRequest) -> ConfigMapVolume:
    volume = ConfigMapVolume(tmp_path / "volume", legacy=request.param)
    volume.write(OLD)
    return volume


@pytest.fixture(name="source")
def _source(volume: ConfigMapVolume) -> DirectorySource:
    return DirectorySource(volume.path)


def _bytes(values: Mapping[str, str]) -> dict[str, bytes]:
    return {name: value.encode() for name, value in values.items()}


def test_a_frozen_writer_shows_the_old_or_the_new_set(volume: ConfigMapVolume, source: DirectorySource) -> None:
    """
    After each step of a publication the set is exactly the old one until the rename, then exactly the new one.
    """
    expected = _bytes(OLD)
    token = source.probe()
    for step in volume.steps(NEW):
        if step == "rename ..data_tmp":
            expected = _bytes(NEW)
            assert token != source.probe(), step
            token = source.probe()

        assert expected == source.read(), step
        assert token == source.probe(), step


def test_a_dead_writer_leaves_a_complete_set(volume: ConfigMapVolume, source: DirectorySource) -> None:
    """
    When a writer dies after any step, the next read returns the complete published set.
    """
    count = len(list(ConfigMapVolume(f"{volume.path}-count").steps(NEW)))
    for last in range(count):
        for number, _ in enumerate(volume.steps({**NEW, "changed": f"new {last}"})):
            if number == last:
                break
        values = source.read()

        assert values == volume.read()
        assert "kept" in values
        (volume.path / "..data_tmp").unlink(missing_ok=True)


def test_the_first_publication_is_nothing_or_all(tmp_path: Path) -> None:
    """
    Before the first rename a volume is empty, even if its links exist; after it the set is complete.
    """
    for legacy in (False, True):
        volume = ConfigMapVolume(tmp_path / str(legacy), legacy=legacy)
        volume.path.mkdir()
        published = False
        for step in volume.steps(NEW):
            published = published or step == "rename ..data_tmp"
            assert (_bytes(NEW) if published else {}) == DirectorySource(volume.path).read(), step


def test_what_dead_writers_left_is_ignored(volume: ConfigMapVolume, source: DirectorySource) -> None:
    """
    Any number of orphaned directories, full, half or empty, and a stale ``..data_tmp`` change nothing.
    """
    for number, files in enumerate(({"changed": "x"}, {}, {"other": ""})):
        orphan = volume.path / f"..2020_01_01_00_00_0{number}.1"
        orphan.mkdir()
        for name, text in files.items():
            (orphan / name).write_text(text)
    (volume.path / "..data_tmp").symlink_to("..2020_01_01_00_00_00.1")

    assert _bytes(OLD) == source.read()
    with pytest.raises(FileExistsError):
        volume.write(NEW)
    assert _bytes(OLD) == source.read()


def test_keys_without_links_are_read(volume: ConfigMapVolume, source: DirectorySource) -> None:
    """
    A key is read even if the kubelet died before it made the visible link.
    """
    (volume.path / "changed").unlink()

    assert _bytes(OLD) == source.read()


def test_an_emptied_volume_is_an_empty_set(volume: ConfigMapVolume, source: DirectorySource) -> None:
    """
    When every key is removed the set is empty; when the keys are published again the set is complete.
    """
    volume.write({})
    assert source.read() == {}
    volume.write(OLD)

    assert _bytes(OLD) == source.read()


def test_nested_keys_are_no_values(volume: ConfigMapVolume, source: DirectorySource) -> None:
    """
    Files in sub-directories and dot-files are ignored, and ``foo.log`` next to ``foo`` is read.
    """
    volume.write({"a/b/c": "1", "foo/x": "2", "foo.log": "3", ".x": "4"})

    assert source.read() == {"foo.log": b"3"}


def test_a_change_of_modes_or_times_is_no_change(volume: ConfigMapVolume, source: DirectorySource) -> None:
    """
    A change of a file's mode or times in a volume changes neither the token nor the values.
    """
    token = source.probe()
    for name in OLD:
        (volume.path / name).chmod(0o440)
        os.utime(volume.path / name, (2**33, 2**33))

    assert not volume.write(OLD)
    assert token == source.probe()
    assert _bytes(OLD) == source.read()
    assert source.recheck_seconds() is None


def test_the_same_contents_in_a_new_directory_read_the_same(volume: ConfigMapVolume, source: DirectorySource) -> None:
    """
    A set that is published again gives another token and equal values.
    """
    token, before = source.probe(), source.read()
    volume.write({})
    volume.write(OLD)

    assert token != source.probe()
    assert before == source.read()


def test_a_set_deleted_while_it_is_read_is_read_again(
    volume: ConfigMapVolume, source: DirectorySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A directory that is replaced and deleted under the reader is never taken for a smaller set.
    """
    real = os.open
    writes = iter(range(3))

    def publishing(path: str, flags: int, *args: int, **options: int) -> int:
        descriptor = real(path, flags, *args, **options)
        if str(path).endswith("..data") and next(writes, None) is not None:
            with monkeypatch.context() as patch:
                patch.setattr(os, "open", real)
                volume.write({"changed": str(time.monotonic_ns())})
        return descriptor

    monkeypatch.setattr(os, "open", publishing)

    assert source.read() == volume.read()


@pytest.mark.untraced
def test_a_storm_of_publications_tears_no_set(tmp_path: Path) -> None:
    """
    While a writer publishes without a pause, every set that is read is complete and of one publication.
    """
    volume = ConfigMapVolume(tmp_path)
    names = [f"flag{number}" for number in range(20)]
    volume.write(dict.fromkeys(names, "0"))
    stopping = threading.Event()

    def publish() -> None:
        number = 0
        while not stopping.is_set():
            number += 1
            volume.write(dict.fromkeys(names, str(number)))

    writer = threading.Thread(target=publish)
    writer.start()
    source = DirectorySource(tmp_path)
    seen: set[Raw] = set()
    deadline = time.monotonic() + 1.0
    try:
        while time.monotonic() < deadline:
            values = source.read()
            assert names == sorted(values, key=lambda name: int(name[4:]))
            assert len(set(values.values())) == 1
            seen.update(values.values())
    finally:
        stopping.set()
        writer.join()

    assert len(seen) > 1


def test_reading_leaks_no_descriptor(volume: ConfigMapVolume, source: DirectorySource, tmp_path: Path) -> None:
    """
    Hundreds of reads, some of which fail, leave no descriptor open.
    """
    (tmp_path / "plain").mkdir()
    plain = DirectorySource(tmp_path / "plain")
    missing = DirectorySource(tmp_path / "missing")
    before = len(os.listdir("/proc/self/fd"))
    for number in range(300):
        source.read()
        plain.read()
        plain.probe()
        (tmp_path / "plain" / str(number % 3)).write_text("x")
        with pytest.raises(SourceError):
            missing.read()
    volume.write({})

    assert before == len(os.listdir("/proc/self/fd"))


def test_many_keys_and_a_large_one_are_read_in_bounded_time(volume: ConfigMapVolume, source: DirectorySource) -> None:
    """
    Reading five thousand keys and a value of one MiB takes less than a second.
    """
    values = {f"flag_{number}": str(number) for number in range(5000)} | {"large": "x" * 2**20}
    volume.write(values)
    began = time.monotonic()

    assert _bytes(values) == source.read()
    assert time.monotonic() - began < 1.0


def test_a_relative_path_keeps_its_meaning(
    volume: ConfigMapVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A source made from a relative path reads the same directory after the program has changed its working directory.
    """
    monkeypatch.chdir(tmp_path)
    source = DirectorySource("volume")
    monkeypatch.chdir("/")

    assert _bytes(OLD) == source.read()


def test_a_parent_that_is_led_elsewhere_is_followed(volume: ConfigMapVolume, tmp_path: Path) -> None:
    """
    A link in the path is followed at every read, and a change of it changes the token.
    """
    for name, value in (("one", "1"), ("two", "2")):
        ConfigMapVolume(tmp_path / name / "flags").write({"a": value})
    link = tmp_path / "current"
    link.symlink_to("one")
    source = DirectorySource(link / "flags")
    assert source.read() == {"a": b"1"}
    token = source.probe()
    link.unlink()
    link.symlink_to("two")

    assert token != source.probe()
    assert source.read() == {"a": b"2"}
    assert _bytes(OLD) == DirectorySource(link / ".." / "volume").read()


def test_a_directory_that_goes_and_comes_back_is_read_again(volume: ConfigMapVolume, source: DirectorySource) -> None:
    """
    While the directory is away a read raises a ``missing`` error; the token changes when it goes and comes back.
    """
    token = source.probe()
    volume.path.rename(f"{volume.path}-away")
    away = source.probe()
    with pytest.raises(SourceError) as caught:
        source.read()
    assert caught.value.missing
    assert away == source.probe() != token
    volume.write(NEW)

    assert away != source.probe()
    assert _bytes(NEW) == source.read()


def test_a_plain_directory_that_becomes_a_volume_is_read_as_one(tmp_path: Path) -> None:
    """
    Once ``..data`` exists the files next to it are ignored, and the token changes.
    """
    (tmp_path / "plain").write_text("1")
    source = DirectorySource(tmp_path, settle_seconds=0.02)
    assert source.read() == {"plain": b"1"}
    token = source.probe()
    ConfigMapVolume(tmp_path).write({"a": "2"})

    assert token != source.probe()
    assert source.read() == {"a": b"2"}


def test_reading_by_a_refused_entry_is_bounded(volume: ConfigMapVolume, source: DirectorySource) -> None:
    """
    A read does not wait for a FIFO in the volume, and returns it as unreadable.
    """
    os.mkfifo(volume.path / "..data" / "fifo")
    began = time.monotonic()
    values = source.read()

    assert time.monotonic() - began < 1.0
    assert values["fifo"] == Unreadable("a FIFO")
