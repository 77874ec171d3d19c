"""
Every exception that dflag raises.

::

    DflagError
    ├── DefinitionError (ValueError)
    │   ├── ArgumentError (TypeError)
    │   └── DuplicateFlagError
    ├── UnknownFlagError (LookupError)
    ├── FlagValueError (ValueError)
    │   ├── ParseError
    │   └── ValidationError
    ├── RegistryValidationError
    ├── StaticFlagError
    ├── SourceError
    ├── UpdaterStateError (RuntimeError)
    └── UpdateError

A class with a builtin exception in parentheses also derives from that exception, so that a caller can catch either.
This module imports nothing else of dflag.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self, TypeGuard, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

E = TypeVar("E", bound=BaseException)

__all__ = [
    "ArgumentError",
    "DefinitionError",
    "DflagError",
    "DuplicateFlagError",
    "FlagValueError",
    "ParseError",
    "RegistryValidationError",
    "SourceError",
    "StaticFlagError",
    "UnknownFlagError",
    "UpdateError",
    "UpdaterStateError",
    "ValidationError",
]


def __dir__() -> list[str]:
    return __all__


MASK: Final = "******"
"""The text that is shown instead of the value of a secret flag."""

_GIVEN_MAX_CHARACTERS: Final = 80
"""How much of a rejected value a message repeats: enough to recognise it, short enough for one log line."""

_HEAD: Final = 4 * _GIVEN_MAX_CHARACTERS + 4
"""How much of a value is read for such a message, however large the value is. A character has at most four bytes."""

MAX_HINTS: Final = 20
"""For how many unknown names at once a similar name is searched. Each takes 35 ms with a thousand flags."""

_LEAST_BEGINNING: Final = 3
"""The minimum length of an unknown name that is taken as the beginning of a longer name."""

_LONGEST_WAIT_SECONDS: Final = 1e9
"""Thirty years. Locks refuse to wait for much longer."""

_PROBLEM_MAX_CHARACTERS: Final = 1000
"""The limit for the rest of a message. A validator or a library may have put the whole value into it."""


class DflagError(Exception):
    """
    The base class of all exceptions that dflag raises on purpose.
    """


class DefinitionError(DflagError, ValueError):
    """
    A declaration or a call can never work: a bad name, default, option, argument or callback.
    """


class ArgumentError(DefinitionError, TypeError):
    """
    A function of dflag was called with an argument of the wrong type.
    """


class DuplicateFlagError(DefinitionError):
    """
    A name was declared twice in one registry.
    """


class UnknownFlagError(DflagError, LookupError):
    """
    No flag of the registry has the name that was looked up.

    Attributes:
        flag_name: The name that was looked up.
    """

    def __init__(self, message: str, *, flag_name: str = "") -> None:
        super().__init__(message)
        self.flag_name = flag_name  # not Final: unpickling sets it


class FlagValueError(DflagError, ValueError):
    """
    A value was refused: by the flag's grammar, its limits or its validators.

    Attributes:
        flag_name: The name of the flag.
        raw: The value that was given, unchanged; ``"******"`` for a secret flag, ``...`` if it could not be read.
        origin: The origin of the value: a path, a source's name, ``"override"``.
    """

    def __init__(
        self,
        flag_name: str,
        problem: str,
        *,
        raw: object = ...,
        origin: str = "",
        secret: bool = False,
        space: str | None = "",
    ) -> None:
        given = "" if secret or raw is ... else f", got {shorten(raw, space)}"
        problem = one_line(problem)
        super().__init__(f"{subject_of(flag_name)}: {problem}{given}" + (f" ({one_line(origin)})" if origin else ""))
        self.flag_name: Final = flag_name
        self.problem: Final = problem
        self.raw: Final[object] = MASK if secret else raw
        self.origin: Final = origin
        self._secret: Final = secret
        self._space: Final = space  # see `shorten`

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would call the class with only the finished message.
        return _rebuild, (type(self), self.flag_name, self.problem, self.raw, self.origin, self._secret, self._extra())

    def _extra(self) -> dict[str, Any]:
        return {"space": self._space}


class ParseError(FlagValueError):
    """
    A text does not match the grammar of the flag's kind, or cannot be read at all.
    """


class ValidationError(FlagValueError):
    """
    A value of the right type is refused by limits, choices, a schema or a validator.

    Attributes:
        json_path: The place of the error in a JSON value (``"$.limits[2]"``), otherwise None.
    """

    def __init__(
        self,
        flag_name: str,
        problem: str,
        *,
        raw: object = ...,
        origin: str = "",
        secret: bool = False,
        space: str | None = "",
        json_path: str | None = None,
    ) -> None:
        super().__init__(flag_name, problem, raw=raw, origin=origin, secret=secret, space=space)
        self.json_path: Final = json_path

    def _extra(self) -> dict[str, Any]:
        return {**super()._extra(), "json_path": self.json_path}


class RegistryValidationError(DflagError):
    """
    A registry validator refused a change. `Revision.error` holds it. It is the cause of the error that ``set`` raises.
    """


class StaticFlagError(DflagError):
    """
    A static flag cannot be changed, because the registry is frozen, or because a time limit was given.
    """


class SourceError(DflagError):
    """
    A source could not be read.

    Attributes:
        missing: True when the source does not exist, and False when it exists but cannot be read.
        unreachable: True when the server does not answer, and it is unknown whether the source exists.
    """

    def __init__(self, message: str, *, missing: bool = False, unreachable: bool = False) -> None:
        super().__init__(message)
        self.missing: Final = missing
        self.unreachable: Final = unreachable


class UpdaterStateError(DflagError, RuntimeError):
    """
    A method of an updater was called in the wrong state, such as ``start()`` on a running updater.
    """


class UpdateError(DflagError):
    """
    Some values at start-up are bad; nothing was applied.

    Attributes:
        errors: One exception per bad value, sorted by flag name.
    """

    def __init__(self, errors: Iterable[DflagError]) -> None:
        self.errors: Final[tuple[DflagError, ...]] = tuple(
            sorted(errors, key=lambda error: (getattr(error, "flag_name", ""), str(error)))
        )
        super().__init__("\n".join(str(error) for error in self.errors))

    def __reduce__(self) -> tuple[type[Self], tuple[tuple[DflagError, ...]]]:
        return type(self), (self.errors,)


def check_argument(
    name: str, given: object, types: type | tuple[type, ...], expected: str, *, subject: str = ""
) -> None:
    """
    Raise `ArgumentError` unless an argument is of one of the types.

    Args:
        name: The name of the argument.
        given: Its value.
        types: The allowed types. A bool is accepted only if *types* is bool, and never as an int.
        expected: The words for the types in the message: ``"a text"``.
        subject: The beginning of the message.
    """
    if not isinstance(given, types) or (isinstance(given, bool) and types is not bool):
        raise ArgumentError(f"{subject}expected {name} as {expected}, got {shorten(given)}")


def checked_text(name: str, given: object, expected: str = "a text", *, subject: str = "") -> str:
    """
    Return an argument that must be a text as a plain `str`, or raise `ArgumentError`.

    An instance of a subclass, such as a member of a `str` enumeration, may print as another text.

    Args:
        name: The name of the argument.
        given: Its value.
        expected: The words for a text in the message.
        subject: The beginning of the message.
    """
    if isinstance(given, str):
        return str.__str__(given)
    raise ArgumentError(f"{subject}expected {name} as {expected}, got {shorten(given)}")


def checked_texts(name: str, given: Any, each: str = "each") -> tuple[str, ...]:
    """
    Return an argument that must be several texts as a tuple of plain `str`, or raise `ArgumentError`.

    Args:
        name: The name of the argument.
        given: Its value.
        each: The word for one of the texts in the message.
    """
    try:
        if isinstance(given, (str, bytes)):
            raise TypeError
        texts = tuple(given)
    except TypeError:
        raise ArgumentError(f"expected {name} as several texts, got {shorten(given)}") from None
    return tuple(checked_text(f"{each} of {name}", text) for text in texts)


def one_or_more_texts(name: str, given: Any, each: str) -> tuple[str, ...]:
    """
    Return the same as `checked_texts`, for an argument that can also be a single text.
    """
    return checked_texts(name, (given,) if isinstance(given, str) else given, each)


def check_arguments(*checks: tuple[str, object, type | tuple[type, ...], str]) -> None:
    """
    Check several arguments with `check_argument`.
    """
    for name, given, types, expected in checks:
        check_argument(name, given, types, expected)


def check_seconds(name: str, given: Any, *, positive: bool = False, subject: str = "") -> float | None:
    """
    Return a duration in seconds, reduced to at most 1e9; None if *given* is None.

    Args:
        name: The name of the argument.
        given: Its value.
        positive: Whether the duration must be above 0 and finite. If False, only NaN is refused.
        subject: The beginning of the message.

    Raises:
        ArgumentError: *given* is neither a number nor None.
        DefinitionError: The number is not allowed.
    """
    if given is None:
        return None
    expected = f"{subject}expected {name} {'above 0 and finite' if positive else 'as a number of seconds'}"
    if isinstance(given, bool) or not isinstance(given, (int, float)):
        raise ArgumentError(f"{expected}, got {shorten(given)}")
    try:
        seconds = float(given)
    except OverflowError:  # an int of more than 308 digits
        seconds = float("inf")
    if not (0 < seconds < float("inf") if positive else seconds <= float("inf")):
        raise DefinitionError(f"{expected}, got {shorten(given)}")
    return min(seconds, _LONGEST_WAIT_SECONDS)


def one_line(text: str) -> str:
    """
    Escape control characters as `repr` does, and cut a text that is too long to read.

    A message may quote a text that somebody else has written. Line ends in that text would forge lines of the log.
    """
    return _cut(printable(_cut(text, _PROBLEM_MAX_CHARACTERS)), _PROBLEM_MAX_CHARACTERS)


def printable(text: str) -> str:
    """
    Escape the characters that could forge a line of a log or control a terminal, without cutting the text.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def subject_of(name: object) -> str:
    """
    Return the subject of a message about a value: a flag; for an error of rules, the rule or the key of the list.
    """
    if not isinstance(name, str):  # the declaration is refused for this reason
        return f"flag {name!r}"
    name = str.__str__(name)  # as in `checked_text`
    if name[:5] == "rule:":
        return named_rule(name[5:])
    return f"{'key' if name in ('_rules.yaml', '_rules') else 'flag'} {name!r}"  # no flag has such a name


def named_rule(name: str) -> str:
    """
    Return the name of a rule for use in a sentence. The name of an unnamed rule is already its place.

    >>> named_rule("canary"), named_rule("rule 3")
    ("rule 'canary'", 'rule 3')
    """
    is_place = name[:5] == "rule " and name[5:].isascii() and name[5:].isdecimal()
    return name if is_place else f"rule {name!r}"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _is_bytes(given: object) -> TypeGuard[bytes | bytearray | memoryview]:
    return isinstance(given, (bytes, bytearray, memoryview))


def shorten(given: object, space: str | None = None) -> str:
    """
    Return the repr of a value, cut to 80 characters.

    Args:
        given: The value.
        space: For a value from a source, the characters to strip from both ends of the text. Bytes are decoded if
            possible. None for a value from the program: its repr also shows the type.
    """
    try:
        shown = repr(_head_of(given) if space is None else _text_in(given, space))
    except BaseException as error:  # a user's broken __repr__ must not hide the error that is reported
        from dflag._faults import is_interrupt  # imports threading, which only this case needs

        if is_interrupt(error):
            raise
        shown = f"<{type(given).__name__}>"
    return _cut(shown, _GIVEN_MAX_CHARACTERS)


def _head_of(given: object) -> object:
    return given[:_HEAD] if isinstance(given, str) or _is_bytes(given) else given


def _text_in(given: object, space: str) -> object:
    text = _decoded(given) if _is_bytes(given) else _head_of(given)
    return text.strip(space) if isinstance(text, str) else text


def _decoded(given: bytes | bytearray | memoryview) -> str | bytes:
    head = bytes(given[:_HEAD])
    try:
        return head.decode()
    except UnicodeDecodeError as error:
        # A head that is cut inside a character can still be shown as text.
        is_cut = len(head) < len(given) and error.end == len(head)
        return head[: error.start].decode() if is_cut else head


def _rebuild(
    cls: type[FlagValueError],
    flag_name: str,
    problem: str,
    raw: object,
    origin: str,
    secret: bool,  # noqa: FBT001 - called only by pickle, by position
    extra: dict[str, Any],
) -> FlagValueError:
    return cls(flag_name, problem, raw=raw, origin=origin, secret=secret, **extra)


def nearest(name: str, names: Iterable[str]) -> str | None:
    """
    Return the name that was probably meant: the shortest that begins with *name*, otherwise a similar one, or None.
    """
    import difflib  # slow to import, and needed only after a mistake

    known = list(names)
    begun = [each for each in known if each.startswith(name)] if len(name) >= _LEAST_BEGINNING else []
    near = [min(begun, key=len)] if begun else difflib.get_close_matches(name, known, n=1)
    return near[0] if near else None


def did_you_mean(name: str, names: Iterable[str], form: str = " ({})") -> str:
    """
    Return the hint "did you mean ...?" for the end of a message; the empty text if there is no near name.
    """
    near = nearest(name, names)
    return "" if near is None else form.format(f"did you mean {near!r}?")


def drop_frames(error: E) -> E:
    """
    Drop the tracebacks of an error and of its causes, with their frames.

    The frames hold the text that was read and the previous state, with the previous errors. If each reading had a new
    error, every reading would stay in memory. The frames also hold the texts of secrets.
    """
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()  # a chain may be a ring
    while pending:
        link = pending.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            BaseException.with_traceback(link, None)  # not by assignment, which a frozen dataclass refuses
            pending += (link.__cause__, link.__context__)
            if isinstance(link, BaseExceptionGroup):
                pending += link.exceptions
    return error


def unknown_flag(name: object, names: Iterable[str]) -> UnknownFlagError:
    """
    Return the error for a name that no flag has, with the nearest name as a hint.
    """
    if not isinstance(name, str):
        return UnknownFlagError(f"expected the name of a flag, got {shorten(name)}")
    hint = did_you_mean(name[:253], names, "; {}")
    return UnknownFlagError(f"no flag named {name[:253]!r}{hint}", flag_name=name)


def foreign_flag(name: str) -> UnknownFlagError:
    """
    Return the error for a flag that belongs to another registry, or to none.
    """
    return UnknownFlagError(f"flag {name!r} does not belong to this registry", flag_name=name)


def unknown_flags(unknown: Iterable[str], names: Iterable[str]) -> list[UnknownFlagError]:
    """
    Return the errors for several unknown names; the first `MAX_HINTS` of them have hints.
    """
    return [unknown_flag(name, names if number < MAX_HINTS else ()) for number, name in enumerate(unknown)]


def unknown_keys(unknown: Iterable[str], names: Iterable[str], source: str) -> list[UnknownFlagError]:
    """
    Return the errors for the unknown keys of a source; the first `MAX_HINTS` of them have hints.
    """
    return [_unknown_key(key, names if number < MAX_HINTS else (), source) for number, key in enumerate(unknown)]


def _unknown_key(key: str, names: Iterable[str], source: str) -> UnknownFlagError:
    hint = did_you_mean(key[:253], names)
    return UnknownFlagError(f"unknown key {key[:253]!r} in {one_line(source)}{hint}", flag_name=key)
