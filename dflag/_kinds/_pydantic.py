"""
JSON converted to a Python type. The only module that imports pydantic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pydantic

from dflag import _json
from dflag._kinds._base import Problem
from dflag._kinds.json import JSONKind

if TYPE_CHECKING:
    from dflag.typing import JSONValue


class TypedJSONKind(JSONKind):
    """
    JSON that becomes a dataclass, a TypedDict or a pydantic model.
    """

    __slots__ = ("_adapter", "expected", "type")

    def __init__(self, type_: Any, schema: JSONValue | None, *, yaml: bool) -> None:
        super().__init__(schema, yaml=yaml)
        self.type: Final = type_
        name = getattr(type_, "__name__", str(type_))
        self.expected = f"JSON of a {name}"
        try:
            self._adapter: Final[pydantic.TypeAdapter[Any]] = pydantic.TypeAdapter(type_)
        except Exception as error:  # pydantic has several errors for this, of no common base
            raise ValueError(f"bad type {name}: {error}") from error

    def convert(self, value: object) -> Any:
        try:
            frozen = _json.freeze(value)
        except _json.NotJSON:
            return self._take(value)
        return self._accept(frozen)

    def format(self, value: Any) -> str:
        return _json.dumps(self._dump(value))

    def head(self, value: Any, limit: int) -> str:  # noqa: ARG002 - pydantic dumps a value whole
        return self.format(value)

    def same(self, one: Any, other: Any) -> bool:
        return one is other or _json.same(self._dump(one), self._dump(other))

    def json_schema(self) -> JSONValue | None:
        return self.schema if self.schema is not None else self._adapter.json_schema()

    def _accept(self, value: JSONValue) -> Any:
        super()._accept(value)
        try:
            # Through text, so that dates, tuples and the like are read as pydantic reads JSON.
            return _json.seal(self._adapter.validate_json(_json.dumps(value)))
        except pydantic.ValidationError as error:
            raise self._problem(error) from None

    def _take(self, value: object) -> Any:
        """
        Take a value that already is of the type.
        """
        try:
            taken = _json.seal(self._adapter.validate_python(value))
        except pydantic.ValidationError as error:
            raise self._problem(error) from None
        super()._accept(self._dump(taken))
        return taken

    def _dump(self, value: Any) -> JSONValue:
        dumped = self._adapter.dump_python(value, mode="json", by_alias=True, round_trip=True, warnings=False)
        try:
            return _json.freeze(dumped)
        except _json.NotJSON as error:
            raise Problem(error.expected, error.detail) from None

    def _problem(self, error: pydantic.ValidationError) -> Problem:
        # The first fault is told; its message may quote the value, as those of a user's validator do.
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        path = _json.path_of(fault["loc"])
        return Problem(self.expected, f"at {path}: {fault['msg']}", json_path=path)
