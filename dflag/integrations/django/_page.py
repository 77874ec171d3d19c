"""
The page of `dflag.web`, as a view.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.http import HttpResponse
from django.views.decorators.csrf import csrf_exempt

from dflag.integrations.django._configuration import configuration
from dflag.integrations.django._process import updater
from dflag.web._handler import Handler
from dflag.web._http import NeedsBody, Request, Stream, declared_length
from dflag.web._wsgi import read_body

if TYPE_CHECKING:
    from dflag import Updater

_handlers: Final[dict[Updater | None, Handler]] = {}
"""That of this process, by the updater that it shows."""


# Requests that set a flag are JSON of the same origin, and authorized by a header.
@csrf_exempt  # type: ignore[untyped-decorator]  # Django has no types
def page(request: Any, path: str = "") -> Any:
    """
    Show all flags, and let those set them whom ``AUTHORIZE`` knows.

    Include it by ``path("debug/flags/", include("dflag.integrations.django.urls"))``, or wrap it to say who may read:
    ``re_path("^debug/flags/(?P<path>.*)$", staff_member_required(page))``.

    Args:
        request: The request.
        path: What is behind the place of the page.

    Thread safety: any thread.
    """
    place = request.path.removesuffix(path) if path else request.path
    answer = _handler().handle(
        Request(
            method=request.method,
            path=f"/{path}",
            mount=place.rstrip("/"),
            query=request.META.get("QUERY_STRING", ""),
            headers={name.lower(): value for name, value in request.headers.items()},
        )
    )
    if isinstance(answer, Stream):
        raise TypeError("a view holds no stream open, so that none is offered")
    if isinstance(answer, NeedsBody):
        answer = answer.finish(_body(request, answer.limit_bytes))
    return HttpResponse(answer.body, status=int(answer.status), headers=dict(answer.headers))


def _handler() -> Handler:
    shown = updater()
    handler = _handlers.get(shown)
    if handler is None:
        configured = configuration()
        handler = Handler(
            configured.registry, shown, authorize=configured.authorize, title=configured.title, hosted=True
        )
        _handlers.clear()
        _handlers[shown] = handler
    return handler


def _body(request: Any, limit_bytes: int) -> bytes | None:
    """
    Read the body; None for one over the limit.
    """
    declared = request.META.get("CONTENT_LENGTH") or ""
    try:
        length = declared_length(declared) if declared else None
    except ValueError:
        return b""
    if length is not None and length > limit_bytes:
        return None
    if length is None and hasattr(request, "environ"):
        # Under WSGI Django takes a body in chunks, which has no length, for an empty one.
        return read_body(request.environ, limit_bytes)
    body: bytes = request.read(limit_bytes + 1)
    if len(body) > limit_bytes:
        return None
    return body if length in (None, len(body)) else b""  # the client went away: what there is may look whole
