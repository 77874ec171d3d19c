"""
The names that Kubernetes allows for objects and namespaces.
"""

from __future__ import annotations

import re
from typing import Final

from dflag.cli._errors import CommandError

_LABEL: Final = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_OBJECT: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_NAMESPACE: Final = re.compile(rf"(?=.{{1,63}}\Z){_LABEL}")

NAME_EXPECTED: Final = "a name of 1 to 253 characters: words of [-a-z0-9] with dots between, none with a - at its ends"

NAMESPACE_EXPECTED: Final = "a name of 1 to 63 characters of [-a-z0-9] that does not begin or end with -"


def is_object_name(name: str) -> bool:
    """
    Say whether the API server allows the name (apimachinery's ``IsDNS1123Subdomain``).
    """
    return _OBJECT.fullmatch(name) is not None


def object_name(given: str, option: str = "--name") -> str:
    """
    Give a name back that an object can have.

    Raises:
        CommandError: No object can have it.
    """
    if not is_object_name(given):
        raise CommandError(f"expected {NAME_EXPECTED}, got {given[:80]!r} for {option}")
    return given


def is_namespace_name(name: str) -> bool:
    """
    Return whether the API server allows the name (apimachinery's ``IsDNS1123Label``).
    """
    return _NAMESPACE.fullmatch(name) is not None


def namespace_name(given: str) -> str:
    """
    Give a name back that a namespace can have.

    Raises:
        CommandError: No namespace can have it.
    """
    if not is_namespace_name(given):
        raise CommandError(f"expected {NAMESPACE_EXPECTED}, got {given[:80]!r} for --namespace")
    return given
