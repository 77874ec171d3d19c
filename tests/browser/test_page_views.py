"""
The views for many flags: sorting, groups, rules, differences, editing with confirmation, and copying.

All tests here share one program and one page, which each test loads again.
"""

from __future__ import annotations

import enum
import json
import re
from typing import TYPE_CHECKING, NamedTuple

import pytest

import dflag
from dflag.testing import ConfigMapVolume
from dflag.web import bearer_token, start_http_server

from .conftest import DEADLINE_MS, drop_overrides

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Locator, Page

TOKEN = "a-token-for-tests"  # noqa: S105 - no secret
LAPTOP = {"width": 1440, "height": 900}
POLICY = {"mode": "allow", "limits": {"per_user": 10, "per_host": 100}}
SCHEMA = {"type": "object", "properties": {"mode": {"enum": ["allow", "deny"]}}}
MINUS = "\N{MINUS SIGN}"
KEYED = 5
"""The number of the flag of the queue that has values by tenant."""

NOISE = re.compile(r"status of 4\d\d")


class Pace(enum.Enum):
    """
    A type for an enum flag.
    """

    SLOW = 1
    FAST = 2


class Shop(NamedTuple):
    """
    A program with 40 flags that follows a volume, and its page.
    """

    flags: dflag.FlagRegistry
    volume: ConfigMapVolume
    updater: dflag.Updater
    page: Page
    address: str

    def open(self, path: str = "/") -> Page:
        """Load the page, as if for the first time."""
        self.page.goto("about:blank")  # otherwise an address with another fragment would load nothing
        self.page.goto(self.address + path)
        self.page.wait_for_selector("#link[data-state=live]")
        return self.page

    def row(self, name: str) -> Locator:
        return self.page.locator(f'[id="flag-{name}"]')

    def unfold(self, name: str) -> Locator:
        self.row(name).locator("button.name").click()
        return self.row(name)

    def names(self) -> list[str]:
        return self.page.locator(".flag:not([hidden]) button.name").all_inner_texts()


def _declare(flags: dflag.FlagRegistry) -> None:
    flags.dyn_int("cache.size", 10, "How much is kept", min=1, max=1_000, owner="edge team")
    flags.dyn_bool("cache.warm", default=False, help="Whether it is filled at start")
    flags.dyn_enum("cache.pace", Pace.SLOW, "How it is filled")
    flags.dyn_string("cache.mode", "a", "Which one", choices=["a", "b", "c"])
    flags.dyn_float("cache.ratio", 0.5, "Share of hits", min=0, max=1)
    flags.dyn_json("mail.policy", POLICY, "Who gets mail", schema=SCHEMA, owner="mail team")
    flags.dyn_json("mail.limits", POLICY, "How much mail", schema=SCHEMA, owner="mail team")
    flags.int("mail.workers", 4, "Size of the pool")
    flags.dyn_string("alone", "x", "The only one with its prefix")
    for number in range(31):
        by = "tenant" if number == KEYED else None
        flags.dyn_int(f"queue.part_{number:02}", number, "One of many", by=by)


RULES = """
- {name: part, when: {zone: eu-*}, set: {queue.part_01: 100}}
- {name: growing, from: 2020-01-01T00:00:00Z, of: zone, steps: [25%, 50%], every: 500000h, set: {queue.part_02: 1}}
- {name: later, from: 2990-01-01T00:00:00Z, set: {queue.part_02: 2}}
- {name: elsewhere, when: {zone: us-*}, set: {queue.part_03: 1}}
- {name: broken, set: {nothing: 1}}
"""


@pytest.fixture(name="opened", scope="module")
def _opened(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shop, list[str]]]:
    """Start the program, follow the volume, and open a page; collect the errors and warnings of its console."""
    flags = dflag.FlagRegistry("shop")
    _declare(flags)
    volume = ConfigMapVolume(tmp_path_factory.mktemp("views") / "shop")
    volume.write({"mail.workers": "4", "cache.size": "20"})
    problems: list[str] = []
    with dflag.Updater(flags, volume.path, facts={"zone": "eu-1"}) as updater:
        flags.freeze()
        context = chromium.new_context(viewport=LAPTOP, permissions=["clipboard-read", "clipboard-write"])
        page = context.new_page()
        page.set_default_timeout(DEADLINE_MS)
        page.on("console", lambda message: message.type in ("error", "warning") and problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        yield Shop(flags, volume, updater, page, ""), problems
        context.close()


@pytest.fixture(name="shop")
def _shop(opened: tuple[Shop, list[str]]) -> Iterator[Shop]:
    """Serve the program; after each test drop its overrides, and fail if the page logged errors."""
    shop, problems = opened
    with start_http_server(0, shop.flags, shop.updater, authorize=bearer_token(TOKEN, "alice")) as server:
        yield shop._replace(address=f"http://127.0.0.1:{server.port}")
        shop.page.goto("about:blank")
    drop_overrides(shop.flags)
    found = [each for each in problems if not NOISE.search(each)]
    problems.clear()
    assert found == []


def publish(shop: Shop, **values: str) -> None:
    """Publish the values, and wait until the program has applied them."""
    before = shop.updater.status().sources[0].applied_at
    shop.volume.write({"mail.workers": "4", "cache.size": "20", **values})
    assert shop.updater.wait_for(lambda _: shop.updater.status().sources[0].applied_at != before, 10)


# --- order


def test_forty_flags_fit_on_a_laptop(shop: Shop) -> None:
    """The dense view shows 40 flags on a laptop without scrolling, and the address keeps the view."""
    page = shop.open()
    bottoms = "[...document.querySelectorAll('.flag')].map((one) => one.getBoundingClientRect().bottom)"
    seen = f"() => {bottoms}.filter((bottom) => bottom <= innerHeight).length"
    assert page.evaluate(seen) < 20
    page.get_by_role("button", name="Dense").click()
    assert len(shop.names()) == 40
    assert page.evaluate(seen) == 40
    assert page.url.endswith("?view=dense")
    page.reload()
    page.wait_for_selector("#link[data-state=live]")
    assert page.evaluate(seen) == 40
    assert page.get_by_role("button", name="Dense").get_attribute("aria-pressed") == "true"
    assert page.evaluate("() => document.documentElement.scrollWidth") == LAPTOP["width"]


def test_sorting(shop: Shop) -> None:
    """Flags are sorted by name either way, by their last change, by what needs attention, and by owner."""
    page = shop.open()
    names = shop.names()
    assert names == sorted(names)
    page.get_by_label("Sort").select_option("-name")
    assert shop.names() == names[::-1]
    shop.flags["queue.part_07"].set(70)
    shop.row("queue.part_07").locator(".chip", has_text="override").wait_for()
    for order in ("changed", "attention"):
        page.get_by_label("Sort").select_option(order)
        assert shop.names()[0] == "queue.part_07"
    page.get_by_label("Sort").select_option("owner")
    assert shop.names()[:3] == ["cache.size", "mail.limits", "mail.policy"]
    assert page.url.endswith("?sort=owner")


def test_groups(shop: Shop) -> None:
    """Groups by prefix and by owner show how many flags they have, can be folded, and follow the search."""
    page = shop.open("/?group=prefix")
    heads = page.locator(".group:not([hidden]) button")
    assert heads.locator(".group-name").all_inner_texts() == ["cache", "mail", "queue", "Other flags"]
    assert "5 flags" in heads.first.inner_text()
    page.get_by_role("searchbox").press("ArrowDown")
    assert page.evaluate("() => document.activeElement.textContent").startswith("cache5 flags")
    heads.first.press("Enter")
    assert heads.first.get_attribute("aria-expanded") == "false"
    assert shop.names()[0] == "mail.limits"
    page.get_by_role("searchbox").fill("mail.p")
    assert heads.all_inner_texts() == ["mail\n1 of 3 flags"]
    page.get_by_role("searchbox").press("Escape")
    page.goto(f"{shop.address}/?group=prefix#flag-cache.size")
    page.wait_for_selector("#link[data-state=live]")
    assert shop.row("cache.size").locator(".more").is_visible()
    page.get_by_label("Group").select_option("owner")
    assert heads.locator(".group-name").all_inner_texts() == ["edge team", "mail team", "No owner"]


# --- what is shown


def test_nothing_is_claimed_while_loading(shop: Shop) -> None:
    """Before the first listing has come, the page only says that it loads, not that nothing has changed or matches."""
    page = shop.page
    page.goto("about:blank")
    waiting = []
    page.route("**/?format=json", lambda route: waiting.append(route))  # noqa: PLW0108 - it wants a function of Python
    page.goto(shop.address)
    page.get_by_text("Loading the flags").wait_for()
    shown = page.locator("main").inner_text()
    assert "Nothing has changed" not in shown
    assert "History" not in shown
    assert "No flag matches" not in shown
    for route in waiting:
        route.continue_()
    page.unroute("**/?format=json")
    page.wait_for_selector("#link[data-state=live]")
    assert not page.get_by_text("Loading the flags").is_visible()


def test_counters_say_since_when(shop: Shop) -> None:
    """The counters of the updater are shown with the time since which they count."""
    page = shop.open()
    assert re.search(r"errors? and \d+ warnings? since (\S+ )?\d\d:\d\d:\d\d", page.locator("#updater").inner_text())


def test_differences_stand_in_the_details(shop: Shop) -> None:
    """The details show the differences to the default, to a refused value, and to the value after a restart."""
    publish(
        shop,
        **{"mail.policy": json.dumps({**POLICY, "mode": "deny"}), "mail.limits": json.dumps({**POLICY, "mode": "no"})},
    )
    publish(
        shop,
        **{"mail.workers": "8", "mail.policy": json.dumps({**POLICY, "mode": "deny"}), "mail.limits": '{"mode": "no"}'},
    )
    shop.open()
    changed = shop.unfold("mail.policy").locator(".block", has_text="Changed from the default")
    assert changed.locator("del").all_inner_texts() == [f'{MINUS}\n  "mode": "allow"']
    assert changed.locator("ins").all_inner_texts() == ['+\n  "mode": "deny"']
    refused = shop.unfold("mail.limits").locator(".block", has_text="Rejected")
    assert refused.locator("ins").all_inner_texts() == ['+\n  "mode": "no"']
    assert len(refused.locator("del").all_inner_texts()) == 5
    shop.flags["alone"].set("long " * 200)
    shop.row("alone").locator(".chip", has_text="override").wait_for()
    cut = shop.unfold("alone").locator(".block", has_text="Changed from the default").locator("ins")
    assert cut.inner_text().endswith("… 1,000 characters")
    assert len(cut.inner_text()) < 500
    pending = shop.unfold("mail.workers").locator(".block", has_text="After a restart")
    assert [pending.locator("del").inner_text(), pending.locator("ins").inner_text()] == ["4", "8"]
    publish(shop)


def test_rules_have_a_panel(shop: Shop) -> None:
    """The panel of rules shows state, condition, share, next change and flags of each rule, or why it was refused."""
    publish(shop, **{"_rules.yaml": RULES})
    page = shop.open()
    rules = {rule.locator("h3").inner_text(): rule for rule in page.locator("#rules > li").all()}
    assert list(rules) == ["part", "growing", "later", "elsewhere", "broken"]
    assert "in force" in rules["part"].inner_text()
    assert "zone is eu-*" in rules["part"].inner_text()
    assert rules["part"].locator("a").inner_text() == "queue.part_01"
    assert rules["growing"].locator("progress").get_attribute("value") == "25"
    assert re.search(r"in \d+ days at 29\d\d-", rules["later"].inner_text())
    assert "not for this process" in rules["elsewhere"].inner_text()
    assert "no flag named 'nothing'" in rules["broken"].locator(".error").inner_text()
    block = shop.unfold("queue.part_01").locator(".block", has_text="The rule that sets its value")
    assert "zone is eu-*" in block.inner_text()
    publish(shop, **{"_rules.yaml": "- {set: {queue.part_01: 99}}"})
    nameless = shop.row("queue.part_01").locator(".reason", has_text="rule 1")
    nameless.wait_for()
    assert nameless.inner_text() == "rule 1"
    publish(shop, **{"_rules.yaml": "- {set: {queue"})
    unreadable = page.locator("#rules > li", has_text="_rules.yaml")
    unreadable.wait_for()
    assert "refused" in unreadable.inner_text()
    assert "expected JSON or YAML" in unreadable.locator(".error").inner_text()
    publish(shop)
    page.locator("#rules-section").wait_for(state="hidden")


def test_values_by_key_are_shown(shop: Shop) -> None:
    """The panel of rules and the details show values by tenant, and the form says that an override hides them."""
    rules = """
- {by: tenant, is: [acme, <b>bold</b>], set: {queue.part_05: 500}}
- {name: some, by: tenant, share: 12.5%, set: {queue.part_05: 80}}
"""
    publish(shop, **{"_rules.yaml": rules})
    page = shop.open()
    named, drawn = page.locator("#rules > li").all()
    assert "queue.part_05 = 500" in named.inner_text()
    assert "queue.part_05 = 80" in drawn.inner_text()
    row = shop.unfold("queue.part_05")
    first, second = row.locator(".keyed > li").all()
    assert "12.5 %, drawn by share" in first.inner_text()
    assert first.locator("code.full").inner_text() == "80"
    assert second.locator("p").first.inner_text() == "acme, <b>bold</b>"
    assert second.locator("code.full").inner_text() == "500"
    assert "All other keys have the value of the flag." in row.inner_text()
    assert "An override hides the values of every tenant (2 rules)." in row.locator("form").inner_text()
    publish(shop, **{"_rules.yaml": "- {by: tenant, set: {queue.part_05: 9}}"})
    row.get_by_text("any tenant").wait_for()
    assert "All others" not in row.inner_text()
    publish(shop)
    row.locator(".keyed").wait_for(state="detached")


def test_layers_are_drawn(shop: Shop) -> None:
    """The details list the layers with the one in effect marked, and a button copies the value of a layer."""
    shop.flags["cache.size"].set(30, reason="bob: try", ttl_seconds=600)
    shop.open()
    layers = shop.unfold("cache.size").locator(".ladder > li")
    assert [layer.locator(".chip").inner_text() for layer in layers.all()] == [
        "override",
        str(shop.volume.path),
        "default",
    ]
    assert "in effect" in layers.first.inner_text()
    assert re.search(r"left until (\S+ )?\d\d:\d\d:\d\d", layers.first.inner_text())
    layers.nth(1).get_by_role("button").click()
    shop.page.locator("#news", has_text="Copied").wait_for(state="attached")
    assert shop.page.evaluate("() => navigator.clipboard.readText()") == "20"


def test_history_by_revision(shop: Shop) -> None:
    """The history groups the changes of one revision, with its time, and a field filters the changes."""
    publish(shop, **{"queue.part_04": "40", "queue.part_05": "50"})
    shop.flags["queue.part_06"].set(60, reason="carol: why")
    page = shop.open()
    revisions = page.locator("#history > li")
    assert "queue.part_06" in revisions.nth(0).inner_text()
    assert [one.inner_text() for one in revisions.nth(1).locator(".flagname").all()] == [
        "queue.part_04",
        "queue.part_05",
    ]
    when = revisions.nth(1).locator(".when").inner_text()
    assert re.search(r"\d\d:\d\d:\d\d", when)
    assert f"revision {shop.flags.snapshot().revision - 1}" in when
    page.get_by_label("Filter the history").fill("part_05")
    assert page.locator("#history .entry:visible").count() == 1
    assert page.locator("#history-count").inner_text().startswith("1 of ")
    page.get_by_label("Filter the history").fill("carol why")
    assert page.locator("#history .entry:visible").locator(".flagname").inner_text() == "queue.part_06"
    publish(shop)


def test_copying(shop: Shop) -> None:
    """Name, value and link of a flag can be copied, also if the browser refuses the page its clipboard."""
    page = shop.open()
    details = shop.unfold("cache.size")
    for what, expected in [("name", "cache.size"), ("value", "20"), ("link", f"{shop.address}/#flag-cache.size")]:
        details.get_by_role("button", name=f"Copy {what}").click()
        details.locator(".copy[data-state=copied]", has_text=f"Copy {what}").wait_for()
        assert page.evaluate("() => navigator.clipboard.readText()") == expected
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no clipboard')); }")
    details.get_by_role("button", name="Copy name").click()
    page.wait_for_function("() => navigator.clipboard.readText().then((text) => text === 'cache.size')")


# --- editing


def test_fields_suit_the_kind(shop: Shop) -> None:
    """A bool has a switch, enum and choices have a list, and a number has its limits, checked while one types."""
    shop.open()
    switch = shop.unfold("cache.warm").get_by_role("switch", name="Value")
    assert not switch.is_checked()
    options = shop.unfold("cache.pace").get_by_label("Value").locator("option")
    assert options.all_inner_texts() == ["SLOW", "FAST"]
    assert shop.unfold("cache.mode").get_by_label("Value").locator("option").all_inner_texts() == ["a", "b", "c"]
    field = shop.unfold("cache.size").get_by_role("spinbutton", name="Value")
    assert field.evaluate("one => [one.min, one.max, one.step]") == ["1", "1000", "1"]
    for text, verdict in [
        ("0", "expected at least 1"),
        ("1001", "expected at most 1000"),
        ("1.5", "expected a whole number"),
        ("", "expected a number"),
        ("2", ""),
    ]:
        field.fill(text)
        assert shop.row("cache.size").locator(".verdict").inner_text() == verdict
        assert field.get_attribute("aria-invalid") == str(verdict != "").lower()
    assert shop.unfold("cache.ratio").get_by_role("spinbutton").get_attribute("step") == "any"


def test_json_editor(shop: Shop) -> None:
    """The JSON editor keeps the order of keys, and marks syntax errors and schema violations while one types."""
    page = shop.open()
    form = shop.unfold("mail.policy").locator("form")
    field = form.get_by_label("Value")
    assert field.input_value() == json.dumps(POLICY, indent=2)
    field.fill('{\n  "mode": "allow",\n  "limits": {"per_user" 1}\n}')
    assert form.locator(".verdict").inner_text() == "line 3, column 25: expected a colon after the name"
    assert form.locator(".numbers .faulty").inner_text() == "3"
    field.fill('{"mode":"no","a":1}')
    assert form.locator(".verdict").inner_text() == ""  # without a token the server is not asked
    form.get_by_label("Token").fill(TOKEN)
    field.press("End")
    field.press("Space")
    form.locator(".verdict", has_text="'no' is not one of").wait_for()
    field.fill('{"mode":"deny","b":1.0,"a":12345678901234567890}')
    form.locator(".verdict.good").wait_for()
    form.get_by_role("button", name="Format").click()
    expected = '{\n  "mode": "deny",\n  "b": 1.0,\n  "a": 12345678901234567890\n}'
    assert field.input_value() == expected
    form.get_by_role("button", name="Review").click()
    form.get_by_role("button", name="Set", exact=True).click()
    form.locator(".result", has_text="Set.").wait_for()
    assert field.input_value() == expected
    assert list(shop.flags["mail.policy"].get()) == ["mode", "b", "a"]
    field.press("Control+End")
    field.press("Enter")
    page.keyboard.type("x")
    assert form.locator(".numbers span").last.inner_text() == "6"


def test_confirmation_shows_the_difference(shop: Shop) -> None:
    """Setting and dropping an override ask first, with the difference, the process, the reason and the time limit."""
    page = shop.open()
    form = shop.unfold("cache.size").locator("form")
    process = re.findall(r"process (\d+)", page.locator("#meta").inner_text())[0]
    assert f"in process {process} only" in form.inner_text()
    form.get_by_label("Value").fill("33")
    form.get_by_label("Reason").fill("sale")
    form.get_by_label("Token").fill(TOKEN)
    form.get_by_role("button", name="Review").click()
    asked = form.locator(".confirming")
    asked.wait_for()
    assert [asked.locator("del").inner_text(), asked.locator("ins").inner_text()] == ["20", "33"]
    for words in (r"Set cache\.size until (\S+ )?\d\d:\d\d:\d\d\?", "Reason: sale", f"in process {process} only"):
        assert re.search(words, asked.inner_text()), words
    assert page.evaluate("() => document.activeElement.textContent") == "Set"
    assert shop.flags["cache.size"].get() == 20
    shop.flags["cache.size"].set(25)
    page.wait_for_function("() => document.querySelector('.confirming del')?.textContent === '25'")
    asked.get_by_role("button", name="Back").click()
    assert form.get_by_label("Value").input_value() == "33"
    form.get_by_role("button", name="Review").click()
    asked.get_by_role("button", name="Set", exact=True).click()
    form.locator(".result", has_text="Set.").wait_for()
    assert shop.flags["cache.size"].get() == 33
    form.get_by_role("button", name="Drop override").click()
    asked.get_by_role("button", name="Drop", exact=True).wait_for()
    assert [asked.locator("del").inner_text(), asked.locator("ins").inner_text()] == ["33", "20"]
    asked.get_by_role("button", name="Drop", exact=True).click()
    form.locator(".result", has_text="Dropped.").wait_for()
    assert shop.flags["cache.size"].origin == str(shop.volume.path)


TEXTS = [
    *("{}", "[]", '""', "0", "-1.5e+10", "true", "null", ' {"a": [1, {"b": "\\u00e9\\n"}], "c": false} \n'),
    *("", " ", "{", "[", "[1,]", '{"a":1,}', '{"a" 1}', "{a: 1}", "'a'", "01", "1.", ".5", "+1", "tru", "nul", "truex"),
    *('"a', '"\\x"', '"\n"', "1 2", "[1 2]", "[1}", '{"a":}', "NaN", "[" * 200, '{"a": "b"'),
    *("[" * depth + inside + "]" * depth for depth in (99, 100, 101) for inside in ("", "1", '{"a": 1}')),
]


def test_faults_of_json(shop: Shop) -> None:
    """The page accepts exactly the JSON that the flag accepts, and reports a repeated name as a fault at its place."""
    page = shop.open()
    read = "async (texts) => texts.map((await import('/static/page_json.js')).jsonFault)"
    judged = page.evaluate(read, TEXTS)
    flag = dflag.FlagRegistry().dyn_json("any", 0)
    for text, fault in zip(TEXTS, judged, strict=True):
        try:
            flag.set_text(text)
        except dflag.FlagValueError:
            assert fault is not None, text
        else:
            assert fault is None, text
    faults = page.evaluate(read, ['{\n "a": 1,\n "a": 2}', "[1,\n 2\n 3]", '{"a": tru}'])
    assert [(fault["line"], fault["column"]) for fault in faults] == [(3, 2), (3, 2), (1, 7)]


# --- for everybody


def test_views_are_accessible(shop: Shop) -> None:
    """Axe finds nothing serious in dense groups with rules, differences and a confirmation, dark and light."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    publish(shop, **{"_rules.yaml": RULES, "mail.limits": '{"mode": "no"}'})
    page = shop.open("/?view=dense&group=prefix")
    assert not page.locator("#rules").is_visible()
    page.locator("#rules-section").get_by_role("button", name="Show", exact=True).click()
    assert page.locator("#rules").is_visible()
    for name in ("mail.policy", "mail.limits", "queue.part_01"):
        shop.unfold(name)
    form = shop.unfold("cache.size").locator("form")
    form.get_by_label("Value").fill("33")
    form.get_by_label("Token").fill(TOKEN)
    form.get_by_role("button", name="Review").click()
    form.locator(".confirming").wait_for()
    page.evaluate("() => scrollTo(0, 0)")
    found = []
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        found += axe.Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    publish(shop)
    assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")] == []


def test_views_fit_a_phone(shop: Shop) -> None:
    """On a phone, the page with rules, groups and an open editor does not scroll sideways."""
    publish(shop, **{"_rules.yaml": RULES})
    shop.page.set_viewport_size({"width": 390, "height": 844})
    page = shop.open("/?view=dense&group=owner")
    shop.unfold("mail.policy")
    wide = page.evaluate("() => document.documentElement.scrollWidth")
    shop.page.set_viewport_size(LAPTOP)  # type: ignore[arg-type]
    publish(shop)
    assert wide == 390
