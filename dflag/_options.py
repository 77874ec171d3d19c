"""
The options of declarations and of an updater, for type checkers alone.

Nothing imports this when a program runs: building these types takes a sixth of the time of importing dflag.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Literal, NotRequired, TypedDict, TypeVar

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Iterable, Mapping

    from dflag.typing import Callback, Validator

T = TypeVar("T")


class Options(TypedDict, Generic[T]):
    """
    The options that every kind of flag takes.

    Several validators come as a list or a tuple: with a protocol such as ``Iterable`` here,
    pyright would infer an enum flag as one of the single member that is its default.
    """

    validator: NotRequired[Validator[T] | list[Validator[T]] | tuple[Validator[T], ...]]
    on_change: NotRequired[Callback[T] | list[Callback[T]] | tuple[Callback[T], ...]]
    mutator: NotRequired[Callable[[T], T]]
    input_mutator: NotRequired[Callable[[str], str]]
    choices: NotRequired[Iterable[Any]]
    strip: NotRequired[bool]
    secret: NotRequired[bool]
    deprecated: NotRequired[str]
    owner: NotRequired[str]
    expires: NotRequired[datetime.date]
    by: NotRequired[str]  # of dynamic flags


class RangeOptions(Options[T], Generic[T]):
    """
    `Options`, and inclusive limits.
    """

    min: NotRequired[T]
    max: NotRequired[T]


class UpdaterOptions(TypedDict, total=False):
    """
    The options of `Updater`, for everything that passes them on: those of its ``__init__``, which documents them.
    """

    atomic: bool
    on_missing: Literal["keep", "reset"]
    required: bool
    resync_seconds: float
    unknown: Literal["warn", "ignore", "error"]
    ignore: Iterable[str]
    on_bad_start: Literal["raise", "skip"]
    below_arguments: bool
    facts: Mapping[str, str] | Callable[[], Mapping[str, str]] | None
    healthy: Callable[[], object] | None
