"""
How ``dflag check`` checks manifests: it reads them as kubectl does, and refuses what the API server refuses.

Each case was tried with kubectl 1.32 against an API server.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dflag.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAM = """
import dflag

flags = dflag.FlagRegistry()
flags.dyn_int("rate_limit", 50, min=1)
flags.dyn_string("name", "")
flags.dyn_json("policy", {})
flags.dyn_string("y", "")
flags.dyn_string("password", "", secret=True)
flags.dyn_map("tokens", {}, keys="*.token", of="string", secret=True)
"""

HEAD = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app}\n"
POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: pod}\n"
SECRET = HEAD.replace("ConfigMap", "Secret")


@pytest.fixture(autouse=True)
def _program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the program into an empty current directory, and forget it afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setitem(sys.modules, "manifest_app", None)
    monkeypatch.delitem(sys.modules, "manifest_app")
    Path("manifest_app.py").write_text(PROGRAM, encoding="utf-8")


@pytest.fixture(name="check")
def _check(capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Return a function that checks one text and returns the lines printed, without the name of the file."""

    def check(text: str, *options: str) -> list[str]:
        Path("in.yaml").write_text(text, encoding="utf-8")
        status = main(["check", "manifest_app:flags", "in.yaml", *options])
        lines = capsys.readouterr().out.splitlines()
        assert status == int(any(": warning: " not in line for line in lines))
        return [line.removeprefix("in.yaml:") for line in lines]

    return check


NUMBERS = ("600", "1.5", "0x1F", "1e3", "0o17", ".inf", "08", "1e1_0", "-_1", "0b-1", ".5_0", "0b1_", "9" * 30)
NO_NUMBERS = ("7e45678", "1e400", "0b", "0x", "0x_", "0o", "0o8", "0b12", "_1", "._5", ".5_", "1e_", "-.in_f", "1_e")


@pytest.mark.parametrize(
    ("value", "fix"),
    [
        *((text, f'write "{text}"') for text in ("yes", "no", "True", *NUMBERS)),
        ("{mode: allow}", 'write "name: |" to make a text of a mapping'),
        ("[a, b]", 'write "name: |" to make a text of a list'),
        ("\n    mode: allow", 'write "name: |" to make a text of a mapping'),
        ("\n  - a", 'write "name: |" to make a text of a list'),
        ('!!int "5"', "take away the tag before the value"),
        ("!!bool yes", "take away the tag before the value"),
        ("!!binary eA==", "take away the tag before the value"),
    ],
)
def test_value_that_is_no_text(check: Callable[..., list[str]], value: str, fix: str) -> None:
    """A value that kubectl does not read as a string is refused in one sentence that says what to write."""
    (line,) = check(f"{HEAD}data:\n  name: {value}\n")
    assert line.partition(": ")[2] == f"data.name: ConfigMap values are strings; {fix}"
    (line,) = check(f"{SECRET}stringData:\n  name: {value}\n")
    fix = "put the value in quotes" if fix.startswith('write "') and "name" not in fix else fix
    assert line.partition(": ")[2] == f"stringData.name: Secret values are strings; {fix}"


@pytest.mark.parametrize(
    "value", ["2026-11-28", "10:30", "~", "null", "", "!!str 5", "0b2", "n/a", "1.2.3", "=", "text", *NO_NUMBERS]
)
def test_value_that_is_a_text_without_quotes(check: Callable[..., list[str]], value: str) -> None:
    """A value that kubectl reads as a string or as null passes without quotes, even if it is a date in YAML 1.1."""
    assert check(f"{HEAD}data:\n  name: {value}\n", "--strict") == []


@pytest.mark.parametrize("key", ["password", "db.token"])
def test_value_of_a_secret_flag_is_not_shown(check: Callable[..., list[str]], key: str) -> None:
    """The findings do not show the value of a secret flag, even when it stands in a ConfigMap."""
    warning, refusal = check(f"{HEAD}data:\n  {key}: 4711\n")
    assert refusal == f"5:{len(key) + 5}: data.{key}: ConfigMap values are strings; put the value in quotes"
    assert warning.startswith("5:3: warning: ")
    assert "4711" not in warning


def test_value_of_no_flag_is_refused_too(check: Callable[..., list[str]]) -> None:
    """A number under a key that no flag has is refused too, as the API server refuses it under any key."""
    assert check(f"{HEAD}data:\n  nam: 5\n  .x: 5\n") == [
        "5:3: warning: no flag named 'nam'; did you mean 'name'?",
        '5:8: data.nam: ConfigMap values are strings; write "5"',
        '6:7: data..x: ConfigMap values are strings; write "5"',
    ]


BAD_KEY = "expected a key of 1 to 253 characters of [-._a-zA-Z0-9] that is not . and does not begin with .."

REFUSED = {
    'rate_limit: "zz"': ["4:1: a ConfigMap has no field 'rate_limit'; indent it below data, or take it away"],
    "data:\nrate_limit: 60\nname: x": [
        "5:1: a ConfigMap has no field 'rate_limit'; indent it below data, or take it away",
        "6:1: a ConfigMap has no field 'name'; indent it below metadata",
    ],
    "stringData: {name: x}": ["4:1: a ConfigMap has no field 'stringData'; write its keys below data"],
    "Data: {name: x}": ["4:1: a ConfigMap has no field 'Data'; write 'data'"],
    "dat: {name: x}": ["4:1: a ConfigMap has no field 'dat'; write 'data'"],
    "type: Opaque": ["4:1: a ConfigMap has no field 'type'; indent it below data, or take it away"],
    "labels: {a: b}": ["4:1: a ConfigMap has no field 'labels'; indent it below metadata"],
    "spec: {}": ["4:1: a ConfigMap has no field 'spec'; indent it below data, or take it away"],
    'immutable: "true"': ["4:12: immutable: expected a truth value; write true without quotes"],
    "immutable: 1": ["4:12: immutable: expected a truth value, found an integer"],
    "immutable: {}": ["4:12: immutable: expected a truth value, found a mapping"],
    "data: [a]": ["4:7: expected data as a mapping"],
    "binaryData: {name: x}": ["4:20: binaryData.name: the value is not valid base64; encode it, or move it to data"],
    "data: {a: x}\nbinaryData: {a: eA==}": ["5:14: the key 'a' is in both data and binaryData"],
    "data: {'a b': x}": [f"4:8: {BAD_KEY}, got 'a b'"],
    "data: {y: x}": ['4:8: data: keys are strings; write "y" for the key'],
    "data: {0x10: x}": ['4:8: data: keys are strings; write "0x10" for the key'],
    "data: {~: x}": [f"4:8: {BAD_KEY}, got '~'"],
}


@pytest.mark.parametrize("body", REFUSED)
def test_what_the_server_refuses_of_a_config_map(check: Callable[..., list[str]], body: str) -> None:
    """A field that a ConfigMap does not have, a value of a wrong type and a bad key are errors at their place."""
    assert [line for line in check(HEAD + body + "\n") if "warning" not in line] == REFUSED[body]


BAD_NAME = "expected a key of at most 63 characters of [-._A-Za-z0-9], perhaps behind a domain and a slash"
OWNER = "apiVersion: v1, kind: Pod, name: x"

METADATA = {
    "x": "3:11: metadata: expected a mapping, found a string",
    "{name: app, foo: x}": "3:23: metadata: there is no field 'foo'; take it away",
    "{name: app, label: {a: b}}": "3:23: metadata: there is no field 'label'; write 'labels'",
    "{name: 7}": '3:18: metadata.name: expected a string; write "7"',
    "{name: App}": "3:18: metadata.name: expected a name of 1 to 253 characters",
    "{generateName: App-}": "3:26: metadata.generateName: expected the beginning of a name of 1 to 253 characters",
    "{name: app, namespace: A.b}": "3:34: metadata.namespace: expected a name of 1 to 63 characters",
    "{name: app, labels: {version: 1.10}}": '3:41: metadata.labels.version: labels are strings; write "1.10"',
    "{name: app, labels: {on: x}}": '3:32: metadata.labels: keys are strings; write "on" for the key',
    "{name: app, labels: {a: x y}}": "3:35: metadata.labels: expected a value of at most 63 characters",
    "{name: app, labels: {a b: x}}": f"3:32: metadata.labels: {BAD_NAME}, got 'a b'",
    "{name: app, labels: {A.b/c: x}}": f"3:32: metadata.labels: {BAD_NAME}, got 'A.b/c'",
    "{name: app, labels: x}": "3:31: metadata.labels: expected a mapping, found a string",
    "{name: app, annotations: {a: true}}": '3:40: metadata.annotations.a: annotations are strings; write "true"',
    "{name: app, annotations: {a/b/c: x}}": f"3:37: metadata.annotations: {BAD_NAME}, got 'a/b/c'",
    "{name: app, generation: x}": "3:35: metadata.generation: expected an integer, found a string",
    "{name: app, generation: -1}": "3:35: metadata.generation: expected an integer of 64 bits, not below 0, got '-1'",
    "{name: app, generation: 1.5}": "3:35: metadata.generation: expected an integer of 64 bits, not below 0, got '1.5'",
    f"{{name: app, generation: {2**63}}}": "3:35: metadata.generation: expected an integer of 64 bits, not below 0",
    "{generateName: a.}": "3:26: metadata.generateName: expected the beginning of a name",
    "{name: app, creationTimestamp: 2026-13-28T10:00:00Z}": "3:42: metadata.creationTimestamp: expected a time such as",
    "{name: app, ownerReferences: [null]}": "3:41: metadata.ownerReferences[0]: expected a mapping, found nothing",
    "{name: app, managedFields: [{time: x}]}": "3:46: metadata.managedFields[0].time: expected a time such as",
    "{name: app, managedFields: [{fieldsV1: x}]}": (
        "3:50: metadata.managedFields[0].fieldsV1: expected a mapping, found a string"
    ),
    f"{{name: app, ownerReferences: [{{{OWNER}, uid: ''}}]}}": (
        "3:41: metadata.ownerReferences[0]: the field 'uid' is missing"
    ),
    "{name: app, finalizers: a/b}": "3:35: metadata.finalizers: expected a list, found a string",
    "{name: app, finalizers: [a]}": "3:36: metadata.finalizers: expected a name with a domain before it",
    "{name: app, creationTimestamp: 2026-11-28}": "3:42: metadata.creationTimestamp: expected a time such as",
    f"{{name: app, ownerReferences: [{{{OWNER}}}]}}": "3:41: metadata.ownerReferences[0]: the field 'uid' is missing",
    f"{{name: app, ownerReferences: [{{{OWNER}, uid: u, controller: 'yes'}}]}}": (
        "3:98: metadata.ownerReferences[0].controller: expected a truth value, found a string"
    ),
}


@pytest.mark.parametrize("metadata", METADATA)
def test_what_the_server_refuses_of_metadata(check: Callable[..., list[str]], metadata: str) -> None:
    """Metadata that the API server refuses are an error at the line and column of the bad part."""
    (line,) = check(HEAD.replace("{name: app}", metadata) + "data: {name: x}\n")
    assert line.startswith(METADATA[metadata])


@pytest.mark.parametrize(
    "text",
    [
        "immutable: yes",
        "immutable: null",
        "data: null",
        "data: {8080: x, true: x, 1.5: x, _: x, .x: x}",
        "data: {name: 'x'}\nbinaryData: {blob: eA==}",
    ],
)
def test_what_the_server_takes(check: Callable[..., list[str]], text: str) -> None:
    """A ConfigMap that the API server accepts is not an error, however unusual its values are."""
    assert [line for line in check(f"{HEAD}{text}\n") if "warning" not in line] == []


@pytest.mark.parametrize(
    "metadata",
    [
        "{name: app, creationTimestamp: null, labels: null}",
        "{name: '', generateName: app-}",
        "{generateName: app-}",
        "{name: app, creationTimestamp: 2026-11-28T10:00:00Z}",
        "{name: app, annotations: {A.B/c: x y, kubectl.kubernetes.io/last-applied-configuration: '{}'}}",
        "{name: app, labels: {app.kubernetes.io/name: x, a: '', b: v1.2_3-x}}",
        "{name: app, labels: {commit: 7e45678, 7e45678: x}}",
        "{name: app, finalizers: [kubernetes, a/b]}",
        "{name: app, managedFields: [{manager: x, fieldsV1: {'f:data': {}}}], uid: u, resourceVersion: '5'}",
        "{name: app, generation: 2, deletionGracePeriodSeconds: null}",
        "{name: app, generation: 5.0, deletionGracePeriodSeconds: 1e3}",
        "{name: app, ownerReferences: [{apiVersion: v1, kind: Pod, name: x, uid: u, controller: true}]}",
    ],
)
def test_metadata_that_the_server_takes(check: Callable[..., list[str]], metadata: str) -> None:
    """Metadata that the API server accepts pass, including those of an object that was read from a cluster."""
    assert check(HEAD.replace("{name: app}", metadata) + "data: {name: x}\n", "--strict") == []


def test_size_of_annotations(check: Callable[..., list[str]]) -> None:
    """Annotations are refused if their keys and values together exceed 256 KiB."""
    text = json.dumps(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"annotations": {"a": ""}}, "data": {"y": ""}}
    )
    assert check(text.replace('"a": ""', f'"a": "{"x" * (2**18 - 1)}"')) == []
    (line,) = check(text.replace('"a": ""', f'"a": "{"x" * 2**18}"'))
    assert line.endswith("metadata.annotations: expected at most 262144 bytes in all, got 262145")


@pytest.mark.parametrize(
    ("kind", "fix"),
    [
        ("Configmap", "ConfigMap"),
        ("configmap", "ConfigMap"),
        ("ConfigMaps", "ConfigMap"),
        ("config-map", "ConfigMap"),
        ("ConifgMap", "ConfigMap"),
        ("secret", "Secret"),
        ("Secrets", "Secret"),
        ("Secert", "Secret"),
    ],
)
def test_kind_that_is_misspelt(check: Callable[..., list[str]], kind: str, fix: str) -> None:
    """A misspelt ConfigMap or Secret is a finding with the right spelling, and its values are still checked."""
    field = "data" if fix == "ConfigMap" else "stringData"
    lines = check(HEAD.replace("ConfigMap", kind) + f"{field}: {{rate_limit: zz}}\n")
    assert lines[0] == f"2:7: the API server has no kind '{kind}'; write {fix}"
    assert lines[1].startswith(f"4:{len(field) + 16}: flag 'rate_limit': expected an int")


@pytest.mark.parametrize("kind", ["Service", "SecretStore", "ExternalSecret", "ConfigMapGenerator", "Pod", "Event"])
def test_other_kinds_are_passed_over(check: Callable[..., list[str]], kind: str) -> None:
    """Manifests of other kinds are skipped, even if their kind resembles ConfigMap or Secret a little."""
    assert check(HEAD.replace("ConfigMap", kind) + f"data: {{rate_limit: 5}}\n---\n{HEAD}data: {{name: x}}\n") == []


@pytest.mark.parametrize("version", ["v2", "1", "V1", "core/v1", "apps/v1", "v1beta1", "batch.k8s.io/v1", "''"])
@pytest.mark.parametrize("kind", ["ConfigMap", "Secret"])
def test_version_of_another_kind(check: Callable[..., list[str]], version: str, kind: str) -> None:
    """A ConfigMap or Secret whose apiVersion is not v1 is a finding, outside of custom API groups."""
    lines = check(HEAD.replace("apiVersion: v1", f"apiVersion: {version}").replace("ConfigMap", kind))
    assert f"1:13: a {kind} has the apiVersion v1; write apiVersion: v1" in lines


def test_kinds_of_other_groups(check: Callable[..., list[str]]) -> None:
    """A ConfigMap of a custom API group, which has a dot in its name, is skipped."""
    other = HEAD.replace("apiVersion: v1", "apiVersion: example.com/v1")
    assert check(f"{other}data: {{rate_limit: 5}}\n---\n{HEAD}data: {{name: x}}\n") == []


def test_version_or_kind_is_missing(check: Callable[..., list[str]]) -> None:
    """A manifest without apiVersion or kind is a finding, whether it is alone in the file or among others."""
    assert check("kind: ConfigMap\nmetadata: {name: app}\ndata: {rate_limit: zz}\n") == [
        "1:1: a ConfigMap has the apiVersion v1; write apiVersion: v1",
        "3:20: flag 'rate_limit': expected an int, got 'zz'",
    ]
    says = "a manifest has apiVersion and kind; add what is missing"
    assert check("apiVersion: v1\nmetadata: {name: app}\ndata: {rate_limit: zz}\n") == [f"1:1: {says}"]
    assert check(f"{HEAD}data: {{name: x}}\n---\nrate_limit: zz\n---\n- a\n") == [f"6:1: {says}", f"8:1: {says}"]


SECRETS = {
    'type: kubernetes.io/tls\nstringData: {tls.crt: ""}': "needs the key 'tls.key'; add it",
    "type: kubernetes.io/ssh-auth\nstringData: {ssh-privatekey: ''}": "needs the key 'ssh-privatekey'; add it",
    "type: kubernetes.io/basic-auth\nstringData: {name: x}": "needs the key 'username' or 'password'; add one",
    "type: kubernetes.io/dockercfg\nstringData: {name: x}": "needs the key '.dockercfg'; add it",
    "type: kubernetes.io/dockercfg\nstringData: {.dockercfg: '1'}": "needs a JSON object as the value of '.dockercfg'",
    "type: kubernetes.io/service-account-token\nstringData: {name: x}": "needs the annotation "
    "kubernetes.io/service-account.name; add it",
}


@pytest.mark.parametrize("body", SECRETS)
def test_types_of_secrets(check: Callable[..., list[str]], body: str) -> None:
    """A Secret of a built-in type is refused if it lacks a key, value or annotation that the type requires."""
    kind = body.partition("\n")[0].removeprefix("type: ")
    lines = [line for line in check(f"{SECRET}{body}\n") if "warning" not in line]
    assert lines == [f"4:7: a Secret of type {kind} {SECRETS[body]}"]


@pytest.mark.parametrize(
    "body",
    [
        "type: kubernetes.io/tls\nstringData: {tls.crt: '', tls.key: ''}",
        "type: kubernetes.io/basic-auth\nstringData: {password: x}",
        "type: kubernetes.io/dockerconfigjson\nstringData: {.dockerconfigjson: '{}'}",
        "type: Opaque\nstringData: {name: x}",
        "type: ''\nstringData: {name: x}",
        "type: example.com/own\ndata: {name: eA==}\nstringData: {name: x}",
    ],
)
def test_secrets_that_the_server_takes(check: Callable[..., list[str]], body: str) -> None:
    """A Secret that has the keys of its type passes, and so does one of another type, or with a key in both fields."""
    assert [line for line in check(f"{SECRET}{body}\n") if "warning" not in line] == []


def test_size_of_a_secret_is_that_of_what_is_stored(check: Callable[..., list[str]]) -> None:
    """A value of data that stringData replaces does not count towards the size of a Secret."""
    half = 2**19 + 1
    encoded = base64.b64encode(b"x" * half).decode()
    assert check(f"{SECRET}data: {{name: {encoded}}}\nstringData: {{name: {'y' * half}}}\n") == []
    (line,) = check(f"{SECRET}data: {{name: {encoded}}}\nstringData: {{policy: '{' ' * half}'}}\n")[:1]
    assert line == f"1:1: Secret app: expected values of at most 1048576 bytes in all, got {2 * half}"


def test_fields_of_a_secret(check: Callable[..., list[str]]) -> None:
    """In a Secret the field binaryData and a key at the top level are refused, and their values are not shown."""
    lines = check(f"{SECRET}binaryData: {{name: hunter2}}\npassword: hunter2\n")
    assert lines == [
        "4:1: a Secret has no field 'binaryData'; write its keys below data, in base64",
        "5:1: a Secret has no field 'password'; indent it below stringData, or take it away",
    ]


def test_json_texts_that_follow_one_another(check: Callable[..., list[str]]) -> None:
    """JSON objects one after another are separate manifests, with or without line ends between them."""
    good = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"name": "x"}})
    bad = good.replace('"name": "x"', '"rate_limit": "zz"')
    for between in ("", " ", "\n", "\n---\n"):
        text = f"{good}{between}{bad}"
        line, column = (text.count("\n") + 1, text.rindex('"zz"') - text.rfind("\n"))
        assert check(text) == [f"{line}:{column}: flag 'rate_limit': expected an int, got 'zz'"]


@pytest.mark.parametrize("text", ["{} x", "{}\n[]", "{}{"])
def test_json_followed_by_something_else(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A file in which anything but complete JSON objects follows a JSON object is unreadable, with status 2."""
    Path("in.yaml").write_text(text, encoding="utf-8")
    assert main(["check", "manifest_app:flags", "in.yaml"]) == 2
    assert "dflag: in.yaml:" in capsys.readouterr().err


MERGED = {
    "data:\n  <<: {rate_limit: zz}\n": "5:20",
    "data:\n  <<: [{rate_limit: zz}, {rate_limit: '1'}]\n": "5:21",
    "data:\n  rate_limit: '1'\n  <<: {rate_limit: zz}\n": "6:20",  # as kubectl, and unlike YAML 1.1
    "data:\n  <<: {<<: {rate_limit: zz}, name: x}\n": "5:25",
    "<<: {data: {rate_limit: zz}}\n": "4:25",
    "data: &base\n  rate_limit: zz\nbinaryData:\n  <<: *base\n  rate_limit: eA==\n": None,
}


@pytest.mark.parametrize("body", MERGED)
def test_merge_keys(check: Callable[..., list[str]], body: str) -> None:
    """A merged value counts as if it stood at the merge key, and a finding has the place where it is written."""
    lines = check(HEAD + body)
    if MERGED[body] is None:
        assert "8:3: the key 'rate_limit' is in both data and binaryData" in lines
    else:
        assert lines == [f"{MERGED[body]}: flag 'rate_limit': expected an int, got 'zz'"]


@pytest.mark.parametrize(
    "body",
    [
        "data:\n  <<: {rate_limit: zz}\n  rate_limit: '1'\n",
        "data:\n  <<: [{rate_limit: '1'}, {rate_limit: zz}]\n",
        "data:\n  <<: {rate_limit: zz}\n  <<: {rate_limit: '1'}\n",
    ],
)
def test_what_goes_over_a_merge_key(check: Callable[..., list[str]], body: str) -> None:
    """A merged value that a later key, an earlier mapping of a list or a later merge key replaces is not checked."""
    assert check(HEAD + body, "--strict") == []


@pytest.mark.parametrize("value", ["5", "null", "[[{a: b}]]", "[5]"])
def test_merge_key_without_a_mapping(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A file with a merge key whose value is not a mapping or a list of mappings is unreadable, as for kubectl."""
    Path("in.yaml").write_text(f"{HEAD}data:\n  <<: {value}\n", encoding="utf-8")
    assert main(["check", "manifest_app:flags", "in.yaml"]) == 2
    assert "expected a mapping, or a list of mappings, behind <<" in capsys.readouterr().err


def test_quoted_merge_key_is_a_key(check: Callable[..., list[str]]) -> None:
    """A quoted ``<<`` is an ordinary key, which is refused because no ConfigMap can have it."""
    (first, *_) = check(f"{HEAD}data:\n  '<<': x\n")
    assert first.startswith("5:3: expected a key of 1 to 253 characters")


BOMB = "a: &a [x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "a0: &a0 {}\n" + "".join(f"a{n + 1}: &a{n + 1} [*a{n}]\n" for n in range(100)),
        "a0: &a0 {apiVersion: v1, kind: List, items: []}\n"
        + "".join(f"a{n + 1}: &a{n + 1} {{apiVersion: v1, kind: List, items: [*a{n}, *a{n}]}}\n" for n in range(40)),
        "[" * 1000,
        "- " * 1000,
        "{a: " * 1000,
        "? " * 1000,
        '{"a":' * 1000,
        "&a [*a]",
        "a: *b",
        "\0\1\2",
        "%YAML 9.9\n---\na: 1\n",
        "a: !<tag:yaml.org,2002:python/object:os.system> x\n",
        "\t",
        "a: b: c",
        "'",
        "!!int",
        "--- |\n",
        "\ud800",
    ],
    ids=range(19),
)
def test_hostile_input_is_one_line(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Bombs, nesting and garbage end with findings or one line on standard error, never with a traceback."""
    for name in ("in.yaml", "in.json"):
        Path(name).write_bytes(text.encode(errors="surrogatepass"))
        assert main(["check", "manifest_app:flags", name, "--strict"]) in (1, 2)
        err = capsys.readouterr().err
        assert "Traceback" not in err
        assert "--traceback" not in err
        assert err.count("\n") <= 1


def test_key_that_stands_twice(check: Callable[..., list[str]]) -> None:
    """A key that occurs twice in a ConfigMap is a finding, and its last value counts; other kinds are not checked."""
    says = "a key occurs twice in one mapping, and only the last counts; take one away"
    assert check(f"{POD}spec: {{a: 1, a: 2}}\n---\n{HEAD}data:\n  rate_limit: '1'\n  rate_limit: zz\n") == [
        f"11:3: {says}",
        "11:15: flag 'rate_limit': expected an int, got 'zz'",
    ]
    assert check(f"{HEAD}metadata: {{name: b}}\n") == [f"4:1: {says}"]
    text = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}, "data": {"name": "x"}})
    column = text.index('"name"') + 14
    assert check(text.replace('"name"', '"name": "y", "name"')) == [f"1:{column}: {says}"]


def test_lists_of_one_kind(check: Callable[..., list[str]]) -> None:
    """The items of a ConfigMapList need no apiVersion and kind; those of a List do."""
    listed = {"apiVersion": "v1", "kind": "ConfigMapList", "items": [{"metadata": {}, "data": {"rate_limit": "zz"}}]}
    assert check(json.dumps(listed))[0].endswith("flag 'rate_limit': expected an int, got 'zz'")
    (line,) = check(json.dumps({**listed, "kind": "List"}))
    assert line.endswith("a manifest has apiVersion and kind; add what is missing")


def test_plan_lists_what_the_server_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    """A plan of a manifest that the API server refuses lists what the server refuses, with status 1."""
    Path("in.yaml").write_text(f"{HEAD}data: {{rate_limit: 60, password: 4711}}\nspec: {{}}\n", encoding="utf-8")
    assert main(["plan", "manifest_app:flags", "in.yaml", "--format", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["rejected"] == [
        {"flag": None, "message": "a ConfigMap has no field 'spec'; indent it below data, or take it away"},
        {"flag": "rate_limit", "message": 'data.rate_limit: ConfigMap values are strings; write "60"'},
        {"flag": "password", "message": "data.password: ConfigMap values are strings; put the value in quotes"},
    ]
