"""
File descriptors in a program that may close them at any time.

A program that becomes a daemon closes every descriptor from 3 on, and the system gives their numbers to the next files
that are opened. So a number alone does not prove that a descriptor is still the one that dflag opened: reading, writing
or closing it could affect a file of the program.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import selectors
import signal

# Bound at import: tests of a program may replace os.fstat to fake a file system, which has no real descriptors.
from os import fstat as _fstat
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    import socket

Identity: TypeAlias = tuple[int, ...]
"""Device and inode of the file that a descriptor refers to, and the mark of a marked descriptor."""

_serials: Final = itertools.count()
_latest: Final[dict[int, int]] = {}
"""The serial number of the newest `Descriptor` for each number; no older one can still be open."""


class Descriptor:
    """
    A descriptor that was just opened, which can check whether its number still refers to the same open file.

    Args:
        number: The descriptor.
        marked: Whether to put a mark on it. All files without an inode of their own, such as inotify instances, share
            one inode, so device and inode do not distinguish them.

    Thread safety: any thread, lock-free. Another thread could still close the descriptor between the check and the use
    of the number.
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
        Return whether the number still refers to the file that was opened.
        """
        found = self._look() if _latest[self.number] == self._serial else None
        return found is not None and found == self._identity

    def close(self) -> None:
        """
        Close the descriptor unless it is already closed. Idempotent.
        """
        if self.is_open():
            _latest[self.number] = -1
            with contextlib.suppress(OSError):
                os.close(self.number)

    def close_socket(self, of: socket.socket) -> None:
        """
        Close the socket object with this descriptor; only detach it if the number does not refer to its file any more.
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
    Return the identity of the file that a descriptor refers to; None if the descriptor is closed.
    """
    if os.name == "nt":
        return ()  # on Windows a socket is not a descriptor that fstat accepts
    try:
        status = _fstat(number)
    except OSError:
        return None
    return (status.st_dev, status.st_ino, _mark_of(number)) if marked else (status.st_dev, status.st_ino)


def new_selector() -> selectors.BaseSelector:
    """
    Make a selector that needs no descriptor of its own.

    epoll and kqueue use a descriptor of their own. The program may close it and reuse its number; then registrations
    are lost, or end up in a selector of the program. For a few descriptors poll is not slower.

    ``selectors.DefaultSelector`` is looked up on each call, because gevent and eventlet replace it.
    """
    default = selectors.DefaultSelector
    return selectors.PollSelector() if hasattr(default, "fileno") else default()


def _mark(number: int) -> bool:
    """
    Mark an open file if the system can. The mark is the signal that the file would send if O_ASYNC were set.
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
