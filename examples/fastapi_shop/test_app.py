"""
The tests of the shop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fastapi.testclient import TestClient

from fastapi_shop.app import create_app
from fastapi_shop.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastapi import FastAPI

    from dflag.testing import ConfigMapVolume, Overrides


@pytest.fixture
def app(dflag_isolated: Callable[[type[Settings]], None], configmap_volume: ConfigMapVolume) -> FastAPI:
    """Make the app for a volume, and restore the flags after the test."""
    dflag_isolated(Settings)
    configmap_volume.write({"currency": "USD", "discount": "10"})
    return create_app(configmap_volume.path)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """Return a client of the running app; its ``with`` block is the lifespan, in which the updater runs."""
    with TestClient(app) as client:
        yield client


def test_price(client: TestClient) -> None:
    """Prices follow the volume that the app was started with."""
    answer = client.get("/price?amount=1000")
    assert answer.json() == {"amount": 900, "currency": "USD"}
    assert answer.headers["X-Config-Revision"]


def test_new_discount(app: FastAPI, client: TestClient, configmap_volume: ConfigMapVolume) -> None:
    """A new discount applies to the next request; a bad discount changes only the metrics."""
    configmap_volume.update(discount="25")
    app.state.updater.refresh()
    assert client.get("/price?amount=1000").json()["amount"] == 750
    configmap_volume.update(discount="all")
    app.state.updater.refresh()
    assert client.get("/price?amount=1000").json()["amount"] == 750
    assert 'dflag_rejected_values{flag="discount",registry="fastapi_shop"} 1.0' in client.get("/metrics/").text
    assert client.get("/healthz").json() == "running"


def test_closed_shop(client: TestClient, dflag_override: Overrides) -> None:
    """No order is taken while operators have closed the shop."""
    assert client.post("/orders?amount=1000").status_code == 201
    dflag_override({Settings.orders: False})
    assert client.post("/orders?amount=1000").status_code == 503


def test_page(client: TestClient) -> None:
    """The page lists each flag with the origin of its value."""
    flags = {flag["name"]: flag for flag in client.get("/debug/flags/").json()["flags"]}
    assert flags["discount"]["current_value"] == "10"
    assert flags["orders"]["origin"] == "default"
