"""
The names that Kubernetes allows for objects and namespaces.
"""

from __future__ import annotations

import re
from typing import Final

_LABEL: Final = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_OBJECT: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_NAMESPACE: Final = re.compile(rf"(?=.{{1,63}}\Z){_LABEL}")

OBJECT_NAME: Final = "a name of 1 to 253 characters: words of [-a-z0-9] with dots between, none with a - at its ends"
NAMESPACE_NAME: Final = "a name of 1 to 63 characters of [-a-z0-9] that does not begin or end with -"
"""How messages describe a valid name."""


def is_object_name(name: str) -> bool:
    """
    Return whether the API server allows the name for an object (apimachinery's ``IsDNS1123Subdomain``).
    """
    return _OBJECT.fullmatch(name) is not None


def is_namespace_name(name: str) -> bool:
    """
    Return whether the API server allows the name for a namespace (apimachinery's ``IsDNS1123Label``).
    """
    return _NAMESPACE.fullmatch(name) is not None
