"""
Metrics of several processes that serve one port.
"""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ._waiting import DEADLINE_SECONDS, eventually, run_python

if TYPE_CHECKING:
    from pathlib import Path

    from dflag.testing import ConfigMapVolume

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

FORKS = """
import os, sys
import dflag
from dflag.integrations import prometheus
from dflag.sources import MemorySource
from prometheus_client import CollectorRegistry, generate_latest

prometheus.SHARE_SECONDS = 0.05
flags = dflag.FlagRegistry("shop")
rate = flags.dyn_int("rate", 1, min=1, on_change=lambda old, new: 1 // (new - 7))
source = MemorySource({"rate": "0", "nope": "1"})
updater = dflag.Updater(flags, source)
updater.start()
rate.set(7)
assert flags.flush(10)
collector = prometheus.register(flags, updater)
metrics = CollectorRegistry()
metrics.register(collector)

def sample(name, **labels):
    return metrics.get_sample_value("dflag_" + name, {"registry": "shop", **labels})

assert sample("errors_total") == 1
ready, go = os.pipe(), os.pipe()
for number in range(2):
    if os.fork() == 0:
        os.close(go[1])
        if number == 0:
            rate.reset()
            rate.set(7)
            assert flags.flush(10)
        os.write(ready[1], b"x")
        os.read(go[0], 1)  # until the parent is done
        os._exit(0)
for _ in range(2):
    os.read(ready[0], 1)
os.close(go[0])

def eventually(condition):
    import threading, time
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    assert condition()

# What the parent counted before the fork counts once, what a child counts is added.
eventually(lambda: sample("callback_errors_total", flag="rate") == 2)
assert sample("errors_total") == 1, sample("errors_total")
assert sample("warnings_total") == 1
assert sample("overridden_flags") == 1
files = {name.split("_")[1] for name in os.listdir(os.environ["PROMETHEUS_MULTIPROC_DIR"])}
assert len(files) == 3, files
os.close(go[1])
for _ in range(2):
    _, status = os.wait()
    assert status == 0
assert sample("callback_errors_total", flag="rate") == 2
rate.reset()
assert sample("overridden_flags") == 0  # of the one that ended it counts no more
collector.close()
updater.stop()
"""

STARTS_IN_CHILD = """
import os
import dflag
from dflag.integrations import prometheus
from dflag.sources import MemorySource
from prometheus_client import CollectorRegistry

prometheus.SHARE_SECONDS = 60
flags = dflag.FlagRegistry("shop")
flags.dyn_int("rate", 1, min=1)
source = MemorySource({"rate": "5"})
updater = dflag.Updater(flags, source)
metrics = CollectorRegistry()
prometheus.register(flags, updater, prometheus_registry=metrics)

def sample(name, **labels):
    return metrics.get_sample_value("dflag_" + name, {"registry": "shop", **labels})

assert sample("running") == 0  # no process runs it
ready, go = os.pipe(), os.pipe()
pid = os.fork()
if pid == 0:
    os.close(go[1])
    assert sample("running") == 0
    with updater:
        assert sample("running") == 1
        assert sample("source_healthy", source=source.name) == 1
        os.write(ready[1], b"x")
        os.read(go[0], 1)  # until the parent has looked
    assert sample("running") == 0  # stopped is not the same as never started
    os.write(ready[1], b"x")
    os.read(go[0], 1)
    os._exit(0)
os.close(go[0])
os.close(ready[1])
assert os.read(ready[0], 1)
assert sample("running") == 1
assert sample("source_healthy", source=source.name) == 1
os.write(go[1], b"x")
assert os.read(ready[0], 1)
assert sample("running") == 0
os.close(go[1])
assert os.waitpid(pid, 0)[1] == 0
assert sample("running") == 0
"""

RESTARTS = """
import os
import dflag
from dflag.integrations import prometheus
from dflag.sources import MemorySource
from prometheus_client import CollectorRegistry

flags, metrics = dflag.FlagRegistry("shop"), CollectorRegistry()
flags.dyn_int("rate", 1, min=1)

def fail():
    source = MemorySource({"rate": "5"})
    with dflag.Updater.setup(flags, source, resync_seconds=60) as updater:
        prometheus.register(flags, updater, prometheus_registry=metrics)
        source.update({"rate": "0"})
        updater.refresh()

def errors():
    return metrics.get_sample_value("dflag_errors_total", {"registry": "shop"})

fail()
fail()
assert errors() == 2, errors()
pid = os.fork()
if pid == 0:
    assert errors() == 2, errors()  # the parent's
    fail()
    fail()
    assert errors() == 4, errors()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert errors() == 4, errors()
fail()
assert errors() == 5, errors()
"""

APP = """
import os
import dflag
from dflag.integrations import prometheus
from prometheus_client import CollectorRegistry, generate_latest, multiprocess

prometheus.SHARE_SECONDS = 0.1
flags = dflag.FlagRegistry("shop")
rate = flags.dyn_int("rate", 1, min=1)
updater = dflag.Updater.setup(flags, os.environ["CONFIG_DIR"])
collector = prometheus.register(flags, updater)

def app(environ, start_response):
    if environ["PATH_INFO"] == "/pid":
        body = str(os.getpid()).encode()
    else:
        metrics = CollectorRegistry()
        multiprocess.MultiProcessCollector(metrics)
        metrics.register(collector)
        body = generate_latest(metrics)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Connection", "close")])
    return [body]
"""


def test_forked_children_are_put_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The counters of a child start at zero and are added; when the child has ended, they stay, and its gauges go."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    done = run_python(FORKS, warnings="ignore")
    assert done.returncode == 0, done.stderr


def test_process_that_has_not_started_its_updater(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gauges of a master that has not started its updater do not count when a worker has started its own."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    done = run_python(STARTS_IN_CHILD, warnings="ignore")
    assert done.returncode == 0, done.stderr


def test_counters_go_on_across_starts_and_forks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum of errors counts all updaters, replaced ones and those of forked children included, and never shrinks."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    done = run_python(RESTARTS, warnings="ignore")
    assert done.returncode == 0, done.stderr


class Gunicorn:
    """
    A real server with two workers.
    """

    def __init__(self, tmp_path: Path, config: Path, *arguments: str) -> None:
        shared = tmp_path / "shared"
        shared.mkdir()
        (tmp_path / "shop_app.py").write_text(APP, encoding="utf-8")
        # A worker that is asked to end while it starts misses the signal, and is killed after the graceful timeout.
        options = ["--workers=2", "--bind=127.0.0.1:0", "--graceful-timeout=1", *arguments]
        command = [sys.executable, "-m", "gunicorn", *options, "shop_app:app"]
        environment = {"PROMETHEUS_MULTIPROC_DIR": str(shared), "CONFIG_DIR": str(config), "PYTHONWARNINGS": "ignore"}
        path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            command,
            env=os.environ | environment | {"PYTHONPATH": path},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.url = self._expect(r"Listening at: (http://\S+)")

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self._lines.put(line)

    def _expect(self, pattern: str) -> str:
        seen = ""
        try:
            while (match := re.search(pattern, seen)) is None:
                seen += self._lines.get(timeout=DEADLINE_SECONDS)
        except queue.Empty:
            pytest.fail(f"no {pattern!r} in {seen}")
        return match[1]

    def get(self, path: str) -> str:
        """Return what one of the workers answers."""
        with urllib.request.urlopen(self.url + path, timeout=DEADLINE_SECONDS) as answer:  # noqa: S310 - its own url
            text: str = answer.read().decode()
        return text

    def sample(self, name: str) -> float | None:
        """Scrape one of the workers and return the one sample of a metric, or None."""
        families = text_string_to_metric_families(self.get("/metrics"))
        found = [sample.value for family in families for sample in family.samples if sample.name == name]
        assert len(found) <= 1
        return found[0] if found else None

    def stop(self) -> None:
        """Terminate the server and wait until it has ended."""
        self.process.terminate()
        try:
            self.process.wait(DEADLINE_SECONDS)
        finally:
            self.process.kill()
            self.process.wait()
            self._reader.join()
            assert self.process.stderr
            self.process.stderr.close()


@pytest.mark.parametrize(("arguments", "processes"), [(["--preload"], 3), ([], 2)], ids=["preload", "plain"])
def test_gunicorn_workers_are_put_together(
    tmp_path: Path, volume: ConfigMapVolume, arguments: list[str], processes: int
) -> None:
    """Every worker's metrics count all processes, the preloading master too, and keep the counts of a killed worker."""
    volume.write({"rate": "5"})
    server = Gunicorn(tmp_path, volume.path, *arguments)
    try:
        # A process that was forked from the master has applied no values itself yet.
        assert eventually(lambda: server.sample("dflag_running") == 1)
        assert server.sample("dflag_rejected_values") is None
        assert eventually(lambda: len(list((tmp_path / "shared").glob("dflag_*.json"))) == processes)
        volume.update(rate="0")
        assert eventually(lambda: server.sample("dflag_errors_total") == processes)
        assert server.sample("dflag_rejected_values") == 1
        volume.update(rate="7")
        assert eventually(lambda: server.sample("dflag_rejected_values") is None)
        worker = int(server.get("/pid"))
        os.kill(worker, signal.SIGKILL)
        assert eventually(lambda: not _exists(worker))
        assert server.sample("dflag_errors_total") == processes
    finally:
        server.stop()


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
