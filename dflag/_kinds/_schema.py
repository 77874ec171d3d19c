"""
Values held to a JSON Schema. The only module that imports jsonschema.
"""

from __future__ import annotations

import datetime
import json
import re
from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import jsonschema
import jsonschema_specifications  # type: ignore[import-untyped]  # a registry and nothing else
from jsonschema.exceptions import best_match
from jsonschema.validators import validator_for
from referencing.jsonschema import specification_with

from dflag import _json
from dflag._kinds._base import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from dflag.typing import JSONValue

_MAX_ERRORS: Final = 100
"""How many faults to look at for the one worth telling: a long array may hold thousands."""

_MAX_CHARACTERS: Final = 200
"""How much of a demand or of the library's message to repeat."""

_TIME: Final = re.compile(r"([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?([zZ]|[+-]([01]\d|2[0-3]):[0-5]\d)", re.ASCII)
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_URI_CHARACTERS: Final = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})*+")

_TYPES: Final = {
    "array": "an array",
    "boolean": "true or false",
    "integer": "an integer",
    "null": "null",
    "number": "a number",
    "object": "an object",
    "string": "a string",
}

_DEMANDS: Final[dict[str, str]] = {
    "const": "the value {}",
    "enum": "one of {}",
    "exclusiveMaximum": "a number below {}",
    "exclusiveMinimum": "a number above {}",
    "format": "a string of format {}",
    "maxItems": "at most {} items",
    "maxLength": "at most {} characters",
    "maxProperties": "at most {} properties",
    "maximum": "a number of at most {}",
    "minItems": "at least {} items",
    "minLength": "at least {} characters",
    "minProperties": "at least {} properties",
    "minimum": "a number of at least {}",
    "multipleOf": "a multiple of {}",
    "pattern": "a string that matches {}",
    "uniqueItems": "items that differ",
}


class SchemaCheck:
    """
    Refuses the values that one schema does not allow.

    Thread safety: any thread.
    """

    __slots__ = ("_validator",)

    def __init__(self, schema: JSONValue) -> None:
        cls = _draft(schema)
        try:
            cls.check_schema(schema)
        except jsonschema.SchemaError as error:
            raise ValueError(f"bad schema: at {error.json_path}: {_shorten(error.message)}") from None
        except Exception as error:  # a hostile pattern or a reference that goes round in circles
            raise ValueError(f"bad schema: {type(error).__name__}: {error}") from error
        _check_references(schema, cls.META_SCHEMA["$schema"])
        # This registry knows the drafts themselves and fetches nothing.
        registry = jsonschema_specifications.REGISTRY
        self._validator: Final = cls(schema, registry=registry, format_checker=_format_checker(cls))

    def __call__(self, value: JSONValue) -> None:
        """
        Raise `Problem` when the schema does not allow *value*.
        """
        try:
            error = best_match(islice(self._validator.iter_errors(value), _MAX_ERRORS))
        except Exception as fault:
            # A schema that refers to itself, or a number too large for multipleOf, fails inside the library.
            raise Problem("a JSON value that the schema can judge", f"{type(fault).__name__}: {fault}") from None
        if error is not None:
            path = _json.path_of(error.absolute_path)
            raise Problem(_demand(error), f"at {path}: {_shorten(error.message)}", json_path=path)


def _draft(schema: JSONValue) -> Any:
    """
    Give the validator class of the draft that the schema names; without a name, the newest draft.
    """
    if not isinstance(schema, (dict, bool)):
        raise ValueError("bad schema: expected an object, true or false")  # noqa: TRY004 - as all faults of a schema
    named = schema.get("$schema") if isinstance(schema, dict) else None
    if named is None:
        return jsonschema.Draft202012Validator
    cls: Any = validator_for({"$schema": str(named)}, default=jsonschema.Draft202012Validator)
    if cls.META_SCHEMA["$schema"].rstrip("#") != str(named).rstrip("#"):
        raise ValueError(f"bad schema: {named!r} is not a JSON Schema draft that is known")
    return cls


def _check_references(schema: JSONValue, draft: str) -> None:
    """
    Raise `ValueError` when a ``$ref`` leads nowhere, instead of at the first value.
    """
    resource: Any = specification_with(draft).create_resource(schema)
    pending = [(resource, jsonschema_specifications.REGISTRY.resolver_with_root(resource))]
    while pending:
        resource, resolver = pending.pop()
        contents = resource.contents
        reference = contents.get("$ref") if isinstance(contents, dict) else None
        if isinstance(reference, str):
            try:
                resolver.lookup(reference)
            except Exception as error:
                raise ValueError(f"bad schema: $ref {reference!r} cannot be resolved, and is never fetched") from error
        pending.extend((sub, resolver.in_subresource(sub)) for sub in resource.subresources())


def _demand(error: Any) -> str:
    """
    Put what the schema demands into words, without the value.
    """
    keyword, wanted = error.validator, error.validator_value
    if keyword is None:
        return "no value here at all: the schema is false"
    if keyword == "type":
        types = [wanted] if isinstance(wanted, str) else wanted
        return " or ".join(_TYPES.get(name, name) for name in types)
    if keyword == "required" and isinstance(error.instance, dict):
        missing = [name for name in wanted if name not in error.instance]
        return "the property " + ", ".join(map(repr, missing))
    if keyword == "additionalProperties" and wanted is False:
        return "no property but those of the schema"
    shown = _shorten(json.dumps(wanted, ensure_ascii=False, default=repr))
    return _DEMANDS.get(keyword, f"what the schema demands, {keyword}: {{}}").replace("{}", shown)


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 1] + "\u2026"


def _format_checker(cls: Any) -> jsonschema.FormatChecker:
    """
    Give the draft's own checks, and ours for formats whose check needs a package that may be absent.
    """
    checker = jsonschema.FormatChecker(formats=())
    ours = {name: (_only_strings(check), (ValueError,)) for name, check in _OUR_FORMATS.items()}
    checker.checkers = {**ours, **cls.FORMAT_CHECKER.checkers}
    return checker


def _only_strings(check: Callable[[str], bool]) -> Callable[[object], bool]:
    return lambda value: check(value) if isinstance(value, str) else True


def _is_date(text: str) -> bool:
    return _DATE.fullmatch(text) is not None and bool(datetime.date.fromisoformat(text))


def _is_time(text: str) -> bool:
    return _TIME.fullmatch(text) is not None


def _is_date_time(text: str) -> bool:
    return text[10:11] in ("T", "t", " ") and _is_date(text[:10]) and _is_time(text[11:])


def _is_uri_reference(text: str) -> bool:
    urlsplit(text)  # raises ValueError for a bad host
    return _URI_CHARACTERS.fullmatch(text) is not None


def _is_uri(text: str) -> bool:
    return _is_uri_reference(text) and bool(urlsplit(text).scheme)


def _is_hostname(text: str) -> bool:
    return 0 < len(text) <= 253 and all(_LABEL.fullmatch(label) for label in text.split("."))


_OUR_FORMATS: Final[dict[str, Callable[[str], bool]]] = {
    "date": _is_date,
    "date-time": _is_date_time,
    "hostname": _is_hostname,
    "time": _is_time,
    "uri": _is_uri,
    "uri-reference": _is_uri_reference,
}
