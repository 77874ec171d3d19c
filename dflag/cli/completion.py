"""
``dflag completion``: a completion script for a shell.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final, TextIO

from dflag.cli._usage import COMMANDS, add_arguments

if TYPE_CHECKING:
    from collections.abc import Callable

_BASH: Final = """\
_dflag() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} options="" name
    COMPREPLY=()
    for name in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case $name in
{cases}
        esac
    done
    if [[ -z $options ]]; then
        COMPREPLY=($(compgen -W "{commands} --help --version" -- "$word"))
    elif [[ $word == -* ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$word"))
    fi
}}
complete -o default -F _dflag dflag
"""

_ZSH: Final = """\
#compdef dflag
autoload -Uz bashcompinit && bashcompinit
"""

_FISH: Final = "complete -c dflag -n '__fish_use_subcommand' -f -a {name} -d '{does}'"


def run(options: argparse.Namespace, out: TextIO) -> int:
    """
    Print the script; it knows the commands and options of this version.
    """
    out.write(_SCRIPTS[options.shell](_options()))
    return 0


def _options() -> dict[str, tuple[str, list[str]]]:
    """
    List the commands, each with what it does and its options.
    """
    found = {}
    for name, does in COMMANDS.items():
        parser = argparse.ArgumentParser()
        add_arguments(name, parser)
        options = [option for action in parser._actions for option in action.option_strings if option[:2] == "--"]
        found[name] = does, [*options, "--traceback"]
    return found


def _bash(commands: dict[str, tuple[str, list[str]]]) -> str:
    cases = "\n".join(
        f"            {name}) options=${{options:-{' '.join(options)}}} ;;" for name, (_, options) in commands.items()
    )
    return _BASH.format(cases=cases, commands=" ".join(commands))


def _zsh(commands: dict[str, tuple[str, list[str]]]) -> str:
    return _ZSH + _bash(commands)


def _fish(commands: dict[str, tuple[str, list[str]]]) -> str:
    lines = []
    for name, (does, options) in commands.items():
        lines.append(_FISH.format(name=name, does=does))
        lines += [f"complete -c dflag -n '__fish_seen_subcommand_from {name}' -l {o[2:]}" for o in options]
    return "\n".join(lines) + "\n"


_SCRIPTS: Final[dict[str, Callable[[dict[str, tuple[str, list[str]]]], str]]] = {
    "bash": _bash,
    "fish": _fish,
    "zsh": _zsh,
}
