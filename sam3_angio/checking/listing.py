"""Findings for people and for programs: a table on the terminal, JSON, CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, fields
from pathlib import Path

from rich.table import Table

from sam3_angio.checking.finding import CheckReport, Finding
from sam3_angio.files import write_json, write_text

COLUMNS = tuple(column.name for column in fields(Finding))
_STYLES = {"error": "bold red", "warning": "yellow"}


def finding_table(report: CheckReport, most: int = 50) -> Table:
    """Return the first `most` findings; the rest is counted in the caption."""
    table = Table(title="Findings", title_justify="left")
    for column in COLUMNS:
        table.add_column(column, overflow="fold")
    for one in report.findings[:most]:
        table.add_row(*_cells(one), style=_STYLES[one.severity])
    if len(report.findings) > most:
        table.caption = f"{len(report.findings) - most} more: list them with --csv or --json"
    return table


def summary(report: CheckReport, counted: str = "rows") -> str:
    """Return the counts in one line; `counted` says of what."""
    return f"{report.rows} {counted}: {report.errors} errors, {report.warnings} warnings"


def write_csv(path: Path, report: CheckReport) -> None:
    """Write a row a finding."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_cells(one) for one in report.findings)
    write_text(path, stream.getvalue())


def write_report(path: Path, report: CheckReport) -> None:
    """Write counts and findings as JSON."""
    write_json(
        path,
        {
            "rows": report.rows,
            "errors": report.errors,
            "warnings": report.warnings,
            "findings": [asdict(one) for one in report.findings],
        },
    )


def _cells(one: Finding) -> tuple[str, ...]:
    cells = (getattr(one, column) for column in COLUMNS)
    return tuple("" if cell is None else str(cell) for cell in cells)
