"""Scores of Phase 4: diameters, stenoses and lesions on the validation frames.

Agreement is scored on the frames with a lesion, by what was measured
(:mod:`sam3_angio.scoring.qca_frames`) and by what it is compared with: ``truth`` or ``expert``. On
the frames without one, the %DS that is found is false. Lesions are found in two ways: by the
``prompt`` (centres of the masks that answer it) and by ``qca`` (narrowings in the predicted
segment). Whether the prompt's masks point at the expert's lesions is held against masks that know
of none (:mod:`sam3_angio.scoring.lesion_masks`).

Where the prompt names the segment, the expert's lesion is looked for in the answer about the
analysed segment alone, and the truth's in those about all segments.

Conventions
-----------
Agreement is also scored on those frames alone whose predicted mask is of the right segment, with a
Dice of :data:`RIGHT_DICE` to the annotated one: what the measuring is worth apart from the naming.

A lesion of QCA has its %DS as score, as a fraction. References of lesion detection: the expert's
lesion of the analysed segment (``expert``), and every visible lesion of the truth (``truth``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from sam3_angio.coco import ImageEntry, Rle, decode_mask, load_document
from sam3_angio.lesion_labels import Measured, asks_for_lesions, segment_of
from sam3_angio.scoring.agreement import SEVERITY_PCT, agreement_figures, severity_kappa
from sam3_angio.scoring.answers import SegmentRule, answer_mask, mask_ious
from sam3_angio.scoring.course import Course
from sam3_angio.scoring.lesion_masks import PointedLesion, pointed_lesions, pointing_figures
from sam3_angio.scoring.lesions import (
    FoundLesion,
    Hits,
    LesionFrame,
    Point,
    ReferenceLesion,
    detection_figures,
    match_lesions,
)
from sam3_angio.scoring.predictions import Query, read_predictions
from sam3_angio.scoring.qca_frames import (
    MIN_LESION_PCT,
    QUANTITIES,
    Figures,
    Finding,
    MeasuredSegment,
    Origin,
    Segment,
    course_of,
    deep_lesions,
    expert_figures,
    figures_of,
    measure_segments,
    read_expert,
    spacing_of,
    true_figures,
    true_masks,
)
from sam3_angio.scoring.statistics import (
    Estimate,
    Resampling,
    WeightedFigure,
    estimate_figure,
    weighted_mean,
)
from sam3_angio.scoring.true_lesions import TrueDiameters, read_true_lesions

Against = Literal["truth", "expert"]
Way = Literal["prompt", "qca"]

#: What is measured, first what the model is judged by.
ORIGINS: tuple[Origin, ...] = get_args(Origin)

#: Dice with the annotated segment from which on a mask is of the right segment, and the origin
#: under which what was measured on such masks is scored.
RIGHT_DICE, RIGHT = 0.6, "right_segment"

#: Quantity or kind of figure, origin or way, reference, name.
Key = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class QcaFrame:
    """One frame with all that was measured, said and found.

    Attributes
    ----------
    image : ImageEntry
    finding : {"lesion", "free", "unknown"}
        The expert's.
    mask_dice : float
        Of the predicted mask with the annotated segment; NaN without one.
    measured : MeasuredSegment
    course : Course or None
        The line that places are given along; None where none is known.
    references : dict of str to Figures
        By reference.
    hits : dict of (way, reference) to Hits
        For the frames of which it is known whether there is a lesion.
    pointed : PointedLesion or None
        Where the expert outlined a lesion of the segment and the prompt asked for it.
    """

    image: ImageEntry
    finding: Finding
    mask_dice: float
    measured: MeasuredSegment
    course: Course | None
    references: dict[Against, Figures]
    hits: dict[tuple[Way, Against], Hits]
    pointed: PointedLesion | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase4Inputs:
    """Folders that are scored.

    Attributes
    ----------
    dataset, truth, predictions, contours : Path
        ``dataset``, ``data/truth``, ``predictions/phase4`` and ``data/labels/contours``.
    """

    dataset: Path
    truth: Path
    predictions: Path
    contours: Path


def score_phase4(inputs: Phase4Inputs, rule: SegmentRule, workers: int = 0) -> tuple[QcaFrame, ...]:
    """Measure and score every validation frame with an analysed segment.

    Parameters
    ----------
    inputs : Phase4Inputs
    rule : {"best", "semantic"}
        What makes one mask of an answer.
    workers : int
        Processes; 0 for one a core, 1 for none.

    Returns
    -------
    tuple of QcaFrame
        Sorted by frame.

    Raises
    ------
    DataError
        A file is not valid.
    """
    labels = load_document(inputs.dataset / "val" / "segments" / "annotations.json")
    answers = {
        (query.frame_id, query.category_id): query
        for query in read_predictions(inputs.predictions)
        if query.category_id
    }
    said: dict[str, list[Query]] = {}
    for (frame_id, category_id), query in answers.items():
        if asks_for_lesions(category_id):
            said.setdefault(frame_id, []).append(query)
    frame_ids = {image.id: image.frame_id for image in labels.images}
    masks = _Masks(
        annotated={
            (frame_ids[mark.image_id], mark.category_id): mark.segmentation
            for mark in labels.annotations
        },
        predicted={place: answer_mask(query, rule) for place, query in answers.items()},
        true=true_masks(inputs.truth),
    )
    images = sorted(labels.images, key=lambda image: image.frame_id)
    jobs = [_segment(image, inputs, masks) for image in images]
    expert, truth = read_expert(inputs.dataset), read_true_lesions(inputs.truth)
    frames = (
        _frame(job, measured, expert.get(job.image.frame_id), truth, said.get(job.image.frame_id))
        for job, measured in zip(jobs, measure_segments(jobs, workers), strict=True)
    )
    outlined = load_document(inputs.dataset / "val" / "lesions" / "annotations.json")
    pointed = pointed_lesions(outlined, labels, answers)
    return tuple(replace(frame, pointed=pointed.get(frame.image.frame_id)) for frame in frames)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Masks:
    """Masks of segments by frame and CASS number."""

    annotated: Mapping[tuple[str, int], Rle]
    predicted: Mapping[tuple[str, int], Rle | None]
    true: Mapping[tuple[str, int], Rle]


def _segment(image: ImageEntry, inputs: Phase4Inputs, masks: _Masks) -> Segment:
    place = (image.frame_id, image.cass_segment)
    contour = inputs.contours / f"{image.frame_id}.json"
    return Segment(
        image=image,
        picture=inputs.dataset / "val" / "images" / image.file_name,
        annotated=masks.annotated.get(place),
        predicted=masks.predicted.get(place),
        true=masks.true.get(place),
        contour=contour if contour.is_file() else None,
    )


def _dice(predicted: Rle | None, annotated: Rle | None) -> float:
    if annotated is None:
        return math.nan
    iou = float(mask_ious([predicted], annotated)[0])
    return 2 * iou / (1 + iou)


def _frame(
    job: Segment,
    measured: MeasuredSegment,
    expert: Measured | None,
    truth: TrueDiameters | None,
    asked: Sequence[Query] | None,
) -> QcaFrame:
    image, course = job.image, course_of(job, truth)
    references: dict[Against, Figures] = {}
    lesions: dict[Against, tuple[ReferenceLesion, ...]] = {}
    finding: Finding = "unknown" if expert is None else expert.finding
    if expert is not None:
        references["expert"] = expert_figures(expert, course)
        if finding != "unknown":
            lesions["expert"] = _expert_lesions(expert)
    if truth is not None:
        true = true_figures(truth, image.frame_id, image.cass_segment, course)
        if true is not None:
            references["truth"] = true
            lesions["truth"] = _true_lesions(truth, image.frame_id)
    by_qca = _by_qca(measured)
    hits: dict[tuple[Way, Against], Hits] = {}
    for against, there in lesions.items():
        hits["qca", against] = _hits(image, there, by_qca)
        if asked is not None:
            hits["prompt", against] = _hits(image, there, _by_prompt(image, asked, against))
    return QcaFrame(
        image=image,
        finding=finding,
        mask_dice=_dice(job.predicted, job.annotated),
        measured=measured,
        course=course,
        references=references,
        hits=hits,
    )


def _hits(
    image: ImageEntry, there: tuple[ReferenceLesion, ...], said: tuple[FoundLesion, ...]
) -> Hits:
    """Match in millimetres; where the spacing is unknown, a pixel counts as a quarter of one."""
    spacing = spacing_of(image)
    known = math.isfinite(spacing.row_mm) and math.isfinite(spacing.column_mm)
    scale_mm = (spacing.column_mm, spacing.row_mm) if known else (0.25, 0.25)
    frame = LesionFrame(
        frame_id=image.frame_id,
        patient=image.patient,
        scale_mm=scale_mm,
        reference=there,
        found=said,
    )
    return match_lesions(frame)


def _expert_lesions(expert: Measured) -> tuple[ReferenceLesion, ...]:
    if expert.finding != "lesion":
        return ()
    start, end = expert.extent_px
    narrowest = (expert.mld_x_px, expert.mld_y_px)
    known = not any(map(math.isnan, narrowest))
    line: tuple[Point, ...] = (start, narrowest, end) if known else (start, end)
    return (ReferenceLesion(line_px=line, rvd_mm=expert.rvd_mm),)


def _true_lesions(truth: TrueDiameters, frame_id: str) -> tuple[ReferenceLesion, ...]:
    return tuple(
        ReferenceLesion(line_px=lesion.line_px, rvd_mm=lesion.rvd_mm)
        for lesion in deep_lesions(truth, frame_id)
    )


def _by_qca(measured: MeasuredSegment) -> tuple[FoundLesion, ...]:
    result = measured.results.get("prediction")
    if result is None:
        return ()
    return tuple(
        FoundLesion(
            centre_px=lesion.mld_px, score=min(max(lesion.diameter_stenosis_pct / 100, 0.0), 1.0)
        )
        for lesion in result.lesions
    )


def _by_prompt(
    image: ImageEntry, asked: Sequence[Query], against: Against
) -> tuple[FoundLesion, ...]:
    """Return the centres of the masks: of their pixels, the one nearest to the centroid."""
    about = (None, image.cass_segment)
    instances = (
        instance
        for query in asked
        if against == "truth" or segment_of(query.category_id) in about
        for instance in query.instances
    )
    found = []
    for instance in instances:
        pixels = np.argwhere(decode_mask(instance.mask))
        if len(pixels):
            away = ((pixels - pixels.mean(axis=0)) ** 2).sum(axis=1)
            y, x = pixels[int(away.argmin())]
            found.append(FoundLesion(centre_px=(float(x), float(y)), score=instance.score))
    return tuple(found)


def phase4_figures(frames: Sequence[QcaFrame], threshold: float) -> dict[Key, WeightedFigure]:
    """Return every figure as a function of patients' weights.

    Parameters
    ----------
    frames : sequence of QcaFrame
    threshold : float
        Score from which on the prompt's lesion counts; a lesion of QCA counts from
        :data:`~sam3_angio.scoring.qca_frames.MIN_LESION_PCT` on.
    """
    figures: dict[Key, WeightedFigure] = {}
    for origin in ORIGINS:
        for against in _references():
            figures |= _agreement(frames, origin, against)
        figures |= _false_stenosis(frames, origin)
    right = [frame for frame in frames if frame.mask_dice >= RIGHT_DICE]
    for against in _references():
        named = _agreement(right, "prediction", against)
        figures |= {(key[0], RIGHT, *key[2:]): figure for key, figure in named.items()}
    least = {"prompt": threshold, "qca": MIN_LESION_PCT / 100}
    for way in _ways():
        for against in _references():
            own = [frame for frame in frames if (way, against) in frame.hits]
            if own:
                hits = [frame.hits[way, against] for frame in own]
                patients = [frame.image.patient for frame in own]
                detected = detection_figures(hits, patients, least[way])
                figures |= {("lesions", way, against, name): of for name, of in detected.items()}
    pointed = [frame.pointed for frame in frames if frame.pointed is not None]
    if pointed:
        figures |= {
            (f"lesion_{quantity}", name, "expert", figure): of
            for (quantity, name, figure), of in pointing_figures(pointed).items()
        }
    return figures


def _references() -> tuple[Against, ...]:
    return ("truth", "expert")


def _ways() -> tuple[Way, ...]:
    return ("prompt", "qca")


def pairs(
    frames: Sequence[QcaFrame], origin: Origin, against: Against
) -> list[tuple[QcaFrame, Figures | None, Figures]]:
    """Return the frames with a lesion that an origin has, what it gave, and the reference."""
    return [
        (
            frame,
            figures_of(frame.measured.results[origin], frame.course)
            if origin in frame.measured.results
            else None,
            frame.references[against],
        )
        for frame in frames
        if frame.finding == "lesion"
        and against in frame.references
        and origin in {*frame.measured.results, *frame.measured.refused}
    ]


def _agreement(
    frames: Sequence[QcaFrame], origin: Origin, against: Against
) -> dict[Key, WeightedFigure]:
    table = pairs(frames, origin, against)
    if not table:
        return {}
    patients = [frame.image.patient for frame, *_ in table]
    figures: dict[Key, WeightedFigure] = {}
    for quantity in QUANTITIES:
        measured, reference = _columns(table, quantity)
        named = agreement_figures(measured, reference, patients)
        if quantity == "stenosis_pct":
            for limit in SEVERITY_PCT:
                kappa = severity_kappa(measured, reference, patients, limit)
                named[f"kappa{limit:.0f}"] = kappa
        figures |= {(quantity, origin, against, name): of for name, of in named.items()}
    return figures


def _columns(
    table: Sequence[tuple[QcaFrame, Figures | None, Figures]], quantity: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    measured = [math.nan if own is None else getattr(own, quantity) for _, own, _ in table]
    reference = [getattr(there, quantity) for *_, there in table]
    return np.array(measured, dtype=np.float64), np.array(reference, dtype=np.float64)


def _false_stenosis(frames: Sequence[QcaFrame], origin: Origin) -> dict[Key, WeightedFigure]:
    own = [
        frame for frame in frames if frame.finding == "free" and origin in frame.measured.results
    ]
    if not own:
        return {}
    found = np.array([frame.measured.results[origin].diameter_stenosis_pct for frame in own])
    patients = [frame.image.patient for frame in own]
    values = {
        "mean": found,
        "rate20": (found >= MIN_LESION_PCT).astype(np.float64),
        "rate50": (found >= SEVERITY_PCT[0]).astype(np.float64),
    }
    return {
        ("false_stenosis_pct", origin, "free", name): weighted_mean(column, patients)
        for name, column in values.items()
    }


def estimate_phase4(
    figures: Mapping[Key, WeightedFigure], resampling: Resampling
) -> dict[Key, Estimate]:
    """Return every figure with its interval by patient."""
    return {key: estimate_figure(of, resampling) for key, of in figures.items()}
