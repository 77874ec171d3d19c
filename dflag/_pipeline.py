"""
What one flag accepts: its kind, its limits, and the pipeline that every value goes through.

The steps are: input mutator, parser, mutator, choices, limits and schema, validators. The order is the same for every
origin of a value.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar, cast

from dflag._faults import code_flags, is_interrupt, is_unawaited, text_of
from dflag._kinds import WHITE_SPACE, Kind, Limits, Problem
from dflag._log import logger
from dflag._raw import Text, Unreadable
from dflag.errors import ArgumentError, DefinitionError, FlagValueError, ParseError, ValidationError, nearest, shorten

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Mapping

    from dflag._kinds.maps import MapKind
    from dflag.typing import Raw, Validator

T = TypeVar("T")

Origin: TypeAlias = "str | Callable[[str], str]"
"""The origin of a value, for messages; or a function that returns it for a flag's name, called only for a message."""

_OPTIONS: Final = (
    *("validator", "on_change", "mutator", "input_mutator", "choices", "strip", "secret", "deprecated", "owner"),
    "expires",
    "by",
)


class Pipeline(Generic[T]):
    """
    The description of what a flag accepts. It never changes. Flags of one kind without options share one pipeline.

    Thread safety: any thread; parsers, mutators and validators run in the thread that brings the value.
    """

    __slots__ = (
        "_declared_secret",
        "_reported",
        "_space",
        "by",
        "choices",
        "deprecated",
        "expires",
        "input_kind",
        "input_mutator",
        "kind",
        "max",
        "min",
        "mutator",
        "owner",
        "secret",
        "strip",
        "validators",
    )

    def __init__(self, kind: Kind[T], options: Mapping[str, Any] | None = None) -> None:
        given = dict(options or {})
        self._reported: frozenset[object] = frozenset()
        self.kind: Final = kind
        self.validators: tuple[Validator[T], ...] = as_checks(given.pop("validator", ()))
        self.mutator: Final[Callable[[T], T] | None] = _function(given, "mutator")
        # A schema is one of the limits, so it is checked on the result of the mutator.
        self.input_kind: Final = kind if self.mutator is None else kind.without_schema()
        self.input_mutator: Final[Callable[[str], str] | None] = _function(given, "input_mutator")
        self.strip: Final[bool] = _typed(given, "strip", bool, "True or False", default=True)
        self._space: Final = WHITE_SPACE if self.strip and not kind.binary else ""  # see `shorten`
        self._declared_secret: Final = "secret" in given
        self.secret: bool = _typed(given, "secret", bool, "True or False", default=False)
        self.deprecated: Final[str | None] = _typed(given, "deprecated", (str, NoneType), "a text: what to use instead")
        self.owner: Final[str | None] = _typed(given, "owner", (str, NoneType), "a text")
        self.expires: Final[datetime.date | None] = _date(given)
        self.by: Final[str | None] = _typed(given, "by", (str, NoneType), "a text: what the keys are")
        if self.by is not None and not self.by.strip():
            raise DefinitionError(f"expected by as a name for the keys, such as 'tenant', got {self.by!r}")
        choices = given.pop("choices", None)
        self.choices: Final = None if choices is None else self._convert_choices(choices)
        self.min: Final = self._take_limit("min", given)
        self.max: Final = self._take_limit("max", given)
        if self.min is not None and self.max is not None and self.min > self.max:
            raise DefinitionError(f"expected min <= max, got min={self.min!r} and max={self.max!r}")
        for option in given:
            raise ArgumentError(_unknown_option(option, kind))

    def with_validator(self, validator: Validator[T], flag_name: str, default: T) -> Pipeline[T]:
        """
        Return a copy with one more validator, which the default must pass.

        Raises:
            DefinitionError: *validator* is not a plain function.
            ValidationError: The default does not pass.
        """
        other = self._copy()
        try:
            added = as_checks(validator)
        except DefinitionError as error:
            raise DefinitionError(f"flag {flag_name!r}: {error}") from None
        other.validators = (*self.validators, *added)
        # The default went through the mutator when it was declared.
        self._validate(added, flag_name, default, default, "default")
        return other

    @property
    def is_secret_by_declaration(self) -> bool:
        """
        Whether the declaration, and not a source, makes the flag secret.
        """
        return self.secret and self._declared_secret

    def concealed(self) -> Pipeline[T]:
        """
        Return a copy that makes the flag secret; the same object if the declaration says whether the flag is secret.
        """
        if self.secret or self._declared_secret:
            return self
        other = self._copy()
        other.secret = True
        return other

    def for_printed(self) -> Pipeline[T]:
        """
        Return a copy for texts that were printed from values: these are stripped and have passed the mutators.
        """
        other = self._copy()
        for slot, value in (("input_mutator", None), ("mutator", None), ("input_kind", self.kind), ("strip", False)):
            object.__setattr__(other, slot, value)
        return other

    def prefixed(self, prefix: str) -> Pipeline[T]:
        """
        Return a copy for a map with *prefix* before its keys, and before the keys of its choices.
        """
        other = self._copy()
        kind = self.kind.prefixed(prefix)
        choices = self.choices and tuple(kind.convert(prefix_keys(prefix, choice)) for choice in self.choices)
        for slot, value in (("kind", kind), ("input_kind", kind), ("choices", choices)):
            object.__setattr__(other, slot, value)
        return other

    def _copy(self) -> Pipeline[T]:
        other: Pipeline[T] = object.__new__(type(self))
        for slot in Pipeline.__slots__:
            setattr(other, slot, getattr(self, slot))
        return other

    def read(self, flag_name: str, raw: Raw, origin: Origin, *, encoded: bool = False) -> T:
        """
        Take a raw value through the whole pipeline.

        Args:
            flag_name: For messages.
            raw: The raw value, as the source gave it.
            origin: For messages.
            encoded: Whether the text of a bytes flag is base64, as on the command line, instead of the value itself.

        Raises:
            ParseError: The value does not match the grammar.
            ValidationError: The flag does not allow the value.
        """
        parsed = self.parse(flag_name, raw, origin, self.input_kind, encoded=encoded)
        return self._check(flag_name, parsed, raw, origin, self._space)

    def parse(
        self,
        flag_name: str,
        raw: Raw,
        origin: Origin,
        kind: Kind[Any],
        *,
        encoded: bool = False,
        key: str | None = None,
    ) -> Any:
        """
        Take a raw value through the first half of the pipeline, up to the parser of *kind*.

        Args:
            flag_name: For messages.
            raw: The raw value, as the source gave it.
            origin: For messages.
            kind: The kind that parses the value.
            encoded: As for `read`.
            key: The key, for the value of one key of a map. It is for messages, because not every origin names it.

        Raises:
            ParseError: The value does not match the grammar.
        """
        try:
            return self._translate(raw, kind, encoded=encoded)
        except BaseException as error:
            if is_interrupt(error):
                raise
            given = ... if isinstance(raw, Unreadable) else raw
            refusal = self._refusal(ParseError, flag_name, error, given, origin, self._space, key)
        raise refusal

    def _translate(self, raw: Raw, kind: Kind[Any], *, encoded: bool) -> Any:
        if isinstance(raw, Unreadable):
            raise Problem(f"{kind.expected}, but the value cannot be read: {raw.reason}")
        if kind.binary and not encoded:
            return kind.convert(_encode(raw, kind) if isinstance(raw, str) else raw)
        text = _decode(raw, kind) if isinstance(raw, bytes) else raw.removeprefix("\ufeff")
        if self.strip:
            text = text.strip(WHITE_SPACE)
        if kind.is_map:  # its parts are translated like the values of single keys
            item = cast("MapKind", kind).item
            whole = raw if isinstance(raw, Text) else text
            return cast("MapKind", kind).read(whole, lambda part: self._translate(part, item, encoded=True))
        if self.input_mutator is not None:
            text = self._mutate_input(self.input_mutator, text)
        elif isinstance(raw, Text):
            return kind.load(raw.native, text)
        return kind.parse(text)

    def take(self, flag_name: str, value: object, origin: str) -> T:
        """
        Take a Python value through the pipeline, from the step after the parser.

        Raises:
            ValidationError: The value is of the wrong type, or the flag does not allow it.
        """
        try:
            converted = self.input_kind.convert(value)
        except BaseException as error:
            if is_interrupt(error):
                raise
            refusal = self._refusal(ValidationError, flag_name, error, value, origin)
        else:
            return self._check(flag_name, converted, value, origin)
        raise refusal

    def _check(self, flag_name: str, value: T, raw: object, origin: Origin, space: str | None = None) -> T:
        if (
            self.mutator is None
            and self.choices is None
            and self.min is None
            and self.max is None
            and not self.validators
        ):
            return value
        try:
            if self.mutator is not None:
                value = self._mutate(self.mutator, value)
            self._check_limits(value)
        except BaseException as error:
            if is_interrupt(error):
                raise
            refusal = self._refusal(ValidationError, flag_name, error, raw, origin, space)
        else:
            self._validate(self.validators, flag_name, value, raw, origin, space)
            return value
        raise refusal

    @staticmethod
    def _mutate_input(mutator: Callable[[str], str], text: str) -> str:
        mutated = mutator(text)
        if is_unawaited(mutated) or not isinstance(mutated, str):
            raise AuthorError("an input mutator", f"return a text, not {_named(mutated)}")
        return mutated

    def _mutate(self, mutator: Callable[[T], T], value: T) -> T:
        mutated = mutator(value)
        try:
            return self.kind.convert(mutated)
        except Problem as problem:
            if mutated is None or is_unawaited(mutated):
                raise AuthorError("a mutator", f"return {problem.expected}, not {_named(mutated)}") from None
            detail = problem.detail or f"the mutator returned {_named(mutated)}"
            raise Problem(problem.expected, detail, json_path=problem.json_path, masked=problem.masked) from None

    def recheck(self, flag_name: str, value: T, origin: str) -> None:
        """
        Check the limits and validators for a value that was merged from valid values.

        Raises:
            ValidationError: The flag does not allow the value.
        """
        try:
            self._check_limits(value)
        except BaseException as error:
            if is_interrupt(error):
                raise
            refusal = self._refusal(ValidationError, flag_name, error, value, origin)
        else:
            return self._validate(self.validators, flag_name, value, value, origin)
        raise refusal

    def _validate(
        self,
        validators: Iterable[Validator[T]],
        flag_name: str,
        value: T,
        raw: object,
        origin: Origin,
        space: str | None = None,
    ) -> None:
        try:
            for validator in validators:
                expect_no_verdict(validator(value))
        except BaseException as error:
            if is_interrupt(error):
                raise
            refusal = self._refusal(ValidationError, flag_name, error, raw, origin, space)
        else:
            return
        raise refusal

    def _check_limits(self, value: Any) -> None:
        if self.choices is not None and not self.kind.is_among(value, self.choices):
            # The choices of a secret flag are not shown: they contain the default, and mostly the value in force.
            shown = "its choices" if self.secret else self.choices_text() or "its choices, of which there are none"
            raise Problem(f"{self.kind.one_of} {shown}")
        if (self.min is not None and value < self.min) or (self.max is not None and value > self.max):
            raise Problem(f"{self.kind.expected} {self.range_text()}")

    @property
    def limits(self) -> Limits:
        """
        The limits and choices of the declaration.
        """
        return Limits(self.min, self.max, self.choices)

    def range_text(self) -> str:
        """
        Return the inclusive limits in words; the empty text when there are none.
        """
        low, high = (None if limit is None else self.kind.format(limit) for limit in (self.min, self.max))
        if low is None:
            return "" if high is None else f"of at most {high}"
        return f"of at least {low}" if high is None else f"from {low} to {high}"

    def choices_text(self) -> str:
        """
        List the choices in words; the empty text when there are none.
        """
        return ", ".join(self._format_choice(choice) for choice in self.choices or ())

    def _convert_choices(self, choices: Iterable[Any]) -> tuple[Any, ...]:
        if isinstance(choices, (str, bytes)) or not isinstance(choices, Iterable):
            raise DefinitionError("expected choices as several values" + self._got(choices))
        try:
            return self.kind.convert_choices(choices)
        except BaseException as error:  # raised by the program's format= or type=
            if is_interrupt(error):
                raise
            bad = self._bad("choices", error, choices)
        raise bad

    def _bad(self, option: str, error: BaseException, given: object) -> DefinitionError:
        bad = DefinitionError(f"bad {option}: {self._words_of(error)}{self._got(given)}")
        bad.__cause__ = None if self.secret else error
        return bad

    def _got(self, given: object) -> str:
        return "" if self.secret else f", got {shorten(given)}"

    def _format_choice(self, choice: Any) -> str:
        return repr(choice) if isinstance(choice, str) else self.kind.format(choice)

    def _take_limit(self, which: str, given: dict[str, Any]) -> Any:
        if which not in given or self.kind.step is None:
            return None
        limit = given.pop(which)
        if limit is None:
            return None
        try:
            return self.kind.convert(limit)
        except Problem as error:
            bad = self._bad(which, error, limit)
        raise bad

    def _refusal(
        self,
        cls: type[ParseError | ValidationError],
        flag_name: str,
        error: BaseException,
        raw: object,
        origin: Origin,
        space: str | None = None,
        key: str | None = None,
    ) -> FlagValueError:
        """
        Return the flag's error for an exception that a parser, a mutator or a validator raised.

        A `ValueError` refuses the value. Any other exception is a fault in that function, and is logged as such, once.
        The caller raises the result outside of the handler, so that it has no context, but only the cause that is set
        here. A secret flag's error has no cause, because the text of a cause may quote the value.
        """
        problem = self._words_of(error)
        if key is not None:
            problem = f"at {key[:80]!r}: {problem}"
        if not isinstance(error, ValueError) and self.is_news(type(error)):
            log_fault(f"flag {flag_name!r}", ": a parser, mutator or validator", error, secret=self.secret)
        path = error.json_path if isinstance(error, Problem) else None
        place = origin if isinstance(origin, str) else origin(flag_name)
        refusal: FlagValueError
        if cls is ParseError and path is None:
            refusal = ParseError(flag_name, problem, raw=raw, origin=place, secret=self.secret, space=space)
        else:
            path = None if self.secret else path
            refusal = ValidationError(
                flag_name, problem, raw=raw, origin=place, secret=self.secret, space=space, json_path=path
            )
        refusal.__cause__ = None if self.secret else error
        return refusal

    def _words_of(self, error: BaseException) -> str:
        if isinstance(error, Problem):
            return f"expected {error.masked}" if self.secret else text_of(error)
        if self.secret:  # the message of the validator may contain the value
            return "the value was refused"
        if isinstance(error, (ValueError, AuthorError)):
            return text_of(error) or "the value was refused"
        return f"{type(error).__name__}: {text_of(error)}"

    def is_news(self, subject: object) -> bool:
        """
        Return True at the first call with a subject, so that the caller reports it once. A fault of the program's
        functions occurs again at each reading.
        """
        is_news = subject not in self._reported
        self._reported |= {subject}
        return is_news


def prefix_keys(prefix: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return a copy of a map's value with *prefix* before its keys.
    """
    return {f"{prefix}{key}": item for key, item in value.items()}


class AuthorError(TypeError):
    """
    A function of the program returned something that it must not return: a fault of its author, not of the value.
    """

    def __init__(self, who: str, should: str) -> None:
        super().__init__(f"{who} should {should}")


def log_fault(subject: str, function: str, error: BaseException, *, secret: bool) -> None:
    """
    Log an exception of a function of the program that is a fault, and not the refusal of a value.

    Args:
        subject: The beginning of the message: what the function was called for.
        function: The words for the function, after the subject.
        error: The exception that the function has raised.
        secret: Whether the exception may quote a secret.
    """
    if isinstance(error, AuthorError):
        logger.error("%s: %s", subject, error)
    else:
        name = type(error).__name__
        logger.error(
            "%s%s should raise ValueError, not %s", subject, function, name, exc_info=None if secret else error
        )


def expect_no_verdict(result: object) -> None:
    """
    Raise `AuthorError` if a validator has returned False instead of raising, or has only returned a coroutine.
    """
    if result is None:
        return
    if result is False:
        raise AuthorError("a validator", "raise ValueError to refuse a value, not return False")
    if is_unawaited(result):
        raise AuthorError("a validator", "not be a coroutine function, which nobody awaits")


def as_checks(given: Any) -> tuple[Any, ...]:
    """
    Return one validator or several as a tuple; refuse coroutine functions and generators.
    """
    functions = as_tuple(given, "validator")
    for function in functions:
        check_plain_function(function, "validator")
    return functions


def check_plain_function(function: Any, option: str) -> None:
    """
    Raise `DefinitionError` unless *function* is a callable that runs when it is called.
    """
    if not callable(function):
        raise DefinitionError(f"expected a callable for {option}, got {shorten(function)}")
    if code_flags(function) & _CO_NOT_RUN:
        raise DefinitionError(
            f"expected a plain function for {option}, got a coroutine function or generator: {shorten(function)}"
        )


_CO_NOT_RUN: Final = 0x20 | 0x80 | 0x200
"""The flags by which `inspect` recognises generators, coroutine functions and asynchronous generators."""


def _function(given: dict[str, Any], option: str) -> Any:
    function = given.pop(option, None)
    if function is not None:
        check_plain_function(function, option)
    return function


def _typed(
    given: dict[str, Any], option: str, types: type | tuple[type, ...], expected: str, *, default: Any = None
) -> Any:
    value = given.pop(option, default)
    if not isinstance(value, types):
        raise ArgumentError(f"expected {option} as {expected}, got {shorten(value)}")
    return str.__str__(value) if isinstance(value, str) else value  # see `checked_text`


def _date(given: dict[str, Any]) -> datetime.date | None:
    value = given.pop("expires", None)
    if value is None:
        return None
    import datetime  # already imported by the caller that made the date

    if not isinstance(value, datetime.date) or isinstance(value, datetime.datetime):
        raise ArgumentError(f"expected expires as a datetime.date, got {shorten(value)}")
    return value


def _unknown_option(option: str, kind: Kind[Any]) -> str:
    known = [*_OPTIONS, *(("min", "max") if kind.step is not None else ())]
    near = nearest(option, known)
    return f"unexpected option {option!r} for a flag of type {kind.name}" + (
        f"; did you mean {near!r}?" if near else ""
    )


def _named(value: object) -> str:
    return "None" if value is None else f"a value of type {type(value).__name__}"


def as_tuple(given: Any, option: str) -> tuple[Any, ...]:
    """
    Return one callable or several as a tuple.
    """
    if not callable(given) and not isinstance(given, Iterable):
        raise DefinitionError(f"expected a callable for {option}, got {shorten(given)}")
    functions = (given,) if callable(given) else tuple(given)
    for function in functions:
        if not callable(function):
            raise DefinitionError(f"expected a callable for {option}, got {shorten(function)}")
    return functions


def _encode(raw: str, kind: Kind[Any]) -> bytes:
    try:
        return raw.encode()
    except UnicodeEncodeError as error:
        raise Problem(
            f"{kind.expected} as text in UTF-8", f"character {error.start} is an unpaired surrogate"
        ) from None


def _decode(raw: bytes, kind: Kind[Any]) -> str:
    try:
        return raw.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise Problem(f"{kind.expected} in UTF-8", f"byte {error.start} is not") from None
