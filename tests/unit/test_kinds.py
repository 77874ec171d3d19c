"""
A kind is one class in one file: no other code asks which kind a flag has.
"""

from __future__ import annotations

import ast
import enum
import io
import json
import re
import sys
import types
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults

import pytest
from hypothesis import given

import dflag
from dflag._flags import DynamicFlag
from dflag._kinds import Kind, Problem
from dflag._kinds.cel import CEL, matches
from dflag._kinds.shapes import Integers, Mapped
from dflag.cli._main import main
from dflag.cli.schema import of_document
from dflag.testing import bad_texts, texts, values
from dflag.web import make_wsgi_app

if TYPE_CHECKING:
    from dflag._kinds import Limits
    from dflag._kinds._declared import Demands, Schema, SchemaOptions
    from dflag._kinds.shapes import Shape

PACKAGE = Path(dflag.__file__).parent


class Level(enum.Enum):
    """An enumeration."""

    LOW = 1
    HIGH = 2


class PercentKind(Kind[int]):
    """A percentage: a kind that the library does not know, and that publishes everything about itself."""

    __slots__ = ()
    name = "percent"
    expected = "a percentage"
    step = 1

    def parse(self, text: str) -> int:
        found = re.fullmatch(r"(\d+) ?%", text)
        if found is None:
            raise Problem(self.expected)
        return self.convert(int(found[1]))

    def convert(self, value: object) -> int:
        if not isinstance(value, int) or not 0 <= value <= 100:
            raise Problem(self.expected)
        return value

    def format(self, value: int) -> str:
        return f"{value}%"

    def pattern(self, limits: Limits) -> str:
        return "[0-9]+ ?%"

    def native_schemas(self, options: SchemaOptions) -> list[Schema]:
        return []

    def cel(self, limits: Limits) -> CEL:
        return CEL([matches("^[0-9]+ ?%$")], [] if limits.minimum is None else ["its limits"])

    def spellings(self, value: int) -> list[str]:
        return [f"{value}%", f"{value} %"]

    def _shape(self, demands: Demands) -> Shape:
        return Mapped(Integers(demands.get("minimum", 0), demands.get("maximum", 100)), int)


@pytest.fixture(name="share")
def _share(flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch) -> DynamicFlag[int]:
    app: Any = types.ModuleType("percent_app")
    app.flags = flags
    monkeypatch.setitem(sys.modules, "percent_app", app)
    flag: DynamicFlag[int] = flags._declare(
        DynamicFlag, PercentKind(), "share", 5, "Share of requests", {"min": 1, "max": 50}
    )
    return flag


def _printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    assert main(list(arguments)) == 0
    printed = capsys.readouterr()
    return printed.out, printed.err


def test_a_new_kind_has_a_schema(share: DynamicFlag[int], capsys: pytest.CaptureFixture[str]) -> None:
    """The schemas of documents and of manifests have the default and the pattern that a new kind publishes."""
    document = json.loads(_printed(capsys, "schema", "percent_app:flags")[0])
    manifest = json.loads(_printed(capsys, "schema", "percent_app:flags", "--manifest")[0])
    of_document = document["properties"][share.name]
    of_text = manifest["properties"]["data"]["properties"][share.name]

    assert (of_document["default"], of_text["default"]) == ("5%", "5%")
    assert [each["type"] for each in of_document["anyOf"]] == ["string"]
    for pattern in (of_document["anyOf"][0]["pattern"], of_text["pattern"]):
        assert re.search(pattern, " 17 %\n")
        assert not re.search(pattern, "17")


def test_a_new_kind_has_a_policy(share: DynamicFlag[int], capsys: pytest.CaptureFixture[str]) -> None:
    """`dflag policy` prints the expression of a new kind, and on standard error what the expression does not check."""
    policy, left = _printed(capsys, "policy", "percent_app:flags", "--name", "shop")
    assert "t.matches('^[0-9]+ ?%$')" in policy
    assert f"flag {share.name!r}: expected a percentage from 1% to 50%" in policy
    assert f"flag {share.name!r}: its limits" in left


def test_a_new_kind_has_a_manifest_that_is_checked(
    share: DynamicFlag[int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A manifest has the default as the kind prints it; `dflag check` refuses a bad value with the kind's message."""
    manifest, _ = _printed(capsys, "manifest", "percent_app:flags", "--name", "shop")
    assert f'  # dynamic percent from 1% to 50%, default 5%\n  {share.name}: "5%"\n' in manifest

    path = tmp_path / "shop.yaml"
    path.write_text(manifest)
    _printed(capsys, "check", "percent_app:flags", str(path))
    path.write_text(manifest.replace('"5%"', '"500"'))
    assert main(["check", "percent_app:flags", str(path)]) == 1
    assert "expected a percentage, got '500'" in capsys.readouterr().out


def test_a_new_kind_is_on_the_page(flags: dflag.FlagRegistry, share: DynamicFlag[int]) -> None:
    """The page shows the value, the default, the limits and the name of a new kind."""
    flags.apply({"share": "7 %"}, source="shop")
    environ: dict[str, Any] = {"HTTP_ACCEPT": "application/json", "wsgi.input": io.BytesIO()}
    setup_testing_defaults(environ)
    (row,) = json.loads(b"".join(make_wsgi_app(flags)(environ, lambda *_: None)))["flags"]
    assert (row["name"], row["type"], row["is_json"]) == (share.name, "percent", False)
    assert (row["current_value"], row["default_value"], row["range"]) == ("7%", "5%", "from 1% to 50%")


def test_a_new_kind_has_strategies(share: DynamicFlag[int]) -> None:
    """The strategies for a new kind make values within its limits, texts that it accepts and texts that it refuses."""
    seen = set()

    @given(values(share), texts(share), bad_texts(share))
    def check(value: int, text: str, bad: str) -> None:
        seen.add(value)
        assert 1 <= value <= 50
        share.set_text(text)
        with pytest.raises(dflag.FlagValueError):
            share.set_text(bad)

    check()
    assert len(seen) > 1


def test_a_new_kind_is_on_the_command_line(flags: dflag.FlagRegistry, share: DynamicFlag[int]) -> None:
    """A command-line option accepts a text of a new kind, and refuses a value beyond its limits."""
    flags.parse_args(["--share", "9%"])
    assert share.get() == 9
    with pytest.raises(SystemExit):
        flags.parse_args(["--share", "51%"])


def test_choices_of_a_map_are_those_of_the_whole(flags: dflag.FlagRegistry) -> None:
    """The choices of a map flag, which are whole maps, do not limit the single values in its schema."""
    flags.dyn_map("regions", {}, keys="region.*", of="string", choices=[{}, {"region.eu": "on"}])
    (schema,) = (each for each in of_document(flags)["properties"].values())
    assert schema["anyOf"][0]["additionalProperties"] == {}


def test_members_are_listed_where_the_kind_has_no_others(
    flags: dflag.FlagRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    """The help lists the members of an enum flag, but not of a custom flag, whose parser may accept other texts."""
    flags.enum("level", Level.LOW, "Level")
    flags.custom("colour", Level.LOW, "Colour", parse=lambda _: Level.LOW, format=str)
    with pytest.raises(SystemExit):
        flags.parse_args(["--help"])
    assert capsys.readouterr().out.count("one of LOW, HIGH") == 1


CLASS = re.compile(r"[A-Z]\w*Kind")
"""The name of a class of kinds."""


def _dispatches(source: str) -> list[int]:
    """Return the lines that decide something by the name or the class of a kind."""
    return [
        node.lineno for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.expr, ast.Match)) and _asks(node)
    ]


def _asks(node: ast.expr | ast.Match) -> bool:
    match node:
        case ast.Compare():
            return any(_is_name(each) or _is_class(each) or _is_kind(each) for each in (node.left, *node.comparators))
        case ast.Call(func=ast.Name("isinstance" | "issubclass"), args=[_, classes]):
            return any(_is_class(each) for each in ast.walk(classes))
        case ast.Call(func=ast.Attribute(attr="get"), args=[key, *_]):
            return _is_name(key)
        case ast.Subscript(slice=key):
            return _is_name(key)
        case ast.Match(subject=subject):
            return _is_name(subject)
    return False


def _is_name(node: ast.AST) -> bool:
    """Return whether an expression is the name of a kind."""
    match node:
        case ast.Attribute(attr="type_name"):
            return True
        case ast.Attribute(value=ast.Name(id="kind") | ast.Attribute(attr="kind"), attr="name"):
            return True
    return False


def _is_class(node: ast.AST) -> bool:
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return CLASS.fullmatch(name) is not None


def _is_kind(node: ast.AST) -> bool:
    """Return whether an expression is the one instance of a kind, such as `_kinds.INT`."""
    return isinstance(node, ast.Attribute) and node.attr.isupper() and _named(node.value) == "_kinds"


def _named(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize(
    "planted",
    [
        "if kind.name == 'int': pass",
        "if flag.type_name in ('json', 'map'): pass",
        "if pipeline.kind.name not in _RANGED: pass",
        "make = _NATIVES.get(kind.name, None)",
        "make = _SIMPLE[pipeline_of(flag).kind.name]",
        "if isinstance(kind, EnumKind): pass",
        "if isinstance(kind, (json.JSONKind, str)): pass",
        "if type(kind) is MapKind: pass",
        "if kind is _kinds.INT: pass",
        "match flag.type_name:\n    case 'int': pass",
    ],
)
def test_a_dispatch_is_found(planted: str) -> None:
    """The search for dispatches finds each way to decide by the name or class of a kind."""
    assert _dispatches(f"def function():\n    {planted.replace(chr(10), chr(10) + '    ')}\n") == [2]


def test_what_is_shown_is_no_dispatch() -> None:
    """The search for dispatches does not report code that prints the name of a kind or declares a flag of it."""
    assert _dispatches("f'{flag.type_name} {kind.name}'; declare(_kinds.INT, kind.name, flag.type_name.upper())") == []


def test_nothing_outside_of_kinds_asks_which_kind_it_has() -> None:
    """No file outside of `_kinds` decides by the name or class of a kind."""
    sources = [path for path in PACKAGE.rglob("*.py") if "_kinds" not in path.parts]
    found = {
        f"{path.relative_to(PACKAGE)}:{line}"
        for path in sources
        for line in _dispatches(path.read_text(encoding="utf-8"))
    }
    assert len(sources) > 80
    assert found == set()


def _in_disguise(value: Any, *parts: Any) -> Any:
    """Return a value of a subclass whose special methods all answer as another value would."""
    lies: dict[str, Any] = {
        "__repr__": lambda _: "another",
        "__str__": lambda _: "another",
        "__eq__": lambda *_: False,
        "__hash__": lambda _: 0,
        "__int__": lambda _: 666,
        "__float__": lambda _: 666.0,
        "__bytes__": lambda itself: itself,
        "__abs__": lambda _: timedelta(),
        "__floordiv__": lambda *_: 0,
    }
    return type("Disguised", (type(value),), lies)(*(parts or (value,)))


@pytest.mark.parametrize(
    ("kind", "value", "disguised"),
    [
        ("int", 5, _in_disguise(5)),
        ("float", 5.5, _in_disguise(5.5)),
        ("float", 5.0, _in_disguise(5)),
        ("string", "text", _in_disguise("text")),
        ("bytes", b"text", _in_disguise(b"text")),
        ("duration", timedelta(1, 2, 3), _in_disguise(timedelta(), 1, 2, 3)),
        ("string_list", ("a",), _in_disguise(("a",))),
        ("string_list", ("a",), [_in_disguise("a")]),
        ("string_set", frozenset("a"), _in_disguise(frozenset("a"))),
        ("json", 5, _in_disguise(5)),
        ("json", 5.5, _in_disguise(5.5)),
        ("json", "text", _in_disguise("text")),
    ],
)
def test_a_value_of_a_subclass_becomes_a_plain_one(
    flags: dflag.FlagRegistry, kind: str, value: Any, disguised: Any
) -> None:
    """A value of a subclass becomes a plain value of what it holds, whatever its own methods return."""
    got = getattr(flags, f"dyn_{kind}")("flag", disguised).get()

    assert (type(got), got) == (type(value), value)


def test_a_duration_of_a_subclass_is_held_to_its_range(flags: dflag.FlagRegistry) -> None:
    """A duration that Go cannot hold is refused although the methods of its subclass hide its length."""
    with pytest.raises(dflag.DefinitionError, match="within 292 years"):
        flags.duration("age", _in_disguise(timedelta(), 400 * 365))
