"""A site of three patients and six analysed frames, small enough to be built for every test."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, XRayAngiographicImageStorage

from sam3_angio.intake.table import COLUMNS
from sam3_angio.medis import polygon_mask

FRAMES, ROWS, COLUMNS_PX = 5, 48, 64
PATIENTS = ("ALL RISE 101-0025", "ALL RISE 101-0026", "ALL RISE 102-0001")
#: Primary angle in DICOM's sign, secondary angle, by segment.
VIEWS = {2: (35.0, 0.4), 13: (-8.9, 24.3)}
NAMES = {2: "MID RCA FINAL", 13: "MID LAD BASELINE"}


def write_run(path: Path, primary: float | None, secondary: float | None, **changes: Any) -> None:
    """Write an uncompressed XA run; a change of None deletes the element."""
    run = Dataset()
    run.SOPClassUID = XRayAngiographicImageStorage
    run.SOPInstanceUID = "1.2.3.4"
    run.PatientName = "Geheim^Gerda"
    run.Modality = "XA"
    run.Rows, run.Columns, run.NumberOfFrames = ROWS, COLUMNS_PX, FRAMES
    run.SamplesPerPixel, run.PhotometricInterpretation = 1, "MONOCHROME2"
    run.BitsAllocated, run.BitsStored, run.HighBit, run.PixelRepresentation = 8, 8, 7, 0
    run.PixelIntensityRelationship, run.BurnedInAnnotation = "LIN", "NO"
    if primary is not None:
        run.PositionerPrimaryAngle = primary
    if secondary is not None:
        run.PositionerSecondaryAngle = secondary
    # The path makes the content of each run its own.
    noise = np.random.default_rng(list(str(path.name + path.parents[3].name).encode()))
    run.PixelData = noise.integers(0, 255, (FRAMES, ROWS, COLUMNS_PX), np.uint8).tobytes()
    for name, value in changes.items():
        if value is None:
            delattr(run, name)
        else:
            setattr(run, name, value)
    run.file_meta = FileMetaDataset()
    run.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    run.save_as(path, enforce_file_format=True)


def write_png(path: Path, pixels: np.ndarray, **options: Any) -> None:
    """Write a picture of any mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "PNG", **options)


def contour_content(cass: int, index: int) -> dict[str, Any]:
    """Return a straight vessel from left to right, left edge above."""
    x = np.linspace(6.3, 50.3, 100)
    return {
        "segment_name": f"{NAMES[cass].title()}",
        "frame_num": index,
        "left_edge": np.stack([x, np.full_like(x, 17.6)], axis=1).tolist(),
        "right_edge": np.stack([x, np.full_like(x, 25.4)], axis=1).tolist(),
        "view_angles": {"primary_angle": -VIEWS[cass][0], "secondary_angle": VIEWS[cass][1]},
    }


def segment_mask() -> np.ndarray:
    """Return the mask of the straight vessel."""
    corners = np.array([[6.3, 17.6], [50.3, 17.6], [50.3, 25.4], [6.3, 25.4]])
    return polygon_mask(corners, (ROWS, COLUMNS_PX)).astype(np.uint8)


def tree_mask() -> np.ndarray:
    """Return a pseudo-label: rows 192 to 287 of 512, rows 18 to 26 of 48."""
    mask = np.zeros((512, 512), np.uint8)
    mask[192:288, 48:404] = 1
    return mask


class SmallSite:
    """The files of a site under a folder, and its table as rows that a test can change.

    The table's paths are Windows paths on drive E; ``maps`` leads to them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.angios = folder / "Angios"
        self.labels = folder / "AngioMLDL_data"
        self.table = folder / "corrected_dataset_training.csv"
        self.out = folder / "data"
        self.maps = [f"E:\\Angios={self.angios}", f"e:/angiomldl_DATA\\={self.labels}"]
        self.rows = [self._row(patient, cass) for patient in PATIENTS for cass in (2, 13)]

    def _row(self, patient: str, cass: int) -> dict[str, str]:
        run = Path(patient, "Analysis", "PROCEDURES QCA ANALYSIS", "INDEX", f"{NAMES[cass]}.dcm")
        write_run(self.angios / run, *VIEWS[cass])
        stem = f"{patient} {NAMES[cass]}"
        write_png(self.labels / "deepsa" / f"{stem}.png", tree_mask())
        write_png(self.labels / "masks" / f"{stem}.png", segment_mask())
        contour = self.labels / "contours" / f"{stem}.json"
        contour.parent.mkdir(parents=True, exist_ok=True)
        contour.write_text(json.dumps(contour_content(cass, 2)))
        windows = str(run).replace("/", "\\")
        values = (patient, NAMES[cass], "INDEX", "2", str(cass), "7")
        angles = (f"{-VIEWS[cass][0]:g}", f"{VIEWS[cass][1]:g}")
        files = (
            f"E:\\AngioMLDL_data\\deepsa\\{stem}.png",
            f"E:\\Angios\\{windows}",
            f"E:\\AngioMLDL_data\\contours\\{stem}.json",
            f"E:\\AngioMLDL_data\\masks\\{stem}.png",
        )
        return dict(zip(COLUMNS, (*values, *angles, *files), strict=True))

    def file(self, number: int, column: str) -> Path:
        """Return the file that a row names."""
        path = self.rows[number][column].replace("\\", "/")
        return self.folder / path.removeprefix("E:/")

    def text(self, separator: str = ",", columns: Sequence[str] = COLUMNS) -> str:
        """Return the table as text."""
        stream = io.StringIO()
        writer = csv.writer(stream, delimiter=separator, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([row[column] for column in columns] for row in self.rows)
        return stream.getvalue()

    def write(self, content: str | bytes | None = None) -> None:
        """Write the table."""
        text = self.text() if content is None else content
        self.table.write_bytes(text.encode() if isinstance(text, str) else text)

    def run(self, **options: Any) -> Any:
        """Import the table as it is written now."""
        from sam3_angio.intake import import_table

        settings: dict[str, Any] = {
            "dicom_root": self.angios,
            "path_maps": self.maps,
            "primary_sign": "RAO+",
            "salt": "5a" * 32,
            "processes": 2,
        }
        return import_table(self.table, self.out, **settings | options)
