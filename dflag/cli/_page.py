"""
The page of a running process: the values that it shows as live, also those of single keys.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from dflag._flags import pipeline_of
from dflag._formats import json as json_format
from dflag._formats.base import NotJSON
from dflag._formats.json_values import dumps
from dflag._keyed import draw
from dflag._layers import Entry
from dflag._raw import Unreadable
from dflag._rules import threshold
from dflag._source_state import Plain, Reading, SourceState
from dflag.cli._errors import CommandError
from dflag.errors import MASK, FlagValueError, one_line

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from dflag._flags import Flag
    from dflag._registry import FlagRegistry

_TIMEOUT_SECONDS: Final = 10.0
_MAX_BYTES: Final = 64 * 2**20
"""More than any page lists, so that the server at the URL cannot fill the memory."""


_PRINTED: Final = Unreadable("it is printed on a page")
"""Stands for the text of a source, which a page does not show. It equals no text of an input."""


class Unknown(Exception):  # noqa: N818 - an answer, which the plan prints
    """
    The live value of a flag is not known.

    Attributes:
        reason: Why, in words that stand between the name of the page or INPUT and the names of flags.
    """

    reason: ClassVar[str] = "does not say what the key has there of"


class Refused(Unknown):
    """
    The flag here refuses the live value, which may come from another version of the program.
    """

    reason = "has a value that is refused here of"


class LivePage(NamedTuple):
    """
    The contents of a page.

    Attributes:
        state: The values for no key, as the state of a source; values that are not known are left out.
        listed: The entry of each flag whose value it shows, by name.
        masked: The flags whose values it masks.
    """

    state: SourceState
    listed: Mapping[str, Mapping[str, Any]]
    masked: Collection[str]

    def value_for(self, flag: Flag[Any], key: str | None, new: Any) -> Any:
        """
        Return the value of a flag in that process; *new* if the page shows no difference from it.

        Args:
            flag: The flag.
            key: The key of a keyed flag; None for the value of no key.
            new: The value to compare with.

        Raises:
            Unknown: The process has an older dflag or another ``by``, a rule names more keys than are listed, or a rule
                adds keys to a map.
            Refused: The flag here refuses the value.
        """
        if flag.name in self.masked:
            return new
        entry = self.listed.get(flag.name)
        if entry is None:  # the other version of the program has no such flag
            return flag.default
        text = _text_in(entry) if key is None else _text_for(flag, entry, key)
        # A printed text may hide a part of the value, or be one that the flag cannot read.
        return new if _compact(flag, text) == pipeline_of(flag).kind.format(new) else _read(flag, text)


def read_page(registry: FlagRegistry, url: str) -> LivePage:
    """
    Read the values of a running process.

    Raises:
        CommandError: The URL cannot be read, is not a page, or lists only some of the flags.
    """
    known = {entry["name"]: entry for entry in _fetch(url) if _is_name_in(registry, entry.get("name"))}
    masked = {name for name, entry in known.items() if entry.get("current_value") == MASK}
    listed = {name: entry for name, entry in known.items() if name not in masked}
    return LivePage(_state(registry, listed), listed, masked)


def _is_name_in(registry: FlagRegistry, name: object) -> bool:
    return isinstance(name, str) and name in registry


def _state(registry: FlagRegistry, listed: Mapping[str, Mapping[str, Any]]) -> SourceState:
    entries = {}
    for name, entry in listed.items():
        with suppress(Refused):
            entries[name] = Entry(_read(registry[name], _text_in(entry)))
    reading = Reading(dict.fromkeys(listed, _PRINTED), lambda _: "")
    return SourceState(reading, entries=entries, plain=Plain(entries))


def _read(flag: Flag[Any], text: str) -> Any:
    """
    Return the value of a printed text.

    Raises:
        Refused: The flag here refuses it.
    """
    pipeline = pipeline_of(flag).for_printed()
    for encoded in (True, False) if pipeline.kind.binary else (True,):
        with suppress(FlagValueError):
            return pipeline.read(flag.name, text, "", encoded=encoded)
    raise Refused


def _compact(flag: Flag[Any], text: str) -> str:
    """
    Return a text in the form that its kind prints; a page spreads JSON over several lines.
    """
    if not pipeline_of(flag).kind.is_json:
        return text
    try:
        return dumps(json_format.loads(text))
    except NotJSON:
        return text


def _text_in(entry: Mapping[str, Any]) -> str:
    text = entry.get("current_value")
    return text if isinstance(text, str) else json.dumps(text)


def _text_for(flag: Flag[Any], entry: Mapping[str, Any], key: str) -> str:
    """
    Return the text of a keyed flag for a key.

    Raises:
        Unknown: The page does not show it.
    """
    if "by" in entry and entry["by"] is None:
        return _text_in(entry)  # the flag is not keyed there
    given = entry.get("keyed")
    if not isinstance(given, list) or entry.get("by") != flag.by:
        raise Unknown
    text = _first_that_fits(given, key)
    return _text_in(entry) if text is None else text


def _first_that_fits(given: Sequence[Any], key: str) -> str | None:
    """
    Return the text that the first matching rule gives to a key; None if no rule matches.

    Raises:
        Unknown: A rule has more keys than are listed, and the key may be one; or the rule gives a part of the value.
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
        raise Unknown from error  # the page is that of another version of dflag
    return None


def _fetch(url: str) -> list[dict[str, Any]]:
    page = _load(url)
    found = page.get("flags") if isinstance(page, dict) else None
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise CommandError(f"{url}: expected the JSON of a debug page, with a list of flags")
    count = page.get("flag_count", len(found))  # the page of the Go library has no count
    if count != len(found):
        raise CommandError(f"{url}: expected a listing of all {count} flags, got {len(found)}: leave filters out")
    return found


def _load(url: str) -> Any:
    from http.client import HTTPException
    from urllib.request import Request, urlopen

    try:
        request = Request(url, headers={"Accept": "application/json"})  # noqa: S310 - http or https only
        with urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310 - as above
            return json.loads(answer.read(_MAX_BYTES))
    except HTTPException as error:  # its message alone may be a line of the answer, or empty
        raise _unreadable(url, f"{type(error).__name__}: {error}") from error
    except RecursionError as error:  # the server at the URL may nest to any depth
        raise _unreadable(url, "expected JSON that is less deeply nested") from error
    except (OSError, ValueError) as error:
        raise _unreadable(url, str(error)) from error


def _unreadable(url: str, reason: str) -> CommandError:
    return CommandError(f"{url}: cannot be read: {one_line(reason)}")
