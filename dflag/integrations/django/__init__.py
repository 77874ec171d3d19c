"""
Flags in a Django project: an app, a middleware, system checks, a command and a page; the extra ``dflag[django]``.

In the settings::

    INSTALLED_APPS = ["dflag.integrations.django", ...]
    MIDDLEWARE = ["dflag.integrations.django.PinMiddleware", ...]
    DFLAG = {"REGISTRY": "shop.flags:flags", "SOURCE": "/etc/shop"}

The keys of ``DFLAG``:

- ``REGISTRY``: required; the ``module:attribute`` of a registry, a `dflag.Flags` class, or a callable that returns one.
- ``SOURCE``: a path, a `dflag.sources.Source`, or several of them, as for `dflag.Updater`. None follows no source.
- ``OPTIONS``: the options of `dflag.Updater`, by name.
- ``COMMANDS``: the names of the management commands that follow the source, in addition to ``runserver``.
- ``REVISION_HEADER``: whether responses have the number of their revision in the header ``X-Config-Revision``.
- ``AUTHORIZE``: who may set flags on the page, as for `dflag.web.make_wsgi_app`; or its ``module:attribute``.
- ``TITLE``: the title of the page.
"""

from __future__ import annotations

from dflag.integrations.django._middleware import PinMiddleware
from dflag.integrations.django._page import page
from dflag.integrations.django._process import start, stop, updater

__all__ = ["PinMiddleware", "page", "start", "stop", "updater"]


def __dir__() -> list[str]:
    return __all__
