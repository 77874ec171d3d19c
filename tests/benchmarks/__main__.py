"""
Compare dflag with the simplest Python code that does the same, and with other libraries.

``tox -e bench``, or ``python -m tests.benchmarks``; see docs/performance.md.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _table
from ._document import Part, document, dumps, parts
from ._modules import MODULES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the benchmarks, print a table in Markdown, and return 1 if a limit is exceeded.
    """
    options = _options(argv)
    if options.source:
        measured = json.loads(Path(options.source).read_text(encoding="utf-8"))
    else:
        measured = document(_run(options.only, options.peers, options.venv))
    print(_table.text(measured))
    if options.json:
        Path(options.json).write_text(dumps(measured) + "\n", encoding="utf-8")
    if options.plots:
        _draw(measured, Path(options.plots))
    if options.into:
        _put(measured, Path(options.into), options.plots)
    return 0 if all(result.passed for part in parts(measured) for result in part.report.results) else 1


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=MODULES, default=MODULES, metavar="MODULE", help="these alone")
    parser.add_argument("--peers", action="store_true", help="also other libraries, from PyPI")
    parser.add_argument("--venv", metavar="DIR", help="keep the peers' environment there; else it is a temporary one")
    parser.add_argument("--from", metavar="FILE", dest="source", help="measure nothing: show what was written there")
    parser.add_argument("--json", metavar="FILE", help="also write the results there")
    parser.add_argument("--plots", metavar="DIR", help="also draw the plots there; needs matplotlib")
    parser.add_argument("--into", metavar="PAGE", help="also put tables and plots between the markers of this page")
    return parser.parse_args(argv)


def _run(names: Sequence[str], peers: bool, venv: str | None) -> Iterator[Part]:
    """
    Run the modules one after another; the title of each part is the first line of the module's docstring.
    """
    for name in names:
        module = importlib.import_module(f"{__package__}.{name}")
        yield Part(name, _title(module.__doc__), module.run())
    if peers:
        from .peers import costs

        with tempfile.TemporaryDirectory() as directory:
            yield Part("peers", _title(costs.__doc__), costs.run(Path(venv or directory)))


def _title(docstring: str | None) -> str:
    return (docstring or "").strip().splitlines()[0].replace("``", "`").rstrip(".")


def _draw(measured: dict[str, Any], directory: Path) -> None:
    from ._plots import draw

    directory.mkdir(parents=True, exist_ok=True)
    for part in parts(measured):
        for plot in part.report.plots:
            (directory / f"{plot.name}.svg").write_text(draw(plot), encoding="utf-8")


def _put(measured: dict[str, Any], page: Path, plots: str | None) -> None:
    images = os.path.relpath(plots, page.parent) if plots else None
    page.write_text(_table.into(page.read_text(encoding="utf-8"), measured, images), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
