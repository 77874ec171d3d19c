"""
The rules of one source: checked against the flags, and resolved to values for this process.

A source's rules are part of its own layer. The values that they set are parsed and validated as soon as they are read,
whether or not the rules are in force. `RuleContext` decides by facts and time which rules are in force.
"""

from __future__ import annotations

from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dflag._clock import CLOCK, Clock
from dflag._flags import conceal, pipeline_of
from dflag._formats.base import Place
from dflag._keyed import KeyedValue
from dflag._layers import RULE_PREFIX, RULES_KEYS, Entry
from dflag._rule_sets import NO_RULES, Active, RuleSet, Spot, ValidRule
from dflag._rules import baked_at, key_audience, needs, share_percent, situation
from dflag._rules_text import RuleList, Setting, first_line_of, parse_rules, places_set
from dflag._transaction import same
from dflag.errors import MAX_HINTS, FlagValueError, drop_frames, unknown_flag

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence

    from dflag._flags import Flag
    from dflag._records import RulePhase
    from dflag._rules import Facts, Situation
    from dflag._rules_text import Rule
    from dflag._store import Store
    from dflag._transaction import Plan
    from dflag.errors import DflagError
    from dflag.typing import Raw

_MAX_REMEMBERED: Final = 20_000
"""How many rules to remember before removed rules are forgotten: twice the maximum number of rules in a list."""


class RuleMemory(NamedTuple):
    """
    The memory of a process about the rules of one source.

    Attributes:
        latest: The latest moment that was seen, by the content of the rule.
        reverted: The reason why a rule was reverted, by the content of the rule.
        reported: The contents of the rules whose unknown facts were logged.
        next_look: The next moment at which something changes, or None.
    """

    latest: dict[str, datetime.datetime]
    reverted: dict[str, str]
    reported: dict[str, None]
    next_look: datetime.datetime | None


class RuleContext:
    """
    Decides, in this process, which rules of one source are in force: by facts, by time, and by its memory.

    Setting the clock back never reverts a rule. A forked child inherits the context with its memory.

    Thread safety: any thread.
    """

    def __init__(self, facts: Facts = MappingProxyType({}), clock: Clock = CLOCK) -> None:
        self.facts: Facts = facts
        self._clock: Final = clock
        self.next_look: datetime.datetime | None = None  # as in `RuleMemory`, like the next three
        self._latest: dict[str, datetime.datetime] = {}
        self._reverted: dict[str, str] = {}
        self._reported: dict[str, None] = {}

    def now(self) -> datetime.datetime:
        """
        Return the current time, by the clock that decides when rules change.
        """
        return self._clock.now()

    def keep(self) -> RuleMemory:
        """
        Return the current memory, so that it can be restored after a test.
        """
        return RuleMemory(dict(self._latest), dict(self._reverted), dict(self._reported), self.next_look)

    def restore(self, memory: RuleMemory | None) -> None:
        """
        Restore *memory*, and so forget everything since; with None forget everything.
        """
        latest, reverted, reported, look = memory or RuleMemory({}, {}, {}, None)
        self._latest, self._reverted, self._reported = dict(latest), dict(reverted), dict(reported)
        self.next_look = min((each for each in (look, self.next_look) if each is not None), default=None)

    def situation(self, rule: Rule, now: datetime.datetime) -> Situation:
        """
        Return the situation of a rule at *now*, or at the latest moment that was seen if that is later.
        """
        return situation(rule, self.facts, self.moment(rule, now))

    def share_percent(self, rule: Rule, now: datetime.datetime) -> float | None:
        """
        Return the percentage for which a rule is in force, at the same moment as `situation`; None without a share.
        """
        return share_percent(rule, self.moment(rule, now))

    def moment(self, rule: Rule, now: datetime.datetime) -> datetime.datetime:
        """
        Return the time that counts for a rule: the latest that was seen, because the clock may have been set back.
        """
        return max(now, self._latest.get(rule.content, now))

    def choose_active(
        self, rules: Iterable[ValidRule], excluded: Container[ValidRule], before: Iterable[Active]
    ) -> list[Active]:
        """
        Return the rules that should be in force.

        This method records the latest moment that each rule has seen, and when to look again. It does not record when a
        rule came into force: the commit does that.

        Args:
            rules: The rules that may be in force.
            excluded: Those of the rules that must not be in force.
            before: The rules that are in force now.
        """
        now = self._clock.now()
        since = {each.valid.rule.content: each.since for each in before}
        active = []
        # Keep the planned look: if these rules are refused, the rules in force stay and may need it.
        moments = [] if self.next_look is None else [self.next_look]
        for valid in rules:
            rule = valid.rule
            moment = self._latest[rule.content] = self.moment(rule, now)
            found = situation(rule, self.facts, moment)
            if found.next_change is not None:
                moments.append(found.next_change)
            if found.phase == "on" and valid not in excluded and rule.content not in self._reverted:
                each = Active(valid, found.threshold, since.get(rule.content, moment))
                active.append(each)
                baked = baked_at(rule, each.since)
                if baked is not None and baked > moment:
                    moments.append(baked)
        self.next_look = min(moments, default=None)
        return active

    def baking(self, active: Iterable[Active]) -> list[Rule]:
        """
        Return the rules in force whose bake has not ended.
        """
        now = self._clock.now()
        baking = [each.valid.rule for each in active if self.is_baking(each, now)]
        return [rule for rule in baking if rule.content not in self._reverted]

    def is_baking(self, active: Active, now: datetime.datetime) -> bool:
        baked = baked_at(active.valid.rule, active.since)
        return baked is not None and self.moment(active.valid.rule, now) < baked

    def revert(self, rule: Rule, why: str) -> None:
        """
        Revert a rule in this process, until its content changes or it is removed.
        """
        self._reverted[rule.content] = why

    def why_reverted(self, rule: Rule) -> str | None:
        return self._reverted.get(rule.content)

    def unreported_needs(self, rules: Iterable[ValidRule]) -> list[tuple[str, tuple[str, ...]]]:
        """
        Return the names of rules that need unknown facts, with these facts. Each rule is returned only once.
        """
        found = []
        for valid in rules:
            missing = needs(valid.rule, self.facts)
            if missing and valid.rule.content not in self._reported:
                self._reported[valid.rule.content] = None
                found.append((valid.name, missing))
        return found

    def forget_others(self, rules: RuleSet) -> None:
        """
        Forget the reverts of rules that are gone: a rule that is published again must prove itself again.

        If the memory is large, forget everything else about these rules too.
        """
        is_full = len(self._latest) > _MAX_REMEMBERED
        if not is_full and not self._reverted:
            return
        kept = {valid.rule.content for valid in (*rules.good, *rules.last_usable.values())}
        memories: tuple[dict[str, Any], ...] = (self._reverted, self._latest, self._reported)
        for memory in memories if is_full else memories[:1]:
            for content in [content for content in memory if content not in kept]:
                memory.pop(content, None)


class Unconditional(RuleContext):
    """
    A context for trials, with only those rules in force that apply in every process, at any time and to all keys.
    """

    def choose_active(
        self, rules: Iterable[ValidRule], excluded: Container[ValidRule], before: Iterable[Active]
    ) -> list[Active]:
        return super().choose_active([valid for valid in rules if _is_unconditional(valid.rule)], excluded, before)


def _is_unconditional(rule: Rule) -> bool:
    return not (rule.when or rule.unless) and rule.start is None and rule.until is None and rule.by is None


def read_rules(
    store: Store,
    values: Mapping[str, Raw],
    base: RuleSet,
    locate: Callable[[str], str],
    *,
    secret: bool,
    newly_secret: bool = False,
    fresh: Collection[Flag[Any]] = (),
) -> RuleSet:
    """
    Read the rules among the values of a source, and check the values that they set against the flags.

    Args:
        store: The store with the flags.
        values: All values of the source.
        base: The previous rules. An unchanged text or rule is not parsed again.
        locate: Returns the place of a key.
        secret: Whether the whole source is secret.
        newly_secret: Whether the source was not secret before. If so, an unchanged text is parsed again, and the
            flags of all rules become secret.
        fresh: Flags that were declared just now.

    Returns:
        The rules, none of which is in force yet.
    """
    keys = [key for key in RULES_KEYS if key in values]
    if not keys:
        return NO_RULES
    key = keys[0]
    raw, listing, faults, spots = values[key], base.listing, dict(base.bad_text), dict(base.spots)
    if newly_secret or _must_be_read(raw, base):
        earlier = _without_texts(base.bad_text) if newly_secret else base.bad_text
        listing, faults, spots = _read(raw, base._replace(bad_text=earlier), key, locate(key), secret=secret)
    kept = base.bad if key in faults and not newly_secret else {}
    if len(keys) > 1:
        faults[keys[1]] = FlagValueError(keys[1], f"expected rules under one key, found some also under {key!r}")
    validation = _Validation(store, base, locate(key), kept, secret=secret, fresh=fresh)
    rules = validation.hold(base, raw, listing, faults, spots)
    for valid in rules.good if newly_secret else ():  # also rules that are not validated again
        for flag in (*valid.values, *valid.members):
            conceal(flag)
    return rules


def _must_be_read(raw: Raw, base: RuleSet) -> bool:
    return (
        base.raw is None
        or type(raw) is not type(base.raw)
        or raw != base.raw
        or first_line_of(raw) != first_line_of(base.raw)
        or any(key in base.bad_text for key in RULES_KEYS)  # the rules may be under another key now, or only under one
    )


def _read(
    raw: Raw, base: RuleSet, key: str, place: str, *, secret: bool
) -> tuple[tuple[Rule, ...], dict[str, FlagValueError], dict[str, Spot]]:
    """
    Return the rules of a text, its errors, and the positions of the bad rules.

    If the text is not a list, the rules of the last list stay, with their errors and positions.
    """
    read = parse_rules(raw)
    faults = _faults(read, key, place, secret=secret)
    if not read.is_readable:
        earlier = {name: error for name, error in base.bad_text.items() if name not in RULES_KEYS}
        return base.listing, {**earlier, **faults}, dict(base.spots)
    spots = {
        fault.rule: Spot(fault.number, Place(fault.line, fault.column))
        for fault in reversed(read.faults)
        if fault.rule is not None
    }
    return read.rules, faults, spots


def _without_texts(errors: Mapping[str, FlagValueError]) -> dict[str, FlagValueError]:
    """
    Return the errors of a source that is secret from now on without their messages, which may quote the source.
    """
    return {
        name: FlagValueError(name, "it was bad before the source became secret", origin=error.origin)
        for name, error in errors.items()
    }


def _faults(read: RuleList, key: str, place: str, *, secret: bool) -> dict[str, FlagValueError]:
    faults: dict[str, FlagValueError] = {}
    for fault in read.faults:
        name = key if fault.rule is None else RULE_PREFIX + fault.rule
        message = fault.expected if secret else fault.message  # the full message quotes the source
        faults.setdefault(name, FlagValueError(name, message, origin=_origin(place, Place(fault.line, fault.column))))
    return faults


def _origin(source: str, place: Place) -> str:
    return f"{source}:{place.line}:{place.column}" if source else ""  # the command itself names the place of an input


class _Misfit(NamedTuple):
    """
    The refusal of a rule by the flags.

    Attributes:
        setting: The part of the rule that is refused.
        problem: The reason.
        cause: The exception; None if there is none, or if it may quote a secret.
    """

    setting: Setting
    problem: str
    cause: FlagValueError | None = None


class _Validation:
    """
    The validation of one list of rules: the values that they set go through the pipelines of the flags.

    If a problem is the same as that of an error in *kept*, this error is used: the text with its place is gone.
    """

    def __init__(
        self,
        store: Store,
        base: RuleSet,
        place: str,
        kept: Mapping[str, FlagValueError],
        *,
        secret: bool,
        fresh: Collection[Flag[Any]],
    ) -> None:
        self._store: Final = store
        self._place: Final = place
        self._kept: Final = kept
        self._secret: Final = secret
        # Validate a rule again if it sets the name of a fresh flag: before, that name was at most a key of a map.
        self._known: Final = {
            valid.rule.content: valid
            for valid in base.good
            if all(flag in valid.values or flag.name not in valid.rule.values for flag in fresh)
        }
        self._unknown: Final[set[str]] = set()
        self._hints = 0

    def hold(
        self,
        base: RuleSet,
        raw: Raw,
        listing: Sequence[Rule],
        faults: Mapping[str, FlagValueError],
        spots: dict[str, Spot],
    ) -> RuleSet:
        good: list[ValidRule] = []
        misfits: dict[int, _Misfit] = {}
        spots |= {rule.name: Spot(rule.number, rule.place) for rule in listing}
        for rule in listing:
            known = self._known.get(rule.content)
            valid = self._validate(rule) if known is None else known.moved(rule)
            if isinstance(valid, _Misfit):
                misfits[rule.number] = valid
            else:
                good.append(valid)
        refused = {**faults, **dict(self._refusals(raw, listing, misfits))}
        good = with_last_good(good, base.good, refused, spots)
        return RuleSet(
            raw,
            tuple(listing),
            faults,
            tuple(good),
            refused,
            frozenset(self._unknown),
            place=self._place,
            spots=spots,
        )

    def _refusals(
        self, raw: Raw, listing: Sequence[Rule], misfits: Mapping[int, _Misfit]
    ) -> Iterator[tuple[str, FlagValueError]]:
        if not misfits:
            return
        places = places_set(raw, {number: misfit.setting for number, misfit in misfits.items()})
        for rule in listing:
            misfit, key = misfits.get(rule.number), RULE_PREFIX + rule.name
            if misfit is None:
                continue
            refusal = self._kept.get(key)
            if refusal is None or refusal.problem != misfit.problem:
                refusal = refusal_of(rule, misfit.problem, self._place, places.get(rule.number))
                refusal.__cause__ = misfit.cause
            yield key, drop_frames(refusal)

    def _validate(self, rule: Rule) -> ValidRule | _Misfit:
        """
        Take all values of a rule through the pipelines of their flags.
        """
        fed = {name: self._flags_of(name) for name in rule.values}
        if self._secret:  # all flags before any value is read: the command also reads the values of a refused rule
            for flag in chain.from_iterable(fed.values()):
                conceal(flag)
        missing = [name for name, found in fed.items() if not found and name not in self._store.retired]
        if missing:
            self._unknown.update(missing)
            self._hints += 1
            hints = self._store.flags if self._hints <= MAX_HINTS else ()
            return _Misfit(Setting(missing[0], is_key=True), str(unknown_flag(missing[0], hints)))
        values: dict[Flag[Any], Any] = {}
        members: dict[Flag[Any], dict[str, Any]] = {}
        for name, flag in ((name, flag) for name, found in fed.items() for flag in found):
            problem = why_not(rule, flag, secret=self._secret)
            if problem is not None:
                return _Misfit(Setting(name, is_key=True), problem)
            raw = rule.values[name]
            try:  # without an origin: the error of the rule names the place
                if flag.name == name:
                    values[flag] = pipeline_of(flag).read(name, raw, "")
                else:
                    value = pipeline_of(flag).parse(flag.name, raw, "", self._store.maps[flag].item, key=name)
                    members.setdefault(flag, {})[name] = value
            except FlagValueError as error:
                return _Misfit(Setting(name, is_key=False), str(error), None if self._secret else error)
        return ValidRule(rule, values, members)

    def _flags_of(self, name: str) -> list[Flag[Any]]:
        """
        Return the flag of a name, otherwise the maps to which the name belongs as a key; nothing for a retired name.
        """
        flag = self._store.flags.get(name)
        if flag is not None:
            return [flag]
        return [flag for flag, kind in self._store.maps.items() if kind.fits(name) and name not in self._store.retired]


def why_not(rule: Rule, flag: Flag[Any], *, secret: bool = False) -> str | None:
    """
    Return the reason why a rule cannot set a flag, whatever the value; None if it can.

    Args:
        rule: The rule.
        flag: The flag.
        secret: Whether the rule must not be quoted.
    """
    if rule.by is not None and flag.by != rule.by:
        declared = "without by=" if flag.by is None else f"with by={flag.by!r}"
        given = "something else" if secret else repr(rule.by)
        return f"flag {flag.name!r} is declared {declared}, and the rule is by {given}"
    if flag.dynamic:
        return None
    timed = (rule.start, rule.until, rule.over, rule.steps or None, rule.bake, rule.by)
    if any(each is not None for each in timed):
        return f"flag {flag.name!r} is static: no rule can change it at a later time or by key"
    return None


def refusal_of(rule: Rule, problem: str, source: str, place: Place | None = None) -> FlagValueError:
    """
    Return the error for a refused rule. It is listed among the errors of flags.

    Args:
        rule: The rule.
        problem: The reason.
        source: The place of the list.
        place: The place in the text that is to blame; None for the beginning of the rule.
    """
    return FlagValueError(RULE_PREFIX + rule.name, problem, origin=_origin(source, place or rule.place))


def with_last_good(
    good: Sequence[ValidRule],
    before: Sequence[ValidRule],
    refused: Mapping[str, FlagValueError],
    spots: Mapping[str, Spot],
) -> list[ValidRule]:
    """
    Return the good rules. If a named rule was edited into a bad one, its last good text is kept at its place.
    """
    names = {valid.name for valid in good}
    kept = [
        valid.at(spots[valid.name]) if valid.name in spots else valid
        for valid in before
        if valid.rule.is_named and valid.name not in names and RULE_PREFIX + valid.name in refused
    ]
    return sorted([*good, *kept], key=lambda valid: valid.rule.number)


def try_rules(
    store: Store, rules: RuleSet, base: RuleSet, source: str, held: Mapping[str, Entry], plan: Plan
) -> RuleSet:
    """
    Return the rules after trying each rule alone, on top of the plain values, against the registry validators.

    A rule that was refused before is tried again, because other layers may have changed since. Its first reason is
    kept, because the message of a validator may differ each time.

    Args:
        store: The store with the flags.
        rules: The rules.
        base: The previous rules. If the validators refuse the new text of a rule, its last good text stays usable.
        source: The name of the source.
        held: The plain values of the source.
        plan: Returns the transaction for edits, on top of the plain values of all readings that are committed together.
    """
    if not rules.needs_trial:
        return rules
    # If the plain values alone are refused, no rule is to blame.
    if rules.usable is None and (not rules.good or store.refusal(plan(())) is not None):
        return rules._replace(usable=rules.good)
    earlier = {**base.last_usable, **{valid.name: valid for valid in base.usable or () if valid.rule.is_named}}
    accepted = frozenset(rules.usable or ())
    usable: list[ValidRule] = []
    refused_alone: dict[ValidRule, FlagValueError] = {}
    for valid in rules.good:
        error = None if valid in accepted else _try(store, valid, source, held, plan)
        if error is None:
            usable.append(valid)
            continue
        refused_alone[valid] = rules.refused_alone.get(valid) or _refused(valid, error, rules.place)
        before = earlier.get(valid.name)
        if before is None or before.rule.content == valid.rule.content:
            continue
        if before in accepted or _try(store, before, source, held, plan) is None:
            usable.append(before)
    last_usable = {valid.name: earlier[valid.name] for valid in refused_alone if valid.name in earlier}
    return rules._replace(usable=tuple(usable), refused_alone=refused_alone, last_usable=last_usable)


def _refused(valid: ValidRule, error: DflagError, place: str) -> FlagValueError:
    """
    Return the error for a rule whose values are refused. It names the keys, unless the rule sets a secret flag.
    """
    is_secret = any(flag.secret for flag in (*valid.values, *valid.members))
    keys = "" if is_secret or valid.rule.by is None else f"where {key_audience(valid.rule)}: "
    return refusal_of(valid.rule, keys + str(error), place)


def _try(store: Store, valid: ValidRule, source: str, held: Mapping[str, Entry], plan: Plan) -> DflagError | None:
    """
    Return the error with which the checks over several flags or sources refuse a rule; None if they accept it.
    """
    if not store.checks.validators and not store.maps:
        return None
    try:
        values = {**valid.values, **_merged(valid, {}, held)}
    except FlagValueError as error:
        return error
    edits = [(flag, source, Entry(value)) for flag, value in values.items() if not store.frozen or flag.dynamic]
    return store.refusal(plan(edits))


def resolve(
    rules: RuleSet, base: RuleSet, context: RuleContext | None, excluded: Mapping[ValidRule, FlagValueError]
) -> RuleSet:
    """
    Return the rules with those marked that should be in force; the *excluded* rules are refused with their errors.
    """
    usable = rules.usable or ()
    left_out = {valid: excluded[valid] for valid in usable if valid in excluded}
    active = () if context is None else tuple(context.choose_active(usable, excluded, base.active))
    return rules._replace(active=active, refused_together=_refused_together(left_out, base))


def _refused_together(errors: Mapping[ValidRule, FlagValueError], base: RuleSet) -> dict[str, FlagValueError]:
    """
    Return the errors of rules that are left out, by ``rule:NAME``; as in `try_rules`, the first error of a rule stays.
    """
    known = frozenset(base.left_out) if errors and base.refused_together else frozenset()
    keyed = ((RULE_PREFIX + valid.name, valid, error) for valid, error in errors.items())
    return {key: base.refused_together[key] if valid in known else error for key, valid, error in keyed}


def overlay_on(rules: RuleSet, plain: Mapping[str, Entry | None], base: RuleSet, source: str) -> RuleSet:
    """
    Put the values that the rules in force set on top of the plain values of their source; a later rule wins.

    A value that equals the one in *base* is the same object. A rule is left out if a map refuses the keys that it adds.
    """
    entries: dict[str, Entry] = {}
    keyed: dict[Flag[Any], list[KeyedValue]] = {}
    active: list[Active] = []
    refused: dict[ValidRule, FlagValueError] = {}
    for each in rules.active:
        valid, rule = each.valid, each.valid.rule
        values = valid.values
        if valid.members:
            try:
                values = {**values, **_merged(valid, entries, plain)}
            except FlagValueError as error:
                refused[valid] = _refused(valid, error, rules.place)
                continue
        active.append(each)
        for flag, value in values.items():
            if rule.by is None:
                before = base.entries.get(flag.name)
                is_kept = flag in valid.members and before is not None and same(flag, value, before.value)
                entries[flag.name] = Entry(before.value if is_kept and before else value, rule=rule.name)
            else:
                keyed.setdefault(flag, []).append(_keyed_value(each, flag, value, source))
    return rules._replace(
        active=tuple(active),
        refused_together={**rules.refused_together, **_refused_together(refused, base)},
        entries={name: _reused(entry, base.entries.get(name)) for name, entry in entries.items()},
        keyed={flag: _reused_keyed(flag, tuple(held), base.keyed.get(flag, ())) for flag, held in keyed.items()},
    )


def _keyed_value(active: Active, flag: Flag[Any], value: Any, source: str) -> KeyedValue:
    """
    Return the value that a rule gives to keys of a flag. If it only adds keys to a map, the value is only these keys.
    """
    rule = active.valid.rule
    is_part = flag in active.valid.members and flag not in active.valid.values
    if is_part:
        added = {name: value[name] for name in active.valid.members[flag] if name in value}
        value = pipeline_of(flag).kind.merge([added])
    return KeyedValue(rule.name, rule.keys, active.threshold, value, source, is_share=_is_share(rule), is_part=is_part)


def _is_share(rule: Rule) -> bool:
    return rule.share is not None or rule.over is not None or bool(rule.steps)


def _merged(valid: ValidRule, ruled: Mapping[str, Entry], plain: Mapping[str, Entry | None]) -> dict[Flag[Any], Any]:
    """
    Return the values of the maps to which a rule adds single keys, merged with the values below.

    Raises:
        FlagValueError: A map refuses its merged value.
    """
    merged = {}
    for flag, members in valid.members.items():
        below = valid.values.get(flag)
        if below is None:
            entry = ruled.get(flag.name) or plain.get(flag.name)
            below = {} if entry is None else entry.value
        merged[flag] = pipeline_of(flag).take(flag.name, {**below, **members}, "")  # the refusal names the place
    return merged


def _reused(entry: Entry, before: Entry | None) -> Entry:
    if before is not None and before.value is entry.value and before.rule == entry.rule:
        return before
    return entry


def _reused_keyed(
    flag: Flag[Any], held: tuple[KeyedValue, ...], before: tuple[KeyedValue, ...]
) -> tuple[KeyedValue, ...]:
    is_same = len(held) == len(before) and all(
        one.is_alike(two) and (one.value is two.value or (one.is_part and same(flag, one.value, two.value)))
        for one, two in zip(held, before, strict=True)
    )
    return before if is_same else held


class RuleState(NamedTuple):
    """
    The current state of a rule in this process.

    Attributes:
        name: The name of the rule.
        state: The first that applies of the words in `dflag.RuleStatus`.
        next_change: When the state changes; for a refused rule, when that of its last good text does. None for never.
        problem: The reason why the rule is refused or reverted, otherwise None.
        needs: The unknown facts that the rule needs.
        share_percent: The percentage of processes, or of keys, for which the rule is in force; None without a share.
        rule: The rule itself; None if it cannot be read.
    """

    name: str
    state: RulePhase
    next_change: datetime.datetime | None = None
    problem: str | None = None
    needs: tuple[str, ...] = ()
    share_percent: float | None = None
    rule: Rule | None = None


def states(rules: RuleSet, context: RuleContext) -> list[RuleState]:
    """
    Return the state of each rule of a source, in the order of the list.
    """
    usable = {valid.name: valid.rule for valid in rules.usable or ()}
    active = {each.valid.name: each for each in rules.active}
    rejected = rules.rejected  # once, because the property makes a new mapping at each use
    now = context.now()
    found: list[tuple[int, RuleState]] = []
    changes = {rule.name: _state(rule, context, now, active.get(rule.name)).next_change for rule in _last_good(rules)}
    for rule in rules.listing:
        error = rejected.get(RULE_PREFIX + rule.name)
        in_use = usable.get(rule.name, rule)
        if error is None or error is rules.bad_text.get(RULE_PREFIX + rule.name):  # that of another rule with this name
            shown = _state(in_use, context, now, active.get(rule.name))
            shown = shown._replace(share_percent=context.share_percent(in_use, now))
        else:
            shown = RuleState(rule.name, "refused", changes.get(rule.name), str(error))
        found.append((rule.number, shown._replace(rule=in_use)))
    for key, error in rules.bad_text.items():
        if key.startswith(RULE_PREFIX):
            name = key.removeprefix(RULE_PREFIX)
            number = rules.spots[name].number if name in rules.spots else 0
            found.append((number, RuleState(name, "refused", changes.get(name), str(error))))
    return [state for _, state in sorted(found, key=lambda each: each[0])]


def _last_good(rules: RuleSet) -> list[Rule]:
    """
    Return the last good texts of rules that are refused now, whether or not they are in force.
    """
    listed = {rule.name: rule.content for rule in rules.listing}
    return [
        valid.rule
        for valid in rules.usable or ()
        if listed.get(valid.name) != valid.rule.content and RULE_PREFIX + valid.name not in rules.refused_together
    ]


def _state(rule: Rule, context: RuleContext, now: datetime.datetime, active: Active | None) -> RuleState:
    missing = needs(rule, context.facts)
    problem = context.why_reverted(rule)
    if problem is not None:
        return RuleState(rule.name, "reverted", None, problem, missing)
    found = context.situation(rule, now)
    if found.phase != "on":
        return RuleState(rule.name, found.phase, found.next_change, None, missing)
    if active is None:  # its time has come, and its values will be committed soon
        return RuleState(rule.name, "waiting", None, None, missing)
    baked = baked_at(rule, active.since)
    if baked is not None and context.is_baking(active, now):
        return RuleState(rule.name, "baking", min(baked, found.next_change or baked), None, missing)
    return RuleState(rule.name, "done" if found.is_done else "in force", found.next_change, None, missing)
