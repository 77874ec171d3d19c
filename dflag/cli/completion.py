"""
``dflag completion``: print a completion script for a shell.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TextIO

from dflag.cli._usage import COMMANDS, add_arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_BASH: Final = """\
_dflag() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} command="" options="" name
    COMPREPLY=()
    # bash makes three words of --format=json
    if [[ $word == = ]]; then
        word=""
    elif [[ $before == = ]]; then
        before=${{COMP_WORDS[COMP_CWORD-2]}}
    fi
    for name in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case $name in
            {names}) command=${{command:-$name}} ;;
        esac
    done
    case "$command $before" in
{values}
    esac
    case $command in
        "") options='--help --version'; COMPREPLY=($(compgen -W "{commands} --help --version" -- "$word")) ;;
{options}
    esac
    if [[ $word == -* ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$word"))
    fi
}}
complete -o default -F _dflag dflag
"""

_ZSH: Final = """\
#compdef dflag
_dflag() {{
    local -a commands=(
{commands}
    )
    if (( CURRENT == 2 )); then
        _describe command commands
        compadd -- --help --version
        return
    fi
    case $words[2] in
{cases}
        *) _files ;;
    esac
}}
if [[ $funcstack[1] == _dflag ]]; then _dflag "$@"; else compdef _dflag dflag; fi
"""


class _Option(NamedTuple):
    """
    An option.

    Attributes:
        words: The values to choose from; empty if there is no such choice.
        takes: Whether it takes a value.
        files: Whether the value may name a file.
        repeats: Whether it may be given several times.
    """

    name: str
    help: str
    words: Sequence[str]
    takes: bool
    files: bool
    repeats: bool


class _Command(NamedTuple):
    """
    A command. Its `words` are the values to choose from for its argument; empty if there is no such choice.
    """

    name: str
    does: str
    options: Sequence[_Option]
    words: Sequence[str]


def run(options: argparse.Namespace, out: TextIO) -> int:
    """
    Print the script, which contains the commands and options of this version.
    """
    out.write(_SCRIPTS[options.shell]([*_commands()]))
    return 0


def _commands() -> Iterator[_Command]:
    for name, does in COMMANDS.items():
        parser = argparse.ArgumentParser()
        add_arguments(name, parser)
        parser.add_argument("--traceback", action="store_true", help="show where an error comes from")
        words = [word for action in parser._actions if not action.option_strings for word in action.choices or ()]
        options = [_option(action) for action in parser._actions if action.option_strings]
        yield _Command(name, does, options, words)


def _option(action: Any) -> _Option:
    files = str(action.metavar).startswith("INPUT")
    words = list(action.choices or ())
    takes, repeats = action.nargs != 0, isinstance(action, argparse._AppendAction)
    return _Option(action.option_strings[-1], action.help, words, takes=takes, files=files, repeats=repeats)


def _bash(commands: Sequence[_Command]) -> str:
    values = [
        f'        "{each.name} {option.name}") {_compgen(option.words)}; return ;;'
        for each in commands
        for option in each.options
        if option.words
    ]
    options = [
        f"        {each.name}) options='{' '.join(option.name for option in each.options)}'"
        + (f"; {_compgen(each.words)}" if each.words else "")
        + " ;;"
        for each in commands
    ]
    names = [each.name for each in commands]
    return _BASH.format(
        names="|".join(names), commands=" ".join(names), values="\n".join(values), options="\n".join(options)
    )


def _compgen(words: Sequence[str]) -> str:
    listed = " ".join(words)
    return f'COMPREPLY=($(compgen -W "{listed}" -- "$word"))'


def _zsh(commands: Sequence[_Command]) -> str:
    listed = "\n".join(f"        {_quoted(f'{each.name}:{each.does}')}" for each in commands)
    cases = "\n".join(f"        {each.name}) _arguments {' '.join(_zsh_arguments(each))} ;;" for each in commands)
    return _ZSH.format(commands=listed, cases=cases)


def _zsh_arguments(command: _Command) -> Iterator[str]:
    for option in command.options:
        value = f"({' '.join(option.words)})" if option.words else "_files" if option.files else " "
        spec = f"{'*' * option.repeats}{option.name}[{option.help}]"
        yield _quoted(spec + (f":{option.name[2:]}:{value}" if option.takes else ""))
    yield "'1: : '"
    yield _quoted(f"*: :({' '.join(command.words)})") if command.words else "'*: :_files'"


def _fish(commands: Sequence[_Command]) -> str:
    lines = [f"-n __fish_use_subcommand -l {name}" for name in ("help", "version")]
    for each in commands:
        lines.append(f"-n __fish_use_subcommand -f -a {each.name} -d {_quoted(each.does)}")
        seen = f"-n '__fish_seen_subcommand_from {each.name}'"
        lines += [f"{seen} {_fish_option(option)}" for option in each.options]
        if each.words:
            lines.append(f"{seen} -f -a {_quoted(' '.join(each.words))}")
    return "".join(f"complete -c dflag {line}\n" for line in lines)


def _fish_option(option: _Option) -> str:
    name = f"-l {option.name[2:]} -d {_quoted(option.help)}"
    if option.words:
        return f"{name} -x -a {_quoted(' '.join(option.words))}"
    return name if not option.takes else f"{name} -r" if option.files else f"{name} -x"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


_SCRIPTS: Final[dict[str, Callable[[Sequence[_Command]], str]]] = {"bash": _bash, "fish": _fish, "zsh": _zsh}
