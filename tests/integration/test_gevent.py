"""
Programs whose threads are green: patched by gevent or eventlet before anything else.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

from dflag.testing import ConfigMapVolume

from ._waiting import DEADLINE_SECONDS, run_python

if TYPE_CHECKING:
    from pathlib import Path

PATCHES = {
    "gevent": "from gevent import monkey; monkey.patch_all(); from gevent import sleep",
    # Its resolver of names brings in cryptography where that is installed, at which its patching stumbles.
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


@pytest.mark.parametrize("library", PATCHES)
@pytest.mark.parametrize(
    "program", [FOLLOW, NO_WAITING, EXPIRY, FORK], ids=["follow", "no waiting", "expiry and restart", "fork"]
)
def test_green_threads_follow(tmp_path: Path, library: str, program: str) -> None:
    """
    Swaps, callbacks, refusals, expiries, a restart and a fork work, and the hub is never held up.
    """
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"needs {library}")
    volume = ConfigMapVolume(tmp_path / "config")
    volume.write({"rate": "1"})
    result = run_python(f"{PATCHES[library]}\n{PROGRAM}\n{program}", volume.path, warnings="ignore")

    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
