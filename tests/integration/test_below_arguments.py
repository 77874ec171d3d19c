"""
Sources that rank beneath environment and command line, as the configuration file of a command-line program.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

import dflag
from dflag import Updater
from dflag.sources import MemorySource
from dflag.testing import ConfigMapVolume, SteppedUpdater

from ._waiting import DEADLINE_SECONDS


@pytest.fixture(name="rate")
def _rate(flags: dflag.FlagRegistry) -> dflag.DynamicFlag[int]:
    return flags.dyn_int("rate", 50, min=1)


@pytest.fixture(name="port")
def _port(flags: dflag.FlagRegistry) -> dflag.StaticFlag[int]:
    return flags.int("port", 8080)


def _origins(flags: dflag.FlagRegistry, name: str) -> list[str]:
    return [layer.origin for layer in flags.explain(name)]


@pytest.mark.parametrize("arguments_first", [True, False])
def test_environment_and_command_line_hide_the_source(
    flags: dflag.FlagRegistry,
    rate: dflag.DynamicFlag[int],
    port: dflag.StaticFlag[int],
    monkeypatch: pytest.MonkeyPatch,
    arguments_first: bool,
) -> None:
    """
    Environment and command line win over the source, whether parsed before or after it; the source sets the rest.
    """
    only = flags.dyn_int("only", 0)
    monkeypatch.setenv("APP_PORT", "7070")
    source = MemorySource({"rate": "60", "port": "9090", "only": "1"})
    if arguments_first:
        flags.parse_args(["--rate=70"], env_prefix="APP")
        updater = Updater(flags, source, below_arguments=True)
        updater.initialize()
    else:
        updater = Updater(flags, source, below_arguments=True)
        updater.initialize()
        flags.parse_args(["--rate=70"], env_prefix="APP")

    assert (rate.get(), port.get(), only.get()) == (70, 7070, 1)
    assert _origins(flags, "rate") == ["command line", "memory", "default"]
    assert _origins(flags, "port") == ["environment", "memory", "default"]
    assert _origins(flags, "only") == ["memory", "default"]


def test_an_override_is_above_all(flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int]) -> None:
    """
    The runtime override hides argument and source; dropping it shows the argument.
    """
    flags.parse_args(["--rate=70"])
    with SteppedUpdater(flags, {"rate": "60"}, below_arguments=True):
        rate.set(80)
        assert _origins(flags, "rate") == ["override", "command line", "test", "default"]
        rate.reset()
        assert (rate.get(), rate.origin) == (70, "command line")


def test_changes_of_a_hidden_value_notify_nobody(flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int]) -> None:
    """
    A change of a hidden value calls no callback, and appears neither in the revision's changes nor in the history.
    """
    other = flags.dyn_int("other", 0)
    flags.parse_args(["--rate=70"])
    seen: list[tuple[int, int]] = []
    rate.on_change(lambda old, new: seen.append((old, new)))
    with SteppedUpdater(flags, {"rate": "60", "other": "1"}, below_arguments=True) as steps:
        revision = steps.update(rate="61", other="2")
        steps.remove("rate")

    assert revision.changed == ("other",)
    assert other.get() == 0
    assert seen == []
    assert [change.flag for change in flags.history()] == ["rate", "other", "other", "other"]


def test_a_bad_hidden_value_is_still_refused(flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int]) -> None:
    """
    A bad value that the command line hides fails a start, because it would show when the argument is left out.
    """
    flags.parse_args(["--rate=70"])
    with pytest.raises(dflag.UpdateError, match="'rate'"):
        Updater.setup(flags, MemorySource({"rate": "0"}), below_arguments=True)

    assert rate.get() == 70


def test_two_updaters_mix_ranks(
    flags: dflag.FlagRegistry,
    rate: dflag.DynamicFlag[int],
    port: dflag.StaticFlag[int],
    volume: ConfigMapVolume,
) -> None:
    """
    Of two updaters on one registry the sources of one rank above the arguments and those of the other beneath.
    """
    flags.parse_args(["--rate=70", "--port=7070"])
    volume.write({"rate": "60"})
    file = MemorySource({"rate": "1", "port": "2"}, name="file")
    with (
        Updater(flags, volume.path) as cluster,
        Updater.setup(flags, [MemorySource(name="system"), file], below_arguments=True),
    ):
        assert (rate.get(), port.get()) == (60, 7070)
        assert _origins(flags, "rate") == [str(volume.path), "command line", "file", "default"]
        volume.write({"port": "9"})
        assert cluster.wait_for(lambda snapshot: snapshot[rate] == 70, DEADLINE_SECONDS)


def test_later_sources_win_beneath_the_arguments_too(flags: dflag.FlagRegistry) -> None:
    """
    Of two sources beneath the arguments the later one wins.
    """
    flags.dyn_int("rate", 0)
    flags.parse_args(["--rate=70"])
    sources = [MemorySource({"rate": "1"}, name="system"), MemorySource({"rate": "2"}, name="user")]
    Updater(flags, sources, below_arguments=True).initialize()

    assert _origins(flags, "rate") == ["command line", "user", "system", "default"]


def test_pending_restart_looks_at_all_layers(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], port: dflag.StaticFlag[int]
) -> None:
    """
    When a source changes, a static flag set on the command line is not pending restart; one without an argument is.
    """
    name = flags.string("name", "x")
    flags.parse_args(["--port=7070"])
    with SteppedUpdater(flags, {"rate": "60"}, below_arguments=True) as steps:
        revision = steps.update(port="9090", name="shop")
        assert revision.pending_restart == steps.status().pending_restart == ("name",)

    assert (port.get(), name.get(), rate.get()) == (7070, "x", 50)


def test_a_map_takes_nothing_from_beneath_the_command_line(flags: dflag.FlagRegistry) -> None:
    """
    A map merges sources above and beneath the arguments; an argument hides all sources beneath it.
    """
    limits = flags.dyn_map("limits", {}, keys="*.limit", of="int")
    Updater(flags, MemorySource({"a.limit": "1", "b.limit": "1"}, name="file"), below_arguments=True).initialize()
    Updater(flags, MemorySource({"b.limit": "2"}, name="cluster")).initialize()
    assert dict(limits.get()) == {"a.limit": 1, "b.limit": 2}
    flags.parse_args(['--limits={"c.limit": 3}'])

    assert dict(limits.get()) == {"b.limit": 2}
    flags.apply({}, source="cluster")
    assert dict(limits.get()) == {"c.limit": 3}


def test_the_page_shows_the_rank(flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int]) -> None:
    """
    The page's JSON lists the layers of a flag in the order of ``explain()``, with the winning layer first.
    """
    from dflag.web import make_wsgi_app

    flags.parse_args(["--rate=70"])
    updater = Updater(flags, MemorySource({"rate": "60"}), below_arguments=True)
    updater.initialize()
    environ: dict[str, Any] = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "QUERY_STRING": ""}
    body = b"".join(make_wsgi_app(flags, updater)(environ, lambda *_: None))  # type: ignore[arg-type,return-value]
    (shown,) = json.loads(body)["flags"]

    assert [layer["origin"] for layer in shown["layers"]] == _origins(flags, "rate")
    assert (shown["current_value"], rate.origin) == ("70", "command line")


def test_a_source_with_values_keeps_its_rank(flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int]) -> None:
    """
    Giving a source with values another rank raises an error that says what to do; an empty source may change its rank.
    """
    source = MemorySource({"rate": "60"})
    flags.parse_args(["--rate=70"])
    with Updater.setup(flags, source):
        assert rate.get() == 60
    with pytest.raises(dflag.DefinitionError, match=r"below_arguments=False.*apply\(\{\}, source='memory'\)"):
        Updater(flags, source, below_arguments=True)
    assert (rate.get(), rate.origin) == (60, "memory")

    flags.apply({}, source="memory")
    with Updater.setup(flags, source, below_arguments=True):
        assert (rate.get(), rate.origin) == (70, "command line")


def test_the_same_updater_may_start_again(flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int]) -> None:
    """
    An updater that is stopped and started again keeps the rank of its sources.
    """
    flags.parse_args(["--rate=70"])
    updater = Updater.setup(flags, MemorySource({"rate": "60"}), below_arguments=True)
    updater.stop()
    with updater:
        assert (rate.get(), rate.origin) == (70, "command line")


@pytest.mark.parametrize("option", ["atomic", "required", "below_arguments"])
@pytest.mark.parametrize("given", ["no", None, 1])
def test_a_switch_takes_a_bool(flags: dflag.FlagRegistry, option: str, given: object) -> None:
    """
    ``Updater`` raises ``DefinitionError`` when a switch is not a bool, such as the text ``"no"``, which is true.
    """
    with pytest.raises(dflag.DefinitionError, match=f"expected {option} as True or False, got {given!r}"):
        Updater(flags, MemorySource(), **{option: given})  # type: ignore[arg-type]
