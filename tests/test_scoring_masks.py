"""Scores of masks: by hand, against other implementations, and properties."""

import math

import numpy as np
import pytest
import surface_distance
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage
from skimage.draw import disk
from skimage.morphology import skeletonize

from sam3_angio.scoring.masks import MaskScores, compare, dice, iou, measure

SQUARE_MM = (1.0, 1.0)


def drawn(*rows: str) -> np.ndarray:
    """A mask from a drawing: # is inside."""
    return np.array([[sign == "#" for sign in row] for row in rows])


def scores(reference, prediction, spacing_mm=SQUARE_MM) -> MaskScores:
    return compare(measure(reference, spacing_mm), measure(prediction, spacing_mm))


def vessels(seed: int, side: int = 160, width_px: float = 3.0) -> np.ndarray:
    """Three winding tubes."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((side, side), dtype=bool)
    for _ in range(3):
        point, angle = rng.uniform(0.2 * side, 0.8 * side, 2), rng.uniform(0, 2 * math.pi)
        for _ in range(side // 2):
            angle += rng.normal(0, 0.1)
            point += (math.sin(angle), math.cos(angle))
            mask[disk(point, width_px, shape=mask.shape)] = True
    return mask


# ---- by hand -----------------------------------------------------------------------------------


def test_overlap_of_two_bars_that_share_two_of_four_pixels():
    reference = drawn("......", ".####.", "......")
    prediction = drawn("......", "...###", "......")
    # common 2, areas 4 and 3, union 5
    assert dice(reference, prediction) == pytest.approx(4 / 7)
    assert iou(reference, prediction) == pytest.approx(2 / 5)


def test_distances_of_two_parallel_lines_are_their_distance_in_mm():
    reference = drawn("######", "......", "......", "......")
    prediction = drawn("......", "......", "......", "######")
    result = scores(reference, prediction, spacing_mm=(0.3, 5.0))
    assert result.hd95_mm == pytest.approx(0.9)
    assert result.assd_mm == pytest.approx(0.9)


def test_distances_count_the_spacing_of_columns_too():
    reference = drawn("#.....", "#.....")
    prediction = drawn("....#.", "....#.")
    assert scores(reference, prediction, spacing_mm=(9.0, 0.25)).hd95_mm == pytest.approx(1.0)


def test_assd_and_hd95_of_a_line_and_its_longer_version():
    reference = drawn("####......")
    prediction = drawn("##########")
    result = scores(reference, prediction)
    # Four zeros there; back four zeros and 1, 2, … 6: the mean of 14, and the 95th percentile of
    # ten values lies 0.55 of the way from the ninth, 5, to the tenth, 6.
    assert result.assd_mm == pytest.approx(21 / 14)
    assert result.hd95_mm == pytest.approx(5.55)


def test_the_border_is_one_pixel_deep_and_runs_along_the_pictures_edge():
    mask = drawn("####", "####", "####", "####")
    border = measure(mask, SQUARE_MM).border_mm
    assert sorted(map(tuple, border)) == [
        (row, column) for row in range(4) for column in range(4) if {row, column} & {0, 3}
    ]


def test_cldice_of_lines_is_the_harmonic_mean_of_what_each_covers():
    reference = drawn("........", "########", "........", "........")
    prediction = drawn("........", "####....", "....####", "........")
    # Lines are their own centrelines. Four of eight reference pixels lie in the prediction, and
    # four of its eight lie in the reference.
    assert scores(reference, prediction).cldice == pytest.approx(0.5)
    half = drawn("........", "####....", "........", "........")
    # Precision 1, sensitivity 1/2.
    assert scores(reference, half).cldice == pytest.approx(2 / 3)


def test_cldice_forgives_a_wrong_width_and_dice_does_not():
    thick, thin = np.zeros((2, 21, 60), dtype=bool)
    thick[5:16, 5:55] = True
    thin[10, 5:55] = True
    result = scores(thick, thin)
    assert result.cldice > 0.85
    assert result.dice < 0.2


def test_parts_touch_at_corners_and_holes_do_not_leak_through_them():
    ring = drawn(
        ".....",
        "..#..",
        ".#.#.",
        "..#..",
        ".....",
    )
    solid = drawn(
        ".....",
        "..#..",
        ".###.",
        "..#..",
        "....#",
    )
    result = scores(ring, solid)
    assert measure(ring, SQUARE_MM).parts == 1
    assert measure(ring, SQUARE_MM).holes == 1
    assert result.holes_error == 1
    assert result.parts_error == 1


NOTHING = np.zeros((5, 7), dtype=bool)
SOMETHING = drawn(".......", "..###..", "..###..", ".......", ".......")


@pytest.mark.parametrize(("reference", "prediction"), [(SOMETHING, NOTHING), (NOTHING, SOMETHING)])
def test_one_empty_mask_has_no_overlap_and_no_distance(reference, prediction):
    result = scores(reference, prediction)
    assert (result.dice, result.iou, result.cldice) == (0, 0, 0)
    assert math.isnan(result.hd95_mm)
    assert math.isnan(result.assd_mm)
    assert result.parts_error == 1


def test_two_empty_masks_have_undefined_scores():
    result = scores(NOTHING, NOTHING)
    for name in ("dice", "iou", "cldice", "hd95_mm", "assd_mm"):
        assert math.isnan(getattr(result, name)), name
    assert result.parts_error == result.holes_error == 0


def test_unknown_spacing_makes_distances_undefined_and_nothing_else():
    result = scores(SOMETHING, SOMETHING, spacing_mm=(math.nan, math.nan))
    assert math.isnan(result.hd95_mm)
    assert math.isnan(result.assd_mm)
    assert (result.dice, result.cldice) == (1, 1)


def test_masks_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="different shapes"):
        dice(NOTHING, NOTHING[:-1])


# ---- against other implementations ---------------------------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize("seed", range(4))
def test_all_agree_with_monai(seed):
    import torch
    from monai.metrics import (
        compute_average_surface_distance,
        compute_dice,
        compute_hausdorff_distance,
        compute_iou,
    )

    spacing_mm = (0.31, 0.27)
    reference, prediction = vessels(seed), vessels(seed + 50, width_px=4)
    as_batch = [torch.from_numpy(mask)[None, None] for mask in (prediction, reference)]
    result = scores(reference, prediction, spacing_mm)
    assert result.dice == pytest.approx(compute_dice(*as_batch).item(), rel=1e-6)
    assert result.iou == pytest.approx(compute_iou(*as_batch).item(), rel=1e-6)
    options = {"include_background": True, "spacing": spacing_mm}
    hd95 = compute_hausdorff_distance(*as_batch, percentile=95, **options)
    assert result.hd95_mm == pytest.approx(hd95.item(), rel=1e-5)
    assd = compute_average_surface_distance(*as_batch, symmetric=True, **options)
    assert result.assd_mm == pytest.approx(assd.item(), rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_distances_agree_with_surface_distance_within_a_pixel(seed):
    # That library puts the border between pixels and weights its elements by their length.
    spacing_mm = (0.31, 0.27)
    reference, prediction = np.pad(vessels(seed), 8), np.pad(vessels(seed, width_px=4), 8)
    prediction = np.roll(prediction, (3, 2), axis=(0, 1))
    result = scores(reference, prediction, spacing_mm)
    distances = surface_distance.compute_surface_distances(reference, prediction, spacing_mm)
    assert result.hd95_mm == pytest.approx(
        surface_distance.compute_robust_hausdorff(distances, 95), abs=max(spacing_mm)
    )
    there, back = surface_distance.compute_average_surface_distance(distances)
    assert result.assd_mm == pytest.approx((there + back) / 2, abs=min(spacing_mm) / 2)


@pytest.mark.parametrize("seed", range(4))
def test_cldice_agrees_with_the_papers_own_definition_spelt_out(seed):
    reference, prediction = vessels(seed), vessels(seed + 50, width_px=4)
    reference_line, prediction_line = skeletonize(reference), skeletonize(prediction)
    precision = np.sum(prediction_line * reference) / np.sum(prediction_line)
    sensitivity = np.sum(reference_line * prediction) / np.sum(reference_line)
    expected = 2 * precision * sensitivity / (precision + sensitivity)
    assert scores(reference, prediction).cldice == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(4))
def test_distances_agree_with_distance_maps(seed):
    reference, prediction = vessels(seed), vessels(seed + 50)
    borders = [mask & ~ndimage.binary_erosion(mask) for mask in (reference, prediction)]
    maps = [ndimage.distance_transform_edt(~border, sampling=(0.2, 0.4)) for border in borders]
    pooled = np.concatenate([maps[1][borders[0]], maps[0][borders[1]]])
    result = scores(reference, prediction, spacing_mm=(0.2, 0.4))
    assert result.assd_mm == pytest.approx(pooled.mean())
    assert result.hd95_mm == pytest.approx(
        max(np.percentile(maps[1][borders[0]], 95), np.percentile(maps[0][borders[1]], 95))
    )


# ---- properties --------------------------------------------------------------------------------

pairs = array_shapes(min_dims=2, max_dims=2, min_side=3, max_side=24).flatmap(
    lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape))
)


def as_list(result: MaskScores) -> list[float]:
    return [getattr(result, name) for name in MaskScores.__dataclass_fields__]


@settings(deadline=None)
@given(pairs)
def test_scores_are_symmetric_and_bounded(masks):
    there, back = scores(*masks), scores(*masks[::-1])
    np.testing.assert_allclose(as_list(there), as_list(back))
    for value in (there.dice, there.iou, there.cldice):
        assert math.isnan(value) or 0 <= value <= 1
    assert not there.hd95_mm < 0
    assert math.isnan(there.dice) or there.dice == pytest.approx(2 * there.iou / (1 + there.iou))


@settings(deadline=None)
@given(pairs, st.integers(0, 6), st.integers(0, 6))
def test_moving_both_masks_changes_nothing(masks, down, right):
    moved = [np.pad(mask, ((down + 1, 2), (right + 1, 3))) for mask in masks]
    fixed = [np.pad(mask, 1) for mask in masks]
    np.testing.assert_allclose(as_list(scores(*moved)), as_list(scores(*fixed)))


@settings(deadline=None)
@given(pairs, st.floats(0.05, 3))
def test_distances_scale_with_the_spacing(masks, scale):
    once, scaled = scores(*masks), scores(*masks, spacing_mm=(scale, scale))
    np.testing.assert_allclose(
        [scaled.hd95_mm, scaled.assd_mm], [scale * once.hd95_mm, scale * once.assd_mm]
    )


@settings(deadline=None)
@given(pairs)
def test_a_mask_agrees_fully_with_itself(masks):
    mask, _ = masks
    result = scores(mask, mask)
    if mask.any():
        assert as_list(result) == [1, 1, 1, 0, 0, 0, 0]
