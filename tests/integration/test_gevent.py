"""
Programs whose threads are green: patched by gevent or eventlet before anything else.
"""

from __future__ import annotations

import importlib.util
import ssl
from typing import TYPE_CHECKING

import pytest

from dflag.testing import ConfigMapVolume

from ._api_server import ApiServer, Connection, stream
from ._waiting import DEADLINE_SECONDS, run_python

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.untraced

PATCHES = {
    "gevent": "from gevent import monkey; monkey.patch_all(); from gevent import sleep",
    # Its resolver of names imports cryptography if that is installed, and then its patching fails.
    "eventlet": (
        "import os; os.environ['EVENTLET_NO_GREENDNS'] = 'yes'\n"
        "import eventlet; eventlet.monkey_patch(); from eventlet import sleep"
    ),
}

PROGRAM = f"""
import sys, time
import dflag
from dflag.testing import ConfigMapVolume

DEADLINE = {DEADLINE_SECONDS}
flags = dflag.FlagRegistry()
rate = flags.dyn_int("rate", 0)
seen = []
rate.on_change(lambda old, new: seen.append((old, new)))
volume = ConfigMapVolume(sys.argv[1])

def eventually(condition):
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, (rate.get(), seen, updater.status())
        sleep(0.005)

def told(expected):
    assert flags.flush(DEADLINE)
    assert seen == expected, seen
"""

FOLLOW = """
updater = dflag.Updater.setup(flags, volume.path)
volume.write({"rate": "2"})
assert updater.wait_for(lambda snapshot: snapshot[rate] == 2, DEADLINE)
told([(0, 1), (1, 2)])
volume.write({"rate": "bad"})
eventually(lambda: updater.status().rejected)
volume.write({"rate": "3"})
eventually(lambda: rate.get() == 3)
updater.stop()
told([(0, 1), (1, 2), (2, 3)])
"""

NO_WAITING = """
updater = dflag.Updater.setup(flags, volume.path, resync_seconds=60)
began = time.monotonic()
for _ in range(20):
    sleep(0.01)
assert time.monotonic() - began < 2.0, "the updater's wait blocks the hub"
updater.stop()
assert time.monotonic() - began < 4.0
"""

EXPIRY = """
updater = dflag.Updater.setup(flags, volume.path)
rate.set(5, ttl_seconds=0.05)
eventually(lambda: rate.get() == 1)
told([(0, 1), (1, 5), (5, 1)])
updater.stop()
updater.start()
volume.write({"rate": "2"})
eventually(lambda: rate.get() == 2)
updater.stop()
"""

FORK = """
import os
updater = dflag.Updater.setup(flags, volume.path)
told([(0, 1)])
child = os.fork()
if child == 0:
    status = 1
    try:
        eventually(lambda: rate.get() == 2)
        told([(0, 1), (1, 2)])
        updater.stop()
        status = 0
    finally:
        os._exit(status)
volume.write({"rate": "2"})
eventually(lambda: rate.get() == 2)
told([(0, 1), (1, 2)])
eventually(lambda: os.waitpid(child, os.WNOHANG) == (child, 0))
updater.stop()
"""

LEFT = """
import os, threading

def threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("dflag")]

def descriptors():
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0  # Linux alone lists them

def await_end(before=sys.maxsize):
    deadline = time.monotonic() + DEADLINE
    while threads() or descriptors() > before:
        assert time.monotonic() < deadline, (threads(), descriptors(), before)
        sleep(0.005)
    return descriptors()
"""

PAGE = """
import urllib.request
from dflag.web import start_http_server

def read(times):
    with start_http_server(0, flags) as server:
        for _ in range(times):
            with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/?name=rate", timeout=DEADLINE) as answer:
                assert b'"rate"' in answer.read()

read(1)
before = await_end()
read(70)  # there are 64 places
await_end(before)
"""

API = """
from dflag.sources import KubernetesSource

def follow():
    updater = dflag.Updater.setup(flags, KubernetesSource("web", "default", kubeconfig=sys.argv[1]))
    assert updater.wait_for(lambda snapshot: snapshot[rate] == 2, DEADLINE)
    updater.stop()

follow()
before = await_end()
follow()
await_end(before)
"""


def run_patched(library: str, program: str, argument: object) -> None:
    """
    Run a program under a library's patches, and fail with the program's standard error if it fails.
    """
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"needs {library}")
    result = run_python(f"{PATCHES[library]}\n{PROGRAM}\n{program}", argument, warnings="ignore")

    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("library", PATCHES)
@pytest.mark.parametrize(
    "program", [FOLLOW, NO_WAITING, EXPIRY, FORK], ids=["follow", "no waiting", "expiry and restart", "fork"]
)
def test_green_threads_follow(tmp_path: Path, library: str, program: str) -> None:
    """
    Swaps, callbacks, refusals, expiries, a restart and a fork work on green threads, and never block the hub.
    """
    volume = ConfigMapVolume(tmp_path / "config")
    volume.write({"rate": "1"})
    run_patched(library, program, volume.path)


@pytest.mark.parametrize("library", PATCHES)
def test_the_page_answers_more_connections_than_it_has_places(tmp_path: Path, library: str) -> None:
    """
    The page serves more connections in turn than it has places, and leaves no thread or descriptor behind.
    """
    run_patched(library, LEFT + PAGE, tmp_path / "config")


@pytest.mark.parametrize("library", PATCHES)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_source_at_the_api_server_leaves_nothing_behind(tmp_path: Path, library: str, scheme: str) -> None:
    """
    ``stop()`` ends the thread that reads the watch, and closes its connection.
    """
    pytest.importorskip("httpx2", reason="the extra is not installed")
    context, authority = trusted(tmp_path) if scheme == "https" else (None, None)
    server = ApiServer(tmp_path / "kubeconfig", context, authority)
    try:
        server.put({"rate": "1"})
        changed = server.item()
        changed["metadata"]["resourceVersion"] = "200"
        changed["data"] = {"rate": "2"}
        # An event shows that the watch is read; after it there is silence.
        server.on_watch(*[stream({"type": "MODIFIED", "object": changed}, then=Connection.wait_for_end)] * 2)
        run_patched(library, LEFT + API, server.kubeconfig)
    finally:
        server.close()


def trusted(directory: Path) -> tuple[ssl.SSLContext, Path]:
    """
    Return a server's TLS context, and the file with the certificate of its authority.
    """
    authority = pytest.importorskip("trustme").CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(directory / "authority.pem")
    return context, directory / "authority.pem"
