"""
Mappings that collect all keys of the sources that match a pattern.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from fnmatch import translate
from typing import TYPE_CHECKING, Any, Final

from dflag._formats import json_values
from dflag._formats.base import NotJSON
from dflag._formats.json import loads_written
from dflag._kinds._base import Kind, Problem
from dflag._kinds._declared import NO_LIMITS, SchemaOptions
from dflag._kinds.binary import BYTES
from dflag._kinds.bools import BOOL
from dflag._kinds.duration import DURATION
from dflag._kinds.floats import FLOAT
from dflag._kinds.ints import INT
from dflag._kinds.json_kinds import json_kind
from dflag._kinds.string_lists import STRING_LIST
from dflag._kinds.string_sets import STRING_SET
from dflag._kinds.strings import STRING
from dflag._raw import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dflag._kinds._declared import Demands, Schema
    from dflag._kinds.shapes import Shape


class MapKind(Kind[Mapping[str, Any]]):
    """
    Read-only mappings from keys that match a pattern to values of one other kind.

    Attributes:
        keys: The pattern, as in `fnmatch`, case-sensitive.
        item: The kind of the values.
    """

    __slots__ = ("_pattern", "expected", "item", "keys")
    name = "map"
    is_map = True
    is_json = True

    def __init__(self, keys: str, item: Kind[Any]) -> None:
        self.keys: Final = keys
        self.item: Final = item
        self._pattern: Final = re.compile(translate(keys))
        self.expected = f"a mapping of names like {keys!r}, each to {item.expected}"

    def fits(self, key: str) -> bool:
        """
        Return whether a key matches the pattern.
        """
        return self._pattern.match(key) is not None

    def parse(self, text: str) -> Mapping[str, Any]:
        return self.read(text, self._load_item)

    def load(self, native: object, text: str) -> Mapping[str, Any]:
        return self.read(Text(text, native), self._load_item)

    def text_of(self, raw: Text) -> str:
        if not isinstance(raw.native, dict):
            return str(raw)
        return json_values.dumps(raw.native if self.item.is_json else _texts_of(raw))

    def read(self, whole: str, item: Callable[[Text], Any]) -> Mapping[str, Any]:
        """
        Read a mapping of a document, or a text that is a JSON object. *item* converts the raw value of each key.
        """
        if not isinstance(whole, Text) or not isinstance(whole.native, dict):
            whole = self._read_json(whole)
        texts = _texts_of(whole)
        return self._seal({k: self._in_key(k, item, Text(texts[k], native)) for k, native in whole.native.items()})

    def convert(self, value: object) -> Mapping[str, Any]:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise Problem(self.expected)
        texts = {str.__str__(key): item for key, item in value.items()}  # a subclass may print differently
        return self._seal({key: self._in_key(key, self.item.convert, item) for key, item in texts.items()})

    def format(self, value: Mapping[str, Any]) -> str:
        return json_values.dumps({key: self._text_or_json(item) for key, item in value.items()})

    def draft(self, value: Mapping[str, Any]) -> str:
        return json.dumps({key: self._text_or_json(item) for key, item in value.items()}, ensure_ascii=False, indent=2)

    def portable(self, value: Mapping[str, Any]) -> object:
        items = {key: self.item.portable(item) for key, item in value.items()}
        try:
            return json_values.freeze(items)
        except NotJSON as error:  # an infinite number
            raise Problem(error.expected) from None

    def same(self, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        return one.keys() == other.keys() and all(self.item.same(item, other[key]) for key, item in one.items())

    def merge(self, values: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        return self._seal({key: item for value in values for key, item in value.items()})

    def words(self) -> str:
        return f"{self.name} ({self.expected})"

    def native(self, value: Mapping[str, Any]) -> Any:
        return json.loads(self.format(value))

    def native_schemas(self, options: SchemaOptions) -> list[Schema]:
        from dflag._kinds.json_schema import of_keys, of_value

        # The limits are for the whole mapping, not for its items.
        item = of_value(self.item, SchemaOptions(options.name, NO_LIMITS, strip=options.strip, secret=options.secret))
        names = {"pattern": f"^{of_keys(self.keys)}$"}
        return [{"type": "object", "propertyNames": names, "additionalProperties": item}]

    def spellings(self, value: Mapping[str, Any]) -> list[str]:
        printed = self.exact(value)
        native = json.loads(printed)
        return [printed, json.dumps(native, indent=2), json.dumps(native, ensure_ascii=False)]

    def _shape(self, demands: Demands) -> Shape | None:
        from dflag._kinds.shapes import Mappings, sizes

        item = self.item.shape({})
        return None if item is None else Mappings(self._pattern, item, *sizes(demands, "Items", 5))

    def prefixed(self, prefix: str) -> MapKind:
        return MapKind(prefix + self.keys, self.item)

    def _seal(self, items: dict[str, Any]) -> Mapping[str, Any]:
        for key in items:
            if not self.fits(key):
                raise Problem(self.expected, f"the name {key[:80]!r} does not match")
        sealed: Mapping[str, Any] = json_values.seal(items)
        return sealed

    def _read_json(self, text: str) -> Text:
        expected = f"{self.expected}, as a JSON object"
        try:
            native, written = loads_written(text)
        except NotJSON as error:
            raise Problem(expected, str(error)) from None
        if not isinstance(native, dict):
            raise Problem(expected)
        return Text(text, native, written)

    def _load_item(self, text: Text) -> Any:
        return self.item.load(text.native, str(text))

    def _in_key(self, key: str, read: Callable[[Any], Any], item: object) -> Any:
        try:
            return read(item)
        except Problem as problem:
            raise Problem(self.expected, f"at {key[:80]!r}: {problem}") from None

    def _text_or_json(self, item: Any) -> Any:
        # A JSON item is written as it is, any other item as its text.
        return item if self.item.is_json else self.item.format(item)


def _texts_of(whole: Text) -> dict[str, str]:
    """
    Return the text of each value in a mapping of a document.
    """
    return {key: _text_of(native) for key, native in whole.native.items()} | dict(whole.written)


def _text_of(native: object) -> str:
    return native if isinstance(native, str) else json_values.dumps(native)


def map_kind(keys: str, of: str) -> MapKind:
    """
    Return the kind of flags that collect all keys that match a pattern.

    Raises:
        ValueError: *of* names no kind, or the pattern is empty.
    """
    item = _ITEMS.get(of)
    if item is None:
        raise ValueError(f"expected of= as one of {', '.join(_ITEMS)}, got {of!r}")
    if not keys:
        raise ValueError(f"expected keys= as a pattern such as '*.endpoint', got {keys!r}")
    return MapKind(keys, item)


_ITEMS: Final[dict[str, Kind[Any]]] = {
    kind.name: kind for kind in (STRING, INT, FLOAT, BOOL, DURATION, STRING_LIST, STRING_SET, BYTES, json_kind())
}
