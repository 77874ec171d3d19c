"""
Exceptions of any type in the code of users: each refuses or is reported for one thing, and the rest goes on.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import logging
import threading
import warnings
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import dflag
from dflag.errors import FlagValueError, drop_frames
from dflag.sources import MemorySource, Source

from ..integration._waiting import DEADLINE_SECONDS, eventually  # noqa: TID252 - tests is on no path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


class Ruin(BaseException):
    """A BaseException that is not an Exception."""


class UnspeakableError(ValueError):
    """An exception that cannot be printed."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class Unspeakably(Ruin):
    """A BaseException whose printing raises another one."""

    def __str__(self) -> str:
        raise Ruin

    __repr__ = __str__


@dataclasses.dataclass(frozen=True)
class FrozenError(ValueError):
    """An exception that refuses to have an attribute set, its traceback too."""

    code: int = 1


class Hostile(str):
    """A text whose methods raise."""

    __slots__ = ()

    def __len__(self) -> int:
        raise Ruin

    isprintable = __len__  # type: ignore[assignment]


class WordedError(ValueError):
    """An exception whose message is not a plain str."""

    def __str__(self) -> str:
        return Hostile("words")


REFUSALS: list[BaseException] = [
    asyncio.CancelledError(),
    GeneratorExit(),
    Ruin(),
    BaseExceptionGroup("several", [Ruin()]),
    UnspeakableError(),
    Unspeakably(),
    FrozenError(),
    WordedError(),
    StopIteration(),
    RecursionError(),
]
INTERRUPTS: list[BaseException] = [KeyboardInterrupt(), SystemExit(3)]
names = lambda error: type(error).__name__  # noqa: E731 - the ids of parameters

WHERE = ["validator", "mutator", "input_mutator", "rule"]


def _declare(
    flags: dflag.FlagRegistry, where: str, error: BaseException, *, once: bool = False
) -> dflag.DynamicFlag[int]:
    """Declare a flag whose value 13 makes one kind of user code raise, at each call or only at the first."""
    raised: list[BaseException] = []

    def judge(value: Any) -> Any:
        if value in (13, "13") and not (once and raised):
            raised.append(error)
            raise error
        return value

    options: dict[str, Any] = {} if where == "rule" else {where: judge}
    rate = flags.dyn_int("rate", 1, **options)
    flags.dyn_int("other", 1)
    if where == "rule":
        flags.validator(lambda snapshot: judge(snapshot["rate"]))
    return rate


@pytest.fixture(name="lines")
def _lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("error", REFUSALS, ids=names)
@pytest.mark.parametrize("where", WHERE)
def test_a_fault_in_the_callers_thread_refuses_that_value(
    flags: dflag.FlagRegistry, where: str, error: BaseException
) -> None:
    """
    An exception of any type in user code refuses what it checks, in ``set_text()`` and ``apply()``; other values apply.
    """
    rate = _declare(flags, where, error)
    with pytest.raises(dflag.ValidationError if where != "input_mutator" else dflag.ParseError, match="flag 'rate'"):
        rate.set_text("13")
    revision = flags.apply({"rate": "13", "other": "2"}, source="s")
    if where == "rule":
        assert "refused by the registry validator" in str(revision.error)
    else:
        assert (list(revision.rejected), flags["other"].get()) == (["rate"], 2)
    assert rate.get() == 1
    assert flags.apply({"rate": "14", "other": "3"}, source="s").changed == ("other", "rate")


@pytest.mark.parametrize("error", INTERRUPTS, ids=names)
@pytest.mark.parametrize("where", WHERE)
def test_an_interrupt_goes_on_to_the_caller_and_nothing_is_committed(
    flags: dflag.FlagRegistry, where: str, error: BaseException
) -> None:
    """
    KeyboardInterrupt and SystemExit in user code are raised to the caller, no flag changes, and later calls work.
    """
    rate = _declare(flags, where, error)
    before = flags.snapshot().revision
    for call in (
        lambda: rate.set_text("13"),
        lambda: flags.apply({"rate": "13", "other": "2"}, source="s"),
        lambda: dflag.Updater.setup(flags, MemorySource({"rate": "13", "other": "2"}, name="m")),
    ):
        with pytest.raises(type(error)):
            call()
        assert (rate.get(), flags["other"].get(), flags.snapshot().revision) == (1, 1, before)
    assert flags.apply({"rate": "14", "other": "3"}, source="s").changed == ("other", "rate")


@pytest.mark.parametrize("error", INTERRUPTS, ids=names)
@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("call", ["set_text", "apply", "refresh"])
def test_a_call_that_was_interrupted_may_be_made_again(
    flags: dflag.FlagRegistry, call: str, where: str, error: BaseException
) -> None:
    """
    A call that KeyboardInterrupt or SystemExit has ended sets the value when it is made again.
    """
    rate = _declare(flags, where, error, once=True)
    source = MemorySource({"rate": "1"}, name="m")
    updater = dflag.Updater(flags, source)
    updater.initialize()
    source.update({"rate": "13"})
    calls: dict[str, Callable[[], object]] = {
        "set_text": lambda: rate.set_text("13"),
        "apply": lambda: flags.apply({"rate": "13"}, source="s"),
        "refresh": updater.refresh,
    }
    with pytest.raises(type(error)):
        calls[call]()
    assert rate.get() == 1
    calls[call]()
    assert rate.get() == 13
    updater.stop()


@pytest.mark.parametrize("error", [*REFUSALS, *INTERRUPTS], ids=names)
@pytest.mark.parametrize("where", WHERE)
def test_a_fault_on_a_thread_of_ours_refuses_that_value(
    flags: dflag.FlagRegistry, where: str, error: BaseException
) -> None:
    """
    On the updater's thread any exception of user code refuses what it checks; ``status()`` shows it, and others apply.
    """
    rate = _declare(flags, where, error)
    source = MemorySource({"rate": "1", "other": "1"})
    with dflag.Updater.setup(flags, source, resync_seconds=0.01) as updater:
        source.update({"rate": "13", "other": "2"})
        if where == "rule":
            assert eventually(lambda: "refused" in (updater.status().sources[0].last_error or ""))
        else:
            assert eventually(lambda: flags["other"].get() == 2)
            assert list(updater.status().rejected) == ["rate"]
        assert rate.get() == 1
        source.update({"rate": "14", "other": "3"})
        assert eventually(lambda: (rate.get(), flags["other"].get()) == (14, 3))


@pytest.mark.parametrize("error", [*REFUSALS, *INTERRUPTS], ids=names)
def test_a_callback_may_raise_anything(
    flags: dflag.FlagRegistry, error: BaseException, lines: Callable[[], list[str]]
) -> None:
    """
    An exception of any type in a callback is logged and counted, and the callbacks after it run.
    """
    rate = flags.dyn_int("rate", 1)
    seen: list[int] = []

    def fail(_old: int, _new: int) -> None:
        raise error

    rate.on_change(fail)
    rate.on_change(lambda _, new: seen.append(new))
    rate.set(2)
    rate.set(3)
    assert flags.flush(DEADLINE_SECONDS)
    assert (seen, flags.callback_errors()) == ([2, 3], {"rate": 2})
    assert sum("callback" in line and "failed" in line for line in lines()) == 2


@pytest.mark.parametrize("error", [Ruin(), Unspeakably(), asyncio.CancelledError(), SystemExit(3)], ids=names)
def test_an_event_loop_that_cannot_schedule_harms_no_other_callback(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """
    If an event loop raises instead of scheduling a coroutine, the callback counts as failed and the next one runs.
    """
    rate = flags.dyn_int("rate", 1)
    seen: list[int] = []

    async def main() -> None:
        @rate.on_change
        async def _never(_old: int, _new: int) -> None:
            seen.append(-1)

        rate.on_change(lambda _, new: seen.append(new))

        def refuse(coroutine: Any, _loop: object) -> None:
            coroutine.close()
            raise error

        monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", refuse)
        rate.set(2)
        assert await asyncio.to_thread(flags.flush, DEADLINE_SECONDS)

    asyncio.run(main())
    assert (seen, flags.callback_errors()) == ([2], {"rate": 1})


class Broken(Source):
    """A source whose methods raise the errors that a test sets."""

    name = "broken"

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = values
        self.errors: dict[str, BaseException] = {}

    def _maybe(self, what: str) -> None:
        if what in self.errors:
            raise self.errors[what]

    def read(self) -> Mapping[str, str]:
        self._maybe("read")
        return dict(self.values)

    def probe(self) -> object:
        self._maybe("probe")
        return None

    def watch(self, wake: Callable[[], None]) -> Any:
        self._maybe("watch")
        return super().watch(wake)


@pytest.mark.parametrize("error", [Ruin(), UnspeakableError(), Unspeakably(), KeyboardInterrupt()], ids=names)
@pytest.mark.parametrize("method", ["read", "probe"])
def test_a_source_that_raises_anything_stops_no_other(
    flags: dflag.FlagRegistry, method: str, error: BaseException
) -> None:
    """
    If a source raises anything, the updater follows its other source, and the broken one again once it works.
    """
    rate, other = flags.dyn_int("rate", 0), flags.dyn_int("other", 0)
    broken, sound = Broken({"rate": "1"}), MemorySource({"other": "1"})
    with dflag.Updater.setup(flags, [broken, sound], resync_seconds=0.01) as updater:
        broken.errors[method] = error
        sound.update({"other": "2"})
        assert eventually(lambda: other.get() == 2)
        if method == "read":
            broken.errors["probe"] = Ruin()  # so that the source is read
            assert eventually(lambda: not updater.status().sources[0].healthy)
        broken.errors.clear()
        broken.values = {"rate": "5"}
        assert updater.refresh()
        assert rate.get() == 5
        assert updater.status().sources[0].healthy


# --- reporting


class _Bad(logging.Handler):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error
        self.calls = 0

    def handle(self, record: logging.LogRecord) -> bool:
        self.calls += 1
        raise self.error


class _BadFilter(_Bad):
    def handle(self, record: logging.LogRecord) -> bool:
        return bool(logging.Handler.handle(self, record))

    def filter(self, record: logging.LogRecord) -> bool:  # type: ignore[override]  # 3.12 may return a record
        self.calls += 1
        raise self.error


class _BadEmit(_BadFilter):
    def filter(self, record: logging.LogRecord) -> bool:  # type: ignore[override]  # as above
        return True

    def emit(self, record: logging.LogRecord) -> None:
        self.calls += 1
        raise self.error


@pytest.fixture(name="attach")
def _attach() -> Iterator[Callable[[logging.Handler], None]]:
    logger, added = logging.getLogger("dflag"), list[logging.Handler]()

    def attach(handler: logging.Handler) -> None:
        added.append(handler)
        logger.addHandler(handler)

    level = logger.level
    logger.setLevel(logging.DEBUG)
    yield attach
    logger.setLevel(level)
    for handler in added:
        logger.removeHandler(handler)


@pytest.mark.parametrize("error", [RuntimeError("full"), Ruin(), asyncio.CancelledError()], ids=names)
@pytest.mark.parametrize("kind", [_Bad, _BadFilter, _BadEmit])
def test_a_log_handler_that_raises_harms_nobody(
    flags: dflag.FlagRegistry,
    attach: Callable[[logging.Handler], None],
    capsys: pytest.CaptureFixture[str],
    kind: type[_Bad],
    error: BaseException,
) -> None:
    """
    If a log handler raises, values apply, overrides expire, callbacks run and the updater follows its source; a line on
    standard error says that a message was lost.
    """
    rate = flags.dyn_int("rate", 1, deprecated="use other")
    seen: list[int] = []
    rate.on_change(lambda *_: [].pop())
    rate.on_change(lambda _, new: seen.append(new))
    attach(bad := kind(error))
    source = MemorySource({"rate": "2"})
    with dflag.Updater.setup(flags, source, resync_seconds=0.01):
        assert flags.apply({"rate": "x", "unknown": "1"}, source="bad").unknown == ("unknown",)
        rate.set(3, ttl_seconds=0.01, reason="now")
        assert eventually(lambda: rate.get() == 2)
        source.update({"rate": "4"})
        assert eventually(lambda: rate.get() == 4)
        assert flags.flush(DEADLINE_SECONDS)
    assert seen == [2, 3, 2, 4]
    assert flags.callback_errors() == {"rate": 4}
    assert bad.calls > 5
    if kind is not _BadEmit or not isinstance(error, Exception):  # logging handles that case itself
        assert f"dflag: a message could not be logged: {type(error).__name__}\n" in capsys.readouterr().err


def test_an_interrupt_in_a_log_handler_goes_on_to_the_caller(
    flags: dflag.FlagRegistry, attach: Callable[[logging.Handler], None]
) -> None:
    """
    A KeyboardInterrupt in a log handler is raised to the caller, and the committed value stays.
    """
    rate = flags.dyn_int("rate", 1)
    attach(_Bad(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        rate.set(2, reason="now")
    assert rate.get() == 2


def test_a_hook_for_warnings_that_raises_harms_no_commit(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A value is committed even if the program's hook for warnings raises on the warning about a deprecated flag.
    """

    def show(*_: object, **__: object) -> None:
        raise Ruin

    monkeypatch.setattr(warnings, "showwarning", show)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", show)
        flags.dyn_int("old", 1, deprecated="use new").set(2)
    assert flags["old"].get() == 2


def test_a_record_names_the_line_that_logs(flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture) -> None:
    """
    The file in a log record is the one that logs the message, and not `_log.py`, through which all messages pass.
    """
    flags.apply({"unknown": "1"}, source="s")
    (record,) = caplog.records
    assert record.filename != "_log.py"


def test_a_thread_of_callbacks_that_vanished_is_replaced(flags: dflag.FlagRegistry) -> None:
    """
    A callback thread that ended without an exception is replaced, and callbacks run.
    """
    rate = flags.dyn_int("rate", 1)
    seen: list[int] = []
    rate.on_change(lambda _, new: seen.append(new))
    ended = threading.Thread()
    ended.start()
    ended.join()
    flags._store.notifier._thread = ended
    rate.set(2)
    assert flags.flush(DEADLINE_SECONDS)
    assert seen == [2]


def test_frames_of_a_group_of_exceptions_are_let_go_of(
    flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A stored refusal keeps no local variable of a validator alive, even if the validator raised an ExceptionGroup.
    """
    caplog.set_level(logging.CRITICAL, logger="dflag")  # otherwise the log record would keep the frames

    class Large:
        pass

    held: list[weakref.ref[Large]] = []

    def check(value: int) -> None:
        if value == 13:
            large = Large()
            held.append(weakref.ref(large))
            errors = []
            try:
                raise ValueError(value)
            except ValueError as error:
                errors.append(error)
            raise ExceptionGroup("several", errors)

    flags.dyn_int("rate", 1, validator=check)
    assert flags.apply({"rate": "13"}, source="s").rejected
    assert held[0]() is None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_of_callbacks_that_died_is_replaced(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    If the callback thread dies, another thread delivers the queued changes and later ones.
    """
    rate = flags.dyn_int("rate", 1)
    seen: list[int] = []
    rate.on_change(lambda _, new: seen.append(new))
    notifier = flags._store.notifier
    deliver, deaths = notifier._deliver, []

    def die_once(delivery: Any) -> None:
        if not deaths:
            deaths.append(threading.current_thread())
            raise SystemExit
        deliver(delivery)

    monkeypatch.setattr(notifier, "_deliver", die_once)
    rate.set(2)
    rate.set(3)
    assert flags.flush(DEADLINE_SECONDS)
    assert seen in ([3], [2, 3])
    assert eventually(lambda: not deaths[0].is_alive())
    rate.set(4)
    assert flags.flush(DEADLINE_SECONDS)
    assert seen[-1] == 4


def test_an_expiry_that_fails_is_tried_again(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch, lines: Callable[[], list[str]]
) -> None:
    """
    If the commit of an expiry fails, this is logged and the override is dropped by another try.
    """
    rate = flags.dyn_int("rate", 1)
    store, failures = flags._store, []
    commit = store.commit

    def fail_once(*arguments: Any, **options: Any) -> Any:
        if threading.current_thread().name == "dflag-expiry" and not failures:
            failures.append(1)
            raise MemoryError
        return commit(*arguments, **options)

    monkeypatch.setattr(store, "commit", fail_once)
    rate.set(2, ttl_seconds=0.01)
    assert eventually(lambda: rate.get() == 1)
    assert failures
    assert any("trying again" in line for line in lines())


def test_frames_go_from_causes_behind_an_error_that_was_never_raised() -> None:
    """`drop_frames()` drops the frames of a cause even if the error was not raised and the chain is a ring."""
    try:
        raise ValueError("inner")
    except ValueError as error:
        inner = error
    outer = FlagValueError("rate", "bad", raw="x", origin="file")
    outer.__cause__ = inner
    inner.__context__ = outer
    assert outer.__traceback__ is None
    assert inner.__traceback__ is not None
    assert drop_frames(outer) is outer
    assert inner.__traceback__ is None


def test_threads_of_dflag_see_no_pin_of_the_thread_that_starts_them(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A callback reads current values even if its thread starts in a copy of a pinned context (free-threaded 3.14)."""
    start = threading.Thread.start

    def start_in_a_copy(thread: threading.Thread) -> None:
        monkeypatch.setattr(thread, "run", partial(contextvars.copy_context().run, thread.run))
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_in_a_copy)
    rate, seen = flags.dyn_int("rate", 1), list[tuple[int, int, int]]()
    rate.on_change(lambda old, new: seen.append((old, new, rate.get())))
    with flags.pinned():
        rate.set(2)
        assert flags.flush(DEADLINE_SECONDS)
        assert rate.get() == 1
    assert seen == [(1, 2, 2)]


class Jealous(str):
    """A text whose comparison raises."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        raise Ruin

    __ne__ = __eq__


class Weighty(bytes):
    """Bytes whose comparison raises."""

    __slots__ = ()
    __hash__ = bytes.__hash__

    def __eq__(self, other: object) -> bool:
        raise Ruin

    __ne__ = __eq__


@pytest.mark.parametrize("wrap", [Jealous, lambda text: Weighty(text.encode())])
def test_raw_values_are_compared_as_plain_ones(flags: dflag.FlagRegistry, wrap: Callable[[str], str | bytes]) -> None:
    """Raw values of a source and of `apply()` are compared as plain str or bytes, without a subclass's `__eq__`."""
    rate = flags.dyn_int("rate", 1)
    source = MemorySource({})
    source.read = lambda: {"rate": wrap(text)}  # type: ignore[method-assign]
    updater = dflag.Updater(flags, source, on_bad_start="skip")
    for text in ("5", "6", "many", "many"):
        updater.initialize() if text == "5" else updater.refresh()
        flags.apply({"rate": wrap(text)}, source="program")
    assert rate.get() == 6
    assert updater.status().rejected["rate"].raw in ("many", b"many")
    assert (updater.status().errors, updater.status().seconds_since_success is not None) == (1, True)
