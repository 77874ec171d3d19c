"""
The tests of the shop, over a real connection.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import grpc
import pytest

import dflag
from grpc_shop.server import SERVING, serving
from grpc_shop.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dflag.testing import ConfigMapVolume


@pytest.fixture
def updater(dflag_isolated: Callable[[type[Settings]], None], configmap_volume: ConfigMapVolume) -> dflag.Updater:
    """Follow a volume; after the test the updater is stopped and the flags are restored."""
    dflag_isolated(Settings)
    configmap_volume.write({"port": "0", "currency": "USD", "discount": "10"})
    return dflag.Updater.setup(Settings, configmap_volume.path)


@pytest.fixture
def channel(updater: dflag.Updater) -> Iterator[grpc.Channel]:  # noqa: ARG001 - the server starts with its values
    """Return a connection to a running server."""
    with serving() as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel


def test_price(updater: dflag.Updater, channel: grpc.Channel, configmap_volume: ConfigMapVolume) -> None:
    """Prices follow the volume; the trailing metadata contain the revision."""
    price = channel.unary_unary("/shop.Shop/Price", lambda amount: json.dumps(amount).encode(), json.loads)
    answer, call = price.with_call(1000, timeout=10)
    assert answer == {"amount": 900, "currency": "USD"}
    revision = dict(call.trailing_metadata())["x-config-revision"]

    configmap_volume.update(discount="25")
    updater.refresh()
    answer, call = price.with_call(1000, timeout=10)
    assert answer == {"amount": 750, "currency": "USD"}
    assert int(dict(call.trailing_metadata())["x-config-revision"]) > int(revision)


def test_health(channel: grpc.Channel) -> None:
    """The server answers the gRPC probe of Kubernetes."""
    assert channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=10) == SERVING
