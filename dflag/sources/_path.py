"""
The base class of the sources that follow a path.
"""

from __future__ import annotations

import math
import os
import time
from abc import abstractmethod
from typing import TYPE_CHECKING, Final

from dflag.errors import DefinitionError, check_argument, checked_text
from dflag.sources._base import Source
from dflag.sources._mounts import is_secret, why_not_live
from dflag.sources._plain import LONGEST_WAIT_SECONDS
from dflag.sources._way import follow, read_link

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dflag.sources._way import Way
    from dflag.typing import Raw

FAILED_RECHECK_SECONDS: Final = 1.0
"""How soon a path that exists but could not be read is tried again."""

ATTEMPTS: Final = 20
"""How many times a read is tried when writers interrupt it. At 7700 writes per second, three repetitions were seen."""

_AWAKE_SECONDS: Final = 5e-4
"""
How long to stay awake after an event, for the swap that the event may announce. The kubelet makes the directory, the
files and the link, and then renames the link. A thread that has just run applies the values in half of the time.
"""

_LOOKS: Final = 3
"""How many looks show whether inode numbers can be trusted."""

# Not O_PATH, whose descriptors cannot be listed. The calls of getattr are for Windows, which lacks these constants.
_OPEN_DIRECTORY: Final = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)


class PathSource(Source):
    """
    A source whose name is a path, and which knows when a file or a failed read must be tried again.
    """

    def __init__(self, path: str | os.PathLike[str], settle_seconds: float, what: str, *, secret: bool | None) -> None:
        check_argument("path", path, (str, os.PathLike), "a path", subject=f"{what} source: ")
        name = checked_text("path", os.fspath(path), "a path of text", subject=f"{what} source: ")
        if not name or "\0" in name:
            raise DefinitionError(f"{what} source: expected a path, got {name!r}")
        check_argument("settle_seconds", settle_seconds, (int, float), "a number of seconds", subject=f"{name}: ")
        if secret is not None:
            check_argument("secret", secret, bool, "True, False or None", subject=f"{name}: ")
        if not 0 <= settle_seconds < math.inf:
            raise DefinitionError(f"{name}: expected settle_seconds of 0 or more, got {settle_seconds!r}")
        self._name = name
        # Not abspath: it would remove "link/..", which leads to another directory when the link is followed.
        self._path = name if os.path.isabs(name) else os.path.join(os.getcwd(), name)
        self._declared_secret: Final = secret
        self._device: int | None = None  # the device of what was read last, if the read found it out
        self._known: tuple[int, bool] | None = None  # a device, and whether it is that of a Secret's volume
        self._again_at: float | None = None
        self._rechecks = 0
        self._numbers_lie = False  # inode numbers differ at every look, as on some FUSE file systems
        self._must_settle = False  # whether the next read waits for files to settle
        self._target: str | None = None  # the target of the link that publishes, as of the last probe
        self._awake_until = 0.0  # until when a swap of that link is expected

    @property
    def name(self) -> str:
        """The path as it was given."""
        return self._name

    @property
    def secret(self) -> bool:
        """Whether all values are secret: as given, or else whether the path is in a volume like that of a Secret."""
        if self._declared_secret is not None:
            return self._declared_secret
        device = self._device
        if device is None:
            try:
                device = os.stat(self._path).st_dev
            except OSError:
                return self._known is not None and self._known[1]
        if self._known is None or self._known[0] != device:
            self._known = device, is_secret(self._path)
        return self._known[1]

    @abstractmethod
    def _read(self) -> Mapping[str, Raw]:
        """
        Read one complete set. A file that has just changed keeps its last value, except at the first read.
        """

    def _read_settled(self) -> Mapping[str, Raw]:
        """
        Read one complete set; wait at most 2 seconds for files that have just changed.
        """
        self._must_settle = False
        until = time.monotonic() + LONGEST_WAIT_SECONDS
        values = self._read()
        while self._again_at is not None and self._again_at <= until:
            time.sleep(max(self._again_at - time.monotonic(), 0.0))
            values = self._read()
        return values

    def invalidate(self) -> None:
        """
        Make the next `read` wait for files that have just changed, because nobody might look again.
        """
        self._must_settle = True

    def recheck_seconds(self) -> float | None:
        """
        Return in how many seconds a file may have settled, or a failed read may be tried again.
        """
        again_at = self._again_at  # once, because another thread may be reading
        return None if again_at is None else max(again_at - time.monotonic(), 0.0)

    def why_not_live(self) -> str | None:
        """
        Report ``subPath`` mounts and files that are mounts of their own.
        """
        return why_not_live(self._path)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r})"

    def _count_rechecks(self) -> int:
        """
        Return how many rechecks were due so far. As a part of the token, the number makes a due recheck a new token.
        """
        if self._again_at is not None and time.monotonic() >= self._again_at:
            self._rechecks += 1
        return self._rechecks

    def _expect_swap(self) -> None:
        """
        Make the next probe wait a moment for a swap, because all other work before a read is done by then.
        """
        self._awake_until = time.monotonic() + _AWAKE_SECONDS

    def _await_swap(self, link: str, target: str | None) -> str | None:
        """
        Wait while a swap of *link* is expected, and return its target: the new one, or *target* if no swap comes.
        """
        while target is not None and target == self._target and time.monotonic() < self._awake_until:
            target = read_link(link)
        self._awake_until, self._target = 0.0, target
        return target

    def _is_still(self, opened: os.stat_result, place: str, before: Way | None) -> bool:
        """
        Return whether *place* still leads to the directory that was opened. Then what was read from it is complete.

        A writer puts the new directory in place before it deletes the old one. So this notices an incomplete listing.

        Args:
            opened: The status of the directory, which is still open, so that its inode number is not used again.
            place: The path that was opened.
            before: The way of *place* before it was opened, if it is known. On file systems whose inode numbers prove
                nothing, it proves that no link on the way has changed.

        Raises:
            OSError: *place* leads nowhere now.
        """
        if before is None:
            return is_same(opened, os.stat(place))
        if follow(place) != before:
            return False
        if is_same(opened, os.stat(before.end)):
            return True
        self._numbers_lie = self._numbers_lie or numbers_lie(before.end)
        return self._numbers_lie

    def _identity(self, status: os.stat_result) -> tuple[int, ...]:
        """
        Return what distinguishes a directory from a later one at the same path.
        """
        return (status.st_dev,) if self._numbers_lie else (status.st_dev, status.st_ino)


def is_same(one: os.stat_result, other: os.stat_result) -> bool:
    # A file system without inode numbers reports 0.
    return one.st_ino == other.st_ino != 0 and one.st_dev == other.st_dev


def numbers_lie(place: str) -> bool:
    """
    Return whether the inode number of a directory differs at each look, so that inode numbers prove nothing.

    It takes three looks, because the directory itself may be replaced between two of them.
    """
    by_path, by_descriptor = set(), set()
    for _ in range(_LOOKS):
        directory = open_directory(place)
        try:
            by_path.add(os.stat(place).st_ino)
            by_descriptor.add(os.fstat(directory).st_ino)
        finally:
            os.close(directory)
    return _LOOKS in (len(by_path), len(by_descriptor))


def open_directory(path: str) -> int:
    """
    Open a directory, and return a descriptor through which its entries can be read.
    """
    return os.open(path, _OPEN_DIRECTORY)
