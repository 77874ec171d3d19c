"""
``dflag plan``: what applying an input would change.
"""

from __future__ import annotations

import datetime
import json
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TextIO

from dflag._flags import pipeline_of
from dflag._store import printed
from dflag._transaction import same
from dflag.cli._embedded import is_flag, opened
from dflag.cli._errors import CommandError
from dflag.cli._findings import Validation, validate
from dflag.cli._inputs import read
from dflag.cli._items import Item, Object
from dflag.cli._registry import load
from dflag.cli._rules_plan import Happening, Process, events, rules_of, written
from dflag.errors import MASK, FlagValueError, one_line

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from dflag._flags import Flag
    from dflag._registry import FlagRegistry
    from dflag._source_state import SourceState

_TIMEOUT_SECONDS: Final = 10.0
_MAX_BYTES: Final = 64 * 2**20
"""More than any page lists; the server at the URL must not fill the memory."""


class _Change(NamedTuple):
    flag: str
    old: str
    new: str
    falls_back: bool
    rule: str | None

    def as_json(self) -> dict[str, str]:
        rule = {} if self.rule is None else {"rule": self.rule}
        return {"flag": self.flag, "old": self.old, "new": self.new, **rule}


def run(options: argparse.Namespace, out: TextIO) -> int:
    """
    Print the plan; status 1 when anything would be rejected.
    """
    registry, process = load(options.registry), Process(options)
    live = opened(registry, _live(registry, options.against), process.documents)
    before = validate(registry, live, context=process.context())
    objects = opened(registry, read(options.input, partial(is_flag, registry)), process.documents)
    bases = _bases(before.states, len(objects))
    after = validate(registry, objects, bases=bases, context=process.context())
    rejected = [*after.rejected, *([] if after.refused is None else [(None, str(after.refused))])]
    if options.timeline:
        happenings = _timeline(registry, process, objects, after)
        out.write(_timeline_as_json(happenings) if options.format == "json" else _timeline_as_text(happenings))
        for _, message in rejected:
            print(f"dflag: rejected: {message}", file=sys.stderr)
        return 1 if rejected else 0
    changes = [] if after.refused else _changes(registry, process, before, after)
    restart = [change.flag for change in changes if not registry[change.flag].dynamic]
    if options.format == "json":
        out.write(_as_json(changes, restart, rejected, after.unknown))
    else:
        out.write(_as_text(changes, restart, rejected, after.unknown))
    return 1 if rejected else 0


def _timeline(
    registry: FlagRegistry, process: Process, objects: Sequence[Object], after: Validation
) -> list[Happening]:
    """
    Return what happens at each moment, from before the first one on.
    """
    rules = rules_of(after)
    happens: dict[datetime.datetime, list[tuple[str, str]]] = {}
    for rule in rules:
        for moment, event in events(rule):
            happens.setdefault(moment, []).append((rule.name, event))
    moments = process.moments(rules)
    found = []
    start = process.at or (moments[0] - datetime.timedelta(microseconds=1) if moments else None)
    before = validate(registry, objects, context=process.context(start))
    for moment in moments:
        now = validate(registry, objects, bases=_bases(before.states, len(objects)), context=process.context(moment))
        changes = [change.as_json() for change in _changes(registry, process, before, now)]
        found.append(Happening(moment, happens.get(moment, ()), changes))
        before = now
    return found


def _timeline_as_json(happenings: Sequence[Happening]) -> str:
    return json.dumps({"timeline": [each.as_json() for each in happenings]}, indent=2) + "\n"


def _timeline_as_text(happenings: Sequence[Happening]) -> str:
    lines = []
    for each in happenings:
        at = written(each.at)
        lines += [f"{at}: rule {one_line(name)!r} {event}" for name, event in each.rules]
        for change in each.changes:
            note = f" (rule {change['rule']!r})" if "rule" in change else ""
            lines.append(one_line(f"{at}: {change['flag']}: {change['old']} -> {change['new']}{note}"))
    return "".join(f"{line}\n" for line in lines) or "no changes\n"


def _bases(states: Sequence[SourceState], count: int) -> Sequence[SourceState]:
    """
    Pair the earlier sources with the new ones by their order, the last ones first where there are fewer now.
    """
    return [state._replace(revision=None) for state in states[-count:]] if count else []


def _changes(registry: FlagRegistry, process: Process, before: Validation, after: Validation) -> list[_Change]:
    given = {name for state in after.states for name in state.entries}
    found = []
    for flag in registry:
        old, (new, rule) = process.reads(before, flag)[0], process.reads(after, flag)
        if not same(flag, old, new):
            falls_back = flag.name not in given and rule is None
            found.append(_Change(flag.name, printed(flag, old), printed(flag, new), falls_back, rule))
    return found


def _as_json(
    changes: Sequence[_Change],
    restart: Sequence[str],
    rejected: Sequence[tuple[str | None, str]],
    unknown: Sequence[str],
) -> str:
    plan = {
        "changes": [change.as_json() for change in changes],
        "pending_restart": list(restart),
        "rejected": [{"flag": flag, "message": message} for flag, message in rejected],
        "unknown": list(unknown),
    }
    return json.dumps(plan, indent=2) + "\n"


def _as_text(
    changes: Sequence[_Change],
    restart: Sequence[str],
    rejected: Sequence[tuple[str | None, str]],
    unknown: Sequence[str],
) -> str:
    lines = []
    for change in changes:
        notes = ["the default"] * change.falls_back + ["after a restart"] * (change.flag in restart)
        notes += [] if change.rule is None else [f"rule {one_line(change.rule)!r}"]
        note = f" ({', '.join(notes)})" if notes else ""
        lines.append(f"{change.flag}: {one_line(change.old)} -> {one_line(change.new)}{note}")
    lines += [f"rejected: {message}" for _, message in rejected]
    lines += [f"unknown: {one_line(name)}" for name in unknown]
    return "".join(f"{line}\n" for line in lines) or "no changes\n"


def _live(registry: FlagRegistry, against: str | None) -> Sequence[Object]:
    if against is None:
        return []
    if against.startswith(("http://", "https://")):
        return [_page(registry, against)]
    return read(against, partial(is_flag, registry))


def _page(registry: FlagRegistry, url: str) -> Object:
    """
    Read the values of a running process; a secret's are masked there, and count as unchanged.
    """
    listed = _fetch(url)
    items = {}
    for entry in listed:
        name, text = entry.get("name"), entry.get("current_value")
        if not isinstance(name, str) or name not in registry or text == MASK:
            continue
        items[name] = Item(_raw(registry[name], text if isinstance(text, str) else json.dumps(text)), url)
    return Object("page", url, items)


def _raw(flag: Flag[Any], text: str) -> str | bytes:
    if not pipeline_of(flag).kind.binary:
        return text
    try:
        value: bytes = pipeline_of(flag).read(flag.name, text, "", encoded=True)
    except FlagValueError:
        return text
    return value


def _fetch(url: str) -> list[dict[str, Any]]:
    from urllib.error import URLError
    from urllib.request import Request, urlopen

    try:
        request = Request(url, headers={"Accept": "application/json"})  # noqa: S310 - http or https, as was seen
        with urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310 - as above
            page = json.loads(answer.read(_MAX_BYTES))
    except (URLError, OSError, ValueError) as error:
        raise CommandError(f"{url}: cannot be read: {one_line(str(error))}") from error
    found = page.get("flags") if isinstance(page, dict) else None
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise CommandError(f"{url}: expected the JSON of a debug page, with a list of flags")
    return found
