"""
What a client that polls the page costs the program.
"""

from __future__ import annotations

import dflag
from dflag.web._handler import Handler
from dflag.web._http import Request, Response

from ._measure import Report, Result, interleaved

FLAGS = 1000
CALLS = 1000
ROUNDS = 15
ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def run() -> Report:
    """
    Measure a poll when nothing has changed, and a listing after a change.
    """
    flags = dflag.FlagRegistry()
    rate = flags.dyn_int("rate", 0)
    for number in range(FLAGS - 1):
        flags.dyn_int(f"flag{number}", number, "What it is good for")
    handler = Handler(flags, None, authorize=None, title=None)
    listing = _ask(handler, Request(method="GET", path="/", query="format=json"))
    headers = {"if-none-match": listing.headers["ETag"], "accept": ACCEPT}
    poll = Request(method="GET", path="/", query="format=json", headers=headers)
    if _ask(handler, poll).status != 304:
        raise AssertionError("a poll that finds nothing new is not told so")

    def polled() -> None:
        for _ in range(CALLS):
            handler.handle(poll)

    def rendered() -> None:
        rate.set(rate.get() + 1)
        handler.handle(poll)

    (unchanged,) = interleaved(polled, rounds=ROUNDS)
    (changed,) = interleaved(rendered, rounds=ROUNDS)
    results = [
        Result(name=f"304 for {FLAGS} flags", value=unchanged / CALLS, limit=100e-6),
        Result(name=f"listing {FLAGS} flags anew", value=changed),
    ]
    return Report(results)


def _ask(handler: Handler, request: Request) -> Response:
    answer = handler.handle(request)
    if not isinstance(answer, Response):
        raise TypeError("a listing needs no body")
    return answer
