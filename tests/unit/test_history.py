"""
The history of the last changes: bounded, printed once, without secrets.
"""

from __future__ import annotations

import dataclasses
import datetime
import gc
import logging
import tracemalloc
import weakref
from typing import TYPE_CHECKING, Annotated, Any

import pydantic
import pytest

from dflag._flags import conceal, pipeline_of
from dflag._layers import Entry
from dflag.web import make_wsgi_app

if TYPE_CHECKING:
    from collections.abc import Callable

    import dflag
    from dflag.typing import JSONValue

MEBIBYTE = 1 << 20


def _large(number: int) -> JSONValue:
    return {"items": [f"{number}-{index:06}" for index in range(20_000)], "z": number}


@pytest.mark.untraced
def test_a_hundred_changes_of_a_large_value_take_bounded_memory(flags: dflag.FlagRegistry) -> None:
    """
    The history keeps 2,000 characters of the text of a large value, and does not keep the value.
    """
    policy, text = flags.dyn_json("policy", {}), flags.dyn_string("text", "")
    policy.set(_large(0))
    tracemalloc.start()
    try:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for number in range(1, 21):
            policy.set(_large(number))
            text.set(f"{number:07}" * (MEBIBYTE // 7))
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 8 * MEBIBYTE  # a second large value of each, and the texts
    last = flags.history()[-1]
    assert (last.flag, len(last.old), len(last.new), last.new[:7], last.new[-1]) == ("text", 2000, 2000, "0000020", "…")
    changes = [change for change in flags.history() if change.flag == "policy"]
    assert {(len(change.new), change.new[:18], change.new[-1]) for change in changes[-1:]} == {
        (2000, '{"items":["20-0000', "…")
    }


def test_the_beginning_of_a_large_value_takes_little_to_print(flags: dflag.FlagRegistry) -> None:
    """
    Printing the beginning of a large value takes little memory, as the rest is not printed.
    """
    policy = flags.dyn_json("policy", _large(1))
    tracemalloc.start()
    try:
        assert len(policy._pipeline.kind.head(policy.get(), 2000)) < 3000
        assert tracemalloc.get_traced_memory()[1] < MEBIBYTE // 4
    finally:
        tracemalloc.stop()


def test_what_the_history_keeps_is_the_beginning_of_the_text(flags: dflag.FlagRegistry) -> None:
    """
    The history keeps the printed value, cut to 2,000 characters, also at the exact limit and with escaped characters.
    """
    policy = flags.dyn_json("policy", "")
    for value in ("x" * 1998, "x" * 1999, ["x" * 1997, 1], {"b": ["\ud800é\n"] * 400, "a": 1}, ["y" * 5000], 5, None):
        policy.set(value)
        full = pipeline_of(policy).kind.format(policy.get())
        assert flags.history()[-1].new == (full if len(full) <= 2000 else full[:1999] + "…")


def test_values_are_let_go_of_and_printed_once(flags: dflag.FlagRegistry) -> None:
    """
    The history frees old values, and prints each value only once, however often a page or a program asks.
    """
    printed: list[int] = []

    def note(size: int) -> int:
        printed.append(size)
        return size

    size = ("size", Annotated[int, pydantic.PlainSerializer(note)], dataclasses.field(default=1))
    model_type = dataclasses.make_dataclass("Model", [size])
    model = flags.dyn_json("model", model_type(1), type=model_type)
    first = weakref.ref(model.default)
    values = [weakref.ref(value) for number in range(2, 12) if _set(model, value := model_type(number))]
    del value
    gc.collect()
    assert [value() for value in values[:-1]] == [None] * 9
    assert first() is not None

    printed.clear()
    app = make_wsgi_app(flags)
    for _ in range(3):
        flags.history()
        b"".join(app({"REQUEST_METHOD": "GET", "PATH_INFO": "/", "QUERY_STRING": "name=none*"}, _start))
    assert {size for size in printed if 1 < size < 11} == set()


def _set(model: Any, value: object) -> bool:
    model.set(value)
    return True


def _start(_status: str, _headers: list[tuple[str, str]]) -> None:
    pass


def test_a_secret_stays_out_of_the_history_also_when_it_becomes_one_later(flags: dflag.FlagRegistry) -> None:
    """
    The history shows no value of a flag that has become secret, not even its earlier values.
    """
    token = flags.dyn_string("token", "")
    token.set("hunter2")
    assert flags.history()[-1].new == "hunter2"
    conceal(token)
    token.set("hunter3")
    assert "hunter" not in repr(flags.history())


@pytest.mark.parametrize(
    "error", [SystemExit(3), GeneratorExit(), ValueError("hunter2")], ids=lambda e: type(e).__name__
)
def test_a_value_that_cannot_be_printed_is_committed_all_the_same(
    flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    """
    A value whose printing raises is committed; the history says so, and the log omits the exception's message.
    """

    def refuse(size: int) -> int:
        if size == 2:
            raise error
        return size

    size = ("size", Annotated[int, pydantic.PlainSerializer(refuse)], dataclasses.field(default=1))
    model_type = dataclasses.make_dataclass("Model", [size])
    model = flags.dyn_json("model", model_type(1), type=model_type)
    entry = model_type(2)
    flags._store.change([(model, "override", Entry(entry))])  # past the pipeline, which prints some kinds too
    assert model.get() is entry
    assert flags.history()[-1].new == "(cannot be printed)"
    assert "hunter2" not in caplog.text


def test_a_printing_that_exits_refuses_nothing(flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A SystemExit while a committed value is printed is not raised to the caller, but a KeyboardInterrupt is.
    """
    text = flags.dyn_string("text", "")
    faults: list[BaseException] = [SystemExit(3), KeyboardInterrupt()]

    def explode(_kind: object, _value: object, _limit: int) -> str:
        raise faults[0]

    monkeypatch.setattr(type(text._pipeline.kind), "head", explode)
    text.set("a")
    assert flags.history()[-1].new == "(cannot be printed)"
    faults.pop(0)
    with pytest.raises(KeyboardInterrupt):
        text.set("b")
    assert text.get() == "b"


def test_a_small_secret_is_not_kept(flags: dflag.FlagRegistry) -> None:
    """
    The records of changes keep the small values of a plain flag for later printing, and not those of a secret flag.
    """
    for secret in (False, True):
        flags.dyn_int(f"pin_{secret}", 0, secret=secret).set(1234)
        kept = [getattr(record, slot) for record in flags._store.changes for slot in record.__slots__]
        assert ((0, 1234) in kept[-6:]) is not secret


def test_a_long_reason_is_cut(flags: dflag.FlagRegistry) -> None:
    """
    The history cuts a long reason to 2,000 characters.
    """
    flags.dyn_int("rate", 1).set(2, reason="because " * 10_000)
    assert len(flags.history()[-1].reason or "") == 2000


@pytest.fixture(name="said")
def _said(caplog: pytest.LogCaptureFixture) -> Callable[..., list[str]]:
    caplog.set_level(logging.DEBUG, logger="dflag")
    return lambda *levels: [r.getMessage() for r in caplog.records if r.levelno in levels or not levels]


def test_every_change_is_logged_at_debug_with_both_texts(
    flags: dflag.FlagRegistry, said: Callable[..., list[str]]
) -> None:
    """
    Each change, also of a large revision, is logged at DEBUG in one bounded printable line that masks a secret.
    """
    rate, token, text = (
        flags.dyn_int("rate", 1),
        flags.dyn_string("token", "", secret=True),
        flags.dyn_string("text", ""),
    )
    flags.apply({"rate": "2"}, source="s")
    rate.set(3)
    rate.reset()
    token.set("hunter2")
    text.set("a\nb" * 2000)
    assert said(logging.DEBUG)[:4] == [
        "flag 'rate': 1 -> 2 (s)",
        "flag 'rate': 2 -> 3 (override)",
        "flag 'rate': 3 -> 2 (s)",
        "flag 'token': ****** -> ****** (override)",
    ]
    (last,) = said(logging.DEBUG)[4:]
    assert last.startswith(r"flag 'text':  -> a\nba\nb")
    assert last.isprintable()
    assert len(last) < 1100
    assert said(logging.INFO) == ["revision 1 of s changed rate"]

    many = {f"many{number}": "1" for number in range(300)}
    for name in many:
        flags.dyn_int(name, 0)
    flags.apply(many, source="m")
    assert len(said(logging.DEBUG)) == 305


def test_an_override_with_a_reason_or_a_limit_is_logged(
    flags: dflag.FlagRegistry, said: Callable[..., list[str]]
) -> None:
    """
    An override with a reason or a limit is logged at INFO without its value, and a line end in the reason is escaped.
    """
    rate = flags.dyn_int("rate", 1)
    rate.set(20, reason="incident 4711\nflag 'x': forged")
    rate.set_text("30", ttl_seconds=600)
    assert said(logging.INFO) == [
        r"flag 'rate': overridden: incident 4711\nflag 'x': forged",
        "flag 'rate': overridden for 600 s",
    ]
    rate.reset()


def test_a_large_value_is_let_go_of_beside_a_small_one(flags: dflag.FlagRegistry) -> None:
    """
    The history does not keep a large value, even if the value before or after it is a number.
    """
    policy = flags.dyn_json("policy", 1)
    policy.set(["x" * 100_000])
    policy.set(2)
    assert all(record._values is None for record in flags._store.changes)


def test_a_change_has_come_when_it_is_committed(flags: dflag.FlagRegistry) -> None:
    """The time of a change is that of its commit, and not before the validators have run."""
    rate, ends = flags.dyn_int("rate", 1), list[datetime.datetime]()
    flags.validator(lambda _: ends.append(datetime.datetime.now(datetime.UTC)))
    rate.set(2)
    assert flags.history()[-1].when >= ends[-1]
