"""
A real Chromium that loads pages from real servers. Without Chromium, these tests are skipped.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dflag.web import start_http_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, ConsoleMessage, Page

    import dflag
    from dflag.web._server import FlagServer

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

SWITCHES = (
    "--no-sandbox",  # root cannot use the sandbox; all pages are our own
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

DEADLINE_MS = 15_000
"""How long a page may take on a busy machine."""


# Not with session scope: while the driver runs, its event loop counts as running, and no other test could run a loop.
@pytest.fixture(name="chromium", scope="package")
def _chromium() -> Iterator[Browser]:
    """Start one browser for all tests here."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    program = os.environ.get("DFLAG_CHROMIUM") or next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("needs Chromium: apt-get install chromium, or its path in DFLAG_CHROMIUM")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=SWITCHES)
        yield browser
        browser.close()


@pytest.fixture(name="serve")
def _serve() -> Iterator[Callable[..., FlagServer]]:
    """Return `start_http_server` with a free port as default; its servers are closed after the pages."""
    with contextlib.ExitStack() as servers:

        def serve(registry: dflag.FlagRegistry, *args: Any, port: int = 0, **options: Any) -> FlagServer:
            servers.callback(drop_overrides, registry)
            return servers.enter_context(start_http_server(port, registry, *args, **options))

        yield serve


def drop_overrides(registry: dflag.FlagRegistry) -> None:
    """Drop all overrides, which ends the thread that waits for their time limits."""
    for flag in registry:
        if flag.dynamic:
            flag.reset()


@pytest.fixture(name="open_page")
def _open_page(chromium: Browser, serve: object) -> Iterator[Callable[..., Page]]:
    """
    Return a function that opens the page of a server in a fresh profile.

    An error or a warning on the page's console, such as a violation of the content security policy, fails the test,
    except if it matches `tolerate`: browsers write a line for each refused request.
    """
    problems: list[str] = []
    with contextlib.ExitStack() as contexts:

        def open_page(
            server: FlagServer, path: str = "/", *, script: str = "", tolerate: str = "$^", **options: Any
        ) -> Page:
            context = contexts.enter_context(chromium.new_context(**options))
            page = context.new_page()
            page.set_default_timeout(DEADLINE_MS)

            def note(message: ConsoleMessage) -> None:
                if message.type in ("error", "warning") and not re.search(tolerate, message.text):
                    problems.append(message.text)

            page.on("console", note)
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on("dialog", lambda dialog: problems.append(f"dialog {dialog.message!r}") or dialog.dismiss())
            if script:
                page.add_init_script(script)
            page.goto(f"http://127.0.0.1:{server.port}{path}")
            page.wait_for_selector("#link[data-state=live]")
            return page

        yield open_page
    assert problems == []


@pytest.fixture(name="screenshots")
def _screenshots(tmp_path: Path) -> Path:
    """Return the directory for screenshots: the one in DFLAG_SCREENSHOTS, which keeps them, or a temporary one."""
    directory = Path(os.environ.get("DFLAG_SCREENSHOTS", tmp_path))
    directory.mkdir(parents=True, exist_ok=True)
    return directory
