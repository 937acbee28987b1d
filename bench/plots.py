"""Findings as pictures, clean ones."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import ScalarFormatter

from bench.report import Figure, Ratio

WIDTH_IN, HEIGHT_IN = 5.0, 3.6
COLOUR, LIMIT_COLOUR = "#3b6ea5", "#c0392b"


def save_figure(figure: Figure, folder: Path) -> Path:
    """Lines over a common x."""
    canvas = Canvas(figsize=(WIDTH_IN * len(figure.panels), HEIGHT_IN), layout="constrained")
    canvas.suptitle(figure.title)
    for number, panel in enumerate(figure.panels, 1):
        axes = canvas.add_subplot(1, len(figure.panels), number)
        for name, points in panel.lines.items():
            xs, ys = zip(*points, strict=True)
            axes.plot(xs, ys, marker="o" if len(points) < 20 else "", label=name)
        if figure.log_x:
            axes.set_xscale("log")
            axes.set_xticks(sorted({x for points in panel.lines.values() for x, _ in points}))
            axes.xaxis.set_major_formatter(ScalarFormatter())
            axes.minorticks_off()
        axes.set_xlabel(figure.x_label)
        axes.set_ylabel(panel.y_label)
        axes.set_ylim(bottom=0)
        if len(panel.lines) > 1:
            axes.legend(frameon=False)
        _clean(axes)
    return _save(canvas, folder / f"{figure.name}.svg")


def save_costs(costs: Mapping[str, Ratio], limits: Mapping[str, float], folder: Path) -> Path:
    """A bar for each cost, from its lowest to its highest repeat as a whisker, and its limit as a line."""
    canvas = Canvas(figsize=(2 * WIDTH_IN, 0.5 * len(costs) + 1.2), layout="constrained")
    axes = canvas.add_subplot()
    for position, (name, ratio) in enumerate(costs.items()):
        whisker = [[ratio.median - ratio.lowest], [ratio.highest - ratio.median]]
        axes.barh(position, ratio.median, xerr=whisker, height=0.6, color=COLOUR, ecolor="black", capsize=3)
        if name in limits:
            axes.plot([limits[name]] * 2, [position - 0.45, position + 0.45], color=LIMIT_COLOUR, linewidth=2)
    axes.set_yticks(range(len(costs)), list(costs))
    axes.invert_yaxis()
    axes.set_xlabel("CPU of the servers, as a multiple of as many empty calls" + ("; red: the limit" if limits else ""))
    axes.axvline(1, color="grey", linewidth=0.8, linestyle=":")
    _clean(axes)
    return _save(canvas, folder / "costs.svg")


def _clean(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="both", linewidth=0.4, alpha=0.5)
    axes.set_axisbelow(True)


def _save(canvas: Canvas, path: Path) -> Path:
    with rc_context({"svg.hashsalt": path.name}):  # and without a date: of the same figures, the same file
        canvas.savefig(path, metadata={"Date": None})
    return path
