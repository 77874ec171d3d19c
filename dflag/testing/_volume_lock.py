"""
The lock that the writers of one volume share.
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
"""How often to try the lock again if the directory seems replaced: some file systems change inode numbers."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """
    Hold the lock of a directory. A missing directory is made, and removed again if it is empty at the end.

    The lock is on the directory itself and leaves no file behind; the system drops it when the process ends.
    Where the system or the file system has no such lock, the block runs without one.

    Raises:
        ValueError: The directory is a link. Its target is neither made nor locked.

    Thread safety: any thread; the lock is not reentrant.
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
    Raise `ValueError` if the directory is a link.
    """
    if path.is_symlink():
        raise ValueError(f"{path}: expected a directory, found a link; name the directory that it leads to")


def make_directory(path: Path) -> list[Path]:
    """
    Make a directory and its parents; return the new ones. `chmod` sets the kubelet's mode, as mkdir applies the umask.
    """
    if path.is_dir():
        return []
    made = make_directory(path.parent)
    try:
        path.mkdir()
    except FileExistsError:
        if not path.is_dir():
            raise
        return made  # another writer has made the directory
    path.chmod(DIRECTORY_MODE)
    return [*made, path]


def _remove_empty(directories: list[Path]) -> None:
    for directory in reversed(directories):
        with suppress(OSError):  # not empty: something was published
            directory.rmdir()


@contextmanager
def _flock(path: Path) -> Iterator[bool]:
    """
    Lock a directory, and yield whether the path still leads to it: another writer may have removed it as empty.
    """
    try:
        import fcntl

        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except (ImportError, PermissionError):  # Windows; a directory that the process may write to but not list
        yield True
        return
    except FileNotFoundError:
        yield False
        return
    try:
        with suppress(OSError):  # NFS cannot lock directories
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield _is_at(path, descriptor)
    finally:
        with suppress(OSError):  # explicit unlock: a process forked meanwhile may hold the same descriptor
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return False
    return identity(descriptor) == (status.st_dev, status.st_ino)
