"""
The fixtures and the marker of the pytest plugin, and its check that no test leaves a flag overridden.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

import pytest

import dflag
from dflag import pytest_plugin
from dflag._flags import layers_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    Run: TypeAlias = Callable[..., pytest.RunResult]

pytest_plugins = ["pytester"]

APP = """
import dflag

flags = dflag.FlagRegistry()
rate = flags.dyn_int("rate_limit", 50, min=1)
port = flags.int("port", 8080)
level = flags.dyn_string("log.level", "info")
library = dflag.dyn_int(3)
"""


@pytest.fixture(name="run")
def _run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """
    Return a function that runs tests, which import `app`, with this plugin and no other installed one.
    """
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.syspath_prepend(pytester.path)
    pytester.makepyfile(app=APP)

    def run(*args: str, **files: str) -> pytest.RunResult:
        pytester.makepyfile(
            **{name: "import pytest\nfrom app import *\n" + textwrap.dedent(text) for name, text in files.items()}
        )
        return pytester.runpytest_inprocess("-p", "dflag.pytest_plugin", "-p", "no:cacheprovider", "-W", "error", *args)

    return run


def test_pytest_finds_the_plugin_by_itself() -> None:
    """
    The installed distribution names the plugin, so that no conftest has to.
    """
    (found,) = entry_points(group="pytest11", name="dflag")
    assert found.value == "dflag.pytest_plugin"


def test_an_older_pytest_loads_the_plugin() -> None:
    """
    The plugin, which each test run with dflag installed loads, can be imported with an older pytest and pluggy.
    """
    program = """
    import pluggy, pytest

    marked = pluggy.HookimplMarker.__call__

    # as in pluggy 1.0, which pytest 6 and 7 take
    def mark(self, function=None, hookwrapper=False, optionalhook=False, tryfirst=False, trylast=False, specname=None):
        return marked(self, function, hookwrapper, optionalhook, tryfirst, trylast, specname)

    pluggy.HookimplMarker.__call__ = mark
    del pytest.StashKey, pytest.Stash, pytest.Config  # of pytest 7
    import dflag.pytest_plugin
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True)


def test_nothing_heavy_is_imported_at_the_start() -> None:
    """
    Importing the plugin loads no other package than dflag, and of dflag neither test kit nor sources nor updater.
    """
    code = (
        "import sys, pytest; before = set(sys.modules); import dflag.pytest_plugin; print(*set(sys.modules) - before)"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    loaded = set(out.split())
    assert {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names == {"dflag"}
    assert not loaded & {"dflag.testing", "dflag.sources", "dflag._updater"}


def test_an_isolated_registry_is_as_before_for_the_next_test(run: Run) -> None:
    """
    Registries that a test gives to `dflag_isolated` are restored at its end, also when the test fails.
    """
    run(
        test_it="""
        import dflag
        others = dflag.FlagRegistry()
        other = others.int("other", 1)

        @pytest.mark.parametrize("turn", [1, 2])
        def test_it(dflag_isolated, dflag_override, turn):
            dflag_override(flags, port=1)
            dflag_isolated(flags)
            dflag_isolated(others)
            assert (rate.get(), port.get(), other.get()) == (50, 1, 1)
            dflag.Updater.setup(flags, dflag.sources.MemorySource({"rate_limit": "60"}))
            others.parse_args(["--other=2"])
            rate.set(7)
            port.on_change(lambda old, new: None)
            assert (rate.get(), other.get()) == (7, 2)
            assert turn == 2

        def test_after():
            assert (rate.get(), port.get(), other.get()) == (50, 8080, 1)
            port.set(5)
            port.reset()
        """
    ).assert_outcomes(passed=2, failed=1)


def test_no_rule_holds_what_is_put_back(run: Run) -> None:
    """
    An override left behind is undone even if a registry validator would refuse the values without it.
    """
    run(
        test_it="""
        def test_first():
            rate.set(7)

            @flags.validator
            def seven(candidate):
                if candidate[rate] != 7:
                    raise ValueError("not seven")

        def test_second():
            assert rate.get() == 50
        """
    ).assert_outcomes(passed=2, errors=1)


def test_override_lasts_until_the_end_of_the_test(run: Run) -> None:
    """
    Calls of `dflag_override` nest, take both forms, and are undone together at the end of the test.
    """
    run(
        test_it="""
        def test_first(dflag_override):
            dflag_override({rate: 5, port: 1})
            dflag_override(flags, rate_limit=6)
            dflag_override(flags, {"log.level": "debug"}, port=2)
            dflag_override({library: 4})
            assert (rate.get(), port.get(), level.get(), library.get()) == (6, 2, "debug", 4)

        def test_second():
            assert (rate.get(), port.get(), level.get(), library.get()) == (50, 8080, "info", 3)
        """
    ).assert_outcomes(passed=2)


def test_frozen_static_flags_are_overridden_too(run: Run) -> None:
    """
    `dflag_override` sets a static flag of a frozen registry until the end of the test.
    """
    run(
        test_it="""
        def test_first(dflag_override):
            flags.freeze()
            dflag_override(flags, port=2)
            assert port.get() == 2

        def test_second():
            assert port.get() == 8080
        """
    ).assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("dflag_override({rate: 5, port: 'x'})", "ValidationError"),
        ("dflag_override(flags, rate_limit=0)", "ValidationError"),
        ("dflag_override(flags, rate=0)", "UnknownFlagError"),
        ("dflag_override({'rate_limit': 5})", "TypeError"),
        ("dflag_override({rate: 5}, port=2)", "TypeError"),
        ("dflag_override(5)", "TypeError"),
    ],
)
def test_a_bad_override_sets_nothing(run: Run, call: str, error: str) -> None:
    """
    A value that is refused, a name that no flag has, or another form of call raises before anything is set.
    """
    run(
        test_it=f"""
        def test_first(dflag_override):
            with pytest.raises(Exception) as caught:
                {call}
            assert caught.typename == "{error}"
            assert (rate.get(), port.get()) == (50, 8080)
        """
    ).assert_outcomes(passed=1)


def test_marker_on_module_class_and_function(run: Run) -> None:
    """
    The marker takes both forms, on a module, a class and a function; the marker closest to the test wins.
    """
    run(
        "--strict-markers",
        test_it="""
        pytestmark = [pytest.mark.dflag({rate: 1, port: 1}), pytest.mark.dflag(flags, {"log.level": "module"})]

        @pytest.mark.dflag(flags, rate_limit=2)
        class TestClass:
            def test_class(self):
                assert (rate.get(), port.get(), level.get()) == (2, 1, "module")

            @pytest.mark.dflag({rate: 3})
            def test_function(self):
                assert (rate.get(), port.get()) == (3, 1)

        def test_module():
            assert (rate.get(), port.get()) == (1, 1)
        """,
        test_other="""
        def test_outside():
            assert (rate.get(), port.get(), level.get()) == (50, 8080, "info")
        """,
    ).assert_outcomes(passed=4)


def test_fixtures_of_the_test_see_the_marker(run: Run) -> None:
    """
    A fixture reads the value that the marker of its test sets.
    """
    run(
        test_it="""
        @pytest.fixture
        def seen():
            return rate.get()

        @pytest.mark.dflag({rate: 5})
        def test_it(seen):
            assert seen == 5
        """
    ).assert_outcomes(passed=1)


def test_marker_with_a_bad_value_is_an_error_of_the_test(run: Run) -> None:
    """
    A marker with a bad value fails its test with the message of the flag, and the test's other marker is undone.
    """
    result = run(
        test_it="""
        @pytest.mark.dflag({rate: 0})
        @pytest.mark.dflag({port: 1})
        def test_first():
            pass

        def test_second():
            assert (rate.get(), port.get()) == (50, 8080)
        """
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines("*flag 'rate_limit': expected an int of at least 1, got 0*")


def test_an_override_left_behind_fails_the_test_and_no_other(run: Run) -> None:
    """
    A test that leaves overrides fails with each flag and its declaration, and the next test has the earlier values.
    """
    result = run(
        test_it="""
        def test_first():
            rate.set(5)
            library.set(4)

        def test_second():
            assert (rate.get(), library.get()) == (50, 3)
        """
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_first*",
            "*left overridden by the test: flag '(unbound)' (*app.py:7), flag 'rate_limit' (declared at *app.py:4)",
        ]
    )


def test_an_override_left_behind_on_a_class_fails_the_test(run: Run, pytester: pytest.Pytester) -> None:
    """
    An override left behind on a class of flags fails its test; a class is isolated and overridden as a registry is.
    """
    pytester.makepyfile(
        shop="import dflag\n\n\nclass Settings(dflag.Flags):\n    pace = dflag.dyn_int(50)\n",
    )
    result = run(
        test_it="""
        import shop

        def test_first():
            shop.Settings.pace.set(5)

        def test_second(dflag_isolated, dflag_override):
            assert shop.Settings.current().pace == 50
            dflag_isolated(shop.Settings)
            dflag_override(shop.Settings, pace=6)
            shop.Settings.pace.set(7)

        def test_third():
            assert shop.Settings.current().pace == 50
        """
    )
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines("*left overridden by the test: flag 'pace' (declared at *shop.py:5)")


@pytest.mark.parametrize("autouse", [True, False])
def test_an_override_left_behind_by_a_fixture_of_the_test_fails_it(run: Run, autouse: bool) -> None:
    """
    An override that a fixture of a test, autouse or requested, leaves behind fails the test.
    """
    run(
        conftest=f"""
        @pytest.fixture(autouse={autouse})
        def quick():
            rate.set(5)
        """,
        test_it=f"""
        def test_first({"" if autouse else "quick"}):
            assert rate.get() == 5
        """,
    ).assert_outcomes(passed=1, errors=1)


def test_what_is_put_back_is_no_finding(run: Run) -> None:
    """
    Overrides that a test or its fixture undoes do not fail the test.
    """
    run(
        conftest="""
        @pytest.fixture(autouse=True)
        def quick():
            with flags.override({rate: 5}):
                yield
        """,
        test_it="""
        def test_first():
            rate.set(6)
            rate.reset()
        """,
    ).assert_outcomes(passed=1)


@pytest.mark.parametrize("how", ["request.getfixturevalue('slow')", "slow"])
def test_an_override_of_a_wider_fixture_stays(run: Run, how: str) -> None:
    """
    An override of a module's fixture lasts for the module, whether a test names the fixture or requests it at run time.
    """
    ask = how if "(" in how else "None"
    run(
        test_it=f"""
        @pytest.fixture(scope="module")
        def slow():
            with flags.override({{rate: 5}}):
                yield

        def test_first(request{"" if "(" in how else ", slow"}):
            {ask}
            assert rate.get() == 5

        def test_second(slow, dflag_override):
            assert rate.get() == 5
            dflag_override(flags, rate_limit=6)

        def test_third(slow):
            assert rate.get() == 5
        """,
        test_other="""
        def test_outside():
            assert rate.get() == 50
        """,
    ).assert_outcomes(passed=4)


@pytest.mark.parametrize("scope", ["class", "module", "session"])
def test_what_a_wider_fixture_overrides_goes_when_it_fails(run: Run, scope: str) -> None:
    """
    When a wider fixture fails, its overrides are undone, and those of another fixture that it has requested stay.
    """
    run(
        test_it=f"""
        @pytest.fixture(scope="{scope}")
        def other():
            with flags.override({{level: "debug"}}):
                yield

        @pytest.fixture(scope="{scope}")
        def service(request):
            request.getfixturevalue("other")
            rate.set(5)
            raise RuntimeError("the service did not start")

        class Test:
            def test_first(self, service):
                pass

            def test_second(self, other):
                assert (rate.get(), level.get()) == (50, "debug")
        """,
        test_other="""
        def test_outside():
            assert rate.get() == 50
        """,
    ).assert_outcomes(passed=2, errors=1)


def test_cleaning_up_brings_back_the_override_of_a_wider_fixture(run: Run) -> None:
    """
    A test that sets a flag which a module's fixture overrides fails, and the next test has the value of the fixture.
    """
    run(
        test_it="""
        @pytest.fixture(scope="module")
        def slow():
            with flags.override({rate: 5}):
                yield

        def test_first(slow):
            rate.set(6)

        def test_second(slow):
            assert rate.get() == 5
        """
    ).assert_outcomes(passed=2, errors=1)


def test_a_registry_of_the_test_is_its_own(run: Run) -> None:
    """
    An override in a registry that the test has made does not fail it, even if the registry outlives the test.
    """
    run(
        test_it="""
        kept = []

        def test_first():
            own = dflag.FlagRegistry()
            own.dyn_int("rate_limit", 50).set(5)
            kept.append(own)
        """
    ).assert_outcomes(passed=1)


def test_a_module_imported_by_the_test_is_not(run: Run, pytester: pytest.Pytester) -> None:
    """
    An override in the registry of a module fails the test, even if the test was the first to import the module.
    """
    pytester.makepyfile(late=APP)
    result = run(
        test_it="""
        def test_first():
            import late

            late.rate.set(5)

        def test_second():
            import late

            assert late.rate.get() == 50
        """
    )
    result.assert_outcomes(passed=2, errors=1)


def test_modules_are_looked_through_once(run: Run) -> None:
    """
    Modules are searched for registries once for a test, however many registries the test makes.
    """
    run(
        test_it="""
        import sys, types

        looks = []

        class Counting(types.ModuleType):
            @property
            def __dict__(self):
                looks.append(self)
                return {}

        sys.modules["counting"] = Counting("counting")
        kept = []

        def test_first():
            for _ in range(20):
                own = dflag.FlagRegistry()
                own.dyn_int("rate_limit", 50).set(5)
                kept.append(own)
            looks.clear()

        def test_second():
            del sys.modules["counting"]
            assert len(looks) == 1
        """
    ).assert_outcomes(passed=2)


def test_a_registry_at_rest_is_not_looked_through_again(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The flags of a registry that has not changed since the last check are not looked through again.
    """
    rate = flags.dyn_int("rate_limit", 50)
    looked: list[dflag.Flag[object]] = []

    def look(flag: dflag.Flag[object]) -> object:
        looked.append(flag)
        return layers_of(flag)

    first = pytest_plugin._Overridden(None)
    monkeypatch.setattr(pytest_plugin, "layers_of", look)
    second = pytest_plugin._Overridden(first)
    assert second.restore() == []
    assert rate not in looked
    rate.set(5)
    (left,) = second.restore()
    assert left.startswith("flag 'rate_limit' (declared at ")
    assert rate in looked
    assert rate.get() == 50


def test_unittest_classes_are_held_to_it_too(run: Run) -> None:
    """
    Under pytest, a `TestCase` has the marker and the check for overrides left behind, like any test.
    """
    run(
        test_it="""
        import unittest

        @pytest.mark.dflag({rate: 5})
        class Case(unittest.TestCase):
            def setUp(self):
                assert rate.get() == 5

            def test_first(self):
                assert rate.get() == 5

            def test_left(self):
                port.set(1)
        """
    ).assert_outcomes(passed=2, errors=1)


def test_threads_and_tasks_see_the_override(run: Run) -> None:
    """
    An override holds for the process: in threads begun before and after, and in every task.
    """
    run(
        test_it="""
        import asyncio
        from concurrent.futures import ThreadPoolExecutor

        @pytest.fixture(scope="module")
        def pool():
            with ThreadPoolExecutor(1) as pool:
                pool.submit(rate.get).result()
                yield pool

        def test_threads(pool, dflag_override):
            dflag_override({rate: 5})
            assert pool.submit(rate.get).result() == 5

        def test_tasks(dflag_override):
            async def main():
                task = asyncio.create_task(read(ready := asyncio.Event()))
                dflag_override({rate: 5})
                ready.set()
                return await task

            async def read(ready):
                await ready.wait()
                return rate.get()

            assert asyncio.run(main()) == 5
        """
    ).assert_outcomes(passed=2)


def test_workers_of_xdist_do_not_meet(run: Run) -> None:
    """
    Workers of xdist do not see each other's overrides, and an override left behind fails its own test.
    """
    result = run(
        "-p",
        "xdist.plugin",
        "-n2",
        test_it="""
        @pytest.mark.parametrize("n", range(1, 9))
        def test_it(n, dflag_override):
            assert rate.get() == 50
            dflag_override({rate: n})
            assert rate.get() == n

        def test_left():
            rate.set(5)
        """,
    )
    result.assert_outcomes(passed=9, errors=1)


def test_volume_is_published_as_the_kubelet_does(run: Run) -> None:
    """
    `configmap_volume` gives each test an empty volume of its own, which publishes values by the link ``..data``.
    """
    run(
        test_it="""
        def test_first(configmap_volume, tmp_path):
            configmap_volume.write({"rate_limit": "60"})
            assert (tmp_path / "configmap" / "..data").is_symlink()
            with dflag.Updater.setup(flags, configmap_volume.path):
                assert rate.get() == 60

        def test_second(configmap_volume):
            assert configmap_volume.read() == {}
        """
    ).assert_outcomes(passed=2)
