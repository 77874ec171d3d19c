"""
What several commands say of a flag.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dflag._flags import Flag


def describe(flag: Flag[Any]) -> str:
    """
    Say what a flag takes, in a few words: ``dynamic int from 1 to 10000``.
    """
    spec, kind = flag._spec, flag._spec.kind
    words = ["dynamic" if flag.dynamic else "static", kind.name]
    if kind.gathers or kind.name == "enum":
        words.append(f"({kind.expected})")
    if spec.range_text():
        words.append(spec.range_text())
    if spec.choices_text():
        words.append(f"{'of items' if kind.itemised else 'out of'} {spec.choices_text()}")
    return " ".join(words)


def remarks(flag: Flag[Any]) -> list[str]:
    """
    Say what else there is to know about a flag.
    """
    found = []
    if flag.deprecated is not None:
        found.append(f"Deprecated: {flag.deprecated}")
    if flag.expires is not None:
        found.append(f"To be gone by {flag.expires}")
    if flag.owner is not None:
        found.append(f"Owner: {flag.owner}")
    return found
