"""
The way that a path takes: which links it follows, and where it ends.

Values that are published by swapping a link come from one set if every link on the way still has the same target.
`os.path.realpath` does not return the links that it followed, and accepts a path that leads nowhere.
"""

from __future__ import annotations

import errno
import os
from typing import Final, NamedTuple

DATA: Final = "..data"
"""The link that the kubelet renames to publish a set."""

_MAX_LINKS: Final = 40
"""How many links Linux follows before it takes a path for a loop."""


_ATTEMPTS: Final = 20
"""How often a path is followed while its links change. A swap takes far longer than following a path."""


class Way(NamedTuple):
    """
    Where a path leads.

    Attributes:
        end: The file or directory itself; no component of this path is a link.
        links: The path and the text of each link that was followed, in order.
    """

    end: str
    links: tuple[tuple[str, str], ...]

    @property
    def data(self) -> str | None:
        """The path of the last ``..data`` link on the way, or None. Everything behind it is a published set."""
        return next((link for link, _ in reversed(self.links) if os.path.basename(link) == DATA), None)


def follow(path: str) -> Way:
    """
    Follow every link in an absolute path.

    A name that is missing in the root of a volume is looked up behind ``..data``. The kubelet makes the visible link of
    a new key after it has published the key, and a kubelet that dies in between never makes the link.

    Raises:
        OSError: The path leads nowhere, in a loop, or through a directory that cannot be searched; or its links
            change at each attempt.
    """
    links: list[tuple[str, str]] = []
    for _ in range(_ATTEMPTS):
        links.clear()
        try:
            return Way(_walk(path, links), tuple(links))
        except FileNotFoundError:
            # The target of a link may have been deleted just after the link was swapped.
            if all(read_link(link) == text for link, text in links):
                raise
    raise OSError(errno.EAGAIN, f"links on the way changed {_ATTEMPTS} times", path)


def _walk(path: str, links: list[tuple[str, str]]) -> str:
    drive, rest = os.path.splitdrive(path)
    at = drive + os.sep
    ahead = _components(rest)
    while ahead:
        name = ahead.pop()
        if name == os.pardir:
            at = os.path.dirname(at)
            continue
        step = os.path.join(at, name)
        try:
            text = os.readlink(step)
        except OSError as error:
            if error.errno == errno.EINVAL:  # it exists and is not a link
                at = step
            elif error.errno == errno.ENOENT and name != DATA and os.path.islink(os.path.join(at, DATA)):
                ahead += (name, DATA)
            else:
                raise
            continue
        links.append((step, text))
        if len(links) > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        if os.path.isabs(text):
            drive, text = os.path.splitdrive(text)
            at = drive + os.sep
        ahead += _components(text)
    return at


def read_link(path: str) -> str | None:
    """
    Return the target of a link as it is written, or None if *path* is not a link.
    """
    try:
        return os.readlink(path)
    except OSError:
        return None


def _components(path: str) -> list[str]:
    """
    Return the names in a path, the last one first.
    """
    names = path.replace(os.altsep, os.sep).split(os.sep) if os.altsep else path.split(os.sep)
    return [name for name in reversed(names) if name not in ("", os.curdir)]
