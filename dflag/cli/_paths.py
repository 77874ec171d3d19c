"""
Names of files as reports show them.
"""

from __future__ import annotations

import functools
import os


def in_repository(file: str) -> str:
    """
    Return a path relative to the root of the file's repository, as code review services expect it.

    Outside of a repository it stays as it was given.
    """
    directory, name = os.path.split(os.path.abspath(file))
    root = _root_of(directory)
    # The name of standard input is no path.
    if root is None or not os.path.lexists(file):
        return file
    return os.path.relpath(os.path.join(directory, name), root)


@functools.cache
def _root_of(directory: str) -> str | None:
    if os.path.lexists(os.path.join(directory, ".git")):  # in a worktree and in a submodule it is a file
        return directory
    parent = os.path.dirname(directory)
    return None if parent == directory else _root_of(parent)
