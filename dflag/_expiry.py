"""
Time limits: a function is called when the earliest of several moments has come.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Final

from dflag._faults import OwnThread
from dflag._log import logger
from dflag._once import Once

if TYPE_CHECKING:
    from collections.abc import Callable

_RETRY_SECONDS: Final = 1.0
"""How long to wait after a call that raised: short for an overdue override, but long enough to cause no load."""


class Expiry:
    """
    Calls a method when the next moment has come, on a thread that lives only while there is a next moment.

    The thread is separate from the notifier, so that no callback can delay the call. It keeps neither this object nor
    the objects of the methods alive, and ends when they are gone.

    Args:
        next_moment: Returns the next moment, by `time.monotonic`, or None.
        expire: Called when this moment has come.

    Attributes:
        problem: Why no thread could be started, until that is reported; else None. The next `resume` tries again.

    Thread safety: any thread.
    """

    waiting_text: Final = "time-limited overrides wait"

    def __init__(self, next_moment: Callable[[], float | None], expire: Callable[[], None]) -> None:
        self.problem: str | None = None
        self._next_moment: Final = weakref.WeakMethod(next_moment)
        self._expire: Final = weakref.WeakMethod(expire)
        # Each thread, with the finalizer that wakes it when this object is gone. Several if two threads resume at once.
        self._running: list[tuple[_Timer, weakref.finalize[..., Expiry]]] = []

    def resume(self) -> None:
        """
        Make the thread ask for the next moment again; start a thread if there is a moment and no thread.
        """
        if self._wake():
            return
        next_moment = self._next_moment()
        moment = None if next_moment is None else next_moment()
        if next_moment is None or moment is None or sys.is_finalizing():
            return
        try:
            timer = _Timer(self._next_moment, self._expire)
            timer.start()
        except RuntimeError as error:
            self.problem = str(error)
            return
        end: weakref.finalize[..., Expiry] = weakref.finalize(self, timer.wake)
        end.atexit = False
        self._running.append((timer, end))
        # A thread that has changed the moment meanwhile found no timer to wake. Otherwise leave the timer alone: a fork
        # in C may follow at once.
        if next_moment() != moment:
            timer.wake()

    def _wake(self) -> bool:
        """
        Make each thread ask for the next moment again; return False if no thread is running.
        """
        is_running = False
        for each in tuple(self._running):
            timer, end = each
            if timer.wake():
                is_running = True
            else:
                end.detach()
                with contextlib.suppress(ValueError):  # another thread has removed it
                    self._running.remove(each)
        return is_running

    def renew(self) -> None:
        """
        Forget the thread, in a forked child: there it does not run, and its lock may be held.
        """
        for _, end in self._running:
            end.detach()
        self._running = []


class _Timer(OwnThread):
    """
    The thread of an `Expiry`, which waits for the next moment.
    """

    def __init__(
        self,
        next_moment: weakref.WeakMethod[Callable[[], float | None]],
        expire: weakref.WeakMethod[Callable[[], None]],
    ) -> None:
        super().__init__(name="dflag-expiry", daemon=True)
        self._lock: Final = threading.RLock()
        self._woken = Once()
        self._next_moment: Final = next_moment
        self._expire: Final = expire
        self._not_before = 0.0
        self._over = False

    def wake(self) -> bool:
        """
        Ask for the next moment again; return False if the thread has already ended.
        """
        with self._lock:
            if self._over or not self.is_alive():
                return False
            self._woken.set()
            return True

    def run(self) -> None:
        while self._wait():
            expire = self._expire()
            if expire is None:
                return
            try:
                expire()
            except BaseException:
                logger.exception("cannot drop overrides at their time limit; trying again")
                self._not_before = time.monotonic() + _RETRY_SECONDS
            del expire  # or the thread would keep its object alive during the next wait

    def _wait(self) -> bool:
        """
        Wait until the next moment has come; return False if there is no next moment.
        """
        while True:
            # Under the lock: a later change of the moment either wakes this thread or finds that it has ended.
            with self._lock:
                # Renewed before next_moment is called, which may free its object; the finalizer then wakes this thread.
                woken = self._woken = Once()
                moment = self._moment()
                if moment is None:
                    if woken.is_set():
                        continue
                    self._over = True
                    return False
            seconds = max(moment, self._not_before) - time.monotonic()
            if seconds <= 0:
                return True
            woken.wait(seconds)

    def _moment(self) -> float | None:
        next_moment = self._next_moment()
        return None if next_moment is None else next_moment()
