"""
Reading and checking the setting ``DFLAG``.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django import conf  # not the lazy settings: a tool that reads all names of this module would load them
from django.core.exceptions import ImproperlyConfigured

from dflag._options import UpdaterOptions
from dflag._registry import FlagRegistry, registry_of
from dflag.errors import ArgumentError, DefinitionError, did_you_mean
from dflag.web._handler import check_authorize

if TYPE_CHECKING:
    from collections.abc import Callable

    from dflag.web import Authorize

_KEYS: Final = ("REGISTRY", "SOURCE", "OPTIONS", "COMMANDS", "REVISION_HEADER", "AUTHORIZE", "TITLE")
_OPTIONS: Final = tuple(UpdaterOptions.__annotations__)
_made: Final[dict[str, Any]] = {}
"""The results of callables, by reference, so that each registry is made only once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """
    The contents of the setting, each value in the form that the rest of dflag takes.

    Attributes:
        registry: The registry.
        source: The source or sources that the updater follows; None if there is none.
        options: The options of the updater.
        commands: The names of the management commands that follow the source.
        revision_header: Whether responses have a header with their revision.
        authorize: Who may set flags on the page; None for nobody.
        title: The title of the page; None for the registry's name.
    """

    registry: FlagRegistry
    source: Any
    options: Mapping[str, Any]
    commands: frozenset[str]
    revision_header: bool
    authorize: Authorize | None
    title: str | None


def configuration() -> Configuration:
    """
    Read and check the setting.

    Raises:
        ImproperlyConfigured: A part of the setting cannot be used.
    """
    given = getattr(conf.settings, "DFLAG", None)
    if not isinstance(given, Mapping):
        raise ImproperlyConfigured(f'expected DFLAG as a dict with "REGISTRY" and "SOURCE", got {given!r}')
    _refuse_unknown("DFLAG", given, _KEYS)
    reference = _value(given, "REGISTRY", "package.module:attribute", _is_reference)
    options: Mapping[str, Any] = _value(given, "OPTIONS", "a dict of options of dflag.Updater", _is_options, {})
    _refuse_unknown("DFLAG['OPTIONS']", options, _OPTIONS)
    commands: Collection[str] = _value(given, "COMMANDS", "several names of commands", _is_texts, ())
    return Configuration(
        registry=_registry_at(reference),
        source=given.get("SOURCE"),
        options=options,
        commands=frozenset(commands),
        revision_header=_value(given, "REVISION_HEADER", "True or False", _is_bool, False),  # noqa: FBT003 - a default
        authorize=_authorize(given),
        title=_value(given, "TITLE", "a text", _is_text, None),
    )


def reference_of_registry() -> str:
    """
    Return the ``module:attribute`` of the registry, without importing the registry.

    Raises:
        ImproperlyConfigured: The setting has no valid reference.
    """
    given = getattr(conf.settings, "DFLAG", None)
    reference: str = _value(given if isinstance(given, Mapping) else {}, "REGISTRY", "module:attribute", _is_reference)
    return reference


_NEEDED: Final = object()


def _value(
    given: Mapping[str, Any], key: str, expected: str, fits: Callable[[object], bool], default: object = _NEEDED
) -> Any:
    value = given.get(key, default)
    if value is default and default is not _NEEDED:
        return default
    if not fits(value):
        got = "nothing" if value is _NEEDED else repr(value)
        raise ImproperlyConfigured(f"DFLAG: expected {key!r} as {expected}, got {got}")
    return value


def _refuse_unknown(name: str, given: Mapping[str, Any], known: Collection[str]) -> None:
    for key in given:
        if key not in known:
            raise ImproperlyConfigured(f"{name}: unknown key {key!r}{did_you_mean(str(key), known)}")


def _authorize(given: Mapping[str, Any]) -> Authorize | None:
    value: Any = _value(given, "AUTHORIZE", "a callable or package.module:attribute", _is_authorize, None)
    found: Authorize | None = _found("AUTHORIZE", value) if isinstance(value, str) else value
    try:
        check_authorize("'AUTHORIZE'", found)
    except DefinitionError as error:
        raise ImproperlyConfigured(f"DFLAG: {error}") from None
    return found


def _is_reference(value: object) -> bool:
    return isinstance(value, str) and all(value.partition(":"))


def _is_authorize(value: object) -> bool:
    return callable(value) or _is_reference(value)


def _is_texts(value: object) -> bool:
    return isinstance(value, Collection) and not isinstance(value, str) and all(map(_is_text, value))


def _is_options(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _registry_at(reference: str) -> FlagRegistry:
    found: Any = _found("REGISTRY", reference)
    if not isinstance(found, (FlagRegistry, type)) and callable(found):
        if reference not in _made:
            _made[reference] = found()
        found = _made[reference]
    try:
        return registry_of(found)
    except ArgumentError:
        raise ImproperlyConfigured(
            f"DFLAG: expected 'REGISTRY' {reference!r} to be a dflag.FlagRegistry or a dflag.Flags class, "
            f"got {type(found).__name__}"
        ) from None


def _found(key: str, reference: str) -> Any:
    """
    Return the object of a reference. Exceptions from importing the program's module are not caught.
    """
    module_name, _, path = reference.partition(":")
    found: Any = importlib.import_module(module_name)
    for name in path.split("."):
        if not hasattr(found, name):
            hint = did_you_mean(name, dir(found))
            raise ImproperlyConfigured(f"DFLAG: {key!r} is {reference!r}, and there is no {name!r}{hint}")
        found = getattr(found, name)
    return found
