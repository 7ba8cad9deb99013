"""The charts of the page: each takes plain values and gives an SVG element.

Conventions
-----------
Every function takes ``name``, which begins the ids of its element (:mod:`sam3_angio.report.svg`),
and ``label``, which is read aloud. NaN is not drawn.

References
----------
Bland, J. M., Altman, D. G. (1986). Statistical methods for assessing agreement between two methods
of clinical measurement. Lancet. https://doi.org/10.1016/S0140-6736(86)90837-8
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from sam3_angio.report.svg import INK, SERIES, draw_svg

FloatArray = npt.NDArray[np.float64]

#: x and y of a line or of points.
Points = tuple[FloatArray, FloatArray]

_WIDE_IN, _HIGH_IN = 4.8, 3.2
_MARKERS = "osD^vPX*"
_DASHES = ("-", "--", ":", "-.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What stands around a chart.

    Attributes
    ----------
    name : str
        Begins the ids of the element.
    text : str
        Read aloud in place of the chart.
    x, y : str
        Titles of the axes, with units.
    """

    name: str
    text: str
    x: str = ""
    y: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalRow:
    """A figure with its interval, for `draw_intervals`.

    Attributes
    ----------
    group : str
    n : int
        What it is the mean of.
    mean, low, high : float
        NaN where undefined.
    """

    group: str
    n: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bias and limits of agreement, in the unit of the differences."""

    bias: float
    low: float
    high: float


def draw_lines(curves: Mapping[str, Points], label: Label, *, marked: bool = True) -> Markup:
    """Draw one line a curve; colour, dash and marker tell them apart.

    Parameters
    ----------
    curves : mapping of str to (x, y)
    label : Label
    marked : bool
        Whether points have markers.
    """

    def draw(axes: Axes) -> None:
        for place, (title, (x, y)) in enumerate(curves.items()):
            marker = _MARKERS[place % len(_MARKERS)] if marked else ""
            dash = _DASHES[place % len(_DASHES)]
            colour = SERIES[place % len(SERIES)]
            axes.plot(x, y, color=colour, linestyle=dash, marker=marker, ms=4, label=title)
        _finish(axes, label)
        if len(curves) > 1:
            axes.legend(loc="best")

    return draw_svg(draw, name=label.name, label=label.text, size_in=(_WIDE_IN, _HIGH_IN))


def draw_epochs(curves: Mapping[str, Points], label: Label) -> Markup:
    """Draw lines over whole numbers of epochs; the legend stands above."""

    def draw(axes: Axes) -> None:
        for place, (title, (x, y)) in enumerate(curves.items()):
            marker = _MARKERS[place % len(_MARKERS)]
            axes.plot(x, y, color=SERIES[place % len(SERIES)], marker=marker, ms=4, label=title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _finish(axes, label)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, columnspacing=1)

    return draw_svg(draw, name=label.name, label=label.text, size_in=(_WIDE_IN, _HIGH_IN))


def draw_intervals(
    rows: Sequence[IntervalRow], label: Label, *, line: float | None = None
) -> Markup:
    """Draw figures with their intervals, the first on top.

    Parameters
    ----------
    rows : sequence of IntervalRow
    label : Label
    line : float, optional
        Value that a vertical line marks, such as 0 under differences.
    """

    def draw(axes: Axes) -> None:
        places = np.arange(len(rows))
        mean, low, high = (
            np.array([getattr(row, name) for row in rows]) for name in ("mean", "low", "high")
        )
        axes.hlines(places, low, high, color=SERIES[0], linewidth=2)
        axes.plot(mean, places, "o", color=SERIES[0], ms=5)
        if line is not None:
            axes.axvline(line, color=INK, linestyle="--", linewidth=1)
        axes.set_yticks(places, [f"{row.group} (n {row.n})" for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        _finish(axes, label)

    height = 0.9 + 0.24 * len(rows)
    return draw_svg(draw, name=label.name, label=label.text, size_in=(_WIDE_IN, height))


def draw_confusion(counts: npt.NDArray[np.int64], names: Sequence[str], label: Label) -> Markup:
    """Draw a confusion matrix: rows are true, shade is the share of the row.

    Parameters
    ----------
    counts : (M, N) int ndarray
        True by named; N is M, or more where a name is none of the true ones.
    names : (N,) sequence of str
        Of the columns; the first M are those of the rows.
    label : Label
    """
    total = np.maximum(counts.sum(axis=1, keepdims=True), 1)

    def draw(axes: Axes) -> None:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                share = float(count / total[row, 0])
                # Paler than the ink on it at every share, in light and in dark.
                cell = Rectangle((column - 0.5, row - 0.5), 1, 1, color=SERIES[0], linewidth=0)
                cell.set_alpha(0.15 + 0.5 * share)
                axes.add_patch(cell)
                axes.text(column, row, str(count), ha="center", va="center", fontsize=8)
        rows, columns = counts.shape
        axes.set_xticks(range(columns), names, rotation=55, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(rows), names[:rows])
        axes.set_xlim(-0.5, columns - 0.5)
        axes.set_ylim(rows - 0.5, -0.5)
        _finish(axes, label, grid=False)

    side = 2.2 + 0.3 * len(names)
    return draw_svg(draw, name=label.name, label=label.text, size_in=(side, side - 0.3))


def draw_reliability(said: FloatArray, right: FloatArray, label: Label) -> Markup:
    """Draw what part was right over what was said, beside the diagonal of perfect calibration."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=INK, linestyle="--", linewidth=1)
        axes.plot(said, right, "o-", color=SERIES[0], ms=5)
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        _finish(axes, label)

    return draw_svg(draw, name=label.name, label=label.text, size_in=(_WIDE_IN, _HIGH_IN))


def draw_agreement(points: Points, limits: Limits | None, label: Label) -> Markup:
    """Draw differences over means with bias and limits of agreement (Bland and Altman, 1986).

    Parameters
    ----------
    points : (x, y)
        Means of both, and differences.
    limits : Limits or None
        None where they are undefined.
    label : Label
    """

    def draw(axes: Axes) -> None:
        axes.plot(*points, "o", color=SERIES[0], ms=4, alpha=0.8)
        if limits is not None:
            axes.axhline(limits.bias, color=SERIES[1], linewidth=1.5, label="bias")
            bounds = ([limits.low, limits.high], *axes.get_xlim())
            axes.hlines(*bounds, color=SERIES[1], linestyle="--", label="95 % limits")
            axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
        axes.axhline(0, color=INK, linewidth=0.8)
        _finish(axes, label)

    return draw_svg(draw, name=label.name, label=label.text, size_in=(_WIDE_IN, _HIGH_IN))


def _finish(axes: Axes, label: Label, *, grid: bool = True) -> None:
    axes.grid(visible=grid)
    axes.tick_params(length=0)
    axes.set_xlabel(label.x)
    axes.set_ylabel(label.y)
