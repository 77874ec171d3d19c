"""
`DirectorySource` and `FileSource` wait for a swap that an event has announced.
"""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

import pytest

from dflag.sources import DirectorySource, FileSource
from dflag.testing import ConfigMapVolume

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from dflag.sources import Source, Watch

_NAME = "flags.yaml"


@pytest.fixture(name="volume")
def _volume(tmp_path: Path) -> ConfigMapVolume:
    volume = ConfigMapVolume(tmp_path / "volume")
    volume.write({_NAME: "a: 1"})
    return volume


@pytest.fixture(name="source", params=["directory", "file"])
def _source(request: pytest.FixtureRequest, volume: ConfigMapVolume) -> Source:
    source = DirectorySource(volume.path) if request.param == "directory" else FileSource(volume.path / _NAME)
    source.read()
    source.probe()
    return source


@pytest.fixture(name="watch")
def _watch(source: Source) -> Iterator[Watch]:
    watch = source.watch(lambda: None)
    assert watch.mode == "inotify"
    yield watch
    watch.close()


def _until(steps: Iterator[str], wanted: str) -> None:
    assert wanted in steps


def _on_each_look(monkeypatch: pytest.MonkeyPatch, do: Callable[[int], None] = lambda _: None) -> list[str]:
    """
    Return a list that receives the target found by each look at the awaited link; call *do* before each look.
    """
    looks: list[str] = []

    def noting(link: str) -> str:
        do(len(looks))
        looks.append(os.readlink(link))
        return looks[-1]

    monkeypatch.setattr("dflag.sources._path.read_link", noting)
    return looks


def test_an_announced_swap_is_awaited(
    volume: ConfigMapVolume, source: Source, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    After the event of the new directory, `probe()` looks at the link until it moves and then returns a new token.
    """
    steps = volume.steps({_NAME: "a: 2"})
    before, token = os.readlink(volume.path / "..data"), source.probe()
    monkeypatch.setattr("dflag.sources._path._AWAKE_SECONDS", 60.0)
    _until(steps, "make directory")
    watch.woken()
    looks = _on_each_look(monkeypatch, lambda number: _until(steps, "rename ..data_tmp") if number == 5 else None)

    assert source.probe() != token
    assert looks == [*[before] * 5, os.readlink(volume.path / "..data")]


def test_an_announced_swap_that_does_not_come_is_given_up(
    volume: ConfigMapVolume, source: Source, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    `probe()` stops waiting for an announced swap that does not come, and the next `probe()` does not wait.
    """
    clock, token = itertools.count(), source.probe()
    monkeypatch.setattr("dflag.sources._path.time.monotonic", lambda: next(clock) * 1e-4)
    looks = _on_each_look(monkeypatch)
    _until(volume.steps({_NAME: "a: 2"}), "make directory")
    watch.woken()

    assert source.probe() == token
    assert 1 < len(looks) < 20
    before = len(looks)
    assert source.probe() == token
    assert len(looks) == before


def test_a_swap_that_has_come_is_not_awaited(
    volume: ConfigMapVolume, source: Source, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    `probe()` does not wait when the swap came between its announcement and the probe.
    """
    steps = volume.steps({_NAME: "a: 2"})
    _until(steps, "make directory")
    watch.woken()
    _until(steps, "rename ..data_tmp")
    looks, token = _on_each_look(monkeypatch), source.probe()

    assert looks == []
    assert source.probe() == token
    assert looks == []


def test_nothing_is_awaited_beside_plain_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    `probe()` of a plain directory or file does not wait after an event, because no link publishes them.
    """
    (tmp_path / _NAME).write_text("a: 1", encoding="utf-8")
    looks = _on_each_look(monkeypatch)
    for source in (DirectorySource(tmp_path), FileSource(tmp_path / _NAME)):
        source.read()
        source.probe()
        watch = source.watch(lambda: None)
        watch.woken()
        source.probe()
        watch.close()

    assert looks == []


@pytest.mark.parametrize("make", [DirectorySource, FileSource])
def test_a_read_in_another_thread_does_not_disturb_the_question_when_to_check(
    make: Callable[[Path], Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`recheck_seconds()` answers even if a read in another thread finds at that moment that nothing is due."""
    source = make(tmp_path)
    times = iter([0.0, None])
    monkeypatch.setattr(type(source), "_again_at", property(lambda _: next(times), lambda *_: None), raising=False)
    assert source.recheck_seconds() == 0.0
