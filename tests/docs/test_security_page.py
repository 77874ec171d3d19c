"""
The tests that the page on security names are there.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def _named() -> list[tuple[str, str]]:
    return NAMED.findall((ROOT / "docs" / "security.md").read_text(encoding="utf-8"))


def _functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}


@pytest.mark.parametrize("named", _named(), ids="::".join)
def test_a_named_test_exists(named: tuple[str, str]) -> None:
    """
    An answer that nothing holds any more cannot stay on the page.
    """
    path, function = named
    assert function in _functions(ROOT / path)


def test_every_test_on_the_page_is_found() -> None:
    """
    No name is written so that the search above would pass it over.
    """
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    assert page.count("::test_") == len(_named())


def test_every_section_names_a_test_but_advice() -> None:
    """
    What dflag claims to do is held by a test in each section; limits and the rule for pages are words.
    """
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    sections = re.split(r"^## ", page, flags=re.MULTILINE)[1:]
    unheld = [section.partition("\n")[0] for section in sections if not NAMED.search(section)]
    assert unheld == ["Pages that show flags"]
