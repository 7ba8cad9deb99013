"""Whether the prompt for a lesion points at it, and whether it points better than its name alone.

"Proximal LAD stenosis" names a segment, so that a mask of that segment already covers its lesion in
part. What the prompt knows of the lesion is what it is better by than two controls that know of
none: the mask that answers the segment's own phrase, and the middle of the annotated segment, where
lesions lie more often than at its ends.

Conventions
-----------
Masks of answers are the best-scored instances, whatever their score, of one head; no answer is an
empty mask. ``iou`` is that with the expert's lesion. ``share`` is the part of a mask's pixels
within the annotated segment that are the lesion's: it asks where along the right vessel, whatever
is drawn elsewhere, and is NaN where nothing is drawn within. The middle is the third of the
segment's pixels that lies midmost in its longest direction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sam3_angio.coco import Document, Rle, decode_mask
from sam3_angio.lesion_labels import LESION_CATEGORY
from sam3_angio.scoring.answers import answer_mask
from sam3_angio.scoring.masks import BoolArray
from sam3_angio.scoring.predictions import Query
from sam3_angio.scoring.statistics import WeightedFigure, weighted_mean, weighted_median

#: What is held against the lesion: the prompt's answer, and what knows of no lesion.
PROMPT = "prompt"
CONTROLS = {"iou": ("segment", "annotated"), "share": ("segment", "annotated", "middle")}

_MIDDLE = 1 / 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PointedLesion:
    """What is drawn against one lesion of the expert.

    Attributes
    ----------
    patient : str
    iou, share : mapping of str to float
        Of the prompt's answer and of the controls.
    """

    patient: str
    iou: Mapping[str, float]
    share: Mapping[str, float]


def pointed_lesions(
    lesions: Document, segments: Document, answers: Mapping[tuple[str, int], Query]
) -> dict[str, PointedLesion]:
    """Hold the answers against every lesion that the expert outlined and the prompt asked for.

    Parameters
    ----------
    lesions, segments : Document
        The expert's, of one partition.
    answers : mapping
        By frame and category.

    Returns
    -------
    dict of str to PointedLesion
        By frame.
    """
    frame_ids = {image.id: image.frame_id for image in segments.images}
    wholes = {
        (frame_ids[mark.image_id], mark.category_id): mark.segmentation
        for mark in segments.annotations
    }
    images = {image.id: image for image in lesions.images}
    found = {}
    for mark in lesions.annotations:
        image = images[mark.image_id]
        place = (image.frame_id, image.cass_segment)
        of_frame = answers.get((image.frame_id, LESION_CATEGORY.id))
        prompt = answers.get((image.frame_id, LESION_CATEGORY.id + image.cass_segment), of_frame)
        if prompt is not None and place in wholes:
            found[image.frame_id] = point(
                image.patient, mark.segmentation, wholes[place], prompt, answers.get(place)
            )
    return found


def point(
    patient: str, lesion: Rle, annotated: Rle, prompt: Query, segment: Query | None
) -> PointedLesion:
    """Hold the answers about one frame against its lesion.

    Parameters
    ----------
    patient : str
    lesion, annotated : Rle
        The expert's lesion and segment.
    prompt, segment : Query
        Answers to the lesion's phrase and to the segment's; None where that was not asked.
    """
    target, whole = decode_mask(lesion), decode_mask(annotated)
    drawn = {
        PROMPT: _best(prompt, target.shape),
        "segment": _best(segment, target.shape),
        "annotated": whole,
    }
    within = drawn | {"middle": middle_third(whole)}
    return PointedLesion(
        patient=patient,
        iou={name: _part(mask & target, mask | target) for name, mask in drawn.items()},
        share={name: _part(mask & whole & target, mask & whole) for name, mask in within.items()},
    )


def middle_third(segment: BoolArray) -> BoolArray:
    """Return the third of a mask's pixels that lies midmost in its longest direction, (M, N)."""
    middle = np.zeros_like(segment)
    pixels = np.argwhere(segment)
    if len(pixels):
        away = pixels - pixels.mean(axis=0)
        along = away @ np.linalg.eigh(away.T @ away)[1][:, -1]
        low, high = np.quantile(along, [(1 - _MIDDLE) / 2, (1 + _MIDDLE) / 2])
        middle[tuple(pixels[(along >= low) & (along <= high)].T)] = True
    return middle


def pointing_figures(
    lesions: Sequence[PointedLesion],
) -> dict[tuple[str, str, str], WeightedFigure]:
    """Return mean and median of each mask's figure, and the prompt's less that of each control.

    Parameters
    ----------
    lesions : sequence of PointedLesion

    Returns
    -------
    dict
        By ``iou`` or ``share``, whose mask (``prompt``, ``segment``, ``prompt_less_segment``, …),
        and ``mean`` or ``median``; differences are paired by lesion and have a mean alone.
    """
    patients = [lesion.patient for lesion in lesions]
    figures: dict[tuple[str, str, str], WeightedFigure] = {}
    for quantity, controls in CONTROLS.items():
        columns = {
            name: np.array([getattr(lesion, quantity)[name] for lesion in lesions])
            for name in (PROMPT, *controls)
        }
        for name, values in columns.items():
            figures[quantity, name, "mean"] = weighted_mean(values, patients)
            figures[quantity, name, "median"] = weighted_median(values, patients)
        for name in controls:
            difference = columns[PROMPT] - columns[name]
            figures[quantity, f"{PROMPT}_less_{name}", "mean"] = weighted_mean(difference, patients)
    return figures


def _best(answer: Query | None, shape: tuple[int, ...]) -> BoolArray:
    mask = answer_mask(answer, "best") if answer is not None else None
    return np.zeros(shape, dtype=bool) if mask is None else decode_mask(mask)


def _part(part: BoolArray, whole: BoolArray) -> float:
    size = int(whole.sum())
    return int(part.sum()) / size if size else math.nan
