"""Diameter profile of a frame's own pixels, guided by a coarse mask.

A predicted mask may be made on a raster several pixels wide; it says which vessel is meant, not
where its borders are. Its centreline is kept as a guide, the frame is sampled along the
perpendiculars, and every row of samples is explained by a blurred round tube (see
:mod:`sam3_angio.qca.tube_model`). Dynamic programming picks the diameters and places that explain
all rows and change little from one to the next, so that a crossing branch, which explains a row
but leads nowhere, is passed by; what the tube then leaves unexplained counts less, and the fit is
repeated. At last, rows that one tube explains badly (crossings, parallel vessels) count less
against their neighbours.

Conventions
-----------
Vessels are darker than their background. Borders are half a diameter to both sides of the found
axis: sections are taken as round. Half a width at either end has no diameter: there the vessel
leaves its parent or forks, and no section shows it alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from sam3_angio.acquisition import PixelSpacing
from sam3_angio.errors import DataError
from sam3_angio.qca.centreline import Points, arc_length, normals, resample, smooth
from sam3_angio.qca.mask import profile_from_mask
from sam3_angio.qca.parts import one_vessel
from sam3_angio.qca.profile import DiameterProfile, profile_of_offsets, scale_of
from sam3_angio.qca.smooth_path import adapted, cheapest_path
from sam3_angio.qca.tube_model import Candidates, Darkness, background, candidates, misfit

FloatArray = NDArray[np.float64]

BLUR_MM = 0.2
"""Assumed blur of focal spot and detector, standard deviation at the object; the unit of sampling.

Not estimated from the frame; what another value does to the diameters is in ``docs/LOG.md``.
"""
DARKEST = 0.9
"""Part of the background that contrast takes at most; scatter and the display leave the rest."""
ROW_STEP, ACROSS_STEP, DIAMETER_STEP = 1.2, 0.5, 0.25
"""Sampling along and across the vessel and of diameters, in blurs: finer would see nothing more."""
DIRECTION_WIDTHS = 1.5
"""Length over which the guide's direction is taken, in typical widths."""
DARKNESS_TOLERANCE = 0.2
"""Relative deviation of a row's darkness from its neighbourhood's that is expected."""
DARKNESS_ROWS = 0.5
"""Weight of that expectation; 1 is that of an independent measurement in every row."""
NEIGHBOURHOOD_WIDTHS = 4.0
"""Length over which darkness is taken to be alike, in typical widths."""
WIDE = 40.0
"""Percentile of the coarse diameters from which on a row can tell its own darkness."""
MOST_STEPS = (12, 1)
"""Largest change from row to row, in steps of diameter and of place: the flank of a tight lesion
that is as long as the vessel is wide falls by 2.5 mm a mm."""
STIFFNESS = (0.03, 0.3)
"""Price of a squared step of diameter and of place, in log likelihood."""
BENDING = (0.35, 120.0)
"""Stiffness of the final profile against bending, relative to the typical row's precision: when
bends are looked for, and where there is none."""
NOISE = (0.006, 2.0)
"""Second difference of it, in millimetres, beyond which a bend may be a lesion's, and rows over
which it is averaged."""
ROUNDS = 3
DOUBT_ROWS = 2.0
"""Standard deviation of the Gaussian over rows in which one tube's misfit is averaged."""
END_WIDTHS = 0.5
"""Length at either end without a diameter, in typical widths."""
SHORT_PART = 6
"""An end takes at most this part of the rows: one in so many."""
CORRELATED = 2.5
"""Area that shares its noise, in squared blurs."""
_TINY = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Rows:
    """The frame along the perpendiculars of the guide.

    Attributes
    ----------
    line, normal : (N, 2) ndarray
        The guide in millimetres, and its unit normals.
    coarse_mm : (N,) ndarray
        Diameter of the mask.
    width_mm : float
        Typical one.
    grey, weight : (N, U) ndarray
        Grey values, and which of them are the vessel's or its background's.
    reach : tuple of int
        Steps to either side that the axis may be off, and that a row is long.
    diameter_mm : (D,) ndarray
        Diameters to try.
    """

    line: Points
    normal: Points
    coarse_mm: FloatArray
    width_mm: float
    grey: FloatArray
    weight: FloatArray
    reach: tuple[int, int]
    diameter_mm: FloatArray

    def tubes(self, opacity: float) -> Candidates:
        """Return the candidates for these rows."""
        return candidates(self.diameter_mm, self.reach, ACROSS_STEP * BLUR_MM, BLUR_MM, opacity)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Contrast:
    """What was learnt of the contrast: darkness by row, opacity (1/mm), variance of the noise."""

    darkness: FloatArray
    opacity: float
    variance: float


def profile_from_frame(
    frame: ArrayLike,
    mask: ArrayLike,
    spacing: PixelSpacing,
    *,
    start_px: tuple[float, float] | None = None,
) -> DiameterProfile:
    """Measure the diameter of the vessel that a mask points at, on the frame.

    Parameters
    ----------
    frame : (M, N) array_like
        Grey values; contrast is dark.
    mask : (M, N) array_like of bool
        Roughly the segment. Of several parts the largest is meant, with those that continue it.
    spacing : PixelSpacing
        Size of a pixel at the object.
    start_px : (x, y), optional
        A point near the proximal end. Without it the wider end comes first.

    Returns
    -------
    DiameterProfile
        Sampled every 1.2 blurs (:data:`BLUR_MM`).

    Raises
    ------
    DataError
        The spacing is unknown; frame and mask differ in size; the mask is empty, closes to a ring
        or is too short to have a direction; nothing dark lies under it.
    """
    picture, inside = np.asarray(frame, dtype=np.float64), np.asarray(mask) > 0
    scale_mm = scale_of(spacing)
    if picture.shape != inside.shape or picture.ndim != 2:
        raise DataError.at("mask", f"{inside.shape} pixels, the frame has {picture.shape}.")
    vessel, _ = one_vessel(inside, scale_mm)
    coarse = profile_from_mask(vessel, spacing, start_px=start_px)
    rows = _rows(picture, coarse, scale_mm)
    profile = _measured(rows, _contrast(rows), scale_mm, vessel.shape)
    return profile if start_px is not None else profile.tapering()


def _rows(picture: FloatArray, coarse: DiameterProfile, scale_mm: FloatArray) -> _Rows:
    seen = ~np.isnan(coarse.diameter_mm)
    width_mm = max(float(np.median(coarse.diameter_mm[seen])), 3 * BLUR_MM)
    step_mm = ROW_STEP * BLUR_MM
    line = resample(coarse.centreline_px * scale_mm, step_mm)
    normal = normals(line, max(5, round(DIRECTION_WIDTHS * width_mm / step_mm)))
    coarse_mm = np.interp(arc_length(line), coarse.arc_mm[seen], coarse.diameter_mm[seen])
    widest_mm = max(width_mm, float(np.percentile(coarse_mm, 90)))
    across_mm = ACROSS_STEP * BLUR_MM
    half = int(np.ceil((0.75 * widest_mm + 6 * BLUR_MM) / across_mm))
    aside = int(np.ceil(max(2.5 * BLUR_MM, 0.25 * width_mm) / across_mm))
    place = across_mm * np.arange(-half, half + 1)
    points = (line[:, None] + place[None, :, None] * normal[:, None]) / scale_mm
    grey = ndimage.map_coordinates(picture, [points[..., 1], points[..., 0]], mode="nearest")
    # Beyond a few blurs outside the vessel other things begin; the weight falls off softly.
    edge_mm = np.maximum(coarse_mm, width_mm) / 2 + 4 * BLUR_MM
    beyond = (np.abs(place)[None] - edge_mm[:, None]) / (0.5 * BLUR_MM)
    largest_mm = min(1.5 * widest_mm + 2 * BLUR_MM, 2 * half * across_mm - 4 * BLUR_MM)
    return _Rows(
        line=line,
        normal=normal,
        coarse_mm=coarse_mm,
        width_mm=width_mm,
        grey=np.asarray(grey, dtype=np.float64),
        weight=1 / (1 + np.exp(np.clip(beyond, -50, 50))),
        reach=(aside, half),
        diameter_mm=_steps(largest_mm),
    )


def _steps(largest_mm: float) -> FloatArray:
    step_mm = DIAMETER_STEP * BLUR_MM
    return np.asarray(step_mm * np.arange(1, largest_mm / step_mm), dtype=np.float64)


def _contrast(rows: _Rows) -> _Contrast:
    """Learn how dark contrast is, from the wide part of the vessel."""
    wide = np.flatnonzero(rows.coarse_mm >= np.percentile(rows.coarse_mm, WIDE))
    opacity = 0.0
    for _ in range(ROUNDS):
        tubes = rows.tubes(opacity)
        share, diameter, ground, variance = _freely(rows, tubes)
        own = share[wide]
        own = own[(own > 0) & (diameter[wide] > 0.6 * np.median(diameter[wide]))]
        if not own.size:
            raise DataError.at(
                "frame",
                "nothing under the mask is darker than what lies beside it.",
                "Check that mask and frame belong together and that contrast is dark.",
            )
        typical = float(np.median(own))
        opacity = typical / DARKEST
    arc = arc_length(rows.line)
    far = np.abs(arc[:, None] - arc[None, wide]) / (NEIGHBOURHOOD_WIDTHS * rows.width_mm)
    usual = (share[wide] > 0.6 * typical) & (share[wide] < 1.6 * typical)
    weight = np.exp(-far) * (usual * diameter[wide])
    local = (weight @ share[wide] + _TINY * typical) / (weight.sum(axis=1) + _TINY)
    local = np.clip(local, 0.75 * typical, 1.33 * typical)
    return _Contrast(darkness=local * ground, opacity=opacity, variance=variance)


def _freely(rows: _Rows, tubes: Candidates) -> tuple[FloatArray, FloatArray, FloatArray, float]:
    """Fit each row alone.

    Returns
    -------
    tuple
        By row, darkness a millimetre relative to the background, diameter, and background; and
        the variance of the noise.
    """
    count = np.arange(len(rows.grey))
    nothing = np.zeros(len(count))
    squares, found = misfit(
        rows.grey, rows.weight, tubes, Darkness(expected=nothing, trust=nothing)
    )
    best = squares.argmin(axis=1)
    shade = found[count, best][:, None] * tubes.shadow_mm[best]
    behind = background(rows.grey, rows.weight, tubes.across_mm, shade)
    ground = np.average(behind, axis=1, weights=rows.weight)
    ground = np.maximum(ndimage.median_filter(ground, 9, mode="nearest"), 1.0)
    variance = float(np.median(squares[count, best] / rows.weight.sum(axis=1)))
    diameter = tubes.diameter_mm[best // tubes.shape[1]]
    return found[count, best] / ground, diameter, ground, max(variance, _TINY)


def _measured(
    rows: _Rows, contrast: _Contrast, scale_mm: FloatArray, shape: tuple[int, ...]
) -> DiameterProfile:
    """Find the tube of every row, all together."""
    tubes = rows.tubes(contrast.opacity)
    cost, path = _explained(rows, tubes, contrast)
    diameter = _refined(cost, path, tubes)
    window = max(5, round(rows.width_mm / (ROW_STEP * BLUR_MM)))
    offset = smooth(tubes.offset_mm[path[:, 1]], window)
    centre = rows.line + offset[:, None] * rows.normal
    ends = round(END_WIDTHS * rows.width_mm / (ROW_STEP * BLUR_MM))
    ends = max(1, min(ends, len(diameter) // SHORT_PART))
    diameter[:ends] = diameter[-ends:] = np.nan
    left, right = diameter / 2, -diameter / 2
    for border in (left, right):
        pixels = (centre + border[:, None] * rows.normal) / scale_mm
        outside = ((pixels < 0) | (pixels > np.array(shape)[::-1] - 1)).any(axis=1)
        border[outside] = np.nan
    return profile_of_offsets(centre, rows.normal, left, right, scale_mm)


def _explained(
    rows: _Rows, tubes: Candidates, contrast: _Contrast
) -> tuple[FloatArray, NDArray[np.intp]]:
    """Return the costs of all candidates (N, D, E), and the path through them (N, 2)."""
    weight, count = rows.weight, np.arange(len(rows.grey))
    # Samples are nearer to each other than the noise's grain: together they count for fewer.
    share = ACROSS_STEP * ROW_STEP / CORRELATED
    variance = contrast.variance
    for last in (False, False, True):
        trust = variance / (share * DARKNESS_ROWS * (DARKNESS_TOLERANCE * contrast.darkness) ** 2)
        expected = Darkness(expected=contrast.darkness, trust=trust)
        squares, found = misfit(rows.grey, weight, tubes, expected)
        cost = (squares * share / (2 * variance)).reshape(-1, *tubes.shape)
        path = cheapest_path(cost, MOST_STEPS, STIFFNESS)
        if not last:
            best = path[:, 0] * tubes.shape[1] + path[:, 1]
            shade = found[count, best][:, None] * tubes.shadow_mm[best]
            behind = background(rows.grey, weight, tubes.across_mm, shade)
            residual = rows.grey - (behind - shade)
            scatter = max(1.4826 * np.median(np.abs(residual[rows.weight > 0.5])), _TINY)
            variance = float(scatter**2)
            weight = rows.weight * _credible(residual / scatter)
    cost = cost / _doubt(residual, rows.weight, variance)[:, None, None]
    return cost, cheapest_path(cost, MOST_STEPS, STIFFNESS)


def _doubt(residual: FloatArray, weight: FloatArray, variance: float) -> FloatArray:
    """Return by how much each row's noise exceeds the frame's, 1 where it does not.

    Where another vessel crosses or runs alongside, one tube leaves more than noise, and what the
    row says of the diameter is worth that much less.
    """
    own = np.sum(weight * residual**2, axis=1) / (variance * weight.sum(axis=1))
    return np.maximum(ndimage.gaussian_filter1d(own, DOUBT_ROWS), 1.0)


def _credible(residual: FloatArray) -> FloatArray:
    """Return weights that fall off where neighbours across the vessel agree in being odd."""
    odd = ndimage.gaussian_filter(residual, (1.0, 1 / ACROSS_STEP)) / 1.5
    return np.clip((1 + odd**2) ** -2.0, 0.02, 1.0)


def _refined(cost: FloatArray, path: NDArray[np.intp], tubes: Candidates) -> FloatArray:
    """Return diameters between the candidates, smoothed by how sharply each row tells them.

    A lesion is smoothed less than a healthy stretch, see :func:`adapted`.
    """
    step_mm = DIAMETER_STEP * BLUR_MM
    row, offset = np.arange(len(path)), path[:, 1]
    index = np.clip(path[:, 0], 1, len(tubes.diameter_mm) - 2)
    below, here, above = (cost[row, index + by, offset] for by in (-1, 0, 1))
    curvature = np.maximum(below - 2 * here + above, 1e-3)
    shift = np.clip((below - above) / (2 * curvature), -1, 1)
    diameter = tubes.diameter_mm[index] + step_mm * shift
    precision = curvature / DIAMETER_STEP**2
    # relative, so that noise and contrast do not decide what length of vessel is smoothed over
    profile = adapted(diameter, precision / np.median(precision), BENDING, NOISE)
    return np.maximum(_unblurred(profile), 0.3 * BLUR_MM)


def _unblurred(profile: FloatArray) -> FloatArray:
    """Take off what the blur along the vessel fills of a narrowing: σ²/2 of its second derivative.

    The tubes that rows are compared with are blurred across alone.
    """
    bend = np.pad(np.diff(profile, 2), 1)
    return np.asarray(profile - bend / (2 * ROW_STEP**2))
