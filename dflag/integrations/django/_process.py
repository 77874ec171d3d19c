"""
The updater of a process, and which processes have one.
"""

from __future__ import annotations

import atexit
import os
import sys
from typing import TYPE_CHECKING, Final

from django.core.management import ManagementUtility
from django.utils.autoreload import DJANGO_AUTORELOAD_ENV

from dflag._updater import Updater
from dflag.integrations.django._configuration import configuration

if TYPE_CHECKING:
    from collections.abc import Collection

_updaters: Final[list[Updater]] = []
"""The one of this process, if there is one."""


def start() -> Updater | None:
    """
    Start the updater that the setting ``DFLAG`` describes, unless it runs.

    The app does so by itself in processes that serve. Call it in a management command or a script that reads flags, or
    name the command in ``COMMANDS``.

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
        _updaters.append(Updater.setup(configured.registry, configured.source, **configured.options))
        atexit.register(stop)
    return _updaters[0]


def stop() -> None:
    """
    Stop the updater of this process. Idempotent, also without one; the end of the process calls it.

    Thread safety: one thread at a time.
    """
    atexit.unregister(stop)
    while _updaters:
        _updaters.pop().stop()


def updater() -> Updater | None:
    """
    Return the updater that runs in this process, for its status or metrics; None where none was started.

    Thread safety: any thread.
    """
    return _updaters[0] if _updaters else None


def is_serving(commands: Collection[str]) -> bool:
    """
    Return whether this process is to follow the source: it serves, or runs one of the named management commands.

    What is not a management command is a server, a worker or a script.
    """
    arguments = _management_arguments()
    if arguments is None:
        return True
    name = arguments[1] if len(arguments) > 1 else ""
    if name == "runserver":
        # With the reloader two processes run it, of which the first only watches files.
        return "--noreload" in arguments or os.environ.get(DJANGO_AUTORELOAD_ENV) == "true"
    return name in commands


def _management_arguments() -> list[str] | None:
    """
    Return the arguments of the management command that sets Django up, if one does.

    The call itself says so: a script that starts one may have any name.
    """
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code is ManagementUtility.execute.__code__:
            arguments: list[str] = frame.f_locals["self"].argv
            return arguments
    return None
