"""
Facts from the kernel's list of mounts: which mounts never show a change, and which belong to a Secret.

The kubelet publishes a new set by renaming a link in the root of a volume. A ``subPath`` mount binds one file or
directory of the set that was current when the container started, and is never updated. Linux lists what each mount is
bound to (``man 5 proc_pid_mountinfo``, field 4); other systems do not.

The kubelet keeps the volume of a Secret in memory, as a separate ``tmpfs``, and the volume of a ConfigMap on disk.
Projected volumes, which may hold either, are in memory too.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOUNTS: Final = "/proc/self/mountinfo"

_is_in_set: Final = re.compile(r"/\.\.\d{4}_\d\d_\d\d_\d\d_\d\d_\d\d\.\d+(/|$)").search
"""Matches a path in one of the directories that the kubelet makes for each set of a volume."""

_SUB_PATH: Final = (
    "mounted by subPath, which binds what was current when the container started and is never updated: "
    "mount the whole volume instead"
)
_FILE: Final = (
    "mounted as a file, so that another one put in its place is never seen and only writing into it is: "
    "mount its directory instead"
)
_NAMED: Final = 3
"""How many files a message names at most."""


class _Mount(NamedTuple):
    """
    One mount: the type of the file system, and the path in it that is mounted.
    """

    kind: str
    root: str


def is_secret(path: str) -> bool:
    """
    Return whether the directory or file at *path* is in a volume of the form that the kubelet makes for Secrets.
    """
    mounts = _mounts()
    point = _covering(os.path.realpath(path), mounts)
    return point is not None and mounts[point].kind == "tmpfs" and os.path.islink(os.path.join(point, "..data"))


def why_not_live(path: str) -> str | None:
    """
    Return why some or all changes to the directory or file at *path* will never be seen, or None if all will be.
    """
    mounts, real = _mounts(), os.path.realpath(path)
    covering = _covering(real, mounts)
    if covering is not None and _is_in_set(mounts[covering].root):
        return f"it is {_SUB_PATH}"
    if covering == real and os.path.isfile(real):
        return f"it is {_FILE}"
    files = sorted(point for point in mounts if os.path.dirname(point) == real and os.path.isfile(point))
    if not files:
        return None
    names = ", ".join(map(os.path.basename, files[:_NAMED])) + (", ..." if len(files) > _NAMED else "")
    verb = "is" if len(files) == 1 else "are each"
    return f"{names} in it {verb} {_SUB_PATH if all(_is_in_set(mounts[file].root) for file in files) else _FILE}"


def _covering(real: str, mounts: Iterable[str]) -> str | None:
    """
    Return the innermost mount point that a path is at or below, or None if there is none.
    """
    return max((point for point in mounts if _is_within(real, point)), key=len, default=None)


def _mounts() -> dict[str, _Mount]:
    """
    Return the topmost mount at each mount point, or an empty dict if the system has no such list.
    """
    try:
        with open(_MOUNTS, "rb") as file:
            lines = file.readlines()
    except OSError:
        return {}
    mounts = {}
    for line in lines:
        fields, _, system = line.partition(b" - ")
        _, _, _, root, point, _ = fields.split(b" ", 5)
        mounts[_decode(point)] = _Mount(system.partition(b" ")[0].decode(), _decode(root))
    return mounts


def _decode(field: bytes) -> str:
    """
    Undo the kernel's octal escapes of white space and backslashes.
    """
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda escape: bytes([int(escape[1], 8)]), field))


def _is_within(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")
