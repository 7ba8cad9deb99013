"""How well masks with scores find what a phrase names: average precision and presence.

Sources
-------
Average precision as the COCO challenge defines it (Lin et al., ECCV 2014,
doi:10.1007/978-3-319-10602-1_48): greedy matching by score, 101 recall points, thresholds of IoU
from 0.50 to 0.95; the figure comes from ``faster-coco-eval``. Its interval needs the figure of many
resamples of the patients; those are computed from matches made once, with patients as weights.

Conventions
-----------
Average precision is NaN without a reference object. A presence is predicted where its probability
is at least the threshold; recall is NaN without a picture that shows the phrase, specificity
without one that does not, and the area under the ROC curve where either is missing.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from faster_coco_eval import COCO, COCOeval_faster

from sam3_angio.scoring.statistics import (
    Estimate,
    IntArray,
    Resampling,
    WeightedFigure,
    estimate_figure,
    estimate_mean,
    ratio,
)

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]

#: IoU of detections with references, by picture and category.
Overlaps = Mapping[tuple[int, int], FloatArray]

#: COCO's thresholds of IoU and its recall points.
IOU_THRESHOLDS: FloatArray = np.linspace(0.5, 0.95, 10)
RECALL_POINTS: FloatArray = np.linspace(0, 1, 101)

#: The best-scored detections of a picture and category that count.
MAX_DETECTIONS = 100

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class AveragePrecision:
    """Mask average precision.

    Attributes
    ----------
    ap : Estimate
        Mean over IoU thresholds 0.50, 0.55, … 0.95.
    ap50, ap75 : Estimate
        At one threshold.
    """

    ap: Estimate
    ap50: Estimate
    ap75: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class PresenceScores:
    """Whether the phrase is said to be in the picture just where it is.

    Attributes
    ----------
    recall : Estimate
        Part of the pictures with it that are said to have it.
    specificity : Estimate
        Part of the pictures without it that are said to lack it.
    accuracy : Estimate
        Part of all answers that are right.
    auc : Estimate
        Probability that a picture with it has the higher presence than one without.
    """

    recall: Estimate
    specificity: Estimate
    accuracy: Estimate
    auc: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryMatches:
    """Detections of one category, best first, and what each matched.

    Attributes
    ----------
    category : int
        Its id.
    matched : (T, D) bool ndarray
        By IoU threshold.
    patient : (D,) int ndarray
        Number of the patient whose picture it is.
    references : (P,) ndarray
        Objects of the category by patient.
    precision : (T, R) float ndarray
        By IoU threshold and recall point, as the library has it; NaN without objects.
    """

    category: int
    matched: BoolArray
    patient: IntArray
    references: FloatArray
    precision: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Matches:
    """All categories of a document, and the patients whose pictures they are.

    Attributes
    ----------
    categories : tuple of CategoryMatches
        By id.
    patients : tuple of str
        Distinct, by number.
    pictures : int
        How many there are.
    """

    categories: tuple[CategoryMatches, ...]
    patients: tuple[str, ...]
    pictures: int


def average_precision(
    document: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    patients: Mapping[int, str],
    resampling: Resampling,
) -> AveragePrecision:
    """Return mask average precision over all categories of a document.

    Parameters
    ----------
    document : mapping
        COCO document with RLE masks and ``iscrowd`` 0.
    results : sequence of mapping
        COCO results with ``image_id, category_id, score, segmentation, bbox``.
    patients : mapping of int to str
        Whose picture it is, by image id.
    resampling : Resampling
    """
    return _estimated(detection_matches(document, results, patients), resampling)


def precision_by_category(
    document: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    patients: Mapping[int, str],
    resampling: Resampling,
) -> dict[int | None, AveragePrecision]:
    """Return mask average precision of each category that has an object; of all under None."""
    matches = detection_matches(document, results, patients)
    return {None: _estimated(matches, resampling)} | {
        category.category: _estimated(replace(matches, categories=(category,)), resampling)
        for category in matches.categories
        if category.references.any()
    }


def weighted_precision(matches: Matches, thresholds: slice) -> WeightedFigure:
    """Return average precision as a function of patients' weights.

    Parameters
    ----------
    matches : Matches
    thresholds : slice
        Of `IOU_THRESHOLDS`; the mean over them is the figure.
    """
    rows = range(len(IOU_THRESHOLDS))[thresholds]
    counts = [
        (category.references, [_counts_at_hits(category, row) for row in rows])
        for category in matches.categories
    ]

    def of_weights(weights: FloatArray) -> FloatArray:
        total, defined = np.zeros(len(weights)), np.zeros(len(weights))
        for references, by_threshold in counts:
            objects = weights @ references
            figures = [
                _interpolated(weights @ detections, weights @ found, np.maximum(objects, 1))
                for detections, found in by_threshold
            ]
            total += np.where(objects > 0, np.mean(figures, axis=0), 0)
            defined += objects > 0
        return ratio(total, defined)

    return WeightedFigure(patients=matches.patients, n=matches.pictures, of_weights=of_weights)


def _estimated(matches: Matches, resampling: Resampling) -> AveragePrecision:
    def estimate(thresholds: slice) -> Estimate:
        interval = estimate_figure(weighted_precision(matches, thresholds), resampling)
        chosen = [category.precision[thresholds] for category in matches.categories]
        return replace(interval, mean=_defined_mean(np.concatenate(chosen, axis=None)))

    return AveragePrecision(
        ap=estimate(slice(None)), ap50=estimate(slice(0, 1)), ap75=estimate(slice(5, 6))
    )


def presence_scores(
    probability: Sequence[float],
    present: Sequence[bool],
    patients: Sequence[str],
    threshold: float,
    resampling: Resampling,
) -> PresenceScores:
    """Score the predicted presence of phrases.

    Parameters
    ----------
    probability : (N,) sequence of float
        Predicted presence of each (picture, phrase) pair.
    present : (N,) sequence of bool
        Whether the phrase is there.
    patients : (N,) sequence of str
        Whose picture it is.
    threshold : float
        From which probability on it is said to be there.
    resampling : Resampling
    """
    scores, truth = np.asarray(probability, dtype=np.float64), np.asarray(present, dtype=bool)
    right = ((scores >= threshold) == truth).astype(np.float64)
    owners = np.asarray(patients, dtype=str)

    def part(chosen: BoolArray) -> Estimate:
        return estimate_mean(right[chosen], owners[chosen].tolist(), resampling)

    return PresenceScores(
        recall=part(truth),
        specificity=part(~truth),
        accuracy=part(np.ones_like(truth)),
        auc=estimate_figure(weighted_auc(scores, truth, patients), resampling),
    )


def weighted_auc(
    scores: FloatArray, positive: BoolArray, patients: Sequence[str]
) -> WeightedFigure:
    """Return the area under the ROC curve, ties counting half, as a function of patients' weights.

    The area is a mean over pairs of a positive and a negative; the pairs are summed by the two
    patients that they belong to, once.

    Parameters
    ----------
    scores : (N,) ndarray
    positive : (N,) bool ndarray
    patients : (N,) sequence of str
    """
    names, codes = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    count = len(names)
    positives = np.bincount(codes[positive], minlength=count).astype(np.float64)
    negatives = np.bincount(codes[~positive], minlength=count).astype(np.float64)
    won = np.zeros((count, count))
    for patient in range(count):
        of_patient = np.sort(scores[~positive & (codes == patient)])
        below = np.searchsorted(of_patient, scores[positive], side="left")
        upto = np.searchsorted(of_patient, scores[positive], side="right")
        won[:, patient] = np.bincount(codes[positive], weights=(below + upto) / 2, minlength=count)

    def of_weights(weights: FloatArray) -> FloatArray:
        pairs = (weights @ positives) * (weights @ negatives)
        return ratio(((weights @ won) * weights).sum(axis=1), pairs)

    return WeightedFigure(patients=tuple(names.tolist()), n=len(scores), of_weights=of_weights)


def detection_matches(
    document: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    patients: Mapping[int, str],
) -> Matches:
    """Run COCO's evaluation and note what each detection matched; parameters as above."""
    precision, overlaps = _evaluated(document, results)
    images = sorted(image["id"] for image in document["images"])
    names, owner = np.unique([patients[image] for image in images], return_inverse=True)
    objects = Counter((mark["image_id"], mark["category_id"]) for mark in document["annotations"])
    scores: defaultdict[tuple[int, int], list[float]] = defaultdict(list)
    for result in results:
        scores[result["image_id"], result["category_id"]].append(result["score"])
    collected = []
    for number, category in enumerate(sorted(entry["id"] for entry in document["categories"])):
        pairs = [(image, category) for image in images]
        best = [sorted(scores[pair], reverse=True)[:MAX_DETECTIONS] for pair in pairs]
        matched = [
            _greedy(overlaps[pair], len(of), objects[pair])
            for pair, of in zip(pairs, best, strict=True)
        ]
        order = np.argsort(-np.concatenate([np.asarray(of) for of in best]), kind="stable")
        collected.append(
            CategoryMatches(
                category=category,
                matched=np.concatenate(matched, axis=1)[:, order],
                patient=np.repeat(owner, [len(of) for of in best])[order],
                references=_sums(owner, [objects[pair] for pair in pairs]),
                precision=precision[..., number],
            )
        )
    return Matches(
        categories=tuple(collected), patients=tuple(names.tolist()), pictures=len(images)
    )


def _sums(owner: IntArray, values: Sequence[int]) -> FloatArray:
    return np.asarray(np.bincount(owner, weights=values), dtype=np.float64)


def _evaluated(
    document: Mapping[str, Any], results: Sequence[Mapping[str, Any]]
) -> tuple[FloatArray, Overlaps]:
    """Run COCO's evaluation over masks of every size.

    Returns
    -------
    tuple
        Precision by IoU threshold, recall point and category, NaN without objects; and the IoU of
        detections, best first, with references by picture and category.
    """
    reference = COCO(dict(document))
    # The library adds fields to the results that it is given.
    prediction = reference.loadRes([dict(result) for result in results])
    evaluator = COCOeval_faster(reference, prediction, "segm")
    evaluator.params.iouThrs, evaluator.params.recThrs = IOU_THRESHOLDS, RECALL_POINTS
    evaluator.params.maxDets = [MAX_DETECTIONS]
    evaluator.params.areaRng, evaluator.params.areaRngLbl = [[0, 1e10]], ["all"]
    evaluator.evaluate()
    evaluator.accumulate()
    precision = np.asarray(evaluator.eval["precision"], dtype=np.float64)[..., 0, 0]
    return np.where(precision < 0, math.nan, precision), evaluator.ious


def _defined_mean(precision: FloatArray) -> float:
    defined = precision[~np.isnan(precision)]
    return float(defined.mean()) if defined.size else math.nan


def _greedy(overlap: FloatArray, detections: int, references: int) -> BoolArray:
    """Match detections, best score first, each to its best free reference, at each threshold."""
    matched = np.zeros((len(IOU_THRESHOLDS), detections), dtype=bool)
    if not detections or not references:
        return matched
    for row, threshold in enumerate(IOU_THRESHOLDS):
        free = np.ones(references, dtype=bool)
        for column, candidates in enumerate(overlap):
            best = int(np.argmax(np.where(free, candidates, -1)))
            if free[best] and candidates[best] >= threshold:
                matched[row, column], free[best] = True, False
    return matched


def _counts_at_hits(category: CategoryMatches, row: int) -> tuple[FloatArray, FloatArray]:
    """Count detections, and those that match, up to each match; both (P, M), by patient.

    Precision changes for the better at a match only, so the matches are all that is looked at.
    """
    hits = np.flatnonzero(category.matched[row])
    patients = np.arange(len(category.references))[:, None]
    upto_last = category.patient[: hits[-1] + 1] if len(hits) else category.patient[:0]
    detections = np.cumsum(patients == upto_last, axis=1)[:, hits]
    found = np.cumsum(patients == category.patient[hits], axis=1)
    return detections.astype(np.float64), found.astype(np.float64)


def _interpolated(detections: FloatArray, found: FloatArray, objects: FloatArray) -> FloatArray:
    """Return the mean over COCO's recall points of the best precision at that recall or above.

    Parameters
    ----------
    detections, found : (B, M) ndarray
        Detections, and matches among them, up to each match.
    objects : (B,) ndarray
        How many there are to find, at least one.

    Returns
    -------
    (B,) ndarray
    """
    precision = found / np.maximum(detections, 1)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = found / objects[:, None]
    # How many more recall points each match reaches; a sum may fall short by a bit.
    reached = np.floor(recall * (len(RECALL_POINTS) - 1) + _ROUNDING) + 1
    reached[:, 1:] -= reached[:, :-1].copy()
    return np.asarray(np.einsum("bm,bm->b", envelope, reached) / len(RECALL_POINTS))
