"""Diameters, stenoses and lesions as files: ``metrics/phase4.json``, tables and data of plots.

Conventions
-----------
The prediction's keys run from the quantity to what it is compared with: ``mld_mm.truth.bias.mean``,
``stenosis_pct.expert.sd.mean``; the same from other origins, and from predicted masks of the right
segment alone, stand below their name: ``from_truth_mask.mld_mm.truth.bias.mean``,
``from_right_segment.…``. ``lesions.{prompt,qca}.{truth,expert}`` holds detection,
``lesion_{iou,share}.{prompt,segment,annotated,middle}`` how well the prompt's masks point at the
expert's lesion beside masks that know of none, and ``prompt_less_{segment,…}`` the paired
differences; ``false_stenosis_pct`` what is found on frames without a lesion, ``refused`` and
``measured`` the frames by origin. Values as in :mod:`sam3_angio.report.figures`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sam3_angio.files import write_json
from sam3_angio.report.figures import DIGITS, ESTIMATE_COLUMNS, Table, estimate_cells, figures
from sam3_angio.scoring.lesions import froc_curve
from sam3_angio.scoring.phase4 import (
    ORIGINS,
    RIGHT_DICE,
    Against,
    Key,
    QcaFrame,
    Way,
    estimate_phase4,
    pairs,
    phase4_figures,
)
from sam3_angio.scoring.qca_frames import QUANTITIES, Figures, figures_of
from sam3_angio.scoring.statistics import Estimate, Resampling
from sam3_angio.table import write_table

REFERENCES: tuple[Against, ...] = ("truth", "expert")
WAYS: tuple[Way, ...] = ("prompt", "qca")

#: Quantities of the prompt's masks, against the expert's lesion.
POINTING = ("lesion_iou", "lesion_share")

#: Quantities whose differences are drawn against their means.
DRAWN = ("mld_mm", "rvd_mm", "stenosis_pct")


def write_phase4(
    folder: Path, frames: Sequence[QcaFrame], threshold: float, resampling: Resampling
) -> dict[str, Any]:
    """Write ``phase4.json``, ``phase4_{frames,groups}.csv`` and ``phase4_plots/``.

    Parameters
    ----------
    folder : Path
        ``metrics``.
    frames : sequence of QcaFrame
    threshold : float
        Score from which on a lesion of the prompt counts.
    resampling : Resampling

    Returns
    -------
    dict
        The content of ``phase4.json``.
    """
    estimates = estimate_phase4(phase4_figures(frames, threshold), resampling)
    document = phase4_document(frames, estimates) | {
        "confidence": resampling.confidence,
        "score_threshold": threshold,
    }
    write_json(folder / "phase4.json", document)
    write_table(folder / "phase4_frames.csv", *frame_table(frames))
    write_table(folder / "phase4_groups.csv", *figure_table(estimates))
    for name, table in all_plots(frames).items():
        write_table(folder / "phase4_plots" / f"{name}.csv", *table)
    return document


def phase4_document(
    frames: Sequence[QcaFrame], estimates: Mapping[Key, Estimate]
) -> dict[str, Any]:
    """Return the figures, those from predictions first; NaN becomes None."""
    document: dict[str, Any] = {}
    for (quantity, origin, against, name), estimate in estimates.items():
        place: tuple[str, ...] = (quantity, against, name)
        if quantity == "lesions":
            place = (quantity, origin, against, name)
        elif quantity in POINTING:
            place = (quantity, origin, name)
        elif quantity == "false_stenosis_pct":
            place = (quantity, f"from_{origin}", name)
        elif origin != "prediction":
            place = (f"from_{origin}", *place)
        _put(document, place, figures(estimate))
    document["measured"] = {
        f"from_{origin}": sum(origin in frame.measured.results for frame in frames)
        for origin in ORIGINS
    }
    document["refused"] = {
        f"from_{origin}": sum(origin in frame.measured.refused for frame in frames)
        for origin in ORIGINS
    }
    document["count"] = {
        "frames": len(frames),
        "patients": len({frame.image.patient for frame in frames}),
        "right_segment": sum(frame.mask_dice >= RIGHT_DICE for frame in frames),
        "lesion": sum(frame.finding == "lesion" for frame in frames),
        "free": sum(frame.finding == "free" for frame in frames),
        "unknown": sum(frame.finding == "unknown" for frame in frames),
    }
    return document


def _put(document: dict[str, Any], place: tuple[str, ...], value: object) -> None:
    for name in place[:-1]:
        document = document.setdefault(name, {})
    document[place[-1]] = value


def frame_table(frames: Sequence[QcaFrame]) -> Table:
    """Return header and rows of ``phase4_frames.csv``: a row a frame and origin."""
    references = tuple(f"{quantity}_{against}" for against in REFERENCES for quantity in QUANTITIES)
    header = (
        *("frame_id", "patient", "segment", "finding", "mask_dice", "origin"),
        *QUANTITIES,
        *references,
    )
    rows: list[tuple[str | float, ...]] = [
        (
            *(frame.image.frame_id, frame.image.patient, frame.image.cass_segment, frame.finding),
            round(frame.mask_dice, DIGITS),
            origin,
            *_cells(
                figures_of(frame.measured.results[origin], frame.course)
                if origin in frame.measured.results
                else None
            ),
            *(cell for against in REFERENCES for cell in _cells(frame.references.get(against))),
            frame.measured.refused.get(origin, ""),
        )
        for frame in frames
        for origin in ORIGINS
        if origin in {*frame.measured.results, *frame.measured.refused}
    ]
    return (*header, "refused"), rows


def _cells(of: Figures | None) -> tuple[float, ...]:
    return tuple(
        math.nan if of is None else round(getattr(of, quantity), DIGITS) for quantity in QUANTITIES
    )


def figure_table(estimates: Mapping[Key, Estimate]) -> Table:
    """Return header and rows of ``phase4_groups.csv``: a row a figure."""
    rows: list[tuple[str | float, ...]] = [
        (*key, *estimate_cells(estimate)) for key, estimate in estimates.items()
    ]
    return ("quantity", "origin", "against", "figure", *ESTIMATE_COLUMNS), rows


def all_plots(frames: Sequence[QcaFrame]) -> dict[str, Table]:
    """Return the data of ``dvc plots`` by the name of its file."""
    plots = {f"bland_altman_{quantity}": _bland_altman(frames, quantity) for quantity in DRAWN}
    return plots | {"froc": _froc(frames)}


def _bland_altman(frames: Sequence[QcaFrame], quantity: str) -> Table:
    """Return mean and difference of every pair from predictions."""
    rows: list[tuple[str | float, ...]] = []
    for against in REFERENCES:
        for frame, own, there in pairs(frames, "prediction", against):
            if own is None:
                continue
            measured, reference = getattr(own, quantity), getattr(there, quantity)
            if math.isnan(measured) or math.isnan(reference):
                continue
            mean, difference = (measured + reference) / 2, measured - reference
            rows.append(
                (frame.image.frame_id, against, round(mean, DIGITS), round(difference, DIGITS))
            )
    return ("frame_id", "against", "mean", "difference"), rows


def _froc(frames: Sequence[QcaFrame]) -> Table:
    rows: list[tuple[str | float, ...]] = []
    for way in WAYS:
        for against in REFERENCES:
            hits = [frame.hits[way, against] for frame in frames if (way, against) in frame.hits]
            if hits:
                rows += [
                    (f"{way} against {against}", *(round(float(value), DIGITS) for value in point))
                    for point in zip(*froc_curve(hits), strict=True)
                ]
    return ("curve", "threshold", "false_per_frame", "sensitivity"), rows
