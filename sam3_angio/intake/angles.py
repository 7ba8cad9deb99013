"""The angles of the site's table against those of the DICOM headers.

DICOM's primary angle is positive towards LAO (PS3.3 C.8.7.5.1.2); tables are often written the
other way round, and a wrong sign is invisible in a picture's label. So the table's convention is
stated by the user, and proved here.

Conventions
-----------
Both sides are in DICOM's signs, the table's by the convention that the user stated.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sam3_angio.acquisition import ViewAngle
from sam3_angio.errors import Fault
from sam3_angio.intake.table import PrimarySign, SiteRow

#: Rounding in tables and headers; views differ by more.
TOLERANCE_DEG = 2.0

Verdict = Literal["agreeing", "opposite", "different", "neutral", "missing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AngleCheck:
    """How many rows say what about the sign of the primary angle.

    Attributes
    ----------
    agreeing, opposite : int
        Within 2° of the header's angle, or of its negative.
    different : int
        Neither.
    neutral : int
        Within 2° of zero on both sides: no statement.
    missing : int
        No angle in the table or in the header.
    """

    agreeing: int
    opposite: int
    different: int
    neutral: int
    missing: int

    def __str__(self) -> str:
        return (
            f"{self.agreeing} agreeing, {self.opposite} opposite, {self.different} different, "
            f"{self.neutral} neutral, {self.missing} missing"
        )


def verdict(table_deg: float, header: ViewAngle | None) -> Verdict:
    """Return what one row says about the sign.

    Examples
    --------
    >>> verdict(-8.9, ViewAngle(primary_deg=9.1, secondary_deg=0))
    'opposite'
    """
    if header is None or math.isnan(table_deg):
        return "missing"
    if max(abs(table_deg), abs(header.primary_deg)) <= TOLERANCE_DEG:
        return "neutral"
    if abs(table_deg - header.primary_deg) <= TOLERANCE_DEG:
        return "agreeing"
    return "opposite" if abs(table_deg + header.primary_deg) <= TOLERANCE_DEG else "different"


def check_angles(
    name: str,
    rows: Sequence[tuple[SiteRow, ViewAngle | None]],
    primary_sign: PrimarySign,
) -> tuple[AngleCheck, list[Fault]]:
    """Compare all rows with their headers.

    Parameters
    ----------
    name : str
        File name of the table.
    rows : sequence of (SiteRow, ViewAngle or None)
        Each row with its header's view; None where the header has none.
    primary_sign : {"RAO+", "LAO+"}
        The convention that was stated.

    Returns
    -------
    AngleCheck
        The counts.
    list of Fault
        One error for a table with the other sign; otherwise an error for each opposite row, and
        warnings for angles that differ.
    """
    verdicts = [verdict(row.primary_deg, view) for row, view in rows]
    counts = Counter(verdicts)
    check = AngleCheck(
        agreeing=counts["agreeing"],
        opposite=counts["opposite"],
        different=counts["different"],
        neutral=counts["neutral"],
        missing=counts["missing"],
    )
    if check.opposite > check.agreeing:
        other = "LAO+" if primary_sign == "RAO+" else "RAO+"
        message = f"the sign contradicts the DICOM headers: {check}."
        fix = f"Import with --primary-sign {other}."
        return check, [Fault(file=name, field="primary_angle", message=message, fix=fix)]
    faults = [
        fault
        for (row, view), found in zip(rows, verdicts, strict=True)
        for fault in _row_faults(name, row, view, found)
    ]
    if rows and not check.agreeing:
        message = f"no row proves the sign: {check}."
        faults.append(Fault(file=name, field="primary_angle", message=message, severity="warning"))
    return check, faults


def _row_faults(name: str, row: SiteRow, view: ViewAngle | None, found: Verdict) -> list[Fault]:
    if view is None:
        return _without_header(name, row)
    faults = []
    if found == "opposite":
        message = f"the sign is the opposite of the DICOM header's ({view.primary_deg:g}°)."
        faults.append(Fault(file=name, row=row.row, field="primary_angle", message=message))
    if found == "different":
        faults.append(_differs(name, row, "primary_angle", view.primary_deg))
    if abs(row.secondary_deg - view.secondary_deg) > TOLERANCE_DEG:
        faults.append(_differs(name, row, "secondary_angle", view.secondary_deg))
    return faults


def _without_header(name: str, row: SiteRow) -> list[Fault]:
    columns = {"primary_angle": row.primary_deg, "secondary_angle": row.secondary_deg}
    return [
        Fault(
            file=name,
            row=row.row,
            field=column,
            message="neither the table nor the DICOM header has this angle.",
            fix="Fill it in, or remove the row.",
        )
        for column, value in columns.items()
        if math.isnan(value)
    ]


def _differs(name: str, row: SiteRow, column: str, header_deg: float) -> Fault:
    return Fault(
        file=name,
        row=row.row,
        field=column,
        message=f"it differs from the DICOM header ({header_deg:g}°), which is used.",
        severity="warning",
    )
