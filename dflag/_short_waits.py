"""
Short waits for the interpreter lock, during the few system calls between a change and its values.

A system call releases the lock, and a thread that computes then keeps it for the switch interval, 5 ms. A reading makes
a dozen calls or more. Next to such a thread a change took 7 to 70 ms at the median and up to 380 ms at p99, and up to a
tenth of the changes were overtaken by the next one. With short waits it takes 7 ms at the median and 14 ms at p99. Most
of that is one wait of the usual length, before the first call (``tests/benchmarks/swaps.py``).
"""

from __future__ import annotations

import sys
import threading

# Bound at import: if gevent or eventlet have replaced it by then, they have also replaced the locks held meanwhile.
from time import sleep as _sleep
from typing import Final

from dflag._fork import follow_forks

_SHORT_SECONDS: Final = 2e-4
"""
Well above the cost of a switch, so that the other threads lose little. Also longer than the time from the last call to
the new values. Otherwise a thread that began to wait for the interpreter during that call would get it just before the
values, for the usual length. With half this interval a change took 12 ms instead of 7.
"""


_ROUNDING_SECONDS: Final = 1e-7
"""Added to an interval before it is set. Python cuts it to whole microseconds: otherwise 199 would become 198."""


class _ShortWaits:
    """
    A block in which every thread of the process gets the interpreter lock sooner.

    The switch interval belongs to the whole process. The block restores it at its end, unless the program has set
    another interval meanwhile.

    Thread safety: any thread; blocks may overlap and nest.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._blocks = 0
        self._usual = self._short = 0.0
        follow_forks(self)

    def __enter__(self) -> None:
        with self._lock:
            self._blocks += 1  # first: a signal handler that enters a block in the middle of this changes nothing
            if self._blocks == 1:
                self._usual = sys.getswitchinterval()
                sys.setswitchinterval(min(self._usual, _SHORT_SECONDS) + _ROUNDING_SECONDS)
                self._short = sys.getswitchinterval()  # as cut to microseconds

    def __exit__(self, *_: object) -> None:
        with self._lock:
            # Before the count is changed: otherwise a signal handler would take the short interval for the usual one.
            if self._blocks == 1:
                self._restore()
            self._blocks = max(self._blocks - 1, 0)  # 0 in a child that was forked inside

    def before_fork(self) -> None:
        self._lock.acquire()
        if self._blocks:
            self._restore()  # for the child, in which the thread inside the block may not exist

    def after_fork_in_parent(self) -> None:
        if self._blocks and sys.getswitchinterval() == self._usual:
            sys.setswitchinterval(self._short + _ROUNDING_SECONDS)
        self._lock.release()

    def is_active(self) -> bool:
        return False

    def after_fork_in_child(self) -> None:
        self._lock = threading.RLock()
        if self._blocks:
            self._blocks = 0
            self._restore()  # needed if C code has forked, which does not call `before_fork`

    def _restore(self) -> None:
        if sys.getswitchinterval() == self._short:
            sys.setswitchinterval(self._usual + _ROUNDING_SECONDS)


short_waits: Final = _ShortWaits()
"""Use ``with short_waits:`` around system calls on which the readers of new values wait."""


def yield_interpreter() -> None:
    """
    Let another thread run that waits for the interpreter.
    """
    # Not 0: with 0 some versions of Python continue before another thread can have begun.
    _sleep(1e-6)
