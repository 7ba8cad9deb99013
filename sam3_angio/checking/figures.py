"""An expert's measurements against each other and against the contour.

%DS is 100 (1 − MLD / RVD); the area of a round lumen falls with the square of its diameter.
Lengths in the file may be longer than in the picture, which foreshortens, but hardly shorter.

Conventions
-----------
Points are ``[x, y]`` in frame pixels, lengths millimetres; NaN is unknown and contradicts nothing.
"""

from __future__ import annotations

import math

import numpy as np

from sam3_angio.checking.finding import Notes
from sam3_angio.checking.label_set import LabelSet
from sam3_angio.medis import Measurements, Points
from sam3_angio.path_columns import CONTOUR

_FIX = "Measure the frame again, or take the measurements out of the file."

_POSSIBLE = {
    "diameter_stenosis_pct": (-20.0, 100.0),
    "area_stenosis_pct": (-45.0, 100.0),
    "mld_mm": (0.0, 8.0),
    "rvd_mm": (0.3, 8.0),
    "proximal_normal_mm": (0.3, 8.0),
    "distal_normal_mm": (0.3, 8.0),
    "lesion_length_mm": (0.1, 150.0),
    "segment_length_mm": (1.0, 200.0),
}
_STENOSIS_TOLERANCE_PCT = 2.0
_BETWEEN_MM = 0.5
_DIAMETER_MM, _DIAMETER_SHARE = 0.6, 0.3
_PLACE_PX = 8.0
#: Length in the picture over length in the file: foreshortened at the least, redrawn at the most.
_LENGTH_RATIO = (0.3, 1.2)


def figure_findings(labels: LabelSet, notes: Notes) -> None:
    """Note measurements that cannot be true together."""
    if labels.contour is None:
        return
    said = labels.contour.measurements
    for name, (low, high) in _POSSIBLE.items():
        value = getattr(said, name)
        if not math.isnan(value) and not low <= value <= high:
            notes.error(CONTOUR, f"{name} is {value:g}.", f"{low:g} to {high:g}", _FIX)
    _stenosis(said, notes)
    _lengths(said, notes)
    if len(labels.line):
        _places(said, labels.line, notes)
        scale = labels.contour.calibration.scale_px_per_mm
        if scale > 0:
            _against_picture(labels, said, scale, notes)


def _stenosis(said: Measurements, notes: Notes) -> None:
    stenosis_pct = said.diameter_stenosis_pct
    if said.rvd_mm > 0:
        by_diameters_pct = 100 * (1 - said.mld_mm / said.rvd_mm)
        # a figure of two decimals is uncertain by half a hundredth
        rounding_pct = 100 * 0.01 / said.rvd_mm
        if abs(stenosis_pct - by_diameters_pct) > _STENOSIS_TOLERANCE_PCT + rounding_pct:
            found = f"diameter_stenosis_pct is {stenosis_pct:g}."
            expected = f"{by_diameters_pct:.1f}, as MLD and RVD give"
            notes.error(CONTOUR, found, expected, _FIX)
    by_square_pct = 100 * (1 - (1 - stenosis_pct / 100) ** 2)
    if abs(said.area_stenosis_pct - by_square_pct) > _STENOSIS_TOLERANCE_PCT:
        found = f"area_stenosis_pct is {said.area_stenosis_pct:g}."
        notes.warning(CONTOUR, found, f"about {by_square_pct:.1f}, for a round lumen", _FIX)
    normal_mm = sorted((said.proximal_normal_mm, said.distal_normal_mm))
    if not math.isnan(sum(normal_mm)) and not (
        normal_mm[0] - _BETWEEN_MM <= said.rvd_mm <= normal_mm[1] + _BETWEEN_MM
    ):
        found = f"the RVD is {said.rvd_mm:g} mm."
        expected = f"between the normal diameters, {normal_mm[0]:g} and {normal_mm[1]:g} mm"
        notes.warning(CONTOUR, found, expected, _FIX)


def _lengths(said: Measurements, notes: Notes) -> None:
    if said.lesion_length_mm > said.segment_length_mm + 0.1:
        found = f"the lesion is {said.lesion_length_mm:g} mm long."
        expected = f"no longer than the segment, {said.segment_length_mm:g} mm"
        notes.error(CONTOUR, found, expected, _FIX)


def _places(said: Measurements, line: Points, notes: Notes) -> None:
    index = said.mld_centerline_index
    if not math.isnan(index) and not 0 <= index < len(line):
        found = f"MLD_centerline_index is {index:g}."
        notes.error(CONTOUR, found, f"0 to {len(line) - 1}", _FIX)
        index = math.nan
    places = {"MLD": said.mld_point, "lesion_start": said.lesion_start}
    places["lesion_end"] = said.lesion_end
    at: dict[str, int] = {}
    for name, point in places.items():
        if math.isnan(point[0] + point[1]):
            continue
        apart_px = np.linalg.norm(line - np.array(point), axis=1)
        at[name] = int(apart_px.argmin())
        if apart_px.min() > _PLACE_PX:
            found = f"{name} lies {apart_px.min():.0f} px beside the centre line."
            notes.error(CONTOUR, found, "a point of the vessel", _FIX)
    if "MLD" in at and not math.isnan(index):
        apart = float(np.linalg.norm(line[int(index)] - line[at["MLD"]]))
        if apart > _PLACE_PX:
            found = f"MLD_centerline_index and the MLD's point are {apart:.0f} px apart."
            notes.error(CONTOUR, found, "one place", _FIX)
    _order(at, notes)


def _order(at: dict[str, int], notes: Notes) -> None:
    start, end = at.get("lesion_start"), at.get("lesion_end")
    if start is None or end is None:
        return
    if start >= end:
        found = "the lesion ends before it starts."
        notes.error(CONTOUR, found, "lesion_start proximal of lesion_end", _FIX)
    elif "MLD" in at and not start <= at["MLD"] <= end:
        notes.error(CONTOUR, "the MLD is outside the lesion.", "a place between its ends", _FIX)


def _against_picture(labels: LabelSet, said: Measurements, scale: float, notes: Notes) -> None:
    length_mm = _arc_px(labels.line) / scale
    _compare_length("segment_length_mm", length_mm, said.segment_length_mm, notes)
    ends = [
        int(np.linalg.norm(labels.line - np.array(point), axis=1).argmin())
        for point in (said.lesion_start, said.lesion_end)
        if not math.isnan(point[0] + point[1])
    ]
    if len(ends) == 2 and ends[0] < ends[1]:
        length_mm = _arc_px(labels.line[ends[0] : ends[1] + 1]) / scale
        _compare_length("lesion_length_mm", length_mm, said.lesion_length_mm, notes)
    if not math.isnan(sum(said.mld_point)):
        place = int(np.linalg.norm(labels.line - np.array(said.mld_point), axis=1).argmin())
        _compare_diameters(labels, place, scale, notes)


def _compare_length(name: str, drawn_mm: float, said_mm: float, notes: Notes) -> None:
    low, high = _LENGTH_RATIO
    if said_mm > 0 and not low * said_mm <= drawn_mm <= high * said_mm + 1:
        found = f"{name} is {said_mm:g}."
        expected = f"about {drawn_mm:.1f}, the contour's length at its scale_factor, or longer"
        notes.warning(CONTOUR, found, expected, "Check scale_factor and the measurements.")


def _compare_diameters(labels: LabelSet, place: int, scale: float, notes: Notes) -> None:
    contour = labels.contour
    if contour is None:
        return
    said = contour.measurements
    pairs = (
        ("MLD_mm", contour.left_edge, contour.right_edge, said.mld_mm),
        ("interpolated_RVD_mm", contour.ideal_left_edge, contour.ideal_right_edge, said.rvd_mm),
    )
    for name, left, right, said_mm in pairs:
        if not len(left) == len(right) == len(labels.line):
            continue
        drawn_mm = float(np.linalg.norm(left[place] - right[place])) / scale
        if abs(drawn_mm - said_mm) > _DIAMETER_MM + _DIAMETER_SHARE * said_mm:
            expected = f"about {drawn_mm:.2f}, the contour's width there"
            notes.warning(CONTOUR, f"{name} is {said_mm:g}.", expected, _FIX)


def _arc_px(line: Points) -> float:
    return float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())
