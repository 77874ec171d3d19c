"""
Locks around a fork: no lock of dflag stays held, whatever the other threads of the process are doing.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import pytest

import dflag
from dflag import Updater

from ._children import Child
from ._waiting import DEADLINE_SECONDS, eventually, run_python

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from dflag.testing import ConfigMapVolume

pytestmark = [
    pytest.mark.untraced,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork"),
    # The warning says that threads are running at a fork, which is what is tested here.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

FORKS = 40
"""How many children the storm makes: two seconds' worth."""


_SLOW_IMPORT: Final = """
import os, sys, signal, threading, time, importlib.abc, importlib.machinery, faulthandler
import dflag
started = threading.Event()

class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == late:
            if phase == "find":
                started.set()
                time.sleep(0.5)
            spec = importlib.machinery.PathFinder.find_spec(name, path)
            load = spec.loader.exec_module
            def slowly(module):
                if phase == "load":
                    started.set()
                    time.sleep(0.5)
                load(module)
            spec.loader.exec_module = slowly
            return spec

assert late not in sys.modules
sys.meta_path.insert(0, Slow())
"""
"""A program's first lines, which make the import of *late* report its start and take half a second."""


@pytest.mark.parametrize(
    ("module", "phase"), [("difflib", "load"), ("dflag._source_layers", "find"), ("dflag._source_layers", "load")]
)
def test_a_child_may_import_what_another_thread_was_importing(module: str, phase: str) -> None:
    """
    A fork waits for a late import of dflag on another thread, so the child can import the same module.
    """
    program = f"""
late, phase = {module!r}, {phase!r}
{_SLOW_IMPORT}
flags = dflag.FlagRegistry()
flags.dyn_int("greeting", 1)
importing = threading.Thread(target=lambda: flags.apply({{"greting": "1"}}, source="s"))
importing.start()
assert started.wait(20)
pid = os.fork()
if pid == 0:
    faulthandler.dump_traceback_later(20, exit=True)
    flags.apply({{"greeting": "2", "gretings": "1"}}, source="s")
    os._exit(flags["greeting"].get())
importing.join()
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    found = run_python(program, warnings="ignore")
    assert found.stdout == "2\n", found.stderr


@pytest.mark.parametrize("phase", ["find", "load"])
def test_a_child_imports_anew_what_no_fork_waits_for(phase: str) -> None:
    """
    A child can import a module outside dflag that a thread was importing at the fork, which does not wait for it.
    """
    program = f"""
late, phase = "colorsys", {phase!r}
{_SLOW_IMPORT}
flags = dflag.FlagRegistry()
rate = flags.dyn_int("rate", 1)
importing = threading.Thread(target=importlib.import_module, args=(late,))
importing.start()
assert started.wait(20)
pid = os.fork()
if pid == 0:
    faulthandler.dump_traceback_later(5, exit=True)
    rate.set(2)
    import colorsys
    os._exit(int(colorsys.rgb_to_hsv(0, 0, 3)[2]))
importing.join()
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    found = run_python(program, warnings="ignore")
    assert found.stdout == "3\n", found.stderr


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="the module of this is built in there")
def test_a_child_may_draw_a_share_although_another_thread_was_about_to() -> None:
    """
    A child can draw a share although another thread was importing the hash for it at the fork.
    """
    program = f"""
late, phase = "_sha256", "load"
{_SLOW_IMPORT}
from dflag._keyed import draw
flags = dflag.FlagRegistry()
importing = threading.Thread(target=draw, args=("limits", "web-1"))
importing.start()
assert started.wait(20)
pid = os.fork()
if pid == 0:
    faulthandler.dump_traceback_later(5, exit=True)
    os._exit(2 if draw("limits", "web-1") == draw("limits", "web-1") else 3)
importing.join()
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    found = run_python(program, warnings="ignore")
    assert found.stdout == "2\n", found.stderr


@pytest.mark.parametrize(
    ("module", "phase"),
    [
        ("dflag.sources._native", "find"),
        ("dflag.sources._native", "load"),
        ("watchdog.observers.inotify_c", "load"),
    ],
)
def test_a_child_follows_although_another_thread_was_starting_the_updater(
    module: str, phase: str, volume: ConfigMapVolume
) -> None:
    """
    A fork returns, and the child follows, although another thread is importing modules to start the updater.
    """
    volume.write({"rate": "2"})
    program = f"""
late, phase = {module!r}, {phase!r}
{_SLOW_IMPORT}
flags = dflag.FlagRegistry()
rate = flags.dyn_int("rate", 1)
updater = dflag.Updater(flags, {str(volume.path)!r})
starting = threading.Thread(target=updater.start)
starting.start()
assert started.wait(20)
pid = os.fork()
if pid == 0:
    os._exit(3 if updater.wait_for(lambda snapshot: snapshot[rate] == 2, 20) else 4)
signal.signal(signal.SIGALRM, lambda *_: os.kill(pid, signal.SIGKILL))
signal.alarm(20)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
starting.join()
updater.stop()
"""
    found = run_python(program, warnings="ignore")
    assert found.stdout == "3\n", found.stderr


def test_a_fork_amid_an_import_of_its_own_thread_waits_for_nothing() -> None:
    """
    A fork by a thread that is inside an import returns in both processes, and then the import goes on.
    """
    program = """
import faulthandler, importlib.abc, os, sys
faulthandler.dump_traceback_later(20, exit=True)
import dflag
flags = dflag.FlagRegistry()
rate = flags.dyn_int("rate", 1)

class Interrupt(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "dflag._batch":
            pid = os.fork()
            if pid == 0:
                os._exit(7)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

sys.meta_path.insert(0, Interrupt())
flags.apply({"rate": "2"}, source="s")
print(rate.get())
"""
    found = run_python(program, warnings="ignore")
    assert found.stdout == "7\n2\n", found.stderr


def test_a_signal_that_interrupts_a_fork_leaves_no_lock_held() -> None:
    """
    When a signal handler raises while a fork waits for a lock, Python prints the error and no lock stays held.
    """
    program = """
import os, signal, threading, time, faulthandler
import dflag
registries = [dflag.FlagRegistry() for _ in range(3)]
rates = [flags.dyn_int("rate", 1) for flags in registries]
held, forked = threading.Event(), threading.Event()

def hold():
    with registries[1]._store.lock:
        held.set()
        forked.wait(5)

def interrupt(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
holding = threading.Thread(target=hold)
holding.start()
held.wait()
signal.setitimer(signal.ITIMER_REAL, 0.2)
pid = os.fork()
if pid == 0:
    faulthandler.dump_traceback_later(20, exit=True)
forked.set()

def use():
    for rate in rates:
        rate.set(2)
    dflag.FlagRegistry().dyn_int("rate", 1).set(2, ttl_seconds=60)
    done.set()

done = threading.Event()
threading.Thread(target=use, daemon=True).start()
assert done.wait(5), "a lock is still held"
if pid == 0:
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    found = run_python(program, warnings="ignore")
    assert found.stdout == "0\n", found.stderr
    assert "KeyboardInterrupt" in found.stderr
    assert "RuntimeError" not in found.stderr.rpartition("KeyboardInterrupt")[2]


def test_a_child_does_not_wait_for_what_a_thread_of_the_updater_held(
    flags: dflag.FlagRegistry, volume: ConfigMapVolume
) -> None:
    """
    A child becomes healthy although another thread held a lock of the updater's session at the fork.
    """
    flags.dyn_int("rate", 0)
    volume.write({"rate": "1"})
    with Updater.setup(flags, volume.path) as updater:
        session: Any = updater._session
        with session._waiter._lock:
            forking = _Forking(lambda: _check(eventually(lambda: updater.status().sources[0].healthy)))
            forking.start()
            forking.join()
        forking.child.check()


class _Forking(threading.Thread):
    """A thread that forks while this one holds locks."""

    def __init__(self, run: Callable[[], None]) -> None:
        super().__init__()
        self._run_in_child = run

    def run(self) -> None:
        self.child = Child(self._run_in_child)


def _check(condition: object) -> None:
    assert condition


class _OfTheParent(logging.StreamHandler[io.TextIOWrapper]):
    """A handler that writes nothing in a child, which may find the lock of Python's buffered stream held."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        super().__init__(stream)
        self._pid = os.getpid()

    def handle(self, record: logging.LogRecord) -> bool:
        return os.getpid() == self._pid and bool(super().handle(record))


@pytest.fixture(name="_busy_log")
def _with_busy_log(tmp_path: Path) -> Iterator[None]:
    """Write the program's log to a buffered file, as a service does."""
    loggers = [logging.getLogger(name) for name in ("dflag", "dflag_test_storm")]
    with (tmp_path / "log").open("w", encoding="utf-8") as stream:
        handler = _OfTheParent(stream)
        for logger in loggers:
            logger.addHandler(handler)
            logger.setLevel(logging.DEBUG)
        yield
        for logger in loggers:
            logger.removeHandler(handler)
            logger.setLevel(logging.NOTSET)


def test_a_fork_waits_for_a_message_that_is_being_written(flags: dflag.FlagRegistry) -> None:
    """
    A fork waits while another thread writes a log message of dflag, so the lock of its handler is free in the child.
    """
    rate = flags.dyn_int("rate", 0)
    writing, lock = threading.Event(), threading.Lock()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            with lock:  # like that of a buffered stream, which is not made again in a child
                writing.set()
                time.sleep(0.1)

    logger, handler = logging.getLogger("dflag"), Handler()
    logger.addHandler(handler)
    try:
        threading.Thread(target=flags.apply, args=({"unknown": "1"},), kwargs={"source": "s"}).start()
        assert writing.wait(DEADLINE_SECONDS)
        child = Child(lambda: _check(lock.acquire(timeout=1) and rate.get() == 0))
        assert flags.apply({"other": "1"}, source="s").unknown == ("other",)
        child.check()
    finally:
        logger.removeHandler(handler)


def test_a_fork_does_not_wait_for_a_log_handler_that_hangs(flags: dflag.FlagRegistry) -> None:
    """
    A log handler that hangs, or forks itself, delays a fork only for a moment, and later messages reach the handler.
    """
    entered, leave = threading.Event(), threading.Event()
    children: list[Child] = []

    class Handler(logging.Handler):
        lock = None

        def createLock(self) -> None:  # noqa: N802 - the name is the library's
            pass

        def handle(self, record: logging.LogRecord) -> bool:
            if "hang" in record.getMessage():
                entered.set()
                leave.wait(DEADLINE_SECONDS)
            elif "forks" in record.getMessage():
                children.append(Child(lambda: flags.apply({"other": "1"}, source="child")))
            return True

    logger, handler = logging.getLogger("dflag"), Handler()
    logger.addHandler(handler)
    try:
        hanging = threading.Thread(target=flags.apply, args=({"hang": "1"},), kwargs={"source": "s"})
        hanging.start()
        assert entered.wait(DEADLINE_SECONDS)
        began = time.monotonic()
        flags.apply({"forks": "1"}, source="t")
        children.append(Child(lambda: flags.apply({"other": "1"}, source="child")))
        assert time.monotonic() - began < DEADLINE_SECONDS / 2
        for child in children:
            child.check()
        assert len(children) == 2
    finally:
        leave.set()
        hanging.join()
        logger.removeHandler(handler)


@pytest.mark.usefixtures("_busy_log")
def test_forks_amid_expiring_overrides_and_a_busy_log(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Overrides, expiries, callbacks and ``flush()`` work in each child forked in a storm of them, and in the parent.
    """
    for name in ("dflag", "dflag_test_storm"):  # or pytest would keep every message for its report of a failure
        monkeypatch.setattr(logging.getLogger(name), "propagate", False)
    rates = [flags.dyn_int(f"rate{number}", 0) for number in range(4)]
    called: list[int] = []
    rates[0].on_change(lambda _, new: called.append(new))
    stop = threading.Event()

    def expire(rate: dflag.DynamicFlag[int]) -> None:
        while not stop.is_set():
            rate.set(1, ttl_seconds=0.001, reason="storm")
            flags.history(), flags.snapshot(), flags.apply({"unknown": "1"}, source="s")

    def log() -> None:
        while not stop.is_set():
            logging.getLogger("dflag_test_storm").info("a line %s", "x" * 200)

    def run() -> None:
        called.clear()
        rates[0].set(5)
        rates[0].set(7, ttl_seconds=0.01, reason="child")
        assert flags.history()
        assert eventually(lambda: rates[0].get() == 0)
        assert flags.flush(DEADLINE_SECONDS)
        assert 7 in called
        other = dflag.FlagRegistry().dyn_int("rate", 1)
        other.set(2, ttl_seconds=0.01)
        assert eventually(lambda: other.get() == 1)

    threads = [threading.Thread(target=expire, args=(rate,)) for rate in rates[1:]] + [threading.Thread(target=log)]
    for thread in threads:
        thread.start()
    try:
        deadline = time.monotonic() + 6 * DEADLINE_SECONDS
        for _ in range(FORKS):
            Child(run).check()
            assert time.monotonic() < deadline
    finally:
        stop.set()
        for thread in threads:
            thread.join(DEADLINE_SECONDS)
    assert not any(thread.is_alive() for thread in threads)
    assert flags.flush(DEADLINE_SECONDS)
    assert eventually(lambda: all(rate.get() == 0 for rate in rates))
