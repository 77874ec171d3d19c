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
"""The handler of this process, by the updater that it shows."""


# Requests that set a flag are JSON from the same origin, and a header authorizes them.
@csrf_exempt  # type: ignore[untyped-decorator]  # Django has no types
def page(request: Any, path: str = "") -> Any:
    """
    Show all flags, and let the users whom ``AUTHORIZE`` accepts set them.

    Include it by ``path("debug/flags/", include("dflag.integrations.django.urls"))``, or wrap it to restrict readers:
    ``re_path("^debug/flags/(?P<path>.*)$", staff_member_required(page))``.

    Args:
        request: The request.
        path: The part of the URL's path that follows the path of the page.

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
    Return the body; None if it is over the limit, and empty if it is incomplete or its length is not valid.
    """
    declared = request.META.get("CONTENT_LENGTH") or ""
    try:
        length = declared_length(declared) if declared else None
    except ValueError:
        return b""
    if length is not None and length > limit_bytes:
        return None
    if length is None and hasattr(request, "environ"):
        # Under WSGI Django treats a chunked body, which has no length, as empty.
        return read_body(request.environ, limit_bytes)
    body: bytes = request.read(limit_bytes + 1)
    if len(body) > limit_bytes:
        return None
    return body if length in (None, len(body)) else b""  # the client went away, but the part may look complete
