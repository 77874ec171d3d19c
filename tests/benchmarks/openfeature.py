"""
What OpenFeature costs: an evaluation through its client, and the answers of its remote protocol.
"""

from __future__ import annotations

import asyncio
import json
import queue
import time
from typing import TYPE_CHECKING, Any

from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.flag_evaluation import FlagResolutionDetails, Reason

import dflag
from dflag.integrations.openfeature import DflagProvider
from dflag.sources import MemorySource
from dflag.web._handler import Handler
from dflag.web._http import NeedsBody, Request, Response, Stream

from ._measure import Report, Result, interleaved

if TYPE_CHECKING:
    from collections.abc import Callable

FLAGS = 1000
CALLS = 2_000
ROUNDS = 25
CHANGES = 200
PATH = "/ofrep/v1/evaluate/flags"
LIMIT = 1.06
SHARE_LIMIT = 1.15
"""Half of the cost of a share is the hash of the key, which decides whether the key is drawn."""
CONTEXT = EvaluationContext("initech")
RULES = """
- {by: tenant, is: [acme, initech], set: {named: 60}}
- {name: half, by: tenant, share: 50%, set: {share: 70}}
"""


class Constant(DflagProvider):
    """
    A provider that returns a constant.
    """

    _details = FlagResolutionDetails(50, reason=Reason.STATIC, variant="default")

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: Any = None
    ) -> FlagResolutionDetails[int]:
        return self._details


def run() -> Report:
    """
    Measure an evaluation, the answer for all flags, the answer when nothing has changed, and an event.
    """
    return Report([*_evaluations(), *_answers(), _event()])


def _evaluations() -> list[Result]:
    flags = dflag.FlagRegistry()
    flags.dyn_int("rate", 50)
    flags.dyn_int("named", 50, by="tenant")
    flags.dyn_int("share", 50, by="tenant")
    with dflag.Updater.setup(flags, MemorySource({"_rules.yaml": RULES})):
        api.set_provider_and_wait(DflagProvider(flags), "dflag")
        api.set_provider_and_wait(Constant(flags), "constant")
        ours, constant = api.get_client("dflag"), api.get_client("constant")

        def sync(client: Any, flag: str) -> Callable[[], None]:
            def evaluate() -> None:
                for _ in range(CALLS):
                    client.get_integer_value(flag, 0, CONTEXT)

            return evaluate

        def asynchronous(client: Any, flag: str) -> Callable[[], None]:
            async def evaluate() -> None:
                for _ in range(CALLS):
                    await client.get_integer_value_async(flag, 0, CONTEXT)

            return lambda: asyncio.run(evaluate())

        results = []
        for name, make, flag, limit in (
            ("evaluation", sync, "rate", LIMIT),
            ("asynchronous evaluation", asynchronous, "rate", LIMIT),
            ("evaluation for a key that is named", sync, "named", LIMIT),
            ("evaluation for a key that is drawn", sync, "share", SHARE_LIMIT),
        ):
            value, base = interleaved(make(ours, flag), make(constant, flag), rounds=ROUNDS)
            results.append(
                Result(
                    name=f"{name} through OpenFeature's client",
                    value=value / CALLS,
                    base=base / CALLS,
                    against="a provider that returns a constant",
                    limit=limit,
                )
            )
        api.clear_providers()
    return results


def _answers() -> list[Result]:
    flags = dflag.FlagRegistry()
    rate = flags.dyn_int("rate", 0)
    for number in range(FLAGS - 1):
        flags.dyn_int(f"flag{number}", number, "What it is good for")
    handler = Handler(flags, None, authorize=None, title=None, ofrep=True)

    def bulk(tag: str = "") -> Response:
        return _answer(handler, Request(method="POST", path=PATH, headers={"if-none-match": tag}))

    def changed() -> None:
        rate.set(rate.get() + 1)
        bulk()

    def listed() -> None:
        rate.set(rate.get() + 1)
        handler.handle(Request(method="GET", path="/", query="format=json"))

    value, base = interleaved(changed, listed, rounds=ROUNDS)
    tag = bulk().headers["ETag"]
    if bulk(tag).status != 304:
        raise AssertionError("an answer that did not change is not told so")
    (unchanged,) = interleaved(lambda: [bulk(tag) for _ in range(CALLS)], rounds=ROUNDS)
    return [
        Result(name=f"answer with {FLAGS} flags", value=value, base=base, against="the listing of the page", limit=1.3),
        Result(name=f"304 for {FLAGS} flags by OFREP", value=unchanged / CALLS, limit=1e-3),
    ]


def _answer(handler: Handler, request: Request) -> Response:
    answer = handler.handle(request)
    if isinstance(answer, NeedsBody):
        answer = answer.finish(json.dumps({"context": {"targetingKey": "user"}}).encode())
    if not isinstance(answer, Response):
        raise TypeError("an evaluation opens no stream")
    return answer


def _event() -> Result:
    flags = dflag.FlagRegistry()
    rate = flags.dyn_int("rate", 0)
    handler = Handler(flags, None, authorize=None, title=None, ofrep=True, max_streams=1)
    stream = handler.handle(Request(method="GET", path="/ofrep/v1/events"))
    if not isinstance(stream, Stream):
        raise TypeError("a stream is offered")
    subscription = stream.subscription
    woken: queue.Queue[float] = queue.Queue()
    subscription.due()
    subscription.on_wake(lambda: woken.put(time.perf_counter()) if subscription.due() else None)
    taken = []
    for number in range(1, CHANGES + 1):
        began = time.perf_counter()
        rate.set(number)
        taken.append(woken.get(timeout=5.0) - began)
    handler.close_streams()
    return Result(name="an event for a change, p99", value=sorted(taken)[int(len(taken) * 0.99)], limit=0.01)
