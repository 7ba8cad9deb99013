"""The scores of every answer: does the mask of a phrase cover the segment that it should.

Two rules make one mask of an answer; ``evaluate.segment_from`` names the one that is used:

- ``best``: the best-scored instance, whatever its score;
- ``semantic``: the semantic head's mask.

Conventions
-----------
Presence is scored by itself (:mod:`sam3_angio.scoring.presence`) and empties no mask here: the
scores of a mask say how well a segment is drawn when its phrase is asked. An answer without a
mask has an IoU of 0. IoU comes from run-length codes by ``pycocotools``, Dice and distances from
the masks (:mod:`sam3_angio.scoring.masks`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import Literal

import numpy as np
from pycocotools import mask as coco_mask

from sam3_angio.children import end_with_parent
from sam3_angio.coco import Rle, decode_mask
from sam3_angio.errors import ConfigError, Fault
from sam3_angio.progress import tracked
from sam3_angio.scoring.masks import BoolArray, FloatArray, MaskScores, compare, measure
from sam3_angio.scoring.predictions import Query
from sam3_angio.scoring.segments import NO_CATEGORY, SegmentFrame, Standing, standing

SegmentRule = Literal["best", "semantic"]

#: What the mask of the annotated segment is compared with.
Against = Literal["annotated", "truth"]

_LABEL = "Scoring segments"

#: Frames that a worker takes at a time, and from how many frames on workers are worth their start.
_CHUNK, _MANY = 8, 400


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerScores:
    """One phrase asked of one frame.

    Attributes
    ----------
    phrase : str
        Plain, as in the anatomy table or in ``prompts.wrong``.
    category : int
        CASS number; 0 for a phrase that names nothing.
    standing : str
        What the phrase is to the frame.
    presence : float
        Predicted probability that it is in the picture.
    score : float
        Of the best instance; 0 without one.
    agreement : float
        IoU of the best instance with the semantic head's mask; 0 where one is empty, NaN where the
        model has no such head.
    iou_annotated : float
        IoU of the mask with the annotated segment, whatever the phrase.
    iou_truth : float
        IoU of the mask with the true mask of what the phrase names; NaN where it is not in the
        picture or the truth is unknown.
    """

    phrase: str
    category: int
    standing: Standing
    presence: float
    score: float
    agreement: float
    iou_annotated: float
    iou_truth: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameScores:
    """Scores of one frame.

    Attributes
    ----------
    frame : SegmentFrame
        The frame.
    answers : tuple of AnswerScores
        In the order of the frame's answers: analysed segments first, by CASS number.
    masks : mapping
        Scores of the annotated segment's mask, asked by its own phrase, by what it is compared
        with.
    """

    frame: SegmentFrame
    answers: tuple[AnswerScores, ...]
    masks: Mapping[Against, MaskScores]

    @property
    def segments(self) -> tuple[AnswerScores, ...]:
        """Return the answers to the analysed segments, by CASS number."""
        return tuple(answer for answer in self.answers if answer.category != NO_CATEGORY)


def answer_mask(query: Query, rule: SegmentRule) -> Rle | None:
    """Make one mask of an answer by one of the module's rules; None where it has none."""
    if rule == "semantic":
        return query.semantic
    return query.instances[0].mask if query.instances else None


def mask_ious(masks: Sequence[Rle | None], reference: Rle) -> FloatArray:
    """Return the IoU of each mask with a reference; 0 for no mask and for two empty ones.

    Parameters
    ----------
    masks : (N,) sequence of Rle or None
    reference : Rle

    Returns
    -------
    (N,) ndarray
    """
    ious = np.zeros(len(masks))
    given = [place for place, mask in enumerate(masks) if mask is not None]
    codes = [_code(mask) for mask in masks if mask is not None]
    if codes:
        ious[given] = coco_mask.iou(codes, [_code(reference)], [0])[:, 0]
    return ious


@dataclass(frozen=True, slots=True, kw_only=True)
class SaidRule:
    """When a phrase is said to be in the picture.

    Attributes
    ----------
    presence : float
        From this presence on.
    agreement : float
        And from this agreement of the heads on, where both of them draw; 0 for any. What is not
        there they draw in different places, even where the presence is sure.
    """

    presence: float
    agreement: float

    def holds(self, presence: FloatArray, agreement: FloatArray) -> BoolArray:
        """Tell which phrases are said to be there.

        Parameters
        ----------
        presence, agreement : (N,) ndarray
            NaN where one head alone draws.

        Examples
        --------
        >>> SaidRule(presence=0.5, agreement=0.4).holds(
        ...     np.array([0.4, 0.9, 0.9, 0.9]), np.array([1, 0.3, 0.5, np.nan])
        ... )
        array([False, False,  True,  True])
        """
        return (presence >= self.presence) & ~(agreement < self.agreement)


def heads_agreement(query: Query) -> float:
    """Return how far the two heads that draw a phrase draw the same; see :class:`AnswerScores`."""
    if query.semantic is None:
        return math.nan
    return float(mask_ious([answer_mask(query, "best")], query.semantic)[0])


def score_frame(
    frame: SegmentFrame, rule: SegmentRule
) -> tuple[tuple[AnswerScores, ...], dict[Against, MaskScores]]:
    """Score the answers of one frame, and the mask of its annotated segment."""
    masks = [answer_mask(query, rule) for query in frame.answers]
    ious = mask_ious(masks, frame.annotated.segmentation)
    answers = tuple(
        AnswerScores(
            phrase=query.phrase,
            category=query.category_id,
            standing=standing(frame, query.category_id),
            presence=query.presence,
            score=query.instances[0].score if query.instances else 0.0,
            agreement=heads_agreement(query),
            iou_annotated=float(iou),
            iou_truth=_iou_with_truth(frame, query.category_id, mask),
        )
        for query, mask, iou in zip(frame.answers, masks, ious, strict=True)
    )
    own = next(
        mask
        for query, mask in zip(frame.answers, masks, strict=True)
        if query.category_id == frame.segment
    )
    return answers, _mask_scores(frame, own)


def score_frames(
    frames: Sequence[SegmentFrame], rule: SegmentRule, processes: int
) -> tuple[FrameScores, ...]:
    """Score frames in parallel, with progress.

    Parameters
    ----------
    frames : sequence of SegmentFrame
    rule : {"best", "semantic"}
    processes : int
        Worker processes; 0 for as many as there are cores, 1 for none. A few hundred frames are
        done sooner without.

    Returns
    -------
    tuple of FrameScores
        In the order of `frames`.

    Raises
    ------
    ConfigError
        `rule` needs masks that the model did not give.
    """
    if rule == "semantic" and any(q.semantic is None for f in frames for q in f.answers):
        fault = Fault(
            file="params.yaml",
            field="evaluate.segment_from",
            message="some answers have no semantic mask.",
            fix="Set it to best.",
        )
        raise ConfigError("The segments' masks are missing:", [fault])
    work = partial(score_frame, rule=rule)
    if processes == 1 or len(frames) < _MANY:
        scores = list(tracked(map(work, frames), len(frames), _LABEL))
    else:
        # Workers start afresh on every system: forking while a progress bar is drawn is unsafe.
        with ProcessPoolExecutor(
            processes or None, mp_context=get_context("spawn"), initializer=end_with_parent
        ) as pool:
            done = pool.map(work, frames, chunksize=_CHUNK)
            scores = list(tracked(done, len(frames), _LABEL))
    return tuple(
        FrameScores(frame=frame, answers=answers, masks=masks)
        for frame, (answers, masks) in zip(frames, scores, strict=True)
    )


def _code(mask: Rle) -> dict[str, object]:
    return {"size": list(mask.size), "counts": mask.counts.encode("ascii")}


def _iou_with_truth(frame: SegmentFrame, category: int, mask: Rle | None) -> float:
    mark = None if frame.visible is None else frame.visible.get(category)
    return math.nan if mark is None else float(mask_ious([mask], mark.segmentation)[0])


def _mask_scores(frame: SegmentFrame, answer: Rle | None) -> dict[Against, MaskScores]:
    """Compare the annotated segment's mask with the expert's and, where it has one, the truth's."""
    drawn = measure(_decoded(answer, frame.shape_px), frame.spacing_mm)
    references: dict[Against, Rle] = {"annotated": frame.annotated.segmentation}
    if frame.visible is not None and frame.segment in frame.visible:
        references["truth"] = frame.visible[frame.segment].segmentation
    return {
        name: compare(measure(decode_mask(rle), frame.spacing_mm), drawn)
        for name, rle in references.items()
    }


def _decoded(mask: Rle | None, shape_px: tuple[int, int]) -> BoolArray:
    return np.zeros(shape_px, dtype=bool) if mask is None else decode_mask(mask)
