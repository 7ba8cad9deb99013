"""What a stage does with the findings about what it is going to read: it refuses errors."""

from __future__ import annotations

from pathlib import Path

from sam3_angio.checking.finding import CheckReport, as_fault
from sam3_angio.checking.listing import write_csv
from sam3_angio.errors import DataError


def require_sound(report: CheckReport, listing: Path) -> int:
    """List all findings in a file, and refuse data in which there is an error.

    Parameters
    ----------
    report : CheckReport
        Of what the stage reads.
    listing : Path
        CSV file to write; replaced even if there is nothing to tell, as an old list would mislead.

    Returns
    -------
    int
        Number of warnings.

    Raises
    ------
    DataError
        With every error.
    """
    write_csv(listing, report)
    errors = [as_fault(one) for one in report.findings if one.severity == "error"]
    if errors:
        raise DataError(
            f"{len(errors)} faults in {report.rows} rows; nothing is written. "
            f"{listing.name} lists them with the {report.warnings} warnings:",
            errors,
        )
    return report.warnings
