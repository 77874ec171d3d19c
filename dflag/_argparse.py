"""
What dflag changes in argparse, so that a program's own parsers know flags.

Three things have no public hook: where a parse ends, so that all flags are set in one step and only if all went well,
whatever parser the program began with; how an argument is told from an option; and which parser a ``parents=`` has
copied the options to. So the methods that parse are wrapped, in the classes of the parsers that have flags and in
`argparse.ArgumentParser`, once in a process, when the first parser gets flags. Parsers without flags work as before.
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
"""How argparse tells an argument from an option, by itself."""


class Role(enum.Enum):
    """
    What an option does with its flag.
    """

    VALUE = enum.auto()
    OFF = enum.auto()
    FILE = enum.auto()


class Option(NamedTuple):
    """
    A flag, and what is done with it.
    """

    flag: Flag[Any]
    role: Role

    @property
    def bare(self) -> bool:
        """Whether the option stands alone: a bool's never takes the argument behind it."""
        return self.role is Role.OFF or (self.role is Role.VALUE and pipeline_of(self.flag).kind.is_switch)


class Given(NamedTuple):
    """
    What the command line holds for a flag.

    Attributes:
        role: VALUE or FILE.
        text: The value, or the path of its file.
        parser: The parser that met it.
    """

    role: Role
    text: str
    parser: argparse.ArgumentParser


class Take(argparse.Action):
    """
    Keeps what an option was given until the whole parse is over; nothing is left in the namespace.

    Only the option with the flag's own name is known to argparse. The other spellings are not, so that a program's own
    options, added before or after, and abbreviations never clash with them.
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
    One parse: of the parser that the program began with, and all that work for it, such as those of subcommands.

    Attributes:
        parser: The one that the program began with.
        given: What was given for each flag so far; the last one counts.
    """

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser: Final = parser
        self.given: dict[Flag[Any], Given] = {}
        self.running: list[_Running] = []

    def runs(self, parser: argparse.ArgumentParser) -> bool:
        """
        Return whether it is this parser's turn.
        """
        return bool(self.running) and self.running[-1].parser is parser

    @contextlib.contextmanager
    def entered(self, parser: argparse.ArgumentParser) -> Iterator[None]:
        """
        Let a parser take part until the end of the block; one that fails has given nothing.
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
    Collect what the parsers that run within the block are given.
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
    Report a mistake in the arguments as argparse would: exit with status 2, or raise where a program asks for that.

    Args:
        parser: The parser that met it, whose usage is shown.
        message: What is wrong.
        cause: Why.
        outermost: The parser that the program began with.
    """
    if parser.exit_on_error and outermost.exit_on_error:
        parser.error(message)
    raise argparse.ArgumentError(None, message) from cause


def frozen_error() -> StaticFlagError:
    """
    Make the error for a parse that comes too late.
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
        self._own: Final = parser._option_string_actions  # nothing public tells; the same since Python 2.7
        self._spellings: Final[Mapping[str, Option]] = Spellings(flags, dashes(parser)) if flags else {}
        self._looks_negative: Final = _negative(parser.prefix_chars)
        self._awaits_value = False

    def classify(self, argument: str) -> Any:
        """
        Classify an argument, as the method ``_parse_optional`` of argparse does.

        It helps argparse over what that cannot do, and leaves everything else as it is:

        - A value such as ``-2m`` looks like an option to it, unless an equals sign stands before it.
        - ``--verbose=false`` is refused for an option without argument, and one with an optional argument would take
          the next. So such a text counts as an option of its own. So does one that ends in ``=--``, which argparse
          before 3.13 takes for the end of the options.
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
        # argparse itself builds its answer, whose form differs between versions, from the two attributes that it uses.
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
    Return the option of ours that argparse has found by its beginning, its name, the equals sign, and the rest.
    """
    if isinstance(found, list):  # since Python 3.12.7, of all that an argument may mean
        found = found[0] if len(found) == 1 else None
    if found is None or not isinstance(found[0], Take):
        return None, "", "", ""
    return found[0].option, found[1], "" if found[-1] is None else "=", found[-1] or ""


@functools.cache
def _negative(prefix_chars: str) -> Callable[[str], object]:
    """
    Return a function that tells ``-5``, ``-.5``, ``-2m`` and ``-inf`` from options; argparse itself knows numbers.
    """
    signs = re.escape("".join(sorted({"-", "+"} & set(prefix_chars))))
    return re.compile(rf"[{signs}](\.?\d|inf)", re.IGNORECASE).match if signs else lambda _: False


def dashes(parser: argparse.ArgumentParser) -> str:
    """
    Return what a parser's long options begin with, chosen as argparse does for ``--help``.
    """
    return 2 * ("-" if "-" in parser.prefix_chars else parser.prefix_chars[0])


class Spellings(Mapping[str, Option]):
    """
    What each option does: names first, then what turns a flag off, then what names a file.

    In each of them any dash may be an underscore, and the other way round. A spelling never takes what comes before it
    in this order, and one that two flags could mean is left out, unless one of them is named so exactly.
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
    The options of one kind.
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
"""The functions that stand in the place of a parser's."""


def wrap_class(cls: type[argparse.ArgumentParser], commit: Callable[[Parse], None]) -> None:
    """
    Wrap the methods of a class and its bases that parse, and call *commit* after each parse that went well.

    In each class that defines one, and not in the parser: a class of a program's own may check more after argparse has.
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
        if outer is None or not outer.running:  # the latter where a signal handler has raised before it began
            with parsing(parser) as outermost, outermost.entered(parser):
                result = parse(parser, *args, **options)
            commit(outermost)
            return result
        if outer.runs(parser):  # some of the ways to parse go through others
            return parse(parser, *args, **options)
        with outer.entered(parser):
            return parse(parser, *args, **options)

    return parse_and_commit


def _classify(parser: argparse.ArgumentParser, argument: str) -> Any:
    parse = _current.get(None)
    if parse is None or not parse.runs(parser):  # of a program that calls parts of argparse by itself
        return _parse_optional(parser, argument)
    return parse.running[-1].classify(argument)


class OwnParser(argparse.ArgumentParser):
    """
    A parser of dflag's own, for which nothing has to be wrapped.
    """

    def _parse_optional(self, arg_string: str) -> Any:
        return _classify(self, arg_string)
