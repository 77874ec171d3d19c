"""
Tools that check packages find nothing in this one.
"""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(sysconfig.get_path("scripts"))

COMMANDS = {
    "twine": "check --strict {wheel} {sdist}",
    "check-wheel-contents": "--package dflag {wheel}",
    "pyroma": "--min 10 --file {sdist}",
    "validate-pyproject": "pyproject.toml",
    "reuse": "lint --lines",
    "cffconvert": "--validate",
    "zizmor": "--offline --strict-collection --persona pedantic --quiet .",
}


@pytest.mark.parametrize("tool", COMMANDS)
def test_a_tool_finds_nothing(tool: str, wheel: Path, sdist: Path) -> None:
    """Each tool exits with status 0, which means that it found nothing."""
    arguments = [each.format(wheel=wheel, sdist=sdist) for each in COMMANDS[tool].split()]
    command = [str(SCRIPTS / tool), *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_COLOR": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
