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
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from faster_coco_eval import COCO, COCOeval_faster
from scipy import stats

from sam3_angio.scoring.statistics import (
    Estimate,
    IntArray,
    Resampling,
    estimate_mean,
    estimate_statistic,
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
class _Matches:
    """Detections of one category, best first, and what each matched.

    Attributes
    ----------
    matched : (T, D) bool ndarray
        By IoU threshold.
    image : (D,) int ndarray
        Number of the detection's picture.
    references : (I,) int ndarray
        Objects of the category by picture.
    """

    matched: BoolArray
    image: IntArray
    references: IntArray


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
    precision, overlaps = _evaluated(document, results)
    matches = _matches(document, results, overlaps)
    owners = [patients[image] for image in sorted(image["id"] for image in document["images"])]

    def estimate(thresholds: slice) -> Estimate:
        def resampled(rows: IntArray) -> float:
            weights = np.bincount(rows, minlength=len(owners))
            return _weighted_precision(matches, weights, thresholds)

        interval = estimate_statistic(resampled, owners, resampling)
        return Estimate(
            mean=_defined_mean(precision[thresholds]),
            low=interval.low,
            high=interval.high,
            n=interval.n,
            patients=interval.patients,
            undefined=0,
        )

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
        auc=estimate_statistic(
            lambda rows: roc_auc(scores[rows], truth[rows]), list(patients), resampling
        ),
    )


def roc_auc(scores: FloatArray, positive: BoolArray) -> float:
    """Return the area under the ROC curve, ties counting half; NaN where a class is missing.

    Examples
    --------
    >>> roc_auc(np.array([0.9, 0.4, 0.4]), np.array([True, True, False]))
    0.75
    """
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return math.nan
    # Mann and Whitney's U from the sum of the positives' ranks.
    ranks = stats.rankdata(scores)[positive].sum()
    return float((ranks - positives * (positives + 1) / 2) / (positives * negatives))


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


def _matches(
    document: Mapping[str, Any], results: Sequence[Mapping[str, Any]], overlaps: Overlaps
) -> list[_Matches]:
    images = sorted(image["id"] for image in document["images"])
    objects = Counter((mark["image_id"], mark["category_id"]) for mark in document["annotations"])
    scores: defaultdict[tuple[int, int], list[float]] = defaultdict(list)
    for result in results:
        scores[result["image_id"], result["category_id"]].append(result["score"])
    collected = []
    for category in sorted(entry["id"] for entry in document["categories"]):
        pairs = [(image, category) for image in images]
        best = [sorted(scores[pair], reverse=True)[:MAX_DETECTIONS] for pair in pairs]
        matched = [
            _greedy(overlaps[pair], len(of), objects[pair])
            for pair, of in zip(pairs, best, strict=True)
        ]
        order = np.argsort(-np.concatenate([np.asarray(of) for of in best]), kind="stable")
        collected.append(
            _Matches(
                matched=np.concatenate(matched, axis=1)[:, order],
                image=np.repeat(np.arange(len(images)), [len(of) for of in best])[order],
                references=np.array([objects[pair] for pair in pairs]),
            )
        )
    return collected


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


def _weighted_precision(
    categories: Sequence[_Matches], weights: IntArray, thresholds: slice
) -> float:
    """Return average precision with each picture counted `weights` times."""
    figures = []
    for matches in categories:
        objects = int(weights @ matches.references)
        if objects:
            matched, weight = matches.matched[thresholds], weights[matches.image]
            figures.append(_interpolated(matched, weight, objects))
    return float(np.mean(figures)) if figures else math.nan


def _interpolated(matched: BoolArray, weight: IntArray, objects: int) -> float:
    """Return the mean over COCO's recall points of the best precision at that recall or above.

    Parameters
    ----------
    matched : (T, D) bool ndarray
        By threshold and detection, best first.
    weight : (D,) int ndarray
        How often each detection counts.
    objects : int
        How many there are to find, at least one.
    """
    found = np.cumsum(matched * weight, axis=1)
    precision = found / np.maximum(np.cumsum(weight), 1)
    envelope = np.zeros((len(matched), matched.shape[1] + 1))
    envelope[:, :-1] = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = found / objects
    values = [
        of_threshold[np.searchsorted(reached, RECALL_POINTS, side="left")]
        for of_threshold, reached in zip(envelope, recall, strict=True)
    ]
    return float(np.mean(values))
