"""
The facts of a process, for the rules of its sources: ``Updater(..., facts=...)``.

A fact is a text with a name. A rule selects processes by their facts: ``when: {zone: eu-1}``.
"""

from __future__ import annotations

import os
import re
import socket
from typing import TYPE_CHECKING, Final

from dflag.errors import check_argument

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["kubernetes"]


def __dir__() -> list[str]:
    return __all__


_TOPOLOGY: Final = {"zone": "topology.kubernetes.io/zone", "region": "topology.kubernetes.io/region"}
"""The labels that Kubernetes copies from the node to the pod, since 1.35, or since 1.33 with a feature gate."""

_VERSION_LABEL: Final = "app.kubernetes.io/version"

_VARIABLES: Final = {"pod": "POD_NAME", "namespace": "POD_NAMESPACE", "node": "NODE_NAME"}

_LINE: Final = re.compile(r'([^=\s]+)="((?:[^"\\]|\\.)*)"')
"""A label as the kubelet writes it, with the value quoted as by Go's ``%q``."""

_MAX_BYTES: Final = 1 << 20
"""More than the labels of any pod: the API server accepts objects of at most 1.5 MiB, and far less for the labels."""


def kubernetes(podinfo: str | os.PathLike[str] = "/etc/podinfo") -> Callable[[], Mapping[str, str]]:
    """
    Return a function that reads the facts of a pod, for ``Updater(..., facts=...)``.

    The facts ``pod`` (``POD_NAME``, or the name of the host), ``namespace`` (``POD_NAMESPACE``) and ``node``
    (``NODE_NAME``) come from the environment. The labels give ``version``, ``zone``, ``region`` and ``label.<name>``.
    A fact that is not known is left out. The manifest must pass variables and labels to the pod, through the downward
    API.

    Args:
        podinfo: The directory of the downward-API volume, with a file ``labels``. Each call reads the file again.

    Thread safety: any thread.

    >>> import os
    >>> os.environ["POD_NAME"] = "web-7d9f-abcde"
    >>> kubernetes()()["pod"]
    'web-7d9f-abcde'
    """
    check_argument("podinfo", podinfo, (str, os.PathLike), "a path")
    labels_path = os.path.join(os.fspath(podinfo), "labels")

    def facts() -> Mapping[str, str]:
        return _facts(labels_path)

    return facts


def _facts(labels_path: str) -> dict[str, str]:
    found = {fact: os.environ[name] for fact, name in _VARIABLES.items() if os.environ.get(name)}
    found.setdefault("pod", socket.gethostname())
    labels = _read_labels(labels_path)
    for fact, label in (*_TOPOLOGY.items(), ("version", _VERSION_LABEL)):
        if label in labels:
            found[fact] = labels[label]
    found.update((f"label.{name}", text) for name, text in labels.items())
    return found


def _read_labels(path: str) -> dict[str, str]:
    """
    Return the labels in a file, by name; none if the file is not mounted.

    Raises:
        OSError: The file exists and cannot be read. The previous facts stay.
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(_MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {name: _unquote(quoted) for name, quoted in _LINE.findall(text)}


def _unquote(quoted: str) -> str:
    """
    Undo Go's quoting. The values of labels never need it; the values of annotations may.
    """
    return re.sub(r"\\(.)", lambda match: {"n": "\n", "t": "\t"}.get(match[1], match[1]), quoted)
