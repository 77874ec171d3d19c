"""
A source at an API server, under all failures of the server and the network.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import email.utils
import errno
import gzip
import itertools
import json
import logging
import os
import socket
import ssl
import stat
import sys
import threading
import time
import traceback
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import dflag
from dflag import SourceError, UpdateError, Updater
from dflag.sources import KubernetesSource
from dflag.testing import ConfigMapVolume
from dflag.typing import Unreadable

from ._waiting import DEADLINE_SECONDS, eventually, run_python

pytest.importorskip("httpx2", reason="the extra is not installed")
trustme = pytest.importorskip("trustme")


from dflag._sockets import OwnSocket  # noqa: E402 - these import the extra
from dflag.sources import _api, _reflector  # noqa: E402
from dflag.sources._link import _TlsSocket  # noqa: E402

from ._api_server import (  # noqa: E402 - as above
    ApiServer,
    Connection,
    Request,
    bookmark,
    error,
    pieces,
    refuse,
    reply,
    silence,
    stream,
    write_kubeconfig,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dflag import FlagRegistry
    from dflag._status import SourceStatus

pytestmark = pytest.mark.once


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every pause short, and hide the machine's proxies and kubeconfig."""
    monkeypatch.setattr(_reflector, "FIRST_SECONDS", 0.01)
    monkeypatch.setattr(_reflector, "LAST_SECONDS", 0.1)
    monkeypatch.setattr(_api, "SILENCE_SECONDS", 0.2)
    monkeypatch.setattr(_api, "REQUEST_SECONDS", 2.0)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(name="server")
def _server(tmp_path: Path) -> Iterator[ApiServer]:
    """Return a server with a ConfigMap named web."""
    server = ApiServer(tmp_path / "kubeconfig")
    server.put({"rate_limit": "60"})
    yield server
    server.close()


@pytest.fixture(name="rate")
def _rate(flags: FlagRegistry) -> dflag.Flag[int]:
    """Return the flag that most tests watch."""
    return flags.dyn_int("rate_limit", 50, "Requests per second")


@pytest.fixture(name="heard")
def _heard(rate: dflag.Flag[int]) -> list[tuple[int, int]]:
    """Return a list that collects the arguments of the flag's callback."""
    heard: list[tuple[int, int]] = []
    rate.on_change(lambda old, new: heard.append((old, new)))
    return heard


def source_of(server: ApiServer, **options: Any) -> KubernetesSource:
    return KubernetesSource("web", "default", **{"kubeconfig": server.kubeconfig, **options})


@contextmanager
def following(flags: FlagRegistry, source: KubernetesSource, **options: Any) -> Iterator[Updater]:
    with Updater.setup(flags, source, **options) as updater:
        yield updater


def only(updater: Updater) -> SourceStatus:
    (status,) = updater.status().sources
    return status


def becomes(updater: Updater, rate: dflag.Flag[int], value: int) -> bool:
    return updater.wait_for(lambda snapshot: snapshot[rate] == value, DEADLINE_SECONDS)


def assert_asked_with_pauses(
    server: ApiServer, flags: FlagRegistry, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    """
    Answer every watch with *answer*, and check that each watch after the second comes after a pause.

    Each random pause is made as short as it can be, and the upper bounds of the pauses must double.
    """
    ceilings: list[float] = []

    def shortest(low: float, high: float) -> float:
        if low == _reflector.FIRST_SECONDS:
            ceilings.append(high)
        return low

    monkeypatch.setattr(_reflector, "random", SimpleNamespace(uniform=shortest))
    monkeypatch.setattr(_reflector, "FIRST_SECONDS", 0.2)  # more than the 40 ms for which the kernel may delay an ACK
    monkeypatch.setattr(_reflector, "LAST_SECONDS", 30.0)
    server.on_watch(*[answer] * 50)
    with following(flags, source_of(server)):
        server.await_watches(5)
        times = [request.at for request in server.watches]
    assert min(later - earlier for earlier, later in itertools.pairwise(times[1:])) >= 0.2
    assert ceilings[:3] == pytest.approx([0.4, 0.8, 1.6])


def assert_steadily_unhealthy(server: ApiServer, updater: Updater, caplog: pytest.LogCaptureFixture) -> None:
    """
    Check that the source is unhealthy while it lists five times, and that the failure is counted and logged once.
    """
    assert eventually(lambda: not only(updater).healthy)
    first = len(server.lists)
    seen: list[bool] = []
    while len(server.lists) < first + 5:
        seen.append(only(updater).healthy)
        server.await_lists(len(server.lists) + 1)
    assert seen
    assert not any(seen)
    assert updater.status().errors == 1
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1


def web(server: ApiServer, version: str, rate: str, **metadata: Any) -> dict[str, Any]:
    item = server.item()
    item["metadata"].update(resourceVersion=version, **metadata)
    item["data"] = {"rate_limit": rate}
    return item


# --- A1 to A3: the object comes, changes and goes


def test_a1_watches_from_the_version_of_the_list(
    server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int], heard: list[tuple[int, int]]
) -> None:
    """A change between the list and the watch arrives, and nothing is listed twice."""
    source = source_of(server)
    updater = Updater(flags, source)
    updater.initialize()
    listed = server.version
    server.put({"rate_limit": "61"})
    with updater:
        assert becomes(updater, rate, 61)
        assert server.await_watches(1).query["resourceVersion"] == listed
        server.put({"rate_limit": "62"})
        assert becomes(updater, rate, 62)
        assert len(server.lists) == 1
        assert flags.flush(DEADLINE_SECONDS)
        assert heard == [(50, 60), (60, 61), (61, 62)]
    assert {request.query["fieldSelector"] for request in server.requests} == {"metadata.name=web"}
    assert server.watches[0].query["allowWatchBookmarks"] == "true"


def test_a2_absent_at_start_is_an_error(server: ApiServer, flags: FlagRegistry) -> None:
    """An object that is not there fails the start of an updater that requires it."""
    with pytest.raises(SourceError, match="configmap default/none: no such ConfigMap") as caught:
        Updater.setup(flags, KubernetesSource("none", "default", kubeconfig=server.kubeconfig))
    assert caught.value.missing
    assert not caught.value.unreachable


def test_a2_absent_at_start_comes_later(server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int]) -> None:
    """An object that is absent at the start and not required is applied when it is made."""
    server.delete()
    with following(flags, source_of(server), required=False) as updater:
        assert rate.get() == 50
        assert not only(updater).healthy
        server.put({"rate_limit": "61"})
        assert becomes(updater, rate, 61)
        assert eventually(lambda: only(updater).healthy)


@pytest.mark.parametrize(("on_missing", "left"), [("keep", 60), ("reset", 50)])
def test_a3_deleted_and_made_anew(
    server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int], on_missing: Any, left: int
) -> None:
    """When the object is deleted ``on_missing`` keeps or drops its values; a new object of the same name is applied."""
    with following(flags, source_of(server), on_missing=on_missing) as updater:
        server.delete()
        assert eventually(lambda: "no such ConfigMap" in (only(updater).last_error or ""))
        assert becomes(updater, rate, left)
        server.put({"rate_limit": "62"})
        assert becomes(updater, rate, 62)
        assert eventually(lambda: only(updater).last_error is None)


# --- A4 to A11: how a watch ends


def test_a4_clean_end_is_quiet(
    server: ApiServer,
    flags: FlagRegistry,
    rate: dflag.Flag[int],
    heard: list[tuple[int, int]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After a watch ends in good order the next one continues from the last version, without a list or a log line."""
    with following(flags, source_of(server)) as updater:
        server.put({"rate_limit": "61"})
        assert becomes(updater, rate, 61)
        assert flags.flush(DEADLINE_SECONDS)
        caplog.clear()
        server.end_watches()
        assert server.await_watches(2).query["resourceVersion"] == server.version
        server.put({"rate_limit": "62"})
        assert becomes(updater, rate, 62)
        assert only(updater).reconnects == 0
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []
    assert len(server.lists) == 1
    assert flags.flush(DEADLINE_SECONDS)
    assert heard == [(50, 60), (60, 61), (61, 62)]


def test_a4_requests_are_not_logged(
    server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int], caplog: pytest.LogCaptureFixture
) -> None:
    """At INFO the log has lines of dflag only, and none of the HTTP client."""
    caplog.set_level(logging.INFO)
    with following(flags, source_of(server)) as updater:
        server.await_watches(1)
        server.end_watches()
        server.await_watches(2)
        server.put({"rate_limit": "61"})
        assert becomes(updater, rate, 61)
    assert {record.name for record in caplog.records} == {"dflag"}


@pytest.mark.parametrize("then", [Connection.close, Connection.reset], ids=["FIN", "RST"])
def test_a4_an_idle_connection_that_the_server_ends_is_made_anew(
    server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int], then: Any
) -> None:
    """When the server ends an idle connection at a request on it, the watch is requested again without an error."""
    server.on_watch(stream(bookmark(server.version)), lambda connection, _: then(connection))
    with following(flags, source_of(server)) as updater:
        server.await_watches(3)
        server.put({"rate_limit": "61"})
        assert becomes(updater, rate, 61)
        assert (updater.status().errors, only(updater).reconnects) == (0, 0)
    assert len(server.lists) == 1


def test_a4_a_server_that_answers_once_per_connection(
    server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int]
) -> None:
    """After a lost watch the next one opens, even if the server closes the list's connection at its next request."""
    server.on_watch(stream(then=Connection.reset), lambda connection, _: connection.close())
    with following(flags, source_of(server)) as updater:
        server.await_watches(3)
        server.put({"rate_limit": "61"})
        assert becomes(updater, rate, 61)
        assert updater.status().errors == 0
    assert len(server.lists) == 2


def test_a5_server_that_ends_at_once_is_left_alone(
    server: ApiServer, flags: FlagRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Watches that end as soon as they begin are opened at growing intervals."""
    monkeypatch.setattr(_reflector, "FIRST_SECONDS", 0.02)
    monkeypatch.setattr(_reflector, "LAST_SECONDS", 30.0)
    server.on_watch(*[stream() for _ in range(20)])
    with following(flags, source_of(server)):
        server.await_watches(6)
        times = [request.at for request in server.watches]
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert min(pauses) >= 0.02
    # Five pauses of 20 ms or more, the ceiling of the last being 640 ms: a loop without growth takes about 150 ms.
    assert len(times) <= 8


def test_a5_backoff_has_full_jitter_between_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses start at the first bound, grow to the last one at most, and differ from client to client."""
    monkeypatch.undo()
    backoffs = [_reflector.Backoff() for _ in range(200)]
    first = [backoff.next() for backoff in backoffs]
    assert all(0.8 <= pause <= 1.6 for pause in first)
    assert len({round(pause, 3) for pause in first}) > 100
    later = [[backoff.next() for _ in range(40)][-1] for backoff in backoffs]
    assert max(later) <= 30.0
    assert max(later) > 25.0
    assert min(later) < 10.0


def test_a6_too_old_as_status(server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int]) -> None:
    """When a watch is refused with 410 the source lists again without a version, counts no error, and follows."""
    server.on_watch(refuse(410, "too old resource version"))
    with following(flags, source_of(server)) as updater:
        assert "resourceVersion" not in server.await_lists(2).query
        server.await_watches(2)
        server.put({"rate_limit": "61"})
        assert becomes(updater, rate, 61)
        assert updater.status().errors == 0


def test_a7_too_old_as_event(
    server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int], heard: list[tuple[int, int]]
) -> None:
    """After an error event with 410 the source lists again without a version; only flags that changed call back."""
    flags.dyn_int("other", 0, "Another")
    server.put({"rate_limit": "60", "other": "1"})
    server.on_watch(stream(error(410, "Expired")))
    source = source_of(server)
    updater = Updater(flags, source)
    updater.initialize()
    server.put({"rate_limit": "60", "other": "2"})
    with updater:
        assert updater.wait_for(lambda snapshot: snapshot["other"] == 2, DEADLINE_SECONDS)
        assert "resourceVersion" not in server.await_lists(2).query
        assert server.await_watches(2).query["resourceVersion"] == server.version
        assert updater.status().errors == 0
    assert flags.flush(DEADLINE_SECONDS)
    assert heard == [(50, 60)]


@pytest.mark.parametrize(
    "answer",
    [refuse(410, "too old"), stream(error(410, "Expired")), stream(bookmark("150"), error(410, "Expired"))],
    ids=["status", "event", "after a bookmark"],
)
def test_a7_too_old_for_ever_is_no_loop(
    server: ApiServer, flags: FlagRegistry, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    """When every watch is refused with 410 the source asks once more at once, and then after growing pauses."""
    assert_asked_with_pauses(server, flags, monkeypatch, answer)


def test_a7_a_watch_that_ends_by_agreement_is_healthy_again(server: ApiServer, flags: FlagRegistry) -> None:
    """After watches that ended with 410, a watch that ends in good order makes the source healthy again."""
    server.on_watch(*[stream(error(410, "Expired"))] * 3, stream(), stream(then=Connection.wait_for_end))
    with following(flags, source_of(server), resync_seconds=60.0) as updater:
        assert eventually(lambda: not only(updater).healthy)
        assert eventually(lambda: only(updater).healthy)


def test_a7_a_list_that_is_too_old_for_ever_is_unhealthy(server: ApiServer, flags: FlagRegistry) -> None:
    """While lists are refused with 410 the source is unhealthy with that error; then it recovers."""
    with following(flags, source_of(server)) as updater:
        server.await_watches(1)
        server.on_watch(refuse(410, "too old"))
        server.on_list(*[refuse(410, "too old")] * 1000)
        server.end_watches()
        assert eventually(lambda: "answered 410: too old" in (only(updater).last_error or ""))
        assert not only(updater).healthy
        server.relent()
        assert eventually(lambda: only(updater).healthy)


@pytest.mark.parametrize(
    "broken", [error(500, "InternalError"), error(599, "Whatever"), {"type": "ERROR", "object": {}}]
)
def test_a8_other_error_events(
    server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int], broken: dict[str, Any]
) -> None:
    """After any other error event the source requests a list that is not older than its version, and follows."""
    server.on_watch(stream(broken))
    with following(flags, source_of(server)) as updater:
        assert server.await_lists(2).query["resourceVersionMatch"] == "NotOlderThan"
        server.await_watches(2)
        server.put({"rate_limit": "61"})
        assert becomes(updater, rate, 61)


def test_a9_silent_drop(server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int]) -> None:
    """A watch that stays silent beyond its ``watch_seconds`` is opened again, and brings changes since then."""
    server.on_watch(silence, stream(then=Connection.wait_for_end))
    with following(flags, source_of(server, watch_seconds=1.0)) as updater:
        began = time.monotonic()
        server.await_watches(2)
        server.put({"rate_limit": "61"})
        assert becomes(updater, rate, 61)
        assert time.monotonic() - began < 2 * (1.0 + 0.2) + 1.0
        assert eventually(lambda: only(updater).reconnects >= 1)


@pytest.mark.parametrize("then", [Connection.end, Connection.close, Connection.reset], ids=["end", "FIN", "RST"])
def test_a10_half_a_line(server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int], then: Any) -> None:
    """Half an event at the end of a watch is dropped; the source lists once, opens the next watch and has no error."""
    server.on_watch(pieces(b'{"type":"MODIFIED","object":{"metadata":{"na', then=then))
    with following(flags, source_of(server)) as updater:
        server.await_watches(2)
        server.put({"rate_limit": "61"})
        assert becomes(updater, rate, 61)
        assert only(updater).last_error is None
        assert len(server.lists) == 2


@pytest.mark.parametrize("line", [b"garbage\n", b"[]\n", b'{"type": 5}\n', b"\xff\xfe\n", b"[" * 100_000 + b"\n"])
def test_a11_garbage_line(server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int], line: bytes) -> None:
    """A line that is not an event ends the watch and counts as one reconnect; the next watch works."""
    server.on_watch(pieces(line))
    with following(flags, source_of(server)) as updater:
        server.await_watches(2)
        server.put({"rate_limit": "61"})
        assert becomes(updater, rate, 61)
        assert only(updater).reconnects == 1


# --- A12 to A17: what comes in a watch


def test_a12_chunks_cut_anywhere(server: ApiServer, flags: FlagRegistry) -> None:
    """An event that arrives byte by byte, within characters too, is read whole."""
    text = flags.dyn_string("text", "", "A text")
    item = web(server, "200", "61")
    item["data"] = {"text": "Grüße, 世界"}
    line = json.dumps({"type": "MODIFIED", "object": item}, ensure_ascii=False).encode() + b"\n"
    server.on_watch(pieces(*(line[at : at + 1] for at in range(len(line)))))
    with following(flags, source_of(server), unknown="ignore") as updater:
        assert updater.wait_for(lambda snapshot: snapshot[text] == "Grüße, 世界", DEADLINE_SECONDS)


def test_a13_huge_line(server: ApiServer, flags: FlagRegistry) -> None:
    """An event of more than a MiB arrives."""
    text = flags.dyn_string("text", "", "A text")
    with following(flags, source_of(server), unknown="ignore") as updater:
        server.await_watches(1)
        server.put({"text": "x" * 1_400_000})
        assert updater.wait_for(lambda snapshot: len(snapshot[text]) == 1_400_000, DEADLINE_SECONDS)


def test_a13_endless_line(
    server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line longer than the limit ends the watch, and the next watch works."""
    monkeypatch.setattr(_api, "MAX_LINE_BYTES", 100_000)
    server.on_watch(pieces(b"x" * 60_000, b"x" * 60_000))
    with following(flags, source_of(server)) as updater:
        server.await_watches(2)
        server.put({"rate_limit": "61"})
        assert becomes(updater, rate, 61)


def test_a14_bookmarks(
    server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int], heard: list[tuple[int, int]]
) -> None:
    """A bookmark advances the version without a callback; one without a version is ignored."""
    bare = {"type": "BOOKMARK", "object": {}}
    server.on_watch(stream(bookmark("150"), bare, {"type": "BOOKMARK", "object": {"metadata": None}}))
    with following(flags, source_of(server)):
        assert server.await_watches(2).query["resourceVersion"] == "150"
        assert flags.flush(DEADLINE_SECONDS)
        assert heard == [(50, 60)]


def test_a15_metadata_alone(
    server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int], heard: list[tuple[int, int]]
) -> None:
    """A change of the metadata alone advances the version, and changes neither token nor values."""
    source = source_of(server)
    with following(flags, source) as updater:
        server.await_watches(1)
        token = source.probe()
        version = server.put({"rate_limit": "60"}, metadata={"annotations": {"leader": "me"}})
        server.end_watches()
        assert server.await_watches(2).query["resourceVersion"] == version
        assert source.probe() == token
        assert updater.status().updates == 1
    assert heard == [(50, 60)]


def test_a16_replayed_events(server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int]) -> None:
    """An event that repeats the known object is not an update."""
    replayed = {"type": "ADDED", "object": server.item()}
    server.on_watch(stream(replayed, replayed, {"type": "MODIFIED", "object": web(server, "150", "61")}))
    source = source_of(server)
    with following(flags, source) as updater:
        assert becomes(updater, rate, 61)
        assert updater.status().updates == 2


def test_a17_server_that_is_behind(
    server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int], heard: list[tuple[int, int]]
) -> None:
    """Neither a list nor an event of a server that is behind replaces a newer value."""
    stale = web(server, "99", "1")
    server.on_watch(stream(error(500, "Failover")), stream({"type": "MODIFIED", "object": stale}))
    source = source_of(server)
    updater = Updater(flags, source)
    updater.initialize()
    known = server.version
    server.on_list(reply(200, server.listing(stale, version="99")))
    with updater:
        assert server.await_lists(3).query["resourceVersion"] == known
        server.await_watches(3)
        assert eventually(lambda: only(updater).healthy)
        server.put({"rate_limit": "61"})
        assert becomes(updater, rate, 61)
    assert flags.flush(DEADLINE_SECONDS)
    assert heard == [(50, 60), (60, 61)]


def test_a17_says_that_the_server_is_behind(server: ApiServer, flags: FlagRegistry) -> None:
    """``read()`` raises an error when a list is older than the known version, with or without the object in it."""
    source = source_of(server)
    source.read()
    server.on_list(
        reply(200, server.listing(web(server, "99", "1"), version="99")), reply(200, server.listing(version="99"))
    )
    for _ in range(2):
        with pytest.raises(SourceError, match="is behind: version 99 is older than 101") as caught:
            source.read()
        assert not caught.value.missing
    assert source.read() == {"rate_limit": "60"}


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "200"}, "items": []},
        {"kind": "SecretList", "apiVersion": "v1", "metadata": {"resourceVersion": "200"}, "items": None},
        {"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "200"}, "items": []},
        {"apiVersion": "v1", "metadata": {"resourceVersion": "200"}, "items": []},
        {"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"continue": "more"}, "items": []},
        {"kind": "ConfigMapList", "apiVersion": "v1", "items": []},
        {"kind": "ConfigMapList", "metadata": {}, "items": {"web": {}}},
        {"kind": "PodList", "metadata": {}, "items": [{"metadata": {"name": "web", "namespace": "default"}}]},
        {"kind": "ConfigMapList", "metadata": {"continue": "x"}, "items": ["web", {"metadata": ["web"]}]},
    ],
    ids=["pods", "secrets", "any", "none", "a page", "no metadata", "no list", "a pod of that name", "odd items"],
)
def test_only_a_list_of_the_kind_says_that_it_is_gone(
    server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int], body: dict[str, Any]
) -> None:
    """A list of another kind, or part of one, is an error; the object does not count as missing, and values stay."""
    server.on_list(reply(200, body))
    with pytest.raises(SourceError, match="expected a list from the API server, got kind") as caught:
        source_of(server).read()
    assert not caught.value.missing
    with following(flags, source_of(server), on_missing="reset") as updater:
        server.await_watches(1)
        server.on_list(reply(200, body))
        server.on_watch(refuse(500))
        server.end_watches()
        server.await_watches(3)
        assert eventually(lambda: only(updater).healthy)
        assert rate.get() == 60
        assert updater.status().updates == 1


@pytest.mark.parametrize("event", ["ADDED", "MODIFIED", "DELETED"])
def test_events_of_another_kind_change_nothing(
    server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int], event: str
) -> None:
    """An event about a Pod of the same name, or one whose metadata has another shape, is ignored."""
    odd = {"type": event, "object": {"kind": "ConfigMap", "metadata": ["web"]}}
    pod = {"type": event, "object": {**web(server, "200", "1"), "kind": "Pod"}}
    good = {"type": "MODIFIED", "object": web(server, "203", "61")}
    server.on_watch(stream(odd, pod, good, then=Connection.wait_for_end))
    with following(flags, source_of(server), on_missing="reset") as updater:
        assert becomes(updater, rate, 61)
        assert updater.status().updates == 2
        assert only(updater).reconnects == 0


# --- a database that was lost


@pytest.mark.parametrize("version", [10, 99, 150], ids=["far behind", "just behind", "ahead"])
def test_database_begun_anew(
    server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int], caplog: pytest.LogCaptureFixture, version: int
) -> None:
    """After the API server lost its database the new object is applied and followed; lower versions are logged once."""
    with following(flags, source_of(server)) as updater:
        server.await_watches(1)
        server.begin_anew({"rate_limit": "61"}, version)
        assert becomes(updater, rate, 61)
        assert eventually(lambda: only(updater).healthy)
        server.await_watches(2)
        server.put({"rate_limit": "62"})
        assert becomes(updater, rate, 62)
    said = [record.getMessage() for record in caplog.records if "went back from" in record.getMessage()]
    assert len(said) == (version < 100)


def test_database_begun_anew_without_the_object(server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int]) -> None:
    """An object that is not in the new database counts as missing, and is applied again when it is made."""
    with following(flags, source_of(server), on_missing="reset") as updater:
        server.await_watches(1)
        server.begin_anew(None, 10)
        assert becomes(updater, rate, 50)
        assert "no such ConfigMap" in (only(updater).last_error or "")
        server.put({"rate_limit": "62"})
        assert becomes(updater, rate, 62)


def test_database_begun_anew_with_a_lower_version_of_the_object(
    server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int]
) -> None:
    """An object with a lower version, in a list with a higher one, is from another database and is applied."""
    updater = Updater(flags, source_of(server))
    updater.initialize()
    server.on_watch(refuse(500))
    server.on_list(reply(200, server.listing(web(server, "50", "61"), version="300")))
    with updater:
        assert becomes(updater, rate, 61)


def test_database_begun_anew_behind_a_server_that_ignores_versions(
    server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int]
) -> None:
    """A server that always answers with older lists is believed once it was asked for its newest list."""
    updater = Updater(flags, source_of(server))
    updater.initialize()
    server.on_watch(refuse(500))
    server.on_list(*[reply(200, server.listing(web(server, "40", "61"), version="40")) for _ in range(4)])
    with updater:
        assert becomes(updater, rate, 61)
        asked = ["resourceVersion" in request.query for request in server.lists[1:5]]
        assert asked == [True, True, True, False]


@pytest.mark.parametrize(
    "answer", [stream(), stream(bookmark("7"), then=Connection.wait_for_end)], ids=["silent", "older bookmark"]
)
def test_database_begun_anew_behind_a_connection_that_stays(
    server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int], answer: Any
) -> None:
    """After a watch that ends without an event, or has a bookmark of a lower version, the source lists again."""
    server.on_watch(answer)
    with following(flags, source_of(server)):
        server.await_lists(2)
        server.await_watches(2)


def test_a_late_list_takes_no_event_back(server: ApiServer) -> None:
    """A list that was requested before an event came, and is older than it, changes nothing and is not an error."""
    asked, go = threading.Event(), threading.Event()

    def slowly(connection: Connection, request: Request) -> None:
        body = server.listing(server.item())
        asked.set()
        assert go.wait(DEADLINE_SECONDS)
        connection.answer(200, body)

    source = source_of(server)
    source.read()
    watch = source.watch(lambda: None)
    try:
        server.await_watches(1)
        server.on_list(slowly)
        source.invalidate()
        found: list[Any] = []
        reading = threading.Thread(target=lambda: found.append(source.read()))
        token = source.probe()
        reading.start()
        assert asked.wait(DEADLINE_SECONDS)
        server.put({"rate_limit": "61"})
        assert eventually(lambda: source.probe() != token)  # the event has arrived
        go.set()
        reading.join(DEADLINE_SECONDS)
        assert [*found, source.read()] == [{"rate_limit": "61"}] * 2
    finally:
        watch.close()


# --- what is seen, and what is current


@pytest.mark.parametrize(
    "answer",
    [
        refuse(403, 'User "me" cannot watch'),
        refuse(410, "too old"),
        refuse(500, "broken"),
        reply(200, b"<html>", Content_Type="text/html"),
    ],
    ids=["403", "410", "500", "a page"],
)
def test_list_without_watch_is_steadily_unhealthy(
    server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int], caplog: pytest.LogCaptureFixture, answer: Any
) -> None:
    """A source that can be listed but not watched stays unhealthy, with current values, until it can be watched."""
    server.on_watch(*[answer] * 1000)
    with following(flags, source_of(server), resync_seconds=60.0) as updater:
        assert_steadily_unhealthy(server, updater, caplog)
        server.put({"rate_limit": "61"})
        assert becomes(updater, rate, 61)
        assert eventually(lambda: not only(updater).healthy)
        server.relent()
        assert eventually(lambda: only(updater).healthy)
        server.put({"rate_limit": "62"})
        assert becomes(updater, rate, 62)


@pytest.mark.parametrize(
    "answer_to",
    [
        lambda number: stream(error(410, f"too old: 101 ({5000 + number})")),
        lambda number: refuse(410, f"too old resource version: 101 ({5000 + number})"),
        lambda number: refuse(502 + number % 2),
    ],
    ids=["410 as event", "410", "502 and 503"],
)
def test_a_failure_whose_numbers_change_is_logged_once(
    server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int], caplog: pytest.LogCaptureFixture, answer_to: Any
) -> None:
    """Refusals that differ only in the versions they name, or in 502 and 503, are counted and logged as one failure."""
    server.on_watch(*map(answer_to, range(1000)))
    with following(flags, source_of(server), resync_seconds=60.0) as updater:
        assert_steadily_unhealthy(server, updater, caplog)


@pytest.mark.parametrize("code", [401, 403, 410, 429, 500])
def test_refused_for_ever_by_events_is_steadily_unhealthy(
    server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int], caplog: pytest.LogCaptureFixture, code: int
) -> None:
    """A source whose watches open only to be refused stays unhealthy until one of them brings something."""
    server.on_watch(*[stream(error(code, "Expired"))] * 1000)
    with following(flags, source_of(server), resync_seconds=60.0) as updater:
        assert_steadily_unhealthy(server, updater, caplog)
        assert "it is Expired" in (only(updater).last_error or "")
        server.put({"rate_limit": "61"})
        assert becomes(updater, rate, 61)
        server.relent()
        assert eventually(lambda: server.put({"rate_limit": "62"}) and only(updater).healthy)
        assert becomes(updater, rate, 62)


@pytest.mark.parametrize("seconds", [0.01, 0.6], ids=["server", "backoff"])
def test_a_long_pause_after_a_watch_that_broke_off_is_not_healthy(
    server: ApiServer, flags: FlagRegistry, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """A long pause after a broken watch, due to the server or the backoff, is unhealthy until the next watch opens."""
    monkeypatch.setattr(_reflector, "FIRST_SECONDS", seconds)
    monkeypatch.setattr(_reflector, "LAST_SECONDS", 2 * seconds)
    busy = error(429, "TooManyRequests")
    busy["object"]["details"] = {"retryAfterSeconds": 1}
    server.on_watch(stream(busy) if seconds < 1.0 else stream(then=Connection.reset))
    monkeypatch.setattr(_reflector, "UNREPORTED_SECONDS", 0.5)
    with following(flags, source_of(server)) as updater:
        assert eventually(lambda: not only(updater).healthy)
        server.await_watches(2)
        assert eventually(lambda: only(updater).healthy)


@pytest.mark.parametrize(
    "answer", [refuse(403, "no watch"), stream(error(410, "Expired"))], ids=["not opened", "refused by an event"]
)
def test_refresh_does_not_make_up_for_a_watch(
    server: ApiServer,
    flags: FlagRegistry,
    rate: dflag.Flag[int],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    answer: Any,
) -> None:
    """``refresh()`` brings the newest values while no watch opens, but the source stays unhealthy, logged once."""
    monkeypatch.setattr(_reflector, "FIRST_SECONDS", 30.0)
    monkeypatch.setattr(_reflector, "LAST_SECONDS", 60.0)
    server.on_watch(*[answer] * 1000)
    with following(flags, source_of(server), resync_seconds=60.0) as updater:
        assert eventually(lambda: not only(updater).healthy)
        for _ in range(3):
            updater.refresh()
            assert not only(updater).healthy
        assert updater.status().errors == 1
        assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1
        server.put({"rate_limit": "61"})
        updater.refresh()
        assert rate.get() == 61
        assert eventually(lambda: not only(updater).healthy)


def test_list_without_watch_of_a_deleted_object(server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int]) -> None:
    """An object that a list no longer has counts as missing, even while every watch is refused."""
    server.on_watch(*[refuse(403)] * 1000)
    with following(flags, source_of(server), on_missing="reset") as updater:
        assert eventually(lambda: not only(updater).healthy)
        server.delete()
        assert becomes(updater, rate, 50)
        assert eventually(lambda: "answered 403" in (only(updater).last_error or ""))


def test_a_failed_refresh_is_forgotten_at_the_next_contact(server: ApiServer, flags: FlagRegistry) -> None:
    """After a failed ``refresh()`` the source is unhealthy until its watch brings anything, even a bookmark."""
    go = threading.Event()

    def watch(connection: Connection, request: Request) -> None:
        connection.begin()
        assert go.wait(DEADLINE_SECONDS)
        connection.event(bookmark("150"))
        connection.wait_for_end()

    server.on_watch(watch)
    with following(flags, source_of(server)) as updater:
        server.await_watches(1)
        server.on_list(refuse(500))
        with contextlib.suppress(SourceError):
            updater.refresh()
        assert not only(updater).healthy
        go.set()
        assert eventually(lambda: only(updater).healthy)


def test_a_watch_that_does_not_open_is_not_healthy(
    server: ApiServer, flags: FlagRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the server does not answer a watch, the source is unhealthy long before the watch would end."""
    monkeypatch.setattr(_api, "REQUEST_SECONDS", 0.3)
    server.on_watch(*[silence] * 1000)
    with following(flags, source_of(server, watch_seconds=300.0)) as updater:
        assert eventually(lambda: "did not answer in time" in (only(updater).last_error or ""))
        assert not only(updater).healthy
        server.relent()
        assert eventually(lambda: only(updater).healthy)


# --- answers that take their time


def drip(*head: bytes) -> Any:
    """
    Return an answer that sends *head*, and then a space every 50 ms, for ever.
    """

    def answer(connection: Connection, request: Request) -> None:
        connection.send(b"".join(head))
        with contextlib.suppress(OSError):
            while not threading.Event().wait(0.05):
                connection.send(b" ")

    return answer


BODY = b"Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (drip(b"HTTP/1.1 200 OK\r\n", BODY), "did not answer in time"),
        (drip(b"HTTP/1.1 200 OK\r\nX: "), "did not answer in time"),
        (drip(b"HTTP/1.1 500 Broken\r\n", BODY), "answered 500: Broken"),
        (drip(b"HTTP/1.1 403 No\r\n", BODY), "answered 403: No; expected a Role"),
    ],
    ids=["body", "head", "error", "refusal"],
)
def test_a_list_that_drips_has_a_deadline(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch, answer: Any, message: str
) -> None:
    """A list or an error that arrives byte by byte is given up at a deadline; a status that has arrived is reported."""
    monkeypatch.setattr(_api, "REQUEST_SECONDS", 0.3)
    server.on_list(answer)
    began = time.monotonic()
    with pytest.raises(SourceError, match=message):
        source_of(server).read()
    assert time.monotonic() - began < 3.0


def test_the_time_for_a_connection_is_not_that_for_the_answer(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is slow to open does not shorten the time for the answer."""
    monkeypatch.setattr(_api, "REQUEST_SECONDS", 0.6)
    ready = OwnSocket.is_ready

    def slowly(*arguments: Any) -> bool:
        threading.Event().wait(1.0)
        return ready(*arguments)

    def answer(connection: Connection, request: Request) -> None:
        threading.Event().wait(0.4)
        connection.answer(200, server.listing(server.item()))

    monkeypatch.setattr(OwnSocket, "is_ready", slowly)
    server.on_list(answer)
    assert source_of(server).read() == {"rate_limit": "60"}


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n" + BODY, b"HTTP/1.1 500 Broken\r\n" + BODY]
)
def test_a_watch_that_drips_has_a_deadline(
    server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int], head: bytes
) -> None:
    """A watch that sends bytes but never an event is opened again, like a silent one."""
    server.on_watch(drip(head))
    with following(flags, source_of(server, watch_seconds=1.0)) as updater:
        server.await_watches(2)
        server.put({"rate_limit": "61"})
        assert becomes(updater, rate, 61)


# --- sandboxes


def test_options_of_sockets_that_are_refused(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The source connects even if a sandbox refuses every option of a socket."""

    class Plain(socket.socket):
        def setsockopt(self, *arguments: Any) -> None:
            raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(socket, "socket", Plain)
    assert source_of(server).read() == {"rate_limit": "60"}


def test_a_family_of_addresses_that_is_refused(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the system refuses IPv6 the source uses the next address of the host."""

    class Old(socket.socket):
        def __init__(self, family: int = -1, *arguments: Any, **options: Any) -> None:
            if family == socket.AF_INET6:
                raise OSError(97, "Address family not supported by protocol")
            super().__init__(family, *arguments, **options)

    found = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", server.port, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(socket, "socket", Old)
    assert source_of(server).read() == {"rate_limit": "60"}


def test_an_address_that_never_answers_leaves_time_for_the_next(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address that never answers uses only its share of the time, so that the host's next address is tried."""
    with ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for filler in [stack.enter_context(socket.socket()) for _ in range(3)]:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        addresses = [full.getsockname(), ("127.0.0.1", server.port)]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        began = time.monotonic()
        assert source_of(server).read() == {"rate_limit": "60"}
        assert time.monotonic() - began < 2.0


# --- A18 to A25: refusals


def test_a18_rotated_token(server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int]) -> None:
    """After a 401 the credentials are read again, and the watch goes on without an error."""
    server.token = "first"  # noqa: S105
    with following(flags, source_of(server)) as updater:
        server.await_watches(1)
        server.token = "second"  # noqa: S105
        write_kubeconfig(server.kubeconfig, server.url, user={"token": "second"})
        server.end_watches()
        assert eventually(lambda: server.requests[-1].headers["authorization"] == "Bearer second")
        server.put({"rate_limit": "61"})
        assert becomes(updater, rate, 61)
        assert updater.status().errors == 0


def test_a19_token_in_a_volume(server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int], tmp_path: Path) -> None:
    """A token file that the kubelet rotates is read again when the old token is refused."""
    volume = ConfigMapVolume(tmp_path / "serviceaccount")
    volume.write({"token": "first"})
    write_kubeconfig(server.kubeconfig, server.url, user={"tokenFile": "serviceaccount/token"})
    server.token = "first"  # noqa: S105
    with following(flags, source_of(server)) as updater:
        server.await_watches(1)
        server.token = "second"  # noqa: S105
        volume.write({"token": "second"})
        server.end_watches()
        assert eventually(lambda: server.requests[-1].headers["authorization"] == "Bearer second")
        server.put({"rate_limit": "61"})
        assert becomes(updater, rate, 61)


def test_a20_refused_for_ever(server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int]) -> None:
    """While the credentials are refused the source is unhealthy and the values stay; then it recovers."""
    server.token = "first"  # noqa: S105
    with following(flags, source_of(server), on_missing="reset") as updater:
        server.await_watches(1)
        server.token = "another"  # noqa: S105
        server.end_watches()
        assert eventually(lambda: "answered 401: Unauthorized" in (only(updater).last_error or ""))
        assert not only(updater).healthy
        assert rate.get() == 60
        server.token = "first"  # noqa: S105
        assert eventually(lambda: only(updater).healthy)


def test_a20_refused_for_ever_as_event_is_no_loop(
    server: ApiServer, flags: FlagRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When every watch opens and ends with 401 the source asks once more at once, and then after growing pauses."""
    assert_asked_with_pauses(server, flags, monkeypatch, stream(error(401, "Unauthorized")))


def test_a21_forbidden(server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int]) -> None:
    """A 403 for a watch and a list counts as an error, and the source follows again when the Role is granted."""
    with following(flags, source_of(server)) as updater:
        server.await_watches(1)
        server.on_watch(refuse(403, 'User "me" cannot watch'))
        server.on_list(refuse(403, 'User "me" cannot list'))
        server.end_watches()
        assert server.await_lists(2)
        assert eventually(lambda: only(updater).reconnects == 1)
        server.put({"rate_limit": "61"})
        assert becomes(updater, rate, 61)
        assert updater.status().errors >= 1


def test_a21_forbidden_says_what_is_needed(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error for a 403 names all that the Role must grant, and the next attempt comes after at least 15 s."""
    server.on_list(refuse(403, 'User "me" cannot list'))
    with pytest.raises(SourceError) as caught:
        source_of(server).read()
    message = str(caught.value)
    assert message.startswith(
        'configmap default/web: the API server answered 403: User "me" cannot list; expected a Role'
    )
    for part in ("'default'", 'resources: ["configmaps"]', 'resourceNames: ["web"]', 'verbs: ["list", "watch"]'):
        assert part in message
    assert not caught.value.missing
    assert not caught.value.unreachable
    monkeypatch.undo()
    assert _reflector.Backoff().next(lasting=True) >= 15.0


def test_a_refusal_is_one_line_of_bounded_length(server: ApiServer) -> None:
    """The error for a long refusal of several lines is one line of 1,000 characters."""
    server.on_list(refuse(503, "x\nWARNING forged " + "y" * 1_000_000))
    with pytest.raises(SourceError, match=r"answered 503: x\\nWARNING forged y+…$") as caught:
        source_of(server).read()
    assert len(str(caught.value)) == 1000


def test_a22_no_such_namespace(server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int]) -> None:
    """A 404 from an API server means that the object is missing; a 404 from another server does not."""
    server.on_list(refuse(404, 'namespaces "default" not found'), reply(404, b"<html>", Content_Type="text/html"))
    source = source_of(server)
    with pytest.raises(SourceError, match="not found") as caught:
        source.read()
    assert caught.value.missing
    with pytest.raises(SourceError, match="answered 404") as caught:
        source.read()
    assert not caught.value.missing


@pytest.mark.parametrize("status", [429, 503])
def test_a23_retry_after(server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int], status: int) -> None:
    """After a 429 or 503 the source waits for the time in Retry-After."""
    server.on_watch(refuse(status, "busy", Retry_After="1"))
    with following(flags, source_of(server)) as updater:
        server.await_watches(1)
        server.await_lists(2)
        assert server.lists[1].at - server.watches[0].at >= 1.0
        server.put({"rate_limit": "61"})
        assert becomes(updater, rate, 61)


def test_a23_retry_after_in_all_its_forms() -> None:
    """Retry-After is read in seconds and as a date, other text is ignored, and a pause has an upper bound."""
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=40)
    assert 35 < (_api._seconds(email.utils.format_datetime(soon, usegmt=True)) or 0) <= 40
    assert _api._seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert _api._seconds("7") == 7.0
    assert _api._seconds("soon") is None
    assert _api._seconds("nan") is None
    assert _api._seconds("-5") == 0.0
    assert _reflector.Backoff().next(at_least=86_400.0) <= 121.0


def test_a24_version_too_large(server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int]) -> None:
    """When the server has not reached the requested version, the source asks for its newest list."""
    server.on_watch(refuse(504, "Too large resource version", Retry_After="0"))
    server.on_list(reply(200, server.listing(server.item())), refuse(504, "Too large resource version"))
    with following(flags, source_of(server)) as updater:
        assert "resourceVersion" in server.await_lists(2).query
        assert "resourceVersion" not in server.await_lists(3).query
        server.await_watches(2)
        server.put({"rate_limit": "61"})
        assert becomes(updater, rate, 61)


def test_a25_refused_at_start(flags: FlagRegistry, tmp_path: Path) -> None:
    """When nothing listens at the server's address, a required source fails the start with an ``unreachable`` error."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    path = write_kubeconfig(tmp_path / "kubeconfig", f"http://127.0.0.1:{port}")
    with pytest.raises(SourceError, match="cannot be reached") as caught:
        Updater.setup(flags, KubernetesSource("web", "default", kubeconfig=path))
    assert caught.value.unreachable
    assert not caught.value.missing


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://nowhere.invalid:80"], ids=["refused", "no such host"])
def test_a25_unreachable_at_start_may_be_allowed(
    flags: FlagRegistry, rate: dflag.Flag[int], server: ApiServer, tmp_path: Path, url: str
) -> None:
    """An updater that does not require the source starts with the defaults, and follows the source once it answers."""
    path = write_kubeconfig(tmp_path / "other", url)
    source = KubernetesSource("web", "default", kubeconfig=path)
    with following(flags, source, required=False) as updater:
        assert rate.get() == 50
        assert "cannot be reached" in (only(updater).last_error or "")
        write_kubeconfig(path, server.url)
        assert becomes(updater, rate, 60)
        assert eventually(lambda: only(updater).healthy)


def test_a25_comes_back_unchanged(server: ApiServer, flags: FlagRegistry, heard: list[tuple[int, int]]) -> None:
    """A source that can be reached again is healthy again, even if nothing has changed."""
    server.on_watch(lambda connection, _: connection.close())
    reached = threading.Event()

    def watch(connection: Connection, request: Request) -> None:
        assert reached.wait(DEADLINE_SECONDS)
        connection.begin()
        connection.wait_for_end()

    server.on_watch(watch)
    with following(flags, source_of(server)) as updater:
        assert eventually(lambda: "cannot be reached" in (only(updater).last_error or ""))
        reached.set()
        assert eventually(lambda: only(updater).healthy)
        assert only(updater).last_error is None
        assert len(server.lists) == 2
    assert flags.flush(DEADLINE_SECONDS)
    assert heard == [(50, 60)]


def test_a25_tries_every_address(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first address of a host that answers is used, after one without a route and one that refuses."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        refusing = unused.getsockname()[1]
    addresses = [("255.255.255.255", server.port), ("127.0.0.1", refusing), ("127.0.0.1", server.port)]
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert source_of(server).read() == {"rate_limit": "60"}


def test_a25_goes_down_and_comes_back(
    server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """While the server is down the values stay, even with ``on_missing="reset"``, and one warning is logged."""
    with following(flags, source_of(server), on_missing="reset") as updater:
        server.await_watches(1)
        server.close()
        assert eventually(lambda: "cannot be reached" in (only(updater).last_error or ""))
        assert not only(updater).healthy
        assert rate.get() == 60
        again = ApiServer(tmp_path / "kubeconfig")
        try:
            for value in range(61, 100):  # beyond the versions of the first server
                again.put({"rate_limit": str(value)})
            assert becomes(updater, rate, 99)
            assert eventually(lambda: only(updater).healthy)
        finally:
            updater.stop()
            again.close()
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1


# --- A26 to A29: TLS, proxies, encodings


@pytest.fixture(name="authority")
def _authority() -> trustme.CA:
    """Return a certificate authority that only the test knows."""
    return trustme.CA()


def tls_server(path: Path, authority: trustme.CA, *names: str, **options: Any) -> ApiServer:
    """
    Return a server that speaks TLS, and whose kubeconfig names the authority.
    """
    import ssl as _ssl

    context = _ssl.SSLContext(_ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*(names or ("127.0.0.1",)), **options).configure_cert(context)
    bundle = path.with_suffix(".ca")
    authority.cert_pem.write_to_path(str(bundle))
    server = ApiServer(path, context, bundle)
    server.put({"rate_limit": "60"})
    return server


def test_a26_tls(flags: FlagRegistry, rate: dflag.Flag[int], tmp_path: Path, authority: trustme.CA) -> None:
    """A server with a certificate of the kubeconfig's authority is followed over TLS."""
    server = tls_server(tmp_path / "kubeconfig", authority)
    try:
        with following(flags, source_of(server)) as updater:
            server.put({"rate_limit": "61"})
            assert becomes(updater, rate, 61)
    finally:
        server.close()


def test_a26_an_end_leaves_tls_to_the_thread_that_reads(authority: trustme.CA) -> None:
    """A TLS connection that another thread shuts down still decrypts the data that has arrived."""
    ends = socket.socketpair()
    contexts = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.configure_trust(contexts[0])
    authority.issue_cert("localhost").configure_cert(contexts[1])
    own = _TlsSocket(ends[0])
    own.secure(contexts[0], "localhost")
    peer = contexts[1].wrap_socket(ends[1], server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=lambda: (peer.do_handshake(), peer.sendall(b"come")))
    thread.start()
    try:
        own.shake_hands(DEADLINE_SECONDS)
        thread.join(DEADLINE_SECONDS)
        own.shut_down(socket.SHUT_RD)
        assert own.receive(100, DEADLINE_SECONDS) == b"come"
    finally:
        own.close()
        peer.close()


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("unknown authority", "unable to get local issuer certificate"),
        ("wrong host", "certificate is not valid for '127.0.0.1'"),
        ("expired", "certificate has expired"),
    ],
)
def test_a26_bad_certificate(tmp_path: Path, authority: trustme.CA, case: str, reason: str) -> None:
    """A certificate that is not valid is an error that says why, and no request is sent."""
    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    names = ("elsewhere.test",) if case == "wrong host" else ()
    server = tls_server(
        tmp_path / "kubeconfig", authority, *names, **({"not_after": past} if case == "expired" else {})
    )
    if case == "unknown authority":
        trustme.CA().cert_pem.write_to_path(str(tmp_path / "kubeconfig.ca"))
    try:
        with pytest.raises(SourceError, match=f"certificate is refused: [^;]*{reason}[^;]*; check ") as caught:
            source_of(server).read()
        assert not caught.value.unreachable
        assert server.requests == []
    finally:
        server.close()


def test_a26_rotated_authority(
    flags: FlagRegistry, rate: dflag.Flag[int], tmp_path: Path, authority: trustme.CA
) -> None:
    """A new bundle of authorities is used from the next connection on."""
    server = tls_server(tmp_path / "kubeconfig", authority)
    with following(flags, source_of(server)) as updater:
        server.await_watches(1)
        server.close()
        again = tls_server(tmp_path / "kubeconfig", trustme.CA())
        try:
            for value in range(61, 100):
                again.put({"rate_limit": str(value)})
            assert becomes(updater, rate, 99)
        finally:
            updater.stop()
            again.close()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (reply(302, b"", Location="http://127.0.0.1:1/"), "answered 302: a redirect, which is not followed"),
        (reply(200, b"<html>Log in</html>", Content_Type="text/html"), "got 'text/html'; is it a proxy?"),
        (reply(200, b"<html>"), "expected a list in JSON"),
        (reply(200, {"kind": "Status"}), "expected a list from the API server, got kind 'Status'"),
    ],
    ids=["redirect", "page", "page called JSON", "other JSON"],
)
def test_a27_answers_of_others(
    server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int], answer: Any, message: str
) -> None:
    """While another server answers the source is unhealthy with that error and the values stay; then it recovers."""
    server.on_list(answer)
    with pytest.raises(SourceError, match=message.replace("?", r"\?")) as caught:
        source_of(server).read()
    assert not caught.value.missing
    with following(flags, source_of(server), on_missing="reset") as updater:
        server.await_watches(1)
        server.on_watch(*[answer] * 1000)
        server.on_list(*[answer] * 1000)
        server.end_watches()
        assert eventually(lambda: message in (only(updater).last_error or ""))
        assert not only(updater).healthy
        assert rate.get() == 60
        server.relent()
        server.put({"rate_limit": "61"})
        assert becomes(updater, rate, 61)
        assert eventually(lambda: only(updater).healthy)


def test_a28_compressed(server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int]) -> None:
    """Compressed answers are read, both a list and a watch."""
    packed = gzip.compress(json.dumps(server.listing(server.item())).encode())
    line = json.dumps({"type": "MODIFIED", "object": web(server, "150", "61")}).encode() + b"\n"

    def watch(connection: Connection, request: Request) -> None:
        connection.answer(200, gzip.compress(line), {"Content-Encoding": "gzip"})

    server.on_list(reply(200, packed, Content_Encoding="gzip"))
    server.on_watch(watch)
    with following(flags, source_of(server)) as updater:
        assert becomes(updater, rate, 61)
        assert len(server.lists) == 1


def test_a28_http_1_0(server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int]) -> None:
    """A list and a watch over HTTP/1.0, whose end is the end of the connection, are read."""
    line = json.dumps({"type": "MODIFIED", "object": web(server, "150", "61")}).encode() + b"\n"

    def watch(connection: Connection, request: Request) -> None:
        connection.send(b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + line)
        connection.close()

    server.on_list(reply(200, server.listing(server.item()), protocol="1.0"))
    server.on_watch(watch)
    with following(flags, source_of(server)) as updater:
        assert becomes(updater, rate, 61)
        assert len(server.lists) == 1


def test_a29_proxy(server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests go through the proxy that the environment names, unless it exempts the server."""
    path = write_kubeconfig(tmp_path / "other", "http://cluster.test:8080")
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.delenv("REQUEST_METHOD", raising=False)  # in a CGI script HTTP_PROXY is ignored
    source = KubernetesSource("web", "default", kubeconfig=path)
    assert source.read() == {"rate_limit": "60"}
    assert server.requests[0].headers["host"] == "cluster.test:8080"
    monkeypatch.setenv("NO_PROXY", "cluster.test")
    with pytest.raises(SourceError, match="cannot be reached"):
        source.read()


def test_a29_tunnel(tmp_path: Path, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS goes through a tunnel of the proxy, which is asked for the server by name and gets its password."""
    asked: list[Request] = []
    behind = tls_server(tmp_path / "kubeconfig", authority, "cluster.test")

    def tunnel(connection: Connection, request: Request) -> None:
        asked.append(request)
        connection.answer(200, b"", {"Content-Length": "0"})
        connection.secure(behind._context)
        inner = connection.read_request()
        assert inner is not None
        behind._answer(connection, inner)

    proxy = ApiServer(tmp_path / "unused")
    proxy.on_list(tunnel)
    write_kubeconfig(behind.kubeconfig, "https://cluster.test", authority=tmp_path / "kubeconfig.ca")
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@127.0.0.1:{proxy.port}")
    try:
        assert source_of(behind).read() == {"rate_limit": "60"}
        (connect,) = asked
        assert (connect.method, connect.path) == ("CONNECT", "cluster.test:443")
        assert connect.headers["proxy-authorization"] == "Basic " + base64.b64encode(b"me:secret").decode()
    finally:
        proxy.close()
        behind.close()


# --- A30 to A32: threads and processes


def watcher() -> threading.Thread | None:
    return next((thread for thread in threading.enumerate() if thread.name == "dflag-kubernetes"), None)


def stops_at_once(updater: Updater) -> None:
    assert watcher() is not None
    began = time.monotonic()
    updater.stop()
    assert time.monotonic() - began < 1.0
    assert watcher() is None


def test_a30_stops_while_it_reads(server: ApiServer, flags: FlagRegistry) -> None:
    """`stop` ends a thread that waits for the next event, or for the answer to a watch."""
    for answer in (None, silence):
        if answer is not None:
            server.on_watch(answer)
        number = len(server.watches) + 1
        updater = Updater(flags, source_of(server))
        updater.initialize()
        updater.start()
        server.await_watches(number)
        stops_at_once(updater)


def test_a30_stops_while_it_pauses(server: ApiServer, flags: FlagRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """`stop` ends a thread that waits before its next attempt."""
    server.on_watch(refuse(503, "busy", Retry_After="60"))
    updater = Updater.setup(flags, source_of(server))
    assert eventually(lambda: "503" in (only(updater).last_error or ""))
    stops_at_once(updater)


def test_a30_stops_while_it_connects(flags: FlagRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`stop` ends a thread whose connection is not accepted."""
    monkeypatch.setattr(_api, "REQUEST_SECONDS", 30.0)
    connecting = threading.Event()
    ready = OwnSocket.is_ready

    def waiting(*arguments: Any) -> bool:
        connecting.set()
        return ready(*arguments)

    with ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = full.getsockname()[1]
        # One connection fills the queue; from then on the kernel leaves each SYN without an answer.
        for filler in [stack.enter_context(socket.socket()) for _ in range(3)]:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        source = KubernetesSource(
            "web", "default", kubeconfig=write_kubeconfig(tmp_path / "kubeconfig", f"http://127.0.0.1:{port}")
        )
        monkeypatch.setattr(OwnSocket, "is_ready", waiting)
        watch = source.watch(lambda: None)
        assert connecting.wait(DEADLINE_SECONDS)
        began = time.monotonic()
        watch.close()
        assert time.monotonic() - began < 1.0
        assert watcher() is None


def test_a30_stops_while_it_shakes_hands(tmp_path: Path) -> None:
    """`stop` ends a thread that waits for the server's side of the TLS handshake."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        path = write_kubeconfig(tmp_path / "kubeconfig", f"https://127.0.0.1:{listener.getsockname()[1]}")
        source = KubernetesSource("web", "default", kubeconfig=path)
        watch = source.watch(lambda: None)
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.recv(1)  # the handshake has begun
            began = time.monotonic()
            watch.close()
            assert time.monotonic() - began < 1.0
            assert watcher() is None


# --- a program that closes every descriptor, as daemons do


@pytest.mark.skipif(sys.platform != "linux", reason="what a descriptor is open on is known for Linux alone")
@pytest.mark.parametrize("secured", [False, True])
@pytest.mark.parametrize("reused", [False, True])
def test_a_connection_that_the_program_closed_is_made_anew(
    flags: FlagRegistry, rate: dflag.Flag[int], tmp_path: Path, authority: trustme.CA, secured: bool, reused: bool
) -> None:
    """A connection that the program closed is opened again at once; another file with its number is left alone."""
    server = tls_server(tmp_path / "kubeconfig", authority) if secured else ApiServer(tmp_path / "kubeconfig")
    server.put({"rate_limit": "60"})
    here, there = socket.socketpair()
    with here, there, following(flags, source_of(server)) as updater:
        server.await_watches(1)
        there.sendall(b"mine")
        number = _close_connection(updater, here if reused else None)
        assert eventually(lambda: only(updater).reconnects == 1)
        server.put({"rate_limit": "61"})
        assert becomes(updater, rate, 61)
        assert only(updater).healthy
        updater.stop()
        if reused:
            with socket.socket(fileno=number) as program:
                program.setblocking(False)
                assert program.recv(100) == b"mine"
                program.sendall(b"still open")
                assert there.recv(100) == b"still open"
    server.close()


@pytest.mark.skipif(sys.platform != "linux", reason="what a descriptor is open on is known for Linux alone")
def test_stops_at_once_after_the_program_closed_its_connection(server: ApiServer, flags: FlagRegistry) -> None:
    """``stop()`` ends the watch's thread within a second after the program has closed the thread's connection."""
    with following(flags, source_of(server)) as updater:
        server.await_watches(1)
        _close_connection(updater, None)
        stops_at_once(updater)


def _close_connection(updater: Updater, instead: socket.socket | None) -> int:
    """
    Close the connection of the watch without its knowledge, let *instead* take its number, and return the number.

    This waits until the watch is not in a read, which would continue on the new file; that cannot be prevented.
    """
    watch: Any = updater._session._watches[0]

    def rests() -> bool:
        frame = sys._current_frames().get(watch._thread.ident)
        return watch._opened_at is not None and frame is not None and frame.f_code.co_name == "select"

    assert eventually(rests)
    number: int = watch._server._link._socket._descriptor.number
    if instead is None:
        os.close(number)
    else:
        os.dup2(instead.fileno(), number)
    return number


def test_a30_restarts(server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int]) -> None:
    """An updater that starts again has the changes since its stop as soon as it runs."""
    updater = Updater.setup(flags, source_of(server))
    updater.stop()
    server.put({"rate_limit": "61"})
    with updater:
        assert rate.get() == 61
        server.put({"rate_limit": "62"})
        assert becomes(updater, rate, 62)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a31_fork(flags: FlagRegistry, rate: dflag.Flag[int], tmp_path: Path, authority: trustme.CA) -> None:
    """A child watches on its own connection and does not hold the parent's, on which the parent's TLS watch goes on."""
    from .test_fork import Child

    server = tls_server(tmp_path / "kubeconfig", authority)
    try:
        with following(flags, source_of(server)) as updater:
            server.await_watches(1)
            held = updater._session._watches[0]._server._link._socket
            before = os.fstat(held._descriptor.number).st_ino

            def child() -> None:
                descriptors = {
                    os.stat(f"/proc/self/fd/{fd}").st_ino for fd in os.listdir("/proc/self/fd") if _exists(fd)
                }
                assert before not in descriptors
                assert becomes(updater, rate, 61)
                updater.stop()

            forked = Child(child)
            server.await_watches(2)
            server.put({"rate_limit": "61"})
            forked.check()
            assert becomes(updater, rate, 61)
            server.put({"rate_limit": "62"})
            assert becomes(updater, rate, 62)
            assert only(updater).reconnects == 0
            assert len(server.watches) == 2
            assert len(server.lists) == 1
    finally:
        server.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_while_the_server_is_asked(server: ApiServer) -> None:
    """A child that is forked while another thread requests a list does not hold that thread's connection."""
    from .test_fork import Child

    source = source_of(server)
    answer = threading.Event()

    def slowly(connection: Connection, request: Request) -> None:
        assert answer.wait(DEADLINE_SECONDS)
        connection.answer(200, server.listing(server.item()))

    server.on_list(slowly)
    found = []
    asking = threading.Thread(target=lambda: found.append(source.read()))
    asking.start()
    server.await_lists(1)

    def child() -> None:
        assert not _connections_to(server.port)

    try:
        assert _connections_to(server.port) == 1
        Child(child).check()
    finally:
        answer.set()
        asking.join(DEADLINE_SECONDS)
    assert found == [{"rate_limit": "60"}]


def _connections_to(port: int) -> int:
    count = 0
    for name in os.listdir("/proc/self/fd"):
        if _exists(name) and stat.S_ISSOCK(os.stat(f"/proc/self/fd/{name}").st_mode):
            with socket.socket(fileno=os.dup(int(name))) as held, contextlib.suppress(OSError):
                count += held.family == socket.AF_INET and held.getpeername()[1] == port
    return count


def _exists(descriptor: str) -> bool:
    return os.path.exists(f"/proc/self/fd/{descriptor}")


def test_a32_clients_come_back_one_by_one() -> None:
    """The first pauses of a thousand clients that failed together are spread over their whole range."""
    pauses = sorted(_reflector.Backoff().next() / _reflector.FIRST_SECONDS for _ in range(1000))
    spread = [sum(1 + tenth / 10 <= pause < 1 + (tenth + 1) / 10 for pause in pauses) for tenth in range(10)]
    assert min(spread) > 50


# --- A33 to A39: objects and health


def test_a33_encoded_values(server: ApiServer) -> None:
    """Values of binaryData and a Secret's data come as bytes."""
    raw = bytes(range(256))
    server.put({"rate_limit": "60"}, binaryData={"blob": base64.b64encode(raw).decode()})
    assert source_of(server).read() == {"rate_limit": "60", "blob": raw}
    server.put({"token": base64.b64encode(b"s3cret").decode()}, kind="Secret")
    source = source_of(server, kind="Secret")
    assert source.read() == {"token": b"s3cret"}
    assert source.name == "secret/default/web"
    assert source.secret
    assert not source_of(server).secret


def test_a33_not_base64(server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int]) -> None:
    """A value that is not base64 is an error of its flag that names the key, without the text."""
    server.put({"token": "not base64!", "rate_limit": base64.b64encode(b"70").decode()}, kind="Secret")
    flags.dyn_string("token", "", "A token")
    source = source_of(server, kind="Secret")
    assert source.read()["token"] == Unreadable("data 'token' is not valid base64")
    with pytest.raises(UpdateError) as caught:
        Updater(flags, source).initialize()
    assert "data 'token' is not valid base64 (secret default/web [token])" in str(caught.value)
    assert "not base64!" not in str(caught.value)


@pytest.mark.parametrize("fields", [{"data": None}, {}], ids=["null", "absent"])
def test_a34_no_data(server: ApiServer, fields: dict[str, Any]) -> None:
    """An object without data has no values, and is not missing."""
    item = server.item()
    del item["data"]
    server.on_list(reply(200, server.listing({**item, **fields})))
    assert source_of(server).read() == {}


@pytest.mark.parametrize("data", [["list"], {"rate_limit": {"a": 1}}, "text"])
def test_a34_data_of_another_shape(server: ApiServer, data: object) -> None:
    """Data that is not a mapping of texts is an error of the source."""
    server.on_list(reply(200, server.listing({**server.item(), "data": data})))
    with pytest.raises(SourceError, match="expected data of texts"):
        source_of(server).read()


def test_a35_immutable(server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int]) -> None:
    """An immutable object is watched, so one that is deleted and made again is applied."""
    server.put({"rate_limit": "60"}, immutable=True)
    with following(flags, source_of(server)) as updater:
        server.await_watches(1)
        server.delete()
        server.put({"rate_limit": "61"}, immutable=True)
        assert becomes(updater, rate, 61)


def test_a36_events_of_others(server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int]) -> None:
    """Events about objects of another name or namespace change nothing."""
    server.on_watch(
        stream(
            {"type": "MODIFIED", "object": web(server, "200", "1", name="other")},
            {"type": "DELETED", "object": web(server, "201", "1", namespace="elsewhere")},
            {"type": "SOMETHING", "object": web(server, "202", "1")},
            {"type": "MODIFIED", "object": web(server, "203", "61")},
            then=Connection.wait_for_end,
        )
    )
    with following(flags, source_of(server)) as updater:
        assert becomes(updater, rate, 61)
        assert updater.status().updates == 2


def test_a37_no_field_selector(server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int]) -> None:
    """When the server lists all objects of the namespace, the source finds its own, or none of that name."""
    other = web(server, "200", "1", name="other")
    server.on_list(reply(200, server.listing(other, server.item(), other)))
    assert source_of(server).read() == {"rate_limit": "60"}
    server.on_list(reply(200, server.listing(other)))
    with pytest.raises(SourceError, match="no such ConfigMap"):
        source_of(server).read()


def test_a38_asks_for_nothing_new(server: ApiServer, flags: FlagRegistry) -> None:
    """No request has ``sendInitialEvents``, which older servers refuse."""
    with following(flags, source_of(server)):
        server.await_watches(1)
    assert not [request for request in server.requests if "sendInitialEvents" in request.query]


def test_a39_contact(server: ApiServer, flags: FlagRegistry) -> None:
    """A bookmark counts as a contact; silence does not, however often the updater looks."""
    go = threading.Event()

    def watch(connection: Connection, request: Request) -> None:
        connection.begin()
        assert go.wait(DEADLINE_SECONDS)
        connection.event(bookmark("150"))
        connection.wait_for_end()

    server.on_watch(watch)
    with following(flags, source_of(server), resync_seconds=0.01) as updater:
        server.await_watches(1)
        assert eventually(lambda: (only(updater).seconds_since_contact or 0) > 0.3)
        go.set()
        assert eventually(lambda: (only(updater).seconds_since_contact or 1) < 0.2)
        server.await_watches(1)
        assert only(updater).watched == "API watch"


def test_a39_the_end_of_a_watch_is_a_contact(server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int]) -> None:
    """When the server ends a watch in good order, the source has a contact that is later than that end."""

    def contact() -> float:
        now, age = time.monotonic(), only(updater).seconds_since_contact
        assert age is not None
        return now - age

    with following(flags, source_of(server), resync_seconds=60.0) as updater:
        server.await_watches(1)
        server.put({"rate_limit": "61"})
        assert becomes(updater, rate, 61)
        ended = time.monotonic()
        assert contact() < ended
        server.end_watches()
        assert eventually(lambda: contact() > ended)


def test_a39_refresh_is_a_contact(server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int]) -> None:
    """The answer to the list of ``refresh()`` counts as a contact."""
    with following(flags, source_of(server), resync_seconds=60.0) as updater:
        server.await_watches(1)
        assert eventually(lambda: (only(updater).seconds_since_contact or 0) > 0.3)
        updater.refresh()
        assert (only(updater).seconds_since_contact or 1) < 0.2


# --- the configuration


def test_context_and_namespace(server: ApiServer) -> None:
    """The namespace is that of the context unless one is given, and a context can be chosen."""
    assert KubernetesSource("web", kubeconfig=server.kubeconfig).name == "configmap/default/web"
    assert KubernetesSource("web", kubeconfig=server.kubeconfig, context="other").name == "configmap/elsewhere/web"
    assert KubernetesSource("web", "mine", kubeconfig=server.kubeconfig).locate("a") == "configmap mine/web [a]"


def test_kubeconfig_of_the_environment(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first file of KUBECONFIG that exists is used."""
    monkeypatch.setenv("KUBECONFIG", f"/nowhere/config{os.pathsep}{server.kubeconfig}")
    assert KubernetesSource("web").read() == {"rate_limit": "60"}


@pytest.mark.parametrize("text", [None, "{", "[]", "current-context: none\nclusters: []\ncontexts: []\n"])
def test_bad_kubeconfig(flags: FlagRegistry, tmp_path: Path, text: str | None) -> None:
    """A kubeconfig that cannot be found or read is an error, also for an updater that does not require the source."""
    path = tmp_path / "kubeconfig"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SourceError, match="cannot use the kubeconfig"):
        KubernetesSource("web", kubeconfig=path)
    with pytest.raises(SourceError, match="cannot use the kubeconfig"):
        Updater.setup(flags, KubernetesSource("web", "default", kubeconfig=path), required=False)


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_exec_plugin(server: ApiServer, tmp_path: Path, version: str) -> None:
    """The token of an exec plugin is used."""
    server.token = "planned"  # noqa: S105
    program = 'import json; print(json.dumps({"status": {"token": "planned"}}))'
    plugin = {
        "apiVersion": f"client.authentication.k8s.io/{version}",
        "command": sys.executable,
        "args": ["-c", program],
    }
    path = write_kubeconfig(tmp_path / "other", server.url, user={"exec": plugin})
    assert KubernetesSource("web", "default", kubeconfig=path).read() == {"rate_limit": "60"}


def test_pod(server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: trustme.CA) -> None:
    """In a pod, the service account's token, namespace and authority are used."""
    behind = tls_server(tmp_path / "unused", authority)
    behind.token = "podtoken"  # noqa: S105
    account = tmp_path / "serviceaccount"
    ConfigMapVolume(account).write(
        {"token": "podtoken\n", "namespace": "default", "ca.crt": (tmp_path / "unused.ca").read_text()}
    )
    monkeypatch.setattr(_api, "SERVICE_ACCOUNT", str(account))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(behind.port))
    try:
        source = KubernetesSource("web")
        assert source.name == "configmap/default/web"
        assert source.read() == {"rate_limit": "60"}
    finally:
        behind.close()


def test_unusable_token_stays_out_of_the_message(server: ApiServer) -> None:
    """A token that cannot be sent is not repeated in the error."""
    write_kubeconfig(server.kubeconfig, server.url, user={"token": "hush\nhush"})
    with pytest.raises(SourceError, match="credentials cannot be sent") as caught:
        source_of(server).read()
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("error", [RuntimeError, KeyError, UnicodeError, AssertionError])
def test_an_error_that_nobody_expected_is_named_and_not_quoted(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """An unexpected exception, which may quote a credential, is reported by type and line, without its text."""

    def stream(*_: object, **__: object) -> None:
        raise error("Bearer hush")

    source = source_of(server)
    with monkeypatch.context() as patch:
        patch.setattr("httpx2.Client.stream", stream)
        with pytest.raises(SourceError, match=rf"{error.__name__} in stream, line \d+; please report it") as caught:
            source.read()
    whole = "".join(traceback.format_exception(caught.value))
    assert "hush" not in whole.replace('raise error("Bearer hush")', "")
    assert source.read() is not None


def test_an_error_of_the_system_is_quoted(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text of an ``OSError`` is quoted in the error, which is ``unreachable``."""

    def stream(*_: object, **__: object) -> None:
        raise OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))

    monkeypatch.setattr("httpx2.Client.stream", stream)
    with pytest.raises(SourceError, match=os.strerror(errno.EHOSTUNREACH)) as caught:
        source_of(server).read()
    assert caught.value.unreachable


@pytest.mark.parametrize(
    "options",
    [
        {"name": ""},
        {"name": "a/b"},
        {"name": 5},
        {"namespace": "../x"},
        {"namespace": "a.b"},  # valid for an object only
        {"namespace": "n" * 64},
        {"name": "a..b"},
        {"name": "a.-b"},
        {"namespace": ""},
        {"namespace": 5},
        {"kind": "Pod"},
        {"context": 5},
        {"kubeconfig": 5},
        {"kubeconfig": b"kubeconfig"},
        {"watch_seconds": 0},
        {"watch_seconds": "5"},
        {"watch_seconds": True},
        {"watch_seconds": float("nan")},
        {"watch_seconds": float("inf")},
        {"watch_seconds": None},
        {"watch_seconds": 10**400},
    ],
)
def test_bad_options(server: ApiServer, options: dict[str, Any]) -> None:
    """An impossible name of an object, or an option out of its range, raises ``DefinitionError``."""
    with pytest.raises(dflag.DefinitionError):
        KubernetesSource(**{"name": "web", "namespace": "default", "kubeconfig": server.kubeconfig, **options})


def test_the_longest_watch_fits_into_a_request(server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int]) -> None:
    """A very large ``watch_seconds`` is cut in the request, because a server holds it in 64 bits of nanoseconds."""
    with following(flags, source_of(server, watch_seconds=1e300)) as updater:
        assert 0 < int(server.await_watches(1).query["timeoutSeconds"]) <= 10**9
        assert eventually(lambda: only(updater).healthy)


def test_same_checksum_as_a_volume(server: ApiServer, flags: FlagRegistry, tmp_path: Path) -> None:
    """A volume and the API server give one checksum for one object."""
    flags.dyn_string("text", "", "A text")
    server.put({"text": "Grüße", ".hidden": "x"}, binaryData={"blob": base64.b64encode(b"\x00\xff").decode()})
    volume = ConfigMapVolume(tmp_path / "volume")
    volume.write({"text": "Grüße", "blob": b"\x00\xff"})
    with following(flags, source_of(server), unknown="ignore") as updater:
        at_the_server = only(updater).checksum
    with Updater.setup(dflag.FlagRegistry(), volume.path, unknown="ignore") as updater:
        assert only(updater).checksum == at_the_server


def test_refresh_asks_the_server(server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int]) -> None:
    """``refresh()`` lists again while a watch is running."""
    server.on_watch(silence)
    with following(flags, source_of(server)) as updater:
        server.await_watches(1)
        server.put({"rate_limit": "61"})
        updater.refresh()
        assert rate.get() == 61
        assert len(server.lists) == 2


def test_refresh_at_a_server_that_is_ahead_leaves_the_watch_alone(
    server: ApiServer, flags: FlagRegistry, rate: dflag.Flag[int]
) -> None:
    """After ``refresh()`` got a newer list, an older bookmark of the watch is not a failure, and the watch goes on."""
    go = threading.Event()

    def watch(connection: Connection, request: Request) -> None:
        connection.begin()
        assert go.wait(DEADLINE_SECONDS)
        connection.event(bookmark("150"))
        connection.event({"type": "MODIFIED", "object": web(server, "170", "61")})
        connection.end()

    server.on_watch(watch)
    with following(flags, source_of(server)) as updater:
        server.await_watches(1)
        server.on_list(reply(200, server.listing(server.item(), version="160")))
        updater.refresh()
        go.set()
        assert becomes(updater, rate, 61)
        assert server.await_watches(2).query["resourceVersion"] == "170"
        assert only(updater).reconnects == 0
    assert len(server.lists) == 2


def test_without_the_extra() -> None:
    """Without the extra the class can be imported, and says what to install when it is used."""
    done = run_python(
        "import sys; sys.modules['httpx2'] = None\n"
        "from dflag.sources import KubernetesSource\n"
        "try: KubernetesSource('web', 'default')\n"
        "except ImportError as error: print(error)\n"
    )
    assert "pip install 'dflag[kubernetes]'" in done.stdout, done.stderr


def test_heavy_packages_stay_out() -> None:
    """Importing ``dflag.sources`` imports neither the HTTP client nor ``ssl``."""
    done = run_python(
        "import sys, dflag.sources\nprint([name for name in ('httpx2', 'httpcore2', 'ssl') if name in sys.modules])\n"
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_a_watch_whose_thread_cannot_be_started_is_tried_again(
    flags: FlagRegistry, rate: dflag.Flag[int], server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the watch's thread cannot be started the status says why; once it can, changes are followed."""
    start, refusing = threading.Thread.start, [True]

    def start_if_free(thread: threading.Thread) -> None:
        if thread.name == "dflag-kubernetes" and refusing:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_if_free)
    with following(flags, source_of(server)) as updater:
        assert only(updater).degraded == "no thread could be started to watch it: can't start new thread"
        assert (only(updater).watched, only(updater).healthy) == ("not watched", False)
        updater.refresh()
        assert not only(updater).healthy
        server.put({"rate_limit": "70"})
        refusing.clear()
        assert becomes(updater, rate, 70)
        assert eventually(lambda: only(updater).degraded is None and only(updater).healthy)
        assert only(updater).watched == "API watch"
    refusing.append(True)
    with following(flags, source_of(server)):
        pass
