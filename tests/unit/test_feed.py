"""
One source of an updater: how it is read, and what its status shows.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import pytest

import dflag
from dflag._feed import Feed, Ignored
from dflag._source_state import Reading, Results, empty_state
from dflag.errors import SourceError
from dflag.sources import MemorySource, Watch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dflag.typing import Raw


class Source(MemorySource):
    """A source that fails as a test sets it, and counts how often it is read."""

    fault: BaseException | None = None
    token: object = 5
    reads = 0

    def probe(self) -> object:
        if isinstance(self.token, Exception):
            raise self.token
        return self.token

    def read(self) -> Mapping[str, Raw]:
        self.reads += 1
        if self.fault is not None:
            raise self.fault
        return super().read()


def _values(feed: Feed) -> Mapping[str, Raw]:
    assert feed.reading is not None
    return feed.reading.values


@pytest.fixture(name="source")
def _source() -> Source:
    return Source({"rate": "1"})


@pytest.fixture(name="feed")
def _feed(source: Source) -> Feed:
    return Feed(source, partial(empty_state, source.name))


def test_a_source_is_read_when_its_token_changes(feed: Feed, source: Source) -> None:
    """A look reads the source if its token has changed or `dirty` is set; any other look only renews the contact."""
    assert feed.look()
    feed.contact = time.monotonic() - 1_000
    assert not feed.look()
    assert source.reads == 1
    assert (feed.status(Results()).seconds_since_contact or 1_000) < 1_000
    source.token = 6
    assert feed.look()
    feed.dirty = True
    assert feed.look()
    assert source.reads == 3


def test_a_probe_that_raises_is_a_reason_to_read(feed: Feed, source: Source) -> None:
    """A source whose `probe()` raises is read at every look."""
    source.token = OSError("broken")
    assert feed.look()
    assert feed.look()
    assert source.reads == 2


@pytest.mark.parametrize("fault", [SourceError("away"), OSError("broken"), AssertionError()], ids=repr)
def test_a_failure_keeps_the_values_and_counts_once(
    feed: Feed, source: Source, fault: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """While a source fails to read in the same way, its values stay, and the failure is counted and logged once."""
    feed.look()
    source.fault = fault
    for token in (6, 7):
        source.token = token
        assert feed.look()
    assert (_values(feed), feed.failures) == ({"rate": "1"}, 1)
    assert feed.problem is not None
    assert caplog.text.count("keeping the last good values") == 1
    assert caplog.text.count("should raise SourceError") == (0 if isinstance(fault, SourceError) else 1)
    source.fault, source.token = None, 8
    assert feed.look()
    assert feed.problem is None


@pytest.mark.parametrize("how", ["unreadable", "empty"])
def test_the_end_of_a_failure_is_logged_once(
    feed: Feed, source: Source, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """The end of a failure is logged once, even if the source has the values that were kept."""
    caplog.set_level("INFO", "dflag")
    feed.look()
    if how == "empty":
        source.update({})
    else:
        source.fault = SourceError("away")
    source.token = 6
    feed.look()
    assert "can be read now" not in caplog.text
    source.fault = None
    source.update({"rate": "1"})
    for token in (7, 8):
        source.token = token
        feed.look()
    assert caplog.messages[1:] == [f"the values of {source.name} can be read now"]


def test_a_failure_whose_numbers_change_is_the_same_one(
    feed: Feed, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure whose text differs only in numbers or ids is logged and counted once; `problem` has the newest text."""
    feed.look()
    for token, text in enumerate(("502: version 101 (5114)", "503: version 101 (5121)", "503: version 7f3a (b6)"), 6):
        source.fault, source.token = SourceError(f"memory answered {text}"), token
        feed.look()
        assert feed.problem == f"memory answered {text}"
    assert (feed.failures, len(caplog.records)) == (1, 1)
    for number, text in enumerate(("nothing", "bad app.yaml:3:4", "bad app.yaml:10:4"), 2):  # a place does count
        source.fault, source.token = SourceError(f"memory answered {text}"), 9 + number
        feed.look()
        assert (feed.failures, len(caplog.records)) == (number, number)


def test_an_exception_whose_numbers_change_is_the_same_one(
    feed: Feed, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception of `read()` or `probe()` whose text differs only in numbers is logged and counted once."""
    for number in (1, 2, 3):
        source.fault, source.token = OSError(f"broken at {number}"), ValueError(f"no token at {number}")
        feed.look()
    assert [caplog.text.count(each) for each in ("the read() of", "the probe() of")] == [1, 1]
    assert feed.failures == 1


@pytest.mark.parametrize("message", ["no answer", "no answer from memory"])
def test_a_failure_names_the_source(feed: Feed, source: Source, message: str) -> None:
    """A source's SourceError names the source once, and keeps its own message and `missing`."""
    source.fault = SourceError(message, missing=True)
    with pytest.raises(SourceError, match="memory") as caught:
        feed.read()
    assert caught.value.missing
    assert message in str(caught.value)
    assert str(caught.value).count("memory") == 1
    feed.dirty = True
    feed.look()
    assert feed.problem == str(caught.value)


@pytest.mark.parametrize("kind", [SourceError, OSError])
def test_a_problem_is_one_line_of_bounded_length(
    feed: Feed, source: Source, caplog: pytest.LogCaptureFixture, kind: type[Exception]
) -> None:
    """`problem`, `degraded` and `not_live` are each a printable line of at most 1,000 characters, for any message."""
    said = "x\nWARNING forged " + "y" * 100_000
    source.fault = kind(said)
    for token in (6, 7):
        source.token = token
        feed.look()
    feed.note_degraded(said, 0.25)
    feed.note_not_live(said)
    for problem in (feed.problem, feed.degraded, feed.not_live):
        assert problem is not None
        assert problem.isprintable()
        assert len(problem) <= 1000
    assert len(caplog.records) == (3 if kind is SourceError else 4)


def test_a_line_of_the_log_stays_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """A log message stays one line if the name of the source has a line end in it."""
    source = Source({}, name="a\nb")
    source.fault = KeyError("x")
    feed = Feed(source, partial(empty_state, source.name))
    feed.look()
    feed.note_not_followed("is not followed")
    assert [record.getMessage().splitlines()[1:] for record in caplog.records] == [[], [], []]


@pytest.mark.parametrize(("resets", "values"), [(False, {"rate": "1"}), (True, {})])
def test_a_source_that_is_gone_or_empty_keeps_its_values_unless_it_resets(
    source: Source, resets: bool, values: dict[str, str]
) -> None:
    """A source that is gone or empty keeps its last values, unless its feed resets."""
    feed = Feed(source, partial(empty_state, source.name), resets=resets)
    feed.look()
    source.fault, source.token = SourceError("gone", missing=True), 6
    feed.look()
    assert _values(feed) == values
    source.fault = None
    feed.dirty = True
    feed.look()
    source.update({})
    feed.dirty = True
    feed.look()
    assert _values(feed) == values
    assert (feed.problem is None) is resets


def test_ignored_keys_are_no_values(caplog: pytest.LogCaptureFixture) -> None:
    """Keys are ignored by name or by pattern; the key of rules only by its full name, which is logged once."""
    caplog.set_level(logging.WARNING, logger="dflag")
    values = {"rate": "1", "tmp_a": "2", "_example": "3", "_rules.yaml": "[]"}
    assert Ignored().without(values) is values
    assert Ignored(["tmp_*", "_*"]).without(values) == {"rate": "1", "_rules.yaml": "[]"}
    ignored = Ignored(["_rules.yaml"])
    for _ in range(2):
        assert ignored.without(values) == {"rate": "1", "tmp_a": "2", "_example": "3"}
    assert caplog.text.count("rules are switched off") == 1


def test_the_values_in_force_are_known_by_their_identity(source: Source) -> None:
    """`is_in_force()` compares values by identity, and is false if the source has become secret."""
    state = empty_state("memory")
    feed = Feed(source, lambda: state)
    assert feed.is_in_force()  # nothing was read
    feed.look()
    values = _values(feed)
    assert not feed.is_in_force()
    state = state._replace(reading=Reading(dict(values), source.locate))
    assert not feed.is_in_force()
    state = state._replace(reading=Reading(values, source.locate))
    assert feed.is_in_force()
    feed.reading = Reading(values, source.locate, secret=True)
    assert not feed.is_in_force()


def test_the_fingerprint_changes_with_the_status(feed: Feed) -> None:
    """The fingerprint changes with the failures and the problem, and when the last contact is too long ago."""
    feed.contact = time.monotonic() - 1_000
    long_ago = feed.fingerprint(500.0)
    feed.contact -= 1_000
    assert feed.fingerprint(500.0) == long_ago
    feed.contact = time.monotonic()
    before = feed.fingerprint(500.0)
    assert before != long_ago
    feed.failures += 1
    failed = feed.fingerprint(500.0)
    assert failed != before
    feed.problem = "cannot be read"
    assert feed.fingerprint(500.0) != failed
    assert feed.status(Results()).last_error == "cannot be read"
    assert not feed.status(Results()).healthy


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (3, "a value of type int"),
        ({3: "x"}, "a name of type int"),
        ({"rate": 3}, "a value of type int for 'rate'"),
    ],
)
def test_what_is_no_mapping_of_raw_values_is_a_failure_to_read(
    feed: Feed, source: Source, monkeypatch: pytest.MonkeyPatch, values: object, problem: str
) -> None:
    """If `read()` returns no mapping of raw values, this counts and shows as a failure, and the last values stay."""
    feed.look()
    monkeypatch.setattr(source, "read", lambda: values)
    feed.dirty = True
    feed.look()
    expected = f"cannot read memory: expected its read() to return a mapping of str to str or bytes, got {problem}"
    assert (feed.problem, feed.failures, _values(feed)) == (expected, 1, {"rate": "1"})
    assert not feed.is_healthy(None)


@pytest.mark.parametrize("place", [None, ZeroDivisionError()])
def test_a_source_that_cannot_say_where_a_key_is_stands_for_it(
    feed: Feed, source: Source, monkeypatch: pytest.MonkeyPatch, place: Exception | None
) -> None:
    """If a source's `locate()` returns None or raises, the place of a key is the name of the source."""

    def locate(_key: str) -> object:
        if place is not None:
            raise place
        return None

    monkeypatch.setattr(source, "locate", locate)
    feed.look()
    reading = feed.reading
    assert reading is not None
    assert reading.locate("rate") == "memory"


def test_a_mapping_that_cannot_be_looked_at_is_a_failure_to_read(
    feed: Feed, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mapping that raises while it is iterated is a failure to read; one of another class is copied to a dict."""

    class Odd(Mapping[str, str]):
        def __init__(self, fault: Exception | None) -> None:
            self.fault = fault

        def __getitem__(self, key: str) -> str:
            return "2"

        def __iter__(self) -> Iterator[str]:
            yield "rate"
            if self.fault is not None:
                raise self.fault

        def __len__(self) -> int:
            return 1

    for fault, problem in ((None, None), (OSError("gone"), "cannot read memory: OSError: gone")):
        monkeypatch.setattr(source, "read", lambda fault=fault: Odd(fault))
        feed.dirty = True
        feed.look()
        assert (_values(feed), type(_values(feed)), feed.problem) == ({"rate": "2"}, dict, problem)


def test_a_source_is_healthy_while_it_is_seen_and_nothing_fails(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source is unhealthy before it is read, while looks fail and too long after a contact, as in `status()`."""

    def is_healthy() -> bool:
        found = feed.is_healthy(10.0)
        assert feed.status(Results(), 10.0).healthy is found
        return found

    assert not is_healthy()
    feed.look()
    assert is_healthy()
    assert [feed.note_fault(fault) for fault in ("failed", "failed", "failed otherwise")] == [True, False, True]
    assert (is_healthy(), feed.status(Results()).last_error, feed.failures) == (False, "failed otherwise", 2)
    feed.note_fault(None)
    assert is_healthy()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 11)
    assert not is_healthy()
    assert feed.is_healthy(None)


def test_a_source_is_invalidated_by_the_thread_that_reads_it() -> None:
    """
    ``invalidate()`` is called by the look after ``refresh()`` has asked for it, once and before ``probe()``.
    """
    asked: list[str] = []

    class Asked(MemorySource):
        def invalidate(self) -> None:
            asked.append("invalidate")

        def probe(self) -> object:
            asked.append("probe")
            return 5

    feed = Feed(Asked({}), partial(empty_state, "asked"))
    feed.must_invalidate = True
    assert asked == []
    feed.look()
    feed.look()
    assert asked == ["invalidate", "probe", "probe"]


def test_a_source_is_read_again_when_a_refresh_comes_between_probe_and_read(
    feed: Feed, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a refresh comes between `probe()` and `read()`, the next look reads the source again."""

    def probe() -> object:
        if not source.reads:
            feed.must_invalidate = feed.dirty = True  # as refresh() in another thread does
        return 5

    monkeypatch.setattr(source, "probe", probe)
    assert [feed.look(), feed.look(), feed.look()] == [True, True, False]


def test_a_source_may_hand_out_one_dict_and_change_it() -> None:
    """If a source returns the same dict each time and changes it, values that were read before stay unchanged."""

    class Reused(MemorySource):
        """A source that keeps its values and returns them."""

        held: ClassVar[dict[str, str]] = {"rate": "1"}

        def read(self) -> dict[str, str]:
            return self.held

    source = Reused({})
    feed = Feed(source, partial(empty_state, source.name))
    feed.look()
    first = _values(feed)
    source.held["rate"] = "2"
    feed.dirty = True
    feed.look()
    assert (first, _values(feed)) == ({"rate": "1"}, {"rate": "2"})


def test_a_name_of_a_subclass_counts_by_its_text() -> None:
    """A key of a subclass of str is used as plain text, without the `__eq__` of the subclass."""

    class Name(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            raise ZeroDivisionError

    class Named(MemorySource):
        def read(self) -> Mapping[str, Raw]:
            return {Name("rate"): "2", "burst": "3"}

    flags = dflag.FlagRegistry()
    rate, burst = flags.dyn_int("rate", 1), flags.dyn_int("burst", 1)
    dflag.Updater(flags, Named({})).initialize()
    assert (rate.get(), burst.get()) == (2, 3)


@pytest.mark.parametrize("contact", ["yesterday", float("nan"), float("inf")])
def test_what_a_watch_says_may_be_of_any_type(feed: Feed, contact: object) -> None:
    """The status has texts and finite numbers even if a watch reports values of other types."""
    watch = Watch()
    watch.last_contact = contact  # type: ignore[assignment]  # as a watch of a program's own may
    feed.read()
    feed.note_degraded(5, 0.25)  # type: ignore[arg-type]  # as above
    feed.note_not_live(["subPath"])  # type: ignore[arg-type]  # as above
    status = feed.status(Results(), None, watch)
    assert (status.degraded, status.not_live) == ("5", "['subPath']")
    assert status.seconds_since_contact is not None
    assert 0 <= status.seconds_since_contact < 60


def test_a_reading_that_a_signal_handler_interrupts_is_made_again(
    feed: Feed, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a signal handler raises in a look after the token was taken, the next look reads the source again."""
    assert feed.look()
    source.token = 6

    def interrupted(_values: object) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(feed._ignored, "without", interrupted)
    with pytest.raises(KeyboardInterrupt):
        feed.look()
    assert feed.look()
