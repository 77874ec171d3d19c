"""
Programs that end while an updater runs.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from dflag.testing import ConfigMapVolume

from ._waiting import DEADLINE_SECONDS, run_python

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.untraced

PROGRAM = """
import signal, sys, threading, time
import dflag
flags = dflag.FlagRegistry()
rate = flags.dyn_int("rate", 0)
updater = dflag.Updater.setup(flags, sys.argv[1], resync_seconds=60)
"""

ENDINGS = {
    "the end of the program": "",
    "sys.exit": "sys.exit(0)",
    "a pending expiry": "rate.set(5, ttl_seconds=3600)",
    "a pending callback": (
        "rate.on_change(lambda old, new: time.sleep(3600))\n"
        "rate.set(5)\n"
        "time.sleep(0.05)"  # so that the callback is under way
    ),
    "stop by atexit": "import atexit; atexit.register(updater.stop)",
    "stop by hand": "updater.stop()",
    "swaps under way": (
        "from dflag.testing import ConfigMapVolume\n"
        "def publish():\n"
        "    number = 0\n"
        "    while True:\n"
        "        number += 1\n"
        "        ConfigMapVolume(sys.argv[1]).write({'rate': str(number)})\n"
        "threading.Thread(target=publish, daemon=True).start()\n"
        "assert updater.wait_for(lambda snapshot: snapshot[rate] > 5, 10)"
    ),
    "an updater that was dropped": "del updater, flags, rate",
}


@pytest.fixture(name="published")
def _published(tmp_path: Path) -> Path:
    volume = ConfigMapVolume(tmp_path / "config")
    volume.write({"rate": "1"})
    return volume.path


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_program_ends_at_once_and_without_a_word(published: Path, ending: str) -> None:
    """
    Whatever the updater is doing, the interpreter exits with status 0, no output and no delay.
    """
    program = f"{PROGRAM}\n{ENDINGS[ending]}\nprint(time.monotonic())"
    if ending == "sys.exit":
        program = f"{PROGRAM}\nprint(time.monotonic())\n{ENDINGS[ending]}"
    result = run_python(program, published)
    elapsed = time.monotonic() - float(result.stdout or "nan")

    assert (result.returncode, result.stderr) == (0, "")
    assert elapsed < 2.0


def test_a_change_while_the_interpreter_ends_waits_for_no_thread() -> None:
    """
    A change while the interpreter ends does not hang, though CPython 3.11 would wait for ever for a callback's thread.
    """
    program = """
import time
import dflag
flags = dflag.FlagRegistry()
rate = flags.dyn_int("rate", 0, on_change=lambda old, new: None)
def block():
    with flags.override({rate: 5}):
        yield
left_open = block()
next(left_open)
flags.flush(1)
print(time.monotonic())
"""
    result = run_python(program)
    elapsed = time.monotonic() - float(result.stdout or "nan")

    assert (result.returncode, result.stderr) == (0, "")
    assert elapsed < 2.0


def test_an_uncaught_error_is_all_that_is_printed(published: Path) -> None:
    """
    A program that ends by an uncaught error has the status 1 and prints only its own traceback.
    """
    result = run_python(f"{PROGRAM}\nraise SystemError('mine')", published)

    assert result.returncode == 1
    assert result.stderr.count("Traceback") == 1
    assert result.stderr.endswith("SystemError: mine\n")


@pytest.mark.parametrize(
    ("number", "handler", "status"),
    [
        (signal.SIGTERM, "", -signal.SIGTERM),
        (signal.SIGTERM, "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))", 0),
        (signal.SIGTERM, "signal.signal(signal.SIGTERM, lambda *_: (updater.stop(), sys.exit(0)))", 0),
        (signal.SIGINT, "signal.signal(signal.SIGINT, lambda *_: sys.exit(0))", 0),
    ],
)
def test_a_signal_ends_a_program_at_once(published: Path, number: signal.Signals, handler: str, status: int) -> None:
    """
    A signal ends a program that waits in its main thread, by default or by a handler that exits, with or without stop.
    """
    program = f"{PROGRAM}\n{handler}\nprint('ready', flush=True)\nthreading.Event().wait()"
    with subprocess.Popen(
        [sys.executable, "-c", program, os.fspath(published)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert select.select([process.stdout], [], [], DEADLINE_SECONDS)[0]
            assert process.stdout.readline() == "ready\n"
            began = time.monotonic()
            process.send_signal(number)
            assert process.wait(DEADLINE_SECONDS) == status
            assert time.monotonic() - began < 2.0
            assert process.stderr.read() == ""
        finally:
            process.kill()
