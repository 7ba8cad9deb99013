"""What is wrong between the rows of a site's table, though each may be right alone.

The dangerous ones put one patient, or one frame, on both sides of a split.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sam3_angio.errors import Fault, Severity
from sam3_angio.intake.files import LabelCheck, RowPaths, RunFacts
from sam3_angio.intake.table import SiteRow
from sam3_angio.manifest import fold_patient_id
from sam3_angio.path_columns import CONTOUR, DICOM, MASK, PSEUDO_LABEL

#: What so many rows agree on makes the others suspect.
_AGREED_SHARE = 0.8
_MIN_ROWS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyedRow:
    """A row with what its files say.

    Attributes
    ----------
    row : SiteRow
        The row.
    paths : RowPaths
        Its files.
    facts : RunFacts or None
        Of its run; None where that is missing or unreadable.
    labels : LabelCheck
        Of its labels.
    """

    row: SiteRow
    paths: RowPaths
    facts: RunFacts | None
    labels: LabelCheck

    @property
    def frame(self) -> tuple[str, int]:
        """What is in the picture: content of the run, number of the frame."""
        content = self.facts.sha256 if self.facts else str(self.paths.dicom)
        return content, self.row.frame_index


def find_conflicts(table: str, rows: Sequence[SurveyedRow]) -> list[Fault]:
    """Return all conflicts between rows.

    Parameters
    ----------
    table : str
        File name of the table, for faults.
    rows : sequence of SurveyedRow
        All rows.
    """
    return [
        *_doubled_rows(table, rows),
        *_shared_runs(table, rows),
        *_shared_studies(table, rows),
        *_strangers(table, rows),
        *_shared_labels(table, rows),
        *_spellings(table, rows),
        *_mirrored_edges(table, rows),
    ]


def _doubled_rows(table: str, rows: Sequence[SurveyedRow]) -> list[Fault]:
    return _repeated(
        table,
        [row for row in rows if row.facts],
        key=lambda row: (_patient(row), row.frame, row.row.cass_segment),
        column=DICOM,
        message="the same frame and segment as in row {first}.",
        fix="Remove one of the rows.",
    )


def _shared_runs(table: str, rows: Sequence[SurveyedRow]) -> list[Fault]:
    return _contradicting(
        table,
        [(row, row.facts.sha256) for row in rows if row.facts],
        value=_patient,
        column=DICOM,
        message="the same run as in row {first}, which belongs to another patient.",
        fix="Correct patient_id or dicom_path.",
    )


def _shared_studies(table: str, rows: Sequence[SurveyedRow]) -> list[Fault]:
    """Tell patients who share a study: one person under two identifiers.

    A study of three and more is no study, but what a careless anonymisation left.
    """
    patients: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.facts and row.facts.header.study_uid:
            patients[row.facts.header.study_uid].add(_patient(row))
    shared = {uid for uid, names in patients.items() if len(names) == 2}
    faults = _contradicting(
        table,
        [
            (row, row.facts.header.study_uid)
            for row in rows
            if row.facts and row.facts.header.study_uid in shared
        ],
        value=_patient,
        column=DICOM,
        message="the same study as in row {first}, which belongs to another patient.",
        fix="If they are one patient, give both rows one patient_id.",
    )
    if any(len(names) > 2 for names in patients.values()):
        message = "three or more patients share a StudyInstanceUID, so it tells no patients apart."
        faults.append(Fault(file=table, field=DICOM, message=message, severity="warning"))
    return faults


def _shared_labels(table: str, rows: Sequence[SurveyedRow]) -> list[Fault]:
    def of(path: Callable[[RowPaths], Path | None]) -> list[tuple[SurveyedRow, Path]]:
        found = ((row, path(row.paths)) for row in rows)
        return [(row, file.resolve()) for row, file in found if file]

    def segment(row: SurveyedRow) -> Hashable:
        return row.frame, row.row.cass_segment

    message = "the same file as in row {first}, which is another frame or segment."
    fix = "Correct the path."
    pseudo, contour, mask = (
        of(lambda paths: paths.pseudo_label),
        of(lambda paths: paths.contour),
        of(lambda paths: paths.mask),
    )
    return [
        *_contradicting(
            table, pseudo, lambda row: row.frame, column=PSEUDO_LABEL, message=message, fix=fix
        ),
        *_contradicting(table, contour, segment, column=CONTOUR, message=message, fix=fix),
        *_contradicting(table, mask, segment, column=MASK, message=message, fix=fix),
    ]


def _spellings(table: str, rows: Sequence[SurveyedRow]) -> list[Fault]:
    keyed = [(row, _patient(row)) for row in rows]
    without_zeros = [(row, re.sub(r"(?<!\d)0+(?=\d)", "", patient)) for row, patient in keyed]
    column = "patient_id"
    return [
        *_contradicting(
            table,
            keyed,
            lambda row: row.row.patient_id,
            column=column,
            message="another spelling of the patient in row {first}; taken for one patient.",
            severity="warning",
        ),
        *_contradicting(
            table,
            without_zeros,
            _patient,
            column=column,
            message="differs from the patient in row {first} in leading zeros alone.",
            fix="If they are one patient, spell them alike: two patients may be split apart.",
            severity="warning",
        ),
    ]


def _strangers(table: str, rows: Sequence[SurveyedRow]) -> list[Fault]:
    """Tell rows whose run lies in another patient's folder, where folders are named by patient."""
    others = [row for row in rows if _patient(row) not in fold_patient_id(row.row.dicom_path)]
    message = "the path of the run does not hold patient_id, as it does in the other rows."
    fix = "Check both: a patient may be split apart."
    return _minority(table, others, len(rows), DICOM, message, fix)


def _mirrored_edges(table: str, rows: Sequence[SurveyedRow]) -> list[Fault]:
    known = [row for row in rows if row.labels.left_edge_side]
    usual = 1 if sum(row.labels.left_edge_side for row in known) > 0 else -1
    others = [row for row in known if row.labels.left_edge_side != usual]
    message = "left and right edge are swapped, compared with the other contours."
    return _minority(table, others, len(known), CONTOUR, message)


def _minority(
    table: str,
    others: Sequence[SurveyedRow],
    count: int,
    column: str,
    message: str,
    fix: str = "",
) -> list[Fault]:
    """Return a warning for each of the few rows that differ from the rest."""
    if count < _MIN_ROWS or len(others) > (1 - _AGREED_SHARE) * count:
        return []
    return [_fault(table, row, column, message, fix, "warning") for row in others]


def _patient(row: SurveyedRow) -> str:
    return fold_patient_id(row.row.patient_id)


def _repeated(
    table: str,
    rows: Sequence[SurveyedRow],
    key: Callable[[SurveyedRow], Hashable],
    *,
    column: str,
    message: str,
    fix: str,
) -> list[Fault]:
    """Return a fault for each row whose key an earlier one has."""
    first: dict[Hashable, SurveyedRow] = {}
    return [
        _fault(table, row, column, message.format(first=first[key(row)].row.row), fix)
        for row in rows
        if first.setdefault(key(row), row) is not row
    ]


def _contradicting(
    table: str,
    keyed: Sequence[tuple[SurveyedRow, Hashable]],
    value: Callable[[SurveyedRow], Hashable],
    *,
    column: str,
    message: str,
    fix: str = "",
    severity: Severity = "error",
) -> list[Fault]:
    """Return a fault for each row whose value is another than that of the first with its key."""
    groups: dict[Hashable, list[SurveyedRow]] = defaultdict(list)
    for row, key in keyed:
        groups[key].append(row)
    return [
        _fault(table, row, column, message.format(first=first.row.row), fix, severity)
        for first, *others in groups.values()
        for row in others
        if value(row) != value(first)
    ]


def _fault(
    table: str,
    row: SurveyedRow,
    column: str,
    message: str,
    fix: str = "",
    severity: Severity = "error",
) -> Fault:
    return Fault(
        file=table, row=row.row.row, field=column, message=message, fix=fix, severity=severity
    )
