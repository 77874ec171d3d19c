"""
Reading a document file that nothing changes meanwhile; the integration tests publish while a source reads.
"""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from dflag.errors import DefinitionError, SourceError
from dflag.sources import FileSource, Text
from dflag.testing import ConfigMapVolume

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_MIB = 1024 * 1024


@pytest.fixture(name="volume")
def _volume(tmp_path: Path) -> ConfigMapVolume:
    volume = ConfigMapVolume(tmp_path / "volume")
    volume.write({"app.yaml": "rate: 012 # per second\nmode: no\n"})
    return volume


@pytest.fixture(name="source")
def _source(volume: ConfigMapVolume) -> FileSource:
    return FileSource(volume.path / "app.yaml")


def _settled(path: Path, data: str | bytes) -> Path:
    """
    Write a file and return its path.
    """
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def _eager(path: Path) -> FileSource:
    """
    Return a source that waits for at most a tick of the clock until a file has settled.
    """
    return FileSource(path, settle_seconds=0)


def test_reads_a_document_in_a_volume(source: FileSource) -> None:
    """
    Each key of a document has its text as written, together with its native value.
    """
    values = source.read()
    assert dict(values) == {"rate": "012", "mode": "no"}
    rate = values["rate"]
    assert isinstance(rate, Text)
    assert rate.native == 12
    assert source.recheck_seconds() is None


def test_the_name_is_the_path_as_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The name of the source is the relative path as given, and the same file is read after a change of directory.
    """
    _settled(tmp_path / "app.yaml", "a: 1")
    monkeypatch.chdir(tmp_path)
    source = _eager(path=os.path.relpath("app.yaml"))  # type: ignore[arg-type]  # any path will do
    monkeypatch.chdir("/")

    assert source.name == "app.yaml"
    assert repr(source) == "FileSource('app.yaml')"
    assert dict(source.read()) == {"a": "1"}


def test_locates_a_key_by_line(source: FileSource, volume: ConfigMapVolume) -> None:
    """
    `locate()` returns the line of a key in the last reading; before it, and for an unknown key, only the file.
    """
    path = f"{volume.path}/app.yaml"
    assert source.locate("mode") == path
    source.read()
    assert source.locate("mode") == f"{path}:2"
    assert source.locate("other") == path
    volume.write({"app.yaml": "# moved\n\nrate: 012\nmode: no\n"})
    source.read()
    assert source.locate("mode") == f"{path}:4"


def test_json_is_held_to_json(tmp_path: Path) -> None:
    """
    A file that ends in .json, in any case, must be JSON; any other may be JSON or YAML.
    """
    assert dict(_eager(_settled(tmp_path / "a.yml", '{"a": 1.0}')).read()) == {"a": "1.0"}
    assert dict(_eager(_settled(tmp_path / "a.JSON", '{"a": 1.0}')).read()) == {"a": "1.0"}
    with pytest.raises(SourceError, match=r"b\.JSON:1:1: expected JSON"):
        _eager(_settled(tmp_path / "b.JSON", "a: 1.0")).read()


def test_a_bad_document_is_named_with_line_and_column(volume: ConfigMapVolume, source: FileSource) -> None:
    """
    The error for a bad document has its line, column and fault, and neither it nor a cause quotes the document.
    """
    volume.write({"app.yaml": "mode: no\npassword: hunter2: x\n"})
    with pytest.raises(SourceError) as caught:
        source.read()

    assert str(caught.value) == (
        f"cannot read {volume.path}/app.yaml:2:18: "
        "expected JSON or YAML: mapping values are not allowed in this context"
    )
    assert not caught.value.missing
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("text", ["", "# later", "{}"])
def test_a_document_without_keys_is_an_empty_set(volume: ConfigMapVolume, source: FileSource, text: str) -> None:
    """
    A document without keys is an empty set of values and raises nothing.
    """
    volume.write({"app.yaml": text})
    assert dict(source.read()) == {}


def test_what_is_missing_says_so(tmp_path: Path, volume: ConfigMapVolume) -> None:
    """
    A missing file or directory, a path below a file, a dangling link, and a key that a volume lacks count as missing.
    """
    (tmp_path / "dangling.yaml").symlink_to("nowhere")
    (tmp_path / "file").touch()
    for path in (
        tmp_path / "app.yaml",
        tmp_path / "none" / "app.yaml",
        tmp_path / "file" / "app.yaml",
        tmp_path / "dangling.yaml",
        volume.path / "other.yaml",
    ):
        source = _eager(path)
        with pytest.raises(SourceError, match="no such file, expected a YAML or JSON document") as caught:
            source.read()
        assert caught.value.missing, path
        assert source.recheck_seconds() is None, path


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    # The path of a socket is limited to about a hundred characters.
    before = os.open(".", os.O_RDONLY)
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.fchdir(before)
        os.close(before)


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(16 * _MIB + 1)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_fifo, "a FIFO"),
        (_socket, "a socket"),
        (lambda path: path.symlink_to("/dev/null"), "a device"),
        (lambda path: path.symlink_to(path), "a link loop"),
        (lambda path: path.mkdir(), "is a directory"),
        (_huge, "larger than 16 MiB"),
    ],
)
def test_what_is_no_file_is_refused(tmp_path: Path, make: Callable[[Path], object], reason: str) -> None:
    """
    A path to anything but a file, or to a file that is too large, raises a `SourceError` that is not "missing".
    """
    make(tmp_path / "app.yaml")
    with pytest.raises(SourceError, match=f"app.yaml: {reason}, expected") as caught:
        _eager(tmp_path / "app.yaml").read()
    assert not caught.value.missing


def test_what_is_no_file_in_a_volume_is_refused(volume: ConfigMapVolume, source: FileSource) -> None:
    """
    An entry of a volume that is a FIFO raises a `SourceError`.
    """
    entry = volume.path / "..data" / "app.yaml"
    entry.unlink()
    os.mkfifo(entry)
    with pytest.raises(SourceError, match="a FIFO"):
        source.read()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_a_refused_file_is_tried_again(
    volume: ConfigMapVolume, source: FileSource, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """
    After a file was refused, a read is due again, and `probe()` returns another token though nothing has changed.
    """
    real = os.open

    def failing(path: Any, flags: int, *args: Any, **options: Any) -> int:
        if path == "app.yaml":
            raise OSError(number, os.strerror(number))
        return real(path, flags, *args, **options)

    before = source.probe()
    monkeypatch.setattr("dflag.sources.file.REFUSED_RECHECK_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", failing)
        with pytest.raises(SourceError, match=os.strerror(number).lower()):
            source.read()

    assert source.recheck_seconds() == 0
    assert before != source.probe()
    assert dict(source.read()) == {"rate": "012", "mode": "no"}


def test_want_of_descriptors_is_tried_again(source: FileSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    When the process has no descriptor left, the read fails without counting as missing, and is due within a second.
    """

    def failing(*_: Any, **_options: Any) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", failing)
        with pytest.raises(SourceError, match="too many open files") as caught:
            source.read()
    assert not caught.value.missing
    recheck = source.recheck_seconds()
    assert recheck is not None
    assert recheck <= 1.0


def test_a_probe_takes_two_system_calls(source: FileSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    `probe()` makes two system calls: it reads the volume's link and asks for the file's state.
    """
    source.read()
    calls: list[str] = []
    for name in ("readlink", "stat", "lstat", "open", "scandir", "fstat"):
        real = getattr(os, name)

        def counted(*args: Any, _name: str = name, _real: Any = real, **options: Any) -> Any:
            calls.append(_name)
            return _real(*args, **options)

        monkeypatch.setattr(os, name, counted)
    source.probe()
    monkeypatch.undo()

    assert calls == ["readlink", "stat"]


def test_a_probe_sees_every_change(tmp_path: Path) -> None:
    """
    The token of `probe()` changes when the file is created, written, replaced or removed, and stays otherwise.
    """
    path = tmp_path / "app.yaml"
    source = _eager(path)
    tokens = [source.probe()]
    for change in (
        lambda: path.write_text("a: 1"),
        lambda: path.write_text("a: 22"),
        lambda: _settled(tmp_path / "new", "a: 33").rename(path),
        path.unlink,
    ):
        change()
        tokens.append(source.probe())
        assert tokens[-1] == source.probe()
    assert len(set(tokens)) == len(tokens) - 1
    assert tokens[0] == tokens[-1]


def test_neighbours_do_not_matter(tmp_path: Path) -> None:
    """
    Other files in the directory, such as those of editors, do not change the token of `probe()`.
    """
    source = _eager(_settled(tmp_path / "app.yaml", "a: 1"))
    source.read()
    before = source.probe()
    for name in ("app.yaml~", ".app.yaml.swp", "4913", "other.yaml"):
        (tmp_path / name).write_text("b: 2")

    assert before == source.probe()
    assert dict(source.read()) == {"a": "1"}


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_refuses_what_can_be_no_path(path: str) -> None:
    """
    An empty path and one with a NUL raise `DefinitionError` at construction.
    """
    with pytest.raises(DefinitionError, match="file source: expected a path"):
        FileSource(path)


@pytest.mark.parametrize("seconds", [-1.0, float("inf"), float("nan")])
def test_refuses_an_impossible_settling_time(seconds: float) -> None:
    """
    A settling time that is negative, infinite or not a number raises `DefinitionError`.
    """
    with pytest.raises(DefinitionError, match="settle_seconds"):
        FileSource("app.yaml", settle_seconds=seconds)


def test_json_needs_no_yaml(tmp_path: Path) -> None:
    """
    PyYAML is imported only when a YAML document is read, neither with the module nor for JSON.
    """
    _settled(tmp_path / "a.json", '{"a": 1}')
    _settled(tmp_path / "a.yaml", "a: 1")
    program = (
        "import sys; from dflag.sources import FileSource\n"
        "for name in ('a.json', 'a.yaml'):\n"
        "    FileSource(f'{sys.argv[1]}/{name}').read(); print('yaml' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.split() == ["False", "True"]
