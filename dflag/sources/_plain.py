"""
Plain files, one per flag: each is taken once it has been left alone for a while.

A program that writes a file in place truncates it first, so that a reader may meet it empty or half-written.
A file is therefore only read after its signature has stayed the same for the settling time; until then
its last settled value stands. Time is that of the monotonic clock: a step of the wall clock settles nothing.
"""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING, Final, TypeAlias

from dflag._raw import Unreadable
from dflag.sources._entries import RefusedEntry, is_key, read_stable, refusal, unfit

if TYPE_CHECKING:
    from collections.abc import Callable

    from dflag.typing import Raw

Found: TypeAlias = os.stat_result | Unreadable
Signature: TypeAlias = tuple[int, int, int, int, int]

REFUSED_RECHECK_SECONDS: Final = 30.0
"""How soon an entry is tried again that the system refused: the reason may leave no trace when it goes away."""

LONGEST_WAIT_SECONDS: Final = 2.0
"""How long a read may wait for what is young, and a whole set that follows another one for its youngest file."""

_LOOKS: Final = 3
"""How many looks in a row have to give as many inode numbers: a file may be replaced between two of them."""

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

    A file that goes is held for the settling time, like a text that changes: editors remove a file to write it anew.
    When the path leads to another directory its files are not mixed with those of the old one: the old set stands
    until the new one has settled as a whole.

    Args:
        settle_seconds: How long a file must have been left alone.
        only: The one file that counts, whatever its name; None for all whose names can be flags'.

    Thread safety: one thread at a time, but for `request_scan`, which any thread may call.
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
        self._directory: object = None  # which one was read last
        self._given: dict[str, Raw] = {}  # what the last read gave
        self._first = True
        self._settle_until: float | None = None  # while another directory's set is awaited
        self._absent_since: float | None = None
        self.again_at: float | None = None
        """When, by the monotonic clock, something may have settled."""

    def request_scan(self) -> None:
        """
        Let the next `generation` scan, whenever the last scan was.
        """
        self._is_scan_requested = True

    def generation(self, path: str) -> int:
        """
        Return a number that changes with the files of the directory at *path*.

        It scans so seldom that this costs a thousandth of a processor, unless one was requested.

        Raises:
            OSError: The directory cannot be listed.
        """
        now = time.monotonic()
        if self._is_scan_requested or now >= self._next_scan:
            # Cleared before the scan: a change during it requests another.
            self._is_scan_requested = False
            # The processor's time: a wall clock would count what other programs made us wait.
            began = time.thread_time()
            self._scan_changes(path)
            cost = time.thread_time() - began
            self._next_scan = now + min(_SCAN_SHARE * cost, _SCAN_MAX_SECONDS)
        return self._generation

    def signature(self, status: os.stat_result) -> Signature:
        """
        Return what changes when a file is written to or another one takes its place.
        """
        number = 0 if self._numbers_lie else status.st_ino
        return status.st_dev, number, status.st_size, status.st_mtime_ns, status.st_ctime_ns

    def read(self, directory: int, which: object = None) -> dict[str, Raw]:
        """
        Return the settled value of every file; the first time, wait for what is young.

        Args:
            directory: A descriptor.
            which: What tells this directory from others at the same path.

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
        Note that what `read` returned is complete, because the directory was still there afterwards.
        """
        self._first = False
        if values is not self._given:
            self._settle_until = None
        self._given = values

    def hold(self) -> dict[str, Raw] | None:
        """
        Return the last values while the directory may be about to come back; None once it counts as gone.
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
        Start again: what was known belongs to a directory that is gone or is no longer a plain one.
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
        Return whether something is still to settle before the moment *until*, which has not come yet.
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
        Return whether a file that is not there may be about to come back.
        """
        if file.value is None or self._first:
            return False
        now = time.monotonic()
        if file.gone_since is None:
            file.gone_since = now
        return now < file.gone_at(self._settle_seconds)

    def _judge_numbers(self, directory: int, every: dict[str, Found]) -> None:
        """
        Find out whether a file has another inode number at each look.

        If so, a number that differs while all else is the same does not mean another file.
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
        Return whether the opened file is the one that its name leads to, before and after, except for its inode number.
        """
        again = _look_at(directory, name).get(name)
        if again is None or isinstance(again, Unreadable) or self.signature(again) != self.signature(found):
            return False
        return self.signature(opened)[2:] == self.signature(found)[2:]

    def _look(self, directory: int, name: str, file: _File, found: Found) -> float | None:
        """
        Update *file* with what was found; return when to look again, or None.
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
        # The file's own times count only in a directory that was never read before, because it has no history.
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
            # Written to while it was being read: what was read may be neither the old nor the new text. Or gone since
            # it was listed: the next look tells whether it comes back.
            file.seen, file.since = after, now
            return now + self._settle_seconds
        file.value = value
        file.taken = None if isinstance(value, RefusedEntry) else after
        return now + REFUSED_RECHECK_SECONDS if isinstance(value, RefusedEntry) else None


class _File:
    """
    What is known of one file.
    """

    __slots__ = ("gone_since", "seen", "since", "taken", "value")

    def __init__(self) -> None:
        self.seen: Signature | None = None
        """The signature last met."""
        self.since = 0.0
        """Since when it has been that one."""
        self.taken: Signature | None = None
        """The signature under which `value` was read."""
        self.value: Raw | None = None
        self.gone_since: float | None = None
        """Since when it has not been there."""

    def gone_at(self, settle_seconds: float) -> float:
        """
        Return when a file that is not there counts as gone.
        """
        return (self.gone_since or 0.0) + settle_seconds


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
