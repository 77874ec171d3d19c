"""
The flags of a Starlette program under /debug/flags: ``uvicorn --app-dir examples/web starlette_app:app``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

import dflag
from dflag.web import bearer_token, make_asgi_app

if TYPE_CHECKING:
    from starlette.requests import Request

flags = dflag.FlagRegistry("shop")
greeting = flags.dyn_string("greeting", "Hello", "What the page says first")


async def index(_request: Request) -> PlainTextResponse:
    """Greet."""
    return PlainTextResponse(greeting.get())


token = os.environ.get("FLAGS_TOKEN")
authorize = bearer_token(token, "operator") if token else None  # without a token, setting is off
app = Starlette(routes=[Route("/", index), Mount("/debug/flags", make_asgi_app(flags, authorize=authorize))])
