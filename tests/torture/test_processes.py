"""
Processes that are forked, spawned, killed or ended at any moment follow a volume and leave nothing behind.

The periodic check never runs here, so a change without an event would be missed and fail the test.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import pytest

from dflag import Updater
from tests.integration._children import Child, Gate
from tests.integration._waiting import DEADLINE_SECONDS, eventually, run_python

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import dflag
    from dflag.testing import ConfigMapVolume

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

NO_RESYNC = 3600.0
"""The interval of a periodic check that never comes, so that every change must come by events."""

DESCRIPTORS = "/proc/self/fd"
"""The directory in which Linux lists the open descriptors."""

LAST = -1
"""The last value of a storm."""


@pytest.fixture(name="rate")
def _rate(flags: dflag.FlagRegistry) -> dflag.DynamicFlag[int]:
    return flags.dyn_int("rate", 0)


@pytest.fixture(name="published")
def _published(volume: ConfigMapVolume) -> ConfigMapVolume:
    volume.write({"rate": "1"})
    return volume


def _shows(updater: Updater, value: int) -> bool:
    return updater.wait_for(lambda snapshot: snapshot["rate"] == value, DEADLINE_SECONDS)


# --- forks


FATES = ("exit", "kill", "stop", "follow")
"""What a child does: it exits, is killed or stops its updater during the storm, or follows to the end."""

READING = 3
"""How many descriptors a read that a fork interrupted may leave open in the child: directory, listing and file."""

FOLLOWERS = 10
"""How many children may follow to the end at once; more would only compete for the processor."""


@needs_fork
def test_children_that_end_amid_a_storm_hurt_nobody(
    rate: dflag.DynamicFlag[int],
    flags: dflag.FlagRegistry,
    published: ConfigMapVolume,
    rng: random.Random,
    torture_seconds: float,
) -> None:
    """
    A parent that forks during a storm, and the children that survive, reach the last value by events alone.
    """
    with (
        contextlib.closing(Gate()) as gate,
        Updater(flags, published.path, resync_seconds=NO_RESYNC) as updater,
    ):
        expected = _held()
        writer = Child(lambda: _publish(published, torture_seconds, gate))
        gate.open()
        children: list[tuple[str, Child]] = []
        begun = time.monotonic()
        while rate.get() != LAST:
            followers = sum(fate == "follow" for fate, _ in children)
            fate, moment = rng.choice(FATES if followers < FOLLOWERS else FATES[:-1]), rng.uniform(0, 0.05)
            left = begun + torture_seconds - time.monotonic()
            meet = partial(_meet, fate, moment, updater, expected, max(left, 0.0) + DEADLINE_SECONDS)
            children.append((fate, Child(meet)))
            threading.Event().wait(rng.uniform(0, 0.05))
        writer.check()

        for fate, child in children:
            assert child.wait() == (-signal.SIGKILL if fate == "kill" else 0), fate
        assert len(children) > 1
        assert eventually(lambda: _held() == expected), (_held(), expected)
        published.write({"rate": "1"})
        assert _shows(updater, 1)


def _publish(volume: ConfigMapVolume, seconds: float, gate: Gate) -> None:
    gate.wait()
    deadline = time.monotonic() + seconds
    number = 1
    while time.monotonic() < deadline:
        number += 1
        volume.write({"rate": str(number)})
    volume.write({"rate": str(LAST)})


def _meet(fate: str, moment: float, updater: Updater, expected: tuple[int, int], seconds: float) -> None:
    threading.Event().wait(0 if fate == "follow" else moment)
    if fate == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fate == "stop":
        updater.stop()
        assert updater.status().state == "stopped"
    elif fate == "follow":
        assert updater.wait_for(lambda snapshot: snapshot["rate"] == LAST, seconds)
        most = expected[0] + READING
        assert eventually(lambda: _held()[0] <= most and _held()[1] == expected[1]), (_held(), expected)


def _held() -> tuple[int, int]:
    """
    Return the number of descriptors of this process, and of the threads that dflag started in it.

    Other threads may be left from earlier tests; none of them exists in a child.
    """
    threads = sum(thread.name.startswith("dflag-") for thread in threading.enumerate())
    return len(os.listdir(DESCRIPTORS)) if os.path.isdir(DESCRIPTORS) else 0, threads


FORK = f"""
import os, sys
import dflag
from dflag.testing import ConfigMapVolume

flags = dflag.FlagRegistry()
rate = flags.dyn_int("rate", 0)
updater = dflag.Updater.setup(flags, sys.argv[1], resync_seconds={NO_RESYNC})

def shows(value):
    return updater.wait_for(lambda snapshot: snapshot[rate] == value, {DEADLINE_SECONDS})

child = os.fork()
if child == 0:
    os._exit(0 if shows(2) else 1)
ConfigMapVolume(sys.argv[1]).write({{"rate": "2"}})
assert shows(2)
assert os.waitpid(child, 0)[1] == 0
"""


@needs_fork
@pytest.mark.parametrize("warnings", ["default", "error"])
def test_a_fork_takes_place_where_it_is_warned_of(published: ConfigMapVolume, warnings: str) -> None:
    """
    A fork next to threads works, also where Python 3.12 and later warn of it and warnings are errors.
    """
    result = run_python(FORK, published.path, warnings=warnings)

    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    if warnings == "default":
        assert result.stderr.count("DeprecationWarning") == (sys.version_info >= (3, 12))


@needs_fork
def test_nothing_of_ours_is_left_in_a_program_started_with_preexec_fn(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], published: ConfigMapVolume
) -> None:
    """
    A program started with `preexec_fn`, which runs the fork hooks, inherits no descriptor of inotify from dflag.
    """
    listing = f"import os; print(sorted(os.readlink(f'{DESCRIPTORS}/{{n}}') for n in os.listdir('{DESCRIPTORS}')[:-1]))"
    with Updater.setup(flags, published.path, resync_seconds=NO_RESYNC) as updater:
        for value in range(2, 5):
            result = subprocess.run(
                [sys.executable, "-c", listing],
                preexec_fn=lambda: None,
                capture_output=True,
                text=True,
                timeout=DEADLINE_SECONDS,
                check=True,
            )
            assert "inotify" not in result.stdout
            assert result.stderr == ""
            published.write({"rate": str(value)})
            assert _shows(updater, value)


MULTIPROCESSING = f"""
import multiprocessing, sys
import dflag
from dflag.testing import ConfigMapVolume

flags = dflag.FlagRegistry()
rate = flags.dyn_int("rate", 0)
updater = dflag.Updater.setup(flags, sys.argv[1], resync_seconds={NO_RESYNC})

def shows(value):
    return updater.wait_for(lambda snapshot: snapshot[rate] == value, {DEADLINE_SECONDS})

def work(ready):
    assert updater.status().state == "running"
    assert shows(1)
    ready.release()
    assert shows(2)

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[2])
    ready = context.Semaphore(0)
    workers = [context.Process(target=work, args=(ready,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        assert ready.acquire(timeout={DEADLINE_SECONDS})
    ConfigMapVolume(sys.argv[1]).write({{"rate": "2"}})
    assert shows(2)
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_of_multiprocessing_follow(published: ConfigMapVolume, tmp_path: Path, method: str) -> None:
    """
    Forked workers continue with the inherited updater; spawned workers use the updater of the module they import.
    """
    import multiprocessing

    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    program = tmp_path / "program.py"
    program.write_text(MULTIPROCESSING)
    result = subprocess.run(
        [sys.executable, program, published.path, method],
        capture_output=True,
        text=True,
        timeout=3 * DEADLINE_SECONDS,
        check=False,
        env=_environment(),
    )

    assert (result.returncode, result.stderr) == (0, "")


def _environment(**variables: object) -> Mapping[str, str]:
    """
    Return an environment in which a program imports the same dflag as this one.
    """
    import dflag

    here = os.path.dirname(os.path.dirname(dflag.__file__))
    return {**os.environ, "PYTHONPATH": here, **{name: str(value) for name, value in variables.items()}}


# --- servers

APPLICATION = f"""
import json, os
import dflag

flags = dflag.FlagRegistry()
rate = flags.dyn_int("rate", 0)
told = []
rate.on_change(lambda old, new: told.append(new))
updater = dflag.Updater.setup(flags, os.environ["VOLUME"], resync_seconds={NO_RESYNC})

def answer():
    source, = updater.status().sources
    return json.dumps(
        dict(pid=os.getpid(), rate=rate.get(), told=told[-1], watched=source.watched, problem=source.degraded)
    ).encode()

def wsgi(environ, start_response):
    body = answer()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]

async def asgi(scope, receive, send):
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": answer()}})
"""

SERVERS = {
    "gunicorn": "gunicorn --preload --workers 2 --bind fd://{} application:wsgi",
    "gunicorn with threads": "gunicorn --preload --workers 2 --threads 2 --bind fd://{} application:wsgi",
    "gunicorn with gevent": "gunicorn --preload --worker-class gevent --workers 2 --bind fd://{} application:wsgi",
    "uvicorn": "uvicorn --lifespan off --workers 2 --fd {} application:asgi",
}
"""Each command serves on a descriptor that already listens, so that no test must guess a free port or wait for it."""


class Server:
    """
    A server with two workers, each of which answers with its process id and what it sees.
    """

    def __init__(self, command: str, directory: Path, volume: ConfigMapVolume) -> None:
        (directory / "application.py").write_text(APPLICATION)
        self._log = directory / "log"
        with socket.create_server(("127.0.0.1", 0)) as listening, self._log.open("w") as log:
            self._port = listening.getsockname()[1]
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command.format(listening.fileno()).split()],
                pass_fds=[listening.fileno()],
                cwd=directory,
                # gunicorn keeps a socket in the home directory.
                env=_environment(VOLUME=volume.path, HOME=directory),
                stdout=log,
                stderr=log,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            # The workers end when they find that they are orphans; they must not outlive a failed test.
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(DEADLINE_SECONDS)
            self._process.kill()
            self._process.wait()

    def log(self) -> str:
        """
        Return what the server has printed.
        """
        return self._log.read_text()

    def workers(self, value: int, *, count: int = 2) -> set[int]:
        """
        Return the ids of the workers that have the value and whose callback ran; wait until there are *count* of them.
        """
        seen: set[int] = set()

        def all_see() -> bool:
            answer = self._ask()
            if answer and answer["rate"] == answer["told"] == value:
                assert (answer["watched"], answer["problem"]) == ("inotify", None)
                seen.add(answer["pid"])
            return len(seen) >= count

        assert eventually(all_see), (seen, self.log())
        return seen

    def terminate(self) -> int:
        """
        Ask the master to end, and return its status.
        """
        self._process.terminate()
        return self._process.wait(DEADLINE_SECONDS)

    def _ask(self) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=DEADLINE_SECONDS)
        try:
            connection.request("GET", "/", headers={"Connection": "close"})
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError):
            return {}  # the worker that took the connection was killed
        finally:
            connection.close()
        return answer


@pytest.mark.skipif(sys.platform != "linux", reason="which kind of watch it is is known for Linux alone")
@pytest.mark.parametrize("name", SERVERS)
def test_every_worker_of_a_server_follows(published: ConfigMapVolume, tmp_path: Path, name: str) -> None:
    """
    All workers get values and callbacks, a killed worker is replaced by one that follows, and the server ends cleanly.
    """
    for module in {"gunicorn", "gevent", "uvicorn"} & set(name.split()):
        pytest.importorskip(module)
    with Server(SERVERS[name], tmp_path, published) as server:
        first = server.workers(1)
        published.write({"rate": "2"})
        assert server.workers(2) == first

        victim = min(first)
        os.kill(victim, signal.SIGKILL)
        published.write({"rate": "3"})
        (survivor,) = first - {victim}
        assert eventually(lambda: len(server.workers(3) - first) == 1)
        published.write({"rate": "4"})
        second = server.workers(4)
        assert survivor in second
        assert victim not in second

        assert server.terminate() == 0
        assert "Traceback" not in server.log()
        assert eventually(lambda: not any(_is_alive(worker) for worker in second))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# --- event loops


@pytest.fixture(name="new_loop", params=["asyncio", "uvloop"], scope="module")
def _new_loop(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return a function that makes an event loop of each kind; uvloop does not exist for Windows."""
    new_loop: Callable[[], asyncio.AbstractEventLoop] = pytest.importorskip(request.param).new_event_loop
    # The first loop of uvloop opens descriptors for all later ones.
    new_loop().close()
    return new_loop


def test_a_server_on_an_event_loop_sees_and_hears_every_change(
    flags: dflag.FlagRegistry,
    rate: dflag.DynamicFlag[int],
    published: ConfigMapVolume,
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """
    The answers of uvicorn, coroutine callbacks and `changes()` agree on each change, in order, on the loop of uvicorn.
    """
    import uvicorn

    told: list[tuple[int, int]] = []

    async def application(_scope: object, _receive: object, send: Callable[[object], Any]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(rate.get()).encode()})

    async def follow() -> None:
        loop = asyncio.get_running_loop()

        @rate.on_change
        async def _note(old: int, new: int) -> None:
            assert asyncio.get_running_loop() is loop
            await asyncio.sleep(0)
            told.append((old, new))

        changes = rate.changes()
        server = uvicorn.Server(uvicorn.Config(application, lifespan="off", log_config=None))
        with socket.create_server(("127.0.0.1", 0)) as listening:
            serving = loop.create_task(server.serve(sockets=[listening]))
            for value in range(2, 30):
                published.write({"rate": str(value)})
                assert await asyncio.wait_for(anext(changes), DEADLINE_SECONDS) == (value - 1, value)
                assert await _get(listening.getsockname()[1]) == str(value).encode()
            server.should_exit = True
            await asyncio.wait_for(serving, DEADLINE_SECONDS)
        assert await asyncio.to_thread(flags.flush, DEADLINE_SECONDS)
        await changes.aclose()

    with (
        Updater.setup(flags, published.path, resync_seconds=NO_RESYNC),
        asyncio.Runner(loop_factory=new_loop) as runner,
    ):
        assert flags.flush(DEADLINE_SECONDS)
        runner.run(follow())

    assert told == [(value - 1, value) for value in range(2, 30)]


async def _get(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), DEADLINE_SECONDS)
    writer.close()
    await writer.wait_closed()
    _, _, body = answer.partition(b"\r\n\r\n")
    return body.split(b"\r\n")[1] if b"chunked" in answer else body


def test_a_loop_that_stops_amid_a_storm_loses_only_its_own_callbacks(
    flags: dflag.FlagRegistry,
    rate: dflag.DynamicFlag[int],
    published: ConfigMapVolume,
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """
    A loop that is closed with pending calls delays neither values nor the callbacks that need no loop.
    """
    plain: list[int] = []

    async def leave() -> None:
        under_way = asyncio.Event()

        @rate.on_change
        async def _wait(_old: int, _new: int) -> None:
            under_way.set()
            await asyncio.sleep(3600)

        rate.on_change(lambda _old, new: plain.append(new))
        published.write({"rate": "2"})
        async with asyncio.timeout(DEADLINE_SECONDS):
            await under_way.wait()

    with Updater.setup(flags, published.path, resync_seconds=NO_RESYNC) as updater:
        assert flags.flush(DEADLINE_SECONDS)
        # Closed without cancelling the pending calls.
        with contextlib.closing(new_loop()) as loop:
            # The pending calls complain when they are collected, which may be during another test.
            loop.set_exception_handler(lambda _loop, _context: None)
            loop.run_until_complete(leave())
        for value in range(3, 20):
            published.write({"rate": str(value)})
            assert _shows(updater, value)
        assert flags.flush(DEADLINE_SECONDS)

    assert plain == list(range(2, 20))


# --- ends

PROGRAM = f"""
import signal, sys, threading, time
import dflag
flags = dflag.FlagRegistry()
rate = flags.dyn_int("rate", 0)
rate.on_change(lambda old, new: flags.snapshot())
updater = dflag.Updater.setup(flags, sys.argv[1], resync_seconds={NO_RESYNC})
leave = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("ready", flush=True)
deadline = time.monotonic() + float(sys.argv[2])
# In short waits: a signal that the system gives to another thread does not end the main thread's wait, in any program.
while time.monotonic() < deadline:
    leave.wait(0.05)
rate.set(5, ttl_seconds=0.001)
"""


@pytest.mark.parametrize("how", ["by itself", "SIGTERM"])
def test_programs_that_end_at_any_moment_of_a_storm_say_nothing(
    published: ConfigMapVolume, rng: random.Random, how: str
) -> None:
    """
    A program that ends at any moment of a storm exits within 3 s, with status 0 and no output.
    """
    moments = [rng.uniform(0, 0.1) for _ in range(6)]
    done = threading.Event()

    def publish() -> None:
        number = 1
        while not done.is_set():
            number += 1
            published.write({"rate": str(number)})

    writer = threading.Thread(target=publish)
    writer.start()
    try:
        results = [_run_until(moment, published, how) for moment in moments]
    finally:
        done.set()
        writer.join()

    assert [result[:2] for result in results] == [(0, "")] * len(moments)
    assert max(seconds for _, _, seconds in results) < 3.0


def _run_until(moment: float, volume: ConfigMapVolume, how: str) -> tuple[int, str, float]:
    """
    Run the program, end it at the moment, and return its status, its error output, and how long the end took.
    """
    waits = moment if how == "by itself" else 3600
    command = [sys.executable, "-W", "error", "-c", PROGRAM, os.fspath(volume.path), str(waits)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert process.stdout.readline() == "ready\n", process.stderr.read()
            began = time.monotonic()
            if how == "SIGTERM":
                threading.Event().wait(moment)
                process.send_signal(signal.SIGTERM)
            status = process.wait(DEADLINE_SECONDS)
            return status, process.stderr.read(), time.monotonic() - began - moment
        finally:
            process.kill()
