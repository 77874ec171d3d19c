"""
The console sessions on the pages about the command show what the command prints.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dflag import cli

ROOT = Path(__file__).parents[2]
PACKAGES = str(Path(cli.__file__).parents[2])
"""Where the dflag under test lies: the checkout or the installed wheel."""

PAGES = [ROOT / "docs" / f"{name}.md" for name in ("command-line", "hygiene", "operations")]

_FILE = re.compile(r"^<!-- file: (\S+) -->\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SESSION = re.compile(r"(?<=^```console\n)\$ (.*?)\n(.*?)(?=^```$)", re.MULTILINE | re.DOTALL)

TIMEOUT_SECONDS = 60


@pytest.fixture(name="page", params=PAGES, ids=lambda path: path.stem)
def _page(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.fixture(name="shell")
def _shell(page: Path, tmp_path: Path) -> Path:
    """Return a directory with the files of the page, and a command ``dflag`` that is the one under test."""
    for name, contents in _FILE.findall(page.read_text(encoding="utf-8")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(contents, encoding="utf-8")
    command = tmp_path / "dflag"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dflag "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    return tmp_path


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
def test_sessions(page: Path, shell: Path) -> None:
    """Each command on the page prints the lines shown below it; DFLAG_WRITE_DOCS=1 writes those lines again."""
    path = os.pathsep.join(filter(None, [PACKAGES, os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PATH": f"{shell}:{os.environ['PATH']}", "PYTHONPATH": path}

    def run(found: re.Match[str]) -> str:
        result = subprocess.run(
            ["/bin/sh", "-c", found[1]],
            cwd=shell,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        return f"$ {found[1]}\n{result.stdout}"

    text = page.read_text(encoding="utf-8")
    fresh, count = _SESSION.subn(run, text)
    if os.environ.get("DFLAG_WRITE_DOCS"):
        page.write_text(fresh, encoding="utf-8")
    assert count == text.count("```console")
    assert text == fresh
