"""
The example of a frontend: its page in a browser has a banner that follows a ConfigMap volume.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration._npm import install

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from dflag.testing import ConfigMapVolume

PROGRAM = Path(__file__).parents[2] / "examples" / "web" / "frontend" / "serve.py"


@pytest.mark.timeout(120)
def test_the_banner_follows_the_volume(chromium: Browser, volume: ConfigMapVolume, tmp_path: Path) -> None:
    """The page, which has another origin than the flags, shows a change of the volume without a reload."""
    packages = install(tmp_path, "web-sdk", "core", "ofrep-web-provider")
    volume.write({"banner": "Welcome"})
    command = [sys.executable, PROGRAM, volume.path, "--port=0", "--flags-port=0", f"--packages={packages}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            page = chromium.new_page()
            page.goto(address)
            page.get_by_text("Welcome").wait_for()
            volume.write({"banner": "Sale"})
            page.get_by_text("Sale").wait_for()
            page.close()
        finally:
            process.terminate()
            process.wait(10.0)
