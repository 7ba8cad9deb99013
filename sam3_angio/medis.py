"""Medis QCA contour files: edges of one analysed segment and what was measured on it.

Source: the export of a core laboratory's analysis software, one JSON file a frame
(``segment_name``, ``frame_num``, ``centerline``, ``left_edge``, ``right_edge``, the ideal edges,
``measurements``, ``calibration``, ``view_angles``). Any field can be missing.

Conventions
-----------
Points are ``[x, y]`` in frame pixels, (0, 0) the centre of the first pixel; arrays of points are
(N, 2) float64, (0, 2) where the file has none. A missing number is NaN. The polygon of a segment
is its left edge followed by the reversed right edge. With y running down, its shoelace area is
positive when the left edge lies to the left of who walks along the vessel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from sam3_angio.errors import Fault
from sam3_angio.strict_json import read_json

Points = NDArray[np.float64]

MAX_CONTOUR_BYTES = 16 * 2**20
_MAX_POINTS = 4_000
_SIDES_AT_ONCE = 64

#: Of what the polygon encloses, the share that must survive the signed (shoelace) sum.
_MIN_SIGNED_SHARE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements:
    """What the software measured on the segment.

    Attributes
    ----------
    diameter_stenosis_pct, area_stenosis_pct : float
        Percent.
    mld_mm, rvd_mm : float
        Minimal lumen diameter; interpolated reference diameter at the same place.
    mld_point, lesion_start, lesion_end : tuple of float
        ``(x, y)`` in frame pixels.
    mld_centerline_index : float
        Position along the centre line.
    lesion_length_mm, segment_length_mm : float
        Along the centre line.
    proximal_normal_mm, distal_normal_mm : float
        Reference diameters at the ends of the lesion.
    """

    diameter_stenosis_pct: float
    area_stenosis_pct: float
    mld_mm: float
    rvd_mm: float
    mld_point: tuple[float, float]
    lesion_start: tuple[float, float]
    lesion_end: tuple[float, float]
    mld_centerline_index: float
    lesion_length_mm: float
    segment_length_mm: float
    proximal_normal_mm: float
    distal_normal_mm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How pixels became millimetres.

    Attributes
    ----------
    scale_px_per_mm : float
        From the catheter.
    catheter_diameter : float
        As exported; labelled millimetres, but probably French (1 F = 1/3 mm) above 4.
    imager_spacing_mm : tuple of float
        Rows, columns; at the detector, not corrected for magnification.
    """

    scale_px_per_mm: float
    catheter_diameter: float
    imager_spacing_mm: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SegmentContour:
    """One contour file.

    Attributes
    ----------
    segment_name : str
        As in the analysis software, such as ``Mid LAD PRE``; empty where missing.
    frame_num : int or None
        Analysed frame, 0-based.
    centerline, left_edge, right_edge, ideal_left_edge, ideal_right_edge : (N, 2) ndarray
        The ideal edges are the reference contour, as if there were no lesion.
    measurements : Measurements
        NaN where missing.
    calibration : Calibration
        NaN where missing.
    site_primary_deg, site_secondary_deg : float
        View angles, the primary one in the sign convention of the site's table.
    """

    segment_name: str
    frame_num: int | None
    centerline: Points
    left_edge: Points
    right_edge: Points
    ideal_left_edge: Points
    ideal_right_edge: Points
    measurements: Measurements
    calibration: Calibration
    site_primary_deg: float
    site_secondary_deg: float


_Number = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
_FilePoints = Annotated[list[tuple[_Number, _Number]], Field(max_length=_MAX_POINTS)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _FileMeasurements(_Part):
    diameter_stenosis_pct: _Number | None = None
    area_stenosis_pct: _Number | None = None
    MLD_mm: _Number | None = None
    rvd_mm: Annotated[_Number | None, Field(alias="interpolated_RVD_mm")] = None
    MLD_x_coord: _Number | None = None
    MLD_y_coord: _Number | None = None
    MLD_centerline_index: _Number | None = None
    lesion_length_mm: _Number | None = None
    lesion_start_x_coord: _Number | None = None
    lesion_start_y_coord: _Number | None = None
    lesion_end_x_coord: _Number | None = None
    lesion_end_y_coord: _Number | None = None
    proximal_normal_diameter_mm: _Number | None = None
    distal_normal_diameter_mm: _Number | None = None
    segment_length_mm: _Number | None = None


class _FileCalibration(_Part):
    scale_factor: _Number | None = None
    catheter_diameter_mm: _Number | None = None
    imager_pixel_spacing_mm: tuple[_Number, _Number] | None = None


class _FileAngles(_Part):
    primary_angle: _Number | None = None
    secondary_angle: _Number | None = None


class _File(_Part):
    segment_name: str | None = None
    frame_num: Annotated[float, Field(ge=0, le=99_999, multiple_of=1)] | None = None
    centerline: _FilePoints | None = None
    left_edge: _FilePoints | None = None
    right_edge: _FilePoints | None = None
    ideal_left_edge: _FilePoints | None = None
    ideal_right_edge: _FilePoints | None = None
    measurements: _FileMeasurements | None = None
    calibration: _FileCalibration | None = None
    view_angles: _FileAngles | None = None


_SCHEMA = TypeAdapter(_File)


def read_contour(path: Path) -> SegmentContour:
    """Read a contour file.

    Raises
    ------
    DataError
        The file is not strict JSON (NaN, infinity and doubled keys included), or a field has
        another type than the format's; with every fault.
    """
    content = read_json(path, _SCHEMA, MAX_CONTOUR_BYTES)
    angles = content.view_angles or _FileAngles()
    return SegmentContour(
        segment_name=content.segment_name or "",
        frame_num=None if content.frame_num is None else int(content.frame_num),
        centerline=_points(content.centerline),
        left_edge=_points(content.left_edge),
        right_edge=_points(content.right_edge),
        ideal_left_edge=_points(content.ideal_left_edge),
        ideal_right_edge=_points(content.ideal_right_edge),
        measurements=_measurements(content.measurements or _FileMeasurements()),
        calibration=_calibration(content.calibration or _FileCalibration()),
        site_primary_deg=_number(angles.primary_angle),
        site_secondary_deg=_number(angles.secondary_angle),
    )


def _measurements(part: _FileMeasurements) -> Measurements:
    return Measurements(
        diameter_stenosis_pct=_number(part.diameter_stenosis_pct),
        area_stenosis_pct=_number(part.area_stenosis_pct),
        mld_mm=_number(part.MLD_mm),
        rvd_mm=_number(part.rvd_mm),
        mld_point=(_number(part.MLD_x_coord), _number(part.MLD_y_coord)),
        lesion_start=(_number(part.lesion_start_x_coord), _number(part.lesion_start_y_coord)),
        lesion_end=(_number(part.lesion_end_x_coord), _number(part.lesion_end_y_coord)),
        mld_centerline_index=_number(part.MLD_centerline_index),
        lesion_length_mm=_number(part.lesion_length_mm),
        segment_length_mm=_number(part.segment_length_mm),
        proximal_normal_mm=_number(part.proximal_normal_diameter_mm),
        distal_normal_mm=_number(part.distal_normal_diameter_mm),
    )


def _calibration(part: _FileCalibration) -> Calibration:
    return Calibration(
        scale_px_per_mm=_number(part.scale_factor),
        catheter_diameter=_number(part.catheter_diameter_mm),
        imager_spacing_mm=part.imager_pixel_spacing_mm or (math.nan, math.nan),
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _points(values: list[tuple[float, float]] | None) -> Points:
    points = np.array(values or [], dtype=np.float64).reshape(-1, 2)
    points.flags.writeable = False
    return points


def contour_polygon(contour: SegmentContour) -> Points:
    """Return the segment's outline: left edge, then the right edge backwards.

    Returns
    -------
    (N, 2) ndarray of float64
        ``[x, y]`` in frame pixels; (0, 2) where an edge has fewer than two points.
    """
    if min(len(contour.left_edge), len(contour.right_edge)) < 2:
        return np.empty((0, 2))
    return np.concatenate([contour.left_edge, contour.right_edge[::-1]])


def polygon_mask(polygon: Points, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Fill a polygon.

    A pixel belongs to the polygon when the polygon winds around its centre (non-zero rule, so that
    the small loops of an edge on the inner side of a bend leave no hole). A centre that lies on
    the outline belongs to the polygon on a left or upper side and not on a right or lower one:
    two polygons that share an edge share no pixel.

    Parameters
    ----------
    polygon : (N, 2) ndarray
        ``[x, y]`` in pixels, (0, 0) the centre of the first pixel; closed by itself.
    shape : tuple of int
        Rows and columns.

    Returns
    -------
    (R, C) ndarray of bool
        Empty for fewer than three points.

    Raises
    ------
    ValueError
        A coordinate is not finite.
    """
    if not np.isfinite(polygon).all():
        raise ValueError("the polygon has a coordinate that is not finite")
    rows, columns = shape
    winding = np.zeros((rows, columns + 1), dtype=np.int32)
    for start, end in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        # Downwards, whichever way the outline runs: rounding is the same for both neighbours.
        (x0, y0), (x1, y1) = (start, end) if start[1] < end[1] else (end, start)
        centres = np.arange(max(math.ceil(y0), 0), min(math.ceil(y1), rows))
        if len(centres):
            crossing = np.ceil(x0 + (centres - y0) * ((x1 - x0) / (y1 - y0)))
            turn = 1 if end[1] > start[1] else -1
            winding[centres, np.clip(crossing, 0, columns).astype(int)] += turn
    filled: NDArray[np.bool_] = np.cumsum(winding[:, :columns], axis=1) != 0
    return filled


def signed_area_px2(polygon: Points) -> float:
    """Return the shoelace area; positive when the left edge is on the left (y runs down)."""
    following = np.roll(polygon, -1, axis=0)
    return float(np.sum(polygon[:, 0] * following[:, 1] - following[:, 0] * polygon[:, 1]) / 2)


def crossings(polygon: Points) -> int:
    """Count the pairs of sides of a closed polygon that cut each other in their interior."""
    if len(polygon) < 4:
        return 0
    start, end = polygon, np.roll(polygon, -1, axis=0)
    low, high = np.minimum(start, end), np.maximum(start, end)
    count = 0
    for row in range(0, len(polygon), _SIDES_AT_ONCE):  # all pairs at once may take gigabytes
        some = slice(row, row + _SIDES_AT_ONCE)
        overlap = ((low[some, None] <= high) & (low <= high[some, None])).all(axis=2)
        first, second = np.nonzero(np.triu(overlap, k=1 + row))
        a, b, c, d = start[some][first], end[some][first], start[second], end[second]
        apart_1 = _side(a, b, c) * _side(a, b, d) < 0
        apart_2 = _side(c, d, a) * _side(c, d, b) < 0
        count += int(np.sum(apart_1 & apart_2))
    return count


def _side(a: Points, b: Points, point: Points) -> NDArray[np.float64]:
    direction, offset = b - a, point - a
    return np.asarray(np.sign(direction[:, 0] * offset[:, 1] - direction[:, 1] * offset[:, 0]))


def contour_faults(contour: SegmentContour, file: str, shape: tuple[int, int]) -> list[Fault]:
    """Return what is wrong with the outline of a segment.

    Parameters
    ----------
    contour : SegmentContour
        As read.
    file : str
        Name for the faults.
    shape : tuple of int
        Rows and columns of the frame.
    """
    polygon = contour_polygon(contour)
    if not len(polygon):
        return [_fault(file, "left_edge", "an edge has fewer than two points.", "warning")]
    faults = []
    limit = np.array([shape[1], shape[0]]) - 0.5
    outside = int(((polygon < -0.5) | (polygon > limit)).any(axis=1).sum())
    if outside:
        message = f"{outside} of {len(polygon)} points of the edges are outside the frame."
        faults.append(_fault(file, "left_edge", message))
    if _edges_run_apart(contour):
        message = "the two edges run in opposite directions."
        return [*faults, _fault(file, "right_edge", message)]
    if max(_extent(polygon)) > 2 * max(shape):
        return faults  # most of it is outside: nothing more can be told
    count = crossings(polygon)
    enclosed = polygon_mask(polygon - polygon.min(axis=0), _extent(polygon)).sum()
    if count:
        torn = abs(signed_area_px2(polygon)) < _MIN_SIGNED_SHARE * enclosed
        message = f"the outline crosses itself {count} times."
        message += " Left and right edge may be swapped in a part." if torn else ""
        faults.append(_fault(file, "left_edge", message, "error" if torn else "warning"))
    if not enclosed:
        faults.append(_fault(file, "left_edge", "the edges enclose nothing."))
    return faults


def _edges_run_apart(contour: SegmentContour) -> bool:
    left, right = contour.left_edge, contour.right_edge
    along = np.linalg.norm(left[0] - right[0]) + np.linalg.norm(left[-1] - right[-1])
    across = np.linalg.norm(left[0] - right[-1]) + np.linalg.norm(left[-1] - right[0])
    return bool(along > across)


def _extent(polygon: Points) -> tuple[int, int]:
    width, height = np.ceil(np.ptp(polygon, axis=0)).astype(int) + 1
    return int(height), int(width)


def _fault(file: str, field: str, message: str, severity: str = "error") -> Fault:
    return Fault(
        file=file,
        field=field,
        message=message,
        fix="Export the contour again, or remove it from the table.",
        severity="warning" if severity == "warning" else "error",
    )
