"""
``dflag plan``: show what applying an input would change.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from dflag._flags import pipeline_of, text_of_value
from dflag._layers import RULE_PREFIX
from dflag._transaction import same
from dflag.cli._embedded import check_read, is_flag, keys_of, opened
from dflag.cli._findings import NOTHING, Validation, validate
from dflag.cli._inputs import read
from dflag.cli._page import LivePage, Refused, Unknown, read_page
from dflag.cli._registry import load
from dflag.cli._rules_plan import Happening, Process, events, just_before, rules_of, written
from dflag.errors import named_rule, one_line

if TYPE_CHECKING:
    import argparse
    import datetime
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from dflag._flags import Flag
    from dflag._registry import FlagRegistry
    from dflag._rules_text import Rule
    from dflag._source_state import SourceState
    from dflag.cli._items import Object


class _Change(NamedTuple):
    """
    The change of one flag.

    Attributes:
        old: The text of the old value; None if it is not known.
        falls_back: Whether the new value is the default, because no source gives the flag a value.
        lack: Why the old value is not known; empty if it is known.
    """

    flag: str
    old: str | None
    new: str
    falls_back: bool
    rule: str | None
    lack: str = ""

    def as_json(self) -> dict[str, str | None]:
        rule = {} if self.rule is None else {"rule": self.rule}
        return {"flag": self.flag, "old": self.old, "new": self.new, **rule}


def run(options: argparse.Namespace, out: TextIO) -> int:
    """
    Print the plan, and return 1 if anything would be rejected.
    """
    registry, process = load(options.registry), Process(options)
    process.check_keys(registry)
    page, against = _live(registry, options.against)
    given = read(options.input, partial(is_flag, registry))
    process.check_documents(keys_of([*against, *given]))
    live = opened(partial(is_flag, registry), against, process.documents)
    objects = opened(partial(is_flag, registry), given, process.documents)
    check_read([*live, *objects])
    before = validate(registry, live, context=process.context())
    bases = _bases(zip(live, before.states, strict=True), objects) if page is None else [page.state] * len(objects)
    after = validate(registry, objects, bases=bases, context=process.context())
    rejected = [*after.rejected, *([] if after.refused is None else [(None, str(after.refused))])]
    if options.timeline:
        happenings = _timeline(registry, process, objects, after)
        out.write(_timeline_as_json(happenings) if options.format == "json" else _timeline_as_text(happenings))
        for _, message in rejected:
            print(f"dflag: rejected: {message}", file=sys.stderr)
        return 1 if rejected or any(each.refused for each in happenings) else 0
    old = partial(_known, process, before) if page is None else partial(_on_page, process, page)
    changes = [] if after.refused else list(_changes(registry, process, after, old))
    restart = [change.flag for change in changes if not registry[change.flag].dynamic]
    _report_unknown(changes, options.against)
    if options.format == "json":
        out.write(_as_json(changes, restart, rejected, after.unknown))
    else:
        out.write(_as_text(changes, restart, rejected, after.unknown))
    return 1 if rejected else 0


def _report_unknown(changes: Sequence[_Change], against: str) -> None:
    names: dict[str, list[str]] = {}
    for change in changes:
        if change.lack:
            names.setdefault(change.lack, []).append(change.flag)
    for lack, flags in names.items():
        print(f"dflag: {one_line(against)} {lack} {', '.join(flags)}", file=sys.stderr)


def _timeline(
    registry: FlagRegistry, process: Process, objects: Sequence[Object], after: Validation
) -> list[Happening]:
    """
    Return what happens at each moment. The first one is compared with ``--at``, or with the moment just before it.
    """
    rules = rules_of(after)
    happens, moments = _events_by_moment(rules), process.moments(rules)
    found = []
    start = process.at or (just_before(moments[0]) if moments else None)
    before = validate(registry, objects, context=process.context(start))
    for moment in moments:
        now = validate(registry, objects, bases=before.states, context=process.context(moment))
        old = partial(_default_if_refused, process, before)
        changes = [] if now.refused else [change.as_json() for change in _changes(registry, process, now, old)]
        found.append(Happening(moment, happens.get(moment, ()), list(_refusals(before, now)), changes))
        before = now
    return found


def _events_by_moment(rules: Iterable[Rule]) -> dict[datetime.datetime, list[tuple[str, str]]]:
    happens: dict[datetime.datetime, list[tuple[str, str]]] = {}
    for rule in rules:
        for moment, event in events(rule):
            happens.setdefault(moment, []).append((rule.name, event))
    return happens


def _refusals(before: Validation, now: Validation) -> Iterator[tuple[str, str]]:
    """
    Yield each rule that is refused now and was not before, with the reason.
    """
    known = {key for state in before.states for key in state.rejected}
    for state in now.states:
        for key, error in state.rejected.items():
            if key.startswith(RULE_PREFIX) and key not in known:
                yield key.removeprefix(RULE_PREFIX), error.problem


def _timeline_as_json(happenings: Sequence[Happening]) -> str:
    return json.dumps({"timeline": [each.as_json() for each in happenings]}, indent=2) + "\n"


def _timeline_as_text(happenings: Sequence[Happening]) -> str:
    lines = []
    for each in happenings:
        at = written(each.at)
        lines += [f"{at}: {named_rule(one_line(name))} {event}" for name, event in each.rules]
        lines += [one_line(f"{at}: {named_rule(name)} is refused: {problem}") for name, problem in each.refused]
        for change in each.changes:
            note = f" ({named_rule(str(change['rule']))})" if "rule" in change else ""
            lines.append(one_line(f"{at}: {change['flag']}: {change['old']} -> {change['new']}{note}"))
    return "".join(f"{line}\n" for line in lines) or "no changes\n"


def _bases(before: Iterable[tuple[Object, SourceState]], objects: Sequence[Object]) -> list[SourceState]:
    """
    Return the earlier state of each object.

    An object is paired with the earlier object of the same kind and name, or the document of the same key. The rest are
    paired in order, documents with documents first.
    """
    left, found = list(before), dict.fromkeys(range(len(objects)), NOTHING)
    ways: tuple[Callable[[Object], object], ...] = (attrgetter("label"), attrgetter("files"), lambda _: None)
    for way in ways:
        for number in [number for number, state in found.items() if state is NOTHING]:
            place = next((place for place, (old, _) in enumerate(left) if way(old) == way(objects[number])), None)
            if place is not None:
                found[number] = left.pop(place)[1]
    return list(found.values())


def _changes(
    registry: FlagRegistry, process: Process, after: Validation, old_of: Callable[[Flag[Any], Any], Any]
) -> Iterator[_Change]:
    given = {name for state in after.states for name in state.entries}
    refused = {name for state in after.states for name in state.rejected} - given
    for flag in registry:
        new, rule = process.reads(after, flag)
        falls_back = flag.name not in given and rule is None
        try:
            old = old_of(flag, new)
        except Unknown as error:
            if flag.name not in refused:  # after a refusal the live value stays, whatever it is
                yield _Change(flag.name, None, text_of_value(flag, new), falls_back, rule, error.reason)
        else:
            if not same(flag, old, new):
                yield _Change(flag.name, text_of_value(flag, old), text_of_value(flag, new), falls_back, rule)


def _on_page(process: Process, page: LivePage, flag: Flag[Any], new: Any) -> Any:
    return page.value_for(flag, process.key_of(flag), new)


def _known(process: Process, before: Validation, flag: Flag[Any], _new: Any) -> Any:
    """
    Return the value that a process reads for a flag.

    Raises:
        Refused: A value is refused that would otherwise be in force, or be part of the value of a map.
    """
    value, rule = process.reads(before, flag)
    if rule is None and any(_refuses(state, flag) for state in _in_force(before, flag)):
        raise Refused
    return value


def _in_force(before: Validation, flag: Flag[Any]) -> Iterator[SourceState]:
    """
    Yield the states that decide the value of a flag: for a map all, else from the highest to the first with a value.
    """
    for state in reversed(before.states):
        yield state
        if flag.name in state.entries and not pipeline_of(flag).kind.is_map:
            return


def _refuses(state: SourceState, flag: Flag[Any]) -> bool:
    plain = (error for key, error in state.rejected.items() if not key.startswith(RULE_PREFIX))
    return any(error.flag_name == flag.name for error in plain)


def _default_if_refused(process: Process, before: Validation, flag: Flag[Any], _new: Any) -> Any:
    return process.reads(before, flag)[0]


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
        notes += [] if change.rule is None else [named_rule(one_line(change.rule))]
        note = f" ({', '.join(notes)})" if notes else ""
        old = "unknown" if change.old is None else one_line(change.old)
        lines.append(f"{change.flag}: {old} -> {one_line(change.new)}{note}")
    lines += [f"rejected: {message}" for _, message in rejected]
    lines += [f"unknown: {one_line(name)}" for name in unknown]
    return "".join(f"{line}\n" for line in lines) or "no changes\n"


def _live(registry: FlagRegistry, against: str | None) -> tuple[LivePage | None, Sequence[Object]]:
    if against is None:
        return None, []
    if against.startswith(("http://", "https://")):
        return read_page(registry, against), []
    return None, read(against, partial(is_flag, registry))
