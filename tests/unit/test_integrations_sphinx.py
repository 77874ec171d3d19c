"""
Sphinx shows the flags of a class with their help.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("sphinx")

MODULE = '''
"""Settings of a program."""

import dflag


class Base(dflag.Flags):
    """What all have."""

    level = dflag.dyn_string("info", "How much to log")


class Settings(Base, prefix="shop."):
    """Settings of a shop."""

    rate = dflag.dyn_int(50, "Requests per second", min=1)
    #: As its comment says.
    queue = dflag.dyn_int(1, "Not this")
    mode = dflag.dyn_string("soft", """
        How to refuse.

        - soft
        - hard
    """)
'''


def test_autodoc_shows_what_each_flag_is_for(tmp_path: Path) -> None:
    """
    Autodoc shows each flag with its help, also an inherited flag and a help of several paragraphs; a comment in the
    source replaces the help. The class is shown without arguments.
    """
    (tmp_path / "shop.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "conf.py").write_text(
        'import sys\n\nsys.path.insert(0, ".")\nextensions = ["sphinx.ext.autodoc", "dflag.integrations.sphinx"]\n',
        encoding="utf-8",
    )
    (tmp_path / "index.rst").write_text(
        "Shop\n====\n\n.. autoclass:: shop.Settings\n   :members: rate, queue, level, mode\n", encoding="utf-8"
    )
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "text", ".", "out"]
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert built.returncode == 0, built.stderr
    text = (tmp_path / "out" / "index.txt").read_text(encoding="utf-8")
    page = " ".join(text.split())
    assert "How to refuse.\n\n      * soft\n\n      * hard\n" in text
    assert "rate = <DynamicFlag 'shop.rate': dynamic int from default> Requests per second" in page
    assert "level = <DynamicFlag 'level': dynamic string from default> How much to log" in page
    assert "class shop.Settings Settings of a shop." in page
    assert "As its comment says." in page
    assert "Not this" not in page
