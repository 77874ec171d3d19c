"""
The content of the page: all flags at one moment, as JSON.

A listing is made from one view of the registry, which is taken under the registry's lock. It is kept until something
changes, so a repeated request costs only a comparison. Values that change by themselves, such as ages, are not part of
it: see `_contact`.
"""

from __future__ import annotations

import datetime
import fnmatch
import hashlib
import json
import os
import secrets
import threading
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dflag._flags import keyed_of, layers_of, pipeline_of
from dflag._fork import ForkFollower, follow_forks, settle
from dflag._formats.base import NotJSON
from dflag._formats.json import loads
from dflag._history import UNPRINTABLE, printed
from dflag._keyed import EVERYBODY
from dflag._layers import DEFAULT, RULES_KEYS
from dflag._log import logger
from dflag._registry import fnv_checksum, sources_of, store_of_registry
from dflag._snapshot import values_of
from dflag._transaction import highest_layer, same, visible_layers
from dflag.errors import MASK

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from dflag._flags import Flag
    from dflag._history import Record
    from dflag._keyed import Keyed, KeyedValue
    from dflag._layers import Entry
    from dflag._registry import FlagRegistry
    from dflag._rule_sets import ValidRule
    from dflag._snapshot import Snapshot
    from dflag._source_state import SourceState
    from dflag._status import RuleStatus, SourceStatus, Status
    from dflag._updater import Updater
    from dflag.errors import FlagValueError

PATIENCE_SECONDS: Final = 90.0
"""
How long ago the last contact to a source may be before the listing shows its time.

This is well above the delay of a check each second, and above the minute between two bookmarks of an API server. It is
still soon enough for a person who wonders why nothing changes.
"""

_KEPT_BODIES: Final = 16
"""How many representations of one listing are kept: more than the buttons of a page can request."""

MAX_REFUSED_CHARACTERS: Final = 65_536
"""The longest refused text that is shown: a longer one would fill more than a page, and is unlikely to be a setting."""

MAX_KEYS: Final = 50
"""How many of a rule's keys are listed: a rule may name a million keys."""

_LAST_MOMENT: Final = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC).timestamp()
"""The last second that `datetime` and RFC 3339 can represent."""


class Query(NamedTuple):
    """
    The requested part of a listing, and the prefix of its links.

    Attributes:
        type: ``"dynamic"`` or ``"static"``; any other text selects both.
        only_changed: Whether to select only flags whose value is not their default.
        name: A pattern of names, as in `fnmatch`; empty for all.
        base: The prefix of relative links.
    """

    type: str = ""
    only_changed: bool = False
    name: str = ""
    base: str = ""

    def selects(self, row: Mapping[str, Any]) -> bool:
        return (
            (self.type not in ("dynamic", "static") or row["is_dynamic"] is (self.type == "dynamic"))
            and (not self.only_changed or bool(row["is_changed"]))
            and (not self.name or fnmatch.fnmatchcase(row["name"], self.name))
        )


class Representation(NamedTuple):
    """
    The bytes of one representation of a document, and its strong entity tag.
    """

    body: bytes
    entity_tag: str


class _Generation(NamedTuple):
    """
    The listing of one version of the registry, and its representations so far.
    """

    version: object
    document: Mapping[str, Any]
    representations: dict[Query, Representation]


class View(NamedTuple):
    """
    The consistent state of a registry at one moment, from which a listing is made.
    """

    snapshot: Snapshot
    held: Mapping[Flag[Any], tuple[str, Mapping[str, Entry]]]  # the origin of a flag's value, and all its layers
    keyed: Mapping[Flag[Any], Keyed]  # the values that each source holds for the keys of a keyed flag
    ranking: tuple[str, ...]
    history: Sequence[Record]
    states: Mapping[str, SourceState]
    callback_errors: Mapping[str, int]
    frozen: bool


_SEED: Final = secrets.token_bytes(16)


def instance() -> str:
    """
    Return a text that distinguishes this process from others with the same process id, which in containers is often 1.

    A forked child has the seed of its parent, but another process id.
    """
    return hashlib.blake2b(b"%d" % os.getpid(), key=_SEED, digest_size=4).hexdigest()


class Listings(ForkFollower):
    """
    The listings of one registry.

    Thread safety: any thread; `ready` takes no lock. One thread makes a listing while the other threads that need it
    wait. Otherwise, after a change under load, all of them would render it at once.
    """

    def __init__(self, registry: FlagRegistry, updater: Updater | None, *, title: str, settable: bool) -> None:
        self._registry: Final = registry
        self._updater: Final = updater
        self._title: Final = title
        self._settable: Final = settable
        self._patience: Final = (
            PATIENCE_SECONDS if updater is None else max(PATIENCE_SECONDS, 3 * updater._resync_seconds)
        )
        self._making = threading.Lock()
        self._generation: _Generation | None = None
        follow_forks(self)

    def ready(self, query: Query) -> Representation | None:
        """
        Return the representation for a query if it exists and is still current, else None.
        """
        generation = self._generation
        if generation is None:
            return None
        found = generation.representations.get(query)
        return found if found is not None and generation.version == self._version() else None

    def make(self, query: Query) -> Representation:
        """
        Return the representation for a query, and make it if there is no current one.
        """
        settle()
        with self._making:
            found = self.ready(query)
            if found is not None:
                return found
            generation = self._current()
            found = self._represent(generation.document, query)
            while len(generation.representations) >= _KEPT_BODIES:
                del generation.representations[next(iter(generation.representations))]
            generation.representations[query] = found
            return found

    def _current(self) -> _Generation:
        """
        Return the generation if it is still current, or a new one. The caller holds the lock.
        """
        version = self._version()  # read before the view, so that a change in between outdates the new generation
        generation = self._generation
        if generation is None or generation.version != version:
            generation = self._generation = _Generation(version, self._document(), {})
        return generation

    def flag(self, flag: Flag[Any]) -> dict[str, Any]:
        """
        Return one flag as a listing shows it, with the process and the revision number.
        """
        view = take_view(self._registry, [flag])
        rows = _Rows(view, self._status(), self._after_restart())
        return {
            "revision": view.snapshot.revision,
            "process": os.getpid(),
            "instance": instance(),
            "flag": rows.row(flag),
        }

    def _version(self) -> tuple[object, ...]:
        """
        Return a value that differs whenever the listing would, and that is cheap to compute.

        Each commit and each declaration makes a new snapshot object.
        """
        store = store_of_registry(self._registry)
        updater = () if self._updater is None else self._updater._fingerprint(self._patience)
        return store.snapshot(), store.frozen, os.getpid(), sum(list(store.notifier.errors.values())), updater

    def _status(self) -> Status | None:
        return None if self._updater is None else self._updater.status()

    def _after_restart(self) -> dict[Flag[Any], Any]:
        return dict(sources_of(self._registry).after_restart())

    def _document(self) -> dict[str, Any]:
        view = take_view(self._registry)
        status = self._status()
        pending = self._after_restart()
        rows = _Rows(view, status, pending)
        flags = sorted(view.held, key=lambda flag: flag.name)
        unknown = set().union(*(state.unknown for state in view.states.values()), status.unknown if status else ())
        return {
            "title": self._title,
            "name": self._registry.name,
            "checksum": rows.checksum(flags),
            "checksum_static": rows.checksum(flag for flag in flags if not flag.dynamic),
            "checksum_dynamic": rows.checksum(flag for flag in flags if flag.dynamic),
            "revision": view.snapshot.revision,
            "frozen": view.frozen,
            "process": os.getpid(),
            "instance": instance(),
            "set_url": "set" if self._settable else "",
            "flags": [rows.row(flag) for flag in flags],
            "flag_count": len(flags),
            "pending_restart": [flag.name for flag in pending],
            "unknown": sorted(unknown),
            "history": rows.history,
            "updater": None if status is None or self._updater is None else self._describe(status, self._updater, view),
        }

    def _describe(self, status: Status, updater: Updater, view: View) -> dict[str, Any]:
        gives = {
            (source, valid.name): valid for source, state in view.states.items() for valid in state.rules.usable or ()
        }
        return {
            "state": status.state,
            "counting_since": moment(updater._made_at),
            **self._contact("last_success", status.seconds_since_success, well=True),
            "updates": status.updates,
            "errors": status.errors,
            "warnings": status.warnings,
            "sources": [self._describe_source(source) for source in status.sources],
            "rules": [
                _describe_rule(rule, gives.get((rule.source, rule.name)))
                for rule in (*_unreadable_lists(view), *status.rules)
            ],
        }

    def _describe_source(self, source: SourceStatus) -> dict[str, Any]:
        return {
            "name": source.name,
            "healthy": source.healthy,
            "watched": source.watched,
            "degraded": source.degraded,
            "not_live": source.not_live,
            **self._contact("last_contact", source.seconds_since_contact, well=source.healthy),
            "reconnects": source.reconnects,
            "checksum": source.checksum,
            "last_error": source.last_error,
        }

    def _contact(self, key: str, seconds: float | None, *, well: bool) -> dict[str, Any]:
        """
        Return the time of the last success or contact, but only if it is long ago or *well* is False.

        For a healthy source this time changes each second, and would change every entity tag.
        """
        in_touch = well and seconds is not None and seconds <= self._patience
        return {"in_touch": in_touch, key: None if in_touch or seconds is None else moment(time.time() - seconds)}

    def _represent(self, document: Mapping[str, Any], query: Query) -> Representation:
        chosen = [row for row in document["flags"] if query.selects(row)]
        set_url = document["set_url"] and query.base + document["set_url"]
        text = json.dumps({**document, "set_url": set_url, "flags": chosen}, separators=(",", ":"), default=_other)
        body = text.encode() + b"\n"
        return Representation(body, entity_tag(body, *query))

    # --- forking

    def after_fork_in_child(self) -> None:
        self._making = threading.Lock()  # at the fork a thread may hold it, for as long as it makes a listing


def take_view(registry: FlagRegistry, flags: Collection[Flag[Any]] | None = None) -> View:
    """
    Copy the state of the registry under its lock, so that it can be printed without the lock.

    Args:
        registry: The flags.
        flags: The flags to show; None for all.
    """
    store = store_of_registry(registry)
    with store.lock:
        snapshot = store.snapshot()
        flags = values_of(snapshot) if flags is None else flags
        return View(
            snapshot=snapshot,
            held={flag: (highest_layer(layers := layers_of(flag), store.ranking), layers) for flag in flags},
            keyed={flag: keyed_of(flag) for flag in flags if pipeline_of(flag).by is not None},
            ranking=store.ranking,
            history=list(store.changes),
            states=sources_of(registry).states(),
            callback_errors=dict(store.notifier.errors),
            frozen=store.frozen,
        )


class _Rows:
    """
    Prints the flags of one view.
    """

    def __init__(self, view: View, status: Status | None, after_restart: Mapping[Flag[Any], Any]) -> None:
        self._view: Final = view
        self._after_restart: Final = after_restart
        self._rejections: Final = _rejections(view, status)
        self._texts: Final[dict[Flag[Any], str]] = {}
        self._fields: Final[dict[object, dict[str, Any]]] = {}  # by pipeline, because most flags share one
        self.history: Final = [_change(*each) for each in printed(view.history)]
        self._last_changes: Final = {change["flag"]: change for change in self.history}

    def checksum(self, flags: Iterable[Flag[Any]]) -> str:
        values = [(flag, self._view.snapshot[flag]) for flag in flags]
        return fnv_checksum(
            (flag.name, _write(flag, value) if pipeline_of(flag).kind.hides else self._text(flag, value))
            for flag, value in values
        )

    def row(self, flag: Flag[Any]) -> dict[str, Any]:
        """
        Describe a flag; the keys of the Go library come first.
        """
        pipeline = pipeline_of(flag)
        origin, _ = self._view.held[flag]
        value = self._view.snapshot[flag]
        text = self._text(flag, value)
        default = text if value is flag.default else _print(flag, flag.default)
        is_json = pipeline.kind.is_json
        shown, shown_default = (MASK, MASK) if pipeline.secret else (text, default)
        native = None
        if is_json and not pipeline.secret:
            native = _native(text)
            shown = _pretty(native, text)
            shown_default = shown if default is text else _pretty(_native(default), default)
        return {
            "name": flag.name,
            "description": _words(flag, flag.help) or "",
            "current_value": shown,
            "default_value": shown_default,
            "is_changed": not same(flag, value, flag.default),
            "is_dynamic": flag.dynamic,
            "is_json": is_json,
            "type": pipeline.kind.name,
            "value": native,
            "is_secret": pipeline.secret,
            "by": pipeline.by,
            "keyed": None if pipeline.by is None else self._keyed(flag),
            "origin": origin,
            "layers": self._layers(flag, value, text, default),
            "field": self._field(flag, value, shown),
            "range": _guarded(flag, pipeline.range_text),
            "choices": "" if pipeline.secret else _guarded(flag, pipeline.choices_text),  # the value is a choice too
            "owner": _words(flag, pipeline.owner),
            "deprecated": _words(flag, pipeline.deprecated),
            "expires": _words(flag, pipeline.expires),
            **self._news(flag),
        }

    def _news(self, flag: Flag[Any]) -> dict[str, Any]:
        """
        Describe the last change of a flag, its callback errors, its value after a restart, and its refused values.
        """
        rejections = self._rejections.get(flag.name, ())
        return {
            "last_change": self._last_changes.get(flag.name),
            "callback_errors": self._view.callback_errors.get(flag.name, 0),
            "pending_restart": flag in self._after_restart,
            "pending_value": show_value(flag, self._after_restart[flag]) if flag in self._after_restart else None,
            "rejected": [_describe_rejection(flag, *rejection) for rejection in rejections],
            "rejected_texts": [_refused_text(flag, error) for _, error in rejections],
        }

    def _field(self, flag: Flag[Any], value: Any, shown: str) -> dict[str, Any]:
        pipeline = pipeline_of(flag)
        field = self._fields.get(pipeline)
        if field is None:
            field = self._fields[pipeline] = _field(flag)
        if not pipeline.kind.is_json or pipeline.secret:
            return field
        draft = _guarded(flag, lambda: pipeline.kind.draft(value))
        return field if draft in (shown, UNPRINTABLE) else {**field, "draft": draft}

    def _text(self, flag: Flag[Any], value: Any) -> str:
        text = self._texts.get(flag)
        if text is None:
            text = self._texts[flag] = _print(flag, value)
        return text

    def _layers(self, flag: Flag[Any], value: Any, text: str, default: str) -> list[dict[str, Any]]:
        _, layers = self._view.held[flag]
        found = []
        for origin in self._view.ranking:
            entry = layers.get(origin)
            if entry is not None:
                printed = text if entry.value is value else _print(flag, entry.value)
                found.append(_layer(flag, origin, printed, entry.reason, entry.deadline, entry.rule))
        return [*found, _layer(flag, DEFAULT, default)]

    def _keyed(self, flag: Flag[Any]) -> list[dict[str, Any]]:
        """
        Describe the values that rules in force give to keys of a flag, the winner first, without hidden lower layers.
        """
        _, layers = self._view.held[flag]
        keyed = self._view.keyed[flag]
        found = []
        for origin in visible_layers(flag, layers, self._view.ranking):
            found += [_keyed_value(flag, origin, each) for each in reversed(keyed.get(origin, ()))]
        return found


def _field(flag: Flag[Any]) -> dict[str, Any]:
    """
    Describe the form field that suits a flag and all other flags with the same pipeline.
    """
    pipeline = pipeline_of(flag)
    kind, limits = pipeline.kind, pipeline.limits
    field: dict[str, Any] = {"language": kind.language()}
    options = None if kind.is_json or pipeline.secret else kind.options(limits.choices)
    if options is not None:
        field["options"] = [_print(flag, option) for option in options]
    if kind.increment:
        field["increment"] = kind.increment
        for end, limit in (("minimum", limits.minimum), ("maximum", limits.maximum)):
            field[end] = None if limit is None else _print(flag, limit)
    return field


def _keyed_value(flag: Flag[Any], source: str, given: KeyedValue) -> dict[str, Any]:
    """
    Describe the value that one rule gives to keys of a flag; for a secret flag, hide the value and the keys.
    """
    from dflag._rules import percent  # already imported when the rule was read

    keys = None if pipeline_of(flag).secret else given.keys
    return {
        "rule": given.rule,
        "source": source,
        "keys": None if keys is None else keys[:MAX_KEYS],
        "key_count": None if keys is None else len(keys),
        "share_percent": None if given.threshold >= EVERYBODY else percent(given.threshold),
        "adds": given.is_part,
        "text": MASK if pipeline_of(flag).secret else _print(flag, given.value),
    }


def _gives(valid: ValidRule | None) -> list[dict[str, str]]:
    """
    Return each flag that a rule sets while in force, with the text of the value; for a map, only the keys that it sets.
    """
    if valid is None:
        return []
    values = dict(valid.values)
    values.update((flag, {**values.get(flag, {}), **members}) for flag, members in valid.members.items())
    return [
        {"flag": flag.name, "text": MASK if pipeline_of(flag).secret else _print(flag, value)}
        for flag, value in values.items()
    ]


def _unreadable_lists(view: View) -> list[RuleStatus]:
    """
    Return, for each list of rules that cannot be read, a refused rule named after its key, so that the page lists it.
    """
    from dflag._status import RuleStatus  # already imported by the updater

    return [
        RuleStatus(
            source=source, name=key, state="refused", next_change=None, problem=str(state.rejected[key]), needs=()
        )
        for source, state in view.states.items()
        for key in RULES_KEYS
        if key in state.rejected
    ]


def _describe_rule(rule: RuleStatus, valid: ValidRule | None) -> dict[str, Any]:
    return {
        "source": rule.source,
        "name": rule.name,
        "state": rule.state,
        "next_change": None if rule.next_change is None else moment(rule.next_change.timestamp()),
        "problem": rule.problem,
        "needs": rule.needs,
        "share_percent": rule.share_percent,
        "audience": rule.audience,
        "gives": _gives(valid),
    }


def _layer(
    flag: Flag[Any],
    origin: str,
    text: str,
    reason: str | None = None,
    deadline: float | None = None,
    rule: str | None = None,
) -> dict[str, Any]:
    return {
        "origin": origin,
        "text": MASK if pipeline_of(flag).secret else text,
        "reason": _words(flag, reason),
        "rule": rule,
        "expires_at": None if deadline is None else moment(time.time() + deadline - time.monotonic()),
    }


def _change(record: Record, old: str, new: str) -> dict[str, Any]:
    return {
        "when": moment(record.seconds, "milliseconds"),
        "flag": record.flag.name,
        "old": old,
        "new": new,
        "origin": record.origin,
        "reason": record.reason,
        "revision": record.revision,
    }


def _rejections(view: View, status: Status | None) -> dict[str, list[tuple[str, FlagValueError]]]:
    """
    Return the refused values of all sources, by flag name; a flag has several if several sources hold a bad value.
    """
    found: dict[str, list[tuple[str, FlagValueError]]] = {}
    listed = [rejected for state in view.states.values() for rejected in state.rejected.items()]
    seen = {id(error) for _, error in listed}
    if status is not None:  # also contains the refused values of an atomic revision that was not applied
        listed += [(key, error) for key, error in status.rejected.items() if id(error) not in seen]
    for key, error in listed:
        found.setdefault(error.flag_name, []).append((key, error))
    return found


def _describe_rejection(flag: Flag[Any], key: str, error: FlagValueError) -> dict[str, str]:
    # An error from before the flag became secret may quote the refused text.
    hidden = flag.secret and not error._secret
    message = f"flag {flag.name!r}: the value was refused ({error.origin})" if hidden else str(error)
    return {"key": key, "where": error.origin, "message": message}


def _refused_text(flag: Flag[Any], error: FlagValueError) -> str | None:
    """
    Return the refused text, with JSON indented; None if it is secret, not a text, or too long for a page.
    """
    raw = error.raw
    if isinstance(raw, bytes) and len(raw) <= MAX_REFUSED_CHARACTERS:
        try:
            raw = raw.decode()
        except UnicodeDecodeError:
            return None
    if flag.secret or error._secret or not isinstance(raw, str) or len(raw) > MAX_REFUSED_CHARACTERS:
        return None
    text = str.__str__(raw)
    if not pipeline_of(flag).kind.is_json:
        return text
    try:
        native = loads(text)
    except NotJSON:
        return text
    # With sorted keys, like a value in force, so that a comparison shows only real differences.
    return json.dumps(native, ensure_ascii=False, indent=2, sort_keys=True)


def show_value(flag: Flag[Any], value: Any) -> str:
    """
    Return a value as a listing shows it: JSON on several lines, a secret as asterisks.
    """
    if flag.secret:
        return MASK
    text = _print(flag, value)
    return _pretty(_native(text), text) if pipeline_of(flag).kind.is_json else text


def _print(flag: Flag[Any], value: Any) -> str:
    """
    Return a value as text; for models this runs the program's code, which may raise.
    """
    return _guarded(flag, lambda: pipeline_of(flag).kind.format(value))


def _guarded(flag: Flag[Any], function: Callable[[], str]) -> str:
    """
    Return the text of a function about a flag, or a replacement if the function raises, so that the rest is shown.
    """
    try:
        text: object = function()
    except BaseException as error:  # the program's code may raise any type
        if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            raise  # from a signal, not from printing the value
        what = type(error).__name__
    else:
        if isinstance(text, str):
            return str.__str__(text)  # a plain str: a subclass may run any code when it is joined or compared
        what = f"{type(text).__name__} instead of a text"
    # The log does not contain the message of the exception, which may quote a secret.
    logger.error("flag %r: cannot print it on the page: %s", flag.name, what)
    return UNPRINTABLE


def _words(flag: Flag[Any], given: object) -> str | None:
    """
    Return a property of a declaration as a text, even if the program gave another type; None for None.
    """
    return None if given is None else _guarded(flag, lambda: str(given))


def _other(given: object) -> str:
    """
    Convert to a text a value that a source of the program has returned and whose type JSON lacks.
    """
    try:
        return str.__str__(str(given))
    except Exception:  # the program's code may raise any type
        return UNPRINTABLE


def _native(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # the text is "(cannot be printed)", or the kind does not print JSON
        return None


def _write(flag: Flag[Any], value: Any) -> str:
    """
    Return the exact text of a value, which is used only for a checksum.
    """
    return _guarded(flag, lambda: pipeline_of(flag).kind.exact(value))


def _pretty(native: Any, text: str) -> str:
    return text if native is None else json.dumps(native, ensure_ascii=False, indent=2)


def moment(seconds: float, timespec: str = "seconds") -> str:
    """
    Format a time of `time.time` in UTC, such as ``2026-11-21T09:00:00Z``; a time after 9999 becomes the end of 9999.

    Such a time can occur, because a time limit may be any finite number of seconds.
    """
    when = datetime.datetime.fromtimestamp(min(max(seconds, 0.0), _LAST_MOMENT), datetime.UTC)
    return when.isoformat(timespec=timespec).replace("+00:00", "Z")


def entity_tag(body: bytes, *form: object) -> str:
    """
    Return the strong entity tag of a body. Representations of different *form* differ, even if their bytes are equal.
    """
    digest = hashlib.blake2b(body, digest_size=16)
    digest.update(repr(form).encode("utf-8", "backslashreplace"))
    return f'"{digest.hexdigest()}"'
