"""
Flags that a library makes and the program binds: ``dflag.dyn_int(default, help)`` and its siblings.

Each works at once, in a small store of its own, and keeps an override set before when it is bound.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, overload

from dflag import _kinds
from dflag._declarations import Schema, caller, custom_kind, enum_kind, json_kind, map_kind
from dflag._flags import UNBOUND, DynamicFlag, StaticFlag
from dflag._registry import make_flag
from dflag._store import Store

if TYPE_CHECKING:
    import builtins
    import datetime
    from collections.abc import Iterable, Mapping, Sequence

    from dflag._flags import Flag
    from dflag._options import Options, RangeOptions
    from dflag.typing import Formatter, JSONValue, Parser

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
    Make an unbound static flag that holds a text.

    Grammar, options and errors are those of `FlagRegistry.string`.

    >>> import dflag
    >>> flag = dflag.string("127.0.0.1")
    >>> flag.get()
    '127.0.0.1'
    """
    return _make(StaticFlag, _kinds.STRING, default, help, options)


def dyn_string(
    default: builtins.str, help: builtins.str = "", **options: Unpack[Options[builtins.str]]
) -> DynamicFlag[builtins.str]:
    """
    Make an unbound dynamic flag that holds a text.

    Grammar, options and errors are those of `FlagRegistry.string`.

    >>> import dflag
    >>> flag = dflag.dyn_string("hello")
    >>> flag.set_text("good morning")
    >>> flag.get()
    'good morning'
    """
    return _make(DynamicFlag, _kinds.STRING, default, help, options)


def int(
    default: builtins.int, help: builtins.str = "", **options: Unpack[RangeOptions[builtins.int]]
) -> StaticFlag[builtins.int]:
    """
    Make an unbound static flag that holds a whole number of 64 bits.

    Grammar, options and errors are those of `FlagRegistry.int`.

    >>> import dflag
    >>> flag = dflag.int(8080, min=1)
    >>> flag.get()
    8080
    """
    return _make(StaticFlag, _kinds.INT, default, help, options)


def dyn_int(
    default: builtins.int, help: builtins.str = "", **options: Unpack[RangeOptions[builtins.int]]
) -> DynamicFlag[builtins.int]:
    """
    Make an unbound dynamic flag that holds a whole number of 64 bits.

    Grammar, options and errors are those of `FlagRegistry.int`.

    >>> import dflag
    >>> flag = dflag.dyn_int(50, min=1)
    >>> flag.set_text("1_000")
    >>> flag.get()
    1000
    """
    return _make(DynamicFlag, _kinds.INT, default, help, options)


def float(
    default: builtins.float, help: builtins.str = "", **options: Unpack[RangeOptions[builtins.float]]
) -> StaticFlag[builtins.float]:
    """
    Make an unbound static flag that holds a number.

    Grammar, options and errors are those of `FlagRegistry.float`.

    >>> import dflag
    >>> flag = dflag.float(0.5, min=0, max=1)
    >>> flag.get()
    0.5
    """
    return _make(StaticFlag, _kinds.FLOAT, default, help, options)


def dyn_float(
    default: builtins.float, help: builtins.str = "", **options: Unpack[RangeOptions[builtins.float]]
) -> DynamicFlag[builtins.float]:
    """
    Make an unbound dynamic flag that holds a number.

    Grammar, options and errors are those of `FlagRegistry.float`.

    >>> import dflag
    >>> flag = dflag.dyn_float(0.5, min=0, max=1)
    >>> flag.set_text("25e-2")
    >>> flag.get()
    0.25
    """
    return _make(DynamicFlag, _kinds.FLOAT, default, help, options)


def bool(
    default: builtins.bool, help: builtins.str = "", **options: Unpack[Options[builtins.bool]]
) -> StaticFlag[builtins.bool]:
    """
    Make an unbound static flag that holds true or false.

    Grammar, options and errors are those of `FlagRegistry.bool`.

    >>> import dflag
    >>> flag = dflag.bool(False)
    >>> flag.get()
    False
    """
    return _make(StaticFlag, _kinds.BOOL, default, help, options)


def dyn_bool(
    default: builtins.bool, help: builtins.str = "", **options: Unpack[Options[builtins.bool]]
) -> DynamicFlag[builtins.bool]:
    """
    Make an unbound dynamic flag that holds true or false.

    Grammar, options and errors are those of `FlagRegistry.bool`.

    >>> import dflag
    >>> flag = dflag.dyn_bool(False)
    >>> flag.set_text("yes")
    >>> flag.get()
    True
    """
    return _make(DynamicFlag, _kinds.BOOL, default, help, options)


def duration(
    default: datetime.timedelta, help: builtins.str = "", **options: Unpack[RangeOptions[datetime.timedelta]]
) -> StaticFlag[datetime.timedelta]:
    """
    Make an unbound static flag that holds a length of time.

    Grammar, options and errors are those of `FlagRegistry.duration`.

    >>> import dflag
    >>> from datetime import timedelta
    >>> flag = dflag.duration(timedelta(seconds=30))
    >>> flag.get()
    datetime.timedelta(seconds=30)
    """
    return _make(StaticFlag, _kinds.DURATION, default, help, options)


def dyn_duration(
    default: datetime.timedelta, help: builtins.str = "", **options: Unpack[RangeOptions[datetime.timedelta]]
) -> DynamicFlag[datetime.timedelta]:
    """
    Make an unbound dynamic flag that holds a length of time.

    Grammar, options and errors are those of `FlagRegistry.duration`.

    >>> import dflag
    >>> from datetime import timedelta
    >>> flag = dflag.dyn_duration(timedelta(seconds=2))
    >>> flag.set_text("1m30s")
    >>> flag.get()
    datetime.timedelta(seconds=90)
    """
    return _make(DynamicFlag, _kinds.DURATION, default, help, options)


def string_list(
    default: Sequence[builtins.str], help: builtins.str = "", **options: Unpack[Options[tuple[builtins.str, ...]]]
) -> StaticFlag[tuple[builtins.str, ...]]:
    """
    Make an unbound static flag that holds several texts in order.

    Grammar, options and errors are those of `FlagRegistry.string_list`.

    >>> import dflag
    >>> flag = dflag.string_list(["a", "b"])
    >>> flag.get()
    ('a', 'b')
    """
    return _make(StaticFlag, _kinds.STRING_LIST, default, help, options)


def dyn_string_list(
    default: Sequence[builtins.str], help: builtins.str = "", **options: Unpack[Options[tuple[builtins.str, ...]]]
) -> DynamicFlag[tuple[builtins.str, ...]]:
    """
    Make an unbound dynamic flag that holds several texts in order.

    Grammar, options and errors are those of `FlagRegistry.string_list`.

    >>> import dflag
    >>> flag = dflag.dyn_string_list(["a", "b"])
    >>> flag.set_text("c, d")
    >>> flag.get()
    ('c', 'd')
    """
    return _make(DynamicFlag, _kinds.STRING_LIST, default, help, options)


def string_set(
    default: Iterable[builtins.str], help: builtins.str = "", **options: Unpack[Options[frozenset[builtins.str]]]
) -> StaticFlag[frozenset[builtins.str]]:
    """
    Make an unbound static flag that holds several texts without order.

    Grammar, options and errors are those of `FlagRegistry.string_set`.

    >>> import dflag
    >>> flag = dflag.string_set({"eu"})
    >>> flag.get()
    frozenset({'eu'})
    """
    return _make(StaticFlag, _kinds.STRING_SET, default, help, options)


def dyn_string_set(
    default: Iterable[builtins.str], help: builtins.str = "", **options: Unpack[Options[frozenset[builtins.str]]]
) -> DynamicFlag[frozenset[builtins.str]]:
    """
    Make an unbound dynamic flag that holds several texts without order.

    Grammar, options and errors are those of `FlagRegistry.string_set`.

    >>> import dflag
    >>> flag = dflag.dyn_string_set({"eu"})
    >>> flag.set_text("us, us")
    >>> flag.get()
    frozenset({'us'})
    """
    return _make(DynamicFlag, _kinds.STRING_SET, default, help, options)


def bytes(
    default: builtins.bytes, help: builtins.str = "", **options: Unpack[Options[builtins.bytes]]
) -> StaticFlag[builtins.bytes]:
    """
    Make an unbound static flag that holds bytes.

    Grammar, options and errors are those of `FlagRegistry.bytes`.

    >>> import dflag
    >>> flag = dflag.bytes(b"hello")
    >>> flag.get()
    b'hello'
    """
    return _make(StaticFlag, _kinds.BYTES, default, help, options)


def dyn_bytes(
    default: builtins.bytes, help: builtins.str = "", **options: Unpack[Options[builtins.bytes]]
) -> DynamicFlag[builtins.bytes]:
    """
    Make an unbound dynamic flag that holds bytes.

    Grammar, options and errors are those of `FlagRegistry.bytes`.

    >>> import dflag
    >>> flag = dflag.dyn_bytes(b"", secret=True)
    >>> flag.set_text("aGVsbG8=")
    >>> flag.get()
    b'hello'
    """
    return _make(DynamicFlag, _kinds.BYTES, default, help, options)


def enum(default: E, help: builtins.str = "", **options: Unpack[Options[E]]) -> StaticFlag[E]:
    """
    Make an unbound static flag that holds a member of the default's enumeration.

    Grammar, options and errors are those of `FlagRegistry.enum`.

    >>> import dflag
    >>> import enum
    >>> Mode = enum.Enum("Mode", {"SAFE": "safe", "FAST": "fast"})
    >>> flag = dflag.enum(Mode.SAFE)
    >>> flag.get()
    <Mode.SAFE: 'safe'>
    """
    return _make(StaticFlag, enum_kind(UNBOUND, default), default, help, options)


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
    Make an unbound static flag that holds a JSON value.

    Grammar, options and errors are those of `FlagRegistry.json`.

    >>> import dflag
    >>> flag = dflag.json({"cpu": 2}, schema={"type": "object"})
    >>> flag.get()
    {'cpu': 2}
    """
    return _make(StaticFlag, json_kind(UNBOUND, type=type, schema=schema, yaml=yaml), default, help, options)


def dyn_enum(default: E, help: builtins.str = "", **options: Unpack[Options[E]]) -> DynamicFlag[E]:
    """
    Make an unbound dynamic flag that holds a member of the default's enumeration.

    Grammar, options and errors are those of `FlagRegistry.enum`.

    >>> import dflag
    >>> import enum
    >>> Mode = enum.Enum("Mode", {"SAFE": "safe", "FAST": "fast"})
    >>> flag = dflag.dyn_enum(Mode.SAFE)
    >>> flag.set_text("fast")
    >>> flag.get()
    <Mode.FAST: 'fast'>
    """
    return _make(DynamicFlag, enum_kind(UNBOUND, default), default, help, options)


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
    Make an unbound dynamic flag that holds a JSON value.

    Grammar, options and errors are those of `FlagRegistry.json`.

    >>> import dflag
    >>> flag = dflag.dyn_json({"cpu": 2})
    >>> flag.set_text('{"cpu": 4}')
    >>> flag.get()
    {'cpu': 4}
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
    Make an unbound static flag that holds a mapping of all keys that fit a pattern.

    Grammar, options and errors are those of `FlagRegistry.map`.

    >>> import dflag
    >>> flag = dflag.map({"eu.endpoint": "https://eu.example"}, keys="*.endpoint")
    >>> flag.get()
    {'eu.endpoint': 'https://eu.example'}
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
    Make an unbound dynamic flag that holds a mapping of all keys that fit a pattern.

    Grammar, options and errors are those of `FlagRegistry.map`.

    >>> import dflag
    >>> flag = dflag.dyn_map({}, keys="*.limit", of="int")
    >>> flag.set_text('{"acme.limit": 500}')
    >>> flag.get()
    {'acme.limit': 500}
    """
    return _make(DynamicFlag, map_kind(UNBOUND, keys, of), default, help, options)


def custom(
    default: T,
    help: builtins.str = "",
    *,
    parse: Parser[T],
    format: Formatter[T] = str,
    **options: Unpack[Options[T]],
) -> StaticFlag[T]:
    """
    Make an unbound static flag that holds what a parser of your own makes of a text.

    Grammar, options and errors are those of `FlagRegistry.custom`.

    >>> import datetime, dflag
    >>> flag = dflag.custom(datetime.date(2030, 1, 1), parse=datetime.date.fromisoformat)
    >>> flag.get()
    datetime.date(2030, 1, 1)
    """
    return _make(StaticFlag, custom_kind(UNBOUND, parse, format), default, help, options)


def dyn_custom(
    default: T,
    help: builtins.str = "",
    *,
    parse: Parser[T],
    format: Formatter[T] = str,
    **options: Unpack[Options[T]],
) -> DynamicFlag[T]:
    """
    Make an unbound dynamic flag that holds what a parser of your own makes of a text.

    Grammar, options and errors are those of `FlagRegistry.custom`.

    >>> import datetime, dflag
    >>> flag = dflag.dyn_custom(datetime.date(2030, 1, 1), parse=datetime.date.fromisoformat)
    >>> flag.set_text("2031-06-30")
    >>> flag.get()
    datetime.date(2031, 6, 30)
    """
    return _make(DynamicFlag, custom_kind(UNBOUND, parse, format), default, help, options)
