"""
One revision for a whole request, under WSGI (PEP 3333): Flask, Django, Pyramid, Bottle and others.

>>> import dflag
>>> flags = dflag.FlagRegistry()
>>> rate = flags.dyn_int("rate", 50)
>>> def app(environ, start_response):
...     start_response("200 OK", [])
...     yield str(rate.get()).encode()
...     rate.set(60)  # as an updater would, meanwhile
...     yield str(rate.get()).encode()
>>> body = PinMiddleware(app, flags)({}, lambda status, headers: None)
>>> list(body), rate.get()
([b'50', b'50'], 60)
>>> body.close()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dflag.integrations._pins import REVISION_HEADER, PinnedIterator, RequestPin, check_switch, store_to_pin

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from dflag._registry import RegistryLike

__all__ = ["PinMiddleware"]


def __dir__() -> list[str]:
    return __all__


class PinMiddleware:
    """
    Pin each request of a WSGI app to one revision, until the server closes the response.

    The code that makes a streamed body runs while the server iterates over it, and sees the revision of its request
    too. Between two parts of the body the server's own context has no pin. A file that the app passes to the server's
    ``wsgi.file_wrapper`` goes to the server unchanged, without a pin, so that the server can send it by system calls.

    Args:
        app: The app.
        registry: The registry, or a `dflag.Flags` class.
        revision_header: Whether responses have the number of their revision in the header ``X-Config-Revision``.

    Raises:
        ArgumentError: An argument has the wrong type.

    Thread safety: any thread; the thread that iterates over a response may differ from the one that called the app.
    """

    def __init__(self, app: WSGIApplication, registry: RegistryLike, *, revision_header: bool = False) -> None:
        self._app: Final = app
        self._store: Final = store_to_pin(registry)
        check_switch("revision_header", revision_header)
        self._revision_header: Final = revision_header

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        pin = RequestPin(self._store)
        if self._revision_header:
            start_response = _naming(start_response, pin.revision)
        try:
            body = pin.run(self._app, environ, start_response)
        except BaseException:
            pin.close()
            raise
        file_wrapper = environ.get("wsgi.file_wrapper")
        if isinstance(file_wrapper, type) and isinstance(body, file_wrapper):
            pin.close()
            return body
        return _SizedBody(body, pin) if hasattr(body, "__len__") else _Body(body, pin)


def _naming(start_response: StartResponse, revision: int) -> StartResponse:
    """
    Return a `start_response` that adds the revision to the headers.
    """

    def start_with_revision(
        status: str,
        headers: list[tuple[str, str]],
        exc_info: tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None] | None = None,
        /,
    ) -> Any:
        return start_response(status, [*headers, (REVISION_HEADER, str(revision))], exc_info)

    return start_with_revision


class _Body(PinnedIterator[bytes]):
    """
    The body of a response. The pin of its request is set while each part is made, and `close` ends the pin.
    """

    def close(self) -> None:
        close = getattr(self._items, "close", None)
        try:
            if close is not None:
                self._pin.run(close)
        finally:
            self._pin.close()


class _SizedBody(_Body):
    """
    A body whose number of parts is known. If it has only one part, servers send the length of the body.
    """

    def __len__(self) -> int:
        return len(self._items)  # type: ignore[arg-type]  # it has a length, or this class would not be used
