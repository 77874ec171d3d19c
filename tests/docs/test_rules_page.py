from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest

from dflag._keyed import draw
from dflag._records import RulePhase
from dflag._rules import situation
from dflag._rules_text import parse_rules

PAGE = (Path(__file__).parents[2] / "docs/rules.md").read_text(encoding="utf-8")
ROW = re.compile(
    r"^\| `(?P<name>[^`]+)` \| (?:`(?P<text>[^`]+)`|\(empty\)) "
    r"\| (?P<u>\d+) \| (?P<inside>yes|no) \| (?P<at>[\d.]+) s \|$",
    re.MULTILINE,
)
VECTORS = [found.groupdict(default="") for found in ROW.finditer(PAGE)]
START = datetime(2026, 11, 28, 10, tzinfo=UTC)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector['name']}-{vector['text']}")
def test_vectors_are_those_of_the_code(vector: dict[str, str]) -> None:
    """Each line of the table has the number, the decision and the time of the switch that the code computes."""
    (staged,) = parse_rules(
        f"- {{name: '{vector['name']}', from: 2026-11-28T10:00:00Z, over: 30m, set: {{a: 1}}}}"
    ).rules
    drawn = draw(vector["name"], vector["text"])
    assert str(drawn) == vector["u"]
    assert (drawn < -(-10 * 2**32 // 100)) == (vector["inside"] == "yes")
    switch = situation(staged, {"pod": vector["text"]}, START).switch
    assert switch == START + timedelta(seconds=1) * float(vector["at"])


def test_there_are_vectors() -> None:
    """The table has at least six lines, with an empty text and a text beyond ASCII."""
    assert len(VECTORS) >= 6
    assert {vector["inside"] for vector in VECTORS} == {"yes", "no"}
    assert any(not vector["text"] for vector in VECTORS)
    assert any(not vector["text"].isascii() for vector in VECTORS)


def test_states_are_those_of_the_code() -> None:
    """The table of states lists every state of a rule, in the order of `RulePhase`."""
    section = PAGE.partition("| state |")[2].partition("\n\n")[0]
    assert tuple(re.findall(r"^\| `([a-z ]+)` \|", section, re.MULTILINE)) == get_args(RulePhase)


def test_recipes_are_rules() -> None:
    """Each list of rules on the page, also the one in the ConfigMap, parses without faults into named rules."""
    blocks = [block for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if not block.startswith("spec")]
    rules = [re.sub(r"(?ms).*_rules\.yaml: \|\n", "", block) for block in blocks]
    assert len(rules) >= 6
    for text in rules:
        read = parse_rules(text)
        assert read.faults == ()
        assert read.rules
        assert all(rule.is_named for rule in read.rules), "a bad edit of one without a name leaves it out"
