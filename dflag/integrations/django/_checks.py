"""
System checks of the setting, the flags and the contents of the source.
"""

from __future__ import annotations

import datetime
import fnmatch
import re
from typing import TYPE_CHECKING, Any, Final

from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from dflag._registry import store_of_registry
from dflag._rule_layers import Unconditional
from dflag._source_state import Reading, SourceState
from dflag._trial import try_readings
from dflag.errors import DflagError, SourceError, unknown_keys
from dflag.integrations.django import _process
from dflag.integrations.django._configuration import configuration
from dflag.sources import DirectorySource, FileSource, MemorySource
from dflag.sources._given import as_sources

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dflag import FlagRegistry
    from dflag.integrations.django._configuration import Configuration
    from dflag.sources import Source

_LOCAL: Final = (DirectorySource, FileSource, MemorySource)
"""The sources that a check reads. Others may ask a server, which a check should not do."""

_IGNORED: Final = ("_example",)
"""The default of the option ``ignore``."""

_BEFORE: Final = SourceState(Reading({}, lambda _: ""))
"""The state of a source before its first reading."""


def check_flags(app_configs: object, **_options: object) -> list[Any]:  # noqa: ARG001 - as Django calls it
    """
    Check the setting, the flags of the registry, and the contents of its source if the source exists on this machine.
    """
    try:
        configured = configuration()
    except ImproperlyConfigured as error:
        return [checks.Error(str(error), id="dflag.E001")]
    findings = [*_expired(configured.registry), *_colliding(configured.registry)]
    if configured.source is not None:
        findings += _held(configured)
    return findings


def _expired(registry: FlagRegistry) -> Iterator[Any]:
    today = datetime.date.today()  # noqa: DTZ011 - the local date
    for flag in registry:
        if flag.expires is not None and flag.expires < today:
            owner = f", ask {flag.owner}" if flag.owner else ""
            yield checks.Warning(
                f"flag {flag.name!r} was to be gone by {flag.expires}{owner}",
                hint="Make it a constant and delete it, or move its date.",
                id="dflag.W002",
            )


def _colliding(registry: FlagRegistry) -> Iterator[Any]:
    variables: dict[str, list[str]] = {}
    for flag in registry:
        variables.setdefault(re.sub("[-.]", "_", flag.name).upper(), []).append(flag.name)
    for variable, names in variables.items():
        if len(names) > 1:
            yield checks.Warning(
                f"flags {', '.join(map(repr, names))} would read the same environment variable, {variable}",
                hint="Rename all but one of them.",
                id="dflag.W003",
            )


def _held(configured: Configuration) -> Iterator[Any]:
    """
    Find the keys of the source that no flag has, and the values that flags refuse.
    """
    running = _process.updater()
    if running is not None:
        status = running.status()
        names = ", ".join(source.name for source in status.sources)
        yield from _unknown(configured.registry, {names: status.unknown})
        yield from (_refused(error) for error in status.rejected.values())
        return
    try:
        sources = as_sources(configured.source)
    except DflagError as error:
        yield checks.Error(f"DFLAG: {error}", id="dflag.E001")
        return
    readings = []
    for source in sources:
        if isinstance(source, _LOCAL):
            try:
                readings.append((source.name, _BEFORE, _reading(source, configured)))
            except SourceError as error:
                if not error.missing:  # a machine that builds the program has no volume
                    yield checks.Warning(str(error), id="dflag.W004")
    contexts = {name: Unconditional() for name, _, _ in readings}
    trial = try_readings(store_of_registry(configured.registry), readings, contexts)
    for (name, _, _), batch in zip(readings, trial.batches, strict=True):
        yield from _unknown(configured.registry, {name: sorted(batch.state.unknown)})
    for batch in trial.batches:
        yield from (_refused(error) for error in batch.state.rejected.values())
    if trial.error is not None:
        yield _refused(trial.error)


def _reading(source: Source, configured: Configuration) -> Reading:
    ignored = configured.options.get("ignore", _IGNORED)
    patterns = (ignored,) if isinstance(ignored, str) else tuple(ignored)
    values = {
        key: raw
        for key, raw in source.read().items()
        if not any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns)
    }
    return Reading(values, source.locate, source.secret)


def _unknown(registry: FlagRegistry, unknown: dict[str, Any]) -> Iterator[Any]:
    names = [flag.name for flag in registry]
    for source, keys in unknown.items():
        for error in unknown_keys(keys, names, source):
            yield checks.Warning(str(error), hint="Declare a flag of that name, or remove the key.", id="dflag.W001")


def _refused(error: DflagError) -> Any:
    return checks.Error(str(error), hint="The last good value, or the layer below, stays in force.", id="dflag.E002")
