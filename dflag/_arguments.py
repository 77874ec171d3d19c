"""
Flags from the command line and the environment, read with `argparse`.

Both entry points pass the options to an `argparse.ArgumentParser`, collect the given values, validate all of them, and
commit them in one step.
"""

from __future__ import annotations

import argparse
import functools
import os
import re
import selectors
import stat
import sys
import time
import weakref
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dflag._argparse import (
    Option,
    OwnParser,
    Parse,
    Role,
    Spellings,
    Take,
    dashes,
    fail,
    parsing,
    wrap_class,
)
from dflag._flags import layers_of, pipeline_of
from dflag._layers import COMMAND_LINE, ENVIRONMENT, Entry
from dflag._raw import Unreadable
from dflag._snapshot import store_of
from dflag.errors import MASK, DefinitionError, FlagValueError, ValidationError, check_argument, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from dflag._flags import Flag
    from dflag._store import Store
    from dflag._transaction import Edit

MAX_BYTES: Final = 16 * 1024 * 1024
"""The largest value, the same as for a file in a directory that an updater follows."""

_PIPE_SECONDS: Final = 30.0
"""How long reading a pipe may take in total. A shell's process substitution passes a pipe as the file."""

_READ: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOCTTY", 0)
"""Without O_NONBLOCK, opening a FIFO would wait for a writer. The getattr calls are for Windows."""

_EPILOG: Final = (
    "In the name of a flag, dashes and underscores mean the same. --no-NAME turns a bool off, as does --NAME=false. "
    "--NAME_path FILE reads the value of a flag from a file."
)

_Read: TypeAlias = "tuple[Flag[Any], str, Callable[[], Any], argparse.ArgumentParser]"
"""A flag, a layer, the function that reads the value, and the parser that reports its errors."""


def parse_args(
    flags: Collection[Flag[Any]], argv: Sequence[str] | None, *, env_prefix: str | None, description: str | None
) -> list[str]:
    """
    Read the environment and the command line, for `FlagRegistry.parse_args`.
    """
    variables = {} if env_prefix is None else _variables(flags, env_prefix)
    parser = OwnParser(
        usage="%(prog)s [--flag=value ...] [argument ...]",
        description=description,
        add_help=False,
        allow_abbrev=False,
    )
    _add_options(flags, parser)
    options = Spellings(flags, dashes(parser))
    names = [name for name in ("-h", "--help") if name not in options]
    parser.add_argument(*names, action="help", help="show this help message and exit")
    arguments, positionals = _split(sys.argv[1:] if argv is None else argv, options)
    with parsing(parser) as parse, parse.entered(parser):
        _, unrecognized = parser.parse_known_args(arguments)
    if unrecognized:
        parser.error(_unrecognized(unrecognized[0], [*options, "--help"]))
    texts = {flag: os.environ[variable] for flag, variable in variables.items() if variable in os.environ}
    reads: list[_Read] = [
        (
            flag,
            ENVIRONMENT,
            functools.partial(_read_text, flag, text, f"environment variable {variables[flag]}"),
            parser,
        )
        for flag, text in texts.items()
    ]
    entries = _read([*reads, *_reads(parse)], parser, Entry)
    dropped = [
        (flag, layer)
        for layer in (ENVIRONMENT, COMMAND_LINE)
        for flag in flags
        if layer in layers_of(flag) and not isinstance(layers_of(flag)[layer], _OfParser)
    ]
    _commit(parser, entries, dropped)
    return positionals


def add_to_argparse(flags: Collection[Flag[Any]], parser: argparse.ArgumentParser) -> None:
    """
    Add the flags to a program's own parser, for `FlagRegistry.add_to_argparse`.
    """
    check_argument("parser", parser, argparse.ArgumentParser, "an argparse.ArgumentParser")
    _add_options(flags, parser)
    wrap_class(type(parser), _conclude)


class _OfParser(Entry):
    """
    A value that a parser of the program has set. `parse_args` does not change it.
    """

    __slots__ = ()


_concluded: Final[weakref.WeakKeyDictionary[argparse.ArgumentParser, dict[Flag[Any], Entry]]] = (
    weakref.WeakKeyDictionary()
)
"""By parser, the values that its last parse has set. Its next parse replaces them, but no value of other parsers."""


def _conclude(parse: Parse) -> None:
    """
    Set the values that were given in a successful parse.
    """
    entries = _read(_reads(parse), parse.parser, _OfParser)
    dropped = [
        (flag, COMMAND_LINE)
        for flag, entry in _concluded.get(parse.parser, {}).items()
        if layers_of(flag).get(COMMAND_LINE) is entry and not store_of(flag).frozen
    ]
    _commit(parse.parser, entries, dropped)
    _concluded[parse.parser] = {flag: entry for (flag, _), entry in entries.items()}


def _add_options(flags: Collection[Flag[Any]], parser: argparse.ArgumentParser) -> None:
    start = dashes(parser)
    for flag in flags:
        if start + flag.name in parser._option_string_actions and parser.conflict_handler != "resolve":
            raise DefinitionError(
                f"flag {flag.name!r}: the parser already has an option {start}{flag.name}; rename one of them"
            )
    group = parser.add_argument_group("flags", _EPILOG.replace("--", start))
    for flag in flags:
        # Without dest argparse would derive one from the name, and fail if that is only dashes.
        settings = {"dest": argparse.SUPPRESS, **_help(flag)}
        group.add_argument(start + flag.name, action=Take, option=Option(flag, Role.VALUE), **settings)


def _split(args: Iterable[str], options: Mapping[str, Option]) -> tuple[list[str], list[str]]:
    """
    Split arguments into options with their values, and positional arguments, which may occur anywhere.

    argparse would return both mixed, with or without the ``--``, depending on its version.
    """
    arguments: list[str] = []
    positionals: list[str] = []
    iterator = iter(args)
    awaiting = False  # whether the next argument is a value
    for argument in iterator:
        if argument == "--":
            return arguments, [*positionals, *iterator]
        is_option = argument[:1] == "-" and argument != "-"
        (arguments if is_option or awaiting else positionals).append(argument)
        awaiting = is_option and argument in options and not options[argument].bare
    return arguments, positionals


def _unrecognized(argument: str, options: Iterable[str]) -> str:
    """
    Return the message for an unknown option, without its value: the option may be a misspelt secret flag.
    """
    name = argument.partition("=")[0]
    near = nearest(name, options)
    return f"unrecognized option {name}" + ("" if near is None else f" (did you mean {near}?)")


def _variables(flags: Iterable[Flag[Any]], prefix: str) -> dict[Flag[Any], str]:
    """
    Return the name of the environment variable for each flag.
    """
    owners: dict[str, Flag[Any]] = {}
    stem = prefix.removesuffix("_")
    for flag in flags:
        variable = re.sub("[-.]", "_", f"{stem}_{flag.name}" if stem else flag.name).upper()
        other = owners.setdefault(variable, flag)
        if other is not flag:
            raise DefinitionError(
                f"flags {other.name!r} and {flag.name!r} would both read the environment variable {variable}; "
                "rename one of them"
            )
    return {flag: variable for variable, flag in owners.items()}


def _reads(parse: Parse) -> Iterator[_Read]:
    """
    Yield, for each flag that was given, how to read its value.
    """
    for flag, (role, text, parser) in sorted(parse.given.items(), key=lambda item: item[0].name):
        read = (
            functools.partial(_read_file_value, flag, text)
            if role is Role.FILE
            else functools.partial(_read_text, flag, text, COMMAND_LINE)
        )
        yield flag, COMMAND_LINE, read, parser


def _read(
    reads: Iterable[_Read], outermost: argparse.ArgumentParser, make: type[Entry]
) -> dict[tuple[Flag[Any], str], Entry]:
    """
    Read all values, or fail with a message that lists all errors.
    """
    entries: dict[tuple[Flag[Any], str], Entry] = {}
    errors: list[tuple[argparse.ArgumentParser, FlagValueError]] = []
    for flag, layer, read, parser in reads:
        try:
            entries[flag, layer] = make(read())
        except FlagValueError as error:
            errors.append((parser, error))
    if errors:
        parser, first = errors[0]
        fail(parser, "\n".join(str(error) for _, error in errors), first, outermost=outermost)
    return entries


def _commit(
    parser: argparse.ArgumentParser,
    entries: Mapping[tuple[Flag[Any], str], Entry],
    dropped: Iterable[tuple[Flag[Any], str]],
) -> None:
    """
    Set flags and drop other values, in one step for each registry. If a value is refused, fail and change nothing.
    """
    edits: defaultdict[Store, list[Edit]] = defaultdict(list)
    for flag, layer in {**dict.fromkeys(dropped), **entries}:
        edits[store_of(flag)].append((flag, layer, entries.get((flag, layer))))
    try:
        if len(edits) > 1:
            for store, its in edits.items():
                store.check_edits(store.plan(its), its)
        for store, its in edits.items():
            store.change(its)
    except ValidationError as error:
        fail(parser, str(error), error, outermost=parser)


def _read_text(flag: Flag[Any], text: str, origin: str) -> Any:
    # Python represents bytes that are not UTF-8 as surrogates. As bytes they are refused like those of a source.
    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # other surrogates, in an argv from the program
        raw = text.encode("utf-8", "surrogatepass")
    return pipeline_of(flag).read(flag.name, raw, origin, encoded=True)


def _read_file_value(flag: Flag[Any], path: str) -> Any:
    return pipeline_of(flag).read(flag.name, _read_file(path), path)


def _read_file(path: str) -> bytes | Unreadable:
    """
    Read a whole file, or a pipe until its writer closes it, within the limits of size and time.
    """
    try:
        descriptor = os.open(path, _READ)
        try:
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISREG(mode) or stat.S_ISFIFO(mode):
                return _read_all(descriptor, pipe=stat.S_ISFIFO(mode))
            return Unreadable("a directory" if stat.S_ISDIR(mode) else "a socket or a device")
        finally:
            os.close(descriptor)
    except OSError as error:
        return Unreadable((error.strerror or "cannot be read").lower())
    except ValueError:  # a NUL in the path, or a surrogate that represents no byte
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
    Wait until a pipe has data or its last writer has closed it; return False at the deadline.

    Neither happens while no writer has opened a FIFO yet.
    """
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        return bool(selector.select(max(0.0, deadline - time.monotonic())))


def _help(flag: Flag[Any]) -> Mapping[str, Any]:
    """
    Return the argparse settings of a flag's option, with its help text, kind, limits, default and marks.
    """
    pipeline = pipeline_of(flag)
    takes = f"{flag.type_name} {pipeline.range_text()}".rstrip()
    choices = _choices(flag)
    default = pipeline.kind.format(flag.default)
    marks = [f"({takes}{choices}; default: {MASK if pipeline.secret else default or repr(default)})"]
    if flag.dynamic:
        marks.append("(dynamic)")
    if flag.deprecated is not None:
        marks.append(f"(deprecated: {flag.deprecated})")
    text = _literal(" ".join([flag.help, *marks]).strip())
    if pipeline.kind.is_switch:
        return {"help": text, "nargs": 0}
    # argparse.MetavarTypeHelpFormatter fails without a type.
    return {"help": text, "metavar": flag.type_name.upper(), "type": str}


def _choices(flag: Flag[Any]) -> str:
    pipeline = pipeline_of(flag)
    shown = pipeline.choices_text() or pipeline.kind.members()
    return f", {pipeline.kind.one_of} {shown}" if shown and not pipeline.secret else ""


def _literal(text: str) -> str:
    """
    Escape percent signs, so that argparse does not format them.
    """
    return text.replace("%", "%%")
