"""
One revision for a whole request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from asgiref.sync import iscoroutinefunction, markcoroutinefunction

from dflag.integrations._pins import REVISION_HEADER, PinnedAsyncIterator, PinnedIterator, RequestPin, store_to_pin
from dflag.integrations.django._configuration import configuration

if TYPE_CHECKING:
    from collections.abc import Callable


class PinMiddleware:
    """
    Pin each request to one revision, from this middleware to the end of its response.

    Put it first in ``MIDDLEWARE``, so that the others are pinned as well. It works under WSGI and ASGI, with
    synchronous and asynchronous views. The code that makes a streaming response runs while the server sends the
    response, and sees the same revision.

    Raises:
        ImproperlyConfigured: The setting ``DFLAG`` cannot be used.

    Thread safety: any thread and event loop.
    """

    sync_capable: Final = True
    """Whether the middleware serves synchronous requests; read by Django."""

    async_capable: Final = True
    """Whether the middleware serves asynchronous requests; read by Django."""

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        configured = configuration()
        self._get_response: Final = get_response
        self._store: Final = store_to_pin(configured.registry)
        self._revision_header: Final = configured.revision_header
        self._is_async: Final[bool] = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        if self._is_async:
            return self._respond(request)
        pin = RequestPin(self._store)
        try:
            return self._finish(pin.run(self._get_response, request), pin)
        except BaseException:
            pin.close()
            raise

    async def _respond(self, request: Any) -> Any:
        pin = RequestPin(self._store)
        try:
            with pin:
                response = await self._get_response(request)
            return self._finish(response, pin)
        except BaseException:
            pin.close()
            raise

    def _finish(self, response: Any, pin: RequestPin) -> Any:
        if self._revision_header:
            response.headers[REVISION_HEADER] = str(pin.revision)
        # A file goes to the server unchanged, so that the server can send it by system calls.
        if response.streaming and getattr(response, "file_to_stream", None) is None:
            _hold(response, pin)
        else:
            pin.close()
        return response


def _hold(response: Any, pin: RequestPin) -> None:
    """
    Set the pin while the parts of a response are made, and close the pin when the response is closed.
    """
    close = response.close

    def close_all() -> None:
        try:
            pin.run(close)
        finally:
            pin.close()

    content = response.streaming_content
    pinned = PinnedAsyncIterator if response.is_async else PinnedIterator
    response.streaming_content = pinned(content, pin)
    response.close = close_all
