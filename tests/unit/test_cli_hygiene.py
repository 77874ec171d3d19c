"""
``dflag references``, ``unused`` and ``expired``: what the source code of a program shows about its flags.
"""

from __future__ import annotations

import datetime
import itertools
import json
import random
import sys
import textwrap
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from dflag.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TODAY = datetime.date.today()  # noqa: DTZ011 - the local day, without a time zone
AGE_DAYS = (TODAY - datetime.date(2020, 1, 1)).days

HEAD = "import dflag\nflags = dflag.FlagRegistry()\n"


@pytest.fixture(name="write")
def _write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that writes the files of a program, in which the commands run."""
    monkeypatch.chdir(tmp_path)

    def write(**files: str) -> None:
        for name, text in files.items():
            path = tmp_path / (name.replace("__", "/").replace("INIT", "__init__") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text), "utf-8")

    return write


@pytest.fixture(name="run")
def _run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Return a function that runs a command, and returns its status and what it printed."""

    def run(*arguments: str) -> tuple[int, str]:
        status = main(arguments)
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return status, captured.out

    return run


@pytest.fixture(name="findings")
def _findings(run: Callable[..., tuple[int, str]]) -> Callable[..., list[dict[str, Any]]]:
    """Return a function that returns what ``unused`` finds, and checks that its status matches."""

    def findings(*arguments: str) -> list[dict[str, Any]]:
        status, out = run("unused", *(arguments or (".",)), "--format", "json")
        found: list[dict[str, Any]] = json.loads(out)["findings"]
        assert status == (1 if any(each["level"] == "error" for each in found) else 0)
        assert all(each["confidence"] in ("certain", "likely") for each in found)
        return found

    return findings


def _brief(findings: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(each["flag"], each["confidence"]) for each in findings]


DEAD = {
    "module level": 'dead = flags.dyn_int("dead", 1)',
    "annotated": 'dead: dflag.DynamicFlag[int] = flags.dyn_int("dead", 1)',
    "static": 'dead = flags.int("dead", 1)',
    "by keyword": 'dead = flags.dyn_json(name="dead", default={})',
    "not assigned": 'flags.dyn_int("dead", 1)',
    "in a class": 'class Limits:\n    dead = flags.dyn_int("dead", 1)',
    "of an instance": 'class Limits:\n    def __init__(self):\n        self.dead = flags.dyn_int("dead", 1)',
    "in a function": 'def make():\n    dead = flags.dyn_int("dead", 1)',
    "only set": 'dead = flags.dyn_int("dead", 1)\ndead.set(2)\ndead.reset()',
    "only validated": 'dead = flags.dyn_int("dead", 1)\n@dead.validator\ndef check(value): pass',
    "only overridden": 'dead = flags.dyn_int("dead", 1)\nwith flags.override({dead: 1}): pass',
    "overridden by name": 'dead = flags.dyn_int("dead", 1)\nwith flags.override({"dead": 1}): pass',
    "set by name": 'dead = flags.dyn_int("dead", 1)\nflags["dead"].set(5)\nflags["dead"].set_text("5")',
    "reset by name": 'dead = flags.dyn_int("dead", 1)\nflags.lookup("dead").reset()',
    "validated by name": 'dead = flags.dyn_int("dead", 1)\n@flags["dead"].validator\ndef check(value): pass',
    "set by the name of a variable": 'import app\ndead = flags.dyn_int("dead", 1)\ngetattr(app, "dead").set(5)',
    "overridden by an item": 'dead = flags.dyn_int("dead", 1)\nwith flags.override({flags["dead"]: 1}): pass',
    "overridden by lookup": 'dead = flags.dyn_int("dead", 1)\nwith flags.override({flags.lookup("dead"): 1}): pass',
    "overridden by a built name": 'flags.dyn_int("dead", 1)\ndef f(x):\n    with flags.override({f"de{x}": 1}): pass',
    "set by a built name": 'dead = flags.dyn_int("dead", 1)\ndef f(x): flags[f"de{x}"].set(5)',
    "set by a name in a variable": 'dead = flags.dyn_int("dead", 1)\ndef f(name): flags[name].set(5)',
    "set in a settings class": "class S(dflag.Flags):\n    dead = dflag.dyn_int(1)\nS.registry['dead'].set(5)",
    "in a settings class": "class Settings(dflag.Flags):\n    dead = dflag.dyn_int(1)\nSettings.current()",
    "bound": 'lib = dflag.dyn_int(1)\nflags.bind("dead", lib)',
    "bound by keyword": 'lib = dflag.dyn_int(1)\nflags.bind("dead", flag=lib)',
    "bound by keywords at once": 'flags.bind(name="dead", flag=dflag.dyn_int(1))',
    "bound at once": 'flags.bind("dead", dflag.dyn_int(1))',
    "bound at once and kept": 'dead = flags.bind("dead", dflag.dyn_int(1))',
    "another name for dflag": 'import dflag as d\nmine = d.FlagRegistry()\ndead = mine.string("dead", "")',
    "names from dflag": 'from dflag import FlagRegistry as R\nmine = R()\ndead = mine.string("dead", "")',
    "a function from dflag": 'from dflag import dyn_int as number\nlib = number(1)\nflags.bind("dead", lib)',
    "a registry of a parameter": 'def declare(into: dflag.FlagRegistry):\n    into.int("dead", 1)',
}


@pytest.mark.parametrize("code", DEAD.values(), ids=DEAD)
def test_a_flag_that_nothing_reads_is_certain(
    code: str, write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    A flag that nothing reads is a certain finding, wherever it is declared and even if it is set or validated.
    """
    write(app=HEAD + code)

    (found,) = findings()
    assert (found["flag"], found["confidence"], found["level"]) == ("dead", "certain", "error")
    assert "never read" in found["message"]


READ = {
    "get": "from app import rate\nrate.get()",
    "another name": "from app import rate as limit\nlimit.get()",
    "the module": "import app\napp.rate.get()",
    "the module under another name": "import app as a\nprint(a.rate)",
    "a star": "from app import *\nrate.get()",
    "by name": 'from app import flags\nflags["rate"].get()',
    "looked up": 'from app import flags\nflags.lookup("rate").get()',
    "a snapshot": 'from app import flags\nsnap = flags.snapshot()\nprint(snap["rate"])',
    "a snapshot at once": 'from app import flags\nprint(flags.snapshot()["rate"])',
    "pinned": 'from app import flags\nwith flags.pinned() as snap:\n    print(snap["rate"])',
    "a validator's snapshot": 'from app import flags\n@flags.validator\ndef check(values):\n    values["rate"] > 1',
    "a parameter": 'import dflag\ndef work(values: dflag.Snapshot):\n    return values["rate"]',
    "for a key": "from app import rate\nrate.for_('acme')",
    "a callback": "from app import rate\n@rate.on_change\ndef changed(old, new): pass",
    "handed on": "from app import rate\nprint(rate)",
    "through a package": "from pkg import rate\nrate.get()",
    "through a name": "import app\nlimit = app.rate\nprint(limit)",
    "of a function": "import app\ndef limit(): return app.rate\nprint(limit().get())",
    "in a function": "def work():\n    from app import rate\n    return rate.get()",
    "a name of a class": "import app\nclass Work:\n    limit = app.rate\n    def run(self): return self.limit.get()",
}


@pytest.mark.parametrize("code", READ.values(), ids=READ)
def test_a_flag_that_is_read_is_no_finding(
    code: str, write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    A flag that is read is not a finding, whatever variable, import or name the read goes through.
    """
    write(app=HEAD + 'rate = flags.dyn_int("rate", 1)\n', pkg__INIT="from app import rate", other=code)

    assert findings() == []


def test_flags_of_classes_and_instances(
    write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    An attribute of a class or an instance reads its flag; `prefix=` and `name=` are part of the flag's name.
    """
    write(
        settings="""
        import dflag
        class Base(dflag.Flags, prefix="shop."):
            rate = dflag.dyn_int(1)
            gone = dflag.dyn_int(1)
        class Settings(Base):
            other = dflag.dyn_int(1, name="other-name")
        class Limits:
            def __init__(self, flags):
                self.burst = flags.dyn_int("burst", 1)
                self.rest = flags.dyn_int("rest", 1)
        """,
        work="""
        from settings import Settings, Limits
        def handle(limits: Limits):
            return Settings.current().rate, limits.burst.get()
        """,
    )

    assert _brief(findings()) == [("shop.gone", "certain"), ("shop.other-name", "certain"), ("rest", "certain")]


def test_private_attributes_of_a_class_have_the_names_that_python_gives_them(
    write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]], run: Callable[..., tuple[int, str]]
) -> None:
    """
    Private attributes have the names that Python mangles, also in a nested class; a class named `__` mangles none.
    """
    write(
        app="""
        import dflag
        class _S(dflag.Flags):
            __x = dflag.dyn_int(1)
            __dead = dflag.dyn_int(1)
            __y__ = dflag.dyn_int(1)
            def read(self): return self.__x
        print(_S.registry["_S__x"], _S.current().__y__)
        class Outer:
            __out = _S.registry.dyn_int("out", 1)
            class __(dflag.Flags):
                __z = dflag.dyn_int(1)
                print(__z)
            class __Inner(dflag.Flags):
                __z = dflag.dyn_int(1)
                def read(self):
                    global __z
                    return self.__z
            def read(self): return self.__out
        print(Outer.__.registry["__z"], Outer._Outer__Inner.registry["_Inner__z"])
        """
    )

    assert _brief(findings()) == [("_S__dead", "certain")]
    assert run("references", "--", "_S__x", "app.py")[1].count("_S__x: read\n") == 2


PERHAPS = {
    "built": 'from app import flags\nflags[f"lim{1}_a"].get()',
    "built by +": 'from app import flags\ndef f(x): return flags["limit_" + x]',
    "built by %": 'from app import flags\ndef f(x): return flags["limit_%s" % x]',
    "built by format": 'from app import flags\ndef f(x): return flags["limit_{}".format(x)]',
    "built by % from a mapping": 'from app import flags\ndef f(x): return flags["limit_%(x)s" % {"x": x}]',
    "built by % with a width": 'from app import flags\ndef f(x): return flags["limit_%*.*s" % (1, 1, x)]',
    "built by format with a width": 'from app import flags\ndef f(x, w): return flags["limit_{0:{1}}".format(x, w)]',
    "a name in a variable": "from app import flags\ndef f(name): return flags[name].get()",
    "getattr": 'import app\ndef f(): return getattr(app, "limit_a").get()',
    "getattr of what is built": 'import app\ndef f(x): return getattr(app, "limit_" + x).get()',
    "a text": 'NAMES = ["limit_a"]',
    "an attribute of something": "def f(config): return config.limit_a",
}


@pytest.mark.parametrize("code", PERHAPS.values(), ids=PERHAPS)
def test_what_may_be_read_is_only_likely(
    code: str,
    write: Callable[..., None],
    findings: Callable[..., list[dict[str, Any]]],
    run: Callable[..., tuple[int, str]],
) -> None:
    """
    A flag that a built name, a text or an unknown attribute may mean is likely unused: an error only with ``--strict``.
    """
    write(app=HEAD + 'limit_a = flags.dyn_int("limit_a", 1)\n', other=code)

    (found,) = findings()
    assert (found["flag"], found["confidence"], found["level"]) == ("limit_a", "likely", "warning")
    assert "other.py:" in found["message"]
    assert run("unused", ".", "--strict")[0] == 1


BY_HOLDER = {
    "attrgetter": 'import operator\ndef f(cfg): return operator.attrgetter("channel")(cfg)',
    "attrgetter under another name": 'from operator import attrgetter as of\ndef f(x): return of("channel")(x)',
    "the second of attrgetter": 'import operator\ndef f(x): return operator.attrgetter("other", "channel")(x)',
    "dotted for attrgetter": 'import operator\ndef f(x): return operator.attrgetter("shop.channel.get")(x)',
    "built for attrgetter": 'import operator\ndef f(x, y): return operator.attrgetter(f"chan{y}")(x)',
    "a text": 'NAMES = ["channel"]',
    "a dotted text": 'NAMES = ["app.channel"]',
    "a text for resolve_name": 'import pkgutil\ndef f(): return pkgutil.resolve_name("app:channel").get()',
    "an item of vars": 'import app\ndef f(): return vars(app)["channel"].get()',
    "an item of a dict": 'import app\ndef f(): return app.__dict__["channel"].get()',
    "an item with a built name": 'import app\ndef f(x): return vars(app)[f"chan{x}"].get()',
}


@pytest.mark.parametrize(
    "declaration",
    [
        'channel = flags.dyn_int("mode", 1)',
        'class S:\n    channel = flags.dyn_int("mode", 1)',
        'class S(dflag.Flags):\n    channel = dflag.dyn_int(1, name="mode")',
    ],
    ids=["variable", "attribute", "class"],
)
@pytest.mark.parametrize("code", BY_HOLDER.values(), ids=BY_HOLDER)
def test_a_text_may_name_what_holds_a_flag(
    code: str, declaration: str, write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    A flag is only likely unused if a text, or a part of a dotted one, is the name of its variable or attribute.
    """
    write(app=HEAD + declaration, other=code)

    assert _brief(findings()) == [("mode", "likely")]


@pytest.mark.parametrize("text", ["channel.", "channel: ", "the channel", "channels", "a-b.channel"])
def test_a_text_that_only_contains_the_name_of_a_variable(
    text: str, write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    A text that contains a variable's name but is not a dotted name leaves the finding certain.
    """
    write(app=HEAD + 'channel = flags.dyn_int("mode", 1)', other=f"print({text!r})")

    assert _brief(findings()) == [("mode", "certain")]


def test_a_name_that_is_asked_of_a_registry_is_that_of_a_flag(
    write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    A name that is read from a registry or a snapshot means the flag, not the flag in a variable of that name.
    """
    write(app=HEAD + 'a = flags.dyn_int("b", 1)\nb = flags.dyn_int("c", 1)\nprint(flags["b"], flags.snapshot()["b"])')

    assert _brief(findings()) == [("c", "certain")]


def test_what_is_exported_is_only_likely(
    write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    A flag in a package's `__init__` or in `__all__` is only likely unused, since code elsewhere may read it.
    """
    write(
        pkg__INIT="from .flags import one",
        pkg__flags=HEAD
        + '__all__ = ["two"]\none = flags.int("one", 1)\ntwo = flags.int("two", 2)\nthree = flags.int("three", 3)',
    )

    assert _brief(findings()) == [("one", "likely"), ("two", "likely"), ("three", "certain")]


EXPORTED = {
    "all names": {"pkg__INIT": "from .settings import *"},
    "all names of what imports all names": {"pkg__INIT": "from .api import *", "pkg__api": "from .settings import *"},
    "a name that is imported twice": {"pkg__INIT": "from .api import *", "pkg__api": "from .settings import zzz"},
    "the module": {"pkg__INIT": "from . import settings"},
    "the module under another name": {"pkg__INIT": "import pkg.settings as defaults"},
    "the registry": {"pkg__INIT": "from .settings import flags"},
    "the registry under another name": {"pkg__INIT": "from .settings import flags as mine"},
    "the registry in __all__": {"pkg__api": "from .settings import flags\n__all__ = ['flags']"},
    "a class": {
        "pkg__INIT": "from .settings import S",
        "pkg__settings": "class S(dflag.Flags):\n    zzz = dflag.int(1)",
    },
    "a class under another name": {
        "pkg__INIT": "from .settings import S as T",
        "pkg__settings": "class S(dflag.Flags):\n    zzz = dflag.int(1)",
    },
    "a class in __all__": {"pkg__settings": "__all__ = ['S']\nclass S(dflag.Flags):\n    zzz = dflag.int(1)"},
    "a class that derives from it": {
        "pkg__settings": "__all__ = ['T']\nclass S(dflag.Flags):\n    zzz = dflag.int(1)\nclass T(S): pass"
    },
    "a class around it": {
        "pkg__settings": "__all__ = ['T']\nclass T:\n    class S(dflag.Flags):\n        zzz = dflag.int(1)"
    },
    "an instance": {"pkg__settings": "__all__ = ['s']\nclass S(dflag.Flags):\n    zzz = dflag.int(1)\ns = S.current()"},
    "the registry of a class": {
        "pkg__settings": "__all__ = ['r']\nclass S(dflag.Flags):\n    pass\nclass T(S):\n    zzz = dflag.int(1)\n"
        "r = S.registry"
    },
    "the registry that a class names": {
        "pkg__settings": "__all__ = ['flags']\nclass S(dflag.Flags, registry=flags):\n    zzz = dflag.int(1)"
    },
    "the class whose registry a class names": {
        "pkg__settings": "__all__ = ['A']\nclass A(dflag.Flags): pass\nclass S(dflag.Flags, registry=A):\n"
        "    zzz = dflag.int(1)"
    },
    "a registry of unknown origin": {
        "pkg__settings": "__all__ = ['flags']\ndef f(flags: dflag.FlagRegistry): flags.int('zzz', 1)"
    },
    "a class of registries": {
        "pkg__settings": "__all__ = ['own']\nclass R(dflag.FlagRegistry):\n    def __init__(self):\n"
        "        self.int('zzz', 1)\nown = R()"
    },
    "a snapshot": {"pkg__settings": "__all__ = ['s']\nflags.int('zzz', 1)\ns = flags.snapshot()"},
    "the attribute of a class": {
        "pkg__settings": "__all__ = ['A']\nclass A:\n    def __init__(self):\n        self.zzz = flags.int('zzz', 1)"
    },
}


@pytest.mark.parametrize("files", EXPORTED.values(), ids=EXPORTED)
def test_what_holds_a_flag_may_be_exported(
    files: dict[str, str], write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    If a package exports a module, class, registry or instance, its flags are only likely unused.
    """
    settings = files.get("pkg__settings", "zzz = flags.dyn_int('zzz', 1)")
    write(**{"pkg__INIT": "", **files, "pkg__settings": HEAD + settings})

    assert _brief(findings()) == [("zzz", "likely")]


NOT_EXPORTED = {
    "another registry": {"pkg__INIT": "from .settings import other"},
    "another class": {"pkg__INIT": "from .settings import Other"},
    "a class of the same registry": {
        "pkg__settings": "__all__ = ['s']\nclass A(dflag.Flags):\n    pass\n"
        "class B(A):\n    zzz = dflag.int(1)\ns = A.current()"
    },
    "another module": {"pkg__INIT": "from . import work"},
    "a module for its effects": {"pkg__INIT": "import pkg.settings"},
    "a function that imports": {"pkg__INIT": "def f():\n    from .settings import flags\n    flags.apply({})"},
    "a function": {"pkg__INIT": "from dflag import Updater\nfrom .work import f", "pkg__work": "def f(): pass"},
    "a private name": {"pkg__INIT": "from .api import *", "pkg__api": "from .settings import flags as _flags"},
    "a name that __all__ lacks": {
        "pkg__INIT": "from .api import *",
        "pkg__api": "from .settings import flags\n__all__ = ['other']\nother = 1",
    },
    "a module that uses the registry": {"pkg__INIT": "from . import api", "pkg__api": "from .settings import flags"},
    "no package": {"pkg__api": "from .settings import *"},
    "a module that is not here": {"pkg__INIT": "from elsewhere import *\nimport other.where as e"},
}


@pytest.mark.parametrize("files", NOT_EXPORTED.values(), ids=NOT_EXPORTED)
def test_what_else_is_exported_leaves_a_flag_certain(
    files: dict[str, str], write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    A flag stays certain if a package exports another registry or class, or uses the flag's without exporting it.
    """
    settings = files.get(
        "pkg__settings",
        "zzz = flags.dyn_int('zzz', 1)\nother = dflag.FlagRegistry()\nclass Other(dflag.Flags):\n    pass",
    )
    write(**{"pkg__INIT": "", "pkg__work": "", **files, "pkg__settings": HEAD + settings})

    assert _brief(findings()) == [("zzz", "certain")]


OF_A_CLASS = {
    "an instance that is kept": "class App:\n    def __init__(self): self.cfg = Settings.current()\n    def run(self): "
    "return self.cfg.rate",
    "an annotated attribute": "class App:\n    def __init__(self, cfg): self.cfg: Settings = cfg\n    def run(self): "
    "return self.cfg.rate",
    "a second value": "cfg = None\nif 1:\n    cfg = load()\nelse:\n    cfg = Settings.current()\nprint(cfg.rate)",
    "an attribute of the class": "class App:\n    cfg: Settings\ndef f(app: App): return app.cfg.rate",
    "a property": "class App:\n    @property\n    def cfg(self): return Settings.current()\nprint(App().cfg.rate)",
    "a function": "def current(): return Settings.current()\nprint(current().rate)",
    "a lambda": "current = lambda: Settings.current()\nprint(current().rate)",
    "an annotated function": "def current() -> Settings: ...\nasync def f(): return (await current()).rate",
    "a default": "def f(cfg=Settings.current()): return cfg.rate",
    "an optional parameter": "def f(cfg: Settings | None = None): return cfg.rate",
    "an annotated parameter": "from typing import Annotated\nCurrent = Annotated[Settings, 1]\n"
    "def f(cfg: Current, other: Annotated[Settings, 2]): return cfg.rate",
    "a pattern": "def f(cfg):\n    match cfg:\n        case Settings(rate=found): return found",
    "a class in a class": "class Outer:\n    class Inner(Settings): pass\nprint(Outer.Inner.current().rate)",
    "a class in a function": "def f():\n    class Inner(Settings): pass\n    return Inner.current().rate",
    "an own method": "class Other(Settings):\n    def double(me): return me.rate * 2",
}


@pytest.mark.parametrize("code", OF_A_CLASS.values(), ids=OF_A_CLASS)
def test_an_attribute_of_a_class_is_read_for_certain(
    code: str, write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    An attribute reads the flag of a class if the expression before it is known to be the class or its instance.
    """
    write(
        app="import dflag\nclass Settings(dflag.Flags):\n    rate = dflag.dyn_int(1)\n",
        other=f"from app import *\n{code}",
    )

    assert findings() == []


PUT_ELSEWHERE = {
    "a module": "from work import ext\next.rate = {0}",
    "a module by its path": "import work.ext\nwork.ext.rate = {0}",
    "a class": "from work.ext import Limits\nLimits.rate = {0}",
    "an instance": "from work import ext\nlimits = ext.Limits()\nlimits.rate = {0}",
    "a function": "from work.ext import read\nread.rate = {0}\nprint(read.rate)",
    "something unknown": "import other\nother.rate = {0}\nprint(other.rate)",
}


@pytest.mark.parametrize("code", PUT_ELSEWHERE.values(), ids=PUT_ELSEWHERE)
def test_a_flag_that_is_assigned_to_what_another_module_has(
    code: str, write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    A flag assigned to an attribute of another module, class or function is not certain, since code there may read it.
    """
    write(
        work__INIT="",
        work__ext="rate = None\nclass Limits:\n    rate = None\n    def read(self): return self.rate.get()\n"
        "def read(): return rate.get()",
        app=HEAD + code.format("flags.dyn_int('rate', 1)"),
    )

    assert [each for each in findings() if each["confidence"] == "certain"] == []


def test_what_fits_a_protocol_may_be_read_by_it(
    write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    A read through a protocol makes flags of that name likely; a read in a class with a generic base reads the base's.
    """
    write(
        app=HEAD
        + "from typing import Generic, Protocol, TypeVar\nT = TypeVar('T')\n"
        + "class Limited(Protocol):\n    @property\n    def rate(self) -> int: ...\n"
        + "class Many(Protocol[T]):\n    def burst(self) -> T: ...\n"
        + "class S(dflag.Flags):\n    rate = dflag.dyn_int(1)\n    burst = dflag.dyn_int(1)\n"
        + "def f(one: Limited, two: Many[int]): return one.rate, two.burst\n"
        + "class Base(Generic[T]):\n    size = flags.dyn_int('size', 1)\n    dead = flags.dyn_int('dead', 1)\n"
        + "class Derived(Base[int]):\n    def f(self): return self.size.get()"
    )

    assert _brief(findings()) == [("rate", "likely"), ("burst", "likely"), ("dead", "certain")]


ONE_OF_TWO = {
    "assigned twice": "def f(x):\n    s = A.current()\n    if x: s = B.current()\n    return s.rate",
    "in a circle": "def f():\n    s = A.current()\n    t = s\n    s = t\n    t = B.current()\n    return s.rate",
    "returned twice": "def pick(x):\n    if x: return A.current()\n    return B.current()\nprint(pick(1).rate)",
    "of two modules": "import pick\nprint(pick.one.current().rate)",
    "an annotation": "def f(s: A | B | None): return s.rate",
    "an alias": "AB = A | B\ndef f(s: AB): return s.rate",
    "an attribute": "class C:\n    def a(self): self.s = A.current()\n    def b(self): self.s = B.current()\n"
    "def f(c: C): return c.s.rate",
    "a subclass": "class C(A, prefix='c.'):\n    rate = dflag.dyn_int(1)\nprint(B.rate)\ndef f(s: A): return s.rate",
    "an attribute of a subclass": "class C:\n    rate = A.rate\n    def f(self): return self.rate.get()\n"
    "class D(C):\n    rate = flags.bind('x', dflag.dyn_int(1))\nprint(B.rate)",
    "nothing in the base": "class C:\n    zzz = None\n    def f(self): return self.zzz.get()\n"
    "class D(C):\n    zzz = flags.dyn_int('zzz', 1)\nprint(A.rate, B.rate)",
    "a method of the base": "class C:\n    def f(self): return self.zzz\n    def zzz(self): pass\n"
    "class D(C):\n    zzz = flags.dyn_int('zzz', 1)\nprint(A.rate, B.rate)",
}


@pytest.mark.parametrize("code", ONE_OF_TWO.values(), ids=ONE_OF_TWO)
def test_a_name_may_stand_for_either_of_two(
    code: str, write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    A read through a name that may be either of two classes, or a subclass, reads the flags of both.
    """
    write(
        app=HEAD
        + "class A(dflag.Flags, prefix='a.'):\n    rate = dflag.dyn_int(1)\n"
        + f"class B(dflag.Flags, prefix='b.'):\n    rate = dflag.dyn_int(1)\n{code}",
        pick="import app\none = app.A\nif app: one = app.B",
    )

    assert findings() == []


@pytest.mark.parametrize("code", ["import plug\nplug.render(one)", "__all__ = ['one']"])
def test_what_may_be_either_of_two_goes_elsewhere(
    code: str, write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    If a name that may be either of two classes is passed to other code or exported, the flags of both are likely.
    """
    write(
        app=HEAD
        + "class A(dflag.Flags, prefix='a.'):\n    rate = dflag.dyn_int(1)\n"
        + f"class B(dflag.Flags, prefix='b.'):\n    rate = dflag.dyn_int(1)\none = A\nif flags: one = B\n{code}"
    )

    assert _brief(findings()) == [("a.rate", "likely"), ("b.rate", "likely")]


SAME_NAME = {
    "a result": "from urllib.parse import urlparse\nprint(urlparse('').rate)",
    "a parameter": "def f(cfg): return cfg.rate",
    "a loop": "for cfg in ():\n    print(cfg.rate)",
    "a pattern": "match []:\n    case object(rate=found): pass",
    "a text for format": "print('{0.rate}'.format(3))",
    "a class that derives from elsewhere": "from lib import Base\nclass A(Base):\n    def f(self): return self.rate",
}


@pytest.mark.parametrize("code", SAME_NAME.values(), ids=SAME_NAME)
def test_an_attribute_of_something_may_be_that_of_a_class(
    code: str, write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    An attribute of an unknown object may be that of a class with flags, so the flag is only likely unused.
    """
    write(app="import dflag\nclass Settings(dflag.Flags):\n    rate = dflag.dyn_int(1)\n", other=code)

    assert _brief(findings()) == [("rate", "likely")]


SHADOWS = {
    "a parameter": "def f(rate): return rate + 1",
    "a local": "def f():\n    rate = 5\n    return rate",
    "an unpacked local": "def f():\n    rate, other = 5, 6\n    return rate",
    "a loop": "def f():\n    for rate in (): print(rate)",
    "a with": "def f():\n    with open('') as rate: print(rate)",
    "an exception": "def f():\n    try: pass\n    except OSError as rate: print(rate)",
    "a pattern": "def f(x):\n    match x:\n        case {'a': 1, **rate}: print(rate)\n"
    "        case [*rate]: print(rate)\n        case int() as rate: print(rate)",
    "an import": "def f():\n    import os as rate\n    print(rate.name)",
    "a function": "def f():\n    def rate(): pass\n    rate()",
    "a comprehension": "print([rate for rate in ()], {rate: 1 for rate in ()}, {rate for rate in ()})",
    "an assignment in a comprehension": "def f():\n    [rate := x for x in ()]\n    return rate",
    "a lambda": "print(lambda rate: rate)",
    "of a function around": "def f(rate):\n    def g(): return rate\n"
    "    def h():\n        nonlocal rate\n        rate = 1\n        return rate",
    "the flag of a snapshot": "other = flags.dyn_int('other', 1)\nprint(flags.snapshot()[other])",
    "an attribute of a class": "class P:\n    def __init__(self): self.rate = 0\n    def f(self): return self.rate",
}


@pytest.mark.parametrize("code", SHADOWS.values(), ids=SHADOWS)
def test_a_name_of_a_function_is_no_flag(
    code: str, write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    A name that is local to a function or a comprehension, or an attribute of a known class, does not read the flag.
    """
    write(app=HEAD + f'rate = flags.dyn_int("rate", 1)\n{code}')

    assert _brief(findings()) == [("rate", "certain")]


USED = {
    "a callback": 'flags.dyn_int("rate", 1, on_change=print)',
    "a callback of a class": "class S(dflag.Flags):\n    rate = dflag.dyn_int(1, on_change=print)",
    "two branches": 'if flags:\n    rate = flags.dyn_int("rate", 1)\n'
    'else:\n    rate = flags.dyn_int("rate", 2)\nprint(rate)',
    "a fallback": 'try:\n    import uvloop\n    rate = flags.dyn_int("rate", 1)\n'
    'except ImportError:\n    rate = flags.dyn_int("rate", 2)\nprint(rate.get())',
    "two branches in a class": "class S(dflag.Flags):\n    if flags:\n        rate = dflag.dyn_int(1)\n"
    "    else:\n        rate = dflag.dyn_int(2)\nprint(S.current().rate)",
    "a global": 'rate = None\ndef setup():\n    global rate\n    rate = flags.dyn_int("rate", 1)\n'
    "def f(): return rate.get()",
    "a name of an outer function": 'def f():\n    rate = flags.dyn_int("rate", 1)\n'
    "    def g(): return rate.get()\n    return g",
    "a registry's own": "class R(dflag.FlagRegistry):\n    def __init__(self):\n        self.dyn_int('rate', 1)\n"
    "mine = R()\nprint(mine['rate'])",
    "an attribute of a registry": "class R(dflag.FlagRegistry):\n    def __init__(self):\n"
    "        self.rate = self.dyn_int('rate', 1)\ndef f(mine: R): return mine.rate.get()",
    "an attribute of a registry's base": "class R(dflag.FlagRegistry):\n    def __init__(self):\n"
    "        self.rate = self.dyn_int('rate', 1)\nclass Q(R): pass\ndef f(mine: Q): return mine.rate.get()",
    "the flag of the log level": "from dflag.logging import add_loglevel_flag as add\nadd(flags)\nflags['loglevel']",
    "another flag of a log level": "import dflag.logging\ndflag.logging.add_loglevel_flag(flags, 'lvl')\nflags['lvl']",
    "bound from elsewhere": "import lib\nflags.bind('lib.q', lib.q)\nprint(flags['lib.q'])",
    "a parameter": "def f(flags: dict): return flags['zzz']",
    "a parameter without a type": "def f(flags): return flags['zzz']",
    "a local": "def f():\n    flags = {'zzz': 1}\n    return flags['zzz']",
    "a comprehension": "print([flags['zzz'] for flags in [{'zzz': 1}]])",
    "a lambda": "print(lambda flags: flags['zzz'])",
    "an updater": "dflag.Updater(flags, '/etc/x')\nprint(flags)\ndef main(reg): print(reg)\nmain(flags)",
}


@pytest.mark.parametrize("code", USED.values(), ids=USED)
def test_no_finding_where_names_lead_elsewhere(
    code: str, write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    A read counts for each declaration of its name, and each scope has names of its own.
    """
    write(app=HEAD + code)

    assert findings() == []


UNSURE = {
    "a declaring method by its name": "getattr(flags, 'dyn_int')('zzz', 1)\nflags['zzz']",
    "a registry in other hands": "import plug\nplug.declare(flags)\nflags['zzz']",
    "handed on by a function": "import plug\ndef setup(reg): plug.declare(reg)\nsetup(flags)\nflags['zzz']",
    "handed to a method": "class App:\n    def __init__(self, reg): reg.attach(plug())\nimport plug\nApp(flags)\n"
    "plug.declare(registry=flags)\nflags['zzz']",
    "a loop": "for flags in ():\n    print(flags['zzz'])",
    "a with": "with open('f') as flags: print(flags['zzz'])",
    "a fallback": "try:\n    from lib import flags\nexcept ImportError: pass\nflags['zzz']",
    "a prefix from elsewhere": "from lib import PREFIX\n"
    "class S(dflag.Flags, prefix=PREFIX):\n    zzz = dflag.dyn_int(1)\nprint(S.current().zzz, S.registry['shop.zzz'])",
    "a name built by % from a mapping": "flags.dyn_int('z%(x)s' % {'x': 'zz'}, 1)\nflags['zzz']",
    "a name built by % with a width": "flags.dyn_int('z%*s' % (2, 'z'), 1)\nflags['zzz']",
    "a name built by format with a width": "flags.dyn_int('z{x:z>{w}}'.format(x='z', w=2), 1)\nflags['zzz']",
    "another name for a declaring method": "i = flags.dyn_int\ni('zzz', 1)\nflags['zzz']",
    "another name in a method": "class A:\n    def __init__(self):\n        self.flags = dflag.FlagRegistry()\n"
    "        add = self.flags.dyn_int\n        add('zzz', 1)\n    def f(self): return self.flags['zzz']",
    "another name for a method of a parameter": "def declare(reg):\n    add = reg.dyn_int\n    add('zzz', 1)\n"
    "declare(flags)\nflags['zzz']",
    "another name for a function": "number = dflag.dyn_int\nclass S(dflag.Flags):\n    zzz = number(1)\n"
    "S.registry['zzz']",
    "a function in a partial": "from functools import partial\nfrom dflag import dyn_int\n"
    "number = partial(dyn_int, min=0)\nclass S(dflag.Flags):\n    zzz = number(1)\nS.registry['zzz']",
    "a declaring method in a partial": "from functools import partial\n"
    "number = partial(flags.int, min=0)\nnumber('zzz', 1)\nflags['zzz']",
    "a declaring method for map": "list(map(flags.dyn_int, ['zzz'], [1]))\nflags['zzz']",
    "declaring methods in a mapping": "make = {'int': flags.dyn_int, 'map': flags.map}\nmake['int']('zzz', 1)\n"
    "flags['zzz']",
    "one of two declaring methods": "import sys\n(flags.dyn_int if sys.argv else flags.int)('zzz', 1)\nflags['zzz']",
    "a prefix in a mapping": "options = {'prefix': 'shop.'}\n"
    "class S(dflag.Flags, **options):\n    zzz = dflag.dyn_int(1)\nprint(S.current().zzz, S.registry['shop.zzz'])",
    "options in a mapping": "flags.dyn_int(**{'name': 'zzz', 'default': 1})\nflags['zzz']",
    "a built method": "import sys\ngetattr(flags, 'dyn_' + sys.argv[1])('zzz', 1)\nflags['zzz']",
    "fields of pydantic": "from dflag.integrations.pydantic_settings import reloading\nimport pydantic\n"
    "class P(pydantic.BaseModel):\n    zzz: int\nflags.bind('zzz', dflag.dyn_int(1))",
}


@pytest.mark.parametrize("code", UNSURE.values(), ids=UNSURE)
def test_what_cannot_be_followed_is_only_likely(
    code: str, write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    A finding is only likely if code that cannot be followed may declare or read the flag.
    """
    write(app=HEAD + code)

    (found,) = findings()
    assert found["flag"].endswith("zzz")
    assert found["confidence"] == "likely"


@pytest.mark.parametrize(
    ("imported", "confidence"),
    [
        ("from dflag.integrations.pydantic_settings import DflagSettingsSource", "likely"),
        ("from dflag.integrations import pydantic_settings as fill", "likely"),
        ("import dflag.integrations.pydantic_settings", "likely"),
        ("from dflag.integrations import sentry", "certain"),
    ],
)
def test_fields_of_a_class_may_read_flags_where_any_module_fills_fields(
    imported: str, confidence: str, write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    If any module imports the pydantic integration, a field of a class may read a flag, which is only likely unused.
    """
    write(
        app=HEAD + 'flags.dyn_int("rate", 1)',
        base=f"from pydantic_settings import BaseSettings\n{imported}\nclass Base(BaseSettings): pass",
        settings="from base import Base\nclass Settings(Base):\n    rate: int",
    )

    assert _brief(findings()) == [("rate", confidence)]


SETTINGS = HEAD + 'flags.dyn_int("zzz", 1)\nclass S(dflag.Flags):\n    zzz = dflag.dyn_int(1)\n'

HANDED_OVER = {
    "a registry": "from other import run\nrun(flags)",
    "a registry by keyword": "from other import run\nrun(registry=flags)",
    "a snapshot": "from other import run\nrun(flags.snapshot())",
    "a snapshot as keywords": "from other import run\nrun('x.html', **flags.snapshot())",
    "a snapshot for a template": "import jinja2\njinja2.Template('{{ zzz }}').render(flags.snapshot())",
    "a snapshot that is copied": "values = dict(flags.snapshot())",
    "a snapshot of a with": "import other\nwith flags.pinned() as snap:\n    other.run(snap)",
    "values in a text": "print('%(zzz)s' % flags.snapshot(), '{x}'.format(x=1))",
    "values for format": "print('{zzz}'.format(**flags.snapshot()))",
    "an argument in a list": "from threading import Thread\ndef f(reg): pass\nThread(target=f, args=(flags,)).start()",
    "an item of a mapping": "context = {'flags': flags, **{}}",
    "what becomes an item": "def f(context): context['flags'] = flags.snapshot()",
    "an item of a list": "every = [flags]",
    "an item of a set": "every = {flags}",
    "a part of a list for a function": "def f(many): pass\nf([flags])",
    "what is unpacked": "from other import run\ndef f(*args): run(*args)\nf(1, flags)",
    "what is unpacked by keyword": "from other import run\ndef f(**args): run(**args)\nf(flags=flags)",
    "behind what is unpacked": "from other import run\ndef f(a, b, c): run(c)\nf(*[1, 2], flags)",
    "a parameter": "from other import run\ndef f(x, reg): run(reg)\ndef g(reg): f(1, reg)\ng(flags)",
    "a parameter by keyword": "from other import run\ndef f(x, *, reg=None): run(reg)\nf(1, reg=flags)",
    "an annotated parameter": "from other import run\ndef f(reg: dflag.FlagRegistry): run(reg)",
    "a parameter with another type": "from other import run\ndef f(reg: dflag.FlagRegistry): run(reg)\nf(flags)",
    "a parameter of a class": "from other import run\nclass A:\n    def __init__(self, reg): self.reg = reg\n"
    "    def f(self): run(self.reg)\nA(flags)",
    "a parameter of a base": "from other import run\nclass A:\n    def __init__(self, x, reg): run(reg)\n"
    "class B(A):\n    def __init__(self, reg): super().__init__(1, reg)\nB(flags)",
    "a parameter of a method": "from other import run\nclass A:\n    def f(self, reg): run(reg)\nA().f(flags)",
    "a parameter of a static method": "from other import run\nclass A:\n    @staticmethod\n"
    "    def f(reg, x): run(reg)\nA().f(flags, 1)",
    "super of what is not here": "from other import B\nclass A(B):\n    def f(self): super().f(flags)",
    "super in a class without bases": "class A:\n    def f(self): super().f(flags)",
    "a class without a method for it": "from attrs import frozen\n@frozen\nclass A:\n    reg: object\nA(flags)",
    "the result of a function": "from other import run\ndef f(): return flags\nrun(f())",
    "what a function gives back": "from other import run\ndef f(reg): return reg\nrun(f(flags))",
    "an unknown method": "def f(app): app.include(flags)",
    "an attribute": "from flask import g\ng.flags = flags",
    "a function in a list": "def f(many): many[0](flags)",
    "a lookup": "look = flags.lookup\nprint(look(input()))",
    "a lookup for map": "print(list(map(flags.lookup, open('names'))))",
    "another name for an item": "item = flags.__getitem__\nprint(item(input()))",
    "a lookup of a parameter": "def f(reg): return map(reg.lookup, open('names'))\nf(flags)",
    "an item that is called": "print(flags.__getitem__(input()))",
    "getitem": "import operator\nprint(operator.getitem(flags, input()))",
    "itemgetter": "import operator\nprint(operator.itemgetter(input())(flags))",
    "get of a snapshot": "print(flags.snapshot().get(input(), 5))",
    "an item of a parameter": "def f(reg, n): return reg[n].get()\nf(flags, input())",
    "an item of a snapshot": "def f(snap, n): return snap[n]\nf(flags.snapshot(), input())",
    "an item of an attribute": "class A:\n    def __init__(self, reg): self.reg = reg\n"
    "    def f(self, n): return self.reg[n].get()\nA(flags)",
    "parameters that are named as flags": "def f(zzz, **others): return zzz\nf(**flags.snapshot())",
    "parameters of a class": "class A:\n    def __init__(self, zzz): self.z = zzz\nA(**flags.snapshot())",
    "all values": "print(sum(flags.snapshot().values()))",
    "all items": "with flags.pinned() as snap:\n    for name, value in snap.items(): print(name, value)",
    "an item of values": "def f(n, **values): return values[n]\nf(input(), **flags.snapshot())",
}

HANDED_CLASSES = {
    "an instance": "from other import run\nrun(S.current())",
    "an instance of a parameter": "from other import run\ndef f(cfg: S): run(cfg)",
    "an instance of an attribute": "from other import run\nclass A:\n    cfg: S\n    def f(self): run(self.cfg)",
    "an instance for a template": "def f(request): return render(request, 'x.html', {'cfg': S.current()})",
    "getattr of a parameter": "def f(cfg, n): return getattr(cfg, n)\nf(S.current(), input())",
    "getattr of the class": "def f(cls, n): return getattr(cls, n)\nf(S, input())",
    "vars": "print(vars(S.current()))",
    "itself": "from other import run\nclass T(S):\n    def f(self): run(self)",
    "a class": "from other import run\nrun(S)",
    "a class that derives from it": "from other import run\nclass T(S): pass\nrun(T.current())",
    "a base with the same registry": "from other import run\nclass B(dflag.Flags): pass\n"
    "class S(B):\n    zzz = dflag.dyn_int(1)\nrun(B)",
    "a decorator": "from other import mark\n@mark\nclass T(S): pass",
    "the registry": "from other import run\nrun(S.registry)",
    "an attribute of what is not here": "def f(request): request.state.cfg = S.current()",
    "an attribute of another's attribute": "class A:\n    def __init__(self, app): self.app = app\n"
    "    def f(self): self.app.cfg = self.app.more = input() or S",
    "a branch of a condition": "from other import run\nrun(S.current() if input() else None)",
    "one of several": "from other import run\nrun(cfg=input() or (None and S.current()))",
    "what is kept meanwhile": "from other import run\nrun(cfg := S.current())",
    "a variable set on a condition": "from other import run\ndef f(cfg=None):\n"
    "    cfg = cfg or S.current()\n    run(cfg)",
    "what a function may return": "from other import run\ndef f(): return S.current() if input() else 5\nrun(f())",
    "what a lambda may return": "from other import run\nf = lambda x: x or S.current()\nrun(f(None))",
}


@pytest.mark.parametrize("code", HANDED_OVER.values(), ids=HANDED_OVER)
def test_what_code_that_is_not_here_gets_may_be_read(
    code: str, write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    If unknown code or an unknown name may read a registry or a snapshot, its flags are only likely unused.
    """
    write(app=HEAD + f'flags.dyn_int("zzz", 1)\n{code}')

    (found,) = findings()
    assert (found["flag"], found["confidence"]) == ("zzz", "likely")
    assert "app.py:" in found["message"]


@pytest.mark.parametrize("code", HANDED_CLASSES.values(), ids=HANDED_CLASSES)
def test_an_instance_that_code_gets_which_is_not_here_may_be_read(
    code: str, write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    If unknown code may read a class of flags or an instance, the flags are only likely unused.
    """
    write(app=f"import dflag\nclass S(dflag.Flags):\n    zzz = dflag.dyn_int(1)\n{code}")

    found = findings()
    assert {(each["flag"], each["confidence"]) for each in found} == {("zzz", "likely")}


KEPT = {
    "an updater": "dflag.Updater(flags, '/etc/x')\ndflag.Updater(S, '/etc/x')",
    "an updater under another name": "from dflag import Updater as U\nU(flags, '/etc/x')",
    "an updater from another module": "from names import Updater\nUpdater(flags, '/etc/x')",
    "the page": "from dflag import web\napp = web.make_wsgi_app(flags)\nweb.make_asgi_app([flags], x={'a': flags})",
    "metrics": "from dflag.integrations.prometheus import collect\nsend(collect(flags))",
    "middleware": "from dflag.integrations.asgi import PinMiddleware\n"
    "def f(app):\n    app.add_middleware(PinMiddleware, registry=S, updater=None)",
    "a provider": "import dflag.integrations.openfeature\n"
    "def f(api): api.set_provider(dflag.integrations.openfeature.DflagProvider(flags))",
    "the flag of the log level": "from dflag.logging import add_loglevel_flag\nadd_loglevel_flag(flags)",
    "a test": "from dflag import testing\nwith testing.isolated(flags): pass",
    "a builtin function": "print(flags, S, S.current())\nlen(flags)\nisinstance(1, S)\nlist(flags)",
    "typing": "import typing\ndef f(x): return typing.cast(S, x)\n@typing.final\nclass T(S): pass",
    "types in brackets": "def f(x: dict[str, S], y: tuple[S, int]) -> 'list[S]': return x, y",
    "types for isinstance": "def f(x): return isinstance(x, (S, int))",
    "a table of classes": "CLASSES = {'s': S, 'all': [S]}",
    "own methods": "S.from_snapshot(flags.snapshot())\nwith flags.pinned(flags.snapshot()) as s: print(s)\n"
    "S.current().replace(S.current())",
    "a method of a flag": "from names import flag\nflag.set(flags)",
    "a parameter that is not read": "def f(reg, x): return len(reg)\nf(flags, 1)",
    "a parameter beside it": "from other import run\ndef f(reg, x): run(x)\nf(flags, 1)",
    "an attribute of Python": "import logging, signal as s\ngetattr(logging, input())\ngetattr(s, 'z' + input())",
    "a keyword beside it": "from other import run\ndef f(*, reg, x): run(x)\nf(reg=flags, x=1)",
    "a parameter before it": "from other import run\nclass A:\n    def f(self, x, reg): run(self, x)\nA().f(1, flags)",
    "functions that call each other": "def f(reg): g(reg)\ndef g(reg): f(reg)\nf(flags)",
    "a parameter that is set by name": "def f(reg, n): reg[n].set(5)\nf(flags, input())",
    "an item of another parameter": "def f(reg, n, d): return d[n]\nf(flags, input(), {})",
    "an attribute of a parameter": "def f(cfg): return cfg.other\nf(S.current())",
    "the current instance, later": "from fastapi import Depends\ndef f(cfg: S = Depends(S.current)): return cfg.other",
    "an attribute": "class A:\n    def __init__(self): self.cfg, self.reg = S.current(), flags\na = A()\na.other = S",
    "another registry": "from other import run\nrun(dflag.FlagRegistry())\nmore = dflag.FlagRegistry()\nrun(more)",
    "another registry by a function": "from other import run\ndef f(reg: dflag.FlagRegistry): run(reg)\n"
    "more = dflag.FlagRegistry()\nf(more)",
    "another class": "from other import run\nclass T(dflag.Flags): pass\nrun(T, T.current(), T.registry)",
    "a base": "from other import run\nclass B(dflag.Flags): pass\nclass T(B):\n    zzz = dflag.dyn_int(1)\n"
    "run(B.current())",
    "what has flags among other things": "from other import run\nclass A:\n    def __init__(self):\n"
    "        self.reg = flags\nrun(A())",
}


@pytest.mark.parametrize("code", KEPT.values(), ids=KEPT)
def test_what_reads_no_flag_leaves_it_certain(
    code: str, write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    A flag stays certain if its registry only goes to functions of dflag, Python or the program that read no flag.
    """
    names = "from dflag import Updater\nimport dflag\nflag = dflag.FlagRegistry().int('own', 1)\nprint(flag)"
    write(app=SETTINGS + code, names=names, tests__test_app="from other import run\nfrom app import flags\nrun(flags)")

    found = findings("app.py", "names.py", "tests")
    assert {(each["flag"], each["confidence"]) for each in found} == {("zzz", "certain")}


def test_a_registry_in_other_hands_has_its_own_flags(
    write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    Only flags of a registry that unknown code gets, or may get, are likely unused; those of others stay certain.
    """
    write(
        app=HEAD
        + "from other import run\nmore = dflag.FlagRegistry()\nrun(more)\nrun(more)\n"
        + 'flags.int("a", 1)\nmore.int("b", 1)\n'
        + 'def declare(reg: dflag.FlagRegistry): reg.int("c", 1)\n'
        + 'class R(dflag.FlagRegistry):\n    def __init__(self): self.int("d", 1)\n'
        + 'class Q(R): pass\nrun(Q().snapshot())\nclass P(dflag.FlagRegistry):\n    def f(self): self.int("e", 1)\n'
        + 'alias = flags\nalias.int("f", 1)',
        made='import dflag\nfrom app import run\ndef make():\n    reg = dflag.FlagRegistry()\n    reg.int("g", 1)\n'
        '    return reg\nown = make()\nown.int("h", 1)\nrun(make())',
    )

    certain = {"a": True, "b": False, "c": False, "d": False, "e": True, "f": True, "g": False, "h": False}
    assert {each["flag"]: each["confidence"] == "certain" for each in findings()} == certain


def test_a_key_that_cannot_be_followed_is_only_likely(
    tmp_path: Path, write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    A key without a declaration is only a likely finding if the code declares names that are not followed.
    """
    write(app=HEAD + "number = flags.dyn_int\nnumber('rate', 1)", other=HEAD + "import np\nprint(np.int, np.float)")
    (tmp_path / "in.yaml").write_text("rate: 5\n", "utf-8")

    assert _brief(findings("app.py", "--input", "in.yaml")) == [("rate", "likely")]
    assert _brief(findings("other.py", "--input", "in.yaml")) == [("rate", "certain")]


def test_a_module_that_is_nested_too_deeply_cannot_be_read(
    write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]], request: pytest.FixtureRequest
) -> None:
    """
    A module that is nested too deeply is a finding, and the other modules are still read.
    """
    request.addfinalizer(partial(sys.setrecursionlimit, sys.getrecursionlimit()))
    sys.setrecursionlimit(1000)  # the default of an interpreter; Hypothesis raises it
    write(app=HEAD + 'dead = flags.int("dead", 1)', deep=f"x = {'+'.join('a' * 900)}")

    assert [each["message"] for each in findings()] == [
        "flag 'dead' is never read",
        "cannot be read: nested too deeply",
    ]


def test_a_flag_that_only_tests_read(write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]) -> None:
    """
    A flag that only tests read is reported whatever the name of the test file;
    flags that tests declare are not reported.
    """
    for name in ("tests__helper", "test_app", "app_test", "conftest"):
        write(
            app=HEAD + 'rate = flags.dyn_int("rate", 1)',
            **{name: "from app import rate, flags\nrate.get()\nflags['missing']\nflags.dyn_int('own', 1)"},
        )
        (found,) = findings()
        assert (found["flag"], found["confidence"]) == ("rate", "certain")
        assert "only in tests" in found["message"]
        write(**{name: ""})


def test_reads_of_names_that_nothing_declares(
    write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    A read of an undeclared name is certain, but likely if the registry is a parameter or if names of flags are built.
    """
    write(
        app=HEAD + 'rate_limit = flags.dyn_int("rate_limit", 1)\nflags["rate_limt"]\nrate_limit.get()',
        given='import dflag\ndef f(flags: dflag.FlagRegistry):\n    flags.lookup("theirs")',
        mapping='def f(settings):\n    settings["anything"]',
        setting='from app import flags\nwith flags.override({"rate-limit": 1}): pass',
    )

    found = findings()
    assert _brief(found) == [("rate_limt", "certain"), ("theirs", "likely"), ("rate-limit", "certain")]
    assert "did you mean 'rate_limit'?" in found[0]["message"]

    write(built=HEAD + "for name in ('a', 'b'):\n    flag = flags.int(f'rate{name}', 1)\n    print(flag)")
    assert [each["confidence"] for each in findings() if each["flag"] == "rate_limt"] == ["likely"]


@pytest.mark.parametrize(
    "code",
    [
        "def f(given): (given['x'] or flags)['zzz']\ndef g(given):\n    it = given['x'] or flags\n    it['zzz']",
        "def f(given=None):\n    it = flags if given is None else given\n    it['zzz']",
        "from other import registry\nit = registry() or flags\nit['zzz']",
        "def f(given): return given['x'] or flags\nf({})['zzz']",
        "def f(given):\n    if given: return given['x']\n    return flags\nf({})['zzz']",
    ],
)
def test_reads_of_names_from_what_may_be_another_registry(
    code: str, write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    A read of an undeclared name is likely if it may be from another registry, and certain if that can only be None.
    """
    write(app=HEAD + code)
    assert {each["confidence"] for each in findings() if each["flag"] == "zzz"} == {"likely"}

    write(app=HEAD + "it = flags if input() else None\nit['zzz']")
    assert _brief(findings()) == [("zzz", "certain")]


def test_a_registry_in_an_attribute_that_a_parameter_gives(
    write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    Flags declared on `self.registry` are found, can be read by name, and are likely unused if unknown code gets it.
    """
    declaring = (
        "class Service:\n"
        "    def __init__(self, registry):\n"
        "        self.registry = registry\n"
        "        self.rate = self.registry.dyn_int('rate', 1)\n"
        "        self.port = self.registry.int('port', 1)\n"
        "Service(flags)\n"
    )
    write(app=HEAD + declaring)
    assert _brief(findings()) == [("rate", "certain"), ("port", "certain")]

    write(app=HEAD + declaring + "print(Service(flags).rate.get(), flags['port'].get())")
    assert findings() == []

    write(app=HEAD + declaring + "import other\nother.run(flags)")
    assert _brief(findings()) == [("rate", "likely"), ("port", "likely")]


def test_a_comment_keeps_a_flag(write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]) -> None:
    """
    A comment ``# dflag: keep`` on any line of a declaration keeps the flag; the same words in a text do not.
    """
    write(
        app=HEAD
        + 'one = flags.int("one", 1)  # dflag: keep\n'
        + 'two = flags.int(\n    "two",\n    1,  # dflag: keep, the old clients ask for it\n)\n'
        + 'three = flags.int("three", 1, "# dflag: keep")\n'
    )

    assert _brief(findings()) == [("three", "certain")]


def test_a_comment_counts_on_all_lines_of_a_statement(
    write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    A keep comment counts on all lines of a statement; if that declares several flags, on the lines of each call.
    """
    write(
        app=HEAD
        + 'a = (\n    flags.dyn_int("a", 1)\n)  # dflag: keep\n'
        + 'b: object = (  # dflag: keep\n    flags.dyn_int("b", 1)\n)\n'
        + '(\n    flags.dyn_int("c", 1)\n)  # dflag: keep\n'
        + 'd = flags.bind(\n    "d", dflag.dyn_int(1)\n)  # dflag: keep\n'
        + "import datetime\n"
        + 'both = [\n    flags.int("e", 1, expires=datetime.date(2020, 1, 31)),  # dflag: keep\n'
        + '    flags.int("f", 1, expires=datetime.date(2020, 1, 31)),\n]\n'
    )

    assert _brief(findings()) == [("f", "certain")]


def test_expired_flags(write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]) -> None:
    """
    A flag whose date has passed is a finding even if it is read; on its last day it is not.
    """
    today = TODAY
    write(
        app=HEAD
        + "import datetime\nfrom datetime import date\nfrom datetime import date as Day\nimport datetime as dt\n"
        + 'one = flags.int("one", 1, expires=datetime.date(2020, 1, 31))\n'
        + f'two = flags.int("two", 1, expires=date({today.year}, {today.month}, {today.day}))\n'
        + 'three = flags.int("three", 1, expires=date(year=2020, month=1, day=31))\n'
        + 'four = flags.int("four", 1, expires=Day(2020, 1, 31))\n'
        + 'five = flags.int("five", 1, expires=dt.date(2020, 1, 31))\n'
        + "print(one, two, three, four, five)"
    )

    found = findings()
    assert _brief(found) == [(name, "certain") for name in ("one", "three", "four", "five")]
    assert "expired on 2020-01-31" in found[0]["message"]


def test_values_that_are_the_same_everywhere(
    tmp_path: Path, write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    A flag with the same text, or with a registry the same value, in all inputs is a finding, unless an input lacks it.
    """
    write(
        service=HEAD
        + 'a = flags.dyn_int("a", 1)\nb = flags.dyn_int("b", 1)\nc = flags.dyn_int("c", 1)\n'
        + 'd = flags.dyn_int("d", 1)\np = flags.dyn_string("p", "", secret=True)\nprint(a, b, c, d, p)'
    )
    (tmp_path / "one.yaml").write_text('a: "5"\nb: "16"\nc: "1"\nd: "1"\np: hush\nunknown: "1"\n', "utf-8")
    (tmp_path / "two.yaml").write_text('a: "5"\nb: "0x10"\nc: "2"\np: hush\n', "utf-8")
    inputs = ("--input", "one.yaml", "--input", "two.yaml")

    found = findings("service.py", *inputs)
    assert _brief(found) == [("unknown", "certain"), ("a", "certain"), ("p", "certain")]
    assert found[0]["file"] == "one.yaml"
    assert (found[0]["line"], found[0]["column"]) == (6, 1)
    assert "make it a constant" in found[1]["message"]

    found = findings("service.py", *inputs, "--registry", "service:flags")
    assert {each["flag"] for each in found} == {"unknown", "a", "b", "p"}
    assert "hush" not in json.dumps(found)
    assert {each["flag"] for each in findings("service.py", "--input", "one.yaml")} == {"unknown"}


SECRETS = {
    "a flag": 'pw = flags.dyn_string("pw", "", secret=True)\nprint(pw)',
    "a static flag": 'pw = flags.string("pw", "", secret=True)\nprint(pw)',
    "an attribute of a class": 'class S(dflag.Flags):\n    pw = dflag.dyn_string("", secret=True)\n'
    "print(S.current().pw)",
    "a flag that is bound": 'lib = dflag.dyn_string("", secret=True)\npw = flags.bind("pw", lib)\nprint(pw)',
    "an option that is a name": 'pw = flags.dyn_string("pw", "", secret=HIDE)\nprint(pw)',
    "options in a mapping": 'pw = flags.dyn_string("pw", "", **OPTIONS)\nprint(pw)',
    "options that are written out": 'pw = flags.dyn_string("pw", "", **{"secret": True})\nprint(pw)',
    "a type that may hold one": 'pw = flags.dyn_json("pw", None, type=Login)\nprint(pw)',
    "one of two declarations": 'if HIDE:\n    pw = flags.dyn_string("pw", "", secret=True)\n'
    'else:\n    pw = flags.dyn_string("pw", "")\nprint(pw)',
    "another with a built name": 'pw = flags.dyn_string("pw", "")\nprint(pw)\n'
    'for each in "vw":\n    print(dflag.FlagRegistry().dyn_string(f"p{each}", "", secret=True))',
}


@pytest.mark.parametrize("form", ["text", "json", "github", "sarif"])
@pytest.mark.parametrize("code", SECRETS.values(), ids=SECRETS)
def test_the_value_of_a_flag_that_the_code_declares_secret_is_not_shown(
    code: str, form: str, tmp_path: Path, write: Callable[..., None], run: Callable[..., tuple[int, str]]
) -> None:
    """
    The finding about equal values does not show the value of a flag that is or may be secret, even without a registry.
    """
    write(app=HEAD + code)
    for name in ("one.yaml", "two.yaml"):
        (tmp_path / name).write_text("pw: hunter2\n", "utf-8")

    status, out = run("unused", "app.py", "--input", "one.yaml", "--input", "two.yaml", "--format", form)

    assert status == 1
    assert "flag 'pw' has the same value in all 2 inputs: make it a constant" in out
    assert "hunter2" not in out


OPEN = {
    "no option": 'pw = flags.dyn_string("pw", "")\nprint(pw)',
    "the literal False": 'pw = flags.dyn_string("pw", "", secret=False)\nprint(pw)',
    "no type": 'pw = flags.dyn_json("pw", "", type=None)\nprint(pw)',
    "options of another sort": 'pw = flags.dyn_string("pw", "", **{"owner": "edge"})\nprint(pw)',
}


@pytest.mark.parametrize("code", OPEN.values(), ids=OPEN)
def test_the_value_of_a_flag_that_cannot_be_secret_is_shown(
    code: str, tmp_path: Path, write: Callable[..., None], run: Callable[..., tuple[int, str]]
) -> None:
    """
    The finding about equal values shows the value of a flag that cannot be secret.
    """
    write(app=HEAD + code)
    for name in ("one.yaml", "two.yaml"):
        (tmp_path / name).write_text("pw: plain\n", "utf-8")

    _, out = run("unused", "app.py", "--input", "one.yaml", "--input", "two.yaml")

    assert "flag 'pw' has the same value in all 2 inputs, 'plain': make it a constant" in out


def test_syntax_errors_are_findings_of_their_file(
    tmp_path: Path, write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    A file with a syntax error, a bad encoding, or too deep nesting is a finding, and the other files are still read.
    """
    write(app=HEAD + 'dead = flags.int("dead", 1)', broken="x = 1\ndef f(:\n")
    (tmp_path / "binary.py").write_bytes(b"\x00\xff\xfe")
    (tmp_path / "latin.py").write_bytes(b"# -*- coding: latin-1 -*-\nx = '\xe9'\n")
    (tmp_path / "deep.py").write_text("(" * 100_000, "utf-8")
    (tmp_path / "codec.py").write_text("# -*- coding: nonsense -*-\n", "utf-8")

    found = findings()
    by_file = {each["file"]: each for each in found}
    assert sorted(by_file) == ["app.py", "binary.py", "broken.py", "codec.py", "deep.py"]
    assert (by_file["broken.py"]["line"], by_file["broken.py"]["level"]) == (2, "error")


def test_directories_that_hold_no_code_of_the_program(
    write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    Environments, caches and builds are not searched, unless they are named as arguments.
    """
    dead = HEAD + 'dead = flags.int("dead", 1)'
    write(**{f"{name}__app": dead for name in (".tox", ".git", "venv", "build", "node_modules", "x.egg-info")})
    write(mine__app="")
    (path := __import__("pathlib").Path("mine/env2")).mkdir()
    (path / "pyvenv.cfg").touch()
    (path / "app.py").write_text(dead, "utf-8")

    assert findings() == []
    assert len(findings("build")) == 1


def test_references_of_one_flag_and_of_all(write: Callable[..., None], run: Callable[..., tuple[int, str]]) -> None:
    """
    `references` lists each declaration and read with its place; a first argument that is not a path is a name.
    """
    write(
        app=HEAD + 'rate = flags.dyn_int("rate_limit", 1)\nport = flags.int("port", 1)\nprint(port)',
        work="from app import rate\n\ndef f():\n    return rate.get()\n",
    )

    status, out = run("references", "rate_limit")
    assert status == 0
    assert out.splitlines() == ["app.py:3:8: rate_limit: declared, dyn_int", "work.py:4:12: rate_limit: read"]
    assert run("references", "rate", ".")[1] == out
    assert "port" in run("references", "app.py")[1]
    assert "port" in run("references")[1]
    assert run("references", "rate_limt")[0] == 1
    assert run("references", "no/such/path")[0] == 2
    sarif = json.loads(run("references", ".", "--format", "sarif")[1])
    assert {each["level"] for each in sarif["runs"][0]["results"]} == {"note"}
    assert run("references", ".", "--format", "github")[1].startswith("::notice file=")


def test_what_a_bound_flag_is_assigned_to_holds_it_as_well(
    write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]], run: Callable[..., tuple[int, str]]
) -> None:
    """
    A name that the result of `bind()` is assigned to reads the flag, and `references` finds the flag by that name.
    """
    write(
        lib="import dflag\nlimit = dflag.dyn_int(1)\nother = dflag.dyn_int(1)\n",
        app=HEAD + 'import lib\nrate = flags.bind("rate_limit", lib.limit)\nburst = flags.bind("burst", lib.other)\n',
        work="import app\ndef f(settings): return app.rate.get(), settings.burst.get()",
    )

    assert _brief(findings()) == [("burst", "likely")]
    assert "work.py:2:29: rate_limit: read\n" in run("references", "rate")[1]


SETS = {
    "an item": 'flags["rate_limit"].set(5)',
    "a lookup": 'flags.lookup("rate_limit").reset()',
    "a validator": '@flags["rate_limit"].validator\ndef check(value): pass',
    "getattr": 'getattr(app, "rate").set(5)',
    "an override by name": 'with flags.override({"rate_limit": 5}): pass',
    "an override by an item": 'with flags.override({flags["rate_limit"]: 5}): pass',
    "an override of a test": 'import dflag.testing\nwith dflag.testing.override(flags, {"rate_limit": 5}): pass',
}


@pytest.mark.parametrize("code", SETS.values(), ids=SETS)
def test_what_sets_a_flag_by_name_is_a_use_of_it(
    code: str, write: Callable[..., None], run: Callable[..., tuple[int, str]]
) -> None:
    """
    `references` lists code that sets, validates or overrides a flag by name as a use, not as a read.
    """
    write(app=HEAD + 'rate = flags.dyn_int("rate_limit", 1)', work=f"import app\nfrom app import flags\n{code}")

    declared, *uses = run("references", "rate_limit")[1].splitlines()
    assert declared == "app.py:3:8: rate_limit: declared, dyn_int"
    assert uses
    assert all(use.endswith(": rate_limit: used") for use in uses)


VALUES = {
    "a snapshot": ('def f(): flags.snapshot()["plan"].reset()', []),
    "an instance": ('def f(): getattr(S.current(), "plan").reset()', [("plan", "likely")]),
    "something": ('def f(some): some["plan"].reset()', [("plan", "likely")]),
    "an attribute of an instance": ("def f(): S.current().plan.reset()", []),
    "an attribute of something": ("def f(some): some.plan.reset()", [("plan", "likely")]),
    "an attribute of the class": ("def f(): S.plan.reset()", [("plan", "certain")]),
}


@pytest.mark.parametrize(("code", "found"), VALUES.values(), ids=VALUES)
def test_a_method_of_a_value_is_a_read_whatever_its_name(
    code: str, found: list[tuple[str, str]], write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    `reset()` on a value is a read of its flag; only on an object known to be the flag it is not.
    """
    write(app=f"import dflag\nclass S(dflag.Flags):\n    plan = dflag.dyn_json(1)\nflags = S.registry\n{code}")

    assert _brief(findings()) == found


def test_setting_a_flag_that_nothing_declares(
    write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    Setting a flag that nothing declares is a certain finding, as reading it is.
    """
    write(app=HEAD + 'flags["rate_limt"].set(5)')

    assert _brief(findings()) == [("rate_limt", "certain")]


UNPACKED = {
    "a tuple": 'one, two = flags.dyn_int("one", 1), flags.dyn_int("two", 1)\nprint(one.get())',
    "a list": '[one, two] = [flags.dyn_int("one", 1), flags.dyn_int("two", 1)]\nprint(one.get())',
    "tuples in a tuple": '(one, a), (two, b) = (flags.dyn_int("one", 1), 1), [flags.dyn_int("two", 1), 2]\nprint(one)',
    "attributes": 'class L:\n    def __init__(self):\n        self.one, self.two = flags.int("one", 1), '
    'flags.int("two", 1)\nprint(L().one.get())',
    "a class of flags": "class S(dflag.Flags):\n    one, two = dflag.dyn_int(1), dflag.dyn_int(1)\n"
    "print(S.current().one)",
    "bound": 'one, two = flags.bind("one", dflag.dyn_int(1)), flags.bind("two", dflag.dyn_int(1))\nprint(one)',
    "what holds them": "class S(dflag.Flags):\n    one = dflag.dyn_int(1)\n    two = dflag.dyn_int(1)\n"
    "def f():\n    settings, x = S.current(), 2\n    return settings.one, x",
}


@pytest.mark.parametrize("code", UNPACKED.values(), ids=UNPACKED)
def test_flags_that_are_declared_side_by_side(
    code: str, write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    If one assignment declares several flags, each flag is held by the name at its position.
    """
    write(app=HEAD + code)

    assert _brief(findings()) == [("two", "certain")]


def test_reads_of_flags_that_are_declared_side_by_side(
    write: Callable[..., None], run: Callable[..., tuple[int, str]]
) -> None:
    """
    `references` shows a flag's own place in an assignment of several, which is not a read, and where its name is read.
    """
    write(app=HEAD + 'one, two = c, d = flags.dyn_int("a", 1), flags.dyn_int("b", 1)\nprint(c.get())')

    assert run("references", "app.py")[1].splitlines() == [
        "app.py:3:19: a: declared, dyn_int",
        "app.py:4:7: a: read",
        "app.py:3:42: b: declared, dyn_int",
    ]
    assert run("references", "two", ".")[1] == "app.py:3:42: b: declared, dyn_int\n"


HANDED_ON = {
    "a starred target": 'one, *rest = flags.dyn_int("one", 1), flags.dyn_int("two", 1)',
    "a starred value": 'one, two = flags.dyn_int("one", 1), *[flags.dyn_int("two", 1)]',
    "one name for both": 'both = flags.dyn_int("one", 1), flags.dyn_int("two", 1)',
    "one name beside the two": 'both = one, two = flags.dyn_int("one", 1), flags.dyn_int("two", 1)',
    "other lengths": 'one, two = flags.dyn_int("one", 1), flags.dyn_int("two", 1), 3',
}


@pytest.mark.parametrize("code", HANDED_ON.values(), ids=HANDED_ON)
def test_flags_whose_names_are_not_known_count_as_read(
    code: str, write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    A flag in an assignment whose names cannot be matched with its values counts as read.
    """
    write(app=HEAD + code)

    assert findings() == []


def test_expired_by_owner(write: Callable[..., None], run: Callable[..., tuple[int, str]]) -> None:
    """
    `expired` lists flags by owner, with date and place; a flag that is about to expire is a warning.
    """
    soon = TODAY + datetime.timedelta(days=3)
    write(
        late_flags=HEAD
        + "import datetime\n"
        + 'flags.int("z", 1, owner="alpha", expires=datetime.date(2020, 1, 1))\n'
        + 'flags.int("y", 1, expires=datetime.date(2020, 1, 1))\n'
        + f'flags.int("x", 1, owner="beta", expires=datetime.date{(soon.year, soon.month, soon.day)})\n'
        + 'flags.int("w", 1)\n'
    )

    status, out = run("expired", "late_flags:flags")
    assert status == 1
    assert [line.split(": ")[1:3] for line in out.splitlines()] == [
        [
            "alpha",
            f"flag 'z' expired on 2020-01-01, {AGE_DAYS} days ago",
        ],
        [
            "nobody",
            f"flag 'y' expired on 2020-01-01, {AGE_DAYS} days ago",
        ],
    ]
    assert out.startswith("late_flags.py:4:1: ")
    found = json.loads(run("expired", "late_flags:flags", "--within", "7", "--format", "json")[1])["findings"]
    assert [(each["flag"], each["level"]) for each in found] == [("z", "error"), ("x", "warning"), ("y", "error")]
    assert run("expired", "late_flags:flags", "--within", "-1")[0] == 2


def test_an_owner_of_several_lines_is_on_one(write: Callable[..., None], run: Callable[..., tuple[int, str]]) -> None:
    """
    `expired` prints one line per flag, even if the owner has several lines; an empty owner is printed as nobody.
    """
    write(
        owned_flags=HEAD
        + "import datetime\n"
        + 'flags.int("z", 1, owner="", expires=datetime.date(2020, 1, 1))\n'
        + 'flags.int("y", 1, owner="pay\\nments", expires=datetime.date(2020, 1, 1))\n'
    )
    owners = [line.split(": ")[1] for line in run("expired", "owned_flags:flags")[1].splitlines()]
    assert owners == ["pay\\nments", "nobody"]


def test_within_a_number_of_days_includes_the_last_of_them(
    write: Callable[..., None], run: Callable[..., tuple[int, str]]
) -> None:
    """
    A flag that expires in 1 day is listed with --within 1, one that expires today with 0, and neither without it.
    """
    days = [TODAY + datetime.timedelta(days=number) for number in (0, 1, 2)]
    flags = [f"flags.int('day{n}', 1, expires=datetime.date({d.year}, {d.month}, {d.day}))" for n, d in enumerate(days)]
    write(soon_flags="\n".join([HEAD, "import datetime", *flags]))
    listed = {}
    for options in ((), ("--within", "0"), ("--within", "1")):
        out = run("expired", "soon_flags:flags", *options, "--format", "json")[1]
        listed[options] = [each["flag"] for each in json.loads(out)["findings"]]
    assert list(listed.values()) == [[], ["day0"], ["day0", "day1"]]


def test_nothing_of_the_program_is_imported(write: Callable[..., None], run: Callable[..., tuple[int, str]]) -> None:
    """
    `unused` and `references` do not import the program: a module that raises is read as text.
    """
    write(app=HEAD + 'raise SystemExit("imported")')

    assert run("unused", ".") == (0, "")
    assert run("references", ".") == (0, "")


def _service(number: int, rng: random.Random) -> tuple[dict[str, str], dict[str, str]]:
    """
    Return the files of a service, and how each of its flags is used.
    """
    package, fates = f"service_{number}", {}
    declared, exported, work, tests = [], [], ["from . import flagdefs", "suffix = input()"], []
    for index in range(12):
        fate = rng.choice(("read", "dead", "only in tests", "by name", "built", "exported"))
        name, variable = f"{package}_{fate.replace(' ', '_')}_{index}", f"v{number}_{index}"
        fates[name] = fate
        declared.append(f"{variable} = flags.{rng.choice(('dyn_int', 'int', 'dyn_float'))}({name!r}, 1)")
        if fate == "read":
            work.append(rng.choice((f"flagdefs.{variable}.get()", f"from .flagdefs import {variable} as v\nprint(v)")))
        elif fate == "by name":
            work.append(f"flagdefs.flags[{name!r}].get()")
        elif fate == "built":
            built = (f"flagdefs.flags['{package}_built_' + suffix].get()", f"getattr(flagdefs, {variable!r}).get()")
            work.append(rng.choice(built))
        elif fate == "only in tests":
            tests.append(f"from {package}.flagdefs import {variable}\n{variable}.get()")
        elif fate == "exported":
            exported.append(f"from .flagdefs import {variable}")
    files = {
        f"{package}__INIT": exported,
        f"{package}__flagdefs": [HEAD, *declared],
        f"{package}__work": work,
        f"tests__test_{package}": tests,
    }
    return {file: "\n".join(lines) for file, lines in files.items()}, fates


def test_fifty_services(write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]) -> None:
    """
    In fifty services all flags that nothing reads are certain, and no flag that something may read is certain.
    """
    rng = random.Random(19)
    fates: dict[str, str] = {}
    for number in range(50):
        files, found_there = _service(number, rng)
        write(**files)
        fates |= found_there

    found = {each["flag"]: each["confidence"] for each in findings()}
    confidence = {"dead": "certain", "only in tests": "certain", "built": "likely", "exported": "likely"}
    assert found == {name: confidence[fate] for name, fate in fates.items() if fate in confidence}
    assert len(found) > 300


@pytest.mark.untraced
def test_the_time_grows_with_the_code(
    tmp_path: Path, write: Callable[..., None], run: Callable[..., tuple[int, str]]
) -> None:
    """
    Five times the modules take at most eighteen times the time, where quadratic growth would be twenty-five.
    """
    work = "def work{0}(x):\n    y = [x + f{0}.get() for x in range(x) if x]\n    return y"
    body = HEAD + "\n".join(f"f{n} = flags.dyn_int('flag_%d_{n}', 1)\n{work.format(n)}" for n in range(60))
    seconds = []
    for count, first in ((10, 0), (50, 10)):
        for number in range(first, count):
            write(**{f"module_{number}": body % ((number,) * 60)})
        seconds.append(min(_seconds(run) for _ in range(2)))

    assert seconds[1] < 18 * seconds[0]


def _seconds(run: Callable[..., tuple[int, str]]) -> float:
    before = time.process_time()
    assert run("unused", ".")[0] == 0
    return time.process_time() - before


@pytest.mark.parametrize(
    "code",
    [
        "from absl import flags\nflags.DEFINE_string('name', 'x', 'help')\nprint(flags.FLAGS.name)",
        "import argparse\np = argparse.ArgumentParser()\np.add_argument('--rate')\nprint(p.parse_args().rate)",
        "RATE = 5\nfrom multiprocessing import Pool\npool = Pool()\npool.map('a', 'b')",
        "response = object()\nresponse.json('name')\nmatch response:\n    case {'a': b}: pass",
        "async def f():\n    async with g() as h:\n        async for i in h:\n            await i\nx: 'a.b' = 1",
        "def f(a, /, b: 'int', *c, **e) -> None: ...\nf(*[1], **{})\nx = y[1:2, ...]\ndel x[0]\nx[0] += 1",
    ],
)
def test_programs_without_dflag(code: str, write: Callable[..., None], run: Callable[..., tuple[int, str]]) -> None:
    """
    A program without dflag has no findings and no references.
    """
    write(app=code)

    assert run("unused", ".") == (0, "")
    assert run("references", ".") == (0, "")


def test_imports_in_a_circle(write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]) -> None:
    """
    Circular imports and names that are defined by each other end the search, and no finding is certain.
    """
    write(
        a="from b import x\nfrom b import *\ny = x\nx = y\nprint(x.rate)",
        b="from a import x, y\nfrom a import *\nclass A(B): pass\nclass B(A):\n    z = y.z\nprint(A.z, B().z)",
        c=HEAD + 'rate = flags.dyn_int("rate", 1)\nz = flags.dyn_int("z", 1)',
    )

    assert all(each["confidence"] == "likely" for each in findings())


def test_methods_that_return_what_others_do(
    write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    Methods that call each other are followed once, and a long chain of calls only for some steps.
    """
    methods = [
        f"    def m{n}(self, x):\n"
        + "".join(f"        if x: return self.m{(n * n + other) % 30}(x)\n" for other in range(4))
        for n in range(30)
    ]
    chain = "".join(f"def f{n}(): return f{n + 1}()\n" for n in range(300))
    write(
        app=HEAD
        + "class S(dflag.Flags):\n    rate = dflag.dyn_int(1)\n    burst = dflag.dyn_int(1)\n"
        + "    dead = dflag.dyn_int(1)\n"
        + f"class P:\n{''.join(methods)}"
        + "class Q:\n    def a(self): return self.b()\n    def b(self):\n        if self: return self.a()\n"
        + "        return S.current()\n"
        + f"{chain}def f300(): return S.current()\n"
        + "print(Q().a().burst, Q().b().burst, P().m1(1), P().m1(1).rate, f0().rate)"
    )

    assert _brief(findings()) == [("rate", "likely"), ("dead", "certain")]


def test_names_that_stand_for_their_own_attributes(
    write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    A name that is assigned its own attributes many times is followed for a few steps, through each of them.
    """
    grows = "\n".join(f"    node = node.{letter}" for letter in "abcdefgh")
    write(
        app=HEAD
        + "class S(dflag.Flags):\n    rate = dflag.dyn_int(1)\n    dead = dflag.dyn_int(1)\n"
        + "class A:\n    h: S\n"
        + f"def f(node: A):\n{grows}\n    return node.rate\n"
        + f"def g(node):\n{grows}\n    return node.x.y(node)\ng(flags)"
    )

    assert _brief(findings()) == [("dead", "certain")]


FORMATS = list(itertools.product(("text", "json", "github", "sarif"), ("unused", "references")))


@pytest.mark.parametrize(("form", "command"), FORMATS)
def test_every_format(form: str, command: str, write: Callable[..., None], run: Callable[..., tuple[int, str]]) -> None:
    """
    Each format names the file, and escapes control characters of a terminal.
    """
    write(app=HEAD + 'x = flags.int("a\\x1b[31m", 1)')

    _, out = run(command, ".", "--format", form)
    assert "app.py" in out
    assert "\x1b" not in out


KEYS = {
    "a map": ("keys='*.limit'", "s.eu.limit", None),
    "a map of a class": ("keys='eu.*'", "s.eu.limit", None),
    "without the prefix": ("keys='eu.*'", "eu.limit", "certain"),
    "a pattern in a variable": ("keys=KEYS", "s.eu.limit", "likely"),
    "options in a variable": ("**OPTIONS", "s.eu.limit", "likely"),
}


@pytest.mark.parametrize(("option", "key", "confidence"), KEYS.values(), ids=KEYS)
def test_keys_of_maps(
    option: str,
    key: str,
    confidence: str | None,
    tmp_path: Path,
    write: Callable[..., None],
    findings: Callable[..., list[dict[str, Any]]],
) -> None:
    """
    A key that matches a map's pattern after the class's prefix is declared;
    if the pattern is unknown, a key is only likely undeclared.
    """
    write(app=f"import dflag\nclass S(dflag.Flags, prefix='s.'):\n    m = dflag.dyn_map({{}}, {option})\nprint(S.m)")
    (tmp_path / "in.yaml").write_text(f"s.m: {{}}\n{key}: 5\n", "utf-8")

    found = findings(".", "--input", "in.yaml", "--input", "in.yaml")
    assert [each["confidence"] for each in found if each["flag"] == key] == ([confidence] if confidence else [])
    assert [each["flag"] for each in found if "the same value" in each["message"]] == ["s.m"] * (
        confidence == "certain"
    )


@pytest.mark.parametrize("options", [("--registry", "documented:flags"), ()], ids=["with a registry", "without one"])
def test_documents_inside_a_key_are_inputs(
    options: tuple[str, ...], tmp_path: Path, write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    Keys of a document in a key of an input must be flags, unless the key that holds it is a flag.
    """
    write(documented=HEAD + "print(flags.int('rate', 1), flags.int('own.json', 1))")
    head = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: x}\ndata:\n"
    documents = "  a.yaml: |\n    rate: 5\n    rat: 1\n  other: |\n    rate: 6\n  own.json: '7'\n"
    (tmp_path / "in.yaml").write_text(head + documents, "utf-8")

    found = findings(".", "--input", "in.yaml", "--key", "other", *options)
    assert [(each["flag"], each["line"], each["column"]) for each in found] == [("rat", 7, 5)]


def test_keys_and_reads_of_retired_flags(
    tmp_path: Path, write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]]
) -> None:
    """
    A key of a retired flag is a warning in the words of ``check``, and a read is an error; neither has a hint.
    """
    write(
        gone_flags=HEAD
        + 'import datetime\nDAY = datetime.date(2026, 10, 1)\nrate = flags.dyn_int("rate", 1)\nrate.get()\n'
        + 'flags.retired("old_rate", since=datetime.date(2026, 10, 1))\nflags.retired("rates", since=DAY)\n'
        + 'flags.retired(name="gone", since=DAY)\n'
        + 'def read(): return flags["old_rate"]'
    )
    (tmp_path / "in.yaml").write_text('old_rate: "5"\nrates: "6"\nrat: "7"\ngone: "8"\n', "utf-8")

    expected = [
        ("error", "flag 'old_rate' is read and has been retired since 2026-10-01"),
        ("warning", "flag 'old_rate' has been retired since 2026-10-01: remove the key"),
        ("warning", "flag 'rates' is retired: remove the key"),
        ("error", "key 'rat' has no declaration (did you mean 'rate'?)"),
        ("warning", "flag 'gone' is retired: remove the key"),
    ]
    assert [(each["level"], each["message"]) for each in findings(".", "--input", "in.yaml")] == expected
    for index, name in ((2, "rates"), (4, "gone")):
        expected[index] = ("warning", f"flag '{name}' has been retired since 2026-10-01: remove the key")
    strict = findings(".", "--input", "in.yaml", "--registry", "gone_flags:flags", "--strict")
    assert [(each["level"], each["message"]) for each in strict] == expected


def test_check_warns_of_keys_that_are_retired(
    tmp_path: Path, write: Callable[..., None], run: Callable[..., tuple[int, str]]
) -> None:
    """
    `check` warns of a key that is retired, and does not count it as unknown, even with ``--strict``.
    """
    write(retiring=HEAD + 'import datetime\nflags.retired("old", since=datetime.date(2026, 10, 1))')
    (tmp_path / "in.yaml").write_text("old: 5\n", "utf-8")

    assert run("check", "retiring:flags", "in.yaml", "--strict") == (
        0,
        "in.yaml:1:1: warning: flag 'old' has been retired since 2026-10-01: remove the key\n",
    )


def _rules(*settings: str) -> str:
    return "".join(f"  - {{when: {{zone: a}}, set: {{{setting}}}}}\n" for setting in settings)


def test_what_rules_set_is_no_constant(
    write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    """
    A flag that a rule in any input sets, itself or a key of its map, is not reported as having one value.
    """
    write(
        service=HEAD + 'rate = flags.dyn_int("rate", 1)\nsame = flags.dyn_int("same", 1)\n'
        'limits = flags.dyn_map("limits", {}, keys="*.limit", of="int")\nprint(rate.get(), same.get(), limits.get())'
    )
    plain = 'rate: 5\nsame: 5\nlimits: "{}"\n'
    (tmp_path / "one.yaml").write_text(f"{plain}_rules:\n{_rules('rate: 7', 'rate: 8', 'a.limit: 4')}")
    (tmp_path / "two.yaml").write_text(plain)

    assert _brief(findings("service.py", "--input", "one.yaml", "--input", "two.yaml")) == [("same", "certain")]


def test_rules_are_no_key_and_set_keys(
    write: Callable[..., None], findings: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    """
    The key of rules needs no declaration; a key that a rule sets does, and is reported at its first place.
    """
    write(service=HEAD + 'rate = flags.dyn_int("rate", 1)\nprint(rate.get())')
    (tmp_path / "in.yaml").write_text("_rules:\n" + _rules("rate: 5", "other: 6", "other: 7"))
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / "_rules.yaml").write_text("- set: {rate: 4}")

    (found,) = findings("service.py", "--input", "in.yaml", "--input", "volume")

    assert (found["flag"], found["file"], found["line"], found["column"]) == ("other", "in.yaml", 3, 29)
