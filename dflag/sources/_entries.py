"""
Reading the entries of a directory through its descriptor.

An entry is read as a value (bytes), as something that cannot be a value (`Unreadable`), or as None: a sub-directory,
a dangling link, or a file that has just been removed.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from typing import TYPE_CHECKING, Final

from dflag._raw import Unreadable

if TYPE_CHECKING:
    from collections.abc import Container

    from dflag.typing import Raw

MAX_BYTES: Final = 16 * 1024 * 1024
"""The largest value. A ConfigMap holds 1 MiB in all, so a file near this size is not a flag."""

REFUSED_RECHECK_SECONDS: Final = 30.0
"""How soon an entry that the system refused is tried again. The end of the refusal may leave no trace."""

_LONGEST_KEY: Final = 253
_KEY: Final = re.compile(rf"[-_a-zA-Z0-9][-._a-zA-Z0-9]{{0,{_LONGEST_KEY - 1}}}")

# Without O_NONBLOCK, opening a FIFO would wait for a writer. Without O_NOCTTY, a terminal could become the controlling
# terminal of the process. The calls of getattr are for Windows, which lacks these constants.
_READ: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOCTTY", 0)
_HEAD_BYTES: Final = 4096
"""The size of the first read. One page holds almost every value, and its buffer costs nothing."""

GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ESTALE})
"""The errors of an entry that no longer exists. Network file systems report ESTALE."""

_NOT_ITS_FAULT: Final = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
_REASONS: Final = {
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ELOOP: "a link loop",
    errno.ENXIO: "a socket or a device",
}


def is_key(name: str) -> bool:
    """
    Return whether a name can be the name of a flag: a key of a ConfigMap that does not begin with a dot.

    This keeps out leftovers of editors, such as ``rate~`` and ``#rate#``, and the kubelet's own entries.
    """
    # Most names are identifiers. That test is faster: the first reading takes 1.12 times the minimum instead of 1.15.
    return (name.isidentifier() and name.isascii() and len(name) <= _LONGEST_KEY) or _KEY.fullmatch(name) is not None


class RefusedEntry(Unreadable):
    """
    An entry that the system refused to read; a later attempt may succeed.
    """

    __slots__ = ()


def read_entries(directory: int, known: Container[str] = ()) -> tuple[dict[str, Raw] | None, bool]:
    """
    Return the values of a directory, or None if a file has gone, and whether the system refused to read any entry.

    Args:
        directory: The descriptor.
        known: Names that are known to be keys, such as those of the last set. With them, reading takes 1.17 times the
            minimum instead of 1.22.
    """
    values: dict[str, Raw] = {}
    refused = False
    with os.scandir(directory) as entries:
        for entry in entries:
            name = entry.name
            if name not in known and not is_key(name):
                continue
            # The listing includes the type of each entry, which saves a system call for each file.
            is_regular = entry.is_file(follow_symlinks=False)
            value = read_file(directory, name) if is_regular else read_other(directory, name)
            if value is None:
                if is_regular:
                    return None, False
                continue
            if type(value) is RefusedEntry:
                refused = True
            values[name] = value
    return values, refused


def read_file(directory: int, name: str) -> bytes | Unreadable | None:
    """
    Read the regular file *name*.

    Raises:
        OSError: Descriptors or memory are used up, which is not this entry's fault.
    """
    try:
        descriptor = os.open(name, _READ, dir_fd=directory)
        try:
            data = os.read(descriptor, _HEAD_BYTES)
            # A read of a regular file returns less than requested only at its end. To check the type of every file
            # would cost a fifth of a reading. If something else has taken the file's place, the read returns nothing
            # or a full buffer, and `_read_on` checks the type.
            return data if 0 < len(data) < _HEAD_BYTES else _read_on(descriptor, data)
        finally:
            os.close(descriptor)
    except OSError as error:
        return refusal(error)


def read_other(directory: int, name: str) -> bytes | Unreadable | None:
    """
    Read an entry of any type. It is opened only if it is a regular file or a link to one.

    Raises:
        OSError: Descriptors or memory are used up.
    """
    try:
        mode = os.stat(name, dir_fd=directory).st_mode
    except OSError as error:
        return refusal(error)
    return read_file(directory, name) if stat.S_ISREG(mode) else unfit(mode)


def read_stable(directory: int, name: str, status: os.stat_result) -> tuple[bytes | Unreadable | None, os.stat_result]:
    """
    Return the value of the regular file *name* and its status after the read, or *status* if the read fails.

    Raises:
        OSError: Descriptors or memory are used up.
    """
    try:
        descriptor = os.open(name, _READ, dir_fd=directory)
        try:
            data = os.read(descriptor, _HEAD_BYTES)
            value = data if len(data) < _HEAD_BYTES else _read_on(descriptor, data)
            return value, os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        return refusal(error), status


def refusal(error: OSError) -> Unreadable | None:
    """
    Return None if an error means that an entry is gone or a directory, else a `RefusedEntry`.

    Raises:
        OSError: Descriptors or memory are used up, which is not this entry's fault.
    """
    if error.errno in _NOT_ITS_FAULT:
        raise error
    if error.errno in GONE or error.errno == errno.EISDIR:
        return None
    return RefusedEntry(reason_of(error))


def reason_of(error: OSError) -> str:
    """
    Return why the system refused, as a phrase for messages.
    """
    return _REASONS.get(error.errno or 0) or (error.strerror or str(error) or "cannot be read").lower()


def unfit(mode: int) -> Unreadable | None:
    """
    Return the `Unreadable` for an entry that is not a regular file; None for a directory.
    """
    if stat.S_ISDIR(mode):
        return None
    if stat.S_ISFIFO(mode):
        return Unreadable("a FIFO")
    return Unreadable("a socket" if stat.S_ISSOCK(mode) else "a device")


def _read_on(descriptor: int, head: bytes) -> bytes | Unreadable | None:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        return unfit(status.st_mode)
    parts, size = [head], len(head)
    # The size is checked first, so that a huge file is not read in vain. The file may still grow meanwhile.
    while max(size, status.st_size) <= MAX_BYTES:
        part = os.read(descriptor, max(status.st_size - size, _HEAD_BYTES))
        if not part:
            return b"".join(parts)
        parts.append(part)
        size += len(part)
    return Unreadable(f"larger than {MAX_BYTES // 1024**2} MiB")
