"""
Instances of a class of flags have the values of their flags, for any values.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import pickle

from hypothesis import given
from hypothesis import strategies as st

import dflag
from dflag import testing


class Mode(enum.Enum):
    """An enumeration as users write it."""

    FAST = "fast"
    SAFE = "safe"


@dataclasses.dataclass(frozen=True)
class Policy:
    """A model as users write it."""

    mode: str = "allow"
    hosts: tuple[str, ...] = ()


class Settings(dflag.Flags, prefix="shop."):
    """One flag of each kind that has a strategy."""

    text = dflag.dyn_string("x")
    number = dflag.dyn_int(1, min=0)
    share = dflag.dyn_float(1.5)
    switch = dflag.dyn_bool(default=False)
    wait = dflag.dyn_duration(datetime.timedelta(seconds=1))
    items = dflag.dyn_string_list(["a"])
    tags = dflag.dyn_string_set({"a"})
    mode = dflag.dyn_enum(Mode.FAST)
    blob = dflag.dyn_bytes(b"a")
    document = dflag.dyn_json({"a": [1]})
    policy = dflag.dyn_json(Policy(), type=Policy)
    token = dflag.dyn_string("a secret text", secret=True)


FLAGS = {flag.name.removeprefix("shop."): flag for flag in Settings.registry}


@given(st.fixed_dictionaries({attribute: testing.values(flag) for attribute, flag in FLAGS.items()}))
def test_an_instance_has_the_values_of_its_flags(values: dict[str, object]) -> None:
    """
    An instance holds the very values of its flags, and equals its unpickled copy and an instance of a later revision.
    """
    with testing.override(Settings, values):
        cfg = Settings.current()
        assert all(getattr(cfg, attribute) is flag.get() for attribute, flag in FLAGS.items())
        loaded = pickle.loads(pickle.dumps(cfg))  # noqa: S301 - made here
        assert loaded == cfg
        assert "token=******" in repr(loaded)
    with testing.override(Settings, values):
        assert Settings.current() == cfg
        assert Settings.current().revision > cfg.revision


@given(st.data())
def test_instances_differ_where_a_flag_does(data: st.DataObject) -> None:
    """
    Two instances differ exactly when the flag reports a change.
    """
    attribute = data.draw(st.sampled_from(sorted(FLAGS)))
    flag = FLAGS[attribute]
    before = Settings.current()
    value = data.draw(testing.values(flag))
    changes: list[object] = []
    with testing.isolated(Settings):
        flag.on_change(lambda _, new: changes.append(new))
        flag.set(value)
        after = Settings.current()
        assert Settings.registry.flush(10)
        assert (after == before) is (not changes)
