"""
What a flag demands of a text, in the Common Expression Language as Kubernetes has it.

An expression never refuses a text that the flag accepts. What the flag refuses beyond it is listed in words.
Only ``trim`` and ``substring`` are used beyond what every CEL has; both are Kubernetes' since 1.25.
"""

from __future__ import annotations

import math
import re
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dflag._flags import pipeline_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from dflag._flags import Flag
    from dflag._kinds.enums import EnumKind

_MICROSECOND: Final = timedelta(microseconds=1)
_NUMBER: Final = r"([0-9]+([.][0-9]*)?|[.][0-9]+)"
_DIGITS: Final = "[0-9](_?[0-9])*"
_FLOAT: Final = rf"^[-+]?({_DIGITS}([.]({_DIGITS})?)?|[.]{_DIGITS})([eE][-+]?{_DIGITS})?$"
_INFINITY: Final = "^{}([iI][nN][fF]|[iI][nN][fF][iI][nN][iI][tT][yY])$"
_LARGEST: Final = sys.float_info.max
_MICRO: Final = "\u00b5\u03bc"  # the sign and the Greek letter
_DURATION: Final = rf"^[-+]?([ \t]*{_NUMBER}[ \t]*([num{_MICRO}]?s|[mhdw]))+$"
_NOUGHT: Final = "^[-+]?(0+([.]0*)?|[.]0+)$"
_GO_DURATION: Final = rf"^[-+]?({_NUMBER}([um{_MICRO}]?s|[mh]))+$"
_BEYOND_ASCII: Final = r"[^\x00-\x7f]"
_INT_MIN: Final = -(2**63)
_INT_MAX: Final = 2**63 - 1
_TRUTHS: Final = {True: ("true", "t", "yes", "y", "on", "1"), False: ("false", "f", "no", "n", "off", "0")}

_NOT_ALIKE: Final = re.compile(r"\\[a-zA-Z0-9]|\(\?(?!:)|[*+?}]\+|\{,|\{\d*,?\d{4}|\[:|\[\[|&&|--|~~|\|\||[^ -~]")
"""What Python's expressions and RE2's, which CEL has, read differently, or one of them not at all."""


class Rule(NamedTuple):
    """
    What can be said of one flag.

    Attributes:
        conditions: Expressions over the stripped text ``t`` that are false for what the flag refuses.
        left: What the flag demands beyond them, in words.
    """

    conditions: list[str]
    left: list[str]


class _Limits(NamedTuple):
    """
    What the declaration of a flag says beside its kind; None for nothing.
    """

    kind: Any
    minimum: Any
    maximum: Any
    choices: Any


def rule_of(flag: Flag[Any]) -> Rule:
    """
    Say what a flag demands.
    """
    pipeline = pipeline_of(flag)
    if pipeline.input_mutator is not None:
        return Rule([], ["its input mutator may make anything of a text"])
    make = _KINDS.get(flag.type_name)
    if make is None:
        return Rule([], [f"values of type {flag.type_name}"])
    if pipeline.mutator is None:
        rule = make(_Limits(pipeline.kind, pipeline.min, pipeline.max, pipeline.choices))
        for validator in pipeline.validators:
            _add_validator(rule, flag, validator)
        return rule
    rule = make(_Limits(pipeline.kind, None, None, None))
    rule.left.append("what it demands of a value that its mutator has made")
    return rule


def stripped(text: str, *, strip: bool) -> str:
    """
    Give an expression of a list with one text: *text* as a flag's parser sees it.
    """
    without_mark = f"[{text}].map(t, t.startsWith({quote(chr(0xFEFF))}) ? t.substring(1) : t)"
    return f"{without_mark}.map(t, t.trim())" if strip else without_mark


def quote(text: str) -> str:
    """
    Write a string of CEL, raw where that is easier to read.
    """
    if "\\" in text and text.isascii() and text.isprintable() and "'" not in text:
        return f"r'{text}'"
    return "'" + "".join(_ESCAPES.get(char) or _escape(char) for char in text) + "'"


def matches(pattern: str) -> str:
    return f"t.matches({quote(pattern)})"


def _escape(char: str) -> str:
    if char.isascii() and char.isprintable():
        return char
    return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"


_ESCAPES: Final = {"\\": "\\\\", "'": "\\'"}


def _ints(limits: _Limits) -> Rule:
    from dflag.cli._numerals import ranges

    low = _INT_MIN if limits.minimum is None else limits.minimum
    high = _INT_MAX if limits.maximum is None else limits.maximum
    choices = limits.choices
    spans = [(low, high)] if choices is None else [(each, each) for each in choices if low <= each <= high]
    return Rule([matches(f"^({ranges(spans)})$") if spans else "false"], [])


def _floats(limits: _Limits) -> Rule:
    _, low, high, choices = limits
    # Always with both, or a text such as 1e400 might count as infinite.
    bounds = [f"double(t) >= {_double(low, -_LARGEST)}", f"double(t) <= {_double(high, _LARGEST)}"]
    allowed = [f"{matches(_FLOAT)} && {' && '.join(bounds)}"]
    if choices is not None:
        finite = ", ".join(_double(each) for each in choices if math.isfinite(each))
        allowed = [f"{allowed[0]} && double(t) in [{finite}]"]
    for sign, value in (("[+]?", math.inf), ("-", -math.inf)):
        if (low is None or low <= value) and (high is None or value <= high) and (choices is None or value in choices):
            allowed.append(matches(_INFINITY.format(sign)))
    return Rule([" || ".join(allowed)], [])


def _double(limit: float | None, otherwise: float = 0.0) -> str:
    """
    Write a limit, or what stands for an infinite one.
    """
    if limit is None or math.isinf(limit):
        return repr(otherwise if limit is None or limit * otherwise > 0 else -otherwise)
    return repr(float(limit))


def _bools(limits: _Limits) -> Rule:
    wanted = (True, False) if limits.choices is None else limits.choices
    words = [word for value, words in _TRUTHS.items() if value in wanted for word in words]
    return Rule([matches(f"^({'|'.join(map(_any_case, words))})$") if words else "false"], [])


def _durations(limits: _Limits) -> Rule:
    conditions = [f"{matches(_DURATION)} || {matches(_NOUGHT)}"]
    left = ["durations below a microsecond or beyond 292 years"]
    for limit, sign in ((limits.minimum, ">="), (limits.maximum, "<=")):
        if limit is not None:
            # Half a microsecond apart, which is what the flag rounds away.
            edge = limit // _MICROSECOND * 1000 + (500 if sign == "<=" else -500)
            conditions.append(f"!{matches(_GO_DURATION)} || duration(t) {sign} duration('{edge}ns')")
            if limit < timedelta() if sign == "<=" else limit > timedelta():
                conditions.append(f"!{matches(_NOUGHT)}")
    if limits.minimum is not None or limits.maximum is not None:
        left.append("the limits of durations with days, weeks, nanoseconds or spaces")
    if limits.choices is not None:
        left.append("its choices")
    return Rule(conditions, left)


def _enums(limits: _Limits) -> Rule:
    kind: EnumKind[Any] = limits.kind
    members = list(kind.cls.__members__.values()) if limits.choices is None else limits.choices
    exact = {**kind._by_value, **kind._by_name}
    words = [re.escape(text) for text, member in exact.items() if member in members]
    words += [_any_case(text) for text, member in kind._by_fold.items() if member in members]
    alternatives = "|".join(dict.fromkeys(words))
    # Many characters beyond ASCII fold to one in it, and some to two.
    return Rule(
        [f"{matches(_BEYOND_ASCII)} || {matches(f'^({alternatives})$')}"],
        ["names with other characters than those of ASCII"],
    )


def _strings(limits: _Limits) -> Rule:
    if limits.choices is None:
        return Rule([], [])
    return Rule([f"t in [{', '.join(map(quote, limits.choices))}]"], [])


_KINDS: Final[dict[str, Callable[[_Limits], Rule]]] = {
    "bool": _bools,
    "duration": _durations,
    "enum": _enums,
    "float": _floats,
    "int": _ints,
    "string": _strings,
}


def _any_case(text: str) -> str:
    return "".join(
        f"[{char.lower()}{char.upper()}]" if char.isascii() and char.isalpha() else re.escape(char) for char in text
    )


def _add_validator(rule: Rule, flag: Flag[Any], validator: Any) -> None:
    """
    Add what a validator demands of a string, if it says so.
    """
    keywords = getattr(validator, "keywords", {}) if flag.type_name == "string" else {}
    pattern = keywords.get("pattern")
    if pattern is not None and _is_alike(pattern, strip=pipeline_of(flag).strip):
        rule.conditions.append(matches(pattern.pattern))
    elif keywords.keys() & {"minLength", "maxLength"}:
        rule.conditions.extend(
            f"size(t) {sign} {keywords[name]}"
            for name, sign in (("minLength", ">="), ("maxLength", "<="))
            if name in keywords
        )
    elif "enum" in keywords and all(isinstance(each, str) for each in keywords["enum"]):
        rule.conditions.append(f"t in [{', '.join(map(quote, keywords['enum']))}]")
    else:
        rule.left.append(f"its validator {getattr(validator, '__qualname__', None) or repr(validator)}")


def _is_alike(pattern: re.Pattern[str], *, strip: bool) -> bool:
    # A dollar also stands before a last line end in Python, which strip has taken away.
    return (
        pattern.flags == re.UNICODE and not _NOT_ALIKE.search(pattern.pattern) and (strip or "$" not in pattern.pattern)
    )
