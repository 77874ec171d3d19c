"""
Children that C code forks, in which none of Python's hooks run.

Python does not know that the process is new: the parent's threads seem to be alive, and their locks stay held.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest

import dflag
from dflag import Updater
from dflag import _fork as forks
from dflag.sources import MemorySource

from ._children import Child, Gate
from ._waiting import DEADLINE_SECONDS, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from dflag.testing import ConfigMapVolume

pytestmark = [
    pytest.mark.once,
    pytest.mark.untraced,
    pytest.mark.skipif(sys.platform != "linux", reason="the C library is found by its name on Linux"),
]

# The first keeps the interpreter's lock during the call, as uWSGI does; the second lets other threads have it.
LIBRARIES = {"holding the interpreter": ctypes.PyDLL, "releasing the interpreter": ctypes.CDLL}


@pytest.fixture(name="fork", params=LIBRARIES)
def _fork(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make ``os.fork()`` fork in C, and return which library call does it."""
    fork = LIBRARIES[request.param](None).fork
    monkeypatch.setattr(os, "fork", fork)
    return str(request.param)


@pytest.fixture(name="rate")
def _rate(flags: dflag.FlagRegistry) -> dflag.DynamicFlag[int]:
    return flags.dyn_int("rate", 0)


@pytest.fixture(name="updater")
def _updater(flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], volume: ConfigMapVolume) -> Iterator[Updater]:
    volume.write({"rate": "1"})
    # The periodic check is so rare that only events can report a change.
    with Updater.setup(flags, volume.path, resync_seconds=3600) as updater:
        yield updater


@pytest.fixture(name="ready")
def _ready() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.close()


CALLS: dict[str, Callable[[dflag.FlagRegistry, dflag.DynamicFlag[int], Updater], object]] = {
    "status": lambda _flags, _rate, updater: updater.status(),
    "refresh": lambda _flags, _rate, updater: updater.refresh(),
    "wait_for": lambda _flags, _rate, updater: updater.wait_for(lambda _: True, 0),
    "flush": lambda flags, _rate, _updater: flags.flush(DEADLINE_SECONDS),
    "set": lambda flags, _rate, _updater: flags["other"].set(1),
    "apply": lambda flags, _rate, _updater: flags.apply({}, source="mine"),
    "history": lambda flags, _rate, _updater: flags.history(),
    "on_change": lambda flags, _rate, _updater: flags["other"].on_change(lambda _old, _new: None),
    "declare": lambda flags, _rate, _updater: flags.dyn_int("another", 1),
    "new updater": lambda flags, _rate, _updater: Updater(flags, MemorySource()),
}


@pytest.mark.usefixtures("fork")
@pytest.mark.parametrize("call", CALLS)
def test_the_first_call_has_the_child_follow(
    flags: dflag.FlagRegistry,
    rate: dflag.DynamicFlag[int],
    updater: Updater,
    volume: ConfigMapVolume,
    ready: Gate,
    call: str,
) -> None:
    """
    After any first call into dflag a child forked in C follows: values and callbacks come by events on both sides.
    """
    heard: list[int] = []
    flags.dyn_int("other", 0)
    rate.on_change(lambda _old, new: heard.append(new))

    def run() -> None:
        CALLS[call](flags, rate, updater)
        ready.open()
        assert eventually(lambda: rate.get() == 2)
        assert eventually(lambda: heard == [2])
        assert updater.status().sources[0].watched == "inotify"
        updater.stop()

    child = Child(run)
    ready.wait()
    volume.write({"rate": "2"})
    assert eventually(lambda: heard == [2])
    child.check()
    volume.write({"rate": "3"})
    assert updater.wait_for(lambda snapshot: snapshot["rate"] == 3, DEADLINE_SECONDS)


@pytest.mark.usefixtures("fork")
def test_a_pinned_block_has_the_child_follow(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], updater: Updater, volume: ConfigMapVolume, ready: Gate
) -> None:
    """
    A worker whose only calls are pins and ``get()`` follows from its first pin on.
    """

    def run() -> None:
        with flags.pinned():
            assert rate.get() == 1
        ready.open()
        assert eventually(lambda: rate.get() == 2)

    child = Child(run)
    ready.wait()
    volume.write({"rate": "2"})
    child.check()


@pytest.mark.usefixtures("fork")
def test_many_threads_may_make_the_first_call(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], updater: Updater, volume: ConfigMapVolume
) -> None:
    """
    A child whose first calls come from many threads at once starts one updater.
    """
    flags.dyn_int("other", 0)
    inherited = set(threading.enumerate())

    def run() -> None:
        barrier = threading.Barrier(len(CALLS))

        def call(function: Callable[..., object]) -> None:
            barrier.wait(DEADLINE_SECONDS)
            function(flags, rate, updater)

        threads = [threading.Thread(target=call, args=(function,)) for function in CALLS.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_SECONDS)
        assert not any(thread.is_alive() for thread in threads)
        started = [thread.name for thread in threading.enumerate() if thread not in inherited]
        assert started.count("dflag-updater") == 1

    Child(run).check()


@pytest.mark.usefixtures("fork")
@pytest.mark.parametrize("lock", ["own_lock", "_committed"])
def test_locks_that_other_threads_held_are_free_in_the_child(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], updater: Updater, lock: str
) -> None:
    """
    A lock of the registry that another thread held at a fork without hooks is free in the child, which makes it again.
    """
    holds, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with getattr(flags._store, lock):
            holds.set()
            leave.wait(DEADLINE_SECONDS)

    holding = threading.Thread(target=hold)
    holding.start()
    assert holds.wait(DEADLINE_SECONDS)

    def run() -> None:
        rate.set(7)
        assert updater.status().state == "running"
        assert updater.wait_for(lambda snapshot: snapshot[rate] == 7, DEADLINE_SECONDS)

    child = Child(run)
    leave.set()
    holding.join()
    child.check()


@pytest.mark.usefixtures("fork")
def test_threads_that_ended_in_the_parent_may_be_forgotten_in_the_child() -> None:
    """
    A child may drop threads that ended in the parent, even so many that the C library has freed some of their stacks.
    """
    registries = [dflag.FlagRegistry() for _ in range(12)]
    rates = [registry.dyn_int("rate", 1) for registry in registries]
    before = threading.active_count()
    for rate in rates:
        rate.set(2, ttl_seconds=0.01)
    assert eventually(lambda: {rate.get() for rate in rates} == {1})
    assert eventually(lambda: threading.active_count() <= before)
    rates.clear()

    def run() -> None:
        registries[0].history()
        registries.clear()
        gc.collect()

    Child(run).check()


def test_a_child_of_a_child_keeps_what_it_inherits(flags: dflag.FlagRegistry) -> None:
    """
    When Python forks a child and C forks a child of that one, the second still keeps the threads that it inherits.
    """

    def run() -> None:
        flags.history()
        inner = ctypes.PyDLL(None).fork()
        if inner == 0:
            flags.history()
            os._exit(0 if threading.main_thread() in forks._inherited_threads else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1]) == 0

    Child(run).check()


@pytest.mark.usefixtures("fork")
def test_overrides_end_in_the_child(flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], updater: Updater) -> None:
    """
    After the first call in the child an override ends at its time limit, which was pending at the fork, and calls back.
    """
    rate.set(5, ttl_seconds=0.5)
    assert flags.flush(DEADLINE_SECONDS)
    heard: list[int] = []
    rate.on_change(lambda _old, new: heard.append(new))

    def run() -> None:
        updater.status()
        assert eventually(lambda: rate.get() == 1)
        assert eventually(lambda: heard == [1])

    child = Child(run)
    assert eventually(lambda: heard == [1])
    child.check()


@pytest.mark.usefixtures("fork")
def test_a_child_that_cannot_follow_says_so_and_tries_again(
    updater: Updater, volume: ConfigMapVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    While the child cannot start a thread its source is unhealthy with that reason; then the source is followed.
    """

    def run() -> None:
        def refuse(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            for _ in range(3):
                (source,) = updater.status().sources
                assert not source.healthy
                assert "can't start new thread" in str(source.last_error)
                assert source.watched == "not watched"
        assert updater.status().errors == 1
        assert eventually(lambda: updater.status().sources[0].healthy)
        volume.write({"rate": "2"})
        assert updater.wait_for(lambda snapshot: snapshot["rate"] == 2, DEADLINE_SECONDS)
        updater.stop()

    Child(run).check()


# --- uWSGI

APPLICATION = """
import json, os
{before}
import dflag

flags = dflag.FlagRegistry()
rate = flags.dyn_int("rate", 0)
told = []
rate.on_change(lambda old, new: told.append(new))
dflag.Updater.setup(flags, os.environ["VOLUME"], resync_seconds=3600)

def application(environ, start_response):
    body = json.dumps([os.getpid(), rate.get(), told[-1:]]).encode()  # no call that would notice the fork
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""

DECORATED = """
import uwsgidecorators
forked = []
uwsgidecorators.postfork(lambda: forked.append(1))
"""


@pytest.mark.parametrize(
    ("options", "before"),
    [
        ("", ""),
        ("--enable-threads", ""),
        ("--enable-threads", DECORATED),
        ("--enable-threads", "import uwsgi; uwsgi.post_fork_hook = lambda: None"),
        ("--enable-threads --py-call-uwsgi-fork-hooks", ""),
        ("--enable-threads --lazy-apps", ""),
        ("--enable-threads --threads 2", ""),
    ],
    ids=["default", "threads", "decorators", "hook", "fork hooks", "lazy", "threaded"],
)
def test_every_worker_of_uwsgi_follows(volume: ConfigMapVolume, tmp_path: Path, options: str, before: str) -> None:
    """
    Each worker that uWSGI forks in C gets new values and callbacks, and so does the one that replaces a killed worker.
    """
    pytest.importorskip("pyuwsgi")
    (tmp_path / "application.py").write_text(APPLICATION.format(before=before))
    volume.write({"rate": "1"})
    log = tmp_path / "log"
    with socket.create_server(("127.0.0.1", 0)) as listening, log.open("w") as output:
        port = listening.getsockname()[1]
        launch = [sys.executable, "-c", "import pyuwsgi; pyuwsgi.run()", "--die-on-term", "--need-app"]
        # A threaded worker sometimes misses the signal that ends it. Its master kills it then: by default in a minute.
        launch.append("--worker-reload-mercy=2")
        arguments = f"--http-socket fd://{listening.fileno()} --master --processes 2 --module application:application"
        server = subprocess.Popen(
            [*launch, *arguments.split(), *options.split()],
            pass_fds=[listening.fileno()],
            cwd=tmp_path,
            env={**os.environ, "VOLUME": os.fspath(volume.path), "PYTHONPATH": os.path.dirname(*dflag.__path__)},
            stdout=output,
            stderr=output,
        )

    def workers(value: int) -> set[int]:
        """Return the process ids of both workers, once both show the value and have called back with it."""
        seen: set[int] = set()

        def both() -> bool:
            with contextlib.suppress(OSError, ValueError), urlopen(f"http://127.0.0.1:{port}", timeout=5) as answer:
                pid, shown, told = json.load(answer)
                if (shown, told) == (value, [value]):
                    seen.add(pid)
            return len(seen) == 2

        assert eventually(both), (seen, log.read_text())
        return seen

    try:
        first = workers(1)
        volume.write({"rate": "2"})
        assert workers(2) == first
        os.kill(min(first), signal.SIGKILL)
        volume.write({"rate": "3"})
        assert eventually(lambda: workers(3) != first)
    finally:
        server.terminate()
        try:
            status = server.wait(DEADLINE_SECONDS)
        finally:
            server.kill()
            server.wait()
    assert status == 0, log.read_text()
    assert "Traceback" not in log.read_text()
