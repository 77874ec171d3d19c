"""
The thread that runs callbacks.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import threading
from typing import TYPE_CHECKING
from unittest import mock

import pytest

import dflag
from dflag._faults import code_flags
from dflag._notifier import Delivery, Listener, Notifier

from ..integration._waiting import DEADLINE_SECONDS, run_python  # noqa: TID252 - tests is on no path

if TYPE_CHECKING:
    from collections.abc import Coroutine


@pytest.fixture(name="notifier")
def _notifier() -> Notifier:
    return Notifier(threading.RLock())


def test_deliveries_run_in_order_on_one_thread_that_ends(notifier: Notifier) -> None:
    """The deliveries of a batch run in order on a new thread, `dflag-notifier`, which ends when none is pending."""
    for _ in range(2):
        seen: list[tuple[int, threading.Thread]] = []
        for number in range(3):
            run = functools.partial(
                lambda seen, number: seen.append((number, threading.current_thread())), seen, number
            )
            notifier.queue.append(Delivery(run, "run"))
        notifier.resume()
        assert notifier.flush(DEADLINE_SECONDS)
        assert not notifier.is_pending()
        thread = seen[0][1]
        assert seen == [(number, thread) for number in range(3)]
        thread.join(DEADLINE_SECONDS)
        assert (thread.name, thread.is_alive()) == ("dflag-notifier", False)


def test_what_is_queued_waits_for_resume(notifier: Notifier) -> None:
    """A delivery that a commit has queued does not run before the notifier is resumed, here by `flush()`."""
    ran = threading.Event()
    notifier.queue.append(Delivery(ran.set, "run"))
    assert notifier.is_pending()
    assert not ran.is_set()
    assert notifier.flush(DEADLINE_SECONDS)
    assert ran.is_set()


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_a_callback_that_raises_is_counted_and_the_next_one_runs(
    notifier: Notifier, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    """Any exception of a callback is counted and logged, of a secret flag only by its type, and the next one runs."""
    ran = threading.Event()
    fail = mock.Mock(side_effect=error)
    notifier.queue.append(Delivery(fail, "fail", "rate"))
    notifier.queue.append(Delivery(mock.Mock(side_effect=OSError("hush")), "hide", "key", secret=True))
    notifier.queue.append(Delivery(mock.Mock(side_effect=OSError("full")), "the report"))  # not a callback of a flag
    notifier.queue.append(Delivery(ran.set, "run"))
    notifier.resume()
    assert notifier.flush(DEADLINE_SECONDS)
    assert ran.is_set()
    assert notifier.errors == {"rate": 1, "key": 1}
    assert "flag 'rate': callback fail failed" in caplog.text
    assert "flag 'key': callback hide failed: OSError" in caplog.text
    assert "hush" not in caplog.text
    assert "the report failed: OSError('full')" in caplog.text


def test_flush_gives_up_after_its_time_and_within_a_callback(notifier: Notifier) -> None:
    """`flush()` returns False after its timeout, and within a callback, where it would wait for itself."""
    release, within = threading.Event(), list[bool]()
    notifier.queue.append(Delivery(lambda: release.wait(DEADLINE_SECONDS), "hang"))
    notifier.queue.append(Delivery(lambda: within.append(notifier.flush(DEADLINE_SECONDS)), "flush"))
    notifier.resume()
    assert not notifier.flush(0.01)
    release.set()
    assert notifier.flush(DEADLINE_SECONDS)
    assert within == [False]


def test_flush_does_not_wait_for_the_event_loop_of_its_own_thread(flags: dflag.FlagRegistry) -> None:
    """`flush()` in the thread of an event loop waits for earlier callbacks, and not for a coroutine of that loop."""
    seen: list[object] = []

    async def changed(_: int, new: int) -> None:
        seen.append((new, flags.flush()))

    async def main() -> None:
        rate = flags.dyn_int("rate", 1, on_change=[lambda _, new: seen.append(new), changed])
        rate.set(2)
        assert not flags.flush()
        assert seen == [2]
        assert await asyncio.to_thread(flags.flush, DEADLINE_SECONDS)
        assert seen == [2, (2, False)]

    asyncio.run(main())
    flags["rate"].set(3)
    assert flags.flush(DEADLINE_SECONDS)


def test_no_thread_to_be_started_is_a_problem_that_the_next_call_mends(
    notifier: Notifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When no thread can be started, `resume()` notes the problem and keeps the delivery, and the next call runs it."""
    ran = threading.Event()
    notifier.queue.append(Delivery(ran.set, "run"))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", mock.Mock(side_effect=RuntimeError("can't start new thread")))
        notifier.resume()
    assert notifier.problem == "can't start new thread"
    assert notifier.is_pending()
    notifier.resume()
    assert notifier.flush(DEADLINE_SECONDS)
    assert ran.is_set()


@pytest.mark.parametrize("given", [5, (value for value in ()), None])
def test_a_listener_is_callable(given: object) -> None:
    """A listener that is not callable is refused at its registration."""
    with pytest.raises(dflag.DefinitionError, match="flag 'rate': expected a callable for on_change"):
        Listener(given, "rate")  # type: ignore[arg-type]  # what is tried


def test_a_generator_is_no_listener() -> None:
    """A generator function is refused as a listener, since a call would run none of its code."""

    def follow(old: object, new: object) -> object:
        yield old, new

    with pytest.raises(dflag.DefinitionError, match="got a generator"):
        Listener(follow, "rate")


def test_a_coroutine_function_runs_on_the_loop_of_its_registration(caplog: pytest.LogCaptureFixture) -> None:
    """A coroutine function needs a running loop and runs on it; when that is closed, calls are dropped, logged once."""
    seen: list[tuple[int, int]] = []

    async def changed(old: int, new: int) -> None:
        await asyncio.sleep(0)
        seen.append((old, new))

    async def main() -> Listener:
        listener = Listener(changed, "rate")
        await asyncio.to_thread(listener, 1, 2, "override", 1)
        return listener

    with pytest.raises(dflag.DefinitionError, match="needs a running event loop"):
        Listener(changed, "rate")
    listener = asyncio.run(main())
    assert seen == [(1, 2)]
    with caplog.at_level(logging.WARNING, "dflag"):
        listener(2, 3, "override", 1)
        listener(3, 4, "override", 2)
    assert seen == [(1, 2)]
    assert caplog.text.count("dropped: its event loop is gone") == 1


def test_a_callback_that_returns_a_coroutine_is_a_fault(
    flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """A coroutine that a plain callback returns is closed, logged and counted as an error; the next callback runs."""
    seen: list[tuple[int, int]] = []
    returned: list[Coroutine[object, object, None]] = []

    async def changed(old: int, new: int) -> None:
        seen.append((old, new))  # pragma: no cover - never begun

    def plain(old: int, new: int) -> Coroutine[object, object, None]:
        returned.append(changed(old, new))
        return returned[-1]

    rate = flags.dyn_int("rate", 1)
    rate.on_change(plain)
    rate.on_change(lambda old, new: seen.append((old, new)))
    rate.set(2)
    assert flags.flush(DEADLINE_SECONDS)
    assert seen == [(1, 2)]
    assert [inspect.getcoroutinestate(each) for each in returned] == [inspect.CORO_CLOSED]
    assert flags.callback_errors() == {"rate": 1}
    assert "it returned a coroutine, which nobody awaits: register the coroutine function itself" in caplog.text


def test_a_callback_may_return_a_task() -> None:
    """A callback may return a future or a task, which nothing waits for and nothing cancels."""

    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        Listener(lambda _old, _new: future, "rate")(1, 2, "override", 1)
        task = asyncio.create_task(asyncio.sleep(0, "done"))
        Listener(lambda _old, _new: task, "rate")(1, 2, "override", 1)
        assert not task.done()
        assert await task == "done"

    asyncio.run(main())


def test_the_code_behind_a_callable_is_found() -> None:
    """`code_flags()` looks through partials, methods and objects with ``__call__``, and returns 0 for a builtin."""

    class Call:
        async def __call__(self) -> None: ...

        def plain(self) -> None: ...

    coroutine = 0x80
    assert code_flags(functools.partial(functools.partial(Call()))) & coroutine
    assert not code_flags(Call().plain) & coroutine
    assert code_flags(len) == 0


def test_registering_a_callback_does_not_import_inspect() -> None:
    """Registering and running a callback imports neither `inspect` nor `asyncio`, so a program starts quickly."""
    done = run_python(
        "import sys\n"
        "before = set(sys.modules)\n"
        "import dflag\n"
        "flags = dflag.FlagRegistry()\n"
        "flags.dyn_int('rate', 1, on_change=lambda old, new: print(old, new)).set(2)\n"
        "assert flags.flush(10)\n"
        "print(sorted({'asyncio', 'inspect'} & set(sys.modules) - before))\n"
    )
    assert (done.stdout.split("\n"), done.stderr) == (["1 2", "[]", ""], "")
