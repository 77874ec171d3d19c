"""
The way of one value through the pipeline of a flag.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import pickle
import traceback
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

import dflag
from dflag import _kinds
from dflag._pipeline import Pipeline
from dflag.cli._schemas import of_flag
from dflag.errors import ArgumentError
from dflag.typing import Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_text_takes_every_step_in_order() -> None:
    """A text passes the input mutator, parser, mutator, limits and validator in this order, until one refuses it."""
    seen: list[object] = []

    def shorten(text: str) -> str:
        seen.append(text)
        return text.removesuffix("k")

    def double(value: int) -> int:
        seen.append(value)
        return value * 2

    pipeline = Pipeline(_kinds.INT, {"input_mutator": shorten, "mutator": double, "max": 20, "validator": seen.append})
    assert pipeline.read("rate", "  8k\n", "file") == 16
    assert seen == ["8k", 8, 16]
    with pytest.raises(dflag.ValidationError, match=r"flag 'rate': expected an int of at most 20, got '11k' \(file\)"):
        pipeline.read("rate", "11k", "file")
    assert seen[3:] == ["11k", 11]  # the validator is not called


def test_a_python_value_begins_behind_the_parser() -> None:
    """A Python value skips input mutator and parser, and is refused if it is of another type or beyond the limits."""
    pipeline = Pipeline(_kinds.INT, {"input_mutator": mock.Mock(side_effect=AssertionError), "min": 1})
    assert pipeline.take("rate", 5, "override") == 5
    with pytest.raises(dflag.ValidationError, match="expected an int, got '5'"):
        pipeline.take("rate", "5", "override")
    with pytest.raises(dflag.ValidationError, match="expected an int of at least 1, got 0"):
        pipeline.take("rate", 0, "override")


def test_what_cannot_be_read_is_a_parse_error_with_the_reason() -> None:
    """An unreadable value, such as a key that is too large, raises `ParseError` with the reason and without a text."""
    with pytest.raises(dflag.ParseError, match=r"the value cannot be read: too large") as caught:
        Pipeline(_kinds.INT).read("rate", Unreadable("too large"), "file")
    assert "got" not in str(caught.value)


@pytest.mark.parametrize("answer", [lambda _: False, lambda _: mock.AsyncMock()()], ids=["False", "a coroutine"])
def test_a_validator_says_no_by_raising_alone(
    answer: Callable[[int], object], caplog: pytest.LogCaptureFixture
) -> None:
    """A validator that returns False or a coroutine refuses the value, and the error says what it should do."""
    pipeline = Pipeline(_kinds.INT, {"validator": answer})
    with pytest.raises(dflag.ValidationError, match="a validator should"):
        pipeline.take("rate", 5, "override")
    assert "flag 'rate': a validator should" in caplog.text


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_goes_on_to_the_caller(interrupt: type[BaseException]) -> None:
    """A KeyboardInterrupt or SystemExit in a validator reaches the caller."""
    pipeline = Pipeline(_kinds.INT, {"validator": mock.Mock(side_effect=interrupt)})
    with pytest.raises(interrupt):
        pipeline.take("rate", 5, "override")


def test_nothing_of_a_secret_hangs_on_its_error(caplog: pytest.LogCaptureFixture) -> None:
    """The error for a secret flag has no cause, and neither error nor log has its text or the validator's message."""
    pipeline = Pipeline(_kinds.STRING, {"secret": True, "validator": mock.Mock(side_effect=KeyError("hush"))})
    with pytest.raises(dflag.ValidationError) as caught:
        pipeline.read("key", "hush", "file")
    error = caught.value
    assert (error.__cause__, error.__context__) == (None, None)
    assert "hush" not in f"{error} {error!r} {error.raw!r} {caplog.text}"


def test_a_pipeline_never_changes() -> None:
    """`with_validator()` and `concealed()` change only what they return; ``secret=False`` is never concealed."""
    pipeline = Pipeline(_kinds.INT)
    refuse = mock.Mock(side_effect=[None, ValueError("no")])
    stricter = pipeline.with_validator(refuse, "rate", 1)
    assert pipeline.take("rate", 5, "override") == 5
    with pytest.raises(dflag.ValidationError, match="no"):
        stricter.take("rate", 5, "override")
    assert (pipeline.concealed().secret, pipeline.secret) == (True, False)
    assert not Pipeline(_kinds.INT, {"secret": False}).concealed().secret


def test_the_default_must_pass_a_validator_that_is_added() -> None:
    """A validator that is added raises if it refuses the default."""
    with pytest.raises(dflag.ValidationError, match="odd"):
        Pipeline(_kinds.INT).with_validator(mock.Mock(side_effect=ValueError("odd")), "rate", 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"minimum": 1}, "unexpected option 'minimum' for a flag of type int; did you mean 'min'?"),
        ({"min": 5, "max": 1}, "expected min <= max, got min=5 and max=1"),
        ({"secret": 1}, "expected secret as True or False, got 1"),
        ({"expires": "soon"}, "expected expires as a datetime.date, got 'soon'"),
        ({"choices": "12"}, "expected choices as several values, got '12'"),
        ({"by": " "}, "expected by as a name for the keys"),
        ({"validator": mock.AsyncMock()}, "expected a plain function for validator"),
    ],
)
def test_an_option_that_cannot_work_is_refused_at_once(options: dict[str, object], message: str) -> None:
    """An option that cannot work raises `DefinitionError`, with what was expected, before there is any value."""
    with pytest.raises(dflag.DefinitionError) as caught:
        Pipeline(_kinds.INT, options)
    assert message in str(caught.value)
    assert isinstance(caught.value, ArgumentError) is (set(options) <= {"minimum", "secret", "expires"})


def test_the_choices_of_a_secret_are_in_no_message(flags: dflag.FlagRegistry) -> None:
    """The error for a secret flag does not list its choices, which include its default; that for another flag does."""
    for secret, expected in ((True, "one of its choices"), (False, "one of 'hunter2', 'other', got 'typo'")):
        flag = flags.dyn_string(f"key_{secret}", "hunter2", secret=secret, choices=["hunter2", "other"])
        with pytest.raises(dflag.ValidationError) as caught:
            flag.set_text("typo")
        assert str(caught.value) == f"flag 'key_{secret}': expected {expected} (override)"


def test_the_members_of_a_secret_enum_are_in_no_message(flags: dflag.FlagRegistry) -> None:
    """The error for a secret enum flag does not list its members; that for another enum flag does."""
    tier = enum.Enum("tier", ["GOLD", "SILVER"])
    secret, plain = flags.dyn_enum("key", tier.GOLD, secret=True), flags.dyn_enum("plain", tier.GOLD)
    for give in (lambda flag: flag.set_text("IRON"), lambda flag: flag.set("GOLD")):
        with pytest.raises(dflag.FlagValueError, match=r"^flag 'key': expected one of its members \(override\)$"):
            give(secret)
        with pytest.raises(dflag.FlagValueError, match="expected one of GOLD, SILVER"):
            give(plain)


@pytest.mark.parametrize(
    "part",
    [{"enum": ["hush", 1]}, {"const": "hush"}, {"anyOf": [{"const": "hush"}]}, {"not": {"const": "other"}}],
    ids=["enum", "const", "within another", "not"],
)
def test_the_values_in_a_schema_of_a_secret_are_in_no_message(flags: dflag.FlagRegistry, part: dict[str, Any]) -> None:
    """The error for a secret JSON flag does not quote values in its schema, but says which size the schema demands."""
    flag = flags.json("word", None, schema={"properties": {"a": part, "b": {"maxLength": 3}}}, secret=True)
    with pytest.raises(dflag.ValidationError, match="expected a JSON value that the schema allows") as refused:
        flag.set({"a": "other"})
    assert "hush" not in str(refused.value)
    with pytest.raises(dflag.ValidationError, match="expected at most 3 characters"):
        flag.set({"b": "long"})


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("string", {"choices": "hunter2"}, "expected choices as several values"),
        ("string", {"choices": [b"hunter2"]}, "bad choices: expected a string"),
        ("json", {"choices": [{"hunter2"}]}, "bad choices: expected a JSON value"),
        ("json", {"choices": ["hunter2"], "schema": {"maxLength": 3}}, "bad choices: expected at most 3 characters"),
        ("map", {"choices": [{"hunter2": ""}], "keys": "*.x"}, "bad choices: expected a mapping of names like '*.x'"),
        ("int", {"min": "hunter2"}, "bad min: expected an int"),
        ("int", {"max": "hunter2"}, "bad max: expected an int"),
        ("string", {"choices": ["other"]}, "expected one of its choices"),
    ],
)
def test_no_declaration_quotes_a_secret(
    flags: dflag.FlagRegistry, kind: str, options: dict[str, Any], message: str
) -> None:
    """Neither the error of a declaration nor its cause quotes the default, choices or limits of a secret flag."""
    default: object = {"json": "x", "int": 1, "map": {}}.get(kind, "hunter2")
    with pytest.raises(dflag.DefinitionError) as caught:
        getattr(flags, kind)("key", default, secret=True, **options)

    assert message in str(caught.value)
    shown = "".join(traceback.format_exception(caught.value)).replace("_quotes_a_secret", "")
    assert "hunter2" not in "".join(line for line in shown.splitlines() if not line.startswith("    "))


@pytest.mark.parametrize(
    ("error", "words"), [(TypeError("hunter2"), "TypeError: hunter2"), (ValueError("hunter2"), "hunter2")]
)
def test_choices_that_a_function_of_the_program_refuses_are_a_fault_in_the_declaration(
    flags: dflag.FlagRegistry, error: Exception, words: str
) -> None:
    """An exception of format= for a choice raises `DefinitionError`, which quotes it unless the flag is secret."""

    def shown(value: int) -> str:
        if value == 2:
            raise error
        return str(value)

    with pytest.raises(dflag.DefinitionError, match=rf"^flag 'a': bad choices: {words}, got \[1, 2\]$"):
        flags.custom("a", 1, parse=int, format=shown, choices=[1, 2])
    with pytest.raises(dflag.DefinitionError, match=r"^flag 'b': bad choices: the value was refused$") as caught:
        flags.custom("b", 1, parse=int, format=shown, choices=[1, 2], secret=True)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(dflag.DefinitionError, match=r"^flag 'c': expected choices as several values, got 5$"):
        flags.int("c", 1, choices=5)  # type: ignore[arg-type]  # what is tried


@dataclasses.dataclass(frozen=True)
class Batch:
    """A type of a user."""

    size: int = 1


@pytest.mark.parametrize("type_", [None, Batch])
def test_a_schema_holds_for_what_the_mutator_returns(flags: dflag.FlagRegistry, type_: Any) -> None:
    """A value that does not fit the schema is accepted from every layer if what the mutator returns for it fits."""

    def limited(value: Any) -> Any:
        return Batch(min(value.size, 10)) if isinstance(value, Batch) else {"size": 1, **value}

    schema = {"required": ["size"], "properties": {"size": {"maximum": 10, "minimum": 0}}}
    flag = flags.dyn_json("batch", {}, type=type_, schema=schema, mutator=limited)
    given = {"size": 99} if type_ else {}
    expected = Batch(10) if type_ else {"size": 1}
    assert flag.default == (Batch(1) if type_ else {"size": 1})
    flag.set(given)
    assert flag.get() == expected
    flag.set({"size": 5})
    flag.set_text(json.dumps(given))
    assert flag.get() == expected
    flag.reset()
    flags.apply({"batch": json.dumps(given)}, source="config")
    assert flag.get() == expected

    with pytest.raises(dflag.ValidationError, match=r"at least 0 \(at \$\.size"):
        flag.set_text('{"size": -1}')


def test_a_published_schema_refuses_nothing_that_a_mutator_mends(flags: dflag.FlagRegistry) -> None:
    """The published schema of a flag with a mutator omits the flag's schema, which is for what the mutator returns."""
    flag = flags.json("batch", {}, schema={"required": ["size"]}, mutator=lambda value: {"size": 1, **value})

    assert "required" not in json.dumps(of_flag(flag))


@pytest.mark.parametrize(
    ("kind", "options", "given", "shown"),
    [
        (_kinds.INT, {}, "a\n", "'a'"),
        (_kinds.INT, {"strip": False}, "5\n", r"'5\n'"),
        (_kinds.INT, {}, "5\x1f", r"'5\x1f'"),  # white space to Python, and not to dflag
        (_kinds.STRING, {"choices": ["a"]}, " b\n", "'b'"),
        (_kinds.BYTES, {"choices": [b"a"]}, b"a\n", r"'a\n'"),
    ],
)
def test_an_error_shows_what_the_parser_saw(kind: Any, options: dict[str, Any], given: Any, shown: str) -> None:
    """The error shows a text without the white space that was stripped before the parser; `raw` has the whole text."""
    with pytest.raises(dflag.FlagValueError) as caught:
        Pipeline(kind, options).read("flag", given, "file")

    assert f", got {shown} (file)" in str(caught.value)
    assert caught.value.raw == given
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301 - made here


def test_an_error_shows_the_space_around_a_value_that_is_set(flags: dflag.FlagRegistry) -> None:
    """The error for a value set in code, which is not stripped, shows the white space around it."""
    flag = flags.dyn_string("colour", "red", choices=["red"])
    with pytest.raises(dflag.ValidationError, match="got ' red '"):
        flag.set(" red ")


@pytest.mark.parametrize("value", [b"red", bytearray(b"red"), b"\xff" * 500])
def test_an_error_shows_the_type_of_a_value_that_is_set(flags: dflag.FlagRegistry, value: Any) -> None:
    """The error for bytes that are set on a string flag shows them as bytes, since their type is what is wrong."""
    flag = flags.dyn_string("colour", "red")
    with pytest.raises(dflag.ValidationError) as caught:
        flag.set(value)

    assert f"expected a string, got {value!r}"[:100] in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301 - made here


def test_an_error_shows_bytes_of_code_as_bytes_wherever_they_are_refused(flags: dflag.FlagRegistry) -> None:
    """Bytes as a bad default, outside of the choices, or refused by a registry validator are shown as bytes."""
    with pytest.raises(dflag.DefinitionError, match="expected an int, got b'5'"):
        flags.int("size", b"5")  # type: ignore[arg-type]  # what is tried
    with pytest.raises(dflag.DefinitionError, match="got b'RED'"):
        flags.enum("hue", b"RED")  # type: ignore[type-var]  # what is tried
    key = flags.dyn_bytes("key", b"a", choices=[b"a", b"b"])
    with pytest.raises(dflag.ValidationError, match="got b'c'"):
        key.set(b"c")

    @flags.validator
    def check(values: dflag.Snapshot) -> None:
        if values[key] != b"a":
            raise ValueError("wrong key")

    with pytest.raises(dflag.ValidationError, match="got b'b'"):
        key.set(b"b")


def test_half_a_character_is_no_text_of_bytes(flags: dflag.FlagRegistry) -> None:
    """A text with an unpaired surrogate is refused for a bytes flag, and the error says at which character."""
    flags.bytes("key", b"")
    rejected = flags.apply({"key": "a\ud800"}, source="config").rejected

    assert "expected bytes as text in UTF-8 (character 1 is an unpaired surrogate)" in str(rejected["key"])


def test_choices_of_nothing_are_named(flags: dflag.FlagRegistry) -> None:
    """A declaration with empty choices is refused, and the error says that there are none."""
    with pytest.raises(dflag.DefinitionError, match="expected one of its choices, of which there are none, got 1"):
        flags.int("size", 1, choices=())


@pytest.mark.parametrize("function", [None, mock.AsyncMock(), [mock.AsyncMock()]])
def test_an_added_validator_that_nothing_runs_is_an_error_of_its_flag(flags: dflag.FlagRegistry, function: Any) -> None:
    """`validator()` refuses what is not a plain function, and the error begins with the flag."""
    with pytest.raises(dflag.DefinitionError, match=r"^flag 'size': expected a "):
        flags.int("size", 1).validator(function)
