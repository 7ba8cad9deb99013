"""Reference, MLD and lesions from profiles that can be drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tubes import Width, narrowed, straight, tube

from sam3_angio.acquisition import PixelSpacing
from sam3_angio.errors import DataError
from sam3_angio.qca import (
    DiameterProfile,
    measure,
    profile_from_edges,
    profile_from_mask,
    reference_from_edges,
    reference_line,
)

PIXELS = PixelSpacing(row_mm=1.0, column_mm=1.0, source="none")


def profile_of(diameter_mm: NDArray[np.float64], step_mm: float = 0.1) -> DiameterProfile:
    """Return a profile along the x axis."""
    arc = np.arange(len(diameter_mm)) * step_mm
    centre = np.column_stack([arc, np.zeros_like(arc)])
    half = np.column_stack([np.zeros_like(arc), diameter_mm / 2])
    return DiameterProfile(
        arc_mm=arc,
        diameter_mm=diameter_mm,
        centreline_px=centre,
        left_px=centre - half,
        right_px=centre + half,
    )


def along(length_mm: float, width: Width, step_mm: float = 0.1) -> DiameterProfile:
    return profile_of(width(np.arange(0, length_mm + step_mm / 2, step_mm)), step_mm)


def test_the_textbook_lesion_of_1_09_in_2_03_mm() -> None:
    profile = along(21, narrowed(straight(2.03), (10, 8, 1 - 1.09 / 2.03)))
    result = measure(profile)
    assert result.mld_mm == pytest.approx(1.09)
    assert result.rvd_mm == pytest.approx(2.03, abs=0.005)
    assert result.diameter_stenosis_pct == pytest.approx(46.3, abs=0.05)
    assert result.area_stenosis_pct == pytest.approx(71.2, abs=0.1)
    assert profile.arc_mm[result.mld_index] == pytest.approx(10)
    assert result.mld_px == pytest.approx((10, 0))
    assert result.segment_length_mm == pytest.approx(21)


def test_a_lesion_of_straight_flanks_starts_and_ends_where_the_tolerance_says() -> None:
    # 3 mm wide; from 8 mm on it falls by 0.3 mm a mm to 1.5 mm at 13 mm and rises likewise
    arc = np.arange(0, 30.05, 0.1)
    profile = profile_of(np.minimum(3.0, 1.5 + 0.3 * np.abs(arc - 13)))
    (lesion,) = measure(profile, leave_tolerance=0.1).lesions
    assert lesion.start_mm == pytest.approx(9, abs=0.02)
    assert lesion.end_mm == pytest.approx(17, abs=0.02)
    assert lesion.length_mm == pytest.approx(8, abs=0.03)
    assert lesion.start_px == pytest.approx((9, 0), abs=0.02)
    assert lesion.diameter_stenosis_pct == pytest.approx(50, abs=0.1)
    assert lesion.complete


def test_a_lesion_is_longer_than_its_half_depth() -> None:
    profile = along(40, narrowed(straight(3), (20, 10, 0.7)))
    (lesion,) = measure(profile).lesions
    below_half = np.ptp(profile.arc_mm[profile.diameter_mm < 3 * 0.65])
    assert lesion.length_mm > 1.5 * below_half


def test_the_reference_is_read_at_the_narrowest_place_of_a_tapering_vessel() -> None:
    profile = along(40, narrowed(straight(4, taper=-0.04), (30, 8, 0.5)))
    result = measure(profile)
    assert result.rvd_mm == pytest.approx(2.8, abs=0.02)
    (lesion,) = result.lesions
    assert result.proximal_normal_mm == pytest.approx(4 - 0.04 * lesion.start_mm, abs=0.02)
    assert result.distal_normal_mm == pytest.approx(4 - 0.04 * lesion.end_mm, abs=0.02)
    # the cosine is 5 % deep a fifth of its half length inside its foot
    assert (lesion.start_mm, lesion.end_mm) == pytest.approx((26.8, 33.2), abs=0.2)
    assert result.diameter_stenosis_pct == pytest.approx(50, abs=0.3)


@pytest.mark.parametrize(
    "lesions",
    [
        [(20, 12, 0.5)],
        [(10, 12, 0.5), (27, 12, 0.7)],
        [(0, 16, 0.6)],
        [(40, 16, 0.6)],
        [(0, 10, 0.4), (20, 10, 0.5), (40, 10, 0.6)],
        [(18, 26, 0.8)],
    ],
)
def test_neither_number_nor_place_of_lesions_moves_the_reference(
    lesions: list[tuple[float, float, float]],
) -> None:
    healthy = straight(3.5, taper=-0.02)
    profile = along(40, narrowed(healthy, *lesions))
    np.testing.assert_allclose(reference_line(profile), healthy(profile.arc_mm), rtol=0.015)


def test_a_bulge_does_not_move_the_reference() -> None:
    profile = along(40, narrowed(straight(3), (12, 8, -0.4), (28, 8, 0.5)))
    np.testing.assert_allclose(reference_line(profile), 3.0, rtol=0.01)


def test_the_reference_stays_under_noise() -> None:
    generator = np.random.default_rng(3)
    profile = along(40, narrowed(straight(3, taper=-0.02), (15, 12, 0.6)))
    noisy = profile_of(profile.diameter_mm * (1 + 0.03 * generator.normal(size=401)))
    result = measure(noisy)
    assert result.rvd_mm == pytest.approx(2.7, rel=0.02)
    assert len(result.lesions) == 1


@pytest.mark.parametrize("gap", [0, 2, 8])
def test_two_lesions_are_not_merged(gap: float) -> None:
    profile = along(60, narrowed(straight(3), (20, 10, 0.5), (30 + gap, 10, 0.6)))
    first, second = measure(profile).lesions
    assert first.diameter_stenosis_pct == pytest.approx(50, abs=1)
    assert second.diameter_stenosis_pct == pytest.approx(60, abs=1)
    assert first.end_mm <= second.start_mm + 0.1
    assert measure(profile).mld_index == second.mld_index


def test_overlapping_lesions_are_parted_where_the_lumen_is_widest() -> None:
    # between the two the vessel regains 35 of 50 per cent, but not the reference
    arc = np.arange(0, 40.05, 0.1)
    depth = np.interp(arc, [0, 10, 14, 18, 22, 26, 40], [0, 0, 0.5, 0.15, 0.6, 0, 0])
    first, second = measure(profile_of(3 * (1 - depth))).lesions
    assert first.end_mm == pytest.approx(18, abs=0.11)
    assert second.start_mm == pytest.approx(18, abs=0.11)


def test_a_ripple_in_a_lesion_is_one_lesion() -> None:
    arc = np.arange(0, 40.05, 0.1)
    depth = np.interp(arc, [0, 10, 14, 18, 22, 26, 40], [0, 0, 0.5, 0.4, 0.6, 0, 0])
    (lesion,) = measure(profile_of(3 * (1 - depth))).lesions
    assert lesion.diameter_stenosis_pct == pytest.approx(60, abs=0.5)
    assert lesion.length_mm == pytest.approx(15.2, abs=0.4)


def test_a_healthy_vessel_has_no_lesion_but_numbers() -> None:
    result = measure(along(30, straight(3, taper=-0.02)))
    assert result.lesions == ()
    assert result.diameter_stenosis_pct == pytest.approx(0, abs=0.1)
    assert result.mld_mm == pytest.approx(result.rvd_mm, abs=0.01)


def test_an_ostial_lesion_says_that_its_length_is_a_lower_bound() -> None:
    profile = along(40, narrowed(straight(3), (2, 16, 0.6)))
    (lesion,) = measure(profile).lesions
    assert not lesion.complete
    assert lesion.start_mm == 0
    assert lesion.diameter_stenosis_pct == pytest.approx(60, abs=0.5)


def test_an_occlusion_is_a_stenosis_of_100_per_cent() -> None:
    result = measure(along(40, narrowed(straight(3), (20, 10, 1.0))))
    assert result.mld_mm == pytest.approx(0, abs=1e-9)
    assert result.diameter_stenosis_pct == pytest.approx(100)
    assert result.area_stenosis_pct == pytest.approx(100)


def test_missing_diameters_are_passed_over() -> None:
    profile = along(40, narrowed(straight(3), (20, 10, 0.5)))
    holed = profile.diameter_mm.copy()
    holed[:8] = np.nan
    holed[-8:] = np.nan
    result = measure(profile_of(holed))
    assert result.diameter_stenosis_pct == pytest.approx(50, abs=0.1)
    assert result.lesions[0].complete
    assert result.segment_length_mm == pytest.approx(40)


@pytest.mark.parametrize("holes", [[200], [190], [170], [197, 198, 199, 203]])
def test_missing_diameters_inside_a_lesion_do_not_part_it(holes: list[int]) -> None:
    profile = along(40, narrowed(straight(3), (20, 12, 0.6)))
    (whole,) = measure(profile).lesions
    holed = profile.diameter_mm.copy()
    holed[holes] = np.nan
    (lesion,) = measure(profile_of(holed)).lesions
    assert lesion.complete
    assert lesion.length_mm == pytest.approx(whole.length_mm, abs=0.02)
    assert lesion.mld_mm == pytest.approx(whole.mld_mm, abs=0.02)
    assert lesion.diameter_stenosis_pct == pytest.approx(60, abs=0.5)


def test_a_lesion_that_reaches_the_last_diameter_is_not_complete() -> None:
    profile = along(40, narrowed(straight(3), (36, 12, 0.6)))
    holed = profile.diameter_mm.copy()
    holed[370:] = np.nan
    (lesion,) = measure(profile_of(holed)).lesions
    assert not lesion.complete
    assert lesion.end_mm == pytest.approx(36.9)


def test_without_a_lesion_the_normal_diameters_are_those_of_the_segments_ends() -> None:
    result = measure(along(30, straight(3, taper=-0.02)))
    assert result.proximal_normal_mm == pytest.approx(3.0, abs=0.02)
    assert result.distal_normal_mm == pytest.approx(2.4, abs=0.02)


def test_a_given_reference_replaces_the_line() -> None:
    profile = along(30, straight(2))
    result = measure(profile, np.full(len(profile.arc_mm), 4.0))
    assert result.rvd_mm == 4.0
    assert result.diameter_stenosis_pct == pytest.approx(50)
    assert result.proximal_normal_mm == 4.0


def test_ideal_edges_give_the_reference() -> None:
    lesion = tube(100, narrowed(straight(10), (50, 90, 0.5)), angle_deg=15)
    ideal = tube(100, straight(10), angle_deg=15)
    centre = lesion.centre[::20]
    profile = profile_from_edges(*lesion.edges(200), PIXELS, centreline_px=centre)
    left, right = ideal.edges(200)
    result = measure(profile, reference_from_edges(profile, left[20:-20], right[20:-20], PIXELS))
    assert result.rvd_mm == pytest.approx(10, abs=0.05)
    assert result.diameter_stenosis_pct == pytest.approx(50, abs=0.5)


@pytest.mark.parametrize(
    "reference", [np.full(10, 3.0), np.zeros(301), np.full(301, np.nan), np.full(301, -1.0)]
)
def test_a_reference_that_does_not_fit_is_refused(reference: NDArray[np.float64]) -> None:
    with pytest.raises(DataError, match="reference"):
        measure(along(30, straight(2)), reference)


def test_a_profile_without_diameters_is_refused() -> None:
    with pytest.raises(DataError, match="diameter"):
        measure(profile_of(np.full(50, np.nan)))


def test_mask_to_percent_stenosis_of_a_bent_vessel_with_two_lesions() -> None:
    vessel = tube(
        140,
        narrowed(straight(10, taper=-0.02), (45, 30, 0.5), (90, 30, 0.65)),
        angle_deg=70,
        curvature=1 / 100,
    )
    spacing = PixelSpacing(row_mm=0.25, column_mm=0.25, source="calibration")
    x, y = vessel.centre[0]
    picture = vessel.coverage((200, 200)) >= 0.5
    result = measure(profile_from_mask(picture, spacing, start_px=(x, y)))
    first, second = result.lesions
    assert first.diameter_stenosis_pct == pytest.approx(50, abs=6)
    assert second.diameter_stenosis_pct == pytest.approx(65, abs=6)
    assert second.rvd_mm == pytest.approx(8.2 / 4, abs=0.05)
    assert np.linalg.norm(np.subtract(second.mld_px, vessel.centre[1800])) < 3
    assert result.proximal_normal_mm == pytest.approx((10 - 0.02 * 78) / 4, abs=0.06)


@settings(max_examples=40, deadline=None)
@given(
    scale=st.floats(0.1, 10),
    middle=st.floats(8, 32),
    fraction=st.floats(0.25, 0.95),
    taper=st.floats(-0.04, 0),
)
def test_scale_changes_millimetres_and_no_percentage(
    scale: float, middle: float, fraction: float, taper: float
) -> None:
    profile = along(40, narrowed(straight(4, taper=taper), (middle, 10, fraction)))
    scaled = profile_of(profile.diameter_mm * scale, 0.1 * scale)
    one, other = measure(profile), measure(scaled)
    assert other.diameter_stenosis_pct == pytest.approx(one.diameter_stenosis_pct, abs=1e-6)
    assert other.mld_mm == pytest.approx(scale * one.mld_mm)
    assert other.lesions[0].length_mm == pytest.approx(scale * one.lesions[0].length_mm)
    assert one.diameter_stenosis_pct == pytest.approx(100 * fraction, abs=1)


@settings(max_examples=40, deadline=None)
@given(
    middle=st.floats(8, 32),
    fraction=st.floats(0.25, 0.95),
    taper=st.floats(-0.04, 0.04),
)
def test_the_direction_of_a_profile_changes_no_measurement(
    middle: float, fraction: float, taper: float
) -> None:
    profile = along(40, narrowed(straight(4, taper=taper), (middle, 10, fraction)))
    one, other = measure(profile), measure(profile.reversed())
    assert other.mld_mm == pytest.approx(one.mld_mm)
    assert other.rvd_mm == pytest.approx(one.rvd_mm, rel=1e-3)
    assert other.proximal_normal_mm == pytest.approx(one.distal_normal_mm, rel=1e-3)
    assert other.lesions[0].length_mm == pytest.approx(one.lesions[0].length_mm, rel=0.02)
