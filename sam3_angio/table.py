r"""Strict reading and writing of the pipeline's CSV tables.

Fields are counted before anything is interpreted: pandas takes the first column for an index when
every row has one field too many (a decimal comma without quotes), and shifts all the others
without a word. A value is repeated in a fault only where it is a number.

Conventions
-----------
UTF-8, comma, ``\n`` newlines; a missing value is an empty field and reads as NaN or ``""``. Row
numbers are lines of the file, 1 being the header.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sam3_angio.errors import DataError, Fault
from sam3_angio.files import require_regular, write_text

#: No table of this project comes near; a larger file is something else.
MAX_TABLE_BYTES = 256 * 2**20

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """The raw fields of one line, and typed access to them that collects faults.

    Attributes
    ----------
    file : str
        Name of the table, for faults.
    row : int
        Line number, 1 being the header.
    fields : dict of str to str
        Text by column.
    faults : list of Fault
        Shared by all rows of a table; every accessor appends to it and gives a neutral value
        (NaN, -1, ``""``) where a field is wrong.
    """

    file: str
    row: int
    fields: dict[str, str]
    faults: list[Fault] = field(default_factory=list)

    def fault(self, column: str, message: str, fix: str = "") -> None:
        """Note that a field is wrong."""
        self.faults.append(
            Fault(file=self.file, row=self.row, field=column, message=message, fix=fix)
        )

    def text(
        self, column: str, *, pattern: str = "", what: str = "text", empty: bool = False
    ) -> str:
        """Return a field's text; it must match `pattern` in full and be there unless `empty`."""
        value = self.fields[column]
        if not value:
            if not empty:
                self.fault(column, "the field is empty.", f"Give {what}.")
        elif pattern and not re.fullmatch(pattern, value):
            self.fault(column, f"this is not {what}.")
        return value

    def choice(self, column: str, allowed: Sequence[str]) -> str:
        """Return a field that is one of `allowed`."""
        value = self.fields[column]
        if value not in allowed:
            self.fault(column, f"expected one of {', '.join(allowed)}.")
        return value

    def number(self, column: str, low: float, high: float, *, empty: bool = False) -> float:
        """Return a number in [`low`, `high`]; NaN for an empty field where `empty` allows it."""
        value = self.fields[column]
        if not value and empty:
            return math.nan
        if not _NUMBER.fullmatch(value):
            self.fault(column, "this is not a number." if value else "the field is empty.")
            return math.nan
        number = float(value)
        if not low <= number <= high:
            self.fault(column, f"{number:g} is outside {low:g} to {high:g}.")
            return math.nan
        return number

    def integer(self, column: str, low: int, high: int) -> int:
        """Return a whole number in [`low`, `high`]; -1 where the field is wrong."""
        number = self.number(column, low, high)
        if math.isnan(number):
            return -1
        if not number.is_integer():
            self.fault(column, f"{number:g} is not a whole number.")
            return -1
        return int(number)


def read_table(path: Path, columns: Sequence[str]) -> tuple[TableRow, ...]:
    """Return the rows of a table of the pipeline's own.

    Parameters
    ----------
    path : Path
        UTF-8 CSV file.
    columns : sequence of str
        Exactly the header that is expected.

    Returns
    -------
    tuple of TableRow
        They share one list of faults; see :func:`finish`.

    Raises
    ------
    DataError
        The file cannot be read, has another header, or a row has another number of fields.
    """
    name = path.name
    header, *records = read_records(name, read_text(path), ",") or [(1, [])]
    if tuple(header[1]) != tuple(columns):
        raise DataError.at(
            name,
            f"the header is not {','.join(columns)}.",
            "Write the file again with the command that makes it.",
            row=1,
        )
    faults = field_count_faults(name, records, len(columns))
    faults += line_break_faults(name, records, columns)
    if faults:
        raise DataError(f"{name} cannot be read:", faults)
    return tuple(
        TableRow(file=name, row=row, fields=dict(zip(columns, record, strict=True)), faults=faults)
        for row, record in records
    )


def finish(name: str, rows: Sequence[TableRow]) -> None:
    """Raise what the typed access to `rows` found wrong.

    Raises
    ------
    DataError
        With every fault of the table `name`.
    """
    faults = rows[0].faults if rows else []
    if faults:
        raise DataError(f"{name} is not valid:", faults)


def read_bytes(path: Path) -> bytes:
    """Return a table's content.

    Raises
    ------
    DataError
        The file is missing, unreadable or too large.
    """
    try:
        if require_regular(path).st_size > MAX_TABLE_BYTES:
            raise DataError.at(path.name, f"larger than {MAX_TABLE_BYTES >> 20} MiB.")
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError.at(path.name, "the file is missing.") from None
    except OSError as error:
        raise DataError.at(path.name, f"cannot be read ({error.strerror}).") from None


def read_text(path: Path) -> str:
    """Return a UTF-8 table's text, with or without a byte order mark.

    Raises
    ------
    DataError
        The file cannot be read or is not UTF-8.
    """
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError.at(path.name, f"not UTF-8 (byte {error.start}).") from None


def read_records(name: str, text: str, separator: str) -> list[tuple[int, list[str]]]:
    """Split CSV text into records with their line numbers; blank lines are left out.

    Raises
    ------
    DataError
        A quotation mark is out of place, or the text is not a table at all.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    records = []
    try:
        for record in reader:
            if any(value.strip() for value in record):
                records.append((reader.line_num, record))
    except csv.Error as error:
        raise DataError.at(
            name,
            f"not a valid CSV file ({error}).",
            "Check the quotation marks.",
            row=reader.line_num,
        ) from None
    return records


def field_count_faults(
    name: str, records: Iterable[tuple[int, list[str]]], expected: int
) -> list[Fault]:
    """Return a fault for each record with another number of fields."""
    return [
        Fault(file=name, row=row, message=f"{len(record)} fields, expected {expected}.")
        for row, record in records
        if len(record) != expected
    ]


def line_break_faults(
    name: str, records: Iterable[tuple[int, list[str]]], columns: Sequence[str]
) -> list[Fault]:
    """Return a fault for each field that holds a line break; a record's row is its last line."""
    return [
        Fault(
            file=name,
            row=row,
            field=column,
            message="the field holds a line break.",
            fix="Write the field in one line.",
        )
        for row, record in records
        for column, value in zip(columns, record, strict=False)
        if "\n" in value or "\r" in value
    ]


def write_table(
    path: Path, columns: Sequence[str], rows: Iterable[Sequence[str | int | float]]
) -> None:
    """Write a table; NaN becomes an empty field, floats keep all their digits."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_shown(value) for value in row] for row in rows)
    write_text(path, stream.getvalue())


def _shown(value: str | int | float) -> str:
    return "" if isinstance(value, float) and math.isnan(value) else str(value)
