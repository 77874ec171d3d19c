"""
The provider with the real SDK: what a program sees that uses only OpenFeature's API.
"""

from __future__ import annotations

import asyncio
import enum
import json
import math
import os
import queue
import subprocess
import sys
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from openfeature import _event_support, api
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import EventDetails, ProviderEvent
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagResolutionDetails, Reason
from openfeature.provider import ProviderStatus
from openfeature.provider._registry import ProviderRegistry
from openfeature.provider.no_op_provider import NoOpProvider

import dflag
from dflag._evaluation import Generation
from dflag._keyed import EVERYBODY, KeyedValue
from dflag.integrations.openfeature import DflagProvider
from dflag.sources import MemorySource

from ._waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from openfeature.client import OpenFeatureClient

    from dflag.testing import ConfigMapVolume

DEADLINE_SECONDS = 10.0


class Events:
    """
    Handlers of all events, which keep what they were called with, in order.
    """

    def __init__(self) -> None:
        self._seen: queue.Queue[tuple[ProviderEvent, EventDetails]] = queue.Queue()
        self._handlers = {event: self._handler(event) for event in ProviderEvent}

    def listen(self, client: OpenFeatureClient) -> None:
        for event, handler in self._handlers.items():
            client.add_handler(event, handler)

    def next(self) -> tuple[ProviderEvent, EventDetails]:
        return self._seen.get(timeout=DEADLINE_SECONDS)

    def expect(self, event: ProviderEvent) -> EventDetails:
        found, details = self.next()
        assert found is event
        return details

    def is_empty(self) -> bool:
        return self._seen.empty()

    def _handler(self, event: ProviderEvent) -> Callable[[EventDetails], None]:
        return lambda details: self._seen.put((event, details))


@pytest.fixture(autouse=True, scope="module")
def _handler_threads() -> None:
    """Start the threads that the SDK keeps for handlers, so that they are not a leak of the first test that emits."""
    executor = _event_support._event_executor
    barrier = threading.Barrier(executor._max_workers)
    for done in [executor.submit(barrier.wait, DEADLINE_SECONDS) for _ in range(executor._max_workers)]:
        done.result()


@pytest.fixture(autouse=True)
def _clean_api() -> Iterator[None]:
    """Remove all providers, handlers and hooks after each test."""
    yield
    api.clear_providers()
    _event_support.clear()
    api.clear_hooks()


@pytest.fixture(name="client")
def _client(flags: dflag.FlagRegistry) -> OpenFeatureClient:
    """Return a client of a provider for the registry."""
    api.set_provider_and_wait(DflagProvider(flags))
    return api.get_client()


class Colour(enum.Enum):
    """An enumeration with one value that is a text, and one that is not."""

    RED = "red"
    NUMBER = 5


def declare(flags: dflag.FlagRegistry) -> None:
    flags.dyn_bool("bool", True)
    flags.dyn_string("string", "text")
    flags.dyn_int("int", 7)
    flags.dyn_float("float", 2.0)
    flags.dyn_duration("duration", timedelta(seconds=90))
    flags.dyn_enum("enum", Colour.RED)
    flags.dyn_enum("enum_name", Colour.NUMBER)
    flags.dyn_string_list("list", ("b", "a"))
    flags.dyn_string_set("set", {"b", "a"})
    flags.dyn_json("json", {"mode": "allow", "at": [1, 2.5]})
    flags.dyn_json("json_bool", True)
    flags.dyn_json("json_null", None)
    flags.dyn_json("json_int", 10**400)
    flags.dyn_bytes("bytes", b"raw")
    flags.dyn_map("map", {"a.rate": 5}, keys="*.rate", of="int")
    flags.dyn_custom("custom", 3 + 4j, parse=complex)


GETTERS: dict[str, tuple[str, Any]] = {
    "boolean": ("get_boolean_details", False),
    "string": ("get_string_details", "fallback"),
    "integer": ("get_integer_details", -1),
    "float": ("get_float_details", -0.5),
    "object": ("get_object_details", {"fall": "back"}),
}

ANSWERS: dict[str, dict[str, Any]] = {
    "bool": {"boolean": True},
    "string": {"string": "text"},
    "int": {"integer": 7, "float": 7.0},
    "float": {"float": 2.0},
    "duration": {"float": 90.0, "string": "1m30s"},
    "enum": {"string": "red"},
    "enum_name": {"string": "NUMBER"},
    "list": {"object": ["b", "a"]},
    "set": {"object": ["a", "b"]},
    "json": {"object": {"mode": "allow", "at": [1, 2.5]}},
    "json_bool": {"boolean": True},
    "json_null": {},
    "json_int": {"integer": 10**400},
    "bytes": {},
    "map": {"object": {"a.rate": 5}},
    "custom": {"string": "(3+4j)"},
}


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("name", ANSWERS)
def test_each_kind_has_its_types(name: str, mode: str, flags: dflag.FlagRegistry, client: OpenFeatureClient) -> None:
    """A flag is answered in the types of its kind; any other type gives the caller's default and TYPE_MISMATCH."""
    declare(flags)
    for asked, (method, fallback) in GETTERS.items():
        if mode == "sync":
            details = getattr(client, method)(name, fallback)
        else:
            details = asyncio.run(getattr(client, f"{method}_async")(name, fallback))
        if asked in ANSWERS[name]:
            expected = ANSWERS[name][asked]
            assert (expected, None) == (details.value, details.error_code)
            assert isinstance(details.value, type(expected))
        else:
            assert (fallback, ErrorCode.TYPE_MISMATCH) == (details.value, details.error_code)
            assert f"flag '{name}'" in details.error_message


def test_a_map_with_an_infinite_number_is_of_no_type(
    flags: dflag.FlagRegistry, client: OpenFeatureClient, caplog: pytest.LogCaptureFixture
) -> None:
    """A map that holds infinity gives TYPE_MISMATCH as an object and as a string, and nothing is logged."""
    flags.dyn_map("limits", {"a.max": math.inf}, keys="*.max", of="float")
    for details in (client.get_object_details("limits", {}), client.get_string_details("limits", "x")):
        assert details.error_code == ErrorCode.TYPE_MISMATCH
    assert caplog.text == ""


def test_infinity_is_a_float(flags: dflag.FlagRegistry, client: OpenFeatureClient) -> None:
    """A float flag whose value is infinity is answered as a float."""
    flags.dyn_float("limit", math.inf)
    assert client.get_float_value("limit", 1.0) == math.inf


def test_an_object_cannot_be_changed(flags: dflag.FlagRegistry, client: OpenFeatureClient) -> None:
    """The list that a list flag is answered with cannot be changed: `append()` raises TypeError."""
    flags.dyn_string_list("list", ("a",))
    found: Any = client.get_object_value("list", {})
    with pytest.raises(TypeError):
        found.append("b")


def test_an_unknown_flag_is_not_found(client: OpenFeatureClient) -> None:
    """A name that no flag has gives the default and FLAG_NOT_FOUND."""
    details = client.get_integer_details("rate", 3)
    assert (details.value, details.error_code, details.reason) == (3, ErrorCode.FLAG_NOT_FOUND, Reason.ERROR)


def test_a_secret_is_not_there(flags: dflag.FlagRegistry, client: OpenFeatureClient) -> None:
    """A secret flag gives FLAG_NOT_FOUND unless the provider was made with secrets=True."""
    flags.dyn_string("password", "hunter2", secret=True)
    assert client.get_string_details("password", "").error_code is ErrorCode.FLAG_NOT_FOUND
    api.set_provider_and_wait(DflagProvider(flags, secrets=True), "internal")
    assert api.get_client("internal").get_string_value("password", "") == "hunter2"


def test_a_flag_that_becomes_a_secret_is_gone(flags: dflag.FlagRegistry, client: OpenFeatureClient) -> None:
    """A flag that a secret source makes secret gives FLAG_NOT_FOUND, even if an earlier answer was cached."""
    flags.dyn_string("token", "open")
    assert client.get_string_value("token", "") == "open"
    source = MemorySource({"token": "closed"}, secret=True)
    with dflag.Updater(flags, source):
        assert client.get_string_details("token", "").error_code is ErrorCode.FLAG_NOT_FOUND


def test_reasons_variants_and_metadata(flags: dflag.FlagRegistry, client: OpenFeatureClient) -> None:
    """The variant of an answer is the layer of its value, and the metadata names the revision."""
    rate = flags.dyn_int("rate", 50, owner="platform")
    before = client.get_integer_details("rate", 0)
    assert (before.reason, before.variant) == (Reason.DEFAULT, "default")
    assert dict(before.flag_metadata) == {
        "revision": 0,
        "origin": "default",
        "owner": "platform",
        "checksum": flags.checksum(),
    }
    revision = flags.apply({"rate": "60"}, source="config")
    after = client.get_integer_details("rate", 0)
    assert (after.value, after.reason, after.variant) == (60, Reason.STATIC, "config")
    assert dict(after.flag_metadata) == {
        "revision": revision.number,
        "origin": "config",
        "owner": "platform",
        "checksum": revision.checksum,
    }
    rate.set(70)
    assert (
        client.get_integer_details("rate", 0).reason,
        client.get_integer_details("rate", 0).variant,
    ) == (Reason.STATIC, "override")


def test_metadata_is_the_same_object_within_a_revision(flags: dflag.FlagRegistry) -> None:
    """A flag is resolved once for each revision, and again after a commit."""
    rate = flags.dyn_int("rate", 50)
    provider = DflagProvider(flags)
    first = provider.resolve_integer_details("rate", 0)
    assert provider.resolve_integer_details("rate", 0) is first
    rate.set(60)
    assert provider.resolve_integer_details("rate", 0).value == 60


def test_a_pin_holds_with_all_that_belongs_to_it(flags: dflag.FlagRegistry, client: OpenFeatureClient) -> None:
    """Within a pin, value, variant, revision and checksum are those of one revision; a flag declared later is live."""
    flags.dyn_int("rate", 50)
    flags.dyn_int("burst", 5)
    first = flags.apply({"rate": "60"}, source="config")
    with flags.pinned():
        assert client.get_integer_value("rate", 0) == 60
        flags.apply({"rate": "70", "burst": "7"}, source="config")
        rate, burst = client.get_integer_details("rate", 0), client.get_integer_details("burst", 0)
        assert (60, "config", first.number) == (rate.value, rate.variant, rate.flag_metadata["revision"])
        assert rate.flag_metadata["checksum"] == first.checksum
        assert (burst.value, burst.variant, burst.reason) == (5, "default", Reason.DEFAULT)
        late = flags.dyn_int("late", 1)
        assert client.get_integer_value("late", 0) == 1
        late.set(2)
        assert client.get_integer_value("late", 0) == 2
    assert client.get_integer_value("rate", 0) == 70


def test_a_pinned_value_is_named(flags: dflag.FlagRegistry, client: OpenFeatureClient) -> None:
    """A value that `pinned()` was given has the variant `pinned`."""
    rate = flags.dyn_int("rate", 50)
    with flags.pinned({rate: 60}):
        details = client.get_integer_details("rate", 0)
    assert (details.value, details.variant, details.reason) == (60, "pinned", Reason.STATIC)


def key_values(flags: dflag.FlagRegistry, flag: dflag.DynamicFlag[Any], *values: KeyedValue) -> None:
    """
    Commit values for keys of a flag, as the rules of a source do.
    """
    store = flags._store
    assert store.commit(store.plan([], keyed=[(flag, "rules", values)]))


@pytest.fixture(name="rate")
def _rate(flags: dflag.FlagRegistry) -> dflag.DynamicFlag[int]:
    """Return a flag with one value for a tenant, and another for a share of nearly all other tenants."""
    flags.dyn_int("other", 1)
    flags.apply({"other": "2"}, source="rules")
    rate = flags.dyn_int("rate", 50, by="tenant")
    key_values(
        flags,
        rate,
        KeyedValue("half", None, EVERYBODY - 1, 200, "rules"),
        KeyedValue("large-tenants", ("acme",), EVERYBODY, 500, "rules"),
    )
    return rate


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        (None, (50, Reason.DEFAULT, "default")),
        (EvaluationContext(), (50, Reason.DEFAULT, "default")),
        (EvaluationContext("acme"), (500, Reason.TARGETING_MATCH, "large-tenants")),
        (EvaluationContext(attributes={"tenant": "acme"}), (500, Reason.TARGETING_MATCH, "large-tenants")),
        (EvaluationContext("user-1", {"tenant": "acme"}), (500, Reason.TARGETING_MATCH, "large-tenants")),
        (EvaluationContext("initech"), (200, Reason.SPLIT, "half")),
    ],
)
def test_a_key_gets_its_value(
    context: EvaluationContext | None,
    expected: tuple[int, Reason, str],
    rate: dflag.DynamicFlag[int],
    client: OpenFeatureClient,
) -> None:
    """A keyed flag is answered for the attribute in by=, else for the targeting key; the variant is the rule."""
    for _ in range(2):  # the second answer comes from the cache
        details = client.get_integer_details("rate", 0, context)
        assert expected == (details.value, details.reason, details.variant)


def test_a_pin_holds_for_keys(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], client: OpenFeatureClient
) -> None:
    """Within a pin, a key keeps its value when a commit gives it another."""
    with flags.pinned():
        key_values(flags, rate, KeyedValue("all", ("acme",), EVERYBODY, 900, "rules"))
        assert client.get_integer_value("rate", 0, EvaluationContext("acme")) == 500
    assert client.get_integer_value("rate", 0, EvaluationContext("acme")) == 900


def test_a_rule_is_evaluated_once_for_all_of_its_keys(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A keyed flag is evaluated once for each value of its rules, however many keys are asked for."""
    key_values(flags, rate, KeyedValue("half", None, EVERYBODY // 2, 200, "rules"))
    evaluated: list[object] = []
    evaluate = Generation.evaluate
    monkeypatch.setattr(
        Generation, "evaluate", lambda self, flag, of: (evaluated.append(of), evaluate(self, flag, of))[1]
    )
    provider = DflagProvider(flags)
    contexts = [EvaluationContext(f"tenant-{number}") for number in range(100)]
    answers = {id(provider.resolve_integer_details("rate", 0, context)) for context in (*contexts, EvaluationContext())}
    assert (len(answers), len(evaluated)) == (2, 2)


def test_a_key_that_is_no_text_is_an_invalid_context(rate: dflag.DynamicFlag[int], client: OpenFeatureClient) -> None:
    """A key that is not a text gives INVALID_CONTEXT, not the value for no key."""
    for _ in range(2):  # the second time the cache holds the value for no key
        details = client.get_integer_details("rate", 0, EvaluationContext(attributes={"tenant": 0}))
        assert details.error_code is ErrorCode.INVALID_CONTEXT
        assert "flag 'rate': expected tenant as a text" in (details.error_message or "")
        assert client.get_integer_value("rate", 0, EvaluationContext("")) == 50


RULES = """
- name: web-pods
  when: {pod: "web-*"}
  set: {new_path: true}
- name: everybody
  by: tenant
  set: {rate: 100}
- name: half-of-them
  by: tenant
  share: 50%
  set: {rate: 200}
- name: large-tenants
  by: tenant
  is: [acme]
  set: {rate: 500}
"""


def test_rules_of_a_volume(flags: dflag.FlagRegistry, volume: ConfigMapVolume) -> None:
    """The variant is the rule; the reason is STATIC for processes, SPLIT for a drawn key, else TARGETING_MATCH."""
    flags.dyn_bool("new_path", False)
    flags.dyn_int("rate", 50, by="tenant")
    volume.write({"rate": "60", "_rules.yaml": RULES})
    updater = dflag.Updater(flags, volume.path, facts={"pod": "web-1"})
    api.set_provider_and_wait(DflagProvider(flags, updater))
    client = api.get_client()
    answers = [
        client.get_boolean_details("new_path", False),
        client.get_integer_details("rate", 0, EvaluationContext("acme")),
        client.get_integer_details("rate", 0, EvaluationContext("initech")),  # this key is drawn
        client.get_integer_details("rate", 0, EvaluationContext("umbrella")),
        client.get_integer_details("rate", 0),
    ]
    source = updater.status().sources[0]
    assert [(each.value, each.reason, each.variant) for each in answers] == [
        (True, Reason.STATIC, "web-pods"),
        (500, Reason.TARGETING_MATCH, "large-tenants"),
        (200, Reason.SPLIT, "half-of-them"),
        (100, Reason.TARGETING_MATCH, "everybody"),
        (60, Reason.STATIC, source.name),
    ]
    assert {(each.flag_metadata["origin"], each.flag_metadata["checksum"]) for each in answers} == {
        (source.name, source.checksum)
    }


class Settings(dflag.Flags):
    """Flags as a class."""

    of_the_class = dflag.dyn_int(5)


def test_a_class_of_flags_stands_for_its_registry() -> None:
    """`DflagProvider` accepts a class of flags in place of a registry."""
    assert DflagProvider(Settings).resolve_integer_details("of_the_class", 0).value == 5


# --- events


def test_a_change_is_an_event_after_the_values(flags: dflag.FlagRegistry, client: OpenFeatureClient) -> None:
    """A commit emits one event that names its flags, none for a secret flag, and a handler reads the new values."""
    rate, burst = flags.dyn_int("rate", 50), flags.dyn_int("burst", 5)
    flags.dyn_string("password", "", secret=True)
    read: queue.Queue[tuple[int, EventDetails]] = queue.Queue()
    client.add_handler(
        ProviderEvent.PROVIDER_CONFIGURATION_CHANGED,
        lambda details: read.put((client.get_integer_value("rate", 0), details)),
    )
    flags["password"].set_text("hunter2")
    flags.apply({"rate": "60", "burst": "6"}, source="config")
    value, details = read.get(timeout=DEADLINE_SECONDS)
    assert (value, details.flags_changed, details.provider_name) == (60, ["burst", "rate"], "dflag")
    assert (rate.get(), burst.get()) == (60, 6)


def test_a_change_for_a_key_is_an_event(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], client: OpenFeatureClient
) -> None:
    """A commit that changes only the value of some keys emits an event; one that changes no value emits none."""
    events = Events()
    events.listen(client)
    events.expect(ProviderEvent.PROVIDER_READY)
    flags.apply({"other": "2"}, source="later")
    key_values(flags, rate, KeyedValue("all", ("acme",), EVERYBODY, 900, "rules"))
    assert events.expect(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED).flags_changed == ["rate"]


def test_ready_comes_once(flags: dflag.FlagRegistry) -> None:
    """With the installed SDK, READY runs a handler once, even if one provider serves two domains."""
    events = Events()
    events.listen(api.get_client("one"))
    events.expect(ProviderEvent.PROVIDER_READY)  # of the SDK's default provider
    provider = DflagProvider(flags)
    api.set_provider_and_wait(provider, "one")
    api.set_provider_and_wait(provider, "two")
    assert events.expect(ProviderEvent.PROVIDER_READY).provider_name == "dflag"
    flags.dyn_int("rate", 50).set(60)
    events.expect(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED)
    assert events.is_empty()


def test_ready_comes_once_where_the_sdk_leaves_it_to_the_provider(flags: dflag.FlagRegistry) -> None:
    """If the SDK does not emit READY, the provider emits READY before `initialize()` returns, or ERROR if it raises."""
    seen: list[ProviderEvent] = []
    provider = DflagProvider(flags)
    provider.attach(lambda _provider, event, _details: seen.append(event))
    provider.initialize(EvaluationContext())
    assert seen == [ProviderEvent.PROVIDER_READY]
    provider.shutdown()

    broken = DflagProvider(flags, dflag.Updater(flags, "/nowhere/at/all"))
    broken.attach(lambda _provider, event, _details: seen.append(event))
    with pytest.raises(dflag.SourceError):
        broken.initialize(EvaluationContext())
    assert seen == [ProviderEvent.PROVIDER_READY, ProviderEvent.PROVIDER_ERROR]


def test_the_updater_is_started_and_stopped(flags: dflag.FlagRegistry, volume: ConfigMapVolume) -> None:
    """`initialize()` starts an updater that is not running, and `shutdown()` stops it; both may be called twice."""
    flags.dyn_int("rate", 50)
    volume.write({"rate": "60"})
    updater = dflag.Updater(flags, volume.path)
    provider = DflagProvider(flags, updater)
    api.set_provider_and_wait(provider, "shop")
    client = api.get_client("shop")
    assert (client.get_integer_value("rate", 0), updater.status().state) == (60, "running")
    assert client.get_integer_details("rate", 0).flag_metadata["checksum"] == updater.status().sources[0].checksum
    provider.initialize(EvaluationContext())
    provider.shutdown()
    provider.shutdown()
    assert updater.status().state == "stopped"


def test_an_updater_of_the_program_goes_on(flags: dflag.FlagRegistry, volume: ConfigMapVolume) -> None:
    """`shutdown()` does not stop an updater that ran before `initialize()`."""
    volume.write({})
    with dflag.Updater(flags, volume.path) as updater:
        api.set_provider_and_wait(DflagProvider(flags, updater))
        api.shutdown()
        assert updater.status().state == "running"


@pytest.mark.parametrize("domains", [("shop", "shop"), ("shop", "other")])
def test_an_updater_of_several_providers_goes_on(
    flags: dflag.FlagRegistry, volume: ConfigMapVolume, domains: tuple[str, str]
) -> None:
    """An updater that two providers use runs until the second one shuts down, even if the first has started it."""
    flags.dyn_int("rate", 50)
    volume.write({"rate": "60"})
    updater = dflag.Updater(flags, volume.path)
    first, second = _Observed(flags, updater), _Observed(flags, updater)
    for provider, domain in zip((first, second), domains, strict=True):
        api.set_provider_and_wait(provider, domain)
    api.set_provider_and_wait(NoOpProvider(), "shop" if domains[1] == "other" else "unused")
    assert first.is_over.wait(DEADLINE_SECONDS)
    assert updater.status().state == "running"
    volume.write({"rate": "70"})
    assert updater.wait_for(lambda snap: snap["rate"] == 70, timeout=DEADLINE_SECONDS)
    assert api.get_client(domains[1]).get_integer_value("rate", 0) == 70
    second.shutdown()
    assert updater.status().state == "stopped"


class _Observed(DflagProvider):
    """A provider whose shutdown, on a thread of the SDK, can be waited for."""

    def __init__(self, flags: dflag.FlagRegistry, updater: dflag.Updater) -> None:
        super().__init__(flags, updater)
        self.is_over = threading.Event()

    def shutdown(self) -> None:
        super().shutdown()
        self.is_over.set()


def test_a_provider_that_comes_while_the_last_one_stops_the_updater(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An updater still runs for a provider that is initialized while the last other provider is about to stop it."""
    updater = dflag.Updater(flags, MemorySource({}))
    first, second = DflagProvider(flags, updater), DflagProvider(flags, updater)
    first.initialize(EvaluationContext())
    stop = updater.stop

    def stop_late() -> None:
        monkeypatch.undo()
        second.initialize(EvaluationContext())
        stop()

    monkeypatch.setattr(updater, "stop", stop_late)
    first.shutdown()
    assert updater.status().state == "running"
    second.shutdown()
    assert updater.status().state == "stopped"


def test_a_provider_that_cannot_start_uses_no_updater(flags: dflag.FlagRegistry) -> None:
    """If the `initialize()` of one provider raised, the shutdown of the other one still stops their updater."""
    flags.dyn_int("rate", 50)
    source = MemorySource({"rate": "many"})
    updater = dflag.Updater(flags, source)
    broken, good = DflagProvider(flags, updater), DflagProvider(flags, updater)
    with pytest.raises(dflag.UpdateError):
        broken.initialize(EvaluationContext())
    source.update({"rate": "60"})
    good.initialize(EvaluationContext())
    good.shutdown()
    assert updater.status().state == "stopped"


def test_a_bad_start_is_an_error(flags: dflag.FlagRegistry, volume: ConfigMapVolume) -> None:
    """If the updater cannot initialize, the status of the provider is ERROR and flags have their defaults."""
    flags.dyn_int("rate", 50)
    volume.write({"rate": "many"})
    with pytest.raises(dflag.UpdateError):
        api.set_provider_and_wait(DflagProvider(flags, dflag.Updater(flags, volume.path)))
    client = api.get_client()
    assert (client.get_provider_status(), client.get_integer_value("rate", 0)) == (ProviderStatus.ERROR, 50)


class Unreliable(MemorySource):
    """
    A source that can be made to fail.
    """

    fails = False

    def read(self) -> Any:
        if self.fails:
            raise dflag.SourceError("out of reach")
        return super().read()


def test_staleness_and_recovery(flags: dflag.FlagRegistry) -> None:
    """The values of a source that cannot be read, and the provider, are STALE until the source is read again."""
    flags.dyn_int("rate", 50)
    flags.dyn_int("burst", 5)
    source = Unreliable({"rate": "60"})
    updater = dflag.Updater.setup(flags, source, resync_seconds=3_600)
    api.set_provider_and_wait(DflagProvider(flags, updater))
    client = api.get_client()
    events = Events()
    events.listen(client)
    events.expect(ProviderEvent.PROVIDER_READY)

    source.fails = True
    updater.refresh()
    assert "memory" in (events.expect(ProviderEvent.PROVIDER_STALE).message or "")
    assert client.get_provider_status() is ProviderStatus.STALE
    rate = client.get_integer_details("rate", 0)
    assert (rate.value, rate.reason, rate.variant) == (60, Reason.STALE, "memory")
    assert client.get_integer_details("burst", 0).reason is Reason.DEFAULT

    source.fails = False
    updater.refresh()
    events.expect(ProviderEvent.PROVIDER_READY)
    assert client.get_integer_details("rate", 0).reason is Reason.STATIC
    updater.stop()


def test_rules_of_one_name_in_two_sources_are_told_apart(flags: dflag.FlagRegistry) -> None:
    """A value for a key has the origin, checksum and staleness of the source whose rule gives it, pinned or not."""
    flags.dyn_int("rate", 50, by="tenant")
    low = Unreliable({"_rules": "[{by: tenant, is: [acme], set: {rate: 1}}]"}, name="low")
    high = Unreliable({"_rules": "[{by: tenant, is: [initech], set: {rate: 2}}]"}, name="high")
    updater = dflag.Updater(flags, (low, high))
    updater.initialize()
    provider = DflagProvider(flags, updater)

    def answer(tenant: str) -> tuple[Any, ...]:
        found = provider.resolve_integer_details("rate", 0, EvaluationContext(tenant))
        return found.value, found.reason, found.variant, found.flag_metadata["origin"], found.flag_metadata["checksum"]

    first, second = (source.checksum for source in updater.status().sources)
    of_low = 1, Reason.TARGETING_MATCH, "rule 1", "low", first
    of_high = 2, Reason.TARGETING_MATCH, "rule 1", "high", second
    assert (answer("acme"), answer("initech")) == (of_low, of_high)
    with flags.pinned():
        low.update({"_rules": "[]"})
        updater.refresh()
        assert answer("acme") == of_low
    low.update({"_rules": "[{by: tenant, is: [acme], set: {rate: 1}}]"})
    updater.refresh()
    low.fails = True
    updater.refresh()
    assert [answer(tenant)[1] for tenant in ("acme", "initech")] == [Reason.STALE, Reason.TARGETING_MATCH]


def test_a_source_that_is_refused_whole_is_an_error(flags: dflag.FlagRegistry) -> None:
    """The provider emits and has ERROR after a set that a registry validator refuses, and READY after a good one."""
    flags.dyn_int("rate", 50)

    @flags.validator
    def _(snap: dflag.Snapshot) -> None:
        if snap["rate"] > 100:
            raise ValueError("too much")

    source = MemorySource({"rate": "60"})
    with dflag.Updater(flags, source, resync_seconds=3_600) as updater:
        api.set_provider_and_wait(DflagProvider(flags, updater))
        client = api.get_client()
        events = Events()
        events.listen(client)
        events.expect(ProviderEvent.PROVIDER_READY)
        source.update({"rate": "600"})
        updater.refresh()
        details = events.expect(ProviderEvent.PROVIDER_ERROR)
        assert (details.error_code, details.message) == (ErrorCode.GENERAL, "refused whole: memory")
        assert client.get_provider_status() is ProviderStatus.ERROR
        source.update({"rate": "70"})
        updater.refresh()
        assert {events.next()[0], events.next()[0]} == {
            ProviderEvent.PROVIDER_CONFIGURATION_CHANGED,
            ProviderEvent.PROVIDER_READY,
        }
        assert client.get_provider_status() is ProviderStatus.READY


def test_nothing_is_emitted_after_the_shutdown(flags: dflag.FlagRegistry) -> None:
    """A provider emits no event after `shutdown()`, even if a flag changes."""
    rate = flags.dyn_int("rate", 50)
    seen: list[ProviderEvent] = []
    provider = DflagProvider(flags)
    provider.attach(lambda _provider, event, _details: seen.append(event))
    provider.initialize(EvaluationContext())
    provider.shutdown()
    rate.set(60)
    flags.flush()
    assert seen == [ProviderEvent.PROVIDER_READY]


def test_several_providers_in_one_process() -> None:
    """The client of each domain reads the registry of its own provider."""
    for number, domain in enumerate(("one", "two")):
        flags = dflag.FlagRegistry(domain)
        flags.dyn_int("rate", number)
        api.set_provider_and_wait(DflagProvider(flags), domain)
    assert [api.get_client(domain).get_integer_value("rate", -1) for domain in ("one", "two")] == [0, 1]
    assert len({DflagProvider(flags), DflagProvider(flags)}) == 2


def test_an_updater_of_another_registry_is_refused(flags: dflag.FlagRegistry) -> None:
    """`DflagProvider` refuses an updater that feeds another registry."""
    updater = dflag.Updater(dflag.FlagRegistry(), MemorySource({}))
    with pytest.raises(dflag.DefinitionError, match="feeds another registry"):
        DflagProvider(flags, updater)


@pytest.mark.parametrize("arguments", [(None,), ("flags",)])
def test_arguments_are_checked(arguments: tuple[Any, ...]) -> None:
    """`DflagProvider` refuses an argument that is not a registry."""
    with pytest.raises(dflag.DefinitionError):
        DflagProvider(*arguments)


def test_the_sdk_that_is_installed_emits_ready_itself() -> None:
    """The installed SDK calls `initialize()` from code that names PROVIDER_READY, which the provider looks for."""
    assert "PROVIDER_READY" in ProviderRegistry._run_initialize.__code__.co_names


def test_importing_dflag_imports_no_openfeature() -> None:
    """Importing dflag and dflag.web does not load the modules that only OpenFeature needs."""
    code = (
        "import sys, json, dflag, dflag.web; print(json.dumps([m for m in sys.modules"
        " if m.startswith('openfeature') or m in ('dflag._evaluation', 'dflag.web._ofrep', 'dflag.web._streams')]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


class Wrong(DflagProvider):
    """A provider that answers each request for a boolean with a text."""

    def resolve_boolean_details(self, *args: Any, **kwargs: Any) -> FlagResolutionDetails[Any]:
        return FlagResolutionDetails("yes")


def test_a_fault_of_the_sdk_asynchronous_types(flags: dflag.FlagRegistry) -> None:
    """The SDK returns a value of a wrong type from its asynchronous call only, as the docs say."""
    api.set_provider_and_wait(Wrong(flags))
    client = api.get_client()
    assert client.get_boolean_value("x", False) is False
    assert asyncio.run(client.get_boolean_value_async("x", False)) == "yes"


FORKING = """
import os, threading
from openfeature import _event_support, api
from openfeature.event import ProviderEvent
import dflag
from dflag.integrations.openfeature import DflagProvider

flags = dflag.FlagRegistry()
rate = flags.dyn_int("rate", 50)
ready, changed, called = threading.Event(), threading.Event(), threading.Event()
api.add_handler(ProviderEvent.PROVIDER_READY, lambda _: ready.set())
api.add_handler(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, lambda _: changed.set())
rate.on_change(lambda old, new: called.set())
api.set_provider_and_wait(DflagProvider(flags))
assert ready.wait(10)
idle = _event_support._event_executor._idle_semaphore
assert idle.acquire(timeout=10)  # the thread of that handler waits for the next one now
idle.release()
child = os.fork()
if child == 0:
    rate.set(60)
    followed = called.wait(10) and flags.flush(10) and api.get_client().get_integer_value("rate", 0) == 60
    os._exit(0 if followed and not changed.wait(0.5) else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fault_of_the_sdk_handlers_after_a_fork() -> None:
    """In a forked child the SDK runs no handler, but values and callbacks of flags still work, as the docs say."""
    done = subprocess.run(
        [sys.executable, "-Wignore", "-c", FORKING], check=False, capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("share", "reason"),
    [("share: 100%", Reason.SPLIT), ("", Reason.TARGETING_MATCH), ("is: [acme]", Reason.TARGETING_MATCH)],
)
def test_a_share_of_all_is_a_share(flags: dflag.FlagRegistry, share: str, reason: Reason) -> None:
    """The reason is SPLIT for a rule with a share, even of 100%, and TARGETING_MATCH for a rule without a share."""
    flags.dyn_int("rate", 50, by="tenant")
    rules = "\n".join(
        filter(None, ["- name: some", "  by: tenant", f"  {share}" if share else "", "  set: {rate: 100}"])
    )
    with dflag.Updater.setup(flags, MemorySource({"_rules.yaml": rules})) as updater:
        answer = DflagProvider(flags, updater).resolve_integer_details("rate", 0, EvaluationContext("acme"))
        assert (answer.value, answer.reason) == (100, reason)


def test_a_value_is_stale_once_no_look_has_ended_for_too_long(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value is STALE exactly while `status()` calls its source unhealthy because no look has ended for too long."""
    flags.dyn_int("rate", 50)
    with dflag.Updater.setup(flags, MemorySource({"rate": "60"}), resync_seconds=60) as updater:
        provider = DflagProvider(flags, updater)
        assert provider.resolve_integer_details("rate", 0).reason == Reason.STATIC
        now = time.monotonic()
        with monkeypatch.context() as patched:
            patched.setattr(time, "monotonic", lambda: now + 1000)
            assert not updater.status().sources[0].healthy
            assert provider.resolve_integer_details("rate", 0).reason == Reason.STALE
        assert provider.resolve_integer_details("rate", 0).reason == Reason.STATIC


def test_a_reading_that_hangs_makes_the_provider_stale(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a look at a source hangs, the first stale evaluation emits STALE, and the end of the hang emits READY."""
    flags.dyn_int("rate", 50)
    hangs, asked = threading.Event(), threading.Event()

    class Hanging(MemorySource):
        def probe(self) -> object:
            asked.set()
            while hangs.is_set():
                time.sleep(0.005)
            return super().probe()

    with dflag.Updater.setup(flags, Hanging({"rate": "60"}), resync_seconds=0.05) as updater:
        api.set_provider_and_wait(DflagProvider(flags, updater))
        client, events = api.get_client(), Events()
        events.listen(client)
        events.expect(ProviderEvent.PROVIDER_READY)
        hangs.set()
        asked.clear()
        assert asked.wait(DEADLINE_SECONDS)
        with monkeypatch.context() as patched:
            patched.setattr("dflag._updater._OVERDUE_SECONDS", 0.0)
            assert eventually(lambda: client.get_integer_details("rate", 0).reason is Reason.STALE)
            assert "memory" in (events.expect(ProviderEvent.PROVIDER_STALE).message or "")
        hangs.clear()
        events.expect(ProviderEvent.PROVIDER_READY)
