"""
The part of an updater that follows the rules of its sources: it asks for facts and health, and plans the next look.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from dflag._faults import is_interrupt, text_of
from dflag._log import logger
from dflag._pipeline import check_plain_function
from dflag._status import RuleStatus
from dflag.errors import MASK, DefinitionError, named_rule, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dflag._health import Health
    from dflag._rule_layers import RuleState
    from dflag._rules_text import Rule
    from dflag._source_layers import SourceLayers


class RuleFollower:
    """
    The rules of an updater's sources, and the facts and the health that decide which are in force.

    Args:
        sources: The sources of the registry, which hold the rules.
        names: The names of the updater's sources.
        facts: The facts of this process, or a function that returns them.
        healthy: A function that returns whether the program is healthy.

    Raises:
        DefinitionError: The facts are not a mapping of names to texts, or *facts* or *healthy* is no plain function.

    Thread safety: one thread at a time, except for `due_seconds` and `status`.
    """

    def __init__(
        self,
        sources: SourceLayers,
        names: Iterable[str],
        facts: Mapping[str, str] | Callable[[], Mapping[str, str]] | None,
        healthy: Callable[[], object] | None,
    ) -> None:
        if facts is not None and not callable(facts):
            problem = _problem_of(facts)
            if problem is not None:
                raise DefinitionError(f"expected facts as a mapping of names to texts, or a callable, got {problem}")
        elif facts is not None:
            check_plain_function(facts, "facts")
        if healthy is not None:
            check_plain_function(healthy, "healthy")
        self._sources: Final = sources
        self._contexts: Final = {name: sources.context_for(name) for name in names}
        self._given: Final = facts
        self._is_reported = False  # whether it was logged that the facts cannot be read
        self._tried_at = 0  # the number of the last commit at the last `look`
        self._dirty: Final[set[str]] = set()  # the sources whose rules must be resolved again
        self._reported_bakes: Final[set[str]] = set()  # the contents of rules whose bake was logged as useless
        self._health: Health | None = None
        if healthy is not None:
            from dflag._health import Health  # most programs have no health function

            self._health = Health(healthy)

    def ask_facts(self) -> None:
        """
        Ask for the facts of this process.

        If that fails, the last facts stay. Of several failures in a row only the first is logged: the messages may
        differ each time.
        """
        if self._given is None:
            facts: Any = {}
        else:
            facts = None
            try:
                facts = self._given() if callable(self._given) else self._given
                problem = _problem_of(facts)
                facts = facts if problem is not None else dict(facts)
            except BaseException as error:
                if is_interrupt(error):
                    raise
                problem = f"{type(error).__name__}: {one_line(text_of(error))}"
            if problem is not None:
                if not self._is_reported:
                    logger.warning("cannot read the facts: %s; keeping the last ones", problem)
                self._is_reported = True
                return
            self._is_reported = False
        for name, context in self._contexts.items():
            if context.facts != facts:
                context.facts = facts
                self._dirty.add(name)

    def look(self, commit_number: int, wake: Callable[[], None], *, is_read: bool) -> list[str]:
        """
        Check the health and, after a reading, the facts; return the sources whose rules must be resolved again.

        After this call these rules count as resolved, unless `mark_unresolved` is called.

        Args:
            commit_number: The number of the last commit. If it has changed, refused rules are tried again.
            wake: Called when the answer about the health has arrived, so that this method is called again.
            is_read: Whether a source was just read. Only then the facts are asked for.
        """
        if self._health is not None:
            self._check_health(self._health, wake)
        if is_read:
            self.ask_facts()
        tried_at, self._tried_at = self._tried_at, commit_number
        for name, context in self._contexts.items():
            if context.next_look is not None and context.next_look <= context.now():
                context.next_look = None  # otherwise the thread would not rest if the rules cannot be resolved
                self._dirty.add(name)
            elif tried_at != self._tried_at and self._is_refused(name):  # the value that conflicted may have changed
                self._dirty.add(name)
        if not self._dirty:
            return []
        due = [name for name in self._contexts if name in self._dirty]
        self._dirty.clear()
        return due

    def mark_unresolved(self, names: Iterable[str]) -> None:
        """
        Record that the rules of some sources were not resolved after all.
        """
        self._dirty.update(names)

    def due_seconds(self) -> float | None:
        """
        Return in how many seconds a rule changes or the health must be checked; None for never.
        """
        if self._dirty:
            return 0.0
        waits = [each.next_look - each.now() for each in self._contexts.values() if each.next_look is not None]
        if not waits:
            return None
        seconds = max(0.0, min(waits).total_seconds())
        if self._health is not None and any(self._baking(name) for name in self._contexts):
            seconds = min(seconds, self._health.due_seconds())
        return seconds

    def wait_for_health(self) -> bool:
        """
        Wait until a pending call of *healthy* returns or takes too long; return whether a call was pending.
        """
        return self._health is not None and self._health.wait()

    def report(self) -> None:
        """
        Log, once each, the rules that need facts or a health function that the updater does not have, and forget the
        rules that are gone.
        """
        for name, context in self._contexts.items():
            found = self._sources.state(name).rules
            context.forget_others(found)
            rules = found.usable or ()
            for rule_name, missing in context.unreported_needs(rules) if rules else ():
                facts = ", ".join(map(repr, missing))
                logger.warning("%s of %s needs unknown facts: %s", named_rule(rule_name), one_line(name), facts)
            for valid in rules if self._health is None else ():
                rule = valid.rule
                if rule.bake is not None and rule.content not in self._reported_bakes:
                    self._reported_bakes.add(rule.content)
                    logger.warning(
                        "%s of %s has a bake, but the updater has no healthy=: the rule is never reverted",
                        named_rule(valid.name),
                        one_line(name),
                    )

    def states(self) -> list[tuple[str, RuleState]]:
        """
        Return the state of each rule, with the name of its source.
        """
        return [
            (name, each)
            for name in self._contexts
            if self._sources.state(name).rules.raw is not None
            for each in self._sources.rule_states(name)
        ]

    def status(self) -> tuple[RuleStatus, ...]:
        """
        Return the state of each rule of each source as a public record.
        """
        return tuple(self._status(name, each) for name, each in self.states())

    def _status(self, source: str, state: RuleState) -> RuleStatus:
        return RuleStatus(
            source=source,
            name=state.name,
            state=state.state,
            next_change=state.next_change,
            problem=state.problem,
            needs=state.needs,
            share_percent=state.share_percent,
            audience=self._audience(source, state.rule),
        )

    def _audience(self, source: str, rule: Rule | None) -> str:
        if rule is None:
            return ""
        from dflag._rules import audience  # imported already, when the rule was read

        shown = audience(rule)
        return MASK if shown and self._sources.state(source).reading.secret else shown

    def after_fork_in_child(self) -> None:
        self._dirty.update(self._contexts)  # a thread of the parent may have been about to resolve them
        if self._health is not None:
            self._health.forget()

    def _check_health(self, health: Health, wake: Callable[[], None]) -> None:
        """
        Revert the rules whose bake has not ended, if the program is not healthy.
        """
        baking = [(name, rule) for name in self._contexts for rule in self._baking(name)]
        if not baking:
            health.forget()  # otherwise a late answer would count for the next bake
            return
        verdict = health.verdict({(name, rule.content) for name, rule in baking}, wake)
        if verdict is None:
            return
        for name, rule in baking:
            if (name, rule.content) in verdict.about:
                self._contexts[name].revert(rule, verdict.why)
                self._dirty.add(name)
                logger.warning(
                    "%s of %s is reverted in this process: %s",
                    named_rule(rule.name),
                    one_line(name),
                    one_line(verdict.why),
                )

    def _is_refused(self, name: str) -> bool:
        state = self._sources.state(name)
        return state.rules.raw is not None and (state.rules.is_opposed or state.results.refusal is not None)

    def _baking(self, name: str) -> list[Rule]:
        active = self._sources.state(name).rules.active
        return self._contexts[name].baking(active) if active else []


def _problem_of(facts: object) -> str | None:
    """
    Return what is wrong with facts, without quoting the texts; None if nothing is wrong.
    """
    if not isinstance(facts, Mapping):
        return f"a value of type {type(facts).__name__}"
    for name, text in facts.items():
        if not isinstance(name, str):
            return f"a name of type {type(name).__name__}"
        if not isinstance(text, str):
            return f"a value of type {type(text).__name__} for {name!r}"
    return None
