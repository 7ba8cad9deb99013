"""Contour files, their outlines and the masks of these."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from skimage.draw import polygon2mask

from sam3_angio.errors import DataError
from sam3_angio.medis import (
    SegmentContour,
    contour_faults,
    contour_polygon,
    crossings,
    polygon_mask,
    read_contour,
    signed_area_px2,
)

FULL: dict[str, Any] = {
    "segment_name": "Mid LAD PRE",
    "frame_num": 20,
    "centerline": [[2, 5], [20, 5]],
    "left_edge": [[2, 3], [10, 3.5], [20, 3]],
    "right_edge": [[2, 7], [10, 6.5], [20, 7]],
    "ideal_left_edge": [[2, 3], [20, 3]],
    "ideal_right_edge": [[2, 7], [20, 7]],
    "measurements": {
        "diameter_stenosis_pct": 46.3,
        "MLD_mm": 1.09,
        "interpolated_RVD_mm": 2.03,
        "MLD_x_coord": 10,
        "MLD_y_coord": 5,
        "lesion_length_mm": None,
    },
    "calibration": {
        "scale_factor": 3.38,
        "catheter_diameter_mm": 8.0,
        "imager_pixel_spacing_mm": [0.308, 0.308],
    },
    "view_angles": {"primary_angle": 8.9, "secondary_angle": 24.3},
    "software": {"version": "not of the format"},
}


def written(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "contour.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def contour(tmp_path: Path, **changes: object) -> SegmentContour:
    return read_contour(written(tmp_path, FULL | changes))


def test_every_field_is_read(tmp_path: Path) -> None:
    read = contour(tmp_path)
    assert (read.segment_name, read.frame_num) == ("Mid LAD PRE", 20)
    assert read.measurements.mld_point == (10, 5)
    assert (read.measurements.mld_mm, read.measurements.rvd_mm) == (1.09, 2.03)
    assert math.isnan(read.measurements.lesion_length_mm)
    assert read.calibration.scale_px_per_mm == 3.38
    assert read.calibration.imager_spacing_mm == (0.308, 0.308)
    assert (read.site_primary_deg, read.site_secondary_deg) == (8.9, 24.3)
    assert read.left_edge.tolist() == [[2, 3], [10, 3.5], [20, 3]]


@pytest.mark.parametrize("field", FULL)
def test_any_field_can_be_missing_or_null(tmp_path: Path, field: str) -> None:
    without = {key: value for key, value in FULL.items() if key != field}
    for content in (without, FULL | {field: None}):
        read_contour(written(tmp_path, content))


def test_an_empty_object_is_a_contour_without_anything(tmp_path: Path) -> None:
    read = read_contour(written(tmp_path, {}))
    assert read.frame_num is None
    assert math.isnan(read.calibration.scale_px_per_mm)
    assert contour_polygon(read).shape == (0, 2)
    assert not polygon_mask(contour_polygon(read), (4, 4)).any()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"frame_num": NaN}', "NaN is not a number"),
        ('{"left_edge": [[1, Infinity]]}', "Infinity is not a number"),
        ('{"left_edge": [[1, 1e999]]}', "finite number|less than or equal"),
        ('{"frame_num": 1, "frame_num": 2}', "a key occurs twice"),
        ('{"measurements": {"MLD_mm": 1, "MLD_mm": 2}}', "a key occurs twice"),
        ('{"frame_num": 1', "not JSON"),
        ("", "not JSON"),
        ("[1]", "object|instance"),
        ('{"frame_num": 2.5}', "multiple of 1"),
        ('{"frame_num": -1}', "greater than or equal to 0"),
        ('{"frame_num": "20"}', "valid number"),
        ('{"frame_num": true}', "valid number"),
        ('{"left_edge": [[1, 2, 3]]}', "left_edge.0"),
        ('{"left_edge": [["1", "2"]]}', "left_edge.0.0"),
        ('{"segment_name": 3}', "valid string"),
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
        ('{"frame_num": ' + "9" * 5000 + "}", "too many digits"),
    ],
)
def test_what_is_no_strict_contour_is_refused(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_contour(written(tmp_path, content))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "contour.json").write_bytes(b"\xff\xfe{\x00}\x00")
    with pytest.raises(DataError, match="not UTF-8"):
        read_contour(tmp_path / "contour.json")


def test_a_value_of_the_file_is_never_repeated(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_contour(written(tmp_path, {"frame_num": "DOE^JANE", "left_edge": "DOE^JANE"}))
    assert len(caught.value.faults) == 2
    assert "DOE" not in str(caught.value)


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_no_text_ends_in_anything_but_a_data_error(tmp_path_factory: Any, text: str) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "contour.json"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        read_contour(path)
    except DataError:
        return


def test_the_outline_is_left_edge_then_right_edge_backwards(tmp_path: Path) -> None:
    expected = [[2, 3], [10, 3.5], [20, 3], [20, 7], [10, 6.5], [2, 7]]
    assert contour_polygon(contour(tmp_path)).tolist() == expected


def test_pixels_are_those_whose_centre_is_inside() -> None:
    # The square from (0.5, 0.5) to (2.5, 2.5) holds the centres 1 and 2 in both directions.
    square = np.array([[0.5, 0.5], [2.5, 0.5], [2.5, 2.5], [0.5, 2.5]])
    expected = np.zeros((4, 4), dtype=bool)
    expected[1:3, 1:3] = True
    assert (polygon_mask(square, (4, 4)) == expected).all()


def test_left_and_upper_sides_belong_and_right_and_lower_do_not() -> None:
    square = np.array([[1.0, 1.0], [3.0, 1.0], [3.0, 3.0], [1.0, 3.0]])
    expected = np.zeros((5, 5), dtype=bool)
    expected[1:3, 1:3] = True
    for outline in (square, square[::-1], np.roll(square, 1, axis=0)):
        assert (polygon_mask(outline, (5, 5)) == expected).all()


def test_a_loop_of_an_edge_leaves_no_hole() -> None:
    # A pentagram: even-odd filling leaves its middle empty.
    angles = np.deg2rad(np.arange(5) * 144)
    star = np.stack([20 + 15 * np.cos(angles), 20 + 15 * np.sin(angles)], axis=1)
    assert polygon_mask(star, (40, 40))[20, 20]


def test_a_polygon_beyond_the_frame_is_cut() -> None:
    huge = np.array([[-1e6, -1e6], [1e6, -1e6], [1e6, 1e6], [-1e6, 1e6]])
    assert polygon_mask(huge, (3, 5)).all()
    assert not polygon_mask(huge + 3e6, (3, 5)).any()


def test_a_coordinate_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        polygon_mask(np.array([[0, 0], [1, np.nan], [1, 1]]), (4, 4))


@st.composite
def star_outlines(draw: st.DrawFn) -> np.ndarray:
    count = draw(st.integers(3, 24))
    radii = draw(st.lists(st.floats(2, 14), min_size=count, max_size=count))
    turn = draw(st.floats(0, 6))
    angles = turn + np.arange(count) * 2 * np.pi / count
    return 16.123 + np.array(radii)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)


@given(star_outlines())
def test_filling_agrees_with_scikit_image(outline: np.ndarray) -> None:
    ours = polygon_mask(outline, (33, 33))
    theirs = polygon2mask((33, 33), outline[:, ::-1])
    differing = np.argwhere(ours != theirs)[:, ::-1]
    # Implementations may differ in centres that lie on the outline, in nothing else.
    assert all(_distance_px(outline, point) < 1e-6 for point in differing)


def _distance_px(outline: np.ndarray, point: np.ndarray) -> float:
    start, side = outline, np.roll(outline, -1, axis=0) - outline
    along = np.clip(((point - start) * side).sum(1) / (side**2).sum(1), 0, 1)
    return float(np.linalg.norm(start + along[:, None] * side - point, axis=1).min())


@given(star_outlines(), st.integers(-3, 3), st.integers(-3, 3))
def test_filling_moves_with_the_outline(outline: np.ndarray, dx: int, dy: int) -> None:
    still = polygon_mask(outline + 8, (60, 60))
    moved = polygon_mask(outline + 8 + [dx, dy], (60, 60))
    changed = np.argwhere(moved != np.roll(still, (dy, dx), axis=(0, 1)))[:, ::-1]
    assert all(_distance_px(outline + 8 + [dx, dy], point) < 1e-6 for point in changed)


@given(st.floats(1, 30), st.floats(1, 30))
@example(1.0000000000000002, 3.0)  # rounding differed with the direction of the side
def test_two_polygons_that_share_an_edge_share_no_pixel(top: float, bottom: float) -> None:
    left = np.array([[0, 0], [top, 0], [bottom, 31], [0, 31]])
    right = np.array([[top, 0], [31, 0], [31, 31], [bottom, 31]])
    masks = [polygon_mask(half, (31, 31)).astype(int) for half in (left, right)]
    assert (masks[0] + masks[1] == 1).all()


def test_the_signed_area_tells_the_side_of_the_left_edge(tmp_path: Path) -> None:
    # Walking to the right, the left edge is above: y is smaller.
    polygon = contour_polygon(contour(tmp_path))
    assert signed_area_px2(polygon) == pytest.approx(63.0)
    assert signed_area_px2(polygon[::-1]) == pytest.approx(-63.0)


def test_crossings_are_counted() -> None:
    bow_tie = np.array([[0, 0], [4, 4], [4, 0], [0, 4]], dtype=float)
    square = np.array([[0, 0], [4, 0], [4, 4], [0, 4]], dtype=float)
    assert (crossings(bow_tie), crossings(square)) == (1, 0)


@given(star_outlines())
def test_a_star_shaped_outline_does_not_cross_itself(outline: np.ndarray) -> None:
    assert crossings(outline) == 0


def test_a_sound_contour_has_no_fault(tmp_path: Path) -> None:
    assert contour_faults(contour(tmp_path), "c.json", (30, 30)) == []


@pytest.mark.parametrize(
    ("changes", "message", "severity"),
    [
        ({"right_edge": [[20, 7], [10, 6.5], [2, 7]]}, "opposite directions", "error"),
        (
            {
                "left_edge": [[2, 3], [9, 3], [12, 7], [20, 7]],
                "right_edge": [[2, 7], [9, 7], [12, 3], [20, 3]],
            },
            "crosses itself 1 times. Left and right edge may be swapped",
            "error",
        ),
        (
            {"left_edge": [[2, 3], [8, 3], [9, 2], [8, 2], [9, 3], [20, 3]]},
            "crosses itself 1 times",
            "warning",
        ),
        ({"left_edge": [[2, 3], [40, 3], [20, 3]]}, "1 of 6 points", "error"),
        ({"left_edge": [[2, 5], [20, 5]], "right_edge": [[2, 5], [20, 5]]}, "nothing", "error"),
        ({"left_edge": [[2, 5]]}, "fewer than two points", "warning"),
        ({"right_edge": []}, "fewer than two points", "warning"),
    ],
)
def test_a_faulty_outline_is_named(
    tmp_path: Path, changes: dict[str, object], message: str, severity: str
) -> None:
    faults = contour_faults(contour(tmp_path, **changes), "c.json", (30, 30))
    assert [fault.severity for fault in faults] == [severity]
    assert message in faults[0].message
