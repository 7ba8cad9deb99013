"""What an import found, as tables for a terminal and as a file of faults."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.table import Table

from sam3_angio.anatomy import segments
from sam3_angio.errors import Fault
from sam3_angio.files import write_text
from sam3_angio.intake import ImportSummary

_FAULT_COLUMNS = ("severity", "file", "row", "field", "message", "fix")


def summary_table(summary: ImportSummary) -> Table:
    """Return counts of rows, patients, segments, views, labels and the angle check."""
    table = Table(title="Imported", show_header=False, title_justify="left")
    table.add_row("Frames", str(summary.rows))
    table.add_row("Patients", str(summary.patients))
    table.add_row("Runs", str(summary.runs))
    table.add_row("Arteries", _counts(summary.arteries))
    table.add_row("Views", _counts(summary.views))
    table.add_row(
        "Segments",
        _counts((segments()[cass].phrase, count) for cass, count in summary.segments),
    )
    table.add_row("Without pseudo-label", str(summary.without_pseudo_label))
    table.add_row("Without contour", str(summary.without_contour))
    table.add_row("Without mask", str(summary.without_mask))
    table.add_row(f"Angle sign {summary.primary_sign} against headers", str(summary.angles))
    table.add_row("Table", f"{summary.encoding}, separator {summary.separator!r}")
    table.add_row("Warnings", str(len(summary.warnings)))
    return table


def fault_table(faults: Sequence[Fault], most: int = 50) -> Table:
    """Return the first `most` faults as a table; the rest is counted in its caption."""
    table = Table(title="Faults", title_justify="left")
    for column in _FAULT_COLUMNS:
        table.add_column(column, overflow="fold")
    for fault in faults[:most]:
        table.add_row(*_cells(fault))
    if len(faults) > most:
        table.caption = f"{len(faults) - most} more in the file"
    return table


def write_faults(path: Path, faults: Iterable[Fault]) -> None:
    """Write faults as CSV, a row each."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_FAULT_COLUMNS)
    writer.writerows(_cells(fault) for fault in faults)
    write_text(path, text.getvalue())


def _cells(fault: Fault) -> tuple[str, ...]:
    row = "" if fault.row is None else str(fault.row)
    return fault.severity, fault.file, row, fault.field, fault.message, fault.fix


def _counts(pairs: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{name} {count}" for name, count in pairs)
