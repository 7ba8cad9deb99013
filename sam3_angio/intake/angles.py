"""The angles of the site's table against those of the DICOM headers.

DICOM's primary angle is positive towards LAO, its secondary angle cranially (PS3.3 C.8.7.5.1.2);
tables are often written the other way round, or with the two exchanged, and a wrong sign is
invisible in a picture's label. So the primary angle's convention is stated by the user, and both
are proved here: rows without an angle in the header live by it.

Conventions
-----------
Both sides are in DICOM's signs, the table's by the convention that the user stated. Rows are
*decided* where both sides have an angle that is not about zero.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sam3_angio.acquisition import ViewAngle
from sam3_angio.errors import Fault
from sam3_angio.intake.table import PrimarySign, SiteRow

#: Rounding in tables and headers; views differ by more.
TOLERANCE_DEG = 2.0
#: Fewer decided rows than this say nothing of a column.
_MIN_ROWS = 3

Verdict = Literal["agreeing", "opposite", "different", "neutral", "missing"]
_WRONG: tuple[Verdict, ...] = ("opposite", "different")


@dataclass(frozen=True, slots=True, kw_only=True)
class AngleCheck:
    """How many rows say what about the sign of an angle.

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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Angle:
    """One of the two angles: its column, and each row's value in the table and in the header."""

    column: str
    pairs: tuple[tuple[float, float | None], ...]

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        return tuple(verdict(table_deg, header_deg) for table_deg, header_deg in self.pairs)

    @property
    def check(self) -> AngleCheck:
        counts = Counter(self.verdicts)
        return AngleCheck(
            agreeing=counts["agreeing"],
            opposite=counts["opposite"],
            different=counts["different"],
            neutral=counts["neutral"],
            missing=counts["missing"],
        )


def verdict(table_deg: float, header_deg: float | None) -> Verdict:
    """Return what one row says about the sign.

    Examples
    --------
    >>> verdict(-8.9, 9.1), verdict(-8.9, -9.1), verdict(-8.9, 24.3), verdict(0.4, -0.3)
    ('opposite', 'agreeing', 'different', 'neutral')
    """
    if header_deg is None or math.isnan(table_deg):
        return "missing"
    if max(abs(table_deg), abs(header_deg)) <= TOLERANCE_DEG:
        return "neutral"
    if abs(table_deg - header_deg) <= TOLERANCE_DEG:
        return "agreeing"
    return "opposite" if abs(table_deg + header_deg) <= TOLERANCE_DEG else "different"


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
        The counts of the primary angle.
    list of Fault
        One error for a table with exchanged columns, with the other sign in a column, or with a
        column of which most angles are others than the headers'; otherwise an error for each
        opposite angle, and a warning for each that differs.
    """
    primary = _Angle(
        column="primary_angle",
        pairs=tuple((row.primary_deg, view.primary_deg if view else None) for row, view in rows),
    )
    secondary = _Angle(
        column="secondary_angle",
        pairs=tuple(
            (row.secondary_deg, view.secondary_deg if view else None) for row, view in rows
        ),
    )
    faults = [fault for row, view in rows if view is None for fault in _without_header(name, row)]
    exchanged = _exchanged(name, primary, secondary)
    if exchanged:
        return primary.check, [*faults, exchanged]
    other = "LAO+" if primary_sign == "RAO+" else "RAO+"
    fixes = {
        primary.column: f"Import with --primary-sign {other}.",
        secondary.column: "Turn the sign of the whole column: cranial is positive.",
    }
    for angle in (primary, secondary):
        whole, told = _of_column(name, angle, fixes[angle.column])
        faults += [*whole, *_of_rows(name, rows, angle, {*_WRONG} - told)]
    return primary.check, faults


def _exchanged(name: str, primary: _Angle, secondary: _Angle) -> Fault | None:
    """Tell a table whose angles stand in each other's columns, whatever their signs.

    A row says so where the header's two angles differ in size and the table has the one in the
    place of the other.
    """
    asked = as_named = across = 0
    for (one, one_header), (other, other_header) in zip(
        primary.pairs, secondary.pairs, strict=True
    ):
        if one_header is None or other_header is None or math.isnan(one + other):
            continue
        sizes = np.abs([one, other])
        headers = np.abs([one_header, other_header])
        if abs(headers[0] - headers[1]) > 2 * TOLERANCE_DEG:
            asked += 1
            as_named += int((np.abs(sizes - headers) <= TOLERANCE_DEG).all())
            across += int((np.abs(sizes - headers[::-1]) <= TOLERANCE_DEG).all())
    if across <= as_named or 2 * across <= asked:
        return None
    message = f"{across} of {asked} rows have the header's angles in each other's column."
    fix = "Exchange the columns primary_angle and secondary_angle, or their names."
    return Fault(file=name, field=primary.column, message=message, fix=fix)


def _of_column(name: str, angle: _Angle, fix: str) -> tuple[list[Fault], set[Verdict]]:
    """Return what is wrong with a column as a whole, and what need not be told of its rows then.

    A sign is advised only where it would fit most rows.
    """
    check = angle.check
    decided = check.agreeing + check.opposite + check.different
    if check.opposite > check.agreeing and 2 * check.opposite > decided:
        message = f"the sign contradicts the DICOM headers: {check}."
        return [Fault(file=name, field=angle.column, message=message, fix=fix)], {"opposite"}
    if decided >= _MIN_ROWS and 2 * check.different > decided:
        message = f"most angles are others than those of the DICOM headers: {check}."
        fix = "Check that the column is the right one, and that rows and runs belong together."
        return [Fault(file=name, field=angle.column, message=message, fix=fix)], {"different"}
    if angle.pairs and not check.agreeing:
        message = f"no row proves the sign: {check}."
        unproved = Fault(file=name, field=angle.column, message=message, severity="warning")
        return [unproved], set()
    return [], set()


def _of_rows(
    name: str,
    rows: Sequence[tuple[SiteRow, ViewAngle | None]],
    angle: _Angle,
    told: set[Verdict],
) -> list[Fault]:
    faults = []
    for (row, _), (_, header_deg), found in zip(rows, angle.pairs, angle.verdicts, strict=True):
        if found not in told:
            continue
        opposite = f"the sign is the opposite of the DICOM header's ({header_deg:g}°)."
        differs = f"it differs from the DICOM header ({header_deg:g}°), which is used."
        faults.append(
            Fault(
                file=name,
                row=row.row,
                field=angle.column,
                message=opposite if found == "opposite" else differs,
                severity="error" if found == "opposite" else "warning",
            )
        )
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
