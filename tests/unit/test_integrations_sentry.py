"""
The flags and checksums in Sentry's events.
"""

from __future__ import annotations

import gc
import json
import logging
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import sentry_sdk
from sentry_sdk.integrations.logging import EventHandler

import dflag
from dflag.integrations import sentry

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(name="events")
def _events(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """Yield the list to which each event that reaches Sentry is appended."""
    found: list[dict[str, Any]] = []

    def keep(event: Any, _: Any) -> None:
        found.append(json.loads(json.dumps(event, default=str)))

    monkeypatch.setattr(sentry_sdk.get_global_scope(), "_event_processors", [])
    sentry_sdk.init(
        dsn="https://key@sentry.invalid/1",
        before_send=keep,
        default_integrations=False,
        auto_enabling_integrations=False,
    )
    yield found
    sentry_sdk.get_client().close(timeout=0)
    sentry_sdk.get_global_scope().set_client(None)


def test_every_event_has_bool_flags_and_checksums(events: list[dict[str, Any]]) -> None:
    """
    An event has the bool flags and checksums of its moment, no secret flag, and the flags that the program has added.
    """
    flags = dflag.FlagRegistry("shop")
    new_path = flags.dyn_bool("new_path", False)
    flags.bool("fast", True)
    flags.dyn_bool("hidden", True, secret=True)
    flags.dyn_int("rate", 5)
    sentry.add_context(flags)
    sentry.add_context(flags)
    sentry_sdk.capture_message("one")
    new_path.set(True)
    with sentry_sdk.isolation_scope():
        sentry_sdk.feature_flags.add_feature_flag("theirs", True)
        sentry_sdk.capture_message("two")

    first, second = (event["contexts"] for event in events)
    assert first["flags"]["values"] == [{"flag": "fast", "result": True}, {"flag": "new_path", "result": False}]
    assert second["flags"]["values"] == [
        {"flag": "theirs", "result": True},
        {"flag": "fast", "result": True},
        {"flag": "new_path", "result": True},
    ]
    assert second["dflag shop"] == {
        "revision": flags.snapshot().revision,
        "checksum_static": flags.checksum(dynamic=False),
        "checksum_dynamic": flags.checksum(dynamic=True),
    }
    assert first["dflag shop"]["checksum_dynamic"] != second["dflag shop"]["checksum_dynamic"]


def test_an_event_in_a_pin_has_what_its_code_read(events: list[dict[str, Any]], flags: dflag.FlagRegistry) -> None:
    """
    An event inside a pin has the values, revision and checksums of the pin, although a newer revision is in force.
    """
    new_path = flags.dyn_bool("new_path", False)
    sentry.add_context(flags)
    with flags.pinned():
        new_path.set(True)
        sentry_sdk.capture_message("pinned")
    sentry_sdk.capture_message("later")

    assert [event["contexts"]["flags"]["values"][0]["result"] for event in events] == [False, True]
    pinned, later = (event["contexts"]["dflag"] for event in events)
    assert later["revision"] == flags.snapshot().revision == pinned["revision"] + 1
    assert later["checksum_dynamic"] == flags.checksum(dynamic=True) != pinned["checksum_dynamic"]


def test_a_fault_costs_no_event(events: list[dict[str, Any]], flags: dflag.FlagRegistry) -> None:
    """
    When computing the checksums raises, the event is sent as it is without dflag.
    """

    def fail(snapshot: object, **_: object) -> str:
        raise ValueError(snapshot)

    flags.dyn_custom("odd", object(), parse=lambda text: text, format=lambda _: "fine")
    sentry_sdk.capture_message("one")
    sentry.add_context(flags)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sentry, "checksum_of", fail)
        sentry_sdk.capture_message("one")

    plain, event = ({**each, "event_id": None, "timestamp": None} for each in events)
    assert event == plain
    assert event["message"] == "one"


def test_the_event_of_a_fault_is_not_added_to(
    events: list[dict[str, Any]], flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Sentry's event about a failure to add flags gets no flags, so that failures do not repeat; the next event has them.
    """
    faults = 0

    def fail(_: object, **__: object) -> str:
        nonlocal faults
        faults += 1
        if faults > 1:
            return "given up"
        raise ValueError

    sentry.add_context(flags)
    monkeypatch.setattr(sentry, "checksum_of", fail)
    monkeypatch.setattr(logging.getLogger("dflag"), "handlers", [EventHandler()])
    sentry_sdk.capture_message("one")

    assert [event.get("message") for event in events] == [None, "one"]
    assert ["flags" in event["contexts"] for event in events] == [False, False]
    sentry_sdk.capture_message("two")
    assert "flags" in events[-1]["contexts"], "the next event is added to again"


def test_a_registry_that_goes_is_not_kept(events: list[dict[str, Any]]) -> None:
    """
    A registry that the program drops is garbage-collected, and later events are sent without its flags.
    """
    flags = dflag.FlagRegistry()
    sentry.add_context(flags)
    reference = weakref.ref(flags)
    del flags
    gc.collect()
    sentry_sdk.capture_message("one")

    assert reference() is None
    assert "flags" not in events[0]["contexts"]


def test_what_is_no_registry() -> None:
    """
    `add_context()` raises when its argument is not a registry.
    """
    with pytest.raises(dflag.DefinitionError, match="registry"):
        sentry.add_context("flags")  # type: ignore[arg-type]  # what is tested
