"""Many faults at once: as a table on the terminal, as CSV and JSON for other programs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, astuple, fields
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from sam3_angio.errors import Fault
from sam3_angio.files import write_json
from sam3_angio.table import write_table

COLUMNS = tuple(column.name for column in fields(Fault))

_ROWS_SHOWN = 8
_STYLES = {"error": "bold red", "warning": "yellow"}


def render_faults(faults: Iterable[Fault]) -> Table:
    """Return a table for the terminal: errors first, the rows of equal faults on one line."""
    rows: dict[tuple[str, str, str, str, str], list[int]] = defaultdict(list)
    for fault in faults:
        key = (fault.severity, fault.file, fault.field, fault.message, fault.fix)
        rows[key] += [] if fault.row is None else [fault.row]
    table = Table("", "file", "row", "field", "what is wrong, and what to do", box=box.SIMPLE)
    for severity, file, field, message, fix in sorted(rows, key=lambda key: key[0] != "error"):
        numbers = rows[severity, file, field, message, fix]
        what = f"{message} {fix}".strip()
        table.add_row(
            Text(severity, style=_STYLES[severity]),
            *map(Text, (file, _numbers(numbers), field, what)),
        )
    return table


def write_faults(folder: Path, faults: Iterable[Fault]) -> tuple[Path, Path]:
    """Write ``faults.csv`` and ``faults.json`` into a folder and return their paths."""
    listed = list(faults)
    table, document = folder / "faults.csv", folder / "faults.json"
    rows = [["" if value is None else value for value in astuple(fault)] for fault in listed]
    write_table(table, COLUMNS, rows)
    write_json(document, [asdict(fault) for fault in listed])
    return table, document


def _numbers(rows: list[int]) -> str:
    shown = ", ".join(str(row) for row in sorted(rows)[:_ROWS_SHOWN])
    more = len(rows) - _ROWS_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
