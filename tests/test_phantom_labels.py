"""Masks, contours and lesions of the truth, against geometry and against each other."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.draw import polygon2mask

from sam3_angio.acquisition import ViewAngle
from sam3_angio.phantom.heart import grow_heart
from sam3_angio.phantom.labels import frame_truths, segment_contour, silhouette
from sam3_angio.phantom.lesion import LesionPlan, with_lesions
from sam3_angio.phantom.scene import set_up
from sam3_angio.phantom.xray import Field, ProjectionGeometry, Tube, aimed, path_lengths, project

SIZE = 512
LESIONS = (
    LesionPlan(cass=12, centre=0.5, length_mm=12, stenosis_pct=70, eccentricity=0.7),
    LesionPlan(cass=19, centre=0.4, length_mm=9, stenosis_pct=50),
    LesionPlan(cass=2, centre=0.5, length_mm=9, stenosis_pct=50),
)


def geometry(primary_deg=0.0, secondary_deg=0.0):
    return ProjectionGeometry(
        view=ViewAngle(primary_deg=primary_deg, secondary_deg=secondary_deg),
        sid_mm=1050.0,
        sod_mm=770.0,
        detector_spacing_mm=0.31,
        size_px=SIZE,
    )


@pytest.fixture(scope="module")
def shown():
    """A left tree with two lesions, RAO caudal: geometry, scene and the truth of LAD and LCX."""
    heart = with_lesions(grow_heart(12), LESIONS)
    placed = aimed(geometry(-25, -22), heart, "LCA")
    catheter = np.linspace((-5.0, 0.0, 120.0), heart.segment(11).centreline_mm[4], 200)
    scene = set_up(heart, "LCA", catheter[::-1], 6)
    return placed, scene, frame_truths(7, [12, 19], scene, placed)


# ---- silhouettes ------------------------------------------------------------------------------


def test_the_silhouette_of_a_rod_is_as_wide_as_it_is_drawn():
    # at the isocentre a pixel is 0.31 · 770 / 1050 = 0.22733 mm: 10 mm are 43.99 px
    axis = np.linspace((0, 0, -20), (0, 0, 20), 81)
    mask = silhouette(axis, np.full(81, 5.0), geometry())
    assert mask[256].sum() == 44
    assert mask[256].nonzero()[0].mean() == (SIZE - 1) / 2


@settings(max_examples=30, deadline=None)
@given(x=st.floats(-30, 30), z=st.floats(-30, 30), radius_mm=st.floats(2.5, 12))
def test_the_silhouette_of_a_ball_has_its_area_and_its_middle(x, z, radius_mm):
    axis = np.array([[x, 0, z], [x, 0, z + 1e-6]])
    mask = silhouette(axis, np.full(2, radius_mm), geometry())
    radius_px = radius_mm / geometry().object_spacing_mm
    rows, columns = mask.nonzero()
    middle = (SIZE - 1) / 2
    assert mask.sum() == pytest.approx(np.pi * radius_px**2, rel=0.06)
    assert columns.mean() == pytest.approx(middle + x / geometry().object_spacing_mm, abs=0.5)
    assert rows.mean() == pytest.approx(middle - z / geometry().object_spacing_mm, abs=0.5)


def test_the_silhouette_agrees_with_brute_force():
    rng = np.random.default_rng(4)
    axis = np.cumsum(rng.normal((0.8, 0, 0), 1.5, (40, 3)), axis=0) - (15, 0, 0)
    radius = np.linspace(3, 1, 40)
    mask = silhouette(axis, radius, geometry(20, 10))
    dense = np.linspace(0, 39, 40 * 60)
    many = np.stack([np.interp(dense, np.arange(40), column) for column in axis.T], axis=1)
    row, column = np.mgrid[:SIZE, :SIZE]
    expected = np.zeros_like(mask)
    points_px, magnification = project(many, geometry(20, 10))
    radius_px = np.interp(dense, np.arange(40), radius) * magnification / 0.31
    for (x, y), r in zip(points_px, radius_px, strict=True):
        expected |= (column - x) ** 2 + (row - y) ** 2 <= r * r
    assert (mask != expected).sum() <= 0.002 * expected.sum()


def test_masks_lie_where_the_rays_meet_the_vessels(shown):
    placed, scene, truths = shown
    tubes = [
        Tube(axis_mm=b.lumen_mm, radius_mm=b.radius_mm, weight=np.ones(len(b.radius_mm)))
        for b in scene.branches
    ]
    lengths = path_lengths(tubes, placed)
    mask = truths[0].tree_mask
    overlap = [
        (np.roll(mask, shift, (0, 1)) & (lengths > 0.25)).sum()
        for shift in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))
    ]
    assert np.argmax(overlap) == 0
    assert (lengths[mask] > 0).mean() > 0.98  # the ends of the mask are round
    assert (lengths[~mask] > 0.8).sum() < 0.01 * mask.sum()  # pixels that the border crosses


# ---- a frame's truth --------------------------------------------------------------------------


def test_every_segment_is_part_of_the_tree(shown):
    truth = shown[2][0]
    assert {11, 12, 13, 14, 15, 18, 19, 20} <= set(truth.segment_masks)
    for mask in truth.segment_masks.values():
        assert mask.any()
        assert not (mask & ~truth.tree_mask).any()
    assert truth.tree_mask.sum() > sum(
        truth.segment_masks[cass].sum() for cass in (12, 13, 14, 18, 19)
    )


def test_there_is_one_truth_for_each_analysed_segment(shown):
    assert [truth.analysed_cass for truth in shown[2]] == [12, 19]
    assert [truth.frame_index for truth in shown[2]] == [7, 7]


def test_the_contours_polygon_is_the_segments_mask(shown):
    for truth in shown[2]:
        contour = truth.contour
        outline = np.concatenate([contour.left_px, contour.right_px[::-1]])
        polygon = polygon2mask((SIZE, SIZE), outline[:, ::-1])
        mask = truth.segment_masks[truth.analysed_cass]
        assert (polygon & mask).sum() > 0.95 * (polygon | mask).sum()


def test_borders_are_a_diameter_apart(shown):
    placed, _, truths = shown
    for truth in truths:
        contour = truth.contour
        width_px = np.sqrt(((contour.left_px - contour.right_px) ** 2).sum(axis=1))
        width_mm = width_px * placed.object_spacing_mm
        # vessels lie up to 60 mm before or behind the isocentre
        np.testing.assert_allclose(width_mm, contour.diameter_mm, rtol=0.09)
        ideal_px = contour.ideal_left_px - contour.ideal_right_px
        ideal_mm = np.sqrt((ideal_px**2).sum(axis=1)) * placed.object_spacing_mm
        np.testing.assert_allclose(ideal_mm, contour.reference_mm, rtol=0.09)


def test_contours_run_evenly_from_proximal_to_distal(shown):
    for truth in shown[2]:
        contour = truth.contour
        assert 100 <= len(contour.centreline_px) <= 400
        steps = np.sqrt((np.diff(contour.centreline_px, axis=0) ** 2).sum(axis=1))
        assert steps.std() < 0.05 * steps.mean()
        assert (np.diff(contour.arc_mm) >= 0).all()
        assert (np.diff(contour.reference_mm) < 1e-9).all()  # tapers, so starts proximally
        assert contour.projected_arc_mm[-1] < 1.1 * contour.arc_mm[-1]


def test_left_is_the_left_hand_of_who_walks_down_the_vessel():
    # a vessel that runs down the picture: the walker's left hand is at the picture's right
    branch = grow_heart(1).segment(13)
    straight = np.linspace((0, 0, 20), (0, 0, -20), len(branch.radius_mm))
    down = replace(branch, centreline_mm=straight, lumen_mm=straight)
    contour = segment_contour(down, geometry())
    assert (contour.left_px[:, 0] > contour.right_px[:, 0]).all()


def test_a_healthy_vessels_ideal_borders_are_its_borders():
    branch = grow_heart(1).segment(13)
    contour = segment_contour(branch, geometry(-10, 35))
    np.testing.assert_allclose(contour.left_px, contour.ideal_left_px, atol=1e-9)
    np.testing.assert_allclose(contour.diameter_mm, contour.reference_mm)


def test_lesions_of_the_injected_artery_are_known_and_no_others(shown):
    assert [lesion.cass for lesion in shown[2][0].lesions] == [12, 19]


def test_a_lesion_is_where_the_contour_is_narrowest(shown):
    for truth, lesion in zip(shown[2], shown[2][0].lesions, strict=True):
        contour = truth.contour
        at = int((contour.diameter_mm / contour.reference_mm).argmin())
        gap = contour.centreline_px[at] - lesion.centre_px
        assert np.sqrt((gap**2).sum()) < 2
        assert contour.arc_mm[at] == pytest.approx(lesion.centre_mm, abs=0.5)
        assert contour.diameter_mm[at] == pytest.approx(lesion.mld_mm, rel=0.02)
        assert contour.reference_mm[at] == pytest.approx(lesion.rvd_mm, rel=0.02)


def test_a_lesions_numbers_are_the_plans(shown):
    for lesion, plan in zip(shown[2][0].lesions, LESIONS, strict=False):
        assert lesion.stenosis_pct == pytest.approx(plan.stenosis_pct)
        assert lesion.length_mm == pytest.approx(plan.length_mm)
        assert lesion.end_mm - lesion.start_mm == pytest.approx(plan.length_mm)
        assert 100 * (1 - lesion.mld_mm / lesion.rvd_mm) == pytest.approx(plan.stenosis_pct)


def test_a_side_branch_starts_at_its_parents_wall(shown):
    _, scene, _ = shown
    placed, _, _ = shown
    truth = frame_truths(7, [20], scene, placed)[0]
    whole = next(branch for branch in scene.branches if branch.cass == 20)
    assert truth.contour.arc_mm[0] == 0
    cut_mm = whole.arc_mm[-1] - truth.contour.arc_mm[-1]
    assert 0.5 < cut_mm < 8


def test_a_lesion_outside_the_field_is_not_in_its_truth(shown):
    placed, scene, truths = shown
    (x, y) = truths[0].lesions[0].centre_px
    for field in (
        Field(left_px=0, top_px=round(y) + 3, right_px=SIZE, bottom_px=SIZE),
        Field(left_px=round(x) + 3, top_px=0, right_px=SIZE, bottom_px=SIZE),
    ):
        truth = frame_truths(7, [12], scene, replace(placed, collimated=field))[0]
        assert 12 not in {lesion.cass for lesion in truth.lesions}


# ---- what the collimator leaves ---------------------------------------------------------------


def cut_above(shown, cass, share):
    """Put a blade across a segment, over this share of it from the top, and return the truth."""
    placed, scene, _ = shown
    branch = next(branch for branch in scene.branches if branch.cass == cass)
    rows_px = project(branch.lumen_mm, placed)[0][:, 1]
    top_px = round(rows_px.min() + share * np.ptp(rows_px))
    field = Field(left_px=0, top_px=top_px, right_px=SIZE, bottom_px=SIZE)
    return field, frame_truths(7, [cass], scene, replace(placed, collimated=field))[0]


def test_a_field_contains_the_pixels_of_its_mask():
    field = Field(left_px=2, top_px=1, right_px=5, bottom_px=4)
    rows, columns = np.indices((6, 6))
    points = np.stack([columns.ravel(), rows.ravel()], axis=1).astype(float)
    np.testing.assert_array_equal(field.contains(points).reshape(6, 6), field.mask(6))
    assert field.mask(6).sum() == 9
    assert field.contains(points, 1.0).sum() == 1  # only the pixel in the middle


def test_no_mask_reaches_under_a_blade(shown):
    field, truth = cut_above(shown, 12, 0.4)
    covered = ~field.mask(SIZE)
    np.testing.assert_array_equal(truth.field_mask, ~covered)
    for mask in (truth.tree_mask, truth.catheter_mask, *truth.segment_masks.values()):
        assert mask.any()
        assert not (mask & covered).any()
    whole = shown[2][0].tree_mask
    np.testing.assert_array_equal(truth.tree_mask, whole & ~covered)


def test_a_hidden_segment_is_not_in_the_truth(shown):
    _, truth = cut_above(shown, 19, 0.1)  # far below the left main
    assert 11 in shown[2][0].segment_masks
    assert 11 not in truth.segment_masks


def test_a_contour_is_the_visible_piece_of_its_segment(shown):
    field, truth = cut_above(shown, 19, 0.3)
    contour, whole = truth.contour, shown[2][1].contour
    for edge in (contour.centreline_px, contour.left_px, contour.right_px):
        assert (edge[:, 1] > field.top_px - 1.5).all()
    assert 100 <= len(contour.centreline_px) <= 400
    assert contour.arc_mm[0] > 3  # lengths are still those from the segment's start
    assert contour.arc_mm[-1] == pytest.approx(whole.arc_mm[-1], abs=0.6)
    same = np.interp(contour.arc_mm, whole.arc_mm, whole.diameter_mm)
    np.testing.assert_allclose(contour.diameter_mm, same, rtol=0.03)


def test_a_lesion_ends_where_the_field_ends(shown):
    placed, scene, truths = shown
    whole = truths[0].lesions[1]
    assert whole.cass == 19
    middle = (whole.start_px[1] + whole.centre_px[1]) / 2
    field = Field(left_px=0, top_px=round(middle), right_px=SIZE, bottom_px=SIZE)
    found = frame_truths(7, [19], scene, replace(placed, collimated=field))[0].lesions
    (lesion,) = (lesion for lesion in found if lesion.cass == 19)
    assert lesion.start_px[1] == pytest.approx(middle, abs=3)
    assert lesion.start_mm > whole.start_mm
    assert lesion.end_mm == whole.end_mm
    assert lesion.stenosis_pct == whole.stenosis_pct


def test_a_segment_wholly_under_a_blade_has_no_contour(shown):
    placed, scene, _ = shown
    corner = Field(left_px=SIZE - 4, top_px=SIZE - 4, right_px=SIZE, bottom_px=SIZE)
    with pytest.raises(ValueError, match="segment 12"):
        frame_truths(7, [12], scene, replace(placed, collimated=corner))
