"""
The modules that measure, in the order of their tables; each has ``run() -> Report``.
"""

from __future__ import annotations

from typing import Final

MODULES: Final = ("reading", "readers", "starting", "command", "growth", "volumes", "swaps", "memory", "web")
