"""
JSON values: free, held to a JSON Schema, or converted to a type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dflag._formats import json_values
from dflag._formats.json import loads
from dflag._kinds._base import Kind, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from dflag.typing import JSONValue


class JSONKind(Kind[Any]):
    """
    JSON values, handed out read-only.

    Attributes:
        schema: The JSON Schema that values are held to, or None.
    """

    __slots__ = ("_check", "_read", "schema")
    name = "json"
    expected = "a JSON value"

    def __init__(self, schema: JSONValue | None, *, yaml: bool) -> None:
        self.schema: Final = None if schema is None else json_values.freeze(schema)
        self._check: Final = _make_check(self.schema)
        self._read: Final = _make_reader(yaml=yaml)

    def parse(self, text: str) -> Any:
        return self._accept(_as_problem(self._read, text))

    def load(self, native: object, text: str) -> Any:  # noqa: ARG002 - the native value says it all
        return self._accept(_as_problem(json_values.freeze, native))

    def convert(self, value: object) -> Any:
        return self._accept(_as_problem(json_values.freeze, value))

    def format(self, value: Any) -> str:
        return json_values.dumps(value)

    def head(self, value: Any, limit: int) -> str:
        return json_values.dumps_head(value, limit)

    def same(self, one: Any, other: Any) -> bool:
        return json_values.same(one, other)

    def json_schema(self) -> JSONValue | None:
        """
        Give a JSON Schema of the values, or None when any will do.
        """
        return self.schema

    def _accept(self, value: JSONValue) -> Any:
        """
        Hold a frozen value to the schema.
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


def _as_problem(function: Callable[[Any], JSONValue], given: object) -> JSONValue:
    try:
        return function(given)
    except json_values.NotJSON as error:
        raise Problem(error.expected, error.detail) from None
