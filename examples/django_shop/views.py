"""
The views of the shop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from dflag.integrations.django import updater
from django_shop.flags import Settings

if TYPE_CHECKING:
    from django.http import HttpRequest


@require_GET
async def price(request: HttpRequest) -> JsonResponse:
    """Return a price minus the discount, in the smallest unit of its currency."""
    cfg = Settings.current()  # the same object everywhere in this request
    amount = int(request.GET["amount"])
    return JsonResponse({"amount": amount * (100 - cfg.discount) // 100, "currency": cfg.currency})


@csrf_exempt  # an API that uses no cookies
@require_POST
def order(_request: HttpRequest) -> JsonResponse:
    """Take an order, unless operators have closed the shop."""
    if not Settings.current().orders:
        return JsonResponse({"error": "no orders are taken now"}, status=503)
    return JsonResponse({}, status=201)


@require_GET
def healthz(_request: HttpRequest) -> HttpResponse:
    """Answer 200 while the updater runs. A bad value should cause an alert, not a restart."""
    follows = updater()
    state = "not started" if follows is None else follows.status().state
    return HttpResponse(state, status=200 if state == "running" else 503)


@require_GET
def metrics(_request: HttpRequest) -> HttpResponse:
    """Serve the metrics of this process."""
    return HttpResponse(generate_latest(), content_type=CONTENT_TYPE_LATEST)
