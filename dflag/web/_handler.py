"""
The request handler, which maps a request to a response and is the same for all servers.
"""

from __future__ import annotations

import html
import json
import math
import os
import threading
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from importlib import resources
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import parse_qsl, quote

from dflag._faults import is_coroutine_function, place_of
from dflag._log import logger
from dflag._read_counts import count_reads, read_counts
from dflag._registry import registry_of
from dflag.errors import DefinitionError, FlagValueError, check_argument, printable
from dflag.web import _setting
from dflag.web._http import (
    HTML_TYPE,
    JSON_TYPE,
    SECURITY_HEADERS,
    NeedsBody,
    Request,
    Response,
    Stream,
    is_cross_origin,
    is_json,
    matches,
    prefers_html,
)
from dflag.web._listing import Listings, Query, Representation, entity_tag, instance, moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from dflag._registry import RegistryLike
    from dflag._updater import Updater
    from dflag.web._http import Authorize
    from dflag.web._ofrep import Ofrep

T = TypeVar("T")
R = TypeVar("R")

_CSS: Final = "text/css; charset=utf-8"
_JS: Final = "text/javascript; charset=utf-8"
_SVG: Final = "image/svg+xml; charset=utf-8"
_SCRIPTS: Final = (
    *("page", "page_base", "page_diff", "page_fields", "page_history", "page_json", "page_process", "page_reads"),
    *("page_row", "page_setting", "page_status", "page_view"),
)
_STATIC_FILES: Final = {
    "/static/page.css": ("page.css", _CSS),
    "/static/page.svg": ("page.svg", _SVG),
    **{f"/static/{name}.js": (f"{name}.js", _JS) for name in _SCRIPTS},
}
"""All files that are served: a path is looked up here, and never joined to a directory."""

_PACKAGE: Final = resources.files("dflag.web")

COUNTING_SECONDS: Final = 60
"""How long reads are counted: a minute shows the usual traffic of a service. Meanwhile a read costs a little more."""

_MAX_QUERY_FIELDS: Final = 32
_MAX_PATTERN_CHARACTERS: Final = 1_000
"""Well above the 253 characters that a name can have."""


class Handler:
    """
    Answers requests about one registry.

    Thread safety: any thread; validators run on the thread that calls `NeedsBody.finish`.
    """

    def __init__(
        self,
        registry: RegistryLike,
        updater: Updater | None,
        *,
        authorize: Authorize | None,
        title: str | None,
        hosted: bool = False,
        ofrep: bool = False,
        origins: Iterable[str] = (),
        read_authorize: Authorize | None = None,
        max_streams: int = 0,
    ) -> None:
        home = registry_of(registry)
        if updater is not None:
            from dflag._updater import check_updater_of  # already imported by the program that made the updater

            check_updater_of(updater, home)
        check_authorize("authorize", authorize)
        check_authorize("read_authorize", read_authorize)
        check_argument("ofrep", ofrep, bool, "True or False")
        if not ofrep and (origins or read_authorize is not None):
            raise DefinitionError("origins and read_authorize need ofrep=True: the page does not use them")
        if not isinstance(title, str | None):
            raise DefinitionError(f"expected a text as title, got {type(title).__name__}")
        self._registry: Final = home
        self._hosted: Final = hosted
        self._authorize: Final = authorize
        shown = home.name or "dflag" if title is None else title
        self._listings: Final = Listings(home, updater, title=shown, settable=authorize is not None)
        self._page: Final = (_PACKAGE / "page.html").read_text("utf-8")
        self._title: Final = html.escape(shown)
        self._files: Final = {path: _static(name, kind) for path, (name, kind) in _STATIC_FILES.items()}
        self._ofrep: Ofrep | None = None
        if ofrep:
            from dflag.web._ofrep import Ofrep  # imported here, because few programs use it

            self._ofrep = Ofrep(
                home,
                updater,
                origins=origins,
                read_authorize=read_authorize,
                max_streams=max_streams,
                pass_on=self._pass_on,
            )

    def close_streams(self) -> None:
        """
        End the open event streams, because the server stops.
        """
        if self._ofrep is not None:
            self._ofrep.streams.close()

    def handle(self, request: Request) -> Response | NeedsBody | Stream:
        """
        Answer a request, or ask for its body first. Never raises.
        """
        answer = self._answer(request, at_once=False)
        assert answer is not None  # noqa: S101 - None is only possible with at_once
        return answer

    def handle_at_once(self, request: Request) -> Response | None:
        """
        Answer a request if that takes microseconds and runs no code of the program; else return None. Never raises.
        """
        answer = self._answer(request, at_once=True)
        return answer if isinstance(answer, Response) else None

    def _answer(self, request: Request, *, at_once: bool) -> Response | NeedsBody | Stream | None:
        answer = self._guarded(partial(self._route, at_once=at_once), request)
        if isinstance(answer, NeedsBody):
            return NeedsBody(answer.limit_bytes, partial(self._guarded, answer.finish))
        if request.method == "HEAD" and isinstance(answer, Response):
            return replace(answer, body=b"")
        return answer

    def _guarded(self, function: Callable[[T], R], given: T) -> R | Response:
        """
        Return the result of a function, or an error response if it raises.
        """
        try:
            return function(given)
        except BaseException as error:  # a thread of the server has no caller that could handle it
            self._pass_on(error)
            return _fault(error)

    def _route(self, request: Request, *, at_once: bool) -> Response | NeedsBody | Stream | None:
        if self._ofrep is not None and request.path.startswith("/ofrep/"):
            return None if at_once else self._ofrep.route(request)
        return self._route_page(request, at_once=at_once)

    def _route_page(self, request: Request, *, at_once: bool) -> Response | NeedsBody | None:
        if request.path == "/set":
            allowed: tuple[str, ...] = ("POST",)
        elif request.path == "/reads":
            allowed = ("GET", "HEAD", "POST")
        elif request.path in ("", "/", *self._files):
            allowed = ("GET", "HEAD")
        else:
            return _refuse(HTTPStatus.NOT_FOUND, "no such page")
        if request.method not in allowed:
            methods = ", ".join(allowed)
            return _refuse(HTTPStatus.METHOD_NOT_ALLOWED, f"expected {methods}", {"Allow": methods})
        if request.method == "POST":
            finish = self._set if request.path == "/set" else self._count
            return None if at_once else self._admit(request, finish)
        if request.path == "/reads":
            return self._show_reads()
        if request.path in self._files:
            kind, found = self._files[request.path]
            return _serve(request, found, kind)
        return self._show(request, at_once=at_once)

    # --- showing

    def _show(self, request: Request, *, at_once: bool) -> Response | None:
        try:
            fields = _fields(request.query)
        except ValueError:
            return _refuse(HTTPStatus.BAD_REQUEST, "the query has too many fields")
        base = _base(request)
        form = fields.get("format")
        if form == "html" or (form != "json" and prefers_html(request.headers.get("accept", ""))):
            # The title is replaced last, because it may contain any text, also "{base}".
            text = self._page.replace("{base}", html.escape(base)).replace("{title}", self._title)
            body = text.encode("utf-8", "replace")
            return _serve(request, Representation(body, entity_tag(body)), f"{HTML_TYPE}; charset=utf-8")
        pattern = fields.get("name", "")
        if len(pattern) > _MAX_PATTERN_CHARACTERS:
            return _refuse(HTTPStatus.BAD_REQUEST, f"name: expected at most {_MAX_PATTERN_CHARACTERS} characters")
        query = Query(fields.get("type", ""), bool(fields.get("only_changed")), pattern, base)
        listing = self._listings.ready(query)
        if listing is None:
            if at_once:
                return None
            listing = self._listings.make(query)
        return _serve(request, listing, JSON_TYPE)

    # --- setting

    def _admit(self, request: Request, finish: Callable[[bytes, str], Response]) -> Response | NeedsBody:
        """
        Check a request by its headers, so that a refused caller learns nothing about flags, and its body is not read.
        """
        headers = request.headers
        if self._authorize is None:
            return _refuse(HTTPStatus.FORBIDDEN, "setting flags is off: the program passes no authorize")
        if is_cross_origin(headers):
            return _refuse(HTTPStatus.FORBIDDEN, "a page of another origin may not set flags")
        who = _setting.identify("authorize", self._authorize, headers, self._pass_on)
        if who is None:
            logger.info("a request to set a flag was refused: not authorized")
            challenge = {"WWW-Authenticate": 'Bearer realm="dflag"'}
            return _refuse(HTTPStatus.UNAUTHORIZED, "not authorized to set flags", challenge)
        if not is_json(headers.get("content-type", "")):
            return _refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"expected Content-Type: {JSON_TYPE}")
        return NeedsBody(_setting.BODY_LIMIT_BYTES, lambda body: self._finish(body, who, finish))

    def _finish(self, body: bytes | None, who: str, finish: Callable[[bytes, str], Response]) -> Response:
        if body is None:
            return _refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected a body of at most {_setting.BODY_LIMIT_BYTES} bytes"
            )
        return finish(body, who)

    def _pass_on(self, error: BaseException) -> None:
        """
        Re-raise an exception that is meant for the hosting program: `KeyboardInterrupt` or `SystemExit` on the main
        thread, usually from a signal handler.
        """
        on_main = threading.current_thread() is threading.main_thread()
        if self._hosted and on_main and isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise error

    def _set(self, body: bytes, who: str) -> Response:
        try:
            setting = _setting.read(body)
        except _setting.Malformed as error:
            return _refuse(HTTPStatus.BAD_REQUEST, str(error))
        try:
            flag = self._registry[setting.name]
        except LookupError:
            return _refuse(HTTPStatus.NOT_FOUND, f"no flag named {setting.name[:253]!r}")
        if not flag.dynamic:
            return _refuse(HTTPStatus.CONFLICT, f"flag {flag.name!r} is static: it changes only at a restart")
        candidate = {}
        try:
            if setting.dry_run:
                candidate["candidate"] = _setting.dry_run(flag, setting)
            else:
                _setting.carry_out(flag, setting, who)
        except FlagValueError as error:
            return _refuse(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        return _respond(HTTPStatus.OK, JSON_TYPE, _json_body({**self._listings.flag(flag), **candidate}))

    # --- counting reads

    def _count(self, _: bytes, who: str) -> Response:
        logger.info("counting the reads of flags for %d s, asked for by %s", COUNTING_SECONDS, printable(who))
        count_reads(COUNTING_SECONDS)
        return self._show_reads()

    def _show_reads(self) -> Response:
        found = read_counts(self._registry)
        shown = {
            "process": os.getpid(),
            "instance": instance(),
            "started_at": None if found is None else moment(found.started_at),
            "seconds_left": 0 if found is None else math.ceil(found.seconds_left),
            "reads": {} if found is None else {flag.name: count for flag, count in found.reads.items()},
        }
        return _respond(HTTPStatus.OK, JSON_TYPE, _json_body(shown), {"Cache-Control": "no-store"})


def check_authorize(name: str, given: object) -> None:
    """
    Raise `DefinitionError` unless an argument is None or a function that can decide about a request.
    """
    if given is not None and (not callable(given) or is_coroutine_function(given)):
        # The message does not contain the argument: it may be a token that was passed by mistake.
        what = "a coroutine function" if callable(given) else type(given).__name__
        raise DefinitionError(f"expected a plain function as {name}, got {what}")


def _base(request: Request) -> str:
    """
    Return the prefix of relative links: ``flags/`` if the URL is ``/debug/flags``, empty if it is ``/debug/flags/``.
    """
    return "" if request.path else quote(request.mount.rpartition("/")[2], safe="", errors="replace") + "/"


def _fields(query: str) -> dict[str, str]:
    """
    Parse a query; if it has several fields with one name, the first one counts, as in Go.

    Raises:
        ValueError: The query has more than 32 fields.
    """
    fields: dict[str, str] = {}
    for key, value in parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_QUERY_FIELDS):
        fields.setdefault(key, value)
    return fields


def _static(name: str, kind: str) -> tuple[str, Representation]:
    body = (_PACKAGE / name).read_bytes()
    return kind, Representation(body, entity_tag(body))


def _serve(request: Request, found: Representation, content_type: str) -> Response:
    caching = {"ETag": found.entity_tag, "Vary": "Accept"}
    if matches(request.headers.get("if-none-match", ""), found.entity_tag):
        return Response(status=HTTPStatus.NOT_MODIFIED, headers={**SECURITY_HEADERS, **caching}, body=b"")
    return _respond(HTTPStatus.OK, content_type, found.body, caching)


def _refuse(status: HTTPStatus, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return _respond(status, JSON_TYPE, _json_body({"error": message}), headers)


def _respond(status: HTTPStatus, content_type: str, body: bytes, headers: Mapping[str, str] | None = None) -> Response:
    sent = {"Content-Type": content_type, "Content-Length": str(len(body)), **SECURITY_HEADERS, **(headers or {})}
    return Response(status=status, headers=sent, body=body)


def _json_body(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _fault(error: BaseException) -> Response:
    # The log does not contain the traceback, because the message of the exception may quote a secret.
    logger.error("a request failed: %s", place_of(error))
    return _refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error; see the log")
