"""
Descriptors in a process that may close them without asking.

A program that becomes a daemon closes every descriptor from 3 on, and the system gives their numbers to the next files
that are opened. So a number alone does not prove that a descriptor is still ours: reading, writing or closing it then
would hit a file of the program.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import selectors
import signal

# Bound now: what the tests of a program put in the place of os.fstat, to fake a file system, is not for descriptors.
from os import fstat as _fstat
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    import socket

Identity: TypeAlias = tuple[int, ...]
"""Device and inode of what a descriptor is open on, and for some the mark that was put on it."""

_serials: Final = itertools.count()
_latest: Final[dict[int, int]] = {}
"""The serial number of the newest `Descriptor` of each number: it alone can still be open."""


class Descriptor:
    """
    A descriptor that was just opened, which can tell whether its number still means the same open file.

    Args:
        number: The descriptor.
        marked: Whether to put a mark on it. Inotify instances, like all files without an inode of their own, share one,
            so that one cannot be told from another by device and inode.

    Thread safety: any thread, lock-free. Another thread that closes descriptors between a question and the use of the
    number cannot be excluded.
    """

    __slots__ = ("_identity", "_marked", "_serial", "number")

    def __init__(self, number: int, *, marked: bool = False) -> None:
        self.number: Final = number
        self._marked: Final = marked and _mark(number)
        self._identity: Final = self._look()
        self._serial: Final = next(_serials)
        _latest[number] = self._serial

    def is_open(self) -> bool:
        """
        Return whether the number still stands for what was opened.
        """
        found = self._look() if _latest[self.number] == self._serial else None
        return found is not None and found == self._identity

    def close(self) -> None:
        """
        Close it, unless that was done already. Idempotent.
        """
        if self.is_open():
            _latest[self.number] = -1
            with contextlib.suppress(OSError):
                os.close(self.number)

    def close_socket(self, of: socket.socket) -> None:
        """
        Close the socket object that it belongs to; one whose number belongs to another file now only forgets it.
        """
        if self.is_open():
            _latest[self.number] = -1
            of.close()
        else:
            of.detach()

    def _look(self) -> Identity | None:
        return identity(self.number, marked=self._marked)


def identity(number: int, *, marked: bool = False) -> Identity | None:
    """
    Return what a descriptor is open on, None when it is closed.
    """
    if os.name == "nt":
        return ()  # a socket there is no descriptor that could be asked
    try:
        status = _fstat(number)
    except OSError:
        return None
    return (status.st_dev, status.st_ino, _mark_of(number)) if marked else (status.st_dev, status.st_ino)


def new_selector() -> selectors.BaseSelector:
    """
    Make a selector that needs no descriptor of its own.

    epoll and kqueue are descriptors themselves, which the program may close and whose number it may use again: what is
    registered then is lost, or lands in a selector of the program. Of few descriptors none is slower.

    ``selectors.DefaultSelector`` is looked up at each use, because gevent and eventlet replace it.
    """
    default = selectors.DefaultSelector
    return selectors.PollSelector() if hasattr(default, "fileno") else default()


def _mark(number: int) -> bool:
    """
    Mark an open file, where the system can: with the signal that it would send if it were asked to send any.
    """
    try:
        import fcntl

        fcntl.fcntl(number, fcntl.F_SETSIG, signal.SIGURG)
    except (ImportError, AttributeError, OSError):
        return False
    return True


def _mark_of(number: int) -> int:
    import fcntl

    try:
        return fcntl.fcntl(number, fcntl.F_GETSIG)
    except OSError:
        return -1
