"""
Flags from the command line and the environment.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import datetime
import enum
import itertools
import os
import re
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from dflag import DefinitionError, FlagRegistry, FlagValueError, Snapshot, StaticFlagError, _arguments
from dflag.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


class Mode(enum.Enum):
    """An enum with two members."""

    ALLOW = "allow"
    DENY = "deny"


@pytest.fixture(name="refused")
def _refused(registry: FlagRegistry, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that parses arguments, checks that they are refused, and returns what was printed."""

    def parse(*argv: str, env_prefix: str | None = None) -> str:
        with pytest.raises(SystemExit) as caught:
            registry.parse_args(argv, env_prefix=env_prefix)
        printed = capsys.readouterr()
        assert caught.value.code == 2
        assert printed.out == ""
        assert printed.err.startswith("usage: ")
        return printed.err

    return parse


def _help_of(registry: FlagRegistry, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        registry.parse_args(["--help"], description="Serves 100% of requests")
    assert caught.value.code == 0
    return " ".join(capsys.readouterr().out.split())


# --- options


@pytest.mark.parametrize(
    "argv", [["--rate_limit=5"], ["--rate_limit", "5"], ["--rate-limit=5"], ["--rate-limit", "5"]], ids=" ".join
)
def test_reads_an_option_in_each_spelling(registry: FlagRegistry, argv: list[str]) -> None:
    """
    An option is read with underscores or dashes, and with its value after an equals sign or as the next argument.
    """
    rate = registry.dyn_int("rate_limit", 50)

    assert registry.parse_args(argv) == []
    assert (rate.get(), rate.origin) == (5, "command line")


def test_keeps_dots(registry: FlagRegistry) -> None:
    """
    A dot in a flag's name stays a dot in the option.
    """
    rate = registry.int("http.rate-limit", 50)

    registry.parse_args(["--http.rate_limit=5"])

    assert rate.get() == 5


@pytest.mark.parametrize("joined", [True, False])
@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("rate", "-5", -5),
        ("rate", "-0x1F", -31),
        ("wait", "-2m", datetime.timedelta(minutes=-2)),
        ("wait", "-.5h", datetime.timedelta(minutes=-30)),
        ("ratio", "-1e3", -1000.0),
        ("ratio", "-inf", float("-inf")),
        ("policy", "-7", -7),
    ],
)
def test_reads_negative_values(registry: FlagRegistry, name: str, text: str, expected: object, *, joined: bool) -> None:
    """
    A value that begins with a dash is read after an equals sign and as a separate argument.
    """
    registry.int("rate", 0)
    registry.duration("wait", datetime.timedelta())
    registry.float("ratio", 0.0)
    registry.json("policy", 0)

    registry.parse_args([f"--{name}={text}"] if joined else [f"--{name}", text])

    assert expected == registry[name].get()


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("--be_verbose", True),
        ("--be-verbose", True),
        ("--no-be_verbose", False),
        ("--no-be-verbose", False),
        ("--no_be_verbose", False),
        ("--be_verbose=false", False),
        ("--be-verbose=off", False),
        ("--be_verbose=YES", True),
    ],
)
@pytest.mark.parametrize("default", [True, False])
def test_reads_bools(registry: FlagRegistry, argument: str, *, expected: bool, default: bool) -> None:
    """
    A bool option may be plain, negated, or have a value after an equals sign, and never takes the next argument.
    """
    verbose = registry.bool("be_verbose", default)

    assert registry.parse_args([argument, "false"]) == ["false"]
    assert verbose.get() is expected


def test_reads_an_empty_value(registry: FlagRegistry) -> None:
    """
    A string flag accepts an empty value, after an equals sign and as a separate argument.
    """
    name = registry.string("name", "x")

    registry.parse_args(["--name="])
    assert name.get() == ""

    registry.parse_args(["--name", ""])
    assert (name.get(), name.origin) == ("", "command line")


def test_reads_a_value_of_two_dashes(registry: FlagRegistry) -> None:
    """
    Two dashes after an equals sign are read as a value, which argparse before Python 3.13 loses.
    """
    name = registry.string("name", "x")

    registry.parse_args(["--name=--"])

    assert name.get() == "--"


def test_reads_bytes_as_base64(registry: FlagRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The value of a bytes flag is base64 on the command line and in the environment.
    """
    key, salt = registry.bytes("key", b""), registry.bytes("salt", b"")
    monkeypatch.setenv("APP_SALT", base64.b64encode(b"\n\xfe").decode())

    registry.parse_args(["--key", base64.b64encode(b"\x00\xff ").decode()], env_prefix="APP")

    assert (key.get(), salt.get()) == (b"\x00\xff ", b"\n\xfe")


def test_the_last_of_several_wins(registry: FlagRegistry) -> None:
    """
    When an option is repeated, in any spelling, the last value wins and an earlier bad one is ignored.
    """
    rate, verbose = registry.int("rate_limit", 50), registry.bool("verbose", default=False)

    registry.parse_args(["--rate_limit=5", "--verbose=x", "--rate-limit", "6", "--no-verbose", "--verbose"])

    assert (rate.get(), verbose.get()) == (6, True)


def test_returns_the_positional_rest(registry: FlagRegistry) -> None:
    """
    `parse_args()` returns positional arguments from any position, and all arguments after two dashes.
    """
    rate = registry.int("rate", 50)

    rest = registry.parse_args(["a", "--rate", "5", "-", "b", "--", "--rate=6", "--", "-x"])

    assert (rest, rate.get()) == (["a", "-", "b", "--rate=6", "--", "-x"], 5)


def test_reads_sys_argv(registry: FlagRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    `parse_args()` without arguments reads `sys.argv`.
    """
    rate = registry.int("rate", 50)
    monkeypatch.setattr(sys, "argv", ["program", "--rate=5", "x"])

    assert registry.parse_args() == ["x"]
    assert rate.get() == 5


def test_flags_own_names_win_over_derived_spellings(registry: FlagRegistry, tmp_path: Path) -> None:
    """
    A flag's own name wins over the same spelling derived from another flag's name.
    """
    cache = registry.bool("cache", default=True)
    no_cache = registry.string("no_cache", "")
    one, other = registry.int("a_b", 0), registry.int("a-b", 0)
    policy, policy_path = registry.string("policy", ""), registry.string("policy_path", "")

    registry.parse_args(["--no-cache=x", "--a_b=1", "--a-b=2", "--policy-path=/p"])

    assert (cache.get(), no_cache.get()) == (True, "x")
    assert (one.get(), other.get()) == (1, 2)
    assert (policy.get(), policy_path.get()) == ("", "/p")


@pytest.mark.parametrize("name", ["dark-mode", "dark_mode", "dark-mo_de"])
def test_dashes_and_underscores_mean_the_same(registry: FlagRegistry, tmp_path: Path, name: str) -> None:
    """
    Dashes and underscores are interchangeable in a flag's name and in its derived spellings, for both parsers.
    """
    flag = registry.bool(name, default=False)
    (tmp_path / "file").write_bytes(b"yes")
    parser = argparse.ArgumentParser()
    registry.add_to_argparse(parser)
    first, *parts = re.split("[-_]", name)
    for *between, derived in itertools.product("-_", repeat=len(parts) + 1):
        spelling = first + "".join(sign + part for sign, part in zip(between, parts, strict=True))
        for parse in (registry.parse_args, parser.parse_args):
            parse([f"--{spelling}"])
            assert flag.get()
            parse([f"--no{derived}{spelling}"])
            assert not flag.get()
            parse([f"--{spelling}{derived}path", str(tmp_path / "file")])
            assert flag.get()


@pytest.mark.parametrize("name", ["-", "--", "_", "-_", "-1", "0", "_."])
def test_a_name_may_have_no_letters(registry: FlagRegistry, parser: argparse.ArgumentParser, name: str) -> None:
    """
    A flag whose name has no letters is read like any other, by both parsers.
    """
    number, switch = registry.int(name, 0), registry.bool(f"{name}-", default=False)
    assert registry.parse_args([f"--{name}=1", f"--{name}-"]) == []
    assert (number.get(), switch.get()) == (1, True)
    registry.add_to_argparse(parser)
    parser.parse_args([f"--{name}", "2"])
    assert number.get() == 2


def test_names_of_two_flags_that_differ_in_dashes_stay_apart(registry: FlagRegistry) -> None:
    """
    If two names differ only in dashes, `--no-` with a name as it was declared means the flag of that name.
    """
    one, other = registry.bool("a-b", default=True), registry.bool("a_b", default=True)
    registry.parse_args(["--no-a-b"])
    assert (one.get(), other.get()) == (False, True)
    registry.parse_args(["--no-a_b"])
    assert (one.get(), other.get()) == (True, False)


def test_a_positional_argument_is_no_spelling(registry: FlagRegistry) -> None:
    """
    An argument that begins with underscores instead of dashes is positional, even if it reads like an option.
    """
    rate, parser = registry.int("rate", 1), argparse.ArgumentParser()
    registry.add_to_argparse(parser)
    parser.add_argument("words", nargs="*")
    assert parser.parse_args(["__rate=5", "_-rate"]).words == ["__rate=5", "_-rate"]
    assert registry.parse_args(["__rate=5"]) == ["__rate=5"]
    assert rate.get() == 1


def test_a_spelling_of_two_flags_is_none(registry: FlagRegistry, refused: Callable[..., str]) -> None:
    """
    A derived spelling that could mean either of two flags is not an option.
    """
    registry.int("a-b_c", 0)
    registry.int("a_b-c", 0)

    assert "unrecognized option --a_b_c" in refused("--a_b_c=1")


def test_a_flag_may_be_named_help(registry: FlagRegistry) -> None:
    """
    A flag named "help" has the option `--help`, and `-h` still shows the help.
    """
    text = registry.string("help", "")

    registry.parse_args(["--help", "me"])

    assert text.get() == "me"
    with pytest.raises(SystemExit) as caught:
        registry.parse_args(["-h"])
    assert caught.value.code == 0


# --- files


@pytest.mark.parametrize("option", ["--rate_limit_path", "--rate-limit-path", "--rate_limit-path"])
def test_reads_a_value_from_a_file(registry: FlagRegistry, tmp_path: Path, option: str) -> None:
    """
    A flag's option for a file reads the value without the byte order mark and outer white space.
    """
    rate = registry.int("rate_limit", 50)
    (tmp_path / "file").write_bytes(b"\xef\xbb\xbf 5\n")

    registry.parse_args([option, str(tmp_path / "file")])

    assert (rate.get(), rate.origin) == (5, "command line")


def test_reads_bytes_from_a_file_verbatim(registry: FlagRegistry, tmp_path: Path) -> None:
    """
    A bytes flag takes the bytes of a file as they are, neither decoded nor stripped.
    """
    key = registry.bytes("key", b"")
    (tmp_path / "file").write_bytes(b"\x00\xff \n")

    registry.parse_args([f"--key_path={tmp_path / 'file'}"])

    assert key.get() == b"\x00\xff \n"


def test_a_bool_reads_a_file_too(registry: FlagRegistry, tmp_path: Path) -> None:
    """
    The option for a file takes an argument, also for a bool.
    """
    verbose = registry.bool("verbose", default=False)
    (tmp_path / "file").write_text("yes\n")

    assert registry.parse_args(["--verbose_path", str(tmp_path / "file")]) == []
    assert verbose.get() is True


def test_names_the_file_of_a_bad_value(registry: FlagRegistry, refused: Callable[..., str], tmp_path: Path) -> None:
    """
    A bad value in a file is reported with the file's path.
    """
    registry.int("rate", 50)
    (tmp_path / "file").write_text("abc")

    said = refused("--rate_path", str(tmp_path / "file"))

    assert f"error: flag 'rate': expected an int, got 'abc' ({tmp_path / 'file'})\n" in said


@pytest.mark.parametrize(
    ("path", "reason"),
    [("missing", "no such file"), (".", "a directory"), ("/dev/null", "a socket or a device"), ("a\0", "not a")],
)
def test_refuses_what_is_no_file(
    registry: FlagRegistry, refused: Callable[..., str], tmp_path: Path, path: str, reason: str
) -> None:
    """
    A missing file, a directory, a device or an invalid path is refused with the reason.
    """
    registry.string("name", "")

    assert reason in refused("--name_path", path if path.endswith("\0") else str(tmp_path / path))


def test_refuses_a_file_that_is_too_large(registry: FlagRegistry, refused: Callable[..., str], tmp_path: Path) -> None:
    """
    A file of more than 16 MiB is refused.
    """
    registry.bytes("key", b"")
    with (tmp_path / "file").open("wb") as file:
        file.truncate(_arguments.MAX_BYTES + 1)

    assert "larger than 16 MiB" in refused("--key_path", str(tmp_path / "file"))


def test_reads_the_largest_file(registry: FlagRegistry, tmp_path: Path) -> None:
    """
    A file of exactly 16 MiB is read.
    """
    key = registry.bytes("key", b"")
    with (tmp_path / "file").open("wb") as file:
        file.truncate(_arguments.MAX_BYTES)

    registry.parse_args(["--key_path", str(tmp_path / "file")])

    assert len(key.get()) == _arguments.MAX_BYTES


@pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="names of descriptors are a thing of Unix")
def test_reads_a_pipe_to_its_end(registry: FlagRegistry) -> None:
    """
    A pipe that is still being written, as in a shell's process substitution, is read to its end.
    """
    text = registry.string("text", "")
    reading, writing = os.pipe()
    try:
        content = b"x" * 200_000

        def write() -> None:
            with os.fdopen(writing, "wb") as file:
                file.write(content)

        writer = threading.Thread(target=write)
        writer.start()
        registry.parse_args([f"--text_path=/dev/fd/{reading}"])
        writer.join()
    finally:
        os.close(reading)

    assert text.get() == content.decode()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="FIFOs are a thing of Unix")
def test_does_not_hang_on_a_fifo(
    registry: FlagRegistry, refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A FIFO that nobody writes to is refused after a time limit.
    """
    registry.string("text", "")
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.setattr(_arguments, "_PIPE_SECONDS", 0.05)

    assert "did not end within 0.05 seconds" in refused("--text_path", str(tmp_path / "fifo"))


# --- the environment


@pytest.mark.parametrize("prefix", ["APP", "APP_", "app"])
@pytest.mark.parametrize("name", ["rate_limit", "rate-limit", "rate.limit", "Rate_Limit"])
def test_reads_the_environment(registry: FlagRegistry, monkeypatch: pytest.MonkeyPatch, prefix: str, name: str) -> None:
    """
    A flag's variable is the prefix and the flag's name in upper case, with underscores for dots and dashes.
    """
    rate = registry.dyn_int(name, 50)
    monkeypatch.setenv("APP_RATE_LIMIT", "5")

    registry.parse_args([], env_prefix=prefix)

    assert (rate.get(), rate.origin) == (5, "environment")


def test_reads_no_environment_without_a_prefix(registry: FlagRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    `parse_args()` reads the environment only if `env_prefix` is given, which may be empty.
    """
    rate = registry.int("rate", 50)
    monkeypatch.setenv("RATE", "5")

    registry.parse_args([])
    assert rate.get() == 50

    registry.parse_args([], env_prefix="")
    assert rate.get() == 5


def test_the_command_line_wins_over_the_environment(registry: FlagRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A value on the command line wins over one in the environment, and `explain()` lists both layers.
    """
    rate = registry.int("rate", 50)
    monkeypatch.setenv("APP_RATE", "5")

    registry.parse_args(["--rate=6"], env_prefix="APP")

    assert rate.get() == 6
    assert [layer.origin for layer in registry.explain("rate")] == ["command line", "environment", "default"]


def test_names_the_variable_of_a_bad_value(
    registry: FlagRegistry, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A bad value from the environment is reported with the variable's name, and nothing is set.
    """
    rate, port = registry.int("rate_limit", 50), registry.int("port", 80)
    monkeypatch.setenv("APP_RATE_LIMIT", "abc")

    said = refused("--port=81", env_prefix="APP")

    assert "flag 'rate_limit': expected an int, got 'abc' (environment variable APP_RATE_LIMIT)\n" in said
    assert (rate.get(), port.get()) == (50, 80)


def test_refuses_flags_that_collide_in_the_environment(registry: FlagRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Two flags with the same environment variable raise `DefinitionError` before anything is read.
    """
    registry.int("rate-limit", 50)
    registry.int("rate.limit", 50)
    monkeypatch.setenv("APP_RATE_LIMIT", "abc")

    with pytest.raises(DefinitionError, match=r"'rate-limit' and 'rate\.limit' .* APP_RATE_LIMIT"):
        registry.parse_args(["--nonsense"], env_prefix="APP")


@pytest.mark.skipif(sys.platform == "win32", reason="the environment of Windows is Unicode")
def test_refuses_an_environment_that_is_no_utf_8(registry: FlagRegistry, refused: Callable[..., str]) -> None:
    """
    An environment variable that is not UTF-8 is refused instead of being read with surrogates.
    """
    registry.string("name", "")
    os.environb[b"APP_NAME"] = b"caf\xe9"
    try:
        assert "in UTF-8" in refused(env_prefix="APP")
    finally:
        del os.environ["APP_NAME"]


# --- one commit


def test_reports_all_bad_values_at_once(registry: FlagRegistry, refused: Callable[..., str]) -> None:
    """
    Two mistyped values are both reported, and nothing is set.
    """
    rate = registry.int("rate", 50)
    registry.int("port", 80, max=100)
    registry.int("good", 1)

    said = refused("--rate=abc", "--port=101", "--good=2")

    assert "error: flag 'port': expected an int of at most 100, got '101' (command line)\n" in said
    assert "flag 'rate': expected an int, got 'abc' (command line)\n" in said
    assert (rate.get(), registry["good"].get()) == (50, 1)


def test_sets_everything_in_one_revision(registry: FlagRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Values of the command line and of the environment are committed in one revision.
    """
    registry.int("rate", 50)
    registry.int("port", 80)
    monkeypatch.setenv("APP_PORT", "81")
    before = registry.snapshot().revision

    registry.parse_args(["--rate=5"], env_prefix="APP")

    assert before + 1 == registry.snapshot().revision


def test_parsing_again_replaces_both_layers(registry: FlagRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A second `parse_args()` drops earlier values of both layers that it is not given again.
    """
    rate, port = registry.int("rate", 50), registry.int("port", 80)
    monkeypatch.setenv("APP_PORT", "81")
    registry.parse_args(["--rate=5"], env_prefix="APP")

    registry.parse_args(["--port=82"])

    assert (rate.get(), rate.origin, port.get()) == (50, "default", 82)
    assert [layer.origin for layer in registry.explain("port")] == ["command line", "default"]


def test_a_registry_validator_may_refuse(registry: FlagRegistry, refused: Callable[..., str]) -> None:
    """
    A registry validator checks the command line as a whole; if it refuses, no flag is set, in both parsers.
    """
    low, high = registry.int("low", 1), registry.int("high", 2)

    @registry.validator
    def ordered(candidate: Snapshot) -> None:
        if candidate[low] > candidate[high]:
            raise ValueError("low is above high")

    assert "low is above high" in refused("--low=5")
    parser = argparse.ArgumentParser()
    registry.add_to_argparse(parser)
    with pytest.raises(SystemExit) as exited:
        parser.parse_args(["--low=5"])
    assert exited.value.code == 2
    assert (low.get(), high.get()) == (1, 2)
    assert registry.parse_args(["--low=5", "--high=6"]) == []
    assert (low.get(), high.get()) == (5, 6)


def test_refuses_to_parse_after_the_freeze(registry: FlagRegistry) -> None:
    """
    After the freeze `parse_args()` raises `StaticFlagError`, even for `--help`.
    """
    registry.dyn_int("rate", 50)
    registry.freeze()

    with pytest.raises(StaticFlagError, match=r"registry is frozen; parse it before Updater\.start\(\)"):
        registry.parse_args(["--help"])


# --- mistakes


def test_suggests_an_option_that_is_near(registry: FlagRegistry, refused: Callable[..., str]) -> None:
    """
    A misspelt option is refused with the nearest one as a hint, without its value, which may be a secret.
    """
    registry.string("api_token", "", secret=True)

    said = refused("--api_tokn=hunter2")

    assert "error: unrecognized option --api_tokn (did you mean --api_token?)" in said
    assert "hunter2" not in said


@pytest.mark.parametrize("argv", [["--rat=5"], ["--rate_lim", "5"], ["-r"], ["-5"]], ids=" ".join)
def test_refuses_unknown_options(registry: FlagRegistry, refused: Callable[..., str], argv: Sequence[str]) -> None:
    """
    Abbreviations and short options are refused.
    """
    registry.int("rate_limit", 50)

    assert f"unrecognized option {argv[0].partition('=')[0]}" in refused(*argv)


@pytest.mark.parametrize("argv", [["--rate"], ["--rate", "--port=5"], ["--rate", "--", "5"]], ids=" ".join)
def test_refuses_a_missing_value(registry: FlagRegistry, refused: Callable[..., str], argv: Sequence[str]) -> None:
    """
    An option without a value is refused; the next option or two dashes are never its value.
    """
    registry.int("rate", 50)
    registry.int("port", 80)

    assert "argument --rate: expected one argument" in refused(*argv)


def test_refuses_a_value_for_a_negation(registry: FlagRegistry, refused: Callable[..., str]) -> None:
    """
    A negation with a value is refused, and the value is not printed.
    """
    registry.bool("verbose", default=False, secret=True)

    said = refused("--no-verbose=hunter2")

    assert "argument --no-verbose: expected no value" in said
    assert "hunter2" not in said


def test_never_prints_a_secret(
    registry: FlagRegistry, refused: Callable[..., str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """
    The value of a secret shows neither in errors nor in the help.
    """
    registry.int("pin", 4711, "The PIN", secret=True, choices=[4711, 4712])
    (tmp_path / "file").write_text("hunter2")

    assert "flag 'pin': expected an int (command line)" in refused("--pin=hunter2")
    assert "hunter2" not in refused("--pin=hunter2") + refused("--pin_path", str(tmp_path / "file"))
    shown = _help_of(registry, capsys)
    assert "******" in shown
    assert "471" not in shown


# --- help


def test_help_describes_the_flags(registry: FlagRegistry, capsys: pytest.CaptureFixture[str]) -> None:
    """
    The help lists the flags in name order with their kind, limits, default, and marks.
    """
    registry.dyn_int("rate", 50, "Requests, 100% of them", min=1, max=99)
    registry.bool("chatty", default=False, help="Say more", deprecated="use loglevel")
    registry.string("colour", "", choices=["", "red"])
    registry.enum("mode", Mode.DENY)
    registry.string_list("zones", ["eu"], choices=["eu", "us"])

    shown = _help_of(registry, capsys)

    assert "Serves 100% of requests" in shown
    assert "--rate INT Requests, 100% of them (int from 1 to 99; default: 50) (dynamic)" in shown
    assert "--chatty Say more (bool; default: false) (deprecated: use loglevel)" in shown
    assert "--colour STRING (string, one of '', 'red'; default: '')" in shown
    assert "--mode ENUM (enum, one of ALLOW, DENY; default: DENY)" in shown
    assert "--zones STRING_LIST (string_list, items out of 'eu', 'us'; default: eu)" in shown
    assert sorted(("--rate", "--mode", "--colour", "--chatty"), key=shown.index) == [
        "--chatty",
        "--colour",
        "--mode",
        "--rate",
    ]


def test_exit_statuses_of_a_program() -> None:
    """
    A program ends with status 0 after its help, and with 2 after an error on standard error alone.
    """
    program = "import dflag; r = dflag.FlagRegistry(); r.int('rate', 1); print(r.parse_args(), r['rate'].get())"

    def run(*argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", program, *argv], capture_output=True, text=True, check=False)

    fine, helped, failed = run("--rate", "-5", "x"), run("--help"), run("--rate=abc")

    assert (fine.returncode, fine.stdout, fine.stderr) == (0, "['x'] -5\n", "")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert (failed.returncode, failed.stdout) == (2, "")
    assert "Traceback" not in failed.stderr


# --- a program's own parser


@pytest.fixture(name="parser")
def _parser() -> argparse.ArgumentParser:
    """Return a parser of the program's own."""
    parser = argparse.ArgumentParser(prog="program")
    parser.add_argument("--own", default="o")
    parser.add_argument("files", nargs="*")
    return parser


@pytest.mark.parametrize("method", ["parse_args", "parse_intermixed_args"])
def test_serves_a_parser_of_the_program(registry: FlagRegistry, parser: argparse.ArgumentParser, method: str) -> None:
    """
    A program's own parser sets the flags in one commit and adds nothing to the namespace.
    """
    rate, verbose = registry.int("rate_limit", 50), registry.bool("verbose", default=True)
    registry.duration("wait", datetime.timedelta())
    registry.add_to_argparse(parser)
    before = registry.snapshot().revision

    namespace = getattr(parser, method)(
        ["--own", "x", "--rate-limit", "5", "--verbose=false", "--wait", "-2m", "a", "b"]
    )

    assert vars(namespace) == {"own": "x", "files": ["a", "b"]}
    assert (5, False, before + 1) == (rate.get(), verbose.get(), registry.snapshot().revision)
    assert datetime.timedelta(minutes=-2) == registry["wait"].get()


def test_a_parser_reads_sys_argv_and_leaves_the_rest(
    registry: FlagRegistry, parser: argparse.ArgumentParser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    `parse_known_args()` reads `sys.argv`, sets the flags, and returns the unknown arguments.
    """
    rate = registry.int("rate", 50)
    registry.add_to_argparse(parser)
    monkeypatch.setattr(sys, "argv", ["program", "--rate=5", "--unknown=1"])

    namespace, rest = parser.parse_known_args()

    assert (vars(namespace), rest, rate.get()) == ({"own": "o", "files": []}, ["--unknown=1"], 5)


def test_a_parser_sets_nothing_on_an_error(
    registry: FlagRegistry, parser: argparse.ArgumentParser, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    The parser reports a bad value, and the other flags keep their values.
    """
    registry.int("rate", 50)
    port = registry.int("port", 80)
    registry.add_to_argparse(parser)

    with pytest.raises(SystemExit) as caught:
        parser.parse_args(["--port=81", "--rate=abc"])

    assert (caught.value.code, port.get()) == (2, 80)
    assert "program: error: flag 'rate': expected an int, got 'abc' (command line)" in capsys.readouterr().err


def test_a_parser_sets_nothing_when_arguments_are_unknown(
    registry: FlagRegistry, parser: argparse.ArgumentParser
) -> None:
    """
    A program's own parser sets no flag when an argument is unknown.
    """
    rate = registry.int("rate", 50)
    registry.add_to_argparse(parser)

    with pytest.raises(SystemExit):
        parser.parse_args(["--rate=5", "--unknown"])

    assert (rate.get(), rate.origin) == (50, "default")


def test_a_parser_replaces_the_layer_when_used_again(registry: FlagRegistry, parser: argparse.ArgumentParser) -> None:
    """
    A second parse drops earlier values that it is not given again.
    """
    rate = registry.int("rate", 50)
    verbose = registry.bool("verbose", default=False)
    registry.add_to_argparse(parser)

    parser.parse_args(["--rate=5", "--verbose=true"])
    assert (rate.get(), verbose.get()) == (5, True)

    parser.parse_args(["--verbose=true"])
    assert (rate.get(), verbose.get()) == (50, True)


def test_a_subcommand_may_have_the_flags(registry: FlagRegistry) -> None:
    """
    A subcommand's parser sets the flags, and leaves the arguments of a wrapped command unchanged.
    """
    verbose = registry.bool("verbose", default=False)
    parser = argparse.ArgumentParser()
    run = parser.add_subparsers().add_parser("run")
    registry.add_to_argparse(run)
    run.add_argument("command", nargs=argparse.REMAINDER)

    namespace = parser.parse_args(["run", "--verbose", "cmd", "--verbose=false", "--", "--no-verbose"])

    assert namespace.command == ["cmd", "--verbose=false", "--", "--no-verbose"]
    assert verbose.get() is True


def test_a_parser_keeps_its_own_options(registry: FlagRegistry, parser: argparse.ArgumentParser) -> None:
    """
    An option of the program wins over the same spelling derived from a flag's name.
    """
    cache = registry.bool("cache", default=True)
    parser.add_argument("--no-cache", action="store_true")
    registry.add_to_argparse(parser)

    assert parser.parse_args(["--no-cache"]).no_cache is True
    assert cache.get() is True


def test_refuses_a_parser_that_has_the_name(registry: FlagRegistry, parser: argparse.ArgumentParser) -> None:
    """
    `add_to_argparse()` raises `DefinitionError` when the parser already has an option with a flag's name.
    """
    registry.int("own", 50)

    with pytest.raises(DefinitionError, match="flag 'own': the parser already has an option --own"):
        registry.add_to_argparse(parser)


def test_a_parser_refuses_after_the_freeze(registry: FlagRegistry, parser: argparse.ArgumentParser) -> None:
    """
    After the freeze a parser that has the flags raises `StaticFlagError`.
    """
    registry.int("rate", 50)
    registry.add_to_argparse(parser)
    registry.freeze()

    with pytest.raises(StaticFlagError):
        parser.parse_args([])


def test_a_parser_lists_the_flags_in_a_group(registry: FlagRegistry, parser: argparse.ArgumentParser) -> None:
    """
    The parser's help lists the flags in a group of their own, each in the spelling of its declaration only.
    """
    registry.int("rate_limit", 50, "At 100%")
    registry.add_to_argparse(parser)

    shown = " ".join(parser.format_help().split())

    assert "flags: In the name of a flag" in shown
    assert "--rate_limit RATE_LIMIT" not in shown
    assert "--rate_limit INT At 100% (int; default: 50)" in shown
    assert "--rate-limit" not in shown


@pytest.mark.parametrize("formatter", [argparse.ArgumentDefaultsHelpFormatter, argparse.MetavarTypeHelpFormatter])
def test_a_parser_may_format_its_help_otherwise(
    registry: FlagRegistry, formatter: type[argparse.HelpFormatter]
) -> None:
    """
    The help describes a flag in the same words with a formatter that reads each option's type or default.
    """
    parser = argparse.ArgumentParser(formatter_class=formatter)
    registry.int("rate_limit", 50)
    registry.add_to_argparse(parser)

    assert "--rate_limit INT (int; default: 50)" in " ".join(parser.format_help().split())


def test_the_options_of_a_parser_stand_in_its_own_dash(registry: FlagRegistry) -> None:
    """
    In a parser with other prefix characters the options of flags, and derived spellings, begin with these.
    """
    rate, verbose = registry.int("rate_limit", 50), registry.bool("verbose", default=True)
    parser = argparse.ArgumentParser(prefix_chars="+")
    registry.add_to_argparse(parser)

    parser.parse_args(["++rate-limit", "+5", "++verbose=false"])
    assert (rate.get(), verbose.get()) == (5, False)

    parser.parse_args(["++no-verbose", "++rate_limit=-6"])
    assert (rate.get(), verbose.get()) == (-6, False)
    assert "++NAME_path FILE" in parser.format_help()

    slashes = argparse.ArgumentParser(prefix_chars="/", exit_on_error=False)
    registry.add_to_argparse(slashes)
    slashes.parse_args(["//rate_limit", "-8", "//verbose"])
    assert (rate.get(), verbose.get()) == (-8, True)
    with pytest.raises(argparse.ArgumentError, match="expected one argument"):
        slashes.parse_args(["//rate_limit", "//verbose"])

    both = argparse.ArgumentParser(prefix_chars="+-")
    registry.add_to_argparse(both)
    both.parse_args(["--rate_limit", "+7"])
    assert rate.get() == 7


@pytest.mark.parametrize("parents", [False, True], ids=["itself", "child"])
def test_options_may_stand_in_a_file(registry: FlagRegistry, tmp_path: Path, parents: bool) -> None:
    """
    Options in a file of arguments are read as if they were on the command line.
    """
    verbose, rate, wait = (
        registry.bool("verbose", default=True),
        registry.int("rate_limit", 50),
        registry.duration("wait", datetime.timedelta()),
    )
    text = registry.string("text", "x")
    (tmp_path / "inner").write_text("--wait\n-2m\n--text=--\n")
    (tmp_path / "outer").write_text(f"--verbose=false\n--rate-limit\n-5\n@{tmp_path / 'inner'}\n")
    parser = argparse.ArgumentParser(fromfile_prefix_chars="@", add_help=not parents)
    registry.add_to_argparse(parser)
    if parents:
        parser = argparse.ArgumentParser(fromfile_prefix_chars="@", parents=[parser])

    parser.parse_args([f"@{tmp_path / 'outer'}"])

    assert (verbose.get(), rate.get(), wait.get()) == (False, -5, datetime.timedelta(minutes=-2))
    assert text.get() == "--"


def test_an_abbreviation_means_the_flag(registry: FlagRegistry, parser: argparse.ArgumentParser) -> None:
    """
    An abbreviation of a flag's name is read, with no derived spelling in its way, unless ``allow_abbrev=False``.
    """
    rate, verbose = registry.int("rate_limit", 50), registry.bool("verbose", default=True)
    registry.add_to_argparse(parser)

    assert parser.parse_args(["--ow", "x", "--rat", "-5", "--verb=false"]).own == "x"
    assert (rate.get(), verbose.get()) == (-5, False)

    strict = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
    registry.add_to_argparse(strict)
    assert strict.parse_known_args(["--rat=6", "--verb=true"])[1] == ["--rat=6", "--verb=true"]
    assert (rate.get(), verbose.get()) == (-5, False)


def test_a_program_may_add_its_options_later(registry: FlagRegistry) -> None:
    """
    An option that the program adds after the flags wins over the same spelling derived from a flag's name.
    """
    cache = registry.bool("cache", default=True)
    parser = argparse.ArgumentParser()
    registry.add_to_argparse(parser)
    parser.add_argument("--no-cache", action="store_true")

    assert parser.parse_args(["--no-cache"]).no_cache is True
    assert cache.get() is True
    assert parser.parse_args(["--no_cache"]).no_cache is False
    assert cache.get() is False


def test_a_parser_that_resolves_conflicts_has_the_flag(registry: FlagRegistry) -> None:
    """
    With ``conflict_handler="resolve"`` the option that was added last has the name: a flag's or the program's.
    """
    first, second = registry.int("first", 1), registry.int("second", 2)
    parser = argparse.ArgumentParser(conflict_handler="resolve")
    parser.add_argument("--first")
    registry.add_to_argparse(parser)
    parser.add_argument("--second")

    assert vars(parser.parse_args(["--first=5", "--second=6"])) == {"second": "6"}
    assert (first.get(), second.get()) == (5, 2)


def test_a_parser_that_does_not_exit_raises(registry: FlagRegistry, parser: argparse.ArgumentParser) -> None:
    """
    With ``exit_on_error=False`` a refused value raises `argparse.ArgumentError` from the flag's error; nothing is set.
    """
    rate, port = registry.int("rate", 50), registry.int("port", 80)
    parser.exit_on_error = False
    registry.add_to_argparse(parser)

    with pytest.raises(argparse.ArgumentError, match="flag 'rate': expected an int, got 'abc'") as caught:
        parser.parse_args(["--rate=abc", "--port=81"])
    assert isinstance(caught.value.__cause__, FlagValueError)

    @registry.validator
    def refuse(candidate: Snapshot) -> None:
        raise ValueError("never")

    with pytest.raises(argparse.ArgumentError, match="never"):
        parser.parse_args(["--rate=6"])
    assert (rate.get(), port.get()) == (50, 80)


def test_arguments_of_a_wrapped_command_stay_as_they_are(registry: FlagRegistry) -> None:
    """
    Arguments of a wrapped command are not rewritten, even if they read like a flag with its value.
    """
    wait = registry.duration("wait", datetime.timedelta())
    parser = argparse.ArgumentParser()
    registry.add_to_argparse(parser)
    parser.add_argument("command", nargs=argparse.REMAINDER)

    command = ["cmd", "--wait", "-2m", "--wait=--"]
    assert parser.parse_args(["--wait", "-3m", *command]).command == command
    assert wait.get() == datetime.timedelta(minutes=-3)


def test_what_looks_negative_elsewhere_is_for_argparse(registry: FlagRegistry, parser: argparse.ArgumentParser) -> None:
    """
    Only directly after a flag's option is an argument with a dash its value; elsewhere argparse decides.
    """
    registry.duration("wait", datetime.timedelta())
    registry.bool("verbose", default=False)
    registry.add_to_argparse(parser)

    for argv in (["a", "-2m"], ["--own=x", "-2m"], ["--verbose", "-2m"], ["--wait=1s", "-2m"], ["--wait", "1s", "-2m"]):
        assert parser.parse_known_args(argv)[1] == ["-2m"]


@pytest.mark.parametrize("which", ["outer", "inner"])
def test_one_parser_that_does_not_exit_is_enough(registry: FlagRegistry, which: str) -> None:
    """
    A refused value raises if either the program's parser or the subcommand's has ``exit_on_error=False``.
    """
    registry.int("rate", 50)
    parser = argparse.ArgumentParser(exit_on_error=which != "outer")
    run = parser.add_subparsers().add_parser("run", exit_on_error=which != "inner")
    registry.add_to_argparse(run)

    with pytest.raises(argparse.ArgumentError, match="flag 'rate'"):
        parser.parse_args(["run", "--rate=abc"])


@pytest.mark.parametrize(
    "part",
    [
        lambda parser: parser.add_argument_group("group"),
        lambda parser: parser.add_subparsers(),
        lambda parser: None,
    ],
    ids=["group", "subparsers", "None"],
)
def test_refuses_what_is_no_parser(
    registry: FlagRegistry, parser: argparse.ArgumentParser, part: Callable[[argparse.ArgumentParser], Any]
) -> None:
    """
    `add_to_argparse()` refuses a group of a parser, its subparsers and None, and adds no option.
    """
    registry.int("rate", 1)

    with pytest.raises(ArgumentError, match=r"expected parser as an argparse\.ArgumentParser, got "):
        registry.add_to_argparse(part(parser))

    assert "--rate" not in parser.format_help()


# --- several parsers, several registries


@pytest.fixture(name="other")
def _other() -> FlagRegistry:
    """Return a second registry."""
    return FlagRegistry("other")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["run", "--burst=7"], (50, 7)),
        (["--rate=6", "run", "--burst=7"], (6, 7)),
        (["--burst=7", "run"], (50, 7)),
        (["--burst=6", "run", "--burst=7", "--rate=8"], (8, 7)),
        (["run"], (50, 5)),
    ],
)
def test_a_parser_and_its_subparser_add_up(registry: FlagRegistry, argv: list[str], expected: tuple[int, int]) -> None:
    """
    If a parser and its subcommand's parser share a registry, the values of both are set in one step; the last wins.
    """
    rate, burst = registry.int("rate", 50), registry.int("burst", 5)
    parser = argparse.ArgumentParser()
    run = parser.add_subparsers(required=True).add_parser("run")
    registry.add_to_argparse(parser)
    registry.add_to_argparse(run)
    before = registry.snapshot().revision

    parser.parse_args(argv)

    assert (rate.get(), burst.get()) == expected
    assert registry.snapshot().revision - before == (expected != (50, 5))

    parser.parse_args(["run"])
    assert (rate.get(), burst.get()) == (50, 5)


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_subparser_sets_nothing_when_its_parent_fails(
    registry: FlagRegistry, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    """
    If the program's parser finds a fault outside the subcommand's arguments, the subcommand's flags are not set.
    """
    rate = registry.int("rate", 50)
    parser = argparse.ArgumentParser()
    parser.add_argument("--needed", required=place == "after")
    run = parser.add_subparsers().add_parser("run")
    registry.add_to_argparse(run)

    with pytest.raises(SystemExit):
        parser.parse_args(["run", "--rate=5", *(["--unknown"] if place == "before" else [])])

    assert (rate.get(), rate.origin) == (50, "default")
    assert "--unknown" in capsys.readouterr().err or place == "after"
    parser.parse_args(["--needed=1", "run", "--rate=5"])
    assert rate.get() == 5


def test_a_subparser_of_a_subparser_reports_for_itself(
    registry: FlagRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    A refused value is reported by the parser of the subcommand that met it, and no parser sets anything.
    """
    rate, port = registry.int("rate", 50), registry.int("port", 80)
    parser = argparse.ArgumentParser(prog="program")
    registry.add_to_argparse(parser)
    deep = parser.add_subparsers().add_parser("one").add_subparsers().add_parser("two")
    registry.add_to_argparse(deep)

    with pytest.raises(SystemExit):
        parser.parse_args(["--port=81", "one", "two", "--rate=abc"])

    assert (rate.get(), port.get()) == (50, 80)
    assert "program one two: error: flag 'rate'" in capsys.readouterr().err


def test_a_class_of_parsers_may_check_more(registry: FlagRegistry) -> None:
    """
    If a subclass of `ArgumentParser` refuses after argparse has parsed, the subcommand's flags are not set.
    """

    class Strict(argparse.ArgumentParser):
        def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
            result = super().parse_args(args, namespace)
            if result.forbidden:
                self.error("forbidden")
            return result

    rate = registry.int("rate", 50)
    parser = Strict()
    parser.add_argument("--forbidden", action="store_true")
    registry.add_to_argparse(parser.add_subparsers().add_parser("run"))

    with pytest.raises(SystemExit):
        parser.parse_args(["--forbidden", "run", "--rate=5"])
    assert rate.get() == 50
    parser.parse_args(["run", "--rate=5"])
    assert rate.get() == 5


@pytest.mark.parametrize("bad", ["--rate=abc", "--size=abc", "--size=99", "--low=9"])
def test_two_registries_in_one_parser_are_set_together(
    registry: FlagRegistry, other: FlagRegistry, parser: argparse.ArgumentParser, bad: str
) -> None:
    """
    If either registry refuses a value or a combination of values, the flags of both keep their values.
    """
    rate, low, size = registry.int("rate", 50), registry.int("low", 1), other.int("size", 5, max=98)
    told: list[int] = []
    rate.on_change(lambda old, new: told.append(new))

    @other.validator
    def bounded(candidate: Snapshot) -> None:
        if candidate[size] > 20:
            raise ValueError("too large")

    @registry.validator
    def ordered(candidate: Snapshot) -> None:
        if candidate[low] > candidate[rate]:
            raise ValueError("low is above rate")

    for each in (registry, other):
        each.add_to_argparse(parser)

    with pytest.raises(SystemExit):
        parser.parse_args(["--rate=6", "--size=7", bad])
    with pytest.raises(SystemExit):
        parser.parse_args(["--rate=6", "--size=21"])
    assert (rate.get(), low.get(), size.get()) == (50, 1, 5)

    parser.parse_args(["--size=7", "--rate=6", "--low=6"])
    assert (rate.get(), low.get(), size.get()) == (6, 6, 7)
    assert registry.flush(10)
    assert told == [6]


def test_all_that_is_wrong_in_several_registries_is_reported(
    registry: FlagRegistry, other: FlagRegistry, parser: argparse.ArgumentParser, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Bad values of two registries are reported together.
    """
    registry.int("rate", 50)
    other.int("size", 5)
    for each in (registry, other):
        each.add_to_argparse(parser)

    with pytest.raises(SystemExit):
        parser.parse_args(["--size=x", "--rate=y"])

    said = capsys.readouterr().err
    assert "flag 'rate': expected an int, got 'y'" in said
    assert "flag 'size': expected an int, got 'x'" in said


def test_a_check_across_flags_sees_what_all_parsers_were_given(registry: FlagRegistry) -> None:
    """
    A registry validator sees what all parsers were given, so two values that depend on each other may be given apart.
    """
    low, high = registry.int("low", 1), registry.int("high", 2)

    @registry.validator
    def near(candidate: Snapshot) -> None:
        if candidate[high] - candidate[low] != 1:
            raise ValueError("not near")

    parser = argparse.ArgumentParser()
    run = parser.add_subparsers().add_parser("run")
    registry.add_to_argparse(parser)
    registry.add_to_argparse(run)

    parser.parse_args(["--low=5", "run", "--high=6"])
    assert (low.get(), high.get()) == (5, 6)

    with pytest.raises(SystemExit):
        parser.parse_args(["--low=7", "run", "--high=9"])
    assert (low.get(), high.get()) == (5, 6)


def test_parsers_used_one_after_the_other_add_up(registry: FlagRegistry) -> None:
    """
    A parse replaces what the same parser has set before, and keeps what other parsers have set.
    """
    rate, burst = registry.int("rate", 50), registry.int("burst", 5)
    first, second = argparse.ArgumentParser(), argparse.ArgumentParser()
    registry.add_to_argparse(first)
    registry.add_to_argparse(second)

    first.parse_known_args(["--rate=6"])
    second.parse_args(["--burst=7"])
    assert (rate.get(), burst.get()) == (6, 7)

    second.parse_args(["--rate=8"])
    assert (rate.get(), burst.get()) == (8, 5)

    first.parse_args([])
    assert (rate.get(), burst.get()) == (8, 5)

    second.parse_args([])
    assert (rate.get(), burst.get()) == (50, 5)

    registry.parse_args(["--burst=1"])
    second.parse_args([])
    assert burst.get() == 1


def test_the_environment_is_read_beside_a_parser_of_the_program(
    registry: FlagRegistry, parser: argparse.ArgumentParser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    `parse_args()` replaces only what it has set itself; what another parser was given stays above the environment.
    """
    rate, burst = registry.int("rate", 50), registry.int("burst", 5)
    registry.add_to_argparse(parser)
    monkeypatch.setenv("APP_RATE", "7")
    monkeypatch.setenv("APP_BURST", "8")
    parser.parse_args(["--rate=6"])
    for _ in range(2):
        assert registry.parse_args(["--burst=9"], env_prefix="APP") == []
        assert (rate.get(), burst.get()) == (6, 9)
        registry.parse_args([], env_prefix="APP")
        assert (rate.get(), burst.get()) == (6, 8)
    parser.parse_args([])
    assert (rate.get(), burst.get()) == (7, 8)


def test_a_failed_parse_keeps_what_the_parser_had_set(registry: FlagRegistry, parser: argparse.ArgumentParser) -> None:
    """
    A parse that fails changes nothing, and the next good one still replaces what the last good one set.
    """
    rate, port = registry.int("rate", 50), registry.int("port", 80)
    registry.add_to_argparse(parser)
    parser.parse_args(["--rate=5"])

    with pytest.raises(SystemExit):
        parser.parse_args(["--port=81", "--nonsense"])
    assert (rate.get(), port.get()) == (5, 80)

    parser.parse_args(["--port=82"])
    assert (rate.get(), port.get()) == (50, 82)


def test_a_parser_that_fails_within_another_gives_nothing(registry: FlagRegistry) -> None:
    """
    A parse that fails inside another one sets no flag, if the program catches the error and continues.
    """
    rate, burst = registry.int("rate", 50), registry.int("burst", 5)
    inner = argparse.ArgumentParser(exit_on_error=False)
    registry.add_to_argparse(inner)
    inner.add_argument("--number", type=int)

    class Try(argparse.Action):
        def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
            with contextlib.suppress(argparse.ArgumentError):
                inner.parse_args(values.split())

    outer = argparse.ArgumentParser()
    registry.add_to_argparse(outer)
    outer.add_argument("--try", action=Try)

    outer.parse_args(["--burst=6", "--try=--rate=7 --burst=8 --number=x"])
    assert (rate.get(), burst.get()) == (50, 6)

    outer.parse_args(["--burst=6", "--try=--rate=7 --number=5"])
    assert (rate.get(), burst.get()) == (7, 6)


@pytest.mark.parametrize("method", ["parse_args", "parse_known_args", "parse_intermixed_args"])
def test_the_child_of_a_parser_has_its_flags(registry: FlagRegistry, other: FlagRegistry, method: str) -> None:
    """
    A parser with ``parents=`` sets the flags of its parents, in every spelling, in one step.
    """
    rate, verbose, size = registry.int("rate_limit", 50), registry.bool("verbose", default=True), other.int("size", 5)
    first, second = (argparse.ArgumentParser(add_help=False) for _ in range(2))
    registry.add_to_argparse(first)
    other.add_to_argparse(second)
    child = argparse.ArgumentParser(parents=[first, second])
    child.add_argument("files", nargs="*")

    getattr(child, method)(["--rate-limit", "-6", "a", "--verbose=false", "--size=7"])

    assert (rate.get(), verbose.get(), size.get()) == (-6, False, 7)
    with pytest.raises(SystemExit):
        child.parse_args(["--rate_limit=5", "--no-verbose", "--size=x"])
    assert (rate.get(), size.get()) == (-6, 7)


def test_intermixed_arguments_are_set_in_one_step(registry: FlagRegistry, parser: argparse.ArgumentParser) -> None:
    """
    `parse_intermixed_args()`, which reads twice, sets flags in one revision, and none if there is a fault at the end.
    """
    rate = registry.int("rate", 50)
    registry.add_to_argparse(parser)
    before = registry.snapshot().revision

    with pytest.raises(SystemExit):
        parser.parse_intermixed_args(["a", "--rate=5", "b", "--nonsense"])
    assert rate.get() == 50

    assert parser.parse_intermixed_args(["a", "--rate=5", "b"]).files == ["a", "b"]
    assert (rate.get(), registry.snapshot().revision) == (5, before + 1)


def test_parsers_without_flags_work_as_before(registry: FlagRegistry) -> None:
    """
    A parser without flags works as plain argparse does while another parser has flags.
    """
    registry.add_to_argparse(argparse.ArgumentParser())
    parser = argparse.ArgumentParser()
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("number", type=int)

    assert vars(parser.parse_args(["--verb", "-5"])) == {"verbose": True, "number": -5}
    with pytest.raises(SystemExit):
        parser.parse_args(["--verbose=false", "5"])


def test_a_subcommand_without_flags_drops_what_another_gave(registry: FlagRegistry) -> None:
    """
    A parse of a subcommand without flags drops the values that an earlier subcommand was given.
    """
    rate = registry.int("rate", 50)
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers()
    registry.add_to_argparse(commands.add_parser("run"))
    commands.add_parser("stop")

    parser.parse_args(["run", "--rate=5"])
    assert rate.get() == 5

    parser.parse_args(["stop"])
    assert (rate.get(), rate.origin) == (50, "default")


@pytest.mark.parametrize("argv", ["--rate=5", b"--rate=5", 5, ["--rate", 5], [5], [b"--rate=5"]])
def test_an_argument_that_is_no_text_is_refused(registry: FlagRegistry, argv: Any) -> None:
    """
    `parse_args()` raises `ArgumentError` and does not exit when `argv` is not a sequence of texts.
    """
    registry.int("rate", 1)
    with pytest.raises(ArgumentError, match=r"expected (each of )?argv as "):
        registry.parse_args(argv)


def test_bytes_on_the_command_line_are_shown_as_they_were_given(
    registry: FlagRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    A value with a surrogate is refused and shown as bytes, also if the surrogate stands for no byte.
    """
    registry.string("name", "x")
    for given, shown in (("a\udcff", r"b'a\xff'"), ("\ud800", r"b'\xed\xa0\x80'")):
        with pytest.raises(SystemExit):
            registry.parse_args([f"--name={given}"])
        assert f"got {shown} (command line)" in capsys.readouterr().err
