"""
Plain files, one per flag. Each file is read once it has not changed for a while.

A program that writes a file in place truncates it first, so a reader may find it empty or half-written. A file is
therefore only read after its signature has stayed the same for the settling time. Until then its last settled value
stays. Time is measured by the monotonic clock, so a step of the wall clock settles nothing. The age of a file by the
wall clock counts only when a directory is read for the first time.
"""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING, Final, TypeAlias

from dflag._raw import Unreadable
from dflag.sources._entries import REFUSED_RECHECK_SECONDS, RefusedEntry, is_key, read_stable, refusal, unfit

if TYPE_CHECKING:
    from collections.abc import Callable

    from dflag.typing import Raw

Found: TypeAlias = os.stat_result | Unreadable
Signature: TypeAlias = tuple[int, int, int, int, int]

LONGEST_WAIT_SECONDS: Final = 2.0
"""How long a read may wait for files that have just changed, and how long the set of a new directory may settle."""

_LOOKS: Final = 3
"""How many looks in a row must each find another inode number. A file may be replaced between two of them."""

_CLOCK_TICK_SECONDS: Final = 0.02
"""
The shortest settling time: twice the coarsest tick of the kernel's clock, from which file times are taken.

Two writes within one tick leave the same file times. A value that is read later than that comes from the second write.
"""

_SCAN_SHARE: Final = 1000
"""How many times the processor time of a scan must pass before the next scan."""

_SCAN_MAX_SECONDS: Final = 60.0


class PlainFiles:
    """
    The known state of the files of one directory.

    A file that disappears keeps its value for the settling time, like a file that changes, because editors remove a
    file and write it again. When the path leads to another directory, the files of the two are not mixed: the old set
    stays until the new set has settled as a whole.

    Args:
        settle_seconds: How long a file must not have changed.
        only: The only file to read, whatever its name. None means all files whose names can be flags.

    Thread safety: one thread at a time, except `request_scan`, which any thread may call.
    """

    def __init__(self, settle_seconds: float, *, only: str | None = None) -> None:
        self._only = only
        self._settle_seconds = max(settle_seconds, _CLOCK_TICK_SECONDS)
        self._files: dict[str, _File] = {}
        self._scanned: dict[str, Signature | Unreadable] = {}
        self._generation = 0
        self._next_scan = 0.0
        self._is_scan_requested = True
        self._numbers_lie = False  # the inode number of a file differs at every look, as on some FUSE file systems
        self._directory: object = None  # identifies the directory that was read last
        self._given: dict[str, Raw] = {}  # the result of the last read
        self._first = True
        self._settle_until: float | None = None  # until when the set of another directory may settle
        self._absent_since: float | None = None
        self.again_at: float | None = None
        """When, by the monotonic clock, a file may have settled or should be tried again; None for never."""

    def request_scan(self) -> None:
        """
        Make the next `generation` scan, however recent the last scan was.
        """
        self._is_scan_requested = True

    def generation(self, path: str) -> int:
        """
        Return a number that changes with the files of the directory at *path*.

        It scans on request, and otherwise so rarely that scans take a thousandth of a processor, but at least once a
        minute.

        Raises:
            OSError: The directory cannot be listed.
        """
        now = time.monotonic()
        if self._is_scan_requested or now >= self._next_scan:
            # Cleared before the scan, so that a change during the scan requests another one.
            self._is_scan_requested = False
            # The processor time of this thread: a wall clock would also count the waits for other programs.
            began = time.thread_time()
            self._scan_changes(path)
            cost = time.thread_time() - began
            self._next_scan = now + min(_SCAN_SHARE * cost, _SCAN_MAX_SECONDS)
        return self._generation

    def signature(self, status: os.stat_result) -> Signature:
        """
        Return a tuple that changes when a file is written to or replaced by another one.
        """
        number = 0 if self._numbers_lie else status.st_ino
        return status.st_dev, number, status.st_size, status.st_mtime_ns, status.st_ctime_ns

    def read(self, directory: int, which: object = None) -> dict[str, Raw]:
        """
        Return the settled value of every file. The first read waits for files that have just changed.

        Args:
            directory: The descriptor of the directory.
            which: A value that distinguishes this directory from others at the same path.

        Raises:
            OSError: The directory cannot be listed, or there are no descriptors or no memory left.
        """
        self._absent_since = None
        if not self._first and which != self._directory:
            self._settle_until = time.monotonic() + LONGEST_WAIT_SECONDS
        self._directory = which
        self._sweep(directory)
        if self._first:
            self._await_young(directory)
        elif self._settle_until is not None:
            if self._is_unsettled(self._settle_until):
                return self._given
            self._give_up_on_young()
        return {name: file.value for name, file in self._files.items() if file.value is not None}

    def accept(self, values: dict[str, Raw]) -> None:
        """
        Note that the result of `read` is complete, because the directory was still there afterwards.
        """
        self._first = False
        if values is not self._given:
            self._settle_until = None
        self._given = values

    def hold(self) -> dict[str, Raw] | None:
        """
        Return the last values while a missing directory may come back, or None once it counts as gone.
        """
        now = time.monotonic()
        if self._absent_since is None:
            self._absent_since = now
        self.again_at = self._absent_since + self._settle_seconds
        if self._given and now < self.again_at:
            return self._given
        self.forget()
        return None

    def forget(self) -> None:
        """
        Forget all files. They belong to a directory that is gone, or that is no longer a plain one.
        """
        self._files, self._given = {}, {}
        self._first, self._settle_until, self.again_at = True, None, None

    def _scan_changes(self, path: str) -> None:
        scanned = {
            name: found if isinstance(found, Unreadable) else self.signature(found)
            for name, found in _scan(path).items()
        }
        if scanned != self._scanned:
            self._scanned = scanned
            self._generation += 1

    def _await_young(self, directory: int) -> None:
        until = time.monotonic() + LONGEST_WAIT_SECONDS
        while self.again_at is not None and self.again_at <= until:
            time.sleep(max(self.again_at - time.monotonic(), 0.0))
            self._sweep(directory)
        self._give_up_on_young()

    def _is_unsettled(self, until: float) -> bool:
        """
        Return whether the moment *until* has not come yet and a file may settle before it.
        """
        return self.again_at is not None and self.again_at <= until and time.monotonic() < until

    def _give_up_on_young(self) -> None:
        for file in self._files.values():
            if file.taken != file.seen and not isinstance(file.value, Unreadable):
                file.value = Unreadable("still being written")

    def _sweep(self, directory: int) -> None:
        files = {}
        times = []
        every = _scan(directory) if self._only is None else _look_at(directory, self._only)
        self._judge_numbers(directory, every)
        for name, found in every.items():
            file = files[name] = self._files.get(name) or _File()
            file.gone_since = None
            again_at = self._look(directory, name, file, found)
            if again_at is not None:
                times.append(again_at)
        for name, file in self._files.items():
            if name not in files and self._is_held(file):
                files[name] = file
                times.append(file.gone_at(self._settle_seconds))
        self._files = files
        self.again_at = min(times, default=None)

    def _is_held(self, file: _File) -> bool:
        """
        Return whether a missing file keeps its value for now, because it may come back.
        """
        if file.value is None or self._first:
            return False
        now = time.monotonic()
        if file.gone_since is None:
            file.gone_since = now
        return now < file.gone_at(self._settle_seconds)

    def _judge_numbers(self, directory: int, every: dict[str, Found]) -> None:
        """
        Find out whether the inode number of a file differs at each look.

        If so, a different number does not mean another file when everything else is the same.
        """
        name = next((name for name, found in every.items() if not isinstance(found, Unreadable)), None)
        if name is None or self._numbers_lie:
            return
        before = every[name]
        for _ in range(_LOOKS):
            found = _look_at(directory, name).get(name)
            if isinstance(before, Unreadable) or found is None or isinstance(found, Unreadable):
                return
            if found.st_ino == before.st_ino:
                return
            before = found
        self._numbers_lie = True

    def _is_same_but_for_number(self, directory: int, name: str, found: os.stat_result, opened: os.stat_result) -> bool:
        """
        Return whether *name* still leads to the file *found*, and *opened* differs from it only in the inode number.
        """
        again = _look_at(directory, name).get(name)
        if again is None or isinstance(again, Unreadable) or self.signature(again) != self.signature(found):
            return False
        return self.signature(opened)[2:] == self.signature(found)[2:]

    def _look(self, directory: int, name: str, file: _File, found: Found) -> float | None:
        """
        Update *file* from what was found, and return when to look again, or None.
        """
        if isinstance(found, Unreadable):
            file.value, file.seen, file.taken = found, None, None
            return time.monotonic() + REFUSED_RECHECK_SECONDS if isinstance(found, RefusedEntry) else None
        signature = self.signature(found)
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
        Return since when a newly found file has been unchanged, as far as can be known.
        """
        now = time.monotonic()
        if not self._first and self._settle_until is None:
            return now
        # The file's own times count only in a directory that was never read before, because there is no history of it.
        # Times in the future prove nothing.
        age = time.time() - max(found.st_mtime, found.st_ctime)
        return now - age if age > self._settle_seconds else now

    def _take(self, directory: int, name: str, file: _File, found: os.stat_result) -> float | None:
        value, status = read_stable(directory, name, found)
        after = self.signature(status)
        if after != file.seen and self._is_same_but_for_number(directory, name, found, status):
            self._numbers_lie = True
            file.seen = after = self.signature(status)
        now = time.monotonic()
        if after != file.seen or value is None:
            # The file was written to during the read, so the result may be neither the old nor the new text. Or the
            # file has gone since it was listed, and the next look shows whether it comes back.
            file.seen, file.since = after, now
            return now + self._settle_seconds
        file.value = value
        file.taken = None if isinstance(value, RefusedEntry) else after
        return now + REFUSED_RECHECK_SECONDS if isinstance(value, RefusedEntry) else None


class _File:
    """
    The known state of one file.
    """

    __slots__ = ("gone_since", "seen", "since", "taken", "value")

    def __init__(self) -> None:
        self.seen: Signature | None = None
        """The signature that the last look found."""
        self.since = 0.0
        """Since when `seen` has been the signature."""
        self.taken: Signature | None = None
        """The signature under which `value` was read."""
        self.value: Raw | None = None
        self.gone_since: float | None = None
        """Since when the file has been missing; None while it is there."""

    def gone_at(self, settle_seconds: float) -> float:
        """
        Return when a missing file counts as gone.
        """
        return (self.gone_since or 0.0) + settle_seconds


def _scan(directory: int | str) -> dict[str, Found]:
    """
    Look at every entry that can be a flag, without opening any.
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
    Look at one entry, of any name, as `_scan` does at all entries.
    """
    what = _status(lambda: os.stat(name, dir_fd=directory))
    return {} if what is None else {name: what}


def _status(ask: Callable[[], os.stat_result]) -> Found | None:
    try:
        status = ask()
    except OSError as error:
        return refusal(error)
    return status if stat.S_ISREG(status.st_mode) else unfit(status.st_mode)
