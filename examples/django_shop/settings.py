"""
Django's settings; the settings that change while the shop runs are in ``flags.py``.

``SHOP_CONFIG`` is the path of the volume to follow; without it, as in tests, the shop follows nothing. ``FLAGS_TOKEN``
is the token that is needed to set a flag on the page.
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
    "dflag.integrations.django.PinMiddleware",  # must be the first
    "django.middleware.common.CommonMiddleware",
]

# Django's default configuration covers only its own loggers.
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
    "AUTHORIZE": bearer_token(token, "operator") if token else None,  # without a token, nobody can set flags
    "REVISION_HEADER": True,
}
