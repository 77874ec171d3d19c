"""
The command against a real API server: the server accepts what ``manifest`` prints, and agrees with ``check``.
"""

from __future__ import annotations

import base64
import datetime
import enum
import json
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

import dflag
from dflag import Updater
from dflag.cli import main
from dflag.sources import KubernetesSource
from dflag.testing import ConfigMapVolume

from ._cluster import KUBECONFIG, Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.skipif(not KUBECONFIG, reason="DFLAG_TEST_KUBECONFIG names no cluster"),
    pytest.mark.timeout(120),
]

NASTY = "first line # no comment: {really}\n--- \n'\"\\ \t\x1b[31m %s \u00e9 \u2028 \U0001f600\n\n  last"

MANIFEST = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: checked\n"
MEBIBYTE = 2**20
CREATED = 201
REFUSED = (400, 422)


class Level(enum.Enum):
    """Members whose values YAML would not read as strings."""

    NO = "no"
    FEW = "12e3"


@pytest.fixture(name="cluster")
def _cluster() -> Iterator[Cluster]:
    """Yield access to a namespace for this module alone."""
    cluster = Cluster("dflag-command")
    yield cluster
    cluster.close()


@pytest.fixture(name="program")
def _program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dflag.FlagRegistry:
    """Return a registry with flags of all kinds and of odd names, which the commands find at ``app:flags``."""
    flags = dflag.FlagRegistry("app")
    for secret in (False, True):
        end = ".secret" if secret else ""
        flags.dyn_string(f"string{end}", NASTY, NASTY, secret=secret, strip=False)
        flags.dyn_string(f"y{end}", "yes", "A name that YAML takes for true", secret=secret)
        flags.string(f"1e3{end}", "0x1F", "A number as a name, and one as a text", secret=secret)
        flags.dyn_string(f"{'k' * 200}{end}", "", "A long name, and an empty text", secret=secret)
        flags.dyn_int(f"-_.int{end}", -(2**63), NASTY, max=0, secret=secret, deprecated="use another")
        flags.dyn_float(f"float{end}", 1e-300, "Float", secret=secret)
        flags.bool(f"bool{end}", True, "Bool", secret=secret)
        flags.dyn_duration(f"duration{end}", datetime.timedelta(days=-3, microseconds=1), secret=secret)
        flags.dyn_string_list(f"list{end}", ["a,b", " c ", "", NASTY], "List", secret=secret)
        flags.dyn_string_set(f"set{end}", ["b", "a"], "Set", secret=secret)
        flags.dyn_enum(f"enum{end}", Level.NO, "Enum", secret=secret)
        flags.dyn_bytes(f"bytes{end}", bytes(range(256)), "Bytes", secret=secret)
        flags.dyn_json(f"json{end}", {"mode": NASTY, "of": [1, 1.5, None, {"no": True}]}, "JSON", secret=secret)
        flags.dyn_map(f"map{end}", {f"a.port{end}": 1}, "Map", keys=f"*.port{end}", of="int", secret=secret)
    _serve(flags, monkeypatch, tmp_path)
    return flags


@pytest.fixture(name="anything")
def _anything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Make a registry that accepts every text under every key available at ``app:flags``."""
    flags = dflag.FlagRegistry("app")
    flags.dyn_map("anything", {}, keys="*", of="string")
    _serve(flags, monkeypatch, tmp_path)


@pytest.mark.parametrize("through", ["volume", "server"])
@pytest.mark.parametrize("kind", ["ConfigMap", "Secret"])
def test_manifest_is_accepted(
    cluster: Cluster,
    program: dflag.FlagRegistry,
    kind: Literal["ConfigMap", "Secret"],
    through: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The server accepts what `manifest` prints, and each default comes back by `check`, a volume and a source."""
    plural = f"{kind.lower()}s"
    arguments = ["--name", "round-trip", "--namespace", cluster.namespace, "--kind", kind]
    assert main(["manifest", "app:flags", *arguments]) == 0
    assert cluster.post(capsys.readouterr().out, kind=plural) == CREATED
    held = cluster.request("GET", f"{cluster.path}/{plural}/round-trip")
    Path("held.json").write_text(json.dumps(held), encoding="utf-8")
    assert main(["check", "app:flags", "held.json", "--strict"]) == 0
    expected = [flag for flag in program if flag.secret is (kind == "Secret")]
    with Updater.setup(program, _volume(held) if through == "volume" else _followed(cluster, kind)) as updater:
        assert updater.status().rejected == {}
        assert [flag.name for flag in expected if flag.origin == "default"] == []
        assert [flag.name for flag in expected if flag.get() != flag.default] == []


@pytest.mark.parametrize(
    "body",
    [
        "",
        "data: null",
        "data: {.a: x, _: x, -a: x, a..b: x}",
        f"data: {{{'k' * 253}: x}}",
        f"data: {{a: {'x' * MEBIBYTE}}}",
        f"data: {{a: {'é' * (MEBIBYTE // 2)}}}",
        f"data: {{a: {'x' * (MEBIBYTE - 1)}}}\nbinaryData: {{b: eA==}}",
        "data: {a: ~, b: null, c: }",
        "data: {a: yEs, b: 0b2, c: .iNF, d: 1.2.3, e: 1:3x, f: 2001-01-01, g: n/a}",
        "data: {a: !!str 5, b: ! yes, c: '5'}",
        'binaryData: {a: "", b: eA==, c: "e\\nA==", d: null}',
    ],
    ids=lambda body: body[:20],
)
@pytest.mark.usefixtures("anything")
def test_what_check_passes_is_accepted(cluster: Cluster, body: str) -> None:
    """The server accepts a ConfigMap in which `check` finds nothing."""
    assert _check(MANIFEST + body) == 0
    assert cluster.post(MANIFEST + body) == CREATED


@pytest.mark.parametrize(
    "text",
    [
        *(MANIFEST + f"data: {{{key}: x}}" for key in ("'.'", "..", "..a", "...", "''", "a b", "a/b", "ä", "k" * 254)),
        MANIFEST + "data: x",
        MANIFEST + "data: []",
        MANIFEST + "data: {a: [x]}",
        MANIFEST + "data: {a: x}\nbinaryData: {a: eA==}",
        MANIFEST + f"data: {{a: {'x' * (MEBIBYTE + 1)}}}",
        MANIFEST + f"data: {{a: {'é' * (MEBIBYTE // 2)}, b: x}}",
        MANIFEST + f"data: {{a: {'x' * MEBIBYTE}}}\nbinaryData: {{b: eA==}}",
        *(MANIFEST + f"data: {{a: {value}}}" for value in ("5", "yes", "N", "1_000", ".1_0", "0x1F", "1e3", "-.inf")),
        *(MANIFEST + f"data: {{a: {value}}}" for value in ('!!int "5"', '!!bool "yes"', '!!float "1"')),
        *(MANIFEST + f"binaryData: {{a: {value}}}" for value in ("'*'", "e", "eA", "'e A =='", "5", "_-8=")),
        *(MANIFEST.replace("checked", name) for name in ("App", "a_b", "-a", "a-", "a..b", "a" * 254, "''", "7")),
    ],
    ids=lambda text: text.removeprefix(MANIFEST)[:25],
)
@pytest.mark.usefixtures("anything")
def test_what_check_finds_is_refused(cluster: Cluster, text: str) -> None:
    """The server refuses a ConfigMap in which `check` finds a bad key, too many bytes or a value that is not text."""
    assert _check(text) == 1
    assert cluster.post(text) in REFUSED


SECRET = MANIFEST.replace("ConfigMap", "Secret")


@pytest.mark.parametrize(
    "metadata",
    [
        "labels: {app.kubernetes.io/name: x, a: '', b: v1.2_3-x}",
        "annotations: {A.B/c: x y}",
        "creationTimestamp: 2026-11-28T10:00:00Z",
        "creationTimestamp: null",
        "managedFields: [{}]",
        "ownerReferences: [{apiVersion: v1, kind: Pod, name: x, uid: u, controller: true}]",
    ],
)
@pytest.mark.usefixtures("anything")
def test_metadata_that_check_passes_are_accepted(cluster: Cluster, metadata: str) -> None:
    """The server accepts metadata in which `check` finds nothing."""
    assert _check(f"{MANIFEST}  {metadata}\n") == 0
    assert cluster.post(f"{MANIFEST}  {metadata}\n") == CREATED


@pytest.mark.parametrize(
    "metadata",
    [
        *(f"labels: {{{label}}}" for label in ("a: 1", "a: x y", "a b: x", "a/b/c: x", "A.b/c: x", f"a: {'x' * 64}")),
        *("annotations: {a b: x}", "annotations: {a: true}", "annotations: [a]", f"annotations: {{a: {'x' * 2**18}}}"),
        *("generation: x", "uid: 1", "finalizers: [a]", "finalizers: a", "creationTimestamp: 2026-11-28"),
        *("ownerReferences: [{apiVersion: v1, kind: Pod, name: x}]", "ownerReferences: x"),
    ],
    ids=lambda metadata: metadata[:30],
)
@pytest.mark.usefixtures("anything")
def test_metadata_that_check_finds_are_refused(cluster: Cluster, metadata: str) -> None:
    """The server refuses metadata in which `check` finds a fault."""
    assert _check(f"{MANIFEST}  {metadata}\n") == 1
    assert cluster.post(f"{MANIFEST}  {metadata}\n") in REFUSED


@pytest.mark.parametrize(
    "body",
    [
        "type: kubernetes.io/tls\nstringData: {tls.crt: '', tls.key: ''}",
        "type: kubernetes.io/basic-auth\nstringData: {password: x}",
        "type: kubernetes.io/dockerconfigjson\nstringData: {.dockerconfigjson: '{}'}",
        "type: ''\nstringData: {a: x}",
        f"data: {{a: {base64.b64encode(b'x' * MEBIBYTE).decode()}}}\nstringData: {{a: {'x' * MEBIBYTE}}}",
    ],
    ids=lambda body: body[:40],
)
@pytest.mark.usefixtures("anything")
def test_secret_that_check_passes_is_accepted(cluster: Cluster, body: str) -> None:
    """The server accepts a Secret in which `check` finds nothing."""
    assert _check(f"{SECRET}{body}\n") == 0
    assert cluster.post(f"{SECRET}{body}\n", kind="secrets") == CREATED


@pytest.mark.parametrize(
    "body",
    [
        "type: kubernetes.io/tls\nstringData: {tls.crt: ''}",
        "type: kubernetes.io/ssh-auth\nstringData: {ssh-privatekey: ''}",
        "type: kubernetes.io/basic-auth\nstringData: {a: x}",
        "type: kubernetes.io/dockerconfigjson\nstringData: {.dockerconfigjson: x}",
        "type: kubernetes.io/dockercfg\nstringData: {.dockercfg: '1'}",
        "type: kubernetes.io/service-account-token\nstringData: {a: x}",
        *("type: 5", "data: {a: x}", "stringData: {a: 5}", "stringData: {a b: x}"),
        f"data: {{a: eA==}}\nstringData: {{b: {'x' * MEBIBYTE}}}",
    ],
    ids=lambda body: body[:40],
)
@pytest.mark.usefixtures("anything")
def test_secret_that_check_finds_is_refused(cluster: Cluster, body: str) -> None:
    """The server refuses a Secret in which `check` finds a fault."""
    assert _check(f"{SECRET}{body}\n") == 1
    assert cluster.post(f"{SECRET}{body}\n", kind="secrets") in REFUSED


def _volume(held: dict[str, Any]) -> str:
    """
    Publish the content of an object as the kubelet does, and return the path of the volume.
    """
    texts = held["data"] if held["kind"] == "ConfigMap" else {}
    encoded = held.get("binaryData", {}) if texts else held["data"]
    ConfigMapVolume("volume").write({**texts, **{key: base64.b64decode(value) for key, value in encoded.items()}})
    return "volume"


def _followed(cluster: Cluster, kind: Literal["ConfigMap", "Secret"]) -> KubernetesSource:
    return KubernetesSource("round-trip", namespace=cluster.namespace, kind=kind, kubeconfig=KUBECONFIG)


def _check(text: str) -> int:
    Path("in.yaml").write_text(text, encoding="utf-8")
    return main(["check", "app:flags", "in.yaml"])


def _serve(flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    module = types.ModuleType("app")
    module.flags = flags  # type: ignore[attr-defined]  # what a program does by assigning at its top level
    monkeypatch.setitem(sys.modules, "app", module)
    monkeypatch.chdir(directory)
    monkeypatch.setattr(sys, "path", list(sys.path))
