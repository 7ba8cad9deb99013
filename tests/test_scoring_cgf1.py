"""SAM 3's evaluator on this project's frames: by hand, and the formula behind the intervals."""

import subprocess
import sys

import numpy as np
import pytest
from segment_case import Skill, answers_of, drawn_cases, tube, write_data, write_predictions
from sklearn.metrics import matthews_corrcoef

from sam3_angio.coco import annotate, encode_mask
from sam3_angio.scoring.cgf1 import Pair, pairs_of, score_pairs
from sam3_angio.scoring.predictions import Instance, Query
from sam3_angio.scoring.segments import read_segment_frames

SIDE = 40


def square(row: int, column: int, height: int = 10, width: int = 10) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[row : row + height, column : column + width] = True
    return mask


def pair(
    objects: list[np.ndarray], found: list[tuple[float, np.ndarray]], patient: str = "p0"
) -> Pair:
    instances = tuple(
        Instance(score=score, mask=encode_mask(mask), bbox=(0.0, 0.0, 1.0, 1.0))
        for score, mask in found
    )
    return Pair(
        patient=patient,
        shape_px=(SIDE, SIDE),
        query=Query(
            query_id=1,
            frame_id="f",
            category_id=12,
            phrase="proximal LAD",
            presence=0.9,
            instances=instances,
            semantic=None,
        ),
        objects=tuple(
            annotate(mask, annotation_id=number, image_id=1, category_id=12, phrase="")
            for number, mask in enumerate(objects, 1)
        ),
    )


# ---- by hand -----------------------------------------------------------------------------------


def test_four_pairs():
    # Found exactly, found at some of the thresholds, missed, and found where there is nothing;
    # and a negative that is left alone. IoU of the second: 80 of 100 pixels, 7 of 10 thresholds.
    pairs = [
        pair([square(0, 0)], [(0.9, square(0, 0))]),
        pair([square(0, 0)], [(0.8, square(0, 0, 10, 8))]),
        pair([square(0, 0)], [(0.4, square(0, 0))]),
        pair([], [(0.7, square(20, 20))]),
        pair([], []),
    ]
    figures = score_pairs(pairs, threshold=0.5).figures
    # Image level: 2 found, 1 invented, 1 right silence, 1 missed.
    mcc = (2 * 1 - 1 * 1) / np.sqrt(3 * 3 * 2 * 2)
    assert figures["il_mcc"] == pytest.approx(mcc, abs=1e-4)
    # IoU 0.8 counts at 0.50 to 0.80: precision 2/2, recall 2/3, F1 0.8; above 1/2, 1/3, 0.4.
    assert figures["pmf1"] == pytest.approx((7 * 0.8 + 3 * 0.4) / 10, abs=1e-3)
    assert figures["cgf1"] == pytest.approx(mcc * 0.68, abs=1e-3)
    assert figures["cgf1_50"] == pytest.approx(mcc * 0.8, abs=1e-3)


def test_one_to_one_matching_leaves_a_second_mask_wrong():
    pairs = [pair([square(0, 0)], [(0.9, square(0, 0)), (0.8, square(0, 0))]), pair([], [])]
    figures = score_pairs(pairs, threshold=0.5).figures
    assert figures["pmf1"] == pytest.approx(2 / 3, abs=1e-3)  # precision 1/2, recall 1
    assert figures["il_mcc"] == pytest.approx(1, abs=1e-4)


def test_without_negatives_there_is_no_correlation():
    figures = score_pairs([pair([square(0, 0)], [(0.9, square(0, 0))])], threshold=0.5).figures
    assert figures["il_mcc"] == figures["cgf1"] == 0
    assert figures["pmf1"] == pytest.approx(1, abs=1e-3)


def test_the_threshold_is_the_settings():
    pairs = [pair([square(0, 0)], [(0.4, square(0, 0))]), pair([], [])]
    assert score_pairs(pairs, threshold=0.3).figures["cgf1"] == pytest.approx(1, abs=1e-3)
    assert score_pairs(pairs, threshold=0.5).figures["cgf1"] == 0


def test_nothing_found_anywhere_is_zero():
    figures = score_pairs([pair([square(0, 0)], []), pair([], [])], threshold=0.5).figures
    assert figures == {"cgf1": 0, "cgf1_50": 0, "pmf1": 0, "il_mcc": 0}


# ---- which pairs -------------------------------------------------------------------------------


def test_the_three_references_decide_different_pairs(tmp_path):
    cases = drawn_cases(frames=12, patients=4)
    write_data(tmp_path, cases)
    write_predictions(tmp_path / "predictions", cases, answers_of(cases, Skill()))
    frames = read_segment_frames(tmp_path / "dataset", tmp_path / "truth", tmp_path / "predictions")
    count = {name: len(pairs_of(frames, name)) for name in ("annotated", "known", "truth")}
    assert count["annotated"] == count["truth"] == 12 * 17
    expected = {"LCA": 1 + 4 + 3, "RCA": 1 + 10 + 3}
    assert count["known"] == sum(expected[case.artery] for case in cases)
    objects = {name: sum(len(of.objects) for of in pairs_of(frames, name)) for name in count}
    assert objects == {
        "annotated": 12,
        "known": 12,
        "truth": sum(len(case.masks) for case in cases),
    }


# ---- against other implementations ---------------------------------------------------------------


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cgf1")
    cases = drawn_cases(frames=30, patients=9)
    write_data(folder, cases)
    write_predictions(folder / "predictions", cases, answers_of(cases, Skill()))
    frames = read_segment_frames(folder / "dataset", folder / "truth", folder / "predictions")
    pairs = pairs_of(frames, "truth")
    return pairs, score_pairs(pairs, 0.5)


def test_the_formula_behind_the_intervals_is_the_evaluators(scored):
    pairs, scores = scored
    for name, figure in scores.weighted.items():
        count = len({of.patient for of in pairs})
        assert figure.of_weights(np.ones((1, count)))[0] == pytest.approx(
            scores.figures[name], abs=1e-9
        )


def test_weights_are_the_evaluators_figure_of_repeated_pairs(scored):
    pairs, scores = scored
    weights = np.random.default_rng(1).integers(0, 3, 9)
    names = sorted({of.patient for of in pairs})
    repeated = [of for of in pairs for _ in range(weights[names.index(of.patient)])]
    again = score_pairs(repeated, 0.5)
    for name, figure in scores.weighted.items():
        assert figure.of_weights(weights[None].astype(float))[0] == pytest.approx(
            again.figures[name], abs=1e-9
        )


def test_the_correlation_agrees_with_scikit_learn(scored):
    pairs, scores = scored
    there = [bool(of.objects) for of in pairs]
    said = [any(one.score >= 0.5 for one in of.query.instances) for of in pairs]
    assert scores.figures["il_mcc"] == pytest.approx(matthews_corrcoef(there, said), abs=1e-6)


def test_the_evaluator_needs_neither_torch_nor_the_model():
    code = (
        "import sys; from sam3_angio.scoring.cgf1 import _evaluator; _evaluator();"
        "sys.exit(bool({'torch', 'sam3'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_empty_answer_is_no_detection():
    # A mask without pixels and with a high score is still an answer, as in the evaluator.
    empty = np.zeros((SIDE, SIDE), dtype=bool)
    figures = score_pairs([pair([], [(0.9, empty)]), pair([tube(0, SIDE)], [])], 0.5).figures
    assert figures["il_mcc"] == pytest.approx(-1, abs=1e-4)
