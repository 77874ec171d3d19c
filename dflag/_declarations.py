"""
One method for each kind of flag, static and dynamic.

Inside the class the names ``int``, ``bool``, ``type`` ... are methods, so types are written as ``builtins.int``.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, Unpack, overload

from dflag import _kinds
from dflag._flags import DynamicFlag, Flag, StaticFlag
from dflag._pipeline import check_plain_function
from dflag.errors import DefinitionError, ValidationError, check_argument, checked_text, subject_of

if TYPE_CHECKING:
    import builtins
    import datetime
    from collections.abc import Iterable, Mapping, Sequence

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
Schema: TypeAlias = "Mapping[str, Any] | builtins.bool"
Texts: TypeAlias = "Mapping[str, str]"
Ints: TypeAlias = "Mapping[str, builtins.int]"
Floats: TypeAlias = "Mapping[str, builtins.float]"
Bools: TypeAlias = "Mapping[str, builtins.bool]"
Durations: TypeAlias = "Mapping[str, datetime.timedelta]"
Values: TypeAlias = "Mapping[str, Any]"


class Declarations:
    """
    The declaring methods of `FlagRegistry`.

    All of them take ``(name, default, help="", **options)`` and return the flag. They raise `DefinitionError`
    if the name, the default or an option is invalid, and `DuplicateFlagError` if the name is taken.
    """

    __slots__ = ()

    def _declare(
        self,
        cls: builtins.type[F],
        kind: _kinds.Kind[Any],
        name: str,
        default: Any,
        help: str,
        options: Any,
    ) -> F:
        raise NotImplementedError

    def string(self, name: str, default: str, help: str = "", **options: Unpack[Options[str]]) -> StaticFlag[str]:
        """
        Declare a static flag that holds a string.

        The text is the value. Surrounding white space is dropped unless ``strip=False``.

        Args:
            name: 1 to 253 characters of ``[-._a-zA-Z0-9]``; the first must not be a dot.
            default: The value when no layer holds one.
            help: What the flag is for, in one sentence.
            **options: For every flag: *validator*, *on_change*, *mutator*, *input_mutator*, *choices*, *strip*,
                *secret*, *deprecated*, *owner* and *expires*.

        Raises:
            DefinitionError: The name, the default or an option is invalid.
            DuplicateFlagError: The name is taken.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> flags.string("listen", "127.0.0.1").get()
        '127.0.0.1'
        """
        return self._declare(StaticFlag, _kinds.STRING, name, default, help, options)

    def dyn_string(self, name: str, default: str, help: str = "", **options: Unpack[Options[str]]) -> DynamicFlag[str]:
        """
        Declare a dynamic flag that holds a string.

        Grammar, options and errors are those of `FlagRegistry.string`. The option *by*, which only dynamic
        flags have, says what the keys of `Flag.for_` are, such as ``"tenant"``.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> flag = flags.dyn_string("greeting", "hello")
        >>> flag.set_text("good morning")
        >>> flag.get()
        'good morning'
        """
        return self._declare(DynamicFlag, _kinds.STRING, name, default, help, options)

    def int(
        self, name: str, default: builtins.int, help: str = "", **options: Unpack[RangeOptions[builtins.int]]
    ) -> StaticFlag[builtins.int]:
        """
        Declare a static flag that holds a 64-bit integer.

        The text is an integer in Go syntax: ``42``, ``-7``, ``0x1F``, ``0b101``, ``0o17``, ``1_000``. A leading zero,
        as in ``017``, is an error, and so is a number outside the signed 64-bit range.

        Args:
            name: 1 to 253 characters of ``[-._a-zA-Z0-9]``; the first must not be a dot.
            default: The value when no layer holds one.
            help: What the flag is for, in one sentence.
            **options: For every flag: *validator*, *on_change*, *mutator*, *input_mutator*, *choices*, *strip*,
                *secret*, *deprecated*, *owner* and *expires*. *min* and *max* are inclusive limits.

        Raises:
            DefinitionError: The name, the default or an option is invalid.
            DuplicateFlagError: The name is taken.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> flags.int("port", 8080, min=1).get()
        8080
        """
        return self._declare(StaticFlag, _kinds.INT, name, default, help, options)

    def dyn_int(
        self, name: str, default: builtins.int, help: str = "", **options: Unpack[RangeOptions[builtins.int]]
    ) -> DynamicFlag[builtins.int]:
        """
        Declare a dynamic flag that holds a 64-bit integer.

        Grammar, options and errors are those of `FlagRegistry.int`. The option *by*, which only dynamic
        flags have, says what the keys of `Flag.for_` are, such as ``"tenant"``.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> flag = flags.dyn_int("rate_limit", 50, min=1)
        >>> flag.set_text("1_000")
        >>> flag.get()
        1000
        """
        return self._declare(DynamicFlag, _kinds.INT, name, default, help, options)

    def float(
        self, name: str, default: builtins.float, help: str = "", **options: Unpack[RangeOptions[builtins.float]]
    ) -> StaticFlag[builtins.float]:
        """
        Declare a static flag that holds a floating-point number.

        The text is a decimal number in Go syntax: ``2.5``, ``.5``, ``1e3``, ``1_000``, ``inf``. NaN, hexadecimal
        numbers and an overflow such as ``1e400`` are errors.

        Args:
            name: 1 to 253 characters of ``[-._a-zA-Z0-9]``; the first must not be a dot.
            default: The value when no layer holds one.
            help: What the flag is for, in one sentence.
            **options: For every flag: *validator*, *on_change*, *mutator*, *input_mutator*, *choices*, *strip*,
                *secret*, *deprecated*, *owner* and *expires*. *min* and *max* are inclusive limits.

        Raises:
            DefinitionError: The name, the default or an option is invalid.
            DuplicateFlagError: The name is taken.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> flags.float("share", 0.5, min=0, max=1).get()
        0.5
        """
        return self._declare(StaticFlag, _kinds.FLOAT, name, default, help, options)

    def dyn_float(
        self, name: str, default: builtins.float, help: str = "", **options: Unpack[RangeOptions[builtins.float]]
    ) -> DynamicFlag[builtins.float]:
        """
        Declare a dynamic flag that holds a floating-point number.

        Grammar, options and errors are those of `FlagRegistry.float`. The option *by*, which only dynamic
        flags have, says what the keys of `Flag.for_` are, such as ``"tenant"``.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> flag = flags.dyn_float("share", 0.5, min=0, max=1)
        >>> flag.set_text("25e-2")
        >>> flag.get()
        0.25
        """
        return self._declare(DynamicFlag, _kinds.FLOAT, name, default, help, options)

    def bool(
        self, name: str, default: builtins.bool, help: str = "", **options: Unpack[Options[builtins.bool]]
    ) -> StaticFlag[builtins.bool]:
        """
        Declare a static flag that holds true or false.

        The text is ``true``, ``t``, ``yes``, ``y``, ``on`` or ``1``, or ``false``, ``f``, ``no``, ``n``, ``off`` or
        ``0``, in upper, lower or mixed case.

        Args:
            name: 1 to 253 characters of ``[-._a-zA-Z0-9]``; the first must not be a dot.
            default: The value when no layer holds one.
            help: What the flag is for, in one sentence.
            **options: For every flag: *validator*, *on_change*, *mutator*, *input_mutator*, *choices*, *strip*,
                *secret*, *deprecated*, *owner* and *expires*.

        Raises:
            DefinitionError: The name, the default or an option is invalid.
            DuplicateFlagError: The name is taken.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> flags.bool("verbose", False).get()
        False
        """
        return self._declare(StaticFlag, _kinds.BOOL, name, default, help, options)

    def dyn_bool(
        self, name: str, default: builtins.bool, help: str = "", **options: Unpack[Options[builtins.bool]]
    ) -> DynamicFlag[builtins.bool]:
        """
        Declare a dynamic flag that holds true or false.

        Grammar, options and errors are those of `FlagRegistry.bool`. The option *by*, which only dynamic
        flags have, says what the keys of `Flag.for_` are, such as ``"tenant"``.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> flag = flags.dyn_bool("verbose", False)
        >>> flag.set_text("yes")
        >>> flag.get()
        True
        """
        return self._declare(DynamicFlag, _kinds.BOOL, name, default, help, options)

    def duration(
        self,
        name: str,
        default: datetime.timedelta,
        help: str = "",
        **options: Unpack[RangeOptions[datetime.timedelta]],
    ) -> StaticFlag[datetime.timedelta]:
        """
        Declare a static flag that holds a duration.

        The text consists of numbers with units, in Go syntax plus ``d`` and ``w``: ``1h30m``, ``250ms``, ``1w2d``,
        ``-2m``, ``0``. A number without a unit is an error, except for ``0``. Values are rounded to microseconds, and
        at most 292 years long.

        Args:
            name: 1 to 253 characters of ``[-._a-zA-Z0-9]``; the first must not be a dot.
            default: The value when no layer holds one.
            help: What the flag is for, in one sentence.
            **options: For every flag: *validator*, *on_change*, *mutator*, *input_mutator*, *choices*, *strip*,
                *secret*, *deprecated*, *owner* and *expires*. *min* and *max* are inclusive limits.

        Raises:
            DefinitionError: The name, the default or an option is invalid.
            DuplicateFlagError: The name is taken.

        >>> import dflag
        >>> from datetime import timedelta
        >>> flags = dflag.FlagRegistry()
        >>> flags.duration("grace", timedelta(seconds=30)).get()
        datetime.timedelta(seconds=30)
        """
        return self._declare(StaticFlag, _kinds.DURATION, name, default, help, options)

    def dyn_duration(
        self,
        name: str,
        default: datetime.timedelta,
        help: str = "",
        **options: Unpack[RangeOptions[datetime.timedelta]],
    ) -> DynamicFlag[datetime.timedelta]:
        """
        Declare a dynamic flag that holds a duration.

        Grammar, options and errors are those of `FlagRegistry.duration`. The option *by*, which only dynamic
        flags have, says what the keys of `Flag.for_` are, such as ``"tenant"``.

        >>> import dflag
        >>> from datetime import timedelta
        >>> flags = dflag.FlagRegistry()
        >>> flag = flags.dyn_duration("timeout", timedelta(seconds=2))
        >>> flag.set_text("1m30s")
        >>> flag.get()
        datetime.timedelta(seconds=90)
        """
        return self._declare(DynamicFlag, _kinds.DURATION, name, default, help, options)

    def string_list(
        self, name: str, default: Sequence[str], help: str = "", **options: Unpack[Options[tuple[str, ...]]]
    ) -> StaticFlag[tuple[str, ...]]:
        """
        Declare a static flag that holds a list of strings.

        The text is a comma-separated list, each item of which is stripped, or a JSON array: ``a, b`` or
        ``["a", "b,c"]``. An empty text is an empty list.

        Args:
            name: 1 to 253 characters of ``[-._a-zA-Z0-9]``; the first must not be a dot.
            default: The value when no layer holds one.
            help: What the flag is for, in one sentence.
            **options: For every flag: *validator*, *on_change*, *mutator*, *input_mutator*, *choices*, *strip*,
                *secret*, *deprecated*, *owner* and *expires*. *choices* applies to each item.

        Raises:
            DefinitionError: The name, the default or an option is invalid.
            DuplicateFlagError: The name is taken.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> flags.string_list("hosts", ["a", "b"]).get()
        ('a', 'b')
        """
        return self._declare(StaticFlag, _kinds.STRING_LIST, name, default, help, options)

    def dyn_string_list(
        self, name: str, default: Sequence[str], help: str = "", **options: Unpack[Options[tuple[str, ...]]]
    ) -> DynamicFlag[tuple[str, ...]]:
        """
        Declare a dynamic flag that holds a list of strings.

        Grammar, options and errors are those of `FlagRegistry.string_list`. The option *by*, which only dynamic
        flags have, says what the keys of `Flag.for_` are, such as ``"tenant"``.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> flag = flags.dyn_string_list("hosts", ["a", "b"])
        >>> flag.set_text("c, d")
        >>> flag.get()
        ('c', 'd')
        """
        return self._declare(DynamicFlag, _kinds.STRING_LIST, name, default, help, options)

    def string_set(
        self, name: str, default: Iterable[str], help: str = "", **options: Unpack[Options[frozenset[str]]]
    ) -> StaticFlag[frozenset[str]]:
        """
        Declare a static flag that holds a set of strings.

        The text is a comma-separated list, each item of which is stripped, or a JSON array. Duplicates are dropped. An
        empty text is an empty set.

        Args:
            name: 1 to 253 characters of ``[-._a-zA-Z0-9]``; the first must not be a dot.
            default: The value when no layer holds one.
            help: What the flag is for, in one sentence.
            **options: For every flag: *validator*, *on_change*, *mutator*, *input_mutator*, *choices*, *strip*,
                *secret*, *deprecated*, *owner* and *expires*. *choices* applies to each item.

        Raises:
            DefinitionError: The name, the default or an option is invalid.
            DuplicateFlagError: The name is taken.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> flags.string_set("zones", {"eu"}).get()
        frozenset({'eu'})
        """
        return self._declare(StaticFlag, _kinds.STRING_SET, name, default, help, options)

    def dyn_string_set(
        self, name: str, default: Iterable[str], help: str = "", **options: Unpack[Options[frozenset[str]]]
    ) -> DynamicFlag[frozenset[str]]:
        """
        Declare a dynamic flag that holds a set of strings.

        Grammar, options and errors are those of `FlagRegistry.string_set`. The option *by*, which only dynamic
        flags have, says what the keys of `Flag.for_` are, such as ``"tenant"``.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> flag = flags.dyn_string_set("zones", {"eu"})
        >>> flag.set_text("us, us")
        >>> flag.get()
        frozenset({'us'})
        """
        return self._declare(DynamicFlag, _kinds.STRING_SET, name, default, help, options)

    def bytes(
        self, name: str, default: builtins.bytes, help: str = "", **options: Unpack[Options[builtins.bytes]]
    ) -> StaticFlag[builtins.bytes]:
        """
        Declare a static flag that holds bytes.

        In a source or a ``--name_path`` file the value is the bytes themselves, which are never stripped. On the
        command line, in the environment, over HTTP and with ``set_text`` the text is padded base64.

        Args:
            name: 1 to 253 characters of ``[-._a-zA-Z0-9]``; the first must not be a dot.
            default: The value when no layer holds one.
            help: What the flag is for, in one sentence.
            **options: For every flag: *validator*, *on_change*, *mutator*, *input_mutator*, *choices*, *strip*,
                *secret*, *deprecated*, *owner* and *expires*. *input_mutator* and *strip* apply only to base64.

        Raises:
            DefinitionError: The name, the default or an option is invalid.
            DuplicateFlagError: The name is taken.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> flags.bytes("banner", b"hello").get()
        b'hello'
        """
        return self._declare(StaticFlag, _kinds.BYTES, name, default, help, options)

    def dyn_bytes(
        self, name: str, default: builtins.bytes, help: str = "", **options: Unpack[Options[builtins.bytes]]
    ) -> DynamicFlag[builtins.bytes]:
        """
        Declare a dynamic flag that holds bytes.

        Grammar, options and errors are those of `FlagRegistry.bytes`. The option *by*, which only dynamic
        flags have, says what the keys of `Flag.for_` are, such as ``"tenant"``.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> flag = flags.dyn_bytes("key", b"", secret=True)
        >>> flag.set_text("aGVsbG8=")
        >>> flag.get()
        b'hello'
        """
        return self._declare(DynamicFlag, _kinds.BYTES, name, default, help, options)

    def enum(
        self,
        name: str,
        default: E,
        help: str = "",
        *,
        validator: Validators[E] = (),
        on_change: Callbacks[E] = (),
        mutator: Mutator[E] | None = None,
        **options: Unpack[CommonOptions],
    ) -> StaticFlag[E]:
        """
        Declare a static flag that holds a member of the default's enumeration.

        The text is the name of a member or the text of a member's value; names take precedence. If neither matches
        exactly, upper and lower case are treated as equal, and the text must match only one member.

        Args:
            name: 1 to 253 characters of ``[-._a-zA-Z0-9]``; the first must not be a dot.
            default: The value when no layer holds one.
            help: What the flag is for, in one sentence.
            validator: One or several functions, which raise `ValueError` to refuse a value.
            on_change: One or several functions, called with the old and the new value after a change.
            mutator: Called with each value before validation; returns the value to use instead.
            **options: For every flag: *input_mutator*, *choices*, *strip*, *secret*, *deprecated*, *owner* and
                *expires*.

        Raises:
            DefinitionError: The name, the default or an option is invalid.
            DuplicateFlagError: The name is taken.

        >>> import dflag
        >>> import enum
        >>> Mode = enum.Enum("Mode", {"SAFE": "safe", "FAST": "fast"})
        >>> flags = dflag.FlagRegistry()
        >>> flags.enum("mode", Mode.SAFE).get()
        <Mode.SAFE: 'safe'>
        """
        given = {"validator": validator, "on_change": on_change, "mutator": mutator, **options}
        return self._declare(StaticFlag, enum_kind(name, default, options), name, default, help, given)

    @overload
    def json(
        self,
        name: str,
        default: object,
        help: str = ...,
        *,
        type: type[T],
        schema: Schema | None = ...,
        yaml: builtins.bool = ...,
        **options: Unpack[Options[T]],
    ) -> StaticFlag[T]: ...
    @overload
    def json(
        self,
        name: str,
        default: JSONValue,
        help: str = ...,
        *,
        schema: Schema | None = ...,
        yaml: builtins.bool = ...,
        **options: Unpack[Options[JSONValue]],
    ) -> StaticFlag[JSONValue]: ...
    def json(
        self,
        name: str,
        default: Any,
        help: str = "",
        *,
        type: builtins.type[Any] | None = None,
        schema: Schema | None = None,
        yaml: builtins.bool = False,
        **options: Unpack[Options[Any]],
    ) -> StaticFlag[Any]:
        """
        Declare a static flag that holds a JSON value.

        The text is JSON without duplicate keys, NaN, or nesting beyond 100 levels; with *yaml* also YAML without tags.
        The value that ``get()`` returns is read-only.

        Args:
            name: 1 to 253 characters of ``[-._a-zA-Z0-9]``; the first must not be a dot.
            default: The value when no layer holds one; with *type* a value of that type.
            help: What the flag is for, in one sentence.
            type: A dataclass, TypedDict or pydantic model for the values; needs ``dflag[pydantic]``. None: plain JSON.
            schema: A JSON Schema (2020-12 unless its ``$schema`` says otherwise) that every value must satisfy.
            yaml: Whether YAML is accepted in addition to JSON.
            **options: For every flag: *validator*, *on_change*, *mutator*, *input_mutator*, *choices*, *strip*,
                *secret*, *deprecated*, *owner* and *expires*.

        Raises:
            DefinitionError: The name, the default or an option is invalid; or the schema is not valid, refers to
                something outside itself or has a format that cannot be asserted; or pydantic is missing or cannot
                handle the type.
            DuplicateFlagError: The name is taken.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> flags.json("limits", {"cpu": 2}, schema={"type": "object"}).get()
        {'cpu': 2}
        """
        kind = json_kind(name, type=type, schema=schema, yaml=yaml)
        return self._declare(StaticFlag, kind, name, default, help, options)

    def dyn_enum(
        self,
        name: str,
        default: E,
        help: str = "",
        *,
        validator: Validators[E] = (),
        on_change: Callbacks[E] = (),
        mutator: Mutator[E] | None = None,
        **options: Unpack[CommonOptions],
    ) -> DynamicFlag[E]:
        """
        Declare a dynamic flag that holds a member of the default's enumeration.

        Grammar, options and errors are those of `FlagRegistry.enum`. The option *by*, which only dynamic
        flags have, says what the keys of `Flag.for_` are, such as ``"tenant"``.

        >>> import dflag
        >>> import enum
        >>> Mode = enum.Enum("Mode", {"SAFE": "safe", "FAST": "fast"})
        >>> flags = dflag.FlagRegistry()
        >>> flag = flags.dyn_enum("mode", Mode.SAFE)
        >>> flag.set_text("fast")
        >>> flag.get()
        <Mode.FAST: 'fast'>
        """
        given = {"validator": validator, "on_change": on_change, "mutator": mutator, **options}
        return self._declare(DynamicFlag, enum_kind(name, default, options), name, default, help, given)

    @overload
    def dyn_json(
        self,
        name: str,
        default: object,
        help: str = ...,
        *,
        type: type[T],
        schema: Schema | None = ...,
        yaml: builtins.bool = ...,
        **options: Unpack[Options[T]],
    ) -> DynamicFlag[T]: ...
    @overload
    def dyn_json(
        self,
        name: str,
        default: JSONValue,
        help: str = ...,
        *,
        schema: Schema | None = ...,
        yaml: builtins.bool = ...,
        **options: Unpack[Options[JSONValue]],
    ) -> DynamicFlag[JSONValue]: ...
    def dyn_json(
        self,
        name: str,
        default: Any,
        help: str = "",
        *,
        type: builtins.type[Any] | None = None,
        schema: Schema | None = None,
        yaml: builtins.bool = False,
        **options: Unpack[Options[Any]],
    ) -> DynamicFlag[Any]:
        """
        Declare a dynamic flag that holds a JSON value.

        Grammar, options and errors are those of `FlagRegistry.json`. The option *by*, which only dynamic
        flags have, says what the keys of `Flag.for_` are, such as ``"tenant"``.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> limits = flags.dyn_json("limits", {"cpu": 2}, schema={"required": ["cpu"]})
        >>> limits.set_text('{"cpu": 4}')
        >>> limits.get()["cpu"]
        4
        """
        kind = json_kind(name, type=type, schema=schema, yaml=yaml)
        return self._declare(DynamicFlag, kind, name, default, help, options)

    @overload
    def map(
        self,
        name: str,
        default: Texts,
        help: str = ...,
        *,
        keys: str,
        of: Literal["string"] = ...,
        **options: Unpack[Options[Texts]],
    ) -> StaticFlag[Texts]: ...
    @overload
    def map(
        self,
        name: str,
        default: Ints,
        help: str = ...,
        *,
        keys: str,
        of: Literal["int"],
        **options: Unpack[Options[Ints]],
    ) -> StaticFlag[Ints]: ...
    @overload
    def map(
        self,
        name: str,
        default: Floats,
        help: str = ...,
        *,
        keys: str,
        of: Literal["float"],
        **options: Unpack[Options[Floats]],
    ) -> StaticFlag[Floats]: ...
    @overload
    def map(
        self,
        name: str,
        default: Bools,
        help: str = ...,
        *,
        keys: str,
        of: Literal["bool"],
        **options: Unpack[Options[Bools]],
    ) -> StaticFlag[Bools]: ...
    @overload
    def map(
        self,
        name: str,
        default: Durations,
        help: str = ...,
        *,
        keys: str,
        of: Literal["duration"],
        **options: Unpack[Options[Durations]],
    ) -> StaticFlag[Durations]: ...
    @overload
    def map(
        self,
        name: str,
        default: Values,
        help: str = ...,
        *,
        keys: str,
        of: Literal["string_list", "string_set", "bytes", "json"],
        **options: Unpack[Options[Values]],
    ) -> StaticFlag[Values]: ...
    def map(
        self,
        name: str,
        default: Values,
        help: str = "",
        *,
        keys: str,
        of: str = "string",
        **options: Unpack[Options[Any]],
    ) -> StaticFlag[Values]:
        """
        Declare a static flag that collects all source keys that match a pattern in a read-only mapping.

        A key that is the name of a declared flag belongs to that flag. The mappings of several sources are merged;
        later sources win. On the command line and in the environment the text is the whole mapping as a JSON object.

        Args:
            name: 1 to 253 characters of ``[-._a-zA-Z0-9]``; the first must not be a dot.
            default: The value when no source has such a key.
            help: What the flag is for, in one sentence.
            keys: The pattern, as in `fnmatch`, case-sensitive: ``"*.endpoint"``.
            of: The kind of the values: ``"string"``, ``"int"``, ``"float"``, ``"bool"``, ``"duration"``,
                ``"string_list"``, ``"string_set"``, ``"bytes"`` or ``"json"``.
            **options: The options of every flag. *input_mutator* and *strip* apply to the text of each key,
                *validator* and *mutator* to the mapping.

        Raises:
            DefinitionError: The name, the default or an option is invalid.
            DuplicateFlagError: The name is taken.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> clusters = flags.map("clusters", {}, keys="*.endpoint")
        >>> flags.apply({"eu.endpoint": "https://eu.example"}, source="config").changed
        ('clusters',)
        >>> clusters.get()
        {'eu.endpoint': 'https://eu.example'}
        """
        return self._declare(StaticFlag, map_kind(name, keys, of), name, default, help, options)

    @overload
    def dyn_map(
        self,
        name: str,
        default: Texts,
        help: str = ...,
        *,
        keys: str,
        of: Literal["string"] = ...,
        **options: Unpack[Options[Texts]],
    ) -> DynamicFlag[Texts]: ...
    @overload
    def dyn_map(
        self,
        name: str,
        default: Ints,
        help: str = ...,
        *,
        keys: str,
        of: Literal["int"],
        **options: Unpack[Options[Ints]],
    ) -> DynamicFlag[Ints]: ...
    @overload
    def dyn_map(
        self,
        name: str,
        default: Floats,
        help: str = ...,
        *,
        keys: str,
        of: Literal["float"],
        **options: Unpack[Options[Floats]],
    ) -> DynamicFlag[Floats]: ...
    @overload
    def dyn_map(
        self,
        name: str,
        default: Bools,
        help: str = ...,
        *,
        keys: str,
        of: Literal["bool"],
        **options: Unpack[Options[Bools]],
    ) -> DynamicFlag[Bools]: ...
    @overload
    def dyn_map(
        self,
        name: str,
        default: Durations,
        help: str = ...,
        *,
        keys: str,
        of: Literal["duration"],
        **options: Unpack[Options[Durations]],
    ) -> DynamicFlag[Durations]: ...
    @overload
    def dyn_map(
        self,
        name: str,
        default: Values,
        help: str = ...,
        *,
        keys: str,
        of: Literal["string_list", "string_set", "bytes", "json"],
        **options: Unpack[Options[Values]],
    ) -> DynamicFlag[Values]: ...
    def dyn_map(
        self,
        name: str,
        default: Values,
        help: str = "",
        *,
        keys: str,
        of: str = "string",
        **options: Unpack[Options[Any]],
    ) -> DynamicFlag[Values]:
        """
        Declare a dynamic flag that collects all source keys that match a pattern in a read-only mapping.

        Grammar, options and errors are those of `FlagRegistry.map`. The option *by*, which only dynamic
        flags have, says what the keys of `Flag.for_` are, such as ``"tenant"``.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> limits = flags.dyn_map("limits", {}, keys="*.limit", of="int")
        >>> limits.set_text('{"acme.limit": 500}')
        >>> limits.get()
        {'acme.limit': 500}
        """
        return self._declare(DynamicFlag, map_kind(name, keys, of), name, default, help, options)

    def custom(
        self,
        name: str,
        default: T,
        help: str = "",
        *,
        parse: Parser[T],
        format: Formatter[T] = str,
        validator: Validators[T] = (),
        on_change: Callbacks[T] = (),
        mutator: Mutator[T] | None = None,
        **options: Unpack[CommonOptions],
    ) -> StaticFlag[T]:
        """
        Declare a static flag with a parser of your own, for example for a date, a decimal or a quantity.

        The parser gets the text without surrounding white space (with it if ``strip=False``). The default and the
        argument of ``set()`` are not parsed. Two values are the same if they are equal and have the same type. A value
        should be immutable, because all readers share it.

        Args:
            name: 1 to 253 characters of ``[-._a-zA-Z0-9]``; the first must not be a dot.
            default: The value when no layer holds one.
            help: What the flag is for, in one sentence.
            parse: Converts a text to a value; raises `ValueError` to refuse the text.
            format: Converts a value to a text for people. The parser need not be able to read that text.
                A value that it cannot convert is refused.
            validator: One or several functions, which raise `ValueError` to refuse a value.
            on_change: One or several functions, called with the old and the new value after a change.
            mutator: Called with each value before validation; returns the value to use instead.
            **options: For every flag: *input_mutator*, *choices*, *strip*, *secret*, *deprecated*, *owner* and
                *expires*.

        Raises:
            DefinitionError: The name, the default or an option is invalid.
            DuplicateFlagError: The name is taken.

        >>> import datetime, dflag
        >>> flags = dflag.FlagRegistry()
        >>> flags.custom("cut_off", datetime.date(2030, 1, 1), parse=datetime.date.fromisoformat).get()
        datetime.date(2030, 1, 1)
        """
        given = {"validator": validator, "on_change": on_change, "mutator": mutator, **options}
        return self._declare(StaticFlag, custom_kind(name, parse, format), name, default, help, given)

    def dyn_custom(
        self,
        name: str,
        default: T,
        help: str = "",
        *,
        parse: Parser[T],
        format: Formatter[T] = str,
        validator: Validators[T] = (),
        on_change: Callbacks[T] = (),
        mutator: Mutator[T] | None = None,
        **options: Unpack[CommonOptions],
    ) -> DynamicFlag[T]:
        """
        Declare a dynamic flag with a parser of your own.

        Grammar, options and errors are those of `FlagRegistry.custom`. The option *by*, which only dynamic
        flags have, says what the keys of `Flag.for_` are, such as ``"tenant"``.

        >>> import datetime, dflag
        >>> flags = dflag.FlagRegistry()
        >>> cut_off = flags.dyn_custom("cut_off", datetime.date(2030, 1, 1), parse=datetime.date.fromisoformat)
        >>> cut_off.set_text("2031-06-30")
        >>> cut_off.get()
        datetime.date(2031, 6, 30)
        """
        given = {"validator": validator, "on_change": on_change, "mutator": mutator, **options}
        return self._declare(DynamicFlag, custom_kind(name, parse, format), name, default, help, given)


def enum_kind(name: str, default: object, options: Mapping[str, Any]) -> _kinds.Kind[Any]:
    """
    Make the kind of a flag whose values are the members of the default's enumeration.
    """
    if not isinstance(default, Enum):
        problem, secret = "expected the default as a member of an enum.Enum class", bool(options.get("secret"))
        refusal = ValidationError(name, problem, raw=default, origin="default", secret=secret, space=None)
        raise DefinitionError(str(refusal)) from refusal
    return _kinds.EnumKind(type(default))


def custom_kind(name: str, parse: Any, format: Any) -> _kinds.Kind[Any]:
    """
    Make the kind of a flag that the program parses and formats with functions of its own.
    """
    for option, function in (("parse", parse), ("format", format)):
        try:
            check_plain_function(function, option)
        except DefinitionError as error:
            raise DefinitionError(f"{subject_of(name)}: {error}") from None
    return _kinds.CustomKind(parse, format)


def map_kind(name: str, keys: str, of: str) -> _kinds.Kind[Any]:
    """
    Make the kind of a map flag; raise `DefinitionError` for an invalid option.
    """
    from dflag._kinds import maps  # here, as not every program has map flags

    subject = f"{subject_of(name)}: "
    keys, of = checked_text("keys", keys, subject=subject), checked_text("of", of, subject=subject)
    try:
        return maps.map_kind(keys, of)
    except ValueError as error:
        raise DefinitionError(f"{subject}{error}") from error


def json_kind(name: str, *, type: type[Any] | None, schema: Schema | None, yaml: builtins.bool) -> _kinds.Kind[Any]:
    """
    Make the kind of a JSON flag; raise `DefinitionError` for an invalid schema or type.
    """
    check_argument("yaml", yaml, bool, "True or False", subject=f"{subject_of(name)}: ")
    try:
        return _kinds.json_kind(schema=schema, type=type, yaml=yaml)
    except ValueError as error:
        raise DefinitionError(f"{subject_of(name)}: {error}") from error
