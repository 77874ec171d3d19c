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
    Have each request see one revision, from here to the end of its response.

    Put it first in ``MIDDLEWARE``, so that the others are pinned as well. It works under WSGI and ASGI, with views of
    either kind. The code that makes a streaming response runs while the server sends it, and sees the revision too.

    Raises:
        ImproperlyConfigured: The setting ``DFLAG`` cannot be used.

    Thread safety: any thread and event loop.
    """

    sync_capable: Final = True
    """As `async_capable`."""

    async_capable: Final = True
    """What Django asks of a middleware: it serves requests of both kinds."""

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
        # A file is left to the server, which sends it by system calls.
        if response.streaming and getattr(response, "file_to_stream", None) is None:
            _hold(response, pin)
        else:
            pin.close()
        return response


def _hold(response: Any, pin: RequestPin) -> None:
    """
    Hold a pin while a response is made, until it is closed.
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
