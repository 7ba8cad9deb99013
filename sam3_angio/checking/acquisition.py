"""How a frame was taken: scale, catheter, view.

Sources: PS3.3 C.8.7.5 and 10.7.1.3 for the geometry; the views that catheter laboratories take of
either artery (right: LAO, AP and RAO, level to cranial; left: any, cranial and caudal).

Conventions
-----------
Angles in DICOM's signs; scale is pixels a millimetre at the object.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sam3_angio.acquisition import ViewAngle
from sam3_angio.anatomy import Artery, segments
from sam3_angio.checking.finding import Finding, Notes
from sam3_angio.dicom.header import RunHeader
from sam3_angio.dicom.spacing import MAX_DISAGREEMENT, geometric_spacing
from sam3_angio.extraction import PLAUSIBLE_PX_PER_MM
from sam3_angio.medis import Calibration
from sam3_angio.path_columns import CONTOUR, DICOM

#: Primary and secondary angles, from and to, in which an artery is looked at.
VIEWS: dict[Artery, tuple[tuple[float, float], tuple[float, float]]] = {
    "RCA": ((-60.0, 110.0), (-20.0, 50.0)),
    "LCA": ((-70.0, 110.0), (-50.0, 50.0)),
}
_MM_PER_FRENCH = 1 / 3
_LARGEST_CATHETER_MM = 4.0
_CATHETERS = ((1.2, 3.4), (4.0, 10.0))
_FIELD_MM = (80.0, 450.0)
#: What coronary pictures show at the object: 104 to 162 mm on the phantom, more and less at sites.
_OBJECT_MM = (60.0, 300.0)
#: Calibration and geometry that differ by so much are not both true, whatever the projection.
_CERTAIN_FACTOR = 2.0
_SOD_OVER_SID = (0.5, 0.95)
_SAME = 0.05
_WHO = "Who may see the frame, or the report, may learn who the patient is."
_BLANK = "extract.blank and extract.blank_text in params.yaml make text black."


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquired:
    """How one frame was taken.

    Attributes
    ----------
    header : RunHeader or None
        Of its run, where that is readable.
    view : ViewAngle or None
        Of this frame, by the header; None where it has none.
    table_view : ViewAngle
        By the table; NaN where it has none.
    cass_segment : int
        CASS number of the analysed segment.
    calibration : Calibration or None
        Of the contour, where there is one.
    """

    header: RunHeader | None
    view: ViewAngle | None
    table_view: ViewAngle
    cass_segment: int
    calibration: Calibration | None


def acquisition_findings(frame: Acquired, notes: Notes) -> None:
    """Note what is odd about scale, catheter and view of a frame."""
    if frame.header is not None:
        _view(frame, notes)
        _geometry(frame, frame.header, notes)
        for element, message in frame.header.warnings:
            notes.warning(DICOM, f"{element}: {message}", "a number that can be meant")
        _annotation(frame.header, notes)
        if frame.header.frames == 1:
            found = "the run has a single frame."
            notes.warning(DICOM, found, "a cine run of 20 frames and more", "Check the path.")
    _scale(frame, notes)


def annotation_finding(table: str, headers: Sequence[RunHeader | None]) -> list[Finding]:
    """Tell once of how many frames the headers do not say whether text is burned into them."""
    known = [header for header in headers if header is not None]
    silent = sum(header.burned_in == "" for header in known)
    notes = Notes(file=table, row=None)
    if silent:
        found = f"BurnedInAnnotation is not given for {silent} of {len(known)} frames."
        notes.warning(DICOM, found, "NO, or YES", f"Look at some frames. {_BLANK}")
    return notes.findings


def catheter_finding(table: str, calibrations: Sequence[Calibration]) -> list[Finding]:
    """Tell once how many contour files give the catheter in French under millimetres."""
    sizes = [calibration.catheter_diameter for calibration in calibrations]
    french = [size for size in sizes if size >= _LARGEST_CATHETER_MM]
    notes = Notes(file=table, row=None)
    if french:
        found = f"catheter_diameter_mm is French in {len(french)} of {len(sizes)} contour files."
        fix = "Nothing, where scale_factor agrees with the headers: rows that do not are listed."
        notes.warning(CONTOUR, found, "1.3 to 3.3 mm; 1 F is 1/3 mm", fix)
    return notes.findings


def _annotation(header: RunHeader, notes: Notes) -> None:
    if header.burned_in == "YES":
        found = "the header says that text is burned into the pictures (BurnedInAnnotation)."
        notes.warning(DICOM, found, "pictures without text", f"{_WHO} {_BLANK}")
    if header.has_overlays:
        found = "drawings lie over the pictures (overlays, groups 60xx); frames do not have them."
        fix = f"Look whether the same text is in the pixels, too. {_BLANK}"
        notes.warning(DICOM, found, "pictures without text", fix)


def _view(frame: Acquired, notes: Notes) -> None:
    view = frame.view or frame.table_view
    # a frame that the run has not has no view either, and the header is not to blame for it
    if frame.view is None and frame.header is not None and frame.header.view(0) is None:
        found = "the header has no view angle, so that the table's cannot be proved."
        notes.warning(DICOM, found, "PositionerPrimaryAngle and -SecondaryAngle", "Look at it.")
    if frame.cass_segment not in segments():
        return
    artery = segments()[frame.cass_segment].artery
    for value, (low, high), column in zip(
        (view.primary_deg, view.secondary_deg),
        VIEWS[artery],
        ("primary_angle", "secondary_angle"),
        strict=True,
    ):
        if not math.isnan(value) and not low <= value <= high:
            found = f"{view} is no view of the {artery}."
            fix = "Check the angles, and whether cass_segment names the right artery."
            notes.warning(column, found, f"{low:g} to {high:g}°, in DICOM's signs", fix)


def _geometry(frame: Acquired, header: RunHeader, notes: Notes) -> None:
    geometry, spacing = header.geometry, header.geometry.detector_spacing_mm
    if spacing is None:
        return
    if abs(spacing[0] / spacing[1] - 1) > _SAME:
        found = f"ImagerPixelSpacing is {spacing[0]:g} by {spacing[1]:g} mm."
        notes.warning(DICOM, found, "square pixels")
    field_mm = max(header.rows * spacing[0], header.columns * spacing[1])
    if not _FIELD_MM[0] <= field_mm <= _FIELD_MM[1]:
        found = f"the picture is {field_mm:.0f} mm wide at the detector."
        notes.warning(DICOM, found, f"{_FIELD_MM[0]:g} to {_FIELD_MM[1]:g} mm")
    ratio = geometry.sod_mm / geometry.sid_mm
    if not math.isnan(ratio) and not _SOD_OVER_SID[0] <= ratio <= _SOD_OVER_SID[1]:
        notes.warning(DICOM, f"SOD / SID is {ratio:.2f}.", "0.5 to 0.95")
    if abs(ratio * geometry.magnification - 1) > _SAME:
        found = f"the magnification is {geometry.magnification:g}."
        notes.warning(DICOM, found, f"SID / SOD, {1 / ratio:.3f}")
    _against_contour(frame, spacing, notes)


def _against_contour(frame: Acquired, spacing: tuple[float, float], notes: Notes) -> None:
    if frame.calibration is None:
        return
    said = frame.calibration.imager_spacing_mm
    for own, other in zip(said, spacing, strict=True):
        if abs(own / other - 1) > _SAME:
            found = f"imager_pixel_spacing_mm is {own:g}."
            notes.warning(CONTOUR, found, f"the header's {other:g}: it may be another run's")
            return


def _scale(frame: Acquired, notes: Notes) -> None:
    calibration, header = frame.calibration, frame.header
    scale = calibration.scale_px_per_mm if calibration else math.nan
    geometric = geometric_spacing(header.geometry) if header else None
    is_known = geometric is not None and geometric.source in ("sod_sid", "magnification")
    if math.isnan(scale):
        if header and geometric and is_known:
            _field(header, 1 / geometric.column_mm, DICOM, "by ImagerPixelSpacing", notes)
        elif geometric:
            found = f"no scale: the header's spacing is '{geometric.source}'."
            expected = "scale_factor in the contour, or ImagerPixelSpacing with SOD and SID"
            notes.warning(CONTOUR, found, expected, "Millimetres of this frame are not known.")
        return
    low, high = PLAUSIBLE_PX_PER_MM
    if not low <= scale <= high:
        found = f"scale_factor is {scale:g} px/mm."
        fix = "It may be the inverse, millimetres a pixel."
        notes.error(CONTOUR, found, f"{low:g} to {high:g}", fix)
    elif geometric and is_known:
        _calibrated(scale, 1 / geometric.row_mm, notes)
    elif header:
        _field(header, scale, CONTOUR, f"by a scale_factor of {scale:g} px/mm", notes)
    size = calibration.catheter_diameter if calibration else math.nan
    if not math.isnan(size) and not any(low <= size <= high for low, high in _CATHETERS):
        found = f"catheter_diameter_mm is {size:g}."
        notes.warning(CONTOUR, found, "1.3 to 3.3 mm, or 4 to 10 F")


def _field(header: RunHeader, px_per_mm: float, column: str, how: str, notes: Notes) -> None:
    """Note a scale by which the picture shows more, or less, than any of a heart."""
    field_mm = max(header.rows, header.columns) / px_per_mm
    low, high = _OBJECT_MM
    if not low <= field_mm <= high:
        found = f"the picture shows {field_mm:.0f} mm of the patient, {how}."
        notes.error(
            column, found, f"{low:g} to {high:g} mm", "Check the spacing, or calibrate again."
        )


def _calibrated(scale: float, geometric: float, notes: Notes) -> None:
    """Compare a catheter calibration with the scale that the header gives."""
    ratio = scale / geometric
    if abs(ratio - 1) <= MAX_DISAGREEMENT:
        return
    found = f"scale_factor is {scale:g} px/mm."
    expected = f"{geometric:.2f} within a quarter, as the header's geometry gives"
    fix = "Calibrate again, on another frame, or check ImagerPixelSpacing, SOD and SID."
    if abs(ratio / _MM_PER_FRENCH - 1) <= MAX_DISAGREEMENT:
        fix = "French was taken for millimetres: the catheter is a third of what was entered."
    elif abs(ratio * _MM_PER_FRENCH - 1) <= MAX_DISAGREEMENT:
        fix = "Millimetres were taken for French: the catheter is thrice what was entered."
    note = notes.warning if 1 / _CERTAIN_FACTOR < ratio < _CERTAIN_FACTOR else notes.error
    note(CONTOUR, found, expected, fix)
