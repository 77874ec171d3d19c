"""
Texts about a flag, for several commands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dflag._flags import pipeline_of
from dflag.errors import FlagValueError

if TYPE_CHECKING:
    from dflag._flags import Flag


def describe(flag: Flag[Any]) -> str:
    """
    Return what a flag accepts, in a few words: ``dynamic int from 1 to 10000``; for a secret, without its choices.
    """
    pipeline, kind = pipeline_of(flag), pipeline_of(flag).kind
    words = ["dynamic" if flag.dynamic else "static", kind.name if flag.secret and kind.members() else kind.words()]
    if pipeline.range_text():
        words.append(pipeline.range_text())
    if pipeline.choices_text() and not flag.secret:
        words.append(f"{kind.out_of} {pipeline.choices_text()}")
    return " ".join(words)


def written_default(flag: Flag[Any]) -> str | bytes:
    """
    Return the default as a source would hold it. The text of a secret is complete, and not masked.
    """
    kind, default = pipeline_of(flag).kind, flag.default
    return default if kind.binary else kind.exact(default) if flag.secret else kind.format(default)


def reads_back(flag: Flag[Any], raw: str | bytes) -> bool:
    """
    Return whether the flag reads its default from a raw value.

    A mutator may change the value, a JSON type may hide a part of it, and a parser of the program might not accept what
    is printed.
    """
    try:
        if isinstance(raw, str):
            raw.encode()
        return bool(pipeline_of(flag).kind.same(pipeline_of(flag).read(flag.name, raw, ""), flag.default))
    except (FlagValueError, UnicodeEncodeError):
        return False


def default_raw(flag: Flag[Any]) -> str | bytes | None:
    """
    Return the raw value that the flag reads as its default; None if there is none.
    """
    raw = written_default(flag)
    return raw if reads_back(flag, raw) else None


def default_text(flag: Flag[Any]) -> str | None:
    """
    Return the text that the flag reads as its default; None if there is none.
    """
    return as_text(default_raw(flag))


def as_text(raw: str | bytes | None) -> str | None:
    """
    Return the text of a raw value; None for bytes that are not UTF-8.
    """
    try:
        return raw.decode() if isinstance(raw, bytes) else raw
    except UnicodeDecodeError:
        return None


def remarks(flag: Flag[Any]) -> list[str]:
    """
    Return lines about the deprecation, the last day and the owner of a flag.
    """
    found = []
    if flag.deprecated is not None:
        found.append(f"Deprecated: {flag.deprecated}")
    if flag.expires is not None:
        found.append(f"To be gone by {flag.expires}")
    if flag.owner is not None:
        found.append(f"Owner: {flag.owner}")
    return found


def double_quoted(text: str) -> str:
    """
    Return a text in double quotes, as YAML and JSON read it.
    """
    return '"' + "".join(c if c.isprintable() and c not in '"\\' else _escape(c) for c in text) + '"'


def _escape(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character in "\n\t\r":
        return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}[character]
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
