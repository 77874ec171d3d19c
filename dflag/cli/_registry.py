"""
Finds the registry of a program.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from dflag._faults import is_unawaited
from dflag._flags import FlagValues
from dflag._registry import FlagRegistry, registry_of
from dflag.cli._errors import CommandError, text_of
from dflag.errors import did_you_mean, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

_SILENT: Final = logging.NullHandler()
"""Keeps Python from printing the library's warnings on standard error: a command reports all of them as findings."""


def load(reference: str) -> FlagRegistry:
    """
    Import a module, and return the registry in it, or the one that a function in it returns.

    Args:
        reference: ``package.module:attribute``, of a registry, a `dflag.Flags` class, or a function that returns one of
            them. The attribute may be dotted.

    Raises:
        CommandError: There is no registry at the reference; or the import, an attribute or the function raises.
    """
    module_name, _, path = reference.partition(":")
    if not module_name or not path or "/" in module_name or module_name.endswith(".py"):
        raise CommandError(
            f"expected REGISTRY as package.module:attribute, got {reference!r}{_hint(module_name, path)}"
        )
    logging.getLogger("dflag").addHandler(_SILENT)
    found: Any = _import(module_name)
    for name in path.split("."):
        found = _attribute(found, name, reference)
    if not _is_registry(found) and callable(found):
        with _naming_faults(f"cannot call {reference!r}"):
            found = found()
    if not _is_registry(found):
        is_unawaited(found)  # closes a coroutine, about which Python would warn
        raise CommandError(
            f"expected a dflag.FlagRegistry or a dflag.Flags class at {reference!r}, got a {type(found).__name__}"
        )
    return registry_of(found)


def _is_registry(found: object) -> bool:
    return isinstance(found, FlagRegistry) or (isinstance(found, type) and issubclass(found, FlagValues))


def _import(name: str) -> ModuleType:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    arguments = sys.argv
    sys.argv = [name]  # the program must not see the arguments of the command
    try:
        with _naming_faults(f"cannot import {name!r}"):
            return importlib.import_module(name)
    finally:
        sys.argv = arguments


@contextlib.contextmanager
def _naming_faults(doing: str) -> Iterator[None]:
    """
    Turn every exception of the program, except KeyboardInterrupt, into a CommandError that names the exception.
    """
    try:
        yield
    except (KeyboardInterrupt, CommandError):
        raise
    except BaseException as error:
        raise CommandError(f"{doing}: {_describe(error)}") from error


def _hint(module: str, path: str) -> str:
    """
    Return what to write if a file was given instead of a module.
    """
    name = module.removesuffix(".py").strip("./").replace("/", ".")
    return f"; write {name}:{path or 'ATTRIBUTE'}" if name and name != module else ""


def _attribute(owner: Any, name: str, reference: str) -> Any:
    with _naming_faults(f"cannot get {name!r} for {reference!r}"):
        try:
            return getattr(owner, name)
        except AttributeError as error:
            hint = did_you_mean(name, dir(owner), "; {}")
            raise CommandError(f"{reference!r}: there is no {name!r}{hint}") from error


def _describe(error: BaseException) -> str:
    """
    Return the error of a program, and where the program raised it.
    """
    import traceback  # needed for a program that fails

    skipped = ("<frozen", os.path.dirname(os.path.dirname(__file__)), importlib.__file__)
    frames = [each for each in traceback.extract_tb(error.__traceback__) if not each.filename.startswith(skipped)]
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    if isinstance(error, SyntaxError):
        return one_line(f"{type(error).__name__}: {error.msg}") + f" ({error.filename}:{error.lineno})"
    if isinstance(error, ModuleNotFoundError) and not frames:
        where = f" (looked in {os.getcwd()} and among the installed packages)"
    return text_of(error) + where
