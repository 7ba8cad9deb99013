"""Lesions found and missed: FROC, sensitivity and positive predictive value.

Matching rule, this project's own: a predicted lesion hits a reference lesion if its centre lies
within half the reference diameter and :data:`TOLERANCE_MM` of the line from the lesion's start over
its narrowest point to its end. A lesion is found at the score of its best hit; further hits of it
are neither true nor false. What hits nothing is a false positive. The FROC curve is summed up by
its mean sensitivity at fixed rates, as in the LUNA16 challenge (Setio et al., arXiv:1612.08012);
the rates are this project's.

Conventions
-----------
Points are ``(x, y)`` in frame pixels; distances millimetres at the object. Scores in 0…1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sam3_angio.scoring.statistics import WeightedFigure, ratio, weighted_totals

FloatArray = npt.NDArray[np.float64]

#: What a centre may lie beside a lesion, by choice: about the width of a coronary artery.
TOLERANCE_MM = 2.5

#: False positives a frame at which the FROC curve is read.
FALSE_PER_FRAME = (0.125, 0.25, 0.5, 1.0)

Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceLesion:
    """A lesion that is there.

    Attributes
    ----------
    line_px : tuple of (x, y)
        Start, narrowest point where known, end.
    rvd_mm : float
        Diameter that the vessel would have; NaN where unknown.
    """

    line_px: tuple[Point, ...]
    rvd_mm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundLesion:
    """A lesion that is said to be there: its centre in pixels, and how sure that is."""

    centre_px: Point
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionFrame:
    """One frame's lesions.

    Attributes
    ----------
    frame_id, patient : str
    scale_mm : tuple of float
        Column and row spacing.
    reference : tuple of ReferenceLesion
        Empty for a frame without a lesion.
    found : tuple of FoundLesion
    """

    frame_id: str
    patient: str
    scale_mm: Point
    reference: tuple[ReferenceLesion, ...]
    found: tuple[FoundLesion, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hits:
    """What was found in a frame.

    Attributes
    ----------
    lesion_scores : tuple of float
        Best hit of each reference lesion; -1 for a lesion that none hits.
    false_scores : tuple of float
        Of what hits nothing.
    """

    lesion_scores: tuple[float, ...]
    false_scores: tuple[float, ...]


def match_lesions(frame: LesionFrame) -> Hits:
    """Match what was found in a frame by the module's rule."""
    best = [-1.0] * len(frame.reference)
    false = []
    for found in frame.found:
        distances = [
            distance_mm(found.centre_px, lesion.line_px, frame.scale_mm) - _radius_mm(lesion)
            for lesion in frame.reference
        ]
        nearest = int(np.argmin(distances)) if distances else -1
        if distances and distances[nearest] <= TOLERANCE_MM:
            best[nearest] = max(best[nearest], found.score)
        else:
            false.append(found.score)
    return Hits(lesion_scores=tuple(best), false_scores=tuple(false))


def _radius_mm(lesion: ReferenceLesion) -> float:
    return 0.0 if np.isnan(lesion.rvd_mm) else lesion.rvd_mm / 2


def distance_mm(point_px: Point, line_px: Sequence[Point], scale_mm: Point) -> float:
    """Return the distance of a point from a polyline.

    Examples
    --------
    >>> distance_mm((5, 3), [(0, 0), (10, 0)], (0.5, 0.5))
    1.5
    """
    line = np.asarray(line_px, dtype=np.float64) * scale_mm
    point = np.asarray(point_px, dtype=np.float64) * scale_mm
    start, along = line[:-1], np.diff(line, axis=0)
    length = np.maximum((along**2).sum(axis=1), 1e-12)
    part = np.clip(((point - start) * along).sum(axis=1) / length, 0.0, 1.0)
    return float(np.linalg.norm(start + part[:, None] * along - point, axis=1).min())


def detection_figures(
    hits: Sequence[Hits], patients: Sequence[str], threshold: float
) -> dict[str, WeightedFigure]:
    """Return how well lesions are found.

    Parameters
    ----------
    hits : (N,) sequence of Hits
        By frame.
    patients : (N,) sequence of str
    threshold : float
        Score from which on a lesion is said to be there.

    Returns
    -------
    dict of str to WeightedFigure
        ``sensitivity``, ``ppv`` and ``false_per_frame`` at the threshold, and ``froc``: the mean
        sensitivity at :data:`FALSE_PER_FRAME`.
    """
    counts = np.array([_counts(hit, threshold) for hit in hits]).reshape(-1, 4)
    figures = {
        "sensitivity": weighted_totals(counts, patients, lambda t: ratio(t[:, 0], t[:, 1])),
        "ppv": weighted_totals(counts, patients, lambda t: ratio(t[:, 0], t[:, 0] + t[:, 2])),
        "false_per_frame": weighted_totals(counts, patients, lambda t: ratio(t[:, 2], t[:, 3])),
    }
    thresholds = _thresholds(hits)
    table = np.array([[_counts(hit, at) for at in thresholds] for hit in hits])
    flat = table.reshape(len(hits), -1)
    shape = (-1, len(thresholds), 4)
    froc = weighted_totals(flat, patients, lambda totals: _mean_sensitivity(totals.reshape(shape)))
    return figures | {"froc": froc}


def froc_curve(hits: Sequence[Hits]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return thresholds, false positives a frame and sensitivity, strictest first."""
    thresholds = _thresholds(hits)
    totals = np.array([[_counts(hit, at) for at in thresholds] for hit in hits]).sum(axis=0)
    return (
        np.array(thresholds),
        ratio(totals[:, 2], totals[:, 3]),
        ratio(totals[:, 0], totals[:, 1]),
    )


def _counts(hit: Hits, threshold: float) -> tuple[float, float, float, float]:
    """Return lesions found, lesions, false positives, and 1 for the frame."""
    found = sum(score >= threshold for score in hit.lesion_scores)
    false = sum(score >= threshold for score in hit.false_scores)
    return float(found), float(len(hit.lesion_scores)), float(false), 1.0


def _thresholds(hits: Sequence[Hits]) -> tuple[float, ...]:
    """Return every score that occurs, highest first, after one that nothing reaches."""
    scores = {score for hit in hits for score in (*hit.lesion_scores, *hit.false_scores)}
    return (2.0, *sorted((score for score in scores if score >= 0), reverse=True))


def _mean_sensitivity(totals: FloatArray) -> FloatArray:
    """Return the mean over :data:`FALSE_PER_FRAME` of the best sensitivity within each."""
    sensitivity = ratio(totals[..., 0], totals[..., 1])
    false = ratio(totals[..., 2], totals[..., 3])
    at = [
        np.max(np.where(false <= allowed, sensitivity, 0.0), axis=1) for allowed in FALSE_PER_FRAME
    ]
    return np.asarray(np.mean(at, axis=0))
