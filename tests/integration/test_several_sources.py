"""
L5, V40: one updater with a directory, a document and the API server, each with its rank and its own health.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dflag import Updater
from dflag.sources import FileSource, KubernetesSource, MemorySource
from dflag.testing import ConfigMapVolume

from ._waiting import DEADLINE_SECONDS, eventually

pytest.importorskip("httpx2")

from ._api_server import ApiServer, refuse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dflag import DynamicFlag, FlagRegistry

KEYS = ("a", "b", "c", "d")


@pytest.fixture(name="server")
def _server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    monkeypatch.setattr("dflag.sources._reflector.LAST_SECONDS", 0.05)
    monkeypatch.setattr("dflag.sources._reflector.FIRST_SECONDS", 0.01)
    server = ApiServer(tmp_path / "kubeconfig")
    yield server
    server.close()


@pytest.fixture(name="base")
def _base(tmp_path: Path) -> ConfigMapVolume:
    base = ConfigMapVolume(tmp_path / "base")
    base.write(dict.fromkeys(KEYS, "1"))
    return base


@pytest.fixture(name="team")
def _team(tmp_path: Path) -> ConfigMapVolume:
    team = ConfigMapVolume(tmp_path / "team")
    team.write({"app.yaml": "{b: 2, c: 2, d: 2}"})
    return team


@pytest.fixture(name="updater")
def _updater(flags: FlagRegistry, base: ConfigMapVolume, team: ConfigMapVolume, server: ApiServer) -> Iterator[Updater]:
    for key in KEYS:
        flags.dyn_int(key, 0)
    server.put({"c": "3", "d": "3"})
    top = MemorySource({"d": "4"})
    live = KubernetesSource("web", "default", kubeconfig=server.kubeconfig)
    with Updater.setup(flags, [base.path, FileSource(team.path / "app.yaml"), live, top]) as updater:
        yield updater


def _shows(flags: FlagRegistry, *values: int) -> bool:
    return eventually(lambda: tuple(flag.get() for flag in flags) == values)


def test_later_sources_win_key_by_key(
    flags: FlagRegistry, updater: Updater, base: ConfigMapVolume, team: ConfigMapVolume, server: ApiServer
) -> None:
    """
    A key has the value of the last source that holds it; when that source drops the key, the source below counts.
    """
    assert _shows(flags, 1, 2, 3, 4)
    assert [flags[key].origin for key in KEYS][1:3] == [str(team.path / "app.yaml"), "configmap/default/web"]

    server.put({"d": "3"})
    assert _shows(flags, 1, 2, 2, 4)
    team.write({"app.yaml": "{d: 2}"})
    assert _shows(flags, 1, 1, 1, 4)
    base.write({"b": "5", "c": "1", "d": "1"})
    assert _shows(flags, 0, 5, 1, 4)


def test_one_sources_failure_holds_up_no_other(
    flags: FlagRegistry, updater: Updater, base: ConfigMapVolume, team: ConfigMapVolume, server: ApiServer
) -> None:
    """
    While the API server refuses and the document is broken, changes of the volume are still applied.
    Each source has its own health in the status, and recovers by itself.
    """
    server.on_watch(*[refuse(403)] * 1000)
    server.on_list(*[refuse(403)] * 1000)
    server.end_watches()
    team.write({"app.yaml": "{b: 2"})

    def healths() -> list[bool]:
        return [source.healthy for source in updater.status().sources]

    assert eventually(lambda: healths() == [True, False, False, True])
    base.write(dict.fromkeys(KEYS, "7"))
    assert _shows(flags, 7, 2, 3, 4)

    server.relent()
    team.write({"app.yaml": "{b: 8}"})
    server.put({"c": "9"})
    assert _shows(flags, 7, 8, 9, 4)
    assert eventually(lambda: healths() == [True] * 4)


def test_a_source_that_is_not_there_yet_is_taken_up_in_its_rank(flags: FlagRegistry, tmp_path: Path) -> None:
    """
    With ``required=False`` a directory that is created after the start is found, and still ranks below later sources.
    """
    rate: DynamicFlag[int] = flags.dyn_int("rate", 0)
    other: DynamicFlag[int] = flags.dyn_int("other", 0)
    late = ConfigMapVolume(tmp_path / "late")
    with Updater.setup(flags, [late.path, MemorySource({"other": "1"})], required=False) as updater:
        late.write({"rate": "5", "other": "2"})
        assert updater.wait_for(lambda snapshot: snapshot[rate] == 5, DEADLINE_SECONDS)
        assert (other.get(), other.origin) == (1, "memory")
