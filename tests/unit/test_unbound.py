"""
Unbound flags, which a library declares and a program binds.
"""

from __future__ import annotations

import datetime
import enum
import gc
import os
import threading
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import dflag
from dflag import testing
from dflag._flags import bind_name_of, declared_at
from dflag._snapshot import store_of
from dflag._store import NO_STORE
from dflag.errors import ArgumentError

from ..integration._children import Child  # noqa: TID252 - tests is on no path
from ..integration._waiting import eventually  # noqa: TID252 - as above

if TYPE_CHECKING:
    from collections.abc import Callable


DEADLINE_SECONDS = 10.0


class Mode(enum.Enum):
    """An enumeration of a program."""

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
    A flag of each kind can be read, set by text and reset while it is unbound.
    """
    flag = row[dynamic]
    assert isinstance(flag, dflag.Flag)
    flag.set_text(row[2])
    assert (flag.get(), flag.dynamic, flag.origin, flag.name) == (row[3], dynamic, "override", "(unbound)")
    flag.reset()
    assert flag.get() == flag.default


def test_binding_names_the_flag_and_keeps_its_override(flags: dflag.FlagRegistry) -> None:
    """
    A bound flag has its new name and its limits, keeps its override, and shows the registry's source after a reset.
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


@pytest.mark.parametrize("is_set", [True, False])
def test_an_override_that_breaks_a_rule_of_the_registry_is_logged(
    flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture, is_set: bool
) -> None:
    """
    Binding keeps an override that a registry validator refuses and logs it once; until the values pass, other changes
    are refused.
    """
    rate, low = dflag.dyn_int(1), flags.dyn_int("low", 3)

    @flags.validator
    def _ordered(snap: dflag.Snapshot) -> None:
        if snap.get("lib.rate", 5) < snap[low]:
            raise ValueError("rate below low")

    if is_set:
        rate.set(2)
    flags.bind("lib.rate", rate)
    beginning = "bound 'lib.rate' with an override, and the values in force do not pass: refused by the registry"
    assert [message.startswith(beginning) for message in caplog.messages] == [True] * is_set
    assert (rate.get(), rate.origin) == ((2, "override") if is_set else (1, "default"))
    with pytest.raises(dflag.ValidationError, match="rate below low"):
        low.set(4)
    rate.set(5)
    low.set(4)


def test_override_with_a_time_limit_still_drops_after_binding(flags: dflag.FlagRegistry) -> None:
    """
    The time limit of an override that was set before binding still drops it afterwards.
    """
    rate = dflag.dyn_int(1)
    rate.set(5, ttl_seconds=0.05)
    flags.bind("rate", rate)
    assert eventually(lambda: rate.get() == 1)  # not 5 before: on a busy machine the time may be over already


def test_one_flag_binds_once_and_to_a_free_name(flags: dflag.FlagRegistry) -> None:
    """
    A flag cannot be bound to a taken or bad name, can be bound afterwards, and cannot be bound a second time.
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
    A default that breaks the limit of an unbound flag raises `DefinitionError`.
    """
    with pytest.raises(dflag.DefinitionError, match="expected an int of at most 3, got 5"):
        dflag.dyn_int(5, max=3)


def test_name_is_for_a_class_of_flags_alone(flags: dflag.FlagRegistry) -> None:
    """
    The argument `name` is kept for a class of flags, and `bind()` under another name ignores it.
    """
    rate, port = dflag.dyn_int(1, name="api.rate"), dflag.int(8080)
    assert (bind_name_of(rate), bind_name_of(port), rate.name) == ("api.rate", None, "(unbound)")
    flags.bind("rate", rate)
    assert (rate.name, list(flags.snapshot())) == ("rate", ["rate"])


@pytest.mark.parametrize("declare", [dflag.int, dflag.dyn_int, dflag.dyn_enum, dflag.custom])
def test_name_must_be_one_that_a_key_may_have(declare: Callable[..., object]) -> None:
    """
    A `name` that is not a text raises `ArgumentError`, and one with wrong characters or length `DefinitionError`.
    """
    options = {"parse": int} if declare is dflag.custom else {}
    default = Mode.FAST if declare is dflag.dyn_enum else 1
    with pytest.raises(ArgumentError, match=r"flag '\(unbound\)': expected name as a text, got 5"):
        declare(default, name=5, **options)
    for name in ("", "a b", "a/b", "x" * 254):
        with pytest.raises(dflag.DefinitionError, match="expected name as 1 to 253 characters"):
            declare(default, name=name, **options)
    with pytest.raises(TypeError, match="expected the default, then the help"):
        declare(default, "help", "rate", **options)


def test_what_is_wrong_is_told_where_it_was_declared() -> None:
    """
    `declared_at()` of an unbound flag returns the file and the line of the call that declared it.
    """
    for flag in (dflag.int(1), dflag.dyn_int(1), dflag.dyn_json({})):
        file, line = declared_at(flag)
        assert file == __file__
        assert "for flag in (dflag.int(1)" in Path(file).read_text(encoding="utf-8").splitlines()[line - 1]


def test_unbound_flag_is_light() -> None:
    """
    An unbound flag that nobody sets takes less than 500 bytes.
    """
    kept = [dflag.dyn_int(1)]
    gc.collect()
    tracemalloc.start()
    try:
        kept += [dflag.dyn_int(1) for _ in range(100)]
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 100 * 500


@pytest.mark.parametrize("use", ["set", "validator", "on_change", "override", "changes"])
def test_first_use_makes_what_it_needs(use: str) -> None:
    """
    An unbound flag has no store until its first use; overrides, validators and callbacks stay with it when it is bound.
    """
    rate, seen = dflag.dyn_int(1), []
    assert (rate.get(), rate.origin) == (1, "default")
    assert repr(rate) == "<DynamicFlag '(unbound)': dynamic int from default>"
    rate.reset()
    assert store_of(rate) is NO_STORE
    if use == "set":
        rate.set(2, reason="why")
    elif use == "validator":
        rate.validator(lambda value: value < 5)
        with pytest.raises(dflag.ValidationError):
            rate.set(5)
    elif use == "on_change":
        rate.on_change(lambda old, new: seen.append((old, new)))
    elif use == "override":
        with testing.override({rate: 2}):
            assert rate.get() == 2
    else:
        with pytest.raises(dflag.DefinitionError, match="needs a running event loop"):
            rate.changes()
        rate.set(2)
    flags = dflag.FlagRegistry()
    flags.bind("rate", rate)
    assert rate.origin == ("override" if use in {"set", "changes"} else "default")
    rate.set(4)
    assert flags.flush(DEADLINE_SECONDS)
    assert seen == ([(1, 4)] if use == "on_change" else [])
    if use == "validator":
        with pytest.raises(dflag.ValidationError):
            rate.set(6)


def test_two_unbound_flags_are_overridden_apart() -> None:
    """
    Two unbound flags in one override have their own values and their own stores.
    """
    one, other = dflag.dyn_int(1), dflag.dyn_int(1)
    with testing.override({one: 2, other: 3}):
        assert (one.get(), other.get()) == (2, 3)
    assert store_of(one) is not store_of(other)


def test_reads_of_an_unbound_flag_are_live_within_a_pin(flags: dflag.FlagRegistry) -> None:
    """
    `get()` of an unbound flag returns its current value while a registry is pinned.
    """
    rate = dflag.dyn_int(1)
    with flags.pinned():
        assert rate.get() == 1
        rate.set(2)
        assert rate.get() == 2


def test_threads_that_come_first_together_agree() -> None:
    """
    When two threads add validators while a third binds the flag, it is in the registry with both validators.
    """
    for _ in range(200):
        flags, rate = dflag.FlagRegistry(), dflag.dyn_int(0)
        barrier = threading.Barrier(3)

        def validate(bound: int, rate: dflag.DynamicFlag[int] = rate, barrier: threading.Barrier = barrier) -> None:
            barrier.wait(DEADLINE_SECONDS)
            rate.validator(lambda value: value != bound)

        def bind(
            flags: dflag.FlagRegistry = flags,
            rate: dflag.DynamicFlag[int] = rate,
            barrier: threading.Barrier = barrier,
        ) -> None:
            barrier.wait(DEADLINE_SECONDS)
            flags.bind("rate", rate)

        threads = [threading.Thread(target=validate, args=(bound,)) for bound in (5, 6)]
        threads.append(threading.Thread(target=bind))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_SECONDS)
        for bound in (5, 6):
            with pytest.raises(dflag.ValidationError):
                rate.set(bound)
        rate.set(1)
        assert flags.snapshot()["rate"] == 1


def test_one_of_two_bindings_at_once_is_refused() -> None:
    """
    When two threads bind one flag to two registries, one binding is refused and one registry has the flag.
    """
    for _ in range(200):
        rate, registries = dflag.dyn_int(0), (dflag.FlagRegistry(), dflag.FlagRegistry())
        barrier = threading.Barrier(2)
        refused: list[dflag.DefinitionError] = []

        def bind(
            flags: dflag.FlagRegistry,
            rate: dflag.DynamicFlag[int] = rate,
            barrier: threading.Barrier = barrier,
            refused: list[dflag.DefinitionError] = refused,
        ) -> None:
            barrier.wait(DEADLINE_SECONDS)
            try:
                flags.bind("rate", rate)
            except dflag.DefinitionError as error:
                refused.append(error)

        threads = [threading.Thread(target=bind, args=(flags,)) for flags in registries]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_SECONDS)
        assert len(refused) == 1
        assert sorted(len(flags) for flags in registries) == [0, 1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_unbound_flag_can_be_set_in_a_forked_child() -> None:
    """
    A flag without a store can be set in a forked child, also when a thread of the parent makes stores at the fork.
    """
    rate, stop = dflag.dyn_int(1), threading.Event()

    def make_many() -> None:
        while not stop.is_set():
            dflag.dyn_int(0).set(1)

    def set_and_read() -> None:
        rate.set(2)
        assert rate.get() == 2

    thread = threading.Thread(target=make_many)
    thread.start()
    try:
        for _ in range(5):
            Child(set_and_read).check()
    finally:
        stop.set()
        thread.join(DEADLINE_SECONDS)
    assert rate.get() == 1


@pytest.mark.parametrize("kind", [name for row in MADE for name in (row[0].type_name, f"dyn_{row[0].type_name}")])
@pytest.mark.parametrize("arguments", [("rate", 5), ("rate", 5, "Help"), (5, "Help", "rate")])
def test_the_name_in_the_place_of_the_default_is_refused(kind: str, arguments: tuple[object, ...]) -> None:
    """
    A name in the place of the default raises `ArgumentError`, which says that the default comes first.
    """
    function = getattr(dflag, kind)
    options = {"keys": "*"} if "map" in kind else {"parse": str} if "custom" in kind else {}
    with pytest.raises(ArgumentError, match=rf"dflag\.{kind}\(\): expected the default, then the help; .*name="):
        function(*arguments, **options)
    with pytest.raises(TypeError, match=rf"^{kind}\(\) missing .*'default'"):
        function()
