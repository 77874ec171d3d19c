"""
Reads the command line and runs one command.

Each command is a module of this package with a function ``run(options, out)``, which writes its result to *out* and
returns the status. The module is imported only after its arguments were accepted.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import os
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn, TextIO

from dflag._version import __version__
from dflag.cli._errors import CommandError, text_of
from dflag.cli._usage import COMMANDS, add_arguments
from dflag.errors import DflagError, did_you_mean, nearest, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from _typeshed import SupportsWrite

_USAGE: Final = "dflag COMMAND [option ...] [argument ...]"
_EPILOG: Final = """\
REGISTRY is package.module:attribute, a registry or a function that returns one; the current directory is on the path.
INPUT is a ConfigMap or Secret manifest, a directory, a document whose top level holds flags, or - for standard input.

example: helm template ./chart | dflag check app:flags -

status: 0 fine, 1 findings, 2 misuse or something unreadable
"""

_INTERRUPTED: Final = 130
"""The status that a shell reports for a program that SIGINT has ended."""

_MISUSE: Final = 2

_COLUMNS: Final = 80
"""The width of output that does not go to a terminal."""

_INPUTS: Final = ("input", "inputs", "against")
"""The names of the arguments that take an INPUT."""


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.RawDescriptionHelpFormatter(prog, width=_columns() - 2)


def _columns() -> int:
    """
    Return the width of the terminal without `shutil`, which argparse uses and which imports the formats of archives.
    """
    with contextlib.suppress(KeyError, ValueError):
        if (columns := int(os.environ["COLUMNS"])) > 0:
            return columns
    with contextlib.suppress(ValueError, OSError):  # standard output is closed, or is no terminal
        if sys.__stdout__ is not None:
            return os.get_terminal_size(sys.__stdout__.fileno()).columns or _COLUMNS
    return _COLUMNS


class _Positional(str):
    """
    An argument after ``--``, which is never an option, whatever it begins with.
    """

    __slots__ = ()


class _Parser(argparse.ArgumentParser):
    """
    A parser that accepts options anywhere, also between positional arguments.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, add_help=False, formatter_class=_formatter, **options)
        self.add_argument("-h", "--help", action="help", help="show this help")
        self.add_argument("--version", action="version", version=f"dflag {__version__}", help="show the version")
        self.add_argument("--traceback", action="store_true", help="show where an error comes from")

    def error(self, message: str) -> NoReturn:
        """
        Exit with status 2 and a message on one line, without control characters.
        """
        super().error(one_line(message))

    def _parse_optional(self, arg_string: str) -> Any:
        return None if isinstance(arg_string, _Positional) else super()._parse_optional(arg_string)

    def refuse(self, unknown: Sequence[str]) -> NoReturn:
        """
        Exit with a message that names the unknown options, but not the values given to them, which may be secrets.
        """
        names = [each.partition("=")[0] for each in unknown if each.startswith("-")]
        near = nearest(names[0], self._option_string_actions) if names else None
        hint = "" if near is None else f"; did you mean {near}?"
        self.error(f"unrecognized arguments: {' '.join(names or unknown)}{hint}")

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        # argparse ignores an error of writing help, and then the command would report success.
        print(message, end="", file=file or sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command.

    Args:
        argv: The arguments; None for ``sys.argv[1:]``.

    Returns:
        The status: 0 fine, 1 findings, 2 misuse or something unreadable.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    with _streams():
        try:
            status = _run_guarded(arguments, owns_process=argv is None)
        except KeyboardInterrupt:
            status = _INTERRUPTED
        return _flush(status)


@contextlib.contextmanager
def _streams() -> Iterator[None]:
    """
    Replace a closed standard error, and set the encoding of the output streams.
    """
    with contextlib.ExitStack() as stack:
        if sys.stderr is None:
            # ``print(file=None)`` writes to standard output, so messages for standard error would go there.
            nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stderr(nowhere))
        for stream in (sys.stdout, sys.stderr):
            _prepare(stream)
        yield


def _run_guarded(arguments: list[str], *, owns_process: bool) -> int:
    try:
        if sys.stdout is None:
            return _fail("standard output is closed")
        name, arguments = _split(arguments)
        return _run(name, arguments, owns_process=owns_process)
    except SystemExit as end:  # argparse raises it after it has printed the reason
        return end.code if isinstance(end.code, int) else _MISUSE
    except OSError as error:  # from writing help or the version to standard output
        return _fail(_words_of_output(error))


def _run(name: str, arguments: list[str], *, owns_process: bool) -> int:
    parser = _Parser(prog=f"dflag {name}", description=f"{COMMANDS[name][0].upper()}{COMMANDS[name][1:]}.")
    add_arguments(name, parser)
    options, unknown = parser.parse_known_intermixed_args(_without_dashes(arguments))
    if unknown:
        parser.refuse(unknown)
    _refuse_two_pipes(parser, options)
    try:
        with _uncollected() if owns_process else contextlib.nullcontext():
            command: Any = importlib.import_module(f"dflag.cli.{name}")
        out = sys.stdout
        # Whatever the program or its validators print is not part of the result.
        with contextlib.redirect_stdout(sys.stderr):
            status: int = command.run(options, out)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also one with which the program's own code ends a task or a process
        if options.traceback:
            raise
        is_of_output = isinstance(error, OSError) and not error.filename
        return _fail(_words_of_output(error) if is_of_output else _words(error))
    return status


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """
    Exclude from garbage collection the objects that are imported here, which live until the process ends.

    Searching them, both now and at exit, would take a seventh of the time that checking a small manifest takes.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _without_dashes(arguments: list[str]) -> list[str]:
    """
    Remove the first ``--`` and mark the arguments after it, as argparse forgets its place before it reads positionals.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:end] + [_Positional(each) for each in arguments[end + 1 :]]


def _refuse_two_pipes(parser: _Parser, options: argparse.Namespace) -> None:
    """
    Exit with an error if standard input is named twice, because the second read would find it empty.
    """
    given = [getattr(options, name, None) for name in _INPUTS]
    if sum(each.count("-") if isinstance(each, list) else each == "-" for each in given) > 1:
        parser.error("expected - for standard input once, as it can be read only once")


def _flush(status: int) -> int:
    """
    Flush the output streams here, because the interpreter would print an error of its own if that failed at exit.
    """
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except (OSError, ValueError) as error:
            _abandon(stream)
            if stream is sys.stdout and status != _MISUSE:
                status = _fail(_words_of_output(error))
    return status


def _words_of_output(error: BaseException) -> str:
    if isinstance(error, (BrokenPipeError, ValueError)):
        return "standard output was closed before the result was written"
    return f"cannot write the result: {_words(error)}"


def _words(error: BaseException) -> str:
    if isinstance(error, CommandError):
        return one_line(str(error))
    if isinstance(error, DflagError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"{text_of(error)} (--traceback shows where)"


def _fail(problem: str) -> int:
    with contextlib.suppress(OSError):  # the reader may be gone
        for line in problem.splitlines() or [""]:
            print(f"dflag: {one_line(line)}", file=sys.stderr)
    return _MISUSE


def _split(arguments: list[str]) -> tuple[str, list[str]]:
    """
    Return the command and the other arguments.

    The command is the first argument or, if that is an option, the first argument that names a command.
    """
    early = arguments[:1] if arguments and not arguments[0].startswith("-") else arguments
    candidates = [number for number, argument in enumerate(early) if argument in COMMANDS]
    if len(candidates) > 1:
        candidates = [number for number in candidates if number == 0 or arguments[number - 1] not in _with_values()]
    position = candidates[0] if candidates else None
    if position is None or {"--version", "-h", "--help"} & set(arguments[:position]):
        _parse_without_command(arguments)
    return arguments[position], arguments[:position] + arguments[position + 1 :]


def _with_values() -> set[str]:
    """
    Return the options of all commands that take the next argument as their value.
    """
    found = set()
    for name in COMMANDS:
        parser = _Parser()
        add_arguments(name, parser)
        found |= {option for action in parser._actions if action.nargs != 0 for option in action.option_strings}
    return found


def _parse_without_command(arguments: list[str]) -> NoReturn:
    commands = "\n".join(f"  {name:<12}{does}" for name, does in COMMANDS.items())
    description = f"Work with the flags of a program.\n\ncommands:\n{commands}"
    parser = _Parser(prog="dflag", usage=_USAGE, description=description, epilog=_EPILOG)
    _, rest = parser.parse_known_args(arguments)
    if not rest:
        parser.error(f"expected a command: {', '.join(COMMANDS)}")
    hint = did_you_mean(rest[0], COMMANDS, "; {}")
    parser.error(f"expected a command, got {rest[0]!r}{hint}")


def _prepare(stream: TextIO | None) -> None:
    """
    Make a stream write UTF-8 unless it is a terminal, and escape the characters that its encoding lacks.
    """
    reconfigure: Any = getattr(stream, "reconfigure", None)
    if stream is not None and reconfigure is not None:
        reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")


def _abandon(stream: TextIO) -> None:
    """
    Redirect a stream to the null device, so that its buffered output causes no error when the interpreter exits.
    """
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
