"""
Flags as a class in whole programs: with a volume, under load, across forks, in development mode, and for the command.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import dflag
from dflag.cli import main

from ._children import Child
from ._waiting import DEADLINE_SECONDS, eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dflag.testing import ConfigMapVolume

STORM_SECONDS = 1.0
COUNT = 50


def _many() -> type[dflag.Flags]:
    return type("Many", (dflag.Flags,), {f"f{number:02}": dflag.dyn_int(0) for number in range(COUNT)})


def _values(cfg: dflag.Flags) -> set[int]:
    return {getattr(cfg, f"f{number:02}") for number in range(COUNT)}


def test_a_swap_of_a_volume_shows_as_one_new_instance(volume: ConfigMapVolume) -> None:
    """
    An instance keeps its values after a swap, the next one has all new ones; a bad value leaves the last good one.
    """

    class Shop(dflag.Flags):
        low = dflag.dyn_int(1)
        high = dflag.dyn_int(2)

    volume.write({"low": "10", "high": "20"})
    with dflag.Updater(Shop, volume.path, resync_seconds=0.2) as updater:
        cfg = Shop.current()
        assert (cfg.low, cfg.high) == (10, 20)
        volume.write({"low": "30", "high": "40"})
        assert updater.wait_for(lambda snapshot: snapshot[Shop.low] == 30, DEADLINE_SECONDS)
        assert (cfg.low, cfg.high) == (10, 20)
        assert (Shop.current().low, Shop.current().high) == (30, 40)
        with Shop.registry.pinned():
            volume.write({"low": "50", "high": "x"})
            assert updater.wait_for(lambda snapshot: snapshot[Shop.low] == 50, DEADLINE_SECONDS)
            assert (Shop.current().low, Shop.current().high) == (30, 40)
        assert (Shop.current().low, Shop.current().high) == (50, 40)
        assert set(updater.status().rejected) == {"high"}


class Reader(threading.Thread):
    """
    A thread that reads instances until the storm is over, each within a block of its own.
    """

    def __init__(
        self, cls: type[dflag.Flags], over: threading.Event, block: Callable[[], Any], *, steady: bool
    ) -> None:
        super().__init__()
        self._cls = cls
        self._over = over
        self._block = block
        self._steady = steady
        self.faults: list[object] = []
        self.reads = 0

    def run(self) -> None:
        """Record instances that mix revisions, that are older than a value read before, or that change in a pin."""
        latest = 0
        flag = self._cls.registry[f"f{COUNT - 1:02}"]
        while not self._over.is_set():
            latest = max(latest, flag.get())
            with self._block():
                first, second = _values(self._cls.current()), _values(self._cls.current())
            if len(first) != 1 or len(second) != 1 or min(first) < latest or (self._steady and first != second):
                self.faults.append((latest, first, second))
            latest = max(second)
            self.reads += 1


@pytest.mark.untraced
def test_no_instance_is_torn_under_a_storm_of_commits() -> None:
    """
    During a storm of commits no thread, pinned or not, gets an instance that is torn or older than a value it has read.
    """
    cls, other, over = _many(), dflag.FlagRegistry(), threading.Event()
    blocks: list[tuple[Callable[[], Any], bool]] = [
        (contextlib.nullcontext, False),
        (contextlib.nullcontext, False),
        (cls.registry.pinned, True),
        (other.pinned, False),
    ]
    readers = [Reader(cls, over, block, steady=steady) for block, steady in blocks]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for reader in readers:
            reader.start()
        deadline = time.monotonic() + STORM_SECONDS
        commits = 0
        while time.monotonic() < deadline:
            commits += 1
            cls.registry.apply({f"f{number:02}": str(commits) for number in range(COUNT)}, source="storm")
    finally:
        over.set()
        for reader in readers:
            reader.join()
        sys.setswitchinterval(interval)
    assert [reader.faults for reader in readers] == [[], [], [], []]
    assert min(reader.reads for reader in readers) > 10
    assert commits > 10


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_whole_instances() -> None:
    """
    A child forked during a storm of commits, also in a pin, has whole instances and sees no later commit of the parent.
    """
    cls = _many()
    over = threading.Event()

    def storm() -> None:
        number = 0
        while not over.is_set():
            number += 1
            cls.registry.apply({f"f{each:02}": str(number) for each in range(COUNT)}, source="storm")

    def look() -> None:
        first = cls.current()
        assert len(_values(first)) == 1
        with cls.registry.pinned():
            assert _values(cls.current()) == _values(first)
        cls.registry["f00"].set(-1)
        assert getattr(cls.current(), "f00") == -1  # noqa: B009 - an attribute that no checker knows
        assert cls.current() is cls.current()

    def look_pinned() -> None:
        assert len(_values(cls.current())) == 1
        assert cls.current() is cls.current()

    thread = threading.Thread(target=storm)
    thread.start()
    try:
        for _ in range(10):
            Child(look).check()
            with cls.registry.pinned():
                Child(look_pinned).check()
    finally:
        over.set()
        thread.join()


STALE = """
import sys, time, warnings
import dflag

class Settings(dflag.Flags):
    rate = dflag.dyn_int(50)
    burst = dflag.dyn_int(5)

real = time.monotonic
ahead = 0.0
time.monotonic = lambda: real() + ahead

def read(cfg):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cfg.rate, cfg.burst, cfg.rate
        repr(cfg), cfg == cfg
    return [(each.category.__name__, str(each.message), each.lineno, each.filename) for each in caught]

kept = Settings.current()
snapshot = Settings.registry.snapshot()
ahead = 100.0
print(read(kept))          # old, and still in force
Settings.rate.set(60)
print(read(kept))          # outdated just now
ahead = 159.0
Settings.rate.set(70)      # another commit does not make it younger
print(read(kept))
ahead = 161.0
print(read(kept))
print(read(kept))
print(read(Settings.current()))
print(read(Settings.from_snapshot(snapshot)))
"""


@pytest.mark.parametrize("developing", [True, False])
def test_an_instance_that_is_kept_warns_in_development_mode(developing: bool) -> None:
    """
    In development mode only, reading an instance a minute after a later commit warns once; one of a snapshot does not.
    """
    mode = ["-X", "dev"] if developing else []
    command = [sys.executable, *mode, "-c", f"exec(compile({STALE!r}, 'program.py', 'exec'))"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=6 * DEADLINE_SECONDS, check=False)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    if developing:
        assert lines[3] == (
            "[('RuntimeWarning', 'values of Settings at revision 0 are read 61 s after a later one was committed: "
            "call Settings.current() for each request, and do not keep what it returns', 16, 'program.py')]"
        )
        lines[3] = "[]"
    assert lines == ["[]"] * 7


PROGRAM = """
import dflag


class Settings(dflag.Flags, prefix="shop."):
    rate = dflag.dyn_int(50, "Requests per second", min=1)
    port = dflag.int(8080, "Port to listen on")
    limits = dflag.dyn_map({}, "For each tenant", keys="*.limit", of="int")
    token = dflag.dyn_string("", "For the neighbour", secret=True)


class Program:
    settings = Settings


def make():
    return Settings
"""

MANIFEST = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: shop
data:
  shop.rate: "0"
  shop.acme.limit: "5"
  shop.prot: "80"
"""


@pytest.fixture(name="module")
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write a program whose settings are a class, and return its module's name."""
    monkeypatch.chdir(tmp_path)
    name = f"program_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(PROGRAM, encoding="utf-8")
    (tmp_path / "config.yaml").write_text(MANIFEST, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


@pytest.mark.parametrize("attribute", ["Settings", "Program.settings", "make"])
def test_the_command_takes_a_class(module: str, attribute: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    ``dflag check`` takes a class by its name, by a dotted name, and from a function that returns it.
    """
    assert main(["check", f"{module}:{attribute}", "config.yaml"]) == 1
    printed = capsys.readouterr().out
    assert "config.yaml:6:14: flag 'shop.rate': expected an int of at least 1, got '0'" in printed
    assert "config.yaml:8:3: warning: no flag named 'shop.prot'; did you mean 'shop.port'?" in printed
    assert "acme" not in printed


def test_every_part_of_the_command_works_on_a_class(
    module: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    The commands plan, schema, manifest, docs, policy, write and expired take a class.
    """
    reference = f"{module}:Settings"
    assert main(["plan", reference, "config.yaml", "--format", "json"]) == 1
    planned = json.loads(capsys.readouterr().out)
    assert [each["flag"] for each in planned["changes"]] == ["shop.limits"]
    assert main(["schema", reference]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert set(schema["properties"]) >= {"shop.rate", "shop.port", "shop.token"}
    assert main(["manifest", reference, "--name", "shop"]) == 0
    assert "shop.rate: '50'" in capsys.readouterr().out.replace('"', "'")
    assert main(["docs", reference]) == 0
    assert "Requests per second" in capsys.readouterr().out
    assert main(["policy", reference]) == 0
    assert "shop.rate" in capsys.readouterr().out
    assert main(["write", "volume", "shop.rate=60", "--registry", reference]) == 0
    assert (tmp_path / "volume" / "shop.rate").read_text(encoding="utf-8") == "60"
    assert main(["write", "volume", "shop.rate=0", "--registry", reference]) == 1
    capsys.readouterr()
    assert main(["expired", reference]) == 0


def test_a_setting_of_an_expiry_ends_on_a_class() -> None:
    """
    When the time limit of an override has passed, ``current()`` has the value of the layer below.
    """

    class Shop(dflag.Flags):
        rate = dflag.dyn_int(1)

    Shop.rate.set(5, ttl_seconds=0.05)
    assert eventually(lambda: Shop.current().rate == 1)
