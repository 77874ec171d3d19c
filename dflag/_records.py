"""
The frozen records that a registry hands out.

This module is imported when the first record is made: importing dataclasses would double the import time of dflag.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from dflag._raw import Unreadable

if TYPE_CHECKING:
    import datetime
    from collections.abc import Mapping

    from dflag.errors import DflagError, FlagValueError
    from dflag.typing import Raw

RulePhase: TypeAlias = Literal["refused", "reverted", "ended", "elsewhere", "waiting", "baking", "done", "in force"]
"""The state of a rule in this process: the first of these that applies."""


class Contents:
    """
    The raw values of a revision. A pickle contains only their checksum, because some values are secret.
    """

    __slots__ = ("_checksum", "_values")

    def __init__(self, values: Mapping[str, Raw], checksum: str | None = None) -> None:
        self._values = values
        self._checksum = checksum

    @property
    def checksum(self) -> str:
        if self._checksum is None:
            # Computed on first use: at 0.5 microseconds a key it takes a third of the time of a reading.
            self._checksum = _checksum_of(self._values)
        return self._checksum

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[type[Contents], tuple[Mapping[str, Raw], str]]:
        return Contents, ({}, self.checksum)


def _checksum_of(values: Mapping[str, Raw]) -> str:
    import hashlib  # takes 2 ms, and many programs never need it

    digest = hashlib.sha256()
    for key in sorted(values):
        raw = values[key]
        if key[:1] == "." or isinstance(raw, Unreadable):
            continue  # no flag has such a key, or the value is not known
        for part in (_encode(key), raw if isinstance(raw, bytes) else _encode(raw)):
            digest.update(b"%d:" % len(part))
            digest.update(part)
    return digest.hexdigest()[:12]


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # a text may have an unpaired surrogate: the flag refuses it


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """
    The result of one `FlagRegistry.apply`, or of one read of an updater.

    Attributes:
        number: A number that increases with every commit of the registry, also of ``set`` and when an override expires.
            It can serve as a cache key.
        source: The source that was applied.
        applied_at: The time at which it was applied, in UTC.
        changed: The flags whose effective value has changed, in name order.
        rejected: The errors of refused values by flag name; by key for a key of a map, and by ``rule:NAME`` for a rule.
            The last good values stay.
        unknown: The names that no flag has, in name order.
        pending_restart: The static flags that would have another value after a restart, in name order.
        error: The error of the registry validator that refused the whole revision, otherwise None.
        rules: The names of the source's rules that are in force in this process, in their order.
    """

    number: int
    source: str
    applied_at: datetime.datetime
    changed: tuple[str, ...] = ()
    rejected: Mapping[str, FlagValueError] = field(default_factory=dict, hash=False)
    unknown: tuple[str, ...] = ()
    pending_restart: tuple[str, ...] = ()
    error: DflagError | None = None
    rules: tuple[str, ...] = ()
    _contents: Contents = field(repr=False, compare=False)

    @property
    def checksum(self) -> str:
        """
        The first 12 hex digits of SHA-256 over the raw values, equal in every process that has read the same values.

        The input is each key in sorted order, followed by its value. Each of the two is written as its length in bytes,
        in decimal, then ``:``, then its bytes in UTF-8. Keys that the updater ignores, keys that begin with a dot, and
        keys whose value cannot be read are left out.
        """
        return self._contents.checksum


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """
    The value of one layer for a flag, as `FlagRegistry.explain` returns it.

    Attributes:
        origin: The layer: ``"default"``, ``"environment"``, ``"command line"``, a source's name, ``"override"``.
        value: The value; ``"******"`` for a secret flag.
        text: The value as text; ``"******"`` for a secret flag.
        reason: The reason that was given with an override, otherwise None.
        expires_in_seconds: After how many seconds the time limit of an override drops it; None without a time limit.
        rule: The rule of the source that gives the value, otherwise None.
    """

    origin: str
    value: Any = field(hash=False)
    text: str
    reason: str | None = None
    expires_in_seconds: float | None = None
    rule: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """
    One change of one flag's effective value, as `FlagRegistry.history` returns it.

    Attributes:
        when: The time of the change, in UTC.
        flag: The flag's name.
        old: The value before the change, as text; ``"******"`` for a secret flag.
        new: The value after the change, likewise.
        origin: The layer that holds the new value.
        reason: The reason that was given for the change, or the name of the rule that gives the new value; or None.
    """

    when: datetime.datetime
    flag: str
    old: str
    new: str
    origin: str
    reason: str | None = None
