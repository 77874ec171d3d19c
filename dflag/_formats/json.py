"""
JSON texts, read as values; `dflag._formats.json_nodes` reads them with the place of every token.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, Self

from dflag._formats.base import MAX_DEPTH, NotJSON, Place
from dflag._formats.json_values import JSON, MAX_INT_DIGITS, freeze
from dflag._raw import Excerpt, Text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

MAX_VALUES: Final = 2**20
"""
How many values a text may hold, counted by its commas and opening brackets. A full ConfigMap cannot hold more.

Values take up to 86 bytes of memory for each byte of text. For 16 MiB of text, a pod might not have that much memory.
"""

# The closing quote is optional, so that each character of an unterminated string is looked at only once.
_STRING_OR_BRACKET: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)
_SPACE: Final = re.compile(r"[ \t\n\r]*")
_ESCAPED_SURROGATE: Final = re.compile(r"\\(?:u|U0000)[dD][89a-fA-F]")


class Written(dict[str, Any]):
    """
    A mapping. Its attribute `texts` holds, by key, the texts of those scalars that JSON prints differently.
    """

    __slots__ = ("texts",)

    def __init__(self, items: Mapping[str, Any], texts: dict[str, str]) -> None:
        super().__init__(items)
        self.texts: Final = texts


class _Float(float):
    """
    A float with its text, because there are several ways to write a float.
    """

    __slots__ = ("text",)

    text: str

    def __new__(cls, text: str) -> Self:
        self = super().__new__(cls, text)
        self.text = text
        return self


class Member(NamedTuple):
    """
    One member of an object in a text.

    Attributes:
        key: Its name.
        place: The place of its name.
        raw: Its value: a scalar as a `Text` with the text as it is written, an object as `Written`, an array as a list.
    """

    key: str
    place: Place
    raw: Any


def loads(text: str) -> JSON:
    """
    Read a JSON text as a frozen value.

    Raises:
        NotJSON: The text is not JSON, nests too deeply, repeats a key, or holds a number out of range.
    """
    return freeze(_decode(text, DECODER))


def loads_written(text: str) -> tuple[JSON, dict[str, str]]:
    """
    Read a JSON text like `loads`, and also return the texts of an object's members that JSON prints differently.

    Raises:
        NotJSON: As `loads`.
    """
    value = _decode(text, _EXACT)
    return freeze(value), _texts_of(value) if isinstance(value, dict) else {}


def _decode(text: str, decoder: json.JSONDecoder) -> Any:
    _check_size(text)
    try:
        value = decoder.decode(text)
    except json.JSONDecodeError as error:
        raise NotJSON("JSON", f"{problem_of(error)} at line {error.lineno} column {error.colno}") from None
    except RecursionError:  # the caller is near the end of its own stack
        raise NotJSON("JSON that is less deeply nested") from None
    if may_hold_surrogates(text):
        refuse_lone_surrogates(value)
    return value


def problem_of(error: json.JSONDecodeError) -> str:
    """
    Return what is wrong, without the words "starting at" or "at", which end some messages of `json` before the place.
    """
    return error.msg.removesuffix(" at").removesuffix(" starting")


def _texts_of(value: dict[str, Any]) -> dict[str, str]:
    items = value.items()
    return {key: item.text for key, item in items if type(item) is _Float and item.text != float.__repr__(item)}


def excerpt(text: str, start: int, end: int, place: Place) -> Excerpt:
    """
    Return the part of a text between two offsets. The first offset is at *place*.
    """
    cut = Excerpt(" " * (place.column - 1) + text[start:end])
    cut.line = place.line
    return cut


def members(text: str, unread: Collection[str] = ()) -> list[Member]:
    """
    Read a JSON object member by member.

    A number out of range is accepted here, because a flag that takes text takes its digits. The caller that freezes the
    value refuses such a number. Surrogates are not checked.

    Args:
        text: The object.
        unread: The keys whose values are returned as an `Excerpt`, unless they are texts.

    Raises:
        NotJSON: The text is not a JSON object, nests too deeply, or repeats a key.
    """
    _check_size(text)
    reader = _MemberReader(text, unread)
    try:
        return reader.members()
    except json.JSONDecodeError as error:
        raise NotJSON(f"JSON: {problem_of(error)}", place=Place(error.lineno, error.colno)) from None
    except NotJSON as error:
        error.place = error.place or reader.place()
        raise
    except RecursionError:
        raise NotJSON("JSON that is less deeply nested") from None


class Cursor:
    """
    Goes through a JSON text token by token.

    Attributes:
        text: The text.
        at: The offset of the next token.
        end: The offset after the last bracket, comma or colon that was passed.
    """

    __slots__ = ("at", "end", "text")

    def __init__(self, text: str) -> None:
        self.text: Final = text
        self.end = 0
        self.skip(0)

    def keys(self) -> Iterator[tuple[int, int, str]]:
        """
        Pass an object key by key. The caller passes the value of each key before it asks for the next key.

        Yields:
            The offsets at which a key begins and ends, and the key.

        Raises:
            json.JSONDecodeError: The text is not JSON.
        """
        self._expect("{", "an object")
        if self.passes("}"):
            return
        more = True
        while more:
            start = self.at
            if not self.text.startswith('"', start):
                raise self.error("Expecting property name enclosed in double quotes")
            key, end = DECODER.raw_decode(self.text, start)
            self.skip(end)
            self._expect(":", "':'")
            yield start, end, key
            more = self.passes(",")
        self._expect("}", "',' or '}'")

    def items(self) -> Iterator[int]:
        """
        Pass an array as `keys` passes an object, and yield the offset at which each item begins.

        Raises:
            json.JSONDecodeError: The text is not JSON.
        """
        self._expect("[", "an array")
        if self.passes("]"):
            return
        more = True
        while more:
            yield self.at
            more = self.passes(",")
        self._expect("]", "',' or ']'")

    def passes(self, character: str) -> bool:
        """
        Pass the character and the white space after it; return False if another character comes next.
        """
        if not self.text.startswith(character, self.at):
            return False
        self.end = self.at + 1
        self.skip(self.end)
        return True

    def skip(self, position: int) -> None:
        """
        Go to a position, and past the white space there.
        """
        self.at = _SPACE.match(self.text, position).end()  # type: ignore[union-attr]  # the pattern matches every text

    def error(self, problem: str) -> json.JSONDecodeError:
        return json.JSONDecodeError(problem, self.text, self.at)

    def _expect(self, character: str, what: str) -> None:
        if not self.passes(character):
            raise self.error(f"Expecting {what}")


class _MemberReader(Cursor):
    """
    Reads the members of an object, and counts the lines on the way.
    """

    __slots__ = ("_counted", "_line", "_line_start", "_unread")

    def __init__(self, text: str, unread: Collection[str]) -> None:
        super().__init__(text)
        self._unread: Final = unread
        self._line = 1
        self._line_start = 0
        self._counted = 0

    def members(self) -> list[Member]:
        found: dict[str, Member] = {}
        for start, _, key in self.keys():
            place = self.place(start)
            if key in found:
                problem = f"{key[:80]!r} occurs twice in one object"
                raise NotJSON("JSON without duplicate keys", problem, place=place)
            found[key] = Member(key, place, self._excerpt() if self._is_unread(key) else self._raw())
        if self.at < len(self.text):
            raise self.error("Extra data")
        return list(found.values())

    def place(self, offset: int | None = None) -> Place:
        """
        Return the place of an offset, or of the next token. It only scans the text since the last call.
        """
        at = self.at if offset is None else offset
        self._line += self.text.count("\n", self._counted, at)
        self._line_start = max(self._line_start, self.text.rfind("\n", self._counted, at) + 1)
        self._counted = at
        return Place(self._line, at - self._line_start + 1)

    def _is_unread(self, key: str) -> bool:
        return key in self._unread and not self.text.startswith('"', self.at)

    def _excerpt(self) -> Excerpt:
        start, place = self.at, self.place()
        _, end = _PASSING.raw_decode(self.text, start)
        self.skip(end)
        return excerpt(self.text, start, end, place)

    def _raw(self) -> Any:
        decoder = _EXACT if self.text.startswith("{", self.at) else DECODER
        value, end = decoder.raw_decode(self.text, self.at)
        written = value if isinstance(value, str) else self.text[self.at : end]
        self.skip(end)
        if isinstance(value, dict):
            return Written(value, _texts_of(value))
        return value if isinstance(value, list) else Text(written, value)


def refuse_lone_surrogates(value: JSON, place: Place | None = None) -> None:
    """
    Refuse half of a surrogate pair, which no text file, log or socket could take (RFC 8259, section 8.2).

    Args:
        value: The value, frozen or not nested deeper than a frozen one. No check is needed if `may_hold_surrogates`
            returns False for its text.
        place: The place of the value, if known.
    """
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise NotJSON("JSON with whole Unicode characters", "an unpaired surrogate", place=place) from None


def may_hold_surrogates(text: str) -> bool:
    """
    Return whether an escape in a JSON or YAML text may be half of a surrogate pair. Only escapes can hold one.
    """
    return _ESCAPED_SURROGATE.search(text) is not None


def read_int(digits: str, base: int = 10) -> int | float:
    """
    Return the int, or infinity if it is too long to print. `freeze` refuses infinity, as it does for 1e400.
    """
    return int(digits, base) if len(digits) <= MAX_INT_DIGITS else math.inf


def _check_size(text: str) -> None:
    """
    Refuse deep nesting before anything recurses into it, and a number of values that could fill the memory.
    """
    brackets = text.count("[") + text.count("{")
    if brackets + text.count(",") > MAX_VALUES:
        raise NotJSON(f"JSON with at most {MAX_VALUES} commas and opening brackets")
    if brackets > MAX_DEPTH:
        _check_depth(text)


def _check_depth(text: str) -> None:
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
                raise NotJSON("JSON without duplicate keys", f"{key[:80]!r} occurs twice in one object")
            seen.add(key)
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise NotJSON("JSON, which has neither infinity nor NaN", f"found {name}")


DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_int=read_int)

_EXACT: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_int=read_int, parse_float=_Float
)
"""Like `DECODER`, but keeps the text of each float."""

_PASSING: Final = json.JSONDecoder(parse_int=str)
"""Passes a value that is read elsewhere. It checks the syntax, but neither keys nor numbers."""
