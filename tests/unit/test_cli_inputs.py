"""
What the commands read: directories of manifests, and documents in keys; and the paths that findings show.
"""

from __future__ import annotations

import base64
import io
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dflag.cli import main
from dflag.sources._entries import MAX_BYTES
from dflag.testing import ConfigMapVolume

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAM = """
import dflag

flags = dflag.FlagRegistry()
rate = flags.dyn_int("rate_limit", 50, min=1)
burst = flags.dyn_int("burst", 5)
flags.dyn_string("name", "")
flags.dyn_json("policy", {"mode": "allow"}, schema={"properties": {"mode": {"enum": ["allow", "deny"]}}})
flags.dyn_json("own.yaml", {})
flags.dyn_map("rules", {}, keys="*.rule.yaml", of="string")
flags.dyn_json("odd", {"a": "\\u2028"})
flags.dyn_bytes("blob", b"text")
flags.dyn_bytes("raw", b"\\xff")
flags.dyn_string_list("hosts", ["a,b", "\\u2028"])
flags.dyn_string("password", "", secret=True, choices=["", "right"])
flags.dyn_string("multi", "a\\n  b\\n", strip=False)


@flags.validator
def burst_below_rate(snapshot):
    if snapshot[burst] > snapshot[rate]:
        raise ValueError("burst is above the rate")
"""

HEAD = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app}\n"
POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: pod}\n"


@pytest.fixture(autouse=True)
def _program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the program into an empty current directory, and forget its module after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setitem(sys.modules, "input_app", None)
    monkeypatch.delitem(sys.modules, "input_app")
    Path("input_app.py").write_text(PROGRAM, encoding="utf-8")


@pytest.fixture(name="run")
def _run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[list[str], list[str]]]:
    """Return a function that runs a command with a registry, and returns the lines of both output streams."""

    def run(*arguments: str, status: int = 0) -> tuple[list[str], list[str]]:
        command, *rest = arguments
        assert main([command, "input_app:flags", *rest]) == status
        captured = capsys.readouterr()
        return captured.out.splitlines(), captured.err.splitlines()

    return run


def _write(path: str, text: str | bytes) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(text if isinstance(text, bytes) else text.encode())


DOCUMENTS = {
    '  app.yaml: "rate_limit: lots"\n': "5:26",
    "  app.yaml: |\n    rate_limit: lots\n": "6:17",
    "  app.yaml: |\n    # comment\n    name: x\n    rate_limit: 'lots'\n": "8:17",
    "  app.yaml: |2\n      rate_limit: lots\n": "6:19",
    "  app.yaml: >\n    rate_limit:\n      lots\n": "7:7",
    "  app.yml: |\n    rate_limit: lots\n": "6:17",
    '  app.json: |\n    {"name": "x",\n     "rate_limit": "lots"}\n': "7:20",
    '  app.json: \'{"rate_limit": "lots"}\'\n': "5:29",
    '  app.json: "{\\"rate_limit\\": \\"lots\\"}"\n': "5:31",
    '  app.yaml: "name: x\\nrate_limit: lots"\n': "5:35",
}


@pytest.mark.parametrize("data", DOCUMENTS)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_document_in_a_key(run: Callable[..., tuple[list[str], list[str]]], data: str, line_end: str) -> None:
    """A key that ends in .yaml, .yml or .json is a document, in which a bad value is reported at its place."""
    _write("in.yaml", f"{HEAD}data:\n{data}".replace("\n", line_end))
    out, _ = run("check", "in.yaml", status=1)
    assert out == [f"in.yaml:{DOCUMENTS[data]}: flag 'rate_limit': expected an int, got 'lots'"]


def test_document_that_no_source_reads(run: Callable[..., tuple[list[str], list[str]]]) -> None:
    """A document may be as large as a value of a source and not larger; a manifest may be larger."""
    text = '{"name": "x"}'
    _write("in.json", text.ljust(MAX_BYTES))
    assert run("check", "in.json") == ([], [])
    _write("in.json", text.ljust(MAX_BYTES + 1))
    assert run("check", "in.json", status=2) == (
        [],
        ["dflag: in.json: expected a document of at most 16777216 bytes"],
    )
    _write("in.yaml", f"{HEAD}data: {{name: x}}\n".ljust(MAX_BYTES + 1))
    assert run("check", "in.yaml") == ([], [])


def test_place_inside_of_a_document(run: Callable[..., tuple[list[str], list[str]]]) -> None:
    """A bad value of a json flag in a document is reported at its token, as a native value and in a nested block."""
    native = "    policy:\n      mode: refuse\n"
    block = '    policy: |\n      {"a": 1,\n       "mode": "refuse"}\n'
    for body, place in ((native, "7:13"), (block, "8:16")):
        _write("in.yaml", f"{HEAD}data:\n  app.yaml: |\n{body}")
        (line,), _ = run("check", "in.yaml", status=1)
        assert line.startswith(f"in.yaml:{place}: flag 'policy': expected one of")


def test_unknown_names_in_a_document(run: Callable[..., tuple[list[str], list[str]]]) -> None:
    """An unknown name in a document is a warning at its place, and an error with `--strict`."""
    _write("in.yaml", f"{HEAD}data:\n  app.yaml: |\n    nam: x\n    _example: x\n")
    says = "no flag named 'nam'; did you mean 'name'?"
    assert run("check", "in.yaml") == ([f"in.yaml:6:5: warning: {says}"], [])
    assert run("check", "in.yaml", "--strict", status=1) == ([f"in.yaml:6:5: {says}"], [])


def test_key_that_is_named_holds_a_document(run: Callable[..., tuple[list[str], list[str]]]) -> None:
    """`--key` makes any key a document, even a flag's; without `--key` the ending of the key decides."""
    _write("in.yaml", f"{HEAD}data:\n  settings: |\n    rate_limit: lots\n  name: 'burst: many'\n")
    (line,), _ = run("check", "in.yaml")
    assert line.startswith("in.yaml:5:3: warning: no flag named 'settings'")
    out, _ = run("check", "in.yaml", "--key", "settings", "--key=name", status=1)
    assert out == [
        "in.yaml:6:17: flag 'rate_limit': expected an int, got 'lots'",
        "in.yaml:7:17: flag 'burst': expected an int, got 'many'",
    ]


def test_key_that_is_named_is_missing(run: Callable[..., tuple[list[str], list[str]]]) -> None:
    """A `--key` that no input has is reported on standard error, and is an error with `--strict`."""
    _write("in.yaml", f"{HEAD}data:\n  name: x\n")
    assert run("check", "in.yaml", "--key", "nam") == ([], ["dflag: no key 'nam' to check as a document"])
    out, _ = run("check", "in.yaml", "--key", "nam", "--strict", status=1)
    assert out == ["in.yaml:1:1: no key 'nam' to check as a document"]


@pytest.mark.parametrize("key", ["own.yaml", "x.rule.yaml"])
def test_key_of_a_flag_is_no_document(run: Callable[..., tuple[list[str], list[str]]], key: str) -> None:
    """A key of a flag or of a map is not a document, even if it ends in .yaml."""
    _write("in.yaml", f"{HEAD}data:\n  {key}: '{{}}'\n")
    assert run("check", "in.yaml", "--strict") == ([], [])


def test_rule_over_a_document(run: Callable[..., tuple[list[str], list[str]]]) -> None:
    """A document is a source above the keys next to it, and registry validators see the values of both."""
    _write("in.yaml", f"{HEAD}data:\n  rate_limit: '10'\n  app.yaml: |\n    burst: 20\n")
    (line,), _ = run("check", "in.yaml", status=1)
    assert line.endswith("burst_below_rate: burst is above the rate")
    _write("in.yaml", f"{HEAD}data:\n  rate_limit: '10'\n  app.yaml: |\n    burst: 20\n    rate_limit: 30\n")
    assert run("check", "in.yaml") == ([], [])


BROKEN = {
    "  app.yaml: |\n    a: [\n": "app.yaml: expected JSON or YAML",
    "  app.yaml: |\n    - a\n": "app.yaml: expected a mapping at the top level",
    "  app.yaml: text\n": "app.yaml: expected a mapping at the top level",
    "  app.yaml: |\n    a: 1\n    a: 2\n": "app.yaml: expected YAML without duplicate keys",
    "  app.yaml: |\n    a: 1\n    ---\n    b: 2\n": "app.yaml: expected one YAML document",
    "  app.yaml: |\n    <<: {a: 1}\n": "app.yaml: expected YAML without merge keys",
    "  app.json: |\n    {'a': 1}\n": "app.json: expected JSON",
    '  app.json: |\n    {"a": 1} {"b": 1}\n': "app.json: expected JSON",
    "  app.yaml: 5\n": 'data.app.yaml: ConfigMap values are strings; write "5"',
}


@pytest.mark.parametrize("data", BROKEN)
def test_document_that_cannot_be_read(run: Callable[..., tuple[list[str], list[str]]], data: str) -> None:
    """A document that cannot be read is one finding at the place where reading fails."""
    _write("in.yaml", f"{HEAD}data:\n{data}  name: x\n")
    (line,), _ = run("check", "in.yaml", status=1)
    place, _, message = line.partition(": ")
    assert message.startswith(BROKEN[data])
    file, row, column = place.split(":")
    assert (file, int(row) in range(5, 9), int(column) > 0) == ("in.yaml", True, True)


def test_document_that_is_encoded(run: Callable[..., tuple[list[str], list[str]]]) -> None:
    """Findings in a base64 document are reported at the start of its value, and a Secret's value is not shown."""
    document = "\ufeffpassword: hunter2\nrate_limit: hunter2\n".encode()
    encoded = base64.b64encode(document).decode()
    _write("in.yaml", f"{HEAD}binaryData:\n  app.yaml: {encoded}\n")
    out, _ = run("check", "in.yaml", status=1)
    assert [line.partition(" ")[0] for line in out] == ["in.yaml:5:13:"] * 3  # one is the warning about the secret
    _write("in.yaml", f"{HEAD}binaryData:\n  app.yaml: |\n    {encoded[:8]}\n    {encoded[8:]}\n")
    out, _ = run("check", "in.yaml", status=1)
    assert [line.partition(" ")[0] for line in out] == ["in.yaml:6:5:"] * 3
    _write("in.yaml", f"{HEAD.replace('ConfigMap', 'Secret')}data:\n  app.yaml: {encoded}\n")
    out, _ = run("check", "in.yaml", status=1)
    assert len(out) == 2
    assert "hunter2" not in "".join(out)


def test_document_in_a_volume(run: Callable[..., tuple[list[str], list[str]]]) -> None:
    """In a volume a bad value of a document is reported at its place in the key's file."""
    ConfigMapVolume("volume").write({"app.yaml": "\ufeffname: x\nrate_limit: lots\n", "burst": "1"})
    out, _ = run("check", "volume", status=1)
    assert out == ["volume/app.yaml:2:13: flag 'rate_limit': expected an int, got 'lots'"]


def test_document_in_a_document_is_none(run: Callable[..., tuple[list[str], list[str]]]) -> None:
    """A key of a document is never a document itself: it is an unknown name."""
    _write("in.yaml", "app.yaml: |\n  rate_limit: lots\n")
    (line,), _ = run("check", "in.yaml")
    assert line.startswith("in.yaml:1:1: warning: no flag named 'app.yaml'")


def test_plan_of_a_document(run: Callable[..., tuple[list[str], list[str]]]) -> None:
    """`plan` reads documents in keys, in the new input and in the one that it is compared with."""
    for name, rate in (("old", 60), ("new", 70)):
        _write(f"{name}.yaml", f"{HEAD}data:\n  settings: |\n    rate_limit: {rate}\n    burst: x\n")
    out, _ = run("plan", "new.yaml", "--against", "old.yaml", "--key", "settings", status=1)
    assert out == ["rate_limit: 60 -> 70", "rejected: flag 'burst': expected an int, got 'x'"]


FEW, MANY = "data: {rate_limit: '60'}", "data: {rate_limit: many}"
IN_KEY = "data:\n  app.yaml: '{rate_limit: 60}'\n  in.yaml: '{burst: 6}'"
NAMED = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: "


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (f"{NAMED}a}}\n{FEW[:-1]}, in.yaml: 'burst: 5'}}", f"{NAMED}a}}\n{MANY}"),  # one source less
        (f"{NAMED}a}}\n{FEW}\n---\n{NAMED}b}}", f"{NAMED}b}}\n---\n{NAMED}a}}\n{MANY}"),  # in another order
        (f"{NAMED}a}}\n{FEW}", f"{NAMED}b}}\n---\n{NAMED}a}}\n{MANY}"),  # one more in front
        (f"{NAMED}a}}\n{FEW}", f"{NAMED}b}}\n{MANY}"),  # under another name
        (f"{NAMED}a}}\n{IN_KEY}", f"{NAMED}a}}\n{IN_KEY.replace('60', 'many').replace('app', 'new')}"),
        (f"{NAMED}a}}\n{IN_KEY}", "{rate_limit: many, burst: 6}"),  # a document alone
    ],
)
def test_plan_keeps_what_the_same_object_gave(
    run: Callable[..., tuple[list[str], list[str]]], old: str, new: str
) -> None:
    """In a plan a rejected value keeps the previous one, even if objects or documents were added or renamed."""
    _write("old.yaml", old)
    _write("new.yaml", new)
    out, _ = run("plan", "new.yaml", "--against", "old.yaml", status=1)
    assert not any(line.startswith("rate_limit") for line in out)
    assert "rejected: flag 'rate_limit': expected an int, got 'many'" in out


@pytest.mark.parametrize("broken", ["old", "new"])
def test_plan_of_a_broken_document(run: Callable[..., tuple[list[str], list[str]]], broken: str) -> None:
    """A plan with a broken document on either side fails, since a process would keep the last good values."""
    for name in ("old", "new"):
        _write(f"{name}.yaml", f"{HEAD}data:\n  settings: |\n    rate_limit: {'[60' if name == broken else 60}\n")
    out, (error,) = run("plan", "new.yaml", "--against", "old.yaml", "--key", "settings", status=2)
    assert out == []
    assert error.startswith(f"dflag: {broken}.yaml:7:1: settings: expected JSON or YAML: ")


def test_write_holds_documents_to_the_flags(capsys: pytest.CaptureFixture[str]) -> None:
    """`write` with `--registry` checks the documents that it publishes, and those that are already in the volume."""
    _write("in.yaml", f"{HEAD}data:\n  settings: |\n    rate_limit: lots\n")
    arguments = ["write", "volume", "--from", "in.yaml", "--registry", "input_app:flags"]
    assert main([*arguments, "--key", "settings"]) == 1
    assert capsys.readouterr().out == "in.yaml:6:17: flag 'rate_limit': expected an int, got 'lots'\n"
    assert not Path("volume").exists()
    assert main(["write", "volume", "app.yaml=rate_limit: lots"]) == 0
    assert main(["write", "volume", "burst=1", "--registry", "input_app:flags"]) == 1
    assert "volume/app.yaml:1:13: flag 'rate_limit'" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["ConfigMap", "Secret"])
@pytest.mark.parametrize("key", ["app.yaml", "app.json", "settings"])
def test_manifest_of_a_document(run: Callable[..., tuple[list[str], list[str]]], key: str, kind: str) -> None:
    """`manifest` with `--key` writes all flags as one document, from which each flag reads its default."""
    out, _ = run("manifest", "--name", "app", "--kind", kind, "--key", key)
    _write("out.yaml", "\n".join(out) + "\n")
    assert run("check", "out.yaml", "--strict", "--key", key) == ([], [])
    assert run("plan", "out.yaml", "--key", key) == (["no changes"], [])
    text = "\n".join(out)
    assert ("password" in text) is (kind == "Secret")
    assert ("multi" in text) is (kind == "ConfigMap")
    if kind == "ConfigMap":
        assert ("Its default cannot be written" in text) is (key != "app.json")  # of raw, in a comment
        assert ("    # dynamic bytes\n    blob: " in text) is (key != "app.json")  # without the default


@pytest.mark.parametrize("key", ["a b", "../x", ".x", ""])
def test_manifest_of_a_document_under_a_bad_key(run: Callable[..., tuple[list[str], list[str]]], key: str) -> None:
    """`manifest` refuses a `--key` that a ConfigMap cannot hold."""
    _, (line,) = run("manifest", "--name", "app", "--key", key, status=2)
    assert line.startswith("dflag: expected a key of [-._a-zA-Z0-9]")


def test_directory_of_manifests(run: Callable[..., tuple[list[str], list[str]]]) -> None:
    """Manifests in and below a directory are checked file by file; YAML that is not a manifest is skipped and named."""
    _write("deploy/cm.yaml", f"{HEAD}data: {{rate_limit: zz}}\n")
    _write("deploy/base/more.yml", f"{POD}---\n{HEAD}data: {{burst: '49'}}\n")
    _write("deploy/base/last.json", json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "data": {"burst": "zz"}}))
    _write("deploy/values.yaml", "image: x\n")
    _write("deploy/pod.yaml", POD)
    _write("deploy/README.md", "# Words\n")
    _write("deploy/.git/cm.yaml", f"{HEAD}data: {{rate_limit: zz}}\n")
    out, err = run("check", "deploy", status=1)
    assert [line.partition(" ")[0] for line in out] == ["deploy/cm.yaml:4:20:", "deploy/base/last.json:1:61:"]
    assert err == ["dflag: passed over deploy/values.yaml, which is no manifest"]


def test_files_that_are_passed_over_are_named(
    run: Callable[..., tuple[list[str], list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    """`check`, `plan` and `write` name the files of a directory of manifests that they skip."""
    _write("deploy/cm.yaml", f"{HEAD}data: {{rate_limit: '60'}}\n")
    _write("deploy/values.yaml", "image: x\n")
    says = "dflag: passed over deploy/values.yaml, which is no manifest"
    assert run("check", "deploy")[1] == [says]
    assert run("plan", "deploy")[1] == [says]
    assert main(["write", "config", "--from", "deploy"]) == 0
    assert capsys.readouterr().err == f"{says}\n"


def test_files_of_a_directory_are_judged_apart(run: Callable[..., tuple[list[str], list[str]]]) -> None:
    """`check` checks each file of a directory alone, so a value in one file does not repair another file."""
    _write("deploy/a.yaml", f"{HEAD}data: {{burst: '60'}}\n")
    _write("deploy/b.yaml", f"{HEAD}data: {{rate_limit: '70'}}\n")
    (line,), _ = run("check", "deploy", status=1)
    assert line.startswith("deploy/a.yaml:4:8: ")


def test_manifests_below_a_directory(run: Callable[..., tuple[list[str], list[str]]]) -> None:
    """A directory with manifests only in its sub-directories is read, even if it contains other files."""
    _write("deploy/README.md", "# Words\n")
    _write("deploy/prod/cm.yaml", f"{HEAD}data: {{rate_limit: zz}}\n")
    (line,), _ = run("check", "deploy", status=1)
    assert line.startswith("deploy/prod/cm.yaml:4:20: flag 'rate_limit'")


def test_directory_of_manifests_that_cannot_be_read(run: Callable[..., tuple[list[str], list[str]]]) -> None:
    """A file in a directory that is not YAML, such as a template, ends with status 2 and is not skipped."""
    _write("deploy/cm.yaml", f"{HEAD}data: {{name: x}}\n")
    _write("deploy/template.yaml", "a: {{ .Values.x }}\nb: [\n")
    out, (line,) = run("check", "deploy", status=2)
    assert out == []
    assert line.startswith("dflag: deploy/template.yaml:")


def test_directory_of_manifests_without_values(run: Callable[..., tuple[list[str], list[str]]]) -> None:
    """A directory is reported as without values only if none of its files has any."""
    _write("deploy/a.yaml", POD)
    _write("deploy/b.yaml", POD)
    says = "no ConfigMap or Secret in its 2 files holds keys"
    assert run("check", "deploy") == ([], [f"dflag: no values to check in deploy: {says}"])
    out, _ = run("check", "deploy", "--strict", status=1)
    assert out == [f"deploy:1:1: no values to check: {says}"]
    _write("deploy/a.yaml", f"{HEAD}data: {{name: x}}\n")
    assert run("check", "deploy", "--strict") == ([], [])


def test_directory_without_anything(run: Callable[..., tuple[list[str], list[str]]]) -> None:
    """An empty directory and one without files are reported with the reason."""
    Path("empty").mkdir()
    assert run("check", "empty") == ([], ["dflag: no values to check in empty: the directory is empty"])
    Path("empty/sub").mkdir()
    says = "no file in it has a name that a flag can have"
    assert run("check", "empty") == ([], [f"dflag: no values to check in empty: {says}"])


@pytest.mark.parametrize("beside", ["rate_limit", "x.rule.yaml", "own.yaml"])
def test_directory_of_flags_stays_one(run: Callable[..., tuple[list[str], list[str]]], beside: str) -> None:
    """A directory with a flag's file is read as one file for each flag; its sub-directories are ignored."""
    _write(f"plain/{beside}", "100")
    _write("plain/sub/cm.yaml", f"{HEAD}data: {{burst: zz}}\n")
    assert run("check", "plain", "--strict") == ([], [])


def test_volume_stays_one(run: Callable[..., tuple[list[str], list[str]]]) -> None:
    """A volume stays a volume even if a key holds a manifest, which is read as a document with unknown names."""
    ConfigMapVolume("volume").write({"cm.yaml": f"{HEAD}data: {{burst: zz}}\n"})
    out, _ = run("check", "volume")
    assert [line.partition(": ")[0] for line in out] == [f"volume/cm.yaml:{row}:1" for row in (1, 2, 3, 4)]


def test_write_and_plan_take_a_directory_of_manifests(
    run: Callable[..., tuple[list[str], list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    """`plan` and `write` apply all manifests of a directory together, with later files on top."""
    _write("deploy/a.yaml", f"{HEAD}data: {{rate_limit: '60', name: a}}\n")
    _write("deploy/b.yaml", f"{HEAD}data: {{rate_limit: '70'}}\n")
    assert run("plan", "deploy")[0] == ["name:  -> a", "rate_limit: 50 -> 70"]
    assert main(["write", "volume", "--from", "deploy"]) == 0
    assert ConfigMapVolume("volume").read() == {"name": b"a", "rate_limit": b"70"}
    _write("deploy/b.yaml", f"{HEAD}data: {{rate_limit: 70}}\n")
    assert main(["write", "volume", "--from", "deploy"]) == 1
    assert 'deploy/b.yaml:4:20: data.rate_limit: ConfigMap values are strings; write "70"' in capsys.readouterr().out


def test_paths_are_those_of_the_repository(
    run: Callable[..., tuple[list[str], list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The GitHub and SARIF formats show paths from the root of the repository; the text format shows them as given."""
    Path(".git").mkdir()
    _write("app/deploy/in.yaml", "rate_limit: zz\n")
    _write("worktree/.git", "gitdir: elsewhere\n")
    _write("worktree/in.yaml", "rate_limit: zz\n")
    root = Path.cwd()
    monkeypatch.chdir("app")
    (root / "app" / "link.yaml").symlink_to("deploy/in.yaml")
    given = {
        "deploy/in.yaml": "app/deploy/in.yaml",
        "./deploy/../deploy/in.yaml": "app/deploy/in.yaml",
        str(root / "app/deploy/in.yaml"): "app/deploy/in.yaml",
        "link.yaml": "app/link.yaml",
        "../worktree/in.yaml": "in.yaml",
    }
    for path, shown in given.items():
        (line,), _ = run("check", path, "--format", "github", status=1)
        assert line.startswith(f"::error file={shown},line=1,col=13::")
        out, _ = run("check", path, "--format", "sarif", status=1)
        (result,) = json.loads("\n".join(out))["runs"][0]["results"]
        location = result["locations"][0]["physicalLocation"]["artifactLocation"]
        assert location == {"uri": shown, "uriBaseId": "%SRCROOT%"}
        (line,), _ = run("check", path, status=1)
        assert line.startswith(f"{path}:1:13: ")


def test_paths_outside_of_a_repository_stay(
    run: Callable[..., tuple[list[str], list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The GitHub format shows a path outside of a repository as it was given, and standard input as <stdin>."""
    _write("in.yaml", "rate_limit: zz\n")
    for path, shown in (("in.yaml", "in.yaml"), (str(Path("in.yaml").absolute()), str(Path("in.yaml").absolute()))):
        (line,), _ = run("check", path, "--format", "github", status=1)
        assert line.startswith(f"::error file={shown},")
    Path(".git").mkdir()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"rate_limit: zz\n")))
    (line,), _ = run("check", "-", "--format", "github", status=1)
    assert line.startswith("::error file=<stdin>,")


HOSTILE = "a::b,c%d\x1b[31m\re\nf\u202eg\ud83d.yaml".encode(errors="surrogatepass").replace(b"\xed\xa0\xbd", b"\xff")
"""A file name with characters that a log, a terminal or a workflow acts on, and bytes that are not UTF-8."""


def test_hostile_names_are_escaped(run: Callable[..., tuple[list[str], list[str]]]) -> None:
    """Special characters in a file's name are escaped in each format, so that a finding is one printable line."""
    name = os.fsdecode(HOSTILE)
    _write(name, 'rate_limit: "::error::%0A\\e[31m"\n')
    shown = "\\x1b[31m{}e{}f\\u202eg\\udcff.yaml"
    (line,), _ = run("check", name, status=1)
    assert line.startswith("a::b,c%d" + shown.format("\\r", "\\n") + ":1:13: flag 'rate_limit': ")
    assert line.isprintable()
    (line,), _ = run("check", name, "--format", "github", status=1)
    assert line.startswith("::error file=a%3A%3Ab%2Cc%25d" + shown.format("%0D", "%0A") + ",line=1,col=13::flag ")
    assert "%250A" in line
    assert line.isprintable()
    out, _ = run("check", name, "--format", "sarif", status=1)
    (result,) = json.loads("\n".join(out))["runs"][0]["results"]
    uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri == "a%3A%3Ab%2Cc%25d%1B%5B31m%0De%0Af%E2%80%AEg%FF.yaml"
    out, _ = run("check", name, "--format", "json", status=1)
    assert "".join(out).isprintable()
    assert json.loads("\n".join(out))["findings"][0]["file"] == name


def test_hostile_names_in_errors(run: Callable[..., tuple[list[str], list[str]]]) -> None:
    """An error that quotes special characters of a file's name or of an option is printable."""
    name = os.fsdecode(HOSTILE)
    _, (line,) = run("check", name, status=2)
    assert line.startswith("dflag: a::b,c%d\\x1b[31m\\re\\nf")
    assert line.isprintable()
    _, lines = run("check", "in.yaml", f"--{name}", status=2)
    assert all(map(str.isprintable, lines))


def test_input_without_end(run: Callable[..., tuple[list[str], list[str]]]) -> None:
    """A device that never ends is refused at the size limit."""
    _, lines = run("check", "/dev/zero", status=2)
    assert lines == ["dflag: /dev/zero: expected at most 67108864 bytes"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "input_app:flags", "-", "in.yaml", "-"),
        ("plan", "input_app:flags", "-", "--against", "-"),
        ("unused", ".", "--input", "-", "--input", "-"),
    ],
)
def test_standard_input_is_read_once(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    """Standard input given twice is refused, since the second input would be empty and pass."""
    assert main(arguments) == 2
    assert "expected - for standard input once" in capsys.readouterr().err


def test_standard_input_that_cannot_be_read(
    run: Callable[..., tuple[list[str], list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Standard input that is closed, or cannot be read, is reported in one line with status 2."""
    monkeypatch.setattr(sys, "stdin", None)
    assert run("check", "-", status=2) == ([], ["dflag: standard input is closed"])
    with Path("directory").open("w") as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        _, (line,) = run("check", "-", status=2)
    assert line.startswith("dflag: ")


def test_a_directory_that_cannot_be_listed_is_named_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    A directory that cannot be listed is reported with the system's reason, without its error number.
    """

    def refuse(path: object) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "below").mkdir()
    monkeypatch.setattr(os, "scandir", refuse)
    assert main(["unused", "--input", str(tmp_path), __file__]) == 2
    assert capsys.readouterr().err == f"dflag: {tmp_path}: permission denied\n"
