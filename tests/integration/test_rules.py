"""
Rules in real sources, on the real clock: volumes, documents, timers, forks, restarts and health.
"""

from __future__ import annotations

import datetime
import logging
import os
import threading
import time
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

import pytest

import dflag
import dflag.facts
from dflag.sources import MemorySource, Source
from dflag.testing import ConfigMapVolume

from ._children import Child
from ._waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from dflag.typing import Raw

pytestmark = pytest.mark.once

KEY = "_rules.yaml"
DEADLINE_SECONDS = 10.0


@pytest.fixture
def rate(flags: dflag.FlagRegistry) -> dflag.DynamicFlag[int]:
    return flags.dyn_int("rate", 50, by="tenant")


def _at(seconds: float) -> str:
    """
    Return the time that is *seconds* from now, in the form that rules use.
    """
    return (datetime.datetime.now(UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def _states(updater: dflag.Updater) -> dict[str, str]:
    return {each.name: each.state for each in updater.status().rules}


def _shows(flag: dflag.DynamicFlag[int], value: int) -> Callable[[dflag.Snapshot], bool]:
    return lambda snap: snap[flag] == value


def test_a_volume_brings_rules_and_takes_them_away(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], volume: ConfigMapVolume
) -> None:
    """
    Rules in a volume come, change and go with its swaps, and a broken rules file leaves the last good rules in force.
    """
    volume.write({"rate": "60"})
    with dflag.Updater.setup(flags, volume.path, facts={"zone": "a"}) as updater:
        volume.write({"rate": "61", KEY: "- when: {zone: a}\n  set: {rate: 80}"})
        assert updater.wait_for(lambda snap: snap[rate] == 80, DEADLINE_SECONDS)
        volume.write({"rate": "61", KEY: "- {by: tenant, is: acme, set: {rate: 500}}"})
        assert updater.wait_for(lambda snap: snap.for_(rate, "acme") == 500, DEADLINE_SECONDS)
        assert rate.get() == 61
        volume.write({"rate": "61", KEY: "- set: {rate: x"})
        assert eventually(lambda: KEY in updater.status().rejected)
        assert KEY in str(updater.status().rejected[KEY])
        assert rate.for_("acme") == 500
        volume.write({"rate": "62"})
        assert updater.wait_for(lambda snap: snap[rate] == 62, DEADLINE_SECONDS)
        assert rate.for_("acme") == 62
        assert updater.status().rules == ()


def test_a_document_has_rules_too(flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], tmp_path: Path) -> None:
    """
    The key ``_rules`` of a document holds the list of rules, and an error names the line of the document.
    """
    text = flags.dyn_string("text", "")
    path = tmp_path / "app.yaml"
    path.write_text("rate: 60\n_rules:\n  - when: {zone: a}\n    set: {rate: 80, text: no}\n  - set: {rate: x}\n")
    updater = dflag.Updater(flags, path, facts={"zone": "a"}, on_bad_start="skip")
    updater.initialize()
    assert (rate.get(), text.get()) == (80, "no")
    assert str(path) in str(updater.status().rejected["rule:rule 2"])
    path.write_text("rate: 60\n_rules:\n  - set: {rate: 90}\n  - sett: {rate: 91}\n")
    updater.refresh()
    assert eventually(lambda: updater.refresh() is not None and rate.get() == 90)
    assert f"{path}:4:" in str(updater.status().rejected["rule:rule 2"])
    updater.stop()


def test_a_fault_names_the_line_of_the_last_reading(
    flags: dflag.FlagRegistry,
    rate: dflag.DynamicFlag[int],
    volume: ConfigMapVolume,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """
    When lines are inserted above bad values and rules, the status names their new lines, without a revision or a log.
    """
    flags.dyn_int("other", 1)
    text = (
        "other: x\n"
        "_rules:\n"
        "  - {set: {other: 2,\n"
        "           rate: x}}\n"
        "  - {set: {other: 3}, sett: {}}\n"
        "  - {set: {bogus: 1}}\n"
        "  - {by: user, set: {rate: 1}}\n"
    )
    volume.write({"app.yaml": text})
    path = f"{volume.path}/app.yaml"
    updater = dflag.Updater(flags, path, on_bad_start="skip")
    updater.initialize()

    def places() -> dict[str, str]:
        problems = {each.name: each.problem for each in updater.status().rules}
        rejected = updater.status().rejected
        assert {key.removeprefix("rule:"): str(error) for key, error in rejected.items() if key != "other"} == problems
        return {key: error.origin.removeprefix(path) for key, error in rejected.items()}

    expected = {"other": ":1", "rule:rule 1": ":4:18", "rule:rule 2": ":5:23", "rule:rule 3": ":6:12"}
    assert places() == expected | {"rule:rule 4": ":7:22"}
    logged, revision = len(caplog.records), updater.refresh()
    volume.write({"app.yaml": "# one\n# two\n" + text})
    assert updater.refresh() is revision
    expected = {"other": ":3", "rule:rule 1": ":6:18", "rule:rule 2": ":7:23", "rule:rule 3": ":8:12"}
    assert places() == expected | {"rule:rule 4": ":9:22"}
    assert len(caplog.records) == logged
    updater.stop()


def test_good_rules_that_move_make_no_revision(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], volume: ConfigMapVolume
) -> None:
    """
    A comment inserted above rules makes no revision, and a rule that is refused later is reported with its new line.
    """
    other = flags.dyn_int("other", 1)
    flags.dyn_map("limits", {}, keys="limit_*", of="int")

    @flags.validator
    def check(snap: dflag.Snapshot) -> None:
        if snap[rate] > 70 and snap[other] > 1:
            raise ValueError("too much of both")

    text = "_rules:\n  - set: {rate: 80, limit_a: 5}\n  - when: {zone: b}\n    set: {other: 2}\n"
    zone = "a"
    volume.write({"app.yaml": text})
    updater = dflag.Updater(flags, f"{volume.path}/app.yaml", facts=lambda: {"zone": zone})
    updater.initialize()
    revision = updater.refresh()
    volume.write({"app.yaml": "# one\n" + text})
    assert updater.refresh() is revision
    zone = "b"
    assert updater.refresh() is not revision
    assert (rate.get(), other.get()) == (80, 1)
    assert updater.status().rejected["rule:rule 2"].origin.endswith("app.yaml:4:5")
    updater.stop()


def test_rules_in_a_json_document(flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], tmp_path: Path) -> None:
    """
    A JSON document holds rules as an array under ``_rules``.
    """
    path = tmp_path / "app.json"
    path.write_text('{"rate": 60, "_rules": [{"by": "tenant", "is": ["acme"], "set": {"rate": 500}}]}')
    with dflag.Updater.setup(flags, path):
        assert (rate.get(), rate.for_("acme")) == (60, 500)


def test_rules_in_a_source_of_the_users(flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int]) -> None:
    """
    A source class of the user's own needs only to return the key ``_rules.yaml`` to have rules.
    """

    class Mine(Source):
        name = "mine"

        def read(self) -> Mapping[str, Raw]:
            return {"rate": b"60", KEY: b"- set: {rate: 80}"}

    with dflag.Updater.setup(flags, Mine()):
        assert (rate.get(), rate.origin) == (80, "mine")


def test_a_switch_happens_at_its_moment(flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int]) -> None:
    """
    Without a new reading, the thread wakes at a rule's ``from`` and ``until`` and changes its values in one commit.
    """
    other = flags.dyn_int("other", 1)
    seen: list[tuple[float, int, int]] = []
    rate.on_change(lambda _, new: seen.append((time.time(), new, other.get())))
    start, end = _at(0.4), _at(0.8)
    source = MemorySource({KEY: f"- from: {start}\n  until: {end}\n  set: {{rate: 80, other: 2}}\n"})
    with dflag.Updater.setup(flags, source, resync_seconds=60) as updater:
        assert rate.get() == 50
        assert updater.wait_for(lambda snap: snap[rate] == 80, DEADLINE_SECONDS)
        assert updater.wait_for(lambda snap: snap[rate] == 50, DEADLINE_SECONDS)
        assert flags.flush(DEADLINE_SECONDS)
    for (moment, *values), (text, *expected) in zip(seen, [(start, 80, 2), (end, 50, 1)], strict=True):
        late = moment - datetime.datetime.fromisoformat(text).timestamp()
        assert values == expected
        assert 0 <= late < 1.0  # usually 1 ms; a machine under load may take its time


def test_a_rule_of_next_week_costs_nothing(flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int]) -> None:
    """
    A rule that begins next week does not wake the thread: no source is probed before the next periodic check.
    """
    probes = 0

    class Counted(MemorySource):
        def probe(self) -> object:
            nonlocal probes
            probes += 1
            return super().probe()

    source = Counted({KEY: f"- from: {_at(7 * 86_400)}\n  set: {{rate: 80}}\n"})
    with dflag.Updater.setup(flags, source, resync_seconds=60, healthy=lambda: True) as updater:
        before, cpu = probes, time.process_time()
        assert not updater.wait_for(lambda snap: snap[rate] == 80, 0.5)
        assert probes == before
        assert time.process_time() - cpu < 0.2


def test_a_restarted_process_has_the_same_values(volume: ConfigMapVolume) -> None:
    """
    In mid-rollout a restarted process with the same facts has the same value; processes with other facts may differ.
    """
    rules = f"- name: go\n  from: {_at(-1800)}\n  over: 1h\n  set: {{rate: 80}}\n"
    volume.write({"rate": "60", KEY: rules})

    def run(pod: str) -> int:
        flags = dflag.FlagRegistry()
        rate = flags.dyn_int("rate", 50)
        with dflag.Updater.setup(flags, volume.path, facts={"pod": pod}):
            return rate.get()

    pods = [f"web-{number}" for number in range(30)]
    first = [run(pod) for pod in pods]
    assert [run(pod) for pod in pods] == first
    assert set(first) == {60, 80}


def test_a_forked_child_follows_the_clock(flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int]) -> None:
    """
    A child that was forked before a rule's ``from`` switches by itself, and a rule reverted before the fork stays so.
    """
    well = True
    source = MemorySource(
        {
            KEY: f"- from: {_at(0.6)}\n  set: {{rate: 80}}\n"
            f"- name: bad\n  from: {_at(-1)}\n  bake: 1h\n  by_mistake: 1\n  set: {{rate: 5}}\n"
            f"- name: baked\n  from: {_at(-1)}\n  bake: 1h\n  set: {{other: 2}}\n"
        }
    )
    other = flags.dyn_int("other", 1)
    with dflag.Updater.setup(flags, source, on_bad_start="skip", healthy=lambda: well) as updater:
        assert other.get() == 2
        well = False
        assert updater.wait_for(lambda snap: snap[other] == 1, DEADLINE_SECONDS)

        def child() -> None:
            nonlocal well
            well = True
            switched = updater.wait_for(lambda snap: snap[rate] == 80, DEADLINE_SECONDS)
            assert switched
            assert (other.get(), _states(updater)["baked"]) == (1, "reverted")

        Child(child).check()
        assert updater.wait_for(lambda snap: snap[rate] == 80, DEADLINE_SECONDS)


@pytest.mark.parametrize("how", ["false", "none", "raises", "exits"])
def test_an_unhealthy_process_takes_a_rule_back(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """
    When the health check is not true, or raises, the rule is reverted, the plain value is back and the log says so.
    """
    ill = threading.Event()
    threads: set[str] = set()

    def healthy() -> object:
        threads.add(threading.current_thread().name)
        if not ill.is_set():
            return True
        if how == "raises":
            raise LookupError("no database")
        if how == "exits":
            raise SystemExit(3)
        return None if how == "none" else False

    rules = f"- name: go\n  from: {_at(-5)}\n  bake: 1h\n  set: {{rate: 80}}\n"
    source = MemorySource({"rate": "60", KEY: rules})
    with (
        caplog.at_level(logging.WARNING, "dflag"),
        dflag.Updater.setup(flags, source, healthy=healthy) as updater,
    ):
        assert updater.wait_for(lambda _: "dflag-healthy" in threads, DEADLINE_SECONDS) or eventually(
            lambda: "dflag-healthy" in threads
        )
        assert (rate.get(), _states(updater)) == (80, {"go": "baking"})
        ill.set()
        assert updater.wait_for(lambda snap: snap[rate] == 60, DEADLINE_SECONDS)
        assert _states(updater) == {"go": "reverted"}
        assert "is reverted in this process" in caplog.text
        assert threads == {"dflag-healthy"}


def test_a_health_check_that_hangs_counts_as_a_no(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    When the health check does not answer in time, the rule is reverted; other changes are applied meanwhile.
    """
    from dflag import _health

    monkeypatch.setattr(_health, "PATIENCE_SECONDS", 0.8)
    go = threading.Event()
    rules = f"- name: go\n  from: {_at(-5)}\n  bake: 1h\n  set: {{rate: 80}}\n"
    other = flags.dyn_int("other", 1)
    source = MemorySource({"rate": "60", KEY: rules})
    try:
        with dflag.Updater.setup(flags, source, healthy=go.wait) as updater:
            source.update({"rate": "60", "other": "2", KEY: rules})
            assert updater.wait_for(lambda snap: snap[other] == 2, DEADLINE_SECONDS)
            assert rate.get() == 80
            assert updater.wait_for(lambda snap: snap[rate] == 60, DEADLINE_SECONDS)
            assert "has not answered" in (updater.status().rules[0].problem or "")
    finally:
        go.set()


@pytest.mark.untraced
def test_threads_see_no_torn_rule(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], volume: ConfigMapVolume
) -> None:
    """
    While a volume is swapped 1,000 times, with rules that come, change and go, no reader sees values of two sets mixed.
    """
    other = flags.dyn_int("other", 0, by="tenant")
    torn: list[Any] = []
    seen: list[int] = []
    rate.on_change(lambda _, new: seen.append(new))
    stop = threading.Event()

    def read() -> None:
        while not stop.wait(0.0002):  # without a pause, it would take the writer's time
            snap = flags.snapshot()
            acme = snap.for_(rate, "acme")
            if snap[rate] != snap[other] or acme != snap.for_(other, "acme") or acme not in {snap[rate], -snap[rate]}:
                torn.append((dict(snap), acme))

    def published(number: int) -> dict[str, str]:
        values = f"set: {{rate: {number}, other: {number}}}"
        keyed = f"- {{by: tenant, is: acme, set: {{rate: {-number}, other: {-number}}}}}"
        plain = {"rate": str(number), "other": str(number)}
        return (
            plain,
            {KEY: f"- {values}\n{keyed}"},
            {**plain, KEY: keyed},
            {KEY: f"- {{name: s, from: {_at(-60)}, over: 1s, {values}}}"},
            {"rate": "1", "other": "2", KEY: f"{keyed}\n- {{when: {{zone: b}}, set: {{rate: 1}}}}\n- {values}"},
        )[number % 5]

    volume.write(published(50))
    reader = threading.Thread(target=read)
    with dflag.Updater.setup(flags, volume.path, facts={"zone": "a", "pod": "p"}) as updater:
        reader.start()
        for number in range(51, 1050):
            volume.write(published(number))
            if not number % 50 or number == 1049:
                assert updater.wait_for(_shows(rate, number), DEADLINE_SECONDS)
        stop.set()
        reader.join()
        assert updater.status().errors == 0
        assert flags.flush(DEADLINE_SECONDS)
    assert torn == []
    assert seen == sorted(seen)


@pytest.fixture
def podinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ConfigMapVolume:
    """Return an empty downward-API volume, and unset the variables that name the pod."""
    for name in ("POD_NAME", "POD_NAMESPACE", "NODE_NAME"):
        monkeypatch.delenv(name, raising=False)
    return ConfigMapVolume(tmp_path / "podinfo")


def test_facts_of_a_pod(podinfo: ConfigMapVolume, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The facts of a pod come from environment variables and labels; a fact that has neither is left out.
    """
    ask = dflag.facts.kubernetes(podinfo=podinfo.path)
    assert ask() == {"pod": os.uname().nodename}
    monkeypatch.setenv("POD_NAME", "web-1")
    monkeypatch.setenv("POD_NAMESPACE", "shop")
    monkeypatch.setenv("NODE_NAME", "node-a")
    podinfo.write(
        {
            "labels": 'app="shop"\napp.kubernetes.io/version="1.4.2"\n'
            'topology.kubernetes.io/zone="eu-1"\ntopology.kubernetes.io/region="eu"\nempty=""\n'
        }
    )
    assert ask() == {
        "pod": "web-1",
        "namespace": "shop",
        "node": "node-a",
        "version": "1.4.2",
        "zone": "eu-1",
        "region": "eu",
        "label.app": "shop",
        "label.app.kubernetes.io/version": "1.4.2",
        "label.topology.kubernetes.io/zone": "eu-1",
        "label.topology.kubernetes.io/region": "eu",
        "label.empty": "",
    }


def test_rules_by_labels_of_the_pod(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], podinfo: ConfigMapVolume
) -> None:
    """
    A rule for a label is in force in a pod that has the label.
    """
    podinfo.write({"labels": 'tier="canary"\n'})
    source = MemorySource({KEY: "- when: {label.tier: canary}\n  set: {rate: 80}"})
    with dflag.Updater.setup(flags, source, facts=dflag.facts.kubernetes(podinfo=podinfo.path)):
        assert rate.get() == 80


def test_a_rule_that_clashes_again_counts_once(flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int]) -> None:
    """
    When a source returns from a reading that is refused whole to two clashing rules, the clash counts once more.
    """
    burst = flags.dyn_int("burst", 1)

    @flags.validator
    def _below_rate(snapshot: dflag.Snapshot) -> None:
        if snapshot[burst] > snapshot[rate]:
            raise ValueError("burst is above rate")

    clash = {KEY: "[{name: low, set: {rate: 5}}, {name: high, set: {burst: 10}}]"}
    source = MemorySource({"rate": "50"})
    updater = dflag.Updater(flags, source)
    updater.initialize()

    def errors_after(values: Mapping[str, str]) -> int:
        source.update(values)
        updater.refresh()
        return updater.status().errors

    assert errors_after({"rate": "50", **clash}) == 1
    assert errors_after({"rate": "0"}) == 2
    assert errors_after({"rate": "50", **clash}) == 3
    assert (rate.get(), burst.get()) == (5, 1)
