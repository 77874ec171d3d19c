"""
Metrics for Prometheus.
"""

from __future__ import annotations

import enum
import gc
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

import dflag
from dflag.integrations.prometheus import FlagCollector, register
from dflag.sources import MemorySource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dflag.testing import ConfigMapVolume

DEADLINE_SECONDS = 10.0


@pytest.fixture(name="metrics")
def _metrics() -> CollectorRegistry:
    """Return an empty registry of metrics."""
    return CollectorRegistry()


@pytest.fixture(name="directory")
def _directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Turn multi-process mode on, and return its directory."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture(name="shop")
def _shop() -> dflag.FlagRegistry:
    """Return a registry with a name."""
    return dflag.FlagRegistry("shop")


@pytest.fixture(name="collector")
def _collector(directory: Path) -> Iterator[FlagCollector]:
    """Yield a collector in multi-process mode."""
    collector = FlagCollector()
    yield collector
    collector.close()


def value(metrics: CollectorRegistry, name: str, **labels: str) -> float | None:
    """Return one sample, or None if there is none."""
    return metrics.get_sample_value(f"dflag_{name}", {"registry": "shop", **labels})


def test_every_result_of_a_reading_is_counted(shop: dflag.FlagRegistry, metrics: CollectorRegistry) -> None:
    """Metrics count applied and partial reloads by source, and rejected values, unknown names and pending restarts."""
    shop.dyn_int("rate", 1, min=1)
    shop.int("port", 1)
    source = MemorySource({"rate": "5"})
    with dflag.Updater.setup(shop, source, resync_seconds=60) as updater:
        register(shop, updater, prometheus_registry=metrics)
        assert value(metrics, "reloads_total", source="memory", result="applied") == 1
        assert value(metrics, "reloads_total", source="memory", result="partial") == 0
        assert value(metrics, "rejected_values", flag="rate") is None
        source.update({"rate": "-5", "nope": "1", "port": "5"})
        updater.refresh()
        assert value(metrics, "reloads_total", source="memory", result="partial") == 1
        assert value(metrics, "rejected_values", flag="rate") == 1
        assert value(metrics, "unknown_names") == 1
        assert value(metrics, "pending_restart_flags") == 1
        assert value(metrics, "errors_total") == 1
        assert value(metrics, "warnings_total") == 1
        assert value(metrics, "running") == 1
        checksum = updater.status().sources[0].checksum
        assert value(metrics, "source_info", source="memory", checksum=checksum) == 1
        source.update({"rate": "6"})
        updater.refresh()
        assert value(metrics, "source_info", source="memory", checksum=checksum) is None
        assert value(metrics, "rejected_values", flag="rate") is None
    assert value(metrics, "running") == 0


def test_labels_that_utf8_cannot_encode_are_escaped(shop: dflag.FlagRegistry, metrics: CollectorRegistry) -> None:
    """A source name that UTF-8 cannot encode is an escaped label, and does not break the scrape."""
    shop.dyn_int("rate", 1)
    with dflag.Updater.setup(shop, MemorySource({"rate": "5"}, name="/etc/\udcff")) as updater:
        register(shop, updater, prometheus_registry=metrics)
        assert rb'dflag_source_healthy{registry="shop",source="/etc/\\udcff"} 1.0' in generate_latest(metrics)


def test_a_name_that_is_no_text_is_refused(shop: dflag.FlagRegistry, metrics: CollectorRegistry) -> None:
    """`register()` refuses a name that is not a text, and exports nothing under it."""
    with pytest.raises(dflag.errors.ArgumentError, match="expected name as a text, got 5"):
        register(shop, name=5, prometheus_registry=metrics)  # type: ignore[arg-type]
    assert metrics.get_sample_value("dflag_revision", {"registry": "5"}) is None


def test_times_are_unix_times(shop: dflag.FlagRegistry, metrics: CollectorRegistry) -> None:
    """Times are exported as Unix times, and a time of something that has not happened is not exported."""
    updater = dflag.Updater(shop, MemorySource({}))
    register(shop, updater, prometheus_registry=metrics)
    assert value(metrics, "last_success_timestamp_seconds") is None
    before = time.time()
    with updater:
        after = time.time()
        for name, labels in {
            "last_success": {},
            "source_contact": {"source": "memory"},
            "source_applied": {"source": "memory"},
        }.items():
            moment = value(metrics, f"{name}_timestamp_seconds", **labels)
            assert moment is not None
            assert before - 1 <= moment <= after + 1


def test_a_refused_revision_shows(shop: dflag.FlagRegistry, metrics: CollectorRegistry) -> None:
    """A source that can be read, but whose revision is refused, is exported as healthy and as refused."""
    shop.dyn_int("rate", 1)

    @shop.validator
    def never_70(snapshot: dflag.Snapshot) -> None:
        if snapshot["rate"] == 70:
            raise ValueError("not 70")

    source = MemorySource({"rate": "60"})
    with dflag.Updater.setup(shop, source, resync_seconds=60) as updater:
        register(shop, updater, prometheus_registry=metrics)
        assert value(metrics, "source_refused", source="memory") == 0
        source.update({"rate": "70"})
        updater.refresh()
        assert value(metrics, "source_refused", source="memory") == 1
        assert value(metrics, "source_healthy", source="memory") == 1
        assert value(metrics, "reloads_total", source="memory", result="refused") == 1


def test_a_source_that_cannot_be_read_is_unhealthy_not_refused(
    shop: dflag.FlagRegistry, metrics: CollectorRegistry, volume: ConfigMapVolume
) -> None:
    """A source that cannot be read is exported as unhealthy and as a failed reload, and not as refused."""
    volume.write({"rate": "5"})
    shop.dyn_int("rate", 1)
    with dflag.Updater.setup(shop, volume.path, resync_seconds=60) as updater:
        register(shop, updater, prometheus_registry=metrics)
        (source,) = updater.status().sources
        shutil.rmtree(volume.path)
        updater.refresh()
        assert value(metrics, "source_healthy", source=source.name) == 0
        assert value(metrics, "source_refused", source=source.name) == 0
        assert value(metrics, "reloads_total", source=source.name, result="failed") == 1


def test_registry_alone_has_metrics(shop: dflag.FlagRegistry, metrics: CollectorRegistry) -> None:
    """A registry without an updater exports its revision, overrides, value checksums and callback errors."""
    register(shop, prometheus_registry=metrics)
    rate = shop.dyn_int("rate", 1, on_change=lambda old, new: 1 // 0)
    shop.dyn_int("quiet", 1)
    assert value(metrics, "callback_errors_total", flag="rate") == 0  # from zero on, so that the first one shows
    assert value(metrics, "callback_errors_total", flag="quiet") is None
    assert value(metrics, "overridden_flags") == 0
    rate.set(2)
    assert shop.flush(DEADLINE_SECONDS)
    assert value(metrics, "callback_errors_total", flag="rate") == 1
    assert value(metrics, "overridden_flags") == 1
    assert value(metrics, "revision") == shop.snapshot().revision
    labels = {"checksum_static": shop.checksum(dynamic=False), "checksum_dynamic": shop.checksum(dynamic=True)}
    assert value(metrics, "values_info", **labels) == 1
    rate.set(3)
    assert value(metrics, "values_info", **labels) is None
    assert shop.flush(DEADLINE_SECONDS)


def test_a_value_that_cannot_be_printed_spoils_no_scrape(
    shop: dflag.FlagRegistry, metrics: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """If a value cannot be printed, a scrape leaves out the checksums of values, logs this once and has the rest."""

    class Mode(enum.Enum):
        FAST = "fast"

        def __getattribute__(self, name: str) -> object:
            if name in ("name", "_name_") and broken:
                raise ZeroDivisionError
            return super().__getattribute__(name)

    broken = False
    shop.dyn_enum("mode", Mode.FAST)
    register(shop, prometheus_registry=metrics)
    broken = True
    assert b"dflag_values_info{" not in generate_latest(metrics)
    assert value(metrics, "revision") == 0
    assert [message.split(";")[0] for message in caplog.messages] == ["cannot print a flag's value (ZeroDivisionError)"]


def test_no_value_and_no_key_of_a_source_is_exported(shop: dflag.FlagRegistry, metrics: CollectorRegistry) -> None:
    """No value, unknown name or key of a map from a source appears in the exported text."""
    shop.dyn_string("greeting", "")
    shop.dyn_string("password", "", secret=True)
    shop.dyn_map("limits", {}, keys="limit-*", of="int")
    source = MemorySource({"greeting": "canary-1", "password": "canary-2"})
    with dflag.Updater.setup(shop, source, resync_seconds=60) as updater:
        register(shop, updater, prometheus_registry=metrics)
        source.update({"greeting": "canary-1", "canary-3": "x", "limit-canary-4": "x", "limit-canary-5": "x"})
        updater.refresh()
        assert "limit-canary-4" in updater.status().rejected
        assert value(metrics, "rejected_values", flag="limits") == 2
        assert b"canary" not in generate_latest(metrics)


def test_the_text_is_what_prometheus_reads(shop: dflag.FlagRegistry, metrics: CollectorRegistry) -> None:
    """The exposition parses, every counter ends in _total, and every metric has a help text and the registry's name."""
    with dflag.Updater.setup(shop, MemorySource({})) as updater:
        register(shop, updater, prometheus_registry=metrics)
        families = list(text_string_to_metric_families(generate_latest(metrics).decode()))
    assert len(families) > 10
    for family in families:
        assert family.documentation
        assert family.name.startswith("dflag_")
        for sample in family.samples:
            assert sample.labels["registry"] == "shop"
            assert sample.name.endswith("_total") == (family.type == "counter")


def test_several_registries_in_one_process(metrics: CollectorRegistry) -> None:
    """Registries differ by one label; a name that is already exported is refused, and `name=` gives another one."""
    one, two, third = dflag.FlagRegistry("one"), dflag.FlagRegistry("two"), dflag.FlagRegistry("one")
    collector = register(one, prometheus_registry=metrics)
    assert register(two, prometheus_registry=metrics) is collector
    with pytest.raises(dflag.DefinitionError, match="'one' are already exported: pass name="):
        register(third, prometheus_registry=metrics)
    register(third, name="third", prometheus_registry=metrics)
    third.dyn_int("rate", 1).set(2)
    found = {name: metrics.get_sample_value("dflag_revision", {"registry": name}) for name in ("one", "two", "third")}
    assert found == {"one": 0, "two": 0, "third": third.snapshot().revision}
    assert found["third"]
    collector.remove(third)
    assert metrics.get_sample_value("dflag_revision", {"registry": "third"}) is None
    assert metrics.get_sample_value("dflag_revision", {"registry": "one"}) == 0


def test_updater_of_another_registry_is_refused(shop: dflag.FlagRegistry, metrics: CollectorRegistry) -> None:
    """`register()` refuses an updater that feeds another registry."""
    updater = dflag.Updater(dflag.FlagRegistry("other"), MemorySource({}))
    with pytest.raises(dflag.DefinitionError, match="feeds another registry"):
        register(shop, updater, prometheus_registry=metrics)


def test_closing_leaves_the_registry(shop: dflag.FlagRegistry, metrics: CollectorRegistry) -> None:
    """A closed collector exports nothing and keeps no registry alive, and its registry may be exported again."""
    collector = register(shop, prometheus_registry=metrics)
    collector.close()
    collector.close()
    assert generate_latest(metrics) == b""
    register(shop, prometheus_registry=metrics).close()
    collector.add(other := dflag.FlagRegistry("other"))
    gone = weakref.ref(other)
    del other
    gc.collect()
    assert gone() is not None, "what is exported is kept"
    collector.close()
    gc.collect()
    assert gone() is None


def test_a_collector_that_the_program_has_unregistered_is_gone(
    shop: dflag.FlagRegistry, metrics: CollectorRegistry
) -> None:
    """After a program unregisters a collector, `register()` exports by a new one, and both can still be closed."""
    collector = register(shop, prometheus_registry=metrics)
    metrics.unregister(collector)
    following = register(shop, prometheus_registry=metrics)
    assert following is register(dflag.FlagRegistry("other"), prometheus_registry=metrics)
    assert metrics.get_sample_value("dflag_revision", {"registry": "shop"}) == 0
    collector.close()
    assert metrics.get_sample_value("dflag_revision", {"registry": "other"}) == 0
    metrics.unregister(following)
    following.close()


def test_a_second_collector_in_one_registry_is_refused(metrics: CollectorRegistry) -> None:
    """A second collector in one registry of metrics raises a ValueError, as it would export every metric twice."""
    metrics.register(FlagCollector())
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        metrics.register(FlagCollector())


def test_a_scrape_waits_for_nothing(shop: dflag.FlagRegistry, metrics: CollectorRegistry) -> None:
    """While a validator and a callback hang, a scrape answers at once."""
    hanging, calling, release = threading.Event(), threading.Event(), threading.Event()

    def hang(_value: int) -> None:
        if _value == 2:
            hanging.set()
            release.wait(DEADLINE_SECONDS)

    def call(_old: int, _new: int) -> None:
        calling.set()
        release.wait(DEADLINE_SECONDS)

    shop.dyn_int("rate", 1, validator=hang)
    shop.dyn_int("other", 1, on_change=call).set(2)
    source = MemorySource({})
    with dflag.Updater.setup(shop, source) as updater:
        register(shop, updater, prometheus_registry=metrics)
        source.update({"rate": "2"})
        assert hanging.wait(DEADLINE_SECONDS)
        assert calling.wait(DEADLINE_SECONDS)
        begin = time.monotonic()
        assert value(metrics, "running") == 1
        seconds = time.monotonic() - begin
        release.set()
    assert seconds < DEADLINE_SECONDS / 2
    assert shop.flush(DEADLINE_SECONDS)


def _other_process(directory: Path, pid: int, registry: str = "shop", **values: float) -> Path:
    path = directory / f"dflag_{pid}_0.json"
    path.write_text(json.dumps([[f"dflag_{name}", [registry], number] for name, number in values.items()]))
    return path


def _ended_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_processes_are_put_together(shop: dflag.FlagRegistry, collector: FlagCollector, directory: Path) -> None:
    """Counters are summed over processes, and a gauge has the worst value: earliest success, not running and so on."""
    with dflag.Updater.setup(shop, MemorySource({})) as updater:
        collector.add(shop, updater)
        metrics = CollectorRegistry()
        metrics.register(collector)
        _other_process(
            directory, os.getppid(), errors=3, unknown_names=2, running=0, last_success_timestamp_seconds=1_000
        )
        assert value(metrics, "errors_total") == 3
        assert value(metrics, "unknown_names") == 2
        assert value(metrics, "running") == 0
        assert value(metrics, "last_success_timestamp_seconds") == 1_000


def test_what_the_scraped_process_knows_is_fresh(shop: dflag.FlagRegistry, collector: FlagCollector) -> None:
    """A scrape shows the current metrics of the process that is scraped, and not those of its older file."""
    shop.dyn_int("rate", 1, min=1)
    source = MemorySource({"rate": "5"})
    metrics = CollectorRegistry()
    metrics.register(collector)
    with dflag.Updater.setup(shop, source, resync_seconds=60) as updater:
        source.update({"rate": "0"})
        updater.refresh()
        collector.add(shop, updater)
        assert value(metrics, "rejected_values", flag="rate") == 1
        source.update({"rate": "6"})
        updater.refresh()
        assert value(metrics, "rejected_values", flag="rate") is None


def test_what_was_shown_is_written(shop: dflag.FlagRegistry, collector: FlagCollector, directory: Path) -> None:
    """A count that a scrape has shown is already in the file of the process, so that the sum keeps it after a kill."""
    collector.add(shop)
    metrics = CollectorRegistry()
    metrics.register(collector)
    shop.dyn_int("rate", 1, on_change=lambda old, new: 1 // 0).set(2)
    assert shop.flush(DEADLINE_SECONDS)
    assert value(metrics, "callback_errors_total", flag="rate") == 1
    (file,) = directory.iterdir()
    assert ["dflag_callback_errors", ["shop", "rate"], 1] in json.loads(file.read_text(encoding="utf-8"))


def test_of_a_process_that_ended_the_counters_stay(
    shop: dflag.FlagRegistry, collector: FlagCollector, directory: Path
) -> None:
    """The counters of a process that has ended stay in the sum, and its gauges are dropped."""
    collector.add(shop)
    metrics = CollectorRegistry()
    metrics.register(collector)
    _other_process(directory, _ended_pid(), errors=3, unknown_names=2)
    assert value(metrics, "errors_total") == 3
    assert value(metrics, "unknown_names") is None


def _fail_once(flags: dflag.FlagRegistry, metrics: CollectorRegistry, source: MemorySource, unknown: str) -> None:
    """Run an updater of a source until it has refused one value and seen one unknown name."""
    source.update({"rate": "5"})
    with dflag.Updater.setup(flags, source, resync_seconds=60) as updater:
        register(flags, updater, prometheus_registry=metrics)
        source.update({"rate": "0", unknown: "1"})
        updater.refresh()


@pytest.mark.parametrize("text", ["", "[1]", '[["dflag_errors", ["shop"], []]]', "{", None])
def test_a_broken_file_of_another_process_spoils_no_scrape(
    shop: dflag.FlagRegistry,
    collector: FlagCollector,
    directory: Path,
    caplog: pytest.LogCaptureFixture,
    text: str | None,
) -> None:
    """A broken file of another process is left out and logged once, and the other files still count."""
    broken = directory / f"dflag_{10**30 if text == '{' else _ended_pid()}_1.json"
    _other_process(directory, _ended_pid(), errors=4)
    if text is None:
        broken.mkdir()
    else:
        broken.write_text(text)
    with dflag.Updater.setup(shop, MemorySource({})) as updater:
        collector.add(shop, updater)
        metrics = CollectorRegistry()
        metrics.register(collector)
        assert [value(metrics, "errors_total") for _ in range(2)] == [4, 4]
    (message,) = caplog.messages
    assert broken.name in message


@pytest.mark.parametrize("names", [("one", "one", "one"), ("one", "two", "one")])
@pytest.mark.parametrize("is_shared", [False, True])
def test_counters_go_on_when_the_next_updater_is_registered(
    shop: dflag.FlagRegistry, directory: Path, monkeypatch: pytest.MonkeyPatch, is_shared: bool, names: tuple[str, ...]
) -> None:
    """Counters of a registry go on from updater to updater, alone and in the sum over all processes."""
    if not is_shared:
        monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR")
    others = 4 if is_shared else 0
    _other_process(directory, _ended_pid(), errors=4)
    shop.dyn_int("rate", 1, min=1)
    metrics = CollectorRegistry()
    collector = register(dflag.FlagRegistry("side"), prometheus_registry=metrics)
    for number, name in enumerate(names, start=1):
        _fail_once(shop, metrics, MemorySource({}, name=name), f"nope{number}")
        assert value(metrics, "errors_total") == others + number
        assert value(metrics, "warnings_total") == number
        assert value(metrics, "reloads_total", source=name, result="applied") == names[:number].count(name)
    following = dflag.Updater(shop, MemorySource({}, name="one"))
    assert value(metrics, "errors_total") == others + 3
    following.stop()
    collector.close()


def test_two_collectors_of_one_process_count_once(
    shop: dflag.FlagRegistry, collector: FlagCollector, directory: Path
) -> None:
    """Two collectors of a process count a registry in both once, and a scrape of each has those of the other too."""
    rate = shop.dyn_int("rate", 1, on_change=lambda old, new: 1 // 0)
    rate.set(2)
    assert shop.flush(DEADLINE_SECONDS)
    collector.add(shop)
    other = FlagCollector()
    try:
        other.add(shop)
        collector.add(dflag.FlagRegistry("first"))
        other.add(dflag.FlagRegistry("second"))
        for each in (collector, other):
            metrics = CollectorRegistry()
            metrics.register(each)
            assert value(metrics, "callback_errors_total", flag="rate") == 1
            assert metrics.get_sample_value("dflag_revision", {"registry": "first"}) == 0
            assert metrics.get_sample_value("dflag_revision", {"registry": "second"}) == 0
    finally:
        other.close()


def test_the_file_goes_with_its_collector(shop: dflag.FlagRegistry, collector: FlagCollector, directory: Path) -> None:
    """Closing a collector ends its thread and removes its file; adding a registry again brings both back."""
    for _ in range(2):
        collector.add(shop)
        assert [path.name.split("_")[1] for path in directory.iterdir()] == [str(os.getpid())]
        assert "dflag-metrics" in {thread.name for thread in threading.enumerate()}
        collector.close()
        assert list(directory.iterdir()) == []
        assert "dflag-metrics" not in {thread.name for thread in threading.enumerate()}


def test_a_directory_that_cannot_be_written_is_logged_once(
    shop: dflag.FlagRegistry,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """If the shared directory cannot be written, this is logged once, and the process still exports its own metrics."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "missing"))
    collector = FlagCollector()
    try:
        collector.add(shop)
        collector.add(dflag.FlagRegistry("other"))
        (message,) = caplog.messages
        assert "cannot share metrics with other processes" in message
        metrics = CollectorRegistry()
        metrics.register(collector)
        assert value(metrics, "revision") == 0
    finally:
        collector.close()
