"""
Celery tasks see one revision each, in workers of every pool and when `apply()` runs them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import celery
import pytest
from celery.local import Proxy
from celery.signals import task_postrun, task_prerun

import dflag
from dflag.integrations.celery import pin_tasks
from dflag.testing import ConfigMapVolume

from . import _celery_broker
from ._pins import REQUESTS, Pair, Storm, check_storm, check_unpinned
from ._waiting import DEADLINE_SECONDS, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.once

POOLS = {"prefork": 1, "threads": 8, "gevent": 8}
"""Each pool, with the number of tasks that run at once in one of its processes."""

START_SECONDS = 30.0
"""How long a worker may take to start on a busy machine."""

PROGRAM = """
import itertools, json, os, threading
import celery, dflag
import broker_in_files
from celery.signals import worker_ready
from dflag._snapshot import open_pins
from dflag.integrations.celery import pin_tasks
from dflag.testing import ConfigMapVolume

HERE = os.path.dirname(__file__)
flags = dflag.FlagRegistry()
one, two = flags.dyn_int("one", 0), flags.dyn_int("two", 0)
volume = ConfigMapVolume(HERE + "/config")
updater = dflag.Updater.setup(flags, volume.path)

app = celery.Celery("tasks")
with open(HERE + "/settings.json") as file:
    app.config_from_object(json.load(file))
pin_tasks(app, flags, revision_header=True)
barrier = threading.Barrier(app.conf.worker_concurrency)
numbers = itertools.count(1000)


@worker_ready.connect
def announce(**_):
    print("ready", flush=True)


def swap():
    value = flags.snapshot()[one] + 1
    volume.write({"one": str(value), "two": str(value)})
    assert updater.wait_for(lambda snap: snap[one] == snap[two] == value, 10)


class Noting(app.Task):
    seen = []

    def __call__(self, *args, **kwargs):  # as users have it: without the base's
        return self.run(*args, **kwargs)

    def before_start(self, *_):
        self.seen[:] = [one.get()]
        swap()

    def on_success(self, *_):
        self.seen.append(two.get())

    def after_return(self, *_):
        self.seen.append(two.get())


@app.task
def swapping():
    before = one.get()
    swap()
    return before, two.get(), flags.snapshot()[one]


@app.task(base=Noting, bind=True)
def hooked(self):
    self.seen.append(two.get())


@app.task
def noted():
    return hooked.seen


@app.task
def broken():
    swap()
    raise RuntimeError(str(two.get()))


@app.task(bind=True)
def counted(self):
    return len(open_pins), one.get(), flags.snapshot()[one], self.request.headers["X-Config-Revision"]


@app.task
def met():
    seen = [one.get()]
    barrier.wait(10)  # all of them have begun
    number = str(next(numbers))
    flags.apply({"one": number, "two": number}, source="more")
    seen.append(two.get())
    barrier.wait(10)  # a revision for each of them is in force
    seen += [one.get(), two.get()]
    flags.apply({}, source="more")
    return seen
"""


def _settings(directory: Path, concurrency: int) -> dict[str, Any]:
    """
    Return the settings of a worker and of its clients: a broker and results in files.
    """
    folders = ("data_folder_in", "data_folder_out", "control_folder")
    return {
        "broker_url": "filesystem://",
        "broker_transport_options": {"polling_interval": 0.01, **dict.fromkeys(folders, str(directory / "broker"))},
        "result_backend": f"file://{directory}/results",
        "broker_connection_retry_on_startup": False,
        "worker_concurrency": concurrency,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
    }


class Worker:
    """
    A worker of Celery in a process of its own, and a client of it.
    """

    def __init__(self, pool: str, directory: Path) -> None:
        for name in ("broker", "results"):
            (directory / name).mkdir()
        settings = _settings(directory, POOLS[pool])
        self._client = celery.Celery("client", set_as_current=False)
        self._client.config_from_object(settings)
        (directory / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
        (directory / "tasks.py").write_text(PROGRAM, encoding="utf-8")
        shutil.copy(_celery_broker.__file__, directory / "broker_in_files.py")
        ConfigMapVolume(directory / "config").write({"one": "0", "two": "0"})
        self.pool = pool
        self._log = (directory / "log").open("w+", encoding="utf-8")
        command = [sys.executable, "-m", "celery", f"--workdir={directory}", "-A", "tasks", "worker"]
        options = [f"--pool={pool}", "--loglevel=ERROR", "--without-gossip", "--without-mingle", "--without-heartbeat"]
        self._process = subprocess.Popen(
            [*command, *options],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,  # so that the worker and its pool can be killed as a group
            env={**os.environ, "C_FORCE_ROOT": "1"},  # it warns if it runs as root
        )
        watchdog = threading.Timer(START_SECONDS, os.killpg, (self._process.pid, signal.SIGKILL))
        watchdog.start()
        assert self._process.stdout
        ready = any(line == "ready\n" for line in self._process.stdout)
        watchdog.cancel()
        watchdog.join()
        if not ready:
            self._log.seek(0)
            log = self._log.read()
            self.close()
            pytest.fail(f"the worker did not start: {log}")

    def send(self, name: str) -> Callable[[], Any]:
        """
        Send a task, and return a function that waits for its result.
        """
        result = self._client.send_task(f"tasks.{name}")
        return lambda: result.get(timeout=3 * DEADLINE_SECONDS, interval=0.01)

    def run(self, name: str) -> Any:
        """
        Send a task, and return its result.
        """
        return self.send(name)()

    def close(self) -> None:
        self._client.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # a worker that ends by itself takes five seconds
        self._process.communicate()
        self._log.close()


@pytest.fixture(name="worker", scope="module", params=POOLS)
def _worker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """Yield a running worker of each pool."""
    if request.param == "gevent":
        pytest.importorskip("gevent")
    worker = Worker(request.param, tmp_path_factory.mktemp(request.param))
    yield worker
    worker.close()


def test_a_swap_is_seen_by_the_next_task(worker: Worker) -> None:
    """A task keeps its revision when another is committed in its middle; the next task sees the new one."""
    live = worker.run("counted")[2]
    for _ in range(3):
        assert worker.run("swapping") == [live, live, live + 1]
        live += 1


def test_handlers_of_a_task_see_its_revision(worker: Worker) -> None:
    """A task sees one revision from `before_start` to `after_return`, even if its class overrides `__call__`."""
    live = worker.run("counted")[2]
    worker.run("hooked")
    assert worker.run("noted") == [live] * 4


def test_a_task_that_raises_unpins(worker: Worker) -> None:
    """A task that raises sees its revision to the end, and leaves no pin."""
    live = worker.run("counted")[2]
    with pytest.raises(RuntimeError, match=f"^{live}$"):
        worker.run("broken")
    assert worker.run("counted")[1:3] == [live + 1, live + 1]
    assert eventually(lambda: worker.run("counted")[0] == 1)  # a result arrives before its task has ended


def test_the_request_says_the_revision(worker: Worker) -> None:
    """The headers of a running task's request hold the number of its revision, which grows with each commit."""
    before = int(worker.run("counted")[3])
    worker.run("swapping")
    assert int(worker.run("counted")[3]) > before


def test_concurrent_tasks_have_their_own_revisions(worker: Worker) -> None:
    """Tasks that run at once keep their own revisions while each of them commits another."""
    for _ in range(3):
        results = [worker.send("met") for _ in range(POOLS[worker.pool])]
        seen = [result() for result in results]
        assert all(len(set(values)) == 1 for values in seen)
    assert eventually(lambda: worker.run("counted")[0] == 1)


# --- in this process


@pytest.fixture(name="app")
def _app() -> Iterator[celery.Celery]:
    """Yield an app without a broker, and disconnect the receivers of its signals afterwards."""
    receivers = [(each, list(each.receivers)) for each in (task_prerun, task_postrun)]
    yield celery.Celery("test", set_as_current=False, broker="memory://", backend="cache+memory://")
    for each, before in receivers:
        each.receivers[:] = before
        each.sender_receivers_cache.clear()


@pytest.fixture(name="pair")
def _pair() -> Iterator[Pair]:
    """Yield two flags that are equal in each revision, and fail if a pin is left open."""
    yield Pair()
    check_unpinned()


def swapping(app: celery.Celery, pair: Pair) -> Any:
    """
    Return a task that commits a revision in its middle.
    """

    @app.task
    def task() -> tuple[int, int]:
        before = pair.one.get()
        pair.swap()
        return before, pair.two.get()

    return task


def test_a_task_that_is_applied_at_once(app: celery.Celery, pair: Pair) -> None:
    """A task that `apply()` runs sees one revision; a direct call of the task is not pinned and sees the newest."""
    pin_tasks(app, pair.flags)
    task = swapping(app, pair)
    assert task.apply().get() == (0, 0)
    assert task() == (1, 2)
    assert task.apply().get() == (2, 2)


def test_a_retry_is_a_task_anew(app: celery.Celery, pair: Pair) -> None:
    """A retry of a task sees the revision that is in force when the retry begins."""
    pin_tasks(app, pair.flags)

    @app.task(bind=True, max_retries=1)
    def retried(self: Any, seen: list[int]) -> list[int]:
        seen = [*seen, pair.one.get()]
        if len(seen) == 1:
            pair.swap()
            raise self.retry(args=[seen])
        return seen

    assert retried.apply([[]]).get() == [0, 1]


def test_a_task_within_a_task(app: celery.Celery, pair: Pair) -> None:
    """A task that another task applies or calls sees the revision of the outer task, which keeps it afterwards."""
    pin_tasks(app, pair.flags)
    inner = swapping(app, pair)

    @app.task
    def outer() -> list[tuple[int, int]]:
        return [inner.apply().get(disable_sync_subtasks=False), inner(), (pair.one.get(), pair.two.get())]

    assert outer.apply().get() == [(0, 0)] * 3
    assert pair.one.get() == 2


def test_two_registries(app: celery.Celery, pair: Pair) -> None:
    """Tasks can be pinned to several registries; the tasks of another app are not pinned."""
    other = Pair()
    pin_tasks(app, pair.flags)
    pin_tasks(app, other.flags)
    pin_tasks(app, pair.flags)  # a second time, which changes nothing
    elsewhere = celery.Celery("elsewhere", set_as_current=False)

    def swap_both() -> list[int]:
        pair.swap()
        other.swap()
        return [pair.one.get(), other.one.get()]

    assert app.task(swap_both).apply().get() == [0, 0]
    assert elsewhere.task(swap_both).apply().get() == [2, 2]


def test_an_app_behind_a_proxy(app: celery.Celery, pair: Pair) -> None:
    """`pin_tasks()` accepts a proxy of an app, such as `celery.current_app`, and pins tasks whose app is a proxy."""
    pin_tasks(Proxy(lambda: app), pair.flags)
    assert swapping(app, pair).apply().get() == (0, 0)

    class Registered(celery.Task):  # type: ignore[misc]  # of type Any, as Celery has no types
        name = "registered"
        _app = Proxy(lambda: app)  # as in a task of the current app

        def run(self) -> tuple[int, int]:
            before = pair.one.get()
            pair.swap()
            return before, pair.two.get()

    task = Registered()
    app._tasks.register(task)  # not app.tasks, which would add the shared tasks of the other tests
    assert task.apply().get() == (1, 1)


def test_an_exception_unpins(app: celery.Celery, pair: Pair) -> None:
    """A task that raises leaves no pin, even if it raises SystemExit."""
    pin_tasks(app, pair.flags)

    @app.task
    def broken(interrupt: bool) -> None:
        pair.swap()
        raise (SystemExit if interrupt else RuntimeError)(str(pair.one.get()))

    with pytest.raises(RuntimeError, match="0"):
        broken.apply([False]).get()
    check_unpinned()
    with pytest.raises(SystemExit, match="1"):
        broken.apply([True])
    check_unpinned()
    assert pair.one.get() == 2


def test_a_thousand_tasks_in_a_storm(app: celery.Celery, pair: Pair) -> None:
    """Of 1,000 tasks that threads run while revisions are committed, none sees two revisions."""
    pin_tasks(app, pair.flags)

    @app.task
    def read() -> tuple[int, ...]:
        seen = [pair.one.get()]
        turn.wait(0)  # lets other threads run
        return (*seen, pair.two.get(), pair.one.get())

    turn = threading.Event()
    read.apply()  # if several threads use a task first, one can find it half made
    with Storm(pair), ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: read.apply().get(), range(REQUESTS)))
    check_storm(answers)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"app": "shop"}, "expected app as a Celery app, got 'shop'"),
        ({"registry": None}, "expected registry as"),
        ({"revision_header": 1}, "expected revision_header as True or False, got 1"),
    ],
)
def test_wrong_arguments(app: celery.Celery, pair: Pair, options: dict[str, Any], message: str) -> None:
    """`pin_tasks()` raises DefinitionError for an argument of a wrong type."""
    with pytest.raises(dflag.DefinitionError, match=message):
        pin_tasks(**{"app": app, "registry": pair.flags, **options})
