"""
The manifests of the examples at a real API server; runs only if ``DFLAG_TEST_KUBECONFIG`` names one.
"""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ._cluster import KUBECONFIG
from ._manifests import KUBECTL, MONITORING_KINDS, RECIPES, TIMEOUT_SECONDS, Manifest, render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [
    pytest.mark.skipif(not KUBECONFIG, reason="DFLAG_TEST_KUBECONFIG names no cluster"),
    pytest.mark.skipif(KUBECTL is None, reason="there is no kubectl"),
    pytest.mark.timeout(240),
]

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
NEEDS_A_KUBELET = {"exec", "logs", "port-forward"}


def kubectl(*arguments: str, stdin: str | None = None, status: int | None = 0) -> str:
    """Run kubectl against the cluster, and return what it printed; *status* None accepts any exit status."""
    done = subprocess.run(
        [str(KUBECTL), *arguments],
        input=stdin,
        env={**os.environ, "KUBECONFIG": KUBECONFIG},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert status in (None, done.returncode), f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(name="served", scope="module")
def _served() -> frozenset[str]:
    """Return the API versions that the server has, including those of the Prometheus operator."""
    kubectl("apply", "--filename", str(MONITORING_KINDS))
    kubectl("wait", "--for=condition=established", "--timeout=30s", "--filename", str(MONITORING_KINDS))
    return frozenset(kubectl("api-versions").split())


@pytest.fixture(name="namespace")
def _namespace() -> Iterator[str]:
    """Yield a namespace for one test, which enforces restricted pods if the server can."""
    name = f"dflag-test-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kubectl(
        "create",
        "--filename=-",
        stdin=json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}),
    )
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


def _older(each: Manifest, served: frozenset[str]) -> Manifest:
    """Return an object with the older fields and versions that servers before 1.21, 1.24 or 1.26 need."""
    if each["apiVersion"] in served and "policy/v1" in served:
        return each
    old = copy.deepcopy(each)
    if each["kind"] in ("PodDisruptionBudget", "CronJob"):
        old["apiVersion"] += "beta1"
    for below in _mappings(old):
        below.pop("podFailurePolicy", None)
        if "grpc" in below:
            below["tcpSocket"] = below.pop("grpc")
    return old


def _mappings(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for below in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _mappings(below)


@pytest.mark.parametrize("directory", [*RECIPES, "monitoring"])
def test_manifests_are_accepted(directory: str, namespace: str, served: frozenset[str]) -> None:
    """The server creates each object under strict validation, without an unknown field."""
    objects = [_older(each, served) for each in render(directory)]
    for each in objects:
        for subject in each.get("subjects", ()):
            if subject["kind"] == "ServiceAccount":
                subject["namespace"] = namespace
    apply = ("apply", "--validate=strict", "--namespace", namespace, "--filename=-")
    assert kubectl(*apply, stdin=yaml.safe_dump_all(objects)).count(" created") == len(objects)


def test_unknown_fields_are_refused(namespace: str, served: frozenset[str]) -> None:
    """Strict validation refuses a misspelt field, also in the kinds of the Prometheus operator."""
    for directory, kind in (("fastapi", "Deployment"), ("monitoring", "PodMonitor")):
        (each,) = (_older(found, served) for found in render(directory) if found["kind"] == kind)
        each["spec"]["selektor"] = {}
        apply = ("apply", "--validate=strict", "--namespace", namespace, "--filename=-")
        assert "selektor" in kubectl(*apply, stdin=json.dumps(each), status=1)


@pytest.mark.parametrize(
    ("words", "allowed"),
    [
        ("--as=alice --as-group=shop-operators patch configmaps/fastapi-flags", True),
        ("--as=alice --as-group=shop-operators patch configmaps/other-flags", False),
        ("--as=alice --as-group=shop-operators get secrets", False),
        ("--as=alice --as-group=shop-operators create pods --subresource=portforward", True),
        ("--as=alice --as-group=shop-operators create pods --subresource=exec", False),
        ("--as=alice --as-group=shop-operators patch deployments", False),
        ("--as=alice patch configmaps/fastapi-flags", False),
        ("--as=system:serviceaccount:NAMESPACE:current-endpoint-app watch configmaps/current-endpoint-flags", True),
        ("--as=system:serviceaccount:NAMESPACE:current-endpoint-app patch configmaps/current-endpoint-flags", False),
        ("--as=system:serviceaccount:NAMESPACE:fastapi-app watch configmaps/fastapi-flags", False),
    ],
)
def test_roles_allow_what_they_say(words: str, allowed: bool, rights: Callable[[str], bool]) -> None:
    """Operators may change only the values of their programs; an account may read its ConfigMap only where it must."""
    assert rights(words) is allowed


@pytest.fixture(name="rights", scope="module")
def _rights(served: frozenset[str]) -> Iterator[Callable[[str], bool]]:
    """Yield a function that asks the server about rights in a namespace with the roles of two recipes."""
    namespace = f"dflag-test-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", namespace)
    for directory in ("fastapi", "current-endpoint"):
        objects = [_older(each, served) for each in render(directory) if each["kind"].startswith("Role")]
        text = yaml.safe_dump_all(objects).replace("namespace: default", f"namespace: {namespace}")
        kubectl("apply", "--namespace", namespace, "--filename=-", stdin=text)

    def ask(words: str) -> bool:
        asked = words.replace("NAMESPACE", namespace).split()
        verdict = kubectl("auth", "can-i", "--namespace", namespace, *asked, status=None)
        return verdict.strip().splitlines()[-1] == "yes"

    yield ask
    kubectl("delete", "namespace", namespace, "--wait=false")


def _commands() -> list[str]:
    blocks = re.findall(r"^(?: *)```sh\n(.*?)^ *```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    # A command ends at the end of the line, at a pipe, or at the end of $(...).
    return re.findall(r"kubectl (.+?)(?= \||\); do$|\)\"(?: \\)?$|$)", "\n".join(blocks), re.MULTILINE)


def test_commands_of_the_manual_are_understood(namespace: str) -> None:
    """The API server does what the commands on the page on operations ask, and kubectl understands the others."""
    pod = {"containers": [{"name": "app", "image": "shop"}]}
    template = {"metadata": {"labels": {"app": "shop"}}, "spec": pod}
    for each in (
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shop-flags"}, "data": {"rate_limit": "5"}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "shop-1", "labels": {"app": "shop"}}, "spec": pod},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "shop"},
            "spec": {"selector": {"matchLabels": {"app": "shop"}}, "template": template},
        },
    ):
        kubectl("create", "--namespace", namespace, "--filename=-", stdin=json.dumps(each))
    verbs = set()
    for command in _commands():
        verb = command.split()[0]
        verbs.add(verb)
        script = f'kubectl() {{ "{KUBECTL}" --namespace {namespace} "$@"; }}; pod=pod/shop-1; kubectl {command}'
        done = subprocess.run(
            ["/bin/sh", "-c", script],
            env={**os.environ, "KUBECONFIG": KUBECONFIG},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        if verb in NEEDS_A_KUBELET:
            assert done.returncode == 0 or re.search("not found|not have a host|not running|timed out", done.stderr), (
                done.stderr
            )
        else:
            assert done.returncode == 0, command + done.stderr
    assert verbs == {"annotate", "get", "patch", "rollout", *NEEDS_A_KUBELET}
    data = json.loads(kubectl("get", "--namespace", namespace, "configmap", "shop-flags", "--output=json"))["data"]
    assert data == {"rate_limit": "60"}
