"""
Declaring flags, looking them up, and what concerns several flags.
"""

from __future__ import annotations

import asyncio
import datetime
import gc
import re
import subprocess
import sys
import threading
import warnings
import weakref
from typing import TYPE_CHECKING

import pytest

import dflag

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractContextManager

DEADLINE_SECONDS = 5.0


def test_registry_is_a_collection_of_flags_by_name(flags: dflag.FlagRegistry) -> None:
    """
    A registry iterates over its flags in name order; the error for an unknown name has a hint.
    """
    b, a = flags.int("b", 1), flags.dyn_int("a", 1)
    assert [*flags] == [a, b]
    assert ("a" in flags, "c" in flags, len(flags), bool(dflag.FlagRegistry())) == (True, False, 2, True)
    assert flags["b"] is flags.lookup("b") is b
    flags.int("rate_limit", 1)
    with pytest.raises(dflag.UnknownFlagError, match="no flag named 'rate_limt'; did you mean 'rate_limit'"):
        flags.lookup("rate_limt")
    with pytest.raises(LookupError):
        flags["nothing_like_it"]
    assert all(flag in flags for flag in flags)
    assert dflag.FlagRegistry().int("a", 1) not in flags
    assert dflag.int(1) not in flags
    assert repr(flags) == "<FlagRegistry '' of 3 flags>"
    assert repr(a) == "<DynamicFlag 'a': dynamic int from default>"


@pytest.mark.parametrize("name", ["", ".hidden", "a b", "a/b", "ü", "a" * 254, 5])
def test_names_that_no_configmap_key_could_have_are_refused(flags: dflag.FlagRegistry, name: str) -> None:
    """
    Declaring a flag under a name that no ConfigMap key can have raises an error.
    """
    with pytest.raises(dflag.DefinitionError, match="expected a name of 1 to 253 characters"):
        flags.int(name, 1)


def test_second_declaration_says_where_the_first_stands(flags: dflag.FlagRegistry) -> None:
    """
    Declaring a name twice raises an error with the file and line of the first declaration.
    """
    flags.int("port", 1)
    with pytest.raises(dflag.DuplicateFlagError, match=r"'port' is already declared at .*test_registry.py:\d+"):
        flags.dyn_string("port", "")


def test_faults_in_a_declaration_are_definition_errors(flags: dflag.FlagRegistry) -> None:
    """
    A wrong option or default raises `DefinitionError`, and the refused declaration declares nothing.
    """
    with pytest.raises(dflag.DefinitionError, match="expected min <= max"):
        flags.int("a", 1, min=5, max=3)
    with pytest.raises(dflag.DefinitionError, match="bad min"):
        flags.int("a", 1, min="x")  # type: ignore[arg-type]
    with pytest.raises(dflag.DefinitionError, match="bad choices"):
        flags.int("a", 1, choices=["x"])
    with pytest.raises(dflag.DefinitionError, match="expected a callable for validator"):
        flags.int("a", 1, validator=5)  # type: ignore[arg-type]
    with pytest.raises(dflag.DefinitionError, match="bad schema"):
        flags.json("a", {}, schema={"type": "no such type"})
    with pytest.raises(
        dflag.DefinitionError, match="unexpected option 'mim' for a flag of type int; did you mean 'min'"
    ):
        flags.int("a", 1, mim=5)  # type: ignore[call-arg]
    with pytest.raises(dflag.DefinitionError, match="flag 'a': expected one of 2, 3, got 1"):
        flags.int("a", 1, choices=[2, 3])
    assert len(flags) == 0


def test_pipeline_goes_in_order(flags: dflag.FlagRegistry) -> None:
    """
    A text passes the input mutator, parser, mutator, limits and choices, validators, commit and callbacks, in this
    order, and goes no further than the step that refuses it.
    """
    seen: list[object] = []

    def step(name: str) -> None:
        seen.append(name)

    rate = flags.dyn_int(
        "rate",
        1,
        input_mutator=lambda text: step("input") or text.replace("k", "000"),  # type: ignore[func-returns-value]
        mutator=lambda value: step("mutator") or min(value, 5000),  # type: ignore[func-returns-value]
        min=1,
        max=5000,
        choices=[0, 1, 5000],
        validator=[lambda _: step("first"), lambda _: step("second")],
        on_change=lambda old, new: seen.append((old, new)),
    )
    seen.clear()
    flags.apply({"rate": "7k"}, source="s")
    assert flags.flush(DEADLINE_SECONDS)
    assert seen == ["input", "mutator", "first", "second", (1, 5000)]
    assert rate.get() == 5000
    for bad, steps in (("x", ["input"]), ("0", ["input", "mutator"]), ("2", ["input", "mutator"])):
        seen.clear()
        flags.apply({"rate": bad}, source="s")
        assert flags.flush(DEADLINE_SECONDS)
        assert (seen, rate.get()) == (steps, 5000)


def test_validator_added_later_checks_the_default_at_once(flags: dflag.FlagRegistry) -> None:
    """
    A validator that refuses the default raises when it is added, and is not added.
    """
    rate = flags.dyn_int("rate", 1)
    with pytest.raises(dflag.DefinitionError, match="flag 'rate': odd, got 1"):

        @rate.validator
        def _even(value: int) -> None:
            if value % 2:
                raise ValueError("odd")

    rate.set(3)
    assert rate.get() == 3


@pytest.mark.parametrize("fault", [RuntimeError("x"), KeyError("x"), GeneratorExit()])
def test_validator_that_fails_rejects_and_is_reported(
    flags: dflag.FlagRegistry, fault: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """
    When a validator raises anything but ValueError, the value is refused and the log says to raise ValueError.
    """

    def check(value: int) -> None:
        if value != 1:
            raise fault

    rate = flags.dyn_int("rate", 1, validator=check)
    with pytest.raises(dflag.ValidationError, match=type(fault).__name__):
        rate.set(2)
    assert rate.get() == 1
    assert "should raise ValueError" in caplog.text


def test_deprecated_flag_warns_once(flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture) -> None:
    """
    A deprecated flag that is set twice logs one warning, with the layer that set it first.
    """
    old = flags.dyn_int("old", 1, deprecated="use new", owner="team", expires=datetime.date(2030, 1, 1))
    assert (old.deprecated, old.owner, old.expires, old.secret) == ("use new", "team", datetime.date(2030, 1, 1), False)
    old.set(2)
    flags.apply({"old": "3"}, source="s")
    assert [record.message for record in caplog.records] == ["flag 'old' is deprecated: use new (set by override)"]


def test_a_deprecated_flag_of_a_library_warns_once(flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture) -> None:
    """
    A deprecated flag of a library that is set before and after it is bound logs one warning.
    """
    old = dflag.dyn_int(1, deprecated="use new")
    old.set(2)
    flags.bind("old", old).set(3)
    assert [record.message for record in caplog.records] == [
        "flag '(unbound)' is deprecated: use new (set by override)"
    ]


@pytest.mark.parametrize(
    "set_flag",
    [
        lambda flags: flags["old"].set(2),
        lambda flags: flags["old"].set_text("2"),
        lambda flags: flags.parse_args(["--old=2"]),
        lambda flags: flags.apply({"old": "2"}, source="s"),
        lambda flags: _enter(flags.override({"old": 2})),
        lambda flags: _enter(dflag.testing.override({flags["old"]: 2})),
    ],
)
def test_the_warning_of_a_deprecated_flag_names_the_line_that_sets_it(
    flags: dflag.FlagRegistry, set_flag: Callable[[dflag.FlagRegistry], object]
) -> None:
    """
    The DeprecationWarning names the file that sets the flag, however it is set.
    By default Python shows such a warning only if that file is the main module.
    """
    flags.dyn_int("old", 1, deprecated="use new")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", "flag 'old' is deprecated", DeprecationWarning, re.escape(__name__))
        set_flag(flags)
    assert [warning.filename for warning in caught] == [__file__]


def _enter(block: AbstractContextManager[object]) -> None:
    with block:
        pass


def test_truth_of_a_flag_is_an_error(flags: dflag.FlagRegistry) -> None:
    """
    `bool()` of a flag raises a TypeError that says to write `.get()`, because a flag object is always true.
    """
    with pytest.raises(TypeError, match=r"write \.get\(\)"):
        bool(flags.dyn_bool("verbose", default=False))


def test_apply_takes_texts_and_bytes_alone(flags: dflag.FlagRegistry) -> None:
    """
    `apply()` raises a TypeError if a value is neither str nor bytes: this is an error of the caller.
    """
    with pytest.raises(TypeError, match="expected str names and str or bytes values"):
        flags.apply({"a": 1}, source="s")  # type: ignore[dict-item]


def test_snapshot_stays_as_it_is(flags: dflag.FlagRegistry) -> None:
    """
    A snapshot keeps its values, is looked up by flag and by name, and raises for a flag that it does not have.
    """
    rate = flags.dyn_int("rate", 1)
    snap = flags.snapshot()
    rate.set(2)
    late = flags.int("late", 1)

    assert (snap[rate], snap["rate"], "rate" in snap, rate in snap, late in snap) == (1, 1, True, True, False)
    assert ([*snap], len(snap), flags.snapshot()[rate]) == (["rate"], 1, 2)
    assert repr(snap) == "<Snapshot of 1 flags at revision 0>"
    for key in (late, "late", "rat"):
        with pytest.raises(dflag.UnknownFlagError):
            snap[key]


def test_pins_nest_and_end(flags: dflag.FlagRegistry) -> None:
    """
    An inner pin begins with the values of the outer one, and a value that is set meanwhile shows after the block.
    """
    rate, other = flags.dyn_int("rate", 1), flags.dyn_int("other", 1)
    stranger = dflag.FlagRegistry().dyn_int("rate", 7)
    with flags.pinned({rate: 5}) as outer:
        with flags.pinned({"other": 6}) as inner:
            rate.set(9)
            late = flags.dyn_int("late", 4)
            assert (rate.get(), other.get(), inner[rate], late.get(), stranger.get()) == (5, 6, 5, 4, 7)
        assert (rate.get(), other.get(), outer[other]) == (5, 1, 1)
    assert rate.get() == 9
    with pytest.raises(dflag.ValidationError), flags.pinned({rate: "x"}):
        pytest.fail("entered")
    for foreign, name in ((stranger, "rate"), (dflag.dyn_int(1), r"\(unbound\)")):
        refusal = f"flag '{name}' does not belong to this registry"
        with pytest.raises(dflag.UnknownFlagError, match=refusal), flags.pinned({foreign: 1}):
            pytest.fail("entered")


def test_task_that_outlives_its_pin_sees_live_values(flags: dflag.FlagRegistry) -> None:
    """
    A task that outlives its pin reads live values; `asyncio.to_thread()` reads pinned ones, a new thread live ones.
    """
    rate = flags.dyn_int("rate", 1)
    outer, inner = dflag.FlagRegistry(), rate

    async def main() -> list[int]:
        closed = asyncio.Event()

        async def live() -> int:
            await closed.wait()
            return inner.get()

        with outer.pinned(), flags.pinned({rate: 5}):
            task = asyncio.create_task(live())
            seen = [await asyncio.to_thread(rate.get)]
            thread = threading.Thread(target=lambda: seen.append(rate.get()))
            thread.start()
            thread.join(DEADLINE_SECONDS)
        closed.set()
        return [*seen, await task]

    assert asyncio.run(main()) == [5, 1, 1]


def test_callbacks_run_in_order_and_each_on_its_own(
    flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Callbacks run in order and only for real changes; one that raises is logged and counted, and the others run.
    """
    rate = flags.dyn_int("rate", 1)
    seen: list[tuple[int, int]] = []

    @rate.on_change
    def _broken(_old: int, _new: int) -> None:
        raise SystemExit

    rate.on_change(lambda old, new: seen.append((old, new)))
    rate.set(1)
    for value in range(2, 50):
        rate.set(value)
    assert flags.flush(DEADLINE_SECONDS)

    assert seen == [(value - 1, value) for value in range(2, 50)]
    assert flags._store.notifier.errors == {"rate": 48}
    assert "_broken" in caplog.text


def test_flush_from_a_callback_does_not_wait_for_itself(flags: dflag.FlagRegistry) -> None:
    """
    `flush()` in a callback returns False instead of waiting for that callback.
    """
    rate = flags.dyn_int("rate", 1)
    answers: list[bool] = []
    rate.on_change(lambda _old, _new: answers.append(flags.flush()))
    rate.set(2)
    assert flags.flush(DEADLINE_SECONDS)
    assert answers == [False]


def test_coroutine_callbacks_and_changes_arrive_on_their_loop(
    flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Coroutine callbacks run on their event loop in the order of the changes, which `changes()` yields there too, and the
    log says when the loop is gone.
    """
    rate = flags.dyn_int("rate", 1)
    seen: list[object] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()

        @rate.on_change
        async def _note(old: int, new: int) -> None:
            for _ in range(20 // new):  # the first call takes longer than the second one
                await asyncio.sleep(0)
            seen.append((old, new, asyncio.get_running_loop() is loop))

        changes = rate.changes()
        rate.set(2)
        rate.set(3)
        assert [await anext(changes), await anext(changes)] == [(1, 2), (2, 3)]
        assert await asyncio.to_thread(flags.flush, DEADLINE_SECONDS)
        await changes.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(changes)

    asyncio.run(main())
    assert seen == [(1, 2, True), (2, 3, True)]
    rate.set(4)
    assert flags.flush(DEADLINE_SECONDS)
    assert "its event loop is gone" in caplog.text


def test_a_callback_whose_loop_is_gone_is_dropped_for_good(
    flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A callback whose event loop is closed is logged once, and is dropped with its loop when another one is added.

    So a program that starts several times, as in its tests, does not accumulate them.
    """
    rate = flags.dyn_int("rate", 1)

    async def note(_old: int, _new: int) -> None: ...

    async def main() -> weakref.ref[asyncio.AbstractEventLoop]:
        rate.on_change(note)
        return weakref.ref(asyncio.get_running_loop())

    loop = asyncio.run(main())
    for value in (2, 3, 4):
        rate.set(value)
        assert flags.flush(DEADLINE_SECONDS)
    assert caplog.text.count("dropped: its event loop is gone") == 1
    rate.on_change(lambda _old, _new: None)
    gc.collect()
    assert loop() is None


def test_the_end_of_changes_is_the_end_for_all_who_wait(flags: dflag.FlagRegistry) -> None:
    """
    `aclose()` of `changes()` ends the iteration of all tasks that share the iterator.
    """
    rate = flags.dyn_int("rate", 1)

    async def consume(changes: AsyncIterator[tuple[int, int]]) -> None:
        async for _ in changes:
            pass

    async def main() -> None:
        changes = rate.changes()
        tasks = [asyncio.create_task(consume(changes)) for _ in range(3)]
        await asyncio.sleep(0)
        await changes.aclose()
        await asyncio.wait_for(asyncio.gather(*tasks), DEADLINE_SECONDS)

    asyncio.run(main())


def test_coroutine_callback_needs_a_running_loop(flags: dflag.FlagRegistry) -> None:
    """
    Without a running event loop, `changes()` and `on_change()` of a coroutine function raise `DefinitionError`.
    """
    rate = flags.dyn_int("rate", 1)

    async def note(_old: int, _new: int) -> None:
        """Never called."""

    with pytest.raises(dflag.DefinitionError, match="running event loop"):
        rate.on_change(note)
    with pytest.raises(dflag.DefinitionError, match="running event loop"):
        rate.changes()


def test_time_limits_are_for_dynamic_flags_and_above_zero(flags: dflag.FlagRegistry) -> None:
    """
    `set()` with `ttl_seconds` raises for a static flag, and if the time is not finite or not above 0.
    """
    with pytest.raises(dflag.StaticFlagError):
        flags.int("port", 1).set(2, ttl_seconds=5)
    rate = flags.dyn_int("rate", 1)
    for seconds in (0, -1, float("nan"), float("inf"), True, 10**400, 10**5_000):
        with pytest.raises(ValueError, match="flag 'rate': expected ttl_seconds above 0 and finite, got "):
            rate.set(2, ttl_seconds=seconds)
    assert rate.get() == 1


def test_public_names_are_what_is_importable() -> None:
    """
    `dflag.__all__` is sorted, can be imported, and does not have the short names for unbound flags.
    """
    assert sorted(dflag.__all__) == list(dflag.__all__)
    assert all(hasattr(dflag, name) for name in dflag.__all__)
    assert "dyn_int" not in dflag.__all__
    assert set(dflag.__all__) <= set(dir(dflag))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = dflag.nothing  # type: ignore[attr-defined]


def test_callback_errors_are_counted_by_flag(flags: dflag.FlagRegistry) -> None:
    """
    `callback_errors()` returns, as a copy, how many callbacks of each flag have raised.
    """
    bad = flags.dyn_int("bad", 0, on_change=lambda old, new: 1 // 0)
    flags.dyn_int("good", 0, on_change=lambda old, new: None).set(1)
    bad.set(1)
    bad.set(2)
    assert flags.flush(DEADLINE_SECONDS)
    assert flags.callback_errors() == {"bad": 2}
    flags.callback_errors().clear()
    assert flags.callback_errors() == {"bad": 2}


def test_names_are_listed_before_they_are_imported() -> None:
    """
    `dir()` of a package lists the names that are imported only at their first use.
    """
    program = (
        "import dflag, dflag.sources\n"
        "for package in (dflag, dflag.sources):\n"
        "    assert set(package.__all__) <= set(dir(package)), dir(package)\n"
        "    assert set(package.__all__) - set(vars(package)), 'nothing is left to the first use'\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("ttl_seconds", [None, 5.0])
def test_a_static_flag_that_cannot_be_set_looks_at_no_value(
    flags: dflag.FlagRegistry, ttl_seconds: float | None
) -> None:
    """`set()` on a static flag that is frozen, or with a time limit, raises before it looks at the value."""
    workers, looked = flags.int("workers", 1), list[int]()
    workers.validator(looked.append)
    looked.clear()
    if ttl_seconds is None:
        flags.freeze()
    with pytest.raises(dflag.StaticFlagError):
        workers.set(2, ttl_seconds=ttl_seconds)
    with pytest.raises(dflag.StaticFlagError):
        workers.set_text("x", ttl_seconds=ttl_seconds)
    assert looked == []
    library = dflag.int(1)
    with pytest.raises(dflag.StaticFlagError):
        library.set("x", ttl_seconds=5)  # type: ignore[arg-type]  # wrong on purpose


def test_a_default_that_is_no_member_is_refused_as_any_bad_default(flags: dflag.FlagRegistry) -> None:
    """The error for a default that is not an enum member has a cause, and does not quote a secret flag's default."""
    for secret, given in ((False, ", got 'hunter2'"), (True, "")):
        with pytest.raises(dflag.DefinitionError) as caught:
            flags.dyn_enum("mode", "hunter2", secret=secret)  # type: ignore[type-var]  # wrong on purpose
        expected = f"flag 'mode': expected the default as a member of an enum.Enum class{given} (default)"
        assert str(caught.value) == expected
        assert isinstance(caught.value.__cause__, dflag.ValidationError)


def test_a_name_is_what_its_text_is(flags: dflag.FlagRegistry) -> None:
    """A name is checked by its characters, even if a subclass of str iterates over others."""

    class Name(str):
        __slots__ = ()

        def __iter__(self) -> Iterator[str]:
            return iter("ok")

        def __len__(self) -> int:
            return 2

    with pytest.raises(dflag.DefinitionError, match="expected a name of 1 to 253 characters"):
        flags.dyn_int(Name("bad name/"), 1)


def test_the_same_text_as_bytes_is_no_news(flags: dflag.FlagRegistry) -> None:
    """The same text, given as bytes, is not parsed again and returns the same revision."""
    name = flags.dyn_string("name", "")
    first, looked = flags.apply({"name": "é"}, source="config"), list[str]()
    name.validator(looked.append)
    looked.clear()
    assert flags.apply({"name": "é".encode()}, source="config") is first
    assert flags.apply({"name": "é"}, source="config") is first
    assert looked == []
    half = flags.apply({"name": "\udcff"}, source="config")
    assert flags.apply({"name": b"\xed\xb3\xbf"}, source="config") is not half
    assert flags.apply({"name": b"e"}, source="config") is not first


def test_checksum_is_the_one_of_the_go_library(flags: dflag.FlagRegistry) -> None:
    """
    `checksum()` is FNV-1a over names and printed values; the expected values are the Go library's own.
    """
    assert flags.checksum() == "811c9dc5"
    flags.int("some_int", 1337)
    assert flags.checksum() == "c8197459"
    assert (flags.checksum(dynamic=True), flags.checksum(dynamic=False)) == ("811c9dc5", "c8197459")
