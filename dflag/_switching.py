"""
Short waits for the interpreter lock, for the few system calls between a change and its values.

A system call gives the lock away, and a thread that computes keeps it for the switch interval, 5 ms. A reading is a
dozen of calls and more: beside such a thread a change took 7 to 70 ms at the median and up to 380 at p99, and up to a
tenth of them were overtaken by the next. It takes 7 and 14 ms so, most of it one wait of the usual length, before the
first call (``tests/benchmarks/swaps.py``).
"""

from __future__ import annotations

import sys
import threading

# Bound now: where gevent or eventlet have replaced it, they have replaced the locks that are held meanwhile too.
from time import sleep as _sleep
from typing import Final

from dflag._fork import follow_forks

_SHORT_SECONDS: Final = 2e-4
"""
Well above what a switch costs, so that the other threads lose little. And longer than the way from the last call to the
values: a thread that began to wait for the interpreter during that call would else take it just before them, for the
usual length (12 ms instead of 7 with half as much).
"""


_ROUNDING_SECONDS: Final = 1e-7
"""Added to what is set, which is cut down to whole microseconds: without it, 199 read and set again would be 198."""


class _ShortWaits:
    """
    A block within which every thread of the process gets the interpreter lock sooner.

    The interval is the whole process's. It is put back as it was found, unless somebody has set another meanwhile.

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
                self._short = sys.getswitchinterval()  # it is kept in microseconds

    def __exit__(self, *_: object) -> None:
        with self._lock:
            # Before the count: else a signal handler would take the short interval for the usual one.
            if self._blocks == 1:
                self._restore()
            self._blocks = max(self._blocks - 1, 0)  # 0 in a child that was forked inside

    def before_fork(self) -> None:
        self._lock.acquire()
        if self._blocks:
            self._restore()  # for the child, where the thread that is within may not live on

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
            self._restore()  # where C code has forked

    def _restore(self) -> None:
        if sys.getswitchinterval() == self._short:
            sys.setswitchinterval(self._usual + _ROUNDING_SECONDS)


short_waits: Final = _ShortWaits()
"""``with short_waits:`` goes around system calls that a reader of values waits for."""


def yield_interpreter() -> None:
    """
    Let a thread that waits for the interpreter run.
    """
    # Not 0, for which some versions of Python go on before anybody else can have begun.
    _sleep(1e-6)
