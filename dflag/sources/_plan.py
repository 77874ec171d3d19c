"""
The directories to watch, so that every change of what a path leads to causes an event.

The directory at the end of the path is not enough. When a link on the way is swapped, or a directory on the way is
replaced, nothing happens in the directory at the end. So the directories on the way are watched too, each only for the
changes that concern the path.
"""

from __future__ import annotations

import enum
import os
from typing import NamedTuple

from dflag.sources._way import DATA, Way, follow


class Concern(enum.IntEnum):
    """
    Which changes of a directory should cause an event; a higher concern includes the lower ones.
    """

    ITSELF = 0
    """Only the move or removal of the directory itself, and no change in it."""
    SWAPS = 1
    """Also new names, as when the kubelet renames its link."""
    LINKS = 2
    """Also removed names, as when a link is removed and made again."""
    FILES = 3
    """Also writes to the files of the directory."""


class Plan(NamedTuple):
    """
    The directories to watch for one path, and the names that count in them.

    Attributes:
        places: Each directory on the way, with its links resolved, and which of its changes matter.
        last: The directory that holds the ``..data`` link, or else the directory that holds the values.
        names: The names of the links on the way. Changes of other names next to them are ignored, except in `last`.
        data: The path of the ``..data`` link that publishes the values, or the path that it would have.
        identity: Device and inode of `last`.
    """

    places: dict[str, Concern]
    last: str
    names: frozenset[bytes]
    data: str
    identity: tuple[int, int]


def make_plan(path: str, *, is_file: bool) -> Plan:
    """
    Return what to watch for the directory or the file at an absolute path.

    Raises:
        OSError: The directory, or the directory of the file, does not exist or cannot be examined.
    """
    way = _follow_to_directory(path) if is_file else follow(path)
    places: dict[str, Concern] = {}
    names = set()
    sets: list[str] = []
    for link, text in way.links:
        holder, name = os.path.split(link)
        # A published set does not change, and the visible links in a volume always have the same target.
        if _is_within_any(holder, sets) or text.startswith(DATA + os.sep):
            continue
        names.add(os.fsencode(name))
        _add(places, holder, Concern.SWAPS if name == DATA else Concern.LINKS)
        if name == DATA:
            sets.append(os.path.normpath(os.path.join(holder, text)))
    within = os.path.join(way.end, DATA)
    data = way.data or within
    if not _is_within_any(way.end, sets):
        data = within
        _add(places, way.end, Concern.SWAPS if os.path.islink(within) else Concern.FILES)
    last = os.path.dirname(data)
    status = os.stat(last)
    return Plan(places, last, frozenset(names), data, (status.st_dev, status.st_ino))


def _follow_to_directory(path: str) -> Way:
    """
    Follow the way to the directory that a file is in, or will be in.
    """
    try:
        end, links = follow(path)
    except FileNotFoundError:
        return follow(os.path.dirname(path))
    return Way(os.path.dirname(end), links)


def _add(places: dict[str, Concern], directory: str, concern: Concern) -> None:
    places[directory] = max(concern, places.get(directory, concern))
    while directory != os.path.dirname(directory):
        directory = os.path.dirname(directory)
        places.setdefault(directory, Concern.ITSELF)


def _is_within_any(path: str, directories: list[str]) -> bool:
    return any(path == directory or path.startswith(directory + os.sep) for directory in directories)
