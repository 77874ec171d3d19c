"""
The built manual, opened from its files without a network; the tox environment `docs` runs these tests after the build.
"""

from __future__ import annotations

import html.parser
import os
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.skipif(
    "DFLAG_MANUAL" not in os.environ, reason="needs the built manual, see DFLAG_MANUAL in tox.ini"
)

MANUAL = Path(os.environ.get("DFLAG_MANUAL", "."))
WIDTHS = {"laptop": 1366, "tablet": 1024, "phone": 390}
"""On a laptop of this width, the text is between both side bars, and has less room than on any wider screen."""

OVERFLOWING = """() => {
  const found = document.documentElement.scrollWidth > innerWidth + 1 ? ["the page"] : [];
  const moved = innerWidth < 736 ? ".table-wrapper:has(th:nth-child(5))" : "none";
  for (const element of document.querySelectorAll(`article :is(div, pre, table, dl, figure):not(${moved})`)) {
    const scrolls = ["auto", "scroll"].includes(getComputedStyle(element).overflowX);
    if (scrolls && element.scrollWidth > element.clientWidth + 1)
      found.push(`${element.tagName} ${element.textContent.trim().slice(0, 60)}`);
  }
  return found;
}"""
"""Finds what must be scrolled sideways to be read, except wide tables and drawings on a phone."""


BACKED = """() => {
  const opaque = [...document.querySelectorAll("rect, path")].filter(shape => {
    const colour = getComputedStyle(shape).fill.match(/[0-9.]+/g);
    return colour && colour.length == 3;
  }).map(shape => shape.getBoundingClientRect());
  const texts = [...document.querySelectorAll("text, use")].map(text => text.getBoundingClientRect());
  return texts.every(text => opaque.some(shape =>
    shape.left <= text.left && shape.right >= text.right && shape.top <= text.top && shape.bottom >= text.bottom));
}"""
"""Returns whether each text is on top of a filled shape."""


class Anchors(html.parser.HTMLParser):
    """
    The anchors of a page, and the links on it that lead into the manual.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.names: set[str] = set()
        self.links: set[tuple[Path, str]] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, _: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record the anchor that an element has, and the file and anchor that it links to."""
        for name, value in attrs:
            if name == "id":
                self.names.add(value or "")
            elif name in {"href", "src"} and value and not urllib.parse.urlsplit(value).scheme:
                target, _, anchor = value.partition("#")
                path = self.path.parent / urllib.parse.unquote(target.partition("?")[0]) if target else self.path
                self.links.add((path.resolve(), urllib.parse.unquote(anchor)))


@pytest.fixture(name="page")
def _page(chromium: Browser) -> Iterator[Page]:
    """Yield a page that has no network and may use the clipboard."""
    context = chromium.new_context(offline=True, reduced_motion="reduce")
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    yield context.new_page()
    context.close()


@pytest.mark.timeout(180)
def test_nothing_is_scrolled_sideways(page: Page) -> None:
    """No page, block of code, table or picture of the manual scrolls sideways on a laptop, a tablet or a phone."""
    found = {}
    for path in sorted(MANUAL.glob("*.html")):
        page.goto(path.as_uri(), wait_until="domcontentloaded")
        for device, width in WIDTHS.items():
            page.set_viewport_size({"width": width, "height": 900})
            if overflowing := page.evaluate(OVERFLOWING):
                found[path.name, device] = overflowing
    assert found == {}


def test_a_command_is_copied_without_its_prompt(page: Page) -> None:
    """Each code block has a copy button, which copies only the command of a console session."""
    page.goto((MANUAL / "tutorial.html").as_uri())
    blocks = page.locator("article div.highlight")
    assert blocks.count() == page.locator("article div.highlight button.copybtn").count() > 0
    session = blocks.filter(has_text="$ dflag write config greeting='Good morning'").first
    session.locator("button.copybtn").click()
    page.wait_for_selector("button.copybtn.success")
    assert page.evaluate("navigator.clipboard.readText()") == "dflag write config greeting='Good morning' rate_limit=60"


def test_search_works_without_a_network(page: Page) -> None:
    """The search of the manual, opened from its files, finds a page and a name of the reference without any request."""
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto((MANUAL / "index.html").as_uri())
    page.locator("input.sidebar-search").first.fill("below_arguments")
    page.keyboard.press("Enter")
    page.locator("#search-results a", has_text="Layers").first.wait_for()
    page.goto(f"{(MANUAL / 'search.html').as_uri()}?q=wait_for")
    page.locator("#search-results a", has_text="dflag.Updater.wait_for").first.wait_for()
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []


def test_links_and_anchors_exist() -> None:
    """Each link inside the manual leads to a file that was built, and each anchor to an element of that file."""
    pages = {path.resolve(): Anchors(path) for path in MANUAL.glob("*.html")}
    broken = {
        f"{path.name}: {target.name}#{anchor}"
        for path, anchors in pages.items()
        for target, anchor in anchors.links
        if not target.exists() or (anchor and target in pages and anchor not in pages[target].names)
    }
    assert broken == set()


def test_pictures_fit_dark_and_light(page: Page) -> None:
    """In each drawing, every text is on an opaque shape, so that it can be read on a light and on a dark page."""
    for path in sorted((MANUAL / "_images").glob("*.svg")):
        page.goto(path.as_uri())
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # a text that is one of both
            assert page.evaluate(BACKED), (path.name, scheme)
