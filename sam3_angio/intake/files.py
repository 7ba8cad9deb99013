"""The files that a row of the site's table names: runs, pseudo-labels, contours, masks.

Conventions
-----------
Everything that is wrong becomes a fault with the row of the table and the column of the path;
paths and names of files are never repeated, since they hold patients' identifiers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sam3_angio.dicom import read_run_header
from sam3_angio.dicom.header import RunHeader
from sam3_angio.errors import DataError, Fault, Severity
from sam3_angio.files import sha256, write_bytes
from sam3_angio.intake.paths import SitePaths
from sam3_angio.intake.table import SiteRow
from sam3_angio.intake.vessel_name import disagreement, segment_title
from sam3_angio.label_mask import MaskFile, read_mask, write_mask
from sam3_angio.medis import (
    SegmentContour,
    contour_faults,
    contour_polygon,
    read_contour,
    signed_area_px2,
)
from sam3_angio.path_columns import CONTOUR, DICOM, MASK, PSEUDO_LABEL

NO_SUCH_FILE = "the file does not exist."

#: What DeepSA writes, whatever the frame's size.
_PSEUDO_LABEL_SHAPE = (512, 512)
_ANGLE_TOLERANCE_DEG = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPaths:
    """Where the files of a row are; None for a file that is missing."""

    dicom: Path | None
    pseudo_label: Path | None
    contour: Path | None
    mask: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What a run's file says.

    Attributes
    ----------
    header : RunHeader
        Size, frames, angles.
    bytes : int
        Size of the file.
    sha256 : str
        Of the file.
    """

    header: RunHeader
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelCheck:
    """What was found in the labels of a row.

    Attributes
    ----------
    faults : tuple of Fault
        What is wrong with them.
    left_edge_side : int
        Side of the vessel that the contour's left edge runs on, for who walks along it: 1 left,
        -1 right, 0 unknown.
    """

    faults: tuple[Fault, ...]
    left_edge_side: int


class _Finding:
    """Collects what is wrong with one row."""

    def __init__(self, table: str, row: int) -> None:
        self.faults: list[Fault] = []
        self._table = table
        self._row = row

    def add(self, column: str, message: str, fix: str = "", severity: Severity = "error") -> None:
        self.faults.append(
            Fault(
                file=self._table,
                row=self._row,
                field=column,
                message=message,
                fix=fix,
                severity=severity,
            )
        )

    @contextmanager
    def reading(self, column: str) -> Iterator[None]:
        """Take over what a reader finds wrong, without its file's name."""
        try:
            yield
        except DataError as error:
            for fault in error.faults:
                place = f"{fault.field}: " if fault.field else ""
                self.add(column, f"{place}{fault.message}", fault.fix)


def find_paths(
    table: str, row: SiteRow, paths: SitePaths, dicom_root: Path
) -> tuple[RowPaths, list[Fault]]:
    """Look for the files of a row.

    A missing run is an error, a missing label a warning: the row stays, marked.
    """
    finding = _Finding(table, row.row)
    found = {
        column: paths.find(text) if text else None
        for column, text in (
            (DICOM, row.dicom_path),
            (PSEUDO_LABEL, row.pseudo_label_path),
            (CONTOUR, row.contour_path),
            (MASK, row.mask_path),
        )
    }
    texts = (row.pseudo_label_path, row.contour_path, row.mask_path)
    for column, text in zip((PSEUDO_LABEL, CONTOUR, MASK), texts, strict=True):
        if found[column] is None:
            message = NO_SUCH_FILE if text else "the row has none."
            finding.add(column, message, "The row is kept without it.", "warning")
    dicom = found[DICOM]
    if row.dicom_path and dicom is None:
        finding.add(DICOM, NO_SUCH_FILE, "Check the path and the --map options.")
    elif dicom is not None and not dicom.resolve().is_relative_to(dicom_root.resolve()):
        finding.add(DICOM, "the file is outside the DICOM root.", "Give another --dicom-root.")
    return RowPaths(
        dicom=dicom,
        pseudo_label=found[PSEUDO_LABEL],
        contour=found[CONTOUR],
        mask=found[MASK],
    ), finding.faults


def run_facts(path: Path) -> RunFacts | tuple[Fault, ...]:
    """Read the header of a run and pin its file; the faults where it is no run."""
    try:
        header = read_run_header(path, name="the run")
        return RunFacts(header=header, bytes=path.stat().st_size, sha256=sha256(path))
    except DataError as error:
        return error.faults
    except OSError as error:
        return (Fault(file="the run", message=f"cannot be read ({error.strerror})."),)


def run_faults(table: str, row: SiteRow, facts: RunFacts | tuple[Fault, ...]) -> list[Fault]:
    """Return what is wrong with a row's run, as faults of the row."""
    finding = _Finding(table, row.row)
    if isinstance(facts, tuple):
        for fault in facts:
            place = f"{fault.field}: " if fault.field else ""
            finding.add(DICOM, f"{place}{fault.message}", fault.fix)
    elif row.frame_index >= facts.header.frames:
        message = f"{row.frame_index}, but the run has {facts.header.frames} frames (0-based)."
        finding.add("frame_index", message)
    return finding.faults


def check_labels(
    table: str, row: SiteRow, paths: RowPaths, shape: tuple[int, int] | None
) -> LabelCheck:
    """Read the labels of a row and check them against the row and the frame.

    Parameters
    ----------
    table : str
        File name of the table, for faults.
    row : SiteRow
        The row.
    paths : RowPaths
        Its files.
    shape : tuple of int or None
        Rows and columns of the frame; None where the run is unreadable.
    """
    finding = _Finding(table, row.row)
    side = 0
    if paths.pseudo_label:
        with finding.reading(PSEUDO_LABEL):
            _check_pseudo_label(finding, read_mask(paths.pseudo_label), shape)
    if paths.mask:
        with finding.reading(MASK):
            _check_mask(finding, read_mask(paths.mask), shape)
    if paths.contour:
        with finding.reading(CONTOUR):
            contour = read_contour(paths.contour)
            _check_contour(finding, row, contour, shape)
            side = int(np.sign(signed_area_px2(contour_polygon(contour))))
    return LabelCheck(faults=tuple(finding.faults), left_edge_side=side)


def copy_labels(paths: RowPaths, folder: Path, frame: str) -> None:
    """Copy the labels of a row to where the manifest expects them.

    Masks are written anew from their pixels, as 0 and 1, so that no text of the picture survives;
    contour files stay as they came.
    """
    if paths.pseudo_label:
        write_mask(folder / "pseudo" / f"{frame}.png", read_mask(paths.pseudo_label).mask)
    if paths.mask:
        write_mask(folder / "masks" / f"{frame}.png", read_mask(paths.mask).mask)
    if paths.contour:
        write_bytes(folder / "contours" / f"{frame}.json", paths.contour.read_bytes())


def _check_pseudo_label(finding: _Finding, label: MaskFile, shape: tuple[int, int] | None) -> None:
    _check_filling(finding, PSEUDO_LABEL, label)
    if shape and label.mask.shape not in (_PSEUDO_LABEL_SHAPE, shape):
        message = f"its size is {_size(label.mask.shape)}, expected 512×512 or the frame's."
        finding.add(PSEUDO_LABEL, message, "It is stretched over the frame.", "warning")


def _check_mask(finding: _Finding, mask: MaskFile, shape: tuple[int, int] | None) -> None:
    _check_filling(finding, MASK, mask)
    if shape and mask.mask.shape != shape:
        message = f"its size is {_size(mask.mask.shape)}, the frame's {_size(shape)}."
        finding.add(MASK, message, "Export the mask again at the frame's size.")


def _check_filling(finding: _Finding, column: str, mask: MaskFile) -> None:
    if mask.inside == 255:
        finding.add(column, "it holds 0 and 255; read as 0 and 1.", severity="warning")
    if mask.inside == 0:
        finding.add(column, "the mask is empty.", severity="warning")
    if mask.mask.all():
        finding.add(column, "the mask covers the whole frame.")


def _check_contour(
    finding: _Finding, row: SiteRow, contour: SegmentContour, shape: tuple[int, int] | None
) -> None:
    if contour.frame_num is not None and row.frame_index not in (-1, contour.frame_num):
        message = f"{row.frame_index}, but the contour was drawn on frame {contour.frame_num}."
        finding.add("frame_index", message, "Both count from 0; correct the table.")
    severity = (
        disagreement(contour.segment_name, row.cass_segment) if row.cass_segment > 0 else None
    )
    if severity:
        message = f"its segment_name is not that of {segment_title(row.cass_segment)}."
        finding.add(CONTOUR, message, "Check cass_segment.", severity)
    secondary = abs(contour.site_secondary_deg - row.secondary_deg)
    primary = abs(abs(contour.site_primary_deg) - abs(row.primary_deg))
    if max(np.nan_to_num([primary, secondary])) > _ANGLE_TOLERANCE_DEG:
        message = "its view angles are not those of the row: it may belong to another run."
        finding.add(CONTOUR, message, severity="warning")
    for fault in contour_faults(contour, "", shape) if shape else ():
        message = f"{fault.field}: {fault.message}"
        finding.add(CONTOUR, message, fault.fix, fault.severity)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}×{shape[0]}"
