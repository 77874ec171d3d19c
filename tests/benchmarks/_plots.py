"""
The plots, drawn with matplotlib, which no other module imports.
"""

from __future__ import annotations

import html
import io
import re
import statistics
from typing import TYPE_CHECKING

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

from ._table import amount

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from ._measure import Plot

# The colours of Okabe and Ito, which colour-blind readers can distinguish; the lines also differ in their dashes.
OURS = "#0072B2"
OTHERS = ("#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#9A9A9A"
DASHES = ("--", "-.", ":")
WIDTH_INCHES, HEIGHT_INCHES = 8.0, 4.5
BAR_INCHES = 0.32
NARROW = 100
"""A scale whose ends differ by less than this factor also has ticks between the powers of ten."""
STEPS = 60
"""How many steps of a distribution are drawn, regardless of its number of samples."""
SETTINGS = {
    "svg.hashsalt": "dflag",  # otherwise the identifiers, and so the file, change with every run
    "svg.fonttype": "none",  # text instead of outlines: the file is smaller and can be searched
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # the default is a dozen names, repeated in each text
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
}


def draw(plot: Plot) -> str:
    """
    Return *plot* as SVG on a white background, so that it is readable with any theme.
    """
    with mpl.rc_context(SETTINGS):
        height = 1.5 + BAR_INCHES * len(plot.lines) if plot.kind == "bars" else HEIGHT_INCHES
        figure, axes = pyplot.subplots(figsize=(WIDTH_INCHES, height), layout="constrained")
        {"bars": _bars, "lines": _lines, "distribution": _distribution}[plot.kind](axes, plot)
        axes.set_title(plot.title, weight="bold")
        _tick(axes)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Title": plot.title})
        pyplot.close(figure)
    return _titled(file.getvalue(), plot.title)


def _tick(axes: Axes) -> None:
    """
    Set enough major ticks on log scales, and no minor ticks, which would be most of the file.
    """
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            least, most = axis.get_view_interval()
            axis.set_major_locator(LogLocator(subs=(1, 2, 5) if most < NARROW * least else (1,)))
        axis.set_minor_locator(NullLocator())


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
    axes.xaxis.set_major_formatter(_numbers(plot.x))
    axes.yaxis.set_major_formatter(_numbers(plot.y))
    _explained(axes)


def _distribution(axes: Axes, plot: Plot) -> None:
    for (name, points), style in zip(plot.lines.items(), _styles(plot), strict=True):
        axes.plot(*_shares([y for _, y in points]), label=name, **style)
    axes.set_xscale("log")
    axes.set_ylim(0, 1)
    axes.set_xlabel(f"{plot.x}, log scale")
    axes.set_ylabel(plot.y)
    axes.xaxis.set_major_formatter(_numbers(plot.x))
    _explained(axes)


def _numbers(label: str) -> EngFormatter:
    return EngFormatter(unit={"seconds": "s", "bytes": "B"}.get(label, ""), sep=" ")


def _shares(samples: Sequence[float]) -> tuple[list[float], list[float]]:
    """
    Return the quantiles of the samples at evenly spaced shares, from the minimum to the maximum, and the shares.
    """
    inner = statistics.quantiles(samples, n=STEPS, method="inclusive")
    values = [min(samples), *inner, max(samples)]
    return values, [index / (len(values) - 1) for index in range(len(values))]


def _ours(plot: Plot) -> tuple[str, ...]:
    return tuple(plot.ours) or tuple(name for name in plot.lines if name.startswith("dflag"))


def _styles(plot: Plot) -> list[dict[str, object]]:
    """
    Return the colour and the dashes of each line: dflag's lines are broad, and the others cycle through the rest.
    """
    ours = _ours(plot)
    styles: list[dict[str, object]] = []
    for index, name in enumerate(plot.lines):
        if name in ours:
            # The first line of dflag is solid; further lines of dflag have dashes.
            dash = ("-", *DASHES)[ours.index(name) % 4]
            styles.append({"color": OURS, "linestyle": dash, "linewidth": 2.6, "zorder": 3})
        else:
            # If no line is dflag's, the first lines are solid, and dashes distinguish lines with the same colour.
            dash = DASHES[index % 3] if ours else ("-", *DASHES)[index // len(OTHERS) % 4]
            styles.append({"color": OTHERS[index % len(OTHERS)], "linestyle": dash, "linewidth": 1.6})
    return styles


def _explained(axes: Axes) -> None:
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    # Next to the lines, not on them.
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _titled(image: str, title: str) -> str:
    """
    Add a title for screen readers; remove the prologue and the indentation, and round numbers to hundredths.
    """
    start = image.index("<svg")
    opening = image.index(">", start) + 1
    name = html.escape(title, quote=True)
    head = image[start : opening - 1]
    rounded = re.sub(r"-?\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}", image[opening:])
    lines = f'{head} role="img" aria-label="{name}">\n<title>{name}</title>{rounded}'.splitlines()
    return "\n".join(line.strip() for line in lines) + "\n"
