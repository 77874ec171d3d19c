"""
Plain files are read once they have settled, by a clock that the tests set.
"""

from __future__ import annotations

import itertools
import os
import shutil
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from dflag.errors import SourceError
from dflag.sources import DirectorySource, Unreadable
from dflag.sources import _path as path_module
from dflag.sources import _plain as plain
from dflag.sources import directory as directory_module

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Clock:
    """
    A clock that moves only when a test advances it or the code under test sleeps.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        # One hour after the real time stamps of the files.
        self.wall = time.time() + 3600
        self.cost = 0.0
        self._processor = 0.0
        self.slept = 0.0
        self.on_sleep: Callable[[], object] = lambda: None

    def monotonic(self) -> float:
        """Return the time by which files settle."""
        return self.now

    def time(self) -> float:
        """Return the wall time, which is compared with the time stamps of files."""
        return self.wall

    def thread_time(self) -> float:
        """Return the processor time, which each call advances by `cost`."""
        self._processor += self.cost
        return self._processor

    def sleep(self, seconds: float) -> None:
        """Advance the clock, then call `on_sleep`."""
        self.slept += seconds
        self.now += seconds
        self.on_sleep()


@pytest.fixture(name="clock")
def _clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    fake = SimpleNamespace(monotonic=clock.monotonic, time=clock.time, thread_time=clock.thread_time, sleep=clock.sleep)
    monkeypatch.setattr(plain, "time", fake)
    monkeypatch.setattr(path_module, "time", fake)
    monkeypatch.setattr(directory_module, "time", fake)
    return clock


@pytest.fixture(name="source")
def _source(tmp_path: Path, clock: Clock) -> DirectorySource:
    """
    Return a source that has read an old file ``a`` with the text ``1``.
    """
    (tmp_path / "a").write_text("1")
    source = DirectorySource(tmp_path)
    assert source.read() == {"a": b"1"}
    assert clock.slept == 0
    return source


def test_old_files_are_taken_at_once(source: DirectorySource) -> None:
    """
    After a first read of files with old time stamps `recheck_seconds()` returns None.
    """
    assert source.recheck_seconds() is None


@pytest.mark.parametrize("ahead_seconds", [-0.1, 0.0, -7200.0])
def test_the_first_read_waits_for_young_files(tmp_path: Path, clock: Clock, ahead_seconds: float) -> None:
    """
    The first read waits for the settling time when a file is just written or its time stamp is in the future.
    """
    (tmp_path / "a").write_text("1")
    clock.wall = time.time() + ahead_seconds

    assert DirectorySource(tmp_path).read() == {"a": b"1"}
    assert pytest.approx(0.25) == clock.slept


def test_an_old_time_stamp_alone_settles_nothing(tmp_path: Path, clock: Clock) -> None:
    """
    The first read waits for a file with an old modification time if its change time is young.
    """
    (tmp_path / "a").write_text("1")
    os.utime(tmp_path / "a", (0, 0))
    clock.wall = time.time()
    DirectorySource(tmp_path).read()

    assert pytest.approx(0.25) == clock.slept


def test_the_first_read_waits_until_a_writer_is_done(tmp_path: Path, clock: Clock) -> None:
    """
    The first read returns the whole text of a file that is written to while the read waits.
    """
    (tmp_path / "a").write_text("")
    clock.wall = time.time()
    texts = iter(["half", "whole text"])
    clock.on_sleep = lambda: (tmp_path / "a").write_text(next(texts, "whole text")) if clock.slept < 0.7 else None

    assert DirectorySource(tmp_path).read() == {"a": b"whole text"}


def test_the_first_read_gives_up_on_a_restless_file(tmp_path: Path, clock: Clock) -> None:
    """
    A file that is still being written after two seconds is unreadable in the first read, which returns the others.
    """
    (tmp_path / "a").write_text("")
    (tmp_path / "b").write_text("2")
    clock.wall = time.time()
    log = (tmp_path / "a").open("ab")
    clock.on_sleep = lambda: os.write(log.fileno(), b"x")
    source = DirectorySource(tmp_path)
    with log:
        values = source.read()

    assert {"a": Unreadable("still being written"), "b": b"2"} == values
    assert clock.slept <= 2.0

    clock.now += 0.25

    assert b"x" in bytes(source.read()["a"])  # type: ignore[arg-type]


def test_a_change_shows_once_it_has_settled(source: DirectorySource, tmp_path: Path, clock: Clock) -> None:
    """
    `read()` returns the old value while a file is truncated and rewritten, and for the settling time after that.
    """
    (tmp_path / "a").write_text("")
    assert source.read() == {"a": b"1"}
    clock.now += 0.2
    (tmp_path / "a").write_text("22")
    assert source.read() == {"a": b"1"}
    assert pytest.approx(0.25) == source.recheck_seconds()
    clock.now += 0.24
    assert source.read() == {"a": b"1"}
    clock.now += 0.02

    assert source.read() == {"a": b"22"}
    assert source.recheck_seconds() is None
    assert clock.slept == 0


def test_after_invalidate_the_next_read_waits_for_what_has_changed(
    source: DirectorySource, tmp_path: Path, clock: Clock
) -> None:
    """
    The first read after `invalidate()` waits until all changes have settled; later reads do not wait.
    """
    source.invalidate()
    assert (source.read(), clock.slept) == ({"a": b"1"}, 0)  # nothing has changed
    (tmp_path / "a").write_text("22")
    (tmp_path / "b").write_text("3")
    source.invalidate()
    assert source.read() == {"a": b"22", "b": b"3"}
    assert pytest.approx(0.25) == clock.slept
    (tmp_path / "a").unlink()
    source.invalidate()
    assert source.read() == {"b": b"3"}
    (tmp_path / "b").write_text("4")
    assert source.read() == {"b": b"3"}
    assert pytest.approx(0.5) == clock.slept


def test_after_invalidate_a_directory_that_is_gone_is_missing(
    source: DirectorySource, tmp_path: Path, clock: Clock
) -> None:
    """
    After `invalidate()` a read of a deleted directory waits for the settling time and raises "no such directory".
    """
    shutil.rmtree(tmp_path)
    source.invalidate()
    with pytest.raises(SourceError, match="no such directory"):
        source.read()
    assert pytest.approx(0.25) == clock.slept


def test_after_invalidate_a_restless_file_keeps_its_value(
    source: DirectorySource, tmp_path: Path, clock: Clock
) -> None:
    """
    A read after `invalidate()` waits two seconds for a file that never settles, then returns its last settled value.
    """
    with (tmp_path / "a").open("ab") as log:
        clock.on_sleep = lambda: os.write(log.fileno(), b"x") and log.flush()
        log.write(b"x")
        log.flush()
        source.invalidate()
        assert source.read() == {"a": b"1"}
    assert 1.5 < clock.slept <= 2.0


def test_a_new_file_shows_once_it_has_settled(source: DirectorySource, tmp_path: Path, clock: Clock) -> None:
    """
    A new file is absent until it has settled, even if its time stamps are old.
    """
    (tmp_path / "b").write_text("2")
    assert source.read() == {"a": b"1"}
    clock.now += 0.3

    assert source.read() == {"a": b"1", "b": b"2"}


def test_a_removed_file_is_gone_once_that_has_settled(source: DirectorySource, tmp_path: Path, clock: Clock) -> None:
    """
    A file that is removed keeps its value for the settling time; then it is absent.
    """
    (tmp_path / "a").unlink()
    assert source.read() == {"a": b"1"}
    assert pytest.approx(0.25) == source.recheck_seconds()
    clock.now += 0.24
    assert source.read() == {"a": b"1"}
    clock.now += 0.02

    assert source.read() == {}
    assert source.recheck_seconds() is None


@pytest.mark.parametrize("lost", ["removed", "renamed", "dangling", "a directory"])
def test_a_file_that_comes_back_in_time_was_never_gone(
    source: DirectorySource, tmp_path: Path, clock: Clock, lost: str
) -> None:
    """
    A file that is lost and written again within the settling time shows its old text, then the new one.
    """
    path = tmp_path / "a"
    path.rename(tmp_path / "a~")
    if lost == "removed":
        (tmp_path / "a~").unlink()
    elif lost == "dangling":
        path.symlink_to("nowhere")
    elif lost == "a directory":
        path.mkdir()
    assert source.read() == {"a": b"1"}
    clock.now += 0.1
    if lost == "dangling":
        path.unlink()
    elif lost == "a directory":
        path.rmdir()
    path.write_text("2")
    assert source.read() == {"a": b"1"}
    clock.now += 0.24
    assert source.read() == {"a": b"1"}
    clock.now += 0.02

    assert source.read() == {"a": b"2"}


def test_a_file_that_goes_while_it_is_read_keeps_its_value(
    source: DirectorySource, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A file removed between its listing and its reading keeps its last value until the removal has settled.
    """
    (tmp_path / "a").write_text("2")
    source.read()
    clock.now += 0.3
    real = os.open

    def removing(path: str, flags: int, *args: int, **options: int) -> int:
        if path == "a":
            (tmp_path / "a").unlink(missing_ok=True)
        return real(path, flags, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", removing)
        assert source.read() == {"a": b"1"}
    clock.now += 0.3
    assert source.read() == {"a": b"1"}
    clock.now += 0.3

    assert source.read() == {}


@pytest.mark.parametrize("back", [True, False])
def test_a_directory_made_anew_in_time_was_never_gone(
    source: DirectorySource, tmp_path: Path, clock: Clock, *, back: bool
) -> None:
    """
    A directory made again within the settling time keeps its values; one that stays away longer is missing.
    """
    shutil.rmtree(tmp_path)
    assert source.read() == {"a": b"1"}
    assert pytest.approx(0.25) == source.recheck_seconds()
    clock.now += 0.2
    clock.wall = time.time()
    if back:
        tmp_path.mkdir()
        assert source.read() == {"a": b"1"}
        (tmp_path / "a").write_text("2")
        assert source.read() == {"a": b"1"}
        clock.now += 0.3
        assert source.read() == {"a": b"2"}
    else:
        clock.now += 0.1
        with pytest.raises(SourceError) as caught:
            source.read()
        assert caught.value.missing
        tmp_path.mkdir()


@pytest.mark.parametrize("how", ["the link", "a link above", "the directory"])
def test_another_directory_shows_as_a_whole(tmp_path: Path, clock: Clock, how: str) -> None:
    """
    When the path leads to another directory, its files show together once the last of them has settled.
    """
    for name in ("one", "two"):
        (tmp_path / name / "flags").mkdir(parents=True)
    (tmp_path / "one" / "flags" / "a").write_text("1")
    (tmp_path / "one" / "flags" / "b").write_text("1")
    (tmp_path / "link").symlink_to("one/flags" if how == "the link" else "one")
    source = DirectorySource(tmp_path / "link" / ("." if how == "the link" else "flags"))
    assert source.read() == {"a": b"1", "b": b"1"}

    if how == "the directory":
        (tmp_path / "one" / "flags").rename(tmp_path / "old")
        (tmp_path / "two" / "flags").rename(tmp_path / "one" / "flags")
        new = tmp_path / "one" / "flags"
    else:
        (tmp_path / "new").symlink_to("two/flags" if how == "the link" else "two")
        (tmp_path / "new").rename(tmp_path / "link")
        new = tmp_path / "two" / "flags"
    clock.wall = time.time()
    (new / "a").write_text("2")
    (new / "c").write_text("2")
    assert source.read() == {"a": b"1", "b": b"1"}
    clock.now += 0.2
    (new / "a").write_text("22")
    assert source.read() == {"a": b"1", "b": b"1"}
    clock.now += 0.2
    assert source.read() == {"a": b"1", "b": b"1"}
    clock.now += 0.1

    assert source.read() == {"a": b"22", "c": b"2"}
    (new / "c").unlink()
    source.read()
    clock.now += 0.3
    assert source.read() == {"a": b"22"}


def test_another_directory_does_not_wait_for_a_restless_file(tmp_path: Path, clock: Clock) -> None:
    """
    After two seconds the files of another directory show, with a file that is still being written as unreadable.
    """
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(name)
        (tmp_path / name / "b").write_text(name)
    (tmp_path / "link").symlink_to("one")
    source = DirectorySource(tmp_path / "link")
    assert source.read() == {"a": b"one", "b": b"one"}
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("two")
    clock.wall = time.time()
    for number in range(25):
        (tmp_path / "two" / "a").write_text("x" * number)
        values = source.read()
        if clock.now < 1001.7:
            assert values == {"a": b"one", "b": b"one"}
        clock.now += 0.1

    assert {"a": Unreadable("still being written"), "b": b"two"} == values


def test_a_directory_swapped_at_any_moment_gives_one_set(tmp_path: Path, clock: Clock) -> None:
    """
    `read()` returns one whole set when the link is swapped and its old target deleted before any one system call.
    """
    whole = [{"a": b"one", "b": b"one"}, {"a": b"two", "b": b"two"}]
    for call in itertools.count(1):
        link = tmp_path / str(call) / "link"
        for name in ("one", "two"):
            (link.parent / name).mkdir(parents=True)
            for file in ("a", "b"):
                (link.parent / name / file).write_text(name)
        link.symlink_to("one")
        source = DirectorySource(link)
        source.read()
        (link.parent / "one" / "b").write_text("one")  # so that `read()` opens the files instead of only listing them
        with pytest.MonkeyPatch.context() as patch:
            made = _swap_before_call(patch, call, link)
            assert source.read() in whole, call
        assert source.read() in whole, call
        if len(made) < call:
            return


def _swap_before_call(patch: pytest.MonkeyPatch, call: int, link: Path) -> list[str]:
    """
    Swap the link just before the system call with the number *call*; return a list that receives all calls.
    """
    made: list[str] = []

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def do(*args: Any, **options: Any) -> Any:
            made.append(name)
            if len(made) == call:
                patch.undo()
                (link.parent / "new").symlink_to("two")
                (link.parent / "new").rename(link)
                shutil.rmtree(link.parent / "one")
            return real(*args, **options)

        return do

    for name in ("open", "scandir", "read", "stat", "fstat", "readlink"):
        patch.setattr(os, name, counted(name, getattr(os, name)))
    return made


def test_a_replaced_file_settles_as_any_change(source: DirectorySource, tmp_path: Path, clock: Clock) -> None:
    """
    A file renamed over another shows the old value until it has settled.
    """
    (tmp_path / ".a.new").write_text("2")
    (tmp_path / ".a.new").rename(tmp_path / "a")
    assert source.read() == {"a": b"1"}
    clock.now += 0.3

    assert source.read() == {"a": b"2"}


def test_a_write_during_the_read_is_not_taken(
    source: DirectorySource, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A file that changes between its listing and its reading keeps its old value and settles again.
    """
    (tmp_path / "a").write_text("2")
    source.read()
    clock.now += 0.3
    real = os.open

    def writing(path: str, flags: int, *args: int, **options: int) -> int:
        if path == "a":
            patch.undo()
            (tmp_path / "a").write_text("half")
        return real(path, flags, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", writing)
        values = source.read()

    assert values == {"a": b"1"}
    assert pytest.approx(0.25) == source.recheck_seconds()
    clock.now += 0.3
    assert source.read() == {"a": b"half"}


def test_settled_files_are_not_read_again(source: DirectorySource, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    `read()` does not open a file whose signature did not change.
    """
    monkeypatch.setattr(plain, "read_stable", lambda *_: pytest.fail("was read again"))

    assert source.read() == {"a": b"1"}


def test_a_file_settles_though_the_time_is_zero(source: DirectorySource, tmp_path: Path, clock: Clock) -> None:
    """
    With `settle_seconds=0` a change still waits 0.02 seconds, a tick of the clock that file times come from.
    """
    eager = DirectorySource(tmp_path, settle_seconds=0)
    eager.read()
    (tmp_path / "a").write_text("2")

    assert eager.read() == {"a": b"1"}
    assert pytest.approx(0.02) == eager.recheck_seconds()
    clock.now += 0.02
    assert eager.read() == {"a": b"2"}
    assert source.read() == {"a": b"1"}


def test_what_is_no_value_needs_no_settling(source: DirectorySource, tmp_path: Path) -> None:
    """
    A FIFO is unreadable at once; directories, dot-files, editors' leftovers and dangling links are ignored at once.
    """
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "directory").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in (".a.swp", "a~", "#a#", "4913 "):
        (tmp_path / name).write_text("x")

    assert {"a": b"1", "fifo": Unreadable("a FIFO")} == source.read()


def test_a_refused_file_is_tried_again(
    source: DirectorySource, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A file that cannot be opened is unreadable, and is tried again after 30 seconds though its signature stays.
    """
    (tmp_path / "a").write_text("2")
    source.read()
    clock.now += 0.3
    with monkeypatch.context() as patch:
        patch.setattr("dflag.sources._entries._READ", os.O_RDONLY | os.O_DIRECTORY | os.O_EXCL)
        patch.setattr("dflag.sources._entries.GONE", frozenset())
        assert {"a": Unreadable("not a directory")} == source.read()

    before = source.probe()
    assert pytest.approx(30) == source.recheck_seconds()
    clock.now += 30
    assert before != source.probe()
    assert source.read() == {"a": b"2"}


def test_a_probe_sees_every_change(source: DirectorySource, tmp_path: Path, clock: Clock) -> None:
    """
    The token changes when a file is written, added or removed, and stays otherwise.
    """
    tokens = [source.probe()]
    for change in (
        lambda: (tmp_path / "a").write_text("2"),
        lambda: (tmp_path / "b").write_text("2"),
        (tmp_path / "a").unlink,
    ):
        change()
        clock.now += 1
        tokens.append(source.probe())
        clock.now += 1
        assert tokens[-1] == source.probe()

    assert len(tokens) == len(set(tokens))


def test_a_probe_differs_when_something_may_have_settled(source: DirectorySource, tmp_path: Path, clock: Clock) -> None:
    """
    The token changes once when the settling time of a changed file is over, although no file changed since.
    """
    (tmp_path / "a").write_text("2")
    before = source.probe()
    source.read()
    assert before == source.probe()
    clock.now += 0.3

    assert before != source.probe()
    source.read()
    assert source.probe() == source.probe()


def test_a_costly_probe_is_seldom(source: DirectorySource, tmp_path: Path, clock: Clock) -> None:
    """
    After a scan that took ten milliseconds `probe()` scans again ten seconds later, or after an event.
    """
    clock.cost = 0.01
    before = source.probe()
    (tmp_path / "a").write_text("2")
    clock.now += 9.9
    assert before == source.probe()
    clock.now += 0.2
    after = source.probe()
    assert before != after

    (tmp_path / "a").write_text("3")
    source._plain.request_scan()  # what the watch calls
    assert after != source.probe()


def test_a_probe_of_a_missing_directory_is_steady(tmp_path: Path) -> None:
    """
    `probe()` of a missing directory returns the same token until the directory appears.
    """
    source = DirectorySource(tmp_path / "later")
    before = source.probe()
    assert before == source.probe()
    (tmp_path / "later").mkdir()

    assert before != source.probe()
