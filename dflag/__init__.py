"""
Dynamic flags: change a running program's settings safely.

Declare flags in a `FlagRegistry`, let an `Updater` follow a ConfigMap volume, read ``flag.get()`` at request time.
"""

from __future__ import annotations

import typing as _typing

from dflag import typing as typing
from dflag._lazy import lazily as _lazily
from dflag.errors import (
    DefinitionError,
    DflagError,
    DuplicateFlagError,
    FlagValueError,
    ParseError,
    SourceError,
    StaticFlagError,
    UnknownFlagError,
    UpdateError,
    UpdaterStateError,
    ValidationError,
)

if _typing.TYPE_CHECKING:
    from dflag._flags import DynamicFlag, Flag, StaticFlag
    from dflag._records import Change, Layer, Revision
    from dflag._registry import FlagRegistry
    from dflag._snapshot import Snapshot
    from dflag._status import SourceStatus, Status
    from dflag._unbound import (
        bool as bool,
    )
    from dflag._unbound import (
        bytes as bytes,
    )
    from dflag._unbound import (
        custom as custom,
    )
    from dflag._unbound import (
        duration as duration,
    )
    from dflag._unbound import (
        dyn_bool as dyn_bool,
    )
    from dflag._unbound import (
        dyn_bytes as dyn_bytes,
    )
    from dflag._unbound import (
        dyn_custom as dyn_custom,
    )
    from dflag._unbound import (
        dyn_duration as dyn_duration,
    )
    from dflag._unbound import (
        dyn_enum as dyn_enum,
    )
    from dflag._unbound import (
        dyn_float as dyn_float,
    )
    from dflag._unbound import (
        dyn_int as dyn_int,
    )
    from dflag._unbound import (
        dyn_json as dyn_json,
    )
    from dflag._unbound import (
        dyn_map as dyn_map,
    )
    from dflag._unbound import (
        dyn_string as dyn_string,
    )
    from dflag._unbound import (
        dyn_string_list as dyn_string_list,
    )
    from dflag._unbound import (
        dyn_string_set as dyn_string_set,
    )
    from dflag._unbound import (
        enum as enum,
    )
    from dflag._unbound import (
        float as float,
    )
    from dflag._unbound import (
        int as int,
    )
    from dflag._unbound import (
        json as json,
    )
    from dflag._unbound import (
        map as map,
    )
    from dflag._unbound import (
        string as string,
    )
    from dflag._unbound import (
        string_list as string_list,
    )
    from dflag._unbound import (
        string_set as string_set,
    )
    from dflag._updater import Updater

__all__ = [
    "Change",
    "DefinitionError",
    "DflagError",
    "DuplicateFlagError",
    "DynamicFlag",
    "Flag",
    "FlagRegistry",
    "FlagValueError",
    "Layer",
    "ParseError",
    "Revision",
    "Snapshot",
    "SourceError",
    "SourceStatus",
    "StaticFlag",
    "StaticFlagError",
    "Status",
    "UnknownFlagError",
    "UpdateError",
    "Updater",
    "UpdaterStateError",
    "ValidationError",
]

_HOMES = {
    "Change": "_records",
    "DynamicFlag": "_flags",
    "Flag": "_flags",
    "FlagRegistry": "_registry",
    "Layer": "_records",
    "Revision": "_records",
    "Snapshot": "_snapshot",
    "SourceStatus": "_status",
    "StaticFlag": "_flags",
    "Status": "_status",
    "Updater": "_updater",
    **dict.fromkeys(
        (
            "bool",
            "bytes",
            "custom",
            "duration",
            "dyn_bool",
            "dyn_bytes",
            "dyn_custom",
            "dyn_duration",
            "dyn_enum",
            "dyn_float",
            "dyn_int",
            "dyn_json",
            "dyn_map",
            "dyn_string",
            "dyn_string_list",
            "dyn_string_set",
            "enum",
            "float",
            "int",
            "json",
            "map",
            "string",
            "string_list",
            "string_set",
        ),
        "_unbound",
    ),
}
"""Imported at first use: the command says its help without them, and dataclasses takes as long as the rest of dflag."""

if not _typing.TYPE_CHECKING:  # else the checkers would take any name
    __getattr__, __dir__ = _lazily(__name__, _HOMES)
