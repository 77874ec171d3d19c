"""
The lock of those who write to one volume.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from dflag._descriptors import identity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DIRECTORY_MODE: Final = 0o755

_ATTEMPTS: Final = 10
"""How often to lock a directory anew that seems another one by then: some file systems change the numbers of inodes."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """
    Hold the lock of a directory, which is made when it is not there, and removed again when nothing was put into it.

    The lock is on the directory itself and leaves no file behind; the system drops it when the process ends.
    Systems and file systems without such locks do without it.

    Raises:
        ValueError: The directory is a link: nothing outside of it is made or locked.

    Thread safety: any thread; it is not reentrant.
    """
    refuse_link(path)
    made: list[Path] = []
    for left in reversed(range(_ATTEMPTS)):
        made += make_directory(path)
        with _flock(path) as is_held:
            if is_held or not left:
                try:
                    yield
                finally:
                    _remove_empty(made)
                return


def refuse_link(path: Path) -> None:
    """
    Raise `ValueError` for a directory that is a link.
    """
    if path.is_symlink():
        raise ValueError(f"{path}: expected a directory, found a link; name the directory that it leads to")


def make_directory(path: Path) -> list[Path]:
    """
    Make a directory and its parents with the kubelet's mode, which mkdir alone leaves to the umask; return those made.
    """
    if path.is_dir():
        return []
    made = make_directory(path.parent)
    try:
        path.mkdir()
    except FileExistsError:
        if not path.is_dir():
            raise
        return made  # by another writer
    path.chmod(DIRECTORY_MODE)
    return [*made, path]


def _remove_empty(directories: list[Path]) -> None:
    for directory in reversed(directories):
        with suppress(OSError):  # it is not empty: something was published
            directory.rmdir()


@contextmanager
def _flock(path: Path) -> Iterator[bool]:
    """
    Lock a directory, and give whether the path still leads to it: another writer may have removed what it has made.
    """
    try:
        import fcntl

        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except (ImportError, PermissionError):  # Windows; a directory that may be written to but not listed
        yield True
        return
    except FileNotFoundError:
        yield False
        return
    try:
        with suppress(OSError):  # NFS has no locks of directories
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield _is_at(path, descriptor)
    finally:
        with suppress(OSError):  # explicitly: a process that was forked meanwhile may have the descriptor too
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return False
    return identity(descriptor) == (status.st_dev, status.st_ino)
