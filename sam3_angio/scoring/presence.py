"""Whether phrases are said to be in the picture just where they are, and how sure that is.

Sources
-------
Brier, Monthly Weather Review 78:1 (1950), doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2;
expected calibration error: Guo et al., "On calibration of modern neural networks", ICML 2017,
arXiv:1706.04599, eq. 3, with ten bins of equal width.

Conventions
-----------
A phrase is said to be there by :class:`~sam3_angio.scoring.answers.SaidRule`; figures whose names
begin with ``presence`` are those of the presence alone. Of the two areas under the curve, ``auc``
is of the presence, ``agreed_auc`` of presence × agreement, the IoU of the two masks that the model
draws of a phrase by different heads. Phrases of which nobody can say whether they are there
(:mod:`sam3_angio.scoring.segments`) take no part. Rates are over (frame, phrase) pairs; the pooled
false-positive rate is over all wrong pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sam3_angio.scoring.answers import AnswerScores, FrameScores, SaidRule
from sam3_angio.scoring.detection import weighted_auc
from sam3_angio.scoring.masks import BoolArray
from sam3_angio.scoring.segments import RIGHT, WRONG
from sam3_angio.scoring.statistics import (
    FloatArray,
    WeightedFigure,
    ratio,
    weighted_mean,
    weighted_totals,
)

BINS = 10

#: An answer and its patient.
_Pair = tuple[AnswerScores, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationBin:
    """Pairs whose presence lies between two bounds.

    Attributes
    ----------
    low, high : float
        Bounds; the upper one belongs to the next bin, but for the last.
    n : int
        Pairs in the bin.
    presence : float
        Their mean presence; NaN where there are none.
    right : float
        Part of them that is there; NaN where there are none.
    """

    low: float
    high: float
    n: int
    presence: float
    right: float


def presence_figures(frames: Sequence[FrameScores], said: SaidRule) -> dict[str, WeightedFigure]:
    """Return recall, false-positive rates by kind of wrong phrase, AUC, Brier score, and ECE.

    Parameters
    ----------
    frames : sequence of FrameScores
    said : SaidRule

    Returns
    -------
    dict
        A rate over a kind of phrase that does not occur is left out.
    """
    pairs = _decided(frames)
    owners = [patient for _, patient in pairs]
    probability, there = _probabilities(pairs)
    agreement = np.array([answer.agreement for answer, _ in pairs], dtype=np.float64)
    figures = _rates(pairs, said.holds(probability, agreement))
    alone = _rates(pairs, probability >= said.presence)
    figures |= {f"presence_{name}": figure for name, figure in alone.items()}
    figures["auc"] = weighted_auc(probability, there > 0, owners)
    figures["brier"] = weighted_mean((probability - there) ** 2, owners)
    figures["ece"] = weighted_totals(_bin_counts(probability, there), owners, calibration_error)
    if not np.isnan(agreement).any():
        figures["agreed_auc"] = weighted_auc(probability * agreement, there > 0, owners)
    return {name: figure for name, figure in figures.items() if figure.n}


def _rates(pairs: Sequence[_Pair], there: BoolArray) -> dict[str, WeightedFigure]:
    """Return recall and false-positive rates of what is said to be there."""
    said = there.astype(np.float64)
    owners = np.array([patient for _, patient in pairs], dtype=str)
    kinds = np.array([answer.standing for answer, _ in pairs], dtype=str)

    def rate(*standings: str) -> WeightedFigure:
        chosen = np.isin(kinds, standings)
        return weighted_mean(said[chosen], owners[chosen].tolist())

    figures = {"recall_annotated": rate("annotated"), "false_positives_pooled": rate(*WRONG)}
    if "visible" in kinds:
        figures["recall_visible"] = rate(*RIGHT)
    for kind in WRONG:
        figures[f"false_positives_{kind.replace(' ', '_')}"] = rate(kind)
    return figures


def calibration(frames: Sequence[FrameScores]) -> tuple[CalibrationBin, ...]:
    """Return the reliability diagram of the presence."""
    sums = _bin_counts(*_probabilities(_decided(frames))).sum(axis=0).reshape(BINS, 3)
    presence, right = ratio(sums[:, 1], sums[:, 0]), ratio(sums[:, 2], sums[:, 0])
    return tuple(
        CalibrationBin(
            low=place / BINS,
            high=(place + 1) / BINS,
            n=int(sums[place, 0]),
            presence=float(presence[place]),
            right=float(right[place]),
        )
        for place in range(BINS)
    )


def calibration_error(sums: FloatArray) -> FloatArray:
    """Return the mean distance of presence and truth over bins, weighted by their pairs.

    Parameters
    ----------
    sums : (B, 3 · bins) ndarray
        By bin: pairs, sum of presence, number that is there.

    Returns
    -------
    (B,) ndarray
    """
    by_bin = sums.reshape(len(sums), BINS, 3)
    distance = np.abs(by_bin[..., 1] - by_bin[..., 2]).sum(axis=1)
    return ratio(distance, by_bin[..., 0].sum(axis=1))


def _decided(frames: Sequence[FrameScores]) -> list[_Pair]:
    return [
        (answer, scores.frame.patient)
        for scores in frames
        for answer in scores.answers
        if answer.standing != "unknown"
    ]


def _probabilities(pairs: Sequence[_Pair]) -> tuple[FloatArray, FloatArray]:
    probability = np.array([answer.presence for answer, _ in pairs], dtype=np.float64)
    there = np.array([float(answer.standing in RIGHT) for answer, _ in pairs], dtype=np.float64)
    return probability, there


def _bin_counts(probability: FloatArray, there: FloatArray) -> FloatArray:
    """Return each pair's part of the bins' counts, (N, 3 · bins)."""
    counts = np.zeros((len(probability), BINS, 3))
    place = np.minimum((probability * BINS).astype(np.intp), BINS - 1)
    counts[np.arange(len(place)), place] = np.stack(
        [np.ones_like(probability), probability, there], axis=1
    )
    return counts.reshape(len(probability), BINS * 3)
