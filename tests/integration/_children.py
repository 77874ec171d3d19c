"""
Forked children of a test, and gates with which processes wait for each other.
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
"""The time after which a child counts as hanging and is killed."""


class Child:
    """
    A forked child that runs one function and never returns into the test.
    """

    def __init__(self, run: Callable[[], object]) -> None:
        faulthandler.register(signal.SIGUSR1)  # before the fork, because fork hooks in the child can hang too
        self._pid = os.fork()
        if self._pid == 0:
            _run_and_exit(run)

    def check(self) -> None:
        """
        Wait for the end of the child, and fail if its exit code is not 0.
        """
        assert self.wait() == 0, "see the child's traceback"

    def wait(self) -> int:
        """
        Wait for the end of the child, and return its exit code: the negative signal number if a signal killed it.

        A child that hangs is killed, after it has written the stacks of its threads to standard error.
        """
        deadline = time.monotonic() + CHILD_SECONDS
        while True:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > deadline:
                os.kill(self._pid, signal.SIGUSR1)
                time.sleep(1)  # nothing signals when the stacks have been written
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
                raise TimeoutError("the child hangs")
            threading.Event().wait(0.005)


def _run_and_exit(run: Callable[[], object]) -> None:
    code = 1
    try:
        run()
        code = 0
    except BaseException:  # no exception may reach the copy of pytest's frames in the child
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


class Gate:
    """
    Lets one process wait, with a deadline, until another one opens the gate.
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
