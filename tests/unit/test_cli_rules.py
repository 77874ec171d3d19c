"""
How the commands treat rules: ``check``, ``write``, ``schema``, ``manifest``, ``policy`` and ``plan``.
"""

from __future__ import annotations

import io
import json
import re
import sys
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml

import dflag
from dflag.cli import main
from dflag.sources import MemorySource
from dflag.web import start_http_server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PROGRAM = """
import datetime

import dflag

flags = dflag.FlagRegistry("app")
rate = flags.dyn_int("rate_limit", 50, "Requests per second", min=1, max=10_000, by="tenant")
burst = flags.dyn_int("burst", 5, "At once")
policy = flags.dyn_json(
    "policy", {"mode": "allow"}, schema={"required": ["mode"], "properties": {"mode": {"enum": ["allow", "deny"]}}}
)
ports = flags.dyn_map("ports", {}, "Ports", keys="*.port", of="int")
port = flags.int("port", 8080, "Port")
old = flags.dyn_int("old", 1, deprecated="use rate_limit")
flags.retired("older", since=datetime.date(2026, 10, 1))


def refuse(value):
    if value:
        raise ValueError("refused: " + value)


password = flags.dyn_string("password", "", secret=True, validator=refuse)


@flags.validator
def burst_below_rate(snapshot):
    if snapshot[burst] > snapshot[rate]:
        raise ValueError("burst is above rate_limit")
"""

FROM = "2026-11-28T10:00:00Z"
FIRST, LAST = "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"
CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: app\ndata:\n  rate_limit: '60'\n  _rules.yaml: |\n"


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, list[str]]]:
    """
    Return a function that runs ``dflag check`` on the text of a file, and returns the status and the lines printed.
    """
    run = _command(tmp_path, monkeypatch)

    def check(text: str, *options: str, name: str = "app.yaml") -> tuple[int, list[str]]:
        (tmp_path / name).write_text(text)
        status, out = run("check", "program:flags", name, *options)
        return status, out.splitlines()

    return check


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """
    Return a function that runs ``dflag`` in a directory with a program.
    """
    return _command(tmp_path, monkeypatch)


def _command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    (tmp_path / "program.py").write_text(PROGRAM)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str]:
        out = io.StringIO()
        with monkeypatch.context() as context:
            context.setattr(sys, "stdout", out)
            status = main(list(arguments))
        sys.modules.pop("program", None)
        return status, out.getvalue()

    return run


def config_map(rules: str) -> str:
    return CONFIG_MAP + "".join(f"    {line}\n" for line in rules.splitlines())


class TestCheck:
    """
    The findings of ``dflag check`` in rules.
    """

    def test_accepts_good_rules(self, check: Callable[..., tuple[int, list[str]]]) -> None:
        """Good rules give no finding, in a ConfigMap and in a document, and are not read as a document of flags."""
        rules = (
            "- when: {zone: [eu-1, eu-2]}\n  set: {rate_limit: 80, a.port: 1, policy: {mode: deny}}\n"
            "- {by: tenant, is: [acme], set: {rate_limit: 500}}\n"
            "- {when: {zone: eu-1}, set: {port: 1}}\n"
        )
        assert check(config_map(rules)) == (0, [])
        assert check("rate_limit: 60\n_rules:\n" + rules) == (0, [])
        assert check(config_map("# nothing yet"), "--strict") == (0, [])

    @pytest.mark.parametrize(
        ("rule", "token", "message"),
        [
            ("- set: {rate_limit: lots}", "lots", "flag 'rate_limit': expected an int, got 'lots'"),
            ("- set: {rate_limit: 0}", "0", "flag 'rate_limit': expected an int"),
            ("- {by: tenant, is: a, set: {rate_limit: lots}}", "lots", "flag 'rate_limit': expected an int"),
            ("- set: {policy: {mode: refuse}}", "refuse", "flag 'policy': expected one of"),
            ('- set:\n    policy: |\n      {\n        "mode": "no"\n      }', '"no"', "flag 'policy': expected one of"),
            ("- set: {a.port: x}", "x", "flag 'ports': at 'a.port': expected an int, got 'x'"),
            ("- set: {rate_limt: 1}", "rate_limt", "rule 1: no flag named 'rate_limt'; did you mean"),
            ("- {by: tenant, set: {burst: 1}}", "burst", "flag 'burst' is declared without by=, and"),
            ("- {by: user, set: {rate_limit: 1}}", "rate_limit", "flag 'rate_limit' is declared with by='tenant'"),
            ("- {from: 2026-11-28T10:00:00Z, set: {port: 1}}", "port", "flag 'port' is static: no rule can"),
            ("- {form: x, set: {burst: 1}}", "form", "rule 1: expected a key of rules"),
            ("- {name: a, share: 10%, set: {burst: 1}}", "share", "rule 'a': expected `by` beside `share`"),
            ("- {set: {burst: 1, burst: 2}}", "burst: 2", "rule 1: expected each key once, got 'burst'"),
            ("- {set: {burst: !!int 2}}", "!!int", "rule 1: expected a value without a tag"),
            ("just: this", "just", "_rules.yaml: expected a list"),
        ],
    )
    def test_shows_the_token(
        self, check: Callable[..., tuple[int, list[str]]], rule: str, token: str, message: str
    ) -> None:
        """A fault in a rule is an error at the faulty token, in a ConfigMap and in a document."""
        document = "burst: 1\n_rules:\n" + "".join(f"  {line}\n" for line in rule.splitlines())
        for text in (config_map(rule), document):
            status, (finding,) = check(text)
            line, column = map(int, re.match(r"app\.yaml:(\d+):(\d+): ", finding).groups())  # type: ignore[union-attr]
            assert status == 1
            assert text.splitlines()[line - 1][column - 1 :].startswith(token)
            assert finding.split(": ", 1)[1].startswith(
                message.replace("_rules.yaml", "_rules" if text is document else "_rules.yaml")
            )

    def test_warns_of_names_that_are_retired(self, check: Callable[..., tuple[int, list[str]]]) -> None:
        """A rule that sets a retired flag gives a warning to remove the name, and its other values are checked."""
        status, (finding,) = check(config_map("- set: {older: 1, burst: 2}"))
        assert status == 0
        assert "rule 1: flag 'older' has been retired since 2026-10-01: remove it" in finding
        status, (refused, warning) = check(config_map("- set: {older: 1, burst: 70}"))
        assert status == 1
        assert "burst is above rate_limit" in refused
        assert warning == finding

    def test_reads_files_of_a_directory(self, run: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
        """In a directory the rules are read from the file `_rules.yaml`, and a finding has the place in that file."""
        (tmp_path / "volume").mkdir()
        (tmp_path / "volume/_rules.yaml").write_text("\ufeff- set:\n    burst: x\n")
        (tmp_path / "volume/burst").write_text("3")
        status, out = run("check", "program:flags", "volume", "--format", "json")
        (finding,) = json.loads(out)["findings"]
        assert status == 1
        assert (finding["file"], finding["line"], finding["column"]) == ("volume/_rules.yaml", 2, 12)
        assert (finding["flag"], finding["level"]) == ("burst", "error")

    def test_finds_all_of_it(self, check: Callable[..., tuple[int, list[str]]]) -> None:
        """All faults in the rules are reported, in the order of the file."""
        _, found = check(config_map("- set: {burst: x, old: y}\n- form: 1\n- set: {rate_limit: z}"))
        places = [tuple(map(int, finding.split(":")[1:3])) for finding in found]
        assert places == [(8, 20), (8, 23), (8, 28), (9, 7), (9, 7), (10, 25)]

    def test_warns_of_what_is_deprecated(self, check: Callable[..., tuple[int, list[str]]]) -> None:
        """A rule that sets a deprecated flag is a warning, as a plain key is."""
        assert check(config_map("- set: {old: 2}")) == (
            0,
            ["app.yaml:8:13: warning: flag 'old' is deprecated: use rate_limit"],
        )

    def test_warns_of_secrets_in_a_config_map(self, check: Callable[..., tuple[int, list[str]]]) -> None:
        """A rule that sets a secret flag is a warning in a ConfigMap, and no finding in a Secret."""
        text = config_map("- set: {password: ''}")
        assert check(text) == (
            0,
            ["app.yaml:8:13: warning: flag 'password' is secret, and a ConfigMap is not: put the rule into a Secret"],
        )
        assert check(text.replace("ConfigMap", "Secret").replace("\ndata:", "\nstringData:")) == (0, [])
        _, (found,) = check(config_map("").replace("_rules.yaml: |", "app.yaml: '_rules: [{set: {password: \"\"}}]'"))
        assert found.endswith("put the rule into a Secret")

    def test_shows_no_secret(self, check: Callable[..., tuple[int, list[str]]]) -> None:
        """The findings show neither the value of a secret flag nor anything that a Secret holds."""
        text = config_map("- set: {password: hunter2}\n- {hunter2: 1}\n- {name: [hunter2], set: {burst: hunter2}}")
        _, found = check(config_map("- set: {password: hunter2}"))
        assert not any("hunter2" in line for line in found)
        _, found = check(text.replace("ConfigMap", "Secret").replace("\ndata:", "\nstringData:"))
        assert len(found) >= 4
        assert not any("hunter2" in line for line in found)

    @pytest.mark.parametrize(
        "values",
        [
            "{nosuch: hunter0, burst: hunter1}",
            "{burst: hunter0, port: hunter1}",
            "{old: 1, a.port: hunter1}",
            "{older: hunter0, policy: {mode: hunter1}}",
        ],
    )
    def test_shows_no_secret_of_a_refused_rule(
        self,
        run: Callable[..., tuple[int, str]],
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        values: str,
    ) -> None:
        """No command shows a value of a Secret's rule that is refused for one of its names or values."""
        text = config_map(f"- set: {values}").replace("ConfigMap", "Secret").replace("\ndata:", "\nstringData:")
        (tmp_path / "app.yaml").write_text(text)
        for command in (
            ("check", "program:flags", "app.yaml"),
            ("check", "program:flags", "app.yaml", "--format", "json"),
            ("plan", "program:flags", "app.yaml"),
            ("write", "volume", "--from", "app.yaml", "--registry", "program:flags"),
        ):
            status, out = run(*command)
            assert status == 1
            assert "hunter" not in out + capsys.readouterr().err

    def test_warns_of_shares_that_nobody_may_have(self, check: Callable[..., tuple[int, list[str]]]) -> None:
        """With `--replicas`, a step that will probably reach none of so many processes is a warning at the step."""
        text = config_map(
            "- name: a\n  from: 2026-11-28T10:00:00Z\n  steps: [5%, 50%, 100%]\n  every: 1h\n  set: {burst: 1}"
        )
        assert check(text) == (0, [])
        assert check(text, "--replicas", "40") == (0, [])
        assert check(text, "--replicas", "3") == (
            0,
            ["app.yaml:10:15: warning: rule 'a': 5% of 3 processes is nobody in 86 of 100 cases"],
        )
        assert check(text, "--replicas", "1" + 400 * "0") == (0, [])

    def test_tries_each_rule_against_the_validators(self, check: Callable[..., tuple[int, list[str]]]) -> None:
        """A rule that a registry validator refuses together with the plain values is an error at the rule."""
        status, found = check(config_map("- set: {burst: 50}\n- name: much\n  set: {burst: 70}"))
        assert status == 1
        assert len(found) == 1
        assert found[0].startswith("app.yaml:9:7: ")
        assert "burst is above rate_limit" in found[0]

    def test_tries_rules_beneath_the_objects_above(self, check: Callable[..., tuple[int, list[str]]]) -> None:
        """A rule is validated with the plain values of later objects and of documents in a key, which win over it."""
        rules, second = config_map("- set: {burst: 70}"), CONFIG_MAP.replace("  _rules.yaml: |\n", "")
        assert check(f"{rules}---\n{second}  burst: '5'\n", "--strict") == (0, [])
        assert check(f"{rules}  app.yaml: '{{burst: 5}}'\n", "--strict") == (0, [])
        rules = config_map("- {when: {zone: eu-1}, set: {burst: 70, rate_limit: 80}}")
        status, (found,) = check(f"{rules}---\n{second}")
        assert status == 1
        assert found.startswith("app.yaml:8:7: ")
        assert "burst is above rate_limit" in found

    def test_tries_the_rules_without_conditions_together(self, check: Callable[..., tuple[int, list[str]]]) -> None:
        """Rules without conditions that a registry validator refuses together are an error, in one object or in two."""
        low, high = "{name: low, set: {rate_limit: 8}}", "{name: high, set: {burst: 9}}"
        found = (
            "7: rule 'high': it does not go together with others: refused by the registry validator "
            "burst_below_rate: burst is above rate_limit"
        )
        assert check(config_map(f"- {low}\n- {high}")) == (1, [f"app.yaml:9:{found}"])
        other = config_map(f"- {high}").replace("name: app", "name: other").replace("  rate_limit: '60'\n", "")
        assert check(f"{config_map(f'- {low}')}---\n{other}") == (1, [f"app.yaml:16:{found}"])

    @pytest.mark.parametrize("condition", ["when: {zone: a}", "unless: {zone: a}", f"from: {FROM}", f"until: {FROM}"])
    def test_tries_no_rules_together_that_may_never_meet(
        self, check: Callable[..., tuple[int, list[str]]], condition: str
    ) -> None:
        """A rule with a condition or for a key is not validated together with other rules."""
        assert check(config_map(f"- set: {{rate_limit: 8}}\n- {{{condition}, set: {{burst: 9}}}}")) == (0, [])
        assert check(config_map("- {by: tenant, set: {rate_limit: 8}}\n- set: {burst: 9}")) == (0, [])

    def test_counts_what_rules_without_conditions_mend(self, check: Callable[..., tuple[int, list[str]]]) -> None:
        """Plain values that a registry validator accepts only with a rule without conditions pass, as at a start."""
        assert check("burst: 60\n_rules: [{set: {rate_limit: 80}}]\n") == (0, [])

    def test_wants_one_key(self, check: Callable[..., tuple[int, list[str]]]) -> None:
        """Rules under two keys of one object are an error at the key that programs ignore, wherever it is."""
        keys = ["_rules: []\n", "_rules.yaml: []\n"]
        for line, text in (1, "".join(keys)), (2, "".join(reversed(keys))):
            assert check(text) == (
                1,
                [f"app.yaml:{line}:1: _rules: expected rules under one key, found some also under '_rules.yaml'"],
            )

    def test_finds_one_list_beside_another(self, check: Callable[..., tuple[int, list[str]]]) -> None:
        """Two objects may have rules of the same name, as the rules of each object are separate."""
        text = config_map("- {name: a, by: tenant, share: 1%, set: {rate_limit: 9}}")
        assert check(text + "---\n" + text.replace("name: app", "name: other")) == (0, [])


def test_write_publishes_no_bad_rule(run: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    """With `--registry`, `write` publishes good rules, and does not publish rules that the registry refuses."""
    bad, good = "_rules.yaml=- set: {burst: x}", "_rules.yaml=- set: {burst: 3}"
    assert run("write", "volume", bad, "--registry", "program:flags")[0] == 1
    assert not (tmp_path / "volume").exists()
    assert run("write", "volume", good, "--registry", "program:flags")[0] == 0
    assert (tmp_path / "volume/_rules.yaml").read_text() == "- set: {burst: 3}"


class TestSchema:
    """
    The JSON Schema of rules.
    """

    def rules(self, run: Callable[..., tuple[int, str]]) -> Any:
        return json.loads(run("schema", "program:flags", "--rules")[1])

    @pytest.mark.parametrize(
        "rule",
        [
            {"set": {"rate_limit": 80, "policy": {"mode": "deny"}, "a.port": 3}},
            {"name": "a", "from": FROM, "over": "30m", "bake": "1m", "of": "node", "set": {"burst": 1}},
            {"name": "a", "from": FROM, "steps": ["5%", "100%"], "every": "1h", "set": {"burst": "1"}},
            {"by": "tenant", "is": ["a", 3], "set": {"rate_limit": "500"}},
            {"name": "a", "by": "tenant", "share": "2.5%", "set": {"rate_limit": 1}},
            {"when": {"zone": "eu-*", "version": [1.4]}, "unless": {"node": "x"}, "set": {"port": 1}},
        ],
    )
    def test_accepts_rules(self, run: Callable[..., tuple[int, str]], rule: object) -> None:
        """A good rule is valid against the schema of rules, and in a document against the schema of documents."""
        jsonschema.Draft202012Validator.check_schema(self.rules(run))
        jsonschema.validate([rule], self.rules(run))
        jsonschema.validate({"_rules": [rule]}, json.loads(run("schema", "program:flags")[1]))

    @pytest.mark.parametrize(
        "rule",
        [
            {},
            {"set": {}},
            {"set": {"nobody": 1}},
            {"set": {"burst": "many"}},
            {"set": {"burst": None}},
            {"form": 1, "set": {"burst": 1}},
            {"name": "a", "over": "30m", "set": {"burst": 1}},
            {"from": "2026-11-28T10:00:00", "set": {"burst": 1}},
            {"from": "2026-11-28T24:00:00Z", "set": {"burst": 1}},
            {"from": "2026-11-28T10:00:00+05:75", "set": {"burst": 1}},
            {"name": "a", "by": "tenant", "share": "101%", "set": {"rate_limit": 1}},
            {"name": "a", "by": "tenant", "share": 10, "set": {"rate_limit": 1}},
            {"name": "a", "by": "tenant", "is": "x", "share": "1%", "set": {"rate_limit": 1}},
            {"is": "x", "set": {"burst": 1}},
        ],
    )
    def test_refuses_what_is_no_rule(self, run: Callable[..., tuple[int, str]], rule: object) -> None:
        """A bad rule is invalid against the schema of rules, and in a document against the schema of documents."""
        assert not jsonschema.Draft202012Validator(self.rules(run)).is_valid([rule])
        document = json.loads(run("schema", "program:flags")[1])
        assert not jsonschema.Draft202012Validator(document).is_valid({"_rules": [rule]})

    def test_of_a_manifest_takes_a_text(self, run: Callable[..., tuple[int, str]]) -> None:
        """The schema of a manifest accepts the rules of a ConfigMap as a string."""
        schema = json.loads(run("schema", "program:flags", "--manifest")[1])
        jsonschema.validate({**yaml.safe_load(config_map("- set: {}"))}, schema)


class TestManifest:
    """
    The example rules of ``dflag manifest --rules``.
    """

    @pytest.mark.parametrize("options", [[], ["--key", "app.yaml"]])
    def test_has_rules_in_comments(
        self, run: Callable[..., tuple[int, str]], tmp_path: Path, options: list[str]
    ) -> None:
        """`--rules` adds only comments, which are rules that the program accepts once the comment marks are removed."""
        _, plain = run("manifest", "program:flags", "--name", "app", *options)
        _, text = run("manifest", "program:flags", "--name", "app", "--rules", *options)
        assert text.startswith(plain.rstrip("\n"))
        assert yaml.safe_load(text)["data"].keys() == yaml.safe_load(plain)["data"].keys()
        start = text.index("# _rules")
        (tmp_path / "full.yaml").write_text(
            text[:start] + text[start:].replace("# ", "", 1).replace("\n  # ", "\n  ").replace("\n    # ", "\n    ")
        )
        status, out = run("check", "program:flags", "full.yaml")
        assert (status, out.count("\n")) == (0, 1)
        assert "flag 'old' is deprecated" in out
        assert "_rules" in (tmp_path / "full.yaml").read_text()
        assert "tenant" in out or "tenant" in text
        assert text.count("- name: ") == text.count("set: {"), "a bad edit of a rule without a name leaves it out"

    def test_has_none_in_json(self, run: Callable[..., tuple[int, str]], capsys: pytest.CaptureFixture[str]) -> None:
        """`--rules` with a key of JSON is misuse, as JSON has no comments."""
        assert run("manifest", "program:flags", "--name", "app", "--rules", "--key", "app.json")[0] == 2
        assert "expected a key of YAML for --rules" in capsys.readouterr().err


def test_the_policy_lets_rules_be(run: Callable[..., tuple[int, str]], capsys: pytest.CaptureFixture[str]) -> None:
    """The policy knows the keys of rules, and reports the rules in them as not checked."""
    _, text = run("policy", "program:flags")
    assert "'_rules.yaml'" in text
    assert "not in the policy: rules, in the key _rules.yaml" in capsys.readouterr().err


PLANNED = """
rate_limit: 60
_rules:
  - {when: {zone: eu-*}, set: {rate_limit: 80}}
  - {name: limits-november, from: 2026-11-28T10:00:00Z, over: 30m, set: {burst: 12}}
  - {by: tenant, is: acme, set: {rate_limit: 500}}
  - {name: weekend, from: 2026-11-28T12:00:00Z, until: 2026-11-30T00:00:00Z, set: {burst: 20}}
"""


GIVEN = {"rule": "r", "keys": ["acme"], "key_count": 1, "share_percent": None, "text": "7"}
"""What a page lists about a rule that gives a tenant 7."""

KEYS = ("acme", "initech", "umbrella", "zürich")
"""The first two are named by a rule; the third is drawn by a share of 10% with the name `new-path-tenants`."""


class TestPlan:
    """
    What a process would read, and when, as ``dflag plan`` prints it.
    """

    @pytest.fixture
    def plan(self, run: Callable[..., tuple[int, str]], tmp_path: Path) -> Callable[..., tuple[int, str]]:
        (tmp_path / "app.yaml").write_text(PLANNED)
        return lambda *options: run("plan", "program:flags", "app.yaml", *options)

    def test_is_for_a_process(self, plan: Callable[..., tuple[int, str]]) -> None:
        """`--fact`, `--at` and `--key` decide which rules apply; a rule on a fact that is not given does not apply."""
        early, late = ("--at", "2026-11-28T09:00:00Z"), ("--at", "2026-11-28T10:20:00Z")
        assert plan(*early) == (0, "rate_limit: 50 -> 60\n")
        assert plan(*early, "--fact", "zone=eu-1") == (0, "rate_limit: 50 -> 80 (rule 1)\n")
        # This pod's share is 0.564 of half an hour: it switches at 10:16:54.
        pod = ("--fact", "pod=web-7d9f-abcde")
        assert plan(*late, *pod) == (0, "burst: 5 -> 12 (rule 'limits-november')\nrate_limit: 50 -> 60\n")
        assert plan("--at", "2026-11-28T10:16:54Z", *pod) == (0, "rate_limit: 50 -> 60\n")
        assert plan(*early, "--fact", "zone=eu-1", "--key", "tenant=acme") == (
            0,
            "rate_limit: 50 -> 500 (rule 3)\n",
        )
        assert plan(*early, "--fact", "zone=eu-1", "--key", "tenant=other")[1] == "rate_limit: 50 -> 80 (rule 1)\n"

    def test_shows_the_whole_map_of_a_key(self, run: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
        """With `--key`, a map is shown whole: its plain entries together with those that rules for the key add."""
        (tmp_path / "maps.py").write_text(
            "import dflag\nflags = dflag.FlagRegistry('app')\n"
            "limits = flags.dyn_map('limits', {}, keys='*.limit', of='int', by='tenant')\n"
        )
        rules = (
            "  - {by: tenant, is: acme, set: {b.limit: 2}}\n  - {name: c, by: tenant, is: acme, set: {c.limit: 3}}\n"
        )
        (tmp_path / "one.yaml").write_text(f"a.limit: 1\n_rules:\n{rules}")
        status, out = run("plan", "maps:flags", "one.yaml", "--key", "tenant=acme")
        assert (status, out) == (
            0,
            'limits: {} -> {"a.limit":"1","b.limit":"2","c.limit":"3"} (rule \'c\')\n',
        )

    @pytest.mark.parametrize(
        ("live", "rule", "expected"),
        [
            ("rate_limit: 90\n", "{set: {burst: 80}}", (0, "burst: 5 -> 80 (rule 1)\n")),
            ("rate_limit: 90\nburst: 80\n", "{when: {zone: eu-1}, set: {rate_limit: 60}}", (1, "rejected: rule 1: ")),
        ],
    )
    def test_tries_a_new_rule_on_plain_values_that_stay(
        self, run: Callable[..., tuple[int, str]], tmp_path: Path, live: str, rule: str, expected: tuple[int, str]
    ) -> None:
        """A plan validates a new rule together with the plain values that stay, as a running process does."""
        (tmp_path / "live.yaml").write_text(live)
        (tmp_path / "next.yaml").write_text(f"{live}_rules:\n  - {rule}\n")
        status, out = run("plan", "program:flags", "next.yaml", "--against", "live.yaml")
        assert (status, out[: len(expected[1])]) == expected
        assert out.count("\n") == 1

    @pytest.mark.parametrize(
        ("options", "last_line"),
        [
            (["--timeline"], f"{LAST}: burst: 6 -> 7 (rule 'last')"),
            (["--at", LAST], "burst: 5 -> 7 (rule 'last')"),
            (["--at", FIRST], "burst: 5 -> 6 (rule 'first')"),
        ],
    )
    def test_knows_the_first_and_the_last_moment(
        self, run: Callable[..., tuple[int, str]], tmp_path: Path, options: list[str], last_line: str
    ) -> None:
        """A plan works at the first and at the last moment that a date can have, even if a bake would end later."""
        (tmp_path / "next.yaml").write_text(
            f"_rules:\n  - {{name: first, from: {FIRST}, set: {{burst: 6}}}}\n"
            "  - {name: last, from: 9999-12-31T23:00:00Z, steps: [1%, 100%], every: 2h, bake: 2h, set: {burst: 7}}\n"
        )
        status, out = run("plan", "program:flags", "next.yaml", "--fact", "pod=a", *options)
        assert (status, out.splitlines()[-1]) == (0, last_line)

    def test_prints_json(self, plan: Callable[..., tuple[int, str]]) -> None:
        """In JSON a change names its rule, if one gives the value."""
        _, out = plan("--at", "2026-11-29T00:00:00+01:00", "--format", "json")
        assert json.loads(out)["changes"] == [
            {"flag": "burst", "old": "5", "new": "20", "rule": "weekend"},
            {"flag": "rate_limit", "old": "50", "new": "60"},
        ]

    def test_reads_what_a_key_has_on_a_page(self, plan: Callable[..., tuple[int, str]]) -> None:
        """Against a running process, the old value of a named or drawn key is what the rules in force there give it."""
        flags = dflag.FlagRegistry("live")
        flags.dyn_int("rate_limit", 50, by="tenant")
        rules = """
        - {name: new-path-tenants, by: tenant, share: 10%, set: {rate_limit: 70}}
        - {by: tenant, is: [acme, initech], set: {rate_limit: 500}}
        """
        updater = dflag.Updater(flags, MemorySource({"rate_limit": "60", "_rules.yaml": rules}))
        updater.initialize()
        before = ("--at", "2026-11-28T09:00:00Z", "--against")
        with start_http_server(0, flags, updater) as server:
            url = f"http://127.0.0.1:{server.port}/"
            found = {key: plan(*before, url, "--key", f"tenant={key}") for key in KEYS}
        assert found == {
            "acme": (0, "no changes\n"),
            "initech": (0, "rate_limit: 500 -> 60\n"),
            "umbrella": (0, "rate_limit: 70 -> 60\n"),  # drawn: its share is 338753414 of 2**32
            "zürich": (0, "no changes\n"),
        }

    @pytest.mark.parametrize(
        ("entry", "expected"),
        [
            ({}, None),
            ({"by": "tenant"}, None),
            ({"by": "user", "keyed": []}, None),
            ({"by": None}, "60"),
            ({"by": "tenant", "keyed": []}, "60"),
            ({"by": "tenant", "keyed": [GIVEN]}, "7"),
            ({"by": "tenant", "keyed": [{**GIVEN, "text": "lots"}]}, None),
            ({"by": "tenant", "keyed": [{**GIVEN, "adds": False}]}, "7"),
            ({"by": "tenant", "keyed": [{**GIVEN, "adds": True}]}, None),
            ({"by": "tenant", "keyed": [{**GIVEN, "keys": ["other"]}]}, "60"),
            ({"by": "tenant", "keyed": [{**GIVEN, "keys": ["other"], "key_count": 2}]}, None),
            ({"by": "tenant", "keyed": [{**GIVEN, "keys": ["other"], "key_count": 2, "share_percent": 0}]}, "60"),
            ({"by": "tenant", "keyed": [{**GIVEN, "keys": None}]}, "7"),
            ({"by": "tenant", "keyed": [{"rule": "from another version"}]}, None),
        ],
    )
    def test_knows_what_a_page_does_not_say(
        self,
        plan: Callable[..., tuple[int, str]],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        entry: dict[str, Any],
        expected: str | None,
    ) -> None:
        """The old value of a key is shown as unknown, and not guessed, if the page of an older process lacks it."""
        listed = [{"name": "rate_limit", "current_value": "60", **entry}]
        monkeypatch.setattr("dflag.cli._page._fetch", lambda _: listed)
        options = ("--at", "2026-11-28T09:00:00Z", "--against", "http://app/", "--key", "tenant=acme")
        _, out = plan(*options, "--format", "json")
        assert json.loads(out)["changes"] == [{"flag": "rate_limit", "old": expected, "new": "500", "rule": "rule 3"}]
        capsys.readouterr()
        assert plan(*options) == (0, f"rate_limit: {expected or 'unknown'} -> 500 (rule 3)\n")
        is_refused = "lots" in json.dumps(entry)
        lack = "has a value that is refused here of" if is_refused else "does not say what the key has there of"
        assert capsys.readouterr().err == ("" if expected else f"dflag: http://app/ {lack} rate_limit\n")

    @pytest.mark.parametrize(
        ("key", "problem"),
        [
            ("tenat=acme", "no flag is keyed by 'tenat' (did you mean 'tenant'?)"),
            ("x=acme", "no flag is keyed by 'x'"),
            ("nope", "no input has the key 'nope'"),
        ],
    )
    def test_refuses_an_unknown_key(
        self, plan: Callable[..., tuple[int, str]], capsys: pytest.CaptureFixture[str], key: str, problem: str
    ) -> None:
        """A key by which no flag is keyed, or that no input has, is misuse."""
        assert plan("--key", key) == (2, "")
        assert capsys.readouterr().err == f"dflag: {problem}\n"

    def test_rejects_bad_rules(self, run: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
        """A rule that a process would refuse is listed in `rejected`, and the exit status is 1."""
        (tmp_path / "app.yaml").write_text("_rules:\n  - {name: a, set: {burst: x}}\n")
        status, out = run("plan", "program:flags", "app.yaml", "--format", "json")
        assert status == 1
        (rejected,) = json.loads(out)["rejected"]
        assert rejected["flag"] == "rule:a"
        assert rejected["message"] == "rule 'a': flag 'burst': expected an int, got 'x'"

    def test_lists_the_moments(self, plan: Callable[..., tuple[int, str]]) -> None:
        """The timeline lists each moment at which a rule begins, advances or ends, and the values that change then."""
        assert plan("--timeline", "--fact", "pod=web-7d9f-abcde")[1].splitlines() == [
            "2026-11-28T10:00:00Z: rule 'limits-november' begins",
            "2026-11-28T10:16:54.537803Z: burst: 5 -> 12 (rule 'limits-november')",
            "2026-11-28T10:30:00Z: rule 'limits-november' reaches 100%",
            "2026-11-28T12:00:00Z: rule 'weekend' begins",
            "2026-11-28T12:00:00Z: burst: 12 -> 20 (rule 'weekend')",
            "2026-11-30T00:00:00Z: rule 'weekend' ends",
            "2026-11-30T00:00:00Z: burst: 20 -> 12 (rule 'limits-november')",
        ]
        _, out = plan("--timeline", "--at", "2026-11-29T00:00:00Z", "--format", "json")
        assert json.loads(out) == {
            "timeline": [
                {
                    "at": "2026-11-30T00:00:00Z",
                    "rules": [{"name": "weekend", "event": "ends"}],
                    "changes": [{"flag": "burst", "old": "20", "new": "5"}],
                }
            ]
        }

    def test_lists_no_stage_of_a_rule_that_has_ended(self, run: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
        """The timeline lists no stage of a rule after its end, so a rule that ends early never reaches 100 %."""
        (tmp_path / "app.yaml").write_text(
            "_rules:\n"
            "  - {name: a, from: 2026-11-28T10:00:00Z, over: 30m, until: 2026-11-28T10:10:00Z, set: {burst: 9}}\n"
            "  - {name: b, from: 2026-11-28T10:00:00Z, steps: [5%, 50%, 100%], every: 10m, "
            "until: 2026-11-28T10:20:00Z, set: {burst: 9}}\n"
        )
        assert run("plan", "program:flags", "app.yaml", "--timeline")[1].splitlines() == [
            "2026-11-28T10:00:00Z: rule 'a' begins",
            "2026-11-28T10:00:00Z: rule 'b' reaches 5%",
            "2026-11-28T10:10:00Z: rule 'a' ends",
            "2026-11-28T10:10:00Z: rule 'b' reaches 50%",
            "2026-11-28T10:20:00Z: rule 'b' ends",
        ]

    def test_leaves_out_what_a_process_refuses(
        self, run: Callable[..., tuple[int, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A rule that a registry validator refuses with an earlier rule is refused, and applies once that one ends."""
        (tmp_path / "app.yaml").write_text(
            "_rules:\n"
            "  - {name: low, from: 2026-11-28T10:00:00Z, until: 2026-11-28T12:00:00Z, set: {rate_limit: 8}}\n"
            "  - {name: high, from: 2026-11-28T11:00:00Z, set: {burst: 9}}\n"
        )
        reason = (
            "it does not go together with others: refused by the registry validator burst_below_rate: "
            "burst is above rate_limit"
        )
        plan = ("plan", "program:flags", "app.yaml")
        timeline = (*plan, "--timeline", "--at", "2026-11-28T09:00:00Z")
        status, out = run(*timeline)
        assert (status, out.splitlines()) == (
            1,
            [
                "2026-11-28T10:00:00Z: rule 'low' begins",
                "2026-11-28T10:00:00Z: rate_limit: 50 -> 8 (rule 'low')",
                "2026-11-28T11:00:00Z: rule 'high' begins",
                f"2026-11-28T11:00:00Z: rule 'high' is refused: {reason}",
                "2026-11-28T12:00:00Z: rule 'low' ends",
                "2026-11-28T12:00:00Z: burst: 5 -> 9 (rule 'high')",
                "2026-11-28T12:00:00Z: rate_limit: 8 -> 50",
            ],
        )
        _, out = run(*timeline, "--format", "json")
        assert json.loads(out)["timeline"][1]["rules"] == [
            {"name": "high", "event": "begins"},
            {"name": "high", "event": "is refused", "problem": reason},
        ]
        status, out = run(*plan, "--at", "2026-11-28T11:30:00Z")
        rejected = f"rejected: rule 'high': {reason}"
        assert (status, out.splitlines()) == (1, ["rate_limit: 50 -> 8 (rule 'low')", rejected])

    @pytest.mark.parametrize("options", [("--fact", "zone"), ("--fact", "=x"), ("--at", "noon"), ("--key", "=x")])
    def test_refuses_what_is_no_fact(
        self, plan: Callable[..., tuple[int, str]], options: tuple[str, str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A fact, a key or a moment that is not in the expected form is misuse."""
        assert plan(*options)[0] == 2
        assert f"expected {options[0]}" in capsys.readouterr().err
