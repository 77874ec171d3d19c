"""
The flags of a Flask program under /debug/flags: ``gunicorn --chdir examples/web flask_app:app``.
"""

from __future__ import annotations

import os

from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware

import dflag
from dflag.web import bearer_token, make_wsgi_app

flags = dflag.FlagRegistry("shop")
greeting = flags.dyn_string("greeting", "Hello", "What the page says first")

app = Flask(__name__)


@app.get("/")
def index() -> str:
    """Greet."""
    return greeting.get()


token = os.environ.get("FLAGS_TOKEN")
authorize = bearer_token(token, "operator") if token else None  # without a token, setting is off
app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/debug/flags": make_wsgi_app(flags, authorize=authorize)})
