"""
Flags that a library makes and the program binds: ``dflag.dyn_int(default, help)`` and its siblings.

Each works at once, in a small store of its own, and keeps an override set before when it is bound.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, overload

from dflag import _kinds
from dflag._declarations import Schema, caller, json_kind, map_kind
from dflag._flags import UNBOUND, DynamicFlag, StaticFlag
from dflag._registry import make_flag
from dflag._store import Store

if TYPE_CHECKING:
    import builtins
    import datetime
    from collections.abc import Iterable, Mapping, Sequence

    from dflag._flags import Flag
    from dflag._options import Options, RangeOptions
    from dflag.typing import JSONValue

T = TypeVar("T")
F = TypeVar("F", bound="Flag[Any]")
E = TypeVar("E", bound=Enum)


def _make(cls: builtins.type[F], kind: _kinds.Kind[Any], default: Any, help: builtins.str, options: Any) -> F:
    store = Store()
    flag = make_flag(store, cls, kind, UNBOUND, default, help, options, caller())
    store.add(flag)
    return flag


def string(
    default: builtins.str, help: builtins.str = "", **options: Unpack[Options[builtins.str]]
) -> StaticFlag[builtins.str]:
    """
    Make an unbound static flag that holds a text, taken as it is.
    """
    return _make(StaticFlag, _kinds.STRING, default, help, options)


def dyn_string(
    default: builtins.str, help: builtins.str = "", **options: Unpack[Options[builtins.str]]
) -> DynamicFlag[builtins.str]:
    """
    Make an unbound dynamic flag that holds a text, taken as it is.
    """
    return _make(DynamicFlag, _kinds.STRING, default, help, options)


def int(
    default: builtins.int, help: builtins.str = "", **options: Unpack[RangeOptions[builtins.int]]
) -> StaticFlag[builtins.int]:
    """
    Make an unbound static flag that holds a whole number of 64 bits.
    """
    return _make(StaticFlag, _kinds.INT, default, help, options)


def dyn_int(
    default: builtins.int, help: builtins.str = "", **options: Unpack[RangeOptions[builtins.int]]
) -> DynamicFlag[builtins.int]:
    """
    Make an unbound dynamic flag that holds a whole number of 64 bits.
    """
    return _make(DynamicFlag, _kinds.INT, default, help, options)


def float(
    default: builtins.float, help: builtins.str = "", **options: Unpack[RangeOptions[builtins.float]]
) -> StaticFlag[builtins.float]:
    """
    Make an unbound static flag that holds a number.
    """
    return _make(StaticFlag, _kinds.FLOAT, default, help, options)


def dyn_float(
    default: builtins.float, help: builtins.str = "", **options: Unpack[RangeOptions[builtins.float]]
) -> DynamicFlag[builtins.float]:
    """
    Make an unbound dynamic flag that holds a number.
    """
    return _make(DynamicFlag, _kinds.FLOAT, default, help, options)


def bool(
    default: builtins.bool, help: builtins.str = "", **options: Unpack[Options[builtins.bool]]
) -> StaticFlag[builtins.bool]:
    """
    Make an unbound static flag that holds true or false.
    """
    return _make(StaticFlag, _kinds.BOOL, default, help, options)


def dyn_bool(
    default: builtins.bool, help: builtins.str = "", **options: Unpack[Options[builtins.bool]]
) -> DynamicFlag[builtins.bool]:
    """
    Make an unbound dynamic flag that holds true or false.
    """
    return _make(DynamicFlag, _kinds.BOOL, default, help, options)


def duration(
    default: datetime.timedelta, help: builtins.str = "", **options: Unpack[RangeOptions[datetime.timedelta]]
) -> StaticFlag[datetime.timedelta]:
    """
    Make an unbound static flag that holds a length of time.
    """
    return _make(StaticFlag, _kinds.DURATION, default, help, options)


def dyn_duration(
    default: datetime.timedelta, help: builtins.str = "", **options: Unpack[RangeOptions[datetime.timedelta]]
) -> DynamicFlag[datetime.timedelta]:
    """
    Make an unbound dynamic flag that holds a length of time.
    """
    return _make(DynamicFlag, _kinds.DURATION, default, help, options)


def string_list(
    default: Sequence[builtins.str], help: builtins.str = "", **options: Unpack[Options[tuple[builtins.str, ...]]]
) -> StaticFlag[tuple[builtins.str, ...]]:
    """
    Make an unbound static flag that holds several texts in order.
    """
    return _make(StaticFlag, _kinds.STRING_LIST, default, help, options)


def dyn_string_list(
    default: Sequence[builtins.str], help: builtins.str = "", **options: Unpack[Options[tuple[builtins.str, ...]]]
) -> DynamicFlag[tuple[builtins.str, ...]]:
    """
    Make an unbound dynamic flag that holds several texts in order.
    """
    return _make(DynamicFlag, _kinds.STRING_LIST, default, help, options)


def string_set(
    default: Iterable[builtins.str], help: builtins.str = "", **options: Unpack[Options[frozenset[builtins.str]]]
) -> StaticFlag[frozenset[builtins.str]]:
    """
    Make an unbound static flag that holds several texts without order.
    """
    return _make(StaticFlag, _kinds.STRING_SET, default, help, options)


def dyn_string_set(
    default: Iterable[builtins.str], help: builtins.str = "", **options: Unpack[Options[frozenset[builtins.str]]]
) -> DynamicFlag[frozenset[builtins.str]]:
    """
    Make an unbound dynamic flag that holds several texts without order.
    """
    return _make(DynamicFlag, _kinds.STRING_SET, default, help, options)


def bytes(
    default: builtins.bytes, help: builtins.str = "", **options: Unpack[Options[builtins.bytes]]
) -> StaticFlag[builtins.bytes]:
    """
    Make an unbound static flag that holds bytes, taken as they are.
    """
    return _make(StaticFlag, _kinds.BYTES, default, help, options)


def dyn_bytes(
    default: builtins.bytes, help: builtins.str = "", **options: Unpack[Options[builtins.bytes]]
) -> DynamicFlag[builtins.bytes]:
    """
    Make an unbound dynamic flag that holds bytes, taken as they are.
    """
    return _make(DynamicFlag, _kinds.BYTES, default, help, options)


def enum(default: E, help: builtins.str = "", **options: Unpack[Options[E]]) -> StaticFlag[E]:
    """
    Make an unbound static flag that holds a member of the default's enumeration.
    """
    return _make(StaticFlag, _kinds.enum_kind(type(default)), default, help, options)


@overload
def json(
    default: object,
    help: builtins.str = ...,
    *,
    type: type[T],
    schema: Schema | None = ...,
    yaml: builtins.bool = ...,
    **options: Unpack[Options[T]],
) -> StaticFlag[T]: ...
@overload
def json(
    default: JSONValue,
    help: builtins.str = ...,
    *,
    schema: Schema | None = ...,
    yaml: builtins.bool = ...,
    **options: Unpack[Options[JSONValue]],
) -> StaticFlag[JSONValue]: ...
def json(
    default: Any,
    help: builtins.str = "",
    *,
    type: builtins.type[Any] | None = None,
    schema: Schema | None = None,
    yaml: builtins.bool = False,
    **options: Unpack[Options[Any]],
) -> StaticFlag[Any]:
    """
    Make an unbound static flag that holds a JSON value; see `FlagRegistry.json`.
    """
    return _make(StaticFlag, json_kind(UNBOUND, type=type, schema=schema, yaml=yaml), default, help, options)


def dyn_enum(default: E, help: builtins.str = "", **options: Unpack[Options[E]]) -> DynamicFlag[E]:
    """
    Make an unbound dynamic flag that holds a member of the default's enumeration.
    """
    return _make(DynamicFlag, _kinds.enum_kind(type(default)), default, help, options)


@overload
def dyn_json(
    default: object,
    help: builtins.str = ...,
    *,
    type: type[T],
    schema: Schema | None = ...,
    yaml: builtins.bool = ...,
    **options: Unpack[Options[T]],
) -> DynamicFlag[T]: ...
@overload
def dyn_json(
    default: JSONValue,
    help: builtins.str = ...,
    *,
    schema: Schema | None = ...,
    yaml: builtins.bool = ...,
    **options: Unpack[Options[JSONValue]],
) -> DynamicFlag[JSONValue]: ...
def dyn_json(
    default: Any,
    help: builtins.str = "",
    *,
    type: builtins.type[Any] | None = None,
    schema: Schema | None = None,
    yaml: builtins.bool = False,
    **options: Unpack[Options[Any]],
) -> DynamicFlag[Any]:
    """
    Make an unbound dynamic flag that holds a JSON value; see `FlagRegistry.json`.
    """
    return _make(DynamicFlag, json_kind(UNBOUND, type=type, schema=schema, yaml=yaml), default, help, options)


@overload
def map(
    default: Mapping[builtins.str, builtins.str],
    help: builtins.str = ...,
    *,
    keys: builtins.str,
    of: Literal["string"] = ...,
    **options: Unpack[Options[Mapping[builtins.str, builtins.str]]],
) -> StaticFlag[Mapping[builtins.str, builtins.str]]: ...
@overload
def map(
    default: Mapping[builtins.str, builtins.int],
    help: builtins.str = ...,
    *,
    keys: builtins.str,
    of: Literal["int"],
    **options: Unpack[Options[Mapping[builtins.str, builtins.int]]],
) -> StaticFlag[Mapping[builtins.str, builtins.int]]: ...
@overload
def map(
    default: Mapping[builtins.str, builtins.float],
    help: builtins.str = ...,
    *,
    keys: builtins.str,
    of: Literal["float"],
    **options: Unpack[Options[Mapping[builtins.str, builtins.float]]],
) -> StaticFlag[Mapping[builtins.str, builtins.float]]: ...
@overload
def map(
    default: Mapping[builtins.str, builtins.bool],
    help: builtins.str = ...,
    *,
    keys: builtins.str,
    of: Literal["bool"],
    **options: Unpack[Options[Mapping[builtins.str, builtins.bool]]],
) -> StaticFlag[Mapping[builtins.str, builtins.bool]]: ...
@overload
def map(
    default: Mapping[builtins.str, datetime.timedelta],
    help: builtins.str = ...,
    *,
    keys: builtins.str,
    of: Literal["duration"],
    **options: Unpack[Options[Mapping[builtins.str, datetime.timedelta]]],
) -> StaticFlag[Mapping[builtins.str, datetime.timedelta]]: ...
@overload
def map(
    default: Mapping[builtins.str, Any],
    help: builtins.str = ...,
    *,
    keys: builtins.str,
    of: Literal["string_list", "string_set", "bytes", "json"],
    **options: Unpack[Options[Mapping[builtins.str, Any]]],
) -> StaticFlag[Mapping[builtins.str, Any]]: ...
def map(
    default: Mapping[builtins.str, Any],
    help: builtins.str = "",
    *,
    keys: builtins.str,
    of: builtins.str = "string",
    **options: Unpack[Options[Any]],
) -> StaticFlag[Mapping[builtins.str, Any]]:
    """
    Make an unbound static flag that holds a mapping of all keys that fit a pattern; see `FlagRegistry.map`.
    """
    return _make(StaticFlag, map_kind(UNBOUND, keys, of), default, help, options)


@overload
def dyn_map(
    default: Mapping[builtins.str, builtins.str],
    help: builtins.str = ...,
    *,
    keys: builtins.str,
    of: Literal["string"] = ...,
    **options: Unpack[Options[Mapping[builtins.str, builtins.str]]],
) -> DynamicFlag[Mapping[builtins.str, builtins.str]]: ...
@overload
def dyn_map(
    default: Mapping[builtins.str, builtins.int],
    help: builtins.str = ...,
    *,
    keys: builtins.str,
    of: Literal["int"],
    **options: Unpack[Options[Mapping[builtins.str, builtins.int]]],
) -> DynamicFlag[Mapping[builtins.str, builtins.int]]: ...
@overload
def dyn_map(
    default: Mapping[builtins.str, builtins.float],
    help: builtins.str = ...,
    *,
    keys: builtins.str,
    of: Literal["float"],
    **options: Unpack[Options[Mapping[builtins.str, builtins.float]]],
) -> DynamicFlag[Mapping[builtins.str, builtins.float]]: ...
@overload
def dyn_map(
    default: Mapping[builtins.str, builtins.bool],
    help: builtins.str = ...,
    *,
    keys: builtins.str,
    of: Literal["bool"],
    **options: Unpack[Options[Mapping[builtins.str, builtins.bool]]],
) -> DynamicFlag[Mapping[builtins.str, builtins.bool]]: ...
@overload
def dyn_map(
    default: Mapping[builtins.str, datetime.timedelta],
    help: builtins.str = ...,
    *,
    keys: builtins.str,
    of: Literal["duration"],
    **options: Unpack[Options[Mapping[builtins.str, datetime.timedelta]]],
) -> DynamicFlag[Mapping[builtins.str, datetime.timedelta]]: ...
@overload
def dyn_map(
    default: Mapping[builtins.str, Any],
    help: builtins.str = ...,
    *,
    keys: builtins.str,
    of: Literal["string_list", "string_set", "bytes", "json"],
    **options: Unpack[Options[Mapping[builtins.str, Any]]],
) -> DynamicFlag[Mapping[builtins.str, Any]]: ...
def dyn_map(
    default: Mapping[builtins.str, Any],
    help: builtins.str = "",
    *,
    keys: builtins.str,
    of: builtins.str = "string",
    **options: Unpack[Options[Any]],
) -> DynamicFlag[Mapping[builtins.str, Any]]:
    """
    Make an unbound dynamic flag that holds a mapping of all keys that fit a pattern; see `FlagRegistry.map`.
    """
    return _make(DynamicFlag, map_kind(UNBOUND, keys, of), default, help, options)
