"""
Links between the pages have a target, also where Sphinx does not check: in the README and next to the examples.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]

_FENCE = re.compile(r"^( *)(```+|~~~+|:::+).*?^\1\2", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[(?:[^][]|\[[^][]*\])*\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?)$", re.MULTILINE)


def _anchors(page: Path) -> set[str]:
    """
    Return the anchors of a page: those that GitHub and MyST make of its headings, and those that it sets itself.
    """
    text = page.read_text(encoding="utf-8")
    headings = [re.sub(r"\]\([^)]*\)", "", heading) for heading in _HEADING.findall(_FENCE.sub("", text))]
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE))


def _links(text: str) -> list[str]:
    return [link for link in _LINK.findall(re.sub(r"`[^`\n]+`", "", _FENCE.sub("", text))) if "://" not in link]


def _broken(page: Path) -> list[str]:
    """
    Return the links of a page whose file or anchor does not exist.
    """
    broken = []
    for link in _links(page.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Each link to a file or to a heading of this repository has its target."""
    assert _broken(page) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    """A link to a missing file or heading is reported; a link inside code is ignored."""
    page = tmp_path / "page.md"
    page.write_text(
        "# A `b` [c](page.md)!\n\n[x](#a-b-c) [x](#other) [x](absent.md#x) ![x](absent.png)\n`[x](y.md)`\n\n"
        "```\n# Other\n[x](z)\n```\n",
        encoding="utf-8",
    )
    assert _broken(page) == ["#other", "absent.md#x", "absent.png"]


def test_index_leads_to_every_guide() -> None:
    """The index links to each page that it lists under Guides."""
    offers, _, orders = (ROOT / "docs" / "index.md").read_text(encoding="utf-8").partition("```{toctree}")
    guides = re.search(r":caption: Guides\n\n(.*?)\n```", orders, re.DOTALL)
    assert guides
    offered = {link.partition("#")[0] for link in _LINK.findall(offers)}
    assert [name for name in guides[1].split() if f"{name}.md" not in offered] == []
