"""
The registry validators, which check several flags together.
"""

from __future__ import annotations

import dataclasses
import enum
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest

from dflag._registry_validators import RegistryValidators
from dflag.errors import DflagError, RegistryValidationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import dflag


class _Stamp:
    def __init__(self, text: str) -> None:
        self.text = text


@dataclasses.dataclass(frozen=True)
class _Account:
    user: str = "web"
    word: str = "correct horse"


class _Mode(enum.Enum):
    QUICK = "as-fast-as-it-goes"


def _refuse(_: object) -> None:
    raise ValueError("burst below rate")


def test_the_first_that_refuses_ends_the_check(flags: dflag.FlagRegistry) -> None:
    """The first registry validator that refuses ends the check with its message; those after it are not called."""
    checks, asked = RegistryValidators(), list[object]()
    checks.validators = (asked.append, _refuse, asked.append)
    with pytest.raises(RegistryValidationError, match=r"refused by the registry validator .*_refuse: burst below rate"):
        checks.run(flags.snapshot(), secret=False)
    assert len(asked) == 1


def test_a_refusal_of_secrets_quotes_nothing(flags: dflag.FlagRegistry) -> None:
    """With `secret=True`, a refusal does not quote the validator and has neither cause nor context."""
    checks = RegistryValidators()
    checks.validators = (_refuse,)
    with pytest.raises(RegistryValidationError) as refused:
        checks.run(flags.snapshot(), secret=True)
    assert "burst" not in str(refused.value)
    assert (refused.value.__cause__, refused.value.__context__) == (None, None)


def test_another_error_than_a_refusal_refuses_too_and_is_logged(
    flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """A registry validator that raises another error than ValueError refuses the values, and the error is logged."""
    caplog.set_level(logging.ERROR, logger="dflag")
    checks = RegistryValidators()
    checks.validators = (lambda snapshot: snapshot["no_such_flag"],)
    with pytest.raises(RegistryValidationError, match="UnknownFlagError"):
        checks.run(flags.snapshot(), secret=False)
    assert "should raise ValueError, not UnknownFlagError" in caplog.text


def test_a_validator_cannot_change_flags(flags: dflag.FlagRegistry) -> None:
    """`refuse_changes()` raises in the thread that runs a validator, and no longer once the validator has returned."""
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
    """KeyboardInterrupt in a validator is raised to the caller; afterwards the thread may change flags again."""

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    checks = RegistryValidators()
    checks.validators = (interrupt,)
    with pytest.raises(KeyboardInterrupt):
        checks.run(flags.snapshot(), secret=False)
    checks.refuse_changes()


@pytest.mark.parametrize(
    ("quote", "secret"),
    [
        (lambda snap: f"too many for {snap['rate']}", False),
        (lambda snap: f"the pin has {len(snap['pin'])} digits of 12345", False),
        (lambda snap: f"{snap['token']} is too short", True),
        (lambda snap: f"{snap['token']!r}_", True),
        (lambda snap: snap.for_("token", "acme"), True),
        (lambda snap: f"pin {snap['pin']}", True),
        (lambda snap: snap["login"]["users"][0], True),
        (lambda snap: next(iter(snap["login"])), True),
        (lambda snap: f"count={snap['count']}", True),
        (lambda snap: snap["mode"].value, True),
        (dict, True),
        (lambda snap: snap["stamp"].text, True),
        (lambda snap: snap["account"].word, True),
    ],
)
def test_no_message_quotes_a_secret(
    flags: dflag.FlagRegistry, quote: Callable[[dflag.Snapshot], object], secret: bool
) -> None:
    """A refusal leaves out the validator's message and exception if one of them, or its cause, quotes a secret."""
    flags.dyn_int("rate", 1)
    flags.dyn_string("token", "hunt\ner2", secret=True, by="tenant")
    flags.dyn_string("pin", "123", secret=True)
    flags.dyn_json("login", {"users": ["root-user"]}, secret=True)
    flags.dyn_int("count", -5, secret=True)
    flags.dyn_enum("mode", _Mode.QUICK, secret=True)
    flags.dyn_custom("stamp", _Stamp("stamped"), parse=_Stamp, format=lambda stamp: stamp.text, secret=True)
    flags.dyn_json("account", _Account(), type=_Account, secret=True)

    def refuse(snap: dflag.Snapshot) -> None:
        raise ValueError(f"because of {quote(snap)}")

    def refuse_behind(snap: dflag.Snapshot) -> None:
        try:
            refuse(snap)
        except ValueError as error:
            raise ValueError("because") from error

    for validator in (refuse, refuse_behind):
        checks = RegistryValidators()
        checks.validators = (validator,)
        with pytest.raises(RegistryValidationError) as refused:
            checks.run(flags.snapshot(), secret=False)
        assert ("because" in str(refused.value)) is not secret
        assert (refused.value.__cause__ is None) is secret


def test_the_fault_of_a_validator_is_logged_once(flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture) -> None:
    """A fault of a registry validator is logged once for each validator and type of exception."""
    checks, errors = RegistryValidators(), list[Exception]()

    def fail(_: object) -> None:
        raise errors[-1]

    def fail_too(_: object) -> bool:
        return False

    said = set()
    for validator, error in ((fail, KeyError(1)), (fail, KeyError(2)), (fail, OSError()), (fail_too, KeyError())):
        errors.append(error)
        checks.validators = (validator,)
        for _ in range(2):
            with pytest.raises(RegistryValidationError) as refused:
                checks.run(flags.snapshot(), secret=False)
            said.add(str(refused.value).rpartition(".")[2])
    assert said == {
        "fail: KeyError: 1",
        "fail: KeyError: 2",
        "fail: OSError",
        "fail_too: a validator should raise ValueError to refuse a value, not return False",
    }
    assert [message.split(".")[-1] for message in caplog.messages] == [
        "fail should raise ValueError, not KeyError",
        "fail should raise ValueError, not OSError",
        "fail_too: a validator should raise ValueError to refuse a value, not return False",
    ]


def _cyclic() -> list[object]:
    found: list[object] = [1]
    found.append(found)
    return found


class _Broken(Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        raise ArithmeticError

    def __len__(self) -> int:
        return 1


class _UnlikeError(ValueError):
    @property
    def __cause__(self) -> BaseException:  # type: ignore[override]  # as a user's class may
        raise ArithmeticError


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (_cyclic(), ValueError("because")),
        (_Broken(), ValueError("because")),
        ("token", _UnlikeError("because")),
        ("token", ValueError("because " * 10_000)),
    ],
)
def test_what_cannot_be_searched_for_secrets_is_left_out(
    flags: dflag.FlagRegistry, value: object, error: ValueError
) -> None:
    """A refusal leaves out the validator's message if the message or the secret value cannot be searched."""
    flags.dyn_custom("token", value, parse=lambda _: value, format=lambda _: "token", secret=True)

    def refuse(_: object) -> None:
        raise error

    checks = RegistryValidators()
    checks.validators = (refuse,)
    with pytest.raises(RegistryValidationError, match=r"refuse \(what it says may quote a secret\)$"):
        checks.run(flags.snapshot(), secret=False)
