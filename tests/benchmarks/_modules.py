"""
The benchmark modules, in the order of their tables; each has ``run() -> Report``.
"""

from __future__ import annotations

from typing import Final

# The last module leaves behind a heap of 100,000 flags, which would slow down any module after it.
MODULES: Final = (
    *("reading", "classes", "readers", "rules", "openfeature", "starting", "command", "volumes", "swaps", "memory"),
    *("web", "growth"),
)
