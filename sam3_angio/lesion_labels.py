"""Lesions and measurements of an expert's contour file, as labels.

A frame has a lesion if the file's %DS reaches the lesion's minimum; it is the part of the contour
between the file's lesion start and end. It is free of lesions if the %DS is lower, or if the file
gives none but was measured otherwise. What the file leaves open (a stenosis without an extent, no
measurement at all) is unknown, and such a frame is no example of either.

Conventions
-----------
Points are ``(x, y)`` in frame pixels, lengths millimetres; a missing figure is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from sam3_angio.coco import Category
from sam3_angio.errors import DataError
from sam3_angio.medis import Points, SegmentContour, contour_polygon, polygon_mask
from sam3_angio.table import TableRow, finish, read_table, write_table

LESION_CATEGORY = Category(id=100, name="stenosis")

Finding = Literal["lesion", "free", "unknown"]

_DENSE_PX = 0.25
_MIN_POINTS = 2


def asks_for_lesions(category_id: int) -> bool:
    """Return whether a prompt's category is that of lesions.

    Examples
    --------
    >>> [asks_for_lesions(category) for category in (0, 13, 100, 113)]
    [False, False, True, True]
    """
    return category_id >= LESION_CATEGORY.id


def segment_of(category_id: int) -> int | None:
    """Return the segment whose lesions a prompt's category asks for; None if any segment's.

    Examples
    --------
    >>> segment_of(113), segment_of(100)
    (13, None)
    """
    return category_id - LESION_CATEGORY.id or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The expert's figures of one frame; the fields are the columns of ``measurements.csv``.

    Attributes
    ----------
    frame_id, patient : str
    cass_segment : int
    finding : {"lesion", "free", "unknown"}
    mld_mm, rvd_mm, stenosis_pct, area_stenosis_pct : float
        At the narrowest place.
    length_mm, segment_length_mm : float
        Of the lesion, and of the analysed segment.
    proximal_normal_mm, distal_normal_mm : float
        Reference diameters.
    mld_x_px, mld_y_px, start_x_px, start_y_px, end_x_px, end_y_px : float
        Places of the narrowest point and of the lesion's ends.
    """

    frame_id: str
    patient: str
    cass_segment: int
    finding: Finding
    mld_mm: float
    rvd_mm: float
    stenosis_pct: float
    area_stenosis_pct: float
    length_mm: float
    segment_length_mm: float
    proximal_normal_mm: float
    distal_normal_mm: float
    mld_x_px: float
    mld_y_px: float
    start_x_px: float
    start_y_px: float
    end_x_px: float
    end_y_px: float

    @property
    def extent_px(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the lesion's start and end."""
        return (self.start_x_px, self.start_y_px), (self.end_x_px, self.end_y_px)


MEASUREMENT_COLUMNS = tuple(field.name for field in fields(Measured))
_NUMBERS = MEASUREMENT_COLUMNS[4:]


def measured(
    contour: SegmentContour, frame: tuple[str, str, int], min_stenosis_pct: float
) -> Measured:
    """Return the figures of a contour file.

    Parameters
    ----------
    contour : SegmentContour
    frame : tuple
        Frame, patient and CASS segment.
    min_stenosis_pct : float
        %DS from which on a narrowing is a lesion.
    """
    said = contour.measurements
    stenosis_pct = said.diameter_stenosis_pct
    if math.isnan(stenosis_pct) and said.rvd_mm > 0:
        stenosis_pct = 100 * (1 - said.mld_mm / said.rvd_mm)
    return Measured(
        frame_id=frame[0],
        patient=frame[1],
        cass_segment=frame[2],
        finding=_finding(contour, stenosis_pct, min_stenosis_pct),
        mld_mm=said.mld_mm,
        rvd_mm=said.rvd_mm,
        stenosis_pct=stenosis_pct,
        area_stenosis_pct=said.area_stenosis_pct,
        length_mm=said.lesion_length_mm,
        segment_length_mm=said.segment_length_mm,
        proximal_normal_mm=said.proximal_normal_mm,
        distal_normal_mm=said.distal_normal_mm,
        mld_x_px=said.mld_point[0],
        mld_y_px=said.mld_point[1],
        start_x_px=said.lesion_start[0],
        start_y_px=said.lesion_start[1],
        end_x_px=said.lesion_end[0],
        end_y_px=said.lesion_end[1],
    )


def _finding(contour: SegmentContour, stenosis_pct: float, min_stenosis_pct: float) -> Finding:
    said = contour.measurements
    outlined = len(contour_polygon(contour)) > 0
    bounded = np.isfinite([said.lesion_start, said.lesion_end]).all()
    if math.isnan(stenosis_pct):
        # Measured as a segment, and no lesion given.
        seen = outlined and not bounded and not math.isnan(said.segment_length_mm)
        return "free" if seen else "unknown"
    if stenosis_pct < min_stenosis_pct:
        return "free"
    return "lesion" if outlined and bounded else "unknown"


def lesion_mask(contour: SegmentContour, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the part of the contour's polygon between the lesion's start and end.

    A pixel belongs to the lesion if the point of the centre line that is nearest to it does.

    Parameters
    ----------
    contour : SegmentContour
        With edges, lesion start and lesion end.
    shape : tuple of int
        Rows and columns of the frame.

    Returns
    -------
    (R, C) ndarray of bool
    """
    line = _dense(_centre_line(contour))
    ends = np.array([contour.measurements.lesion_start, contour.measurements.lesion_end])
    tree = KDTree(line)
    first, last = np.sort(np.asarray(tree.query(ends)[1]))
    outline = polygon_mask(contour_polygon(contour), shape)
    pixels = np.argwhere(outline)
    nearest = np.asarray(tree.query(pixels[:, ::-1])[1])
    chosen = pixels[(nearest >= first) & (nearest <= last)]
    mask = np.zeros(shape, dtype=np.bool_)
    mask[chosen[:, 0], chosen[:, 1]] = True
    return mask


def _centre_line(contour: SegmentContour) -> Points:
    """Return the file's centre line, or the middle between equal parts of the edges."""
    if len(contour.centerline) >= _MIN_POINTS:
        return contour.centerline
    count = max(len(contour.left_edge), len(contour.right_edge))
    return (_spread(contour.left_edge, count) + _spread(contour.right_edge, count)) / 2


def _dense(line: Points) -> Points:
    return _spread(line, 1 + int(np.ceil(_along(line)[-1] / _DENSE_PX)))


def _spread(line: Points, count: int) -> Points:
    along = _along(line)
    wanted = np.linspace(0.0, along[-1], max(count, _MIN_POINTS))
    return np.column_stack([np.interp(wanted, along, line[:, axis]) for axis in (0, 1)])


def _along(line: Points) -> NDArray[np.float64]:
    steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
    return np.concatenate([[0.0], np.cumsum(steps)])


def write_measurements(path: Path, rows: Iterable[Measured]) -> None:
    """Write the table, sorted by frame."""
    ordered = sorted(rows, key=lambda row: row.frame_id)
    write_table(path, MEASUREMENT_COLUMNS, map(astuple, ordered))


def read_measurements(path: Path) -> dict[str, Measured]:
    """Read the table.

    Returns
    -------
    dict of str to Measured
        By frame.

    Raises
    ------
    DataError
        With every fault.
    """
    raw = read_table(path, MEASUREMENT_COLUMNS)
    rows = [_parsed(row) for row in raw]
    finish(path.name, raw)
    by_frame = {row.frame_id: row for row in rows}
    if len(by_frame) != len(rows):
        raise DataError.at(path.name, "a frame is listed twice.", field="frame_id")
    return by_frame


def _parsed(row: TableRow) -> Measured:
    numbers = {name: row.number(name, -1e6, 1e6, empty=True) for name in _NUMBERS}
    return Measured(
        frame_id=row.text("frame_id", pattern="p[0-9a-f]{10}-[0-9a-f]{8}", what="a frame"),
        patient=row.text("patient", pattern="p[0-9a-f]{10}", what="a pseudonym"),
        cass_segment=row.integer("cass_segment", 1, 29),
        finding=cast(Finding, row.choice("finding", get_args(Finding))),
        **numbers,
    )
