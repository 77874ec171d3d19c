"""
Flags in a Django project: an app, a middleware, system checks, a command and a page; the extra ``dflag[django]``.

In the settings::

    INSTALLED_APPS = ["dflag.integrations.django", ...]
    MIDDLEWARE = ["dflag.integrations.django.PinMiddleware", ...]
    DFLAG = {"REGISTRY": "shop.flags:flags", "SOURCE": "/etc/shop"}

The keys of ``DFLAG``:

- ``REGISTRY``: ``module:attribute``, a registry, a `dflag.Flags` class, or a callable that returns one. Needed.
- ``SOURCE``: a path, a `dflag.sources.Source`, or several of them, as for `dflag.Updater`. None follows nothing.
- ``OPTIONS``: the options of `dflag.Updater`, by name.
- ``COMMANDS``: the names of management commands, beside ``runserver``, that are to follow the source.
- ``REVISION_HEADER``: whether responses say the number of their revision, as ``X-Config-Revision``.
- ``AUTHORIZE``: who may set flags on the page, as for `dflag.web.make_wsgi_app`; also as ``module:attribute``.
- ``TITLE``: that of the page.
"""

from __future__ import annotations

from dflag.integrations.django._middleware import PinMiddleware
from dflag.integrations.django._page import page
from dflag.integrations.django._process import start, stop, updater

__all__ = ["PinMiddleware", "page", "start", "stop", "updater"]


def __dir__() -> list[str]:
    return __all__
