"""
A YAML or JSON document as a source: its top-level keys are flags.

The whole file is read through one descriptor. Inside a ConfigMap or Secret volume this is enough to get a complete
document, because the kubelet writes every file into a new directory before it publishes that directory.
Anywhere else, a program may be writing to the file itself, so the file must settle first, like every plain file.
"""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING, Final

from dflag._formats.base import NotJSON
from dflag._layers import RULES_KEYS
from dflag._raw import Unreadable
from dflag.errors import SourceError
from dflag.sources._entries import GONE, REFUSED_RECHECK_SECONDS, RefusedEntry, read_other, reason_of
from dflag.sources._path import ATTEMPTS, FAILED_RECHECK_SECONDS, PathSource, open_directory
from dflag.sources._plain import PlainFiles
from dflag.sources._way import DATA, follow, read_link

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dflag._formats.base import Place
    from dflag._formats.documents import Document
    from dflag.sources._base import Watch
    from dflag.typing import Raw, Wake

_EXPECTED: Final = "expected a YAML or JSON document"


class FileSource(PathSource):
    """
    A YAML or JSON document whose top-level keys are flags, alone or inside a ConfigMap or Secret volume.

    A flag gets the text of a scalar as it is written, so a string flag reads ``no`` as ``"no"``. A JSON flag gets the
    value that YAML 1.2 defines, and a list flag takes a sequence. A block scalar (``|``, ``>``) is text for every flag,
    as if it were a separate file, so a JSON flag reads JSON in it. A file whose name ends in ``.json`` must be JSON.

        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     path = pathlib.Path(directory, "app.yaml")
        ...     _ = path.write_text("rate_limit: 60  # per second")
        ...     dict(FileSource(path).read())
        {'rate_limit': '60'}

    Args:
        path: The file, which need not exist yet. A relative path starts at the current directory of this call.
            Links in the path are followed again at every read.
        settle_seconds: For how many seconds, 0 or more, a file outside of a volume must not have changed before it is
            read.
        secret: Whether all values are secret. None asks Linux whether the file is in the volume of a Secret.

    Raises:
        DefinitionError: The path is empty, or the time is negative or not finite.

    Thread safety: one thread at a time.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, settle_seconds: float = 0.25, secret: bool | None = None
    ) -> None:
        super().__init__(path, settle_seconds, "file", secret=secret)
        self._directory, self._file = os.path.split(self._path)
        self._link = os.path.join(self._directory, DATA)  # the link that publishes the document, as far as is known
        self._plain = PlainFiles(settle_seconds, only=self._file)
        self._places: Mapping[str, Place] = {}

    def locate(self, key: str) -> str:
        """
        Return the path and the line of the key, as of the last read. For a key of rules, return only the path.
        """
        if key in RULES_KEYS:  # rules carry their own lines in the document
            return self._path
        place = self._places.get(key)
        return self._path if place is None else f"{self._path}:{place.line}"

    def read(self) -> Mapping[str, Raw]:
        """
        Read the document. An empty document, or one without keys, is an empty set.

        The first read, and the next one after `invalidate`, wait at most 2 seconds for a file that has just changed.

        Raises:
            SourceError: There is no such file (``missing=True``), or it exists and cannot be read as a document.
                The message names the line and column, and does not quote the document.
        """
        return self._read_settled() if self._must_settle else self._read()

    def _read(self) -> Mapping[str, Raw]:
        try:
            document = self._parse(self._read_file())  # not in a variable: a traceback may show the text of a secret
        except OSError as error:
            if error.errno not in GONE:
                self._again_at = time.monotonic() + FAILED_RECHECK_SECONDS
            raise self._explain(error) from error
        self._places = document.places
        return document.values

    def probe(self) -> object:
        """
        Return a token of the volume's link target and the file's state: two system calls. Never raises.
        """
        rechecks = self._count_rechecks()
        target = self._await_swap(self._link, read_link(self._link))
        try:
            return target, self._plain.signature(os.stat(self._path)), rechecks
        except OSError as error:
            return target, error.errno, rechecks

    def watch(self, wake: Wake) -> Watch:
        """
        Watch the directory of the file and every link on the path. A watch of the file itself would miss its
        replacement.
        """
        from dflag.sources._native import watch_path  # brings in watchdog, which only a running updater needs

        self.invalidate()  # a file that changed while nobody looked may have settled long ago
        return watch_path(self._path, wake, heard=lambda: None, woken=self._expect_swap, is_file=True)

    def _explain(self, error: OSError) -> SourceError:
        missing = error.errno in GONE
        reason = "no such file" if missing else reason_of(error)
        if missing or error.errno in (errno.EISDIR, errno.ELOOP):
            reason += f", {_EXPECTED}"
        return SourceError(f"cannot read {self._path}: {reason}", missing=missing)

    def _read_file(self) -> bytes | Unreadable:
        self._again_at = None
        for _ in range(ATTEMPTS):
            try:
                way = follow(self._path)
            except FileNotFoundError:
                return self._read_plain()
            if way.data is None:
                return self._read_plain()
            data = _read_published(way.end)
            if data is not None:
                self._link = way.data
                self._plain.forget()
                self._again_at = time.monotonic() + REFUSED_RECHECK_SECONDS if isinstance(data, RefusedEntry) else None
                return data
            if way == follow(self._path):
                raise FileNotFoundError(errno.ENOENT, "no such key in the volume")
        self._again_at = time.monotonic() + FAILED_RECHECK_SECONDS
        raise SourceError(f"cannot read {self._path}: it was replaced during each of {ATTEMPTS} attempts to open it")

    def _read_plain(self) -> bytes | Unreadable:
        try:
            directory = open_directory(self._directory)
        except FileNotFoundError:
            values = self._plain.hold() or {}
        else:
            try:
                values = self._plain.read(directory)
                self._plain.accept(values)
            finally:
                os.close(directory)
        # Also set for a file that has not settled yet, because nothing else shows when it has settled.
        self._again_at = self._plain.again_at
        found = values.get(self._file)
        if found is None:
            if os.path.isdir(self._path):
                raise IsADirectoryError(errno.EISDIR, "is a directory")
            raise FileNotFoundError(errno.ENOENT, "no such file")
        return found if isinstance(found, (bytes, Unreadable)) else found.encode()

    def _parse(self, data: bytes | Unreadable) -> Document:
        from dflag._formats import documents

        if isinstance(data, Unreadable):
            raise SourceError(f"cannot read {self._path}: {data.reason}, {_EXPECTED}")
        try:
            return documents.read(data, yaml=not self._file.lower().endswith(".json"), unread=RULES_KEYS)
        except NotJSON as error:
            where = self._path if error.place is None else f"{self._path}:{error.place.line}:{error.place.column}"
            problem = f"cannot read {where}: expected {error.expected}"
        # Raised outside of the handler, where the error would get a context that may quote a secret. The variable may
        # hold a secret too.
        del data
        raise SourceError(problem)


def _read_published(real: str) -> bytes | Unreadable | None:
    try:
        directory = open_directory(os.path.dirname(real))
    except FileNotFoundError:
        return None
    try:
        return read_other(directory, os.path.basename(real))
    finally:
        os.close(directory)
