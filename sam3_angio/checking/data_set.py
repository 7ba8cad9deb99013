"""A whole data set: a site's table before its import, or a data folder after it.

Both are brought to the same rows, so that both are asked the same questions: those of the import
(:mod:`sam3_angio.intake`), of the ``extract`` stage, and those of this package.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from sam3_angio.checking.acquisition import (
    acquisition_findings,
    annotation_finding,
    catheter_finding,
)
from sam3_angio.checking.between import between_findings, place_findings
from sam3_angio.checking.case import Case, load_case
from sam3_angio.checking.finding import (
    CheckReport,
    Finding,
    Notes,
    as_of_manifest,
    from_fault,
    in_order,
)
from sam3_angio.checking.frames import frame_findings
from sam3_angio.checking.labels import label_findings
from sam3_angio.checking.pins import pin_findings
from sam3_angio.errors import ConfigError, DataError
from sam3_angio.intake.conflicts import SurveyedRow
from sam3_angio.intake.files import RowPaths
from sam3_angio.intake.paths import SitePaths, is_file, parse_mapping
from sam3_angio.intake.survey import survey_rows, survey_site
from sam3_angio.intake.table import PrimarySign, SiteRow, read_site_table
from sam3_angio.manifest import ManifestRow, read_manifest
from sam3_angio.progress import in_threads

#: A data folder holds DICOM's signs, whatever the site's table has.
_SIGN_OF_MANIFEST: PrimarySign = "LAO+"


def check_site(
    csv: Path,
    *,
    dicom_root: Path,
    primary_sign: PrimarySign,
    path_maps: Sequence[str] = (),
    processes: int = 0,
    decode: bool = True,
) -> CheckReport:
    r"""Check a site's table with all its files; nothing is written.

    Parameters
    ----------
    csv : Path
        The table.
    dicom_root : Path
        Folder in which all runs lie.
    primary_sign : {"RAO+", "LAO+"}
        Which side the table's primary angle is positive towards.
    path_maps : sequence of str
        ``PREFIX=FOLDER``, such as ``E:\Angios=/mnt/e/Angios``.
    processes : int
        Files that are read at once; 0 for one a core.
    decode : bool
        Decode the analysed frames, too.

    Raises
    ------
    ConfigError
        An option is wrong. A fault of the data is never raised.
    """
    if not dicom_root.is_dir():
        raise ConfigError("--dicom-root is not a folder.")
    paths = SitePaths(map(parse_mapping, path_maps), base=csv.parent)
    try:
        table = read_site_table(csv, primary_sign)
    except DataError as error:
        return _unreadable(error)
    survey = survey_site(table, paths, dicom_root, primary_sign, processes)
    faults = map(from_fault, (*table.faults, *survey.faults))
    own = row_set_findings(table.name, survey.rows, processes)
    frames = frame_findings(table.name, survey.rows, dicom_root, processes) if decode else []
    return CheckReport(rows=len(survey.rows), findings=in_order([*faults, *own, *frames]))


def check_data(
    data: Path, *, dicom_root: Path, processes: int = 0, decode: bool = True
) -> CheckReport:
    """Check a data folder that an import, or the phantom, wrote.

    Parameters
    ----------
    data : Path
        Folder of ``manifest.csv``.
    dicom_root : Path
        Folder that the manifest's runs are relative to.
    processes, decode
        As in :func:`check_site`.

    Raises
    ------
    ConfigError
        `dicom_root` is not a folder.
    """
    if not dicom_root.is_dir():
        raise ConfigError("data.dicom_root in params.yaml is not a folder.")
    try:
        entries = read_manifest(data / "manifest.csv")
    except DataError as error:
        return _unreadable(error)
    name = "manifest.csv"
    places = [_row_of(entry, line, data, dicom_root) for line, entry in enumerate(entries, start=2)]
    survey = survey_rows(name, places, _SIGN_OF_MANIFEST, processes)
    pinned = pin_findings(data, entries, survey.rows)
    own = row_set_findings(name, survey.rows, processes)
    frames = frame_findings(name, survey.rows, dicom_root, processes) if decode else []
    findings = [*map(from_fault, survey.faults), *pinned, *own, *frames]
    renamed = (replace(one, field=as_of_manifest(one.field)) for one in findings)
    return CheckReport(rows=len(entries), findings=in_order(renamed))


def row_set_findings(table: str, rows: Sequence[SurveyedRow], processes: int) -> list[Finding]:
    """Return what this package finds in surveyed rows, each alone and all together."""
    cases = in_threads(load_case, rows, processes, "Contents")
    findings = in_threads(lambda case: case_findings(table, case), cases, processes, "Consistency")
    flat = [one for found in findings for one in found]
    sizes = catheter_finding(table, [case.contour.calibration for case in cases if case.contour])
    texts = annotation_finding(table, [case.acquired.header for case in cases])
    return [*flat, *sizes, *texts, *between_findings(table, cases)]


def case_findings(table: str, case: Case) -> list[Finding]:
    """Return what this package finds in a row alone."""
    notes = Notes(file=table, row=case.surveyed.row.row)
    place_findings(case, notes)
    acquisition_findings(case.acquired, notes)
    label_findings(case.labels, notes)
    return notes.findings


def _unreadable(error: DataError) -> CheckReport:
    return CheckReport(rows=0, findings=in_order(map(from_fault, error.faults)))


def _row_of(
    entry: ManifestRow, line: int, data: Path, dicom_root: Path
) -> tuple[SiteRow, RowPaths]:
    """Bring a row of the manifest to the shape of a site's row."""
    row = SiteRow(
        row=line,
        patient_id=entry.patient_id,
        vessel_pattern=entry.vessel_pattern,
        phase=entry.phase,
        frame_index=entry.frame_index,
        cass_segment=entry.cass_segment,
        cass_segment_original=entry.cass_segment_original,
        primary_deg=entry.primary_deg,
        secondary_deg=entry.secondary_deg,
        pseudo_label_path=entry.pseudo_label,
        dicom_path=entry.dicom,
        contour_path=entry.contour,
        mask_path=entry.mask,
    )
    dicom, *labels = _existing(
        (dicom_root / entry.dicom, True),
        (data / entry.pseudo_label, bool(entry.pseudo_label)),
        (data / entry.contour, bool(entry.contour)),
        (data / entry.mask, bool(entry.mask)),
    )
    return row, RowPaths(dicom=dicom, pseudo_label=labels[0], contour=labels[1], mask=labels[2])


def _existing(*named: tuple[Path, bool]) -> Iterable[Path | None]:
    return [path if is_named and is_file(path) else None for path, is_named in named]
