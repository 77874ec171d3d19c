"""
Build a checkout with `python -m build`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def build(checkout: Path, into: Path, environment: Mapping[str, str] = os.environ, umask: int = -1) -> Path:
    """
    Build the sdist of a checkout, and the wheel from it, with the pinned hatchling; return their directory.
    """
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(into), str(checkout)]
    done = subprocess.run(command, env=environment, umask=umask, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return into
