"""A phantom of three patients as a site would hand it over, for tests that break one thing."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image

from sam3_angio.checking.data_set import check_data, check_site
from sam3_angio.checking.finding import CheckReport, Finding
from sam3_angio.intake.table import COLUMNS
from sam3_angio.label_mask import read_mask


class PhantomSite:
    """A copy of a phantom's data folder whose parts can be changed."""

    def __init__(self, folder: Path) -> None:
        self.data = folder
        self.export = folder / "export"
        self.angios = self.export / "Angios"
        self.table = self.export / "corrected_dataset_training.csv"
        self.rows = list(csv.DictReader(io.StringIO(self.table.read_text(encoding="utf-8"))))

    def keep(self, count: int) -> None:
        """Take all but the first rows out of the table."""
        del self.rows[count:]
        self.write()

    def file(self, number: int, column: str) -> Path:
        """Return the file that a row of the table names."""
        return self.export / self.rows[number][column].replace("\\", "/").removeprefix("E:/")

    def write(self) -> None:
        """Write the table as the rows are now."""
        stream = io.StringIO(newline="")
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([row[column] for column in COLUMNS] for row in self.rows)
        self.table.write_text(stream.getvalue(), encoding="utf-8")

    def set(self, number: int, **fields: str) -> None:
        """Change fields of a row."""
        self.rows[number].update(fields)
        self.write()

    def edit_contour(self, number: int, change: Callable[[dict[str, Any]], None]) -> None:
        """Change a row's contour file."""
        path = self.file(number, "medis_contour_path")
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    def edit_mask(
        self,
        number: int,
        change: Callable[[np.ndarray], np.ndarray],
        column: str = "medis_mask_path",
    ) -> None:
        """Change a row's mask, as 0 and 1."""
        path = self.file(number, column)
        mask = read_mask(path).mask.astype(np.uint8)
        Image.fromarray(np.ascontiguousarray(change(mask))).save(path, "PNG")

    def edit_run(self, number: int, **elements: Any) -> None:
        """Change elements of a row's run; None deletes one."""
        path = self.file(number, "dicom_path")
        run = pydicom.dcmread(path)
        for name, value in elements.items():
            if value is None:
                delattr(run, name)
            else:
                setattr(run, name, value)
        run.save_as(path)

    def check(self, *, decode: bool = False, sign: Any = "RAO+") -> CheckReport:
        """Check the table."""
        names = ("Angios", "AngioMLDL_data")
        return check_site(
            self.table,
            dicom_root=self.angios,
            primary_sign=sign,
            path_maps=[f"E:/{name}={self.export / name}" for name in names],
            processes=1,
            decode=decode,
        )

    def check_data(self, *, decode: bool = False) -> CheckReport:
        """Check the data folder."""
        return check_data(self.data, dicom_root=self.angios, processes=1, decode=decode)


def found(report: CheckReport, field: str, text: str, row: int | None = None) -> list[Finding]:
    """Return the findings of a field whose text holds `text`."""
    return [
        one
        for one in report.findings
        if one.field == field and text in f"{one.found} {one.expected} {one.fix}"
        if row is None or one.row == row
    ]
