"""
The API reference has every public name once, and describes every way to declare a flag with options and an example.
"""

from __future__ import annotations

import inspect
import pickle
import pkgutil
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

import dflag.integrations
from dflag import _unbound
from dflag._declarations import Declarations

from ._reference import PAGES, directives, imported

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

DIRECTIVES = directives()
TARGETS = {each.target for each in DIRECTIVES}
MODULES = [
    "dflag",
    *("dflag.errors", "dflag.facts", "dflag.logging", "dflag.pytest_plugin", "dflag.sources", "dflag.testing"),
    *("dflag.typing", "dflag.validators", "dflag.web"),
    *(f"dflag.integrations.{each.name}" for each in pkgutil.iter_modules(dflag.integrations.__path__)),
]
MODULES = [name for name in MODULES if "._" not in name]
HOOKS = {"dflag.pytest_plugin"}
"""The names of this module are for pytest; the page lists its fixtures and its marker."""
METHODS = sorted(name for name in vars(Declarations) if not name.startswith("_"))
FUNCTIONS = sorted(
    name
    for name, value in vars(_unbound).items()
    if inspect.isfunction(value) and value.__module__ == "dflag" and not name.startswith("_")
)


def _without(signature: inspect.Signature, *left_out: str) -> list[tuple[str, object, object]]:
    """
    Return the parameters with their kind and annotation, except those left out.
    """
    return [
        (each.name, each.kind, each.annotation) for each in signature.parameters.values() if each.name not in left_out
    ]


MOST_USED = [
    *(f"dflag.{name}" for name in ("FlagRegistry", "Flags", "Snapshot", "Updater")),
    *(
        f"dflag.Flag.{name}"
        for name in ["get", "for_", "set", "set_text", "reset", "validator", "on_change", "changes"]
    ),
    *(
        f"dflag.FlagRegistry.{name}"
        for name in ["bind", "lookup", "validator", "freeze", "snapshot", "pinned", "override", "apply"]
    ),
    *(
        f"dflag.FlagRegistry.{name}"
        for name in ["explain", "history", "flush", "checksum", "parse_args", "add_to_argparse"]
    ),
    *(f"dflag.Updater.{name}" for name in ["setup", "initialize", "start", "stop", "refresh", "wait_for", "status"]),
    *("dflag.Flags.current", "dflag.Flags.from_snapshot", "dflag.sources.DirectorySource", "dflag.sources.FileSource"),
    *("dflag.sources.MemorySource", "dflag.sources.Source", "dflag.facts.kubernetes", "dflag.web.make_wsgi_app"),
    *("dflag.testing.override", "dflag.testing.isolated", "dflag.testing.ConfigMapVolume"),
    *("dflag.testing.SteppedUpdater", "dflag.integrations.pydantic_settings.DflagSettingsSource"),
]


def _found(target: str) -> Any:
    """
    Return the object that the target of a directive names.
    """
    module, rest = "dflag", target.removeprefix("dflag").lstrip(".").split(".")
    while rest and f"{module}.{rest[0]}" in {*MODULES, "dflag.integrations"}:
        module = f"{module}.{rest.pop(0)}"
    value = imported(module)
    for name in rest:
        value = getattr(value, name)
    return value


def _names(module: ModuleType) -> list[str]:
    return [name for name in dir(module) if not name.startswith("_") and not inspect.ismodule(getattr(module, name))]


def _documented(module: ModuleType) -> list[str]:
    """
    Return the names that the pages document from one module, with a directive for each or for the module.
    """
    found = []
    for each in DIRECTIVES:
        place, _, name = each.target.rpartition(".")
        if each.kind == "module" and each.target == module.__name__ and each.members:
            imported = "imported-members" in each.options
            found += [
                name
                for name in _names(module)
                if imported or getattr(getattr(module, name), "__module__", None) == module.__name__
            ]
        elif place == module.__name__ and each.kind != "module":
            found.append(name)
    return found


@pytest.mark.parametrize("name", [name for name in MODULES if name not in HOOKS])
def test_each_public_name_is_documented_once(name: str) -> None:
    """Each public name is documented on one page only; a name that two modules offer is documented in one of them."""
    module = imported(name)
    counts = Counter(_documented(module))
    assert [name for name, count in counts.items() if count > 1] == []
    elsewhere = {"dflag.errors": ["dflag"], "dflag.typing": ["dflag.sources"]}.get(name, [])
    others = {each for place in elsewhere for each in _documented(imported(place))}
    assert sorted({*counts, *others} & set(_names(module))) == _names(module)
    assert not set(counts) & others


def test_no_target_stands_twice() -> None:
    """No target has two directives, and a class leaves out a method that has an entry of its own."""
    assert [target for target, count in Counter(each.target for each in DIRECTIVES).items() if count > 1] == []
    classes = {each.target: each for each in DIRECTIVES if each.kind in {"class", "exception"}}
    for each in DIRECTIVES:
        place, _, name = each.target.rpartition(".")
        if place in classes:
            assert not classes[place].members or classes[place].excludes(name), each.target


@pytest.mark.parametrize("target", [each.target for each in DIRECTIVES if each.kind == "class"])
def test_each_public_method_is_documented(target: str) -> None:
    """Each public method is documented with its class, with a base class, or by an entry of its own."""
    cls = _found(target)
    ours = [base for base in cls.__mro__ if base.__module__.startswith("dflag")]
    theirs = {name for base in cls.__mro__ if base not in ours for name in dir(base)}
    shown = [each for each in DIRECTIVES if each.kind == "class" and _found(each.target) in ours]
    methods = [name for name in dir(cls) if not name.startswith("_") and inspect.isroutine(getattr(cls, name))]
    missing = [
        name
        for name in methods
        if name not in theirs
        if not any(f"{each.target}.{name}" in TARGETS or (each.members and not each.excludes(name)) for each in shown)
    ]
    assert missing == []


@pytest.mark.parametrize("target", MOST_USED)
def test_the_most_used_names_say_all(target: str) -> None:
    """The docstring of a name in `MOST_USED` has a summary sentence, an example, each argument, and thread safety."""
    value = _found(target)
    text = inspect.getdoc(value) or ""
    assert ">>> " in text
    assert "Thread safety: " in text
    assert text.partition("\n\n")[0].endswith(".")
    arguments = [name for name in inspect.signature(value).parameters if name not in {"self", "cls", "_"}]
    if not inspect.isabstract(value) and value not in {dflag.Flags, dflag.Snapshot}:  # no user makes these
        assert [name for name in arguments if not re.search(rf"^    \*{{0,2}}{name}: ", text, re.MULTILINE)] == []


def test_each_page_is_in_the_table() -> None:
    """The entry page of the reference links to every other page of the reference."""
    pages = {page.name: page.read_text(encoding="utf-8") for page in PAGES}
    entry = pages.pop("api.md")
    assert len(pages) > 1
    assert [name for name in pages if f"]({name})" not in entry] == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "api.md"], ids=lambda page: page.stem)
def test_each_topic_says_when(page: Path) -> None:
    """Each section begins with at least two sentences, before any code or table."""
    sections = re.split(r"^(?=##+ )", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    texts = {title: rest.split("\n\n")[0] for title, _, rest in (each.partition("\n\n") for each in sections[1:])}
    bare = [
        title
        for title, text in texts.items()
        if text.startswith(("```", "|")) or len(re.findall(r"[.:](?=\s|$)", text)) < 2
    ]
    assert bare == []


def test_each_style_has_each_kind() -> None:
    """Registry and module have the same declaring functions, and each static kind has a dynamic one."""
    assert METHODS == FUNCTIONS
    assert {name.removeprefix("dyn_") for name in METHODS if name.startswith("dyn_")} == {
        name for name in METHODS if not name.startswith("dyn_")
    }
    assert set(FUNCTIONS) <= set(dir(dflag))


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_described_with_options_errors_and_an_example(name: str) -> None:
    """A method's docstring has an example, options and errors; that of a dynamic one refers to the static one."""
    assert f"dflag.FlagRegistry.{name}" in TARGETS
    text = inspect.getdoc(getattr(dflag.FlagRegistry, name)) or ""
    assert f".{name}(" in text
    assert ">>> " in text
    if name.startswith("dyn_"):
        assert f"Grammar, options and errors are those of `FlagRegistry.{name.removeprefix('dyn_')}`." in text
        assert "*by*" in text
        return
    assert re.search(r"^Raises:\n    DefinitionError: .*\n(?:.*\n)*    DuplicateFlagError: ", text, re.MULTILINE)
    signature = inspect.signature(getattr(dflag.FlagRegistry, name))
    for parameter in signature.parameters.values():
        if parameter.name != "self":
            assert re.search(rf"^    (?:\*\*)?{parameter.name}: ", text, re.MULTILINE), parameter.name


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_described_with_an_example(name: str) -> None:
    """A function's docstring has an example and refers to the method of the same kind; the function can be pickled."""
    assert f"dflag.{name}" in TARGETS
    text = inspect.getdoc(getattr(dflag, name)) or ""
    assert f"dflag.{name}(" in text
    assert pickle.loads(pickle.dumps(getattr(dflag, name))) is getattr(dflag, name)  # noqa: S301 - made here
    assert f"Grammar, options and errors are those of `FlagRegistry.{name.removeprefix('dyn_')}`." in text


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_takes_what_the_method_takes(name: str) -> None:
    """A function has the signature of the method of the same kind, except that `name` is optional and keyword-only."""
    function = inspect.signature(getattr(dflag, name))
    method = inspect.signature(getattr(dflag.FlagRegistry, name))
    assert _without(function, "name") == _without(method, "self", "name")
    assert function.return_annotation == method.return_annotation
    assert function.parameters["name"].kind is inspect.Parameter.KEYWORD_ONLY
    assert function.parameters["name"].default is None
