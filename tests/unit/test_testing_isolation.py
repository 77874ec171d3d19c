"""
`isolated()` restores a registry after a test.
"""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import dflag
from dflag import DynamicFlag, FlagRegistry, StaticFlag
from dflag._clock import CLOCK
from dflag.sources import MemorySource
from dflag.testing import ConfigMapVolume, SteppedUpdater, isolated

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(name="rate")
def _rate(registry: FlagRegistry) -> DynamicFlag[int]:
    """Return a dynamic flag with the default 50."""
    return registry.dyn_int("rate", 50)


@pytest.fixture(name="port")
def _port(registry: FlagRegistry) -> StaticFlag[int]:
    """Return a static flag with the default 80."""
    return registry.int("port", 80)


def _state(registry: FlagRegistry) -> object:
    """Return what a block must restore, as far as the public interface shows it."""
    shown = [
        (layer.origin, layer.value, layer.reason, layer.expires_in_seconds is None)
        for flag in registry
        for layer in registry.explain(flag.name)
    ]
    return [(flag.name, flag.get(), flag.origin) for flag in registry], shown


def test_brings_back_layers_and_the_freeze(
    registry: FlagRegistry, rate: DynamicFlag[int], port: StaticFlag[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The values of every layer are as before the block, and static flags can be set again after a freeze inside it.
    """
    text, other = registry.dyn_string("text", "x"), registry.dyn_int("other", 1)
    revision = registry.apply({"rate": "60", "text": "y"}, source="first")
    registry.parse_args(["--port=81"])
    other.set(2, reason="because")
    before = _state(registry)
    monkeypatch.setenv("APP_TEXT", "environment")

    with isolated(registry):
        registry.apply({"rate": "61", "port": "82"}, source="first")
        registry.apply({"rate": "62"}, source="second")
        registry.parse_args(["--text=z"], env_prefix="APP")
        port.set(83)
        other.reset()
        rate.set(7)
        registry.freeze()
        assert (rate.get(), port.get(), text.get(), other.get()) == (7, 83, "z", 1)

    assert _state(registry) == before
    registry.parse_args(["--port=84"])
    assert port.get() == 84
    assert registry.apply({"rate": "60", "text": "y"}, source="first") is revision


def test_changes_all_values_in_one_step_that_callbacks_hear_of(
    registry: FlagRegistry, rate: DynamicFlag[int], port: StaticFlag[int]
) -> None:
    """
    All values go back in one revision; callbacks from before the block see that, those added inside are removed.
    """
    heard: list[tuple[str, int, int]] = []
    rate.on_change(lambda old, new: threading.Event().wait(0.05))  # a block also waits for slow callbacks
    rate.on_change(lambda old, new: heard.append(("before", old, new)))

    with isolated(registry):
        rate.on_change(lambda old, new: heard.append(("inside", old, new)))
        rate.set(60)
        port.set(81)
        revision = registry.snapshot().revision

    assert registry.snapshot().revision == revision + 1
    assert heard == [("before", 50, 60), ("inside", 50, 60), ("before", 60, 50)]
    rate.set(5)
    assert registry.flush(10)
    assert heard[3:] == [("before", 50, 5)]


def test_brings_back_validators(registry: FlagRegistry, rate: DynamicFlag[int]) -> None:
    """
    Validators of flags and of the registry that were added inside are removed, and those from before stay.
    """

    @rate.validator
    def small(value: int) -> None:
        if value > 99:
            raise ValueError("too large")

    @registry.validator
    def not_seven(candidate: dflag.Snapshot) -> None:
        if candidate[rate] == 7:
            raise ValueError("seven")

    with isolated(registry):
        rate.validator(lambda value: None if value < 51 else _raise())
        registry.validator(lambda candidate: _raise() if candidate[rate] == 8 else None)
        for refused in (51, 100, 7, 8):
            with pytest.raises(dflag.FlagValueError):
                rate.set(refused)

    for allowed in (51, 8):
        rate.set(allowed)
    for refused in (100, 7):
        with pytest.raises(dflag.FlagValueError):
            rate.set(refused)


def _shows(flag: DynamicFlag[int], value: int, snapshot: dflag.Snapshot) -> bool:
    return snapshot[flag] == value


def _raise() -> None:
    raise ValueError("no")


def test_leaves_a_registry_alone_that_nobody_touched(registry: FlagRegistry, rate: DynamicFlag[int]) -> None:
    """
    A block in which nothing happens makes no revision.
    """
    rate.set(60)
    revision = registry.snapshot().revision

    with isolated(registry):
        pass

    assert (registry.snapshot().revision, rate.get()) == (revision, 60)


def test_time_limits_run_on(registry: FlagRegistry, rate: DynamicFlag[int]) -> None:
    """
    An override whose time limit ends inside the block stays dropped; one with time left is restored and ends later.
    """
    other = registry.dyn_int("other", 1)
    heard: list[int] = []
    rate.on_change(lambda old, new: heard.append(new))
    rate.set(5, ttl_seconds=0.05)
    other.set(6, ttl_seconds=30, reason="because")
    dropped = threading.Event()
    with isolated(registry):
        rate.on_change(lambda old, new: dropped.set())
        other.reset()
        assert dropped.wait(10)
        rate.set(9)
    assert (rate.get(), rate.origin) == (50, "default")
    assert heard == [5, 50, 9, 50]
    layer = registry.explain("other")[0]
    assert (layer.value, layer.reason) == (6, "because")
    assert layer.expires_in_seconds is not None
    assert 0 < layer.expires_in_seconds <= 30
    other.reset()

    back = threading.Event()
    rate.on_change(lambda old, new: back.set() if new == 50 else None)
    rate.set(5, ttl_seconds=0.2)
    with isolated(registry):
        rate.set(6)
    assert rate.get() == 5
    assert back.wait(10)


def test_flags_declared_inside_stay(registry: FlagRegistry, rate: DynamicFlag[int]) -> None:
    """
    A flag declared inside keeps its callbacks and validators, and has the value of a source from before, not the
    values set inside.
    """
    heard: list[int] = []
    registry.apply({"late": "7", "rate": "60"}, source="config")
    with isolated(registry):
        late = registry.dyn_int("late", 1, max=100, on_change=lambda old, new: heard.append(new))
        bound = registry.bind("bound", dflag.dyn_int(2))
        fresh = registry.dyn_map("fresh", {}, keys="rat*")
        late.set(8)
        bound.set(9)
        registry.apply({"late": "9"}, source="other")

    assert (late.get(), late.origin, bound.get(), fresh.get()) == (7, "config", 2, {})
    assert registry.apply({"late": "10", "rate": "60"}, source="config").changed == ("late",)
    assert registry.flush(10)
    assert heard[-1] == 10
    with pytest.raises(dflag.FlagValueError):
        late.set(101)


def test_sources_are_forgotten_and_ranked_as_before(
    registry: FlagRegistry, rate: DynamicFlag[int], caplog: pytest.LogCaptureFixture
) -> None:
    """
    Sources named first inside lose their rank, and problems that a block reported are reported again in the next.
    """
    for _ in range(2):
        caplog.clear()
        with isolated(registry):
            registry.apply({"rate": "61", "rat": "1"}, source="second")
            registry.apply({"rate": "abc"}, source="first")
            assert len(caplog.messages) == 2

    registry.apply({"rate": "62"}, source="first")
    registry.apply({"rate": "63"}, source="second")
    assert rate.origin == "second"


def test_what_changed_no_value_is_forgotten_too(registry: FlagRegistry, caplog: pytest.LogCaptureFixture) -> None:
    """
    The unknown keys of a source that set no flag are reported again in the next block; a new flag does not get them.
    """
    for _ in range(2):
        caplog.clear()
        with isolated(registry):
            registry.apply({"rat": "1"}, source="second")
            assert len(caplog.messages) == 1
    registry.dyn_int("rat", 5)
    assert registry["rat"].get() == 5


def test_no_rule_holds_the_values_of_the_block(registry: FlagRegistry, rate: DynamicFlag[int]) -> None:
    """
    A registry validator that refuses the values from before the block does not prevent their return.
    """
    rate.set(7)

    @registry.validator
    def seven(candidate: dflag.Snapshot) -> None:
        if candidate[rate] != 7:
            raise ValueError("not seven")

    rate.reset()
    with isolated(registry):
        rate.set(7)
    assert rate.get() == 50


def test_an_updater_from_before_runs_on(registry: FlagRegistry, rate: DynamicFlag[int], port: StaticFlag[int]) -> None:
    """
    An updater that runs before the block follows its source inside it and afterwards, and its values are restored.
    """
    source = MemorySource({"rate": "60", "port": "81"})
    with dflag.Updater.setup(registry, source) as updater:
        for value in (70, 80):
            with isolated(registry):
                source.update({"rate": str(value), "port": "81"})
                assert updater.wait_for(partial(_shows, rate, value), timeout=10)
                rate.set(5)
            # The value is what the source holds now, not what it held before the block.
            assert updater.wait_for(partial(_shows, rate, value), timeout=10)
            assert (rate.origin, port.get()) == ("memory", 81)
        with pytest.raises(dflag.StaticFlagError):
            port.set(5)
        source.update({"rate": "90", "port": "82"})
        assert updater.wait_for(lambda snap: snap[rate] == 90, timeout=10)
        assert updater.status().pending_restart == ("port",)


def test_what_a_process_has_seen_of_rules_is_forgotten(
    registry: FlagRegistry, rate: DynamicFlag[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A rule that was reverted in one block, and a later time that the block has seen, do not affect the next block.
    """
    hour = 11
    monkeypatch.setattr(CLOCK, "now", lambda: datetime(2026, 11, 28, hour, tzinfo=UTC))
    rule = "- {name: go, from: 2026-11-28T10:00:00Z, bake: 15m, set: {rate: 80}}"

    def state(*, healthy: bool) -> str:
        with isolated(registry), SteppedUpdater(registry, {"_rules.yaml": rule}, healthy=lambda: healthy) as steps:
            steps._updater.refresh()
            return steps.status().rules[0].state

    assert [state(healthy=False), state(healthy=True)] == ["reverted", "baking"]
    hour = 9
    assert state(healthy=True) == "waiting"


def test_rules_that_an_updater_from_before_follows_are_as_before(
    registry: FlagRegistry, rate: DynamicFlag[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A rule that an earlier updater reverted stays reverted, and one whose time comes inside the block stays in force.
    """
    now = [datetime(2026, 11, 28, 9, tzinfo=UTC)]
    monkeypatch.setattr(CLOCK, "now", lambda: now[0])
    rules = (
        "- {name: back, from: 2026-11-28T09:00:00Z, bake: 15m, set: {rate: 70}}\n"
        "- {name: go, from: 2026-11-28T10:00:00Z, set: {rate: 80}}"
    )
    steps = SteppedUpdater(registry, {"_rules.yaml": rules}, healthy=lambda: False)
    steps._updater.refresh()
    assert [rule.state for rule in steps.status().rules] == ["reverted", "waiting"]
    with isolated(registry):
        now[0] += timedelta(hours=1)
        steps._updater._cycle()
        assert rate.get() == 80
    steps._updater._cycle()
    assert rate.get() == 80
    assert [rule.state for rule in steps.status().rules] == ["reverted", "in force"]


@pytest.mark.parametrize("how", ["running", "initialized", "stepped", "made before"])
def test_an_updater_from_inside_is_stopped(
    registry: FlagRegistry, rate: DynamicFlag[int], port: StaticFlag[int], tmp_path: Path, how: str
) -> None:
    """
    An updater that is left running inside is stopped, its values are dropped, and another one can follow its source.
    """
    volume = ConfigMapVolume(tmp_path / "volume")
    volume.write({"rate": "60", "port": "81"})
    made = dflag.Updater(registry, volume.path) if how == "made before" else None
    updater: Any = None
    with isolated(registry):
        if how == "stepped":
            SteppedUpdater(registry, {"rate": "60", "port": "81"})
        elif how == "made before":
            assert made is not None
            updater = made.__enter__()
        elif how == "running":
            updater = dflag.Updater.setup(registry, volume.path)
        else:
            updater = dflag.Updater(registry, volume.path)
            updater.initialize()
        assert (rate.get(), port.get()) == (60, 81)

    assert (rate.get(), rate.origin, port.get()) == (50, "default", 80)
    if updater is not None:
        assert updater.status().state != "running"
    volume.update(rate="61")
    with dflag.Updater.setup(registry, volume.path):
        assert (rate.get(), port.get()) == (61, 81)


def test_blocks_nest(registry: FlagRegistry, rate: DynamicFlag[int]) -> None:
    """
    The end of an inner block restores the values that the outer block had when the inner one began.
    """
    with isolated(registry):
        registry.apply({"rate": "60"}, source="outer")
        with isolated(registry):
            registry.apply({"rate": "61"}, source="inner")
            registry.freeze()
        assert (rate.get(), rate.origin) == (60, "outer")
        registry.parse_args([])
    assert rate.get() == 50


def test_an_exception_leaves_nothing_behind(registry: FlagRegistry, rate: DynamicFlag[int]) -> None:
    """
    An exception inside the block is raised, and the registry is still restored.
    """

    def fail() -> None:
        with isolated(registry):
            rate.set(60)
            raise LookupError("failed")

    with pytest.raises(LookupError, match="failed"):
        fail()
    assert rate.get() == 50


def test_decorates_functions(registry: FlagRegistry, rate: DynamicFlag[int]) -> None:
    """
    Each call of a decorated function or coroutine function is a block of its own.
    """

    @isolated(registry)
    def called() -> int:
        rate.set(rate.get() + 10)
        return rate.get()

    @isolated(registry)
    async def awaited() -> int:
        await asyncio.sleep(0)
        return called()

    assert [called(), called(), asyncio.run(awaited()), rate.get()] == [60, 60, 60, 50]


def test_what_became_a_secret_stays_one(registry: FlagRegistry) -> None:
    """
    A flag that got a value from a secret source inside stays secret, and the history does not show the value.
    """
    token = registry.dyn_string("token", "x")
    with isolated(registry):
        updater = dflag.Updater(registry, MemorySource({"token": "hunter2"}, secret=True))
        updater.initialize()
        assert token.get() == "hunter2"

    assert token.get() == "x"
    assert token.secret is True
    assert "hunter2" not in repr(registry.history())


def test_readers_see_the_registry_go_back_in_one_step(registry: FlagRegistry) -> None:
    """
    A snapshot shows all flags as in the block or all as before it, also when other threads write while the block ends.
    """
    flags = [registry.dyn_int(f"flag_{number}", 0) for number in range(50)]
    noise = registry.dyn_int("noise", 0)
    done = threading.Event()

    def write() -> None:
        number = 0
        while not done.is_set():
            number += 1
            noise.set(number)

    torn: list[set[int]] = []

    def read() -> None:
        while not done.is_set():
            snapshot = registry.snapshot()
            seen = {snapshot[flag] for flag in flags}
            if len(seen) > 1:
                torn.append(seen)

    threads = [threading.Thread(target=write), threading.Thread(target=read)]
    for thread in threads:
        thread.start()
    try:
        for number in range(1, 30):
            with isolated(registry):
                registry.apply({flag.name: str(number) for flag in flags}, source="config")
            assert {flag.get() for flag in flags} == {0}
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert torn == []


def test_a_change_at_the_very_end_is_undone_too(registry: FlagRegistry, rate: DynamicFlag[int]) -> None:
    """
    A value that is set while the block ends, as here by a comparison of values, is undone too.
    """

    class Meddler:
        def __eq__(self, other: object) -> bool:
            if hooks:
                hooks.pop()()
            return self is other

        __hash__ = None  # type: ignore[assignment]

    hooks: list[Any] = []
    flag = registry.dyn_custom("custom", Meddler(), parse=lambda text: Meddler(), format=lambda value: "meddler")
    before = flag.get()
    with isolated(registry):
        flag.set(Meddler())
        hooks.append(lambda: rate.set(60))

    assert hooks == []
    assert (flag.get() is before, rate.get(), rate.origin) == (True, 50, "default")


def test_refuses_what_is_no_registry(rate: DynamicFlag[int]) -> None:
    """
    `isolated()` of a flag raises `TypeError`, which names what is accepted.
    """
    with pytest.raises(TypeError, match="expected registry as a FlagRegistry or a Flags class, got"):
        isolated(rate)  # type: ignore[arg-type]
