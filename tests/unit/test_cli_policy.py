"""
``dflag policy``: the objects that it prints, and the checks that it reports as left out.
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
    Evaluate a policy as the API server does, and return the messages of the validations that refuse.
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
    The policy covers the creation and update of ConfigMaps of one name, and refuses them if its evaluation fails.
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
    Both objects have only fields and types of the Kubernetes API, as the models of lightkube know it.
    """
    policy, binding, _ = _policy(capsys, "policed_app:flags", "--require", "rate_limit", *namespace)
    assert ValidatingAdmissionPolicy.from_dict(policy).to_dict() == policy
    assert ValidatingAdmissionPolicyBinding.from_dict(binding).to_dict() == binding


def test_binding_to_a_namespace(capsys: pytest.CaptureFixture[str]) -> None:
    """
    With ``--namespace`` the binding selects that namespace, and the names of both objects contain it.
    """
    policy, binding, _ = _policy(capsys, "policed_app:flags", "--namespace", "prod")
    assert policy["metadata"]["name"] == binding["metadata"]["name"] == "dflag-prod-policed-app"
    selector = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "prod"}}}
    assert binding["spec"]["matchResources"] == selector


def test_name_is_that_of_the_registry(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Without ``--name`` the policy is for the ConfigMap named after the registry, in the form of an object's name.
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
    The policy refuses bad values and unknown keys with what was expected; good values and unchecked ones pass.
    """
    policy, _, _ = _policy(capsys, "policed_app:flags")
    assert _refusals(policy, config_map) == messages


def test_required_keys(capsys: pytest.CaptureFixture[str]) -> None:
    """
    A ConfigMap without a key of ``--require`` is refused; ``--require`` with a name that no flag has is misuse.
    """
    policy, _, _ = _policy(capsys, "policed_app:flags", "--require", "rate_limit", "--require", "blob")
    assert _refusals(policy, {"data": {"rate_limit": "60"}}) == ["expected a value for flag 'blob'"]
    assert _refusals(policy, {"data": {"rate_limit": "60"}, "binaryData": {"blob": ""}}) == []
    assert main(["policy", "policed_app:flags", "--require", "rate_limt"]) == 2
    assert "did you mean 'rate_limit'?" in capsys.readouterr().err


def test_what_is_left_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Standard error lists each check that the policy leaves out, and that may still refuse a value later.
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
    If a map's key pattern has a character set, unknown keys pass and stderr says so; a policy without checks is misuse.
    """
    policy, _, err = _policy(capsys, "policed_app:sets")
    assert _refusals(policy, {"data": {"a.x": "1", "other": "1"}}) == []
    assert "unknown keys" in err
    assert main(["policy", "policed_app:bare"]) == 2
    assert "no flag has a limit" in capsys.readouterr().err


def test_secrets_stay_out(capsys: pytest.CaptureFixture[str]) -> None:
    """
    The output shows neither the default nor the choices of a secret flag.
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
    A name or namespace that Kubernetes would refuse is misuse in ``policy`` and ``manifest``, and prints no object.
    """
    assert main([*command, "policed_app:flags", *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "expected a name" in captured.err


def test_a_policy_has_a_name_that_it_can_have(capsys: pytest.CaptureFixture[str]) -> None:
    """
    A name and a namespace that are too long together are refused, although each is short enough by itself.
    """
    assert main(["policy", "policed_app:flags", "--name", "a" * 240, "--namespace", "a" * 63]) == 2
    assert "expected a name" in capsys.readouterr().err
