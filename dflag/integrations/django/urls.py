"""
The page of flags, for ``path("debug/flags/", include("dflag.integrations.django.urls"))``.
"""

from __future__ import annotations

from typing import Any, Final

from django.urls import re_path

from dflag.integrations.django._page import page

urlpatterns: Final[list[Any]] = [re_path("^(?P<path>.*)$", page, name="dflag-page")]
