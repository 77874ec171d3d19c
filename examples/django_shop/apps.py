"""
The shop as an app of Django.
"""

from __future__ import annotations

from django.apps import AppConfig

from dflag.integrations.django import updater
from dflag.integrations.prometheus import register
from django_shop.flags import Settings


class ShopConfig(AppConfig):
    """Exports the flags to Prometheus, with the updater that the app before it has started, if any."""

    name = "django_shop"

    def ready(self) -> None:
        """Run when Django is set up."""
        register(Settings, updater())
