"""Rows of a data set against each other, beyond what an import asks.

Conventions
-----------
Rules that a site need not follow (a run's folder is named by its phase, a contour by its vessel)
count only where nearly all rows follow them.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from sam3_angio.checking.case import Case
from sam3_angio.checking.finding import Finding, Notes
from sam3_angio.checking.spelling import alike_patients
from sam3_angio.manifest import fold_patient_id
from sam3_angio.medis import SegmentContour
from sam3_angio.path_columns import CONTOUR, DICOM, MASK, PSEUDO_LABEL

_USUAL_SHARE = 0.8
_MIN_ROWS = 5
_EXPORT = "Export the contour again."
#: What a contour without a lesion has not.
_OF_A_LESION = (
    "lesion_start",
    "lesion_end",
    "lesion_length_mm",
    "proximal_normal_mm",
    "distal_normal_mm",
)


def between_findings(table: str, cases: Sequence[Case]) -> list[Finding]:
    """Return what is suspect between rows."""
    return [
        *_confused_patients(table, cases),
        *_copied_runs(table, cases),
        *_missing_figures(table, cases),
        *_missing_parts(table, cases),
        *_unusual(table, cases, "phase", _phase_in_path, "the run's folder, as in other rows"),
        *_unusual(table, cases, "vessel_pattern", _name_in_contour, "the contour's segment_name"),
    ]


def _confused_patients(table: str, cases: Sequence[Case]) -> list[Finding]:
    """Tell patients whose identifiers may be two spellings of one."""
    rows = [case.surveyed.row for case in cases]
    alike = alike_patients([row.patient_id for row in rows])
    first: dict[str, int] = {}
    findings: list[Finding] = []
    for row in rows:
        patient = fold_patient_id(row.patient_id)
        first.setdefault(patient, row.row)
        if patient in alike:
            notes = Notes(file=table, row=row.row, findings=findings)
            found = f"it looks like the patient in row {first[alike[patient]]}, spelled otherwise."
            fix = "If they are one patient, spell them alike: a patient may be split apart."
            notes.warning("patient_id", found, "one spelling for one patient", fix)
    return findings


def _copied_runs(table: str, cases: Sequence[Case]) -> list[Finding]:
    """Tell one run that is stored, and named in the table, at two places."""
    places: dict[str, list[tuple[Path, int]]] = defaultdict(list)
    for case in cases:
        surveyed = case.surveyed
        if surveyed.facts and surveyed.paths.dicom:
            places[surveyed.facts.sha256].append((surveyed.paths.dicom, surveyed.row.row))
    findings: list[Finding] = []
    for (path, line), *others in places.values():
        for other, row in others:
            if other != path:
                notes = Notes(file=table, row=row, findings=findings)
                found = f"the file is a copy of the run in row {line}."
                notes.warning(DICOM, found, "one place for one run", "Check the path.")
    return findings


def _missing_figures(table: str, cases: Sequence[Case]) -> list[Finding]:
    """Tell contours without a figure that nearly all others of their kind have, or with half of it.

    Contours with a lesion have more figures than those without.
    """
    findings: list[Finding] = []
    for case in cases:
        for name in _halves(case.contour) if case.contour else ():
            notes = Notes(file=table, row=case.surveyed.row.row, findings=findings)
            found = f"the contour has one number of {name} and lacks the other."
            notes.warning(CONTOUR, found, "both, or none", _EXPORT)
    for has_lesion in (True, False):
        alike = [
            (case, _figures(case.contour))
            for case in cases
            if case.contour and _has_lesion(case.contour) == has_lesion
        ]
        for name in alike[0][1] if len(alike) >= _MIN_ROWS else ():
            without = [case for case, figures in alike if math.isnan(figures[name])]
            if 0 < len(without) <= (1 - _USUAL_SHARE) * len(alike):
                for case in without:
                    notes = Notes(file=table, row=case.surveyed.row.row, findings=findings)
                    found = f"the contour has no {name}."
                    expected = f"a value, as {len(alike) - len(without)} of {len(alike)} others"
                    notes.warning(CONTOUR, found, expected, _EXPORT)
    return findings


def _missing_parts(table: str, cases: Sequence[Case]) -> list[Finding]:
    """Tell contours without a line, or without any measurement; many of them in one finding."""
    known = [(case, _parts(case.contour)) for case in cases if case.contour]
    findings: list[Finding] = []
    for name in known[0][1] if known else ():
        without = [case for case, parts in known if not parts[name]]
        few = len(without) <= (1 - _USUAL_SHARE) * len(known)
        if len(known) >= _MIN_ROWS and few:
            for case in without:
                notes = Notes(file=table, row=case.surveyed.row.row, findings=findings)
                expected = f"{name}, as {len(known) - len(without)} of {len(known)} others have"
                notes.warning(CONTOUR, f"the contour has no {name}.", expected, _EXPORT)
        elif without:
            notes = Notes(file=table, row=None, findings=findings)
            found = f"{len(without)} of {len(known)} contours have no {name}."
            notes.warning(CONTOUR, found, f"contours with {name}", _EXPORT)
    return findings


def _parts(contour: SegmentContour) -> dict[str, bool]:
    """Return whether a contour has its parts, by name."""
    said = asdict(contour.measurements).values()
    return {
        "measurements": any(not math.isnan(v) for v in (math.fsum(np.ravel(one)) for one in said)),
        "centerline": len(contour.centerline) > 0,
        "ideal edges": min(len(contour.ideal_left_edge), len(contour.ideal_right_edge)) > 0,
    }


def _said(contour: SegmentContour) -> dict[str, float | tuple[float, float]]:
    return {**asdict(contour.measurements), **asdict(contour.calibration)}


def _figures(contour: SegmentContour) -> dict[str, float]:
    """Return all figures of a contour file by name, NaN where missing."""
    return {
        name: math.fsum(value) if isinstance(value, tuple) else value
        for name, value in _said(contour).items()
    }


def _has_lesion(contour: SegmentContour) -> bool:
    figures = _figures(contour)
    return any(not math.isnan(figures[name]) for name in _OF_A_LESION)


def _halves(contour: SegmentContour) -> list[str]:
    """Return the figures of two numbers of which one is missing."""
    pairs = {name: value for name, value in _said(contour).items() if isinstance(value, tuple)}
    return [name for name, (one, other) in pairs.items() if math.isnan(one) != math.isnan(other)]


def _phase_in_path(case: Case) -> bool | None:
    row = case.surveyed.row
    return fold_patient_id(row.phase) in fold_patient_id(row.dicom_path)


def _name_in_contour(case: Case) -> bool | None:
    if case.contour is None or not case.contour.segment_name:
        return None
    name = case.surveyed.row.vessel_pattern
    return fold_patient_id(name) == fold_patient_id(case.contour.segment_name)


def _unusual(
    table: str,
    cases: Sequence[Case],
    column: str,
    holds: Callable[[Case], bool | None],
    expected: str,
) -> list[Finding]:
    """Return a warning for each of the few rows that break a rule which the others follow."""
    known = [(case, answer) for case in cases if (answer := holds(case)) is not None]
    others = [case for case, answer in known if not answer]
    if len(known) < _MIN_ROWS or len(others) > (1 - _USUAL_SHARE) * len(known):
        return []
    findings: list[Finding] = []
    for case in others:
        notes = Notes(file=table, row=case.surveyed.row.row, findings=findings)
        notes.warning(column, f"{column} is not in agreement with {expected}.", expected)
    return findings


def place_findings(case: Case, notes: Notes) -> None:
    """Note paths that climb out of their folder, and links."""
    row, paths = case.surveyed.row, case.surveyed.paths
    named = (
        (DICOM, row.dicom_path, paths.dicom),
        (PSEUDO_LABEL, row.pseudo_label_path, paths.pseudo_label),
        (CONTOUR, row.contour_path, paths.contour),
        (MASK, row.mask_path, paths.mask),
    )
    for column, text, path in named:
        if ".." in re.split(r"[\\/]", text):
            notes.error(column, "the path climbs out of its folder ('..').", "a plain path")
        if path is not None and path.is_symlink():
            found = "the file is a symbolic link: what it leads to can change unseen."
            notes.warning(column, found, "the file itself", "Put the file in its place.")
