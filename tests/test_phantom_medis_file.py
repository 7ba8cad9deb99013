"""Contour files of the phantom: in the vendor's shape, near the truth, measured in space."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sam3_angio.acquisition import ViewAngle
from sam3_angio.files import write_json
from sam3_angio.medis import contour_faults, read_contour
from sam3_angio.phantom.labels import FrameTruth, LesionTruth, SegmentContour
from sam3_angio.phantom.medis_file import contour_document, expert_contour, read_by_expert
from sam3_angio.phantom.xray import ProjectionGeometry

GEOMETRY = ProjectionGeometry(
    view=ViewAngle(primary_deg=-8.9, secondary_deg=24.3),
    sid_mm=1000.0,
    sod_mm=750.0,
    detector_spacing_mm=0.4,
    size_px=512,
)
# 0.3 mm a pixel at the object: 3.33 px/mm
LESION = LesionTruth(
    cass=13,
    start_px=(180.0, 150.0),
    end_px=(220.0, 150.0),
    centre_px=(200.0, 150.0),
    start_mm=24.0,
    end_mm=36.0,
    centre_mm=30.0,
    length_mm=12.0,
    mld_mm=1.09,
    rvd_mm=2.03,
    stenosis_pct=100 * (1 - 1.09 / 2.03),
    eccentricity=0.0,
)


def straight_contour() -> SegmentContour:
    """A vessel along x from (100, 150) to (300, 150), 3 mm (10 px) wide."""
    x = np.linspace(100.0, 300.0, 200)
    centre = np.stack([x, np.full(200, 150.0)], axis=1)
    up = np.array([0.0, 5.0])
    return SegmentContour(
        centreline_px=centre,
        left_px=centre - up,
        right_px=centre + up,
        ideal_left_px=centre - up,
        ideal_right_px=centre + up,
        diameter_mm=np.full(200, 3.0),
        reference_mm=np.linspace(3.2, 2.8, 200),
        arc_mm=np.linspace(0.0, 60.0, 200),
        projected_arc_mm=np.linspace(0.0, 60.0, 200),
    )


def truth_with(lesions: tuple[LesionTruth, ...]) -> FrameTruth:
    nothing = np.zeros((512, 512), bool)
    return FrameTruth(
        frame_index=4,
        analysed_cass=13,
        tree_mask=nothing,
        segment_masks={},
        catheter_mask=nothing,
        field_mask=~nothing,
        contour=straight_contour(),
        lesions=lesions,
    )


def document(lesions: tuple[LesionTruth, ...], seed: int = 0) -> dict[str, object]:
    truth = truth_with(lesions)
    reading = read_by_expert(truth, GEOMETRY, "MID LAD PRE", np.random.default_rng(seed))
    return contour_document(reading, truth, GEOMETRY)


def complete_document(lesions: tuple[LesionTruth, ...]) -> dict[str, object]:
    return next(found for seed in range(20) if len(found := document(lesions, seed)) == 10)


def test_what_is_measured_comes_from_the_lesion_in_space():
    measured = complete_document((LESION,))["measurements"]
    assert measured["diameter_stenosis_pct"] == 46.3
    assert measured["area_stenosis_pct"] == 71.2
    assert (measured["MLD_mm"], measured["interpolated_RVD_mm"]) == (1.09, 2.03)
    assert measured["lesion_length_mm"] == 12.0
    assert measured["segment_length_mm"] == 60.0
    # the reference runs from 3.2 to 2.8 mm over 60 mm
    assert measured["proximal_normal_diameter_mm"] == pytest.approx(3.2 - 0.4 * 24 / 60, abs=0.005)
    assert measured["distal_normal_diameter_mm"] == pytest.approx(3.2 - 0.4 * 36 / 60, abs=0.005)
    assert measured["MLD_centerline_index"] == pytest.approx(99.5, abs=2)


def test_of_two_lesions_the_tighter_one_of_the_segment_is_measured():
    milder = replace(LESION, stenosis_pct=20.0, mld_mm=2.4, rvd_mm=3.0)
    elsewhere = replace(LESION, cass=12, stenosis_pct=90.0, mld_mm=0.3)
    measured = complete_document((milder, elsewhere, LESION))["measurements"]
    assert measured["MLD_mm"] == 1.09


def test_a_healthy_segment_has_no_lesion_ends():
    measured = complete_document(())["measurements"]
    assert not [key for key in measured if key.startswith("lesion")]
    assert measured["MLD_mm"] == 3.0


def test_angles_are_the_sites_not_dicoms():
    angles = complete_document((LESION,))["view_angles"]
    assert angles == {"primary_angle": 8.9, "secondary_angle": 24.3}


def test_the_calibration_is_near_the_scale_at_the_object():
    scales = [
        found["calibration"]["scale_factor"]
        for seed in range(60)
        if "calibration" in (found := document((LESION,), seed))
    ]
    assert np.mean(scales) == pytest.approx(1 / 0.3, rel=0.01)
    assert 0.005 < np.std(scales) / np.mean(scales) < 0.03


def test_the_catheter_is_often_in_french_under_the_name_of_millimetres():
    written = [
        found["calibration"]["catheter_diameter_mm"]
        for seed in range(60)
        if "calibration" in (found := document((LESION,), seed))
    ]
    assert set(written) == {2.0, 8.0}
    assert 0.5 < np.mean(np.array(written) == 8.0) < 0.9


def test_a_few_files_lack_optional_fields_and_none_lacks_the_frame():
    found = [document((LESION,), seed) for seed in range(200)]
    short = sum(len(content) < 10 for content in found)
    assert 3 <= short <= 30
    assert all(content["frame_num"] == 4 and "left_edge" in content for content in found)


def test_an_expert_draws_a_fraction_of_a_pixel_beside_the_truth():
    true = straight_contour()
    errors = []
    for seed in range(20):
        drawn = expert_contour(true, 1 / 0.3, np.random.default_rng(seed))
        errors.append(drawn.left_px[:, 1] - true.left_px[:, 1])
        np.testing.assert_allclose(drawn.left_px[:, 0], true.left_px[:, 0], atol=1e-9)
    # 0.05 mm at 3.33 px/mm
    assert np.std(errors) == pytest.approx(0.05 / 0.3, rel=0.15)
    steps = np.diff(np.array(errors), axis=1)
    assert np.std(steps) < 0.3 * np.std(errors)


def test_edges_do_not_cross_where_the_lumen_is_almost_closed():
    true = straight_contour()
    up = np.array([0.0, 0.05])
    narrow = replace(true, left_px=true.centreline_px - up, right_px=true.centreline_px + up)
    drawn = expert_contour(narrow, 1 / 0.3, np.random.default_rng(0))
    assert (drawn.left_px[:, 1] < drawn.right_px[:, 1]).all()


def test_the_projects_own_reader_takes_the_file(tmp_path):
    write_json(tmp_path / "contour.json", complete_document((LESION,)), indent=None)
    contour = read_contour(tmp_path / "contour.json")
    assert contour.segment_name == "Mid LAD PRE"
    assert contour.frame_num == 4
    assert 100 <= len(contour.centerline) <= 400
    assert contour.measurements.mld_mm == 1.09
    assert contour_faults(contour, "contour.json", (512, 512)) == []
