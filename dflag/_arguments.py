"""
Flags from the command line and the environment, read with `argparse`.

One table maps every spelling of every option to what it does. Both entry points hand its options to an
`argparse.ArgumentParser`, collect what was given, validate all of it, and commit it in one step.
"""

from __future__ import annotations

import argparse
import enum
import functools
import os
import re
import selectors
import stat
import sys
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dflag._layers import COMMAND_LINE, ENVIRONMENT, Entry
from dflag.errors import MASK, DefinitionError, FlagValueError, StaticFlagError, ValidationError, nearest
from dflag.typing import Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from dflag._flags import Flag
    from dflag._registry import FlagRegistry
    from dflag._store import Edit

MAX_BYTES: Final = 16 * 1024 * 1024
"""The largest value, as for a file in a directory that an updater follows."""

_PIPE_SECONDS: Final = 30.0
"""How long a pipe given as a file may take in all; a shell's process substitution is a pipe."""

_READ: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOCTTY", 0)
"""Without O_NONBLOCK an open of a FIFO would wait for a writer; the getattr are for Windows."""

_EPILOG: Final = (
    "In the name of a flag, dashes and underscores mean the same. --no-NAME turns a bool off, as does --NAME=false. "
    "--NAME_path FILE reads the value of a flag from a file."
)

_looks_negative: Final = re.compile(r"-(\.?\d|inf)", re.IGNORECASE).match
"""Tells ``-5``, ``-.5``, ``-2m`` and ``-inf`` from options; argparse by itself knows plain numbers alone."""


class _Role(enum.Enum):
    """
    What an option does with its flag.
    """

    VALUE = enum.auto()
    OFF = enum.auto()
    FILE = enum.auto()


class _Option(NamedTuple):
    flag: Flag[Any]
    role: _Role

    @property
    def bare(self) -> bool:
        """Whether the option stands alone: a bool's never takes the argument behind it."""
        return self.role is _Role.OFF or (self.role is _Role.VALUE and self.flag.type_name == "bool")


class _Given(NamedTuple):
    """
    What the command line said of a flag.
    """

    role: _Role
    text: str


def parse_args(
    registry: FlagRegistry, argv: Sequence[str] | None, *, env_prefix: str | None, description: str | None
) -> list[str]:
    """
    Read the environment and the command line, as `FlagRegistry.parse_args` says.
    """
    _check_not_frozen(registry)
    variables = {} if env_prefix is None else _variables(registry, env_prefix)
    parser = argparse.ArgumentParser(
        usage="%(prog)s [--flag=value ...] [argument ...]",
        description=description,
        add_help=False,
        allow_abbrev=False,
    )
    command_line = _CommandLine(registry, parser, own=True)
    options, positionals = command_line.split(sys.argv[1:] if argv is None else argv)
    _, unrecognized = command_line.parse(parser.parse_known_args, options)
    if unrecognized:
        parser.error(command_line.unrecognized(unrecognized[0]))
    texts = {flag: os.environ[variable] for flag, variable in variables.items() if variable in os.environ}
    reads: list[tuple[Flag[Any], str, Callable[[], Any]]] = [
        (flag, ENVIRONMENT, functools.partial(_read_text, flag, text, f"environment variable {variables[flag]}"))
        for flag, text in texts.items()
    ]
    _commit(registry, parser, (ENVIRONMENT, COMMAND_LINE), [*reads, *command_line.reads()])
    return positionals


def add_to_argparse(registry: FlagRegistry, parser: argparse.ArgumentParser) -> None:
    """
    Add the flags to a program's own parser, as `FlagRegistry.add_to_argparse` says.
    """
    command_line = _CommandLine(registry, parser)

    def following(parse: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(parse)
        def parse_and_set(args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None) -> Any:
            if command_line.parsing:  # some of the ways to parse go through others, even twice
                return parse(args, namespace)
            _check_not_frozen(registry)
            result = command_line.parse(parse, sys.argv[1:] if args is None else args, namespace)
            _commit(registry, parser, (COMMAND_LINE,), command_line.reads())
            return result

        return parse_and_set

    # An action is called for one argument and cannot know which is the last, but the flags must be set in one step
    # and only if all is well. argparse has no hook for the end, so every way to parse is wrapped; the outermost call
    # commits. On the instance, since the parser may be of a class of the program's own.
    for method in ("parse_args", "parse_intermixed_args", "parse_known_args", "parse_known_intermixed_args"):
        setattr(parser, method, following(getattr(parser, method)))


class _CommandLine:
    """
    The options of a registry's flags in one parser, and what was given for them.

    Nothing is left in the namespace: the actions keep what they see here.
    """

    def __init__(self, registry: FlagRegistry, parser: argparse.ArgumentParser, *, own: bool = False) -> None:
        self.parsing = False
        self._given: dict[Flag[Any], _Given] = {}
        self._explicit: set[str] = set()
        self._options = _spellings(registry)
        self._group = parser.add_argument_group("flags", _EPILOG)
        if own:
            names = [name for name in ("-h", "--help") if name not in self._options]
            parser.add_argument(*names, action="help", help="show this help message and exit")
        else:
            self._yield_to(parser)
        shown = {f"--{flag.name}" for flag in registry}
        for flag in registry:
            self._add(f"--{flag.name}", **_help(flag))
        for name in self._options:
            if name not in shown:
                self._add(name, help=argparse.SUPPRESS)

    def _yield_to(self, parser: argparse.ArgumentParser) -> None:
        """
        Leave the program's own options alone: other spellings give way, a flag's own name cannot.
        """
        taken = parser._option_string_actions  # nothing public tells; the same since Python 2.7
        for name, option in list(self._options.items()):
            if name in taken:
                if name == f"--{option.flag.name}":
                    raise DefinitionError(f"flag {option.flag.name!r}: the parser already has an option {name}")
                del self._options[name]

    def _add(self, name: str, **settings: Any) -> None:
        if self._options[name.partition("=")[0]].bare or "=" in name:
            settings["nargs"] = 0
        self._group.add_argument(
            name, action=_Take, take=self._take, dest=argparse.SUPPRESS, default=argparse.SUPPRESS, **settings
        )

    def parse(self, parse: Callable[..., Any], args: Iterable[str], *rest: Any) -> Any:
        """
        Have argparse read the arguments.
        """
        self._given.clear()
        self.parsing = True
        try:
            return parse(self._prepare(args), *rest)
        finally:
            self.parsing = False

    def _prepare(self, args: Iterable[str]) -> list[str]:
        """
        Help argparse over what it cannot do, leaving everything else as it is.

        - A value such as ``-2m`` looks like an option to it, unless an equals sign stands before it.
        - ``--verbose=false`` is refused for an option without argument, and one with an optional argument would take
          the next: each such text met becomes an option of its own. So does one ending in ``=--``, which argparse
          before 3.13 takes for the end of the options.
        """
        prepared: list[str] = []
        arguments = iter(args)
        for argument in arguments:
            if argument == "--":
                return [*prepared, argument, *arguments]
            previous = prepared[-1] if prepared else ""
            if _looks_negative(argument) and previous in self._options and not self._options[previous].bare:
                prepared[-1] = f"{previous}={argument}"
                continue
            name, equals, value = argument.partition("=")
            if equals and name in self._options and (self._options[name].bare or value == "--"):
                self._make_option(argument)
            prepared.append(argument)
        return prepared

    def _make_option(self, argument: str) -> None:
        if argument not in self._explicit:
            self._explicit.add(argument)
            self._add(argument, help=argparse.SUPPRESS)

    def split(self, args: Iterable[str]) -> tuple[list[str], list[str]]:
        """
        Split arguments into options with their values, and positional ones; these may stand anywhere.

        argparse would hand back both mixed, with or without the ``--``, depending on its version.
        """
        options: list[str] = []
        positionals: list[str] = []
        arguments = iter(args)
        awaiting = False  # a value
        for argument in arguments:
            if argument == "--":
                return options, [*positionals, *arguments]
            is_option = argument[:1] == "-" and argument != "-"
            (options if is_option or awaiting else positionals).append(argument)
            awaiting = is_option and argument in self._options and not self._options[argument].bare
        return options, positionals

    def _take(self, option_string: str, values: object) -> None:
        name, equals, text = option_string.partition("=")
        flag, role = option = self._options[name]
        if not option.bare:
            text = text if equals else str(values)
        elif role is _Role.OFF:
            if equals:
                raise argparse.ArgumentError(None, f"argument {name}: expected no value")
            text = "false"
        elif not equals:
            text = "true"
        self._given[flag] = _Given(_Role.FILE if role is _Role.FILE else _Role.VALUE, text)

    def reads(self) -> Iterator[tuple[Flag[Any], str, Callable[[], Any]]]:
        """
        Give for each flag given the layer and a function that reads the value.
        """
        for flag, (role, text) in sorted(self._given.items(), key=lambda item: item[0].name):
            if role is _Role.FILE:
                yield flag, COMMAND_LINE, functools.partial(_read_file_value, flag, text)
            else:
                yield flag, COMMAND_LINE, functools.partial(_read_text, flag, text, COMMAND_LINE)

    def unrecognized(self, argument: str) -> str:
        """
        Say that there is no such option; its value is left out, since it may be a misspelt secret's.
        """
        name = argument.partition("=")[0]
        near = nearest(name, [*self._options, "--help"])
        return f"unrecognized option {name}" + ("" if near is None else f" (did you mean {near}?)")


class _Take(argparse.Action):
    """
    Hands what an option was given to its `_CommandLine`.
    """

    def __init__(self, *, take: Callable[[str, object], None], **settings: Any) -> None:
        super().__init__(**settings)
        self._take = take

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 - as in the base class
        namespace: argparse.Namespace,  # noqa: ARG002 - as in the base class
        values: object,
        option_string: str | None = None,
    ) -> None:
        self._take(option_string or self.option_strings[0], values)


def _spellings(registry: FlagRegistry) -> dict[str, _Option]:
    """
    Map each option to what it does: names as declared first, then what is derived from them.

    A derived spelling never takes the name of another flag, and one that two flags could mean is left out.
    """
    values = [(_Option(flag, _Role.VALUE), flag.name) for flag in registry]
    bools = [flag for flag in registry if flag.type_name == "bool"]
    offs = [(_Option(flag, _Role.OFF), prefix + flag.name) for flag in bools for prefix in ("no-", "no_")]
    files = [(_Option(flag, _Role.FILE), flag.name + suffix) for flag in registry for suffix in ("_path", "-path")]
    options = {f"--{name}": option for option, name in values}
    for derived in (values, offs, files):
        claims: defaultdict[str, set[_Option]] = defaultdict(set)
        for option, name in derived:
            for spelling in (name, name.replace("_", "-"), name.replace("-", "_")):
                claims[f"--{spelling}"].add(option)
        for name, claimants in claims.items():
            if len(claimants) == 1:
                options.setdefault(name, *claimants)
    return options


def _variables(registry: FlagRegistry, prefix: str) -> dict[Flag[Any], str]:
    """
    Name the variable of the environment for each flag.
    """
    owners: dict[str, Flag[Any]] = {}
    stem = prefix.removesuffix("_")
    for flag in registry:
        variable = re.sub("[-.]", "_", f"{stem}_{flag.name}" if stem else flag.name).upper()
        other = owners.setdefault(variable, flag)
        if other is not flag:
            raise DefinitionError(
                f"flags {other.name!r} and {flag.name!r} would both read the environment variable {variable}"
            )
    return {flag: variable for variable, flag in owners.items()}


def _check_not_frozen(registry: FlagRegistry) -> None:
    if registry._store.frozen:
        raise StaticFlagError("the command line cannot be parsed: the registry is frozen")


def _commit(
    registry: FlagRegistry,
    parser: argparse.ArgumentParser,
    layers: Iterable[str],
    reads: Iterable[tuple[Flag[Any], str, Callable[[], Any]]],
) -> None:
    """
    Replace whole layers in one step, or exit with everything that is wrong.
    """
    entries: dict[tuple[Flag[Any], str], Entry] = {}
    errors = []
    for flag, layer, read in reads:
        try:
            entries[flag, layer] = Entry(read())
        except FlagValueError as error:
            errors.append(str(error))
    if errors:
        parser.error("\n".join(errors))
    edits: list[Edit] = [
        (flag, layer, entries.get((flag, layer)))
        for layer in layers
        for flag in registry
        if (flag, layer) in entries or layer in flag._layers
    ]
    if not edits:
        return
    try:
        registry._store.commit_checked(edits)
    except ValidationError as error:
        parser.error(str(error))


def _read_text(flag: Flag[Any], text: str, origin: str) -> Any:
    # Python carries bytes that are no UTF-8 as surrogates. As bytes they are refused as a source's would be.
    raw = text.encode("utf-8", "surrogatepass")
    return flag._spec.read(flag.name, raw, origin, encoded=True)


def _read_file_value(flag: Flag[Any], path: str) -> Any:
    return flag._spec.read(flag.name, _read_file(path), path)


def _read_file(path: str) -> bytes | Unreadable:
    """
    Read a whole file, or a pipe until its writer closes it, within limits.
    """
    try:
        descriptor = os.open(path, _READ)
        try:
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISREG(mode) or stat.S_ISFIFO(mode):
                return _read_all(descriptor, pipe=stat.S_ISFIFO(mode))
            return Unreadable("is a directory" if stat.S_ISDIR(mode) else "is a socket or a device")
        finally:
            os.close(descriptor)
    except OSError as error:
        return Unreadable((error.strerror or "cannot be read").lower())
    except ValueError:  # a NUL in the path, or a surrogate that stands for no byte
        return Unreadable("not a path")


def _read_all(descriptor: int, *, pipe: bool) -> bytes | Unreadable:
    deadline = time.monotonic() + _PIPE_SECONDS
    parts: list[bytes] = []
    size = 0
    while size <= MAX_BYTES:
        if pipe and not _readable(descriptor, deadline):
            return Unreadable(f"a pipe that did not end within {_PIPE_SECONDS:g} seconds")
        part = os.read(descriptor, 1024 * 1024)
        if not part:
            return b"".join(parts)
        parts.append(part)
        size += len(part)
    return Unreadable(f"larger than {MAX_BYTES // 1024**2} MiB")


def _readable(descriptor: int, deadline: float) -> bool:
    """
    Wait until a pipe has something, or its last writer has closed it. A FIFO nobody has opened yet has neither.
    """
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        return bool(selector.select(max(0.0, deadline - time.monotonic())))


def _help(flag: Flag[Any]) -> Mapping[str, Any]:
    """
    Describe a flag: its help text, what it takes, its default, and what is special about it.
    """
    spec = flag._spec
    takes = f"{flag.type_name} {spec.range_text()}".rstrip()
    choices = _choices(flag)
    default = spec.kind.format(flag.default)
    marks = [f"({takes}{choices}; default: {MASK if spec.secret else default or repr(default)})"]
    if flag.dynamic:
        marks.append("(dynamic)")
    if flag.deprecated is not None:
        marks.append(f"(deprecated: {flag.deprecated})")
    text = _literal(" ".join([flag.help, *marks]).strip())
    return {"help": text} if flag.type_name == "bool" else {"help": text, "metavar": flag.type_name.upper()}


def _choices(flag: Flag[Any]) -> str:
    spec = flag._spec
    shown = spec.choices_text()
    if not shown and isinstance(flag.default, enum.Enum):
        shown = ", ".join(type(flag.default).__members__)
    return f", one of {shown}" if shown and not spec.secret else ""


def _literal(text: str) -> str:
    """
    Keep argparse from taking a percent sign for one of its own.
    """
    return text.replace("%", "%%")
