"""
What a flag demands of a text, in the Common Expression Language as Kubernetes has it.

An expression never refuses a text that the flag accepts. What the flag refuses beyond it is listed in words.
Only ``trim`` and ``substring`` are used beyond what every CEL has; both are Kubernetes' since 1.25.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from dflag._flags import pipeline_of
from dflag._kinds import NO_LIMITS
from dflag._kinds.cel import CEL, matches, quote
from dflag.validators import keywords_of

if TYPE_CHECKING:
    from dflag._flags import Flag

_NOT_ALIKE: Final = re.compile(r"\\[a-zA-Z0-9]|\(\?(?!:)|[*+?}]\+|\{,|\{(?:\d+,)?0\d|\[:|\[\[|&&|--|~~|\|\||[^ -~]")
"""What Python's expressions and RE2's, which CEL has, read differently, or one of them not at all."""

_MOST_REPEATS: Final = 1_000
"""How often RE2, and Go's regexp in the API server, repeat a part of an expression, nested counts multiplied."""

_TOKENS: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|[^]\\])*\]|\{(\d+)(?:,(\d*))?\}|.", re.DOTALL)
"""What an expression is made of, as far as groups and counts need it: escapes, sets of characters, counts, the rest."""

_LENGTHS: Final = {"minLength": ">=", "maxLength": "<="}
"""How JSON Schema names the limits of a text's length, and CEL compares with them."""


def demands_of(flag: Flag[Any]) -> CEL:
    """
    Return what a flag demands.
    """
    pipeline = pipeline_of(flag)
    if pipeline.input_mutator is not None:
        return CEL([], ["its input mutator may make anything of a text"])
    found = pipeline.kind.cel(pipeline.limits if pipeline.mutator is None else NO_LIMITS)
    if found is None:
        return CEL([], [f"values of type {flag.type_name}"])
    if pipeline.mutator is not None:
        found.left.append("what it demands of a value that its mutator has made")
        return found
    for validator in pipeline.validators:
        _add_validator(found, flag, validator)
    return found


def stripped(text: str, *, strip: bool) -> str:
    """
    Return an expression of a list with one text: *text* as a flag's parser sees it.
    """
    without_mark = f"[{text}].map(t, t.startsWith({quote(chr(0xFEFF))}) ? t.substring(1) : t)"
    return f"{without_mark}.map(t, t.trim())" if strip else without_mark


def _add_validator(found: CEL, flag: Flag[Any], validator: Any) -> None:
    """
    Add what a validator demands of a text that is the value, if it says so.
    """
    keywords = keywords_of(validator) if pipeline_of(flag).kind.is_text else {}
    pattern = keywords.get("pattern")
    if pattern is not None and _is_alike(pattern, strip=pipeline_of(flag).strip):
        found.conditions.append(matches(pattern.pattern))
    elif keywords.keys() & _LENGTHS.keys():
        lengths = [(sign, keywords[name]) for name, sign in _LENGTHS.items() if name in keywords]
        found.conditions.extend(f"size(t) {sign} {length}" for sign, length in lengths)
    elif "enum" in keywords and all(isinstance(each, str) for each in keywords["enum"]):
        found.conditions.append(f"t in [{', '.join(map(quote, keywords['enum']))}]")
    else:
        found.left.append(f"its validator {getattr(validator, '__qualname__', None) or repr(validator)}")


def _is_alike(pattern: re.Pattern[str], *, strip: bool) -> bool:
    # A dollar also stands before a last line end in Python, which strip has taken away.
    return (
        pattern.flags == re.UNICODE
        and not _NOT_ALIKE.search(pattern.pattern)
        and (strip or "$" not in pattern.pattern)
        and _most_repeats(pattern.pattern) <= _MOST_REPEATS
    )


def _most_repeats(pattern: str) -> int:
    """
    Return how often the most repeated part of an expression is repeated, counts of the groups around it included.
    """
    groups, inner = [1], 1
    for token in _TOKENS.finditer(pattern):
        repeats, inner = inner, 1
        if token[0] == "(":
            groups.append(1)
        elif token[0] == ")":
            inner = groups.pop()
            groups[-1] = max(groups[-1], inner)
        elif token[1]:
            groups[-1] = max(groups[-1], repeats * int(token[2] or token[1]))
    return max(groups)
