"""What is true of a phantom's lesions and diameters: ``lesions.csv`` and ``diameters.csv``.

Conventions
-----------
Diameters and lengths are three-dimensional, in millimetres; points are frame pixels.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

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


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueDiameters:
    """What is known of the phantom.

    Attributes
    ----------
    lesions : dict of str to list of TrueLesion
        By frame, those of any depth.
    narrowest : dict of str to (float, float)
        Diameter and reference where the analysed segment is narrowest relative to it, by frame.
    """

    lesions: dict[str, list[TrueLesion]]
    narrowest: dict[str, tuple[float, float]]


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
    narrowest: dict[str, tuple[float, float]] = {}
    raw = read_table(folder / "diameters.csv", _DIAMETER_COLUMNS)
    for row in raw:
        frame = row.text("frame_id", pattern=_FRAME, what="a frame")
        here = row.number("diameter_mm", 0, 100), row.number("reference_mm", 1e-3, 100)
        there = narrowest.setdefault(frame, here)
        if here[0] * there[1] < there[0] * here[1]:
            narrowest[frame] = here
    finish("diameters.csv", raw)
    return TrueDiameters(lesions=dict(lesions), narrowest=narrowest)


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
