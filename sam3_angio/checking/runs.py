"""The runs of a manifest by their headers: what ``extract`` asks before it decodes a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sam3_angio.checking.acquisition import (
    Acquired,
    acquisition_findings,
    annotation_finding,
    catheter_finding,
)
from sam3_angio.checking.finding import (
    CheckReport,
    Finding,
    Notes,
    as_of_manifest,
    from_fault,
    in_order,
)
from sam3_angio.checking.label_set import contour_of
from sam3_angio.dicom import read_run_header
from sam3_angio.dicom.header import RunHeader
from sam3_angio.errors import DataError, Fault
from sam3_angio.manifest import ManifestRow
from sam3_angio.medis import Calibration
from sam3_angio.path_columns import DICOM
from sam3_angio.progress import in_threads

_TABLE = "manifest.csv"


def check_runs(
    entries: Sequence[ManifestRow], data: Path, dicom_root: Path, processes: int = 0
) -> CheckReport:
    """Check scale, catheter and view of all frames, and every run's header.

    Parameters
    ----------
    entries : sequence of ManifestRow
        The manifest.
    data : Path
        Folder that the manifest's label paths start from.
    dicom_root : Path
        What the manifest's runs are relative to.
    processes : int
        Runs that are read at once; 0 for one a core.
    """
    runs = sorted({entry.dicom for entry in entries})
    read = in_threads(lambda run: _header(dicom_root / run), runs, processes, "Checking headers")
    headers = dict(zip(runs, read, strict=True))
    contours = (contour_of(data / e.contour if e.contour else None) for e in entries)
    calibrations = [contour.calibration if contour else None for contour in contours]
    findings = catheter_finding(_TABLE, [known for known in calibrations if known])
    read_headers = (headers[entry.dicom] for entry in entries)
    findings += annotation_finding(
        _TABLE, [header if isinstance(header, RunHeader) else None for header in read_headers]
    )
    for line, (entry, calibration) in enumerate(zip(entries, calibrations, strict=True), start=2):
        findings += _frame_findings(line, entry, headers[entry.dicom], calibration)
    renamed = [replace(one, field=as_of_manifest(one.field)) for one in findings]
    return CheckReport(rows=len(entries), findings=in_order(renamed))


def _header(path: Path) -> RunHeader | tuple[Fault, ...]:
    try:
        return read_run_header(path, name="the run")
    except DataError as error:
        return error.faults


def _frame_findings(
    line: int,
    entry: ManifestRow,
    header: RunHeader | tuple[Fault, ...],
    calibration: Calibration | None,
) -> list[Finding]:
    if isinstance(header, tuple):
        return [_of_row(line, fault) for fault in header]
    has_frame = 0 <= entry.frame_index < header.frames
    frame = Acquired(
        header=header,
        view=header.view(entry.frame_index) if has_frame else None,
        table_view=entry.view,
        cass_segment=entry.cass_segment,
        calibration=calibration,
    )
    notes = Notes(file=_TABLE, row=line)
    acquisition_findings(frame, notes)
    return notes.findings


def _of_row(line: int, fault: Fault) -> Finding:
    element = f"{fault.field}: " if fault.field else ""
    message = f"{element}{fault.message}"
    return from_fault(replace(fault, file=_TABLE, row=line, field=DICOM, message=message))
