"""A manifest against what it was made from: runs, labels, pseudonyms, counts.

Conventions
-----------
A run is pinned by size and SHA-256, a frame by HMAC with the data set's salt, so that an edited
field of the manifest shows.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from sam3_angio.checking.finding import Finding, Notes
from sam3_angio.errors import DataError
from sam3_angio.intake.conflicts import SurveyedRow
from sam3_angio.manifest import ManifestRow, frame_id, pseudonym
from sam3_angio.strict_json import read_json

_TABLE = "manifest.csv"
_FIX = "Import the table again; the manifest is not meant to be edited."
_SALT = re.compile(r"([0-9a-f]{2}){16,}\s*")
_MAX_JSON_BYTES = 2**20


class _Imported(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    rows: int
    runs_sha256: str


_IMPORTED = TypeAdapter(_Imported)


def pin_findings(
    data: Path, entries: Sequence[ManifestRow], rows: Sequence[SurveyedRow]
) -> list[Finding]:
    """Return what in a data folder is not what was imported."""
    findings: list[Finding] = []
    salt = _salt(data, findings)
    for entry, row in zip(entries, rows, strict=True):
        notes = Notes(file=_TABLE, row=row.row.row, findings=findings)
        _run(entry, row, notes)
        _labels(entry, row, notes)
        if salt:
            _pseudonyms(entry, salt, notes)
    _lines(entries, findings)
    _imported(data, entries, findings)
    _strays(data, entries, findings)
    return findings


def _salt(data: Path, findings: list[Finding]) -> str:
    path = data / "salt"
    text = path.read_text(encoding="latin-1") if path.is_file() else ""
    if _SALT.fullmatch(text):
        return text.strip()
    notes = Notes(file="salt", row=None, findings=findings)
    notes.warning("", "the salt of the pseudonyms is missing or damaged.", "hexadecimal digits")
    return ""


def _run(entry: ManifestRow, row: SurveyedRow, notes: Notes) -> None:
    if row.paths.dicom is None:
        fix = "Check data.dicom_root in params.yaml."
        notes.error("dicom", "the file does not exist.", "a run under the DICOM root", fix)
    elif row.facts and entry.dicom_sha256 != row.facts.sha256:
        found = "the run is not the one that was imported: its SHA-256 differs."
        notes.error("dicom_sha256", found, "the run as imported", _FIX)
    if row.facts and entry.dicom_bytes != row.facts.bytes:
        found = f"{entry.dicom_bytes} bytes."
        notes.error("dicom_bytes", found, f"{row.facts.bytes}, the run's size", _FIX)


def _labels(entry: ManifestRow, row: SurveyedRow, notes: Notes) -> None:
    named = (
        ("pseudo_label", entry.pseudo_label, row.paths.pseudo_label, "labels/pseudo/{}.png"),
        ("contour", entry.contour, row.paths.contour, "labels/contours/{}.json"),
        ("mask", entry.mask, row.paths.mask, "labels/masks/{}.png"),
    )
    for column, text, path, pattern in named:
        if not text:
            notes.warning(column, "the row has none.", "a label", "The row is kept without it.")
        elif path is None:
            notes.error(column, "the file does not exist.", "what the import wrote", _FIX)
        elif text != pattern.format(entry.frame_id):
            notes.error(column, "the file is another frame's.", "the frame's own label", _FIX)


def _pseudonyms(entry: ManifestRow, salt: str, notes: Notes) -> None:
    if entry.patient != pseudonym(entry.patient_id, salt):
        found = "the pseudonym is not that of patient_id."
        notes.error("patient", found, "the HMAC of patient_id with the salt", _FIX)
    named = entry.patient_id, entry.dicom, entry.frame_index, entry.cass_segment
    if entry.frame_id != frame_id(*named, salt):
        found = "patient_id, dicom, frame_index or cass_segment is not that of the frame."
        notes.error("frame_id", found, "the HMAC of these four with the salt", _FIX)


def _lines(entries: Sequence[ManifestRow], findings: list[Finding]) -> None:
    seen: set[int] = set()
    for line, entry in enumerate(entries, start=2):
        if entry.row in seen or entry.row > len(entries) + 1:
            notes = Notes(file=_TABLE, row=line, findings=findings)
            found = f"line {entry.row} of the site's table is named twice, or is beyond its end."
            notes.warning("row", found, "one line for one frame", _FIX)
        seen.add(entry.row)


def _imported(data: Path, entries: Sequence[ManifestRow], findings: list[Finding]) -> None:
    notes = Notes(file="import.json", row=None, findings=findings)
    try:
        said = read_json(data / "import.json", _IMPORTED, _MAX_JSON_BYTES)
    except DataError as error:
        for fault in error.faults:
            notes.warning(fault.field, fault.message, "what the import wrote", _FIX)
        return
    if said.rows != len(entries):
        found = f"{said.rows} rows were imported."
        notes.error("rows", found, f"{len(entries)}, as the manifest has", _FIX)
    pins = "\n".join(sorted({entry.dicom_sha256 for entry in entries}))
    if said.runs_sha256 != hashlib.sha256(pins.encode()).hexdigest():
        found = "the runs are not those of the manifest."
        notes.error("runs_sha256", found, "the SHA-256 of all the manifest's runs", _FIX)


def _strays(data: Path, entries: Sequence[ManifestRow], findings: list[Finding]) -> None:
    known = {path for entry in entries for path in (entry.pseudo_label, entry.contour, entry.mask)}
    folder = data / "labels"
    files = (path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else ()
    count = sum(path.relative_to(data).as_posix() not in known for path in files)
    if count:
        notes = Notes(file="labels", row=None, findings=findings)
        found = f"{count} files belong to no row of the manifest."
        notes.warning("", found, "the labels of the manifest's frames", "Delete them.")
