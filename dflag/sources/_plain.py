"""
Plain files, one per flag: each is taken once it has been left alone for a while.

Whoever writes a file in place truncates it first, so that a reader may meet it empty or half-written.
A file is therefore only read after its signature has stayed the same for the settling time; until then
its last settled value stands. Time is that of the monotonic clock: a step of the wall clock settles nothing.
"""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING, Final, TypeAlias

from dflag.sources._entries import Refused, is_key, read_stable, refusal, unfit
from dflag.typing import Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable

    from dflag.typing import Raw

Found: TypeAlias = os.stat_result | Unreadable
Signature: TypeAlias = tuple[int, int, int, int, int]

REFUSED_RECHECK_SECONDS: Final = 30.0
"""How soon an entry is tried again that the system refused: the reason may leave no trace when it goes away."""

_FIRST_READ_SECONDS: Final = 2.0
"""How long the first read may wait for young files, for it has no older values to give."""

_CLOCK_TICK_SECONDS: Final = 0.02
"""
The least settling time: twice the coarsest tick of the kernel's clock, from which file times are taken.

Two writes within a tick leave the same times; a value read later than that is the second one's.
"""

_SCAN_SHARE: Final = 1000
"""A scan may take a thousandth of the time."""

_SCAN_MAX_SECONDS: Final = 60.0


class PlainFiles:
    """
    What is known of the files of one directory.

    Args:
        settle_seconds: How long a file must have been left alone.
        only: The one file that counts, whatever its name; None for all whose names can be flags'.

    Thread safety: one thread at a time, but for `stir`, which any thread may call.
    """

    def __init__(self, settle_seconds: float, *, only: str | None = None) -> None:
        self._only = only
        self._settle_seconds = max(settle_seconds, _CLOCK_TICK_SECONDS)
        self._files: dict[str, _File] = {}
        self._first = True
        self._scanned: dict[str, Signature | Unreadable] = {}
        self._generation = 0
        self._next_scan = 0.0
        self._stirred = True
        self.again_at: float | None = None
        """When, by the monotonic clock, something may have settled."""

    def stir(self) -> None:
        """
        Let the next `generation` scan, whenever the last scan was.
        """
        self._stirred = True

    def generation(self, path: str) -> int:
        """
        Give a number that changes with the files of the directory at *path*.

        It scans so seldom that this costs a thousandth of a processor, unless stirred.

        Raises:
            OSError: The directory cannot be listed.
        """
        now = time.monotonic()
        if self._stirred or now >= self._next_scan:
            # Cleared before the scan: a change during it stirs again.
            self._stirred = False
            # The processor's time: a wall clock would count what other programs made us wait.
            began = time.thread_time()
            self._scan_changes(path)
            cost = time.thread_time() - began
            self._next_scan = now + min(_SCAN_SHARE * cost, _SCAN_MAX_SECONDS)
        return self._generation

    def _scan_changes(self, path: str) -> None:
        scanned = {
            name: found if isinstance(found, Unreadable) else signature_of(found) for name, found in _scan(path).items()
        }
        if scanned != self._scanned:
            self._scanned = scanned
            self._generation += 1

    def read(self, directory: int) -> dict[str, Raw]:
        """
        Give the settled value of every file; the first time, wait for what is young.

        Raises:
            OSError: The directory cannot be listed, or descriptors or memory are wanting.
        """
        self._sweep(directory)
        if self._first:
            self._await_young(directory)
            self._first = False
        return {name: file.value for name, file in self._files.items() if file.value is not None}

    def _await_young(self, directory: int) -> None:
        deadline = time.monotonic() + _FIRST_READ_SECONDS
        while self.again_at is not None and self.again_at <= deadline:
            time.sleep(max(self.again_at - time.monotonic(), 0.0))
            self._sweep(directory)
        for file in self._files.values():
            if file.value is None:
                file.value = Unreadable("still being written")

    def _sweep(self, directory: int) -> None:
        files = {}
        times = []
        every = _scan(directory) if self._only is None else _look_at(directory, self._only)
        for name, found in every.items():
            file = files[name] = self._files.get(name) or _File()
            again_at = self._look(directory, name, file, found)
            if again_at is not None:
                times.append(again_at)
        self._files = files
        self.again_at = min(times, default=None)

    def _look(self, directory: int, name: str, file: _File, found: Found) -> float | None:
        """
        Bring *file* up to what was found; give when to look again, if ever.
        """
        if isinstance(found, Unreadable):
            file.value, file.seen, file.taken = found, None, None
            return time.monotonic() + REFUSED_RECHECK_SECONDS if isinstance(found, Refused) else None
        signature = signature_of(found)
        if signature != file.seen:
            file.seen, file.since = signature, self._since(found)
        if signature == file.taken:
            return None
        settled_at = file.since + self._settle_seconds
        if time.monotonic() < settled_at:
            return settled_at
        return self._take(directory, name, file, found)

    def _since(self, found: os.stat_result) -> float:
        """
        Say since when a file just met has been as it is, as far as can be known.
        """
        now = time.monotonic()
        if not self._first:
            return now
        # Only the first read, which has no history, has to believe the file's own times.
        # Those in the future tell nothing.
        age = time.time() - max(found.st_mtime, found.st_ctime)
        return now - age if age > self._settle_seconds else now

    def _take(self, directory: int, name: str, file: _File, found: os.stat_result) -> float | None:
        value, status = read_stable(directory, name, found)
        after = signature_of(status)
        now = time.monotonic()
        if after != file.seen:
            # Written to while it was being read: what was read may be neither the old nor the new text.
            file.seen, file.since = after, now
            return now + self._settle_seconds
        file.value = value
        file.taken = None if isinstance(value, Refused) else after
        return now + REFUSED_RECHECK_SECONDS if isinstance(value, Refused) else None


class _File:
    """
    What is known of one file.
    """

    __slots__ = ("seen", "since", "taken", "value")

    def __init__(self) -> None:
        self.seen: Signature | None = None
        """The signature last met."""
        self.since = 0.0
        """Since when it has been that one."""
        self.taken: Signature | None = None
        """The signature under which `value` was read."""
        self.value: Raw | None = None


def _scan(directory: int | str) -> dict[str, Found]:
    """
    Look at every entry without opening any.
    """
    found: dict[str, Found] = {}
    with os.scandir(directory) as entries:
        for entry in entries:
            if not is_key(entry.name):
                continue
            what = _status(entry.stat)
            if what is not None:
                found[entry.name] = what
    return found


def _look_at(directory: int, name: str) -> dict[str, Found]:
    """
    Look at one entry as `_scan` does at all.
    """
    what = _status(lambda: os.stat(name, dir_fd=directory))
    return {} if what is None else {name: what}


def _status(ask: Callable[[], os.stat_result]) -> Found | None:
    try:
        status = ask()
    except OSError as error:
        return refusal(error)
    return status if stat.S_ISREG(status.st_mode) else unfit(status.st_mode)


def signature_of(status: os.stat_result) -> Signature:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
