"""Taking a site's table and files into a data folder.

Runs stay where they are and are pinned by size and SHA-256; labels are small and are copied. All
faults of the table and of every file are found before anything is said, and nothing is written
unless there is none. What is written is described in ``docs/reference/files.md``.

Conventions
-----------
Warnings do not stop an import. Everything is written beside what was there before and exchanged at
the end; on any failure the earlier import stays whole. The manifest is moved into place last, so
that a reader never sees one whose labels are not there.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sam3_angio.anatomy import segments
from sam3_angio.errors import ConfigError, DataError, Fault
from sam3_angio.files import replacing_entries, write_json, write_text
from sam3_angio.intake.angles import AngleCheck
from sam3_angio.intake.conflicts import SurveyedRow
from sam3_angio.intake.files import copy_labels
from sam3_angio.intake.paths import SitePaths, parse_mapping
from sam3_angio.intake.survey import header_view, survey_site
from sam3_angio.intake.table import PrimarySign, SiteTable, read_site_table
from sam3_angio.manifest import (
    ManifestRow,
    frame_id,
    pseudonym,
    read_manifest,
    write_manifest,
)
from sam3_angio.progress import in_threads

_MANIFEST = "manifest.csv"
_SALT = re.compile(r"([0-9a-f]{2}){16,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportSummary:
    """What an import took in.

    Attributes
    ----------
    rows, patients, runs : int
        Analysed frames, patients, DICOM files.
    arteries, views : tuple of (str, int)
        Frames of each, by name.
    segments : tuple of (int, int)
        Frames of each CASS segment.
    without_pseudo_label, without_contour, without_mask : int
        Frames that lack one.
    angles : AngleCheck
        The table's primary angle against the headers.
    primary_sign : {"RAO+", "LAO+"}
        The table's convention, as stated.
    encoding, separator : str
        Of the table, as recognised.
    runs_sha256 : str
        Of the sorted SHA-256 of all runs; changes when a run does.
    warnings : tuple of Fault
        What was found and does not stop the import.
    """

    rows: int
    patients: int
    runs: int
    arteries: tuple[tuple[str, int], ...]
    views: tuple[tuple[str, int], ...]
    segments: tuple[tuple[int, int], ...]
    without_pseudo_label: int
    without_contour: int
    without_mask: int
    angles: AngleCheck
    primary_sign: PrimarySign
    encoding: str
    separator: str
    runs_sha256: str
    warnings: tuple[Fault, ...]


def import_table(
    csv: Path,
    out: Path,
    *,
    dicom_root: Path,
    primary_sign: PrimarySign,
    path_maps: Sequence[str] = (),
    salt: str = "",
    processes: int = 0,
) -> ImportSummary:
    r"""Validate a site's table with all its files and write the data folder.

    Parameters
    ----------
    csv : Path
        The table.
    out : Path
        Data folder; an earlier import there is replaced, its salt kept.
    dicom_root : Path
        Folder that the manifest's run paths start from; every run lies in it.
    primary_sign : {"RAO+", "LAO+"}
        Which side the table's primary angle is positive towards.
    path_maps : sequence of str
        ``PREFIX=FOLDER``, such as ``E:\Angios=/mnt/e/Angios``.
    salt : str
        Secret of the pseudonyms, hexadecimal, at least 16 bytes; drawn if empty. Not used where
        `out` has one.
    processes : int
        Files that are read at once; 0 for one a core.

    Raises
    ------
    ConfigError
        An option is wrong.
    DataError
        With every fault of the table and the files, warnings included. Nothing was written.
    """
    _require_own_folder(csv, out)
    if not dicom_root.is_dir():
        raise ConfigError("--dicom-root is not a folder.")
    paths = SitePaths(map(parse_mapping, path_maps), base=csv.parent)
    table = read_site_table(csv, primary_sign)
    survey = survey_site(table, paths, dicom_root, primary_sign, processes)
    rows = survey.rows
    faults = sorted(
        [*table.faults, *survey.faults],
        key=lambda fault: (fault.severity, fault.row or 0, fault.field),
    )
    if any(fault.severity == "error" for fault in faults):
        raise DataError(_headline(table.name, faults), faults)
    secret = _salt(out, salt)
    manifest = [manifest_row(row, dicom_root, secret) for row in rows]
    summary = _summary(rows, manifest, table, survey.angles, primary_sign, faults)
    try:
        _write(out, rows, manifest, summary, secret, processes)
    except OSError as error:
        raise ConfigError(f"--out cannot be written ({error.strerror}).") from None
    return summary


def _require_own_folder(csv: Path, out: Path) -> None:
    """Keep a site's frames apart from the truth of a phantom that lies in the same folder."""
    truth = out / "truth" / "vessel_tree.json"
    if truth.exists() and not csv.resolve().is_relative_to(out.resolve()):
        raise ConfigError(
            "--out holds a phantom with its truth. Give another folder, or move it away."
        )


def _headline(name: str, faults: Iterable[Fault]) -> str:
    counts = Counter(fault.severity for fault in faults)
    return (
        f"{name} was not imported: {counts['error']} errors, {counts['warning']} warnings. "
        "Nothing was written."
    )


def _salt(out: Path, given: str) -> str:
    path = out / "salt"
    salt = path.read_text(encoding="latin-1").strip() if path.exists() else given
    salt = salt or secrets.token_hex(32)
    if not _SALT.fullmatch(salt):
        raise ConfigError("The salt must be at least 16 bytes, in lower-case hexadecimal digits.")
    return salt


def manifest_row(row: SurveyedRow, dicom_root: Path, salt: str) -> ManifestRow:
    """Return what the manifest says of a row whose run was found and read.

    Raises
    ------
    ValueError
        The row has no run.
    """
    site, facts, run = row.row, row.facts, row.paths.dicom
    if facts is None or run is None:
        raise ValueError("a row without a run is no row of the manifest")
    dicom = run.resolve().relative_to(dicom_root.resolve()).as_posix()
    frame = frame_id(site.patient_id, dicom, site.frame_index, site.cass_segment, salt)
    return ManifestRow(
        frame_id=frame,
        patient=pseudonym(site.patient_id, salt),
        patient_id=site.patient_id,
        vessel_pattern=site.vessel_pattern,
        phase=site.phase,
        artery=segments()[site.cass_segment].artery,
        cass_segment=site.cass_segment,
        cass_segment_original=site.cass_segment_original,
        frame_index=site.frame_index,
        primary_deg=site.primary_deg,
        secondary_deg=site.secondary_deg,
        dicom=dicom,
        dicom_bytes=facts.bytes,
        dicom_sha256=facts.sha256,
        pseudo_label=f"labels/pseudo/{frame}.png" if row.paths.pseudo_label else "",
        contour=f"labels/contours/{frame}.json" if row.paths.contour else "",
        mask=f"labels/masks/{frame}.png" if row.paths.mask else "",
        row=site.row,
    )


def _summary(
    rows: Sequence[SurveyedRow],
    manifest: Sequence[ManifestRow],
    table: SiteTable,
    angles: AngleCheck,
    primary_sign: PrimarySign,
    faults: Sequence[Fault],
) -> ImportSummary:
    pins = sorted({row.dicom_sha256 for row in manifest})
    views = [header_view(row) or entry.view for row, entry in zip(rows, manifest, strict=True)]
    return ImportSummary(
        rows=len(rows),
        patients=len({row.patient for row in manifest}),
        runs=len({row.dicom for row in manifest}),
        arteries=tuple(sorted(Counter(str(row.artery) for row in manifest).items())),
        views=tuple(sorted(Counter(view.name for view in views).items())),
        segments=tuple(sorted(Counter(row.cass_segment for row in manifest).items())),
        without_pseudo_label=sum(not row.pseudo_label for row in manifest),
        without_contour=sum(not row.contour for row in manifest),
        without_mask=sum(not row.mask for row in manifest),
        angles=angles,
        primary_sign=primary_sign,
        encoding=table.encoding,
        separator=table.separator,
        runs_sha256=hashlib.sha256("\n".join(pins).encode()).hexdigest(),
        warnings=tuple(faults),
    )


def _write(
    out: Path,
    rows: Sequence[SurveyedRow],
    manifest: Sequence[ManifestRow],
    summary: ImportSummary,
    salt: str,
    processes: int,
) -> None:
    with replacing_entries(out, last=_MANIFEST) as folder:
        if not (out / "salt").exists():
            write_text(folder / "salt", f"{salt}\n")
        for name in ("pseudo", "contours", "masks"):
            (folder / "labels" / name).mkdir(parents=True)
        in_threads(
            lambda pair: copy_labels(pair[0].paths, folder / "labels", pair[1].frame_id),
            list(zip(rows, manifest, strict=True)),
            processes,
            "Copying labels",
        )
        if not (out / "truth").exists():
            write_json(folder / "truth" / "truth.json", {"kind": "none"})
        write_json(folder / "import.json", _report(summary))
        write_manifest(folder / _MANIFEST, manifest)
        read_manifest(folder / _MANIFEST)


def _report(summary: ImportSummary) -> dict[str, object]:
    """Return what ``import.json`` holds: counts and settings, nothing personal."""
    content = asdict(summary)
    content["warnings"] = dict(sorted(Counter(fault.field for fault in summary.warnings).items()))
    for name in ("arteries", "views", "segments"):
        content[name] = {str(key): count for key, count in content[name]}
    return content
