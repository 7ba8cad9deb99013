"""From the answers of the models to findings: tree, named segments with QCA, stenoses.

The rules are those that ``evaluate`` scores by (``evaluate.tree_from``, ``segment_from``,
``score_threshold`` and ``agreement`` of ``params.yaml``). A segment is named where its phrase is
said to be there. Where several names have all but the same mask, the vessel gets the surest of
them, and the others are its rivals. Diameters are measured on the frame's own pixels
(:func:`sam3_angio.qca.profile_from_frame`), as Phase 4 is scored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sam3_angio.acquisition import PixelSpacing
from sam3_angio.anatomy import segments as anatomy
from sam3_angio.detector.found import BoolArray, PhraseAnswer
from sam3_angio.errors import DataError
from sam3_angio.lesion_labels import asks_for_lesions, segment_of
from sam3_angio.qca import QcaResult, measure, profile_from_frame
from sam3_angio.results import LesionFinding, SegmentFinding, TreeFinding

SAME_VESSEL = 0.5
"""IoU from which on two masks are one vessel with two names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What of an answer counts.

    Attributes
    ----------
    tree_from : {"semantic", "best", "union"}
        Mask of the tree (:mod:`sam3_angio.scoring.tree`).
    segment_from : {"best", "semantic"}
        Mask of a segment (:mod:`sam3_angio.scoring.answers`).
    threshold : float
        An instance counts, and a phrase is said to be there, from this score on.
    agreement : float
        And from this IoU of its best instance and the semantic mask on.
    """

    tree_from: Literal["semantic", "best", "union"]
    segment_from: Literal["best", "semantic"]
    threshold: float
    agreement: float


def tree_finding(answer: PhraseAnswer, rules: Rules) -> TreeFinding:
    """Return the vessel tree; its mask may be empty."""
    if rules.tree_from == "semantic":
        return TreeFinding(mask=answer.semantic, score=answer.presence)
    counted = [found.mask for found in answer.instances if found.score >= rules.threshold]
    chosen = counted[:1] if rules.tree_from == "best" else counted
    mask = np.zeros(answer.semantic.shape, dtype=np.bool_)
    for part in chosen:
        mask = mask | part
    return TreeFinding(mask=mask, score=answer.presence)


def segment_findings(
    answers: Iterable[PhraseAnswer],
    picture: NDArray[np.uint8],
    spacing: PixelSpacing,
    rules: Rules,
) -> tuple[SegmentFinding, ...]:
    """Return the segments that are said to be there, measured, by CASS number.

    Parameters
    ----------
    answers : iterable of PhraseAnswer
        Others than those of segments are passed over.
    picture : (R, C) ndarray of uint8
        The frame, on which diameters are measured.
    spacing : PixelSpacing
        Nothing is measured where it is unknown.
    rules : Rules
    """
    named = [
        SegmentFinding(
            cass=answer.prompt.category_id,
            mask=_segment_mask(answer, rules),
            score=answer.presence,
            qca=None,
        )
        for answer in answers
        if answer.prompt.category_id in anatomy() and _is_there(answer, rules)
    ]
    found = _one_name_each([segment for segment in named if segment.mask.any()])
    measured = (replace(one, qca=_measured(picture, one.mask, spacing)) for one in found)
    return tuple(sorted(measured, key=lambda segment: segment.cass))


def _is_there(answer: PhraseAnswer, rules: Rules) -> bool:
    best = [found.mask for found in answer.instances[:1]]
    agreement = _iou(best[0], answer.semantic) if best else 0.0
    return answer.presence >= rules.threshold and agreement >= rules.agreement


def _one_name_each(named: Sequence[SegmentFinding]) -> list[SegmentFinding]:
    """Return one segment a vessel, the surest, with its rivals; the surest first."""
    kept: list[SegmentFinding] = []
    for one in sorted(named, key=lambda segment: (-segment.score, segment.cass)):
        same = (
            place for place, other in enumerate(kept) if _iou(one.mask, other.mask) >= SAME_VESSEL
        )
        place = next(same, None)
        if place is None:
            kept.append(one)
        else:
            kept[place] = replace(kept[place], rivals=(*kept[place].rivals, one.cass))
    return kept


def _iou(one: BoolArray, other: BoolArray) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))


def lesion_findings(
    answers: Iterable[PhraseAnswer], segments: Sequence[SegmentFinding], rules: Rules
) -> tuple[LesionFinding, ...]:
    """Return the stenoses that the model outlined, each in its segment.

    That is the one that it was asked for, which must have been found, or the one that holds most of
    the mask where it was asked for a stenosis anywhere.
    """
    known = {segment.cass for segment in segments}
    lesions = []
    for answer in answers:
        if not asks_for_lesions(answer.prompt.category_id):
            continue
        asked = segment_of(answer.prompt.category_id)
        if asked is not None and asked not in known:
            continue
        for found in answer.instances:
            if found.score >= rules.threshold and found.mask.any():
                cass = _holder(found.mask, segments) if asked is None else asked
                lesions.append(LesionFinding(mask=found.mask, score=found.score, cass=cass))
    return tuple(lesions)


def _segment_mask(answer: PhraseAnswer, rules: Rules) -> BoolArray:
    if rules.segment_from == "semantic":
        return answer.semantic
    return answer.instances[0].mask


def _holder(lesion: BoolArray, segments: Sequence[SegmentFinding]) -> int | None:
    shared = {segment.cass: int((segment.mask & lesion).sum()) for segment in segments}
    most = max(shared, key=lambda cass: shared[cass], default=None)
    return most if most is not None and shared[most] else None


def _measured(
    picture: NDArray[np.uint8], mask: BoolArray, spacing: PixelSpacing
) -> QcaResult | None:
    """Return the measurements; None where there is no scale or the vessel cannot be followed."""
    if spacing.source == "none":
        return None
    try:
        return measure(profile_from_frame(picture, mask, spacing))
    except DataError:
        return None
