"""
What to watch, so that every change of what a path leads to causes an event.

The directory at the end of the path is not enough: where a link on the way is swapped, or a directory on the way is
replaced, nothing happens in it. So the directories on the way are watched too, each only for what concerns the path.
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
    """Only that it is moved or removed, and nothing that happens in it."""
    SWAPS = 1
    """Also names that come, as when the kubelet renames its link."""
    LINKS = 2
    """Also names that go, as when a link is removed and made anew."""
    FILES = 3
    """Also writes to its files."""


class Plan(NamedTuple):
    """
    What to watch, and what to expect of it.

    Attributes:
        places: Each directory on the way, with its links resolved, and which of its changes matter.
        last: The directory that publishes the values, or that they are in.
        names: The links on the way. Changes of other names beside them are ignored, except in the last place.
        data: The ``..data`` link that publishes the values; where it would be, if there is none.
        identity: Device and inode of the last place.
    """

    places: dict[str, Concern]
    last: str
    names: frozenset[bytes]
    data: str
    identity: tuple[int, int]


def make_plan(path: str, *, is_file: bool) -> Plan:
    """
    Find out what to watch for the directory, or the file, at an absolute path.

    Raises:
        OSError: The directory, or that of the file, is not there or cannot be looked at.
    """
    way = _follow_to_directory(path) if is_file else follow(path)
    places: dict[str, Concern] = {}
    names = set()
    sets: list[str] = []
    for link, text in way.links:
        holder, name = os.path.split(link)
        # A set does not change once it is published, and the visible links in a volume always say the same.
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
