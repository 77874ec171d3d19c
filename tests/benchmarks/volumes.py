"""
What following a volume costs: a refresh and a start, compared with reading the same files raw.
"""

from __future__ import annotations

import itertools
import tempfile
from collections import Counter
from typing import TYPE_CHECKING

import dflag

from ._files import publish, read_raw, rewrite
from ._measure import Report, Result, interleaved

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = {1000: 25, 10_000: 9}
"""How often each number of keys is measured."""
CHANGED = "flag0"
AGAINST = "listdir, open, read and close"
REFRESH_LIMIT = 1.3
INITIALIZE_LIMIT = 2.5


def run() -> Report:
    """
    Measure reading a volume, and count the calls for one changed key.
    """
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as directory:
        for keys, rounds in ROUNDS.items():
            path = f"{directory}/{keys}"
            publish(path, {f"flag{number}": str(number) for number in range(keys)})
            results += _refreshes(path, keys, rounds)
            results.append(_initialize(path, keys, rounds))
            results += _work(path, keys)
    return Report(results)


def _refreshes(path: str, keys: int, rounds: int) -> list[Result]:
    updater = dflag.Updater(_declare(keys), path)
    updater.initialize()
    values = itertools.count(1)

    def change() -> None:
        rewrite(path, CHANGED, str(next(values)))

    def refresh() -> None:
        if updater.refresh().changed != (CHANGED,):
            raise AssertionError("a refresh did not bring the one change")

    changed, base = _beside_raw(change, refresh, path, rounds)
    updater.refresh()
    known = updater.refresh().number

    def look() -> None:
        if updater.refresh().number != known:
            raise AssertionError("a refresh brought a change that nobody made")

    unchanged, quiet_base = _beside_raw(lambda: None, look, path, rounds)
    return [
        Result(
            name=f"refresh() of {keys:,} keys, one changed",
            value=changed,
            base=base,
            against=AGAINST,
            limit=REFRESH_LIMIT,
        ),
        Result(
            name=f"refresh() of {keys:,} keys, none changed",
            value=unchanged,
            base=quiet_base,
            against=AGAINST,
            limit=REFRESH_LIMIT,
        ),
    ]


def _initialize(path: str, keys: int, rounds: int) -> Result:
    rewrite(path, CHANGED, "1")
    registries: list[dflag.FlagRegistry] = []

    def declare() -> None:
        registries[:] = [_declare(keys)]  # not timed here, because declaring has its own measurement

    def initialize() -> None:
        dflag.Updater(registries[0], path).initialize()
        if registries[0].snapshot()[CHANGED] != 1:
            raise AssertionError("initialize() did not bring the values")

    value, base = _beside_raw(declare, initialize, path, rounds)
    return Result(
        name=f"initialize() of {keys:,} keys", value=value, base=base, against=AGAINST, limit=INITIALIZE_LIMIT
    )


def _beside_raw(
    prepare: Callable[[], object], side: Callable[[], object], path: str, rounds: int
) -> tuple[float, float]:
    """
    Return the median seconds of *side* and of reading the files raw.

    The order is reversed in every round. *prepare* runs before and after both sides, so it always precedes *side*.
    """
    _, ours, raw, _ = interleaved(prepare, side, lambda: read_raw(path), prepare, rounds=rounds)
    return ours, raw


def _work(path: str, keys: int) -> list[Result]:
    """
    Count the calls of parsers, validators and callbacks after one key of many has changed.
    """
    calls: Counter[str] = Counter()

    def parse(text: str) -> str:
        calls["parsed"] += 1
        return text

    def validate(_value: int) -> None:
        calls["validated"] += 1

    def notify(_old: int, _new: int) -> None:
        calls["notified"] += 1

    flags = dflag.FlagRegistry()
    for number in range(keys):
        flags.dyn_int(f"flag{number}", 0, input_mutator=parse, validator=validate, on_change=notify)
    updater = dflag.Updater(flags, path)
    updater.initialize()
    flags.flush(60)
    if calls["parsed"] != keys:
        raise AssertionError(f"{calls['parsed']} values were parsed at the start, expected {keys}")
    calls.clear()
    rewrite(path, CHANGED, "2")
    updater.refresh()
    if not flags.flush(60) or flags.snapshot()[CHANGED] != 2:
        raise AssertionError("the change was not brought")
    return [
        Result(name=f"values {what} at one change of {keys:,} keys", value=calls[what], limit=1, unit="")
        for what in ("parsed", "validated", "notified")
    ]


def _declare(keys: int) -> dflag.FlagRegistry:
    flags = dflag.FlagRegistry()
    for number in range(keys):
        flags.dyn_int(f"flag{number}", 0)
    return flags
