r"""The folders and the table of the site that the phantom plays.

Conventions: paths are relative to the export folder, with ``/``; the table names them as absolute
Windows paths (``E:\Angios\…``). Its primary angle is positive towards RAO, the opposite of
DICOM's sign.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from sam3_angio.acquisition import ViewAngle
from sam3_angio.table import write_table

TABLE_NAME = "corrected_dataset_training.csv"
RUNS_FOLDER = "Angios"
LABELS_FOLDER = "AngioMLDL_data"
#: Where the site keeps both folders, as its table says.
WINDOWS_ROOT = PureWindowsPath("E:/")

COLUMNS = (
    "patient_id",
    "vessel_pattern",
    "phase",
    "frame_index",
    "cass_segment",
    "cass_segment_original",
    "primary_angle",
    "secondary_angle",
    "deepsa_pseudo_label_path",
    "dicom_path",
    "medis_contour_path",
    "medis_mask_path",
)

#: How the site names the vessel of a segment in its files.
VESSEL_NAMES = {
    1: "PROX RCA",
    2: "MID RCA",
    3: "DISTAL RCA",
    4: "PDA",
    12: "PROX LAD",
    13: "MID LAD",
    14: "DISTAL LAD",
    15: "D1",
    16: "D2",
    18: "PROX LCX",
    19: "DISTAL LCX",
    20: "OM1",
    21: "OM2",
    28: "RAMUS",
}

# As first exported: numbers of another scheme (SYNTAX) on the left, shifted ones on the right.
_WRONG_NUMBERS = {1: 2, 2: 3, 3: 2, 4: 3, 12: 6, 13: 7, 14: 8, 15: 9, 16: 10}
_WRONG_NUMBERS |= {18: 11, 19: 13, 20: 19, 21: 20, 28: 12}


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRow:
    """One analysed frame as the site lists it.

    Attributes
    ----------
    patient_id, vessel_pattern, phase : str
        As the site writes them.
    frame_index : int
        0-based.
    cass : int
        CASS number.
    view : ViewAngle
        DICOM signs.
    run : PurePosixPath
        Path of the run in the export folder.
    has_pseudo_label : bool
        False in one row of a data set.
    """

    patient_id: str
    vessel_pattern: str
    phase: str
    frame_index: int
    cass: int
    view: ViewAngle
    run: PurePosixPath
    has_pseudo_label: bool

    @property
    def pseudo_label(self) -> PurePosixPath:
        """Path of the whole-tree mask: of the frame, whatever is analysed in it."""
        return self._label("deepsa_pseudo_labels", self.run.stem, "deepsa.png")

    @property
    def contour(self) -> PurePosixPath:
        """Path of the contour file."""
        return self._label("medis_contours", self.vessel_pattern, "contours.json")

    @property
    def mask(self) -> PurePosixPath:
        """Path of the mask of the analysed segment."""
        return self._label("medis_masks", self.vessel_pattern, "mask.png")

    def _label(self, folder: str, name: str, kind: str) -> PurePosixPath:
        patient = self.run.parts[1]
        file = f"{patient} {self.phase} {name} f{self.frame_index:02d} {kind}"
        return PurePosixPath(LABELS_FOLDER, folder, file)


def run_path(patient_id: str, phase: str, vessel_pattern: str) -> PurePosixPath:
    """Return where a run lies in the export folder."""
    folders = (RUNS_FOLDER, patient_id, "Analysis", "PROCEDURES QCA ANALYSIS", phase)
    return PurePosixPath(*folders, f"{vessel_pattern}.dcm")


def site_angles(view: ViewAngle) -> tuple[float, float]:
    """Return the primary and secondary angle as the site writes them, RAO and cranial positive.

    Examples
    --------
    >>> site_angles(ViewAngle(primary_deg=-8.9, secondary_deg=24.3))
    (8.9, 24.3)
    """
    # Adding zero turns -0.0 into 0.0.
    return -view.primary_deg + 0.0, view.secondary_deg + 0.0


def write_site_table(path: Path, rows: Iterable[SiteRow]) -> None:
    """Write the site's table of twelve columns."""
    write_table(path, COLUMNS, (_fields(row) for row in rows))


def _fields(row: SiteRow) -> tuple[str, ...]:
    primary, secondary = site_angles(row.view)
    return (
        row.patient_id,
        row.vessel_pattern,
        row.phase,
        str(row.frame_index),
        str(row.cass),
        str(_WRONG_NUMBERS[row.cass]),
        f"{primary:.1f}",
        f"{secondary:.1f}",
        _on_windows(row.pseudo_label) if row.has_pseudo_label else "",
        _on_windows(row.run),
        _on_windows(row.contour),
        _on_windows(row.mask),
    )


def _on_windows(path: PurePosixPath) -> str:
    return str(WINDOWS_ROOT.joinpath(*path.parts))
