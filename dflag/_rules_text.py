"""
The parser for the text of rules under the key ``_rules.yaml``. It needs no flag, fact or clock.

Each rule is read by itself. An error in a rule is reported as a `RuleFault` with its place, and the other rules are
still read. Only a text that is not a list, or that exceeds a limit, is refused as a whole.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from dflag._formats.base import NotJSON, Place
from dflag._formats.json_values import dumps
from dflag._formats.nodes import START, Lines
from dflag._formats.texts import decode
from dflag._keyed import sha256
from dflag._kinds._base import Problem
from dflag._kinds.duration import DURATION
from dflag._raw import Excerpt, Text, Unreadable
from dflag.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from dflag._formats.outline import Flaw, Items, Members, Outline, Scalar
    from dflag.typing import Raw

MAX_RULES: Final = 10_000
MAX_BYTES: Final = 16 * 1024 * 1024

RULE_KEYS: Final = (
    "name",
    "when",
    "unless",
    "from",
    "until",
    "of",
    "over",
    "steps",
    "every",
    "bake",
    "by",
    "is",
    "share",
    "set",
)
"""The keys that a rule can have."""

_DRAWN: Final = 2**32
"""The number of possible draws: a threshold of this number includes everybody."""

_MAX_NAME_CHARACTERS: Final = 253
"""The same limit as for the name of a flag."""

_MAX_SHOWN_CHARACTERS: Final = 80
"""How many characters of a text are shown: as many as of a flag's value."""

_MAX_FAULTS: Final = 10
"""How many faults of one rule are reported: more are no help, and a rule can have a million."""

_PLACE_NAME: Final = re.compile(r"rule [0-9]+")

_PERCENT: Final = re.compile(r"0*([0-9]{1,3})(?:\.([0-9]{1,6}))?%")
_BARE_NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_MILLIONTHS: Final = 10**8
"""100 %, in millionths of a percent."""

_HOURS_MINUTES: Final = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"  # datetime accepts 05:75, and newer versions accept 24:00
TIME_PATTERN: Final = (
    rf"([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})[Tt]({_HOURS_MINUTES}:[0-5][0-9])(\.[0-9]+)?([Zz]|[+-]{_HOURS_MINUTES})"
)
"""A time of RFC 3339 with ``Z`` or an offset, also for JSON Schema."""

_TIME: Final = re.compile(TIME_PATTERN)
_TIME_EXPECTED: Final = "a time with Z or an offset, such as 2026-11-28T10:00:00Z"
_PERCENT_EXPECTED: Final = "a percentage from 0% to 100% with at most 6 decimals, such as 2.5%"


@dataclass(frozen=True, slots=True)
class Rule:
    """
    A rule as it is written.

    Attributes:
        name: The name of the rule, or ``"rule 3"``, after its number.
        is_named: Whether the rule has a name of its own.
        when: The globs for each fact. The fact must match one of them.
        unless: The same for the processes that are excluded.
        start: When the rule begins, in UTC; the key ``from``.
        until: When the rule ends, in UTC.
        of: The fact that draws the share of a process.
        over: How long it takes until the rule has reached every process.
        steps: The threshold of each step: how many of 2**32 draws the rule has reached.
        every: How long a step takes.
        bake: For how long a process checks its health after it has switched.
        by: What the keys of the rule are, such as tenants; None for a rule without keys.
        keys: The keys that a keyed rule names; None for all.
        share: The threshold of a share of keys: how many of 2**32 draws the rule is for; None for all.
        values: The values that the rule sets, by flag.
        content: A digest that is equal for equal rules, at any place.
        number: The number of the rule in the list, from 1.
        place: The beginning of the rule in the text.
    """

    name: str
    is_named: bool
    when: Mapping[str, tuple[str, ...]]
    unless: Mapping[str, tuple[str, ...]]
    start: datetime | None
    until: datetime | None
    of: str
    over: timedelta | None
    steps: tuple[int, ...]
    every: timedelta | None
    bake: timedelta | None
    by: str | None
    keys: tuple[str, ...] | None
    share: int | None
    values: Mapping[str, Raw]
    content: str
    number: int = 0
    place: Place = START


class Setting(NamedTuple):
    """
    One setting of a rule, of which the place is wanted.

    Attributes:
        flag: The name of the flag.
        is_key: Whether the place of the name is wanted, and not that of the value.
    """

    flag: str
    is_key: bool


@dataclass(frozen=True, slots=True)
class RuleFault:
    """
    An error in a rule, or in the whole list.

    Attributes:
        rule: The name of the rule; None for the whole list.
        message: What was expected, and what was found.
        line: The line of the error, from 1.
        column: The column of the error, from 1.
        expected: The part of the message that quotes nothing, for a list that is secret.
        number: The number of the rule in the list, from 1; 0 for the whole list.
    """

    rule: str | None
    message: str
    line: int
    column: int
    expected: str = ""
    number: int = 0


@dataclass(frozen=True, slots=True)
class RuleList:
    """
    The rules of a text.

    Attributes:
        rules: The rules without a fault, in order.
        faults: The faults of the other rules, in order.
        is_readable: Whether the text is a list of rules at all.
    """

    rules: tuple[Rule, ...]
    faults: tuple[RuleFault, ...]
    is_readable: bool


def parse_rules(raw: Raw) -> RuleList:
    """
    Read rules. An empty text, a text of comments, null and an empty list have no rules.

    All errors are in `RuleList.faults`. Time and memory are proportional to the text.

    >>> parse_rules("- set: {rate_limit: 80}").rules[0].values
    {'rate_limit': '80'}
    """
    first_line = first_line_of(raw)
    try:
        text = _text_of(raw)
        reader = _ListReader(text, first_line)
        if text and not text.isspace():
            from dflag._formats.outline import read_list  # imports PyYAML, which only rules need here

            read_list(text, reader.take, at_most=MAX_RULES)
    except NotJSON as error:
        return _unreadable(f"expected {error.expected}", error.detail, _place_of(error, raw, first_line))
    except RecursionError:  # the caller is near the end of its own stack
        return _unreadable("expected a list of rules that is less deeply nested", "", START)
    return RuleList(tuple(reader.rules), tuple(reader.faults), is_readable=True)


def first_line_of(raw: Raw | None) -> int:
    """
    Return the line of its document on which a list begins, from 1.
    """
    return raw.line if isinstance(raw, Excerpt) else 1


def places_set(raw: Raw, wanted: Mapping[int, Setting]) -> dict[int, Place]:
    """
    Return the places of settings. This reads the list again, because only a refused setting needs a place.

    Args:
        raw: The list. If it cannot be read, there are no places.
        wanted: The settings to find, by the number of the rule.
    """
    from dflag._formats.outline import read_list

    offsets: dict[int, int] = {}
    numbers = count(1)

    def take(item: Any, _: list[Flaw]) -> None:
        number = next(numbers)
        if number in wanted:
            flag, is_key = wanted[number]
            key, value = next(each for each in item["set"].items() if each[0] == flag)
            offsets[number] = key.at if is_key else value.at

    try:
        text = _text_of(raw)
        read_list(text, take, at_most=MAX_RULES)
    except (NotJSON, LookupError, TypeError, AttributeError, StopIteration, RecursionError):
        return {}  # the rules are those of an earlier text
    lines, first_line = Lines(text), first_line_of(raw)
    return {number: _moved(lines.place(offset), first_line) for number, offset in offsets.items()}


def _moved(place: Place, first_line: int) -> Place:
    return Place(place.line + first_line - 1, place.column)


def parse_time(text: str) -> datetime | None:
    """
    Return a time of RFC 3339 with ``Z`` or an offset, converted to UTC; None if the text is not such a time.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    date, time, fraction, offset = found.groups("")
    # Digits beyond the microsecond are dropped: rounding up could give a second that does not exist.
    try:
        return datetime.fromisoformat(f"{date}T{time}{fraction[:7]}{offset}".upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def percentage(threshold: int) -> str:
    """
    Return the text of a threshold as a percentage, to the millionth of a percent.

    >>> percentage(2**32 // 20 + 1)
    '5%'
    """
    whole, rest = divmod(threshold * _MILLIONTHS // _DRAWN, _MILLIONTHS // 100)
    decimals = f"{rest:06}".rstrip("0")
    return f"{whole}.{decimals}%" if decimals else f"{whole}%"


def _text_of(raw: Raw) -> str:
    if isinstance(raw, Unreadable):
        raise NotJSON("a list of rules", raw.reason)
    if len(raw) > MAX_BYTES:
        raise NotJSON(f"a list of rules of at most {MAX_BYTES} bytes")
    if isinstance(raw, bytes):
        return decode(raw)
    try:
        size_bytes = len(raw.encode())
    except UnicodeEncodeError as error:
        raise NotJSON("a list of rules in whole Unicode characters", offset=error.start) from None
    if size_bytes > MAX_BYTES:
        raise NotJSON(f"a list of rules of at most {MAX_BYTES} bytes")
    return raw.removeprefix("\ufeff")


def _place_of(error: NotJSON, raw: Raw, first_line: int) -> Place:
    if error.offset is not None and isinstance(raw, (str, bytes)):
        text = raw if isinstance(raw, str) else raw.decode(errors="replace")
        place = Lines(text.removeprefix("\ufeff")).place(error.offset)
    else:
        place = error.place or START
    return _moved(place, first_line)


def _unreadable(expected: str, detail: str, place: Place) -> RuleList:
    message = f"{expected} ({detail})" if detail else expected
    return RuleList((), (RuleFault(None, message, place.line, place.column, expected),), is_readable=False)


class _Refused(Exception):  # noqa: N818 - only the parts of a message; a `RuleFault` is made from it
    """
    A part of a rule is refused. The error holds the parts of the message, and the offset in the text.
    """

    def __init__(self, expected: str, given: str, at: int) -> None:
        super().__init__(expected)
        self.expected: Final = expected
        self.given: Final = given
        self.at: Final = at


class _ListReader:
    """
    Makes rules from the items of a list.
    """

    def __init__(self, text: str, first_line: int) -> None:
        self.rules: Final[list[Rule]] = []
        self.faults: Final[list[RuleFault]] = []
        self._first_line: Final = first_line
        self._lines: Final = Lines(text)
        self._count = 0
        self._names: Final[dict[str, int]] = {}

    def take(self, item: Outline, flaws: list[Flaw]) -> None:
        """
        Make a rule from an item, or record its faults.
        """
        self._count += 1
        reader = _RuleReader()
        for flaw in flaws:
            reader.refuse(flaw.expected, flaw.given, flaw.at)
        rule = reader.read(item, self._count, self._place(item.at))
        name = reader.name
        if name is not None:
            earlier = self._names.setdefault(name, self._count)
            if earlier != self._count:
                expected = f"a name of its own: rule {earlier} of the list has the same"
                reader.refuse(expected, name, reader.name_at)
        if rule is not None and not reader.refused:
            self.rules.append(rule)
        # The flaws of the text come first: a mapping without its unreadable items may seem to be empty.
        read = sorted(reader.refused[len(flaws) :], key=lambda each: each.at)
        for refused in (*reader.refused[: len(flaws)], *read):
            self._note(refused, name or f"rule {self._count}")

    def _note(self, refused: _Refused, name: str) -> None:
        place = self._place(refused.at)
        message = refused.expected + (f", got {refused.given}" if refused.given else "")
        self.faults.append(RuleFault(name, message, place.line, place.column, refused.expected, self._count))

    def _place(self, offset: int) -> Place:
        return _moved(self._lines.place(offset), self._first_line)


class _RuleReader:
    """
    Reads one rule.

    Attributes:
        name: The name of the rule, if it has a valid one.
        name_at: The offset of the name in the text.
        refused: The refused parts of the rule.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self.name_at = 0
        self.refused: Final[list[_Refused]] = []

    def refuse(self, expected: str, given: str, at: int) -> None:
        """
        Record what was expected, and the text that was found instead.
        """
        self._refuse(_Refused(f"expected {expected}", _shown(given), at))

    def _refuse(self, refused: _Refused) -> None:
        if len(self.refused) < _MAX_FAULTS:
            self.refused.append(refused)

    def read(self, item: Outline, number: int, place: Place) -> Rule | None:
        """
        Read a rule; return None if the item is no rule.
        """
        if not isinstance(item, dict):
            if not self.refused:  # an alias is already reported
                self._refuse(_not_this("a rule, which is a mapping with `set`", item))
            return None
        found: dict[str, Any] = {}
        written: dict[str, tuple[Scalar, Outline]] = {}
        meant = set()
        for key, node in item.items():
            read = _READERS.get(key)
            if read is None:
                meant.add(self._refuse_key(key))
                continue
            written[key] = key, node
            try:
                found[key] = read(node)
            except _Refused as refused:
                self._refuse(refused)
        if "name" in found:
            self.name, self.name_at = found["name"], written["name"][1].at
        for each in _combined(item, written, found, meant):
            self._refuse(each)
        return None if self.refused else _made(found, number, place)

    def _refuse_key(self, key: Scalar) -> str | None:
        """
        Refuse a key that rules do not have, and return the key that was probably meant.
        """
        near = nearest(key[:_MAX_SHOWN_CHARACTERS], RULE_KEYS)
        hint = f" (did you mean {near!r}?)" if near else ""
        self._refuse(_Refused(f"expected a key of rules: {', '.join(RULE_KEYS)}", _shown(key) + hint, key.at))
        return near


def _combined(
    item: Members,
    written: Mapping[str, tuple[Scalar, Outline]],
    found: Mapping[str, Any],
    meant: Collection[str | None],
) -> Iterator[_Refused]:
    """
    Yield the errors in the combination of keys. A key that was *meant* by a misspelt one does not count as missing.
    """
    if "set" not in written and "set" not in meant:
        yield _Refused("expected the key `set`, a mapping of flags to their values", "", item.at)
    for key, others, reason in _NEEDED:
        if key in written and not any(other in written or other in meant for other in others):
            names = " or ".join(f"`{other}`" for other in others)
            yield _Refused(f"expected {names} beside `{key}`{reason}", "", written[key][0].at)
    for key, other, instead in _FORBIDDEN:
        if key in written and other in written:
            yield _Refused(f"expected no `{key}` beside `{other}`: {instead}", "", written[key][0].at)
    if len(found.get("steps", ())) > 1 and "every" not in written and "every" not in meant:
        yield _Refused("expected `every` beside `steps`: how long a step takes, such as 1h", "", written["steps"][0].at)
    start, until = found.get("from"), found.get("until")
    if start is not None and until is not None and until <= start:
        yield _not_this("`until` to be later than `from`", written["until"][1])


_DRAWS: Final = ": the share is drawn by the name"
_NEEDED: Final = (
    ("over", ("name",), _DRAWS),
    ("steps", ("name",), _DRAWS),
    ("share", ("name",), _DRAWS),
    ("bake", ("name",), ": what is taken back has to be called something"),
    ("over", ("from",), ", the time at which it begins"),
    ("steps", ("from",), ", the time of the first step"),
    ("bake", ("from",), ", the time at which it begins"),
    ("every", ("steps",), ""),
    ("of", ("over", "steps"), ": nothing else draws a share of processes"),
    ("is", ("by",), ", what the flags are keyed by"),
    ("share", ("by",), ", what the flags are keyed by; a share of processes is written as `steps`, such as [10%]"),
)
"""A key, other keys of which the rule must have at least one, and the reason."""

_FORBIDDEN: Final = (
    ("over", "steps", "write one of them"),
    ("over", "by", "write `steps` for a share of keys that grows"),
    ("bake", "by", "health is a matter of a process, not of a key"),
    ("of", "by", "the key draws the share"),
    ("share", "is", "write two rules"),
    ("steps", "is", "write two rules"),
    ("share", "steps", "write the last share as the last step"),
)
"""A key, a key that the rule must not have with it, and what to write instead."""


def _made(found: Mapping[str, Any], number: int, place: Place) -> Rule:
    name = found.get("name")
    values = found["set"]
    return Rule(
        name=f"rule {number}" if name is None else name,
        is_named=name is not None,
        when=found.get("when", {}),
        unless=found.get("unless", {}),
        start=found.get("from"),
        until=found.get("until"),
        of=found.get("of", "pod"),
        over=found.get("over"),
        steps=found.get("steps", ()),
        every=found.get("every"),
        bake=found.get("bake"),
        by=found.get("by"),
        keys=found.get("is"),
        share=found.get("share"),
        values=values,
        content=_content(found),
        number=number,
        place=place,
    )


def _content(found: Mapping[str, Any]) -> str:
    """
    Return a digest of a rule with its keys in order. A value that also has a native value is put into a list.

    A process remembers rules by this digest after they are gone, and a rule can have a megabyte of keys.
    """
    values = found["set"].items()
    printed = {flag: [raw, *sorted(raw.written.items())] if isinstance(raw, Text) else raw for flag, raw in values}
    parts = {"of": "pod", **found, "set": printed}
    return str(sha256()(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest())


def _shown(text: str) -> str:
    return repr(str(text) if len(text) <= _MAX_SHOWN_CHARACTERS else text[: _MAX_SHOWN_CHARACTERS - 1] + "…")


def _not_this(expected: str, node: Outline) -> _Refused:
    if isinstance(node, str):
        given = "null" if node.is_null else _shown(node)
    else:
        given = ("a " if node else "an empty ") + ("mapping" if isinstance(node, dict) else "list")
    return _Refused(f"expected {expected}", given, node.at)


def _read_text(expected: str) -> Callable[[Outline], str]:
    def read(node: Outline) -> str:
        if not isinstance(node, str) or node.is_null or not node:
            raise _not_this(expected, node)
        return str(node)

    return read


_read_by: Final = _read_text("what keys are, as in the declaration of the flags: tenant")
_read_of: Final = _read_text("the name of a fact: pod, node")
_read_glob: Final = _read_text("a text or a glob that the fact must fit")
_read_key: Final = _read_text("a key, in quotes if it looks like null")


def _read_name(node: Outline) -> str:
    if not isinstance(node, str) or node.is_null or not 0 < len(node) <= _MAX_NAME_CHARACTERS or not node.isprintable():
        raise _not_this(f"a name of 1 to {_MAX_NAME_CHARACTERS} printable characters", node)
    if _PLACE_NAME.fullmatch(node):
        raise _not_this("a name that is not that of rules without one", node)
    return str(node)


def _read_facts(node: Outline) -> dict[str, tuple[str, ...]]:
    if not isinstance(node, dict) or not node:
        raise _not_this("a mapping of facts to what they must fit, such as {zone: [eu-1, eu-2]}", node)
    return {_read_of(fact): _read_several(globs, _read_glob) for fact, globs in node.items()}


def _read_keys(node: Outline) -> tuple[str, ...]:
    return _read_several(node, _read_key)


def _read_several(node: Outline, read: Callable[[Outline], str]) -> tuple[str, ...]:
    if isinstance(node, dict):
        raise _not_this("a text or a list of texts", node)
    return tuple(map(read, node)) if isinstance(node, list) else (read(node),)


def _read_time(node: Outline) -> datetime:
    moment = parse_time(node) if isinstance(node, str) else None
    if moment is None:
        raise _not_this(_TIME_EXPECTED, node)
    return moment


def _read_duration(node: Outline) -> timedelta:
    if not isinstance(node, str) or node.is_null:
        raise _not_this("a duration such as 30m", node)
    try:
        duration = DURATION.parse(node.strip())
    except Problem as problem:
        raise _not_this(problem.expected, node) from None
    if duration <= timedelta():
        raise _not_this("a duration above 0", node)
    return duration


def _read_percentage(node: Outline) -> int:
    found = _PERCENT.fullmatch(node) if isinstance(node, str) else None
    if found is None:
        bare = isinstance(node, str) and _BARE_NUMBER.fullmatch(node)
        raise _not_this("a percentage with its sign, such as 10%" if bare else _PERCENT_EXPECTED, node)
    whole, decimals = found.groups("")
    millionths = int(whole + decimals.ljust(6, "0"))
    if millionths > _MILLIONTHS:
        raise _not_this(_PERCENT_EXPECTED, node)
    return -(-millionths * _DRAWN // _MILLIONTHS)


def _read_steps(node: Outline) -> tuple[int, ...]:
    if not isinstance(node, list) or not node:
        raise _not_this("a list of percentages, such as [5%, 25%, 100%]", node)
    steps: list[int] = []
    for each in node:
        threshold = _read_percentage(each)
        if steps and threshold <= steps[-1]:
            raise _not_this("percentages of which each is higher than the one before", each)
        steps.append(threshold)
    return tuple(steps)


def _read_values(node: Outline) -> dict[str, Raw]:
    if not isinstance(node, dict) or not node:
        raise _not_this("a mapping of flags to their values, such as {rate_limit: 80}", node)
    return {str(flag): _read_value(value) for flag, value in node.items()}


def _read_value(node: Scalar | Items | Members) -> Raw:
    """
    Return the text of a scalar, whatever its quotes, or the value of a collection.
    """
    if isinstance(node, str):
        if node.is_null:
            raise _not_this('a value; leave the flag out, or write "" for an empty text', node)
        return str(node)
    from dflag._formats.outline import as_json, number_texts

    try:
        native = as_json(node)
    except NotJSON as error:
        raise _Refused(f"expected {error.expected}", error.detail, node.at) from None
    return Text(dumps(native), native, number_texts(node))


_Read: TypeAlias = "Callable[[Any], Any]"

_READERS: Final[dict[str, _Read]] = {
    "name": _read_name,
    "when": _read_facts,
    "unless": _read_facts,
    "from": _read_time,
    "until": _read_time,
    "of": _read_of,
    "over": _read_duration,
    "steps": _read_steps,
    "every": _read_duration,
    "bake": _read_duration,
    "by": _read_by,
    "is": _read_keys,
    "share": _read_percentage,
    "set": _read_values,
}
"""The function that reads the value of each key of a rule."""
