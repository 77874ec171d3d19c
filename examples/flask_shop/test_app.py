"""
The tests of the shop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flask_shop.app import create_app
from flask_shop.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from flask.testing import FlaskClient

    from dflag.testing import ConfigMapVolume, Overrides


@pytest.fixture
def app(dflag_isolated: Callable[[type[Settings]], None], configmap_volume: ConfigMapVolume) -> Flask:
    """Start the app for a volume; after the test its updater is stopped and the flags are restored."""
    dflag_isolated(Settings)
    configmap_volume.write({"currency": "USD", "discount": "10"})
    return create_app(configmap_volume.path)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Return Flask's test client."""
    return app.test_client()


def test_price(client: FlaskClient) -> None:
    """Prices follow the volume that the app was started with."""
    answer = client.get("/price?amount=1000")
    assert answer.json == {"amount": 900, "currency": "USD"}
    assert answer.headers["X-Config-Revision"]
    assert client.get("/price").status_code == 400


def test_new_discount(app: Flask, client: FlaskClient, configmap_volume: ConfigMapVolume) -> None:
    """A new discount applies to the next request; a bad discount changes only the metrics."""
    configmap_volume.update(discount="25")
    app.extensions["dflag"].refresh()
    assert client.get("/price?amount=1000").json == {"amount": 750, "currency": "USD"}
    configmap_volume.update(discount="all")
    app.extensions["dflag"].refresh()
    assert client.get("/price?amount=1000").json == {"amount": 750, "currency": "USD"}
    assert 'dflag_rejected_values{flag="discount",registry="flask_shop"} 1.0' in client.get("/metrics").text
    assert client.get("/healthz").text == "running"


def test_closed_shop(client: FlaskClient, dflag_override: Overrides) -> None:
    """No order is taken while operators have closed the shop."""
    assert client.post("/orders?amount=1000").status_code == 201
    dflag_override({Settings.orders: False})
    assert client.post("/orders?amount=1000").status_code == 503


def test_page(client: FlaskClient) -> None:
    """The page lists each flag with the origin of its value."""
    flags = {flag["name"]: flag for flag in client.get("/debug/flags/").get_json()["flags"]}
    assert flags["discount"]["current_value"] == "10"
    assert flags["orders"]["origin"] == "default"
