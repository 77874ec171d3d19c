"""
Rules, the clock, facts, edits, corruption, health and restarts in any order, against a plain model.
"""

from __future__ import annotations

import datetime
from datetime import UTC, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import dflag
from dflag import _health
from dflag._clock import CLOCK
from dflag.testing import SteppedUpdater

if TYPE_CHECKING:
    from collections.abc import Sequence

START = datetime.datetime(2026, 11, 28, 10, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
KEY = "_rules.yaml"
TENANTS = ("acme", "initech", "hooli")


class Line(NamedTuple):
    """
    A rule as the model knows it: minutes count from the start.
    """

    name: str = ""
    zone: str = ""
    begin: int | None = None
    end: int | None = None
    over: int = 0
    bake: int = 0
    tenant: str = ""
    share: int = 0
    rate: int = 0
    is_bad: bool = False

    def text(self) -> str:
        parts = [f"name: {self.name}"] if self.name else []
        parts += [f"when: {{zone: {self.zone}}}"] if self.zone else []
        parts += [f"from: {_time(self.begin)}"] if self.begin is not None else []
        parts += [f"until: {_time(self.end)}"] if self.end is not None else []
        parts += [f"over: {self.over}m"] if self.over else []
        parts += [f"bake: {self.bake}m"] if self.bake else []
        parts += ["by: tenant"] if self.tenant or self.share else []
        parts += [f"is: {self.tenant}"] if self.tenant else []
        parts += [f"share: {self.share}%"] if self.share else []
        parts.append(f"set: {{rate: {'x' if self.is_bad else self.rate}, pair: {self.rate}}}")
        return "- {" + ", ".join(parts) + "}"

    def is_on(self, facts: dict[str, str], now: datetime.datetime) -> bool:
        if self.zone and facts.get("zone") != self.zone:
            return False
        if self.end is not None and now >= START + self.end * MINUTE:
            return False
        if self.begin is None:
            return True
        switch = START + self.begin * MINUTE
        if self.over:
            if "pod" not in facts:
                return False
            passed = self.over * 60_000_000 * _draw(self.name, facts["pod"]) // 2**32
            switch += timedelta(microseconds=passed)
            if self.end is not None and switch >= START + self.end * MINUTE:
                return False
        return now >= switch


def _time(minutes: int) -> str:
    return f"'{(START + minutes * MINUTE).isoformat()}'"


def _draw(name: str, text: str) -> int:
    return int.from_bytes(sha256(name.encode() + b"\0" + text.encode()).digest()[:4], "big")


@st.composite
def lines(draw: st.DrawFn) -> Line:
    """
    Make a rule that the text of rules allows.
    """
    name = draw(st.sampled_from(["", "one", "two", "three"]))
    zone, rate = draw(st.sampled_from(["", "a", "b"])), draw(st.integers(100, 999))
    kind = draw(st.sampled_from(["plain", "timed", "staged", "keyed", "share"]))
    begin = draw(st.integers(0, 60))
    end = draw(st.none() | st.integers(61, 120))
    is_bad = draw(st.integers(0, 5)) == 0
    line = Line(name, zone, rate=rate, is_bad=is_bad)
    if kind == "timed":
        line = line._replace(begin=begin, end=end)
    elif kind == "staged":
        bake = draw(st.sampled_from([0, 15]))
        line = line._replace(name=name or "one", begin=begin, end=end, over=draw(st.integers(1, 60)), bake=bake)
    elif kind == "keyed":
        line = line._replace(tenant=draw(st.sampled_from(TENANTS)), end=end)
    elif kind == "share":
        line = line._replace(name=name or "two", share=draw(st.sampled_from([10, 50, 100])))
    return line


class RulesMachine(RuleBasedStateMachine):
    """
    One process with a source in memory, and the model of what its flags are.
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
        self.good: list[tuple[str, Line]] = []  # by the name of status, in order
        self.seen: dict[Line, datetime.datetime] = {}
        self.since: dict[Line, datetime.datetime] = {}
        self.reverted: set[Line] = set()
        self._start_process()
        self._expect()

    def _start_process(self) -> None:
        self.flags = dflag.FlagRegistry()
        self.rate = self.flags.dyn_int("rate", 1, by="tenant")
        self.pair = self.flags.dyn_int("pair", 1, by="tenant")
        values = {"rate": str(self.plain), "pair": str(self.plain), **({} if self.raw is None else {KEY: self.raw})}
        self.steps = SteppedUpdater(
            self.flags, values, facts=lambda: self.facts, healthy=lambda: self.well, on_bad_start="skip"
        )

    def _look(self) -> None:
        values = {"rate": str(self.plain), "pair": str(self.plain), **({} if self.raw is None else {KEY: self.raw})}
        is_asked = bool(self._baking())
        self.steps.write(values)
        self._expect()
        if is_asked and not self.well:
            self.reverted.update(self._baking())
            self._expect()

    def _on(self) -> list[Line]:
        return [line for _, line in self.good if line in self.since and line not in self.reverted]

    def _baking(self) -> list[Line]:
        return [line for line in self._on() if line.bake and self.time < self.since[line] + line.bake * MINUTE]

    def _expect(self) -> None:
        """
        Let the model look.
        """
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
        A process with the same facts has the same values, but for what was taken back and a clock that was set back.
        """
        before = self._values()
        was_back = any(seen > self.time for seen in self.seen.values())
        was_reverted = bool(self.reverted)
        self.steps.close()
        self.seen, self.since, self.reverted = {}, {}, set()
        self._start_process()
        self._expect()
        if not was_back and not was_reverted:
            assert self._values() == before

    # --- what holds

    def _values(self) -> tuple[int, ...]:
        return (self.rate.get(), *map(self.rate.for_, TENANTS))

    @invariant()
    def values_are_those_of_the_model(self) -> None:
        if not hasattr(self, "steps"):
            return
        on = self._on()
        plain = next((line.rate for line in reversed(on) if not line.tenant and not line.share), self.plain)
        expected = [plain]
        for tenant in TENANTS:
            keyed = [
                line.rate
                for line in on
                if line.tenant == tenant or (line.share and _draw(line.name, tenant) < -(-line.share * 2**32 // 100))
            ]
            expected.append(keyed[-1] if keyed else plain)
        assert self._values() == tuple(expected)
        assert [flag.for_(TENANTS[0]) for flag in (self.rate, self.pair)] == [expected[1]] * 2
        assert self.pair.get() == plain

    def teardown(self) -> None:
        if hasattr(self, "steps"):
            self.steps.close()
            CLOCK.now = self._now  # type: ignore[method-assign]  # as above
            _health.INTERVAL_SECONDS = self._interval  # type: ignore[misc]  # as above


TestRules = RulesMachine.TestCase
TestRules.settings = settings(max_examples=100, stateful_step_count=25, deadline=None)
