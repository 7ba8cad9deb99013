"""What a tube of contrast looks like across, and how well it explains rows of pixels.

A round lumen of diameter D attenuates by the chord that a ray has in it; the system blurs; the
background under it is a straight line. Where a lumen is wider than the blur its borders alone give
D. Where it is narrower, its borders are those of the blur, and only its darkness tells D: so the
darkness that a millimetre of contrast has is learnt where the vessel is wide, and expected, within
a tolerance, where it is narrow.

Conventions
-----------
Millimetres at the object. A row is a line of pixels across the vessel; positions are the same in
all rows, equally spaced, their middle on the coarse centreline. A candidate is a pair of diameter
and offset from the middle; (N, K) arrays are by row and candidate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

FloatArray = NDArray[np.float64]

FINER = 8
"""Samples of the chord to one of a row, so that lumina narrower than a sample keep their area."""
BLUR_REACH = 4
"""Standard deviations of the blur that are drawn."""
_TINY = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidates:
    """The tubes that are tried.

    Attributes
    ----------
    diameter_mm : (D,) ndarray
    offset_mm, across_mm : (E,), (U,) ndarray
        Places of the tube's axis, and of a row's pixels; both symmetrical, with the same step.
    shadow_mm : (D · E, U) ndarray
        Length of contrast that each pixel sees, shortened where contrast is nearly opaque.
    """

    diameter_mm: FloatArray
    offset_mm: FloatArray
    across_mm: FloatArray
    shadow_mm: FloatArray

    @property
    def shape(self) -> tuple[int, int]:
        """Number of diameters and of offsets."""
        return len(self.diameter_mm), len(self.offset_mm)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Darkness:
    """What a millimetre of contrast is expected to take from each row's pixels.

    Attributes
    ----------
    expected : (N,) ndarray
        Grey values a millimetre.
    trust : (N,) ndarray
        Weight of a deviation from it; 0 where nothing is expected.
    """

    expected: FloatArray
    trust: FloatArray


def candidates(
    diameter_mm: FloatArray, reach: tuple[int, int], step_mm: float, blur_mm: float, opacity: float
) -> Candidates:
    """Draw the shadows of all candidates.

    Parameters
    ----------
    diameter_mm : (D,) ndarray
    reach : tuple of int
        Steps to either side that the axis may be off, and that a row is long.
    step_mm : float
    blur_mm : float
        Standard deviation of the system's blur.
    opacity : float
        Attenuation a millimetre, 1/mm: a chord c casts a shadow of ``(1 - exp(-opacity c)) /
        opacity``. 0 for c itself.
    """
    aside, half = reach
    fine_mm = step_mm / FINER
    beyond = FINER * int(np.ceil(BLUR_REACH * blur_mm / step_mm))
    longest = FINER * (aside + half) + beyond
    place = fine_mm * np.arange(-longest, longest + 1)
    chord = 2 * np.sqrt(np.maximum((diameter_mm[:, None] / 2) ** 2 - place**2, 0.0))
    if opacity > 0:
        chord = -np.expm1(-opacity * chord) / opacity
    blurred = ndimage.gaussian_filter1d(chord, blur_mm / fine_mm, axis=1, truncate=BLUR_REACH)
    rows = blurred[:, beyond : blurred.shape[1] - beyond : FINER]
    shifted = [rows[:, aside - by : aside - by + 2 * half + 1] for by in range(-aside, aside + 1)]
    return Candidates(
        diameter_mm=diameter_mm,
        offset_mm=_places(aside, step_mm),
        across_mm=_places(half, step_mm),
        shadow_mm=np.stack(shifted, axis=1).reshape(-1, 2 * half + 1),
    )


def _places(reach: int, step_mm: float) -> FloatArray:
    return np.asarray(step_mm * np.arange(-reach, reach + 1), dtype=np.float64)


def misfit(
    rows: FloatArray, weight: FloatArray, tubes: Candidates, darkness: Darkness
) -> tuple[FloatArray, FloatArray]:
    """Fit every candidate to every row: a straight background less darkness times shadow.

    Parameters
    ----------
    rows, weight : (N, U) ndarray
        Grey values, and what each counts.
    tubes : Candidates
    darkness : Darkness

    Returns
    -------
    squares : (N, K) ndarray
        Weighted sum of squares, that of the darkness included, at the best background and
        darkness; a tube brighter than its background counts as none.
    found : (N, K) ndarray
        That darkness, grey values a millimetre.
    """
    shadow = tubes.shadow_mm.T
    line = _line(weight, tubes.across_mm)
    without = rows - _on_line(rows, weight, line)
    weighted = weight * without
    expected, trust = darkness.expected[:, None], darkness.trust[:, None]
    # Tables of all rows and candidates are large: what can be done in place is.
    own = weight @ shadow**2
    for part, size in ((weight, line.total), (weight * line.centred, line.spread)):
        taken = (part / np.sqrt(size)) @ shadow
        own -= np.square(taken, out=taken)
    np.maximum(own, _TINY, out=own)
    own += trust
    overlap = -(weighted @ shadow)
    overlap += trust * expected
    found = np.divide(overlap, own, out=own)
    np.maximum(found, 0.0, out=found)
    # The least of empty - 2 x overlap + x^2 own + trust (x - expected)^2, which is at x = found.
    empty = np.sum(weighted * without, axis=1, keepdims=True)
    overlap *= found
    squares = np.subtract(empty + trust * expected**2, overlap, out=overlap)
    return squares, found


def background(
    rows: FloatArray, weight: FloatArray, across_mm: FloatArray, shade: FloatArray
) -> FloatArray:
    """Return the straight line of grey values that lies behind each row's tube.

    Parameters
    ----------
    rows, weight : (N, U) ndarray
    across_mm : (U,) ndarray
    shade : (N, U) ndarray
        Grey values that the tube takes.

    Returns
    -------
    (N, U) ndarray
    """
    return _on_line(rows + shade, weight, _line(weight, across_mm))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Line:
    """Sums of a weighted fit of a line: (N, 1), (N, U) and (N, 1) arrays."""

    total: FloatArray
    centred: FloatArray
    spread: FloatArray


def _line(weight: FloatArray, across_mm: FloatArray) -> _Line:
    total = np.maximum(weight.sum(axis=1, keepdims=True), _TINY)
    centred = across_mm[None] - (weight @ across_mm)[:, None] / total
    spread = np.maximum(np.sum(weight * centred**2, axis=1, keepdims=True), _TINY)
    return _Line(total=total, centred=centred, spread=spread)


def _on_line(rows: FloatArray, weight: FloatArray, line: _Line) -> FloatArray:
    """Return the least-squares line of each row at its pixels."""
    level = np.sum(weight * rows, axis=1, keepdims=True) / line.total
    slope = np.sum(weight * line.centred * rows, axis=1, keepdims=True) / line.spread
    return np.asarray(level + slope * line.centred)
