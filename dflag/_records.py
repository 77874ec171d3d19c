"""
The frozen records that a registry hands out.

Imported when the first one is made: dataclasses would double the time that importing dflag takes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from dflag.typing import Unreadable

if TYPE_CHECKING:
    import datetime
    from collections.abc import Mapping

    from dflag.errors import DflagError, FlagValueError
    from dflag.typing import Raw

RulePhase: TypeAlias = Literal["refused", "reverted", "ended", "elsewhere", "waiting", "baking", "done", "in force"]
"""What a rule is in this process: the first that fits."""


def _checksum_of(values: Mapping[str, Raw]) -> str:
    import hashlib  # 2 ms that a program may never need

    digest = hashlib.sha256()
    for key in sorted(values):
        raw = values[key]
        if key[:1] == "." or isinstance(raw, Unreadable):
            continue  # no flag's, or not known
        for part in (_encode(key), raw if isinstance(raw, bytes) else _encode(raw)):
            digest.update(b"%d:" % len(part))
            digest.update(part)
    return digest.hexdigest()[:12]


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # a text may hold what no UTF-8 can: the flag refuses it


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """
    What one `FlagRegistry.apply` did.

    Attributes:
        number: Grows with every commit of the registry, whatever caused it: a cache key.
        source: The source that was applied.
        applied_at: When, in UTC.
        changed: The flags whose effective value is another one now, in name order.
        rejected: The flags whose value was refused, with the reason; they keep their last good value.
        unknown: The names that no flag has, in order.
        pending_restart: The static flags that would have another value after a restart, in order.
        error: Why the whole revision was refused by a registry validator, else None.
        rules: The names of the source's rules that are in force in this process, in order.
    """

    number: int
    source: str
    applied_at: datetime.datetime
    changed: tuple[str, ...] = ()
    rejected: Mapping[str, FlagValueError] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    pending_restart: tuple[str, ...] = ()
    error: DflagError | None = None
    rules: tuple[str, ...] = ()
    _values: Mapping[str, Raw] = field(repr=False, compare=False)
    _checksum: str | None = field(init=False, default=None, repr=False, compare=False)

    @property
    def checksum(self) -> str:
        """
        The first 12 hex digits of SHA-256 over the raw values: the same in every process that read the same ones.

        Over each key in sorted order, both as decimal length in bytes, ``:`` and the bytes in UTF-8: the key, then its
        value. Left out are keys that the updater ignores, that begin with a dot, or whose value cannot be read.
        """
        if (
            self._checksum is None
        ):  # when it is first asked for: at 0.5 microseconds a key it costs a third of a reading
            object.__setattr__(self, "_checksum", _checksum_of(self._values))
        return cast("str", self._checksum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """
    What one layer holds for a flag, as `FlagRegistry.explain` lists it.

    Attributes:
        origin: The layer: ``"default"``, ``"environment"``, ``"command line"``, a source's name, ``"override"``.
        value: The value; ``"******"`` for a secret flag.
        text: The value as text; ``"******"`` for a secret flag.
        reason: Why it was set, for an override that says so.
        expires_in_seconds: How long an override will still last, else None.
        rule: The rule of the source that gives the value, else None.
    """

    origin: str
    value: Any
    text: str
    reason: str | None = None
    expires_in_seconds: float | None = None
    rule: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """
    One change of one flag's effective value, as `FlagRegistry.history` lists it.

    Attributes:
        when: In UTC.
        flag: The flag's name.
        old: The value before, as text; ``"******"`` for a secret flag.
        new: The value after, likewise.
        origin: The layer that holds the new value.
        reason: The reason given with the setting, or the name of the rule that gives the new value; else None.
    """

    when: datetime.datetime
    flag: str
    old: str
    new: str
    origin: str
    reason: str | None = None
