r"""The site's own table of analysed frames: twelve columns, absolute Windows paths.

Whatever a spreadsheet program may have done to it is recognised and handled, or refused with the
reason; nothing is shifted in silence. Encodings: UTF-8 with or without a byte order mark, UTF-16
with one, Windows-1252. Separators: comma, semicolon, tab. Decimal commas are read where their
field is whole.

Conventions
-----------
``primary_deg`` is in DICOM's sign, whatever the table's is. No value of the table stands in a
fault, except numbers.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sam3_angio.anatomy import analysed_segments
from sam3_angio.errors import DataError, Fault, Severity
from sam3_angio.intake.vessel_name import disagreement, segment_title
from sam3_angio.table import (
    TableRow,
    field_count_faults,
    line_break_faults,
    read_bytes,
    read_records,
)

#: Which side the table's primary angle is positive towards.
PrimarySign = Literal["RAO+", "LAO+"]

COLUMNS = (
    "patient_id",
    "vessel_pattern",
    "phase",
    "frame_index",
    "cass_segment",
    "cass_segment_original",
    "primary_angle",
    "secondary_angle",
    "deepsa_pseudo_label_path",
    "dicom_path",
    "medis_contour_path",
    "medis_mask_path",
)

_MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "none", "null", "-"})
_DECIMAL_COMMA = re.compile(r"([+-]?\d*),(\d+)", re.ASCII)
_SEPARATORS = (",", ";", "\t")


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRow:
    """One row of the site's table, its paths not yet looked for.

    Attributes
    ----------
    row : int
        Line of the table, 1 being the header.
    patient_id, vessel_pattern, phase, cass_segment_original : str
        As written.
    frame_index : int
        0-based; -1 where the field is wrong.
    cass_segment : int
        CASS number; -1 where the field is wrong.
    primary_deg, secondary_deg : float
        In DICOM's signs; NaN where missing or wrong.
    pseudo_label_path, dicom_path, contour_path, mask_path : str
        As written; empty where missing.
    """

    row: int
    patient_id: str
    vessel_pattern: str
    phase: str
    frame_index: int
    cass_segment: int
    cass_segment_original: str
    primary_deg: float
    secondary_deg: float
    pseudo_label_path: str
    dicom_path: str
    contour_path: str
    mask_path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteTable:
    """The table and what is wrong with its fields.

    Attributes
    ----------
    name : str
        File name.
    rows : tuple of SiteRow
        All rows, in the order of the file.
    faults : tuple of Fault
        Errors and warnings.
    encoding : str
        As recognised.
    separator : str
        As recognised.
    """

    name: str
    rows: tuple[SiteRow, ...]
    faults: tuple[Fault, ...]
    encoding: str
    separator: str


def read_site_table(path: Path, primary_sign: PrimarySign) -> SiteTable:
    """Read the site's table.

    Parameters
    ----------
    path : Path
        CSV file.
    primary_sign : {"RAO+", "LAO+"}
        Which side its ``primary_angle`` is positive towards.

    Raises
    ------
    DataError
        The table's structure is wrong, so that no field can be trusted: encoding, quotation
        marks, header, number of fields. What is wrong with single fields stands in the result.
    """
    name = path.name
    text, encoding = _decoded(name, read_bytes(path))
    text = re.sub(r"\Asep=.(?=\r?\n)", "", text)
    separator = _separator(name, text)
    records = read_records(name, text, separator)
    header, faults = _header(name, [value.strip() for value in records[0][1]])
    wrong = field_count_faults(name, records[1:], len(header))
    if wrong:
        fix = "Put quotation marks around text with separators, and write angles with a point."
        raise DataError(f"{name}: the fields of some rows are shifted. {fix}", wrong)
    shared = [
        fault
        for fault in line_break_faults(name, records[1:], header)
        if fault.field in COLUMNS  # what is not used may hold anything
    ]
    rows = [
        TableRow(
            file=name,
            row=row,
            fields=dict(zip(header, map(_cleaned, record), strict=True)),
            faults=shared,
        )
        for row, record in records[1:]
    ]
    if not rows:
        raise DataError.at(name, "the table has no row.")
    faults += _decimal_commas(name, rows) + _legacy_encoding(name, encoding)
    parsed = tuple(_parsed(row, primary_sign) for row in rows)
    return SiteTable(
        name=name,
        rows=parsed,
        faults=(*faults, *shared),
        encoding=encoding,
        separator=separator,
    )


def _decoded(name: str, content: bytes) -> tuple[str, str]:
    encoding = "utf-8-sig"
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    for candidate in (encoding, "cp1252"):
        try:
            text = content.decode(candidate)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            raise DataError.at(name, "not a text file (it holds NUL).", "Export it as CSV UTF-8.")
        return text, candidate
    raise DataError.at(name, "neither UTF-8 nor Windows-1252.", "Save it as CSV UTF-8.")


def _separator(name: str, text: str) -> str:
    first = next((line for line in text.splitlines() if line.strip()), "")
    known = {sign: _known_columns(first, sign) for sign in _SEPARATORS}
    best = max(known, key=lambda sign: known[sign])
    if known[best] == 0:
        fix = f"The first line must be the header: {','.join(COLUMNS)}."
        raise DataError.at(name, "no known column was found in the first line.", fix, row=1)
    return best


def _known_columns(line: str, separator: str) -> int:
    try:
        fields = next(csv.reader([line], delimiter=separator, strict=True))
    except csv.Error:
        return 0
    return len({field.strip() for field in fields} & set(COLUMNS))


def _header(name: str, header: Sequence[str]) -> tuple[list[str], list[Fault]]:
    """Check the header; surplus columns get names that no column has."""
    missing = [column for column in COLUMNS if column not in header]
    errors = [
        Fault(file=name, row=1, field=column, message="the column occurs twice.")
        for column in COLUMNS
        if header.count(column) > 1
    ]
    surplus = [place for place, column in enumerate(header) if column not in COLUMNS]
    for column in missing:
        near = difflib.get_close_matches(column, [header[place].lower() for place in surplus], n=1)
        place = next((p for p in surplus if near and header[p].lower() == near[0]), None)
        fix = "" if place is None else f"Column {place + 1} is probably meant: rename it."
        errors.append(
            Fault(file=name, row=1, field=column, message="the column is missing.", fix=fix)
        )
    if errors:
        raise DataError(f"{name}: the header is not valid.", errors)
    warnings = [
        Fault(
            file=name,
            row=1,
            message=f"column {place + 1} is none of the twelve and is not used.",
            severity="warning",
        )
        for place in surplus
    ]
    names = [
        f"surplus {place}" if place in surplus else column for place, column in enumerate(header)
    ]
    return names, warnings


def _cleaned(value: str) -> str:
    text = re.sub(r"\s*[\r\n]\s*", " ", value.strip()).replace("\u2212", "-")
    return "" if text.lower() in _MISSING else text


def _decimal_commas(name: str, rows: Sequence[TableRow]) -> list[Fault]:
    """Turn decimal commas of the angles into points, in place, and tell how many."""
    count = 0
    for row in rows:
        for column in ("primary_angle", "secondary_angle"):
            match = _DECIMAL_COMMA.fullmatch(row.fields[column])
            if match:
                row.fields[column] = f"{match[1]}.{match[2]}"
                count += 1
    if not count:
        return []
    message = f"{count} angles are written with a decimal comma and were read as such."
    return [Fault(file=name, field="primary_angle", message=message, severity="warning")]


def _legacy_encoding(name: str, encoding: str) -> list[Fault]:
    if encoding != "cp1252":
        return []
    message = "not UTF-8; read as Windows-1252."
    fix = "Check umlauts in the identifiers, or save the table as CSV UTF-8."
    return [Fault(file=name, message=message, fix=fix, severity="warning")]


def _parsed(row: TableRow, primary_sign: PrimarySign) -> SiteRow:
    cass_segment = _cass(row)
    sign = -1.0 if primary_sign == "RAO+" else 1.0
    # Adding zero turns -0.0 into 0.0.
    primary_deg = sign * row.number("primary_angle", -180, 180, empty=True) + 0.0
    return SiteRow(
        row=row.row,
        patient_id=row.text("patient_id", what="the patient's identifier"),
        vessel_pattern=_named(row, cass_segment),
        phase=row.text("phase", what="the phase of the procedure"),
        frame_index=row.integer("frame_index", 0, 99_999),
        cass_segment=cass_segment,
        cass_segment_original=row.fields["cass_segment_original"],
        primary_deg=primary_deg,
        secondary_deg=row.number("secondary_angle", -90, 90, empty=True),
        pseudo_label_path=row.fields["deepsa_pseudo_label_path"],
        dicom_path=row.text("dicom_path", what="the path of the run"),
        contour_path=row.fields["medis_contour_path"],
        mask_path=row.fields["medis_mask_path"],
    )


def _cass(row: TableRow) -> int:
    cass_segment = row.integer("cass_segment", 1, 29)
    if cass_segment == -1 or cass_segment in analysed_segments():
        return cass_segment
    allowed = ", ".join(str(number) for number in analysed_segments())
    message = f"{segment_title(cass_segment)} is not a segment of this data set ({allowed})."
    row.fault("cass_segment", message)
    return -1


def _named(row: TableRow, cass_segment: int) -> str:
    name = row.text("vessel_pattern", what="vessel and moment")
    severity: Severity | None = disagreement(name, cass_segment) if cass_segment > 0 else None
    if severity:
        which = "another vessel than" if severity == "error" else "another part of the vessel than"
        row.faults.append(
            Fault(
                file=row.file,
                row=row.row,
                field="vessel_pattern",
                message=f"it names {which} cass_segment {segment_title(cass_segment)}.",
                fix="Correct one of them.",
                severity=severity,
            )
        )
    return name
