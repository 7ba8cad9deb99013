"""Which name the model gives to the annotated segment, and with what it confuses it.

The rule
--------
A segment takes the name whose answer claims its place most: of all analysed phrases that are said
to be in the picture (:class:`~sam3_angio.scoring.answers.SaidRule`) and whose mask covers the
segment (IoU at least `MIN_IOU`), the one with the highest presence × IoU. Where no phrase does, it
has none: the column "absent". Ties go to the lower CASS number.

Conventions
-----------
Confusion matrices have the true segment in the row and the name in the column, segments by CASS
number and "absent" last. F1 of a segment is that of its name; macro-F1 is the mean over the
segments that occur. Cohen's kappa counts "absent" as one more name. Two segments are neighbours
where the anatomy table has either as similar to the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from sam3_angio.anatomy import analysed_segments, segments
from sam3_angio.scoring.answers import AnswerScores, FrameScores, SaidRule
from sam3_angio.scoring.masks import BoolArray
from sam3_angio.scoring.statistics import (
    FloatArray,
    IntArray,
    WeightedFigure,
    ratio,
    weighted_mean,
    weighted_totals,
)

#: A mask that covers less of a segment than this does not mean it.
MIN_IOU = 0.1

#: What became of a name.
Outcome = Literal["right", "neighbour", "same artery", "other artery", "absent"]

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


def given_name(presence: FloatArray, iou: FloatArray, said: BoolArray) -> int:
    """Return the place of the phrase that names a segment, or the number of phrases for none.

    Parameters
    ----------
    presence, iou : (S,) ndarray
        Of each phrase: how sure it is, and how well its mask covers the segment.
    said : (S,) ndarray of bool
        Whether it is said to be there.

    Examples
    --------
    >>> presence, iou = np.array([0.9, 0.6, 0.4]), np.array([0.3, 0.7, 0.9])
    >>> given_name(presence, iou, presence >= 0.5)
    1
    """
    claims = np.where(said & (iou >= MIN_IOU), presence * iou, 0)
    return int(np.argmax(claims)) if claims.any() else len(claims)


def name_frames(frames: Sequence[FrameScores], said: SaidRule) -> tuple[IntArray, IntArray]:
    """Return the true segment's place among the analysed ones, and its name's, of each frame.

    Returns
    -------
    tuple of (N,) int ndarray
        The name "absent" is the number of analysed segments.
    """
    places = {number: place for place, number in enumerate(analysed_segments())}
    true = [places[frame.frame.segment] for frame in frames]
    named = [_name(frame.segments, said) for frame in frames]
    return np.array(true, dtype=np.intp), np.array(named, dtype=np.intp)


def _name(answers: Sequence[AnswerScores], said: SaidRule) -> int:
    presence = np.array([answer.presence for answer in answers])
    agreement = np.array([answer.agreement for answer in answers])
    iou = np.array([answer.iou_annotated for answer in answers])
    return given_name(presence, iou, said.holds(presence, agreement))


def confusion_matrix(true: IntArray, named: IntArray) -> IntArray:
    """Count frames by true segment and name.

    Returns
    -------
    (S, S + 1) int ndarray
    """
    count = len(analysed_segments())
    cells = np.bincount(true * (count + 1) + named, minlength=count * (count + 1))
    return cells.reshape(count, count + 1)


def outcome(true: int, named: int) -> Outcome:
    """Say what became of a name, by the places of both segments among the analysed ones."""
    numbers = analysed_segments()
    if named == len(numbers):
        return "absent"
    first, second = segments()[numbers[true]], segments()[numbers[named]]
    if first == second:
        return "right"
    if second.cass in first.similar or first.cass in second.similar:
        return "neighbour"
    return "same artery" if first.artery == second.artery else "other artery"


def macro_f1(matrices: FloatArray) -> FloatArray:
    """Return the mean F1 of the segments that occur.

    Parameters
    ----------
    matrices : (B, S, S + 1) ndarray
        Confusion matrices, which may have fractional counts.

    Returns
    -------
    (B,) ndarray
        NaN for an empty matrix.
    """
    names = matrices[..., :-1]
    right = np.diagonal(names, axis1=1, axis2=2)
    support, said = matrices.sum(axis=2), names.sum(axis=1)
    f1 = np.where(support > 0, 2 * right / np.maximum(support + said, 1e-12), 0)
    return ratio(f1.sum(axis=1), (support > 0).sum(axis=1).astype(np.float64))


def kappa(matrices: FloatArray) -> FloatArray:
    """Return Cohen's kappa of names and segments; shapes as in `macro_f1`.

    NaN where agreement by chance is certain.
    """
    total = matrices.sum(axis=(1, 2))
    agreed = ratio(np.trace(matrices, axis1=1, axis2=2), total)
    rows, columns = matrices.sum(axis=2), matrices[..., :-1].sum(axis=1)
    chance = ratio((rows * columns).sum(axis=1), total**2)
    return np.where(chance < 1, ratio(agreed - chance, 1 - chance), math.nan)


def naming_figures(
    true: IntArray, named: IntArray, patients: Sequence[str]
) -> dict[str, WeightedFigure]:
    """Return top-1 accuracy, macro-F1, kappa, and the share of each kind of error.

    Parameters
    ----------
    true, named : (N,) int ndarray
        Of `name_frames`.
    patients : (N,) sequence of str
        Whose frame it is.
    """
    count = len(analysed_segments())
    cells = np.zeros((len(true), count * (count + 1)))
    cells[np.arange(len(true)), true * (count + 1) + named] = 1
    outcomes = [outcome(*pair) for pair in zip(true.tolist(), named.tolist(), strict=True)]

    def matrices(totals: FloatArray) -> FloatArray:
        return totals.reshape(-1, count, count + 1)

    shares = {
        kind: weighted_mean([float(one == kind) for one in outcomes], patients) for kind in OUTCOMES
    }
    return {
        "top1": shares.pop("right"),
        "macro_f1": weighted_totals(cells, patients, lambda sums: macro_f1(matrices(sums))),
        "kappa": weighted_totals(cells, patients, lambda sums: kappa(matrices(sums))),
        **{f"named_{kind.replace(' ', '_')}": share for kind, share in shares.items()},
    }
