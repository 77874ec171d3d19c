"""
The modules that measure, in the order of their tables; each has ``run() -> Report``.
"""

from __future__ import annotations

from typing import Final

# The last one leaves a heap of 100,000 flags behind, in which what came after it would be slower.
MODULES: Final = (
    *("reading", "classes", "readers", "rules", "openfeature", "starting", "command", "volumes", "swaps", "memory"),
    *("web", "growth"),
)
