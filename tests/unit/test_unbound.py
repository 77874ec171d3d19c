"""
Flags that a library makes and a program binds.
"""

from __future__ import annotations

import datetime
import enum
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import dflag
from dflag._flags import bind_name_of, declared_at
from dflag.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable


class Mode(enum.Enum):
    """An enumeration of a user."""

    FAST = "fast"
    SAFE = "safe"


SECOND = datetime.timedelta(seconds=1)

MADE = [
    (dflag.string("a"), dflag.dyn_string("a"), "b", "b"),
    (dflag.int(1), dflag.dyn_int(1), "2", 2),
    (dflag.float(1.5), dflag.dyn_float(1.5), "2.5", 2.5),
    (dflag.bool(default=False), dflag.dyn_bool(default=False), "yes", True),
    (dflag.duration(SECOND), dflag.dyn_duration(SECOND), "2s", 2 * SECOND),
    (dflag.string_list(["a"]), dflag.dyn_string_list(["a"]), "b, c", ("b", "c")),
    (dflag.string_set(["a"]), dflag.dyn_string_set(["a"]), "b, c", frozenset({"b", "c"})),
    (dflag.enum(Mode.FAST), dflag.dyn_enum(Mode.FAST), "safe", Mode.SAFE),
    (dflag.bytes(b"a"), dflag.dyn_bytes(b"a"), "Yg==", b"b"),
    (dflag.json({}), dflag.dyn_json({}), "[1]", [1]),
    (dflag.map({}, keys="*"), dflag.dyn_map({}, keys="*"), '{"a": "b"}', {"a": "b"}),
    (dflag.custom(1, parse=int), dflag.dyn_custom(1, parse=int), "2", 2),
]


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("row", MADE, ids=lambda row: row[0].type_name)
def test_each_kind_works_unbound(
    row: tuple[dflag.Flag[object], dflag.Flag[object], str, object], dynamic: bool
) -> None:
    """
    It can be read, set by text and reset before any program has bound it.
    """
    flag = row[dynamic]
    assert isinstance(flag, dflag.Flag)
    flag.set_text(row[2])
    assert (flag.get(), flag.dynamic, flag.origin, flag.name) == (row[3], dynamic, "override", "(unbound)")
    flag.reset()
    assert flag.get() == flag.default


def test_binding_names_the_flag_and_keeps_its_override(flags: dflag.FlagRegistry) -> None:
    """
    The registry's sources then feed it, below the override.
    """
    rate = dflag.dyn_int(1, "Requests per second", min=1)
    rate.set(5)
    flags.apply({"lib.rate": "3"}, source="s")
    assert flags.bind("lib.rate", rate) is rate

    assert (flags["lib.rate"], rate.get(), rate.origin) == (rate, 5, "override")
    rate.reset()
    assert (rate.get(), rate.origin) == (3, "s")
    with pytest.raises(dflag.ValidationError, match=r"flag 'lib.rate': expected an int of at least 1, got 0"):
        rate.set(0)


def test_override_with_a_time_limit_still_drops_after_binding(flags: dflag.FlagRegistry) -> None:
    """
    The limit moves with the flag.
    """
    rate = dflag.dyn_int(1)
    rate.set(5, ttl_seconds=0.05)
    flags.bind("rate", rate)
    assert rate.get() == 5
    assert flags._store.wait_beyond(flags.snapshot().revision, 5.0)
    assert rate.get() == 1


def test_one_flag_binds_once_and_to_a_free_name(flags: dflag.FlagRegistry) -> None:
    """
    A refused binding leaves the flag unbound.
    """
    rate = dflag.dyn_int(1)
    flags.int("taken", 1)
    with pytest.raises(dflag.DuplicateFlagError, match=r"flag 'taken' is already declared at .*test_unbound.py:\d+"):
        flags.bind("taken", rate)
    with pytest.raises(dflag.DefinitionError, match="does not begin with a dot"):
        flags.bind(".rate", rate)
    flags.bind("rate", rate)
    for registry in (flags, dflag.FlagRegistry()):
        with pytest.raises(dflag.DefinitionError, match="already bound"):
            registry.bind("other", rate)


def test_bad_default_is_a_definition_error() -> None:
    """
    There as everywhere.
    """
    with pytest.raises(dflag.DefinitionError, match="expected an int of at most 3, got 5"):
        dflag.dyn_int(5, max=3)


def test_name_is_for_a_class_of_flags_alone(flags: dflag.FlagRegistry) -> None:
    """
    It is kept beside the flag, and binding by hand under another name ignores it.
    """
    rate, port = dflag.dyn_int(1, name="api.rate"), dflag.int(8080)
    assert (bind_name_of(rate), bind_name_of(port), rate.name) == ("api.rate", None, "(unbound)")
    flags.bind("rate", rate)
    assert (rate.name, list(flags.snapshot())) == ("rate", ["rate"])


@pytest.mark.parametrize("declare", [dflag.int, dflag.dyn_int, dflag.dyn_enum, dflag.custom])
def test_name_must_be_one_that_a_key_may_have(declare: Callable[..., object]) -> None:
    """
    Anything but a text is a wrong argument; a text with other characters could never be bound.
    """
    options = {"parse": int} if declare is dflag.custom else {}
    default = Mode.FAST if declare is dflag.dyn_enum else 1
    with pytest.raises(ArgumentError, match=r"flag '\(unbound\)': expected name as a text, got 5"):
        declare(default, name=5, **options)
    for name in ("", "a b", "a/b", "x" * 254):
        with pytest.raises(dflag.DefinitionError, match="expected name as 1 to 253 characters"):
            declare(default, name=name, **options)
    with pytest.raises(TypeError, match="positional"):
        declare(default, "help", "rate", **options)


def test_what_is_wrong_is_told_where_it_was_declared() -> None:
    """
    The place of a flag is that of the call, whatever functions of dflag stand between.
    """
    for flag in (dflag.int(1), dflag.dyn_int(1), dflag.dyn_json({})):
        file, line = declared_at(flag)
        assert file == __file__
        assert "for flag in (dflag.int(1)" in Path(file).read_text(encoding="utf-8").splitlines()[line - 1]
