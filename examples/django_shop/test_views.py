"""
The tests of the shop. With pytest-django, its settings replace the first lines.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import django
import pytest
from django.test import Client

import dflag
from django_shop.flags import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from dflag.testing import ConfigMapVolume, Overrides

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_shop.settings")
django.setup()


@pytest.fixture
def updater(dflag_isolated: Callable[[type[Settings]], None], configmap_volume: ConfigMapVolume) -> dflag.Updater:
    """Follow a volume, as a server does; after the test the updater is stopped and the flags are restored."""
    dflag_isolated(Settings)
    configmap_volume.write({"currency": "USD", "discount": "10"})
    return dflag.Updater.setup(Settings, configmap_volume.path)


def test_price(updater: dflag.Updater, client: Client, configmap_volume: ConfigMapVolume) -> None:
    """Prices follow the volume; a bad value changes nothing."""
    answer = client.get("/price?amount=1000")
    assert answer.json() == {"amount": 900, "currency": "USD"}
    assert answer["X-Config-Revision"]
    configmap_volume.update(discount="25")
    updater.refresh()
    assert client.get("/price?amount=1000").json()["amount"] == 750
    configmap_volume.update(discount="all")
    updater.refresh()
    assert client.get("/price?amount=1000").json()["amount"] == 750


def test_closed_shop(client: Client, dflag_override: Overrides) -> None:
    """No order is taken while operators have closed the shop."""
    assert client.post("/orders").status_code == 201
    dflag_override({Settings.orders: False})
    assert client.post("/orders").status_code == 503


def test_pages_of_operators(client: Client) -> None:
    """The page lists the flags and the metrics name the registry; without a server, no updater runs."""
    listing = client.get("/debug/flags/").json()
    assert [flag["name"] for flag in listing["flags"]] == ["currency", "discount", "orders"]
    assert b'registry="django_shop"' in client.get("/metrics").content
    assert client.get("/healthz").status_code == 503


@pytest.fixture
def client() -> Client:
    """Return Django's test client."""
    return Client()
