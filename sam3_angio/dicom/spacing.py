"""Size of a pixel at the object.

The order of trust: calibration on the catheter, from the contour file; detector spacing scaled by
SOD/SID; detector spacing divided by the estimated magnification; detector spacing as it is. See
PS3.3 C.8.7.3 and 10.7.1.3: Imager Pixel Spacing is at the detector and not corrected.
"""

from __future__ import annotations

import math

from sam3_angio.acquisition import PixelSpacing
from sam3_angio.dicom.header import Geometry

#: Calibration and geometry that differ by more than this contradict each other.
MAX_DISAGREEMENT = 0.25


def object_spacing(geometry: Geometry, calibration_px_per_mm: float | None) -> PixelSpacing:
    """Return the best known size of a pixel at the object.

    Parameters
    ----------
    geometry : Geometry
        Of the run.
    calibration_px_per_mm : float or None
        Catheter calibration of the frame.

    Examples
    --------
    >>> geometry = Geometry(primary_deg=0, secondary_deg=0, primary_increments_deg=(),
    ...     secondary_increments_deg=(), detector_spacing_mm=(0.3, 0.3), sid_mm=1000, sod_mm=750,
    ...     magnification=math.nan)
    >>> object_spacing(geometry, None)
    PixelSpacing(row_mm=0.225, column_mm=0.225, source='sod_sid')
    """
    if calibration_px_per_mm is not None:
        size_mm = 1 / calibration_px_per_mm
        return PixelSpacing(row_mm=size_mm, column_mm=size_mm, source="calibration")
    return geometric_spacing(geometry)


def geometric_spacing(geometry: Geometry) -> PixelSpacing:
    """Return the size of a pixel at the object that the header gives."""
    if geometry.detector_spacing_mm is None:
        return PixelSpacing(row_mm=math.nan, column_mm=math.nan, source="none")
    row_mm, column_mm = geometry.detector_spacing_mm
    scale = geometry.sod_mm / geometry.sid_mm
    if not math.isnan(scale):
        return PixelSpacing(row_mm=row_mm * scale, column_mm=column_mm * scale, source="sod_sid")
    scale = 1 / geometry.magnification
    if not math.isnan(scale):
        scaled = row_mm * scale, column_mm * scale
        return PixelSpacing(row_mm=scaled[0], column_mm=scaled[1], source="magnification")
    return PixelSpacing(row_mm=row_mm, column_mm=column_mm, source="detector")


def contradicts(geometry: Geometry, calibration_px_per_mm: float | None) -> bool:
    """Whether calibration and SOD/SID or magnification differ by more than a quarter."""
    by_geometry = geometric_spacing(geometry)
    if calibration_px_per_mm is None or by_geometry.source not in ("sod_sid", "magnification"):
        return False
    ratio = by_geometry.row_mm * calibration_px_per_mm
    return not 1 - MAX_DISAGREEMENT <= ratio <= 1 + MAX_DISAGREEMENT
