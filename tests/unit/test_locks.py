"""
No code of the program and no log handler runs while dflag holds a lock.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import logging
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Annotated, Any

import pydantic
import pytest

import dflag
from dflag import _faults, _fork, _short_waits
from dflag.sources import Source
from dflag.testing import isolated

from ..integration._waiting import DEADLINE_SECONDS, eventually  # noqa: TID252 - tests is on no path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SERIALISING = {"dflag._read_gate": "going_on"}
"""
The module whose lock orders whole operations of an updater, and an attribute that is set next to the lock.

Sources are read under this lock, because `refresh()` waits for a reading that is going on. No flag, snapshot, status
or expiry takes it.
"""


class Held(threading.local):
    """The locks of dflag that the current thread holds."""

    def __init__(self) -> None:
        self.locks: list[Spy] = []


held = Held()


class Spy:
    """A lock of dflag that notes which thread holds it."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def acquire(self, *arguments: Any, **options: Any) -> bool:
        taken: bool = self._real.acquire(*arguments, **options)
        if taken:
            held.locks.append(self)
        return taken

    def release(self) -> None:
        self._real.release()
        held.locks.remove(self)

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _is_owned(self) -> bool:
        return self in held.locks

    def _release_save(self) -> int:  # what a condition does around a wait
        depth = held.locks.count(self)
        for _ in range(depth):
            self.release()
        return depth

    def _acquire_restore(self, depth: int) -> None:
        for _ in range(depth):
            self.acquire()


class Guard:
    """A record of the kinds of foreign code that ran, and of each run in a thread that held a lock of dflag."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.violations: list[str] = []

    def check(self, what: str) -> None:
        self.seen.add(what)
        if held.locks:
            frame, lines = sys._getframe(1), []
            while frame.f_back is not None and len(lines) < 12:
                frame = frame.f_back
                lines.append(f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}")
            self.violations.append(f"{what} under {len(held.locks)} locks: {' < '.join(lines)}")


def _is_ours() -> bool:
    """Return whether dflag makes the lock, itself or by a condition, and may not hold it around foreign code."""
    frame = sys._getframe(2)
    if frame.f_globals["__name__"] == "threading":
        frame = frame.f_back or frame
    if not frame.f_globals["__name__"].startswith("dflag") or frame.f_globals["__name__"] == "dflag._once":
        return False  # the gate of an event, which guards nothing
    return SERIALISING.get(frame.f_globals["__name__"]) not in frame.f_code.co_names


@pytest.fixture(name="guard")
def _guard(monkeypatch: pytest.MonkeyPatch) -> Guard:
    """Return a guard that checks each warning, and have each lock that dflag makes from now on note its holder."""
    guard = Guard()
    for name in ("Lock", "RLock"):
        real = getattr(threading, name)
        monkeypatch.setattr(threading, name, lambda real=real: Spy(real()) if _is_ours() else real())
    monkeypatch.setattr(_fork, "_forking", Spy(_fork._forking))
    monkeypatch.setattr(_short_waits.short_waits, "_lock", Spy(_short_waits.short_waits._lock))

    def show(*_: object, **__: object) -> None:
        guard.check("warning")

    monkeypatch.setattr(warnings, "showwarning", show)
    return guard


@pytest.fixture(autouse=True)
def _handler(guard: Guard) -> Iterator[None]:
    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            record.getMessage()
            guard.check("log")

    logger, handler = logging.getLogger("dflag"), Handler()
    logger.addHandler(handler)
    before = logger.level
    logger.setLevel(logging.DEBUG)
    yield
    logger.setLevel(before)
    logger.removeHandler(handler)


def _model(guard: Guard) -> type[Any]:
    """Return a type whose comparison, printing and deletion call the guard."""

    def compare(one: Any, other: Any) -> bool:
        guard.check("__eq__")
        return type(one) is type(other) and one.size == other.size

    def print_size(size: int) -> int:
        guard.check("format")
        return size

    size = ("size", Annotated[int, pydantic.PlainSerializer(print_size)], dataclasses.field(default=1))
    methods = {"__eq__": compare, "__hash__": None, "__del__": lambda _: guard.check("__del__")}
    return dataclasses.make_dataclass("Model", [size], namespace=methods, eq=False)


class Restless(Source):
    """A source whose methods call the guard."""

    name = "restless"

    def __init__(self, guard: Guard) -> None:
        self.values: dict[str, str] = {"model": '{"size": 2}', "rate": "2", "port": "2", "unknown": "x"}
        self._guard = guard

    def read(self) -> Mapping[str, str]:
        self._guard.check("read")
        return dict(self.values)

    def probe(self) -> object:
        self._guard.check("probe")
        return None


class Watched:
    """A registry whose callbacks, mutators and validators call the guard."""

    def __init__(self, guard: Guard) -> None:
        self.flags = flags = dflag.FlagRegistry()
        self.guard = guard
        self.model_type = _model(guard)
        self.refusal = type("Refusal", (ArithmeticError,), {"__del__": lambda _: guard.check("__del__")})
        self.model = flags.dyn_json(
            "model", self.model_type(), type=self.model_type, on_change=self._note("callback"), mutator=self._pass
        )
        self.rate = flags.dyn_int("rate", 1, validator=self._judge, input_mutator=self._pass, deprecated="use model")
        self.port = flags.int("port", 1)
        self.low = flags.dyn_int("low", 0)
        flags.validator(self._rule)

    def _note(self, what: str) -> Callable[..., None]:
        return lambda *_: self.guard.check(what)

    def _pass(self, value: Any) -> Any:
        self.guard.check("mutator")
        return value

    def _judge(self, value: int) -> None:
        self.guard.check("validator")
        if value == 13:
            raise self.refusal("not 13")

    def _rule(self, snapshot: dflag.Snapshot) -> None:
        self.guard.check("rule")
        if snapshot["low"] > 100:
            raise ValueError("low is high")


@pytest.fixture(name="collected_at_the_end")
def _collected_at_the_end() -> Iterator[None]:
    """Turn off the garbage collector, which runs a ``__del__`` wherever an object is made, also under a lock."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.filterwarnings("always::DeprecationWarning")  # so that it is shown, not raised
@pytest.mark.usefixtures("collected_at_the_end")
def test_no_foreign_code_runs_under_a_lock_of_ours(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    No foreign code runs under a lock of dflag when values are set, applied, refused, isolated or expire, flags are
    declared late or bound, a source is followed, or no thread can be started.
    """
    # Not before the call: pytest keeps the records, with their exceptions, of loggers that do not propagate by then.
    monkeypatch.setattr(logging.getLogger("dflag"), "propagate", False)
    watched = Watched(guard)
    flags, rate, model = watched.flags, watched.rate, watched.model
    with dflag.Updater(flags, source := Restless(guard), resync_seconds=0.01) as updater:
        source.values = {"model": '{"size": 3}', "rate": "13", "port": "3", "other": "x"}
        updater.refresh()
        rate.set(5, ttl_seconds=0.02, reason="for a while")
        model.set(watched.model_type(7), ttl_seconds=0.02)
        assert eventually(lambda: (rate.origin, model.origin) == ("restless", "restless"))
        flags.apply({"model": '{"size": 9}', "low": "200"}, source="other")
        flags.apply({"model": '{"size": 9}', "low": "2", "late": "4"}, source="other")
        flags.apply({"model": '{"size": 8}', "low": "x"}, source="other", atomic=True)
        assert flags.dyn_int("late", 1).get() == 4
        for number in range(120):  # beyond what the history keeps
            model.set(watched.model_type(number // 2))  # every other one as an equal value that is another object
        with isolated(flags):  # with nothing to bring back but a refused value
            flags.apply({"rate": "13"}, source="refused")
        with isolated(flags):
            flags.apply({"model": '{"size": 10}', "rate": "13", "port": "7"}, source="inside")
        model.reset()
        with flags.override({model: watched.model_type(50)}), contextlib.suppress(dflag.ValidationError):
            watched.low.set(300)
        unbound = dflag.dyn_int(1, on_change=watched._note("callback"))
        unbound.set(3, ttl_seconds=0.02)
        flags.bind("bound", unbound)
        flags.history(), flags.explain("model"), flags.checksum(), updater.status()
        assert eventually(lambda: unbound.get() == 1)
        assert eventually(lambda: all(thread.name != "dflag-notifier" for thread in threading.enumerate()))
        with monkeypatch.context() as patch:
            patch.setattr(_faults.OwnThread, "start", _no_thread)
            model.set(watched.model_type(60), ttl_seconds=60)
            assert not flags.flush(0.01)
        model.reset()
        assert flags.flush(DEADLINE_SECONDS)
    assert flags.flush(DEADLINE_SECONDS)
    atomic = Restless(guard)
    with dflag.Updater(Watched(guard).flags, atomic, resync_seconds=60, atomic=True) as updater:
        for rate in ("13", "3", "13", "0xd", "4"):
            atomic.values = {"rate": rate}
            updater.refresh()

    gc.collect()
    wanted = {"__del__", "callback", "format", "log", "mutator", "probe", "read", "rule", "validator", "warning"}
    assert guard.seen >= wanted
    assert guard.violations == []


def _no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_rule_that_is_outrun_runs_under_no_lock(guard: Guard) -> None:
    """
    A writer whose registry validator is slower than the commits of other threads gets its turn, and its validator
    still runs under no lock.
    """
    flags = dflag.FlagRegistry()
    rate, other = flags.dyn_int("rate", 0), flags.dyn_int("other", 0)
    runs: list[int] = []

    def write(number: int) -> None:
        other.set(number)
        other.reset()

    @flags.validator
    def _slow(snapshot: dflag.Snapshot) -> None:
        guard.check("rule")
        if threading.current_thread() is threading.main_thread():
            runs.append(snapshot[rate])
            outrunning = threading.Thread(target=write, args=(len(runs),))
            outrunning.start()
            outrunning.join(0.2)  # the last thread has to wait for its turn
            waiting.append(outrunning)

    waiting: list[threading.Thread] = []
    rate.set(5)
    for thread in waiting:
        thread.join(DEADLINE_SECONDS)
    assert rate.get() == 5
    assert 8 < len(runs) < 12
    assert guard.violations == []


def test_a_log_handler_may_ask_for_everything_while_overrides_expire(flags: dflag.FlagRegistry) -> None:
    """
    A log handler that is called for an expired override may wait for a thread that reads history, layers and checksum.
    """
    rate = flags.dyn_int("rate", 1)
    answers: list[bool] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "expired" in record.getMessage():
                asking = threading.Thread(target=lambda: (flags.history(), flags.explain("rate"), flags.checksum()))
                asking.start()
                asking.join(DEADLINE_SECONDS)
                answers.append(not asking.is_alive())

    handler = Handler()
    logging.getLogger("dflag").addHandler(handler)
    try:
        for value in (2, 3):
            rate.set(value, ttl_seconds=0.01)
            assert eventually(lambda: rate.get() == 1)
            assert flags.flush(DEADLINE_SECONDS)
    finally:
        logging.getLogger("dflag").removeHandler(handler)
    assert answers == [True, True]


def test_a_log_handler_that_hangs_holds_up_no_expiry(flags: dflag.FlagRegistry) -> None:
    """
    Overrides expire on time while a log handler hangs in the message about the first of them.
    """
    rate = flags.dyn_int("rate", 1)
    entered, leave = threading.Event(), threading.Event()

    class Handler(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:  # without the handler's lock, for which other threads wait
            if "expired" in record.getMessage():
                entered.set()
                leave.wait(DEADLINE_SECONDS)
            return True

    handler = Handler()
    logging.getLogger("dflag").addHandler(handler)
    try:
        rate.set(2, ttl_seconds=0.01)
        assert entered.wait(DEADLINE_SECONDS)
        rate.set(3, ttl_seconds=0.01)
        assert eventually(lambda: rate.get() == 1)
    finally:
        leave.set()
        logging.getLogger("dflag").removeHandler(handler)
    assert flags.flush(DEADLINE_SECONDS)
