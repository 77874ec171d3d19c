"""
The demands of a flag on a text, in the Common Expression Language (CEL) of Kubernetes.

An expression never refuses a text that the flag accepts. Demands that no expression covers are listed in words.
In addition to standard CEL only ``trim`` and ``substring`` are used, which Kubernetes has had since 1.25.
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
"""Matches parts of an expression that Python and RE2, which CEL uses, read differently, or only one of them reads."""

_MOST_REPEATS: Final = 1_000
"""The limit of RE2, and of Go's regexp in the API server, for repeating a part; nested counts are multiplied."""

_TOKENS: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|[^]\\])*\]|\{(\d+)(?:,(\d*))?\}|.", re.DOTALL)
"""Matches the tokens of a regular expression that matter for groups and counts: escapes, sets, counts, the rest."""

_LENGTHS: Final = {"minLength": ">=", "maxLength": "<="}
"""The keywords of JSON Schema for the limits of a text's length, each with the operator that CEL compares by."""


def demands_of(flag: Flag[Any]) -> CEL:
    """
    Return the demands of a flag, as conditions and in words.
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
    Return an expression for a list with one text: *text* as a flag's parser sees it.
    """
    without_mark = f"[{text}].map(t, t.startsWith({quote(chr(0xFEFF))}) ? t.substring(1) : t)"
    return f"{without_mark}.map(t, t.trim())" if strip else without_mark


def _add_validator(found: CEL, flag: Flag[Any], validator: Any) -> None:
    """
    Add the demands of a validator: as conditions if the text is the value and CEL can express them, else in words.
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
    # In Python a dollar also matches before a final line end, but a stripped text has none.
    return (
        pattern.flags == re.UNICODE
        and not _NOT_ALIKE.search(pattern.pattern)
        and (strip or "$" not in pattern.pattern)
        and _most_repeats(pattern.pattern) <= _MOST_REPEATS
    )


def _most_repeats(pattern: str) -> int:
    """
    Return the highest repeat count of a part of an expression, multiplied by the counts of the groups around it.
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
