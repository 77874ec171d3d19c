"""
A directory as a source: a ConfigMap or Secret volume, or plain files.

The kubelet publishes a new set by renaming the link ``..data``, and then deletes the old set entry by entry. Only one
way to read a volume is safe while the kubelet does this:

1. Open the directory that ``..data`` names, and read every key through that descriptor. All keys then come from one
   set, whatever is renamed meanwhile.
2. Check that ``..data`` still names this directory. While a directory is being deleted, it lists fewer entries without
   any error. Deletion begins only after the rename, so a link that has not moved proves that the set is complete.

Reading through the visible links (``key -> ..data/key``) would mix two sets.

A path that leads below a volume (``items`` with a path, a projected volume) is read in the same way: everything behind
a ``..data`` link on the way is a published set. If any other link on the way is swapped (as git-sync does), the files
behind it must settle, and the old set stays until all files of the new set have settled.
"""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING, Final

from dflag.errors import SourceError
from dflag.sources._entries import GONE, REFUSED_RECHECK_SECONDS, read_entries
from dflag.sources._path import ATTEMPTS, FAILED_RECHECK_SECONDS, PathSource, open_directory
from dflag.sources._plain import PlainFiles
from dflag.sources._way import DATA, follow, read_link

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dflag.sources._base import Watch
    from dflag.sources._way import Way
    from dflag.typing import Raw, Wake

_EXPECTED: Final = "expected a ConfigMap or Secret volume, or a directory with one file per flag"


class DirectorySource(PathSource):
    """
    A ConfigMap or Secret volume, or a directory of plain files. The name of a file is the name of its flag.

    Names that begin with a dot, names that no ConfigMap key can have, sub-directories and dangling links are not flags.
    A link to a regular file counts as the file. An entry that cannot be read as a value becomes an `Unreadable`.

    If there is no ``..data`` link on the path, each file is read separately, once it has not changed for
    *settle_seconds*. Until then its last settled value stays, even if the file is missing for a shorter time. The first
    read waits at most two seconds for files that have just changed. When the path leads to another directory, the old
    values stay until all new files have settled, for two seconds at most.

        >>> import dflag.testing, tempfile
        >>> with tempfile.TemporaryDirectory() as path:
        ...     _ = dflag.testing.ConfigMapVolume(path).write({"rate_limit": "60"})
        ...     dict(DirectorySource(path).read())
        {'rate_limit': b'60'}

    Args:
        path: The directory, which need not exist yet. A relative path starts at the current directory of this call.
            Links in the path are followed again at every read.
        settle_seconds: For how many seconds, 0 or more, a plain file must not have changed before it is read. A volume
            needs no such time.
        secret: Whether all values are secret. None asks Linux whether the directory is the volume of a Secret.

    Raises:
        DefinitionError: The path is empty, or the time is negative or not finite.

    Thread safety: one thread at a time.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, settle_seconds: float = 0.25, secret: bool | None = None
    ) -> None:
        super().__init__(path, settle_seconds, "directory", secret=secret)
        self._data: Final = os.path.join(self._path, DATA)
        self._prefix: Final = os.path.join(self._path, "")  # a join for each key was a tenth of initialize()
        self._plain: Final = PlainFiles(settle_seconds)
        # As found by the last read: the link that publishes the set, and the path whose status shows the set's state.
        self._published: tuple[str, str] | None = None
        self._is_plain = False
        self._keys: frozenset[str] = frozenset()  # the keys of the set that was read last

    def locate(self, key: str) -> str:
        """
        Return the path of the key's file.
        """
        return self._prefix + key

    def read(self) -> Mapping[str, Raw]:
        """
        Read one complete set.

        The first read, and the next one after `invalidate`, wait at most 2 seconds for plain files that have just
        changed.

        Raises:
            SourceError: There is no such directory (``missing=True``), or it exists and cannot be read.
        """
        return self._read_settled() if self._must_settle else self._read()

    def _read(self) -> Mapping[str, Raw]:
        try:
            return self._read_set()
        except OSError as error:
            # A missing directory is noticed when it appears. The end of any other failure might not be noticed.
            missing = error.errno == errno.ENOENT
            held = self._plain.hold() if missing else None
            if held is not None:
                self._again_at = self._plain.again_at
                return held
            self._again_at = None if missing else time.monotonic() + FAILED_RECHECK_SECONDS
            raise self._explain(error) from error
        except SourceError:
            self._again_at = time.monotonic() + FAILED_RECHECK_SECONDS
            raise

    def probe(self) -> object:
        """
        Return a token of the published set, or of the states of plain files. Never raises.

        For a volume, the token holds the target of the link and the state of the set, which take two system calls.
        """
        rechecks = self._count_rechecks()
        if self._published is None and not self._is_plain:
            self._published = self._find_published()
        if self._published is None:
            return self._probe_plain(rechecks)
        link, place = self._published
        target = None
        try:
            target = self._await_swap(link, os.readlink(link))
        except OSError as error:
            if error.errno == errno.EINVAL:
                # A real directory named ..data can be read, but only a read shows whether anything in it has changed.
                return object()
        try:
            status = os.stat(place)
        except OSError:
            return self._probe_plain(rechecks)  # something else may be in its place by now
        # A published set does not change, unless somebody deletes it, empties it or makes it unreadable.
        return target, self._identity(status), status.st_ctime_ns, rechecks

    def watch(self, wake: Wake) -> Watch:
        """
        Watch the directory, and every link on the way to it.
        """
        from dflag.sources._native import watch_path  # brings in watchdog, which only a running updater needs

        self.invalidate()  # files that changed while nobody looked may have settled long ago
        return watch_path(self._path, wake, heard=self._plain.request_scan, woken=self._expect_swap)

    def _read_set(self) -> dict[str, Raw]:
        dangling = False
        for attempt in range(ATTEMPTS):
            # The way is needed only where inode numbers prove nothing. The first attempt finds that out.
            before = _try_to_follow(self._data) if attempt or self._numbers_lie else None
            try:
                directory = open_directory(self._data)
            except FileNotFoundError:
                # The link may have been followed just before its directory was deleted. Then try again.
                dangling = os.path.islink(self._data)
                values = None if dangling else self._read_without_link()
            else:
                values = self._read_published(directory, self._data, before)
                if values is not None:
                    self._published, self._is_plain = (self._data, self._data), False
            if values is not None:
                return values
        if dangling:
            raise SourceError(
                f"cannot read {self._path}: its ..data links to nowhere, expected a link to the directory of values"
            )
        raise SourceError(
            f"cannot read {self._path}: it changed during each of {ATTEMPTS} attempts to read one complete set"
        )

    def _read_without_link(self) -> dict[str, Raw] | None:
        """
        Read a directory that has no ``..data``; return None if it was replaced meanwhile.
        """
        way = follow(self._path)
        try:
            directory = open_directory(way.end)
        except FileNotFoundError:
            return None
        link = way.data
        if link is None:
            return self._read_plain(directory, way)
        values = self._read_published(directory, self._path, way)
        if values is not None:
            self._published, self._is_plain = (link, self._path), False
        return values

    def _read_published(self, directory: int, place: str, before: Way | None) -> dict[str, Raw] | None:
        """
        Read the set behind a descriptor and close the descriptor; return None if the set was replaced meanwhile.
        """
        try:
            values, refused = read_entries(directory, self._keys)
            status = os.fstat(directory)
            if values is None or not self._is_still(status, place, before):
                return None
        except OSError as error:
            if error.errno in GONE:
                return None
            raise
        finally:
            os.close(directory)
        self._keys = frozenset(values)
        self._plain.forget()
        self._device = status.st_dev
        self._again_at = time.monotonic() + REFUSED_RECHECK_SECONDS if refused else None
        return values

    def _read_plain(self, directory: int, way: Way) -> dict[str, Raw] | None:
        """
        Read the plain files behind a descriptor and close it; return None if the directory was replaced meanwhile.
        """
        try:
            status = os.fstat(directory)
            values = self._plain.read(directory, (way, self._identity(status)))
            if not self._is_still(status, self._path, way):
                return None
        except FileNotFoundError:
            return None
        finally:
            os.close(directory)
        self._plain.accept(values)
        self._published, self._is_plain = None, True
        self._device = None
        self._again_at = self._plain.again_at
        return values

    def _find_published(self) -> tuple[str, str] | None:
        """
        Return the link that publishes the directory, and the path of the published set; None if there is no such link.
        """
        if os.path.lexists(self._data):
            return self._data, self._data
        way = _try_to_follow(self._path)
        return None if way is None or way.data is None else (way.data, self._path)

    def _probe_plain(self, rechecks: int) -> object:
        text = read_link(self._data)
        try:
            way = follow(self._path)
            return text, way, self._identity(os.stat(way.end)), self._plain.generation(way.end), rechecks
        except OSError as error:
            return text, error.errno, rechecks

    def _explain(self, error: OSError) -> SourceError:
        if error.errno == errno.ENOENT:
            return SourceError(f"cannot read {self._path}: no such directory, {_EXPECTED}", missing=True)
        if error.errno == errno.ENOTDIR:
            where = self._data if os.path.isdir(self._path) else self._path
            return SourceError(f"cannot read {where}: not a directory, {_EXPECTED}")
        return SourceError(f"cannot read {self._path}: {(error.strerror or str(error)).lower()}")


def _try_to_follow(path: str) -> Way | None:
    try:
        return follow(path)
    except OSError:
        return None
