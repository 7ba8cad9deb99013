"""The diameter of a vessel along its length.

Definition: DICOM PS3.17 Annex T; the width of the lumen perpendicular to the centreline, against
arc length, in millimetres at the object.

Conventions
-----------
Points are ``(x, y)`` in frame pixels, (0, 0) the centre of the first pixel. The proximal end comes
first. A diameter is NaN where no side wall is seen, never guessed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam3_angio.acquisition import PixelSpacing
from sam3_angio.errors import DataError
from sam3_angio.qca.centreline import Points, arc_length

MAX_MISSING = 0.5
"""Part of the places that may lack a diameter."""
MIN_DIAMETERS = 5
"""Diameters without which there is no profile."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DiameterProfile:
    """Lumen diameter along a segment, proximal end first.

    Attributes
    ----------
    arc_mm : (N,) ndarray
        Distance along the centreline from its first point.
    diameter_mm : (N,) ndarray
        NaN where a side wall is missing: in a rounded or slanting end, at the frame's edge.
    centreline_px, left_px, right_px : (N, 2) ndarray
        ``(x, y)`` in pixels; left as seen on the screen looking along the vessel. The borders are
        NaN where the diameter is.
    """

    arc_mm: NDArray[np.float64]
    diameter_mm: NDArray[np.float64]
    centreline_px: NDArray[np.float64]
    left_px: NDArray[np.float64]
    right_px: NDArray[np.float64]

    def reversed(self) -> DiameterProfile:
        """Return the same segment from its other end."""
        return DiameterProfile(
            arc_mm=self.arc_mm[-1] - self.arc_mm[::-1],
            diameter_mm=self.diameter_mm[::-1],
            centreline_px=self.centreline_px[::-1],
            left_px=self.right_px[::-1],
            right_px=self.left_px[::-1],
        )

    def starting_near(self, start_px: tuple[float, float]) -> DiameterProfile:
        """Return the profile with that end first that lies nearer to a point."""
        first, last = np.linalg.norm(self.centreline_px[[0, -1]] - np.asarray(start_px), axis=1)
        return self.reversed() if last < first else self

    def tapering(self) -> DiameterProfile:
        """Return the profile with its wider end first, as arteries run.

        The ends are compared by the upper quartiles of the profile's halves, which a narrowing in
        one of them does not move.
        """
        seen = self.diameter_mm[~np.isnan(self.diameter_mm)]
        first, last = (np.percentile(part, 75) for part in np.array_split(seen, 2))
        return self.reversed() if last > first else self


def scale_of(spacing: PixelSpacing) -> NDArray[np.float64]:
    """Return column and row spacing: what turns ``(x, y)`` from pixels to millimetres.

    Raises
    ------
    DataError
        A spacing is unknown, zero, negative or infinite.
    """
    scale_mm = np.array([spacing.column_mm, spacing.row_mm], dtype=np.float64)
    if not (np.all(np.isfinite(scale_mm)) and np.all(scale_mm > 0)):
        raise DataError.at(
            "spacing",
            "the pixel spacing is unknown or not positive; diameters in mm need it.",
            "Take it from the run's header or a calibration, or measure in pixels with spacing 1.",
            field="row_mm, column_mm",
        )
    return scale_mm


def profile_of_offsets(
    centre_mm: Points,
    normal: Points,
    left_mm: NDArray[np.float64],
    right_mm: NDArray[np.float64],
    scale_mm: NDArray[np.float64],
) -> DiameterProfile:
    """Make a profile of a centreline and its borders' signed distances along the normals.

    Parameters
    ----------
    centre_mm, normal : (N, 2) ndarray
        Points in millimetres and unit normals to the left.
    left_mm, right_mm : (N,) ndarray
        Distance along the normal; a right border usually has a negative one.
    scale_mm : (2,) ndarray
        Column and row spacing.

    Raises
    ------
    DataError
        Most places lack a border: what few diameters there are would not be those of a vessel.
    """
    missing = np.isnan(left_mm) | np.isnan(right_mm)
    if missing.mean() > MAX_MISSING or np.sum(~missing) < MIN_DIAMETERS:
        raise DataError.at(
            "vessel",
            f"{missing.sum()} of {missing.size} places lack a border on one side or both.",
            "Check that mask or borders show one segment, seen from its side.",
        )
    left, right = (np.where(missing, np.nan, offset) for offset in (left_mm, right_mm))
    return DiameterProfile(
        arc_mm=arc_length(centre_mm),
        diameter_mm=left - right,
        centreline_px=centre_mm / scale_mm,
        left_px=(centre_mm + left[:, None] * normal) / scale_mm,
        right_px=(centre_mm + right[:, None] * normal) / scale_mm,
    )
