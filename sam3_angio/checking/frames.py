"""The analysed frame of every row, read as the ``extract`` stage reads it.

The stage itself is run, into a folder that is thrown away: in child processes with limits of time
and memory, with every check of the file's structure, of the frame's code and of its picture. The
pictures are then compared with their pseudo-labels.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

from sam3_angio.checking.finding import Finding, Notes, from_fault
from sam3_angio.checking.label_set import LabelPaths, read_labels
from sam3_angio.checking.overlap import segment_coverage
from sam3_angio.checking.picture import picture_findings
from sam3_angio.errors import Fault
from sam3_angio.extraction import PICTURE_FIELDS, ExtractionSettings, read_runs
from sam3_angio.intake.conflicts import SurveyedRow
from sam3_angio.intake.importing import manifest_row
from sam3_angio.manifest import ManifestRow
from sam3_angio.path_columns import DICOM
from sam3_angio.progress import in_threads

#: Changes no fault; frames without a window need some stretch.
_PERCENTILES = (0.5, 99.5)


def frame_findings(
    table: str, rows: Sequence[SurveyedRow], dicom_root: Path, processes: int
) -> list[Finding]:
    """Return what is wrong with the frames of rows whose run's header is sound.

    Parameters
    ----------
    table : str
        File name of the table, for findings.
    rows : sequence of SurveyedRow
        All rows; those without a readable run or without a frame in it are passed over.
    dicom_root : Path
        Folder in which the runs lie.
    processes : int
        Child processes; 0 for one a core.
    """
    salt = secrets.token_hex(16)
    named: dict[str, tuple[ManifestRow, SurveyedRow]] = {}
    for row in rows:
        if _is_readable(row, dicom_root):
            # what the labels say of the frame is checked elsewhere
            entry = replace(manifest_row(row, dicom_root, salt), contour="", mask="")
            named.setdefault(entry.frame_id, (entry, row))
    if not named:
        return []
    settings = ExtractionSettings(
        dicom_root=dicom_root,
        data_folder=dicom_root,
        percentile_low=_PERCENTILES[0],
        percentile_high=_PERCENTILES[1],
    )
    entries = [entry for entry, _ in named.values()]
    with tempfile.TemporaryDirectory() as folder:
        results = read_runs(entries, Path(folder), settings, processes)
        labels = in_threads(
            lambda one: _against_label(table, Path(folder, f"{one[0]}.png"), one[1][1]),
            list(named.items()),
            processes,
            "Labels and pictures",
        )
    # of the warnings, those about the header come from the check of headers
    faults = [
        fault
        for result in results
        for fault in result.faults
        if fault.severity == "error" or fault.field in PICTURE_FIELDS
    ]
    return [*(_of_row(table, named, fault) for fault in faults), *chain.from_iterable(labels)]


def _is_readable(row: SurveyedRow, dicom_root: Path) -> bool:
    if row.facts is None or row.paths.dicom is None or row.row.cass_segment == -1:
        return False
    is_inside = row.paths.dicom.resolve().is_relative_to(dicom_root.resolve())
    return is_inside and 0 <= row.row.frame_index < row.facts.header.frames


def _against_label(table: str, path: Path, row: SurveyedRow) -> list[Finding]:
    """Compare a picture with its pseudo-label, where there are both."""
    notes = Notes(file=table, row=row.row.row)
    if row.facts is not None and path.exists():
        shape = row.facts.header.rows, row.facts.header.columns
        paths = LabelPaths(contour=row.paths.contour, mask=None, tree=row.paths.pseudo_label)
        labels = read_labels(paths, shape)
        if labels.tree is not None:
            with Image.open(path) as picture:
                pixels = np.asarray(picture)
            picture_findings(pixels, labels.tree, notes, covered=segment_coverage(labels))
    return notes.findings


def _of_row(table: str, named: dict[str, tuple[ManifestRow, SurveyedRow]], fault: Fault) -> Finding:
    """Turn a fault of the stage, which names the frame, into one of the table's row."""
    line = named[fault.file.split(" ", 1)[0]][1].row.row
    element = f"{fault.field}: " if fault.field not in ("", "dicom") else ""
    told = replace(fault, file=table, row=line, field=DICOM, message=f"{element}{fault.message}")
    return from_fault(told)
