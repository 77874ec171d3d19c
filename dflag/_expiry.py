"""
Time limits: a function that is called when the earliest of some moments comes.
"""

from __future__ import annotations

import threading
import time
import weakref
from typing import TYPE_CHECKING, Final

from dflag._faults import OwnThread
from dflag._log import logger

if TYPE_CHECKING:
    from collections.abc import Callable

_RETRY_SECONDS: Final = 1.0
"""When to call again what raised: soon enough for an override that is overdue, and no load."""


class Expiry:
    """
    Calls a method at the next moment, on one thread that lives only while there is one.

    Apart from the notifier, so that no callback can delay it. The thread keeps neither this object nor the method's
    alive; it ends when they are gone.

    Thread safety: one thread at a time, or under one lock.
    """

    def __init__(self, expire: Callable[[], None]) -> None:
        self._expire: Final = weakref.WeakMethod(expire)
        self._timer: _Timer | None = None
        self._end: weakref.finalize[..., Expiry] | None = None

    @property
    def is_waiting(self) -> bool:
        """
        Whether there may be a thread.
        """
        return self._timer is not None

    def set_next(self, moment: float | None) -> str | None:
        """
        Wait for *moment* (of `time.monotonic`) instead of the one before; None for none.

        Returns:
            Why no thread could be started, else None. The next call tries again.
        """
        if self._timer is not None and self._timer.set(moment):
            return None
        self.renew()
        if moment is None:
            return None
        timer = _Timer(moment, self._expire)
        try:
            timer.start()
        except RuntimeError as error:
            return str(error)
        self._timer = timer
        self._end = weakref.finalize(self, timer.set, None)
        self._end.atexit = False
        return None

    def renew(self) -> None:
        """
        Forget the thread, as in a forked child, where it does not run and may hold its lock.
        """
        self._timer = None
        if self._end is not None:
            self._end.detach()
            self._end = None


class _Timer(OwnThread):
    """
    The thread, and the moment it waits for.
    """

    def __init__(self, moment: float, expire: weakref.WeakMethod[Callable[[], None]]) -> None:
        super().__init__(name="dflag-expiry", daemon=True)
        self._changed: Final = threading.Condition()
        self._moment: float | None = moment
        self._expire: Final = expire
        self._over = False

    def set(self, moment: float | None) -> bool:
        """
        Wait for another moment, or end; False when the thread has ended before.
        """
        with self._changed:
            if self._over or not self.is_alive():
                return False
            self._moment = moment
            self._changed.notify_all()
            return True

    def run(self) -> None:
        while self._wait():
            expire = self._expire()
            if expire is None:
                return
            try:
                expire()
            except BaseException:
                logger.exception("overrides could not be dropped at their time; it will be tried again")
                self._postpone()
            del expire  # or it would stay alive for as long as the next wait

    def _wait(self) -> bool:
        """
        Wait until the moment has come; False when there is none.
        """
        with self._changed:
            while self._moment is not None:
                seconds = self._moment - time.monotonic()
                if seconds <= 0:
                    self._moment = None
                    return True
                self._changed.wait(min(seconds, threading.TIMEOUT_MAX))
            self._over = True
            return False

    def _postpone(self) -> None:
        with self._changed:
            if self._moment is None:
                self._moment = time.monotonic() + _RETRY_SECONDS
