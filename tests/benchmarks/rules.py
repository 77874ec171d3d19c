"""
What rules cost: a value for a key, a commit of very many values, a switch at its time.

``python -m tests.benchmarks.rules``
"""

from __future__ import annotations

import datetime
import statistics
import time
from datetime import UTC, timedelta
from functools import partial
from typing import TYPE_CHECKING

import yaml

import dflag
from dflag._rules_text import parse_rules
from dflag.sources import MemorySource

from ._measure import Report, Result, interleaved
from ._reads import calls

if TYPE_CHECKING:
    from collections.abc import Callable

CALLS = 5_000
SHARE_CALLS = 300
"""Each call takes 15 times as long: both sides must run equally long, so that other load affects them equally."""
ROUNDS = 201
TENANTS, FLAGS, COMMITS = 10_000, 20, 2
SWITCHES, APART_SECONDS = 40, 0.05
NAMED_LIMIT, SHARE_LIMIT = 2.2, 16.0
READ_LIMIT = 1.05
COMMIT_LIMIT = 1.5
SWITCH_LIMIT_SECONDS = 0.005
KEY = "_rules.yaml"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # PyYAML can be built without its C extension
AGAINST = "get() of the same flag"


def run() -> Report:
    """
    Measure the calls that programs with rules make, and the waits for commits and switches.
    """
    return Report([*_reads(), *_commits(), _switch()])


def _reads() -> list[Result]:
    flags, plain = dflag.FlagRegistry(), dflag.FlagRegistry()
    named, share = flags.dyn_int("named", 1, by="tenant"), flags.dyn_int("share", 1, by="tenant")
    bare, limits = plain.dyn_int("bare", 1), flags.dyn_map("limits", {}, keys="limit.*", of="int", by="tenant")
    keys = ", ".join(f"t{number}" for number in range(TENANTS))
    rules = (
        f"- {{by: tenant, is: [{keys}], set: {{named: 2}}}}\n"
        "- {name: s, by: tenant, share: 10%, set: {share: 2, limit.read: 2}}"
    )
    with dflag.Updater.setup(flags, MemorySource({KEY: rules})):
        sides = {
            "for_() of a key that is named": (named, "t77", CALLS, NAMED_LIMIT),
            "for_() of a key that is not": (named, "other", CALLS, NAMED_LIMIT),
            "for_() where a share is drawn": (share, "other", SHARE_CALLS, SHARE_LIMIT),
            "for_() of a map where a share is drawn": (limits, "other", SHARE_CALLS, SHARE_LIMIT),
        }
        results = []
        for name, (flag, key, count, limit) in sides.items():
            value, base = interleaved(
                calls("f.for_(k)", {"f": flag, "k": key}, count), calls("f.get()", {"f": flag}, CALLS), rounds=ROUNDS
            )
            value, base = value / count, base / CALLS
            results.append(Result(name=name, value=value, base=base, against=AGAINST, limit=limit))
        value, base = interleaved(
            calls("f.get()", {"f": named}, CALLS), calls("f.get()", {"f": bare}, CALLS), rounds=ROUNDS
        )
    value, base = value / CALLS, base / CALLS
    against = "get() of a flag without any"
    results.append(Result(name="get() of a flag with rules", value=value, base=base, against=against, limit=READ_LIMIT))
    return results


def _commits() -> list[Result]:
    """
    Read and commit values for many tenants; compare the total with PyYAML's parsing, and the commit with dflag's own.
    """
    flags = dflag.FlagRegistry()
    for number in range(FLAGS):
        flags.dyn_int(f"f{number}", 1, by="tenant")
    source = MemorySource({})
    updater = dflag.Updater(flags, source)
    updater.initialize()
    loads, parses, refreshes = [], [], []
    for turn in range(COMMITS):
        text = "".join(_values_for(tenant, turn) for tenant in range(TENANTS))
        if not loads:  # only once, because it takes as long as all the rest
            loads.append(_cpu_seconds(partial(yaml.load, text, _LOADER)))
        parses.append(_cpu_seconds(partial(parse_rules, text)))
        source.update({KEY: text})
        refreshes.append(_cpu_seconds(updater.refresh))
    updater.stop()
    what = f"{TENANTS:,} tenants by {FLAGS} flags"
    return [
        Result(
            name=f"{what}: to read and commit them",
            value=min(refreshes),
            base=min(loads),
            against="PyYAML's loader in C, which only reads them",
            limit=COMMIT_LIMIT,
        ),
        Result(
            name=f"{what}: to commit them",
            value=min(refreshes) - min(parses),
            base=min(parses),
            against="dflag's own reading of them",
            limit=COMMIT_LIMIT,
        ),
    ]


def _cpu_seconds(run: Callable[[], object]) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began


def _values_for(tenant: int, turn: int) -> str:
    values = ", ".join(f"f{number}: {tenant + number + turn}" for number in range(FLAGS))
    return f"- {{by: tenant, is: t{tenant}, set: {{{values}}}}}\n"


def _switch() -> Result:
    """
    Wait for rules that take effect one after another, and measure how late each one is.
    """
    flags = dflag.FlagRegistry()
    rate = flags.dyn_int("rate", 0)
    first = datetime.datetime.now(UTC) + timedelta(seconds=0.5)
    moments = [first + timedelta(seconds=APART_SECONDS * number) for number in range(SWITCHES)]
    rules = "".join(
        f"- {{from: '{moment.isoformat()}', set: {{rate: {number}}}}}\n" for number, moment in enumerate(moments, 1)
    )
    late = []
    with dflag.Updater.setup(flags, MemorySource({KEY: rules})) as updater:
        for number, moment in enumerate(moments, 1):
            if not updater.wait_for(partial(_has_reached, rate, number), 60):
                raise TimeoutError(f"switch {number} never came")
            late.append(time.time() - moment.timestamp())
    return Result(
        name="from the moment of a switch to its value", value=statistics.median(late), limit=SWITCH_LIMIT_SECONDS
    )


def _has_reached(rate: dflag.DynamicFlag[int], number: int, snapshot: dflag.Snapshot) -> bool:
    return snapshot[rate] >= number


if __name__ == "__main__":
    for result in run().results:
        print(f"{result.name}: {result.score:.4g} (limit {result.limit}, {'kept' if result.passed else 'missed'})")
