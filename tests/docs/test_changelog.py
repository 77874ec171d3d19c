"""
The changelog names what exists, dates its versions, and begins with a summary.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[2] / "docs" / "changelog.md").read_text(encoding="utf-8")
NEWEST = TEXT.split("\n## ")[1]
WITHOUT_UPGRADING = re.sub(r"\n### Upgrading.*?(?=\n### )", "", NEWEST, flags=re.DOTALL)
"""The section of the newest version without "Upgrading", the only place that names what was removed."""

NAMES = sorted({*re.findall(r"`(dflag(?:\.\w+)+)`", WITHOUT_UPGRADING)} - {"dflag.cdx.json"})


def _find(name: str) -> object:
    """
    Return what a full name stands for, or raise an error.
    """
    parts = name.split(".")
    found: object = importlib.import_module("dflag")
    for count, part in enumerate(parts[1:], 2):
        if not hasattr(found, part):  # a module that nothing has imported yet
            importlib.import_module(".".join(parts[:count]))
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_name_leads_somewhere(name: str) -> None:
    """Each full name in the section of the newest version can be imported."""
    try:
        assert _find(name) is not None
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("dflag"):
            raise
        pytest.skip(f"{error.name} is not installed")


def test_names_are_found() -> None:
    """`NAMES` holds the names of the section, and a name that was removed cannot be imported."""
    assert "dflag.FlagRegistry.custom" in NAMES
    with pytest.raises((AttributeError, ModuleNotFoundError)):
        _find("dflag.errors.RuleError")


def test_each_version_has_its_date() -> None:
    """Versions are listed from the newest to the oldest, each with its date; the newest may be unreleased."""
    headings = re.findall(r"^## (.+)$", TEXT, re.MULTILINE)
    versions = [tuple(map(int, each.split(" - ")[0].split("."))) for each in headings]
    assert versions == sorted(versions, reverse=True)
    dates = [each.split(" - ")[1] for each in headings]
    assert [date for date in dates[1:] if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", date)] == []
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}|unreleased", dates[0])


def test_it_begins_with_what_matters() -> None:
    """The newest version begins with a summary of one to five sentences."""
    introduction, _, _ = NEWEST.partition("\n### ")
    sentences = re.findall(r"[.!](?=\s|$)", introduction.partition("\n")[2])
    assert 1 <= len(sentences) <= 5
