"""
Processes that fork while an updater runs.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import signal
import threading
import time
import weakref
from typing import TYPE_CHECKING
from unittest import mock

import pytest

import dflag
from dflag import Updater, _fork

from ._children import CHILD_SECONDS, Child, Gate
from ._waiting import DEADLINE_SECONDS, eventually, run_python

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dflag.testing import ConfigMapVolume

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork"),
    # The warning says that threads are running at a fork, which is what is tested here.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(name="rate")
def _rate(flags: dflag.FlagRegistry) -> dflag.DynamicFlag[int]:
    return flags.dyn_int("rate", 0)


@pytest.fixture(name="updater")
def _updater(flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], volume: ConfigMapVolume) -> Iterator[Updater]:
    volume.write({"rate": "1"})
    # The periodic check is so rare that only events can report a change.
    with Updater.setup(flags, volume.path, resync_seconds=60) as updater:
        yield updater


@pytest.fixture(name="gate")
def _gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.close()


@pytest.fixture(name="ready")
def _ready() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.close()


def _shows(updater: Updater, value: int) -> bool:
    return updater.wait_for(lambda snapshot: snapshot["rate"] == value, DEADLINE_SECONDS)


def test_both_sides_follow_after_a_fork(updater: Updater, volume: ConfigMapVolume, ready: Gate) -> None:
    """
    Parent and child both see each swap after a fork.
    """

    def run() -> None:
        assert updater.status().state == "running"
        assert _shows(updater, 1)
        ready.open()
        assert _shows(updater, 2)
        ready.open()
        assert _shows(updater, 3)

    child = Child(run)
    for value in (2, 3):
        ready.wait()
        volume.write({"rate": str(value)})
        assert _shows(updater, value)
    child.check()


def test_a_swap_right_after_the_fork_is_seen(updater: Updater, volume: ConfigMapVolume) -> None:
    """
    The child sees a swap that is published right after the fork.
    """
    for value in range(2, 8):
        child = Child(lambda value=value: _check(_shows(updater, value)))  # type: ignore[misc]
        volume.write({"rate": str(value)})
        child.check()
        assert _shows(updater, value)


def _check(condition: object) -> None:
    assert condition


def test_a_child_follows_by_an_updater_that_nobody_keeps(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], volume: ConfigMapVolume, ready: Gate
) -> None:
    """
    A child follows by an updater that only its own thread refers to, even after a garbage collection.
    """
    volume.write({"rate": "1"})
    running = weakref.ref(Updater.setup(flags, volume.path, resync_seconds=60))

    def run() -> None:
        gc.collect()
        ready.open()
        assert eventually(lambda: rate.get() == 2)

    try:
        child = Child(run)
        ready.wait()
        volume.write({"rate": "2"})
        child.check()
    finally:
        updater = running()
        assert updater is not None
        updater.stop()


def test_a_child_that_ends_does_not_hurt_the_parent(updater: Updater, volume: ConfigMapVolume) -> None:
    """
    The parent follows by events after a child has stopped the updater, ended at once or been killed.
    """

    def stop() -> None:
        updater.stop()
        assert updater.status().state == "stopped"

    def end() -> None:
        return

    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    for value, run in enumerate((stop, end, kill), start=2):
        child = Child(run)
        if run is kill:
            with pytest.raises(AssertionError):
                child.check()
        else:
            child.check()
        volume.write({"rate": str(value)})
        assert _shows(updater, value)


def test_a_parent_that_stops_does_not_hurt_the_child(updater: Updater, volume: ConfigMapVolume, gate: Gate) -> None:
    """
    The child goes on following after the parent has stopped its updater.
    """

    def run() -> None:
        gate.wait()
        assert _shows(updater, 2)

    child = Child(run)
    updater.stop()
    volume.write({"rate": "2"})
    gate.open()
    child.check()
    assert updater.status().state == "stopped"


def test_a_stopped_updater_stays_stopped_in_the_child(
    updater: Updater, volume: ConfigMapVolume, rate: dflag.DynamicFlag[int]
) -> None:
    """
    An updater that was stopped before the fork has no thread in the child, and can be started there.
    """
    updater.stop()
    volume.write({"rate": "2"})

    def run() -> None:
        assert updater.status().state == "stopped"
        assert threading.active_count() == 1
        assert rate.get() == 1
        updater.start()
        assert rate.get() == 2
        updater.stop()

    Child(run).check()


def test_an_updater_made_before_the_fork_may_start_in_the_child(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], volume: ConfigMapVolume
) -> None:
    """
    An updater that is initialized before a fork can be started in each child, as a server does that forks its workers.
    """
    volume.write({"rate": "1"})
    updater = Updater(flags, volume.path)
    updater.initialize()

    def run() -> None:
        with updater:
            assert _shows(updater, 2)

    children = [Child(run) for _ in range(3)]
    volume.write({"rate": "2"})
    for child in children:
        child.check()
    assert rate.get() == 1


@pytest.mark.untraced
def test_forks_during_swaps_follow_to_the_end(updater: Updater, volume: ConfigMapVolume) -> None:
    """
    Parent and children reach the last value, whatever the updater was doing at the fork.
    """
    done = threading.Event()

    def publish() -> None:
        for value in range(2, 200):
            volume.write({"rate": str(value)})
        done.set()

    writer = threading.Thread(target=publish)
    writer.start()
    children: list[Child] = []
    while not done.is_set() and len(children) < 12:
        children.append(Child(lambda: _check(_shows(updater, 199))))
    writer.join()

    assert _shows(updater, 199)
    for child in children:
        child.check()


@pytest.mark.untraced
def test_a_fork_while_other_threads_use_everything_does_not_lock_up(
    flags: dflag.FlagRegistry, updater: Updater, volume: ConfigMapVolume, rate: dflag.DynamicFlag[int]
) -> None:
    """
    A child forked while other threads use registry and updater can use both without waiting for their locks.
    """
    other = flags.dyn_int("other", 0)
    done = threading.Event()

    def use() -> None:
        number = 0
        while not done.is_set():
            number += 1
            other.set(number)
            updater.refresh()
            updater.status()
            flags.snapshot()
            flags.history()
            time.sleep(0)

    users = [threading.Thread(target=use) for _ in range(2)]
    for user in users:
        user.start()

    def run() -> None:
        other.set(-1)
        updater.refresh()
        assert flags.snapshot()[other] == -1
        assert flags.flush(DEADLINE_SECONDS)
        updater.stop()

    try:
        for _ in range(8):
            Child(run).check()
    finally:
        done.set()
        for user in users:
            user.join()


def test_a_fork_during_a_validator_that_hangs(
    updater: Updater, volume: ConfigMapVolume, rate: dflag.DynamicFlag[int]
) -> None:
    """
    A revision that the parent is still validating at the fork is validated again and applied in the child.
    """
    parent = os.getpid()
    entered, leave = threading.Event(), threading.Event()

    @rate.validator
    def _hang(value: int) -> None:
        if value == 2 and os.getpid() == parent:
            entered.set()
            leave.wait(DEADLINE_SECONDS)

    volume.write({"rate": "2"})
    assert entered.wait(DEADLINE_SECONDS)
    child = Child(lambda: _check(_shows(updater, 2)))
    child.check()
    assert rate.get() == 1
    leave.set()
    assert _shows(updater, 2)


def test_pending_callbacks_run_on_both_sides(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], updater: Updater
) -> None:
    """
    Callbacks that were pending at the fork run on both sides, once for each change and in order.
    """
    seen: list[int] = []
    entered, leave = threading.Event(), threading.Event()

    @rate.on_change
    def _note(_old: int, new: int) -> None:
        if new == 10:
            entered.set()
            leave.wait(DEADLINE_SECONDS)
        else:
            seen.append(new)

    for value in (10, 11, 12, 13):
        rate.set(value)
    assert entered.wait(DEADLINE_SECONDS)

    def run() -> None:
        leave.set()
        assert flags.flush(DEADLINE_SECONDS)
        assert seen == [11, 12, 13]

    Child(run).check()
    leave.set()
    assert flags.flush(DEADLINE_SECONDS)
    assert seen == [11, 12, 13]
    rate.reset()


def test_pending_expiries_fall_due_on_both_sides(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], updater: Updater
) -> None:
    """
    An override whose time limit is pending at the fork ends on both sides, with its callback.
    """
    seen: list[tuple[int, int]] = []
    rate.set(5, ttl_seconds=1.5)
    rate.on_change(lambda old, new: seen.append((old, new)))
    assert flags.flush(DEADLINE_SECONDS)

    def run() -> None:
        assert rate.get() == 5
        assert _shows(updater, 1)
        assert flags.flush(DEADLINE_SECONDS)
        assert seen[-1] == (5, 1)

    child = Child(run)
    assert _shows(updater, 1)
    child.check()
    assert flags.flush(DEADLINE_SECONDS)
    assert seen[-1] == (5, 1)


def test_overrides_in_the_child_are_its_own(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], updater: Updater
) -> None:
    """
    An override that is set in the child does not change the value in the parent.
    """

    def run() -> None:
        rate.set(9)
        assert rate.get() == 9

    Child(run).check()

    assert rate.get() == 1


def test_multiprocessing_by_fork_follows(updater: Updater, volume: ConfigMapVolume) -> None:
    """
    Workers that ``multiprocessing`` forks follow, and so does the parent.
    """
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=lambda: _check(_shows(updater, 2))) for _ in range(3)]
    for worker in workers:
        worker.start()
    volume.write({"rate": "2"})
    for worker in workers:
        worker.join(CHILD_SECONDS)
        assert worker.exitcode == 0
        worker.close()

    assert _shows(updater, 2)


def test_a_grandchild_follows(updater: Updater, volume: ConfigMapVolume) -> None:
    """
    A child of a child follows, and so do its parent and its grandparent.
    """

    def run() -> None:
        grandchild = Child(lambda: _check(_shows(updater, 2)))
        assert _shows(updater, 2)
        grandchild.check()

    child = Child(run)
    volume.write({"rate": "2"})
    assert _shows(updater, 2)
    child.check()


def test_a_callback_that_forks_is_not_called_again_in_the_child(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], updater: Updater, volume: ConfigMapVolume
) -> None:
    """
    A callback that forks makes one child, which follows and does not run the callback again for the same change.
    """
    calls: list[int] = []
    children: list[Child] = []

    def run() -> None:
        assert _shows(updater, 3)
        assert flags.flush(DEADLINE_SECONDS)
        assert calls == [2, 3]

    @rate.on_change
    def _fork(_old: int, new: int) -> None:
        calls.append(new)
        if new == 2:
            children.append(Child(run))

    volume.write({"rate": "2"})
    assert eventually(lambda: children)
    volume.write({"rate": "3"})
    assert _shows(updater, 3)
    children[0].check()

    assert flags.flush(DEADLINE_SECONDS)
    assert calls == [2, 3]
    assert len(children) == 1


def test_changes_in_the_child_leave_the_loop_of_the_parent_alone(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int]
) -> None:
    """
    A change in the child does not wake the event loop on which the parent waits for ``changes()``.
    """

    def run(loop: asyncio.AbstractEventLoop) -> None:
        with mock.patch.object(loop, "call_soon_threadsafe") as call_soon:
            rate.set(1)
            assert flags.flush(DEADLINE_SECONDS)
        call_soon.assert_not_called()

    async def main() -> tuple[int, int]:
        changes = rate.changes()
        loop = asyncio.get_running_loop()
        Child(lambda: run(loop)).check()
        rate.set(2)
        return await anext(changes)

    assert asyncio.run(main()) == (0, 2)


def test_a_child_leaks_none_of_what_it_inherited(updater: Updater) -> None:
    """
    A child's updater holds as many descriptors and threads as the parent's, also after several generations of forks.
    """

    def count() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    expected = count()

    def run(generations: int) -> None:
        assert eventually(lambda: count() == expected), (count(), expected)
        if generations:
            with updater._read_gate.lock:  # a fork during a reading leaves its descriptors open in the child
                child = Child(lambda: run(generations - 1))
            child.check()
        updater.stop()
        assert eventually(lambda: threading.active_count() == 1)

    with updater._read_gate.lock:
        first = Child(lambda: run(3))
    first.check()
    assert eventually(lambda: count() == expected)


def test_a_child_that_only_reads_values_follows(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], updater: Updater, volume: ConfigMapVolume, ready: Gate
) -> None:
    """
    A child whose only call is ``get()`` has new values, ends of overrides and callbacks.
    """
    heard: list[int] = []
    other = flags.dyn_int("other", 0)
    rate.on_change(lambda _old, new: heard.append(new))
    other.set(5, ttl_seconds=2)  # long enough to be set at the fork, on a machine under load too
    assert flags.flush(DEADLINE_SECONDS)

    def run() -> None:
        ready.open()
        assert eventually(lambda: rate.get() == 2)
        assert eventually(lambda: other.get() == 0)
        assert eventually(lambda: heard == [2])

    child = Child(run)
    ready.wait()
    volume.write({"rate": "2"})
    child.check()
    assert eventually(lambda: other.get() == 0)


@pytest.mark.parametrize("call", ["stop", "start", "initialize", "refresh"])
def test_the_first_call_in_a_child_finds_a_running_updater(updater: Updater, call: str) -> None:
    """
    The first call in a child, right after the fork, finds an updater that runs.
    """

    def run() -> None:
        if call == "stop":
            updater.stop()
            assert updater.status().state == "stopped"
            assert eventually(lambda: threading.active_count() == 1)
            updater.start()
        elif call == "refresh":
            updater.refresh()
        else:
            with pytest.raises(dflag.UpdaterStateError):
                getattr(updater, call)()
        assert updater.status().sources[0].watched != "not watched"
        updater.stop()

    Child(run).check()


def test_a_child_of_a_child_that_was_replaced_at_once_follows(
    rate: dflag.DynamicFlag[int], updater: Updater, volume: ConfigMapVolume, ready: Gate
) -> None:
    """
    A grandchild whose parent forked and exited at once, as for a daemon, follows although its only call is ``get()``.
    """

    def run() -> None:
        if os.fork():
            os._exit(0)
        ready.open()
        assert eventually(lambda: rate.get() == 2)
        ready.open()

    child = Child(run)
    child.check()
    ready.wait()
    volume.write({"rate": "2"})
    ready.wait()


def test_a_fork_within_a_validator_leaves_both_sides_following(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], updater: Updater, volume: ConfigMapVolume
) -> None:
    """
    When a validator forks on the updater's thread, there is one child, and both sides apply the next revision.
    """
    children: list[Child] = []

    @rate.validator
    def _fork(value: int) -> None:
        if value == 2 and not children:
            children.append(Child(lambda: _check(_shows(updater, 3))))

    volume.write({"rate": "2"})
    assert _shows(updater, 2)
    volume.write({"rate": "3"})
    assert _shows(updater, 3)
    (child,) = children
    child.check()


# Runs in an interpreter of its own: a fork hook that another test registered later would run in the child.
REPLACED = """
import asyncio, os, select, subprocess, sys, threading
import dflag

flags = dflag.FlagRegistry()
rate = flags.dyn_int("rate", 0)
updater = dflag.Updater.setup(flags, sys.argv[1])
parent, real = os.getpid(), threading.Thread.start
reading, writing = os.pipe()

def start(thread):
    if os.getpid() != parent:
        os.write(writing, b"x")
    real(thread)

threading.Thread.start = start

def started(seconds):
    return bool(select.select([reading], [], [], seconds)[0]) and os.read(reading, 100) != b""

async def spawn():
    for _ in range(3):
        process = await asyncio.create_subprocess_exec("true")
        assert await process.wait() == 0

"""

REPLACEMENTS = {
    "uvloop": """
import uvloop
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(spawn())
assert not started(0)
""",
    "uvloop in a worker": """
import uvloop
os.register_at_fork(after_in_child=lambda: None)
child = os.fork()
if child == 0:
    parent = os.getpid()
    assert started(10)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(spawn())
    os._exit(started(0))
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
""",
    "preexec_fn": """
subprocess.run(["true"], preexec_fn=lambda: None, check=True)
assert not started(0)
subprocess.run(["true"], preexec_fn=lambda: select.select([reading], [], [], 10), check=True)
assert started(0), "a function that takes long is overtaken by the updater"
""",
    "none": """
child = os.fork()
if child == 0:
    os._exit(not started(10))
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
""",
}


@pytest.mark.parametrize("replacement", REPLACEMENTS)
def test_nothing_is_started_in_a_child_that_another_program_replaces(
    rate: dflag.DynamicFlag[int], volume: ConfigMapVolume, replacement: str
) -> None:
    """
    The updater starts no thread in a child that another program replaces at once, under uvloop or with a preexec_fn.
    """
    if "uvloop" in replacement:
        pytest.importorskip("uvloop")
    volume.write({"rate": "1"})
    result = run_python(REPLACED + REPLACEMENTS[replacement], volume.path, warnings="default")

    assert result.returncode == 0, result.stderr


def test_a_child_without_anything_to_follow_gets_no_thread(flags: dflag.FlagRegistry) -> None:
    """
    A child with no running updater and nothing pending gets no thread, and can set and read flags.
    """
    rate = flags.dyn_int("rate", 0)

    def run() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_fork, "_settle_later", lambda: os._exit(3))
            rate.set(2)
        assert len(os.listdir("/proc/self/task")) == 1
        rate.set(3)
        assert rate.get() == 3

    Child(run).check()


ATTACHED = {
    "prometheus": "from dflag.integrations.prometheus import register\nregister(flags, updater)",
    "opentelemetry": "from dflag.integrations.opentelemetry import export_metrics\nexport_metrics(flags, updater)",
    "openfeature": "from dflag.integrations.openfeature import DflagProvider\nprovider = DflagProvider(flags, updater)",
    "sentry": "from dflag.integrations.sentry import add_context\nadd_context(flags)",
    "page": "from dflag.web import make_wsgi_app\napp = make_wsgi_app(flags, updater, ofrep=True)",
    "server": "from dflag.web import start_http_server\nserver = start_http_server(0, flags, updater)",
    "loglevel": "from dflag.logging import add_loglevel_flag\nadd_loglevel_flag(flags)",
}


@pytest.mark.parametrize("follows", [False, True], ids=["alone", "with an updater"])
@pytest.mark.parametrize("attached", ATTACHED)
def test_a_child_works_whatever_its_parent_has_attached(attached: str, follows: bool) -> None:
    """
    A child can set and read flags whatever its parent has attached, even if no snapshot was read since the freeze.
    """
    pytest.importorskip({"openfeature": "openfeature", "sentry": "sentry_sdk"}.get(attached, "dflag"))
    program = f"""
import faulthandler, os, dflag
flags = dflag.FlagRegistry()
rate = flags.dyn_int("rate", 1)
updater = dflag.Updater.setup(flags, dflag.sources.MemorySource({{}})) if {follows} else None
{ATTACHED[attached]}
flags.freeze()
child = os.fork()
if child == 0:
    faulthandler.dump_traceback_later({CHILD_SECONDS}, exit=True)
    rate.set(2)
    os._exit(flags.snapshot()[rate])
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    result = run_python(program, warnings="ignore")
    assert result.stdout == "2\n", result.stderr
