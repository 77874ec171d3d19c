"""
The source against a real API server: only where ``DFLAG_TEST_KUBECONFIG`` names one.
"""

from __future__ import annotations

import base64
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import dflag
from dflag import SourceError, Updater
from dflag.sources import KubernetesSource

from ..integration._waiting import eventually  # noqa: TID252 - the checkout may not be on the path
from ._cluster import CONTROL, KUBECONFIG, Cluster, control

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dflag import FlagRegistry

pytestmark = [
    pytest.mark.skipif(not KUBECONFIG, reason="DFLAG_TEST_KUBECONFIG names no cluster"),
    pytest.mark.timeout(240),
]
controlled = pytest.mark.skipif(not CONTROL, reason="DFLAG_TEST_APISERVER holds no command")

PATIENCE_SECONDS = 60.0
"""Within which a source comes back from a restarted server: two of the longest pauses."""


@pytest.fixture(name="cluster")
def _cluster() -> Iterator[Cluster]:
    """Return access to the cluster."""
    cluster = Cluster()
    yield cluster
    cluster.close()


@pytest.fixture(name="rate")
def _rate(flags: FlagRegistry) -> dflag.Flag[int]:
    """Return the flag that the tests watch."""
    return flags.dyn_int("rate_limit", 50, "Requests per second")


def follow(flags: FlagRegistry, name: str, unknown: Any = "warn", **options: Any) -> Updater:
    return Updater.setup(flags, KubernetesSource(name, kubeconfig=KUBECONFIG, **options), unknown=unknown)


def becomes(updater: Updater, rate: dflag.Flag[int], value: int) -> bool:
    return updater.wait_for(lambda snapshot: snapshot[rate] == value, PATIENCE_SECONDS)


def is_healthy(updater: Updater) -> bool:
    return updater.status().sources[0].healthy


def test_follows_patches(cluster: Cluster, flags: FlagRegistry, rate: dflag.Flag[int]) -> None:
    """What the object holds applies at once, and each patch is seen."""
    name = cluster.create({"rate_limit": "60"})
    with follow(flags, name) as updater:
        assert rate.get() == 60
        for value in range(61, 71):
            cluster.patch(name, {"rate_limit": str(value)})
            assert becomes(updater, rate, value)
        cluster.patch(name, {"rate_limit": None, "rest": "1"})
        assert becomes(updater, rate, 50)
        assert updater.status().sources[0].reconnects == 0


def test_short_watches_are_quiet(cluster: Cluster, flags: FlagRegistry, rate: dflag.Flag[int]) -> None:
    """Watches that the server ends as agreed follow each other without a gap or a word."""
    name = cluster.create({"rate_limit": "60"})
    with follow(flags, name, watch_seconds=1.0) as updater:
        for value in range(61, 66):
            reopened = updater._session._watches[0]._opened_at
            assert eventually(lambda reopened=reopened: updater._session._watches[0]._opened_at not in (None, reopened))
            cluster.patch(name, {"rate_limit": str(value)})
            assert becomes(updater, rate, value)
        assert updater.status().errors == 0
        assert updater.status().sources[0].reconnects == 0


def test_deleted_and_made_anew(cluster: Cluster, flags: FlagRegistry, rate: dflag.Flag[int]) -> None:
    """A deleted object leaves its values, and one of the same name counts."""
    name = cluster.create({"rate_limit": "60"})
    with follow(flags, name) as updater:
        cluster.delete(name)
        assert eventually(lambda: not is_healthy(updater))
        assert rate.get() == 60
        cluster.recreate(name, {"rate_limit": "61"})
        assert becomes(updater, rate, 61)
        assert eventually(lambda: is_healthy(updater))


def test_secret(cluster: Cluster, flags: FlagRegistry, rate: dflag.Flag[int]) -> None:
    """A Secret is followed as a ConfigMap is."""
    name = cluster.create({"rate_limit": base64.b64encode(b"60").decode()}, kind="secrets")
    with follow(flags, name, kind="Secret") as updater:
        assert rate.get() == 60
        cluster.patch(name, {"rate_limit": base64.b64encode(b"61").decode()}, kind="secrets")
        assert becomes(updater, rate, 61)


def test_role_for_one_object(cluster: Cluster, flags: FlagRegistry, rate: dflag.Flag[int]) -> None:
    """Without a Role the message names it, and with just that Role the object is followed."""
    name = cluster.create({"rate_limit": "60"})
    source = KubernetesSource(name, kubeconfig=KUBECONFIG, context="reader")
    with pytest.raises(SourceError, match=r"answered 403: .*; expected a Role in namespace 'default'"):
        source.read()
    with cluster.role(name, ["list", "watch"]):
        assert eventually(lambda: _reads(source))
        with Updater.setup(flags, source) as updater:
            cluster.patch(name, {"rate_limit": "61"})
            assert becomes(updater, rate, 61)


@controlled
def test_restarted(cluster: Cluster, flags: FlagRegistry, rate: dflag.Flag[int]) -> None:
    """After a restart, by which the server forgets old versions, the source goes on by itself."""
    name = cluster.create({"rate_limit": "60"})
    with follow(flags, name) as updater:
        for value in range(61, 71):
            cluster.patch(name, {"rate_limit": str(value)})
        other = cluster.create({"rate_limit": "0"})
        cluster.delete(other)  # so that the newest version is of no object that still is
        control("restart")
        cluster.patch(name, {"rate_limit": "71"})
        assert becomes(updater, rate, 71)
        assert eventually(lambda: is_healthy(updater))


@controlled
def test_database_begun_anew(cluster: Cluster, flags: FlagRegistry, rate: dflag.Flag[int]) -> None:
    """After etcd began anew, whose versions are then lower, what is there counts and is followed."""
    name = cluster.create({"rate_limit": "60"})
    with follow(flags, name, unknown="ignore") as updater:
        for value in range(1000):  # more than the server itself writes as it starts
            cluster.patch(name, {"rest": str(value)})
        before = int(cluster.version)
        control("start")
        assert eventually(cluster.make_namespace)
        cluster.recreate(name, {"rate_limit": "61"})
        assert int(cluster.version) < before
        assert becomes(updater, rate, 61)
        assert _within_patience(lambda: is_healthy(updater))
        cluster.patch(name, {"rate_limit": "62"})
        assert becomes(updater, rate, 62)


def test_list_without_watch(cluster: Cluster, flags: FlagRegistry, rate: dflag.Flag[int]) -> None:
    """With a Role that lacks the verb watch the source stays unhealthy, says so once, and follows by lists."""
    name = cluster.create({"rate_limit": "60"})
    with cluster.role(name, ["list"]):
        source = KubernetesSource(name, kubeconfig=KUBECONFIG, context="reader")
        assert eventually(lambda: _reads(source))
        with Updater.setup(flags, source) as updater:
            assert eventually(lambda: not is_healthy(updater))
            assert 'verbs: ["list", "watch"]' in (updater.status().sources[0].last_error or "")
            cluster.patch(name, {"rate_limit": "61"})
            assert becomes(updater, rate, 61)
            assert _within_patience(lambda: not is_healthy(updater))
            assert updater.status().errors <= 2


def test_impersonated(cluster: Cluster, tmp_path: Path) -> None:
    """The user that the kubeconfig impersonates is the one that needs the Role."""
    import yaml

    name = cluster.create({"rate_limit": "60"})
    document = yaml.safe_load(Path(KUBECONFIG).read_text())
    for entry in document["users"]:
        entry["user"] |= {"as": "reader", "as-groups": ["dflag-test"], "as-user-extra": {"reason": ["a test"]}}
    path = tmp_path / "impersonating"
    path.write_text(yaml.safe_dump(document))
    source = KubernetesSource(name, kubeconfig=path)
    with pytest.raises(SourceError, match=r'answered 403: .*User "reader" cannot list'):
        source.read()
    with cluster.role(name, ["list"]):
        assert eventually(lambda: _reads(source))


@controlled
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_killed_or_stopped(cluster: Cluster, flags: FlagRegistry, rate: dflag.Flag[int], how: signal.Signals) -> None:
    """A server that dies or freezes is noticed, the values stay, and the source comes back with it."""
    name = cluster.create({"rate_limit": "60"})
    with follow(flags, name, watch_seconds=2.0) as updater:
        process = int(control("pid", "apiserver"))
        os.kill(process, how)
        try:
            assert _within_patience(lambda: not is_healthy(updater))
            assert rate.get() == 60
        finally:
            if how is signal.SIGSTOP:
                os.kill(process, signal.SIGCONT)
            else:
                control("restart")
        cluster.patch(name, {"rate_limit": "61"})
        assert becomes(updater, rate, 61)
        assert eventually(lambda: is_healthy(updater))


def _reads(source: KubernetesSource) -> bool:
    try:
        return bool(source.read())
    except SourceError:
        return False


def _within_patience(condition: Any) -> bool:
    return any(eventually(condition) for _ in range(6))
