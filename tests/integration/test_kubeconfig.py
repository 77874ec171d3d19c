"""
Which API server a source asks, and as which user: a kubeconfig that kubectl accepts works, unknown fields are refused.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import fcntl
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from dflag import SourceError, Updater
from dflag.sources import KubernetesSource

from ._waiting import DEADLINE_SECONDS, eventually

pytest.importorskip("httpx2", reason="the extra is not installed")
trustme = pytest.importorskip("trustme")

from dflag.sources import _api, _credentials, _reflector  # noqa: E402 - these import the extra

from ._api_server import ApiServer, Connection, Request, write_kubeconfig  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from dflag import FlagRegistry

pytestmark = pytest.mark.once

V1 = "client.authentication.k8s.io/v1"
RATE = {"rate_limit": "60"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Make every pause short, and hide the configuration of the machine."""
    monkeypatch.setattr(_reflector, "FIRST_SECONDS", 0.01)
    monkeypatch.setattr(_reflector, "LAST_SECONDS", 0.1)
    monkeypatch.setattr(_api, "REQUEST_SECONDS", 2.0)
    monkeypatch.setattr(_api, "SERVICE_ACCOUNT", str(tmp_path / "no-account"))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "KUBECONFIG", "POD_NAMESPACE", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture(name="server")
def _server(tmp_path: Path) -> Iterator[ApiServer]:
    """Return a server with a ConfigMap named web."""
    server = ApiServer(tmp_path / "kubeconfig")
    server.put(RATE)
    yield server
    server.close()


@pytest.fixture(name="authority")
def _authority() -> trustme.CA:
    """Return a certificate authority that only the test knows."""
    return trustme.CA()


@pytest.fixture(name="secure")
def _secure(tmp_path: Path, authority: trustme.CA) -> Iterator[ApiServer]:
    """Return a server with a certificate of the authority, which asks for one of the client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_OPTIONAL
    authority.configure_trust(context)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    server = ApiServer(tmp_path / "secure", context, bundle)
    server.put(RATE)
    yield server
    server.close()


def read(path: Path, **options: Any) -> Any:
    return KubernetesSource("web", "default", kubeconfig=path, **options).read()


def message_of(path: Path) -> str:
    """
    Return the message of the error that reading a source raises, neither ``missing`` nor ``unreachable``.
    """
    with pytest.raises(SourceError) as caught:
        read(path)
    assert not caught.value.unreachable
    assert not caught.value.missing
    message = str(caught.value)
    assert re.search(r"\b[A-Z]\w*(Error|Exception)\b|InvalidURL|\n", message) is None, message
    return message


def edit(path: Path, **changes: Any) -> Path:
    """
    Change the parts of a kubeconfig that has one of each: ``cluster={"proxy-url": ...}``.
    """
    document = yaml.safe_load(path.read_text())
    for part, fields in changes.items():
        if part == "top":
            document.update(fields)
        else:
            document[f"{part}s"][0][part].update(fields)
    path.write_text(yaml.safe_dump(document))
    return path


def encoded(blob: trustme.Blob | bytes) -> str:
    return base64.b64encode(blob if isinstance(blob, bytes) else blob.bytes()).decode()


# --- which files


def test_files_of_kubeconfig_are_merged(server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first file in KUBECONFIG with an entry of a name, or a current context, wins; missing files are ignored."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text(
        yaml.safe_dump(
            {
                "users": [{"name": "test", "user": {"token": "of-the-first"}}],
                "contexts": [{"name": "more", "context": {"cluster": "test", "user": "test", "namespace": "more"}}],
            }
        )
    )
    write_kubeconfig(second, server.url, user={"username": "of-the-second", "password": "x"})
    (tmp_path / "empty").write_text("# nothing yet\n")
    names = ["missing", "empty", "first", "second", "missing-too"]
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(["", *(str(tmp_path / name) for name in names)]))
    assert KubernetesSource("web").read() == RATE
    assert server.requests[-1].headers["authorization"] == "Bearer of-the-first"
    assert KubernetesSource("web", context="more").name == "configmap/more/web"
    edit(first, top={"current-context": "more"})
    assert KubernetesSource("web").name == "configmap/more/web"


def pod(secure: ApiServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **files: str | None) -> Path:
    """
    Make a service account whose server is *secure*; a file that is None is left out.
    """
    account = tmp_path / "account"
    account.mkdir()
    given = {"token": "podtoken\n", "namespace": "default\n", "ca_crt": (tmp_path / "ca.pem").read_text(), **files}
    for name, text in given.items():
        if text is not None:
            (account / name.replace("_", ".")).write_text(text)
    monkeypatch.setattr(_api, "SERVICE_ACCOUNT", str(account))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(secure.port))
    return account


def test_kubeconfig_of_missing_files_in_a_pod(
    secure: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a pod the service account is used when KUBECONFIG names only missing or empty files."""
    pod(secure, monkeypatch, tmp_path)
    for value in (str(tmp_path / "missing"), "/dev/null", os.pathsep):
        monkeypatch.setenv("KUBECONFIG", value)
        assert KubernetesSource("web").read() == RATE
    assert secure.requests[-1].headers["authorization"] == "Bearer podtoken"


def test_no_configuration_says_where_it_was_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without any configuration the error names every place; if KUBECONFIG is set the home directory is not read."""
    with pytest.raises(SourceError, match=rf"none in {tmp_path}/home/.kube/config, nor .*/no-account/token; pass"):
        KubernetesSource("web")
    (tmp_path / "home" / ".kube").mkdir(parents=True)
    write_kubeconfig(tmp_path / "home" / ".kube" / "config", "http://127.0.0.1:1")
    assert KubernetesSource("web").name == "configmap/default/web"
    monkeypatch.setenv("KUBECONFIG", "/nowhere/one:/nowhere/two")
    with pytest.raises(
        SourceError, match="found none in KUBECONFIG=/nowhere/one:/nowhere/two, nor a service account: "
    ):
        KubernetesSource("web")


def test_home_directory(server: ApiServer, tmp_path: Path) -> None:
    """Without other configuration the kubeconfig in the home directory is used."""
    home = tmp_path / "home" / ".kube"
    home.mkdir(parents=True)
    server.kubeconfig.rename(home / "config")
    assert KubernetesSource("web").read() == RATE


@pytest.mark.parametrize("by", ["argument", "KUBECONFIG"])
def test_relative_kubeconfig_after_chdir(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """A relative path is resolved when the source is made, so a later change of directory does not matter."""
    monkeypatch.chdir(tmp_path)
    if by == "KUBECONFIG":
        monkeypatch.setenv("KUBECONFIG", "kubeconfig")
    source = KubernetesSource("web", "default", kubeconfig="kubeconfig" if by == "argument" else None)
    monkeypatch.chdir("/")
    assert source.read() == RATE


# --- the pod


def test_namespace_file_with_a_line_end(secure: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """White space around the namespace is ignored, and POD_NAMESPACE wins over the file, as in kubectl."""
    pod(secure, monkeypatch, tmp_path, namespace=" default\r\n")
    assert KubernetesSource("web").name == "configmap/default/web"
    monkeypatch.setenv("POD_NAMESPACE", "mine")
    assert KubernetesSource("web").name == "configmap/mine/web"


def test_no_namespace_file(secure: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an explicit namespace a missing namespace file does not matter; without one the error says what to do."""
    account = pod(secure, monkeypatch, tmp_path, namespace=None)
    assert KubernetesSource("web", "default").read() == RATE
    with pytest.raises(SourceError, match=rf"there is no {account}/namespace and POD_NAMESPACE .*; pass namespace="):
        KubernetesSource("web")


def test_a_context_is_none_of_the_pod(secure: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a pod, too, ``context=`` is looked up in a kubeconfig, not in the service account."""
    pod(secure, monkeypatch, tmp_path)
    with pytest.raises(SourceError, match=r"found none in .*/home/.kube/config; pass kubeconfig="):
        KubernetesSource("web", context="test")
    (tmp_path / "home" / ".kube").mkdir(parents=True)
    secure.kubeconfig.rename(tmp_path / "home" / ".kube" / "config")
    assert KubernetesSource("web", context="other").name == "configmap/elsewhere/web"


@pytest.mark.parametrize("lacking", ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"])
def test_pod_without_its_variables(
    secure: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    """When a variable with the server's address is not set the error names it; a kubeconfig at home is used instead."""
    pod(secure, monkeypatch, tmp_path)
    monkeypatch.delenv(lacking)
    with pytest.raises(SourceError, match=f"nor a service account: {lacking} is not set"):
        KubernetesSource("web")
    (tmp_path / "home" / ".kube").mkdir(parents=True)
    secure.kubeconfig.rename(tmp_path / "home" / ".kube" / "config")
    assert KubernetesSource("web").read() == RATE


def test_pod_with_an_odd_address(secure: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the variables with the server's address do not make a URL, the error names the variable."""
    pod(secure, monkeypatch, tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "tcp")
    with pytest.raises(SourceError, match="KUBERNETES_SERVICE_PORT: expected https://HOST:PORT, got 'https://127"):
        KubernetesSource("web")


# --- a wrong set-up is an error that names what is wrong, whether or not the source is required


@pytest.mark.parametrize(
    ("part", "fields", "named"),
    [
        ("cluster", {"certificate-authority": "gone.pem"}, "certificate-authority: cannot read {}/gone.pem: No such"),
        ("cluster", {"certificate-authority": "."}, "certificate-authority: cannot read {}: Is a directory"),
        ("cluster", {"certificate-authority": "empty"}, "certificate-authority: .* in PEM in {}/empty, found none"),
        ("cluster", {"certificate-authority": "bad.pem"}, "certificate-authority: .* {}/bad.pem, found .* damaged"),
        ("cluster", {"certificate-authority": "large.pem"}, "certificate-authority: {}/large.pem is larger than 1 MiB"),
        ("user", {"client-certificate": "gone.pem"}, "client-certificate: cannot read {}/gone.pem: No such"),
        ("user", {"client-certificate": "large.pem"}, "client-certificate: {}/large.pem is larger than 1 MiB"),
        ("user", {"client-key": "gone.pem"}, "client-key: cannot read {}/gone.pem: No such"),
        ("user", {"client-key": "large.pem"}, "client-key: {}/large.pem is larger than 1 MiB"),
        ("user", {"client-key": "ca.pem"}, "client-certificate: expected a certificate and its key in PEM"),
        ("user", {"client-key": "other.pem"}, "client-certificate: .* the key does not belong to the certificate"),
        ("user", {"client-key": "locked.pem"}, "client-certificate: the key is encrypted"),
        ("user", {"tokenFile": "gone"}, "tokenFile: cannot read {}/gone: No such"),
        ("user", {"tokenFile": "empty"}, "tokenFile: expected a token in {}/empty, which is empty"),
        ("user", {"exec": {"apiVersion": V1, "command": "./gone"}}, "exec: cannot run '{}/gone': No such file"),
        ("user", {"exec": {"apiVersion": V1, "command": "./ca.pem"}}, "exec: cannot run '{}/ca.pem': Permission"),
        ("user", {"exec": {"apiVersion": V1, "command": "no-such-plugin"}}, "no program 'no-such-plugin' on the PATH"),
    ],
)
def test_wrong_set_up_names_the_file(
    secure: ApiServer,
    flags: FlagRegistry,
    tmp_path: Path,
    authority: trustme.CA,
    part: str,
    fields: dict[str, Any],
    named: str,
) -> None:
    """A missing or unusable file is named in the error, and fails a start even with ``required=False``."""
    from cryptography.hazmat.primitives import serialization

    client, other = authority.issue_cert("client.test"), authority.issue_cert("other.test")
    client.cert_chain_pems[0].write_to_path(str(tmp_path / "client.pem"))
    client.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    other.private_key_pem.write_to_path(str(tmp_path / "other.pem"))
    key = serialization.load_pem_private_key(client.private_key_pem.bytes(), None)
    kind, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    locked = key.private_bytes(kind, form, serialization.BestAvailableEncryption(b"hush"))
    (tmp_path / "locked.pem").write_bytes(locked)
    (tmp_path / "empty").write_text("")
    (tmp_path / "large.pem").write_bytes((tmp_path / "ca.pem").read_bytes().ljust(2**20 + 1, b"\n"))
    (tmp_path / "bad.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    edit(secure.kubeconfig, user={"client-certificate": "client.pem", "client-key": "key.pem"})
    document = yaml.safe_load(secure.kubeconfig.read_text())
    document["users"][0]["user"].pop("token")
    secure.kubeconfig.write_text(yaml.safe_dump(document))
    path = edit(secure.kubeconfig, **{part: fields})
    expected = named.replace("{}", re.escape(str(tmp_path)))
    assert re.search(expected, message_of(path))
    with pytest.raises(SourceError, match=expected):
        Updater.setup(flags, KubernetesSource("web", "default", kubeconfig=path), required=False)


def test_missing_authority_in_a_pod(secure: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When ca.crt is missing in a pod, the error names its path and is not ``unreachable``."""
    account = pod(secure, monkeypatch, tmp_path, ca_crt=None)
    with pytest.raises(SourceError, match=f"cannot read {account}/ca.crt: No such file") as caught:
        KubernetesSource("web").read()
    assert not caught.value.unreachable


@pytest.mark.parametrize(
    ("part", "field"),
    [
        ("top", "cluster"),
        ("cluster", "certificate-authority-file"),
        ("user", "token-file"),
        ("user", "as-group"),
        ("context", "name-space"),
        ("exec", "timeout"),
    ],
)
def test_unknown_field_is_refused_by_name(server: ApiServer, part: str, field: str) -> None:
    """A field that dflag does not know is refused, by its name and place."""
    if part == "exec":
        edit(server.kubeconfig, user={"exec": {"apiVersion": V1, "command": "x", field: "1"}})
    else:
        edit(server.kubeconfig, **{part: {field: "hush"}})
    message = message_of(server.kubeconfig)
    assert f"dflag does not know the field '{field}'; remove it" in message
    assert str(server.kubeconfig) in message
    assert "hush" not in message
    place = {"top": "", "exec": "users[test].exec"}.get(part, f"{part}s[test]")
    assert place in message


def test_what_is_not_chosen_does_not_matter(server: ApiServer) -> None:
    """Unknown fields of clusters and users that are not used, and extensions anywhere, are ignored."""
    document = yaml.safe_load(server.kubeconfig.read_text())
    document["users"].append({"name": "other", "user": {"auth-provider": {"name": "gcp"}}})
    document["clusters"].append({"name": "other", "cluster": {"nonsense": 1}})
    for plural, singular in (("clusters", "cluster"), ("contexts", "context"), ("users", "user")):
        document[plural][0][singular]["extensions"] = [{"name": "minikube", "extension": {"version": "1"}}]
    document.update({"preferences": {"colors": True}, "extensions": [], "apiVersion": "v1", "kind": "Config"})
    server.kubeconfig.write_text(json.dumps(document))
    assert read(server.kubeconfig) == RATE


@pytest.mark.parametrize(
    ("part", "fields", "message"),
    [
        ("user", {"token": 12345}, r"users\[test\].token: expected text, got a number; put it in quotes"),
        ("user", {"auth-provider": {"name": "oidc"}}, r"users\[test\].auth-provider: .* use an exec plugin"),
        ("user", {"username": "me"}, r"users\[test\]: expected a token or a username, got both"),
        ("user", {"client-certificate-data": "!"}, r"client-certificate-data: expected base64"),
        ("user", {"client-certificate-data": "AAAA"}, r"client-certificate and client-key together; client-key is not"),
        ("user", {"client-key": "a", "client-key-data": "AAAA"}, r"client-key or client-key-data, got both"),
        ("user", {"as-groups": ["a"]}, r"expected a user to impersonate beside as-uid, .*; set as"),
        ("user", {"as-groups": "a"}, r"as-groups: expected a list, got text"),
        ("user", {"as": "a", "as-user-extra": {"b": "c"}}, r"as-user-extra\[b\]: expected a list, got text"),
        ("user", {"exec": {"command": "x"}}, r"users\[test\].exec.apiVersion is not set"),
        (
            "user",
            {"exec": {"command": "x", "apiVersion": f"{V1}alpha1"}},
            r"apiVersion: expected .*/v1 or .*beta1",
        ),
        (
            "user",
            {"exec": {"command": "x", "apiVersion": V1, "interactiveMode": "Always"}},
            r"exec.interactiveMode: the plugin needs a terminal",
        ),
        ("cluster", {"server": ""}, r"clusters\[test\].server is not set"),
        ("cluster", {"server": "ftp://a"}, r"clusters\[test\].server: expected http://HOST:PORT or https://HOST:PORT"),
        ("cluster", {"server": "https://[::1"}, r"server: expected http://HOST:PORT or https://HOST:PORT, got 'https"),
        ("cluster", {"server": "https://a:99999"}, r"server: expected http://HOST:PORT or https"),
        ("cluster", {"server": "https://a b"}, r"server: expected http://HOST:PORT or https"),
        ("cluster", {"server": "https://me:hush@a"}, r"server: expected .* without a user name or password"),
        ("cluster", {"proxy-url": "socks5://me:hush@a:1"}, r"proxy-url: expected http://.*, got socks5://"),
        (
            "cluster",
            {"server": "https://a..b:6443"},
            r"server: expected .* or https://HOST:PORT, got 'https://a..b:6443'",
        ),
        (
            "cluster",
            {"server": f"https://{'a' * 64}.test"},
            r"server: expected http://HOST:PORT or https://HOST:PORT, got",
        ),
        ("cluster", {"proxy-url": "http://.a:1"}, r"proxy-url: expected http://HOST:PORT, got 'http://.a:1'"),
        ("cluster", {"tls-server-name": "a..b"}, r"tls-server-name: expected the name of a host, got 'a..b'"),
        ("cluster", {"proxy-url": "https://a:1"}, r"proxy-url: expected http://HOST:PORT, got https://"),
        ("cluster", {"insecure-skip-tls-verify": "yes"}, r"insecure-skip-tls-verify: expected true or false, got text"),
        ("cluster", {"insecure-skip-tls-verify": True, "certificate-authority-data": "AAAA"}, r"drop one"),
        (
            "cluster",
            {"certificate-authority-data": "hush"},
            r"authority-data: expected certificates in PEM",
        ),
        ("context", {"cluster": "none"}, r"contexts\[test\].cluster names 'none', .* among its clusters: test"),
        ("context", {"user": "none"}, r"contexts\[test\].user names 'none', which is not among its users: test"),
        ("context", {"namespace": "../x"}, r"contexts\[test\]: expected the name of a namespace, got '../x'"),
        ("top", {"current-context": None}, r"has no current-context; pass context=, one of other, test"),
        ("top", {"current-context": "x"}, r"current-context names 'x', .* among its contexts: other, test"),
        ("top", {"kind": "Pod"}, r"expected kind 'Config', got 'Pod'; is it a kubeconfig\?"),
        ("top", {"users": {"test": {"token": "hush"}}}, r"users: expected a list, got a mapping"),
        ("top", {"users": ["hush"]}, r"users\[0\]: expected a mapping, got text"),
        ("top", {"users": [{"name": "a"}, {"name": "a"}]}, r"'a' is listed twice in users"),
    ],
)
def test_messages_name_the_field(server: ApiServer, part: str, fields: dict[str, Any], message: str) -> None:
    """A value that cannot be used raises an error with file, field and what was expected, and without any secret."""
    if part == "user" and "exec" in fields:
        write_kubeconfig(server.kubeconfig, server.url, user=fields)
    elif part == "cluster" and fields.get("server", "").startswith("https"):
        write_kubeconfig(server.kubeconfig, fields["server"])
    else:
        if part == "cluster" and "certificate-authority-data" in fields:
            fields = {"server": "https://127.0.0.1:1", **fields}
        edit(server.kubeconfig, **{part: fields})
    found = message_of(server.kubeconfig)
    assert re.search(message, found), found
    assert found.startswith(f"cannot use the kubeconfig {server.kubeconfig}")
    assert "hush" not in found
    assert "12345" not in found


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff\xfe", "expected text in UTF-8"),
        (b"users: [{name: a, user: {token: 'hush", "expected JSON or YAML"),
        (b"a: 1\n---\nb: 2\n", "expected one YAML document"),
        (b"a: 1\na: 2\n", "expected YAML without duplicate keys at line 2"),
    ],
)
def test_file_that_is_no_kubeconfig(tmp_path: Path, data: bytes, message: str) -> None:
    """A file that cannot be read as YAML raises an error with its path and the reason, and without its text."""
    path = tmp_path / "broken"
    path.write_bytes(data)
    found = message_of(path)
    assert f"{path}: {message}" in found
    assert "hush" not in found


def test_a_file_over_the_limit_is_refused(server: ApiServer, tmp_path: Path) -> None:
    """A kubeconfig or a token file of more than 1 MiB is refused by its name; one of 1 MiB is read whole."""
    token = tmp_path / "token"
    token.write_bytes(b"granted".ljust(2**20))
    path = write_kubeconfig(server.kubeconfig, server.url, user={"tokenFile": str(token)})
    path.write_bytes(path.read_bytes().ljust(2**20, b"\n"))
    assert read(path) == RATE
    assert server.requests[-1].headers["authorization"] == "Bearer granted"
    token.write_bytes(b"granted".ljust(2**20 + 1))
    assert message_of(path).endswith(f"users[test].tokenFile: {token} is larger than 1 MiB")
    path.write_bytes(path.read_bytes() + b"\n")
    assert message_of(path) == f"cannot use the kubeconfig: {path} is larger than 1 MiB"


# --- credentials


def test_impersonation(server: ApiServer) -> None:
    """The user, uid, groups and extra fields to impersonate go with every request, escaped as kubectl does."""
    seen: list[str] = []

    def answer(connection: Connection, request: Request) -> None:
        seen.extend(f"{name}: {value}" for name, value in request.headers.items() if name.startswith("impersonate"))
        connection.answer(200, server.listing(server.item()))

    groups = {"as-groups": ["dev", "ops"], "as-user-extra": {"acme.com/Scope %": ["a", "b"], "plain": ["c"]}}
    edit(server.kubeconfig, user={"as": "jürgen", "as-uid": "42", **groups})
    server.on_list(answer)
    read(server.kubeconfig)
    assert seen == [
        "impersonate-user: jürgen",
        "impersonate-uid: 42",
        "impersonate-group: dev, ops",
        "impersonate-extra-acme.com%2fscope%20%25: a, b",
        "impersonate-extra-plain: c",
    ]


@pytest.mark.parametrize("user", [{"as": "a\nb"}, {"token": "hush\nhush"}, {"as": "a", "as-groups": ["hush\r\nX: y"]}])
def test_what_no_header_can_hold(server: ApiServer, user: dict[str, Any]) -> None:
    """A credential with a line end is refused before any request, and the error does not repeat its text."""
    edit(server.kubeconfig, user=user)
    message = message_of(server.kubeconfig)
    assert "users[test]: the credentials cannot be sent: " in message
    assert message.endswith("must be one line of text")
    assert "hush" not in message
    assert server.requests == []


def test_token_file_before_token(server: ApiServer, tmp_path: Path) -> None:
    """A token file wins over a token, which is used when the file cannot be read."""
    edit(server.kubeconfig, user={"tokenFile": "token"})
    (tmp_path / "token").write_text("second\n")
    read(server.kubeconfig)
    assert server.requests[-1].headers["authorization"] == "Bearer second"
    (tmp_path / "token").unlink()
    read(server.kubeconfig)
    assert server.requests[-1].headers["authorization"] == "Bearer first"


def test_basic_authentication(server: ApiServer) -> None:
    """A user name is sent with its password, or with an empty one if there is none."""
    for user, sent in (({"username": "me", "password": "pß"}, "me:pß"), ({"username": "me"}, "me:")):
        write_kubeconfig(server.kubeconfig, server.url, user=user)
        read(server.kubeconfig)
        assert server.requests[-1].headers["authorization"] == "Basic " + base64.b64encode(sent.encode()).decode()


# --- TLS and proxies


@contextlib.contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """
    Accept one connection, answer its first bytes with *answer*, and close it; yield the port.
    """

    def serve() -> None:
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.recv(65536)
            answer(accepted)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(DEADLINE_SECONDS)


def test_tls_server_name(secure: ApiServer, tmp_path: Path, authority: trustme.CA) -> None:
    """The certificate is checked against tls-server-name, which is also the name that the handshake asks for."""
    names: list[str | None] = []
    assert secure._context is not None
    authority.issue_cert("api.internal").configure_cert(secure._context)
    secure._context.sni_callback = lambda _socket, name, _context: names.append(name)
    with pytest.raises(SourceError, match=r"certificate is refused: .*; check .* tls-server-name"):
        read(secure.kubeconfig)
    edit(secure.kubeconfig, cluster={"tls-server-name": "api.internal"})
    assert read(secure.kubeconfig) == RATE
    assert names[-1] == "api.internal"


def test_tls_server_name_through_a_proxy(secure: ApiServer, tmp_path: Path, authority: trustme.CA) -> None:
    """Through a proxy, too, the certificate is checked against tls-server-name; the proxy gets its password."""
    asked: list[Request] = []
    assert secure._context is not None
    authority.issue_cert("api.internal").configure_cert(secure._context)
    proxy = ApiServer(tmp_path / "unused")

    def tunnel(connection: Connection, request: Request) -> None:
        asked.append(request)
        connection.answer(200, b"", {"Content-Length": "0"})
        connection.secure(secure._context)  # type: ignore[arg-type]  # it has one, as asserted above
        inner = connection.read_request()
        assert inner is not None
        secure._answer(connection, inner)

    proxy.on_list(tunnel)
    fields = {"proxy-url": f"http://me:hush@127.0.0.1:{proxy.port}", "tls-server-name": "api.internal"}
    edit(secure.kubeconfig, cluster={"server": "https://cluster.test", **fields})
    try:
        assert read(secure.kubeconfig) == RATE
        (connect,) = asked
        assert connect.path == "cluster.test:443"
        assert connect.headers["proxy-authorization"] == "Basic " + base64.b64encode(b"me:hush").decode()
    finally:
        proxy.close()


def test_ipv6_address_through_a_proxy(secure: ApiServer, tmp_path: Path, authority: trustme.CA) -> None:
    """A proxy gets an IPv6 address in brackets, with and without a tunnel; TLS checks the bare address."""
    assert secure._context is not None
    authority.issue_cert("fd00::1").configure_cert(secure._context)
    proxy = ApiServer(tmp_path / "unused")
    asked = []

    def tunnel(connection: Connection, request: Request) -> None:
        asked.append((request.path, request.headers["host"]))
        connection.answer(200, b"", {"Content-Length": "0"})
        connection.secure(secure._context)  # type: ignore[arg-type]  # it has one, as asserted above
        inner = connection.read_request()
        assert inner is not None
        asked.append(inner.headers["host"])
        secure._answer(connection, inner)

    proxy.on_list(tunnel)
    edit(secure.kubeconfig, cluster={"server": "https://[fd00::1]:6443", "proxy-url": proxy.url})
    try:
        assert read(secure.kubeconfig) == RATE
        proxy.put(RATE)
        write_kubeconfig(secure.kubeconfig, "http://[fd00::1]:8080", proxy_url=proxy.url)
        assert read(secure.kubeconfig) == RATE
    finally:
        proxy.close()
    assert asked == [("[fd00::1]:6443", "[fd00::1]:6443"), "[fd00::1]:6443"]
    assert proxy.requests[-1].target.startswith("http://[fd00::1]:8080/api/v1/")


def test_ipv6_address_without_a_proxy(tmp_path: Path, authority: trustme.CA) -> None:
    """A server at an IPv6 address can be read, and its certificate is checked against the address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("::1").configure_cert(context)
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this system has no IPv6")
    server = ApiServer(tmp_path / "unused", context)
    server.put(RATE)
    fields = {"certificate_authority_data": encoded(authority.cert_pem)}
    path = write_kubeconfig(tmp_path / "six", f"https://[::1]:{listener.getsockname()[1]}", **fields)
    with listener:
        serving = threading.Thread(target=lambda: server._serve(Connection(server, listener.accept()[0])))
        serving.start()
        try:
            assert read(path) == RATE
        finally:
            serving.join(DEADLINE_SECONDS)
            server.close()


def test_proxy_url_goes_before_the_environment(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy in the kubeconfig is used whatever HTTP_PROXY and NO_PROXY say, as in kubectl."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "*")
    write_kubeconfig(server.kubeconfig, "http://cluster.test:80", proxy_url=server.url)
    assert read(server.kubeconfig) == RATE
    assert server.requests[-1].headers["host"] == "cluster.test"


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("me:p%C3%A4ss", "me:päss"),
        ("mé:päss", "mé:päss"),
        ("m%20e:p%40%3A", "m e:p@:"),
        (":hush", ":hush"),
        ("me", "me:"),
    ],
)
@pytest.mark.parametrize("by_environment", [False, True])
def test_credentials_of_a_proxy(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch, given: str, sent: str, by_environment: bool
) -> None:
    """The user name and the password in a proxy's URL may have any character, and either may be empty."""
    proxy = server.url.replace("//", f"//{given}@")
    write_kubeconfig(server.kubeconfig, "http://cluster.test:80", **({} if by_environment else {"proxy_url": proxy}))
    if by_environment:
        monkeypatch.setenv("HTTP_PROXY", proxy)
    assert read(server.kubeconfig) == RATE
    expected = base64.b64encode(sent.encode()).decode()
    assert server.requests[-1].headers["proxy-authorization"] == f"Basic {expected}"


def test_an_unexpected_error_of_the_configuration_is_not_quoted(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected exception while the connection is configured is reported by type and line, without its text."""

    def fail(*_: object, **__: object) -> None:
        raise TypeError("hush")

    monkeypatch.setattr(_api, "_proxy", fail)
    with pytest.raises(
        SourceError, match=r"stopped the request: TypeError in fail, line .*; please report it"
    ) as caught:
        read(server.kubeconfig)
    assert "hush" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "proxy", ["socks5://me:hush@a:1", "http://a:99999", "http://[a", "ftp://a", "http://me:hush\udce4@a:1"]
)
def test_proxy_of_the_environment_that_cannot_be_used(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    """A proxy in HTTP_PROXY that dflag cannot use is refused by the name of the variable, without its password."""
    write_kubeconfig(server.kubeconfig, "http://cluster.test:80")
    monkeypatch.setenv("HTTP_PROXY", proxy)
    message = message_of(server.kubeconfig)
    assert message.startswith("HTTP_PROXY: expected http://HOST:PORT")
    assert "hush" not in message


def test_no_proxy_with_a_network(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose address lies in a network of NO_PROXY, or is the loopback, is asked without the proxy."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "example.com, 10.0.0.0/8,fd00::/8")
    for host in ("10.1.2.3", "[fd00::1]", "[::1]", "127.9.9.9", "localhost"):
        write_kubeconfig(server.kubeconfig, f"http://{host}:{server.port}")
        assert read(server.kubeconfig) == RATE
        assert server.requests[-1].headers["host"] == f"{host}:{server.port}"


def test_disable_compression(server: ApiServer) -> None:
    """The server is asked for compressed answers unless the kubeconfig sets disable-compression."""
    read(server.kubeconfig)
    assert "gzip" in server.requests[-1].headers["accept-encoding"]
    edit(server.kubeconfig, cluster={"disable-compression": True})
    read(server.kubeconfig)
    assert server.requests[-1].headers["accept-encoding"] == "identity"


def test_server_without_a_scheme(server: ApiServer, secure: ApiServer) -> None:
    """A server without a scheme is asked over TLS if the kubeconfig has an authority, else without, as in kubectl."""
    write_kubeconfig(server.kubeconfig, f"127.0.0.1:{server.port}")
    assert read(server.kubeconfig) == RATE
    edit(secure.kubeconfig, cluster={"server": f"127.0.0.1:{secure.port}"})
    assert read(secure.kubeconfig) == RATE


def test_a_scheme_in_capitals_is_the_same_scheme(secure: ApiServer, authority: trustme.CA) -> None:
    """With HTTPS:// the authority, the client's certificate and insecure-skip-tls-verify count as with https://."""
    noted = subjects(secure)
    path = with_data(secure, authority)
    edit(path, cluster={"server": secure.url.replace("https", "HTTPS")})
    assert read(path) == RATE
    assert ("DNS", "client.test") in noted[0]["subjectAltName"]
    write_kubeconfig(path, secure.url.replace("https", "Https"), insecure_skip_tls_verify=True)
    assert read(path) == RATE


@pytest.mark.parametrize("scheme", ["https", "HTTPS"])
def test_no_token_for_a_server_that_only_the_system_trusts(
    secure: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """A server that the kubeconfig's authority has not certified gets no request, even if the system trusts it."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    other = encoded(trustme.CA().cert_pem)
    url = secure.url.replace("https", scheme)
    message = message_of(write_kubeconfig(secure.kubeconfig, url, certificate_authority_data=other))
    assert "the API server's certificate is refused" in message
    assert secure.requests == []


def test_server_without_tls(tmp_path: Path) -> None:
    """A server at an https URL that does not speak TLS is a wrong set-up, and the error suggests http."""

    def answer(accepted: socket.socket) -> None:
        # This is the answer, not encrypted, of a server in Go.
        accepted.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTPS request to an HTTP server.\n")

    with answering(answer) as port:
        path = write_kubeconfig(tmp_path / "plain", f"https://127.0.0.1:{port}")
        expected = "TLS connection to the API server https://.* failed: wrong version number; does it speak http://"
        assert re.search(expected, message_of(path))


@pytest.mark.parametrize("wait_seconds", [0.0, 0.3], ids=["before it has gone", "after it has gone"])
def test_server_that_requires_a_certificate(
    secure: ApiServer, monkeypatch: pytest.MonkeyPatch, wait_seconds: float
) -> None:
    """A server that requires a client's certificate is a wrong set-up, also if it closes before the request is sent."""
    assert secure._context is not None
    secure._context.verify_mode = ssl.CERT_REQUIRED
    send = ssl.SSLSocket.sendall

    def slowly(self: ssl.SSLSocket, *arguments: Any) -> None:
        threading.Event().wait(wait_seconds)
        send(self, *arguments)

    monkeypatch.setattr(ssl.SSLSocket, "sendall", slowly)
    assert re.search("TLS connection to the API server .* failed: .*certificate", message_of(secure.kubeconfig))


def test_server_that_breaks_off_the_handshake(tmp_path: Path) -> None:
    """A connection that ends during the handshake is ``unreachable``, because the server may be starting."""
    with answering(lambda _: None) as port:
        path = write_kubeconfig(tmp_path / "broken", f"https://127.0.0.1:{port}")
        with pytest.raises(SourceError, match="cannot be reached: ") as caught:
            read(path)
    assert caught.value.unreachable


@pytest.mark.parametrize(("status", "passing"), [(407, False), (403, False), (502, True)])
def test_proxy_that_refuses(tmp_path: Path, status: int, passing: bool) -> None:
    """A proxy's 403 or 407 is a wrong set-up; its 502 is ``unreachable``, because the server may come back."""
    proxy = ApiServer(tmp_path / "unused")
    proxy.on_list(lambda connection, _: connection.answer(status, b""))
    path = write_kubeconfig(tmp_path / "behind", "https://cluster.test", proxy_url=proxy.url)
    try:
        with pytest.raises(SourceError, match=f"the proxy before https://cluster.test answered {status}") as caught:
            read(path)
        assert caught.value.unreachable is passing
    finally:
        proxy.close()


# --- certificates


def with_data(secure: ApiServer, authority: trustme.CA) -> Path:
    """
    Write a kubeconfig that holds its certificates itself.
    """
    client = authority.issue_cert("client.test")
    data = {
        "client-certificate-data": encoded(client.cert_chain_pems[0]),
        "client-key-data": encoded(client.private_key_pem),
    }
    return write_kubeconfig(
        secure.kubeconfig, secure.url, certificate_authority_data=encoded(authority.cert_pem), user=data
    )


def subjects(secure: ApiServer) -> list[Any]:
    """
    Return a list to which the server adds the client's certificate at the next list request.
    """
    noted: list[Any] = []

    def answer(connection: Connection, request: Request) -> None:
        assert isinstance(connection._socket, ssl.SSLSocket)
        noted.append(connection._socket.getpeercert())
        connection.answer(200, secure.listing(secure.item()))

    secure.on_list(answer)
    return noted


@pytest.mark.parametrize("without", ["a writable disk", "files in memory"])
def test_certificate_data_needs_no_disk(
    secure: ApiServer, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, without: str
) -> None:
    """Certificates in the kubeconfig are used with a read-only /tmp, or on a system without files in memory."""
    path, noted = with_data(secure, authority), subjects(secure)
    if without == "a writable disk":
        if not hasattr(os, "memfd_create"):
            pytest.skip("this system has no files in memory")
        monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    else:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    assert read(path) == RATE
    assert ("DNS", "client.test") in noted[0]["subjectAltName"]


def test_nowhere_to_put_a_certificate(
    secure: ApiServer, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the client's certificate can be put neither into memory nor onto disk, the error says what to set."""
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    monkeypatch.delattr(os, "memfd_create", raising=False)
    message = message_of(with_data(secure, authority))
    assert "OpenSSL reads certificates from files, and none can be made here" in message
    assert message.endswith("; set TMPDIR")


def bare_authority(tmp_path: Path) -> tuple[bytes, ssl.SSLContext]:
    """
    Return an authority without key identifiers, and the TLS context of a server with its certificate.
    """
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = datetime.datetime.now(datetime.UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in ("bare-ca", "server")]
    made = []
    for number, extensions in enumerate(
        [
            [x509.BasicConstraints(ca=True, path_length=None)],
            [x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])],
        ]
    ):
        builder = x509.CertificateBuilder().subject_name(names[number]).issuer_name(names[0])
        builder = builder.public_key(keys[number].public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=1))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        made.append(builder.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    plain, form = serialization.NoEncryption(), serialization.PrivateFormat.PKCS8
    pair = tmp_path / "pair.pem"
    pair.write_bytes(made[1] + keys[1].private_bytes(serialization.Encoding.PEM, form, plain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    return made[0], context


def test_authority_without_key_identifiers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An authority without key identifiers is accepted, as in kubectl, although Python 3.13 refuses it by default."""
    pem, context = bare_authority(tmp_path)
    make = ssl.create_default_context

    def strict(*arguments: Any, **options: Any) -> ssl.SSLContext:
        made = make(*arguments, **options)
        made.verify_flags |= ssl.VERIFY_X509_STRICT  # as of Python 3.13
        return made

    monkeypatch.setattr(ssl, "create_default_context", strict)
    server = ApiServer(tmp_path / "bare", context)
    server.put(RATE)
    edit(server.kubeconfig, cluster={"certificate-authority-data": encoded(pem)})
    try:
        assert read(server.kubeconfig) == RATE
    finally:
        server.close()


def test_intermediate_authority_is_trusted(tmp_path: Path, authority: trustme.CA) -> None:
    """A bundle that holds only an intermediate authority is enough, as in kubectl."""
    between = authority.create_child_ca()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    between.issue_cert("127.0.0.1").configure_cert(context)
    server = ApiServer(tmp_path / "between", context)
    server.put(RATE)
    comment = "Zertifikat für Zürich\n".encode("latin-1")
    edit(server.kubeconfig, cluster={"certificate-authority-data": encoded(comment + between.cert_pem.bytes())})
    try:
        assert read(server.kubeconfig) == RATE
    finally:
        server.close()


# --- exec plugins


PROGRAM = """#!{python}
import json, os, sys
call = [os.environ.get("KUBERNETES_EXEC_INFO"), sys.stdin.read(), os.environ.get("EXTRA"), sys.argv[1:]]
with open({log!r}, "a") as log:
    log.write(json.dumps(call) + "\\n")
{rest}
"""


def plugin(tmp_path: Path, rest: str) -> Path:
    """
    Write a plugin that logs how it was called, and return its path.
    """
    path = tmp_path / "plugin"
    path.write_text(PROGRAM.format(python=sys.executable, log=str(tmp_path / "calls"), rest=rest))
    path.chmod(0o755)
    return path


def printing(status: dict[str, Any], version: str | None = V1) -> str:
    answer = {"kind": "ExecCredential", "apiVersion": version, "status": status}
    return f"print({json.dumps({name: value for name, value in answer.items() if value is not None})!r})"


def calls(tmp_path: Path) -> list[Any]:
    return [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]


def with_plugin(server: ApiServer, **fields: Any) -> Path:
    given = {"apiVersion": V1, "command": "./plugin", "interactiveMode": "Never", **fields}
    return write_kubeconfig(server.kubeconfig, server.url, user={"exec": given})


@pytest.mark.parametrize("version", [V1, f"{V1}beta1"])
def test_plugin_beside_the_kubeconfig(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """A relative path to a plugin starts at the kubeconfig; the plugin gets its environment, arguments and request."""
    plugin(tmp_path, printing({"token": "granted"}, version))
    environment = [{"name": "EXTRA", "value": "yes"}]
    path = with_plugin(server, apiVersion=version, env=environment, args=["a b", "c"], interactiveMode="IfAvailable")
    monkeypatch.chdir("/")
    assert read(path) == RATE
    assert server.requests[-1].headers["authorization"] == "Bearer granted"
    ((question, stdin, extra, arguments),) = calls(tmp_path)
    assert json.loads(question) == {"kind": "ExecCredential", "apiVersion": version, "spec": {"interactive": False}}
    assert (stdin, extra, arguments) == ("", "yes", ["a b", "c"])


def test_plugin_is_told_of_the_cluster(secure: ApiServer, tmp_path: Path) -> None:
    """With provideClusterInfo the plugin gets the cluster's address, TLS settings and the plugin's own settings."""
    plugin(tmp_path, printing({"token": "granted"}))
    path = with_plugin(secure, provideClusterInfo=True)
    extensions = [
        {"name": "other", "extension": 1},
        {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "x"}},
    ]
    edit(path, cluster={"certificate-authority": "ca.pem", "tls-server-name": "127.0.0.1", "extensions": extensions})
    assert read(path) == RATE
    ((question, *_),) = calls(tmp_path)
    assert json.loads(question)["spec"]["cluster"] == {
        "server": secure.url,
        "tls-server-name": "127.0.0.1",
        "certificate-authority-data": base64.b64encode((tmp_path / "ca.pem").read_bytes()).decode(),
        "config": {"audience": "x"},
    }


def test_plugin_leaves_standard_input_alone(server: ApiServer, tmp_path: Path) -> None:
    """A plugin that reads standard input gets nothing, and the input of the program is left unread."""
    plugin(tmp_path, printing({"token": "granted"}))
    reading, writing = os.pipe()
    before = os.dup(0)
    try:
        os.dup2(reading, 0)
        os.write(writing, b"for the program\n")
        assert read(with_plugin(server)) == RATE
        assert os.read(0, 100) == b"for the program\n"
    finally:
        os.dup2(before, 0)
        for descriptor in (reading, writing, before):
            os.close(descriptor)
    assert calls(tmp_path)[0][1] == ""


def test_plugin_on_the_path(server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin without a path is looked for on the program's PATH, not on the PATH that the kubeconfig sets for it."""
    plugin(tmp_path, printing({"token": "granted"}))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert read(with_plugin(server, command="plugin", env=[{"name": "PATH", "value": "/nowhere"}])) == RATE


def test_plugin_that_grants_a_certificate(secure: ApiServer, tmp_path: Path, authority: trustme.CA) -> None:
    """A plugin may print a certificate and its key instead of a token."""
    client = authority.issue_cert("client.test")
    certificate, key = client.cert_chain_pems[0].bytes().decode(), client.private_key_pem.bytes().decode()
    plugin(tmp_path, printing({"clientCertificateData": certificate, "clientKeyData": key}))
    noted = subjects(secure)
    path = with_plugin(secure)
    edit(path, cluster={"certificate-authority": "ca.pem"})
    assert read(path) == RATE
    assert ("DNS", "client.test") in noted[0]["subjectAltName"]


def test_plugin_is_asked_again_when_its_token_expires(server: ApiServer, flags: FlagRegistry, tmp_path: Path) -> None:
    """When the token of a plugin has expired the plugin is called again for the next watch."""
    rate = flags.dyn_int("rate_limit", 50)
    plugin(tmp_path, printing({"token": "granted", "expirationTimestamp": "2020-01-01T00:00:00Z"}))
    source = KubernetesSource("web", "default", kubeconfig=with_plugin(server))
    with Updater.setup(flags, source):
        server.await_watches(1)
        before = len(calls(tmp_path))
        server.end_watches()
        server.await_watches(2)
        assert len(calls(tmp_path)) > before
        assert rate.get() == 60


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("print('hush')", "printed no ExecCredential in JSON"),
        ("print('[]')", "printed no ExecCredential in JSON"),
        ('print(\'{"kind": "Status"}\')', "printed no ExecCredential in JSON"),
        (printing({}), "printed neither status.token nor status.clientCertificateData"),
        (printing({"token": 5}), "printed a status.token that is not a text"),
        (printing({"clientKeyData": "x"}), "printed a certificate without its key, or"),
        (
            printing({"token": "hush", "expirationTimestamp": "soon"}),
            "printed a status.expirationTimestamp that is no",
        ),
        (printing({"token": "hush"}, "other/v1"), "printed an ExecCredential of a version other than v1 and v1beta1"),
        ("sys.exit('first\\nlog in: run acme login')", "ended with status 1: log in: run acme login; see https://acme"),
        ("os.kill(os.getpid(), 9)", "ended with status -9: it said nothing"),
    ],
)
def test_plugin_that_fails(server: ApiServer, tmp_path: Path, rest: str, message: str) -> None:
    """The error says in words how a plugin failed, without its standard output and without control characters."""
    plugin(tmp_path, rest)
    found = message_of(with_plugin(server, installHint="see https://acme\x1b[31m"))
    assert f"users[test].exec: '{tmp_path}/plugin' {message}" in found
    assert "hush" not in found
    assert "\x1b" not in found


def test_plugin_that_is_not_installed(server: ApiServer) -> None:
    """A plugin that is not installed is named in the error, with the kubeconfig's hint how to install it."""
    message = message_of(with_plugin(server, command="no-such-plugin", installHint="apt install it"))
    assert message.endswith("users[test].exec: there is no program 'no-such-plugin' on the PATH; apt install it")


@pytest.fixture(name="waiting")
def _waiting(tmp_path: Path) -> Path:
    """
    Write a plugin that waits for a process that it started; both hold a lock on the returned file until they end.

    The file has a text as soon as the process has been started.
    """
    path = tmp_path / "held"
    path.touch()
    plugin(
        tmp_path,
        "import fcntl, subprocess\n"
        f"held = open({str(path)!r}, 'w')\n"
        "fcntl.flock(held, fcntl.LOCK_EX)\n"
        "helper = subprocess.Popen(['sleep', '600'], pass_fds=[held.fileno()])\n"
        "print(helper.pid, file=held, flush=True)\n"
        "helper.wait()",
    )
    return path


def is_over(waiting: Path) -> bool:
    """
    Return whether the plugin and the process that it started have ended.
    """
    with waiting.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_plugin_that_hangs(server: ApiServer, waiting: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin that waits for a process that it started is an error at its deadline, and both are ended."""
    monkeypatch.setattr(_credentials, "PLUGIN_SECONDS", 1.0)
    began = time.monotonic()
    assert "did not end within 1 s" in message_of(with_plugin(server))
    assert time.monotonic() - began < DEADLINE_SECONDS
    assert eventually(lambda: is_over(waiting))


def test_stops_while_a_plugin_runs(server: ApiServer, waiting: Path) -> None:
    """``close()`` ends the thread that waits for a plugin, within a second, and the plugin with its processes."""
    watch = KubernetesSource("web", "default", kubeconfig=with_plugin(server)).watch(lambda: None)
    assert eventually(waiting.read_text)
    began = time.monotonic()
    watch.close()
    assert time.monotonic() - began < 1.0
    assert "dflag-kubernetes" not in {thread.name for thread in threading.enumerate()}
    assert eventually(lambda: is_over(waiting))


@pytest.fixture(name="helper")
def _helper(tmp_path: Path) -> Iterator[str]:
    """Yield the first lines of a plugin that leaves a process in another session, which holds its output open."""
    yield (
        "import subprocess\n"
        "helper = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        f"open({str(tmp_path / 'helper')!r}, 'w').write(str(helper.pid))\n"
    )
    os.kill(int((tmp_path / "helper").read_text()), signal.SIGKILL)


def test_plugin_that_leaves_a_process_behind(server: ApiServer, tmp_path: Path, helper: str) -> None:
    """A plugin is over when it ends, even if a process that it left behind holds its output open."""
    plugin(tmp_path, helper + printing({"token": "granted"}))
    began = time.monotonic()
    assert read(with_plugin(server)) == RATE
    plugin(
        tmp_path, helper.replace("['sleep', '600']", "['sleep', '600'], stdout=subprocess.DEVNULL") + "sys.exit('no')"
    )
    os.kill(int((tmp_path / "helper").read_text()), signal.SIGKILL)
    assert "ended with status 1: no" in message_of(with_plugin(server))
    assert time.monotonic() - began < DEADLINE_SECONDS


def test_stops_while_a_plugin_waits_for_a_process_in_another_session(
    server: ApiServer, tmp_path: Path, helper: str
) -> None:
    """``close()`` ends the thread that waits for a plugin, even if that waits for a process in another session."""
    plugin(tmp_path, helper + "helper.wait()")
    watch = KubernetesSource("web", "default", kubeconfig=with_plugin(server)).watch(lambda: None)
    assert eventually(lambda: (tmp_path / "helper").exists() and (tmp_path / "helper").read_text())
    watch.close()
    assert "dflag-kubernetes" not in {thread.name for thread in threading.enumerate()}


def test_plugin_that_prints_much(server: ApiServer, tmp_path: Path) -> None:
    """A plugin's output is read to its end, even 1 MiB of it, and even if the plugin ends after it has closed it."""
    rest = "sys.stderr.write('x' * 2**20)\nprint(' ' * 2**20)\n" + printing({"token": "granted"})
    plugin(tmp_path, f"{rest}\nsys.stdout.flush(); os.close(1); os.close(2)\nimport time; time.sleep(0.2); os._exit(0)")
    assert read(with_plugin(server)) == RATE
    assert server.requests[-1].headers["authorization"] == "Bearer granted"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_while_a_plugin_runs(server: ApiServer, tmp_path: Path) -> None:
    """A child that is forked while another thread waits for a plugin holds none of the plugin's pipes."""
    from .test_fork import Child

    plugin(tmp_path, "import time; time.sleep(600)")
    before = pipes()
    watch = KubernetesSource("web", "default", kubeconfig=with_plugin(server)).watch(lambda: None)
    try:
        assert eventually((tmp_path / "calls").exists)
        assert len(pipes() - before) == 2

        def child() -> None:
            assert pipes() == before

        Child(child).check()
    finally:
        watch.close()


def pipes() -> set[str]:
    names = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
    return {link for link in map(os.readlink, filter(os.path.exists, names)) if link.startswith("pipe:")}


def test_stops_while_a_plugin_starts(server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ``close()`` at the moment in which a plugin is started also ends the thread that starts it, and the plugin."""
    plugin(tmp_path, "import time; time.sleep(600)")
    starting, go = threading.Event(), threading.Event()
    start, started = subprocess.Popen, list[subprocess.Popen[bytes]]()

    def slowly(*arguments: Any, **options: Any) -> Any:
        starting.set()
        assert go.wait(DEADLINE_SECONDS)
        started.append(start(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", slowly)
    watch = KubernetesSource("web", "default", kubeconfig=with_plugin(server)).watch(lambda: None)
    assert starting.wait(DEADLINE_SECONDS)
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "dflag-kubernetes"]
    watch.close()
    go.set()
    thread.join(DEADLINE_SECONDS)
    assert not thread.is_alive()
    assert [process.returncode for process in started] == [-signal.SIGKILL]


def test_a_plugin_ends_with_what_waits_for_it(server: ApiServer, waiting: Path) -> None:
    """An exception in the thread that waits for a plugin, such as that of Ctrl-C, ends the wait and the plugin."""
    source = KubernetesSource("web", "default", kubeconfig=with_plugin(server))

    class Alarm(BaseException):
        pass

    def ring(*_: object) -> None:
        if waiting.read_text():
            raise Alarm
        signal.setitimer(signal.ITIMER_REAL, 0.05)

    before, timer = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)
    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    began = time.monotonic()
    try:
        with pytest.raises(Alarm):
            source.read()
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - began < DEADLINE_SECONDS
    assert eventually(lambda: is_over(waiting))
