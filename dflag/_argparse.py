"""
The changes that dflag makes to argparse, so that the parsers of a program know flags.

argparse has no public hook for three things:

- the end of a parse: all flags are set in one step, only if it succeeds, whichever parser the program began with;
- the distinction between an argument and an option;
- the parser that ``parents=`` has copied the options to.

So dflag wraps the methods that parse, in the class of each parser that has flags and in `argparse.ArgumentParser`. It
wraps each method once in a process, when a parser first gets flags. Parsers without flags work as before.
"""

from __future__ import annotations

import argparse
import contextlib
import enum
import functools
import re
import weakref
from collections import defaultdict
from collections.abc import Mapping
from contextvars import ContextVar
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from dflag._flags import pipeline_of
from dflag._snapshot import store_of
from dflag.errors import StaticFlagError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from dflag._flags import Flag

_PARSING: Final = ("parse_args", "parse_intermixed_args", "parse_known_args", "parse_known_intermixed_args")

_parse_optional: Final[Callable[[Any, str], Any]] = argparse.ArgumentParser._parse_optional
"""The method with which argparse itself distinguishes an argument from an option."""


class Role(enum.Enum):
    """
    The effect of an option on its flag.
    """

    VALUE = enum.auto()
    OFF = enum.auto()
    FILE = enum.auto()


class Option(NamedTuple):
    """
    A flag, and the effect of one option on it.
    """

    flag: Flag[Any]
    role: Role

    @property
    def bare(self) -> bool:
        """Whether the option stands alone: the option of a bool never takes the next argument as its value."""
        return self.role is Role.OFF or (self.role is Role.VALUE and pipeline_of(self.flag).kind.is_switch)


class Given(NamedTuple):
    """
    The value that the command line gives for a flag.

    Attributes:
        role: VALUE or FILE.
        text: The value, or the path of the file that holds it.
        parser: The parser that found the option.
    """

    role: Role
    text: str
    parser: argparse.ArgumentParser


class Take(argparse.Action):
    """
    Stores the value of an option until the whole parse is over. It leaves nothing in the namespace.

    argparse knows only the option with the flag's own name, not the other spellings. So the latter never conflict
    with abbreviations or with the program's own options, whether added before or after.
    """

    def __init__(self, *, option: Option, **settings: Any) -> None:
        super().__init__(**{**settings, "default": argparse.SUPPRESS})
        self.option: Final = option

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,  # noqa: ARG002 - as in the base class
        values: object,
        option_string: str | None = None,
    ) -> None:
        name, equals, text = (option_string or self.option_strings[0]).partition("=")
        flag, role = self.option
        if not self.option.bare:
            text = text if equals else str(values)
        elif role is Role.OFF:
            if equals:
                raise argparse.ArgumentError(None, f"argument {name}: expected no value; leave it out")
            text = "false"
        elif not equals:
            text = "true"
        _current.get().given[flag] = Given(Role.FILE if role is Role.FILE else Role.VALUE, text, parser)


class Parse:
    """
    One parse, by the parser that the program began with and the parsers that it calls, such as those of subcommands.

    Attributes:
        parser: The parser that the program began with.
        given: The value given for each flag so far; the last value counts.
        running: The parsers that are running, the innermost last.
    """

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser: Final = parser
        self.given: dict[Flag[Any], Given] = {}
        self.running: list[_Running] = []

    def runs(self, parser: argparse.ArgumentParser) -> bool:
        """
        Return whether *parser* is the innermost parser that is running.
        """
        return bool(self.running) and self.running[-1].parser is parser

    @contextlib.contextmanager
    def entered(self, parser: argparse.ArgumentParser) -> Iterator[None]:
        """
        Let a parser take part until the end of the block. If it fails, the values that it has given are dropped.
        """
        before = dict(self.given)
        self.running.append(_Running(parser))
        try:
            yield
        except BaseException:
            self.given = before
            raise
        finally:
            self.running.pop()


_current: Final[ContextVar[Parse]] = ContextVar("dflag-parse")


@contextlib.contextmanager
def parsing(parser: argparse.ArgumentParser) -> Iterator[Parse]:
    """
    Collect the values that are given to the parsers that run within the block.
    """
    token = _current.set(Parse(parser))
    try:
        yield _current.get()
    finally:
        _current.reset(token)


def fail(
    parser: argparse.ArgumentParser, message: str, cause: BaseException, *, outermost: argparse.ArgumentParser
) -> NoReturn:
    """
    Report an error in the arguments as argparse does: exit with status 2, or raise if a parser has exit_on_error=False.

    Args:
        parser: The parser that found the error, whose usage is shown.
        message: The error message.
        cause: The exception behind the error.
        outermost: The parser that the program began with.
    """
    if parser.exit_on_error and outermost.exit_on_error:
        parser.error(message)
    raise argparse.ArgumentError(None, message) from cause


def frozen_error() -> StaticFlagError:
    """
    Make the error for a parse after the registry was frozen.
    """
    return StaticFlagError(
        "cannot parse the command line: the registry is frozen; parse it before Updater.start() or freeze()"
    )


class _Running:
    """
    A parser while it parses.
    """

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        flags = [action.option.flag for action in parser._actions if isinstance(action, Take)]
        for flag in flags:
            if store_of(flag).frozen:
                raise frozen_error()
        self.parser: Final = parser
        self._own: Final = parser._option_string_actions  # there is no public access; the same since Python 2.7
        self._spellings: Final[Mapping[str, Option]] = Spellings(flags, dashes(parser)) if flags else {}
        self._looks_negative: Final = _negative(parser.prefix_chars)
        self._awaits_value = False

    def classify(self, argument: str) -> Any:
        """
        Classify an argument, as the method ``_parse_optional`` of argparse does.

        It handles two cases that argparse cannot, and leaves everything else to argparse:

        - To argparse, a value such as ``-2m`` looks like an option, unless an equals sign precedes it.
        - argparse refuses ``--verbose=false`` if the option takes no argument; if its argument were optional, the
          option would take the next one. So the whole text counts as an option of its own. So does a text that ends
          in ``=--``, which argparse before 3.13 takes for the end of the options.
        """
        awaited, self._awaits_value = self._awaits_value, False
        if awaited and self._looks_negative(argument):
            return None
        name, equals, value = argument.partition("=")
        option = self._option(name)
        if option is None:
            found = _parse_optional(self.parser, argument)
            option, name, equals, value = _abbreviated(found)
            if option is None:
                return found
        self._awaits_value = not equals and not option.bare
        whole = equals and (option.bare or value == "--")
        nargs = 0 if whole or option.bare else None
        action = Take(option_strings=[name], dest=argparse.SUPPRESS, option=option, nargs=nargs)
        # Let argparse build the result, whose form differs between versions. It uses only these two attributes.
        parser: Any = SimpleNamespace(
            prefix_chars=self.parser.prefix_chars,
            _option_string_actions={f"{name}={value}" if whole else name: action},
        )
        return _parse_optional(parser, f"{name}{equals}{value}")

    def _option(self, name: str) -> Option | None:
        own = self._own.get(name)
        if own is None:
            return self._spellings.get(name)
        return own.option if isinstance(own, Take) else None


def _abbreviated(found: Any) -> tuple[Option | None, str, str, str]:
    """
    Return the flag's option that argparse has found by an abbreviation, its name, the equals sign, and the value.
    """
    if isinstance(found, list):  # since Python 3.12.7: all options that the argument may mean
        found = found[0] if len(found) == 1 else None
    if found is None or not isinstance(found[0], Take):
        return None, "", "", ""
    return found[0].option, found[1], "" if found[-1] is None else "=", found[-1] or ""


@functools.cache
def _negative(prefix_chars: str) -> Callable[[str], object]:
    """
    Return a function that recognises values such as ``-5``, ``-.5``, ``-2m``, ``-inf``; argparse knows only numbers.
    """
    signs = re.escape("".join(sorted({"-", "+"} & set(prefix_chars))))
    return re.compile(rf"[{signs}](\.?\d|inf)", re.IGNORECASE).match if signs else lambda _: False


def dashes(parser: argparse.ArgumentParser) -> str:
    """
    Return the characters that a parser's long options begin with, chosen as argparse does for ``--help``.
    """
    return 2 * ("-" if "-" in parser.prefix_chars else parser.prefix_chars[0])


class Spellings(Mapping[str, Option]):
    """
    All spellings of the options: first the flags' names, then the options that turn a flag off, then those for files.

    In a spelling any dash may be an underscore and vice versa. If a spelling fits several options, the first in this
    order gets it. If it could mean two flags, no option gets it, unless one of them has exactly this spelling.
    """

    def __init__(self, flags: Collection[Flag[Any]], prefix: str) -> None:
        self._prefix: Final = prefix
        switches = [flag for flag in flags if pipeline_of(flag).kind.is_switch]
        self._kinds: Final = [
            _Kind({flag.name: Option(flag, Role.VALUE) for flag in flags}),
            _Kind({sign + flag.name: Option(flag, Role.OFF) for flag in switches for sign in ("no-", "no_")}),
            _Kind({flag.name + end: Option(flag, Role.FILE) for flag in flags for end in ("_path", "-path")}),
        ]

    def __getitem__(self, spelling: str) -> Option:
        if spelling.startswith(self._prefix):
            for kind in self._kinds:
                option = kind.find(spelling.removeprefix(self._prefix))
                if option is not None:
                    return option
        raise KeyError(spelling)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(self._prefix + name for kind in self._kinds for name in kind.exact))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class _Kind:
    """
    The options with one role.
    """

    def __init__(self, exact: Mapping[str, Option]) -> None:
        self.exact: Final = exact
        claims: defaultdict[str, set[Option]] = defaultdict(set)
        for name, option in exact.items():
            claims[_dashed(name)].add(option)
        self._alike: Final = {name: option for name, (option, *others) in claims.items() if not others}

    def find(self, name: str) -> Option | None:
        return self.exact.get(name) or self._alike.get(_dashed(name))


def _dashed(name: str) -> str:
    return name.replace("_", "-")


# --- wrapping

_wrappers: Final[weakref.WeakSet[Any]] = weakref.WeakSet()
"""The functions that replace methods of parsers."""


def wrap_class(cls: type[argparse.ArgumentParser], commit: Callable[[Parse], None]) -> None:
    """
    Wrap the parsing methods of a class and its bases, and call *commit* after each parse that succeeds.

    The method is wrapped in each class that defines it, because a program's class may check more after argparse has.
    """
    for each in cls.__mro__:
        for name in _PARSING:
            method = each.__dict__.get(name)
            if method is not None and method not in _wrappers:
                _put(each, name, _committing(method, commit))
    if argparse.ArgumentParser._parse_optional not in _wrappers:
        _put(argparse.ArgumentParser, "_parse_optional", _classify)


def _put(cls: type, name: str, wrapper: Callable[..., Any]) -> None:
    _wrappers.add(wrapper)
    setattr(cls, name, wrapper)


def _committing(parse: Callable[..., Any], commit: Callable[[Parse], None]) -> Callable[..., Any]:
    @functools.wraps(parse)
    def parse_and_commit(parser: argparse.ArgumentParser, *args: Any, **options: Any) -> Any:
        outer = _current.get(None)
        if outer is None or not outer.running:  # the latter if a signal handler raised before the parse began
            with parsing(parser) as outermost, outermost.entered(parser):
                result = parse(parser, *args, **options)
            commit(outermost)
            return result
        if outer.runs(parser):  # some parsing methods call others
            return parse(parser, *args, **options)
        with outer.entered(parser):
            return parse(parser, *args, **options)

    return parse_and_commit


def _classify(parser: argparse.ArgumentParser, argument: str) -> Any:
    parse = _current.get(None)
    if parse is None or not parse.runs(parser):  # the program calls parts of argparse directly
        return _parse_optional(parser, argument)
    return parse.running[-1].classify(argument)


class OwnParser(argparse.ArgumentParser):
    """
    The parser of dflag itself, for which nothing must be wrapped.
    """

    def _parse_optional(self, arg_string: str) -> Any:
        return _classify(self, arg_string)
