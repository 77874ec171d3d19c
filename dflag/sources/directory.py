"""
A directory as a source: a ConfigMap or Secret volume, or plain files.

A volume is read by the one way that is safe beside the kubelet, which publishes a new set by renaming the link
``..data`` and then deletes the old set entry by entry:

1. open the directory that ``..data`` names, and read every key through that descriptor: whatever is renamed
   meanwhile, all keys come from one set;
2. look whether ``..data`` still names it. A directory under deletion lists fewer entries without any error, and
   deletion begins only after the rename, so a link that has not moved proves the set complete.

Reading through the visible links (``key -> ..data/key``) would mix two sets.
"""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING, Final

from dflag.errors import SourceError
from dflag.sources._entries import GONE, Refused, is_key, read_file, read_other
from dflag.sources._path import ATTEMPTS, FAILED_RECHECK_SECONDS, PathSource, open_directory
from dflag.sources._plain import REFUSED_RECHECK_SECONDS, PlainFiles

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dflag.sources._base import Watch
    from dflag.typing import Raw, Wake

_EXPECTED: Final = "expected a ConfigMap or Secret volume, or a directory with one file per flag"


class DirectorySource(PathSource):
    """
    A ConfigMap or Secret volume, or a directory of plain files: the file's name is the flag's.

    Names that begin with a dot, names that no ConfigMap key can have, sub-directories and dangling links are no flags.
    A link to a regular file counts as the file. An entry that cannot be read as a value comes as `Unreadable`.

    Where there is no ``..data``, each file is on its own: it is taken once it has been left alone for
    *settle_seconds*, and its last settled value stands until then. The first read waits for young files,
    two seconds at most.

        >>> import dflag.testing, tempfile
        >>> with tempfile.TemporaryDirectory() as path:
        ...     _ = dflag.testing.ConfigMapVolume(path).write({"rate_limit": "60"})
        ...     dict(DirectorySource(path).read())
        {'rate_limit': b'60'}

    Args:
        path: The directory; it need not exist yet. A relative one is taken from the current directory of now.
            Links in it are followed anew at every read.
        settle_seconds: How long a plain file must have been left alone; a volume needs no such time.
        secret: Whether all of it is secret; None to ask Linux whether it is the volume of a Secret.

    Raises:
        DefinitionError: The path is empty, or the time is negative or not finite.

    Thread safety: one thread at a time.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, settle_seconds: float = 0.25, secret: bool | None = None
    ) -> None:
        super().__init__(path, settle_seconds, "directory", secret=secret)
        self._data = os.path.join(self._path, "..data")
        self._prefix: Final = os.path.join(self._path, "")  # a join for each key was a tenth of initialize()
        self._plain = PlainFiles(settle_seconds)

    def locate(self, key: str) -> str:
        """
        Give the path of the key's file.
        """
        return self._prefix + key

    def read(self) -> Mapping[str, Raw]:
        """
        Read one complete set.

        Raises:
            SourceError: There is no such directory (``missing=True``), or it is there and cannot be read.
        """
        try:
            values = self._read_set()
        except OSError as error:
            # A directory that is not there shows itself when it comes; any other failure may leave no trace.
            missing = error.errno == errno.ENOENT
            self._again_at = None if missing else time.monotonic() + FAILED_RECHECK_SECONDS
            raise self._explain(error) from error
        except SourceError:
            self._again_at = time.monotonic() + FAILED_RECHECK_SECONDS
            raise
        return values

    def probe(self) -> object:
        """
        Give a token of the link, the directory's identity, and of plain files their states. Never raises.
        """
        turn = self._current_turn()
        try:
            target = os.readlink(self._data)
            status = os.stat(self._path)
        except OSError as error:
            return self._probe_unlinked(error)
        return target, status.st_dev, status.st_ino, turn

    def watch(self, wake: Wake) -> Watch:
        """
        Watch the directory, wherever its path leads at the time.
        """
        from dflag.sources._native import watch_directory  # brings watchdog, which only a running updater needs

        return watch_directory(self._path, wake, heard=self._plain.stir)

    def _read_set(self) -> dict[str, Raw]:
        dangling = False
        for _ in range(ATTEMPTS):
            try:
                directory = open_directory(self._data)
            except FileNotFoundError:
                # The link may have been followed just before its directory was deleted: then try again.
                dangling = os.path.islink(self._data)
                if not dangling:
                    return self._read_plain()
                continue
            try:
                values = self._read_volume(directory)
            finally:
                os.close(directory)
            if values is not None:
                return values
        if dangling:
            raise SourceError(
                f"cannot read {self._path}: its ..data links to nowhere, expected a link to the directory of values"
            )
        raise SourceError(
            f"cannot read {self._path}: it changed during each of {ATTEMPTS} attempts to read one complete set"
        )

    def _read_volume(self, directory: int) -> dict[str, Raw] | None:
        """
        Read the set behind the descriptor; None when it was replaced meanwhile.
        """
        values: dict[str, Raw] = {}
        refused = False
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    name = entry.name
                    if not is_key(name):
                        continue
                    # The kind comes with the listing, without a system call for each file.
                    if entry.is_file(follow_symlinks=False):
                        value = read_file(directory, name)
                        if value is None:
                            return None
                    else:
                        value = read_other(directory, name)
                        if value is None:
                            continue
                    values[name] = value
                    refused = refused or type(value) is Refused
            status = os.fstat(directory)
            if not self._is_current(status):
                return None
        except OSError as error:
            if error.errno in GONE:
                return None
            raise
        self._device = status.st_dev
        self._again_at = time.monotonic() + REFUSED_RECHECK_SECONDS if refused else None
        return values

    def _is_current(self, then: os.stat_result) -> bool:
        # The open descriptor keeps the inode from being used again.
        now = os.stat(self._data)
        return (now.st_dev, now.st_ino) == (then.st_dev, then.st_ino)

    def _read_plain(self) -> dict[str, Raw]:
        directory = open_directory(self._path)
        try:
            values = self._plain.read(directory)
        finally:
            os.close(directory)
        self._device = None
        self._again_at = self._plain.again_at
        return values

    def _probe_unlinked(self, error: OSError) -> object:
        if error.errno == errno.EINVAL:
            # A real directory named ..data can be read, but only looking tells whether anything changed in it.
            return object()
        try:
            status = os.stat(self._path)
            return status.st_dev, status.st_ino, self._plain.generation(self._path), self._turn
        except OSError as unreadable:
            return unreadable.errno, self._turn

    def _explain(self, error: OSError) -> SourceError:
        if error.errno == errno.ENOENT:
            return SourceError(f"cannot read {self._path}: no such directory, {_EXPECTED}", missing=True)
        if error.errno == errno.ENOTDIR:
            where = self._data if os.path.isdir(self._path) else self._path
            return SourceError(f"cannot read {where}: not a directory, {_EXPECTED}")
        return SourceError(f"cannot read {self._path}: {(error.strerror or str(error)).lower()}")
