"""
Reading the command line, and running one command.

Each command is a module of this package with a function ``run(options, out)``, which writes its result to *out* and
returns the status. It is imported when its arguments are in order.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn, TextIO

from dflag._version import __version__
from dflag.cli._errors import CommandError
from dflag.cli._usage import COMMANDS, add_arguments
from dflag.errors import DflagError, nearest, one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

_EPILOG: Final = """\
REGISTRY is package.module:attribute, a registry or a callable that returns one; the current directory is on the path.
INPUT is a ConfigMap or Secret manifest, a directory, a document whose top level holds flags, or - for standard input.

example: helm template ./chart | dflag check app:flags -

status: 0 fine, 1 findings, 2 misuse or something unreadable
"""

_INTERRUPTED: Final = 130
"""What a shell reports of a program that SIGINT has ended."""


class _Parser(argparse.ArgumentParser):
    """
    A parser whose options may stand anywhere, also between positionals.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(
            allow_abbrev=False, add_help=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options
        )
        self.add_argument("-h", "--help", action="help", help="show this help")
        self.add_argument("--traceback", action="store_true", help="show where an error comes from")


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command.

    Args:
        argv: The arguments; None for ``sys.argv[1:]``.

    Returns:
        The status: 0 fine, 1 findings, 2 misuse or something unreadable.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    _prepare(sys.stdout)
    _prepare(sys.stderr)
    try:
        name, arguments = _split(arguments)
        return _run(name, arguments)
    except SystemExit as end:  # how argparse ends, after it has said why
        return end.code if isinstance(end.code, int) else 2
    except KeyboardInterrupt:
        return _INTERRUPTED


def _run(name: str, arguments: list[str]) -> int:
    parser = _Parser(prog=f"dflag {name}", description=f"{COMMANDS[name].capitalize()}.")
    add_arguments(name, parser)
    options = parser.parse_intermixed_args(arguments)
    command: Any = importlib.import_module(f"dflag.cli.{name}")
    out = sys.stdout
    try:
        # What the program or its validators print is no result.
        with contextlib.redirect_stdout(sys.stderr):
            status: int = command.run(options, out)
            out.flush()
    except BrokenPipeError:
        _abandon(out)
        return _fail("standard output was closed before the result was written")
    except Exception as error:
        if options.traceback:
            raise
        return _fail(_words(error))
    return status


def _words(error: Exception) -> str:
    if isinstance(error, (CommandError, DflagError)):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return f"{type(error).__name__}: {error} (--traceback shows where)"


def _fail(problem: str) -> int:
    for line in problem.splitlines() or [""]:
        print(f"dflag: {one_line(line)}", file=sys.stderr)
    return 2


def _split(arguments: list[str]) -> tuple[str, list[str]]:
    """
    Take the command out of the arguments: the first one, or behind options the first that names one.
    """
    early = arguments[:1] if arguments and not arguments[0].startswith("-") else arguments
    position = next((number for number, argument in enumerate(early) if argument in COMMANDS), None)
    if position is None or {"--version", "-h", "--help"} & set(arguments[:position]):
        _parse_without_command(arguments)
    return arguments[position], arguments[:position] + arguments[position + 1 :]


def _parse_without_command(arguments: list[str]) -> NoReturn:
    commands = "\n".join(f"  {name:<12}{does}" for name, does in COMMANDS.items())
    parser = _Parser(
        prog="dflag",
        usage="dflag COMMAND [option ...] [argument ...]",
        description=f"Work with the flags of a program.\n\ncommands:\n{commands}",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="store_true", help="show the version")
    options, rest = parser.parse_known_args(arguments)
    if options.version:
        print(f"dflag {__version__}")
        raise SystemExit(0)
    if not rest:
        parser.error(f"expected a command: {', '.join(COMMANDS)}")
    near = nearest(rest[0], COMMANDS)
    hint = "" if near is None else f"; did you mean {near!r}?"
    parser.error(f"expected a command, got {rest[0]!r}{hint}")


def _prepare(stream: TextIO) -> None:
    """
    Write UTF-8 where programs read, and never fail for a character that a terminal lacks.
    """
    reconfigure: Any = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")


def _abandon(out: TextIO) -> None:
    """
    Lead what is still buffered nowhere, or the interpreter would complain of it at its end.
    """
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, out.fileno())
        os.close(nowhere)
