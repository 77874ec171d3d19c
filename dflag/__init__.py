"""
Dynamic flags: change a running program's settings safely.

Declare flags in a `FlagRegistry`, let an `Updater` follow a ConfigMap volume, read ``flag.get()`` at request time.
"""

from __future__ import annotations

import typing as _typing

from dflag._lazy import lazily as _lazily
from dflag.errors import *

if _typing.TYPE_CHECKING:
    from dflag import errors as errors
    from dflag import facts as facts
    from dflag import logging as logging
    from dflag import sources as sources
    from dflag import testing as testing
    from dflag import typing as typing
    from dflag import validators as validators
    from dflag import web as web
    from dflag._classes import Flags
    from dflag._flags import DynamicFlag, Flag, StaticFlag
    from dflag._records import Change, Layer, Revision
    from dflag._registry import FlagRegistry
    from dflag._snapshot import Snapshot
    from dflag._status import RuleStatus, SourceStatus, Status
    from dflag._unbound import bool as bool
    from dflag._unbound import bytes as bytes
    from dflag._unbound import custom as custom
    from dflag._unbound import duration as duration
    from dflag._unbound import dyn_bool as dyn_bool
    from dflag._unbound import dyn_bytes as dyn_bytes
    from dflag._unbound import dyn_custom as dyn_custom
    from dflag._unbound import dyn_duration as dyn_duration
    from dflag._unbound import dyn_enum as dyn_enum
    from dflag._unbound import dyn_float as dyn_float
    from dflag._unbound import dyn_int as dyn_int
    from dflag._unbound import dyn_json as dyn_json
    from dflag._unbound import dyn_map as dyn_map
    from dflag._unbound import dyn_string as dyn_string
    from dflag._unbound import dyn_string_list as dyn_string_list
    from dflag._unbound import dyn_string_set as dyn_string_set
    from dflag._unbound import enum as enum
    from dflag._unbound import float as float
    from dflag._unbound import int as int
    from dflag._unbound import json as json
    from dflag._unbound import map as map
    from dflag._unbound import string as string
    from dflag._unbound import string_list as string_list
    from dflag._unbound import string_set as string_set
    from dflag._updater import Updater

__all__ = [
    "Change", "DefinitionError", "DflagError", "DuplicateFlagError", "DynamicFlag", "Flag", "FlagRegistry",
    "FlagValueError", "Flags", "Layer", "ParseError", "Revision", "RuleStatus", "Snapshot", "SourceError",
    "SourceStatus", "StaticFlag", "StaticFlagError", "Status", "UnknownFlagError", "UpdateError", "Updater",
    "UpdaterStateError", "ValidationError",
]  # fmt: skip

_KINDS = "bool bytes custom duration enum float int json map string string_list string_set"
_HOMES = {
    **dict.fromkeys(("DynamicFlag", "Flag", "StaticFlag"), "_flags"),
    **dict.fromkeys(("Change", "Layer", "Revision"), "_records"),
    **dict.fromkeys(("RuleStatus", "SourceStatus", "Status"), "_status"),
    **dict.fromkeys((prefix + kind for kind in _KINDS.split() for prefix in ("", "dyn_")), "_unbound"),
    "FlagRegistry": "_registry",
    "Flags": "_classes",
    "Snapshot": "_snapshot",
    "Updater": "_updater",
}
"""Imported at first use: the command prints its help without them. dataclasses takes as long as the rest of dflag."""

if not _typing.TYPE_CHECKING:  # otherwise type checkers would accept any name
    _MODULES = ("errors", "facts", "logging", "sources", "testing", "typing", "validators", "web")
    __getattr__, __dir__ = _lazily(__name__, _HOMES, _MODULES)
