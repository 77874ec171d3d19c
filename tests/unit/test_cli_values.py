"""
What the commands print of values that hide a part, or that a program's own functions read.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import sys
import types
from typing import TYPE_CHECKING, Any

import jsonschema
import pydantic
import pytest
import yaml
from hypothesis import given
from prometheus_client import CollectorRegistry, generate_latest

import dflag
from dflag.cli import main
from dflag.integrations.prometheus import register
from dflag.testing import bad_texts, texts, values
from dflag.web import make_wsgi_app

if TYPE_CHECKING:
    from pathlib import Path


class Db(pydantic.BaseModel):
    """A model with parts that its dump hides or rounds."""

    host: str = "localhost"
    password: pydantic.SecretStr = pydantic.SecretStr("dev")


class Hidden(pydantic.BaseModel):
    """A model with a part that its dump leaves out."""

    token: str = pydantic.Field("dev-token", exclude=True)
    shown: int = 1


def _price(text: str) -> decimal.Decimal:
    try:
        return decimal.Decimal(text)
    except decimal.InvalidOperation:
        raise ValueError("expected a decimal number") from None


@pytest.fixture(name="program")
def _program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dflag.FlagRegistry:
    """Return the registry that the commands find at ``app:flags``."""
    monkeypatch.chdir(tmp_path)
    flags = dflag.FlagRegistry("shop")
    flags.dyn_json("db", Db(), "Database", type=Db)
    flags.dyn_json("hidden", Hidden(token="other"), "Token", type=Hidden)  # noqa: S106 - of a test
    flags.dyn_json("sealed", Db(password=pydantic.SecretStr("sealed-dev")), "Database", type=Db, secret=True)
    flags.dyn_json("plain", {"a": 1}, "Plain", type=dict[str, int])
    flags.dyn_bytes("banner", b"hello", "Banner")
    flags.dyn_bytes("blob", b"\xff", "Blob")
    flags.dyn_bytes("sealed_bytes", b"hush", secret=True)
    flags.dyn_custom("day", datetime.date(2030, 1, 1), "Cut-off", parse=datetime.date.fromisoformat)
    flags.custom("price", decimal.Decimal("1.50"), "Price", parse=_price, format="{:f} EUR".format)
    flags.dyn_custom("sealed_day", datetime.date(2029, 1, 1), parse=datetime.date.fromisoformat, secret=True)
    module = types.ModuleType("app")
    module.flags = flags  # type: ignore[attr-defined]  # what a program does by assigning at its top level
    monkeypatch.setitem(sys.modules, "app", module)
    return flags


def _run(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    assert main(list(arguments)) == status
    return capsys.readouterr().out


@pytest.mark.usefixtures("program")
def test_plan_knows_a_change_that_a_dump_hides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A new password is a change that is listed and not shown; the same values are none."""
    (tmp_path / "in.yaml").write_text(
        'db: {password: "prod"}\nhidden: {token: "prod"}\nplain: {a: 1}\nday: 2031-01-01\nprice: "1.5"\n'
    )
    plan = json.loads(_run(capsys, "plan", "app:flags", "in.yaml", "--format", "json"))
    assert [change["flag"] for change in plan["changes"]] == ["day", "db", "hidden"]
    assert plan["changes"][0] == {"flag": "day", "old": "2030-01-01", "new": "2031-01-01"}
    assert "prod" not in json.dumps(plan)


def test_manifest_has_no_asterisks_for_a_value(
    program: dflag.FlagRegistry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A default that cannot be written in full is left out of a ConfigMap; the Secret has all of it."""
    manifest = _run(capsys, "manifest", "app:flags", "--name", "shop")
    assert "*****" not in manifest
    assert "dev" not in manifest
    data = yaml.safe_load(manifest)
    assert data["data"] == {"day": "2030-01-01", "plain": '{\n  "a": 1\n}\n'}
    assert data["binaryData"] == {
        "banner": base64.b64encode(b"hello").decode(),
        "blob": base64.b64encode(b"\xff").decode(),
    }
    for name in ("db", "hidden", "price"):
        assert f"# {name}:" in manifest

    secret = _run(capsys, "manifest", "app:flags", "--name", "shop", "--kind", "Secret")
    assert "*****" not in secret
    found = yaml.safe_load(secret)
    assert json.loads(found["stringData"]["sealed"]) == {"host": "localhost", "password": "sealed-dev"}
    assert found["stringData"]["sealed_day"] == "2029-01-01"
    for key in ("app.yaml", "app.json"):
        document = _run(capsys, "manifest", "app:flags", "--name", "shop", "--kind", "Secret", "--key", key)
        inside = yaml.safe_load(yaml.safe_load(document)["stringData"][key])
        assert "*****" not in document
        assert "sealed-dev" in str(inside["sealed"])
    (tmp_path / "secret.yaml").write_text(secret)
    assert _run(capsys, "check", "--strict", "app:flags", "secret.yaml") == ""
    applied = program.apply(found["stringData"], source="s")
    assert (applied.changed, applied.rejected) == ((), {})


@pytest.mark.parametrize("option", [[], ["--manifest"]])
@pytest.mark.usefixtures("program")
def test_schema_has_the_defaults_that_can_be_written(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes stand as their text; what a value would not be read from is left out, and so is a secret's."""
    schema = json.loads(_run(capsys, "schema", "app:flags", *option))
    found = schema["properties"]["data"]["properties"] if option else schema["properties"]
    defaults = {name: each["default"] for name, each in found.items() if "default" in each}
    plain: Any = '{"a":1}' if option else {"a": 1}
    assert defaults == {"banner": "hello", "day": "2030-01-01", "plain": plain}
    assert {name: each["examples"] for name, each in found.items() if "examples" in each} == {
        "banner": ["hello"],
        "day": ["2030-01-01"],
        "plain": ['{"a":1}'],
    }
    for name, default in defaults.items():
        jsonschema.validate(default, found[name])
    assert "*****" not in json.dumps(schema)


@pytest.mark.usefixtures("program")
def test_a_custom_flag_is_one_like_any_other_to_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """check, docs, policy and schema work for it, and say what is known."""
    (tmp_path / "in.yaml").write_text("day: 2031-13-01\n")
    found = _run(capsys, "check", "app:flags", "in.yaml", status=1)
    assert found.startswith("in.yaml:1:6: flag 'day': ")

    docs = _run(capsys, "docs", "app:flags")
    assert "| `day` | custom | `2030-01-01` | Cut-off |" in docs
    assert "| `price` | custom | `1.50 EUR` | Price |" in docs
    assert main(["policy", "app:flags"]) == 0
    policy, left = capsys.readouterr()
    assert "'day'" in policy  # among the names that are known
    assert "dflag: not in the policy: flag 'day': values of type custom" in left

    schema = json.loads(_run(capsys, "schema", "app:flags"))["properties"]["day"]
    assert (schema["title"], schema["description"]) == ("day", "Cut-off")


def test_the_page_shows_custom_flags_and_sees_hidden_changes(program: dflag.FlagRegistry) -> None:
    """The listing has their texts; a change that a dump hides is one, in the checksum too."""

    def listing() -> Any:
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "QUERY_STRING": ""}
        body = b"".join(app(environ, lambda *_: None))
        return json.loads(body)

    app: Any = make_wsgi_app(program)
    before = listing()
    rows = {row["name"]: row for row in before["flags"]}
    assert (rows["day"]["current_value"], rows["day"]["type"], rows["day"]["is_json"]) == (
        "2030-01-01",
        "custom",
        False,
    )
    assert rows["price"]["current_value"] == "1.50 EUR"
    assert before["checksum_dynamic"] == program.checksum(dynamic=True)
    assert not rows["db"]["is_changed"]

    program.apply({"db": '{"password": "prod"}', "day": "2031-01-01"}, source="s")
    after = listing()
    rows = {row["name"]: row for row in after["flags"]}
    assert (rows["db"]["is_changed"], rows["day"]["is_changed"], rows["hidden"]["is_changed"]) == (True, True, False)
    assert after["checksum_dynamic"] == program.checksum(dynamic=True) != before["checksum_dynamic"]
    assert "prod" not in json.dumps(after)


def test_metrics_take_custom_flags(program: dflag.FlagRegistry) -> None:
    """They follow its changes as those of any flag."""
    collected = CollectorRegistry()
    register(program, prometheus_registry=collected)
    before = generate_latest(collected)
    program["day"].set(datetime.date(2031, 1, 1))
    assert generate_latest(collected) != before


STRATEGIC = dflag.FlagRegistry()
CHOSEN = STRATEGIC.dyn_custom("chosen", 1, parse=int, choices=[1, 2])
PLAIN = STRATEGIC.dyn_custom("plain", 1, parse=int)
SEALED = STRATEGIC.dyn_json("sealed", Db(), type=Db)


@given(values(CHOSEN), values(PLAIN), texts(CHOSEN), bad_texts(PLAIN), texts(SEALED))
def test_strategies_take_custom_flags(chosen: int, plain: int, text: str, bad: str, sealed: str) -> None:
    """Values are its choices or its default; texts read, and those of a hidden part too."""
    assert (chosen in (1, 2), plain) == (True, 1)
    for flag, accepted in ((CHOSEN, text), (SEALED, sealed)):
        flag.set_text(accepted)
        flag.reset()
    with pytest.raises(dflag.FlagValueError):
        PLAIN.set_text(bad)
