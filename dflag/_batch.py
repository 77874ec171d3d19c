"""
Readings of sources, parsed and validated against the flags.

A `Batch` is one reading of one source. It changes no value yet. `SourceLayers` commits batches; `_trial` shows the
effect that they would have.
"""

from __future__ import annotations

from functools import partial
from itertools import chain, islice
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from dflag._flags import conceal, keyed_of, layers_of, pipeline_of
from dflag._layers import RULES_KEYS, Entry
from dflag._raw import Text
from dflag._rule_sets import NO_RULES, RuleSet, ValidRule
from dflag._source_state import Batch, Parsed, Plain, Reading, SourceState
from dflag.errors import FlagValueError, RegistryValidationError, drop_frames

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from dflag._flags import Flag
    from dflag._kinds import Kind
    from dflag._kinds.maps import MapKind
    from dflag._rule_layers import RuleContext
    from dflag._store import Store
    from dflag._transaction import Edit, KeyedEdit, Plan, Transaction
    from dflag.typing import Raw

_name_of: Final = attrgetter("name")

_MAX_TRIED: Final = 500_000
"""How many rules each of two searches for rules to leave out may examine. With 10,000 rules this takes seconds."""


def parse(
    store: Store,
    name: str,
    base: SourceState,
    reading: Reading,
    *,
    with_rules: bool = True,
    fresh: Collection[Flag[Any]] = (),
) -> Parsed:
    """
    Parse the new parts of a reading of a source.

    Args:
        store: The store of the flags.
        name: The name of the source.
        base: The current state of the source.
        reading: The reading.
        with_rules: Whether the rules of the source are followed; if not, they are ignored.
        fresh: Flags that were declared just now. Their keys are new, and the freeze does not apply to them yet.
    """
    values, known = reading.values, base.reading.values
    newly_secret = reading.secret and not base.reading.secret  # if so, parse all keys, to make their flags secret
    new = [
        key
        for key, raw in values.items()
        # File contents are bytes, compared here without a call: refresh() takes 1.20 bare readings instead of 1.24.
        if (
            newly_secret
            or (old := known.get(key)) is None
            or (raw != old if type(raw) is type(old) is bytes else _differ(old, raw))
        )
        and key[:1] != "."
    ]
    gone = [key for key in known if key not in values and key[:1] != "."]
    added = (*fresh, *declared_since(store, base))
    if added:
        new += keys_of(store, added, values)
    rules, maps, frozen = base.rules, store.maps, store.frozen
    has_rules = not values.keys().isdisjoint(RULES_KEYS)
    on_other_lines = _on_other_lines(name, base, reading) if has_rules or base.plain.rejected else []
    if not with_rules or not has_rules:
        rules = NO_RULES
    elif new or gone or added or on_other_lines or rules is NO_RULES:  # the rules may have been ignored before
        from dflag._rule_layers import read_rules  # already imported by an updater

        rules = read_rules(
            store, values, rules, reading.locate, secret=reading.secret, newly_secret=newly_secret, fresh=added
        )
    is_same_text = not new and not gone and base.revision is not None
    is_restated = is_same_text and (bool(on_other_lines) or reading.secret != base.reading.secret)
    if is_same_text and not is_restated and rules is base.rules:
        return Parsed(name, base, base, (), maps, frozen, fresh)
    keys = sorted({*gone, *new, *on_other_lines}.difference(RULES_KEYS))
    parser = _PlainParser(store, name, base, reading, maps)
    state = parser.run(keys, rules)
    return Parsed(name, base, state, parser.new, maps, frozen, fresh, is_restated)


def declared_since(store: Store, state: SourceState) -> list[Flag[Any]]:
    """
    Return the flags that other threads have declared since *state* was parsed, and whose key was unknown then.

    Without this, the key would stay unknown, the commit would be refused because the flag exists, and the attempt would
    be repeated.
    """
    flags = store.flags
    names = filter(flags.__contains__, chain(state.unknown, *state.members.values()))
    return list(map(flags.__getitem__, names))


def _on_other_lines(name: str, base: SourceState, reading: Reading) -> list[str]:
    """
    Return the keys whose text is unchanged but on another line, if errors name the line: keys of rules and bad values.
    """
    values, known = reading.values, base.reading.values
    bad = [
        key
        for key, error in base.plain.rejected.items()
        if key in values and error.origin not in (name, reading.locate(key))  # a map as a whole has no line
    ]
    rules = [
        key
        for key in RULES_KEYS
        if key in values and key in known and getattr(values[key], "line", 1) != getattr(known[key], "line", 1)
    ]
    return bad + rules


def keys_of(store: Store, flags: Iterable[Flag[Any]], keys: Iterable[str]) -> list[str]:
    names = {flag.name for flag in flags}
    maps = [store.maps[flag] for flag in flags if flag in store.maps]
    known = store.flags
    return [key for key in keys if key in names or (key not in known and any(kind.fits(key) for kind in maps))]


class _PlainParser:
    """
    The parsing of one reading.

    Attributes:
        new: The flags whose plain value is new.

    A key that is not the name of a flag, present or retired, goes to every map whose pattern it matches. A key with the
    map's own name may hold a whole mapping; the values of single keys override its items.
    """

    def __init__(
        self, store: Store, source: str, base: SourceState, reading: Reading, maps: Mapping[Flag[Any], MapKind]
    ) -> None:
        self._store: Final = store
        self._maps: Final = maps
        self._base: Final = base
        self._source: Final = source
        self._reading: Final = reading
        self._values, self._locate, self._is_secret = reading  # unpacked once, as a start uses them for every key
        self._entries: Final = dict(base.plain.entries)
        self._rejected: Final = dict(base.plain.rejected)
        self._unknown: Final = set(base.plain.unknown)
        self._touched: Final[dict[Flag[Any], dict[str, Any]]] = {}  # the maps concerned, with their members
        self.new: Final[list[Flag[Any]]] = []

    def run(self, keys: Iterable[str], rules: RuleSet) -> SourceState:
        """
        Parse the *keys* that are new, changed or gone, and return the resulting state.
        """
        flags, maps, retired = self._store.flags, self._maps, self._store.retired
        for key in keys:
            self._rejected.pop(key, None)
            self._unknown.discard(key)
            flag = flags.get(key)
            belongs = self._parse_members(key, flag) if maps else False
            if flag is None:
                if not belongs and key in self._values and key not in retired:
                    self._unknown.add(key)
            elif flag not in maps:
                self._parse(flag)
        for map_flag in self._touched:
            self._merge(map_flag)
        plain = Plain(self._entries, self._rejected, frozenset(self._unknown))
        return SourceState(
            reading=self._reading,
            entries=plain.entries,
            rejected=plain.rejected,
            unknown=plain.unknown,
            members={**self._base.members, **self._touched},
            deviating=self._base.deviating,
            results=self._base.results,
            plain=plain,
            rules=rules,
        )

    def _parse(self, flag: Flag[Any]) -> None:
        key, values = flag.name, self._values
        if key not in values:
            self._entries.pop(key, None)
        else:
            if self._is_secret:
                conceal(flag)
            try:
                value = pipeline_of(flag).read(key, values[key], self._locate)
            except FlagValueError as error:
                drop_frames(error)
                self._rejected[key] = error
            else:
                self._entries[key] = Entry(value)
        self.new.append(flag)

    def _parse_members(self, key: str, flag: Flag[Any] | None) -> bool:
        """
        Add the key to each map that it belongs to and remove it from others; return whether it belongs to any map.
        """
        found, is_free = False, flag is None and key in self._values and key not in self._store.retired
        for map_flag, kind in self._maps.items():
            belongs = is_free and kind.fits(key)
            found = found or belongs
            if belongs or map_flag is flag or key in self._base.members.get(map_flag, ()):
                if map_flag not in self._touched:
                    self._touched[map_flag] = dict(self._base.members.get(map_flag, {}))
                if belongs:
                    self._parse_member(map_flag, kind.item, key)
                else:
                    self._touched[map_flag].pop(key, None)
        return found

    def _parse_member(self, map_flag: Flag[Any], item: Kind[Any], key: str) -> None:
        if self._is_secret:
            conceal(map_flag)
        raw, place = self._values[key], self._locate(key)
        try:
            self._touched[map_flag][key] = pipeline_of(map_flag).parse(map_flag.name, raw, place, item, key=key)
        except FlagValueError as error:
            drop_frames(error)
            self._rejected[key] = error

    def _merge(self, flag: Flag[Any]) -> None:
        """
        Merge the mapping under the map's own name with its members; keep the last good mapping if the result is bad.
        """
        if self._is_secret:
            conceal(flag)
        name, pipeline, members = flag.name, pipeline_of(flag), self._touched[flag]
        self._rejected.pop(name, None)
        try:
            if name in self._values:
                own = pipeline.parse(name, self._values[name], self._locate(name), pipeline.kind)
                self._entries[name] = Entry(pipeline.take(name, {**own, **members}, self._source))
            elif members:
                self._entries[name] = Entry(pipeline.take(name, members, self._source))
            else:
                self._entries.pop(name, None)
        except FlagValueError as error:
            drop_frames(error)
            self._rejected[name] = error
        self.new.append(flag)


def resolve_all(
    store: Store,
    parsed: Sequence[Parsed],
    contexts: Mapping[str, RuleContext],
    excluded: Mapping[ValidRule, FlagValueError] = MappingProxyType({}),
    plan: Plan | None = None,
) -> list[Batch]:
    """
    Resolve the rules of several readings that will be committed together, and return all readings as batches.

    Args:
        store: The store of the flags.
        parsed: The readings.
        contexts: The context of each source's rules. The rules of a source without a context are ignored.
        excluded: Rules to leave out, with the reason.
        plan: Makes the transactions for the trial of rules; None to base them on the values in force.
    """
    plan = plan or store.plan
    if any(each.state.rules.raw is not None and each.state.rules.needs_trial for each in parsed):
        plan = partial(_plan_on_top, plan, [edit for each in parsed for edit in _plain_edits(store, each)])
    return [_resolve(store, each, plan, contexts.get(each.name), excluded) for each in parsed]


def _plan_on_top(plan: Plan, plain: Iterable[Edit], edits: Iterable[Edit]) -> Transaction:
    return plan([*plain, *edits])


def without_some_rules(
    store: Store,
    batches: Sequence[Batch],
    contexts: Mapping[str, RuleContext],
    error: RegistryValidationError,
    plan: Plan | None = None,
) -> Iterator[list[Batch]]:
    """
    Yield the attempts to make after a registry validator has refused the readings: all batches, without some rules.

    The first attempts leave out one rule each, beginning with the last rule. The next ones leave out the rules
    that were left out before: all but one of them, all of them, and all of them plus one more rule. The last attempts
    leave out the last 2, 4, 8 rules and so on, and finally all rules.
    """
    if not any(batch.state.rules.active for batch in batches):
        return
    from dflag._rule_layers import refusal_of  # already imported by an updater

    active = [
        (each.valid, refusal_of(each.valid.rule, f"it does not go together with others: {error}", rules.place))
        for rules in (batch.state.rules for batch in reversed(batches))
        for each in reversed(rules.active)
    ]
    parsed = [batch.parsed for batch in batches]
    most = max(1, _MAX_TRIED // len(active))
    known = {valid for batch in batches for valid in batch.base.rules.left_out}
    same = [each for each in active if each[0] in known]
    before = chain(
        ([each for each in same if each is not one] for one in reversed(same)),
        [same] if same else [],
        ([*same, each] for each in active if same and each[0] not in known),
    )
    several = (active[: 2**number] for number in range(1, len(active).bit_length()))
    for excluded in chain(([each] for each in active[:most]), islice(before, most), several, [active]):
        yield resolve_all(store, parsed, contexts, dict(excluded), plan)


def _resolve(
    store: Store,
    parsed: Parsed,
    plan: Plan,
    context: RuleContext | None,
    excluded: Mapping[ValidRule, FlagValueError],
) -> Batch:
    base, state = parsed.base, parsed.state
    if state.rules.raw is None and base.rules.raw is None:
        if state is base:
            return Batch(parsed)
        edits, deviating = _edits(parsed, parsed.flags, state.entries)
        if deviating != state.deviating:
            state = state._replace(deviating=deviating)
        return _batch(parsed, state, edits)
    from dflag._rule_layers import overlay_on, resolve, try_rules  # already imported by an updater

    rules = try_rules(store, state.rules, base.rules, parsed.name, state.plain.entries, plan)
    rules = resolve(rules, base.rules, context, excluded)
    rules = overlay_on(rules, state.plain.entries, base.rules, parsed.name)
    if state is base and rules.is_like(base.rules):
        return Batch(parsed)
    ruled = {store.flags[name] for name in (*base.rules.entries, *rules.entries)}
    entries = {**state.plain.entries, **rules.entries}
    edits, deviating = _edits(parsed, {*parsed.flags, *ruled}, entries)
    state = state._replace(
        entries=entries,
        rejected={**state.plain.rejected, **rules.rejected},
        unknown=state.plain.unknown | rules.unknown,
        deviating=deviating,
        rules=NO_RULES if rules.raw is None else rules,  # which shows the next parsing that there are none
    )
    keyed = [
        (flag, parsed.name, rules.keyed.get(flag, ()))
        for flag in {**base.rules.keyed, **rules.keyed}
        if rules.keyed.get(flag, ()) is not keyed_of(flag).get(parsed.name, ())
    ]
    return _batch(parsed, state, edits, keyed)


def _batch(parsed: Parsed, state: SourceState, edits: Sequence[Edit], keyed: Sequence[KeyedEdit] = ()) -> Batch:
    base = parsed.base
    if parsed.is_restated and not edits and not keyed and _are_shown_alike(base, state):
        restated = state._replace(revision=base.revision)
        return Batch(parsed, restated=restated)
    return Batch(parsed, state, edits, keyed)


def _are_shown_alike(one: SourceState, two: SourceState) -> bool:
    """
    Return whether users see no difference between two states, except for the places in errors.
    """
    return (
        one.unknown == two.unknown
        and one.deviating == two.deviating
        and one.rules.names == two.rules.names
        and _problems(one.rejected) == _problems(two.rejected)
    )


def _problems(errors: Mapping[str, FlagValueError]) -> dict[str, tuple[str, object]]:
    return {key: (error.problem, error.raw) for key, error in errors.items()}


def _plain_edits(store: Store, parsed: Parsed) -> list[Edit]:
    """
    Return the edits that the plain values of a reading alone would need, without the rules in force.
    """
    ruled = {store.flags[name] for name in parsed.base.rules.entries}
    return _edits(parsed, {*parsed.flags, *ruled}, parsed.state.plain.entries)[0]


def _edits(
    parsed: Parsed, flags: Iterable[Flag[Any]], entries: Mapping[str, Entry]
) -> tuple[list[Edit], frozenset[str]]:
    """
    Return the edits of the layers of some flags, and the static flags that deviate because the registry is frozen.

    The edits are in the order of the names, and so are callbacks and history.
    """
    edits: list[Edit] = []
    deviating = set(parsed.base.deviating)
    source, frozen = parsed.name, parsed.frozen  # outside the loop: a field costs as much as a dict lookup
    for flag in sorted(flags, key=_name_of):
        entry = entries.get(flag.name)
        live = layers_of(flag).get(source)
        if flag.dynamic or not frozen or flag in parsed.fresh:
            if entry is not live:
                edits.append((flag, source, entry))
        else:
            (deviating.discard if entry is live else deviating.add)(flag.name)
    return edits, frozenset(deviating)


def _differ(old: Raw, new: Raw) -> bool:
    """
    Return whether two raw values differ as text or UTF-8, or, for equal texts of documents, in their native values.
    """
    if isinstance(old, bytes) is not isinstance(new, bytes):
        encoded = _encoded(new)
        return encoded is None or encoded != _encoded(old)
    if old != new:
        return True
    if not isinstance(new, Text) and not isinstance(old, Text):
        return False
    from dflag._formats.json_values import same as same_json  # already imported for documents

    if not isinstance(new, Text) or not isinstance(old, Text):
        return True
    return not same_json(old.native, new.native) or old.written != new.written


def _encoded(raw: Raw) -> bytes | None:
    """
    Return bytes unchanged and a plain text in UTF-8; None for a text with a native value and for anything else.
    """
    if isinstance(raw, bytes):
        return raw
    try:
        return raw.encode() if isinstance(raw, str) and not isinstance(raw, Text) else None
    except UnicodeEncodeError:  # an unpaired surrogate: equal to no bytes
        return None
