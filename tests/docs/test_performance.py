"""
The page on performance shows the measured values of its JSON document, and the files that it names exist.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import __main__ as benchmarks
from tests.benchmarks import _table
from tests.benchmarks._document import Part, document, dumps, parts
from tests.benchmarks._measure import Plot, Report, Result
from tests.benchmarks._modules import MODULES
from tests.benchmarks.peers import costs

DOCS = Path(__file__).parents[2] / "docs"
README = DOCS.parent / "README.md"
IMAGE = re.compile(r"!\[[^\]]+\]\(([^)]+)\)")

RESULT = Result(name="a|b", value=2.5e-8, base=2e-8, against="floor", limit=1.2)
PLOT = Plot(name="one", title="One", x="", y="time", kind="bars", lines={"dflag": [(0, 2.5e-8)]})


@pytest.fixture(name="page", scope="module")
def _page() -> str:
    return (DOCS / "performance.md").read_text(encoding="utf-8")


@pytest.fixture(name="measured", scope="module")
def _measured() -> dict[str, Any]:
    measured: dict[str, Any] = json.loads((DOCS / "performance.json").read_text(encoding="utf-8"))
    return measured


def test_page_is_what_was_measured(page: str, measured: dict[str, Any]) -> None:
    """Tables, images and legend of the page are those of the JSON document next to it."""
    assert _table.into(page, measured, "images") == page


def test_page_has_a_place_for_every_module(page: str, measured: dict[str, Any]) -> None:
    """The page has markers for each benchmark module, and the table of each part of the run."""
    assert {f"<!-- bench-{name}:begin -->" for name in MODULES} <= set(re.findall("<!-- bench-[a-z]+:begin -->", page))
    assert [part.name for part in parts(measured)] == [*MODULES, "peers"]
    for part in parts(measured):
        assert _table.table(part) in page


def test_every_image_of_the_page_exists(page: str, measured: dict[str, Any]) -> None:
    """The page shows each plot of the run in order, and each image is an SVG file with a title and no date."""
    named = IMAGE.findall(page)
    assert named == [f"images/{plot.name}.svg" for part in _in_order(page, measured) for plot in part.report.plots]
    for image in named:
        text = (DOCS / image).read_text(encoding="utf-8")
        assert text.startswith("<svg")
        assert "<title>" in text
        assert "<dc:date>" not in text


def test_number_in_the_readme_is_measured(measured: dict[str, Any]) -> None:
    """The README gives the measured ratios of a dynamic flag and of absl, within 10 % and 20 %."""
    scores = {result.name: result.score for part in parts(measured) for result in part.report.results}
    sentence = next(
        line for line in README.read_text(encoding="utf-8").split("\n- ") if "docs/performance.md): a" in line
    )
    ours, absl = map(float, re.findall(r"([\d.]+) times", sentence))
    assert ours == pytest.approx(scores["dflag, dynamic flag: a read"], rel=0.1)
    assert absl == pytest.approx(scores["absl: a read"], rel=0.2)


def _in_order(page: str, measured: dict[str, Any]) -> list[Part]:
    return sorted(parts(measured), key=lambda part: page.index(f"bench-{part.name}:begin"))


def test_document_gives_back_what_it_was_made_from() -> None:
    """Results and plots that are written as JSON are read back equal, also a result whose value is missing."""
    missing = Result(name="gone", value=math.nan, note="no such thing")
    written = document([Part("one", "One", Report([RESULT, missing], [PLOT], {"absl-py": "2"}))])
    (part,) = parts(json.loads(dumps(written)))
    assert part.report.results[0] == RESULT
    assert math.isnan(part.report.results[1].value)
    assert part.report.plots == [PLOT]
    assert written["peers"] == {"absl-py": "2"}


def test_a_result_has_a_line_of_its_own() -> None:
    """Each result and plot is one line of the document, so that a diff shows each change on its own."""
    text = dumps(document([Part("one", "One", Report([RESULT, RESULT], [PLOT]))]))
    assert sum('"name": "a|b"' in line for line in text.splitlines()) == 2
    assert sum('"title": "One"' in line and "lines" in line for line in text.splitlines()) == 1


@pytest.mark.parametrize(
    ("result", "row"),
    [
        (RESULT, r"| a\|b | 25 ns | floor: 20 ns | 1.25 | 1.2 | **exceeded** |"),
        (Result(name="n", value=2.0, limit=3.0, unit=""), "| n | 2 |  |  | 3 | kept |"),
        (Result(name="n", value=1536, unit="B", note="of 3"), "| n (of 3) | 1,536 B |  |  |  |  |"),
        (Result(name="n", value=math.nan, note="gone"), "| n | not measured: gone |  |  |  |  |"),
    ],
)
def test_row_of_a_result(result: Result, row: str) -> None:
    """A row shows the value in a fitting unit, the ratio and the verdict; a missing value shows the reason."""
    assert _table.table(Part("one", "One", Report([result]))).splitlines()[-1] == row


def test_a_page_without_a_place_is_refused() -> None:
    """`into()` raises if the page has no markers for a part."""
    with pytest.raises(ValueError, match="bench-one"):
        _table.into(
            "<!-- bench-legend:begin --><!-- bench-legend:end -->", document([Part("one", "", Report([]))]), None
        )


def test_a_run_is_shown_again_from_its_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --from, the table is printed from the document, and the status is 1 if a limit was exceeded."""
    file = tmp_path / "run.json"
    for result, status in ((RESULT, 1), (dataclasses.replace(RESULT, limit=1.3), 0)):
        file.write_text(dumps(document([Part("one", "One", Report([result]))])), encoding="utf-8")
        assert benchmarks.main(["--from", str(file)]) == status
        assert r"| a\|b | 25 ns |" in capsys.readouterr().out


def test_libraries_are_measured_by_turns_and_failures_are_rows() -> None:
    """`costs.measure()` measures each library, and the row of one that is missing or does not start has the reason."""
    report = costs.measure(
        sys.executable,
        {"absl-py": "not to be had"},
        ("dflag_", "locked", "absl_", "growthbook_"),
        rounds=1,
        import_rounds=1,
    )
    results = {result.name: result for result in report.results}
    for name in ("dflag, static flag", "dflag, dynamic flag", "dflag, inside pinned()", "dict with a lock"):
        assert results[f"{name}: a read"].score > 0
    assert results["dflag: a flag of 1,000"].unit == "B"
    assert results["dflag: loading 1,000 options"].against == costs.RAW
    assert results["dflag: import"].against == costs.STANDARD
    assert results["absl"].note == "not to be had"
    assert "growthbook" in results["GrowthBook, local features"].note
    assert math.isnan(results["absl"].value)
    (plot,) = report.plots
    assert set(plot.lines) >= {"dict with a lock", "dflag, static flag", costs.AGAINST}
    assert "absl" not in plot.lines
