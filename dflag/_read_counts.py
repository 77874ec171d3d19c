"""
Counting which flags a running program reads, for a limited time.

A counter in ``get()`` would make every read slower for ever. So the code of ``get()`` and ``for_()`` is replaced by
code that counts, and restored when the time is over.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dflag._faults import OwnThread
from dflag._flags import exchange_reads
from dflag._fork import follow_forks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dflag._flags import Flag


class ReadCounts(NamedTuple):
    """
    The number of reads of each flag while they were counted.

    Attributes:
        started_at: When counting began, in seconds since the epoch.
        seconds_left: For how many seconds counting goes on; 0 once it is over.
        reads: How often each flag was read. Simultaneous reads in several threads may count as one.
    """

    started_at: float
    seconds_left: float
    reads: Mapping[Flag[Any], int]


class _Counting:
    """
    Counts the reads of all flags of the process, during limited periods.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._reads: dict[Flag[Any], int] = {}
        self._started_at = 0.0
        self._ends_at = 0.0
        self._is_on = False
        self._follows = False

    def start(self, seconds: float) -> None:
        with self._lock:
            if self._is_on:
                return
            self._reads = {}
            thread = OwnThread(target=self._end_after, args=(seconds, self._over), name="dflag-reads", daemon=True)
            thread.start()  # first: without this thread nothing would end the counting
            if not self._follows:
                follow_forks(self)
                self._follows = True
            self._started_at, self._ends_at = time.time(), time.monotonic() + seconds
            self._is_on = True
            exchange_reads(self._reads)

    def counts(self, flags: Iterable[Flag[Any]]) -> ReadCounts | None:
        with self._lock:
            if not self._started_at:
                return None
            left = max(0.0, self._ends_at - time.monotonic()) if self._is_on else 0.0
            reads = self._reads
            return ReadCounts(self._started_at, left, {flag: reads.get(flag, 0) for flag in flags})

    def stop(self) -> None:
        with self._lock:
            self._end()

    def _end_after(self, seconds: float, over: threading.Event) -> None:
        if not over.wait(seconds):
            with self._lock:
                if over is self._over:
                    self._end()

    def _end(self) -> None:
        if self._is_on:
            self._is_on = False
            exchange_reads(None)
            self._over.set()
            self._over = threading.Event()

    # --- forking

    def before_fork(self) -> None:
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        self._lock.release()

    def is_active(self) -> bool:
        return self._is_on

    def after_fork_in_child(self) -> None:
        self._lock, self._over = threading.Lock(), threading.Event()
        if self._is_on:  # the thread that would end the counting exists only in the parent
            self._is_on = False
            exchange_reads(None)


_counting: Final = _Counting()


def count_reads(seconds: float) -> None:
    """
    Count the reads of all flags of the process from now on; do nothing if they are counted already.

    Args:
        seconds: For how many seconds to count, above 0.

    Thread safety: any thread. A forked child begins without counting.
    """
    _counting.start(seconds)


def read_counts(flags: Iterable[Flag[Any]]) -> ReadCounts | None:
    """
    Return the latest counts for *flags*; None if reads were never counted.

    Thread safety: any thread.
    """
    return _counting.counts(flags)


def stop_counting() -> None:
    """
    End the counting now. Idempotent.

    Thread safety: any thread.
    """
    _counting.stop()
