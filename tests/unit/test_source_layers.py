"""
The sources of one registry: their names, their ranks, and their values in force.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import threading
import warnings
from typing import TYPE_CHECKING

import pytest

import dflag
from dflag import _source_layers
from dflag._registry import sources_of, store_of_registry
from dflag._source_state import ApplyOptions, Reading, SourceState
from dflag.sources import MemorySource
from dflag.testing import isolated

from ..integration._waiting import DEADLINE_SECONDS, run_python  # noqa: TID252 - tests is on no path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from dflag._source_layers import SourceLayers
    from dflag._store import Store


class Feeder:
    """Something that feeds a source."""


@pytest.fixture(name="sources")
def _sources(flags: dflag.FlagRegistry) -> SourceLayers:
    return sources_of(flags)


def _reading(**values: str) -> Reading:
    return Reading(values, lambda key: f"place of {key}")


def test_sources_rank_in_the_order_in_which_they_were_named(flags: dflag.FlagRegistry, sources: SourceLayers) -> None:
    """A source that is named first ranks below a later one, even if it has values only after that one."""
    rate = flags.dyn_int("rate", 1)
    sources.add("low")
    sources.add("high")
    sources.apply_each({"high": _reading(rate="3")})
    sources.apply_each({"low": _reading(rate="2")})
    assert (rate.get(), rate.origin) == (3, "high")
    sources.apply_each({"high": _reading()})
    assert (rate.get(), rate.origin) == (2, "low")


def test_a_source_that_a_signal_handler_names_amid_another_is_ranked(
    flags: dflag.FlagRegistry, sources: SourceLayers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source that a signal handler applies while another source is being ranked is ranked, and its values count."""
    rate, store = flags.dyn_int("rate", 1), store_of_registry(flags)
    rank = store.rank

    def interrupted(ranking: Iterable[str]) -> None:
        names = tuple(ranking)
        monkeypatch.setattr(store, "rank", rank)
        sources.apply_each({"amid": _reading(rate="3")})
        rank(names)

    monkeypatch.setattr(store, "rank", interrupted)
    sources.add("first")
    assert (rate.get(), rate.origin) == (3, "amid")
    sources.apply_each({"amid": _reading(rate="4")})
    assert rate.get() == 4


def test_sources_that_a_signal_handler_needs_first_are_those_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a signal handler calls the first `apply()` during another first one, the values of both are in force."""
    flags = dflag.FlagRegistry()
    rate, burst = flags.dyn_int("rate", 1), flags.dyn_int("burst", 1)
    make = _source_layers.SourceLayers

    def interrupted(store: Store) -> SourceLayers:
        monkeypatch.setattr(_source_layers, "SourceLayers", make)
        flags.apply({"rate": "2"}, source="handler")
        return make(store)

    monkeypatch.setattr(_source_layers, "SourceLayers", interrupted)
    flags.apply({"burst": "3"}, source="program")
    assert (rate.get(), rate.origin, burst.get()) == (2, "handler", 3)


def test_a_signal_handler_amid_the_import_of_sources_gets_a_clear_error() -> None:
    """`apply()` in a signal handler that interrupts the import of sources raises; the interrupted call goes on."""
    program = """
import importlib.abc, sys
import dflag

flags = dflag.FlagRegistry()
rate = flags.dyn_int("rate", 1)

class Interrupt(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "dflag._batch":
            try:
                flags.apply({"rate": "5"}, source="handler")
            except dflag.DflagError as error:
                print(error)

sys.meta_path.insert(0, Interrupt())
flags.apply({"rate": "2"}, source="program")
print(rate.get())
"""
    found = run_python(program)
    refusal, rate = found.stdout.splitlines()
    assert refusal.startswith("a source cannot be applied by a signal handler that interrupts the first use"), (
        found.stderr
    )
    assert rate == "2"


def test_flags_that_are_declared_at_once_take_what_a_source_holds(
    flags: dflag.FlagRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flag that is declared during the declaration of another flag gets the value that a source holds for it."""
    flags.dyn_map("limits", {}, keys="m-*", of="int")
    flags.apply({"a": "1", "b": "2", "m-c": "3"}, source="s")
    store = store_of_registry(flags)
    add, names = store.add, ["b", "m-c"]

    def switched(flag: dflag.Flag[int]) -> None:
        add(flag)  # another thread goes on here, before the source's value is applied
        if names:
            flags.dyn_int(names.pop(), 0)

    monkeypatch.setattr(store, "add", switched)
    flags.dyn_int("a", 0)
    assert [flags[name].get() for name in ("a", "b", "m-c", "limits")] == [1, 2, 3, {}]


@pytest.mark.parametrize("name", ["", "override", "environment", "command line", "default", "pinned"])
def test_no_source_has_the_name_of_another_layer(sources: SourceLayers, name: str) -> None:
    """A source with an empty name or with the name of another layer raises, because an origin must be unique."""
    with pytest.raises(dflag.DefinitionError, match="expected a name of a source"):
        sources.add(name)


def test_one_owner_feeds_a_source_until_it_is_gone(sources: SourceLayers) -> None:
    """Only one owner can claim a source, also twice; another one can after a release, or when the owner is deleted."""
    one, other = Feeder(), Feeder()
    sources.claim("file", one, below_arguments=False)
    sources.claim("file", one, below_arguments=False)
    with pytest.raises(dflag.DefinitionError, match="source 'file' is already followed"):
        sources.claim("file", other, below_arguments=False)
    assert sources.owners() == [one]
    sources.release("file", other)
    assert sources.owners() == [one]
    sources.release("file", one)
    sources.claim("file", other, below_arguments=False)
    del other
    gc.collect()
    assert sources.owners() == []
    sources.claim("file", one, below_arguments=False)


def test_the_rank_beneath_the_command_line_is_settled_before_there_are_values(
    flags: dflag.FlagRegistry, sources: SourceLayers
) -> None:
    """A source can change between the ranks above and below the command line only while it has no values."""
    rate, owner = flags.dyn_int("rate", 1), Feeder()
    sources.claim("file", owner, below_arguments=True)
    sources.apply_each({"file": _reading(rate="2")})
    flags.parse_args(["--rate=3"])
    assert rate.get() == 3
    with pytest.raises(dflag.DefinitionError, match="use below_arguments=True, or empty it first"):
        sources.claim("file", owner, below_arguments=False)
    sources.apply_each({"file": _reading()})
    sources.claim("file", owner, below_arguments=False)
    sources.apply_each({"file": _reading(rate="2")})
    assert rate.get() == 2


def test_all_or_nothing_over_several_sources(flags: dflag.FlagRegistry, sources: SourceLayers) -> None:
    """`apply_all()` applies nothing if any source has a bad value; `apply_each()` applies all good values."""
    rate, limit = flags.dyn_int("rate", 1), flags.dyn_int("limit", 1)
    readings = {"one": _reading(rate="2"), "two": _reading(limit="many")}
    outcomes, errors = sources.apply_all(readings)
    assert (rate.get(), limit.get(), sources.state("one").reading.values) == (1, 1, {})
    assert (outcomes, [error.flag_name for error in errors]) == ({}, ["limit"])

    outcomes = sources.apply_each(readings)
    assert (rate.get(), limit.get()) == (2, 1)
    assert outcomes["one"].revision.get().changed == ("rate",)
    assert "place of limit" in str(outcomes["two"].revision.get().rejected["limit"])


def test_a_flag_that_is_declared_late_takes_what_the_sources_hold(flags: dflag.FlagRegistry) -> None:
    """A flag that is declared late gets the value of the last source that has a good value for it."""
    flags.apply({"rate": "2", "burst": "2"}, source="low")
    flags.apply({"rate": "many", "burst": "3"}, source="high")
    assert flags.dyn_int("rate", 1).get() == 2
    assert flags.dyn_int("burst", 1).get() == 3


def test_going_back_forgets_the_sources_that_were_named_since(sources: SourceLayers) -> None:
    """`restore()` forgets the sources that were named since, except those with an owner, which come last."""
    owner = Feeder()
    sources.add("kept")
    kept = sources.keep()
    sources.add("gone")
    sources.claim("fed", owner, below_arguments=False)
    sources.restore(kept)
    assert list(sources.states()) == ["kept", "fed"]


def test_whoever_asks_first_after_a_commit_gets_the_state_that_stays(
    flags: dflag.FlagRegistry, sources: SourceLayers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that asks for a source's state right after a commit gets the same object as all later callers."""
    rate, snapshot = flags.dyn_int("rate", 1), flags.snapshot()
    seen = list[SourceState]()

    def ask() -> None:  # as another thread could right after the commit
        assert rate.get() == 2
        seen.extend((sources.state("file"), *sources.states().values()))

    monkeypatch.setattr(_source_layers, "yield_interpreter", ask)
    outcomes = sources.apply_each({"file": _reading(rate="2", bust="3")}, ApplyOptions(background=True))
    state = sources.state("file")
    assert [each is state for each in seen] == [True, True]
    assert state.revision is outcomes["file"].revision
    assert (state.results.updates, state.results.warnings) == (1, 1)
    assert sources.state_at("file", snapshot).revision is None
    assert sources.state_at("file", flags.snapshot()) is state


def _commit_elsewhere(flag: dflag.DynamicFlag[int]) -> None:
    """Commit another value of a flag in another thread, as may happen at any moment."""
    thread = threading.Thread(target=flag.set, args=(flag.get() + 1,))
    thread.start()
    thread.join(DEADLINE_SECONDS)
    assert not thread.is_alive()


def test_an_unknown_key_is_reported_when_the_first_attempt_is_outdated(
    flags: dflag.FlagRegistry, sources: SourceLayers, caplog: pytest.LogCaptureFixture
) -> None:
    """An unknown key is logged and counted once when the first attempt to commit is outdated and made again."""
    flags.dyn_int("rate", 1)
    other, attempts = flags.dyn_int("other", 1), list[int]()

    @flags.validator
    def _outdate_the_first(snapshot: dflag.Snapshot) -> None:
        if snapshot["rate"] == 2 and not attempts:
            attempts.append(1)
            _commit_elsewhere(other)

    assert flags.apply({"rate": "2", "rat": "2"}, source="s").unknown == ("rat",)
    assert attempts == [1]
    assert sources.state("s").results.warnings == 1
    assert caplog.text.count("unknown key 'rat'") == 1
    flags.apply({"rate": "3", "rat": "3"}, source="s")
    assert sources.state("s").results.warnings == 1


_TWO_RULES = """
- {name: first, set: {rate: 5}}
- {name: second, set: {burst: 5}}
"""


def test_only_the_rule_that_is_to_blame_is_left_out_when_an_attempt_is_outdated(
    flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """
    When an attempt is outdated, only the rule to blame is left out, not the whole source.
    The log does not say that a last good text is kept: the rule was never in force.
    """
    rate, burst, other = flags.dyn_int("rate", 1), flags.dyn_int("burst", 1), flags.dyn_int("other", 1)
    asked: list[tuple[int, int]] = []

    @flags.validator
    def _refuse_both(snapshot: dflag.Snapshot) -> None:
        pair = snapshot[rate], snapshot[burst]
        outdate = pair == (5, 1) and asked.count((5, 5)) == 1
        asked.append(pair)
        if outdate:
            _commit_elsewhere(other)
        if pair == (5, 5):
            raise ValueError("not both")

    source = MemorySource({})
    updater = dflag.Updater(flags, source)
    updater.initialize()
    source.update({"_rules.yaml": _TWO_RULES})
    updater.refresh()
    assert asked.count((5, 5)) == 2
    assert (rate.get(), burst.get()) == (5, 1)
    status = updater.status()
    assert (status.sources[0].reloads["refused"], status.sources[0].last_error) == (0, None)
    assert "nothing of memory was applied" not in caplog.text
    assert caplog.text.count("the rule is left out") == 1
    assert "keeping its last good text" not in caplog.text


@pytest.mark.parametrize("atomic", [False, True])
def test_the_log_calls_only_an_atomic_updater_atomic(
    flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture, atomic: bool
) -> None:
    """The log names `atomic=True` only if it was given, not when a registry validator refuses the whole reading."""
    flags.dyn_int("rate", 1)
    flags.dyn_int("burst", 1)

    @flags.validator
    def _refuse(snapshot: dflag.Snapshot) -> None:
        if snapshot["burst"] == 5:
            raise ValueError("too much")

    flags.apply({"rate": "many", "burst": "5"}, source="s", atomic=atomic)
    assert "nothing of s was applied" in caplog.text
    assert ("atomic=True" in caplog.text) is atomic


def test_a_commit_that_is_not_wanted_any_more_changes_nothing(flags: dflag.FlagRegistry, sources: SourceLayers) -> None:
    """A commit that is no longer wanted changes nothing and has no outcome."""
    rate = flags.dyn_int("rate", 1)
    options = ApplyOptions(wanted=lambda: False)
    readings = {"s": Reading({"rate": "2"}, lambda _: "s")}
    assert sources.apply_each(readings, options) == {}
    assert (rate.get(), sources.state("s").revision) == (1, None)


class Handler(logging.Handler):
    """Calls a function once, in another thread, when a log message contains a text."""

    def __init__(self, about: str, function: Callable[[], object]) -> None:
        super().__init__()
        self._about = about
        self._functions = [function]

    def emit(self, record: logging.LogRecord) -> None:
        if self._functions and self._about in record.getMessage():
            thread = threading.Thread(target=self._functions.pop())
            thread.start()
            thread.join(DEADLINE_SECONDS)


@pytest.fixture(name="when_logged")
def _when_logged() -> Iterator[Callable[[str, Callable[[], object]], None]]:
    """Yield a function that has another function called when a log message contains a text."""
    handlers: list[Handler] = []

    def call(about: str, function: Callable[[], object]) -> None:
        handlers.append(Handler(about, function))
        logging.getLogger("dflag").addHandler(handlers[-1])

    yield call
    for handler in handlers:
        logging.getLogger("dflag").removeHandler(handler)


def test_a_source_may_be_forgotten_before_its_commit_is_logged(
    flags: dflag.FlagRegistry, when_logged: Callable[[str, Callable[[], object]], None]
) -> None:
    """`apply()` returns its revision even if another thread forgets the source before the commit is logged."""
    flags.dyn_string("name", "x", deprecated="gone soon")
    flags.dyn_int("rate", 1)
    with contextlib.ExitStack() as block:
        block.enter_context(isolated(flags))
        when_logged("deprecated", block.pop_all().close)
        with pytest.warns(DeprecationWarning, match="gone soon"):
            revision = flags.apply({"name": "y", "rate": "many"}, source="new")
    assert (revision.changed, list(revision.rejected)) == (("name",), ["rate"])


def test_an_unknown_key_counts_for_one_source_whatever_is_logged_between(
    flags: dflag.FlagRegistry,
    sources: SourceLayers,
    when_logged: Callable[[str, Callable[[], object]], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An unknown key of two sources is logged and counted once, even if the second is applied while the first logs."""
    flags.dyn_string("name", "x", deprecated="gone soon")
    when_logged("deprecated", lambda: flags.apply({"nope": "1"}, source="second"))
    with pytest.warns(DeprecationWarning, match="gone soon"):
        flags.apply({"name": "y", "nope": "1"}, source="first")
    assert caplog.text.count("unknown key 'nope'") == 1
    assert sources.state("first").results.warnings + sources.state("second").results.warnings == 1


def test_the_fault_of_a_validator_is_logged_once_while_its_reading_is_refused(
    flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """The fault of a parser or validator is logged once while the refused reading is parsed again at each check."""

    def fault(text: str) -> int:
        raise LookupError(text)

    flags.dyn_custom("mode", 0, parse=fault)
    token = flags.dyn_string("token", "", secret=True)
    token.validator(lambda value: False if value else None)
    rate = flags.dyn_int("rate", 1)
    source = MemorySource({})
    updater = dflag.Updater(flags, source, atomic=True)
    updater.initialize()
    source.update({"mode": "fast", "token": "hunter2", "rate": "2"})
    for _ in range(3):
        updater.refresh()
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert errors == [
        "flag 'mode': a parser, mutator or validator should raise ValueError, not LookupError",
        "flag 'token': a validator should raise ValueError to refuse a value, not return False",
    ]
    assert "hunter2" not in caplog.text
    source.update({"rate": "2"})
    updater.refresh()
    assert rate.get() == 2


def test_bad_value_keeps_last_good_one_of_its_source(flags: dflag.FlagRegistry) -> None:
    """
    A bad value keeps the last good one of its source, or shows the layer below; the other values are applied.
    """
    rate, other = flags.dyn_int("rate", 1), flags.dyn_int("other", 1)
    assert list(flags.apply({"rate": "x"}, source="s").rejected) == ["rate"]
    assert rate.get() == 1
    flags.apply({"rate": "2"}, source="s")
    revision = flags.apply({"rate": "x", "other": "5"}, source="s")

    assert (rate.get(), other.get()) == (2, 5)
    assert revision.changed == ("other",)
    assert str(revision.rejected["rate"]) == "flag 'rate': expected an int, got 'x' (s)"


def test_atomic_revision_with_a_bad_value_changes_nothing(flags: dflag.FlagRegistry) -> None:
    """
    An atomic revision with a bad value changes no flag, and the next good revision is applied whole.
    """
    rate, other = flags.dyn_int("rate", 1), flags.dyn_int("other", 1)
    revision = flags.apply({"rate": "x", "other": "5"}, source="s", atomic=True)

    assert (rate.get(), other.get(), revision.changed) == (1, 1, ())
    assert list(revision.rejected) == ["rate"]
    assert flags.apply({"rate": "2", "other": "5"}, source="s", atomic=True).changed == ("other", "rate")


def test_unchanged_values_are_neither_parsed_nor_committed_again(flags: dflag.FlagRegistry) -> None:
    """
    Values that have not changed are not parsed again, and `apply()` returns the previous revision.
    """
    parsed: list[str] = []

    def note(text: str) -> str:
        parsed.append(text)
        return text

    flags.dyn_int("rate", 1, input_mutator=note)
    first = flags.apply({"rate": "2"}, source="s")
    assert flags.apply({"rate": "2"}, source="s") is first
    assert parsed == ["2"]


def test_a_flag_whose_text_did_not_change_is_left_alone_beside_one_that_did(flags: dflag.FlagRegistry) -> None:
    """
    A flag whose text has not changed is not parsed, validated or notified again when another flag changes.
    """
    parsed: list[str] = []
    called: list[tuple[int, int]] = []

    def note(text: str) -> str:
        parsed.append(text)
        return text

    rate = flags.dyn_int("rate", 1, input_mutator=note, validator=lambda value: parsed.append(str(value)))
    rate.on_change(lambda old, new: called.append((old, new)))
    flags.dyn_int("other", 1)
    parsed.clear()
    for other in range(3):
        flags.apply({"rate": "0x2", "other": str(other)}, source="s")
    assert flags.flush(DEADLINE_SECONDS)

    assert parsed == ["0x2", "2"]
    assert called == [(1, 2)]


def test_text_that_stays_bad_is_logged_once(flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture) -> None:
    """
    A text that stays bad, or a key that stays unknown, is logged once; a bad text stays in `rejected`.
    """
    flags.dyn_int("rate", 1)
    flags.dyn_int("other", 1)
    for other in ("1", "2", "3"):
        assert "rate" in flags.apply({"rate": "x", "other": other, "nope": "1"}, source="s").rejected
    assert sum("expected an int" in record.message for record in caplog.records) == 1
    assert sum("nope" in record.message for record in caplog.records) == 1


def test_registry_validator_refuses_a_revision_whole(flags: dflag.FlagRegistry) -> None:
    """
    A revision that a registry validator refuses changes no value and no history; `set()` and `override()` raise.
    """
    low, high = flags.dyn_int("low", 1), flags.dyn_int("high", 10)

    @flags.validator
    def _ordered(snap: dflag.Snapshot) -> None:
        if snap[low] > snap[high]:
            raise ValueError("low above high")

    number = flags.snapshot().revision
    revision = flags.apply({"low": "20"}, source="s")
    assert "low above high" in str(revision.error)
    assert (low.get(), flags.snapshot().revision, flags.history()) == (1, number, ())
    with pytest.raises(dflag.ValidationError, match=r"flag 'low': refused by .*low above high"):
        low.set(20)
    with pytest.raises(dflag.ValidationError, match="low above high"), flags.override({low: 20}):
        pytest.fail("entered")
    assert flags.apply({"low": "20", "high": "30"}, source="s").error is None
    assert (low.get(), high.get()) == (20, 30)


def test_flag_declared_late_takes_up_what_sources_hold(flags: dflag.FlagRegistry) -> None:
    """
    A flag that is declared after the first revision gets the source's value, even a static flag after the freeze.
    """
    assert flags.apply({"rate": "5", "port": "6"}, source="s").unknown == ("port", "rate")
    flags.freeze()
    assert flags.dyn_int("rate", 1).get() == 5
    assert flags.int("port", 1).get() == 6
    assert flags.apply({"rate": "7", "port": "6"}, source="s").unknown == ()


@pytest.mark.parametrize("key", ["", "by: tenant, "], ids=["for all", "by key"])
def test_a_deprecated_flag_that_a_rule_sets_is_warned_of_once(
    flags: dflag.FlagRegistry, caplog: pytest.LogCaptureFixture, key: str
) -> None:
    """A deprecated flag that a rule sets, for all keys or for some, is logged once."""
    flags.dyn_int("old", 1, deprecated="use new", by="tenant")
    source = MemorySource({})
    updater = dflag.Updater(flags, source)
    updater.initialize()
    for value in (2, 3):
        source.update({"_rules.yaml": f"- {{{key}set: {{old: {value}}}}}"})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            updater.refresh()
    assert caplog.messages == ["flag 'old' is deprecated: use new (set by memory)"]
