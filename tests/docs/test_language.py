"""
The manual and the code use plain technical English, without the words listed here.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MODULES = sorted((ROOT / "dflag").rglob("*.py"))

ODD = re.compile(
    r"\b(whoever|to be had|(?:is|are) told of|of now|let be|so much as|gives? way|haste|errand|ledger|for want of)\b",
    re.IGNORECASE,
)
"""Old or rare turns of speech; each has a plain equivalent."""

FIRST_WORDS = {"Give", "Gives", "Say", "Says", "Tell", "Tells"}
"""Words with which a docstring does not begin; a function returns, raises or waits."""


SHARED_NAMES = {"PinMiddleware"}
"""The classes of which each framework has its own."""


@pytest.mark.parametrize("path", [*PAGES, *MODULES], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_turn_of_speech_is_odd(path: Path) -> None:
    """No page or module has one of the words of `ODD`, in text, docstrings, comments or messages."""
    found = [
        (number, odd[0])
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        for odd in ODD.finditer(line)
    ]
    assert found == []


def test_docstrings_begin_with_what_a_function_does() -> None:
    """No docstring begins with a word of `FIRST_WORDS`, such as "Give" or "Say"."""
    odd = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                first = (ast.get_docstring(node) or "").partition(" ")[0]
                if first in FIRST_WORDS:
                    odd.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert odd == []


def test_no_two_classes_have_one_name() -> None:
    """No two public classes have the same name, except those of `SHARED_NAMES`."""
    places: dict[str, list[str]] = {}
    for path in MODULES:
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and node.name not in SHARED_NAMES:
                places.setdefault(node.name, []).append(path.relative_to(ROOT).as_posix())
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
