from __future__ import annotations

import datetime
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

import dflag
from dflag._read_counts import stop_counting
from dflag.testing import ConfigMapVolume
from dflag.web import bearer_token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from playwright.sync_api import Locator, Page, Route

    from dflag.web._server import FlagServer

    Serve = Callable[..., FlagServer]
    OpenPage = Callable[..., Page]

TOKEN = "a-token-for-tests"  # noqa: S105 - no secret
REFUSED = r"status of 4\d\d"
UNREACHABLE = "ERR_CONNECTION|ERR_EMPTY_RESPONSE|ERR_SOCKET"


@pytest.fixture(name="updater")
def _updater(flags: dflag.FlagRegistry, volume: ConfigMapVolume) -> Iterator[Callable[[], dflag.Updater]]:
    """Yield a function that starts an updater for the volume; stop the updaters after the test."""
    updaters = []

    def follow() -> dflag.Updater:
        updaters.append(dflag.Updater.setup(flags, volume.path))
        return updaters[-1]

    yield follow
    for updater in updaters:
        updater.stop()


def row(page: Page, name: str) -> Locator:
    return page.locator(f'[id="flag-{name}"]')


def shown(page: Page) -> list[str]:
    return page.locator(".flag:not([hidden]) button.name").all_inner_texts()


def wait_for_text(page: Page, selector: str, text: str) -> None:
    """Wait until the whole text of an element is *text*."""
    page.wait_for_function(
        "([selector, text]) => document.querySelector(selector)?.textContent === text", arg=[selector, text]
    )


def wait_for_value(page: Page, name: str, text: str) -> None:
    wait_for_text(page, f"#flag-{name} .now", text)


def unfold(page: Page, name: str) -> Locator:
    row(page, name).locator("button.name").click()
    return row(page, name)


def fill_in(
    form: Locator, value: str, token: str | None = None, reason: str = "", *, button: str | None = "Set"
) -> None:
    """Fill in the form and press Review, then press the given button if there is one."""
    form.get_by_label("Value").fill(value)
    form.get_by_label("Reason").fill(reason)
    if token is not None:
        form.get_by_label("Token").fill(token)
    form.get_by_role("button", name="Review").click()
    if button is not None:
        form.get_by_role("button", name=button, exact=True).click()


# --- following


def test_follows_a_volume(
    flags: dflag.FlagRegistry,
    volume: ConfigMapVolume,
    updater: Callable[[], dflag.Updater],
    serve: Serve,
    open_page: OpenPage,
) -> None:
    """After a swap of the volume, the open page shows the new value, its origin, the history, and a mark on the row."""
    flags.dyn_int("rate_limit", 50, "Pages per second")
    volume.write({"rate_limit": "60"})
    page = open_page(serve(flags, updater()))
    assert row(page, "rate_limit").locator(".now").inner_text() == "60"
    assert row(page, "rate_limit").locator(".comparison").inner_text() == "default 50"
    volume.write({"rate_limit": "70"})
    wait_for_value(page, "rate_limit", "70")
    assert "touched" in (row(page, "rate_limit").get_attribute("class") or "")
    assert str(volume.path) in row(page, "rate_limit").locator(".from").inner_text()
    newest = page.locator("#history li").first
    assert [newest.locator("del").inner_text(), newest.locator("ins").inner_text()] == ["60", "70"]
    wait_for_text(page, "#news", "rate_limit is now 70")


def test_changes_leave_the_user_in_peace(flags: dflag.FlagRegistry, serve: Serve, open_page: OpenPage) -> None:
    """A change redraws only its own row, and keeps focus, scroll position, open rows and what was typed."""
    for number in range(60):
        flags.dyn_int(f"flag_{number:02}", 0, "One of many")
    page = open_page(serve(flags, authorize=bearer_token(TOKEN, "alice")))
    page.get_by_role("searchbox").fill("flag")
    form = unfold(page, "flag_30").locator("form")
    form.get_by_label("Value").fill("17")
    form.get_by_label("Reason").fill("because")
    page.evaluate(
        """() => {
            window.redrawn = new Set();
            new MutationObserver((records) => records.forEach(({ target }) => {
                if (!target.closest("time")) window.redrawn.add(target.closest(".flag")?.id);
            })).observe(document.getElementById("flags"), { subtree: true, childList: true, attributes: true });
        }"""
    )
    scrolled = page.evaluate("scrollY")
    assert scrolled > 0
    flags["flag_40"].set(5)
    wait_for_value(page, "flag_40", "5")
    assert page.evaluate("[...redrawn]") == ["flag-flag_40"]
    flags["flag_30"].set(6)
    wait_for_value(page, "flag_30", "6")
    assert page.evaluate("scrollY") == scrolled
    assert page.get_by_role("searchbox").input_value() == "flag"
    assert form.get_by_label("Value").input_value() == "17"
    assert "value changed to 6" in form.inner_text()
    assert page.evaluate("document.activeElement.value") == "because"


def test_unchanged_listings_are_not_sent_again(flags: dflag.FlagRegistry, serve: Serve, open_page: OpenPage) -> None:
    """Polls are conditional: the server answers 304 while nothing changes."""
    page = open_page(serve(flags))
    statuses = []
    for _ in range(2):
        with page.expect_response(lambda answer: "format=json" in answer.url) as caught:
            pass
        statuses.append(caught.value.status)
    assert statuses == [304, 304]


def test_says_when_the_server_is_gone(flags: dflag.FlagRegistry, serve: Serve, open_page: OpenPage) -> None:
    """While the server is gone, the page says so and keeps its rows; it recovers by itself when the server is back."""
    rate = flags.dyn_int("rate_limit", 50)
    server = serve(flags)
    page = open_page(server, tolerate=UNREACHABLE)
    server.close()
    page.wait_for_selector("#link[data-state=lost]")
    assert "cannot be reached" in page.get_by_role("alert").inner_text()
    assert shown(page) == ["rate_limit"]
    rate.set(70)
    serve(flags, port=server.port)
    page.wait_for_selector("#link[data-state=live]")
    wait_for_value(page, "rate_limit", "70")
    assert page.get_by_role("alert").inner_text() == ""


def test_flags_declared_late_appear_in_order(flags: dflag.FlagRegistry, serve: Serve, open_page: OpenPage) -> None:
    """A flag that is declared while the page is open appears at its place in the order."""
    flags.dyn_int("a", 1)
    flags.dyn_int("c", 3)
    page = open_page(serve(flags))
    flags.dyn_int("b", 2)
    row(page, "b").wait_for()
    assert shown(page) == ["a", "b", "c"]


# --- what is shown


def test_search_and_toggles(flags: dflag.FlagRegistry, serve: Serve, open_page: OpenPage) -> None:
    """The search matches name, help and value while one types, the toggles filter, and the page counts the flags."""
    flags.dyn_int("rate_limit", 50, "Pages per second")
    flags.dyn_string("greeting", "Hello", "What the page says")
    flags.string("address", "127.0.0.1", "Where to listen")
    flags["greeting"].set("Moin")
    page = open_page(serve(flags))
    search = page.get_by_role("searchbox")
    for words, names in [
        ("rate", ["rate_limit"]),
        ("PAGE", ["greeting", "rate_limit"]),
        ("page moin", ["greeting"]),
        ("127.0", ["address"]),
        ("nothing like it", []),
    ]:
        search.fill(words)
        assert shown(page) == names, words
        assert page.locator("#shown").inner_text() == f"{len(names)} of 3 shown"
    assert page.get_by_text("No flag matches.").is_visible()
    search.press("Escape")
    for toggle, names in [
        ("Changed", ["greeting"]),
        ("Dynamic", ["greeting", "rate_limit"]),
        ("Static", ["address"]),
        ("Rejected", []),
    ]:
        page.get_by_role("button", name=toggle).click()
        assert page.get_by_role("button", name=toggle).get_attribute("aria-pressed") == "true"
        assert shown(page) == names, toggle
        page.get_by_role("button", name=toggle).click()
    assert shown(page) == ["address", "greeting", "rate_limit"]


def test_rules_stand_above_and_at_their_flags(
    flags: dflag.FlagRegistry,
    volume: ConfigMapVolume,
    updater: Callable[[], dflag.Updater],
    serve: Serve,
    open_page: OpenPage,
) -> None:
    """The page shows each rule with its state, and a flag shows its rule in its row and among its layers."""
    flags.dyn_int("rate_limit", 50, "Pages")
    flags.dyn_int("burst", 5, "At once")
    rules = "- {name: sale, from: 2020-01-01T00:00:00Z, set: {rate_limit: 80}}\n- {name: odd, set: {nothing: 1}}\n"
    volume.write({"burst": "6"})
    following = updater()
    volume.write({"rate_limit": "60", "burst": "6", "_rules.yaml": rules})
    assert following.wait_for(lambda snapshot: snapshot["rate_limit"] == 80, 10)
    page = open_page(serve(flags, following))
    wait_for_value(page, "rate_limit", "80")
    assert row(page, "rate_limit").locator(".from .reason").inner_text() == "rule sale"
    assert row(page, "burst").locator(".from .reason").count() == 0
    assert "by the rule sale" in unfold(page, "rate_limit").locator(".more").inner_text()
    states = page.locator("#rules li")
    assert "sale" in states.nth(0).inner_text()
    assert "refused" in states.nth(1).inner_text()


def test_details(
    flags: dflag.FlagRegistry,
    volume: ConfigMapVolume,
    updater: Callable[[], dflag.Updater],
    serve: Serve,
    open_page: OpenPage,
) -> None:
    """The details show layers, limits, owner and what was refused; the top shows sources and pending restarts."""
    flags.dyn_int(
        "rate_limit", 50, "Pages", max=100, owner="edge team", deprecated="use quota", expires=datetime.date(2020, 1, 1)
    )
    flags.int("workers", 4, "Size of the pool")
    volume.write({"rate_limit": "60", "workers": "4"})
    following = updater()
    flags.freeze()
    volume.write({"rate_limit": "600", "workers": "8", "tpyo": "1"})
    page = open_page(serve(flags, following))
    row(page, "rate_limit").locator(".badge", has_text="rejected").wait_for()
    details = unfold(page, "rate_limit").locator(".more").inner_text()
    for words in (
        "600",
        "at most 100",
        str(volume.path),
        "in effect",
        "edge team",
        "use quota",
        "(in the past)",
        "50",
    ):
        assert words in details, words
    notices = page.locator("#notices").inner_text()
    assert "A restart would change workers" in notices
    assert "tpyo" in notices
    assert page.locator(".source .badge").inner_text().endswith("healthy")
    page.get_by_role("button", name="Show it").click()
    assert shown(page) == ["rate_limit"]
    shutil.rmtree(volume.path)
    page.locator(".source .badge", has_text="failing").wait_for()
    assert "no such directory" in page.locator(".source .error").inner_text()


def test_filters_of_the_address(flags: dflag.FlagRegistry, serve: Serve, open_page: OpenPage) -> None:
    """The filters in the address also apply to the page, which says how many flags they hide."""
    flags.dyn_int("rate_limit", 50)
    flags.int("workers", 4)
    page = open_page(serve(flags), "/?type=static")
    assert shown(page) == ["workers"]
    assert "hides 1 flag." in page.locator("#notices").inner_text()
    page.get_by_role("link", name="Show all").click()
    row(page, "rate_limit").wait_for()


def test_json_is_pretty_and_exact(flags: dflag.FlagRegistry, serve: Serve, open_page: OpenPage) -> None:
    """JSON is shown on several lines, with its numbers as they were written."""
    flags.dyn_json("limits", {"big": 12345678901234567890, "empty": {}, "text": 'a "{,:}" b'})
    page = open_page(serve(flags))
    expected = '{\n  "big": 12345678901234567890,\n  "empty": {},\n  "text": "a \\"{,:}\\" b"\n}'
    assert unfold(page, "limits").locator("code.full").first.text_content() == expected


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</code></li></title><h1>owned</h1>",
    "{{7*7}} ${alert(1)} javascript:alert(1)",
    "user \u202egnp.exe\u2066 admin\x07",
    "x" * 10_000,
]


def test_hostile_text_stays_text(
    flags: dflag.FlagRegistry,
    volume: ConfigMapVolume,
    updater: Callable[[], dflag.Updater],
    serve: Serve,
    open_page: OpenPage,
) -> None:
    """Titles, values, help, reasons and refusals are shown as text, never as markup."""
    for number, text in enumerate(HOSTILE):
        flags.dyn_string(f"value_{number}", "plain", text, owner=text, deprecated=text)
        flags.dyn_int(f"refused_{number}", 1, text)
        flags.dyn_string(f"set_{number}", "plain").set(text, reason=text)
    volume.write({})
    following = updater()
    volume.write({f"{kind}_{number}": text for number, text in enumerate(HOSTILE) for kind in ("value", "refused")})
    page = open_page(serve(flags, following, title=" ".join(HOSTILE)))
    row(page, "refused_5").locator(".badge", has_text="rejected").wait_for()
    assert page.locator("h1").text_content() == " ".join(HOSTILE)
    for number, text in enumerate(HOSTILE):
        for kind in ("value", "refused", "set"):
            unfold(page, f"{kind}_{number}")
        details = row(page, f"value_{number}")
        if len(text) > 1_000:
            details.locator("summary").first.click()
            assert details.locator("details[open] code.full").first.text_content() == text
        else:
            assert details.locator("code.full").first.text_content() == text
            assert details.locator(".now").text_content() == text
        assert details.locator(".help").text_content() == text
    assert page.locator("script, img, h1").evaluate_all("all => all.map((one) => one.tagName)") == ["SCRIPT", "H1"]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("user \u202egnp.exe\u2066 admin\x07 e\u0301\u00e9 \U0001f469\u200d\U0001f680", ["U+202E", "U+2066", "U+0007"]),
        ("a\u200db\u200cc\u034fd\u00ade\ufe0ff", ["U+200D", "U+200C", "U+034F", "U+00AD", "U+FE0F"]),
        ("\u115f\u1160\u3164\uffa0\u17b4\u180e", ["U+115F", "U+1160", "U+3164", "U+FFA0", "U+17B4", "U+180E"]),
        ("a\u00a0b\u2003c\u3000d\u1680e\u2028f\u2800g", ["U+00A0", "U+2003", "U+3000", "U+1680", "U+2028", "U+2800"]),
        (
            "\U000e0041\U000e0100\U0001d173\ue000\uffff\ud800",
            ["U+E0041", "U+E0100", "U+1D173", "U+E000", "U+FFFF", "U+D800"],
        ),
        ("\U0001f44d\U0001f3fd \u2764\ufe0f 1\ufe0f\u20e3 \u00a9 \u65e5\u672c \u0639\u0631 \t a b\nc", []),
        ("\U0001f680" * 200, []),  # a preview ends between two characters, not within one
        ("a" + "\U0001f680" * 200, []),
    ],
)
def test_what_is_invisible_is_shown(
    flags: dflag.FlagRegistry, serve: Serve, open_page: OpenPage, text: str, expected: list[str]
) -> None:
    """The page shows characters that are invisible, look like a space or reverse text by their code points."""
    flags.dyn_string("sly", text, strip=False)
    page = open_page(serve(flags))
    codes = row(page, "sly").locator(".now .odd").evaluate_all("all => all.map((one) => one.dataset.code)")
    assert codes == expected


def test_names_that_look_like_selectors(flags: dflag.FlagRegistry, serve: Serve, open_page: OpenPage) -> None:
    """A flag whose name looks like a CSS selector can be opened by the address and by a link in the history."""
    names = ["a.b", "a-b", "x.y-z_0"]
    for name in names:
        flags.dyn_int(name, 1)
        flags[name].set(2)
    page = open_page(serve(flags), "/#flag-x.y-z_0")
    assert row(page, "x.y-z_0").locator("button.name").get_attribute("aria-expanded") == "true"
    for name in names:
        page.locator("#history a", has_text=name).click()
        row(page, name).locator(".more").wait_for()


# --- setting


@pytest.fixture(name="settable")
def _settable(flags: dflag.FlagRegistry, serve: Serve, open_page: OpenPage) -> Page:
    """Return a page on which a token allows setting `rate_limit`."""
    flags.dyn_int("rate_limit", 50, "Pages per second", max=10_000)
    flags.int("workers", 4, "Size of the pool")
    return open_page(serve(flags, authorize=bearer_token(TOKEN, "alice")), tolerate=REFUSED)


def test_override_is_set_shown_and_dropped(flags: dflag.FlagRegistry, settable: Page) -> None:
    """An override shows user, reason and time left; the page asks for the token once, and a button drops it."""
    form = unfold(settable, "rate_limit").locator("form")
    assert form.get_by_label("Value").input_value() == "50"
    assert not form.get_by_role("button", name="Drop override").is_visible()
    fill_in(form, "80", TOKEN, "sale")
    wait_for_value(settable, "rate_limit", "80")
    assert flags["rate_limit"].get() == 80
    origin = row(settable, "rate_limit").locator(".from")
    assert origin.locator(".chip").inner_text() == "override"
    assert origin.locator(".reason").inner_text() == "alice: sale"
    first = origin.locator("time").inner_text()
    assert first in ("1:00:00 left", "59:59 left", "59:58 left", "1:00:01 left")
    settable.wait_for_function(
        "first => document.querySelector('#flag-rate_limit .from time').textContent !== first", arg=first
    )
    assert not form.get_by_label("Token").is_visible()
    form.get_by_label("Time limit").select_option(label="no limit")
    fill_in(form, "90")
    wait_for_value(settable, "rate_limit", "90")
    assert origin.locator("time.left").count() == 0
    form.get_by_role("button", name="Drop override").click()
    form.get_by_role("button", name="Drop", exact=True).click()
    wait_for_value(settable, "rate_limit", "50")
    assert flags["rate_limit"].origin == "default"
    assert form.locator(".result").inner_text().startswith("Dropped.")
    assert settable.evaluate("[localStorage.length, sessionStorage.length, document.cookie, location.search]") == [
        0,
        0,
        "",
        "",
    ]


def test_last_changes_have_ones_own(flags: dflag.FlagRegistry, settable: Page) -> None:
    """The last changes in the details have the changes that were just made on the same page."""
    details = unfold(settable, "rate_limit")
    changes = details.locator(".block", has_text="Last changes")
    for number, value in enumerate(("80", "90")):
        fill_in(details.locator("form"), value, None if number else TOKEN, "sale")
        changes.locator("li", has_text=value).first.wait_for()
        assert changes.locator("li").count() == number + 1
        assert changes.locator("li ins").first.inner_text() == value


WORKERS = """
import os, sys
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
import dflag
from dflag.web import make_wsgi_app

class Quiet(WSGIRequestHandler):
    def log_message(self, *args):
        pass

flags = dflag.FlagRegistry("shop")
flags.dyn_int("rate_limit", 50)
server = WSGIServer(("127.0.0.1", 0), Quiet)
server.set_app(make_wsgi_app(flags, authorize=lambda headers: "bob"))
children = []
for _ in range(2):
    child = os.fork()
    if child == 0:
        server.serve_forever()
    children.append(child)
print(server.server_port, *children, flush=True)
sys.stdin.read()
for child in children:
    os.kill(child, 9)
"""


@dataclass(frozen=True)
class Workers:
    """
    Two processes that accept connections on one port.
    """

    port: int
    numbers: list[int]


@pytest.fixture(name="workers")
def _workers() -> Iterator[Workers]:
    """Yield two processes that serve one port, each with flags of its own."""
    with subprocess.Popen([sys.executable, "-c", WORKERS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        port, *numbers = map(int, process.stdout.readline().split())
        yield Workers(port, numbers)
        process.communicate()


def shown_process(page: Page) -> int:
    return int(re.findall(r"process (\d+)", page.locator("#meta").inner_text())[0])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_several_processes_at_one_address(workers: Workers, open_page: OpenPage) -> None:
    """The page keeps to one process, says in which process an override was set, and shows another one on request."""
    page = open_page(workers)
    first = shown_process(page)
    (second,) = {*workers.numbers} - {first}
    page.evaluate(
        """() => {
            window.metas = new Set();
            new MutationObserver(() => metas.add(document.getElementById("meta").textContent))
                .observe(document.getElementById("meta"), { subtree: true, childList: true, characterData: true });
        }"""
    )
    banner = page.locator("#processes")
    banner.get_by_text("2 processes answered at this address").wait_for()
    assert f"This page shows process {first}." in banner.inner_text()
    form = unfold(page, "rate_limit").locator("form")
    assert "reaches only the process that answers" in form.inner_text()
    form.get_by_role("button", name="Review").click()
    form.get_by_text("only in the process that answers").wait_for()
    form.get_by_role("button", name="Back").click()
    said: set[str] = set()
    value = "50"
    for number in range(51, 91):
        fill_in(form, str(number))
        result = form.locator(".result", has_text=re.compile(r"^Set in process \d+ only\."))
        result.wait_for()
        said.add(result.inner_text())
        if result.inner_text() == f"Set in process {first} only.":
            value = str(number)
        assert row(page, "rate_limit").locator(".now").inner_text() == value
        if len(said) == 2:
            break
    other = f"Set in process {second} only. This page shows process {first}."
    assert said == {f"Set in process {first} only.", other}
    assert not [meta for meta in page.evaluate("[...metas]") if f"process {first}" not in meta]
    banner.get_by_role("button", name=f"Show process {second}").click()
    assert shown_process(page) == second
    assert f"This page shows process {second}." in banner.inner_text()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_process_that_ends(workers: Workers, open_page: OpenPage) -> None:
    """When the process that the page shows no longer answers, the page shows another process and says so."""
    page = open_page(workers, tolerate=UNREACHABLE)
    first = shown_process(page)
    (second,) = {*workers.numbers} - {first}
    os.kill(first, signal.SIGKILL)
    page.get_by_text(f"Process {first} no longer answers. This page now shows process {second}.").wait_for()
    assert shown_process(page) == second


def test_reads_are_counted_for_a_minute(flags: dflag.FlagRegistry, settable: Page) -> None:
    """The button counts the flags that are read and lists the others; without a token it says how to give one."""
    settable.get_by_role("button", name="Count reads for 60 s").click()
    settable.wait_for_function("() => document.querySelector('#reads').textContent.includes('needs a token')")
    form = unfold(settable, "rate_limit").locator("form")
    fill_in(form, "80", TOKEN, "sale")
    wait_for_value(settable, "rate_limit", "80")
    try:
        settable.get_by_role("button", name="Count reads for 60 s").click()
        settable.wait_for_function("() => document.querySelector('#reads').textContent.includes('s left')")
        flags["rate_limit"].get()
        settable.wait_for_function("() => document.querySelector('#reads').textContent.includes(': 1 of')")
    finally:
        stop_counting()
    settable.wait_for_function("() => document.querySelector('#reads').textContent.includes('Not read: ')")


def test_reads_are_counted_by_one_process(settable: Page) -> None:
    """When another process answers the polls, the page still shows the counts of the process that it asked to count."""
    other = {"process": 7, "instance": "other", "started_at": None, "seconds_left": 0, "reads": {}}
    asked: list[str] = []

    def answer(route: Route) -> None:
        asked.append(route.request.method)
        if asked[-2:] == ["POST", "GET"]:
            route.fulfill(json=other)
        else:
            route.continue_()

    settable.route("**/reads", answer)
    fill_in(unfold(settable, "rate_limit").locator("form"), "80", TOKEN, "sale")
    wait_for_value(settable, "rate_limit", "80")
    try:
        settable.get_by_role("button", name="Count reads for 60 s").click()
        settable.get_by_text(f"Counting reads in process {os.getpid()}: ").wait_for()
    finally:
        stop_counting()
    settable.get_by_text(re.compile(rf"^0 of \d+ flags .* in process {os.getpid()}\. Not read: ")).wait_for()
    assert asked[:2] == ["POST", "GET"]


def test_override_expires_on_the_open_page(flags: dflag.FlagRegistry, settable: Page) -> None:
    """An override counts down on the open page, and the value below it is shown when it expires."""
    flags["rate_limit"].set(80, ttl_seconds=3, reason="alice: soon over")
    wait_for_value(settable, "rate_limit", "80")
    assert row(settable, "rate_limit").locator(".from time").inner_text() in ("00:03 left", "00:02 left", "00:01 left")
    wait_for_value(settable, "rate_limit", "50")
    assert row(settable, "rate_limit").locator(".from .chip").inner_text() == "default"


def test_refusals_stand_at_the_form(flags: dflag.FlagRegistry, settable: Page) -> None:
    """The form asks again after a wrong token, and shows the flag's message when a value is refused."""
    form = unfold(settable, "rate_limit").locator("form")
    result = f"#{form.locator('.result').get_attribute('id')}"
    fill_in(form, "80", "wrong", button=None)
    wait_for_text(settable, result, "not authorized to set flags")
    assert form.get_by_label("Token").evaluate("input => input === document.activeElement")
    fill_in(form, "80", "späße \u2603", button=None)
    wait_for_text(settable, result, "A token may contain only visible ASCII characters.")
    fill_in(form, "20000", TOKEN, button=None)
    form.locator(".result", has_text="of at most 10000").wait_for()
    assert form.get_by_label("Value").get_attribute("aria-invalid") == "true"
    assert flags["rate_limit"].get() == 50
    fill_in(form, "80", TOKEN)
    wait_for_text(settable, result, "Set.")
    assert flags["rate_limit"].get() == 80


def test_token_that_is_no_longer_good(flags: dflag.FlagRegistry, serve: Serve, open_page: OpenPage) -> None:
    """A token that was accepted is asked for again in all forms when the server refuses it later."""
    flags.dyn_int("rate_limit", 50)
    flags.dyn_int("retries", 3)
    tokens = ["first"]

    def authorize(headers: Mapping[str, str]) -> str | None:
        return bearer_token(tokens[-1], "alice")(headers)

    page = open_page(serve(flags, authorize=authorize), tolerate=REFUSED)
    form, other = (unfold(page, name).locator("form") for name in ("rate_limit", "retries"))
    fill_in(form, "60", "first")
    wait_for_value(page, "rate_limit", "60")
    assert not other.get_by_label("Token").is_visible()
    tokens.append("second")
    fill_in(form, "70", button=None)
    other.get_by_label("Token").wait_for()
    fill_in(form, "70", "second")
    wait_for_value(page, "rate_limit", "70")
    assert not other.get_by_label("Token").is_visible()
    other.get_by_role("button", name="Forget the token").click()
    assert form.get_by_label("Token").is_visible()


def test_setting_without_a_server(flags: dflag.FlagRegistry, serve: Serve, open_page: OpenPage) -> None:
    """The form says that nothing was set when the server cannot be reached."""
    flags.dyn_int("rate_limit", 50)
    server = serve(flags, authorize=bearer_token(TOKEN, "alice"))
    page = open_page(server, tolerate=UNREACHABLE)
    form = unfold(page, "rate_limit").locator("form")
    server.close()
    fill_in(form, "80", TOKEN, button=None)
    form.locator(".result", has_text="cannot be reached. Nothing was set.").wait_for()


def test_only_what_may_be_set_has_a_form(flags: dflag.FlagRegistry, settable: Page) -> None:
    """A dynamic flag has a form, a static flag has none."""
    assert unfold(settable, "rate_limit").locator("form").count() == 1
    assert unfold(settable, "workers").locator("form").count() == 0


def test_no_form_where_setting_is_off(flags: dflag.FlagRegistry, serve: Serve, open_page: OpenPage) -> None:
    """Without `authorize` no flag has a form."""
    flags.dyn_int("rate_limit", 50)
    page = open_page(serve(flags))
    details = unfold(page, "rate_limit")
    details.locator(".more").wait_for()
    assert details.locator("form").count() == 0


def test_no_token_where_none_is_needed(flags: dflag.FlagRegistry, serve: Serve, open_page: OpenPage) -> None:
    """Behind a proxy that authenticates the user, a flag can be set without a token; a bool has a switch."""
    flags.dyn_bool("maintenance", default=False)
    page = open_page(serve(flags, authorize=lambda headers: "bob"))
    form = unfold(page, "maintenance").locator("form")
    form.get_by_label("Value").check()
    form.get_by_role("button", name="Review").click()
    form.get_by_role("button", name="Set", exact=True).click()
    wait_for_value(page, "maintenance", "true")
    assert flags["maintenance"].get() is True


def test_secrets_are_neither_shown_nor_prefilled(flags: dflag.FlagRegistry, serve: Serve, open_page: OpenPage) -> None:
    """A secret can be set, but neither its old nor its new value appears in the page."""
    flags.dyn_string("api_key", "initial-key", secret=True)
    page = open_page(serve(flags, authorize=lambda headers: "bob"))
    form = unfold(page, "api_key").locator("form")
    assert form.get_by_label("Value").input_value() == ""
    fill_in(form, "new-key")
    form.locator(".result", has_text="Set.").wait_for()
    assert flags["api_key"].get() == "new-key"
    assert "initial-key" not in page.content()
    assert form.get_by_label("Value").input_value() == ""
    assert "new-key" not in page.content()


def test_other_origins_change_nothing(flags: dflag.FlagRegistry, serve: Serve, open_page: OpenPage) -> None:
    """A form and a script on a page of another origin set nothing, even if no token is needed."""
    flags.dyn_int("rate_limit", 50)
    server = serve(flags, authorize=lambda headers: "whoever")
    elsewhere = serve(dflag.FlagRegistry("elsewhere"))  # another port is another origin
    page = open_page(elsewhere, tolerate=rf"{REFUSED}|CORS|ERR_FAILED")
    # The policy of our own page already forbids such requests, so this is a page without a policy.
    page.route("**/evil", lambda route: route.fulfill(body="<h1>win a prize</h1>", content_type="text/html"))
    page.goto(f"http://127.0.0.1:{elsewhere.port}/evil")
    body = json.dumps({"name": "rate_limit", "value": "99"})
    target = f"http://127.0.0.1:{server.port}/set"
    for headers in ({"Content-Type": "text/plain"}, {"Content-Type": "application/json"}):
        outcome = page.evaluate(
            "([url, body, headers]) => fetch(url, { method: 'POST', body, headers }).then(() => 'read', String)",
            [target, body, headers],
        )
        assert outcome.startswith("TypeError")
    with page.expect_navigation() as caught:
        page.evaluate(
            """([action, name]) => {
                const form = document.createElement("form");
                Object.assign(form, { action, method: "post", enctype: "text/plain" });
                form.append(Object.assign(document.createElement("input"), { name, value: '"}' }));
                document.body.append(form);
                form.submit();
            }""",
            [target, '{"name": "rate_limit", "value": "99", "reason": "'],
        )
    assert caught.value.status == 403
    assert flags["rate_limit"].get() == 50


# --- for everybody


def test_keyboard_alone(flags: dflag.FlagRegistry, serve: Serve, open_page: OpenPage) -> None:
    """With the keyboard alone, one can skip to the flags, search, open the details, and set a flag."""
    flags.dyn_int("rate_limit", 50, "Pages per second")
    flags.dyn_int("retries", 3)
    page = open_page(serve(flags, authorize=bearer_token(TOKEN, "alice")))
    keys = page.keyboard
    keys.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the flags"
    assert page.locator(".skip").bounding_box()["width"] > 50
    keys.press("Enter")
    assert page.evaluate("document.activeElement.id") == "flags"
    keys.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "rate_limit"
    keys.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    keys.type("ret")
    assert shown(page) == ["retries"]
    keys.press("Escape")
    keys.press("ArrowDown")
    keys.press("Enter")
    assert page.evaluate("document.activeElement.getAttribute('aria-expanded')") == "true"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    for _ in range(20):  # past the copy buttons
        keys.press("Tab")
        if page.evaluate("document.activeElement.labels?.[0]?.textContent") == "Value":
            break
    keys.press("Control+A")
    keys.type("80")
    keys.press("Tab")
    keys.type("by keyboard")
    keys.press("Tab")
    keys.press("Tab")
    keys.type(TOKEN)
    keys.press("Enter")
    page.wait_for_function("() => document.activeElement.textContent === 'Set'")
    keys.press("Escape")
    assert page.evaluate("document.activeElement.labels[0].textContent") == "Value"
    keys.press("Enter")
    page.wait_for_function("() => document.activeElement.textContent === 'Set'")
    keys.press("Enter")
    wait_for_value(page, "rate_limit", "80")
    assert flags.history()[-1].reason.startswith("alice: by keyboard")


LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1200, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1200, "height": 900}},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
}


@pytest.mark.parametrize("look", LOOKS)
def test_looks_and_accessibility(
    look: str,
    flags: dflag.FlagRegistry,
    tmp_path: Path,
    serve: Serve,
    open_page: OpenPage,
    screenshots: Path,
) -> None:
    """With all of its elements shown, the page has no serious finding of axe and does not scroll sideways."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    shop, keys = ConfigMapVolume(tmp_path / "shop"), ConfigMapVolume(tmp_path / "keys")
    flags.dyn_int("rate_limit", 50, "Pages per second before the answer is 429", min=1, max=10_000, owner="edge team")
    flags.dyn_float("sample_ratio", 0.1, "Share of requests that are traced", min=0, max=1)
    flags.dyn_json("policy", {"mode": "allow"}, "Who is admitted, and with what limits")
    flags.dyn_string("api_key", "initial", "Of the payment service", secret=True)
    flags.dyn_string(
        "old_theme", "classic", "Look of the shop", deprecated="use theme", expires=datetime.date(2020, 1, 1)
    )
    flags.dyn_string("banner", "", "Shown on top of every page; empty for none")
    flags.dyn_string("license", "x", "Shown once")
    flags.int("workers", 4, "Size of the pool; read at start-up")
    shop.write({"workers": "4", "rate_limit": "60"})
    keys.write({"api_key": "other"})
    updater = dflag.Updater.setup(flags, [shop.path, keys.path])
    try:
        flags.freeze()
        limits = {"mode": "deny", "limits": {"per_user": 10}, "regions": ["eu-west", "us-east"]}
        shop.write(
            {"workers": "8", "sample_ratio": "1.5", "policy": json.dumps(limits), "typo": "1", "license": "word " * 900}
        )
        shutil.rmtree(keys.path)
        flags["rate_limit"].set(80, ttl_seconds=3_000, reason="alice: sale")
        page = open_page(serve(flags, updater, authorize=bearer_token(TOKEN, "alice")), tolerate=REFUSED, **LOOKS[look])
        page.locator(".source .badge", has_text="failing").wait_for()
        row(page, "sample_ratio").locator(".badge", has_text="rejected").wait_for()
        (screenshots / f"{look}.png").write_bytes(page.screenshot())
        for name in ("policy", "sample_ratio", "license", "rate_limit"):
            unfold(page, name)
        fill_in(row(page, "rate_limit").locator("form"), "0", TOKEN, button=None)
        row(page, "rate_limit").locator(".result", has_text="got '0'").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") == LOOKS[look]["viewport"]["width"]
        (screenshots / f"{look}-open.png").write_bytes(row(page, "rate_limit").screenshot())
        (screenshots / f"{look}-whole.png").write_bytes(page.screenshot(full_page=True))
        page.evaluate("scrollTo(0, 0)")
        found = axe.Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")] == []
    finally:
        updater.stop()


def test_still_where_motion_is_not_wanted(flags: dflag.FlagRegistry, serve: Serve, open_page: OpenPage) -> None:
    """A change is marked without an animation if the user asked for reduced motion."""
    flags.dyn_int("rate_limit", 50)
    page = open_page(serve(flags), reduced_motion="reduce")
    plain = row(page, "rate_limit").evaluate("one => getComputedStyle(one).backgroundColor")
    flags["rate_limit"].set(60)
    wait_for_value(page, "rate_limit", "60")
    style = row(page, "rate_limit").evaluate(
        "one => [getComputedStyle(one).animationName, getComputedStyle(one).backgroundColor]"
    )
    assert style[0] == "none"
    assert style[1] != plain


# --- speed

STOPWATCH = """
window.times = [];
const read = Response.prototype.json;
Response.prototype.json = function () {
    const began = performance.now();
    return read.call(this).then((listing) => {
        // After the next frame: what the listing changed has been drawn and painted by then.
        requestAnimationFrame(() => setTimeout(() => window.times.push({ began, painted: performance.now() })));
        return listing;
    });
};
"""

PAINT_MS = 5_000
UPDATE_MS = 1_000
"""Far above what is measured (0.4 s and 50 ms): a busy machine passes, redrawing all rows on each change fails."""


def test_a_thousand_flags(
    flags: dflag.FlagRegistry, serve: Serve, open_page: OpenPage, record_property: Callable[[str, object], None]
) -> None:
    """A thousand flags are painted within 5 s after the navigation, and a change within 1 s after its listing."""
    for number in range(1_000):
        flags.dyn_int(
            f"group_{number // 50}.flag_{number}", number, f"The help of flag {number}, a sentence of some length"
        )
    page = open_page(serve(flags), script=STOPWATCH)
    page.wait_for_function("times.length === 1")
    assert page.locator(".flag").count() == 1_000
    paint = page.evaluate("times[0].painted")
    updates = []
    for value in range(2, 5):
        flags["group_0.flag_7"].set(value * 1_000)
        page.wait_for_function("count => times.length === count", arg=value)
        updates.append(page.evaluate("times.at(-1).painted - times.at(-1).began"))
    assert row(page, "group_0.flag_7").locator(".now").text_content() == "4000"
    record_property("paint_ms", round(paint))
    record_property("update_ms", [round(update) for update in updates])
    print(f"1,000 flags: painted after {paint:.0f} ms, updates took {max(updates):.0f} ms at most")  # noqa: T201
    assert paint < PAINT_MS
    assert min(updates) < UPDATE_MS
