"""Lesions found and missed, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sam3_angio.scoring.lesions import (
    FoundLesion,
    Hits,
    LesionFrame,
    ReferenceLesion,
    detection_figures,
    froc_curve,
    match_lesions,
)
from sam3_angio.scoring.statistics import WeightedFigure


def value(figure: WeightedFigure) -> float:
    return float(figure.of_weights(np.ones((1, len(figure.patients))))[0])


def frame(*found: tuple[float, float, float], lesions: int = 1) -> LesionFrame:
    """Return a frame with lesions of 10 mm at y = 0, 100, …, at 0.5 mm a pixel, 3 mm wide."""
    return LesionFrame(
        frame_id="f",
        patient="p",
        scale_mm=(0.5, 0.5),
        reference=tuple(
            ReferenceLesion(line_px=((0.0, y), (10.0, y), (20.0, y)), rvd_mm=3.0)
            for y in (100.0 * number for number in range(lesions))
        ),
        found=tuple(FoundLesion(centre_px=(x, y), score=score) for x, y, score in found),
    )


@pytest.mark.parametrize(("y", "hit"), [(0.0, True), (7.9, True), (8.1, False)])
def test_a_hit_lies_within_half_a_diameter_and_the_tolerance(y: float, hit: bool) -> None:
    matched = match_lesions(frame((10.0, y, 0.8)))  # 1.5 mm + 2.5 mm are 8 pixels
    assert (matched.lesion_scores[0] == 0.8) == hit
    assert (matched.false_scores == (0.8,)) != hit


def test_beyond_the_end_of_a_lesion_the_distance_is_that_of_its_end() -> None:
    assert match_lesions(frame((27.0, 0.0, 0.8))).lesion_scores == (0.8,)
    assert match_lesions(frame((29.0, 0.0, 0.8))).lesion_scores == (-1.0,)


def test_further_hits_of_a_lesion_are_neither_true_nor_false() -> None:
    matched = match_lesions(frame((5.0, 0.0, 0.4), (15.0, 0.0, 0.9)))
    assert matched == Hits(lesion_scores=(0.9,), false_scores=())


def test_each_find_goes_to_its_nearest_lesion() -> None:
    matched = match_lesions(frame((5.0, 100.0, 0.4), lesions=2))
    assert matched.lesion_scores == (-1.0, 0.4)


def test_everything_in_a_frame_without_a_lesion_is_false() -> None:
    assert match_lesions(frame((5.0, 0.0, 0.4), lesions=0)).false_scores == (0.4,)


HITS = (
    Hits(lesion_scores=(0.9,), false_scores=()),
    Hits(lesion_scores=(0.6,), false_scores=(0.7,)),
    Hits(lesion_scores=(-1.0,), false_scores=()),
    Hits(lesion_scores=(), false_scores=(0.2,)),
)
PATIENTS = ("a", "b", "c", "d")


def test_rates_at_a_threshold_by_hand() -> None:
    figures = detection_figures(HITS, PATIENTS, 0.5)
    assert value(figures["sensitivity"]) == pytest.approx(2 / 3)
    assert value(figures["ppv"]) == pytest.approx(2 / 3)
    assert value(figures["false_per_frame"]) == pytest.approx(1 / 4)


def test_the_curve_by_hand() -> None:
    thresholds, false, sensitivity = froc_curve(HITS)
    assert thresholds.tolist() == [2.0, 0.9, 0.7, 0.6, 0.2]
    assert false == pytest.approx([0, 0, 1 / 4, 1 / 4, 1 / 2])
    assert sensitivity == pytest.approx([0, 1 / 3, 1 / 3, 2 / 3, 2 / 3])


def test_the_mean_sensitivity_by_hand() -> None:
    # at 1/8 false a frame one of three, from 1/4 on two of three
    assert value(detection_figures(HITS, PATIENTS, 0.5)["froc"]) == pytest.approx((1 + 3 * 2) / 12)


def test_without_lesions_sensitivity_is_undefined() -> None:
    figures = detection_figures(HITS[3:], PATIENTS[3:], 0.5)
    assert np.isnan(value(figures["sensitivity"]))
    assert np.isnan(value(figures["ppv"]))  # nothing reaches the threshold
