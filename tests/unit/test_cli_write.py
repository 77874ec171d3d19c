"""
``dflag write``: what it publishes, keeps and refuses.
"""

from __future__ import annotations

import errno
import importlib
import os
import stat
import threading
from typing import TYPE_CHECKING, Any

import pytest

from dflag.cli import main, write
from dflag.sources import DirectorySource, FileSource
from dflag.testing import ConfigMapVolume, isolated

from ..integration._waiting import DEADLINE_SECONDS  # noqa: TID252 - tests is on no path

if TYPE_CHECKING:
    from pathlib import Path

    from dflag.sources import Source

APP = """
import dflag

flags = dflag.FlagRegistry()
flags.dyn_int("rate_limit", 50, max=100)
flags.dyn_string("token", "", secret=True, choices=["", "right"])
flags.dyn_bytes("blob", b"")
flags.dyn_int("low", 1)
flags.dyn_int("high", 9)


@flags.validator
def ordered(snapshot):
    if snapshot["low"] > snapshot["high"]:
        raise ValueError("low above high")


documented = dflag.FlagRegistry()
documented.dyn_json("json", None)
documented.dyn_json("yaml", None, yaml=True)
documented.dyn_json("shaped", {}, schema={"properties": {"mode": {"enum": ["allow"]}}})
documented.dyn_json("lower", None, input_mutator=str.lower)
documented.dyn_map("strings", {}, keys="*.string", of="string")
documented.dyn_map("numbers", {}, keys="*.number", of="int")
documented.dyn_map("values", {}, keys="*.value", of="json")
documented.dyn_string("text", "")
documented.dyn_string_list("list", [])
"""

DOCUMENT = """\
json: allow
yaml: "5"
lower: "TRUE"
strings: {a.string: 1.10, b.string: 0x10, c.string: no, d.string: 1e3}
numbers: {a.number: 0x10}
values: {a.value: allow, b.value: 1.50, c.value: [no]}
d.value: allow
d.string: 1.10
text: 012
list: [a, "b,c"]
"""

MANIFEST = """
apiVersion: v1
kind: ConfigMap
metadata: {name: app}
data:
  rate_limit: "60"
  note: |
    two
    lines
binaryData:
  blob: /w==
"""


@pytest.fixture(name="here")
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "written_app", raising=False)
    (tmp_path / "written_app.py").write_text(APP)
    (tmp_path / "app.yaml").write_text(MANIFEST)
    return tmp_path


def _read(here: Path) -> dict[str, bytes]:
    return ConfigMapVolume(here / "config").read()


def test_an_empty_path_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty path, as an unset variable of a script gives, is refused, and the current directory stays empty."""
    (here / "volume").mkdir()
    os.chdir(here / "volume")
    assert main(["write", "", "rate_limit=60"]) == 2
    assert capsys.readouterr().err == "dflag: expected the path of a directory, got ''\n"
    with pytest.raises(ValueError, match="expected the path of a directory, got ''"):
        ConfigMapVolume("")
    assert os.listdir(here / "volume") == []


def test_values_are_published_as_a_volume(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    ``write`` creates the directory with the links of a volume; a value is all text after the first equals sign.
    """
    assert main(["write", "config", "a=1", "b=x=y", "c="]) == 0
    assert _read(here) == {"a": b"1", "b": b"x=y", "c": b""}
    assert (here / "config" / "..data").is_symlink()
    assert os.readlink(here / "config" / "a") == "..data/a"
    assert capsys.readouterr().out == "config: published 3 keys\n"


def test_modes_do_not_depend_on_the_umask(here: Path) -> None:
    """
    Other users can read the directories and files that are written under a strict umask.
    """
    before = os.umask(0o077)
    try:
        assert main(["write", "config", "a=1"]) == 0
    finally:
        os.umask(before)
    data = here / "config" / os.readlink(here / "config" / "..data")
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (here / "config", data, data / "a")]
    assert modes == [0o755, 0o755, 0o644]


def test_other_keys_stay_unless_replaced(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Published keys that are not given stay, unless ``--replace`` is given; equal values are not published again.
    """
    main(["write", "config", "a=1", "b=2"])
    assert main(["write", "config", "b=3"]) == 0
    assert _read(here) == {"a": b"1", "b": b"3"}
    target = os.readlink(here / "config" / "..data")
    assert main(["write", "config", "b=3"]) == 0
    assert os.readlink(here / "config" / "..data") == target
    assert capsys.readouterr().out.endswith("config: nothing new\n")
    assert main(["write", "config", "--replace", "c=4"]) == 0
    assert _read(here) == {"c": b"4"}


def test_keys_are_removed_with_what_is_written(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    ``--remove`` removes any number of keys in the same step as new values are published, and may remove the last one.
    """
    main(["write", "config", "a=1", "b=2", "c=3", "_rules.yaml=[]"])
    assert main(["write", "config", "--remove", "b", "c=4", "--remove", "_rules.yaml"]) == 0
    assert _read(here) == {"a": b"1", "c": b"4"}
    assert capsys.readouterr().out.endswith("config: published 2 keys\n")
    assert main(["write", "config", "--remove", "a", "--remove", "a", "--remove", "c"]) == 0
    assert _read(here) == {}


@pytest.mark.parametrize("options", [["b=3"], ["--from", "app.yaml"], ["--replace"]])
def test_a_key_to_remove_that_is_not_there_is_misuse(
    here: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    """
    ``--remove`` of a key that is not published is misuse: the error names the key, and nothing is created or changed.
    """
    assert main(["write", "config", "--remove", "a", *options]) == 2
    assert not (here / "config").exists()
    main(["write", "config", "a=1", "b=2"])
    before = _tree(here)
    capsys.readouterr()
    assert main(["write", "config", "--remove", "a", "--remove", "aa", *options]) == 2
    assert capsys.readouterr().err == "dflag: config: expected a published key to remove, found no 'aa'\n"
    assert before == _tree(here)


@pytest.mark.parametrize("options", [["rate_limit=70"], ["--from", "app.yaml"]])
def test_a_key_to_remove_is_not_published_as_well(
    here: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    """
    A key that is both given and removed is refused, whether it is given as an argument or in an input.
    """
    main(["write", "config", "rate_limit=60"])
    capsys.readouterr()
    assert main(["write", "config", "--remove", "rate_limit", *options]) == 2
    err = capsys.readouterr().err
    assert err == "dflag: expected a key to publish or to remove, got both for 'rate_limit'\n"
    assert _read(here) == {"rate_limit": b"60"}


def test_what_stays_after_a_removal_is_judged(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    With ``--registry``, the set that remains after a removal is checked before anything is written.
    """
    main(["write", "config", "low=15", "high=20"])
    assert main(["write", "config", "--remove", "high", "--registry", "written_app:flags"]) == 1
    assert "refused by the registry validator ordered" in capsys.readouterr().out
    assert _read(here) == {"low": b"15", "high": b"20"}
    assert main(["write", "config", "--remove", "low", "--registry", "written_app:flags"]) == 0
    assert _read(here) == {"high": b"20"}


def test_an_input_without_values_replaces_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    An empty file is refused with ``--replace``, as a command that failed may have left it; otherwise it changes
    nothing and is named. A ConfigMap without keys is accepted, and removes all keys.
    """
    (here / "empty.yaml").write_text("")
    main(["write", "config", "a=1"])
    capsys.readouterr()
    assert main(["write", "config", "--from", "empty.yaml", "--replace"]) == 2
    assert capsys.readouterr().err == "dflag: no values in empty.yaml: it is empty\n"
    assert main(["write", "config", "b=2", "--from", "empty.yaml"]) == 0
    assert capsys.readouterr().err == "dflag: no values in empty.yaml: it is empty\n"
    assert _read(here) == {"a": b"1", "b": b"2"}
    (here / "empty.yaml").write_text(MANIFEST.partition("\ndata:")[0])
    assert main(["write", "config", "--from", "empty.yaml", "--replace"]) == 0
    assert _read(here) == {}


def test_input_is_published_under_the_arguments(here: Path) -> None:
    """
    ``data`` and ``binaryData`` of a manifest are published byte by byte; a value on the command line replaces theirs.
    """
    assert main(["write", "--from", "app.yaml", "config", "rate_limit=70"]) == 0
    assert _read(here) == {"rate_limit": b"70", "note": b"two\nlines\n", "blob": b"\xff"}


@pytest.mark.parametrize("options", [[], ["--registry", "written_app:flags"]])
def test_keys_that_no_flag_has_are_published_too(
    here: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    """
    A manifest's key that begins with a dot is published and can be removed, although no flag can have it.
    """
    (here / "in.yaml").write_text(MANIFEST.replace("  note: |", "  .hidden: x\n  note: |"))
    assert main(["write", "--from", "in.yaml", "config", *options]) == 0
    assert capsys.readouterr().out.endswith("config: published 4 keys\n")
    assert _read(here)[".hidden"] == b"x"
    assert main(["write", "config", "--remove", ".hidden", *options]) == 0
    assert _read(here).keys() == {"rate_limit", "note", "blob"}


def test_argument_that_is_no_utf_8_is_published_as_it_is(here: Path) -> None:
    """
    An argument that is not valid UTF-8 is written to the file byte by byte.
    """
    assert main(["write", "config", os.fsdecode(b"blob=\xff")]) == 0
    assert _read(here) == {"blob": b"\xff"}


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (["rate_limit=101"], "<arguments>:1:1: flag 'rate_limit': expected an int of at most 100, got '101'\n"),
        (["rate_limit=60", "low=x"], "<arguments>:1:1: flag 'low': expected an int, got 'x'\n"),
        (["low=10"], "refused by the registry validator ordered"),
        (["token=wrong"], "<arguments>:1:1: flag 'token': expected one of its choices\n"),
    ],
)
def test_a_bad_value_publishes_nothing(
    here: Path, capsys: pytest.CaptureFixture[str], pairs: list[str], words: str
) -> None:
    """
    With ``--registry``, a value that a flag or a registry validator refuses is not published; a secret is not shown.
    """
    assert main(["write", "config", *pairs, "--registry", "written_app:flags"]) == 1
    assert not (here / "config").exists()
    captured = capsys.readouterr()
    assert words in captured.out
    assert "wrong" not in captured.out + captured.err


def test_the_set_is_judged_with_what_is_kept(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    With ``--registry``, new values are validated together with those that were published before.
    """
    main(["write", "config", "low=8"])
    assert main(["write", "config", "high=7", "--registry", "written_app:flags"]) == 1
    assert _read(here) == {"low": b"8"}
    assert main(["write", "config", "high=8", "--registry", "written_app:flags"]) == 0


def test_unknown_names_are_published_with_a_warning(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A key that no flag has is published with a warning that suggests a name, and is not an error.
    """
    assert main(["write", "config", "rate_limt=1", "--registry", "written_app:flags"]) == 0
    assert "warning: " in (out := capsys.readouterr().out)
    assert "did you mean 'rate_limit'?" in out
    assert _read(here) == {"rate_limt": b"1"}


def test_a_value_that_no_config_map_holds_publishes_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A manifest that the API server would refuse is not published, even without a registry.
    """
    (here / "bad.yaml").write_text("apiVersion: v1\nkind: ConfigMap\ndata:\n  rate_limit: 60\n")
    assert main(["write", "config", "--from", "bad.yaml"]) == 1
    assert capsys.readouterr().out.startswith(
        'bad.yaml:4:15: data.rate_limit: ConfigMap values are strings; write "60"\n'
    )
    assert not (here / "config").exists()


@pytest.mark.parametrize("pair", ["rate_limit", "=5", "../a=5", "a/b=5", ".a=5"])
def test_a_pair_that_is_none_is_misuse(here: Path, capsys: pytest.CaptureFixture[str], pair: str) -> None:
    """
    An argument with a bad key or without a value is misuse; the error does not show the text after the equals sign.
    """
    assert main(["write", "config", pair]) == 2
    assert "expected KEY=VALUE" in (err := capsys.readouterr().err)
    assert "5" not in err
    assert not (here / "config").exists()


def test_files_of_somebody_else_are_left_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A directory with plain files is refused and left unchanged, and a path that is not a directory is refused.
    """
    (here / "config").mkdir()
    (here / "config" / "rate_limit").write_text("50")
    assert main(["write", "config", "rate_limit=60"]) == 2
    assert "found 'rate_limit' in it" in capsys.readouterr().err
    assert os.listdir(here / "config") == ["rate_limit"]
    assert main(["write", "app.yaml", "rate_limit=60"]) == 2
    assert "app.yaml: not a directory" in capsys.readouterr().err


def test_what_a_dead_writer_left_is_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    The error names the link that a dead writer left and that stops later writers; ``write`` works once it is removed.
    """
    main(["write", "config", "a=1"])
    (here / "config" / "..data_tmp").symlink_to("nowhere")
    assert main(["write", "config", "a=2"]) == 2
    assert "..data_tmp: left by a writer that died" in capsys.readouterr().err
    (here / "config" / "..data_tmp").unlink()
    assert main(["write", "config", "a=2"]) == 0


@pytest.mark.parametrize("call", ["read_bytes", "write_bytes"])
def test_a_device_that_fails_is_named(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], call: str
) -> None:
    """
    An I/O error that names no file is reported with the directory, and not as a failure of standard output.
    """
    main(["write", "config", "a=1"])

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(type(here), call, fail)
    assert main(["write", "config", "a=2"]) == 2
    assert capsys.readouterr().err == "dflag: config: No space left on device\n"


def test_commands_at_once_lose_no_key(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A command that starts while another one is about to publish waits for it, and keeps the other one's keys.
    """
    fcntl = pytest.importorskip("fcntl")
    flock, publish, waits, statuses = fcntl.flock, write._publish, threading.Event(), []

    def run_other() -> None:
        statuses.append(main(["write", "config", "b=2"]))
        waits.set()

    def notice(descriptor: int, operation: int) -> None:
        if threading.current_thread() is other:
            waits.set()
        flock(descriptor, operation)

    def interrupted(*arguments: Any) -> None:
        monkeypatch.setattr(write, "_publish", publish)
        other.start()
        assert waits.wait(DEADLINE_SECONDS)
        publish(*arguments)

    other = threading.Thread(target=run_other)
    monkeypatch.setattr(fcntl, "flock", notice)
    monkeypatch.setattr(write, "_publish", interrupted)
    assert main(["write", "config", "a=1"]) == 0
    other.join(DEADLINE_SECONDS)
    assert statuses == [0]
    assert _read(here) == {"a": b"1", "b": b"2"}


def _tree(directory: Path) -> dict[str, object]:
    """Return all that lies below a directory: contents of files, targets of links, directories."""
    return {
        path.relative_to(directory).as_posix(): os.readlink(path)
        if path.is_symlink()
        else path.is_dir() or path.read_bytes()
        for path in sorted(directory.rglob("*"))
    }


@pytest.mark.parametrize("target", ["{outside}", "../outside", "..", ".", "..link", "plain", "..data"])
def test_nothing_outside_of_the_directory_is_touched(
    here: Path, capsys: pytest.CaptureFixture[str], target: str
) -> None:
    """
    A directory whose ``..data`` does not link to a directory ``..*`` in it is refused with one line; nothing changes.
    """
    (here / "outside").mkdir()
    (here / "outside" / "a").write_text("outside")
    (here / "config").mkdir()
    (here / "config" / "..link").symlink_to("../outside")
    (here / "config" / "..data").symlink_to(target.format(outside=here / "outside"))
    before = _tree(here)
    for options in ([], ["--replace"], ["--from", "app.yaml"]):
        assert main(["write", "config", "b=2", *options]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("dflag: config/..data: expected a link to a directory ..* beside it")
        assert captured.err.count("\n") == 1
        assert before == _tree(here)


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_link_is_no_directory(here: Path, capsys: pytest.CaptureFixture[str], slash: str) -> None:
    """
    A directory that is a link is refused, with and without a final slash, and nothing changes.
    """
    main(["write", "real", "a=1"])
    (here / "config").symlink_to("real")
    before = _tree(here)
    capsys.readouterr()
    assert main(["write", f"config{slash}", "a=2"]) == 2
    assert capsys.readouterr().err == (
        "dflag: config: expected a directory, found a link; name the directory that it leads to\n"
    )
    assert before == _tree(here)


@pytest.mark.parametrize("target", ["../app.yaml", "..data/b", "nowhere"])
def test_a_link_that_is_no_key_is_somebody_elses(here: Path, capsys: pytest.CaptureFixture[str], target: str) -> None:
    """
    A link that does not lead to its own key in ``..data`` is refused like a plain file, and nothing changes.
    """
    main(["write", "config", "b=1"])
    (here / "config" / "a").symlink_to(target)
    before = _tree(here)
    assert main(["write", "config", "a=2"]) == 2
    assert "expected a volume or an empty directory, found 'a' in it" in capsys.readouterr().err
    assert before == _tree(here)


@pytest.mark.parametrize("key", ["../b", "a/b", "/b", "..", "..data", ".b", "a b", ""])
def test_a_key_of_a_document_is_a_file_name(here: Path, capsys: pytest.CaptureFixture[str], key: str) -> None:
    """
    A document's key that no ConfigMap can have is named with its place, and nothing is published.
    """
    (here / "in.yaml").write_text(f'a: 1\n"{key}": 2\n')
    assert main(["write", "config", "--from", "in.yaml"]) == 1
    assert capsys.readouterr().out.startswith("in.yaml:2:1: expected a key of [-._a-zA-Z0-9]")
    assert not (here / "config").exists()


def _values(source: Source) -> dict[str, Any]:
    registry = importlib.import_module("written_app").documented
    with isolated(registry):
        assert not registry.apply(source.read(), source="test").rejected
        return {flag.name: flag.get() for flag in registry}


def test_a_document_is_published_as_the_flags_read_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    With a registry the files hold the values of the document: scalars of JSON flags as JSON, those of maps as written.
    """
    (here / "in.yaml").write_text(DOCUMENT)
    assert main(["write", "config", "--from", "in.yaml", "--registry", "written_app:documented"]) == 0
    assert capsys.readouterr().out == "config: published 10 keys\n"
    found = _read(here)
    assert found["json"] == b'"allow"'
    assert found["strings"] == b'{"a.string":"1.10","b.string":"0x10","c.string":"no","d.string":"1e3"}'
    assert main(["check", "written_app:documented", "config", "--strict"]) == 0
    assert _values(FileSource(here / "in.yaml")) == _values(DirectorySource(here / "config"))


@pytest.mark.parametrize("scalar", ["no", "1h", "True", "0o17", "~", "1e3", "2026-11-28"])
def test_a_scalar_of_a_json_flag_is_published_as_json(here: Path, scalar: str) -> None:
    """
    A JSON flag reads the same value from the published file as from the document, whatever type YAML gives the scalar.
    """
    (here / "in.yaml").write_text(f"json: {scalar}\n")
    assert main(["write", "config", "--from", "in.yaml", "--registry", "written_app:documented"]) == 0
    assert _values(FileSource(here / "in.yaml")) == _values(DirectorySource(here / "config"))


def test_a_bad_part_of_a_document_is_found_at_its_place(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A bad value of a document is reported at its line and column in the document.
    """
    (here / "in.yaml").write_text("text: a\nshaped:\n  mode: refuse\n")
    assert main(["write", "config", "--from", "in.yaml", "--registry", "written_app:documented"]) == 1
    assert capsys.readouterr().out.startswith("in.yaml:3:9: flag 'shaped': expected one of")
