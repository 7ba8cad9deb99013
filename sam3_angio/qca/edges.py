"""Diameter profile of two borders, as an expert's contour gives them.

Conventions
-----------
The borders are taken as drawn: nothing is smoothed but the direction of the centreline. They may
have different numbers of points and run in opposite directions. Each is continued straight by
half a width at its ends, since a perpendicular at the end of the centreline may just miss it.
Where the borders change sides, or a given centreline is more than a width away from their middle,
there is no diameter.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sam3_angio.acquisition import PixelSpacing
from sam3_angio.errors import DataError, Fault
from sam3_angio.qca.borders import polyline_border, polylines_cross
from sam3_angio.qca.centreline import Points, arc_length, normals, resample, smooth
from sam3_angio.qca.profile import DiameterProfile, profile_of_offsets, scale_of

SAMPLES_PER_WIDTH = 10
"""Density of a centreline that had to be made."""
DIRECTION_WIDTHS = 1.0
"""Length over which the centreline's direction is taken, in typical widths."""
RECENTRINGS = 3
"""Times that a made centreline is moved to the middle between the borders."""
ROUNDING_MM = 1e-9


def profile_from_edges(
    left_px: ArrayLike,
    right_px: ArrayLike,
    spacing: PixelSpacing,
    *,
    centreline_px: ArrayLike | None = None,
) -> DiameterProfile:
    """Measure the diameter between two borders.

    Parameters
    ----------
    left_px, right_px : (K, 2) array_like
        Borders, ``(x, y)``; which is called left does not change a diameter.
    spacing : PixelSpacing
        Size of a pixel at the object. A spacing of 1 gives pixels in place of millimetres.
    centreline_px : (N, 2) array_like, optional
        Points to measure at, proximal first. Without it, the line midway between the borders is
        made, in the direction of the left border.

    Returns
    -------
    DiameterProfile
        At the points of `centreline_px`, where given: its indices are those of the file.

    Raises
    ------
    DataError
        The spacing is unknown; a line has fewer than 3 different points, or points that are not
        finite pairs; the borders cross each other.
    """
    scale_mm = scale_of(spacing)
    lines = {"left_edge": left_px, "right_edge": right_px}
    if centreline_px is not None:
        lines["centerline"] = centreline_px
    points = {name: line * scale_mm for name, line in _checked(lines).items()}
    left, right = _paired(points["left_edge"], points["right_edge"])
    width_mm = _typical_width_mm(left, right)
    longer_left, longer_right = (_continued(edge, width_mm / 2) for edge in (left, right))
    centre = points.get("centerline")
    if centre is None:
        centre = _midline(left, right, width_mm)
        for _ in range(RECENTRINGS):
            centre = _recentred(centre, longer_left, longer_right, width_mm)
    normal = _normals_at(centre, width_mm)
    left_mm, right_mm = (
        polyline_border(edge, centre, normal) for edge in (longer_left, longer_right)
    )
    if np.sum(left_mm < right_mm) > np.sum(left_mm > right_mm):
        left_mm, right_mm = right_mm, left_mm
    crossed = right_mm > left_mm + ROUNDING_MM
    elsewhere = np.abs(left_mm + right_mm) / 2 > width_mm
    right_mm = np.where(crossed | elsewhere, np.nan, np.minimum(left_mm, right_mm))
    return profile_of_offsets(centre, normal, left_mm, right_mm, scale_mm)


def reference_from_edges(
    profile: DiameterProfile,
    ideal_left_px: ArrayLike,
    ideal_right_px: ArrayLike,
    spacing: PixelSpacing,
) -> NDArray[np.float64]:
    """Return the reference diameters that an expert's ideal (healthy) borders give a profile.

    Parameters
    ----------
    profile : DiameterProfile
        Of the same segment.
    ideal_left_px, ideal_right_px : (K, 2) array_like
        Borders of the vessel as it would be without lesions.
    spacing : PixelSpacing

    Returns
    -------
    (N,) ndarray
        Millimetres at each sample of the profile; beyond the borders' ends, the nearest one.

    Raises
    ------
    DataError
        As in :func:`profile_from_edges`.
    """
    healthy = profile_from_edges(
        ideal_left_px, ideal_right_px, spacing, centreline_px=profile.centreline_px
    ).diameter_mm
    seen = ~np.isnan(healthy)
    return np.asarray(np.interp(profile.arc_mm, profile.arc_mm[seen], healthy[seen]))


def _checked(lines: dict[str, ArrayLike]) -> dict[str, Points]:
    """Return the lines as arrays, or refuse them with every fault."""
    points = {name: np.asarray(line, dtype=np.float64) for name, line in lines.items()}
    faults = [
        Fault(file="contour", field=name, message=message)
        for name, line in points.items()
        if (message := _fault_of(line))
    ]
    if not faults and polylines_cross(points["left_edge"], points["right_edge"]):
        faults.append(
            Fault(
                file="contour",
                field="left_edge, right_edge",
                message="the borders cross each other.",
                fix="Check that both belong to the same segment and frame.",
            )
        )
    if faults:
        raise DataError("The contour cannot be measured.", faults)
    return points


def _fault_of(line: Points) -> str:
    if line.ndim != 2 or line.shape[1] != 2:
        return f"it has the shape {line.shape}; a list of [x, y] is expected."
    if not np.isfinite(line).all():
        return "it has points that are not finite numbers."
    if len(np.unique(line, axis=0)) < 3:
        return "it has fewer than 3 different points."
    return ""


def _paired(left: Points, right: Points) -> tuple[Points, Points]:
    """Return the borders running in the left one's direction."""
    same = np.linalg.norm(left[[0, -1]] - right[[0, -1]], axis=1).sum()
    opposite = np.linalg.norm(left[[0, -1]] - right[[-1, 0]], axis=1).sum()
    return left, right[::-1] if opposite < same else right


def _midline(left: Points, right: Points, width_mm: float) -> Points:
    """Return the points midway between equal fractions of both borders."""
    step = width_mm / SAMPLES_PER_WIDTH
    count = max(5, round(max(arc_length(left)[-1], arc_length(right)[-1]) / step))
    return resample((_at_fractions(left, count) + _at_fractions(right, count)) / 2, step)


def _at_fractions(line: Points, count: int) -> Points:
    arc = arc_length(line)
    wanted = np.linspace(0.0, arc[-1], count)
    return np.column_stack([np.interp(wanted, arc, line[:, axis]) for axis in (0, 1)])


def _typical_width_mm(left: Points, right: Points) -> float:
    pairs = _at_fractions(left, 50) - _at_fractions(right, 50)
    width_mm = float(np.median(np.linalg.norm(pairs, axis=1)))
    if width_mm == 0:
        raise DataError.at("contour", "the borders coincide.", field="left_edge, right_edge")
    return width_mm


def _continued(edge: Points, length_mm: float) -> Points:
    """Continue both ends of a polyline straight, in the direction of their last `length_mm`."""
    arc = arc_length(edge)
    ends = []
    for end, inner_arc in ((0, min(length_mm, arc[-1])), (-1, max(arc[-1] - length_mm, 0.0))):
        inner = np.array([np.interp(inner_arc, arc, edge[:, axis]) for axis in (0, 1)])
        away = edge[end] - inner
        ends.append(edge[end] + away * length_mm / max(float(np.linalg.norm(away)), ROUNDING_MM))
    return np.concatenate([ends[0][None], edge, ends[1][None]])


def _normals_at(centre: Points, width_mm: float) -> Points:
    """Return unit normals at a centreline's own, perhaps unequally spaced, points."""
    even = resample(centre, width_mm / SAMPLES_PER_WIDTH)
    normal = normals(even, round(DIRECTION_WIDTHS * SAMPLES_PER_WIDTH))
    arc, wanted = arc_length(even), arc_length(centre)
    wanted *= arc[-1] / wanted[-1]
    at = np.column_stack([np.interp(wanted, arc, normal[:, axis]) for axis in (0, 1)])
    return np.asarray(at / np.linalg.norm(at, axis=1, keepdims=True))


def _recentred(centre: Points, left: Points, right: Points, width_mm: float) -> Points:
    """Move a line to the middle between the borders."""
    normal = _normals_at(centre, width_mm)
    offsets = polyline_border(left, centre, normal) + polyline_border(right, centre, normal)
    middle = centre + offsets[:, None] / 2 * normal
    middle = middle[~np.isnan(offsets)]
    if len(middle) < 5:
        return centre
    even = resample(middle, width_mm / SAMPLES_PER_WIDTH)
    return smooth(even, round(DIRECTION_WIDTHS * SAMPLES_PER_WIDTH))
