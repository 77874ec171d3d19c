"""
Hypothesis strategies made of flags: what a flag accepts, and what it refuses.

Each makes likely values from the known requirements of the flag, and puts them through the flag's own pipeline.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, Final, TypeVar

from dflag._flags import pipeline_of
from dflag.errors import FlagValueError
from dflag.validators import keywords_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hypothesis.strategies import DrawFn, SearchStrategy

    from dflag._flags import Flag

T = TypeVar("T")

_ATTEMPTS: Final = 20
"""How many random values to try before the default, or nothing, stands in."""

_NEAR_MISSES: Final = (
    *("", "-", "x", "0x", "017", "1_", "1,5", "1e400", "nan", "90", "1h30", "-1", "0", "9223372036854775808"),
    *("tru", "2", "null", "[", "[1]", '{"a": 1, "a": 2}', "{}", "{", "=", "A", "\x00"),
)


def values(flag: Flag[T]) -> SearchStrategy[T]:
    """
    Return a strategy of the values that the flag accepts, as ``flag.set`` does.

    The values are made to pass choices, limits, JSON Schemas and the checks of `dflag.validators`. Your own validators
    are called; where they refuse nearly everything, the default is generated again and again. A custom flag without
    choices has only its default. Registry validators are not called. Where Hypothesis cannot make what a JSON Schema or
    a pattern asks for, the test fails with a `ValueError` that names the flag. Needs Hypothesis.

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
    return _accepted(flag, _likely(flag), lambda value: _takes(flag, value), flag.default)


def texts(flag: Flag[Any]) -> SearchStrategy[str]:
    """
    Return a strategy of the texts that ``flag.set_text`` accepts, in every notation of the flag's values.

    A source may hold the same texts, except for a bytes flag, whose text is base64 here. Needs Hypothesis.

    Raises:
        ModuleNotFoundError: Hypothesis is not installed.
    """
    from hypothesis import strategies as st

    kind = pipeline_of(flag).kind
    spellings = _likely(flag).flatmap(lambda value: st.sampled_from(kind.spellings(value)))
    padding = st.sampled_from(("", "", " ", "\n"))
    padded = st.tuples(padding, spellings, padding).map("".join)
    return _accepted(flag, padded | spellings, lambda text: _reads(flag, text), kind.exact(flag.default))


def bad_texts(flag: Flag[Any]) -> SearchStrategy[str]:
    """
    Return a strategy of the texts that the flag refuses: near misses, values outside of its limits, and others.

    Needs Hypothesis.

    Raises:
        ValueError: The flag accepts every text.
        ModuleNotFoundError: Hypothesis is not installed.
    """
    from hypothesis import strategies as st

    from dflag.testing._shapes import of_shape

    pipeline = pipeline_of(flag)
    checks = (pipeline.choices, pipeline.input_mutator, pipeline.mutator, pipeline.validators or None)
    if pipeline.kind.is_text and all(check is None for check in checks):
        raise ValueError(f"flag {flag.name!r} accepts every text")
    shape = pipeline.kind.shape({})
    beyond = st.nothing() if shape is None else of_shape(shape).map(pipeline.kind.exact)
    endings = st.sampled_from(("", "x", ",", "}", "0"))
    damaged = st.builds(lambda text, ending: text[:-1] + ending, texts(flag), endings)
    candidates = st.sampled_from((*_NEAR_MISSES, *_just_beyond(flag))) | beyond | damaged | st.text()
    return _accepted(flag, candidates, lambda text: not _reads(flag, text))


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


def _accepted(
    flag: Flag[Any], candidates: SearchStrategy[T], accepts: Callable[[T], bool], *fallback: T
) -> SearchStrategy[T]:
    """
    Return the accepted candidates, or the *fallback* when too many are refused.
    """
    from hypothesis import reject
    from hypothesis import strategies as st

    # Not `filter`, which would fail a test for a validator that few random values pass.
    @st.composite
    def draw_accepted(draw: DrawFn) -> T:
        for candidate in chain(_drawn(flag, candidates, draw), fallback):
            if accepts(candidate):
                return candidate
        return reject()

    return draw_accepted()


def _drawn(flag: Flag[Any], candidates: SearchStrategy[T], draw: DrawFn) -> Iterator[T]:
    """
    Draw candidates, if there are any.

    Raises:
        ValueError: Hypothesis cannot make them.
    """
    from hypothesis.errors import InvalidArgument

    try:
        for _ in range(0 if candidates.is_empty else _ATTEMPTS):
            yield draw(candidates)
    except InvalidArgument as error:
        raise ValueError(f"flag {flag.name!r}: cannot make random values: {error}") from error


def _likely(flag: Flag[Any]) -> SearchStrategy[Any]:
    """
    Make values that the flag probably accepts.
    """
    from hypothesis import strategies as st

    from dflag.testing._shapes import of_shape

    pipeline = pipeline_of(flag)
    shape = pipeline.kind.shape(_demands(flag), pipeline.choices)
    return st.just(flag.default) if shape is None else of_shape(shape)


def _demands(flag: Flag[Any]) -> dict[str, Any]:
    """
    Collect what limits and the checks of `dflag.validators` demand, in the keywords of JSON Schema.
    """
    pipeline = pipeline_of(flag)
    found = map(keywords_of, pipeline.validators)
    limits = {"minimum": pipeline.min, "maximum": pipeline.max}
    demands: dict[str, Any] = {}
    for keywords in (*found, {name: limit for name, limit in limits.items() if limit is not None}):
        for name, value in keywords.items():
            narrower = max if name.startswith("min") else min
            demands[name] = narrower(value, demands[name]) if name in demands and name[:3] in ("min", "max") else value
    return demands


def _just_beyond(flag: Flag[Any]) -> list[str]:
    """
    List the texts that are nearest to the limits, on the wrong side.
    """
    pipeline, demands = pipeline_of(flag), _demands(flag)
    lengths = (demands.get("minLength", 0) - 1, demands.get("maxLength", -2) + 1)
    limits = ((pipeline.min, -1), (pipeline.max, 1))
    neighbours = [limit + sign * pipeline.kind.step for limit, sign in limits if limit is not None]
    return ["x" * length for length in lengths if length >= 0] + [pipeline.kind.format(value) for value in neighbours]
