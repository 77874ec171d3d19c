"""
An event that signal handlers may use at any moment.
"""

from __future__ import annotations

import contextlib
import threading


class Once:
    """
    An event that is set once and stays set.

    A `threading.Event` has a lock of its own. A signal handler that interrupts one of its methods, and calls another in
    the same thread, would wait for that lock for ever; so would a thread that the handler waits for. This class only
    has a gate: a lock that `set` releases. Each waiting thread takes the gate and releases it at once.

    Thread safety: any thread, and signal handlers in the middle of any call.
    """

    __slots__ = ("_gate", "_is_set")

    def __init__(self) -> None:
        self._gate = threading.Lock()
        self._gate.acquire()
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        self._open()

    def wait(self, timeout: float | None = None) -> bool:
        """
        Wait until the event is set; return False when *timeout* seconds pass first. None means no limit.
        """
        seconds = -1.0 if timeout is None else min(max(timeout, 0.0), threading.TIMEOUT_MAX)
        if not self._is_set and self._gate.acquire(timeout=seconds):
            self._open()  # for the next thread that waits
        return self._is_set

    def _open(self) -> None:
        with contextlib.suppress(RuntimeError):  # the gate is open already
            self._gate.release()
