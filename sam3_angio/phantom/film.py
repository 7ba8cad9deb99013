"""From attenuation to stored values: Beer–Lambert, scatter, blur, quantum noise, display curve.

The noise is drawn by whole numbers: the expected intensity is rounded to 14 bits, and a random
12-bit number selects the deviation from a table of the Poisson distribution's quantiles. So the
stored values are the same on every machine: floating point (64 bits) ends at the rounding. What
the collimator's blades cover is blanked, as an angiography unit's electronic shutter does.

Conventions: stored values grow with the intensity, vessels are dark (MONOCHROME2).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from math import comb

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d, gaussian_filter
from scipy.special import gammaln

Pixels = NDArray[np.uint8 | np.uint16]

_SCATTER = 0.28  # share of scattered intensity
_BLUR = 0.8 / 512  # focal spot and detector: standard deviation relative to the picture's side
_BITS = 14
_BRIGHTEST = (1 << _BITS) - 1
_MIDDLE = 1 << 13  # 14-bit intensity of the background's median
_LEVEL_BITS = 5  # that the noise table does not resolve
_DRAW_BITS = 12
_GRAIN_LENGTH = 1 / 512  # of the noise's blur relative to the picture's side: one pixel of 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """How a run is exposed.

    Attributes
    ----------
    intensity : (R, C) ndarray
        Of the background; 1 is its median.
    quanta : int
        Expected number in a pixel of intensity 1.
    bits : int
        Stored bits, 8 or 12.
    field : (R, C) ndarray of bool
        What the collimator leaves free; 0 is stored elsewhere.
    """

    intensity: NDArray[np.float64]
    quanta: int
    bits: int
    field: NDArray[np.bool_]


def stored_frames(
    shadows: Iterable[NDArray[np.float64]], exposure: Exposure, rng: np.random.Generator
) -> Pixels:
    """Return a run's stored values.

    Parameters
    ----------
    shadows : iterable of (R, C) ndarray
        Attenuation of contrast and catheter, a frame each.
    exposure : Exposure
    rng : Generator
        Of the noise.

    Returns
    -------
    (F, R, C) ndarray of uint8 or uint16
    """
    curve = _display_curve(exposure.bits)
    return np.stack([curve[_exposed(shadow, exposure, rng)] * exposure.field for shadow in shadows])


def _exposed(
    shadow: NDArray[np.float64], exposure: Exposure, rng: np.random.Generator
) -> NDArray[np.int32]:
    """Return a frame's 14-bit intensities, with noise."""
    expected = gaussian_filter(np.exp(-shadow), _BLUR * len(shadow), truncate=3.0)
    expected *= 1 - _SCATTER
    expected += _SCATTER
    expected *= exposure.intensity
    expected *= _MIDDLE
    level = np.clip(expected + 0.5, 0, _BRIGHTEST).astype(np.int32)
    draw = rng.integers(0, 1 << 16, level.shape, dtype=np.uint16) >> (16 - _DRAW_BITS)
    noise = _noise_table(exposure.quanta)[((level >> _LEVEL_BITS) << _DRAW_BITS) + draw]
    return np.clip(level + _grain(noise), 0, _BRIGHTEST)


def _grain(noise: NDArray[np.int16]) -> NDArray[np.int32]:
    """Blur white noise as the detector and the unit's noise filter do: alike in millimetres.

    The weights are binomial, (1 2 1) / 4 both ways at 512²; whole numbers, so sums are exact.
    """
    order = max(2, round(2 * (_GRAIN_LENGTH * len(noise)) ** 2))
    weights = np.array([comb(order, place) for place in range(order + 1)], dtype=np.float64)
    both = correlate1d(correlate1d(noise.astype(np.float64), weights, 0), weights, 1)
    return np.rint(both / 4.0**order).astype(np.int32)


@cache
def _display_curve(bits: int) -> Pixels:
    """Return the stored value of each 14-bit intensity: the background's median at 60 %."""
    relative = np.arange(1 << _BITS) / _MIDDLE
    values = np.clip(np.rint(((1 << bits) - 1) * 0.6 * relative**0.8), 0, (1 << bits) - 1)
    return values.astype(np.uint8) if bits == 8 else values.astype(np.uint16)


@cache
def _noise_table(quanta: int) -> NDArray[np.int16]:
    """Return the quantum noise of each intensity, 512 × 4096 flat, in 14-bit intensities.

    `quanta` is the expected number in a pixel of the background's median intensity.
    """
    draws = (np.arange(1 << _DRAW_BITS) + 0.5) / (1 << _DRAW_BITS)
    rows = []
    for level in range(1 << (_BITS - _LEVEL_BITS)):
        mean = (level + 0.5) * (1 << _LEVEL_BITS) * quanta / _MIDDLE
        count = np.arange(int(mean + 8 * np.sqrt(mean) + 12))
        distribution = np.cumsum(np.exp(count * np.log(mean) - mean - gammaln(count + 1)))
        quantile = np.searchsorted(distribution, draws)
        rows.append(np.rint((quantile - mean) * _MIDDLE / quanta))
    return np.asarray(np.concatenate(rows), dtype=np.int16)
