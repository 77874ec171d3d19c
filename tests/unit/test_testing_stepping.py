"""
`SteppedUpdater` applies values only when a test calls it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from dflag import UpdateError
from dflag.testing import SteppedUpdater

if TYPE_CHECKING:
    import dflag


def test_callbacks_have_run_when_a_step_returns(flags: dflag.FlagRegistry) -> None:
    """
    When the constructor, a step or the end of the block returns, its values are in force and callbacks have run.
    """
    seen = []
    rate = flags.dyn_int("rate_limit", 50, on_change=lambda old, new: seen.append((old, new)))
    with SteppedUpdater(flags, {"rate_limit": "60"}) as steps:
        assert seen == [(50, 60)]
        assert steps.write({"rate_limit": "70"}).changed == ("rate_limit",)
        assert (rate.get(), seen) == (70, [(50, 60), (60, 70)])
    assert seen == [(50, 60), (60, 70), (70, 50)]


def test_no_thread_runs(flags: dflag.FlagRegistry) -> None:
    """
    After a step no thread runs that did not run before.
    """
    flags.dyn_int("rate_limit", 50, on_change=lambda old, new: None)
    before = set(threading.enumerate())
    with SteppedUpdater(flags, {"rate_limit": "60"}) as steps:
        steps.update(rate_limit="70")
        assert {thread for thread in threading.enumerate() if thread.is_alive()} <= before


def test_update_keeps_other_keys_and_remove_drops_them(flags: dflag.FlagRegistry) -> None:
    """
    `update()` keeps the other keys; `remove()` drops one key, whose flag then has the value of the layer below.
    """
    one, two = flags.dyn_int("a", 1), flags.dyn_int("b.c", 1)
    with SteppedUpdater(flags, {"a": "2"}) as steps:
        steps.update({"b.c": "3"})
        assert (one.get(), two.get()) == (2, 3)
        assert steps.remove("a").changed == ("a",)
        assert (one.get(), two.get()) == (1, 3)
        with pytest.raises(KeyError):
            steps.remove("a")
        steps.write({})
        assert two.get() == 3  # an emptied source counts as missing, so its values are kept


def test_bad_values_are_rejected_or_refused(flags: dflag.FlagRegistry) -> None:
    """
    A bad value in a step is listed in `rejected` and the last good one stays; in the first set it raises `UpdateError`.
    """
    rate = flags.dyn_int("rate_limit", 50)
    with pytest.raises(UpdateError):
        SteppedUpdater(flags, {"rate_limit": "x"})
    with SteppedUpdater(flags, {"rate_limit": "60"}) as steps:
        assert "rate_limit" in steps.update(rate_limit="x").rejected
        assert rate.get() == 60
        assert steps.status().errors == 1


def test_options_are_those_of_an_updater(flags: dflag.FlagRegistry) -> None:
    """
    `SteppedUpdater` takes the options of an updater, such as `atomic` and `name`.
    """
    one, two = flags.dyn_int("a", 1), flags.dyn_int("b", 1)
    with SteppedUpdater(flags, atomic=True, name="mine") as steps:
        steps.write({"a": "2", "b": "x"})
        assert (one.get(), two.get()) == (1, 1)
        steps.write({"a": "2"})
        assert one.origin == "mine"


def test_static_flags_are_settled_by_the_first_set(flags: dflag.FlagRegistry) -> None:
    """
    A static flag takes its value from the first set; later values are pending a restart.
    """
    port = flags.int("port", 8080)
    with SteppedUpdater(flags, {"port": "1"}) as steps:
        assert steps.update(port="2").pending_restart == ("port",)
        assert port.get() == 1


def test_one_follows_another(flags: dflag.FlagRegistry) -> None:
    """
    A `SteppedUpdater` drops its values and frees its name at the end of its block; a second `close()` does nothing.
    """
    rate = flags.dyn_int("rate_limit", 50)
    with SteppedUpdater(flags, {"rate_limit": "60"}) as first:
        pass
    first.close()
    assert rate.get() == 50
    with SteppedUpdater(flags, {"rate_limit": "70"}):
        assert rate.get() == 70


def test_refuses_what_is_no_text(flags: dflag.FlagRegistry) -> None:
    """
    A value that is not a text raises `TypeError` with its key, and the set in force stays.
    """
    rate = flags.dyn_int("rate_limit", 50)
    with SteppedUpdater(flags, {"rate_limit": "60"}) as steps:
        with pytest.raises(TypeError, match="rate_limit: expected str or bytes, got int; write a number as its text"):
            steps.update(rate_limit=5)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            steps.update("")  # type: ignore[arg-type]
        assert rate.get() == 60
        assert steps.update({}) is steps.update(rate_limit="60")
