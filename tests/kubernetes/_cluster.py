"""
A real API server, which ``DFLAG_TEST_KUBECONFIG`` names.

``DFLAG_TEST_APISERVER`` contains the command that controls the server, if there is one. Its argument ``restart``
restarts the server with the same data, and ``pid apiserver`` prints its process id.
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
"""How long the control command may take."""

MERGE = {"Content-Type": "application/merge-patch+json"}


class Cluster:
    """
    An administrator's access to one namespace of the cluster; its objects have unique names.
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
        """Make the namespace if it does not exist."""
        self.request("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}}, allowed=(409,))
        return True

    def request(self, method: str, path: str, body: object = None, *, allowed: tuple[int, ...] = ()) -> Any:
        """Send a request, and return the parsed answer; fail if its status is neither a success nor *allowed*."""
        headers = MERGE if method == "PATCH" else {}
        answer = self.client.request(method, path, json=body, headers=headers)
        assert answer.is_success or answer.status_code in allowed, answer.text
        return answer.json()

    def create(self, data: Mapping[str, str], *, kind: str = "configmaps", **fields: Any) -> str:
        """Make an object with a new name, and return the name."""
        name = f"dflag-test-{uuid.uuid4().hex[:8]}"
        self.recreate(name, data, kind=kind, **fields)
        self._made.append(f"{self.path}/{kind}/{name}")
        return name

    def recreate(self, name: str, data: Mapping[str, str], *, kind: str = "configmaps", **fields: Any) -> None:
        """Make an object whose name is not in use."""
        self.request("POST", f"{self.path}/{kind}", {"metadata": {"name": name}, "data": data, **fields})

    def post(self, text: str, *, kind: str = "configmaps") -> int:
        """Post an object as YAML text, as kubectl would send it, and return the status."""
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
        """Allow the user ``reader`` these verbs on one ConfigMap, during the block."""
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
        """The current resource version of the namespace's ConfigMaps."""
        return str(self.request("GET", f"{self.path}/configmaps")["metadata"]["resourceVersion"])

    def close(self) -> None:
        """Delete the objects that `create` and `post` made, and close the client."""
        for path in self._made:
            self.request("DELETE", path, allowed=(404,))
        self.client.close()


def control(*arguments: str) -> str:
    """
    Run the control command, and return its output.
    """
    done = subprocess.run([*CONTROL, *arguments], capture_output=True, text=True, timeout=COMMAND_SECONDS, check=True)
    return done.stdout.strip()
