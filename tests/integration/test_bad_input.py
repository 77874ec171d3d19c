"""
Bad input in a directory: each case is a clear error in bounded time and memory, and the program goes on.
"""

from __future__ import annotations

import datetime
import os
import re
import socket
import time
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

import dflag
import dflag.sources
from dflag import Updater
from dflag.testing import ConfigMapVolume

from ._waiting import DEADLINE_SECONDS, eventually, run_python

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MIB = 2**20

BOMB = "\n".join(
    ["a: &a [x, x, x, x, x, x, x, x, x]"]
    + [f"{name}: &{name} [{', '.join(['*' + last] * 9)}]" for last, name in zip("abcdefgh", "bcdefghi", strict=True)]
)

GOOD: dict[str, str] = {
    "int": "1",
    "float": "1.5",
    "bool": "yes",
    "duration": "1s",
    "list": "a,b",
    "set": "a,b",
    "text": "good",
    "json": '{"mode": "allow"}',
    "yaml": "mode: allow",
    "loose": "[1]",
    "neighbour": "0",
}

BAD: list[tuple[str, str | bytes]] = [
    # wrong text and wrong type
    ("int", "many"),
    ("int", "1.0"),
    ("int", "017"),
    ("int", "9223372036854775808"),
    ("int", "9" * 5000),
    ("int", "٣"),
    ("float", "nan"),
    ("float", "1e400"),
    ("float", "0x1p-2"),
    ("bool", "maybe"),
    ("bool", "2"),
    ("duration", "90"),
    ("duration", "1 fortnight"),
    ("duration", "99999999w"),
    ("duration", "1" * 5000 + "h"),
    ("list", '["a", 1]'),
    ("list", '["a"'),
    ("json", "[]"),
    ("json", '{"mode": 1}'),
    ("json", "{}"),
    # bytes that are not text
    ("int", b"\xff\xfe1"),
    ("text", b"caf\xe9"),
    ("json", b'{"mode": "\xff"}'),
    ("yaml", b"mode: \xff"),
    ("list", b"a,\x80"),
    # empty texts
    ("int", ""),
    ("float", " \n"),
    ("bool", ""),
    ("duration", ""),
    ("json", ""),
    # bad JSON
    ("json", '{"mode": "allow", "mode": "deny"}'),
    ("json", '{"mode": NaN}'),
    ("loose", "[Infinity]"),
    ("loose", "[-Infinity]"),
    ("loose", "NaN"),
    ("loose", "[" * 101 + "]" * 101),
    ("loose", "[" * 100_000),
    ("loose", "[" * 100_000 + "]" * 100_000),
    ("loose", '{"a":' * 100_000 + "1" + "}" * 100_000),
    ("loose", "[1] 2"),
    ("loose", "[1e400]"),
    ("loose", "[" + "9" * 5000 + "]"),
    ("loose", '"\\ud800"'),
    # bad YAML
    ("yaml", BOMB),
    ("yaml", "[" * 5000),
    ("yaml", "{a: " * 5000),
    ("yaml", "- " * 5000 + "x"),
    ("yaml", "mode: !!python/object/apply:os.system ['true']"),
    ("yaml", "mode: a\nmode: b"),
    ("yaml", "mode: .nan"),
    ("yaml", "a: &a\n  b: *a\nmode: x"),
    ("yaml", "mode: x\n---\nmode: y"),
    ("yaml", "mode: [unclosed"),
    # a document longer than any value
    ("text", b"x" * (17 * MIB)),
    ("loose", b"[" + b"1," * (8 * MIB) + b"1]"),
]


def _label(case: tuple[str, str | bytes]) -> str:
    name, raw = case
    text = raw if isinstance(raw, str) else raw[:50].decode("latin-1")
    return f"{name}-{len(raw)}-{text[:15]!a}"


@pytest.fixture(name="updater")
def _updater(flags: dflag.FlagRegistry, volume: ConfigMapVolume) -> Iterator[Updater]:
    """
    Yield an updater that follows a volume with one good value of each kind.
    """
    flags.dyn_int("int", 0)
    flags.dyn_float("float", 0.0)
    flags.dyn_bool("bool", default=False)
    flags.dyn_duration("duration", datetime.timedelta())
    flags.dyn_string_list("list", ())
    flags.dyn_string_set("set", frozenset())
    flags.dyn_string("text", "")
    schema = {"type": "object", "required": ["mode"], "properties": {"mode": {"type": "string"}}}
    flags.dyn_json("json", {"mode": ""}, schema=schema)
    flags.dyn_json("yaml", {"mode": ""}, yaml=True, schema=schema)
    flags.dyn_json("loose", None)
    flags.dyn_int("neighbour", 0)
    volume.write(GOOD)
    with Updater.setup(flags, volume.path) as updater:
        yield updater


def _values(flags: dflag.FlagRegistry) -> dict[str, object]:
    snapshot = flags.snapshot()
    return {flag.name: snapshot[flag] for flag in flags if flag.name != "neighbour"}


def _follows(updater: Updater, number: int) -> bool:
    return updater.wait_for(lambda snapshot: snapshot["neighbour"] == number, DEADLINE_SECONDS)


@pytest.mark.untraced
@pytest.mark.parametrize("case", BAD, ids=_label)
def test_a_bad_value_harms_nothing_else(
    flags: dflag.FlagRegistry, volume: ConfigMapVolume, updater: Updater, case: tuple[str, str | bytes]
) -> None:
    """
    A bad value is reported quickly, with flag and path; its last good value stays, and other and later values apply.
    """
    name, raw = case
    before = _values(flags)
    volume.write({**GOOD, name: raw, "neighbour": "1"})
    began = time.thread_time()
    updater.refresh()
    elapsed = time.thread_time() - began
    assert _follows(updater, 1)

    assert elapsed < 1.0
    assert _values(flags) == before
    error = updater.status().rejected[name]
    assert isinstance(error, dflag.FlagValueError)
    assert error.flag_name == name
    assert str(error).startswith(f"flag {name!r}: ")
    assert str(volume.path / name) in str(error)
    assert len(str(error)) < 1000
    assert updater.status().errors == 1
    volume.write({**GOOD, "neighbour": "2"})
    assert _follows(updater, 2)
    assert not updater.status().rejected
    assert _values(flags) == before


@pytest.mark.parametrize("case", BAD, ids=_label)
def test_a_bad_value_at_start_is_refused(
    flags: dflag.FlagRegistry, volume: ConfigMapVolume, updater: Updater, case: tuple[str, str | bytes]
) -> None:
    """
    ``initialize()`` fails when a source holds one of the bad values, with one error that names the flag.
    """
    name, raw = case
    updater.stop()
    volume.write({name: raw})
    with pytest.raises(dflag.UpdateError) as caught:
        Updater(flags, volume.path).initialize()

    assert [error.flag_name for error in caught.value.errors if isinstance(error, dflag.FlagValueError)] == [name]


@pytest.mark.untraced
def test_reading_a_huge_file_takes_bounded_memory(
    flags: dflag.FlagRegistry, volume: ConfigMapVolume, updater: Updater
) -> None:
    """
    A sparse file of 64 MiB is refused without being read.
    """
    for step in volume.steps({**GOOD, "neighbour": "1"}):
        if step == "write text":
            (file,) = volume.path.glob("..2*/text") if not (volume.path / "..data").exists() else _newest(volume)
            os.truncate(file, 64 * MIB)
    tracemalloc.start()
    try:
        began = time.thread_time()
        updater.refresh()
        elapsed, peak = time.thread_time() - began, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert elapsed < 0.5
    assert peak < 20 * MIB
    assert _follows(updater, 1)
    assert "MiB" in str(updater.status().rejected["text"]) or "bytes" in str(updater.status().rejected["text"])
    assert flags["text"].get() == "good"


def _newest(volume: ConfigMapVolume) -> list[Path]:
    old = (volume.path / "..data").resolve()
    return [file for file in volume.path.glob("..2*/text") if file.parent.resolve() != old]


def test_bombs_take_bounded_memory() -> None:
    """
    YAML and JSON bombs are refused, and the process that parses all of them grows by less than 200 MB.
    """
    result = run_python(
        "import resource, sys, dflag\n"
        "flags = dflag.FlagRegistry()\n"
        "flags.dyn_json('y', None, yaml=True)\n"
        "flags.dyn_json('j', None)\n"
        "flags.apply({'y': 'a: 1', 'j': '1'}, source='s')\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for text in (sys.argv[1], '[' * 10**6, '{\"a\":' * 10**5, '[' + '1,' * 10**5, '- ' * 10**5):\n"
        "    revision = flags.apply({'y': text, 'j': text}, source='s')\n"
        "    assert set(revision.rejected) == {'y', 'j'}, (text[:50], revision)\n"
        "grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before\n"
        "assert grown < 200_000, grown\n",
        BOMB,
    )

    assert result.returncode == 0, result.stderr


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    # The name is bound relative to its directory, because the length of a socket's path is limited.
    here = os.open(".", os.O_RDONLY)
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.fchdir(here)
        os.close(here)


def _loop(path: Path) -> None:
    path.symlink_to("odd")


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _endless(path: Path) -> None:
    path.symlink_to("/dev/tty")


def _forbidden(path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    path.write_text("13")
    path.chmod(0)


@pytest.mark.parametrize("layout", ["volume", "plain"])
@pytest.mark.parametrize("make", [_fifo, _socket, _loop, _device, _endless, _forbidden])
def test_an_entry_that_is_no_file_is_a_bad_value_of_its_flag(
    flags: dflag.FlagRegistry, tmp_path: Path, make: Callable[[Path], None], layout: str
) -> None:
    """
    An entry that is not a readable file is rejected with its path, at a start and later, without a wait; others apply.
    """
    flags.dyn_int("odd", 0)
    flags.dyn_int("neighbour", 0)
    volume = ConfigMapVolume(tmp_path / "config")
    values = {"odd": "1", "neighbour": "1"}
    if layout == "volume":
        volume.write(values)
    else:
        volume.path.mkdir()
        for name, text in values.items():
            (volume.path / name).write_text(text)
    with Updater.setup(flags, dflag.sources.DirectorySource(volume.path, settle_seconds=0.02)) as updater:
        directory = volume.path / "..data" if layout == "volume" else volume.path
        make(directory / ".new")
        os.replace(directory / ".new", directory / "odd")  # in one step: a moment without the key is a removal
        began = time.monotonic()
        updater.refresh()
        assert time.monotonic() - began < 1.0
        assert eventually(lambda: "odd" in updater.status().rejected)
        assert str(volume.path / "odd") in str(updater.status().rejected["odd"])
        assert flags["odd"].get() == 1
        (directory / "neighbour").write_text("2")
        assert eventually(lambda: updater.refresh().number and flags["neighbour"].get() == 2)
    with pytest.raises(dflag.UpdateError) as caught:
        Updater(flags, volume.path).initialize()

    assert str(volume.path / "odd") in str(caught.value)


def test_directories_and_dangling_links_are_no_flags(flags: dflag.FlagRegistry, tmp_path: Path) -> None:
    """
    A flag whose entry is a directory or a dangling link keeps its default, without an error or a warning.
    """
    flags.dyn_int("a", 0)
    flags.dyn_int("b", 0)
    flags.dyn_int("c", 0)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").symlink_to("nowhere")
    (tmp_path / "c").write_text("1")
    with Updater.setup(flags, tmp_path) as updater:
        status = updater.status()

    assert [flags[name].get() for name in "abc"] == [0, 0, 1]
    assert (status.errors, status.warnings) == (0, 0)


def test_unknown_and_impossible_names_harm_nothing(flags: dflag.FlagRegistry, tmp_path: Path) -> None:
    """
    A good value applies next to impossible file names and a thousand unknown ones; the status lists the unknown ones.
    """
    flags.dyn_int("a", 0)
    (tmp_path / "a").write_text("1")
    for name in ("with space", "ünïcode", "new\nline", "x" * 255, "-", "~"):
        (tmp_path / name).write_text("1")
    with open(os.path.join(os.fsencode(tmp_path), b"raw\xff"), "wb") as file:
        file.write(b"1")
    for number in range(1000):
        (tmp_path / f"unknown{number}").write_text("1")
    began = time.monotonic()
    with Updater.setup(flags, tmp_path) as updater:
        status = updater.status()

    assert time.monotonic() - began < 5.0
    assert flags["a"].get() == 1
    assert len([name for name in status.unknown if name.startswith("unknown")]) == 1000


@pytest.mark.parametrize("raised", [ZeroDivisionError, KeyError, RecursionError, MemoryError, StopIteration, OSError])
@pytest.mark.parametrize("where", ["validator", "mutator", "input_mutator"])
def test_code_of_the_users_that_raises_the_wrong_thing_rejects(
    flags: dflag.FlagRegistry, volume: ConfigMapVolume, raised: type[Exception], where: str
) -> None:
    """
    A value is rejected with one error of its flag, whatever its validator or mutator raises, and other values apply.
    """

    def fail(value: object) -> object:
        if value in (13, "13"):
            raise raised("unlucky")
        return value

    options: dict[str, Any] = {where: fail}
    flags.dyn_int("odd", 0, **options)
    flags.dyn_int("neighbour", 0)
    volume.write({"odd": "1", "neighbour": "1"})
    with Updater.setup(flags, volume.path) as updater:
        volume.write({"odd": "13", "neighbour": "2"})
        assert _follows(updater, 2)
        assert eventually(lambda: "odd" in updater.status().rejected)
        error = updater.status().rejected["odd"]
        assert isinstance(error, dflag.FlagValueError)
        assert raised.__name__ in str(error)
        assert flags["odd"].get() == 1
        volume.write({"odd": "2", "neighbour": "3"})
        assert _follows(updater, 3)
        assert flags["odd"].get() == 2


def test_a_rule_across_flags_that_raises_the_wrong_thing_refuses(
    flags: dflag.FlagRegistry, volume: ConfigMapVolume
) -> None:
    """
    A ``KeyError`` in a registry validator is shown as the source's last error, and the next good values apply.
    """
    flags.dyn_int("neighbour", 0)

    @flags.validator
    def _fail(snapshot: dflag.Snapshot) -> None:
        if snapshot["neighbour"] == 13:
            raise KeyError("unlucky")

    volume.write({"neighbour": "1"})
    with Updater.setup(flags, volume.path) as updater:
        volume.write({"neighbour": "13"})
        assert eventually(lambda: "unlucky" in str(updater.status().sources[0].last_error))
        volume.write({"neighbour": "2"})
        assert _follows(updater, 2)


def test_a_directory_that_is_a_file_is_a_source_error(flags: dflag.FlagRegistry, tmp_path: Path) -> None:
    """
    ``initialize()`` raises "not a directory" with the path when that is a file, even with ``required=False``.
    """
    (tmp_path / "file").write_text("x")
    with pytest.raises(dflag.SourceError, match=f"^cannot read {re.escape(str(tmp_path))}/file: not a directory"):
        Updater(flags, tmp_path / "file", required=False).initialize()
