"""Named segments as files: ``metrics/phase2.json``, its tables and the data of its plots.

Conventions
-----------
Keys run from the figure to what it was taken against (:mod:`sam3_angio.scoring.phase2`):
``dice.truth.mean``. Rates over phrases: ``false_positives.pooled`` and by kind of wrong phrase,
``recall.annotated`` and ``recall.visible``. Values as in :mod:`sam3_angio.report.figures`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sam3_angio.anatomy import analysed_segments, segments
from sam3_angio.files import write_json
from sam3_angio.report.figures import (
    DIGITS,
    ESTIMATE_COLUMNS,
    Table,
    estimate_cells,
    figures,
)
from sam3_angio.scoring.naming import outcome
from sam3_angio.scoring.phase2 import (
    MASK_METRICS,
    GroupFigure,
    Key,
    SegmentScores,
    estimate_all,
    estimate_groups,
)
from sam3_angio.scoring.statistics import Estimate, Resampling
from sam3_angio.table import write_table

#: Figures of the JSON document, in its order; the tables hold all.
HEADLINE = (
    *("top1", "macro_f1", "kappa", "false_positives", "recall", "auc", "brier", "ece"),
    *("presence_false_positives", "presence_recall", "agreed_auc"),
    *("named_neighbour", "named_same_artery", "named_other_artery", "named_absent"),
    *("cgf1", "cgf1_50", "pmf1", "il_mcc", "ap", "ap50", "ap75"),
    *("dice", "iou", "cldice", "hd95_mm", "assd_mm"),
)

ABSENT = "absent"


def write_phase2(folder: Path, scores: SegmentScores, resampling: Resampling) -> dict[str, Any]:
    """Write ``phase2.json``, ``phase2_{queries,frames,groups,confusion}.csv``, ``phase2_plots/``.

    Returns
    -------
    dict
        The content of ``phase2.json``.
    """
    estimates = estimate_all(scores, resampling)
    groups = estimate_groups(scores, resampling)
    document = segment_document(scores, estimates) | {"confidence": resampling.confidence}
    write_json(folder / "phase2.json", document)
    tables = {
        "queries": query_table(scores),
        "frames": frame_table(scores),
        "groups": group_table(estimates, groups),
        "confusion": confusion_table(scores),
    }
    for name, table in tables.items():
        write_table(folder / f"phase2_{name}.csv", *table)
    for name, table in all_plots(scores, estimates, groups).items():
        write_table(folder / "phase2_plots" / f"{name}.csv", *table)
    return document


def segment_document(scores: SegmentScores, estimates: Mapping[Key, Estimate]) -> dict[str, Any]:
    """Return the figures of a model that names segments, headline first; NaN becomes None."""
    document: dict[str, Any] = {}
    for name in HEADLINE:
        own = {against: figures(of) for (key, against), of in estimates.items() if key == name}
        if own:
            document[name] = own
    document["undefined"] = {
        name: {against: of.undefined for (key, against), of in estimates.items() if key == name}
        for name in ("hd95_mm", "assd_mm")
    }
    document["chance"] = round(1 / len(analysed_segments()), DIGITS)
    document["count"] = {
        "frames": len(scores.frames),
        "patients": len(set(scores.patients)),
        "queries": sum(len(of.answers) for of in scores.frames),
        "segments": len(set(scores.true.tolist())),
    }
    document["segment_from"] = scores.rule
    document["score_threshold"] = scores.said.presence
    document["agreement"] = scores.said.agreement
    return document


def query_table(scores: SegmentScores) -> Table:
    """Return header and rows of ``phase2_queries.csv``: a row a (frame, phrase) pair."""
    header = ("frame_id", "phrase", "category", "standing", "presence", "score")
    rows: list[tuple[str | float, ...]] = [
        (
            *(of.frame.frame_id, answer.phrase, answer.category, answer.standing),
            round(answer.presence, DIGITS),
            round(answer.score, DIGITS),
            round(answer.agreement, DIGITS),
            round(answer.iou_annotated, DIGITS),
            round(answer.iou_truth, DIGITS),
        )
        for of in scores.frames
        for answer in of.answers
    ]
    return (*header, "agreement", "iou_annotated", "iou_truth"), rows


def frame_table(scores: SegmentScores) -> Table:
    """Return header and rows of ``phase2_frames.csv``: the name and the mask scores of a frame."""
    references = sorted({name for of in scores.frames for name in of.masks})
    header = ("frame_id", "patient", "artery", "view", "segment", "named", "outcome")
    columns = tuple(f"{metric}_{name}" for name in references for metric in MASK_METRICS)
    rows: list[tuple[str | float, ...]] = [
        (
            *(of.frame.frame_id, of.frame.patient, of.frame.artery, of.frame.view),
            *(segments()[of.frame.segment].phrase, name_of(named), outcome(true, named)),
            *(
                round(getattr(of.masks[name], metric), DIGITS) if name in of.masks else ""
                for name in references
                for metric in MASK_METRICS
            ),
        )
        for of, true, named in zip(
            scores.frames, scores.true.tolist(), scores.named.tolist(), strict=True
        )
    ]
    return (*header, *columns), rows


def group_table(estimates: Mapping[Key, Estimate], groups: Iterable[GroupFigure]) -> Table:
    """Return header and rows of ``phase2_groups.csv``: a row a figure, over all frames first."""
    rows: list[tuple[str | float, ...]] = [
        (name, against, "all", "", *estimate_cells(of)) for (name, against), of in estimates.items()
    ]
    rows += [
        (row.name, row.against, row.group, row.value, *estimate_cells(row.estimate))
        for row in groups
    ]
    return ("name", "against", "group", "value", *ESTIMATE_COLUMNS), rows


def confusion_table(scores: SegmentScores) -> Table:
    """Return the confusion matrix: a row a true segment, a column a name."""
    phrases = tuple(segments()[number].phrase for number in analysed_segments())
    rows: list[tuple[str | float, ...]] = [
        (phrase, *counts) for phrase, counts in zip(phrases, scores.confusion.tolist(), strict=True)
    ]
    return ("segment", *phrases, ABSENT), rows


def all_plots(
    scores: SegmentScores, estimates: Mapping[Key, Estimate], groups: Iterable[GroupFigure]
) -> dict[str, Table]:
    """Return the data of ``dvc plots`` by the name of its file."""
    rows = tuple(groups)
    reference = "truth" if ("dice", "truth") in estimates else "annotated"
    return {
        "confusion": _names_by_frame(scores),
        "calibration": _calibration(scores),
        "false_positives": interval_table(
            "rate", {key[1]: of for key, of in estimates.items() if key[0] == "false_positives"}
        ),
        "top1_by_segment": _by_segment("top1", "annotated", rows),
        "dice_by_segment": _by_segment("dice", reference, rows),
        "ap50_by_segment": _by_segment("ap50", reference, rows),
    }


def interval_table(name: str, estimates: Mapping[str, Estimate]) -> Table:
    """Return figures with intervals for the template ``interval``."""
    rows: list[tuple[str | float, ...]] = [
        (
            *(group, of.n),
            *(round(value, DIGITS) for value in (of.mean, of.low, of.high)),
        )
        for group, of in estimates.items()
    ]
    return ("group", "n", name, "low", "high"), rows


def name_of(place: int) -> str:
    """Return the phrase of an analysed segment by its place, "absent" beyond the last."""
    numbers = analysed_segments()
    return ABSENT if place == len(numbers) else segments()[numbers[place]].phrase


def _by_segment(name: str, against: str, groups: Iterable[GroupFigure]) -> Table:
    return interval_table(
        name,
        {
            row.value: row.estimate
            for row in groups
            if (row.name, row.against, row.group) == (name, against, "segment")
        },
    )


def _names_by_frame(scores: SegmentScores) -> Table:
    rows: list[tuple[str | float, ...]] = [
        (name_of(true), name_of(named))
        for true, named in zip(scores.true.tolist(), scores.named.tolist(), strict=True)
    ]
    return ("segment", "named"), rows


def _calibration(scores: SegmentScores) -> Table:
    rows: list[tuple[str | float, ...]] = [
        (round(of.presence, DIGITS), round(of.right, DIGITS), of.n, of.low, of.high)
        for of in scores.calibration
        if of.n
    ]
    return ("presence", "right", "n", "low", "high"), rows
