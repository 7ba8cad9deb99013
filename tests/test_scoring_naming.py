"""Names of segments: by hand, against scikit-learn, and properties."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, cohen_kappa_score, confusion_matrix, f1_score

from sam3_angio.anatomy import analysed_segments
from sam3_angio.scoring import naming
from sam3_angio.scoring.naming import (
    MIN_IOU,
    OUTCOMES,
    given_name,
    kappa,
    macro_f1,
    naming_figures,
    outcome,
)
from sam3_angio.scoring.statistics import Resampling, estimate_figure

SEGMENTS = analysed_segments()
ABSENT = len(SEGMENTS)
PLACE = {number: place for place, number in enumerate(SEGMENTS)}
RESAMPLING = Resampling(samples=200, confidence=0.95, seed=0)


def name_of(presence: list[float], iou: list[float]) -> int:
    return given_name(np.array(presence), np.array(iou), np.array(presence) >= 0.5)


def random_names(seed: int, count: int = 80) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    true = rng.integers(0, ABSENT - 3, count)
    named = np.where(rng.random(count) < 0.5, true, rng.integers(0, ABSENT + 1, count))
    return true, named


# ---- by hand -----------------------------------------------------------------------------------


def test_a_segment_takes_the_name_with_the_highest_presence_times_overlap():
    assert name_of([0.9, 0.6], [0.3, 0.4]) == 0  # 0.27 and 0.24
    assert name_of([0.9, 0.6], [0.2, 0.4]) == 1  # 0.18 and 0.24


def test_a_phrase_said_to_be_absent_names_nothing():
    assert name_of([0.49, 0.5], [0.9, 0.2]) == 1
    assert name_of([0.49, 0.2], [0.9, 0.9]) == 2


def test_a_mask_elsewhere_names_nothing():
    assert name_of([0.99, 0.99], [0.0, MIN_IOU - 0.01]) == 2
    assert name_of([0.5, 0.99], [MIN_IOU, 0.0]) == 0


def test_ties_go_to_the_lower_number():
    assert name_of([0.8, 0.8], [0.5, 0.5]) == 0


@pytest.mark.parametrize(
    ("true", "named", "expected"),
    [
        (12, 12, "right"),
        (12, 13, "neighbour"),
        (28, 18, "neighbour"),  # the table has 28 as similar to 18, not the other way round
        (12, 19, "same artery"),
        (12, 2, "other artery"),
    ],
)
def test_errors_are_told_apart_by_anatomy(true, named, expected):
    assert outcome(PLACE[true], PLACE[named]) == expected
    assert outcome(PLACE[true], ABSENT) == "absent"


def test_figures_of_five_frames():
    # Proximal LAD: right, mid LAD, absent. Mid RCA: right, right.
    true = np.array([PLACE[12]] * 3 + [PLACE[2]] * 2)
    named = np.array([PLACE[12], PLACE[13], ABSENT, PLACE[2], PLACE[2]])
    figures = naming_figures(true, named, ["a", "a", "b", "b", "c"])
    value = {name: estimate_figure(of, RESAMPLING).mean for name, of in figures.items()}
    assert value["top1"] == pytest.approx(3 / 5)
    # F1 of proximal LAD: precision 1, recall 1/3; of mid RCA 1. Mid LAD does not occur.
    assert value["macro_f1"] == pytest.approx((0.5 + 1) / 2)
    assert value["named_neighbour"] == value["named_absent"] == pytest.approx(1 / 5)
    assert value["named_same_artery"] == value["named_other_artery"] == 0
    # Chance: 3/5 · 1/5 + 2/5 · 2/5 = 7/25, so (15 - 7) / (25 - 7).
    assert value["kappa"] == pytest.approx(8 / 18)


def test_a_matrix_without_frames_has_no_figures():
    nothing = np.zeros((1, ABSENT, ABSENT + 1))
    assert math.isnan(macro_f1(nothing)[0])
    assert math.isnan(kappa(nothing)[0])


# ---- against scikit-learn ------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_figures_agree_with_scikit_learn(seed):
    true, named = random_names(seed)
    matrix = naming.confusion_matrix(true, named)
    expected = confusion_matrix(true, named, labels=range(ABSENT + 1))
    np.testing.assert_array_equal(matrix, expected[:-1])
    figures = naming_figures(true, named, ["p"] * len(true))
    value = {name: estimate_figure(of, RESAMPLING).mean for name, of in figures.items()}
    occurring = np.unique(true)
    assert value["top1"] == pytest.approx(accuracy_score(true, named))
    assert value["macro_f1"] == pytest.approx(
        f1_score(true, named, labels=occurring, average="macro", zero_division=0)
    )
    assert value["kappa"] == pytest.approx(cohen_kappa_score(true, named))


def test_weights_count_a_patients_frames_as_often():
    true, named = random_names(7)
    patients = np.arange(len(true)) % 5
    weights = np.array([0, 1, 3, 2, 1])
    figures = naming_figures(true, named, [f"p{number}" for number in patients])
    rows = np.repeat(np.arange(len(true)), weights[patients])
    again = naming_figures(true[rows], named[rows], ["p"] * len(rows))
    for name, figure in figures.items():
        assert figure.of_weights(weights[None].astype(float)) == pytest.approx(
            again[name].of_weights(np.ones((1, 1)))
        )


# ---- properties --------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, ABSENT - 1), st.integers(0, ABSENT)), min_size=1))
def test_outcomes_add_up_to_all_frames(pairs):
    true, named = (np.array(part) for part in zip(*pairs, strict=True))
    figures = naming_figures(true, named, ["p"] * len(pairs))
    shares = [figures["top1"], *(of for name, of in figures.items() if name.startswith("named"))]
    assert len(shares) == len(OUTCOMES)
    total = sum(float(of.of_weights(np.ones((1, 1)))[0]) for of in shares)
    assert total == pytest.approx(1)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=14))
def test_the_name_is_said_to_be_there_and_covers_the_segment(claims):
    presence, iou = (list(part) for part in zip(*claims, strict=True))
    place = name_of(presence, iou)
    if place < len(claims):
        assert presence[place] >= 0.5
        assert iou[place] >= MIN_IOU
    else:
        assert all(p < 0.5 or i < MIN_IOU for p, i in claims)
