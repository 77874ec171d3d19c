"""
Sources: where values come from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dflag._lazy import lazily
from dflag._raw import Text, Unreadable
from dflag.sources._base import Source, Watch

if TYPE_CHECKING:
    from dflag.sources.directory import DirectorySource
    from dflag.sources.file import FileSource
    from dflag.sources.kubernetes import KubernetesSource
    from dflag.sources.memory import MemorySource

__all__ = [
    "DirectorySource",
    "FileSource",
    "KubernetesSource",
    "MemorySource",
    "Source",
    "Text",
    "Unreadable",
    "Watch",
]

if not TYPE_CHECKING:  # otherwise type checkers would accept any name
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "DirectorySource": "directory",
            "FileSource": "file",
            "KubernetesSource": "kubernetes",
            "MemorySource": "memory",
        },
    )
