"""
Checks the names of objects and namespaces that a command is given.
"""

from __future__ import annotations

from dflag.cli._errors import CommandError
from dflag.sources._names import NAMESPACE_NAME, OBJECT_NAME, is_namespace_name, is_object_name


def object_name(given: str) -> str:
    """
    Return the given name, if an object can have it.

    Raises:
        CommandError: No object can have it.
    """
    if not is_object_name(given):
        raise CommandError(f"expected {OBJECT_NAME}, got {given[:80]!r} for --name")
    return given


def namespace_name(given: str) -> str:
    """
    Return the given name, if a namespace can have it.

    Raises:
        CommandError: No namespace can have it.
    """
    if not is_namespace_name(given):
        raise CommandError(f"expected {NAMESPACE_NAME}, got {given[:80]!r} for --namespace")
    return given
