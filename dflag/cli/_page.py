"""
The page of a running process: what it says that is live there, and what a key has.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dflag._flags import pipeline_of
from dflag._keyed import draw
from dflag._rules import threshold
from dflag.cli._errors import CommandError
from dflag.cli._items import Item, Object
from dflag.errors import MASK, FlagValueError, one_line

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from dflag._flags import Flag
    from dflag._registry import FlagRegistry

_TIMEOUT_SECONDS: Final = 10.0
_MAX_BYTES: Final = 64 * 2**20
"""More than any page lists; the server at the URL must not fill the memory."""


class Unknown(Exception):  # noqa: N818 - an answer, which the plan prints
    """
    The page does not say what a key has.
    """


class LivePage(NamedTuple):
    """
    What a page says.

    Attributes:
        url: Where it is.
        object: The values for no key, as a source would give them; without those that are masked there.
        listed: What it says about each of these flags, by name.
        masked: The flags whose values it does not say.
    """

    url: str
    object: Object
    listed: Mapping[str, Mapping[str, Any]]
    masked: Collection[str]

    def value_for(self, flag: Flag[Any], key: str, otherwise: Any) -> Any:
        """
        Return what a key has there of a keyed flag.

        Args:
            flag: The flag.
            key: The key.
            otherwise: The value for no key.

        Raises:
            Unknown: The process has an older dflag, a rule names more keys than are listed, or adds keys to a map, or
                the flag here refuses the value.
        """
        entry = self.listed.get(flag.name)
        if entry is None or ("by" in entry and entry["by"] is None):
            return otherwise  # it is not keyed there, or another version has no such flag
        given = entry.get("keyed")
        if not isinstance(given, list) or entry.get("by") != flag.by:
            raise Unknown
        if (text := _text_for(given, key)) is None:
            return otherwise
        try:
            return pipeline_of(flag).read(flag.name, _raw(flag, text), "")
        except FlagValueError as error:  # another version's
            raise Unknown from error


def read_page(registry: FlagRegistry, url: str) -> LivePage:
    """
    Read the values of a running process.

    Raises:
        CommandError: It cannot be read, is no page, or lists some flags only.
    """
    items, listed, masked = {}, {}, set()
    for entry in _fetch(url):
        name, text = entry.get("name"), entry.get("current_value")
        if not isinstance(name, str) or name not in registry:
            continue
        if text == MASK:
            masked.add(name)
            continue
        items[name] = Item(_raw(registry[name], text if isinstance(text, str) else json.dumps(text)), url)
        listed[name] = entry
    return LivePage(url, Object("page", url, items), listed, masked)


def _text_for(given: Sequence[Any], key: str) -> str | None:
    """
    Return the text that the first rule which fits gives to a key; None when none does.

    Raises:
        Unknown: It is not among the keys that are listed, and there are more; or the rule gives a part of the value.
    """
    try:
        for each in given:
            keys, percent = each["keys"], each["share_percent"]
            if percent is not None and draw(each["rule"], key) >= threshold(percent):
                continue
            if keys is None or key in keys:
                if each.get("adds"):
                    raise Unknown
                return str(each["text"])
            if len(keys) < each["key_count"]:
                raise Unknown
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise Unknown from error  # another version's
    return None


def _raw(flag: Flag[Any], text: str) -> str | bytes:
    if not pipeline_of(flag).kind.binary:
        return text
    try:
        value: bytes = pipeline_of(flag).read(flag.name, text, "", encoded=True)
    except FlagValueError:
        return text
    return value


def _fetch(url: str) -> list[dict[str, Any]]:
    page = _load(url)
    found = page.get("flags") if isinstance(page, dict) else None
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise CommandError(f"{url}: expected the JSON of a debug page, with a list of flags")
    count = page.get("flag_count", len(found))  # which Go's page does not say
    if count != len(found):
        raise CommandError(f"{url}: expected a listing of all {count} flags, got {len(found)}: leave filters out")
    return found


def _load(url: str) -> Any:
    from http.client import HTTPException
    from urllib.request import Request, urlopen

    try:
        request = Request(url, headers={"Accept": "application/json"})  # noqa: S310 - http or https, as was seen
        with urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310 - as above
            return json.loads(answer.read(_MAX_BYTES))
    except HTTPException as error:  # its text alone may be a line of the answer, or nothing
        raise _unreadable(url, f"{type(error).__name__}: {error}") from error
    except RecursionError as error:  # the server at the URL may nest as it likes
        raise _unreadable(url, "expected JSON that is less deeply nested") from error
    except (OSError, ValueError) as error:
        raise _unreadable(url, str(error)) from error


def _unreadable(url: str, reason: str) -> CommandError:
    return CommandError(f"{url}: cannot be read: {one_line(reason)}")
