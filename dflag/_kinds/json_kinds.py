"""
The choice of the kind for a JSON flag, by the options of its declaration.
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
        schema: The JSON Schema that values must match; None for any JSON.
        type: The dataclass, TypedDict or pydantic model that values become; None for plain JSON.
        yaml: Whether texts may be YAML as well.

    Raises:
        ValueError: The schema is not valid or refers to something outside of it,
            or pydantic is missing or cannot handle the type.
    """
    if type is None:
        return JSONKind(schema, yaml=yaml)
    try:
        from dflag._kinds._pydantic import TypedJSONKind  # pydantic is imported only for type=
    except ModuleNotFoundError as error:
        if error.name != "pydantic":
            raise
        raise ValueError("type= needs pydantic: pip install 'dflag[pydantic]'") from error
    return TypedJSONKind(type, schema, yaml=yaml)
