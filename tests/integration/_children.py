"""
Forked children of a test, and gates between processes.
"""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING

from ._waiting import DEADLINE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

CHILD_SECONDS = 30
"""When a child that hangs is killed."""


class Child:
    """
    A forked child that runs one function and never returns into the test.
    """

    def __init__(self, run: Callable[[], object]) -> None:
        faulthandler.register(signal.SIGUSR1)  # before: what a fork calls in the child may hang as well
        self._pid = os.fork()
        if self._pid == 0:
            _run_and_exit(run)

    def check(self) -> None:
        """
        Wait for its end, and fail unless all went well in it.
        """
        assert self.wait() == 0, "see the child's traceback"

    def wait(self) -> int:
        """
        Wait for its end, and give its exit code, which is minus the signal that killed it.

        One that hangs is killed, after it has said on standard error where each of its threads is.
        """
        deadline = time.monotonic() + CHILD_SECONDS
        while True:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > deadline:
                os.kill(self._pid, signal.SIGUSR1)
                time.sleep(1)  # nothing tells when it has been written
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
                raise TimeoutError("the child hangs")
            threading.Event().wait(0.005)


def _run_and_exit(run: Callable[[], object]) -> None:
    code = 1
    try:
        run()
        code = 0
    except BaseException:  # whatever it was must not reach pytest's frames a second time
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


class Gate:
    """
    Lets one process wait for a word from another, with a deadline.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()

    def open(self) -> None:
        os.write(self._write, b"x")

    def wait(self) -> None:
        assert select.select([self._read], [], [], DEADLINE_SECONDS)[0], "nobody opened the gate"
        os.read(self._read, 1)

    def is_open(self) -> bool:
        return bool(select.select([self._read], [], [], 0)[0])

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)
