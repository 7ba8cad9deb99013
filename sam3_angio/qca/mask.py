"""Diameter profile of a mask or of a map of lumen probability.

Conventions
-----------
The border is the level ½, interpolated linearly. What the pixels leave on it, a mask's staircase or
the far smaller ripple of a probability map, is taken off by smoothing width and middle along the
vessel, so that a width is not a whole number of pixels; where they bend by more than pixels make
them, they are smoothed less, so that a lesion no longer than the vessel is wide keeps its depth.

A mask must show one vessel: empty, in several parts, closed to a ring or shorter than twice its
width it is refused. A rounded or slanting end has no side walls; the centreline runs to its tip,
but the diameter is NaN there; so it is where two pixels of a mask touch by a corner alone, and the
line between them is outside.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from sam3_angio.acquisition import PixelSpacing
from sam3_angio.errors import DataError
from sam3_angio.qca.borders import LEVEL, LumenField, field_border
from sam3_angio.qca.centreline import Points, normals, resample, smooth, trace_mask
from sam3_angio.qca.profile import DiameterProfile, profile_of_offsets, scale_of
from sam3_angio.qca.smooth_path import adapted

STIFFNESS = 1000.0
"""Price of a squared second difference of width or middle, against a squared error."""
FIRST_STIFFNESS = {"mask": 30.0, "map": 1.0}
"""The same while bends are looked for."""
RIPPLE = {"mask": 0.012, "map": 0.003}
"""Second difference, in pixels, that a staircase may have, and linear interpolation."""
RIPPLE_SAMPLES = 4.0
"""Samples over which it is averaged."""
UNSEEN = 1e-6
"""Precision of a width between places that have one, where the line just misses the mask."""
CENTRE_DIAMETERS = 1.5
"""Length over which the centreline is smoothed, in typical widths."""
RECENTRINGS = 2
"""Times that the centreline is moved to the middle between the borders."""
CAP_NARROWING = 0.85
"""An end that is narrower than this part of the vessel half a width inside is round or slanting."""


def profile_from_mask(
    mask: ArrayLike,
    spacing: PixelSpacing,
    *,
    start_px: tuple[float, float] | None = None,
) -> DiameterProfile:
    """Measure the diameter along the one vessel segment of a mask.

    Parameters
    ----------
    mask : (M, N) array_like
        Mask (bool, or integers 0 and one other value), or probability of lumen in 0…1.
    spacing : PixelSpacing
        Size of a pixel at the object. A spacing of 1 gives pixels in place of millimetres.
    start_px : (x, y), optional
        A point near the proximal end. Without it the wider end comes first.

    Returns
    -------
    DiameterProfile
        Sampled every half pixel.

    Raises
    ------
    DataError
        The spacing is unknown; the values are neither a mask nor probabilities; there is no
        vessel, there are several, it closes to a ring, or it is too short to have a direction.
    """
    scale_mm = scale_of(spacing)
    field = LumenField(probability=_one_vessel(_as_probability(mask)), scale_mm=scale_mm)
    trace, width_mm = trace_mask(field.probability >= LEVEL, scale_mm)
    line = _to_the_tips(field, _smoothed_line(field, trace, width_mm), width_mm)
    for _ in range(RECENTRINGS):
        line = _recentred(field, line, width_mm)
    normal = normals(line, _samples(field, CENTRE_DIAMETERS * width_mm))
    left, right = _side_walls(field, line, normal, width_mm)
    profile = profile_of_offsets(line, normal, left, right, scale_mm)
    return profile.tapering() if start_px is None else profile.starting_near(start_px)


def _as_probability(mask: ArrayLike) -> NDArray[np.float64]:
    """Return an image of 0…1, or refuse it."""
    values = np.asarray(mask)
    if values.ndim != 2:
        raise DataError.at("mask", f"it has {values.ndim} axes; a mask has rows and columns.")
    if values.dtype == np.bool_ or np.issubdtype(values.dtype, np.integer):
        levels = np.unique(values)
        if len(levels) > 2 or (len(levels) == 2 and levels[0] != 0):
            raise DataError.at(
                "mask",
                f"it has {len(levels)} different whole numbers; a mask has 0 and one other value.",
                "Give a mask, or probabilities as floating-point numbers in 0…1.",
            )
        return np.asarray(values != 0, dtype=np.float64)
    probability = np.asarray(values, dtype=np.float64)
    if not np.all((probability >= 0) & (probability <= 1)):
        raise DataError.at("mask", "it has probabilities outside 0…1, or NaN.")
    return probability


def _one_vessel(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Refuse what has not one centreline; close holes that are smaller than the vessel is wide."""
    inside = probability >= LEVEL
    _, parts = ndimage.label(inside, structure=np.ones((3, 3)))
    if parts != 1:
        raise DataError.at(
            "mask",
            "it is empty." if parts == 0 else f"it has {parts} separate parts; one is expected.",
            "Give the mask of one segment; of a prediction, the part that is meant.",
        )
    holes, count = ndimage.label(ndimage.binary_fill_holes(inside) & ~inside)
    if count == 0:
        return probability
    radius_px = ndimage.distance_transform_edt(np.pad(inside, 1)).max()
    if np.bincount(holes.ravel())[1:].max() > radius_px**2:
        raise DataError.at(
            "mask",
            "it encloses a hole wider than a wall fault: a ring has no single centreline.",
            "Give the mask of one segment without side branches that join it twice.",
        )
    return np.where(holes > 0, 1.0, probability)


def _samples(field: LumenField, length_mm: float) -> int:
    return max(5, round(length_mm / field.step_mm))


def _smoothed_line(field: LumenField, line: Points, width_mm: float) -> Points:
    equal = resample(line, field.step_mm)
    return smooth(equal, _samples(field, CENTRE_DIAMETERS * width_mm))


def _recentred(field: LumenField, line: Points, width_mm: float) -> Points:
    """Move a line to the middle between the side walls, and continue it to both tips."""
    normal = normals(line, _samples(field, CENTRE_DIAMETERS * width_mm))
    left, right = _side_walls(field, line, normal, width_mm)
    middle = line + ((left + right) / 2)[:, None] * normal
    seen = middle[~np.isnan(middle[:, 0])]
    if len(seen) < 5:
        return line
    return _to_the_tips(field, _smoothed_line(field, seen, width_mm), width_mm)


def _to_the_tips(field: LumenField, line: Points, width_mm: float) -> Points:
    """Continue both ends straight to where the vessel ends, and sample equally."""
    start = _tip(field, line[::-1], width_mm)
    end = _tip(field, line, width_mm)
    return resample(np.concatenate([start, line, end]), field.step_mm)


def _tip(field: LumenField, line: Points, width_mm: float) -> Points:
    """Return the point where a line's straight continuation leaves the vessel, shape (0 or 1, 2).

    The direction is that of the line's last half width.
    """
    back = min(len(line) - 1, _samples(field, width_mm / 2))
    direction = line[-1] - line[-1 - back]
    direction /= np.linalg.norm(direction)
    way = field_border(field, line[-1:], direction[None], 3 * width_mm)
    return line[-1:] + way[:, None] * direction if np.all(way > 0) else np.empty((0, 2))


def _side_walls(
    field: LumenField, line: Points, normal: Points, width_mm: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the signed distances of both side walls, NaN in the caps of the ends."""
    reach_mm = 2 * width_mm + 4 * field.step_mm
    left, right = (field_border(field, line, side * normal, reach_mm) for side in (1, -1))
    width, middle = left + right, (left - right) / 2
    width[~_between_caps(width, width_mm / field.step_mm)] = np.nan
    seen = ~np.isnan(width)
    width, middle = (_without_ripple(values, seen, field) for values in (width, middle))
    return middle + width / 2, middle - width / 2


def _without_ripple(
    values: NDArray[np.float64], seen: NDArray[np.bool_], field: LumenField
) -> NDArray[np.float64]:
    """Take what the pixels leave off values along a line; NaN where they are not seen."""
    places = np.flatnonzero(seen)
    if not places.size:
        return values
    span = slice(places[0], places[-1] + 1)
    filled = np.interp(np.arange(len(values))[span], places, values[places])
    precision = np.where(seen[span], 1.0, UNSEEN)
    result = np.full(len(values), np.nan)
    kind = "mask" if field.is_mask else "map"
    noise = (RIPPLE[kind] * 2 * field.step_mm, RIPPLE_SAMPLES)
    result[span] = adapted(filled, precision, (FIRST_STIFFNESS[kind], STIFFNESS), noise)
    return np.where(seen, result, np.nan)


def _between_caps(width: NDArray[np.float64], typical_samples: float) -> NDArray[np.bool_]:
    """Tell where the widths along a line are not those of an end's cap.

    Parameters
    ----------
    width : (N,) ndarray
        From tip to tip, in any unit.
    typical_samples : float
        Typical width in samples of the line.
    """
    first, last = (_cap_samples(way, typical_samples) for way in (width, width[::-1]))
    place = np.arange(len(width))
    return (place >= first) & (place < len(width) - last)


def _cap_samples(width: NDArray[np.float64], typical_samples: float) -> int:
    """Return how many samples from the tip belong to the cap.

    A tenth of the width behind its tip a round end has 0.6 of the width, a square one all of it.
    """
    half = min(max(2, round(typical_samples / 2)), len(width) // 4)
    near = min(max(2, round(typical_samples / 10)), half)
    inner = width[half : 2 * half + 1]
    round_end = not width[near] >= CAP_NARROWING * np.max(inner, initial=0.0)
    return half if round_end else near
