"""
OpenFeature's remote protocol (OFREP 0.3): it serves flags to browsers and to services in other languages.

This module is imported only if a program passes ``ofrep=True``.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

from dflag._evaluation import Evaluations, key_for
from dflag._faults import is_interrupt
from dflag._flags import pipeline_of
from dflag._fork import ForkFollower, follow_forks, settle
from dflag._formats import json_values
from dflag._formats.base import NotJSON
from dflag._formats.json import loads
from dflag._kinds._base import Problem
from dflag._log import logger
from dflag._snapshot import values_of
from dflag.errors import DefinitionError
from dflag.web import _setting
from dflag.web._http import JSON_TYPE, SECURITY_HEADERS, NeedsBody, Request, Response, Stream, is_json, matches
from dflag.web._listing import Representation, entity_tag
from dflag.web._streams import Streams

if TYPE_CHECKING:
    from collections.abc import Callable

    from dflag._evaluation import Evaluation, Generation
    from dflag._flags import Flag
    from dflag._registry import FlagRegistry
    from dflag._updater import Updater
    from dflag.web._http import Authorize

PREFIX: Final = "/ofrep/v1/"
_BULK: Final = PREFIX + "evaluate/flags"
_EVENTS: Final = PREFIX + "events"

_BODY_LIMIT_BYTES: Final = 2**18
"""Generous: a context has only a few attributes."""

_KEPT_FORMS: Final = 64
"""How many bulk answers are kept, one for each set of keys and mount; if no flag is keyed, keys make no difference."""

_PREFLIGHT_SECONDS: Final = 600
"""How long a browser may cache the answer to a preflight request: the longest time that all browsers accept."""

_HEADERS: Final = "authorization, content-type, if-none-match, x-api-key"
"""The headers that OFREP clients send, so that a preflight asks for them; other requested headers are allowed too."""

_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="dflag"'}

_ORIGIN: Final = re.compile(r"([a-z][a-z0-9+.-]*)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")
_HEADER_NAMES: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z, ]{1,1000}")
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}

# The protocol's schema lacks these reasons of OpenFeature; the answer contains these replacements.
_REASONS: Final = {"DEFAULT": "STATIC", "STALE": "STATIC"}


class _Key(NamedTuple):
    """
    The parts of a context on which some flags depend: texts, and for a value that is not a text its type.
    """

    targeting_key: str | None
    attributes: tuple[tuple[str, object], ...]


class _RefusedError(Exception):
    """
    A request or a flag is refused with an error code of the protocol.
    """

    def __init__(self, code: str, message: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(message)
        self.code: Final = code
        self.status: Final = status


class Ofrep(ForkFollower):
    """
    Answers the protocol's requests about one registry.

    Attributes:
        streams: The event streams that are open.

    Args:
        registry: The flags.
        updater: The updater of the flags; None if there is none.
        origins: The origins whose pages may read the answers.
        read_authorize: The function that decides who may read; None to allow every caller.
        max_streams: How many event streams may be open; 0 if the server cannot hold streams open.
        pass_on: A function that re-raises an exception if it is meant for the program that hosts the app.

    Raises:
        DefinitionError: An origin is not valid.

    Thread safety: any thread.
    """

    def __init__(
        self,
        registry: FlagRegistry,
        updater: Updater | None,
        *,
        origins: Iterable[str],
        read_authorize: Authorize | None,
        max_streams: int,
        pass_on: Callable[[BaseException], None],
    ) -> None:
        self._evaluations: Final = Evaluations(registry, updater, secrets=False)
        self._origins: Final = _checked_origins(origins)
        self._authorize: Final = read_authorize
        self._pass_on: Final = pass_on
        self.streams: Final = Streams(registry, self._evaluations.find, max_streams)
        # A browser cannot send a header for an event stream. So the bulk answer, which needs authorization, contains
        # this ticket for the stream.
        self._ticket: Final = secrets.token_urlsafe(16) if read_authorize is not None else ""
        self._has_streams: Final = max_streams > 0
        self._making = threading.Lock()
        self._forms: tuple[Generation, dict[tuple[object, ...], Representation]] | None = None
        follow_forks(self)

    def route(self, request: Request) -> Response | NeedsBody | Stream:
        """
        Answer a request below `PREFIX`, or ask for its body first. Raises what *pass_on* re-raises.
        """
        origin = self._allowed_origin(request)
        answer = self._route(request, origin)
        if isinstance(answer, NeedsBody):
            finish = answer.finish
            return NeedsBody(answer.limit_bytes, lambda body: self._for_origin(finish(body), origin))
        if isinstance(answer, Stream):
            return answer._replace(headers={**answer.headers, **self._origin_headers(origin)})
        return self._for_origin(answer, origin)

    def _route(self, request: Request, origin: str | None) -> Response | NeedsBody | Stream:
        is_stream = self._has_streams and request.path == _EVENTS
        if not is_stream and request.path != _BULK and not request.path.startswith(_BULK + "/"):
            return _answer(HTTPStatus.NOT_FOUND, {"errorDetails": "no such endpoint"})
        method = "GET" if is_stream else "POST"
        if request.method == "OPTIONS":
            return _preflight(request, method, is_allowed=origin is not None)
        if request.method != method:
            headers = {"Allow": f"{method}, OPTIONS"}
            return _answer(HTTPStatus.METHOD_NOT_ALLOWED, {"errorDetails": f"expected {method}"}, headers)
        if not self._is_reader(request, is_stream=is_stream):
            return _answer(HTTPStatus.UNAUTHORIZED, {"errorDetails": "not authorized to read flags"}, _CHALLENGE)
        return self._open_stream(request) if is_stream else _ask_for_body(request, self._finish)

    def _is_reader(self, request: Request, *, is_stream: bool) -> bool:
        if self._authorize is None:
            return True
        sent = request.query.removeprefix("ticket=").encode("utf-8", "replace")
        if is_stream and secrets.compare_digest(sent, self._ticket.encode()):
            return True
        return _setting.identify("read_authorize", self._authorize, request.headers, self._pass_on) is not None

    def _open_stream(self, request: Request) -> Response | Stream:
        subscription = self.streams.open(request.headers.get("last-event-id", ""))
        if subscription is None:
            headers = {"Retry-After": "5"}
            return _answer(HTTPStatus.SERVICE_UNAVAILABLE, {"errorDetails": "too many event streams"}, headers)
        headers = {
            **SECURITY_HEADERS,
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",  # otherwise nginx holds back events until its buffer is full
        }
        return Stream(headers, subscription)

    # --- evaluating

    def _finish(self, request: Request, body: bytes | None) -> Response:
        key = None if request.path == _BULK else request.path[len(_BULK) + 1 :]
        try:
            if body is None:
                message = f"expected a body of at most {_BODY_LIMIT_BYTES} bytes"
                raise _RefusedError("PARSE_ERROR", message, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            context = _context(body)
            return self._bulk(request, context) if key is None else self._single(key, context)
        except _RefusedError as error:
            return _failure(key, error)

    def _single(self, name: str, context: Mapping[str, Any]) -> Response:
        flag = self._evaluations.find(name)
        if flag is None:
            raise _RefusedError("FLAG_NOT_FOUND", f"no flag named {name[:253]!r}", HTTPStatus.NOT_FOUND)
        generation = self._evaluations.current()
        if not generation.holds(flag):
            generation = self._evaluations.now()
        return _answer(HTTPStatus.OK, _evaluated(generation, flag, context))

    def _bulk(self, request: Request, context: Mapping[str, Any]) -> Response:
        settle()
        generation = self._evaluations.current()
        form = self._form(generation, context, request.mount)
        caching = {"ETag": form.entity_tag}
        if matches(request.headers.get("if-none-match", ""), form.entity_tag):
            return Response(status=HTTPStatus.NOT_MODIFIED, headers={**SECURITY_HEADERS, **caching}, body=b"")
        return _respond(HTTPStatus.OK, form.body, caching)

    def _form(self, generation: Generation, context: Mapping[str, Any], mount: str) -> Representation:
        """
        Return a bulk answer, and make it if there is no current one.
        """
        place = (self._key(generation, context), mount)
        form = self._ready(generation, place)
        if form is None:
            with self._making:  # after a change, all clients ask at once
                form = self._ready(generation, place)
                if form is None:
                    form = self._make(generation, context, mount)
                    self._keep(generation, place, form)
        return form

    def _key(self, generation: Generation, context: Mapping[str, Any]) -> _Key | None:
        """
        Return the parts of a context on which the bulk answer depends; None if no flag is keyed.
        """
        names: tuple[str, ...] | None = generation.kept.get("names of keys")
        if names is None:
            names = tuple(sorted({flag.by for flag in values_of(generation.snapshot) if flag.by is not None}))
            generation.kept["names of keys"] = names
        if not names:
            return None
        given = [(name, context.get(name)) for name in names]
        attributes = [(name, value if isinstance(value, str) else type(value)) for name, value in given]
        return _Key(context.get("targetingKey"), tuple(attributes))

    def _ready(self, generation: Generation, place: tuple[object, ...]) -> Representation | None:
        forms = self._forms
        return forms[1].get(place) if forms is not None and forms[0] is generation else None

    def _keep(self, generation: Generation, place: tuple[object, ...], form: Representation) -> None:
        if self._forms is None or self._forms[0] is not generation:
            self._forms = (generation, {})
        kept = self._forms[1]
        while len(kept) >= _KEPT_FORMS:
            del kept[next(iter(kept))]
        kept[place] = form

    def _make(self, generation: Generation, context: Mapping[str, Any], mount: str) -> Representation:
        rows = []
        for flag in sorted(values_of(generation.snapshot), key=lambda flag: flag.name):
            if self._evaluations.shows(flag):
                try:
                    rows.append(_evaluated(generation, flag, context))
                except _RefusedError as error:
                    rows.append(_failed(flag.name, error))
        document: dict[str, Any] = {
            "flags": rows,
            "metadata": {"version": generation.checksum(), "revision": generation.snapshot.revision},
        }
        if self._has_streams:
            uri = quote(mount, errors="replace") + _EVENTS
            if self._ticket:
                uri += f"?ticket={self._ticket}"
            document["eventStreams"] = [{"type": "sse", "endpoint": {"requestUri": uri}}]
        body = _json(document)
        return Representation(body, entity_tag(body))

    # --- other origins

    def _allowed_origin(self, request: Request) -> str | None:
        origin = request.headers.get("origin")
        return origin if origin is not None and _plain_origin(origin) in self._origins else None

    def _origin_headers(self, origin: str | None) -> dict[str, str]:
        headers = {"Vary": "Origin"} if self._origins else {}
        if origin is not None:
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Expose-Headers"] = "ETag"
        return headers

    def _for_origin(self, response: Response, origin: str | None) -> Response:
        return replace(response, headers={**response.headers, **self._origin_headers(origin)})

    # --- forking

    def after_fork_in_child(self) -> None:
        self._making = threading.Lock()  # at the fork a thread may hold it, for as long as it makes an answer
        self.streams.abandon()


def _evaluated(generation: Generation, flag: Flag[Any], context: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return a flag's evaluation in the form of the protocol.

    Raises:
        _RefusedError: JSON cannot represent the value, or the key is not a text.
    """
    try:
        key = key_for(flag, context.get("targetingKey"), context)
    except TypeError as error:
        raise _RefusedError("INVALID_CONTEXT", str(error)) from None
    evaluation = generation.evaluate(flag, generation.match(flag, key))
    return {
        "key": flag.name,
        "value": _native(evaluation),
        "reason": _REASONS.get(evaluation.reason, evaluation.reason),
        "variant": evaluation.variant,
        "metadata": {**evaluation.metadata, "version": evaluation.metadata["checksum"]},
    }


def _native(evaluation: Evaluation) -> object:
    flag, value = evaluation.flag, _portable(evaluation)
    if value is None:
        raise _RefusedError("GENERAL", f"flag {flag.name!r}: its value, of the kind {flag.type_name}, has no type here")
    return value


def _portable(evaluation: Evaluation) -> object:
    """
    Return a value as JSON; None if JSON cannot represent it.
    """
    flag = evaluation.flag
    try:
        return json_values.freeze(pipeline_of(flag).kind.portable(evaluation.value))
    except (Problem, NotJSON):
        return None
    except BaseException as error:  # the program's code may raise any type
        if is_interrupt(error):
            raise
        # The log does not contain the message of the exception, which may quote a secret.
        logger.error("flag %r: cannot write its value as JSON: %s", flag.name, type(error).__name__)
        return None


def _context(body: bytes) -> Mapping[str, Any]:
    """
    Parse the context of a request's body; empty if there is none.

    Raises:
        _RefusedError: The body is not JSON, or does not have the form that the protocol specifies.
    """
    try:
        given = loads(body.decode()) if body else {}
    except UnicodeDecodeError:
        raise _RefusedError("PARSE_ERROR", "the body is not UTF-8") from None
    except NotJSON as error:
        raise _RefusedError("PARSE_ERROR", f"the body: {error}") from None
    if not isinstance(given, dict):
        raise _RefusedError("PARSE_ERROR", "the body: expected an object")
    context = given.get("context")
    if context is None:
        return {}
    if not isinstance(context, dict):
        raise _RefusedError("INVALID_CONTEXT", "context: expected an object")
    if not isinstance(context.get("targetingKey"), str | None):
        raise _RefusedError("INVALID_CONTEXT", "context.targetingKey: expected a text")
    return context


def _checked_origins(origins: Iterable[str]) -> frozenset[str]:
    """
    Return origins in the form that browsers send.

    Raises:
        DefinitionError: An origin is not valid.
    """
    given: object = origins
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise DefinitionError(f"expected origins as several texts such as 'https://shop.example', got {given!r}")
    found = set()
    for origin in given:
        plain = _plain_origin(origin) if isinstance(origin, str) else None
        if plain is None:
            raise DefinitionError(f"expected an origin as scheme://host or scheme://host:port, got {origin!r}")
        found.add(plain)
    return frozenset(found)


def _plain_origin(text: str) -> str | None:
    """
    Return an origin without the default port of its scheme; None if the text is not an origin.
    """
    matched = _ORIGIN.fullmatch(text.lower())
    if matched is None:
        return None
    scheme, host, port = matched.groups()
    if port is not None and int(port) > 65_535:
        return None
    return f"{scheme}://{host}" if port in (None, _DEFAULT_PORTS.get(scheme)) else f"{scheme}://{host}:{int(port)}"


def _ask_for_body(request: Request, finish: Callable[[Request, bytes | None], Response]) -> Response | NeedsBody:
    """
    Ask for the body, but refuse a declared type other than JSON: other origins could send it without a preflight.
    """
    content_type = request.headers.get("content-type")
    if content_type and not is_json(content_type):
        message = f"expected Content-Type: {JSON_TYPE}"
        return _failure(None, _RefusedError("PARSE_ERROR", message, HTTPStatus.UNSUPPORTED_MEDIA_TYPE))
    return NeedsBody(_BODY_LIMIT_BYTES, lambda body: finish(request, body))


def _preflight(request: Request, method: str, *, is_allowed: bool) -> Response:
    headers = {**SECURITY_HEADERS, "Allow": f"{method}, OPTIONS"}
    if is_allowed:
        asked = request.headers.get("access-control-request-headers", "")
        allowed = f"{_HEADERS}, {asked}" if _HEADER_NAMES.fullmatch(asked) else _HEADERS
        headers["Access-Control-Allow-Methods"] = method
        headers["Access-Control-Allow-Headers"] = allowed
        headers["Access-Control-Max-Age"] = str(_PREFLIGHT_SECONDS)
    return Response(status=HTTPStatus.NO_CONTENT, headers=headers, body=b"")


def _failed(key: str | None, error: _RefusedError) -> dict[str, Any]:
    named = {} if key is None else {"key": key}
    return {**named, "errorCode": error.code, "errorDetails": str(error)}


def _failure(key: str | None, error: _RefusedError) -> Response:
    return _answer(error.status, _failed(key, error))


def _answer(status: HTTPStatus, document: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    return _respond(status, _json(document), headers)


def _respond(status: HTTPStatus, body: bytes, headers: Mapping[str, str] | None = None) -> Response:
    sent = {"Content-Type": JSON_TYPE, "Content-Length": str(len(body)), **SECURITY_HEADERS, **(headers or {})}
    return Response(status=status, headers=sent, body=body)


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, allow_nan=False, separators=(",", ":")).encode() + b"\n"
