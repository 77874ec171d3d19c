"""
The examples in the README and the manual run.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import dflag

from ._pages import Example, examples, run

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 60
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_examples_of_page(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python examples of a page run from top to bottom, in one namespace."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["program"])
    # A real module, because some libraries look up the names of a class in the module that defines it.
    module = types.ModuleType(f"page_{path.stem}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for example in examples(path.read_text(encoding="utf-8")):
        if example.needs is not None and importlib.util.find_spec(example.needs) is None:
            continue  # the example of the other library; what it becomes with dflag still runs
        run(example, module, str(path))
    module.__dict__.clear()  # a library may keep its functions, and with them a server and its descriptors


def test_tests_of_the_page_on_testing_pass(tmp_path: Path) -> None:
    """The test files shown on the page on testing pass under pytest, with the plugin of dflag."""
    page = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    found = re.findall(
        r"^<!-- file: (test_\w+\.py) -->\n<!-- no-run -->\n```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL
    )
    for name, code in found:
        (tmp_path / name).write_text(code, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(Path(dflag.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", *dict(found)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b2 passed\b", done.stdout)


def test_examples_are_found() -> None:
    """`examples()` yields a fenced block with its line, also when indented, and skips one marked "no-run"."""
    page = (
        "# Title\n\n```python\na = 1\n```\n\n"
        "<!-- no-run -->\n```python\nfail()\n```\n\n"
        "<!-- needs: nonesuch -->\n```python\nimport nonesuch\n```\n\n"
        "- x\n\n  ```python\n  b = 2\n  ```\n"
    )
    expected = [Example("a = 1\n", 4), Example("import nonesuch\n", 14, "nonesuch"), Example("b = 2\n", 20)]
    assert list(examples(page)) == expected


def test_fault_is_reported_at_its_line() -> None:
    """The traceback of an example that raises has the line of the page."""
    module = types.ModuleType("page")
    with pytest.raises(ZeroDivisionError) as caught:
        run(Example("1 / 0\n", 7), module, "page.md")
    assert caught.traceback[-1].lineno == 6  # counted from 0


def test_session_is_checked() -> None:
    """An example with a prompt fails if it prints something other than what the page shows."""
    module = types.ModuleType("page")
    with pytest.raises(Exception, match=r"page\.md"):
        run(Example(">>> 1 + 1\n3\n", 7), module, "page.md")
