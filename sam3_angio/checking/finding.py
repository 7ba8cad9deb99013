"""What a check found: where, what, what was expected, how to mend it.

Readers tell a fault in one sentence. Here it is taken apart into what was found and what was
expected; where the sentence does not say the latter, the field's own rule does.

Conventions
-----------
No personal value stands in a finding: it names the row of the table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from sam3_angio.errors import Fault, Severity

#: What a field of the site's table, or of the manifest, must hold.
EXPECTED = {
    "patient_id": "one spelling for one patient",
    "vessel_pattern": "the vessel of cass_segment, as in the contour's segment_name",
    "phase": "the phase of the procedure, as in the run's folder",
    "frame_index": "a frame of the run, counted from 0; the contour's frame_num",
    "cass_segment": "a CASS number of the data set's fourteen",
    "primary_angle": "degrees within ±180; the DICOM header's, in the stated sign",
    "secondary_angle": "degrees within ±90, cranial positive; the DICOM header's",
    "dicom_path": "an intact multi-frame XA run in grey levels, inside the DICOM root",
    "deepsa_pseudo_label_path": "a vessel tree of 0 and 1, 512×512 or of the frame's size",
    "medis_contour_path": "a contour of this frame and segment, inside the frame",
    "medis_mask_path": "the segment's mask of 0 and 1, of the frame's size",
}
_OF_MANIFEST = {
    "primary_angle": "primary_deg",
    "secondary_angle": "secondary_deg",
    "dicom_path": "dicom",
    "deepsa_pseudo_label_path": "pseudo_label",
    "medis_contour_path": "contour",
    "medis_mask_path": "mask",
}
_OTHERWISE = "a value that agrees with the rest of the data"
_FIX = "Correct the field or the file, or remove the row."


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong, or suspect.

    Attributes
    ----------
    severity : {"error", "warning"}
        An error makes a wrong result certain or a stage fail; a warning deserves a look.
    file : str
        Name of the table, or of what else was read.
    row : int or None
        Line of the table, 1 being the header; None where the whole table is meant.
    field : str
        Column; empty where the whole row or file is meant.
    found, expected, fix : str
        What it says, what it should, how to mend it.
    """

    severity: Severity
    file: str
    row: int | None
    field: str
    found: str
    expected: str
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What a check found.

    Attributes
    ----------
    rows : int
        Rows that were looked at; 0 where the table cannot be read at all.
    findings : tuple of Finding
        Errors first, then by row.
    """

    rows: int
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> int:
        """Number of errors."""
        return Counter(one.severity for one in self.findings)["error"]

    @property
    def warnings(self) -> int:
        """Number of warnings."""
        return len(self.findings) - self.errors


def from_fault(fault: Fault) -> Finding:
    """Take a reader's fault apart.

    Examples
    --------
    >>> from_fault(Fault(file="t.csv", message="it is CT, expected 'XA'.")).expected
    "'XA'"
    """
    found, said, expected = fault.message.partition(", expected ")
    return Finding(
        severity=fault.severity,
        file=fault.file,
        row=fault.row,
        field=fault.field,
        found=found.rstrip(".") + ".",
        expected=expected.rstrip(".") if said else EXPECTED.get(fault.field, _OTHERWISE),
        fix=fault.fix or _FIX,
    )


def as_fault(finding: Finding) -> Fault:
    """Put a finding into a reader's words."""
    return Fault(
        file=finding.file,
        row=finding.row,
        field=finding.field,
        message=f"{finding.found.rstrip('.')}, expected {finding.expected}.",
        fix=finding.fix,
        severity=finding.severity,
    )


def as_of_manifest(field_name: str) -> str:
    """Return the manifest's name of a column of the site's table."""
    return _OF_MANIFEST.get(field_name, field_name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """Collects the findings of one row.

    Attributes
    ----------
    file : str
        Name of the table.
    row : int or None
        Its line.
    findings : list of Finding
    """

    file: str
    row: int | None
    findings: list[Finding] = field(default_factory=list)

    def error(self, column: str, found: str, expected: str, fix: str = _FIX) -> None:
        """Note what makes a result wrong."""
        self._add("error", column, found, expected, fix)

    def warning(self, column: str, found: str, expected: str, fix: str = _FIX) -> None:
        """Note what deserves a look."""
        self._add("warning", column, found, expected, fix)

    def _add(self, severity: Severity, column: str, found: str, expected: str, fix: str) -> None:
        self.findings.append(
            Finding(
                severity=severity,
                file=self.file,
                row=self.row,
                field=column,
                found=found,
                expected=expected,
                fix=fix,
            )
        )


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings without repetitions, errors first, then by row."""
    return tuple(
        sorted(
            set(findings),
            key=lambda one: (one.severity, one.file, one.row or 0, one.field, one.found),
        )
    )
