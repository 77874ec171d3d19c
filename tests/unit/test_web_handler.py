from __future__ import annotations

import datetime
import enum
import json
import logging
import math
import os
import re
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import pytest

import dflag
from dflag._clock import CLOCK
from dflag._faults import OwnThread
from dflag._flags import conceal
from dflag._read_counts import stop_counting
from dflag.errors import DefinitionError
from dflag.sources import MemorySource, Source, Watch
from dflag.web import _listing, bearer_token
from dflag.web._handler import Handler
from dflag.web._http import NeedsBody, Request, Response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dflag.typing import Wake
    from dflag.web import Authorize

ALLOWED = {"authorization": "Bearer t0ken", "content-type": "application/json"}


class Client:
    """
    Sends requests to a handler as a server would.
    """

    def __init__(
        self,
        registry: dflag.FlagRegistry,
        updater: dflag.Updater | None = None,
        *,
        authorize: Authorize | None = None,
        title: str | None = None,
    ) -> None:
        self.handler = Handler(registry, updater, authorize=authorize, title=title)

    def get(self, query: str = "", path: str = "/", method: str = "GET", **headers: str) -> Response:
        return self.ask(method, path, query, headers={key.replace("_", "-"): value for key, value in headers.items()})

    def listing(self, query: str = "") -> dict[str, Any]:
        answer = self.get(query)
        assert answer.status == 200
        listing: dict[str, Any] = json.loads(answer.body)
        return listing

    def flag(self, name: str) -> dict[str, Any]:
        (row,) = self.listing(f"name={name}")["flags"]
        return dict(row)

    def post(self, body: object, headers: Mapping[str, str] = ALLOWED) -> Response:
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask("POST", "/set", headers=headers, body=sent)

    def ask(
        self, method: str, path: str, query: str = "", *, headers: Mapping[str, str], body: bytes = b"", mount: str = ""
    ) -> Response:
        answer = self.handler.handle(Request(method=method, path=path, mount=mount, query=query, headers=headers))
        if isinstance(answer, NeedsBody):
            answer = answer.finish(body if len(body) <= answer.limit_bytes else None)
        return answer


def said(answer: Response) -> str:
    message: str = json.loads(answer.body)["error"]
    return message


@pytest.fixture(name="client")
def _client(flags: dflag.FlagRegistry) -> Client:
    """Return a client that may set flags."""
    return Client(flags, authorize=bearer_token("t0ken", "alice"))


# --- the listing


def test_keys_of_go(flags: dflag.FlagRegistry, client: Client) -> None:
    """A listing has the keys of the Go library: JSON is indented, and changed means different from the default."""
    flags.int("port", 8080, "Port to listen on")
    flags.dyn_json("policy", {"mode": "allow"}, "Admission").set({"mode": "deny"})
    listing = client.listing()
    expected: list[dict[str, Any]] = [
        {
            "name": "policy",
            "description": "Admission",
            "current_value": '{\n  "mode": "deny"\n}',
            "default_value": '{\n  "mode": "allow"\n}',
            "is_changed": True,
            "is_dynamic": True,
            "is_json": True,
        },
        {
            "name": "port",
            "description": "Port to listen on",
            "current_value": "8080",
            "default_value": "8080",
            "is_changed": False,
            "is_dynamic": False,
            "is_json": False,
        },
    ]
    assert [{key: row[key] for key in expected[0]} for row in listing["flags"]] == expected
    assert listing["checksum_static"] == flags.checksum(dynamic=False)
    assert listing["checksum_dynamic"] == flags.checksum(dynamic=True)
    assert listing["checksum"] == flags.checksum()
    assert listing["set_url"] == "set"


def test_what_is_changed_is_judged_by_the_value(flags: dflag.FlagRegistry, client: Client) -> None:
    """`is_changed` compares values and not their texts: 2 printed as "x" is changed, -0.0 is not."""
    flags.dyn_custom("cut", 1, parse=int, format=lambda _: "x").set(2)
    flags.dyn_float("zero", 0.0).set(-0.0)
    assert client.flag("cut")["is_changed"]
    assert not client.flag("zero")["is_changed"]


def test_our_keys(flags: dflag.FlagRegistry, client: Client) -> None:
    """A listed flag has its kind, limits, choices, owner, deprecation, expiry, layers and last change."""
    rate = flags.dyn_int(
        "rate", 50, min=1, max=100, owner="team-a", deprecated="use quota", expires=datetime.date(2027, 1, 2)
    )
    mode = flags.dyn_string("mode", "a", choices=["a", "b"])
    with pytest.warns(DeprecationWarning, match="use quota"):
        flags.apply({"rate": "60"}, source="config")
    rate.set(70, reason="busy", ttl_seconds=600)
    row = client.flag("rate")
    assert (row["type"], row["range"], row["owner"], row["deprecated"], row["expires"]) == (
        "int",
        "from 1 to 100",
        "team-a",
        "use quota",
        "2027-01-02",
    )
    assert [(layer["origin"], layer["text"], layer["reason"]) for layer in row["layers"]] == [
        ("override", "70", "busy"),
        ("config", "60", None),
        ("default", "50", None),
    ]
    ends = datetime.datetime.fromisoformat(row["layers"][0]["expires_at"])
    assert 590 < (ends - datetime.datetime.now(datetime.UTC)).total_seconds() < 610
    change = row["last_change"]
    assert (change["old"], change["new"], change["origin"], change["reason"]) == ("60", "70", "override", "busy")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", change["when"])
    assert row["origin"] == "override"
    assert client.flag(mode.name)["choices"] == "'a', 'b'"
    rate.reset()


def test_history_in_order(flags: dflag.FlagRegistry, client: Client) -> None:
    """The history is listed oldest first, and a long text in it is cut to 2000 characters."""
    note = flags.dyn_string("note", "")
    note.set("a")
    note.set("b" * 100_000)
    history = client.listing()["history"]
    assert [(change["old"][:1], change["new"][:1]) for change in history] == [("", "a"), ("a", "b")]
    assert len(history[1]["new"]) == 2_000
    assert history[1]["new"].endswith("…")


def test_json_value_is_native(flags: dflag.FlagRegistry, client: Client) -> None:
    """A JSON flag or map is listed with its value as JSON; other kinds have null as the value."""
    flags.dyn_json("policy", {"limits": [1, None]})
    flags.dyn_map("urls", {"a.url": "x"}, keys="*.url", of="string")
    flags.dyn_float("ratio", math.inf)
    assert client.flag("policy")["value"] == {"limits": [1, None]}
    assert client.flag("urls")["value"] == {"a.url": "x"}
    assert (client.flag("ratio")["value"], client.flag("ratio")["current_value"]) == (None, "+Inf")


def test_secret_shows_nowhere(flags: dflag.FlagRegistry) -> None:
    """A secret's value is not in a listing or an answer: not as value, default, choice, layer, history or refusal."""
    key = flags.dyn_string("key", "hush-default", secret=True, choices=["hush-default", "hush-1", "hush-2"])
    policy = flags.dyn_json("token", {"t": "hush-json"}, secret=True)
    flags.apply({"key": "hush-1", "token": '["hush-3"]'}, source="config")
    key.set("hush-2")
    policy.set(["hush-4"])
    flags.apply({"key": "hush-bad", "token": "hush-bad"}, source="config")
    client = Client(flags, authorize=bearer_token("t0ken", "alice"))
    shown = client.get().body + client.post({"name": "token", "value": '"hush-5"'}).body
    shown += client.post({"name": "token", "value": "hush-6"}).body
    assert b"hush" not in shown
    assert client.flag("key")["current_value"] == client.flag("key")["layers"][0]["text"] == "******"
    assert client.flag("token")["value"] is None


def test_refusal_from_before_it_was_secret(flags: dflag.FlagRegistry, client: Client) -> None:
    """A refused text that the listing quoted is hidden once the flag becomes secret, also without a commit."""
    key = flags.dyn_int("key", 1)
    flags.apply({"key": "hush"}, source="config")
    assert "hush" in client.flag("key")["rejected"][0]["message"]
    before = flags.snapshot().revision
    conceal(key)
    assert flags.snapshot().revision == before
    row = client.flag("key")
    assert (row["current_value"], row["rejected"][0]["where"]) == ("******", "config")
    assert "hush" not in client.get().body.decode()


def test_rejected_and_unknown(flags: dflag.FlagRegistry, client: Client) -> None:
    """A refused text is listed at its flag with its key and source, and unknown keys are listed."""
    flags.dyn_int("rate", 50)
    flags.dyn_map("urls", {}, keys="*.n", of="int")
    flags.apply({"rate": "abc", "a.n": "x", "nobody": "1"}, source="config")
    (rejected,) = client.flag("rate")["rejected"]
    expected = {"key": "rate", "where": "config", "message": "flag 'rate': expected an int, got 'abc' (config)"}
    assert rejected == expected
    assert [found["key"] for found in client.flag("urls")["rejected"]] == ["a.n"]
    assert client.listing()["unknown"] == ["nobody"]


def test_pending_restart(flags: dflag.FlagRegistry, client: Client) -> None:
    """A frozen static flag that would have another value after a restart is listed as pending."""
    flags.int("port", 8080)
    assert client.listing()["frozen"] is False
    flags.freeze()
    flags.apply({"port": "9090"}, source="config")
    assert client.flag("port")["pending_restart"] is True
    listing = client.listing()
    assert (listing["pending_restart"], listing["frozen"]) == (["port"], True)


def test_value_that_cannot_be_printed(
    flags: dflag.FlagRegistry, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value whose printing raises is listed as "(cannot be printed)", and the other flags as usual."""
    flags.dyn_json("odd", {"a": 1})
    other = flags.dyn_int("rate", 50)

    def explode(self: object, value: object) -> str:
        raise TypeError("hush")

    monkeypatch.setattr(type(flags["odd"]._pipeline.kind), "format", explode)
    assert client.flag("odd")["current_value"] == "(cannot be printed)"
    assert client.flag(other.name)["current_value"] == "50"


class Odd(str):
    """
    A text whose `str()` and `repr()` raise.
    """

    __slots__ = ("fault",)

    def __new__(cls, fault: BaseException) -> Self:
        made = super().__new__(cls, "odd")
        made.fault = fault
        return made

    def __str__(self) -> str:
        raise self.fault

    __repr__ = __str__


class OddDate(datetime.date):
    """
    A date whose `str()` and `repr()` raise.
    """

    def __str__(self) -> str:
        raise RuntimeError("hush")

    __repr__ = __str__


FAULTS = [RuntimeError("hush"), SystemExit("hush"), GeneratorExit("hush"), RecursionError("hush")]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("option", ["owner", "deprecated", "expires", "help"])
def test_declaration_that_cannot_be_printed(
    flags: dflag.FlagRegistry, client: Client, option: str, fault: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """An expiry whose printing raises is listed as "(cannot be printed)", a text whose `str()` raises as its text."""
    options: dict[str, Any] = {option: OddDate(2030, 1, 1) if option == "expires" else Odd(fault)}
    flags.dyn_int("rate", 50, **options)
    row = client.flag("rate")
    assert row["current_value"] == "50"
    shown = row["description" if option == "help" else option]
    assert shown == ("(cannot be printed)" if option == "expires" else "odd")
    assert "hush" not in caplog.text


@pytest.mark.parametrize("fault", FAULTS)
def test_limits_that_cannot_be_printed(
    flags: dflag.FlagRegistry, client: Client, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    """A flag is listed with "(cannot be printed)", and can be set, when printing its value, limit or reason raises."""
    rate = flags.dyn_int("rate", 50, max=100)
    rate.set(60, reason=Odd(fault))

    def explode(self: object, value: object) -> str:
        raise fault

    monkeypatch.setattr(type(rate._pipeline.kind), "format", explode)
    row = client.flag("rate")
    assert row["current_value"] == row["range"] == "(cannot be printed)"
    answers: list[int] = []
    serving = OwnThread(
        target=lambda: answers.append(client.post({"name": "rate", "value": "70"}).status)
    )  # as a server
    serving.start()
    serving.join()
    assert answers == [200]
    assert rate.get() == 70


@pytest.mark.parametrize("printed", [None, b"60", 60, math.nan])
def test_value_that_is_printed_as_no_text(
    flags: dflag.FlagRegistry, client: Client, monkeypatch: pytest.MonkeyPatch, printed: object
) -> None:
    """A value that is printed as bad JSON, or as something other than a text, is listed without a native value."""
    flags.dyn_json("policy", {"a": 1})
    flags.dyn_map("urls", {}, keys="*.url", of="string")
    for name in ("policy", "urls"):
        monkeypatch.setattr(type(flags[name]._pipeline.kind), "format", lambda self, value: printed)
    for name in ("policy", "urls"):
        assert (client.flag(name)["current_value"], client.flag(name)["value"]) == ("(cannot be printed)", None)
    monkeypatch.setattr(type(flags["policy"]._pipeline.kind), "format", lambda self, value: "{no json")
    flags["policy"].set({"a": 2})
    assert (client.flag("policy")["current_value"], client.flag("policy")["value"]) == ("{no json", None)


@pytest.mark.parametrize("name", ["__proto__", "constructor", "-", "_", "0", "a..b", "-.-", "x" * 253])
def test_odd_names(flags: dflag.FlagRegistry, client: Client, name: str) -> None:
    """A flag with an unusual but valid name is listed and can be set."""
    flags.dyn_int(name, 1)
    assert json.loads(client.post({"name": name, "value": "2"}).body)["flag"]["current_value"] == "2"
    assert client.flag(name)["current_value"] == "2"


def test_declaring_while_it_is_shown(flags: dflag.FlagRegistry, client: Client) -> None:
    """Listings and settings are answered while another thread declares, changes and observes flags."""
    done = threading.Event()

    def declare() -> None:
        for number in range(300):
            rate = flags.dyn_int(f"rate{number}", number)
            flags.apply({f"rate{number}": str(number + 1), f"urls{number}": "x"}, source="config")
            rate.on_change(lambda old, new: None)
        done.set()

    flags.dyn_int("rate", 0)
    thread = threading.Thread(target=declare)
    thread.start()
    asked = 0
    while not done.is_set() or asked < 10:
        asked += 1
        assert client.get().status == 200
        assert client.post({"name": "rate", "value": str(asked)}).status == 200
    thread.join()
    assert client.listing()["flag_count"] == 301


@pytest.mark.parametrize("seconds", [1e-9, 1e9, 1e11, 1e12, 1e300, 10**300, 8.64e17])
def test_time_limit_beyond_the_calendar(flags: dflag.FlagRegistry, client: Client, seconds: float) -> None:
    """An override whose time limit ends after the year 9999 is listed as ending in 9999, and the flag can be set."""
    rate = flags.dyn_int("rate", 50)
    rate.set(60, ttl_seconds=seconds)
    row = client.flag("rate")
    if seconds > 1:
        ends = datetime.datetime.fromisoformat(row["layers"][0]["expires_at"])
        assert ends > datetime.datetime.now(datetime.UTC)
        assert (ends.year == 9999) is (seconds > 1e11 * 3)
    assert client.post({"name": "rate", "value": "70"}).status == 200
    rate.reset()


def test_characters_that_utf8_lacks(flags: dflag.FlagRegistry, client: Client) -> None:
    """A lone surrogate in a value, a help or a title does not break the listing or the page."""
    flags.dyn_string("half", "\ud800", "help \ud800")
    odd = Client(flags, title="<b>\ud800")
    assert client.flag("half")["current_value"] == "\ud800"
    assert odd.listing()["title"] == "<b>\ud800"
    assert b"&lt;b&gt;" in odd.get("format=html").body


def test_callback_errors_are_counted(flags: dflag.FlagRegistry, client: Client) -> None:
    """An error of a callback is counted at its flag in the next listing, without a new revision."""
    rate = flags.dyn_int("rate", 50)
    listed = threading.Event()

    @rate.on_change
    def fail(old: int, new: int) -> None:
        assert listed.wait(20)
        raise RuntimeError

    rate.set(60)
    assert client.flag("rate")["callback_errors"] == 0
    listed.set()
    assert flags.flush(20)
    assert client.flag("rate")["callback_errors"] == 1


# --- filters


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["a.x", "a.y", "b"]),
        ("type=dynamic", ["a.x", "b"]),
        ("type=static", ["a.y"]),
        ("type=other", ["a.x", "a.y", "b"]),
        ("only_changed=1", ["b"]),
        ("only_changed=no", ["b"]),
        ("only_changed=", ["a.x", "a.y", "b"]),
        ("name=a.*", ["a.x", "a.y"]),
        ("name=A.*", []),
        ("name=%5Bab%5D*", ["a.x", "a.y", "b"]),
        ("name=%5B%5B", []),
        ("name=", ["a.x", "a.y", "b"]),
        ("type=dynamic&name=a*", ["a.x"]),
        ("type=dynamic&type=static", ["a.x", "b"]),
        ("nonsense=1&&=", ["a.x", "a.y", "b"]),
    ],
)
def test_filters(flags: dflag.FlagRegistry, client: Client, query: str, names: list[str]) -> None:
    """Filters select the listed flags only; the first of a repeated filter counts, and unknown ones are ignored."""
    flags.dyn_int("a.x", 1)
    flags.int("a.y", 1)
    flags.dyn_int("b", 1).set(2)
    listing = client.listing(query)
    assert [row["name"] for row in listing["flags"]] == names
    assert (listing["flag_count"], listing["checksum_dynamic"]) == (3, flags.checksum(dynamic=True))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("name=" + "a" * 1_001, "name: expected at most 1000 characters"),
        ("&".join(["a=1"] * 33), "the query has too many fields"),
    ],
)
def test_absurd_queries(client: Client, query: str, message: str) -> None:
    """A query with a long pattern or with many fields is answered with 400."""
    answer = client.get(query)
    assert (answer.status, said(answer)) == (400, message)


# --- forms, tags and headers


def test_forms(client: Client) -> None:
    """A script gets JSON and a browser HTML by Accept; ``format=json`` and ``format=html`` override Accept."""
    html = "text/html,application/xml;q=0.9,*/*;q=0.8"
    kinds = {
        (query, accept): client.get(query, accept=accept).headers["Content-Type"]
        for query in ("", "format=json", "format=html", "format=xml")
        for accept in ("*/*", html)
    }
    assert kinds == {
        ("", "*/*"): "application/json",
        ("", html): "text/html; charset=utf-8",
        ("format=json", "*/*"): "application/json",
        ("format=json", html): "application/json",
        ("format=html", "*/*"): "text/html; charset=utf-8",
        ("format=html", html): "text/html; charset=utf-8",
        ("format=xml", "*/*"): "application/json",
        ("format=xml", html): "text/html; charset=utf-8",
    }


def test_entity_tags_differ(flags: dflag.FlagRegistry, client: Client) -> None:
    """Each form and filter of the listing has a strong tag of its own, even if the bytes are the same."""
    flags.dyn_int("rate", 50)
    queries = ["", "type=dynamic", "name=*", "name=rate", "only_changed=1", "format=html"]
    tags = [client.get(query).headers["ETag"] for query in queries]
    assert len(set(tags)) == len(tags)
    assert all(re.fullmatch(r'"[0-9a-f]{32}"', tag) for tag in tags)


@pytest.mark.parametrize("query", ["", "type=dynamic", "format=html"])
def test_not_modified(flags: dflag.FlagRegistry, client: Client, query: str) -> None:
    """A client with the current tag gets 304 without a body; one with the tag of another form gets 200."""
    flags.dyn_int("rate", 50)
    first = client.get(query)
    again = client.get(query, if_none_match=f'"x", W/{first.headers["ETag"]}')
    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    assert again.headers["Vary"] == "Accept"
    assert "Content-Type" not in again.headers
    assert client.get(query, if_none_match="*").status == 304
    other = client.get("name=rate").headers["ETag"]
    assert client.get(query, if_none_match=other).status == 200


def test_every_change_is_a_new_tag(flags: dflag.FlagRegistry, client: Client) -> None:
    """Each change of a value, reason, layer, unknown key, declaration or the freeze changes the tag at once."""
    rate = flags.dyn_int("rate", 50)
    tags = [client.get().headers["ETag"]]
    steps = [
        lambda: rate.set(60),
        lambda: rate.set(60, reason="again"),
        rate.reset,
        lambda: flags.apply({"nobody": "1"}, source="config"),
        lambda: flags.int("port", 1),
        flags.freeze,
    ]
    for step in steps:
        step()
        tags.append(client.get().headers["ETag"])
        assert client.get(if_none_match=tags[-1]).status == 304
    assert len(set(tags)) == len(tags)


def test_only_so_many_forms_are_kept(flags: dflag.FlagRegistry, client: Client) -> None:
    """The handler keeps a limited number of rendered listings when a client asks for 100 patterns."""
    flags.dyn_int("rate", 50)
    for number in range(100):
        client.get(f"name=a{number}")
    generation = client.handler._listings._generation
    assert generation is not None
    assert len(generation.representations) == _listing._KEPT_BODIES


def test_answer_at_once_only_what_is_there(flags: dflag.FlagRegistry, client: Client) -> None:
    """`handle_at_once()` answers a listing that is already rendered, a file and an unknown path, but not a setting."""
    rate = flags.dyn_int("rate", 50)
    at_once = client.handler.handle_at_once
    root = Request(method="GET", path="/")
    assert at_once(root) is None
    assert client.get().status == 200
    ready = at_once(root)
    assert ready is not None
    assert ready.status == 200
    rate.set(60)
    assert at_once(root) is None
    assert at_once(Request(method="POST", path="/set", headers=ALLOWED)) is None
    for path, status in (("/static/page.js", 200), ("/nowhere", 404)):
        answer = at_once(Request(method="GET", path=path))
        assert answer is not None
        assert answer.status == status


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/static/page.js", 200),
        ("GET", "/nowhere", 404),
        ("PUT", "/", 405),
        ("POST", "/set", 401),
    ],
)
def test_security_headers(client: Client, method: str, path: str, status: int) -> None:
    """Every answer, errors included, has the headers that forbid sniffing, framing and foreign content."""
    answer = client.ask(method, path, headers={})
    assert answer.status == status
    headers = answer.headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-cache"
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "img-src": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


@pytest.mark.parametrize("path", ["/", "/static/page.css", "/nowhere", "/set"])
def test_head_is_get_without_body(client: Client, path: str) -> None:
    """HEAD has the status and headers of GET, and no body."""
    got, head = client.get(path=path), client.get(path=path, method="HEAD")
    assert (head.status, head.headers, head.body) == (got.status, got.headers, b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "get", ""])
def test_other_methods(client: Client, method: str) -> None:
    """The page and its files answer any method other than GET and HEAD with 405."""
    for path in ("", "/", "/static/page.js"):
        answer = client.ask(method, path, headers=ALLOWED)
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "path",
    [
        "/set/",
        "/static",
        "/static/",
        "/static/page.html",
        "/static/../page.html",
        "/static/%2e%2e/page.css",
        "/static//page.css",
        "//static/page.css",
        "/page.css",
        "/static/page.css\x00",
        "/etc/passwd",
    ],
)
def test_unknown_paths(client: Client, path: str) -> None:
    """A path that is not served is answered with 404."""
    assert client.get(path=path).status == 404


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("page.css", "text/css"),
        ("page.js", "text/javascript"),
        ("page.svg", "image/svg+xml"),
        ("page_base.js", "text/javascript"),
        ("page_process.js", "text/javascript"),
        ("page_row.js", "text/javascript"),
        ("page_setting.js", "text/javascript"),
    ],
)
def test_static_files(client: Client, name: str, kind: str) -> None:
    """Each file of the page is served with its type, its length and a tag."""
    answer = client.get(path=f"/static/{name}")
    assert answer.headers["Content-Type"] == f"{kind}; charset=utf-8"
    assert answer.headers["Content-Length"] == str(len(answer.body))
    assert client.get(path=f"/static/{name}", if_none_match=answer.headers["ETag"]).status == 304


@pytest.mark.parametrize(
    ("mount", "path", "base"),
    [("", "/", ""), ("/debug/flags", "/", ""), ("/debug/flags", "", "flags/"), ("/a b<", "", "a%20b%3C/")],
)
def test_links_are_relative(client: Client, mount: str, path: str, base: str) -> None:
    """Links are relative to the prefix at which the page is mounted, with and without a slash after it."""
    listing = json.loads(client.ask("GET", path, headers={}, mount=mount).body)
    assert listing["set_url"] == f"{base}set"
    page = client.ask("GET", path, "format=html", headers={}, mount=mount).body.decode()
    assert f'"{base}static/page.js"' in page
    assert f'"{base}static/page.css"' in page


def test_title(flags: dflag.FlagRegistry) -> None:
    """The title is the given one, else the registry's name, else "dflag"."""
    named = dflag.FlagRegistry("shop")
    assert Client(flags).listing()["title"] == "dflag"
    assert Client(named).listing()["title"] == "shop"
    assert Client(named, title="Till").listing()["title"] == "Till"


def test_a_title_is_shown_as_it_is(flags: dflag.FlagRegistry) -> None:
    """The page escapes markup in a title and does not fill in a placeholder in it."""
    answer = Client(flags, title="<{base}>").ask("GET", "", headers={"accept": "text/html"}, mount="/debug/flags")
    assert b"<title>&lt;{base}&gt;</title>" in answer.body
    assert b'href="flags/static/page.css"' in answer.body


# --- sources


class Flaky(Source):
    """
    A source that returns values, or raises `SourceError` with the text `fault`.
    """

    name = "flaky"

    def __init__(self) -> None:
        self.fault: str | None = None

    def read(self) -> dict[str, str]:
        if self.fault is not None:
            raise dflag.SourceError(self.fault)
        return {"rate": "60"}


def test_updater_shows(flags: dflag.FlagRegistry) -> None:
    """The updater's state, counters and sources are listed; a failing source has its error and its last contact."""
    flags.dyn_int("rate", 50)
    source = Flaky()
    updater = dflag.Updater(flags, [source, MemorySource({"nobody": "1"}, name="memory")])
    client = Client(flags, updater)
    assert client.listing()["updater"]["sources"][0]["in_touch"] is False
    updater.initialize()
    shown = client.listing()["updater"]
    assert (shown["state"], shown["in_touch"], shown["last_success"], shown["warnings"]) == (
        "initialized",
        True,
        None,
        1,
    )
    expected = {
        "name": "flaky",
        "healthy": True,
        "watched": "not watched",
        "degraded": None,
        "not_live": None,
        "in_touch": True,
        "last_contact": None,
        "reconnects": 0,
        "checksum": updater.status().sources[0].checksum,
        "last_error": None,
    }
    assert shown["sources"][0] == expected
    source.fault = "no such place"
    updater.refresh()
    ailing = client.listing()["updater"]["sources"][0]
    assert (ailing["healthy"], ailing["in_touch"], ailing["last_error"]) == (
        False,
        False,
        "cannot read flaky: no such place",
    )
    age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(ailing["last_contact"])
    assert abs(age.total_seconds()) < 30


def test_tag_stays_while_time_passes(flags: dflag.FlagRegistry) -> None:
    """A refresh without a change keeps the tag, so a client's poll gets 304."""
    flags.dyn_int("rate", 50)
    updater = dflag.Updater(flags, MemorySource({"rate": "60"}))
    updater.initialize()
    client = Client(flags, updater)
    tag = client.get().headers["ETag"]
    updater.refresh()
    assert client.get(if_none_match=tag).status == 304


def test_rules_show(flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule is listed with its audience, share and values, and the tag changes only when its share does."""
    flags.dyn_int("rate", 50)
    began = datetime.datetime(2026, 11, 28, 10, tzinfo=datetime.UTC)
    passed = datetime.timedelta(minutes=10)
    monkeypatch.setattr(CLOCK, "now", lambda: began + passed)
    rule = f"- {{name: go, from: '{began.isoformat()}', over: 100m, when: {{zone: a}}, set: {{rate: 80}}}}"
    updater = dflag.Updater(flags, MemorySource({"_rules.yaml": rule}), facts={"pod": "p"})
    updater.initialize()
    client = Client(flags, updater)
    assert client.listing()["updater"]["rules"] == [
        {
            "source": "memory",
            "name": "go",
            "state": "elsewhere",
            "next_change": None,
            "problem": None,
            "needs": ["zone"],
            "share_percent": 10.0,
            "audience": "zone is a; pod is drawn by share",
            "gives": [{"flag": "rate", "text": "80"}],
        }
    ]
    tag = client.get().headers["ETag"]
    passed += datetime.timedelta(seconds=59)
    assert client.get(if_none_match=tag).status == 304
    passed += datetime.timedelta(seconds=1)
    assert client.get(if_none_match=tag).status == 200
    assert client.listing()["updater"]["rules"][0]["share_percent"] == 11.0


def test_a_list_of_rules_that_cannot_be_read_shows_among_them(flags: dflag.FlagRegistry) -> None:
    """A list of rules that cannot be parsed is listed as refused under its key, before the rules that stay in force."""
    flags.dyn_int("rate", 50)
    source = MemorySource({"_rules.yaml": "- {set: {rate: 80}}"}, name="volume")
    updater = dflag.Updater(flags, source)
    updater.initialize()
    client = Client(flags, updater=updater)
    tag = client.get().headers["ETag"]
    source.update({"_rules.yaml": "- {set: {rate: 80"})
    updater.refresh()
    assert client.get(if_none_match=tag).status == 200
    unreadable, rule = client.listing()["updater"]["rules"]
    assert (unreadable["source"], unreadable["name"], unreadable["state"]) == ("volume", "_rules.yaml", "refused")
    assert unreadable["problem"] == str(updater.status().rejected["_rules.yaml"])
    assert (rule["name"], rule["state"]) == ("rule 1", "in force")


KEYED_RULES = """
- {by: tenant, is: [acme, initech], set: {rate: 500, note: <b>}}
- {name: some, by: tenant, share: 12.5%, set: {rate: 80}}
- {by: tenant, is: acme, set: {secret: abc, rate: 600}}
- {name: later, by: tenant, from: 2990-01-01T00:00:00Z, set: {rate: 7}}
"""


def test_values_by_key_show(flags: dflag.FlagRegistry) -> None:
    """A keyed flag lists what rules in force give to keys, the winner first; a secret's keys and values are hidden."""
    rate = flags.dyn_int("rate", 50, by="tenant")
    flags.dyn_string("note", "", by="tenant")
    flags.dyn_string("secret", "", by="tenant", secret=True)
    flags.dyn_int("unkeyed", 1)
    shown = {row["name"]: row["keyed"] for row in Client(flags).listing()["flags"]}
    assert shown == {"rate": [], "note": [], "secret": [], "unkeyed": None}
    updater = dflag.Updater(flags, MemorySource({"_rules.yaml": KEYED_RULES}, name="volume"))
    updater.initialize()
    client = Client(flags, updater)
    shown = {row["name"]: row["keyed"] for row in client.listing()["flags"]}

    def given(rule: str, keys: list[str] | None, text: str, share: float | None = None) -> dict[str, Any]:
        count = None if keys is None else len(keys)
        return {
            "rule": rule,
            "source": "volume",
            "keys": keys,
            "key_count": count,
            "share_percent": share,
            "text": text,
            "adds": False,
        }

    assert shown["rate"] == [
        given("rule 3", ["acme"], "600"),
        given("some", None, "80", 12.5),
        given("rule 1", ["acme", "initech"], "500"),
    ]
    assert shown["note"] == [given("rule 1", ["acme", "initech"], "<b>")]
    assert shown["secret"] == [given("rule 3", None, "******")]
    assert [rule["gives"] for rule in client.listing()["updater"]["rules"]] == [
        [{"flag": "rate", "text": "500"}, {"flag": "note", "text": "<b>"}],
        [{"flag": "rate", "text": "80"}],
        [{"flag": "secret", "text": "******"}, {"flag": "rate", "text": "600"}],
        [{"flag": "rate", "text": "7"}],
    ]
    rate.set(1)
    assert client.flag("rate")["keyed"] == []


def test_keys_that_a_rule_adds_to_a_map_show(flags: dflag.FlagRegistry) -> None:
    """The keys that a rule adds to a map are listed as added, also below a later source; an override hides them."""
    limits = flags.dyn_map("limits", {}, keys="*.limit", of="int", by="tenant")
    first = {"a.limit": "1", "_rules.yaml": "- {by: tenant, is: acme, set: {b.limit: 2}}"}
    sources = [MemorySource(first, name="first"), MemorySource({"c.limit": "3"}, name="second")]
    updater = dflag.Updater(flags, sources)
    updater.initialize()
    client = Client(flags, updater)
    (given,) = client.flag("limits")["keyed"]
    assert (given["source"], json.loads(given["text"]), given["adds"]) == ("first", {"b.limit": "2"}, True)
    limits.set({})
    assert client.flag("limits")["keyed"] == []


def test_values_by_key_are_cut(flags: dflag.FlagRegistry) -> None:
    """The first keys that a rule names are listed with their count, and a rule's entries for one map are merged."""
    flags.dyn_int("rate", 50, by="tenant")
    flags.dyn_map("ports", {}, keys="*.port", of="int")
    named = ", ".join(f"t{number}" for number in range(60))
    rules = f"- {{by: tenant, is: [{named}], set: {{rate: 1}}}}\n- {{set: {{ports: {{b.port: 1}}, a.port: 5}}}}"
    updater = dflag.Updater(flags, MemorySource({"_rules.yaml": rules}))
    updater.initialize()
    client = Client(flags, updater)
    (given,) = client.flag("rate")["keyed"]
    assert given["keys"] == [f"t{number}" for number in range(_listing.MAX_KEYS)]
    assert given["key_count"] == 60
    gives = client.listing()["updater"]["rules"][1]["gives"]
    assert [(each["flag"], json.loads(each["text"])) for each in gives] == [("ports", {"a.port": "5", "b.port": "1"})]


def test_rule_that_waits_shows_its_new_value(flags: dflag.FlagRegistry) -> None:
    """The value that a waiting rule will set is listed, and an edit of the rule changes it in the next listing."""
    flags.dyn_int("rate", 50)
    source = MemorySource({"_rules.yaml": "- {name: later, from: 2990-01-01T00:00:00Z, set: {rate: 7}}"})
    updater = dflag.Updater(flags, source)
    updater.initialize()
    client = Client(flags, updater)
    assert client.listing()["updater"]["rules"][0]["gives"] == [{"flag": "rate", "text": "7"}]
    source.update({"_rules.yaml": "- {name: later, from: 2990-01-01T00:00:00Z, set: {rate: 8}}"})
    updater.refresh()
    assert client.listing()["updater"]["rules"][0]["gives"] == [{"flag": "rate", "text": "8"}]


def test_silent_source_shows(flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source without contact for long is listed as healthy but not in touch, with the time of its last contact."""
    updater = dflag.Updater(flags, MemorySource({}))
    updater.initialize()
    client = Client(flags, updater)
    tag = client.get().headers["ETag"]
    feed = updater._feeds[0]
    assert feed.contact is not None
    feed.contact -= _listing.PATIENCE_SECONDS + 1
    assert client.get(if_none_match=tag).status == 200
    (source,) = client.listing()["updater"]["sources"]
    assert (source["healthy"], source["in_touch"]) == (True, False)
    since = datetime.datetime.fromisoformat(source["last_contact"])
    silence = (datetime.datetime.now(datetime.UTC) - since).total_seconds()
    assert 0 < silence - _listing.PATIENCE_SECONDS < 30


def test_silent_watch_shows(flags: dflag.FlagRegistry) -> None:
    """A source whose watch had no contact for long is listed as not in touch, and a reconnect changes the tag."""
    watch = Watch()
    watch.last_contact = time.monotonic()

    class Watched(MemorySource):
        def watch(self, wake: Wake) -> Watch:
            return watch

    updater = dflag.Updater.setup(flags, Watched({}))
    client = Client(flags, updater)
    tag = client.get().headers["ETag"]
    watch.last_contact -= _listing.PATIENCE_SECONDS + 1
    assert client.get(if_none_match=tag).status == 200
    (source,) = client.listing()["updater"]["sources"]
    assert (source["healthy"], source["in_touch"]) == (True, False)

    tag = client.get().headers["ETag"]
    watch.reconnects += 1
    assert client.get(if_none_match=tag).status == 200
    updater.stop()


# --- setting


def test_setting(flags: dflag.FlagRegistry, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """A setting is answered with the flag's new state; name, reason and end are in the history and the log."""
    caplog.set_level(logging.INFO, "dflag")
    rate = flags.dyn_int("rate", 50)
    answer = client.post({"name": "rate", "value": "60", "reason": "sale\nfake line", "ttl_seconds": 90})
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    state = json.loads(answer.body)
    assert (state["flag"]["name"], state["flag"]["current_value"], state["flag"]["origin"]) == (
        "rate",
        "60",
        "override",
    )
    assert state["revision"] == flags.snapshot().revision
    assert rate.get() == 60
    pattern = r"alice: sale\\nfake line \(until \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\)"
    assert re.fullmatch(pattern, flags.history()[-1].reason or "")
    (record,) = [line for line in caplog.messages if "rate" in line]
    assert re.search(pattern, record)
    assert "60" not in record.partition("(until")[0]
    left = flags.explain("rate")[0].expires_in_seconds
    assert left is not None
    assert 80 < left <= 90
    rate.reset()


def test_dropping(flags: dflag.FlagRegistry, client: Client) -> None:
    """Null drops the override, with name and reason in the history, and succeeds if there is none."""
    rate = flags.dyn_int("rate", 50)
    rate.set(60)
    answer = client.post({"name": "rate", "value": None, "reason": "over"})
    assert (answer.status, rate.get(), rate.origin) == (200, 50, "default")
    last = flags.history()[-1]
    assert (last.new, last.reason) == ("50", "alice: over")
    assert client.post({"name": "rate", "value": None}).status == 200


def test_bytes_come_as_base64(flags: dflag.FlagRegistry, client: Client) -> None:
    """The value of a bytes flag is set by its base64 text."""
    blob = flags.dyn_bytes("blob", b"")
    assert client.post({"name": "blob", "value": "AP8="}).status == 200
    assert blob.get() == b"\x00\xff"


def test_setting_is_off(flags: dflag.FlagRegistry) -> None:
    """Without an authorize function a setting of any name gets the same 403, and the listing has no address for one."""
    rate = flags.dyn_int("rate", 50)
    client = Client(flags)
    assert client.listing()["set_url"] == ""
    answer = client.post({"name": "rate", "value": "60"})
    assert answer.status == 403
    assert client.post({"name": "nobody", "value": "60"}) == answer
    assert rate.get() == 50


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": "Bearer "}, 401),
        ({"authorization": "t0ken"}, 401),
        ({"authorization": "Basic t0ken"}, 401),
        ({"authorization": "Bearer t0ken, Bearer t0ken"}, 401),
        ({"authorization": "Bearer t0ken\xe9"}, 401),
        ({"authorization": "bearer  t0ken"}, 415),
        ({"authorization": "Bearer t0ken", "content-type": "text/plain"}, 415),
        ({**ALLOWED, "origin": "http://evil.example", "host": "here"}, 403),
        ({**ALLOWED, "sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
    ],
)
def test_refusals_before_the_body(
    flags: dflag.FlagRegistry, client: Client, headers: dict[str, str], status: int
) -> None:
    """The handler refuses by origin, then authorization, then content type, before it needs the body."""
    rate = flags.dyn_int("rate", 50)
    answer = client.handler.handle(Request(method="POST", path="/set", headers=headers))
    assert isinstance(answer, Response)
    assert answer.status == status
    assert ("WWW-Authenticate" in answer.headers) is (status == 401)
    assert b"rate" not in answer.body
    assert rate.get() == 50


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 400, "the body"),
        (b"\xff", 400, "UTF-8"),
        (b"{", 400, "the body"),
        (b"[]", 400, "expected an object"),
        (b'"rate"', 400, "expected an object"),
        (b'{"name": "rate", "name": "rate", "value": "1"}', 400, "twice"),
        (b'{"name": "rate", "value": "1", "ttl_seconds": NaN}', 400, "NaN"),
        (b'{"name": "rate", "value": "1", "ttl_seconds": 1e999}', 400, "1.8e308"),
        ({"value": "1"}, 400, "name: expected a text"),
        ({"name": 1, "value": "1"}, 400, "name: expected a text"),
        ({"name": "rate"}, 400, "value: expected a text, or null"),
        ({"name": "rate", "value": 60}, 400, "value: expected a text"),
        ({"name": "rate", "value": "1", "reason": 1}, 400, "reason: expected a text"),
        ({"name": "rate", "value": "1", "reason": "x" * 1_001}, 400, "reason: expected at most"),
        ({"name": "rate", "value": "1", "ttl_seconds": True}, 400, "ttl_seconds"),
        ({"name": "rate", "value": "1", "ttl_seconds": 0}, 400, "ttl_seconds"),
        ({"name": "rate", "value": "1", "ttl_seconds": -1}, 400, "ttl_seconds"),
        ({"name": "rate", "value": "1", "ttl_seconds": "60"}, 400, "ttl_seconds"),
        ({"name": "rate", "value": "1", "ttl_seconds": 10**100}, 400, "ttl_seconds"),
        ({"name": "rate", "value": None, "ttl_seconds": 1}, 400, "ttl_seconds"),
        ({"name": "rate", "value": "1", "ttl": 1}, 400, "unknown key 'ttl'"),
        ({"name": "nobody", "value": "1"}, 404, "no flag named 'nobody'"),
        ({"name": "port", "value": "1"}, 409, "flag 'port' is static"),
        ({"name": "port", "value": None}, 409, "flag 'port' is static"),
        (b" " * (2**20 + 2**12 + 1), 413, "expected a body of at most"),
        ({"name": "rate", "value": "abc"}, 422, "flag 'rate': expected an int, got 'abc' (override)"),
        ({"name": "rate", "value": "101"}, 422, "of at most 100"),
        ({"name": "rate", "value": "13"}, 422, "not on Fridays"),
    ],
)
def test_refusals_of_the_body(
    flags: dflag.FlagRegistry, client: Client, body: object, status: int, message: str
) -> None:
    """A bad body is answered with the status of its fault and a message; nothing is set."""
    rate = flags.dyn_int("rate", 50, max=100)
    flags.int("port", 8080)

    @flags.validator
    def friday(snapshot: dflag.Snapshot) -> None:
        if snapshot[rate] == 13:
            raise ValueError("not on Fridays")

    answer = client.post(body)
    assert answer.status == status
    assert message in said(answer)
    assert (rate.get(), flags.history()) == (50, ())


def test_validator_that_breaks(flags: dflag.FlagRegistry, client: Client) -> None:
    """A validator that raises an exception other than `ValueError` also refuses, with 422."""

    def broken(value: int) -> None:
        if value == 60:
            raise KeyError(value)

    rate = flags.dyn_int("rate", 50, validator=broken)
    assert client.post({"name": "rate", "value": "60"}).status == 422
    assert rate.get() == 50


def test_fault_of_ours_is_an_answer(
    flags: dflag.FlagRegistry, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An unexpected exception is answered with 500 and logged with its type and place, without its message."""

    def explode(*_: object) -> None:
        raise RuntimeError("hush")

    monkeypatch.setattr(client.handler._listings, "make", explode)
    monkeypatch.setattr(client.handler._listings, "flag", explode)
    flags.dyn_int("rate", 50)
    assert client.get().status == 500
    assert client.post({"name": "rate", "value": "60"}).status == 500
    assert "RuntimeError at " in caplog.text
    assert "hush" not in caplog.text


@pytest.mark.parametrize("given", [True, 1, "", b"alice", object()])
def test_only_a_name_lets_in(flags: dflag.FlagRegistry, given: Any, caplog: pytest.LogCaptureFixture) -> None:
    """An authorize function that returns something other than a name or None refuses with 401, and the log says so."""
    flags.dyn_int("rate", 50)
    client = Client(flags, authorize=lambda headers: given)
    assert client.post({"name": "rate", "value": "60"}).status == 401
    expected = "an empty text" if given == "" else type(given).__name__
    assert f"authorize should return a name or None, not {expected};" in caplog.text


def test_an_authorize_that_nobody_awaits_lets_nobody_in(
    flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """A `read_authorize` that returns a coroutine refuses with 401; the log names it, and Python does not warn."""

    async def name(_: Mapping[str, str]) -> str:
        return "alice"

    def authorize(headers: Mapping[str, str]) -> Any:
        return name(headers)

    handler = Handler(flags, None, authorize=None, title=None, ofrep=True, read_authorize=authorize)
    answer = handler.handle(Request(method="POST", path="/ofrep/v1/evaluate/flags"))
    assert isinstance(answer, Response)
    assert answer.status == 401
    assert "read_authorize should return a name or None, not an awaitable;" in caplog.text


@pytest.mark.parametrize("fault", [*FAULTS, KeyboardInterrupt("hush")])
def test_authorize_that_raises_refuses(
    flags: dflag.FlagRegistry, fault: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """An authorize function that raises refuses with 401; its exception's type is logged, its message is not."""
    flags.dyn_int("rate", 50)

    def authorize(headers: Mapping[str, str]) -> str:
        raise fault

    answer = Client(flags, authorize=authorize).post({"name": "rate", "value": "60"})
    assert answer.status == 401
    assert type(fault).__name__ in caplog.text
    assert "hush" not in caplog.text + answer.body.decode()


def test_authorize_sees_lower_case_headers(flags: dflag.FlagRegistry) -> None:
    """An authorize function gets all headers, and the name that it returns is the reason in the history."""
    flags.dyn_int("rate", 50)
    client = Client(flags, authorize=lambda headers: headers.get("x-user"))
    headers = {"x-user": "bob", "content-type": "application/json"}
    assert client.post({"name": "rate", "value": "60"}, headers).status == 200
    assert flags.history()[-1].reason == "bob"


def test_authorize_must_be_a_plain_function(flags: dflag.FlagRegistry) -> None:
    """An authorize argument that is a coroutine function or not callable raises `DefinitionError`, without its text."""

    async def authorize(headers: Mapping[str, str]) -> str:
        return "alice"

    class Authorize:
        async def __call__(self, headers: Mapping[str, str]) -> str:
            return "alice"

    for wrong in (authorize, partial(authorize), Authorize(), "t0ken"):
        with pytest.raises(DefinitionError, match="plain function") as caught:
            Handler(flags, None, authorize=wrong, title=None)  # type: ignore[arg-type]  # on purpose
        assert "t0ken" not in str(caught.value)


@pytest.mark.parametrize("title", [5, b"shop", object()])
def test_title_must_be_a_text(flags: dflag.FlagRegistry, title: Any) -> None:
    """A title that is not a text raises `DefinitionError` when the handler is made."""
    with pytest.raises(DefinitionError, match=f"expected a text as title, got {type(title).__name__}"):
        Handler(flags, None, authorize=None, title=title)


@pytest.mark.parametrize(("token", "name"), [("", "alice"), ("a b", "alice"), ("é", "alice"), ("t0ken", "")])
def test_bad_tokens(token: str, name: str) -> None:
    """A token that a header cannot hold, or an empty name, raises `DefinitionError`, which does not quote the token."""
    with pytest.raises(DefinitionError, match="expected a ") as caught:
        bearer_token(token, name)
    assert not token or token not in str(caught.value)


class Mode(enum.Enum):
    """
    An enumeration.
    """

    FAST = "fast"


def test_every_kind_is_listed(flags: dflag.FlagRegistry, client: Client) -> None:
    """The listed text of a flag of each kind is that of the registry's `explain()`; that of JSON is indented."""
    flags.dyn_string("string", "a")
    flags.dyn_int("int", 1_000)
    flags.dyn_float("float", 1e20)
    flags.dyn_custom("custom", 1, parse=int, format="{} EUR".format)
    flags.dyn_bool("bool", default=True)
    flags.dyn_duration("duration", datetime.timedelta(minutes=90))
    flags.dyn_string_list("list", ["a", "b"])
    flags.dyn_string_set("set", {"b", "a"})
    flags.dyn_enum("enum", Mode.FAST)
    flags.dyn_bytes("bytes", b"\x00")
    flags.dyn_json("json", {"a": [1]})
    flags.dyn_map("map", {"a": "b"}, keys="*")
    shown = {row["name"]: row["current_value"] for row in client.listing()["flags"]}
    indented = {name: shown.pop(name) for name in ("json", "map")}
    assert indented == {"json": '{\n  "a": [\n    1\n  ]\n}', "map": '{\n  "a": "b"\n}'}
    assert shown == {name: flags.explain(name)[0].text for name in shown}
    assert len(shown) == 10


def test_counting_reads(client: Client, flags: dflag.FlagRegistry) -> None:
    """
    A client that may set flags may start to count reads for a minute; any client may read the counts.
    """
    rate = flags.dyn_int("rate", 1)
    try:
        before = json.loads(client.get(path="/reads").body)
        assert (before["seconds_left"], before["started_at"] is None or before["reads"]["rate"] == 0) == (0, True)
        assert client.ask("POST", "/reads", headers={"content-type": "application/json"}).status == 401
        assert client.ask("POST", "/reads", headers=ALLOWED, body=b"{}").status == 200
        rate.get()
        counts = json.loads(client.get(path="/reads").body)
        assert (counts["reads"]["rate"], counts["seconds_left"]) == (1, 60)
        assert client.get(path="/reads", method="PUT").status == 405
        assert client.get(path="/reads").headers["Cache-Control"] == "no-store"
    finally:
        stop_counting()
    assert Client(flags).ask("POST", "/reads", headers=ALLOWED).status == 403


# --- what the forms of the page need


def checked(client: Client, **wanted: Any) -> dict[str, Any]:
    answer = client.post({**wanted, "dry_run": True})
    assert answer.status == 200, answer.body
    found: dict[str, Any] = json.loads(answer.body)
    return found


def test_a_dry_run_changes_nothing(flags: dflag.FlagRegistry, client: Client) -> None:
    """A dry run answers with the value that a setting would lead to, and changes no value, history or revision."""
    rate = flags.dyn_int("rate", 50, max=100, mutator=lambda value: value // 10 * 10)
    policy = flags.dyn_json("policy", {})
    answer = checked(client, name="rate", value="77", reason="why", ttl_seconds=60)
    assert (answer["candidate"], answer["flag"]["current_value"], answer["process"]) == ("70", "50", os.getpid())
    assert checked(client, name="policy", value='{"b": 1, "a": 2}')["candidate"] == '{\n  "a": 2,\n  "b": 1\n}'
    assert (rate.get(), policy.get(), flags.history(), flags.snapshot().revision) == (50, {}, (), 0)
    rate.set(80)
    assert checked(client, name="rate", value=None)["candidate"] == "50"
    assert rate.get() == 80


def test_a_dry_run_refuses_as_setting_does(flags: dflag.FlagRegistry, client: Client) -> None:
    """A dry run refuses a bad value, a static flag, a missing token and values in conflict, as a setting does."""
    flags.dyn_int("low", 1, max=100)
    flags.dyn_int("high", 10)
    flags.int("workers", 4)

    @flags.validator
    def ordered(snapshot: dflag.Snapshot) -> None:
        if snapshot["low"] > snapshot["high"]:
            raise ValueError("low is above high")

    for wanted in ({"name": "low", "value": "101"}, {"name": "low", "value": "11"}, {"name": "workers", "value": "5"}):
        dry, wet = client.post({**wanted, "dry_run": True}), client.post(wanted)
        assert (dry.status, dry.body) == (wet.status, wet.body)
        assert dry.status in (409, 422)
    assert client.post({"name": "low", "value": "2", "dry_run": True}, {}).status == 401
    assert said(client.post({"name": "low", "value": "2", "dry_run": 1})) == "dry_run: expected true or false"


def test_a_dry_run_of_a_secret_shows_nothing(flags: dflag.FlagRegistry, client: Client) -> None:
    """The candidate of a dry run of a secret is masked."""
    flags.dyn_string("key", "hush-1", secret=True)
    assert "hush" not in json.dumps(checked(client, name="key", value="hush-2"))


class Pace(enum.Enum):
    """
    Members with an alias.
    """

    SLOW = 1
    QUICK = 2
    FAST = 2  # noqa: PIE796 - an alias, on purpose


def test_fields_by_kind(flags: dflag.FlagRegistry, client: Client) -> None:
    """A flag is listed with its form field: the options, the limits of a number, or a language and a draft."""
    flags.dyn_bool("switch", default=False)
    flags.dyn_bool("fixed", default=True, choices=[True])
    flags.dyn_enum("pace", Pace.SLOW)
    flags.dyn_enum("some", Pace.SLOW, choices=[Pace.SLOW])
    flags.dyn_string("mode", "a", choices=["a", "b"])
    flags.dyn_int("rate", 50, min=1)
    flags.dyn_float("ratio", 0.5, max=1)
    flags.dyn_string_list("hosts", ["a"], choices=["a", "b"])
    flags.dyn_json("policy", {"b": 1, "a": [1]})
    flags.dyn_json("loose", {}, yaml=True)
    flags.dyn_map("urls", {"b.n": 1, "a.n": 2}, keys="*.n", of="int")
    flags.dyn_string("key", "a", secret=True, choices=["a", "b"])
    fields = {row["name"]: row["field"] for row in client.listing()["flags"]}
    plain = {"language": ""}
    assert fields == {
        "switch": {**plain, "options": ["true", "false"]},
        "fixed": {**plain, "options": ["true"]},
        "pace": {**plain, "options": ["SLOW", "QUICK"]},
        "some": {**plain, "options": ["SLOW"]},
        "mode": {**plain, "options": ["a", "b"]},
        "rate": {**plain, "increment": "1", "minimum": "1", "maximum": None},
        "ratio": {**plain, "increment": "any", "minimum": None, "maximum": "1"},
        "hosts": plain,
        "policy": {"language": "json", "draft": '{\n  "b": 1,\n  "a": [\n    1\n  ]\n}'},
        "loose": plain,
        "urls": {"language": "json", "draft": '{\n  "b.n": "1",\n  "a.n": "2"\n}'},
        "key": plain,
    }


def test_refused_texts_stand_beside_the_refusals(flags: dflag.FlagRegistry, client: Client) -> None:
    """A refused text is listed in full, unless the flag is secret, the text is not UTF-8, or it is too long."""
    flags.dyn_int("rate", 50)
    flags.dyn_int("size", 50)
    flags.dyn_int("burst", 50)
    flags.dyn_int("key", 50, secret=True)
    long = "x" * (_listing.MAX_REFUSED_CHARACTERS + 1)
    for name in ("policy", "twice"):
        flags.dyn_json(name, [], schema={"type": "array"})
    texts = {"policy": '{"b": 1, "a": {}}', "twice": '{"b": 1, "b": 2}'}
    flags.apply({"rate": b"abc", "size": b"\xff", "key": "hush", "burst": long, **texts}, source="config")
    shown = {row["name"]: row["rejected_texts"] for row in client.listing()["flags"]}
    assert shown == {
        "rate": ["abc"],
        "size": [None],
        "burst": [None],
        "key": [None],
        "policy": ['{\n  "a": {},\n  "b": 1\n}'],
        "twice": ['{"b": 1, "b": 2}'],
    }


def test_what_a_restart_would_bring(flags: dflag.FlagRegistry, client: Client) -> None:
    """A static flag that is pending a restart is listed with its value after the restart, masked for a secret."""
    flags.int("workers", 4)
    flags.string("key", "hush-1", secret=True)
    flags.dyn_int("rate", 50)
    flags.apply({"workers": "4"}, source="config")
    flags.freeze()
    flags.apply({"workers": "8", "key": "hush-2", "rate": "60"}, source="config")
    pending = {row["name"]: row["pending_value"] for row in client.listing()["flags"]}
    assert pending == {"workers": "8", "key": "******", "rate": None}


def test_changes_of_one_revision_have_its_number(flags: dflag.FlagRegistry, client: Client) -> None:
    """Each change in the history has the number of its revision."""
    rate, _ = flags.dyn_int("rate", 50), flags.dyn_int("size", 5)
    flags.apply({"rate": "60", "size": "6"}, source="config")
    both = flags.snapshot().revision
    rate.set(70)
    listing = client.listing()
    assert [(change["flag"], change["revision"]) for change in listing["history"]] == [
        ("rate", both),
        ("size", both),
        ("rate", flags.snapshot().revision),
    ]
    assert listing["revision"] == flags.snapshot().revision > both


def test_counters_say_since_when(flags: dflag.FlagRegistry) -> None:
    """The time since which the updater's counters count is listed, and initializing does not change it."""
    before = int(time.time())
    updater = dflag.Updater(flags, MemorySource({}))
    since = Client(flags, updater).listing()["updater"]["counting_since"]
    assert before <= datetime.datetime.fromisoformat(since).timestamp() <= time.time()
    updater.initialize()
    assert Client(flags, updater).listing()["updater"]["counting_since"] == since


@pytest.mark.parametrize("wrong", ["a registry", "an updater of another registry"])
def test_a_page_shows_the_updater_of_its_own_registry(flags: dflag.FlagRegistry, wrong: str) -> None:
    """
    An updater argument that is not an updater, or one of another registry, raises `DefinitionError` at once.
    """
    other = dflag.FlagRegistry()
    given: Any = flags if wrong == "a registry" else dflag.Updater(other, MemorySource({}))
    expected = "expected updater as an Updater or None" if wrong == "a registry" else "feeds another registry"
    with pytest.raises(DefinitionError, match=expected):
        Client(flags, given)
