"""
The flags of a Django program under /debug/flags: ``gunicorn --chdir examples/web django_app:application``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

import dflag
from dflag.web import bearer_token, make_wsgi_app

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

PREFIX = "/debug/flags"

flags = dflag.FlagRegistry("shop")
greeting = flags.dyn_string("greeting", "Hello", "What the page says first")


def index(_request: HttpRequest) -> HttpResponse:
    """Greet."""
    return HttpResponse(greeting.get())


urlpatterns = [path("", index)]
settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"])
django_application = get_wsgi_application()
token = os.environ.get("FLAGS_TOKEN")
flags_application = make_wsgi_app(flags, authorize=bearer_token(token, "operator") if token else None)


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Return what is below the prefix to dflag, and the rest to Django."""
    below = environ["PATH_INFO"].removeprefix(PREFIX)
    if below != environ["PATH_INFO"] and below[:1] in ("", "/"):
        environ |= {"SCRIPT_NAME": environ["SCRIPT_NAME"] + PREFIX, "PATH_INFO": below}
        return flags_application(environ, start_response)
    return django_application(environ, start_response)
