"""Which charts the page has, made of the tables that ``evaluate`` and the trainings wrote.

Conventions
-----------
A chart whose table is not there is left out. Curves are DVCLive's (``metrics/phase…/plots``);
their steps count from 0, epochs from 1.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from sam3_angio.report.charts import (
    IntervalRow,
    Label,
    Limits,
    Points,
    draw_agreement,
    draw_confusion,
    draw_epochs,
    draw_intervals,
    draw_lines,
    draw_reliability,
)

Record = dict[str, str]

#: Folder of curves, and its name in a legend.
_RUNS = {
    "phase1": "Phase 1",
    "phase2": "Phase 2",
    "phase3/none": "3 none",
    "phase3/text": "3 text",
    "phase3/exemplar": "3 exemplar",
    "phase3/embedding": "3 embedding",
    "phase3/shuffled": "3 shuffled",
    "phase4": "Phase 4",
}
#: Folder, curve and name of the ways to the vessel tree.
_TREE_CURVES = (
    ("phase1", "dice_semantic", "semantic mask"),
    ("phase1", "dice_instance", "best instance"),
    ("baseline", "dice_semantic", "U-Net"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart with what is said under it.

    Attributes
    ----------
    title : str
    svg : Markup
        The element.
    note : str
        How to read it.
    wide : bool
        Whether it needs a whole row.
    """

    title: str
    svg: Markup
    note: str
    wide: bool = False


def curve_charts(curves: Path) -> Iterator[Chart]:
    """Yield the learning curves.

    Parameters
    ----------
    curves : Path
        ``metrics``, with a folder a training.
    """
    trees = {
        word: points
        for folder, name, word in _TREE_CURVES
        if (points := _curve(curves / folder, f"val/{name}"))
    }
    if trees:
        text = "Dice of the vessel tree on validation frames by epoch, against the pseudo-labels"
        label = Label(name="curve-tree", text=text, x="epoch", y="Dice")
        yield Chart(title="Vessel tree: Dice", svg=draw_epochs(trees, label), note=f"{text}.")
    yield from _run_chart(curves, "val/dice_instance", "Dice of the best instance", "named", 1)
    yield from _run_chart(curves, "train/loss", "Training loss", "loss", 0)


def _run_chart(curves: Path, name: str, title: str, slug: str, first: int) -> Iterator[Chart]:
    runs = {
        word: points
        for folder, word in list(_RUNS.items())[first:]
        if (points := _curve(curves / folder, name))
    }
    if runs:
        label = Label(name=f"curve-{slug}", text=f"{title} by epoch", x="epoch", y=title)
        note = f"{title} by epoch; a training of one epoch is a point."
        yield Chart(title=title, svg=draw_epochs(runs, label), note=note)


def tree_charts(metrics: Path) -> Iterator[Chart]:
    """Yield Dice by frame and by artery and view."""
    rows = _rows(metrics / "phase1_plots" / "dice_by_frame.csv")
    if rows:
        points = _column(rows, "rank"), _column(rows, "dice")
        text = f"Dice of {len(rows)} validation frames, from worst to best"
        label = Label(name="by-frame", text=text, x="frame", y="Dice")
        svg = draw_lines({"Dice": points}, label, marked=False)
        yield Chart(title="Dice by frame", svg=svg, note=f"{text}.")
    note = "Means with intervals by patient; n counts frames."
    yield from _interval_chart(
        metrics / "phase1_plots" / "dice_by_group.csv", "dice", "Dice by artery and view", note
    )


def name_charts(metrics: Path, names: Mapping[str, str]) -> Iterator[Chart]:
    """Yield confusion matrix, calibration and figures by segment.

    Parameters
    ----------
    metrics : Path
    names : mapping of str to str
        Words for the rows of ``false_positives.csv``.
    """
    rows = _rows(metrics / "phase2_confusion.csv")
    if rows:
        columns = tuple(rows[0])[1:]
        counts = np.array([[int(row[column]) for column in columns] for row in rows])
        right = int(np.trace(counts[:, : len(rows)]))
        text = f"Confusion matrix of names: {right} of {counts.sum()} frames are named right"
        label = Label(name="confusion", text=text, x="named", y="annotated segment")
        svg = draw_confusion(counts, columns, label)
        note = f"{text}. Numbers are frames; the shade is the share of the row."
        yield Chart(title="Names that segments were given", svg=svg, note=note, wide=True)
    folder = metrics / "phase2_plots"
    yield from _calibration(_rows(folder / "calibration.csv"))
    note = "A wrong phrase is said to be there where its presence reaches the threshold."
    yield from _interval_chart(
        folder / "false_positives.csv", "rate", "Wrong phrases said to be there", note, names=names
    )
    note = "Means with intervals by patient; n counts frames."
    yield from _interval_chart(
        folder / "top1_by_segment.csv", "top1", "Top-1 name by segment", note
    )


def view_charts(metrics: Path) -> Iterator[Chart]:
    """Yield the paired differences of Phase 3's arms."""
    note = "Paired by frame, intervals by patient. What crosses 0 cannot be told from nothing."
    for figure, title in (("top1", "Top-1 name"), ("dice", "Dice")):
        path = metrics / "phase3_plots" / f"{figure}_difference.csv"
        yield from _interval_chart(path, "difference", f"{title}: difference", note, line=0)


def lesion_charts(metrics: Path, document: Mapping[str, Any]) -> Iterator[Chart]:
    """Yield Bland–Altman plots and the FROC curve.

    Parameters
    ----------
    metrics : Path
    document : mapping
        ``phase4.json``, for the limits of agreement.
    """
    for quantity, title, unit in (("mld_mm", "MLD", "mm"), ("stenosis_pct", "%DS", "points")):
        rows = _rows(metrics / "phase4_plots" / f"bland_altman_{quantity}.csv")
        sides = {row["against"] for row in rows}
        if sides:
            against = "truth" if "truth" in sides else "expert"
            own = [row for row in rows if row["against"] == against]
            limits = _limits(document.get(quantity, {}).get(against))
            yield _agreement_chart(own, limits, f"{title} against the {against}", unit)
    rows = _rows(metrics / "phase4_plots" / "froc.csv")
    if rows:
        curves = {
            name: (_column(own, "false_per_frame"), _column(own, "sensitivity"))
            for name in dict.fromkeys(row["curve"] for row in rows)
            if (own := [row for row in rows if row["curve"] == name])
        }
        text = "FROC of lesions: sensitivity over false positives a frame"
        label = Label(name="froc", text=text, x="false positives a frame", y="sensitivity")
        svg = draw_lines(curves, label, marked=False)
        note = "By the prompt for lesions, and by QCA of the predicted segment."
        yield Chart(title="FROC of lesions", svg=svg, note=note)


def _agreement_chart(rows: list[Record], limits: Limits | None, title: str, unit: str) -> Chart:
    slug = "".join(letter if letter.isalnum() else "-" for letter in title.lower())
    text = f"Bland and Altman, {title}, {len(rows)} frames"
    label = Label(name=slug, text=text, x=f"mean of both, {unit}", y=f"difference, {unit}")
    points = _column(rows, "mean"), _column(rows, "difference")
    note = f"Prediction less reference, {len(rows)} frames with a lesion; bias and its limits."
    svg = draw_agreement(points, limits, label)
    return Chart(title=f"Bland–Altman: {title}", svg=svg, note=note)


def _limits(figures: Mapping[str, Any] | None) -> Limits | None:
    if figures is None:
        return None
    means = [figures[name]["mean"] for name in ("bias", "limit_low", "limit_high")]
    if any(mean is None for mean in means):
        return None
    return Limits(bias=means[0], low=means[1], high=means[2])


def _calibration(rows: list[Record]) -> Iterator[Chart]:
    if rows:
        text = "Calibration of the presence: part that is there over what was said"
        label = Label(name="calibration", text=text, x="presence", y="part that is there")
        svg = draw_reliability(_column(rows, "presence"), _column(rows, "right"), label)
        yield Chart(title="Calibration of the presence", svg=svg, note="Dashed: perfect.")


def _interval_chart(
    path: Path,
    column: str,
    title: str,
    note: str,
    *,
    line: float | None = None,
    names: Mapping[str, str] | None = None,
) -> Iterator[Chart]:
    rows = [
        IntervalRow(
            group=(names or {}).get(row["group"], row["group"]),
            n=int(row["n"]),
            mean=_number(row[column]),
            low=_number(row["low"]),
            high=_number(row["high"]),
        )
        for row in _rows(path)
    ]
    if rows:
        slug = f"{path.parent.name}-{path.stem}".replace("_", "-")
        label = Label(name=slug, text=f"{title}, means with intervals", x=title)
        yield Chart(title=title, svg=draw_intervals(rows, label, line=line), note=note)


def _curve(folder: Path, name: str) -> Points | None:
    path = folder / "plots" / "metrics" / f"{name}.tsv"
    rows = _rows(path, "\t")
    return (_column(rows, "step") + 1, _column(rows, path.stem)) if rows else None


def _rows(path: Path, separator: str = ",") -> list[Record]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter=separator))


def _column(rows: list[Record], name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([_number(row[name]) for row in rows])


def _number(text: str) -> float:
    return float(text) if text else math.nan
