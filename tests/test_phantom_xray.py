"""Projection: what a cardiologist sees, and what physics says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, map_coordinates

from sam3_angio.acquisition import ViewAngle
from sam3_angio.phantom.chest import background
from sam3_angio.phantom.heart import grow_heart
from sam3_angio.phantom.xray import ProjectionGeometry, Tube, aimed, path_lengths, project

SIZE = 256
MIDDLE = (SIZE - 1) / 2
SEEDS = range(12)


def geometry(primary_deg=0.0, secondary_deg=0.0, **changes):
    values = {
        "view": ViewAngle(primary_deg=primary_deg, secondary_deg=secondary_deg),
        "sid_mm": 1000.0,
        "sod_mm": 750.0,
        "detector_spacing_mm": 0.8,
        "size_px": SIZE,
    }
    return ProjectionGeometry(**(values | changes))


def seen_px(point_mm, primary_deg=0.0, secondary_deg=0.0):
    points_px, _ = project(np.array([point_mm], dtype=float), geometry(primary_deg, secondary_deg))
    return points_px[0] - MIDDLE


# ---- derived by hand --------------------------------------------------------------------------


def test_the_isocentre_is_the_middle_of_the_picture_in_every_view():
    for primary in (-90, -30, 0, 45):
        for secondary in (-30, 0, 40):
            np.testing.assert_allclose(seen_px((0, 0, 0), primary, secondary), 0, atol=1e-12)


def test_object_spacing_is_the_detectors_divided_by_the_magnification():
    assert geometry().object_spacing_mm == pytest.approx(0.6)  # 0.8 · 750 / 1000


def test_ten_millimetres_to_the_left_are_seen_to_the_right():
    # 10 mm · 1000/750 / 0.8 mm = 16.67 px
    np.testing.assert_allclose(seen_px((10, 0, 0)), (10 / 0.6, 0), atol=1e-9)


def test_the_head_is_up():
    np.testing.assert_allclose(seen_px((0, 0, 10)), (0, -10 / 0.6), atol=1e-9)


def test_what_is_nearer_to_the_source_is_larger():
    # source behind the back: 50 mm backwards is 700 mm from it, so 1000/700 instead of 1000/750
    near, _ = project(np.array([[10.0, 50.0, 0.0]]), geometry())
    assert near[0, 0] - MIDDLE == pytest.approx(10 * 1000 / 700 / 0.8)


def test_in_lao_90_the_back_is_on_the_right():
    np.testing.assert_allclose(seen_px((0, 10, 0), 90), (10 / 0.6, 0), atol=1e-9)


def test_in_rao_90_the_back_is_on_the_left():
    np.testing.assert_allclose(seen_px((0, 10, 0), -90), (-10 / 0.6, 0), atol=1e-9)


def test_cranial_tilt_moves_what_is_in_front_down_and_what_is_behind_up():
    assert seen_px((0, -30, 0), 0, 30)[1] > 15
    assert seen_px((0, 30, 0), 0, 30)[1] < -15
    assert seen_px((0, -30, 0), 0, -30)[1] < -15


def test_the_table_moves_the_patient():
    moved = geometry(table_mm=(10.0, 0.0, 0.0))
    points_px, _ = project(np.zeros((1, 3)), moved)
    np.testing.assert_allclose(points_px[0] - MIDDLE, (10 / 0.6, 0), atol=1e-9)


# ---- what a cardiologist sees, in every heart -------------------------------------------------


def middle_px(heart, cass, primary_deg, secondary_deg=0.0, part=slice(None)):
    branch = heart.segment(cass)
    points_px, _ = project(branch.centreline_mm[part], geometry(primary_deg, secondary_deg))
    return points_px.mean(axis=0)


def tree_px(heart, artery, primary_deg):
    points = np.concatenate([branch.centreline_mm for branch in heart.tree(artery)])
    return project(points, geometry(primary_deg))[0]


@pytest.fixture(scope="module", params=SEEDS)
def heart(request):
    return grow_heart(request.param)


def test_in_rao_30_the_apex_is_at_the_lower_right(heart):
    apex = heart.segment(14).centreline_mm[-1:]
    apex_px = project(apex, geometry(-30))[0][0]
    base_px = project(heart.axes.base_mm[None], geometry(-30))[0][0]
    assert apex_px[0] > base_px[0] + 40
    assert apex_px[1] > base_px[1] + 20


def test_in_rao_30_the_lad_runs_down_the_right_upper_border(heart):
    points = np.concatenate([heart.segment(cass).centreline_mm for cass in (12, 13, 14)])
    lad_px = project(points, geometry(-30))[0]
    assert lad_px[-20, 0] > lad_px[0, 0] + 40
    assert lad_px[-20, 1] > lad_px[0, 1] + 40
    inside = middle_px(heart, 20, -30)  # the obtuse marginal
    assert inside[1] > np.interp(inside[0], np.maximum.accumulate(lad_px[:, 0]), lad_px[:, 1])


def test_in_rao_30_the_circumflex_lies_to_the_left_of_the_lad(heart):
    assert middle_px(heart, 19, -30)[0] < middle_px(heart, 13, -30)[0] - 15


def test_the_right_coronary_is_a_c_open_to_the_right_in_lao(heart):
    start = middle_px(heart, 1, 40, part=slice(0, 4))
    middle = middle_px(heart, 2, 40)
    end = middle_px(heart, 3, 40, part=slice(-4, None))
    assert middle[0] < start[0] - 10
    assert middle[0] < end[0] - 10
    assert start[1] < middle[1] < end[1]


@pytest.mark.parametrize("seed", [seed for seed in SEEDS if grow_heart(seed).dominance == "right"])
def test_the_right_coronary_is_an_l_in_rao(seed):
    heart = grow_heart(seed)
    trunk = np.concatenate([heart.segment(cass).centreline_mm for cass in (1, 2, 3)])
    foot = heart.segment(4).centreline_mm
    trunk_px, foot_px = (project(points, geometry(-30))[0] for points in (trunk, foot))
    assert np.ptp(trunk_px[:, 1]) > 1.2 * np.ptp(trunk_px[:, 0])  # the upright stroke
    assert np.ptp(foot_px[:, 0]) > 1.2 * np.ptp(foot_px[:, 1])  # the foot
    assert foot_px[-1, 0] > foot_px[0, 0] + 40  # to the right


def test_in_lao_45_lad_and_circumflex_lie_either_side_of_the_middle(heart):
    left_tree = tree_px(heart, "LCA", 45)
    middle = (left_tree[:, 0].min() + left_tree[:, 0].max()) / 2
    assert middle_px(heart, 13, 45)[0] < middle < middle_px(heart, 19, 45)[0]


def test_in_ap_the_right_coronary_is_left_of_the_left_one(heart):
    assert middle_px(heart, 2, 0)[0] < middle_px(heart, 12, 0)[0]


@pytest.mark.parametrize(("primary_deg", "darker"), [(40, "right"), (-30, "left")])
def test_the_spine_is_on_the_right_in_lao_and_on_the_left_in_rao(primary_deg, darker):
    rng = np.random.default_rng(1)
    upper = background(geometry(primary_deg), rng)[: SIZE // 2]  # above the diaphragm
    left, right = upper[:, : SIZE // 3].mean(), upper[:, -SIZE // 3 :].mean()
    assert (right > left) == (darker == "right")


def test_aiming_brings_the_tree_to_the_middle(heart):
    for artery, primary in (("LCA", -30), ("RCA", 40)):
        placed = aimed(geometry(primary, 20), heart, artery)
        points = np.concatenate([branch.centreline_mm for branch in heart.tree(artery)])
        points_px, _ = project(points, placed)
        middle = (points_px.min(axis=0) + points_px.max(axis=0)) / 2
        np.testing.assert_allclose(middle, MIDDLE, atol=3)


# ---- length of rays in tubes ------------------------------------------------------------------


def rod(start, end, radius_mm=6.0, weight=1.0):
    axis = np.linspace(start, end, 81)
    return Tube(axis_mm=axis, radius_mm=np.full(81, radius_mm), weight=np.full(81, weight))


def test_the_longest_ray_in_a_rod_is_its_diameter():
    lengths = path_lengths([rod((0, 0, -40), (0, 0, 40))], geometry())
    assert lengths[110:146].mean(axis=0).max() == pytest.approx(12, rel=0.01)


def test_a_rods_profile_is_that_of_a_circle():
    lengths = path_lengths([rod((0, 0, -40), (0, 0, 40), radius_mm=9.0)], geometry())
    offset_mm = (np.arange(SIZE) - MIDDLE) * geometry().object_spacing_mm
    expected = 2 * np.sqrt(np.maximum(9.0**2 - offset_mm**2, 0))
    inner = np.abs(offset_mm) < 8
    profile = lengths[100:156].mean(axis=0)
    np.testing.assert_allclose(profile[inner], expected[inner], rtol=0.01)
    assert profile[np.abs(offset_mm) > 10].max() == 0


def test_a_rod_is_even_but_for_less_than_the_blur_takes_away():
    lengths = path_lengths([rod((-40, 0, -33), (40, 0, 33), radius_mm=3.0)], geometry(10, 7))
    blurred = gaussian_filter(lengths, 0.8)
    along = np.linspace(-20, 20, 60)[:, None] * (np.array([40, 0, 33]) / 51.9)
    points_px, _ = project(along, geometry(10, 7))
    values = map_coordinates(blurred, points_px[:, ::-1].T, order=1)
    assert values.std() / values.mean() < 0.02


def test_a_rod_at_thirty_degrees_to_the_ray_is_twice_as_long_for_it():
    tilt = np.radians(30)
    direction = 40 * np.array([np.sin(tilt), np.cos(tilt), 0])
    lengths = path_lengths([rod(-direction, direction, radius_mm=4.0)], geometry())
    assert lengths[127:129, 127:129].mean() == pytest.approx(8 / np.sin(tilt), rel=0.03)


def test_crossing_rods_add_up():
    one, other = rod((-40, 0, 0), (40, 0, 0)), rod((0, 0, -40), (0, 0, 40), weight=0.5)
    both = path_lengths([one, other], geometry())
    alone = path_lengths([one], geometry()) + path_lengths([other], geometry())
    np.testing.assert_allclose(both, alone, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(
    primary_deg=st.floats(-60, 60),
    secondary_deg=st.floats(-40, 40),
    turn=st.floats(0, 180),
    radius_mm=st.floats(0.8, 8),
)
def test_the_sum_over_the_picture_is_the_rods_volume(primary_deg, secondary_deg, turn, radius_mm):
    end = 30 * np.array([np.cos(np.radians(turn)), 0, np.sin(np.radians(turn))])
    placed = geometry(primary_deg, secondary_deg)
    lengths = path_lengths([rod(-end, end, radius_mm=radius_mm)], placed)
    volume = lengths.sum() * placed.object_spacing_mm**2
    # magnification and obliquity vary by a few per mille over 60 mm
    assert volume == pytest.approx(np.pi * radius_mm**2 * 60, rel=0.02)


def test_rays_agree_with_an_exact_cylinder():
    axis, radius_mm = np.array([0.6, 0.3, 0.74]), 5.0
    axis = axis / np.sqrt((axis**2).sum())
    placed = geometry(-20, 15)
    lengths = path_lengths([rod(-90 * axis, 90 * axis, radius_mm=radius_mm)], placed)
    right, down, ahead = placed.axes
    source = -placed.sod_mm * ahead
    offset = 0.8 * (np.arange(SIZE) - MIDDLE)
    ray = placed.sid_mm * ahead + offset[None, :, None] * right + offset[:, None, None] * down
    ray = ray / np.sqrt((ray**2).sum(axis=2))[:, :, None]
    # chord of an infinite cylinder: solve |x - (x·a)a|² = r² along the ray
    d, o = ray - (ray @ axis)[:, :, None] * axis, source - (source @ axis) * axis
    dd = (d**2).sum(axis=2)
    chord = 2 * np.sqrt(np.maximum((d @ o) ** 2 - dd * (o @ o - radius_mm**2), 0)) / dd
    inner = (slice(90, 166), slice(90, 166))  # the rod's ends are farther out
    found, expected = (gaussian_filter(picture, 1.0)[inner] for picture in (lengths, chord))
    np.testing.assert_allclose(found, expected, atol=0.025 * expected.max())
    assert expected.max() > 10


def test_what_is_outside_the_picture_leaves_no_trace_in_it():
    assert path_lengths([rod((500, 0, -40), (500, 0, 40))], geometry()).max() == 0
