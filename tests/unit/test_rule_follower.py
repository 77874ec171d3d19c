"""
What an updater does for the rules of its sources.
"""

from __future__ import annotations

import pytest

import dflag
from dflag.sources import MemorySource

RULES = "- {name: europe, when: {zone: eu}, set: {rate: 80}}"


class Program:
    """A program whose zone a test sets, and its updater."""

    def __init__(self, flags: dflag.FlagRegistry) -> None:
        self.rate = flags.dyn_int("rate", 1)
        self.zone = "us"
        source = MemorySource({"rate": "50", "_rules.yaml": RULES})
        self.updater = dflag.Updater(flags, source, facts=lambda: {"zone": self.zone})
        self.updater.initialize()
        self.updater.refresh()  # the first facts are news


@pytest.fixture(name="program")
def _program(flags: dflag.FlagRegistry) -> Program:
    return Program(flags)


def test_rules_are_resolved_anew_for_other_facts_alone(program: Program) -> None:
    """Which are asked when a source was looked at."""
    rules = program.updater._rules
    assert rules.take_due(lambda: None, ask_facts=True) == []
    program.zone = "eu"
    assert rules.take_due(lambda: None, ask_facts=False) == []
    assert rules.take_due(lambda: None, ask_facts=True) == ["memory"]
    assert rules.take_due(lambda: None, ask_facts=True) == []
    rules.put_back(["memory"])
    program.updater.refresh()
    assert program.rate.get() == 80


def test_rules_that_are_due_stay_due_when_a_signal_handler_raises(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At whatever line: the facts are known by then, and nothing else would have them resolved."""
    for method in ("_is_held", "_readings", "_accept"):
        program.zone = "us" if program.zone == "eu" else "eu"

        def interrupted(*_: object, **__: object) -> None:
            raise InterruptedError

        with monkeypatch.context() as patched:
            patched.setattr(program.updater, method, interrupted)
            with pytest.raises(InterruptedError):
                program.updater.refresh()
        program.updater.refresh()
        assert program.rate.get() == (80 if program.zone == "eu" else 50)


def test_a_forked_child_resolves_all_rules(program: Program) -> None:
    """A thread of the parent may have been about to."""
    rules = program.updater._rules
    assert rules.due_seconds() is None
    rules.after_fork_in_child()
    assert rules.due_seconds() == 0.0
    assert rules.take_due(lambda: None, ask_facts=False) == ["memory"]
