"""
Measures of memory in use.
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
    Return the result of *make*, and how many bytes it keeps; temporary objects are already freed.
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
    Return the resident memory of this process, as Linux counts it.
    """
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()
