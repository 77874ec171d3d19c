"""
Reading a document next to writers: the kubelet's steps, writes in place, replacements.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

import dflag
from dflag import Updater
from dflag.errors import SourceError
from dflag.sources import DirectorySource, FileSource
from dflag.testing import ConfigMapVolume

from ._waiting import DEADLINE_SECONDS, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.once

OLD = {"app.yaml": "a: 1\nb: 1\n", "other": "x"}
NEW = {"app.yaml": "b: 2\na: 2\n", "added": "y"}


@pytest.fixture(name="volume", params=[False, True], ids=["current", "legacy"])
def _volume(tmp_path: Path, request: pytest.FixtureRequest) -> ConfigMapVolume:
    volume = ConfigMapVolume(tmp_path / "volume", legacy=request.param)
    volume.write(OLD)
    return volume


@pytest.fixture(name="a")
def _a(flags: dflag.FlagRegistry) -> dflag.DynamicFlag[int]:
    return flags.dyn_int("a", 0)


def _shows(updater: Updater, value: int) -> bool:
    return updater.wait_for(lambda snapshot: snapshot["a"] == value, DEADLINE_SECONDS)


def test_a_frozen_writer_shows_the_old_or_the_new_document(volume: ConfigMapVolume) -> None:
    """
    After each step of a publication the document is the old one until the rename, then at once the new one.
    """
    source = FileSource(volume.path / "app.yaml", settle_seconds=60)
    expected = {"a": "1", "b": "1"}
    token = source.probe()
    for step in volume.steps(NEW):
        if step == "rename ..data_tmp":
            expected = {"a": "2", "b": "2"}
            assert token != source.probe(), step
            token = source.probe()
        assert expected == dict(source.read()), step
        assert token == source.probe(), step


def test_a_document_published_first_is_missing_until_the_rename(tmp_path: Path) -> None:
    """
    A new document in a volume is missing until the rename, and read from then on, before its visible link exists.
    """
    for legacy in (False, True):
        for before in ({}, {"other": "x"}):
            volume = ConfigMapVolume(tmp_path / f"{legacy}{len(before)}", legacy=legacy)
            volume.write(before)
            source = FileSource(volume.path / "app.yaml", settle_seconds=60)
            published = False
            for step in volume.steps(NEW):
                published = published or step == "rename ..data_tmp"
                if published:
                    assert dict(source.read()) == {"a": "2", "b": "2"}, step
                else:
                    with pytest.raises(SourceError) as caught:
                        source.read()
                    assert caught.value.missing, step


def test_a_document_removed_from_a_volume_is_missing(volume: ConfigMapVolume) -> None:
    """
    A document removed from a volume is missing from the rename on, even while its dangling link exists.
    """
    source = FileSource(volume.path / "app.yaml")
    gone = False
    for step in volume.steps({"other": "x"}):
        gone = gone or step == "rename ..data_tmp"
        if gone:
            with pytest.raises(SourceError) as caught:
                source.read()
            assert caught.value.missing, step
        else:
            assert dict(source.read()) == {"a": "1", "b": "1"}, step


@pytest.mark.parametrize("link", ["file", "directory", "nested"])
def test_a_volume_is_recognised_through_links(tmp_path: Path, link: str) -> None:
    """
    A document is read at once through a link to the file, a link to the volume, or a key with its own directory.
    """
    volume = ConfigMapVolume(tmp_path / "volume")
    name = "conf/app.yaml" if link == "nested" else "app.yaml"
    volume.write({name: "a: 1"})
    path = volume.path / name
    if link == "file":
        path = tmp_path / "link.yaml"
        path.symlink_to(volume.path / name)
    elif link == "directory":
        (tmp_path / "link").symlink_to(volume.path)
        path = tmp_path / "link" / name
    source = FileSource(path, settle_seconds=60)
    seen = []
    for number in (1, 2, 3):
        volume.write({name: f"a: {number}"})
        seen.append((dict(source.read()), source.probe()))
    assert [values for values, _ in seen] == [{"a": "1"}, {"a": "2"}, {"a": "3"}]
    assert len({token for _, token in seen}) == len(seen)


def test_a_set_replaced_while_the_document_is_opened_is_read_anew(
    volume: ConfigMapVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A read is repeated when the set is replaced and deleted under the reader; the file does not count as missing.
    """
    real = os.open
    texts = iter(["a: 2", "a: 3", "a: 4"])

    def publishing(path: str, flags: int, *args: int, **options: int) -> int:
        text = next(texts, None) if "/..2" in str(path) else None
        if text is not None:
            with monkeypatch.context() as patch:
                patch.setattr(os, "open", real)
                volume.write({"app.yaml": text})
        return real(path, flags, *args, **options)

    monkeypatch.setattr(os, "open", publishing)

    assert dict(FileSource(volume.path / "app.yaml").read()) == {"a": "4"}


def test_a_reader_that_always_loses_says_so(volume: ConfigMapVolume, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    After twenty attempts a read raises an error that is not ``missing``, and the source is due again within a second.
    """
    number = iter(range(1000))
    real = os.open

    def publishing(path: str, flags: int, *args: int, **options: int) -> int:
        if "/..2" in str(path):
            with monkeypatch.context() as patch:
                patch.setattr(os, "open", real)
                volume.write({"app.yaml": f"a: {next(number)}"})
        return real(path, flags, *args, **options)

    source = FileSource(volume.path / "app.yaml")
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", publishing)
        with pytest.raises(SourceError, match="replaced during each of 20 attempts") as caught:
            source.read()
    assert not caught.value.missing
    recheck = source.recheck_seconds()
    assert recheck is not None
    assert recheck <= 1.0


@pytest.mark.untraced
def test_a_storm_of_publications_tears_no_document(tmp_path: Path) -> None:
    """
    While a writer publishes without a pause, every document that is read is whole.
    """
    volume = ConfigMapVolume(tmp_path)
    names = [f"flag{number}" for number in range(500)]

    def text(number: int) -> str:
        return "".join(f"{name}: {number}\n" for name in names)

    volume.write({"app.yaml": text(0)})
    seen = _read_beside(
        FileSource(tmp_path / "app.yaml"), lambda number: volume.write({"app.yaml": text(number)}), len(names)
    )
    assert len(seen) > 1


@pytest.mark.untraced
def test_a_storm_of_writes_in_place_tears_no_document(tmp_path: Path) -> None:
    """
    While a file is rewritten in place without a pause, reads return the old document, and afterwards the last one.
    """
    names = [f"flag{number}" for number in range(50)]
    path = tmp_path / "app.yaml"

    def write(number: int) -> None:
        with path.open("w") as file:
            for name in names:
                file.write(f"{name}: {number}\n")
                file.flush()

    write(0)
    # Longer than the storm: on a busy machine the writer may pause, and half a document would count as settled.
    source = FileSource(path, settle_seconds=1.5)
    assert set(source.read().values()) == {"0"}
    seen = _read_beside(source, write, len(names))
    assert seen == {"0"}

    write(-1)
    assert eventually(lambda: set(source.read().values()) == {"-1"})


def _read_beside(source: FileSource, write: object, count: int) -> set[object]:
    """
    Read for a second while another thread writes, check that each reading has one value, and return all values.
    """
    assert callable(write)
    stopping = threading.Event()

    def work() -> None:
        number = 0
        while not stopping.is_set():
            number += 1
            write(number)

    writer = threading.Thread(target=work)
    writer.start()
    seen: set[object] = set()
    deadline = time.monotonic() + 1.0
    try:
        while time.monotonic() < deadline:
            values = source.read()
            assert len(values) == count
            assert len(set(values.values())) == 1
            seen.update(values.values())
    finally:
        stopping.set()
        writer.join()
    return seen


# --- with an updater


@pytest.fixture(name="updater")
def _updater(flags: dflag.FlagRegistry, a: dflag.DynamicFlag[int], volume: ConfigMapVolume) -> Iterator[Updater]:
    """
    Yield an updater that follows the document of a volume by events alone.
    """
    flags.dyn_int("b", 0)
    with Updater.setup(flags, volume.path / "app.yaml", resync_seconds=3600) as updater:
        yield updater


def test_a_path_that_looks_like_a_document_is_one(flags: dflag.FlagRegistry, tmp_path: Path) -> None:
    """
    A path with the extension of a document, in any case of letters, is a ``FileSource`` unless it is a directory.
    """
    (tmp_path / "dir.yaml").mkdir()
    made = [
        type(feed.source)
        for feed in Updater(
            flags, [tmp_path / name for name in ("a.yaml", "a.YML", "a.Json", "a", "a.txt", "dir.yaml")]
        )._feeds
    ]
    assert made == [FileSource, FileSource, FileSource, DirectorySource, DirectorySource, DirectorySource]


def test_a_swap_is_seen_and_applied_at_once(
    flags: dflag.FlagRegistry, a: dflag.DynamicFlag[int], volume: ConfigMapVolume, updater: Updater
) -> None:
    """
    One swap is applied by an event as one revision of all keys.
    """
    assert a.get() == 1
    for number in (2, 3, 4):
        volume.update({"app.yaml": f"a: {number}\nb: {number}"})
        assert updater.wait_for(lambda snapshot, n=number: snapshot["a"] == n, DEADLINE_SECONDS)
        snapshot = flags.snapshot()
        assert snapshot["a"] == snapshot["b"]
    assert a.origin == str(volume.path / "app.yaml")
    assert updater.status().sources[0].watched == "inotify"


def test_a_document_deleted_and_added_again_is_followed(volume: ConfigMapVolume, updater: Updater) -> None:
    """
    While the document's key is gone the values stay and the status has an error; when it is added again it is read.
    """
    volume.remove("app.yaml")
    assert eventually(lambda: "no such file" in (updater.status().sources[0].last_error or ""))
    assert updater.wait_for(lambda snapshot: snapshot["a"] == 1, 0)
    volume.update({"app.yaml": "a: 5"})
    assert _shows(updater, 5)
    assert updater.status().sources[0].last_error is None


def test_a_bad_document_keeps_the_values(
    volume: ConfigMapVolume, updater: Updater, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A bad document keeps the values and is logged once, with line and column but no text; the next good one is applied.
    """
    volume.update({"app.yaml": "a: 2\nb: [hunter2\n"})
    assert eventually(lambda: updater.status().errors == 1)
    for _ in range(3):
        updater.refresh()
    assert updater.wait_for(lambda snapshot: snapshot["a"] == 1, 0)
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "app.yaml:3:1: expected" in record.getMessage()
    assert "hunter2" not in caplog.text
    volume.update({"app.yaml": "a: 3"})
    assert _shows(updater, 3)


def test_a_bad_value_names_its_line(
    volume: ConfigMapVolume, updater: Updater, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A bad value is refused alone, and logged with file and line; when only its line changes nothing is logged.
    """
    volume.update({"app.yaml": "b: 7\na: many"})
    assert updater.wait_for(lambda snapshot: snapshot["b"] == 7, DEADLINE_SECONDS)
    before = updater.refresh()  # the log line follows the commit, and both are done after this
    assert f"flag 'a': expected an int, got 'many' ({volume.path}/app.yaml:2)" in caplog.text
    caplog.clear()
    volume.update({"app.yaml": "# moved\n\n\na: many # still\nb: 7"})
    assert updater.refresh() is before
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_order_and_comments_are_no_change(volume: ConfigMapVolume, updater: Updater) -> None:
    """
    The same keys in another order, with other spaces and comments, or as JSON, are the same revision.
    """
    before = updater.refresh()
    volume.update({"app.yaml": "# other\nb:    1 # one\n\na: 1"})
    assert updater.refresh() is before
    volume.update({"app.yaml": '{"b": 1, "a": 1}'})
    assert updater.refresh() is before


@pytest.mark.usefixtures("a")
def test_the_checksum_is_that_of_the_texts(flags: dflag.FlagRegistry, volume: ConfigMapVolume) -> None:
    """
    The checksum of a document is that of its texts, the same as when they are applied directly.
    """
    with Updater.setup(flags, volume.path / "app.yaml", unknown="ignore") as updater:
        revision = updater.refresh()
    assert revision.checksum == dflag.FlagRegistry().apply({"b": b"1", "a": b"1"}, source="x").checksum


@pytest.mark.usefixtures("a")
def test_a_document_absent_at_start(flags: dflag.FlagRegistry, tmp_path: Path) -> None:
    """
    An absent document fails the start if it is required; else it is read when it and its directory appear.
    """
    path = tmp_path / "later" / "app.yaml"
    with pytest.raises(SourceError):
        Updater.setup(flags, path)
    with Updater.setup(flags, path, required=False, resync_seconds=0.1) as updater:
        path.parent.mkdir()
        path.write_text("a: 6")
        assert _shows(updater, 6)


@pytest.mark.usefixtures("a")
@pytest.mark.parametrize(("on_missing", "expected"), [("keep", 1), ("reset", 0)])
def test_on_missing_decides_about_a_deleted_document(
    flags: dflag.FlagRegistry, tmp_path: Path, on_missing: str, expected: int
) -> None:
    """
    When the document is deleted, ``on_missing="keep"`` keeps its values and ``"reset"`` uses the layer below.
    """
    path = tmp_path / "app.yaml"
    path.write_text("a: 1")
    with Updater.setup(flags, path, on_missing=on_missing) as updater:
        path.unlink()
        assert eventually(lambda: updater.status().sources[0].last_error)
        assert _shows(updater, expected)


@pytest.mark.usefixtures("a")
def test_a_document_deep_in_a_volume_is_followed_by_events(flags: dflag.FlagRegistry, tmp_path: Path) -> None:
    """
    A document in a sub-directory of a volume, which has no link ``..data`` next to it, is followed by events.
    """
    volume = ConfigMapVolume(tmp_path)
    volume.write({"conf/app.yaml": "a: 1"})
    with Updater.setup(flags, volume.path / "conf" / "app.yaml", resync_seconds=3600) as updater:
        for number in (2, 3, 4):
            volume.write({"conf/app.yaml": f"a: {number}"})
            assert _shows(updater, number)


@pytest.mark.usefixtures("a")
@pytest.mark.parametrize("way", ["in place", "rename"])
def test_a_plain_file_is_followed_by_events(flags: dflag.FlagRegistry, tmp_path: Path, way: str) -> None:
    """
    A write in place and a rename over the file are seen without the periodic check.
    """
    path = tmp_path / "app.yaml"
    path.write_text("a: 1")
    with Updater.setup(flags, path, resync_seconds=3600) as updater:
        for number in (2, 3):
            target = path if way == "in place" else tmp_path / "app.yaml.tmp"
            target.write_text(f"a: {number}")
            target.replace(path)
            assert _shows(updater, number)


def test_every_kind_takes_its_value_from_a_document(flags: dflag.FlagRegistry, volume: ConfigMapVolume) -> None:
    """
    Every kind takes its value from a document: texts, numbers, sequences, JSON values, and JSON in a block scalar.
    """
    text, norway = flags.dyn_string("text", ""), flags.dyn_string("norway", "")
    number, ratio = flags.dyn_int("number", 0), flags.dyn_float("ratio", 0)
    on, blob = flags.dyn_bool("on", default=False), flags.dyn_bytes("blob", b"")
    hosts, tags = flags.dyn_string_list("hosts", []), flags.dyn_string_set("tags", set())
    policy, block, name, nothing = (flags.dyn_json(name, 0) for name in ("policy", "block", "name", "nothing"))
    volume.write(
        {
            "app.yaml": """\
text: 012
norway: no
number: 0x1F
ratio: 1e3
on: yes
blob: "\\u00e4"
hosts: [a, "b,c"]
tags: a, b
policy: {mode: allow, since: 2024-01-01}
block: |
  {"mode": "deny"}
name: "hello"
nothing: ~
"""
        }
    )
    with Updater.setup(flags, volume.path / "app.yaml"):
        pass
    assert (text.get(), norway.get(), number.get(), ratio.get(), on.get()) == ("012", "no", 31, 1000.0, True)
    assert (blob.get(), hosts.get(), tags.get()) == ("ä".encode(), ("a", "b,c"), {"a", "b"})
    assert policy.get() == {"mode": "allow", "since": "2024-01-01"}
    assert (block.get(), name.get(), nothing.get()) == ({"mode": "deny"}, "hello", None)


def test_null_is_no_number_and_a_block_must_be_json(flags: dflag.FlagRegistry, volume: ConfigMapVolume) -> None:
    """
    Null for an int or bool flag, and bad JSON in a block for a JSON flag, are errors.
    """
    flags.dyn_int("a", 0)
    flags.dyn_bool("b", default=False)
    flags.dyn_json("c", {})
    volume.write({"app.yaml": 'a: null\nb: ~\nc: |\n  {"mode": "allow"\n'})
    with pytest.raises(dflag.UpdateError) as caught:
        Updater.setup(flags, volume.path / "app.yaml")
    assert [getattr(error, "flag_name", None) for error in caught.value.errors] == ["a", "b", "c"]
