"""
Tasks that send the mail of a shop: ``celery --app celery_shop.tasks worker``.

``CELERY_BROKER_URL`` is the address of the broker, ``SHOP_CONFIG`` the path of the volume to follow. ``SHOP_PAGE_PORT``
and ``SHOP_METRICS_PORT`` set the static flags ``page_port`` and ``metrics_port``.
"""

from __future__ import annotations

import logging
import os

import prometheus_client
from celery import Celery
from celery.signals import worker_init, worker_ready

import dflag
from celery_shop.settings import Settings
from dflag.integrations.celery import pin_tasks
from dflag.integrations.prometheus import register
from dflag.web import start_http_server

app = Celery("celery_shop", broker=os.environ.get("CELERY_BROKER_URL", "redis://localhost"))
# Made here, but started only in a worker.
updater = dflag.Updater(Settings, os.environ.get("SHOP_CONFIG", "/etc/shop"), facts=dflag.facts.kubernetes())
pin_tasks(app, Settings)  # before the first task


@app.task
def send_mail(recipients: list[str]) -> list[str]:
    """Return the sent mails; all mails of one task use the values of one revision."""
    cfg = Settings.current()
    if not cfg.mail:
        return []
    return [f"{cfg.sender} to {recipient}" for recipient in recipients[: cfg.batch]]


@worker_init.connect
def follow(**_: object) -> None:
    """Start the updater before the pool forks: each process then has the values at once and follows them by itself."""
    logging.basicConfig()  # for now; Celery configures logging after this handler
    Settings.registry.parse_args([], env_prefix="SHOP")
    try:
        updater.initialize()
    except dflag.DflagError as error:
        # Celery only logs other exceptions of a handler; the worker would continue with default values.
        raise SystemExit(f"the worker does not start: {error}") from error
    updater.start()


@worker_ready.connect
def serve(**_: object) -> None:
    """Serve the page and the metrics from the main process, after the pool has started its processes."""
    register(Settings, updater)
    page = start_http_server(Settings.page_port.get(), Settings, updater)
    print(f"Flags at http://127.0.0.1:{page.port}/", flush=True)
    prometheus_client.start_http_server(Settings.metrics_port.get())
