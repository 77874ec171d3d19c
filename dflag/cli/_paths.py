"""
Names of files as reports show them.
"""

from __future__ import annotations

import functools
import os


def in_repository(file: str) -> str:
    """
    Return a path as services for code review take it: from the root of the repository that the file lies in.

    Outside of one it stays as it was given.
    """
    directory, name = os.path.split(os.path.abspath(file))
    root = _root_of(directory)
    # What comes through a pipe lies nowhere.
    if root is None or not os.path.lexists(file):
        return file
    return os.path.relpath(os.path.join(directory, name), root)


@functools.cache
def _root_of(directory: str) -> str | None:
    if os.path.lexists(os.path.join(directory, ".git")):  # a file in a worktree and in a submodule
        return directory
    parent = os.path.dirname(directory)
    return None if parent == directory else _root_of(parent)
