"""
What the commands print about values that hide a part, and about values that a program's own parser reads.
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
from dflag.web import make_wsgi_app, start_http_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


class Db(pydantic.BaseModel):
    """A model whose dump masks the password."""

    host: str = "localhost"
    password: pydantic.SecretStr = pydantic.SecretStr("dev")


class Hidden(pydantic.BaseModel):
    """A model whose dump leaves out the token."""

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


def _declare(flags: dflag.FlagRegistry, most: int, modes: tuple[str, ...]) -> None:
    flags.dyn_int("rate", 50, max=most)
    flags.dyn_string("mode", "a", choices=modes)
    flags.dyn_map("weights", {}, keys="*.weight", of="int", validator=lambda value: _at_most(value, most))
    flags.dyn_int("level", 1)


def _at_most(value: Mapping[str, int], most: int) -> None:
    if any(item > most for item in value.values()):
        raise ValueError("too much")


_LIVE = {"rate": "500", "mode": "legacy", "weights": '{"a.weight":200}', "level": "3"}


@pytest.fixture(name="live", params=["page", "document"])
def _live(request: pytest.FixtureRequest, program: dflag.FlagRegistry, tmp_path: Path) -> Iterator[str]:
    """Yield the page or the document with live values of a version that accepts more than the program here."""
    _declare(program, 100, ("a", "b"))
    before = dflag.FlagRegistry("shop")
    _declare(before, 1000, ("a", "legacy"))
    assert before.apply(_LIVE, source="config").rejected == {}
    (tmp_path / "live.json").write_text(json.dumps(_LIVE), encoding="utf-8")
    with start_http_server(0, before) as server:
        yield f"http://127.0.0.1:{server.port}/" if request.param == "page" else "live.json"


def test_plan_knows_no_old_value_that_the_code_refuses(
    live: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A plan shows a live value that the flags here refuse as unknown, and not as the default."""
    (tmp_path / "new.yaml").write_text("rate: 50\nmode: b\nlevel: 3\n", encoding="utf-8")
    out = _run(capsys, "plan", "app:flags", "new.yaml", "--against", live, "--format", "json")
    assert json.loads(out)["changes"] == [
        {"flag": "mode", "old": None, "new": "b"},
        {"flag": "rate", "old": None, "new": "50"},
        {"flag": "weights", "old": None, "new": "{}"},
    ]
    assert main(["plan", "app:flags", "new.yaml", "--against", live]) == 0
    captured = capsys.readouterr()
    assert captured.out == "mode: unknown -> b\nrate: unknown -> 50\nweights: unknown -> {} (the default)\n"
    assert captured.err == f"dflag: {live} has a value that is refused here of mode, rate, weights\n"


@pytest.mark.usefixtures("program")
def test_plan_names_an_input_with_nothing_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A plan names an input without values on either side, as it is probably the output of a command that failed."""
    (tmp_path / "empty.yaml").write_text("# Nothing.\n", encoding="utf-8")
    assert main(["plan", "app:flags", "empty.yaml", "--against", "empty.yaml"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "no changes\n"
    assert captured.err == "dflag: no values in empty.yaml: it holds nothing but comments\n" * 2


def test_plan_leaves_an_unknown_value_where_the_input_is_refused_too(
    live: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A plan lists no change for a flag whose new value is refused, even if its live value is unknown."""
    (tmp_path / "new.json").write_text(json.dumps({**_LIVE, "level": "many"}), encoding="utf-8")
    plan = json.loads(_run(capsys, "plan", "app:flags", "new.json", "--against", live, "--format", "json", status=1))
    assert plan["changes"] == []
    assert [each["flag"] for each in plan["rejected"]] == ["level", "mode", "rate", "weights"]


_MUTATED = {
    "db": '{"host": "h", "password": "swordfish"}',
    "hidden": '{"token": "t", "shown": 3}',
    "price": "9.50",
    "banner": "hi",
    "twice": "5",
    "tens": "7",
    "capped": '{"a": 9}',
    "tenant_twice": "4",
}


def _mutating(flags: dflag.FlagRegistry) -> None:
    flags.dyn_int("twice", 1, max=20, mutator=lambda value: value * 2)
    flags.dyn_int("tens", 10, input_mutator=lambda text: f"{text}0")
    flags.dyn_json("capped", {"a": 1}, mutator=lambda value: {"a": value["a"] + 1})
    flags.dyn_int("tenant_twice", 1, by="tenant", mutator=lambda value: value * 2)


@pytest.mark.parametrize("options", [(), ("--key", "tenant=acme")])
def test_plan_against_a_page_with_the_same_values(
    program: dflag.FlagRegistry, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    """A plan against a page with the same inputs has no changes, even with mutators and values that the page hides."""
    _mutating(program)
    rules = [{"by": "tenant", "is": ["acme"], "set": {"tenant_twice": "6"}}]
    given = {key: json.loads(text) if text.startswith("{") else text for key, text in _MUTATED.items()}
    (tmp_path / "same.json").write_text(json.dumps({**given, "_rules": rules}), encoding="utf-8")
    updater = dflag.Updater(program, dflag.sources.MemorySource({**_MUTATED, "_rules.yaml": json.dumps(rules)}))
    updater.initialize()
    with start_http_server(0, program, updater) as server:
        against = ("--against", f"http://127.0.0.1:{server.port}/", *options)
        assert _run(capsys, "plan", "app:flags", "same.json", *against) == "no changes\n"


def test_plan_against_a_page_reads_no_value_twice(
    program: dflag.FlagRegistry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The old value is the page's value in force, without another run of mutators; a refused text is no change."""
    _mutating(program)
    assert program.apply(_MUTATED, source="config").rejected == {}
    (tmp_path / "new.yaml").write_text("twice: 10\ntens: many\nprice: 9.50\n", encoding="utf-8")
    with start_http_server(0, program) as server:
        url = f"http://127.0.0.1:{server.port}/"
        out = _run(capsys, "plan", "app:flags", "new.yaml", "--against", url, "--format", "json", status=1)
    changes = {each["flag"]: (each["old"], each["new"]) for each in json.loads(out)["changes"]}
    assert changes["twice"] == ("10", "20")
    assert changes["capped"] == ('{"a":10}', '{"a":2}')
    assert changes["tenant_twice"] == ("8", "2")
    assert changes["banner"] == ("aGk=", "aGVsbG8=")
    assert changes["db"][0] is None
    assert not {"tens", "price"} & {*changes}


@pytest.mark.usefixtures("program")
def test_plan_knows_a_change_that_a_dump_hides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A plan lists the change of a hidden part, such as a password, without its value, and lists no equal values."""
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
    """A ConfigMap leaves out a default that cannot be written in full; a Secret has secret defaults in full."""
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
    """The schema has only defaults that a flag can read back, bytes as their text, and none of a secret flag."""
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
    """`check`, `docs`, `policy` and `schema` work for a custom flag as for any other flag."""
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
    """The page lists custom flags with their texts; a change of a hidden part shows there and in the checksum."""

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
    """The metrics change when a custom flag changes."""
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
    """`values()` gives choices or the default, `texts()` texts that a flag accepts, `bad_texts()` those it refuses."""
    assert (chosen in (1, 2), plain) == (True, 1)
    for flag, accepted in ((CHOSEN, text), (SEALED, sealed)):
        flag.set_text(accepted)
        flag.reset()
    with pytest.raises(dflag.FlagValueError):
        PLAIN.set_text(bad)
