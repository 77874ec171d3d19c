"""
The plots, drawn by matplotlib, which is imported nowhere else.
"""

from __future__ import annotations

import html
import io
import statistics
from typing import TYPE_CHECKING

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot  # noqa: E402 - after the choice of what draws
from matplotlib.ticker import EngFormatter, NullLocator

from ._table import amount

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from ._measure import Plot

# Okabe and Ito's colours, which those who see few colours can tell apart; the lines differ in their dashes too.
OURS = "#0072B2"
OTHERS = ("#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#9A9A9A"
DASHES = ("--", "-.", ":")
WIDTH_INCHES, HEIGHT_INCHES = 8.0, 4.5
BAR_INCHES = 0.32
STEPS = 60
"""As many points of a distribution are drawn, however many samples it has."""
SETTINGS = {
    "svg.hashsalt": "dflag",  # else the identifiers, and so the file, change with every run
    "svg.fonttype": "none",  # letters as letters: smaller, and found by a search
    "font.family": "sans-serif",
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
}


def draw(plot: Plot) -> str:
    """
    Give *plot* as SVG, on white, so that it can be read on any theme.
    """
    with mpl.rc_context(SETTINGS):
        height = 1.5 + BAR_INCHES * len(plot.lines) if plot.kind == "bars" else HEIGHT_INCHES
        figure, axes = pyplot.subplots(figsize=(WIDTH_INCHES, height), layout="constrained")
        {"bars": _bars, "lines": _lines, "distribution": _distribution}[plot.kind](axes, plot)
        axes.set_title(plot.title, weight="bold")
        # Minor ticks of a log scale would be most of the file.
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_locator(NullLocator())
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Title": plot.title})
        pyplot.close(figure)
    return _titled(file.getvalue(), plot.title)


def _bars(axes: Axes, plot: Plot) -> None:
    names = list(plot.lines)
    values = [points[0][1] for points in plot.lines.values()]
    bars = axes.barh(names, values, color=[OURS if name in _ours(plot) else GREY for name in names], height=0.7)
    axes.bar_label(bars, [amount(value, "s") for value in values], padding=4)
    axes.set_xscale("log")
    axes.set_xlim(min(values) / 2, max(values) * 3)
    axes.invert_yaxis()
    axes.set_xlabel(f"{plot.y}, log scale")
    axes.xaxis.set_major_formatter(EngFormatter(unit="s", sep=" "))


def _lines(axes: Axes, plot: Plot) -> None:
    for (name, points), style in zip(plot.lines.items(), _styles(plot), strict=True):
        axes.plot(*zip(*points, strict=True), label=name, marker="o", markersize=4, **style)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(f"{plot.x}, log scale")
    axes.set_ylabel(f"{plot.y}, log scale")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_formatter(EngFormatter(sep=" "))
    _explained(axes)


def _distribution(axes: Axes, plot: Plot) -> None:
    for (name, points), style in zip(plot.lines.items(), _styles(plot), strict=True):
        axes.plot(*_shares([y for _, y in points]), label=name, **style)
    axes.set_xscale("log")
    axes.set_ylim(0, 1)
    axes.set_xlabel(f"{plot.x}, log scale")
    axes.set_ylabel(plot.y)
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    _explained(axes)


def _shares(samples: Sequence[float]) -> tuple[list[float], list[float]]:
    """
    Give the samples at even shares of them, the least and the greatest among these.
    """
    inner = statistics.quantiles(samples, n=STEPS, method="inclusive")
    values = [min(samples), *inner, max(samples)]
    return values, [index / (len(values) - 1) for index in range(len(values))]


def _ours(plot: Plot) -> tuple[str, ...]:
    return tuple(plot.ours) or tuple(name for name in plot.lines if name.startswith("dflag"))


def _styles(plot: Plot) -> list[dict[str, object]]:
    """
    Give each line its colour and dash: ours solid and broad, the others in turn.
    """
    ours = _ours(plot)
    styles: list[dict[str, object]] = []
    for index, name in enumerate(plot.lines):
        if name in ours:
            # A second line of ours is told from the first by its dashes.
            dash = ("-", *DASHES)[ours.index(name) % 4]
            styles.append({"color": OURS, "linestyle": dash, "linewidth": 2.6, "zorder": 3})
        else:
            style = {"color": OTHERS[index % len(OTHERS)], "linestyle": DASHES[index % 3] if ours else "-"}
            styles.append({**style, "linewidth": 1.6})
    return styles


def _explained(axes: Axes) -> None:
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=9)


def _titled(image: str, title: str) -> str:
    """
    Name the image for who does not see it, and leave out the lines before it, which only an XML parser wants.
    """
    start = image.index("<svg")
    opening = image.index(">", start) + 1
    name = html.escape(title, quote=True)
    head = image[start : opening - 1]
    lines = f'{head} role="img" aria-label="{name}">\n <title>{name}</title>{image[opening:]}'.splitlines()
    return "\n".join(line.rstrip() for line in lines) + "\n"
