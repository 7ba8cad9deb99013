"""Phase 1 as files: ``metrics/phase1.json`` and its two tables; the same for the baseline.

Conventions
-----------
Keys run from the figure to what it was compared with: ``dice.truth.mean``. A figure carries four
keys: ``mean``, ``low`` and ``high`` (interval by patient) and ``n``. Values have four digits after
the point; undefined ones are null in JSON and empty in tables, and counted under ``undefined``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sam3_angio.files import write_json
from sam3_angio.report.curves import all_curves
from sam3_angio.report.figures import DIGITS, ESTIMATE_COLUMNS, Table, estimate_cells, figures
from sam3_angio.scoring.cases import Reference
from sam3_angio.scoring.detection import PresenceScores
from sam3_angio.scoring.phase1 import MASK_METRICS, Phase1Scores, paired_differences
from sam3_angio.scoring.statistics import Resampling
from sam3_angio.scoring.tree import Source, TreeRule
from sam3_angio.table import write_table

#: Scores of the mask in the JSON document; the tables hold all.
HEADLINE_METRICS = ("dice", "iou", "cldice", "hd95_mm", "assd_mm")

_PRESENCE_METRICS = ("recall", "specificity", "accuracy", "auc")


def write_metrics(folder: Path, scores: Phase1Scores) -> dict[str, Any]:
    """Write ``phase1.json``, ``phase1_frames.csv``, ``phase1_groups.csv`` and ``phase1_plots/``.

    Returns
    -------
    dict
        The content of ``phase1.json``.
    """
    document = write_figures(folder, "phase1", scores)
    for name, table in all_curves(scores).items():
        write_table(folder / "phase1_plots" / f"{name}.csv", *table)
    return document


def write_baseline(
    folder: Path, scores: Phase1Scores, phase1: Phase1Scores, resampling: Resampling
) -> dict[str, Any]:
    """Write ``baseline.json`` and its tables, with the paired difference of Phase 1 to it.

    Returns
    -------
    dict
        The content of ``baseline.json``.
    """
    found = paired_differences(phase1, scores, resampling)
    difference: dict[str, Any] = {metric: {} for metric in HEADLINE_METRICS}
    for (metric, reference), estimate in found.items():
        if metric in difference:
            difference[metric][reference] = figures(estimate)
    return write_figures(folder, "baseline", scores, {"phase1_less_baseline": difference})


def write_figures(
    folder: Path, name: str, scores: Phase1Scores, besides: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Write ``{name}.json``, ``{name}_frames.csv`` and ``{name}_groups.csv``.

    Parameters
    ----------
    folder : Path
    name : str
    scores : Phase1Scores
    besides : mapping or None
        Further keys of the document.

    Returns
    -------
    dict
        The content of ``{name}.json``.
    """
    document = metrics_document(scores) | dict(besides or {})
    write_json(folder / f"{name}.json", document)
    write_table(folder / f"{name}_frames.csv", *frame_table(scores))
    write_table(folder / f"{name}_groups.csv", *group_table(scores))
    return document


def metrics_document(scores: Phase1Scores) -> dict[str, Any]:
    """Return the figures of ``metrics/phase1.json``, headline first; NaN becomes None."""
    whole = [row for row in scores.groups if row.group == "all" and row.source == scores.tree_from]
    document: dict[str, Any] = {}
    for metric in HEADLINE_METRICS:
        document[metric] = {
            row.reference: figures(row.estimate) for row in whole if row.metric == metric
        }
        if metric == "dice" and scores.beats_teacher:
            document |= _against_teacher(scores)
    for name in ("ap", "ap50", "ap75"):
        document[name] = {
            reference: figures(getattr(precision, name))
            for reference, precision in scores.precision.items()
        }
    document["presence"] = _presence(scores.presence)
    document["undefined"] = {
        metric: {row.reference: row.estimate.undefined for row in whole if row.metric == metric}
        for metric in HEADLINE_METRICS
    }
    document["count"] = _counts(scores)
    document["tree_from"] = scores.tree_from
    document["confidence"] = scores.confidence
    return document


def frame_table(scores: Phase1Scores) -> Table:
    """Return header and rows of ``metrics/phase1_frames.csv``: the headline's scores come first."""
    pairs = sorted(
        dict.fromkeys((row.source, row.reference) for row in scores.groups),
        key=lambda pair: (pair[0] != scores.tree_from, pair[0] == "teacher"),
    )
    header = tuple(
        _column(source, reference, metric, scores.tree_from)
        for source, reference in pairs
        for metric in MASK_METRICS
    )
    rows: list[tuple[str | float, ...]] = [
        (
            *(frame.case.frame_id, frame.case.patient, frame.case.artery, frame.case.view),
            round(frame.case.query.presence, DIGITS),
            *(
                round(getattr(frame.scores[pair], metric), DIGITS)
                for pair in pairs
                for metric in MASK_METRICS
            ),
        )
        for frame in scores.frames
    ]
    return ("frame_id", "patient", "artery", "view", "presence", *header), rows


def group_table(scores: Phase1Scores) -> Table:
    """Return header and rows of ``metrics/phase1_groups.csv``, one row a figure."""
    rows: list[tuple[str | float, ...]] = [
        (
            *(row.source, row.reference, row.metric, row.group, row.value),
            *estimate_cells(row.estimate),
        )
        for row in scores.groups
    ]
    return ("source", "reference", "metric", "group", "value", *ESTIMATE_COLUMNS), rows


def _against_teacher(scores: Phase1Scores) -> dict[str, Any]:
    teacher = next(
        row.estimate
        for row in scores.groups
        if (row.source, row.metric, row.group) == ("teacher", "dice", "all")
    )
    return {
        "teacher_dice": {"truth": figures(teacher)},
        "beats_teacher": {
            metric: figures(estimate) for metric, estimate in scores.beats_teacher.items()
        },
    }


def _presence(presence: PresenceScores) -> dict[str, Any]:
    """Return recall alone where no query asked for what is not there."""
    names = ("recall",) if math.isnan(presence.specificity.mean) else _PRESENCE_METRICS
    return {name: figures(getattr(presence, name)) for name in names}


def _counts(scores: Phase1Scores) -> dict[str, Any]:
    empty = {
        name: sum(name in frame.empty for frame in scores.frames)
        for name in (scores.tree_from, *scores.precision)
    }
    return {
        "frames": len(scores.frames),
        "patients": len({frame.case.patient for frame in scores.frames}),
        "empty_prediction": empty[scores.tree_from],
        "empty_reference": {name: empty[name] for name in scores.precision},
    }


def _column(source: Source, reference: Reference, metric: str, tree_from: TreeRule) -> str:
    prefix = "" if source == tree_from else f"{source}_"
    return f"{prefix}{metric}_{reference}"
