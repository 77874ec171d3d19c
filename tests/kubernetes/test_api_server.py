"""
The Kubernetes source against a real API server; runs only if ``DFLAG_TEST_KUBECONFIG`` names one.
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
"""The time in which a source recovers after a restart of the server: two of its longest pauses."""


@pytest.fixture(name="cluster")
def _cluster() -> Iterator[Cluster]:
    """Yield access to the cluster."""
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
    """The source applies what the object holds at once, and then each patch, without reconnecting."""
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
    """Watches that the server ends at their time limit follow each other without a missed change or an error."""
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
    """The values stay when the object is deleted, and the source follows a new object of the same name."""
    name = cluster.create({"rate_limit": "60"})
    with follow(flags, name) as updater:
        cluster.delete(name)
        assert eventually(lambda: not is_healthy(updater))
        assert rate.get() == 60
        cluster.recreate(name, {"rate_limit": "61"})
        assert becomes(updater, rate, 61)
        assert eventually(lambda: is_healthy(updater))


def test_secret(cluster: Cluster, flags: FlagRegistry, rate: dflag.Flag[int]) -> None:
    """The source follows a Secret like a ConfigMap."""
    name = cluster.create({"rate_limit": base64.b64encode(b"60").decode()}, kind="secrets")
    with follow(flags, name, kind="Secret") as updater:
        assert rate.get() == 60
        cluster.patch(name, {"rate_limit": base64.b64encode(b"61").decode()}, kind="secrets")
        assert becomes(updater, rate, 61)


def test_role_for_one_object(cluster: Cluster, flags: FlagRegistry, rate: dflag.Flag[int]) -> None:
    """Without a Role the error says which Role is missing; with that Role the source follows the object."""
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
    """The source recovers by itself after a restart of the server, which forgets old versions."""
    name = cluster.create({"rate_limit": "60"})
    with follow(flags, name) as updater:
        for value in range(61, 71):
            cluster.patch(name, {"rate_limit": str(value)})
        other = cluster.create({"rate_limit": "0"})
        cluster.delete(other)  # so that the newest version belongs to an object that no longer exists
        control("restart")
        cluster.patch(name, {"rate_limit": "71"})
        assert becomes(updater, rate, 71)
        assert eventually(lambda: is_healthy(updater))


@controlled
def test_database_begun_anew(cluster: Cluster, flags: FlagRegistry, rate: dflag.Flag[int]) -> None:
    """After etcd was started empty, with lower versions, the source applies the object that exists and follows it."""
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
    """With a Role without the verb watch, the source stays unhealthy, says so once, and follows by listing."""
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
    """The Role is needed by the user that the kubeconfig impersonates."""
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
    """While the server is killed or stopped, the source is unhealthy and keeps its values; it recovers afterwards."""
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
