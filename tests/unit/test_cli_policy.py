"""
``dflag policy``: the objects it prints, and what it says that it cannot.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import celpy
import pytest
import yaml
from celpy.adapter import json_to_cel
from lightkube.models.admissionregistration_v1 import (
    ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
)

from dflag.cli import main

if TYPE_CHECKING:
    from pathlib import Path

APP = """
import datetime
import dflag

flags = dflag.FlagRegistry()
flags.retired("old_limit", since=datetime.date(2026, 10, 1))
flags.dyn_int("rate_limit", 50, min=1, max=100)
flags.dyn_string("log.level", "info", choices=["debug", "info"])
flags.dyn_json("policy", {})
flags.dyn_bytes("blob", b"")
flags.dyn_string("token", "hunter2", secret=True, choices=["hunter2"])
flags.dyn_map("endpoints", {}, keys="*.endpoint", of="string")
flags.dyn_int("even", 2, validator=lambda value: None)


@flags.validator
def together(snapshot):
    pass


named = dflag.FlagRegistry("My_App")
bare = dflag.FlagRegistry()
bare.dyn_map("map", {}, keys="[ab].x", of="string")
sets = dflag.FlagRegistry("sets")
sets.dyn_int("n", 1)
sets.dyn_map("map", {}, keys="[ab].x", of="string")
"""


@pytest.fixture(autouse=True)
def _app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "policed_app", raising=False)
    (tmp_path / "policed_app.py").write_text(APP)


def _policy(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    assert main(["policy", *args]) == 0
    captured = capsys.readouterr()
    policy, binding = yaml.safe_load_all(captured.out)
    return policy, binding, captured.err


def _refusals(policy: dict[str, Any], config_map: dict[str, Any]) -> list[str]:
    """
    Evaluate a policy as the API server does, and give the messages of what refuses.
    """
    environment = celpy.Environment()
    functions = {"trim": lambda text: type(text)(text.strip()), "substring": lambda text, at: type(text)(text[at:])}

    def evaluate(expression: str, activation: dict[str, Any]) -> Any:
        return environment.program(environment.compile(expression), functions=functions).evaluate(activation)

    activation = {"object": json_to_cel(config_map)}
    variables = {each["name"]: evaluate(each["expression"], activation) for each in policy["spec"]["variables"]}
    activation["variables"] = celpy.celtypes.MapType({json_to_cel(name): value for name, value in variables.items()})
    return [each["message"] for each in policy["spec"]["validations"] if not evaluate(each["expression"], activation)]


def test_structure_of_the_policy(capsys: pytest.CaptureFixture[str]) -> None:
    """
    The policy is about ConfigMaps of one name as they are made and changed, and refuses also when it cannot tell.
    """
    policy, binding, _ = _policy(capsys, "policed_app:flags", "--name", "app-flags")
    assert policy["apiVersion"] == binding["apiVersion"] == "admissionregistration.k8s.io/v1"
    assert policy["kind"] == "ValidatingAdmissionPolicy"
    assert policy["spec"]["failurePolicy"] == "Fail"
    assert policy["spec"]["matchConstraints"] == {
        "resourceRules": [
            {
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "operations": ["CREATE", "UPDATE"],
                "resources": ["configmaps"],
                "resourceNames": ["app-flags"],
                "scope": "Namespaced",
            }
        ]
    }
    assert policy["spec"].keys() == {"failurePolicy", "matchConstraints", "variables", "validations"}
    assert all(each.keys() == {"name", "expression"} for each in policy["spec"]["variables"])
    assert all(each.keys() == {"expression", "message"} for each in policy["spec"]["validations"])
    assert binding["kind"] == "ValidatingAdmissionPolicyBinding"
    assert binding["spec"] == {"policyName": policy["metadata"]["name"], "validationActions": ["Deny"]}


@pytest.mark.parametrize("namespace", [[], ["--namespace", "prod"]])
def test_structure_is_that_of_kubernetes(capsys: pytest.CaptureFixture[str], namespace: list[str]) -> None:
    """
    Both objects have the fields and types of the API that lightkube's models are made of, and nothing beside.
    """
    policy, binding, _ = _policy(capsys, "policed_app:flags", "--require", "rate_limit", *namespace)
    assert ValidatingAdmissionPolicy.from_dict(policy).to_dict() == policy
    assert ValidatingAdmissionPolicyBinding.from_dict(binding).to_dict() == binding


def test_binding_to_a_namespace(capsys: pytest.CaptureFixture[str]) -> None:
    """
    With a namespace the binding selects it, and the names differ from those for another.
    """
    policy, binding, _ = _policy(capsys, "policed_app:flags", "--namespace", "prod")
    assert policy["metadata"]["name"] == binding["metadata"]["name"] == "dflag-prod-policed-app"
    selector = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "prod"}}}
    assert binding["spec"]["matchResources"] == selector


def test_name_is_that_of_the_registry(capsys: pytest.CaptureFixture[str]) -> None:
    """
    A registry that has a name gives it, as far as an object can have it.
    """
    policy, _, _ = _policy(capsys, "policed_app:named")
    assert policy["spec"]["matchConstraints"]["resourceRules"][0]["resourceNames"] == ["my-app"]


@pytest.mark.parametrize(
    ("config_map", "messages"),
    [
        ({}, []),
        ({"data": {"rate_limit": "60\n", "log.level": " debug", "policy": "{", "a.endpoint": "x"}}, []),
        ({"data": {"_example": "x", ".hidden": "x", "token": "anything"}, "binaryData": {"blob": "/w=="}}, []),
        ({"data": {"old_limit": "5"}, "binaryData": {"old_limit": ""}}, []),
        ({"data": {"rate_limit": "101"}}, ["flag 'rate_limit': expected an int from 1 to 100"]),
        ({"data": {"rate_limit": ""}}, ["flag 'rate_limit': expected an int from 1 to 100"]),
        ({"data": {"log.level": "warn"}}, ["flag 'log.level': expected a string out of 'debug', 'info'"]),
        ({"data": {"rate_limt": "60"}}, ["expected the names of flags as keys of data"]),
        ({"binaryData": {"endpoint": ""}}, ["expected the names of flags as keys of binaryData"]),
        (
            {"data": {"even": "x", "rate_limit": "x"}},
            ["flag 'even': expected an int", "flag 'rate_limit': expected an int from 1 to 100"],
        ),
    ],
)
def test_what_is_refused(capsys: pytest.CaptureFixture[str], config_map: dict[str, Any], messages: list[str]) -> None:
    """
    Bad values and unknown keys are refused with what was expected; good ones and what is no flag's matter are not.
    """
    policy, _, _ = _policy(capsys, "policed_app:flags")
    assert _refusals(policy, config_map) == messages


def test_required_keys(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Flags have defaults; a key that must be there all the same is named, and must be a flag's.
    """
    policy, _, _ = _policy(capsys, "policed_app:flags", "--require", "rate_limit", "--require", "blob")
    assert _refusals(policy, {"data": {"rate_limit": "60"}}) == ["expected a value for flag 'blob'"]
    assert _refusals(policy, {"data": {"rate_limit": "60"}, "binaryData": {"blob": ""}}) == []
    assert main(["policy", "policed_app:flags", "--require", "rate_limt"]) == 2
    assert "did you mean 'rate_limit'?" in capsys.readouterr().err


def test_what_is_left_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """
    On standard error stands all that a value may be refused for which the policy lets through.
    """
    _, _, err = _policy(capsys, "policed_app:flags")
    assert [line.removeprefix("dflag: not in the policy: ") for line in err.splitlines()] == [
        "values in binaryData, and numbers of more than 1000 characters",
        "documents of flags, in keys that end with .json, .yaml, .yml",
        "rules, in the key _rules.yaml",
        "the checks across flags",
        "flag 'blob': values of type bytes",
        "flag 'endpoints': values of type map",
        "flag 'even': its validator <lambda>",
        "flag 'policy': values of type json",
        "flag 'token': a secret, whose values stand in a Secret",
    ]


def test_unknown_keys_are_let_through_where_they_cannot_be_told(capsys: pytest.CaptureFixture[str]) -> None:
    """
    A map with a set of characters in its pattern leaves the check of keys out, and says so.
    """
    policy, _, err = _policy(capsys, "policed_app:sets")
    assert _refusals(policy, {"data": {"a.x": "1", "other": "1"}}) == []
    assert "unknown keys" in err
    assert main(["policy", "policed_app:bare"]) == 2
    assert "no flag has a limit" in capsys.readouterr().err


def test_secrets_stay_out(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Neither the default of a secret nor what it may be shows.
    """
    main(["policy", "policed_app:flags"])
    captured = capsys.readouterr()
    assert "hunter2" not in captured.out + captured.err


@pytest.mark.parametrize(
    "options",
    [
        *([f"--name={name}"] for name in ("", "App", "a_b", "a b", "-a", "a..b", "\u00e9", "a" * 254)),
        *([f"--namespace={name}"] for name in ("", "Prod", "a.b", "a/b", "a-", "a" * 64)),
    ],
)
@pytest.mark.parametrize("command", [["policy"], ["manifest", "--name", "app"]], ids=["policy", "manifest"])
def test_a_name_that_no_object_has_is_misuse(
    capsys: pytest.CaptureFixture[str], command: list[str], options: list[str]
) -> None:
    """
    What Kubernetes would refuse later is refused here.
    """
    assert main([*command, "policed_app:flags", *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "expected a name" in captured.err


def test_a_policy_has_a_name_that_it_can_have(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Two names that would be too long together are refused, though each may be as long by itself.
    """
    assert main(["policy", "policed_app:flags", "--name", "a" * 240, "--namespace", "a" * 63]) == 2
    assert "expected a name" in capsys.readouterr().err
