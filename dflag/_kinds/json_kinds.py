"""
Choosing the kind of a JSON flag by the options of its declaration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dflag._kinds.json import JSONKind

if TYPE_CHECKING:
    from dflag._kinds._base import Kind
    from dflag.typing import JSONValue


def json_kind(schema: JSONValue | None = None, type: Any = None, *, yaml: bool = False) -> Kind[Any]:
    """
    Return the kind of flags whose values are JSON.

    Args:
        schema: The JSON Schema to hold values to; None for none.
        type: A dataclass, TypedDict or pydantic model to convert values to; None for plain JSON.
        yaml: Whether texts may be YAML too.

    Raises:
        ValueError: The schema is not valid, refers to something that is not in it,
            or pydantic is missing or cannot handle the type.
    """
    if type is None:
        return JSONKind(schema, yaml=yaml)
    try:
        from dflag._kinds._pydantic import TypedJSONKind  # only who asks for a type pays for pydantic
    except ModuleNotFoundError as error:
        if error.name != "pydantic":
            raise
        raise ValueError("type= needs pydantic: pip install 'dflag[pydantic]'") from error
    return TypedJSONKind(type, schema, yaml=yaml)
