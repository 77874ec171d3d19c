"""
Keyed flags: one value for each key that a rule names or draws, and one for all others.
"""

from __future__ import annotations

import asyncio
import enum
import threading
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

import dflag
import dflag.testing
from dflag._keyed import EVERYBODY, KeyedValue, Table, draw, finders_of_map
from dflag._registry import store_of_registry
from dflag._snapshot import matcher_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dflag import DynamicFlag, FlagRegistry

TENTH = -(-EVERYBODY // 10)


@pytest.fixture
def rate(registry: FlagRegistry) -> DynamicFlag[int]:
    return registry.dyn_int("rate", 50, "Requests per second", by="tenant", min=1)


def _key(registry: FlagRegistry, flag: DynamicFlag[Any], *values: KeyedValue, source: str = "config") -> None:
    """
    Commit values for keys, as the rules of a source do.
    """
    registry.apply({}, source=source)
    store = store_of_registry(registry)
    assert store.commit(store.plan([], keyed=[(flag, source, values)]))


def _named(*keys: str, value: Any, rule: str = "named") -> KeyedValue:
    return KeyedValue(rule, keys, EVERYBODY, value, "config")


def _share(threshold: int, value: Any, rule: str = "share") -> KeyedValue:
    return KeyedValue(rule, None, threshold, value, "config")


def test_without_rules_every_key_has_the_plain_value(rate: DynamicFlag[int]) -> None:
    """
    `for_()` of a keyed flag without rules returns the plain value for each key, which follows `set()` and `reset()`.
    """
    assert rate.for_("acme") == 50
    rate.set(70)
    assert rate.for_("acme") == 70
    rate.reset()
    assert rate.for_("acme") == 50
    assert rate.by == "tenant"


def test_named_keys_have_their_own_value(registry: FlagRegistry, rate: DynamicFlag[int]) -> None:
    """
    A key that a rule names has the value of the rule; every other key, and `get()`, has the plain value.
    """
    _key(registry, rate, _named("acme", "initech", value=500))
    assert [rate.for_(key) for key in ("acme", "initech", "Acme", "")] == [500, 500, 50, 50]
    assert rate.get() == 50


def test_a_share_is_drawn_by_the_published_formula(registry: FlagRegistry, rate: DynamicFlag[int]) -> None:
    """
    A key is inside a share if the first 4 bytes of the SHA-256 of rule name, zero byte and key are below the threshold.
    """
    _key(registry, rate, _share(TENTH, 500, "ten"))
    keys = [f"tenant-{number}" for number in range(2_000)]
    inside = [int.from_bytes(sha256(b"ten\0" + key.encode()).digest()[:4], "big") < TENTH for key in keys]
    assert [rate.for_(key) == 500 for key in keys] == inside
    assert 150 < sum(inside) < 250


def test_everybody_is_inside_the_whole_share(registry: FlagRegistry, rate: DynamicFlag[int]) -> None:
    """
    A share of 100% holds every key, and a share of 0% holds none.
    """
    _key(registry, rate, _share(EVERYBODY, 500))
    assert {rate.for_(str(number)) for number in range(1_000)} == {500}
    _key(registry, rate, _share(0, 500))
    assert {rate.for_(str(number)) for number in range(1_000)} == {50}


def test_a_digest_at_the_threshold_is_outside(registry: FlagRegistry, rate: DynamicFlag[int]) -> None:
    """
    A key whose draw equals the threshold is outside of the share, and inside when the threshold is one higher.
    """
    number = draw("edge", "acme")
    _key(registry, rate, _share(number, 500, "edge"))
    assert rate.for_("acme") == 50
    _key(registry, rate, _share(number + 1, 500, "edge"))
    assert rate.for_("acme") == 500


def test_a_later_value_wins_for_each_key(registry: FlagRegistry, rate: DynamicFlag[int]) -> None:
    """
    When a share and named keys of one source hold the same key, the later of them gives its value.
    """
    _key(registry, rate, _named("acme", value=500), _share(EVERYBODY, 600), _named("initech", value=700))
    assert [rate.for_(key) for key in ("acme", "initech", "other")] == [600, 700, 600]
    _key(registry, rate, _share(TENTH, 600), _named("acme", value=500), _share(TENTH * 5, 800, "half"))
    for key in [f"tenant-{number}" for number in range(500)] + ["acme"]:
        expected = 50
        if draw("share", key) < TENTH:
            expected = 600
        if key == "acme":
            expected = 500
        if draw("half", key) < TENTH * 5:
            expected = 800
        assert rate.for_(key) == expected


def test_named_keys_may_be_drawn(registry: FlagRegistry, rate: DynamicFlag[int]) -> None:
    """
    When a rule with a threshold names keys, only those whose draw is below the threshold have its value.
    """
    keys = tuple(f"tenant-{number}" for number in range(100))
    _key(registry, rate, KeyedValue("some", keys, EVERYBODY // 2, 500, "config"))
    assert [rate.for_(key) == 500 for key in keys] == [draw("some", key) < EVERYBODY // 2 for key in keys]


def test_a_later_source_hides_values_for_keys(registry: FlagRegistry, rate: DynamicFlag[int]) -> None:
    """
    A plain value of a later source hides the values for keys of an earlier source, and so does an override.
    """
    _key(registry, rate, _named("acme", value=500), source="low")
    registry.apply({"rate": "60"}, source="high")
    assert rate.for_("acme") == 60
    registry.apply({}, source="high")
    assert rate.for_("acme") == 500
    rate.set(70)
    assert rate.for_("acme") == 70


def test_keyed_values_of_two_sources_add_up(registry: FlagRegistry, rate: DynamicFlag[int]) -> None:
    """
    A later source that has only values for keys hides the earlier values for those keys, and for no others.
    """
    _key(registry, rate, _named("acme", "initech", value=500), source="low")
    _key(registry, rate, _named("acme", value=600), source="high")
    assert [rate.for_(key) for key in ("acme", "initech", "other")] == [600, 500, 50]


def test_a_flag_without_by_has_no_keys(registry: FlagRegistry) -> None:
    """
    `for_` of a flag that was declared without ``by=`` raises, static or dynamic, live or from a snapshot or a pin.
    """
    plain, static = registry.dyn_int("plain", 1), registry.int("static", 1)
    for flag in (plain, static):
        with pytest.raises(dflag.DflagError, match=r"by="):
            flag.for_("acme")
        with pytest.raises(dflag.DflagError, match=flag.name):
            registry.snapshot().for_(flag, "acme")
        with registry.pinned(), pytest.raises(dflag.DflagError, match=flag.name):
            flag.for_("acme")


def test_by_is_for_dynamic_flags(registry: FlagRegistry) -> None:
    """
    A declaration is refused when a static flag has ``by=``, and when ``by=`` is blank or not a text.
    """
    with pytest.raises(dflag.DefinitionError, match="static"):
        registry.int("static", 1, by="tenant")
    for by in ("", " "):
        with pytest.raises(dflag.DefinitionError, match="by"):
            registry.dyn_int("dynamic", 1, by=by)
    with pytest.raises(dflag.DefinitionError, match="by"):
        registry.dyn_int("dynamic", 1, by=5)  # type: ignore[arg-type]  # what is tested
    assert "dynamic" not in registry


def test_snapshots_answer_for_keys(registry: FlagRegistry, rate: DynamicFlag[int]) -> None:
    """
    A snapshot answers `for_()` by flag or name, and keeps its values for keys after a commit.
    """
    _key(registry, rate, _named("acme", value=500))
    snap = registry.snapshot()
    _key(registry, rate)
    assert (snap.for_(rate, "acme"), snap.for_("rate", "acme"), snap.for_(rate, "other")) == (500, 500, 50)
    assert registry.snapshot().for_(rate, "acme") == 50
    with pytest.raises(dflag.UnknownFlagError, match="did you mean"):
        snap.for_("rte", "acme")


def test_pins_hold_for_keys(registry: FlagRegistry, rate: DynamicFlag[int]) -> None:
    """
    Inside a pin `for_()` answers from the snapshot of the pin; a value that a pin is given is the value of every key.
    """
    _key(registry, rate, _named("acme", value=500))
    with registry.pinned():
        _key(registry, rate, _named("acme", value=600))
        assert rate.for_("acme") == 500
        with registry.pinned({rate: 9}) as snap:
            assert (rate.for_("acme"), snap.for_(rate, "acme"), rate.get()) == (9, 9, 9)
        assert rate.for_("acme") == 500
    assert rate.for_("acme") == 600


def test_a_closed_pin_and_a_pin_of_others_answer_live(registry: FlagRegistry, rate: DynamicFlag[int]) -> None:
    """
    `for_()` returns live values in a task that outlives its pin, and for a flag of another registry inside a pin.
    """
    other = dflag.FlagRegistry()
    limit = other.dyn_int("limit", 1, by="user")

    async def main() -> list[int]:
        with registry.pinned():
            gate = asyncio.Event()

            async def later() -> int:
                await gate.wait()
                return rate.for_("acme")

            task = asyncio.create_task(later())
            await asyncio.sleep(0)
            live = limit.for_("anybody")
        _key(registry, rate, _named("acme", value=500))
        gate.set()
        return [live, await task]

    assert asyncio.run(main()) == [1, 500]


@pytest.mark.parametrize("key", [5, None, b"acme", ["acme"]])
def test_a_key_is_a_text(registry: FlagRegistry, rate: DynamicFlag[int], key: Any) -> None:
    """
    `for_()` raises when a key is not a text, also without rules, for a flag and for a snapshot.
    """
    for rules in ((), (_named("acme", value=500),), (_share(TENTH, 500),)):
        _key(registry, rate, *rules)
        with pytest.raises(dflag.errors.ArgumentError, match="key"):
            rate.for_(key)
        with pytest.raises(dflag.errors.ArgumentError, match="key"):
            registry.snapshot().for_(rate, key)


def test_no_key_names_the_way_to_the_plain_value(rate: DynamicFlag[int]) -> None:
    """The error for the key None, which a request without a tenant often gives, says how to read without a key."""
    with pytest.raises(dflag.errors.ArgumentError, match=r"got None \(without a key read the flag itself"):
        rate.for_(None)  # type: ignore[arg-type]


def test_a_key_may_be_any_text(registry: FlagRegistry, rate: DynamicFlag[int]) -> None:
    """
    A key may be a text that UTF-8 cannot hold, or a member of a `StrEnum`.
    """
    _key(registry, rate, _share(TENTH, 500), _named("acme", value=600))
    assert rate.for_("\udc80") in {50, 500}
    assert rate.for_(enum.StrEnum("Tenant", {"ACME": "acme"}).ACME) == 600


def test_callbacks_follow_the_value_of_no_key(registry: FlagRegistry, rate: DynamicFlag[int]) -> None:
    """
    A change of values for keys alone runs no callback, and makes a new revision.
    """
    calls: list[tuple[int, int]] = []
    rate.on_change(lambda old, new: calls.append((old, new)))
    before = registry.snapshot().revision
    _key(registry, rate, _named("acme", value=500))
    assert registry.snapshot().revision > before
    rate.set(51)
    assert registry.flush(5)
    assert calls == [(50, 51)]


def test_a_match_is_what_gives_the_value(registry: FlagRegistry, rate: DynamicFlag[int]) -> None:
    """
    `matcher_of()` finds for a key the `KeyedValue` that wins, also among rules of one name, and None under an override.
    """
    hidden, everybody, late = _named("acme", "late", value=500), _share(EVERYBODY, 600, "all"), _named("late", value=1)
    _key(registry, rate, hidden, everybody, late)
    snap = registry.snapshot()
    assert matcher_of(snap, rate)("acme") is everybody
    assert matcher_of(snap, rate)("late") is late
    assert matcher_of(snap, "rate")("other") is everybody
    rate.set(7)
    assert matcher_of(registry.snapshot(), rate)("acme") is None


def test_isolation_brings_keyed_values_back(registry: FlagRegistry, rate: DynamicFlag[int]) -> None:
    """
    After a block of `dflag.testing.isolated` the values for keys are those from before the block.
    """
    _key(registry, rate, _named("acme", value=500))
    with dflag.testing.isolated(registry):
        _key(registry, rate, _named("acme", value=600))
        assert rate.for_("acme") == 600
    assert rate.for_("acme") == 500


def test_a_bound_flag_keeps_its_keys() -> None:
    """
    A keyed flag of a library answers `for_()` before it is bound, and with values for keys after.
    """
    rate = dflag.dyn_int(5, by="tenant")
    assert rate.for_("acme") == 5
    registry = dflag.FlagRegistry()
    registry.bind("rate", rate)
    _key(registry, rate, _named("acme", value=6))
    assert (rate.for_("acme"), registry.snapshot().for_("rate", "acme")) == (6, 6)


def test_a_table_with_another_plain_value_is_not_made_anew() -> None:
    """
    When only the plain value changes, the new table shares the lookup of named keys with the table before.
    """
    layer = (_named("acme", value=500),)
    table = Table((layer,), 50)
    other = Table((layer,), 60, table)
    assert table.lookup[0].__self__ is other.lookup[0].__self__  # type: ignore[attr-defined]  # of a bound method of C
    assert other.value_for("x") == 60


def test_no_reader_sees_the_value_of_another_revision(registry: FlagRegistry, rate: DynamicFlag[int]) -> None:
    """
    A thread that reads while tables are swapped sees, for each key, a value that some revision had for it.
    """
    stop = threading.Event()
    wrong: list[tuple[str, int]] = []

    def read() -> None:
        while not stop.is_set():
            for key, allowed in (("acme", {1, 2}), ("other", {50, 60})):
                value = rate.for_(key)
                if value not in allowed:
                    wrong.append((key, value))

    _key(registry, rate, _named("acme", value=1))
    thread = threading.Thread(target=read)
    thread.start()
    store = store_of_registry(registry)
    for number in range(300):
        registry.apply({"rate": "60" if number % 2 else "50"}, source="config")
        keyed = (_named("acme", value=number % 2 + 1),)
        assert store.commit(store.plan([], keyed=[(rate, "config", keyed)]))
    stop.set()
    thread.join()
    assert not wrong


def test_shares_of_a_map_keep_no_mapping_for_each_key_that_was_ever_asked() -> None:
    """
    The cache of merged mappings is bounded: with twelve shares, mappings that it has dropped are made again.
    """
    parts = [
        KeyedValue(f"rule{n}", None, EVERYBODY // 2, {str(n): n}, "s", is_share=True, is_part=True) for n in range(12)
    ]
    match, _ = finders_of_map([({}, parts)], {}, _merged)
    kept = [each for number in range(6000) if (each := match(f"tenant{number}")) is not None]
    values = {str(each.value) for each in kept}
    assert len({id(each) for each in kept}) > len(values) > 1000  # some were made again


@pytest.mark.parametrize("more", [(), ("named",), ("everybody",), ("everybody", "named")])
def test_a_share_of_a_map_adds_to_what_else_is_for_a_key(more: tuple[str, ...]) -> None:
    """
    A key that a share draws has the part of the share on top of the parts of rules that name it or hold for every key.
    """
    others = {"named": ("acme", "initech"), "everybody": None}
    parts = [KeyedValue(rule, others[rule], EVERYBODY, {rule: 1}, "s", is_share=False, is_part=True) for rule in others]
    half = KeyedValue("half", None, EVERYBODY // 2, {"half": 1}, "s", is_part=True)
    given = [part for part in parts if part.rule in more]
    match, find = finders_of_map([({"plain": 1}, [*given, half])], {}, _merged)
    for key in ["acme", "initech", "\udc80", *map(str, range(50))]:
        expected = {part.rule: 1 for part in given if part.keys is None or key in part.keys}
        if draw("half", key) < EVERYBODY // 2:
            expected["half"] = 1
        found = match(key)
        assert (found.value if found else {"plain": 1}) == find(key, {"plain": 1}) == {"plain": 1, **expected}


def _merged(layers: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    return {name: value for layer in layers for name, value in layer.items()}


@pytest.mark.parametrize("layers", [1, 2])
def test_what_a_share_of_a_map_hashes_is_made_with_the_table(layers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The salts of a map's shares, one or several, are made with the table and not when a key is looked up.
    """
    shares = [[KeyedValue(f"rule {n}", None, TENTH, {"a": n}, "s", is_part=True)] for n in range(layers)]
    _, find = finders_of_map([({}, given) for given in shares], {}, _merged)
    monkeypatch.delattr("dflag._keyed._salt")
    keys = [f"tenant-{number}" for number in range(100)]
    drawn = [any(_number(each.rule, key) < TENTH for given in shares for each in given) for key in keys]
    assert [find(key) is not None for key in keys] == drawn


def _number(rule: str, key: str) -> int:
    return int.from_bytes(sha256(f"{rule}\0{key}".encode()).digest()[:4], "big")


@pytest.mark.parametrize("is_part", [False, True])
def test_a_value_for_every_key_needs_no_hash(is_part: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The value of a share that has grown to every key is found without a hash, for a named key too.
    """
    monkeypatch.setattr("dflag._keyed.sha256", lambda: pytest.fail)
    everybody = KeyedValue("all", None, EVERYBODY, {"a": 1}, "s", is_part=is_part)
    named = KeyedValue("named", ("acme",), EVERYBODY, {"b": 1}, "s", is_part=is_part)
    if is_part:
        _, find = finders_of_map([({}, [everybody, named])], {}, _merged)
    else:
        find, _ = Table([[everybody, named]], {}).lookup
    assert find("other", {}) == {"a": 1}
    assert find("acme", {})["b"] == 1
