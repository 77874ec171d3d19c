"""
JSON values, with or without a JSON Schema.
"""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any, Final

from dflag._formats import json_values
from dflag._formats.base import NotJSON
from dflag._formats.json import loads
from dflag._kinds._base import Kind, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from dflag._kinds._declared import Demands, Schema, SchemaOptions
    from dflag._kinds.shapes import Shape
    from dflag._raw import Text
    from dflag.typing import JSONValue


class JSONKind(Kind[Any]):
    """
    JSON values, handed out read-only.

    Attributes:
        schema: The JSON Schema that values must match, or None.
    """

    __slots__ = ("_check", "_read", "_yaml", "schema")
    name = "json"
    expected = "a JSON value"
    is_json = True
    is_block = True

    def __init__(self, schema: JSONValue | None, *, yaml: bool) -> None:
        self.schema = None if schema is None else json_values.freeze(schema)
        self._check = _make_check(self.schema)
        self._read: Final = _make_reader(yaml=yaml)
        self._yaml: Final = yaml

    def parse(self, text: str) -> Any:
        return self._accept(as_problem(self._read, text))

    def load(self, native: object, text: str) -> Any:  # noqa: ARG002 - the native value is enough
        return self._accept(as_problem(json_values.freeze, native))

    def text_of(self, raw: Text) -> str:
        return json_values.dumps(raw.native)

    def convert(self, value: object) -> Any:
        return self._accept(as_problem(json_values.freeze, value))

    def format(self, value: Any) -> str:
        return json_values.dumps(value)

    def head(self, value: Any, limit: int) -> str:
        return json_values.dumps_head(value, limit)

    def portable(self, value: Any) -> object:
        return value

    def without_schema(self) -> JSONKind:
        other = copy.copy(self)
        other.schema = other._check = None
        return other

    def same(self, one: Any, other: Any) -> bool:
        return json_values.same(one, other)

    def json_schema(self) -> JSONValue | None:
        """
        Return a JSON Schema of the values, or None if every JSON value is valid.
        """
        return self.schema

    def language(self) -> str:
        return "" if self._yaml else "json"

    def draft(self, value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, indent=2)

    def native(self, value: Any) -> JSONValue:
        native: JSONValue = json.loads(self.format(value))
        return native

    def native_schemas(self, options: SchemaOptions) -> list[Schema]:
        schema: Any = self.json_schema()
        if schema is None or schema is True or options.secret:  # the schema may contain values
            return [{}]
        if schema is False:
            return [{"not": {}}]
        plain = json_values.thaw(schema)
        # References start at the root of the schema. With an $id it remains a root inside of the larger schema.
        return [plain if "$id" in plain else {"$id": f"urn:dflag:{options.name}", **plain}]

    def spellings(self, value: Any) -> list[str]:
        printed = self.exact(value)
        native = json.loads(printed)
        return [printed, json.dumps(native, indent=2), json.dumps(native, ensure_ascii=False)]

    def _shape(self, demands: Demands) -> Shape:  # noqa: ARG002 - the schema is enough
        from dflag._kinds.shapes import JSONValues, Mapped

        # Converted to the type of the flag, if it has one. A value that cannot be converted is refused later.
        return Mapped(JSONValues(self.json_schema()), self._convert_or_keep)

    def _convert_or_keep(self, native: object) -> Any:
        try:
            return self.convert(native)
        except ValueError:
            return native

    def _accept(self, value: JSONValue) -> Any:
        """
        Check a frozen value against the schema, and return the value of the flag.
        """
        if self._check is not None:
            self._check(value)
        return value


def _make_check(schema: JSONValue | None) -> Callable[[JSONValue], None] | None:
    if schema is None:
        return None
    from dflag._kinds._schema import SchemaCheck  # jsonschema takes a tenth of a second to import

    return SchemaCheck(schema)


def _make_reader(*, yaml: bool) -> Callable[[str], JSONValue]:
    if not yaml:
        return loads
    from dflag._formats import documents

    return documents.loads


def as_problem(function: Callable[[Any], JSONValue], given: object) -> JSONValue:
    """
    Call a function that reads JSON, and raise `Problem` in place of its `NotJSON`.
    """
    try:
        return function(given)
    except NotJSON as error:
        raise Problem(error.expected, error.detail) from None
