"""
The facts of a process, for the rules of its sources: ``Updater(..., facts=...)``.

Facts are texts by name. A rule names some of them: ``when: {zone: eu-1}``.
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
"""The labels that Kubernetes copies from the node to the pod: from 1.35 on, or 1.33 with a feature gate."""

_VERSION_LABEL: Final = "app.kubernetes.io/version"

_VARIABLES: Final = {"pod": "POD_NAME", "namespace": "POD_NAMESPACE", "node": "NODE_NAME"}

_LINE: Final = re.compile(r'([^=\s]+)="((?:[^"\\]|\\.)*)"')
"""A label as the kubelet writes it: the value as Go quotes texts, ``%q``."""

_MAX_BYTES: Final = 1 << 20
"""More than the labels of any pod: the API server takes objects of at most 1.5 MiB, and labels far below."""


def kubernetes(podinfo: str | os.PathLike[str] = "/etc/podinfo") -> Callable[[], Mapping[str, str]]:
    """
    Return a function that reads the facts of a pod, for ``Updater(..., facts=...)``.

    The facts are ``pod`` (``POD_NAME``, or the name of the host), ``namespace`` (``POD_NAMESPACE``), ``node``
    (``NODE_NAME``), and of the labels ``version``, ``zone``, ``region`` and ``label.<name>``. What is not there is
    left out. The manifest has to pass variables and labels to the pod, through the downward API.

    Args:
        podinfo: The directory of the downward-API volume, with a file ``labels``; each call reads it anew.

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
    Read the file of labels; there are none where it is not mounted.

    Raises:
        OSError: It is there and cannot be read: the facts before stay.
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(_MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {name: _unquote(quoted) for name, quoted in _LINE.findall(text)}


def _unquote(quoted: str) -> str:
    """
    Undo Go's quoting; the values of labels need none, those of annotations may.
    """
    return re.sub(r"\\(.)", lambda match: {"n": "\n", "t": "\t"}.get(match[1], match[1]), quoted)
