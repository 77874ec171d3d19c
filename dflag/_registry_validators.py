"""
The registry validators: checks of several flags of one registry.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dflag._cells import value_of
from dflag._faults import is_interrupt, name_of, text_of
from dflag._flags import pipeline_of
from dflag._pipeline import AuthorError, expect_no_verdict, log_fault
from dflag._quotes import may_quote
from dflag._snapshot import Snapshot, tables_of, values_of
from dflag.errors import DflagError, RegistryValidationError, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dflag._flags import Flag

RegistryValidator: TypeAlias = Callable[[Snapshot], object]

_MAX_BEHIND: Final = 10_000
"""How many exceptions are examined at most: the one that was raised, and those chained to it."""


class RegistryValidators:
    """
    The validators of one registry.

    Attributes:
        validators: The validators, in the order in which they run.

    Thread safety: any thread; validators run in the calling one.
    """

    def __init__(self) -> None:
        self.validators: tuple[RegistryValidator, ...] = ()
        self._running: Final[set[int]] = set()  # the threads that run validators now
        self._faults: Final[list[tuple[RegistryValidator, type[BaseException]]]] = []  # the faults that were reported

    def refuse_changes(self) -> None:
        """
        Raise `DflagError` if the current thread is running a validator.
        """
        if threading.get_ident() in self._running:
            raise DflagError("a registry validator cannot change flags: it only checks the snapshot that it is given")

    def run(self, candidate: Snapshot, *, secret: bool) -> None:
        """
        Run the validators on a candidate.

        Args:
            candidate: The values.
            secret: Whether to omit the message of a validator in any case. If False, the message is quoted unless it
                contains a secret.

        Raises:
            RegistryValidationError: One of the validators refuses the candidate.
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
                    refusal = self._refusal(validator, error, secret=secret or _may_quote_secret(error, candidate))
                    break
        finally:
            self._running.discard(me)
        if refusal is not None:
            raise refusal  # outside of the handler, so that no exception with a secret becomes its context

    def _refusal(self, validator: RegistryValidator, error: BaseException, *, secret: bool) -> RegistryValidationError:
        label = name_of(validator)
        is_verdict = isinstance(error, ValueError)  # any other exception is a fault of the validator
        if not is_verdict and self._is_news(validator, error):
            log_fault(f"registry validator {label}", "", error, secret=secret)
        refused = f"refused by the registry validator {label}"
        if secret:
            return RegistryValidationError(f"{refused} (what it says may quote a secret)")
        kind = "" if is_verdict or isinstance(error, AuthorError) else type(error).__name__
        refusal = RegistryValidationError(": ".join(filter(None, (refused, kind, one_line(text_of(error))))))
        refusal.__cause__ = error
        return refusal

    def _is_news(self, validator: RegistryValidator, error: BaseException) -> bool:
        """
        Return True at the first call for a fault of a validator: a refused change is checked, and fails, repeatedly.
        """
        is_news = not any(each is validator and fault is type(error) for each, fault in self._faults)
        if is_news:
            self._faults.append((validator, type(error)))
        return is_news

    def after_fork_in_child(self) -> None:
        self._running.intersection_update({threading.get_ident()})


def _may_quote_secret(error: BaseException, candidate: Snapshot) -> bool:
    """
    Return True if an exception, or one chained to it, quotes a value of a secret flag, or if that cannot be decided.
    """
    secrets = {flag: value for flag, value in values_of(candidate).items() if pipeline_of(flag).secret}
    forms = (each for flag, value in secrets.items() for each in _forms(flag, value, candidate))
    return bool(secrets) and may_quote(_words_of(error), forms)


def _words_of(error: BaseException) -> Iterator[str]:
    """
    Yield the messages of an exception and of those chained to it, because a traceback shows them all.
    """
    behind = [error]
    for each in islice(behind, _MAX_BEHIND):  # the list grows meanwhile
        yield text_of(each)
        yield from map(text_of, getattr(each, "__notes__", ()))
        behind += [other for other in (each.__cause__, each.__context__) if other is not None]
        behind += getattr(each, "exceptions", ())  # those of a group


def _forms(flag: Flag[Any], value: Any, candidate: Snapshot) -> Iterator[Any]:
    """
    Yield the values of a flag, with those for keys, and their texts.
    """
    table = tables_of(candidate).get(flag)
    keyed = [] if table is None else [each.value for layer in table.layers for each in layer]
    for each in (value, value_of(flag), *keyed):
        yield pipeline_of(flag).kind.format(each)
        yield each
