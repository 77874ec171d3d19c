"""
A program that starts and ends several times in one process, as an ASGI app does in tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.testclient import TestClient

import dflag
from dflag import web
from dflag.integrations.opentelemetry import export_events, export_metrics
from dflag.integrations.prometheus import register
from dflag.logging import add_loglevel_flag
from dflag.sources import DirectorySource, FileSource, MemorySource
from dflag.testing import ConfigMapVolume

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest.fixture(name="logger")
def _logger() -> Iterator[logging.Logger]:
    """Yield a logger, and reset its level afterwards."""
    logger = logging.getLogger("lifespan")
    yield logger
    logger.setLevel(logging.NOTSET)


@pytest.mark.parametrize("tidy", [True, False], ids=["closes", "leaves"])
def test_an_app_may_start_again(tmp_path: Path, logger: logging.Logger, tidy: bool) -> None:
    """
    The updater, metrics, events, log level and page work at each start, whether the app closes its exports or not.
    """
    flags = dflag.FlagRegistry("shop")
    rate, port = flags.dyn_int("rate", 0), flags.int("port", 80)
    volume = ConfigMapVolume(tmp_path / "config")
    metrics = CollectorRegistry()
    reader = InMemoryMetricReader()
    exported = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]  # the SDK has no annotation for it
    meters, events = MeterProvider([reader]), LoggerProvider()
    events.add_log_record_processor(SimpleLogRecordProcessor(exported))
    heard: list[int] = []

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        add_loglevel_flag(flags, logger="lifespan")
        with dflag.Updater.setup(flags, volume.path) as updater, contextlib.ExitStack() as stack:
            collector = register(flags, updater, prometheus_registry=metrics)
            measured = export_metrics(flags, updater, meter_provider=meters)
            emitted = export_events(flags, logger_provider=events)
            stack.callback(emitted.close)
            if tidy:
                stack.callback(collector.close)
                stack.callback(measured.close)
            app.mount("/flags", web.make_asgi_app(flags, updater))
            async with asyncio.timeout(10):
                changes = flags["rate"].changes()
                volume.update(rate=str(rate.get() + 10))
                heard.append((await anext(changes))[1])
            yield

    try:
        for start in range(1, 4):
            volume.write({"rate": str(start), "port": str(80 + start), "loglevel": ["info", "debug"][start % 2]})
            app = Starlette(lifespan=lifespan)
            with TestClient(app) as client:
                assert client.get("/flags/", params={"format": "json"}).json()["flags"][1]["current_value"] == "81"
                assert (heard[-1], port.get()) == (start + 10, 81)
                assert flags.flush(10)
                assert logger.level == [logging.INFO, logging.DEBUG][start % 2]
                assert metrics.get_sample_value("dflag_running", {"registry": "shop"}) == 1
                assert _measured(reader, "dflag.running") == [1]
                told = [record.log_record.attributes for record in exported.get_finished_logs()]
                assert [each["feature_flag.key"] for each in told if each].count("rate") == 1
            exported.clear()
            value = metrics.get_sample_value("dflag_running", {"registry": "shop"})
            assert value == (None if tidy else 0)
    finally:
        meters.shutdown()
        events.shutdown()


def _measured(reader: InMemoryMetricReader, name: str) -> list[Any]:
    data = reader.get_metrics_data()
    assert data is not None
    return [
        point.value  # type: ignore[union-attr]  # all points here are of gauges
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    ]


@pytest.mark.parametrize("kind", ["directory", "file", "memory"])
def test_a_source_serves_one_updater_after_another(tmp_path: Path, kind: str) -> None:
    """
    One updater after another can read and watch the same source, but a source that is followed is refused.
    """
    flags = dflag.FlagRegistry()
    rate = flags.dyn_int("rate", 0)
    volume = ConfigMapVolume(tmp_path / "config")
    volume.write({"rate": "1"})
    (tmp_path / "document.yaml").write_text("rate: 1\n")
    memory = MemorySource({"rate": "1"})
    sources = (DirectorySource(volume.path), FileSource(tmp_path / "document.yaml"), memory)
    source = sources[("directory", "file", "memory").index(kind)]

    for value in range(2, 8, 2):
        with dflag.Updater.setup(flags, source) as updater:
            with pytest.raises(dflag.DefinitionError, match=r"already followed by another updater: stop\(\) that one"):
                dflag.Updater(flags, source)
            for step in (value, value + 1):
                volume.write({"rate": str(step)})
                (tmp_path / "new.yaml").write_text(f"rate: {step}\n")
                (tmp_path / "new.yaml").replace(tmp_path / "document.yaml")
                memory.update({"rate": str(step)})
                assert updater.wait_for(lambda snapshot, step=step: snapshot[rate] == step, timeout=10)  # type: ignore[misc]


def test_a_page_serves_again_on_its_port() -> None:
    """
    A server can listen on the port of an earlier one as soon as the earlier one is closed.
    """
    flags = dflag.FlagRegistry()
    port = 0
    for _ in range(3):
        with web.start_http_server(port, flags) as server:
            port = server.port


@pytest.mark.parametrize("is_initialized", [False, True])
def test_an_updater_that_was_stopped_before_its_start_is_replaced(is_initialized: bool) -> None:
    """
    Metrics accept a second updater of a registry once the first is stopped, even if the first has never run.
    """
    flags, metrics, meters = dflag.FlagRegistry("shop"), CollectorRegistry(), MeterProvider()
    first = dflag.Updater(flags, MemorySource({}, name="first"))
    register(flags, first, prometheus_registry=metrics)
    export_metrics(flags, first, meter_provider=meters)
    if is_initialized:
        first.initialize()
    second = dflag.Updater(flags, MemorySource({}, name="second"))
    with pytest.raises(dflag.DefinitionError, match="or stop its updater"):
        register(flags, second, prometheus_registry=metrics)
    first.stop()

    register(flags, second, prometheus_registry=metrics)
    export_metrics(flags, second, meter_provider=meters).close()
    second.stop()


def test_what_still_runs_says_what_to_do(tmp_path: Path) -> None:
    """
    A second export of metrics or events is refused, and the error says what to close first.
    A `loglevel` flag that was declared differently is refused too.
    """
    flags, other = dflag.FlagRegistry("shop"), dflag.FlagRegistry("shop")
    flags.dyn_int("rate", 0)
    metrics, events = CollectorRegistry(), LoggerProvider()
    with dflag.Updater.setup(flags, MemorySource({})) as updater:
        register(flags, updater, prometheus_registry=metrics)
        register(flags, updater, prometheus_registry=metrics)
        second = dflag.Updater(flags, MemorySource({}, name="second"))
        for registry, feeds in ((flags, second), (flags, None), (other, None)):
            with pytest.raises(dflag.DefinitionError, match="pass name=, or first close that export or stop its upd"):
                register(registry, feeds, prometheus_registry=metrics)
    register(flags, second, prometheus_registry=metrics)
    with pytest.raises(dflag.DefinitionError, match="are already exported"):
        register(other, prometheus_registry=metrics)

    with export_events(flags, logger_provider=events):
        with pytest.raises(
            dflag.DefinitionError, match=r"already exported: first close\(\) what export_events\(\) returned"
        ):
            export_events(flags, logger_provider=events)
        export_events(flags, logger_provider=LoggerProvider()).close()
    export_events(flags, logger_provider=events).close()

    level = add_loglevel_flag(flags)
    assert add_loglevel_flag(flags) is level
    with pytest.raises(dflag.DuplicateFlagError, match="already declared"):
        add_loglevel_flag(flags, logger="other")
    other.string("loglevel", "")
    with pytest.raises(dflag.DuplicateFlagError, match="already declared"):
        add_loglevel_flag(other)
