"""
``manage.py dflag``: the command of dflag, for the registry of the project.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser

from dflag.cli import main
from dflag.cli._usage import COMMANDS, add_arguments
from dflag.integrations.django._configuration import reference_of_registry

if TYPE_CHECKING:
    from collections.abc import Sequence

_REFERENCE: Final = re.compile(r"[^\W\d][\w.]*:[^\W\d][\w.]*")


class Command(BaseCommand):  # type: ignore[misc]  # of type Any, as Django has no types
    """
    Runs the command of dflag. A command that takes a registry gets the project's, unless another one is given.
    """

    help = "Work with the flags of the project: dflag's own command, on the registry of the settings."
    requires_system_checks: ClassVar[list[str]] = []  # it has checks of its own

    def run_from_argv(self, argv: list[str]) -> None:
        """
        Run the command with all arguments except Django's own ``--settings`` and ``--pythonpath``.
        """
        parser = CommandParser(add_help=False, allow_abbrev=False)
        parser.add_argument("--settings")
        parser.add_argument("--pythonpath")
        _, arguments = parser.parse_known_args(argv[2:])
        sys.exit(main(with_registry(arguments)))

    def add_arguments(self, parser: Any) -> None:
        """
        Add the arguments that `call_command` takes.
        """
        parser.add_argument("arguments", nargs=argparse.REMAINDER, help="those of the command dflag")

    def handle(self, *_args: object, **options: Any) -> None:
        """
        Run the command for `call_command`.

        Raises:
            CommandError: The status is not 0. ``returncode`` is the status.
        """
        with redirect_stdout(options.get("stdout") or sys.stdout):
            status = main(with_registry(options["arguments"]))
        if status:
            raise CommandError(f"dflag ended with status {status}", returncode=status)


def with_registry(arguments: Sequence[str]) -> list[str]:
    """
    Return the arguments of dflag's command, with the project's registry if the command takes one and none is given.
    """
    name = next((argument for argument in arguments if argument in COMMANDS), None)
    if name is None or {"-h", "--help", "--version"} & set(arguments):
        return list(arguments)
    parser = argparse.ArgumentParser(add_help=False)
    add_arguments(name, parser)
    options = next((action.option_strings for action in parser._actions if action.dest == "registry"), None)
    given = any(argument.startswith("--registry") if options else _is_reference(argument) for argument in arguments)
    if options is None or given:
        return list(arguments)
    place = arguments.index(name) + 1
    reference = reference_of_registry()
    return [*arguments[:place], *options, reference, *arguments[place:]]


def _is_reference(argument: str) -> bool:
    return _REFERENCE.fullmatch(argument) is not None and not os.path.exists(argument)
