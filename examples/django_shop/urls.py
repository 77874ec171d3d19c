"""
The URLs of the shop.
"""

from __future__ import annotations

from django.urls import include, path

from django_shop import views

urlpatterns = [
    path("price", views.price),
    path("orders", views.order),
    path("healthz", views.healthz),
    path("metrics", views.metrics),
    path("debug/flags/", include("dflag.integrations.django.urls")),
]
