"""
Read-only JSON: freezing, comparing and printing it.

All readers of a flag may share a frozen value, because nobody can change it.
"""

from __future__ import annotations

import copy
import json
import math
import re
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

from dflag._formats.base import MAX_DEPTH, NotJSON

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

JSON: TypeAlias = Any

MAX_INT_DIGITS: Final = 640
"""The lowest limit that `sys.set_int_max_str_digits` accepts, so that an int of this length can always be printed."""

_INT_LIMIT: Final = 10**MAX_INT_DIGITS

_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class _Sealed(type):
    """
    Makes instances by `__new__` only, so that `__init__` can refuse to fill an instance again.
    """

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        make: Any = cls.__new__
        return make(cls, *args, **kwargs)


def _refuse(self: Any, *_args: Any, **_kwargs: Any) -> NoReturn:
    kind = "list" if isinstance(self, list) else "dict"
    raise TypeError(f"the {kind} is read-only: change a copy.deepcopy() of it")


class FrozenList(list[Any], metaclass=_Sealed):
    """
    A JSON array that cannot be changed.

    Its slices, sums and copies are plain lists.
    """

    __slots__ = ()

    def __new__(cls, items: Any = ()) -> FrozenList:  # noqa: PYI034 - nobody derives from it
        return _freeze_list(list(items), 1)

    __init__ = _refuse
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse

    def __reduce_ex__(self, _protocol: Any) -> tuple[Any, ...]:
        return _seal_list, (list(self),)

    def __copy__(self) -> list[Any]:
        return list(self)

    def __deepcopy__(self, _memo: Any) -> list[Any]:
        return [thaw(item) for item in self]


class FrozenDict(dict[str, Any], metaclass=_Sealed):
    """
    A JSON object that cannot be changed.

    Its unions and copies are plain dicts.
    """

    __slots__ = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> FrozenDict:  # noqa: PYI034 - nobody derives from it
        return _freeze_dict(dict(*args, **kwargs), 1)

    __init__ = _refuse
    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce_ex__(self, _protocol: Any) -> tuple[Any, ...]:
        return _seal_dict, (dict(self),)

    def __copy__(self) -> dict[str, Any]:
        return dict(self)

    def __deepcopy__(self, _memo: Any) -> dict[str, Any]:
        return {key: thaw(item) for key, item in self.items()}


class SealedList(FrozenList):
    """
    A list that cannot be changed, and whose items need not be JSON.
    """

    __slots__ = ()

    def __new__(cls, items: Any = ()) -> SealedList:  # noqa: PYI034 - nobody derives from it
        sealed: SealedList = _seal_list(map(seal, items), cls)
        return sealed

    def __reduce_ex__(self, _protocol: Any) -> tuple[Any, ...]:
        return seal, (list(self),)

    def __deepcopy__(self, memo: Any) -> list[Any]:
        return copy.deepcopy(list(self), memo)


class SealedDict(FrozenDict):
    """
    A dict that cannot be changed, and whose keys and values need not be JSON.
    """

    __slots__ = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> SealedDict:  # noqa: PYI034 - nobody derives from it
        sealed: SealedDict = _seal_dict({key: seal(item) for key, item in dict(*args, **kwargs).items()}, cls)
        return sealed

    def __reduce_ex__(self, _protocol: Any) -> tuple[Any, ...]:
        return seal, (dict(self),)

    def __deepcopy__(self, memo: Any) -> dict[str, Any]:
        return copy.deepcopy(dict(self), memo)


def freeze(value: object) -> JSON:
    """
    Check that a Python value is JSON, and return it read-only. A frozen value is returned as it is.

    Raises:
        NotJSON: It holds another type, a key that is not a str, NaN or infinity, an int of too many digits, or itself;
            or it nests too deeply.
    """
    if type(value) is FrozenDict or type(value) is FrozenList:
        return value
    return _freeze(value, 0)


def seal(value: Any) -> Any:
    """
    Return a converted value with read-only dicts and lists, whatever else these hold.
    """
    if type(value) is dict or type(value) is FrozenDict:
        return SealedDict(value)
    if type(value) is list or type(value) is FrozenList:
        return SealedList(value)
    return value


def thaw(value: JSON) -> JSON:
    """
    Return a plain, writable copy of JSON.
    """
    if isinstance(value, dict):
        return {key: thaw(item) for key, item in value.items()}
    if isinstance(value, list):
        return [thaw(item) for item in value]
    return value


def same(one: JSON, other: JSON) -> bool:
    """
    Return whether two JSON values are the same, types included: ``1``, ``1.0`` and ``True`` are three values.
    """
    if one is other:
        return True
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(same(item, other[key]) for key, item in one.items())
        )
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


def ratio_of(number: float) -> tuple[int, int]:
    """
    Return the numerator and denominator, in lowest terms, of a number as it is written.

    The exact value of the float ``0.07`` is a little more than seven hundredths.

    >>> ratio_of(0.07), ratio_of(2.0), ratio_of(3)
    ((7, 100), (2, 1), (3, 1))
    """
    if isinstance(number, int):
        return number, 1
    from decimal import Decimal  # takes 3 ms, and most programs do not need it

    return Decimal(repr(number)).as_integer_ratio()


def dumps(value: JSON) -> str:
    """
    Return a value as compact JSON with sorted keys. The text can always be encoded.
    """
    return _encodable(json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")))


def dumps_head(value: JSON, limit: int) -> str:
    """
    Return at least the first *limit* characters of `dumps`. Values far beyond them are not looked at.
    """
    encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    parts, length = [], 0
    for part in encoder.iterencode(value):
        parts.append(part)
        length += len(part)
        if length >= limit + 1:  # one more, so that the caller can tell that something is missing
            break
    return _encodable("".join(parts))


def _encodable(text: str) -> str:
    # Half of a surrogate pair is a character in JSON, but not in UTF-8.
    return text if text.isascii() else _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def path_of(parts: Any) -> str:
    """
    Return the path to a part of a JSON value, from its keys and indices: ``$.limits[2]``.
    """
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else _key(str(part)) for part in parts)


def _key(key: str) -> str:
    return f".{key}" if key.isidentifier() else f"[{json.dumps(key)}]"


def _freeze(value: object, depth: int) -> JSON:
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return value
    if isinstance(value, (dict, list, tuple)):
        if depth >= MAX_DEPTH:
            raise NotJSON(f"JSON nested at most {MAX_DEPTH} levels deep")
        return _freeze_dict(value, depth + 1) if isinstance(value, dict) else _freeze_list(value, depth + 1)
    return _plain_scalar(value)


def _plain_scalar(value: object) -> JSON:
    """
    Check a scalar, and return its plain value. The methods of a subclass, such as an `enum.IntEnum`, do not matter.
    """
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        if not -_INT_LIMIT < value < _INT_LIMIT:
            raise NotJSON(f"JSON with ints of at most {MAX_INT_DIGITS} digits")
        return int.__int__(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NotJSON("JSON, which has neither infinity nor NaN and numbers of at most 1.8e308")
        return float.__float__(value)
    raise NotJSON("a JSON value", f"it holds a {type(value).__name__}")


def _freeze_list(items: list[Any] | tuple[Any, ...], depth: int) -> FrozenList:
    frozen: FrozenList = _seal_list([_freeze(item, depth) for item in items])
    return frozen


def _freeze_dict(items: dict[Any, Any], depth: int) -> FrozenDict:
    found = {}
    for key, item in items.items():
        if not isinstance(key, str):
            raise NotJSON("a JSON value, whose keys are texts", f"it holds a key of type {type(key).__name__}")
        found[str.__str__(key)] = _freeze(item, depth)
    frozen: FrozenDict = _seal_dict(found)
    return frozen


def _seal_list(items: Iterable[Any], cls: Any = FrozenList) -> Any:
    sealed = list.__new__(cls)
    list.extend(sealed, items)
    return sealed


def _seal_dict(items: Mapping[Any, Any], cls: Any = FrozenDict) -> Any:
    sealed = dict.__new__(cls)
    dict.update(sealed, items)
    return sealed
