"""
Setting a flag over HTTP: who may set flags, what a request may contain, and how the change is recorded.
"""

from __future__ import annotations

import hmac
import re
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dflag._faults import is_unawaited
from dflag._flags import pipeline_of
from dflag._formats.base import NotJSON
from dflag._formats.json import loads
from dflag._layers import OVERRIDE, Entry
from dflag._log import logger
from dflag._snapshot import store_of
from dflag.errors import DefinitionError, printable
from dflag.web._listing import moment, show_value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dflag._flags import Flag
    from dflag.web._http import Authorize

BODY_LIMIT_BYTES: Final = 2**20 + 2**12
"""The size limit of a ConfigMap, 1 MiB, plus some room for the rest of the body."""

MAX_TTL_SECONDS: Final = 366 * 86_400
"""A year: a value that should last longer belongs in a source."""

MAX_REASON_CHARACTERS: Final = 1_000
"""Enough for a sentence and a link. The limit is low because the history keeps the reason."""

_TOKEN: Final = re.compile(r"[!-~]+")
_CREDENTIALS: Final = re.compile(r"bearer +([!-~]+) *", re.IGNORECASE)
_KEYS: Final = frozenset({"name", "value", "reason", "ttl_seconds", "dry_run"})


class Malformed(ValueError):  # noqa: N818 - an answer to the client, not an error of the program
    """
    The body of a request to set a flag is not valid.
    """


class SetRequest(NamedTuple):
    """
    The parsed body of a request to set a flag.

    Attributes:
        name: The name of the flag.
        text: The value; None to drop the override.
        reason: The reason for the change; empty if the body has none.
        ttl_seconds: How long the override lasts; None for no limit.
        dry_run: Whether to only check the value and change nothing.
    """

    name: str
    text: str | None
    reason: str
    ttl_seconds: float | None
    dry_run: bool = False


def bearer_token(token: str, name: str) -> Authorize:
    """
    Make an ``authorize`` that accepts requests with the header ``Authorization: Bearer <token>``.

    Tokens are compared in constant time. Make the token from 32 random bytes (``secrets.token_urlsafe()``), keep it in
    a Secret, and send it only over TLS.

    Args:
        token: The secret, in visible ASCII characters.
        name: The name of the caller, for the history and the log.

    Raises:
        DefinitionError: *token* or *name* is not a text or is empty, or *token* contains other characters.

    Thread safety: any thread.

    >>> authorize = bearer_token("s3cr3t", "alice")
    >>> authorize({"authorization": "Bearer s3cr3t"})
    'alice'
    >>> authorize({}) is None
    True
    """
    # The messages do not contain the arguments: a token that was passed in the wrong place is still a secret.
    given: tuple[object, object] = (token, name)
    if not all(isinstance(each, str) for each in given):
        raise DefinitionError("expected a token and a name as texts")
    if not _TOKEN.fullmatch(token):
        raise DefinitionError("expected a token of visible ASCII characters")
    if not name:
        raise DefinitionError("expected a name for the owner of the token")
    expected = token.encode()

    def authorize(headers: Mapping[str, str]) -> str | None:
        given = _CREDENTIALS.fullmatch(headers.get("authorization", ""))
        sent = given[1].encode() if given else b""
        return name if hmac.compare_digest(sent, expected) else None

    return authorize


def identify(
    option: str, authorize: Authorize, headers: Mapping[str, str], pass_on: Callable[[BaseException], None]
) -> str | None:
    """
    Return the caller's name, or None to refuse the caller: only a non-empty text as a name grants access.

    Args:
        option: The name of the option through which the program passed *authorize*.
        authorize: The function that checks the caller.
        headers: The headers of the request.
        pass_on: A function that re-raises an exception if it is meant for the program that hosts the app.
    """
    try:
        who: object = authorize(headers)
    except BaseException as error:  # any exception refuses the caller
        pass_on(error)
        # The log does not contain the message of the exception, which may quote a credential.
        logger.error("%s raised %s; the request was refused", option, type(error).__name__)
        return None
    if who is None:
        return None
    if isinstance(who, str) and who:
        return str.__str__(who)  # a plain str: a subclass may run any code when it is printed
    # `is_unawaited` also closes a coroutine, because nothing awaits it.
    what = "an awaitable" if is_unawaited(who) else "an empty text" if isinstance(who, str) else type(who).__name__
    logger.error("%s should return a name or None, not %s; the request was refused", option, what)
    return None


def read(body: bytes) -> SetRequest:
    """
    Parse a body.

    Raises:
        Malformed: The body is not valid; the message says why.
    """
    try:
        given = loads(body.decode())
    except UnicodeDecodeError:
        raise Malformed("the body is not UTF-8") from None
    except NotJSON as error:
        raise Malformed(f"the body: {error}") from None
    if not isinstance(given, dict):
        raise Malformed("the body: expected an object")
    unknown = sorted(given.keys() - _KEYS)
    if unknown:
        raise Malformed(f"the body: unknown key {unknown[0][:80]!r}; expected {', '.join(sorted(_KEYS))}")
    if "value" not in given:
        raise Malformed("value: expected a text, or null to drop the override")
    setting = SetRequest(
        name=_text(given, "name"),
        text=None if given["value"] is None else _text(given, "value"),
        reason="" if given.get("reason") is None else _text(given, "reason"),
        ttl_seconds=_ttl(given.get("ttl_seconds")),
        dry_run=_bool(given, "dry_run"),
    )
    if len(setting.reason) > MAX_REASON_CHARACTERS:
        raise Malformed(f"reason: expected at most {MAX_REASON_CHARACTERS} characters")
    if setting.text is None and setting.ttl_seconds is not None:
        raise Malformed("ttl_seconds: expected none where an override is dropped")
    return setting


def carry_out(flag: Flag[Any], setting: SetRequest, who: str) -> None:
    """
    Set or drop the override, and record who did it, why, and until when it lasts.

    Raises:
        FlagValueError: The value is refused.
    """
    reason = printable(f"{who}: {setting.reason}" if setting.reason else who)
    if setting.ttl_seconds is not None:
        reason += f" (until {moment(time.time() + setting.ttl_seconds)})"
    if setting.text is None:
        store_of(flag).reset(flag, reason=reason)
    else:
        flag.set_text(setting.text, ttl_seconds=setting.ttl_seconds, reason=reason)


def dry_run(flag: Flag[Any], setting: SetRequest) -> str:
    """
    Run all checks of `carry_out`, change nothing, and return the value that the flag would have, as a listing shows it.

    Raises:
        FlagValueError: The value is refused.
    """
    entry = None
    if setting.text is not None:
        entry = Entry(pipeline_of(flag).read(flag.name, setting.text, OVERRIDE, encoded=True))
    store, edits = store_of(flag), [(flag, OVERRIDE, entry)]
    transaction = store.plan(edits)
    if entry is not None:  # `carry_out` does not check the dropping of an override either
        store.check_edits(transaction, edits)
    return show_value(flag, transaction.snapshot[flag])


def _bool(given: Mapping[str, Any], key: str) -> bool:
    value = given.get(key, False)
    if not isinstance(value, bool):
        raise Malformed(f"{key}: expected true or false")
    return value


def _text(given: Mapping[str, Any], key: str) -> str:
    value = given.get(key)
    if not isinstance(value, str):
        raise Malformed(f"{key}: expected a text")
    return value


def _ttl(given: object) -> float | None:
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 < given <= MAX_TTL_SECONDS:
        raise Malformed(f"ttl_seconds: expected a number above 0, and at most {MAX_TTL_SECONDS}")
    return given
