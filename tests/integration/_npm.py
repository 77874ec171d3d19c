"""
Packages from npm for tests, if npm is installed and a registry offers them.
"""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

INSTALL_SECONDS = 25.0


def install(folder: Path, *packages: str) -> Path:
    """
    Install packages of OpenFeature into a folder, and return the path of ``node_modules``; skip the test if that fails.
    """
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("needs npm and node")
    names = [f"@openfeature/{name}" for name in packages]
    options = ["--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=0", "--fetch-timeout=5000"]
    command = [npm, "install", "--prefix", str(folder), *options, *names]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=INSTALL_SECONDS)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip("npm cannot install OpenFeature's packages here")
    return folder / "node_modules"
