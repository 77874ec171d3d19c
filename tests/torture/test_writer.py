"""
Readers see the old set or the new one when the kubelet's writer freezes, crashes or continues at any of its steps.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import dflag
from dflag import Updater
from dflag.sources import DirectorySource
from dflag.testing import ConfigMapVolume

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

DEADLINE_SECONDS = 10.0
"""The time in which everything must be done, on the slowest machine."""

SWAP = "rename ..data_tmp"
"""The step that publishes the set."""

NAMES = ("a", "b", "c", "d")

Set = dict[str, str]

SHAPES: dict[str, tuple[Set, Set]] = {
    "first": ({}, {"a": "2", "b": "2"}),
    "update": ({"a": "1", "b": "1", "c": "1"}, {"a": "2", "b": "2", "c": "2"}),
    "add": ({"a": "1"}, {"a": "2", "b": "2", "c": "2"}),
    "remove": ({"a": "1", "b": "1", "c": "1"}, {"b": "2"}),
    "rename": ({"a": "1", "b": "1"}, {"c": "1", "d": "1"}),
    "all removed": ({"a": "1", "b": "1"}, {}),
}
"""Old set and new set, for each way in which a set can change."""

every_shape = pytest.mark.parametrize("shape", SHAPES)
both_orders = pytest.mark.parametrize("legacy", [False, True], ids=["links after", "links before"])


@pytest.fixture(name="flags")
def _flags() -> dflag.FlagRegistry:
    """
    Return a registry with a flag for every key of these tests.
    """
    return _registry()


@every_shape
@both_orders
def test_a_writer_frozen_at_any_step_shows_old_or_new(
    flags: dflag.FlagRegistry, tmp_path: Path, caplog: pytest.LogCaptureFixture, shape: str, *, legacy: bool
) -> None:
    """
    V3, V5, V6, V9, V46: readers see the old set until the swap, then the new one; no warning or error is reported.
    """
    old, new = SHAPES[shape]
    volume = ConfigMapVolume(tmp_path, legacy=legacy)
    volume.write(old)
    told: list[tuple[str, int, int]] = []
    for flag in flags:
        flag.on_change(_noting(told, flag.name))
    with Updater.setup(flags, volume.path, on_missing="reset") as updater:
        assert flags.flush(DEADLINE_SECONDS)
        told.clear()
        expected = old
        for step in volume.steps(new):
            if step == SWAP:
                expected = new
            updater.refresh()
            assert _shown(flags) == _values(expected), step
            assert _shown_afresh(volume.path) == _values(expected), step
        assert flags.flush(DEADLINE_SECONDS)
        assert told == [
            (name, _values(old)[name], _values(new)[name]) for name in NAMES if _values(old)[name] != _values(new)[name]
        ]
        assert updater.status().errors == 0

    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@every_shape
@both_orders
def test_a_writer_that_crashed_at_any_step_is_recovered_from(tmp_path: Path, shape: str, *, legacy: bool) -> None:
    """
    V13, V14: after a crash at any step readers see the old set or the new one, and the next publication is applied.
    """
    old, new = SHAPES[shape]
    for count in itertools.count(1):
        volume = ConfigMapVolume(tmp_path / str(count), legacy=legacy)
        volume.write(old)
        flags = _registry()
        with Updater.setup(flags, volume.path, on_missing="reset") as updater:
            done = _crash(volume, new, count)
            left = new if SWAP in done else old
            assert _follows(updater, left), done
            assert _shown_afresh(volume.path) == _values(left), done
            _restart_writer(volume)
            for healthy in (new, {"a": "3", "d": "3"}):
                volume.write(healthy)
                assert _follows(updater, healthy), done
                assert _shown_afresh(volume.path) == _values(healthy), done
        if len(done) < count:
            return


@every_shape
@both_orders
def test_a_writer_that_moves_on_amid_a_reading_tears_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: str, *, legacy: bool
) -> None:
    """
    A reading is one complete set, whichever steps the writer takes between two of its system calls.
    """
    old, new = SHAPES[shape]
    whole = [{key: raw.encode() for key, raw in values.items()} for values in (old, new)]
    numbers = itertools.count()
    for call in itertools.count(1):
        calls = 0
        for steps in range(1, 1 + len(_crash(_published(tmp_path / f"all {call}", old, legacy), new, 100))):
            volume = _published(tmp_path / str(next(numbers)), old, legacy)
            with monkeypatch.context() as patch:
                made = _interrupt_at_system_call(patch, call, partial(_crash, volume, new, steps))
                got = dict(DirectorySource(volume.path).read())
            assert got in whole, (call, steps)
            calls = max(calls, len(made))
        if calls < call:
            return


def test_a_writer_that_crashes_again_and_again_is_followed(
    flags: dflag.FlagRegistry, tmp_path: Path, rng: random.Random, torture_seconds: float
) -> None:
    """
    After any series of publications and crashes, with links in either order, the flags have the last published set.
    """
    published: Set = {"a": "0"}
    ConfigMapVolume(tmp_path).write(published)
    deadline = time.monotonic() + torture_seconds
    with Updater.setup(flags, tmp_path, on_missing="reset") as updater:
        while time.monotonic() < deadline:
            volume = ConfigMapVolume(tmp_path, legacy=rng.random() < 0.5)
            wanted = {name: str(rng.randrange(3)) for name in NAMES if rng.random() < 0.6}
            done = _crash(volume, wanted, rng.randrange(1, 25))
            if SWAP in done:
                published = wanted
            assert _follows(updater, published), done
            assert _shown_afresh(volume.path) == _values(published), done
            _restart_writer(volume)


def _registry() -> dflag.FlagRegistry:
    flags = dflag.FlagRegistry()
    for name in NAMES:
        flags.dyn_int(name, 0)
    return flags


def _values(texts: Set) -> dict[str, int]:
    return {name: int(texts.get(name, "0")) for name in NAMES}


def _shown(flags: dflag.FlagRegistry) -> dict[str, int]:
    snapshot = flags.snapshot()
    return {name: snapshot[name] for name in NAMES}


def _shown_afresh(path: Path) -> dict[str, int]:
    """
    Return the values that a program sees when it starts on the volume as it is.
    """
    flags = _registry()
    Updater(flags, path).initialize()
    return _shown(flags)


def _follows(updater: Updater, texts: Set) -> bool:
    expected = _values(texts)
    return updater.wait_for(lambda snapshot: {name: snapshot[name] for name in NAMES} == expected, DEADLINE_SECONDS)


def _noting(told: list[tuple[str, int, int]], name: str) -> Callable[[int, int], None]:
    return lambda old, new: told.append((name, old, new))


def _crash(volume: ConfigMapVolume, values: Set, count: int) -> list[str]:
    """
    Take so many steps of a writer, and return the steps that it took.
    """
    return list(itertools.islice(volume.steps(values), count))


def _restart_writer(volume: ConfigMapVolume) -> None:
    """
    Remove the link that keeps the next writer from publishing, as an operator must.
    """
    leftover = volume.path / "..data_tmp"
    if leftover.is_symlink():
        with pytest.raises(FileExistsError):
            volume.write({"a": "13"})
        leftover.unlink()


def _published(path: Path, values: Set, legacy: bool) -> ConfigMapVolume:
    volume = ConfigMapVolume(path, legacy=legacy)
    volume.write(values)
    return volume


def _interrupt_at_system_call(patch: pytest.MonkeyPatch, number: int, interrupt: Callable[[], object]) -> list[str]:
    """
    Run *interrupt* just before the reading's system call of this number, and return a list that collects all its calls.
    """
    made: list[str] = []
    busy = False

    def watched(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal busy
            if not busy:
                made.append(name)
                if len(made) == number:
                    busy = True  # the writer's own calls are not counted
                    interrupt()
                    busy = False
            return function(*arguments, **options)

        return call

    for name in ("open", "scandir", "read", "stat", "fstat"):
        patch.setattr(os, name, watched(name, getattr(os, name)))
    return made
