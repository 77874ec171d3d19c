"""
Layers and commits, and the checks that protect them.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import pickle
import signal
import sys
import threading
import time
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

import dflag
from dflag._cells import Step
from dflag._flags import close_pin, layers_of
from dflag._layers import Entry
from dflag._registry import make_pin, store_of_registry
from dflag._snapshot import as_of, replaced_of, store_of

from ..integration._waiting import eventually  # noqa: TID252 - tests is on no path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dflag._cells import Call

DEADLINE_SECONDS = 5.0


def test_highest_present_layer_wins_and_dropping_it_shows_the_one_below(flags: dflag.FlagRegistry) -> None:
    """
    The highest layer with a value wins: the override, then the sources, the last named first, then the default.
    """
    rate = flags.dyn_int("rate", 1)
    flags.apply({}, source="base")
    flags.apply({"rate": "3"}, source="team")
    flags.apply({"rate": "2"}, source="base")
    rate.set(4, reason="incident")

    assert [(layer.origin, layer.value) for layer in flags.explain("rate")] == [
        ("override", 4),
        ("team", 3),
        ("base", 2),
        ("default", 1),
    ]
    shown = [rate.get()]
    for drop in (rate.reset, lambda: flags.apply({}, source="team"), lambda: flags.apply({}, source="base")):
        drop()
        shown.append(rate.get())
    assert shown == [4, 3, 2, 1]
    assert rate.origin == "default"


def test_dropping_an_override_is_never_refused_but_a_broken_rule_is_logged(
    flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """
    `reset()` drops an override even if the values left fail a registry validator, whose message is logged.
    """
    low, high = flags.dyn_int("low", 1), flags.dyn_int("high", 10)

    @flags.validator
    def _ordered(snap: dflag.Snapshot) -> None:
        if snap[low] > snap[high]:
            raise ValueError("low above high")

    high.set(30)
    low.set(20)
    high.reset()
    assert (low.get(), high.get()) == (20, 10)
    assert "low above high" in caplog.text


@pytest.mark.parametrize("way", ["override", "time limit", "reset"])
def test_however_an_override_is_dropped_a_broken_rule_is_logged(
    flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    """
    A block's end, a time limit and `reset()` drop an override and log once that a registry validator refuses the rest.
    """
    low, high = flags.dyn_int("low", 1), flags.dyn_int("high", 10)

    @flags.validator
    def _ordered(snap: dflag.Snapshot) -> None:
        if snap[low] > snap[high]:
            raise ValueError("low above high")

    dropped = threading.Event()
    high.on_change(lambda _, new: dropped.set() if new == 10 else None)
    if way == "override":
        with flags.override({high: 30}):
            low.set(20)
    elif way == "time limit":
        high.set(30, ttl_seconds=0.3)
        low.set(20)
    else:
        high.set(30)
        low.set(20)
        high.reset()
    assert dropped.wait(DEADLINE_SECONDS)
    assert flags.flush(DEADLINE_SECONDS)

    assert (low.get(), high.get()) == (20, 10)
    (line,) = [text for text in caplog.messages if "low above high" in text]
    assert line.startswith("an override was dropped, and the values in force do not pass: refused by the registry")


def test_what_is_refused_for_several_flags_names_them_all(flags: dflag.FlagRegistry) -> None:
    """
    The error of values that are refused together carries the first flag's name and value and names the other flag.
    """
    low, high = flags.dyn_int("low", 1), flags.dyn_int("high", 10)

    @flags.validator
    def ordered(snap: dflag.Snapshot) -> None:
        if snap[low] > snap[high]:
            raise ValueError

    with pytest.raises(dflag.ValidationError) as refused, flags.override({low: 9, high: 3}):
        pass
    assert (refused.value.flag_name, refused.value.raw) == ("low", 9)
    assert str(refused.value).startswith("flag 'low': set together with 'high', refused by the registry validator ")
    assert str(refused.value).endswith(".ordered, got 9 (override)")


def test_registry_validator_must_not_change_flags(flags: dflag.FlagRegistry) -> None:
    """
    A revision is refused, and no flag changes, when a registry validator sets a flag.
    """
    rate, other = flags.dyn_int("rate", 1), flags.dyn_int("other", 1)

    @flags.validator
    def _writes(snap: dflag.Snapshot) -> None:
        other.set(snap[rate])

    assert "cannot change flags" in str(flags.apply({"rate": "2"}, source="s").error)
    assert (rate.get(), other.get()) == (1, 1)


@pytest.mark.parametrize("what", ["freeze", "validator"])
def test_what_outdates_a_change_is_refused_in_a_registry_validator(flags: dflag.FlagRegistry, what: str) -> None:
    """
    A change is refused after one check when a registry validator calls `freeze()` or `validator()`.
    """
    rate, calls = flags.dyn_int("rate", 1), list[int]()

    @flags.validator
    def _outdates(_: dflag.Snapshot) -> None:
        calls.append(1)
        assert len(calls) < 10, "the change is worked out again and again"
        flags.freeze() if what == "freeze" else flags.validator(lambda _: None)

    assert "cannot change flags" in str(flags.apply({"rate": "2"}, source="s").error)
    assert (rate.get(), calls) == (1, [1])
    flags.freeze()
    flags.freeze()  # the second call changes nothing


def test_static_flags_after_the_freeze(flags: dflag.FlagRegistry) -> None:
    """
    After `freeze()` only an override block changes a static flag; another value of its highest layer awaits a restart.
    """
    port = flags.int("port", 1)
    flags.apply({"port": "2"}, source="base")
    flags.apply({"port": "3"}, source="team")
    flags.freeze()

    assert flags.apply({"port": "9"}, source="base").pending_restart == ()  # team's would still win
    assert flags.apply({"port": "4"}, source="team").pending_restart == ("port",)
    assert flags.apply({"port": "3"}, source="team").pending_restart == ()
    assert flags.apply({}, source="team").pending_restart == ("port",)
    assert (port.get(), port.origin) == (3, "team")
    with pytest.raises(dflag.StaticFlagError):
        port.set(5)
    with flags.override({port: 5}):
        assert port.get() == 5
    assert port.get() == 3


def test_override_with_a_time_limit_drops_while_a_callback_hangs(flags: dflag.FlagRegistry) -> None:
    """
    An override whose time limit is over is dropped although a callback still runs.
    """
    rate = flags.dyn_int("rate", 1)
    entered, leave, back = threading.Event(), threading.Event(), threading.Event()

    @rate.on_change
    def _hang(_old: int, _new: int) -> None:
        entered.set()
        leave.wait(DEADLINE_SECONDS)

    rate.set(2, ttl_seconds=0.02)
    assert entered.wait(DEADLINE_SECONDS)
    while rate.get() != 1 and not back.wait(0.005):
        pass
    assert (rate.get(), rate.origin) == (1, "default")
    leave.set()
    assert flags.flush(DEADLINE_SECONDS)


def test_a_callback_does_not_wait_for_the_rest_of_the_commit(flags: dflag.FlagRegistry) -> None:
    """
    A callback is called while the thread that has changed the value still holds the registry's lock.
    """
    rate = flags.dyn_int("rate", 1)
    called = threading.Event()
    rate.on_change(lambda _old, _new: called.set())

    with flags._store.lock:
        rate.set(2)
        assert called.wait(DEADLINE_SECONDS)


def test_who_waits_for_a_commit_does_not_wait_for_the_rest_of_it(flags: dflag.FlagRegistry) -> None:
    """
    A thread that waits for a commit continues while the thread that committed still holds the registry's lock.
    """
    rate = flags.dyn_int("rate", 1)
    seen: list[int] = []

    def wait() -> None:
        while flags.snapshot().revision == before:
            flags._store.wait_beyond(before, DEADLINE_SECONDS)
        seen.append(rate.get())

    before = flags.snapshot().revision
    waiting = threading.Thread(target=wait)
    waiting.start()
    with flags._store.lock:
        rate.set(2)
        waiting.join(DEADLINE_SECONDS)
        assert seen == [2]


def test_a_rule_is_asked_again_when_values_come_before_the_commit(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A registry validator runs again when another thread commits values between the first check and the commit.
    """
    low, high = flags.dyn_int("low", 1), flags.dyn_int("high", 10)

    @flags.validator
    def ordered(snapshot: dflag.Snapshot) -> None:
        if snapshot[low] > snapshot[high]:
            raise ValueError("low is above high")

    _set_before_the_next_commit(flags, monkeypatch, lambda: low.set(7))
    with pytest.raises(dflag.ValidationError, match="low is above high"):
        high.set(5)
    assert (low.get(), high.get()) == (7, 10)


def test_a_commit_is_worked_out_again_when_another_comes_meanwhile(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    `set(1)` on a flag that is 1 is a change when another thread sets 2 just before the commit.
    """
    rate = flags.dyn_int("rate", 1)
    changes: list[tuple[int, int]] = []
    rate.on_change(lambda old, new: changes.append((old, new)))
    _set_before_the_next_commit(flags, monkeypatch, lambda: rate.set(2))
    rate.set(1)

    assert flags.flush(DEADLINE_SECONDS)
    assert [layer.value for layer in flags.explain("rate")] == [1, 1]
    assert rate.get() == 1
    assert changes == [(1, 2), (2, 1)]


def _set_before_the_next_commit(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]
) -> None:
    """
    Call *change* in another thread between the calculation of the next transaction and its commit.
    """
    changing = threading.Thread(target=change)
    commit = flags._store.commit

    def commit_late(*arguments: Any, **options: Any) -> bool:
        if changing.ident is None:
            changing.start()
            changing.join(DEADLINE_SECONDS)
        return commit(*arguments, **options)

    monkeypatch.setattr(flags._store, "commit", commit_late)


@pytest.mark.parametrize(
    ("key", "declare", "value"),
    [
        ("early", lambda flags: flags.dyn_int("early", 0), 7),
        ("in_a", lambda flags: flags.dyn_int("in_a", 0), 7),
        ("early", lambda flags: flags.dyn_map("early_ones", {}, keys="early*", of="int"), {"early": 7}),
    ],
    ids=["unknown", "in a map", "to be in a map"],
)
def test_a_flag_that_is_declared_while_values_are_judged_gets_its_own(
    flags: dflag.FlagRegistry, key: str, declare: Any, value: object
) -> None:
    """
    A flag declared while a source's values are validated gets its value, though its key was unknown or in a map before.
    """
    declared: list[dflag.Flag[object]] = []

    def validate(rate: int) -> None:
        if rate == 2 and not declared:
            declared.append(declare(flags))
        flags.dyn_int(f"z{len(flags)}", 0)  # a declaration that the source's keys do not concern

    flags.dyn_map("inner", {}, keys="in_*", of="int")
    flags.dyn_int("rate", 1, validator=validate)
    revision = flags.apply({key: "7", "rate": "2"}, source="s")

    assert [flag.get() for flag in declared] == [value]
    assert (revision.changed, revision.unknown) == ((declared[0].name, "rate"), ())
    assert flags["inner"].get() == {}


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_flag_that_is_bound_while_it_is_set_is_set_where_it_is_bound(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """
    `set()` on a flag that another thread binds meanwhile changes the value in the registry to which it is bound.
    """
    rate = dflag.dyn_int(1)
    store = store_of(rate).store_for(rate)
    base = store.base

    def base_late() -> Any:
        made = base() if when == "after" else None
        binding = threading.Thread(target=bind)
        binding.start()
        binding.join(DEADLINE_SECONDS)
        return made or base()

    def bind() -> None:
        if "rate" in flags:
            return  # bound by the first call
        flags.bind("rate", rate)
        assert flags.snapshot()["rate"] == 1

    monkeypatch.setattr(store, "base", base_late)
    rate.set(2)

    assert flags.snapshot()["rate"] == rate.get() == 2


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_override_blocks_may_end_in_any_order(flags: dflag.FlagRegistry, order: tuple[int, ...]) -> None:
    """
    A flag has the value of the open block entered last, and its earlier value after all blocks, in any order of exit.
    """
    rate, size = flags.dyn_int("rate", 1), flags.dyn_int("size", 1)
    rate.set(2)
    blocks = [flags.override({rate: 10}), flags.override({rate: 11, size: 11}), flags.override({size: 12})]
    for block in blocks:
        block.__enter__()
    open_blocks = {0, 1, 2}
    for number in order:
        blocks[number].__exit__(None, None, None)
        open_blocks.discard(number)
        assert rate.get() == max([2, *(10 + each for each in open_blocks & {0, 1})])
        assert size.get() == max([1, *(10 + each for each in open_blocks & {1, 2})])
    assert (rate.origin, size.origin) == ("override", "default")


def test_an_override_block_drops_what_was_set_inside_also_before_a_later_block(flags: dflag.FlagRegistry) -> None:
    """
    The end of an outer block drops what was set in it, also when an inner block is still open.
    """
    rate = flags.dyn_int("rate", 1)
    outer, inner = flags.override({rate: 10}), flags.override({rate: 11})
    outer.__enter__()
    rate.set(5)
    inner.__enter__()
    outer.__exit__(None, None, None)
    assert rate.get() == 11
    inner.__exit__(None, None, None)
    assert (rate.get(), rate.origin) == (1, "default")


def test_an_override_block_that_is_overtaken_while_it_ends_brings_back_what_was_before(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A block restores the earlier value when, between its last commit and its end, the outer block ends or a flag is set.
    """
    rate, store = flags.dyn_int("rate", 1), store_of_registry(flags)
    outer, report = flags.override({rate: 2}), store.report
    meanwhile: list[Callable[[], object]] = []

    def report_late(*args: Any) -> None:
        report(*args)
        if meanwhile:
            meanwhile.pop()()

    monkeypatch.setattr(store, "report", report_late)
    outer.__enter__()
    with flags.override({rate: 3}):
        meanwhile.append(lambda: outer.__exit__(None, None, None))
    assert (rate.get(), rate.origin) == (1, "default")
    with flags.override({rate: 3}):
        meanwhile.append(lambda: rate.set(4))
    assert (rate.get(), rate.origin) == (1, "default")


def test_override_block_restores_what_was_before(flags: dflag.FlagRegistry) -> None:
    """
    Nested blocks that an exception leaves restore the value that was set before them.
    """
    rate = flags.dyn_int("rate", 1)
    rate.set(2)
    with pytest.raises(ZeroDivisionError), flags.override({"rate": 3}), flags.override({rate: 4}):
        rate.get() // (rate.get() - 4)
    assert rate.get() == 2


def test_writers_in_many_threads_lose_nothing(flags: dflag.FlagRegistry) -> None:
    """
    With many writers each last value is kept, every commit has its number, and snapshots show whole commits.
    """
    counters = [flags.dyn_int(f"counter{i}", 0) for i in range(4)]
    first, last = flags.dyn_int("first", 0), flags.dyn_int("last", 0)
    torn: list[tuple[int, int]] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            snap = flags.snapshot()
            if snap[first] != snap[last]:
                torn.append((snap[first], snap[last]))

    def write(flag: dflag.DynamicFlag[int]) -> None:
        for value in range(1, 201):
            flag.set(value)

    def publish() -> None:
        for value in range(1, 201):
            flags.apply({"first": str(value), "last": str(value)}, source="s")

    writers = [threading.Thread(target=write, args=[flag]) for flag in counters] + [threading.Thread(target=publish)]
    reader = threading.Thread(target=read)
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join(DEADLINE_SECONDS)
    done.set()
    reader.join(DEADLINE_SECONDS)

    assert [flag.get() for flag in (*counters, first, last)] == [200] * 6
    assert flags.snapshot().revision == 1000
    assert torn == []


def test_secret_stands_nowhere(flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture) -> None:
    """
    A secret value is not in error messages, causes, contexts, pickles, the history, the layers or the log.
    """

    def refuse(value: str) -> None:
        if value.endswith("bad"):
            raise ValueError(f"{value} is bad")

    flags.dyn_string("token", "hunter-0", secret=True, validator=refuse)
    with caplog.at_level(logging.DEBUG, "dflag"):
        flags.apply({"token": "hunter-1"}, source="s")
        error = flags.apply({"token": "hunter-bad"}, source="s").rejected["token"]
    assert (error.__cause__, error.__context__, error.raw) == (None, None, "******")
    seen = [str(error), repr(error), str(pickle.dumps(error)), repr(flags.history()), repr(flags.explain("token"))]
    assert "hunter" not in "".join(seen) + caplog.text


def test_a_thread_that_sees_one_new_value_sees_no_old_one(flags: dflag.FlagRegistry) -> None:
    """
    A reader that sees one new value of a revision sees all its new values, even with a switch interval of 1 µs.
    """
    names = [f"flag{number:04}" for number in range(2_000)]
    declared = [flags.dyn_int(name, 0) for name in names]
    first, last = declared[0], declared[-1]
    torn: list[tuple[int, int]] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            one, other = first.get(), last.get()
            if one > other:
                torn.append((one, other))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    reader = threading.Thread(target=read)
    reader.start()
    try:
        for generation in range(1, 31):
            flags.apply(dict.fromkeys(names, str(generation)), source="config")
    finally:
        sys.setswitchinterval(interval)
        done.set()
        reader.join()

    assert torn == []


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="this system has no signals to threads")
def test_a_signal_handler_may_set_flags_at_any_moment(flags: dflag.FlagRegistry) -> None:
    """
    A signal handler that sets flags during a commit of its thread loses no revision; snapshots agree with the flags,
    the changes that callbacks and history report stay consecutive, and time limits hold.
    """
    rate, other, timed = flags.dyn_int("rate", 0), flags.dyn_int("other", 0), flags.dyn_int("timed", 0)
    calls: dict[str, list[tuple[int, int]]] = {"rate": [], "other": []}
    rate.on_change(lambda old, new: calls["rate"].append((old, new)))
    other.on_change(lambda old, new: calls["other"].append((old, new)))
    counter, stop = itertools.count(1), threading.Event()

    def handle(*_: object) -> None:
        count = next(counter)  # in one step: a handler may interrupt another
        rate.set(-count)
        other.set(count)

    def interrupt() -> None:
        while not stop.wait(0.002):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handle)
    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    number, deadline, wrong = 0, time.monotonic() + 2, 0
    try:
        while time.monotonic() < deadline:
            number += 1
            rate.set(number)
            for _ in range(20):  # a handler may also run between two of these reads, but not each time
                snapshot = flags.snapshot()
                if (snapshot[rate], snapshot[other]) == (rate.get(), other.get()):
                    break
            else:
                wrong += 1
        timed.set(1, ttl_seconds=0.01)
        assert eventually(lambda: timed.get() == 0)
    finally:
        stop.set()
        interrupting.join()
        signal.signal(signal.SIGUSR1, before)
    assert flags.flush(DEADLINE_SECONDS)

    handled = next(counter) - 1
    assert handled > 50
    assert wrong == 0
    # One revision for each `set()`, since each one changes its flag, and two for the time limit.
    assert flags.snapshot().revision == number + 2 * handled + 2
    for name, changes in calls.items():
        assert [new for _, new in changes[:-1]] == [old for old, _ in changes[1:]]
        assert changes[-1][1] == flags[name].get()
    last = [int(change.new) for change in flags.history() if change.flag == "rate"]
    assert last == [new for _, new in calls["rate"]][-len(last) :]


def test_a_kept_snapshot_leads_to_what_belonged_to_it() -> None:
    """A snapshot finds the layers that were in force with it after later commits, declarations and pins."""
    flags = dflag.FlagRegistry()
    rate = flags.dyn_int("rate", 50)
    burst = flags.dyn_int("burst", 5)
    before = flags.snapshot()
    flags.apply({"rate": "60"}, source="one")
    first = flags.snapshot()
    flags.dyn_int("late", 1)
    flags.apply({"rate": "60", "late": "2"}, source="one")
    rate.set(70)
    assert [list(as_of(snap, rate, layers_of)) for snap in (before, first, flags.snapshot())] == [
        [],
        ["one"],
        ["one", "override"],
    ]
    assert list(as_of(first, burst, layers_of)) == []
    with flags.pinned({burst: 6}) as pinned:
        rate.reset()
        assert list(as_of(pinned, burst, layers_of)) == ["pinned"]
        assert list(as_of(pinned, rate, layers_of)) == ["one", "override"]


@pytest.mark.parametrize("commits", [0, 1])
def test_callbacks_and_waiters_hear_of_a_commit_whose_signal_handler_raises(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch, commits: int
) -> None:
    """
    A signal handler's error after a commit reaches the caller; the commit is made once and wakes callbacks and waiters.
    """
    rate, other = flags.dyn_int("rate", 1), flags.dyn_int("other", 1)
    called, woken = threading.Event(), threading.Event()
    rate.on_change(lambda _old, _new: called.set())
    updater = dflag.Updater(flags, dflag.sources.MemorySource({}))
    waiting = threading.Thread(target=lambda: updater.wait_for(lambda snap: snap[rate] == 2) and woken.set())
    waiting.start()
    assert eventually(lambda: flags._store._waiting == 1)

    def run_interrupted(step: Step) -> None:
        monkeypatch.undo()
        step.run()
        if commits:
            other.set(2)
        raise ValueError("of a signal handler")

    monkeypatch.setattr("dflag._store.run_step", run_interrupted)
    before = flags.snapshot().revision
    with pytest.raises(ValueError, match="of a signal handler"):
        rate.set(2)
    assert (rate.get(), flags.snapshot().revision) == (2, before + 1 + commits)
    assert called.wait(DEADLINE_SECONDS)
    assert woken.wait(DEADLINE_SECONDS)
    waiting.join(DEADLINE_SECONDS)


def test_an_error_of_a_signal_handler_before_a_step_goes_on_to_the_caller(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal handler's ValueError before a step reaches the caller although a step raises it too; nothing changes."""
    rate = flags.dyn_int("rate", 1)

    def interrupted(_step: Step) -> None:
        raise ValueError("of a signal handler")

    monkeypatch.setattr("dflag._store.run_step", interrupted)
    with pytest.raises(ValueError, match="of a signal handler"):
        rate.set(2)
    assert rate.get() == 1


def test_at_no_call_of_a_step_does_a_snapshot_lead_to_other_layers(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot taken between any two calls of a step leads to the layers that belong to its values."""
    many = [flags.dyn_int(f"flag{number}", 0) for number in range(5)]
    looked = list[bool]()
    flags.snapshot()

    class SlowStep(Step):
        def __init__(self, calls: Iterable[Call]) -> None:
            self.calls = list(calls)
            super().__init__([])

    def run_slowly(step: SlowStep) -> None:
        for function, *arguments in step.calls:
            function(*arguments)
            snap = flags.snapshot()
            for flag in many:
                entry = as_of(snap, flag, layers_of).get("override")
                looked.append(snap[flag] == (0 if entry is None else entry.value))
        step.run()

    monkeypatch.setattr("dflag._store.Step", SlowStep)
    monkeypatch.setattr("dflag._store.run_step", run_slowly)
    with flags.override(dict.fromkeys(many, 1)):
        assert [flag.get() for flag in many] == [1] * 5
    assert looked
    assert all(looked)


def test_a_keyed_flag_without_a_registry_answers_beside_a_pin(flags: dflag.FlagRegistry) -> None:
    """
    While a pin is open, a keyed flag without a registry answers with its value in force, from its own store's table.
    """
    rate = dflag.dyn_int(1, by="tenant")
    for expected in (1, 2):
        with flags.pinned():
            assert rate.for_("acme") == expected
        table = store_of(rate).table_in_force(rate)
        assert table is not None
        assert table.value_for("acme") == expected
        rate.set(2)


def test_what_a_commit_replaces_is_kept_before_anything_shows_the_new_state(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A step keeps the state that a commit replaces before its first call that sets anything new.
    """
    flags.dyn_int("rate", 1)
    steps: list[list[Any]] = []

    class Kept(Step):
        __slots__ = ()

        def __init__(self, calls: Iterable[Any]) -> None:
            steps.append([*calls])
            super().__init__(steps[-1])

    monkeypatch.setattr("dflag._store.Step", Kept)
    flags.apply({"rate": "2"}, source="s")
    snapshot = flags.snapshot()
    flags.apply({"rate": "3"}, source="s")
    (calls,) = [each for each in steps if (list.append, replaced_of(snapshot)) in [call[:2] for call in each]]
    kept = [call[:2] for call in calls].index((list.append, replaced_of(snapshot)))
    assert kept < min(place for place, call in enumerate(calls) if call[0] is setattr)


def test_snapshots_that_are_kept_for_long_keep_only_what_belongs_to_them(flags: dflag.FlagRegistry) -> None:
    """
    Kept snapshots and pins still find their layers, and the commits that no kept snapshot needs are dropped.
    """
    random = Random(1)
    many = [flags.dyn_int(f"flag{number}", 0) for number in range(4)]
    kept: list[tuple[dflag.Snapshot, list[int]]] = []
    pin = make_pin(store_of_registry(flags), {many[0]: -1})
    for number in range(1, 200):
        random.choice(many).set(number)
        if random.random() < 0.1:
            snapshot = flags.snapshot()
            kept.append((snapshot, [snapshot[flag] for flag in many]))
        if random.random() < 0.08:
            kept[:1] = []
    assert len(kept) > 2
    for snapshot, expected in kept:
        layers = [as_of(snapshot, flag, layers_of).get("override") for flag in many]
        assert [0 if entry is None else entry.value for entry in layers] == expected
    assert list(as_of(pin.snapshot, many[0], layers_of)) == ["pinned"]
    assert not as_of(pin.snapshot, many[1], layers_of)
    many[0].set(0)
    assert _length(pin.snapshot) <= len(kept) + 3  # the pinned one, and those of the last commits
    close_pin(pin)


def _length(snapshot: dflag.Snapshot) -> int:
    """
    Return the number of commits that a snapshot leads to.
    """
    replaced, count = replaced_of(snapshot), 0
    while replaced:
        replaced, count = replaced[0][1], count + 1
    return count


def test_a_block_whose_values_another_one_brings_back_makes_no_revision(flags: dflag.FlagRegistry) -> None:
    """
    The end of an outer block whose value an inner block hides makes no revision.
    """
    rate = flags.dyn_int("rate", 0)
    outer, inner = flags.override({rate: 1}), flags.override({rate: 2})
    with contextlib.ExitStack() as stack:
        outer.__enter__()
        stack.enter_context(inner)
        before = flags.snapshot().revision
        outer.__exit__(None, None, None)
        assert (rate.get(), flags.snapshot().revision) == (2, before)
    assert rate.get() == 0


def test_blocks_of_two_threads_leave_nothing_behind(flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A block that another thread enters while the first block reports its commit, and that ends first, leaves no value.
    """
    rate = flags.dyn_int("rate", 50)
    store = store_of_registry(flags)
    report, others = store.report, list[contextlib.AbstractContextManager[None]]()

    def report_late(transaction: Any, edits: Any) -> None:
        if not others:
            others.append(flags.override({rate: 2}))
            other = threading.Thread(target=others[0].__enter__)
            other.start()
            other.join(DEADLINE_SECONDS)
        report(transaction, edits)

    monkeypatch.setattr(store, "report", report_late)
    with flags.override({rate: 1}):
        assert rate.get() == 2
        others[0].__exit__(None, None, None)
        assert rate.get() == 1
    assert (rate.get(), rate.origin) == (50, "default")


def test_a_flag_that_was_bound_since_a_snapshot_has_its_own_value(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A store whose snapshot is from before a flag was bound returns the flag's own override and table.
    """
    store, before = store_of_registry(flags), flags.snapshot()
    rate = dflag.dyn_int(1, by="tenant")
    rate.set(5)
    flags.bind("rate", rate)
    monkeypatch.setattr(store, "snapshot", lambda: before)
    assert store.value_in_force(rate) == 5
    assert store.table_in_force(rate) is not None


def test_a_transaction_is_refused_after_another_commit(flags: dflag.FlagRegistry) -> None:
    """A transaction planned before another commit is refused and changes nothing; planned again it commits."""
    rate = flags.dyn_int("rate", 1)
    store = store_of_registry(flags)
    outdated = store.plan([(rate, "file", Entry(2))])
    rate.set(5)
    rate.reset()
    assert not store.commit(outdated)
    assert rate.get() == 1
    assert store.commit(store.plan([(rate, "file", Entry(2))]))
    assert rate.get() == 2
