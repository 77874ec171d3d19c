"""
The checks over several flags of a registry.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from dflag._registry_validators import RegistryValidators
from dflag.errors import DflagError, RegistryValidationError

if TYPE_CHECKING:
    import dflag


def _refuse(_: object) -> None:
    raise ValueError("burst below rate")


def test_the_first_that_refuses_ends_the_check(flags: dflag.FlagRegistry) -> None:
    """With its own words; those behind it are not asked."""
    checks, asked = RegistryValidators(), list[object]()
    checks.validators = (asked.append, _refuse, asked.append)
    with pytest.raises(RegistryValidationError, match=r"refused by the registry validator .*_refuse: burst below rate"):
        checks.run(flags.snapshot(), secret=False)
    assert len(asked) == 1


def test_a_refusal_of_secrets_quotes_nothing(flags: dflag.FlagRegistry) -> None:
    """Neither in its text nor in what hangs on it."""
    checks = RegistryValidators()
    checks.validators = (_refuse,)
    with pytest.raises(RegistryValidationError) as refused:
        checks.run(flags.snapshot(), secret=True)
    assert "burst" not in str(refused.value)
    assert (refused.value.__cause__, refused.value.__context__) == (None, None)


def test_another_error_than_a_refusal_refuses_too_and_is_logged(
    flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """A validator that is broken accepts nothing."""
    caplog.set_level(logging.ERROR, logger="dflag")
    checks = RegistryValidators()
    checks.validators = (lambda snapshot: snapshot["no_such_flag"],)
    with pytest.raises(RegistryValidationError, match="UnknownFlagError"):
        checks.run(flags.snapshot(), secret=False)
    assert "should raise ValueError, not UnknownFlagError" in caplog.text


def test_a_validator_cannot_change_flags(flags: dflag.FlagRegistry) -> None:
    """Its thread is refused for as long as it runs, and no longer."""
    checks, errors = RegistryValidators(), list[DflagError]()

    def nested(_: object) -> None:
        with pytest.raises(DflagError, match="cannot change flags") as refused:
            checks.refuse_changes()
        errors.append(refused.value)

    checks.validators = (nested,)
    checks.run(flags.snapshot(), secret=False)
    checks.refuse_changes()
    assert len(errors) == 1


def test_an_interrupt_is_no_verdict(flags: dflag.FlagRegistry) -> None:
    """Ctrl-C ends the program; afterwards the thread may change flags again."""

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    checks = RegistryValidators()
    checks.validators = (interrupt,)
    with pytest.raises(KeyboardInterrupt):
        checks.run(flags.snapshot(), secret=False)
    checks.refuse_changes()
