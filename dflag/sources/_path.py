"""
What the sources that follow a path share.
"""

from __future__ import annotations

import math
import os
import time
from typing import Final

from dflag.errors import DefinitionError
from dflag.sources._base import Source
from dflag.sources._mounts import is_secret, why_not_live

FAILED_RECHECK_SECONDS: Final = 1.0
"""How soon a place that is there and could not be read is tried again."""

ATTEMPTS: Final = 20
"""How often a read that lost against the writer is begun anew: three were seen at 7700 writes per second."""

# Not O_PATH, whose descriptors cannot be listed. The getattr are for Windows, which has none of them.
_OPEN_DIRECTORY: Final = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)


class PathSource(Source):
    """
    A source whose name is a path, and which knows when something is to be tried again.
    """

    def __init__(self, path: str | os.PathLike[str], settle_seconds: float, what: str, *, secret: bool | None) -> None:
        name = os.fspath(path)
        if not name or "\0" in name:
            raise DefinitionError(f"{what} source: expected a path, got {name!r}")
        if not 0 <= settle_seconds < math.inf:
            raise DefinitionError(f"{name}: expected settle_seconds of 0 or more, got {settle_seconds!r}")
        self._name = name
        # Not abspath: it would shorten "link/..", which means another directory once links are followed.
        self._path = name if os.path.isabs(name) else os.path.join(os.getcwd(), name)
        self._declared_secret: Final = secret
        self._device: int | None = None  # of what was read last, where the reading tells
        self._judged: tuple[int, bool] | None = None  # the device, and whether it is a Secret's
        self._again_at: float | None = None
        self._turn = 0

    @property
    def name(self) -> str:
        """The path as it was given."""
        return self._name

    @property
    def secret(self) -> bool:
        """Whether all of it is secret: as given, or else whether it is a volume as Kubernetes makes of a Secret."""
        if self._declared_secret is not None:
            return self._declared_secret
        device = self._device
        if device is None:
            try:
                device = os.stat(self._path).st_dev
            except OSError:
                return self._judged is not None and self._judged[1]
        if self._judged is None or self._judged[0] != device:
            self._judged = device, is_secret(self._path)
        return self._judged[1]

    def recheck_seconds(self) -> float | None:
        """
        Say when something may have settled, or what was refused may be tried again.
        """
        return None if self._again_at is None else max(self._again_at - time.monotonic(), 0.0)

    def why_not_live(self) -> str | None:
        """
        Tell of ``subPath`` mounts and of files that are mounts of their own.
        """
        return why_not_live(self._path)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r})"

    def _current_turn(self) -> int:
        """
        Give a number for the token that changes once something is due.
        """
        if self._again_at is not None and time.monotonic() >= self._again_at:
            self._turn += 1
        return self._turn


def open_directory(path: str) -> int:
    """
    Open a directory to read entries by its descriptor.
    """
    return os.open(path, _OPEN_DIRECTORY)
