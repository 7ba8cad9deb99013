"""Where along a vessel something lies: places on the centreline that a frame's references share.

Conventions
-----------
Points are ``(x, y)`` in frame pixels; places are millimetres along the line as the frame shows it,
foreshortened, from its proximal end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam3_angio.acquisition import PixelSpacing
from sam3_angio.errors import DataError
from sam3_angio.qca import DiameterProfile, QcaResult, measure
from sam3_angio.qca.centreline import arc_length
from sam3_angio.qca.profile import MIN_DIAMETERS, scale_of

Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Course:
    """The line along a segment.

    Attributes
    ----------
    points_px : (N, 2) ndarray
        At least two, proximal first.
    spacing : PixelSpacing
        Of the frame.
    """

    points_px: NDArray[np.float64]
    spacing: PixelSpacing

    def place_mm(self, point_px: Point) -> float:
        """Return how far along the line its point nearest to a given one is; NaN for NaN."""
        scale_mm = scale_of(self.spacing)
        line, point = self.points_px * scale_mm, np.asarray(point_px) * scale_mm
        start, along = line[:-1], np.diff(line, axis=0)
        squared = np.maximum(np.sum(along**2, axis=1), np.finfo(np.float64).tiny)
        part = np.clip(np.sum((point - start) * along, axis=1) / squared, 0.0, 1.0)
        away = np.linalg.norm(start + part[:, None] * along - point, axis=1)
        if np.isnan(away).any():
            return float("nan")
        nearest = int(np.argmin(away))
        arc_mm = arc_length(line)
        return float(arc_mm[nearest] + part[nearest] * (arc_mm[nearest + 1] - arc_mm[nearest]))


def measured_along(
    course: Course, diameter_mm: NDArray[np.float64], reference_mm: NDArray[np.float64]
) -> QcaResult | None:
    """Measure known diameters by the definitions that hold for a measured profile.

    Parameters
    ----------
    course : Course
    diameter_mm, reference_mm : (N,) ndarray
        At its points.

    Returns
    -------
    QcaResult or None
        None where there are too few.
    """
    if len(diameter_mm) < MIN_DIAMETERS:
        return None
    unseen = np.full_like(course.points_px, np.nan)
    profile = DiameterProfile(
        arc_mm=arc_length(course.points_px * scale_of(course.spacing)),
        diameter_mm=diameter_mm,
        centreline_px=course.points_px,
        left_px=unseen,
        right_px=unseen,
    )
    try:
        return measure(profile, reference_mm)
    except DataError:
        return None
