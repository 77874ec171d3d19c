"""
OpenFeature's own scenarios, read from a copy of the public suites, against a registry that has their flags.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from openfeature import _event_support, api
from openfeature.evaluation_context import EvaluationContext
from openfeature.flag_evaluation import FlagEvaluationOptions
from openfeature.hook import Hook
from openfeature.provider import ProviderStatus
from openfeature.transaction_context import ContextVarsTransactionContextPropagator

import dflag
from dflag._keyed import EVERYBODY, KeyedValue
from dflag.integrations.openfeature import DflagProvider
from dflag.sources import MemorySource

from ._waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SUITES = os.environ.get("DFLAG_CONFORMANCE", "")
FOLDER = Path(SUITES) / "openfeature"
PAGE = Path(__file__).parents[2] / "docs" / "openfeature.md"

DOES_NOT_APPLY = {
    "Provider in fatal state error": "no state of a registry is fatal: a source that cannot be read may be read again",
    "Provider status accessibility (fatal)": "as above",
    "Flag metadata in evaluation details": "metadata is dflag's own: revision, checksum, origin, owner",
    "Returns metadata": "as above",
    "Returns no metadata": "as above; it is never empty",
    "Multiple context attributes targeting": "a rule has one key, and compares no numbers",
    "Resolves based on context": "as above",
    "CACHED reason": "nothing is cached: an answer is always the value in force",
    "DISABLED reason": "a flag is never disabled: it has a default",
}
"""The scenarios that are skipped, each with the reason why it does not apply."""

Step = tuple[str, list[list[str]]]


def _cells(line: str) -> list[str]:
    return [cell.strip().replace('\\"', '"') for cell in line.strip().strip("|").split("|")]


def _scenarios(text: str) -> Iterator[tuple[str, list[Step]]]:  # noqa: C901 - one branch for each keyword
    """
    Yield each scenario, once for each row of its examples, as its name and its steps with their tables.
    """
    background: list[Step] = []
    name, steps, rows, section = "", background, [], "background"

    def expand() -> Iterator[tuple[str, list[Step]]]:
        if not rows:
            yield name, [*background, *steps]
        for row in rows:
            given = dict(row)

            def fill(part: str, given: dict[str, str] = given) -> str:
                return re.sub(r"<(\w+)>", lambda found: given[found[1]], part)

            full = f"{name} ({given['status']})" if "status" in given else name
            yield full, [*background, *((fill(step), [[fill(c) for c in r] for r in table]) for step, table in steps)]

    header: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if found := re.match(r"Scenario(?: Outline)?: (.*)", stripped):
            if name:
                yield from expand()
            name, steps, rows, section = found[1], [], [], "steps"
        elif stripped.startswith("Examples:"):
            section, header = "examples", []
        elif stripped.startswith("|") and section == "examples":
            if header:
                rows.append(list(zip(header, _cells(stripped), strict=True)))
            else:
                header = _cells(stripped)
        elif stripped.startswith("|"):
            steps[-1][1].append(_cells(stripped))
        elif found := re.match(r"(?:Given|When|Then|And) (.*)", stripped):
            steps.append((found[1].replace('\\"', '"'), []))
    yield from expand()


def _all() -> list[Any]:
    found = []
    for path in sorted(FOLDER.glob("*.feature")) if SUITES else ():
        for number, (name, steps) in enumerate(_scenarios(path.read_text("utf-8"))):
            marks = [pytest.mark.skip(reason=DOES_NOT_APPLY[name])] if name in DOES_NOT_APPLY else []
            found.append(pytest.param(steps, id=f"{path.stem}-{number}-{name}", marks=marks))
    return found


TYPES: dict[str, tuple[str, Callable[[str], Any]]] = {
    "boolean": ("boolean", lambda text: text == "true"),
    "string": ("string", str),
    "integer": ("integer", int),
    "float": ("float", float),
    "object": ("object", json.loads),
}


class Recording(Hook):
    """
    A hook that keeps what it was called with.
    """

    def __init__(self, added: EvaluationContext | None = None) -> None:
        self.calls: dict[str, Any] = {}
        self._added = added

    def before(self, hook_context: Any, hints: Any) -> EvaluationContext | None:
        self.calls["before"] = hook_context
        return self._added

    def after(self, hook_context: Any, details: Any, hints: Any) -> None:
        self.calls["after"] = details

    def error(self, hook_context: Any, exception: Exception, hints: Any) -> None:
        self.calls["error"] = exception

    def finally_after(self, hook_context: Any, details: Any, hints: Any) -> None:
        self.calls["finally"] = details


class Blocking(MemorySource):
    """
    A source whose `read()` waits until `may_be_read` is set.
    """

    may_be_read = threading.Event()

    def read(self) -> Any:
        self.may_be_read.wait(10.0)
        return super().read()


class Failing(MemorySource):
    """
    A source that can be made to fail.
    """

    fails = False

    def read(self) -> Any:
        if self.fails:
            raise dflag.SourceError("out of reach")
        return super().read()


class Seeing(DflagProvider):
    """
    A provider that keeps the last context it was given.
    """

    seen: EvaluationContext | None = None

    def resolve_boolean_details(self, flag_key: str, default_value: bool, evaluation_context: Any = None) -> Any:
        self.seen = evaluation_context
        return super().resolve_boolean_details(flag_key, default_value, evaluation_context)


def canonical() -> dflag.FlagRegistry:
    """
    Return a registry with the flags of the suites: a variant is a source of that name, a targeted variant a rule.
    """
    flags = dflag.FlagRegistry()
    layers: dict[str, dict[str, str]] = {}
    kinds = {bool: flags.dyn_bool, str: flags.dyn_string, int: flags.dyn_int, float: flags.dyn_float}
    for name, given in json.loads((FOLDER / "test-flags.json").read_text("utf-8")).items():
        variants, chosen = given["variants"], given.get("defaultVariant")
        if given.get("disabled") or chosen is None:
            continue
        value = variants[chosen]
        declare: Any = kinds.get(type(value), flags.dyn_json)
        if "contextEvaluator" not in given:
            declare(name, type(value)())
            layers.setdefault(chosen, {})[name] = value if isinstance(value, str) else json.dumps(value)
        elif "zero" in variants:
            flag = declare(name, value, by="email")
            flags.apply(layers.get("zero", {}), source="zero")
            held = KeyedValue("zero", ("ballmer@macrosoft.com",), EVERYBODY, value, "zero")
            assert flags._store.commit(flags._store.plan([], keyed=[(flag, "zero", (held,))]))
    for source, values in layers.items():
        flags.apply(values, source=source)
    return flags


class World:
    """
    The state that the steps of one scenario share.
    """

    def __init__(self) -> None:
        self.flags = canonical()
        self.provider = Seeing(self.flags)
        self.close: Callable[[], object] = int
        api.set_transaction_context_propagator(ContextVarsTransactionContextPropagator())
        api.set_provider_and_wait(self.provider)
        self.client = api.get_client()
        self.asked: tuple[str, str, Any] = ("boolean", "boolean-flag", False)
        self.attributes: dict[str, Any] = {}
        self.details: Any = None
        self.hooks: list[Recording] = []
        self.levels: list[str] = []
        self.entries: dict[str, dict[str, str]] = {}

    def evaluate(self, kind: str, key: str, default: Any, **attributes: Any) -> Any:
        self.details = getattr(self.client, f"get_{kind}_details")(
            key, default, EvaluationContext(attributes=attributes or self.attributes)
        )
        return self.details

    def run(self, step: str, table: list[list[str]]) -> None:
        for pattern, function in STEPS:
            found = re.fullmatch(pattern, step, re.DOTALL)
            if found is not None:
                function(self, table, *found.groups())
                return
        raise AssertionError(f"no such step: {step}")


STEPS: list[tuple[str, Callable[..., None]]] = []


def step(pattern: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def register(function: Callable[..., None]) -> Callable[..., None]:
        STEPS.append((pattern, function))
        return function

    return register


def _let_go(world: World, source: Blocking) -> None:
    source.may_be_read.set()
    assert eventually(lambda: world.client.get_provider_status() is ProviderStatus.READY)


@step(r"an? (\w[\w ]*?) provider(?: with retrievable context is registered)?")
def _provider(world: World, table: Any, state: str) -> None:
    if state == "not ready":
        source = Blocking()
        source.may_be_read.clear()
        updater = dflag.Updater(world.flags, source)
        world.close = partial(_let_go, world, source)
        api.set_provider(DflagProvider(world.flags, updater))
    elif state == "error":
        with pytest.raises(dflag.UpdateError):
            api.set_provider_and_wait(
                DflagProvider(world.flags, dflag.Updater(world.flags, MemorySource({"integer-flag": "many"})))
            )
    elif state == "stale":
        source = Failing()
        updater = dflag.Updater.setup(world.flags, source, resync_seconds=3_600)
        world.close = updater.stop
        api.set_provider_and_wait(DflagProvider(world.flags, updater))
        source.fails = True
        updater.refresh()
        assert world.flags.flush(10.0)


@step(r'an? (\w+)-flag with key "(.*?)" and a fallback value "(.*)"')
def _asked(world: World, table: Any, kind: str, key: str, default: str) -> None:
    name, read = TYPES[kind.lower()]
    world.asked = (name, key, read(default))


@step(r'a context containing a key "(.*?)", with type "(.*?)" and with value "(.*)"')
def _attribute(world: World, table: Any, key: str, kind: str, value: str) -> None:
    world.attributes[key] = TYPES[kind.lower()][1](value)


@step(r'a context containing a key "(.*?)" with null value')
def _null(world: World, table: Any, key: str) -> None:
    world.attributes[key] = None


@step(r"an evaluation context with modifiable data")
def _modifiable(world: World, table: Any) -> None:
    world.attributes["list"] = [1]


@step(r"the flag was evaluated with details|Some flag was evaluated")
def _evaluate(world: World, table: Any) -> None:
    for level, entries in world.entries.items():
        context = EvaluationContext(attributes=entries)
        if level == "API":
            api.set_evaluation_context(context)
        elif level == "Transaction":
            api.set_transaction_context(context)
        elif level == "Client":
            world.client.context = context
        elif level == "Invocation":
            world.attributes = dict(entries)
        else:
            world.client.add_hooks([Recording(context)])
    world.evaluate(*world.asked)


@step(r"the flag was evaluated with details using the evaluation options")
def _with_options(world: World, table: Any) -> None:
    kind, key, default = world.asked
    options = FlagEvaluationOptions(hooks=list(world.hooks))
    world.details = getattr(world.client, f"get_{kind}_details")(key, default, flag_evaluation_options=options)


@step(r"the flag was evaluated with details asynchronously")
def _asynchronously(world: World, table: Any) -> None:
    kind, key, default = world.asked
    world.details = asyncio.run(getattr(world.client, f"get_{kind}_details_async")(key, default))


@step(r"the evaluation should complete without blocking|the hook order should be maintained")
def _completed(world: World, table: Any) -> None:
    assert world.details is not None


@step(r'the resolved details value should be "(.*)"')
def _value(world: World, table: Any, expected: str) -> None:
    wanted = TYPES[world.asked[0]][1](expected)
    assert world.details.value == wanted
    assert isinstance(world.details.value, type(wanted))


@step(r'the reason should be "(.*)"')
def _reason(world: World, table: Any, expected: str) -> None:
    assert world.details.reason == expected


@step(r'the error-code should be "(.*)"')
def _code(world: World, table: Any, expected: str) -> None:
    assert world.details.error_code == expected


@step(r'the flag key should be "(.*)"')
def _key(world: World, table: Any, expected: str) -> None:
    assert world.details.flag_key == expected


@step(r'the variant should be "(.*?)"(?:, and the reason should be "(.*)")?')
def _variant(world: World, table: Any, variant: str, reason: str | None) -> None:
    assert world.details.variant == variant
    assert reason in (None, world.details.reason)


@step(r'the provider status should be "(.*)"')
def _status(world: World, table: Any, expected: str) -> None:
    assert world.client.get_provider_status().value == expected


@step(r"evaluation options containing specific hooks")
def _hook(world: World, table: Any) -> None:
    world.hooks.append(Recording())


@step(r"a client with added hook")
def _client_hook(world: World, table: Any) -> None:
    world.hooks.append(Recording())
    world.client.add_hooks(list(world.hooks))


@step(r'the "(.*)" hook should have been executed')
def _called(world: World, table: Any, stage: str) -> None:
    assert stage in world.hooks[0].calls


@step(r"the specified hooks should execute during evaluation")
def _executed(world: World, table: Any) -> None:
    assert list(world.hooks[0].calls) == ["before", "after", "finally"]


@step(r'the "(.*)" hooks should be called with evaluation details')
def _called_with(world: World, table: Any, stages: str) -> None:
    for stage in stages.split(", "):
        details = world.hooks[0].calls[stage]
        for kind, key, value in table[1:]:
            assert getattr(details, key) == (None if value == "null" else TYPES[kind][1](value))


@step(r"the original evaluation context should remain unmodified")
def _unmodified(world: World, table: Any) -> None:
    assert world.attributes == {"list": [1]}


@step(r"the evaluation details should be immutable")
def _immutable(world: World, table: Any) -> None:
    with pytest.raises(TypeError):
        world.details.flag_metadata["revision"] = 5


@step(r'A context entry with key "(.*)" and value "(.*)" is added to the "(.*)" level')
def _entry(world: World, table: Any, key: str, value: str, level: str) -> None:
    world.entries.setdefault(level, {})[key] = value


@step(r"A table with levels of increasing precedence")
def _levels(world: World, table: Any) -> None:
    world.levels = [level for (level,) in table]


@step(r'Context entries for each level from API level down to the "(.*)" level, with key "(.*)" and value ".*"')
def _down_to(world: World, table: Any, last: str, key: str) -> None:
    for level in world.levels[: world.levels.index(last) + 1]:
        world.entries[level] = {key: level}


@step(r'The merged context contains an entry with key "(.*)" and value "(.*)"')
def _merged(world: World, table: Any, key: str, value: str) -> None:
    assert world.provider.seen is not None
    assert world.provider.seen.attributes[key] == value


@step(r'an? (\w+) flag with key "(.*?)" is evaluated with (?:details and )?(?:a )?(?:default value )?(.*)')
def _old(world: World, table: Any, kind: str, key: str, default: str) -> None:
    name, read = TYPES[kind]
    world.asked = (name, key, {} if "null" in default else read(default.strip('"')))
    world.evaluate(*world.asked)


@step(
    r'the resolved (?!details)\w+ (?:details )?value should be "?([^",]*)"?'
    r'(?:, the variant should be "(.*?)", and the reason.*)?',
)
def _old_value(world: World, table: Any, value: str, variant: str | None) -> None:
    assert world.details.value == TYPES[world.asked[0]][1](value)
    assert variant in (None, world.details.variant)
    assert world.details.reason == "STATIC"


@step(r"the resolved object (?:details )?value should be contain fields .*")
def _old_object(world: World, table: Any) -> None:
    assert world.details.value == {"showImages": True, "title": "Check out these pics!", "imagesPerPage": 100}


@step(r'a non-existent string flag with key "(.*?)" is evaluated with details and a fallback value "(.*)"')
def _old_missing(world: World, table: Any, key: str, default: str) -> None:
    world.asked = ("string", key, default)
    world.evaluate(*world.asked)


@step(r'a string flag with key "(.*?)" is evaluated as an integer, with details and a fallback value (\d+)')
def _old_mismatch(world: World, table: Any, key: str, default: str) -> None:
    world.asked = ("integer", key, int(default))
    world.evaluate(*world.asked)


@step(r"the default \w+ value should be returned")
def _old_default(world: World, table: Any) -> None:
    assert world.details.value == world.asked[2]


@step(r'the reason should indicate an error and the error code should indicate .* with "(.*)"')
def _old_error(world: World, table: Any, code: str) -> None:
    assert (world.details.reason, world.details.error_code) == ("ERROR", code)


# The longest patterns first: the general pattern of the oldest feature also matches steps of other features.
STEPS.sort(key=lambda item: -len(item[0]))


@pytest.fixture(name="world")
def _world() -> Iterator[World]:
    """Yield the state of a scenario, and reset the SDK afterwards."""
    world = World()
    yield world
    world.close()
    api.clear_providers()
    api.clear_hooks()
    api.set_evaluation_context(EvaluationContext())
    api.set_transaction_context(EvaluationContext())
    _event_support.clear()


@pytest.mark.skipif(not SUITES, reason="DFLAG_CONFORMANCE leads to no public suites")
@pytest.mark.parametrize("steps", _all())
def test_scenario(steps: list[Step], world: World) -> None:
    """Each step of a scenario from OpenFeature's own suites passes."""
    for step, table in steps:
        world.run(step, table)


def test_the_page_lists_what_does_not_apply() -> None:
    """The page on OpenFeature lists the scenarios that are skipped here, with the same reasons."""
    table = "\n".join(f"| {name} | {reason} |" for name, reason in DOES_NOT_APPLY.items())
    assert f"| scenario | why not |\n|---|---|\n{table}\n" in PAGE.read_text("utf-8")
