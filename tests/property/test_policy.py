"""
The expressions of an admission policy accept and refuse what the flags' own parsers do.
"""

from __future__ import annotations

import enum
import functools
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import celpy
import pytest
import re2
from celpy import celtypes
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import dflag
from dflag import validators
from dflag._flags import pipeline_of
from dflag._kinds import WHITE_SPACE
from dflag._kinds.numerals import ranges
from dflag.cli import _cel
from dflag.testing import bad_texts, texts

if TYPE_CHECKING:
    from collections.abc import Callable

    from dflag import Flag


class Colour(enum.Enum):
    """
    A type for an enum flag, with a letter to which other letters fold.
    """

    RED = 1
    KELVIN = "k"
    Sky = "s-y"
    sKy = "other"  # noqa: N815 - a name that differs only in case


def _flags() -> list[Flag[Any]]:
    flags = dflag.FlagRegistry()
    second = timedelta(seconds=1)
    return [
        flags.dyn_int("int", 0),
        flags.dyn_int("rate", 50, min=1, max=10_000),
        flags.dyn_int("offset", 0, min=-300, max=77),
        flags.dyn_int("below", -5, max=-3),
        flags.dyn_int("some", 3, choices=[3, 0, -10, 4096], max=100 * 100),
        flags.dyn_int("verbatim", 3, strip=False),
        flags.dyn_float("float", 0.0),
        flags.dyn_float("ratio", 0.5, min=0, max=1),
        flags.dyn_float("low", 0.5, min=0.25),
        flags.dyn_float("steps", 0.5, choices=[0.5, 1, float("inf")]),
        flags.dyn_bool("bool", False),
        flags.dyn_bool("only_true", True, choices=[True]),
        flags.dyn_duration("duration", timedelta()),
        flags.dyn_duration("timeout", second, min=second / 1000, max=60 * second),
        flags.dyn_duration("delay", -second, max=-second / 2),
        flags.dyn_enum("enum", Colour.RED),
        flags.dyn_enum("warm", Colour.RED, choices=[Colour.RED, Colour.sKy]),
        flags.dyn_string("host", "a", validator=validators.matches("^[a-z.]+$")),
        flags.dyn_string("part", "ab", validator=validators.matches("a.|[^x]b{2,3}")),
        flags.dyn_string("size", "ab", validator=[validators.min_length(2), validators.max_length(4)]),
        flags.dyn_string("level", "info", choices=["info", "it's \\ \u00b5", "\t two"[1:]]),
        flags.dyn_string("one", "a", validator=validators.one_of("a", "b")),
        flags.dyn_int("mutated", 5, mutator=lambda value: min(value, 9), max=9),
    ]


FLAGS = {flag.name: flag for flag in _flags()}

UNCLAIMED: dict[str, Callable[[str], bool]] = {
    "duration": lambda text: bool(re.search(r"n\s*s|[0-9]{5}", text)),
    "timeout": lambda text: bool(re.search(r"[dw\s]|n\s*s|[0-9]{7}|\.[0-9]{4}", text.strip())),
    "delay": lambda text: bool(re.search(r"[dw\s]|n\s*s|[0-9]{7}|\.[0-9]{4}", text.strip())),
    "enum": lambda text: not text.isascii(),
    "warm": lambda text: not text.isascii(),
}
"""The texts that the policy declares it does not check, by flag."""


def _function_trim(text: celtypes.StringType) -> celtypes.StringType:
    return celtypes.StringType(str(text).strip(WHITE_SPACE))  # trims what Go's strings.TrimSpace trims


def _function_substring(text: celtypes.StringType, start: celtypes.IntType) -> celtypes.StringType:
    return celtypes.StringType(str(text)[int(start) :])


FUNCTIONS = {"trim": _function_trim, "substring": _function_substring}
"""The functions that Kubernetes adds to CEL and that celpy lacks."""


def _programme(flag: Flag[Any]) -> Callable[[str], bool]:
    conditions = " && ".join(f"({each})" for each in _cel.demands_of(flag).conditions)
    environment = celpy.Environment()
    expression = f"{_cel.stripped('raw', strip=pipeline_of(flag).strip)}.all(t, {conditions})"
    program = environment.program(environment.compile(expression), functions=FUNCTIONS)

    def evaluate(text: str) -> bool:
        try:
            return bool(program.evaluate({"raw": celtypes.StringType(text)}))
        except celpy.CELEvalError:
            return False  # an error refuses, as the policy's failurePolicy states

    return evaluate


def _reads(flag: Flag[Any], text: str) -> bool:
    try:
        pipeline_of(flag).read(flag.name, text, "test")
    except dflag.FlagValueError:
        return False
    return True


NEAR = [
    "",
    *[
        "0",
        "-0",
        "+0",
        "00",
        "017",
        "0x",
        "0x_",
        "0x0",
        "0X_7f",
        "1__0",
        "_1",
        "1_",
        "0b1_0",
        "0o17",
        "0b2",
        "0xg",
        "0x8000000000000000",
    ],
    *["9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809"],
    *[
        "1e400",
        "-1e400",
        "1e-400",
        ".",
        "5.",
        ".5",
        "1e",
        "inf",
        "+Inf",
        "-INFINITY",
        "nan",
        "infin",
        "0x1p3",
        "true",
        "TRUE",
        "tRuE",
        "of",
        "s-y",
        "A",
    ],
    *[
        "1h",
        "1h30m",
        "1.5h",
        ".5s",
        "1.s",
        "90",
        "-1h",
        "1us",
        "1µs",
        "1μs",
        "1w",
        "1x",
        "0.0",
        "999us",
        "1ms",
        "60s",
        "61s",
        "1m",
        "59.9s",
        "1h1",
    ],
    *("1 h", "1h ", "- 1h", "5\n", "\x1c5", "\u200b5", "\u30005\u2003", "a\n", "a.b\n\n", "\ufeff5"),
    *("\ufeff \ufeff5", "\u017f", "ye\u017f", "fal\u017fe", "\u017fky", "\u212aelvin"),
]
"""Texts that some kind reads in its own way."""


@pytest.mark.parametrize("name", FLAGS)
def test_policy_agrees_with_the_flag(name: str) -> None:
    """
    The policy accepts every text that the flag accepts, and refuses the others except those it declares unchecked.
    """
    flag = FLAGS[name]
    evaluate = _programme(flag)
    seen = set()

    def judge(text: str) -> None:
        reads, passes = _reads(flag, text), evaluate(text)
        seen.add((reads, passes))
        assert passes or not reads, text
        if passes and not reads:
            assert name in UNCLAIMED, text
            assert UNCLAIMED[name](text), text

    for text in NEAR:
        judge(text)
    settings(max_examples=100)(given(texts(flag) | bad_texts(flag))(judge))()
    assert {(True, True), (False, False)} <= seen


@given(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=3, max_size=3),
    st.sampled_from(["d", "#x", "#X", "#o", "#b", "_d"]),
)
def test_numerals_of_a_range(numbers: list[int], spelling: str) -> None:
    """
    The pattern of a range matches a number, in any base, exactly when the number is in the range.
    """
    low, number, high = numbers
    assume(low <= high)
    text = format(number, spelling)
    assert (re2.fullmatch(ranges([(low, high)]), text) is not None) == (low <= number <= high)


@pytest.mark.parametrize(("low", "high"), [(0, 0), (-3, 3), (9, 11), (255, 257), (1, 1024), (-17, -7), (99, 1000)])
def test_numerals_at_the_edges(low: int, high: int) -> None:
    """
    The pattern of a range agrees with the flag near both limits, also for leading zeros, underscores and signs.
    """
    expression = re2.compile(f"^({ranges([(low, high)])})$")
    flag = dflag.FlagRegistry().dyn_int("n", low, min=low, max=high)
    for number in range(low - 20, high + 21):
        sign, size = "-" * (number < 0), abs(number)
        for text in (
            f"{number}",
            f"{number:#x}",
            f"{number:#o}",
            f"{number:#b}",
            f"{sign}0x0_{size:x}",
            f"{sign}0{size}",
            f"+{size}",
        ):
            assert (expression.search(text) is not None) == _reads(flag, text), text


@pytest.mark.parametrize(
    "pattern",
    [
        r"\d+",
        r"a\Z",
        "(?=a)",
        "a++",
        "[a[:alpha:]]",
        "a{,3}",
        "a{1001}",
        "a{02}",
        "a{1,02}",
        r"(a)\1",
        "\u00e9",
        "(?i:a)",
    ],
)
def test_patterns_that_read_differently_are_left_out(pattern: str | re.Pattern[str]) -> None:
    """
    A pattern that Python and RE2 read differently is left out of the policy and listed as left out.
    """
    flag = dflag.FlagRegistry().dyn_string("s", "aé1", secret=False)
    pipeline_of(flag).validators = (validators.matches(pattern),)
    rule = _cel.demands_of(flag)
    assert rule.conditions == []
    assert len(rule.left) == 1


NESTED = [
    ("^([a-z0-9-]{1,63}[.]){1,20}[a-z]{2,63}$", False),
    ("((a{10}){10}){11}", False),
    ("(?:a{40,}|b){26}", False),
    ("(x{2}a{501}|b){2}", False),
    (r"([}{(]a{501}\)){2}", False),
    ("(([)]a{501})?){1,2}", False),
    ("a{1000}", True),
    ("((a{10}){10}){10}", True),
    ("(a{40}){0,25}", True),
    ("(a{900}){0}", True),
    ("(a{600})(b{600})", True),
    ("(a{600})b{2}", True),
    ("(a{600})*b+c{2}", True),
    (r"[(]a{600}[)]{2}\(a{600}\){2}", True),
    ("[](]a{600}[^])]{2}", True),
]
"""Patterns with nested counts, and whether RE2 accepts them."""


@pytest.mark.parametrize(("pattern", "is_read"), NESTED)
def test_counts_that_multiply_beyond_a_thousand_are_left_out(pattern: str, is_read: bool) -> None:
    """
    A pattern whose nested counts RE2 refuses is left out, because it would make the policy refuse every value.
    """
    flag = dflag.FlagRegistry().dyn_string(
        "s", "a", validator=validators.not_empty()
    )  # so that the flag has a pipeline of its own
    pipeline_of(flag).validators = (validators.matches(pattern),)
    assert len(_cel.demands_of(flag).conditions) == is_read
    if is_read:
        re2.compile(pattern)
    else:
        with pytest.raises(re2.error, match="invalid repetition size"):
            re2.compile(pattern)


def test_a_dollar_is_left_out_where_a_line_may_end_behind_it() -> None:
    """
    A pattern with a dollar is left out if the flag keeps white space: Python matches it before a last line end too.
    """
    flags = dflag.FlagRegistry()
    check = validators.matches("^a$")
    assert _cel.demands_of(flags.dyn_string("stripped", "a", validator=check)).conditions == ["t.matches('^a$')"]
    assert _cel.demands_of(flags.dyn_string("verbatim", "a", strip=False, validator=check)).conditions == []


@pytest.mark.parametrize("keywords", [{"enum": ("admin", "root")}, {"maxLength": 3}, {"pattern": "x"}], ids=str)
def test_keywords_of_a_validator_of_ones_own_are_left_out(keywords: dict[str, Any]) -> None:
    """
    The keyword arguments of a user's validator are left out of the policy, since only the function knows their meaning.
    """

    def check(value: str, **_: object) -> None:
        pass

    flag = dflag.FlagRegistry().dyn_string("s", "a", validator=functools.partial(check, **keywords))
    rule = _cel.demands_of(flag)
    assert rule.conditions == []
    assert len(rule.left) == 1
