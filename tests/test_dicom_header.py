"""Geometry and spacing of a run: taken where it can be meant, dropped with a warning otherwise."""

import math

import pytest
from xa_files import pictures, write_run

from sam3_angio.acquisition import ViewAngle
from sam3_angio.dicom import read_frame, read_run_header
from sam3_angio.dicom.spacing import contradicts, object_spacing

GEOMETRY = {
    "PositionerPrimaryAngle": "-29.8",
    "PositionerSecondaryAngle": "20.4",
    "ImagerPixelSpacing": ["0.308", "0.3"],
    "DistanceSourceToDetector": "1000",
    "DistanceSourceToPatient": "750",
    "EstimatedRadiographicMagnificationFactor": "1.25",
}


def _header(tmp_path, **changes):
    present = {key: value for key, value in (GEOMETRY | changes).items() if value is not None}
    path = write_run(tmp_path / "run.dcm", pictures(frames=4), 8, **present)
    return read_run_header(path, name="run")


def test_geometry_is_that_of_the_header(tmp_path):
    header = _header(tmp_path)
    geometry = header.geometry
    assert header.view(0) == ViewAngle(primary_deg=-29.8, secondary_deg=20.4)
    assert geometry.detector_spacing_mm == (0.308, 0.3)
    assert (geometry.sid_mm, geometry.sod_mm, geometry.magnification) == (1000, 750, 1.25)
    assert header.warnings == ()


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PositionerPrimaryAngle", "181"),
        ("PositionerSecondaryAngle", "-91"),
        ("ImagerPixelSpacing", ["0", "0"]),
        ("ImagerPixelSpacing", ["-0.3", "0.3"]),
        ("ImagerPixelSpacing", ["0.3", "0.3", "0.3"]),
        ("ImagerPixelSpacing", ["308", "308"]),
        ("DistanceSourceToDetector", "0"),
        ("DistanceSourceToDetector", "1E9"),
        ("DistanceSourceToPatient", "-750"),
        ("DistanceSourceToPatient", "1100"),
        ("EstimatedRadiographicMagnificationFactor", "0.7"),
    ],
)
def test_geometry_that_cannot_be_meant_is_dropped_with_a_warning(tmp_path, keyword, value):
    header = _header(tmp_path, **{keyword: value})
    assert any(keyword in field or "Distance" in field for field, _ in header.warnings)
    geometry = header.geometry
    dropped = {
        "PositionerPrimaryAngle": math.isnan(geometry.primary_deg),
        "PositionerSecondaryAngle": math.isnan(geometry.secondary_deg),
        "ImagerPixelSpacing": geometry.detector_spacing_mm is None,
        "DistanceSourceToDetector": math.isnan(geometry.sid_mm),
        "DistanceSourceToPatient": math.isnan(geometry.sod_mm),
        "EstimatedRadiographicMagnificationFactor": math.isnan(geometry.magnification),
    }
    assert dropped[keyword]


@pytest.mark.parametrize("text", [b"NaN   ", b"inf   ", b"1e999 ", b"0x10  ", b"twenty"])
def test_text_that_is_no_number_is_dropped_with_a_warning(tmp_path, text):
    run = pictures(frames=4)
    path = write_run(tmp_path / "run.dcm", run, 8, PositionerPrimaryAngle="123456")
    path.write_bytes(path.read_bytes().replace(b"123456", text))
    frame = read_frame(path, 1, name="run")
    assert frame.view is None
    (warning,) = frame.warnings
    assert warning.severity == "warning"
    assert text.strip().decode() not in str(warning)


def test_absent_geometry_is_unknown_without_a_warning(tmp_path):
    header = _header(tmp_path, **dict.fromkeys(GEOMETRY))
    assert header.view(0) is None
    assert header.geometry.detector_spacing_mm is None
    assert header.warnings == ()


@pytest.mark.parametrize(
    ("increments", "expected"),
    [
        (["0", "1.5", "1.5", "1.5"], [10, 11.5, 13, 14.5]),  # steps
        (["0", "1.5", "3", "4.5"], [10, 11.5, 13, 14.5]),  # differences from the first frame
        (["1.5"], [10, 11.5, 13, 14.5]),
        (["0", "0", "0", "0"], [10, 10, 10, 10]),
    ],
)
def test_increments_of_a_moving_positioner_are_added(tmp_path, increments, expected):
    header = _header(
        tmp_path,
        PositionerMotion="DYNAMIC",
        PositionerPrimaryAngle="10",
        PositionerPrimaryAngleIncrement=increments,
    )
    assert [header.view(k).primary_deg for k in range(4)] == pytest.approx(expected)
    assert {header.view(k).secondary_deg for k in range(4)} == {20.4}
    assert header.warnings == ()


@pytest.mark.parametrize(
    "increments", [["1", "2"], ["0", "1", "9", "3"], ["0", "2", "2", "-7"], None]
)
def test_increments_that_cannot_be_understood_give_no_angle(tmp_path, increments):
    changes = {"PositionerPrimaryAngleIncrement": increments} if increments else {}
    header = _header(tmp_path, PositionerMotion="DYNAMIC", **changes)
    assert header.view(3) is None
    assert header.warnings


def test_increments_of_a_positioner_at_rest_are_ignored(tmp_path):
    header = _header(
        tmp_path, PositionerMotion="STATIC", PositionerPrimaryAngleIncrement=["0", "5", "5", "5"]
    )
    assert header.view(3).primary_deg == -29.8


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (0.308 * 0.75, 0.3 * 0.75, "sod_sid")),
        ({"DistanceSourceToPatient": None}, (0.308 / 1.25, 0.3 / 1.25, "magnification")),
        (
            {
                "DistanceSourceToPatient": None,
                "EstimatedRadiographicMagnificationFactor": None,
            },
            (0.308, 0.3, "detector"),
        ),
    ],
)
def test_spacing_at_the_object_comes_from_the_best_source(tmp_path, changes, expected):
    spacing = object_spacing(_header(tmp_path, **changes).geometry, None)
    assert (spacing.row_mm, spacing.column_mm, spacing.source) == pytest.approx(expected)


def test_calibration_takes_precedence_and_is_turned_into_millimetres(tmp_path):
    spacing = object_spacing(_header(tmp_path).geometry, 4.0)
    assert (spacing.row_mm, spacing.column_mm, spacing.source) == (0.25, 0.25, "calibration")


def test_unknown_spacing_is_nan(tmp_path):
    spacing = object_spacing(_header(tmp_path, ImagerPixelSpacing=None).geometry, None)
    assert math.isnan(spacing.row_mm)
    assert spacing.source == "none"


@pytest.mark.parametrize(("px_per_mm", "expected"), [(4.3, False), (3.2, True), (5.6, True)])
def test_calibration_that_differs_by_a_quarter_contradicts(tmp_path, px_per_mm, expected):
    """The header gives 0.231 mm a pixel, 4.33 pixels a millimetre."""
    assert contradicts(_header(tmp_path).geometry, px_per_mm) is expected
