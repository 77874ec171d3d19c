"""
An updater survives any failure beneath it: the last good value stays, it is logged once, and the updater recovers.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import importlib
import logging
import os
import stat
import subprocess
import sys
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import pytest

import dflag
from dflag import Updater
from dflag.sources import DirectorySource, _native, _plain, directory
from dflag.testing import ConfigMapVolume
from tests.integration._children import Child, Gate
from tests.integration._waiting import DEADLINE_SECONDS, eventually

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from pathlib import Path

NO_RESYNC = 3600.0
"""The interval of a periodic check that never comes, so that every change must come by events."""

QUICK_SECONDS = 0.02
"""The length of the waits between two attempts in these tests."""

RECHECKS = 5
"""The number of failing attempts after which a message that is logged once must not have been repeated."""

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")


@pytest.fixture(name="rate")
def _rate(flags: dflag.FlagRegistry) -> dflag.DynamicFlag[int]:
    return flags.dyn_int("rate", 0)


@pytest.fixture(name="other")
def _other(flags: dflag.FlagRegistry) -> dflag.DynamicFlag[int]:
    return flags.dyn_int("other", 0)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten all waits before a retry."""
    monkeypatch.setattr(_native, "_RETRY_SECONDS", QUICK_SECONDS)
    monkeypatch.setattr(directory, "FAILED_RECHECK_SECONDS", QUICK_SECONDS)
    monkeypatch.setattr(directory, "REFUSED_RECHECK_SECONDS", QUICK_SECONDS)
    monkeypatch.setattr(_plain, "REFUSED_RECHECK_SECONDS", QUICK_SECONDS)


@pytest.fixture(name="said")
def _said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Return a function that returns the logged warnings and errors."""
    return lambda: [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def _shows(updater: Updater, value: int, name: str = "rate") -> bool:
    return updater.wait_for(lambda snapshot: snapshot[name] == value, DEADLINE_SECONDS)


# --- system calls that fail


class Fault:
    """
    Makes one system call fail in the updater's thread while it is on, and counts the failures.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, call: str, number: int, concerns: Callable[..., bool]) -> None:
        self.on = False
        self.hits = 0
        real = getattr(os, call)

        def failing(*arguments: Any, **options: Any) -> Any:
            mine = threading.current_thread().name == "dflag-updater"
            if self.on and mine and concerns(*arguments, **options):
                self.hits += 1
                raise OSError(number, os.strerror(number))
            return real(*arguments, **options)

        monkeypatch.setattr(os, call, failing)

    def lasts(self) -> bool:
        """
        Wait until the call has failed `RECHECKS` more times, so that a repeated message would have been logged.
        """
        target = self.hits + RECHECKS
        return eventually(lambda: self.hits >= target)


def _always(*_: object, **__: object) -> bool:
    return True


def _without_descriptor(*_: object, dir_fd: int | None = None) -> bool:
    return dir_fd is None


def _rate_alone(path: object, *_: object, **__: object) -> bool:
    return path == "rate"


def _of_a_file(descriptor: int, *_: object) -> bool:
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


DIRECTORY_FAULTS = {
    "open": ("open", _without_descriptor),
    "list": ("scandir", _always),
    "stat": ("stat", _without_descriptor),
}
NUMBERS = [errno.EACCES, errno.ENOENT, errno.ESTALE, errno.EIO, errno.EMFILE]


@pytest.mark.parametrize("number", NUMBERS, ids=errno.errorcode.get)
@pytest.mark.parametrize("call", DIRECTORY_FAULTS)
def test_a_volume_that_cannot_be_read_keeps_its_values(
    flags: dflag.FlagRegistry,
    rate: dflag.DynamicFlag[int],
    volume: ConfigMapVolume,
    monkeypatch: pytest.MonkeyPatch,
    said: Callable[[], list[str]],
    call: str,
    number: int,
) -> None:
    """
    The source is unhealthy with the reason, one error is logged and counted, and the volume is read when it can be.
    """
    name, concerns = DIRECTORY_FAULTS[call]
    fault = Fault(monkeypatch, name, number, concerns)
    volume.write({"rate": "1"})
    with Updater.setup(flags, volume.path, resync_seconds=QUICK_SECONDS) as updater:
        fault.on = True
        volume.write({"rate": "2"})
        assert eventually(lambda: not updater.status().sources[0].healthy)
        assert fault.lasts()

        status = updater.status()
        assert (rate.get(), status.state, status.errors) == (1, "running", 1)
        assert os.fspath(volume.path) in str(status.sources[0].last_error)
        assert sum("cannot read" in line for line in said()) == 1

        fault.on = False
        assert _shows(updater, 2)
        assert eventually(lambda: updater.status().sources[0].healthy)
        assert updater.status().sources[0].last_error is None
        assert updater.status().errors == 1
        assert eventually(lambda: updater.status().sources[0].degraded is None)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO], ids=errno.errorcode.get)
@pytest.mark.parametrize(("call", "concerns"), [("open", _rate_alone), ("read", _of_a_file)], ids=["open", "read"])
@pytest.mark.parametrize("layout", ["volume", "plain"])
def test_a_file_that_cannot_be_read_is_a_bad_value(
    flags: dflag.FlagRegistry,
    rate: dflag.DynamicFlag[int],
    other: dflag.DynamicFlag[int],
    volume: ConfigMapVolume,
    monkeypatch: pytest.MonkeyPatch,
    said: Callable[[], list[str]],
    call: str,
    concerns: Callable[..., bool],
    layout: str,
    number: int,
) -> None:
    """
    The flag is rejected with its path and one log line, other flags follow, and it is set when its file can be read.
    """
    fault = Fault(monkeypatch, call, number, concerns)
    values = {"rate": "1"} if call == "read" else {"rate": "1", "other": "1"}
    _put(volume, layout, values)
    source = DirectorySource(volume.path, settle_seconds=QUICK_SECONDS)
    with Updater.setup(flags, source, resync_seconds=QUICK_SECONDS) as updater:
        fault.on = True
        _put(volume, layout, dict.fromkeys(values, "2"))
        assert eventually(lambda: "rate" in updater.status().rejected)
        assert fault.lasts()

        status = updater.status()
        assert (rate.get(), status.state, status.errors) == (1, "running", 1)
        assert status.sources[0].healthy
        assert os.fspath(volume.path / "rate") in str(status.rejected["rate"])
        assert sum("'rate'" in line for line in said()) == 1
        assert "other" not in values or _shows(updater, 2, "other")

        fault.on = False
        assert _shows(updater, 2)
        assert eventually(lambda: not updater.status().rejected)


def _put(volume: ConfigMapVolume, layout: str, values: dict[str, str]) -> None:
    if layout == "volume":
        volume.write(values)
        return
    volume.path.mkdir(exist_ok=True)
    for name, text in values.items():
        (volume.path / name).write_text(text)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ESTALE], ids=errno.errorcode.get)
def test_a_file_that_is_gone_while_its_set_is_not_makes_no_half_set(
    flags: dflag.FlagRegistry,
    rate: dflag.DynamicFlag[int],
    other: dflag.DynamicFlag[int],
    volume: ConfigMapVolume,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    """
    A file missing from a set that is being deleted never shows as a removed key; both flags keep their values.
    """
    fault = Fault(monkeypatch, "open", number, _rate_alone)
    volume.write({"rate": "1", "other": "1"})
    with Updater.setup(flags, volume.path, resync_seconds=QUICK_SECONDS) as updater:
        fault.on = True
        volume.write({"rate": "2", "other": "2"})
        assert eventually(lambda: not updater.status().sources[0].healthy)
        assert fault.lasts()
        assert (rate.get(), other.get()) == (1, 1)
        fault.on = False
        assert _shows(updater, 2)
        assert other.get() == 2


@pytest.mark.parametrize("number", NUMBERS, ids=errno.errorcode.get)
def test_a_link_that_cannot_be_asked_for_hides_no_swap(
    flags: dflag.FlagRegistry,
    rate: dflag.DynamicFlag[int],
    volume: ConfigMapVolume,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    """
    While the link cannot be read, the updater compares the files instead and applies each new value, without an error.
    """
    fault = Fault(monkeypatch, "readlink", number, _always)
    volume.write({"rate": "1"})
    with Updater.setup(flags, volume.path, resync_seconds=QUICK_SECONDS) as updater:
        fault.on = True
        for value in range(2, 6):
            volume.write({"rate": str(value)})
            assert _shows(updater, value)
        assert fault.hits
        fault.on = False
        volume.write({"rate": "6"})
        assert _shows(updater, 6)
        assert updater.status().errors == 0


# --- descriptors that run out

STARVED = f"""
import logging, os, resource, sys
import dflag, dflag._waiter
from dflag.sources import _native
import watchdog.observers.inotify_c

_native._RETRY_SECONDS = {QUICK_SECONDS}
said = []
logging.getLogger("dflag").setLevel(logging.INFO)
logging.getLogger("dflag").addFilter(lambda record: said.append(record.getMessage()))
flags = dflag.FlagRegistry()
rate = flags.dyn_int("rate", 0)
updater = dflag.Updater(flags, sys.argv[1], resync_seconds={NO_RESYNC})
held = []

def starve():
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    try:
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        return error.errno

def feed():
    while held:
        os.close(held.pop())

def source():
    return updater.status().sources[0]

def shows(value):
    return updater.wait_for(lambda snapshot: snapshot[rate] == value, {DEADLINE_SECONDS})

def eventually(condition):
    import threading, time
    deadline = time.monotonic() + {DEADLINE_SECONDS}
    while not condition() and time.monotonic() < deadline:
        threading.Event().wait(0.005)
    return bool(condition())

for line in sys.stdin:
    print(repr(eval(line)), flush=True)
"""


class Starved:
    """
    A process of its own, which may run out of descriptors without harm to the test, and which answers questions.
    """

    def __init__(self, volume: ConfigMapVolume) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", STARVED, os.fspath(volume.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, question: str) -> str:
        """
        Return the representation of an expression's value in the process.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{question}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        assert answer, self._process.stderr and self._process.stderr.read()
        return answer

    def end(self) -> tuple[int, str]:
        """
        Let the process end by itself, and return its status and its error output.
        """
        _, errors = self._process.communicate(timeout=DEADLINE_SECONDS)
        return self._process.returncode, errors


@linux_only
def test_without_descriptors_at_start_it_starts_and_comes_round(volume: ConfigMapVolume) -> None:
    """
    On EMFILE `start()` raises nothing, logs once and polls; native events are used as soon as descriptors are free.
    """
    volume.write({"rate": "1"})
    with Starved(volume) as program:
        program.ask("updater.initialize()")
        program.ask("__import__('fcntl') and __import__('termios')")
        assert program.ask("starve()") == str(errno.EMFILE)
        program.ask("updater.start()")
        assert program.ask("(updater.status().state, source().watched, rate.get())") == "('running', 'polling', 1)"
        assert os.strerror(errno.EMFILE) in program.ask("source().degraded")

        program.ask("feed()")
        assert program.ask("eventually(lambda: source().degraded is None)") == "True"
        assert program.ask("source().watched") == "'inotify'"
        for value in range(2, 5):
            volume.write({"rate": str(value)})
            assert program.ask(f"shows({value})") == "True"
        assert program.ask("sum('instead of watching it' in line for line in said)") == "1"
        assert program.ask("sum(line.startswith('watching') for line in said)") == "1"
        assert program.end() == (0, "")


@linux_only
def test_without_descriptors_later_it_keeps_its_values_and_comes_round(volume: ConfigMapVolume) -> None:
    """
    On EMFILE while the updater runs, the old values stay with one error, and the new set is applied afterwards.
    """
    volume.write({"rate": "1"})
    with Starved(volume) as program:
        program.ask("updater.initialize()")
        program.ask("updater.start()")
        assert program.ask("starve()") == str(errno.EMFILE)
        volume.write({"rate": "2"})
        assert program.ask("eventually(lambda: not source().healthy)") == "True"
        assert program.ask("(rate.get(), updater.status().errors)") == "(1, 1)"
        assert os.strerror(errno.EMFILE).lower() in program.ask("source().last_error")

        program.ask("feed()")
        assert program.ask("shows(2)") == "True"
        assert program.ask("eventually(lambda: source().healthy)") == "True"
        assert program.ask("sum('cannot read' in line for line in said)") == "1"
        assert program.end() == (0, "")


# --- watches that are refused, end, or go silent


class Inotify:
    """
    watchdog's bindings, in which one function fails or does something else while `on` is true.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, function: str, instead: Callable[..., int]) -> None:
        import watchdog.observers.inotify_c as bindings

        self.on = True
        self.calls = 0
        real = getattr(bindings, function)

        def call(*arguments: Any) -> int:
            if not self.on:
                return int(real(*arguments))
            self.calls += 1
            return instead(real, *arguments)

        monkeypatch.setattr(bindings, function, call)


def _no_space(*_: object) -> int:
    ctypes.set_errno(errno.ENOSPC)
    return -1


@linux_only
@pytest.mark.parametrize("when", ["at start", "later"])
def test_a_watch_that_is_refused_is_made_up_for_and_tried_again(
    flags: dflag.FlagRegistry,
    rate: dflag.DynamicFlag[int],
    volume: ConfigMapVolume,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    when: str,
) -> None:
    """
    On ENOSPC the updater polls, says so once in the log and in `status()`, and logs once when events are back.
    """
    caplog.set_level(logging.INFO, "dflag")
    refusing = Inotify(monkeypatch, "inotify_add_watch", _no_space)
    refusing.on = when == "at start"
    volume.write({"rate": "1"})
    with Updater.setup(flags, volume.path, resync_seconds=NO_RESYNC) as updater:
        if when == "later":
            assert updater.status().sources[0].degraded is None
            refusing.on = True
            volume.path.rename(volume.path.with_name("old"))
            volume.write({"rate": "1"})
        assert eventually(lambda: updater.status().sources[0].watched == "polling")
        assert eventually(lambda: os.strerror(errno.ENOSPC) in str(updater.status().sources[0].degraded))
        for value in range(2, 5):
            volume.write({"rate": str(value)})
            assert _shows(updater, value)
        assert updater.status().sources[0].healthy
        assert refusing.calls > 1

        refusing.on = False
        assert eventually(lambda: updater.status().sources[0].degraded is None)
        assert updater.status().sources[0].watched == "inotify"
        for value in range(5, 8):
            volume.write({"rate": str(value)})
            assert _shows(updater, value)

    lines = [record.getMessage() for record in caplog.records]
    assert sum("instead of watching it" in line for line in lines) == 1
    assert sum(line.startswith("watching") for line in lines) == 1


@linux_only
def test_a_watch_that_goes_silent_is_made_up_for(
    flags: dflag.FlagRegistry,
    rate: dflag.DynamicFlag[int],
    volume: ConfigMapVolume,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """
    While a watch yields no events, the periodic check applies each value, reports the watch and replaces it.
    """
    caplog.set_level(logging.INFO, "dflag")
    (tmp_path / "elsewhere").mkdir()
    aside = os.fsencode(tmp_path / "elsewhere")
    deaf = Inotify(monkeypatch, "inotify_add_watch", lambda real, number, _path, mask: real(number, aside, mask))
    volume.write({"rate": "1"})
    with Updater.setup(flags, volume.path, resync_seconds=QUICK_SECONDS) as updater:
        for value in range(2, 6):
            volume.write({"rate": str(value)})
            assert _shows(updater, value)
        assert eventually(lambda: "changes come without events" in str(updater.status().sources[0].degraded))
        assert updater.status().sources[0].watched == "polling"

        deaf.on = False
        for value in range(6, 10):
            volume.write({"rate": str(value)})
            assert _shows(updater, value)
        assert eventually(lambda: updater.status().sources[0].degraded is None)
        assert updater.status().sources[0].watched == "inotify"

    lines = [record.getMessage() for record in caplog.records]
    assert sum("instead of watching it" in line for line in lines) == 1
    assert sum(line.startswith("watching") for line in lines) == 1


@linux_only
def test_an_overflow_of_the_queue_loses_no_value(
    flags: dflag.FlagRegistry,
    rate: dflag.DynamicFlag[int],
    other: dflag.DynamicFlag[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    When the event queue overflows and the last events are lost, the last values still come without the check.
    """
    with open("/proc/sys/fs/inotify/max_queued_events") as limit:
        events = int(limit.read())
    if events > 100_000:
        pytest.skip(f"this system keeps {events} events")
    masks: list[int] = []
    parse = _native._parse
    monkeypatch.setattr(_native, "_parse", lambda raw: _noting(masks, parse(raw)))
    entered, leave = threading.Event(), threading.Event()

    @rate.validator
    def _hold(value: int) -> None:
        if value == 2:
            entered.set()
            leave.wait(DEADLINE_SECONDS)

    plain = ConfigMapVolume(tmp_path / "plain")
    _put(plain, "plain", {"rate": "1", "other": "1"})
    source = DirectorySource(plain.path, settle_seconds=QUICK_SECONDS)
    with Updater.setup(flags, source, resync_seconds=NO_RESYNC) as updater:
        (plain.path / "rate").write_text("2")
        assert entered.wait(DEADLINE_SECONDS)
        masks.clear()
        for _ in range(events // 2 + 1):
            # Two files in turn, because equal events in a row are merged.
            (plain.path / "rate").touch()
            (plain.path / "other").touch()
        _put(plain, "plain", {"rate": "3", "other": "3"})
        leave.set()
        assert _shows(updater, 3)
        assert _shows(updater, 3, "other")
        assert any(mask & 0x4000 for mask in masks), "the queue did not overflow"

        (plain.path / "rate").write_text("4")
        assert _shows(updater, 4)


def _noting(masks: list[int], events: Iterator[tuple[int, int, bytes]]) -> Iterator[tuple[int, int, bytes]]:
    for event in events:
        masks.append(event[1])
        yield event


@linux_only
@pytest.mark.parametrize("victim", ["emitter", "dispatcher"])
def test_a_watchdog_thread_that_dies_is_replaced(
    flags: dflag.FlagRegistry,
    rate: dflag.DynamicFlag[int],
    volume: ConfigMapVolume,
    monkeypatch: pytest.MonkeyPatch,
    victim: str,
) -> None:
    """
    After a thread of watchdog's observer died, the check applies the next value, and a new observer the value after it.
    """
    importlib.import_module("watchdog.observers")  # it could not be imported once its bindings cannot be
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    monkeypatch.setitem(sys.modules, "watchdog.observers.inotify_c", None)
    volume.write({"rate": "1"})
    with Updater.setup(flags, volume.path, resync_seconds=0.2) as updater:
        (first,) = _observers()
        if victim == "emitter":
            (emitter,) = first.emitters
            emitter.stop()
            emitter.join(DEADLINE_SECONDS)
        else:
            first.event_queue.put("no event")
            first.join(DEADLINE_SECONDS)
        volume.write({"rate": "2"})
        assert _shows(updater, 2)
        assert eventually(lambda: [one for one in _observers() if one is not first and one.is_alive()])
        assert eventually(lambda: updater.status().sources[0].degraded is None)
        volume.write({"rate": "3"})
        assert _shows(updater, 3)
        assert updater.status().errors == 0


def _observers() -> list[Any]:
    from watchdog.observers.api import BaseObserver

    return [thread for thread in threading.enumerate() if isinstance(thread, BaseObserver)]


# --- clocks


@pytest.mark.parametrize("layout", ["volume", "plain"])
def test_a_clock_that_jumps_changes_nothing(
    flags: dflag.FlagRegistry,
    rate: dflag.DynamicFlag[int],
    volume: ConfigMapVolume,
    monkeypatch: pytest.MonkeyPatch,
    rng: random.Random,
    layout: str,
) -> None:
    """
    Each new value is applied and overrides expire, whatever the wall clock and the modification times of files are.
    """
    monkeypatch.setattr(time, "time", lambda: rng.uniform(-1e9, 1e11))
    _put(volume, layout, {"rate": "1"})
    source = DirectorySource(volume.path, settle_seconds=QUICK_SECONDS)
    with Updater.setup(flags, source, resync_seconds=NO_RESYNC) as updater:
        for value in range(2, 8):
            _put(volume, layout, {"rate": str(value)})
            times = rng.uniform(0, 1e10)
            os.utime(volume.path / "rate", (times, times))
            assert _shows(updater, value)
        rate.set(100, ttl_seconds=QUICK_SECONDS)
        assert _shows(updater, 7)
        assert updater.status().errors == 0


# --- files


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_mode_that_forbids_reading_is_a_bad_value_until_the_next_set() -> None:
    """
    On EACCES for real, a file that the user may not read rejects its flag, and the next readable set is applied.
    """
    if not hasattr(os, "seteuid"):
        pytest.skip("this system has no users")
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)  # noqa: S103 - another user must be able to enter
        volume = ConfigMapVolume(os.path.join(path, "config"))
        volume.write({"rate": "1", "other": "1"})
        with contextlib.closing(Gate()) as ready, contextlib.closing(Gate()) as refused:
            child = Child(lambda: _follow_as_nobody(volume, ready, refused))
            ready.wait()
            for step in volume.steps({"rate": "2", "other": "2"}):
                if step == "set modes":
                    (new,) = (one for one in volume.path.glob("..2*") if one != (volume.path / "..data").resolve())
                    (new / "rate").chmod(0)
            refused.wait()
            volume.write({"rate": "3", "other": "3"})
            child.check()


def _follow_as_nobody(volume: ConfigMapVolume, ready: Gate, refused: Gate) -> None:
    flags = dflag.FlagRegistry()
    rate, other = flags.dyn_int("rate", 0), flags.dyn_int("other", 0)
    updater = Updater(flags, volume.path)
    updater.start()
    updater.stop()  # so that all modules are imported that the user `nobody` may not be allowed to read
    if os.geteuid() == 0:
        os.seteuid(65534)
    with updater:
        ready.open()
        assert eventually(lambda: "rate" in updater.status().rejected)
        assert "permission denied" in str(updater.status().rejected["rate"])
        assert rate.get() == 1
        assert _shows(updater, 2, "other")
        refused.open()
        assert _shows(updater, 3)
        assert other.get() == 3
        assert not updater.status().rejected
        assert updater.status().errors == 1


# --- code of the user's


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, RecursionError, MemoryError])
def test_whatever_a_validator_or_callback_raises_the_updater_lives_on(
    flags: dflag.FlagRegistry,
    rate: dflag.DynamicFlag[int],
    other: dflag.DynamicFlag[int],
    volume: ConfigMapVolume,
    said: Callable[[], list[str]],
    error: type[BaseException],
) -> None:
    """
    If a validator raises, the last good value stays; if a callback raises, others run; the updater thread lives on.
    """
    told: list[int] = []

    @rate.validator
    def _refuse(value: int) -> None:
        if value == 13:
            raise error("no validator should")

    @rate.on_change
    def _fail(_old: int, _new: int) -> None:
        raise error("no callback should")

    rate.on_change(lambda _old, new: told.append(new))
    volume.write({"rate": "1", "other": "1"})
    with Updater.setup(flags, volume.path, resync_seconds=NO_RESYNC) as updater:
        (thread,) = (one for one in threading.enumerate() if one.name == "dflag-updater")
        volume.write({"rate": "13", "other": "13"})
        assert eventually(lambda: any("no validator should" in line or "an update failed" in line for line in said()))
        assert rate.get() == 1
        volume.write({"rate": "2", "other": "2"})
        assert _shows(updater, 2)
        assert other.get() == 2
        assert flags.flush(DEADLINE_SECONDS)
        assert told == [1, 2]
        assert thread.is_alive()
        assert updater.status().state == "running"


def test_a_validator_may_use_everything(
    flags: dflag.FlagRegistry,
    rate: dflag.DynamicFlag[int],
    other: dflag.DynamicFlag[int],
    volume: ConfigMapVolume,
) -> None:
    """
    A validator may set another flag, refresh, flush, and ask for the status without a deadlock.
    """
    steps: list[str] = []

    @rate.validator
    def _use(value: int) -> None:
        if value != 2 or steps:
            return
        steps.append("set")
        other.set(20)
        steps.append("refresh")
        updater.refresh()
        steps.append("flush")
        flags.flush(DEADLINE_SECONDS)
        steps.append("status")
        updater.status()
        updater.wait_for(lambda snapshot: snapshot["other"] == 20, DEADLINE_SECONDS)
        steps.append("done")

    volume.write({"rate": "1"})
    with Updater.setup(flags, volume.path, resync_seconds=NO_RESYNC) as updater:
        began = time.monotonic()
        volume.write({"rate": "2"})
        assert _shows(updater, 2)
        assert eventually(lambda: steps == ["set", "refresh", "flush", "status", "done"]), steps
        volume.write({"rate": "3"})
        assert _shows(updater, 3)
        assert time.monotonic() - began < DEADLINE_SECONDS


def test_a_callback_that_sets_its_own_flag_is_called_in_a_row(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], volume: ConfigMapVolume
) -> None:
    """
    A callback that sets its own flag is called for each change in order, without nesting, and later swaps are applied.
    """
    depths: list[int] = []
    told: list[int] = []
    length = 200

    @rate.on_change
    def _go_on(_old: int, new: int) -> None:
        frame, depth = sys._getframe(), 0
        while frame.f_back is not None:
            frame, depth = frame.f_back, depth + 1
        depths.append(depth)
        told.append(new)
        if len(told) < length:
            assert not flags.flush(DEADLINE_SECONDS)  # a callback cannot wait for itself, so this returns at once
            updater.refresh()
            rate.set(new + 1)

    volume.write({"rate": "0"})
    with Updater.setup(flags, volume.path, resync_seconds=NO_RESYNC) as updater:
        volume.write({"rate": "1"})
        assert _shows(updater, length)
        assert flags.flush(DEADLINE_SECONDS)
        assert told == list(range(1, length + 1))
        assert max(depths) == min(depths)
        rate.reset()
        assert _shows(updater, 1)
        assert flags.flush(DEADLINE_SECONDS)
        volume.write({"rate": "500"})
        assert _shows(updater, 500)


def test_a_callback_may_stop_and_start_the_updater(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], volume: ConfigMapVolume
) -> None:
    """
    An updater that a callback stops and starts at each change applies every later change.
    """

    @rate.on_change
    def _restart(_old: int, _new: int) -> None:
        updater.stop()
        updater.start()

    volume.write({"rate": "0"})
    with Updater.setup(flags, volume.path, resync_seconds=NO_RESYNC) as updater:
        for value in range(1, 10):
            volume.write({"rate": str(value)})
            assert _shows(updater, value)
            assert flags.flush(DEADLINE_SECONDS)
        assert updater.status().state == "running"
        assert updater.status().errors == 0
