"""
A real API server, as ``DFLAG_TEST_KUBECONFIG`` names it.

``DFLAG_TEST_APISERVER`` holds the command that controls it, if there is one: ``restart`` starts the server anew on the
same data, ``pid apiserver`` prints its process.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import uuid
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KUBECONFIG = os.environ.get("DFLAG_TEST_KUBECONFIG", "")
CONTROL = shlex.split(os.environ.get("DFLAG_TEST_APISERVER", ""))

COMMAND_SECONDS = 90
"""What the control command may take."""

MERGE = {"Content-Type": "application/merge-patch+json"}


class Cluster:
    """
    An administrator's access to one namespace of the cluster, with objects of names that nobody else uses.
    """

    def __init__(self, namespace: str = "default") -> None:
        from dflag.sources import _kubeconfig
        from dflag.sources._api import SERVICE_ACCOUNT, make_client
        from dflag.sources._credentials import Credentials
        from dflag.sources._link import Link

        self.namespace = namespace
        config, link = _kubeconfig.load(_kubeconfig.places(KUBECONFIG), None, SERVICE_ACCOUNT), Link()
        self.client = make_client(config, Credentials(config, link), link)
        self.path = f"/api/v1/namespaces/{namespace}"
        self._made: list[str] = []
        self.make_namespace()

    def make_namespace(self) -> bool:
        """Make the namespace, if need be."""
        self.request("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}}, allowed=(409,))
        return True

    def request(self, method: str, path: str, body: object = None, *, allowed: tuple[int, ...] = ()) -> Any:
        """Ask for something, and give the answer."""
        headers = MERGE if method == "PATCH" else {}
        answer = self.client.request(method, path, json=body, headers=headers)
        assert answer.is_success or answer.status_code in allowed, answer.text
        return answer.json()

    def create(self, data: Mapping[str, str], *, kind: str = "configmaps", **fields: Any) -> str:
        """Make an object, and give its name."""
        name = f"dflag-test-{uuid.uuid4().hex[:8]}"
        self.recreate(name, data, kind=kind, **fields)
        self._made.append(f"{self.path}/{kind}/{name}")
        return name

    def recreate(self, name: str, data: Mapping[str, str], *, kind: str = "configmaps", **fields: Any) -> None:
        """Make an object of a name that is free."""
        self.request("POST", f"{self.path}/{kind}", {"metadata": {"name": name}, "data": data, **fields})

    def post(self, text: str, *, kind: str = "configmaps") -> int:
        """Have an object made as it is written in YAML, as kubectl would send it, and give the status."""
        headers = {"Content-Type": "application/yaml"}
        answer = self.client.request("POST", f"{self.path}/{kind}", content=text.encode(), headers=headers)
        if answer.is_success:
            self._made.append(f"{self.path}/{kind}/{answer.json()['metadata']['name']}")
        return int(answer.status_code)

    def patch(self, name: str, data: Mapping[str, str | None], *, kind: str = "configmaps") -> None:
        """Change keys of an object."""
        self.request("PATCH", f"{self.path}/{kind}/{name}", {"data": data})

    def delete(self, name: str, *, kind: str = "configmaps") -> None:
        """Delete an object."""
        self.request("DELETE", f"{self.path}/{kind}/{name}")

    @contextlib.contextmanager
    def role(self, name: str, verbs: list[str]) -> Iterator[None]:
        """Let the user named reader do so much with one ConfigMap."""
        roles = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{self.namespace}"
        rule = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [name], "verbs": verbs}
        binding = {
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "reader"}],
        }
        self.request("POST", f"{roles}/roles", {"metadata": {"name": name}, "rules": [rule]})
        self.request("POST", f"{roles}/rolebindings", binding)
        try:
            yield
        finally:
            self.request("DELETE", f"{roles}/roles/{name}")
            self.request("DELETE", f"{roles}/rolebindings/{name}")

    @property
    def version(self) -> str:
        """The newest version of anything."""
        return str(self.request("GET", f"{self.path}/configmaps")["metadata"]["resourceVersion"])

    def close(self) -> None:
        """Delete what was made."""
        for path in self._made:
            self.request("DELETE", path, allowed=(404,))
        self.client.close()


def control(*arguments: str) -> str:
    """
    Run the control command, and give what it printed.
    """
    done = subprocess.run([*CONTROL, *arguments], capture_output=True, text=True, timeout=COMMAND_SECONDS, check=True)
    return done.stdout.strip()
