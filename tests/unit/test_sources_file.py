"""
What a document file gives that no writer disturbs; publishing beside it stands with the integration tests.
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
    Write a file that has been left alone for long.
    """
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def _eager(path: Path) -> FileSource:
    """
    Return a source that waits for no more than a tick of the clock.
    """
    return FileSource(path, settle_seconds=0)


def test_reads_a_document_in_a_volume(source: FileSource) -> None:
    """
    Each key comes with its text as written, and the value beside it.
    """
    values = source.read()
    assert dict(values) == {"rate": "012", "mode": "no"}
    rate = values["rate"]
    assert isinstance(rate, Text)
    assert rate.native == 12
    assert source.recheck_seconds() is None


def test_the_name_is_the_path_as_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A relative path is the layer's name, and keeps its meaning after a change of directory.
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
    Messages lead to the line of the last reading; before it, and for a key that is not there, to the file.
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
    A file that ends in .json, in any case, must be JSON; in another, JSON is as good as YAML.
    """
    assert dict(_eager(_settled(tmp_path / "a.yml", '{"a": 1.0}')).read()) == {"a": "1.0"}
    assert dict(_eager(_settled(tmp_path / "a.JSON", '{"a": 1.0}')).read()) == {"a": "1.0"}
    with pytest.raises(SourceError, match=r"b\.JSON:1:1: expected JSON"):
        _eager(_settled(tmp_path / "b.JSON", "a: 1.0")).read()


def test_a_bad_document_is_named_with_line_and_column(volume: ConfigMapVolume, source: FileSource) -> None:
    """
    The message says where and what kind of fault it is; neither it nor anything behind it quotes the document.
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
    It is there, and holds nothing.
    """
    volume.write({"app.yaml": text})
    assert dict(source.read()) == {}


def test_what_is_missing_says_so(tmp_path: Path, volume: ConfigMapVolume) -> None:
    """
    No file, no directory, a file for a directory, a dangling link, and a key that a volume lacks are missing.
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
    It is there and cannot be read, and is never opened for longer than it takes to see that.
    """
    make(tmp_path / "app.yaml")
    with pytest.raises(SourceError, match=f"app.yaml: {reason}, expected") as caught:
        _eager(tmp_path / "app.yaml").read()
    assert not caught.value.missing


def test_what_is_no_file_in_a_volume_is_refused(volume: ConfigMapVolume, source: FileSource) -> None:
    """
    A volume's entry that is a FIFO is refused as well.
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
    A failure that leaves no trace is looked at again when it is due, and the token differs then.
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
    A failure that is not the file's fault is a failure of the moment.
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
    The periodic check reads the volume's link and asks for the file's state, no more.
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
    The token changes when the file comes, is written, replaced and removed, and stays otherwise.
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
    What else comes and goes in the directory, editors' files among it, changes no token.
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
    An empty path and one with a NUL are refused at construction.
    """
    with pytest.raises(DefinitionError, match="file source: expected a path"):
        FileSource(path)


@pytest.mark.parametrize("seconds", [-1.0, float("inf"), float("nan")])
def test_refuses_an_impossible_settling_time(seconds: float) -> None:
    """
    The settling time has to be finite and not negative.
    """
    with pytest.raises(DefinitionError, match="settle_seconds"):
        FileSource("app.yaml", settle_seconds=seconds)


def test_json_needs_no_yaml(tmp_path: Path) -> None:
    """
    PyYAML is imported by the first document that needs it: neither by the module nor by JSON.
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
