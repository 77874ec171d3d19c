"""
One source of an updater: its last reading, its problems, and its public status.
"""

from __future__ import annotations

import fnmatch
import math
import re
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from dflag._faults import is_interrupt, text_of
from dflag._layers import RULES_KEYS
from dflag._log import logger
from dflag._raw import PLAIN_TYPES, Unreadable, plain
from dflag._source_state import Reading
from dflag._status import SourceStatus
from dflag.errors import SourceError, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dflag._source_state import DeferredRevision, Outcome, Results, SourceState
    from dflag.sources import Source, Watch
    from dflag.typing import Raw

T = TypeVar("T")

_NUMBERED: Final = re.compile(r"(\.[A-Za-z]+:\d+:\d+)|\b\w*\d\w*")
"""A word with a digit, such as a version, a time or an id, which may vary; or, as a group, a place in a document."""


class Ignored:
    """
    The keys of a source that are ignored because they are not flags.

    Args:
        patterns: Patterns as in `fnmatch`. A key of rules is ignored only if a pattern is its exact name.
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        patterns = tuple(patterns)
        self._names: Final = frozenset(each for each in patterns if not set(each) & set("*?["))
        globs = [fnmatch.translate(each) for each in patterns if each not in self._names]
        self._globs: Final = re.compile("|".join(globs)) if globs else None
        self._is_reported = False  # whether ignored rules have been reported

    def without(self, values: Mapping[str, Raw]) -> Mapping[str, Raw]:
        """
        Return the values whose keys are not ignored.
        """
        globs = self._globs
        if globs is None and values.keys().isdisjoint(self._names):
            return values
        for key in RULES_KEYS:
            if key in self._names and key in values and not self._is_reported:
                self._is_reported = True
                logger.warning("rules are switched off: ignore= names their key %r", key)
        return {
            key: raw
            for key, raw in values.items()
            if key not in self._names and not (globs is not None and key not in RULES_KEYS and globs.match(key))
        }


class Feed:
    """
    One source of an updater, with its last reading and its problems.

    Args:
        source: The source.
        state: Returns the state of the source: the values in force, and the results of its readings.
        ignored: The keys to leave out.
        resets: Whether the values are dropped when the source is gone or empty; if not, they are kept.

    Thread safety: one thread at a time reads; the other methods are for any thread.
    """

    def __init__(
        self, source: Source, state: Callable[[], SourceState], ignored: Ignored | None = None, *, resets: bool = False
    ) -> None:
        self.source: Final = source
        self.state: Final = state
        self.name: Final = str.__str__(source.name)  # a plain str: a subclass may do anything when it is printed
        self._ignored: Final = Ignored() if ignored is None else ignored
        self._resets: Final = resets
        self.reading: Reading | None = None  # the last complete reading, which should be applied
        self.latest: DeferredRevision | None = None  # the revision of the last reading, even if that was refused
        self.token: object = None  # the result of the source's probe before the last reading
        self._drained_token: object = None  # the token when the watch last took its events
        self.dirty = True
        self.must_invalidate = False  # at the next look: only the thread that reads calls the source
        self.changes = 0  # how many readings have changed values
        self.counted: Results | None = None  # set once the results are counted for another updater
        self.failures = 0  # failures to read it, to look at it, or to follow it in a forked child
        self.contact: float | None = None
        self.problem: str | None = None  # set while the source cannot be read or is gone
        self.fault: str | None = None  # set while looking at the sources fails for another reason
        self.degraded: str | None = None
        self.unanswered: Final[dict[str, str]] = {}  # the methods of source and watch that raise, with the error
        self.not_live: str | None = None

    # --- reading

    def look(self) -> bool:
        """
        Read the source if it may have changed; return whether a read was tried. Note a failure.
        """
        if self.must_invalidate:
            self.must_invalidate = False
            self.dirty = True  # again: a look that began before refresh() may have cleared it
            self.ask("invalidate", self.source.invalidate, None)
        # Probe before reading, so that the next look sees a change meanwhile. A new token if the probe raises.
        token = self.ask("probe", self._token, object())
        if not self.dirty and token is self.token:
            if self.problem is None:
                self.contact = time.monotonic()
            return False
        try:
            self._read(token)
        except SourceError as error:
            self.note_failure(error)
            if error.missing and self._resets:
                self.reading = Reading({}, self._locate, self.reading is not None and self.reading.secret)
        except BaseException:  # from a signal handler: the reading may not have been stored
            self.dirty = True
            raise
        return True

    def read(self) -> None:
        """
        Read the source.

        Raises:
            SourceError: The source cannot be read.
        """
        self.ask("invalidate", self.source.invalidate, None)
        self._read(self.ask("probe", self._token, object()))

    def _token(self) -> object:
        """
        Return the source's token, or the last token if the two are equal, so that callers can compare by identity.
        """
        token = self.source.probe()
        return self.token if token == self.token else token

    def _read(self, token: object) -> None:
        """
        Read the source; *token* is its token from before the read.
        """
        self.dirty = False
        try:
            values = _checked(self.name, self.source.read())
            secret = bool(self.source.secret)
        except SourceError as error:
            self.token = token
            if self.name in text_of(error):
                raise
            problem = f"cannot read {self.name}: {text_of(error)}"
            raise SourceError(problem, missing=error.missing, unreachable=error.unreachable) from error
        except BaseException as error:
            if is_interrupt(error):
                raise
            problem = one_line(f"cannot read {self.name}: {type(error).__name__}: {text_of(error)}")
            if _is_news(problem, self.problem):
                name, kind = one_line(self.name), type(error).__name__
                logger.exception("the read() of source %s should raise SourceError, not %s", name, kind)
            raise SourceError(problem) from error
        self.token = token
        self.contact = time.monotonic()
        if not values and self._holds_values() and not self._resets:
            gone = f"no key is left in {self.name}"
            if self.problem != gone:
                logger.warning("%s; keeping the last good values (on_missing='reset' drops them)", one_line(gone))
            self.problem = gone
            return
        if self.problem is not None:
            logger.info("the values of %s can be read now", one_line(self.name))
        self.problem = None
        self.reading = Reading(self._ignored.without(values), self._locate, secret)

    def _holds_values(self) -> bool:
        return self.reading is not None and bool(self.reading.values)

    def is_in_force(self) -> bool:
        """
        Return whether the last reading is in force, so that the periodic check need not compare its values.
        """
        reading, held = self.reading, self.state().reading
        return reading is None or (reading.values is held.values and reading.secret == held.secret)

    def results(self) -> Results:
        """
        Return the counters and results of the readings so far.
        """
        results = self.state().results
        return results if self.counted is None else results.counting(self.counted)

    def _locate(self, key: str) -> str:
        """
        Return where a key comes from, or the name of the source if the source does not say.
        """
        try:
            place: object = self.source.locate(key)
        except BaseException as error:
            if is_interrupt(error):
                raise
            return self.name
        return place if isinstance(place, str) else self.name

    def accept(self, outcome: Outcome, reading: Reading) -> None:
        """
        Note the outcome of a reading. If the values in force are equal to those of the reading, keep only the former.

        So equal values are stored once, and the next look can compare by identity.

        Args:
            outcome: The outcome.
            reading: The reading. It is ignored if another thread has stored a newer one since.
        """
        if self.reading is not reading:
            return
        self.latest = outcome.revision
        self.changes += bool(outcome.changed)
        if outcome.in_force and outcome.values is not reading.values:
            self.reading = reading._replace(values=outcome.values)

    # --- watching

    def is_changed_since_drained(self) -> bool:
        """
        Return whether a look has found another token since the watch last took its events.
        """
        return self.token is not self._drained_token

    def drain(self, watch: Watch) -> None:
        """
        Let the source's watch take its events and re-arm itself.
        """
        self._drained_token = self.token
        self.ask("drain", watch.drain, None)

    # --- failing

    def ask(self, name: str, function: Callable[[], T], otherwise: T) -> T:
        """
        Call a function of the source or of its watch and return its result. If it raises, log that once and return
        *otherwise*.
        """
        try:
            answer = function()
        except BaseException as error:
            if is_interrupt(error):
                raise
            problem = f"its {name}() raised {type(error).__name__}: {text_of(error)}"
            if _is_news(problem, self.unanswered.get(name)):
                logger.exception("the %s() of source %s raised %s", name, one_line(self.name), type(error).__name__)
            self.unanswered[name] = problem
            return otherwise
        self.unanswered.pop(name, None)
        return answer

    def ask_watch(self, watch: Watch | None, name: str, otherwise: Any) -> Any:
        """
        Return an attribute of the source's watch; *otherwise* if it raises or there is no watch.
        """
        return otherwise if watch is None else self.ask(name, partial(getattr, watch, name), otherwise)

    def recheck_seconds(self) -> float | None:
        """
        Return in how many seconds to look again without an event; None if the source does not require that.
        """
        seconds = self.source.recheck_seconds()
        return None if seconds is None else float(seconds)

    def note_failure(self, error: SourceError) -> None:
        """
        Note that the source cannot be read, and log it once.
        """
        problem = one_line(text_of(error))
        if _is_news(problem, self.problem):
            self.failures += 1
            keeps = self._holds_values() and not (error.missing and self._resets)
            kept = "keeping the last good values" if keeps else "using the values of the layers below"
            logger.warning("%s; %s", problem, kept)
        self.problem = problem

    def note_fault(self, fault: str | None) -> bool:
        """
        Note why looking at the sources fails, apart from an unreadable source; None when it works again.

        Returns:
            Whether the fault is new.
        """
        is_news = fault is not None and fault != self.fault
        self.failures += is_news
        self.fault = fault
        return is_news

    def note_degraded(self, problem: str | None, check_seconds: float) -> None:
        """
        Note why no events can be received, and log it once; None when they are received again.

        Args:
            problem: The reason.
            check_seconds: The interval at which the source is checked meanwhile.
        """
        name, problem = one_line(self.name), _line_or_none(problem)
        if problem is not None and self.degraded is None:
            logger.warning("checking %s every %s s instead of watching it: %s", name, check_seconds, problem)
        elif problem is None and self.degraded is not None:
            logger.info("watching %s again", name)
        self.degraded = problem

    def note_not_live(self, reason: str | None) -> None:
        """
        Note why the source will never show a change, and log it once; None if it will.
        """
        reason = _line_or_none(reason)
        if reason is not None and reason != self.not_live:
            logger.warning("cannot follow changes of %s: %s", one_line(self.name), reason)
        self.not_live = reason

    def note_not_followed(self, problem: str) -> None:
        """
        Note that nothing reads the source in this process, and log it once.
        """
        if self.problem is None or not self.problem.endswith(problem):
            logger.error("%s %s; keeping the last good values", one_line(self.name), problem)
            self.problem = f"{self.name}: {problem}"
            self.failures += 1

    # --- reporting

    def status(
        self, results: Results, longest_seconds: float | None = None, watch: Watch | None = None
    ) -> SourceStatus:
        """
        Return the public record of the source.

        Args:
            results: The counters and results of the readings.
            longest_seconds: The greatest allowed age of the last contact; None if no thread looks at the source.
            watch: The watch of the source, if there is one.
        """
        problem = self._problem_now(longest_seconds)
        return SourceStatus(
            name=self.name,
            healthy=problem is None and self.contact is not None,
            watched=self.ask_watch(watch, "mode", "not watched"),
            degraded=self.degraded if watch is not None else None,
            not_live=self.not_live,
            seconds_since_contact=age(self._heard(watch)),
            reconnects=self.ask_watch(watch, "reconnects", 0),
            checksum="" if results.last_applied is None else results.last_applied.get().checksum,
            applied_at=None if results.last_applied is None else results.last_applied.get().applied_at,
            reloads={**results.reloads, "failed": self.failures},
            last_error=problem or results.refusal,
        )

    def is_healthy(self, longest_seconds: float | None) -> bool:
        """
        Return whether the source can be read and its last contact is recent enough.

        Args:
            longest_seconds: As for `status`.
        """
        contact = self.contact
        return (  # fast, because each evaluation by the OpenFeature provider calls this
            contact is not None
            and self.problem is None
            and self.fault is None
            and (longest_seconds is None or time.monotonic() - contact <= longest_seconds)
        )

    def _problem_now(self, longest_seconds: float | None) -> str | None:
        problem = self.problem or self.fault
        if problem is None and self._is_overdue(longest_seconds):
            return (
                f"{self.name}: no look at it has ended for more than {longest_seconds:g} s: a file system that hangs, "
                "another source or a validator keeps the updater's thread busy"
            )
        return problem

    def _is_overdue(self, longest_seconds: float | None) -> bool:
        return longest_seconds is not None and self.contact is not None and not is_recent(self.contact, longest_seconds)

    def fingerprint(
        self, patience_seconds: float, longest_seconds: float | None = None, watch: Watch | None = None
    ) -> tuple[object, ...]:
        """
        Return a value that differs whenever the result of `status` would, but is cheaper to make.

        It contains everything that `status` reads. An age only counts as below or above *patience_seconds*.
        """
        mode, reconnects = self.ask_watch(watch, "mode", None), self.ask_watch(watch, "reconnects", 0)
        touch = self.contact is None, is_recent(self._heard(watch), patience_seconds), self._is_overdue(longest_seconds)
        problems = self.problem, self.fault, self.degraded, self.not_live
        return self.results(), self.failures, mode, reconnects, touch, problems

    def _heard(self, watch: Watch | None) -> float | None:
        """
        Return the moment of the last contact: that of the watch if it has one, or else that of the check.
        """
        heard = self.ask_watch(watch, "last_contact", None)
        return heard if isinstance(heard, (int, float)) and math.isfinite(heard) else self.contact


def _checked(name: str, values: object) -> Mapping[str, Raw]:
    """
    Copy the values that a source has read to a new dict: its own mapping may change, and its class may do anything.

    Raises:
        SourceError: The result of the source is not a mapping of texts to raw values.
    """
    expected = f"cannot read {name}: expected its read() to return a mapping of str to str or bytes"
    if not isinstance(values, (dict, Mapping)):  # dict first, which is quicker to check
        raise SourceError(f"{expected}, got a value of type {type(values).__name__}")
    values = dict(values)  # a copy even of a dict, which the source may keep and change
    if PLAIN_TYPES.issuperset(map(type, values.values())) and {str}.issuperset(map(type, values)):
        return values  # nearly always, and quick to check
    for key, raw in values.items():
        if not isinstance(key, str):
            raise SourceError(f"{expected}, got a name of type {type(key).__name__}")
        if not isinstance(raw, (str, bytes, Unreadable)):
            raise SourceError(f"{expected}, got a value of type {type(raw).__name__} for {key!r}")
    return {str.__str__(key): plain(raw) for key, raw in values.items()}


def _is_news(problem: str, last: str | None) -> bool:
    """
    Return whether a problem must be logged and counted: whether it differs from the last one in more than numbers.
    """
    return last is None or _NUMBERED.sub(r"\1", problem) != _NUMBERED.sub(r"\1", last)


def _line_or_none(said: object) -> str | None:
    """
    Return a message of a source or a watch, which may be of any type, as one line of plain text.
    """
    return None if said is None else one_line(text_of(said))


def age(moment: float | None) -> float | None:
    return None if moment is None else time.monotonic() - moment


def is_recent(moment: float | None, seconds: float) -> bool:
    return moment is not None and time.monotonic() - moment <= seconds
