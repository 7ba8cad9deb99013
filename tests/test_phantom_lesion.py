"""Narrowings: exact stenosis, place, shape, eccentricity, treatment."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam3_angio.phantom.heart import grow_heart
from sam3_angio.phantom.lesion import LesionPlan, centre_index, treated, with_lesions

HEALTHY = grow_heart(3)


def plan(**changes):
    return LesionPlan(
        **({"cass": 13, "centre": 0.5, "length_mm": 12.0, "stenosis_pct": 60.0} | changes)
    )


def stenosis_pct(branch):
    return 100 * (1 - branch.radius_mm / branch.reference_radius_mm)


def test_the_tightest_point_has_the_planned_stenosis_at_the_planned_place():
    branch = with_lesions(HEALTHY, [plan()]).segment(13)
    narrowing = stenosis_pct(branch)
    assert narrowing.max() == pytest.approx(60, abs=1e-9)
    assert narrowing.argmax() == centre_index(branch, plan())
    assert abs(branch.arc_mm[narrowing.argmax()] - 0.5 * branch.arc_mm[-1]) <= 0.25


def test_a_lesion_is_as_long_as_planned():
    branch = with_lesions(HEALTHY, [plan(length_mm=12.0)]).segment(13)
    narrowed = branch.arc_mm[stenosis_pct(branch) > 1e-6]
    assert narrowed[-1] - narrowed[0] == pytest.approx(12, abs=1.1)  # two samples


def test_half_way_to_its_end_a_lesion_has_half_its_depth():
    branch = with_lesions(HEALTHY, [plan(length_mm=12.0)]).segment(13)
    centre = centre_index(branch, plan())
    offset = branch.arc_mm - branch.arc_mm[centre]
    assert np.interp(3.0, offset, stenosis_pct(branch)) == pytest.approx(30, abs=0.5)


def test_nothing_but_the_lesion_changes():
    heart = with_lesions(HEALTHY, [plan()])
    for before, after in zip(HEALTHY.branches, heart.branches, strict=True):
        np.testing.assert_array_equal(after.reference_radius_mm, before.radius_mm)
        np.testing.assert_array_equal(after.centreline_mm, before.centreline_mm)
        if before.cass != 13:
            np.testing.assert_array_equal(after.radius_mm, before.radius_mm)
    assert heart.lesions == (plan(),)


def test_a_concentric_lesion_leaves_the_axis_where_it_was():
    branch = with_lesions(HEALTHY, [plan(eccentricity=0.0)]).segment(13)
    np.testing.assert_allclose(branch.lumen_mm, branch.centreline_mm)


@settings(max_examples=40, deadline=None)
@given(
    eccentricity=st.floats(0, 1),
    azimuth_deg=st.floats(-180, 180),
    stenosis=st.floats(0, 95),
    centre=st.floats(0, 1),
    length_mm=st.floats(2, 30),
)
def test_the_lumen_stays_inside_the_vessel(eccentricity, azimuth_deg, stenosis, centre, length_mm):
    wanted = plan(
        eccentricity=eccentricity,
        azimuth_deg=azimuth_deg,
        stenosis_pct=stenosis,
        centre=centre,
        length_mm=length_mm,
    )
    branch = with_lesions(HEALTHY, [wanted]).segment(13)
    shift = np.sqrt(((branch.lumen_mm - branch.centreline_mm) ** 2).sum(axis=1))
    free = branch.reference_radius_mm - branch.radius_mm
    np.testing.assert_allclose(shift, eccentricity * free, atol=1e-6)
    assert (branch.radius_mm > 0).all()
    assert stenosis_pct(branch).max() == pytest.approx(stenosis, abs=1e-9)


def test_where_two_lesions_overlap_the_tighter_one_counts():
    mild, severe = plan(stenosis_pct=30, length_mm=20), plan(stenosis_pct=80, length_mm=6)
    both = with_lesions(HEALTHY, [mild, severe]).segment(13)
    alone = [with_lesions(HEALTHY, [one]).segment(13).radius_mm for one in (mild, severe)]
    np.testing.assert_array_equal(both.radius_mm, np.minimum(*alone))


def test_a_stent_leaves_little_and_nothing_eccentric():
    after = treated(plan(eccentricity=0.8), residual_pct=9)
    assert (after.stenosis_pct, after.eccentricity) == (9, 0)
    assert (after.cass, after.centre, after.length_mm) == (13, 0.5, 12)


@pytest.mark.parametrize("residual_pct", [-1, 16])
def test_a_stent_that_leaves_more_than_fifteen_per_cent_is_refused(residual_pct):
    with pytest.raises(ValueError, match="0 to 15"):
        treated(plan(), residual_pct=residual_pct)


@pytest.mark.parametrize(
    "change",
    [{"centre": 1.2}, {"stenosis_pct": 96}, {"length_mm": 0.2}, {"eccentricity": -0.1}],
)
def test_an_impossible_lesion_is_refused_by_name(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        plan(**change)


def test_a_lesion_in_a_segment_that_the_heart_lacks_is_refused():
    absent = next(cass for cass in (28, 22, 29) if cass not in HEALTHY.cass)
    with pytest.raises(ValueError, match=f"no segment \\[{absent}\\]"):
        with_lesions(HEALTHY, [plan(cass=absent)])


def test_lesions_are_not_added_twice():
    with pytest.raises(ValueError, match="already"):
        with_lesions(with_lesions(HEALTHY, [plan()]), [plan()])
