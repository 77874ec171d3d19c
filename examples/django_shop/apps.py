"""
The shop as a Django app.
"""

from __future__ import annotations

from django.apps import AppConfig

from dflag.integrations.django import updater
from dflag.integrations.prometheus import register
from django_shop.flags import Settings


class ShopConfig(AppConfig):
    """Exports the flags to Prometheus, with the updater that dflag's app has started, if there is one."""

    name = "django_shop"

    def ready(self) -> None:
        """Register the flags; Django calls this during its setup."""
        register(Settings, updater())
