"""
The flags of a FastAPI program under /debug/flags: ``uvicorn --app-dir examples/web fastapi_app:app``.
"""

from __future__ import annotations

import os

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

import dflag
from dflag.web import bearer_token, make_asgi_app

flags = dflag.FlagRegistry("shop")
greeting = flags.dyn_string("greeting", "Hello", "What the page says first")

app = FastAPI()


@app.get("/", response_class=PlainTextResponse)
async def index() -> str:
    """Greet."""
    return greeting.get()


token = os.environ.get("FLAGS_TOKEN")
authorize = bearer_token(token, "operator") if token else None  # without a token, setting is off
app.mount("/debug/flags", make_asgi_app(flags, authorize=authorize))
