"""
Logging about the values of sources. A problem that lasts is logged once.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from logging import DEBUG
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from dflag._cells import value_of
from dflag._history import brief_text
from dflag._layers import RULE_PREFIX, RULES_KEYS
from dflag._log import logger
from dflag._source_state import empty_state
from dflag._transaction import same
from dflag.errors import named_rule, one_line, subject_of, unknown_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dflag._flags import Flag
    from dflag._rule_sets import ValidRule
    from dflag._rules_text import Rule
    from dflag._source_state import Outcome, SourceState
    from dflag._store import Store
    from dflag.typing import Raw

_MAX_REMEMBERED: Final = 10_000
"""How many reported unknown names to remember at most, because a source may have new ones each time."""

_MAX_NAMED: Final = 10
"""How many flags one line of the log names at most."""


_printed_name: Final = lru_cache(maxsize=64)(one_line)
"""Return the name of a source for the log. Cached, because there are few sources and their names are logged often."""


class SourceReports:
    """
    Logs events of the sources of one registry, and remembers what was logged, so that it is logged only once.

    Attributes:
        unknown: The unknown keys that were reported.

    Thread safety: any thread; two threads that log the same event at once may log it twice.
    """

    def __init__(self, store: Store) -> None:
        self._store: Final = store
        self.unknown = ReportedKeys()
        self._ignored_rules: Final[set[str]] = set()  # the sources whose rules are ignored
        self._retired: Final[set[str]] = set()  # the retired keys that were found
        self._waiting: dict[str, Any] = {}  # the values of static flags that wait for a restart, by name

    def log_ignored_rules(self, name: str, values: Mapping[str, Raw]) -> None:
        """
        Log, once for each source, that its rules are ignored.
        """
        if name not in self._ignored_rules:
            self._ignored_rules.add(name)
            key = next(key for key in RULES_KEYS if key in values)
            logger.warning("ignoring the rules under %r of %s: only an Updater follows rules", key, one_line(name))

    def log(
        self,
        outcomes: Mapping[str, Outcome],
        states: Mapping[str, SourceState],
        waiting: Sequence[tuple[Flag[Any], Any]],
    ) -> None:
        """
        Log the outcomes of applying readings.

        Args:
            outcomes: The outcomes, by the name of the source.
            states: The states of the sources, by name.
            waiting: The static flags that wait for a restart, with the value that each would have then.
        """
        for name, outcome in outcomes.items():
            source = _printed_name(name)
            for key, rejection in outcome.newly_rejected.items():
                # The source may be gone by now, through the end of a test's block.
                state = states.get(name) or empty_state(name)
                consequence = _consequence(source, state, outcome, key, rejection.flag_name)
                logger.warning("%s; %s", rejection, consequence)
            if outcome.newly_unknown:
                for unknown in unknown_keys(outcome.newly_unknown, self._store.flags, name):
                    logger.warning("%s", unknown)
            self._log_retired(source, outcome, states.get(name))
            if outcome.newly_refused:
                logger.warning("nothing of %s was applied: %s", source, outcome.refusal)
            for key in outcome.healed:
                has_name = key in self._store.flags or key.startswith(RULE_PREFIX)  # otherwise the key of a map
                logger.info("%s in %s: no longer refused", subject_of(key) if has_name else f"key {key!r}", source)
            if outcome.is_accepted_again:
                logger.info("the values of %s are no longer refused", source)
            if outcome.applied:
                _log_changes(source, outcome)
        self._log_waiting(waiting)

    def _log_retired(self, source: str, outcome: Outcome, state: SourceState | None) -> None:
        retired = self._store.retired
        if not retired:
            return
        rules = () if state is None else state.rules.listing
        found = [(key, f"key {key!r} in {source}") for key in sorted(retired.keys() & outcome.values.keys())]
        found += [
            (key, f"{named_rule(rule.name)} in {source} sets {key!r}, which")
            for rule in rules
            for key in sorted(retired.keys() & rule.values.keys())
        ]
        for key, what in found:
            if key not in self._retired and key not in self._store.flags:
                self._retired.add(key)
                logger.warning("%s has been retired since %s: remove it", what, retired[key])

    def _log_waiting(self, waiting: Sequence[tuple[Flag[Any], Any]]) -> None:
        before, self._waiting = self._waiting, {flag.name: value for flag, value in waiting}
        for flag, value in waiting:
            if flag.name not in before or not same(flag, before[flag.name], value):
                logger.info("flag %r is static: its new value waits for a restart", flag.name)
                if logger.enables(DEBUG):
                    now, then = (one_line(brief_text(flag, each)) for each in (value_of(flag), value))
                    logger.debug("flag %r: %s until a restart, %s after it", flag.name, now, then)


class ReportedKeys:
    """
    The unknown keys that were reported. A key is reported once, even if several sources have it.
    """

    def __init__(self, seen: Mapping[str, frozenset[str]] = MappingProxyType({}), reported: Iterable[int] = ()) -> None:
        self._seen: Final = dict(seen)  # the unknown keys of each source's last reading, whether applied or not
        # Hashes instead of keys, because a key may have megabytes; the earliest first.
        self._reported: Final[dict[int, None]] = dict.fromkeys(reported)

    def copy(self) -> ReportedKeys:
        return ReportedKeys(self._seen, self._reported)

    def new(self, source: str, keys: frozenset[str]) -> list[str]:
        """
        Return the unknown keys of a source that were never reported, in order.
        """
        before = self._seen.get(source, frozenset())
        return [key for key in sorted(keys - before) if hash(key) not in self._reported]

    def note(self, source: str, keys: frozenset[str], reported: Iterable[str]) -> None:
        """
        Remember the unknown keys of a source's last reading, and which of them are reported now.
        """
        if keys or source in self._seen:
            self._seen[source] = keys
        self._reported.update((hash(key), None) for key in reported)
        for digest in tuple(itertools.islice(self._reported, max(0, len(self._reported) - _MAX_REMEMBERED))):
            self._reported.pop(digest, None)


def _consequence(source: str, state: SourceState, outcome: Outcome, key: str, flag_name: str) -> str:
    if not outcome.in_force:
        return f"nothing of {source} was applied" + ("" if outcome.error else " (atomic=True)")
    if flag_name in RULES_KEYS:
        return "keeping the last good rules"
    if flag_name.startswith(RULE_PREFIX):
        rules, name = state.rules, flag_name.removeprefix(RULE_PREFIX)
        # The error may belong to another rule with the same name.
        is_read = rules.bad.get(flag_name) is rules.bad_text.get(flag_name, ...) and name in _names_of(rules.listing)
        is_kept = name in _names_of(rules.usable or ()) and flag_name not in rules.refused_together and not is_read
        return "keeping its last good text" if is_kept else "the rule is left out"
    if key != flag_name:  # the key of a map: the error has the name of the map
        is_kept = any(key in members for flag, members in state.members.items() if flag.name == flag_name)
        return "keeping the last good value" if is_kept else "the key is left out"
    # A frozen static flag keeps the value of a key that was removed.
    is_kept = flag_name in state.entries or flag_name in state.deviating
    return "keeping the last good value" if is_kept else "using the value of the layer below"


def _names_of(rules: Iterable[Rule | ValidRule]) -> set[str]:
    return {rule.name for rule in rules}


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + more


def _log_changes(source: str, outcome: Outcome) -> None:
    changed, keyed, number = outcome.changed, outcome.changed_keyed, outcome.revision.number
    if changed:
        logger.info("revision %d of %s changed %s", number, source, _names(changed))
    if keyed:
        logger.info("revision %d of %s changed values by key of %s", number, source, _names(keyed))
    elif not changed and not outcome.rejected and not outcome.revision.pending_restart:
        logger.debug("revision %d of %s changed no value", number, source)
