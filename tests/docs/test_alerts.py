"""
The alerts and the dashboard of the examples query only exported metrics, and the alerts fire when they should.
"""

from __future__ import annotations

import json
import re
import time
import tomllib
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
from ._promtool import PROMTOOL, Case, check, evaluate, recording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "examples" / "kubernetes" / "monitoring"
RULES = yaml.safe_load((MONITORING / "alerts.yaml").read_text(encoding="utf-8"))["spec"]
ALERTS = {rule["alert"]: rule for rule in RULES["groups"][0]["rules"]}
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
EXPORTED = {metric.name + "_total" * (metric.kind == "counter") for metric in METRICS}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PAGE = PROJECT["urls"]["Changelog"].replace("changelog.md", "operations.md")
"""Where the page on operations is published: next to the changelog."""

DEADLINE_SECONDS = 10.0


class Pod:
    """
    A process in which every kind of failure can be caused, scraped as one target.
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
        """Publish a rule next to the value."""
        self.publish(**{"rate": "5", "_rules.yaml": rule})

    def revert(self) -> None:
        """Publish a rule that makes the program unhealthy, and wait until the rule is reverted."""
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
    """Yield two pods of one deployment."""
    pods = [Pod("a"), Pod("b")]
    yield pods
    for pod in pods:
        pod.updater.stop()


def world(pods: list[Pod], *, later_seconds: float = 0.0) -> World:
    """Return the samples of all pods, scraped now and before."""
    now = [sample for pod in pods for sample in scrape(pod.metrics, pod.instance)]
    return World(now, [sample for pod in pods for sample in pod.before], time.time() + later_seconds)


def firing(world: World) -> set[str]:
    """Return the names of the alerts whose expression has a result."""
    return {name for name, rule in ALERTS.items() if query(rule["expr"], world)}


TROUBLE: dict[str, Callable[[Pod], object]] = {
    "DflagValueRejected": lambda pod: pod.publish(rate="0"),
    "DflagRevisionRefused": lambda pod: pod.publish(rate="70"),
    "DflagRuleRefused": lambda pod: pod.publish_rule("- {name: bad, set: {rate: x}}"),
    "DflagRuleReverted": lambda pod: pod.revert(),
    "DflagSourceUnhealthy": lambda pod: pod.publish(),
    "DflagNotRunning": lambda pod: pod.updater.stop(),
    "DflagFleetDisagrees": lambda pod: pod.publish(rate="6"),
    "DflagUnknownKey": lambda pod: pod.publish(rate="5", rte="6"),
    "DflagPendingRestart": lambda pod: pod.publish(rate="5", port="2"),
    "DflagOverrideForgotten": lambda pod: pod.override(6),
    "DflagCallbackFails": lambda pod: pod.override(7),
}
BESIDES = {
    "DflagValueRejected": {"DflagFleetDisagrees"},
    "DflagUnknownKey": {"DflagFleetDisagrees"},
    "DflagPendingRestart": {"DflagFleetDisagrees"},
    "DflagRuleRefused": {"DflagFleetDisagrees", "DflagValueRejected"},
    "DflagRuleReverted": {"DflagFleetDisagrees"},
    "DflagCallbackFails": {"DflagOverrideForgotten"},
}
"""Which other alerts fire then: the other pod has not followed, and the callback ran for an override."""


def test_nothing_fires_while_all_is_well(pods: list[Pod]) -> None:
    """No alert fires for two pods that follow one source, nor after both have applied a new revision."""
    assert firing(world(pods)) == set()
    for pod in pods:
        pod.publish(rate="6")
    assert firing(world(pods, later_seconds=200)) == set()


@pytest.mark.parametrize("alert", TROUBLE)
def test_alert_fires_on_its_trouble_alone(pods: list[Pod], alert: str) -> None:
    """A failure in one pod of two makes its own alert fire, and no alert but those listed with it."""
    TROUBLE[alert](pods[0])
    assert firing(world(pods)) == {alert} | BESIDES.get(alert, set())


def test_stale_source_fires_after_a_while(pods: list[Pod]) -> None:
    """`DflagSourceStale` fires for both pods when their source was last seen 350 s ago, and not after 250 s."""
    assert firing(world(pods, later_seconds=250)) == set()
    late = world(pods, later_seconds=350)
    assert firing(late) == {"DflagSourceStale"}
    assert {sample.labels["instance"] for sample in query(ALERTS["DflagSourceStale"]["expr"], late)} == {"a", "b"}


def test_source_that_was_never_seen_fires(pods: list[Pod]) -> None:
    """`DflagSourceUnhealthy` alone fires for an optional source that has been absent from the start."""
    flags = dflag.FlagRegistry("absent")
    with dflag.Updater.setup(flags, "absent", required=False) as updater:
        register(flags, updater, prometheus_registry=pods[0].metrics)
        assert firing(world(pods, later_seconds=250)) == {"DflagSourceUnhealthy"}


def test_source_that_is_not_live_fires(pods: list[Pod]) -> None:
    """`DflagSourceNotLive` fires for a mount that never changes (faked here: a real one needs a privileged process)."""
    known = world(pods)
    assert any(sample.labels["__name__"] == "dflag_source_live" for sample in known.now)
    changed = [
        Sample(sample.labels, 0.0) if sample.labels["__name__"] == "dflag_source_live" else sample
        for sample in known.now
    ]
    assert firing(known._replace(now=changed)) == {"DflagSourceNotLive"}


def test_every_alert_is_tested() -> None:
    """Every alert has a test that shows when it fires."""
    assert set(ALERTS) == {*TROUBLE, "DflagSourceStale", "DflagSourceNotLive"}


@pytest.mark.parametrize("name", ALERTS)
def test_alert_is_well_formed(name: str) -> None:
    """An alert queries exported metrics, has a known severity, and its texts use only labels that its query keeps."""
    rule = ALERTS[name]
    assert metrics_of(rule["expr"]) <= EXPORTED
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    used = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    kept = re.match(r"\w+ by \(([^)]*)\)", rule["expr"])
    given = {"namespace", "job", "instance", "registry", "source"} if kept is None else set(kept[1].split(", "))
    assert used <= given


@pytest.mark.parametrize("name", ALERTS)
def test_alert_says_what_to_do(name: str) -> None:
    """An alert has a summary, a description, and a link to its own section of the manual, which exists."""
    texts = ALERTS[name]["annotations"]
    assert texts.keys() == {"summary", "description", "runbook_url"}
    assert texts["runbook_url"] == f"{PAGE}#{name.lower()}"
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert f"\n### {name}\n" in page, "a heading is an anchor in small letters"


def test_every_section_on_an_alert_has_its_alert() -> None:
    """Every section on an alert in the manual is about an alert that exists."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^### (Dflag\w+)$", page, re.MULTILINE)) == set(ALERTS)


SOURCE = 'source="/etc/shop"'
COURSES = {
    "DflagValueRejected": Case(
        {'dflag_rejected_values{flag="rate"}': "_x3 1x4 stale"},
        quiet=(1, 4, 8),
        firing=(5, 6),
        labels=("namespace", "job", "registry", "flag"),
    ),
    "DflagRevisionRefused": Case(
        {f"dflag_source_refused{{{SOURCE}}}": "0x2 1x4 0x4"},
        quiet=(2, 4, 8),
        firing=(5, 7),
        labels=("namespace", "job", "registry", "source"),
    ),
    "DflagRuleReverted": Case(
        {f'dflag_rule_state{{{SOURCE}, rule="bad", state="reverted"}}': "_x3 1x4 stale"},
        quiet=(1, 8),
        firing=(3, 6),
        labels=("namespace", "job", "registry", "source", "rule"),
    ),
    "DflagRuleRefused": Case(
        {f'dflag_rule_state{{{SOURCE}, rule="bad", state="refused"}}': "_x3 1x4 stale"},
        quiet=(1, 4, 8),
        firing=(5, 6),
        labels=("namespace", "job", "registry", "source", "rule"),
    ),
    "DflagSourceStale": Case(
        {f"dflag_source_contact_timestamp_seconds{{{SOURCE}}}": "0x7 480"},
        quiet=(5, 6, 8),
        firing=(7,),
        labels=("namespace", "job", "instance", "registry", "source"),
        value="7m 0s",
    ),
    "DflagSourceUnhealthy": Case(
        {f"dflag_source_healthy{{{SOURCE}}}": "1 0x7 1x3"},
        quiet=(0, 5, 9),
        firing=(6, 8),
        labels=("namespace", "job", "instance", "registry", "source"),
    ),
    "DflagSourceNotLive": Case(
        {f"dflag_source_live{{{SOURCE}}}": "0x9 1x3"},
        quiet=(4, 11),
        firing=(5, 9),
        labels=("namespace", "job", "instance", "registry", "source"),
    ),
    "DflagNotRunning": Case(
        {"dflag_running": "1 0x12 1x3"},
        quiet=(0, 10, 14),
        firing=(11, 13),
        labels=("namespace", "job", "instance", "registry"),
    ),
    "DflagFleetDisagrees": Case(
        {
            f'dflag_source_info{{{SOURCE}, checksum="a"}}': "1x20",
            f'dflag_source_info{{{SOURCE}, checksum="b", instance="10.0.0.2:8080"}}': "_ 1x12 stale",
        },
        quiet=(0, 10, 15),
        firing=(11, 13),
        labels=("namespace", "job", "registry", "source"),
        value="2",
    ),
    "DflagUnknownKey": Case(
        {"dflag_unknown_names": "0 2x32 0x3"},
        quiet=(0, 30, 35),
        firing=(31, 33),
        labels=("namespace", "job", "registry"),
        value="2",
    ),
    "DflagPendingRestart": Case(
        {"dflag_pending_restart_flags": "0 3x62 0x3"},
        quiet=(0, 60, 65),
        firing=(61, 63),
        labels=("namespace", "job", "registry"),
        value="3",
    ),
    "DflagOverrideForgotten": Case(
        {"dflag_overridden_flags": "0 1x1442 0x3"},
        quiet=(0, 1440, 1445),
        firing=(1441, 1443),
        labels=("namespace", "job", "registry"),
        value="1",
    ),
    "DflagCallbackFails": Case(
        {'dflag_callback_errors_total{flag="rate"}': "0x4 1x30"},
        quiet=(3, 30),
        firing=(5, 12),
        labels=("namespace", "job", "registry", "flag"),
    ),
}
"""What happens, minute by minute, to one metric of each alert."""

promtool = pytest.mark.skipif(PROMTOOL is None, reason="there is no promtool; apt-get install prometheus")


@promtool
def test_prometheus_accepts_the_rules(tmp_path: Path) -> None:
    """Prometheus and its linter accept the alerts and the queries of the dashboard, without errors or duplicates."""
    assert f"SUCCESS: {len(ALERTS)} rules found" in check(RULES, tmp_path)
    check(recording(_expression(target) for _, target in _targets()), tmp_path)


@promtool
def test_alerts_fire_after_their_time_and_end(tmp_path: Path) -> None:
    """Each alert is quiet before its time is over, then fires with the expected texts, and ends."""
    assert COURSES.keys() == ALERTS.keys()
    assert "SUCCESS" in evaluate(RULES, COURSES, tmp_path)


@promtool
def test_a_wrong_course_fails(tmp_path: Path) -> None:
    """The check by promtool fails when an alert is expected one minute too early."""
    course = COURSES["DflagValueRejected"]
    with pytest.raises(AssertionError, match="FAILED"):
        evaluate(RULES, {"DflagValueRejected": course._replace(firing=(4,))}, tmp_path)


def _targets() -> list[tuple[str, dict[str, Any]]]:
    return [(panel["title"], target) for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]


def _expression(target: dict[str, Any]) -> str:
    """Return a query with the variables of the dashboard filled in."""
    text: str = target["expr"]
    return text.replace("$__rate_interval", "5m").replace("$namespace", ".*").replace("$job", "sh.*")


@pytest.mark.parametrize(("title", "target"), _targets(), ids=lambda value: value if isinstance(value, str) else "")
def test_panel_asks_for_what_is_exported(pods: list[Pod], title: str, target: dict[str, Any]) -> None:
    """Every query of the dashboard parses, names exported metrics, and shows something for a pod in trouble."""
    pods[0].publish(rate="0", nope="1", **{"_rules.yaml": "- {name: bad, set: {rate: x}}"})
    pods[1].updater.stop()
    pods[1].override(7)
    expression = _expression(target)
    assert metrics_of(expression) <= EXPORTED
    found = query(expression, world(pods))
    assert found, f"{title} is empty"
    legend = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
    assert all(legend <= set(sample.labels) for sample in found)


def test_dashboard_can_be_imported() -> None:
    """Panels have unique ids, do not overlap, and use the data source that is chosen at the top of the dashboard."""
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert {variable["name"] for variable in DASHBOARD["templating"]["list"]} == {"datasource", "namespace", "job"}
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        if panel["type"] == "row":
            assert panel.keys().isdisjoint({"datasource", "targets"})
        else:
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["description"].endswith(".")
        place = panel["gridPos"]
        own = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not own & cells
        assert max(x for x, _ in own) < 24
        cells |= own
    annotation = DASHBOARD["annotations"]["list"][0]["expr"].replace("$namespace", ".*").replace("$job", ".*")
    assert metrics_of(annotation) <= EXPORTED
    assert [link["url"] for link in DASHBOARD["links"]] == [PAGE]


def test_dashboards_tell_jobs_apart(pods: list[Pod]) -> None:
    """Sources of one name in two jobs are not counted as one source with two revisions."""
    pods[1].publish(rate="6")
    known = world(pods)
    apart = [Sample({**each.labels, "job": f"shop-{each.labels['instance']}"}, each.value) for each in known.now]
    (expression,) = (_expression(target) for title, target in _targets() if title == "Revisions in one source")
    assert [sample.value for sample in query(expression, known)] == [2]
    assert [sample.value for sample in query(expression, known._replace(now=apart))] == [1]


def test_every_metric_is_in_the_manual() -> None:
    """The table of the manual lists each metric with labels, type and unit, and the page names exactly the alerts."""
    page = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(dflag_\w+)` \|([^|]*)\|", page, re.MULTILINE))
    labels = {metric.name + "_total" * (metric.kind == "counter"): metric.labels for metric in METRICS}
    assert {name: tuple(re.findall(r"`(\w+)`", text)) for name, text in rows.items()} == labels
    kinds = {metric.name + "_total" * (metric.kind == "counter"): metric.kind for metric in METRICS}
    units = re.findall(r"^\| `(dflag_\w+)` \|[^|]*\| (\w+), ([^|]+) \|", page, re.MULTILINE)
    assert {name: kind for name, kind, _ in units} == kinds
    assert {name for name, _, unit in units if unit == "s since 1970"} == {
        name for name in kinds if name.endswith("_timestamp_seconds")
    }
    assert {name for name, _, unit in units if unit == "always 1"} == {name for name in kinds if name.endswith("_info")}
    assert set(re.findall(r"\bDflag[A-Z]\w+", page)) == set(ALERTS)
