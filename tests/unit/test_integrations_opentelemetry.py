"""
Metrics and events for OpenTelemetry.
"""

from __future__ import annotations

import enum
import gc
import logging
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry

import dflag
from dflag.integrations.opentelemetry import export_events, export_metrics
from dflag.integrations.prometheus import register
from dflag.sources import MemorySource

try:
    from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
except ImportError:  # its name before 1.39
    from opentelemetry.sdk._logs.export import InMemoryLogExporter as InMemoryLogRecordExporter

from ..integration._waiting import DEADLINE_SECONDS, run_python  # noqa: TID252 - tests is on no path

if TYPE_CHECKING:
    from collections.abc import Iterator

SET_LATE = """
import logging
import dflag
from dflag.integrations.opentelemetry import export_metrics
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

logging.basicConfig(level=logging.WARNING)
export_metrics(dflag.FlagRegistry("early"))
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader], shutdown_on_exit=False))
export_metrics(dflag.FlagRegistry("late"))
(resource,) = reader.get_metrics_data().resource_metrics
(scope,) = resource.scope_metrics
(revision,) = [metric for metric in scope.metrics if metric.name == "dflag.revision"]
print(sorted(point.attributes["registry"] for point in revision.data.data_points))
"""


class Meters:
    """
    An SDK that keeps what it collects.
    """

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider([self._reader], shutdown_on_exit=False)

    def collect(self) -> dict[str, Any]:
        """Collect, and return the metrics by name."""
        data = self._reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: metric
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def value(self, name: str, **attributes: str) -> float | None:
        """Return one value, or None if there is none."""
        metric = self.collect().get(name)
        points = metric.data.data_points if metric is not None else ()
        found = [point.value for point in points if dict(point.attributes) == {"registry": "shop", **attributes}]
        assert len(found) <= 1
        return found[0] if found else None


class Events:
    """
    An SDK that keeps what is logged.
    """

    def __init__(self) -> None:
        self._exporter = InMemoryLogRecordExporter()
        self.provider = LoggerProvider(shutdown_on_exit=False)
        self.provider.add_log_record_processor(SimpleLogRecordProcessor(self._exporter))

    def take(self, flags: dflag.FlagRegistry) -> list[tuple[str | None, dict[str, Any]]]:
        """Return the events so far, once all callbacks have run, and forget them."""
        assert flags.flush(DEADLINE_SECONDS)
        records = [entry.log_record for entry in self._exporter.get_finished_logs()]
        self._exporter.clear()
        return [(record.event_name, dict(record.attributes or {})) for record in records]


@pytest.fixture(name="meters")
def _meters() -> Iterator[Meters]:
    """Yield an SDK for metrics."""
    meters = Meters()
    yield meters
    meters.provider.shutdown()


@pytest.fixture(name="events")
def _events() -> Iterator[Events]:
    """Yield an SDK for events."""
    events = Events()
    yield events
    events.provider.shutdown()


@pytest.fixture(name="shop")
def _shop() -> dflag.FlagRegistry:
    """Return a registry with a name."""
    return dflag.FlagRegistry("shop")


def test_metrics_are_observed(shop: dflag.FlagRegistry, meters: Meters) -> None:
    """Counters and gauges show the current status of the updater at each collection."""
    shop.dyn_int("rate", 1, min=1)
    source = MemorySource({"rate": "5"})
    with dflag.Updater.setup(shop, source, resync_seconds=60) as updater:
        export_metrics(shop, updater, meter_provider=meters.provider)
        assert meters.value("dflag.running") == 1
        assert meters.value("dflag.errors") == 0
        source.update({"rate": "0"})
        updater.refresh()
        assert meters.value("dflag.errors") == 1
        assert meters.value("dflag.reloads", source="memory", result="partial") == 1
        assert meters.value("dflag.rejected_values", flag="rate") == 1
    assert meters.value("dflag.running") == 0


def test_names_and_labels_are_those_of_prometheus(shop: dflag.FlagRegistry, meters: Meters) -> None:
    """Names and labels, translated as Prometheus's OTLP receiver does, equal those of the Prometheus integration."""
    metrics = CollectorRegistry()
    with dflag.Updater.setup(shop, MemorySource({})) as updater:
        register(shop, updater, prometheus_registry=metrics)
        export_metrics(shop, updater, meter_provider=meters.provider)
        units = {"s": "_seconds", "": ""}
        translated = {
            (name.replace(".", "_") + units[metric.unit] + "_total" * hasattr(metric.data, "is_monotonic"), *labels)
            for name, metric in meters.collect().items()
            for labels in [sorted(point.attributes) for point in metric.data.data_points]
        }
        exported = {(sample.name, *sorted(sample.labels)) for family in metrics.collect() for sample in family.samples}
    assert len(exported) > 10
    assert translated == exported


def test_several_registries_share_the_instruments(
    shop: dflag.FlagRegistry, meters: Meters, caplog: pytest.LogCaptureFixture
) -> None:
    """Exports of two registries differ by the attribute `registry`, close separately, and cause no SDK warning."""
    other = dflag.FlagRegistry("other")
    with caplog.at_level(logging.WARNING):
        first = export_metrics(shop, meter_provider=meters.provider)
        export_metrics(other, meter_provider=meters.provider)
    assert caplog.messages == []
    with pytest.raises(dflag.DefinitionError, match="already exported"):
        export_metrics(shop, meter_provider=meters.provider)

    def names() -> set[str]:
        return {point.attributes["registry"] for point in meters.collect()["dflag.revision"].data.data_points}

    assert names() == {"shop", "other"}
    first.close()
    first.close()
    assert names() == {"other"}
    with export_metrics(shop, meter_provider=meters.provider):
        assert names() == {"shop", "other"}
    assert names() == {"other"}


def test_a_change_is_an_event(shop: dflag.FlagRegistry, events: Events) -> None:
    """A change is an event with the names and attributes of the semantic conventions, but without the value."""
    rate = shop.dyn_int("rate", 1)
    with export_events(shop, logger_provider=events.provider):
        shop.apply({"rate": "5"}, source="config")
        ((name, attributes),) = events.take(shop)
        assert name == "feature_flag.evaluation"
        assert attributes == {
            "feature_flag.key": "rate",
            "feature_flag.provider.name": "dflag",
            "feature_flag.set.id": "shop",
            "feature_flag.version": str(shop.snapshot().revision),
            "feature_flag.result.reason": "static",
            "dflag.origin": "config",
        }
        shop.apply({}, source="config")
        ((_, attributes),) = events.take(shop)
        assert attributes["feature_flag.result.reason"] == "default"
    rate.set(7)
    assert events.take(shop) == []


def test_a_late_event_describes_its_own_revision(shop: dflag.FlagRegistry, events: Events) -> None:
    """An event that a slow callback has held up has the revision, origin and reason of the commit that it is for."""
    rate = shop.dyn_int("rate", 1)
    may_go_on = threading.Event()
    rate.on_change(lambda _old, _new: may_go_on.wait(DEADLINE_SECONDS))
    with export_events(shop, values=True, logger_provider=events.provider):
        rate.set(5)
        shop.apply({"rate": "6"}, source="config")
        rate.reset()
        shop.apply({}, source="config")
        may_go_on.set()
        found = [attributes for _, attributes in events.take(shop)]
    names = ("feature_flag.version", "feature_flag.result.value", "dflag.origin", "feature_flag.result.reason")
    assert [tuple(attributes[name] for name in names) for attributes in found] == [
        ("1", 5, "override", "static"),
        ("3", 6, "config", "static"),
        ("4", 1, "default", "default"),
    ]


def test_what_utf8_cannot_encode_is_escaped(meters: Meters, events: Events) -> None:
    """Characters that UTF-8 cannot encode are escaped in the attributes of metrics and events."""
    flags = dflag.FlagRegistry("shop\udcff")
    motto = flags.dyn_string("motto", "")
    with export_metrics(flags, meter_provider=meters.provider):
        points = meters.collect()["dflag.revision"].data.data_points
    assert [dict(point.attributes) for point in points] == [{"registry": "shop\\udcff"}]
    with export_events(flags, values=True, logger_provider=events.provider):
        with dflag.Updater.setup(flags, MemorySource({"motto": "\udcff"}, name="/etc/\udcff")):
            assert motto.get() == "\udcff"
        ((_, attributes),) = events.take(flags)
    expected = {
        "feature_flag.set.id": "shop\\udcff",
        "feature_flag.result.value": "\\udcff",
        "dflag.origin": "/etc/\\udcff",
    }
    assert expected == {name: attributes[name] for name in expected}


def test_a_registry_without_a_name_is_no_set(flags: dflag.FlagRegistry, events: Events) -> None:
    """An event of a registry without a name has no attribute `feature_flag.set.id`."""
    rate = flags.dyn_int("rate", 1)
    with export_events(flags, logger_provider=events.provider):
        rate.set(2)
        ((_, attributes),) = events.take(flags)
    assert "feature_flag.set.id" not in attributes


def test_no_export_holds_a_registry_or_a_provider(events: Events) -> None:
    """An export does not keep its registry alive, and a closed export does not keep its provider alive."""
    flags, provider = dflag.FlagRegistry(), LoggerProvider(shutdown_on_exit=False)
    flags.dyn_int("rate", 1)
    export_events(flags, logger_provider=provider).close()
    gone = weakref.ref(provider)
    del provider
    gc.collect()
    assert gone() is None
    export_events(flags, logger_provider=events.provider)
    left = weakref.ref(flags)
    del flags
    gc.collect()
    assert left() is None


def test_values_are_opt_in_and_cut_and_never_a_secrets(shop: dflag.FlagRegistry, events: Events) -> None:
    """With `values=True` an event has a number or bool as it is, other values as a cut text, and no secret's value."""
    shop.dyn_int("rate", 1)
    shop.dyn_bool("on", default=False)
    shop.dyn_json("policy", {})
    shop.dyn_string("greeting", "")
    shop.dyn_string("password", "", secret=True)
    texts = {"rate": "5", "on": "true", "policy": '{"a": 1}', "greeting": "x" * 20, "password": "canary"}
    with export_events(shop, values=True, max_value_length=10, logger_provider=events.provider):
        shop.apply(texts, source="config")
        found = [attributes for _, attributes in events.take(shop)]
    values = {each["feature_flag.key"]: each.get("feature_flag.result.value") for each in found}
    assert values == {"rate": 5, "on": True, "policy": '{"a":1}', "greeting": "x" * 10, "password": None}
    assert "canary" not in repr(found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"values": "no"}, "expected values as True or False, got 'no'"),
        ({"max_value_length": None}, "expected max_value_length as an int of at least 0, got None"),
        ({"max_value_length": "9"}, "expected max_value_length as an int of at least 0, got '9'"),
        ({"max_value_length": -1}, "expected max_value_length as an int of at least 0, got -1"),
    ],
)
def test_wrong_options_of_events_are_refused(
    shop: dflag.FlagRegistry, events: Events, options: dict[str, Any], message: str
) -> None:
    """An option of `export_events` that would leave values out, or fail at each change, is refused in the call."""
    with pytest.raises(dflag.DefinitionError) as caught:
        export_events(shop, logger_provider=events.provider, **{"values": True, **options})
    assert str(caught.value) == message


@pytest.mark.parametrize(("number", "shown"), [(2**63 - 1, 2**63 - 1), (-(2**63), -(2**63)), (2**63, str(2**63))])
def test_numbers_beyond_64_bits_are_texts(shop: dflag.FlagRegistry, events: Events, number: int, shown: object) -> None:
    """An integer beyond 64 bits is exported as a text, as OTLP has no such number."""
    limit = shop.dyn_json("limit", 0)
    with export_events(shop, values=True, logger_provider=events.provider):
        limit.set(number)
        ((_, attributes),) = events.take(shop)
    assert attributes["feature_flag.result.value"] == shown


def test_a_member_of_an_enum_of_ints_is_its_name(shop: dflag.FlagRegistry, events: Events) -> None:
    """A member of an IntEnum is exported as its name, and not as its number."""

    class Level(enum.IntEnum):
        LOW = 1
        HIGH = 2

    level = shop.dyn_enum("level", Level.LOW)
    with export_events(shop, values=True, logger_provider=events.provider):
        level.set_text("HIGH")
        ((_, attributes),) = events.take(shop)
    assert attributes["feature_flag.result.value"] == "HIGH"


def test_a_flag_that_a_secret_source_feeds_is_a_secret(shop: dflag.FlagRegistry, events: Events) -> None:
    """An event does not show the value of a flag that becomes secret only after the export has begun."""

    class Secret(MemorySource):
        secret = True

    shop.dyn_string("password", "")
    with (
        export_events(shop, values=True, logger_provider=events.provider),
        dflag.Updater.setup(shop, Secret({"password": "canary"})),
    ):
        found = events.take(shop)
    assert len(found) == 1
    assert "canary" not in repr(found)


def test_without_an_sdk_nothing_happens(shop: dflag.FlagRegistry) -> None:
    """Without an SDK metrics and events can be exported, and a change causes no callback error."""
    rate = shop.dyn_int("rate", 1)
    with export_metrics(shop), export_events(shop):
        rate.set(2)
        assert shop.flush(DEADLINE_SECONDS)
    assert shop.callback_errors() == {}


def test_the_global_provider_may_be_set_later() -> None:
    """Registries exported before and after the global provider is set show once each, without an SDK warning."""
    done = run_python(SET_LATE)
    assert (done.stdout, done.stderr) == ("['early', 'late']\n", "")
