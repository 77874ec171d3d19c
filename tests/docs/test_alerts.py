"""
The alerts and the dashboard of the examples ask for what is exported, and fire when they should.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

import dflag
from dflag.integrations._measures import METRICS
from dflag.integrations.prometheus import register
from dflag.sources import MemorySource

from ._promql import Sample, World, metrics_of, query, scrape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "examples" / "kubernetes"
RULES = yaml.safe_load((KUBERNETES / "alerts.yaml").read_text(encoding="utf-8"))["spec"]["groups"][0]["rules"]
ALERTS = {rule["alert"]: rule for rule in RULES}
DASHBOARD = json.loads((KUBERNETES / "dashboard.json").read_text(encoding="utf-8"))
EXPORTED = {metric.name + "_total" * (metric.kind == "counter") for metric in METRICS}
DEADLINE_SECONDS = 10.0


class Pod:
    """
    A process with every kind of thing that may go wrong, scraped as one target.
    """

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self.flags = dflag.FlagRegistry()
        self.rate = self.flags.dyn_int("rate", 1, min=1, on_change=lambda old, new: 1 // (new - 7))
        self.flags.int("port", 1)
        self.flags.validator(_rate_is_not_70)
        self.source = MemorySource({"rate": "5"})
        self.well = True
        self.updater = dflag.Updater.setup(self.flags, self.source, resync_seconds=3600, healthy=lambda: self.well)
        self.metrics = CollectorRegistry()
        register(self.flags, self.updater, prometheus_registry=self.metrics)
        self.before = scrape(self.metrics, instance)

    def publish(self, **values: str) -> None:
        """Publish other values and apply them."""
        self.source.update(values)
        self.updater.refresh()
        assert self.flags.flush(DEADLINE_SECONDS)

    def publish_rule(self, rule: str) -> None:
        """Publish a rule beside the value."""
        self.publish(**{"rate": "5", "_rules.yaml": rule})

    def revert(self) -> None:
        """Publish a rule with which the program is not well, and wait until it is taken back."""
        self.well = False
        self.publish_rule("- {name: bad, from: '2026-01-01T00:00:00Z', bake: 5000w, set: {rate: 6}}")
        deadline = time.monotonic() + DEADLINE_SECONDS
        while self.updater.status().rules[0].state != "reverted":
            assert self.updater.wait_for(lambda snapshot: snapshot["rate"] == 5, deadline - time.monotonic())

    def override(self, value: int) -> None:
        """Set the flag, and wait for its callback."""
        self.rate.set(value)
        assert self.flags.flush(DEADLINE_SECONDS)


def _rate_is_not_70(snapshot: dflag.Snapshot) -> None:
    if snapshot["rate"] == 70:
        raise ValueError("not 70")


@pytest.fixture(name="pods")
def _pods() -> Iterator[list[Pod]]:
    """Return two pods of one deployment."""
    pods = [Pod("a"), Pod("b")]
    yield pods
    for pod in pods:
        pod.updater.stop()


def world(pods: list[Pod], *, later_seconds: float = 0.0) -> World:
    """Scrape all pods."""
    now = [sample for pod in pods for sample in scrape(pod.metrics, pod.instance)]
    return World(now, [sample for pod in pods for sample in pod.before], time.time() + later_seconds)


def firing(world: World) -> set[str]:
    """Name the alerts whose expression gives anything."""
    return {name for name, rule in ALERTS.items() if query(rule["expr"], world)}


TROUBLE: dict[str, Callable[[Pod], object]] = {
    "DflagValueRejected": lambda pod: pod.publish(rate="0"),
    "DflagRevisionRefused": lambda pod: pod.publish(rate="70"),
    "DflagRuleRefused": lambda pod: pod.publish_rule("- {name: bad, set: {rate: x}}"),
    "DflagRuleReverted": lambda pod: pod.revert(),
    "DflagNotRunning": lambda pod: pod.updater.stop(),
    "DflagFleetDisagrees": lambda pod: pod.publish(rate="6"),
    "DflagPendingRestart": lambda pod: pod.publish(rate="5", port="2"),
    "DflagOverrideForgotten": lambda pod: pod.override(6),
    "DflagCallbackFails": lambda pod: pod.override(7),
}
BESIDES = {
    "DflagValueRejected": {"DflagFleetDisagrees"},
    "DflagPendingRestart": {"DflagFleetDisagrees"},
    "DflagRuleRefused": {"DflagFleetDisagrees", "DflagValueRejected"},
    "DflagRuleReverted": {"DflagFleetDisagrees"},
    "DflagCallbackFails": {"DflagOverrideForgotten"},
}
"""What else is so then: the other pod has not followed, and the callback ran for an override."""


def test_nothing_fires_while_all_is_well(pods: list[Pod]) -> None:
    """Two pods that follow one source give no alert, nor does a new revision that both have taken."""
    assert firing(world(pods)) == set()
    for pod in pods:
        pod.publish(rate="6")
    assert firing(world(pods, later_seconds=200)) == set()


@pytest.mark.parametrize("alert", TROUBLE)
def test_alert_fires_on_its_trouble_alone(pods: list[Pod], alert: str) -> None:
    """Trouble in one pod of two makes its own alert fire."""
    TROUBLE[alert](pods[0])
    assert firing(world(pods)) == {alert} | BESIDES.get(alert, set())


def test_stale_source_fires_after_a_while(pods: list[Pod]) -> None:
    """A source that has not been seen for long: both pods here, as none looks again within the hour."""
    assert firing(world(pods, later_seconds=250)) == set()
    late = world(pods, later_seconds=350)
    assert firing(late) == {"DflagSourceStale"}
    assert {sample.labels["instance"] for sample in query(ALERTS["DflagSourceStale"]["expr"], late)} == {"a", "b"}


def test_source_that_is_not_live_fires(pods: list[Pod]) -> None:
    """A mount that never changes; made up here, since it takes a privileged process to mount one."""
    known = world(pods)
    assert any(sample.labels["__name__"] == "dflag_source_live" for sample in known.now)
    changed = [
        Sample(sample.labels, 0.0) if sample.labels["__name__"] == "dflag_source_live" else sample
        for sample in known.now
    ]
    assert firing(known._replace(now=changed)) == {"DflagSourceNotLive"}


def test_every_alert_is_tested() -> None:
    """Whoever adds a rule shows when it fires."""
    assert set(ALERTS) == {*TROUBLE, "DflagSourceStale", "DflagSourceNotLive"}


@pytest.mark.parametrize("name", ALERTS)
def test_alert_is_well_formed(name: str) -> None:
    """It asks for metrics that are exported, names a severity, and its texts use labels that the expression keeps."""
    rule = ALERTS[name]
    assert metrics_of(rule["expr"]) <= EXPORTED
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    used = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    kept = re.match(r"\w+ by \(([^)]*)\)", rule["expr"])
    given = {"namespace", "job", "instance", "registry", "source"} if kept is None else set(kept[1].split(", "))
    assert used <= given


def _targets() -> list[tuple[str, dict[str, Any]]]:
    return [(panel["title"], target) for panel in DASHBOARD["panels"] for target in panel["targets"]]


@pytest.mark.parametrize(("title", "target"), _targets(), ids=lambda value: value if isinstance(value, str) else "")
def test_panel_asks_for_what_is_exported(pods: list[Pod], title: str, target: dict[str, Any]) -> None:
    """Every query of the dashboard parses, names exported metrics, and shows something for a pod in trouble."""
    pods[0].publish(rate="0", nope="1", **{"_rules.yaml": "- {when: {zone: a}, set: {rate: 6}}"})
    pods[1].updater.stop()
    pods[1].override(7)
    expression = target["expr"].replace("$__rate_interval", "5m").replace("$namespace", ".*").replace("$job", "sh.*")
    assert metrics_of(expression) <= EXPORTED
    found = query(expression, world(pods))
    assert found, f"{title} is empty"
    legend = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
    assert all(legend <= set(sample.labels) for sample in found)


def test_dashboard_can_be_imported() -> None:
    """Panels have ids of their own, do not overlap, and take the data source that is chosen above."""
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert {variable["name"] for variable in DASHBOARD["templating"]["list"]} == {"datasource", "namespace", "job"}
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["datasource"]["uid"] == "${datasource}"
        place = panel["gridPos"]
        own = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not own & cells
        assert max(x for x, _ in own) < 24
        cells |= own
    annotation = DASHBOARD["annotations"]["list"][0]["expr"].replace("$namespace", ".*").replace("$job", ".*")
    assert metrics_of(annotation) <= EXPORTED


def test_every_metric_is_in_the_manual() -> None:
    """The table of the manual names each metric with its labels, and only alerts that there are."""
    page = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(dflag_\w+)` \|([^|]*)\|", page, re.MULTILINE))
    labels = {metric.name + "_total" * (metric.kind == "counter"): metric.labels for metric in METRICS}
    assert {name: tuple(re.findall(r"`(\w+)`", text)) for name, text in rows.items()} == labels
    assert set(re.findall(r"\bDflag[A-Z]\w+", page)) == set(ALERTS)
