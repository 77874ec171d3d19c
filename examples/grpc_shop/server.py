"""
A shop on gRPC: ``python -m grpc_shop.server --config /etc/shop``; ``--help`` lists the flags.

The example is complete without generated code, because its messages are JSON. A servicer from generated code is added
to the server as usual.
"""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
import prometheus_client

import dflag
from dflag.integrations.grpc import PinInterceptor
from dflag.integrations.prometheus import register
from dflag.web import start_http_server
from grpc_shop.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVING = b"\x08\x01"
"""The encoded message ``HealthCheckResponse(status=SERVING)``; the package grpcio-health-checking has its class."""


def price(amount: int, _context: grpc.ServicerContext) -> dict[str, object]:
    """Return a price minus the discount, in the smallest unit of its currency."""
    cfg = Settings.current()  # the same object everywhere in this call
    return {"amount": amount * (100 - cfg.discount) // 100, "currency": cfg.currency}


SHOP = grpc.method_handlers_generic_handler(
    "shop.Shop",
    {"Price": grpc.unary_unary_rpc_method_handler(price, json.loads, lambda answer: json.dumps(answer).encode())},
)
HEALTH = grpc.method_handlers_generic_handler(
    "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(lambda _request, _context: SERVING)}
)


@contextlib.contextmanager
def serving() -> Iterator[int]:
    """Serve calls until the end of the block, and yield the port."""
    with ThreadPoolExecutor(Settings.threads.get()) as pool:
        # This interceptor must be the first, so that the handlers of the other interceptors are pinned too.
        server = grpc.server(pool, interceptors=[PinInterceptor(Settings, revision_header=True)])
        server.add_generic_rpc_handlers((SHOP, HEALTH))
        port = server.add_insecure_port(f"{Settings.address.get()}:{Settings.port.get()}")
        server.start()
        try:
            yield port
        finally:
            server.stop(grace=5).wait()


def main() -> None:
    """Serve until a signal arrives."""
    logging.basicConfig(level=logging.INFO)
    Settings.registry.parse_args(env_prefix="SHOP", description="A shop on gRPC.")
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    with dflag.Updater.setup(Settings, Settings.config.get(), facts=dflag.facts.kubernetes()) as updater:
        register(Settings, updater)
        prometheus_client.start_http_server(Settings.metrics_port.get())
        with start_http_server(Settings.page_port.get(), Settings, updater) as page, serving() as port:
            print(f"Serving on {Settings.address.get()}:{port}, flags at http://127.0.0.1:{page.port}/", flush=True)
            stopping.wait()


if __name__ == "__main__":
    main()
