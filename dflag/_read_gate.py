"""
Lets one thread at a time read the sources of an updater.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_SLICE_SECONDS: Final = 0.1
"""The interval at which a thread that waits at the gate checks whether it should go on waiting."""

_PATIENCE_SECONDS: Final = 30.0
"""
How long the main thread waits at the gate: it may be running a signal handler, which has interrupted code that holds
a lock that the reading thread needs.
"""


_MOST_ROUNDS: Final = 100
"""How often one call reads at most, because ``facts=`` may itself call `refresh`, which requests another round."""


class ReadGate:
    """
    Lets one thread at a time read the sources, so that an older reading never follows a newer one.

    Attributes:
        lock: Held while the sources are read.
        again: Whether the sources should be read; during a reading, whether they should be read once more.
        going_on: Whether the sources are being read. A signal handler in the same thread may interrupt the reading.
        looks: How often the sources were read.

    Thread safety: any thread.
    """

    def __init__(self) -> None:
        self.lock: Final = threading.RLock()
        self.again = False
        self.going_on = False
        self.looks = 0

    def run(self, look: Callable[[], None], wanted: Callable[[], bool] | None, needed: threading.RLock) -> bool:
        """
        Read the sources, and again if another call requests it meanwhile.

        A call by a signal handler during another call in the same thread only requests another round from that call.
        A call that must not wait for another thread does so too.

        Args:
            look: Reads the sources.
            wanted: Called while another thread reads; returns whether to go on waiting. None to wait without asking.
            needed: A lock that the reading thread may wait for.

        Returns:
            False if the reading was left to another thread, or is no longer wanted.
        """
        self.again = True
        if not self.lock.acquire(blocking=False) and not self._wait_for_lock(wanted, needed):
            return False
        last = self.looks + _MOST_ROUNDS
        try:
            # Checked again at the end: a signal handler may have called this after the last look.
            while self.again and not self.going_on and self.looks < last:
                self.going_on = True
                try:
                    while self.again and self.looks < last:
                        self.again = False
                        self.looks += 1
                        look()
                finally:
                    self.going_on = False
        finally:
            self.lock.release()
        return True

    def _wait_for_lock(self, wanted: Callable[[], bool] | None, needed: threading.RLock) -> bool:
        # A signal handler may have interrupted this thread while it held a lock that the reading thread waits for. This
        # can be checked for the store's lock, but not for others, such as those of log handlers: so limit the wait.
        if _is_held(needed):
            return False
        if wanted is not None:
            while not self.lock.acquire(timeout=_SLICE_SECONDS):
                if not wanted():
                    return False
            return True
        is_main = threading.current_thread() is threading.main_thread()
        return self.lock.acquire(timeout=_PATIENCE_SECONDS if is_main else -1)


def _is_held(lock: threading.RLock) -> bool:
    """
    Return whether this thread holds a lock.
    """
    try:
        threading.Condition(lock).notify(0)
    except RuntimeError:  # raised if this thread does not hold the lock
        return False
    return True
