"""
The updater of a process, and the choice of the processes that have one.
"""

from __future__ import annotations

import atexit
import os
import sys
from typing import TYPE_CHECKING, Final

from django.core.exceptions import ImproperlyConfigured
from django.core.management import ManagementUtility
from django.utils.autoreload import DJANGO_AUTORELOAD_ENV

from dflag._updater import Updater
from dflag.errors import DefinitionError
from dflag.integrations.django._configuration import configuration

if TYPE_CHECKING:
    from collections.abc import Collection

_updaters: Final[list[Updater]] = []
"""The updater of this process, if there is one."""


def start() -> Updater | None:
    """
    Start the updater that the setting ``DFLAG`` describes, unless it already runs.

    The app does so itself in processes that serve. Call this function in a management command or a script that reads
    flags, or name the command in ``COMMANDS``.

    Returns:
        The updater; None without a ``SOURCE``.

    Raises:
        ImproperlyConfigured: The setting cannot be used.
        UpdateError: A value is bad; nothing was applied and nothing runs.
        SourceError: A required source cannot be read.

    Thread safety: one thread at a time.
    """
    if not _updaters:
        configured = configuration()
        if configured.source is None:
            return None
        try:
            _updaters.append(Updater.setup(configured.registry, configured.source, **configured.options))
        except DefinitionError as error:
            raise ImproperlyConfigured(f"DFLAG: {error}") from error
        atexit.register(stop)
    return _updaters[0]


def stop() -> None:
    """
    Stop the updater of this process, if there is one. Idempotent. This is also called when the process ends.

    Thread safety: one thread at a time.
    """
    atexit.unregister(stop)
    while _updaters:
        _updaters.pop().stop()


def updater() -> Updater | None:
    """
    Return the updater that runs in this process, for its status or metrics; None if none runs.

    Thread safety: any thread.
    """
    return _updaters[0] if _updaters else None


def is_serving(commands: Collection[str]) -> bool:
    """
    Return whether this process should follow the source: it serves, or runs one of the named management commands.

    A process without a management command is a server, a worker or a script, and counts as serving.
    """
    arguments = _management_arguments()
    if arguments is None:
        return True
    name = arguments[1] if len(arguments) > 1 else ""
    if name == "runserver":
        # With the reloader two processes run the command, and the first one only watches files.
        return "--noreload" in arguments or os.environ.get(DJANGO_AUTORELOAD_ENV) == "true"
    return name in commands


def _management_arguments() -> list[str] | None:
    """
    Return the arguments of the management command that sets Django up; None if there is none.

    The call stack shows the command. The name of the script does not, because it may be any name.
    """
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code is ManagementUtility.execute.__code__:
            arguments: list[str] = frame.f_locals["self"].argv
            return arguments
    return None
