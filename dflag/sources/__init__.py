"""
Where values come from: sources, and what they give.
"""

from __future__ import annotations

from dflag.sources._base import Source, Watch
from dflag.sources.directory import DirectorySource
from dflag.sources.file import FileSource
from dflag.sources.kubernetes import KubernetesSource
from dflag.sources.memory import MemorySource
from dflag.typing import Text, Unreadable

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
