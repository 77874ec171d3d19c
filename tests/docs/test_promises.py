"""
The tests named on the pages on reliability and security exist.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
PAGES = ("reliability.md", "security.md")
WITHOUT_TESTS = {"What is not promised", "Beside others", "Limits"}
"""The headings below which dflag claims nothing: limits, advice, and a table that a script makes."""


def _text(page: str) -> str:
    return (ROOT / "docs" / page).read_text(encoding="utf-8")


def _functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}


def _promises(text: str) -> Iterator[str]:
    """
    Yield the items of the lists that claim something about dflag.
    """
    headings: list[str] = []
    for block in re.split(r"\n(?=- |\n|#)", text):
        heading = re.match(r"\n*(##+) (.+)", block)
        if heading:
            headings = [*headings[: len(heading[1]) - 2], heading[2]]
        elif block.lstrip("\n").startswith("- ") and WITHOUT_TESTS.isdisjoint(headings):
            yield block.strip("\n")


def _without_a_test(text: str) -> list[str]:
    return [promise for promise in _promises(text) if not NAMED.search(promise)]


def _cut_off(text: str) -> list[str]:
    """
    Return the lines below the introduction that still contain parts of test names once whole names are removed.
    """
    _, _, claims = text.partition("\n## ")
    return re.findall(r".*(?:\btests/|::|\btest_).*", NAMED.sub("", claims))


@pytest.mark.parametrize(
    "named", sorted({named for page in PAGES for named in NAMED.findall(_text(page))}), ids="::".join
)
def test_a_named_test_exists(named: tuple[str, str]) -> None:
    """
    Each test that a page names exists in the file that the page names.
    """
    path, function = named
    assert function in _functions(ROOT / path)


@pytest.mark.parametrize("page", PAGES)
def test_every_promise_names_a_test(page: str) -> None:
    """
    Each item of a list that claims something names a test, except under limits and advice.
    """
    assert len(list(_promises(_text(page)))) > 20
    assert _without_a_test(_text(page)) == []


@pytest.mark.parametrize("page", PAGES)
def test_every_name_is_whole(page: str) -> None:
    """
    Every name of a test on the page is complete, so that the other tests here find it.
    """
    assert _cut_off(_text(page)) == []


@pytest.mark.parametrize(
    "name",
    [
        "`tests/unit/test_a.py::`",
        "`tests/unit/test_a.py::test_`",
        "`tests/unit/test_a.py`",
        "`tests/unit/test_a.py::test_a",
        "`tests/unit/test_a.py::\n  test_a`",
        "`test_a`",
        "`unit/test_a.py::test_a`",
        "tests/unit/test_a.py::test_a",
    ],
)
def test_a_name_that_is_cut_off_is_found(name: str) -> None:
    """
    An incomplete name of a test is reported as cut off, and its promise as one without a test.
    """
    whole = "`tests/unit/test_a.py::test_b`"
    page = f"# Page\n\n## What is promised\n\n### A\n\n- First. {whole}\n- Second.\n  {name}\n\n### Limits\n\n- None."

    assert _without_a_test(page) == [f"- Second.\n  {name}"]
    assert _cut_off(page)
    assert _without_a_test(page.replace(name, whole)) == _cut_off(page.replace(name, whole)) == []
