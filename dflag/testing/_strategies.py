"""
Hypothesis strategies made of flags: what a flag accepts, and what it refuses.

Each makes values that are likely, from what the flag is known to demand, and puts them through the flag's own pipeline.
"""

from __future__ import annotations

import json
import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from dflag._flags import pipeline_of
from dflag._kinds.custom import CustomKind
from dflag._kinds.enums import EnumKind
from dflag._kinds.json import JSONKind
from dflag._kinds.maps import MapKind
from dflag.errors import FlagValueError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from hypothesis.strategies import DrawFn, SearchStrategy

    from dflag._flags import Flag
    from dflag._kinds import Kind

T = TypeVar("T")

_ATTEMPTS: Final = 20
"""How many random values to try before the default, or nothing, stands in."""

_INT_LIMIT: Final = 2**63
_MICROSECONDS_LIMIT: Final = (2**63 - 1) // 1000
_MICROSECOND: Final = timedelta(microseconds=1)
_STEPS: Final[dict[str, Any]] = {"int": 1, "float": 1.0, "duration": _MICROSECOND}
_NAME_CHARACTERS: Final = "-._abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_TRUTHS: Final = {True: ("true", "t", "yes", "y", "on", "1"), False: ("false", "f", "no", "n", "off", "0")}
_NEAR_MISSES: Final = (
    *("", "-", "x", "0x", "017", "1_", "1,5", "1e400", "nan", "90", "1h30", "-1", "0", "9223372036854775808"),
    *("tru", "2", "null", "[", "[1]", '{"a": 1, "a": 2}', "{}", "{", "=", "A", "\x00"),
)


def values(flag: Flag[T]) -> SearchStrategy[T]:
    """
    Return a strategy of the values that the flag accepts, as ``flag.set`` does.

    Choices, limits, JSON Schemas and the checks of `dflag.validators` are met by how the values are made. Validators
    of one's own are asked; where they refuse nearly everything, the default comes up again and again.
    A custom flag without choices has its default alone.
    Checks across flags are not asked. Needs Hypothesis.

        >>> import dflag
        >>> flags = dflag.FlagRegistry()
        >>> rate = flags.dyn_int("rate_limit", 50, min=1, max=100)
        >>> from hypothesis import given
        >>> @given(values(rate))
        ... def test_any_rate(value):
        ...     assert 1 <= value <= 100
        >>> test_any_rate()

    Raises:
        ModuleNotFoundError: Hypothesis is not installed.
    """
    return _accepted(_likely(flag), lambda value: _takes(flag, value), flag.default)


def texts(flag: Flag[Any]) -> SearchStrategy[str]:
    """
    Return a strategy of the texts that ``flag.set_text`` accepts, in all the ways to write the flag's values.

    The same as a source may hold, but for a bytes flag, whose text is base64. Needs Hypothesis.

    Raises:
        ModuleNotFoundError: Hypothesis is not installed.
    """
    from hypothesis import strategies as st

    spellings = _likely(flag).flatmap(lambda value: st.sampled_from(_spellings(pipeline_of(flag).kind, value)))
    padding = st.sampled_from(("", "", " ", "\n"))
    padded = st.tuples(padding, spellings, padding).map("".join)
    return _accepted(padded | spellings, lambda text: _reads(flag, text), pipeline_of(flag).kind.exact(flag.default))


def bad_texts(flag: Flag[Any]) -> SearchStrategy[str]:
    """
    Return a strategy of the texts that the flag refuses: near misses, values outside of its limits, and others.

    Needs Hypothesis.

    Raises:
        ValueError: The flag accepts every text.
        ModuleNotFoundError: Hypothesis is not installed.
    """
    from hypothesis import strategies as st

    pipeline = pipeline_of(flag)
    checks = (pipeline.choices, pipeline.input_mutator, pipeline.mutator, pipeline.validators or None)
    if pipeline.kind.name == "string" and all(check is None for check in checks):
        raise ValueError(f"flag {flag.name!r} accepts every text")
    beyond = (
        st.nothing() if isinstance(pipeline.kind, CustomKind) else _of_kind(pipeline.kind, {}).map(pipeline.kind.exact)
    )
    damaged = st.tuples(texts(flag), st.sampled_from(("", "x", ",", "}", "0"))).map(
        lambda parts: parts[0][:-1] + parts[1]
    )
    candidates = st.sampled_from((*_NEAR_MISSES, *_just_beyond(flag))) | beyond | damaged | st.text()
    return _accepted(candidates, lambda text: not _reads(flag, text))


def _takes(flag: Flag[Any], value: object) -> bool:
    try:
        pipeline_of(flag).take(flag.name, value, "test")
    except FlagValueError:
        return False
    return True


def _reads(flag: Flag[Any], text: str) -> bool:
    try:
        pipeline_of(flag).read(flag.name, text, "test", encoded=True)
    except FlagValueError:
        return False
    return True


def _accepted(candidates: SearchStrategy[T], accepts: Callable[[T], bool], *fallback: T) -> SearchStrategy[T]:
    """
    Return the candidates that are accepted, and what there is to fall back on when too many are not.
    """
    from hypothesis import reject
    from hypothesis import strategies as st

    # Not `filter`, which would fail a test for a validator that few random values pass.
    @st.composite
    def draw_accepted(draw: DrawFn) -> T:
        for _ in range(_ATTEMPTS):
            candidate = draw(candidates)
            if accepts(candidate):
                return candidate
        usable = [candidate for candidate in fallback if accepts(candidate)]
        return usable[0] if usable else reject()

    return draw_accepted()


def _likely(flag: Flag[Any]) -> SearchStrategy[Any]:
    """
    Make values that the flag probably accepts.
    """
    from hypothesis import strategies as st

    pipeline = pipeline_of(flag)
    demands = _demands(flag)
    if pipeline.choices is not None and not pipeline.kind.itemised:
        return st.sampled_from(pipeline.choices) if pipeline.choices else st.nothing()
    if isinstance(pipeline.kind, CustomKind):
        return st.just(flag.default)  # nobody but its parser knows what is a value of it
    items = (
        None if pipeline.choices is None else st.sampled_from(pipeline.choices) if pipeline.choices else st.nothing()
    )
    return _of_kind(pipeline.kind, demands, items)


def _demands(flag: Flag[Any]) -> dict[str, Any]:
    """
    Collect what limits and the checks of `dflag.validators` demand, in the keywords of JSON Schema.
    """
    pipeline = pipeline_of(flag)
    found: list[Mapping[str, Any]] = [getattr(validator, "keywords", {}) for validator in pipeline.validators]
    limits = {"minimum": pipeline.min, "maximum": pipeline.max}
    demands: dict[str, Any] = {}
    for keywords in (*found, {name: limit for name, limit in limits.items() if limit is not None}):
        for name, value in keywords.items():
            narrower = max if name.startswith("min") else min
            demands[name] = narrower(value, demands[name]) if name in demands and name[:3] in ("min", "max") else value
    return demands


def _of_kind(kind: Kind[Any], demands: dict[str, Any], items: SearchStrategy[str] | None = None) -> SearchStrategy[Any]:
    from hypothesis import strategies as st

    if "enum" in demands:
        return st.sampled_from(demands["enum"])
    if isinstance(kind, EnumKind):
        return st.sampled_from(list(kind.cls.__members__.values()))
    if isinstance(kind, MapKind):
        names = st.from_regex(kind._pattern, fullmatch=True, alphabet=_NAME_CHARACTERS)
        return st.dictionaries(names, _of_kind(kind.item, {}), **_sizes(demands, "Items", 5))
    if isinstance(kind, JSONKind):
        return _json_of(kind)
    return _SIMPLE[kind.name](demands, items)


def _json_of(kind: JSONKind) -> SearchStrategy[Any]:
    from dflag.testing._json_values import any_json, json_values  # imports Hypothesis

    schema = kind.json_schema()
    natives = any_json() if schema is None else json_values(schema)
    # As the type that the flag has, where it has one; what cannot be converted is refused later.
    return natives.map(lambda native: _converted(kind, native))


def _converted(kind: Kind[Any], native: object) -> Any:
    try:
        return kind.convert(native)
    except ValueError:
        return native


def _strings(demands: dict[str, Any], _: object) -> SearchStrategy[str]:
    from hypothesis import strategies as st

    if "pattern" in demands:
        return st.from_regex(demands["pattern"])
    return st.text(**_sizes(demands, "Length"))


def _ints(demands: dict[str, Any], _: object) -> SearchStrategy[int]:
    from hypothesis import strategies as st

    low, high = demands.get("minimum", -_INT_LIMIT), demands.get("maximum", _INT_LIMIT - 1)
    return st.integers(math.ceil(max(low, -_INT_LIMIT)), math.floor(min(high, _INT_LIMIT - 1)))


def _floats(demands: dict[str, Any], _: object) -> SearchStrategy[float]:
    from hypothesis import strategies as st

    return st.floats(demands.get("minimum"), demands.get("maximum"), allow_nan=False)


def _bools(_: object, __: object) -> SearchStrategy[bool]:
    from hypothesis import strategies as st

    return st.booleans()


def _durations(demands: dict[str, Any], _: object) -> SearchStrategy[timedelta]:
    from hypothesis import strategies as st

    low, high = (
        demands[name] // _MICROSECOND if name in demands else limit
        for name, limit in (("minimum", -_MICROSECONDS_LIMIT), ("maximum", _MICROSECONDS_LIMIT))
    )
    return st.integers(low, high).map(lambda count: count * _MICROSECOND)


def _bytes(demands: dict[str, Any], _: object) -> SearchStrategy[bytes]:
    from hypothesis import strategies as st

    return st.binary(**_sizes(demands, "Length"))


def _lists(demands: dict[str, Any], items: SearchStrategy[str] | None) -> SearchStrategy[tuple[str, ...]]:
    from hypothesis import strategies as st

    return st.lists(st.text() if items is None else items, **_sizes(demands, "Items", 5)).map(tuple)


def _sets(demands: dict[str, Any], items: SearchStrategy[str] | None) -> SearchStrategy[frozenset[str]]:
    from hypothesis import strategies as st

    return st.frozensets(st.text() if items is None else items, **_sizes(demands, "Items", 5))


_SIMPLE: Final[dict[str, Callable[[dict[str, Any], Any], SearchStrategy[Any]]]] = {
    "bool": _bools,
    "bytes": _bytes,
    "duration": _durations,
    "float": _floats,
    "int": _ints,
    "string": _strings,
    "string_list": _lists,
    "string_set": _sets,
}


def _sizes(demands: dict[str, Any], noun: str, more: int | None = None) -> dict[str, Any]:
    least = demands.get(f"min{noun}", 0)
    most = demands.get(f"max{noun}")
    return {"min_size": least, "max_size": least + more if most is None and more is not None else most}


def _just_beyond(flag: Flag[Any]) -> list[str]:
    """
    List the texts that are nearest to the limits, on the wrong side.
    """
    pipeline, demands = pipeline_of(flag), _demands(flag)
    lengths = (demands.get("minLength", 0) - 1, demands.get("maxLength", -2) + 1)
    step = _STEPS.get(pipeline.kind.name, 0)
    neighbours = [limit + sign * step for limit, sign in ((pipeline.min, -1), (pipeline.max, 1)) if limit is not None]
    return ["x" * length for length in lengths if length >= 0] + [pipeline.kind.format(value) for value in neighbours]


def _spellings(kind: Kind[Any], value: Any) -> list[str]:
    """
    List ways to write a value, the printed one first; some may not read, or as another value.
    """
    printed = kind.exact(value)
    return [printed, *(_OTHER_SPELLINGS[kind.name](value, printed) if kind.name in _OTHER_SPELLINGS else ())]


def _items_spelled(value: Iterable[str], _: str) -> list[str]:
    return [json.dumps(list(value)), ", ".join(value)]


def _json_spelled(_: object, printed: str) -> list[str]:
    return [json.dumps(json.loads(printed), indent=2), json.dumps(json.loads(printed), ensure_ascii=False)]


_OTHER_SPELLINGS: Final[dict[str, Callable[[Any, str], Iterable[str]]]] = {
    "bool": lambda value, _: [each for word in _TRUTHS[value] for each in (word, word.upper(), word.title())],
    "duration": lambda value, printed: [f"{value // _MICROSECOND}us", f"+{printed}"],
    "enum": lambda value, _: [str(value.value), value.name.swapcase(), value.name.lower()],
    "float": lambda value, _: [repr(value), f"{value:e}", f"+{value!r}"],
    "int": lambda value, printed: [f"{value:#x}", f"{value:#b}", f"{value:#o}", f"{value:_}", f"+{printed}"],
    "json": _json_spelled,
    "map": _json_spelled,
    "string_list": _items_spelled,
    "string_set": _items_spelled,
}
