"""
What a bad value does at a start: an error, or with ``on_bad_start="skip"`` a start without it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

import dflag
from dflag import Updater
from dflag.sources import MemorySource
from dflag.testing import ConfigMapVolume, SteppedUpdater

from ._waiting import DEADLINE_SECONDS

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(name="rate")
def _rate(flags: dflag.FlagRegistry) -> dflag.DynamicFlag[int]:
    return flags.dyn_int("rate", 50, min=1)


@pytest.fixture(name="port")
def _port(flags: dflag.FlagRegistry) -> dflag.StaticFlag[int]:
    return flags.int("port", 8080)


def _setup(flags: dflag.FlagRegistry, *sources: Any, **options: Any) -> Updater:
    return Updater.setup(flags, sources, on_bad_start="skip", **options)


def _warnings(caplog: pytest.LogCaptureFixture, word: str) -> list[str]:
    return [text for text in caplog.messages if word in text]


def test_a_typo_at_a_restart_starts_with_the_layer_below(
    flags: dflag.FlagRegistry,
    rate: dflag.DynamicFlag[int],
    port: dflag.StaticFlag[int],
    volume: ConfigMapVolume,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """
    Bad values of static and dynamic flags are refused, logged once and listed as rejected; the good values apply.
    """
    name = flags.string("name", "x")
    volume.write({"rate": "many", "port": "http", "name": "shop"})
    with _setup(flags, volume.path) as updater:
        status = updater.status()
        updater.refresh()

    assert (rate.get(), port.get(), name.get()) == (50, 8080, "shop")
    assert (rate.origin, name.origin) == ("default", str(volume.path))
    assert list(status.rejected) == ["port", "rate"]
    assert (status.state, status.updates, status.errors) == ("running", 1, 2)
    assert status.sources[0].reloads["partial"] == 1
    assert len(_warnings(caplog, "'rate'")) == len(_warnings(caplog, "'port'")) == 1


def test_the_layer_below_may_be_the_command_line_or_another_source(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], port: dflag.StaticFlag[int]
) -> None:
    """
    When a value is refused the next layer with a value wins: the command line, another source or the default.
    """
    flags.parse_args(["--rate=7"])
    low, high = MemorySource({"port": "9090"}, name="low"), MemorySource({"rate": "0", "port": "http"}, name="high")
    with _setup(flags, low, high):
        assert (rate.get(), rate.origin) == (7, "command line")
        assert (port.get(), port.origin) == (9090, "low")


def test_a_value_mended_later_is_followed(
    flags: dflag.FlagRegistry,
    rate: dflag.DynamicFlag[int],
    port: dflag.StaticFlag[int],
    volume: ConfigMapVolume,
) -> None:
    """
    When a bad value is corrected a dynamic flag takes it at once; a static flag is listed as pending restart.
    """
    volume.write({"rate": "many", "port": "http"})
    with _setup(flags, volume.path) as updater:
        volume.write({"rate": "60", "port": "9090"})
        assert updater.wait_for(lambda snapshot: snapshot[rate] == 60, DEADLINE_SECONDS)
        updater.refresh()
        status = updater.status()

    assert port.get() == 8080
    assert (dict(status.rejected), status.pending_restart) == ({}, ("port",))


def test_an_atomic_source_with_a_bad_value_starts_without_values(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], port: dflag.StaticFlag[int]
) -> None:
    """
    With ``atomic=True`` a bad value refuses its whole source, whose status has the error; another source applies.
    """
    name = flags.string("name", "x")
    bad, good = MemorySource({"rate": "many", "port": "9090"}, name="bad"), MemorySource({"name": "shop"}, name="good")
    with _setup(flags, bad, good, atomic=True) as updater:
        status = updater.status()

    assert (rate.get(), port.get(), name.get()) == (50, 8080, "shop")
    assert list(status.rejected) == ["rate"]
    assert "'rate'" in str(status.sources[0].last_error)
    assert status.sources[1].last_error is None
    assert [source.reloads["refused"] for source in status.sources] == [1, 0]
    assert (status.updates, status.errors) == (1, 1)
    assert status.seconds_since_success is None


def test_a_source_that_breaks_a_registry_validator_starts_without_values(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], caplog: pytest.LogCaptureFixture
) -> None:
    """
    A source that breaks a registry validator is refused whole, with one error and log line; other sources apply.
    """
    burst = flags.dyn_int("burst", 100)

    @flags.validator
    def below_burst(snapshot: dflag.Snapshot) -> None:
        if snapshot[rate] > snapshot[burst]:
            raise ValueError("rate above burst")

    with _setup(flags, MemorySource({"burst": "90"}, name="good"), MemorySource({"rate": "95"}, name="bad")) as updater:
        updater.refresh()
        status = updater.status()

    assert (rate.get(), burst.get()) == (50, 90)
    assert "rate above burst" in str(status.sources[1].last_error)
    assert (status.updates, status.errors) == (1, 1)
    assert len(_warnings(caplog, "rate above burst")) == 1


def test_sources_that_need_each_other_apply_beside_one_that_is_refused(
    flags: dflag.FlagRegistry, port: dflag.StaticFlag[int]
) -> None:
    """
    Sources that satisfy a validator only together are applied in one revision although a third source breaks it.
    """
    limit, other = flags.int("limit", 9000), flags.dyn_int("other", 0)

    @flags.validator
    def below_limit(snapshot: dflag.Snapshot) -> None:
        if snapshot[port] > snapshot[limit] or snapshot[other] > 5:
            raise ValueError("not like that")

    values = {"needy": {"port": "9500"}, "giving": {"limit": "10000"}, "bad": {"other": "6"}}
    before = flags.snapshot().revision
    updater = Updater(flags, [MemorySource(values[name], name=name) for name in values], on_bad_start="skip")
    updater.initialize()

    assert (port.get(), limit.get(), other.get()) == (9500, 10_000, 0)
    assert flags.snapshot().revision == before + 1
    assert [bool(source.last_error) for source in updater.status().sources] == [False, False, True]
    assert (updater.status().updates, updater.status().errors) == (2, 1)


@pytest.mark.parametrize("unknown", ["warn", "error"])
def test_unknown_names_are_warnings(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], unknown: str, caplog: pytest.LogCaptureFixture
) -> None:
    """
    An unknown name never fails a start that skips bad values, not even with ``unknown="error"``; it is one warning.
    """
    with _setup(flags, MemorySource({"rate": "60", "rat": "1"}), unknown=unknown) as updater:
        updater.refresh()
        status = updater.status()

    assert rate.get() == 60
    assert (status.warnings, status.errors, status.unknown) == (1, 0, ("rat",))
    assert len(_warnings(caplog, "'rat'")) == 1


def test_a_source_that_cannot_be_read_is_still_an_error(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], tmp_path: Path
) -> None:
    """
    A required source that is missing or cannot be parsed raises ``SourceError``; only bad values are skipped.
    """
    document = tmp_path / "app.yaml"
    document.write_text("rate: [", encoding="utf-8")
    for source in (tmp_path / "nowhere", document):
        with pytest.raises(dflag.SourceError, match=source.name):
            _setup(flags, MemorySource({"rate": "60"}), source)
        flags.apply({}, source="memory")

    assert rate.get() == 50


def test_an_absent_optional_source_and_a_bad_value_go_together(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], tmp_path: Path
) -> None:
    """
    The status shows an absent optional source and the bad value of another one, already after ``initialize()``.
    """
    late = ConfigMapVolume(tmp_path / "late")
    updater = Updater(flags, [late.path, MemorySource({"rate": "0"})], on_bad_start="skip", required=False)
    updater.initialize()
    status = updater.status()

    assert [source.healthy for source in status.sources] == [False, True]
    assert "late" in str(status.sources[0].last_error)
    assert list(status.rejected) == ["rate"]
    assert (status.errors, status.seconds_since_success) == (2, None)
    with updater:
        assert updater.status().errors == 2
        late.write({"rate": "60"})
        assert updater.wait_for(lambda snapshot: snapshot[rate] == 60, DEADLINE_SECONDS)


def test_raise_is_the_default_and_changes_nothing(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Without the option a start that fails raises ``UpdateError`` and leaves no value, counter or log line.
    """
    source = MemorySource({"rate": "0", "what": ""})
    updater = Updater(flags, [tmp_path / "late", source], required=False)
    with caplog.at_level(logging.DEBUG, "dflag"), pytest.raises(dflag.UpdateError):
        updater.initialize()
    status = updater.status()

    assert (status.errors, status.warnings, status.updates, dict(status.rejected)) == (0, 0, 0, {})
    assert caplog.messages == []
    assert rate.origin == "default"


def test_a_broken_rule_that_raises_is_not_logged_beside(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], caplog: pytest.LogCaptureFixture
) -> None:
    """
    An error that ``initialize()`` raises is not logged; a ``start()`` that meets the same error logs it once.
    """

    @flags.validator
    def not_70(snapshot: dflag.Snapshot) -> None:
        if snapshot[rate] == 70:
            raise ValueError("70 is taken")

    updater = Updater(flags, MemorySource({"rate": "70"}))
    with pytest.raises(dflag.UpdateError, match="70 is taken"):
        updater.initialize()
    assert caplog.messages == []
    updater.start()
    revision = updater.refresh()
    updater.stop()

    assert "70 is taken" in str(revision.error)
    assert len(_warnings(caplog, "70 is taken")) == 1
    assert updater.status().errors == 1


def test_metrics_and_status_count_the_same(flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int]) -> None:
    """
    A value skipped at a start counts as rejected, and its source as partial, in the metrics and in the status.
    """
    client = pytest.importorskip("prometheus_client")
    from dflag.integrations import prometheus

    metrics = client.CollectorRegistry()
    flags.dyn_int("other", 0)
    with _setup(flags, MemorySource({"rate": "0", "nope": ""}), MemorySource({"other": "1"}, name="good")) as updater:
        prometheus.register(flags, updater, prometheus_registry=metrics)
        status = updater.status()
        text = client.generate_latest(metrics).decode()

    assert rate.get() == 50
    assert (status.updates, status.errors, status.warnings) == (2, 1, 1)
    assert 'dflag_rejected_values{flag="rate",registry=""} 1.0' in text
    assert 'result="partial",source="memory"} 1.0' in text
    assert 'result="applied",source="good"} 1.0' in text


def test_a_secret_that_is_skipped_is_never_shown(flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture) -> None:
    """
    Neither the log nor the status has the text of a secret's bad value.
    """
    token = flags.dyn_int("token", 0, secret=True)
    with _setup(flags, MemorySource({"token": "hunter2"})) as updater:
        shown = str(updater.status()) + caplog.text

    assert token.get() == 0
    assert "'token'" in shown
    assert "hunter2" not in shown


def test_the_option_goes_through_every_way_to_make_an_updater(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int]
) -> None:
    """
    ``SteppedUpdater`` takes ``on_bad_start`` too; a value other than the known ones raises ``DefinitionError``.
    """
    with SteppedUpdater(flags, {"rate": "0"}, on_bad_start="skip") as steps:
        assert list(steps.status().rejected) == ["rate"]
        assert rate.get() == 50
    with pytest.raises(dflag.DefinitionError, match="on_bad_start"):
        Updater(flags, MemorySource(name="other"), on_bad_start="ignore")  # type: ignore[arg-type]
