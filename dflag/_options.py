"""
The options of declarations and of an updater, for type checkers alone.

Nothing imports this when a program runs: building these types takes a sixth of the time of importing dflag.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Literal, NotRequired, TypeAlias, TypedDict, TypeVar

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Iterable, Mapping

T = TypeVar("T")


# Not the protocols of `dflag.typing`: beside a lambda mypy would infer Any as the type of the flag.
Validator: TypeAlias = "Callable[[T], object]"
Callback: TypeAlias = "Callable[[T, T], object]"
Parser: TypeAlias = "Callable[[str], T]"
Formatter: TypeAlias = "Callable[[T], str]"
Mutator: TypeAlias = "Callable[[T], T]"
# The empty tuple, which is the default, by itself: else pyright takes any default of an enum flag for a member.
Validators: TypeAlias = "Validator[T] | list[Validator[T]] | tuple[()] | tuple[Validator[T], ...]"
Callbacks: TypeAlias = "Callback[T] | list[Callback[T]] | tuple[()] | tuple[Callback[T], ...]"


class CommonOptions(TypedDict, total=False):
    """
    The options that every kind of flag takes, whatever the type of its values.
    """

    input_mutator: Callable[[str], str]
    choices: Iterable[Any]
    strip: bool
    secret: bool
    deprecated: str
    owner: str
    expires: datetime.date
    by: str  # of dynamic flags


class Options(CommonOptions, Generic[T]):
    """
    All options that every kind of flag takes.

    A declaration that infers the type from its default has those with a type as parameters of its own: from the keys
    of a dictionary pyright would infer an enum flag as one of the single member that is its default.
    """

    validator: NotRequired[Validators[T]]
    on_change: NotRequired[Callbacks[T]]
    mutator: NotRequired[Mutator[T]]


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
