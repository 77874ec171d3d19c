"""
The options of declarations and of an updater, only for type checkers.

A running program does not import this module: building these types takes a sixth of the time of importing dflag.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Literal, NotRequired, TypeAlias, TypedDict, TypeVar

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Iterable, Mapping

T = TypeVar("T")


# Not the protocols of `dflag.typing`: with a lambda as the argument, mypy would infer Any as the type of the flag.
Validator: TypeAlias = "Callable[[T], object]"
Callback: TypeAlias = "Callable[[T, T], object]"
Parser: TypeAlias = "Callable[[str], T]"
Formatter: TypeAlias = "Callable[[T], str]"
Mutator: TypeAlias = "Callable[[T], T]"
# The default is the empty tuple. Without this entry of its own, pyright takes any default of an enum flag for a member.
Validators: TypeAlias = "Validator[T] | list[Validator[T]] | tuple[()] | tuple[Validator[T], ...]"
Callbacks: TypeAlias = "Callback[T] | list[Callback[T]] | tuple[()] | tuple[Callback[T], ...]"


class CommonOptions(TypedDict, total=False):
    """
    The options of every kind of flag that do not depend on the type of its values.
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

    A declarator that infers the type from its default lists the options of this class as parameters instead. From the
    keys of this dictionary, pyright would infer that an enum flag has the single member that is its default.
    """

    validator: NotRequired[Validators[T]]
    on_change: NotRequired[Callbacks[T]]
    mutator: NotRequired[Mutator[T]]


class RangeOptions(Options[T], Generic[T]):
    """
    `Options` and inclusive limits.
    """

    min: NotRequired[T]
    max: NotRequired[T]


class UpdaterOptions(TypedDict, total=False):
    """
    The options of `Updater`, for functions that pass them on. `Updater` documents them.
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
