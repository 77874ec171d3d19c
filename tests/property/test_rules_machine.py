"""
Rules, clock, facts, edits, corruption, health, forks and restarts in any order agree with a simple model.
"""

from __future__ import annotations

import datetime
import json
import os
import traceback
from datetime import UTC, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import dflag
from dflag import _health
from dflag._clock import CLOCK
from dflag.testing import SteppedUpdater

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

START = datetime.datetime(2026, 11, 28, 10, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
KEY = "_rules.yaml"
TENANTS = ("acme", "initech", "hooli")
EVERY = 15
"""The minutes that a step takes."""


class Line(NamedTuple):
    """
    A rule as the model knows it; minutes count from `START`.
    """

    name: str = ""
    zone: str = ""
    begin: int | None = None
    end: int | None = None
    over: int = 0
    bake: int = 0
    tenant: str = ""
    share: int = 0
    steps: tuple[int, ...] = ()
    rate: int = 0
    is_bad: bool = False

    def text(self) -> str:
        parts = [f"name: {self.name}"] if self.name else []
        parts += [f"when: {{zone: {self.zone}}}"] if self.zone else []
        parts += [f"from: {_time(self.begin)}"] if self.begin is not None else []
        parts += [f"until: {_time(self.end)}"] if self.end is not None else []
        parts += [f"over: {self.over}m"] if self.over else []
        parts += [f"bake: {self.bake}m"] if self.bake else []
        parts += [f"steps: [{', '.join(f'{step}%' for step in self.steps)}]"] if self.steps else []
        parts += [f"every: {EVERY}m"] if len(self.steps) > 1 else []
        parts += ["by: tenant"] if self.is_keyed else []
        parts += [f"is: {self.tenant}"] if self.tenant else []
        parts += [f"share: {self.share}%"] if self.share and not self.steps else []
        parts.append(f"set: {{rate: {'x' if self.is_bad else self.rate}, pair: {self.rate}}}")
        return "- {" + ", ".join(parts) + "}"

    @property
    def is_keyed(self) -> bool:
        return bool(self.tenant or self.share)

    def is_for(self, tenant: str, now: datetime.datetime) -> bool:
        """
        Return whether a rule in force gives a tenant its value; *now* is the latest time that was seen.
        """
        if self.tenant:
            return self.tenant == tenant
        share = self.share
        if self.steps:
            taken = (now - START - (self.begin or 0) * MINUTE) // (EVERY * MINUTE)
            share = self.steps[min(taken, len(self.steps) - 1)]
        return _is_within(_draw(self.name, tenant), share)

    def is_on(self, facts: dict[str, str], now: datetime.datetime) -> bool:
        if self.zone and facts.get("zone") != self.zone:
            return False
        switch = self._switch(facts.get("pod"))
        end = None if self.end is None else START + self.end * MINUTE
        return switch is not None and (end is None or switch < end > now) and now >= switch

    def _switch(self, pod: str | None) -> datetime.datetime | None:
        """
        Return when a pod switches, or None if it never does.
        """
        switch = START - timedelta(days=365) if self.begin is None else START + self.begin * MINUTE
        if self.is_keyed or not (self.over or self.steps):
            return switch
        drawn = None if pod is None else _draw(self.name, pod)
        if drawn is None:
            return None
        if self.over:
            return switch + timedelta(microseconds=self.over * 60_000_000 * drawn // 2**32)
        reached = [number for number, step in enumerate(self.steps) if _is_within(drawn, step)]
        return switch + reached[0] * EVERY * MINUTE if reached else None


def _time(minutes: int) -> str:
    return f"'{(START + minutes * MINUTE).isoformat()}'"


def _draw(name: str, text: str) -> int:
    return int.from_bytes(sha256(name.encode() + b"\0" + text.encode()).digest()[:4], "big")


def _is_within(drawn: int, percent: int) -> bool:
    return drawn < -(-percent * 2**32 // 100)


@st.composite
def lines(draw: st.DrawFn) -> Line:
    """
    Draw a rule that the grammar of rules allows.
    """
    name = draw(st.sampled_from(["", "one", "two", "three"]))
    zone, rate = draw(st.sampled_from(["", "a", "b"])), draw(st.integers(100, 999))
    kind = draw(st.sampled_from(["plain", "timed", "staged", "steps", "keyed", "share", "growing"]))
    begin = draw(st.integers(0, 60))
    end = draw(st.none() | st.integers(61, 120))
    is_bad = draw(st.integers(0, 5)) == 0
    line = Line(name, zone, rate=rate, is_bad=is_bad)
    if kind == "timed":
        line = line._replace(begin=begin, end=end)
    elif kind == "staged":
        bake = draw(st.sampled_from([0, 15]))
        line = line._replace(name=name or "one", begin=begin, end=end, over=draw(st.integers(1, 60)), bake=bake)
    elif kind in {"steps", "growing"}:
        steps = tuple(sorted(draw(st.sets(st.sampled_from([1, 20, 50, 70, 100]), min_size=1, max_size=3))))
        line = line._replace(name=name or "three", begin=begin, end=end, steps=steps, share=int(kind == "growing"))
    elif kind == "keyed":
        line = line._replace(tenant=draw(st.sampled_from(TENANTS)), end=end)
    elif kind == "share":
        line = line._replace(name=name or "two", share=draw(st.sampled_from([10, 50, 100])))
    return line


def _in_child(run: Callable[[], list[int]]) -> object:
    """
    Return what a function returns in a forked child, or the traceback of its failure.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            answer = json.dumps(run())
        except BaseException:
            answer = json.dumps(traceback.format_exc())
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    found: object = json.loads(answer)
    return found


class RulesMachine(RuleBasedStateMachine):
    """
    One process with a source in memory, and the model of its flags' values.
    """

    @initialize()
    def begin(self) -> None:
        self._now, self._interval = CLOCK.now, _health.INTERVAL_SECONDS
        self.time = START
        CLOCK.now = lambda: self.time  # type: ignore[method-assign]  # as monkeypatch would
        _health.INTERVAL_SECONDS = 0.0  # type: ignore[misc]  # asked at each look
        self.plain = 60
        self.facts: dict[str, str] = {"pod": "web-1", "zone": "a"}
        self.raw: str | None = None
        self.well = True
        self.good: list[tuple[str, Line]] = []  # by the name in the status, in order
        self.seen: dict[Line, datetime.datetime] = {}
        self.since: dict[Line, datetime.datetime] = {}
        self.reverted: set[Line] = set()
        self.has_forked = False
        self._start_process()

    def _start_process(self) -> None:
        self.flags = dflag.FlagRegistry()
        self.rate = self.flags.dyn_int("rate", 1, by="tenant")
        self.pair = self.flags.dyn_int("pair", 1, by="tenant")
        self.steps = SteppedUpdater(
            self.flags, self._published(), facts=lambda: self.facts, healthy=lambda: self.well, on_bad_start="skip"
        )

    def _published(self) -> dict[str, str]:
        rules = {} if self.raw is None else {KEY: self.raw}
        return {"rate": str(self.plain), "pair": str(self.plain), **rules}

    def _look(self) -> None:
        self.steps.write(self._published())
        self._expect()

    def _on(self) -> list[Line]:
        return [line for _, line in self.good if line in self.since and line not in self.reverted]

    def _baking(self) -> list[Line]:
        return [line for line in self._on() if line.bake and self.time < self.since[line] + line.bake * MINUTE]

    def _expect(self) -> None:
        """
        Update the model as one look does: check the health of the rules in force before, then apply the time.
        """
        asked = self._baking()
        self._expect_time()
        if not self.well:
            self.reverted.update(line for line in self._baking() if line in asked)

    def _expect_time(self) -> None:
        for _, line in self.good:
            self.seen[line] = max(self.time, self.seen.get(line, self.time))
            if line.is_on(self.facts, self.seen[line]):
                self.since.setdefault(line, self.time)
            else:
                self.since.pop(line, None)

    # --- what happens

    @rule(given=st.lists(lines(), max_size=4))
    def publish(self, given: Sequence[Line]) -> None:
        named: set[str] = set()
        last = {name: line for name, line in self.good if line.name}
        good: list[tuple[str, Line]] = []
        for number, line in enumerate(given, 1):
            name = line.name or f"rule {number}"
            is_double = bool(line.name) and line.name in named
            named.add(name)
            if is_double:
                continue
            if not line.is_bad:
                good.append((name, line))
            elif name in last:
                good.append((name, last[name]))
        self.good = good
        self.raw = "\n".join(line.text() for line in given) or "[]"
        self._look()

    @rule(raw=st.sampled_from(["- set: {", "rate: 5", "\x00", "{"]))
    def corrupt(self, raw: str) -> None:
        self.raw = raw
        self._look()

    @rule(raw=st.sampled_from([None, "", "# none", "null", "[]"]))
    def take_away(self, raw: str | None) -> None:
        number = self.flags.snapshot().revision
        self.raw, self.good = raw, []
        self._look()
        assert self.flags.snapshot().revision <= number + 1
        assert self.steps.status().rules == ()

    @rule(minutes=st.integers(1, 40))
    def time_passes(self, minutes: int) -> None:
        self.time += minutes * MINUTE
        self._look()

    @rule(minutes=st.integers(1, 90))
    def clock_is_set_back(self, minutes: int) -> None:
        self.time -= minutes * MINUTE
        self._look()

    @rule(zone=st.sampled_from(["", "a", "b"]))
    def facts_change(self, zone: str) -> None:
        self.facts = {"pod": "web-1", **({"zone": zone} if zone else {})}
        self._look()

    @rule(plain=st.integers(1, 50))
    def plain_changes(self, plain: int) -> None:
        self.plain = plain
        self._look()

    @rule()
    def health_changes(self) -> None:
        self.well = not self.well
        self._look()

    @precondition(lambda self: self.raw is None or not self.steps.status().rejected)
    @rule()
    def restart(self) -> None:
        """
        After a restart with the same facts the values are the same, unless a rule was reverted or the clock set back.
        """
        before = self._values()
        was_back = any(seen > self.time for seen in self.seen.values())
        was_reverted = bool(self.reverted)
        self.steps.close()
        self.seen, self.since, self.reverted = {}, {}, set()
        self._start_process()
        self._expect_time()
        if not was_back and not was_reverted:
            assert self._values() == before

    @precondition(lambda self: not self.has_forked)  # once a run: late in a long session a fork takes 20 ms and more
    @rule(minutes=st.integers(-40, 40), well=st.booleans())
    def fork(self, minutes: int, well: bool) -> None:
        """
        A forked child continues from what its parent has seen, and the parent is not affected.
        """
        self.has_forked = True
        kept = self.time, self.well, dict(self.seen), dict(self.since), set(self.reverted)
        self.time, self.well = self.time + minutes * MINUTE, well
        answer = _in_child(lambda: (self.steps.write(self._published()), self._values())[1])
        self._expect()
        assert answer == self._expected()
        self.time, self.well, self.seen, self.since, self.reverted = kept

    # --- what holds

    def _values(self) -> list[int]:
        return [value for flag in (self.rate, self.pair) for value in (flag.get(), *map(flag.for_, TENANTS))]

    def _expected(self) -> list[int]:
        on = self._on()
        plain = next((line.rate for line in reversed(on) if not line.is_keyed), self.plain)
        expected = [plain]
        for tenant in TENANTS:
            keyed = [line.rate for line in on if line.is_keyed and line.is_for(tenant, self.seen[line])]
            expected.append(keyed[-1] if keyed else plain)
        return expected * 2

    @invariant()
    def values_are_those_of_the_model(self) -> None:
        if hasattr(self, "steps"):
            assert self._values() == self._expected()

    def teardown(self) -> None:
        if hasattr(self, "steps"):
            self.steps.close()
            CLOCK.now = self._now  # type: ignore[method-assign]  # as above
            _health.INTERVAL_SECONDS = self._interval  # type: ignore[misc]  # as above


TestRules = pytest.mark.untraced(RulesMachine.TestCase)
TestRules.settings = settings(max_examples=50, stateful_step_count=25, deadline=None)
