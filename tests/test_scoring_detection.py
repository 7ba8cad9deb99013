"""Average precision and presence: by hand, against pycocotools and scikit-learn."""

import contextlib
import io
import math

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from sklearn.metrics import roc_auc_score

from sam3_angio.coco import encode_mask, mask_box
from sam3_angio.scoring.detection import (
    average_precision,
    detection_matches,
    precision_by_category,
    presence_scores,
    weighted_auc,
    weighted_precision,
)
from sam3_angio.scoring.statistics import Resampling

RESAMPLING = Resampling(samples=200, confidence=0.95, seed=0)
SIDE = 48


def square(row: int, column: int, side: int = 12) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[row : row + side, column : column + side] = True
    return mask


def entry(image: int, mask: np.ndarray, category: int = 1, **more: float) -> dict:
    rle = encode_mask(mask)
    return {
        "image_id": image,
        "category_id": category,
        "segmentation": {"size": list(rle.size), "counts": rle.counts},
        "bbox": list(mask_box(mask)),
        "area": int(mask.sum()),
        "iscrowd": 0,
        **more,
    }


def document(images: int, references: list[dict], categories: int = 1) -> dict:
    return {
        "images": [{"id": image, "height": SIDE, "width": SIDE} for image in range(1, images + 1)],
        "annotations": [mark | {"id": number} for number, mark in enumerate(references, 1)],
        "categories": [{"id": number, "name": str(number)} for number in range(1, categories + 1)],
    }


def owners(images: int) -> dict[int, str]:
    return {image: f"p{image // 3}" for image in range(1, images + 1)}


def random_case(seed: int, images: int) -> tuple[dict, list[dict]]:
    """Two categories, up to two objects of each a picture, moved and invented detections."""
    rng = np.random.default_rng(seed)
    references, results = [], []
    for image in range(1, images + 1):
        for category in (1, 2):
            for _ in range(rng.integers(0, 3)):
                mask = square(*rng.integers(4, 30, 2), side=int(rng.integers(8, 16)))
                references.append(entry(image, mask, category))
                for _ in range(rng.integers(0, 3)):
                    moved = np.roll(mask, rng.integers(-3, 4, 2), axis=(0, 1))
                    # Scores of one digit, so that many are equal.
                    score = round(float(rng.random()), 1)
                    results.append(entry(image, moved, category, score=score))
    return document(images, references, categories=2), results


# ---- by hand -----------------------------------------------------------------------------------


def test_exact_masks_have_precision_one():
    marks = [entry(image, square(10, 10)) for image in (1, 2)]
    precision = average_precision(
        document(2, marks), [mark | {"score": 0.9} for mark in marks], owners(2), RESAMPLING
    )
    assert precision.ap.mean == precision.ap50.mean == precision.ap75.mean == 1


def test_a_mask_of_iou_two_thirds_counts_at_thresholds_up_to_065():
    reference, found = square(10, 10, 10), square(10, 10, 10)
    reference[:, 18:] = False  # 8 of 10 columns
    found[:, :12] = False  # the other 8: common 6, united 10, IoU 0.6
    precision = average_precision(
        document(1, [entry(1, reference)]), [entry(1, found, score=0.9)], owners(1), RESAMPLING
    )
    # 0.50, 0.55 and 0.60 of ten thresholds.
    assert precision.ap.mean == pytest.approx(0.3)
    assert (precision.ap50.mean, precision.ap75.mean) == (1, 0)


def test_a_wrong_mask_with_a_higher_score_halves_the_precision():
    right, wrong = square(10, 10), square(30, 30)
    results = [entry(1, right, score=0.6), entry(1, wrong, score=0.9)]
    precision = average_precision(document(1, [entry(1, right)]), results, owners(1), RESAMPLING)
    assert precision.ap50.mean == pytest.approx(0.5)


def test_no_detection_is_zero_and_no_object_is_undefined():
    mark = entry(1, square(10, 10))
    assert average_precision(document(1, [mark]), [], owners(1), RESAMPLING).ap.mean == 0
    precision = average_precision(document(1, []), [mark | {"score": 1.0}], owners(1), RESAMPLING)
    assert math.isnan(precision.ap.mean)
    assert math.isnan(precision.ap.low)


def test_presence_is_said_from_the_threshold_on():
    scores = presence_scores(
        probability=[0.9, 0.5, 0.4, 0.6, 0.1],
        present=[True, True, True, False, False],
        patients=["a", "a", "b", "b", "c"],
        threshold=0.5,
        resampling=RESAMPLING,
    )
    assert scores.recall.mean == pytest.approx(2 / 3)
    assert scores.specificity.mean == pytest.approx(1 / 2)
    assert scores.accuracy.mean == pytest.approx(3 / 5)
    # Of six pairs, 0.5 and 0.4 lie below 0.6.
    assert scores.auc.mean == pytest.approx(4 / 6)


def test_without_negatives_only_recall_and_accuracy_are_defined():
    scores = presence_scores([0.9, 0.2], [True, True], ["a", "b"], 0.5, RESAMPLING)
    assert scores.recall.mean == scores.accuracy.mean == 0.5
    assert math.isnan(scores.specificity.mean)
    assert math.isnan(scores.auc.mean)


# ---- against other implementations ---------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_agrees_with_pycocotools(seed):
    truth, results = random_case(seed, images=30)
    precision = average_precision(truth, results, owners(30), RESAMPLING)
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = truth
        reference.createIndex()
        detections = reference.loadRes([dict(result) for result in results])
        evaluator = COCOeval(reference, detections, "segm")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    figures = [precision.ap.mean, precision.ap50.mean, precision.ap75.mean]
    np.testing.assert_allclose(figures, evaluator.stats[:3])


def test_the_interval_is_that_of_the_evaluator_run_on_resampled_pictures():
    images = 12
    truth, results = random_case(7, images)
    patients = {image: f"p{image:02}" for image in range(1, images + 1)}
    precision = average_precision(truth, results, patients, RESAMPLING)
    rng = np.random.default_rng(0)
    resampled = []
    for _ in range(60):
        copies, found = [], []
        for number, image in enumerate(rng.integers(1, images + 1, images), 1):
            of_image = {"image_id": number}
            copies += [m | of_image for m in truth["annotations"] if m["image_id"] == image]
            found += [r | of_image for r in results if r["image_id"] == image]
        copy = document(images, copies, categories=2)
        nobody = dict.fromkeys(range(1, images + 1), "p")
        resampled.append(average_precision(copy, found, nobody, RESAMPLING).ap50.mean)
    low, high = np.percentile(resampled, [2.5, 97.5])
    width = high - low
    assert precision.ap50.low == pytest.approx(low, abs=0.3 * width)
    assert precision.ap50.high == pytest.approx(high, abs=0.3 * width)


@pytest.mark.parametrize("seed", range(3))
def test_weights_count_pictures_as_often_as_the_evaluator_would_see_them(seed):
    images = 9
    truth, results = random_case(seed, images)
    patients = {image: f"p{image % 4}" for image in range(1, images + 1)}
    weights = np.random.default_rng(seed).integers(0, 4, 4)
    copies, found, number = [], [], 0
    for image, patient in patients.items():
        for _ in range(weights[int(patient[1])]):
            number += 1
            copies += [
                m | {"image_id": number} for m in truth["annotations"] if m["image_id"] == image
            ]
            found += [r | {"image_id": number} for r in results if r["image_id"] == image]
    nobody = dict.fromkeys(range(1, number + 1), "p")
    expected = average_precision(document(number, copies, categories=2), found, nobody, RESAMPLING)
    matches = detection_matches(truth, results, patients)
    for thresholds, figure in ((slice(None), expected.ap), (slice(0, 1), expected.ap50)):
        weighted = weighted_precision(matches, thresholds).of_weights(weights[None].astype(float))
        assert weighted[0] == pytest.approx(figure.mean)


def test_categories_average_to_the_whole():
    truth, results = random_case(4, images=20)
    precision = precision_by_category(truth, results, owners(20), RESAMPLING)
    assert set(precision) == {None, 1, 2}
    mean = (precision[1].ap.mean + precision[2].ap.mean) / 2
    assert precision[None].ap.mean == pytest.approx(mean)


@pytest.mark.parametrize("seed", range(4))
def test_the_area_under_the_curve_agrees_with_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    positive = rng.random(60) < 0.4
    scores = np.round(rng.random(60) + 0.3 * positive, 1)
    patients = rng.integers(0, 7, 60)
    weights = rng.integers(0, 3, 7)
    area = weighted_auc(scores, positive, [f"p{number}" for number in patients])
    expected = (
        roc_auc_score(positive, scores),
        roc_auc_score(positive, scores, sample_weight=weights[patients]),
    )
    figures = area.of_weights(np.stack([np.ones(7), weights]).astype(float))
    assert figures == pytest.approx(np.array(expected))
