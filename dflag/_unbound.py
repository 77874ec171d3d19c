"""
Flags that a library makes and the program binds: ``dflag.dyn_int(default, help)`` and its siblings.

An unbound flag works at once. When it is bound, it keeps its override.

Each function does the same as the method of the registry, and has the docstring of the method. Its signature has the
keyword *name* at the end instead of the first parameter. A `ParamSpec` can remove a parameter, but cannot add a keyword
(PEP 612).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from enum import Enum
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec, TypeVar, Unpack, cast, overload

from dflag._declarations import Bools, Declarations, Durations, Floats, Ints, Schema, Texts, Values
from dflag._faults import caller
from dflag._flags import UNBOUND, DynamicFlag, Flag, StaticFlag, set_bind_name
from dflag._registry import is_key, make_flag
from dflag._store import NO_STORE
from dflag.errors import ArgumentError, DefinitionError, checked_text

if TYPE_CHECKING:
    import builtins
    import datetime
    from collections.abc import Iterable, Sequence

    from dflag import _kinds
    from dflag._options import (
        Callbacks,
        CommonOptions,
        Formatter,
        Mutator,
        Options,
        Parser,
        RangeOptions,
        Validators,
    )
    from dflag.typing import JSONValue

T = TypeVar("T")
F = TypeVar("F", bound=Flag[Any])
E = TypeVar("E", bound=Enum)
P = ParamSpec("P")
C = TypeVar("C", bound=Callable[..., Any])

if TYPE_CHECKING:
    from typing import Protocol

    D_contra = TypeVar("D_contra", contravariant=True)

    class _Declare(Protocol[D_contra, T]):
        """
        A function that makes an unbound dynamic flag. Written out: pyright does not count an inferred type as public.
        """

        def __call__(
            self,
            default: D_contra,
            help: builtins.str = "",
            *,
            name: builtins.str | None = None,
            **options: Unpack[Options[T]],
        ) -> DynamicFlag[T]: ...

    class _DeclareRange(Protocol[T]):
        """
        Like `_Declare`, for a flag with inclusive limits.
        """

        def __call__(
            self,
            default: T,
            help: builtins.str = "",
            *,
            name: builtins.str | None = None,
            **options: Unpack[RangeOptions[T]],
        ) -> DynamicFlag[T]: ...


class _Library(Declarations):
    """
    Declares flags that belong to no registry yet.

    Args:
        bind_name: The name under which a class of flags should bind the flag; None for the name of its attribute.
    """

    __slots__ = ("_bind_name",)

    def __init__(self, bind_name: str | None) -> None:
        if bind_name is not None:
            bind_name = checked_text("name", bind_name, subject=f"flag {UNBOUND!r}: ")
            if not is_key(bind_name):  # the name becomes a part of a key, after the prefix of a class
                raise DefinitionError(
                    f"flag {UNBOUND!r}: expected name as 1 to 253 characters of [-._a-zA-Z0-9], got {bind_name!r}"
                )
        self._bind_name: Final = bind_name

    def _declare(
        self,
        cls: builtins.type[F],
        kind: _kinds.Kind[Any],
        name: str,
        default: Any,
        help: str,
        options: Any,
    ) -> F:
        flag = make_flag(NO_STORE, cls, kind, name, default, help, options, caller())
        if self._bind_name is not None:
            set_bind_name(flag, self._bind_name)
        return flag


_UNNAMED: Final = _Library(None)


def _library(bind_name: str | None) -> _Library:
    return _UNNAMED if bind_name is None else _Library(bind_name)


def _dynamic(static: Callable[P, StaticFlag[T]]) -> Callable[P, DynamicFlag[T]]:
    """
    Return the function that declares a dynamic flag, with the parameters of the function for a static flag.

    Not for generic functions: mypy 2.4 infers their types too, but its messages about other modules then depend on the
    state of its cache.
    """
    model: FunctionType = static.__wrapped__  # type: ignore[attr-defined]  # set by `_described`
    kind = model.__name__
    method = getattr(Declarations, f"dyn_{kind}")

    def declare(default: Any, help: str = "", *, name: str | None = None, **options: Any) -> Any:
        return method(_library(name), UNBOUND, default, help, **options)

    # For `inspect.signature`, without importing `inspect`: the parameters of *static*, with another return type.
    signature = FunctionType(model.__code__, model.__globals__, declare.__name__, model.__defaults__)
    signature.__kwdefaults__ = model.__kwdefaults__
    signature.__annotations__ = {
        parameter: annotation.replace("StaticFlag", "DynamicFlag")
        for parameter, annotation in model.__annotations__.items()
    }
    declare.__annotations__ = signature.__annotations__
    declare.__name__ = declare.__qualname__ = method.__name__
    declare.__wrapped__ = signature  # type: ignore[attr-defined]  # as set by functools.wraps
    return cast("Callable[P, DynamicFlag[T]]", _described(declare))


def _described(function: C) -> C:
    """
    Replace a function's docstring, a line for editors, by that of the registry's method for a dynamic flag.
    """
    name = cast("FunctionType", function).__name__
    kind = name.removeprefix("dyn_")
    text: str | None = getattr(Declarations, f"dyn_{kind}").__doc__
    if text is not None:  # with -OO there are no docstrings
        text = text.replace("Declare a dynamic", f"Make an unbound {'static' if name == kind else 'dynamic'}", 1)
        text = text.replace("\n        >>> flags = dflag.FlagRegistry()", "", 1)
        text = re.sub(rf'\bflags\.dyn_{kind}\("[^"]*", ', f"dflag.{name}(", text)
        function.__doc__ = text.replace("\n\n        >>> ", _ABOUT_NAME, 1)
    function.__module__ = "dflag"  # where users find it; in this module Sphinx would find the line for editors
    return _in_order(function)


def _in_order(function: C) -> C:
    """
    Return a function that refuses arguments in the order of the registry's method, where the name comes first.
    """
    name = cast("FunctionType", function).__name__

    @functools.wraps(function)
    def declare(*args: Any, **options: Any) -> Any:
        if len(args) > 2 or not all(isinstance(help, str) for help in args[1:]):
            raise ArgumentError(f"dflag.{name}(): expected the default, then the help; the name goes into name=")
        return function(*args, **options)

    return cast("C", declare)


_ABOUT_NAME: Final = """ With *name* a class of flags
        binds the flag under that name, behind the class's prefix, instead of the name of its attribute.

        >>> """


@_described
def string(
    default: str, help: str = "", *, name: str | None = None, **options: Unpack[Options[str]]
) -> StaticFlag[str]:
    """
    Make an unbound `FlagRegistry.string`.
    """
    return _library(name).string(UNBOUND, default, help, **options)


dyn_string: _Declare[builtins.str, builtins.str] = _dynamic(string)
"""Make an unbound `FlagRegistry.dyn_string`."""


@_described
def int(
    default: builtins.int, help: str = "", *, name: str | None = None, **options: Unpack[RangeOptions[builtins.int]]
) -> StaticFlag[builtins.int]:
    """
    Make an unbound `FlagRegistry.int`.
    """
    return _library(name).int(UNBOUND, default, help, **options)


dyn_int: _DeclareRange[builtins.int] = _dynamic(int)
"""Make an unbound `FlagRegistry.dyn_int`."""


@_described
def float(
    default: builtins.float,
    help: str = "",
    *,
    name: str | None = None,
    **options: Unpack[RangeOptions[builtins.float]],
) -> StaticFlag[builtins.float]:
    """
    Make an unbound `FlagRegistry.float`.
    """
    return _library(name).float(UNBOUND, default, help, **options)


dyn_float: _DeclareRange[builtins.float] = _dynamic(float)
"""Make an unbound `FlagRegistry.dyn_float`."""


@_described
def bool(
    default: builtins.bool, help: str = "", *, name: str | None = None, **options: Unpack[Options[builtins.bool]]
) -> StaticFlag[builtins.bool]:
    """
    Make an unbound `FlagRegistry.bool`.
    """
    return _library(name).bool(UNBOUND, default, help, **options)


dyn_bool: _Declare[builtins.bool, builtins.bool] = _dynamic(bool)
"""Make an unbound `FlagRegistry.dyn_bool`."""


@_described
def duration(
    default: datetime.timedelta,
    help: str = "",
    *,
    name: str | None = None,
    **options: Unpack[RangeOptions[datetime.timedelta]],
) -> StaticFlag[datetime.timedelta]:
    """
    Make an unbound `FlagRegistry.duration`.
    """
    return _library(name).duration(UNBOUND, default, help, **options)


dyn_duration: _DeclareRange[datetime.timedelta] = _dynamic(duration)
"""Make an unbound `FlagRegistry.dyn_duration`."""


@_described
def string_list(
    default: Sequence[str],
    help: str = "",
    *,
    name: str | None = None,
    **options: Unpack[Options[tuple[str, ...]]],
) -> StaticFlag[tuple[str, ...]]:
    """
    Make an unbound `FlagRegistry.string_list`.
    """
    return _library(name).string_list(UNBOUND, default, help, **options)


dyn_string_list: _Declare[Sequence[builtins.str], tuple[builtins.str, ...]] = _dynamic(string_list)
"""Make an unbound `FlagRegistry.dyn_string_list`."""


@_described
def string_set(
    default: Iterable[str],
    help: str = "",
    *,
    name: str | None = None,
    **options: Unpack[Options[frozenset[str]]],
) -> StaticFlag[frozenset[str]]:
    """
    Make an unbound `FlagRegistry.string_set`.
    """
    return _library(name).string_set(UNBOUND, default, help, **options)


dyn_string_set: _Declare[Iterable[builtins.str], frozenset[builtins.str]] = _dynamic(string_set)
"""Make an unbound `FlagRegistry.dyn_string_set`."""


@_described
def bytes(
    default: builtins.bytes, help: str = "", *, name: str | None = None, **options: Unpack[Options[builtins.bytes]]
) -> StaticFlag[builtins.bytes]:
    """
    Make an unbound `FlagRegistry.bytes`.
    """
    return _library(name).bytes(UNBOUND, default, help, **options)


dyn_bytes: _Declare[builtins.bytes, builtins.bytes] = _dynamic(bytes)
"""Make an unbound `FlagRegistry.dyn_bytes`."""


@_described
def enum(
    default: E,
    help: str = "",
    *,
    validator: Validators[E] = (),
    on_change: Callbacks[E] = (),
    mutator: Mutator[E] | None = None,
    name: str | None = None,
    **options: Unpack[CommonOptions],
) -> StaticFlag[E]:
    """
    Make an unbound `FlagRegistry.enum`.
    """
    return _library(name).enum(
        UNBOUND, default, help, validator=validator, on_change=on_change, mutator=mutator, **options
    )


@_described
def dyn_enum(
    default: E,
    help: str = "",
    *,
    validator: Validators[E] = (),
    on_change: Callbacks[E] = (),
    mutator: Mutator[E] | None = None,
    name: str | None = None,
    **options: Unpack[CommonOptions],
) -> DynamicFlag[E]:
    """
    Make an unbound `FlagRegistry.dyn_enum`.
    """
    return _library(name).dyn_enum(
        UNBOUND, default, help, validator=validator, on_change=on_change, mutator=mutator, **options
    )


@overload
def json(
    default: object,
    help: str = ...,
    *,
    type: type[T],
    schema: Schema | None = ...,
    yaml: builtins.bool = ...,
    name: str | None = ...,
    **options: Unpack[Options[T]],
) -> StaticFlag[T]: ...
@overload
def json(
    default: JSONValue,
    help: str = ...,
    *,
    schema: Schema | None = ...,
    yaml: builtins.bool = ...,
    name: str | None = ...,
    **options: Unpack[Options[JSONValue]],
) -> StaticFlag[JSONValue]: ...
@_described
def json(
    default: Any,
    help: str = "",
    *,
    type: builtins.type[Any] | None = None,
    schema: Schema | None = None,
    yaml: builtins.bool = False,
    name: str | None = None,
    **options: Unpack[Options[Any]],
) -> StaticFlag[Any]:
    """
    Make an unbound `FlagRegistry.json`.
    """
    declare: Callable[..., StaticFlag[Any]] = _library(name).json
    return declare(UNBOUND, default, help, type=type, schema=schema, yaml=yaml, **options)


@overload
def dyn_json(
    default: object,
    help: str = ...,
    *,
    type: type[T],
    schema: Schema | None = ...,
    yaml: builtins.bool = ...,
    name: str | None = ...,
    **options: Unpack[Options[T]],
) -> DynamicFlag[T]: ...
@overload
def dyn_json(
    default: JSONValue,
    help: str = ...,
    *,
    schema: Schema | None = ...,
    yaml: builtins.bool = ...,
    name: str | None = ...,
    **options: Unpack[Options[JSONValue]],
) -> DynamicFlag[JSONValue]: ...
@_described
def dyn_json(
    default: Any,
    help: str = "",
    *,
    type: builtins.type[Any] | None = None,
    schema: Schema | None = None,
    yaml: builtins.bool = False,
    name: str | None = None,
    **options: Unpack[Options[Any]],
) -> DynamicFlag[Any]:
    """
    Make an unbound `FlagRegistry.dyn_json`.
    """
    declare: Callable[..., DynamicFlag[Any]] = _library(name).dyn_json
    return declare(UNBOUND, default, help, type=type, schema=schema, yaml=yaml, **options)


@overload
def map(
    default: Texts,
    help: str = ...,
    *,
    keys: str,
    of: Literal["string"] = ...,
    name: str | None = ...,
    **options: Unpack[Options[Texts]],
) -> StaticFlag[Texts]: ...
@overload
def map(
    default: Ints,
    help: str = ...,
    *,
    keys: str,
    of: Literal["int"],
    name: str | None = ...,
    **options: Unpack[Options[Ints]],
) -> StaticFlag[Ints]: ...
@overload
def map(
    default: Floats,
    help: str = ...,
    *,
    keys: str,
    of: Literal["float"],
    name: str | None = ...,
    **options: Unpack[Options[Floats]],
) -> StaticFlag[Floats]: ...
@overload
def map(
    default: Bools,
    help: str = ...,
    *,
    keys: str,
    of: Literal["bool"],
    name: str | None = ...,
    **options: Unpack[Options[Bools]],
) -> StaticFlag[Bools]: ...
@overload
def map(
    default: Durations,
    help: str = ...,
    *,
    keys: str,
    of: Literal["duration"],
    name: str | None = ...,
    **options: Unpack[Options[Durations]],
) -> StaticFlag[Durations]: ...
@overload
def map(
    default: Values,
    help: str = ...,
    *,
    keys: str,
    of: Literal["string_list", "string_set", "bytes", "json"],
    name: str | None = ...,
    **options: Unpack[Options[Values]],
) -> StaticFlag[Values]: ...
@_described
def map(
    default: Values,
    help: str = "",
    *,
    keys: str,
    of: str = "string",
    name: str | None = None,
    **options: Unpack[Options[Any]],
) -> StaticFlag[Values]:
    """
    Make an unbound `FlagRegistry.map`.
    """
    declare: Callable[..., StaticFlag[Values]] = _library(name).map
    return declare(UNBOUND, default, help, keys=keys, of=of, **options)


@overload
def dyn_map(
    default: Texts,
    help: str = ...,
    *,
    keys: str,
    of: Literal["string"] = ...,
    name: str | None = ...,
    **options: Unpack[Options[Texts]],
) -> DynamicFlag[Texts]: ...
@overload
def dyn_map(
    default: Ints,
    help: str = ...,
    *,
    keys: str,
    of: Literal["int"],
    name: str | None = ...,
    **options: Unpack[Options[Ints]],
) -> DynamicFlag[Ints]: ...
@overload
def dyn_map(
    default: Floats,
    help: str = ...,
    *,
    keys: str,
    of: Literal["float"],
    name: str | None = ...,
    **options: Unpack[Options[Floats]],
) -> DynamicFlag[Floats]: ...
@overload
def dyn_map(
    default: Bools,
    help: str = ...,
    *,
    keys: str,
    of: Literal["bool"],
    name: str | None = ...,
    **options: Unpack[Options[Bools]],
) -> DynamicFlag[Bools]: ...
@overload
def dyn_map(
    default: Durations,
    help: str = ...,
    *,
    keys: str,
    of: Literal["duration"],
    name: str | None = ...,
    **options: Unpack[Options[Durations]],
) -> DynamicFlag[Durations]: ...
@overload
def dyn_map(
    default: Values,
    help: str = ...,
    *,
    keys: str,
    of: Literal["string_list", "string_set", "bytes", "json"],
    name: str | None = ...,
    **options: Unpack[Options[Values]],
) -> DynamicFlag[Values]: ...
@_described
def dyn_map(
    default: Values,
    help: str = "",
    *,
    keys: str,
    of: str = "string",
    name: str | None = None,
    **options: Unpack[Options[Any]],
) -> DynamicFlag[Values]:
    """
    Make an unbound `FlagRegistry.dyn_map`.
    """
    declare: Callable[..., DynamicFlag[Values]] = _library(name).dyn_map
    return declare(UNBOUND, default, help, keys=keys, of=of, **options)


@_described
def custom(
    default: T,
    help: str = "",
    *,
    parse: Parser[T],
    format: Formatter[T] = str,
    validator: Validators[T] = (),
    on_change: Callbacks[T] = (),
    mutator: Mutator[T] | None = None,
    name: str | None = None,
    **options: Unpack[CommonOptions],
) -> StaticFlag[T]:
    """
    Make an unbound `FlagRegistry.custom`.
    """
    return _library(name).custom(
        UNBOUND,
        default,
        help,
        parse=parse,
        format=format,
        validator=validator,
        on_change=on_change,
        mutator=mutator,
        **options,
    )


@_described
def dyn_custom(
    default: T,
    help: str = "",
    *,
    parse: Parser[T],
    format: Formatter[T] = str,
    validator: Validators[T] = (),
    on_change: Callbacks[T] = (),
    mutator: Mutator[T] | None = None,
    name: str | None = None,
    **options: Unpack[CommonOptions],
) -> DynamicFlag[T]:
    """
    Make an unbound `FlagRegistry.dyn_custom`.
    """
    return _library(name).dyn_custom(
        UNBOUND,
        default,
        help,
        parse=parse,
        format=format,
        validator=validator,
        on_change=on_change,
        mutator=mutator,
        **options,
    )
