"""The manifest: one validated row for each analysed frame, and the pseudonyms in it.

The format is ``manifest.csv`` of ``docs/reference/files.md``; :mod:`sam3_angio.intake` makes it
from a site's own table. Patients and frames are named by HMAC-SHA-256 with a secret salt, since a
plain hash of ``101-0025`` can be found by trying all identifiers.

Conventions
-----------
Angles have DICOM's signs. Paths have ``/`` between their parts and are relative: runs to the DICOM
root, labels to the folder of the manifest.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path, PurePosixPath

from sam3_angio.acquisition import ViewAngle
from sam3_angio.anatomy import Artery, analysed_segments, segments
from sam3_angio.errors import DataError, Fault
from sam3_angio.table import TableRow, finish, read_table, write_table

_SEPARATORS = re.compile(r"[\s_-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRow:
    """One analysed frame.

    Attributes
    ----------
    frame_id : str
        Pseudonym of the frame, starting with the patient's.
    patient : str
        Pseudonym of the patient.
    patient_id : str
        As in the site's table; leaves the data folder nowhere.
    vessel_pattern, phase : str
        Vessel and moment, phase of the procedure, as in the site's table.
    artery : {"RCA", "LCA"}
        Of the analysed segment.
    cass_segment : int
        CASS number.
    cass_segment_original : str
        The number as first exported, known to be wrong; kept, never used.
    frame_index : int
        0-based.
    primary_deg, secondary_deg : float
        Of the table, in DICOM's signs; NaN where the table has none.
    dicom : str
        Run, relative to the DICOM root.
    dicom_bytes : int
        Size of the run's file.
    dicom_sha256 : str
        Of the run's file, 64 hexadecimal digits.
    pseudo_label, contour, mask : str
        Relative to the manifest's folder; empty where there is none.
    row : int
        Line of the site's table.
    """

    frame_id: str
    patient: str
    patient_id: str
    vessel_pattern: str
    phase: str
    artery: Artery
    cass_segment: int
    cass_segment_original: str
    frame_index: int
    primary_deg: float
    secondary_deg: float
    dicom: str
    dicom_bytes: int
    dicom_sha256: str
    pseudo_label: str
    contour: str
    mask: str
    row: int

    @property
    def view(self) -> ViewAngle:
        """The table's view angle."""
        return ViewAngle(primary_deg=self.primary_deg, secondary_deg=self.secondary_deg)


COLUMNS = tuple(column.name for column in fields(ManifestRow))


def fold_patient_id(patient_id: str) -> str:
    """Return the one spelling that all spellings of a patient's identifier share.

    Unicode NFKC, upper case, invisible characters dropped, and each run of spaces, dashes and
    underscores turned into one dash.

    Examples
    --------
    >>> fold_patient_id("All\u00a0Rise  101\u20130025 ")
    'ALL-RISE-101-0025'
    """
    text = unicodedata.normalize("NFKC", patient_id).upper()
    visible = "".join(
        "-" if unicodedata.category(letter) == "Pd" or letter == "\u2212" else letter
        for letter in unicodedata.normalize("NFKC", text)
        if unicodedata.category(letter) != "Cf"
    )
    return _SEPARATORS.sub("-", visible).strip("-")


def pseudonym(patient_id: str, salt: str) -> str:
    """Return the patient's pseudonym, such as ``p3fa29c1d07``.

    Parameters
    ----------
    patient_id : str
        In any spelling.
    salt : str
        The data set's secret, hexadecimal.
    """
    return f"p{_keyed(salt, fold_patient_id(patient_id))[:10]}"


def frame_id(patient_id: str, dicom: str, frame_index: int, cass_segment: int, salt: str) -> str:
    """Return the pseudonym of one analysed frame, such as ``p3fa29c1d07-7be20a41``.

    It depends on the run's place under the DICOM root, not on its bytes, so that a run that was
    re-encoded keeps its frames.
    """
    key = "\n".join([fold_patient_id(patient_id), dicom, str(frame_index), str(cass_segment)])
    return f"{pseudonym(patient_id, salt)}-{_keyed(salt, key)[:8]}"


def _keyed(salt: str, text: str) -> str:
    return hmac.new(bytes.fromhex(salt), text.encode(), hashlib.sha256).hexdigest()


def read_manifest(path: Path) -> tuple[ManifestRow, ...]:
    """Read and validate a manifest.

    Parameters
    ----------
    path : Path
        ``manifest.csv``.

    Returns
    -------
    tuple of ManifestRow
        In the order of the file.

    Raises
    ------
    DataError
        With every fault: fields that are missing or out of range, paths that leave their folder,
        doubled frames, a pseudonym shared by two patients.
    """
    raw = read_table(path, COLUMNS)
    rows = tuple(_parsed(row) for row in raw)
    finish(path.name, raw)
    faults = [*_doubled_frames(path.name, rows), *_mixed_patients(path.name, rows)]
    if faults:
        raise DataError(f"{path.name} is not valid:", faults)
    if not rows:
        raise DataError.at(path.name, "there is no row.", "Import a table with sam3-angio import.")
    return rows


def write_manifest(path: Path, rows: Iterable[ManifestRow]) -> None:
    """Write a manifest, sorted by frame, so that the order of the site's table is immaterial."""
    write_table(path, COLUMNS, (astuple(row) for row in sorted(rows, key=lambda row: row.frame_id)))


def _parsed(row: TableRow) -> ManifestRow:
    cass_segment = row.integer("cass_segment", 1, 29)
    if cass_segment != -1 and cass_segment not in analysed_segments():
        row.fault("cass_segment", f"{cass_segment} is not a segment of this data set.")
    artery: Artery = "RCA" if row.choice("artery", ("RCA", "LCA")) == "RCA" else "LCA"
    if cass_segment in segments() and segments()[cass_segment].artery != artery:
        row.fault("artery", f"segment {cass_segment} does not belong to the {artery}.")
    patient = row.text("patient", pattern="p[0-9a-f]{10}", what="a pseudonym")
    return ManifestRow(
        frame_id=row.text(
            "frame_id", pattern=f"{re.escape(patient)}-[0-9a-f]{{8}}", what="a frame of the patient"
        ),
        patient=patient,
        patient_id=row.text("patient_id", what="the patient's identifier"),
        vessel_pattern=row.text("vessel_pattern"),
        phase=row.text("phase"),
        artery=artery,
        cass_segment=cass_segment,
        cass_segment_original=row.text("cass_segment_original", empty=True),
        frame_index=row.integer("frame_index", 0, 99_999),
        primary_deg=row.number("primary_deg", -180, 180, empty=True),
        secondary_deg=row.number("secondary_deg", -90, 90, empty=True),
        dicom=_relative(row, "dicom", empty=False),
        dicom_bytes=row.integer("dicom_bytes", 1, 2**40),
        dicom_sha256=row.text("dicom_sha256", pattern="[0-9a-f]{64}", what="a SHA-256"),
        pseudo_label=_relative(row, "pseudo_label", empty=True),
        contour=_relative(row, "contour", empty=True),
        mask=_relative(row, "mask", empty=True),
        row=row.integer("row", 2, 2**31),
    )


def _relative(row: TableRow, column: str, *, empty: bool) -> str:
    value = row.text(column, what="a path", empty=empty)
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or "\\" in value or re.match("[A-Za-z]:", value):
        row.fault(column, "the path is not relative, or leaves its folder.")
    return value


def _doubled_frames(name: str, rows: tuple[ManifestRow, ...]) -> list[Fault]:
    lines: dict[str, list[int]] = defaultdict(list)
    for line, row in enumerate(rows, start=2):
        lines[row.frame_id].append(line)
    return [
        Fault(file=name, row=second, field="frame_id", message=f"the same frame as row {first}.")
        for first, *others in lines.values()
        for second in others
    ]


def _mixed_patients(name: str, rows: tuple[ManifestRow, ...]) -> list[Fault]:
    spelling: dict[str, str] = {}
    owner: dict[str, str] = {}
    faults = []
    for line, row in enumerate(rows, start=2):
        folded = fold_patient_id(row.patient_id)
        same_name = spelling.setdefault(row.patient, folded) == folded
        if not same_name or owner.setdefault(folded, row.patient) != row.patient:
            message = "one pseudonym for two patients, or one patient under two pseudonyms."
            faults.append(Fault(file=name, row=line, field="patient", message=message))
    return faults
