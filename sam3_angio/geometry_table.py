"""``frames/geometry.csv``: what is known of each extracted frame.

Conventions
-----------
Angles have DICOM's signs; spacing is millimetres at the object unless its source is ``detector``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from sam3_angio.acquisition import PixelSpacing, SpacingSource, ViewAngle
from sam3_angio.errors import DataError
from sam3_angio.table import TableRow, finish, read_table, write_table

AngleSource = Literal["header", "table"]
Display = Literal["window", "voi_lut", "percentile"]
Box = tuple[int, int, int, int]

_BOX = r"\d{1,5}( \d{1,5}){3}"
_BOXES = f"{_BOX}(;{_BOX})*"
_BOXES_SAID = "boxes such as '0 0 120 24;400 0 512 24'"

COLUMNS = (
    "frame_id",
    "patient",
    "rows",
    "columns",
    "frame_index",
    "frames",
    "primary_deg",
    "secondary_deg",
    "angle_source",
    "spacing_row_mm",
    "spacing_column_mm",
    "spacing_source",
    "transfer_syntax",
    "bits_stored",
    "display",
    "blanked",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameGeometry:
    """One extracted frame.

    Attributes
    ----------
    frame_id, patient : str
        As in the manifest.
    rows, columns : int
        Size of the picture in pixels.
    frame_index, frames : int
        Which frame of the run (0-based), of how many.
    view : ViewAngle
        Of this frame.
    angle_source : {"header", "table"}
        Where the view is from.
    spacing : PixelSpacing
        NaN where unknown.
    transfer_syntax : str
        UID of the run's encoding.
    bits_stored : int
        Of the run's pixels.
    display : {"window", "voi_lut", "percentile"}
        What mapped the pixels to 8 bits.
    blanked : tuple of Box
        What was made black: left, top, right and bottom, pixels, the last two exclusive.
    """

    frame_id: str
    patient: str
    rows: int
    columns: int
    frame_index: int
    frames: int
    view: ViewAngle
    angle_source: AngleSource
    spacing: PixelSpacing
    transfer_syntax: str
    bits_stored: int
    display: Display
    blanked: tuple[Box, ...] = ()


def write_geometry(path: Path, frames: Iterable[FrameGeometry]) -> None:
    """Write the table, sorted by frame."""
    ordered = sorted(frames, key=lambda frame: frame.frame_id)
    write_table(path, COLUMNS, map(_fields, ordered))


def read_geometry(path: Path) -> dict[str, FrameGeometry]:
    """Read the table.

    Returns
    -------
    dict of str to FrameGeometry
        By frame, in the order of the file.

    Raises
    ------
    DataError
        With every fault.
    """
    raw = read_table(path, COLUMNS)
    frames = [_parsed(row) for row in raw]
    finish(path.name, raw)
    by_id = {frame.frame_id: frame for frame in frames}
    if len(by_id) != len(frames):
        raise DataError.at(path.name, "a frame is listed twice.", field="frame_id")
    return by_id


def _fields(frame: FrameGeometry) -> tuple[str | int | float, ...]:
    return (
        frame.frame_id,
        frame.patient,
        frame.rows,
        frame.columns,
        frame.frame_index,
        frame.frames,
        frame.view.primary_deg,
        frame.view.secondary_deg,
        frame.angle_source,
        frame.spacing.row_mm,
        frame.spacing.column_mm,
        frame.spacing.source,
        frame.transfer_syntax,
        frame.bits_stored,
        frame.display,
        ";".join(" ".join(map(str, box)) for box in frame.blanked),
    )


def _parsed(row: TableRow) -> FrameGeometry:
    return FrameGeometry(
        frame_id=row.text("frame_id", pattern="p[0-9a-f]{10}-[0-9a-f]{8}", what="a frame"),
        patient=row.text("patient", pattern="p[0-9a-f]{10}", what="a pseudonym"),
        rows=row.integer("rows", 1, 2**16 - 1),
        columns=row.integer("columns", 1, 2**16 - 1),
        frame_index=row.integer("frame_index", 0, 99_999),
        frames=row.integer("frames", 1, 100_000),
        view=ViewAngle(
            primary_deg=row.number("primary_deg", -180, 180),
            secondary_deg=row.number("secondary_deg", -90, 90),
        ),
        angle_source=cast(AngleSource, row.choice("angle_source", get_args(AngleSource))),
        spacing=PixelSpacing(
            row_mm=row.number("spacing_row_mm", 1e-3, 10, empty=True),
            column_mm=row.number("spacing_column_mm", 1e-3, 10, empty=True),
            source=cast(SpacingSource, row.choice("spacing_source", get_args(SpacingSource))),
        ),
        transfer_syntax=row.text("transfer_syntax", pattern="[0-9.]{1,64}", what="a UID"),
        bits_stored=row.integer("bits_stored", 1, 16),
        display=cast(Display, row.choice("display", get_args(Display))),
        blanked=_boxes(row.text("blanked", pattern=_BOXES, what=_BOXES_SAID, empty=True)),
    )


def _boxes(text: str) -> tuple[Box, ...]:
    if not re.fullmatch(_BOXES, text):
        return ()
    boxes = (tuple(map(int, box.split(" "))) for box in text.split(";"))
    return tuple((left, top, right, bottom) for left, top, right, bottom in boxes)
