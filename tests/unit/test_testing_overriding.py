"""
`override()` of one registry or several, in blocks, functions, and the test cases of unittest and Django.
"""

from __future__ import annotations

import asyncio
import unittest
from typing import TYPE_CHECKING

import pytest

import dflag
from dflag.testing import override

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


def _outcome(case: type[unittest.TestCase]) -> unittest.TestResult:
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    return result


def test_flags_of_several_registries(flags: dflag.FlagRegistry) -> None:
    """
    One call overrides flags of different registries and unbound flags.
    """
    other = dflag.FlagRegistry()
    one, two, three = flags.dyn_int("a", 1), other.dyn_int("a", 1), dflag.dyn_int(1)
    with override({one: 2, two: 3, three: 4}):
        assert (one.get(), two.get(), three.get()) == (2, 3, 4)
    assert (one.get(), two.get(), three.get()) == (1, 1, 1)


def test_one_bad_value_keeps_all_registries_as_they_are(flags: dflag.FlagRegistry) -> None:
    """
    No flag is set, and no callback runs, when the value for a flag of any registry is refused.
    """
    other = dflag.FlagRegistry()
    one, two = flags.dyn_int("a", 1), other.dyn_int("a", 1)
    seen = []
    one.on_change(lambda old, new: seen.append(new))
    with pytest.raises(dflag.ValidationError), override({one: 2, two: "x"}):
        pass
    assert flags.flush(timeout=10)
    assert not seen


def test_as_a_decorator_of_a_coroutine_function(flags: dflag.FlagRegistry) -> None:
    """
    A decorated coroutine method runs under the override, and unittest still awaits it.
    """
    rate = flags.dyn_int("rate_limit", 50)
    seen = []

    class Case(unittest.IsolatedAsyncioTestCase):
        @override({rate: 5})
        async def test_it(self) -> None:
            await asyncio.sleep(0)
            seen.append(rate.get())

    assert _outcome(Case).wasSuccessful()
    assert (seen, rate.get()) == ([5], 50)


def test_what_cannot_be_decorated(flags: dflag.FlagRegistry) -> None:
    """
    Decorating a class, a generator function, a staticmethod or a classmethod raises `TypeError`.
    """
    rate = flags.dyn_int("rate_limit", 50)

    def generate() -> Iterator[int]:
        yield rate.get()

    async def generate_async() -> AsyncIterator[int]:
        yield rate.get()

    for wrong in (unittest.TestCase, generate, generate_async, staticmethod(rate.get), classmethod(print)):
        with pytest.raises(TypeError, match="expected a function to decorate, and no class, generator"):
            override({rate: 5})(wrong)


def test_an_object_with_an_async_call_is_decorated(flags: dflag.FlagRegistry) -> None:
    """
    The async ``__call__`` of a decorated object runs under the override until it is done.
    """
    rate = flags.dyn_int("rate_limit", 50)

    class Reader:
        async def __call__(self) -> int:
            await asyncio.sleep(0)
            return rate.get()

    async def read() -> int:
        return await override({rate: 5})(Reader())()

    assert asyncio.run(read()) == 5
    assert rate.get() == 50


def test_one_override_may_be_entered_again(flags: dflag.FlagRegistry) -> None:
    """
    One override object may be entered again, also inside its own block, and holds until the outermost block ends.
    """
    rate = flags.dyn_int("rate_limit", 50)
    five = override({rate: 5})
    for _ in range(2):
        with five:
            with five:
                pass
            assert rate.get() == 5
        assert rate.get() == 50


def test_as_a_decorator_it_holds_for_each_call(flags: dflag.FlagRegistry) -> None:
    """
    A decorated function runs under the override at each call; outside the calls the flag keeps its value.
    """
    rate = flags.dyn_int("rate_limit", 50)
    read = override(flags, rate_limit=5)(rate.get)
    assert [read(), rate.get(), read(), rate.get()] == [5, 50, 5, 50]


def test_unittest_restores_what_a_test_case_enters(flags: dflag.FlagRegistry) -> None:
    """
    An override lasts for one test with `enterContext` or the decorator, and for the class with `enterClassContext`.
    """
    rate = flags.dyn_int("rate_limit", 50)
    port = flags.int("port", 8080)
    flags.freeze()
    seen = {}

    class Case(unittest.TestCase):
        @classmethod
        def setUpClass(cls) -> None:
            cls.enterClassContext(flags.override({port: 1}))

        def test_a(self) -> None:
            self.enterContext(flags.override({rate: 5}))
            seen["a"] = (rate.get(), port.get())

        @override(flags, rate_limit=6)
        def test_b(self) -> None:
            seen["b"] = (rate.get(), port.get())

        def test_c(self) -> None:
            seen["c"] = (rate.get(), port.get())

    assert _outcome(Case).wasSuccessful()
    assert seen == {"a": (5, 1), "b": (6, 1), "c": (50, 1)}
    assert (rate.get(), port.get()) == (50, 8080)


def test_asynchronous_test_cases_work_the_same(flags: dflag.FlagRegistry) -> None:
    """
    A coroutine of an `IsolatedAsyncioTestCase` reads the value that `setUp` has overridden.
    """
    rate = flags.dyn_int("rate_limit", 50)
    seen = []

    class Case(unittest.IsolatedAsyncioTestCase):
        def setUp(self) -> None:
            self.enterContext(flags.override({rate: 5}))

        async def test_it(self) -> None:
            seen.append(rate.get())

    assert _outcome(Case).wasSuccessful()
    assert seen == [5]
    assert rate.get() == 50


def test_a_test_that_fails_restores_too(flags: dflag.FlagRegistry) -> None:
    """
    A test case that fails restores the flags.
    """
    rate = flags.dyn_int("rate_limit", 50)

    class Case(unittest.TestCase):
        def test_it(self) -> None:
            self.enterContext(flags.override({rate: 5}))
            self.fail()

    assert len(_outcome(Case).failures) == 1
    assert rate.get() == 50


def test_test_runner_of_django(flags: dflag.FlagRegistry) -> None:
    """
    Overrides of a class and of a test hold under Django's runner and test case, next to `override_settings`.
    """
    django_test = pytest.importorskip("django.test")
    conf = pytest.importorskip("django.conf")
    runner = pytest.importorskip("django.test.runner")
    if not conf.settings.configured:
        conf.settings.configure()
    rate = flags.dyn_int("rate_limit", 50)
    seen = []

    @django_test.override_settings(USE_TZ=True)
    class Case(django_test.SimpleTestCase):  # type: ignore[misc,name-defined]
        @classmethod
        def setUpClass(cls) -> None:
            super().setUpClass()
            cls.enterClassContext(flags.override({rate: 5}))

        @override({rate: 6})
        def test_a(self) -> None:
            seen.append(rate.get())

        def test_b(self) -> None:
            seen.append(rate.get())

    suite = unittest.defaultTestLoader.loadTestsFromTestCase(Case)
    assert runner.DiscoverRunner(verbosity=0).run_suite(suite).wasSuccessful()
    assert seen == [6, 5]
    assert rate.get() == 50
