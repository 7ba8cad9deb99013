"""The result table of the page: each figure with interval and number, beside what others have.

Conventions
-----------
Figures come from the documents in ``metrics/``; a document or a figure that is not there leaves
no row. ``baseline.json`` has the keys of ``phase1.json``. Numbers of others
(``templates/reference_numbers.csv``) were taken on other data and are a scale, not a contest.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

DOCUMENTS = ("phase1", "baseline", "phase2", "phase3", "phase4")

_AGAINST = {
    "truth": "the truth",
    "pseudo": "the pseudo-label",
    "annotated": "the expert's segment",
    "known": "what the labels decide",
    "expert": "the expert",
    "phrases": "all phrases",
    "from_prediction": "no lesion, under predicted masks",
    "from_truth_mask": "no lesion, of true masks",
    "pooled": "all wrong phrases",
    "visible": "all visible segments",
    "absent": "absent segments",
    "other_artery": "the other artery's segments",
    "nonsense": "words that name nothing",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the result table.

    Attributes
    ----------
    title, against : str
        Which figure, and what it is taken against.
    value, interval, n : str
        Empty where undefined.
    reference, source : str
        A number of others and where it is from; empty where there is none.
    """

    title: str
    against: str
    value: str
    interval: str
    n: str
    reference: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRow:
    """An arm of Phase 3: its figures, and the paired difference of names to the arm ``none``.

    Attributes
    ----------
    arm : str
    figures : tuple of str
        By `ARM_FIGURES`.
    difference, holm_p : str
        Empty for ``none`` itself.
    limits : tuple of str
        The smallest difference that could be declared at all, and the one that would be found; a
        dash where none, empty for ``none`` itself.
    """

    arm: str
    figures: tuple[str, ...]
    difference: str
    holm_p: str
    limits: tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowGroup:
    """Lines of one document under a title."""

    title: str
    rows: tuple[Row, ...]


#: Words for the kinds of wrong phrases in a chart.
PHRASE_WORDS = {
    "pooled": "all wrong phrases",
    "other_artery": "other artery",
    "absent": "absent segments",
    "nonsense": "naming nothing",
}

#: Columns of Phase 3's table: key, what it is against, title.
ARM_FIGURES = (
    ("top1", "annotated", "top-1 name"),
    ("macro_f1", "annotated", "macro-F1"),
    ("cgf1", "known", "cgF1"),
    ("dice", "annotated", "Dice"),
)

_TREE = (
    ("dice", "Dice"),
    ("teacher_dice", "Dice of the pseudo-label, the teacher"),
    ("iou", "IoU"),
    ("cldice", "clDice"),
    ("hd95_mm", "HD95, mm"),
    ("assd_mm", "ASSD, mm"),
    ("ap50", "Mask AP50"),
)
_NAMES = (
    ("top1", ("annotated",), "Top-1 name"),
    ("macro_f1", ("annotated",), "Macro-F1 of names"),
    ("false_positives", ("pooled", "other_artery", "absent", "nonsense"), "False-positive rate"),
    ("recall", ("annotated", "visible"), "Found where it is"),
    ("auc", ("phrases",), "AUC of the presence"),
    (
        "presence_false_positives",
        ("pooled", "other_artery", "absent", "nonsense"),
        "False-positive rate, by the presence alone",
    ),
    ("presence_recall", ("annotated", "visible"), "Found where it is, by the presence alone"),
    ("cgf1", ("known", "truth"), "cgF1"),
    ("dice", ("annotated", "truth"), "Dice of a named segment"),
)
_QCA = (("mld_mm", "MLD, mm"), ("rvd_mm", "RVD, mm"), ("stenosis_pct", "%DS, points"))
_AGREEMENT = (
    ("bias", "bias"),
    ("sd", "SD"),
    ("mae", "mean absolute error"),
    ("icc", "ICC(A,1)"),
    ("kappa50", "κ of 50 % or more"),
    ("kappa70", "κ of 70 % or more"),
)

#: %DS of frames on which the expert found no lesion.
_FREE = (
    ("mean", "%DS measured where there is no lesion, mean"),
    ("rate20", "Measured at 20 % or more where there is no lesion"),
    ("rate50", "Measured at 50 % or more where there is no lesion"),
)
_POINTING = (
    ("lesion_iou", "median", "IoU with the expert's lesion, median"),
    ("lesion_iou", "mean", "IoU with the expert's lesion"),
    ("lesion_share", "mean", "Part of the pixels in its segment that are the lesion's"),
)
_MASKS = {
    "prompt": "the answer to the lesion's prompt",
    "segment": "the answer to the segment's phrase",
    "annotated": "the expert's whole segment",
    "middle": "the middle third of that segment",
    "prompt_less_segment": "the lesion's prompt less the segment's phrase, paired",
    "prompt_less_annotated": "the lesion's prompt less the whole segment, paired",
    "prompt_less_middle": "the lesion's prompt less the middle third, paired",
}

_WAYS = {"prompt": "the prompt", "qca": "QCA"}

_TITLES = {
    "phase1": "Phase 1: vessel tree",
    "baseline": "Baseline: U-Net on the same frames",
    "phase2": "Phase 2: segments by name",
    "phase4": "Phase 4: diameters and lesions from the predicted segment",
}


def read_documents(metrics: Path) -> dict[str, dict[str, Any]]:
    """Return the documents of ``metrics/`` that are there, by name."""
    return {
        name: json.loads((metrics / f"{name}.json").read_text(encoding="utf-8"))
        for name in DOCUMENTS
        if (metrics / f"{name}.json").is_file()
    }


def result_rows(documents: Mapping[str, Mapping[str, Any]]) -> tuple[RowGroup, ...]:
    """Return the result table, a group a document."""
    groups = []
    for name, title in _TITLES.items():
        if name in documents:
            rows = tuple(_row(name, *place) for place in _figures(name, documents[name]))
            groups.append(RowGroup(title=title, rows=rows))
    return tuple(groups)


def arm_rows(document: Mapping[str, Any]) -> tuple[ArmRow, ...]:
    """Return the table of Phase 3, an arm a row."""
    return tuple(_arm_row(document, arm) for arm in document["arms"])


def _arm_row(document: Mapping[str, Any], arm: str) -> ArmRow:
    figures = document["arms"][arm]
    difference = document["difference"].get(arm, {}).get("none")
    named = difference["top1"]["annotated"] if difference else None
    return ArmRow(
        arm=arm,
        figures=tuple(_figure_text(figures[key].get(side)) for key, side, _ in ARM_FIGURES),
        difference=_figure_text(named) if named else "",
        holm_p=f"{document['mcnemar'][arm]['none']['holm_p']:.3f}" if named else "",
        limits=(
            (_limit_text(named.get("declarable")), _limit_text(named.get("detectable")))
            if named
            else ("", "")
        ),
    )


def _limit_text(difference: float | None) -> str:
    return "–" if difference is None else f"{difference:.3f}"


def _figure_text(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return "–"
    interval = interval_text(figure)
    return f"{value_text(figure)} ({interval})" if interval else value_text(figure)


def interval_text(figure: Mapping[str, Any]) -> str:
    """Return a figure's interval for people; empty where it has none."""
    return "" if figure["low"] is None else f"{figure['low']:.3f} to {figure['high']:.3f}"


def value_text(figure: Mapping[str, Any]) -> str:
    """Return a figure's value for people; a dash where it is undefined."""
    return "–" if figure["mean"] is None else f"{figure['mean']:.3f}"


#: Key among the references, title, what it is against, and the figure.
_Found = tuple[str, str, str, Mapping[str, Any]]


def _figures(name: str, document: Mapping[str, Any]) -> Iterator[_Found]:
    if name in ("phase1", "baseline"):
        for key, title in _TREE:
            for against, figure in document.get(key, {}).items():
                yield f"{key}.{against}", title, against, figure
        for key, title in _TREE:
            for against, figure in document.get("phase1_less_baseline", {}).get(key, {}).items():
                yield (
                    f"difference.{key}.{against}",
                    f"Phase 1 less U-Net, paired: {title}",
                    against,
                    figure,
                )
    elif name == "phase2":
        for key, sides, title in _NAMES:
            for against in sides:
                if against in document.get(key, {}):
                    yield f"{key}.{against}", title, against, document[key][against]
    else:
        yield from _qca_figures(document)
        yield from _lesion_figures(document)


def _qca_figures(document: Mapping[str, Any]) -> Iterator[_Found]:
    for quantity, title in _QCA:
        for against, figures in document.get(quantity, {}).items():
            for key, word in _AGREEMENT:
                if key in figures:
                    yield f"{quantity}.{key}", f"{title}: {word}", against, figures[key]
    false = document.get("false_stenosis_pct", {})
    for origin in ("from_prediction", "from_truth_mask"):
        for key, title in _FREE if origin in false else ():
            yield f"false_stenosis_pct.{key}", title, origin, false[origin][key]


def _lesion_figures(document: Mapping[str, Any]) -> Iterator[_Found]:
    for way, sides in document.get("lesions", {}).items():
        for against, figures in sides.items():
            for key, word in (("sensitivity", "sensitivity"), ("false_per_frame", "false a frame")):
                yield f"lesions.{key}", f"Lesions by {_WAYS[way]}: {word}", against, figures[key]
    for quantity, name, title in _POINTING:
        for mask, figures in document.get(quantity, {}).items():
            if name in figures:
                yield f"{quantity}.{name}", f"{title}: {_MASKS[mask]}", "expert", figures[name]


def _row(document: str, key: str, title: str, against: str, figure: Mapping[str, Any]) -> Row:
    reference, source = _references().get((document, key), ("", ""))
    return Row(
        title=title,
        against=_AGAINST.get(against, against),
        value=value_text(figure),
        interval=interval_text(figure),
        n=str(figure["n"]),
        reference=reference,
        source=source,
    )


@cache
def _references() -> dict[tuple[str, str], tuple[str, str]]:
    folder = resources.files("sam3_angio.report").joinpath("templates")
    text = folder.joinpath("reference_numbers.csv").read_text(encoding="utf-8")
    return {
        (row["document"], row["figure"]): (f"{row['value']}, {row['what']}", row["source"])
        for row in csv.DictReader(text.splitlines())
    }
