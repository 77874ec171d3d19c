"""
``dflag check``, and what all commands have in common: inputs, registries, findings.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dflag._version import __version__
from dflag.cli import main
from dflag.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAM = """
import datetime
import dflag

print("said by the program")

flags = dflag.FlagRegistry()
rate = flags.dyn_int("rate_limit", 50, "Requests per second", min=1, max=10_000)
burst = flags.dyn_int("burst", 5, "At once")
port = flags.int("port", 8080, "Port")
blob = flags.dyn_bytes("blob", b"", "Bytes")
hosts = flags.dyn_string_list("hosts", [], "Hosts")
name = flags.dyn_string("name", "", "Name")
loud = flags.dyn_string("loud", "", "Loud", validator=lambda value: exit("never") if value == "exit" else None)
old = flags.dyn_int("old", 1, deprecated="use rate_limit")
today = flags.dyn_int("today", 1, expires=datetime.date.today())
late = flags.dyn_int("late", 1, expires=datetime.date(2020, 1, 1), owner="edge")
ports = flags.dyn_map("ports", {}, "Ports", keys="*.port", of="int")
policy = flags.dyn_json(
    "policy",
    {"mode": "allow"},
    schema={"required": ["mode"], "properties": {"mode": {"enum": ["allow", "deny"]}, "max": {"type": "integer"}}},
)
free = flags.dyn_json("free", None, yaml=True, schema={"properties": {"a": {"type": "integer"}}})
mutated = flags.dyn_json("mutated", {}, input_mutator=lambda text: "{" + text + "}")


def refuse(value):
    if value:
        raise ValueError("refused: " + value)


password = flags.dyn_string("password", "", secret=True, validator=refuse)
token = flags.dyn_string("token", "", validator=refuse)


@flags.validator
def burst_below_rate(snapshot):
    if snapshot[burst] > snapshot[rate]:
        raise ValueError(f"burst {snapshot[burst]} is above the rate")


class holder:
    flags = flags


def make():
    return flags


async def connect():
    return flags


def fail():
    raise RuntimeError("no database")


class Late:
    @property
    def flags(self):
        import no_such_module


late_import = Late()
"""

CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: app\ndata:\n"


@pytest.fixture(autouse=True)
def _program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the program into an empty current directory, and forget its modules after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, "app", raising=False)
    Path("app.py").write_text(PROGRAM, encoding="utf-8")
    for module in ("app", "broken", "exits", "typo", "ends", "mute"):
        monkeypatch.setitem(sys.modules, module, None)
        monkeypatch.delitem(sys.modules, module)


@pytest.fixture(name="check")
def _check(capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Return a function that writes one input, checks it, and returns the lines printed."""

    def check(text: str | bytes, *options: str, name: str = "in.yaml", status: int = 1) -> list[str]:
        Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
        assert status == main(["check", "app:flags", name, *options])
        return capsys.readouterr().out.splitlines()

    return check


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('  rate_limit: "x"\n', "6:15"),
        ("  rate_limit: x\n", "6:15"),
        ("  rate_limit: |\n    x\n", "7:5"),
        ('  rate_limit: ""\n', "6:15"),
        ("  rate_limit:\n", "6:3"),
        ("  # why\n  rate_limit: >-\n\n    x\n", "9:5"),
        ('  policy: |\n    {\n      "mode": "no"\n    }\n', "8:15"),
        ('  policy: |2\n      {\n      "mode": "no"\n    }\n', "8:15"),
        ('  policy: >\n    {"max": 1,\n     "mode":\n     "no"}\n', "9:6"),
        ('  policy: "{\\"max\\": 1, \\"mode\\": \\"no\\"}"\n', "6:35"),
        ('  policy: \'{"mode": "no"}\'\n', "6:21"),
        ('  policy: |\n    {"mode": "allow",\n     "max": [1, 2}\n', "8:18"),
        ('  policy: |\n    {"mode": "allow",\n     "mode": "deny"}\n', "8:6"),
        ('  policy: |\n    {"mode": "allow",\n     "max": NaN}\n', "8:13"),
        ('  policy: |\n    {"mode": "allow"\n\n', "7:21"),
        ("  policy: |\n    {}\n", "7:5"),
        ("  free: |\n    # YAML\n    a: x\n", "8:8"),
        ('  hosts: |\n    ["a",\n     1 2]\n', "8:8"),
        ('  mutated: |\n\n    "a" x\n', "8:5"),
        ('  eu.port: "no"\n', "6:12"),
    ],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_place_of_a_bad_value(check: Callable[..., list[str]], text: str, place: str, line_end: str) -> None:
    """A bad value is reported at its token, also inside block scalars and quotes, with LF and with CRLF."""
    (line,) = check((CONFIG_MAP + text).replace("\n", line_end))
    assert line.startswith(f"in.yaml:{place}: flag ")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("policy: {mode: allow, max: [1]}\n", "1:28"),
        ("policy:\n  mode: allow\n  max: x\n", "3:8"),
        ("policy:\n  {}\n", "2:3"),
        ('policy: "no"\n', None),
        ("rate_limit: 0\n", "1:13"),
        ("hosts:\n  - a\n  - 1\n", "2:3"),
        ("policy: |\n  {mode: no}\n", "2:4"),
    ],
)
def test_place_in_a_document(check: Callable[..., list[str]], text: str, place: str | None) -> None:
    """In a document a bad native value is reported at the part of it that is wrong."""
    if place is None:
        assert check(text, status=0) == []  # the schema allows any text
    else:
        (line,) = check(text)
        assert line.startswith(f"in.yaml:{place}: flag ")


def test_json_manifest_with_escapes(check: Callable[..., list[str]]) -> None:
    """In a JSON manifest the column counts characters as written, including escapes and surrogate pairs."""
    text = json.dumps({"kind": "ConfigMap", "apiVersion": "v1", "data": {"policy": '{"\U0001f600": 1, "mode": "no"}'}})
    (line,) = check(text, name="in.json")
    column = text.index('\\"no') + 1
    assert line.startswith(f"in.json:1:{column}: flag 'policy'")


def test_good_values_pass(check: Callable[..., list[str]]) -> None:
    """Valid values, `_example` and keys that begin with a dot give no findings, and nothing is printed."""
    assert check(CONFIG_MAP + '  rate_limit: "60"\n  eu.port: "1"\n  _example: "x"\n  .dot: "x"\n', status=0) == []


def test_unknown_names(check: Callable[..., list[str]]) -> None:
    """An unknown key is a warning with the nearest name as a hint, and an error with `--strict`."""
    text = CONFIG_MAP + '  rate_limt: "60"\n'
    assert check(text, status=0) == ["in.yaml:6:3: warning: no flag named 'rate_limt'; did you mean 'rate_limit'?"]
    assert check(text, "--strict") == ["in.yaml:6:3: no flag named 'rate_limt'; did you mean 'rate_limit'?"]


def test_the_hint_is_a_name_that_begins_so(check: Callable[..., list[str]]) -> None:
    """The hint prefers a name that begins with the key, or is the beginning of the key, to a more similar one."""
    assert check('policy.rate: "1"\npol: "1"\n', status=0) == [
        "in.yaml:1:1: warning: no flag named 'policy.rate'; did you mean 'policy'?",
        "in.yaml:2:1: warning: no flag named 'pol'; did you mean 'policy'?",
    ]
    assert nearest("bill.rate", ["bill.port", "bill.rate_limits", "bill.rate_limit"]) == "bill.rate_limit"
    assert nearest("bi", ["bill.rate_limit"]) is None  # two letters are too few
    assert nearest("", ["bill"]) is None


def test_deprecated_and_expired_flags(check: Callable[..., list[str]]) -> None:
    """A deprecated or expired flag is a warning, even with `--strict`; on its last day a flag is not expired."""
    assert check(CONFIG_MAP + '  old: "1"\n  late: "1"\n  today: "1"\n', "--strict", status=0) == [
        "in.yaml:6:3: warning: flag 'old' is deprecated: use rate_limit",
        "in.yaml:7:3: warning: flag 'late' was to be gone by 2020-01-01, ask edge",
    ]


def test_validators_over_several_flags(check: Callable[..., list[str]]) -> None:
    """A registry validator checks the values together with the defaults, and the registry itself is not changed."""
    (line,) = check(CONFIG_MAP + '  burst: "60"\n')
    assert line.endswith("burst_below_rate: burst 60 is above the rate")
    assert sys.modules["app"].burst.get() == 5
    assert sys.modules["app"].flags.snapshot().revision == 0


def test_objects_of_one_input_are_judged_together(check: Callable[..., list[str]]) -> None:
    """Registry validators see two objects of one input together, with the value of the later one for a key of both."""
    both = CONFIG_MAP + '  burst: "60"\n---\n' + CONFIG_MAP + '  rate_limit: "70"\n'
    assert check(both, status=0) == []
    low, high = (CONFIG_MAP + f'  burst: "60"\n  rate_limit: "{rate}"\n' for rate in (55, 70))
    assert check(f"{low}---\n{high}", status=0) == []
    (line,) = check(f"{high}---\n{low}")
    assert line.endswith("burst_below_rate: burst 60 is above the rate")


def test_limits_of_a_config_map(check: Callable[..., list[str]]) -> None:
    """A key that the API server refuses, and a key in both `data` and `binaryData`, is a finding."""
    lines = check(CONFIG_MAP + '  "a b": "1"\n  ..x: "1"\n  name: "1"\nbinaryData:\n  name: MQ==\n')
    assert [line.split(": ")[0] for line in lines] == ["in.yaml:6:3", "in.yaml:7:3", "in.yaml:10:3"]


@pytest.mark.parametrize("data", ["[1]", "text", "[]"])
def test_data_that_is_no_mapping(check: Callable[..., list[str]], data: str) -> None:
    """`data` that is neither a mapping nor null is a finding."""
    text = f"apiVersion: v1\nkind: ConfigMap\ndata: {data}\n"
    assert check(text) == ["in.yaml:3:7: expected data as a mapping"]
    assert check(text.replace(data, "null"), status=0) == []


def test_size_of_a_config_map(check: Callable[..., list[str]]) -> None:
    """Values of more than 1 MiB in all are a finding; values of exactly 1 MiB are not."""
    assert check(CONFIG_MAP + f"  name: {'x' * 2**20}\n", status=0) == []
    (line,) = check(CONFIG_MAP + f"  name: {'x' * 2**20}\n  token: ''\n  loud: x\n")
    assert line == "in.yaml:1:1: ConfigMap app: expected values of at most 1048576 bytes in all, got 1048577"


@pytest.mark.parametrize("value", ["7", "no", "1e3", "0x1F", "y", ".inf", ".1_0"])
def test_value_without_quotes(check: Callable[..., list[str]], value: str) -> None:
    """A value without quotes that kubectl reads as a number or a bool is refused, as the API server does."""
    assert check(CONFIG_MAP + f"  name: {value}\n") == [
        f'in.yaml:6:9: data.name: ConfigMap values are strings; write "{value}"'
    ]


@pytest.mark.parametrize("value", ["yEs", "0b2", ".iNF", "!!str 7", "! no", "n/a", "1.2.3"])
def test_value_that_needs_no_quotes(check: Callable[..., list[str]], value: str) -> None:
    """A value without quotes that kubectl reads as a text is accepted."""
    assert check(CONFIG_MAP + f"  name: {value}\n", status=0) == []


def test_value_with_a_tag(check: Callable[..., list[str]]) -> None:
    """A tag that makes a quoted value a number is refused, as the API server does."""
    assert check(CONFIG_MAP + '  rate_limit: !!int "7"\n') == [
        "in.yaml:6:21: data.rate_limit: ConfigMap values are strings; take away the tag before the value"
    ]


@pytest.mark.parametrize("name", ["App", "a_b", "-a", "a-", "a..b", "a" * 254, "''", "7", ""])
def test_name_of_an_object(check: Callable[..., list[str]], name: str) -> None:
    """A name that no object can have is a finding; `generateName` in place of a name is accepted."""
    (line,) = check(CONFIG_MAP.replace("name: app", f"name: {name}"))
    assert line.startswith(f"in.yaml:4:{9 if name else 8}: ")
    assert check(CONFIG_MAP.replace("name: app", "generateName: app-"), status=0) == []


def test_secrets_are_never_shown(check: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    """No format prints a secret's value or its validator's message, whether a flag or a Secret makes it secret."""
    encoded = base64.b64encode(b"hunter2").decode()
    config_map = CONFIG_MAP + "  password: hunter2\n"
    secret = f"apiVersion: v1\nkind: Secret\ndata:\n  token: {encoded}\n  password: {encoded}\n"
    for text in (config_map, secret, secret.replace(encoded, "hunter2").replace("data", "stringData")):
        for style in ("text", "json", "github", "sarif"):
            printed = "\n".join(check(text, "--format", style))
            assert "the value was refused" in printed
            assert "hunter2" not in printed
            assert encoded not in printed


def test_warns_of_secrets_in_a_config_map(check: Callable[..., list[str]]) -> None:
    """A ConfigMap that sets a flag declared as secret gets a warning at the key, also inside a document."""
    warning = "warning: flag 'password' is secret, and a ConfigMap is not: put the key into a Secret"
    assert check(CONFIG_MAP + "  password: ''\n", status=0) == [f"in.yaml:6:3: {warning}"]
    assert check(CONFIG_MAP + "  app.yaml: |\n    password: ''\n", status=0) == [f"in.yaml:7:5: {warning}"]
    fed = "apiVersion: v1\nkind: Secret\nstringData:\n  password: ''\n  token: ''\n"
    assert check(fed, status=0) == []
    assert check("password: ''\n", status=0) == []
    Path("secret.yaml").write_text(fed)
    assert check(CONFIG_MAP + "  token: ''\n", "secret.yaml", status=0) == []  # a Secret declares nothing
    printed = "\n".join(check(CONFIG_MAP + "  password: ''\n", "--format", "sarif", status=0))
    assert [each["ruleId"] for each in json.loads(printed)["runs"][0]["results"]] == ["secret-in-configmap"]


def test_secret_holds_base64(check: Callable[..., list[str]]) -> None:
    """The data of a Secret is decoded, also over several lines; a value that is not base64 is a finding."""
    text = "apiVersion: v1\nkind: Secret\ndata:\n  rate_limit: NjA=\n  burst: '*'\n"
    says = "data.burst: the value is not valid base64; encode it, or move it to stringData"
    assert check(text) == [f"in.yaml:5:10: {says}"]
    assert check(text.replace("'*'", "'O Q=='")) == [f"in.yaml:5:10: {says}"]
    assert check(text.replace("'*'", "|\n    O\n    Q==\n"), status=0) == []


def test_lists_and_other_kinds(check: Callable[..., list[str]]) -> None:
    """Objects in a List are checked; objects of other kinds or other API groups are ignored."""
    items = [
        {"apiVersion": "v1", "kind": "ConfigMap", "data": {"rate_limit": "x"}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "data": {"rate_limit": "x"}},
        {"apiVersion": "example.com/v1", "kind": "ConfigMap", "data": {"rate_limit": "x"}},
    ]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    assert len(check(text)) == 1


def test_directory(check: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    """A directory is read as a source reads it, and a bad value is reported at its place in the flag's file."""
    Path("values").mkdir()
    Path("values/rate_limit").write_text("60", encoding="utf-8")
    Path("values/policy").write_text('\n{"mode":\n "no"}', encoding="utf-8")
    assert main(["check", "app:flags", "values"]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("values/policy:3:2: flag 'policy'")


def test_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A dash is standard input when it is given as an input, and is refused as a registry."""
    text = "---\n# Source: chart\n---\n" + CONFIG_MAP + "  rate_limit: x\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert main(["check", "-", "app:flags"]) == 2
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert main(["check", "app:flags", "-"]) == 1
    assert capsys.readouterr().out.startswith("<stdin>:9:15: flag 'rate_limit'")


WITHOUT_VALUES = {
    "": ("it is empty", "it is empty; did the command before the pipe fail?"),
    "# nothing\n": ("it holds nothing but comments",) * 2,
    "---\n# Source: a\n---\n# Source: b\n": ("it holds nothing but comments",) * 2,
    "apiVersion: v1\nkind: Service\n---\napiVersion: v1\nkind: Pod\n": (
        "it holds no ConfigMap and no Secret, only Service, Pod",
    )
    * 2,
    "apiVersion: v1\nkind: List\nitems: []\n": ("it holds no ConfigMap and no Secret, only an empty list",) * 2,
    CONFIG_MAP: ("ConfigMap app holds no keys that can name flags",) * 2,
    CONFIG_MAP + "  .hidden: x\n": ("ConfigMap app holds no keys that can name flags",) * 2,
    CONFIG_MAP + "  _example: x\n": ("an updater ignores _example",) * 2,
}


@pytest.mark.parametrize("text", WITHOUT_VALUES)
def test_input_without_values(text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An input without values gets a message with the likely reason, and is an error with `--strict`."""
    Path("in.yaml").write_text(text, encoding="utf-8")
    of_file, of_pipe = WITHOUT_VALUES[text]
    for options, status in (([], 0), (["--strict"], 1)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        assert main(["check", "app:flags", "in.yaml", "-", *options]) == status
        captured = capsys.readouterr()
        said = [
            f"dflag: no values to check in in.yaml: {of_file}",
            f"dflag: no values to check in standard input: {of_pipe}",
        ]
        found = [
            f"in.yaml:1:1: no values to check: {of_file}",
            f"<stdin>:1:1: no values to check: {of_pipe}",
        ]
        assert captured.out.splitlines() == (found if status else [])
        assert [line for line in captured.err.splitlines() if line.startswith("dflag:")] == ([] if status else said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [\n", "in.yaml:2:1: expected JSON or YAML: "),
        ("a: 1\na: 2\n", "in.yaml:2:1: expected JSON or YAML: a key occurs twice in one mapping"),
        ("- a\n", "in.yaml:1:1: expected a mapping at the top level"),
        ("a: 1\n---\nb: 2\n", "in.yaml:3:1: expected manifests, or one document alone"),
        (b"a: \xff\n", "in.yaml:1:4: expected a document in UTF-8"),
        ("a: !!binary x\n", "in.yaml:1:4: expected YAML without tags"),
    ],
)
def test_unreadable_input(text: str | bytes, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An input that cannot be parsed ends with status 2 and its place on standard error."""
    Path("in.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert main(["check", "app:flags", "in.yaml"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"dflag: {said}" in captured.err


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("app", "expected REGISTRY as package.module:attribute, got 'app'"),
        ("nowhere:flags", "cannot import 'nowhere': ModuleNotFoundError: No module named 'nowhere'"),
        ("app:flag", "'app:flag': there is no 'flag'; did you mean 'flags'?"),
        ("app:rate", "expected a dflag.FlagRegistry or a dflag.Flags class at 'app:rate', got a DynamicFlag"),
        ("app:connect", "expected a dflag.FlagRegistry or a dflag.Flags class at 'app:connect', got a coroutine"),
        ("app:fail", "cannot call 'app:fail': RuntimeError: no database"),
        ("broken:flags", "cannot import 'broken': ZeroDivisionError: division by zero"),
        ("exits:flags", "cannot import 'exits': SystemExit: 3"),
        ("typo:flags", "cannot import 'typo': SyntaxError: invalid syntax ("),
        ("ends:flags", "cannot import 'ends': GeneratorExit"),
        ("mute:flags", "cannot import 'mute': Mute ("),
        ("app:late_import.flags", "cannot get 'flags' for 'app:late_import.flags': ModuleNotFoundError: "),
        ("app.py:flags", "expected REGISTRY as package.module:attribute, got 'app.py:flags'; write app:flags"),
        ("./src/app.py", "expected REGISTRY as package.module:attribute, got './src/app.py'; write src.app:ATTRIBUTE"),
        ("app:rate\x1b", "'app:rate\\x1b': there is no 'rate\\x1b'; did you mean 'rate'?"),
    ],
)
def test_registry_that_cannot_be_had(reference: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A registry that does not exist, or whose program fails, is reported in one line with status 2."""
    Path("broken.py").write_text("\n1 / 0\n", encoding="utf-8")
    Path("exits.py").write_text("raise SystemExit(3)\n", encoding="utf-8")
    Path("typo.py").write_text("\nx = = 1\n", encoding="utf-8")
    Path("ends.py").write_text("raise GeneratorExit\n", encoding="utf-8")
    Path("mute.py").write_text("class Mute(Exception):\n    __str__ = None\n\n\nraise Mute\n", encoding="utf-8")
    Path("in.yaml").touch()
    assert main(["check", reference, "in.yaml"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"dflag: {said}" in captured.err
    assert captured.err.count("\n") <= 2  # the output of the program may come first
    for module, line in (("broken", 2), ("typo", 2), ("mute", 5)):
        if reference == f"{module}:flags":
            assert captured.err.rstrip().endswith(f"{module}.py:{line})")


@pytest.mark.parametrize("reference", ["app:flags", "app:make", "app:holder.flags"])
def test_registry_is_found(reference: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A registry may be an attribute, a dotted one, or made by a callable; the program prints to standard error."""
    Path("in.yaml").write_text("rate_limit: 60\n", encoding="utf-8")
    assert main(["check", "in.yaml", reference]) == 2
    assert main(["check", reference, "in.yaml"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "said by the program" in captured.err


def test_options_stand_anywhere(check: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    """Options may be before the command and between its positional arguments."""
    Path("in.yaml").write_text("rate_limit: x\n", encoding="utf-8")
    Path("more.yaml").write_text("burst: x\n", encoding="utf-8")
    outputs = []
    for arguments in (
        "check app:flags in.yaml more.yaml --format json",
        "check --format json app:flags in.yaml more.yaml",
        "check app:flags --format json in.yaml --strict more.yaml",
        "--format=json check app:flags in.yaml more.yaml",
    ):
        assert main(arguments.split()) == 1
        outputs.append(capsys.readouterr().out)
    assert len(set(outputs)) == 1
    assert [finding["file"] for finding in json.loads(outputs[0])["findings"]] == ["in.yaml", "more.yaml"]


def test_what_follows_two_dashes_is_no_option(capsys: pytest.CaptureFixture[str]) -> None:
    """After two dashes a path, a name or a key may begin with a dash, or even look like an option."""
    Path("-d").mkdir()
    Path("-d/app.py").write_text("import dflag\nflags = dflag.FlagRegistry()\nflags.int('--format', 1)", "utf-8")
    for arguments in ("unused --format text -- -d", "references -- --format -d", "references --format=text -- -d"):
        main(arguments.split())
        assert capsys.readouterr().out.startswith("-d/app.py:3:1: "), arguments
    assert main(["write", "volume", "--", "-rate=5"]) == 0
    assert Path("volume/-rate").read_text("utf-8") == "5"
    assert main(["docs", "--", "app:flags", "--help"]) == 2
    assert "error: unrecognized arguments: --help" in capsys.readouterr().err


def test_value_of_an_option_that_is_a_command(
    check: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """An option before the command may have a value that is the name of a command."""
    Path("in.yaml").write_text(CONFIG_MAP + "  docs: 'rate_limit: x'\n", encoding="utf-8")
    assert main(["--key", "docs", "check", "app:flags", "in.yaml"]) == 1
    assert capsys.readouterr().out.startswith("in.yaml:6:22: flag 'rate_limit'")
    assert main(["--name", "write", "manifest", "app:flags"]) == 0
    assert "  name: write\n" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--version"], ["check", "--version"], ["check", "app:flags", "--version"]])
def test_version_stands_anywhere(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` prints the version at any position, even if the command lacks arguments."""
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"dflag {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("chek app:flags in.yaml", "expected a command, got 'chek'; did you mean 'check'?"),
        ("frobnicate", "expected a command, got 'frobnicate'"),
        ("check app:flags in.yaml --stric", "unrecognized arguments: --stric; did you mean --strict?"),
        ("write volume a=1 --password=hunter2", "unrecognized arguments: --password"),
        ("docs app:flags more", "unrecognized arguments: more"),
        ("check app:flags in.yaml --form json", "unrecognized arguments: --form; did you mean --format?"),
    ],
)
def test_misspelt_arguments(arguments: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt command or option is reported with the nearest one, and an option cannot be abbreviated."""
    Path("in.yaml").touch()
    assert main(arguments.split()) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.partition("error: ")[2] == said


@pytest.mark.parametrize("raised", [asyncio.CancelledError, GeneratorExit, SystemExit, RecursionError])
def test_whatever_is_raised_is_one_line(
    raised: type[BaseException], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An exception that would end a task or a process is reported in one line with status 2."""

    def fail(*_: object, **__: object) -> None:
        raise raised("said")

    Path("in.yaml").touch()
    monkeypatch.setattr("dflag.cli.check.check_objects", fail)
    assert main(["check", "app:flags", "in.yaml"]) == 2
    assert capsys.readouterr().err.endswith(f"dflag: {raised.__name__}: said (--traceback shows where)\n")


def test_interrupt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An interrupt ends a command without a word of its own, with the status 130 that shells expect."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    Path("in.yaml").touch()
    monkeypatch.setattr("dflag.cli.check.check_objects", interrupt)
    assert main(["check", "app:flags", "in.yaml"]) == 130
    assert capsys.readouterr() == ("", "said by the program\n")


def test_json_format(check: Callable[..., list[str]]) -> None:
    """The JSON format has each finding with its place, flag, level and message; warnings alone are ok."""
    found = json.loads("\n".join(check("rate_limit: x\n", "--format", "json")))
    assert found == {
        "ok": False,
        "findings": [
            {
                "file": "in.yaml",
                "line": 1,
                "column": 13,
                "flag": "rate_limit",
                "level": "error",
                "message": "flag 'rate_limit': expected an int, got 'x'",
            }
        ],
    }
    assert json.loads("\n".join(check("nam: x\n", "--format", "json", status=0)))["ok"] is True


def test_github_format(check: Callable[..., list[str]]) -> None:
    """The GitHub format escapes characters that workflow commands would interpret."""
    assert check("rate_limit: 5%\n", "--format", "github", name="a,b.yaml") == [
        "::error file=a%2Cb.yaml,line=1,col=13::flag 'rate_limit': expected an int, got '5%25'"
    ]


def test_fault_of_ours_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An unexpected error is reported in one line with status 2, and is raised with `--traceback`."""
    Path("in.yaml").touch()
    monkeypatch.setattr("dflag.cli.check.check_objects", lambda *_, **__: 1 / 0)
    assert main(["check", "app:flags", "in.yaml"]) == 2
    assert "dflag: ZeroDivisionError: division by zero" in capsys.readouterr().err
    with pytest.raises(ZeroDivisionError):
        main(["check", "app:flags", "in.yaml", "--traceback"])
