"""
Django's settings; what changes while the shop runs is in ``flags.py``.

``SHOP_CONFIG`` is the volume to follow; without it, as in tests, nothing is followed. ``FLAGS_TOKEN`` is what setting a
flag on the page asks for.
"""

from __future__ import annotations

import os

import dflag
from dflag.web import bearer_token

SECRET_KEY = os.environ.get("SECRET_KEY", "for tests alone")
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "django_shop.urls"
WSGI_APPLICATION = "django_shop.wsgi.application"
INSTALLED_APPS = ["dflag.integrations.django", "django_shop.apps.ShopConfig"]
MIDDLEWARE = [
    "dflag.integrations.django.PinMiddleware",  # the first of all
    "django.middleware.common.CommonMiddleware",
]

# Django's own configuration is for its own loggers alone.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}

token = os.environ.get("FLAGS_TOKEN")
DFLAG = {
    "REGISTRY": "django_shop.flags:Settings",
    "SOURCE": os.environ.get("SHOP_CONFIG"),
    "OPTIONS": {"facts": dflag.facts.kubernetes()},
    "AUTHORIZE": bearer_token(token, "operator") if token else None,  # without a token, setting is off
    "REVISION_HEADER": True,
}
