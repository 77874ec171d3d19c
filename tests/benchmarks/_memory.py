"""
What is held in memory.
"""

from __future__ import annotations

import gc
import resource
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def traced(make: Callable[[], T]) -> tuple[T, int]:
    """
    Return what *make* returns, and how many bytes it keeps: what it needed on the way is gone by then.
    """
    gc.collect()
    tracemalloc.start()
    try:
        made = make()
        gc.collect()
        return made, tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def resident_bytes() -> int:
    """
    Return how much of this process is in memory, as Linux counts it.
    """
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()
