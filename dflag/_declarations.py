"""
One method for each kind of flag, static and dynamic.

Inside the class the names ``int``, ``bool``, ``type`` ... are methods, hence ``builtins.int``.
"""

from __future__ import annotations

import sys
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, Unpack, overload

from dflag import _kinds
from dflag._flags import DynamicFlag, StaticFlag
from dflag.errors import DefinitionError

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
Schema: TypeAlias = "Mapping[builtins.str, Any] | builtins.bool"


class Declarations:
    """
    The declaring methods of `FlagRegistry`.

    All take ``(name, default, help="", **options)`` and return the flag; all raise `DefinitionError`
    when the default, the name or an option cannot work, and `DuplicateFlagError` when the name is taken.
    """

    __slots__ = ()

    def _declare(
        self,
        cls: builtins.type[F],
        kind: _kinds.Kind[Any],
        name: builtins.str,
        default: Any,
        help: builtins.str,
        options: Any,
    ) -> F:
        raise NotImplementedError

    def string(
        self,
        name: builtins.str,
        default: builtins.str,
        help: builtins.str = "",
        **options: Unpack[Options[builtins.str]],
    ) -> StaticFlag[builtins.str]:
        """
        Declare a static flag that holds a text, taken as it is.
        """
        return self._declare(StaticFlag, _kinds.STRING, name, default, help, options)

    def dyn_string(
        self,
        name: builtins.str,
        default: builtins.str,
        help: builtins.str = "",
        **options: Unpack[Options[builtins.str]],
    ) -> DynamicFlag[builtins.str]:
        """
        Declare a dynamic flag that holds a text, taken as it is.
        """
        return self._declare(DynamicFlag, _kinds.STRING, name, default, help, options)

    def int(
        self,
        name: builtins.str,
        default: builtins.int,
        help: builtins.str = "",
        **options: Unpack[RangeOptions[builtins.int]],
    ) -> StaticFlag[builtins.int]:
        """
        Declare a static flag that holds a whole number of 64 bits.
        """
        return self._declare(StaticFlag, _kinds.INT, name, default, help, options)

    def dyn_int(
        self,
        name: builtins.str,
        default: builtins.int,
        help: builtins.str = "",
        **options: Unpack[RangeOptions[builtins.int]],
    ) -> DynamicFlag[builtins.int]:
        """
        Declare a dynamic flag that holds a whole number of 64 bits.
        """
        return self._declare(DynamicFlag, _kinds.INT, name, default, help, options)

    def float(
        self,
        name: builtins.str,
        default: builtins.float,
        help: builtins.str = "",
        **options: Unpack[RangeOptions[builtins.float]],
    ) -> StaticFlag[builtins.float]:
        """
        Declare a static flag that holds a number.
        """
        return self._declare(StaticFlag, _kinds.FLOAT, name, default, help, options)

    def dyn_float(
        self,
        name: builtins.str,
        default: builtins.float,
        help: builtins.str = "",
        **options: Unpack[RangeOptions[builtins.float]],
    ) -> DynamicFlag[builtins.float]:
        """
        Declare a dynamic flag that holds a number.
        """
        return self._declare(DynamicFlag, _kinds.FLOAT, name, default, help, options)

    def bool(
        self,
        name: builtins.str,
        default: builtins.bool,
        help: builtins.str = "",
        **options: Unpack[Options[builtins.bool]],
    ) -> StaticFlag[builtins.bool]:
        """
        Declare a static flag that holds true or false.
        """
        return self._declare(StaticFlag, _kinds.BOOL, name, default, help, options)

    def dyn_bool(
        self,
        name: builtins.str,
        default: builtins.bool,
        help: builtins.str = "",
        **options: Unpack[Options[builtins.bool]],
    ) -> DynamicFlag[builtins.bool]:
        """
        Declare a dynamic flag that holds true or false.
        """
        return self._declare(DynamicFlag, _kinds.BOOL, name, default, help, options)

    def duration(
        self,
        name: builtins.str,
        default: datetime.timedelta,
        help: builtins.str = "",
        **options: Unpack[RangeOptions[datetime.timedelta]],
    ) -> StaticFlag[datetime.timedelta]:
        """
        Declare a static flag that holds a length of time.
        """
        return self._declare(StaticFlag, _kinds.DURATION, name, default, help, options)

    def dyn_duration(
        self,
        name: builtins.str,
        default: datetime.timedelta,
        help: builtins.str = "",
        **options: Unpack[RangeOptions[datetime.timedelta]],
    ) -> DynamicFlag[datetime.timedelta]:
        """
        Declare a dynamic flag that holds a length of time.
        """
        return self._declare(DynamicFlag, _kinds.DURATION, name, default, help, options)

    def string_list(
        self,
        name: builtins.str,
        default: Sequence[builtins.str],
        help: builtins.str = "",
        **options: Unpack[Options[tuple[builtins.str, ...]]],
    ) -> StaticFlag[tuple[builtins.str, ...]]:
        """
        Declare a static flag that holds several texts in order.
        """
        return self._declare(StaticFlag, _kinds.STRING_LIST, name, default, help, options)

    def dyn_string_list(
        self,
        name: builtins.str,
        default: Sequence[builtins.str],
        help: builtins.str = "",
        **options: Unpack[Options[tuple[builtins.str, ...]]],
    ) -> DynamicFlag[tuple[builtins.str, ...]]:
        """
        Declare a dynamic flag that holds several texts in order.
        """
        return self._declare(DynamicFlag, _kinds.STRING_LIST, name, default, help, options)

    def string_set(
        self,
        name: builtins.str,
        default: Iterable[builtins.str],
        help: builtins.str = "",
        **options: Unpack[Options[frozenset[builtins.str]]],
    ) -> StaticFlag[frozenset[builtins.str]]:
        """
        Declare a static flag that holds several texts without order.
        """
        return self._declare(StaticFlag, _kinds.STRING_SET, name, default, help, options)

    def dyn_string_set(
        self,
        name: builtins.str,
        default: Iterable[builtins.str],
        help: builtins.str = "",
        **options: Unpack[Options[frozenset[builtins.str]]],
    ) -> DynamicFlag[frozenset[builtins.str]]:
        """
        Declare a dynamic flag that holds several texts without order.
        """
        return self._declare(DynamicFlag, _kinds.STRING_SET, name, default, help, options)

    def bytes(
        self,
        name: builtins.str,
        default: builtins.bytes,
        help: builtins.str = "",
        **options: Unpack[Options[builtins.bytes]],
    ) -> StaticFlag[builtins.bytes]:
        """
        Declare a static flag that holds bytes, taken as they are.
        """
        return self._declare(StaticFlag, _kinds.BYTES, name, default, help, options)

    def dyn_bytes(
        self,
        name: builtins.str,
        default: builtins.bytes,
        help: builtins.str = "",
        **options: Unpack[Options[builtins.bytes]],
    ) -> DynamicFlag[builtins.bytes]:
        """
        Declare a dynamic flag that holds bytes, taken as they are.
        """
        return self._declare(DynamicFlag, _kinds.BYTES, name, default, help, options)

    def enum(
        self, name: builtins.str, default: E, help: builtins.str = "", **options: Unpack[Options[E]]
    ) -> StaticFlag[E]:
        """
        Declare a static flag that holds a member of the default's enumeration.
        """
        return self._declare(StaticFlag, _kinds.enum_kind(type(default)), name, default, help, options)

    @overload
    def json(
        self,
        name: builtins.str,
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
        self,
        name: builtins.str,
        default: JSONValue,
        help: builtins.str = ...,
        *,
        schema: Schema | None = ...,
        yaml: builtins.bool = ...,
        **options: Unpack[Options[JSONValue]],
    ) -> StaticFlag[JSONValue]: ...
    def json(
        self,
        name: builtins.str,
        default: Any,
        help: builtins.str = "",
        *,
        type: builtins.type[Any] | None = None,
        schema: Schema | None = None,
        yaml: builtins.bool = False,
        **options: Unpack[Options[Any]],
    ) -> StaticFlag[Any]:
        """
        Declare a static flag that holds a JSON value.

        Args:
            name: As for every flag.
            default: As for every flag; with *type* a value of that type.
            help: As for every flag.
            type: A dataclass, TypedDict or pydantic model to hand out instead of plain JSON; needs ``dflag[pydantic]``.
            schema: A JSON Schema (2020-12 unless its ``$schema`` says otherwise) that every value must satisfy.
            yaml: Whether YAML is accepted beside JSON.
            **options: As for every flag.
        """
        kind = json_kind(name, type=type, schema=schema, yaml=yaml)
        return self._declare(StaticFlag, kind, name, default, help, options)

    def dyn_enum(
        self, name: builtins.str, default: E, help: builtins.str = "", **options: Unpack[Options[E]]
    ) -> DynamicFlag[E]:
        """
        Declare a dynamic flag that holds a member of the default's enumeration.
        """
        return self._declare(DynamicFlag, _kinds.enum_kind(type(default)), name, default, help, options)

    @overload
    def dyn_json(
        self,
        name: builtins.str,
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
        self,
        name: builtins.str,
        default: JSONValue,
        help: builtins.str = ...,
        *,
        schema: Schema | None = ...,
        yaml: builtins.bool = ...,
        **options: Unpack[Options[JSONValue]],
    ) -> DynamicFlag[JSONValue]: ...
    def dyn_json(
        self,
        name: builtins.str,
        default: Any,
        help: builtins.str = "",
        *,
        type: builtins.type[Any] | None = None,
        schema: Schema | None = None,
        yaml: builtins.bool = False,
        **options: Unpack[Options[Any]],
    ) -> DynamicFlag[Any]:
        """
        Declare a dynamic flag that holds a JSON value.

        Args:
            name: As for every flag.
            default: As for every flag; with *type* a value of that type.
            help: As for every flag.
            type: A dataclass, TypedDict or pydantic model to hand out instead of plain JSON; needs ``dflag[pydantic]``.
            schema: A JSON Schema (2020-12 unless its ``$schema`` says otherwise) that every value must satisfy.
            yaml: Whether YAML is accepted beside JSON.
            **options: As for every flag.
        """
        kind = json_kind(name, type=type, schema=schema, yaml=yaml)
        return self._declare(DynamicFlag, kind, name, default, help, options)

    @overload
    def map(
        self,
        name: builtins.str,
        default: Mapping[builtins.str, builtins.str],
        help: builtins.str = ...,
        *,
        keys: builtins.str,
        of: Literal["string"] = ...,
        **options: Unpack[Options[Mapping[builtins.str, builtins.str]]],
    ) -> StaticFlag[Mapping[builtins.str, builtins.str]]: ...
    @overload
    def map(
        self,
        name: builtins.str,
        default: Mapping[builtins.str, builtins.int],
        help: builtins.str = ...,
        *,
        keys: builtins.str,
        of: Literal["int"],
        **options: Unpack[Options[Mapping[builtins.str, builtins.int]]],
    ) -> StaticFlag[Mapping[builtins.str, builtins.int]]: ...
    @overload
    def map(
        self,
        name: builtins.str,
        default: Mapping[builtins.str, builtins.float],
        help: builtins.str = ...,
        *,
        keys: builtins.str,
        of: Literal["float"],
        **options: Unpack[Options[Mapping[builtins.str, builtins.float]]],
    ) -> StaticFlag[Mapping[builtins.str, builtins.float]]: ...
    @overload
    def map(
        self,
        name: builtins.str,
        default: Mapping[builtins.str, builtins.bool],
        help: builtins.str = ...,
        *,
        keys: builtins.str,
        of: Literal["bool"],
        **options: Unpack[Options[Mapping[builtins.str, builtins.bool]]],
    ) -> StaticFlag[Mapping[builtins.str, builtins.bool]]: ...
    @overload
    def map(
        self,
        name: builtins.str,
        default: Mapping[builtins.str, datetime.timedelta],
        help: builtins.str = ...,
        *,
        keys: builtins.str,
        of: Literal["duration"],
        **options: Unpack[Options[Mapping[builtins.str, datetime.timedelta]]],
    ) -> StaticFlag[Mapping[builtins.str, datetime.timedelta]]: ...
    @overload
    def map(
        self,
        name: builtins.str,
        default: Mapping[builtins.str, Any],
        help: builtins.str = ...,
        *,
        keys: builtins.str,
        of: Literal["string_list", "string_set", "bytes", "json"],
        **options: Unpack[Options[Mapping[builtins.str, Any]]],
    ) -> StaticFlag[Mapping[builtins.str, Any]]: ...
    def map(
        self,
        name: builtins.str,
        default: Mapping[builtins.str, Any],
        help: builtins.str = "",
        *,
        keys: builtins.str,
        of: builtins.str = "string",
        **options: Unpack[Options[Any]],
    ) -> StaticFlag[Mapping[builtins.str, Any]]:
        """
        Declare a static flag that holds a read-only mapping of all keys of the sources that fit a pattern.

        A key that is the name of a declared flag is left to that flag. Of several sources the mappings are put
        together, a later source's values on top. Command line and environment give the whole as a JSON object.

        Args:
            name: As for every flag.
            default: As for every flag; shown while no source has such a key.
            help: As for every flag.
            keys: The pattern, as in `fnmatch`, case-sensitive: ``"*.endpoint"``.
            of: The kind of the values: ``"string"``, ``"int"``, ``"float"``, ``"bool"``, ``"duration"``,
                ``"string_list"``, ``"string_set"``, ``"bytes"`` or ``"json"``.
            **options: As for every flag; *input_mutator* and *strip* are for the text of each key,
                *validator* and *mutator* for the mapping.
        """
        return self._declare(StaticFlag, map_kind(name, keys, of), name, default, help, options)

    @overload
    def dyn_map(
        self,
        name: builtins.str,
        default: Mapping[builtins.str, builtins.str],
        help: builtins.str = ...,
        *,
        keys: builtins.str,
        of: Literal["string"] = ...,
        **options: Unpack[Options[Mapping[builtins.str, builtins.str]]],
    ) -> DynamicFlag[Mapping[builtins.str, builtins.str]]: ...
    @overload
    def dyn_map(
        self,
        name: builtins.str,
        default: Mapping[builtins.str, builtins.int],
        help: builtins.str = ...,
        *,
        keys: builtins.str,
        of: Literal["int"],
        **options: Unpack[Options[Mapping[builtins.str, builtins.int]]],
    ) -> DynamicFlag[Mapping[builtins.str, builtins.int]]: ...
    @overload
    def dyn_map(
        self,
        name: builtins.str,
        default: Mapping[builtins.str, builtins.float],
        help: builtins.str = ...,
        *,
        keys: builtins.str,
        of: Literal["float"],
        **options: Unpack[Options[Mapping[builtins.str, builtins.float]]],
    ) -> DynamicFlag[Mapping[builtins.str, builtins.float]]: ...
    @overload
    def dyn_map(
        self,
        name: builtins.str,
        default: Mapping[builtins.str, builtins.bool],
        help: builtins.str = ...,
        *,
        keys: builtins.str,
        of: Literal["bool"],
        **options: Unpack[Options[Mapping[builtins.str, builtins.bool]]],
    ) -> DynamicFlag[Mapping[builtins.str, builtins.bool]]: ...
    @overload
    def dyn_map(
        self,
        name: builtins.str,
        default: Mapping[builtins.str, datetime.timedelta],
        help: builtins.str = ...,
        *,
        keys: builtins.str,
        of: Literal["duration"],
        **options: Unpack[Options[Mapping[builtins.str, datetime.timedelta]]],
    ) -> DynamicFlag[Mapping[builtins.str, datetime.timedelta]]: ...
    @overload
    def dyn_map(
        self,
        name: builtins.str,
        default: Mapping[builtins.str, Any],
        help: builtins.str = ...,
        *,
        keys: builtins.str,
        of: Literal["string_list", "string_set", "bytes", "json"],
        **options: Unpack[Options[Mapping[builtins.str, Any]]],
    ) -> DynamicFlag[Mapping[builtins.str, Any]]: ...
    def dyn_map(
        self,
        name: builtins.str,
        default: Mapping[builtins.str, Any],
        help: builtins.str = "",
        *,
        keys: builtins.str,
        of: builtins.str = "string",
        **options: Unpack[Options[Any]],
    ) -> DynamicFlag[Mapping[builtins.str, Any]]:
        """
        Declare a dynamic flag that holds a read-only mapping of all keys of the sources that fit a pattern.

        A key that is the name of a declared flag is left to that flag. Of several sources the mappings are put
        together, a later source's values on top. Command line and environment give the whole as a JSON object.

        Args:
            name: As for every flag.
            default: As for every flag; shown while no source has such a key.
            help: As for every flag.
            keys: The pattern, as in `fnmatch`, case-sensitive: ``"*.endpoint"``.
            of: The kind of the values: ``"string"``, ``"int"``, ``"float"``, ``"bool"``, ``"duration"``,
                ``"string_list"``, ``"string_set"``, ``"bytes"`` or ``"json"``.
            **options: As for every flag; *input_mutator* and *strip* are for the text of each key,
                *validator* and *mutator* for the mapping.
        """
        return self._declare(DynamicFlag, map_kind(name, keys, of), name, default, help, options)


def map_kind(name: builtins.str, keys: builtins.str, of: builtins.str) -> _kinds.Kind[Any]:
    """
    Make the kind of a flag that gathers keys; what is wrong with its options is a fault in the declaration.
    """
    from dflag._kinds import maps  # not every program has such flags

    try:
        return maps.map_kind(keys, of)
    except ValueError as error:
        raise DefinitionError(f"flag {name!r}: {error}") from error


def json_kind(
    name: builtins.str, *, type: type[Any] | None, schema: Schema | None, yaml: builtins.bool
) -> _kinds.Kind[Any]:
    """
    Make the kind of a JSON flag; what is wrong with its schema or type is a fault in the declaration.
    """
    try:
        return _kinds.json_kind(schema=schema, type=type, yaml=yaml)
    except ValueError as error:
        raise DefinitionError(f"flag {name!r}: {error}") from error


def caller() -> tuple[builtins.str, builtins.int]:
    """
    Find the file and line outside of dflag that is declaring a flag.
    """
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "dflag":
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno
