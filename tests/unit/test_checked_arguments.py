from __future__ import annotations

import copy
import datetime
import enum
import functools
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock, Mock

import pytest
from prometheus_client import CollectorRegistry

import dflag
from dflag._flags import pipeline_of
from dflag.errors import ArgumentError, DefinitionError
from dflag.integrations.prometheus import register
from dflag.logging import add_loglevel_flag
from dflag.sources import DirectorySource, FileSource, MemorySource
from dflag.web import bearer_token, make_wsgi_app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Mode(enum.Enum):
    """An enum that a program declares."""

    SAFE = "safe"


async def _coroutine(*_: object) -> None:
    pass


def _generator(*_: object) -> Iterator[None]:
    yield


async def _asynchronous_generator(*_: object) -> Any:
    yield


class _Awaited:
    async def __call__(self, value: object) -> None:
        pass

    async def method(self, value: object) -> None:
        pass


class _Numbered(MemorySource):
    name = 5  # type: ignore[assignment]


NOT_RUN = [
    *(_coroutine, _generator, _asynchronous_generator, functools.partial(_coroutine), _Awaited(), _Awaited().method),
]

WRONG_OPTIONS: list[tuple[str, Any]] = [
    ("expires", "2030-01-01"),
    ("expires", 2030),
    ("expires", datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)),
    *((option, wrong) for option in ("secret", "strip") for wrong in ("no", 0, 1, None, [])),
    *((option, wrong) for option in ("deprecated", "owner") for wrong in (True, 5, b"x", ["x"])),
    *((option, wrong) for option in ("mutator", "input_mutator") for wrong in (5, "x", [str])),
    *((option, wrong) for option in ("validator", "on_change") for wrong in (5, "x", [5], None)),
    *((option, wrong) for option in ("mutator", "input_mutator", "validator") for wrong in NOT_RUN),
    ("on_change", _generator),
    ("on_change", _asynchronous_generator),
    ("choices", 5),
    ("choices", [None]),
    ("min", "0"),
    ("max", None.__class__),
    ("min", True),
    ("min", 0.5),
    ("help", None),
    ("help", 5),
    ("minimum", 5),
    ("requierd", True),
    ("source", "x"),
]


@pytest.mark.parametrize(("option", "wrong"), WRONG_OPTIONS)
def test_an_option_of_the_wrong_type_is_refused_at_declaration(
    flags: dflag.FlagRegistry, option: str, wrong: Any
) -> None:
    """An option of the wrong type raises `DefinitionError` in each style of declaring, and no flag is declared."""
    declarations: list[Callable[..., object]] = [flags.int, flags.dyn_int]
    for declare in declarations:
        with pytest.raises(DefinitionError, match=f"flag 'a': .*{option}"):
            declare("a", 1, **{option: wrong})
    for make in (dflag.int, dflag.dyn_int):
        unbound: Callable[..., object] = make
        with pytest.raises(DefinitionError, match=option):
            unbound(1, **{option: wrong})
    assert len(flags) == 0


@pytest.mark.parametrize(
    ("method", "default", "options", "message"),
    [
        ("dyn_enum", "a", {}, "expected the default as a member of an enum.Enum class, got 'a'"),
        ("enum", Mode, {}, "expected the default as a member of an enum.Enum class, got <enum 'Mode'>"),
        ("enum", None, {}, "expected the default as a member"),
        ("json", {}, {"yaml": "no"}, "expected yaml as True or False, got 'no'"),
        ("json", {}, {"schema": 5}, "bad schema"),
        ("json", {}, {"schema": object()}, "bad schema|a JSON value"),
        ("json", {}, {"type": 5}, "bad type 5"),
        ("json", {}, {"min": 5}, "unexpected option 'min' for a flag of type json"),
        ("map", {}, {"keys": 5}, "expected keys as a text, got 5"),
        ("map", {}, {"keys": ""}, "expected keys= as a pattern"),
        ("map", {}, {"keys": "*", "of": []}, r"expected of as a text, got \[\]"),
        ("map", {}, {"keys": "*", "of": "enum"}, "expected of= as one of"),
        ("string", "a", {"choices": "abc"}, "expected choices as several values, got 'abc'"),
        ("string_list", ["a"], {"choices": "abc"}, "expected choices as several values, got 'abc'"),
        ("string", "a", {"min": "a"}, "unexpected option 'min' for a flag of type string"),
        ("bool", 1, {}, "expected a bool, got 1"),
        ("int", True, {}, "expected an int, got True"),
        ("duration", 5, {}, "expected a datetime.timedelta, got 5"),
        ("duration", datetime.timedelta(), {"max": 5}, "bad max"),
        ("bytes", "x", {}, "expected bytes, got 'x'"),
    ],
)
def test_what_a_kind_demands_is_checked_at_declaration(
    flags: dflag.FlagRegistry, method: str, default: Any, options: dict[str, Any], message: str
) -> None:
    """A default or an option that the kind cannot use raises `DefinitionError`; the message begins with the name."""
    name = method.removeprefix("dyn_")
    for each in (name, f"dyn_{name}"):
        with pytest.raises(DefinitionError, match=rf"^flag 'a': .*({message})"):
            getattr(flags, each)("a", default, **options)
        with pytest.raises(DefinitionError, match=message):
            getattr(dflag, each)(default, **options)
    assert len(flags) == 0


@pytest.mark.parametrize("name", [None, 5, "", ".a", "a b", "a" * 254, b"a", Mode.SAFE])
def test_a_name_is_checked_wherever_one_is_given(flags: dflag.FlagRegistry, name: Any) -> None:
    """`int()` and `bind()` of a registry refuse a name that no ConfigMap could hold."""
    with pytest.raises(DefinitionError, match="expected a name of 1 to 253 characters"):
        flags.int(name, 1)
    with pytest.raises(DefinitionError, match="expected a name of 1 to 253 characters"):
        flags.bind(name, dflag.int(1))


def test_options_may_be_none_where_that_means_nothing(flags: dflag.FlagRegistry) -> None:
    """An optional argument of a declaration may be None, which means the same as leaving it out."""
    flag = flags.int(
        "a", 1, min=None, max=None, choices=None, mutator=None, input_mutator=None, owner=None, deprecated=None,
        expires=None,
    )  # type: ignore[arg-type]  # fmt: skip
    assert (flag.get(), flag.owner, flag.deprecated, flag.expires) == (1, None, None, None)


CALLS: list[tuple[str, Callable[[Any], object]]] = [
    ("apply source", lambda flags: flags.apply({}, source=5)),
    ("apply source None", lambda flags: flags.apply({}, source=None)),
    ("apply values", lambda flags: flags.apply([], source="s")),
    ("apply values None", lambda flags: flags.apply(None, source="s")),
    ("apply name", lambda flags: flags.apply({5: "5"}, source="s")),
    ("apply value", lambda flags: flags.apply({"rate": 5}, source="s")),
    ("apply atomic", lambda flags: flags.apply({}, source="s", atomic="no")),
    ("override key", lambda flags: flags.override({5: 5})),
    ("override key None", lambda flags: flags.override({None: 5})),
    ("override values", lambda flags: flags.override(5)),
    ("override values None", lambda flags: flags.override(None)),
    ("pinned key", lambda flags: flags.pinned({5: 5})),
    ("pinned values", lambda flags: flags.pinned([("rate", 5)])),
    ("pinned empty", lambda flags: flags.pinned([])),
    ("bind", lambda flags: flags.bind("a", 5)),
    ("bind None", lambda flags: flags.bind("a", None)),
    ("registry name", lambda flags: dflag.FlagRegistry(5)),  # type: ignore[arg-type]
    ("checksum", lambda flags: flags.checksum("x")),
    ("flush", lambda flags: flags.flush("1")),
    ("flush bool", lambda flags: flags.flush(True)),
    ("argv", lambda flags: flags.parse_args("--rate=5")),
    ("env_prefix", lambda flags: flags.parse_args([], env_prefix=5)),
    ("description", lambda flags: flags.parse_args([], description=5)),
    ("ttl_seconds", lambda flags: flags["rate"].set(5, ttl_seconds="60")),
    ("ttl_seconds bool", lambda flags: flags["rate"].set(5, ttl_seconds=True)),
    ("ttl_seconds text", lambda flags: flags["rate"].set_text("5", ttl_seconds=datetime.timedelta(1))),
    ("reason", lambda flags: flags["rate"].set(5, reason=5)),
    ("text", lambda flags: flags["rate"].set_text(5)),
    ("text bytes", lambda flags: flags["rate"].set_text(b"5")),
    ("updater registry None", lambda flags: dflag.Updater(None, "/x")),  # type: ignore[arg-type]
    ("updater registry path", lambda flags: dflag.Updater("/x", flags)),  # type: ignore[arg-type]
    ("updater setup", lambda flags: dflag.Updater.setup(None, "/x")),  # type: ignore[arg-type]
    ("updater source None", lambda flags: dflag.Updater(flags, None)),
    ("updater source 5", lambda flags: dflag.Updater(flags, 5)),
    ("updater source bytes", lambda flags: dflag.Updater(flags, b"/x")),
    ("updater source mapping", lambda flags: dflag.Updater(flags, {"rate": "5"})),
    ("updater source item", lambda flags: dflag.Updater(flags, ["/x", None])),
    ("updater source name", lambda flags: dflag.Updater(flags, _Numbered({}))),
    ("updater resync", lambda flags: dflag.Updater(flags, "/x", resync_seconds="1")),
    ("updater resync None", lambda flags: dflag.Updater(flags, "/x", resync_seconds=None)),
    ("updater ignore", lambda flags: dflag.Updater(flags, "/x", ignore=5)),
    ("updater ignore None", lambda flags: dflag.Updater(flags, "/x", ignore=None)),
    ("updater ignore item", lambda flags: dflag.Updater(flags, "/x", ignore=[5])),
    ("directory path", lambda flags: DirectorySource(None)),  # type: ignore[arg-type]
    ("directory path bytes", lambda flags: DirectorySource(b"/x")),  # type: ignore[arg-type]
    ("directory settle", lambda flags: DirectorySource("/x", settle_seconds="1")),  # type: ignore[arg-type]
    ("directory secret", lambda flags: DirectorySource("/x", secret="no")),  # type: ignore[arg-type]  # noqa: S106
    ("file path", lambda flags: FileSource(5)),  # type: ignore[arg-type]
    ("page registry", lambda flags: make_wsgi_app(None)),  # type: ignore[arg-type]
    ("page updater", lambda flags: make_wsgi_app(flags, 5)),  # type: ignore[arg-type]
    ("metrics registry", lambda flags: register(None)),  # type: ignore[arg-type]
    ("metrics updater", lambda flags: register(flags, 5, prometheus_registry=CollectorRegistry())),  # type: ignore[arg-type]
    ("loglevel registry", lambda flags: add_loglevel_flag(None)),  # type: ignore[arg-type]
    ("loglevel logger", lambda flags: add_loglevel_flag(flags, logger=5)),  # type: ignore[arg-type]
    ("wait_for timeout", lambda flags: dflag.Updater(flags, MemorySource({})).wait_for(lambda _: True, "1")),  # type: ignore[arg-type]
    ("stop timeout", lambda flags: dflag.Updater(flags, MemorySource({})).stop("1")),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("call", [pytest.param(call, id=name) for name, call in CALLS])
def test_an_argument_of_the_wrong_type_is_refused_at_the_call(
    flags: dflag.FlagRegistry, call: Callable[[Any], object]
) -> None:
    """An argument of the wrong type raises `ArgumentError`, which is also a `TypeError`, and changes nothing."""
    rate = flags.dyn_int("rate", 50)
    before = flags.snapshot()
    with pytest.raises(ArgumentError, match="expected ") as caught:
        call(flags)
    assert isinstance(caught.value, dflag.DefinitionError)
    assert isinstance(caught.value, TypeError)
    assert (rate.get(), flags.snapshot()) == (50, before)


@pytest.mark.parametrize(
    "call",
    [
        lambda flags: flags["rate"].set(5, ttl_seconds=0),
        lambda flags: flags["rate"].set(5, ttl_seconds=-1),
        lambda flags: flags["rate"].set(5, ttl_seconds=float("inf")),
        lambda flags: flags["rate"].set(5, ttl_seconds=float("nan")),
        lambda flags: flags.flush(float("nan")),
        lambda flags: dflag.Updater(flags, "/x", resync_seconds=0),
        lambda flags: dflag.Updater(flags, "/x", resync_seconds=float("nan")),
        lambda flags: dflag.Updater(flags, "/x", resync_seconds=float("inf")),
        lambda flags: dflag.Updater(flags, "/x", atomic="no"),  # type: ignore[arg-type]
        lambda flags: dflag.Updater(flags, "/x", on_missing=5),  # type: ignore[arg-type]
        lambda flags: dflag.Updater(flags, []),
        lambda flags: bearer_token(5, "alice"),  # type: ignore[arg-type]
        lambda flags: bearer_token("token", 5),  # type: ignore[arg-type]
        lambda flags: flags.validator(5),
        lambda flags: flags.validator(_coroutine),
        lambda flags: flags.validator(_generator),
        lambda flags: flags["rate"].validator(5),
        lambda flags: flags["rate"].validator(_coroutine),
        lambda flags: flags["rate"].on_change(5),
        lambda flags: dflag.Updater(flags, MemorySource({})).wait_for(5),  # type: ignore[arg-type]
        lambda flags: dflag.Updater(flags, MemorySource({})).wait_for(_coroutine),  # type: ignore[arg-type]
    ],
)
def test_an_argument_that_cannot_work_is_refused_at_the_call(
    flags: dflag.FlagRegistry, call: Callable[[Any], object]
) -> None:
    """An argument that cannot work, such as a number out of range or a coroutine function, raises `DefinitionError`."""
    flags.dyn_int("rate", 50)
    with pytest.raises(DefinitionError, match="expected "):
        call(flags)
    assert flags.snapshot()["rate"] == 50


@pytest.mark.parametrize("name", [5, None, b"rate", ("rate",)])
def test_a_look_up_by_anything_but_a_name_fails_clearly(flags: dflag.FlagRegistry, name: Any) -> None:
    """A look-up by anything but a text raises `UnknownFlagError`, which asks for a name; `in` returns False."""
    flags.dyn_int("rate", 50)
    for look_up in (flags.lookup, flags.__getitem__, flags.explain, flags.snapshot().__getitem__):
        with pytest.raises(dflag.UnknownFlagError, match="expected the name of a flag, got"):
            look_up(name)
    assert name not in flags
    assert name not in flags.snapshot()


def test_a_look_up_by_a_flag_asks_for_its_name(flags: dflag.FlagRegistry) -> None:
    """A look-up by a flag object raises `UnknownFlagError`, which asks for the flag's name."""
    rate: Any = flags.dyn_int("rate", 50)
    for look_up in (flags.lookup, flags.explain):
        with pytest.raises(dflag.UnknownFlagError, match="expected the name of a flag, got <DynamicFlag 'rate'"):
            look_up(rate)


@pytest.mark.parametrize("wrong", [b"a", bytearray(b"a")])
def test_bytes_in_the_place_of_a_text_are_shown_as_such(flags: dflag.FlagRegistry, wrong: Any) -> None:
    """An error about bytes shows them as bytes, since decoded they would look like the text that is expected."""
    for call in (
        lambda: flags.apply({}, source=wrong),
        lambda: flags.int("rate", 1, wrong),
        lambda: type("Settings", (dflag.Flags,), {}, prefix=wrong),
        lambda: flags.flush(wrong),
    ):
        with pytest.raises(ArgumentError, match=re.escape(f"got {wrong!r}")):
            call()


def test_a_reason_is_kept_as_a_plain_text(flags: dflag.FlagRegistry) -> None:
    """A reason of a subclass of str, whose repr may do anything, is stored as a plain str."""

    class Odd(str):
        __slots__ = ()

        def __repr__(self) -> str:
            raise RuntimeError

    rate = flags.dyn_int("rate", 50)
    rate.set(60, reason=Odd("because"))
    assert repr(flags.explain("rate")[0].reason) == "'because'"


def test_the_text_of_a_secret_is_not_shown_when_it_is_none(flags: dflag.FlagRegistry) -> None:
    """`set_text()` of a secret with anything but a text raises an error that shows the type, not the value."""
    secret = flags.dyn_string("key", "", secret=True)
    with pytest.raises(ArgumentError, match="got a value of type int") as caught:
        secret.set_text(31337)  # type: ignore[arg-type]
    assert "31337" not in str(caught.value)


@pytest.mark.parametrize("make", [Mock, MagicMock])
def test_a_mock_serves_as_any_function(flags: dflag.FlagRegistry, make: Callable[..., Any]) -> None:
    """A mock, which has every attribute, is accepted as a plain function."""
    check, listener, rule = make(return_value=None), make(), make(return_value=None)
    flag = flags.dyn_int("rate", 50, validator=check, on_change=listener)
    flags.validator(rule)
    flag.set(60)
    assert flags.flush(5)
    listener.assert_called_once_with(50, 60)
    assert (check.call_args.args, rule.call_count) == ((60,), 1)


# --- what functions of the program return


def test_a_validator_that_returns_false_refuses(flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture) -> None:
    """A validator that returns False refuses the value, and the error and the log say to raise ValueError instead."""
    flag = flags.dyn_int("rate", 50, validator=lambda value: value < 100)
    revision = flags.apply({"rate": "200"}, source="s")

    assert (flag.get(), list(revision.rejected)) == (50, ["rate"])
    assert "should raise ValueError to refuse a value, not return False" in str(revision.rejected["rate"])
    assert "flag 'rate': a validator should raise ValueError" in caplog.text
    with pytest.raises(dflag.ValidationError, match="not return False"):
        flag.set(200)
    flag.set(99)
    assert flag.get() == 99


@pytest.mark.parametrize("result", [None, True, 0, "", "fine", 0.0, [], object()])
def test_a_validator_may_return_anything_else(flags: dflag.FlagRegistry, result: object) -> None:
    """A validator that returns anything but False accepts the value, so that `len` can be a validator."""
    flag = flags.dyn_int("rate", 50, validator=lambda value: result)
    flag.set(60)
    assert flag.get() == 60


def test_a_validator_that_refuses_the_default_by_false(flags: dflag.FlagRegistry) -> None:
    """A validator that returns False for the default is refused in the declaration and when it is added later."""
    with pytest.raises(DefinitionError, match="not return False"):
        flags.dyn_int("rate", 50, validator=lambda value: False)
    rate = flags.dyn_int("rate", 50)
    with pytest.raises(DefinitionError, match="not return False"):
        rate.validator(lambda value: False)


def test_a_secret_is_not_shown_by_a_validator_that_returns_false(
    flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """When a validator of a secret returns False, neither the error nor the log shows the value."""
    flags.dyn_string("key", "", secret=True, validator=lambda value: value != "hunter2")
    revision = flags.apply({"key": "hunter2"}, source="s")
    assert "hunter2" not in str(revision.rejected["key"]) + caplog.text
    assert "should raise ValueError" in caplog.text


def test_a_registry_validator_that_returns_false_refuses(
    flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """A registry validator that returns False refuses a whole revision and a value that is set."""
    low, high = flags.dyn_int("low", 1), flags.dyn_int("high", 2)

    @flags.validator
    def in_order(snap: dflag.Snapshot) -> bool:
        return snap[low] < snap[high]

    revision = flags.apply({"low": "5"}, source="s")
    assert (low.get(), revision.changed) == (1, ())
    assert "in_order" in str(revision.error)
    assert "not return False" in str(revision.error)
    assert "in_order" in caplog.text
    with pytest.raises(dflag.ValidationError, match="not return False"):
        low.set(5)
    low.set(0)
    assert low.get() == 0


def test_a_validator_whose_result_nobody_awaits_refuses(flags: dflag.FlagRegistry) -> None:
    """A validator of a flag or a registry that returns a coroutine refuses the value."""
    flag = flags.dyn_int("rate", 50)
    accepting = False

    def check(value: int) -> object:
        return None if accepting or value == 50 else _coroutine(value)

    flag.validator(check)
    with pytest.raises(dflag.ValidationError, match="not be a coroutine function"):
        flag.set(60)
    accepting = True
    flags.validator(lambda snap: _coroutine())
    with pytest.raises(dflag.ValidationError, match="not be a coroutine function"):
        flag.set(60)


@pytest.mark.parametrize(
    ("option", "function", "message"),
    [
        ("mutator", lambda value: None if value == 60 else value, "a mutator should return an int, not None"),
        (
            "mutator",
            lambda value: _coroutine() if value == 60 else value,
            "a mutator should return an int, not a value",
        ),
        ("mutator", lambda value: "x" if value == 60 else value, "the mutator returned a value of type str"),
        ("input_mutator", lambda text: None, "an input mutator should return a text, not None"),
        ("input_mutator", lambda text: b"60", "an input mutator should return a text, not a value of type bytes"),
        ("input_mutator", lambda text: _coroutine(), "an input mutator should return a text, not a value of type"),
    ],
)
def test_a_mutator_that_returns_no_value_refuses(
    flags: dflag.FlagRegistry, option: str, function: Callable[[Any], Any], message: str
) -> None:
    """A mutator that returns None or a wrong type refuses the value, and the error blames the mutator, not the text."""
    options: Any = {option: function}
    flag = flags.dyn_int("rate", 50, **options)
    with pytest.raises(dflag.FlagValueError, match=message):
        flag.set_text("60")
    assert flag.get() == 50


# --- snapshots


def test_a_snapshot_cannot_be_changed(flags: dflag.FlagRegistry) -> None:
    """An attribute of a snapshot cannot be set or deleted, and an item cannot be set."""
    flags.dyn_int("rate", 50)
    snap = flags.snapshot()
    for name in ("revision", "_values", "_flags", "other"):
        with pytest.raises(AttributeError, match="a snapshot never changes"):
            setattr(snap, name, 9)
        with pytest.raises(AttributeError, match="a snapshot never changes"):
            delattr(snap, name)
    with pytest.raises(TypeError):
        snap["rate"] = 5  # type: ignore[index]
    assert flags.snapshot().revision == snap.revision != 9


def test_a_snapshot_is_a_mapping_of_names_to_values(flags: dflag.FlagRegistry) -> None:
    """A snapshot is a mapping in name order, and its `get()` takes any name and any flag."""
    rate = flags.dyn_int("rate", 50)
    flags.string("mode", "a")
    snap = flags.snapshot()

    assert isinstance(snap, Mapping)
    assert dict(snap) == {"mode": "a", "rate": 50} == {**snap}
    assert (list(snap), list(snap.values()), list(snap.items())) == (
        ["mode", "rate"],
        ["a", 50],
        [("mode", "a"), ("rate", 50)],
    )
    assert (snap.get("rate"), snap.get(rate), snap.get("burst"), snap.get("burst", default=7)) == (50, 50, None, 7)
    other = dflag.FlagRegistry().dyn_int("rate", 9)
    assert (snap.get(other), snap.get(other, 3), snap.get(5)) == (None, 3, None)  # type: ignore[call-overload]
    match snap:
        case {"rate": value}:
            assert value == 50


def test_a_snapshot_is_equal_to_itself_alone(flags: dflag.FlagRegistry) -> None:
    """A snapshot is equal only to itself, can be a key of a dict, and is its own copy."""
    flags.dyn_int("rate", 50)
    snap = flags.snapshot()
    assert snap == flags.snapshot() is snap
    assert snap != dict(snap)
    assert {snap: 1}[snap] == 1
    flags["rate"].set(60)
    assert flags.snapshot() != snap
    assert snap["rate"] == 50
    assert copy.copy(snap) is copy.deepcopy(snap) is snap


# --- one value everywhere


@pytest.mark.parametrize(
    ("declare", "text", "printed"),
    [
        (lambda flags: flags.dyn_float("x", 0.0), "-0.0", "-0"),
        (lambda flags: flags.dyn_float("x", -0.0), "0", "0"),
        (lambda flags: flags.dyn_json("x", 0.0), "-0.0", "-0.0"),
        (lambda flags: flags.dyn_json("x", {"a": [0.0]}), '{"a": [-0.0]}', '{"a":[-0.0]}'),
        (lambda flags: flags.dyn_map("x", {"a.f": 0.0}, keys="*.f", of="float"), '{"a.f": -0.0}', '{"a.f":"-0"}'),
    ],
)
def test_what_is_read_and_what_is_explained_is_one_value(
    flags: dflag.FlagRegistry, declare: Callable[[Any], dflag.Flag[Any]], text: str, printed: str
) -> None:
    """A zero of the other sign is not a change; `get()`, `explain()`, the snapshot and the checksum agree on it."""
    flag = declare(flags)
    flag.on_change(lambda old, new: pytest.fail("no change"))
    assert flags.apply({"x": text}, source="s").changed == ()

    winner = flags.explain("x")[0]
    assert winner.value is flag.get() is flags.snapshot()["x"]
    assert winner.text == printed == pipeline_of(flag).kind.format(flag.get())
    assert flags.flush(5)
    other = dflag.FlagRegistry()
    declare(other)
    other.apply({"x": text}, source="s")
    assert other.checksum() == flags.checksum()


def test_a_value_given_again_is_the_one_of_its_layer(flags: dflag.FlagRegistry) -> None:
    """When an override with an equal value comes and goes, `get()` returns the object of the layer that wins."""
    flag = flags.dyn_json("x", {"a": 1, "b": 2})
    flags.apply({"x": '{"b": 2, "a": 1}'}, source="s")
    flag.set({"a": 1, "b": 2})
    assert list(flag.get()) == ["a", "b"]
    flag.reset()
    assert list(flag.get()) == ["b", "a"]
    with flags.override({flag: {"a": 1, "b": 2}}):
        assert flag.get() is flags.explain("x")[0].value
    assert flag.get() is flags.explain("x")[0].value
    assert flags.history() == ()


# --- YAML and JSON


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('\t{"a": 1}', {"a": 1}),
        ('{\n\t"a":\t1\n}', {"a": 1}),
        ("\n\t [1,\t2]\t", [1, 2]),
        ("\t5\r\n", 5),
        ('\t"a\\/b\\ud83d\\ude00"', "a/b\U0001f600"),
        ('"\x7f"', "\x7f"),
        ('{"' + "k" * 2000 + '": 1}', {"k" * 2000: 1}),
        ("a: 1", {"a": 1}),
    ],
)
@pytest.mark.parametrize("strip", [True, False])
def test_yaml_takes_all_that_json_takes(flags: dflag.FlagRegistry, text: str, value: object, strip: bool) -> None:
    """A json flag with ``yaml=True`` accepts YAML, and every text that JSON allows."""
    flag = flags.dyn_json("x", None, yaml=True, strip=strip)
    flags.apply({"x": text}, source="s")
    assert flag.get() == value


# --- how a message shows a value that was given


class _Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


@pytest.mark.parametrize("given", ["x" * 10_000, _Unprintable(), 10**5_000], ids=["long", "unprintable", "many digits"])
@pytest.mark.parametrize(
    "option", ["min", "max", "secret", "strip", "expires", "mutator", "input_mutator", "on_change"]
)
def test_an_error_in_an_option_is_reported_whatever_was_given(
    flags: dflag.FlagRegistry, option: str, given: Any
) -> None:
    """The error about a bad option is short, even if the value is long, has many digits, or has a repr that raises."""
    with pytest.raises(DefinitionError, match=rf"^flag 'share': .*{option}") as refused:
        flags.dyn_float("share", 0.5, **{option: given})
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("given", ["x" * 10_000, _Unprintable(), 10**5_000], ids=["long", "unprintable", "many digits"])
def test_an_error_in_a_name_is_reported_whatever_was_given(flags: dflag.FlagRegistry, given: Any) -> None:
    """The error about a bad name or a bad `since` is short, even if the value is long or has a repr that raises."""
    with pytest.raises(DefinitionError, match="expected a name of 1 to 253 characters") as refused:
        flags.int(given, 1)
    assert len(str(refused.value)) < 200
    with pytest.raises(DefinitionError, match=r"expected since as a datetime\.date") as refused:
        flags.retired("gone", since=given)
    assert len(str(refused.value)) < 200
    if not isinstance(given, str):
        with pytest.raises(dflag.UnknownFlagError, match="expected the name of a flag"):
            flags[given]
