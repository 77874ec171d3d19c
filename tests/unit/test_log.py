"""
The library's logger, in programs that have set up no logging.
"""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "statement",
    [
        "import dflag; dflag.FlagRegistry",
        "import dflag; dflag.Updater",
        "import dflag.sources._reflector",
        "import dflag.web._handler",
        "import dflag.integrations.prometheus",
    ],
)
def test_quiet_until_logging_is_set_up(statement: str) -> None:
    """Whatever part of the library is imported first, its warnings are not printed by logging's last resort."""
    program = f"{statement}\nimport logging; logging.getLogger('dflag').warning('said to nobody')"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True)
    assert (found.stdout, found.stderr) == ("", "")
