"""
``dflag manifest``, ``docs``, ``plan`` and ``completion``.
"""

from __future__ import annotations

import datetime
import enum
import json
import re
import shutil
import subprocess
import sys
import threading
import types
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import jsonschema
import pydantic
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dflag
from dflag._flags import pipeline_of
from dflag._formats import yaml as yaml_1_2
from dflag._formats.json_values import thaw
from dflag.cli import main
from dflag.testing import ConfigMapVolume
from dflag.web import start_http_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NASTY = "pipe | tick ` star * <b> \\ # [x](y)\nsecond line\t\x1b[31m \u00e9"

BASH = shutil.which("bash") or ""
FISH = shutil.which("fish") or ""
ZSH = shutil.which("zsh") or ""


class _Login(pydantic.BaseModel):
    word: str = "hush-three"


@pytest.fixture(name="program")
def _program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dflag.FlagRegistry:
    """Return the registry that the commands find at ``app:flags``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    flags = dflag.FlagRegistry("shop")
    flags.dyn_int("rate_limit", 50, NASTY, min=1, max=100)
    flags.int("port", 8080, "Port", deprecated="use ports", owner="edge | team")
    flags.dyn_json("policy", {"mode": "allow", "of": [1, None]}, "Policy")
    flags.dyn_string("text", NASTY.strip(), "Text")
    flags.dyn_string("spaces", " x ", "What stripping takes away")
    flags.dyn_bytes("blob", b"\x00\xff", "Blob")
    flags.dyn_duration("on", __import__("datetime").timedelta(seconds=90), "A name that YAML takes for true")
    flags.dyn_string_list("hosts", ["a,b", "c"], "Hosts")
    flags.dyn_map("ports", {"a.port": 1}, "Ports", keys="*.port", of="int")
    flags.dyn_string("password", "hunter2", "Password", secret=True)
    flags.dyn_bytes("key", b"hunter2", "Key", secret=True)
    _serve(monkeypatch, flags)
    return flags


def _serve(monkeypatch: pytest.MonkeyPatch, flags: dflag.FlagRegistry) -> None:
    module = types.ModuleType("app")
    module.flags = flags  # type: ignore[attr-defined]  # as an assignment at the top level of a program
    monkeypatch.setitem(sys.modules, "app", module)


@pytest.mark.parametrize("options", [[], ["--manifest"], ["--rules"]])
def test_the_schema_takes_retired_names(
    program: dflag.FlagRegistry, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    """The schema of documents, manifests and rules accepts a retired name, even one that a map's keys would match."""
    for name in ("old_name", "old.port"):
        program.retired(name, since=datetime.date(2026, 10, 1))
    wrap = {"--manifest": lambda it: {**_HEAD, "data": it}, "--rules": lambda it: [{"set": it}]}
    assert main(["schema", "app:flags", *options]) == 0
    schema = jsonschema.Draft202012Validator(json.loads(capsys.readouterr().out))
    for name, fits in (("old_name", True), ("odd_name", False), ("old.port", True), ("odd.port", False)):
        assert schema.is_valid(wrap.get("".join(options), dict)({name: "often"})) is fits


_HEAD = {"apiVersion": "v1", "kind": "ConfigMap"}


@pytest.mark.parametrize("kind", ["ConfigMap", "Secret"])
def test_manifest_reads_back(
    program: dflag.FlagRegistry, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A manifest passes `check --strict`, and a volume made from it gives every flag its default."""
    assert main(["manifest", "app:flags", "--name", "shop", "--namespace", "on", "--kind", kind]) == 0
    text = capsys.readouterr().out
    (tmp_path / "out.yaml").write_text(text, encoding="utf-8")
    assert main(["check", "--strict", "app:flags", "out.yaml"]) == 0
    loaded = yaml.safe_load(text)
    assert (loaded["kind"], loaded["metadata"]) == (kind, {"name": "shop", "namespace": "on"})
    from dflag.cli._inputs import read

    (found,) = read("out.yaml")
    volume = ConfigMapVolume(tmp_path / "volume")
    values = {key: raw for key, raw in found.values.items() if isinstance(raw, (str, bytes))}
    volume.write(values)
    expected = {flag.name for flag in program if flag.secret is (kind == "Secret")} - {"spaces"}
    assert expected == set(values)
    for flag in program:
        if flag.dynamic and flag.name in expected:
            flag._store.change([(flag, "override", None)])
    updater = dflag.Updater(program, volume.path)
    updater.initialize()
    assert {name: program[name].default for name in expected} == {name: program[name].get() for name in expected}
    updater.stop()


def test_manifest_keeps_secrets_apart(program: dflag.FlagRegistry, capsys: pytest.CaptureFixture[str]) -> None:
    """A ConfigMap neither holds nor mentions a secret flag; a Secret holds only secret flags."""
    assert main(["manifest", "app:flags", "--name", "shop"]) == 0
    printed = capsys.readouterr().out
    assert "password" not in printed
    assert "hunter2" not in printed
    assert main(["manifest", "app:flags", "--name", "shop", "--kind", "Secret"]) == 0
    assert "rate_limit" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "command", ["docs", "schema", "schema --manifest", "schema --rules", "policy", "manifest --name shop"]
)
def test_choices_of_secrets_are_not_printed(
    program: dflag.FlagRegistry, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No command prints the choices of a secret, one of which is its value; docs and schemas print its limits."""
    program.string("plan", "hush-one", "Plan", secret=True, choices=["hush-one", "hush-two"])
    program.string_list("plans", ["hush-one"], "Plans", secret=True, choices=["hush-one", "hush-two"])
    program.int("pin", 4711, "Pin", secret=True, choices=[4711, 4712], min=1000)
    program.enum("pace", enum.Enum("Pace", ["HUSH_SLOW", "HUSH_FAST"]).HUSH_SLOW, "Pace", secret=True)
    program.json("login", _Login(), "Login", type=_Login, secret=True)
    some = {"properties": {"word": {"default": "hush-one", "enum": ["hush-one", "hush-two"]}}}
    program.json("words", {"word": "hush-one"}, "Words", schema=some, secret=True)
    assert main([*command.split(), "app:flags"]) == 0
    printed = capsys.readouterr()
    assert [word for word in ("hush", "HUSH", "4711", "4712") if word in printed.out + printed.err] == []
    limits = {"docs": "int of at least 1000", "schema": '"minimum": 1000,', "schema --rules": '"minimum": 1000,'}
    assert limits.get(command, "") in printed.out


def test_manifest_says_what_flags_take(program: dflag.FlagRegistry, capsys: pytest.CaptureFixture[str]) -> None:
    """A manifest has each flag's help, kind, limits, default and deprecation in comments above the value."""
    assert main(["manifest", "app:flags", "--name", "shop"]) == 0
    printed = capsys.readouterr().out
    assert '  # dynamic int from 1 to 100, default 50\n  rate_limit: "50"\n' in printed
    assert "  # Deprecated: use ports\n" in printed
    assert "  # second line\\t\\x1b[31m" in printed
    assert "  # Its default cannot be written as a value.\n  # spaces:\n" in printed


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(text=st.text(), name=st.from_regex(r"[-_a-zA-Z0-9][-._a-zA-Z0-9]{0,8}", fullmatch=True), about=st.text())
def test_any_text_in_a_manifest_reads_back(
    text: str, name: str, about: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A manifest holds any default that its flag can read back, and leaves any other out."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        flags = dflag.FlagRegistry()
        flag = flags.dyn_string(name, text, about)
        _serve(monkeypatch, flags)
        assert main(["manifest", "app:flags", "--name", "x"]) == 0
        printed = capsys.readouterr().out
        data = yaml.safe_load(printed)["data"]
        try:
            text.encode()
            readable = pipeline_of(flag).read(name, text, "") == text
        except UnicodeEncodeError:
            readable = False
        assert data == ({name: text} if readable else {})


@pytest.mark.parametrize(
    ("value", "fits"), [(True, True), (1, True), (0, True), ("on", True), (2, False), ("2", False)]
)
def test_the_schema_takes_of_a_bool_what_the_flag_reads(
    program: dflag.FlagRegistry, capsys: pytest.CaptureFixture[str], value: object, fits: bool
) -> None:
    """
    The schema accepts for a bool flag the numbers and texts that the flag reads.
    """
    program.dyn_bool("schema_switch", False)
    assert main(["schema", "app:flags"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert jsonschema.Draft202012Validator(schema).is_valid({"schema_switch": value}) is fits


class _Words(enum.Enum):
    """Members whose names and values YAML reads as bools, numbers or null."""

    TRUE = 1
    OFF = False
    NULL = ".Inf"


_CODES = ("007", "0x1F", "+5", ".5", "1.", "True", "~", "Null", "[1]", '{"a":1}')


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *[("code", text) for text in _CODES],
        *[("words", text) for text in ("true", "TRUE", "False", "off", "null", "NULL", "1", ".inf")],
        *[(name, text) for name in ("peers", "zones") for text in ("", "007", "null", "True", "[a]")],
    ],
)
def test_the_schema_takes_what_yaml_reads_otherwise_than_as_text(
    program: dflag.FlagRegistry, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str
) -> None:
    """A document that `check` accepts fits the schema even if YAML reads a text as a number, bool, null or list."""
    program.dyn_string("code", "007", choices=_CODES)
    program.dyn_enum("words", _Words.TRUE)
    program.dyn_string_list("peers", (), choices=("a", "007", "True", "null"))
    program.dyn_string_set("zones", (), choices=("a", "007", "True", "null"))
    (tmp_path / "in.yaml").write_text(f"{name}: {text}\n", encoding="utf-8")
    assert main(["check", "app:flags", "in.yaml"]) == 0
    capsys.readouterr()
    native = float("inf") if text == ".inf" else thaw(yaml_1_2.loads(text or "null"))
    jsonschema.validate({name: native}, _schema(capsys))


def test_the_schema_holds_no_infinite_number(program: dflag.FlagRegistry, capsys: pytest.CaptureFixture[str]) -> None:
    """A choice that YAML reads as an infinite number fits the schema, which is still valid JSON."""
    program.dyn_string("huge", "1e400", choices=("1e400", "9" * 600))
    schema = jsonschema.Draft202012Validator(_schema(capsys))
    assert schema.is_valid({"huge": float("inf")})
    assert schema.is_valid({"huge": int("9" * 600)})
    assert not schema.is_valid({"huge": 1})


@pytest.mark.parametrize(
    ("name", "value"), [("words", 2), ("words", []), ("words", 0.5), ("peers", True), ("peers", ["b"]), ("peers", 7.5)]
)
def test_the_schema_refuses_what_no_text_is_read_as(
    program: dflag.FlagRegistry, capsys: pytest.CaptureFixture[str], name: str, value: object
) -> None:
    """The schema refuses a value that is not how YAML reads the text of a member or a choice."""
    program.dyn_enum("words", _Words.TRUE)
    program.dyn_string_list("peers", (), choices=("a", "007"))
    assert not jsonschema.Draft202012Validator(_schema(capsys)).is_valid({name: value})


def _schema(capsys: pytest.CaptureFixture[str]) -> Any:
    """Return the schema that the command prints, which is JSON without infinite numbers."""
    assert main(["schema", "app:flags"]) == 0
    return json.loads(capsys.readouterr().out, parse_constant=pytest.fail)


def test_docs_tables_do_not_break(program: dflag.FlagRegistry, capsys: pytest.CaptureFixture[str]) -> None:
    """Each flag is one row of four cells, whatever characters its texts hold, and special characters are escaped."""
    assert main(["docs", "app:flags"]) == 0
    printed = capsys.readouterr().out
    rows = [line for line in printed.splitlines() if line.startswith("| `")]
    cells = [re.split(r"(?<!\\)\|", row)[1:-1] for row in rows]
    assert len(rows) == len(program)
    assert {4} == {len(row) for row in cells}
    assert {flag.name for flag in program} == {row[0].strip(" `") for row in cells}
    about = next(row[3] for row in cells if "rate_limit" in row[0])
    assert " ".join(NASTY.split()).startswith(re.sub(r"\\(.)", r"\1", about).strip()[:40])
    assert not re.search(r"(?<!\\)[<*`]", about.replace("<br>", ""))
    assert "hunter2" not in printed


def test_code_spans_of_docs_hold_ticks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A default with backticks is enclosed in a longer run of backticks."""
    flags = dflag.FlagRegistry()
    flags.dyn_string("ticks", "a``b`", "")
    _serve(monkeypatch, flags)
    assert main(["docs", "app:flags"]) == 0
    assert "| ``` a``b` ``` |" in capsys.readouterr().out


def _plan(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> Any:
    assert status == main(["plan", "app:flags", *arguments, "--format", "json"])
    return json.loads(capsys.readouterr().out)


def test_plan_from_the_defaults(
    program: dflag.FlagRegistry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A plan lists changes, flags that need a restart, rejected values and unknown keys, and masks secrets."""
    (tmp_path / "new.yaml").write_text(
        "rate_limit: 60\nport: 9090\npolicy: {mode: allow, of: [1, null]}\nhosts: [1]\nx: y\npassword: swordfish\n",
        encoding="utf-8",
    )
    found = _plan(capsys, "new.yaml", status=1)
    assert found["changes"] == [
        {"flag": "password", "old": "******", "new": "******"},
        {"flag": "port", "old": "8080", "new": "9090"},
        {"flag": "rate_limit", "old": "50", "new": "60"},
    ]
    assert found["pending_restart"] == ["port"]
    assert [entry["flag"] for entry in found["rejected"]] == ["hosts"]
    assert found["unknown"] == ["x"]
    assert main(["plan", "app:flags", "new.yaml"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "port: 8080 -> 9090 (after a restart)" in lines
    assert "unknown: x" in lines


def test_plan_against_an_input(program: dflag.FlagRegistry, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a plan against an input, a rejected value changes nothing, and a key that is gone gets its default."""
    (tmp_path / "old.yaml").write_text("rate_limit: 60\nport: 9090\ntext: x\na.port: 5\n", encoding="utf-8")
    (tmp_path / "new.yaml").write_text("rate_limit: 6000\ntext: x\na.port: 6\n", encoding="utf-8")
    found = _plan(capsys, "new.yaml", "--against", "old.yaml", status=1)
    assert found["changes"] == [
        {"flag": "port", "old": "9090", "new": "8080"},
        {"flag": "ports", "old": '{"a.port":"5"}', "new": '{"a.port":"6"}'},
    ]
    assert [entry["flag"] for entry in found["rejected"]] == ["rate_limit"]
    assert main(["plan", "app:flags", "new.yaml", "--against", "old.yaml"]) == 1
    assert "port: 9090 -> 8080 (the default, after a restart)\n" in capsys.readouterr().out
    assert main(["plan", "app:flags", "old.yaml", "--against", "old.yaml"]) == 0
    assert capsys.readouterr().out == "no changes\n"


def test_plan_names_the_bad_key_of_a_map(
    program: dflag.FlagRegistry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message for a rejected map names the bad key, since a plan shows no place."""
    (tmp_path / "new.yaml").write_text("a.port: 5\nb.port: x\n", encoding="utf-8")
    (rejected,) = _plan(capsys, "new.yaml", status=1)["rejected"]
    assert rejected == {"flag": "ports", "message": "flag 'ports': at 'b.port': expected an int, got 'x'"}


def test_plan_that_a_validator_refuses(
    program: dflag.FlagRegistry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a plan, a revision that a registry validator refuses changes nothing."""

    @program.validator
    def never(snapshot: dflag.Snapshot) -> None:
        if snapshot["rate_limit"] != 50:
            raise ValueError("no")

    (tmp_path / "new.yaml").write_text("rate_limit: 60\ntext: x\n", encoding="utf-8")
    found = _plan(capsys, "new.yaml", status=1)
    assert found["changes"] == []
    assert found["rejected"][0]["flag"] is None
    assert found["rejected"][0]["message"].endswith("never: no")


@contextmanager
def _page(body: bytes, *, is_http: bool = True) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if is_http:
                self.send_response(200)
                self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/flags"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_plan_against_a_running_process(
    program: dflag.FlagRegistry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A plan reads the current values from a process's debug page; a masked value counts as unchanged."""
    flags = [
        {"name": "rate_limit", "current_value": "60"},
        {"name": "blob", "current_value": "AP8="},
        {"name": "password", "current_value": "******"},
        {"name": "of another version", "current_value": "1"},
    ]
    (tmp_path / "new.yaml").write_text("rate_limit: 70\npassword: swordfish\n", encoding="utf-8")
    with _page(json.dumps({"flags": flags}).encode()) as url:
        found = _plan(capsys, "new.yaml", "--against", url)
    assert found["changes"] == [{"flag": "rate_limit", "old": "60", "new": "70"}]


def test_plan_of_several_objects_against_a_process(
    program: dflag.FlagRegistry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a plan against a process, a rejected value changes nothing, whichever object holds it."""
    head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: "
    (tmp_path / "new.yaml").write_text(
        f"{head}a}}\ndata: {{text: x}}\n---\n{head}b}}\ndata: {{rate_limit: many}}\n", encoding="utf-8"
    )
    flags = [{"name": "rate_limit", "current_value": "60"}, {"name": "text", "current_value": "x"}]
    with _page(json.dumps({"flags": flags}).encode()) as url:
        found = _plan(capsys, "new.yaml", "--against", url, status=1)
    assert found["changes"] == []


def test_plan_against_some_flags_of_a_process(
    program: dflag.FlagRegistry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A plan against a filtered listing is refused, since a flag that is left out need not be at its default."""
    (tmp_path / "new.yaml").write_text("rate_limit: 70\n", encoding="utf-8")
    with start_http_server(0, program) as server:
        url = f"http://127.0.0.1:{server.port}/"
        assert _plan(capsys, "new.yaml", "--against", url)["changes"] != []
        assert main(["plan", "app:flags", "new.yaml", "--against", f"{url}?type=static"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"dflag: {url}?type=static: expected a listing of all {len(program)} flags, got 1: leave" in captured.err


@pytest.mark.parametrize(
    ("body", "is_http"),
    [
        (b"<html>", True),
        (b"[]", True),
        (b'{"flags": [1]}', True),
        (b'{"flags":' + b"[" * 100_000, True),
        (b"garbage\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nmany\r\n", False),
        (b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere:many/\r\n\r\n", False),
    ],
)
def test_plan_against_something_else(
    program: dflag.FlagRegistry, tmp_path: Path, capsys: pytest.CaptureFixture[str], body: bytes, is_http: bool
) -> None:
    """A URL that is not a debug page ends with status 2 and one message without a traceback."""
    (tmp_path / "new.yaml").touch()
    with _page(body, is_http=is_http) as url:
        assert main(["plan", "app:flags", "new.yaml", "--against", url]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"dflag: {url}: ")
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["dflag", "ch"], ["check"]),
        (["dflag", "--v"], ["--version"]),
        (["dflag", "check", "app:flags", "--st"], ["--strict"]),
        (["dflag", "manifest", "--name", "check", "--k"], ["--kind", "--key"]),
        (["dflag", "check", "app:flags", "--format", "s"], ["sarif"]),
        (["dflag", "check", "app:flags", "--format", "=", "s"], ["sarif"]),
        (["dflag", "manifest", "--kind", "="], ["ConfigMap", "Secret"]),
        (["dflag", "completion", ""], ["bash", "fish", "zsh"]),
        (["dflag", "plan", "x"], []),
    ],
)
@pytest.mark.skipif(not BASH, reason="needs bash")
def test_completion_of_bash(words: list[str], expected: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The bash script completes commands, the options of a command, and the values of an option."""
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    program = f'{script}\nCOMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _dflag; printf "%s\\n" "${{COMPREPLY[@]}}"'
    found = subprocess.run(
        [BASH, "-c", program, "bash", *words], capture_output=True, text=True, check=True, timeout=30
    )
    assert expected == found.stdout.split()


def test_completion_of_fish(capsys: pytest.CaptureFixture[str]) -> None:
    """The fish script completes commands, their options with descriptions, and the values of an option."""
    assert main(["completion", "fish"]) == 0
    lines = capsys.readouterr().out.splitlines()
    seen = "complete -c dflag -n '__fish_seen_subcommand_from"
    assert {
        "complete -c dflag -n __fish_use_subcommand -l version",
        "complete -c dflag -n __fish_use_subcommand -f -a schema -d 'print a JSON Schema of the flags'",
        f"{seen} check' -l strict -d 'report unknown names, and inputs without values, as errors'",
        f"{seen} check' -l format -d 'how to print (default: text)' -x -a 'text json github sarif'",
        f"{seen} write' -l from -d 'an input to publish; KEY=VALUE wins over it' -r",
        f"{seen} completion' -f -a 'bash fish zsh'",
    } <= set(lines)
    if FISH:
        program = "\n".join([*lines, "complete -C 'dflag manifest --kind '"])
        found = subprocess.run([FISH, "-N", "-c", program], capture_output=True, text=True, check=True, timeout=30)
        assert [line.split("\t")[0] for line in found.stdout.splitlines()] == ["ConfigMap", "Secret"]


def test_completion_of_zsh(capsys: pytest.CaptureFixture[str]) -> None:
    """The zsh script completes commands, their options with descriptions, and the values of an option."""
    assert main(["completion", "zsh"]) == 0
    script = capsys.readouterr().out
    assert script.startswith("#compdef dflag\n")
    assert "        'schema:print a JSON Schema of the flags'\n" in script
    (check,) = (line for line in script.splitlines() if line.startswith("        check) "))
    assert "'--strict[report unknown names, and inputs without values, as errors]'" in check
    assert "'--format[how to print (default: text)]:format:(text json github sarif)'" in check
    assert "'*--key[a key that holds a document of flags]:key: '" in check  # may be given several times
    (completion,) = (line for line in script.splitlines() if line.startswith("        completion) "))
    assert "'*: :(bash fish zsh)'" in completion
    assert "COMP_WORDS" not in script  # zsh supports it only in part
    if ZSH:
        stubs = "compdef() {}; _arguments() { print -rl -- $@ }; words=(dflag check --); CURRENT=3"
        program = f"{stubs}\n{script}\n_dflag"
        found = subprocess.run([ZSH, "-f", "-c", program], capture_output=True, text=True, check=True, timeout=30)
        assert "--strict[report unknown names, and inputs without values, as errors]" in found.stdout.splitlines()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["expired", "app:flags", "--within"], "argument --within: expected a number of days from 0, got {!r}"),
        (
            ["check", "app:flags", "-", "--replicas"],
            "argument --replicas: expected a number of processes from 1, got {!r}",
        ),
    ],
)
@pytest.mark.parametrize("given", ["abc", "-1", "1.5"])
def test_a_number_that_an_option_does_not_take(
    arguments: list[str], expected: str, given: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A number that an option does not accept is refused with the range that it accepts."""
    assert main([*arguments, given]) == 2
    assert capsys.readouterr().err.endswith(f"error: {expected.format(given)}\n")
