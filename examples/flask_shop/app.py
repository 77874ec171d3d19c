"""
A shop on Flask: ``gunicorn --config flask_shop/gunicorn.conf.py`` or ``uwsgi --ini flask_shop/uwsgi.ini``.

``SHOP_CONFIG`` is the path of the volume to follow. ``FLAGS_TOKEN`` is the token that is needed to set a flag on the
page.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from flask import Blueprint, Flask, abort, current_app, request
from prometheus_client import CollectorRegistry, make_wsgi_app, multiprocess
from werkzeug.middleware.dispatcher import DispatcherMiddleware

import dflag
from dflag.integrations.prometheus import FlagCollector, register
from dflag.integrations.wsgi import PinMiddleware
from dflag.web import bearer_token
from dflag.web import make_wsgi_app as make_page
from flask_shop.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

shop = Blueprint("shop", __name__)


@shop.get("/price")
def price() -> dict[str, object]:
    """Return a price minus the discount, in the smallest unit of its currency."""
    cfg = Settings.current()  # the same object everywhere in this request
    amount = request.args.get("amount", type=int)
    if amount is None:
        abort(400, "expected amount as an int")
    return {"amount": amount * (100 - cfg.discount) // 100, "currency": cfg.currency}


@shop.post("/orders")
def order() -> tuple[dict[str, object], int]:
    """Take an order, unless operators have closed the shop."""
    if not Settings.current().orders:
        abort(503, "no orders are taken now")
    return price(), 201


@shop.get("/healthz")
def healthz() -> tuple[str, int]:
    """Answer 200 while the updater runs. A bad value should cause an alert, not a restart."""
    state = current_app.extensions["dflag"].status().state
    return state, 200 if state == "running" else 503


def create_app(config: str | os.PathLike[str] | None = None) -> Flask:
    """Make the app and start its updater, which also runs, by itself, in each worker that is forked later."""
    logging.basicConfig(level=logging.INFO)  # gunicorn configures only its own loggers
    config = config or os.environ.get("SHOP_CONFIG", "/etc/shop")
    updater = dflag.Updater.setup(Settings, config, facts=dflag.facts.kubernetes())
    collector = register(Settings, updater)
    token = os.environ.get("FLAGS_TOKEN")
    authorize = bearer_token(token, "operator") if token else None  # without a token, nobody can set flags

    app = Flask(__name__)
    app.extensions["dflag"] = updater
    app.register_blueprint(shop)
    mounts: dict[str, WSGIApplication] = {
        "/debug/flags": make_page(Settings, updater, authorize=authorize),
        "/metrics": _metrics_app(collector),
    }
    app.wsgi_app = PinMiddleware(  # type: ignore[method-assign]  # as Flask documents for middleware
        DispatcherMiddleware(app.wsgi_app, mounts), Settings, revision_header=True
    )
    return app


def _metrics_app(collector: FlagCollector) -> WSGIApplication:
    """Return an app with the metrics of this process, or of all workers if they share a directory."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        metrics = CollectorRegistry()
        multiprocess.MultiProcessCollector(metrics)  # type: ignore[no-untyped-call]  # the class has no types
        metrics.register(collector)
        answer: Iterable[bytes] = make_wsgi_app(metrics)(environ, start_response)
        return answer

    return app if "PROMETHEUS_MULTIPROC_DIR" in os.environ else make_wsgi_app()
