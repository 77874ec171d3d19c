"""
Messages for operators: one sentence for each fault, with the flag or the source and the consequence.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import pytest

import dflag
from dflag import Updater
from dflag.sources import MemorySource, Source, Watch

from ._waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dflag.testing import ConfigMapVolume
    from dflag.typing import Raw, Wake


@pytest.fixture(name="rate")
def _rate(flags: dflag.FlagRegistry) -> dflag.DynamicFlag[int]:
    return flags.dyn_int("rate", 50, min=1)


@pytest.fixture(autouse=True)
def _levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "dflag")


class Failing(Source):
    """
    A source whose `read()` and `watch()` raise the errors that a test sets.
    """

    error: Exception | None = None
    watch_error: Exception | None = None

    @property
    def name(self) -> str:
        return "failing"

    def read(self) -> Mapping[str, Raw]:
        if self.error is not None:
            raise self.error
        return {"rate": "60"}

    def watch(self, wake: Wake) -> Watch:
        if self.watch_error is not None:
            raise self.watch_error
        return super().watch(wake)


def _refresh(updater: Updater, caplog: pytest.LogCaptureFixture) -> list[str]:
    """
    Return the messages that two refreshes log: the second refresh should add none.
    """
    caplog.clear()
    updater.refresh()
    updater.refresh()
    return list(caplog.messages)


def test_a_rejected_value_says_what_shows_instead(
    flags: dflag.FlagRegistry,
    rate: dflag.DynamicFlag[int],
    volume: ConfigMapVolume,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """
    The message about a rejected value says what is used: the last good value, or else the layer below.
    """
    flags.dyn_int("burst", 1)
    volume.write({"rate": "60"})
    updater = Updater(flags, volume.path)
    updater.initialize()
    volume.write({"rate": "a lot", "burst": "0x"})

    assert _refresh(updater, caplog) == [
        f"flag 'burst': expected an int, got '0x' ({volume.path}/burst); using the value of the layer below",
        f"flag 'rate': expected an int, got 'a lot' ({volume.path}/rate); keeping the last good value",
    ]
    assert rate.get() == 60


def test_an_atomic_revision_says_that_nothing_was_applied(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], caplog: pytest.LogCaptureFixture
) -> None:
    """
    With ``atomic=True`` the message about a bad value says that nothing was applied, and so does `last_error`.
    """
    source = MemorySource({"rate": "60"})
    updater = Updater(flags, source, atomic=True)
    updater.initialize()
    source.update({"rate": "0", "other": "1"})

    assert _refresh(updater, caplog) == [
        "flag 'rate': expected an int of at least 1, got '0' (memory); nothing of memory was applied (atomic=True)",
        "unknown key 'other' in memory",
    ]
    assert updater.status().sources[0].last_error == (
        "nothing was applied (atomic=True): flag 'rate': expected an int of at least 1, got '0' (memory)"
    )
    flags.dyn_int("other", 0)
    source.update({"rate": "0", "other": "many"})
    updater.refresh()
    assert str(updater.status().sources[0].last_error).endswith("(memory) (and 1 more)")


@pytest.mark.parametrize("through", ["updater", "apply"])
def test_a_broken_rule_is_one_line(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], caplog: pytest.LogCaptureFixture, through: str
) -> None:
    """
    A revision that a registry validator refuses is logged once, with its source, from the updater and from `apply()`.
    """

    @flags.validator
    def not_70(snapshot: dflag.Snapshot) -> None:
        if snapshot[rate] == 70:
            raise ValueError("70 is taken")

    label = not_70.__qualname__
    if through == "apply":
        for _ in range(2):
            assert flags.apply({"rate": "70"}, source="memory").error
        said = caplog.messages
    else:
        source = MemorySource({"rate": "60"})
        updater = Updater(flags, source)
        updater.initialize()
        source.update({"rate": "70"})
        said = _refresh(updater, caplog)

    assert said == [f"nothing of memory was applied: refused by the registry validator {label}: 70 is taken"]
    caplog.clear()
    flags.apply({"rate": "71"}, source="memory")
    flags.apply({"rate": "70"}, source="memory")
    assert sum("70 is taken" in message for message in caplog.messages) == 1, "refused anew, said anew"


def test_an_unknown_key_names_its_source_and_the_nearest_flag(
    flags: dflag.FlagRegistry, volume: ConfigMapVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """
    The message about an unknown key names the source and a similar flag, if any; ``unknown="error"`` raises the same.
    """
    flags.dyn_string("greeting", "hello")
    volume.write({"greting": "hi", "zzz": ""})
    sentences = [
        f"unknown key 'greting' in {volume.path} (did you mean 'greeting'?)",
        f"unknown key 'zzz' in {volume.path}",
    ]
    updater = Updater(flags, volume.path, unknown="error")
    with pytest.raises(dflag.UpdateError) as caught:
        updater.initialize()
    assert [str(error) for error in caught.value.errors] == sentences
    assert [error.flag_name for error in caught.value.errors if isinstance(error, dflag.UnknownFlagError)] == [
        "greting",
        "zzz",
    ]
    Updater(flags, volume.path).initialize()

    assert [text for text in caplog.messages if "unknown key" in text] == sentences


def test_a_source_that_cannot_be_read_says_what_stays(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A source that cannot be read is logged once, with its path, the reason, and which values are used instead.
    """
    document = tmp_path / "app.json"
    document.write_text('{"rate": 60}', encoding="utf-8")
    updater = Updater(flags, [document, tmp_path / "late"], required=False)
    updater.initialize()
    expected = "expected a ConfigMap or Secret volume, or a directory with one file per flag"
    assert f"cannot read {tmp_path}/late: no such directory, {expected}; using the values of the layers below" in (
        caplog.messages
    )
    document.unlink()
    document.mkdir()

    expected = f"cannot read {document}: is a directory, expected a YAML or JSON document; keeping the last good values"
    assert eventually(lambda: expected in (updater.refresh(), caplog.messages)[1])  # once the path has settled
    assert caplog.messages.count(expected) == 1
    assert rate.get() == 60


def test_a_source_that_resets_does_not_claim_to_keep(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], volume: ConfigMapVolume, caplog: pytest.LogCaptureFixture
) -> None:
    """
    With ``on_missing="reset"`` the message about a missing directory says that the layers below are used.
    """
    volume.write({"rate": "60"})
    updater = Updater(flags, volume.path, on_missing="reset")
    updater.initialize()
    volume.path.rename(f"{volume.path}-away")
    said = [text for text in _refresh(updater, caplog) if "cannot read" in text]

    assert [text.rpartition("; ")[2] for text in said] == ["using the values of the layers below"]
    assert rate.get() == 50


def test_a_source_whose_keys_are_gone_says_what_decides(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], caplog: pytest.LogCaptureFixture
) -> None:
    """
    The message about a source without keys says that its values are kept, and which option drops them.
    """
    source = MemorySource({"rate": "60"})
    updater = Updater(flags, source)
    updater.initialize()
    source.update({})

    assert _refresh(updater, caplog) == [
        "no key is left in memory; keeping the last good values (on_missing='reset' drops them)"
    ]
    assert rate.get() == 60


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (dflag.SourceError("locked by its owner"), "cannot read failing: locked by its owner"),
        (dflag.SourceError("failing: locked"), "failing: locked"),
        (ZeroDivisionError("no way"), "cannot read failing: ZeroDivisionError: no way"),
        (dflag.SourceError("two\nlines"), r"cannot read failing: two\nlines"),
    ],
)
def test_a_source_of_ones_own_is_named(
    flags: dflag.FlagRegistry,
    rate: dflag.DynamicFlag[int],
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    sentence: str,
) -> None:
    """
    Whatever exception a user's `read()` raises, the message names the source and is a single line.
    """
    source = Failing()
    updater = Updater(flags, source)
    updater.initialize()
    source.error = error

    assert [text for text in _refresh(updater, caplog) if "last good" in text] == [
        f"{sentence}; keeping the last good values"
    ]
    assert rate.get() == 60
    if not isinstance(error, dflag.SourceError):
        assert "the read() of source failing should raise SourceError, not ZeroDivisionError" in caplog.text


def test_a_watch_that_cannot_be_made_says_how_often_it_looks(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], caplog: pytest.LogCaptureFixture
) -> None:
    """
    If `watch()` raises, the log says how often the source is checked instead, with the reason that is in the status.
    """
    source = Failing()
    source.watch_error = OSError(24, os.strerror(24))
    with Updater.setup(flags, source) as updater:
        degraded = updater.status().sources[0].degraded

    assert degraded == f"its watch() raised OSError: [Errno 24] {os.strerror(24)}"
    assert f"checking failing every 0.25 s instead of watching it: {degraded}" in caplog.messages
    assert rate.get() == 60


def test_a_change_is_named_and_no_change_is_no_news(
    flags: dflag.FlagRegistry, rate: dflag.DynamicFlag[int], caplog: pytest.LogCaptureFixture
) -> None:
    """
    A revision logs the names of its changed flags at INFO, never a value; one that changes nothing logs no change.
    """
    names = [f"f{number:02}" for number in range(12)]
    for name in names:
        flags.dyn_int(name, 0)
    source = MemorySource(dict.fromkeys(names, "7"))
    updater = Updater(flags, source)
    updater.initialize()
    number = flags.snapshot().revision
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert line == f"revision {number} of memory changed {', '.join(names[:10])} and 2 more"

    source.update({**dict.fromkeys(names, "7"), "rate": "a lot"})
    (said,) = _refresh(updater, caplog)
    assert said.startswith("flag 'rate'")
    assert rate.get() == 50


@pytest.mark.parametrize(
    ("state", "instead"), [("running", r"refresh\(\) reads now"), ("stopped", r"start\(\) reads again")]
)
def test_a_call_out_of_order_says_what_to_call(flags: dflag.FlagRegistry, state: str, instead: str) -> None:
    """
    `start()` and `initialize()` in the wrong state raise an error that says which method to call instead.
    """
    with Updater.setup(flags, MemorySource()) as updater:
        with pytest.raises(dflag.UpdaterStateError, match=r"already running: call stop\(\)"):
            updater.start()
        if state == "stopped":
            updater.stop()
        with pytest.raises(dflag.UpdaterStateError, match=f"the updater is {state}: {instead}"):
            updater.initialize()


def test_names_that_collide_say_what_to_do(flags: dflag.FlagRegistry) -> None:
    """
    `Updater` refuses a source with the name of another of its sources, of another updater's source, or of a layer.
    """
    with pytest.raises(dflag.DefinitionError, match="expected sources with different names, got 'memory' twice"):
        Updater(flags, [MemorySource(), MemorySource()])
    with Updater.setup(flags, MemorySource()):
        other = MemorySource()
        with pytest.raises(dflag.DefinitionError, match=r"source 'memory' .* another updater: stop\(\) that one first"):
            Updater(flags, other)
    with pytest.raises(dflag.DefinitionError, match=r"expected a name of a source.*got 'override'"):
        Updater(flags, MemorySource(name="override"))
