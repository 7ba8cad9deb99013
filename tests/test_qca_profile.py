"""Diameter profiles of vessels whose diameter is known from how they were drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from tubes import Tube, narrowed, straight, tube

from sam3_angio.acquisition import PixelSpacing
from sam3_angio.qca import DiameterProfile, measure, profile_from_edges, profile_from_mask

PIXELS = PixelSpacing(row_mm=1.0, column_mm=1.0, source="none")
SHAPE = (200, 200)


def start_of(vessel: Tube) -> tuple[float, float]:
    x, y = vessel.centre[0]
    return float(x), float(y)


def error_of(profile: DiameterProfile, vessel: Tube) -> np.ndarray:
    """Return measured minus true diameter, the profile's NaN left out."""
    true = np.interp(profile.arc_mm, vessel.arc, vessel.diameter)
    error = profile.diameter_mm - true
    return error[~np.isnan(error)]


def test_a_bar_of_whole_pixels_is_as_wide_as_its_pixels() -> None:
    mask = np.zeros((30, 80), dtype=bool)
    mask[10:16, 5:75] = True
    profile = profile_from_mask(mask, PIXELS)
    np.testing.assert_allclose(np.nanmedian(profile.diameter_mm), 6.0, atol=1e-6)
    np.testing.assert_allclose(profile.arc_mm[-1], 70.0, atol=0.5)
    np.testing.assert_allclose(np.nanmedian(profile.centreline_px[:, 1]), 12.5, atol=1e-6)


def test_unequal_spacing_counts_rows_across_and_columns_along_a_lying_bar() -> None:
    mask = np.zeros((30, 80), dtype=bool)
    mask[10:16, 5:75] = True
    spacing = PixelSpacing(row_mm=0.5, column_mm=0.25, source="calibration")
    profile = profile_from_mask(mask, spacing)
    np.testing.assert_allclose(np.nanmedian(profile.diameter_mm), 3.0, atol=1e-6)
    np.testing.assert_allclose(profile.arc_mm[-1], 17.5, atol=0.2)


def test_unequal_spacing_measures_a_slanting_vessel_as_equal_spacing_does() -> None:
    vessel = tube(90, narrowed(straight(12), (45, 40, 0.5)), angle_deg=35)
    squeezed = replace(
        vessel,
        centre=vessel.centre * [1, 0.5],
        normal=vessel.normal,
    )
    left, right = vessel.edges(300)
    half_rows = PixelSpacing(row_mm=2.0, column_mm=1.0, source="none")
    profile = profile_from_edges(
        left * [1, 0.5], right * [1, 0.5], half_rows, centreline_px=squeezed.centre[::10]
    )
    assert np.abs(error_of(profile, vessel)).max() < 0.05


@pytest.mark.parametrize("angle_deg", [0.0, 17.0, 45.0, 90.0, 203.0])
def test_a_straight_tube_has_its_diameter_at_any_angle(angle_deg: float) -> None:
    vessel = tube(100, straight(9.3), angle_deg=angle_deg, middle=(100.3, 99.6))
    profile = profile_from_mask(vessel.coverage(SHAPE), PIXELS, start_px=start_of(vessel))
    error = error_of(profile, vessel)
    # a border along the pixel grid, read off one partly covered pixel, is up to 0.09 off
    assert abs(error.mean()) < 0.17
    assert np.abs(error).max() < 0.2
    assert profile.arc_mm[-1] == pytest.approx(100, abs=0.5)


@pytest.mark.parametrize("diameter", [4.0, 4.25, 4.5, 4.75, 6.4, 13.7])
def test_a_mask_gives_fractions_of_a_pixel(diameter: float) -> None:
    vessel = tube(100, straight(diameter), angle_deg=27, middle=(100.3, 99.6))
    profile = profile_from_mask(vessel.coverage(SHAPE) >= 0.5, PIXELS)
    assert np.nanmean(profile.diameter_mm) == pytest.approx(diameter, abs=0.12)


def test_a_tapering_tube_tapers_with_its_wider_end_first() -> None:
    vessel = tube(100, straight(12, taper=-0.04), angle_deg=200)
    profile = profile_from_mask(vessel.coverage(SHAPE), PIXELS)
    assert np.abs(error_of(profile, vessel)).max() < 0.2
    assert np.linalg.norm(profile.centreline_px[0] - vessel.centre[0]) < 1


def test_a_start_point_decides_the_direction() -> None:
    vessel = tube(100, straight(12, taper=-0.04), angle_deg=200)
    mask = vessel.coverage(SHAPE)
    x, y = vessel.centre[-1]
    profile = profile_from_mask(mask, PIXELS, start_px=(x, y))
    assert np.linalg.norm(profile.centreline_px[-1] - vessel.centre[0]) < 1
    assert profile.diameter_mm[20] < profile.diameter_mm[-20]


@pytest.mark.parametrize("curvature", [1 / 40, -1 / 60])
def test_a_bend_does_not_change_the_diameter(curvature: float) -> None:
    vessel = tube(110, straight(10), angle_deg=40, curvature=curvature)
    profile = profile_from_mask(vessel.coverage(SHAPE), PIXELS, start_px=start_of(vessel))
    error = error_of(profile, vessel)
    assert abs(error.mean()) < 0.05
    assert np.percentile(np.abs(error), 95) < 0.15
    assert profile.arc_mm[-1] == pytest.approx(110, abs=1)


@pytest.mark.parametrize("eccentricity", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("angle_deg", [0.0, 33.0, 118.0])
def test_the_depth_of_a_narrowing_is_kept(eccentricity: float, angle_deg: float) -> None:
    vessel = tube(
        110,
        narrowed(straight(10), (55.3, 30, 0.6)),
        angle_deg=angle_deg,
        middle=(100.2, 99.7),
        eccentricity=eccentricity,
    )
    coverage = vessel.coverage(SHAPE)
    smooth = profile_from_mask(coverage, PIXELS)
    jagged = profile_from_mask(coverage >= 0.5, PIXELS)
    assert np.nanmin(smooth.diameter_mm) == pytest.approx(4.0, abs=0.2)
    assert np.nanmin(jagged.diameter_mm) == pytest.approx(4.0, abs=0.6)


@pytest.mark.parametrize("as_mask", [True, False])
@pytest.mark.parametrize("angle_deg", [0.0, 20.0, 118.0])
@pytest.mark.parametrize(("width", "stenosis"), [(13.0, 0.7), (20.0, 0.5)])
def test_a_lesion_as_long_as_the_vessel_is_wide_keeps_its_depth(
    width: float, stenosis: float, angle_deg: float, as_mask: bool
) -> None:
    vessel = tube(
        6 * width,
        narrowed(straight(width), (3 * width + 0.3, width, stenosis)),
        angle_deg=angle_deg,
        middle=(80.2, 79.7),
    )
    coverage = vessel.coverage((160, 160))
    result = measure(profile_from_mask(coverage >= 0.5 if as_mask else coverage, PIXELS))
    assert result.mld_mm == pytest.approx((1 - stenosis) * width, abs=0.5 if as_mask else 0.2)
    assert result.diameter_stenosis_pct == pytest.approx(100 * stenosis, abs=4 if as_mask else 2)
    assert len(result.lesions) == 1


def test_a_masks_staircase_is_no_lesion() -> None:
    vessel = tube(100, straight(8.3), angle_deg=7, middle=(80.3, 79.6))
    profile = profile_from_mask(vessel.coverage((160, 160)) >= 0.5, PIXELS)
    assert np.nanstd(profile.diameter_mm) < 0.1
    assert measure(profile).diameter_stenosis_pct < 6
    assert np.nanmax(np.abs(profile.diameter_mm[20:-20] - 8.3)) < 0.2


def test_a_smooth_map_gives_a_smooth_profile() -> None:
    vessel = tube(100, straight(8.3), angle_deg=7, middle=(80.3, 79.6))
    profile = profile_from_mask(vessel.coverage((160, 160)), PIXELS)
    assert np.nanstd(profile.diameter_mm) < 0.03
    assert measure(profile).diameter_stenosis_pct < 2


@pytest.mark.parametrize("diameter", [5.0, 6.4, 7.5, 9.0])
@pytest.mark.parametrize("angle_deg", [45.0, 135.0])
@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_a_vessel_at_45_degrees_has_a_centreline(
    diameter: float, angle_deg: float, shift: float
) -> None:
    vessel = tube(60, straight(diameter), angle_deg=angle_deg, middle=(40 + shift, 40))
    profile = profile_from_mask(vessel.coverage((80, 80)) >= 0.5, PIXELS)
    assert profile.arc_mm[-1] == pytest.approx(60, abs=1.5)
    # such a mask is a whole number of half diagonals wide
    assert np.nanmean(profile.diameter_mm) == pytest.approx(diameter, abs=np.sqrt(0.5))


def test_a_lumen_one_pixel_wide_that_turns_a_corner_does_not_part_the_lesion() -> None:
    mask = np.zeros((40, 70), dtype=bool)
    mask[16:24, 4:66] = True
    mask[:, 33:37] = False
    for step in range(4):
        mask[18 + step, 33 + step] = True
    result = measure(profile_from_mask(mask, PIXELS))
    (lesion,) = result.lesions
    assert lesion.mld_mm < 1.5


def test_borders_lie_half_a_diameter_from_the_middle_left_and_right_as_seen() -> None:
    vessel = tube(100, straight(8), angle_deg=0)
    profile = profile_from_mask(vessel.coverage(SHAPE), PIXELS, start_px=start_of(vessel))
    middle = len(profile.arc_mm) // 2
    np.testing.assert_allclose(profile.left_px[middle], [100, 96], atol=0.3)
    np.testing.assert_allclose(profile.right_px[middle], [100, 104], atol=0.3)


def test_a_rounded_end_is_length_but_not_diameter() -> None:
    rows, columns = np.indices((60, 140))
    along = np.clip(columns, 30, 110)
    mask = np.hypot(columns - along, rows - 30) <= 8
    profile = profile_from_mask(mask, PIXELS)
    assert profile.arc_mm[-1] == pytest.approx(96, abs=1.5)
    assert np.isnan(profile.diameter_mm[[0, -1]]).all()
    assert np.nanmin(profile.diameter_mm) > 15.5


def test_a_vessel_cut_by_the_frame_is_measured_inside_it() -> None:
    vessel = tube(300, straight(10), angle_deg=30)
    profile = profile_from_mask(vessel.coverage(SHAPE), PIXELS)
    assert np.nanmean(profile.diameter_mm) == pytest.approx(10, abs=0.05)
    assert np.nanmin(profile.diameter_mm) > 9.5


def test_a_pinhole_does_not_matter() -> None:
    vessel = tube(100, straight(10), angle_deg=30)
    mask = vessel.coverage(SHAPE) >= 0.5
    whole = profile_from_mask(mask, PIXELS)
    mask[100, 100] = False
    np.testing.assert_allclose(
        profile_from_mask(mask, PIXELS).diameter_mm, whole.diameter_mm, atol=1e-9
    )


def test_a_side_branchs_stump_is_no_lesion_and_no_reference() -> None:
    vessel = tube(120, narrowed(straight(10), (35, 30, 0.5)), angle_deg=30)
    stump = tube(25, straight(7), angle_deg=100, middle=(115, 118))
    mask = np.maximum(vessel.coverage(SHAPE), stump.coverage(SHAPE)) >= 0.5
    result = measure(profile_from_mask(mask, PIXELS, start_px=start_of(vessel)))
    assert len(result.lesions) == 1
    assert result.rvd_mm == pytest.approx(10, abs=0.3)
    assert result.diameter_stenosis_pct == pytest.approx(50, abs=5)


def test_ragged_borders_leave_the_mean_diameter() -> None:
    generator = np.random.default_rng(0)
    vessel = tube(110, straight(10), angle_deg=30)
    inside = vessel.coverage(SHAPE) >= 0.5
    height = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    noise = ndimage.gaussian_filter(generator.normal(size=SHAPE), 1)
    ragged = height + 0.6 * noise / noise.std() > 0
    profile = profile_from_mask(ragged, PIXELS)
    assert np.nanmean(profile.diameter_mm) == pytest.approx(10, abs=0.3)
    assert np.nanstd(profile.diameter_mm) < 0.7


@pytest.mark.parametrize("as_mask", [False, True])
def test_a_mask_of_a_quarter_of_the_resolution_finds_the_stenosis(as_mask: bool) -> None:
    vessel = tube(120, narrowed(straight(16), (60, 50, 0.5)), angle_deg=30)
    small = vessel.coverage(SHAPE).reshape(50, 4, 50, 4).mean(axis=(1, 3))
    place = (np.arange(200) + 0.5) / 4 - 0.5
    rows, columns = np.meshgrid(place, place, indexing="ij")
    large = ndimage.map_coordinates(small, [rows, columns], order=1, mode="nearest")
    profile = profile_from_mask(large >= 0.5 if as_mask else large, PIXELS)
    assert np.nanmin(profile.diameter_mm) == pytest.approx(8, abs=1)
    assert np.nanmedian(profile.diameter_mm) == pytest.approx(16, abs=0.5)


def test_edges_and_centreline_give_the_diameters_at_the_centrelines_points() -> None:
    vessel = tube(110, narrowed(straight(10), (50, 30, 0.5)), angle_deg=70, curvature=1 / 80)
    centre = vessel.centre[::11]
    profile = profile_from_edges(*vessel.edges(250), PIXELS, centreline_px=centre)
    np.testing.assert_array_equal(profile.centreline_px, centre)
    np.testing.assert_allclose(profile.diameter_mm, vessel.diameter[::11], atol=0.05)


def test_edges_alone_give_the_same_diameters() -> None:
    vessel = tube(110, narrowed(straight(10), (50, 30, 0.5)), angle_deg=70, curvature=1 / 80)
    profile = profile_from_edges(*vessel.edges(250), PIXELS)
    assert np.abs(error_of(profile, vessel)).max() < 0.1
    assert profile.arc_mm[-1] == pytest.approx(110, abs=0.5)


def test_edges_may_be_swapped_turned_and_of_unequal_length() -> None:
    vessel = tube(110, narrowed(straight(10), (50, 30, 0.5)), angle_deg=70, curvature=1 / 80)
    left, right = vessel.edges(301)
    centre = vessel.centre[::20]
    expected = profile_from_edges(left, right, PIXELS, centreline_px=centre)
    for one, other in ((right, left), (left, right[::-1]), (left[::2], right[::3])):
        profile = profile_from_edges(one, other, PIXELS, centreline_px=centre)
        np.testing.assert_allclose(profile.diameter_mm, expected.diameter_mm, atol=0.02)
        np.testing.assert_allclose(profile.left_px, expected.left_px, atol=0.03)


def test_touching_edges_are_an_occlusion() -> None:
    x = np.linspace(0, 60, 121)
    half = 4 * np.clip(np.abs(x - 30) / 10, 0, 1)
    profile = profile_from_edges(
        np.column_stack([x, 20 - half]), np.column_stack([x, 20 + half]), PIXELS
    )
    assert 0 <= np.nanmin(profile.diameter_mm) < 0.4


def test_reversing_a_profile_twice_changes_nothing() -> None:
    vessel = tube(100, straight(8), angle_deg=20)
    profile = profile_from_edges(*vessel.edges(200), PIXELS)
    again = profile.reversed().reversed()
    for name in ("arc_mm", "diameter_mm", "centreline_px", "left_px", "right_px"):
        np.testing.assert_allclose(getattr(again, name), getattr(profile, name))
    np.testing.assert_array_equal(profile.reversed().left_px, profile.right_px[::-1])


@settings(max_examples=8, deadline=None)
@given(
    angle_deg=st.floats(0, 360),
    shift=st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)),
    curvature=st.floats(-1 / 60, 1 / 60),
)
def test_turning_and_shifting_a_vessel_changes_no_diameter(
    angle_deg: float, shift: tuple[float, float], curvature: float
) -> None:
    width = narrowed(straight(9), (45, 36, 0.5))
    vessel = tube(
        90, width, angle_deg=angle_deg, middle=(80 + shift[0], 80 + shift[1]), curvature=curvature
    )
    profile = profile_from_mask(vessel.coverage((160, 160)), PIXELS, start_px=start_of(vessel))
    assert np.percentile(np.abs(error_of(profile, vessel)), 95) < 0.3
    assert np.nanmin(profile.diameter_mm) == pytest.approx(4.5, abs=0.35)


@settings(max_examples=10, deadline=None)
@given(scale=st.floats(0.05, 5), turns=st.integers(0, 3), mirror=st.booleans())
def test_scale_quarter_turns_and_mirroring_are_exact(
    scale: float, turns: int, mirror: bool
) -> None:
    vessel = tube(60, narrowed(straight(8), (28, 24, 0.4)), angle_deg=25, middle=(45.2, 40.1))
    picture = vessel.coverage((80, 90)) >= 0.5
    plain = profile_from_mask(picture, PIXELS)
    turned = np.rot90(picture[:, ::-1] if mirror else picture, turns)
    spacing = PixelSpacing(row_mm=scale, column_mm=scale, source="none")
    scaled = profile_from_mask(turned, spacing)
    assert scaled.arc_mm[-1] == pytest.approx(scale * plain.arc_mm[-1], rel=0.02)
    for percentile in (0, 25, 50, 75):
        np.testing.assert_allclose(
            np.nanpercentile(scaled.diameter_mm, percentile),
            scale * np.nanpercentile(plain.diameter_mm, percentile),
            rtol=0.03,
        )


@settings(max_examples=10, deadline=None)
@given(scale=st.floats(0.05, 5), angle_deg=st.floats(0, 360))
def test_edges_scale_and_turn_exactly(scale: float, angle_deg: float) -> None:
    vessel = tube(60, narrowed(straight(8), (28, 24, 0.4)), angle_deg=25, curvature=1 / 70)
    left, right = vessel.edges(150)
    angle = np.radians(angle_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    plain = profile_from_edges(left, right, PIXELS)
    spacing = PixelSpacing(row_mm=scale, column_mm=scale, source="none")
    turned = profile_from_edges(left @ turn.T, right @ turn.T, spacing)
    np.testing.assert_allclose(turned.diameter_mm, scale * plain.diameter_mm, rtol=1e-6)
    np.testing.assert_allclose(turned.arc_mm, scale * plain.arc_mm, rtol=1e-6)
