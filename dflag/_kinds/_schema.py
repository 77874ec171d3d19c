"""
Checks of values against a JSON Schema. The only module that imports jsonschema.
"""

from __future__ import annotations

import functools
import json
import re
import threading
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import jsonschema
import jsonschema.validators
import jsonschema_specifications  # type: ignore[import-untyped]  # a registry and nothing else
from jsonschema.exceptions import best_match
from jsonschema.validators import validator_for
from referencing.jsonschema import specification_with

from dflag._formats import json_values
from dflag._kinds._base import Problem
from dflag._kinds._schema_formats import CHECKS, DRAFT_3_CHECKS, REFUSED
from dflag.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from dflag.typing import JSONValue

    Keyword = Callable[[Any, Any, Any, Any], Any]

_MAX_ERRORS: Final = 100
"""How many errors are compared to find the most useful one. A long array may have thousands."""

_MAX_CHARACTERS: Final = 200
"""The number of characters after which a demand or a message of jsonschema is cut."""

_MAX_STEPS: Final = 2_000_000
"""
The most keywords that are checked for one value: a few seconds of work, and several times what a full ConfigMap needs.

Alternatives that refer back to the schema double the work at each level: two hundred bytes would never finish.
The limit is not a time, because then one pod could accept what another refuses.
"""

_ERROR_STEPS: Final = 20
"""The number of steps that one error counts as, since it takes that long. Alternatives collect all their errors."""

_MAX_UNEVALUATED: Final = 10_000
"""The longest array or object for the ``unevaluated...`` keywords, which take jsonschema quadratic time."""

_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")
"""The keywords that hold a reference. Each draft has only some of them."""

_OVERLOOKED: Final = ("dependencies", "disallow", "extends", "type")
"""Keywords of old drafts in which `referencing` does not find every schema."""

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
    "divisibleBy": "a multiple of {}",
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


_WITHOUT_VALUES: Final = {None, "required", "type", *_DEMANDS} - {"const", "enum"}
"""The keywords for which `_demand` quotes no value. The other keywords may hold a schema with values in it."""


class SchemaCheck:
    """
    A check that refuses the values that one schema does not allow.

    Thread safety: any thread.
    """

    __slots__ = ("_validator",)

    def __init__(self, schema: JSONValue) -> None:
        draft = _draft(schema)
        _check_schema(schema, draft)
        _check_parts(schema, draft)
        cls = _bounded(draft)
        # This registry holds the drafts themselves and fetches nothing.
        registry = jsonschema_specifications.REGISTRY
        if isinstance(schema, dict):
            # If the root names its draft, jsonschema follows a reference to the root with a class of its own.
            schema = {key: value for key, value in schema.items() if key != "$schema"}
        self._validator: Final = cls(schema, registry=registry, format_checker=_format_checker(draft))

    def __call__(self, value: JSONValue) -> None:
        """
        Raise `Problem` if the schema does not allow *value*.
        """
        error = self._error_in(value)
        if error is not None:
            path = json_values.path_of(error.absolute_path)
            masked = None if error.validator in _WITHOUT_VALUES else "a JSON value that the schema allows"
            raise Problem(_demand(error), f"at {path}: {_shorten(error.message)}", json_path=path, masked=masked)

    def _error_in(self, value: JSONValue) -> Any:
        """
        Return the most useful error of jsonschema, or None if there is no error.
        """
        _budget.steps = _MAX_STEPS
        try:
            return _best(list(islice(self._validator.iter_errors(value), _MAX_ERRORS)))
        except _TooMuch as fault:
            raise Problem("a JSON value that the schema can check", str(fault)) from None
        except BaseException as fault:
            # A schema that refers to itself fails inside jsonschema. The part that is written in Rust panics at the end
            # of the stack, and that panic is not an Exception.
            if not isinstance(fault, Exception) and type(fault).__name__ != "PanicException":
                raise
            raise Problem("a JSON value that the schema can check", f"{type(fault).__name__}: {fault}") from None


def _best(errors: list[Any]) -> Any:
    try:
        return best_match(errors)
    except TypeError:  # jsonschema does not expect a schema among the types, which draft 3 allows
        return errors[0]


class _TooMuch(Exception):  # noqa: N818 - a limit, turned into `Problem`
    """
    Raised when the schema would take too long to check a value.
    """


_budget: Final = threading.local()
"""The number of steps that are left for the check in each thread."""


@functools.cache
def _bounded(draft: Any) -> Any:
    """
    Return a copy of a validator class that limits the work for one value.
    """
    keywords = {**draft.VALIDATORS}
    if "uniqueItems" in keywords:
        keywords["uniqueItems"] = _unique_items
    for name in keywords.keys() & {"divisibleBy", "multipleOf"}:
        keywords[name] = _multiple_of
    for name in keywords.keys() & {"unevaluatedItems", "unevaluatedProperties"}:
        keywords[name] = _short(keywords[name])
    extend: Any = jsonschema.validators.extend
    cls: Any = extend(draft, {name: _counted(check) for name, check in keywords.items()})
    cls.evolve = _within_bounds(cls.evolve)
    return cls


def _within_bounds(evolve: Callable[..., Any]) -> Callable[..., Any]:
    """
    Return a replacement for `evolve`, the method by which a validator moves on to a part of its schema.

    If the part names its draft, jsonschema moves on with its own class, which has no limit.
    """

    def evolve_within(validator: Any, **changes: Any) -> Any:
        found = evolve(validator, **changes)
        if isinstance(found, type(validator)):
            return found
        draft: Any = type(found)
        taken = {each.alias: getattr(found, each.name) for each in draft.__attrs_attrs__ if each.init}
        return _bounded(draft)(**taken)

    return evolve_within


def _counted(check: Keyword) -> Keyword:
    def counted(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[Any]:
        _spend(1)
        for error in check(validator, wanted, instance, schema) or ():
            _spend(_ERROR_STEPS)
            yield error

    return counted


def _spend(steps: int) -> None:
    _budget.steps -= steps
    if _budget.steps < 0:
        raise _TooMuch(f"it takes more than {_MAX_STEPS} steps")


def _short(check: Keyword) -> Keyword:
    def short(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[Any]:
        if isinstance(instance, (dict, list)) and len(instance) > _MAX_UNEVALUATED:
            raise _TooMuch(f"more than {_MAX_UNEVALUATED} items or properties")
        yield from check(validator, wanted, instance, schema) or ()

    return short


def _multiple_of(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[Any]:  # noqa: ARG001 - the signature of all checks
    """
    Replace the check of jsonschema, which divides floats and so denies that 0.07 is a multiple of 0.01.
    """
    if not validator.is_type(instance, "number"):
        return
    top, bottom = json_values.ratio_of(instance)
    wanted_top, wanted_bottom = json_values.ratio_of(wanted)
    if top * wanted_bottom % (bottom * wanted_top):
        yield jsonschema.ValidationError(f"{instance!r} is not a multiple of {wanted!r}")


def _unique_items(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[Any]:  # noqa: ARG001 - the signature of all checks
    """
    Replace the check of jsonschema, which compares each item with every other item.
    """
    if wanted and isinstance(instance, list) and len({_identity(item) for item in instance}) < len(instance):
        yield jsonschema.ValidationError("the items are not unique")


def _identity(value: JSONValue) -> str:
    """
    Return a text that is the same for equal values. To JSON Schema, 1.0 equals 1, and True equals neither.

    It is a text because the hashes of texts are unpredictable. It is easy to make many ints that share one hash.
    """
    return json_values.dumps(_whole(value))


def _whole(value: JSONValue) -> JSONValue:
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _draft(schema: JSONValue) -> Any:
    """
    Return the validator class of the draft that the schema names, or of the newest draft if it names none.
    """
    if not isinstance(schema, (dict, bool)):
        raise ValueError("bad schema: expected an object, true or false")  # noqa: TRY004 - as for all faults of a schema
    named = schema.get("$schema") if isinstance(schema, dict) else None
    if named is None:
        return jsonschema.Draft202012Validator
    cls: Any = validator_for({"$schema": str(named)}, default=jsonschema.Draft202012Validator)
    if cls.META_SCHEMA["$schema"].rstrip("#") != str(named).rstrip("#"):
        raise ValueError(f"bad schema: {named!r} is not a known JSON Schema draft")
    return cls


def _check_schema(schema: JSONValue, draft: Any, subject: str = "") -> None:
    """
    Raise `ValueError` if a schema breaks the rules of its draft.
    """
    try:
        # Without this checker, jsonschema would use the checks that happen to be installed.
        draft.check_schema(schema, format_checker=_checker({**CHECKS, "regex": _compiles}))
    except jsonschema.SchemaError as error:
        raise ValueError(f"bad schema: {subject}at {error.json_path}: {_shorten(error.message)}") from None
    except Exception as error:  # a hostile pattern, or references in a circle
        raise ValueError(f"bad schema: {subject}{type(error).__name__}: {error}") from error


class _Part(NamedTuple):
    """
    A schema that another one contains or refers to.

    Attributes:
        contents: The schema itself.
        draft: The validator class of its draft.
        resolver: Resolves the references in the schema.
    """

    contents: Any
    draft: Any
    resolver: Any

    def walk(self) -> Iterator[_Part]:
        """
        Iterate over this part and all parts that it contains.
        """
        if isinstance(self.contents, dict):
            yield self
            for contents in self._schemas_within():
                draft = _draft_of(contents, self.draft)
                resolver = self.resolver.in_subresource(_resource(contents, draft))
                yield from _Part(contents, draft, resolver).walk()

    def _schemas_within(self) -> Iterator[Any]:
        listed = (part.contents for part in _resource(self.contents, self.draft).subresources())
        overlooked = (
            schema
            for keyword in _OVERLOOKED
            if keyword in self.draft.VALIDATORS
            for schema in _values(keyword, self.contents.get(keyword))
        )
        # Lists of names are listed too, but are not schemas.
        return (schema for schema in (*listed, *overlooked) if isinstance(schema, dict))

    def follow(self) -> Iterator[tuple[str, _Part]]:
        """
        Iterate over the parts that references lead to, each after the first words of a message that it is not valid.
        """
        for keyword in _REFERENCES:
            if keyword in self.draft.VALIDATORS and keyword in self.contents:
                reference = self.contents[keyword]
                found = _look_up(self.resolver, keyword, reference)
                words = f"{keyword} {reference!r} leads to no valid schema: "
                yield words, _Part(found.contents, _draft_of(found.contents, self.draft), found.resolver)


def _values(keyword: str, value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values() if keyword == "dependencies" else (value,)
    return value if isinstance(value, list) else ()


def _resource(schema: JSONValue, draft: Any) -> Any:
    specification: Any = specification_with(draft.META_SCHEMA["$schema"])
    return specification.create_resource(schema)


def _draft_of(schema: JSONValue, default: Any) -> Any:
    return validator_for(schema, default=default) if isinstance(schema, dict) else default


def _check_parts(schema: JSONValue, draft: Any) -> None:
    """
    Raise `ValueError` if a reference leads to no schema, or if a ``format`` cannot be asserted.
    """
    resolver = jsonschema_specifications.REGISTRY.resolver_with_root(_resource(schema, draft))
    pending = deque([("", _Part(schema, draft, resolver))])
    seen: set[int] = set()
    while pending:
        words, root = pending.popleft()
        if id(root.contents) in seen:
            continue
        if words:
            # A reference may lead to where the draft expects no schema, such as a default, which nothing has checked.
            _check_schema(root.contents, root.draft, words)
        for part in root.walk():
            seen.add(id(part.contents))
            _check_format(part.contents.get("format"))
            pending.extend(part.follow())


def _look_up(resolver: Any, keyword: str, reference: Any) -> Any:
    if keyword == "$recursiveRef" and reference != "#":
        # jsonschema looks up "#" for any value of this keyword.
        raise ValueError(f"bad schema: $recursiveRef {reference!r} has to be '#'")
    try:
        return resolver.lookup(reference)
    except Exception as error:
        raise ValueError(f"bad schema: {keyword} {reference!r} cannot be resolved, and is never fetched") from error


def _check_format(name: object) -> None:
    """
    Raise `ValueError` for a format without a check, as the specification requires where formats are asserted.
    """
    if not isinstance(name, str) or name in CHECKS:
        return
    why = REFUSED.get(name)
    if why is None:
        near = nearest(name, CHECKS)
        why = "JSON Schema has no such format" + (f"; did you mean {near!r}?" if near else "; use 'pattern' or limits")
    raise ValueError(f"bad schema: format {name!r} cannot be asserted: {why}")


def _demand(error: Any) -> str:
    """
    Return the demand of the schema in words, without the refused value.
    """
    keyword, wanted = error.validator, error.validator_value
    if keyword is None:
        return "no value here at all: the schema is false"
    if keyword == "type":
        types: Any = wanted if isinstance(wanted, list) else [wanted]
        if not all(isinstance(name, str) for name in types):  # one is a schema, which may contain values
            return "a value of a type that the schema allows"
        return " or ".join(_TYPES.get(name, str(name)) for name in types)
    if keyword == "required" and isinstance(error.instance, dict) and isinstance(wanted, list):
        return "the property " + ", ".join(repr(name) for name in wanted if name not in error.instance)
    if keyword == "additionalProperties" and wanted is False:
        return "no property but those of the schema"
    exclusive = f"exclusive{keyword.capitalize()}"
    if error.schema.get(exclusive) is True:  # in drafts 3 and 4 a bool next to the limit
        keyword = exclusive
    shown = _shorten(json.dumps(wanted, ensure_ascii=False, default=repr))
    return _DEMANDS.get(keyword, f"what the schema demands, {keyword}: {{}}").replace("{}", shown)


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 1] + "\u2026"


@functools.cache
def _format_checker(cls: Any) -> jsonschema.FormatChecker:
    """
    Return a checker with only our own checks. jsonschema has some of its checks only if other packages are installed.
    """
    old = cls.META_SCHEMA["$schema"].rstrip("#").endswith("/draft-03/schema")
    return _checker({**CHECKS, **DRAFT_3_CHECKS} if old else CHECKS)


def _checker(checks: Mapping[str, Callable[[str], bool]]) -> jsonschema.FormatChecker:
    checker = jsonschema.FormatChecker(formats=())
    checker.checkers = {name: (_only_strings(check), (ValueError,)) for name, check in checks.items()}
    return checker


def _only_strings(check: Callable[[str], bool]) -> Callable[[object], bool]:
    return lambda value: check(value) if isinstance(value, str) else True


def _compiles(text: str) -> bool:
    # jsonschema compiles the keyword "pattern" with Python's `re`; the format "regex" is the syntax of ECMA-262.
    try:
        re.compile(text)
    except re.error:
        return False
    return True
