"""
A transaction calculates the values that edits of layers lead to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dflag._layers import COMMAND_LINE, DEFAULT, ENVIRONMENT, OVERRIDE, Entry
from dflag._registry import store_of_registry
from dflag._transaction import Transaction, highest_layer, merged_value, trial_of

if TYPE_CHECKING:
    import pytest

    import dflag

RANKING = (OVERRIDE, "late", "early", COMMAND_LINE, ENVIRONMENT)


def test_the_highest_layer_with_a_value_wins() -> None:
    """The ranking decides which layer is the highest, not the order of entries; with none of them it is the default."""
    assert highest_layer({"early": Entry(1), "late": Entry(2)}, RANKING) == "late"
    assert highest_layer({ENVIRONMENT: Entry(1), COMMAND_LINE: Entry(2)}, RANKING) == COMMAND_LINE
    assert highest_layer({"elsewhere": Entry(1)}, RANKING) == DEFAULT


def test_a_map_merges_its_sources_down_to_the_first_layer_of_the_program(flags: dflag.FlagRegistry) -> None:
    """A map takes each key from the highest source; the command line hides the sources below it."""
    limits = flags.dyn_map("limits", {}, keys="?", of="int")
    early, late = Entry({"a": 1, "b": 1}), Entry({"b": 2})
    assert merged_value(limits, {"early": early, "late": late}, RANKING) == {"a": 1, "b": 2}
    below = (OVERRIDE, "late", COMMAND_LINE, ENVIRONMENT, "early")
    held = {"early": early, COMMAND_LINE: Entry({"c": 3}), "late": late}
    assert merged_value(limits, held, below) == {"b": 2}


def test_only_an_override_has_a_time_limit(flags: dflag.FlagRegistry) -> None:
    """A flag is timed when its override has a deadline, and not when an entry of another layer has one."""
    rate, store = flags.dyn_int("rate", 1), store_of_registry(flags)
    assert store.plan([(rate, OVERRIDE, Entry(2, None, 5.0))]).timed == {rate}
    assert store.plan([(rate, OVERRIDE, Entry(2))]).timed == frozenset()
    assert store.plan([(rate, "source", Entry(2, None, 5.0))]).timed == frozenset()


def test_a_transaction_changes_nothing_before_it_is_committed(flags: dflag.FlagRegistry) -> None:
    """A planned transaction lists old value, new value and origin, omits hidden edits, and changes no value."""
    rate, hidden = flags.dyn_int("rate", 1), flags.dyn_int("hidden", 1)
    hidden.set(5)
    store = store_of_registry(flags)
    edits = [(rate, "file", Entry(2)), (hidden, ENVIRONMENT, Entry(3))]
    transaction = Transaction(store.base(), edits, reason="try")
    assert transaction.changed == ("rate",)
    assert transaction.differences[0] == (rate, 1, 2, "file", "try")
    assert (rate.get(), hidden.get()) == (1, 5)


def test_a_trial_begins_with_the_defaults(flags: dflag.FlagRegistry) -> None:
    """A trial ignores the values in force and shows its edits over the defaults."""
    rate, other = flags.dyn_int("rate", 1), flags.dyn_int("other", 1)
    rate.set(5)
    store = store_of_registry(flags)
    transaction = Transaction(trial_of(store.base(), ["file"]), [(other, "file", Entry(2))])
    assert (transaction.snapshot[rate], transaction.snapshot[other]) == (1, 2)
    assert (rate.get(), other.get()) == (5, 1)


def test_a_comparison_that_raises_is_reported_once_and_quotes_no_secret(
    flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """Values whose comparison raises count as changed; each flag logs the error once, a secret one without its text."""

    class Token:
        def __init__(self, text: str) -> None:
            self.text = text

        def __eq__(self, other: object) -> bool:
            raise ArithmeticError(f"cannot compare {self.text}")

        __hash__ = None  # type: ignore[assignment]  # as is right for a class with an __eq__

    for name, secret in (("token", True), ("stamp", False)):
        flag = flags.dyn_custom(name, Token("first"), parse=Token, secret=secret)
        for text in ("hunter2", "hunter3", "hunter4"):
            flag.set_text(text)
        assert flag.get().text == "hunter4"
    assert [record.getMessage().split(",")[0] for record in caplog.records if record.levelname == "ERROR"] == [
        "flag 'token': cannot compare its values",
        "flag 'stamp': cannot compare its values",
    ]
    secret_part, open_part = caplog.text.split("flag 'stamp'")
    assert "hunter" not in secret_part
    assert "cannot compare first" in open_part
