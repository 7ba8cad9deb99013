"""Presence of phrases: by hand, and against scikit-learn."""

import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, roc_auc_score

from sam3_angio.scoring.answers import AnswerScores, FrameScores, SaidRule
from sam3_angio.scoring.presence import BINS, calibration, presence_figures
from sam3_angio.scoring.segments import RIGHT, SegmentFrame
from sam3_angio.scoring.statistics import Resampling, estimate_figure

RESAMPLING = Resampling(samples=200, confidence=0.95, seed=0)
KINDS = ("annotated", "visible", "other artery", "absent", "nonsense", "unknown")
FRAME = SegmentFrame(
    frame_id="p0-1",
    patient="p0",
    artery="LCA",
    view="LAO",
    shape_px=(8, 8),
    spacing_mm=(1.0, 1.0),
    segment=12,
    annotated=None,
    visible=None,
    answers=(),
)


def frames_of(*answers: tuple[str, float] | tuple[str, float, float], patients: int = 1):
    """Spread (standing, presence, agreement) triples over patients, one frame each."""
    scored = [
        AnswerScores(
            phrase=str(number),
            category=0,
            standing=kind,
            presence=presence,
            score=presence,
            agreement=agreement[0] if agreement else math.nan,
            iou_annotated=0.0,
            iou_truth=math.nan,
        )
        for number, (kind, presence, *agreement) in enumerate(answers)
    ]
    return [
        FrameScores(
            frame=replace(FRAME, patient=f"p{number}"),
            answers=tuple(scored[number::patients]),
            masks={},
        )
        for number in range(patients)
    ]


def means(frames: list[FrameScores], agreement: float = 0.0) -> dict[str, float]:
    figures = presence_figures(frames, SaidRule(presence=0.5, agreement=agreement))
    return {name: estimate_figure(of, RESAMPLING).mean for name, of in figures.items()}


def random_answers(seed: int, count: int = 200) -> list[tuple[str, float]]:
    rng = np.random.default_rng(seed)
    kinds = rng.choice(KINDS[:-1], count)
    lift = np.isin(kinds, RIGHT) * 0.3
    return list(zip(kinds.tolist(), np.clip(rng.random(count) * 0.8 + lift, 0, 1), strict=True))


# ---- by hand -----------------------------------------------------------------------------------


def test_rates_are_by_kind_of_phrase_and_pooled_over_all_wrong_ones():
    value = means(
        frames_of(
            ("annotated", 0.9),
            ("annotated", 0.4),
            ("visible", 0.5),
            ("other artery", 0.6),
            ("other artery", 0.1),
            ("other artery", 0.1),
            ("absent", 0.7),
            ("nonsense", 0.2),
            ("unknown", 0.99),
        )
    )
    assert value["recall_annotated"] == pytest.approx(1 / 2)
    assert value["recall_visible"] == pytest.approx(2 / 3)
    assert value["false_positives_other_artery"] == pytest.approx(1 / 3)
    assert value["false_positives_absent"] == 1
    assert value["false_positives_nonsense"] == 0
    assert value["false_positives_pooled"] == pytest.approx(2 / 5)


def test_a_kind_that_does_not_occur_has_no_rate():
    value = means(frames_of(("annotated", 0.9), ("nonsense", 0.1), ("unknown", 0.5)))
    assert "false_positives_absent" not in value
    assert "recall_visible" not in value
    assert value["false_positives_pooled"] == 0
    assert value["auc"] == 1


def test_what_is_drawn_in_two_places_is_not_said_to_be_there():
    answers = [
        ("annotated", 0.9, 0.8),
        ("annotated", 1.0, 0.4),
        ("visible", 0.8, 0.7),
        ("absent", 0.9, 0.2),
        ("absent", 1.0, 0.5),
        ("other artery", 0.4, 1.0),
        ("nonsense", 0.1, 0.0),
    ]
    alone = means(frames_of(*answers))
    assert alone["recall_annotated"] == alone["false_positives_absent"] == 1
    value = means(frames_of(*answers), agreement=0.5)
    assert value["recall_annotated"] == pytest.approx(1 / 2)
    assert value["recall_visible"] == pytest.approx(2 / 3)
    assert value["false_positives_absent"] == pytest.approx(1 / 2)
    assert value["false_positives_other_artery"] == 0
    assert value["false_positives_pooled"] == pytest.approx(1 / 4)
    for name in ("recall_annotated", "recall_visible", "false_positives_pooled"):
        assert value[f"presence_{name}"] == alone[name]
    sure = [presence * agreement for _, presence, agreement in answers]
    there = [kind in RIGHT for kind, *_ in answers]
    assert value["agreed_auc"] == pytest.approx(roc_auc_score(there, sure))


def test_without_a_second_head_there_is_nothing_to_agree_with():
    value = means(frames_of(("annotated", 0.9), ("absent", 0.7)))
    assert not [name for name in value if name.startswith("agreed")]


def test_what_nobody_knows_takes_no_part():
    known = [("annotated", 0.8), ("other artery", 0.3)]
    assert means(frames_of(*known)) == means(frames_of(*known, ("unknown", 1.0)))


def test_calibration_of_four_answers():
    frames = frames_of(("annotated", 0.82), ("nonsense", 0.88), ("absent", 0.1), ("visible", 1.0))
    bins = {of.low: of for of in calibration(frames) if of.n}
    # 0.1 opens its bin, and 1.0 belongs to the last.
    assert {low: of.n for low, of in bins.items()} == {0.1: 1, 0.8: 2, 0.9: 1}
    assert (bins[0.8].presence, bins[0.8].right) == (pytest.approx(0.85), 0.5)
    value = means(frames)
    assert value["ece"] == pytest.approx((2 * 0.35 + 0.1 + 0) / 4)
    squares = (0.18**2, 0.88**2, 0.1**2, 0)
    assert value["brier"] == pytest.approx(sum(squares) / 4)


# ---- against scikit-learn ------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_figures_agree_with_scikit_learn(seed):
    answers = random_answers(seed)
    there = np.array([kind in RIGHT for kind, _ in answers])
    probability = np.array([presence for _, presence in answers])
    frames = frames_of(*answers, patients=7)
    value = means(frames)
    assert value["auc"] == pytest.approx(roc_auc_score(there, probability))
    assert value["brier"] == pytest.approx(brier_score_loss(there, probability))
    right, said = calibration_curve(there, probability, n_bins=BINS)
    bins = [of for of in calibration(frames) if of.n]
    np.testing.assert_allclose([of.right for of in bins], right)
    np.testing.assert_allclose([of.presence for of in bins], said)
    weights = np.array([of.n for of in bins]) / len(answers)
    assert value["ece"] == pytest.approx((weights * np.abs(right - said)).sum())
