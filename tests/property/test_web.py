"""
The request handler answers any request.
"""

from __future__ import annotations

import json

from hypothesis import example, given
from hypothesis import strategies as st

import dflag
from dflag.web import bearer_token
from dflag.web._handler import Handler
from dflag.web._http import NeedsBody, Request, Response

TOKEN = "Bearer t0ken"  # noqa: S105 - of a test

methods = st.sampled_from(["GET", "HEAD", "POST", "PUT", "OPTIONS"]) | st.text(max_size=8)
paths = st.sampled_from(["", "/", "/set", "/static/page.css"]) | st.text(max_size=20).map("/{}".format)
queries = st.text(max_size=60) | st.lists(
    st.tuples(st.sampled_from(["name", "type", "only_changed", "format"]), st.text("*?[]!-^a%&~|é", max_size=8)),
    max_size=4,
).map(lambda pairs: "&".join(f"{key}={value}" for key, value in pairs))
headers = st.dictionaries(
    st.sampled_from(
        [
            "accept",
            "if-none-match",
            "authorization",
            "content-type",
            "content-length",
            "origin",
            "host",
            "sec-fetch-site",
            "x-forwarded-host",
        ]
    ),
    st.text(max_size=40)
    | st.sampled_from(
        [TOKEN, "application/json", "text/html", "*", "*/*", '"', "same-origin", "http://a", "a", "t0ken", "Bearer"]
    ),
    max_size=6,
)
wishes = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["rate", "port", "key", "policy"]) | st.text(max_size=5),
        "value": st.none() | st.text(max_size=10) | st.sampled_from(["60", "[1]", "true"]) | st.integers(),
        "reason": st.none() | st.text(max_size=20),
        "ttl_seconds": st.none() | st.floats() | st.integers() | st.booleans(),
        "other": st.none(),
        "dry_run": st.booleans() | st.none(),
    },
)
bodies = st.binary(max_size=40) | wishes.map(lambda wish: json.dumps(wish).encode())


def make() -> tuple[dflag.FlagRegistry, Handler]:
    flags = dflag.FlagRegistry()
    flags.int("port", 8080)
    flags.dyn_int("rate", 50, max=1_000)
    flags.dyn_json("policy", {"a": 1})
    flags.dyn_string("key", "hush-hush", secret=True)
    return flags, Handler(flags, None, authorize=bearer_token("t0ken", "alice"), title=None)


@given(methods, paths, st.text(max_size=10), queries, headers, bodies)
@example("GET", "/", "", "name=[[a]--&&~~||[", {}, b"")
@example("GET", "", "/\ud800", "", {"accept": "text/html"}, b"")
def test_any_request(
    method: str, path: str, mount: str, query: str, given_headers: dict[str, str], body: bytes
) -> None:
    """Any request gets a complete response without a server error or a secret, and sets nothing without the token."""
    flags, handler = make()
    before = flags.snapshot()
    answer = handler.handle(Request(method=method, path=path, mount=mount, query=query, headers=given_headers))
    if isinstance(answer, NeedsBody):
        assert method == "POST"
        assert path == "/set"
        assert given_headers["authorization"].lower().startswith("bearer")
        assert given_headers["authorization"].rstrip(" ").endswith("t0ken")
        answer = answer.finish(body)
    else:
        assert flags.snapshot() is before
    assert isinstance(answer, Response)
    assert answer.status in {200, 304, 400, 401, 403, 404, 405, 409, 413, 415, 422}
    assert all(value.isascii() and value.isprintable() for value in (*answer.headers, *answer.headers.values()))
    if method != "HEAD" and answer.status != 304:
        assert answer.headers["Content-Length"] == str(len(answer.body))
    if answer.headers.get("Content-Type") == "application/json" and answer.body:
        json.loads(answer.body)
    assert b"hush-hush" not in answer.body
    flags["rate"].reset()
    flags["policy"].reset()
    flags["key"].reset()


@given(bodies)
def test_any_body_of_who_may(body: bytes) -> None:
    """A request with a token and any body either sets the flag and answers 200, or leaves the registry unchanged."""
    flags, handler = make()
    sent = {"authorization": TOKEN, "content-type": "application/json"}
    answer = handler.handle(Request(method="POST", path="/set", headers=sent))
    assert isinstance(answer, NeedsBody)
    before = flags.snapshot()
    done = answer.finish(body)
    assert done.status in {200, 400, 404, 409, 422}
    wish = json.loads(body) if done.status == 200 else {"dry_run": True}
    if not wish.get("dry_run"):
        layers = flags.explain(wish["name"])
        assert (layers[0].origin == "override") is (wish["value"] is not None) or wish.get("ttl_seconds") is not None
    else:
        assert flags.snapshot() is before
    for flag in flags:
        flag.reset()
