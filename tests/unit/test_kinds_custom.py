from __future__ import annotations

import datetime
import decimal
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

import dflag

if TYPE_CHECKING:
    from collections.abc import Callable


class Size:
    """A quantity of bytes, which prints in another way than it is read."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Size) and other.count == self.count

    def __hash__(self) -> int:
        return hash(self.count)


class BigSize(Size):
    """Another type, whose values are equal to sizes."""


def _read_size(text: str) -> Size:
    units = {"Ki": 2**10, "Mi": 2**20}
    number, unit = text[:-2], text[-2:]
    if unit not in units:
        raise ValueError("a size has a unit, Ki or Mi")
    return Size(int(number) * units[unit])


def _write_size(size: Size) -> str:
    return f"{size.count} bytes"


DAY = datetime.date(2030, 1, 1)


def test_a_custom_flag_takes_what_its_parser_does(flags: dflag.FlagRegistry) -> None:
    """The parser gets texts from a source, stripped, and from `set_text()`; `set()` takes a value as it is."""
    size = flags.dyn_custom("size", Size(5), "Size", parse=_read_size, format=_write_size)
    day = flags.dyn_custom("day", DAY, parse=datetime.date.fromisoformat)
    revision = flags.apply({"size": b" 2Ki\n", "day": "2031-06-30"}, source="s")

    assert revision.changed == ("day", "size")
    assert (size.get().count, day.get()) == (2048, datetime.date(2031, 6, 30))
    assert (size.type_name, flags.explain("size")[0].text) == ("custom", "2048 bytes")
    size.set_text("1Mi")
    assert size.get().count == 2**20
    size.set(Size(7))
    assert size.get().count == 7
    assert flags.history()[-1].new == "7 bytes"


def test_a_static_custom_flag_reads_the_command_line(flags: dflag.FlagRegistry) -> None:
    """A static custom flag is parsed from the command line, and pending when its text changes after the freeze."""
    size = flags.custom("size", Size(5), parse=_read_size, format=_write_size)
    flags.parse_args(["--size=1Ki"])
    assert (size.get().count, size.dynamic) == (1024, False)
    flags.freeze()
    assert flags.apply({"size": "2Ki"}, source="s").pending_restart == ("size",)


def test_a_parser_refuses_by_raising_value_error(flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture) -> None:
    """When a parser raises ValueError, its message is the reason, the value stays, and the other flags are applied."""
    size = flags.dyn_custom("size", Size(5), parse=_read_size, format=_write_size)
    rate = flags.dyn_int("rate", 50)
    revision = flags.apply({"size": "2", "rate": "60"}, source="s")

    assert isinstance(revision.rejected["size"], dflag.ParseError)
    assert str(revision.rejected["size"]) == "flag 'size': a size has a unit, Ki or Mi, got '2' (s)"
    assert (size.get(), rate.get()) == (Size(5), 60)
    assert not [record for record in caplog.records if record.levelno == logging.ERROR]


@pytest.mark.parametrize("fails", [lambda text: 1 // 0, decimal.Decimal])
def test_a_parser_that_raises_anything_else_is_at_fault(
    flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture, fails: Callable[[str], Any]
) -> None:
    """When a parser raises another error, the value is still refused, and the log says that it should be ValueError."""
    flag = flags.dyn_custom("x", decimal.Decimal(1), parse=fails)
    assert list(flags.apply({"x": "one"}, source="s").rejected) == ["x"]
    assert flag.get() == 1
    assert "should raise ValueError" in caplog.text


@pytest.mark.parametrize("wrong", [None, 5, b"x"])
def test_a_value_without_a_text_is_refused(flags: dflag.FlagRegistry, wrong: object) -> None:
    """A value without a text from format= is refused from a source, by `set_text()`, by `set()` and as a default."""
    flag = flags.dyn_custom("x", 1, parse=int, format=lambda value: str(value) if value == 1 else wrong)  # type: ignore[arg-type, return-value]
    for attempt in (lambda: flag.set_text("2"), lambda: flag.set(2)):
        with pytest.raises(dflag.FlagValueError, match="expected a value that format= turns into a text"):
            attempt()
    assert list(flags.apply({"x": "2"}, source="s").rejected) == ["x"]
    assert flag.get() == 1
    with pytest.raises(dflag.DefinitionError, match="expected a value that format= turns into a text"):
        flags.custom("y", 1, parse=int, format=lambda value: wrong)  # type: ignore[arg-type, return-value]


def test_a_format_that_raises_refuses(flags: dflag.FlagRegistry) -> None:
    """When format= raises ValueError, the value is refused with the message of the error as the reason."""

    def write(value: int) -> str:
        if value > 1:
            raise ValueError("too large to write")
        return str(value)

    flag = flags.dyn_custom("x", 1, parse=int, format=write)
    with pytest.raises(dflag.ParseError, match="flag 'x': too large to write, got '2'"):
        flag.set_text("2")
    with pytest.raises(dflag.ValidationError, match="too large to write"):
        flag.set(2)


def test_a_format_that_fails_later_does_not_break_reports(flags: dflag.FlagRegistry) -> None:
    """When format= begins to fail for a value in force, reports show its type instead, and checksums still work."""
    working = True

    def write(value: int) -> str:
        if not working:
            raise RuntimeError
        return str(value)

    flag = flags.dyn_custom("x", 1, parse=int, format=write)
    flag.set(2)
    working = False
    assert flags.explain("x")[0].text == "<int>"
    flag.reset()
    assert flags.history()[-1].old == "<int>"
    assert len(flags.checksum()) == 8


def test_a_change_is_judged_by_type_and_equality(flags: dflag.FlagRegistry) -> None:
    """An equal value of another type is a change; one of the same type is not, but `get()` returns the new object."""
    flag = flags.dyn_custom("x", Size(5), parse=lambda text: BigSize(5) if text == "big" else Size(int(text)))
    assert flags.apply({"x": "5"}, source="s").changed == ()
    assert flag.get() is flags.explain("x")[0].value is not flag.default
    assert flags.apply({"x": "big"}, source="s").changed == ("x",)


def test_every_option_holds_for_a_custom_flag(flags: dflag.FlagRegistry) -> None:
    """Choices, validators and mutators apply to a custom flag, and its secret text is in no history, layer or error."""
    flag = flags.dyn_custom(
        "x",
        Size(2),
        parse=lambda text: Size(int(text)),
        format=_write_size,
        choices=[Size(2), Size(4), Size(6)],
        mutator=lambda size: Size(size.count * 2),
        input_mutator=str.strip,
        strip=False,
        secret=True,
    )

    @flag.validator
    def not_six(size: Size) -> None:
        if size.count == 6:
            raise ValueError("not six")

    flag.set_text(" 2 ")
    assert flag.get() == Size(4)
    refused, no_choice = "flag 'x': the value was refused (s)", "flag 'x': expected one of its choices (s)"
    for text, problems in {"1": [], "3": [refused], "9": [no_choice], "oops": [refused]}.items():
        assert list(map(str, flags.apply({"x": text}, source="s").rejected.values())) == problems
    assert "bytes" not in repr(flags.history()) + repr(flags.explain("x"))
    with pytest.raises(dflag.FlagValueError) as caught:
        flag.set_text("hunter2")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["parse", "format"])
@pytest.mark.parametrize("wrong", [5, None, "int"])
def test_its_functions_are_checked_at_declaration(flags: dflag.FlagRegistry, name: str, wrong: Any) -> None:
    """A declaration whose parse= or format= cannot be called is refused, in a registry and unbound."""
    with pytest.raises(dflag.DefinitionError, match=f"flag 'x': expected a callable for {name}"):
        flags.custom("x", 1, **{"parse": int, name: wrong})
    with pytest.raises(dflag.DefinitionError, match=f"expected a callable for {name}"):
        dflag.dyn_custom(1, **{"parse": int, name: wrong})


def test_a_parser_that_nobody_awaits_is_refused(flags: dflag.FlagRegistry) -> None:
    """A coroutine function as parse= is refused at once, and a function that returns a coroutine at the first text."""

    async def parse(text: str) -> int:
        return int(text)

    with pytest.raises(dflag.DefinitionError, match="got a coroutine function or generator"):
        flags.custom("x", 1, parse=parse)  # type: ignore[arg-type, misc]
    flag: Any = flags.dyn_custom("y", 1, parse=lambda text: parse(text + ""))
    with pytest.raises(dflag.FlagValueError, match="coroutine function"):
        flag.set_text("2")


def test_a_library_has_custom_flags() -> None:
    """An unbound custom flag can be set, and keeps its override when it is bound."""
    day = dflag.dyn_custom(DAY, "Day", parse=datetime.date.fromisoformat)
    fixed = dflag.custom(DAY, parse=datetime.date.fromisoformat)
    day.set_text("2031-01-01")
    flags = dflag.FlagRegistry()
    flags.bind("day", day)
    flags.bind("fixed", fixed)
    assert (day.get(), fixed.get()) == (datetime.date(2031, 1, 1), DAY)
    assert flags.apply({"day": "x"}, source="s").rejected.keys() == {"day"}


def test_a_document_gives_a_custom_flag_its_text(flags: dflag.FlagRegistry, tmp_path: Any) -> None:
    """The parser of a custom flag gets a YAML scalar of a document as it is written."""
    day = flags.dyn_custom("day", DAY, parse=datetime.date.fromisoformat)
    price = flags.dyn_custom("price", "1", parse=str)
    (tmp_path / "app.yaml").write_text("day: 2031-06-30\nprice: 012.50\n")
    dflag.Updater(flags, tmp_path / "app.yaml").initialize()
    assert (day.get(), price.get()) == (datetime.date(2031, 6, 30), "012.50")


def test_a_pin_and_a_snapshot_hold_custom_values(flags: dflag.FlagRegistry) -> None:
    """A pin and its snapshot return the custom value that was pinned."""
    day = flags.dyn_custom("day", DAY, parse=datetime.date.fromisoformat)
    with flags.pinned({day: datetime.date(2040, 1, 1)}) as snap:
        assert day.get() == snap[day] == snap["day"] == datetime.date(2040, 1, 1)
    assert json.loads(json.dumps(flags.checksum())) == flags.checksum()
