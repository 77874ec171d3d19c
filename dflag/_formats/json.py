"""
Read-only JSON: reading, freezing, comparing and printing it.

A frozen value may be shared by every reader of a flag, since nobody can change it.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, TypeAlias

from dflag.typing import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

JSON: TypeAlias = Any

MAX_DEPTH: Final = 100
"""How deep arrays and objects may nest: deep enough for any policy, shallow enough for every recursion here."""

MAX_VALUES: Final = 2**20
"""
How many values a text may hold, by its commas and opening brackets: no fewer than a full ConfigMap can.

A value takes up to 86 bytes for each byte of text, which is for 16 MiB what a pod may not have.
"""

MAX_INT_DIGITS: Final = 640
"""The least that `sys.set_int_max_str_digits` can be set to: such an int always prints."""

_INT_LIMIT: Final = 10**MAX_INT_DIGITS

# The closing quote is optional, so that each character of an unterminated string is looked at once.
_STRING_OR_BRACKET: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class Place(NamedTuple):
    """
    A place in a text, counted from 1.
    """

    line: int
    column: int


class Member(NamedTuple):
    """
    One member of an object in a text.

    Attributes:
        key: Its name.
        place: Where its name stands.
        raw: A scalar as `Text`, with its text as it is written; of an array or an object the value alone.
    """

    key: str
    place: Place
    raw: Any


class NotJSON(ValueError):  # noqa: N818 - reads as what it says: the text is not JSON
    """
    A text or a value is not JSON as dflag takes it.

    Attributes:
        expected: What would have been right; never quotes what was given.
        detail: What is wrong; may quote it.
        place: Where in a text, if that is known.
    """

    def __init__(self, expected: str, detail: str = "", *, place: Place | None = None) -> None:
        super().__init__(f"expected {expected}" + (f" ({detail})" if detail else ""))
        self.expected: Final = expected
        self.detail: Final = detail
        self.place = place


class _Sealed(type):
    """
    Makes instances by `__new__` alone, so that `__init__` can refuse to fill one anew.
    """

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        make: Any = cls.__new__
        return make(cls, *args, **kwargs)


def _refuse(self: Any, *_args: Any, **_kwargs: Any) -> NoReturn:
    kind = "list" if isinstance(self, list) else "dict"
    raise TypeError(f"the {kind} is the read-only value of a flag: change a copy.deepcopy() of it")


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


_SPACE: Final = re.compile(r"[ \t\n\r]*")
_ESCAPED_SURROGATE: Final = re.compile(r"\\(?:u|U0000)[dD][89a-fA-F]")


def loads(text: str) -> JSON:
    """
    Read a JSON text as a frozen value.

    Raises:
        NotJSON: It is not JSON, or nests too deeply, repeats a key, or holds a number out of range.
    """
    _check_size(text)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise NotJSON("JSON", f"{error.msg} at line {error.lineno} column {error.colno}") from None
    except RecursionError:  # the caller is near the end of its own stack
        raise NotJSON("JSON that is less deeply nested") from None
    refuse_lone_surrogates(text, value)
    return freeze(value)


def members(text: str) -> list[Member]:
    """
    Read a JSON object member by member.

    Numbers that are out of range are left to whoever freezes them: a flag that takes text takes their digits.
    Surrogates are not looked for.

    Raises:
        NotJSON: It is no JSON object, or nests too deeply or repeats a key.
    """
    _check_size(text)
    reader = _ObjectReader(text)
    try:
        return list(reader.members())
    except json.JSONDecodeError as error:
        raise NotJSON(f"JSON: {error.msg}", place=Place(error.lineno, error.colno)) from None
    except NotJSON as error:
        error.place = reader.place()
        raise
    except RecursionError:
        raise NotJSON("JSON that is less deeply nested") from None


class _ObjectReader:
    """
    Goes through the text of an object, and counts its lines on the way.
    """

    def __init__(self, text: str) -> None:
        self._text: Final = text
        self._at = 0
        self._line = 1
        self._line_start = 0
        self._counted = 0

    def members(self) -> Iterator[Member]:
        self._take("{", "an object")
        keys: set[str] = set()
        more = not self._follows("}")
        while more:
            yield self._member(keys)
            more = self._follows(",")
        if keys:
            self._take("}", "',' or '}'")
        if self._at < len(self._text):
            raise json.JSONDecodeError("Extra data", self._text, self._at)

    def place(self) -> Place:
        """
        Give the place reached; it only ever looks at what it passed since the last time.
        """
        self._line += self._text.count("\n", self._counted, self._at)
        self._line_start = max(self._line_start, self._text.rfind("\n", self._counted, self._at) + 1)
        self._counted = self._at
        return Place(self._line, self._at - self._line_start + 1)

    def _member(self, keys: set[str]) -> Member:
        place = self.place()
        if not self._text.startswith('"', self._at):
            raise json.JSONDecodeError("Expecting property name enclosed in double quotes", self._text, self._at)
        key, end = _DECODER.raw_decode(self._text, self._at)
        if key in keys:
            raise NotJSON("JSON without duplicate keys", f"{key[:80]!r} stands twice in one object")
        keys.add(key)
        self._at = self._skip(end)
        self._take(":", "':'")
        value, end = _DECODER.raw_decode(self._text, self._at)
        written = value if isinstance(value, str) else self._text[self._at : end]
        self._at = self._skip(end)
        return Member(key, place, value if isinstance(value, (dict, list)) else Text(written, value))

    def _take(self, character: str, expected: str) -> None:
        if not self._follows(character):
            raise json.JSONDecodeError(f"Expecting {expected}", self._text, self._at)

    def _follows(self, character: str) -> bool:
        """
        Pass the character, if it comes next, and the white space around it.
        """
        self._at = self._skip(self._at)
        found = self._text.startswith(character, self._at)
        if found:
            self._at = self._skip(self._at + 1)
        return found

    def _skip(self, position: int) -> int:
        match = _SPACE.match(self._text, position)
        return match.end() if match else position


def refuse_lone_surrogates(text: str, value: JSON) -> None:
    """
    Refuse half of a pair, which no text file, log or socket could take (RFC 8259, section 8.2).

    Args:
        text: What the value was read from; only escapes can bring one in.
        value: The value, frozen or no deeper than that.
    """
    if not _ESCAPED_SURROGATE.search(text):
        return
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise NotJSON("JSON with whole Unicode characters", "an unpaired surrogate") from None


def freeze(value: object) -> JSON:
    """
    Check that a Python value is JSON, and give it read-only; a frozen value is given back as it is.

    Raises:
        NotJSON: It holds another type, a key that is not a str, nan or infinity, or itself.
    """
    if type(value) is FrozenDict or type(value) is FrozenList:
        return value
    return _freeze(value, 0)


def seal(value: Any) -> Any:
    """
    Make the dicts and lists of a converted value read-only, whatever else they hold.
    """
    if type(value) is dict:
        return _seal_dict({key: seal(item) for key, item in value.items()})
    if type(value) is list:
        return _seal_list([seal(item) for item in value])
    return value


def thaw(value: JSON) -> JSON:
    """
    Give a plain, writable copy.
    """
    if isinstance(value, dict):
        return {key: thaw(item) for key, item in value.items()}
    if isinstance(value, list):
        return [thaw(item) for item in value]
    return value


def same(one: JSON, other: JSON) -> bool:
    """
    Say whether two JSON values are the same, types included: ``1``, ``1.0`` and ``True`` are three values.
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


def dumps(value: JSON) -> str:
    """
    Print compactly, keys sorted; the result can always be encoded.
    """
    return _encodable(json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")))


def dumps_head(value: JSON, limit: int) -> str:
    """
    Print as `dumps` does, at least the first *limit* characters; what lies far beyond is not looked at.
    """
    encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    parts, length = [], 0
    for part in encoder.iterencode(value):
        parts.append(part)
        length += len(part)
        if length >= limit + 1:  # one more, or nobody could tell that something is missing
            break
    return _encodable("".join(parts))


def _encodable(text: str) -> str:
    # Half of a surrogate pair is a character to JSON, but not to UTF-8.
    return text if text.isascii() else _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def path_of(parts: Any) -> str:
    """
    Write where something lies in a JSON value, given its keys and indices: ``$.limits[2]``.
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
    Check a scalar, and give the plain value of a subclass such as an `enum.IntEnum`.
    """
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        if not -_INT_LIMIT < value < _INT_LIMIT:
            raise NotJSON(f"JSON with ints of at most {MAX_INT_DIGITS} digits")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NotJSON("JSON, which has neither infinity nor NaN and numbers of at most 1.8e308")
        return float(value)
    raise NotJSON("a JSON value", f"it holds a {type(value).__name__}")


def _freeze_list(items: list[Any] | tuple[Any, ...], depth: int) -> FrozenList:
    return _seal_list([_freeze(item, depth) for item in items])


def _freeze_dict(items: dict[Any, Any], depth: int) -> FrozenDict:
    frozen = {}
    for key, item in items.items():
        if not isinstance(key, str):
            raise NotJSON("a JSON value, whose keys are texts", f"it holds a key of type {type(key).__name__}")
        frozen[str.__str__(key)] = _freeze(item, depth)
    return _seal_dict(frozen)


def _seal_list(items: list[Any]) -> FrozenList:
    sealed: FrozenList = list.__new__(FrozenList)
    list.extend(sealed, items)
    return sealed


def _seal_dict(items: dict[str, Any]) -> FrozenDict:
    sealed: FrozenDict = dict.__new__(FrozenDict)
    dict.update(sealed, items)
    return sealed


def _check_size(text: str) -> None:
    """
    Refuse deep nesting before anything recurses into it, and what would fill the memory.
    """
    brackets = text.count("[") + text.count("{")
    if brackets + text.count(",") > MAX_VALUES:
        raise NotJSON(f"JSON with at most {MAX_VALUES} commas and opening brackets")
    if brackets <= MAX_DEPTH:
        return
    depth = 0
    for found in _STRING_OR_BRACKET.finditer(text):
        character = text[found.start()]
        if character in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise NotJSON(f"JSON nested at most {MAX_DEPTH} levels deep")
        elif character in "]}":
            depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise NotJSON("JSON without duplicate keys", f"{key[:80]!r} stands twice in one object")
            seen.add(key)
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise NotJSON("JSON, which has neither infinity nor NaN", f"found {name}")


def read_int(digits: str, base: int = 10) -> int | float:
    """
    Read an int; one that is too long to print gives infinity, which `freeze` refuses as it does 1e400.
    """
    return int(digits, base) if len(digits) <= MAX_INT_DIGITS else math.inf


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_int=read_int)
