"""
JSON that is converted to a Python type. The only module of the core that imports pydantic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pydantic

from dflag._faults import is_interrupt
from dflag._formats import json_values
from dflag._formats.base import NotJSON
from dflag._formats.json import loads
from dflag._kinds import _typed_values
from dflag._kinds._base import Problem
from dflag._kinds.json import JSONKind, as_problem

if TYPE_CHECKING:
    from dflag.typing import JSONValue


class TypedJSONKind(JSONKind):
    """
    JSON that becomes a dataclass, a TypedDict or a pydantic model.
    """

    __slots__ = ("_adapter", "expected", "type")
    hides = True

    def __init__(self, type_: Any, schema: JSONValue | None, *, yaml: bool) -> None:
        super().__init__(schema, yaml=yaml)
        self.type: Final = type_
        name = getattr(type_, "__name__", str(type_))
        self.expected = f"JSON of a {name}"
        try:
            self._adapter: Final[pydantic.TypeAdapter[Any]] = pydantic.TypeAdapter(type_)
        except Exception as error:  # pydantic raises several errors here, without a common base class
            raise ValueError(f"bad type {name}: {error}") from error

    def convert(self, value: object) -> Any:
        try:
            frozen = json_values.freeze(value)
        except NotJSON:
            return self._convert_type(value)
        return self._accept(frozen)

    def format(self, value: Any) -> str:
        return json_values.dumps(self._dump(value))

    def draft(self, value: Any) -> str:
        return super().draft(self._dump(value, to_read=True))

    def head(self, value: Any, limit: int) -> str:  # noqa: ARG002 - pydantic dumps a value whole
        return self.format(value)

    def portable(self, value: Any) -> object:
        return self._dump(value)

    def same(self, one: Any, other: Any) -> bool:
        return _typed_values.same(one, other)

    def exact(self, value: Any) -> str:
        text = self.format(value)
        try:
            if self.same(self._read_back(text), value):
                return text
        except BaseException as error:  # the program's code may raise any type
            if is_interrupt(error):
                raise
        return json_values.dumps(json_values.freeze(_typed_values.plain(value)))

    def json_schema(self) -> JSONValue | None:
        return self.schema if self.schema is not None else _without_printed_secrets(self._adapter.json_schema())

    def _accept(self, value: JSONValue) -> Any:
        super()._accept(value)
        text = json_values.dumps(value)
        try:
            # From text, so that pydantic applies its rules for JSON to dates, tuples and the like.
            accepted = self._read_back(text)
        except pydantic.ValidationError as error:
            raise self._problem(error) from None
        if _typed_values.PRINTED_SECRET in text and _typed_values.holds_printed_secret(accepted):
            # The text was copied from a page or a report, and its asterisks would replace the secret.
            raise Problem(f"{self.expected} with its secrets, which are printed as asterisks")
        as_problem(json_values.freeze, self._printed(accepted))  # refuses what a report could not print
        return accepted

    def _read_back(self, text: str) -> Any:
        return json_values.seal(self._adapter.validate_json(text))

    def _convert_type(self, value: object) -> Any:
        """
        Convert a Python value that is not JSON, such as an instance of the type.
        """
        try:
            taken = json_values.seal(self._adapter.validate_python(value))
        except pydantic.ValidationError as error:
            raise self._problem(error) from None
        self._dump(taken)
        if self.schema is not None:
            super()._accept(loads(self.exact(taken)))
        return taken

    def _dump(self, value: Any, *, to_read: bool = False) -> JSONValue:
        printed = as_problem(json_values.freeze, self._printed(value))  # first, because only JSON can be sorted
        dumped: JSONValue = json_values.freeze(_typed_values.with_sorted_sets(value, printed, to_read=to_read))
        return dumped

    def _printed(self, value: Any) -> Any:
        return self._adapter.dump_python(value, mode="json", by_alias=True, round_trip=True, warnings=False)

    def _problem(self, error: pydantic.ValidationError) -> Problem:
        # Only the first fault is shown. Its message may quote the value, as messages of a user's validator often do.
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        path = json_values.path_of(fault["loc"])
        return Problem(self.expected, f"at {path}: {fault['msg']}", json_path=path)


def _without_printed_secrets(schema: Any) -> Any:
    """
    Return a schema without the defaults that contain a secret, which pydantic prints as asterisks.
    """
    if isinstance(schema, list):
        return [_without_printed_secrets(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _without_printed_secrets(item) for key, item in schema.items()}
    if _typed_values.PRINTED_SECRET in repr(found.get("default")):
        del found["default"]
    return found
