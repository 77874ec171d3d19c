"""
What has come of the readings of a source, for `Updater.status`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dflag._records import Revision
    from dflag.errors import FlagValueError
    from dflag.typing import Raw

ReloadResult: TypeAlias = Literal["applied", "partial", "refused", "failed"]
"""
What came of a reading with something new in it: all of it applied, or all but the values that are bad, or nothing
because some of it is bad; or it could not be read.
"""


class Outcome(NamedTuple):
    """
    What came of applying one source: the revision, and the rejections and unknown names not reported before.

    The revision is in force when it was applied now, or before and nothing is new.
    """

    revision: Revision
    values: Mapping[str, Raw]  # what the source has in force
    rejections: Sequence[FlagValueError]
    unknowns: Sequence[str]
    applied: bool
    in_force: bool


class Standing(NamedTuple):
    """
    How a source stands after some outcomes; replaced whole, never changed.
    """

    revision: Revision | None = None  # the last one that breaks no rule, or else the last; with what it rejected
    applied: Revision | None = None  # the last one in force
    refusal: str | None = None  # why nothing of what the source gives is applied, while that is so
    reloads: Mapping[ReloadResult, int] = MappingProxyType({"applied": 0, "partial": 0, "refused": 0})
    errors: int = 0
    warnings: int = 0

    @property
    def updates(self) -> int:
        return self.reloads["applied"] + self.reloads["partial"]

    def after(self, outcome: Outcome) -> Standing:
        """
        Give how the source stands after one more outcome. What lasts counts once.
        """
        error = outcome.revision.error
        refusal = None if outcome.in_force else _reason(outcome.revision)
        broken_anew = error is not None and refusal != self.refusal
        result: ReloadResult | None = None
        if outcome.applied:
            result = "partial" if outcome.revision.rejected else "applied"
        elif broken_anew or outcome.rejections:
            result = "refused"
        return Standing(
            revision=self.revision if error and self.revision and not self.revision.error else outcome.revision,
            applied=outcome.revision if outcome.in_force else self.applied,
            refusal=refusal,
            reloads=self.reloads if result is None else {**self.reloads, result: self.reloads[result] + 1},
            errors=self.errors + len(outcome.rejections) + broken_anew,
            warnings=self.warnings + len(outcome.unknowns),
        )


def _reason(revision: Revision) -> str:
    """
    Return why a revision was refused whole: it breaks a rule, or one of its values is bad and it is atomic.
    """
    if revision.error is not None:
        return str(revision.error)
    first, *others = revision.rejected.values()
    more = f" (and {len(others)} more)" if others else ""
    return f"nothing was applied (atomic=True): {first}{more}"


class Ledger:
    """
    How a source stands, for whoever feeds it.
    """

    __slots__ = ("standing",)

    def __init__(self) -> None:
        self.standing: Standing = Standing()

    def enter(self, outcome: Outcome) -> None:
        self.standing = self.standing.after(outcome)
