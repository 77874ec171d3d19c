"""
What edits of layers lead to.
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
    """By the ranking and not by when a layer was filled; with none the default shows."""
    assert highest_layer({"early": Entry(1), "late": Entry(2)}, RANKING) == "late"
    assert highest_layer({ENVIRONMENT: Entry(1), COMMAND_LINE: Entry(2)}, RANKING) == COMMAND_LINE
    assert highest_layer({"elsewhere": Entry(1)}, RANKING) == DEFAULT


def test_a_map_merges_its_sources_down_to_the_first_layer_of_the_program(flags: dflag.FlagRegistry) -> None:
    """A later source wins key by key; the command line hides the sources that rank beneath it."""
    limits = flags.dyn_map("limits", {}, keys="?", of="int")
    early, late = Entry({"a": 1, "b": 1}), Entry({"b": 2})
    assert merged_value(limits, {"early": early, "late": late}, RANKING) == {"a": 1, "b": 2}
    below = (OVERRIDE, "late", COMMAND_LINE, ENVIRONMENT, "early")
    held = {"early": early, COMMAND_LINE: Entry({"c": 3}), "late": late}
    assert merged_value(limits, held, below) == {"b": 2}


def test_only_an_override_has_a_time_limit(flags: dflag.FlagRegistry) -> None:
    """A deadline in any other layer would drop nothing."""
    rate, store = flags.dyn_int("rate", 1), store_of_registry(flags)
    assert store.plan([(rate, OVERRIDE, Entry(2, None, 5.0))]).timed == {rate}
    assert store.plan([(rate, OVERRIDE, Entry(2))]).timed == frozenset()
    assert store.plan([(rate, "source", Entry(2, None, 5.0))]).timed == frozenset()


def test_a_transaction_changes_nothing_before_it_is_committed(flags: dflag.FlagRegistry) -> None:
    """It tells the old value, the new one and where that comes from; an edit beneath another layer is no difference."""
    rate, hidden = flags.dyn_int("rate", 1), flags.dyn_int("hidden", 1)
    hidden.set(5)
    store = store_of_registry(flags)
    edits = [(rate, "file", Entry(2)), (hidden, ENVIRONMENT, Entry(3))]
    transaction = Transaction(store.base(), edits, reason="try")
    assert transaction.changed == ("rate",)
    assert transaction.differences[0] == (rate, 1, 2, "file", "try")
    assert (rate.get(), hidden.get()) == (1, 5)


def test_a_trial_begins_with_the_defaults(flags: dflag.FlagRegistry) -> None:
    """What is in force does not count: the command asks what a program would start with."""
    rate, other = flags.dyn_int("rate", 1), flags.dyn_int("other", 1)
    rate.set(5)
    store = store_of_registry(flags)
    transaction = Transaction(trial_of(store.base(), ["file"]), [(other, "file", Entry(2))])
    assert (transaction.snapshot[rate], transaction.snapshot[other]) == (1, 2)
    assert (rate.get(), other.get()) == (5, 1)


def test_a_comparison_that_raises_is_reported_once_and_quotes_no_secret(
    flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """Each value counts as another one; the message of the exception may hold what it compares."""

    class Token:
        def __init__(self, text: str) -> None:
            self.text = text

        def __eq__(self, other: object) -> bool:
            raise ArithmeticError(f"cannot compare {self.text}")

        __hash__ = None  # type: ignore[assignment]  # as it should be beside an __eq__

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
