"""cgF1, pmF1 and IL_MCC from SAM 3's own evaluator, fed from this project's frames.

Source
------
``sam3/eval/cgf1_eval.py`` of the installed ``sam3`` wheel (arXiv:2511.16719, section on metrics).
The figures are what its ``CGF1Evaluator`` returns. Its file is loaded by itself, because the
package's ``__init__`` imports the model and with it torch, which the evaluator does not need
(``docs/decisions/0004-cgf1-without-torch.md``).

Conventions
-----------
What SAM 3 calls an image is a (frame, phrase) pair, with negatives. A detection counts from the
threshold on; IoU thresholds are 0.50 to 0.95; matching is one to one. pmF1 is the F1 over all
objects of positive pairs, IL_MCC the correlation of "something is found" with "something is
there", and cgF1 their product. Three references:

- ``annotated``: what the labels have, one segment a frame; all other phrases count as wrong;
- ``known``: the same, without the pairs of which the labels say nothing (other segments of the
  injected artery);
- ``truth``: every visible segment, where the truth is known.

Intervals resample patients over the evaluator's counts of each pair; they need its formula, which
is repeated here with its small constants and equals it to the last digits.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

import numpy as np

from sam3_angio.coco import Annotation
from sam3_angio.errors import AngioError
from sam3_angio.files import write_json
from sam3_angio.scoring.detection import IOU_THRESHOLDS
from sam3_angio.scoring.predictions import Query, coco_result
from sam3_angio.scoring.segments import SegmentFrame, standing
from sam3_angio.scoring.statistics import FloatArray, WeightedFigure, weighted_totals

Reference = Literal["annotated", "known", "truth"]

REFERENCES: tuple[Reference, ...] = get_args(Reference)

#: The evaluator's names of the figures, and this project's.
_FIGURES = {
    "cgf1": "cgF1_eval_segm_cgF1",
    "cgf1_50": "cgF1_eval_segm_cgF1@0.5",
    "pmf1": "cgF1_eval_segm_positive_micro_F1",
    "il_mcc": "cgF1_eval_segm_IL_MCC",
}

#: The evaluator knows no categories: the phrase is the category.
_CATEGORY = 1

#: The evaluator's constants against division by nothing.
_EPSILON, _MCC_EPSILON = 1e-4, 1e-6

_THRESHOLDS = len(IOU_THRESHOLDS)
_IMAGE_LEVEL = ("IL_TP", "IL_FP", "IL_TN", "IL_FN")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A phrase asked of a frame, and what it should have found.

    Attributes
    ----------
    patient : str
        Whose frame it is.
    shape_px : tuple of int
        Rows and columns.
    query : Query
        The answer.
    objects : tuple of Annotation
        What the phrase names in the frame; empty for a negative.
    """

    patient: str
    shape_px: tuple[int, int]
    query: Query
    objects: tuple[Annotation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cgf1:
    """SAM 3's figures of some pairs.

    Attributes
    ----------
    figures : mapping of str to float
        ``cgf1``, ``cgf1_50``, ``pmf1``, ``il_mcc`` as the evaluator gives them.
    weighted : mapping of str to WeightedFigure
        The same as functions of patients' weights.
    """

    figures: Mapping[str, float]
    weighted: Mapping[str, WeightedFigure]


def pairs_of(frames: Sequence[SegmentFrame], reference: Reference) -> tuple[Pair, ...]:
    """Return the (frame, phrase) pairs that a reference decides; none without a known truth."""
    return tuple(
        Pair(
            patient=frame.patient,
            shape_px=frame.shape_px,
            query=query,
            objects=_objects(frame, query.category_id, reference),
        )
        for frame in frames
        if reference != "truth" or frame.visible is not None
        for query in frame.answers
        if reference != "known" or _is_decided(frame, query.category_id)
    )


def score_pairs(pairs: Sequence[Pair], threshold: float) -> Cgf1:
    """Run SAM 3's evaluator over pairs.

    Parameters
    ----------
    pairs : sequence of Pair
    threshold : float
        A detection counts from this score on.

    Raises
    ------
    AngioError
        The evaluator is not where the supported version of ``sam3`` has it.
    """
    evaluator, stats = _evaluated(pairs, threshold)
    by_pair = {int(record["image_id"]): record for record in evaluator.coco_evals[0].evalImgs}
    counts = np.stack([_counts(by_pair[number]) for number in range(1, len(pairs) + 1)])
    patients = [pair.patient for pair in pairs]
    formulas = {
        "cgf1": lambda sums: pmf1(sums).mean(axis=1) * il_mcc(sums),
        "cgf1_50": lambda sums: pmf1(sums)[:, 0] * il_mcc(sums),
        "pmf1": lambda sums: pmf1(sums).mean(axis=1),
        "il_mcc": il_mcc,
    }
    return Cgf1(
        figures={name: stats[key] for name, key in _FIGURES.items()},
        weighted={
            name: weighted_totals(counts, patients, formula) for name, formula in formulas.items()
        },
    )


def pmf1(sums: FloatArray) -> FloatArray:
    """Return the positive micro-F1 by IoU threshold.

    Parameters
    ----------
    sums : (B, 3 · T + 4) ndarray
        Sums of `_counts` over pairs.

    Returns
    -------
    (B, T) ndarray
    """
    found, wrong, missed = (
        sums[:, part * _THRESHOLDS : (part + 1) * _THRESHOLDS] for part in range(3)
    )
    precision = found / (found + wrong + _EPSILON)
    recall = found / (found + missed + _EPSILON)
    return np.asarray(2 * precision * recall / (precision + recall + _EPSILON))


def il_mcc(sums: FloatArray) -> FloatArray:
    """Return Matthews' correlation over pairs; parameters as in `pmf1`, (B,)."""
    tp, fp, tn, fn = sums[:, -len(_IMAGE_LEVEL) :].T
    spread = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return np.asarray((tp * tn - fp * fn) / (spread + _MCC_EPSILON))


def _objects(frame: SegmentFrame, category: int, reference: Reference) -> tuple[Annotation, ...]:
    marks = {frame.segment: frame.annotated}
    if reference == "truth" and frame.visible is not None:
        marks = dict(frame.visible)
    return (marks[category],) if category in marks else ()


def _is_decided(frame: SegmentFrame, category: int) -> bool:
    """Return whether the labels alone say if a category is in the frame."""
    return standing(frame, category) in {"annotated", "other artery", "nonsense"}


def _evaluated(pairs: Sequence[Pair], threshold: float) -> tuple[Any, dict[str, float]]:
    """Run the evaluator on files as it wants them; a pair's number is its image id."""
    with tempfile.TemporaryDirectory() as folder:
        reference, prediction = Path(folder) / "reference.json", Path(folder) / "prediction.json"
        write_json(reference, _reference(pairs), indent=None)
        write_json(prediction, list(_detections(pairs, threshold)), indent=None)
        # It prints, and divides by nothing where nothing is found.
        with contextlib.redirect_stdout(io.StringIO()), np.errstate(invalid="ignore"):
            evaluator = _evaluator().CGF1Evaluator(str(reference), iou_type="segm")
            evaluator.coco_evals[0].threshold = threshold
            return evaluator, evaluator.evaluate(str(prediction))


def _reference(pairs: Sequence[Pair]) -> dict[str, Any]:
    images = [
        {
            "id": number,
            "height": pair.shape_px[0],
            "width": pair.shape_px[1],
            "text_input": pair.query.phrase,
            "is_instance_exhaustive": True,
        }
        for number, pair in enumerate(pairs, 1)
    ]
    marks = [
        asdict(mark) | {"image_id": number, "category_id": _CATEGORY}
        for number, pair in enumerate(pairs, 1)
        for mark in pair.objects
    ]
    return {
        "images": images,
        "annotations": [mark | {"id": number} for number, mark in enumerate(marks, 1)],
        "categories": [{"id": _CATEGORY, "name": "object"}],
    }


def _detections(pairs: Sequence[Pair], threshold: float) -> Iterator[dict[str, Any]]:
    """Yield what counts; the evaluator would drop the rest, and take its time for it."""
    for number, pair in enumerate(pairs, 1):
        for instance in pair.query.instances:
            if instance.score >= threshold:
                yield coco_result(instance, number, _CATEGORY)


def _counts(record: Mapping[str, Any]) -> FloatArray:
    """Return what one pair adds to the sums of the evaluator's formula.

    By IoU threshold: found, wrong, missed, of positive pairs alone; then the four image-level
    counts. (Detections of a negative pair are no part of pmF1.)
    """
    counts = np.zeros(3 * _THRESHOLDS + len(_IMAGE_LEVEL))
    if "local_positive_F1s" in record:
        counts[: 3 * _THRESHOLDS] = np.concatenate([record[name] for name in ("TPs", "FPs", "FNs")])
    counts[3 * _THRESHOLDS :] = [float(record[name]) for name in _IMAGE_LEVEL]
    return counts


@cache
def _evaluator() -> ModuleType:
    package = importlib.util.find_spec("sam3")
    places = () if package is None else tuple(package.submodule_search_locations or ())
    for place in places:
        path = Path(place) / "eval" / "cgf1_eval.py"
        spec = importlib.util.spec_from_file_location("sam3_cgf1_eval", path)
        if path.is_file() and spec is not None and spec.loader is not None:
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    raise AngioError("sam3/eval/cgf1_eval.py is missing; install the version that is locked.")
