"""What is true of a phantom's lesions and diameters: ``lesions.csv`` and ``diameters.csv``.

Conventions
-----------
Diameters and lengths are three-dimensional, in millimetres; points are frame pixels.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam3_angio.scoring.cases import truth_is_known
from sam3_angio.table import TableRow, finish, read_table

Point = tuple[float, float]

_POINTS = ("start", "centre", "end")
_LESION_COLUMNS = (
    *("frame_id", "cass_segment"),
    *(f"{place}_{axis}_px" for place in _POINTS for axis in "xy"),
    *("start_mm", "centre_mm", "end_mm", "length_mm", "mld_mm", "rvd_mm", "stenosis_pct"),
    "eccentricity",
)
_DIAMETER_COLUMNS = ("frame_id", "x_px", "y_px", "arc_mm", "diameter_mm", "reference_mm")
_FRAME = "p[0-9a-f]{10}-[0-9a-f]{8}"
_FAR = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueLesion:
    """One lesion that a frame shows.

    Attributes
    ----------
    cass_segment : int
    line_px : tuple of (x, y)
        Start, narrowest point, end.
    length_mm, mld_mm, rvd_mm, stenosis_pct : float
    """

    cass_segment: int
    line_px: tuple[Point, Point, Point]
    length_mm: float
    mld_mm: float
    rvd_mm: float
    stenosis_pct: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TruePath:
    """The analysed segment of a frame.

    Attributes
    ----------
    points_px : (N, 2) ndarray
        ``(x, y)`` of its centreline, proximal first.
    diameter_mm, reference_mm : (N,) ndarray
        Of the lumen, and of the vessel as if there were no lesion.
    """

    points_px: NDArray[np.float64]
    diameter_mm: NDArray[np.float64]
    reference_mm: NDArray[np.float64]

    @property
    def narrowest(self) -> int:
        """The point that is narrowest relative to its reference."""
        return int(np.argmin(self.diameter_mm / self.reference_mm))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueDiameters:
    """What is known of the phantom.

    Attributes
    ----------
    lesions : dict of str to list of TrueLesion
        By frame, those of any depth.
    paths : dict of str to TruePath
        By frame.
    """

    lesions: dict[str, list[TrueLesion]]
    paths: dict[str, TruePath]


def read_true_lesions(folder: Path) -> TrueDiameters | None:
    """Read the tables; None where the whole truth is not known.

    Raises
    ------
    DataError
        With every fault of a table.
    """
    if not truth_is_known(folder):
        return None
    lesions: defaultdict[str, list[TrueLesion]] = defaultdict(list)
    raw = read_table(folder / "lesions.csv", _LESION_COLUMNS)
    for row in raw:
        lesions[row.text("frame_id", pattern=_FRAME, what="a frame")].append(_lesion(row))
    finish("lesions.csv", raw)
    places: defaultdict[str, list[tuple[float, ...]]] = defaultdict(list)
    raw = read_table(folder / "diameters.csv", _DIAMETER_COLUMNS)
    for row in raw:
        frame = row.text("frame_id", pattern=_FRAME, what="a frame")
        places[frame].append(
            (
                *(row.number(f"{axis}_px", -_FAR, _FAR) for axis in "xy"),
                row.number("diameter_mm", 0, 100),
                row.number("reference_mm", 1e-3, 100),
            )
        )
    finish("diameters.csv", raw)
    paths = {frame: _path(np.array(rows)) for frame, rows in places.items()}
    return TrueDiameters(lesions=dict(lesions), paths=paths)


def _path(table: NDArray[np.float64]) -> TruePath:
    return TruePath(points_px=table[:, :2], diameter_mm=table[:, 2], reference_mm=table[:, 3])


def _lesion(row: TableRow) -> TrueLesion:
    start, centre, end = (
        (row.number(f"{place}_x_px", -_FAR, _FAR), row.number(f"{place}_y_px", -_FAR, _FAR))
        for place in _POINTS
    )
    return TrueLesion(
        cass_segment=row.integer("cass_segment", 1, 29),
        line_px=(start, centre, end),
        length_mm=row.number("length_mm", 0, 1000),
        mld_mm=row.number("mld_mm", 0, 100),
        rvd_mm=row.number("rvd_mm", 1e-3, 100),
        stenosis_pct=row.number("stenosis_pct", -100, 100),
    )
