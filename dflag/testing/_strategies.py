"""
Hypothesis strategies derived from flags: the values and texts that a flag accepts, and the texts that it refuses.

Each strategy makes likely values from the known requirements of the flag and checks them with the flag's own pipeline.
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
"""How many random values to try before falling back to the default, or giving up if there is no fallback."""

_NEAR_MISSES: Final = (
    *("", "-", "x", "0x", "017", "1_", "1,5", "1e400", "nan", "90", "1h30", "-1", "0", "9223372036854775808"),
    *("tru", "2", "null", "[", "[1]", '{"a": 1, "a": 2}', "{}", "{", "=", "A", "\x00"),
)


def values(flag: Flag[T]) -> SearchStrategy[T]:
    """
    Return a strategy for the values that ``flag.set`` accepts.

    The values satisfy choices, limits, JSON Schemas and the checks of `dflag.validators`. Your own validators are
    called. If they refuse nearly every value, the strategy generates the default again and again. A custom flag without
    choices has only its default. Registry validators are not called. If Hypothesis cannot generate values for a JSON
    Schema or a pattern, the test fails with a `ValueError` that names the flag. Needs Hypothesis.

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
    Return a strategy for the texts that ``flag.set_text`` accepts, in every notation of the flag's values.

    A source may hold the same texts, except for a bytes flag, whose texts are base64 here. Needs Hypothesis.

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
    Return a strategy for texts that the flag refuses: near misses, values outside of its limits, and others.

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
    Return a strategy for the accepted candidates, or for the *fallback* if too many are refused.
    """
    from hypothesis import reject
    from hypothesis import strategies as st

    # `filter` would fail the test if a validator accepts only few random values.
    @st.composite
    def draw_accepted(draw: DrawFn) -> T:
        for candidate in chain(_drawn(flag, candidates, draw), fallback):
            if accepts(candidate):
                return candidate
        return reject()

    return draw_accepted()


def _drawn(flag: Flag[Any], candidates: SearchStrategy[T], draw: DrawFn) -> Iterator[T]:
    """
    Draw candidates; none if the strategy is empty.

    Raises:
        ValueError: Hypothesis cannot make the candidates.
    """
    from hypothesis.errors import InvalidArgument

    try:
        for _ in range(0 if candidates.is_empty else _ATTEMPTS):
            yield draw(candidates)
    except InvalidArgument as error:
        raise ValueError(f"flag {flag.name!r}: cannot make random values: {error}") from error


def _likely(flag: Flag[Any]) -> SearchStrategy[Any]:
    """
    Return a strategy for values that the flag probably accepts.
    """
    from hypothesis import strategies as st

    from dflag.testing._shapes import of_shape

    pipeline = pipeline_of(flag)
    shape = pipeline.kind.shape(_demands(flag), pipeline.choices)
    return st.just(flag.default) if shape is None else of_shape(shape)


def _demands(flag: Flag[Any]) -> dict[str, Any]:
    """
    Return the requirements of limits and of the checks of `dflag.validators`, as keywords of JSON Schema.
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
    Return the texts that are just outside of the limits.
    """
    pipeline, demands = pipeline_of(flag), _demands(flag)
    lengths = (demands.get("minLength", 0) - 1, demands.get("maxLength", -2) + 1)
    limits = ((pipeline.min, -1), (pipeline.max, 1))
    neighbours = [limit + sign * pipeline.kind.step for limit, sign in limits if limit is not None]
    return ["x" * length for length in lengths if length >= 0] + [pipeline.kind.format(value) for value in neighbours]
