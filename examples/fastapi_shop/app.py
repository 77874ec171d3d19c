"""
A shop on FastAPI: ``uvicorn --factory fastapi_shop.app:create_app``.

``SHOP_CONFIG`` is the path of the volume to follow. ``FLAGS_TOKEN`` is the token that is needed to set a flag on the
page.
"""

from __future__ import annotations

import logging
import os
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, HTTPException
from prometheus_client import make_asgi_app as make_metrics_app
from pydantic import BaseModel

import dflag
from dflag.integrations.asgi import PinMiddleware
from dflag.integrations.prometheus import register
from dflag.web import bearer_token, make_asgi_app
from fastapi_shop.settings import Settings


async def settings() -> Settings:
    """Return the settings of this request. FastAPI would run a plain function on another thread."""
    return Settings.current()


Current = Annotated[Settings, Depends(settings)]
router = APIRouter()


class Price(BaseModel):
    """A price in the smallest unit of its currency."""

    amount: int
    currency: str


@router.get("/price")
async def price(amount: int, cfg: Current) -> Price:
    """Return a price minus the discount."""
    return Price(amount=amount * (100 - cfg.discount) // 100, currency=cfg.currency)


@router.post("/orders", status_code=201)
async def order(amount: int, cfg: Current) -> Price:
    """Take an order, unless operators have closed the shop."""
    if not cfg.orders:
        raise HTTPException(503, "no orders are taken now")
    return await price(amount, cfg)


def create_app(config: str | os.PathLike[str] | None = None) -> FastAPI:
    """Make the app. The middleware starts and stops the updater together with the server."""
    logging.basicConfig(level=logging.INFO)  # uvicorn configures only its own loggers
    config = config or os.environ.get("SHOP_CONFIG", "/etc/shop")
    updater = dflag.Updater(Settings, config, facts=dflag.facts.kubernetes())
    register(Settings, updater)
    token = os.environ.get("FLAGS_TOKEN")
    authorize = bearer_token(token, "operator") if token else None  # without a token, nobody can set flags

    app = FastAPI(title="shop")
    app.state.updater = updater
    app.add_middleware(PinMiddleware, registry=Settings, updater=updater, revision_header=True)
    app.include_router(router)
    app.mount("/debug/flags", make_asgi_app(Settings, updater, authorize=authorize))
    app.mount("/metrics", make_metrics_app())

    @app.get("/healthz")
    async def healthz() -> str:
        """Answer 200 while the updater runs. A bad value should cause an alert, not a restart."""
        state = updater.status().state
        if state != "running":
            raise HTTPException(503, state)
        return state

    return app
