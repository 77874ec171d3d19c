"""
Comparing values of Python types, and writing them in full, part by part.

A dump of pydantic may hide a part (a `SecretStr`, an excluded field) or round it, and it prints equal sets in different
orders. So neither comparisons nor checksums use a dump. Models and secrets are recognised by their attributes.
pydantic_core writes the scalars.
"""

from __future__ import annotations

import base64
import dataclasses
import enum
import math
from collections import deque
from types import NoneType
from typing import TYPE_CHECKING, Any, Final

import pydantic_core

from dflag._formats import json_values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from collections.abc import Set as AbstractSet

PRINTED_SECRET: Final = "**********"  # noqa: S105 - what pydantic prints for any secret
"""The text that stands for any secret. It is never a secret itself."""


def same(one: Any, other: Any) -> bool:
    """
    Return whether two values are the same in every part, types included.
    """
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    compare = next((compare for types, compare in _COMPARED if isinstance(one, types)), _same_parts)
    return compare(one, other)


def _same_parts(one: Any, other: Any) -> bool:
    parts = _parts(one)
    return bool(one == other) if parts is None else _same_mappings(parts, _parts(other) or {})


def _same_sequences(one: Any, other: Any) -> bool:
    return len(one) == len(other) and all(map(same, one, other))


def _same_floats(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


def _same_mappings(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> bool:
    return _same_sets(one.keys(), other.keys()) and all(same(value, other[key]) for key, value in one.items())


def _same_sets(one: AbstractSet[Any], other: AbstractSet[Any]) -> bool:
    if len(one) != len(other):
        return False
    twins = {item: item for item in other}  # for Python 1 and True are the same item
    return all(item in twins and same(item, twins[item]) for item in one)


_COMPARED: Final[tuple[tuple[Any, Callable[[Any, Any], bool]], ...]] = (
    (dict, _same_mappings),
    ((list, tuple, deque), _same_sequences),
    ((set, frozenset), _same_sets),
    (float, _same_floats),
)


def _parts(value: Any) -> dict[str, Any] | None:
    """
    Return the parts of a secret, a model or a dataclass by name; None for any other value.
    """
    if _is_secret(value):
        return {"": value.get_secret_value()}
    model = _model_fields(value)
    if model is not None:
        own = vars(value)
        parts = {name: own[name] for name in model if name in own}
        # Only private names begin with an underscore, so no two parts have the same name.
        return parts | (value.__pydantic_extra__ or {}) | (value.__pydantic_private__ or {})
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = (field.name for field in dataclasses.fields(value))
        return {name: getattr(value, name) for name in names if hasattr(value, name)}
    return None


def _is_secret(value: Any) -> bool:
    return callable(getattr(type(value), "get_secret_value", None))


def _model_fields(value: Any) -> Mapping[str, Any] | None:
    """
    Return the fields of a pydantic model by name; None for any other value.
    """
    cls = type(value)
    return cls.model_fields if hasattr(cls, "__pydantic_private__") and hasattr(cls, "model_fields") else None


def _is_root_model(value: Any) -> bool:
    return getattr(type(value), "__pydantic_root_model__", False) is True


def holds_printed_secret(value: Any) -> bool:
    """
    Return whether a secret in the value is the text that pydantic prints for any secret.
    """
    if _is_secret(value):
        secret = value.get_secret_value()
        return bool(secret == (PRINTED_SECRET.encode() if isinstance(secret, bytes) else PRINTED_SECRET))
    return any(map(holds_printed_secret, _children(value)))


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, (list, tuple, deque, set, frozenset)):
        yield from value
    else:
        yield from (_parts(value) or {}).values()


def plain(value: Any) -> Any:
    """
    Return the whole value as JSON types, with the names that a source would use.
    """
    if _is_secret(value):
        return plain(value.get_secret_value())
    return next((write for types, write in _WRITTEN if isinstance(value, types)), _plain_record)(value)


def _plain_record(value: Any) -> Any:
    model = _model_fields(value)
    if model is not None:
        if _is_root_model(value):
            return plain(value.root)
        parts = {name: item for name, item in (_parts(value) or {}).items() if not name.startswith("_")}
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        model = getattr(type(value), "__pydantic_fields__", {})
        made = {field.name for field in dataclasses.fields(value) if field.init}
        parts = {name: item for name, item in (_parts(value) or {}).items() if name in made}
    else:
        return pydantic_core.to_jsonable_python(value, fallback=_described, inf_nan_mode="strings")
    return {_alias(model.get(name), name): plain(item) for name, item in parts.items()}


_WRITTEN: Final[tuple[tuple[Any, Callable[[Any], Any]], ...]] = (
    (enum.Enum, lambda value: plain(value.value)),
    (dict, lambda value: {_key(key): plain(item) for key, item in value.items()}),
    ((list, tuple, deque), lambda value: [plain(item) for item in value]),
    ((set, frozenset), lambda value: sorted(map(plain, value), key=json_values.dumps)),
    ((bytes, bytearray), lambda value: _text(bytes(value))),
    ((NoneType, bool, int, str), lambda value: value),
    (float, lambda value: value if math.isfinite(value) else repr(value)),
)
"""The functions that write a value. The first entry whose types match is used."""


def _alias(field: Any, name: str) -> str:
    """
    Return the name under which a field is read.
    """
    alias = getattr(field, "validation_alias", None)
    known = (*getattr(alias, "choices", [alias]), getattr(field, "alias", None))
    return next((alias for alias in known if isinstance(alias, str)), name)


def _key(key: Any) -> str:
    written = plain(key)
    return written if isinstance(written, str) else json_values.dumps(written)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()


def _described(value: Any) -> str:
    # The default repr contains an address, so equal values would differ.
    cls: Any = type(value)
    return cls.__qualname__ if cls.__repr__ is object.__repr__ else repr(value)


def with_sorted_sets(value: Any, dumped: Any, *, to_read: bool = False) -> Any:
    """
    Return a dump in which the items of every set are sorted.

    Their order differs from process to process, because the hashes of texts do.

    Args:
        value: The value.
        dumped: The dump that pydantic makes of the value.
        to_read: Whether each field gets the name by which it is read instead of the name by which it is printed.
    """
    if _is_root_model(value):
        return with_sorted_sets(value.root, dumped, to_read=to_read)
    if isinstance(dumped, dict):
        return _members_sorted(value, dumped, to_read=to_read)
    if not isinstance(dumped, list) or not isinstance(value, (list, tuple, deque, set, frozenset)):
        return dumped
    if len(value) == len(dumped):
        pairs = zip(value, dumped, strict=True)
        dumped = [with_sorted_sets(item, written, to_read=to_read) for item, written in pairs]
    return sorted(dumped, key=json_values.dumps) if isinstance(value, (set, frozenset)) else dumped


def _members_sorted(value: Any, dumped: dict[str, Any], *, to_read: bool) -> dict[str, Any]:
    names: dict[str, str] = {}
    if isinstance(value, dict):  # by position: a key that is no text is dumped as text
        parts = dict(zip(dumped, value.values(), strict=True)) if len(value) == len(dumped) else value
    else:
        fields = _model_fields(value) or getattr(type(value), "__pydantic_fields__", {})
        parts = {_written_name(fields.get(name), name): item for name, item in (_parts(value) or {}).items()}
        if to_read:
            names = {_written_name(field, name): _alias(field, name) for name, field in fields.items()}
    return {
        names.get(name, name): with_sorted_sets(parts[name], item, to_read=to_read) if name in parts else item
        for name, item in dumped.items()
    }


def _written_name(field: Any, name: str) -> str:
    alias = getattr(field, "serialization_alias", None)
    return alias if isinstance(alias, str) else name
