"""Contour files of the phantom, in the shape of a core laboratory's Medis export.

The edges are drawn as an expert draws them: smooth, and a fraction of a pixel beside the truth.
What was measured comes from the three-dimensional truth, not from the edges, as another reading
would. The calibration often gives the catheter in French (8.0) under a name that says
millimetres, as such files do, and a few files lack optional fields.

Conventions: points are ``[x, y]`` in frame pixels, (0, 0) the centre of the first pixel; view
angles are the site's, RAO positive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from sam3_angio.phantom.labels import FrameTruth, LesionTruth, SegmentContour
from sam3_angio.phantom.site import site_angles
from sam3_angio.phantom.xray import ProjectionGeometry

Points = NDArray[np.float64]

# An expert's edge lies this far beside the true one and keeps to that side for this long: two
# readers of one frame differ by about 0.1 mm in a minimal diameter.
_EDGE_SD_MM = 0.05
_EDGE_LENGTH_MM = 2.0
# An edge never moves by more than this part of the width, so that edges do not cross.
_MOST_OF_WIDTH = 0.2

_CALIBRATION_SD = 0.015
_FRENCH_AS_MM_SHARE = 0.7
_INCOMPLETE_SHARE = 0.06
_OPTIONAL = (
    ("ideal_left_edge", "ideal_right_edge"),
    ("segment_name",),
    ("calibration",),
    ("view_angles",),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What an expert made of one frame.

    Attributes
    ----------
    segment_name : str
        Such as ``Mid LAD PRE``.
    contour : SegmentContour
        As drawn.
    scale_px_per_mm : float
        As calibrated on the catheter.
    catheter_as_written : float
        Its diameter under ``catheter_diameter_mm``: millimetres, or French by mistake.
    omitted : tuple of str
        Fields that the file lacks.
    """

    segment_name: str
    contour: SegmentContour
    scale_px_per_mm: float
    catheter_as_written: float
    omitted: tuple[str, ...]


def read_by_expert(
    truth: FrameTruth,
    geometry: ProjectionGeometry,
    vessel_pattern: str,
    generator: np.random.Generator,
) -> Reading:
    """Read a frame as an expert would, with an expert's inaccuracy.

    Parameters
    ----------
    truth : FrameTruth
        Of the frame.
    geometry : ProjectionGeometry
        Of the run.
    vessel_pattern : str
        Vessel and moment, as in the site's table.
    generator : numpy.random.Generator
        Source of the inaccuracy.
    """
    scale = 1 / geometry.object_spacing_mm
    french = generator.random() < _FRENCH_AS_MM_SHARE
    incomplete = generator.random() < _INCOMPLETE_SHARE
    omitted = _OPTIONAL[int(generator.integers(len(_OPTIONAL)))] if incomplete else ()
    return Reading(
        segment_name=_as_in_software(vessel_pattern),
        contour=expert_contour(truth.contour, scale, generator),
        scale_px_per_mm=scale * (1 + _CALIBRATION_SD * generator.standard_normal()),
        catheter_as_written=8.0 if french else 2.0,
        omitted=omitted,
    )


def _as_in_software(vessel_pattern: str) -> str:
    """Return ``Mid LAD PRE`` for ``MID LAD PRE``."""
    words = {"PROX": "Prox", "MID": "Mid", "DISTAL": "Distal", "RAMUS": "Ramus"}
    return " ".join(words.get(word, word) for word in vessel_pattern.split())


def expert_contour(
    contour: SegmentContour, scale_px_per_mm: float, generator: np.random.Generator
) -> SegmentContour:
    """Draw a contour beside the true one, smoothly, by a fraction of a pixel."""
    left, right = _redrawn(contour.left_px, contour.right_px, scale_px_per_mm, generator)
    ideal = _redrawn(contour.ideal_left_px, contour.ideal_right_px, scale_px_per_mm, generator)
    return replace(
        contour,
        centreline_px=(left + right) / 2,
        left_px=left,
        right_px=right,
        ideal_left_px=ideal[0],
        ideal_right_px=ideal[1],
    )


def _redrawn(
    left: Points, right: Points, scale_px_per_mm: float, generator: np.random.Generator
) -> tuple[Points, Points]:
    across = left - right
    width = np.sqrt((across**2).sum(axis=1))
    across = across / np.maximum(width, 1e-9)[:, None]
    middle = (left + right) / 2
    step_px = np.sqrt((np.diff(middle, axis=0) ** 2).sum(axis=1)).mean()
    length = _EDGE_LENGTH_MM * scale_px_per_mm / step_px
    limit = _MOST_OF_WIDTH * width
    moves = [
        np.clip(
            _EDGE_SD_MM * scale_px_per_mm * _wander(len(left), length, generator), -limit, limit
        )
        for _ in range(2)
    ]
    return left + moves[0][:, None] * across, right - moves[1][:, None] * across


def _wander(count: int, length: float, generator: np.random.Generator) -> NDArray[np.float64]:
    """Return smooth noise of unit variance whose correlation falls off over `length` samples."""
    noise = gaussian_filter1d(generator.standard_normal(count), length, mode="reflect")
    # the sum of the squared weights of a Gaussian kernel is 1 / (2 √π σ)
    return np.asarray(noise * np.sqrt(2 * np.sqrt(np.pi) * length))


def contour_document(
    reading: Reading, truth: FrameTruth, geometry: ProjectionGeometry
) -> dict[str, object]:
    """Return the content of a contour file.

    Parameters
    ----------
    reading : Reading
        Edges and calibration.
    truth : FrameTruth
        What is measured.
    geometry : ProjectionGeometry
        Of the run.
    """
    primary, secondary = site_angles(geometry.view)
    contour = reading.contour
    content: dict[str, object] = {
        "segment_name": reading.segment_name,
        "frame_num": truth.frame_index,
        "centerline": _listed(contour.centreline_px),
        "left_edge": _listed(contour.left_px),
        "right_edge": _listed(contour.right_px),
        "ideal_left_edge": _listed(contour.ideal_left_px),
        "ideal_right_edge": _listed(contour.ideal_right_px),
        "measurements": _measurements(reading.contour, truth),
        "calibration": {
            "scale_factor": round(reading.scale_px_per_mm, 4),
            "catheter_diameter_mm": reading.catheter_as_written,
            "imager_pixel_spacing_mm": [geometry.detector_spacing_mm] * 2,
        },
        "view_angles": {
            "primary_angle": round(primary, 1),
            "secondary_angle": round(secondary, 1),
        },
    }
    return {key: value for key, value in content.items() if key not in reading.omitted}


def _measurements(drawn: SegmentContour, truth: FrameTruth) -> dict[str, float | int]:
    lesion = _tightest(truth.lesions, truth.analysed_cass)
    if lesion is None:
        index = int(np.argmin(truth.contour.diameter_mm))
        mld_mm, rvd_mm = truth.contour.diameter_mm[index], truth.contour.reference_mm[index]
        x, y = drawn.centreline_px[index]
        measured = _narrowing(float(mld_mm), float(rvd_mm), (float(x), float(y)))
    else:
        offset = drawn.centreline_px - np.array(lesion.centre_px)
        index = int(np.argmin((offset**2).sum(axis=1)))
        measured = _narrowing(lesion.mld_mm, lesion.rvd_mm, lesion.centre_px)
        measured |= _extent(lesion, truth.contour)
    length_mm = truth.contour.arc_mm[-1] - truth.contour.arc_mm[0]
    measured["segment_length_mm"] = round(float(length_mm), 2)
    return measured | {"MLD_centerline_index": index}


def _tightest(lesions: Sequence[LesionTruth], cass: int) -> LesionTruth | None:
    here = [lesion for lesion in lesions if lesion.cass == cass]
    return max(here, key=lambda lesion: lesion.stenosis_pct, default=None)


def _narrowing(
    mld_mm: float, rvd_mm: float, place_px: tuple[float, float]
) -> dict[str, float | int]:
    left_over = mld_mm / rvd_mm
    return {
        "diameter_stenosis_pct": round(100 * (1 - left_over), 1),
        "area_stenosis_pct": round(100 * (1 - left_over**2), 1),
        "MLD_mm": round(mld_mm, 2),
        "interpolated_RVD_mm": round(rvd_mm, 2),
        "MLD_x_coord": round(place_px[0], 2),
        "MLD_y_coord": round(place_px[1], 2),
    }


def _extent(lesion: LesionTruth, contour: SegmentContour) -> dict[str, float | int]:
    ends_mm = np.array([lesion.start_mm, lesion.end_mm])
    proximal_mm, distal_mm = np.interp(ends_mm, contour.arc_mm, contour.reference_mm)
    return {
        "lesion_length_mm": round(lesion.length_mm, 2),
        "lesion_start_x_coord": round(lesion.start_px[0], 2),
        "lesion_start_y_coord": round(lesion.start_px[1], 2),
        "lesion_end_x_coord": round(lesion.end_px[0], 2),
        "lesion_end_y_coord": round(lesion.end_px[1], 2),
        "proximal_normal_diameter_mm": round(float(proximal_mm), 2),
        "distal_normal_diameter_mm": round(float(distal_mm), 2),
    }


def _listed(points: Points) -> list[list[float]]:
    rounded: list[list[float]] = np.round(points, 2).tolist()
    return rounded
