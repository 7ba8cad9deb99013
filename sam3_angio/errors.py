"""What goes wrong for a user, said so that it can be mended.

Conventions
-----------
Every error that a user can cause is an :class:`AngioError`. It carries all faults that were
found, not the first one; each fault names file, row, field, what was found and how to mend it.
A fault never repeats a personal value: it names the row, and shows a value only where that value
cannot identify a person (numbers, segment codes, sizes).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault of the data or the configuration.

    Attributes
    ----------
    file : str
        File name, relative to what the user handed over.
    row : int or None
        Line of a table, 1 being the header; frame index for a run; None where there is none.
    field : str
        Column, tag or key; empty where the whole file is meant.
    message : str
        What was found and what was expected.
    fix : str
        What to do about it.
    severity : {"error", "warning"}
        A warning does not stop anything.
    """

    file: str
    message: str
    fix: str = ""
    row: int | None = None
    field: str = ""
    severity: Severity = "error"

    def __str__(self) -> str:
        where = self.file
        if self.row is not None:
            where += f", row {self.row}"
        if self.field:
            where += f", field '{self.field}'"
        text = f"{where}: {self.message}"
        return f"{text} {self.fix}" if self.fix else text


class AngioError(Exception):
    """An error that the user can mend; the command line prints it without a traceback.

    Parameters
    ----------
    headline : str
        One sentence: what could not be done.
    faults : iterable of Fault
        Everything that stood in the way.
    """

    def __init__(self, headline: str, faults: Iterable[Fault] = ()) -> None:
        self.headline = headline
        self.faults = tuple(faults)
        super().__init__("\n".join([headline, *(f"  - {fault}" for fault in self.faults)]))

    def __reduce__(self) -> tuple[type[AngioError], tuple[str, tuple[Fault, ...]]]:
        """Survive the way through a process pool."""
        return type(self), (self.headline, self.faults)


class ConfigError(AngioError):
    """``params.yaml`` or a command's options are wrong."""


class DataError(AngioError):
    """The data set is wrong."""

    @classmethod
    def at(
        cls, file: str, message: str, fix: str = "", *, row: int | None = None, field: str = ""
    ) -> DataError:
        """Make an error of one fault.

        Examples
        --------
        >>> print(DataError.at("manifest.csv", "17 is no segment.", row=12, field="cass_segment"))
        manifest.csv, row 12, field 'cass_segment': 17 is no segment.
        """
        fault = Fault(file=file, row=row, field=field, message=message, fix=fix)
        error = cls(str(fault))
        error.faults = (fault,)
        return error
