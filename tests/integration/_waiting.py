"""
Waiting for another thread or process, always with a deadline and never with a bare sleep.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

DEADLINE_SECONDS = 10.0
"""Longer than any wait in these tests should take, even on the slowest machine."""


def eventually(condition: Callable[[], object]) -> bool:
    """
    Wait until the condition is true, and return True; return False if the deadline passes first.
    """
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.005)
    return True


def run_python(program: str, *arguments: object, warnings: str = "error") -> subprocess.CompletedProcess[str]:
    """
    Run a program in a new interpreter, and return the completed process with its output.
    """
    command = [sys.executable, "-W", warnings, "-c", program]
    return subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, timeout=6 * DEADLINE_SECONDS, check=False
    )
