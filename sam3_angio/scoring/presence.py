"""Whether phrases are said to be in the picture just where they are, and how sure that is.

Sources
-------
Brier, Monthly Weather Review 78:1 (1950), doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2;
expected calibration error: Guo et al., "On calibration of modern neural networks", ICML 2017,
arXiv:1706.04599, eq. 3, with ten bins of equal width.

Conventions
-----------
A phrase is said to be there where its presence is at least the threshold. Phrases of which nobody
can say whether they are there (:mod:`sam3_angio.scoring.segments`) take no part. Rates are over
(frame, phrase) pairs; the pooled false-positive rate is over all wrong pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sam3_angio.scoring.answers import AnswerScores, FrameScores
from sam3_angio.scoring.detection import weighted_auc
from sam3_angio.scoring.segments import RIGHT, WRONG
from sam3_angio.scoring.statistics import (
    FloatArray,
    WeightedFigure,
    ratio,
    weighted_mean,
    weighted_totals,
)

BINS = 10


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


def presence_figures(frames: Sequence[FrameScores], threshold: float) -> dict[str, WeightedFigure]:
    """Return recall, false-positive rates by kind of wrong phrase, AUC, Brier score, and ECE.

    Parameters
    ----------
    frames : sequence of FrameScores
    threshold : float
        From this presence on a phrase is said to be there.

    Returns
    -------
    dict
        A rate over a kind of phrase that does not occur is left out.
    """
    pairs = _decided(frames)
    said = np.array([float(answer.presence >= threshold) for answer, _ in pairs])
    owners = np.array([patient for _, patient in pairs], dtype=str)
    kinds = np.array([answer.standing for answer, _ in pairs], dtype=str)

    def rate(*standings: str) -> WeightedFigure:
        chosen = np.isin(kinds, standings)
        return weighted_mean(said[chosen], owners[chosen].tolist())

    figures = {"recall_annotated": rate("annotated"), "recall_visible": rate(*RIGHT)}
    figures["false_positives_pooled"] = rate(*WRONG)
    for kind in WRONG:
        figures[f"false_positives_{kind.replace(' ', '_')}"] = rate(kind)
    probability, there = _probabilities(pairs)
    figures["auc"] = weighted_auc(probability, there > 0, owners.tolist())
    figures["brier"] = weighted_mean((probability - there) ** 2, owners.tolist())
    figures["ece"] = weighted_totals(
        _bin_counts(probability, there), owners.tolist(), calibration_error
    )
    if "visible" not in kinds:
        del figures["recall_visible"]
    return {name: figure for name, figure in figures.items() if figure.n}


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


def _decided(frames: Sequence[FrameScores]) -> list[tuple[AnswerScores, str]]:
    return [
        (answer, scores.frame.patient)
        for scores in frames
        for answer in scores.answers
        if answer.standing != "unknown"
    ]


def _probabilities(pairs: Sequence[tuple[AnswerScores, str]]) -> tuple[FloatArray, FloatArray]:
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
