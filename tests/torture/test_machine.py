"""
A volume and its flags agree with a simple model after any series of publications, crashes, overrides and restarts.

The clock of the registry moves only in a rule, so that overrides expire exactly then.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import dflag
import dflag._expiry
import dflag._store
from dflag import Updater
from dflag.testing import ConfigMapVolume

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping

DEADLINE_SECONDS = 10.0
"""The time in which the flags must agree with the model."""

DYNAMIC = ("a", "b", "c")
STATIC = "s"
DEFAULT = 0
SIDES = ("one", "two")
STEP_SECONDS = 100.0
TTL_SECONDS = (50.0, 150.0)
"""Overrides expire with the next step of time, or with the one after it."""

numbers = st.integers(1, 5)
texts = numbers.map(str)
bad_texts = st.sampled_from(["", "many", "1.5", "-1"])
names = st.sampled_from([*DYNAMIC, STATIC])
sets = st.dictionaries(names, texts | bad_texts)
good_sets = st.dictionaries(names, texts)
lives = st.sampled_from([None, *TTL_SECONDS])
overrides = st.dictionaries(st.sampled_from(DYNAMIC), st.tuples(numbers, lives), min_size=1)


class Clock:
    """
    The clock of the registry, which stands still until a rule moves it.
    """

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    time = monotonic


CLOCK = Clock()


class Model:
    """
    The expected value of each flag.

    Attributes:
        on_missing: The updater's option.
        sides: The published set of each side, to which the parent's link may lead; None if the side has no directory.
        side: The side to which the link leads.
        taken: The texts of the last look that was applied; None before the first.
        good: The last good value of each key that exists.
        static: The good values of static flags when the registry was frozen.
        overrides: The values of overrides, and when they expire.
        healthy: Whether the last look found a set that counts.
    """

    def __init__(self, on_missing: str) -> None:
        self.on_missing = on_missing
        self.sides: dict[str, dict[str, str] | None] = dict.fromkeys(SIDES)
        self.side = SIDES[0]
        self.taken: dict[str, str] | None = None
        self.good: dict[str, int] = {}
        self.static: dict[str, int] = {}
        self.overrides: dict[str, tuple[int, float | None]] = {}
        self.healthy = False

    def look(self) -> None:
        """
        Read the set that is published now.
        """
        found = self.sides[self.side]
        keeps = self.on_missing == "keep" and self.taken
        self.healthy = found is not None and (bool(found) or not keeps)
        if found is None and self.on_missing == "keep":
            return
        if found or not keeps:
            self.taken = dict(found or {})
            for name in [name for name in self.good if name not in self.taken]:
                del self.good[name]
            self.good.update({name: int(text) for name, text in self.taken.items() if text.isdigit()})

    def freeze(self) -> None:
        """
        Fix the values of the static flags.
        """
        self.static = {name: value for name, value in self.good.items() if name == STATIC}

    def layers(self, name: str) -> list[tuple[str, int]]:
        """
        Return what a flag's layers hold, the winner first.
        """
        source = self.static if name == STATIC else self.good
        return [
            *([("override", self.overrides[name][0])] if name in self.overrides else []),
            *([("source", source[name])] if name in source else []),
            ("default", DEFAULT),
        ]

    def rejected(self) -> list[str]:
        return sorted(name for name, text in (self.taken or {}).items() if not text.isdigit())

    def pending(self) -> list[str]:
        differs = self.good.get(STATIC, DEFAULT) != self.static.get(STATIC, DEFAULT)
        return [STATIC] if differs else []


class Machine(RuleBasedStateMachine):
    """
    A program with four flags, whose volume is behind a link that may lead to another directory.
    """

    @initialize(on_missing=st.sampled_from(["keep", "reset"]), legacy=st.booleans(), first=st.none() | good_sets)
    def begin(self, on_missing: str, first: dict[str, str] | None, *, legacy: bool) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.legacy = legacy
        self.model = Model(on_missing)
        self.graves = itertools.count()
        for side in SIDES:
            (self.root / side).mkdir()
        (self.root / "current").symlink_to(SIDES[0])
        if first is not None:
            self._write(first)
        self.flags = dflag.FlagRegistry()
        for name in DYNAMIC:
            self.flags.dyn_int(name, DEFAULT, min=0)
        self.flags.int(STATIC, DEFAULT, min=0)
        self.tick = self.flags.dyn_int("tick", 0)
        self.path = str(self.root / "current" / "config")
        self.updater = Updater(self.flags, self.path, on_missing=on_missing, required=False, resync_seconds=0.02)
        self.updater.initialize()
        self.model.look()
        self.model.freeze()
        self.updater.start()
        self.model.look()
        self.running = True

    # --- what happens to the volume

    @rule(values=sets)
    def publish(self, values: dict[str, str]) -> None:
        self._restart_writer()
        self._write(values)
        self._settle()

    @rule(name=names, text=texts)
    def add_key(self, name: str, text: str) -> None:
        self.publish({**self._published, name: text})

    @rule(name=names, text=bad_texts)
    def corrupt_key(self, name: str, text: str) -> None:
        self.publish({**self._published, name: text})

    @rule(name=names)
    def delete_key(self, name: str) -> None:
        self.publish({key: text for key, text in self._published.items() if key != name})

    @rule(values=sets, count=st.integers(1, 25))
    def crash_the_writer(self, values: dict[str, str], count: int) -> None:
        self._restart_writer()
        before = self._published
        done = list(itertools.islice(self._volume.steps(values), count))
        swapped = "rename ..data_tmp" in done or before == values
        if len(done) > 1 or self.model.sides[self.model.side] is not None:
            self.model.sides[self.model.side] = values if swapped else before
        self._settle()

    @rule()
    def remove_the_directory(self) -> None:
        if self._volume.path.exists():
            # In one step: deleting file by file would publish a smaller set each time.
            self._volume.path.rename(self.root / f"removed {next(self.graves)}")
        self.model.sides[self.model.side] = None
        self._settle()

    @rule(side=st.sampled_from(SIDES))
    def repoint_the_parent(self, side: str) -> None:
        (self.root / "next").symlink_to(side)
        (self.root / "next").rename(self.root / "current")
        self.model.side = side
        self._settle()

    # --- what the program does

    @rule()
    def refresh(self) -> None:
        self.model.look()
        if self.model.taken is None:
            with pytest.raises(dflag.SourceError):
                self.updater.refresh()
        else:
            self.updater.refresh()
        assert self._seen() == self._expected()

    @precondition(lambda self: self.running)
    @rule()
    def stop(self) -> None:
        self.updater.stop()
        self.running = False

    @precondition(lambda self: not self.running)
    @rule()
    def start(self) -> None:
        self.updater.start()
        self.running = True
        self.model.look()
        assert self._seen() == self._expected()

    @rule(given=overrides)
    def override(self, given: dict[str, tuple[int, float | None]]) -> None:
        for name, (value, ttl_seconds) in given.items():
            self.flags[name].set(value, ttl_seconds=ttl_seconds)
            self.model.overrides[name] = value, None if ttl_seconds is None else CLOCK.now + ttl_seconds

    @rule(name=st.sampled_from(DYNAMIC))
    def drop_override(self, name: str) -> None:
        self.flags[name].reset()
        self.model.overrides.pop(name, None)

    @rule(value=numbers)
    def try_to_override_the_static_flag(self, value: int) -> None:
        with pytest.raises(dflag.StaticFlagError):
            self.flags[STATIC].set(value)

    @rule()
    def let_time_pass(self) -> None:
        CLOCK.now += STEP_SECONDS
        self.tick.set(self.tick.get() + 1)  # any commit makes the expiry thread look at the clock
        self.model.overrides = {
            name: (value, moment)
            for name, (value, moment) in self.model.overrides.items()
            if moment is None or moment > CLOCK.now
        }
        assert _eventually(lambda: self._seen() == self._expected()), (self._seen(), self._expected())

    # --- what must hold

    @invariant()
    def all_is_as_in_the_model(self) -> None:
        assert self._seen() == self._expected()
        snapshot = self.flags.snapshot()
        for name in (*DYNAMIC, STATIC):
            origin, value = self.model.layers(name)[0]
            flag = self.flags[name]
            assert (snapshot[name], flag.get()) == (value, value)
            assert flag.origin == (self.path if origin == "source" else origin)

    def teardown(self) -> None:
        if not hasattr(self, "updater"):
            return
        self.updater.stop()
        for name in DYNAMIC:
            self.flags[name].reset()
        shutil.rmtree(self.root)

    @property
    def _volume(self) -> ConfigMapVolume:
        return ConfigMapVolume(self.root / self.model.side / "config", legacy=self.legacy)

    @property
    def _published(self) -> dict[str, str]:
        return self.model.sides[self.model.side] or {}

    def _write(self, values: Mapping[str, str]) -> None:
        self._volume.write(values)
        self.model.sides[self.model.side] = dict(values)

    def _restart_writer(self) -> None:
        (self._volume.path / "..data_tmp").unlink(missing_ok=True)

    def _settle(self) -> None:
        """
        Wait until a running updater has applied what is published; a stopped updater changes nothing.
        """
        if self.running:
            self.model.look()
            assert _eventually(lambda: self._seen() == self._expected()), (self._seen(), self._expected())

    def _seen(self) -> dict[str, Any]:
        status = self.updater.status()
        seen: dict[str, Any] = {
            name: [
                ("source" if layer.origin == self.path else layer.origin, layer.value)
                for layer in self.flags.explain(name)
            ]
            for name in (*DYNAMIC, STATIC)
        }
        return seen | {
            "rejected": list(status.rejected),
            "pending": list(status.pending_restart),
            "healthy": status.sources[0].healthy,
        }

    def _expected(self) -> dict[str, Any]:
        expected: dict[str, Any] = {name: self.model.layers(name) for name in (*DYNAMIC, STATIC)}
        return expected | {
            "rejected": self.model.rejected(),
            "pending": self.model.pending(),
            "healthy": self.model.healthy,
        }


def test_flags_are_what_a_model_says_after_any_series_of_events(
    monkeypatch: pytest.MonkeyPatch, rng: random.Random, torture_seconds: float, torture_long: bool
) -> None:
    """
    Values, origins, all layers, rejected values and pending restarts agree with the model after each event.
    """
    for module in (dflag._store, dflag._expiry):
        monkeypatch.setattr(module, "time", CLOCK)
    chosen = settings(
        max_examples=10,
        stateful_step_count=50 if torture_long else 20,
        database=None,
        phases=[Phase.generate],  # each step of a failing series waits for its deadline: shrinking would take hours
    )
    deadline = time.monotonic() + torture_seconds
    while True:
        # Hypothesis takes the seed from the class, so each seed needs a class of its own.
        seeded = hypothesis.seed(rng.getrandbits(64))(type("Seeded", (Machine,), {}))
        run_state_machine_as_test(seeded, settings=chosen)
        if time.monotonic() > deadline:
            return


def _eventually(condition: Any) -> bool:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.002)
    return True
