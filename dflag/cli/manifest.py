"""
``dflag manifest``: print a ConfigMap or Secret with all flags at their defaults.
"""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any, Final, TextIO

from dflag._flags import pipeline_of
from dflag._formats.base import NotJSON
from dflag._formats.documents import read
from dflag._layers import RULES_KEYS
from dflag._raw import Unreadable
from dflag.cli._errors import CommandError
from dflag.cli._names import namespace_name, object_name
from dflag.cli._registry import load
from dflag.cli._rules_example import commented_rules
from dflag.cli._texts import as_text, default_raw, describe, double_quoted, reads_back, remarks, written_default
from dflag.errors import one_line
from dflag.sources._entries import is_key

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from dflag._flags import Flag

_PLAIN: Final = re.compile(r"[A-Za-z_][-._A-Za-z0-9]*")
_WORDS: Final = frozenset({"false", "n", "no", "null", "off", "on", "true", "y", "yes"})


def run(options: argparse.Namespace, out: TextIO) -> int:
    """
    Print the manifest.
    """
    object_name(options.name)
    if options.namespace is not None:
        namespace_name(options.namespace)
    if options.key is not None and not is_key(options.key):
        raise CommandError(f"expected a key of [-._a-zA-Z0-9] that does not begin with a dot, got {options.key[:80]!r}")
    registry = load(options.registry)
    secret = options.kind == "Secret"
    flags = [flag for flag in registry if flag.secret is secret]
    lines = ["apiVersion: v1", f"kind: {options.kind}", "metadata:", f"  name: {_quoted(options.name)}"]
    if options.namespace is not None:
        lines.append(f"  namespace: {_quoted(options.namespace)}")
    if options.key is None:
        texts = [flag for flag in flags if not pipeline_of(flag).kind.binary]
        binaries = [flag for flag in flags if pipeline_of(flag).kind.binary]
        lines += _field("stringData" if secret else "data", texts)
        lines += _field("data" if secret else "binaryData", binaries)
        if options.rules and any(line in ("data:", "stringData:") for line in lines):
            lines += [f"  {line}" for line in commented_rules(RULES_KEYS[0], flags, block=True)]
    else:
        lines += ["stringData:" if secret else "data:", *_document(options.key, flags)]
        if options.rules and options.key.endswith(".json"):
            raise CommandError(f"expected a key of YAML for --rules, which are comments, got {options.key!r}")
        if options.rules:
            lines += [f"    {line}" for line in commented_rules(RULES_KEYS[1], flags, block=False)]
    out.write("\n".join(lines) + "\n")
    return 0


def _document(key: str, flags: list[Flag[Any]]) -> Iterator[str]:
    """
    Yield the lines of a key whose value is a document with a key for each flag.
    """
    if key.endswith(".json"):
        members = [
            member for flag in flags if (member := _member(flag, _json_candidates(flag), yaml=False)) is not None
        ]
        lines = ["{", *(f"  {member}," for member in members[:-1]), *(f"  {member}" for member in members[-1:]), "}"]
    else:
        lines = [line for flag in flags for line in _document_entry(flag)] or ["{}"]
    yield f"  {_quoted(key)}: |"
    yield from (f"    {line}" for line in lines)


def _document_entry(flag: Flag[Any]) -> Iterator[str]:
    yield from (f"# {line}".rstrip() for line in _comments(flag))
    raw = as_text(written_default(flag))
    blocks = [] if raw is None else ["\n".join(_written(flag.name, raw, block=pipeline_of(flag).kind.is_block))]
    flows = [f"{_quoted(flag.name)}: {candidate}" for candidate in _natives(raw)]
    yield from (_member(flag, [*blocks, *flows], yaml=True) or _unwritable(flag)).splitlines()


def _json_candidates(flag: Flag[Any]) -> list[str]:
    raw = as_text(written_default(flag))
    texts = [] if raw is None else [_as_json(raw), *_natives(raw)]
    return [f"{json.dumps(flag.name)}: {text}" for text in texts]


def _natives(raw: str | None) -> list[str]:
    """
    Return the text as a document can hold it without quotes; an empty list if it is not JSON.
    """
    if raw is None:
        return []
    try:
        value = json.loads(raw)
    except ValueError:
        return []
    return [raw if raw.isprintable() else json.dumps(value)]


def _as_json(text: str) -> str:
    # The document is part of a YAML file, and YAML ends a line at some characters that JSON allows in a string.
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _member(flag: Flag[Any], candidates: list[str], *, yaml: bool) -> str | None:
    """
    Return the first candidate from which the flag reads its default in a document; None if there is none.
    """
    for candidate in candidates:
        text = candidate if yaml else f"{{{candidate}}}"
        try:
            values = read(text.encode(), yaml=yaml).values
        except (NotJSON, UnicodeEncodeError):
            continue
        raw = values[flag.name]
        if not isinstance(raw, Unreadable) and reads_back(flag, raw):
            return candidate
    return None


def _unwritable(flag: Flag[Any]) -> str:
    return f"# Its default cannot be written as a value.\n# {_quoted(flag.name)}:"


def _field(name: str, flags: list[Flag[Any]]) -> list[str]:
    entries = [(_comments(flag), _entry(flag)) for flag in flags]
    if not entries:
        return []
    holds = any(not line.lstrip().startswith("#") for _, entry in entries for line in entry)
    lines = [f"{name}:" if holds else f"{name}: {{}}"]
    for comments, entry in entries:
        lines += [f"  # {line}".rstrip() for line in comments] + [f"  {line}" for line in entry]
    return lines


def _comments(flag: Flag[Any]) -> Iterator[str]:
    yield from map(one_line, flag.help.splitlines())
    kind = pipeline_of(flag).kind
    hidden = flag.secret or kind.binary or kind.exact(flag.default) != kind.format(flag.default)
    default = "" if hidden else f", default {pipeline_of(flag).kind.format(flag.default) or 'empty'}"
    yield one_line(describe(flag) + default)
    yield from map(one_line, remarks(flag))


def _entry(flag: Flag[Any]) -> list[str]:
    raw = default_raw(flag)
    if raw is None:
        return _unwritable(flag).splitlines()
    return _written(flag.name, raw, block=pipeline_of(flag).kind.is_block)


def _written(name: str, raw: str | bytes, *, block: bool) -> list[str]:
    key = _quoted(name)
    if isinstance(raw, bytes):
        return [f"{key}: {_quoted(base64.b64encode(raw).decode())}"]
    if block and raw.isprintable() and len(raw) > 2 and raw[0] in "[{":
        lines = json.dumps(json.loads(raw), indent=2, ensure_ascii=False, sort_keys=True).splitlines()
        return [f"{key}: |", *(f"  {line}" for line in lines)]
    return [f"{key}: {double_quoted(raw)}"]


def _quoted(name: str) -> str:
    """
    Return a name without quotes if YAML reads it as that text, else in double quotes.
    """
    return name if _PLAIN.fullmatch(name) and name.lower() not in _WORDS else double_quoted(name)
