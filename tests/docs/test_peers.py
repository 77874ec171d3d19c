"""
The comparison with peers runs every fault, and its table has words for every result.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.benchmarks._pages import put
from tests.benchmarks.peers import __main__ as peers
from tests.benchmarks.peers.faults import FAULTS, Run, load
from tests.benchmarks.peers.table import COLUMNS, cell, table

if TYPE_CHECKING:
    from pathlib import Path

RAN = {"outcome": "ran", "version": "1"}


def _document(results: dict[str, object]) -> dict[str, object]:
    library = {"title": "one", "by_hand": False, "version": "1", "results": results}
    return {"python": "3", "machine": "m", "cores": 2, "libraries": [library]}


@pytest.mark.parametrize("fault", FAULTS)
def test_dflag_fills_every_cell(fault: str, tmp_path: Path) -> None:
    """The driver of dflag runs through each fault, and the table has words for the result."""
    run = Run(load("dflag_"), str(tmp_path / "volume"), idle_seconds=0.01)
    try:
        result = FAULTS[fault](run)
    finally:
        run.driver.stop()
    assert fault in COLUMNS
    assert cell(fault, {**RAN, **result}) not in {"", "not run"}
    assert result.get("recovers", True)
    assert result.get("child", True) is True
    assert result.get("seen", 10) == 10


def test_bad_value_is_distinguished_from_a_removed_one(tmp_path: Path) -> None:
    """A value of a wrong type counts as kept and reported, a removed option as the default, not reported."""
    outcomes = {}
    for fault in ("wrong_type", "key_removed"):
        run = Run(load("dflag_"), str(tmp_path / fault))
        try:
            outcomes[fault] = FAULTS[fault](run)
        finally:
            run.driver.stop()
    assert outcomes["wrong_type"]["value"] == "kept"
    assert outcomes["wrong_type"]["reports"] == ["status()", "log"]
    assert outcomes["key_removed"]["value"] == "default"
    assert outcomes["key_removed"]["reports"] == []


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (None, "not run"),
        ({"outcome": "hung"}, "**hung**"),
        ({"outcome": "crashed", "reason": "a | b"}, "crashed: a \\| b"),
        ({"outcome": "not installed", "reason": "no such thing"}, "not installed: no such thing"),
    ],
)
@pytest.mark.parametrize("fault", COLUMNS)
def test_cell_without_a_measurement(fault: str, result: dict[str, str] | None, words: str) -> None:
    """The cell of a fault says so when the fault was not run, hung, crashed or could not be installed."""
    assert cell(fault, result) == words


def test_cell_of_missed_swaps() -> None:
    """A cell shows missed swaps in bold, and has no latency when no swap was seen."""
    assert cell("swaps", {**RAN, "seen": 0, "of": 10, "p50": None}) == "**0 of 10**"
    assert cell("swaps", {**RAN, "seen": 10, "of": 10, "p50": 0.002}) == "10 of 10, 2 ms"


def test_table_of_nothing() -> None:
    """A library without results still has a row, with as many cells as the head."""
    head, _, row, *_ = table(_document({})).splitlines()
    assert row.count("|") == head.count("|")
    assert row.count("not run") == len(COLUMNS)


def test_a_process_that_crashes_is_a_result() -> None:
    """For a driver that cannot be loaded, `run_one()` returns a crash, with its last line as the reason."""
    result = peers.run_one(sys.executable, "nonesuch", "read")
    assert result["outcome"] == "crashed"
    assert "nonesuch" in result["reason"]


def test_a_process_that_hangs_is_a_result() -> None:
    """A fault that takes longer than its limit is killed and counted as hung."""
    assert peers.run_one(sys.executable, "dflag_", "idle", timeout_seconds=0.5) == {"outcome": "hung"}


BEGIN, END = "<!-- peers:begin -->", "<!-- peers:end -->"


def test_put_keeps_the_rest_of_the_page() -> None:
    """`put()` replaces only the text between the markers, also in a second run."""
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    once = put(page, "peers", "new\n")
    assert once == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    assert put(once, "peers", "new\n") == once


@pytest.mark.parametrize("page", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{END}{END}"])
def test_put_wants_both_markers(page: str) -> None:
    """A page without the two markers in order is refused rather than overwritten."""
    with pytest.raises(ValueError, match="once each"):
        put(page, "peers", "new")
