from __future__ import annotations

import enum
import time
from typing import Any

import pytest

from dflag._kinds import BOOL, BYTES, DURATION, FLOAT, INT, STRING, EnumKind, Kind, Problem


class Level(enum.Enum):
    """
    An enumeration in which a name and a value differ only in case.
    """

    LOW = "low"
    HIGH = "Hi"
    hi = 3


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", 42),
        ("-7", -7),
        ("+5", 5),
        ("0", 0),
        ("-0", 0),
        ("0x1F", 31),
        ("0X1f", 31),
        ("0x_ff", 255),
        ("0b101", 5),
        ("0B1", 1),
        ("0o17", 15),
        ("0O17", 15),
        ("1_000", 1000),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
    ],
)
def test_int_reads_go_literals(text: str, value: int) -> None:
    """
    An int is read in every base of Go's integer literals.
    """
    assert INT.parse(text) == value


@pytest.mark.parametrize(
    "text", ["", "017", "00", "08", "0_8", "1__0", "_1", "1_", "1e3", "1.0", "0x", "\u0661", "1 0"]
)
def test_int_refuses_other_texts(text: str) -> None:
    """
    A text that is not an integer literal of Go, or that Go reads as octal, is refused as an int.
    """
    with pytest.raises(Problem, match="an int"):
        INT.parse(text)


def test_int_says_why_a_leading_zero_is_refused() -> None:
    """
    The error for an int with a leading zero mentions octal.
    """
    with pytest.raises(Problem, match="octal"):
        INT.parse("017")


@pytest.mark.parametrize("text", ["9223372036854775808", "-9223372036854775809", "9" * 2**20])
def test_int_names_its_range(text: str) -> None:
    """
    An int outside of 64 bits is refused at once, however long.
    """
    began = time.perf_counter()
    with pytest.raises(Problem, match="64 bits"):
        INT.parse(text)
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("1e6", "1e+06"),
        ("1e20", "1e+20"),
        ("123456789.0", "1.23456789e+08"),
        ("0.25", "0.25"),
        (".5", "0.5"),
        ("5.", "5"),
        ("100", "100"),
        ("999999", "999999"),
        ("0.0001", "0.0001"),
        ("0.00001", "1e-05"),
        ("1e16", "1e+16"),
        ("-0", "-0"),
        ("-1234567.5", "-1.2345675e+06"),
        ("inf", "+Inf"),
        ("-Infinity", "-Inf"),
        ("1e-400", "0"),
        ("1_000", "1000"),
        ("1_23.50_0_0e+1_2", "1.235e+14"),
        ("1_0.", "10"),
    ],
)
def test_float_prints_as_go_does(text: str, printed: str) -> None:
    """
    Floats print with an exponent below 1e-4 and from 1e6.
    """
    assert printed == FLOAT.format(FLOAT.parse(text))


@pytest.mark.parametrize(
    "text",
    [
        "nan",
        "NaN",
        "0x1p-2",
        "1e400",
        "1__0",
        "1_",
        "_1",
        "1_.5",
        "1._5",
        "1_e3",
        "1e_3",
        "",
        ".",
        "e3",
        "1" * 2**20,
        "\u0661.5",
    ],
)
def test_float_refuses_other_texts(text: str) -> None:
    """
    NaN, hexadecimal, overflow, and underscores that do not stand between digits are refused as a float.
    """
    with pytest.raises(Problem, match="a float"):
        FLOAT.parse(text)


@pytest.mark.parametrize("word", ["true", "T", "Yes", "y", "ON", "1"])
def test_bool_reads_words_in_any_case(word: str) -> None:
    """
    The words for true are read as true in any case.
    """
    assert BOOL.parse(word) is True


@pytest.mark.parametrize("word", ["false", "F", "No", "n", "OFF", "0"])
def test_bool_reads_words_for_false(word: str) -> None:
    """
    The words for false are read as false in any case.
    """
    assert BOOL.parse(word) is False


@pytest.mark.parametrize("text", ["YQ", "YQ==\n", "\u00e9", "Y Q=="])
def test_bytes_refuses_what_is_no_strict_base64(text: str) -> None:
    """
    Base64 without its padding, with white space or with other characters is refused.
    """
    with pytest.raises(Problem, match="base64"):
        BYTES.parse(text)


@pytest.mark.parametrize(
    ("text", "member"),
    [("LOW", Level.LOW), ("low", Level.LOW), ("Low", Level.LOW), ("Hi", Level.HIGH), ("hi", Level.hi), ("3", Level.hi)],
)
def test_enum_prefers_names_then_values_then_folded_texts(text: str, member: Level) -> None:
    """
    A text of an enum matches an exact name first, then an exact value, then a name or value in another case.
    """
    assert EnumKind(Level).parse(text) is member


class Access(enum.Flag):
    """
    An enumeration that leaves out some of its members when it is iterated.
    """

    NONE = 0
    READ = 1
    WRITE = 2
    BOTH = 3
    ALL = 3


@pytest.mark.parametrize(
    ("text", "member"),
    [("3", Access.BOTH), ("all", Access.BOTH), ("both", Access.BOTH), ("0", Access.NONE), ("2", Access.WRITE)],
)
def test_every_member_of_a_flag_enum_is_found(text: str, member: Access) -> None:
    """
    Every member of a flag enum is found by name and by value, also zero and combinations; errors list each one once.
    """
    kind = EnumKind(Access)
    assert kind.parse(text) is member
    assert kind.expected == "one of NONE, READ, WRITE, BOTH"


def test_enum_refuses_an_ambiguous_fold() -> None:
    """
    A text that fits two members if case is ignored is refused, and the error lists the members.
    """
    with pytest.raises(Problem, match="one of LOW, HIGH, hi"):
        EnumKind(Level).parse("HI")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (STRING, 5),
        (INT, True),
        (INT, 1.0),
        (INT, 2**63),
        (FLOAT, True),
        (FLOAT, float("nan")),
        (FLOAT, 10**400),
        (FLOAT, "1"),
        (BOOL, 1),
        (DURATION, 5),
        (BYTES, "text"),
        (EnumKind(Level), "LOW"),
    ],
)
def test_values_of_another_type_are_refused(kind: Kind[Any], value: object) -> None:
    """
    A Python value of another type is refused and not converted.
    """
    with pytest.raises(Problem):
        kind.convert(value)
