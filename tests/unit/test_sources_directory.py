"""
Reading a directory that nothing changes meanwhile; the integration tests publish while a source reads.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from dflag.errors import DefinitionError, SourceError
from dflag.sources import DirectorySource, Unreadable
from dflag.sources._entries import read_file
from dflag.testing import ConfigMapVolume

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_MIB = 1024 * 1024


@pytest.fixture(name="volume")
def _volume(tmp_path: Path) -> ConfigMapVolume:
    volume = ConfigMapVolume(tmp_path / "volume")
    volume.write({"a": "1", "b": "2"})
    return volume


@pytest.fixture(name="data")
def _data(volume: ConfigMapVolume) -> Path:
    return volume.path / os.readlink(volume.path / "..data")


def _fail_open(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    real = os.open

    def failing(path: Any, flags: int, *args: Any, **options: Any) -> int:
        if path == name:
            raise OSError(number, os.strerror(number))
        return real(path, flags, *args, **options)

    monkeypatch.setattr(os, "open", failing)


def test_binary_and_empty_contents_come_as_they_are(volume: ConfigMapVolume) -> None:
    """
    Contents of files are returned as bytes, neither decoded nor stripped, and an empty file is a value too.
    """
    values = {"a": b"\xef\xbb\xbf\xff\x00\r\n", "empty": b"", "page": b"x" * 4096, "long": b"y" * 10_000}
    volume.write(values)

    assert values == DirectorySource(volume.path).read()


def test_only_names_that_keys_can_have_are_values(volume: ConfigMapVolume) -> None:
    """
    Dot-files, subdirectories and names that no key can have are left out; a name of 253 characters is read.
    """
    names = [".x", ".x.y", "d/e", "foo/f", "a~", "#a#", "b c", "\u00e9", "x" * 254]
    volume.write({**dict.fromkeys(names, "0"), "foo.log": "1", "-": "2", "x" * 253: "3"})

    assert DirectorySource(volume.path).read() == {"foo.log": b"1", "-": b"2", "x" * 253: b"3"}


def test_what_cannot_be_a_value_is_named(data: Path, volume: ConfigMapVolume, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    FIFOs, sockets, devices and link loops are `Unreadable` with the reason, and the files next to them are read.
    """
    os.mkfifo(data / "fifo")
    (data / "to_fifo").symlink_to("fifo")
    (data / "loop").symlink_to("loop")
    (data / "device").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as server:
        # The path of a socket is limited to about a hundred characters.
        monkeypatch.chdir(data)
        server.bind("socket")

    assert {
        "a": b"1",
        "b": b"2",
        "device": Unreadable("a device"),
        "fifo": Unreadable("a FIFO"),
        "loop": Unreadable("a link loop"),
        "socket": Unreadable("a socket"),
        "to_fifo": Unreadable("a FIFO"),
    } == DirectorySource(volume.path).read()


def test_links_count_as_what_they_lead_to(data: Path, volume: ConfigMapVolume) -> None:
    """
    A link to a file is a value; a link to a directory or to nowhere is left out.
    """
    (data / "c").symlink_to("a")
    (data / "directory").symlink_to(".")
    (data / "dangling").symlink_to("nowhere")
    (data / "under_a_file").symlink_to("a/b")

    assert DirectorySource(volume.path).read() == {"a": b"1", "b": b"2", "c": b"1"}


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (os.mkfifo, Unreadable("a FIFO")),
        (lambda path: path.symlink_to("/dev/zero"), Unreadable("a device")),
        (lambda path: path.symlink_to("/dev/null"), Unreadable("a device")),
        (os.mkdir, None),
        (lambda path: path.touch(), b""),
    ],
)
def test_what_is_no_file_when_it_is_opened_is_no_value(
    tmp_path: Path, make: Callable[[Path], object], expected: bytes | Unreadable | None
) -> None:
    """
    An entry that is no longer a file when it is opened is not a value; an empty file still is one.
    """
    make(tmp_path / "odd")
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        assert read_file(directory, "odd") == expected
    finally:
        os.close(directory)


def test_a_value_may_have_16_mib(data: Path, volume: ConfigMapVolume) -> None:
    """
    A file of 16 MiB is read to its end, and a larger one is `Unreadable`.
    """
    with (data / "a").open("wb") as file:
        file.truncate(16 * _MIB)
    with (data / "b").open("wb") as file:
        file.truncate(16 * 1024 * _MIB)
    values = DirectorySource(volume.path).read()

    assert bytes(16 * _MIB) == values["a"]
    assert Unreadable("larger than 16 MiB") == values["b"]


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EACCES, "permission denied"),
        (errno.EPERM, "permission denied"),
        (errno.EIO, "input/output error"),
    ],
)
def test_one_refused_entry_does_not_spoil_the_others(
    volume: ConfigMapVolume, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    """
    An entry that the system refuses is `Unreadable`, is due again within 30 s, and the other entries are read.
    """
    source = DirectorySource(volume.path)
    _fail_open(monkeypatch, "a", number)

    assert {"a": Unreadable(reason), "b": b"2"} == source.read()
    assert 0 < (source.recheck_seconds() or 0) <= 30

    monkeypatch.undo()

    assert source.read() == {"a": b"1", "b": b"2"}
    assert source.recheck_seconds() is None


@pytest.mark.skipif(os.geteuid() == 0, reason="everything is readable for root")
def test_a_file_without_permission_is_unreadable(data: Path, volume: ConfigMapVolume) -> None:
    """
    A file of mode 0000 is `Unreadable`, and the other files are read.
    """
    (data / "a").chmod(0)

    assert {"a": Unreadable("permission denied"), "b": b"2"} == DirectorySource(volume.path).read()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_want_of_descriptors_is_not_the_entrys_fault(
    volume: ConfigMapVolume, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """
    When the process has no descriptor or memory left, the whole read fails and is due again within a second.
    """
    source = DirectorySource(volume.path)
    _fail_open(monkeypatch, "a", number)

    with pytest.raises(SourceError, match=f"^cannot read {volume.path}: {os.strerror(number).lower()}$") as caught:
        source.read()
    assert not caught.value.missing
    assert 0 < (source.recheck_seconds() or 0) <= 1


def test_a_missing_directory_says_so(tmp_path: Path) -> None:
    """
    Reading a directory that does not exist raises a `SourceError` that counts as missing.
    """
    path = tmp_path / "nowhere" / "volume"

    with pytest.raises(SourceError, match=f"^cannot read {path}: no such directory, expected a ConfigMap") as caught:
        DirectorySource(path).read()
    assert caught.value.missing


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_file_is_not_a_directory(tmp_path: Path, name: str) -> None:
    """
    A path to a file, or below one, raises a `SourceError` that does not count as missing.
    """
    (tmp_path / "file").write_text("1")

    with pytest.raises(SourceError, match="not a directory, expected") as caught:
        DirectorySource(tmp_path / name).read()
    assert not caught.value.missing


def test_an_unreadable_directory_is_not_missing(volume: ConfigMapVolume, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A directory without permission raises a `SourceError` that does not count as missing.
    """
    _fail_open(monkeypatch, str(volume.path / "..data"), errno.EACCES)

    with pytest.raises(SourceError, match="permission denied") as caught:
        DirectorySource(volume.path).read()
    assert not caught.value.missing


def test_a_dangling_data_link_is_an_error(volume: ConfigMapVolume) -> None:
    """
    A volume whose ``..data`` leads nowhere raises a `SourceError`, and is neither empty nor missing.
    """
    (volume.path / "..data").unlink()
    (volume.path / "..data").symlink_to("..nowhere")

    with pytest.raises(SourceError, match=r"\.\.data links to nowhere") as caught:
        DirectorySource(volume.path).read()
    assert not caught.value.missing


def test_a_data_entry_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    """
    A file named ``..data`` raises a `SourceError` with the path of that file.
    """
    (tmp_path / "..data").write_text("1")

    with pytest.raises(SourceError, match=r"\.\.data: not a directory"):
        DirectorySource(tmp_path).read()


def test_a_data_entry_that_is_a_directory_is_read_at_every_probe(tmp_path: Path) -> None:
    """
    A real directory named ``..data`` is read, and `probe()` returns another token each time.
    """
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "a").write_text("1")
    source = DirectorySource(tmp_path)

    assert source.read() == {"a": b"1"}
    assert source.probe() != source.probe()


def test_a_read_that_always_loses_gives_up(volume: ConfigMapVolume, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A read during which the directory changes in 20 attempts fails, and is due again within a second but not at once.
    """
    attempts = []

    def replaced(_source: DirectorySource, *place: object) -> bool:
        attempts.append(place)
        return False

    monkeypatch.setattr(DirectorySource, "_is_still", replaced)
    source = DirectorySource(volume.path)

    with pytest.raises(SourceError, match="changed during each of 20 attempts"):
        source.read()
    assert len(attempts) == 20
    assert 0.5 < (source.recheck_seconds() or 0) <= 1


def test_a_failed_read_makes_the_next_probe_differ(volume: ConfigMapVolume, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    After a failed read that is due again, `probe()` returns another token though the directory has not changed.
    """
    source = DirectorySource(volume.path)
    before = source.probe()
    _fail_open(monkeypatch, "a", errno.EMFILE)
    monkeypatch.setattr("dflag.sources.directory.FAILED_RECHECK_SECONDS", 0.0)
    with pytest.raises(SourceError):
        source.read()

    assert before != source.probe()


def test_a_probe_takes_two_system_calls(volume: ConfigMapVolume, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    `probe()` of a volume makes two system calls: it reads the link and asks for the directory's identity.
    """
    source = DirectorySource(volume.path)
    source.read()
    calls: list[str] = []
    for name in ("readlink", "stat", "lstat", "open", "scandir", "fstat"):
        real = getattr(os, name)

        def counted(*args: Any, _name: str = name, _real: Any = real, **options: Any) -> Any:
            calls.append(_name)
            return _real(*args, **options)

        monkeypatch.setattr(os, name, counted)
    source.probe()

    assert calls == ["readlink", "stat"]


@pytest.mark.parametrize(("path", "options"), [("", {}), ("a\0b", {}), ("a", {"settle_seconds": -1.0})])
def test_refuses_what_can_never_work(path: str, options: dict[str, float]) -> None:
    """
    An empty path, one with a NUL and a negative settling time raise `DefinitionError` at construction.
    """
    with pytest.raises(DefinitionError, match="expected"):
        DirectorySource(path, **options)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf")])
def test_refuses_a_settling_time_that_never_ends(seconds: float) -> None:
    """
    A settling time that is infinite or not a number raises `DefinitionError`.
    """
    with pytest.raises(DefinitionError, match="settle_seconds"):
        DirectorySource("a", settle_seconds=seconds)


def test_names_are_as_given_and_keys_have_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The name of the source is the path as given, and `locate()` returns the full path of a key.
    """
    monkeypatch.chdir(tmp_path)
    source = DirectorySource("flags")

    assert source.name == "flags"
    assert str(tmp_path / "flags" / "rate") == source.locate("rate")
    assert repr(source) == "DirectorySource('flags')"
