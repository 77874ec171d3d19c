"""
The right to read the sources of an updater, which one thread has at a time.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_SLICE_SECONDS: Final = 0.1
"""How often a thread that waits for the right asks whether it still is to."""

_PATIENCE_SECONDS: Final = 30.0
"""
How long the main thread waits for the right: a signal handler may have interrupted code that holds what the thread that
reads needs.
"""


_MOST_ROUNDS: Final = 100
"""How often to read for one call: ``facts=`` may itself call `refresh`, which asks for another round."""


class LookRight:
    """
    The right to read the sources: one thread at a time, so that an older reading never follows a newer one.

    Attributes:
        lock: Held while they are read.
        again: Whether they are to be read, once more if a reading is going on.
        going_on: Whether they are being read, which a signal handler in the same thread may interrupt.
        looks: How often they were read.

    Thread safety: any thread.
    """

    def __init__(self) -> None:
        self.lock: Final = threading.RLock()
        self.again = False
        self.going_on = False
        self.looks = 0

    def run(self, look: Callable[[], None], wanted: Callable[[], bool] | None, needed: threading.RLock) -> bool:
        """
        Read the sources, once more when somebody asks for it meanwhile.

        A call by a signal handler in the middle of another one of the same thread only asks that one for another round;
        so does one that must not wait for another thread.

        Args:
            look: Reads them.
            wanted: Asked while another thread reads, whether to go on waiting; None for always.
            needed: A lock that the thread that reads may wait for.

        Returns:
            False when it was left to the thread that reads, or is not wanted any more.
        """
        self.again = True
        if not self.lock.acquire(blocking=False) and not self._wait_for_lock(wanted, needed):
            return False
        last = self.looks + _MOST_ROUNDS
        try:
            # Asked once more at the end: a handler may have called between the last look and that.
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
        # A signal handler may have interrupted this thread while it held a lock that the thread that reads waits for.
        # Of the store's it is known. Of others, as those of log handlers, it is not: so the wait has a limit.
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
    except RuntimeError:  # which is what it raises for a lock that this thread does not hold
        return False
    return True
