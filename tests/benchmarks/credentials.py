"""
Which kubeconfigs, accepted by kubectl, several clients of Kubernetes handle correctly, and the cost of their imports.

``python -m tests.benchmarks.credentials PYTHON`` prints a table in Markdown. PYTHON is an interpreter in an environment
with the clients: ``pip install kubernetes kubernetes_asyncio kr8s lightkube 'dflag[kubernetes]'``.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trustme
import yaml

from tests.integration._api_server import ApiServer, write_kubeconfig

if TYPE_CHECKING:
    from collections.abc import Callable

CLIENTS = {
    "dflag": "from dflag.sources import KubernetesSource; KubernetesSource('web', 'default').read()",
    "kubernetes": "from kubernetes import client, config; config.load_config(); "
    "client.CoreV1Api().list_namespaced_config_map('default', _request_timeout=5)",
    "kubernetes_asyncio": "import asyncio; from kubernetes_asyncio import client, config\n"
    "async def main():\n"
    "    await config.load_config()\n"
    "    async with client.ApiClient() as api:\n"
    "        await client.CoreV1Api(api).list_namespaced_config_map('default', _request_timeout=5)\n"
    "asyncio.run(main())",
    "kr8s": "import kr8s; list(kr8s.get('configmaps', namespace='default'))",
    "lightkube": "from lightkube import Client; from lightkube.resources.core_v1 import ConfigMap; "
    "list(Client().list(ConfigMap, namespace='default'))",
}
"""For each client, the code that lists the ConfigMaps of a namespace; for dflag, that reads one."""

IMPORTS = {
    "dflag": "import dflag.sources._api",
    "kubernetes": "from kubernetes import client, config; client.CoreV1Api",
    "kubernetes_asyncio": "from kubernetes_asyncio import client, config; client.CoreV1Api",
    "kr8s": "import kr8s",
    "lightkube": "import lightkube, lightkube.resources.core_v1",
}

COST = (
    "import sys, time; rss = lambda: int(open('/proc/self/statm').read().split()[1]) * 4096; "
    "before, began = rss(), time.process_time(); exec(sys.argv[1]); "
    "print(time.process_time() - began, rss() - before)"
)
"""Prints the cost of an import, in seconds of processor time and in bytes of resident memory."""

VERSION = "client.authentication.k8s.io/v1"
RUNS = 7
DEADLINE_SECONDS = 20


class Case:
    """
    One kubeconfig and the server that it names, which records its requests.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "kubeconfig"
        self.environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        self.environment |= {"KUBECONFIG": str(self.path), "PYTHONPATH": str(directory / "site")}
        self.authority = trustme.CA()
        self.authority.cert_pem.write_to_path(str(directory / "ca.pem"))
        self.server: Any = None

    def plain(self) -> None:
        self.server = ApiServer(self.path)
        self.server.put({"rate_limit": "60"})

    def secure(self, name: str = "127.0.0.1", *, by: trustme.CA | None = None, asks: bool = False) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        (by or self.authority).issue_cert(name).configure_cert(context)
        if asks:
            self.authority.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        self.server = ApiServer(self.path, context, self.directory / "ca.pem")
        self.server.put({"rate_limit": "60"})

    def edit(self, **changes: Any) -> None:
        document = yaml.safe_load(self.path.read_text())
        for part, fields in changes.items():
            document[f"{part}s"][0][part].update(fields)
        self.path.write_text(yaml.safe_dump(document))

    def plugin(self, before: str, status: dict[str, str], **fields: Any) -> None:
        answer = json.dumps({"kind": "ExecCredential", "apiVersion": VERSION, "status": status})
        program = self.directory / "plugin"
        program.write_text(f"#!{sys.executable}\nimport json, os, sys\n{before}\nprint({answer!r})\n")
        program.chmod(0o755)
        given = {"apiVersion": VERSION, "command": str(program), "interactiveMode": "Never", **fields}
        write_kubeconfig(self.path, self.server.url, authority=self.directory / "ca.pem", user={"exec": given})

    def was_asked(self) -> bool:
        return bool(self.server.requests)

    def was_asked_with(self, **headers: str) -> bool:
        found = self.server.requests[-1].headers if self.server.requests else {}
        return all(found.get(name.replace("_", "-")) == value for name, value in headers.items())


def several_files(case: Case) -> Callable[[], bool]:
    case.plain()
    first = case.directory / "first"
    first.write_text(yaml.safe_dump({"users": [{"name": "test", "user": {"token": "of-the-first"}}]}))
    case.environment["KUBECONFIG"] = f"{case.directory}/missing:{first}:{case.path}"
    return lambda: case.was_asked_with(authorization="Bearer of-the-first")


def proxy_url(case: Case) -> Callable[[], bool]:
    case.plain()
    case.edit(cluster={"proxy-url": case.server.url, "server": "http://cluster.test:80"})
    return case.was_asked


def no_proxy_network(case: Case) -> Callable[[], bool]:
    case.plain()
    case.environment |= {"HTTP_PROXY": "http://127.0.0.1:1", "http_proxy": "http://127.0.0.1:1"}
    case.environment |= {"NO_PROXY": "127.0.0.0/8", "no_proxy": "127.0.0.0/8"}
    return case.was_asked


def tls_server_name(case: Case) -> Callable[[], bool]:
    case.secure("api.internal")
    case.edit(cluster={"tls-server-name": "api.internal"})
    return case.was_asked


def impersonation(case: Case) -> Callable[[], bool]:
    case.plain()
    case.edit(user={"as": "me", "as-uid": "1", "as-groups": ["a"], "as-user-extra": {"k": ["v"]}})
    headers = {"impersonate_user": "me", "impersonate_uid": "1", "impersonate_group": "a", "impersonate_extra_k": "v"}
    return lambda: case.was_asked_with(**headers)


def relative_authority(case: Case) -> Callable[[], bool]:
    case.secure()
    case.edit(cluster={"certificate-authority": "ca.pem"})
    return case.was_asked


def intermediate_authority(case: Case) -> Callable[[], bool]:
    between = case.authority.create_child_ca()
    between.cert_pem.write_to_path(str(case.directory / "ca.pem"))
    case.secure(by=between)
    return case.was_asked


def read_only_disk(case: Case) -> Callable[[], bool]:
    case.secure(asks=True)
    client = case.authority.issue_cert("client.test")
    certificate, key, authority = (
        base64.b64encode(blob.bytes()).decode()
        for blob in (client.cert_chain_pems[0], client.private_key_pem, case.authority.cert_pem)
    )
    user = {"client-certificate-data": certificate, "client-key-data": key}
    write_kubeconfig(case.path, case.server.url, certificate_authority_data=authority, user=user)
    (case.directory / "site").mkdir()
    (case.directory / "site" / "sitecustomize.py").write_text("import tempfile; tempfile.tempdir = '/nonexistent'\n")
    return case.was_asked


def plugin_beside_the_file(case: Case) -> Callable[[], bool]:
    case.plain()
    case.plugin("", {"token": "granted"}, command="./plugin")
    return lambda: case.was_asked_with(authorization="Bearer granted")


def plugin_with_cluster_info(case: Case) -> Callable[[], bool]:
    case.plain()
    asked = "assert json.loads(os.environ['KUBERNETES_EXEC_INFO'])['spec']['cluster']['server']"
    case.plugin(asked, {"token": "granted"}, provideClusterInfo=True)
    return lambda: case.was_asked_with(authorization="Bearer granted")


def plugin_that_reads_input(case: Case) -> Callable[[], bool]:
    case.plain()
    case.plugin("sys.stdin.read()", {"token": "granted"})
    return lambda: case.was_asked_with(authorization="Bearer granted")


def plugin_with_certificate(case: Case) -> Callable[[], bool]:
    case.secure(asks=True)
    client = case.authority.issue_cert("client.test")
    certificate, key = client.cert_chain_pems[0].bytes().decode(), client.private_key_pem.bytes().decode()
    case.plugin("", {"clientCertificateData": certificate, "clientKeyData": key})
    return case.was_asked


def unknown_field(case: Case) -> Callable[[], bool]:
    case.plain()
    case.edit(user={"tokn": "x"})
    return lambda: not case.was_asked()


CASES = (
    several_files,
    proxy_url,
    no_proxy_network,
    tls_server_name,
    impersonation,
    relative_authority,
    intermediate_authority,
    read_only_disk,
    plugin_beside_the_file,
    plugin_with_cluster_info,
    plugin_that_reads_input,
    plugin_with_certificate,
    unknown_field,
)


def holds(python: str, client: str, build: Callable[[Case], Callable[[], bool]]) -> bool:
    """
    Return whether a client handles one kubeconfig, run from another directory and with an endless standard input.
    """
    with tempfile.TemporaryDirectory() as directory:
        case = Case(Path(directory))
        check = build(case)
        program = [python, "-c", CLIENTS[client]]
        options: dict[str, Any] = {"env": case.environment, "cwd": "/", "start_new_session": True}
        try:
            with subprocess.Popen(
                program, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options
            ) as process:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(DEADLINE_SECONDS)
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, 9)
            return check()
        finally:
            case.server.close()


def cost(python: str, client: str) -> tuple[float, float]:
    """
    Return the cost of importing a client: milliseconds of processor time, and MiB of resident memory.
    """
    runs = []
    for _ in range(RUNS):
        done = subprocess.run(
            [python, "-c", COST, IMPORTS[client]], capture_output=True, text=True, cwd="/", check=True
        )
        runs.append([float(part) for part in done.stdout.split()])
    seconds, size = (statistics.median(column) for column in zip(*runs, strict=True))
    return seconds * 1e3, size / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("python", help="an interpreter that has all clients")
    python = parser.parse_args().python
    print(f"| client | right, of {len(CASES)} | import | wrong |\n|---|---|---|---|")
    for client in CLIENTS:
        wrong = [build.__name__.replace("_", " ") for build in CASES if not holds(python, client, build)]
        milliseconds, mebibytes = cost(python, client)
        right = len(CASES) - len(wrong)
        print(f"| {client} | {right} | {milliseconds:.0f} ms, {mebibytes:.0f} MiB | {', '.join(wrong) or '-'} |")


if __name__ == "__main__":
    main()
