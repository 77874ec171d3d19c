"""
An example of rules for the flags of a program, in comments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dflag.cli._texts import default_raw, double_quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dflag._flags import Flag

_START: Final = "2030-01-01T10:00:00Z"
"""So far in the future that nobody starts a rollout by removing the comment signs."""


def commented_rules(key: str, flags: Sequence[Flag[Any]], *, block: bool) -> Iterator[str]:
    """
    Yield, as comments, the lines of a key with rules that set some of the flags to their defaults.

    Args:
        key: The key.
        flags: The flags to choose from.
        block: Whether the rules are a text in a block, as in a ConfigMap.
    """
    dynamic = _setting([flag for flag in flags if flag.dynamic])
    plain = dynamic or _setting(flags)
    if plain is None:
        return
    lines = [
        "- name: some-zones  # with a name, a bad edit leaves its last good text in force",
        "  when: {zone: [eu-1, eu-2]}  # each named fact must fit; of a list any; globs",
        f"  set: {{{plain}}}",
    ]
    if dynamic is not None:
        lines += [
            "- name: first-rollout  # staged: each process switches once within half an hour",
            f"  from: {_START}",
            "  over: 30m",
            "  bake: 15m  # and goes back by itself when it is not healthy within that",
            f"  set: {{{dynamic}}}",
        ]
    for number, by in enumerate(sorted({flag.by for flag in flags if flag.by is not None}), 1):
        keyed = _setting([flag for flag in flags if flag.by == by])
        if keyed is not None:
            lines += [
                f"- name: some-keys-{number}",
                f"  by: {double_quoted(by)}  # keyed",
                "  is: [acme, initech]",
                f"  set: {{{keyed}}}",
            ]
    yield f"# {key}: |" if block else f"# {key}:"
    yield from (f"#   {line}" for line in lines)


def _setting(flags: Sequence[Flag[Any]]) -> str | None:
    """
    Return the name and default of the first flag whose default can be written as a short text; None if there is none.
    """
    for flag in flags:
        raw = default_raw(flag)
        if isinstance(raw, str) and len(raw) <= 80:
            return f"{double_quoted(flag.name)}: {double_quoted(raw)}"
    return None
