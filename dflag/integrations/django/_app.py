"""
The app. Django makes it during its setup.
"""

from __future__ import annotations

from typing import Final

from django.apps import AppConfig
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from dflag.integrations.django import _process
from dflag.integrations.django._checks import check_flags
from dflag.integrations.django._configuration import configuration


class DflagConfig(AppConfig):  # type: ignore[misc]  # of type Any, as Django has no types
    """
    Starts the updater in processes that serve, and registers the system checks.
    """

    name: Final = "dflag.integrations.django"
    label: Final = "dflag"
    verbose_name: Final = "dflag"

    def ready(self) -> None:
        """
        Register the checks, and start the updater if this process serves. Django calls this method during its setup.

        Raises:
            ImproperlyConfigured: The setting ``DFLAG`` cannot be used, and the process serves.
            UpdateError: A value is bad.
            SourceError: A required source cannot be read.
        """
        checks.register(check_flags, "dflag")
        try:
            commands = configuration().commands
        except ImproperlyConfigured:
            if _process.is_serving(()):
                raise
            return  # the system check reports it, and other commands go on
        if _process.is_serving(commands):
            _process.start()
