"""
The checks over several flags of a registry.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, TypeAlias

from dflag._faults import is_interrupt, name_of, text_of
from dflag._log import logger
from dflag._pipeline import AuthorError, expect_no_verdict
from dflag._snapshot import Snapshot
from dflag.errors import DflagError, RegistryValidationError, one_line

RegistryValidator: TypeAlias = Callable[[Snapshot], object]


class RegistryValidators:
    """
    The checks over several flags of one registry.

    Attributes:
        validators: In the order in which they run; replaced whole, never changed.

    Thread safety: any thread; validators run in the calling one.
    """

    def __init__(self) -> None:
        self.validators: tuple[RegistryValidator, ...] = ()
        self._running: Final[set[int]] = set()  # the threads that run them

    def refuse_changes(self) -> None:
        """
        Raise `DflagError` in a thread that runs a validator now.
        """
        if threading.get_ident() in self._running:
            raise DflagError("a registry validator cannot change flags: it only checks the snapshot that it is given")

    def run(self, candidate: Snapshot, *, secret: bool) -> None:
        """
        Run the validators on values.

        Args:
            candidate: The values.
            secret: Whether a message may not quote what a validator says.

        Raises:
            RegistryValidationError: One of them refuses.
        """
        self.refuse_changes()
        me = threading.get_ident()
        self._running.add(me)
        refusal: RegistryValidationError | None = None
        try:
            for validator in self.validators:
                try:
                    expect_no_verdict(validator(candidate))
                except BaseException as error:
                    if is_interrupt(error):
                        raise
                    refusal = _refusal(validator, error, secret=secret)
                    break
        finally:
            self._running.discard(me)
        if refusal is not None:
            raise refusal  # outside of the handler, so that a secret does not hang on it as its context

    def after_fork_in_child(self) -> None:
        self._running.intersection_update({threading.get_ident()})


def _refusal(validator: RegistryValidator, error: BaseException, *, secret: bool) -> RegistryValidationError:
    label = name_of(validator)
    is_verdict = isinstance(error, ValueError)
    if isinstance(error, AuthorError):
        logger.error("registry validator %s: %s", label, error)
    elif not is_verdict:
        logger.error(
            "registry validator %s should raise ValueError, not %s",
            label,
            type(error).__name__,
            exc_info=None if secret else error,
        )
    if secret:
        return RegistryValidationError(f"refused by the registry validator {label}")
    text = one_line(text_of(error) if is_verdict else f"{type(error).__name__}: {text_of(error)}")
    refusal = RegistryValidationError(f"refused by the registry validator {label}: {text}")
    refusal.__cause__ = error
    return refusal
