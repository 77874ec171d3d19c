"""
The tests that the pages on reliability and security name are there.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
PAGES = ("reliability.md", "security.md")
WITHOUT_TESTS = {"What is not promised", "Beside others"}
"""The sections that claim nothing of dflag: limits, and a table made by a script."""


def _text(page: str) -> str:
    return (ROOT / "docs" / page).read_text(encoding="utf-8")


def _functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}


@pytest.mark.parametrize(
    "named", sorted({named for page in PAGES for named in NAMED.findall(_text(page))}), ids="::".join
)
def test_a_named_test_exists(named: tuple[str, str]) -> None:
    """
    A promise that nothing holds any more cannot stay on the page.
    """
    path, function = named
    assert function in _functions(ROOT / path)


@pytest.mark.parametrize("page", PAGES)
def test_every_test_on_the_page_is_found(page: str) -> None:
    """
    No name is written so that the search above would pass it over.
    """
    assert _text(page).count("::test_") == len(NAMED.findall(_text(page)))


@pytest.mark.parametrize("page", PAGES)
def test_every_section_names_a_test(page: str) -> None:
    """
    What dflag claims to do is held by a test in each section; limits and advice are words.
    """
    sections = re.split(r"^## ", _text(page), flags=re.MULTILINE)[1:]
    unheld = {section.partition("\n")[0] for section in sections if not NAMED.search(section)}
    assert unheld <= WITHOUT_TESTS
